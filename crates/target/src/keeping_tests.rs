//! APTPL: nothing is answered before it is durable, and nothing changes that is not.

use crate::effect::{FunctionKind, FunctionResponse, NexusId};
use crate::management::FUNCTION_LIMIT;
use crate::testing::{Bench, Event, blocks, disk, identity, read, reserve_out, write};
use crate::unit::Unit;
use scsi::{Sense, Status};
use std::vec::Vec;

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT_AND_ABORT: u8 = 5;
const REPLACE_LOST: u8 = 8;
const CAPABILITIES: [u8; 10] = [0x5e, 2, 0, 0, 0, 0, 0, 0, 8, 0];

/// A bench that can keep things.
fn bench() -> Bench {
    let mut bench = Bench::new(3);
    bench.unit.set_keeping(true);
    bench
}

/// PERSISTENT RESERVE OUT up to its write; `aptpl` for the registering ones.
fn begin(bench: &mut Bench, nexus: u64, tag: u32, order: (u8, u8, u64, u64), aptpl: bool) {
    let (cdb, mut list) = reserve_out(order.0, order.1, order.2, order.3);
    list[20] = u8::from(aptpl);
    bench.simple(nexus, tag, &cdb, &list);
    bench.fetch(0);
}

/// The write ends.
fn persisted(bench: &mut Bench, durable: bool) -> Vec<u8> {
    let (task, bytes) = bench.persists.remove(0);
    bench.unit.handle_persisted(task, durable, bench.now);
    bench.collect();
    bytes
}

fn outcome(bench: &mut Bench, tag: u32) -> Option<(Status, Option<Sense>)> {
    let at = bench.events.iter().position(|event| matches!(event, Event::Done(_, by, _) if *by == tag))?;
    match bench.events.remove(at) {
        Event::Done(_, _, outcome) => Some((outcome.status, outcome.sense)),
        _ => None,
    }
}

/// All of it, and GOOD; what was kept.
fn done(bench: &mut Bench, nexus: u64, order: (u8, u8, u64, u64), aptpl: bool) -> Vec<u8> {
    begin(bench, nexus, 7000, order, aptpl);
    assert_eq!(outcome(bench, 7000), None, "not before it is durable");
    let bytes = persisted(bench, true);
    assert_eq!(outcome(bench, 7000), Some((Status::GOOD, None)));
    bytes
}

/// A unit after a loss of power, with three nexuses.
fn restarted(kept: &[u8]) -> Bench {
    let mut bench = Bench::new(0);
    bench.unit = Unit::new(disk(), 1);
    bench.unit.set_keeping(true);
    assert!(bench.unit.restore_reservations(kept));
    for nexus in 1..=3 {
        bench.unit.attach(NexusId(nexus), identity(nexus));
        assert_eq!(bench.attention(nexus), Some(0x2900));
    }
    bench
}

#[test]
fn without_a_place_to_keep_it_aptpl_is_refused() {
    let mut bench = Bench::new(1);
    let (cdb, mut list) = reserve_out(REGISTER, 0, 0, 5);
    list[20] = 1;
    assert_eq!(bench.outcome(1, &cdb, &list).sense, Some(Sense::invalid_parameter_field(20, Some(0))));
    assert_eq!(bench.data(1, &CAPABILITIES)[2..4], [0x8c, 0x80]);
    bench.unit.set_keeping(true);
    assert_eq!(bench.data(1, &CAPABILITIES)[2..4], [0x8d, 0x80], "PTPL_C");
    done(&mut bench, 1, (REGISTER, 0, 0, 5), true);
    assert_eq!(bench.data(1, &CAPABILITIES)[2..4], [0x8d, 0x81], "PTPL_A");
}

