//! The initiator's connection: sends, receives, and checks sequence numbers.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use scsi::{Lun, TaskAttribute};

use super::header::{self, Header};
use super::login::{self, Login, Request};
use super::recovery::{Pings, Recovery};
use super::session::Numbers;
use super::transfer::{Burst, Task, length};
use super::{Command, Event, Settings};
use crate::framing::{Piece, Receiver, padding_of};
use crate::key::Negotiated;

/// Longest data segment taken during login.
const LOGIN_SEGMENT: u32 = 8192;

/// A connection of the initiator role, session and all.
#[derive(Debug)]
pub struct Connection {
    pub(super) settings: Settings,
    receiver: Receiver,
    current: Option<Header>,
    data: Vec<u8>,
    login: Option<Login>,
    pub(super) negotiated: Negotiated,
    pub(super) tasks: BTreeMap<u32, Task>,
    texts: BTreeMap<u32, Vec<u8>>,
    waiting: VecDeque<(u32, Command)>,
    next_tag: u32,
    pub(super) cmd_sn: u32,
    max_cmd_sn: u32,
    /// The highest MaxCmdSN that came here.
    told_max_cmd_sn: u32,
    tsih: u16,
    exp_stat_sn: Option<u32>,
    pub(super) recovery: Recovery,
    pub(super) recovery_pings: Pings,
    output: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    broken: bool,
}

/// `a` is at or after `b` in serial number arithmetic (RFC 1982).
pub(super) fn at_or_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) < 0x8000_0000
}

/// `len` bytes from `offset`; nothing when they are not all there.
fn part(bytes: &[u8], offset: u32, len: u32) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
    bytes.get(start..end).unwrap_or_default()
}

impl Connection {
    /// A connection whose first Login Request is ready to be sent.
    pub fn new(settings: Settings) -> Connection {
        let (login, request) = Login::new(settings.clone());
        let mut connection = Connection {
            receiver: Receiver::new(settings.crc32c, LOGIN_SEGMENT),
            current: None,
            data: Vec::new(),
            login: Some(login),
            negotiated: Negotiated::default(),
            tasks: BTreeMap::new(),
            texts: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_tag: 1,
            cmd_sn: settings.cmd_sn,
            max_cmd_sn: settings.cmd_sn,
            told_max_cmd_sn: settings.cmd_sn,
            tsih: settings.tsih,
            exp_stat_sn: None,
            recovery: Recovery::default(),
            recovery_pings: Pings::new(),
            output: VecDeque::new(),
            events: VecDeque::new(),
            broken: false,
            settings,
        };
        connection.send_login(&request);
        connection
    }

    /// TSIH that the target gave.
    pub fn tsih(&self) -> u16 {
        self.tsih
    }

    pub(super) fn numbers(&self) -> Numbers {
        Numbers { cmd_sn: self.cmd_sn, max_cmd_sn: self.max_cmd_sn, next_tag: self.next_tag }
    }

    /// Other connections of the session have counted on.
    pub(super) fn count_on(&mut self, numbers: Numbers) {
        (self.cmd_sn, self.max_cmd_sn, self.next_tag) = (numbers.cmd_sn, numbers.max_cmd_sn, numbers.next_tag);
        self.send_waiting();
    }

    /// Full feature phase.
    pub fn is_logged_in(&self) -> bool {
        self.login.is_none()
    }

    /// What was negotiated.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Commands that have not ended.
    pub fn outstanding(&self) -> usize {
        self.tasks.len() + self.waiting.len()
    }

    /// Sends a command, or keeps it until the window opens; its initiator task tag.
    pub fn submit(&mut self, command: Command) -> u32 {
        let tag = self.tag();
        if command.immediate {
            self.send_command(tag, command);
        } else {
            self.waiting.push_back((tag, command));
            self.send_waiting();
        }
        tag
    }

    /// Sends a task management function; the tag of the request.
    pub fn task_management(&mut self, function: u8, lun: Lun, referenced: u32) -> u32 {
        let tag = self.tag();
        let ref_cmd_sn = self.tasks.get(&referenced).and_then(|task| task.cmd_sn).unwrap_or(self.cmd_sn);
        let request = Header::new(header::TASK_MANAGEMENT | header::IMMEDIATE).put(1, &[header::FINAL | function]).put(8, &lun.0).put32(16, tag);
        let request = request.put32(20, referenced).put32(24, self.cmd_sn).put32(28, self.expected()).put32(32, ref_cmd_sn);
        self.send(request, &[]);
        tag
    }

