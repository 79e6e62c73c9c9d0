//! One module per command.

pub mod demo;
pub mod explain;
pub mod fault;
pub mod manual;
pub mod serve;
pub mod stat;
pub mod trace;
