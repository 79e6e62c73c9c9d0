//! `scuzzy store`.

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use admin::reply::Answer;
use admin::request::Request;
use admin::view::{StoreView, TargetView, UnitView};
use anyhow::{Result, anyhow};
use daemon::size;
use serde::Serialize;

use super::unit;
use crate::arguments::{Store, StoreAction};
use crate::client::{self, Daemon};
use crate::table::{Table, counted};
use crate::watch::{self, Shown};

/// Bytes of the unit in which file systems count what a file takes.
const STAT_BLOCK: u64 = 512;

/// Runs the command.
pub fn run(options: Store) -> Result<ExitCode> {
    let Store { connect, action } = options;
    match action {
        StoreAction::List { watch } => watch::run(&connect, watch, list),
        StoreAction::Show { store, watch } => watch::run(&connect, watch, |daemon| show(daemon, &store)),
    }
}

/// A store and how much it is used.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    /// How a unit on it can be opened.
    flags: &'static [&'static str],
    units: usize,
    bytes: u64,
}

/// The medium of a unit.
#[derive(Serialize)]
struct MediumLine<'a> {
    tid: i32,
    lun: u64,
    path: Option<&'a str>,
    bytes: u64,
    /// What the file takes on its file system; `None`: no file, or one that we may not look at.
    allocated: Option<u64>,
    /// What its file system has left for everyone.
    free: Option<u64>,
}

/// A store with its media.
#[derive(Serialize)]
struct Whole<'a> {
    name: &'a str,
    flags: &'static [&'static str],
    media: Vec<MediumLine<'a>>,
}

fn stores(daemon: &Daemon) -> Result<Vec<StoreView>> {
    match daemon.ask(Request::SystemShow)? {
        Answer::System(system) => Ok(system.stores),
        other => Err(client::unexpected(&other)),
    }
}

fn flags(store: &StoreView) -> &'static [&'static str] {
    if store.flags { &["direct", "sync"] } else { &[] }
}

fn users<'a>(targets: &'a [TargetView], store: &str) -> Vec<(&'a TargetView, &'a UnitView)> {
    targets.iter().flat_map(|target| unit::of(target).map(move |unit| (target, unit))).filter(|(_, unit)| unit.store == store).collect()
}

fn list(daemon: &Daemon) -> Result<Shown> {
    let (stores, targets) = (stores(daemon)?, daemon.targets()?);
    let mut table = Table::new(&["STORE", "FLAGS", ">UNITS", ">SIZE"]);
    let mut lines = Vec::new();
    for store in &stores {
        let users = users(&targets, &store.name);
        let line = Line { name: &store.name, flags: flags(store), units: users.len(), bytes: users.iter().map(|(_, unit)| unit.bytes).sum() };
        let words = if line.flags.is_empty() { "-".into() } else { line.flags.join(",") };
        table.row(vec![store.name.clone(), words, line.units.to_string(), size::words(line.bytes)]);
        lines.push(line);
    }
    Shown::new(&lines, table.text())
}

fn show(daemon: &Daemon, name: &str) -> Result<Shown> {
    let (stores, targets) = (stores(daemon)?, daemon.targets()?);
    let store = stores.iter().find(|store| store.name == name).ok_or_else(|| {
        let names: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
        anyhow!("no store `{name}`: there are {}", names.join(", "))
    })?;
    let media: Vec<MediumLine<'_>> = users(&targets, name).into_iter().map(|(target, unit)| medium(target, unit)).collect();
    let mut text = match flags(store) {
        [] => format!("store {name}: {}\n", counted(media.len(), "unit")),
        flags => format!("store {name}: {}, takes {}\n", counted(media.len(), "unit"), flags.join(" and ")),
    };
    if !media.is_empty() {
        let mut table = Table::new(&["UNIT", ">SIZE", ">ALLOCATED", ">FREE", "PATH"]);
        let words = |bytes: Option<u64>| bytes.map_or_else(|| "-".into(), size::words);
        for line in &media {
            let path = line.path.unwrap_or("no medium").to_owned();
            table.row(vec![format!("{}/{}", line.tid, line.lun), size::words(line.bytes), words(line.allocated), words(line.free), path]);
        }
        text.push_str(&table.text());
    }
    Shown::new(&Whole { name, flags: flags(store), media }, text)
}

/// What a medium takes: asked of its file system, which is ours as well as the daemon's.
fn medium<'a>(target: &TargetView, unit: &'a UnitView) -> MediumLine<'a> {
    let path = unit.path.as_deref();
    let file = path.filter(|path| path.starts_with('/'));
    let facts = file.and_then(|path| std::fs::metadata(path).ok()).filter(std::fs::Metadata::is_file);
    let allocated = facts.as_ref().map(|facts| facts.blocks() * STAT_BLOCK);
    let free = facts.and(file).and_then(|path| rustix::fs::statvfs(path).ok()).map(|room| room.f_bavail.saturating_mul(room.f_frsize));
    MediumLine { tid: target.tid, lun: unit.lun, path, bytes: unit.bytes, allocated, free }
}
