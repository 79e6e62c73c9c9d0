//! The connection: what the shell calls, and the queues behind it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use scsi::planted::{Bug, is_planted};

use super::data_out::{Awaited, PROTOCOL_SERVICE_CRC_ERROR};
use super::logout::Logout;
use super::retention::Retention;
use super::session::{Seat, Shared};
use super::text::TextExchange;
use super::window::Window;
use crate::interface::{
    Directory, Event, Landing, LoginStatus, LoginSummary, Reply, Settings, TargetLookup, TargetParameters, Transmit, TransmitData,
};
use crate::key::Negotiated;
use crate::login::{LOGIN_SEGMENT_LEN, Login, LoginContext, LoginStep};
use crate::pdu::{
    DataOut, EXP_CMD_SN_AT, Header, HeaderFrame, LoginRequest, LoginResponse, MAX_CMD_SN_AT, NO_TAG, Opcode, Reject, RejectReason, STAT_SN_AT,
    put_data_segment_length, put_u32,
};

/// Nanoseconds of a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// What `tgtadm --mode conn --op stat` shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionCounters {
    /// Bytes received: headers, data segments and padding, without digests.
    pub receive_bytes: u64,
    /// Bytes sent, counted the same way.
    pub transmit_bytes: u64,
    /// SCSI Data-Out PDUs received.
    pub data_out_pdus: u64,
    /// SCSI Data-In PDUs sent.
    pub data_in_pdus: u64,
    /// SCSI Command PDUs received.
    pub command_pdus: u64,
    /// SCSI Response PDUs sent (status carried by a Data-In counts too).
    pub response_pdus: u64,
}

/// Where the connection is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// Login Requests are awaited.
    Login(Box<Login>),
    /// The shell finds out where the target of this request is.
    Awaiting(Box<Login>, LoginRequest),
    /// The shell decides about a login; the final response waits.
    Deciding(Box<Login>, LoginResponse, Vec<u8>),
    /// Full feature phase.
    FullFeature,
    /// Nothing is taken any more; what is queued is still sent.
    Closing,
}

/// The PDU whose data segment is on its way.
#[derive(Debug)]
pub(super) enum Incoming {
    /// Nothing to do at its end.
    Ignored,
    /// Of the login phase.
    Login(LoginRequest),
    /// A command whose task is in the table.
    Command {
        /// Its tag.
        tag: u32,
        /// Its number.
        cmd_sn: u32,
    },
    /// Data of a task.
    Data(DataOut, u32),
    /// Data of a task before which others are missing.
    Damaged(DataOut),
    /// Data that nobody wants any more.
    Owed(DataOut),
    /// Another request with its header.
    Request(Header),
}

/// What StatSN a PDU carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StatSn {
    /// The next one, and uses it up.
    Take,
    /// The next one, without using it up.
    Show,
    /// None.
    Absent,
}

/// Something to send, in order.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A PDU; its numbers are written when it leaves.
    Pdu(Header, Vec<u8>, StatSn),
    /// Data-In and SCSI Response of a task.
    Reply(u32),
    /// What was sent with this StatSN, once more.
    Again(u32),
    /// Data-In before the answer with this StatSN, once more.
    DataAgain(u32),
}

/// A connection of the target role.
#[derive(Debug)]
pub struct Connection {
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    pub(super) negotiated: Negotiated,
    pub(super) parameters: Option<TargetParameters>,
    pub(super) summary: Option<LoginSummary>,
    pub(super) incoming: Incoming,
    /// Header of the PDU whose data are on their way: goes into a Reject when their digest is wrong.
    pub(super) incoming_header: Header,
    /// What belongs to the session. With several connections it is with the one that is spoken to ([`super::Session`] sees to that).
    pub(super) shared: Shared,
    /// Its place in the session.
    pub(super) seat: Seat,
    /// A logout that waits for the end of commands.
    pub(super) logging_out: Option<Logout>,
    pub(super) text: Option<TextExchange>,
    pub(super) awaited: Awaited,
    pub(super) retention: Retention,
    /// Task management functions that wait for commands which were lost.
    pub(super) deferred: Vec<Header>,
    pub(super) stat_sn: u32,
    pub(super) outgoing: VecDeque<Outgoing>,
    pub(super) counters: ConnectionCounters,
    /// Login or logout must be done by then.
    pub(super) deadline: Option<u64>,
    /// The shell must have found out by then where the target is.
    lookup_deadline: Option<u64>,
    pub(super) next_ping: Option<u64>,
    pub(super) unanswered_pings: u32,
    /// Everything sent here must be confirmed by then.
    pub(super) fence_deadline: Option<u64>,
    /// The end was told to the shell.
    closing: bool,
}

