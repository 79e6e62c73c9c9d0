//! Target role of one connection, which is also its session: MaxConnections 1, ErrorRecoveryLevel 0.
//!
//! `connection` is what the shell calls; `command`, `data_out`, `management` and `text` take the PDUs of full feature phase, `reply` makes the answers. `window` keeps CmdSN order,
//! `transfer` the data-out of one task, `task` the table of tasks.

mod command;
mod connection;
mod data_out;
mod management;
mod reply;
mod task;
#[cfg(test)]
mod tests;
mod text;
mod transfer;
mod window;

pub use connection::{Connection, ConnectionCounters};
