//! SNACK (RFC 7143 11.16): what the initiator missed is sent again, and what it acknowledges is let go.
//!
//! What was never sent or is acknowledged already is refused as a protocol error; what the shell had to let go for want of memory with `SNACK reject`.
//! Requests that ask for the same again before it has left add nothing to the queue.

use super::connection::{Connection, Outgoing, StatSn};
use super::retention::{Answer, KeptData};
use super::task::Task;
use super::window::distance;
use crate::interface::{Landing, ReplyData, Transmit, TransmitData};
use crate::pdu::{HeaderFrame, NO_TAG, NopIn, Reject, RejectReason, SnackRequest, put_u32, u32_at};

/// Offset of ExpStatSN in every PDU an initiator sends.
const EXP_STAT_SN_AT: usize = 28;
/// Offset of the SNACK tag in a SCSI Response.
const SNACK_TAG_AT: usize = 20;
/// Offset of ExpDataSN in a SCSI Response.
const EXP_DATA_SN_AT: usize = 36;
/// Most PDUs in the queue while R2Ts are asked for again: beyond it the initiator does not read what it asks for.
const MAX_QUEUED: usize = 4096;

/// Why a SNACK is refused.
struct Refusal {
    reason: RejectReason,
    /// Next DataSN or R2TSN of the task.
    data_sn: u32,
}

impl Refusal {
    const fn new(reason: RejectReason) -> Refusal {
        Refusal { reason, data_sn: 0 }
    }

    /// Asked for what was never sent, or is acknowledged.
    const fn not_there(data_sn: u32) -> Refusal {
        Refusal { reason: RejectReason::PROTOCOL_ERROR, data_sn }
    }
}

impl Connection {
    /// Recovery within the connection was negotiated: what is sent is kept until it is acknowledged.
    pub(super) fn recovers(&self) -> bool {
        self.negotiated.error_recovery_level > 0
    }

    /// StatSN up to which the initiator has acknowledged what it was sent: payloads kept under earlier ones can go.
    pub fn acknowledged(&self) -> u32 {
        self.retention.oldest().unwrap_or(self.stat_sn)
    }

    /// The shell has no room for the payload kept under this StatSN any more: it cannot be asked for again.
    pub fn let_go(&mut self, stat_sn: u32) {
        if let Some(answer) = self.retention.get_mut(stat_sn).and_then(|kept| kept.answer.as_mut()) {
            answer.data = KeptData::Gone;
        }
    }

    /// ExpStatSN of a PDU. False: the connection ends, because nothing is acknowledged.
    pub(super) fn take_acknowledgement(&mut self, frame: HeaderFrame<'_>) -> bool {
        let capacity = self.shared.window.capacity();
        let narrowed = self.retention.pressure(capacity) > 0;
        let progress = self.retention.acknowledge(u32_at(frame.basic(), EXP_STAT_SN_AT), self.stat_sn);
        if progress && narrowed && self.retention.pressure(capacity) == 0 {
            // The window may have been closed: nothing else would tell that it is open again.
            let pdu = NopIn { tag: NO_TAG, transfer_tag: NO_TAG, ..NopIn::default() };
            self.push(pdu.encode(), alloc::vec::Vec::new(), StatSn::Show);
        }
        let overdue = self.retention.is_overdue(capacity);
        if overdue {
            self.close("the initiator does not acknowledge what it is answered");
        }
        !overdue
    }

    /// A PDU with this StatSN leaves for the first time.
    pub(super) fn keep(&mut self, stat_sn: u32, transmit: &Transmit) {
        let data = match &transmit.data {
            TransmitData::Inline(bytes) => &bytes[..],
            _ => &[],
        };
        self.retention.keep(stat_sn, transmit.header, data);
        if self.retention.pressure(self.shared.window.capacity()) == 1 {
            // The window begins to close: the answer to a ping acknowledges everything before it.
            let pdu = NopIn { tag: NO_TAG, transfer_tag: self.new_transfer_tag(), ..NopIn::default() };
            self.push(pdu.encode(), alloc::vec::Vec::new(), StatSn::Show);
        }
    }

