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

mod recovery;
mod window_model;

const NAMES: [&str; 2] = ["InitiatorName=iqn.me", "TargetName=iqn.2026-01.test:disk"];

mod login {
    use super::*;

    #[test]
    fn security_then_operational() {
        let mut peer = Peer::new(parameters());
        let first = peer.login((0, 1), &[NAMES[0], NAMES[1], "AuthMethod=CHAP,None"]);
        assert_eq!(
            first.text(),
            [("TargetAlias", "a disk"), ("TargetPortalGroupTag", "1"), ("AuthMethod", "None")].map(|(k, v)| (k.to_string(), v.to_string()))
        );
        let login = first.login();
        assert_eq!((login.transit, login.current_stage, login.next_stage, login.tsih, login.status), (true, 0, 1, 0, 0));
        assert_eq!((login.stat_sn, login.exp_cmd_sn, login.max_cmd_sn, login.tag), (77, 100, 107, 1));
        assert_eq!(login.isid, [0x80, 1, 2, 3, 4, 5]);
        let keys = [
            "HeaderDigest=CRC32C,None",
            "DataDigest=None",
            "InitialR2T=No",
            "MaxOutstandingR2T=16",
            "FirstBurstLength=262144",
            "MaxBurstLength=16776192",
        ];
        peer.send(&peer.login_request((1, 3), true).encode(), &text(&keys));
        assert!(peer.sent().is_empty(), "the final response waits for the shell");
        let last = peer.accept();
        assert_eq!(last.value("FirstBurstLength").as_deref(), Some("4096"));
        assert_eq!(last.value("MaxBurstLength").as_deref(), Some("8192"));
        assert_eq!(last.value("MaxRecvDataSegmentLength").as_deref(), Some("8192"));
        assert_eq!(last.login().stat_sn, 78);
        let negotiated = peer.connection.negotiated();
        assert!(negotiated.header_digest && !negotiated.data_digest && !negotiated.initial_r2t);
        assert_eq!((negotiated.max_outstanding_r2t, negotiated.max_connections, negotiated.error_recovery_level), (4, 1, 0));
        assert_eq!(peer.connection.summary().unwrap().target, Some((7, NAME.to_string())));
    }

    #[test]
    fn security_straight_to_full_feature() {
        let mut peer = Peer::new(parameters());
        peer.send(&peer.login_request((0, 3), true).encode(), &text(&NAMES));
        peer.accept();
        assert!(peer.connection.is_full_feature());
    }

    #[test]
    fn slow_talkers_may_stay_in_a_stage() {
        let mut peer = Peer::new(parameters());
        let answer = peer.login((0, 0), &NAMES);
        assert!(!answer.login().transit);
        let answer = peer.login((0, 1), &["AuthMethod=None"]);
        assert!(answer.login().transit);
        let answer = peer.login((1, 0), &["MaxRecvDataSegmentLength=65536"]);
        assert_eq!(answer.value("MaxRecvDataSegmentLength").as_deref(), Some("8192"));
        assert_eq!(answer.text().len(), 1, "declarations are not answered");
        let keys = ["HeaderDigest=None", "DataDigest=None", "InitialR2T=Yes", "MaxOutstandingR2T=1", "FirstBurstLength=512", "MaxBurstLength=512"];
        peer.send(&peer.login_request((1, 3), true).encode(), &text(&keys));
        peer.accept();
        assert_eq!(peer.connection.negotiated().max_xmit_data_segment_length, 65_536);
    }

    #[test]
    fn text_goes_over_several_requests() {
        let mut peer = Peer::new(parameters());
        let whole = text(&NAMES);
        let (first, rest) = whole.split_at(17);
        let mut request = peer.login_request((0, 0), false);
        request.continues = true;
        peer.send(&request.encode(), first);
        let answer = peer.one();
        assert!(answer.data.is_empty() && !answer.login().transit && !answer.login().continues);
        peer.send(&peer.login_request((0, 1), true).encode(), rest);
        assert_eq!(peer.one().value("TargetPortalGroupTag").as_deref(), Some("1"));
        request.transit = true;
        request.next_stage = 3;
        request.current_stage = 1;
        peer.send(&request.encode(), b"");
        assert_eq!(peer.one().login().status, 0x0200, "T and C together");
    }

    #[test]
    fn a_long_answer_is_cut_and_fetched() {
        let mut peer = Peer::new(parameters());
        let mut keys: Vec<String> = NAMES.iter().map(|key| key.to_string()).collect();
        keys.extend((0..200).map(|n| alloc::format!("X-com.example.some-rather-long-key-name-number-{n:04}=1")));
        let mut whole = keys.iter().flat_map(|key| key.bytes().chain([0])).collect::<Vec<u8>>();
        let rest = whole.split_off(8000);
        let mut request = peer.login_request((0, 0), false);
        request.continues = true;
        peer.send(&request.encode(), &whole);
        peer.one();
        peer.send(&peer.login_request((0, 1), true).encode(), &rest);
        let mut answer = Vec::new();
        let mut sent = peer.one();
        while sent.login().continues {
            assert!(!sent.login().transit);
            answer.extend_from_slice(&sent.data);
            sent = peer.login((0, 1), &[]);
        }
        answer.extend_from_slice(&sent.data);
        assert!(sent.login().transit);
        let pairs = crate::text::pairs(&answer).unwrap();
        assert_eq!(pairs.iter().filter(|(_, value)| *value == "NotUnderstood").count(), 200);
    }

    #[test]
    fn the_target_offers_what_it_wants_to_change() {
        let mut peer = Peer::new(TargetParameters { immediate_data: false, header_digest: false, data_digest: false, ..parameters() });
        let answer = peer.login((1, 3), &[NAMES[0], NAMES[1], "InitialR2T=Yes", "MaxOutstandingR2T=1", "FirstBurstLength=512"]);
        assert!(!answer.login().transit);
        assert_eq!(answer.value("ImmediateData").as_deref(), Some("No"));
        assert_eq!(answer.value("MaxBurstLength").as_deref(), Some("8192"));
        assert_eq!(answer.value("InitialR2T").as_deref(), Some("Yes"));
        peer.send(&peer.login_request((1, 3), true).encode(), &text(&["ImmediateData=No", "MaxBurstLength=4096"]));
        let last = peer.accept();
        assert_eq!(last.value("ImmediateData"), None, "an answer is not answered");
        let negotiated = peer.connection.negotiated();
        assert_eq!((negotiated.immediate_data, negotiated.max_burst_length), (false, 4096));
    }

    #[test]
    fn an_initiator_that_ignores_offers_gets_the_defaults() {
        let mut peer = Peer::new(TargetParameters { immediate_data: false, header_digest: false, data_digest: false, ..parameters() });
        let answer = peer.login((1, 3), &[NAMES[0], NAMES[1], "InitialR2T=Yes", "MaxOutstandingR2T=1", "FirstBurstLength=512"]);
        assert!(!answer.login().transit);
        peer.send(&peer.login_request((1, 3), true).encode(), &[]);
        peer.accept();
        let negotiated = peer.connection.negotiated();
        assert_eq!((negotiated.immediate_data, negotiated.max_burst_length), (true, 262_144));
    }

    /// First request with these stages and keys: status, and the connection closes.
    fn refused(stages: (u8, u8), keys: &[&str], status: u16) {
        let mut peer = Peer::new(parameters());
        let sent = peer.login(stages, keys);
        assert_eq!(sent.login().status, status, "{stages:?} {keys:?}");
        assert!(!sent.login().transit);
        assert!(peer.closed().starts_with("login refused"));
    }

    #[test]
    fn refusals_have_their_status() {
        refused((0, 1), &[NAMES[1]], 0x0207);
        refused((0, 1), &[NAMES[0]], 0x0207);
        refused((0, 1), &[NAMES[0], "SessionType=Other", NAMES[1]], 0x0209);
        refused((0, 1), &[NAMES[0], "TargetName=iqn.none"], 0x0203);
        refused((0, 1), &["InitiatorName=iqn.evil", NAMES[1]], 0x0203);
        refused((0, 1), &[NAMES[0], "TargetName=iqn.offline"], 0x0301);
        refused((0, 1), &[NAMES[0], "InitiatorName=iqn.again", NAMES[1]], 0x0200);
        refused((1, 3), &[NAMES[0], NAMES[1], "InitialR2T=No", "InitialR2T=No"], 0x0200);
        refused((0, 1), &[NAMES[0], NAMES[1], "AuthMethod=KRB5"], 0x0201);
        refused((0, 1), &[NAMES[0], NAMES[1], "AuthMethod=CHAP"], 0x0201);
        refused((0, 1), &[NAMES[0], NAMES[1], "CHAP_A=5"], 0x0200);
        refused((0, 1), &["novalue"], 0x0200);
        refused((0, 1), &["InitiatorName=", NAMES[1]], 0x0200);
        refused((2, 3), &NAMES, 0x0200);
        refused((3, 3), &NAMES, 0x0200);
        refused((1, 1), &NAMES, 0x0200);
        refused((0, 2), &NAMES, 0x0200);
    }

