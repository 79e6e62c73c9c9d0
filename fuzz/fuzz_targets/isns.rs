//! The client of an iSNS server that says anything, and connections that strangers open to us.
#![no_main]

#[path = "../harness/isns.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::run(bytes));
