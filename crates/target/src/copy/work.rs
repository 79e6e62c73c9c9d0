//! Copies at work: one part after another.

use alloc::boxed::Box;
use alloc::vec::Vec;

use device::{Step, third_party};
use scsi::{Asc, CopyEnd, DataIn, Forwarded, Outcome, Sense, SenseKey, Status};

use super::plan::{self, Blocks, Doing, Job, NOT_REACHABLE, Plan};
use super::records::Stage;
use super::tokens::{self, Wish};
use super::{Answer, PartCommand, PartEnd, PartUnit, Role, aborted};
use crate::effect::{Abort, Effect};
use crate::task::{State, Task};
use crate::unit::Unit;

/// Bytes that one part moves: a multiple of every block length, and no more memory than that for a copy.
pub(crate) const PIECE: u32 = 1 << 20;
/// Bytes that one part makes zero.
const ZERO_PIECE: u64 = 32 << 20;

/// THIRD PARTY DEVICE FAILURE.
const DEVICE_FAILURE: Asc = Asc(0x0d01);
/// COPY TARGET DEVICE DATA UNDERRUN.
const DATA_UNDERRUN: Asc = Asc(0x0d04);
/// EXTENDED COPY INFORMATION AVAILABLE.
const INFORMATION_AVAILABLE: Asc = Asc(0x0020);
/// INSUFFICIENT RESOURCES TO CREATE ROD TOKEN.
const NO_ROOM_FOR_TOKEN: Asc = Asc(0x550d);

impl Unit {
    /// The shell found the units, or not.
    pub(super) fn surveyed(&mut self, slot: usize, answers: Vec<Answer>, entropy: &[u8; 32]) {
        self.tasks.set_state(slot, State::Running);
        let this = self.own_facts();
        let Some(copy) = &mut self.tasks.get_mut(slot).copy else { return };
        let answer = answers.first();
        let jobs = match (&copy.plan, answer) {
            (Plan::Extended(list), _) => Ok(plan::extended(list, &answers, this)),
            (Plan::Populate(_), _) => return self.populate(slot, entropy),
            (Plan::Write(list), _) if tokens::is_zero(&list.token) => Ok(list.ranges.iter().map(|range| Job::Zero(*range)).collect()),
            (Plan::Write(list), Some(Answer::Token(token))) => plan::from_token(list, token, this.block_size),
            (Plan::Write(_), Some(Answer::BadToken(asc))) => Err(Sense::illegal(*asc)),
            (Plan::Write(list), _) => Err(Sense::illegal(tokens::unknown(&list.token))),
        };
        match jobs {
            Ok(jobs) => {
                copy.jobs = jobs;
                let immediate = copy.plan.is_immediate();
                let slot = if immediate { self.go_background(slot) } else { slot };
                self.go_on_copying(slot);
            }
            Err(sense) => self.finish_copy(slot, Outcome::check(sense)),
        }
    }

    /// POPULATE TOKEN. A write that is under way in the ranges could be in the token or not: then the initiator has to ask again.
    fn populate(&mut self, slot: usize, entropy: &[u8; 32]) {
        let (now, edition) = (self.clock, self.device.medium_edition());
        let Some(copy) = &self.tasks.get(slot).copy else { return };
        let Plan::Populate(list) = &copy.plan else { return };
        let record = copy.record;
        if list.rod_type.is_some_and(|kind| kind != third_party::ROD_TYPE) {
            return self.finish_copy(slot, Outcome::check(Sense::illegal(tokens::UNSUPPORTED_TYPE)));
        }
        if list.inactivity_seconds > third_party::MAX_INACTIVITY {
            return self.finish_copy(slot, Outcome::check(Sense::invalid_parameter_field(4, Some(7))));
        }
        let shift = self.device.block_size().shift();
        let writes = |task: &Task| task.row.is_some_and(|row| row.writes) && matches!(task.state, State::Storing | State::Aborting { .. });
        let inside = |task: &Task| {
            let hit = |start: u64, end: u64| {
                list.ranges.iter().any(|range| start < (range.start.0 + range.count.0) << shift && range.start.0 << shift < end)
            };
            task.claim.is_some_and(|claim| hit(claim.start, claim.end))
        };
        if self.tasks.iter().any(|(_, task)| writes(task) && inside(task)) {
            return self.finish_copy(slot, Outcome::status(Status::BUSY));
        }
        let blocks: u64 = list.ranges.iter().map(|range| range.count.0).sum();
        let inactivity_seconds = if list.inactivity_seconds == 0 { third_party::DEFAULT_INACTIVITY } else { list.inactivity_seconds };
        let (block_size, creator) = (self.device.block_size(), self.device.unique_name());
        let wish = Wish { ranges: &list.ranges, block_size, creator, edition, inactivity_seconds, entropy };
        let Some(token) = self.tokens.make(&wish, now) else {
            return self.finish_copy(slot, Outcome::check(Sense::illegal(NO_ROOM_FOR_TOKEN)));
        };
        if let Some(record) = self.copies.get_mut(record) {
            (record.token, record.transferred) = (Some(token), blocks);
        }
        self.finish_copy(slot, Outcome::good(0));
    }