impl Connection {
    /// A connection that waits for its first Login Request since `now` (nanoseconds of any clock).
    pub fn new(settings: Settings, now: u64) -> Connection {
        let login = Box::new(Login::new(settings.entropy));
        Connection {
            deadline: Some(now.saturating_add(settings.login_timeout)),
            settings,
            phase: Phase::Login(login),
            negotiated: Negotiated::default(),
            parameters: None,
            summary: None,
            incoming: Incoming::Ignored,
            incoming_header: [0; 48],
            shared: Shared::default(),
            seat: Seat(0),
            logging_out: None,
            text: None,
            awaited: Awaited::default(),
            retention: Retention::default(),
            deferred: Vec::new(),
            stat_sn: 0,
            outgoing: VecDeque::new(),
            counters: ConnectionCounters::default(),
            lookup_deadline: None,
            next_ping: None,
            unanswered_pings: 0,
            fence_deadline: None,
            closing: false,
        }
    }

    /// A header (BHS and AHS) arrived, its digest was right. Where does its data segment go?
    pub fn handle_header(&mut self, header: &[u8], directory: &dyn Directory, now: u64) -> Landing {
        let _ = directory;
        self.awaited.tick(now);
        self.incoming = Incoming::Ignored;
        let Some(frame) = HeaderFrame::new(header) else { return Landing::None };
        self.incoming_header = *frame.basic();
        let len = frame.data_segment_length();
        self.counters.receive_bytes += wire_length(header.len(), len);
        let landing = match self.phase {
            Phase::Login(_) | Phase::Awaiting(..) | Phase::Deciding(..) => self.login_header(frame),
            Phase::FullFeature => self.full_feature_header(frame),
            Phase::Closing => Landing::Discard { len },
        };
        if len == 0 { Landing::None } else { landing }
    }

    /// The PDU is complete (once per PDU, at `Piece::End`). `inline` is empty unless the landing was [`Landing::Inline`].
    pub fn handle_data(&mut self, inline: &[u8], digest_ok: bool, directory: &dyn Directory, now: u64) {
        self.awaited.tick(now);
        let incoming = core::mem::replace(&mut self.incoming, Incoming::Ignored);
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        if !digest_ok {
            self.data_digest_failed(incoming);
            return;
        }
        match incoming {
            Incoming::Ignored => {}
            Incoming::Login(request) => self.login_request(&request, inline, directory, now),
            Incoming::Command { tag, cmd_sn } => self.command_complete(tag, cmd_sn, directory, now),
            Incoming::Data(pdu, len) => self.data_out_complete(&pdu, len),
            Incoming::Damaged(pdu) => self.damaged_complete(&pdu),
            Incoming::Owed(pdu) => {
                if pdu.is_final {
                    self.shared.owed.end_sequence(pdu.tag);
                }
            }
            Incoming::Request(header) => self.request_complete(&header, inline, directory, now),
        }
    }

    /// The stream is broken: header digest wrong, or a data segment longer than the receiver takes.
    pub fn handle_broken_stream(&mut self, reason: &str) {
        self.close(reason);
    }

    /// Time passed: login limit, pings, data that do not come.
    pub fn handle_timeout(&mut self, directory: &dyn Directory, now: u64) {
        if matches!(self.phase, Phase::Awaiting(..)) && self.lookup_deadline.is_some_and(|deadline| now >= deadline) {
            self.answer_lookup(TargetLookup::Unavailable, directory, now);
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            self.end_overdue();
        }
        if self.next_ping.is_some_and(|at| now >= at) {
            self.ping(now);
        }
        self.fence_timeout(now);
        self.data_timeout(now);
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<u64> {
        let times = [self.deadline, self.lookup_deadline, self.next_ping, self.fence_deadline, self.data_due(), self.repeat_due()];
        times.into_iter().flatten().min()
    }

    /// Next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front().map(|(_, event)| event)
    }

