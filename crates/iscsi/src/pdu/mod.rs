//! Protocol data units (RFC 7143 11): typed values of every basic header segment, and views of headers.
//!
//! One table per PDU: field, type, place. Decoding is total (reserved bits are ignored, unknown codes kept); what a field may hold is judged by the
//! state machines. Lengths of data and header segments are not part of the values: they belong to the frame.

pub mod ahs;
mod describe;
pub mod field;
pub mod request;
pub mod response;

pub use ahs::AdditionalHeaders;
pub use describe::describe;
pub use request::*;
pub use response::*;

use crate::framing::BHS_LEN;

/// A basic header segment.
pub type Header = [u8; BHS_LEN];

/// The tag that stands for no tag (RFC 7143 11.2.1.8, 11.7.4).
pub const NO_TAG: u32 = 0xffff_ffff;

/// Operation code: the low six bits of byte 0. Unknown values are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Opcode(pub u8);

#[allow(missing_docs)]
impl Opcode {
    pub const NOP_OUT: Opcode = Opcode(0x00);
    pub const SCSI_COMMAND: Opcode = Opcode(0x01);
    pub const TASK_MANAGEMENT_REQUEST: Opcode = Opcode(0x02);
    pub const LOGIN_REQUEST: Opcode = Opcode(0x03);
    pub const TEXT_REQUEST: Opcode = Opcode(0x04);
    pub const DATA_OUT: Opcode = Opcode(0x05);
    pub const LOGOUT_REQUEST: Opcode = Opcode(0x06);
    pub const SNACK_REQUEST: Opcode = Opcode(0x10);
    pub const NOP_IN: Opcode = Opcode(0x20);
    pub const SCSI_RESPONSE: Opcode = Opcode(0x21);
    pub const TASK_MANAGEMENT_RESPONSE: Opcode = Opcode(0x22);
    pub const LOGIN_RESPONSE: Opcode = Opcode(0x23);
    pub const TEXT_RESPONSE: Opcode = Opcode(0x24);
    pub const DATA_IN: Opcode = Opcode(0x25);
    pub const LOGOUT_RESPONSE: Opcode = Opcode(0x26);
    pub const READY_TO_TRANSFER: Opcode = Opcode(0x31);
    pub const ASYNC_MESSAGE: Opcode = Opcode(0x32);
    pub const REJECT: Opcode = Opcode(0x3f);

    /// The opcode of a header.
    pub fn of(header: &[u8]) -> Opcode {
        Opcode(header.first().copied().unwrap_or(0) & 0x3f)
    }

    /// Name as in the RFC, `None` for opcodes it does not define.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Opcode::NOP_OUT => "NOP-Out",
            Opcode::SCSI_COMMAND => "SCSI Command",
            Opcode::TASK_MANAGEMENT_REQUEST => "Task Management Function Request",
            Opcode::LOGIN_REQUEST => "Login Request",
            Opcode::TEXT_REQUEST => "Text Request",
            Opcode::DATA_OUT => "SCSI Data-Out",
            Opcode::LOGOUT_REQUEST => "Logout Request",
            Opcode::SNACK_REQUEST => "SNACK Request",
            Opcode::NOP_IN => "NOP-In",
            Opcode::SCSI_RESPONSE => "SCSI Response",
            Opcode::TASK_MANAGEMENT_RESPONSE => "Task Management Function Response",
            Opcode::LOGIN_RESPONSE => "Login Response",
            Opcode::TEXT_RESPONSE => "Text Response",
            Opcode::DATA_IN => "SCSI Data-In",
            Opcode::LOGOUT_RESPONSE => "Logout Response",
            Opcode::READY_TO_TRANSFER => "Ready To Transfer",
            Opcode::ASYNC_MESSAGE => "Asynchronous Message",
            Opcode::REJECT => "Reject",
            _ => return None,
        })
    }
}

/// View of a header: basic and additional header segments, as [`crate::framing::Piece::Header`] gives them. Total: what is not there reads as zero.
#[derive(Clone, Copy, Debug)]
pub struct HeaderFrame<'a>(&'a [u8]);

impl<'a> HeaderFrame<'a> {
    /// A view of at least 48 bytes; `None` for less.
    pub fn new(bytes: &'a [u8]) -> Option<HeaderFrame<'a>> {
        (bytes.len() >= BHS_LEN).then_some(HeaderFrame(bytes))
    }

    /// The basic header segment.
    pub fn basic(self) -> &'a Header {
        // `new` checked the length; the fallback is never read.
        self.0.first_chunk().unwrap_or(&[0; BHS_LEN])
    }

    /// The additional header segments, as long as TotalAHSLength says and bytes are there.
    pub fn additional(self) -> &'a [u8] {
        let end = (BHS_LEN + usize::from(self.0[4]) * 4).min(self.0.len());
        &self.0[BHS_LEN..end]
    }

    /// Operation code.
    pub fn opcode(self) -> Opcode {
        Opcode::of(self.0)
    }

    /// Delivered at once, out of the order of CmdSN (bit I).
    pub fn is_immediate(self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// DataSegmentLength, in bytes.
    pub fn data_segment_length(self) -> u32 {
        u32::from_be_bytes([0, self.0[5], self.0[6], self.0[7]])
    }

    /// Initiator task tag.
    pub fn tag(self) -> u32 {
        u32_at(self.0, 16)
    }
}

/// Big-endian word at `at`; zero when it is not there.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Writes a big-endian word at `at` of a header.
pub fn put_u32(header: &mut Header, at: usize, value: u32) {
    if let Some(word) = header.get_mut(at..at + 4) {
        word.copy_from_slice(&value.to_be_bytes());
    }
}

/// Writes DataSegmentLength. Longer than 2^24 - 1 cannot be said and is cut: callers bound their segments far below.
pub fn put_data_segment_length(header: &mut Header, length: u32) {
    let [_, high, middle, low] = length.min(crate::framing::MAX_DATA_SEGMENT).to_be_bytes();
    header[5..8].copy_from_slice(&[high, middle, low]);
}

#[cfg(test)]
mod tests;
