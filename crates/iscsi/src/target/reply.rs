//! The end of a task: Data-In sequences and SCSI Response, status collapsed where it may be, residuals (RFC 7143 11.4, 11.7).

use alloc::vec::Vec;
use scsi::planted::{Bug, is_planted};

use scsi::{Asc, Sense, SenseFormat, SenseKey, Status};

use super::connection::{Connection, Outgoing, StatSn};
use super::task::Task;
use crate::interface::{Reply, ReplyData, Transmit, TransmitData};
use crate::pdu::{DataIn, NO_TAG, ScsiResponse};

/// Difference between what was expected and what there was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Residual {
    overflow: bool,
    underflow: bool,
    count: u32,
}

impl Residual {
    fn of(expected: u32, actual: u32) -> Residual {
        Residual { overflow: actual > expected, underflow: actual < expected, count: actual.abs_diff(expected) }
    }
}

impl Connection {
    /// Puts the reply of a task into the queue once the initiator owes it nothing.
    pub(super) fn queue_reply(&mut self, tag: u32) {
        let Some(task) = self.shared.tasks.get_mut(tag) else { return };
        if task.reply.is_some() && !task.queued && task.transfer.open_sequences() == 0 {
            task.queued = true;
            self.outgoing.push_back(Outgoing::Reply(tag));
        }
    }

    /// The next PDU of a reply; the reply stays at the front of the queue until it is done.
    pub(super) fn next_of_reply(&mut self, tag: u32) -> Option<Transmit> {
        if self.recovers() {
            return self.next_of_kept_reply(tag);
        }
        let task = self.shared.tasks.get_mut(tag).filter(|task| task.seat == self.seat)?;
        let reply = task.reply.as_mut()?;
        let total = reply_len(&reply.data_in).min(task.data_in);
        if task.sent == total {
            return Some(self.response(tag));
        }
        let room = self.negotiated.max_burst_length.saturating_sub(task.burst).max(1);
        let len = (total - task.sent).min(self.negotiated.max_xmit_data_segment_length).min(room);
        let offset = task.sent;
        let data = data_segment(&mut reply.data_in, tag, offset, len);
        task.sent += len;
        task.burst += len;
        let is_last = task.sent == total;
        let is_final = is_last || task.burst >= self.negotiated.max_burst_length;
        if is_final {
            task.burst = 0;
        }
        let has_status = is_last && may_collapse(task);
        let residual = if has_status { read_residual(task) } else { Residual::default() };
        let pdu = DataIn {
            is_final,
            has_status,
            overflow: residual.overflow,
            underflow: residual.underflow,
            residual: residual.count,
            tag,
            transfer_tag: NO_TAG,
            data_sn: task.data_sn,
            buffer_offset: offset,
            ..DataIn::default()
        };
        task.data_sn = task.data_sn.wrapping_add(1);
        task.data_in_pdus += 1;
        self.counters.data_in_pdus += 1;
        if !has_status {
            self.outgoing.push_front(Outgoing::Reply(tag));
            return Some(self.finish(pdu.encode(), data, StatSn::Absent, None));
        }
        self.counters.response_pdus += 1;
        self.end_task(tag);
        Some(self.finish(pdu.encode(), data, StatSn::Take, Some(tag)))
    }

    /// The SCSI Response, the last PDU of the task.
    pub(super) fn response(&mut self, tag: u32) -> Transmit {
        let mut pdu = ScsiResponse { tag, ..ScsiResponse::default() };
        let mut sense = Vec::new();
        if let Some(task) = self.shared.tasks.get_mut(tag) {
            fill_response(&mut pdu, task);
            sense = task.reply.as_mut().map(|reply| core::mem::take(&mut reply.sense)).unwrap_or_default();
        }
        self.counters.response_pdus += 1;
        self.end_task(tag);
        let data = if sense.is_empty() { TransmitData::None } else { TransmitData::Inline(sense_segment(&sense)) };
        self.finish(pdu.encode(), data, StatSn::Take, Some(tag))
    }

