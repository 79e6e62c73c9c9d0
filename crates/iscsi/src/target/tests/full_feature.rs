//! Commands, data in both directions, the window, digests.

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
    peer.send(&DataOut { tag: 5, transfer_tag: NO_TAG, buffer_offset: 512, data_sn: 1, is_final: true, ..DataOut::default() }.encode(), &[1; 512]);
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
