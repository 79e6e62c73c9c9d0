//! The initiator role against the target role: two independent codecs, every rule of the protocol checked by the initiator.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use iscsi::framing::padding_of;
use iscsi::initiator::{self, Chap, Command, Completion, Mutual};
use iscsi::target::Connection;
use iscsi::*;

const TARGET: &str = "iqn.2026-01.test:disk";

struct Model {
    parameters: TargetParameters,
    authentication: Authentication,
}

impl Directory for Model {
    fn target(&self, name: &str, _: &str, _: IpAddr, _: SocketAddr) -> TargetLookup {
        TargetLookup::Found(Box::new(TargetOffer {
            tid: 1,
            name: name.into(),
            alias: None,
            parameters: self.parameters.clone(),
            authentication: self.authentication.clone(),
        }))
    }
    fn discovery(&self) -> Authentication {
        self.authentication.clone()
    }
    fn discovery_parameters(&self) -> TargetParameters {
        self.parameters.clone()
    }
    fn send_targets(&self, _: Option<&str>, _: &str, _: IpAddr, _: SocketAddr) -> Vec<TargetRecord> {
        (0..400).map(|n| TargetRecord { name: format!("{TARGET}{n}"), addresses: vec!["192.0.2.1:3260,1".into(), "[::1]:3260,1".into()] }).collect()
    }
}

fn parameters() -> TargetParameters {
    TargetParameters {
        max_recv_data_segment_length: 8192,
        header_digest: false,
        data_digest: false,
        initial_r2t: true,
        max_outstanding_r2t: 1,
        immediate_data: true,
        first_burst_length: 65_536,
        max_burst_length: 262_144,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        error_recovery_level: 0,
        default_time_2_wait: 2,
        default_time_2_retain: 20,
        max_connections: 1,
        max_queue_cmd: 16,
        nop_interval: 0,
        nop_count: 0,
    }
}

/// A wire with both roles at its ends, and a shell that keeps one medium: writes store at the LBA of the CDB, reads give it back.
struct Wire {
    initiator: initiator::Connection,
    target: Connection,
    receiver: Receiver,
    model: Model,
    payload: BTreeMap<u32, Vec<u8>>,
    /// Payloads of answers that may be asked for again.
    kept: BTreeMap<u32, Vec<u8>>,
    commands: BTreeMap<u32, CommandEvent>,
    medium: Vec<u8>,
    landing: Landing,
    inline: Vec<u8>,
    random: u64,
    now: u64,
}

impl Wire {
    fn new(settings: initiator::Settings, model: Model) -> Wire {
        let target_settings = Settings {
            crc32c,
            peer: "192.0.2.9:5000".parse().unwrap(),
            local: "192.0.2.1:3260".parse().unwrap(),
            group_tag: 1,
            entropy: [3; 32],
            login_timeout: 1 << 40,
            lookup_timeout: 5_000_000_000,
            data_timeout: 1 << 40,
            inline_limit: 65_536,
        };
        Wire {
            initiator: initiator::Connection::new(settings),
            target: Connection::new(target_settings, 0),
            receiver: Receiver::new(crc32c, 1 << 24),
            model,
            payload: BTreeMap::new(),
            kept: BTreeMap::new(),
            commands: BTreeMap::new(),
            medium: vec![0; 8 << 20],
            landing: Landing::None,
            inline: Vec::new(),
            random: 0x1234_5678_9abc_def1,
            now: 0,
        }
    }

