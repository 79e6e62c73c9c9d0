//! A small scripted initiator against the target role, through the real byte stream.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::Connection;
use crate::auth::{Algorithm, decode_binary, encode_hex};
use crate::framing::{Piece, Receiver, padding_of};
use crate::interface::*;
use crate::pdu::*;

pub(super) const NAME: &str = "iqn.2026-01.test:disk";

pub(super) struct Stub {
    pub(super) parameters: TargetParameters,
    authentication: Authentication,
    discovery: Authentication,
    targets: usize,
}

impl Stub {
    pub(super) fn new(parameters: TargetParameters) -> Stub {
        Stub { parameters, authentication: Authentication::default(), discovery: Authentication::default(), targets: 3 }
    }
}

impl Directory for Stub {
    fn target(&self, name: &str, initiator: &str, _: IpAddr, _: SocketAddr) -> TargetLookup {
        match name {
            NAME if initiator == "iqn.evil" => TargetLookup::Refused,
            NAME => TargetLookup::Found(Box::new(TargetOffer {
                tid: 7,
                name: name.into(),
                alias: Some("a disk".into()),
                parameters: self.parameters.clone(),
                authentication: self.authentication.clone(),
            })),
            "iqn.moved" => TargetLookup::Moved { address: "192.0.2.1:3260".into(), permanent: false },
            "iqn.gone" => TargetLookup::Moved { address: "[2001:db8::1]:3261".into(), permanent: true },
            "iqn.offline" => TargetLookup::Unavailable,
            "iqn.broken" => TargetLookup::Failed,
            "iqn.asked" => TargetLookup::Pending,
            _ => TargetLookup::NotFound,
        }
    }
    fn discovery(&self) -> Authentication {
        self.discovery.clone()
    }
    fn discovery_parameters(&self) -> TargetParameters {
        self.parameters.clone()
    }
    fn send_targets(&self, name: Option<&str>, _: &str, _: IpAddr, local: SocketAddr) -> Vec<TargetRecord> {
        let all = (0..self.targets).map(|n| if n == 0 { NAME.to_string() } else { alloc::format!("iqn.2026-01.test:other{n:04}") });
        all.filter(|record| name.is_none_or(|name| name == record))
            .map(|name| TargetRecord { name, addresses: alloc::vec![alloc::format!("{local},1"), "[::1]:3260,1".to_string()] })
            .collect()
    }
}

pub(super) fn parameters() -> TargetParameters {
    TargetParameters {
        max_recv_data_segment_length: 8192,
        header_digest: true,
        data_digest: true,
        initial_r2t: false,
        max_outstanding_r2t: 4,
        immediate_data: true,
        first_burst_length: 4096,
        max_burst_length: 8192,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        error_recovery_level: 2,
        default_time_2_wait: 2,
        default_time_2_retain: 20,
        max_connections: 8,
        max_queue_cmd: 8,
        nop_interval: 5,
        nop_count: 2,
    }
}

/// What the target sent.
#[derive(Clone, Debug)]
struct Sent {
    header: Header,
    data: Vec<u8>,
    last_of: Option<u32>,
}

impl Sent {
    fn opcode(&self) -> Opcode {
        Opcode::of(&self.header)
    }
    fn text(&self) -> Vec<(String, String)> {
        crate::text::pairs(&self.data).unwrap().into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }
    fn value(&self, key: &str) -> Option<String> {
        self.text().into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
    fn login(&self) -> LoginResponse {
        assert_eq!(self.opcode(), Opcode::LOGIN_RESPONSE, "{}", describe(&self.header));
        LoginResponse::decode(&self.header)
    }
    fn reject(&self) -> RejectReason {
        assert_eq!(self.opcode(), Opcode::REJECT, "{}", describe(&self.header));
        RejectReason(Reject::decode(&self.header).reason)
    }
}

/// The scripted initiator with the shell in one.
struct Peer {
    connection: Connection,
    receiver: Receiver,
    stub: Stub,
    digests: (bool, bool),
    payload: BTreeMap<u32, Vec<u8>>,
    /// Payloads of answers that may be asked for again.
    kept: BTreeMap<u32, Vec<u8>>,
    inline: Vec<u8>,
    landing: Landing,
    now: u64,
    cmd_sn: u32,
    stat_sn: Option<u32>,
    max_cmd_sn: u32,
}

impl Peer {
    fn new(parameters: TargetParameters) -> Peer {
        let settings = Settings {
            crc32c: crate::crc32c,
            peer: "192.0.2.9:5000".parse().unwrap(),
            local: "192.0.2.1:3260".parse().unwrap(),
            group_tag: 1,
            entropy: [9; 32],
            login_timeout: 15_000_000_000,
            lookup_timeout: 5_000_000_000,
            data_timeout: 60_000_000_000,
            inline_limit: 65_536,
        };
        Peer {
            connection: Connection::new(settings, 0),
            receiver: Receiver::new(crate::crc32c, 1 << 20),
            stub: Stub::new(parameters),
            digests: (false, false),
            payload: BTreeMap::new(),
            kept: BTreeMap::new(),
            inline: Vec::new(),
            landing: Landing::None,
            now: 0,
            cmd_sn: 100,
            stat_sn: None,
            max_cmd_sn: 100,
        }
    }

