//! Login and text PDUs with any text in any stage, against targets without CHAP, with it, and with it both ways.
//!
//! The first byte chooses the target. Then come PDUs: a byte of flags as in a Login Request, two bytes of length, the text. `CHAP_R=?` stands for the right response, which
//! no mutation could guess; so what lies behind a proof is reached, and a login without one is known to be a hole. After the login the same records are Text Requests.

use std::net::{IpAddr, SocketAddr};

use iscsi::auth::{self, Algorithm};
use iscsi::key::{self, Negotiation};
use iscsi::login::status_name;
use iscsi::pdu::{LoginRequest, LoginResponse, NO_TAG, Opcode, TextRequest, TextResponse};
use iscsi::target::Connection;
use iscsi::{
    Account, Authentication, Directory, Event, Landing, Negotiated, Settings, TargetLookup, TargetOffer, TargetParameters, TargetRecord,
    TransmitData, text,
};

/// Name of the only target.
pub const TARGET: &str = "iqn.2026-01.test:disk";
const SECRET: &[u8] = b"no mutation finds this";
const LOGIN_SEGMENT: usize = 8192;

/// Reads the bytes as a login, and as one text.
pub fn run(bytes: &[u8]) {
    values(bytes);
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let mut talk = Talk::new(choice);
    let mut left = rest;
    while let Some((head, after)) = left.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([head[1], head[2]])).min(after.len());
        if talk.ended {
            break;
        }
        talk.pdu(head[0], &after[..len]);
        left = &after[len..];
    }
}

/// What is read is read again from what is written; every key has an answer in both roles.
fn values(bytes: &[u8]) {
    let Ok(pairs) = text::pairs(bytes) else { return };
    let mut written = Vec::new();
    let mut target = Negotiation::target(&parameters(0), false);
    let mut initiator = Negotiation::initiator(false);
    let _ = initiator.all_offers();
    for (name, value) in &pairs {
        text::push(&mut written, name, value);
        if let Some(bytes) = auth::decode_binary(value) {
            assert_eq!(auth::decode_binary(&auth::encode_hex(&bytes)).as_ref(), Some(&bytes));
            assert_eq!(auth::decode_binary(&auth::encode_base64(&bytes)).as_ref(), Some(&bytes));
        }
        if let Some(row) = key::row(name) {
            if let Ok(Some(answer)) = target.receive(row, value) {
                assert!(!answer.is_empty() && !answer.contains('\0'));
            }
            let _ = initiator.receive(row, value);
        }
    }
    legal(&target.result(), &parameters(0));
    assert_eq!(text::pairs(&written).as_ref(), Ok(&pairs));
}

fn parameters(choice: u8) -> TargetParameters {
    let small = choice & 8 != 0;
    TargetParameters {
        max_recv_data_segment_length: 8192,
        header_digest: small,
        data_digest: small,
        initial_r2t: !small,
        max_outstanding_r2t: if small { 8 } else { 1 },
        immediate_data: !small,
        first_burst_length: if small { 512 } else { 65_536 },
        max_burst_length: if small { 1024 } else { 262_144 },
        data_pdu_in_order: !small,
        data_sequence_in_order: !small,
        error_recovery_level: 2,
        default_time_2_wait: if small { 0 } else { 2 },
        default_time_2_retain: if small { 0 } else { 20 },
        max_connections: 4,
        max_queue_cmd: 8,
        nop_interval: 0,
        nop_count: 0,
    }
}

/// Within what was configured, or the value before negotiation where the initiator refused to talk about it.
fn legal(result: &Negotiated, parameters: &TargetParameters) {
    let before = Negotiated::default();
    assert!((1..=parameters.max_connections).contains(&result.max_connections) && result.error_recovery_level <= 1);
    assert!(parameters.header_digest || !result.header_digest);
    assert!(parameters.data_digest || !result.data_digest);
    assert!((512..1 << 24).contains(&result.max_burst_length) && result.max_burst_length <= parameters.max_burst_length.max(before.max_burst_length));
    assert!((512..1 << 24).contains(&result.first_burst_length));
    assert!(result.first_burst_length <= parameters.first_burst_length.max(before.first_burst_length));
    assert!((512..1 << 24).contains(&result.max_xmit_data_segment_length));
    assert_eq!(result.max_recv_data_segment_length, parameters.max_recv_data_segment_length);
    assert!((1..=parameters.max_outstanding_r2t).contains(&result.max_outstanding_r2t));
    assert!(result.default_time_2_wait <= 3600 && result.default_time_2_retain <= 3600 && result.protocol_level <= 2);
}

/// What the target said for CHAP.
#[derive(Default)]
struct Challenge {
    algorithm: Option<Algorithm>,
    identifier: u8,
    bytes: Vec<u8>,
}

/// Header and data segment.
type Sent = ([u8; 48], Vec<u8>);

struct Talk {
    connection: Connection,
    directory: Stub,
    /// Text of responses whose C bit was one.
    collected: Vec<u8>,
    challenge: Challenge,
    /// The right response was in one of the requests.
    proved: bool,
    cmd_sn: u32,
    ended: bool,
}