    fn random(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound as u64) as usize
    }

    /// Moves bytes both ways until nothing moves; the initiator's events.
    fn run(&mut self) -> Vec<initiator::Event> {
        let mut events = Vec::new();
        loop {
            let mut moved = false;
            while let Some(bytes) = self.initiator.poll_output() {
                moved = true;
                let cut = self.random(bytes.len() + 1);
                self.deliver(&bytes[..cut]);
                self.deliver(&bytes[cut..]);
            }
            moved |= self.shell();
            while let Some(transmit) = self.target.poll_transmit() {
                moved = true;
                let bytes = self.bytes_of(transmit);
                self.initiator.handle_bytes(&bytes);
            }
            while let Some(event) = self.initiator.poll_event() {
                assert!(!matches!(event, initiator::Event::Violation(_) | initiator::Event::Reject { .. }), "{event:?}");
                events.push(event);
            }
            if !moved {
                return events;
            }
        }
    }

    /// Runs until the commands with these tags have ended; time helps when something is lost.
    fn run_until_done(&mut self, tags: &[u32]) -> Vec<initiator::Event> {
        let mut events = self.run();
        for _ in 0..2000 {
            if tags.iter().all(|&tag| events.iter().any(|event| matches!(event, initiator::Event::Done(completion) if completion.tag == tag))) {
                return events;
            }
            self.now += 2_000_000_000;
            self.target.handle_timeout(&self.model, self.now);
            self.initiator.nudge();
            events.extend(self.run());
        }
        panic!("commands do not end: {events:?}");
    }

    fn deliver(&mut self, mut bytes: &[u8]) {
        loop {
            let (count, piece) = self.receiver.advance(bytes);
            match piece {
                None => return,
                Some(Piece::Header(header)) => {
                    self.landing = self.target.handle_header(header, &self.model, self.now);
                    self.inline.clear();
                }
                Some(Piece::Data { offset, bytes }) => match self.landing {
                    Landing::Inline { .. } => self.inline.extend_from_slice(bytes),
                    Landing::Task { tag, offset: start, .. } => {
                        let payload = self.payload.entry(tag).or_default();
                        let at = (start + offset) as usize;
                        if self.target.negotiated().error_recovery_level == 0 {
                            assert_eq!(payload.len(), at, "data come in order");
                        }
                        payload.resize(payload.len().max(at + bytes.len()), 0);
                        payload[at..at + bytes.len()].copy_from_slice(bytes);
                    }
                    Landing::Discard { .. } => {}
                    other => panic!("{other:?}"),
                },
                Some(Piece::End { digest_ok }) => {
                    let inline = std::mem::take(&mut self.inline);
                    self.target.handle_data(&inline, digest_ok, &self.model, self.now);
                }
                Some(other) => panic!("{other:?}"),
            }
            if self.receiver.is_between_pdus() {
                let (header, data) = self.target.digests();
                self.receiver.set_digests(header, data);
            }
            bytes = &bytes[count..];
        }
    }

    fn shell(&mut self) -> bool {
        let mut moved = false;
        while let Some(event) = self.target.poll_event() {
            moved = true;
            match event {
                Event::LoginReady(_) => {
                    self.target.accept_login(5, self.now);
                    let (header, data) = self.target.digests();
                    self.receiver.set_digests(header, data);
                }
                Event::Command(command) if command.data_out > 0 => {
                    let (tag, len) = (command.tag, command.data_out);
                    self.commands.insert(tag, command);
                    self.target.fetch(tag, len);
                }
                Event::Command(command) => {
                    let (start, end) = self.range(&command, command.data_in);
                    self.payload.insert(command.tag, self.medium[start..end].to_vec());
                    self.target.respond(command.tag, reply(ReplyData::Task { len: command.data_in }, 0));
                }
                Event::DataReady { tag } => {
                    let command = self.commands.remove(&tag).unwrap();
                    let (start, end) = self.range(&command, command.data_out);
                    self.medium[start..end].copy_from_slice(&self.payload[&tag]);
                    self.target.respond(tag, reply(ReplyData::None, command.data_out));
                }
                Event::Function(function) => self.target.function_response(function.tag, FunctionCode::TASK_DOES_NOT_EXIST),
                Event::Logout => {}
                Event::TargetAwaited { name, .. } => panic!("{name} is known at once"),
                Event::Close { reason } => panic!("{reason}"),
            }
        }
        moved
    }

    fn range(&self, command: &CommandEvent, len: u32) -> (usize, usize) {
        let cdb = command.cdb.as_bytes();
        let start = u32::from_be_bytes(cdb[2..6].try_into().unwrap()) as usize;
        (start, start + len as usize)
    }

    fn bytes_of(&mut self, transmit: Transmit) -> Vec<u8> {
        let mut bytes = transmit.header.to_vec();
        if transmit.header_digest {
            bytes.extend(crc32c(0, &transmit.header).to_le_bytes());
        }
        let mut data = match transmit.data {
            TransmitData::None => Vec::new(),
            TransmitData::Inline(bytes) => bytes,
            TransmitData::Task { tag, offset, len } => self.payload[&tag][offset as usize..(offset + len) as usize].to_vec(),
            TransmitData::Kept { stat_sn, offset, len } => self.kept[&stat_sn][offset as usize..(offset + len) as usize].to_vec(),
        };
        data.resize(data.len() + padding_of(data.len() as u32), 0);
        bytes.extend_from_slice(&data);
        if transmit.data_digest && !data.is_empty() {
            bytes.extend(crc32c(0, &data).to_le_bytes());
        }
        if let Some(payload) = transmit.last_of.and_then(|tag| self.payload.remove(&tag))
            && let Some(stat_sn) = transmit.keep_as
        {
            self.kept.insert(stat_sn, payload);
        }
        bytes
    }
}

