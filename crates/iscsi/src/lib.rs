//! RFC 7143 and 7144 without I/O, in both roles.
//!
//! A connection is a value that is fed headers, data and time, and gives back events and PDUs to send. It holds no payload: PDUs that carry task data
//! name the task and a range, the shell has the bytes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod interface;

pub use interface::*;

// CONTRACT (implemented in `pdu/`, `framing.rs`, `text.rs`, `key.rs`, `digest.rs`, `auth.rs`, `login.rs`, `session.rs`/`target/`, later `initiator/`):
//
// framing.rs  pub struct Receiver:   cuts a byte stream into PDUs, checks digests; no payload kept
//     pub fn new(crc32c: Crc32c, limits) -> Receiver;
//     pub fn set_digests(&mut self, header: bool, data: bool);
//     pub fn advance<'a>(&mut self, bytes: &'a [u8]) -> (usize, Option<Piece<'a>>);   // consumed bytes, and what was found. `'a` or internal storage for headers
//     pub fn data_remaining(&self) -> usize;          // bytes of the current data segment still to come: the shell may receive them straight into place ...
//     pub fn data_placed(&mut self, bytes: &[u8]);     // ... and then says so (for the digest)
// pub enum Piece<'a> { Header(&'a [u8]) /* BHS and AHS */, Data { offset: u32, bytes: &'a [u8] }, End { digest_ok: bool } /* padding and digest passed; also after a header without data */, HeaderDigestError, TooLong }
//
// target role: pub struct Connection (module `target`)
//     pub fn new(settings: Settings, now: u64) -> Connection;
//     pub fn handle_header(&mut self, header: &[u8], directory: &dyn Directory, now: u64) -> Landing;
//     pub fn handle_data(&mut self, inline: &[u8], digest_ok: bool, directory: &dyn Directory, now: u64);  // once per PDU, at Piece::End; `inline` is empty unless Landing::Inline
//     pub fn handle_timeout(&mut self, directory, now: u64);   pub fn poll_timeout(&self) -> Option<u64>;
//     pub fn poll_event(&mut self) -> Option<Event>;   pub fn poll_transmit(&mut self) -> Option<Transmit>;
//     // answers of the shell
//     pub fn accept_login(&mut self, tsih: u16, now);   pub fn refuse_login(&mut self, status: LoginStatus, now);
//     pub fn fetch(&mut self, tag: u32, len: u32);                    // bring the first len bytes of data-out; Event::DataReady when there
//     pub fn respond(&mut self, tag: u32, reply: Reply);              // SCSI Response and Data-In
//     pub fn forget(&mut self, tag: u32);                             // aborted: no response
//     pub fn function_response(&mut self, tag: u32, response: FunctionResponse);
//     pub fn digests(&self) -> (bool, bool);  pub fn is_full_feature(&self) -> bool;  pub fn summary(&self) -> Option<&LoginSummary>;
//     pub fn request_logout(&mut self, ...); pub fn async_event(...)
//     pub fn counters(&self) -> ConnectionCounters  (rx/tx bytes, dataout/datain/cmd/rsp PDUs: tgtadm conn stat)
