//! A stream of PDUs against a connection of the target role, with a shell and a unit that do as the CDB says.
//!
//! Two bytes choose the setting. The rest is the stream itself or, in the record form, eight bytes a PDU that a small generator turns into one after a login that
//! went well: so mutations reach the parts behind CmdSN and login. Whatever comes, every answer must keep the rules of RFC 7143 that are checked here, and the way in
//! which the stream is cut into pieces must make no difference.

#[path = "pdu_records.rs"]
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use iscsi::pdu::{DataIn, HeaderFrame, NO_TAG, NopIn, Opcode, ReadyToTransfer, ScsiCommand, ScsiResponse, u32_at};
use iscsi::target::Connection;
use iscsi::{
    Authentication, Directory, Event, FunctionCode, Landing, Piece, Receiver, Reply, ReplyData, Settings, TargetLookup, TargetOffer,
    TargetParameters, TargetRecord, Transmit, TransmitData,
};

/// Name of the only target.
pub const TARGET: &str = "iqn.2026-01.test:disk";
/// What a task reads or writes at most: enough for many bursts of the settings below.
const MAX_TASK_BYTES: u32 = 65_536;
/// Longest data segment during login.
const LOGIN_SEGMENT: u32 = 8192;
/// Immediate commands and functions a connection takes beside its window.
const BESIDE_WINDOW: usize = 32;
const INLINE_LIMIT: u32 = 65_536;

/// Feeds the stream whole, then in pieces.
pub fn run(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<2>() else { return };
    let setup = Setup::new(*head);
    let stream = if setup.records { records::stream(rest, &setup) } else { rest.to_vec() };
    let mut whole = Peer::new(&setup);
    whole.feed(&stream);
    whole.end();
    let mut pieces = Peer::new(&setup);
    let mut random = u32::from(head[1]) ^ u32::try_from(rest.len()).unwrap_or(0).wrapping_mul(0x9e37_79b9) | 1;
    let mut left = stream.as_slice();
    while !left.is_empty() {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let count = (usize::try_from(random % 97).unwrap_or(0) + 1).min(left.len());
        pieces.feed(&left[..count]);
        left = &left[count..];
    }
    pieces.end();
    assert!(whole.log == pieces.log, "the pieces make a difference:\n{:?}\n{:?}", whole.log, pieces.log);
}

/// The two bytes.
pub struct Setup {
    records: bool,
    zero_digest: bool,
    time_passes: bool,
    discovery_only: bool,
    /// What the target offers.
    pub parameters: TargetParameters,
}

impl Setup {
    /// From the first two bytes of the input.
    pub fn new([mode, choice]: [u8; 2]) -> Setup {
        let bit = |at: u8| choice & (1 << at) != 0;
        let parameters = TargetParameters {
            max_recv_data_segment_length: if bit(6) { 512 } else { 8192 },
            header_digest: bit(4),
            data_digest: bit(5),
            initial_r2t: bit(0),
            max_outstanding_r2t: if bit(6) { 1 } else { 4 },
            immediate_data: bit(1),
            first_burst_length: if bit(6) { 512 } else { 4096 },
            max_burst_length: if bit(6) { 1024 } else { 16_384 },
            data_pdu_in_order: bit(2),
            data_sequence_in_order: bit(3),
            error_recovery_level: 0,
            default_time_2_wait: 2,
            default_time_2_retain: 20,
            max_connections: 1,
            max_queue_cmd: if bit(7) { 2 } else { 16 },
            nop_interval: 5,
            nop_count: 2,
        };
        let records = mode & 1 != 0;
        // A digest that is always zero survives mutations of what it covers.
        Setup { records, zero_digest: records || mode & 2 != 0, time_passes: mode & 4 != 0, discovery_only: mode & 8 != 0, parameters }
    }

    /// The digest function of both sides.
    pub fn crc32c(&self) -> iscsi::Crc32c {
        if self.zero_digest { |_, _| 0 } else { iscsi::crc32c }
    }
}