    #[test]
    fn other_versions_and_changed_identities_are_refused() {
        let mut peer = Peer::new(parameters());
        peer.send(&LoginRequest { version_min: 1, version_max: 1, ..peer.login_request((0, 1), true) }.encode(), &text(&NAMES));
        assert_eq!(peer.one().login().status, 0x0205);
        for change in [
            |request: &mut LoginRequest| request.isid[5] ^= 1,
            |request: &mut LoginRequest| request.tsih = 5,
            |request: &mut LoginRequest| request.cid = 9,
            |request: &mut LoginRequest| request.current_stage = 0,
        ] {
            let mut peer = Peer::new(parameters());
            peer.login((0, 1), &NAMES);
            let mut request = peer.login_request((1, 3), true);
            change(&mut request);
            peer.send(&request.encode(), b"");
            assert_eq!(peer.one().login().status, 0x0200);
        }
    }

    #[test]
    fn a_moved_target_is_told_with_its_address() {
        for (name, status, address) in [("iqn.moved", 0x0101, "192.0.2.1:3260"), ("iqn.gone", 0x0102, "[2001:db8::1]:3261")] {
            let mut peer = Peer::new(parameters());
            let sent = peer.login((0, 1), &[NAMES[0], &alloc::format!("TargetName={name}")]);
            assert_eq!(sent.login().status, status);
            assert_eq!(sent.value("TargetAddress").as_deref(), Some(address));
        }
    }

    const ASKED: [&str; 2] = ["InitiatorName=iqn.me", "TargetName=iqn.asked"];

    /// A login that waits for an answer about its target.
    fn awaiting(stages: (u8, u8), more: &[&str]) -> Peer {
        let mut peer = Peer::new(parameters());
        let request = peer.login_request(stages, true);
        peer.now = 1000;
        peer.send(&request.encode(), &text(&[&ASKED[..], more].concat()));
        assert_eq!(peer.events(), [Event::TargetAwaited { name: "iqn.asked".into(), initiator: "iqn.me".into() }]);
        assert!(peer.sent().is_empty());
        peer
    }

    fn offer(peer: &Peer) -> TargetLookup {
        peer.stub.target(NAME, "iqn.me", "192.0.2.9".parse().unwrap(), "192.0.2.1:3260".parse().unwrap())
    }

    #[test]
    fn a_login_waits_until_its_target_is_found() {
        let mut peer = awaiting((0, 1), &["AuthMethod=None"]);
        peer.connection.handle_timeout(&peer.stub, 1000);
        assert!(peer.events().is_empty(), "the time is not over");
        let found = offer(&peer);
        peer.connection.answer_lookup(found, &peer.stub, 2000);
        let sent = peer.one();
        assert_eq!((sent.login().status, sent.login().transit, sent.login().next_stage), (0, true, 1));
        assert_eq!((sent.value("AuthMethod").as_deref(), sent.value("TargetPortalGroupTag").as_deref()), (Some("None"), Some("1")));
        peer.login((1, 3), &[]);
        assert_eq!(peer.connection.poll_timeout(), Some(15_000_000_000), "only the limit of the login is left");
        peer.connection.answer_lookup(TargetLookup::NotFound, &peer.stub, 3000);
        assert!(peer.sent().is_empty() && peer.events().is_empty(), "a second answer changes nothing");
    }

    #[test]
    fn a_login_in_one_request_waits_too() {
        let mut peer = awaiting((1, 3), &["HeaderDigest=None", "DataDigest=None", "InitialR2T=Yes", "ImmediateData=Yes"]);
        let found = offer(&peer);
        peer.connection.answer_lookup(found, &peer.stub, 2000);
        if peer.connection.summary().is_none() {
            assert_eq!(peer.one().login().status, 0);
            peer.send(&peer.login_request((1, 3), true).encode(), b"");
        }
        peer.accept();
        assert!(peer.connection.is_full_feature());
    }

    #[test]
    fn every_answer_about_a_target_has_its_status() {
        let moved = |permanent| TargetLookup::Moved { address: "[2001:db8::9]:3261".into(), permanent };
        for (answer, status, address) in [
            (moved(false), 0x0101, Some("[2001:db8::9]:3261")),
            (moved(true), 0x0102, Some("[2001:db8::9]:3261")),
            (TargetLookup::NotFound, 0x0203, None),
            (TargetLookup::Refused, 0x0203, None),
            (TargetLookup::Unavailable, 0x0301, None),
            (TargetLookup::Failed, 0x0300, None),
            (TargetLookup::Pending, 0x0300, None),
        ] {
            let mut peer = awaiting((0, 1), &[]);
            peer.connection.answer_lookup(answer, &peer.stub, 2000);
            let sent = peer.one();
            assert_eq!((sent.login().status, sent.value("TargetAddress").as_deref()), (status, address));
            peer.closed();
            assert_eq!(peer.connection.poll_timeout(), None);
        }
        let mut peer = Peer::new(parameters());
        assert_eq!(peer.login((0, 1), &[NAMES[0], "TargetName=iqn.broken"]).login().status, 0x0300);
    }

    #[test]
    fn an_answer_about_a_target_that_does_not_come_is_0301() {
        let mut peer = awaiting((0, 1), &[]);
        assert_eq!(peer.connection.poll_timeout(), Some(5_000_001_000));
        peer.connection.handle_timeout(&peer.stub, 5_000_000_999);
        assert!(peer.sent().is_empty());
        peer.connection.handle_timeout(&peer.stub, 5_000_001_000);
        assert_eq!(peer.one().login().status, 0x0301);
        assert_eq!(peer.closed(), "login refused: service unavailable (0301)");
        let found = offer(&peer);
        peer.connection.answer_lookup(found, &peer.stub, 6_000_000_000);
        assert!(peer.sent().is_empty() && peer.events().is_empty(), "it comes too late");
    }

    #[test]
    fn who_does_not_wait_for_the_answer_about_its_target_is_cut() {
        let mut peer = awaiting((0, 1), &[]);
        peer.send(&peer.login_request((0, 1), true).encode(), &text(&ASKED));
        assert!(peer.sent().is_empty());
        peer.closed();
        peer.connection.answer_lookup(TargetLookup::Unavailable, &peer.stub, 2000);
        assert!(peer.sent().is_empty() && peer.events().is_empty());
    }

    #[test]
    fn the_shell_may_refuse() {
        let mut peer = Peer::new(parameters());
        let request = LoginRequest { tsih: 9, ..peer.login_request((0, 3), true) };
        peer.send(&request.encode(), &text(&NAMES));
        assert!(matches!(&peer.events()[..], [Event::LoginReady(summary)] if summary.tsih == 9 && summary.cid == 3));
        peer.connection.refuse_login(LoginStatus::SESSION_DOES_NOT_EXIST, 0);
        let sent = peer.one();
        assert_eq!((sent.login().status, sent.login().transit, sent.login().tsih), (0x020a, false, 9));
        assert_eq!(peer.closed(), "login refused: session does not exist (020a)");
    }

    #[test]
    fn other_pdus_end_a_login() {
        for opcode in (0..=0x3f).filter(|&opcode| opcode != 3) {
            let mut peer = Peer::new(parameters());
            let mut header = [0; 48];
            header[0] = opcode;
            peer.send(&header, b"");
            assert!(peer.sent().is_empty(), "before the first Login Request the connection just closes");
            peer.closed();
            let mut peer = Peer::new(parameters());
            peer.login((0, 1), &NAMES);
            peer.send(&header, b"data");
            assert_eq!(peer.one().login().status, 0x020b);
            peer.closed();
        }
    }

    #[test]
    fn endless_logins_end() {
        let mut peer = Peer::new(parameters());
        let mut status = 0;
        for _ in 0..40 {
            status = peer.login((0, 0), &NAMES).login().status;
            if status != 0 {
                break;
            }
        }
        assert_eq!(status, 0x0200);
        let mut peer = Peer::new(parameters());
        assert_eq!(peer.connection.poll_timeout(), Some(15_000_000_000));
        peer.connection.handle_timeout(&peer.stub, 15_000_000_000);
        assert_eq!(peer.closed(), "the login takes too long");
        let mut peer = Peer::new(parameters());
        peer.send(&peer.login_request((0, 1), true).encode(), &[b'x'; 9000]);
        assert_eq!(peer.one().login().status, 0x0200);
    }

