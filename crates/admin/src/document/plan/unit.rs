//! Units: told apart by number. What a store or a block is cannot change under a running unit: such a unit is made anew, alone.

use super::{Kind, Plan};
use crate::document::unit::Value;
use crate::document::{ModePage, StoreFlag, Target, Unit};
use crate::request::{Request, UnitNew, UnitSwap};

/// What changes of what a unit is made of: field, old and new value of each.
fn differences(was: &Unit, is: &Unit) -> Vec<(&'static str, String, String)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    let size = |unit: &Unit| text(&unit.size.map(|size| size.to_string()));
    let rows = [
        ("type", was.kind.word().to_owned(), is.kind.word().to_owned()),
        ("store", was.store_word().to_owned(), is.store_word().to_owned()),
        ("path", text(&was.path), text(&is.path)),
        ("size", size(was), size(is)),
        ("flags", text(&Some(flags(was, " ")).filter(|words| !words.is_empty())), text(&Some(flags(is, " ")).filter(|words| !words.is_empty()))),
        ("bsopts", text(&was.bsopts), text(&is.bsopts)),
        ("block_size", was.block_size.unwrap_or(512).to_string(), is.block_size.unwrap_or(512).to_string()),
        ("identity", text(&was.identity), text(&is.identity)),
    ];
    rows.into_iter().filter(|(_, old, new)| old != new).collect()
}

fn flags(unit: &Unit, between: &str) -> String {
    unit.flags.iter().map(|flag| flag.word()).collect::<Vec<_>>().join(between)
}

/// The request that changes what a unit is made of under its sessions. `None`: that cannot be done, the unit has to be made anew.
fn live(tid: i32, was: &Unit, is: &Unit, differences: &[(&'static str, String, String)]) -> Option<Request> {
    let only = |fields: &[&str]| differences.iter().all(|(field, ..)| fields.contains(field));
    let path = is.medium().filter(|_| was.medium().is_some())?;
    let lun = is.lun;
    if only(&["size"]) {
        return Some(Request::UnitResize { tid, lun, bytes: Some(is.size?.0), force: true });
    }
    let swap = UnitSwap { tid, lun, path, bstype: Some(is.store_word().into()), bsoflags: Some(flags(is, ":")), force: true };
    only(&["store", "path", "size", "flags"]).then_some(Request::UnitSwap(swap))
}

fn find(target: &Target, lun: u64) -> Option<&Unit> {
    target.units.binary_search_by_key(&lun, |unit| unit.lun).ok().and_then(|at| target.units.get(at))
}

/// Units that go for good.
pub(super) fn removed(plan: &mut Plan, was: &Target, is: &Target) {
    let tid = is.tid.unwrap_or_default();
    for unit in was.units.iter().filter(|unit| find(is, unit.lun).is_none()) {
        let text = format!("unit {tid}/{}: {}; its sessions notice", unit.lun, described(unit));
        plan.add(Kind::Removed, text, vec![Request::UnitDelete { tid, lun: unit.lun, force: true }]);
    }
}

/// What a unit is, in a few words.
fn described(unit: &Unit) -> String {
    let medium = unit.medium().unwrap_or_else(|| "no medium".into());
    format!("{} {} {medium}", unit.kind.word(), unit.store_word())
}

pub(super) fn changed_and_new(plan: &mut Plan, was: &Target, is: &Target) {
    let tid = is.tid.unwrap_or_default();
    for unit in &is.units {
        match find(was, unit.lun) {
            None => plan.add(Kind::Added, format!("unit {tid}/{}: {}", unit.lun, described(unit)), made(tid, unit)),
            Some(old) => changed(plan, tid, old, unit),
        }
    }
}

fn changed(plan: &mut Plan, tid: i32, was: &Unit, is: &Unit) {
    let differences = differences(was, is);
    if differences.is_empty() {
        return parameters(plan, tid, was, is);
    }
    let changes: Vec<String> = differences.iter().map(|(field, old, new)| format!("{field} {old} -> {new}")).collect();
    let text = format!("unit {tid}/{}: {}", is.lun, changes.join(", "));
    let Some(request) = live(tid, was, is, &differences) else {
        let mut requests = vec![Request::UnitDelete { tid, lun: is.lun, force: true }];
        requests.extend(made(tid, is));
        return plan.add(Kind::Changed, format!("{text}; it is made anew, its sessions notice"), requests);
    };
    plan.add(Kind::Changed, text, vec![request]);
    let read_only = |unit: &Unit| unit.flags.contains(&StoreFlag::ReadOnly);
    let mut now = was.clone();
    if read_only(was) != read_only(is) {
        // The other store has made the unit so, whatever was set before.
        now.readonly = None;
    }
    parameters(plan, tid, &now, is);
}

/// The request that makes a unit with all that it has.
fn made(tid: i32, unit: &Unit) -> Vec<Request> {
    let mut parameters: Vec<(String, String)> = unit.mode_pages.iter().map(|page| ("mode_page".to_owned(), page.to_string())).collect();
    parameters.extend(unit.access_states.iter().map(|access| ("access_state".to_owned(), access.to_string())));
    parameters.extend(unit.parameters().into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.text()))));
    vec![Request::UnitNew(UnitNew { parameters, ..unit.new_request(tid) })]
}

