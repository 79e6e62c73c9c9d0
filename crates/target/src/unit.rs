//! The pure state of one logical unit: inputs, outputs, and the life of a command.
//!
//! A command passes: the task set (may it start?), the gates, the device's steps, and the six places where a fault rule may stop it. Every input ends with
//! `settle`: what the input set free starts there, so nothing in here calls itself.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use device::{Device, Interlock, Step, StoreOp, StoreResult};
use fault::{Rules, Stage};
use scsi::command::Operation;
use scsi::{Asc, CommandRow, Outcome, Sense, Status, TaskAttribute};

use crate::attention::{self, Attentions};
use crate::contingent::{Admission, QueueError};
use crate::copy::Role;
use crate::copy::records::Records;
use crate::copy::tokens::Tokens;
use crate::counters::Counters;
use crate::effect::{Abort, Command, Effect, Function, FunctionResponse, NexusId, NexusIdentity, TaskRef};
use crate::flight::FlightRecorder;
use crate::keeping::Keeping;
use crate::management::{Pending, Waiter};
use crate::nexus::{Entry, Nexus, Nexuses};
use crate::port_groups::PortGroups;
use crate::reservation::Reservations;
use crate::task::{Point, State, Task, claimed};
use crate::task_set::{TASK_LIMIT, TaskSet};

/// PERSISTENT RESERVATION INFORMATION LOST.
const RESERVATION_LOST: Asc = Asc(0x4401);

/// The pure state of one logical unit.
#[derive(Debug)]
pub struct Unit {
    pub(crate) device: Device,
    pub(crate) faults: Rules,
    pub(crate) tasks: TaskSet,
    pub(crate) nexuses: Nexuses,
    pub(crate) reservations: Reservations,
    pub(crate) keeping: Keeping,
    /// Target ports through which nexuses came, or that the administrator named.
    pub(crate) ports: PortGroups,
    /// Task management functions and commands that wait for the end of tasks.
    pub(crate) pending: Vec<Pending>,
    /// PREEMPT AND ABORT commands whose wait ended within this input: slot, generation, too late.
    pub(crate) preemptions: Vec<(usize, u32, bool)>,
    /// What QERR has to end within this input.
    pub(crate) queue_errors: Vec<QueueError>,
    /// Tasks that an auto contingent allegiance blocks, by slot and generation, in the order of their steps.
    pub(crate) blocked: Vec<(usize, u32)>,
    pub(crate) effects: VecDeque<Effect>,
    /// Third-party copies, and how they ended.
    pub(crate) copies: Records,
    /// ROD tokens of this unit's blocks.
    pub(crate) tokens: Tokens,
    pub(crate) counters: Counters,
    pub(crate) flight: FlightRecorder,
    /// Tasks whose abort was answered for before they ended: until they do, the medium is NOT READY.
    pub(crate) overdue: usize,
    /// Earliest time at which something is due; may be too early, never too late.
    next_timeout: Option<u64>,
    /// Time of the last input.
    pub(crate) clock: u64,
    /// End of what the store does for the unit itself.
    pub(crate) errand_end: Option<u64>,
}

impl Unit {
    /// A unit without nexuses. `seed` is for fault rules that bring none of their own.
    pub fn new(device: Device, seed: u64) -> Unit {
        Unit {
            device,
            faults: Rules::new(seed),
            tasks: TaskSet::default(),
            nexuses: Nexuses::default(),
            reservations: Reservations::new(),
            keeping: Keeping::default(),
            ports: PortGroups::default(),
            pending: Vec::new(),
            preemptions: Vec::new(),
            queue_errors: Vec::new(),
            blocked: Vec::new(),
            effects: VecDeque::new(),
            copies: Records::default(),
            tokens: Tokens::default(),
            counters: Counters::default(),
            flight: FlightRecorder::new(),
            overdue: 0,
            next_timeout: None,
            clock: 0,
            errand_end: None,
        }
    }

    // --- inputs ---

    /// A session logged in. It hears POWER ON, RESET, OR BUS DEVICE RESET OCCURRED once; registrations under its name are its own.
    pub fn attach(&mut self, nexus: NexusId, identity: NexusIdentity) {
        let port = identity.port.clone();
        if self.nexuses.attach(nexus, identity) {
            self.meet_port(&port);
            self.counters.attach(nexus);
            self.attention_one(nexus, Asc::POWER_ON_OR_RESET);
        }
    }

