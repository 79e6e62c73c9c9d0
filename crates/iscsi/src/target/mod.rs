//! Target role of a session and its connections, ErrorRecoveryLevel 0 or 1.
//!
//! `session` keeps what the connections share, `connection` is what the shell calls for one of them; `command`, `data_out`, `management`, `logout` and
//! `text` take the PDUs of full feature phase, `reply` makes the answers. `window` keeps CmdSN order, `transfer` the data-out of one task, `task` the table
//! of tasks. `retention` is what may have to be sent again, `snack` sends it, `recovery` asks again for data-out that did not come whole.

mod command;
mod connection;
mod data_out;
mod farewell;
mod logout;
mod management;
mod recovery;
mod reply;
mod retention;
mod session;
#[cfg(test)]
mod session_tests;
mod snack;
mod task;
#[cfg(test)]
mod tests;
mod text;
mod transfer;
mod window;

pub use connection::{Connection, ConnectionCounters};
pub use farewell::Dropped;
pub use session::{Seat, Session};
