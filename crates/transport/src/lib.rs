//! Moves bytes between the world and the pure machines.
//!
//! `iscsi_tcp` runs on a reactor: it owns sockets and payload, feeds the cores and carries out their effects.

pub mod digest;
pub mod directory;
pub mod limits;
pub mod model;
