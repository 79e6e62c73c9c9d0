//! What broke other targets, and what later versions of libiscsi's suite ask, over a real connection.

use super::*;

/// What `Settings::new` of the initiator begins with.
const FIRST_CMD_SN: u32 = 1;
/// No initiator gives its tasks this tag.
const TAG: u32 = 0x7000_0000;

/// A SCSI Command that writes, of one block at 0, whatever it expects.
fn raw_write(expected: u32, cmd_sn: u32) -> Vec<u8> {
    let mut header = vec![0; 48];
    header[..2].copy_from_slice(&[0x01, 0xa0]);
    header[9] = 1;
    header[16..20].copy_from_slice(&TAG.to_be_bytes());
    header[20..24].copy_from_slice(&expected.to_be_bytes());
    header[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
    header[32..48].copy_from_slice(&cdb16(0x8a, 0, 1));
    header
}

fn number(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

impl Host {
    /// A PDU as it comes, past the initiator role.
    fn raw_pdu(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        let mut header = vec![0; 48];
        self.stream.read_exact(&mut header).expect("a header");
        let length = number(&header, 4) & 0x00ff_ffff;
        let mut data = vec![0; length.next_multiple_of(4) as usize];
        self.stream.read_exact(&mut data).expect("its data");
        data.truncate(length as usize);
        (header, data)
    }
}

/// Attack case A5: the length is believed when data come, not before.
#[test]
fn a_write_that_expects_four_gibibytes_costs_one_block() {
    for expected in [0xffff_fff0u32, 0x7fff_fff0] {
        let house = House::plain();
        let mut offers = Settings::new(INITIATOR, Some(TARGET));
        offers.initial_r2t = true;
        let mut host = Host::new(house.portal, offers);
        let attention = host.command(Command::new(1, &[0; 6]));
        assert_eq!(attention.sense[2] & 15, 6);
        host.stream.write_all(&raw_write(expected, FIRST_CMD_SN + 1)).expect("the target reads");
        let (r2t, _) = host.raw_pdu();
        assert_eq!((r2t[0], number(&r2t, 40), number(&r2t, 44)), (0x31, 0, 512), "no more is asked for than the CDB says");
        let mut data = vec![0; 48];
        data[..2].copy_from_slice(&[0x05, 0x80]);
        data[6..8].copy_from_slice(&512u16.to_be_bytes());
        data[9] = 1;
        data[16..20].copy_from_slice(&TAG.to_be_bytes());
        data[20..24].copy_from_slice(&r2t[20..24]);
        data.extend(vec![0x5a; 512]);
        host.stream.write_all(&data).expect("the target reads");
        let (response, _) = host.raw_pdu();
        assert_eq!(
            (response[0], response[1] & 0x06, response[3], number(&response, 44)),
            (0x21, 0x02, 0, expected - 512),
            "GOOD, and what was not used"
        );
        drop(host);
        house.end();
    }
}

/// Attack case A15: a command that fails moves no byte, whatever was expected of it, and says so.
#[test]
fn a_failed_command_moves_no_data_whatever_it_expects() {
    let house = House::plain();
    let mut host = house.host();
    let expected = 1 << 20;
    let power_on = host.command(Command::new(1, &[0; 6]).reading(expected));
    assert_eq!((power_on.status, power_on.data_in.len(), power_on.residual), (2, 0, i64::from(expected)), "unit attention");
    let cdbs: [&[u8]; 5] =
        [&cdb16(0xff, 0, 0), &cdb16(0x88, u64::MAX, 8), &[0x12, 1, 0x55, 0xff, 0xff, 0], &[0x1a, 0, 0x33, 0, 0xff, 0], &cdb16(0x9e, 0, 9)];
    for cdb in cdbs {
        let failed = host.run(Command::new(1, cdb).reading(expected));
        assert_eq!((failed.status, failed.sense.get(2).map(|key| key & 15)), (2, Some(5)), "{cdb:02x?}");
        assert_eq!((failed.data_in.len(), failed.residual), (0, i64::from(expected)), "{cdb:02x?}");
    }
    house.rule(0, "op=READ16,action=CHECK_CONDITION,key=3,asc=0x1100");
    let failed = host.run(read(0, expected));
    assert_eq!((failed.status, failed.data_in.len(), failed.residual), (2, 0, i64::from(expected)), "an unreadable block");
    house.delete_rule(0);
    let short = host.run(Command::new(1, &[0x12, 0, 0, 0, 255, 0]).reading(expected));
    assert_eq!(short.data_in.len() as i64 + short.residual, i64::from(expected), "no byte more than the answer has");
    house.end();
}

/// Attack case A14, and libiscsi's CmdSNTooLow and CmdSNTooHigh: such commands are not there.
#[test]
fn command_numbers_outside_of_the_window_are_ignored_without_end() {
    let house = House::plain();
    let mut host = house.host();
    host.run(write(0, vec![1; 512]));
    for back in 1..200 {
        host.core.stale_command(lun(1), back);
    }
    for ahead in 0..2000u32 {
        host.core.send_raw(raw_write(512, 0x4000_0000 + ahead));
    }
    host.core.send_raw(raw_write(512, u32::MAX / 2));
    assert_eq!(host.run(read(0, 512)).data_in, vec![1; 512], "the next number is the next command");
    let answered = host.events.iter().filter(|event| matches!(event, Event::Done(_) | Event::Reject { .. })).count();
    assert_eq!((answered, house.cell().lock().active_tasks()), (0, 0));
    assert_eq!(house.hub.sessions().len(), 1, "and the session lives");
    house.end();
}

/// CVE-2013-2850 of another target: keys that the target does not know, long ones, many of them, before anybody is known.
#[test]
fn unknown_keys_of_any_length_do_no_harm() {
    let key = |len: usize| format!("X-{}", "a".repeat(len));
    let many: Vec<(String, String)> = (0..380).map(|index| (format!("X-k{index}"), "1".to_owned())).collect();
    let lists = [
        vec![(key(8191), "v".to_owned())],
        vec![(key(63), "v".repeat(8191))],
        vec![(key(200), String::new())],
        vec![(key(30), "v".repeat(64 << 10))],
        many.clone(),
        many.iter().cycle().take(8000).cloned().collect(),
    ];
    let house = House::plain();
    for keys in lists {
        let mut offers = Settings::new(INITIATOR, Some(TARGET));
        offers.isid[5] = 3;
        let what = format!("{} keys, the first of {} and {} bytes", keys.len(), keys[0].0.len(), keys[0].1.len());
        offers.more_keys = keys;
        let mut host = Host::connect(house.portal, offers);
        let deadline = Instant::now() + Duration::from_secs(10);
        let ended = |event: &Event| matches!(event, Event::LoggedIn { .. } | Event::LoginFailed { .. });
        while host.turn() && !host.events.iter().any(ended) {
            assert!(Instant::now() < deadline, "no answer: {what}");
        }
    }
    assert_eq!(house.host().run(Command::new(1, &[0; 6])).status, 0, "others are not disturbed");
    house.end();
}

/// libiscsi's SendTargets tests: in a normal session, and for a name that is not there.
#[test]
fn a_session_of_a_target_lists_it_and_nothing_else() {
    let house = House::plain();
    let mut host = house.host();
    let mut ask = |text: &[u8]| {
        let tag = host.core.text(text);
        host.wait(|event| match event {
            Event::Text { tag: done, pairs } if *done == tag => Some(pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()),
            _ => None,
        })
    };
    let own = vec![format!("TargetName={TARGET}"), format!("TargetAddress={},1", house.portal)];
    assert_eq!(ask(b"SendTargets=\0"), own);
    assert_eq!(ask(format!("SendTargets={TARGET}\0").as_bytes()), own);
    let all = ask(b"SendTargets=All\0");
    assert!(!all.iter().any(|pair| pair.starts_with("TargetName=") && *pair != own[0]), "{all:?}");
    let other = ask(b"SendTargets=iqn.2026-01.test:other\0");
    assert!(!other.iter().any(|pair| pair.starts_with("TargetName=")), "{other:?}");
    assert_eq!(host.run(Command::new(1, &[0; 6])).status, 0, "and the session goes on");
    house.end();
}

/// libiscsi's NOP tests: every length of ping comes back, among commands.
#[test]
fn pings_of_any_length_come_back_among_commands() {
    let house = House::plain();
    let mut host = house.host();
    host.run(Command::new(1, &[0; 6]));
    for len in [0, 1, 2, 3, 4, 5, 63, 64, 512, 4095, 4096] {
        let command = host.core.submit(read(0, 8192));
        let data = pattern(len, 9);
        let tag = host.core.ping(&data);
        let echo = host.wait(|event| match event {
            Event::Pong { tag: done, data } if *done == tag => Some(data.clone()),
            _ => None,
        });
        assert!(echo == data, "{len} bytes");
        assert_eq!(host.done(command).status, 0);
    }
    house.end();
}

/// Issue 3203 of another target: every length mod 4, in and out.
#[test]
fn padded_data_come_whole() {
    let house = House::plain();
    let mut host = house.host();
    host.run(Command::new(1, &[0; 6]));
    for len in 0..40u8 {
        let inquiry = host.run(Command::new(1, &[0x12, 0, 0, 0, len, 0]).reading(u32::from(len)));
        assert_eq!((inquiry.status, inquiry.data_in.len()), (0, usize::from(len)));
    }
    for len in 508..512usize {
        let short = host.run(Command::new(1, &cdb16(0x8a, 0, 1)).writing(pattern(len, 4)));
        assert_eq!((short.status, short.sense[2] & 15), (2, 5), "less than a block");
    }
    house.end();
}
