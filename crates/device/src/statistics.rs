//! What a unit counts of the commands that ended, for the log pages: whoever ended them, the medium, a gate or a fault rule.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use scsi::command::{CommandRow, Family, Operation};
use scsi::{BlockRange, DeviceType, Outcome, SenseKey, Status};

use crate::cdb::{bit, byte};
use crate::device::Device;
use crate::primary::duration::AllMisses;
use crate::primary::hints;
use crate::primary::log_thresholds::CONDITION_MET;
use crate::primary::mode_pages::ModePages;

/// Blocks kept in the list of pending defects: as many as one log page of 64 KiB has room for, and far more than a disk should have.
const MAX_PENDING: usize = 1024;

/// The end of a command, as the unit above tells it.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The command, when the unit has it.
    pub row: Option<&'static CommandRow>,
    /// Its CDB.
    pub cdb: &'a [u8],
    /// How it ended.
    pub outcome: &'a Outcome,
    /// Bytes that really went to the initiator.
    pub data_in: u32,
    /// Bytes that really came from it.
    pub data_out: u32,
    /// From arrival to the end.
    pub nanoseconds: u64,
}

/// Counters of one error counter page, by parameter code.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Errors(pub(crate) [u64; 7]);

/// Parameter codes of the error counter pages (SPC-6 7.3).
impl Errors {
    const CORRECTED: usize = 0;
    const TOTAL_CORRECTED: usize = 3;
    /// Bytes processed.
    pub(crate) const BYTES: usize = 5;
    const UNCORRECTED: usize = 6;

    fn count(&mut self, outcome: &Outcome, bytes: u64) {
        let mut add = |code: usize, number: u64| self.0[code] = self.0[code].saturating_add(number);
        match outcome.sense.map(|sense| sense.key) {
            None => add(Errors::BYTES, bytes),
            Some(SenseKey::RECOVERED_ERROR) => {
                add(Errors::BYTES, bytes);
                add(Errors::CORRECTED, 1);
                add(Errors::TOTAL_CORRECTED, 1);
            }
            Some(SenseKey::MEDIUM_ERROR) => add(Errors::UNCORRECTED, 1),
            Some(_) => {}
        }
    }
}

/// Reads and writes (page 19h and its group subpages).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Performance {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Blocks written.
    pub(crate) received: u64,
    /// Blocks read.
    pub(crate) transmitted: u64,
    pub(crate) read_nanoseconds: u64,
    pub(crate) write_nanoseconds: u64,
}

/// A block that could not be read or written when last tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PendingDefect {
    pub(crate) lba: u64,
    /// Power on time when it was found, in nanoseconds.
    pub(crate) found: u64,
}

/// Everything that is counted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Statistics {
    pub(crate) read: Errors,
    pub(crate) write: Errors,
    pub(crate) verify: Errors,
    /// Hardware errors and aborted commands.
    pub(crate) non_medium: u64,
    pub(crate) total: Performance,
    /// By group number of the CDB, 1 to 31.
    pub(crate) groups: BTreeMap<u8, Performance>,
    /// Reads with FUA, writes with FUA; the pairs with FUA_NV stay zero, since the bit is obsolete.
    pub(crate) forced_reads: Forced,
    pub(crate) forced_writes: Forced,
    /// Writes that the write cache took.
    pub(crate) cached_writes: u64,
    /// START STOP UNIT with START = 1 and START = 0, and with LOEJ.
    pub(crate) starts_and_stops: u32,
    pub(crate) loads_and_unloads: u32,
    /// Transitions, by parameter code of page 1Ah.
    pub(crate) transitions: BTreeMap<u16, u32>,
    /// Ascending by block.
    pub(crate) pending: Vec<PendingDefect>,
    /// Nanoseconds without a command.
    pub(crate) idle: u64,
    /// Commands that exceeded a command duration limit.
    pub(crate) durations: AllMisses,
}

/// Commands with FUA.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Forced {
    pub(crate) commands: u64,
    pub(crate) nanoseconds: u64,
    pub(crate) bytes: u64,
}

