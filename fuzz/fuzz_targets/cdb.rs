//! Commands with their parameter data against one unit.
#![no_main]

#[path = "../harness/cdb.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::run(bytes));