    fn end_task(&mut self, tag: u32) {
        let counted = self.shared.tasks.remove(tag, |task| task.counted).unwrap_or(false);
        self.shared.active -= u32::from(counted);
    }
}

/// GOOD fits into the last Data-In, unless a second residual must be told.
fn may_collapse(task: &Task) -> bool {
    let good = task.reply.as_ref().is_some_and(|reply| reply.status == Status::GOOD.0 && reply.sense.is_empty());
    good && task.data_out == 0
}

fn read_residual(task: &Task) -> Residual {
    if is_planted(Bug::ResidualWrong) && task.data_in > 4096 {
        return Residual::of(task.data_in, task.data_in - 512);
    }
    Residual::of(task.data_in, data_in_len(task.reply.as_ref()))
}

fn write_residual(task: &Task) -> Residual {
    Residual::of(task.data_out, task.reply.as_ref().map_or(0, |reply| reply.data_out))
}

fn fill_response(pdu: &mut ScsiResponse, task: &Task) {
    pdu.status = task.reply.as_ref().map_or(0, |reply| reply.status);
    pdu.snack_tag = task.snack_tag;
    pdu.exp_data_sn = if task.data_in_pdus > 0 { task.data_sn } else { 0 };
    let bidirectional = task.data_out > 0 && task.data_in > 0;
    // A write for which the initiator announced no data at all still overflows by what it would have taken.
    let wanted_out = task.reply.as_ref().is_some_and(|reply| reply.data_out > 0);
    let main = if task.data_out > 0 || (task.data_in == 0 && wanted_out) { write_residual(task) } else { read_residual(task) };
    pdu.overflow = main.overflow;
    pdu.underflow = main.underflow;
    pdu.residual = main.count;
    if bidirectional {
        let read = read_residual(task);
        pdu.read_overflow = read.overflow;
        pdu.read_underflow = read.underflow;
        pdu.read_residual = read.count;
    }
}

/// Bytes of data-in of a reply.
pub(super) fn data_in_len(reply: Option<&Reply>) -> u32 {
    reply.map_or(0, |reply| reply_len(&reply.data_in))
}

fn reply_len(data: &ReplyData) -> u32 {
    match data {
        ReplyData::None => 0,
        ReplyData::Inline(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        ReplyData::Task { len } => *len,
    }
}

/// The bytes of one Data-In. Inline bytes that fit into one PDU are moved, not copied; an empty shell of the same length is left for the residual.
fn data_segment(data: &mut ReplyData, tag: u32, offset: u32, len: u32) -> TransmitData {
    match data {
        ReplyData::None => TransmitData::None,
        ReplyData::Task { .. } => TransmitData::Task { tag, offset, len },
        ReplyData::Inline(bytes) => {
            let whole = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            if offset == 0 && len == whole {
                let bytes = core::mem::take(bytes);
                *data = ReplyData::Task { len: whole };
                return TransmitData::Inline(bytes);
            }
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(bytes.len());
            TransmitData::Inline(bytes[start..end].to_vec())
        }
    }
}

/// Data segment with sense data: their length in two bytes, then they (RFC 7143 11.4.7).
pub(super) fn sense_segment(sense: &[u8]) -> Vec<u8> {
    let sense = &sense[..sense.len().min(252)];
    let mut segment = Vec::with_capacity(2 + sense.len());
    segment.extend_from_slice(&u16::try_from(sense.len()).unwrap_or(0).to_be_bytes());
    segment.extend_from_slice(sense);
    segment
}

/// CHECK CONDITION, ABORTED COMMAND with this code: the connection answers, the unit never saw the command.
pub(super) fn refusal(code: Asc) -> Reply {
    let sense = Sense::new(SenseKey::ABORTED_COMMAND, code);
    Reply { status: Status::CHECK_CONDITION.0, sense: sense.encode(SenseFormat::Fixed), data_in: ReplyData::None, data_out: 0 }
}