    /// A SNACK Request.
    pub(super) fn snack(&mut self, frame: HeaderFrame<'_>) -> Landing {
        const DATA_OR_R2T: u8 = 0;
        const STATUS: u8 = 1;
        const DATA_ACK: u8 = 2;
        const R_DATA: u8 = 3;
        if !self.recovers() || frame.data_segment_length() > 0 {
            return self.refuse(frame, RejectReason::PROTOCOL_ERROR);
        }
        let pdu = SnackRequest::decode(frame.basic());
        let result = match pdu.kind {
            DATA_OR_R2T => self.data_again_from(&pdu),
            STATUS => self.status_again_from(&pdu),
            DATA_ACK => self.data_acknowledged(&pdu),
            R_DATA => self.resegment(&pdu),
            _ => Err(Refusal::new(RejectReason::INVALID_PDU_FIELD)),
        };
        if let Err(refusal) = result {
            let reject = Reject { reason: refusal.reason.0, tag: NO_TAG, data_sn: refusal.data_sn, ..Reject::default() };
            self.push(reject.encode(), frame.basic().to_vec(), StatSn::Take);
        }
        Landing::None
    }

    fn status_again_from(&mut self, pdu: &SnackRequest) -> Result<(), Refusal> {
        let oldest = self.acknowledged();
        let (from, to) = run(pdu, oldest, self.stat_sn).ok_or(Refusal::not_there(0))?;
        let chosen = self.retention.iter_mut().filter(|kept| distance(from, kept.stat_sn) >= 0 && distance(kept.stat_sn, to) > 0);
        for kept in chosen.filter(|kept| !kept.queued) {
            kept.queued = true;
            self.outgoing.push_back(Outgoing::Again(kept.stat_sn));
        }
        Ok(())
    }

    fn data_again_from(&mut self, pdu: &SnackRequest) -> Result<(), Refusal> {
        if let Some(task) = self.shared.tasks.get_mut(pdu.tag).filter(|task| task.seat == self.seat) {
            if task.plan.is_none() {
                return self.requests_again(pdu);
            }
            let range = run(pdu, task.acknowledged, task.data_sn).ok_or(Refusal::not_there(task.data_sn))?;
            // The rest of the reply is on its way; then this.
            task.again = Some(joined(task.again, range));
            return Ok(());
        }
        let kept = self.retention.answer_of(pdu.tag).ok_or(Refusal::not_there(0))?;
        let stat_sn = kept.stat_sn;
        let answer = kept.answer.as_mut().ok_or(Refusal::not_there(0))?;
        let next = answer.plan.end();
        let range = run(pdu, answer.acknowledged, next).ok_or(Refusal::not_there(next))?;
        if answer.data == KeptData::Gone {
            return Err(Refusal::new(RejectReason::SNACK_REJECT));
        }
        if answer.again.is_none() {
            self.outgoing.push_back(Outgoing::DataAgain(stat_sn));
        }
        answer.again = Some(joined(answer.again, range));
        Ok(())
    }

    /// R2Ts, whether their data have come or not: an R2T that others took the place of was perhaps never seen.
    fn requests_again(&mut self, pdu: &SnackRequest) -> Result<(), Refusal> {
        let Some(task) = self.shared.tasks.get(pdu.tag) else { return Ok(()) };
        let next = task.data_sn;
        let (from, to) = run(pdu, 0, next).ok_or(Refusal::not_there(next))?;
        if self.outgoing.len() >= MAX_QUEUED {
            return Err(Refusal::new(RejectReason::SNACK_REJECT));
        }
        let asked = |r2t_sn: u32| distance(from, r2t_sn) >= 0 && distance(r2t_sn, to) > 0;
        let again: alloc::vec::Vec<_> = task.sent_requests().filter(|(r2t_sn, _)| asked(*r2t_sn)).collect();
        if again.is_empty() {
            return Err(Refusal::new(RejectReason::SNACK_REJECT));
        }
        for (r2t_sn, request) in again {
            self.push_request(pdu.tag, r2t_sn, &request);
        }
        Ok(())
    }

