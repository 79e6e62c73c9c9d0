//! Command lines against tgtadm's answers to them.

use super::*;

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

fn sent(line: &str) -> Invocation {
    match parse(&words(line), "1") {
        Ok(Parsed::Run(invocation)) => invocation,
        other => panic!("{line}: {other:?}"),
    }
}

fn text(line: &str) -> String {
    String::from_utf8(sent(line).frame.text.unwrap_or_default()).unwrap_or_default()
}

fn refused(line: &str) -> (String, u8) {
    match parse(&words(line), "1") {
        Err(usage) => (usage.message, usage.status),
        other => panic!("{line}: {other:?}"),
    }
}

const HINT: &str = "Try `tgtadm --help' for more information.\n";

#[test]
fn one_line_errors() {
    let cases = [
        ("", "specify the operation type"),
        ("--mode target", "specify the operation type"),
        ("--op show", "specify the mode"),
        ("--mode target --op new", "'tid' option is necessary"),
        ("--mode target --op new --tid 0", "'tid' cannot be 0"),
        ("--mode target --op new --tid 5", "creating new target requires a name, use --targetname"),
        ("--mode target --op start --tid 5", "operation start not supported in target mode"),
        ("--mode target --op bind --tid 1", "bind operation requires initiator-address, initiator-nameor bus"),
        ("--mode target --op unbind --tid 1 -H 0", "unbind operation requires initiator-address, initiator-nameor bus"),
        ("--mode target --op update --tid 1 --name state", "update operation requires 'name' and 'value' options"),
        ("--mode system --op new", "operation new not supported in system mode"),
        ("--mode account --op new --user a", "'user' and 'password' options are required"),
        ("--mode account --op delete", "'user' option is necessary"),
        ("--mode logicalunit --op new --tid 1", "'lun' option is necessary"),
        ("--mode logicalunit --op new --tid 0 --lun 1", "'tid' must not be 0"),
        ("--mode logicalunit --op show --tid 1 --lun 1", "operation show not supported in logicalunit mode"),
        ("--mode lu --op new --tid 1 --lun 1 --device-type bogus", "unknown target type: bogus"),
        ("--mode lu --op new --tid 1 --lun 1 --device-type osd", "'backing-store' option is necessary"),
        ("--mode portal --op new", "you must specify --param portal=<portal>"),
        ("--mode portal --op bind", "operation bind not supported in portal mode"),
        ("--mode lld --op update", "option 5 not supported in lld mode"),
    ];
    for (line, message) in cases {
        assert_eq!(refused(line), (format!("tgtadm: {message}\n"), 22), "{line}");
    }
    assert_eq!(refused("--mode nosuch --op show"), ("tgtadm: unknown mode: nosuch\n".into(), 1));
    assert_eq!(refused("--mode target --op nosuch"), ("tgtadm: unknown operation: nosuch\n".into(), 1));
}

#[test]
fn params_count_wherever_they_stand() {
    for line in [
        "--params portal=127.0.0.1 --mode portal --op new",
        "--mode portal --params portal=127.0.0.1 --op new",
        "--op new --mode portal -P portal=127.0.0.1",
    ] {
        assert_eq!(text(line), "portalOps portal=127.0.0.1,", "{line}");
    }
}

#[test]
fn options_of_other_modes_are_named() {
    let cases = [
        ("--mode target --op new --tid 1 -T iqn.x --backing-store /x", "target mode: option '-b' is not allowed/supported"),
        ("--mode target --op show --force", "target mode: option '-F' is not allowed/supported"),
        ("--mode lu --op delete --tid 1 --lun 1 -s 1", "logicalunit mode: option '-s' is not allowed/supported"),
        ("--mode lu --op update --tid 1 --lun 1 -b /x", "option '-b' not supported in logicalunit mode"),
        ("--mode account --op show --user x", "account mode: option '-u' is not allowed/supported"),
        ("--mode portal --op show --params portal=127.0.0.1", "option '-P' not supported in portal mode"),
        ("--mode lld --op start --tid 1", "lld mode: option '-t' is not allowed/supported"),
        ("--mode system --op update --name debug --value on --tid 1", "system mode: option '-t' is not allowed/supported"),
    ];
    for (line, message) in cases {
        assert_eq!(refused(line), (format!("tgtadm: {message}\n"), 22), "{line}");
    }
}

#[test]
fn errors_with_the_hint() {
    let cases = [
        ("extra --mode target --op show", "tgtadm: unrecognized option 'extra'"),
        ("--bogus", "tgtadm: unrecognized option '--bogus'"),
        ("--mode target --op show --tid x", "-t argument value 'x' invalid"),
        ("--mode target --op show --tid -1", "-t argument value '-1' invalid"),
        ("--mode target --op show --tid 99999999999", "-t argument value '99999999999' out of range"),
        ("--tid 99999999999999999999999", "-t argument value '99999999999999999999999' invalid"),
        ("-C 99999 --mode target --op show", "-C argument value '99999' out of range"),
        ("--lun abc", "-l argument value 'abc' invalid"),
    ];
    for (line, message) in cases {
        assert_eq!(refused(line), (format!("{message}\n{HINT}"), 22), "{line}");
    }
}

#[test]
fn numbers_have_c_syntax() {
    let tid = |word: &str| sent(&format!("--mode target --op show --tid {word}")).frame.tid;
    assert_eq!([tid("5:"), tid("0x10"), tid("010"), tid("2147483647"), tid("0")], [5, 16, 8, i32::MAX, 0]);
    assert_eq!(sent("--mode conn --op show -t 1 -l -5").frame.lun, u64::MAX - 4);
}

