//! `scuzzy account`.

use std::process::ExitCode;

use admin::reply::Answer;
use admin::request::Request;
use admin::view::{TargetName, TargetView};
use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Account, AccountAction, AccountPlace, Connect};
use crate::client::{self, Daemon};
use crate::table::{Table, facts};
use crate::watch::{self, Shown};
use crate::{naming, secret};

/// Runs the command.
pub fn run(options: Account) -> Result<ExitCode> {
    let Account { connect, action } = options;
    match action {
        AccountAction::List { watch } => watch::run(&connect, watch, |daemon| list(&lines(daemon)?)),
        AccountAction::Show { user, watch } => watch::run(&connect, watch, |daemon| show(&lines(daemon)?, &user)),
        AccountAction::Add { user, secret } => {
            let password = secret::read(&secret, &user)?;
            client::request(&connect, Request::AccountNew { user: user.clone(), password })?;
            tell(&connect, &user, "is made")
        }
        AccountAction::Set { user, secret } => {
            let password = secret::read(&secret, &user)?;
            client::request(&connect, Request::AccountUpdate { user: user.clone(), password })?;
            tell(&connect, &user, "has a new secret")
        }
        AccountAction::Rm { users } => remove(&connect, &users),
        AccountAction::Bind(place) => bind(&connect, &place, true),
        AccountAction::Unbind(place) => bind(&connect, &place, false),
    }
}

/// An account and where it is asked for.
#[derive(Serialize)]
struct Line {
    user: String,
    /// Targets whose initiators prove it.
    incoming: Vec<TargetName>,
    /// Targets that prove it.
    outgoing: Vec<TargetName>,
    /// Initiators prove it at discovery.
    discovery_incoming: bool,
    /// We prove it at discovery.
    discovery_outgoing: bool,
}

/// All accounts, in order of creation.
fn lines(daemon: &Daemon) -> Result<Vec<Line>> {
    let accounts = match daemon.ask(Request::AccountShow)? {
        Answer::Accounts(accounts) => accounts,
        other => return Err(client::unexpected(&other)),
    };
    let system = match daemon.ask(Request::SystemShow)? {
        Answer::System(system) => system,
        other => return Err(client::unexpected(&other)),
    };
    let targets = daemon.targets()?;
    let bound = |wanted: &dyn Fn(&TargetView) -> bool| -> Vec<TargetName> {
        targets.iter().filter(|target| wanted(target)).map(|target| TargetName { tid: target.tid, name: target.name.clone() }).collect()
    };
    let line = |user: String| Line {
        incoming: bound(&|target| target.incoming.contains(&user)),
        outgoing: bound(&|target| target.outgoing.as_ref() == Some(&user)),
        discovery_incoming: system.incoming.contains(&user),
        discovery_outgoing: system.outgoing.as_ref() == Some(&user),
        user,
    };
    Ok(accounts.into_iter().rev().map(|account| line(account.user)).collect())
}

/// Numbers of targets, and `discovery`.
fn places(targets: &[TargetName], discovery: bool) -> String {
    let mut words: Vec<String> = targets.iter().map(|target| target.tid.to_string()).collect();
    words.extend(discovery.then(|| "discovery".to_owned()));
    if words.is_empty() { "-".into() } else { words.join(", ") }
}

fn list(lines: &[Line]) -> Result<Shown> {
    if lines.is_empty() {
        return Shown::new(&lines, "no accounts: make one with `scuzzy account add USER`\n".into());
    }
    let mut table = Table::new(&["USER", "INCOMING", "OUTGOING"]);
    for line in lines {
        table.row(vec![line.user.clone(), places(&line.incoming, line.discovery_incoming), places(&line.outgoing, line.discovery_outgoing)]);
    }
    Shown::new(&lines, table.text())
}

fn show(lines: &[Line], user: &str) -> Result<Shown> {
    let users: Vec<&str> = lines.iter().map(|line| line.user.as_str()).collect();
    let line = lines.iter().find(|line| line.user == user).ok_or_else(|| match users.as_slice() {
        [] => anyhow!("no account `{user}`: there is none yet"),
        users => anyhow!("no account `{user}`: there are {}", users.join(", ")),
    })?;
    let named = |targets: &[TargetName], discovery: bool| {
        let mut words: Vec<String> = targets.iter().map(|target| format!("target {} ({})", target.tid, target.name)).collect();
        words.extend(discovery.then(|| "discovery".to_owned()));
        if words.is_empty() { "nowhere".into() } else { words.join(", ") }
    };
    let text = facts(&[
        ("account", line.user.clone()),
        ("initiators prove it at", named(&line.incoming, line.discovery_incoming)),
        ("we prove it at", named(&line.outgoing, line.discovery_outgoing)),
    ]);
    Shown::new(line, text)
}

fn remove(connect: &Connect, users: &[String]) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let lines = lines(&daemon)?;
    // All names are found before the first account goes.
    users.iter().try_for_each(|user| show(&lines, user).map(drop))?;
    for user in users {
        daemon.ask(Request::AccountDelete { user: user.clone() })?;
    }
    let text = users.iter().map(|user| format!("account {user} is removed\n")).collect();
    watch::print(connect, &Shown::new(&json!({ "removed": users.len() }), text)?)
}

fn bind(connect: &Connect, place: &AccountPlace, bound: bool) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    let target = place.target.as_deref().map(|name| naming::target(&targets, name)).transpose()?;
    let (tid, user, outgoing) = (target.map(|target| target.tid), place.user.clone(), place.outgoing);
    daemon.ask(match bound {
        true => Request::AccountBind { tid, user, outgoing },
        false => Request::AccountUnbind { tid, user, outgoing },
    })?;
    let at = tid.map_or_else(|| "discovery".into(), |tid| format!("target {tid}"));
    let who = if outgoing { "proved to initiators" } else { "asked for" };
    tell(connect, &place.user, &format!("is {}{who} at {at}", if bound { "" } else { "no longer " }))
}

/// Says what became of an account; as JSON, shows it.
fn tell(connect: &Connect, user: &str, what: &str) -> Result<ExitCode> {
    if connect.json {
        return watch::print(connect, &show(&lines(&Daemon::find(connect)?)?, user)?);
    }
    watch::say(&format!("account {user} {what}"))
}
