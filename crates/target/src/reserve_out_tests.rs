//! PREEMPT AND ABORT against every stage of a command's life, and the commands as an initiator sends them.

use crate::effect::{Abort, FunctionKind, FunctionResponse};
use crate::management::FUNCTION_LIMIT;
use crate::testing::{Bench, Event, blocks, read, reserve_out, write};
use scsi::{Status, TaskAttribute, TransportId};
use std::vec;
use std::vec::Vec;

const PREEMPT_AND_ABORT: u8 = 5;

/// 1 and 2 are registered with the key of their number; 2 holds a write exclusive reservation for registrants.
fn bench() -> Bench {
    let mut bench = Bench::new(3);
    for nexus in [1, 2] {
        let (cdb, list) = reserve_out(0, 0, 0, nexus);
        assert_eq!(bench.status(nexus, &cdb, &list), Status::GOOD);
    }
    let (cdb, list) = reserve_out(1, 5, 2, 0);
    assert_eq!(bench.status(2, &cdb, &list), Status::GOOD);
    bench
}

fn preempt(bench: &mut Bench) {
    let (cdb, list) = reserve_out(PREEMPT_AND_ABORT, 5, 1, 2);
    bench.simple(1, 900, &cdb, &list);
    let at = bench.fetches.iter().position(|(task, ..)| task.tag.0 == 900).expect("its list is asked for");
    bench.fetch(at);
}

fn ended(bench: &Bench, tag: u32) -> Option<Status> {
    bench.events.iter().find_map(|event| match event {
        Event::Done(_, by, outcome) if *by == tag => Some(outcome.status),
        _ => None,
    })
}

fn aborted(bench: &Bench, tag: u32) -> bool {
    bench.events.contains(&Event::Aborted(2, tag, Abort::ByOther { respond: false }))
}

#[test]
fn commands_end_at_every_stage() {
    let mut bench = bench();
    bench.rule(1, "op=READ,lba=40,len=1,pause=1,action=BUSY");
    bench.rule(2, "op=READ,lba=41,len=1,action=HANG");
    bench.simple(2, 1, &write(0, 1), &blocks(1, 1));
    bench.simple(2, 2, &read(0, 1), &[]);
    bench.simple(2, 3, &read(40, 1), &[]);
    bench.simple(2, 4, &read(41, 1), &[]);
    bench.simple(3, 5, &read(0, 1), &[]);
    bench.send(2, 6, TaskAttribute::Ordered, &[0; 6], &[]);
    let (cdb, list) = reserve_out(PREEMPT_AND_ABORT, 5, 1, 2);
    bench.send(1, 900, TaskAttribute::HeadOfQueue, &cdb, &list);
    bench.fetch(1);
    for tag in [1, 3, 4, 6] {
        assert!(aborted(&bench, tag), "{tag}: {:?}", bench.events);
    }
    assert!(!aborted(&bench, 2), "the store works for it");
    assert_eq!(ended(&bench, 900), None, "it waits for the store");
    bench.store(0);
    assert!(aborted(&bench, 2));
    assert_eq!(ended(&bench, 900), Some(Status::GOOD));
    bench.run();
    assert_eq!(ended(&bench, 5), Some(Status::GOOD), "a bystander is not aborted");
    assert_eq!((bench.attention(2), bench.attention(2), bench.attention(2)), (Some(0x2a05), Some(0x2f00), None));
    assert_eq!((bench.attention(1), bench.attention(3)), (None, None));
    assert_eq!(bench.status(2, &write(0, 1), &blocks(1, 1)), Status::RESERVATION_CONFLICT);
}

#[test]
fn without_commands_there_is_nothing_to_wait_for() {
    let mut bench = bench();
    preempt(&mut bench);
    assert_eq!(ended(&bench, 900), Some(Status::GOOD));
    assert_eq!((bench.attention(2), bench.attention(2)), (Some(0x2a05), None));
}

