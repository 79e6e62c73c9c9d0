//! SANITIZE, ORWRITE and the log among other commands of the unit.

use std::vec::Vec;

use scsi::{DataIn, Status};

use crate::effect::{Abort, FunctionKind, TaskTag};
use crate::testing::{Bench, Event, blocks, read, write};

const SANITIZE: [u8; 10] = [0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0];
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
fn others_are_refused_while_it_is_erased_and_after_it_was_aborted() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &SANITIZE, &[]);
    bench.simple(2, 2, &READY, &[]);
    bench.simple(2, 3, &REQUEST_SENSE, &[]);
    assert_eq!(ends(&bench), [(2, Some(0x041b)), (3, None)]);
    let Some(Event::Done(_, _, told)) = bench.events.last() else { panic!("no answer") };
    assert!(matches!(&told.data_in, DataIn::Inline(told) if (told[2], told[12], told[13], told[15]) == (2, 0x04, 0x1b, 0x80)));
    bench.function(1, 9, FunctionKind::AbortTask(TaskTag(1)));
    bench.store(0);
    assert!(bench.events.iter().any(|event| matches!(event, Event::Aborted(1, 1, Abort::ByOwnNexus))));
    assert_eq!(bench.sense(2, &READY), (3, 0x3103));
    assert_eq!(bench.status(2, &SANITIZE, &[]), Status::GOOD);
    assert_eq!(bench.status(2, &READY, &[]), Status::GOOD);
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
