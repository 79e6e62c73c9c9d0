//! Every text against what tgt prints in the same situation.

use super::*;
use crate::request::RunState;
use crate::setting::Parameters;
use crate::view::{ConnectionView, IsnsView, StoreView, TargetName};

fn controller() -> UnitView {
    UnitView {
        lun: 0,
        device_type: 0x0c,
        scsi_id: "IET     00010000".into(),
        scsi_sn: "beaf10".into(),
        bytes: 0,
        block_size: 1,
        online: true,
        removable: false,
        prevent_removal: false,
        read_only: false,
        swp: false,
        thin: false,
        store: "null".into(),
        path: None,
        sync: false,
        direct: false,
        protection: None,
        port_groups: Vec::new(),
    }
}

fn disk() -> UnitView {
    UnitView {
        lun: 1,
        device_type: 0,
        scsi_id: "IET     00010001".into(),
        scsi_sn: "beaf11".into(),
        bytes: 64 << 20,
        block_size: 512,
        store: "rdwr".into(),
        path: Some("/d.img".into()),
        ..controller()
    }
}

fn view() -> TargetView {
    TargetView {
        tid: 1,
        name: "iqn.2020-01.com.example:a".into(),
        driver: "iscsi".into(),
        state: RunState::Ready,
        nop_interval: 0,
        nop_count: 0,
        sessions: Vec::new(),
        units: vec![controller(), disk()],
        incoming: Vec::new(),
        outgoing: None,
        addresses: vec!["ALL".into()],
        names: Vec::new(),
    }
}

const ONE_DISK: &str = "\
Target 1: iqn.2020-01.com.example:a
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00010000
            SCSI SN: beaf10
            Size: 0 MB, Block size: 1
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: null
            Backing store path: None
            Backing store flags:\x20
        LUN: 1
            Type: disk
            SCSI ID: IET     00010001
            SCSI SN: beaf11
            Size: 67 MB, Block size: 512
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: rdwr
            Backing store path: /d.img
            Backing store flags:\x20
    Account information:
    ACL information:
        ALL
";

#[test]
fn a_target_with_one_disk() {
    assert_eq!(targets(&[view()]), ONE_DISK);
    assert_eq!(targets(&[]), "");
}

#[test]
fn a_target_with_everything() {
    let full = TargetView {
        state: RunState::Offline,
        nop_interval: 5,
        nop_count: 7,
        sessions: vec![SessionView {
            sid: 3,
            initiator: "iqn.2020-01.ini:one".into(),
            alias: None,
            connections: vec![ConnectionView { cid: 0, address: "127.0.0.1".into() }],
        }],
        units: vec![UnitView { sync: true, direct: true, ..disk() }],
        incoming: vec!["u1".into()],
        outgoing: Some("u2".into()),
        addresses: vec!["192.0.2.0/24".into(), "ALL".into()],
        names: vec!["iqn.2020-01.ini:one".into()],
        ..view()
    };
    let text = targets(&[full]);
    let head = "\
Target 1: iqn.2020-01.com.example:a
    System information:
        Driver: iscsi
        State: offline
        Nop interval: 5
        Nop count: 7
    I_T nexus information:
        I_T nexus: 3
            Initiator: iqn.2020-01.ini:one alias: none
            Connection: 0
                IP Address: 127.0.0.1
    LUN information:
";
    let tail = "            Backing store flags: sync:direct
    Account information:
        u1
        u2 (outgoing)
    ACL information:
        192.0.2.0/24
        ALL
        iqn.2020-01.ini:one
";
    assert!(text.starts_with(head) && text.ends_with(tail), "{text}");
}

#[test]
fn sizes_round_as_tgt_rounds_them() {
    let expected = [(0, 0), (8 << 20, 8), (10 << 20, 10), (20 << 20, 21), (64 << 20, 67), (1 << 30, 1074)];
    for (bytes, shown) in expected {
        assert_eq!(megabytes(bytes), shown, "{bytes}");
    }
}

#[test]
fn the_parameters_of_a_new_target() {
    let mut view = TargetParametersView { redirect: Redirect::default(), nop_interval: 0, nop_count: 0, parameters: Parameters::default().lines() };
    let expected = "\
nop_interval=0
nop_count=0
MaxRecvDataSegmentLength=8192
HeaderDigest=None
DataDigest=None
InitialR2T=Yes
MaxOutstandingR2T=1
ImmediateData=Yes
FirstBurstLength=65536
MaxBurstLength=262144
DataPDUInOrder=Yes
DataSequenceInOrder=Yes
ErrorRecoveryLevel=0
IFMarker=No
OFMarker=No
DefaultTime2Wait=2
DefaultTime2Retain=20
OFMarkInt=Reject
IFMarkInt=Reject
MaxConnections=1
RDMAExtensions=Yes
TargetRecvDataSegmentLength=262144
InitiatorRecvDataSegmentLength=262144
MaxOutstandingUnexpectedPDUs=0
MaxXmitDataSegmentLength=8192
MaxQueueCmd=128
";
    assert_eq!(target_parameters(&view), expected);
    view.redirect.port = "3299".into();
    assert_eq!(target_parameters(&view), expected);
    view.redirect.address = Some("192.0.2.1".into());
    assert_eq!(target_parameters(&view), "RedirectAddress=192.0.2.1\nRedirectPort=3299\nRedirectReason=Unknown\n");
    view.redirect.reason = Some(RedirectReason::Permanent);
    assert_eq!(target_parameters(&view), "RedirectAddress=192.0.2.1\nRedirectPort=3299\nRedirectReason=Permanent\n");
    view.redirect.callback = Some("/bin/true".into());
    assert_eq!(target_parameters(&view), "RedirectCallback=/bin/true\n");
}