    fn data_acknowledged(&mut self, pdu: &SnackRequest) -> Result<(), Refusal> {
        if pdu.run_length != 0 {
            return Err(Refusal::new(RejectReason::INVALID_PDU_FIELD));
        }
        let invalid = || Refusal::new(RejectReason::INVALID_DATA_ACK);
        let (acknowledged, next) = match self.shared.tasks.acknowledged_by(self.seat, pdu.transfer_tag) {
            Some(task) => (&mut task.acknowledged, task.data_sn),
            None => match self.retention.answer_acknowledged_by(pdu.transfer_tag) {
                Some(answer) => (&mut answer.acknowledged, answer.plan.end()),
                // ExpStatSN of this very PDU may have acknowledged the answer, and its data with it: nothing is left to acknowledge.
                None if distance(pdu.transfer_tag, self.shared.transfer_tag) >= 0 => return Ok(()),
                None => return Err(invalid()),
            },
        };
        if distance(pdu.begin_run, next) < 0 {
            return Err(invalid());
        }
        // Data sent again ask for another acknowledgement, which may tell less than the last one.
        if distance(*acknowledged, pdu.begin_run) > 0 {
            *acknowledged = pdu.begin_run;
        }
        Ok(())
    }

    /// R-Data SNACK: all data that are not acknowledged once more, cut for what the initiator takes now, and a response with its tag.
    fn resegment(&mut self, pdu: &SnackRequest) -> Result<(), Refusal> {
        if pdu.begin_run != 0 || pdu.run_length != 0 || pdu.transfer_tag == 0 || pdu.transfer_tag == NO_TAG {
            return Err(Refusal::new(RejectReason::INVALID_PDU_FIELD));
        }
        let segment = self.negotiated.max_xmit_data_segment_length;
        if let Some(task) = self.shared.tasks.get_mut(pdu.tag).filter(|task| task.seat == self.seat && task.data_in > 0) {
            task.snack_tag = pdu.transfer_tag;
            if let Some(plan) = &mut task.plan {
                *plan = plan.resegmented(task.acknowledged, segment);
                task.data_sn = plan.first;
                task.again = None;
            }
            return Ok(());
        }
        let kept = self.retention.answer_of(pdu.tag).ok_or(Refusal::not_there(0))?;
        let answer = kept.answer.as_mut().ok_or(Refusal::not_there(0))?;
        if answer.data == KeptData::Gone {
            return Err(Refusal::new(RejectReason::SNACK_REJECT));
        }
        answer.plan = answer.plan.resegmented(answer.acknowledged, segment);
        if answer.again.replace((answer.plan.first, answer.plan.end())).is_none() {
            self.outgoing.push_back(Outgoing::DataAgain(kept.stat_sn));
        }
        answer.respond = true;
        put_u32(&mut kept.header, SNACK_TAG_AT, pdu.transfer_tag);
        put_u32(&mut kept.header, EXP_DATA_SN_AT, answer.plan.end());
        Ok(())
    }

    /// A numbered PDU once more, unless it has been acknowledged meanwhile.
    pub(super) fn again(&mut self, stat_sn: u32) -> Option<Transmit> {
        let kept = self.retention.get_mut(stat_sn)?;
        kept.queued = false;
        let (header, data) = (kept.header, kept.data.clone());
        Some(self.finish(header, super::connection::inline_data(data), StatSn::Absent, None))
    }

    /// The next Data-In that was asked for again; the rest stays at the front of the queue.
    pub(super) fn data_again(&mut self, stat_sn: u32) -> Option<Transmit> {
        let kept = self.retention.get_mut(stat_sn)?;
        let answer = kept.answer.as_mut()?;
        let (from, to) = answer.again?;
        let piece = answer.plan.piece(from).filter(|_| from != to && answer.data != KeptData::Gone);
        let Some(piece) = piece else {
            answer.again = None;
            if core::mem::take(&mut answer.respond) && !core::mem::replace(&mut kept.queued, true) {
                self.outgoing.push_back(Outgoing::Again(stat_sn));
            }
            return None;
        };
        answer.again = Some((from.wrapping_add(1), to));
        let header = answer.plan.pdu(answer.tag, answer.lun, from, piece).encode();
        let data = match &answer.data {
            KeptData::Inline(bytes) => TransmitData::Inline(part(bytes, piece.offset, piece.len).to_vec()),
            KeptData::Payload | KeptData::Gone => TransmitData::Kept { stat_sn, offset: piece.offset, len: piece.len },
        };
        self.counters.data_in_pdus += 1;
        self.outgoing.push_front(Outgoing::DataAgain(stat_sn));
        Some(self.finish(header, data, StatSn::Absent, None))
    }