/// Changes of a unit that stays.
fn parameters(plan: &mut Plan, tid: i32, was: &Unit, is: &Unit) {
    let lun = is.lun;
    let set = |name: &str, value: String| Request::UnitUpdate { tid, lun, parameters: vec![(name.to_owned(), value)] };
    let unset = |name: String| Request::UnitDefault { tid, lun, names: vec![name] };
    pages(plan, tid, was, is);
    access(plan, tid, was, is);
    let control_changed = was.control_page() != is.control_page();
    for ((name, old), (_, new)) in was.parameters().into_iter().zip(is.parameters()) {
        if old != new {
            let words = |value: &Option<Value>| value.as_ref().map_or_else(|| default_of(name, is), Value::words);
            let text = format!("unit {tid}/{lun}: {name} {} -> {}", words(&old), words(&new));
            let mut requests = vec![match &new {
                Some(value) => set(name, value.text()),
                None => unset(name.to_owned()),
            }];
            if let (None, "sense_format", Some(page)) = (&new, name, is.control_page()) {
                // The page as given holds the bit that is asked for now.
                requests.push(set("mode_page", page.to_string()));
            }
            plan.add(Kind::Changed, text, requests);
        } else if let (true, "sense_format", Some(value)) = (control_changed, name, new) {
            plan.add(Kind::Changed, format!("unit {tid}/{lun}: {name} {} again, in the other page", value.words()), vec![set(name, value.text())]);
        }
    }
}

/// What a parameter is without being set, for people.
fn default_of(name: &str, unit: &Unit) -> String {
    let yes = |flag| if flag { "yes" } else { "no" }.into();
    match name {
        "removable" => yes(unit.medium().is_none()),
        "online" => yes(unit.medium().is_some()),
        "thin_provisioning" => yes(unit.identity.is_some()),
        "readonly" => yes(unit.flags.contains(&StoreFlag::ReadOnly)),
        "sense_format" => yes(false),
        "la_lba" | "optimal_xfer_gran" | "optimal_xfer_len" | "rotation_rate" => "0".into(),
        "alua" => "both".into(),
        _ => "its own".into(),
    }
}

fn pages(plan: &mut Plan, tid: i32, was: &Unit, is: &Unit) {
    let lun = is.lun;
    for ModePage { page, subpage, .. } in was.mode_pages.iter().filter(|page| is.page((page.page, page.subpage)).is_none()) {
        let request = Request::UnitDefault { tid, lun, names: vec![format!("mode_page:{page}:{subpage}")] };
        plan.add(Kind::Changed, format!("unit {tid}/{lun}: mode page {page:#04x}/{subpage:#04x} is the type's own again"), vec![request]);
    }
    for page in is.mode_pages.iter().filter(|page| was.page((page.page, page.subpage)) != Some(*page)) {
        let request = Request::UnitUpdate { tid, lun, parameters: vec![("mode_page".into(), page.to_string())] };
        plan.add(Kind::Changed, format!("unit {tid}/{lun}: mode page {page}"), vec![request]);
    }
}

fn access(plan: &mut Plan, tid: i32, was: &Unit, is: &Unit) {
    let lun = is.lun;
    let named = |unit: &Unit, group: u16| unit.access_states.iter().any(|access| access.group == group);
    for gone in was.access_states.iter().filter(|access| !named(is, access.group)) {
        let request = Request::UnitDefault { tid, lun, names: vec![format!("access_state:{}", gone.group)] };
        plan.add(Kind::Changed, format!("unit {tid}/{lun}: target port group {} is optimized again", gone.group), vec![request]);
    }
    for access in is.access_states.iter().filter(|access| !was.access_states.contains(access)) {
        let request = Request::UnitUpdate { tid, lun, parameters: vec![("access_state".into(), access.to_string())] };
        plan.add(Kind::Changed, format!("unit {tid}/{lun}: access state {access}"), vec![request]);
    }
}