    fn chap(peer: &mut Peer, algorithm: Algorithm, secret: &[u8], more: &[&str]) -> Sent {
        peer.login((0, 1), &[NAMES[0], NAMES[1], "AuthMethod=CHAP,None"]);
        let asked = peer.login((0, 0), &[&alloc::format!("CHAP_A=99,{}", algorithm.number())]);
        let identifier = asked.value("CHAP_I").unwrap().parse().unwrap();
        let challenge = decode_binary(&asked.value("CHAP_C").unwrap()).unwrap();
        let response = alloc::format!("CHAP_R={}", encode_hex(&algorithm.response(identifier, secret, &challenge)));
        let mut keys = alloc::vec!["CHAP_N=user1", response.as_str()];
        keys.extend_from_slice(more);
        peer.login((0, 1), &keys)
    }

    #[test]
    fn chap_both_ways() {
        for algorithm in Algorithm::ALL {
            let mut peer = Peer::with_chap();
            let proof = chap(&mut peer, algorithm, b"password1234", &["CHAP_I=200", "CHAP_C=0x0102"]);
            assert!(proof.login().transit);
            assert_eq!(proof.value("CHAP_N").as_deref(), Some("user2"));
            assert_eq!(proof.value("CHAP_R"), Some(encode_hex(&algorithm.response(200, b"password5678", &[1, 2]))));
            peer.send(&peer.login_request((1, 3), true).encode(), &text(&["HeaderDigest=None", "DataDigest=None"]));
        }
        let mut peer = Peer::with_chap();
        assert_eq!(chap(&mut peer, Algorithm::Md5, b"password9999", &[]).login().status, 0x0201);
        let mut peer = Peer::with_chap();
        assert_eq!(chap(&mut peer, Algorithm::Md5, b"password1234", &["CHAP_I=1"]).login().status, 0x0207);
        let mut peer = Peer::with_chap();
        peer.stub.authentication.outgoing = None;
        assert_eq!(chap(&mut peer, Algorithm::Md5, b"password1234", &["CHAP_I=1", "CHAP_C=0x01"]).login().status, 0x0201);
    }

    #[test]
    fn accounts_cannot_be_passed_by() {
        for (stages, keys) in [((1, 3), &NAMES[..]), ((0, 3), &NAMES[..]), ((0, 1), &[NAMES[0], NAMES[1], "AuthMethod=None"][..])] {
            let mut peer = Peer::with_chap();
            assert_eq!(peer.login(stages, keys).login().status, 0x0201, "{stages:?}");
        }
        let mut peer = Peer::with_chap();
        let answer = peer.login((0, 3), &[NAMES[0], NAMES[1], "AuthMethod=CHAP"]);
        assert!(!answer.login().transit);
        assert_eq!(peer.login((0, 3), &[]).login().status, 0x0207);
        let mut peer = Peer::with_chap();
        peer.login((0, 1), &[NAMES[0], NAMES[1], "AuthMethod=CHAP"]);
        assert_eq!(peer.login((0, 1), &["CHAP_A=1,2"]).login().status, 0x0201);
    }
}

mod text_phase {
    use super::*;

    #[test]
    fn discovery_lists_every_portal() {
        let mut peer = Peer::discovery();
        let request = peer.text_request(true, NO_TAG);
        peer.send(&request.encode(), &text(&["SendTargets=All"]));
        let sent = peer.one();
        let response = TextResponse::decode(&sent.header);
        assert_eq!((response.is_final, response.continues, response.transfer_tag), (true, false, NO_TAG));
        assert_eq!(sent.text().len(), 9);
        assert_eq!(
            sent.text()[..3],
            [("TargetName", NAME), ("TargetAddress", "192.0.2.1:3260,1"), ("TargetAddress", "[::1]:3260,1")]
                .map(|(k, v)| (k.to_string(), v.to_string()))
        );
        for (question, answer) in [
            ("SendTargets=", "SendTargets=Reject\0"),
            ("SendTargets=iqn.none", ""),
            ("X-foo=1", "X-foo=NotUnderstood\0"),
            ("InitialR2T=No", "InitialR2T=Reject\0"),
        ] {
            let request = peer.text_request(true, NO_TAG);
            peer.send(&request.encode(), &text(&[question]));
            assert_eq!(peer.one().data, answer.as_bytes());
        }
    }

    #[test]
    fn a_normal_session_asks_about_its_own_target() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        for (question, count) in [("SendTargets=", 3), ("SendTargets=iqn.2026-01.test:disk", 3), ("SendTargets=All", 1)] {
            let request = peer.text_request(true, NO_TAG);
            peer.send(&request.encode(), &text(&[question]));
            assert_eq!(peer.one().text().len(), count, "{question}");
        }
    }

    #[test]
    fn a_question_in_the_middle_of_an_answer_is_refused() {
        let mut peer = Peer::discovery();
        peer.stub.targets = 500;
        let request = peer.text_request(true, NO_TAG);
        peer.send(&request.encode(), &text(&["SendTargets=All"]));
        let transfer_tag = TextResponse::decode(&peer.one().header).transfer_tag;
        let request = TextRequest { continues: true, ..peer.text_request(false, transfer_tag) };
        peer.send(&request.encode(), b"");
        assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
    }

    #[test]
    fn long_answers_go_on() {
        let mut peer = Peer::discovery();
        peer.stub.targets = 500;
        let request = peer.text_request(true, NO_TAG);
        peer.send(&request.encode(), &text(&["SendTargets=All"]));
        let mut answer = Vec::new();
        loop {
            let sent = peer.one();
            let response = TextResponse::decode(&sent.header);
            assert!(sent.data.len() <= 8192);
            answer.extend_from_slice(&sent.data);
            assert_eq!(response.is_final, !response.continues);
            if response.is_final {
                break;
            }
            assert_ne!(response.transfer_tag, NO_TAG);
            let request = peer.text_request(true, response.transfer_tag);
            peer.send(&request.encode(), b"");
        }
        assert_eq!(crate::text::pairs(&answer).map(|pairs| pairs.len()), Err(crate::text::TextError::TooLong));
        assert_eq!(answer.iter().filter(|&&byte| byte == 0).count(), 1500);
    }

    #[test]
    fn questions_over_several_requests() {
        let mut peer = Peer::discovery();
        let mut request = peer.text_request(false, NO_TAG);
        request.continues = true;
        peer.send(&request.encode(), b"SendTar");
        let sent = peer.one();
        let response = TextResponse::decode(&sent.header);
        assert!(sent.data.is_empty() && !response.is_final && response.transfer_tag != NO_TAG);
        let request = peer.text_request(false, response.transfer_tag);
        peer.send(&request.encode(), b"gets=All\0");
        let sent = peer.one();
        assert_eq!(sent.text().len(), 9);
        assert!(!TextResponse::decode(&sent.header).is_final, "the initiator was not done");
        let request = peer.text_request(true, TextResponse::decode(&sent.header).transfer_tag);
        peer.send(&request.encode(), b"");
        assert!(TextResponse::decode(&peer.one().header).is_final);
        let request = peer.text_request(true, 999);
        peer.send(&request.encode(), b"");
        assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
        let request = peer.text_request(true, NO_TAG);
        peer.send(&request.encode(), &text(&["SendTargets=All", "SendTargets=All"]));
        assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
    }

    #[test]
    fn discovery_sessions_take_nothing_else() {
        let mut peer = Peer::discovery();
        let command = peer.read(5, 512);
        peer.send(&command.encode(), b"");
        assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
        peer.send(&NopOut { immediate: true, tag: 9, ..NopOut::default() }.encode(), b"");
        assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
        assert!(peer.events().is_empty());
        assert_eq!(peer.connection.poll_timeout(), None, "no pings");
    }
}

mod full_feature {
    use super::*;

    pub const NO_R2T: [&str; 6] =
        ["InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=4096", "MaxBurstLength=8192", "MaxOutstandingR2T=4", "HeaderDigest=None"];

    #[test]
    fn a_read_is_cut_and_its_status_collapsed() {
        let mut peer = Peer::logged_in(parameters(), &["MaxRecvDataSegmentLength=4096"]);
        let command = peer.read(5, 20_000);
        peer.send(&command.encode(), b"");
        assert_eq!(command_tags(&peer.events()), [5]);
        let bytes: Vec<u8> = (0..18_000u32).map(|n| n.to_le_bytes()[0]).collect();
        peer.payload.insert(5, bytes.clone());
        peer.connection.respond(5, good(ReplyData::Task { len: 18_000 }, 0));
        let sent = peer.sent();
        let pdus: Vec<DataIn> = sent.iter().map(|sent| DataIn::decode(&sent.header)).collect();
        assert_eq!(sent.iter().map(|sent| sent.data.len()).collect::<Vec<_>>(), [4096, 4096, 4096, 4096, 1616]);
        assert_eq!(pdus.iter().map(|pdu| pdu.data_sn).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(pdus.iter().map(|pdu| pdu.is_final).collect::<Vec<_>>(), [false, true, false, true, true], "F at every MaxBurstLength");
        assert_eq!(sent.iter().flat_map(|sent| sent.data.clone()).collect::<Vec<u8>>(), bytes);
        let last = pdus[4];
        assert!(last.has_status && last.underflow && !last.overflow);
        assert_eq!((last.residual, last.buffer_offset, last.transfer_tag), (2000, 16_384, NO_TAG));
        assert_eq!(sent[4].last_of, Some(5));
        assert_eq!((last.exp_cmd_sn, last.max_cmd_sn), (101, 108));
        assert_eq!(peer.connection.task_count(), 0);
    }

    #[test]
    fn overflow_is_cut_and_told() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let command = peer.read(5, 10);
        peer.send(&command.encode(), b"");
        peer.connection.respond(5, good(ReplyData::Inline((0..36).collect()), 0));
        let sent = peer.one();
        let pdu = DataIn::decode(&sent.header);
        assert_eq!(sent.data, (0..10).collect::<Vec<u8>>());
        assert!(pdu.has_status && pdu.overflow && !pdu.underflow);
        assert_eq!(pdu.residual, 26);
    }