fn reply(data_in: ReplyData, data_out: u32) -> Reply {
    Reply { status: 0, sense: Vec::new(), data_in, data_out }
}

fn cdb(opcode: u8, at: usize) -> Vec<u8> {
    let mut cdb = vec![opcode, 0];
    cdb.extend((at as u32).to_be_bytes());
    cdb.extend([0; 4]);
    cdb
}

fn done(events: &[initiator::Event], tag: u32) -> Completion {
    events
        .iter()
        .find_map(|event| match event {
            initiator::Event::Done(completion) if completion.tag == tag => Some(completion.clone()),
            _ => None,
        })
        .unwrap_or_else(|| panic!("tag {tag} has not ended: {events:?}"))
}

/// Every mixture of parameters and lengths: what is written is read back, and the initiator sees no rule broken.
#[test]
fn any_parameters_carry_any_length() {
    for case in 0..64u32 {
        let bit = |n: u32| case >> n & 1 == 1;
        let mut settings = initiator::Settings::new("iqn.me", Some(TARGET));
        settings.cmd_sn = u32::MAX - 20;
        (settings.initial_r2t, settings.immediate_data) = (bit(0), bit(1));
        (settings.header_digest, settings.data_digest) = (bit(2), bit(3));
        (settings.max_burst_length, settings.first_burst_length) = if bit(4) { (16_384, 4096) } else { (262_144, 65_536) };
        settings.max_recv_data_segment_length = if bit(5) { 1024 } else { 65_536 };
        let model = Model {
            parameters: TargetParameters {
                initial_r2t: false,
                header_digest: true,
                data_digest: true,
                max_outstanding_r2t: 1 + case % 4,
                ..parameters()
            },
            authentication: Authentication::default(),
        };
        let mut wire = Wire::new(settings, model);
        assert!(matches!(wire.run()[..], [initiator::Event::LoggedIn { tsih: 5 }]));
        for len in [1, 3, 512, 4095, 4097, 16_384, 70_001, 300_000] {
            let at = wire.random(1000);
            let data: Vec<u8> = (0..len).map(|n: usize| (n.wrapping_mul(31) >> 3) as u8 ^ case as u8).collect();
            let tag = wire.initiator.submit(Command::new(1, &cdb(0x2a, at)).writing(data.clone()));
            let events = wire.run();
            assert_eq!((done(&events, tag).status, done(&events, tag).residual), (0, 0));
            let tag = wire.initiator.submit(Command::new(1, &cdb(0x28, at)).reading(len as u32));
            let events = wire.run();
            assert!(done(&events, tag).data_in == data, "case {case}, {len} bytes");
        }
        let tags: Vec<u32> = (0..40).map(|n| wire.initiator.submit(Command::new(1, &cdb(0x2a, n * 70_000)).writing(vec![n as u8; 70_000]))).collect();
        let events = wire.run();
        assert!(tags.iter().all(|&tag| done(&events, tag).status == 0), "more than the window holds");
        assert_eq!(wire.target.task_count(), 0);
        assert!(wire.payload.is_empty());
        wire.initiator.logout();
        assert!(matches!(wire.run()[..], [initiator::Event::LoggedOut { response: 0 }]));
    }
}