    /// IMMED: the command is answered, and a task that nobody sees goes on. Its slot.
    fn go_background(&mut self, slot: usize) -> usize {
        let task = self.tasks.get(slot);
        let (old, nexus, row) = (task.reference(slot), task.nexus, task.row);
        let cdb = Vec::from(task.cdb());
        let Some(entry) = self.nexuses.enter(nexus, false) else { return slot };
        let Some(copy) = self.tasks.get_mut(slot).copy.take() else { return slot };
        let record = copy.record;
        let mut hidden = Task::hidden(nexus, old.tag, &cdb, row, &entry, self.clock);
        (hidden.copy, hidden.role) = (Some(copy), Role::Background);
        let new = self.tasks.insert(hidden);
        let task = self.tasks.get(new);
        self.copies.moved(record, (new, task.generation));
        self.effects.push_back(Effect::CopyMoved { task: old, into: task.reference(new) });
        let mut outcome = Outcome::good(0);
        outcome.data_out = self.tasks.get(slot).fetched;
        self.advance(slot, Step::Finish(outcome));
        new
    }

    /// The next part, or the end.
    pub(super) fn go_on_copying(&mut self, slot: usize) {
        let Some(copy) = &mut self.tasks.get_mut(slot).copy else { return };
        if copy.cancelled {
            return self.cancelled(slot);
        }
        let record = copy.record;
        while let Some(job) = copy.jobs.get(copy.at) {
            let next = match *job {
                Job::Nothing => None,
                Job::Fails(sense) => {
                    let sense = if sense.key == SenseKey::COPY_ABORTED { segment_sense(sense, copy.at) } else { sense };
                    return self.finish_copy(slot, Outcome::check(sense));
                }
                Job::Ready(unit) => (copy.done == 0).then(|| (Doing::Testing, unit, command([0; 16], 0, 0, None))),
                Job::Zero(range) => {
                    let left = range.count.0 - copy.done.min(range.count.0);
                    let most = ZERO_PIECE >> self.device.block_size().shift();
                    let blocks = u32::try_from(left.min(most)).unwrap_or(u32::MAX);
                    (blocks > 0)
                        .then(|| (Doing::Zeroing { blocks }, PartUnit::This, command(zero_cdb(range.start.0 + copy.done, blocks), 0, 0, None)))
                }
                Job::Blocks(ref blocks) => (copy.done < blocks.bytes).then(|| {
                    let (offset, len) = piece(blocks, copy.done);
                    let cdb = blocks_cdb(0x88, blocks.source_start + offset, blocks.source_size.shift(), len);
                    (Doing::Reading { len }, blocks.source, command(cdb, 0, len, blocks.token))
                }),
            };
            if let Some((doing, unit, part)) = next {
                copy.doing = doing;
                return self.send_part(slot, unit, part);
            }
            (copy.at, copy.done) = (copy.at + 1, 0);
            if copy.is_extended()
                && let Some(record) = self.copies.get_mut(record)
            {
                record.segments = u16::try_from(copy.at).unwrap_or(u16::MAX);
            }
        }
        self.delete_used_token(slot);
        self.finish_copy(slot, Outcome::good(0));
    }

    fn send_part(&mut self, slot: usize, unit: PartUnit, command: PartCommand) {
        self.tasks.set_state(slot, State::Copying);
        let task = self.tasks.get(slot).reference(slot);
        self.effects.push_back(Effect::Part { task, unit, command: Box::new(command) });
    }

