//! Changes of persistent reservations that outlive a loss of power (APTPL): they are in force, and answered, when they are durable.
//!
//! A change is worked out on a copy. While the shell writes it, everything else goes on under the reservations that are in force; further PERSISTENT RESERVE OUT
//! commands wait for their turn. A change that was written counts even when its command was aborted meanwhile: memory and what is kept never differ.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use device::Step;
use scsi::{Asc, Outcome, Sense, SenseKey, Status};

use crate::effect::{Effect, TaskRef};
use crate::reservation::{Changes, Reservations};
use crate::task::State;
use crate::unit::Unit;

/// PERSISTENT RESERVE OUT commands that wait for a write: each has its parameter list, and no cluster has so many at once.
pub const QUEUE_LIMIT: usize = 64;

/// The state of keeping.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// There is somewhere to keep it.
    pub available: bool,
    under_way: Option<Write>,
    /// Slots and generations of commands that wait, and their parameter lists.
    queue: VecDeque<(usize, u32, Vec<u8>)>,
}

/// What is being written.
#[derive(Debug)]
struct Write {
    slot: usize,
    generation: u32,
    reservations: Reservations,
    changes: Changes,
}

impl Keeping {
    /// Something is being written.
    pub fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }
}

impl Unit {
    /// Whether there is somewhere to keep registrations over a loss of power (PTPL_C).
    pub fn set_keeping(&mut self, available: bool) {
        self.keeping.available = available;
    }

    /// Registrations and reservation come back as they were kept; PRGENERATION is 0. Bytes that make no sense are a loss.
    pub fn restore_reservations(&mut self, kept: &[u8]) -> bool {
        match Reservations::restored(kept) {
            Some(reservations) => {
                self.reservations = reservations;
                true
            }
            None => {
                self.reservations.lose();
                false
            }
        }
    }

    /// A PERSISTENT RESERVE OUT has to wait for the write of another. `None`: it waits.
    pub(crate) fn wait_for_turn(&mut self, slot: usize, data: &[u8]) -> Option<Step> {
        if self.keeping.queue.len() >= QUEUE_LIMIT {
            return Some(Step::Finish(Outcome::status(Status::BUSY)));
        }
        let generation = self.tasks.get(slot).generation;
        self.keeping.queue.push_back((slot, generation, Vec::from(data)));
        self.tasks.set_state(slot, State::Queued);
        None
    }

    /// The change of a command: in force now, or when it is durable. `None`: the command waits.
    pub(crate) fn change_to(&mut self, slot: usize, next: Reservations, changes: Changes) -> Option<Step> {
        let same = !self.reservations.is_lost() && self.reservations.kept() == next.kept();
        if same || !self.keeping.available {
            self.put_in_force(next, &changes);
            return self.change_in_force(slot, &changes);
        }
        let task = self.tasks.get(slot).reference(slot);
        self.effects.push_back(Effect::Persist { task, bytes: next.kept() });
        self.tasks.set_state(slot, State::Persisting);
        self.keeping.under_way = Some(Write { slot, generation: task.generation, reservations: next, changes });
        None
    }

    /// What [`Effect::Persist`] asked for is durable, or could not be written: then nothing has changed. A late answer is ignored.
    pub fn handle_persisted(&mut self, task: TaskRef, durable: bool, now: u64) {
        self.tick(now);
        let asked = |write: &mut Write| (u32::try_from(write.slot), write.generation) == (Ok(task.slot), task.generation);
        let Some(write) = self.keeping.under_way.take_if(asked) else { return };
        let slot = write.slot;
        if durable {
            self.put_in_force(write.reservations, &write.changes);
        }
        match self.tasks.get(slot).state {
            State::Persisting => {
                self.tasks.set_state(slot, State::Running);
                let step = if durable { self.change_in_force(slot, &write.changes) } else { Some(self.reserve_out_ended(slot, not_kept())) };
                if let Some(step) = step {
                    self.advance(slot, step);
                }
            }
            State::Aborting { why } => self.end_aborted(slot, why),
            _ => {}
        }
        self.next_turns();
        self.settle();
    }

    /// Commands that waited go on, up to the next one that has something to write.
    fn next_turns(&mut self) {
        while !self.keeping.is_busy()
            && let Some((slot, generation, data)) = self.keeping.queue.pop_front()
        {
            if !self.tasks.contains(slot, generation) || !matches!(self.tasks.get(slot).state, State::Queued) {
                continue;
            }
            self.tasks.set_state(slot, State::Running);
            match self.look_again(slot) {
                Err(outcome) => self.conclude(slot, outcome),
                Ok(()) => {
                    if let Some(step) = self.persistent_reserve_out(slot, &data) {
                        self.advance(slot, step);
                    }
                }
            }
        }
    }

    /// A reservation by RESERVE belongs to sessions, which may have come and gone while the change was written.
    fn put_in_force(&mut self, next: Reservations, changes: &Changes) {
        self.reservations.replace(next);
        self.announce(changes);
    }
}

/// Neither in force nor kept.
fn not_kept() -> Outcome {
    Outcome::check(Sense::new(SenseKey::HARDWARE_ERROR, Asc::INTERNAL_TARGET_FAILURE))
}

#[cfg(test)]
#[path = "keeping_tests.rs"]
mod tests;
