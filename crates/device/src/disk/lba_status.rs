//! GET LBA STATUS(16) (SBC-4 5.5).

use alloc::vec::Vec;

use scsi::{Asc, Outcome, Sense};

use super::fault::{Access, store_fault};
use super::limits::MAX_LBA_STATUS_DESCRIPTORS;
use crate::cdb::{be32, be64, fail, reply, saturate};
use crate::device::Device;
use crate::operation::{Extent, Step, StoreAnswer, StoreFault, StoreOp, StoreResult};

/// A running GET LBA STATUS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LbaStatus {
    start: u64,
    allocation: u32,
    max: u32,
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
    let (start, allocation) = (be64(cdb, 2), be32(cdb, 10));
    if start >= device.blocks() {
        return Err(Outcome::check(Sense::illegal(Asc::LBA_OUT_OF_RANGE)));
    }
    let max = (allocation.saturating_sub(8) / 16).clamp(1, MAX_LBA_STATUS_DESCRIPTORS);
    let command = LbaStatus { start, allocation, max };
    if !device.thin() {
        return Err(command.answer(device, &[]));
    }
    let shift = device.block_size().shift();
    let (offset, end) = (start << shift, device.blocks() << shift);
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
        for run in self.runs(device, extents) {
            data.extend(run.start.to_be_bytes());
            data.extend(saturate(run.count).to_be_bytes());
            data.extend([u8::from(!run.mapped), 0, 0, 0]);
        }
        let length = u32::try_from(data.len() - 4).unwrap_or(u32::MAX);
        data[..4].copy_from_slice(&length.to_be_bytes());
        reply(data, self.allocation)
    }

    /// Runs from the asked block on; neighbours differ. A block counts as deallocated only when all of it is. What the store leaves out is mapped.
    fn runs(&self, device: &Device, extents: &[Extent]) -> Vec<Run> {
        let shift = device.block_size().shift();
        let blocks = device.blocks();
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
