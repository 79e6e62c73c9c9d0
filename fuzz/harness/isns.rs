//! The client of an iSNS server that says anything, and connections that strangers open to us.
//!
//! Records of a byte that says what happens, a byte of length, and so many bytes. The server may answer honestly, with any status and attributes, or send any bytes; the
//! administrator changes what is wanted; connections come and go; time passes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use iscsi::isns::framing::{MESSAGE_LIMIT, PDU_LIMIT};
use iscsi::isns::{Action, Assembler, Attribute, Client, Event, Function, Inbound, Message, NAME_LIMIT, Notice, Registration, Status, Tag, Timing};

/// Names of the targets there can be.
pub const TARGETS: [&str; 4] = ["iqn.t:0", "iqn.t:1", "iqn.t:2", "iqn.t:3"];

/// Reads the bytes as what happens to a client, and as a stream of messages.
pub fn run(bytes: &[u8]) {
    stream(bytes);
    let mut bench = Bench::new();
    let mut rest = bytes;
    while let Some((&[kind, len], after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(len).min(after.len());
        let (record, after) = after.split_at(len);
        bench.record(kind, record);
        rest = after;
    }
    bench.end();
}

/// The way a stream is cut makes no difference, and what is understood is written and read again.
fn stream(bytes: &[u8]) {
    let whole = understood(bytes, bytes.len().max(1));
    assert_eq!(whole, understood(bytes, 1));
    assert_eq!(whole, understood(bytes, 13));
    for message in &whole.0 {
        let (again, fault) = understood(&message.encode(), usize::MAX);
        assert_eq!((again.as_slice(), fault), (std::slice::from_ref(message), false));
        for attribute in &message.attributes {
            assert!(attribute.value().len() % 4 == 0);
            if let Some(text) = attribute.as_text() {
                assert_eq!(Attribute::text(attribute.tag, text).as_text(), Some(text));
            }
            if let Some(address) = attribute.as_address() {
                assert_eq!(Attribute::address(attribute.tag, address).as_address(), Some(address));
            }
        }
    }
}

fn understood(bytes: &[u8], cut: usize) -> (Vec<Message>, bool) {
    let mut assembler = Assembler::new(MESSAGE_LIMIT);
    let mut messages = Vec::new();
    for piece in bytes.chunks(cut) {
        assembler.push(piece);
        loop {
            match assembler.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Closed,
    Wanted,
    Open,
}

struct Bench {
    client: Client,
    timing: Timing,
    now: u64,
    link: Link,
    wanted: Registration,
    /// The request that waits for its answer.
    asked: Option<Message>,
    inbound: Option<Inbound>,
    /// The client was told to stop and has not ended.
    stopping: bool,
    stop_deadline: u64,
    entity: bool,
}

impl Bench {
    fn new() -> Bench {
        let timing = Timing::default();
        let client = Client::new(timing);
        let mut bench = Bench {
            client,
            timing,
            now: 1,
            link: Link::Closed,
            wanted: wanted(0x31),
            asked: None,
            inbound: None,
            stopping: false,
            stop_deadline: 0,
            entity: false,
        };
        bench.client.handle_start(bench.now);
        bench.drain();
        bench
    }

    fn record(&mut self, kind: u8, bytes: &[u8]) {
        let first = bytes.first().copied().unwrap_or(0);
        match kind % 10 {
            0 => self.receive(bytes),
            1 | 2 => self.answer(kind, bytes),
            3 => self.pass(u64::from(first) * 250_000_000),
            4 => self.connected(),
            5 if self.link != Link::Closed => self.client.handle_closed(self.now),
            6 => {
                self.wanted = wanted(first);
                self.client.handle_wanted(self.wanted.clone(), self.now);
            }
            7 => self.turn(),
            8 => self.client.handle_notice(&Notice::Changed(TARGETS[usize::from(first) % 4].into()), self.now),
            9 => self.stranger(bytes),
            _ => {}
        }
        self.drain();
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.link == Link::Open {
            self.client.handle_bytes(bytes, self.now);
        }
    }

    /// An answer to what was asked: honest, or with this status and these attributes.
    fn answer(&mut self, kind: u8, bytes: &[u8]) {
        let Some(request) = self.asked.clone().filter(|_| self.link == Link::Open) else { return };
        let (status, attributes) = if kind % 10 == 1 {
            (
                Status::SUCCESS,
                vec![Attribute::number(Tag::ISCSI_NODE_TYPE, 2), Attribute::empty(Tag::DELIMITER), Attribute::new(Tag::ISCSI_NAME, bytes)],
            )
        } else {
            (Status(u32::from(bytes.first().copied().unwrap_or(0) % 26)), attributes(bytes.get(1..).unwrap_or_default()))
        };
        let answer = Message { from_server: true, ..request.answer(status, attributes) };
        self.client.handle_bytes(&answer.encode(), self.now);
    }

    fn connected(&mut self) {
        if self.link == Link::Wanted {
            self.link = Link::Open;
            self.client.handle_connected(self.wanted.clone(), self.now);
        }
    }

    /// Starts or stops.
    fn turn(&mut self) {
        if self.client.is_stopped() {
            self.client.handle_start(self.now);
        } else if !self.stopping {
            self.stopping = true;
            self.stop_deadline = self.now + self.timing.leave;
            self.client.handle_stop(self.now);
        }
    }

    fn stranger(&mut self, bytes: &[u8]) {
        let inbound = self.inbound.get_or_insert_with(|| Inbound::new(self.now));
        let outcome = inbound.handle_bytes(bytes, self.now).and_then(|()| inbound.handle_timeout(self.now));
        while let Some(answer) = inbound.poll_transmit() {
            let (messages, fault) = understood(&answer, usize::MAX);
            assert!(!fault && messages.len() == 1 && messages[0].function.is_response() && !messages[0].from_server);
        }
        while let Some(notice) = inbound.poll_notice() {
            self.client.handle_notice(&notice, self.now);
        }
        if outcome.is_err() {
            self.inbound = None;
        }
    }

    /// Time passes, with every deadline on the way; each makes progress.
    fn pass(&mut self, time: u64) {
        let until = self.now + time;
        let mut at_once = 0;
        while let Some(deadline) = self.client.poll_timeout().filter(|&deadline| deadline <= until) {
            at_once = if deadline > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 8, "a deadline that does not move: {:?}", self.client);
            self.now = self.now.max(deadline);
            self.client.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self.client.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            self.events();
            let Some(action) = self.client.poll_action() else { break };
            match action {
                Action::Connect => {
                    assert_eq!(self.link, Link::Closed);
                    self.link = Link::Wanted;
                }
                Action::Close => self.close(),
                Action::Ended => {
                    assert_eq!(self.link, Link::Closed);
                    assert!(self.client.is_stopped());
                    self.stopping = false;
                }
            }
        }
        while let Some(bytes) = self.client.poll_transmit() {
            self.sent(&bytes);
        }
        assert_eq!(self.client.is_connected(), self.link == Link::Open);
        assert!(!self.stopping || self.now < self.stop_deadline, "the farewell is bounded");
        if self.link == Link::Open && self.wanted.is_complete() && !self.stopping {
            assert!(self.client.poll_timeout().is_some(), "a registration is refreshed: {:?}", self.client);
        }
    }

    fn close(&mut self) {
        self.link = Link::Closed;
        self.asked = None;
        self.entity = false;
    }

    fn events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Admitted { target, initiators } => {
                    assert!(TARGETS.contains(&target.as_str()));
                    let legal = |name: &String| (1..=NAME_LIMIT).contains(&name.len()) && !name.chars().any(char::is_control);
                    assert!(initiators.len() <= 4096 && initiators.iter().all(legal));
                }
                Event::Lost { delay, .. } => assert!((self.timing.first_delay..=self.timing.longest_delay).contains(&delay)),
                Event::Registered { targets, .. } => assert!(targets <= TARGETS.len()),
                Event::Deregistered | Event::Refused { .. } => {}
            }
        }
    }

    /// One question at a time, each in one PDU; the first one puts everything in the place of what there was.
    fn sent(&mut self, bytes: &[u8]) {
        assert_eq!(self.link, Link::Open);
        let (messages, fault) = understood(bytes, usize::MAX);
        assert!(!fault && messages.len() == 1);
        let message = messages[0].clone();
        assert!(!message.from_server);
        if message.function.is_response() {
            return;
        }
        assert!(bytes.len() <= PDU_LIMIT + 12, "a request goes into one PDU");
        let source = message.text(Tag::ISCSI_NAME).expect("a request has a source");
        assert!(TARGETS.contains(&source.as_str()));
        assert_eq!(message.attributes[0].tag, Tag::ISCSI_NAME);
        match message.function {
            Function::DEVICE_ATTRIBUTE_REGISTRATION => {
                assert!(self.entity || message.replace);
                self.entity = true;
            }
            Function::DEVICE_DEREGISTRATION => assert!(message.operating().is_some_and(|operating| !operating.is_empty())),
            Function::SCN_REGISTRATION => assert!(self.wanted.access_control),
            Function::SCN_DEREGISTRATION | Function::DEVICE_ATTRIBUTE_QUERY => {}
            other => panic!("the client asks {other}"),
        }
        self.asked = Some(message);
    }

    /// However it stands, the end comes.
    fn end(&mut self) {
        if !self.client.is_stopped() && !self.stopping {
            self.turn();
        }
        self.drain();
        self.pass(self.timing.leave);
        assert!(self.client.is_stopped() && self.client.poll_timeout().is_none());
    }
}

