//! PERSISTENT RESERVE OUT at the unit: its parameter list, who hears of it, and whose commands PREEMPT AND ABORT ends.

use alloc::vec::Vec;

use device::{PortIdentity, Step};
use scsi::parameter_list::{self, PersistentReserveOut, RegisterAndMove};
use scsi::response::be32;
use scsi::{Asc, Outcome, Sense, SenseKey, Status};

use crate::attention::COMMANDS_CLEARED;
use crate::effect::{Abort, NexusId, NexusIdentity};
use crate::management::Waiter;
use crate::reservation::{Action, Changes, Order, Refusal, Reservations, World};
use crate::task::{State, Task};
use crate::unit::Unit;

/// Bytes of the basic parameter list.
const BASIC_LENGTH: u32 = 24;
/// Longest parameter list that is fetched: some hundred TransportIDs.
const LENGTH_LIMIT: u32 = 64 << 10;

/// First step: the list is fetched when its length can be right.
pub(crate) fn begin(action: Action, task: &Task) -> Step {
    let len = be32(task.cdb(), 5).unwrap_or(0);
    let fits = match action {
        Action::Register => (BASIC_LENGTH..=LENGTH_LIMIT).contains(&len),
        Action::RegisterAndMove => (BASIC_LENGTH + 1..=LENGTH_LIMIT).contains(&len),
        _ => len == BASIC_LENGTH,
    };
    if !fits || task.data_out < len {
        return Step::Finish(Outcome::check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
    }
    Step::Fetch { len, inline: true }
}

impl Unit {
    /// The parameter list is there. `None`: the command waits for the end of commands that it aborted.
    pub(crate) fn persistent_reserve_out(&mut self, slot: usize, data: &[u8]) -> Option<Step> {
        if self.keeping.is_busy() {
            return self.wait_for_turn(slot, data);
        }
        let outcome = match self.change_reservations(slot, data) {
            Ok((next, changes)) => return self.change_to(slot, next, changes),
            Err(Refusal::Conflict) => Outcome::status(Status::RESERVATION_CONFLICT),
            Err(Refusal::Check(sense)) => Outcome::check(sense),
        };
        Some(self.reserve_out_ended(slot, outcome))
    }

    /// The change of a command is in force. `None`: it waits for the end of commands that it aborted.
    pub(crate) fn change_in_force(&mut self, slot: usize, changes: &Changes) -> Option<Step> {
        let aborts = self.tasks.get(slot).row.and_then(|row| Action::of(row.operation)) == Some(Action::PreemptAndAbort);
        if aborts && self.abort_preempted(slot, &changes.preempted) {
            return None;
        }
        Some(self.reserve_out_ended(slot, Outcome::good(0)))
    }

    /// The commands that PREEMPT AND ABORT waited for have ended, or (`late`) did not end in time: they may still change the medium, and that is no success.
    pub(crate) fn preemption_ended(&self, slot: usize, late: bool) -> Step {
        let failure = Sense::new(SenseKey::HARDWARE_ERROR, Asc::INTERNAL_TARGET_FAILURE);
        self.reserve_out_ended(slot, if late { Outcome::check(failure) } else { Outcome::good(0) })
    }

    pub(crate) fn reserve_out_ended(&self, slot: usize, mut outcome: Outcome) -> Step {
        outcome.data_out = self.tasks.get(slot).fetched;
        Step::Finish(outcome)
    }

    /// What the command makes of the reservations, and what it means for others.
    fn change_reservations(&self, slot: usize, data: &[u8]) -> Result<(Reservations, Changes), Refusal> {
        let mut next = self.reservations.clone();
        let task = self.tasks.get(slot);
        let (Some(action), Some(nexus)) = (task.row.and_then(|row| Action::of(row.operation)), self.nexuses.of(task)) else {
            return Err(Refusal::Conflict);
        };
        let ports: Vec<PortIdentity> = self.ports.identities();
        let nexuses: Vec<NexusIdentity> = self.nexuses.iter().map(|nexus| nexus.identity.clone()).collect();
        let world = World { ports: &ports, nexuses: &nexuses };
        let mut changes = Changes::default();
        if action == Action::RegisterAndMove {
            let list = RegisterAndMove::parse(data).map_err(Refusal::Check)?;
            next.register_and_move(&nexus.identity, &list, self.keeping.available, world)?;
            return Ok((next, changes));
        }
        let list = PersistentReserveOut::parse(data).map_err(Refusal::Check)?;
        let named = list.spec_i_pt && action == Action::Register;
        let initiators = if named { parameter_list::transport_ids(data).map_err(Refusal::Check)? } else { Vec::new() };
        let scope_and_type = task.cdb().get(2).copied().unwrap_or(0);
        let order = Order { action, scope_and_type, list, keeps: self.keeping.available, initiators: &initiators };
        next.out(&nexus.identity, &order, world, &mut changes)?;
        Ok((next, changes))
    }

    pub(crate) fn announce(&mut self, changes: &Changes) {
        for announcement in &changes.announcements {
            for nexus in self.nexuses.iter_mut().filter(|nexus| nexus.identity == announcement.identity) {
                nexus.attentions.establish(announcement.asc);
            }
        }
    }

    /// PREEMPT AND ABORT: all commands of the preempted nexuses end, but for this one. True when it has to wait for some of them.
    fn abort_preempted(&mut self, slot: usize, preempted: &[NexusIdentity]) -> bool {
        let (issuer, generation) = (self.tasks.get(slot).nexus, self.tasks.get(slot).generation);
        let victims: Vec<NexusId> = self.nexuses.iter().filter(|nexus| preempted.contains(&nexus.identity)).map(|nexus| nexus.id).collect();
        let respond = self.device.task_aborted_status();
        let slots: Vec<usize> = self.slots(|task| victims.contains(&task.nexus)).into_iter().filter(|&other| other != slot).collect();
        let mut ended = Vec::with_capacity(slots.len());
        for other in slots {
            let task = self.tasks.get(other);
            let (nexus, reference) = (task.nexus, (other, task.generation));
            if nexus != issuer && !respond {
                self.attention_one(nexus, COMMANDS_CLEARED);
            }
            self.abort(other, if nexus == issuer { Abort::ByOwnNexus } else { Abort::ByOther { respond } });
            ended.push(reference);
        }
        for nexus in victims {
            // They prevent the removal of the medium no longer, and their auto contingent allegiances end (SPC-6 5.14).
            self.device.nexus_lost(nexus.0);
            self.tasks.clear_faults(Some(nexus));
        }
        let waits = self.await_end(Waiter::Command { slot, generation }, &ended);
        if waits {
            self.tasks.set_state(slot, State::Preempting);
        }
        waits
    }
}

#[cfg(test)]
#[path = "reserve_out_tests.rs"]
mod tests;
