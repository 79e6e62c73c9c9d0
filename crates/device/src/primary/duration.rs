//! Command duration limits (SPC-6 7.5, command duration limit T2A and T2B mode pages): how long READ(16) and WRITE(16) may wait and work.
//!
//! Three bits of the CDB choose one of seven descriptors. Its limits hold for the command as they were when it arrived. What happens to a command that exceeds one is
//! the business of the unit's task manager; this module reads the descriptors, and counts.

use scsi::command::{Family, Operation};
use scsi::{Asc, CommandRow, Outcome, Sense, SenseKey, Status};

use super::mode_pages::ModePages;
use crate::cdb::{be16, byte};
use crate::device::Device;

/// Page code and the subpages for reads and for writes.
pub(crate) const PAGE: u8 = 0x0a;
/// Limits of reads.
pub(crate) const T2A: u8 = 0x07;
/// Limits of writes.
pub(crate) const T2B: u8 = 0x08;
/// Bytes of a page behind its header.
pub(crate) const PAGE_LEN: usize = 4 + DESCRIPTORS * DESCRIPTOR_LEN;
const DESCRIPTORS: usize = 7;
const DESCRIPTOR_LEN: usize = 32;
/// Bits of a descriptor that may be set: units, both times, both policies. There is no guideline: commands are not sorted by how soon they are wanted.
const FIELDS: [(usize, u8); 6] = [(0, 0x0f), (2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff), (6, 0xff)];

/// COMMAND TIMEOUT BEFORE PROCESSING.
const TIMEOUT_BEFORE: Asc = Asc(0x2e01);
/// COMMAND TIMEOUT DURING PROCESSING.
const TIMEOUT_DURING: Asc = Asc(0x2e02);
/// DATA CURRENTLY UNAVAILABLE.
const UNAVAILABLE: Asc = Asc(0x550a);

/// The changeable bits of a page, by offset behind its header.
pub(crate) const CHANGEABLE: [(usize, u8); DESCRIPTORS * FIELDS.len()] = {
    let mut bits = [(0, 0); DESCRIPTORS * FIELDS.len()];
    let mut at = 0;
    while at < bits.len() {
        let (place, mask) = FIELDS[at % FIELDS.len()];
        bits[at] = (4 + at / FIELDS.len() * DESCRIPTOR_LEN + place, mask);
        at += 1;
    }
    bits
};

/// What becomes of a command that exceeds a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// It goes on, and is counted.
    Earliest,
    /// GOOD without data, and sense data that say so.
    Unavailable,
    /// ABORTED COMMAND.
    Abort,
}

/// A time in nanoseconds, and what happens after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Nanoseconds, never 0.
    pub time: u64,
    /// And then.
    pub policy: Policy,
}

/// The limits of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DurationLimits {
    /// Reads (0) or writes (1), and the descriptor.
    place: (usize, usize),
    /// From arrival until the command is begun.
    pub inactive: Option<Limit>,
    /// From then to its end.
    pub active: Option<Limit>,
}

/// Commands that exceeded a limit, by descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Misses {
    pub(crate) inactive: u32,
    pub(crate) active: u32,
}

/// Misses of reads and of writes.
pub(crate) type AllMisses = [[Misses; DESCRIPTORS]; 2];

impl Device {
    /// The command duration limits that the CDB chooses, as they are now; `None`: it chooses none.
    pub fn duration_limits(&self, row: &CommandRow, cdb: &[u8]) -> Option<DurationLimits> {
        limits(&self.modes, row, cdb)
    }

    /// A command exceeded a duration limit. `begun`: the one of the time that it works.
    pub fn limit_exceeded(&mut self, limits: &DurationLimits, begun: bool) {
        count(&mut self.statistics.durations, limits, begun);
    }
}

/// Which page a command has its limits in, as REPORT SUPPORTED OPERATION CODES tells it with RWCDLP = 1: 1 for T2A, 2 for T2B; 0: it has none.
pub(crate) fn page_of(row: &CommandRow) -> u8 {
    match row.operation {
        Operation::Read16 => 1,
        Operation::Write16 => 2,
        _ => 0,
    }
}

/// DLD2, DLD1 and DLD0.
fn descriptor(cdb: &[u8]) -> usize {
    usize::from(byte(cdb, 1) & 0x01) << 2 | usize::from(byte(cdb, 14) >> 6)
}

