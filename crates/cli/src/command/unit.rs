//! `scuzzy unit`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use admin::code::Code;
use admin::document::{Access, StoreFlag};
use admin::reply::Answer;
use admin::request::{self, Request, UnitNew};
use admin::view::{StatRow, TargetView, UnitView};
use admin::{show, unit_setting};
use anyhow::{Context, Result, bail};
use daemon::size;
use scsi::AccessState;
use serde::Serialize;
use serde_json::json;

use super::target;
use crate::arguments::{Assignment, Connect, Unit, UnitAction, UnitAdd, UnitPlace, UnitSwap};
use crate::client::{self, Daemon, Refusal};
use crate::naming;
use crate::table::{Table, facts};
use crate::watch::{self, Shown};

/// How often another number is tried when somebody else takes the free one first.
const ATTEMPTS: usize = 16;
/// SCSI peripheral device type of a disk.
const DISK: u8 = 0;

/// Runs the command.
pub fn run(options: Unit) -> Result<ExitCode> {
    let Unit { connect, action } = options;
    match action {
        UnitAction::List { target, watch } => watch::run(&connect, watch, |daemon| list(daemon, target.as_deref())),
        UnitAction::Show { unit, watch } => watch::run(&connect, watch, |daemon| show_one(daemon, &unit)),
        UnitAction::Add(options) => add(&connect, &options),
        UnitAction::Set { unit, settings } => set(&connect, &unit, &settings),
        UnitAction::Rm { units, force } => remove(&connect, &units, force),
        UnitAction::Resize { unit, size, force } => resize(&connect, &unit, size, force),
        UnitAction::Swap(options) => swap(&connect, &options),
        UnitAction::Reset { unit } => reset(&connect, &unit),
        UnitAction::AccessState { unit, group: Some(group), fail: true, .. } => fail_transition(&connect, &unit, group),
        UnitAction::AccessState { unit, group, state, preferred, .. } => access_state(&connect, &unit, group, state.as_deref(), preferred),
    }
}

/// The units that people made: without the controller at LUN 0, which comes and goes with its target.
pub fn of(target: &TargetView) -> impl Iterator<Item = &UnitView> {
    target.units.iter().filter(|unit| unit.lun != 0)
}

/// A unit and whose it is.
#[derive(Serialize)]
struct Placed<'a> {
    tid: i32,
    target: &'a str,
    #[serde(flatten)]
    unit: &'a UnitView,
    /// What its sessions did, a row each; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    stat: Option<&'a [StatRow]>,
}

impl<'a> Placed<'a> {
    fn new(target: &'a TargetView, unit: &'a UnitView) -> Placed<'a> {
        Placed { tid: target.tid, target: &target.name, unit, stat: None }
    }
}

fn list(daemon: &Daemon, name: Option<&str>) -> Result<Shown> {
    let targets = daemon.targets()?;
    let chosen = match name {
        Some(name) => vec![naming::target(&targets, name)?],
        None => targets.iter().collect(),
    };
    let units: Vec<(&TargetView, &UnitView)> = chosen.iter().flat_map(|&target| of(target).map(move |unit| (target, unit))).collect();
    let facts: Vec<Placed<'_>> = units.iter().map(|(target, unit)| Placed::new(target, unit)).collect();
    let text = if units.is_empty() { "no units: add one with `scuzzy unit add TARGET PATH`\n".into() } else { table(units.into_iter()) };
    Shown::new(&facts, text)
}

/// A line for each unit.
pub fn table<'a>(units: impl Iterator<Item = (&'a TargetView, &'a UnitView)>) -> String {
    let mut table = Table::new(&["UNIT", "TYPE", ">SIZE", ">BLOCK", "STORE", "STATE", "FLAGS", "PATH"]);
    for (target, unit) in units {
        table.row(vec![
            format!("{}/{}", target.tid, unit.lun),
            show::type_name(unit.device_type).into(),
            size::words(unit.bytes),
            unit.block_size.to_string(),
            unit.store.clone(),
            if unit.online { "online" } else { "offline" }.into(),
            flags(unit, "-"),
            path(unit).into(),
        ]);
    }
    table.text()
}

/// Where the medium is. What is kept nowhere has no path, only a size in its place.
fn path(unit: &UnitView) -> &str {
    match unit.path.as_deref() {
        None => "no medium",
        Some(_) if matches!(unit.store.as_str(), "memory" | "null") => "-",
        Some(path) => path,
    }
}

