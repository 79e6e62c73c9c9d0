//! The wire, and the machine against a small server of ours under a virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use proptest::prelude::*;

use super::client::Reason;
use super::inbound::{self, Ending};
use super::*;

const SECOND: u64 = 1_000_000_000;
const A: &str = "iqn.2026-01.test:a";
const B: &str = "iqn.2026-01.test:b";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn wanted(targets: &[&str]) -> Registration {
    Registration {
        entity: "10.0.0.1:3260".into(),
        portals: BTreeMap::from([((ip("10.0.0.1"), 3260), Some(4000)), ((ip("2001:db8::1"), 3260), None)]),
        groups: BTreeMap::new(),
        targets: targets.iter().map(|name| (name.to_string(), None)).collect(),
        access_control: false,
    }
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut assembler = Assembler::new(framing::MESSAGE_LIMIT);
    assembler.push(bytes);
    let mut messages = Vec::new();
    while let Some(message) = assembler.next_message().unwrap() {
        messages.push(message);
    }
    assert!(!assembler.is_inside());
    messages
}

/// A client and what it did.
struct Bench {
    client: Client,
    now: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench { client: Client::new(Timing::default()), now: 100 * SECOND }
    }

    /// Connected, and its first request on the way.
    fn connected(wanted: Registration) -> Bench {
        let mut bench = Bench::new();
        bench.client.handle_start(bench.now);
        assert_eq!(bench.actions(), [Action::Connect]);
        bench.client.handle_connected(wanted, bench.now);
        bench
    }

    /// Registered, with nothing more to do.
    fn registered(wanted: Registration) -> Bench {
        let mut bench = Bench::connected(wanted);
        bench.obey();
        assert!(bench.events().iter().any(|event| matches!(event, Event::Registered { .. })));
        bench
    }

    fn actions(&mut self) -> Vec<Action> {
        core::iter::from_fn(|| self.client.poll_action()).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn sent(&mut self) -> Vec<Message> {
        core::iter::from_fn(|| self.client.poll_transmit()).flat_map(|bytes| messages(&bytes)).collect()
    }

    fn one(&mut self) -> Message {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    fn answer(&mut self, request: &Message, status: Status, attributes: Vec<Attribute>) {
        let answer = Message { from_server: true, ..request.answer(status, attributes) };
        self.client.handle_bytes(&answer.encode(), self.now);
    }

    /// Answers everything with success until nothing more comes; gives the requests.
    fn obey(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            let sent = self.sent();
            if sent.is_empty() {
                return all;
            }
            for request in sent {
                let attributes = if request.function == Function::DEVICE_ATTRIBUTE_QUERY { vec![Attribute::empty(Tag::DELIMITER)] } else { vec![] };
                self.answer(&request, Status::SUCCESS, attributes);
                all.push(request);
            }
        }
    }

    fn want(&mut self, wanted: Registration) {
        self.client.handle_wanted(wanted, self.now);
    }

    fn pass(&mut self, time: u64) {
        self.now += time;
        self.client.handle_timeout(self.now);
    }

    fn lost(&mut self) -> Reason {
        let reason = self.events().into_iter().find_map(|event| if let Event::Lost { reason, .. } = event { Some(reason) } else { None });
        assert_eq!(self.actions(), [Action::Close]);
        assert!(!self.client.is_connected());
        reason.expect("the connection is lost")
    }
}

fn texts(message: &Message, tag: Tag) -> Vec<&str> {
    message.attributes.iter().filter(|attribute| attribute.tag == tag).map(|attribute| attribute.as_text().unwrap()).collect()
}

fn names(names: &[&str]) -> Vec<Attribute> {
    let mut attributes = vec![Attribute::number(Tag::ISCSI_NODE_TYPE, NODE_INITIATOR), Attribute::empty(Tag::DELIMITER)];
    for name in names {
        attributes.push(Attribute::text(Tag::ISCSI_NAME, name));
        attributes.push(Attribute::number(Tag::ISCSI_NODE_TYPE, NODE_INITIATOR));
    }
    attributes
}

fn admitted(events: &[Event]) -> Vec<(String, Vec<String>)> {
    let one = |event: &Event| match event {
        Event::Admitted { target, initiators } => Some((target.clone(), initiators.iter().cloned().collect())),
        _ => None,
    };
    events.iter().filter_map(one).collect()
}