/// At ErrorRecoveryLevel 1 any PDU may be lost or damaged, in both directions: every command ends once, with the right data.
#[test]
fn lost_and_damaged_pdus_are_made_good() {
    for case in 0..24u64 {
        let bit = |n: u64| case >> n & 1 == 1;
        let mut settings = initiator::Settings::new("iqn.me", Some(TARGET));
        settings.cmd_sn = u32::MAX - 20;
        settings.error_recovery_level = 1;
        (settings.initial_r2t, settings.immediate_data, settings.data_digest) = (bit(0), bit(1), bit(2));
        (settings.max_burst_length, settings.first_burst_length) = if bit(3) { (16_384, 4096) } else { (65_536, 8192) };
        settings.max_recv_data_segment_length = 2048;
        let share = if case % 5 == 1 { 150 } else { 30 };
        settings.losses = Some(initiator::Losses { seed: case + 1, received: share, sent: if case % 3 == 0 { 0 } else { share } });
        let parameters = TargetParameters { initial_r2t: false, data_digest: true, error_recovery_level: 1, max_outstanding_r2t: 4, ..parameters() };
        let mut wire = Wire::new(settings, Model { parameters, authentication: Authentication::default() });
        wire.run();
        let data = |n: usize| -> Vec<u8> { (0..20_000 + n).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ n as u8 ^ case as u8).collect() };
        for round in 0..2 {
            let writes: Vec<u32> =
                (0..12).map(|n| wire.initiator.submit(Command::new(1, &cdb(0x2a, n * 70_000)).writing(data(round * 12 + n)))).collect();
            let events = wire.run_until_done(&writes);
            assert!(writes.iter().all(|&tag| done(&events, tag).status == 0), "case {case}");
            let reads: Vec<u32> =
                (0..12).map(|n| wire.initiator.submit(Command::new(1, &cdb(0x28, n * 70_000)).reading((20_000 + round * 12 + n) as u32))).collect();
            let events = wire.run_until_done(&reads);
            for (n, &tag) in reads.iter().enumerate() {
                assert!(done(&events, tag).data_in == data(round * 12 + n), "case {case}, command {n}");
                assert_eq!(events.iter().filter(|event| matches!(event, initiator::Event::Done(done) if done.tag == tag)).count(), 1);
            }
        }
        assert_eq!(wire.target.task_count(), 0, "case {case}");
    }
}

#[test]
fn a_long_write_over_default_parameters() {
    let mut wire =
        Wire::new(initiator::Settings::new("iqn.me", Some(TARGET)), Model { parameters: parameters(), authentication: Authentication::default() });
    wire.run();
    let tag = wire.initiator.submit(Command::new(1, &cdb(0x2a, 0)).writing(vec![7; (4 << 20) + 512]));
    let events = wire.run();
    assert_eq!(done(&events, tag).status, 0);
    let tag = wire.initiator.submit(Command::new(1, &cdb(0x28, 0)).reading((4 << 20) + 512));
    let events = wire.run();
    assert!(done(&events, tag).data_in == vec![7; (4 << 20) + 512]);
}

#[test]
fn chap_both_ways_with_every_algorithm() {
    let account = |user: &str, password: &str| Account { user: user.into(), password: password.into() };
    for algorithm in 5..=8 {
        let mut settings = initiator::Settings::new("iqn.me", Some(TARGET));
        let mutual = Some(Mutual { user: "out".into(), secret: b"password5678".to_vec(), identifier: 9, challenge: vec![1, 2, 3, 4] });
        settings.chap = Some(Chap { user: "in".into(), secret: b"password1234".to_vec(), algorithms: vec![algorithm], mutual });
        let authentication =
            Authentication { incoming: vec![account("x", "y"), account("in", "password1234")], outgoing: Some(account("out", "password5678")) };
        let mut wire = Wire::new(settings, Model { parameters: parameters(), authentication });
        assert!(matches!(wire.run()[..], [initiator::Event::LoggedIn { tsih: 5 }]), "algorithm {algorithm}");
    }
}

#[test]
fn a_long_discovery_answer_arrives_whole() {
    let mut wire = Wire::new(initiator::Settings::new("iqn.me", None), Model { parameters: parameters(), authentication: Authentication::default() });
    assert!(matches!(wire.run()[..], [initiator::Event::LoggedIn { .. }]));
    wire.initiator.text(b"SendTargets=All\0");
    let events = wire.run();
    let [initiator::Event::Text { pairs, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(!pairs.is_empty());
}
