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
    // P_TYPE and PROT_EN; one protection interval is one block.
    let protection = device.protection().number();
    data.extend([if protection > 0 { (protection - 1) << 1 | 0x01 } else { 0x00 }, device.physical_exponent()]);
    // LBPME and LBPRZ.
    let provisioning = if device.thin() { 0xc000 } else { 0x0000 };
    data.extend((provisioning | device.geometry.lowest_aligned & 0x3fff).to_be_bytes());
    data.resize(32, 0);
    reply(data, be32(cdb, 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parameter;
    use crate::tests::bench::{Bench, medium, settings};

    const TEN: [u8; 10] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const SIXTEEN: [u8; 16] = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];

    #[test]
    fn last_block_and_length() {
        let mut bench = Bench::disk(0x1000);
        assert_eq!(bench.good(&TEN), [0, 0, 0x0f, 0xff, 0, 0, 2, 0]);
        let mut expected = [0; 32];
        expected[6..12].copy_from_slice(&[0x0f, 0xff, 0, 0, 2, 0]);
        expected[13] = 3;
        assert_eq!(bench.good(&SIXTEEN), expected);
    }

    #[test]
    fn a_large_disk() {
        let mut bench = Bench::around(Device::disk(settings(), Some(medium(1 << 41))), 0);
        assert_eq!(bench.good(&TEN)[..4], [0xff; 4], "2^32 blocks: the last address just fits, and means look at the long form");
        assert_eq!(bench.good(&SIXTEEN)[..8], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        bench.device.set_medium(Some(medium(1 << 42)));
        assert_eq!(bench.good(&TEN)[..4], [0xff; 4]);
        assert_eq!(bench.good(&SIXTEEN)[..8], [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn alignment_and_provisioning() {
        let mut bench = Bench::thin(8);
        bench.device.set(Parameter::Lbppbe(2)).unwrap();
        bench.device.set(Parameter::LowestAlignedLba(0x3fff)).unwrap();
        assert!(bench.device.set(Parameter::LowestAlignedLba(0x4000)).is_err());
        assert!(bench.device.set(Parameter::Lbppbe(16)).is_err());
        assert_eq!(bench.good(&SIXTEEN)[12..16], [0, 2, 0xff, 0xff]);
        bench.device.set(Parameter::LowestAlignedLba(1)).unwrap();
        assert_eq!(bench.good(&SIXTEEN)[14..16], [0xc0, 0x01]);
    }

    #[test]
    fn short_allocation_and_address() {
        let mut bench = Bench::disk(8);
        let mut cdb = SIXTEEN;
        cdb[13] = 9;
        assert_eq!(bench.good(&cdb).len(), 9);
        assert_eq!(bench.refused(&[0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0], &[]), 0x0005_2400);
        assert_eq!(bench.good(&[0x25, 0, 0, 0, 0, 1, 0, 0, 1, 0]).len(), 8);
    }
}
