//! The composition root: settings in, a running target out.
//!
//! A [`Daemon`] puts the parts together: reactor threads that serve sessions, a control plane that answers requests, the published model
//! between them. It owns no global state: several may live in one process, which is how tests use it. What is global in a process (signals,
//! the log's subscriber, the working folder) belongs to the programs.
#![forbid(unsafe_code)]

mod apply;
pub mod configuration_file;
mod control;
mod diary;
mod faults;
mod identity;
mod isns;
mod keeper;
pub mod lock;
pub mod log;
pub mod notify;
mod plane;
mod publish;
mod reactors;
mod redirect;
mod reservation_keeper;
mod settings;
mod start;
mod state;
pub mod state_folder;
mod tracked;
mod watchdog;

pub use admin::size;
pub use reactor::{IoChoice, passed};
pub use settings::{DEFAULT_PORT, DiskSettings, MediumSettings, Portal, Settings, StartError, StateSettings, TargetSettings};
pub use start::{Daemon, Reloader, Running, Stopper};

#[cfg(test)]
mod stub;