#[test]
fn a_registration_says_who_and_where() {
    let mut bench = Bench::connected(wanted(&[A, B]));
    let request = bench.one();
    assert_eq!((request.function, request.replace, request.from_server), (Function::DEVICE_ATTRIBUTE_REGISTRATION, true, false));
    let tags: Vec<u32> = request.attributes.iter().map(|attribute| attribute.tag.0).collect();
    let target = [32, 33, 51, 49, 50, 49, 50];
    let expected: Vec<u32> = [32, 1, 0, 1, 2, 16, 17, 19, 20, 23, 16, 17].into_iter().chain(target).chain(target).collect();
    assert_eq!(tags, expected);
    assert_eq!(texts(&request, Tag::ENTITY_IDENTIFIER), ["10.0.0.1:3260"; 2]);
    assert_eq!(texts(&request, Tag::ISCSI_NAME), [A, A, B]);
    let addresses: Vec<_> = request.attributes.iter().filter(|attribute| attribute.tag == Tag::PORTAL_ADDRESS).collect();
    assert_eq!(addresses[0].value()[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    assert_eq!(addresses.iter().map(|address| address.as_address()).collect::<Vec<_>>(), [Some(ip("10.0.0.1")), Some(ip("2001:db8::1"))]);
    assert_eq!(request.find(Tag::PORTAL_PORT).unwrap().as_number(), Some(3260));
    assert_eq!(request.find(Tag::ESI_PORT).unwrap().as_number(), Some(4000));
    assert_eq!(request.find(Tag::SCN_PORT).unwrap().as_number(), Some(4000));
    assert_eq!(request.find(Tag::ISCSI_NODE_TYPE).unwrap().as_number(), Some(NODE_TARGET));

    bench.answer(&request, Status::SUCCESS, vec![Attribute::text(Tag::ENTITY_IDENTIFIER, "given")]);
    assert_eq!(bench.events(), [Event::Registered { entity: "given".into(), targets: 2 }]);
    assert!(bench.sent().is_empty());
    bench.pass(30 * SECOND);
    assert_eq!(texts(&bench.one(), Tag::ENTITY_IDENTIFIER), ["given"]);
}

#[test]
fn what_comes_and_goes_is_told_alone() {
    let mut bench = Bench::registered(wanted(&[A]));
    bench.want(wanted(&[A, B]));
    let request = bench.one();
    assert_eq!((request.function, request.replace), (Function::DEVICE_ATTRIBUTE_REGISTRATION, false));
    assert_eq!(texts(&request, Tag::ISCSI_NAME), [A, B]);
    assert!(request.find(Tag::PORTAL_ADDRESS).is_none());
    bench.answer(&request, Status::SUCCESS, vec![]);

    bench.want(wanted(&[B]));
    let request = bench.one();
    assert_eq!(request.function, Function::DEVICE_DEREGISTRATION);
    assert_eq!((texts(&request, Tag::ISCSI_NAME), request.operating().unwrap().len()), (vec![B, A], 1));
    bench.answer(&request, Status::SUCCESS, vec![]);

    let mut other = wanted(&[B]);
    other.portals = BTreeMap::from([((ip("10.0.0.1"), 3260), Some(4000)), ((ip("10.0.0.2"), 3261), None)]);
    bench.want(other);
    let request = bench.one();
    assert_eq!((request.function, request.replace), (Function::DEVICE_ATTRIBUTE_REGISTRATION, false));
    assert_eq!(request.find(Tag::PORTAL_ADDRESS).unwrap().as_address(), Some(ip("10.0.0.2")));
    bench.answer(&request, Status::SUCCESS, vec![]);
    let request = bench.one();
    assert_eq!(request.function, Function::DEVICE_DEREGISTRATION);
    assert_eq!(request.operating().unwrap()[0].as_address(), Some(ip("2001:db8::1")));
    bench.answer(&request, Status::SUCCESS, vec![]);
    assert!(bench.sent().is_empty());

    bench.want(wanted(&[]));
    let request = bench.one();
    assert_eq!(request.function, Function::DEVICE_DEREGISTRATION);
    assert_eq!(request.operating().unwrap(), [Attribute::text(Tag::ENTITY_IDENTIFIER, "10.0.0.1:3260")]);
    bench.answer(&request, Status::SUCCESS, vec![]);
    assert!(bench.events().contains(&Event::Deregistered));
    bench.want(wanted(&[A]));
    assert!(bench.one().replace);
}

#[test]
fn a_target_that_is_renamed_is_added_first() {
    let mut bench = Bench::registered(wanted(&[A]));
    bench.want(wanted(&[B]));
    let functions: Vec<Function> = bench.obey().iter().map(|request| request.function).collect();
    assert_eq!(functions, [Function::DEVICE_ATTRIBUTE_REGISTRATION, Function::DEVICE_DEREGISTRATION]);
}

#[test]
fn many_targets_take_several_requests_of_one_pdu() {
    let all: Vec<String> = (0..2000).map(|number| format!("iqn.2026-01.test:{number:04}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut bench = Bench::connected(wanted(&all));
    let requests = bench.obey();
    assert!(requests.len() > 2);
    assert!(requests.iter().all(|request| request.encode().len() <= 8192));
    assert_eq!(requests.iter().filter(|request| request.replace).count(), 1);
    let told: BTreeSet<&str> = requests.iter().flat_map(|request| texts(request, Tag::ISCSI_NAME)).collect();
    assert_eq!(told.len(), 2000);
    assert_eq!(bench.events(), [Event::Registered { entity: "10.0.0.1:3260".into(), targets: 2000 }]);
    bench.want(wanted(&[all[7]]));
    let requests = bench.obey();
    assert!(requests.iter().all(|request| request.function == Function::DEVICE_DEREGISTRATION && request.encode().len() <= 8192));
    assert_eq!(requests.iter().map(|request| request.operating().unwrap().len()).sum::<usize>(), 1999);
}

#[test]
fn access_control_asks_who_may_and_asks_again_when_told() {
    let mut bench = Bench::connected(Registration { access_control: true, ..wanted(&[A, B]) });
    let register = bench.one();
    bench.answer(&register, Status::SUCCESS, vec![]);
    let subscribe = |bench: &mut Bench, target| {
        let request = bench.one();
        assert_eq!((request.function, texts(&request, Tag::ISCSI_NAME)), (Function::SCN_REGISTRATION, vec![target, target]));
        assert_eq!(request.operating().unwrap(), [Attribute::number(Tag::ISCSI_SCN_BITMAP, SCN_OF_A_TARGET)]);
        bench.answer(&request, Status::SUCCESS, vec![]);
    };
    subscribe(&mut bench, A);
    assert!(bench.client.is_querying());
    let query = bench.one();
    assert_eq!((query.function, texts(&query, Tag::ISCSI_NAME)), (Function::DEVICE_ATTRIBUTE_QUERY, vec![A, ""]));
    assert_eq!(query.attributes[1], Attribute::number(Tag::ISCSI_NODE_TYPE, NODE_INITIATOR));
    bench.answer(&query, Status::SUCCESS, names(&["iqn.i:1", "iqn.i:2"]));
    subscribe(&mut bench, B);
    let query = bench.one();
    bench.answer(&query, Status::NO_SUCH_ENTRY, vec![]);
    let events = bench.events();
    assert_eq!(admitted(&events), [(A.into(), vec!["iqn.i:1".into(), "iqn.i:2".into()]), (B.into(), vec![])]);
    assert!(bench.sent().is_empty() && !bench.client.is_querying());

    // A flood of notifications is one question a second.
    for _ in 0..100 {
        bench.client.handle_notice(&Notice::Changed(A.into()), bench.now);
        bench.client.handle_notice(&Notice::Changed("iqn.not:ours".into()), bench.now);
    }
    assert!(bench.sent().is_empty());
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + SECOND));
    bench.pass(SECOND);
    let query = bench.one();
    bench.answer(&query, Status::SUCCESS, names(&["iqn.i:2"]));
    assert_eq!(admitted(&bench.events()), [(A.into(), vec!["iqn.i:2".into()])]);

    // The same answer is no news, an error keeps what there was.
    bench.client.handle_notice(&Notice::Changed(A.into()), bench.now);
    bench.pass(SECOND);
    let query = bench.one();
    bench.answer(&query, Status::SUCCESS, names(&["iqn.i:2"]));
    bench.client.handle_notice(&Notice::Changed(A.into()), bench.now);
    bench.pass(SECOND);
    let query = bench.one();
    bench.answer(&query, Status(12), vec![]);
    let events = bench.events();
    assert_eq!(events, [Event::Refused { function: Function::DEVICE_ATTRIBUTE_QUERY, status: Status(12), about: A.into() }]);

    bench.want(wanted(&[A, B]));
    let functions: Vec<Function> = bench.obey().iter().map(|request| request.function).collect();
    assert_eq!(functions, [Function::SCN_DEREGISTRATION; 2]);
}

#[test]
fn without_notifications_the_question_is_repeated() {
    let mut quiet = Registration { access_control: true, ..wanted(&[A]) };
    quiet.portals.values_mut().for_each(|port| *port = None);
    let mut bench = Bench::registered(quiet);
    bench.pass(30 * SECOND);
    let requests = bench.obey();
    assert_eq!(requests[0].function, Function::DEVICE_ATTRIBUTE_QUERY);
    assert_eq!(texts(&requests[0], Tag::ISCSI_NAME), [A, ""]);
}

#[test]
fn only_initiators_with_legal_names_are_let_in() {
    let long = "x".repeat(NAME_LIMIT + 1);
    let mut attributes = names(&["iqn.i:1", &long, "", "iqn.i:2"]);
    attributes.push(Attribute::text(Tag::ISCSI_NAME, "iqn.a:target"));
    attributes.push(Attribute::number(Tag::ISCSI_NODE_TYPE, NODE_TARGET));
    attributes.push(Attribute::new(Tag::ISCSI_NAME, b"iqn.\xff\xfe\0\0"));
    attributes.push(Attribute::new(Tag::ISCSI_NAME, b"a\0b\0"));
    attributes.push(Attribute::new(Tag::ISCSI_NAME, b"%n\n\0"));
    attributes.push(Attribute::text(Tag::ISCSI_NAME, "iqn.untyped"));
    let request = Message::request(Function::DEVICE_ATTRIBUTE_QUERY, 1, vec![]);
    let message = request.answer(Status::SUCCESS, attributes);
    let found = known::initiators(&message, 100).unwrap();
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["iqn.i:1", "iqn.i:2", "iqn.untyped"]);
    assert_eq!(known::initiators(&message, 2).unwrap().len(), 2);
    assert_eq!(known::initiators(&request.answer(Status::SUCCESS, vec![Attribute::text(Tag::ISCSI_NAME, "iqn.i:1")]), 9), None);
}

#[test]
fn a_registration_is_refreshed_well_before_it_ends() {
    let mut bench = Bench::connected(wanted(&[A]));
    let request = bench.one();
    bench.answer(&request, Status::SUCCESS, vec![Attribute::number(Tag::REGISTRATION_PERIOD, 12)]);
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + 4 * SECOND));
    bench.pass(4 * SECOND);
    let refresh = bench.one();
    assert_eq!(refresh.operating().unwrap(), [Attribute::empty(Tag::REGISTRATION_PERIOD)]);
    bench.answer(&refresh, Status::SUCCESS, vec![Attribute::number(Tag::REGISTRATION_PERIOD, 6)]);
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + 2 * SECOND));
    bench.pass(2 * SECOND);
    let refresh = bench.one();
    // A period of no length, or of ages, is no reason to hurry or to wait.
    bench.answer(&refresh, Status::SUCCESS, vec![Attribute::number(Tag::REGISTRATION_PERIOD, 1)]);
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + SECOND));
    bench.pass(SECOND);
    let refresh = bench.one();
    bench.answer(&refresh, Status::SUCCESS, vec![Attribute::number(Tag::REGISTRATION_PERIOD, u32::MAX)]);
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + 30 * SECOND));
    bench.pass(30 * SECOND);
    let refresh = bench.one();
    bench.answer(&refresh, Status::NO_SUCH_ENTRY, vec![]);
    assert_eq!(bench.lost(), Reason::Forgotten(Status::NO_SUCH_ENTRY));
}

