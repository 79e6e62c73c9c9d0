//! What fault rules decide about tasks, and what becomes of them.

use alloc::boxed::Box;

use fault::{Action, Stage, Subject, Verdict};
use scsi::Outcome;

use crate::effect::Effect;
use crate::task::{Point, State};
use crate::unit::Unit;

impl Unit {
    #[inline]
    pub(crate) fn decide(&mut self, slot: usize, stage: Stage) -> Option<Verdict> {
        if self.faults.is_empty() { None } else { self.ask_rules(slot, stage) }
    }

    #[cold]
    fn ask_rules(&mut self, slot: usize, stage: Stage) -> Option<Verdict> {
        let task = self.tasks.get_mut(slot);
        let row = task.row.filter(|_| task.first_at(stage))?;
        let range = self.device.range(row, task.cdb());
        let subject = Subject { nexus: task.stable_key, ordinal: task.ordinal, row, cdb: task.cdb(), range };
        let verdict = self.faults.decide(stage, &subject, self.clock)?;
        task.event = Some(verdict.event);
        Some(verdict)
    }

    /// A rule fired: wait as it says, then do as it says.
    pub(crate) fn strike(&mut self, slot: usize, verdict: Verdict, then: Point) {
        if verdict.pause_ms == 0 {
            return self.act(slot, &verdict, then);
        }
        let until = self.clock.saturating_add(verdict.pause_ms.saturating_mul(1_000_000));
        self.tasks.set_state(slot, State::Delayed { until, rest: Box::new((verdict, then)) });
        self.wake_at(until);
    }

    pub(crate) fn act(&mut self, slot: usize, verdict: &Verdict, then: Point) {
        match verdict.action {
            Action::CheckCondition(sense) => self.conclude(slot, Outcome::check(sense)),
            Action::Status(status) => self.conclude(slot, Outcome::status(status)),
            Action::Hang => {
                self.tasks.set_state(slot, State::Hung { rule: verdict.rule, then: Box::new(then) });
            }
            Action::DropConnection => {
                self.tasks.set_state(slot, State::Dropped);
                let nexus = self.tasks.get(slot).nexus;
                self.effects.push_back(Effect::Drop { nexus });
            }
        }
    }
}
