//! scuzzy.toml.
#![no_main]

#[path = "../harness/document.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::run(bytes));