    /// A session is gone: its tasks end without answer (those with a store operation when that ends), its functions are not answered, its reservation
    /// by RESERVE(6) and its prevention of removal end. Its registrations stay.
    pub fn detach(&mut self, nexus: NexusId) {
        if !self.nexuses.detach(nexus) {
            return;
        }
        self.pending.retain(|pending| !matches!(pending.waiter, Waiter::Function { nexus: by, .. } if by == nexus));
        for slot in self.slots(|task| task.nexus == nexus) {
            self.abort(slot, Abort::NexusLost);
        }
        self.tasks.clear_faults(Some(nexus));
        self.reservations.release(nexus);
        self.copies.nexus_lost(nexus);
        self.device.nexus_lost(nexus.0);
        self.counters.detach(nexus);
        self.settle();
    }

    /// The unit is taken away from a session that lives on: as [`detach`](Unit::detach), but its functions are answered. They do not say that the tasks
    /// they were to end have ended, since a store may still be at work.
    pub fn withdraw(&mut self, nexus: NexusId) {
        for pending in &self.pending {
            if let Waiter::Function { nexus: by, tag } = pending.waiter
                && by == nexus
            {
                self.effects.push_back(Effect::FunctionDone { nexus, tag, response: FunctionResponse::LunDoesNotExist });
            }
        }
        self.detach(nexus);
    }

    /// A command, in CmdSN order of its nexus. `now` is monotonic time in nanoseconds, here and everywhere.
    pub fn handle_command(&mut self, command: Command<'_>, now: u64) {
        self.tick(now);
        let Some(entry) = self.nexuses.enter(command.nexus, command.unit_exists) else {
            let task = TaskRef { slot: u32::MAX, generation: 0, nexus: command.nexus, tag: command.tag, part: false };
            return self.effects.push_back(Effect::Aborted { task, why: Abort::NexusLost });
        };
        if !command.unit_exists {
            return self.answer_absent(&command, &entry);
        }
        self.counters.submitted(command.nexus, command.data_in, command.data_out);
        let full = self.tasks.len() >= TASK_LIMIT;
        let admission = match full {
            true => Admission::Answer(Outcome::status(if entry.busy { Status::TASK_SET_FULL } else { Status::BUSY })),
            false => self.admission(&command),
        };
        let slot = self.insert(&command, &entry, matches!(admission, Admission::Answer(_)));
        match admission {
            Admission::Answer(outcome) => self.respond(slot, outcome),
            Admission::AtOnce => self.start(slot),
            Admission::InOrder if self.tasks.admit(slot) => self.start(slot),
            Admission::InOrder => {}
        }
        self.settle();
    }

    /// The bytes that [`Effect::Fetch`] asked for are there; `data` holds them when it said `inline`. A late answer is ignored.
    pub fn handle_fetched(&mut self, task: TaskRef, data: &[u8], now: u64) {
        self.tick(now);
        let Some(slot) = self.tasks.slot_of(task) else { return };
        let State::Fetching { inline, len } = self.tasks.get(slot).state else { return };
        self.tasks.set_state(slot, State::Running);
        self.tasks.get_mut(slot).fetched = len;
        let data = if inline { data } else { &[] };
        if let Some(outcome) = self.take_exceeded(slot) {
            self.conclude(slot, outcome);
        } else if self.is_held_back(slot) {
            self.block(slot, Point::Fetched(Vec::from(data)));
        } else if let Err(outcome) = self.look_again(slot) {
            self.conclude(slot, outcome);
        } else {
            self.go_on_fetched(slot, data);
        }
        self.settle();
    }

    fn go_on_fetched(&mut self, slot: usize, data: &[u8]) {
        let copies = self.tasks.get(slot).row.is_some_and(device::third_party::is_copy);
        let step = match self.tasks.get_mut(slot).progress.as_mut() {
            Some(progress) => Some(self.device.fetched(progress, data)),
            None if copies => self.copy_fetched(slot, data),
            None => self.primary_fetched(slot, data),
        };
        self.publish_notices();
        if let Some(step) = step {
            self.advance(slot, step);
        }
    }