#[test]
fn a_server_that_is_away_is_asked_less_and_less() {
    let mut bench = Bench::new();
    bench.client.handle_start(bench.now);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(bench.actions(), [Action::Connect]);
        bench.client.handle_closed(bench.now);
        assert_eq!(bench.events(), [Event::Lost { reason: Reason::Closed, delay: seconds * SECOND }]);
        assert_eq!(bench.actions(), [Action::Close]);
        assert_eq!(bench.client.poll_timeout(), Some(bench.now + seconds * SECOND));
        bench.pass(seconds * SECOND - 1);
        assert_eq!(bench.actions(), []);
        bench.pass(1);
    }
    assert_eq!(bench.actions(), [Action::Connect]);
    bench.pass(10 * SECOND);
    assert_eq!(bench.lost(), Reason::Timeout, "an attempt ends");
    bench.pass(60 * SECOND);
    assert_eq!(bench.actions(), [Action::Connect]);
    bench.client.handle_connected(wanted(&[A]), bench.now);
    bench.obey();
    bench.events();
    bench.client.handle_closed(bench.now);
    assert_eq!(bench.events(), [Event::Lost { reason: Reason::Closed, delay: SECOND }], "a registration makes up for it");
    bench.pass(SECOND);
    assert_eq!(bench.actions(), [Action::Close, Action::Connect]);
    bench.client.handle_connected(wanted(&[A]), bench.now);
    assert!(bench.one().replace, "registered anew");
}

