//! Three front doors, one configuration: what comes in as tgtadm's command lines, as JSON and as a file makes the same daemon.

use admin::document::{Document, read};
use admin::json;
use admin::options::Parsed;
use admin::options::tgtadm;
use admin::reply::Answer;
use admin::request::{Envelope, Request};
use admin::wire::Frame;

use crate::apply::Control;
use crate::stub::{ask, control};

/// What each command line says, as the file says it.
const LINES: &[&str] = &[
    "--mode system --op update --name debug --value on",
    "--mode system --op update --name iSNSServerIP --value 192.0.2.9",
    "--mode system --op update --name iSNSServerPort --value 3206",
    "--mode portal --op new --param portal=127.0.0.1:3261",
    "--mode portal --op new --param portal=127.0.0.1:3262,2",
    "--mode portal --op new --param portal=127.0.0.1:3263",
    "--mode portal --op delete --param portal=127.0.0.1:3263",
    "--mode account --op new --user ann --password first",
    "--mode account --op new --user bob --password second",
    "--mode account --op new --user gone --password third",
    "--mode account --op delete --user gone",
    "--mode account --op bind --user bob",
    "--mode account --op bind --user ann --outgoing",
    "--mode target --op new --tid 3 -T iqn.a:one",
    "--mode target --op new --tid 9 -T iqn.a:gone",
    "--mode target --op delete --tid 9",
    "--mode target --op bind --tid 3 -I 192.0.2.0/24",
    "--mode target --op bind --tid 3 -I ALL",
    "--mode target --op unbind --tid 3 -I ALL",
    "--mode target --op bind --tid 3 -Q iqn.b:*",
    "--mode target --op bind --tid 3 -H 5",
    "--mode target --op update --tid 3 --name MaxQueueCmd --value 64",
    "--mode target --op update --tid 3 --name HeaderDigest --value CRC32C,None",
    "--mode target --op update --tid 3 --name nop_interval --value 7",
    "--mode target --op update --tid 3 --name RedirectAddress --value 192.0.2.7",
    "--mode target --op update --tid 3 --name RedirectPort --value 3270",
    "--mode target --op update --tid 3 --name RedirectReason --value Permanent",
    "--mode target --op update --tid 3 --name state --value offline",
    "--mode account --op bind --tid 3 --user ann",
    "--mode account --op bind --tid 3 --user bob",
    "--mode account --op unbind --tid 3 --user bob",
    "--mode account --op bind --tid 3 --user bob --outgoing",
    "--mode logicalunit --op new --tid 3 --lun 1 --bstype memory -b 1024K --blocksize 4096",
    "--mode logicalunit --op new --tid 3 --lun 2 --bstype null -b any",
    "--mode logicalunit --op delete --tid 3 --lun 2",
    "--mode logicalunit --op update --tid 3 --lun 1 --params vendor_id=ACME,scsi_sn=0007,readonly=1,sense_format=1,lbppbe=3,removable=1",
    "--mode logicalunit --op update --tid 3 --lun 1 --params mode_page=0x1c:0:10:8:1,thin_provisioning=1,rotation_rate=1,la_lba=5,online=0",
    "--mode logicalunit --op update --tid 3 --lun 1 --params alua=implicit,access_state=2:standby:preferred",
    "--mode error --op new --tid 3 --lun 1 --error op=WRITE10,lba=0,len=8,key=3,asc=0x0c02",
    "--mode error --op new --tid 4 --lun 1 --error op=READ,action=BUSY",
];

/// The same as a file.
const FILE: &str = r#"
portals = ["127.0.0.1:3261", "127.0.0.1:3262,2"]
system = { debug = true }
isns = { server = "192.0.2.9", port = 3206 }
discovery = { incoming = ["bob"], outgoing = "ann" }
account = [{ user = "ann", password = "first" }, { user = "bob", password = "second" }]
fault = [{ tid = 4, lun = 1, rule = "op=READ,action=BUSY" }]

