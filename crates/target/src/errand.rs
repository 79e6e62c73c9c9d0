//! What a unit asks of the store without a command, and what becomes of results that nobody waits for.

use device::{StoreResult, Traffic};

use crate::effect::Effect;
use crate::task::{State, Task};
use crate::unit::Unit;

impl Unit {
    /// An operation that the unit asked for itself ended.
    pub fn handle_errand(&mut self, number: u64, result: StoreResult, now: u64) {
        self.tick(now);
        self.errand_end = None;
        self.device.errand_ended(number, result);
        self.publish_notices();
        self.settle();
    }

    /// The unit was taken away from its target: it begins nothing any more on its own.
    pub fn retire(&mut self) {
        self.device.retire();
    }

    /// What the unit does on its own, when its tasks let it.
    pub(crate) fn run_errands(&mut self) {
        let at_store = |task: &Task| matches!(task.state, State::Storing | State::Aborting { .. });
        let traffic = Traffic { commands: self.tasks.len() > 0, at_store: self.tasks.iter().any(|(_, task)| at_store(task)) };
        while let Some(errand) = self.device.poll_errand(traffic) {
            if let Some(fault) = self.errand_fault(&errand) {
                // What fails ends its work, so that this comes to an end.
                self.device.errand_ended(errand.number, Err(fault));
                self.publish_notices();
                continue;
            }
            self.errand_end = Some(errand.op.end());
            self.tokens.changes(&errand.op);
            self.effects.push_back(Effect::Errand(errand));
            break;
        }
        if let Some(due) = self.device.errand_due(traffic) {
            self.wake_at(due);
        }
    }

    /// Nobody waits for the result of an operation. Failures are looked at all the same: a flush that failed is remembered. Successes are not, so that the
    /// command changes nothing any more.
    pub(crate) fn note_failure(&mut self, slot: usize, result: StoreResult) {
        if let (Err(_), Some(progress)) = (&result, self.tasks.get_mut(slot).progress.as_mut()) {
            self.device.stored(progress, result);
        }
    }
}