    /// A store operation ended. A late answer is ignored.
    pub fn handle_stored(&mut self, task: TaskRef, result: StoreResult, now: u64) {
        self.tick(now);
        let Some(slot) = self.tasks.slot_of(task) else { return };
        match self.tasks.get(slot).state {
            State::Storing => {
                self.tasks.set_state(slot, State::Running);
                self.tasks.operation_ended(slot);
                if let Some(outcome) = self.take_exceeded(slot) {
                    self.note_failure(slot, result);
                    self.conclude(slot, outcome);
                } else if let Some(progress) = self.tasks.get_mut(slot).progress.as_mut() {
                    let step = self.device.stored(progress, result);
                    self.publish_notices();
                    self.advance(slot, step);
                }
            }
            State::Aborting { why } => {
                self.note_failure(slot, result);
                self.end_aborted(slot, why);
            }
            _ => return,
        }
        self.settle();
    }

    /// A task management function.
    pub fn handle_function(&mut self, function: Function, now: u64) {
        self.tick(now);
        self.manage(function);
        self.settle();
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: u64) {
        self.tick(now);
        let mut due = self.slots(|task| matches!(task.state, State::Delayed { until, .. } if until <= now));
        due.sort_by_key(|&slot| match self.tasks.get(slot).state {
            State::Delayed { until, .. } => until,
            _ => 0,
        });
        for slot in due {
            if let State::Delayed { rest, .. } = self.tasks.set_state(slot, State::Running) {
                if self.is_held_back(slot) {
                    self.block(slot, Point::Verdict(rest));
                } else {
                    let (verdict, then) = *rest;
                    self.act(slot, &verdict, then);
                }
            }
        }
        self.exceed_limits(now);
        self.give_up(now);
        self.next_timeout = None;
        let delays = self.tasks.iter().filter_map(|(_, task)| match task.state {
            State::Delayed { until, .. } => Some(until),
            _ => None,
        });
        let deadlines = self.pending.iter().map(|pending| pending.deadline);
        let limits = self.tasks.iter().filter_map(|(_, task)| task.limit_due());
        self.next_timeout = delays.chain(deadlines).chain(limits).min();
        self.settle();
    }

