//! Logical units as state machines.
//!
//! A device is given a checked command and answers with one [`Step`] at a time: bring data, do this to the store, or finished. It holds no
//! payload, no task set, no nexus and no clock. The target above it decides when a command may start; the store below it moves bytes.
//!
//! [`device`] is the front: gates and dispatch. [`primary`] has what every device type answers (SPC), [`disk`] the block commands (SBC),
//! [`controller`] the unit that sits at LUN 0.
//!
//! The calls for one command, in order: [`Device::lookup`], [`Device::check`], [`Device::begin`], then [`Device::fetched`] and
//! [`Device::stored`] as the steps ask, until a step is [`Step::Finish`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod cdb;
pub mod controller;
pub mod device;
pub mod disk;
pub mod errand;
pub mod guard;
pub mod operation;
pub mod parameter;
pub mod primary;
mod progress;
mod statistics;

pub use device::{Device, TargetPortGroupSupport};
pub use errand::Traffic;
pub use guard::Guard;
pub use operation::{Errand, Extent, Notice, PortIdentity, Request, Step, StoreAnswer, StoreFault, StoreOp, StoreResult};
pub use parameter::{Medium, Parameter, ParameterError, UnitSettings, UnitView};
pub use primary::control::{Interlock, QueueErrors};
pub use primary::duration::{DurationLimits, Limit, Policy, end_of};
pub use primary::third_party;
pub use progress::Progress;
pub use statistics::Ended;

#[cfg(test)]
mod tests;
