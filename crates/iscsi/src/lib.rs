//! RFC 7143 and 7144 without I/O, in both roles; and [`isns`], how a target makes itself known to a name server (RFC 4171).
//!
//! A connection is a value that is fed headers, data and time, and gives back events and PDUs to send. It holds no payload: PDUs that carry task data
//! name the task and a range, the shell has the bytes.
//!
//! How a shell drives the target role ([`target::Connection`]):
//! 1. bytes go through a [`framing::Receiver`];
//! 2. [`framing::Piece::Header`] goes to `handle_header`, whose [`Landing`] says where the data segment belongs;
//! 3. [`framing::Piece::End`] goes to `handle_data`, for every PDU, with the collected bytes when the landing was [`Landing::Inline`]; then the receiver is
//!    told `digests()`;
//! 4. `poll_event` and `poll_transmit` are called until both give `None`; `poll_timeout` says when `handle_timeout` wants to be called.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod auth;
pub mod digest;
pub mod framing;
pub mod initiator;
pub mod interface;
pub mod isns;
pub mod key;
pub mod login;
pub mod pdu;
pub mod target;
pub mod text;

pub use digest::crc32c;
pub use framing::{Piece, Receiver};
pub use interface::*;
pub use key::Negotiated;
