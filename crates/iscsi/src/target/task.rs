//! The table of tasks of a connection: slots that are reused with their memory, found by initiator task tag.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use scsi::Asc;

use super::retention::DataPlan;
use super::session::Seat;
use super::transfer::{Request, Transfer};
use crate::interface::{CommandEvent, Reply, ReplyData};

/// A task from its SCSI Command to its last PDU.
#[derive(Debug, Default)]
pub struct Task {
    /// The connection it came on: its data and its answer go there.
    pub seat: Seat,
    /// That connection is gone: the unit ends the task, and nobody hears of it.
    pub lost: bool,
    /// The command, until it is delivered.
    pub command: Option<CommandEvent>,
    /// Delivered out of order.
    pub immediate: bool,
    /// Its number was taken out of the window: it counts against MaxCmdSN.
    pub counted: bool,
    /// Expected data-out, in bytes.
    pub data_out: u32,
    /// Expected data-in, in bytes.
    pub data_in: u32,
    /// LUN bytes, for R2Ts.
    pub lun: scsi::Lun,
    /// Its data-out.
    pub transfer: Transfer,
    /// The connection answers for the unit with CHECK CONDITION, ABORTED COMMAND.
    pub refused: Option<Asc>,
    /// The function, by its tag, that was asked to end the task: once that is done, nothing may be answered any more.
    pub ended_by: Option<u32>,
    /// The end, once the shell told it.
    pub reply: Option<Reply>,
    /// The reply is in the queue.
    pub queued: bool,
    /// Bytes of data-in sent.
    pub sent: u32,
    /// Bytes of the current Data-In sequence.
    pub burst: u32,
    /// Next DataSN or R2TSN: they share one count.
    pub data_sn: u32,
    /// Data-In PDUs sent.
    pub data_in_pdus: u32,
    /// From ErrorRecoveryLevel 1 on: how its data-in are cut, once they are being sent.
    pub plan: Option<DataPlan>,
    /// DataSN up to which the initiator has acknowledged data.
    pub acknowledged: u32,
    /// DataSNs that are to be sent again after the reply: from, to.
    pub again: Option<(u32, u32)>,
    /// SNACK tag for the response.
    pub snack_tag: u32,
    /// From ErrorRecoveryLevel 1 on: the last R2Ts, with their R2TSN. Only the status acknowledges them.
    requests: VecDeque<(u32, Request)>,
}

/// Most R2Ts of a task that can be sent again: twice as many as may be open. Of more the oldest are forgotten: their data have long come.
const MAX_ASKED: usize = 128;

impl Task {
    /// It ended, but its answer waits for data of the initiator, and holds no payload of the shell: it can go without a word.
    pub fn waits_to_answer(&self) -> bool {
        let holds_nothing = self.reply.as_ref().is_some_and(|reply| !matches!(reply.data_in, ReplyData::Task { .. }));
        holds_nothing && !self.queued
    }

    /// The R2TSN of a new R2T.
    pub fn number_request(&mut self, request: Request) -> u32 {
        let r2t_sn = self.data_sn;
        self.data_sn = r2t_sn.wrapping_add(1);
        if self.requests.len() >= MAX_ASKED {
            self.requests.pop_front();
        }
        self.requests.push_back((r2t_sn, request));
        r2t_sn
    }

    /// R2Ts that can be sent again, with their R2TSN.
    pub fn sent_requests(&self) -> impl Iterator<Item = (u32, Request)> + '_ {
        self.requests.iter().copied()
    }

    /// R2Ts of whose sequence no data have come, with their R2TSN.
    pub fn unanswered_requests(&self) -> impl Iterator<Item = (u32, Request)> + '_ {
        self.sent_requests().filter(|(_, request)| self.transfer.is_untouched(request.transfer_tag))
    }

    /// It was delivered, and has not ended.
    pub fn runs(&self) -> bool {
        self.command.is_none() && self.reply.is_none()
    }

    /// Ready for another command; memory is kept.
    fn reset(&mut self) {
        let transfer = core::mem::take(&mut self.transfer);
        *self = Task { transfer, ..Task::default() };
    }
}

/// Tasks by tag.
#[derive(Debug, Default)]
pub struct TaskTable {
    slots: Vec<Task>,
    free: Vec<u32>,
    /// Tag and slot, ascending by tag.
    index: Vec<(u32, u32)>,
}

impl TaskTable {
    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Number of immediate tasks.
    pub fn immediate(&self) -> usize {
        self.index.iter().filter(|(_, slot)| self.slots[slot_index(*slot)].immediate).count()
    }

    /// The task with this tag.
    pub fn get(&self, tag: u32) -> Option<&Task> {
        let at = self.find(tag).ok()?;
        self.slots.get(slot_index(self.index[at].1))
    }

