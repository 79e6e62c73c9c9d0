//! One command in a task set.

use alloc::boxed::Box;
use alloc::vec::Vec;

use device::{Device, Progress, Request, Step, StoreOp};
use fault::{EventId, RuleId, Stage, Verdict};
use scsi::command::{Operation, VARIABLE_LENGTH};
use scsi::planted::{Bug, is_planted};
use scsi::{CommandRow, TaskAttribute};

use crate::copy::plan::Copy;
use crate::copy::{PartEnd, Role};
use crate::deadline::Deadline;
use crate::effect::{Abort, Command, NexusId, TaskRef, TaskTag};
use crate::nexus::{Entry, Nexus};
use crate::task_set::LaneId;

/// Bytes of a CDB that a task keeps. No row of the command table is longer; what follows is never looked at.
pub(crate) const CDB_LIMIT: usize = 32;

/// Where a task goes on after a pause or a hang.
#[derive(Debug)]
pub(crate) enum Point {
    /// It has not started.
    Start,
    /// The gates are passed, nothing is done yet.
    Execute,
    /// This step comes next; the fault rules had their say.
    Step(Step),
    /// This step comes next; the fault rules were not asked yet.
    Reached(Step),
    /// The data-out are there; what the unit looks at itself.
    Fetched(Vec<u8>),
    /// A part of the copy ended.
    PartEnded(PartEnd),
    /// What a fault rule says, and then this.
    Verdict(Box<(Verdict, Point)>),
}

/// State of a task (SAM-5 8.3 knows dormant, enabled, blocked and ended; these tell what an enabled one waits for).
#[derive(Debug)]
pub(crate) enum State {
    /// Not started: the attributes of older tasks say wait.
    Dormant,
    /// Started, and the unit is working on it within this very call.
    Running,
    /// A fault rule lets it wait. On the heap, as the next one, to keep tasks small: both are rare.
    Delayed { until: u64, rest: Box<(Verdict, Point)> },
    /// A fault rule lets it hang until it is aborted or the rule goes.
    Hung { rule: RuleId, then: Box<Point> },
    /// A fault rule had its connection cut; it waits for the end of its nexus.
    Dropped,
    /// Data-out are on their way.
    Fetching { inline: bool, len: u32 },
    /// Another task has the blocks (COMPARE AND WRITE).
    Waiting { op: StoreOp },
    /// The store works for it.
    Storing,
    /// An auto contingent allegiance of its task set keeps it from going on (SAM-5 8.3, blocked).
    Blocked { then: Box<Point> },
    /// PREEMPT AND ABORT waits for the end of what it aborted.
    Preempting,
    /// The shell asks around for it, or another unit works for it.
    Copying,
    /// PERSISTENT RESERVE OUT: its change is being made durable.
    Persisting,
    /// PERSISTENT RESERVE OUT: the change of another one is being made durable.
    Queued,
    /// The store, or another unit, works for it, or its change is being made durable, but nobody waits for the result.
    Aborting { why: Abort },
}

/// Bytes of the medium that a task uses, or waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    pub start: u64,
    /// First byte behind.
    pub end: u64,
    /// Against everything (COMPARE AND WRITE) instead of against exclusive claims only.
    pub exclusive: bool,
    /// False while it waits.
    pub held: bool,
    /// Order of the claims: an older one is not overtaken.
    pub ticket: u64,
}

impl Claim {
    pub fn opposes(&self, other: &Claim) -> bool {
        (self.exclusive || other.exclusive) && self.start < other.end && other.start < self.end
    }
}

/// A task.
#[derive(Debug)]
pub(crate) struct Task {
    pub nexus: NexusId,
    /// Where the nexus was found at arrival.
    pub nexus_hint: usize,
    pub tag: TaskTag,
    pub generation: u32,
    /// Order of arrival at the unit.
    pub sequence: u64,
    pub attribute: TaskAttribute,
    /// SAM's task set.
    pub lane: LaneId,
    cdb: [u8; CDB_LIMIT],
    cdb_len: u8,
    /// `None`: the unit does not know the command.
    pub row: Option<&'static CommandRow>,
    pub data_out: u32,
    pub data_in: u32,
    /// Stable key of the nexus, and the number of the command in it.
    pub stable_key: u64,
    pub ordinal: u64,
    pub arrived: u64,
    pub state: State,
    pub progress: Option<Progress>,
    pub claim: Option<Claim>,
    /// Command duration limits; few commands have some.
    pub deadline: Option<Box<Deadline>>,
    /// Bytes of data-out that arrived.
    pub fetched: u32,
    /// Stages at which fault rules were asked already, one bit each: a command with several store operations passes each stage once.
    decided: u8,
    /// The last fault decision.
    pub event: Option<EventId>,
    /// Its abort took too long and was answered without it.
    pub overdue: bool,
    /// REPORT LUNS: the numbers to report.
    pub luns: Vec<u64>,
    pub role: Role,
    /// A third-party copy that it does.
    pub copy: Option<Box<Copy>>,
}

impl Task {
    pub fn new(command: &Command<'_>, row: Option<&'static CommandRow>, entry: &Entry, now: u64) -> Task {
        let mut task = Task::hidden(command.nexus, command.tag, command.cdb, row, entry, now);
        (task.attribute, task.data_out, task.data_in) = (command.attribute, command.data_out, command.data_in);
        task
    }