    /// Sends text in full feature phase.
    pub fn text(&mut self, text: &[u8]) -> u32 {
        let tag = self.tag();
        self.texts.insert(tag, Vec::new());
        self.send_text(tag, header::NO_TAG, text);
        tag
    }

    /// Sends a NOP-Out that wants an echo.
    pub fn ping(&mut self, data: &[u8]) -> u32 {
        let tag = self.tag();
        let request = Header::new(header::NOP_OUT | header::IMMEDIATE).put(1, &[header::FINAL]).put32(16, tag).put32(20, header::NO_TAG);
        let request = request.put32(24, self.cmd_sn).put32(28, self.expected());
        self.send(request, data);
        tag
    }

    /// Closes the session.
    pub fn logout(&mut self) {
        self.send_logout(0, self.settings.cid);
    }

    /// Closes the connection of the session that has this CID.
    pub fn logout_connection(&mut self, cid: u16) {
        self.send_logout(1, cid);
    }

    fn send_logout(&mut self, reason: u8, cid: u16) {
        let tag = self.tag();
        let request = Header::new(header::LOGOUT | header::IMMEDIATE).put(1, &[header::FINAL | reason]).put32(16, tag).put16(20, cid);
        let request = request.put32(24, self.cmd_sn).put32(28, self.expected());
        self.send(request, &[]);
    }

    /// Sends a TEST UNIT READY with a CmdSN `back` places before the next one, which a target ignores; its tag.
    pub fn stale_command(&mut self, lun: Lun, back: u32) -> u32 {
        let tag = self.tag();
        let request = Header::new(header::SCSI_COMMAND).put(1, &[header::FINAL | 1]).put(8, &lun.0).put32(16, tag);
        let request = request.put32(24, self.cmd_sn.wrapping_sub(back)).put32(28, self.expected());
        self.send(request, &[]);
        tag
    }

    /// Bytes as they are, past all rules: for what no real initiator sends.
    pub fn send_raw(&mut self, bytes: Vec<u8>) {
        self.output.push_back(bytes);
    }

    /// Next bytes for the wire.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// Next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes arrived.
    pub fn handle_bytes(&mut self, mut bytes: &[u8]) {
        while !self.broken {
            let (consumed, piece) = self.receiver.advance(bytes);
            match piece {
                Some(Piece::Header(found)) => {
                    self.current = Some(Header::from(found));
                    self.data.clear();
                }
                Some(Piece::Data { bytes: data, .. }) => self.data.extend_from_slice(data),
                Some(Piece::End { digest_ok }) => {
                    let data = core::mem::take(&mut self.data);
                    self.handle_pdu(&data, digest_ok);
                    self.data = data;
                    self.receiver
                        .set_digests(self.negotiated.header_digest && self.is_logged_in(), self.negotiated.data_digest && self.is_logged_in());
                }
                Some(Piece::HeaderDigestError) => self.violation("header digest is wrong".into()),
                Some(Piece::TooLong) => self.violation("a data segment is longer than we take".into()),
                None => return,
            }
            bytes = &bytes[consumed..];
        }
    }

    pub(super) fn tag(&mut self) -> u32 {
        let tag = self.next_tag;
        self.next_tag = if tag == header::NO_TAG - 1 { 1 } else { tag + 1 };
        tag
    }

    pub(super) fn expected(&self) -> u32 {
        self.exp_stat_sn.unwrap_or(0)
    }

    fn violation(&mut self, what: String) {
        self.events.push_back(Event::Violation(what));
        self.broken = true;
    }

