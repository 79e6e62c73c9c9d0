//! How much of a thin disk is allocated (SBC-4 4.7): the logical block provisioning log page, and the thresholds of the mode page of that name.
//!
//! The store is asked, extent by extent. While a threshold is enabled it is asked again after every threshold set that was written, so that the unit attention
//! comes with the write that crosses it.

use scsi::{Asc, Outcome, Status};

use super::limits::THRESHOLD_SET_BYTES;
use crate::cdb::{be32, bit};
use crate::device::Device;
use crate::operation::{Step, StoreAnswer, StoreOp, StoreResult};
use crate::primary::log_sense;
use crate::primary::mode_pages::ModePages;
use crate::progress::State;

/// THIN PROVISIONING SOFT THRESHOLD REACHED.
const THRESHOLD_REACHED: Asc = Asc(0x3807);
/// Page and subpage of the logical block provisioning mode page.
pub(crate) const PAGE: (u8, u8) = (0x1c, 0x02);
/// Extents that are asked for at a time, and how often: what lies behind counts as allocated.
const MAX_EXTENTS: u32 = 1024;
const MAX_ROUNDS: u32 = 4096;
/// Threshold descriptors of the mode page, from byte 2 of its data on: used resources increase, available ones decrease.
const DESCRIPTORS: [usize; 2] = [12, 20];

/// The thresholds, and what was measured last.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Thresholds {
    /// Counts in threshold sets: of used and of available resources.
    enabled: [Option<u32>; 2],
    /// Reached, and told: told again only after it was left.
    reached: [bool; 2],
    /// Bytes written since the last measurement; `None`: there was none.
    written: Option<u64>,
    /// Allocated bytes.
    mapped: u64,
}

impl Thresholds {
    /// The mode page may have been changed.
    pub(crate) fn modes_changed(&mut self, modes: &ModePages) {
        let page = modes.values(PAGE.0, PAGE.1).unwrap_or(&[]);
        let enabled = DESCRIPTORS.map(|at| bit(page, at, 0x80).then(|| be32(page, at + 4)));
        if enabled != self.enabled {
            *self = Thresholds { enabled, mapped: self.mapped, ..Thresholds::default() };
        }
    }

    /// Must be measured after a write of `bytes`?
    fn due(&mut self, bytes: u64) -> bool {
        if self.enabled == [None, None] {
            return false;
        }
        let written = self.written.map(|written| written.saturating_add(bytes));
        self.written = Some(written.unwrap_or(u64::MAX));
        self.written >= Some(THRESHOLD_SET_BYTES)
    }
}

/// Used and available resources in threshold sets, as measured last.
pub(crate) fn resources(device: &Device) -> [u32; 2] {
    let sets = |bytes: u64| u32::try_from(bytes.div_ceil(THRESHOLD_SET_BYTES)).unwrap_or(u32::MAX);
    let used = sets(device.thresholds.mapped);
    [used, sets(device.blocks() << device.block_size().shift()).saturating_sub(used)]
}

/// What follows a measurement.
#[derive(Debug)]
enum Then {
    /// The end of the write that made it necessary.
    Finish(Outcome),
    /// LOG SENSE with this CDB.
    Log([u8; 10]),
}

/// A measurement under way.
#[derive(Debug)]
pub(crate) struct Measurement {
    at: u64,
    end: u64,
    mapped: u64,
    rounds: u32,
    then: Option<Then>,
}

impl Measurement {
    fn new(device: &Device, then: Then) -> Measurement {
        Measurement { at: 0, end: device.blocks() << device.block_size().shift(), mapped: 0, rounds: 0, then: Some(then) }
    }

    /// The one before LOG SENSE answers with the provisioning page.
    pub(crate) fn for_log(device: &mut Device, cdb: &[u8]) -> (Measurement, Step) {
        let mut kept = [0; 10];
        kept.iter_mut().zip(cdb).for_each(|(to, &from)| *to = from);
        let mut measurement = Measurement::new(device, Then::Log(kept));
        let step = measurement.next(device);
        (measurement, step)
    }