    fn with_chap() -> Peer {
        let mut peer = Peer::new(parameters());
        peer.stub.authentication = Authentication {
            incoming: alloc::vec![Account { user: "user1".into(), password: b"password1234".to_vec() }],
            outgoing: Some(Account { user: "user2".into(), password: b"password5678".to_vec() }),
        };
        peer
    }

    /// Header (and AHS) with its data as bytes of the stream.
    fn wire(&self, header: &[u8], data: &[u8]) -> Vec<u8> {
        let mut header = header.to_vec();
        header[5..8].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes()[1..]);
        header[4] = u8::try_from((header.len() - 48) / 4).unwrap();
        let mut bytes = header.clone();
        if self.digests.0 {
            bytes.extend_from_slice(&crate::crc32c(0, &header).to_le_bytes());
        }
        let mut data = data.to_vec();
        let padding = padding_of(u32::try_from(data.len()).unwrap());
        data.resize(data.len() + padding, 0);
        bytes.extend_from_slice(&data);
        if self.digests.1 && !data.is_empty() {
            bytes.extend_from_slice(&crate::crc32c(0, &data).to_le_bytes());
        }
        bytes
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        loop {
            let (count, piece) = self.receiver.advance(bytes);
            let done = piece.is_none();
            match piece {
                None => {}
                Some(Piece::Header(header)) => {
                    self.landing = self.connection.handle_header(header, &self.stub, self.now);
                    self.inline.clear();
                }
                Some(Piece::Data { offset, bytes }) => match self.landing {
                    Landing::None => panic!("data without landing"),
                    Landing::Inline { .. } => self.inline.extend_from_slice(bytes),
                    Landing::Discard { .. } => {}
                    Landing::Task { tag, offset: start, len } => {
                        let at = (start + offset) as usize;
                        assert!(offset as usize + bytes.len() <= len as usize);
                        let payload = self.payload.entry(tag).or_default();
                        if payload.len() < at + bytes.len() {
                            payload.resize(at + bytes.len(), 0);
                        }
                        payload[at..at + bytes.len()].copy_from_slice(bytes);
                    }
                },
                Some(Piece::End { digest_ok }) => {
                    let inline = core::mem::take(&mut self.inline);
                    self.connection.handle_data(&inline, digest_ok, &self.stub, self.now);
                    let (header, data) = self.connection.digests();
                    self.receiver.set_digests(header, data);
                }
                Some(Piece::HeaderDigestError) => self.connection.handle_broken_stream("header digest error"),
                Some(Piece::TooLong) => self.connection.handle_broken_stream("too long"),
            }
            bytes = &bytes[count..];
            if done {
                return;
            }
        }
    }

    fn send(&mut self, header: &[u8], data: &[u8]) {
        let bytes = self.wire(header, data);
        self.feed(&bytes);
    }

    /// Everything that is to be sent; StatSN, windows and lengths are checked on the way.
    fn sent(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit() {
            let data = match transmit.data {
                TransmitData::None => Vec::new(),
                TransmitData::Inline(bytes) => bytes,
                TransmitData::Task { tag, offset, len } => {
                    let payload = self.payload.entry(tag).or_default();
                    payload[offset as usize..(offset + len) as usize].to_vec()
                }
                TransmitData::Kept { stat_sn, offset, len } => self.kept[&stat_sn][offset as usize..(offset + len) as usize].to_vec(),
            };
            let sent = Sent { header: transmit.header, data, last_of: transmit.last_of };
            assert_eq!(HeaderFrame::new(&sent.header).unwrap().data_segment_length() as usize, sent.data.len());
            self.check_numbers(&sent);
            if let Some(payload) = sent.last_of.and_then(|tag| self.payload.remove(&tag))
                && let Some(stat_sn) = transmit.keep_as
            {
                self.kept.insert(stat_sn, payload);
            }
            all.push(sent);
        }
        all
    }

    fn check_numbers(&mut self, sent: &Sent) {
        let stat_sn = u32_at(&sent.header, 24);
        let takes = match sent.opcode() {
            Opcode::DATA_IN => {
                if !DataIn::decode(&sent.header).has_status {
                    return;
                }
                true
            }
            Opcode::READY_TO_TRANSFER => false,
            Opcode::NOP_IN => NopIn::decode(&sent.header).tag != NO_TAG,
            _ => true,
        };
        if let Some(expected) = self.stat_sn {
            if self.connection.recovers() && stat_sn.wrapping_sub(expected).cast_signed() < 0 {
                // Sent again.
                return;
            }
            assert_eq!(stat_sn, expected, "StatSN of {}", describe(&sent.header));
        }
        self.stat_sn = Some(stat_sn.wrapping_add(u32::from(takes)));
        let max = u32_at(&sent.header, 32);
        assert!(max.wrapping_sub(self.max_cmd_sn).cast_signed() >= 0 || sent.opcode() == Opcode::LOGIN_RESPONSE, "MaxCmdSN moved back");
        self.max_cmd_sn = max;
    }

