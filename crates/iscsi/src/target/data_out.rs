//! SCSI Data-Out PDUs and R2T (RFC 7143 11.7, 11.8).

use scsi::{Asc, Lun};

use super::connection::{Connection, Incoming, StatSn};
use super::recovery::repeat_due;
use super::transfer::{DataViolation, Request, Transfer};
use crate::interface::{Event, FunctionEvent, Landing};
use crate::pdu::{DataOut, HeaderFrame, ReadyToTransfer, RejectReason};

/// Data that the initiator owes, and since when none came.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// Sequences may be open: kept so that nobody looks through the tasks of an initiator that sends all data with its commands.
    pub sequences: bool,
    /// Time of the last header.
    clock: u64,
    /// When the last of the data came; `None`: they were asked for since, nobody said when.
    since: Option<u64>,
    /// How often they were asked for again since then.
    pub repeats: u32,
}

impl Awaited {
    /// A header came, of whatever PDU: from now on it is known since when data are owed.
    pub fn tick(&mut self, now: u64) {
        self.clock = now;
        if self.sequences && self.since.is_none() {
            self.since = Some(now);
        }
    }

    /// Data came, or begin to come.
    pub fn progress(&mut self) {
        self.since = Some(self.clock);
        self.repeats = 0;
    }
}

impl Connection {
    /// True when the initiator owes a sequence of Data-Out that lacks at least `least` bytes, and may send as many in one PDU: it is worth receiving the
    /// next header alone, so that its data can be received in their place.
    pub fn awaits_data(&mut self, least: u32) -> bool {
        self.awaits_sequences() && self.negotiated.max_recv_data_segment_length >= least && self.shared.tasks.lack(self.seat, least)
    }

    fn awaits_sequences(&mut self) -> bool {
        self.awaited.sequences = self.awaited.sequences && self.shared.tasks.lack(self.seat, 1);
        self.awaited.sequences
    }

    fn awaits_segment(&self) -> bool {
        matches!(self.incoming, Incoming::Command { .. } | Incoming::Data(..))
    }

    /// When the initiator must have sent some of the data it owes. Perhaps it owes none: [`Connection::data_timeout`] looks.
    pub(super) fn data_due(&self) -> Option<u64> {
        let awaits = self.is_full_feature() && (self.awaited.sequences || self.awaits_segment());
        awaits.then(|| self.awaited.since.unwrap_or(self.awaited.clock).saturating_add(self.settings.data_timeout))
    }

    /// When data that may be lost are asked for again.
    pub(super) fn repeat_due(&self) -> Option<u64> {
        let awaits = self.recovers() && self.is_full_feature() && self.awaited.sequences;
        awaits.then_some(self.awaited.since.unwrap_or(self.awaited.clock)).and_then(|since| repeat_due(since, self.awaited.repeats))
    }

    /// Who holds buffers for data that never come is cut. Data that were asked for at an unknown time get the whole time from now on.
    pub(super) fn data_timeout(&mut self, now: u64) {
        if self.repeat_due().is_some_and(|due| now >= due) && self.awaits_sequences() {
            match self.awaited.since {
                None => self.awaited.since = Some(now),
                Some(_) => {
                    self.awaited.repeats += 1;
                    self.ask_again();
                }
            }
        }
        if self.data_due().is_none_or(|due| now < due) || !(self.awaits_sequences() || self.awaits_segment()) {
            return;
        }
        match self.awaited.since {
            None => self.awaited.since = Some(now),
            Some(_) => self.close("the initiator does not send the data it announced"),
        }
    }

    pub(super) fn data_out_header(&mut self, frame: HeaderFrame<'_>) -> Landing {
        let len = frame.data_segment_length();
        let pdu = DataOut::decode(frame.basic());
        self.counters.data_out_pdus += 1;
        if self.recovers() && self.shared.tasks.get(pdu.tag).is_none() {
            // Its command was lost, or ended before this came: no rule is broken.
            self.incoming = Incoming::Owed(pdu);
            return Landing::Discard { len };
        }
        // Data belong to the connection of their command (RFC 7143 4.2.5.1).
        if self.shared.tasks.get(pdu.tag).is_none_or(|task| task.seat != self.seat) {
            if !self.shared.owed.has(pdu.tag) {
                return self.refuse(frame, RejectReason::PROTOCOL_ERROR);
            }
            self.incoming = Incoming::Owed(pdu);
            return Landing::Discard { len };
        }
        self.awaited.progress();
        if self.recovers()
            && let Some(landing) = self.misplaced(&pdu, len)
        {
            return landing;
        }
        let Some(task) = self.shared.tasks.get(pdu.tag) else { return Landing::Discard { len } };
        let wanted = task.refused.is_none() && task.reply.is_none();
        let verdict = if task.refused.is_none() { task.transfer.check(&pdu, len, &self.negotiated) } else { known_sequence(&task.transfer, &pdu) };
        match verdict {
            Ok(()) if wanted => {
                self.incoming = Incoming::Data(pdu, len);
                return Landing::Task { tag: pdu.tag, offset: pdu.buffer_offset, len };
            }
            Ok(()) => {}
            // Data for no sequence belong to nobody; the task itself is whole.
            Err(DataViolation::UnknownSequence) => return self.refuse(frame, RejectReason::PROTOCOL_ERROR),
            Err(violation) => {
                self.reject(frame.basic(), RejectReason::PROTOCOL_ERROR);
                self.fail_transfer(pdu.tag, sense_of(violation));
            }
        }
        self.incoming = Incoming::Data(pdu, len);
        Landing::Discard { len }
    }

