//! `scuzzy portal`.

use std::process::ExitCode;

use admin::reply::Answer;
use admin::request::{PortalRequest, Request};
use admin::view::PortalView;
use anyhow::Result;
use serde_json::json;

use crate::arguments::{Connect, Portal, PortalAction};
use crate::client::{self, Daemon};
use crate::table::Table;
use crate::watch::{self, Shown};

/// Runs the command.
pub fn run(options: Portal) -> Result<ExitCode> {
    let Portal { connect, action } = options;
    match action {
        PortalAction::List { watch } => watch::run(&connect, watch, |daemon| list(&portals(daemon)?)),
        PortalAction::Add { portals } => add(&connect, portals),
        PortalAction::Rm { portals } => remove(&connect, portals),
    }
}

/// The portals, in order of opening.
fn portals(daemon: &Daemon) -> Result<Vec<PortalView>> {
    match daemon.ask(Request::PortalShow)? {
        Answer::Portals(mut portals) => {
            portals.reverse();
            Ok(portals)
        }
        other => Err(client::unexpected(&other)),
    }
}

fn list(portals: &[PortalView]) -> Result<Shown> {
    if portals.is_empty() {
        return Shown::new(&portals, "no portals: listen with `scuzzy portal add ADDRESS`\n".into());
    }
    let mut table = Table::new(&["ADDRESS", ">GROUP"]);
    portals.iter().for_each(|portal| table.row(vec![portal.address.to_string(), portal.group_tag.to_string()]));
    Shown::new(&portals, table.text())
}

/// As the daemon writes it: the group where it is not that of everybody.
fn place(portal: &PortalView) -> String {
    let (host, port) = (portal.address.ip().to_string(), portal.address.port());
    admin::portal::Portal { host, port, group: portal.group_tag }.to_string()
}

fn request(portals: Vec<String>) -> PortalRequest {
    PortalRequest { portals, nop_interval: None, nop_count: None }
}

fn add(connect: &Connect, wanted: Vec<String>) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let before = portals(&daemon)?;
    let outcome = daemon.ask(Request::PortalNew(request(wanted)));
    let mut opened = portals(&daemon)?;
    opened.retain(|portal| !before.contains(portal));
    if let Err(error) = outcome {
        // All or nothing.
        if !opened.is_empty() {
            daemon.ask(Request::PortalDelete(request(opened.iter().map(|portal| portal.address.to_string()).collect())))?;
        }
        return Err(error);
    }
    let text = opened.iter().map(|portal| format!("listening on {}\n", place(portal))).collect();
    watch::print(connect, &Shown::new(&opened, text)?)
}

fn remove(connect: &Connect, portals: Vec<String>) -> Result<ExitCode> {
    let text = portals.iter().map(|portal| format!("{portal} is closed\n")).collect();
    let count = portals.len();
    client::request(connect, Request::PortalDelete(request(portals)))?;
    watch::print(connect, &Shown::new(&json!({ "removed": count }), text)?)
}