    fn next(&mut self, device: &mut Device) -> Step {
        if self.at < self.end && self.rounds < MAX_ROUNDS {
            self.rounds += 1;
            return Step::Store(StoreOp::Extents { offset: self.at, len: self.end - self.at, max: MAX_EXTENTS });
        }
        self.mapped += self.end.saturating_sub(self.at);
        device.thresholds.mapped = self.mapped;
        device.thresholds.written = Some(0);
        announce(device);
        match self.then.take() {
            Some(Then::Finish(outcome)) => Step::Finish(outcome),
            Some(Then::Log(cdb)) => Step::Finish(log_sense::log_sense(device, &cdb)),
            None => Step::Finish(Outcome::good(0)),
        }
    }

    /// The next extents are here. A store that does not know, or answers beside the question, holds everything that is left.
    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        let from = self.at;
        if let Ok(StoreAnswer::Extents(extents)) = result {
            for extent in extents {
                let stop = extent.offset.saturating_add(extent.len).min(self.end);
                if extent.offset > self.at || stop <= self.at {
                    break;
                }
                self.mapped += if extent.mapped { stop - self.at } else { 0 };
                self.at = stop;
            }
        }
        if self.at == from {
            self.rounds = MAX_ROUNDS;
        }
        self.next(device)
    }
}

/// Tells of the thresholds that are reached now and were not before.
fn announce(device: &mut Device) {
    let [used, available] = resources(device);
    let enabled = device.thresholds.enabled;
    let reached = [enabled[0].is_some_and(|count| used >= count), enabled[1].is_some_and(|count| available <= count)];
    let newly = (0..2).any(|which| reached[which] && !device.thresholds.reached[which]);
    device.thresholds.reached = reached;
    if newly {
        device.notify(THRESHOLD_REACHED, None);
    }
}

