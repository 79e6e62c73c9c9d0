//! What the initiators of a run know together: the history of the blocks, the rules that are armed, and what went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::client::{MODE_CHANGED, RESET};
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

/// A LOGICAL UNIT RESET or a mode change.
#[derive(Clone, Copy, Debug)]
struct Ask {
    who: usize,
    asked: u64,
    answered: Option<u64>,
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
    /// D_SENSE byte of the control mode page, while it is known.
    pub mode_value: Option<u8>,
    /// Mode changes of which others hear, since the run's loop last looked: who, asked when, answered when.
    pub mode_changed: Vec<(usize, u64, u64)>,
    /// What others will hear of, since then: who asks for what.
    pub announced: Vec<(usize, u16)>,
    /// Resets that were carried out, since then: who, asked when, answered when.
    pub reset_done: Vec<(usize, u64, u64)>,
    resets: Vec<Ask>,
    mode_log: Vec<Ask>,
    unsure_until: u64,
    /// Mode changes under way: who, number, overlapped by another.
    modes: Vec<(usize, usize, bool)>,
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
            mode_value: None,
            mode_changed: Vec::new(),
            announced: Vec::new(),
            reset_done: Vec::new(),
            resets: Vec::new(),
            mode_log: Vec::new(),
            unsure_until: 0,
            modes: Vec::new(),
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

    /// A mode change is asked for; its number.
    pub fn mode_asked(&mut self, who: usize, now: u64) -> usize {
        let number = self.mode_log.len();
        let overlapped = !self.modes.is_empty();
        self.modes.iter_mut().for_each(|mode| mode.2 = true);
        self.modes.push((who, number, overlapped));
        self.mode_log.push(Ask { who, asked: now, answered: None });
        self.announced.push((who, MODE_CHANGED));
        number
    }

    /// It was answered. True: no other and no reset was under way at the same time, so its outcome is what holds.
    pub fn mode_answered(&mut self, number: usize, now: u64) -> bool {
        self.mode_log[number].answered = Some(now);
        let asked = self.mode_log[number].asked;
        let at = self.modes.iter().position(|mode| mode.1 == number);
        let quiet = asked >= self.unsure_until && self.resets.iter().all(|reset| reset.answered.is_some_and(|answered| answered < asked));
        at.is_some_and(|at| !self.modes.remove(at).2) && quiet
    }

    /// The connection of `who` broke: what it had asked for may still happen a moment later, or never.
    pub fn left(&mut self, who: usize, now: u64) {
        if self.modes.iter().any(|mode| mode.0 == who) {
            self.modes.retain(|mode| mode.0 != who);
            self.mode_value = None;
            self.unsure_until = now + 1_000_000_000;
        }
    }

    /// A reset is asked for.
    pub fn reset_asked(&mut self, who: usize, now: u64) {
        self.resets.push(Ask { who, asked: now, answered: None });
        self.mode_value = None;
        self.announced.push((who, RESET));
    }

    /// It was answered.
    pub fn reset_answered(&mut self, who: usize, asked: u64, now: u64) {
        for reset in self.resets.iter_mut().filter(|reset| (reset.who, reset.asked) == (who, asked)) {
            reset.answered = Some(now);
        }
        self.reset_done.push((who, asked, now));
    }

    /// Another initiator's reset may have ended a command that was asked at `asked`.
    pub fn reset_since(&self, asked: u64, who: usize) -> bool {
        self.resets.iter().any(|reset| reset.who != who && reset.answered.is_none_or(|answered| answered >= asked))
    }

    /// Resets and mode changes of others that may have happened since `since`.
    pub fn under_way(&self, who: usize, since: u64) -> (u32, u32) {
        let may = |asks: &[Ask]| asks.iter().filter(|ask| ask.who != who && ask.answered.is_none_or(|answered| answered >= since)).count();
        (may(&self.resets) as u32, may(&self.mode_log) as u32)
    }

    /// An aborted write: it happened before now, or never.
    pub fn history_aborted(&mut self, asked: &(Option<(Range<u64>, u64)>, u64), now: u64) {
        if let (Some((range, number)), _) = asked {
            self.history.aborted(range.clone(), *number, now);
        }
    }
}

fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