#[test]
fn hostile_answers_cost_the_connection() {
    let hostile = |make: &dyn Fn(&Message) -> Vec<u8>| {
        let mut bench = Bench::connected(wanted(&[A]));
        let request = bench.one();
        bench.client.handle_bytes(&make(&request), bench.now);
        bench.lost()
    };
    let answer = |request: &Message| Message { from_server: true, ..request.answer(Status::SUCCESS, vec![]) };
    let reason = hostile(&|request| Message { transaction: request.transaction.wrapping_add(1), ..answer(request) }.encode());
    assert_eq!(reason, Reason::Unexpected(Function(0x8001)));
    assert_eq!(hostile(&|request| Message { function: Function(0x8002), ..answer(request) }.encode()), Reason::Unexpected(Function(0x8002)));
    let twice = hostile(&|request| [answer(request).encode(), answer(request).encode()].concat());
    assert_eq!(twice, Reason::Unexpected(Function(0x8001)));
    let patched = |place: usize, byte: u8| {
        hostile(&move |request| {
            let mut bytes = Message { attributes: vec![Attribute::number(Tag(99), 1)], ..answer(request) }.encode();
            bytes[place] = byte;
            bytes
        })
    };
    assert_eq!(patched(1, 2), Reason::Fault(Fault::Version(2)));
    assert_eq!(patched(5, 15), Reason::Fault(Fault::Length(15)));
    assert_eq!(patched(5, 12), Reason::Fault(Fault::Attribute), "cut short");
    assert_eq!(patched(6, 0x6c), Reason::Fault(Fault::Authentication));
    assert_eq!(patched(6, 0x48), Reason::Fault(Fault::First));
    assert_eq!(patched(20, 0xff), Reason::Fault(Fault::Attribute), "an absurd length");
    assert_eq!(patched(23, 3), Reason::Fault(Fault::Attribute));
    let empty = hostile(&|request| {
        let mut bytes = answer(request).encode();
        bytes.truncate(12);
        bytes[5] = 0;
        bytes
    });
    assert_eq!(empty, Reason::Fault(Fault::NoStatus));
    assert_eq!(hostile(&|_| vec![0x48; 100_000]), Reason::Fault(Fault::Version(0x4848)));
    assert_eq!(hostile(&|request| fragments(request, 5000, 0)), Reason::Fault(Fault::TooMany));
    assert_eq!(hostile(&|request| fragments(request, 20, 65532)), Reason::Fault(Fault::TooLong));
}

