//! SANITIZE, ORWRITE and the log among other commands of the unit.

use std::vec::Vec;

use scsi::{DataIn, Status};

use crate::effect::{Abort, FunctionKind, TaskTag};
use crate::testing::{Bench, Event, blocks, compare_and_write, read, write};

const SANITIZE: [u8; 10] = [0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0];
const IMMEDIATE: [u8; 10] = [0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0];
const READY: [u8; 6] = [0; 6];
const REQUEST_SENSE: [u8; 6] = [0x03, 0, 0, 0, 18, 0];

fn or_write(lba: u8, blocks: u8) -> [u8; 16] {
    [0x8b, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, blocks, 0, 0]
}

/// Tags and additional sense codes of the commands that ended.
fn ends(bench: &Bench) -> Vec<(u32, Option<u16>)> {
    let end = |event: &Event| match event {
        Event::Done(_, tag, outcome) => Some((*tag, outcome.sense.map(|sense| sense.asc.0))),
        _ => None,
    };
    bench.events.iter().filter_map(end).collect()
}

#[test]
fn what_runs_already_ends_before_the_medium_is_erased() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &write(4, 1), &blocks(7, 1));
    bench.fetch(0);
    bench.simple(1, 2, &write(6, 1), &blocks(7, 1));
    bench.simple(2, 3, &SANITIZE, &[]);
    assert_eq!(bench.stores.len(), 1, "the erasure waits for the write");
    bench.run();
    assert!(bench.medium.iter().all(|&byte| byte == 0));
    let ends = ends(&bench);
    assert!(ends.contains(&(1, None)) && ends.contains(&(3, None)), "{ends:?}");
    assert!(ends.contains(&(2, Some(0x041b))), "its data came too late: {ends:?}");
}

#[test]
fn it_goes_on_whatever_happens_to_its_command() {
    let mut bench = Bench::new(2);
    bench.medium.fill(7);
    bench.simple(1, 1, &SANITIZE, &[]);
    bench.simple(2, 2, &READY, &[]);
    bench.simple(2, 3, &REQUEST_SENSE, &[]);
    assert_eq!(ends(&bench), [(2, Some(0x041b)), (3, None)]);
    let Some(Event::Done(_, _, told)) = bench.events.last() else { panic!("no answer") };
    assert!(matches!(&told.data_in, DataIn::Inline(told) if (told[2], told[12], told[13], told[15]) == (2, 0x04, 0x1b, 0x80)));
    bench.function(1, 9, FunctionKind::AbortTask(TaskTag(1)));
    assert!(bench.errands.is_empty(), "the operation of the command is still under way");
    bench.store(0);
    assert!(bench.events.iter().any(|event| matches!(event, Event::Aborted(1, 1, Abort::ByOwnNexus))));
    bench.function(1, 10, FunctionKind::LogicalUnitReset);
    assert_eq!((bench.attention(2), bench.attention(1)), (Some(0x2900), Some(0x2900)));
    assert_eq!(bench.sense(2, &READY), (2, 0x041b));
    bench.detach(1);
    bench.errand();
    bench.errand();
    assert!(bench.errands.is_empty() && bench.medium.iter().all(|&byte| byte == 0));
    assert_eq!(bench.status(2, &READY, &[]), Status::GOOD);
}

#[test]
fn without_a_command_it_waits_for_what_runs_and_lets_nobody_in() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &write(4, 1), &blocks(7, 1));
    bench.fetch(0);
    bench.simple(1, 2, &compare_and_write(8, 1), &blocks(0, 2));
    bench.fetch(0);
    bench.simple(2, 3, &IMMEDIATE, &[]);
    assert_eq!((ends(&bench), bench.errands.len(), bench.stores.len()), (Vec::from([(3, None)]), 0, 2));
    bench.store(1);
    assert_eq!(ends(&bench)[1], (2, Some(0x041b)), "its second half comes too late");
    bench.store(0);
    assert_eq!((bench.errands.len(), ends(&bench)[2]), (1, (1, None)));
    assert!(bench.unit.works_behind(512));
    bench.errand();
    bench.errand();
    assert!(bench.errands.is_empty() && bench.medium.iter().all(|&byte| byte == 0) && !bench.unit.works_behind(512));
    assert_eq!(bench.status(2, &READY, &[]), Status::GOOD);
}

