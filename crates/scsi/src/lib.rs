//! The language of SCSI: types, command rows, sense data, VPD, mode and log pages.
//!
//! This crate knows numbers and layouts (SAM, SPC, SBC) and nothing else: no device, no task, no transport. It is pure: bytes in, values out,
//! and back. Unknown codes are kept, so that whatever arrived can be shown and sent on unchanged.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access_state;
pub mod asc;
pub mod command;
pub mod explain;
pub mod outcome;
pub mod parameter_list;
pub mod planted;
pub mod protection;
pub mod response;
mod rows;
pub mod sense;
pub mod third_party_copy;
pub mod transport_id;
pub mod types;

pub use access_state::AccessState;
pub use command::{CommandRow, Direction, Operation, Refusal};
pub use outcome::{DataIn, Outcome, Status};
pub use response::Response;
pub use sense::{Asc, CopyEnd, Forwarded, Sense, SenseFormat, SenseKey};
pub use transport_id::TransportId;
pub use types::{BlockCount, BlockRange, BlockSize, ByteOffset, DeviceType, Lba, Lun, RelativePort, TaskAttribute};