/// Store, and where the medium is.
fn medium(unit: &UnitView) -> String {
    match path(unit) {
        "-" => unit.store.clone(),
        path => format!("{} {path}", unit.store),
    }
}

fn flags(unit: &UnitView, none: &str) -> String {
    let words = [
        (unit.read_only, "read-only"),
        (unit.swp, "write-protected"),
        (unit.thin, "thin"),
        (unit.removable, "removable"),
        (unit.prevent_removal, "locked"),
        (unit.sync, "sync"),
        (unit.direct, "direct"),
    ];
    let protection = unit.protection.and_then(StoreFlag::of_protection).map(StoreFlag::word);
    let set: Vec<&str> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).chain(protection).collect();
    if set.is_empty() { none.into() } else { set.join(",") }
}

fn show_one(daemon: &Daemon, place: &UnitPlace) -> Result<Shown> {
    let targets = daemon.targets()?;
    let (target, unit) = naming::unit(&targets, place)?;
    let rows = match daemon.ask(Request::UnitStat { tid: target.tid, lun: unit.lun })? {
        Answer::Stat(rows) => rows,
        other => return Err(client::unexpected(&other)),
    };
    let mut text = facts(&[
        ("unit", format!("{}/{}", target.tid, unit.lun)),
        ("target", target.name.clone()),
        ("type", show::type_name(unit.device_type).into()),
        ("size", format!("{} ({} bytes), blocks of {}", size::words(unit.bytes), unit.bytes, unit.block_size)),
        ("state", if unit.online { "online" } else { "offline" }.into()),
        ("flags", flags(unit, "none")),
        ("store", unit.store.clone()),
        ("path", path(unit).into()),
        ("SCSI ID", unit.scsi_id.clone()),
        ("serial", unit.scsi_sn.clone()),
    ]);
    if unit.port_groups.iter().any(|group| group.preferred || group.state != AccessState::Optimized.word()) || unit.port_groups.len() > 1 {
        text.push('\n');
        text.push_str(&port_groups(unit));
    }
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&counters(&rows, ("SESSION", |row| row.sid.to_string())));
    }
    Shown::new(&Placed { stat: Some(&rows), ..Placed::new(target, unit) }, text)
}

/// A line for each target port group.
fn port_groups(unit: &UnitView) -> String {
    let mut table = Table::new(&[">GROUP", "ACCESS STATE", "PREFERRED"]);
    for group in &unit.port_groups {
        table.row(vec![group.tag.to_string(), group.state.clone(), if group.preferred { "yes" } else { "-" }.into()]);
    }
    table.text()
}

/// What was done: a line for each row, which is named by its session or its unit.
pub fn counters(rows: &[StatRow], (heading, name): (&str, fn(&StatRow) -> String)) -> String {
    let mut table = Table::new(&[heading, ">READS", ">READ", ">WRITES", ">WRITTEN", ">ERRORS"]);
    for row in rows {
        table.row(vec![
            name(row),
            row.read_done_commands.to_string(),
            size::words(row.read_done_bytes),
            row.write_done_commands.to_string(),
            size::words(row.write_done_bytes),
            row.errors.to_string(),
        ]);
    }
    table.text()
}

fn add(connect: &Connect, options: &UnitAdd) -> Result<ExitCode> {
    let new = new_unit(options)?;
    let daemon = Daemon::find(connect)?;
    let (tid, lun) = create(&daemon, options, new)?;
    let targets = daemon.targets()?;
    let (target, unit) = naming::unit(&targets, &UnitPlace { target: tid.to_string(), lun })?;
    let text = match &unit.path {
        None => format!("unit {tid}/{lun}: {}, no medium\n", show::type_name(unit.device_type)),
        Some(_) => format!("unit {tid}/{lun}: {}, {}, {}\n", show::type_name(unit.device_type), size::words(unit.bytes), medium(unit)),
    };
    watch::print(connect, &Shown::new(&Placed::new(target, unit), text)?)
}

