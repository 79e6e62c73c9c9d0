//! ErrorRecoveryLevel 1: SNACK, acknowledgements, recovery R2Ts.

use super::*;

const DATA: u8 = 0;
const STATUS: u8 = 1;
const DATA_ACK: u8 = 2;
const R_DATA: u8 = 3;

/// A session at ErrorRecoveryLevel 1 with data digests.
fn recovering(parameters: TargetParameters, more: &[&str]) -> Peer {
    let parameters = TargetParameters { nop_interval: 0, ..parameters };
    let mut keys = alloc::vec!["ErrorRecoveryLevel=2", "DataDigest=CRC32C", "HeaderDigest=None"];
    keys.extend_from_slice(more);
    let mut peer = Peer::logged_in(parameters, &keys);
    let (header, data) = peer.connection.digests();
    peer.digests = (header, data);
    peer.receiver.set_digests(header, data);
    assert_eq!((peer.connection.negotiated().error_recovery_level, data), (1, true));
    peer
}

impl Peer {
    fn snack(&mut self, kind: u8, tag: u32, transfer_tag: u32, begin_run: u32, run_length: u32) {
        let pdu =
            SnackRequest { kind, tag, transfer_tag, begin_run, run_length, exp_stat_sn: self.connection.acknowledged(), ..SnackRequest::default() };
        self.send(&pdu.encode(), b"");
    }

    /// A ping whose only use is its ExpStatSN: what was sent before `exp_stat_sn` is acknowledged.
    fn acknowledge(&mut self, exp_stat_sn: u32) {
        let pdu = NopOut { immediate: true, tag: NO_TAG, transfer_tag: 1, exp_stat_sn, ..NopOut::default() };
        self.send(&pdu.encode(), b"");
    }

    /// A read of `bytes` that was answered; its Data-In PDUs and its response.
    fn answered_read(&mut self, tag: u32, bytes: Vec<u8>) -> Vec<Sent> {
        let mut command = self.read(tag, u32::try_from(bytes.len()).unwrap());
        command.exp_stat_sn = self.connection.acknowledged();
        self.send(&command.encode(), b"");
        self.events();
        let len = u32::try_from(bytes.len()).unwrap();
        self.payload.insert(tag, bytes);
        self.connection.respond(tag, good(ReplyData::Task { len }, 0));
        self.sent()
    }

    fn corrupted(&mut self, header: &[u8], data: &[u8]) {
        let mut wire = self.wire(header, data);
        let last = wire.len() - 1;
        wire[last] ^= 0x40;
        self.feed(&wire);
    }
}

fn bytes(len: u32) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Equal but for ExpCmdSN and MaxCmdSN, and StatSN where it only shows the next one.
fn assert_replicas(again: &[Sent], first: &[Sent]) {
    assert_eq!(again.len(), first.len());
    for (again, first) in again.iter().zip(first) {
        let mut again = again.clone();
        if again.opcode() == Opcode::READY_TO_TRANSFER {
            again.header[24..28].copy_from_slice(&first.header[24..28]);
        }
        assert_eq!((&again.header[..28], &again.header[36..], &again.data), (&first.header[..28], &first.header[36..], &first.data));
    }
}

#[test]
fn data_and_status_are_sent_again_as_they_were() {
    let mut peer = recovering(parameters(), &["MaxRecvDataSegmentLength=4096", "MaxBurstLength=8192"]);
    let first = peer.answered_read(9, bytes(20_000));
    assert_eq!(first.len(), 6, "five Data-In and a response of its own");
    let response = ScsiResponse::decode(&first[5].header);
    assert_eq!((response.exp_data_sn, response.stat_sn), (5, peer.connection.acknowledged()));
    let asked: Vec<bool> = first[..5].iter().map(|sent| DataIn::decode(&sent.header).acknowledge).collect();
    assert_eq!(asked, [false, true, false, true, false], "at the end of each burst but the last");
    peer.snack(DATA, 9, NO_TAG, 1, 2);
    assert_replicas(&peer.sent(), &first[1..3]);
    peer.snack(DATA, 9, NO_TAG, 3, 0);
    assert_replicas(&peer.sent(), &first[3..5]);
    peer.snack(DATA, 9, NO_TAG, 0, 0);
    assert_replicas(&peer.sent(), &first[..5]);
    peer.snack(STATUS, NO_TAG, NO_TAG, response.stat_sn, 1);
    assert_replicas(&peer.sent(), &first[5..]);
    peer.snack(STATUS, NO_TAG, NO_TAG, 0, 0);
    assert_replicas(&peer.sent(), &first[5..]);
    // Asked for twice before it leaves, it leaves once.
    peer.snack(DATA, 9, NO_TAG, 1, 1);
    peer.snack(DATA, 9, NO_TAG, 2, 1);
    peer.snack(STATUS, NO_TAG, NO_TAG, 0, 0);
    peer.snack(STATUS, NO_TAG, NO_TAG, response.stat_sn, 0);
    let again = peer.sent();
    assert_replicas(&again, &[first[1].clone(), first[2].clone(), first[5].clone()]);
    peer.acknowledge(response.stat_sn + 1);
    peer.snack(STATUS, NO_TAG, NO_TAG, response.stat_sn, 1);
    assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR, "acknowledged");
    peer.snack(DATA, 9, NO_TAG, 0, 0);
    assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
}

