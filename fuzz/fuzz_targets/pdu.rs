//! A stream of PDUs against a connection of the target role.
#![no_main]

#[path = "../harness/pdu.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::run(bytes));
