//! Login and text PDUs with any text in any stage.
#![no_main]

#[path = "../harness/text.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::run(bytes));