#[test]
fn the_system() {
    let mut view = SystemView {
        state: RunState::Ready,
        debug: false,
        drivers: vec![DriverView { name: "iscsi".into(), state: DriverState::Ready, targets: vec![TargetName { tid: 1, name: "a".into() }] }],
        stores: vec![StoreView { name: "null".into(), flags: false }, StoreView { name: "rdwr".into(), flags: true }],
        device_types: vec![0, 5, 0xff],
        incoming: Vec::new(),
        outgoing: Some("dout".into()),
        isns: IsnsView::default(),
    };
    let head = "System:
    State: ready
    debug: off
LLDs:
    iscsi: ready
Backing stores:
    null
    rdwr (bsoflags sync:direct)
Device types:
    disk
    cd/dvd
    passthrough
";
    let tail = "iSNS:
    iSNS=Off
    iSNSServerIP=
    iSNSServerPort=3205
    iSNSAccessControl=Off
";
    assert_eq!(system(&view), format!("{head}{tail}"));
    view.incoming = vec!["din".into()];
    assert_eq!(system(&view), format!("{head}    Account information:\n\n    din\n    dout (outgoing)\n{tail}"));
}

#[test]
fn drivers_accounts_portals_and_sessions() {
    let driver = DriverView {
        name: "iscsi".into(),
        state: DriverState::Stopped,
        targets: vec![TargetName { tid: 1, name: "a".into() }, TargetName { tid: 2, name: "b".into() }],
    };
    assert_eq!(drivers(&[driver]), "LLDs:\n    iscsi: stopped\n        Target 1: a\n        Target 2: b\n");
    assert_eq!(accounts(&[]), "");
    assert_eq!(accounts(&[AccountView { user: "u2".into() }, AccountView { user: "u1".into() }]), "Account list:\n    u2\n    u1\n");
    let portal = |text: &str| PortalView { address: text.parse().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into()), group_tag: 1 };
    assert_eq!(portals(&[portal("[::]:3260"), portal("0.0.0.0:3260")]), "Portal: [::]:3260,1\nPortal: 0.0.0.0:3260,1\n");
    let session = SessionView {
        sid: 2,
        initiator: "iqn.i".into(),
        alias: Some("x".into()),
        connections: vec![ConnectionView { cid: 0, address: "127.0.0.1".into() }],
    };
    assert_eq!(sessions(&[session]), "Session: 2\n    Connection: 0\n        Initiator: iqn.i\n        IP Address: 127.0.0.1\n");
}

#[test]
fn statistics() {
    let heading = "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs\n";
    assert_eq!(stat(&[]), heading);
    let row = StatRow {
        tid: 1,
        lun: 1,
        sid: 1,
        read_submitted_bytes: 4096,
        read_submitted_commands: 1,
        read_done_bytes: 4096,
        read_done_commands: 1,
        errors: 1,
        ..StatRow::default()
    };
    let line = "  1   1   1         4096      1         4096      1            0      0            0      0    1\n";
    assert_eq!(stat(&[row]), format!("{heading}{line}"));
    let connections = "sid cid rxdata_octets txdata_octets dataout_pdus datain_pdus cmd_pdus rsp_pdus\n";
    assert_eq!(connection_stat(&[]), connections);
    let connection =
        ConnectionStatRow { sid: 1, sent_octets: 4096, data_in_pdus: 1, command_pdus: 2, response_pdus: 1, ..ConnectionStatRow::default() };
    let view = SessionStatView { units: vec![row], connections: vec![connection] };
    let table = "  1   0             0          4096            0           1        2        1\n";
    assert_eq!(session_stat(&view), format!("{heading}{line}\n{connections}{table}"));
}

#[test]
fn fault_rules_are_lines_in_order() {
    let line = "0: TID:1 LUN:3 WRITE10 0-99999998 100% pause:0 Count:0/0 CHECK_CONDITION";
    let rule = RuleLine { index: 0, tid: 1, lun: 3, fired: 0, rule: "op=WRITE10".into(), line: line.into() };
    assert_eq!(text(&Answer::Rules(vec![rule.clone()])), format!("{line}\n"));
    assert_eq!(text(&Answer::Rules(Vec::new())), "");
    assert_eq!(text(&Answer::Rule(rule)), "", "success is silent");
}