/// The unit that the options mean, but for its place.
fn new_unit(options: &UnitAdd) -> Result<UnitNew> {
    let device_type = match options.device_type.as_str() {
        "tape" => 0x01,
        "cd" => 0x05,
        "changer" => 0x08,
        "osd" => 0x11,
        "passthrough" => 0xff,
        _ => DISK,
    };
    let store = options.store.as_deref();
    let (path, bstype) = match (options.memory, &options.path) {
        (Some(bytes), _) => (Some(bytes.to_string()), Some("memory")),
        (None, _) if options.null => (Some("null".into()), Some("null")),
        (None, Some(path)) if store == Some("memory") => (Some(path.display().to_string()), store),
        (None, Some(path)) => (Some(absolute(&path.to_string_lossy())?), store),
        (None, None) => (None, store),
    };
    let protection = options.protection.and_then(StoreFlag::of_protection).map_or("", StoreFlag::word);
    let flags = words(&[(options.direct, "direct"), (options.sync, "sync"), (!protection.is_empty(), protection)]);
    let switches = [(options.read_only, "readonly"), (options.removable, "removable"), (options.thin, "thin_provisioning")];
    let mut parameters: Vec<(String, String)> = switches.iter().filter(|(set, _)| *set).map(|(_, key)| ((*key).to_owned(), "1".to_owned())).collect();
    parameters.extend(checked(&options.settings, device_type)?);
    Ok(UnitNew {
        device_type,
        path,
        bstype: bstype.map(Into::into),
        bsopts: options.store_options.clone(),
        bsoflags: (!flags.is_empty()).then_some(flags),
        blocksize: options.block_size.map(|size| size.bytes()),
        parameters,
        ..UnitNew::default()
    })
}

/// The words that are set, between colons.
fn words(flags: &[(bool, &str)]) -> String {
    flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect::<Vec<_>>().join(":")
}

/// Makes it; without a number, at the lowest free one, or the next when somebody else was faster.
fn create(daemon: &Daemon, options: &UnitAdd, new: UnitNew) -> Result<(i32, u64)> {
    for _ in 0..ATTEMPTS {
        let targets = daemon.targets()?;
        let target = naming::target(&targets, &options.target)?;
        let taken: BTreeSet<u64> = target.units.iter().map(|unit| unit.lun).collect();
        let lun = options.lun.unwrap_or_else(|| (1..u64::MAX).find(|lun| !taken.contains(lun)).unwrap_or(u64::MAX));
        match daemon.ask(Request::UnitNew(UnitNew { tid: target.tid, lun, ..new.clone() })) {
            Ok(_) => return Ok((target.tid, lun)),
            Err(error) if options.lun.is_none() && client::is_refused(&error, Code::UnitExists) => {}
            Err(error) => return Err(error),
        }
    }
    bail!("somebody else takes every free number first: give one with --lun")
}

/// A path that means the same to the daemon, which works in another folder.
fn absolute(path: &str) -> Result<String> {
    let absolute = std::path::absolute(path).with_context(|| format!("`{path}`"))?;
    absolute.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{} is not UTF-8: rename it", path.display()))
}

/// Settings as the daemon takes them. All are looked at before the first is changed; those of other devices than disks are the daemon's to judge.
fn checked(settings: &[Assignment], device_type: u8) -> Result<Vec<(String, String)>> {
    let check = |set: &Assignment| {
        let raw = device_type != DISK && !unit_setting::is_known(&set.key);
        let value = if raw { set.value.clone() } else { unit_setting::check(&set.key, &set.value).map_err(Refusal::from)? };
        Ok((set.key.clone(), value))
    };
    settings.iter().map(check).collect()
}

fn set(connect: &Connect, place: &UnitPlace, settings: &[Assignment]) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    let (target, unit) = naming::unit(&targets, place)?;
    let mut settings = checked(settings, unit.device_type)?;
    for (_, value) in settings.iter_mut().filter(|(key, _)| key == "path" && unit.store != "memory") {
        *value = absolute(value)?;
    }
    // One at a time, so that a refusal is that of its setting, and none after it is changed.
    for (done, pair) in settings.iter().enumerate() {
        let request = Request::UnitUpdate { tid: target.tid, lun: unit.lun, parameters: vec![pair.clone()] };
        daemon.ask(request).map_err(|error| target::after(error, &target::words(&settings[..done])))?;
    }
    if connect.json {
        return watch::print(connect, &show_one(&daemon, &UnitPlace { target: target.tid.to_string(), lun: unit.lun })?);
    }
    watch::say(&format!("unit {}/{}: {}", target.tid, unit.lun, target::words(&settings)))
}