/// What came out, in order.
#[derive(PartialEq, Eq, Debug)]
pub enum Entry {
    /// Told to the shell.
    Event(Event),
    /// Sent.
    Transmit(Box<Transmit>),
}

/// A command that was delivered and is not answered to the end.
#[derive(Default)]
struct Live {
    data_out: u32,
    data_in: u32,
    /// Bytes that were asked for with `fetch`.
    fetching: Option<u32>,
    fetched: u32,
    /// End of the last R2T.
    requested: u32,
    answer: Option<(u32, u32)>,
    sent: u32,
}

/// Shell and judge.
pub struct Peer {
    connection: Connection,
    receiver: Receiver,
    directory: Stub,
    time_passes: bool,
    now: u64,
    landing: Landing,
    header: [u8; 48],
    inline: Vec<u8>,
    /// Expected data-out of the last command with this tag, and which bytes of it have come.
    arrived: BTreeMap<u32, (u32, Vec<bool>)>,
    live: BTreeMap<u32, Live>,
    /// Tags of aborted tasks.
    forgotten: BTreeSet<u32>,
    /// Tags of commands whose answer waits for another command.
    held: Vec<u32>,
    /// Commands received less responses sent.
    unanswered: BTreeMap<u32, u32>,
    stat_sn: Option<u32>,
    window: Option<(u32, u32)>,
    allowance: usize,
    ended: bool,
    /// Everything that came out.
    pub log: Vec<Entry>,
}

impl Peer {
    /// Before the first byte.
    pub fn new(setup: &Setup) -> Peer {
        let settings = Settings {
            crc32c: setup.crc32c(),
            peer: SocketAddr::from(([192, 0, 2, 9], 5000)),
            local: SocketAddr::from(([192, 0, 2, 1], 3260)),
            group_tag: 1,
            entropy: [9; 32],
            login_timeout: 15_000_000_000,
            lookup_timeout: 5_000_000_000,
            data_timeout: 60_000_000_000,
            inline_limit: INLINE_LIMIT,
        };
        Peer {
            receiver: Receiver::new(settings.crc32c, 1 << 20),
            connection: Connection::new(settings, 0),
            directory: Stub { parameters: setup.parameters.clone(), targets: if setup.discovery_only { 300 } else { 2 } },
            time_passes: setup.time_passes,
            now: 0,
            landing: Landing::None,
            header: [0; 48],
            inline: Vec::new(),
            arrived: BTreeMap::new(),
            live: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            held: Vec::new(),
            unanswered: BTreeMap::new(),
            stat_sn: None,
            window: None,
            allowance: 1,
            ended: false,
            log: Vec::new(),
        }
    }