/// Where a write has ended: a measurement when one is due.
pub(crate) fn after_write(device: &mut Device, state: &mut State, step: Step) -> Step {
    let Step::Finish(outcome) = &step else { return step };
    let writes = matches!(state, State::Write(_) | State::WriteSame(_) | State::CompareAndWrite(_) | State::OrWrite(_));
    if !writes || outcome.status != Status::GOOD || !device.thin() {
        return step;
    }
    // The length of WRITE SAME is not in its data.
    let bytes = if matches!(state, State::WriteSame(_)) { u64::MAX } else { u64::from(outcome.data_out) };
    if !device.thresholds.due(bytes) {
        return step;
    }
    let Step::Finish(outcome) = step else { return step };
    let mut measurement = Measurement::new(device, Then::Finish(outcome));
    let step = measurement.next(device);
    *state = State::Measurement(alloc::boxed::Box::new(measurement));
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreFault;
    use crate::tests::bench::Bench;
    use std::vec;
    use std::vec::Vec;

    /// A thin disk of 16 MiB.
    fn thin() -> Bench {
        Bench::thin(32768)
    }

    /// Enables the thresholds: used and available, in sets of 1 MiB; zero leaves one off.
    fn enable(bench: &mut Bench, used: u8, available: u8) {
        let enable = |count: u8| if count > 0 { 0x80 } else { 0x00 };
        let mut list = Vec::from([0, 0, 0, 0, 0x5c, 0x02, 0, 28]);
        list.extend([0; 12]);
        list.extend([enable(used) | 1, 2, 0, 0, 0, 0, 0, used, enable(available) | 2, 1, 0, 0, 0, 0, 0, available]);
        let (outcome, _) = bench.run(&[0x15, 0x10, 0, 0, u8::try_from(list.len()).unwrap(), 0], &list);
        assert_eq!(outcome.sense, None);
        while bench.device.poll_notice().is_some() {}
    }

    /// Writes `mebibytes` from the one at `at` on.
    fn write(bench: &mut Bench, at: u8, mebibytes: u16) {
        let [high, low] = (mebibytes * 2048).to_be_bytes();
        let (outcome, _) = bench.run(&[0x2a, 0, 0, 0, at << 3, 0, 0, high, low, 0], &vec![1; usize::from(mebibytes) << 20]);
        assert_eq!(outcome.status, Status::GOOD);
    }

    fn told(bench: &mut Bench) -> bool {
        bench.device.poll_notice().is_some_and(|notice| notice.asc == THRESHOLD_REACHED && notice.except.is_none())
    }

    fn log(bench: &mut Bench) -> Vec<u8> {
        bench.good(&[0x4d, 0, 0x4c, 0, 0, 0, 0, 0, 99, 0])
    }

    #[test]
    fn the_log_page_counts_sets() {
        let mut bench = thin();
        write(&mut bench, 2, 3);
        let page = log(&mut bench);
        let parameter = |code, count| [0, code, 0x23, 8, 0, 0, 0, count, 1, 0, 0, 0];
        assert_eq!(page, [&[0x8c, 0, 0, 24][..], &parameter(1, 13), &parameter(2, 3)].concat());
        assert_eq!(bench.good(&[0x4d, 0, 0x4c, 0, 0, 0, 2, 0, 99, 0]).len(), 16);
        assert!(bench.good(&[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 99, 0]).contains(&0x0c));
        bench.faults.push_back(Some(StoreFault::Unsupported));
        assert_eq!(log(&mut bench)[11], 0, "a store that does not know holds everything");
    }

    #[test]
    fn thresholds_are_told_once_when_they_are_crossed() {
        let mut bench = thin();
        enable(&mut bench, 4, 0);
        write(&mut bench, 0, 3);
        assert!(!told(&mut bench));
        write(&mut bench, 3, 1);
        assert!(told(&mut bench));
        write(&mut bench, 4, 2);
        assert!(!told(&mut bench), "once");
        bench.run(&[0x41, 0x08, 0, 0, 0, 0, 0, 0x20, 0, 0], &[0; 512]);
        assert!(!told(&mut bench));
        write(&mut bench, 0, 4);
        assert!(told(&mut bench), "again after it was left");
        enable(&mut bench, 0, 9);
        write(&mut bench, 6, 1);
        assert!(told(&mut bench), "available resources");
    }

    #[test]
    fn nothing_is_measured_while_no_threshold_is_enabled() {
        let mut bench = thin();
        write(&mut bench, 0, 2);
        assert!(bench.ops.iter().all(|op| matches!(op, StoreOp::Write { .. })));
        enable(&mut bench, 1, 0);
        write(&mut bench, 0, 1);
        bench.ops.clear();
        bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[1; 512]);
        assert_eq!(bench.ops.len(), 1, "less than a set was written since");
    }

    #[test]
    fn thick_disks_have_neither_page() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.refused(&[0x4d, 0, 0x4c, 0, 0, 0, 0, 0, 99, 0], &[]), 0x0005_2400);
        assert_eq!(bench.refused(&[0x1a, 8, 0x1c, 2, 99, 0], &[]), 0x0005_2400);
        assert_eq!(bench.refused(&[0x15, 0x10, 0, 0, 8, 0], &[0, 0, 0, 0, 0x5c, 2, 0, 28]), 0x0005_2600);
        bench.device.set(crate::Parameter::ThinProvisioning(true)).unwrap();
        let page = bench.good(&[0x1a, 8, 0x1c, 2, 99, 0]).split_off(4);
        assert_eq!((page[..4].to_vec(), page.len()), (vec![0x5c, 2, 0, 28], 32));
        assert_eq!(bench.good(&[0x12, 1, 0xb2, 0, 99, 0])[4], 11, "a set is 2^11 blocks");
    }
}
