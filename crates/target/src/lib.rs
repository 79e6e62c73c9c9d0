//! SAM: I_T nexuses, task sets, task management, unit attentions, reservations, LUN maps and access control.
//!
//! A [`unit`](Unit) is the pure state of one logical unit. The shell holds it behind one short lock, feeds it inputs, and carries out the effects that come out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
pub mod attention;
pub mod counters;
pub mod effect;
pub mod flight;
pub mod reservation;

pub use effect::{Abort, Command, Effect, Function, FunctionKind, FunctionResponse, NexusId, NexusIdentity, TaskRef, TaskTag};

// CONTRACT (implemented in `unit.rs`, `task.rs`, `attention.rs`, `reservation.rs`, `management.rs`, `access.rs`):
//
// pub struct Unit { .. }
// impl Unit {
//     pub fn new(device: device::Device, seed: u64) -> Unit;
//     // --- inputs; each may queue effects
//     pub fn attach(&mut self, nexus: NexusId, identity: NexusIdentity);        // login: POWER ON unit attention for it; registrations of the same identity are found again
//     pub fn detach(&mut self, nexus: NexusId);                                  // session gone: its tasks are dropped (no Respond), RESERVE(6) released, prevent dropped
//     pub fn handle_command(&mut self, command: Command<'_>, now: u64);          // now: monotonic ns
//     pub fn handle_fetched(&mut self, task: TaskRef, data: &[u8], now: u64);   // `data` only for inline fetches
//     pub fn handle_stored(&mut self, task: TaskRef, result: device::StoreResult, now: u64);
//     pub fn handle_function(&mut self, function: Function, now: u64);
//     pub fn handle_timeout(&mut self, now: u64);
//     // --- outputs
//     pub fn poll_effect(&mut self) -> Option<Effect>;
//     pub fn poll_timeout(&self) -> Option<u64>;
//     // --- administration
//     pub fn device(&self) -> &Device; pub fn device_mut(&mut self) -> &mut Device;   // after changes call `publish_notices(now)`
//     pub fn publish_notices(&mut self);
//     pub fn faults(&self) -> &fault::Rules; pub fn faults_mut(&mut self) -> &mut fault::Rules;
//     pub fn release_hung(&mut self, rule: Option<fault::RuleId>, now: u64);      // a deleted HANG rule lets its tasks go on
//     pub fn attention_all(&mut self, asc: Asc, except: Option<NexusId>);         // 3F0E REPORTED LUNS DATA HAS CHANGED, ...
//     pub fn reset(&mut self, now: u64);                                          // administrator's: forgets flush failures too
//     pub fn active_tasks(&self) -> usize;
//     pub fn counters(&self) -> &Counters;                                        // per nexus and operation family: submitted/done bytes and commands, errors by status
// }
// pub mod access: pub struct AccessList { addresses, names }; fn admits(&self, peer: IpAddr, initiator: &str) -> bool  (tgt: either list matches; correct CIDR incl. /0 /32 host bits; names: exact, `*`/`?` wildcards)

/// The pure state of one logical unit.
pub struct Unit {}