    /// Bytes arrive.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        // The receiver is taken out so that its piece and the rest of the shell can be held at once.
        let mut receiver = self.receiver.clone();
        loop {
            let (count, piece) = receiver.advance(bytes);
            match piece {
                None => break,
                Some(Piece::Header(header)) => self.header_came(header),
                Some(Piece::Data { offset, bytes }) => self.data_came(offset, bytes),
                Some(Piece::End { digest_ok }) => {
                    self.pdu_ended(digest_ok);
                    let (header, data) = self.connection.digests();
                    receiver.set_digests(header, data);
                }
                Some(Piece::HeaderDigestError) => self.broken("header digest error"),
                Some(Piece::TooLong) => self.broken("data segment too long"),
            }
            bytes = &bytes[count..];
        }
        self.receiver = receiver;
    }

    /// The stream is over: what is held is answered, time passes.
    pub fn end(&mut self) {
        for tag in core::mem::take(&mut self.held) {
            self.answer(tag, ReplyData::None, 0);
        }
        self.pump();
        for _ in 0..6 {
            if let Some(at) = self.connection.poll_timeout() {
                self.pass_time(at);
            }
        }
        assert!(self.connection.poll_timeout().is_none() || !self.ended, "time goes on after the end");
    }

    fn pass_time(&mut self, at: u64) {
        self.now = self.now.max(at);
        self.allowance += 2;
        self.connection.handle_timeout(&self.directory, self.now);
        self.pump();
    }

    fn broken(&mut self, reason: &str) {
        self.connection.handle_broken_stream(reason);
        self.pump();
        assert!(self.ended, "a broken stream goes on");
    }

    fn header_came(&mut self, header: &[u8]) {
        if self.time_passes {
            self.now += 1_000_000_000;
            if self.connection.poll_timeout().is_some_and(|at| at <= self.now) {
                self.pass_time(self.now);
            }
        }
        let frame = HeaderFrame::new(header).expect("a header is 48 bytes at least");
        self.header = *frame.basic();
        self.inline.clear();
        let tasks = self.connection.task_count();
        self.landing = self.connection.handle_header(header, &self.directory, self.now);
        self.command_came(self.connection.task_count() > tasks);
        let data = frame.data_segment_length();
        let (Landing::Inline { len } | Landing::Task { len, .. } | Landing::Discard { len }) = self.landing else {
            return assert_eq!(data, 0, "data without a place");
        };
        assert_eq!(len, data, "a place for other data");
        if let Landing::Inline { len } = self.landing {
            assert!(len <= INLINE_LIMIT);
        }
        if let Landing::Task { tag, offset, len } = self.landing {
            let (expected, _) = self.arrived.get(&tag).expect("data for a task nobody asked for");
            assert!(u64::from(offset) + u64::from(len) <= u64::from(*expected), "{offset}+{len} of {expected} bytes");
        }
    }

    /// `taken`: it has a task now; other commands are refused or ignored.
    fn command_came(&mut self, taken: bool) {
        if Opcode::of(&self.header) != Opcode::SCSI_COMMAND {
            return assert!(!taken, "a task without a command");
        }
        let command = ScsiCommand::decode(&self.header);
        *self.unanswered.entry(command.tag).or_default() += 1;
        if taken {
            assert!(!self.live.contains_key(&command.tag), "two tasks with tag {}", command.tag);
            let expected = if command.write { command.expected_length } else { 0 };
            self.arrived.insert(command.tag, (expected, Vec::new()));
        }
    }

    fn data_came(&mut self, offset: u32, bytes: &[u8]) {
        match self.landing {
            Landing::None => panic!("data without a place"),
            Landing::Inline { .. } => self.inline.extend_from_slice(bytes),
            Landing::Discard { .. } => {}
            Landing::Task { tag, offset: start, .. } => {
                let Some((_, arrived)) = self.arrived.get_mut(&tag) else { return };
                let limit = MAX_TASK_BYTES as usize;
                let start = ((start + offset) as usize).min(limit);
                let end = (start + bytes.len()).min(limit);
                arrived.resize(arrived.len().max(end), false);
                assert!(!arrived[start..end].contains(&true), "bytes from {start} of task {tag} come twice");
                arrived[start..end].fill(true);
            }
        }
    }

    fn pdu_ended(&mut self, digest_ok: bool) {
        self.allowance += 3;
        let inline = core::mem::take(&mut self.inline);
        self.connection.handle_data(&inline, digest_ok, &self.directory, self.now);
        self.inline = inline;
        self.pump();
        let limit = usize::try_from(self.directory.parameters.max_queue_cmd).unwrap_or(0) + BESIDE_WINDOW;
        assert!(self.connection.task_count() <= limit, "{} tasks", self.connection.task_count());
        // What a refused or forgotten command announced is over when no task is left.
        if self.connection.task_count() == 0 {
            self.arrived.clear();
            assert!(self.live.is_empty() || self.ended, "tasks vanished: {:?}", self.live.keys());
        }
    }

    fn pump(&mut self) {
        loop {
            let mut idle = true;
            while let Some(event) = self.connection.poll_event() {
                // A fetch that was answered at once lies behind the end that was in the queue already.
                assert!(!self.ended || matches!(event, Event::DataReady { .. }), "after the end: {event:?}");
                idle = false;
                self.event(&event);
                self.log.push(Entry::Event(event));
            }
            while let Some(transmit) = self.connection.poll_transmit() {
                idle = false;
                self.transmit(&transmit);
                self.log.push(Entry::Transmit(Box::new(transmit)));
            }
            if idle {
                return;
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::TargetAwaited { name, .. } => {
                assert!(name == "iqn.later" && !self.connection.is_full_feature());
                let moved = TargetLookup::Moved { address: "192.0.2.2:3260".into(), permanent: true };
                self.connection.answer_lookup(moved, &self.directory, self.now);
            }
            Event::LoginReady(summary) => {
                assert!(!self.connection.is_full_feature() && !summary.initiator_name.is_empty());
                self.connection.accept_login(7, self.now);
                assert!(self.connection.is_full_feature());
            }
            Event::Command(command) => {
                let live = Live { data_out: command.data_out, data_in: command.data_in, ..Live::default() };
                assert!(self.live.insert(command.tag, live).is_none(), "two tasks with tag {}", command.tag);
                self.allowance += 4;
                let held = core::mem::take(&mut self.held);
                self.carry_out(command.tag, command.cdb.as_bytes());
                held.into_iter().for_each(|tag| self.answer(tag, ReplyData::None, 0));
            }
            Event::DataReady { .. } if self.ended => {}
            Event::DataReady { tag } => self.data_ready(*tag),
            Event::Function(function) => {
                match function.function {
                    1 => self.forget(function.referenced),
                    2 | 5..=7 | 11 => self.live.keys().copied().collect::<Vec<_>>().into_iter().for_each(|tag| self.forget(tag)),
                    _ => {}
                }
                self.connection.function_response(function.tag, FunctionCode::COMPLETE);
            }
            Event::Logout | Event::Close { .. } => {
                self.ended = true;
                self.allowance += 2;
            }
        }
    }

    fn forget(&mut self, tag: u32) {
        if self.live.remove(&tag).is_some() {
            self.held.retain(|held| *held != tag);
            self.arrived.remove(&tag);
            self.forgotten.insert(tag);
            self.connection.forget(tag);
        }
    }

    /// The CDB is the script of the unit.
    fn carry_out(&mut self, tag: u32, cdb: &[u8]) {
        assert!(cdb.len() >= 16, "a CDB field has 16 bytes");
        // More than a burst, but not so much that one command takes all the time.
        let amount = u32::from(u16::from_be_bytes([cdb[7], cdb[8]])) % 20_000;
        let Some(live) = self.live.get_mut(&tag) else { return };
        match cdb[0] {
            0x28 => self.answer(tag, ReplyData::Task { len: amount }, 0),
            0x12 => self.answer(tag, ReplyData::Inline(vec![0x5a; amount.try_into().unwrap_or(0)]), 0),
            0x2a => {
                let len = if cdb[1] & 1 != 0 { amount } else { u32::MAX };
                live.fetching = Some(len.min(live.data_out).min(MAX_TASK_BYTES));
                let len = live.fetching.unwrap_or(0);
                self.allowance += 2 + usize::try_from(len / 512).unwrap_or(0);
                self.connection.fetch(tag, len);
            }
            0x35 => self.held.push(tag),
            0xee => self.forget(tag),
            0x00 => self.answer(tag, ReplyData::None, 0),
            _ => {
                live.answer = Some((0, 0));
                let reply = Reply { status: 2, sense: vec![0x70, 0, 5, 0, 0, 0, 0, 10], data_in: ReplyData::None, data_out: 0 };
                self.connection.respond(tag, reply);
            }
        }
    }

    fn answer(&mut self, tag: u32, data_in: ReplyData, data_out: u32) {
        let Some(live) = self.live.get_mut(&tag) else { return };
        let len = match &data_in {
            ReplyData::None => 0,
            ReplyData::Inline(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            ReplyData::Task { len } => *len,
        };
        live.answer = Some((len, data_out));
        self.allowance += 2 + usize::try_from(len.min(live.data_in) / 512).unwrap_or(0) * 2;
        self.connection.respond(tag, Reply { status: 0, sense: Vec::new(), data_in, data_out });
    }

    fn data_ready(&mut self, tag: u32) {
        let Some(live) = self.live.get_mut(&tag) else {
            // The abort was in the queue before it.
            return assert!(self.forgotten.contains(&tag), "data for a task that is not there");
        };
        let len = live.fetching.take().expect("data that nobody asked for");
        live.fetched = len;
        let arrived = self.arrived.get(&tag).map_or(0, |(_, arrived)| arrived.iter().take_while(|there| **there).count());
        assert!(arrived >= len as usize, "ready with {arrived} of {len} bytes");
        // The other half of a fetch in two steps.
        let whole = live.data_out.min(MAX_TASK_BYTES);
        if len < whole && len % 2 == 1 {
            live.fetching = Some(whole);
            self.allowance += 2 + usize::try_from(whole / 512).unwrap_or(0);
            self.connection.fetch(tag, whole);
        } else {
            self.answer(tag, ReplyData::None, len);
        }
    }

    fn transmit(&mut self, transmit: &Transmit) {
        self.allowance = self.allowance.checked_sub(1).expect("more is sent than was asked for");
        let header = &transmit.header;
        let opcode = Opcode::of(header);
        let frame = HeaderFrame::new(header).expect("48 bytes");
        let len = match &transmit.data {
            TransmitData::None => 0,
            TransmitData::Inline(bytes) => bytes.len(),
            TransmitData::Task { len, .. } | TransmitData::Kept { len, .. } => *len as usize,
        };
        assert_eq!(frame.data_segment_length() as usize, len, "the header tells another length");
        assert!(frame.additional().is_empty());
        self.check_length(opcode, len);
        self.check_numbers(opcode, header);
        match opcode {
            Opcode::DATA_IN => self.check_data_in(transmit),
            Opcode::READY_TO_TRANSFER => self.check_r2t(&ReadyToTransfer::decode(header)),
            Opcode::SCSI_RESPONSE => self.check_response(&ScsiResponse::decode(header), transmit.last_of),
            _ => assert!(opcode.name().is_some() && opcode.0 >= 0x20 && transmit.last_of.is_none(), "{opcode:?}"),
        }
    }

    fn check_length(&self, opcode: Opcode, len: usize) {
        let limit = match opcode {
            Opcode::LOGIN_RESPONSE => LOGIN_SEGMENT,
            // The header of what was rejected, with its AHS.
            Opcode::REJECT => 48 + 1020,
            Opcode::SCSI_RESPONSE => 2 + 252,
            // Ping data come back as long as they came.
            Opcode::NOP_IN => INLINE_LIMIT,
            _ => self.connection.negotiated().max_xmit_data_segment_length,
        };
        assert!(len <= limit as usize, "{len} bytes in {opcode:?}");
    }

    fn check_numbers(&mut self, opcode: Opcode, header: &[u8; 48]) {
        let stat_sn = u32_at(header, 24);
        let takes = match opcode {
            Opcode::DATA_IN if !DataIn::decode(header).has_status => None,
            Opcode::READY_TO_TRANSFER => Some(0),
            Opcode::NOP_IN => Some(u32::from(NopIn::decode(header).tag != NO_TAG)),
            _ => Some(1),
        };
        if let Some(takes) = takes {
            assert!(self.stat_sn.is_none_or(|due| due == stat_sn), "StatSN {stat_sn} of {opcode:?}, {:?} was due", self.stat_sn);
            self.stat_sn = Some(stat_sn.wrapping_add(takes));
        }
        let (expected, maximum) = (u32_at(header, 28), u32_at(header, 32));
        if opcode == Opcode::LOGIN_RESPONSE {
            self.window = None;
        } else {
            let forward = |from: u32, to: u32| to.wrapping_sub(from) < 1 << 31;
            assert!(self.window.is_none_or(|(e, m)| forward(e, expected) && forward(m, maximum)), "the window moves back: {:?}", self.window);
            assert!(forward(expected.wrapping_sub(1), maximum), "MaxCmdSN {maximum} is behind ExpCmdSN {expected}");
            self.window = Some((expected, maximum));
        }
    }

    fn check_data_in(&mut self, transmit: &Transmit) {
        let pdu = DataIn::decode(&transmit.header);
        let live = self.live.get_mut(&pdu.tag).expect("Data-In for a task that is not there");
        let (len, _) = live.answer.expect("Data-In before the answer");
        let count = HeaderFrame::new(&transmit.header).map_or(0, HeaderFrame::data_segment_length);
        assert_eq!(pdu.buffer_offset, live.sent, "Data-In out of order");
        if let TransmitData::Task { tag, offset, .. } = transmit.data {
            assert_eq!((tag, offset), (pdu.tag, pdu.buffer_offset), "the payload of another task or place");
        }
        live.sent += count;
        assert!(count > 0 && live.sent <= len.min(live.data_in), "{} of {len} bytes, {} expected", live.sent, live.data_in);
        if pdu.has_status {
            assert!(pdu.is_final && transmit.last_of == Some(pdu.tag));
            assert_eq!((live.sent, pdu.residual), (len.min(live.data_in), len.abs_diff(live.data_in)));
            self.answered(pdu.tag);
        } else {
            assert!(transmit.last_of.is_none());
        }
    }

    fn check_r2t(&mut self, pdu: &ReadyToTransfer) {
        let negotiated = self.connection.negotiated();
        let Some(live) = self.live.get_mut(&pdu.tag) else {
            // It was in the queue when the task was aborted; its data will be thrown away.
            return assert!(self.forgotten.contains(&pdu.tag), "R2T for a task that is not there");
        };
        let wanted = live.fetching.expect("R2T for data that nobody wants");
        assert!(pdu.desired_length > 0 && pdu.desired_length <= negotiated.max_burst_length && pdu.transfer_tag != NO_TAG);
        assert!(pdu.buffer_offset >= live.requested, "R2Ts overlap");
        live.requested = pdu.buffer_offset + pdu.desired_length;
        assert!(live.requested <= wanted, "R2T up to {} of {wanted}", live.requested);
    }

    fn check_response(&mut self, pdu: &ScsiResponse, last_of: Option<u32>) {
        assert_eq!(last_of, Some(pdu.tag), "the payload is kept");
        assert!(!(pdu.overflow && pdu.underflow));
        if let Some(live) = self.live.get(&pdu.tag) {
            let (len, used) = live.answer.expect("a response before the answer");
            assert_eq!(live.sent, len.min(live.data_in), "the response comes before its data");
            let residual = if live.data_out > 0 { used.abs_diff(live.data_out) } else { len.abs_diff(live.data_in) };
            assert_eq!(pdu.residual, residual);
        }
        self.answered(pdu.tag);
    }

    fn answered(&mut self, tag: u32) {
        self.live.remove(&tag);
        self.arrived.remove(&tag);
        let count = self.unanswered.get_mut(&tag).expect("an answer to no command");
        *count = count.checked_sub(1).expect("more answers than commands");
    }
}

/// The model.
struct Stub {
    parameters: TargetParameters,
    targets: usize,
}

impl Directory for Stub {
    fn target(&self, name: &str, _: &str, _: IpAddr, _: SocketAddr) -> TargetLookup {
        match name {
            TARGET => TargetLookup::Found(Box::new(TargetOffer {
                tid: 1,
                name: name.into(),
                alias: None,
                parameters: self.parameters.clone(),
                authentication: Authentication::default(),
            })),
            "iqn.later" => TargetLookup::Pending,
            "iqn.moved" => TargetLookup::Moved { address: "192.0.2.1:3260".into(), permanent: false },
            _ => TargetLookup::NotFound,
        }
    }
    fn discovery(&self) -> Authentication {
        Authentication::default()
    }
    fn discovery_parameters(&self) -> TargetParameters {
        self.parameters.clone()
    }
    fn send_targets(&self, name: Option<&str>, _: &str, _: IpAddr, local: SocketAddr) -> Vec<TargetRecord> {
        let all = (0..self.targets).map(|at| if at == 0 { TARGET.to_owned() } else { format!("iqn.2026-01.test:other{at}") });
        let wanted = all.filter(|record| name.is_none_or(|name| name == record));
        wanted.map(|name| TargetRecord { name, addresses: vec![format!("{local},1")] }).collect()
    }
}
