//! Sessions of two connections, PDU by PDU.

use alloc::vec::Vec;

use super::tests::{NAME, Stub, parameters};
use super::{Seat, Session};
use crate::interface::*;
use crate::pdu::*;

const FIRST: Seat = Seat(0);
const SECOND: Seat = Seat(1);
const SECOND_OF_TIME: u64 = 1_000_000_000;

struct Pair {
    session: Session,
    stub: Stub,
    now: u64,
}

fn login(stub: &Stub, cid: u16, tsih: u16, cmd_sn: u32) -> (Session, LoginSummary) {
    let settings = Settings {
        crc32c: crate::crc32c,
        peer: "192.0.2.9:5000".parse().unwrap(),
        local: "192.0.2.1:3260".parse().unwrap(),
        group_tag: 1,
        entropy: [9; 32],
        login_timeout: 15 * SECOND_OF_TIME,
        lookup_timeout: 5 * SECOND_OF_TIME,
        data_timeout: 60 * SECOND_OF_TIME,
        inline_limit: 65_536,
    };
    let mut session = Session::new(settings, 0);
    let request = LoginRequest {
        immediate: true,
        transit: true,
        current_stage: 1,
        next_stage: 3,
        isid: [0x80, 1, 2, 3, 4, 5],
        tag: 1,
        cid,
        tsih,
        cmd_sn,
        exp_stat_sn: 70,
        ..LoginRequest::default()
    };
    let mut text = alloc::format!("InitiatorName=iqn.me\0TargetName={NAME}\0HeaderDigest=None\0MaxRecvDataSegmentLength=4096\0").into_bytes();
    text.extend_from_slice(b"MaxConnections=4\0");
    feed(&mut session, FIRST, stub, &request.encode(), &text, 0);
    let Some((FIRST, Event::LoginReady(summary))) = session.poll_event() else { panic!("no login") };
    (session, summary)
}

fn feed(session: &mut Session, seat: Seat, stub: &Stub, header: &Header, data: &[u8], now: u64) -> Landing {
    let mut header = *header;
    put_data_segment_length(&mut header, u32::try_from(data.len()).unwrap());
    let landing = session.at(seat).unwrap().handle_header(&header, stub, now);
    let inline = if matches!(landing, Landing::Inline { .. }) { data } else { &[] };
    session.handle_data(seat, inline, true, stub, now);
    landing
}

impl Pair {
    fn new() -> Pair {
        let mut stub = Stub::new(TargetParameters {
            header_digest: false,
            data_digest: false,
            initial_r2t: true,
            max_outstanding_r2t: 1,
            first_burst_length: 65_536,
            max_burst_length: 262_144,
            max_connections: 4,
            nop_interval: 0,
            ..parameters()
        });
        stub.parameters.default_time_2_retain = 20;
        let (mut session, summary) = login(&stub, 0, 0, 100);
        assert_eq!(summary.max_connections, 4);
        session.at(FIRST).unwrap().accept_login(42, 0);
        let mut pair = Pair { session, stub, now: 0 };
        assert_eq!(pair.sent(FIRST).len(), 1);
        pair.join(7);
        pair
    }

    /// A further connection with this CID.
    fn join(&mut self, cid: u16) -> Seat {
        let (other, summary) = login(&self.stub, cid, 42, 100);
        assert_eq!(summary.tsih, 42);
        let seat = self.session.join(other).unwrap();
        self.session.at(seat).unwrap().accept_login(42, self.now);
        let sent = self.sent(seat);
        let response = LoginResponse::decode(&sent[0].0);
        assert_eq!((response.status, response.tsih, response.next_stage), (0, 42, 3));
        assert_eq!((u32_at(&sent[0].0, 28), u32_at(&sent[0].0, 32)), (100, 107), "the window is the session's");
        assert!(sent[0].1.starts_with(b"TargetAlias"), "{:?}", sent[0].1);
        let text: Vec<_> = crate::text::pairs(&sent[0].1).unwrap();
        assert!(text.contains(&("MaxConnections", "Irrelevant")) && text.contains(&("HeaderDigest", "None")), "{text:?}");
        seat
    }

