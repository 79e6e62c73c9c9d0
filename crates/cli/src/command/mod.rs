//! One module per command.

pub mod account;
pub mod acl;
pub mod apply;
pub mod demo;
pub mod dump;
pub mod explain;
pub mod fault;
pub mod import;
pub mod manual;
pub mod portal;
pub mod serve;
pub mod session;
pub mod stat;
pub mod store;
pub mod target;
pub mod trace;
pub mod unit;