    /// The data are in their place, or thrown away.
    pub(super) fn data_out_complete(&mut self, pdu: &DataOut, len: u32) {
        self.awaited.progress();
        let Some(task) = self.shared.tasks.get_mut(pdu.tag).filter(|task| task.seat == self.seat) else {
            // Aborted while this PDU was on its way.
            if pdu.is_final {
                self.shared.owed.end_sequence(pdu.tag);
            }
            return;
        };
        let ended = if task.refused.is_some() { task.transfer.skip(pdu) } else { task.transfer.commit(pdu, len) };
        if ended {
            self.queue_reply(pdu.tag);
            self.continue_transfer(pdu.tag);
        }
    }

    /// The data of a task can no more be completed: it ends with ABORTED COMMAND once the initiator has sent what it was asked for (RFC 7143 7.8, 7.9,
    /// 11.17), and the shell is told to abort it as if the initiator had asked: [`Connection::forget`] then answers.
    pub(super) fn fail_transfer(&mut self, tag: u32, code: Asc) {
        let Some(task) = self.shared.tasks.get_mut(tag) else { return };
        if task.refused.replace(code).is_some() || task.command.is_some() || task.reply.is_some() {
            return;
        }
        let function = FunctionEvent { tag, function: 1, lun: task.lun, referenced: tag, referenced_lost: false };
        self.tell(Event::Function(function));
    }

    /// Tells the shell that the data are there, or asks for more.
    pub(super) fn continue_transfer(&mut self, tag: u32) {
        let (negotiated, recovers) = (self.negotiated, self.recovers());
        let mut next_tag = self.shared.transfer_tag;
        let awaits = self.awaits_sequences();
        let Some(task) = self.shared.tasks.get_mut(tag) else { return };
        if task.reply.is_some() || task.refused.is_some() || task.lost {
            return;
        }
        if task.transfer.take_ready() {
            self.tell(Event::DataReady { tag });
            return;
        }
        loop {
            let Some(task) = self.shared.tasks.get_mut(tag) else { return };
            let request = task.transfer.next_request(&negotiated, || {
                next_tag = super::connection::next_transfer_tag(next_tag);
                next_tag
            });
            let Some(request) = request else { break };
            self.awaited.sequences = true;
            if !awaits {
                self.awaited.since = None;
            }
            let r2t_sn = if recovers { task.number_request(request) } else { task.data_sn };
            if !recovers {
                task.data_sn = task.data_sn.wrapping_add(1);
            }
            self.push_request(tag, r2t_sn, &request);
        }
        self.shared.transfer_tag = next_tag;
    }

    /// Sends an R2T.
    pub(super) fn push_request(&mut self, tag: u32, r2t_sn: u32, request: &Request) {
        let pdu = ReadyToTransfer {
            lun: self.shared.tasks.get(tag).map_or(Lun::default(), |task| task.lun),
            tag,
            transfer_tag: request.transfer_tag,
            r2t_sn,
            buffer_offset: request.offset,
            desired_length: request.length,
            ..ReadyToTransfer::default()
        };
        self.push(pdu.encode(), alloc::vec::Vec::new(), StatSn::Show);
    }
}

/// ABORTED COMMAND, incorrect amount of data.
pub(super) const INCORRECT_AMOUNT: Asc = Asc(0x0c0d);
/// ABORTED COMMAND, protocol service CRC error: a PDU of the sequence was lost or damaged.
pub(super) const PROTOCOL_SERVICE_CRC_ERROR: Asc = Asc(0x4705);

/// Sense of a broken rule (RFC 7143 11.4.7.2).
fn sense_of(violation: DataViolation) -> Asc {
    match violation {
        DataViolation::DataSn => PROTOCOL_SERVICE_CRC_ERROR,
        DataViolation::UnknownSequence | DataViolation::Range | DataViolation::Amount => INCORRECT_AMOUNT,
    }
}

fn known_sequence(transfer: &Transfer, pdu: &DataOut) -> Result<(), DataViolation> {
    if transfer.has_sequence(pdu.transfer_tag) { Ok(()) } else { Err(DataViolation::UnknownSequence) }
}