    /// The next PDU of a reply that is kept: as [`Connection::next_of_reply`], but cut by a plan, and with the status in a PDU of its own.
    pub(super) fn next_of_kept_reply(&mut self, tag: u32) -> Option<Transmit> {
        let transfer_tag = super::connection::next_transfer_tag(self.shared.transfer_tag);
        let task = self.shared.tasks.get_mut(tag).filter(|task| task.seat == self.seat)?;
        let plan = *task.plan.get_or_insert_with(|| {
            self.shared.transfer_tag = transfer_tag;
            task.acknowledged = task.data_sn;
            super::retention::DataPlan {
                first: task.data_sn,
                start: 0,
                segment: self.negotiated.max_xmit_data_segment_length,
                burst: self.negotiated.max_burst_length,
                total: super::reply::data_in_len(task.reply.as_ref()).min(task.data_in),
                transfer_tag,
            }
        });
        let Some(piece) = plan.piece(task.data_sn) else { return Some(self.kept_response(tag)) };
        let header = plan.pdu(tag, task.lun, task.data_sn, piece).encode();
        let data = match task.reply.as_ref().map(|reply| &reply.data_in) {
            Some(ReplyData::Inline(bytes)) => TransmitData::Inline(part(bytes, piece.offset, piece.len).to_vec()),
            _ => TransmitData::Task { tag, offset: piece.offset, len: piece.len },
        };
        task.data_sn = task.data_sn.wrapping_add(1);
        task.data_in_pdus += 1;
        self.counters.data_in_pdus += 1;
        self.outgoing.push_front(Outgoing::Reply(tag));
        Some(self.finish(header, data, StatSn::Absent, None))
    }

    fn kept_response(&mut self, tag: u32) -> Transmit {
        let stat_sn = self.stat_sn;
        let answer = self.shared.tasks.get_mut(tag).and_then(|task| answer_of(tag, task));
        let mut transmit = self.response(tag);
        if let Some(answer) = answer {
            transmit.keep_as = (answer.data == KeptData::Payload).then_some(stat_sn);
            if answer.again.is_some() {
                self.outgoing.push_back(Outgoing::DataAgain(stat_sn));
            }
            self.retention.attach(answer);
        }
        transmit
    }
}

/// What is kept of a task's data-in. Inline bytes are moved; a shell of the same length is left for the residual.
fn answer_of(tag: u32, task: &mut Task) -> Option<Answer> {
    let plan = task.plan.filter(|_| task.data_in_pdus > 0)?;
    let data_in = &mut task.reply.as_mut()?.data_in;
    let data = match data_in {
        ReplyData::None => return None,
        ReplyData::Task { .. } => KeptData::Payload,
        ReplyData::Inline(bytes) => {
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let bytes = core::mem::take(bytes);
            *data_in = ReplyData::Task { len };
            KeptData::Inline(bytes)
        }
    };
    Some(Answer { tag, lun: task.lun, data, plan, acknowledged: task.acknowledged, again: task.again, respond: false })
}

/// The numbers a SNACK asks for, of those from `oldest` to before `next`; `None`: some of them were not sent or are acknowledged, or there is none.
fn run(pdu: &SnackRequest, oldest: u32, next: u32) -> Option<(u32, u32)> {
    let from = if pdu.begin_run == 0 && pdu.run_length == 0 { oldest } else { pdu.begin_run };
    let there = u32::try_from(distance(from, next)).ok().filter(|&there| there > 0 && distance(oldest, from) >= 0)?;
    let count = if pdu.run_length == 0 { there } else { pdu.run_length };
    (count <= there).then(|| (from, from.wrapping_add(count)))
}

fn joined(earlier: Option<(u32, u32)>, (from, to): (u32, u32)) -> (u32, u32) {
    let Some((first, last)) = earlier else { return (from, to) };
    (if distance(from, first) > 0 { from } else { first }, if distance(to, last) > 0 { last } else { to })
}

fn part(bytes: &[u8], offset: u32, len: u32) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
    bytes.get(start..end).unwrap_or_default()
}
