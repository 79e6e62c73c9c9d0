//! Targets: they are told apart by name, and one is made anew only for another number.

use std::collections::BTreeMap;

use super::{Kind, Plan, unit};
use crate::document::{Document, Redirect, Target};
use crate::request::{Binding, Request};
use crate::setting::RedirectReason;

/// Targets by name.
fn by_name(document: &Document) -> BTreeMap<&str, &Target> {
    document.targets.iter().map(|target| (target.name.as_str(), target)).collect()
}

/// Targets that go, for good or to come back with another number.
pub(super) fn removed(plan: &mut Plan, old: &Document, new: &Document) {
    let wanted = by_name(new);
    for target in &old.targets {
        let tid = target.tid.unwrap_or_default();
        let text = match wanted.get(target.name.as_str()) {
            Some(kept) if kept.tid == target.tid => continue,
            Some(kept) => format!("target {} ({tid}): its number becomes {}; its sessions end", target.name, kept.tid.unwrap_or_default()),
            None => format!("target {} ({tid}), units: {}; its sessions end", target.name, target.units.len()),
        };
        plan.add(Kind::Removed, text, vec![Request::TargetDelete { tid, force: true }]);
    }
}

/// First everything that goes from targets that stay, then everything that comes: a host number may move from one to the other.
pub(super) fn changed_and_new(plan: &mut Plan, old: &Document, new: &Document) {
    let running = by_name(old);
    let system = new.system.clone().unwrap_or_default();
    let stays = |target: &Target| running.get(target.name.as_str()).copied().filter(|known| known.tid == target.tid);
    for (was, is) in new.targets.iter().filter_map(|target| Some((stays(target)?, target))) {
        access(plan, Kind::Removed, is, was, is);
        unit::removed(plan, was, is);
    }
    for target in &new.targets {
        match stays(target) {
            Some(was) => settings(plan, was, target),
            None => {
                let tid = target.tid.unwrap_or_default();
                plan.add(Kind::Added, format!("target {} ({tid})", target.name), vec![Request::TargetNew { tid, name: target.name.clone() }]);
                // What it has at its start: nothing but the pings of the system.
                let (nop_interval, nop_count) = (Some(system.nop_interval), Some(system.nop_count));
                settings(plan, &Target { tid: Some(tid), nop_interval, nop_count, ..Target::new(&target.name) }, target);
            }
        }
    }
}

fn settings(plan: &mut Plan, was: &Target, is: &Target) {
    let tid = is.tid.unwrap_or_default();
    let mut changes = Changes { plan, target: is, tid };
    if was.state != is.state {
        changes.optional("state", Some(was.state.word().into()), Some(is.state.word().into()), "");
    }
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    changes.optional("nop_interval", number(was.nop_interval), number(is.nop_interval), "");
    changes.optional("nop_count", number(was.nop_count), number(is.nop_count), "");
    redirect(&mut changes, &was.redirect, &is.redirect);
    let keys: std::collections::BTreeSet<_> = was.keys.keys().chain(is.keys.keys()).collect();
    for key in keys {
        let text = |target: &Target| target.keys.get(key).map(super::super::KeyValue::text);
        changes.optional(key.name(), text(was), text(is), &key.show(key.default_value()));
    }
    access(plan, Kind::Added, is, was, is);
    let place = format!("target {}", is.name);
    plan.bindings(Some(tid), &place, (&was.incoming, was.outgoing.as_ref()), (&is.incoming, is.outgoing.as_ref()));
    unit::changed_and_new(plan, was, is);
}

fn redirect(changes: &mut Changes<'_>, was: &Redirect, is: &Redirect) {
    changes.optional("RedirectAddress", was.address.clone(), is.address.clone(), "none");
    changes.optional("RedirectPort", was.port.map(|port| port.to_string()), is.port.map(|port| port.to_string()), "3260");
    let word =
        |reason: Option<RedirectReason>| reason.map(|reason| if reason == RedirectReason::Permanent { "Permanent" } else { "Temporary" }.into());
    changes.optional("RedirectReason", word(was.reason), word(is.reason), "Temporary");
    changes.optional("RedirectCallback", was.callback.clone(), is.callback.clone(), "none");
}

/// Rules and bindings that only one of two has.
fn access(plan: &mut Plan, kind: Kind, place: &Target, was: &Target, is: &Target) {
    let tid = place.tid.unwrap_or_default();
    let (have, lack) = if kind == Kind::Removed { (was, is) } else { (is, was) };
    let mut tell = |what: &str, shown: String, binding: Binding| {
        let rules = vec![binding];
        let request = if kind == Kind::Removed { Request::TargetUnbind { tid, rules } } else { Request::TargetBind { tid, rules } };
        plan.add(kind, format!("target {}: {what} {shown}", place.name), vec![request]);
    };
    for rule in have.allow.iter().filter(|rule| !lack.allow.contains(rule)) {
        tell("allow", rule.clone(), Binding::Address(rule.clone()));
    }
    for rule in have.initiators.iter().filter(|rule| !lack.initiators.contains(rule)) {
        tell("initiator", rule.clone(), Binding::Name(rule.clone()));
    }
    for host in have.hosts.iter().filter(|host| !lack.hosts.contains(host)) {
        tell("host", host.to_string(), Binding::Host(*host));
    }
}

/// Settings of one target.
struct Changes<'a> {
    plan: &'a mut Plan,
    target: &'a Target,
    tid: i32,
}

impl Changes<'_> {
    /// From one value to another; none is that of a new target, which is `default` for people.
    fn optional(&mut self, name: &str, from: Option<String>, to: Option<String>, default: &str) {
        if from == to {
            return;
        }
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| default.to_owned());
        let text = format!("target {}: {name} {} -> {}", self.target.name, shown(&from), shown(&to));
        let request = match to {
            Some(value) => Request::TargetUpdate { tid: self.tid, name: name.into(), value },
            None => Request::TargetDefault { tid: self.tid, names: vec![name.into()] },
        };
        self.plan.add(Kind::Changed, text, vec![request]);
    }
}