[[target]]
name = "iqn.a:one"
tid = 3
state = "offline"
allow = ["192.0.2.0/24"]
initiators = ["iqn.b:*"]
hosts = [5]
incoming = ["ann"]
outgoing = "bob"
nop_interval = 7
redirect = { address = "192.0.2.7", port = 3270, reason = "permanent" }
keys = { MaxQueueCmd = 64, HeaderDigest = "CRC32C" }

[[target.unit]]
lun = 1
store = "memory"
size = "1M"
block_size = 4096
vendor_id = "ACME"
scsi_sn = "0007"
readonly = true
sense_format = true
lbppbe = 3
removable = true
mode_pages = ["0x1c:0:10:8:1"]
alua = "implicit"
access_states = ["2:standby:preferred"]
thin_provisioning = true
rotation_rate = 1
la_lba = 5
online = false
faults = ["op=WRITE10,lba=0,len=8,key=3,asc=0x0c02"]
"#;

fn frame(line: &str) -> Frame {
    let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    match tgtadm::parse(&words, "0") {
        Ok(Parsed::Run(invocation)) => invocation.frame,
        other => panic!("{line}: {other:?}"),
    }
}

fn done(control: &Control, envelope: &Envelope) {
    let reply = control.apply(envelope);
    assert!(reply.is_ok(), "{envelope:?}: {reply:?}");
}

fn dumped(control: &Control) -> Document {
    match ask(control, Request::Dump { secrets: true }) {
        Ok(Answer::Document(document)) => document.sorted(),
        other => panic!("{other:?}"),
    }
}

/// Over tgtadm's wire, byte for byte.
fn over_the_wire(line: &str) -> Envelope {
    let (mut bytes, text) = frame(line).encode();
    bytes.extend_from_slice(&text);
    let read = Frame::decode(&bytes).expect("a frame");
    admin::reading::request(&read).unwrap_or_else(|failure| panic!("{line}: {failure}"))
}

#[test]
fn three_front_doors_make_the_same_daemon() {
    let (wire, _) = control(false);
    let (lines, _) = control(false);
    for line in LINES {
        let envelope = over_the_wire(line);
        done(&wire, &envelope);
        let read = json::read_request(&json::write_request(&envelope)).expect("a line of JSON");
        done(&lines, &read);
    }
    let (file, _) = control(false);
    let document = read::read("file", FILE).unwrap_or_else(|problems| panic!("{problems}"));
    done(&file, &Envelope { driver: None, request: Request::Apply { document: Box::new(document), dry_run: false } });
    let dump = dumped(&wire);
    assert_eq!(dumped(&lines), dump);
    assert_eq!(dumped(&file), dump);
    let unit = &dump.targets[0].units[0];
    assert!(unit.readonly == Some(true) && unit.faults.len() == 1 && dump.faults.len() == 1, "{dump:?}");
    // And through the fourth, which is the file that the first one wrote.
    let text = dump.to_toml().expect("TOML");
    let (again, _) = control(false);
    let document = read::read("dump", &text).unwrap_or_else(|problems| panic!("{problems}"));
    done(&again, &Envelope { driver: None, request: Request::Apply { document: Box::new(document), dry_run: false } });
    assert_eq!(dumped(&again), dump);
}

/// A kind of request that changes the configuration and that no command line makes: only its own way is there.
#[test]
fn every_kind_of_request_that_a_command_line_makes_is_among_the_lines() {
    let kinds: std::collections::BTreeSet<String> =
        LINES.iter().map(|line| format!("{:?}", over_the_wire(line).request).split([' ', '(', '{']).next().unwrap_or_default().to_owned()).collect();
    let wanted = [
        "AccountBind",
        "AccountDelete",
        "AccountNew",
        "AccountUnbind",
        "FaultNew",
        "PortalDelete",
        "PortalNew",
        "SystemUpdate",
        "TargetBind",
        "TargetDelete",
        "TargetNew",
        "TargetUnbind",
        "TargetUpdate",
        "UnitDelete",
        "UnitNew",
        "UnitUpdate",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
}