#[test]
fn with_tas_the_status_tells_it() {
    let mut bench = bench();
    let control = [0, 0, 0, 0, 0x0a, 0x0a, 2, 0x10, 0, 0x40, 0, 0, 0, 0, 2, 0];
    assert_eq!(bench.status(1, &[0x15, 0x10, 0, 0, 16, 0], &control), Status::GOOD);
    assert_eq!(bench.attention(2), Some(0x2a01));
    bench.simple(2, 1, &write(0, 1), &blocks(1, 1));
    let (cdb, list) = reserve_out(PREEMPT_AND_ABORT, 5, 1, 2);
    bench.simple(1, 900, &cdb, &list);
    bench.fetch(1);
    assert!(bench.events.contains(&Event::Aborted(2, 1, Abort::ByOther { respond: true })));
    assert_eq!((bench.attention(2), bench.attention(2)), (Some(0x2a05), None));
}

#[test]
fn a_store_that_does_not_answer_makes_it_fail() {
    let mut bench = bench();
    bench.simple(2, 1, &read(0, 1), &[]);
    preempt(&mut bench);
    bench.advance(FUNCTION_LIMIT);
    assert_eq!(ended(&bench, 900), Some(Status::CHECK_CONDITION));
    bench.simple(1, 901, &[0; 6], &[]);
    assert_eq!(ended(&bench, 901), Some(Status::CHECK_CONDITION), "the medium is held back");
    bench.store(0);
    assert!(aborted(&bench, 1));
    assert_eq!(bench.sense(1, &[0; 6]), (0, 0));
}

#[test]
fn an_aborted_preemption_waits_for_nothing() {
    for kind in [FunctionKind::AbortTaskSet, FunctionKind::LogicalUnitReset, FunctionKind::NexusReset] {
        let mut bench = bench();
        bench.simple(2, 1, &read(0, 1), &[]);
        preempt(&mut bench);
        bench.function(1, 77, kind);
        assert!(bench.events.contains(&Event::Aborted(1, 900, Abort::ByOwnNexus)), "{kind:?}");
        bench.store(0);
        assert!(bench.events.contains(&Event::Function(1, 77, FunctionResponse::Complete)));
        assert!(ended(&bench, 900).is_none() && bench.unit.pending.is_empty());
    }
    let mut bench = bench();
    bench.simple(2, 1, &read(0, 1), &[]);
    preempt(&mut bench);
    bench.detach(1);
    assert!(bench.unit.pending.is_empty());
    bench.store(0);
    assert!(aborted(&bench, 1));
}

#[test]
fn preempting_oneself_spares_the_command_itself() {
    let mut bench = bench();
    bench.simple(1, 1, &read(0, 1), &[]);
    let (cdb, list) = reserve_out(PREEMPT_AND_ABORT, 5, 1, 1);
    bench.simple(1, 900, &cdb, &list);
    bench.fetch(0);
    bench.store(0);
    assert_eq!(ended(&bench, 900), Some(Status::GOOD));
    assert!(bench.events.contains(&Event::Aborted(1, 1, Abort::ByOwnNexus)));
    assert_eq!(bench.attention(1), None);
    assert_eq!(bench.unit.reservations().registered(), 1);
}

#[test]
fn lists_with_transport_ids_are_fetched_whole() {
    let mut bench = Bench::new(2);
    let id = TransportId { name: "iqn.2026-01.example:2".into(), isid: Some([0x80, 0, 0, 0, 0, 0]) }.encode();
    let (mut cdb, mut list) = reserve_out(0, 0, 0, 5);
    list[20] = 0x08;
    list.extend((id.len() as u32).to_be_bytes());
    list.extend(&id);
    cdb[8] = list.len() as u8;
    assert_eq!(bench.status(1, &cdb, &list), Status::GOOD);
    let status = bench.data(2, &[0x5e, 3, 0, 0, 0, 0, 0, 0x10, 0, 0]);
    assert_eq!(status.len(), 8 + 2 * (24 + id.len()));
    assert_eq!(status[status.len() - id.len()..], id);
    let (cdb, list) = reserve_out(1, 1, 5, 0);
    assert_eq!(bench.status(2, &cdb, &list), Status::GOOD, "the second nexus has the key");
    // And it moves the reservation back.
    let back = TransportId { name: "iqn.2026-01.example:1".into(), isid: Some([0x80, 0, 0, 0, 0, 0]) }.encode();
    let (mut cdb, mut list) = reserve_out(7, 0, 5, 6);
    (list[17], list[19], list[23]) = (0x02, 1, back.len() as u8);
    list.extend(&back);
    cdb[8] = list.len() as u8;
    assert_eq!(bench.status(2, &cdb, &list), Status::GOOD);
    assert_eq!(bench.data(1, &[0x5e, 1, 0, 0, 0, 0, 0, 0, 24, 0])[8..16], [0, 0, 0, 0, 0, 0, 0, 6]);
    assert_eq!(bench.status(2, &write(0, 1), &blocks(1, 1)), Status::RESERVATION_CONFLICT);
}

