//! READ DEFECT DATA(10) and (12), REASSIGN BLOCKS (SBC-4 5.22, 5.23, 5.24).
//!
//! There is no primary list: nothing left a factory. The grown list has the blocks that initiators reassigned. Nothing moves when a block is reassigned: it
//! is no longer pending, and the next write makes it readable.

use alloc::vec::Vec;

use scsi::{Asc, BlockCount, BlockRange, DataIn, Lba, Outcome, Sense, SenseKey, Status};

use crate::cdb::{be16, be32, be64, bit, byte, saturate};
use crate::device::Device;

/// Blocks in the grown list: what one READ DEFECT DATA(10) can tell in long form.
const MAX_REASSIGNED: usize = 4096;
/// NO DEFECT SPARE LOCATION AVAILABLE.
const NO_SPARE: Asc = Asc(0x3200);
/// DEFECT LIST NOT FOUND.
const LIST_NOT_FOUND: Asc = Asc(0x1c00);
/// Address descriptor formats: short and long block format.
const SHORT: u8 = 0b000;
const LONG: u8 = 0b011;

/// Answers both forms of READ DEFECT DATA. A format that does not exist here is answered with the long block format and RECOVERED ERROR.
pub(super) fn read(device: &Device, cdb: &[u8]) -> Outcome {
    let ten = byte(cdb, 0) == 0x37;
    let flags = byte(cdb, if ten { 2 } else { 1 });
    let (allocation, index) = if ten { (u32::from(be16(cdb, 7)), 0) } else { (be32(cdb, 6), be32(cdb, 2)) };
    let asked = flags & 0x07;
    let format = if asked == SHORT && device.reassigned.last().is_none_or(|&lba| u32::try_from(lba).is_ok()) { SHORT } else { LONG };
    let mut list = Vec::new();
    if flags & 0x08 != 0 {
        for &lba in device.reassigned.iter().skip(usize::try_from(index).unwrap_or(usize::MAX)) {
            if format == SHORT {
                list.extend(saturate(lba).to_be_bytes());
            } else {
                list.extend(lba.to_be_bytes());
            }
        }
    }
    let echo = flags & 0x18 | format;
    let length = u32::try_from(list.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut data =
        if ten { Vec::from([0, echo, length[2], length[3]]) } else { Vec::from([0, echo, 0, 0, length[0], length[1], length[2], length[3]]) };
    data.extend(list);
    data.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
    let mut outcome = Outcome::inline(data);
    if format != asked {
        outcome.status = Status::CHECK_CONDITION;
        outcome.sense = Some(Sense::new(SenseKey::RECOVERED_ERROR, LIST_NOT_FOUND));
    }
    if outcome.data_in.is_empty() {
        outcome.data_in = DataIn::None;
    }
    outcome
}

/// The whole list of REASSIGN BLOCKS, header and all, in bytes: the CDB does not say, so all that is offered is looked at.
pub(crate) const MAX_LIST: u32 = 64 << 10;

/// REASSIGN BLOCKS with its list. All addresses are checked before the first is carried out.
pub(crate) fn reassign(device: &mut Device, cdb: &[u8], list: &[u8]) -> Result<(), Sense> {
    let (long_lba, long_list) = (bit(cdb, 1, 0x02), bit(cdb, 1, 0x01));
    let width = if long_lba { 8 } else { 4 };
    let length = if long_list { be32(list, 0) } else { u32::from(be16(list, 2)) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let Some(addresses) = length.checked_add(4).and_then(|end| list.get(4..end)) else {
        return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    };
    if length % width != 0 {
        return Err(Sense::invalid_parameter_field(if long_list { 0 } else { 2 }, Some(7)));
    }
    let lbas: Vec<u64> = addresses.chunks(width).map(|it| if long_lba { be64(it, 0) } else { u64::from(be32(it, 0)) }).collect();
    if let Some(&lba) = lbas.iter().find(|&&lba| lba >= device.blocks()) {
        let mut sense = Sense::illegal(Asc::LBA_OUT_OF_RANGE);
        sense.command_specific = lbas.first().copied();
        return Err(sense.with_information(lba));
    }
    for lba in lbas {
        if let Err(at) = device.reassigned.binary_search(&lba) {
            if device.reassigned.len() >= MAX_REASSIGNED {
                let mut sense = Sense::new(SenseKey::HARDWARE_ERROR, NO_SPARE);
                sense.command_specific = Some(lba);
                return Err(sense);
            }
            device.reassigned.insert(at, lba);
        }
        let block = BlockRange { start: Lba(lba), count: BlockCount(1) };
        device.statistics.forget_pending(block);
        device.scan.settled(block, true);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreFault;
    use crate::tests::bench::{Bench, code};

    fn reassign(bench: &mut Bench, flags: u8, list: &[u8]) -> u32 {
        let (outcome, _) = bench.run(&[0x07, flags, 0, 0, 0, 0], list);
        outcome.sense.map_or(0, |sense| code(&sense))
    }

    fn ten(flags: u8, allocation: u8) -> [u8; 10] {
        [0x37, 0, flags, 0, 0, 0, 0, 0, allocation, 0]
    }

    #[test]
    fn empty_lists() {
        let mut bench = Bench::disk(8);
        for flags in [0x00, 0x03, 0x08, 0x0b, 0x10, 0x1b] {
            assert_eq!(bench.good(&ten(flags, 99)), [0, flags, 0, 0]);
            assert_eq!(bench.good(&[0xb7, flags, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0]), [0, flags, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(bench.good(&ten(0, 3)), [0, 0, 0]);
        assert_eq!(bench.good(&ten(0, 0)), []);
    }

    #[test]
    fn reassigned_blocks_are_listed() {
        let mut bench = Bench::disk(64);
        assert_eq!(reassign(&mut bench, 0, &[0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 4]), 0);
        assert_eq!(reassign(&mut bench, 3, &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9]), 0);
        assert_eq!(bench.good(&ten(0x08, 99)), [0, 0x08, 0, 8, 0, 0, 0, 4, 0, 0, 0, 9]);
        assert_eq!(bench.good(&ten(0x10, 99)), [0, 0x10, 0, 0], "no primary list");
        let long = bench.good(&[0xb7, 0x0b, 0, 0, 0, 1, 0, 0, 0, 99, 0, 0]);
        assert_eq!(long, [0, 0x0b, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9], "from index 1");
    }

    #[test]
    fn other_formats() {
        let mut bench = Bench::disk(64);
        let port = crate::tests::bench::port();
        let cdb = ten(0x0d, 99);
        let row = bench.device.lookup(&cdb).unwrap();
        let request = crate::Request { row, cdb: &cdb, data_out: 0, data_in: 99, nexus: 1, port: &port };
        let (_, step) = bench.device.begin(&request);
        let crate::Step::Finish(outcome) = step else { panic!("more steps") };
        assert_eq!(outcome.sense.map(|sense| code(&sense)), Some(0x0001_1c00));
        assert_eq!(outcome.data_in, DataIn::Inline(Vec::from([0, 0x0b, 0, 0])));
    }

    #[test]
    fn a_reassigned_block_is_no_longer_pending() {
        let mut bench = Bench::disk(64);
        bench.faults.push_back(Some(StoreFault::Io { at: Some(512) }));
        bench.refused(&[0x28, 0, 0, 0, 0, 8, 0, 0, 4, 0], &[]);
        assert_eq!(bench.device.statistics.pending.len(), 1);
        assert_eq!(reassign(&mut bench, 0, &[0, 0, 0, 4, 0, 0, 0, 9]), 0);
        assert!(bench.device.statistics.pending.is_empty());
    }

    #[test]
    fn bad_lists_change_nothing() {
        let mut bench = Bench::disk(64);
        assert_eq!(reassign(&mut bench, 0, &[0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 64]), 0x0005_2100);
        assert_eq!(reassign(&mut bench, 0, &[0, 0, 0, 8, 0, 0, 0, 9]), 0x0005_1a00);
        assert_eq!(reassign(&mut bench, 2, &[0, 0, 0, 4, 0, 0, 0, 9]), 0x0005_2600);
        assert_eq!(reassign(&mut bench, 1, &[0xff; 4]), 0x0005_1a00);
        assert_eq!(reassign(&mut bench, 0, &[0; 3]), 0x0005_1a00);
        assert_eq!(reassign(&mut bench, 0, &[0; 4]), 0);
        assert!(bench.device.reassigned.is_empty());
    }
}
