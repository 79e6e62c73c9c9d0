//! Third-party copy (SPC-6 5.17, SBC-4 4.24): a unit that is a copy manager.
//!
//! A copy is a saga of ordinary commands, its *parts*: READ on the source, WRITE on the destination, one at a time. The unit that got the copy command asks
//! for them by effects; the shell brings each to the unit it is for, under the nexus of the copy command, where it passes that unit's gates, claims and fault
//! rules like anybody's. So two units are never held at once, and nothing is copied past a reservation.
//!
//! What a part does not do: it waits for no other command's order (an ordered command may be waiting for the copy), and it hears no unit attention (that is for
//! the initiator). [`plan`] turns parameter lists into work, [`records`] remembers how copies ended, [`tokens`] has the ROD tokens.

pub(crate) mod plan;
pub(crate) mod records;
mod report;
#[cfg(test)]
mod testing;
pub(crate) mod tokens;
mod work;

use alloc::boxed::Box;
use alloc::vec::Vec;

use device::{Step, third_party};
use scsi::command::Operation;
use scsi::response::be32;
use scsi::third_party_copy::{self as lists, CopyList, Designator, PopulateToken, WriteUsingToken};
use scsi::{Asc, BlockRange, BlockSize, DeviceType, Outcome, Sense, SenseKey, Status};

use crate::effect::{Abort, Effect, NexusId, TaskRef, TaskTag};
use crate::management::Waiter;
use crate::task::{Point, State, Task};
use crate::unit::Unit;
use plan::{Copy, Plan};
use records::{Key, Lid};

/// OPERATION IN PROGRESS: the list identifier is in use.
const OPERATION_IN_PROGRESS: Asc = Asc(0x0016);

/// What a copy manager wants to know of the units that its nexus can reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// Which unit has this designator?
    Unit(Designator),
    /// Which unit made this token?
    Token(Box<[u8; lists::TOKEN_BYTES]>),
}

/// What is to be known of a unit before something is copied from it or to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnitFacts {
    /// Peripheral device type.
    pub device_type: DeviceType,
    /// Logical block length.
    pub block_size: BlockSize,
    /// Capacity; 0 without a medium.
    pub blocks: u64,
}

/// What a token stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenFacts {
    /// The unit's number for it.
    pub number: u64,
    /// Block length of the unit that made it.
    pub block_size: BlockSize,
    /// Blocks, in order.
    pub ranges: Vec<BlockRange>,
}

/// The answer to a [`Question`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// No unit, or several.
    Nobody,
    /// This one.
    Unit(UnitFacts),
    /// The token is good.
    Token(TokenFacts),
    /// It was, but is not any more, for this reason.
    BadToken(Asc),
}

/// The unit that a part is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartUnit {
    /// The one that has the copy.
    This,
    /// The one that answered the survey's question with this index.
    Surveyed(usize),
}

/// A command of a copy to a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartCommand {
    /// CDB; what is behind its row's length is not looked at.
    pub cdb: [u8; 16],
    /// Bytes of the copy's payload that it takes.
    pub data_out: u32,
    /// Bytes that it puts there.
    pub data_in: u32,
    /// Only if this token is good, from the beginning to the end.
    pub token: Option<u64>,
}

/// How a part ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartEnd {
    /// With an outcome.
    Outcome(Outcome),
    /// Without: the unit is gone from the nexus, or somebody ended it.
    Aborted(Abort),
}

/// What a task is to its task set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A command of an initiator.
    Command,
    /// A command of a copy.
    Part { token: Option<u64> },
    /// A copy whose command was answered already.
    Background,
}

impl Unit {
    // --- what the shell calls at the units that a copy works on ---

    /// What a copy manager may know of this unit, when it is the one with this designator.
    pub fn facts(&self, name: &Designator) -> Option<UnitFacts> {
        self.device.is_named(name).then(|| self.own_facts())
    }

    fn own_facts(&self) -> UnitFacts {
        let device = &self.device;
        UnitFacts { device_type: device.device_type(), block_size: device.block_size(), blocks: device.blocks() }
    }