impl Talk {
    fn new(choice: u8) -> Talk {
        let account = |user: &str, password: &[u8]| Account { user: user.into(), password: password.to_vec() };
        let incoming = match choice & 3 {
            0 => Vec::new(),
            3 => vec![account("other", b"another secret"), account("user", SECRET)],
            _ => vec![account("user", SECRET)],
        };
        let outgoing = (choice & 2 != 0).then(|| account("target", b"the target's secret"));
        let settings = Settings {
            crc32c: iscsi::crc32c,
            peer: SocketAddr::from(([192, 0, 2, 9], 5000)),
            local: SocketAddr::from(([192, 0, 2, 1], 3260)),
            group_tag: 1,
            entropy: [9; 32],
            login_timeout: 15_000_000_000,
            lookup_timeout: 5_000_000_000,
            data_timeout: 60_000_000_000,
            inline_limit: 65_536,
        };
        Talk {
            connection: Connection::new(settings, 0),
            directory: Stub {
                parameters: parameters(choice),
                authentication: Authentication { incoming, outgoing },
                open_discovery: choice & 4 != 0,
            },
            collected: Vec::new(),
            challenge: Challenge::default(),
            proved: false,
            cmd_sn: 100,
            ended: false,
        }
    }

    fn pdu(&mut self, flags: u8, given: &[u8]) {
        let text = self.fill_in(given);
        if self.connection.is_full_feature() {
            return self.text_pdu(flags, &text);
        }
        let request = LoginRequest {
            immediate: true,
            transit: flags & 0x80 != 0,
            continues: flags & 0x40 != 0,
            current_stage: flags >> 2 & 3,
            next_stage: flags & 3,
            version_min: u8::from(flags & 0x30 == 0x30),
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: u16::from(flags & 0x30 == 0x20),
            tag: 5,
            cmd_sn: self.cmd_sn,
            ..LoginRequest::default()
        };
        self.send(&request.encode(), &text);
        self.login_answer(&request);
    }

    /// Puts the right response in the place of `CHAP_R=?`.
    fn fill_in(&mut self, given: &[u8]) -> Vec<u8> {
        let mark = b"CHAP_R=?";
        let (Some(at), Some(algorithm)) = (given.windows(mark.len()).position(|window| window == mark), self.challenge.algorithm) else {
            return given.to_vec();
        };
        self.proved = true;
        let response = auth::encode_hex(&algorithm.response(self.challenge.identifier, SECRET, &self.challenge.bytes));
        [&given[..at], b"CHAP_R=", response.as_bytes(), &given[at + mark.len()..]].concat()
    }

    fn send(&mut self, header: &[u8; 48], text: &[u8]) {
        let mut header = *header;
        iscsi::pdu::put_data_segment_length(&mut header, u32::try_from(text.len()).unwrap_or(0));
        let landing = self.connection.handle_header(&header, &self.directory, 0);
        let inline = if matches!(landing, Landing::Inline { .. }) { text } else { &[] };
        self.connection.handle_data(inline, true, &self.directory, 0);
    }

    /// Header and text of all PDUs that leave; events on the way.
    fn sent(&mut self) -> (Vec<Event>, Vec<Sent>) {
        let mut events = Vec::new();
        while let Some(event) = self.connection.poll_event() {
            if let Event::TargetAwaited { name, initiator } = &event {
                assert!(name == "iqn.later" && !initiator.is_empty() && !self.connection.is_full_feature());
                let found = self.directory.target(TARGET, initiator, IpAddr::from([192, 0, 2, 9]), SocketAddr::from(([192, 0, 2, 1], 3260)));
                self.connection.answer_lookup(found, &self.directory, 0);
            }
            events.push(event);
        }
        for event in &events {
            if let Event::LoginReady(summary) = event {
                assert!(self.proved || !self.directory.must_prove(summary.target.is_none()), "in without a proof: {summary:?}");
                assert!(summary.target.as_ref().is_none_or(|(_, name)| name == TARGET));
                self.connection.accept_login(7, 0);
                assert!(self.connection.is_full_feature());
                legal(&self.connection.negotiated(), &self.directory.parameters);
            }
        }
        self.ended |= events.iter().any(|event| matches!(event, Event::Close { .. } | Event::Logout));
        let sent = core::iter::from_fn(|| self.connection.poll_transmit()).map(|transmit| match transmit.data {
            TransmitData::None => (transmit.header, Vec::new()),
            TransmitData::Inline(bytes) => (transmit.header, bytes),
            TransmitData::Task { .. } | TransmitData::Kept { .. } => panic!("payload of a task where there is none"),
        });
        let sent = sent.collect();
        (events, sent)
    }