    /// Next PDU to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        loop {
            let transmit = match self.outgoing.pop_front()? {
                Outgoing::Pdu(header, data, stat_sn) => Some(self.finish(header, inline_data(data), stat_sn, None)),
                Outgoing::Reply(tag) => self.next_of_reply(tag),
                Outgoing::Again(stat_sn) => self.again(stat_sn),
                Outgoing::DataAgain(stat_sn) => self.data_again(stat_sn),
            };
            if transmit.is_some() {
                return transmit;
            }
        }
    }

    /// What was found out about the target of [`Event::TargetAwaited`]. An answer that nobody waits for any more changes nothing.
    pub fn answer_lookup(&mut self, lookup: TargetLookup, directory: &dyn Directory, now: u64) {
        let phase = core::mem::replace(&mut self.phase, Phase::Closing);
        let Phase::Awaiting(mut login, request) = phase else {
            self.phase = phase;
            return;
        };
        self.lookup_deadline = None;
        let step = login.answer_lookup(&request, lookup, &LoginContext { settings: &self.settings, directory });
        self.login_step(login, &request, step, now);
    }

    /// The login that asked with [`Event::LoginReady`] has its session.
    pub fn accept_login(&mut self, tsih: u16, now: u64) {
        let Phase::Deciding(login, mut response, text) = core::mem::replace(&mut self.phase, Phase::FullFeature) else { return };
        response.tsih = tsih;
        if let Some(summary) = &mut self.summary {
            summary.tsih = tsih;
        }
        self.negotiated = self.shared.agree(login.negotiated());
        self.push_login(response, text);
        self.deadline = None;
        let interval = self.ping_interval();
        self.next_ping = (interval > 0).then(|| now.saturating_add(interval));
    }

    /// The login that asked with [`Event::LoginReady`] does not get a session; the connection closes.
    pub fn refuse_login(&mut self, status: LoginStatus, now: u64) {
        let _ = now;
        let Phase::Deciding(_, mut response, _) = core::mem::replace(&mut self.phase, Phase::Closing) else { return };
        response.status = status.0;
        response.transit = false;
        response.next_stage = 0;
        self.push_login(response, Vec::new());
        self.close(&refusal_reason(status));
    }

    /// Digests of the PDUs that arrive from now on: header, data. Give them to the `Receiver` at every `Piece::End`.
    pub fn digests(&self) -> (bool, bool) {
        let digested = self.is_full_feature() || self.logging_out.is_some();
        if digested { (self.negotiated.header_digest, self.negotiated.data_digest) } else { (false, false) }
    }

    /// Login is over and the connection is not closing.
    pub fn is_full_feature(&self) -> bool {
        matches!(self.phase, Phase::FullFeature)
    }

    /// Who logged in, once [`Event::LoginReady`] was given.
    pub fn summary(&self) -> Option<&LoginSummary> {
        self.summary.as_ref()
    }

    /// The negotiated parameters.
    pub fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    /// Counters.
    pub fn counters(&self) -> ConnectionCounters {
        self.counters
    }

    /// Commands that wait, run, or are being answered.
    pub fn task_count(&self) -> usize {
        self.shared.tasks.len()
    }

    fn login_header(&mut self, frame: HeaderFrame<'_>) -> Landing {
        let len = frame.data_segment_length();
        let Phase::Login(login) = &self.phase else {
            self.close("a PDU came while the login was being decided");
            return Landing::Discard { len };
        };
        let first = login.first().copied();
        if frame.opcode() != Opcode::LOGIN_REQUEST {
            if let Some(first) = first {
                let response = login.refusal(&first, LoginStatus::INVALID_DURING_LOGIN);
                self.push_login(response, Vec::new());
            }
            self.close("a PDU other than Login Request before full feature phase");
            return Landing::Discard { len };
        }
        let request = LoginRequest::decode(frame.basic());
        if first.is_none() {
            self.stat_sn = request.exp_stat_sn;
            // Only the session knows what it has received, and how far one may go.
            self.shared.window = if request.tsih == 0 { Window::new(request.cmd_sn, 1) } else { Window::closed(request.cmd_sn) };
        }
        if len > LOGIN_SEGMENT_LEN || !frame.additional().is_empty() {
            let response = login.refusal(&request, LoginStatus::INITIATOR_ERROR);
            self.push_login(response, Vec::new());
            self.close("malformed Login Request");
            return Landing::Discard { len };
        }
        self.incoming = Incoming::Login(request);
        Landing::Inline { len }
    }

    fn login_request(&mut self, request: &LoginRequest, data: &[u8], directory: &dyn Directory, now: u64) {
        let Phase::Login(mut login) = core::mem::replace(&mut self.phase, Phase::Closing) else { return };
        let step = login.handle(request, data, &LoginContext { settings: &self.settings, directory });
        self.login_step(login, request, step, now);
    }

    fn login_step(&mut self, login: Box<Login>, request: &LoginRequest, step: LoginStep, now: u64) {
        if self.parameters.is_none()
            && let Some(parameters) = login.parameters()
        {
            let first = login.first().unwrap_or(request);
            if first.tsih == 0 {
                self.shared.window = Window::new(first.cmd_sn, parameters.max_queue_cmd);
            }
            self.parameters = Some(parameters.clone());
        }
        match step {
            LoginStep::Respond(response, text) => {
                self.phase = Phase::Login(login);
                self.push_login(response, text);
            }
            LoginStep::Ready(response, text) => {
                self.summary = login.summary();
                if let Some(summary) = &self.summary {
                    self.tell(Event::LoginReady(summary.clone()));
                }
                self.phase = Phase::Deciding(login, response, text);
            }
            LoginStep::Await { name, initiator } => {
                self.lookup_deadline = Some(now.saturating_add(self.settings.lookup_timeout));
                self.tell(Event::TargetAwaited { name, initiator });
                self.phase = Phase::Awaiting(login, *request);
            }
            LoginStep::Refuse(response, text) => {
                let status = LoginStatus(response.status);
                self.push_login(response, text);
                self.close(&refusal_reason(status));
            }
        }
    }

    /// An event for the shell, behind those of the session's other connections that came before it.
    pub(super) fn tell(&mut self, event: Event) {
        self.shared.events.push_back((self.seat, event));
    }

    fn push_login(&mut self, response: LoginResponse, text: Vec<u8>) {
        self.push(response.encode(), text, StatSn::Take);
    }

    /// Ends the connection: no more input; what is queued is still given out.
    pub(super) fn close(&mut self, reason: &str) {
        self.phase = Phase::Closing;
        self.stop();
        if !self.closing {
            self.closing = true;
            self.tell(Event::Close { reason: reason.to_string() });
        }
    }

    /// The initiator logged out: the answer is queued.
    pub(super) fn logged_out(&mut self) {
        self.phase = Phase::Closing;
        self.stop();
        self.closing = true;
        self.tell(Event::Logout);
    }

    /// Nothing is taken any more; the answer waits for the end of commands.
    pub(super) fn begin_logout(&mut self, logout: Logout) {
        self.phase = Phase::Closing;
        self.stop();
        self.logging_out = Some(logout);
    }

    fn stop(&mut self) {
        self.deadline = None;
        self.lookup_deadline = None;
        self.next_ping = None;
        self.fence_deadline = None;
    }

    pub(super) fn push(&mut self, header: Header, data: Vec<u8>, stat_sn: StatSn) {
        self.outgoing.push_back(Outgoing::Pdu(header, data, stat_sn));
    }

    /// Reject with the header of what is refused.
    pub(super) fn reject(&mut self, header: &[u8], reason: RejectReason) {
        let pdu = Reject { reason: reason.0, tag: NO_TAG, ..Reject::default() };
        self.push(pdu.encode(), header.to_vec(), StatSn::Take);
    }

    /// A target transfer tag: never all ones.
    pub(super) fn new_transfer_tag(&mut self) -> u32 {
        self.shared.transfer_tag = next_transfer_tag(self.shared.transfer_tag);
        self.shared.transfer_tag
    }

    /// Writes numbers and length, counts.
    pub(super) fn finish(&mut self, mut header: Header, data: TransmitData, stat_sn: StatSn, last_of: Option<u32>) -> Transmit {
        let len = match &data {
            TransmitData::None => 0,
            TransmitData::Inline(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            TransmitData::Task { len, .. } | TransmitData::Kept { len, .. } => *len,
        };
        put_data_segment_length(&mut header, len);
        let number = self.stat_sn;
        if stat_sn != StatSn::Absent {
            put_u32(&mut header, STAT_SN_AT, self.stat_sn);
        }
        if stat_sn == StatSn::Take && !(is_planted(Bug::StatSnRepeats) && self.stat_sn.is_multiple_of(16)) {
            self.stat_sn = self.stat_sn.wrapping_add(1);
        }
        let maximum = self.shared.window.open(self.shared.active + self.retention.pressure(self.shared.window.capacity()));
        put_u32(&mut header, EXP_CMD_SN_AT, self.shared.window.expected());
        put_u32(&mut header, MAX_CMD_SN_AT, maximum);
        self.counters.transmit_bytes += wire_length(header.len(), len);
        // Login Responses go without digests; everything else a target sends belongs to full feature phase.
        let digests = Opcode::of(&header) != Opcode::LOGIN_RESPONSE;
        let header_digest = digests && self.negotiated.header_digest;
        let data_digest = digests && self.negotiated.data_digest;
        let transmit = Transmit { header, data, last_of, keep_as: None, header_digest, data_digest };
        // Login Responses are acknowledged by the next request, or there is no session.
        if stat_sn == StatSn::Take && digests && self.recovers() {
            self.keep(number, &transmit);
        }
        transmit
    }

    /// Damaged data are rejected. A task whose Data-Out they were ends with ABORTED COMMAND, or gets them again; a request out of CmdSN order is simply gone;
    /// the loss of an ordered one leaves a hole that at ErrorRecoveryLevel 0 only a new session mends, and else the initiator (RFC 7143 7.8).
    fn data_digest_failed(&mut self, incoming: Incoming) {
        let header = self.incoming_header;
        match incoming {
            Incoming::Ignored | Incoming::Login(_) => return,
            Incoming::Damaged(pdu) => {
                self.reject(&header, RejectReason::DATA_DIGEST_ERROR);
                return self.damaged_complete(&pdu);
            }
            Incoming::Data(pdu, _) if self.can_recover(pdu.tag) => {
                self.reject(&header, RejectReason::DATA_DIGEST_ERROR);
                return self.damaged_complete(&pdu);
            }
            Incoming::Data(pdu, len) => {
                self.reject(&header, RejectReason::DATA_DIGEST_ERROR);
                self.fail_transfer(pdu.tag, PROTOCOL_SERVICE_CRC_ERROR);
                self.data_out_complete(&pdu, len);
                return;
            }
            Incoming::Owed(pdu) => {
                if pdu.is_final {
                    self.shared.owed.end_sequence(pdu.tag);
                }
                return;
            }
            Incoming::Command { tag, .. } => self.drop_task(tag),
            Incoming::Request(_) => {}
        }
        self.reject(&header, RejectReason::DATA_DIGEST_ERROR);
        if header[0] & 0x40 == 0 && !self.recovers() {
            self.close("data digest error");
        }
    }

    /// Removes a task without answer; what the initiator still sends for it will be thrown away.
    pub(super) fn drop_task(&mut self, tag: u32) {
        self.shared.drop_task(tag);
    }

    /// Brings the first `len` bytes of data-out; [`Event::DataReady`] when they are there.
    pub fn fetch(&mut self, tag: u32, len: u32) {
        if let Some(task) = self.shared.tasks.get_mut(tag) {
            task.transfer.want(len);
            self.continue_transfer(tag);
        }
    }

    /// The task ended: Data-In and SCSI Response. They wait until the initiator has sent what it was asked for (RFC 7143 11.8, 11.17).
    ///
    /// A second answer, or one for a task that is not there, changes nothing.
    pub fn respond(&mut self, tag: u32, reply: Reply) {
        let Some(task) = self.shared.tasks.get_mut(tag) else { return };
        if task.lost {
            self.drop_task(tag);
        } else if task.runs() {
            task.reply = Some(task.refused.map_or(reply, super::reply::refusal));
            self.queue_reply(tag);
        }
        self.continue_logout(true);
    }

    /// The task was aborted: no response. Data on their way to it will be thrown away.
    ///
    /// A task whose data were damaged is answered with ABORTED COMMAND instead: the connection asked for its end itself.
    pub fn forget(&mut self, tag: u32) {
        if !self.answer_failed(tag) {
            self.drop_task(tag);
        }
        self.continue_logout(true);
    }

    /// The answer of a delivered task that the connection itself ends. False: it is no such task.
    pub(super) fn answer_failed(&mut self, tag: u32) -> bool {
        let Some(task) = self.shared.tasks.get_mut(tag).filter(|task| !task.lost && task.runs()) else { return false };
        let Some(code) = task.refused else { return false };
        task.reply = Some(super::reply::refusal(code));
        self.queue_reply(tag);
        true
    }
}

/// The target transfer tag after `tag`; all ones means no tag.
pub(super) fn next_transfer_tag(tag: u32) -> u32 {
    let next = tag.wrapping_add(1);
    if next == NO_TAG { 1 } else { next }
}

/// Bytes of a data segment, if there are any.
pub(super) fn inline_data(data: Vec<u8>) -> TransmitData {
    if data.is_empty() { TransmitData::None } else { TransmitData::Inline(data) }
}

fn refusal_reason(status: LoginStatus) -> String {
    let words = crate::login::status_name(status.0).unwrap_or("login refused");
    alloc::format!("login refused: {words} ({:04x})", status.0)
}

/// Bytes on the wire without digests.
fn wire_length(header: usize, data: u32) -> u64 {
    u64::try_from(header).unwrap_or(0) + u64::from(data.next_multiple_of(4))
}
