//! The settled form of a document: every gap that the running configuration fills is filled, and what a new target or unit has anyway is left out. Two
//! configurations are the same when their settled and [sorted](Document::sorted) forms are equal.

use std::collections::{BTreeMap, BTreeSet};

use super::{Document, Fault, KeyValue, System, Target};
use crate::portal::Portal;

impl Document {
    /// The settled form of what is wanted, over what runs (itself [`settled`](Document::settled) over nothing or as the daemon dumps it).
    ///
    /// Targets get the number of the running target of the same name, or the lowest that neither the document nor a running target that stays has.
    #[must_use]
    pub fn settled(&self, running: &Document) -> Document {
        let mut document = self.clone();
        document.portals = Some(portals(document.portals.as_ref(), running.portals.as_deref().unwrap_or_default()));
        let system = document.system.get_or_insert_with(|| running.system.clone().unwrap_or_default()).clone();
        document.isns.get_or_insert_with(|| running.isns.clone().unwrap_or_default());
        let known: BTreeMap<&str, _> = running.accounts.iter().map(|account| (account.user.as_str(), &account.password)).collect();
        for account in document.accounts.iter_mut().filter(|account| account.password.is_none()) {
            account.password = known.get(account.user.as_str()).and_then(|password| (*password).clone());
        }
        number(&mut document.targets, &running.targets);
        for target in &mut document.targets {
            tidy(target, &system);
        }
        document.targets.sort_by_key(|target| target.tid);
        place_faults(&mut document);
        document
    }

    /// With the lists whose order means nothing in one order.
    #[must_use]
    pub fn sorted(mut self) -> Document {
        self.portals.iter_mut().for_each(|portals| portals.sort());
        self.accounts.sort_by(|one, other| one.user.cmp(&other.user));
        self.discovery.incoming.sort();
        for target in &mut self.targets {
            target.allow.sort();
            target.initiators.sort();
            target.hosts.sort_unstable();
            target.incoming.sort();
        }
        self
    }
}

/// In their canonical form. A port of 0 means the portal of that address that is open already, if there is one.
fn portals(wanted: Option<&Vec<String>>, running: &[String]) -> Vec<String> {
    let Some(wanted) = wanted else { return running.to_vec() };
    let canonical = |text: &String| Portal::parse(text).map_or_else(|_| text.clone(), |portal| portal.to_string());
    let mut found: Vec<String> = wanted.iter().map(canonical).collect();
    let fixed: BTreeSet<String> = found.iter().cloned().collect();
    let mut open: Vec<&String> = running.iter().filter(|portal| !fixed.contains(*portal)).collect();
    for portal in &mut found {
        let Some(any) = Portal::parse(portal).ok().filter(|portal| portal.port == 0) else { continue };
        if let Some(at) = open.iter().position(|open| Portal::parse(open).is_ok_and(|open| (open.host, open.group) == (any.host.clone(), any.group)))
        {
            portal.clone_from(open.remove(at));
        }
    }
    found
}

/// Gives every target its number.
fn number(targets: &mut [Target], running: &[Target]) {
    let of_name: BTreeMap<&str, i32> = running.iter().filter_map(|target| Some((target.name.as_str(), target.tid?))).collect();
    let mut taken: BTreeSet<i32> = targets.iter().filter_map(|target| target.tid).collect();
    for target in targets.iter_mut().filter(|target| target.tid.is_none()) {
        // One that the document gives to another target is lost: this one moves.
        target.tid = of_name.get(target.name.as_str()).copied().filter(|tid| taken.insert(*tid));
    }
    let mut next = 1;
    for target in targets.iter_mut().filter(|target| target.tid.is_none()) {
        while !taken.insert(next) {
            next += 1;
        }
        target.tid = Some(next);
    }
}

fn tidy(target: &mut Target, system: &System) {
    target.nop_interval.take_if(|seconds| *seconds == system.nop_interval);
    target.nop_count.take_if(|count| *count == system.nop_count);
    target.redirect.address.take_if(|address| address.is_empty());
    target.redirect.callback.take_if(|program| program.is_empty());
    target.keys.retain(|key, value| match key.read(&value.text()) {
        Some(read) if read == key.default_value() => false,
        Some(read) => {
            *value = KeyValue::from_value(*key, read);
            true
        }
        // Not a value of this key: the check has told.
        None => true,
    });
    target.units.iter_mut().for_each(super::Unit::tidy);
    target.units.sort_by_key(|unit| unit.lun);
}

/// Rules stand in their unit when there is one; the others are sorted by place.
fn place_faults(document: &mut Document) {
    let mut units: BTreeMap<(i32, u64), &mut super::Unit> = BTreeMap::new();
    for target in &mut document.targets {
        let tid = target.tid.unwrap_or_default();
        units.extend(target.units.iter_mut().map(|unit| ((tid, unit.lun), unit)));
    }
    let mut rest: Vec<Fault> = Vec::new();
    for mut fault in std::mem::take(&mut document.faults) {
        if let Ok(spec) = fault::grammar::parse(&fault.rule) {
            fault.rule = fault::grammar::render(&spec);
        }
        match units.get_mut(&(fault.tid, fault.lun)) {
            Some(unit) => unit.faults.push(fault.rule),
            None => rest.push(fault),
        }
    }
    rest.sort_by_key(|fault| (fault.tid, fault.lun));
    document.faults = rest;
}

impl KeyValue {
    /// The document's form of a value.
    pub fn from_value(key: crate::setting::Key, value: crate::setting::Value) -> KeyValue {
        use crate::setting::Value;
        match value {
            Value::Number(number) => KeyValue::Number(number.into()),
            Value::Flag(flag) if key.is_flag() => KeyValue::Flag(flag),
            other => KeyValue::Text(key.show(other)),
        }
    }
}
