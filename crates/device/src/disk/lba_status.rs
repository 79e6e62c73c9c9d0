//! GET LBA STATUS(16) and (32) (SBC-4 5.5, 5.6).

use alloc::vec::Vec;

use scsi::command::VARIABLE_LENGTH;
use scsi::{Asc, Outcome, Sense};

use super::fault::{Access, store_fault};
use super::limits::MAX_LBA_STATUS_DESCRIPTORS;
use crate::cdb::{bad_field, be32, be64, byte, fail, reply, saturate};
use crate::device::Device;
use crate::operation::{Extent, Step, StoreAnswer, StoreFault, StoreOp, StoreResult};

/// A running GET LBA STATUS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LbaStatus {
    start: u64,
    /// First block that is not asked about.
    end: u64,
    allocation: u32,
    max: u32,
    report: Report,
}

/// REPORT TYPE: which descriptors are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Report {
    All,
    /// Any but mapped.
    NotMapped,
    Mapped,
    Deallocated,
    Anchored,
}

impl Report {
    fn of(field: u8) -> Option<Report> {
        Some(match field {
            0 => Report::All,
            1 => Report::NotMapped,
            2 => Report::Mapped,
            3 => Report::Deallocated,
            4 => Report::Anchored,
            _ => return None,
        })
    }

    fn wants(self, run: &Run) -> bool {
        match self {
            Report::All => true,
            Report::NotMapped | Report::Deallocated => !run.mapped,
            Report::Mapped => run.mapped,
            Report::Anchored => false,
        }
    }
}

/// Blocks of one provisioning state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    start: u64,
    count: u64,
    mapped: bool,
}

/// First step. A fully provisioned unit is mapped throughout and needs none.
pub(super) fn begin(device: &Device, cdb: &[u8]) -> Result<(LbaStatus, Step), Outcome> {
    let long = byte(cdb, 0) == VARIABLE_LENGTH;
    let (start, allocation, report_at) = if long { (be64(cdb, 12), be32(cdb, 28), 10) } else { (be64(cdb, 2), be32(cdb, 10), 14) };
    let Some(report) = Report::of(byte(cdb, usize::from(report_at))) else { return Err(bad_field(report_at, Some(7))) };
    // There are no storage elements to be asked about alone.
    if long && be32(cdb, 24) != 0 {
        return Err(bad_field(24, Some(7)));
    }
    if start >= device.blocks() {
        return Err(Outcome::check(Sense::illegal(Asc::LBA_OUT_OF_RANGE)));
    }
    let scan = if long { u64::from(be32(cdb, 20)) } else { 0 };
    let end = if scan == 0 { device.blocks() } else { start.saturating_add(scan).min(device.blocks()) };
    let max = (allocation.saturating_sub(8) / 16).clamp(1, MAX_LBA_STATUS_DESCRIPTORS);
    let command = LbaStatus { start, end, allocation, max, report };
    if !device.thin() {
        return Err(command.answer(device, &[]));
    }
    let shift = device.block_size().shift();
    let (offset, end) = (start << shift, end << shift);
    Ok((command, Step::Store(StoreOp::Extents { offset, len: end - offset, max: max + 1 })))
}

impl LbaStatus {
    pub(crate) fn stored(&mut self, device: &Device, result: StoreResult) -> Step {
        match result {
            Ok(StoreAnswer::Extents(extents)) => Step::Finish(self.answer(device, &extents)),
            // A store that does not know holds everything.
            Ok(_) | Err(StoreFault::Unsupported) => Step::Finish(self.answer(device, &[])),
            Err(fault) => fail(store_fault(device, Access::Read, self.start << device.block_size().shift(), fault), 0),
        }
    }

    fn answer(&self, device: &Device, extents: &[Extent]) -> Outcome {
        let mut data = Vec::from([0; 8]);
        for run in self.runs(device, extents).into_iter().filter(|run| self.report.wants(run)) {
            data.extend(run.start.to_be_bytes());
            data.extend(saturate(run.count).to_be_bytes());
            data.extend([u8::from(!run.mapped), 0, 0, 0]);
        }
        let length = u32::try_from(data.len() - 4).unwrap_or(u32::MAX);
        data[..4].copy_from_slice(&length.to_be_bytes());
        // RTP: the report type was heeded.
        data[7] = u8::from(self.report != Report::All);
        reply(data, self.allocation)
    }