#[test]
fn every_kind_of_reservation_comes_back_with_all_registrations() {
    for kind in [1, 3, 5, 6, 7, 8] {
        let mut bench = bench();
        done(&mut bench, 1, (REGISTER, 0, 0, 0xaaaa), true);
        done(&mut bench, 2, (REGISTER, 0, 0, 0xbbbb), true);
        let kept = done(&mut bench, 2, (RESERVE, kind, 0xbbbb, 0), false);
        let before = bench.data(1, &[0x5e, 3, 0, 0, 0, 0, 0, 2, 0, 0]);
        let mut again = restarted(&kept);
        let after = again.data(1, &[0x5e, 3, 0, 0, 0, 0, 0, 2, 0, 0]);
        assert_eq!((&before[..4], &after[..4]), (&[0, 0, 0, 2][..], &[0; 4][..]), "PRGENERATION begins again");
        assert_eq!(before[4..], after[4..], "type {kind}");
        assert_eq!(again.unit.reservations().kept(), kept);
        assert_eq!(again.status(3, &write(0, 1), &blocks(1, 1)), Status::RESERVATION_CONFLICT);
        assert_eq!(again.status(2, &write(0, 1), &blocks(1, 1)), Status::GOOD);
    }
}

#[test]
fn changes_are_kept_until_somebody_registers_without_aptpl() {
    let mut bench = bench();
    let one = done(&mut bench, 1, (REGISTER, 0, 0, 1), true);
    let held = done(&mut bench, 1, (RESERVE, 1, 1, 0), false);
    assert_ne!(one, held);
    assert_eq!(done(&mut bench, 1, (RELEASE, 1, 1, 0), false), one);
    let (cdb, list) = reserve_out(RELEASE, 1, 1, 0);
    assert_eq!(bench.status(1, &cdb, &list), Status::GOOD, "what changes nothing is not written");
    let cleared = done(&mut bench, 1, (CLEAR, 0, 1, 0), false);
    assert_eq!(restarted(&cleared).unit.reservations().registered(), 0);
    done(&mut bench, 1, (REGISTER, 0, 0, 1), true);
    assert!(done(&mut bench, 1, (REGISTER, 0, 1, 2), false).is_empty(), "APTPL = 0 forgets it");
    let (cdb, list) = reserve_out(RESERVE, 1, 2, 0);
    assert_eq!(bench.status(1, &cdb, &list), Status::GOOD, "and then nothing is written");
    assert!(bench.persists.is_empty());
}

#[test]
fn a_failing_write_changes_nothing() {
    let mut bench = bench();
    let kept = done(&mut bench, 1, (REGISTER, 0, 0, 1), true);
    begin(&mut bench, 2, 1, (REGISTER, 0, 0, 2), true);
    persisted(&mut bench, false);
    let (status, sense) = outcome(&mut bench, 1).expect("an end");
    assert_eq!((status, sense.map(|sense| (sense.key.0, sense.asc.0))), (Status::CHECK_CONDITION, Some((4, 0x4400))));
    assert_eq!(bench.unit.reservations().kept(), kept);
    assert_eq!(bench.unit.reservations().generation(), 1);
    done(&mut bench, 2, (REGISTER, 0, 0, 2), true);
}

#[test]
fn others_go_on_and_wait_their_turn() {
    let mut bench = bench();
    done(&mut bench, 1, (REGISTER, 0, 0, 1), true);
    begin(&mut bench, 1, 1, (RESERVE, 1, 1, 0), false);
    begin(&mut bench, 2, 2, (REGISTER, 0, 0, 2), true);
    begin(&mut bench, 3, 3, (REGISTER, 0, 0, 3), true);
    assert_eq!(bench.persists.len(), 1, "one write at a time");
    assert_eq!(bench.status(3, &write(0, 1), &blocks(1, 1)), Status::GOOD, "the reservation is not in force yet");
    assert_eq!(bench.status(3, &[0x16, 0, 0, 0, 0, 0], &[]), Status::RESERVATION_CONFLICT);
    bench.function(3, 50, FunctionKind::AbortTaskSet);
    assert!(bench.events.contains(&Event::Function(3, 50, FunctionResponse::Complete)), "what only waits ends at once");
    persisted(&mut bench, true);
    assert_eq!(outcome(&mut bench, 1), Some((Status::GOOD, None)));
    assert_eq!(bench.status(3, &write(0, 1), &blocks(1, 1)), Status::RESERVATION_CONFLICT);
    let kept = persisted(&mut bench, true);
    assert_eq!(outcome(&mut bench, 2), Some((Status::GOOD, None)));
    let again = restarted(&kept);
    assert_eq!((again.unit.reservations().registered(), again.unit.reservations().held().is_some()), (2, true));
}

