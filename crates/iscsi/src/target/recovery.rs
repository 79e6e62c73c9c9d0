//! Data-Out that was damaged or lost, from ErrorRecoveryLevel 1 on (RFC 7143 7.8, 7.9): the task lives, and what is missing is asked for again.
//!
//! From the first missing PDU of a sequence to its end nothing is taken; then a recovery R2T asks for the rest of it. Unsolicited data are asked for with
//! ordinary R2Ts from where they were whole. When the end itself is lost, time tells.

use super::connection::{Connection, Incoming};
use super::transfer::Gap;
use crate::interface::Landing;
use crate::pdu::DataOut;

/// 5 s without any of the data that are owed: they, or what asked for them, may be lost. Long before the limit after which the connection ends.
const REPEAT_AFTER: u64 = 5_000_000_000;
/// So often data are asked for again without any coming.
const MAX_REPEATS: u32 = 8;

/// When missing data are asked for again that were owed `since` and asked for again `repeats` times.
pub(super) fn repeat_due(since: u64, repeats: u32) -> Option<u64> {
    (repeats < MAX_REPEATS).then(|| since.saturating_add(REPEAT_AFTER.saturating_mul(u64::from(repeats) + 1)))
}

impl Connection {
    /// A Data-Out out of its place in the sequence: where its data go. `None`: it is in its place, or breaks other rules.
    pub(super) fn misplaced(&mut self, pdu: &DataOut, len: u32) -> Option<Landing> {
        let task = self.shared.tasks.get_mut(pdu.tag).filter(|task| task.refused.is_none() && task.reply.is_none())?;
        match task.transfer.gap(pdu) {
            Gap::None => return None,
            // It was there, or its sequence was asked for again meanwhile.
            Gap::Repeated => self.incoming = Incoming::Ignored,
            Gap::Missing => {
                task.transfer.damage(pdu.transfer_tag);
                self.incoming = Incoming::Damaged(*pdu);
            }
        }
        Some(Landing::Discard { len })
    }

    /// A PDU whose data count for nothing is over.
    pub(super) fn damaged_complete(&mut self, pdu: &DataOut) {
        self.awaited.progress();
        if let Some(task) = self.shared.tasks.get_mut(pdu.tag).filter(|task| task.seat == self.seat) {
            task.transfer.damage(pdu.transfer_tag);
            if pdu.is_final {
                self.recover(pdu.tag, pdu.transfer_tag);
            }
        } else if pdu.is_final {
            self.shared.owed.end_sequence(pdu.tag);
        }
    }

    /// True when data of this task can be asked for again.
    pub(super) fn can_recover(&self, tag: u32) -> bool {
        self.recovers() && self.shared.tasks.get(tag).is_some_and(|task| task.refused.is_none() && task.reply.is_none())
    }

    /// Asks for what a sequence lacks.
    fn recover(&mut self, tag: u32, transfer_tag: u32) {
        let new_tag = self.new_transfer_tag();
        let Some(task) = self.shared.tasks.get_mut(tag) else { return };
        let Some(request) = task.transfer.recover(transfer_tag, new_tag) else {
            self.queue_reply(tag);
            return self.continue_transfer(tag);
        };
        let r2t_sn = task.number_request(request);
        self.push_request(tag, r2t_sn, &request);
    }

    /// No data came for a while: R2Ts nobody has begun to answer are repeated, of other sequences the rest is asked for.
    pub(super) fn ask_again(&mut self) {
        for tag in self.shared.tasks.owing(self.seat) {
            let Some(task) = self.shared.tasks.get(tag) else { continue };
            let unanswered: alloc::vec::Vec<_> = task.unanswered_requests().collect();
            let begun = task.transfer.begun();
            for (r2t_sn, request) in unanswered {
                self.push_request(tag, r2t_sn, &request);
            }
            if let Some(transfer_tag) = begun {
                self.recover(tag, transfer_tag);
            }
        }
    }
}