    pub(super) fn send(&mut self, request: Header, data: &[u8]) {
        let full_feature = self.is_logged_in();
        let request = request.put(5, &length(data).to_be_bytes()[1..]);
        let mut bytes = request.0.to_vec();
        if full_feature && self.negotiated.header_digest {
            bytes.extend_from_slice(&(self.settings.crc32c)(0, &request.0).to_le_bytes());
        }
        if !data.is_empty() {
            let start = bytes.len();
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len() + padding_of(length(data)), 0);
            if full_feature && self.negotiated.data_digest {
                let digest = (self.settings.crc32c)(0, &bytes[start..]);
                bytes.extend_from_slice(&digest.to_le_bytes());
            }
        }
        if self.settings.losses.is_some() && self.loses_sent(request, &mut bytes, !data.is_empty()) {
            return;
        }
        self.output.push_back(bytes);
    }

    fn send_login(&mut self, request: &Request) {
        let mut flags = request.stage << 2;
        if let Some(next) = request.next {
            flags |= header::FINAL | next;
        }
        let head = Header::new(header::LOGIN | header::IMMEDIATE).put(1, &[flags]).put(8, &self.settings.isid).put16(14, self.settings.tsih);
        let head = head.put16(20, self.settings.cid).put32(24, self.cmd_sn).put32(28, self.expected());
        self.send(head, &request.text);
    }

    fn send_text(&mut self, tag: u32, target_tag: u32, text: &[u8]) {
        let request = Header::new(header::TEXT | header::IMMEDIATE).put(1, &[header::FINAL]).put32(16, tag).put32(20, target_tag);
        let request = request.put32(24, self.cmd_sn).put32(28, self.expected());
        self.send(request, text);
    }

    fn send_waiting(&mut self) {
        while self.is_logged_in() && !self.waiting.is_empty() && at_or_after(self.max_cmd_sn, self.cmd_sn) {
            if let Some((tag, command)) = self.waiting.pop_front() {
                self.send_command(tag, command);
            }
        }
    }

    fn send_command(&mut self, tag: u32, command: Command) {
        let mut task = Task::new(command);
        let (immediate, more) = task.plan_unsolicited(&self.negotiated);
        let cmd_sn = self.cmd_sn;
        if !task.command.immediate {
            task.cmd_sn = Some(cmd_sn);
            self.cmd_sn = cmd_sn.wrapping_add(1);
        }
        self.tasks.insert(tag, task);
        self.send_command_pdu(tag, cmd_sn, immediate, more);
    }

    /// The SCSI Command PDU of a task, and its unsolicited data.
    pub(super) fn send_command_pdu(&mut self, tag: u32, cmd_sn: u32, immediate: u32, more: u32) {
        let Some(task) = self.tasks.get(&tag) else { return };
        let command = &task.command;
        let attribute = match command.attribute {
            TaskAttribute::Simple => 1,
            TaskAttribute::Ordered => 2,
            TaskAttribute::HeadOfQueue => 3,
            TaskAttribute::Aca => 4,
        };
        let total = length(&command.data_out);
        let mut flags = attribute;
        flags |= if more == 0 { header::FINAL } else { 0 };
        flags |= if command.data_in > 0 { 0x40 } else { 0 };
        flags |= if total > 0 { 0x20 } else { 0 };
        let expected = if total > 0 { total } else { command.data_in };
        let opcode = header::SCSI_COMMAND | if command.immediate { header::IMMEDIATE } else { 0 };
        let cdb = &command.cdb[..command.cdb.len().min(16)];
        let request = Header::new(opcode).put(1, &[flags]).put(8, &command.lun.0).put32(16, tag).put32(20, expected);
        let request = request.put32(24, cmd_sn).put32(28, self.expected()).put(32, cdb);
        let data = part(&command.data_out, 0, immediate).to_vec();
        self.send(request, &data);
        if more > 0 {
            self.send_burst(tag, Burst { target_tag: header::NO_TAG, offset: immediate, len: more });
        }
    }

    pub(super) fn send_burst(&mut self, tag: u32, burst: Burst) {
        let Some(task) = self.tasks.get(&tag) else { return };
        let lun = task.command.lun;
        let data = part(&task.command.data_out, burst.offset, burst.len).to_vec();
        let segment = usize::try_from(self.negotiated.max_xmit_data_segment_length.max(1)).unwrap_or(usize::MAX);
        let mut offset = burst.offset;
        let last = data.len().div_ceil(segment).saturating_sub(1);
        for (number, part) in data.chunks(segment).enumerate() {
            let flags = if number == last { header::FINAL } else { 0 };
            let head = Header::new(header::DATA_OUT).put(1, &[flags]).put(8, &lun.0).put32(16, tag).put32(20, burst.target_tag);
            let head = head.put32(28, self.expected()).put32(36, u32::try_from(number).unwrap_or(u32::MAX)).put32(40, offset);
            offset += length(part);
            self.send(head, part);
        }
    }

    fn handle_pdu(&mut self, data: &[u8], digest_ok: bool) {
        let Some(head) = self.current.take() else { return };
        if !digest_ok && !self.recovers() {
            self.violation("data digest is wrong".into());
            return;
        }
        if !digest_ok || self.loses_received(head) {
            return;
        }
        let result = match head.opcode() {
            header::LOGIN_RESPONSE => self.handle_login(head, data),
            _ if self.login.is_some() => Err(format!("opcode {:#04x} during login", head.opcode())),
            _ if self.recovers() => self.receive(head, data),
            _ => self.dispatch(head, data),
        };
        if let Err(what) = result {
            self.violation(what);
        }
        self.send_waiting();
    }

    /// A PDU of full feature phase whose turn has come.
    pub(super) fn dispatch(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        match head.opcode() {
            header::SCSI_RESPONSE => self.handle_response(head, data),
            header::DATA_IN => self.handle_data_in(head, data),
            header::R2T => self.handle_r2t(head),
            header::NOP_IN => self.handle_nop(head, data),
            header::TASK_MANAGEMENT_RESPONSE => self.handle_function(head),
            header::TEXT_RESPONSE => self.handle_text(head, data),
            header::LOGOUT_RESPONSE => self.with_status(head).map(|()| self.events.push_back(Event::LoggedOut { response: head.byte(2) })),
            header::ASYNC => self.with_status(head).map(|()| self.events.push_back(Event::Async { event: head.byte(36) })),
            header::REJECT => self.handle_reject(head, data),
            other => Err(format!("opcode {other:#04x} from a target")),
        }
    }

    /// A PDU that consumes a StatSN.
    fn with_status(&mut self, head: Header) -> Result<(), String> {
        let stat_sn = head.get32(24);
        if let Some(expected) = self.exp_stat_sn
            && stat_sn != expected
        {
            return Err(format!("StatSN {stat_sn} where {expected} was due"));
        }
        self.exp_stat_sn = Some(stat_sn.wrapping_add(1));
        // What waited for its turn tells of a window long past; it was looked at when it came.
        if self.recovers() { Ok(()) } else { self.window(head) }
    }

    fn handle_reject(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        self.with_status(head)?;
        if !self.rejected(head, data) {
            self.events.push_back(Event::Reject { reason: head.byte(2), header: data.to_vec() });
        }
        Ok(())
    }

    /// ExpCmdSN and MaxCmdSN, carried by every PDU of a target.
    pub(super) fn window(&mut self, head: Header) -> Result<(), String> {
        let (expected, max) = (head.get32(28), head.get32(32));
        if !at_or_after(self.cmd_sn, expected) {
            return Err(format!("ExpCmdSN {expected} is beyond what we sent, {}", self.cmd_sn));
        }
        if at_or_after(max, self.told_max_cmd_sn) {
            self.told_max_cmd_sn = max;
            if at_or_after(max, self.max_cmd_sn) {
                self.max_cmd_sn = max;
            }
        } else if self.is_logged_in() && !at_or_after(max.wrapping_add(1), expected) {
            return Err(format!("MaxCmdSN {max} is below ExpCmdSN {expected}"));
        } else if self.is_logged_in() {
            return Err(format!("MaxCmdSN went back from {} to {max}", self.told_max_cmd_sn));
        }
        Ok(())
    }

    fn handle_login(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        let status = head.get16(36);
        let Some(login) = &mut self.login else { return Err("a Login Response in full feature phase".into()) };
        if status != 0 {
            let moved_to = login::pairs(data).into_iter().find(|(key, _)| key == "TargetAddress").map(|(_, value)| value);
            self.events.push_back(Event::LoginFailed { status, moved_to });
            return Ok(());
        }
        let flags = head.byte(1);
        let transit = (flags & header::FINAL != 0).then_some(flags & 3);
        let next = login.answer(data, flags & 0x40 != 0, transit)?;
        let negotiated = login.negotiated();
        self.with_status(head)?;
        match next {
            Some(request) => self.send_login(&request),
            None => {
                self.login = None;
                self.negotiated = negotiated;
                self.told_max_cmd_sn = head.get32(32);
                if self.settings.leading.is_none() {
                    self.max_cmd_sn = self.told_max_cmd_sn;
                }
                self.tsih = head.get16(14);
                self.receiver.set_limit(negotiated.max_recv_data_segment_length);
                self.events.push_back(Event::LoggedIn { tsih: head.get16(14) });
            }
        }
        Ok(())
    }

    fn handle_response(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        self.with_status(head)?;
        let task = self.tasks.remove(&head.tag()).ok_or_else(|| format!("a response for tag {:#x}, which has no task", head.tag()))?;
        let sense = match data {
            [high, low, rest @ ..] => {
                rest.get(..usize::from(u16::from_be_bytes([*high, *low]))).ok_or("SenseLength is longer than the data segment")?
            }
            _ => &[],
        };
        self.events.push_back(Event::Done(task.end(head, false, sense)?));
        Ok(())
    }

    fn handle_data_in(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        let with_status = head.byte(1) & 1 != 0;
        if self.recovers() && !with_status {
            return self.recovering_data_in(head, data);
        }
        if with_status {
            self.with_status(head)?;
        } else {
            self.window(head)?;
        }
        let negotiated = self.negotiated;
        let task = self.tasks.get_mut(&head.tag()).ok_or_else(|| format!("Data-In for tag {:#x}, which has no task", head.tag()))?;
        task.take_data(head, data, &negotiated)?;
        if with_status && let Some(task) = self.tasks.remove(&head.tag()) {
            self.events.push_back(Event::Done(task.end(head, true, &[])?));
        }
        Ok(())
    }

    fn handle_r2t(&mut self, head: Header) -> Result<(), String> {
        if self.recovers() {
            return self.recovering_r2t(head);
        }
        self.window(head)?;
        let negotiated = self.negotiated;
        let task = self.tasks.get_mut(&head.tag()).ok_or_else(|| format!("R2T for tag {:#x}, which has no task", head.tag()))?;
        let burst = task.ready_to_transfer(head, &negotiated)?;
        self.send_burst(head.tag(), burst);
        Ok(())
    }

    fn handle_nop(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        if head.tag() != header::NO_TAG {
            self.with_status(head)?;
            if self.probed(head.tag()) {
                return Ok(());
            }
            self.events.push_back(Event::Pong { tag: head.tag(), data: data.to_vec() });
            return Ok(());
        }
        if !self.recovers() {
            self.window(head)?;
        }
        let target_tag = head.get32(20);
        if target_tag != header::NO_TAG {
            let answer = Header::new(header::NOP_OUT | header::IMMEDIATE).put(1, &[header::FINAL]).put(8, &head.0[8..16]);
            let answer = answer.put32(16, header::NO_TAG).put32(20, target_tag).put32(24, self.cmd_sn).put32(28, self.expected());
            self.send(answer, &[]);
        }
        Ok(())
    }

    fn handle_function(&mut self, head: Header) -> Result<(), String> {
        self.with_status(head)?;
        self.events.push_back(Event::FunctionDone { tag: head.tag(), response: head.byte(2) });
        Ok(())
    }

    fn handle_text(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        self.with_status(head)?;
        let tag = head.tag();
        let text = self.texts.get_mut(&tag).ok_or("a Text Response nobody asked for")?;
        text.extend_from_slice(data);
        if head.byte(1) & header::FINAL == 0 {
            self.send_text(tag, head.get32(20), &[]);
            return Ok(());
        }
        let text = self.texts.remove(&tag).unwrap_or_default();
        self.events.push_back(Event::Text { tag, pairs: login::pairs(&text) });
        Ok(())
    }

    /// Commands that a task management function ended: they get no response. Their data are given back to nobody.
    pub fn forget(&mut self, tags: impl IntoIterator<Item = u32>) {
        for tag in tags {
            self.tasks.remove(&tag);
        }
    }

    /// Tags of commands that were sent and have not ended.
    pub fn tags(&self) -> impl Iterator<Item = u32> + '_ {
        self.tasks.keys().copied()
    }
}
