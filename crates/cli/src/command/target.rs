//! `scuzzy target`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use admin::code::Code;
use admin::reply::Answer;
use admin::request::{Binding, Request};
use admin::setting::{self, Redirect};
use admin::view::{TargetParametersView, TargetView};
use anyhow::{Result, anyhow, bail};
use daemon::size;
use serde::Serialize;
use serde_json::json;

use super::{session, unit};
use crate::arguments::{Assignment, Connect, Target, TargetAction};
use crate::client::{self, Daemon};
use crate::naming;
use crate::table::{Table, counted, facts};
use crate::watch::{self, Shown};

/// How often another number is tried when somebody else takes the free one first.
const ATTEMPTS: usize = 16;

/// Runs the command.
pub fn run(options: Target) -> Result<ExitCode> {
    let Target { connect, action } = options;
    match action {
        TargetAction::List { watch } => watch::run(&connect, watch, |daemon| list(&daemon.targets()?)),
        TargetAction::Show { target, watch } => watch::run(&connect, watch, |daemon| show(daemon, &target)),
        TargetAction::Add { name, tid, allow, initiator, settings } => add(&connect, &name, tid, &[allow, initiator].concat(), &settings),
        TargetAction::Set { target, settings } => set(&connect, &target, &settings),
        TargetAction::Rm { targets, force } => remove(&connect, &targets, force),
    }
}

fn list(targets: &[TargetView]) -> Result<Shown> {
    if targets.is_empty() {
        return Shown::new(&targets, "no targets: make one with `scuzzy target add NAME`\n".into());
    }
    let mut table = Table::new(&[">TID", "NAME", "STATE", ">UNITS", ">SIZE", ">SESSIONS", "ALLOWED"]);
    for target in targets {
        table.row(vec![
            target.tid.to_string(),
            target.name.clone(),
            target.state.word().into(),
            unit::of(target).count().to_string(),
            size::words(unit::of(target).map(|unit| unit.bytes).sum()),
            target.sessions.len().to_string(),
            allowed(target),
        ]);
    }
    Shown::new(&targets, table.text())
}

