//! Visits to units: one lock each, and what came out of it.

use std::collections::VecDeque;
use std::sync::Arc;

use target::{Effect, Unit};

use crate::model::UnitCell;

/// Effects to carry out, and units with timers.
#[derive(Default)]
pub(super) struct Work {
    /// In the order in which the units gave them.
    pub queue: VecDeque<(Arc<UnitCell>, Effect)>,
    /// The time of this turn, in nanoseconds.
    pub now: u64,
    /// Units this reactor was the last to see with a timer: few, since only pauses and limits have one.
    timers: Vec<(u64, Arc<UnitCell>)>,
}

impl Work {
    /// Locks the unit for `call`, and takes the effects.
    pub fn visit(&mut self, cell: &Arc<UnitCell>, call: impl FnOnce(&mut Unit, u64)) {
        let mut unit = cell.lock();
        call(&mut unit, self.now);
        while let Some(effect) = unit.poll_effect() {
            self.queue.push_back((cell.clone(), effect));
        }
        let timeout = unit.poll_timeout();
        drop(unit);
        self.set_timer(cell, timeout);
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.iter().map(|(at, _)| *at).min()
    }

    /// Tells units whose time has come.
    pub fn fire_timers(&mut self) {
        while let Some(due) = self.timers.iter().position(|(at, _)| *at <= self.now) {
            let (at, cell) = self.timers.swap_remove(due);
            self.visit(&cell, |unit, now| unit.handle_timeout(now));
            // A unit that asks again for a time that has passed is asked again next turn, not in this loop.
            if self.timers.iter().any(|(again, other)| Arc::ptr_eq(other, &cell) && *again <= at) {
                return;
            }
        }
    }

    fn set_timer(&mut self, cell: &Arc<UnitCell>, timeout: Option<u64>) {
        let known = self.timers.iter().position(|(_, other)| Arc::ptr_eq(other, cell));
        match (known, timeout) {
            (Some(index), Some(at)) => self.timers[index].0 = at,
            (Some(index), None) => drop(self.timers.swap_remove(index)),
            (None, Some(at)) => self.timers.push((at, cell.clone())),
            (None, None) => {}
        }
    }
}