#[test]
fn inline_answers_and_rejects_are_kept_too() {
    let mut peer = recovering(parameters(), &[]);
    let command = peer.read(5, 300);
    peer.send(&command.encode(), b"");
    peer.events();
    peer.connection.respond(5, good(ReplyData::Inline(bytes(200)), 0));
    let first = peer.sent();
    assert_eq!((first.len(), ScsiResponse::decode(&first[1].header).residual), (2, 100));
    let odd = SnackRequest { kind: 9, ..SnackRequest::default() };
    peer.send(&odd.encode(), b"");
    let reject = peer.one();
    assert_eq!(reject.reject(), RejectReason::INVALID_PDU_FIELD);
    peer.snack(DATA, 5, NO_TAG, 0, 1);
    assert_replicas(&peer.sent(), &first[..1]);
    peer.snack(STATUS, NO_TAG, NO_TAG, u32_at(&first[1].header, 24), 2);
    assert_replicas(&peer.sent(), &[first[1].clone(), reject]);
}

#[test]
fn what_was_not_sent_cannot_be_sent_again() {
    let mut peer = recovering(TargetParameters { max_queue_cmd: 64, ..parameters() }, &["MaxRecvDataSegmentLength=4096"]);
    let first = peer.answered_read(9, bytes(8192));
    let stat_sn = u32_at(&first[2].header, 24);
    for (kind, tag, begin_run, run_length, next) in [
        (DATA, 9, 2, 0, 2),
        (DATA, 9, 1, 2, 2),
        (DATA, 9, u32::MAX, 1, 2),
        (DATA, 9, 0, u32::MAX, 2),
        (DATA, 77, 0, 1, 0),
        (STATUS, NO_TAG, stat_sn + 100, 0, 0),
        (STATUS, NO_TAG, stat_sn - 1, 1, 0),
        (STATUS, NO_TAG, stat_sn, u32::MAX, 0),
    ] {
        peer.snack(kind, tag, NO_TAG, begin_run, run_length);
        let sent = peer.one();
        assert_eq!(sent.reject(), RejectReason::PROTOCOL_ERROR, "{kind} {tag} {begin_run} {run_length}");
        assert_eq!(Reject::decode(&sent.header).data_sn, next, "{kind} {tag} {begin_run} {run_length}");
        assert_eq!(SnackRequest::decode(&sent.data.try_into().unwrap()).begin_run, begin_run);
    }
    peer.connection.let_go(stat_sn);
    peer.snack(DATA, 9, NO_TAG, 0, 1);
    assert_eq!(peer.one().reject(), RejectReason::SNACK_REJECT, "the shell had no room");
    peer.snack(R_DATA, 9, 5, 0, 0);
    assert_eq!(peer.one().reject(), RejectReason::SNACK_REJECT);
    let mut plain = Peer::logged_in(parameters(), &["ErrorRecoveryLevel=0", "HeaderDigest=None", "DataDigest=None"]);
    plain.snack(STATUS, NO_TAG, NO_TAG, 0, 0);
    assert_eq!(plain.one().reject(), RejectReason::PROTOCOL_ERROR, "not at level 0");
}