    /// The task with this tag.
    pub fn get_mut(&mut self, tag: u32) -> Option<&mut Task> {
        let at = self.find(tag).ok()?;
        self.slots.get_mut(slot_index(self.index[at].1))
    }

    /// A fresh task; `None`: the tag is in use.
    pub fn insert(&mut self, tag: u32) -> Option<&mut Task> {
        let Err(at) = self.find(tag) else { return None };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Task::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.index.insert(at, (tag, slot));
        let task = self.slots.get_mut(slot_index(slot))?;
        task.reset();
        Some(task)
    }

    /// The task is over. Gives what is asked of it on the way out.
    pub fn remove<R>(&mut self, tag: u32, last: impl FnOnce(&mut Task) -> R) -> Option<R> {
        let at = self.find(tag).ok()?;
        let (_, slot) = self.index.remove(at);
        self.free.push(slot);
        let task = &mut self.slots[slot_index(slot)];
        let result = last(task);
        task.reply = None;
        Some(result)
    }

    /// Tags of the tasks that `chosen` picks, ascending.
    pub fn tags(&self, mut chosen: impl FnMut(&Task) -> bool) -> Vec<u32> {
        self.index.iter().filter(|(_, slot)| chosen(&self.slots[slot_index(*slot)])).map(|(tag, _)| *tag).collect()
    }

    /// Does `chosen` pick some task?
    pub fn any(&self, mut chosen: impl FnMut(&Task) -> bool) -> bool {
        self.index.iter().any(|(_, slot)| chosen(&self.slots[slot_index(*slot)]))
    }

    /// The task of a connection whose data-in are acknowledged under this target transfer tag.
    pub fn acknowledged_by(&mut self, seat: Seat, transfer_tag: u32) -> Option<&mut Task> {
        let named = |task: &Task| task.seat == seat && task.plan.is_some_and(|plan| plan.transfer_tag == transfer_tag);
        let (_, slot) = *self.index.iter().find(|(_, slot)| named(&self.slots[slot_index(*slot)]))?;
        self.slots.get_mut(slot_index(slot))
    }

    /// Tags of tasks to which the initiator owes data on a connection.
    pub fn owing(&self, seat: Seat) -> Vec<u32> {
        self.tags(|task| task.seat == seat && task.transfer.open_sequences() > 0)
    }

    /// True when the initiator owes some task of a connection a sequence that lacks at least `least` bytes.
    pub fn lack(&self, seat: Seat, least: u32) -> bool {
        self.any(|task| task.seat == seat && task.transfer.lacks(least))
    }

    fn find(&self, tag: u32) -> Result<usize, usize> {
        self.index.binary_search_by_key(&tag, |(tag, _)| *tag)
    }
}

fn slot_index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

/// Most aborted tasks whose Data-Out is still awaited and thrown away: as many as the largest window. Older ones are forgotten; their data are then rejected.
const MAX_OWED: usize = 512;

/// Tags of tasks that are gone while the initiator still sends data for them (RFC 7143 11.5.1: it answers every R2T it got).
#[derive(Debug, Default)]
pub struct Owed(Vec<(u32, usize)>);

impl Owed {
    /// `sequences` of task `tag` will still come.
    pub fn add(&mut self, tag: u32, sequences: usize) {
        if sequences == 0 {
            return;
        }
        if self.0.len() == MAX_OWED {
            self.0.remove(0);
        }
        self.0.push((tag, sequences));
    }

    /// True when data of this task are awaited.
    pub fn has(&self, tag: u32) -> bool {
        self.0.iter().any(|(owed, _)| *owed == tag)
    }

    /// A sequence of the task has ended.
    pub fn end_sequence(&mut self, tag: u32) {
        if let Some(at) = self.0.iter().position(|(owed, _)| *owed == tag) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.remove(at);
            }
        }
    }

    /// The initiator uses the tag for a new task: the old one is over.
    pub fn clear(&mut self, tag: u32) {
        self.0.retain(|(owed, _)| *owed != tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused() {
        let mut table = TaskTable::default();
        for tag in [7, 3, 9] {
            table.insert(tag).unwrap().sent = tag;
        }
        assert!(table.insert(3).is_none());
        assert_eq!(table.remove(3, |task| task.sent), Some(3));
        assert_eq!(table.remove(3, |task| task.sent), None);
        assert_eq!(table.insert(4).unwrap().sent, 0);
        assert_eq!(table.slots.len(), 3);
        assert_eq!((table.get(9).unwrap().sent, table.len()), (9, 3));
    }

    #[test]
    fn owed_data_are_bounded() {
        let mut owed = Owed::default();
        for tag in 0..600 {
            owed.add(tag, 2);
        }
        assert!(!owed.has(0) && owed.has(599));
        owed.end_sequence(599);
        assert!(owed.has(599));
        owed.end_sequence(599);
        assert!(!owed.has(599));
    }
}
