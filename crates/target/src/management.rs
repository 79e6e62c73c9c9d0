//! Task management functions (SAM-5 7).
//!
//! A function ends when every task it ends has ended. A task whose store operation runs ends with that operation; if the store does not answer within
//! [`FUNCTION_LIMIT`], the function is rejected, and the medium is NOT READY until the store has let go of the last such task.

use alloc::vec::Vec;

use scsi::Asc;
use scsi::planted::{Bug, is_planted};

use crate::attention::{COMMANDS_CLEARED, NEXUS_LOSS};
use crate::effect::{Abort, Effect, Function, FunctionKind, FunctionResponse, NexusId, TaskTag};
use crate::unit::Unit;

/// How long a function waits for store operations, in nanoseconds. Initiators wait 10 to 30 seconds for an answer before they take the session down.
pub const FUNCTION_LIMIT: u64 = 5_000_000_000;

/// Functions that wait at one unit. Initiators send one at a time; the rest is a flood, and rejected.
pub const PENDING_LIMIT: usize = 256;

/// Who waits for the end of tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// A task management function.
    Function { nexus: NexusId, tag: TaskTag },
    /// A PREEMPT AND ABORT.
    Command { slot: usize, generation: u32 },
}

/// A wait for the end of tasks.
#[derive(Debug)]
pub(crate) struct Pending {
    pub waiter: Waiter,
    pub deadline: u64,
    /// Slots and generations.
    tasks: Vec<(usize, u32)>,
}

impl Unit {
    pub(crate) fn manage(&mut self, function: Function) {
        let nexus = function.nexus;
        let Some(known) = self.nexuses.get(nexus) else {
            return self.answer(function, FunctionResponse::Rejected);
        };
        let attention = known.attentions.first();
        match function.kind {
            FunctionKind::AbortTask(tag) => match self.find(nexus, tag) {
                Some(slot) => self.abort_for(function, Vec::from([slot])),
                None => self.answer(function, FunctionResponse::TaskDoesNotExist),
            },
            FunctionKind::AbortTaskSet => {
                let slots = self.slots(|task| (task.nexus == nexus || is_planted(Bug::AbortSetTooWide)) && task.is_command());
                self.abort_for(function, slots);
            }
            FunctionKind::ClearAca => {
                if self.accepts(function) {
                    let slots = self.clear_contingent(nexus);
                    let ended = self.abort_all(Some(nexus), slots);
                    self.await_tasks(function, &ended);
                }
            }
            FunctionKind::ClearTaskSet => self.clear_task_set(function),
            FunctionKind::LogicalUnitReset => {
                if self.accepts(function) {
                    let slots = self.reset_unit(Some(nexus));
                    self.await_tasks(function, &slots);
                }
            }
            FunctionKind::QueryTask(tag) => self.answer(function, existence(self.find(nexus, tag).is_some())),
            FunctionKind::QueryTaskSet => {
                let exists = self.tasks.iter().any(|(_, task)| task.nexus == nexus && task.is_command());
                self.answer(function, existence(exists));
            }
            FunctionKind::QueryAsynchronousEvent => {
                self.answer(function, attention.map_or(FunctionResponse::Complete, FunctionResponse::SucceededWith));
            }
            FunctionKind::NexusReset => {
                let slots = self.slots(|task| task.nexus == nexus);
                self.tasks.clear_faults(Some(nexus));
                self.reservations.release(nexus);
                self.device.nexus_lost(nexus.0);
                self.attention_one(nexus, NEXUS_LOSS);
                self.abort_for(function, slots);
            }
        }
    }

    /// LOGICAL UNIT RESET by `nexus`, or by the administrator. Answers with the tasks it ended, by slot and generation.
    pub(crate) fn reset_unit(&mut self, nexus: Option<NexusId>) -> Vec<(usize, u32)> {
        let slots = self.slots(|_| true);
        let ended = self.abort_all(nexus, slots);
        self.tasks.clear_faults(None);
        self.reservations.reset();
        self.copies.reset();
        self.device.reset();
        self.publish_notices();
        self.attention_all(Asc::POWER_ON_OR_RESET, None);
        ended
    }

    /// A task left: who waited for it waits no more, and it waits for nobody.
    pub(crate) fn task_ended(&mut self, slot: usize, generation: u32) {
        if self.pending.is_empty() {
            return;
        }
        self.pending.retain(|pending| pending.waiter != Waiter::Command { slot, generation });
        let all_ended = |pending: &mut Pending| {
            pending.tasks.retain(|&task| task != (slot, generation));
            pending.tasks.is_empty()
        };
        let done: Vec<Pending> = self.pending.extract_if(.., all_ended).collect();
        for pending in done {
            self.wait_ended(pending.waiter, false);
        }
    }