/// Fragments of an answer that never ends.
fn fragments(request: &Message, count: u16, len: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sequence in 0..count {
        let flags: u16 = if sequence == 0 { 0x4400 } else { 0x4000 };
        for field in [1, request.function.response().0, len, flags, request.transaction, sequence] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.resize(bytes.len() + usize::from(len), 0);
    }
    bytes
}

#[test]
fn fragments_must_follow_each_other() {
    let answer = Message::request(Function(1), 7, vec![]).answer(Status::SUCCESS, vec![Attribute::new(Tag(9), &[7; 200_000])]);
    let bytes = answer.encode();
    assert_eq!(messages(&bytes), [answer]);
    let second = framing::HEADER_LEN + framing::PDU_LIMIT;
    for (place, fault) in [(3, Fault::Sequence), (9, Fault::Sequence), (11, Fault::Sequence), (6, Fault::First)] {
        let mut bytes = bytes.clone();
        bytes[second + place] ^= 4;
        let mut assembler = Assembler::new(framing::MESSAGE_LIMIT);
        assembler.push(&bytes);
        assert_eq!(assembler.next_message(), Err(fault), "byte {place}");
    }
}

#[test]
fn silence_and_slowness_cost_the_connection() {
    let mut bench = Bench::connected(wanted(&[A]));
    let request = bench.one();
    bench.pass(10 * SECOND - 1);
    assert!(bench.client.is_connected());
    bench.pass(1);
    assert_eq!(bench.lost(), Reason::Timeout);

    // One byte at a time: the answer counts when it is whole, however it is cut, and time goes on meanwhile.
    let mut bench = Bench::connected(wanted(&[A]));
    let request = Message { transaction: bench.one().transaction, ..request };
    let bytes = Message { from_server: true, ..request.answer(Status::SUCCESS, vec![Attribute::number(Tag(99), 1)]) }.encode();
    for byte in &bytes {
        assert!(bench.events().is_empty());
        bench.client.handle_bytes(&[*byte], bench.now);
    }
    assert_eq!(bench.events().len(), 1);
    // And when nothing was asked.
    for byte in &bytes[..15] {
        bench.client.handle_bytes(&[*byte], bench.now);
        bench.pass(SECOND);
        if !bench.client.is_connected() {
            break;
        }
    }
    assert_eq!(bench.lost(), Reason::Timeout);
}