    #[test]
    fn check_condition_carries_sense_and_residual() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let command = peer.read(5, 512);
        peer.send(&command.encode(), b"");
        peer.connection.respond(5, Reply { status: 2, sense: alloc::vec![0x70, 0, 3], data_in: ReplyData::None, data_out: 0 });
        let sent = peer.one();
        let pdu = ScsiResponse::decode(&sent.header);
        assert_eq!((sent.opcode(), pdu.status, pdu.residual, pdu.underflow, pdu.exp_data_sn), (Opcode::SCSI_RESPONSE, 2, 512, true, 0));
        assert_eq!(sent.data, [0, 3, 0x70, 0, 3]);
        assert_eq!(sent.last_of, Some(5));
    }

    #[test]
    fn immediate_unsolicited_and_solicited_data_make_one_write() {
        let mut peer = Peer::logged_in(parameters(), &NO_R2T);
        let bytes: Vec<u8> = (0..30_000u32).map(|n| (n / 3).to_le_bytes()[0]).collect();
        let command = peer.write(5, 30_000, false);
        peer.send(&command.encode(), &bytes[..1000]);
        assert_eq!(command_tags(&peer.events()), [5]);
        peer.connection.fetch(5, 30_000);
        assert!(peer.sent().is_empty(), "unsolicited data come first");
        peer.send(&DataOut { tag: 5, transfer_tag: NO_TAG, buffer_offset: 1000, ..DataOut::default() }.encode(), &bytes[1000..2000]);
        peer.send(
            &DataOut { tag: 5, transfer_tag: NO_TAG, buffer_offset: 2000, data_sn: 1, is_final: true, ..DataOut::default() }.encode(),
            &bytes[2000..4096],
        );
        let requests: Vec<ReadyToTransfer> = peer.sent().iter().map(|sent| ReadyToTransfer::decode(&sent.header)).collect();
        assert_eq!(
            requests.iter().map(|r2t| (r2t.r2t_sn, r2t.buffer_offset, r2t.desired_length)).collect::<Vec<_>>(),
            [(0, 4096, 8192), (1, 12_288, 8192), (2, 20_480, 8192), (3, 28_672, 1328)]
        );
        for r2t in requests {
            assert!(peer.events().is_empty());
            let (start, end) = (r2t.buffer_offset as usize, (r2t.buffer_offset + r2t.desired_length) as usize);
            peer.send(
                &DataOut { tag: 5, transfer_tag: r2t.transfer_tag, buffer_offset: r2t.buffer_offset, is_final: true, ..DataOut::default() }.encode(),
                &bytes[start..end],
            );
        }
        assert_eq!(peer.events(), [Event::DataReady { tag: 5 }]);
        assert_eq!(peer.payload[&5], bytes);
        peer.connection.respond(5, good(ReplyData::None, 30_000));
        let response = ScsiResponse::decode(&peer.one().header);
        assert_eq!((response.status, response.residual, response.overflow, response.underflow), (0, 0, false, false));
        assert_eq!(peer.connection.counters().data_out_pdus, 6);
    }

    #[test]
    fn a_short_fetch_leaves_the_rest_as_residual() {
        let mut peer = Peer::logged_in(parameters(), &["InitialR2T=Yes"]);
        let command = peer.write(5, 5000, true);
        peer.send(&command.encode(), b"");
        peer.connection.fetch(5, 512);
        let r2t = ReadyToTransfer::decode(&peer.one().header);
        assert_eq!((r2t.buffer_offset, r2t.desired_length), (0, 512));
        peer.send(&DataOut { tag: 5, transfer_tag: r2t.transfer_tag, is_final: true, ..DataOut::default() }.encode(), &[1; 512]);
        peer.connection.respond(5, good(ReplyData::None, 512));
        let response = ScsiResponse::decode(&peer.one().header);
        assert_eq!((response.residual, response.underflow), (4488, true));
    }

    #[test]
    fn a_write_that_announces_nothing_overflows() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let command = ScsiCommand { write: false, ..peer.write(5, 0, true) };
        peer.send(&command.encode(), b"");
        peer.connection.respond(5, good(ReplyData::None, 512));
        let response = ScsiResponse::decode(&peer.one().header);
        assert_eq!((response.residual, response.overflow), (512, true));
    }

    #[test]
    fn immediate_data_beyond_the_expected_length_are_refused() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let command = peer.write(5, 100, true);
        peer.send(&command.encode(), &[0; 200]);
        assert!(peer.events().is_empty());
        let sent = peer.one();
        assert_eq!((ScsiResponse::decode(&sent.header).status, sent.data[4], sent.data[14], sent.data[15]), (2, 0x0b, 0x0c, 0x0d));
        assert_eq!(ScsiResponse::decode(&sent.header).exp_cmd_sn, 101, "the command was taken");
        let command = peer.write(6, 8000, true);
        peer.send(&command.encode(), &[0; 5000]);
        assert_eq!(peer.one().data[14..16], [0x0c, 0x0d], "beyond FirstBurstLength");
        let mut command = peer.read(7, 512);
        command.cmd_sn = 102;
        peer.send(&command.encode(), &[0; 4]);
        assert_eq!(peer.one().data[14..16], [0x0c, 0x0c], "data with a read");
        assert!(peer.events().is_empty());
    }

    #[test]
    fn unsolicited_data_without_leave_are_awaited_and_refused() {
        let mut peer = Peer::logged_in(parameters(), &["InitialR2T=Yes", "ImmediateData=No"]);
        let command = peer.write(5, 2000, false);
        peer.send(&command.encode(), &[1; 500]);
        assert!(peer.sent().is_empty());
        peer.send(&DataOut { tag: 5, transfer_tag: NO_TAG, buffer_offset: 500, is_final: true, ..DataOut::default() }.encode(), &[1; 1500]);
        assert_eq!(peer.one().data[14..16], [0x0c, 0x0c]);
        assert!(peer.payload.is_empty() && peer.events().is_empty());
    }

    #[test]
    fn an_early_end_waits_for_the_data_and_throws_them_away() {
        let mut peer = Peer::logged_in(parameters(), &NO_R2T);
        let command = peer.write(5, 4096, false);
        peer.send(&command.encode(), &[1; 512]);
        peer.connection.respond(5, Reply { status: 0x18, sense: Vec::new(), data_in: ReplyData::None, data_out: 0 });
        assert!(peer.sent().is_empty());
        peer.payload.insert(5, alloc::vec![9; 4096]);
        peer.send(&DataOut { tag: 5, transfer_tag: NO_TAG, buffer_offset: 512, is_final: true, ..DataOut::default() }.encode(), &[1; 3584]);
        assert_eq!(peer.payload[&5], [9; 4096]);
        assert_eq!(ScsiResponse::decode(&peer.one().header).status, 0x18);
    }

    /// Attack cases A1, A2 and their kin: nothing lands outside of what was asked for, and the task ends with a reason.
    #[test]
    fn data_outside_of_an_r2t_end_the_task() {
        for (pdu, len, code) in [
            (DataOut { buffer_offset: 0x7fff_0000, is_final: true, ..DataOut::default() }, 512, [0x0c, 0x0d]),
            (DataOut { is_final: true, ..DataOut::default() }, 1500, [0x0c, 0x0d]),
            (DataOut { is_final: true, ..DataOut::default() }, 100, [0x0c, 0x0d]),
            (DataOut { ..DataOut::default() }, 1000, [0x0c, 0x0d]),
            (DataOut { data_sn: 7, is_final: true, ..DataOut::default() }, 1000, [0x47, 0x05]),
            (DataOut { buffer_offset: 4, is_final: true, ..DataOut::default() }, 996, [0x0c, 0x0d]),
        ] {
            let mut peer = Peer::logged_in(parameters(), &["InitialR2T=Yes"]);
            let command = peer.write(5, 1000, true);
            peer.send(&command.encode(), b"");
            peer.connection.fetch(5, 1000);
            let r2t = ReadyToTransfer::decode(&peer.one().header);
            peer.events();
            peer.send(&DataOut { tag: 5, transfer_tag: r2t.transfer_tag, ..pdu }.encode(), &alloc::vec![1; len]);
            assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
            assert!(matches!(peer.events()[..], [Event::Function(FunctionEvent { tag: 5, function: 1, referenced: 5, .. })]));
            peer.connection.forget(5);
            peer.connection.function_response(5, FunctionCode::COMPLETE);
            if !pdu.is_final {
                assert!(peer.sent().is_empty(), "the rest is awaited");
                peer.send(&DataOut { tag: 5, transfer_tag: r2t.transfer_tag, is_final: true, ..DataOut::default() }.encode(), b"more");
            }
            let sent = peer.one();
            assert_eq!((ScsiResponse::decode(&sent.header).status, &sent.data[14..16]), (2, &code[..]));
            assert!(peer.payload.is_empty() && peer.connection.is_full_feature() && peer.connection.task_count() == 0);
        }
    }

    /// A shell that answers the task, or does not know it, makes no difference.
    #[test]
    fn a_failed_transfer_is_answered_once() {
        for way in 0..3 {
            let mut peer = Peer::logged_in(parameters(), &["InitialR2T=Yes"]);
            let command = peer.write(5, 1000, true);
            peer.send(&command.encode(), b"");
            peer.connection.fetch(5, 1000);
            let r2t = ReadyToTransfer::decode(&peer.one().header);
            peer.send(&DataOut { tag: 5, transfer_tag: r2t.transfer_tag, data_sn: 1, is_final: true, ..DataOut::default() }.encode(), &[1; 1000]);
            peer.one();
            match way {
                0 => peer.connection.respond(5, good(ReplyData::None, 1000)),
                1 => {}
                _ => peer.connection.forget(5),
            }
            peer.connection.function_response(5, FunctionCode::TASK_DOES_NOT_EXIST);
            assert_eq!(peer.one().data[14..16], [0x47, 0x05]);
            peer.connection.forget(5);
            assert!(peer.sent().is_empty());
        }
    }

    #[test]
    fn data_for_nobody_are_rejected_and_the_session_lives() {
        let mut peer = Peer::logged_in(parameters(), &["InitialR2T=Yes"]);
        let command = peer.write(5, 1000, true);
        peer.send(&command.encode(), b"");
        peer.events();
        for pdu in [
            DataOut { tag: 99, transfer_tag: 1, ..DataOut::default() },
            DataOut { tag: 5, transfer_tag: NO_TAG, ..DataOut::default() },
            DataOut { tag: 5, transfer_tag: 1234, ..DataOut::default() },
        ] {
            peer.send(&pdu.encode(), &[1; 100]);
            let sent = peer.one();
            assert_eq!(sent.reject(), RejectReason::PROTOCOL_ERROR);
            assert_eq!(Opcode::of(&sent.data), Opcode::DATA_OUT);
        }
        assert!(peer.connection.is_full_feature() && peer.payload.is_empty());
    }

    #[test]
    fn data_of_a_forgotten_task_are_thrown_away() {
        let mut peer = Peer::logged_in(parameters(), &NO_R2T);
        let command = peer.write(5, 4096, false);
        peer.send(&command.encode(), b"");
        peer.events();
        peer.connection.forget(5);
        peer.send(&DataOut { tag: 5, transfer_tag: NO_TAG, ..DataOut::default() }.encode(), &[1; 512]);
        peer.send(
            &DataOut { tag: 5, transfer_tag: NO_TAG, buffer_offset: 512, data_sn: 1, is_final: true, ..DataOut::default() }.encode(),
            &[1; 512],
        );
        assert!(peer.sent().is_empty() && peer.payload.is_empty() && peer.events().is_empty());
        peer.send(&DataOut { tag: 5, transfer_tag: NO_TAG, is_final: true, ..DataOut::default() }.encode(), &[1; 512]);
        assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
    }

    #[test]
    fn commands_run_in_order_and_the_window_is_kept() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let commands: Vec<ScsiCommand> = (0..9).map(|tag| peer.read(tag, 512)).collect();
        for &index in &[2, 1, 8, 0] {
            peer.send(&commands[index].encode(), b"");
        }
        assert_eq!(command_tags(&peer.events()), [0, 1, 2], "the ninth is outside of a window of eight");
        for command in &commands[3..8] {
            peer.send(&command.encode(), b"");
        }
        peer.send(&commands[3].encode(), b"");
        assert_eq!(command_tags(&peer.events()), [3, 4, 5, 6, 7], "a duplicate is ignored");
        assert!(peer.sent().is_empty());
        peer.send(&commands[8].encode(), b"");
        assert!(peer.events().is_empty() && peer.sent().is_empty(), "the window is closed");
        peer.connection.respond(4, good(ReplyData::None, 0));
        let response = ScsiResponse::decode(&peer.one().header);
        assert_eq!((response.exp_cmd_sn, response.max_cmd_sn), (108, 108));
        peer.send(&commands[8].encode(), b"");
        assert_eq!(command_tags(&peer.events()), [8]);
    }

    #[test]
    fn immediate_commands_pass_the_window_up_to_a_limit() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let template = ScsiCommand { immediate: true, cmd_sn: 100, ..peer.read(0, 512) };
        for tag in 0..32 {
            peer.send(&ScsiCommand { tag, ..template }.encode(), b"");
        }
        assert_eq!(peer.events().len(), 32);
        peer.send(&ScsiCommand { tag: 32, ..template }.encode(), b"");
        assert_eq!(peer.one().reject(), RejectReason::IMMEDIATE_COMMAND_REJECT);
        peer.connection.respond(0, good(ReplyData::None, 0));
        assert_eq!(ScsiResponse::decode(&peer.one().header).exp_cmd_sn, 100);
    }

    #[test]
    fn a_tag_in_use_is_rejected_and_its_number_stays_open() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let first = peer.read(5, 512);
        peer.send(&first.encode(), b"");
        let second = peer.read(5, 512);
        peer.send(&second.encode(), b"");
        let sent = peer.one();
        assert_eq!((sent.reject(), Reject::decode(&sent.header).exp_cmd_sn), (RejectReason::TASK_IN_PROGRESS, 101));
        assert_eq!(sent.data[..16], second.encode()[..16]);
        peer.send(&ScsiCommand { tag: 6, ..second }.encode(), b"");
        assert_eq!(command_tags(&peer.events()), [5, 6]);
    }

    #[test]
    fn broken_commands_are_rejected() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let good = peer.read(5, 512);
        for command in [
            ScsiCommand { tag: NO_TAG, ..good },
            ScsiCommand { attribute: 5, ..good },
            ScsiCommand { is_final: false, ..good },
            ScsiCommand { write: true, ..good },
        ] {
            peer.send(&command.encode(), b"");
            assert_eq!(peer.one().reject(), RejectReason::INVALID_PDU_FIELD, "{command:?}");
        }
        let mut bad = good.encode().to_vec();
        bad.extend_from_slice(&[0xff, 0xff, 1, 0]);
        peer.send(&bad, b"");
        let sent = peer.one();
        assert_eq!((sent.reject(), sent.data.len()), (RejectReason::INVALID_PDU_FIELD, 52));
        assert!(peer.events().is_empty() && peer.connection.is_full_feature());
    }

    #[test]
    fn long_and_bidirectional_commands_are_parsed() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let command = ScsiCommand { read: true, cdb: [0x7f; 16], ..peer.write(5, 1000, true) };
        let mut header = command.encode().to_vec();
        header.extend(AdditionalHeaders { extended_cdb: Some(&[0x55; 244]), read_length: Some(300) }.encode());
        peer.send(&header, &[7; 8]);
        let events = peer.events();
        let [Event::Command(event)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((event.cdb.as_bytes().len(), event.data_out, event.data_in), (260, 1000, 300));
        peer.payload.insert(5, alloc::vec![3; 400]);
        peer.connection.respond(5, good(ReplyData::Task { len: 200 }, 1000));
        let sent = peer.sent();
        assert!(!DataIn::decode(&sent[0].header).has_status);
        let response = ScsiResponse::decode(&sent[1].header);
        assert_eq!((response.residual, response.read_underflow, response.read_residual, response.exp_data_sn), (0, true, 100, 1));
    }

    #[test]
    fn what_does_not_belong_here_is_rejected() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        for (opcode, reason) in [
            (0x03, RejectReason::PROTOCOL_ERROR),
            (0x10, RejectReason::PROTOCOL_ERROR),
            (0x07, RejectReason::COMMAND_NOT_SUPPORTED),
            (0x1c, RejectReason::COMMAND_NOT_SUPPORTED),
            (0x20, RejectReason::COMMAND_NOT_SUPPORTED),
            (0x3f, RejectReason::COMMAND_NOT_SUPPORTED),
        ] {
            let mut header = [0; 48];
            header[0] = opcode;
            peer.send(&header, b"12345");
            assert_eq!(peer.one().reject(), reason, "{opcode:02x}");
        }
        // A3: task management and logout with data; A4: additional headers where none belong.
        peer.send(&TaskManagementRequest { immediate: true, function: 2, ..TaskManagementRequest::default() }.encode(), &[1; 64]);
        assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
        peer.send(&LogoutRequest { immediate: true, ..LogoutRequest::default() }.encode(), &[1; 64]);
        assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
        let mut header = NopOut { immediate: true, tag: 1, ..NopOut::default() }.encode().to_vec();
        header.extend_from_slice(&[0; 8]);
        peer.send(&header, b"");
        assert_eq!(peer.one().reject(), RejectReason::INVALID_PDU_FIELD);
        assert!(peer.events().is_empty());
        peer.send(&NopOut { immediate: true, tag: 1, ..NopOut::default() }.encode(), &[1; 8193]);
        assert_eq!(peer.one().reject(), RejectReason::INVALID_PDU_FIELD);
        assert_eq!(peer.closed(), "data segment longer than MaxRecvDataSegmentLength");
    }

    #[test]
    fn digests_protect_and_end_the_session() {
        let keys = ["HeaderDigest=CRC32C", "DataDigest=CRC32C"];
        let mut peer = Peer::logged_in(parameters(), &keys);
        peer.digests = (true, true);
        let (header, data) = peer.connection.digests();
        assert!(header && data);
        peer.receiver.set_digests(true, true);
        let command = peer.write(5, 11, true);
        peer.send(&command.encode(), b"hello world");
        assert_eq!((command_tags(&peer.events()), &peer.payload[&5][..]), (alloc::vec![5], &b"hello world"[..]));
        let command = peer.write(7, 11, true);
        peer.send(&command.encode(), b"");
        peer.connection.fetch(7, 11);
        peer.events();
        let r2t = ReadyToTransfer::decode(&peer.one().header);
        let pdu = DataOut { tag: 7, transfer_tag: r2t.transfer_tag, is_final: true, ..DataOut::default() };
        let mut wire = peer.wire(&pdu.encode(), b"hello world");
        wire[60] ^= 1;
        peer.feed(&wire);
        assert_eq!(peer.one().reject(), RejectReason::DATA_DIGEST_ERROR);
        assert!(matches!(peer.events()[..], [Event::Function(_)]));
        peer.connection.forget(7);
        assert_eq!(peer.one().data[14..16], [0x47, 0x05], "the task ends, the session lives");
        let ping = NopOut { immediate: true, tag: 8, ..NopOut::default() };
        let mut wire = peer.wire(&ping.encode(), b"ping");
        wire[53] ^= 1;
        peer.feed(&wire);
        assert_eq!(peer.one().reject(), RejectReason::DATA_DIGEST_ERROR);
        let command = peer.write(6, 11, true);
        let mut wire = peer.wire(&command.encode(), b"hello world");
        wire[60] ^= 1;
        peer.feed(&wire);
        assert_eq!(peer.one().reject(), RejectReason::DATA_DIGEST_ERROR);
        assert_eq!(peer.closed(), "data digest error");
        let mut peer = Peer::logged_in(parameters(), &keys);
        peer.digests = (true, true);
        peer.receiver.set_digests(true, true);
        let command = peer.write(5, 11, true);
        let mut wire = peer.wire(&command.encode(), b"hello world");
        wire[17] ^= 1;
        peer.feed(&wire);
        assert_eq!(peer.closed(), "header digest error");
        assert!(peer.sent().is_empty());
    }

    #[test]
    fn responses_after_login_carry_digests() {
        let mut peer = Peer::logged_in(parameters(), &["HeaderDigest=CRC32C", "DataDigest=None"]);
        peer.digests = (true, false);
        peer.receiver.set_digests(true, false);
        peer.send(&NopOut { immediate: true, tag: 1, ..NopOut::default() }.encode(), b"ping");
        let transmit = peer.connection.poll_transmit().unwrap();
        assert!(transmit.header_digest && !transmit.data_digest);
    }
}