/// The limits that the CDB chooses; `None`: there are none.
pub(crate) fn limits(modes: &ModePages, row: &CommandRow, cdb: &[u8]) -> Option<DurationLimits> {
    let index = descriptor(cdb).checked_sub(1).filter(|_| page_of(row) != 0)?;
    let writes = row.family != Family::Read;
    let page = modes.values(PAGE, if writes { T2B } else { T2A })?;
    let at = page.get(4 + index * DESCRIPTOR_LEN..)?.get(..DESCRIPTOR_LEN)?;
    let unit = unit(at[0] & 0x0f)?;
    let limit = |place, policy| Some(Limit { time: u64::from(be16(at, place)) * unit, policy: read_policy(policy)? }).filter(|limit| limit.time > 0);
    let (inactive, active) = (limit(2, at[6] >> 4), limit(4, at[6] & 0x0f));
    (inactive.is_some() || active.is_some()).then_some(DurationLimits { place: (usize::from(writes), index), inactive, active })
}

/// Nanoseconds of T2CDLUNITS; `None`: no limits, or a reserved value.
fn unit(field: u8) -> Option<u64> {
    match field {
        0x6 => Some(500),
        0x8 => Some(1_000),
        0xa => Some(10_000_000),
        0xe => Some(500_000_000),
        _ => None,
    }
}

fn read_policy(field: u8) -> Option<Policy> {
    match field {
        0x0 => Some(Policy::Earliest),
        0xd => Some(Policy::Unavailable),
        0xe | 0xf => Some(Policy::Abort),
        _ => None,
    }
}

/// May MODE SELECT set these values (behind the header of the page)? `Err`: offset and leftmost bit of the field that may not be.
///
/// A write that ends with GOOD has written, so no policy of a write may say that it did without.
pub(super) fn acceptable(subpage: u8, values: &[u8]) -> Result<(), (usize, u8)> {
    let fits = |field: u8| read_policy(field).is_some_and(|policy| policy != Policy::Unavailable || subpage == T2A);
    for (index, descriptor) in values.get(4..).unwrap_or_default().chunks(DESCRIPTOR_LEN).enumerate() {
        let at = 4 + index * DESCRIPTOR_LEN;
        let (units, policies) = (byte(descriptor, 0) & 0x0f, byte(descriptor, 6));
        if units != 0 && unit(units).is_none() {
            return Err((at, 3));
        }
        if !fits(policies >> 4) || policies >> 4 == 0xe {
            return Err((at + 6, 7));
        }
        if !fits(policies & 0x0f) {
            return Err((at + 6, 3));
        }
    }
    Ok(())
}

/// How a command ends that exceeded a limit; `None`: it goes on. `begun`: it was the limit of the time that it works.
pub fn end_of(policy: Policy, begun: bool) -> Option<Outcome> {
    match policy {
        Policy::Earliest => None,
        Policy::Unavailable => {
            let mut outcome = Outcome::status(Status::GOOD);
            outcome.sense = Some(Sense::new(SenseKey::COMPLETED, UNAVAILABLE));
            Some(outcome)
        }
        Policy::Abort => {
            let asc = if begun { TIMEOUT_DURING } else { TIMEOUT_BEFORE };
            Some(Outcome::check(Sense::new(SenseKey::ABORTED_COMMAND, asc)))
        }
    }
}

/// Counts a command that exceeded a limit.
pub(crate) fn count(misses: &mut AllMisses, limits: &DurationLimits, begun: bool) {
    if let Some(misses) = misses.get_mut(limits.place.0).and_then(|page| page.get_mut(limits.place.1)) {
        let number = if begun { &mut misses.active } else { &mut misses.inactive };
        *number = number.saturating_add(1);
    }
}

/// Parameters of the command duration limits statistics log page: code and value, ascending.
pub(crate) fn statistics(misses: &AllMisses) -> impl Iterator<Item = (u16, [u8; 32])> {
    let first = [0x11, 0x21];
    first.into_iter().zip(misses).flat_map(|(first, page)| (first..).zip(page)).map(|(code, misses)| {
        let mut value = [0; 32];
        value[..4].copy_from_slice(&misses.inactive.to_be_bytes());
        value[4..8].copy_from_slice(&misses.active.to_be_bytes());
        (code, value)
    })
}