    /// A simple task that brings no data.
    pub fn hidden(nexus: NexusId, tag: TaskTag, bytes: &[u8], row: Option<&'static CommandRow>, entry: &Entry, now: u64) -> Task {
        let mut cdb = [0; CDB_LIMIT];
        let length = bytes.len().min(CDB_LIMIT);
        cdb[..length].copy_from_slice(&bytes[..length]);
        Task {
            nexus,
            nexus_hint: entry.hint,
            tag,
            generation: 0,
            sequence: 0,
            attribute: TaskAttribute::Simple,
            lane: None,
            cdb,
            cdb_len: u8::try_from(length).unwrap_or(0),
            row,
            data_out: 0,
            data_in: 0,
            stable_key: entry.stable_key,
            ordinal: entry.ordinal,
            arrived: now,
            state: State::Running,
            progress: None,
            claim: None,
            deadline: None,
            fetched: 0,
            decided: 0,
            event: None,
            overdue: false,
            luns: Vec::new(),
            role: Role::Command,
            copy: None,
        }
    }

    /// It is a command of an initiator, as task management and task sets know them.
    pub fn is_command(&self) -> bool {
        self.role == Role::Command
    }

    pub fn cdb(&self) -> &[u8] {
        &self.cdb[..usize::from(self.cdb_len)]
    }

    /// NACA of the CONTROL byte: CHECK CONDITION begins an auto contingent allegiance.
    pub fn naca(&self) -> bool {
        let cdb = self.cdb();
        let at = match (cdb.first(), self.row) {
            (_, Some(row)) => row.control_at(),
            (Some(&VARIABLE_LENGTH), _) => 1,
            // Unknown commands have the length of their group.
            (Some(0x00..=0x1f), None) => 5,
            (Some(0x20..=0x5f), None) => 9,
            (Some(0xa0..=0xbf), None) => 11,
            _ => 15,
        };
        cdb.get(at).is_some_and(|control| control & 0x04 != 0)
    }

    pub fn reference(&self, slot: usize) -> TaskRef {
        let part = matches!(self.role, Role::Part { .. });
        TaskRef { slot: u32::try_from(slot).unwrap_or(u32::MAX), generation: self.generation, nexus: self.nexus, tag: self.tag, part }
    }

    pub fn request<'a>(&'a self, row: &'static CommandRow, nexus: &'a Nexus) -> Request<'a> {
        Request { row, cdb: self.cdb(), data_out: self.data_out, data_in: self.data_in, nexus: self.nexus.0, port: &nexus.identity.port }
    }

    /// True the first time it is asked for a stage.
    pub fn first_at(&mut self, stage: Stage) -> bool {
        let bit = stage_bit(stage);
        let first = self.decided & bit == 0;
        self.decided |= bit;
        first
    }
}

/// Its place among the six stages, as a bit.
const fn stage_bit(stage: Stage) -> u8 {
    1 << stage as u8
}

/// Bytes of the medium that an operation reads or changes. `None`: nothing that could tear another's work.
pub(crate) fn span(op: &StoreOp) -> Option<(u64, u64)> {
    match *op {
        StoreOp::Read { offset, .. }
        | StoreOp::Write { offset, .. }
        | StoreOp::Compare { offset, .. }
        | StoreOp::CompareSame { offset, .. }
        | StoreOp::Check { offset, .. }
        | StoreOp::WriteSame { offset, .. }
        | StoreOp::Fill { offset, .. }
        | StoreOp::Or { offset, .. }
        | StoreOp::Zero { offset, .. }
        | StoreOp::Discard { offset, .. } => Some((offset, op.end())),
        StoreOp::Flush { .. } | StoreOp::Prefetch { .. } | StoreOp::Extents { .. } => None,
    }
}

/// Bytes that a command keeps others off when it begins this operation, and whether against everybody.
pub(crate) fn claimed(device: &Device, task: &Task, op: &StoreOp) -> (Option<(u64, u64)>, bool) {
    let operation = task.row.map(|row| row.operation);
    let kept = task.row.and_then(|row| device.kept(row, task.cdb()));
    let exclusive = kept.is_some() || operation.is_some_and(is_exclusive) && !is_planted(Bug::CompareAndWriteTorn);
    // What erases the medium claims all of it once.
    let span = if operation.is_some_and(is_erasure) { Some((0, u64::MAX)) } else { span(op).map(|span| kept.unwrap_or(span)) };
    (span, exclusive)
}

/// Commands that nobody may see half of.
pub(crate) fn is_exclusive(operation: Operation) -> bool {
    use Operation as Op;
    is_erasure(operation) || matches!(operation, Op::CompareAndWrite | Op::OrWrite16 | Op::OrWrite32 | Op::WriteAtomic16 | Op::WriteAtomic32)
}

pub(crate) fn is_erasure(operation: Operation) -> bool {
    use Operation as Op;
    matches!(operation, Op::FormatUnit | Op::SanitizeOverwrite | Op::SanitizeBlockErase | Op::SanitizeCryptographicErase)
}