#[test]
fn acknowledged_data_are_not_sent_again() {
    let mut peer = recovering(parameters(), &["MaxRecvDataSegmentLength=4096", "MaxBurstLength=8192"]);
    let first = peer.answered_read(9, bytes(20_000));
    let asking = DataIn::decode(&first[1].header);
    assert!(asking.acknowledge && asking.transfer_tag != NO_TAG);
    peer.snack(DATA_ACK, NO_TAG, asking.transfer_tag, 2, 0);
    assert!(peer.sent().is_empty());
    peer.snack(DATA, 9, NO_TAG, 1, 1);
    assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR);
    peer.snack(DATA, 9, NO_TAG, 0, 0);
    assert_replicas(&peer.sent(), &first[2..5]);
    peer.snack(DATA_ACK, NO_TAG, asking.transfer_tag, 1, 0);
    assert!(peer.sent().is_empty(), "data sent again are acknowledged again");
    peer.snack(DATA, 9, NO_TAG, 1, 1);
    assert_eq!(peer.one().reject(), RejectReason::PROTOCOL_ERROR, "and what was acknowledged stays so");
    for (transfer_tag, begin_run, reason) in
        [(asking.transfer_tag, 6, RejectReason::INVALID_DATA_ACK), (asking.transfer_tag ^ 0x8000, 3, RejectReason::INVALID_DATA_ACK)]
    {
        peer.snack(DATA_ACK, NO_TAG, transfer_tag, begin_run, 0);
        assert_eq!(peer.one().reject(), reason);
    }
    peer.snack(DATA_ACK, NO_TAG, asking.transfer_tag, 3, 1);
    assert_eq!(peer.one().reject(), RejectReason::INVALID_PDU_FIELD, "RunLength");
}

#[test]
fn data_are_cut_anew_for_an_initiator_that_takes_less() {
    let mut peer = recovering(parameters(), &["MaxRecvDataSegmentLength=4096", "MaxBurstLength=8192"]);
    let first = peer.answered_read(9, bytes(10_000));
    let asking = DataIn::decode(&first[1].header);
    peer.snack(DATA_ACK, NO_TAG, asking.transfer_tag, 1, 0);
    let request = TextRequest { exp_stat_sn: peer.connection.acknowledged(), ..peer.text_request(true, NO_TAG) };
    peer.send(&request.encode(), &text(&["MaxRecvDataSegmentLength=1024"]));
    peer.one();
    for (transfer_tag, begin_run, run_length) in [(0, 0, 0), (NO_TAG, 0, 0), (7, 1, 0), (7, 0, 1)] {
        peer.snack(R_DATA, 9, transfer_tag, begin_run, run_length);
        assert_eq!(peer.one().reject(), RejectReason::INVALID_PDU_FIELD);
    }
    peer.snack(R_DATA, 9, 7, 0, 0);
    let again = peer.sent();
    let (data, response) = again.split_at(again.len() - 1);
    let mut at = 4096;
    for (number, sent) in (1..).zip(data) {
        let pdu = DataIn::decode(&sent.header);
        assert_eq!((pdu.data_sn, pdu.buffer_offset), (number, at));
        at += u32::try_from(sent.data.len()).unwrap();
        assert!(sent.data.len() <= 1024);
    }
    assert_eq!(at, 10_000);
    let response = ScsiResponse::decode(&response[0].header);
    assert_eq!((response.snack_tag, response.exp_data_sn, response.stat_sn), (7, 7, u32_at(&first.last().unwrap().header, 24)));
}

#[test]
fn data_of_a_reply_under_way_may_be_asked_for() {
    let mut peer = recovering(parameters(), &["MaxRecvDataSegmentLength=4096", "MaxBurstLength=8192"]);
    let command = peer.read(9, 10_000);
    peer.send(&command.encode(), b"");
    peer.events();
    peer.payload.insert(9, bytes(10_000));
    peer.connection.respond(9, good(ReplyData::Task { len: 10_000 }, 0));
    let begun = peer.connection.poll_transmit().unwrap();
    assert_eq!(DataIn::decode(&begun.header).data_sn, 0);
    // What of it was sent may be asked for at once, and comes behind the rest.
    peer.snack(DATA, 9, NO_TAG, 0, 1);
    peer.snack(DATA, 9, NO_TAG, 1, 1);
    let sent = peer.sent();
    let numbers: Vec<u32> = sent.iter().filter(|sent| sent.opcode() == Opcode::DATA_IN).map(|sent| u32_at(&sent.header, 36)).collect();
    assert_eq!(numbers, [1, 2, 0]);
    assert!(sent.iter().any(|sent| sent.opcode() == Opcode::REJECT), "DataSN 1 was not sent yet");
    assert_eq!(&sent.last().unwrap().data[..], &bytes(4096)[..]);
}

