//! Additional header segments (RFC 7143 11.2.2): the rest of a long CDB, and the expected data-in length of a bidirectional command.

use alloc::vec::Vec;

use crate::framing::MAX_AHS_LEN;
use crate::interface::Cdb;

/// AHSType: extended CDB.
const EXTENDED_CDB: u8 = 1;
/// AHSType: expected bidirectional read data length.
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;
/// Longest CDB (SPC: variable length CDBs end at 260 bytes).
const MAX_CDB_LEN: usize = 260;

/// The additional header segments a SCSI Command may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AdditionalHeaders<'a> {
    /// Bytes of the CDB from the 17th on, possibly padded.
    pub extended_cdb: Option<&'a [u8]>,
    /// Expected data-in length of a bidirectional command, in bytes.
    pub read_length: Option<u32>,
}

impl<'a> AdditionalHeaders<'a> {
    /// Cuts `bytes` (whole words) into segments. `None`: a segment runs over the end, has the wrong length, a type nobody defined, or comes twice.
    pub fn decode(mut bytes: &'a [u8]) -> Option<AdditionalHeaders<'a>> {
        let mut found = AdditionalHeaders::default();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_first_chunk::<3>()?;
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            // AHSLength counts the bytes behind the type, padding excluded; a segment fills whole words.
            let content = rest.get(..length)?;
            match head[2] & 0x3f {
                EXTENDED_CDB if found.extended_cdb.is_none() && length > 1 => found.extended_cdb = Some(&content[1..]),
                BIDIRECTIONAL_READ_LENGTH if found.read_length.is_none() && length == 5 => found.read_length = Some(super::u32_at(content, 1)),
                _ => return None,
            }
            let whole = (3 + length).next_multiple_of(4);
            bytes = bytes.get(whole..)?;
        }
        if found.extended_cdb.is_some_and(|rest| rest.len() + 16 > MAX_CDB_LEN) {
            return None;
        }
        Some(found)
    }

    /// The whole CDB: 16 bytes of the header and the extension.
    pub fn cdb(&self, first: &[u8; 16]) -> Cdb {
        let rest = self.extended_cdb.unwrap_or_default();
        let length = 16 + rest.len();
        if length <= 32 {
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(first);
            bytes[16..length].copy_from_slice(rest);
            return Cdb::Short { bytes, len: u8::try_from(length).unwrap_or(32) };
        }
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(first);
        bytes.extend_from_slice(rest);
        Cdb::Long(bytes)
    }

    /// The segments as bytes, padded to words; nothing when there are none.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(rest) = self.extended_cdb {
            let rest = &rest[..rest.len().min(MAX_CDB_LEN - 16)];
            let [high, low] = u16::try_from(rest.len() + 1).unwrap_or(u16::MAX).to_be_bytes();
            bytes.extend_from_slice(&[high, low, EXTENDED_CDB, 0]);
            bytes.extend_from_slice(rest);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if let Some(length) = self.read_length {
            bytes.extend_from_slice(&[0, 5, BIDIRECTIONAL_READ_LENGTH, 0]);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        debug_assert!(bytes.len() <= MAX_AHS_LEN);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_segments_round_trip() {
        let rest = [7; 21];
        let headers = AdditionalHeaders { extended_cdb: Some(&rest), read_length: Some(0x0102_0304) };
        let bytes = headers.encode();
        assert_eq!(bytes.len(), 4 + 24 + 8);
        assert_eq!(bytes[..4], [0, 22, 1, 0]);
        assert_eq!(bytes[28..], [0, 5, 2, 0, 1, 2, 3, 4]);
        assert_eq!(AdditionalHeaders::decode(&bytes), Some(headers));
        assert_eq!(headers.cdb(&[9; 16]).as_bytes().len(), 37);
    }

    #[test]
    fn a_short_extension_needs_no_heap() {
        let rest = [1; 16];
        let headers = AdditionalHeaders { extended_cdb: Some(&rest), read_length: None };
        assert!(matches!(headers.cdb(&[0; 16]), Cdb::Short { len: 32, .. }));
    }

    #[test]
    fn lies_are_refused() {
        assert_eq!(AdditionalHeaders::decode(&[0, 200, 1, 0]), None, "runs over the end");
        assert_eq!(AdditionalHeaders::decode(&[0, 5, 9, 0, 0, 0, 0, 0]), None, "unknown type");
        assert_eq!(AdditionalHeaders::decode(&[0, 4, 2, 0, 0, 0, 0, 0]), None, "wrong length");
        assert_eq!(AdditionalHeaders::decode(&[0, 0, 0, 0]), None, "empty");
        let mut twice = std::vec![0, 5, 2, 0, 0, 0, 0, 1];
        twice.extend_from_within(..);
        assert_eq!(AdditionalHeaders::decode(&twice), None, "twice");
        let mut long = std::vec![0; 252];
        long[..4].copy_from_slice(&[0, 246, 1, 0]);
        assert_eq!(AdditionalHeaders::decode(&long), None, "CDB of 261 bytes");
    }
}
