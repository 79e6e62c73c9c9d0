//! Text in full feature phase.

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
        [("TargetName", NAME), ("TargetAddress", "192.0.2.1:3260,1"), ("TargetAddress", "[::1]:3260,1")].map(|(k, v)| (k.to_string(), v.to_string()))
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
