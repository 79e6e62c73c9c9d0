//! Fault rules. They belong to places, target number and unit number, whether or not there is a unit.

use std::collections::BTreeMap;

use super::{Kind, Plan, Running};
use crate::document::Document;
use crate::request::{FaultSelection, Request};

type Place = (i32, u64);

/// Rules of every place that has some, in order.
fn places(document: &Document) -> BTreeMap<Place, Vec<&str>> {
    let mut places: BTreeMap<Place, Vec<&str>> = BTreeMap::new();
    for target in &document.targets {
        for unit in target.units.iter().filter(|unit| !unit.faults.is_empty()) {
            let rules = places.entry((target.tid.unwrap_or_default(), unit.lun)).or_default();
            rules.extend(unit.faults.iter().map(String::as_str));
        }
    }
    for fault in &document.faults {
        places.entry((fault.tid, fault.lun)).or_default().push(&fault.rule);
    }
    places
}

/// Which of the rules that run stay. Order counts, so that those stay that are the beginning of what is wanted.
fn kept(running: &[&str], wanted: &[&str]) -> Vec<bool> {
    let mut wanted = wanted.iter().peekable();
    running.iter().map(|rule| wanted.next_if(|next| *next == rule).is_some()).collect()
}

pub(super) fn removed(plan: &mut Plan, running: &Running, old: &Document, new: &Document) {
    let wanted = places(new);
    for (place, rules) in places(old) {
        let empty = Vec::new();
        let kept = kept(&rules, wanted.get(&place).unwrap_or(&empty));
        let numbers = running.rules.get(&place).map(Vec::as_slice).unwrap_or_default();
        for ((rule, _), number) in rules.iter().zip(&kept).zip(numbers).filter(|((_, kept), _)| !**kept) {
            let text = format!("fault rule of unit {}/{}: {rule}", place.0, place.1);
            plan.add(Kind::Removed, text, vec![Request::FaultDelete(FaultSelection::Rule(*number))]);
        }
    }
}

pub(super) fn added(plan: &mut Plan, old: &Document, new: &Document) {
    let running = places(old);
    for ((tid, lun), rules) in places(new) {
        let empty = Vec::new();
        let stay = kept(running.get(&(tid, lun)).unwrap_or(&empty), &rules).into_iter().filter(|kept| *kept).count();
        for rule in &rules[stay..] {
            let request = Request::FaultNew { tid, lun, rule: (*rule).to_owned() };
            plan.add(Kind::Added, format!("fault rule of unit {tid}/{lun}: {rule}"), vec![request]);
        }
    }
}