    fn login_answer(&mut self, request: &LoginRequest) {
        let (events, sent) = self.sent();
        let ready = events.iter().filter(|event| matches!(event, Event::LoginReady(_))).count();
        let [(header, text)] = sent.as_slice() else { panic!("{} answers to one Login Request", sent.len()) };
        assert_eq!(Opcode::of(header), Opcode::LOGIN_RESPONSE);
        assert!(text.len() <= LOGIN_SEGMENT);
        let response = LoginResponse::decode(header);
        assert_eq!((response.tag, response.isid, response.current_stage), (request.tag, request.isid, request.current_stage));
        assert!(status_name(response.status).is_some(), "{:04x}", response.status);
        assert_eq!(response.status != 0, self.ended, "status {:04x}", response.status);
        assert!(!(response.transit && (response.continues || response.status != 0)));
        let full_feature = response.transit && response.next_stage == 3;
        assert_eq!((full_feature, ready == 1, self.connection.is_full_feature()), (ready == 1, full_feature, full_feature));
        assert_eq!(response.tsih, if full_feature { 7 } else { request.tsih });
        if response.transit {
            assert!(request.transit && response.next_stage == request.next_stage && response.next_stage > response.current_stage);
        }
        self.collected.extend_from_slice(text);
        if !response.continues {
            self.read_text();
        }
    }

    fn read_text(&mut self) {
        let text = core::mem::take(&mut self.collected);
        assert!(text.last().is_none_or(|byte| *byte == 0), "the last pair has no end");
        // Not by the reader of requests: a list of targets may be longer than it takes.
        for pair in text.split(|byte| *byte == 0).filter(|pair| !pair.is_empty()) {
            let pair = core::str::from_utf8(pair).expect("our own text is UTF-8");
            let (name, value) = pair.split_once('=').expect("our own text is well formed");
            assert!(key::row(name).is_some() || value == "NotUnderstood", "{name}={value}");
            match name {
                "CHAP_A" => self.challenge.algorithm = Algorithm::choose(value),
                "CHAP_I" => self.challenge.identifier = value.parse().unwrap_or(0),
                "CHAP_C" => self.challenge.bytes = auth::decode_binary(value).unwrap_or_default(),
                _ => {}
            }
        }
    }

    fn text_pdu(&mut self, flags: u8, text: &[u8]) {
        let transfer_tag = if flags & 3 == 0 { NO_TAG } else { u32::from(flags & 3) };
        let request = TextRequest {
            immediate: flags & 0x20 != 0,
            is_final: flags & 0x80 != 0,
            continues: flags & 0x40 != 0,
            tag: 6,
            transfer_tag,
            cmd_sn: self.cmd_sn,
            ..TextRequest::default()
        };
        self.cmd_sn += u32::from(!request.immediate);
        self.send(&request.encode(), text);
        let (_, sent) = self.sent();
        let [(header, text)] = sent.as_slice() else { panic!("{} answers to one Text Request", sent.len()) };
        if Opcode::of(header) == Opcode::REJECT {
            // Its number was used up, or not: either way the next one is told. A request of another exchange leaves this one as it is.
            self.cmd_sn = iscsi::pdu::u32_at(header, 28);
            return;
        }
        assert_eq!(Opcode::of(header), Opcode::TEXT_RESPONSE);
        let response = TextResponse::decode(header);
        assert_eq!(response.tag, request.tag);
        assert!(!response.is_final || (!response.continues && request.is_final));
        assert_eq!(response.is_final, response.transfer_tag == NO_TAG);
        assert!(text.len() <= self.connection.negotiated().max_xmit_data_segment_length as usize);
        if request.transfer_tag == NO_TAG {
            self.collected.clear();
        }
        self.collected.extend_from_slice(text);
        if !response.continues {
            self.read_text();
        }
    }
}

/// The model.
struct Stub {
    parameters: TargetParameters,
    authentication: Authentication,
    open_discovery: bool,
}

impl Stub {
    fn must_prove(&self, discovery: bool) -> bool {
        let open = self.authentication.incoming.is_empty() || (discovery && self.open_discovery);
        !open
    }
}

impl Directory for Stub {
    fn target(&self, name: &str, _: &str, _: IpAddr, _: SocketAddr) -> TargetLookup {
        match name {
            TARGET => TargetLookup::Found(Box::new(TargetOffer {
                tid: 1,
                name: name.into(),
                alias: Some("a disk".into()),
                parameters: self.parameters.clone(),
                authentication: self.authentication.clone(),
            })),
            "iqn.moved" => TargetLookup::Moved { address: "192.0.2.1:3260".into(), permanent: false },
            "iqn.off" => TargetLookup::Unavailable,
            "iqn.broken" => TargetLookup::Failed,
            "iqn.later" => TargetLookup::Pending,
            "iqn.evil" => TargetLookup::Refused,
            _ => TargetLookup::NotFound,
        }
    }
    fn discovery(&self) -> Authentication {
        if self.open_discovery { Authentication::default() } else { self.authentication.clone() }
    }
    fn discovery_parameters(&self) -> TargetParameters {
        self.parameters.clone()
    }
    fn send_targets(&self, name: Option<&str>, _: &str, _: IpAddr, local: SocketAddr) -> Vec<TargetRecord> {
        let all = (0..200).map(|at| if at == 0 { TARGET.to_owned() } else { format!("iqn.2026-01.test:other{at}") });
        let wanted = all.filter(|record| name.is_none_or(|name| name == record));
        wanted.map(|name| TargetRecord { name, addresses: vec![format!("{local},1"), "[2001:db8::1]:3260,1".into()] }).collect()
    }
}
