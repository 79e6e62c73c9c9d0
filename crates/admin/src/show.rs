//! Answers as tgt's text. Labels, order and indentation are an interface: scripts cut columns out of them.

use core::fmt::Write;

use crate::reply::Answer;
use crate::setting::{Redirect, RedirectReason};
use crate::view::{
    AccountView, ConnectionStatRow, CounterRow, DriverState, DriverView, PortalView, RuleLine, SessionStatView, SessionView, StatRow, StatusView,
    SystemView, TargetParametersView, TargetView, TraceRow, UnitView,
};

/// Text of an answer; empty when there is nothing to print. Every line ends with a newline.
pub fn text(answer: &Answer) -> String {
    match answer {
        Answer::Done | Answer::Rule(_) | Answer::Removed(_) => String::new(),
        Answer::Text(text) => text.clone(),
        Answer::System(view) => system(view),
        Answer::Targets(views) => targets(views),
        Answer::TargetParameters(view) => target_parameters(view),
        Answer::Stat(rows) => stat(rows),
        Answer::SessionStat(view) => session_stat(view),
        Answer::ConnectionStat(rows) => connection_stat(rows),
        Answer::Sessions(views) => sessions(views),
        Answer::Portals(views) => portals(views),
        Answer::Drivers(views) => drivers(views),
        Answer::Accounts(views) => accounts(views),
        Answer::Rules(rules) => fault_rules(rules),
        Answer::Trace(rows) => trace(rows),
        Answer::Counters(rows) => counters(rows),
        Answer::Status(view) => status(view),
        Answer::Edition(number) => format!("Edition: {number}\n"),
        Answer::Document(document) => document.to_toml().unwrap_or_default(),
        Answer::Plan(plan) => plan.changes.iter().map(|change| format!("{change}\n")).collect(),
    }
}

/// Adds a line. Writing into a `String` has no way to fail.
macro_rules! line {
    ($out:expr, $($format:tt)*) => {{ let _ = writeln!($out, $($format)*); }};
}

/// `system show`.
pub fn system(view: &SystemView) -> String {
    let mut out = String::new();
    line!(out, "System:\n    State: {}\n    debug: {}\nLLDs:", view.state.word(), if view.debug { "on" } else { "off" });
    for driver in &view.drivers {
        line!(out, "    {}: {}", driver.name, driver_state(driver.state));
    }
    line!(out, "Backing stores:");
    for store in &view.stores {
        line!(out, "    {}{}", store.name, if store.flags { " (bsoflags sync:direct)" } else { "" });
    }
    line!(out, "Device types:");
    for device_type in &view.device_types {
        line!(out, "    {}", type_name(*device_type));
    }
    // tgt's own oddities: the indentation, the empty line, and an outgoing account alone stays hidden.
    if !view.incoming.is_empty() {
        line!(out, "    Account information:\n");
        account_lines(&mut out, "    ", &view.incoming, view.outgoing.as_deref());
    }
    let isns = &view.isns;
    line!(out, "iSNS:\n    iSNS={}\n    iSNSServerIP={}", on_off(isns.enabled), isns.server);
    line!(out, "    iSNSServerPort={}\n    iSNSAccessControl={}", isns.port, on_off(isns.access_control));
    out
}

/// `target show`.
pub fn targets(views: &[TargetView]) -> String {
    let mut out = String::new();
    for view in views {
        target(&mut out, view);
    }
    out
}

fn target(out: &mut String, view: &TargetView) {
    line!(out, "Target {}: {}", view.tid, view.name);
    line!(out, "    System information:\n        Driver: {}\n        State: {}", view.driver, view.state.word());
    if view.nop_interval != 0 {
        line!(out, "        Nop interval: {}\n        Nop count: {}", view.nop_interval, view.nop_count);
    }
    line!(out, "    I_T nexus information:");
    for session in &view.sessions {
        line!(out, "        I_T nexus: {}", session.sid);
        line!(out, "            Initiator: {} alias: {}", session.initiator, session.alias.as_deref().unwrap_or("none"));
        for connection in &session.connections {
            line!(out, "            Connection: {}\n                IP Address: {}", connection.cid, connection.address);
        }
    }
    line!(out, "    LUN information:");
    for unit in &view.units {
        logical_unit(out, unit);
    }
    line!(out, "    Account information:");
    account_lines(out, "        ", &view.incoming, view.outgoing.as_deref());
    line!(out, "    ACL information:");
    for rule in view.addresses.iter().chain(&view.names) {
        line!(out, "        {rule}");
    }
}

