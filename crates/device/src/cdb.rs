//! Reading fields of CDBs and parameter lists. Every read is total: a field that is not all there reads as zero.

use alloc::vec::Vec;

use scsi::{Outcome, Sense, command, response};

use crate::operation::Step;

/// The byte at `at`.
pub(crate) fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// True when all bits of `mask` at `at` are one.
pub(crate) fn bit(bytes: &[u8], at: usize, mask: u8) -> bool {
    byte(bytes, at) & mask == mask
}

/// Place of the byte with the flags of a block command: the protection field, DPO, FUA, BYTCHK, ANCHOR, UNMAP.
pub(crate) fn flags_at(cdb: &[u8]) -> usize {
    if byte(cdb, 0) == command::VARIABLE_LENGTH { 10 } else { 1 }
}

/// The flags of a block command.
pub(crate) fn flags(cdb: &[u8]) -> u8 {
    byte(cdb, flags_at(cdb))
}

/// INVALID FIELD IN CDB, at a bit of the flags.
pub(crate) fn bad_flag(cdb: &[u8], leftmost: u8) -> Outcome {
    bad_field(if flags_at(cdb) == 1 { 1 } else { 10 }, Some(leftmost))
}

/// Big-endian 16-bit field.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    response::be16(bytes, at).unwrap_or(0)
}

/// Big-endian 32-bit field.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    response::be32(bytes, at).unwrap_or(0)
}

/// Big-endian 64-bit field.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    response::be64(bytes, at).unwrap_or(0)
}

/// The number as 32 bits, the largest one when it does not fit.
pub(crate) fn saturate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// GOOD with `data` cut to the allocation length. The length fields inside were made before the cut, as SPC wants it.
pub(crate) fn reply(mut data: Vec<u8>, allocation: u32) -> Outcome {
    data.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
    Outcome::inline(data)
}

/// INVALID FIELD IN CDB, as an outcome.
pub(crate) fn bad_field(at: u16, leftmost: Option<u8>) -> Outcome {
    Outcome::check(Sense::invalid_cdb_field(at, leftmost))
}

/// The end of a command that failed with `sense` after it took `data_out` bytes.
pub(crate) fn fail(sense: Sense, data_out: u32) -> Step {
    let mut outcome = Outcome::check(sense);
    outcome.data_out = data_out;
    Step::Finish(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_read_as_zero() {
        assert_eq!(be16(&[0x12], 0), 0);
        assert_eq!(be16(&[0x12, 0x34], 0), 0x1234);
        assert_eq!(be32(&[1, 2, 3, 4], 0), 0x0102_0304);
        assert_eq!(be64(&[], 5), 0);
        assert!(!bit(&[0x03], 0, 0x04));
    }

    #[test]
    fn a_reply_is_cut_but_not_padded() {
        assert_eq!(reply(alloc::vec![1, 2, 3], 2).data_in.len(), 2);
        assert_eq!(reply(alloc::vec![1, 2, 3], 9).data_in.len(), 3);
    }
}
