//! Data-Out that was damaged or lost, from ErrorRecoveryLevel 1 on (RFC 7143 7.8, 7.9): the task lives, and what is missing is asked for again.
//!
//! From the first missing PDU of a sequence to its end nothing is taken; then a recovery R2T asks for the rest of it. Unsolicited data are asked for with
//! ordinary R2Ts from where they were whole. When the end itself is lost, time tells.

use super::connection::{Connection, Incoming};
use super::transfer::Gap;
use super::window::distance;
use crate::interface::Landing;
use crate::pdu::{DataOut, Header, Opcode, TaskManagementRequest};

/// 5 s without any of the data that are owed: they, or what asked for them, may be lost. Long before the limit after which the connection ends.
const REPEAT_AFTER: u64 = 5_000_000_000;
/// Most functions that wait for lost commands; of more, each is carried out at once.
const MAX_DEFERRED: usize = 16;
/// ABORT TASK names the number of its command, and needs not wait.
const ABORT_TASK: u8 = 1;
/// So often data are asked for again without any coming.
const MAX_REPEATS: u32 = 8;

/// When missing data are asked for again that were owed `since` and asked for again `repeats` times.
pub(super) fn repeat_due(since: u64, repeats: u32) -> Option<u64> {
    (repeats < MAX_REPEATS).then(|| since.saturating_add(REPEAT_AFTER.saturating_mul(u64::from(repeats) + 1)))
}

impl Connection {
    /// A function on a set of tasks that overtook commands which were lost: it waits until they have come, so that none of them is executed after its answer
    /// (RFC 7143 4.2.3.3). True: it waits.
    pub(super) fn waits_for_lost_commands(&mut self, header: &Header) -> bool {
        let request = TaskManagementRequest::decode(header);
        let waits = Opcode::of(header) == Opcode::TASK_MANAGEMENT_REQUEST
            && request.immediate
            && request.function != ABORT_TASK
            && distance(self.shared.window.expected(), request.cmd_sn) > 0
            && self.deferred.len() < MAX_DEFERRED;
        if waits {
            self.deferred.push(*header);
        }
        waits
    }

    /// A function before which nothing is missing any more.
    pub(super) fn next_deferred(&mut self) -> Option<Header> {
        let expected = self.shared.window.expected();
        let complete = |header: &Header| distance(expected, TaskManagementRequest::decode(header).cmd_sn) <= 0;
        let index = self.deferred.iter().position(complete)?;
        Some(self.deferred.remove(index))
    }

    /// A Data-Out out of its place in the sequence: where its data go. `None`: it is in its place, or breaks other rules.
    pub(super) fn misplaced(&mut self, pdu: &DataOut, len: u32) -> Option<Landing> {
        let task = self.shared.tasks.get_mut(pdu.tag)?;
        if task.refused.is_some() || task.reply.is_some() {
            // Nobody wants them any more: only the end of their sequence counts.
            self.incoming = if task.transfer.has_sequence(pdu.transfer_tag) { Incoming::Data(*pdu, len) } else { Incoming::Ignored };
            return Some(Landing::Discard { len });
        }
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

    /// True when a command is still to be delivered, or ended by the shell: what has come of its data counts. False: nobody will ask for them.
    pub fn wants_data(&self, tag: u32) -> bool {
        self.shared.tasks.get(tag).is_some_and(|task| task.refused.is_none() && !task.lost)
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

    /// No data came for a while. R2Ts nobody has begun to answer may be lost, or all that answered them: in turns they are repeated, and asked anew. Of other
    /// sequences the rest is asked for.
    pub(super) fn ask_again(&mut self) {
        let repeat = self.awaited.repeats % 2 == 1;
        for tag in self.shared.tasks.owing(self.seat) {
            let Some(task) = self.shared.tasks.get_mut(tag) else { continue };
            if task.refused.is_some() || task.reply.is_some() {
                // The answer waits only so that data do not meet it.
                task.transfer.abandon();
                self.queue_reply(tag);
                continue;
            }
            let Some((transfer_tag, begun)) = task.transfer.first_open() else { continue };
            if begun || !repeat {
                self.recover(tag, transfer_tag);
                continue;
            }
            let unanswered: alloc::vec::Vec<_> = task.unanswered_requests().collect();
            for (r2t_sn, request) in unanswered {
                self.push_request(tag, r2t_sn, &request);
            }
        }
    }
}