#[test]
fn a_server_that_cannot_inquire_is_registered_with_all_the_same() {
    let mut bench = Bench::connected(wanted(&[A]));
    let request = bench.one();
    bench.answer(&request, Status::ESI_NOT_AVAILABLE, vec![]);
    let request = bench.one();
    assert!(request.replace && request.find(Tag::ESI_PORT).is_none() && request.find(Tag::SCN_PORT).is_some());
    bench.answer(&request, Status::SUCCESS, vec![]);
    assert!(matches!(bench.events()[..], [Event::Registered { .. }]));
}

#[test]
fn one_target_that_is_refused_keeps_the_others_from_nothing() {
    let mut bench = Bench::connected(wanted(&[A, B]));
    let request = bench.one();
    bench.answer(&request, Status(3), vec![]);
    let request = bench.one();
    assert_eq!(texts(&request, Tag::ISCSI_NAME), [A, A]);
    bench.answer(&request, Status(3), vec![]);
    let refused = Event::Refused { function: Function::DEVICE_ATTRIBUTE_REGISTRATION, status: Status(3), about: A.into() };
    assert_eq!(bench.events(), core::slice::from_ref(&refused));
    let request = bench.one();
    assert_eq!(texts(&request, Tag::ISCSI_NAME), [B, B]);
    bench.answer(&request, Status::SUCCESS, vec![]);
    assert!(matches!(bench.events()[..], [Event::Registered { targets: 1, .. }]));
    assert!(bench.sent().is_empty());
    bench.pass(60 * SECOND);
    let request = bench.one();
    assert_eq!((texts(&request, Tag::ISCSI_NAME), request.replace), (vec![B, A], false), "offered again");
    bench.answer(&request, Status(3), vec![]);
    assert_eq!(bench.events(), [refused]);
}

#[test]
fn every_request_may_be_refused() {
    for status in (1..=24).map(Status) {
        let mut bench = Bench::registered(Registration { access_control: true, ..wanted(&[A]) });
        let mut other = wanted(&[A, B]);
        other.portals = BTreeMap::from([((ip("10.0.0.2"), 3261), None)]);
        bench.want(other);
        for _ in 0..20 {
            for request in bench.sent() {
                bench.answer(&request, status, vec![]);
            }
            bench.pass(SECOND);
        }
        let known = status != Status::SOURCE_UNKNOWN;
        assert_eq!(bench.client.is_connected(), known, "{status}");
        assert!(bench.events().len() < 20);
        bench.client.handle_stop(bench.now);
        bench.obey();
        assert_eq!(bench.actions().last(), Some(&Action::Ended));
    }
}

#[test]
fn the_farewell_is_bounded() {
    let mut bench = Bench::registered(wanted(&[A]));
    bench.client.handle_stop(bench.now);
    let request = bench.one();
    assert_eq!(request.operating().unwrap(), [Attribute::text(Tag::ENTITY_IDENTIFIER, "10.0.0.1:3260")]);
    bench.answer(&request, Status::SUCCESS, vec![]);
    assert_eq!(bench.events(), [Event::Deregistered]);
    assert_eq!(bench.actions(), [Action::Close, Action::Ended]);
    assert!(bench.client.is_stopped() && bench.client.poll_timeout().is_none());

    let mut bench = Bench::registered(wanted(&[A]));
    bench.client.handle_stop(bench.now);
    bench.one();
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + 2 * SECOND));
    bench.pass(2 * SECOND);
    assert_eq!(bench.actions(), [Action::Close, Action::Ended]);

    // In the middle of the registration: it is finished and taken back.
    let mut bench = Bench::connected(wanted(&[A]));
    bench.client.handle_stop(bench.now);
    assert_eq!(bench.actions(), []);
    assert_eq!(bench.obey().len(), 2);
    assert_eq!(bench.actions(), [Action::Close, Action::Ended]);

    let mut bench = Bench::new();
    bench.client.handle_start(bench.now);
    bench.client.handle_stop(bench.now);
    assert_eq!(bench.actions(), [Action::Connect, Action::Close, Action::Ended]);
    bench.client.handle_start(bench.now);
    assert_eq!(bench.actions(), [Action::Connect]);
    bench.client.handle_closed(bench.now);
    bench.client.handle_stop(bench.now);
    assert_eq!(bench.actions(), [Action::Close, Action::Ended]);
}

