//! What CHECK CONDITION means for other commands: auto contingent allegiance (SAM-5 5.9), QERR and UA_INTLCK of the control mode page (SPC-6 7.5.8).
//!
//! While a task set has an auto contingent allegiance, its faulted nexus gets through with one ACA command at a time, everybody else with PREEMPT AND ABORT
//! only. Commands that were there are blocked at their next step: the store may finish what it does, and nothing else happens, and nobody hears of it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use device::{Interlock, QueueErrors};
use scsi::command::Operation;
use scsi::{Asc, Outcome, Sense, Status, TaskAttribute};

use crate::attention::{COMMANDS_CLEARED, PREVIOUS_BUSY, PREVIOUS_RESERVATION_CONFLICT, PREVIOUS_TASK_SET_FULL};
use crate::copy::Role;
use crate::effect::{Abort, Command, NexusId};
use crate::task::{Point, State, Task};
use crate::task_set::LaneId;
use crate::unit::Unit;

/// INVALID MESSAGE ERROR: the ACA attribute without an auto contingent allegiance.
const INVALID_MESSAGE: Asc = Asc(0x4900);

/// QERR: commands that end because another one ended with CHECK CONDITION.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueError {
    lane: LaneId,
    nexus: NexusId,
    /// Only those of the nexus.
    own: bool,
}

/// What becomes of a command that arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It waits for its turn.
    InOrder,
    /// It starts at once.
    AtOnce,
    /// This is the answer.
    Answer(Outcome),
}

impl Unit {
    /// The lane of new commands of a nexus.
    #[inline]
    pub(crate) fn lane_of(&self, nexus: NexusId) -> LaneId {
        self.device.separate_task_sets().then_some(nexus)
    }

    /// An auto contingent allegiance, or the want of one, decides on some commands.
    #[inline]
    pub(crate) fn admission(&self, command: &Command<'_>) -> Admission {
        let lane = self.lane_of(command.nexus);
        match self.tasks.faulted(lane) {
            None if command.attribute == TaskAttribute::Aca => Admission::Answer(Outcome::check(Sense::illegal(INVALID_MESSAGE))),
            None => Admission::InOrder,
            Some(faulted) => self.admission_under_aca(command, lane, faulted),
        }
    }

    #[cold]
    fn admission_under_aca(&self, command: &Command<'_>, lane: LaneId, faulted: NexusId) -> Admission {
        let row = self.device.lookup(command.cdb).ok();
        let aca = command.attribute == TaskAttribute::Aca;
        if command.nexus == faulted {
            let admitted = aca && !self.tasks.has_contingent(lane);
            return if admitted { Admission::AtOnce } else { Admission::Answer(Outcome::status(Status::ACA_ACTIVE)) };
        }
        if !aca && row.is_some_and(|row| row.operation == Operation::PersistentReserveOutPreemptAndAbort) {
            return Admission::AtOnce;
        }
        let naca = Task::new(command, row, &crate::nexus::Entry::default(), 0).naca();
        Admission::Answer(Outcome::status(if naca || aca { Status::ACA_ACTIVE } else { Status::BUSY }))
    }

    /// Does an auto contingent allegiance keep this task from going on?
    #[inline]
    pub(crate) fn is_held_back(&self, slot: usize) -> bool {
        let task = self.tasks.get(slot);
        self.tasks.faulted(task.lane).is_some() && !passes(task)
    }

    /// The task goes on here when the auto contingent allegiance has ended.
    pub(crate) fn block(&mut self, slot: usize, then: Point) {
        let generation = self.tasks.get(slot).generation;
        self.tasks.set_state(slot, State::Blocked { then: Box::new(then) });
        self.blocked.push((slot, generation));
    }

    /// The next blocked task whose task set is free again; it is not blocked any more.
    pub(crate) fn next_unblocked(&mut self) -> Option<(usize, Point)> {
        while let Some(at) = self.blocked.iter().position(|&(slot, generation)| !self.tasks.contains(slot, generation) || !self.is_held_back(slot)) {
            let (slot, generation) = self.blocked.remove(at);
            if !self.tasks.contains(slot, generation) {
                continue;
            }
            match self.tasks.set_state(slot, State::Running) {
                State::Blocked { then } => return Some((slot, *then)),
                other => {
                    self.tasks.set_state(slot, other);
                }
            }
        }
        None
    }

    /// A command ended: its status may begin or end an auto contingent allegiance, end other commands, or establish a unit attention.
    pub(crate) fn after_status(&mut self, task: &Task, status: Status) {
        match status {
            Status::CHECK_CONDITION => self.after_check_condition(task),
            Status::BUSY => self.interlock(task.nexus, PREVIOUS_BUSY),
            Status::TASK_SET_FULL => self.interlock(task.nexus, PREVIOUS_TASK_SET_FULL),
            Status::RESERVATION_CONFLICT => self.interlock(task.nexus, PREVIOUS_RESERVATION_CONFLICT),
            _ => {}
        }
    }

    fn after_check_condition(&mut self, task: &Task) {
        if self.nexuses.get(task.nexus).is_none() {
            return;
        }
        if task.naca() {
            self.tasks.fault(task.lane, task.nexus);
        } else if task.attribute == TaskAttribute::Aca {
            self.tasks.clear_faults(Some(task.nexus));
        }
        let own = match self.device.queue_errors() {
            QueueErrors::Continue => return,
            QueueErrors::AbortAll => false,
            QueueErrors::AbortOwn => true,
        };
        self.queue_errors.push(QueueError { lane: task.lane, nexus: task.nexus, own });
    }

    fn interlock(&mut self, nexus: NexusId, asc: Asc) {
        if self.device.attention_interlock() == Interlock::KeepAndEstablish {
            self.attention_one(nexus, asc);
        }
    }

    /// Ends the commands that QERR says. Those of other nexuses get TASK ABORTED (TAS = 1), or their nexuses hear of it.
    pub(crate) fn carry_out_queue_error(&mut self, error: QueueError) {
        let respond = self.device.task_aborted_status();
        for slot in self.slots(|task| task.is_command() && task.lane == error.lane && (!error.own || task.nexus == error.nexus)) {
            let nexus = self.tasks.get(slot).nexus;
            if nexus == error.nexus {
                self.abort(slot, Abort::ByOwnNexus);
                continue;
            }
            if !respond {
                self.attention_one(nexus, COMMANDS_CLEARED);
            }
            self.abort(slot, Abort::ByOther { respond });
        }
    }

    /// CLEAR ACA by the faulted nexus: the allegiance ends, and the slots are those of its ACA tasks, which end too. Of another nexus it does nothing.
    pub(crate) fn clear_contingent(&mut self, nexus: NexusId) -> Vec<usize> {
        let lanes = self.tasks.clear_faults(Some(nexus));
        self.slots(|task| task.attribute == TaskAttribute::Aca && task.nexus == nexus && lanes.contains(&task.lane))
    }
}

/// Tasks that an auto contingent allegiance lets pass.
fn passes(task: &Task) -> bool {
    task.role == Role::Background
        || task.attribute == TaskAttribute::Aca
        || task.row.is_some_and(|row| row.operation == Operation::PersistentReserveOutPreemptAndAbort)
}

#[cfg(test)]
#[path = "contingent_tests.rs"]
mod tests;
