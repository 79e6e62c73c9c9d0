//! What goes wrong, and when.
//!
//! A rule is *when* -> *what*. Decisions are stateless draws: a keyed function of (seed, rule id, key), so no thread timing, clock or map order can
//! change one. Every decision is written to a journal with an id.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod rule;

pub use rule::{Action, ActionKind, EventId, Percent, RuleId, RuleSpec, RuleView, Stage, Subject, Verdict};

// CONTRACT (implemented in `draw.rs`, `engine.rs`, `grammar.rs`, `journal.rs`):
//
// pub struct Rules { .. }            // the rules of one unit; lives in the unit's lock. An idle one costs one branch.
// impl Rules {
//     pub fn new(seed: u64) -> Rules;
//     pub fn is_empty(&self) -> bool;                               // #[inline]
//     pub fn insert(&mut self, id: RuleId, spec: RuleSpec);
//     pub fn restore(&mut self, rule: StoredRule); pub fn drain(&mut self) -> Vec<StoredRule>;   // rules outlive the unit
//     pub fn remove(&mut self, id: RuleId) -> bool;  pub fn clear(&mut self) -> usize;
//     pub fn views(&self) -> Vec<RuleView>;
//     /// First rule in creation order that fires at `stage`. Counts, journals.
//     pub fn decide(&mut self, stage: Stage, subject: &Subject<'_>, now_ns: u64) -> Option<Verdict>;
//     pub fn journal(&self) -> &Journal;  pub fn take_journal(&mut self) -> Vec<journal::Entry>;
// }
// pub fn grammar::parse(text: &str) -> Result<RuleSpec, grammar::Error>;     // op=WRITE10,lba=0,... Error names the word and what is allowed
// pub fn grammar::show_line(index, tid, lun, &RuleView) -> String;            // the original's line, with the true action
// pub fn grammar::render(spec: &RuleSpec) -> String;                          // back to key=value
// pub fn draw::draw(seed: u64, rule: RuleId, key: u64) -> u64;                // published test vectors
