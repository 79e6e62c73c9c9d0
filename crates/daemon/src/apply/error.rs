//! Mode error: fault rules.

use admin::code::Code;
use admin::reply::{Answer, Reply};
use admin::request::FaultSelection;
use fault::journal::Entry;
use fault::{RuleId, RuleView};

use super::Context;
use crate::diary::Seen;
use crate::faults;
use crate::state::State;

/// A new rule. Target and unit need not exist: the rule waits for them.
pub fn new(context: &mut Context<'_>, tid: i32, lun: u64, rule: &str) -> Reply {
    let spec = fault::grammar::parse(rule).map_err(|error| Code::InvalidRequest.because(error.to_string()))?;
    let cell = context.state.unit(tid, lun).map(|unit| unit.cell.clone());
    let id = match &cell {
        Some(cell) => context.state.faults.insert(tid, lun, spec.clone(), Some(&mut cell.lock()))?,
        None => context.state.faults.insert(tid, lun, spec.clone(), None)?,
    };
    Ok(Answer::Rule(faults::line(tid, lun, &RuleView { id, spec, fired: 0 })))
}

pub fn show(context: &Context<'_>) -> Answer {
    Answer::Rules(lines(&context.state))
}

/// All rules in order of creation.
pub fn lines(state: &State) -> Vec<admin::view::RuleLine> {
    state.faults.lines(|tid, lun| views(state, tid, lun))
}

/// Discards rules; commands that a discarded rule holds go on.
pub fn delete(context: &mut Context<'_>, selection: FaultSelection) -> Reply {
    let chosen = context.state.faults.select(selection)?;
    let now = context.plane.now();
    for &(id, (tid, lun)) in &chosen {
        remove(context, id, tid, lun, now);
    }
    Ok(Answer::Removed(chosen.len() as u64))
}

fn remove(context: &mut Context<'_>, id: RuleId, tid: i32, lun: u64, now: u64) {
    let Some(cell) = context.state.unit(tid, lun).map(|unit| unit.cell.clone()) else {
        context.state.faults.remove(id, None, now);
        return;
    };
    context.state.faults.remove(id, Some(&mut cell.lock()), now);
    context.plane.attend(&cell);
}

/// The decisions of a unit's rules, in the journal's format.
pub fn journal(context: &Context<'_>, tid: i32, lun: u64) -> Reply {
    let target = context.state.targets.get(&tid).ok_or(Code::NoTarget)?;
    let unit = target.units.get(&lun).ok_or(Code::NoUnit)?;
    let entries: Vec<Entry> = unit.cell.lock().faults().journal().entries().copied().collect();
    Ok(Answer::Text(fault::journal::write(&entries)))
}

/// Decisions that `seen` does not know yet.
pub fn decisions(state: &State, seen: &mut Seen) -> Vec<(i32, u64, Entry)> {
    let mut found = Vec::new();
    for target in state.targets.values() {
        for (&lun, unit) in target.units.iter() {
            let key = (target.tid, lun, unit.created);
            let next = seen.get(&key).copied().unwrap_or(0);
            let core = unit.cell.lock();
            found.extend(core.faults().journal().entries().filter(|entry| entry.event.0 >= next).map(|entry| (target.tid, lun, *entry)));
            drop(core);
            if let Some((.., last)) = found.last().filter(|(tid, number, _)| (*tid, *number) == (target.tid, lun)) {
                seen.insert(key, last.event.0 + 1);
            }
        }
    }
    found
}

fn views(state: &State, tid: i32, lun: u64) -> Option<Vec<RuleView>> {
    let unit = state.unit(tid, lun)?;
    Some(unit.cell.lock().faults().views())
}
