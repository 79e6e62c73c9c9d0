//! targets.conf, tgt-admin's command line, a daemon's list of targets.
#![no_main]

#[path = "../harness/configuration.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::run(bytes));