fn remove(connect: &Connect, places: &[UnitPlace], force: bool) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    // All names are understood before the first unit goes.
    let chosen: Vec<(&TargetView, &UnitView)> = places.iter().map(|place| naming::unit(&targets, place)).collect::<Result<_>>()?;
    for (target, unit) in &chosen {
        daemon.ask(Request::UnitDelete { tid: target.tid, lun: unit.lun, force })?;
    }
    let text = chosen.iter().map(|(target, unit)| format!("unit {}/{} is removed\n", target.tid, unit.lun)).collect();
    watch::print(connect, &Shown::new(&json!({ "removed": chosen.len() }), text)?)
}

fn resize(connect: &Connect, place: &UnitPlace, bytes: Option<u64>, force: bool) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let place = settled(&daemon, place)?;
    daemon.ask(Request::UnitResize { tid: place.0, lun: place.1, bytes, force })?;
    tell(connect, &daemon, place, |unit| format!("has {} ({} bytes)", size::words(unit.bytes), unit.bytes))
}

fn swap(connect: &Connect, options: &UnitSwap) -> Result<ExitCode> {
    let (path, bstype) = match (options.memory, &options.path) {
        (Some(bytes), _) => (bytes.to_string(), Some("memory".to_owned())),
        (None, Some(path)) if options.store.as_deref() == Some("memory") => (path.display().to_string(), options.store.clone()),
        (None, Some(path)) => (absolute(&path.to_string_lossy())?, options.store.clone()),
        (None, None) => bail!("give a PATH, or --memory SIZE"),
    };
    let words = words(&[(options.direct, "direct"), (options.sync, "sync"), (options.read_only, "readonly")]);
    let bsoflags = (options.no_flags || !words.is_empty()).then_some(words);
    let daemon = Daemon::find(connect)?;
    let place = settled(&daemon, &options.unit)?;
    daemon.ask(Request::UnitSwap(request::UnitSwap { tid: place.0, lun: place.1, path, bstype, bsoflags, force: options.force }))?;
    tell(connect, &daemon, place, |unit| format!("is on {}, {}", medium(unit), size::words(unit.bytes)))
}

/// Numbers of target and unit.
fn settled(daemon: &Daemon, place: &UnitPlace) -> Result<(i32, u64)> {
    let targets = daemon.targets()?;
    naming::unit(&targets, place).map(|(target, unit)| (target.tid, unit.lun))
}

/// Says what became of a unit; as JSON, shows it.
fn tell(connect: &Connect, daemon: &Daemon, (tid, lun): (i32, u64), what: impl Fn(&UnitView) -> String) -> Result<ExitCode> {
    let targets = daemon.targets()?;
    let (target, unit) = naming::unit(&targets, &UnitPlace { target: tid.to_string(), lun })?;
    let text = format!("unit {tid}/{lun} {}\n", what(unit));
    watch::print(connect, &Shown::new(&Placed::new(target, unit), text)?)
}

/// Shows the target port groups, or changes one.
fn access_state(connect: &Connect, place: &UnitPlace, group: Option<u16>, state: Option<&str>, preferred: bool) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let place = settled(&daemon, place)?;
    if let Some(group) = group {
        let Some(state) = state.and_then(AccessState::from_word) else { bail!("say what becomes of group {group}: a state, or --fail") };
        let access = Access { group, state, preferred };
        daemon.ask(Request::UnitUpdate { tid: place.0, lun: place.1, parameters: vec![("access_state".into(), access.to_string())] })?;
    }
    show_port_groups(connect, &daemon, place)
}

/// Has the transition of a target port group fail.
fn fail_transition(connect: &Connect, place: &UnitPlace, group: u16) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let place = settled(&daemon, place)?;
    daemon.ask(Request::UnitFailTransition { tid: place.0, lun: place.1, group })?;
    show_port_groups(connect, &daemon, place)
}

fn show_port_groups(connect: &Connect, daemon: &Daemon, (tid, lun): (i32, u64)) -> Result<ExitCode> {
    let targets = daemon.targets()?;
    let (_, unit) = naming::unit(&targets, &UnitPlace { target: tid.to_string(), lun })?;
    watch::print(connect, &Shown::new(&unit.port_groups, port_groups(unit))?)
}

fn reset(connect: &Connect, place: &UnitPlace) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    let (target, unit) = naming::unit(&targets, place)?;
    daemon.ask(Request::UnitReset { tid: target.tid, lun: unit.lun })?;
    let text = format!("unit {}/{} is reset\n", target.tid, unit.lun);
    watch::print(connect, &Shown::new(&json!({ "reset": true }), text)?)
}
