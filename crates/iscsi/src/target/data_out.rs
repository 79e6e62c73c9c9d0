//! SCSI Data-Out PDUs and R2T (RFC 7143 11.7, 11.8).

use super::connection::{Connection, Incoming, StatSn};
use super::transfer::DataViolation;
use crate::interface::{Event, Landing};
use crate::pdu::{DataOut, HeaderFrame, ReadyToTransfer, RejectReason};

impl Connection {
    pub(super) fn data_out_header(&mut self, frame: HeaderFrame<'_>) -> Landing {
        let len = frame.data_segment_length();
        let pdu = DataOut::decode(frame.basic());
        self.counters.data_out_pdus += 1;
        let Some(task) = self.tasks.get(pdu.tag) else {
            if !self.owed.has(pdu.tag) {
                return self.refuse(frame, RejectReason::PROTOCOL_ERROR);
            }
            self.incoming = Incoming::Owed(pdu);
            return Landing::Discard { len };
        };
        match task.transfer.check(&pdu, len, &self.negotiated) {
            Ok(()) => {}
            // Data for no sequence belong to nobody; the task itself is whole.
            Err(DataViolation::UnknownSequence) => return self.refuse(frame, RejectReason::PROTOCOL_ERROR),
            Err(violation) => return self.refuse_and_close(frame, RejectReason::PROTOCOL_ERROR, violation.reason()),
        }
        let wanted = task.refused.is_none() && task.reply.is_none();
        self.incoming = Incoming::Data(pdu, len);
        if wanted { Landing::Task { tag: pdu.tag, offset: pdu.buffer_offset, len } } else { Landing::Discard { len } }
    }

    /// The data are in their place.
    pub(super) fn data_out_complete(&mut self, pdu: &DataOut, len: u32) {
        let Some(task) = self.tasks.get_mut(pdu.tag) else {
            // Aborted while this PDU was on its way.
            if pdu.is_final {
                self.owed.end_sequence(pdu.tag);
            }
            return;
        };
        if task.transfer.commit(pdu, len) {
            self.queue_reply(pdu.tag);
            self.continue_transfer(pdu.tag);
        }
    }

    /// Tells the shell that the data are there, or asks for more.
    pub(super) fn continue_transfer(&mut self, tag: u32) {
        let negotiated = self.negotiated;
        let mut next_tag = self.transfer_tag;
        let Some(task) = self.tasks.get_mut(tag) else { return };
        if task.reply.is_some() {
            return;
        }
        if task.transfer.take_ready() {
            self.events.push_back(Event::DataReady { tag });
            return;
        }
        loop {
            let Some(task) = self.tasks.get_mut(tag) else { return };
            let request = task.transfer.next_request(&negotiated, || {
                next_tag = super::connection::next_transfer_tag(next_tag);
                next_tag
            });
            let Some(request) = request else { break };
            let pdu = ReadyToTransfer {
                lun: task.lun,
                tag,
                transfer_tag: request.transfer_tag,
                r2t_sn: task.data_sn,
                buffer_offset: request.offset,
                desired_length: request.length,
                ..ReadyToTransfer::default()
            };
            task.data_sn = task.data_sn.wrapping_add(1);
            self.push(pdu.encode(), alloc::vec::Vec::new(), StatSn::Show);
        }
        self.transfer_tag = next_tag;
    }
}