#[test]
fn texts_are_built_in_tgtadms_order() {
    assert_eq!(text("--mode target --op new --tid 1 -T iqn.x:1"), "targetname=iqn.x:1");
    assert_eq!(
        text("--mode lu --op new -t 1 -l 1 -y 4096 -f sync -E rdwr -S a=1 -b /x"),
        "path=/x,bstype=rdwr,bsopts=a=1,bsoflags=sync,blocksize=4096"
    );
    assert_eq!(text("--mode lu --op new -t 1 -l 1 -Y tape -E rdwr"), "bstype=ssc");
    assert_eq!(text("--mode lu --op update -t 1 -l 1 -P readonly=1"), "targetOps readonly=1,");
    assert_eq!(text("--mode portal --op new --param portal=[::1]"), "portalOps portal=[::1],");
    assert_eq!(text("--param portal=[::1] --mode portal --op new"), "portalOps portal=[::1],", "the order of options does not matter");
    assert_eq!(text("--mode target --op bind -t 1 -Q n -I a"), "initiator-address=a,initiator-name=n");
    assert_eq!(text("--mode target --op update -t 1 --name n --value v"), "n=v");
    assert_eq!(text("--mode account --op new -p s -u u"), "user=u,password=s");
    assert_eq!(sent("--mode target --op show").frame.text, None);
}

#[test]
fn header_fields_come_from_their_options() {
    let frame = sent("--lld iscsi --mode conn --op delete -t 1 -s 2 -c 3 -H 4 --force --outgoing -Y pt -C 7 -d").frame;
    assert_eq!((frame.driver.as_slice(), frame.tid, frame.sid, frame.cid, frame.host), (&b"iscsi"[..], 1, 2, 3, 4));
    assert_eq!((frame.force, frame.outgoing, frame.device_type, frame.lun), (true, true, 0xff, NO_LUN));
    assert!(sent("--mode sys --op delete").ends_daemon());
}

#[test]
fn mode_error() {
    let new = sent("--mode error --op new --tid 1 --lun 3 --error op=WRITE10,lba=0,key=3,asc=0x0c02").frame;
    assert_eq!((new.mode, new.op, new.tid, new.lun), (8, 0, 1, 3));
    assert_eq!(new.text.as_deref(), Some(&b"op=WRITE10,lba=0,key=3,asc=0x0c02"[..]));
    assert!(new.detail && !sent("--mode target --op show").frame.detail && sent("-d --mode target --op show").frame.detail);
    let show = sent("--mode error --op show").frame;
    assert_eq!((show.mode, show.op, show.tid, show.text), (8, 2, NO_TID, None));
    let delete = sent("--mode error --op delete").frame;
    assert_eq!((delete.op, delete.tid, delete.lun, delete.text), (1, NO_TID, NO_LUN, None));
    assert_eq!(sent("--mode error --op delete -e rule=2").frame.text.as_deref(), Some(&b"rule=2"[..]));
    assert_eq!(sent("--mode error --op update").frame.op, 5, "the daemon refuses it in the original's words");
    assert_eq!(refused("--mode error --op new --lun 1 -e op=READ10").0, "tgtadm: 'tid' option is necessary\n");
    assert_eq!(refused("--mode error --op new --tid 1 -e op=READ10").0, "tgtadm: 'lun' option is necessary\n");
    assert!(refused("--mode error --op new --tid 1 --lun 1").0.starts_with("tgtadm: 'error' option is necessary"));
    let rule = |rule: &str| refused(&format!("--mode error --op new --tid 1 --lun 1 --error {rule}"));
    assert_eq!(rule("op=FORMAT99,key=3,asc=0x0c02"), ("tgtadm: invalid request\n".into(), 22));
    assert_eq!(rule("op=WRITE10,action=TARGET_RESET"), ("tgtadm: invalid request\n".into(), 22));
    for (text, named) in
        [("op=WRITE10,asc=0x0c02", "\"key\": is missing"), ("op=WRITE10,bogus=1", "bogus=1"), ("op=WRITE10,pct=101,key=3,asc=1", "pct=101")]
    {
        let (message, status) = rule(text);
        assert!(message.starts_with("tgtadm: ") && message.contains(named) && message.matches('\n').count() == 1, "{message}");
        assert_eq!(status, 22);
    }
    assert!(refused("--mode error --op delete -e op=READ10").0.contains("rule=N"));
    assert_eq!(refused("--mode error --op delete --lun 1").0, "tgtadm: 'tid' option is necessary\n");
}

#[test]
fn help_lists_every_operation_and_option() {
    let Ok(Parsed::Print(help)) = parse(&words("--help"), "9.9") else { panic!("no help") };
    assert!(help.starts_with("Linux SCSI Target administration utility, version 9.9"));
    assert!(help.matches("--lld <driver> --mode").count() >= 16);
    assert!(FLAGS.iter().all(|flag| help.contains(&format!("--{}", flag.long))));
    assert_eq!(parse(&words("-V --bogus"), "9.9"), Ok(Parsed::Print("9.9\n".into())));
}

#[test]
fn a_text_beyond_the_daemons_limit_is_refused_here() {
    let path = "x".repeat(8192);
    assert!(refused(&format!("--mode lu --op new -t 1 -l 1 -b {path}")).0.contains("too long"));
}