#[test]
fn nothing_to_register_waits() {
    let mut bench = Bench::connected(wanted(&[]));
    assert!(bench.sent().is_empty() && bench.client.is_connected());
    assert_eq!(bench.client.poll_timeout(), None);
    bench.want(Registration { portals: BTreeMap::new(), ..wanted(&[A]) });
    assert!(bench.sent().is_empty());
    bench.want(wanted(&[A]));
    assert!(bench.one().replace);
}

fn inquiry() -> Message {
    let attributes = vec![
        Attribute::new(Tag::TIMESTAMP, &[0, 0, 0, 0, 1, 2, 3, 4]),
        Attribute::text(Tag::ENTITY_IDENTIFIER, "10.0.0.1:3260"),
        Attribute::address(Tag::PORTAL_ADDRESS, ip("10.0.0.1")),
        Attribute::number(Tag::PORTAL_PORT, 3260),
    ];
    Message { from_server: true, ..Message::request(Function::ENTITY_STATUS_INQUIRY, 77, attributes) }
}

fn notification(target: &str) -> Message {
    let attributes = vec![
        Attribute::text(Tag::ISCSI_NAME, target),
        Attribute::new(Tag::TIMESTAMP, &[0; 8]),
        Attribute::number(Tag::ISCSI_SCN_BITMAP, 8),
        Attribute::text(Tag::ISCSI_NAME, "iqn.i:1"),
    ];
    Message { from_server: true, ..Message::request(Function::STATE_CHANGE_NOTIFICATION, 78, attributes) }
}

#[test]
fn inquiries_and_notifications_are_answered() {
    let mut inbound = Inbound::new(0);
    let bytes = [inquiry().encode(), notification(A).encode()].concat();
    for piece in bytes.chunks(7) {
        inbound.handle_bytes(piece, 1).unwrap();
    }
    let answers: Vec<Message> = core::iter::from_fn(|| inbound.poll_transmit()).flat_map(|bytes| messages(&bytes)).collect();
    assert_eq!((answers[0].function, answers[0].transaction, answers[0].status), (Function(0x800d), 77, Some(Status::SUCCESS)));
    assert_eq!(answers[0].attributes, inquiry().attributes);
    assert_eq!((answers[1].function, answers[1].transaction, answers[1].status), (Function(0x8008), 78, Some(Status::SUCCESS)));
    assert_eq!(answers[1].attributes, [Attribute::text(Tag::ISCSI_NAME, A)]);
    assert_eq!((inbound.poll_notice(), inbound.poll_notice()), (Some(Notice::Inquiry), Some(Notice::Changed(A.into()))));
    let query = Message::request(Function::DEVICE_ATTRIBUTE_QUERY, 5, vec![]);
    inbound.handle_bytes(&query.encode(), 2).unwrap();
    assert_eq!(messages(&inbound.poll_transmit().unwrap())[0].status, Some(Status::MESSAGE_NOT_SUPPORTED));
    assert_eq!(inbound.handle_bytes(&query.answer(Status::SUCCESS, vec![]).encode(), 3), Err(Ending::Response(Function(0x8002))));

    // On the connection that we opened, too.
    let mut bench = Bench::registered(Registration { access_control: true, ..wanted(&[A]) });
    bench.pass(SECOND);
    bench.client.handle_bytes(&[inquiry().encode(), notification(A).encode()].concat(), bench.now);
    let functions: Vec<u16> = bench.sent().iter().map(|message| message.function.0).collect();
    assert_eq!(functions, [0x800d, 0x8008, 2]);
}

