//! What the initiators of a run know together: the history of the blocks, the rules that are armed, and what went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::history::History;

/// Logical block length of the simulated unit.
pub const BLOCK: usize = 512;
/// Blocks that are written by everything but COMPARE AND WRITE.
pub const REGULAR_BLOCKS: u64 = 96;
/// Blocks that only COMPARE AND WRITE writes, behind the regular ones.
pub const CAW_BLOCKS: u64 = 4;

/// Which dangers a run has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hazards {
    /// Initiators break their connections.
    pub resets: bool,
    /// Task management.
    pub functions: bool,
    /// Mode changes, of which others must hear.
    pub modes: bool,
}

/// A fault rule of the run: writes to `range` fail with 3/0c02.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Blocks.
    pub range: Range<u64>,
    /// Armed at this time.
    pub from: u64,
    /// Removed at this time.
    pub until: Option<u64>,
}

/// Common knowledge.
pub struct Shared {
    /// What blocks may contain.
    pub history: History,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Some disk operations fail.
    pub disk_errors: bool,
    /// Last value seen in each COMPARE AND WRITE block.
    pub seen: BTreeMap<u64, u64>,
    /// COMPARE AND WRITE that succeeded: block and replaced value.
    pub exchanged: BTreeSet<(u64, u64)>,
    /// Blocks for which an aborted COMPARE AND WRITE leaves the count open.
    pub unsure: BTreeSet<u64>,
    /// Mode changes since the run's loop last looked: who, asked when, answered when.
    pub mode_changes: Vec<(usize, u64, u64)>,
    /// Resets since then, in the same form.
    pub resets: Vec<(usize, u64, u64)>,
    violations: Vec<String>,
    next_value: u64,
}

impl Shared {
    /// Nothing has happened.
    pub fn new(disk_errors: bool) -> Shared {
        Shared {
            history: History::new((REGULAR_BLOCKS + CAW_BLOCKS) as usize),
            rules: Vec::new(),
            disk_errors,
            seen: BTreeMap::new(),
            exchanged: BTreeSet::new(),
            unsure: BTreeSet::new(),
            mode_changes: Vec::new(),
            resets: Vec::new(),
            violations: Vec::new(),
            next_value: 1,
        }
    }

    /// A value that no block has held.
    pub fn next_value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }

    /// A rule was broken.
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// The first rule that was broken.
    pub fn first_violation(&self) -> Option<&String> {
        self.violations.first()
    }

    /// A write to `range` between two times must have failed: a rule was armed all the while.
    pub fn must_fail(&self, range: &Range<u64>, asked: u64, answered: u64) -> bool {
        self.rules.iter().any(|rule| overlaps(&rule.range, range) && rule.from <= asked && rule.until.is_none_or(|until| until >= answered))
    }

    /// It may have failed: a rule was armed at some moment.
    pub fn may_fail(&self, range: &Range<u64>, asked: u64, answered: u64) -> bool {
        self.rules.iter().any(|rule| overlaps(&rule.range, range) && rule.from <= answered && rule.until.is_none_or(|until| until >= asked))
    }

    /// An aborted write: it happened before now, or never.
    pub fn history_aborted(&mut self, asked: &(Option<(Range<u64>, u64)>, u64), now: u64) {
        if let (Some((range, value)), at) = asked {
            self.history.aborted(range.clone(), *value, *at, now);
        }
    }
}

fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