    /// What the token stands for, when it is one of this unit's. Its inactivity timeout begins anew.
    pub fn redeem(&mut self, token: &[u8; lists::TOKEN_BYTES], now: u64) -> Option<Answer> {
        self.tick(now);
        let (edition, block_size) = (self.device.medium_edition(), self.device.block_size());
        let redeemed = self.tokens.redeem(token, edition, now)?;
        Some(match redeemed {
            Ok((number, ranges)) => Answer::Token(TokenFacts { number, block_size, ranges }),
            Err(asc) => Answer::BadToken(asc),
        })
    }

    /// The token is not needed any more.
    pub fn delete_token(&mut self, number: u64) {
        self.tokens.delete(number);
    }

    /// A command of a copy. `tag` is the shell's name for it; the answer's [`TaskRef`] says `part`.
    pub fn handle_part(&mut self, nexus: NexusId, tag: TaskTag, part: &PartCommand, now: u64) {
        self.tick(now);
        let Some(entry) = self.nexuses.enter_part(nexus) else {
            let task = TaskRef { slot: u32::MAX, generation: 0, nexus, tag, part: true };
            return self.effects.push_back(Effect::Aborted { task, why: Abort::NexusLost });
        };
        let row = self.device.lookup(&part.cdb).ok();
        let cdb = &part.cdb[..row.map_or(part.cdb.len(), |row| row.usage.len())];
        let mut task = Task::hidden(nexus, tag, cdb, row, &entry, now);
        (task.data_out, task.data_in, task.role) = (part.data_out, part.data_in, Role::Part { token: part.token });
        task.lane = self.lane_of(nexus);
        let slot = self.tasks.insert(task);
        if self.is_held_back(slot) {
            self.block(slot, Point::Start)
        } else {
            self.start(slot)
        }
        self.settle();
    }

    /// The copy does not wait for this part any more: it ends as soon as the store lets go of it.
    pub fn cancel_part(&mut self, nexus: NexusId, tag: TaskTag, now: u64) {
        self.tick(now);
        for slot in self.slots(|task| task.nexus == nexus && task.tag == tag && matches!(task.role, Role::Part { .. })) {
            self.abort(slot, Abort::ByOwnNexus);
        }
        self.settle();
    }

    // --- what the shell calls at the unit that has the copy ---

    /// The answers to a survey, in the order of its questions, and 32 bytes that nobody can guess.
    pub fn handle_surveyed(&mut self, task: TaskRef, answers: Vec<Answer>, entropy: [u8; 32], now: u64) {
        self.tick(now);
        let Some(slot) = self.tasks.slot_of(task) else { return };
        match self.tasks.get(slot).state {
            State::Copying => self.surveyed(slot, answers, &entropy),
            State::Aborting { why } => self.end_aborted(slot, why),
            _ => {}
        }
        self.settle();
    }

    /// A part ended. A late answer is ignored.
    pub fn handle_part_ended(&mut self, task: TaskRef, end: PartEnd, now: u64) {
        self.tick(now);
        let Some(slot) = self.tasks.slot_of(task) else { return };
        match self.tasks.get(slot).state {
            State::Copying if self.is_held_back(slot) => {
                self.tasks.set_state(slot, State::Running);
                self.block(slot, Point::PartEnded(end));
            }
            State::Copying => self.part_ended(slot, end),
            State::Aborting { why } => self.end_aborted(slot, why),
            _ => {}
        }
        self.settle();
    }

    // --- commands ---

