//! What goes wrong, and when.
//!
//! A rule is *when* -> *what*. Decisions are stateless draws: a keyed function of (seed, rule id, key), so no thread timing, clock or map order can
//! change one. Every decision is written to a journal with an id.
//!
//! [`grammar`] turns text into a [`RuleSpec`], [`Rules`] holds those of one unit and decides, [`draw`] is the chance in it, [`journal`] the memory.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod draw;
pub mod engine;
pub mod grammar;
pub mod journal;
pub mod rule;

pub use engine::{Rules, StoredRule};
pub use journal::Journal;
pub use rule::{Action, ActionKind, EventId, Percent, RuleId, RuleSpec, RuleView, Stage, Subject, Verdict, goes_over_medium};