    // --- outputs ---

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`handle_timeout`](Unit::handle_timeout) at the latest; `None`: nothing is due.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.next_timeout
    }

    // --- the life of a command ---

    /// Makes a task. `transient`: it is answered within this call and takes no part in the order of the others.
    fn insert(&mut self, command: &Command<'_>, entry: &Entry, transient: bool) -> usize {
        let row = self.device.lookup(command.cdb).ok();
        let mut task = Task::new(command, row, entry, self.clock);
        if transient {
            task.attribute = TaskAttribute::Simple;
        }
        task.lane = self.lane_of(command.nexus);
        if row.is_some_and(|row| row.operation == Operation::ReportLuns) {
            task.luns = command.luns.to_vec();
        }
        self.limit(&mut task);
        self.tasks.insert(task)
    }

    /// Starts what may start by now. Called at the end of every input.
    pub(crate) fn settle(&mut self) {
        loop {
            if let Some(error) = self.queue_errors.pop() {
                self.carry_out_queue_error(error);
            } else if let Some(slot) = self.tasks.next_claimed() {
                if let State::Waiting { op } = self.tasks.set_state(slot, State::Running) {
                    match self.check_medium(slot) {
                        _ if self.is_held_back(slot) => self.block(slot, Point::Step(Step::Store(op))),
                        Ok(()) => self.submit(slot, op),
                        Err(outcome) => self.conclude(slot, outcome),
                    }
                }
            } else if let Some((slot, generation, late)) = self.preemptions.pop() {
                if self.tasks.contains(slot, generation) {
                    self.tasks.set_state(slot, State::Running);
                    let step = self.preemption_ended(slot, late);
                    self.advance(slot, step);
                }
            } else if let Some((slot, then)) = self.next_unblocked() {
                self.resume(slot, then);
            } else if let Some(slot) = self.tasks.next_startable() {
                self.start(slot);
            } else {
                break;
            }
        }
        if self.device.has_errands() {
            self.run_errands();
        }
    }

    /// The task becomes enabled.
    pub(crate) fn start(&mut self, slot: usize) {
        if let Err(outcome) = self.pass_gates(slot) {
            self.respond(slot, outcome);
        } else if let Some(verdict) = self.decide(slot, Stage::Arrival) {
            self.strike(slot, verdict, Point::Execute);
        } else {
            self.execute(slot);
        }
    }

    /// SAM's order: is there such a command, unit attention, reservation, then the device's own checks.
    fn pass_gates(&mut self, slot: usize) -> Result<(), Outcome> {
        let task = self.tasks.get(slot);
        let Some(row) = task.row else {
            // The reason is not kept; it is the same as at arrival.
            return Err(self.device.lookup(task.cdb()).map_or_else(|outcome| outcome, |_| Outcome::status(Status::BUSY)));
        };
        if let Role::Part { token: Some(token) } = task.role {
            let edition = self.device.medium_edition();
            self.tokens.check(token, edition, self.clock).map_err(|asc| Outcome::check(Sense::illegal(asc)))?;
        }
        if let Some(nexus) = self.nexuses.of_mut(task)
            && task.is_command()
            && !nexus.attentions.is_empty()
            && let Some(asc) = report_attention(&mut nexus.attentions, row, self.device.attention_interlock())
        {
            return Err(Outcome::check(attention::sense(asc)));
        }
        self.look_again(slot)
    }

    /// The gates that may close while a task runs: reservation, an abort that does not end, and the device's own checks.
    pub(crate) fn look_again(&self, slot: usize) -> Result<(), Outcome> {
        let task = self.tasks.get(slot);
        let (Some(row), Some(nexus)) = (task.row, self.nexuses.of(task)) else { return Ok(()) };
        if !self.reservations.is_idle() {
            if self.reservations.is_lost_to(row, task.cdb()) {
                return Err(Outcome::check(Sense::new(scsi::SenseKey::HARDWARE_ERROR, RESERVATION_LOST)));
            }
            if self.reservations.conflict(row, task.cdb(), task.nexus, &nexus.identity) {
                return Err(Outcome::status(Status::RESERVATION_CONFLICT));
            }
        }
        self.check_access(row.operation, &nexus.identity.port).map_err(Outcome::check)?;
        if self.overdue > 0 && row.needs_medium {
            return Err(Outcome::check(Sense::new(scsi::SenseKey::NOT_READY, Asc::NOT_READY)));
        }
        self.device.check(&task.request(row, nexus))
    }

    /// The medium may have been exchanged while a task waited for bytes or hung.
    fn check_medium(&self, slot: usize) -> Result<(), Outcome> {
        self.tasks.get(slot).progress.as_ref().map_or(Ok(()), |progress| self.device.check_medium(progress))
    }

    /// All gates are passed.
    fn execute(&mut self, slot: usize) {
        self.limit_begun(slot);
        let copies = self.tasks.get(slot).row.is_some_and(device::third_party::is_copy);
        let step = if copies { self.copy_command(slot) } else { Some(self.primary_command(slot).unwrap_or_else(|| self.begin(slot))) };
        let Some(mut step) = step else { return };
        self.qualify_inquiry(slot, &mut step);
        self.publish_notices();
        self.advance(slot, step);
    }

    fn begin(&mut self, slot: usize) -> Step {
        let task = self.tasks.get(slot);
        let (Some(row), Some(nexus)) = (task.row, self.nexuses.of(task)) else {
            return Step::Finish(Outcome::check(Sense::illegal(Asc::INVALID_OPERATION_CODE)));
        };
        let (progress, step) = self.device.begin(&task.request(row, nexus));
        self.tasks.get_mut(slot).progress = Some(progress);
        step
    }

    /// The device says what comes next; fault rules may say otherwise.
    pub(crate) fn advance(&mut self, slot: usize, step: Step) {
        let stage = match step {
            Step::Fetch { .. } => Stage::Transfer,
            Step::Store(_) => Stage::Store,
            Step::Finish(_) => {
                self.tasks.release(slot);
                Stage::Reply
            }
        };
        if self.is_held_back(slot) {
            return self.block(slot, Point::Reached(step));
        }
        match self.decide(slot, stage) {
            Some(verdict) => self.strike(slot, verdict, Point::Step(step)),
            None => self.take(slot, step),
        }
    }

    fn take(&mut self, slot: usize, step: Step) {
        match step {
            Step::Fetch { len, inline } => {
                self.tasks.set_state(slot, State::Fetching { inline, len });
                let task = self.tasks.get(slot).reference(slot);
                self.effects.push_back(Effect::Fetch { task, len, inline });
            }
            Step::Store(op) => {
                let (span, exclusive) = claimed(&self.device, self.tasks.get(slot), &op);
                match span {
                    Some(span) if !self.tasks.claim(slot, span, exclusive) => {
                        self.tasks.set_state(slot, State::Waiting { op });
                    }
                    _ => self.submit(slot, op),
                }
            }
            Step::Finish(outcome) => self.respond(slot, outcome),
        }
    }

    /// The store gets to work, unless its end has come nearer since the range check.
    fn submit(&mut self, slot: usize, op: StoreOp) {
        if !self.device.holds(&op) {
            return self.conclude(slot, Outcome::check(Sense::illegal(Asc::LBA_OUT_OF_RANGE)));
        }
        if self.device.is_erasing_alone()
            && let Some(sense) = self.device.erasing_sense()
        {
            return self.conclude(slot, Outcome::check(sense));
        }
        if !self.faults.is_empty() && self.work_fails(slot, &op) {
            return;
        }
        self.tokens.changes(&op);
        self.tasks.set_state(slot, State::Storing);
        let task = self.tasks.get(slot).reference(slot);
        let guard = self.tasks.get(slot).progress.as_ref().and_then(|progress| self.device.guard(progress));
        self.effects.push_back(Effect::Store { task, op, guard });
    }

    // --- faults ---

    /// Goes on where a hang or an auto contingent allegiance had stopped the task.
    pub(crate) fn resume(&mut self, slot: usize, then: Point) {
        let then = match then {
            Point::Start => return self.start(slot),
            Point::Step(Step::Finish(outcome)) => return self.respond(slot, outcome),
            Point::Reached(step @ Step::Finish(_)) => return self.advance(slot, step),
            Point::Verdict(rest) => {
                let (verdict, then) = *rest;
                return self.act(slot, &verdict, then);
            }
            then => then,
        };
        if let Err(outcome) = self.look_again(slot).and_then(|()| self.check_medium(slot)) {
            return self.conclude(slot, outcome);
        }
        match then {
            Point::Execute => self.execute(slot),
            Point::Step(step) => self.take(slot, step),
            Point::Reached(step) => self.advance(slot, step),
            Point::Fetched(data) => self.go_on_fetched(slot, &data),
            Point::PartEnded(end) => self.part_ended(slot, end),
            Point::Start | Point::Verdict(_) => {}
        }
    }

    /// Time of an input. The device hears whether it was idle until now.
    pub(crate) fn tick(&mut self, now: u64) {
        self.clock = now;
        self.device.tick(now, self.tasks.len() == 0);
    }

    pub(crate) fn wake_at(&mut self, time: u64) {
        self.next_timeout = Some(self.next_timeout.map_or(time, |next| next.min(time)));
    }

    // --- shared ---

    /// Slots of the tasks that `wanted` picks, in order of arrival.
    pub(crate) fn slots(&self, wanted: impl Fn(&Task) -> bool) -> Vec<usize> {
        let mut slots: Vec<(u64, usize)> = self.tasks.iter().filter(|(_, task)| wanted(task)).map(|(slot, task)| (task.sequence, slot)).collect();
        slots.sort_unstable();
        slots.into_iter().map(|(_, slot)| slot).collect()
    }

    pub(crate) fn attention_one(&mut self, nexus: NexusId, asc: Asc) {
        if let Some(nexus) = self.nexuses.get_mut(nexus) {
            nexus.attentions.establish(asc);
        }
    }

    pub(crate) fn nexus_of(&self, slot: usize) -> Option<&Nexus> {
        self.nexuses.of(self.tasks.get(slot))
    }

    /// There is no unit at the command's LUN; LUN 0 answers for it, outside its task set.
    fn answer_absent(&mut self, command: &Command<'_>, entry: &Entry) {
        let slot = self.insert(command, entry, true);
        let outcome = crate::primary::absent(command.cdb);
        let task = self.leave(slot);
        self.effects.push_back(Effect::Respond { task: task.reference(slot), outcome });
    }
}

/// The unit attention that stops this command, taken out unless it is interlocked; `None` when it may pass.
fn report_attention(attentions: &mut Attentions, row: &CommandRow, interlock: Interlock) -> Option<Asc> {
    match row.unit_attention {
        scsi::command::UnitAttentionClass::Report if interlock == Interlock::Clear => attentions.take(),
        scsi::command::UnitAttentionClass::Report => attentions.first(),
        _ => None,
    }
}

#[cfg(test)]
#[path = "erase_tests.rs"]
mod erase_tests;
#[cfg(test)]
#[path = "ordering_model_tests.rs"]
mod ordering;
#[cfg(test)]
#[path = "random_tests.rs"]
mod random;
#[cfg(test)]
#[path = "unit_tests.rs"]
mod tests;