mod management {
    use super::*;

    fn abort(peer: &mut Peer, tag: u32, ref_cmd_sn: u32) {
        let request = TaskManagementRequest {
            immediate: true,
            function: 1,
            tag: 200,
            referenced_tag: tag,
            cmd_sn: peer.cmd_sn,
            ref_cmd_sn,
            ..TaskManagementRequest::default()
        };
        peer.send(&request.encode(), b"");
    }

    #[test]
    fn functions_come_after_the_commands_before_them() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let first = peer.read(1, 512);
        let second = peer.read(2, 512);
        let cmd_sn = peer.next_cmd_sn();
        let request = TaskManagementRequest { function: 2, tag: 9, referenced_tag: NO_TAG, cmd_sn, ..TaskManagementRequest::default() };
        peer.send(&request.encode(), b"");
        peer.send(&second.encode(), b"");
        assert!(peer.events().is_empty());
        peer.send(&first.encode(), b"");
        let events = peer.events();
        assert_eq!(command_tags(&events), [1, 2]);
        assert!(matches!(events[2], Event::Function(FunctionEvent { tag: 9, function: 2, .. })));
        peer.connection.forget(1);
        peer.connection.forget(2);
        peer.connection.function_response(9, FunctionCode::COMPLETE);
        let response = TaskManagementResponse::decode(&peer.one().header);
        assert_eq!((response.tag, response.response, response.exp_cmd_sn, response.max_cmd_sn), (9, 0, 103, 110));
    }

    #[test]
    fn an_aborted_command_leaves_nothing_in_the_window() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let missing = peer.read(7, 512);
        let waiting = peer.read(1, 512);
        peer.send(&waiting.encode(), b"");
        // An immediate request may carry any CmdSN.
        let cmd_sn = core::mem::replace(&mut peer.cmd_sn, 50);
        abort(&mut peer, 1, waiting.cmd_sn);
        peer.cmd_sn = cmd_sn;
        peer.connection.function_response(200, FunctionCode::COMPLETE);
        let again = ScsiCommand { immediate: true, ..waiting };
        peer.send(&again.encode(), b"");
        assert_eq!(command_tags(&peer.events()), [1]);
        let clear = TaskManagementRequest { immediate: true, function: 4, tag: 9, cmd_sn, ..TaskManagementRequest::default() };
        peer.send(&clear.encode(), b"");
        assert_eq!(peer.connection.task_count(), 1, "the task that took over the tag is still there");
        peer.send(&missing.encode(), b"");
        assert_eq!(command_tags(&peer.events()), [7]);
        assert_eq!(peer.connection.task_count(), 2);
    }

    #[test]
    fn a_command_that_never_came_counts_as_aborted() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let lost = peer.read(1, 512);
        let next = peer.read(2, 512);
        peer.send(&next.encode(), b"");
        abort(&mut peer, 1, lost.cmd_sn);
        let events = peer.events();
        assert!(matches!(events[0], Event::Function(FunctionEvent { referenced: 1, referenced_lost: true, .. })), "{events:?}");
        assert_eq!(command_tags(&events), [2], "the gap is closed");
        peer.connection.function_response(200, FunctionCode::COMPLETE);
        assert_eq!(TaskManagementResponse::decode(&peer.one().header).exp_cmd_sn, 102);
        peer.send(&lost.encode(), b"");
        assert!(peer.events().is_empty() && peer.sent().is_empty(), "it comes too late");
    }

    #[test]
    fn a_command_that_waits_is_aborted_here() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let first = peer.read(1, 512);
        let second = peer.read(2, 512);
        peer.send(&second.encode(), b"");
        abort(&mut peer, 2, second.cmd_sn);
        assert!(matches!(peer.events()[..], [Event::Function(FunctionEvent { referenced: 2, referenced_lost: true, .. })]));
        peer.send(&first.encode(), b"");
        assert_eq!(command_tags(&peer.events()), [1]);
        abort(&mut peer, 1, first.cmd_sn);
        assert_eq!(peer.one().reject(), RejectReason::TASK_IN_PROGRESS, "tag 200 still has no response");
        peer.connection.function_response(200, FunctionCode::COMPLETE);
        peer.one();
        abort(&mut peer, 1, first.cmd_sn);
        assert!(matches!(peer.events()[..], [Event::Function(FunctionEvent { referenced: 1, referenced_lost: false, .. })]));
    }

    #[test]
    fn functions_of_the_second_protocol_level_want_it_negotiated() {
        let mut peer = Peer::logged_in(parameters(), &["TaskReporting=FastAbort,ResponseFence,RFC3720", "iSCSIProtocolLevel=1"]);
        for function in 9..=12u8 {
            let request = TaskManagementRequest { immediate: true, function, tag: 9, cmd_sn: 100, ..TaskManagementRequest::default() };
            peer.send(&request.encode(), b"");
            assert!(peer.events().is_empty());
            assert_eq!(TaskManagementResponse::decode(&peer.one().header).response, 5);
        }
    }

    /// A function's answer is the last word: the early end of a write that waits for its data goes unsaid.
    #[test]
    fn no_answer_comes_after_that_of_the_function() {
        for (function, lun, goes) in [(1, 0, true), (2, 0, true), (4, 0, true), (5, 0, true), (6, 0, true), (5, 1, false)] {
            let mut peer = Peer::logged_in(parameters(), &["InitialR2T=No"]);
            let write = peer.write(1, 1024, false);
            peer.send(&write.encode(), &[1; 512]);
            peer.events();
            peer.connection.respond(1, good(ReplyData::None, 0));
            assert!(peer.sent().is_empty(), "it waits for the data");
            let request = TaskManagementRequest {
                immediate: true,
                function,
                lun: scsi::Lun([0, lun, 0, 0, 0, 0, 0, 0]),
                tag: 9,
                referenced_tag: 1,
                cmd_sn: peer.cmd_sn,
                ref_cmd_sn: write.cmd_sn,
                ..TaskManagementRequest::default()
            };
            peer.send(&request.encode(), b"");
            let events = peer.events();
            assert!(matches!(events[..], [Event::Function(FunctionEvent { referenced_lost, .. })] if referenced_lost == (function == 1)));
            peer.connection.function_response(9, FunctionCode::COMPLETE);
            assert_eq!(peer.one().opcode(), Opcode::TASK_MANAGEMENT_RESPONSE);
            let data = DataOut { is_final: true, tag: 1, transfer_tag: NO_TAG, buffer_offset: 512, ..DataOut::default() };
            peer.send(&data.encode(), &[0; 512]);
            let sent = peer.sent();
            assert_eq!(sent.is_empty(), goes, "{function}: {sent:?}");
            assert_eq!(peer.connection.task_count(), 0);
        }
    }

    #[test]
    fn every_function_code_is_answered_or_delivered() {
        let mut peer = Peer::logged_in(parameters(), &["iSCSIProtocolLevel=2"]);
        for function in 0..128u8 {
            let request = TaskManagementRequest { immediate: true, function, tag: 9, cmd_sn: 100, ..TaskManagementRequest::default() };
            peer.send(&request.encode(), b"");
            let delivered = matches!(peer.events()[..], [Event::Function(_)]);
            assert_eq!(delivered, (1..=12).contains(&function) && function != 8);
            if delivered {
                peer.connection.function_response(9, FunctionCode { response: 7, additional: 0x06_2900 });
            }
            let response = TaskManagementResponse::decode(&peer.one().header);
            assert_eq!(
                response.response,
                if delivered {
                    7
                } else if function == 8 {
                    4
                } else {
                    5
                }
            );
            assert_eq!(response.additional, if delivered { 0x06_2900 } else { 0 });
        }
    }

    #[test]
    fn pings_are_echoed_within_bounds() {
        let mut peer = Peer::logged_in(parameters(), &["MaxRecvDataSegmentLength=512"]);
        peer.send(&NopOut { immediate: true, tag: 3, lun: scsi::Lun([0, 1, 0, 0, 0, 0, 0, 0]), ..NopOut::default() }.encode(), &[5; 600]);
        let sent = peer.one();
        let pdu = NopIn::decode(&sent.header);
        assert_eq!((pdu.tag, pdu.transfer_tag, pdu.lun.number(), sent.data.len()), (3, NO_TAG, Some(1), 512));
        let cmd_sn = peer.next_cmd_sn();
        peer.send(&NopOut { tag: 4, cmd_sn, ..NopOut::default() }.encode(), b"");
        assert_eq!(NopIn::decode(&peer.one().header).exp_cmd_sn, 101);
        peer.send(&NopOut { immediate: true, tag: NO_TAG, transfer_tag: NO_TAG, ..NopOut::default() }.encode(), b"");
        assert!(peer.sent().is_empty());
    }

    #[test]
    fn silent_initiators_are_dropped() {
        const SECOND: u64 = 1_000_000_000;
        let mut peer = Peer::logged_in(parameters(), &[]);
        assert_eq!(peer.connection.poll_timeout(), Some(5 * SECOND));
        peer.connection.handle_timeout(&peer.stub, 5 * SECOND);
        let ping = NopIn::decode(&peer.one().header);
        assert!(ping.tag == NO_TAG && ping.transfer_tag != NO_TAG);
        peer.now = 6 * SECOND;
        peer.send(&NopOut { immediate: true, tag: NO_TAG, transfer_tag: ping.transfer_tag, ..NopOut::default() }.encode(), b"");
        assert_eq!(peer.connection.poll_timeout(), Some(11 * SECOND));
        for second in [11, 16] {
            peer.connection.handle_timeout(&peer.stub, second * SECOND);
            peer.one();
        }
        peer.connection.handle_timeout(&peer.stub, 21 * SECOND);
        assert_eq!(peer.closed(), "the initiator does not answer NOP-In");
        assert_eq!(peer.connection.poll_timeout(), None);
    }

    #[test]
    fn who_owes_data_and_sends_none_is_dropped() {
        const SECOND: u64 = 1_000_000_000;
        let quiet = || TargetParameters { nop_interval: 0, ..parameters() };
        let mut peer = Peer::logged_in(quiet(), &super::full_feature::NO_R2T);
        assert_eq!(peer.connection.poll_timeout(), None);
        peer.now = 10 * SECOND;
        let command = peer.write(5, 30_000, true);
        peer.send(&command.encode(), b"");
        assert_eq!(command_tags(&peer.events()), [5]);
        assert_eq!(peer.connection.poll_timeout(), None, "nothing was asked for");
        // Asked for long after: the time counts from when it is known.
        peer.connection.fetch(5, 30_000);
        let requests: Vec<ReadyToTransfer> = peer.sent().iter().map(|sent| ReadyToTransfer::decode(&sent.header)).collect();
        peer.connection.handle_timeout(&peer.stub, 1000 * SECOND);
        assert_eq!(peer.connection.poll_timeout(), Some(1060 * SECOND));
        peer.now = 1050 * SECOND;
        let answer = |index: usize, is_final| DataOut {
            tag: 5,
            transfer_tag: requests[index].transfer_tag,
            buffer_offset: requests[index].buffer_offset,
            is_final,
            ..DataOut::default()
        };
        peer.send(&answer(0, true).encode(), &[1; 8192]);
        assert_eq!(peer.connection.poll_timeout(), Some(1110 * SECOND), "some came");
        peer.connection.handle_timeout(&peer.stub, 1109 * SECOND);
        assert!(peer.events().is_empty());
        peer.connection.handle_timeout(&peer.stub, 1110 * SECOND);
        assert_eq!(peer.closed(), "the initiator does not send the data it announced");
        assert_eq!(peer.connection.poll_timeout(), None);
    }

    #[test]
    fn announced_data_that_stop_coming_end_the_connection() {
        const SECOND: u64 = 1_000_000_000;
        let quiet = || TargetParameters { nop_interval: 0, ..parameters() };
        // Unsolicited data after the command.
        let mut peer = Peer::logged_in(quiet(), &super::full_feature::NO_R2T);
        let command = peer.write(5, 30_000, false);
        peer.send(&command.encode(), &[1; 1000]);
        peer.events();
        peer.connection.handle_timeout(&peer.stub, 60 * SECOND);
        assert_eq!(peer.closed(), "the initiator does not send the data it announced");
        // Immediate data: half of a PDU.
        let mut peer = Peer::logged_in(quiet(), &super::full_feature::NO_R2T);
        let command = peer.write(5, 1000, true);
        let wire = peer.wire(&command.encode(), &[1; 1000]);
        peer.feed(&wire[..500]);
        assert_eq!(peer.connection.poll_timeout(), Some(60 * SECOND));
        peer.connection.handle_timeout(&peer.stub, 60 * SECOND);
        assert_eq!(peer.closed(), "the initiator does not send the data it announced");
        // Everything came: nothing is due.
        let mut peer = Peer::logged_in(quiet(), &super::full_feature::NO_R2T);
        let command = peer.write(5, 1000, true);
        peer.send(&command.encode(), &[1; 1000]);
        assert_eq!(peer.connection.poll_timeout(), None);
    }

    #[test]
    fn logout_has_three_reasons() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        for (reason, cid, response) in [(2, 3, 2), (1, 9, 1), (1, 3, 0)] {
            peer.send(&LogoutRequest { immediate: true, reason, cid, tag: 8, ..LogoutRequest::default() }.encode(), b"");
            let pdu = LogoutResponse::decode(&peer.one().header);
            assert_eq!((pdu.response, pdu.tag, pdu.time_2_wait), (response, 8, 2));
        }
        assert_eq!(peer.events(), [Event::Logout]);
        peer.send(&NopOut { immediate: true, tag: 1, ..NopOut::default() }.encode(), b"");
        assert!(peer.sent().is_empty(), "nothing is taken after the logout");
        let mut peer = Peer::discovery();
        peer.send(&LogoutRequest { immediate: true, reason: 5, tag: 8, ..LogoutRequest::default() }.encode(), b"");
        assert_eq!(peer.one().reject(), RejectReason::INVALID_PDU_FIELD);
        peer.send(&LogoutRequest { immediate: true, reason: 0, tag: 8, ..LogoutRequest::default() }.encode(), b"");
        assert_eq!((peer.one().opcode(), peer.events()), (Opcode::LOGOUT_RESPONSE, alloc::vec![Event::Logout]));
    }

    /// What runs is ended first, what was answered is answered first, and nothing comes after the answer of the logout.
    #[test]
    fn a_logout_waits_for_the_commands_that_run() {
        for (code, response) in [(FunctionCode::COMPLETE, 0), (FunctionCode::REJECTED, 3)] {
            let mut peer = Peer::logged_in(parameters(), &["InitialR2T=No"]);
            let running = peer.read(1, 512);
            let answered = peer.read(2, 512);
            let early = peer.write(3, 1024, false);
            for (command, data) in [(running, &[][..]), (answered, &[]), (early, &[1; 512])] {
                peer.send(&command.encode(), data);
            }
            peer.next_cmd_sn();
            let waiting = peer.read(4, 512);
            peer.send(&waiting.encode(), b"");
            peer.events();
            peer.connection.respond(3, good(ReplyData::None, 0));
            let logout = LogoutRequest { immediate: true, reason: 0, tag: 8, cmd_sn: peer.cmd_sn, ..LogoutRequest::default() };
            peer.send(&logout.encode(), b"");
            assert!(peer.sent().is_empty(), "one command still runs");
            assert!(matches!(peer.events()[..], [Event::Function(FunctionEvent { tag: 8, function: 11, .. })]));
            peer.send(&DataOut { is_final: true, tag: 3, transfer_tag: NO_TAG, buffer_offset: 512, ..DataOut::default() }.encode(), &[1; 512]);
            peer.send(&NopOut { immediate: true, tag: 9, cmd_sn: peer.cmd_sn, ..NopOut::default() }.encode(), b"");
            peer.connection.respond(2, good(ReplyData::Inline(alloc::vec![7; 512]), 0));
            peer.connection.forget(1);
            peer.connection.function_response(8, code);
            let sent = peer.sent();
            let opcodes: Vec<Opcode> = sent.iter().map(Sent::opcode).collect();
            assert_eq!(opcodes, [Opcode::DATA_IN, Opcode::LOGOUT_RESPONSE]);
            assert_eq!(LogoutResponse::decode(&sent[1].header).response, response);
            assert_eq!((peer.events(), peer.connection.task_count()), (alloc::vec![Event::Logout], 0));
            peer.connection.respond(1, good(ReplyData::None, 0));
            assert!(peer.sent().is_empty());
        }
    }

    #[test]
    fn what_waits_behind_a_logout_is_not_carried_out() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        let logout = peer.next_cmd_sn();
        let read = peer.read(5, 512);
        peer.send(&read.encode(), b"");
        peer.send(&LogoutRequest { reason: 0, tag: 8, cmd_sn: logout, ..LogoutRequest::default() }.encode(), b"");
        assert_eq!(peer.events(), [Event::Logout]);
    }

    #[test]
    fn the_target_speaks_up() {
        let mut peer = Peer::logged_in(parameters(), &[]);
        peer.connection.async_event(scsi::Lun::default(), &[0x70; 18]);
        let sent = peer.one();
        assert_eq!((AsyncMessage::decode(&sent.header).event, sent.data.len(), sent.data[1]), (0, 20, 18));
        peer.connection.request_logout(10, 1_000_000_000);
        let pdu = AsyncMessage::decode(&peer.one().header);
        assert_eq!((pdu.event, pdu.parameter_3, pdu.tag), (1, 10, NO_TAG));
        peer.connection.handle_timeout(&peer.stub, 11_000_000_000);
        let pdu = AsyncMessage::decode(&peer.one().header);
        assert_eq!((pdu.event, pdu.parameter_1, pdu.parameter_2, pdu.parameter_3), (3, 0, 2, 0), "told before it is dropped");
        assert_eq!(peer.closed(), "the initiator does not log out");
        let mut peer = Peer::logged_in(parameters(), &[]);
        peer.connection.announce_drop(super::super::Dropped::Connection, 2, 20, "closed");
        let pdu = AsyncMessage::decode(&peer.one().header);
        assert_eq!((pdu.event, pdu.parameter_1, pdu.parameter_2, pdu.parameter_3), (2, 3, 2, 20));
        peer.closed();
    }
}

