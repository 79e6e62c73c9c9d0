//! `scuzzy acl`.

use std::process::ExitCode;

use admin::binding;
use admin::request::{Binding, Request};
use admin::view::TargetView;
use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Acl, AclAction, AclRules, Connect};
use crate::client::Daemon;
use crate::naming;
use crate::table::Table;
use crate::watch::{self, Shown};

/// Runs the command.
pub fn run(options: Acl) -> Result<ExitCode> {
    let Acl { connect, action } = options;
    match action {
        AclAction::List { target, watch } => watch::run(&connect, watch, |daemon| list(daemon, target.as_deref())),
        AclAction::Add(rules) => add(&connect, &rules),
        AclAction::Rm(rules) => remove(&connect, &rules),
    }
}

/// A rule and whose it is.
#[derive(Serialize)]
struct Line<'a> {
    tid: i32,
    target: &'a str,
    kind: &'static str,
    rule: &'a str,
}

fn lines(target: &TargetView) -> impl Iterator<Item = Line<'_>> {
    let addresses = target.addresses.iter().map(|rule| ("address", rule));
    let names = target.names.iter().map(|rule| ("name", rule));
    addresses.chain(names).map(|(kind, rule)| Line { tid: target.tid, target: &target.name, kind, rule })
}

fn list(daemon: &Daemon, name: Option<&str>) -> Result<Shown> {
    let targets = daemon.targets()?;
    let chosen = match name {
        Some(name) => vec![naming::target(&targets, name)?],
        None => targets.iter().collect(),
    };
    let lines: Vec<Line<'_>> = chosen.iter().flat_map(|target| lines(target)).collect();
    if lines.is_empty() {
        return Shown::new(&lines, "no rules: nobody may log in\n".into());
    }
    let mut table = Table::new(&[">TARGET", "NAME", "KIND", "RULE"]);
    for line in &lines {
        table.row(vec![line.tid.to_string(), line.target.into(), line.kind.into(), line.rule.into()]);
    }
    Shown::new(&lines, table.text())
}

/// The rules, as the options or their shape say what they are.
fn bindings(options: &AclRules) -> Result<Vec<Binding>> {
    let read = match (options.address, options.name) {
        (true, _) => binding::address,
        (_, true) => binding::name,
        _ => binding::parse,
    };
    options.rules.iter().map(|rule| read(rule).map_err(|error| anyhow!("{error}"))).collect()
}

fn add(connect: &Connect, options: &AclRules) -> Result<ExitCode> {
    let rules = bindings(options)?;
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    let tid = naming::target(&targets, &options.target)?.tid;
    let mut done: Vec<Binding> = Vec::new();
    for rule in rules {
        if let Err(error) = daemon.ask(Request::TargetBind { tid, rules: vec![rule.clone()] }) {
            // All or nothing.
            if !done.is_empty() {
                daemon.ask(Request::TargetUnbind { tid, rules: done })?;
            }
            return Err(error);
        }
        done.push(rule);
    }
    let text = format!("target {tid} lets in {}\n", options.rules.join(", "));
    watch::print(connect, &Shown::new(&json!({ "added": options.rules.len() }), text)?)
}

fn remove(connect: &Connect, options: &AclRules) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let targets = daemon.targets()?;
    let target = naming::target(&targets, &options.target)?;
    // A rule that stands there can be taken away, whatever it looks like: tgtadm takes any text.
    let find = |rule: &String| match (options.address, options.name) {
        (false, false) if target.addresses.contains(rule) => Ok(Binding::Address(rule.clone())),
        (false, false) if target.names.contains(rule) => Ok(Binding::Name(rule.clone())),
        (true, _) => Ok(Binding::Address(rule.clone())),
        (_, true) => Ok(Binding::Name(rule.clone())),
        _ => binding::parse(rule).map_err(|error| anyhow!("{error}")),
    };
    let rules: Vec<Binding> = options.rules.iter().map(find).collect::<Result<_>>()?;
    for rule in rules {
        daemon.ask(Request::TargetUnbind { tid: target.tid, rules: vec![rule] })?;
    }
    let text = format!("target {} lets in no more: {}\n", target.tid, options.rules.join(", "));
    watch::print(connect, &Shown::new(&json!({ "removed": options.rules.len() }), text)?)
}