#[test]
fn requests_for_data_are_sent_again_until_they_are_answered() {
    let mut peer = recovering(parameters(), &["InitialR2T=Yes", "ImmediateData=No", "MaxOutstandingR2T=4", "MaxBurstLength=8192"]);
    let command = peer.write(5, 16_384, true);
    peer.send(&command.encode(), b"");
    peer.events();
    peer.connection.fetch(5, 16_384);
    let first = peer.one();
    let pdu = ReadyToTransfer::decode(&first.header);
    assert_eq!((pdu.r2t_sn, pdu.desired_length), (0, 8192), "one at a time");
    peer.snack(DATA, 5, NO_TAG, 0, 0);
    assert_replicas(&peer.sent(), core::slice::from_ref(&first));
    peer.snack(DATA, 5, NO_TAG, 1, 1);
    let reject = peer.one();
    assert_eq!((reject.reject(), Reject::decode(&reject.header).data_sn), (RejectReason::PROTOCOL_ERROR, 1));
    // Nothing comes: the target asks again by itself.
    peer.now = 5_000_000_001;
    peer.connection.handle_timeout(&peer.stub, peer.now);
    assert_replicas(&peer.sent(), core::slice::from_ref(&first));
    let data = DataOut { tag: 5, transfer_tag: pdu.transfer_tag, is_final: true, ..DataOut::default() };
    peer.send(&data.encode(), &bytes(8192));
    let second = peer.one();
    assert_eq!(ReadyToTransfer::decode(&second.header).r2t_sn, 1);
    peer.snack(DATA, 5, NO_TAG, 1, 1);
    assert_replicas(&peer.sent(), core::slice::from_ref(&second));
    peer.snack(DATA, 5, NO_TAG, 0, 0);
    assert_replicas(&peer.sent(), &[first, second]);
}

/// The data-out of a task, whatever is lost or damaged, is asked for until it is whole.
#[test]
fn damaged_and_lost_data_are_asked_for_again() {
    let mut peer = recovering(parameters(), &["InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=8192"]);
    let content = bytes(8000);
    let command = peer.write(5, 8000, true);
    peer.send(&command.encode(), b"");
    peer.events();
    peer.connection.fetch(5, 8000);
    let ask = ReadyToTransfer::decode(&peer.one().header);
    let pdu = |transfer_tag, data_sn, offset, is_final| {
        DataOut { tag: 5, transfer_tag, data_sn, buffer_offset: offset, is_final, ..DataOut::default() }.encode()
    };
    peer.send(&pdu(ask.transfer_tag, 0, 0, false), &content[..1000]);
    peer.corrupted(&pdu(ask.transfer_tag, 1, 1000, false), &content[1000..2000]);
    assert_eq!(peer.one().reject(), RejectReason::DATA_DIGEST_ERROR);
    peer.send(&pdu(ask.transfer_tag, 2, 2000, true), &content[2000..]);
    let again = ReadyToTransfer::decode(&peer.one().header);
    assert_eq!((again.r2t_sn, again.buffer_offset, again.desired_length), (1, 1000, 7000));
    assert_ne!(again.transfer_tag, ask.transfer_tag);
    // Late data of the old sequence are nobody's, and no error.
    peer.send(&pdu(ask.transfer_tag, 3, 3000, true), &content[3000..4000]);
    assert!(peer.sent().is_empty());
    // The first PDU is lost, the second shows it.
    peer.send(&pdu(again.transfer_tag, 1, 2000, true), &content[2000..8000]);
    let again = ReadyToTransfer::decode(&peer.one().header);
    assert_eq!((again.r2t_sn, again.buffer_offset, again.desired_length), (2, 1000, 7000));
    // The last PDU is lost: time shows it.
    peer.now = 1;
    peer.send(&pdu(again.transfer_tag, 0, 1000, false), &content[1000..2000]);
    peer.now = 5_000_000_001;
    peer.connection.handle_timeout(&peer.stub, peer.now);
    let again = ReadyToTransfer::decode(&peer.one().header);
    assert_eq!((again.r2t_sn, again.buffer_offset, again.desired_length), (3, 2000, 6000));
    peer.corrupted(&pdu(again.transfer_tag, 0, 2000, true), &content[2000..8000]);
    let sent = peer.sent();
    assert_eq!((sent.len(), sent[0].reject()), (2, RejectReason::DATA_DIGEST_ERROR), "the end itself");
    let again = ReadyToTransfer::decode(&sent[1].header);
    peer.send(&pdu(again.transfer_tag, 0, 2000, true), &content[2000..8000]);
    assert!(matches!(peer.events()[..], [Event::DataReady { tag: 5 }]));
    assert_eq!(peer.payload[&5], content);
    peer.connection.respond(5, good(ReplyData::None, 8000));
    assert_eq!(ScsiResponse::decode(&peer.one().header).status, 0);
}