    /// Runs from the asked block on; neighbours differ. A block counts as deallocated only when all of it is. What the store leaves out is mapped.
    fn runs(&self, device: &Device, extents: &[Extent]) -> Vec<Run> {
        let shift = device.block_size().shift();
        let blocks = self.end;
        let mut runs: Vec<Run> = Vec::new();
        let mut cursor = self.start;
        let mut add = |start: &mut u64, end: u64, mapped: bool| {
            let count = end.min(blocks).saturating_sub(*start);
            if count == 0 {
                return;
            }
            match runs.last_mut() {
                Some(last) if last.mapped == mapped => last.count += count,
                _ => runs.push(Run { start: *start, count, mapped }),
            }
            *start += count;
        };
        for extent in extents.iter().filter(|extent| !extent.mapped) {
            let first = extent.offset.div_ceil(1 << shift);
            let end = extent.offset.saturating_add(extent.len) >> shift;
            if first < end {
                add(&mut cursor, first, true);
                add(&mut cursor, end, false);
            }
        }
        // Beyond the last extent of a full answer nothing is known yet: the last run told may be longer than it says, and the next request finds out.
        let known = extents.last().map_or(blocks, |last| last.offset.saturating_add(last.len) >> shift);
        let complete = extents.len() <= usize::try_from(self.max).unwrap_or(usize::MAX);
        add(&mut cursor, if complete { blocks } else { known }, true);
        if runs.is_empty() {
            // A store that answers beside the question: the block asked for is there.
            runs.push(Run { start: self.start, count: 1, mapped: true });
        }
        self.cut(runs)
    }

