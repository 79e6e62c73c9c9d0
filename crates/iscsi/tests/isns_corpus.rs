//! Replays what the fuzzer knows about iSNS.

#[path = "../../../fuzz/harness/isns.rs"]
mod harness;

use std::path::PathBuf;

use iscsi::isns::{Attribute, Function, Message, Status, Tag};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/isns")
}

#[test]
fn isns_corpus_holds() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).expect("the corpus is there") {
        let path = entry.expect("the corpus can be read").path();
        println!("{}", path.display());
        harness::run(&std::fs::read(&path).expect("a file of the corpus can be read"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

/// What happens, and the bytes that go with it.
type Record<'a> = (u8, &'a [u8]);

/// `cargo test -p iscsi --test isns_corpus -- --ignored` writes the seeds anew.
#[test]
#[ignore = "changes files"]
fn write_seeds() {
    let connect: &[Record<'_>] = &[(4, b""), (1, b"")];
    let inquiry = Message::request(Function::ENTITY_STATUS_INQUIRY, 7, vec![Attribute::text(Tag::ENTITY_IDENTIFIER, "10.0.0.1:3260")]).encode();
    let changed = Message::request(Function::STATE_CHANGE_NOTIFICATION, 8, vec![Attribute::text(Tag::ISCSI_NAME, harness::TARGETS[0])]).encode();
    let response = Message::request(Function::DEVICE_ATTRIBUTE_REGISTRATION, 1, vec![]).answer(Status::SUCCESS, vec![]).encode();
    let several = [Message::request(Function(1), 9, vec![Attribute::number(Tag(2), 2)]).encode(), inquiry.clone(), response.clone()].concat();
    let scripts: [(&str, &[Record<'_>]); 10] = [
        ("honest", &[(6, &[0xf3]), (1, b"iqn.i:1"), (1, b"iqn.i:2"), (1, b""), (1, b"iqn.i:3"), (8, &[0]), (3, &[8]), (1, b"iqn.i:4"), (3, &[200])]),
        ("changes", &[(6, &[0x3f]), (1, b""), (6, &[0x18]), (1, b""), (1, b""), (6, &[0x28]), (1, b""), (1, b""), (6, &[0x20]), (1, b"")]),
        ("away", &[(5, b""), (3, &[40]), (3, &[200]), (4, b""), (5, b""), (7, b""), (7, b"")]),
        ("stop", &[(7, b""), (1, b""), (7, b""), (4, b""), (7, b""), (3, &[9])]),
        ("refused", &[(6, &[0xf3]), (2, &[3]), (2, &[3]), (2, &[21]), (2, &[0, 6, 4, 0, 0, 0, 9]), (2, &[9]), (2, &[6]), (3, &[250])]),
        ("period", &[(6, &[0x31]), (3, &[120]), (2, &[0, 6, 4, 0, 0, 0, 9]), (3, &[12]), (2, &[9]), (3, &[4])]),
        ("strangers", &[(9, &inquiry), (9, &changed), (9, &inquiry[..9]), (3, &[30]), (9, b"x"), (9, &response)]),
        ("requests", &[(0, &inquiry), (0, &changed[..5]), (0, &changed[5..]), (3, &[50])]),
        ("unexpected", &[(0, &response), (3, &[4]), (4, b""), (0, &response), (0, &response)]),
        ("empty", &[(6, &[0]), (6, &[0x0f]), (6, &[0x31]), (1, b"")]),
    ];
    for (name, script) in scripts {
        let mut seed = Vec::new();
        for (kind, bytes) in connect.iter().chain(script) {
            seed.extend_from_slice(&[*kind, u8::try_from(bytes.len()).expect("a record is short")]);
            seed.extend_from_slice(bytes);
        }
        write(name, &seed);
    }
    write("stream", &several);
    write("stream-cut", &several[..several.len() - 3]);
}

fn write(name: &str, seed: &[u8]) {
    harness::run(seed);
    std::fs::write(folder().join(format!("seed-{name}")), seed).expect("a seed can be written");
}