#[test]
fn the_queue_is_bounded() {
    let mut bench = bench();
    begin(&mut bench, 1, 1, (REGISTER, 0, 0, 1), true);
    for tag in 100..100 + super::QUEUE_LIMIT as u32 {
        begin(&mut bench, 2, tag, (CLEAR, 0, 9, 0), false);
    }
    begin(&mut bench, 2, 999, (CLEAR, 0, 9, 0), false);
    assert_eq!(outcome(&mut bench, 999), Some((Status::BUSY, None)));
    persisted(&mut bench, true);
    assert_eq!(outcome(&mut bench, 163), Some((Status::RESERVATION_CONFLICT, None)));
}

#[test]
fn a_write_that_hangs_does_not_hold_an_abort_for_ever_and_counts_when_it_lands() {
    let mut bench = bench();
    begin(&mut bench, 1, 1, (REGISTER, 0, 0, 1), true);
    bench.function(1, 50, FunctionKind::AbortTaskSet);
    assert_eq!(bench.events, [], "the change may still become durable");
    bench.advance(FUNCTION_LIMIT);
    assert_eq!(bench.events, [Event::Function(1, 50, FunctionResponse::Rejected)]);
    bench.detach(1);
    let kept = persisted(&mut bench, true);
    assert_eq!(bench.unit.reservations().kept(), kept, "memory and what is kept are the same");
    assert_eq!(bench.unit.active_tasks(), 0);
    assert_eq!(bench.status(2, &read(0, 1), &[]), Status::GOOD, "and the medium is ready again");
}

#[test]
fn preempt_and_abort_aborts_when_the_preemption_is_durable() {
    let mut bench = bench();
    done(&mut bench, 1, (REGISTER, 0, 0, 1), true);
    done(&mut bench, 2, (REGISTER, 0, 0, 2), true);
    bench.simple(2, 5, &read(0, 1), &[]);
    begin(&mut bench, 1, 6, (PREEMPT_AND_ABORT, 1, 1, 2), false);
    assert!(bench.stores.len() == 1 && bench.events.is_empty());
    persisted(&mut bench, true);
    assert_eq!(outcome(&mut bench, 6), None, "the store works for the other one");
    bench.store(0);
    assert_eq!(outcome(&mut bench, 6), Some((Status::GOOD, None)));
}

#[test]
fn bytes_that_make_no_sense_let_nobody_in_until_the_loss_is_replaced() {
    let mut bench = bench();
    done(&mut bench, 1, (REGISTER, 0, 0, 1), true);
    let kept = done(&mut bench, 1, (RESERVE, 5, 1, 0), false);
    for len in 0..kept.len() {
        assert_eq!(crate::reservation::Reservations::restored(&kept[..len]), None, "{len} bytes");
    }
    for at in 0..kept.len() {
        let mut changed = kept.clone();
        changed[at] ^= 0x80;
        // A name or a key may be another one; nothing else may be taken for something.
        if let Some(found) = crate::reservation::Reservations::restored(&changed) {
            assert_eq!((found.registered(), found.held().is_some()), (1, true), "byte {at}");
        }
    }
    let mut again = bench;
    assert!(!again.unit.restore_reservations(&kept[1..]));
    assert_eq!(again.sense(2, &read(0, 1)), (4, 0x4401));
    let kept = done(&mut again, 2, (REPLACE_LOST, 1, 0, 9), false);
    assert_eq!(restarted(&kept).unit.reservations().registered(), 1, "what replaces it is kept");
    assert_eq!(again.status(2, &read(0, 1), &[]), Status::GOOD);
}
