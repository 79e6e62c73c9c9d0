//! Fault rules of the whole daemon: numbered in order of creation, kept by (tid, lun), alive whether or not the unit exists.

use std::collections::BTreeMap;

use admin::code::Code;
use admin::reply::Failure;
use admin::request::FaultSelection;
use admin::view::RuleLine;
use fault::{RuleId, RuleSpec, RuleView, Rules};
use target::Unit;

/// Most rules of a daemon: each costs a comparison per matching command.
pub const RULE_LIMIT: usize = 10_000;

/// Where a rule lives.
type Place = (i32, u64);

/// The register. The rules themselves, with their counts, are in the unit while it exists, and here otherwise.
pub struct FaultBook {
    refused: bool,
    seed: u64,
    next: u64,
    places: BTreeMap<RuleId, Place>,
    waiting: BTreeMap<Place, Rules>,
}

impl FaultBook {
    /// An empty register; `refused`: every rule is turned down.
    pub fn new(seed: u64, refused: bool) -> FaultBook {
        FaultBook { refused, seed, next: 0, places: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    /// Rules are turned down.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a rule; `unit` is the one it is for, when there is one.
    ///
    /// # Errors
    /// When rules are refused or there are too many.
    pub fn insert(&mut self, tid: i32, lun: u64, spec: RuleSpec, unit: Option<&mut Unit>) -> Result<RuleId, Failure> {
        if self.refused {
            return Err(Code::InvalidRequest.because("this daemon was started with --no-faults and refuses every rule"));
        }
        if self.places.len() >= RULE_LIMIT {
            return Err(Code::InvalidRequest.because(format!("there are {RULE_LIMIT} rules already: remove some")));
        }
        let id = RuleId(self.next);
        self.next += 1;
        self.places.insert(id, (tid, lun));
        match unit {
            Some(unit) => unit.faults_mut().insert(id, spec),
            None => self.waiting(tid, lun).insert(id, spec),
        }
        Ok(id)
    }

    /// A unit appears: the rules that waited for it move in.
    pub fn attach(&mut self, tid: i32, lun: u64, unit: &mut Unit) {
        if let Some(mut rules) = self.waiting.remove(&(tid, lun)) {
            for rule in rules.drain() {
                unit.faults_mut().restore(rule);
            }
        }
    }

    /// A unit goes: its rules wait for the next one with its numbers.
    pub fn detach(&mut self, tid: i32, lun: u64, unit: &mut Unit) {
        let rules = unit.faults_mut().drain();
        if !rules.is_empty() {
            let waiting = self.waiting(tid, lun);
            rules.into_iter().for_each(|rule| waiting.restore(rule));
        }
    }

    /// Numbers and places of the rules that a selection means.
    ///
    /// # Errors
    /// When it names a rule that does not exist.
    pub fn select(&self, selection: FaultSelection) -> Result<Vec<(RuleId, Place)>, Failure> {
        let all = self.places.iter().map(|(&id, &place)| (id, place));
        Ok(match selection {
            FaultSelection::All => all.collect(),
            FaultSelection::Unit { tid, lun } => all.filter(|(_, place)| place.0 == tid && lun.is_none_or(|lun| lun == place.1)).collect(),
            FaultSelection::Rule(number) => match self.places.get(&RuleId(number)) {
                Some(&place) => vec![(RuleId(number), place)],
                None => return Err(Code::InvalidRequest.because(format!("there is no rule {number}"))),
            },
        })
    }

    /// Removes a rule. A command that it holds (`HANG`) goes on, at `now` nanoseconds of the reactors' clock.
    pub fn remove(&mut self, id: RuleId, unit: Option<&mut Unit>, now: u64) {
        let Some(place) = self.places.remove(&id) else { return };
        match unit {
            Some(unit) => {
                unit.faults_mut().remove(id);
                unit.release_hung(Some(id), now);
            }
            None => {
                if let Some(rules) = self.waiting.get_mut(&place) {
                    rules.remove(id);
                }
            }
        }
    }

    /// All rules in order of creation. `views` gives those of a living unit.
    pub fn lines(&self, mut views: impl FnMut(i32, u64) -> Option<Vec<RuleView>>) -> Vec<RuleLine> {
        let mut by_place: BTreeMap<Place, Vec<RuleView>> = BTreeMap::new();
        for &(tid, lun) in self.places.values() {
            by_place.entry((tid, lun)).or_insert_with(|| {
                let waiting = || self.waiting.get(&(tid, lun)).map(Rules::views);
                views(tid, lun).or_else(waiting).unwrap_or_default()
            });
        }
        let mut lines: Vec<RuleLine> = by_place.iter().flat_map(|(&(tid, lun), views)| views.iter().map(move |view| line(tid, lun, view))).collect();
        lines.sort_by_key(|line| line.index);
        lines
    }

    fn waiting(&mut self, tid: i32, lun: u64) -> &mut Rules {
        let seed = self.seed;
        self.waiting.entry((tid, lun)).or_insert_with(|| Rules::new(seed))
    }
}

/// A rule as it is told.
pub fn line(tid: i32, lun: u64, view: &RuleView) -> RuleLine {
    RuleLine {
        index: view.id.0,
        tid,
        lun,
        fired: view.fired,
        rule: fault::grammar::render(&view.spec),
        line: fault::grammar::show_line(view.id.0, tid, lun, view),
    }
}
