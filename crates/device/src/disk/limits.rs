//! Limits of block commands: told in VPD page B0h, enforced where the command is checked.

use scsi::BlockSize;

use crate::device::MAX_TRANSFER_BYTES;

/// MAXIMUM UNMAP LBA COUNT: blocks of all descriptors of one UNMAP together. Half a gigabyte at 512 bytes: an abort waits for no more.
pub const MAX_UNMAP_BLOCKS: u32 = 1 << 20;

/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT: what one command keeps in memory.
pub const MAX_UNMAP_DESCRIPTORS: u32 = 256;

/// MAXIMUM WRITE SAME LENGTH. Large, since the work is cut into pieces that an abort can stop between.
pub const MAX_WRITE_SAME_BLOCKS: u64 = 0xffff_ffff;

/// Descriptors of one GET LBA STATUS: the walk over the store ends there, whatever the allocation length.
pub const MAX_LBA_STATUS_DESCRIPTORS: u32 = 256;

/// Bytes of one store operation of WRITE SAME with a pattern.
pub const PATTERN_PIECE: u64 = 16 << 20;

/// Bytes of one store operation that zeroes or deallocates.
pub const ZERO_PIECE: u64 = 1 << 30;

/// Bytes of a threshold set: the unit in which the resources of a thin disk are counted.
pub const THRESHOLD_SET_BYTES: u64 = 1 << 20;

/// THRESHOLD EXPONENT of VPD page B2h: blocks of a threshold set.
pub fn threshold_exponent(block: BlockSize) -> u8 {
    u8::try_from(THRESHOLD_SET_BYTES.trailing_zeros() - block.shift()).unwrap_or(0)
}

/// Bytes of one WRITE ATOMIC: one write of a store, that no other command sees half of.
const MAX_ATOMIC_BYTES: u32 = 1 << 20;

/// MAXIMUM ATOMIC TRANSFER LENGTH, in blocks.
pub fn max_atomic_blocks(block: BlockSize) -> u32 {
    MAX_ATOMIC_BYTES >> block.shift()
}

/// MAXIMUM COMPARE AND WRITE LENGTH in blocks: whatever the one byte of the CDB can say, since both halves fit one transfer.
pub const MAX_COMPARE_AND_WRITE_BLOCKS: u8 = u8::MAX;

const _: () = assert!(
    2 * (MAX_COMPARE_AND_WRITE_BLOCKS as u32) * BlockSize::MAX.bytes() <= MAX_TRANSFER_BYTES,
    "both halves of COMPARE AND WRITE fit one transfer"
);
