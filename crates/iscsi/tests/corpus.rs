//! Replays what the fuzzer knows about PDU streams and login texts.

#[path = "../../../fuzz/harness/pdu.rs"]
mod pdu;
#[path = "../../../fuzz/harness/text.rs"]
mod text;

use std::path::PathBuf;

use iscsi::initiator::{Command, Connection, Event, Settings};
use iscsi::{Transmit, TransmitData};
use pdu::{Entry, Peer, Setup};

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

fn replay(target: &str, run: fn(&[u8])) {
    let mut count = 0;
    for entry in std::fs::read_dir(folder(target)).expect("the corpus is there") {
        let path = entry.expect("the corpus can be read").path();
        println!("{}", path.display());
        run(&std::fs::read(&path).expect("a file of the corpus can be read"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

#[test]
fn pdu_corpus_holds() {
    replay("pdu", pdu::run);
}

#[test]
fn text_corpus_holds() {
    replay("text", text::run);
}

/// `cargo test -p iscsi --test corpus -- --ignored` writes the seeds anew.
#[test]
#[ignore = "changes files"]
fn write_seeds() {
    write_pdu_seeds();
    write_text_seeds();
}

const NAMES: &str = "InitiatorName=iqn.me|TargetName=iqn.2026-01.test:disk|";
const ALL_KEYS: &str = "HeaderDigest=CRC32C,None|DataDigest=None|InitialR2T=No|ImmediateData=Yes|MaxBurstLength=16776192|FirstBurstLength=262144|\
    MaxRecvDataSegmentLength=0x10000|MaxOutstandingR2T=16|MaxConnections=8|DefaultTime2Wait=0|DefaultTime2Retain=0|DataPDUInOrder=Yes|\
    DataSequenceInOrder=No|ErrorRecoveryLevel=2|OFMarker=No|IFMarkInt=Reject|TaskReporting=RFC3720|iSCSIProtocolLevel=2|X-me=1|";

/// Flags and text of each PDU.
type Talk = Vec<(u8, String)>;

/// A bar stands for a NUL.
fn write_text_seeds() {
    let named = |more: &str| format!("{NAMES}{more}");
    let discovery = "InitiatorName=iqn.me|SessionType=Discovery|".to_owned();
    let chap =
        [(0x00, named("AuthMethod=CHAP,None|")), (0x00, "CHAP_A=8,7,6,5|".into()), (0x81, "CHAP_N=user|CHAP_R=?|".into()), (0x87, ALL_KEYS.into())];
    let mutual =
        |challenge: &str| [(0x00, named("AuthMethod=CHAP|CHAP_A=5|")), (0x83, format!("CHAP_N=user|CHAP_R=?|CHAP_I=200|CHAP_C={challenge}|"))];
    let moved = "InitiatorName=iqn.me|TargetName=iqn.moved|".to_owned();
    let seeds: [(&str, u8, Talk); 11] = [
        ("one-step", 0, vec![(0x87, named(ALL_KEYS)), (0xa0, "SendTargets=|".into())]),
        ("offers", 8, vec![(0x87, named("")), (0x87, "HeaderDigest=None|DataDigest=CRC32C|InitialR2T=No|ImmediateData=No|".into())]),
        ("continued", 0, vec![(0x44, NAMES.into()), (0x44, "MaxBurst".into()), (0x87, "Length=512|".into())]),
        ("stages", 0, vec![(0x81, named("AuthMethod=None|")), (0x04, "InitialR2T=No|".into()), (0x87, String::new())]),
        ("chap", 1, chap.to_vec()),
        ("chap-skipped", 1, vec![(0x87, named(ALL_KEYS))]),
        ("mutual", 2, mutual("0x00112233445566778899aabbccddeeff").to_vec()),
        ("mutual-base64", 3, mutual("0bAAECAwQFBgcICQoLDA0ODw==").to_vec()),
        ("discovery", 4, vec![(0x87, discovery + "MaxRecvDataSegmentLength=512|"), (0xa0, "SendTargets=All|".into()), (0xa1, String::new())]),
        ("moved", 0, vec![(0x87, moved)]),
        ("wrong", 0, vec![(0xb7, named("")), (0x8f, "=|".into())]),
    ];
    for (name, choice, pdus) in seeds {
        let mut seed = vec![choice];
        for (flags, text) in pdus {
            seed.push(flags);
            seed.extend_from_slice(&u16::try_from(text.len()).expect("a seed is short").to_be_bytes());
            seed.extend_from_slice(text.replace('|', "\0").as_bytes());
        }
        text::run(&seed);
        std::fs::write(folder("text").join(format!("seed-{name}")), seed).expect("a seed can be written");
    }
}

fn write_pdu_seeds() {
    for choice in [0x00, 0x01, 0x0e, 0x3e, 0x72, 0x82, 0xff] {
        for mode in [0, 2] {
            let setup = [mode, choice];
            let mut seed = setup.to_vec();
            seed.extend_from_slice(&exchange(&Setup::new(setup), Some(pdu::TARGET)));
            write_pdu(&format!("exchange-{mode}-{choice:02x}"), &seed);
        }
    }
    let mut discovery = vec![8, 0];
    discovery.extend_from_slice(&exchange(&Setup::new([8, 0]), None));
    write_pdu("discovery", &discovery);
    let scripts: [(&str, &[[u8; 8]]); 6] = [
        ("reads", &[[0, 1, 0, 8, 0, 8, 0, 0], [11, 2, 0, 0, 200, 1, 0, 0], [0, 3, 1, 0, 0, 0, 0, 0], [13, 4, 0, 0, 0, 0, 0, 0]]),
        ("write", &[[2, 1, 0, 0, 0, 16, 0, 16], [4, 1, 0, 1, 1, 15, 0, 0], [5, 2, 0, 0, 0, 0, 9, 0]]),
        ("unsolicited", &[[0x82, 1, 0, 0, 0, 4, 0, 16], [4, 1, 0, 0xff, 1, 3, 0, 0]]),
        ("functions", &[[12, 1, 0, 0, 0, 0, 0, 0], [6, 2, 0, 1, 1, 0, 0, 0], [2, 3, 0, 0, 0, 16, 0, 0], [0x46, 4, 0, 5, 0, 0, 0, 0]]),
        ("texts", &[[7, 1, 0, 0xff, 1, 4, 0, 0], [7, 1, 0, 1, 0, 5, 0, 0], [7, 2, 0, 0xff, 0, 0, 0, 0], [8, 3, 0, 0, 0, 0, 0, 0]]),
        ("odd", &[[9, 1, 0, 0, 0, 0, 0, 0], [10, 2, 0, 2, 0, 2, 0, 0], [14, 0x81, 0, 0, 0, 3, 4, 8], [0, 7, 0xfe, 1, 0, 1, 0, 0]]),
    ];
    for (name, records) in scripts {
        for choice in [0x00, 0x3f, 0xff] {
            let seed: Vec<u8> = [1, choice].into_iter().chain(records.iter().flatten().copied()).collect();
            write_pdu(&format!("records-{name}-{choice:02x}"), &seed);
        }
    }
}

fn write_pdu(name: &str, seed: &[u8]) {
    pdu::run(seed);
    std::fs::write(folder("pdu").join(format!("seed-{name}")), seed).expect("a seed can be written");
}

/// The bytes our initiator sends from login to logout.
fn exchange(setup: &Setup, target: Option<&str>) -> Vec<u8> {
    let parameters = &setup.parameters;
    let settings = Settings {
        crc32c: setup.crc32c(),
        header_digest: parameters.header_digest,
        data_digest: parameters.data_digest,
        max_recv_data_segment_length: 1024,
        ..Settings::new("iqn.me", target)
    };
    let mut initiator = Connection::new(settings);
    let mut peer = Peer::new(setup);
    let (mut stream, mut step, mut seen) = (Vec::new(), 0, 0);
    loop {
        while let Some(bytes) = initiator.poll_output() {
            peer.feed(&bytes);
            stream.extend_from_slice(&bytes);
        }
        while let Some(entry) = peer.log.get(seen) {
            seen += 1;
            if let Entry::Transmit(transmit) = entry {
                initiator.handle_bytes(&wire(transmit, setup.crc32c()));
            }
        }
        let more = initiator.poll_output();
        if let Some(bytes) = more {
            peer.feed(&bytes);
            stream.extend_from_slice(&bytes);
            continue;
        }
        let mut over = false;
        while let Some(event) = initiator.poll_event() {
            assert!(!matches!(event, Event::Violation(_) | Event::LoginFailed { .. }), "{event:?}");
            over |= matches!(event, Event::LoggedOut { .. });
        }
        if over {
            return stream;
        }
        next_step(&mut initiator, target.is_some(), step);
        step += 1;
    }
}

fn next_step(initiator: &mut Connection, normal: bool, step: usize) {
    assert!(step < 10, "the exchange does not end");
    let command = |operation: u8, amount: u16| {
        let [high, low] = amount.to_be_bytes();
        Command::new(0, &[operation, 0, 0, 0, 0, 0, 0, high, low, 0])
    };
    match step {
        0 if normal => drop(initiator.submit(command(0x12, 36).reading(255))),
        1 if normal => drop(initiator.submit(command(0x28, 4096).reading(4096))),
        2 if normal => drop(initiator.submit(command(0x2a, 0).writing(vec![7; 6000]))),
        3 if normal => drop(initiator.submit(command(0xff, 0))),
        4 if normal => drop(initiator.ping(b"ping")),
        5 if normal => drop(initiator.task_management(5, scsi::Lun::default(), 0xffff_ffff)),
        6 => drop(initiator.text(if normal { b"SendTargets=\0" } else { b"SendTargets=All\0" })),
        7 => initiator.logout(),
        _ => {}
    }
}

fn wire(transmit: &Transmit, crc32c: iscsi::Crc32c) -> Vec<u8> {
    let mut data = match &transmit.data {
        TransmitData::None => Vec::new(),
        TransmitData::Inline(bytes) => bytes.clone(),
        TransmitData::Task { len, .. } | TransmitData::Kept { len, .. } => vec![0; *len as usize],
    };
    data.resize(data.len().next_multiple_of(4), 0);
    let mut bytes = transmit.header.to_vec();
    if transmit.header_digest {
        bytes.extend_from_slice(&crc32c(0, &transmit.header).to_le_bytes());
    }
    if !data.is_empty() {
        bytes.extend_from_slice(&data);
        if transmit.data_digest {
            bytes.extend_from_slice(&crc32c(0, &data).to_le_bytes());
        }
    }
    bytes
}
