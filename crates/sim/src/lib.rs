//! The simulator: the real cores and the real TCP transport on one thread, with a virtual clock, network and disks, and our own initiators as load.
//!
//! Everything that can vary comes from one seed. Checkers look at every run; a failure is replayed by its seed.
#![forbid(unsafe_code)]

pub mod caller;
pub mod client;
pub mod counting;
pub mod disk;
pub mod driver;
pub mod functions;
pub mod history;
pub mod machine;
pub mod medium;
pub mod random;
pub mod run;
pub mod scene;
pub mod shared;
pub mod world;
