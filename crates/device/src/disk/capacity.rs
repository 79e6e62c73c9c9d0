//! READ CAPACITY(10) and (16) (SBC-4 5.20, 5.21).

use alloc::vec::Vec;

use scsi::Outcome;

use crate::cdb::{bad_field, be32, bit, reply, saturate};
use crate::device::Device;

/// An address without PMI (both obsolete) is refused; with PMI the answer is the same, since no block is slower to reach than another.
pub(super) fn check(cdb: &[u8]) -> Result<(), Outcome> {
    if !bit(cdb, 8, 0x01) && be32(cdb, 2) != 0 { Err(bad_field(2, Some(7))) } else { Ok(()) }
}

/// Last block and block length; all ones when 32 bits are too few.
pub(super) fn read_capacity_10(device: &Device) -> Outcome {
    let mut data = Vec::with_capacity(8);
    data.extend(saturate(device.blocks().saturating_sub(1)).to_be_bytes());
    data.extend(device.block_size().bytes().to_be_bytes());
    Outcome::inline(data)
}

/// The same, with alignment and provisioning.
pub(super) fn read_capacity_16(device: &Device, cdb: &[u8]) -> Outcome {
    let mut data = Vec::with_capacity(32);
    data.extend(device.blocks().saturating_sub(1).to_be_bytes());
    data.extend(device.block_size().bytes().to_be_bytes());
    data.extend([0x00, device.physical_exponent()]);
    // LBPME and LBPRZ.
    let provisioning = if device.thin() { 0xc000 } else { 0x0000 };
    data.extend((provisioning | device.geometry.lowest_aligned & 0x3fff).to_be_bytes());
    data.resize(32, 0);
    reply(data, be32(cdb, 10))
}
