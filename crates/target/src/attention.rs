//! Unit attention conditions of one I_T nexus at one logical unit (SAM-5 5.14).
//!
//! A bounded queue in order of arrival. The same condition is held once. POWER ON, RESET, OR BUS DEVICE RESET OCCURRED tells an initiator to look at
//! everything again, so it replaces whatever waited, and stands for everything when the queue is full.

use scsi::{Asc, Sense, SenseKey};

/// Conditions one nexus can have pending at one unit. A unit knows about a dozen different ones, each held once, so a correct unit never fills it.
pub const ATTENTION_LIMIT: usize = 16;

/// MODE PARAMETERS CHANGED.
pub const MODE_PARAMETERS_CHANGED: Asc = Asc(0x2a01);
/// RESERVATIONS PREEMPTED.
pub const RESERVATIONS_PREEMPTED: Asc = Asc(0x2a03);
/// RESERVATIONS RELEASED.
pub const RESERVATIONS_RELEASED: Asc = Asc(0x2a04);
/// REGISTRATIONS PREEMPTED.
pub const REGISTRATIONS_PREEMPTED: Asc = Asc(0x2a05);
/// ASYMMETRIC ACCESS STATE CHANGED.
pub const ACCESS_STATE_CHANGED: Asc = Asc(0x2a06);
/// IMPLICIT ASYMMETRIC ACCESS STATE TRANSITION FAILED.
pub const ACCESS_STATE_CHANGE_FAILED: Asc = Asc(0x2a07);
/// I_T NEXUS LOSS OCCURRED.
pub const NEXUS_LOSS: Asc = Asc(0x2907);
/// PREVIOUS BUSY STATUS.
pub const PREVIOUS_BUSY: Asc = Asc(0x2c07);
/// PREVIOUS TASK SET FULL STATUS.
pub const PREVIOUS_TASK_SET_FULL: Asc = Asc(0x2c08);
/// PREVIOUS RESERVATION CONFLICT STATUS.
pub const PREVIOUS_RESERVATION_CONFLICT: Asc = Asc(0x2c09);
/// COMMANDS CLEARED BY ANOTHER INITIATOR.
pub const COMMANDS_CLEARED: Asc = Asc(0x2f00);
/// REPORTED LUNS DATA HAS CHANGED.
pub const REPORTED_LUNS_CHANGED: Asc = Asc(0x3f0e);

/// What one nexus must hear.
#[derive(Clone, Debug)]
pub struct Attentions {
    pending: [Asc; ATTENTION_LIMIT],
    count: usize,
}

impl Default for Attentions {
    fn default() -> Attentions {
        Attentions::new()
    }
}

impl Attentions {
    /// Nothing pending.
    pub const fn new() -> Attentions {
        Attentions { pending: [Asc::NONE; ATTENTION_LIMIT], count: 0 }
    }

    /// True when nothing is pending.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The condition that is reported next.
    pub fn first(&self) -> Option<Asc> {
        self.pending[..self.count].first().copied()
    }

    /// Establishes a condition.
    pub fn establish(&mut self, asc: Asc) {
        if self.pending[..self.count].contains(&asc) {
            return;
        }
        if asc == Asc::POWER_ON_OR_RESET || self.count == ATTENTION_LIMIT {
            self.pending[0] = Asc::POWER_ON_OR_RESET;
            self.count = 1;
            return;
        }
        self.pending[self.count] = asc;
        self.count += 1;
    }

    /// Takes the condition that is reported next; it is not reported again.
    pub fn take(&mut self) -> Option<Asc> {
        let first = self.first()?;
        self.pending.copy_within(1..self.count, 0);
        self.count -= 1;
        Some(first)
    }

    /// Forgets one condition. True when it was pending.
    pub fn clear(&mut self, asc: Asc) -> bool {
        let Some(at) = self.pending[..self.count].iter().position(|&pending| pending == asc) else { return false };
        self.pending.copy_within(at + 1..self.count, at);
        self.count -= 1;
        true
    }
}

/// Sense data that report a condition.
pub const fn sense(asc: Asc) -> Sense {
    Sense::new(SenseKey::UNIT_ATTENTION, asc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_come_in_order_and_once() {
        let mut attentions = Attentions::new();
        for asc in [COMMANDS_CLEARED, MODE_PARAMETERS_CHANGED, COMMANDS_CLEARED, REPORTED_LUNS_CHANGED] {
            attentions.establish(asc);
        }
        assert_eq!(attentions.take(), Some(COMMANDS_CLEARED));
        assert!(attentions.clear(REPORTED_LUNS_CHANGED));
        assert!(!attentions.clear(REPORTED_LUNS_CHANGED));
        assert_eq!(attentions.take(), Some(MODE_PARAMETERS_CHANGED));
        assert_eq!(attentions.take(), None);
    }

    #[test]
    fn a_reset_replaces_what_waited() {
        let mut attentions = Attentions::new();
        attentions.establish(MODE_PARAMETERS_CHANGED);
        attentions.establish(Asc::POWER_ON_OR_RESET);
        attentions.establish(RESERVATIONS_RELEASED);
        assert_eq!(attentions.take(), Some(Asc::POWER_ON_OR_RESET));
        assert_eq!(attentions.take(), Some(RESERVATIONS_RELEASED));
        assert!(attentions.is_empty());
    }

    #[test]
    fn a_full_queue_collapses_to_a_reset() {
        let mut attentions = Attentions::new();
        for number in 0..40 {
            attentions.establish(Asc(0x8000 + number));
        }
        assert_eq!(attentions.take(), Some(Asc::POWER_ON_OR_RESET));
        let mut rest = 0;
        while attentions.take().is_some() {
            rest += 1;
        }
        assert!(rest < ATTENTION_LIMIT);
    }
}