#[test]
fn a_scan_waits_until_nobody_is_there() {
    let mut bench = Bench::new(1);
    let page = [0, 0, 0, 0, 0x5c, 0x01, 0, 0x0c, 0x01, 0, 0, 0x18, 0, 0, 0x01, 0xf4, 0, 0, 0, 0];
    assert_eq!(bench.status(1, &[0x15, 0x10, 0, 0, 20, 0], &page), Status::GOOD);
    assert_eq!(bench.unit.poll_timeout(), Some(500_000_000));
    bench.advance(400_000_000);
    bench.simple(1, 1, &read(0, 1), &[]);
    bench.advance(200_000_000);
    assert!(bench.errands.is_empty());
    bench.store(0);
    assert_eq!((bench.errands.len(), bench.unit.poll_timeout()), (0, Some(1_100_000_000)));
    bench.advance(500_000_000);
    assert_eq!(bench.errands.len(), 1);
    bench.errand();
    let log = bench.data(1, &[0x4d, 0, 0x55, 0, 0, 0, 0, 0, 99, 0]);
    assert_eq!(log[13..20], [8, 0, 1, 0, 0, 0, 1], "one scan is over, the next one waits");
    assert_eq!(bench.unit.poll_timeout(), Some(24 * 3_600_000_000_000 + 1_100_000_000));
}

#[test]
fn nobody_writes_between_the_halves_of_an_or_write() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &or_write(4, 1), &blocks(0x0f, 1));
    bench.fetch(0);
    bench.simple(2, 2, &write(4, 1), &blocks(0x30, 1));
    bench.fetch(0);
    assert_eq!(bench.stores.len(), 1, "the write waits");
    bench.run();
    assert_eq!(bench.medium[4 * 512], 0x30, "and comes after");
    assert_eq!(bench.status(1, &or_write(4, 1), &blocks(0x0f, 1)), Status::GOOD);
    assert_eq!(bench.medium[4 * 512], 0x3f);
}

#[test]
fn injected_errors_stand_in_the_log() {
    let mut bench = Bench::new(1);
    bench.rule(1, "op=READ10,lba=8,len=8,key=3,asc=0x1100");
    assert_eq!(bench.sense(1, &read(8, 1)).0, 3);
    let errors = bench.data(1, &[0x4d, 0, 0x43, 0, 0, 0, 6, 0, 99, 0]);
    assert_eq!(errors[8..], [0, 0, 0, 1]);
}

/// A rule for block 40 of what this operation does.
fn bad_block(operation: &str) -> std::string::String {
    std::format!("op={operation},lba=40,len=1,key=4,asc=0x3200,repeat=1")
}

#[test]
fn a_rule_lets_an_erasure_fail_on_its_way() {
    for (operation, cdb) in [("SANITIZE_BLOCK_ERASE", &SANITIZE[..]), ("FORMAT_UNIT", &[0x04, 0, 0, 0, 0, 0])] {
        let mut bench = Bench::new(2);
        bench.medium.fill(7);
        bench.rule(0, &bad_block(operation));
        assert_eq!(bench.sense(1, cdb), (4, 0x3200), "the rule's sense");
        let failed = if operation == "FORMAT_UNIT" { 0x3101 } else { 0x3103 };
        assert_eq!((bench.sense(2, &read(0, 1)), bench.status(2, &READY, &[])), ((3, failed), Status::CHECK_CONDITION));
        assert_eq!(
            bench.unit.faults().journal().entries().map(|entry| (entry.stage, entry.range.map(|range| range.start.0))).next(),
            Some((fault::Stage::Store, Some(0)))
        );
        assert_eq!(bench.status(1, cdb, &[]), Status::GOOD, "it is healed");
        assert!(bench.medium.iter().all(|&byte| byte == 0));
        assert_eq!(bench.status(2, &READY, &[]), Status::GOOD);
    }
}

#[test]
fn a_rule_lets_an_erasure_fail_that_nobody_waits_for() {
    let mut bench = Bench::new(2);
    bench.rule(0, &bad_block("0x48"));
    assert_eq!(bench.status(1, &IMMEDIATE, &[]), Status::GOOD);
    assert!(bench.errands.is_empty(), "nothing got to the store");
    assert_eq!(bench.sense(2, &read(0, 1)), (3, 0x3103));
    assert_eq!(bench.unit.faults().journal().entries().map(|entry| (entry.nexus, entry.ordinal)).collect::<Vec<_>>(), [(0, 0)]);
    bench.simple(1, 1, &IMMEDIATE, &[]);
    bench.errand();
    bench.errand();
    assert_eq!(bench.status(2, &READY, &[]), Status::GOOD);
}

#[test]
fn a_rule_lets_a_self_test_find_a_bad_block() {
    for (code, told) in [(5, Some((4, 0x3200))), (1, None)] {
        let mut bench = Bench::new(1);
        bench.rule(0, &bad_block("SEND_DIAGNOSTIC"));
        let test = [0x1d, code << 5, 0, 0, 0, 0];
        match told {
            Some(told) => assert_eq!(bench.sense(1, &test), told),
            None => assert_eq!(bench.status(1, &test, &[]), Status::GOOD),
        }
        let log = bench.data(1, &[0x4d, 0, 0x50, 0, 0, 0, 0, 1, 0x94, 0]);
        assert_eq!((log[8], log[15]), (code << 5 | 7, 0), "the first parameter: failed");
        assert_eq!(log[12..20], 40_u64.to_be_bytes(), "at that block");
        assert_eq!(bench.unit.faults().journal().len(), 1);
    }
}