    /// A part ended, and the copy goes on or fails.
    pub(crate) fn part_ended(&mut self, slot: usize, end: PartEnd) {
        self.tasks.set_state(slot, State::Running);
        let Some(copy) = &mut self.tasks.get_mut(slot).copy else { return };
        let doing = core::mem::replace(&mut copy.doing, Doing::Nothing);
        if copy.cancelled {
            return self.cancelled(slot);
        }
        let good = matches!(&end, PartEnd::Outcome(outcome) if outcome.status == Status::GOOD);
        if !good {
            return self.part_failed(slot, doing, &end);
        }
        let (done, moved) = match doing {
            Doing::Reading { len } => {
                let whole = matches!(&end, PartEnd::Outcome(Outcome { data_in: DataIn::Payload { len: read }, .. }) if *read == len);
                return if whole { self.write_piece(slot, len) } else { self.copy_failed(slot, Outcome::check(aborted(DATA_UNDERRUN))) };
            }
            Doing::Writing { len } => (u64::from(len), u64::from(len)),
            Doing::Zeroing { blocks } => (u64::from(blocks), u64::from(blocks) << self.device.block_size().shift()),
            Doing::Testing => (1, 0),
            Doing::Nothing => (0, 0),
        };
        copy.done += done;
        let number = copy.record;
        if let Some(record) = self.copies.get_mut(number) {
            let moved = if record.in_blocks { moved >> self.device.block_size().shift() } else { moved };
            record.transferred = record.transferred.saturating_add(moved);
            record.counter = record.counter.wrapping_add(1);
        }
        self.go_on_copying(slot);
    }

    /// What was read is in the payload: it goes to its destination.
    fn write_piece(&mut self, slot: usize, len: u32) {
        let Some(copy) = &mut self.tasks.get_mut(slot).copy else { return };
        let Some(Job::Blocks(blocks)) = copy.jobs.get(copy.at) else { return };
        let (offset, _) = piece(blocks, copy.done);
        let cdb = blocks_cdb(0x8a, blocks.destination_start + offset, blocks.destination_size.shift(), len);
        let unit = blocks.destination;
        copy.doing = Doing::Writing { len };
        self.send_part(slot, unit, command(cdb, len, 0, None));
    }

    /// The other unit says no: COPY ABORTED with what it said. What this unit says to a token copy is told as it is.
    fn part_failed(&mut self, slot: usize, doing: Doing, end: &PartEnd) {
        let Some(copy) = &self.tasks.get(slot).copy else { return };
        let extended = copy.is_extended();
        let (status, sense) = match end {
            PartEnd::Aborted(Abort::NexusLost) => return self.copy_failed(slot, Outcome::check(aborted(NOT_REACHABLE))),
            PartEnd::Aborted(_) => (Status::TASK_ABORTED, None),
            PartEnd::Outcome(outcome) => (outcome.status, outcome.sense),
        };
        let of_token = sense.is_some_and(|sense| sense.key == SenseKey::ILLEGAL_REQUEST && sense.asc.code() == 0x23);
        let own = matches!(doing, Doing::Writing { .. } | Doing::Zeroing { .. });
        if let (false, true, PartEnd::Outcome(outcome)) = (extended, own || of_token, end) {
            return self.copy_failed(slot, outcome.clone());
        }
        let from = if own { CopyEnd::Destination } else { CopyEnd::Source };
        let mut failure = aborted(DEVICE_FAILURE);
        failure.forwarded = Some(Forwarded {
            from,
            status: status.0,
            sense: sense.map(|sense| (sense.key, sense.asc)),
            information: sense.and_then(|sense| sense.information).and_then(|number| u32::try_from(number).ok()),
        });
        self.copy_failed(slot, Outcome::check(failure));
    }

    fn copy_failed(&mut self, slot: usize, mut outcome: Outcome) {
        let Some(copy) = &self.tasks.get(slot).copy else { return };
        if copy.is_extended() {
            outcome.sense = outcome.sense.map(|sense| segment_sense(sense, copy.at));
        }
        self.finish_copy(slot, outcome);
    }

    /// COPY OPERATION ABORT.
    fn cancelled(&mut self, slot: usize) {
        if let Some(record) = self.tasks.get(slot).copy.as_ref().map(|copy| copy.record) {
            self.copies.terminate(record);
        }
        self.finish_copy(slot, Outcome::check(aborted(Asc::NONE)));
    }