#[test]
fn unsolicited_data_are_asked_for_from_where_they_were_whole() {
    let mut peer = recovering(parameters(), &["InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=4096"]);
    let content = bytes(6000);
    let command = peer.write(5, 6000, false);
    peer.send(&command.encode(), &content[..1000]);
    peer.events();
    let pdu = |transfer_tag, data_sn, offset, is_final| {
        DataOut { tag: 5, transfer_tag, data_sn, buffer_offset: offset, is_final, ..DataOut::default() }.encode()
    };
    peer.send(&pdu(NO_TAG, 0, 1000, false), &content[1000..2000]);
    peer.corrupted(&pdu(NO_TAG, 1, 2000, true), &content[2000..4096]);
    assert_eq!(peer.one().reject(), RejectReason::DATA_DIGEST_ERROR);
    peer.connection.fetch(5, 6000);
    let ask = ReadyToTransfer::decode(&peer.one().header);
    assert_eq!((ask.r2t_sn, ask.buffer_offset, ask.desired_length), (0, 2000, 4000));
    peer.send(&pdu(ask.transfer_tag, 0, 2000, true), &content[2000..]);
    assert!(matches!(peer.events()[..], [Event::DataReady { tag: 5 }]));
    assert_eq!(peer.payload[&5], content);
}

/// A damaged command leaves a hole until it is sent again; what was executed is not executed twice.
#[test]
fn commands_are_tried_again() {
    let mut peer = recovering(parameters(), &["InitialR2T=No", "ImmediateData=Yes"]);
    let first = peer.write(5, 11, true);
    peer.corrupted(&first.encode(), b"hello world");
    assert_eq!(peer.one().reject(), RejectReason::DATA_DIGEST_ERROR);
    let second = peer.read(6, 10);
    peer.send(&second.encode(), b"");
    assert!(peer.events().is_empty(), "waits behind the hole; the connection lives");
    peer.send(&first.encode(), b"hello world");
    assert_eq!(command_tags(&peer.events()), [5, 6]);
    peer.send(&first.encode(), b"hello world");
    peer.send(&second.encode(), b"");
    assert!(peer.events().is_empty() && peer.sent().is_empty(), "duplicates");
}

#[test]
fn who_acknowledges_nothing_is_slowed_down_and_cut() {
    let mut peer = recovering(parameters(), &[]);
    let acknowledged = peer.connection.acknowledged();
    let mut pings = 0;
    for tag in 0..17 {
        let mut command = peer.read(tag, 0);
        command.exp_stat_sn = acknowledged;
        assert!(peer.max_cmd_sn.wrapping_sub(command.cmd_sn).cast_signed() >= 0, "command {tag} fits into the window");
        peer.send(&command.encode(), b"");
        assert_eq!(command_tags(&peer.events()), [tag]);
        peer.connection.respond(tag, good(ReplyData::None, 0));
        pings += peer.sent().iter().filter(|sent| sent.opcode() == Opcode::NOP_IN).count();
    }
    assert_eq!(pings, 1, "an acknowledgement is asked for");
    assert_eq!(peer.max_cmd_sn.wrapping_sub(peer.cmd_sn).cast_signed(), -1, "the window is closed");
    peer.acknowledge(acknowledged + 500);
    assert!(peer.sent().is_empty(), "nobody can acknowledge what was not sent");
    peer.acknowledge(peer.stat_sn.unwrap());
    peer.one();
    assert_eq!(peer.max_cmd_sn.wrapping_sub(peer.cmd_sn), 7, "open again, and the initiator is told");
    let acknowledged = peer.connection.acknowledged();
    for tag in 0..200 {
        let ping = NopOut { immediate: true, tag, transfer_tag: NO_TAG, exp_stat_sn: acknowledged, ..NopOut::default() };
        peer.send(&ping.encode(), b"");
        peer.sent();
    }
    assert_eq!(peer.closed(), "the initiator does not acknowledge what it is answered");
}