impl Forced {
    fn count(&mut self, nanoseconds: u64, bytes: u64) {
        self.commands = self.commands.saturating_add(1);
        self.nanoseconds = self.nanoseconds.saturating_add(nanoseconds);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Statistics {
    /// Counts a command. `power_on`: nanoseconds since power on; `shift`: of the block length; `cached`: a write need not be durable;
    /// `modes`: which groups are counted.
    pub(crate) fn count(&mut self, ended: &Ended<'_>, range: Option<BlockRange>, power_on: u64, shift: u32, cached: bool, modes: &ModePages) {
        if matches!(ended.outcome.sense.map(|sense| sense.key), Some(SenseKey::HARDWARE_ERROR | SenseKey::ABORTED_COMMAND)) {
            self.non_medium = self.non_medium.saturating_add(1);
        }
        let Some(row) = ended.row else { return };
        let (reads, writes) = match row.family {
            Family::Read => (true, false),
            Family::Write | Family::WriteAndVerify | Family::CompareAndWrite | Family::WriteSame => (false, true),
            Family::Verify => return self.verify.count(ended.outcome, span_bytes(range, shift)),
            _ => return self.count_other(row, ended),
        };
        let bytes = u64::from(if reads { ended.data_in } else { ended.data_out });
        let errors = if reads { &mut self.read } else { &mut self.write };
        errors.count(ended.outcome, bytes);
        self.follow_defects(ended.outcome, range.filter(|_| writes), power_on);
        if ended.outcome.status != Status::GOOD {
            return;
        }
        let forced = !crate::primary::is_six(ended.cdb) && bit(ended.cdb, 1, 0x08) && matches!(row.family, Family::Read | Family::Write);
        if forced {
            let place = if reads { &mut self.forced_reads } else { &mut self.forced_writes };
            place.count(ended.nanoseconds, bytes);
        } else if writes && cached {
            self.cached_writes = self.cached_writes.saturating_add(1);
        }
        self.total.count(reads, bytes >> shift, ended.nanoseconds);
        let group = group_number(row, ended.cdb);
        if group != 0 && hints::counts(modes, group) {
            self.groups.entry(group).or_default().count(reads, bytes >> shift, ended.nanoseconds);
        }
    }

    fn count_other(&mut self, row: &CommandRow, ended: &Ended<'_>) {
        if row.operation != Operation::StartStopUnit || ended.outcome.status != Status::GOOD || byte(ended.cdb, 4) & 0xf0 != 0 {
            return;
        }
        let place = if bit(ended.cdb, 4, 0x02) { &mut self.loads_and_unloads } else { &mut self.starts_and_stops };
        *place = place.saturating_add(1);
    }

    /// A block that failed is pending until it is written.
    fn follow_defects(&mut self, outcome: &Outcome, written: Option<BlockRange>, power_on: u64) {
        let failed = outcome.sense.filter(|sense| sense.key == SenseKey::MEDIUM_ERROR).and_then(|sense| sense.information);
        if let Some(lba) = failed {
            self.add_pending(lba, power_on);
        } else if let (Some(range), false, Status::GOOD) = (written, self.pending.is_empty(), outcome.status) {
            self.forget_pending(range);
        }
    }

    pub(crate) fn add_pending(&mut self, lba: u64, found: u64) {
        if let Err(at) = self.pending.binary_search_by_key(&lba, |defect| defect.lba)
            && self.pending.len() < MAX_PENDING
        {
            self.pending.insert(at, PendingDefect { lba, found });
        }
    }

    /// The first block of the range that failed and was not written since.
    pub(crate) fn first_pending(&self, range: BlockRange) -> Option<u64> {
        let at = self.pending.partition_point(|defect| defect.lba < range.start.0);
        self.pending.get(at).map(|defect| defect.lba).filter(|&lba| lba < range.end())
    }

    /// The blocks were written, so that they can be read again.
    pub(crate) fn forget_pending(&mut self, range: BlockRange) {
        self.pending.retain(|defect| defect.lba < range.start.0 || defect.lba >= range.end());
    }

    /// One transition, by parameter code of the power condition transitions log page.
    pub(crate) fn transition(&mut self, code: u16) {
        let count = self.transitions.entry(code).or_default();
        *count = count.saturating_add(1);
    }
}

impl Device {
    /// A command ended, whoever decided how: log pages count it.
    pub fn ended(&mut self, ended: &Ended<'_>) {
        if self.device_type() == DeviceType::DISK {
            let range = ended.row.and_then(|row| self.range(row, ended.cdb));
            let (power_on, shift, cached) = (self.power_on(), self.settings.block_size.shift(), !self.stable(false));
            let before = self.log_thresholds.before(&self.statistics);
            self.statistics.count(ended, range, power_on, shift, cached, &self.modes);
            if let Some(before) = before
                && self.log_thresholds.compare(&before, &mut self.statistics, &self.modes)
            {
                self.notify(CONDITION_MET, None);
            }
            if let (Some(range), Status::GOOD, true) = (range, ended.outcome.status, ended.row.is_some_and(|row| row.writes)) {
                self.marked.forget(range);
                self.scan.settled(range, false);
            }
        }
    }
}

impl Performance {
    fn count(&mut self, reads: bool, blocks: u64, nanoseconds: u64) {
        let (commands, sum, time) = if reads {
            (&mut self.reads, &mut self.transmitted, &mut self.read_nanoseconds)
        } else {
            (&mut self.writes, &mut self.received, &mut self.write_nanoseconds)
        };
        *commands = commands.saturating_add(1);
        *sum = sum.saturating_add(blocks);
        *time = time.saturating_add(nanoseconds);
    }
}

fn span_bytes(range: Option<BlockRange>, shift: u32) -> u64 {
    range.map_or(0, |range| range.count.0.saturating_mul(1 << shift))
}

/// GROUP NUMBER: five bits, at a place that depends on the length of the CDB.
fn group_number(row: &CommandRow, cdb: &[u8]) -> u8 {
    match row.usage.len() {
        10 => byte(cdb, 6) & 0x1f,
        12 => byte(cdb, 10) & 0x1f,
        16 => byte(cdb, 14) & 0x1f,
        32 => byte(cdb, 6) & 0x1f,
        _ => 0,
    }
}
