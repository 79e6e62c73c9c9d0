//! SCSI Command PDUs (RFC 7143 11.3) and the order of requests.

use scsi::{Asc, TaskAttribute};

use super::connection::{Connection, Incoming};
use super::data_out::INCORRECT_AMOUNT;
use super::session::Waiting;
use super::window::{Held, Position};
use crate::interface::{CommandEvent, Directory, Event, Landing};
use crate::pdu::{
    AdditionalHeaders, HeaderFrame, LogoutRequest, NO_TAG, NopOut, Opcode, RejectReason, ScsiCommand, TaskManagementRequest, TextRequest,
};

/// Most immediate commands at a time: they are outside of the window, so something else must bound them (RFC 7143 4.2.2.1 lets a target say so).
const MAX_IMMEDIATE: usize = 32;
/// Most bytes of text and ping data that wait for an earlier CmdSN: a connection delivers in order, so only a broken initiator needs any.
const MAX_HELD_BYTES: usize = 65_536;

/// ABORTED COMMAND, unexpected unsolicited data.
const UNEXPECTED_DATA: Asc = Asc(0x0c0c);

impl Connection {
    /// Any PDU of full feature phase.
    pub(super) fn full_feature_header(&mut self, frame: HeaderFrame<'_>) -> Landing {
        let len = frame.data_segment_length();
        let opcode = frame.opcode();
        if len > self.negotiated.max_recv_data_segment_length {
            return self.refuse_and_close(frame, RejectReason::INVALID_PDU_FIELD, "data segment longer than MaxRecvDataSegmentLength");
        }
        if self.recovers() && !self.take_acknowledgement(frame) {
            return Landing::Discard { len };
        }
        if opcode == Opcode::SCSI_COMMAND {
            return self.command_header(frame);
        }
        if !frame.additional().is_empty() {
            return self.refuse(frame, RejectReason::INVALID_PDU_FIELD);
        }
        match opcode {
            Opcode::DATA_OUT => self.data_out_header(frame),
            Opcode::SNACK_REQUEST => self.snack(frame),
            Opcode::LOGIN_REQUEST => self.refuse(frame, RejectReason::PROTOCOL_ERROR),
            Opcode::TASK_MANAGEMENT_REQUEST | Opcode::LOGOUT_REQUEST if len > 0 => self.refuse(frame, RejectReason::PROTOCOL_ERROR),
            Opcode::NOP_OUT | Opcode::TEXT_REQUEST | Opcode::TASK_MANAGEMENT_REQUEST | Opcode::LOGOUT_REQUEST => self.request_header(frame),
            _ => self.refuse(frame, RejectReason::COMMAND_NOT_SUPPORTED),
        }
    }

    /// Reject; the data segment is thrown away. The CmdSN of a rejected request counts as not received (RFC 7143 7.3).
    pub(super) fn refuse(&mut self, frame: HeaderFrame<'_>, reason: RejectReason) -> Landing {
        let mut header = frame.basic().to_vec();
        header.extend_from_slice(frame.additional());
        self.reject(&header, reason);
        Landing::Discard { len: frame.data_segment_length() }
    }

    /// Reject and close.
    pub(super) fn refuse_and_close(&mut self, frame: HeaderFrame<'_>, reason: RejectReason, words: &str) -> Landing {
        let landing = self.refuse(frame, reason);
        self.close(words);
        landing
    }

    fn request_header(&mut self, frame: HeaderFrame<'_>) -> Landing {
        let len = frame.data_segment_length();
        let opcode = frame.opcode();
        if self.is_discovery() && !matches!(opcode, Opcode::TEXT_REQUEST | Opcode::LOGOUT_REQUEST) {
            return self.refuse(frame, RejectReason::PROTOCOL_ERROR);
        }
        if frame.tag() == NO_TAG && opcode != Opcode::NOP_OUT {
            return self.refuse(frame, RejectReason::INVALID_PDU_FIELD);
        }
        if len > self.settings.inline_limit {
            return self.refuse(frame, RejectReason::LONG_OPERATION);
        }
        self.incoming = Incoming::Request(*frame.basic());
        Landing::Inline { len }
    }

