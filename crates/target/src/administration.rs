//! What the administrator does to a unit and asks of it.

use device::Device;
use fault::{RuleId, Rules};
use scsi::Asc;

use crate::counters::Counters;
use crate::effect::NexusId;
use crate::flight::FlightRecord;
use crate::reservation::Reservations;
use crate::task::{State, Task};
use crate::unit::Unit;

impl Unit {
    /// The device server.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The device server, to be changed. Call [`publish_notices`](Unit::publish_notices) afterwards.
    pub fn device_mut(&mut self) -> &mut Device {
        &mut self.device
    }

    /// Turns what the device has to tell into unit attentions.
    pub fn publish_notices(&mut self) {
        while let Some(notice) = self.device.poll_notice() {
            self.attention_all(notice.asc, notice.except.map(NexusId));
        }
    }

    /// Fault rules.
    pub fn faults(&self) -> &Rules {
        &self.faults
    }

    /// Fault rules, to be changed. Call [`release_hung`](Unit::release_hung) after a delete.
    pub fn faults_mut(&mut self) -> &mut Rules {
        &mut self.faults
    }

    /// Lets the tasks go on that hang by this rule, or by any: from where they hung, through the gates that may have closed meanwhile.
    pub fn release_hung(&mut self, rule: Option<RuleId>, now: u64) {
        self.tick(now);
        let hung = |task: &Task| matches!(&task.state, State::Hung { rule: by, .. } if rule.is_none_or(|rule| rule == *by));
        for slot in self.slots(hung) {
            if let State::Hung { then, .. } = self.tasks.set_state(slot, State::Running) {
                if self.is_held_back(slot) { self.block(slot, *then) } else { self.resume(slot, *then) }
            }
        }
        self.settle();
    }

    /// A unit attention for every attached nexus but one.
    pub fn attention_all(&mut self, asc: Asc, except: Option<NexusId>) {
        for nexus in self.nexuses.iter_mut().filter(|nexus| Some(nexus.id) != except) {
            nexus.attentions.establish(asc);
        }
    }

    /// Forgets a unit attention of one nexus: REPORT LUNS through another unit has told what REPORTED LUNS DATA HAS CHANGED announces.
    pub fn clear_attention(&mut self, nexus: NexusId, asc: Asc) {
        if let Some(nexus) = self.nexuses.get_mut(nexus) {
            nexus.attentions.clear(asc);
        }
    }

    /// The administrator's reset: as LOGICAL UNIT RESET, and a remembered flush failure is forgotten.
    pub fn reset(&mut self, now: u64) {
        self.tick(now);
        self.device.forget_flush_failure();
        self.reset_unit(None);
        self.settle();
    }

    /// Commands that have not ended, those being aborted among them.
    pub fn active_tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Commands whose end somebody waits for: without those that were aborted, or whose nexus is gone, and that a store still has.
    pub fn awaited_tasks(&self) -> usize {
        self.tasks.iter().filter(|(_, task)| !matches!(task.state, State::Aborting { .. })).count()
    }

    /// The store works on bytes from `end` on.
    pub fn works_behind(&self, end: u64) -> bool {
        let busy = |task: &Task| matches!(task.state, State::Storing | State::Aborting { .. }) && task.claim.is_some_and(|claim| claim.end > end);
        self.errand_end.is_some_and(|at| at > end) || self.tasks.iter().any(|(_, task)| busy(task))
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The last commands that ended, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &FlightRecord> {
        self.flight.recent()
    }

    /// Reservations and registrations.
    pub fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// What was kept of the reservations over a power loss cannot be read: see [`Reservations::lose`].
    pub fn lose_reservations(&mut self) {
        self.reservations.lose();
    }
}