    /// Who waited long enough hears so, and the tasks hold the medium back.
    pub(crate) fn give_up(&mut self, now: u64) {
        let late = |pending: &mut Pending| pending.deadline <= now;
        let given_up: Vec<Pending> = self.pending.extract_if(.., late).collect();
        for pending in given_up {
            for (slot, _) in pending.tasks {
                let task = self.tasks.get_mut(slot);
                self.overdue += usize::from(!task.overdue);
                task.overdue = true;
            }
            self.wait_ended(pending.waiter, true);
        }
    }

    /// A function is answered here; a command goes on when the input has been dealt with.
    fn wait_ended(&mut self, waiter: Waiter, late: bool) {
        match waiter {
            Waiter::Function { nexus, tag } => {
                let response = if late { FunctionResponse::Rejected } else { FunctionResponse::Complete };
                self.effects.push_back(Effect::FunctionDone { nexus, tag, response });
            }
            Waiter::Command { slot, generation } => self.preemptions.push((slot, generation, late)),
        }
    }

    /// CLEAR TASK SET: everybody's tasks, or (TST = 1) those of the nexus. Without TASK ABORTED status (TAS = 0) the others hear of it by a unit attention.
    fn clear_task_set(&mut self, function: Function) {
        if !self.accepts(function) {
            return;
        }
        let separate = self.device.separate_task_sets();
        let slots = self.slots(|task| !separate || task.nexus == function.nexus);
        if !self.device.task_aborted_status() {
            let commands = slots.iter().map(|&slot| self.tasks.get(slot)).filter(|task| task.is_command());
            let others: Vec<NexusId> = commands.map(|task| task.nexus).filter(|&nexus| nexus != function.nexus).collect();
            for nexus in others {
                self.attention_one(nexus, COMMANDS_CLEARED);
            }
        }
        let ended = self.abort_all(Some(function.nexus), slots);
        self.await_tasks(function, &ended);
    }

    /// Aborts tasks of the function's own nexus.
    fn abort_for(&mut self, function: Function, slots: Vec<usize>) {
        if self.accepts(function) {
            let ended = self.abort_all(Some(function.nexus), slots);
            self.await_tasks(function, &ended);
        }
    }

    fn abort_all(&mut self, by: Option<NexusId>, slots: Vec<usize>) -> Vec<(usize, u32)> {
        let respond = self.device.task_aborted_status();
        let mut ended = Vec::with_capacity(slots.len());
        for slot in slots {
            let task = self.tasks.get(slot);
            let why = if Some(task.nexus) == by { Abort::ByOwnNexus } else { Abort::ByOther { respond } };
            ended.push((slot, task.generation));
            self.abort(slot, why);
        }
        ended
    }

    /// The function ends now, or with the last of its tasks.
    fn await_tasks(&mut self, function: Function, ended: &[(usize, u32)]) {
        if !self.await_end(Waiter::Function { nexus: function.nexus, tag: function.tag }, ended) {
            self.answer(function, FunctionResponse::Complete);
        }
    }

    /// Waits for those of the tasks that are still there. False: there is nothing to wait for.
    pub(crate) fn await_end(&mut self, waiter: Waiter, ended: &[(usize, u32)]) -> bool {
        let alive = |&&(slot, generation): &&(usize, u32)| self.tasks.contains(slot, generation);
        let tasks: Vec<(usize, u32)> = ended.iter().filter(alive).copied().collect();
        if tasks.is_empty() || is_planted(Bug::AbortLandsLate) {
            return false;
        }
        let limit = if is_planted(Bug::FunctionWaitsForever) { u64::MAX } else { FUNCTION_LIMIT };
        let deadline = self.clock.saturating_add(limit);
        self.pending.push(Pending { waiter, deadline, tasks });
        self.wake_at(deadline);
        true
    }

    /// False, and answered, when too many functions wait already.
    fn accepts(&mut self, function: Function) -> bool {
        let room = self.pending.len() < PENDING_LIMIT;
        if !room {
            self.answer(function, FunctionResponse::Rejected);
        }
        room
    }

    fn find(&self, nexus: NexusId, tag: TaskTag) -> Option<usize> {
        self.tasks.iter().find(|(_, task)| task.nexus == nexus && task.tag == tag && task.is_command()).map(|(slot, _)| slot)
    }

    fn answer(&mut self, function: Function, response: FunctionResponse) {
        self.effects.push_back(Effect::FunctionDone { nexus: function.nexus, tag: function.tag, response });
    }
}

fn existence(exists: bool) -> FunctionResponse {
    if exists { FunctionResponse::Succeeded } else { FunctionResponse::Complete }
}