fn logical_unit(out: &mut String, unit: &UnitView) {
    line!(out, "        LUN: {}", unit.lun);
    let flags = match (unit.sync, unit.direct) {
        (true, true) => "sync:direct",
        (true, false) => "sync",
        (false, true) => "direct",
        (false, false) => "",
    };
    let size = format!("{} MB, Block size: {}", megabytes(unit.bytes), unit.block_size);
    let rows: [(&str, &str); 13] = [
        ("Type", type_name(unit.device_type)),
        ("SCSI ID", &unit.scsi_id),
        ("SCSI SN", &unit.scsi_sn),
        ("Size", &size),
        ("Online", yes_no(unit.online)),
        ("Removable media", yes_no(unit.removable)),
        ("Prevent removal", yes_no(unit.prevent_removal)),
        ("Readonly", yes_no(unit.read_only)),
        ("SWP", yes_no(unit.swp)),
        ("Thin-provisioning", yes_no(unit.thin)),
        ("Backing store type", &unit.store),
        ("Backing store path", unit.path.as_deref().unwrap_or("None")),
        // The blank after the colon stays when there is no flag.
        ("Backing store flags", flags),
    ];
    for (label, value) in rows {
        line!(out, "            {label}: {value}");
    }
}

/// `target show --tid N`: the redirection, or ping settings and negotiation keys.
pub fn target_parameters(view: &TargetParametersView) -> String {
    let mut out = String::new();
    match &view.redirect {
        Redirect { callback: Some(path), .. } if !path.is_empty() => line!(out, "RedirectCallback={path}"),
        Redirect { address: Some(address), port, reason, .. } if !address.is_empty() => {
            let reason = match reason {
                Some(RedirectReason::Temporary) => "Temporary",
                Some(RedirectReason::Permanent) => "Permanent",
                None => "Unknown",
            };
            line!(out, "RedirectAddress={address}\nRedirectPort={port}\nRedirectReason={reason}");
        }
        _ => {
            line!(out, "nop_interval={}\nnop_count={}", view.nop_interval, view.nop_count);
            for (key, value) in &view.parameters {
                line!(out, "{key}={value}");
            }
        }
    }
    out
}

/// `connection show`.
pub fn sessions(views: &[SessionView]) -> String {
    let mut out = String::new();
    for session in views {
        line!(out, "Session: {}", session.sid);
        for connection in &session.connections {
            line!(out, "    Connection: {}", connection.cid);
            line!(out, "        Initiator: {}\n        IP Address: {}", session.initiator, connection.address);
        }
    }
    out
}

/// `portal show`.
pub fn portals(views: &[PortalView]) -> String {
    views.iter().fold(String::new(), |mut out, portal| {
        line!(out, "Portal: {},{}", portal.address, portal.group_tag);
        out
    })
}

/// `lld show`.
pub fn drivers(views: &[DriverView]) -> String {
    let mut out = String::from("LLDs:\n");
    for driver in views {
        line!(out, "    {}: {}", driver.name, driver_state(driver.state));
        for target in &driver.targets {
            line!(out, "        Target {}: {}", target.tid, target.name);
        }
    }
    out
}

/// `account show`.
pub fn accounts(views: &[AccountView]) -> String {
    let mut out = String::new();
    if !views.is_empty() {
        line!(out, "Account list:");
    }
    for account in views {
        line!(out, "    {}", account.user);
    }
    out
}

/// `stat` of system, target or unit: the heading is there even without rows.
pub fn stat(rows: &[StatRow]) -> String {
    let mut out = String::from("tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs\n");
    for row in rows {
        let _ = write!(out, "{:3} {:3} {:3} ", row.tid, row.lun, row.sid);
        let pairs = [
            (row.read_submitted_bytes, row.read_submitted_commands),
            (row.read_done_bytes, row.read_done_commands),
            (row.write_submitted_bytes, row.write_submitted_commands),
            (row.write_done_bytes, row.write_done_commands),
        ];
        for (bytes, commands) in pairs {
            let _ = write!(out, "{bytes:12} {commands:6} ");
        }
        line!(out, "{:4}", row.errors);
    }
    out
}

/// `session stat`.
pub fn session_stat(view: &SessionStatView) -> String {
    format!("{}\n{}", stat(&view.units), connection_stat(&view.connections))
}

