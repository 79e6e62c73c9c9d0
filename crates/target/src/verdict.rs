//! What fault rules decide about tasks, and what becomes of them.

use alloc::boxed::Box;

use device::{Errand, Step, StoreFault, StoreOp};
use fault::{Action, Stage, Subject, Verdict};
use scsi::{BlockCount, BlockRange, CommandRow, Lba, Outcome, command};

use crate::effect::Effect;
use crate::task::{Point, State, span};
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

    /// A command that goes over the whole medium meets the rules with each operation. True: this one failed, with the rule's sense.
    #[cold]
    pub(crate) fn work_fails(&mut self, slot: usize, op: &StoreOp) -> bool {
        let task = self.tasks.get(slot);
        let Some(row) = task.row else { return false };
        let Some((verdict, fault)) = self.ask_about_work(row, (task.stable_key, task.ordinal), op) else { return false };
        let task = self.tasks.get_mut(slot);
        task.event = Some(verdict.event);
        let Some(progress) = task.progress.as_mut() else { return false };
        let mut step = self.device.stored(progress, Err(fault));
        self.publish_notices();
        if let (Step::Finish(outcome), Action::CheckCondition(sense)) = (&mut step, verdict.action) {
            outcome.sense = Some(sense);
        }
        self.advance(slot, step);
        true
    }

    /// The same without a command. Draws are made for each piece: nexus 0, and its first block as the ordinal.
    pub(crate) fn errand_fault(&mut self, errand: &Errand) -> Option<StoreFault> {
        if self.faults.is_empty() {
            return None;
        }
        let row = command::by_operation(errand.operation?)?;
        let (start, _) = span(&errand.op)?;
        let first = start >> self.device.block_size().shift();
        self.ask_about_work(row, (0, first), &errand.op).map(|(_, fault)| fault)
    }

    /// A rule whose blocks the operation reaches lets it fail at the first of them.
    fn ask_about_work(&mut self, row: &'static CommandRow, key: (u64, u64), op: &StoreOp) -> Option<(Verdict, StoreFault)> {
        let (start, end) = span(op).filter(|_| fault::goes_over_medium(row.operation))?;
        let shift = self.device.block_size().shift();
        let range = BlockRange { start: Lba(start >> shift), count: BlockCount((end - start) >> shift) };
        let subject = Subject { nexus: key.0, ordinal: key.1, row, cdb: &[], range: Some(range) };
        let verdict = self.faults.decide(Stage::Store, &subject, self.clock)?;
        let first = self.faults.spec(verdict.rule)?.range?.start.0.max(range.start.0);
        Some((verdict, StoreFault::Io { at: Some((first - range.start.0) << shift) }))
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
