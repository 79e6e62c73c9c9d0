//! `scuzzy session`.

use std::process::ExitCode;

use admin::reply::Answer;
use admin::request::Request;
use admin::view::{SessionStatView, SessionView, TargetView};
use anyhow::{Result, anyhow};
use daemon::size;
use serde::Serialize;
use serde_json::json;

use super::unit;
use crate::arguments::{Connect, Session, SessionAction};
use crate::client::{self, Daemon};
use crate::naming;
use crate::table::{Table, facts};
use crate::watch::{self, Shown};

/// Runs the command.
pub fn run(options: Session) -> Result<ExitCode> {
    let Session { connect, action } = options;
    match action {
        SessionAction::List { target, watch } => watch::run(&connect, watch, |daemon| list(daemon, target.as_deref())),
        SessionAction::Show { sid, watch } => watch::run(&connect, watch, |daemon| show(daemon, sid)),
        SessionAction::Rm { sids, connection } => remove(&connect, &sids, connection),
    }
}

/// A session and where it is.
#[derive(Serialize)]
struct Placed<'a> {
    tid: i32,
    target: &'a str,
    #[serde(flatten)]
    session: &'a SessionView,
    /// What it did; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    stat: Option<&'a SessionStatView>,
}

fn list(daemon: &Daemon, name: Option<&str>) -> Result<Shown> {
    let targets = daemon.targets()?;
    let chosen = match name {
        Some(name) => vec![naming::target(&targets, name)?],
        None => targets.iter().collect(),
    };
    let sessions: Vec<(&TargetView, &SessionView)> =
        chosen.iter().flat_map(|&target| target.sessions.iter().rev().map(move |session| (target, session))).collect();
    let facts: Vec<Placed<'_>> =
        sessions.iter().map(|(target, session)| Placed { tid: target.tid, target: &target.name, session, stat: None }).collect();
    let text = if sessions.is_empty() { "no sessions: nobody is logged in\n".into() } else { table(sessions.iter().copied()) };
    Shown::new(&facts, text)
}

/// A line for each session.
pub fn table<'a>(sessions: impl Iterator<Item = (&'a TargetView, &'a SessionView)>) -> String {
    let mut table = Table::new(&[">SESSION", ">TARGET", "INITIATOR", "ADDRESS", "ALIAS"]);
    for (target, session) in sessions {
        table.row(vec![
            session.sid.to_string(),
            target.tid.to_string(),
            session.initiator.clone(),
            addresses(session),
            session.alias.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    table.text()
}

fn addresses(session: &SessionView) -> String {
    session.connections.iter().map(|connection| connection.address.as_str()).collect::<Vec<_>>().join(", ")
}

/// The session with this number, and its target.
fn find(targets: &[TargetView], sid: u64) -> Result<(&TargetView, &SessionView)> {
    let all: Vec<(&TargetView, &SessionView)> =
        targets.iter().flat_map(|target| target.sessions.iter().map(move |session| (target, session))).collect();
    all.iter().find(|(_, session)| session.sid == sid).copied().ok_or_else(|| match all.as_slice() {
        [] => anyhow!("no session {sid}: nobody is logged in"),
        _ => anyhow!("no session {sid}: `scuzzy session list` shows the {} there are", all.len()),
    })
}

fn show(daemon: &Daemon, sid: u64) -> Result<Shown> {
    let targets = daemon.targets()?;
    let (target, session) = find(&targets, sid)?;
    let stat = match daemon.ask(Request::SessionStat { sid })? {
        Answer::SessionStat(stat) => stat,
        other => return Err(client::unexpected(&other)),
    };
    let mut text = facts(&[
        ("session", sid.to_string()),
        ("target", format!("{} {}", target.tid, target.name)),
        ("initiator", session.initiator.clone()),
        ("alias", session.alias.clone().unwrap_or_else(|| "none".into())),
    ]);
    for connection in &session.connections {
        let traffic = stat.connections.iter().find(|row| row.cid == connection.cid).copied().unwrap_or_default();
        text.push_str(&format!(
            "connection {}: {}, {} received, {} sent, {} commands\n",
            connection.cid,
            connection.address,
            size::words(traffic.received_octets),
            size::words(traffic.sent_octets),
            traffic.command_pdus
        ));
    }
    if !stat.units.is_empty() {
        text.push('\n');
        text.push_str(&unit::counters(&stat.units, ("UNIT", |row| format!("{}/{}", row.tid, row.lun))));
    }
    Shown::new(&Placed { tid: target.tid, target: &target.name, session, stat: Some(&stat) }, text)
}

fn remove(connect: &Connect, sids: &[u64], connection: Option<u32>) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    // All numbers are found before the first session goes.
    let chosen: Vec<(&TargetView, &SessionView)> = sids.iter().map(|&sid| find(&targets, sid)).collect::<Result<_>>()?;
    for (target, session) in &chosen {
        daemon.ask(match connection {
            Some(cid) => Request::ConnectionDelete { tid: target.tid, sid: session.sid, cid },
            None => Request::SessionDelete { sid: session.sid },
        })?;
    }
    let text = chosen.iter().map(|(target, session)| format!("session {} of target {} is closed\n", session.sid, target.tid)).collect();
    watch::print(connect, &Shown::new(&json!({ "removed": chosen.len() }), text)?)
}