    /// First step of a command of third-party copy; all gates are passed. `None`: it waits.
    pub(crate) fn copy_command(&mut self, slot: usize) -> Option<Step> {
        let task = self.tasks.get(slot);
        let (cdb, nexus) = (task.cdb(), task.nexus);
        let allocation = be32(cdb, 10).unwrap_or(0);
        let identifier = match task.row?.operation {
            Operation::ExtendedCopyLid1 | Operation::ExtendedCopy | Operation::PopulateToken | Operation::WriteUsingToken => {
                return Some(self.fetch_list(task, allocation));
            }
            Operation::CopyOperationAbort => return self.abort_copy(slot),
            Operation::ReceiveCopyOperatingParameters => {
                return Some(Step::Finish(report::cut(self.device.copy_operating_parameters(), allocation)));
            }
            Operation::ReportAllRodTokens => {
                let now = self.clock;
                let edition = self.device.medium_edition();
                return Some(Step::Finish(report::all_tokens(self.tokens.alive(edition, now), allocation)));
            }
            Operation::ReceiveCopyStatusLid1 | Operation::ReceiveCopyDataLid1 | Operation::ReceiveCopyFailureDetailsLid1 => {
                Key { nexus, lid: Lid::Short, identifier: u32::from(cdb.get(2).copied().unwrap_or(0)) }
            }
            _ => Key { nexus, lid: Lid::Long, identifier: be32(cdb, 2).unwrap_or(0) },
        };
        let operation = task.row?.operation;
        let Some(record) = self.copies.find(identifier) else {
            return Some(Step::Finish(Outcome::check(Sense::invalid_cdb_field(2, Some(7)))));
        };
        let format = self.device.sense_format();
        let outcome = match operation {
            Operation::ReceiveCopyStatusLid1 => report::status_lid1(record, allocation),
            Operation::ReceiveCopyDataLid1 => report::cut(Vec::from([0; 4]), allocation),
            Operation::ReceiveCopyFailureDetailsLid1 => report::failure_details(record, format, allocation),
            Operation::ReceiveCopyData => report::status(record, format, report::Tail::NoData, allocation),
            Operation::ReceiveRodTokenInformation => report::status(record, format, report::Tail::Tokens, allocation),
            _ => report::status(record, format, report::Tail::None, allocation),
        };
        Some(Step::Finish(outcome))
    }