    /// At most `max` runs, and none after one whose count does not fit its field: a second one would have the same state.
    fn cut(&self, mut runs: Vec<Run>) -> Vec<Run> {
        runs.truncate(usize::try_from(self.max).unwrap_or(usize::MAX));
        if let Some(at) = runs.iter().position(|run| run.count > u64::from(u32::MAX)) {
            runs.truncate(at + 1);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, medium, settings};
    use crate::{Device, UnitSettings};

    fn cdb(lba: u8, allocation: u32) -> [u8; 16] {
        let [a, b, c, d] = allocation.to_be_bytes();
        [0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, lba, a, b, c, d, 0, 0]
    }

    fn descriptors(data: &[u8]) -> Vec<(u64, u32, u8)> {
        assert_eq!(be32(data, 0), u32::try_from(data.len() - 4).unwrap());
        assert_eq!(data[4..8], [0; 4]);
        data[8..].chunks_exact(16).map(|it| (be64(it, 0), be32(it, 8), it[12])).collect()
    }

    #[test]
    fn neighbours_differ_and_the_first_starts_where_asked() {
        let mut bench = Bench::thin(64);
        bench.run(&[0x2a, 0, 0, 0, 0, 16, 0, 0, 16, 0], &[1; 8192]);
        assert_eq!(descriptors(&bench.good(&cdb(0, 4096))), [(0, 16, 1), (16, 16, 0), (32, 32, 1)]);
        assert_eq!(descriptors(&bench.good(&cdb(17, 4096))), [(17, 15, 0), (32, 32, 1)]);
        assert_eq!(descriptors(&bench.good(&cdb(63, 4096))), [(63, 1, 1)]);
    }

    #[test]
    fn the_long_form_has_an_end_and_a_choice() {
        let mut bench = Bench::thin(64);
        bench.run(&[0x2a, 0, 0, 0, 0, 16, 0, 0, 16, 0], &[1; 8192]);
        let mut long = [0; 32];
        (long[0], long[7], long[9], long[30]) = (0x7f, 0x18, 0x12, 16);
        assert_eq!(descriptors(&bench.good(&long)), [(0, 16, 1), (16, 16, 0), (32, 32, 1)]);
        (long[19], long[23]) = (4, 20);
        assert_eq!(descriptors(&bench.good(&long)), [(4, 12, 1), (16, 8, 0)]);
        long[10] = 2;
        let data = bench.good(&long);
        assert_eq!((data[7], be64(&data, 8), be32(&data, 16), data.len()), (1, 16, 8, 24));
        for (report, count) in [(0, 2), (1, 1), (3, 1), (4, 0)] {
            long[10] = report;
            assert_eq!(bench.good(&long).len(), 8 + 16 * count);
        }
        long[10] = 5;
        assert_eq!(bench.sense(&long, &[]), Sense::invalid_cdb_field(10, Some(7)));
        (long[10], long[27]) = (0, 1);
        assert_eq!(bench.sense(&long, &[]), Sense::invalid_cdb_field(24, Some(7)));
        let mut short = cdb(0, 4096);
        short[14] = 3;
        assert_eq!(bench.good(&short).len(), 8 + 32);
    }

    #[test]
    fn the_allocation_length_bounds_the_walk() {
        let mut bench = Bench::thin(64);
        bench.run(&[0x2a, 0, 0, 0, 0, 8, 0, 0, 8, 0], &[1; 4096]);
        assert_eq!(descriptors(&bench.good(&cdb(0, 40))), [(0, 8, 1), (8, 8, 0)]);
        assert!(matches!(bench.ops.last(), Some(StoreOp::Extents { offset: 0, len: 32768, max: 3 })));
        assert_eq!(bench.good(&cdb(0, 8)), [0, 0, 0, 20, 0, 0, 0, 0]);
        assert_eq!(bench.good(&cdb(0, 0)), []);
        bench.good(&cdb(0, u32::MAX));
        assert!(matches!(bench.ops.last(), Some(StoreOp::Extents { max: 257, .. })));
    }

    #[test]
    fn a_thick_disk_is_mapped() {
        let mut bench = Bench::disk(64);
        assert_eq!(descriptors(&bench.good(&cdb(1, 4096))), [(1, 63, 0)]);
        assert!(bench.ops.is_empty());
        assert_eq!(bench.refused(&cdb(64, 4096), &[]), 0x0005_2100);
    }

    #[test]
    fn a_run_longer_than_its_field_ends_the_answer() {
        let mut bench = Bench::around(Device::disk(settings(), Some(medium(1 << 43))), 0);
        assert_eq!(descriptors(&bench.good(&cdb(0, 4096))), [(0, u32::MAX, 0)]);
    }

    #[test]
    fn what_a_store_answers_is_not_trusted() {
        let device = Device::disk(UnitSettings { thin: true, ..settings() }, Some(medium(64 * 512)));
        let command = LbaStatus { start: 8, end: 64, allocation: 4096, max: 4, report: Report::All };
        let hole = |offset, len| Extent { offset, len, mapped: false };
        let runs = |extents: &[Extent]| -> Vec<(u64, u64, bool)> {
            command.runs(&device, extents).iter().map(|run| (run.start, run.count, run.mapped)).collect()
        };
        assert_eq!(runs(&[]), [(8, 56, true)]);
        assert_eq!(runs(&[hole(0, u64::MAX)]), [(8, 56, false)]);
        assert_eq!(runs(&[hole(u64::MAX, u64::MAX)]), [(8, 56, true)]);
        assert_eq!(runs(&[hole(8 * 512 + 1, 1023)]), [(8, 1, true), (9, 1, false), (10, 54, true)], "only whole blocks");
        assert_eq!(runs(&[hole(20 * 512, 512), hole(10 * 512, 512)]), [(8, 12, true), (20, 1, false), (21, 43, true)]);
        assert_eq!(runs(&[hole(0, 0); 5]), [(8, 1, true)]);
    }

    #[test]
    fn stores_that_do_not_know() {
        let mut bench = Bench::thin(64);
        bench.faults.push_back(Some(StoreFault::Unsupported));
        assert_eq!(descriptors(&bench.good(&cdb(0, 4096))), [(0, 64, 0)]);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        assert_eq!(bench.refused(&cdb(0, 4096), &[]), 0x0003_1100);
    }
}
