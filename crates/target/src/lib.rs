//! SAM: I_T nexuses, task sets, task management, unit attentions, reservations, LUN maps and access control.
//!
//! A [`unit`](Unit) is the pure state of one logical unit. The shell holds it behind one short lock, feeds it inputs, and carries out the effects that
//! come out. [`mod@unit`] has the life of a command, [`task_set`] decides which may start, [`reservation`], [`attention`] and [`port_groups`] are
//! three of its gates, [`management`] ends tasks, and so may a CHECK CONDITION (`contingent`); [`access`] says who may log in at all.
//!
//! What holds, whatever comes in: a command ends with exactly one [`Effect::Respond`] or [`Effect::Aborted`], and never while a store operation of it
//! runs; a function of an attached nexus ends with exactly one [`Effect::FunctionDone`], after all the tasks it ended; a unit attention is
//! told once unless it is interlocked; nothing overlaps COMPARE AND WRITE on its blocks.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
mod administration;
pub mod attention;
mod contingent;
mod copy;
pub mod counters;
mod deadline;
pub mod effect;
mod ending;
mod errand;
pub mod flight;
mod keeping;
pub mod management;
pub mod nexus;
pub mod port_groups;
mod primary;
pub mod reservation;
mod reserve_out;
mod task;
pub mod task_set;
#[cfg(test)]
mod testing;
pub mod unit;
mod verdict;

pub use counters::Counters;
pub use effect::{Abort, Command, Effect, Function, FunctionKind, FunctionResponse, NexusId, NexusIdentity, TaskRef, TaskTag};
pub use effect::{Answer, PartCommand, PartEnd, PartUnit, Question, TokenFacts, UnitFacts};
pub use flight::FlightRecord;
pub use unit::Unit;