    /// DEL_TKN: all went well, so the token has served.
    fn delete_used_token(&mut self, slot: usize) {
        let Some(copy) = &self.tasks.get(slot).copy else { return };
        let (Plan::Write(list), Some(Job::Blocks(Blocks { token: Some(token), .. }))) = (&copy.plan, copy.jobs.first()) else { return };
        if list.deletes_token {
            let (task, token) = (self.tasks.get(slot).reference(slot), *token);
            self.effects.push_back(Effect::DeleteToken { task, token });
        }
    }

    /// The end of a copy: its record says how, its command is answered unless that was done already.
    fn finish_copy(&mut self, slot: usize, mut outcome: Outcome) {
        let task = self.tasks.get_mut(slot);
        let (role, fetched) = (task.role, task.fetched);
        let Some(copy) = task.copy.take() else { return };
        let reference = task.reference(slot);
        let short = self.falls_short(&copy);
        if let Some(record) = self.copies.get_mut(copy.record).filter(|record| record.is_running()) {
            record.stage = match outcome.status {
                Status::GOOD if short => Stage::Partial,
                Status::GOOD => Stage::Done,
                _ => Stage::Failed,
            };
            (record.status, record.sense) = (outcome.status, outcome.sense);
        }
        self.effects.push_back(Effect::CopyEnded { task: reference });
        if role == Role::Background {
            let task = self.leave(slot);
            self.task_ended(slot, task.generation);
        } else {
            outcome.data_out = fetched;
            if outcome.status == Status::GOOD {
                outcome.sense = good_sense(&copy);
            }
            self.tasks.set_state(slot, State::Running);
            self.advance(slot, Step::Finish(outcome));
        }
    }

    /// Did the ROD end before the ranges of WRITE USING TOKEN did?
    fn falls_short(&self, copy: &plan::Copy) -> bool {
        let Plan::Write(list) = &copy.plan else { return false };
        let shift = self.device.block_size().shift();
        let wanted: u64 = list.ranges.iter().map(|range| range.count.0 << shift).sum();
        let found = |job: &Job| match job {
            Job::Blocks(blocks) => blocks.bytes,
            Job::Zero(range) => range.count.0 << shift,
            _ => 0,
        };
        copy.jobs.iter().map(found).sum::<u64>() < wanted
    }

    /// A part that reads for a token is good only if the token still is.
    pub(crate) fn check_token(&mut self, slot: usize, outcome: Outcome) -> Outcome {
        let Role::Part { token: Some(token) } = self.tasks.get(slot).role else { return outcome };
        if outcome.status != Status::GOOD {
            return outcome;
        }
        match self.tokens.check(token, self.device.medium_edition(), self.clock) {
            Ok(()) => outcome,
            Err(asc) => Outcome::check(Sense::illegal(asc)),
        }
    }
}

/// G_SENSE: how many segments were done.
fn good_sense(copy: &plan::Copy) -> Option<Sense> {
    let Plan::Extended(list) = &copy.plan else { return None };
    let sense = Sense::new(SenseKey::COMPLETED, INFORMATION_AVAILABLE);
    list.good_sense.then(|| segment_sense(sense, copy.at))
}

/// Where the next piece begins, from the beginning of the blocks, and its bytes.
fn piece(blocks: &Blocks, done: u64) -> (u64, u32) {
    let left = blocks.bytes - done.min(blocks.bytes);
    let len = u32::try_from(left).map_or(PIECE, |left| left.min(PIECE));
    (if blocks.backward { left - u64::from(len) } else { done }, len)
}

fn segment_sense(mut sense: Sense, segment: usize) -> Sense {
    sense.command_specific = u64::try_from(segment).ok();
    sense
}

const fn command(cdb: [u8; 16], data_out: u32, data_in: u32, token: Option<u64>) -> PartCommand {
    PartCommand { cdb, data_out, data_in, token }
}

/// READ(16) or WRITE(16).
fn blocks_cdb(opcode: u8, start: u64, shift: u32, len: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&(start >> shift).to_be_bytes());
    cdb[10..14].copy_from_slice(&(len >> shift).to_be_bytes());
    cdb
}

/// WRITE SAME(16) without data-out (NDOB): zeros.
fn zero_cdb(lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (0x93, 0x01);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}
