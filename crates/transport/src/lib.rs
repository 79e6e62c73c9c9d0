//! Moves bytes between the world and the pure machines.
//!
//! `iscsi_tcp` runs on a reactor: it owns sockets and payload, feeds the cores and carries out their effects.

#![forbid(unsafe_code)]

pub mod digest;
pub mod directory;
mod guarded;
pub mod hub;
pub mod iscsi_tcp;
pub mod limits;
mod medium;
pub mod model;
mod payload;
pub mod persist;
pub mod redirect;
pub mod session;
pub mod shared_map;
