//! How a command ends: with an outcome, or without.

use scsi::{Asc, Outcome, Status};

use crate::copy::Role;
use crate::counters::Ended;
use crate::effect::{Abort, Effect};
use crate::flight::{Ending, FlightRecord};
use crate::task::{State, Task};
use crate::unit::Unit;

impl Unit {
    /// An end that the device did not decide: what was transferred so far was consumed.
    pub(crate) fn conclude(&mut self, slot: usize, mut outcome: Outcome) {
        outcome.data_out = self.tasks.get(slot).fetched;
        self.respond(slot, outcome);
    }

    /// The command ends with an outcome.
    pub(crate) fn respond(&mut self, slot: usize, outcome: Outcome) {
        let outcome = self.check_token(slot, outcome);
        let task = self.leave(slot);
        let moved = (outcome.data_in.len().min(task.data_in), outcome.data_out.min(task.data_out));
        let nanoseconds = self.clock.saturating_sub(task.arrived);
        let (operation, expected) = (task.row.map(|row| row.operation), (task.data_in, task.data_out));
        if task.is_command() {
            self.counters.ended(Ended { nexus: task.nexus, operation, status: outcome.status, expected, moved, nanoseconds });
        }
        let ended = device::Ended { row: task.row, cdb: task.cdb(), outcome: &outcome, data_in: moved.0, data_out: moved.1, nanoseconds };
        self.device.ended(&ended);
        let sense = outcome.sense.map(|sense| (sense.key, sense.asc));
        self.record(&task, Ending::Status(outcome.status), sense);
        let status = outcome.status;
        self.effects.push_back(Effect::Respond { task: task.reference(slot), outcome });
        self.task_ended(slot, task.generation);
        if status != Status::GOOD && task.is_command() {
            self.after_status(&task, status);
        }
    }

    /// Ends a task without outcome, at once or when its store operation ends.
    pub(crate) fn abort(&mut self, slot: usize, why: Abort) {
        match &mut self.tasks.get_mut(slot).state {
            // The first abort decides who hears what, but nobody speaks to a nexus that is gone.
            State::Aborting { why: first } if why == Abort::NexusLost => *first = why,
            State::Aborting { .. } => {}
            state @ (State::Storing | State::Persisting) => *state = State::Aborting { why },
            state @ State::Copying => {
                *state = State::Aborting { why };
                let task = self.tasks.get(slot).reference(slot);
                self.effects.push_back(Effect::CancelPart { task });
            }
            _ => self.end_aborted(slot, why),
        }
    }

    pub(crate) fn end_aborted(&mut self, slot: usize, why: Abort) {
        let task = self.leave(slot);
        if task.is_command() {
            self.counters.aborted(task.nexus);
        }
        self.record(&task, Ending::Aborted, None);
        if task.role != Role::Background {
            self.effects.push_back(Effect::Aborted { task: task.reference(slot), why });
        }
        self.task_ended(slot, task.generation);
    }

    pub(crate) fn leave(&mut self, slot: usize) -> Task {
        let mut task = self.tasks.remove(slot);
        let reference = task.reference(slot);
        self.copy_left(&mut task, reference);
        if let Some(progress) = &mut task.progress {
            self.device.left(progress);
        }
        self.overdue -= usize::from(task.overdue);
        if let Some(nexus) = self.nexuses.of_mut(&task) {
            nexus.tasks -= 1;
        }
        task
    }

    fn record(&mut self, task: &Task, ending: Ending, sense: Option<(scsi::SenseKey, Asc)>) {
        let range = task.row.and_then(|row| row.range(task.cdb()));
        self.flight.record(FlightRecord {
            number: 0,
            nexus: task.nexus,
            tag: task.tag,
            opcode: task.cdb().first().copied().unwrap_or(0),
            name: task.row.map(|row| row.name),
            lba: range.map(|range| range.start.0),
            blocks: range.map_or(0, |range| range.count.0),
            ending,
            sense,
            arrived: task.arrived,
            ended: self.clock,
            event: task.event,
        });
    }
}