#[test]
fn strangers_are_given_little() {
    let mut inbound = Inbound::new(0);
    assert_eq!(inbound.handle_timeout(inbound::MESSAGE_PATIENCE), Err(Ending::Timeout));
    // A byte now and then does not prolong a message; a whole message does.
    let bytes = inquiry().encode();
    let mut inbound = Inbound::new(0);
    inbound.handle_bytes(&bytes[..3], 1).unwrap();
    inbound.handle_bytes(&bytes[3..4], 4 * SECOND).unwrap();
    assert_eq!(inbound.poll_timeout(), 1 + inbound::MESSAGE_PATIENCE);
    inbound.handle_bytes(&bytes[4..], 4 * SECOND).unwrap();
    assert_eq!(inbound.poll_timeout(), 4 * SECOND + inbound::IDLE_PATIENCE);
    assert_eq!(inbound.handle_bytes(&[0; 12], 5), Err(Ending::Fault(Fault::Version(0))));
    let mut inbound = Inbound::new(0);
    let long = Message::request(Function::ENTITY_STATUS_INQUIRY, 1, vec![Attribute::new(Tag(5), &[0; inbound::MESSAGE_LIMIT])]);
    assert_eq!(inbound.handle_bytes(&long.encode(), 0), Err(Ending::Fault(Fault::TooLong)));
    // Somebody who asks and never reads.
    let mut inbound = Inbound::new(0);
    let outcome = (0..100_000).find_map(|_| inbound.handle_bytes(&bytes, 0).err());
    assert_eq!(outcome, Some(Ending::Volume));
    let mut bench = Bench::registered(wanted(&[A]));
    for _ in 0..100_000 {
        bench.client.handle_bytes(&bytes, bench.now);
    }
    assert_eq!(bench.lost(), Reason::NotReading);
    // And somebody who reads, for ever.
    let mut inbound = Inbound::new(0);
    let outcome = (0..1_000_000).find_map(|_| {
        let outcome = inbound.handle_bytes(&bytes, 0).err();
        inbound.poll_transmit();
        outcome
    });
    assert_eq!(outcome, Some(Ending::Volume));
}

fn any_message() -> impl Strategy<Value = Message> {
    let attribute = (0u32..70, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(tag, bytes)| Attribute::new(Tag(tag), &bytes));
    let attributes = prop::collection::vec(attribute, 0..20);
    let big = prop_oneof![9 => Just(0usize), 1 => 60_000usize..200_000];
    (any::<u16>(), any::<u16>(), any::<bool>(), any::<bool>(), any::<u32>(), attributes, big).prop_map(
        |(function, transaction, replace, from_server, status, mut attributes, big)| {
            if big > 0 {
                attributes.push(Attribute::new(Tag(70), &vec![7; big]));
            }
            let function = Function(function);
            let status = function.is_response().then_some(Status(status));
            Message { function, transaction, replace, from_server, status, attributes }
        },
    )
}

proptest! {
    #[test]
    fn messages_survive_the_wire_however_they_are_cut(sent in prop::collection::vec(any_message(), 1..4), cut in 1usize..5000) {
        let bytes: Vec<u8> = sent.iter().flat_map(Message::encode).collect();
        let mut assembler = Assembler::new(framing::MESSAGE_LIMIT);
        let mut received = Vec::new();
        for piece in bytes.chunks(cut) {
            assembler.push(piece);
            while let Some(message) = assembler.next_message().unwrap() {
                received.push(message);
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert!(!assembler.is_inside());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), tail in any::<bool>()) {
        // Behind a header that makes sense, more of it is looked at.
        let mut all = vec![0, 1, 0x80, 1, 0, bytes.len().min(252) as u8 & 0xfc, 0x4c, 0, 0, 1, 0, 0];
        if !tail {
            all.clear();
        }
        all.extend_from_slice(&bytes);
        let mut assembler = Assembler::new(framing::MESSAGE_LIMIT);
        assembler.push(&all);
        while let Ok(Some(message)) = assembler.next_message() {
            for attribute in &message.attributes {
                let _ = (attribute.as_text(), attribute.as_number(), attribute.as_address());
            }
            prop_assert_eq!(messages(&message.encode()), vec![message]);
        }
        let mut bench = Bench::connected(Registration { access_control: true, ..wanted(&[A]) });
        bench.client.handle_bytes(&all, bench.now);
        bench.pass(SECOND);
        let _ = Inbound::new(0).handle_bytes(&all, 0);
    }

    #[test]
    fn texts_and_addresses_survive(text in "[a-z0-9.:äß-]{0,223}", four in any::<[u8; 4]>(), six in any::<[u8; 16]>()) {
        let attribute = Attribute::text(Tag::ISCSI_NAME, &text);
        prop_assert_eq!(attribute.as_text(), Some(text.as_str()));
        prop_assert_eq!(attribute.wire_len() % 4, 0);
        for address in [IpAddr::from(four), IpAddr::from(six)] {
            prop_assert_eq!(Attribute::address(Tag::PORTAL_ADDRESS, address).as_address(), Some(address.to_canonical()));
        }
    }
}