/// Who may log in, in a few words.
fn allowed(target: &TargetView) -> String {
    let rules: Vec<&str> = target.addresses.iter().chain(&target.names).map(String::as_str).collect();
    match rules.as_slice() {
        [] => "nobody".into(),
        [one] => (*one).into(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// A target with its settings.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    view: &'a TargetView,
    redirect: &'a Redirect,
    parameters: BTreeMap<&'a str, &'a str>,
}

fn show(daemon: &Daemon, name: &str) -> Result<Shown> {
    let targets = daemon.targets()?;
    let target = naming::target(&targets, name)?;
    let settings = match daemon.ask(Request::TargetShow { tid: Some(target.tid) })? {
        Answer::TargetParameters(settings) => settings,
        other => return Err(client::unexpected(&other)),
    };
    let parameters = settings.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    Shown::new(&Whole { view: target, redirect: &settings.redirect, parameters }, text(target, &settings))
}

fn text(target: &TargetView, settings: &TargetParametersView) -> String {
    let list = |things: &[&[String]]| match things.concat() {
        things if things.is_empty() => "nobody".into(),
        things => things.join(", "),
    };
    let accounts = if target.incoming.is_empty() { "none".into() } else { target.incoming.join(", ") };
    let bytes = unit::of(target).map(|unit| unit.bytes).sum();
    let mut text = facts(&[
        ("target", target.tid.to_string()),
        ("name", target.name.clone()),
        ("state", target.state.word().into()),
        ("allowed", list(&[&target.addresses, &target.names])),
        ("accounts", accounts),
        ("outgoing", target.outgoing.clone().unwrap_or_else(|| "none".into())),
        ("pings", pings(settings.nop_interval, settings.nop_count)),
        ("redirect", redirect(&settings.redirect)),
        ("units", format!("{}, {}", counted(unit::of(target).count(), "unit"), size::words(bytes))),
        ("sessions", target.sessions.len().to_string()),
    ]);
    if unit::of(target).next().is_some() {
        text.push('\n');
        text.push_str(&unit::table(unit::of(target).map(|unit| (target, unit))));
    }
    if !target.sessions.is_empty() {
        text.push('\n');
        text.push_str(&session::table(target.sessions.iter().map(|session| (target, session))));
    }
    text.push('\n');
    text.push_str(&facts(&settings.parameters.iter().map(|(key, value)| (key.as_str(), value.clone())).collect::<Vec<_>>()));
    text
}

fn pings(interval: u32, count: u32) -> String {
    match interval {
        0 => "none".into(),
        seconds => format!("every {seconds} s, closed after {count} without answer"),
    }
}

fn redirect(redirect: &Redirect) -> String {
    let address = redirect.address.as_deref().filter(|address| !address.is_empty());
    match (&redirect.callback, address) {
        (Some(program), _) if !program.is_empty() => format!("as {program} says"),
        (_, Some(address)) => format!("to {address}{}{}", if redirect.port.is_empty() { "" } else { " port " }, redirect.port),
        _ => "none".into(),
    }
}

fn add(connect: &Connect, name: &str, tid: Option<i32>, rules: &[Binding], settings: &[Assignment]) -> Result<ExitCode> {
    let settings = checked(settings)?;
    let daemon = Daemon::find(connect)?;
    let tid = create(&daemon, name, tid)?;
    let finish = || {
        update(&daemon, tid, &settings)?;
        if !rules.is_empty() {
            daemon.ask(Request::TargetBind { tid, rules: rules.to_vec() })?;
        }
        Ok::<(), anyhow::Error>(())
    };
    if let Err(error) = finish() {
        // All or nothing: a half-made target would stand in the way of the next attempt.
        daemon.ask(Request::TargetDelete { tid, force: true })?;
        return Err(error);
    }
    let targets = daemon.targets()?;
    let target = naming::target(&targets, &tid.to_string())?;
    let who = allowed(target);
    watch::print(connect, &Shown::new(target, format!("target {tid}: {name}, allowed: {who}\n"))?)
}

/// Makes it; without a number, at the lowest free one, or the next when somebody else was faster.
fn create(daemon: &Daemon, name: &str, tid: Option<i32>) -> Result<i32> {
    for _ in 0..ATTEMPTS {
        let targets = daemon.targets()?;
        let taken: BTreeSet<i32> = targets.iter().map(|target| target.tid).collect();
        let free = tid.unwrap_or_else(|| (1..i32::MAX).find(|tid| !taken.contains(tid)).unwrap_or(i32::MAX));
        match daemon.ask(Request::TargetNew { tid: free, name: name.into() }) {
            Ok(_) => return Ok(free),
            Err(error) if tid.is_none() && client::is_refused(&error, Code::TargetExists) && targets.iter().all(|target| target.name != name) => {}
            Err(error) => return Err(error),
        }
    }
    bail!("somebody else takes every free number first: give one with --tid")
}

/// Settings as the daemon takes them. All are looked at before the first is changed.
fn checked(settings: &[Assignment]) -> Result<Vec<(&'static str, String)>> {
    settings.iter().map(|set| setting::check(&set.key, &set.value).map_err(|failure| client::Refusal::from(failure).into())).collect()
}

fn update(daemon: &Daemon, tid: i32, settings: &[(&'static str, String)]) -> Result<()> {
    for (done, (name, value)) in settings.iter().enumerate() {
        let request = Request::TargetUpdate { tid, name: (*name).into(), value: value.clone() };
        daemon.ask(request).map_err(|error| after(error, &words(&settings[..done])))?;
    }
    Ok(())
}

/// `KEY=VALUE, KEY=VALUE`.
pub fn words<K: AsRef<str>>(settings: &[(K, String)]) -> String {
    settings.iter().map(|(key, value)| format!("{}={value}", key.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A refusal of a setting, when others are changed already.
pub fn after(error: anyhow::Error, done: &str) -> anyhow::Error {
    if done.is_empty() { error } else { anyhow!("{error} (changed before: {done})") }
}

fn set(connect: &Connect, name: &str, settings: &[Assignment]) -> Result<ExitCode> {
    let settings = checked(settings)?;
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    let target = naming::target(&targets, name)?;
    update(&daemon, target.tid, &settings)?;
    if connect.json {
        return watch::print(connect, &show(&daemon, &target.tid.to_string())?);
    }
    watch::say(&format!("target {}: {}", target.tid, words(&settings)))
}

fn remove(connect: &Connect, names: &[String], force: bool) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    // All names are understood before the first target goes.
    let chosen: Vec<&TargetView> = names.iter().map(|name| naming::target(&targets, name)).collect::<Result<_>>()?;
    for target in &chosen {
        daemon.ask(Request::TargetDelete { tid: target.tid, force })?;
    }
    let text = chosen.iter().map(|target| format!("target {} ({}) is removed\n", target.tid, target.name)).collect();
    watch::print(connect, &Shown::new(&json!({ "removed": chosen.len() }), text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_in_words() {
        let to = |callback: Option<&str>, address: Option<&str>| Redirect {
            callback: callback.map(Into::into),
            address: address.map(Into::into),
            port: "3261".into(),
            reason: Some(setting::RedirectReason::Temporary),
        };
        assert_eq!(redirect(&to(None, Some(""))), "none");
        assert_eq!(redirect(&to(Some("/bin/where"), Some("a"))), "as /bin/where says");
        assert_eq!(redirect(&to(None, Some("192.0.2.1"))), "to 192.0.2.1 port 3261");
        assert_eq!(pings(0, 3), "none");
    }
}