#[test]
fn wrong_lengths() {
    let mut bench = Bench::new(1);
    let mut sense = |action: u8, length: u32, list: &[u8]| {
        let [a, b, c, d] = length.to_be_bytes();
        bench.outcome(1, &[0x5f, action, 0, 0, 0, a, b, c, d, 0], list).sense.map(|sense| sense.asc.0)
    };
    for action in [1, 2, 3, 4, 5, 6, 8] {
        assert_eq!(sense(action, 25, &[0; 25]), Some(0x1a00), "{action}");
    }
    assert_eq!(sense(0, 23, &[0; 24]), Some(0x1a00));
    assert_eq!(sense(0, 28, &[0; 28]), Some(0x1a00), "without SPEC_I_PT");
    assert_eq!(sense(0, 65_537, &vec![0; 65_537]), Some(0x1a00));
    assert_eq!(sense(7, 24, &[0; 24]), Some(0x1a00));
    assert_eq!(sense(0, 40, &[0; 24]), Some(0x1a00), "more than the initiator sends");
}

#[test]
fn reserve_ten() {
    let mut bench = Bench::new(2);
    let cdb = |opcode: u8, flags: u8| [opcode, flags, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(bench.sense(1, &cdb(0x56, 0x10)), (5, 0x2400), "third parties");
    assert_eq!(bench.sense(1, &cdb(0x56, 0x02)), (5, 0x2400), "long identifiers");
    assert_eq!(bench.status(1, &cdb(0x56, 0), &[]), Status::GOOD);
    assert_eq!(bench.status(2, &cdb(0x56, 0), &[]), Status::RESERVATION_CONFLICT);
    assert_eq!(bench.status(2, &[0x16, 0, 0, 0, 0, 0], &[]), Status::RESERVATION_CONFLICT, "both forms are one");
    assert_eq!(bench.status(2, &cdb(0x57, 0), &[]), Status::GOOD, "and does nothing");
    assert_eq!(bench.status(2, &read(0, 1), &[]), Status::RESERVATION_CONFLICT);
    assert_eq!(bench.status(1, &[0x17, 0, 0, 0, 0, 0], &[]), Status::GOOD);
    assert_eq!(bench.status(2, &read(0, 1), &[]), Status::GOOD);
}

#[test]
fn a_lost_reservation_holds_everything_back() {
    let mut bench = bench();
    bench.unit.lose_reservations();
    assert_eq!(bench.sense(1, &read(0, 1)), (4, 0x4401));
    assert_eq!(bench.sense(1, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0]), (4, 0x4401));
    assert_eq!(bench.sense(1, &[0; 6]), (0, 0));
    let (cdb, list) = reserve_out(8, 1, 0, 9);
    assert_eq!(bench.status(1, &cdb, &list), Status::GOOD);
    assert_eq!(bench.status(1, &read(0, 1), &[]), Status::GOOD);
    assert_eq!(bench.status(3, &write(0, 1), &blocks(1, 1)), Status::RESERVATION_CONFLICT);
    let heard: Vec<u8> = bench.data(3, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 16, 0]);
    assert_eq!(heard[8..], [0, 0, 0, 0, 0, 0, 0, 9]);
}