    /// True in a discovery session.
    pub(super) fn is_discovery(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| summary.target.is_none())
    }

    fn command_header(&mut self, frame: HeaderFrame<'_>) -> Landing {
        let len = frame.data_segment_length();
        let command = ScsiCommand::decode(frame.basic());
        self.counters.command_pdus += 1;
        if self.is_discovery() {
            return self.refuse(frame, RejectReason::PROTOCOL_ERROR);
        }
        let Some(event) = command_event(&command, frame.additional()) else { return self.refuse(frame, RejectReason::INVALID_PDU_FIELD) };
        if !command.immediate && self.shared.window.judge(command.cmd_sn) == Position::Outside {
            // Ignored without a word; so are the data that follow it.
            if !command.is_final && self.shared.tasks.get(command.tag).is_none() && !self.shared.owed.has(command.tag) {
                self.shared.owed.add(command.tag, 1);
            }
            return Landing::Discard { len };
        }
        if self.is_tag_in_use(command.tag) {
            return self.refuse(frame, RejectReason::TASK_IN_PROGRESS);
        }
        if command.immediate && self.shared.tasks.immediate() >= MAX_IMMEDIATE {
            return self.refuse(frame, RejectReason::IMMEDIATE_COMMAND_REJECT);
        }
        self.insert_task(&command, event, len)
    }

    pub(super) fn is_tag_in_use(&self, tag: u32) -> bool {
        self.shared.tasks.get(tag).is_some() || self.shared.owes_answer(tag)
    }

    fn insert_task(&mut self, command: &ScsiCommand, event: CommandEvent, len: u32) -> Landing {
        let refused = self.judge_data(command, &event, len);
        let first_burst = self.negotiated.first_burst_length;
        self.shared.owed.clear(command.tag);
        let Some(task) = self.shared.tasks.insert(command.tag) else { return Landing::Discard { len } };
        task.seat = self.seat;
        task.immediate = command.immediate;
        task.lun = command.lun;
        task.data_out = event.data_out;
        task.data_in = event.data_in;
        task.refused = refused;
        task.command = Some(event);
        let immediate_data = len.min(task.data_out);
        // Data that were not agreed on come anyway when F is zero: they are awaited, and thrown away.
        let limit = if refused.is_some() { u32::MAX } else { first_burst };
        task.transfer.start(task.data_out, immediate_data, !command.is_final, limit);
        let unsolicited = task.transfer.open_sequences() > 0;
        self.incoming = Incoming::Command { tag: command.tag, cmd_sn: command.cmd_sn };
        self.awaited.sequences |= unsolicited;
        self.awaited.progress();
        if refused.is_some() { Landing::Discard { len } } else { Landing::Task { tag: command.tag, offset: 0, len } }
    }

    /// Data with or after the command that were not agreed on: the command ends with ABORTED COMMAND (RFC 7143 11.4.7.2).
    fn judge_data(&self, command: &ScsiCommand, event: &CommandEvent, len: u32) -> Option<Asc> {
        let first_burst = self.negotiated.first_burst_length.min(event.data_out);
        if len > 0 && (!command.write || !self.negotiated.immediate_data) {
            Some(UNEXPECTED_DATA)
        } else if len > first_burst {
            Some(INCORRECT_AMOUNT)
        } else if !command.is_final && self.negotiated.initial_r2t {
            Some(UNEXPECTED_DATA)
        } else {
            None
        }
    }

    /// The command and its immediate data are there.
    pub(super) fn command_complete(&mut self, tag: u32, cmd_sn: u32, directory: &dyn Directory, now: u64) {
        if self.shared.tasks.get(tag).is_some_and(|task| task.immediate) {
            self.deliver_command(tag);
            return;
        }
        match self.shared.window.judge(cmd_sn) {
            Position::Next => {
                self.shared.window.advance();
                self.count_task(tag);
                self.deliver_command(tag);
                self.release_held(directory, now);
            }
            Position::Ahead => self.shared.window.hold(cmd_sn, Held::Waiting(Waiting::Command(tag))),
            // The number was declared lost between header and data.
            Position::Outside => self.drop_task(tag),
        }
    }

    fn count_task(&mut self, tag: u32) {
        if let Some(task) = self.shared.tasks.get_mut(tag) {
            task.counted = true;
            self.shared.active += 1;
        }
    }

    fn deliver_command(&mut self, tag: u32) {
        let Some(task) = self.shared.tasks.get_mut(tag) else { return };
        let Some(event) = task.command.take() else { return };
        match task.refused {
            Some(code) => {
                task.reply = Some(super::reply::refusal(code));
                self.queue_reply(tag);
            }
            None => self.tell(Event::Command(event)),
        }
    }

    /// What was held behind the number that just came.
    pub(super) fn release_held(&mut self, directory: &dyn Directory, now: u64) {
        // A logout among them is the end: what was sent after it is not carried out. What came on another connection is that one's.
        while self.is_full_feature() {
            if let Some(header) = self.next_deferred() {
                self.run_request(&header, &[], directory, now);
                continue;
            }
            if !self.shared.next_is_of(self.seat) {
                return;
            }
            let Some(held) = self.shared.window.take_next() else { return };
            match held {
                Held::Lost => {}
                Held::Waiting(Waiting::Command(tag)) => {
                    self.count_task(tag);
                    self.deliver_command(tag);
                }
                Held::Waiting(Waiting::Request(_, header, data)) => {
                    self.shared.held_bytes -= data.len();
                    self.run_request(&header, &data, directory, now);
                }
            }
        }
    }

    /// A NOP-Out, text, task management or logout request is complete: it runs now, or waits for its number.
    pub(super) fn request_complete(&mut self, header: &crate::pdu::Header, data: &[u8], directory: &dyn Directory, now: u64) {
        let cmd_sn = NopOut::decode(header).cmd_sn;
        // An answer to a ping has no number of its own.
        let is_answer = Opcode::of(header) == Opcode::NOP_OUT && NopOut::decode(header).tag == NO_TAG;
        if self.recovers() && self.waits_for_lost_commands(header) {
            return;
        }
        if is_answer || header[0] & 0x40 != 0 {
            self.run_request(header, data, directory, now);
            self.release_held(directory, now);
            return;
        }
        match self.shared.window.judge(cmd_sn) {
            Position::Outside => {}
            Position::Next => {
                self.shared.window.advance();
                self.run_request(header, data, directory, now);
                self.release_held(directory, now);
            }
            Position::Ahead if self.shared.held_bytes + data.len() > MAX_HELD_BYTES => self.reject(header, RejectReason::LONG_OPERATION),
            Position::Ahead => {
                self.shared.held_bytes += data.len();
                self.shared.window.hold(cmd_sn, Held::Waiting(Waiting::Request(self.seat, *header, data.to_vec())));
            }
        }
    }

    fn run_request(&mut self, header: &crate::pdu::Header, data: &[u8], directory: &dyn Directory, now: u64) {
        if !self.is_full_feature() {
            return;
        }
        match Opcode::of(header) {
            Opcode::NOP_OUT => self.nop_out(&NopOut::decode(header), data, now),
            Opcode::TEXT_REQUEST => self.text_request(&TextRequest::decode(header), header, data, directory),
            Opcode::TASK_MANAGEMENT_REQUEST => self.task_management(&TaskManagementRequest::decode(header), header),
            Opcode::LOGOUT_REQUEST => self.logout(&LogoutRequest::decode(header), header),
            _ => {}
        }
    }
}

/// The command as an event; `None`: a field holds what it must not.
fn command_event(command: &ScsiCommand, additional: &[u8]) -> Option<CommandEvent> {
    let headers = AdditionalHeaders::decode(additional)?;
    let attribute = match command.attribute {
        0 | 1 => TaskAttribute::Simple,
        2 => TaskAttribute::Ordered,
        3 => TaskAttribute::HeadOfQueue,
        4 => TaskAttribute::Aca,
        _ => return None,
    };
    if command.tag == NO_TAG || (!command.write && !command.is_final) {
        return None;
    }
    let (data_out, data_in) = match (command.write, command.read) {
        (true, true) => (command.expected_length, headers.read_length?),
        (true, false) => (command.expected_length, 0),
        (false, true) => (0, command.expected_length),
        (false, false) => (0, 0),
    };
    Some(CommandEvent { tag: command.tag, lun: command.lun, cdb: headers.cdb(&command.cdb), attribute, data_out, data_in })
}