    fn sent(&mut self, seat: Seat) -> Vec<(Header, Vec<u8>)> {
        core::iter::from_fn(|| {
            let transmit = self.session.at(seat)?.poll_transmit()?;
            let data = if let TransmitData::Inline(data) = transmit.data { data } else { Vec::new() };
            Some((transmit.header, data))
        })
        .collect()
    }

    fn send(&mut self, seat: Seat, header: &Header) -> Landing {
        let Pair { session, stub, now } = self;
        feed(session, seat, stub, header, &[], *now)
    }

    fn command(&mut self, seat: Seat, tag: u32, cmd_sn: u32) {
        let command = ScsiCommand { is_final: true, tag, cmd_sn, exp_stat_sn: 71, ..ScsiCommand::default() };
        self.send(seat, &command.encode());
    }

    fn write(&mut self, seat: Seat, tag: u32, cmd_sn: u32) {
        let command = ScsiCommand { is_final: true, write: true, expected_length: 8192, tag, cmd_sn, ..ScsiCommand::default() };
        self.send(seat, &command.encode());
    }

    /// Seats and tags of commands that were delivered; other events are not expected.
    fn commands(&mut self) -> Vec<(Seat, u32)> {
        core::iter::from_fn(|| self.session.poll_event())
            .map(|(seat, event)| match event {
                Event::Command(command) => (seat, command.tag),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn function(&mut self, seat: Seat, function: u8, tag: u32, referenced: u32, cmd_sn: u32, ref_cmd_sn: u32) {
        let request = TaskManagementRequest {
            immediate: true,
            function,
            tag,
            referenced_tag: referenced,
            cmd_sn,
            ref_cmd_sn,
            ..TaskManagementRequest::default()
        };
        self.send(seat, &request.encode());
    }

    fn good(&mut self, tag: u32) {
        self.session.respond(tag, Reply { status: 0, sense: Vec::new(), data_in: ReplyData::None, data_out: 0 });
    }

    fn opcodes(&mut self, seat: Seat) -> Vec<Opcode> {
        self.sent(seat).iter().map(|(header, _)| Opcode::of(header)).collect()
    }

    fn log_out(&mut self, seat: Seat, reason: u8, cid: u16, tag: u32) {
        let request = LogoutRequest { immediate: true, reason, cid, tag, cmd_sn: 100, ..LogoutRequest::default() };
        self.send(seat, &request.encode());
    }
}

#[test]
fn commands_of_all_connections_are_delivered_in_one_order() {
    let mut pair = Pair::new();
    pair.command(SECOND, 1, 101);
    pair.command(FIRST, 2, 103);
    pair.command(SECOND, 3, 102);
    assert!(pair.commands().is_empty());
    pair.command(FIRST, 4, 100);
    assert_eq!(pair.commands(), [(FIRST, 4), (SECOND, 1), (SECOND, 3), (FIRST, 2)]);
    // Each answer goes out where its command came in, with that connection's StatSN and the session's window.
    for tag in [1, 4, 2, 3] {
        pair.good(tag);
    }
    let (first, second) = (pair.sent(FIRST), pair.sent(SECOND));
    let numbers = |sent: &[(Header, Vec<u8>)]| sent.iter().map(|(header, _)| (u32_at(header, 16), u32_at(header, 24))).collect::<Vec<_>>();
    assert_eq!((numbers(&first), numbers(&second)), (alloc::vec![(4, 71), (2, 72)], alloc::vec![(1, 71), (3, 72)]));
    assert!(first.iter().chain(&second).all(|(header, _)| u32_at(header, 28) == 104));
    assert_eq!(u32_at(&second[1].0, 32), 111);
}

#[test]
fn a_tag_is_in_use_on_every_connection() {
    let mut pair = Pair::new();
    pair.command(FIRST, 1, 100);
    pair.command(SECOND, 1, 101);
    assert_eq!(pair.commands(), [(FIRST, 1)]);
    let sent = pair.sent(SECOND);
    assert_eq!(Reject::decode(&sent[0].0).reason, RejectReason::TASK_IN_PROGRESS.0);
}

#[test]
fn data_belong_to_the_connection_of_their_command() {
    let mut pair = Pair::new();
    pair.write(SECOND, 5, 100);
    assert_eq!(pair.commands(), [(SECOND, 5)]);
    pair.session.fetch(5, 8192);
    assert!(pair.sent(FIRST).is_empty());
    let request = ReadyToTransfer::decode(&pair.sent(SECOND)[0].0);
    let data = DataOut { is_final: true, tag: 5, transfer_tag: request.transfer_tag, ..DataOut::default() }.encode();
    let Pair { session, stub, .. } = &mut pair;
    assert_eq!(feed(session, FIRST, stub, &data, &[1; 4096], 0), Landing::Discard { len: 4096 });
    assert_eq!(pair.opcodes(FIRST), [Opcode::REJECT]);
    let first_half = DataOut { is_final: false, ..DataOut::decode(&data) }.encode();
    let Pair { session, stub, .. } = &mut pair;
    assert_eq!(feed(session, SECOND, stub, &first_half, &[1; 4096], 0), Landing::Task { tag: 5, offset: 0, len: 4096 });
}

#[test]
fn the_answer_of_a_function_comes_after_those_before_it_have_arrived() {
    let mut pair = Pair::new();
    pair.command(SECOND, 1, 100);
    pair.command(FIRST, 2, 101);
    pair.commands();
    pair.function(FIRST, 2, 50, NO_TAG, 102, 0);
    assert!(matches!(pair.session.poll_event(), Some((FIRST, Event::Function(function))) if function.tag == 50));
    pair.good(1);
    pair.session.forget(2);
    pair.session.function_response(50, FunctionCode::COMPLETE);
    assert!(pair.sent(FIRST).is_empty(), "the second connection has not confirmed yet");
    let sent = pair.sent(SECOND);
    assert_eq!(sent.iter().map(|(header, _)| Opcode::of(header)).collect::<Vec<_>>(), [Opcode::SCSI_RESPONSE, Opcode::NOP_IN]);
    let ping = NopIn::decode(&sent[1].0);
    let wrong = NopOut { immediate: true, tag: NO_TAG, transfer_tag: ping.transfer_tag + 1, ..NopOut::default() };
    pair.send(SECOND, &wrong.encode());
    assert!(pair.sent(FIRST).is_empty());
    pair.send(SECOND, &NopOut { transfer_tag: ping.transfer_tag, ..wrong }.encode());
    assert_eq!(pair.opcodes(FIRST), [Opcode::TASK_MANAGEMENT_RESPONSE]);
    assert!(pair.session.poll_timeout(SECOND).is_none(), "nothing is awaited any more");
}

#[test]
fn a_connection_that_confirms_nothing_is_cut_and_the_function_answered() {
    let mut pair = Pair::new();
    pair.function(FIRST, 5, 50, NO_TAG, 100, 0);
    pair.session.poll_event();
    pair.session.function_response(50, FunctionCode::COMPLETE);
    assert_eq!(pair.opcodes(SECOND), [Opcode::NOP_IN]);
    pair.now = 90 * SECOND_OF_TIME;
    for now in [pair.now, pair.now + 4 * SECOND_OF_TIME] {
        assert!(pair.session.poll_timeout(SECOND).is_some());
        pair.session.handle_timeout(SECOND, &pair.stub, now);
        assert!(pair.session.poll_event().is_none());
    }
    assert_eq!(pair.session.poll_timeout(SECOND), Some(pair.now + 5 * SECOND_OF_TIME));
    pair.session.handle_timeout(SECOND, &pair.stub, pair.now + 5 * SECOND_OF_TIME);
    assert!(matches!(pair.session.poll_event(), Some((SECOND, Event::Close { .. }))));
    assert!(pair.session.end(SECOND, &pair.stub, pair.now).is_empty());
    assert_eq!(pair.opcodes(FIRST), [Opcode::TASK_MANAGEMENT_RESPONSE]);
}

#[test]
fn a_function_waits_for_commands_that_other_connections_still_bring() {
    let mut pair = Pair::new();
    pair.function(FIRST, 5, 50, NO_TAG, 102, 0);
    assert!(pair.session.poll_event().is_none());
    pair.function(SECOND, 5, 51, NO_TAG, 5000, 0);
    assert!(
        matches!(pair.session.poll_event(), Some((SECOND, Event::Function(function))) if function.tag == 51),
        "beyond the window nothing is awaited"
    );
    pair.command(SECOND, 2, 101);
    pair.command(SECOND, 1, 100);
    let events: Vec<_> = core::iter::from_fn(|| pair.session.poll_event()).collect();
    assert!(
        matches!(&events[..], [(SECOND, Event::Command(one)), (SECOND, Event::Command(two)), (FIRST, Event::Function(function))]
            if (one.tag, two.tag, function.tag) == (1, 2, 50)),
        "{events:?}"
    );
    // A function that waits does not outlive its connection.
    pair.function(SECOND, 5, 52, NO_TAG, 104, 0);
    pair.command(FIRST, 3, 103);
    pair.session.end(SECOND, &pair.stub, 0);
    pair.command(FIRST, 4, 102);
    assert_eq!(pair.commands(), [(FIRST, 4), (FIRST, 3)]);
}

#[test]
fn a_lost_connection_leaves_the_rest_whole() {
    let mut pair = Pair::new();
    pair.command(SECOND, 1, 100);
    pair.write(SECOND, 2, 101);
    pair.command(FIRST, 3, 102);
    assert_eq!(pair.commands().len(), 3);
    // Held: one of each; 103 is on its way.
    pair.command(SECOND, 4, 104);
    pair.command(FIRST, 5, 105);
    pair.good(1);
    assert_eq!(pair.session.end(SECOND, &pair.stub, 0), [2], "the answered one is over, the held one never began");
    assert!(pair.session.at(SECOND).is_none() && pair.session.has_tasks(SECOND));
    pair.command(FIRST, 2, 103);
    assert_eq!(pair.opcodes(FIRST), [Opcode::REJECT], "the tag is in use until the unit has let go");
    pair.session.fetch(2, 8192);
    pair.session.respond(2, Reply { status: 0, sense: Vec::new(), data_in: ReplyData::None, data_out: 0 });
    assert!(!pair.session.has_tasks(SECOND));
    pair.command(FIRST, 2, 103);
    assert_eq!(pair.commands(), [(FIRST, 2), (FIRST, 5)], "the number of the lost one counts as received");
    for tag in [2, 3, 5] {
        pair.good(tag);
    }
    let sent = pair.sent(FIRST);
    assert_eq!((sent.len(), u32_at(&sent[2].0, 28), u32_at(&sent[2].0, 32)), (3, 106, 113), "nothing counts against the window any more");
    let third = pair.session.join(login(&pair.stub, 7, 42, 106).0).unwrap();
    assert!(third != SECOND);
    assert!(pair.session.end(FIRST, &pair.stub, 0).is_empty());
    assert!(pair.session.end(third, &pair.stub, 0).is_empty() && pair.session.at(third).is_some(), "the last one stays");
}

#[test]
fn what_is_undelivered_ends_with_its_connection() {
    let mut pair = Pair::new();
    pair.command(SECOND, 1, 100);
    pair.command(FIRST, 2, 101);
    pair.function(SECOND, 1, 50, 9, 102, 9);
    assert!(pair.session.end(SECOND, &pair.stub, 0).is_empty(), "the shell has not heard of any");
    assert_eq!(pair.commands(), [(FIRST, 2)]);
    pair.good(2);
    assert_eq!(u32_at(&pair.sent(FIRST)[0].0, 32), 109);
    pair.command(FIRST, 1, 102);
    pair.command(FIRST, 50, 103);
    assert_eq!(pair.commands(), [(FIRST, 1), (FIRST, 50)]);
}

#[test]
fn a_connection_logs_out_with_its_own_tasks() {
    let mut pair = Pair::new();
    pair.command(SECOND, 1, 100);
    pair.command(FIRST, 2, 101);
    pair.command(SECOND, 3, 103);
    pair.commands();
    pair.log_out(SECOND, 1, 7, 60);
    let events: Vec<_> = core::iter::from_fn(|| pair.session.poll_event()).collect();
    assert!(matches!(&events[..], [(SECOND, Event::Function(function))] if (function.tag, function.referenced) == (1, 1)), "{events:?}");
    assert!(pair.sent(SECOND).is_empty());
    pair.session.forget(1);
    let sent = pair.sent(SECOND);
    assert_eq!((sent.len(), LogoutResponse::decode(&sent[0].0).response), (1, 0));
    assert!(matches!(pair.session.poll_event(), Some((SECOND, Event::Logout))));
    pair.session.end(SECOND, &pair.stub, 0);
    pair.command(FIRST, 4, 102);
    pair.command(FIRST, 5, 104);
    assert_eq!(pair.commands(), [(FIRST, 4), (FIRST, 5)], "103 went with its connection");
}

#[test]
fn a_task_that_does_not_end_spoils_the_logout() {
    let mut pair = Pair::new();
    pair.command(SECOND, 1, 100);
    pair.commands();
    pair.log_out(SECOND, 1, 7, 60);
    pair.session.poll_event();
    pair.session.function_response(1, FunctionCode::REJECTED);
    assert_eq!(LogoutResponse::decode(&pair.sent(SECOND)[0].0).response, 3);
}

#[test]
fn another_connection_is_logged_out_by_its_number() {
    let mut pair = Pair::new();
    pair.command(SECOND, 1, 100);
    pair.commands();
    pair.log_out(FIRST, 1, 8, 59);
    assert_eq!(LogoutResponse::decode(&pair.sent(FIRST)[0].0).response, 1, "no such connection");
    pair.log_out(FIRST, 1, 7, 60);
    assert!(matches!(pair.session.poll_event(), Some((SECOND, Event::Close { .. }))));
    assert!(pair.sent(FIRST).is_empty());
    pair.command(FIRST, 60, 101);
    assert_eq!(pair.opcodes(FIRST), [Opcode::REJECT], "its tag is in use");
    assert_eq!(pair.session.end(SECOND, &pair.stub, 0), [1]);
    assert!(pair.sent(FIRST).is_empty());
    pair.session.forget_lost(1);
    assert_eq!(LogoutResponse::decode(&pair.sent(FIRST)[0].0).response, 0);
}

#[test]
fn the_session_logs_out_on_any_connection() {
    let mut pair = Pair::new();
    pair.command(FIRST, 1, 100);
    pair.commands();
    pair.log_out(SECOND, 0, 7, 60);
    let events: Vec<_> = core::iter::from_fn(|| pair.session.poll_event()).collect();
    assert!(
        matches!(&events[..], [(SECOND, Event::Function(function)), (FIRST, Event::Close { .. })] if (function.tag, function.function) == (60, 11)),
        "{events:?}"
    );
    pair.session.end(FIRST, &pair.stub, 0);
    pair.session.forget_lost(1);
    pair.session.function_response(60, FunctionCode::COMPLETE);
    assert_eq!(LogoutResponse::decode(&pair.sent(SECOND)[0].0).response, 0);
    assert!(matches!(pair.session.poll_event(), Some((SECOND, Event::Logout))));
}
