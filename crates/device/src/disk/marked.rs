//! WRITE LONG(10) and (16) (SBC-4 5.50, 5.51): blocks that an initiator marks as unreadable, until they are written again.

use alloc::collections::BTreeSet;

use scsi::{Asc, BlockRange, Outcome, Sense, SenseKey};

use crate::cdb::{bad_field, be16, be32, be64, bit, byte};
use crate::device::Device;

/// Blocks that may be marked at one time: a walk over them is what a READ costs then.
const MAX_MARKED: usize = 65_536;

/// Blocks marked as unreadable.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Marked(BTreeSet<u64>);

impl Marked {
    /// The first marked block in the range.
    pub(crate) fn first_in(&self, range: BlockRange) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        self.0.range(range.start.0..range.end()).next().copied()
    }

    /// The blocks were written.
    pub(crate) fn forget(&mut self, range: BlockRange) {
        if !self.0.is_empty() {
            self.0.retain(|&lba| lba < range.start.0 || lba >= range.end());
        }
    }
}

impl Device {
    /// The first block of the range that cannot be read, as far as the unit knows: marked, or failed before and not written since.
    pub(crate) fn known_bad(&self, range: BlockRange) -> Option<u64> {
        let (marked, pending) = (self.marked.first_in(range), self.statistics.first_pending(range));
        marked.into_iter().chain(pending).min()
    }
}

/// UNRECOVERED READ ERROR at the first marked block of the range.
pub(crate) fn check(device: &Device, range: BlockRange) -> Result<(), Outcome> {
    match device.marked.first_in(range) {
        Some(lba) => Err(Outcome::check(Sense::new(SenseKey::MEDIUM_ERROR, Asc::UNRECOVERED_READ_ERROR).with_information(lba))),
        None => Ok(()),
    }
}

/// WRITE LONG: only marking (WR_UNCOR) is there; the data of a long block, which is what a length asks for, are obsolete.
pub(super) fn write_long(device: &mut Device, cdb: &[u8]) -> Outcome {
    let ten = byte(cdb, 0) == 0x3f;
    if !bit(cdb, 1, 0x40) {
        return bad_field(1, Some(6));
    }
    let (lba, length, at) = if ten { (u64::from(be32(cdb, 2)), be16(cdb, 7), 7) } else { (be64(cdb, 2), be16(cdb, 12), 12) };
    if length != 0 {
        return bad_field(at, Some(7));
    }
    if lba >= device.blocks() {
        return Outcome::check(Sense::illegal(Asc::LBA_OUT_OF_RANGE));
    }
    // PBLOCK: all of the physical block.
    let shift = if bit(cdb, 1, 0x20) { device.physical_exponent() } else { 0 };
    let first = lba >> shift << shift;
    let blocks = first..(first + (1 << shift)).min(device.blocks());
    if device.marked.0.len() >= MAX_MARKED {
        return Outcome::check(Sense::illegal(Asc::INSUFFICIENT_RESOURCES));
    }
    device.marked.0.extend(blocks);
    Outcome::good(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, code};

    fn long(flags: u8, lba: u8) -> [u8; 16] {
        [0x9f, flags | 0x11, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 0, 0, 0]
    }

    fn read(lba: u8, count: u8) -> [u8; 10] {
        [0x28, 0, 0, 0, 0, lba, 0, 0, count, 0]
    }

    #[test]
    fn a_marked_block_cannot_be_read_until_it_is_written() {
        let mut bench = Bench::disk(64);
        bench.good(&[0x3f, 0x40, 0, 0, 0, 9, 0, 0, 0, 0]);
        bench.good(&read(0, 9));
        let expected = Sense::new(SenseKey::MEDIUM_ERROR, Asc::UNRECOVERED_READ_ERROR).with_information(9);
        assert_eq!(bench.sense(&read(8, 4), &[]), expected);
        assert_eq!(bench.sense(&[0x2f, 0, 0, 0, 0, 8, 0, 0, 4, 0], &[]), expected);
        assert_eq!(bench.device.statistics.pending.len(), 1, "the log knows it");
        bench.run(&[0x2a, 0, 0, 0, 0, 9, 0, 0, 1, 0], &[1; 512]);
        bench.good(&read(8, 4));
    }

    #[test]
    fn the_whole_physical_block() {
        let mut bench = Bench::disk(64);
        bench.good(&long(0x60, 9));
        assert_eq!(bench.sense(&read(0, 20), &[]).information, Some(8));
        bench.good(&read(0, 8));
        bench.run(&[0x41, 0, 0, 0, 0, 8, 0, 0, 7, 0], &[0; 512]);
        assert_eq!(bench.sense(&read(0, 20), &[]).information, Some(15));
    }

    #[test]
    fn refusals() {
        let mut bench = Bench::disk(64);
        assert_eq!(bench.sense(&long(0x00, 9), &[]), Sense::invalid_cdb_field(1, Some(6)));
        assert_eq!(bench.sense(&[0x3f, 0x40, 0, 0, 0, 9, 0, 0, 8, 0], &[]), Sense::invalid_cdb_field(7, Some(7)));
        assert_eq!(code(&bench.sense(&long(0x40, 64), &[])), 0x0005_2100);
    }
}
