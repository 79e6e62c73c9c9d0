//! Target role of one connection.

mod connection;

pub use connection::{Connection, ConnectionCounters};