    fn fetch_list(&self, task: &Task, len: u32) -> Step {
        if len == 0 {
            return Step::Finish(Outcome::good(0));
        }
        if len > lists::MAX_LIST_BYTES || task.data_out < len {
            return Step::Finish(Outcome::check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
        }
        if self.copies.running() >= usize::from(third_party::MAX_COPIES) {
            return Step::Finish(Outcome::status(Status::BUSY));
        }
        Step::Fetch { len, inline: true }
    }

    /// The parameter list is there. `None`: the copy has begun.
    pub(crate) fn copy_fetched(&mut self, slot: usize, list: &[u8]) -> Option<Step> {
        if self.copies.running() >= usize::from(third_party::MAX_COPIES) {
            // Others were fetched at the same time.
            let mut outcome = Outcome::status(Status::BUSY);
            outcome.data_out = self.tasks.get(slot).fetched;
            return Some(Step::Finish(outcome));
        }
        let begun = self.begin_copy(slot, list);
        let sense = begun.err()?;
        let mut outcome = Outcome::check(sense);
        outcome.data_out = self.tasks.get(slot).fetched;
        Some(Step::Finish(outcome))
    }

    fn begin_copy(&mut self, slot: usize, list: &[u8]) -> Result<(), Sense> {
        let task = self.tasks.get(slot);
        let (nexus, cdb) = (task.nexus, task.cdb());
        let operation = task.row.map(|row| row.operation);
        let long = be32(cdb, 6).unwrap_or(0);
        let (lid, identifier, plan) = match operation {
            Some(Operation::PopulateToken) => (Lid::Long, Some(long), Plan::Populate(PopulateToken::parse(list)?)),
            Some(Operation::WriteUsingToken) => (Lid::Long, Some(long), Plan::Write(Box::new(WriteUsingToken::parse(list)?))),
            Some(Operation::ExtendedCopyLid1) => {
                let list = CopyList::parse_lid1(list)?;
                (Lid::Short, list.identifier, Plan::Extended(list))
            }
            _ => {
                let list = CopyList::parse(list)?;
                (Lid::Long, list.identifier, Plan::Extended(list))
            }
        };
        self.check_ranges(&plan)?;
        let key = identifier.map(|identifier| Key { nexus, lid, identifier });
        if key.and_then(|key| self.copies.find(key)).is_some_and(|record| record.is_running()) {
            return Err(Sense::illegal(OPERATION_IN_PROGRESS));
        }
        let generation = task.generation;
        let in_blocks = !matches!(plan, Plan::Extended(_));
        let action = cdb.get(1).map_or(0, |byte| byte & 0x1f);
        let record = self.copies.begin(key, (slot, generation), action, in_blocks);
        let questions = plan.questions();
        let task = self.tasks.get_mut(slot);
        task.copy = Some(Box::new(Copy::new(record, plan)));
        task.state = State::Copying;
        let task = task.reference(slot);
        self.effects.push_back(Effect::Survey { task, questions });
        Ok(())
    }

    /// Ranges of token copies lie on the medium, and are not too long.
    fn check_ranges(&self, plan: &Plan) -> Result<(), Sense> {
        let (ranges, place) = match plan {
            Plan::Extended(_) => return Ok(()),
            Plan::Populate(list) => (&list.ranges, 14),
            Plan::Write(list) => (&list.ranges, 534),
        };
        let blocks = self.device.blocks();
        let mut total = 0u64;
        for (index, range) in ranges.iter().enumerate() {
            if range.start.0.checked_add(range.count.0).is_none_or(|end| end > blocks) {
                return Err(Sense::illegal(Asc::LBA_OUT_OF_RANGE).with_information(range.start.0));
            }
            total = total.saturating_add(range.count.0);
            if total > third_party::max_token_blocks(self.device.block_size()) {
                let at = u16::try_from(index * 16).unwrap_or(u16::MAX).saturating_add(place + 2 + 8);
                return Err(Sense::invalid_parameter_field(at, Some(7)));
            }
        }
        if total == 0 && matches!(plan, Plan::Populate(_)) {
            return Err(Sense::invalid_parameter_field(place + 2 + 8, Some(7)));
        }
        Ok(())
    }

    /// COPY OPERATION ABORT: the copy ends with the part that is under way, and this command after it.
    fn abort_copy(&mut self, slot: usize) -> Option<Step> {
        let task = self.tasks.get(slot);
        let key = Key { nexus: task.nexus, lid: Lid::Long, identifier: be32(task.cdb(), 2).unwrap_or(0) };
        let generation = task.generation;
        let running = self.copies.find(key).and_then(|record| record.task());
        let Some(copy) = running.filter(|&(slot, generation)| self.tasks.contains(slot, generation)) else {
            return Some(Step::Finish(Outcome::check(Sense::invalid_cdb_field(2, Some(7)))));
        };
        let copying = self.tasks.get_mut(copy.0);
        if let Some(work) = &mut copying.copy {
            work.cancelled = true;
        }
        let copying = copying.reference(copy.0);
        self.effects.push_back(Effect::CancelPart { task: copying });
        if self.await_end(Waiter::Command { slot, generation }, &[copy]) {
            self.tasks.set_state(slot, State::Preempting);
            return None;
        }
        Some(Step::Finish(Outcome::good(0)))
    }

    /// A task with a copy leaves: the shell forgets its payload, and the record says how it was.
    pub(crate) fn copy_left(&mut self, task: &mut Task, reference: TaskRef) {
        if let Some(copy) = task.copy.take() {
            self.copies.terminate(copy.record);
            self.effects.push_back(Effect::CopyEnded { task: reference });
        }
    }
}

/// COPY ABORTED.
pub(crate) const fn aborted(asc: Asc) -> Sense {
    Sense::new(SenseKey::COPY_ABORTED, asc)
}

#[cfg(test)]
#[path = "../copy_random_tests.rs"]
mod random_tests;
#[cfg(test)]
#[path = "../copy_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "../token_tests.rs"]
mod token_tests;
