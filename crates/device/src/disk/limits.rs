//! Limits of block commands: told in VPD page B0h, enforced where the command is checked.

use crate::device::{Device, MAX_TRANSFER_BYTES};

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

/// MAXIMUM COMPARE AND WRITE LENGTH in blocks: both halves fit one transfer, and the field of the CDB is one byte.
pub fn max_compare_and_write(device: &Device) -> u8 {
    let blocks = (MAX_TRANSFER_BYTES / 2) >> device.block_size().shift();
    u8::try_from(blocks).unwrap_or(u8::MAX)
}
