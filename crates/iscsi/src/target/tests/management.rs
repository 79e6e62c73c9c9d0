//! Task management, pings, time limits, logout.

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

/// The unit refuses a command before the function that came with it, and the answer waits for data: it must not come after that of the function.
#[test]
fn a_refusal_that_waits_for_data_does_not_outlive_the_function() {
    for (function, referenced, response, expected) in [(5, NO_TAG, FunctionCode::COMPLETE, 0), (1, 5, FunctionCode::TASK_DOES_NOT_EXIST, 0)] {
        let mut peer = Peer::logged_in(parameters(), &["InitialR2T=No", "FirstBurstLength=4096"]);
        let command = peer.write(5, 1024, false);
        peer.send(&command.encode(), b"");
        let request = TaskManagementRequest {
            immediate: true,
            function,
            tag: 200,
            referenced_tag: referenced,
            cmd_sn: peer.cmd_sn,
            ref_cmd_sn: command.cmd_sn,
            ..TaskManagementRequest::default()
        };
        peer.send(&request.encode(), b"");
        let later = peer.write(6, 1024, false);
        peer.send(&later.encode(), b"");
        assert_eq!(peer.events().len(), 3);
        for tag in [5, 6] {
            peer.connection.respond(tag, Reply { status: 2, sense: alloc::vec![0x70; 18], data_in: ReplyData::None, data_out: 0 });
        }
        peer.connection.function_response(200, response);
        let answer = TaskManagementResponse::decode(&peer.one().header);
        assert_eq!((answer.tag, answer.response), (200, expected));
        for tag in [5, 6] {
            peer.send(&DataOut { tag, transfer_tag: NO_TAG, is_final: true, ..DataOut::default() }.encode(), &[1; 1024]);
        }
        assert_eq!(ScsiResponse::decode(&peer.one().header).tag, 6, "a command behind the function has its answer");
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
