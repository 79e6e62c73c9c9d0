//! tgtadm's wire, JSON, command lines and fault rules.
#![no_main]

#[path = "../harness/tgtadm.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::run(bytes));
