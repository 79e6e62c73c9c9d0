//! Logical units as state machines.
//!
//! A device is given a checked command and answers with one [`Step`] at a time: bring data, do this to the store, or finished. It holds no
//! payload, no task set, no nexus and no clock. The target above it decides when a command may start; the store below it moves bytes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod operation;
pub mod parameter;

pub use operation::{Extent, Notice, PortIdentity, Request, Step, StoreAnswer, StoreFault, StoreOp, StoreResult};
pub use parameter::{Medium, Parameter, ParameterError, UnitSettings, UnitView};

// CONTRACT (implemented in `device.rs`, `primary/`, `disk/`, `controller.rs`):
//
// pub struct Device { .. }                      // disk or controller
// pub struct Progress { .. }                    // what a running command remembers between steps; small, no heap on READ/WRITE
//
// impl Device {
//     pub fn disk(settings: UnitSettings, medium: Option<Medium>) -> Device;
//     pub fn controller(settings: UnitSettings) -> Device;
//     pub fn device_type(&self) -> DeviceType;
//     /// Row of the command, or the refusal as an outcome (5/2000, 5/2400).
//     pub fn lookup(&self, cdb: &[u8]) -> Result<&'static CommandRow, Outcome>;
//     /// Gates before the range check: ready, medium, write protection, reserved CDB fields (NACA, RDPROTECT, ...), parameter lengths.
//     pub fn check(&self, request: &Request<'_>) -> Result<(), Outcome>;
//     /// Blocks the command reads or writes (for range locks and faults). `None` when it addresses none.
//     /// A zero count of WRITE SAME / SYNCHRONIZE CACHE is resolved to the end of the medium.
//     pub fn range(&self, row: &CommandRow, cdb: &[u8]) -> Option<BlockRange>;
//     /// Range check and first step. Call after `check`.
//     pub fn begin(&mut self, request: &Request<'_>) -> (Progress, Step);
//     /// The data of a `Step::Fetch` are complete. `data` holds them when the step asked for `inline`, otherwise it is empty.
//     pub fn fetched(&mut self, progress: &mut Progress, data: &[u8]) -> Step;
//     /// A store operation ended.
//     pub fn stored(&mut self, progress: &mut Progress, result: StoreResult) -> Step;
//     /// LOGICAL UNIT RESET or power on: mode parameters back to saved or default, prevent flags cleared.
//     pub fn reset(&mut self);
//     /// An I_T nexus is gone: its PREVENT flag is dropped. (`nexus` is the number in `Request`.)
//     pub fn nexus_lost(&mut self, nexus: u64);
//     /// What other nexuses must hear of since the last call (unit attentions).
//     pub fn poll_notice(&mut self) -> Option<Notice>;
//     pub fn sense_format(&self) -> SenseFormat;
//     pub fn task_aborted_status(&self) -> bool;   // TAS bit
//     pub fn set(&mut self, parameter: Parameter) -> Result<(), ParameterError>;
//     pub fn view(&self) -> UnitView;
//     /// A medium arrives, goes, or changes size (CAPACITY DATA HAS CHANGED).
//     pub fn set_medium(&mut self, medium: Option<Medium>);
//     pub fn block_size(&self) -> BlockSize;  pub fn blocks(&self) -> u64;
//     /// Administrator's reset of a remembered flush failure (issue: every later SYNC says so until then).
//     pub fn forget_flush_failure(&mut self);
// }
