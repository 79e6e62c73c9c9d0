//! `scuzzy stat`, `scuzzy status` and `scuzzy reset`.

use std::process::ExitCode;

use admin::reply::Answer;
use admin::request::Request;
use anyhow::{Result, bail};
use daemon::size;

use crate::arguments::{Reset, Stat};
use crate::client;
use crate::table::Table;

/// Counters per unit, session, operation and status.
pub fn run(options: &Stat) -> Result<ExitCode> {
    let Answer::Counters(rows) = client::request(&options.connect, Request::Counters)? else { bail!("the daemon answered something else") };
    if options.connect.json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        println!("no commands yet");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&[">TARGET", ">UNIT", ">SESSION", "OPERATION", "STATUS", ">COUNT", ">BYTES"]);
    for row in rows {
        table.row(vec![
            row.tid.to_string(),
            row.lun.to_string(),
            row.sid.to_string(),
            row.operation,
            row.status,
            row.count.to_string(),
            size::words(row.bytes),
        ]);
    }
    print!("{}", table.text());
    Ok(ExitCode::SUCCESS)
}

/// The daemon itself.
pub fn status(options: &Stat) -> Result<ExitCode> {
    let Answer::Status(view) = client::request(&options.connect, Request::Status)? else { bail!("the daemon answered something else") };
    if options.connect.json {
        println!("{}", serde_json::to_string(&view)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("scuzzy {} (pid {}), {} on {} reactor(s), seed {}", view.version, view.pid, view.io, view.reactors, view.seed);
    println!("{} session(s), {} fault rule(s){}", view.sessions, view.rules, if view.faults { "" } else { ", faults refused" });
    view.portals.iter().for_each(|portal| println!("portal {}", portal.address));
    view.targets.iter().for_each(|target| println!("target {}: {}", target.tid, target.name));
    Ok(ExitCode::SUCCESS)
}

/// The administrator's reset of a unit.
pub fn reset(options: &Reset) -> Result<ExitCode> {
    client::request(&options.connect, Request::UnitReset { tid: options.tid, lun: options.lun })?;
    match options.connect.json {
        true => println!("{{\"reset\":true}}"),
        false => println!("target {} unit {} is reset", options.tid, options.lun),
    }
    Ok(ExitCode::SUCCESS)
}
