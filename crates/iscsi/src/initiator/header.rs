//! Basic header segments as the initiator writes and reads them.

/// Length of a basic header segment.
pub(super) const LEN: usize = 48;
/// The tag that names no task.
pub(super) const NO_TAG: u32 = 0xffff_ffff;

pub(super) const NOP_OUT: u8 = 0x00;
pub(super) const SCSI_COMMAND: u8 = 0x01;
pub(super) const TASK_MANAGEMENT: u8 = 0x02;
pub(super) const LOGIN: u8 = 0x03;
pub(super) const TEXT: u8 = 0x04;
pub(super) const DATA_OUT: u8 = 0x05;
pub(super) const LOGOUT: u8 = 0x06;
pub(super) const SNACK: u8 = 0x10;
pub(super) const NOP_IN: u8 = 0x20;
pub(super) const SCSI_RESPONSE: u8 = 0x21;
pub(super) const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
pub(super) const LOGIN_RESPONSE: u8 = 0x23;
pub(super) const TEXT_RESPONSE: u8 = 0x24;
pub(super) const DATA_IN: u8 = 0x25;
pub(super) const LOGOUT_RESPONSE: u8 = 0x26;
pub(super) const R2T: u8 = 0x31;
pub(super) const ASYNC: u8 = 0x32;
pub(super) const REJECT: u8 = 0x3f;

pub(super) const FINAL: u8 = 0x80;
pub(super) const IMMEDIATE: u8 = 0x40;

/// A header being written or read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header(pub(super) [u8; LEN]);

impl Header {
    pub(super) fn new(opcode: u8) -> Header {
        let mut bytes = [0; LEN];
        bytes[0] = opcode;
        Header(bytes)
    }

    /// The first 48 bytes of `bytes`; missing ones are zero.
    pub(super) fn from(bytes: &[u8]) -> Header {
        let mut header = [0; LEN];
        let len = bytes.len().min(LEN);
        header[..len].copy_from_slice(&bytes[..len]);
        Header(header)
    }

    pub(super) fn put(mut self, at: usize, bytes: &[u8]) -> Header {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn put32(self, at: usize, value: u32) -> Header {
        self.put(at, &value.to_be_bytes())
    }

    pub(super) fn put16(self, at: usize, value: u16) -> Header {
        self.put(at, &value.to_be_bytes())
    }

    pub(super) fn byte(self, at: usize) -> u8 {
        self.0[at]
    }

    pub(super) fn get32(self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    pub(super) fn get16(self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    pub(super) fn opcode(self) -> u8 {
        self.0[0] & 0x3f
    }

    pub(super) fn tag(self) -> u32 {
        self.get32(16)
    }
}