mod garbage {
    use super::*;

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
        fn byte(&mut self) -> u8 {
            self.below(256).to_le_bytes()[0]
        }
    }

    /// A shell that answers at random, but never lies.
    fn play_shell(peer: &mut Peer, random: &mut Random, alive: &mut Vec<u32>) {
        for event in peer.events() {
            match event {
                Event::LoginReady(_) if random.below(4) == 0 => peer.connection.refuse_login(LoginStatus::SESSION_DOES_NOT_EXIST, 0),
                Event::LoginReady(_) => peer.connection.accept_login(1, 0),
                Event::Command(command) => {
                    alive.push(command.tag);
                    peer.connection.fetch(command.tag, u32::try_from(random.below(70_000)).unwrap());
                }
                Event::Function(function) => peer.connection.function_response(function.tag, FunctionCode::COMPLETE),
                _ => {}
            }
        }
        if !alive.is_empty() && random.below(2) == 0 {
            let at = usize::try_from(random.below(u64::try_from(alive.len()).unwrap())).unwrap();
            let tag = alive.remove(at);
            if random.below(4) == 0 {
                peer.connection.forget(tag);
            } else {
                peer.connection.respond(tag, good(ReplyData::Inline(alloc::vec![1; usize::try_from(random.below(20_000)).unwrap()]), 512));
            }
        }
        while peer.connection.poll_transmit().is_some() {}
    }

    /// Raw random bytes, and random mutations of plausible PDUs, before and after login. Nothing panics, lands outside, or grows without bound.
    #[test]
    fn random_bytes_never_hurt() {
        for seed in 1..400u64 {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut peer = if seed % 4 == 0 { Peer::new(parameters()) } else { Peer::logged_in(parameters(), &["InitialR2T=No"]) };
            let mut alive = Vec::new();
            for _ in 0..200 {
                let mut header = [0u8; 48];
                if random.below(3) == 0 {
                    header.iter_mut().for_each(|byte| *byte = random.byte());
                }
                header[0] = [0, 1, 1, 1, 2, 3, 4, 5, 5, 5, 6, 0x10, 0x3f][usize::try_from(random.below(13)).unwrap()] | (random.byte() & 0x40);
                header[1] = random.byte();
                if header[0] & 0x3f == 3 {
                    header[2..4].fill(0);
                }
                header[16..20].copy_from_slice(&u32::try_from(random.below(6)).unwrap().to_be_bytes());
                let transfer_tag = if random.below(2) == 0 { NO_TAG } else { u32::try_from(random.below(10)).unwrap() };
                header[20..24].copy_from_slice(&transfer_tag.to_be_bytes());
                if random.below(2) == 0 {
                    header[24..28].copy_from_slice(&(100 + u32::try_from(random.below(40)).unwrap()).to_be_bytes());
                }
                let data: Vec<u8> = (0..random.below(600)).map(|_| random.byte()).collect();
                let mut header = header.to_vec();
                header.resize(48 + 4 * usize::try_from(random.below(3)).unwrap(), 0);
                peer.send(&header, &data);
                play_shell(&mut peer, &mut random, &mut alive);
                assert!(peer.connection.task_count() <= 8 + 32);
                if !peer.connection.is_full_feature() && seed % 4 != 0 {
                    break;
                }
            }
            let bytes: Vec<u8> = (0..3000).map(|_| random.byte()).collect();
            peer.feed(&bytes);
        }
    }

    #[test]
    fn the_stream_may_be_cut_anywhere() {
        let mut whole = Peer::logged_in(parameters(), &[]);
        let command = whole.write(5, 700, true);
        let wire = whole.wire(&command.encode(), &[3; 701][..699]);
        for step in [1, 2, 3, 47, 48, 49] {
            let mut peer = Peer::logged_in(parameters(), &[]);
            for part in wire.chunks(step) {
                peer.feed(part);
            }
            assert_eq!(command_tags(&peer.events()), [5]);
            assert_eq!(peer.payload[&5], [3; 699]);
        }
    }
}