    fn one(&mut self) -> Sent {
        let mut all = self.sent();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.connection.poll_event()).collect()
    }

    fn login_request(&self, stages: (u8, u8), transit: bool) -> LoginRequest {
        LoginRequest {
            immediate: true,
            transit,
            current_stage: stages.0,
            next_stage: stages.1,
            isid: [0x80, 1, 2, 3, 4, 5],
            tag: 1,
            cid: 3,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 77,
            ..LoginRequest::default()
        }
    }

    /// One Login Request with these keys; the answer.
    fn login(&mut self, stages: (u8, u8), keys: &[&str]) -> Sent {
        let request = self.login_request(stages, stages.1 != 0);
        self.send(&request.encode(), &text(keys));
        self.one()
    }

    /// The shell's yes, and the final Login Response.
    fn accept(&mut self) -> Sent {
        let events = self.events();
        let Some(Event::LoginReady(summary)) = events.last() else { panic!("{events:?}") };
        assert_eq!(self.connection.summary(), Some(summary));
        self.connection.accept_login(42, self.now);
        let sent = self.one();
        assert_eq!((sent.login().status, sent.login().tsih, sent.login().transit, sent.login().next_stage), (0, 42, true, 3));
        let (header, data) = self.connection.digests();
        self.receiver.set_digests(header, data);
        self.digests = (header, data);
        sent
    }

    fn logged_in(parameters: TargetParameters, keys: &[&str]) -> Peer {
        Peer::logged_in_at(100, parameters, keys)
    }

    /// The same, with `cmd_sn` as the first CmdSN.
    fn logged_in_at(cmd_sn: u32, parameters: TargetParameters, keys: &[&str]) -> Peer {
        let mut peer = Peer { cmd_sn, max_cmd_sn: cmd_sn, ..Peer::new(parameters) };
        let mut all = alloc::vec!["InitiatorName=iqn.me", "TargetName=iqn.2026-01.test:disk"];
        all.extend_from_slice(keys);
        let request = peer.login_request((1, 3), true);
        peer.send(&request.encode(), &text(&all));
        if peer.connection.poll_event().is_none() {
            // The target made offers: accept each as it is.
            let offers: Vec<String> = peer
                .one()
                .text()
                .into_iter()
                .filter(|(key, _)| !key.starts_with("Target") && key != "MaxRecvDataSegmentLength")
                .filter(|(key, _)| !keys.iter().any(|own| own.starts_with(&alloc::format!("{key}="))))
                .map(|(key, value)| alloc::format!("{key}={}", value.split(',').next().unwrap()))
                .collect();
            let offers: Vec<&str> = offers.iter().map(String::as_str).collect();
            peer.send(&request.encode(), &text(&offers));
            peer.accept();
            return peer;
        }
        peer.connection.accept_login(42, 0);
        peer.one();
        peer
    }

    fn discovery() -> Peer {
        let mut peer = Peer::new(parameters());
        let request = peer.login_request((1, 3), true);
        peer.send(&request.encode(), &text(&["InitiatorName=iqn.me", "SessionType=Discovery", "HeaderDigest=None", "DataDigest=None"]));
        peer.accept();
        peer
    }

    fn next_cmd_sn(&mut self) -> u32 {
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.cmd_sn.wrapping_sub(1)
    }

    fn write(&mut self, tag: u32, length: u32, is_final: bool) -> ScsiCommand {
        let cmd_sn = self.next_cmd_sn();
        ScsiCommand { write: true, is_final, attribute: 1, tag, expected_length: length, cmd_sn, cdb: [0x2a; 16], ..ScsiCommand::default() }
    }

    fn read(&mut self, tag: u32, length: u32) -> ScsiCommand {
        let cmd_sn = self.next_cmd_sn();
        ScsiCommand { read: true, is_final: true, attribute: 1, tag, expected_length: length, cmd_sn, cdb: [0x28; 16], ..ScsiCommand::default() }
    }

    fn text_request(&mut self, is_final: bool, transfer_tag: u32) -> TextRequest {
        let cmd_sn = self.next_cmd_sn();
        TextRequest { is_final, tag: 50, transfer_tag, cmd_sn, ..TextRequest::default() }
    }

    fn closed(&mut self) -> String {
        match self.events().pop() {
            Some(Event::Close { reason }) => reason,
            other => panic!("not closed: {other:?}"),
        }
    }
}

fn text(keys: &[&str]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.bytes().chain([0])).collect()
}

fn good(data_in: ReplyData, data_out: u32) -> Reply {
    Reply { status: 0, sense: Vec::new(), data_in, data_out }
}

fn command_tags(events: &[Event]) -> Vec<u32> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Command(command) => Some(command.tag),
            _ => None,
        })
        .collect()
}

mod full_feature;
mod garbage;
mod login;
mod management;
mod recovery;
mod text_phase;
mod window_model;

const NAMES: [&str; 2] = ["InitiatorName=iqn.me", "TargetName=iqn.2026-01.test:disk"];
