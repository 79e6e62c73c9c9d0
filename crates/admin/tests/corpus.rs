//! Replays what the fuzzer knows about the control protocol.

#[path = "../../../fuzz/harness/tgtadm.rs"]
mod harness;

use std::path::PathBuf;

use admin::code::Code;
use admin::json;
use admin::reply::Answer;
use admin::request::{Envelope, FaultSelection, PortalRequest, Request, RunState, SystemSetting, UnitNew};
use admin::wire::{Frame, answer};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/tgtadm")
}

#[test]
fn corpus_holds() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).expect("the corpus is there") {
        let path = entry.expect("the corpus can be read").path();
        println!("{}", path.display());
        harness::run(&std::fs::read(&path).expect("a file of the corpus can be read"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

/// `cargo test -p admin --test corpus -- --ignored` writes the seeds anew.
#[test]
#[ignore = "changes files"]
fn write_seeds() {
    for (name, bytes) in frames().into_iter().chain(lines()).chain(command_lines()) {
        harness::run(&bytes);
        std::fs::write(folder().join(format!("seed-{name}")), bytes).expect("a seed can be written");
    }
}

fn frames() -> Vec<(String, Vec<u8>)> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let base = Frame { driver: b"iscsi".to_vec(), tid: 1, lun: 1, ..Frame::default() };
    let frames = [
        Frame { mode: 0, op: 5, text: text("State=ready,iSNS=On,iSNSServerIP=192.0.2.1,iSNSServerPort=3205,iSNSAccessControl=Off"), ..base.clone() },
        Frame { mode: 0, op: 5, text: text("debug=on"), ..base.clone() },
        Frame { mode: 1, op: 0, text: text("targetname=iqn.2001-04.com.example:storage"), ..base.clone() },
        Frame { mode: 1, op: 1, force: true, ..base.clone() },
        Frame { mode: 1, op: 2, tid: -1, ..base.clone() },
        Frame { mode: 1, op: 3, text: text("initiator-address=192.0.2.0/24,initiator-name=iqn.a:*"), ..base.clone() },
        Frame { mode: 1, op: 4, host: 3, ..base.clone() },
        Frame { mode: 1, op: 5, text: text("MaxRecvDataSegmentLength=262144"), ..base.clone() },
        Frame { mode: 1, op: 5, text: text("RedirectAddress=[2001:db8::1]"), ..base.clone() },
        Frame { mode: 2, op: 0, text: text("path=/tmp/disk.img,bstype=rdwr,bsopts=a,bsoflags=sync:direct,blocksize=4096"), ..base.clone() },
        Frame { mode: 2, op: 5, text: text("targetOps mode_page=8:0:18:0x10:0,readonly=1,"), ..base.clone() },
        Frame { mode: 2, op: 6, sid: 1, ..base.clone() },
        Frame { mode: 3, op: 0, text: text("portalOps portal=[::1]:3261,nop_interval=10,nop_count=3,"), ..base.clone() },
        Frame { mode: 4, op: 7, ..base.clone() },
        Frame { mode: 6, op: 1, sid: 1, cid: 1, ..base.clone() },
        Frame { mode: 7, op: 0, text: text("user=u,password=p,q"), ..base.clone() },
        Frame { mode: 7, op: 3, outgoing: true, text: text("user=u"), ..base.clone() },
        Frame {
            mode: 8,
            op: 0,
            text: text("op=WRITE10,lba=0,len=99999999,pct=50.5,pause=0.25,repeat=3,action=CHECK_CONDITION,key=3,asc=0x0c02,seed=1,name=a"),
            ..base.clone()
        },
        Frame { mode: 8, op: 0, text: text("op=0x2a,action=HANG"), ..base.clone() },
        Frame { mode: 8, op: 1, text: text("rule=7"), ..base },
    ];
    let named = |frame: Frame| {
        let (header, text) = frame.encode();
        let name = format!("frame-{}-{}-{}", frame.mode, frame.op, frame.text.as_ref().map_or(0, Vec::len));
        (name, [header, text].concat())
    };
    frames.into_iter().map(named).collect()
}

fn lines() -> Vec<(String, Vec<u8>)> {
    let unit = UnitNew {
        tid: 1,
        lun: 1,
        path: Some("/tmp/disk.img".into()),
        bstype: Some("rdwr".into()),
        bsoflags: Some("direct".into()),
        blocksize: Some(512),
        ..UnitNew::default()
    };
    let requests = [
        Request::SystemShow,
        Request::SystemUpdate { settings: vec![SystemSetting::State(RunState::Offline), SystemSetting::IsnsServerPort(1)] },
        Request::TargetNew { tid: 1, name: "iqn.a:b".into() },
        Request::UnitNew(unit),
        Request::UnitUpdate { tid: 1, lun: 1, parameters: vec![("online".into(), "1".into())] },
        Request::PortalNew(PortalRequest { portals: vec!["127.0.0.1:0".into()], nop_interval: Some(5), nop_count: None }),
        Request::FaultNew { tid: 1, lun: 1, rule: "op=READ,lba=8,len=8,action=DROP_CONNECTION".into() },
        Request::FaultDelete(FaultSelection::Unit { tid: 1, lun: None }),
        Request::Trace { tid: None, lun: Some(1), limit: 10 },
        Request::Status,
    ];
    let mut seeds: Vec<(String, Vec<u8>)> = Vec::new();
    for (at, request) in requests.into_iter().enumerate() {
        seeds.push((format!("request-{at}"), json::write_request(&Envelope { driver: (at % 2 == 0).then(|| "iscsi".into()), request })));
    }
    let replies = [Ok(Answer::Done), Ok(Answer::Text("a\n".into())), Ok(Answer::Removed(3)), Err(Code::NoTarget.because("there is no target 7"))];
    for (at, reply) in replies.into_iter().enumerate() {
        seeds.push((format!("reply-{at}"), json::write_reply(&reply)));
        seeds.push((format!("answer-{at}"), answer(&reply)));
    }
    seeds
}

fn command_lines() -> Vec<(String, Vec<u8>)> {
    let lines = [
        "--lld iscsi --mode target --op new --tid 1 -T iqn.2001-04.com.example:storage",
        "--lld=iscsi --mode=logicalunit --op=new --tid=1 --lun=1 -b /tmp/d -E rdwr -f direct --blocksize 4096 -Y disk",
        "--mode lu --op update --tid 1 --lun 0x1 --params vendor_id=ACME,online=1",
        "--mode target --op bind --tid 1 -I 192.0.2.0/24 -Q iqn.a",
        "-m portal -o new -P portal=127.0.0.1:0",
        "-C 3 -m account -o bind -t 1 -u user -O",
        "--mode error --op new --tid 1 --lun 3 --error op=WRITE10,lba=0,len=10,key=3,asc=0x0c02",
        "--mode conn --op delete --tid 1 --sid 2 --cid 0 -F",
        "--mode target --op new --tid 1 --bus 3,4",
        "--help",
        "-f -C 1 --iscsi portal=[::1]:3260,nop_interval=5,nop_count=2 -d 1 -t 4 --pid-file /run/p --io epoll --seed 0x7 --reactors 2 --no-faults",
        "op=UNMAP,pct=0.000001,pause=.5,repeat=012,action=TASK_SET_FULL,name=a b",
    ];
    let seed = |(at, line): (usize, &str)| (format!("line-{at}"), line.replace(' ', "\0").into_bytes());
    lines.into_iter().enumerate().map(seed).collect()
}