/// Attributes of any bytes: a tag, a length and so many bytes each.
fn attributes(bytes: &[u8]) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    let mut rest = bytes;
    while let Some((&[tag, len], after)) = rest.split_first_chunk::<2>() {
        let (value, after) = after.split_at(usize::from(len).min(after.len()));
        attributes.push(Attribute::new(Tag(tag.into()), value));
        rest = after;
    }
    attributes
}

/// Four bits of targets, two of portals, one for their notifications, one for access control.
fn wanted(bits: u8) -> Registration {
    let targets: BTreeSet<&str> = (0..4).filter(|bit| bits & (1 << bit) != 0).map(|bit| TARGETS[bit]).collect();
    let notify = (bits & 0x40 != 0).then_some(4000);
    let all = [(IpAddr::from([10, 0, 0, 1]), 3260), (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), 3260)];
    let portals: BTreeMap<_, _> =
        all.into_iter().enumerate().filter(|(bit, _)| bits & (0x10 << bit) != 0).map(|(_, portal)| (portal, notify)).collect();
    Registration {
        entity: "10.0.0.1:3260".into(),
        portals,
        groups: BTreeMap::new(),
        targets: targets.into_iter().map(|name| (name.to_owned(), None)).collect(),
        access_control: bits & 0x80 != 0,
    }
}