/// `connection stat`.
pub fn connection_stat(rows: &[ConnectionStatRow]) -> String {
    let mut out = String::from("sid cid rxdata_octets txdata_octets dataout_pdus datain_pdus cmd_pdus rsp_pdus\n");
    for row in rows {
        let _ = write!(out, "{:3} {:3} {:13} {:13} ", row.sid, row.cid, row.received_octets, row.sent_octets);
        line!(out, "{:12} {:11} {:8} {:8}", row.data_out_pdus, row.data_in_pdus, row.command_pdus, row.response_pdus);
    }
    out
}

/// `error show`.
pub fn fault_rules(rules: &[RuleLine]) -> String {
    rules.iter().fold(String::new(), |mut out, rule| {
        line!(out, "{}", rule.line);
        out
    })
}

/// The flight recorder, a line a command.
pub fn trace(rows: &[TraceRow]) -> String {
    let mut out = String::new();
    for row in rows {
        let seconds = format!("{}.{:09}", row.time_ns / 1_000_000_000, row.time_ns % 1_000_000_000);
        let took = row.duration_ns.map_or_else(|| "-".to_owned(), |nanoseconds| format!("{} us", nanoseconds / 1000));
        let _ = write!(out, "{seconds} reactor {} tid {} lun {} sid {} tag {:08x} ", row.reactor, row.tid, row.lun, row.sid, row.tag);
        let range = row.lba.map_or_else(String::new, |lba| format!(" {lba}+{}", row.blocks));
        let _ = write!(out, "{}{range} {took}: {}", row.command, row.outcome);
        line!(out, "{}{}", if row.note.is_empty() { "" } else { " - " }, row.note);
    }
    out
}

/// Counters, a line each.
pub fn counters(rows: &[CounterRow]) -> String {
    let mut out = String::from("tgt lun sid        count           bytes operation status\n");
    for row in rows {
        line!(out, "{:3} {:3} {:3} {:12} {:15} {} {}", row.tid, row.lun, row.sid, row.count, row.bytes, row.operation, row.status);
    }
    out
}

/// The daemon itself.
pub fn status(view: &StatusView) -> String {
    let mut out = String::new();
    line!(out, "Version: {}\nProcess: {}\nI/O: {}, {} reactors", view.version, view.pid, view.io, view.reactors);
    line!(out, "Faults: {}, seed {}, {} rules", if view.faults { "allowed" } else { "refused" }, view.seed, view.rules);
    line!(out, "Sessions: {}", view.sessions);
    out.push_str(&portals(&view.portals));
    for target in &view.targets {
        line!(out, "Target {}: {}", target.tid, target.name);
    }
    out
}

/// Words of tgt for SCSI peripheral device types; 0xff is what it calls passthrough.
pub fn type_name(device_type: u8) -> &'static str {
    match device_type {
        0x00 => "disk",
        0x01 => "tape",
        0x02 => "printer",
        0x03 => "processor",
        0x04 => "worm",
        0x05 => "cd/dvd",
        0x06 => "scanner",
        0x07 => "optical",
        0x08 => "changer",
        0x09 => "communication",
        0x0c => "controller",
        0x0d => "enclosure",
        0x0e => "rbc",
        0x11 => "osd",
        0x1f => "No LUN",
        0xff => "passthrough",
        _ => "unknown",
    }
}

/// Size as tgt rounds it: near to decimal megabytes, in its integer arithmetic.
pub fn megabytes(bytes: u64) -> u64 {
    let sectors = bytes / 512;
    let correction = (sectors / 625).wrapping_sub(974);
    sectors.wrapping_sub(correction) / 1950
}

fn driver_state(state: DriverState) -> &'static str {
    match state {
        DriverState::Uninitialized => "uninitialized",
        DriverState::Ready => "ready",
        DriverState::Error => "error",
        DriverState::Stopped => "stopped",
    }
}

fn account_lines(out: &mut String, indent: &str, incoming: &[String], outgoing: Option<&str>) {
    for user in incoming {
        line!(out, "{indent}{user}");
    }
    if let Some(user) = outgoing {
        line!(out, "{indent}{user} (outgoing)");
    }
}

fn yes_no(flag: bool) -> &'static str {
    if flag { "Yes" } else { "No" }
}

fn on_off(flag: bool) -> &'static str {
    if flag { "On" } else { "Off" }
}

#[cfg(test)]
mod tests;
