//! Login: stages, negotiation, refusals, accounts.

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
