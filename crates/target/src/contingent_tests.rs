//! Auto contingent allegiance, QERR, TST and UA_INTLCK, as initiators see them.

use crate::effect::{Abort, FunctionKind, FunctionResponse};
use crate::testing::{Bench, Event, blocks, read, reserve_out, write};
use scsi::{Status, TaskAttribute};
use std::vec::Vec;

/// READ(10) of a block that is not there, with NACA.
const FAILS: [u8; 10] = [0x28, 0, 0, 0, 0, 200, 0, 0, 1, 0x04];

/// Sends MODE SELECT of a control page with these bytes 2 to 5; the others hear of it when it changes something.
fn control(bench: &mut Bench, nexuses: u64, bytes: [u8; 4]) {
    let [first, second, third, fourth] = bytes;
    let list = [0, 0, 0, 0, 0x0a, 0x0a, first, second, third, fourth, 0, 0, 0, 0, 2, 0];
    assert_eq!(bench.status(1, &[0x15, 0x10, 0, 0, 16, 0], &list), Status::GOOD);
    for nexus in 2..=nexuses {
        let changed = bytes != [0x02, 0x10, 0, 0];
        assert_eq!(bench.data(nexus, &[0x03, 0, 0, 0, 18, 0])[12], if changed { 0x2a } else { 0 });
    }
}

/// The status with which a command ended.
fn ended(bench: &Bench, tag: u32) -> Option<Status> {
    bench.events.iter().find_map(|event| match event {
        Event::Done(_, by, outcome) if *by == tag => Some(outcome.status),
        _ => None,
    })
}

fn aborted(bench: &Bench, tag: u32) -> Option<Abort> {
    bench.events.iter().find_map(|event| match event {
        Event::Aborted(_, by, why) if *by == tag => Some(*why),
        _ => None,
    })
}

fn aca(bench: &mut Bench, nexus: u64, tag: u32, cdb: &[u8], data: &[u8]) {
    bench.send(nexus, tag, TaskAttribute::Aca, cdb, data);
}

fn clear(bench: &mut Bench, nexus: u64) {
    bench.function(nexus, 77, FunctionKind::ClearAca);
    assert_eq!(bench.events.pop(), Some(Event::Function(nexus, 77, FunctionResponse::Complete)));
}

#[test]
fn an_allegiance_stops_everybody_but_aca_commands() {
    let mut bench = Bench::new(3);
    assert_eq!(bench.data(1, &[0x12, 0, 0, 0, 96, 0])[3] & 0x20, 0x20, "NORMACA");
    assert_eq!(bench.sense(1, &FAILS), (5, 0x2100));
    // The faulted nexus, and another without and with NACA.
    assert_eq!(bench.status(1, &[0; 6], &[]), Status::ACA_ACTIVE);
    assert_eq!(bench.status(1, &[0x12, 0, 0, 0, 96, 0], &[]), Status::ACA_ACTIVE);
    assert_eq!(bench.status(2, &[0; 6], &[]), Status::BUSY);
    assert_eq!(bench.status(2, &[0, 0, 0, 0, 0, 4], &[]), Status::ACA_ACTIVE);
    aca(&mut bench, 2, 1, &[0; 6], &[]);
    assert_eq!(ended(&bench, 1), Some(Status::ACA_ACTIVE), "it is not the faulted nexus");
    aca(&mut bench, 1, 2, &read(0, 1), &[]);
    aca(&mut bench, 1, 3, &read(0, 1), &[]);
    assert_eq!(ended(&bench, 3), Some(Status::ACA_ACTIVE), "one at a time");
    bench.run();
    assert_eq!(ended(&bench, 2), Some(Status::GOOD));
    bench.events.clear();
    clear(&mut bench, 2);
    assert_eq!(bench.status(1, &[0; 6], &[]), Status::ACA_ACTIVE, "only the faulted nexus clears it");
    clear(&mut bench, 1);
    assert_eq!((bench.status(1, &[0; 6], &[]), bench.status(2, &[0; 6], &[])), (Status::GOOD, Status::GOOD));
    aca(&mut bench, 1, 9, &[0; 6], &[]);
    assert!(matches!(bench.events.pop(), Some(Event::Done(1, 9, outcome)) if outcome.sense.is_some_and(|sense| sense.asc.0 == 0x4900)));
}

#[test]
fn an_aca_command_that_fails_ends_the_allegiance_or_begins_another() {
    let mut bench = Bench::new(1);
    bench.sense(1, &FAILS);
    aca(&mut bench, 1, 1, &FAILS, &[]);
    assert_eq!(ended(&bench, 1), Some(Status::CHECK_CONDITION));
    bench.events.clear();
    assert_eq!(bench.status(1, &[0; 6], &[]), Status::ACA_ACTIVE, "with NACA");
    aca(&mut bench, 1, 2, &read(200, 1), &[]);
    bench.events.clear();
    assert_eq!(bench.status(1, &[0; 6], &[]), Status::GOOD, "without");
}

#[test]
fn a_unit_attention_begins_one_too_and_unknown_commands() {
    for cdb in [&[0u8, 0, 0, 0, 0, 4][..], &[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], &[0x01, 0, 0, 0, 0, 4]] {
        let mut bench = if cdb[0] == 0 { Bench::fresh(1) } else { Bench::new(1) };
        assert_ne!(bench.sense(1, cdb).0, 0);
        assert_eq!(bench.status(1, &[0; 6], &[]), Status::ACA_ACTIVE);
    }
}

#[test]
fn running_commands_are_blocked_at_their_next_step() {
    let mut bench = Bench::new(2);
    bench.rule(1, "op=READ,lba=40,len=1,pause=1,action=BUSY");
    bench.rule(2, "op=READ,lba=41,len=1,action=HANG");
    bench.simple(2, 1, &write(0, 1), &blocks(0xaa, 1));
    bench.simple(2, 2, &read(3, 1), &[]);
    bench.simple(2, 3, &read(40, 1), &[]);
    bench.simple(2, 4, &read(41, 1), &[]);
    let list = [0, 0, 0, 0, 0x0a, 0x0a, 0x06, 0x10, 0, 0, 0, 0, 0, 0, 2, 0];
    bench.simple(2, 5, &[0x15, 0x10, 0, 0, 16, 0], &list);
    bench.simple(1, 6, &FAILS, &[]);
    assert_eq!(ended(&bench, 6), Some(Status::CHECK_CONDITION));
    bench.run();
    bench.advance(2_000_000_000);
    bench.unit.faults_mut().clear();
    bench.unit.release_hung(None, bench.now);
    bench.collect();
    assert!((1..=5).all(|tag| ended(&bench, tag).is_none()), "{:?}", bench.events);
    assert_eq!((bench.stores.len(), bench.fetches.len(), bench.medium[0]), (0, 0, 0), "no new work");
    assert!(!matches!(bench.unit.device().sense_format(), scsi::SenseFormat::Descriptor), "MODE SELECT waits with its data");
    bench.function(1, 77, FunctionKind::ClearAca);
    bench.run();
    let statuses: Vec<_> = (1..=5).map(|tag| ended(&bench, tag)).collect();
    assert_eq!(statuses, [Status::GOOD, Status::GOOD, Status::BUSY, Status::GOOD, Status::GOOD].map(Some));
    assert_eq!(bench.medium[0], 0xaa);
    assert!(matches!(bench.unit.device().sense_format(), scsi::SenseFormat::Descriptor));
}

#[test]
fn waiting_commands_start_when_it_is_over() {
    let mut bench = Bench::new(2);
    bench.simple(2, 1, &read(0, 1), &[]);
    bench.send(2, 2, TaskAttribute::Ordered, &[0; 6], &[]);
    bench.simple(1, 3, &FAILS, &[]);
    assert_eq!(ended(&bench, 3), None, "it waits behind the ordered one");
    bench.send(1, 4, TaskAttribute::HeadOfQueue, &FAILS, &[]);
    assert_eq!(ended(&bench, 4), Some(Status::CHECK_CONDITION));
    bench.run();
    assert_eq!((ended(&bench, 1), ended(&bench, 2)), (None, None));
    bench.function(1, 77, FunctionKind::ClearAca);
    assert_eq!((ended(&bench, 1), ended(&bench, 2), ended(&bench, 3)), (Some(Status::GOOD), Some(Status::GOOD), Some(Status::CHECK_CONDITION)));
}

#[test]
fn what_ends_an_allegiance() {
    type Ends = fn(&mut Bench);
    let ways: [(&str, Ends, bool); 6] = [
        ("CLEAR ACA", |bench| bench.function(1, 77, FunctionKind::ClearAca), true),
        ("LOGICAL UNIT RESET", |bench| bench.function(2, 77, FunctionKind::LogicalUnitReset), true),
        ("I_T NEXUS RESET", |bench| bench.function(1, 77, FunctionKind::NexusReset), true),
        ("logout", |bench| bench.detach(1), true),
        ("ABORT TASK SET", |bench| bench.function(1, 77, FunctionKind::AbortTaskSet), false),
        ("I_T NEXUS RESET of another", |bench| bench.function(2, 77, FunctionKind::NexusReset), false),
    ];
    for (name, end, ends) in ways {
        let mut bench = Bench::new(3);
        bench.sense(1, &FAILS);
        end(&mut bench);
        bench.events.clear();
        let status = bench.status(3, &[0; 6], &[]);
        assert_eq!(status != Status::BUSY, ends, "{name}: {status:?}");
    }
    // PREEMPT AND ABORT of the faulted nexus, from another one, passes and ends it.
    let mut bench = Bench::new(2);
    for nexus in [1, 2] {
        let (cdb, list) = reserve_out(0, 0, 0, nexus);
        assert_eq!(bench.status(nexus, &cdb, &list), Status::GOOD);
    }
    bench.sense(1, &FAILS);
    let (cdb, list) = reserve_out(4, 1, 2, 1);
    assert_eq!(bench.status(2, &cdb, &list), Status::BUSY, "PREEMPT alone does not");
    let (cdb, list) = reserve_out(5, 1, 2, 1);
    assert_eq!(bench.status(2, &cdb, &list), Status::GOOD);
    assert_eq!(bench.status(2, &[0; 6], &[]), Status::GOOD);
}

#[test]
fn clear_aca_ends_the_aca_command() {
    let mut bench = Bench::new(1);
    bench.sense(1, &FAILS);
    aca(&mut bench, 1, 1, &write(0, 1), &blocks(1, 1));
    bench.function(1, 77, FunctionKind::ClearAca);
    assert_eq!(aborted(&bench, 1), Some(Abort::ByOwnNexus));
    assert_eq!(bench.events.last(), Some(&Event::Function(1, 77, FunctionResponse::Complete)));
}

#[test]
fn with_a_task_set_for_each_nexus_others_are_left_alone() {
    let mut bench = Bench::new(2);
    control(&mut bench, 2, [0x22, 0x10, 0, 0]);
    bench.simple(2, 1, &read(0, 1), &[]);
    bench.send(1, 2, TaskAttribute::Ordered, &[0; 6], &[]);
    assert_eq!(ended(&bench, 2), Some(Status::GOOD), "ordered among its own");
    bench.simple(1, 3, &FAILS, &[]);
    bench.run();
    assert_eq!(ended(&bench, 1), Some(Status::GOOD));
    bench.events.clear();
    assert_eq!((bench.status(2, &[0; 6], &[]), bench.status(1, &[0; 6], &[])), (Status::GOOD, Status::ACA_ACTIVE));
    bench.simple(2, 4, &write(0, 1), &blocks(1, 1));
    clear(&mut bench, 1);
    bench.simple(1, 5, &write(1, 1), &blocks(1, 1));
    bench.function(1, 77, FunctionKind::ClearTaskSet);
    assert_eq!((aborted(&bench, 4), aborted(&bench, 5)), (None, Some(Abort::ByOwnNexus)));
    bench.run();
    assert_eq!(ended(&bench, 4), Some(Status::GOOD));
    assert_eq!(bench.attention(2), None);
}

#[test]
fn queue_errors_end_what_the_page_says() {
    for (bits, tas, expected_other) in [
        (0x00, 0x00, None),
        (0x02, 0x00, Some(Abort::ByOther { respond: false })),
        (0x02, 0x40, Some(Abort::ByOther { respond: true })),
        (0x06, 0x00, None),
    ] {
        let mut bench = Bench::new(2);
        control(&mut bench, 2, [0x02, 0x10 | bits, 0, tas]);
        bench.simple(1, 1, &write(0, 1), &blocks(1, 1));
        bench.simple(2, 2, &write(1, 1), &blocks(1, 1));
        bench.simple(2, 3, &read(2, 1), &[]);
        bench.send(1, 4, TaskAttribute::HeadOfQueue, &read(200, 1), &[]);
        assert_eq!(ended(&bench, 4), Some(Status::CHECK_CONDITION));
        let own = (bits != 0).then_some(Abort::ByOwnNexus);
        assert_eq!((aborted(&bench, 1), aborted(&bench, 2)), (own, expected_other), "{bits:02x}");
        bench.run();
        assert_eq!(aborted(&bench, 3), expected_other, "when the store has let go");
        bench.events.clear();
        let heard = (expected_other == Some(Abort::ByOther { respond: false })).then_some(0x2f00);
        assert_eq!((bench.attention(2), bench.attention(1)), (heard, None));
    }
}

#[test]
fn queue_errors_and_an_allegiance_together() {
    let mut bench = Bench::new(2);
    control(&mut bench, 2, [0x02, 0x12, 0, 0]);
    bench.simple(2, 1, &write(1, 1), &blocks(1, 1));
    bench.simple(1, 2, &FAILS, &[]);
    assert_eq!((ended(&bench, 2), aborted(&bench, 1)), (Some(Status::CHECK_CONDITION), Some(Abort::ByOther { respond: false })));
    bench.events.clear();
    assert_eq!(bench.status(2, &[0; 6], &[]), Status::BUSY);
    clear(&mut bench, 1);
    assert_eq!(bench.attention(2), Some(0x2f00));
}

#[test]
fn interlocked_attentions_stay_until_request_sense() {
    for bits in [0x20, 0x30] {
        let mut bench = Bench::new(2);
        control(&mut bench, 2, [0x02, 0x10, bits, 0]);
        bench.unit.attention_all(crate::attention::REPORTED_LUNS_CHANGED, None);
        assert_eq!((bench.attention(2), bench.attention(2)), (Some(0x3f0e), Some(0x3f0e)));
        assert_eq!(bench.data(2, &[0x03, 0, 0, 0, 18, 0])[12..14], [0x3f, 0x0e]);
        assert_eq!(bench.attention(2), None);
        // The statuses that establish one.
        assert_eq!(bench.data(1, &[0x03, 0, 0, 0, 18, 0])[12..14], [0x3f, 0x0e]);
        bench.rule(1, "op=READ,action=BUSY,repeat=1");
        bench.rule(2, "op=WRITE,action=TASK_SET_FULL,repeat=1");
        assert_eq!(bench.status(1, &[0x16, 0, 0, 0, 0, 0], &[]), Status::GOOD);
        assert_eq!(bench.status(2, &read(0, 1), &[]), Status::RESERVATION_CONFLICT);
        assert_eq!(bench.status(1, &read(0, 1), &[]), Status::BUSY);
        let heard = |bench: &mut Bench, nexus| {
            let data = bench.data(nexus, &[0x03, 0, 0, 0, 18, 0]);
            u16::from_be_bytes([data[12], data[13]])
        };
        let establishes = bits == 0x30;
        assert_eq!(heard(&mut bench, 2), if establishes { 0x2c09 } else { 0 });
        assert_eq!(heard(&mut bench, 1), if establishes { 0x2c07 } else { 0 });
        assert_eq!(bench.status(1, &write(0, 1), &blocks(1, 1)), Status::TASK_SET_FULL);
        assert_eq!(heard(&mut bench, 1), if establishes { 0x2c08 } else { 0 });
    }
}

/// Every stage of a command's life, every function, by its own nexus and by another: the command ends or lives on as SAM says, the function is answered after
/// it, and nothing is left.
#[test]
fn every_function_at_every_stage() {
    type Prepare = fn(&mut Bench);
    let stages: [(&str, Prepare); 8] = [
        ("queued", |bench| {
            bench.simple(3, 1, &write(30, 1), &blocks(1, 1));
            bench.send(1, 5, TaskAttribute::Ordered, &read(0, 1), &[]);
        }),
        ("waiting for data", |bench| bench.simple(1, 5, &write(0, 1), &blocks(1, 1))),
        ("in store", |bench| bench.simple(1, 5, &read(0, 1), &[])),
        ("waiting for blocks", |bench| {
            bench.simple(3, 1, &crate::testing::compare_and_write(0, 1), &blocks(0, 2));
            bench.fetch(0);
            bench.simple(1, 5, &read(0, 1), &[]);
        }),
        ("delayed", |bench| {
            bench.rule(1, "op=READ,pause=1,action=BUSY");
            bench.simple(1, 5, &read(0, 1), &[]);
        }),
        ("hung", |bench| {
            bench.rule(1, "op=READ,action=HANG");
            bench.simple(1, 5, &read(0, 1), &[]);
        }),
        ("blocked", |bench| {
            bench.simple(1, 5, &write(0, 1), &blocks(1, 1));
            bench.simple(3, 1, &FAILS, &[]);
            bench.fetch(0);
        }),
        ("answered", |bench| {
            bench.simple(1, 5, &read(0, 1), &[]);
            bench.run();
        }),
    ];
    use crate::effect::TaskTag;
    use FunctionKind as K;
    let own = Abort::ByOwnNexus;
    let other = Abort::ByOther { respond: false };
    // Function, who asks, how the command ends, what the answer is when the command lives, and when it is answered.
    let functions = [
        (K::AbortTask(TaskTag(5)), 1, Some(own), FunctionResponse::Complete, FunctionResponse::TaskDoesNotExist),
        (K::AbortTask(TaskTag(5)), 2, None, FunctionResponse::TaskDoesNotExist, FunctionResponse::TaskDoesNotExist),
        (K::AbortTaskSet, 1, Some(own), FunctionResponse::Complete, FunctionResponse::Complete),
        (K::AbortTaskSet, 2, None, FunctionResponse::Complete, FunctionResponse::Complete),
        (K::ClearTaskSet, 1, Some(own), FunctionResponse::Complete, FunctionResponse::Complete),
        (K::ClearTaskSet, 2, Some(other), FunctionResponse::Complete, FunctionResponse::Complete),
        (K::LogicalUnitReset, 1, Some(own), FunctionResponse::Complete, FunctionResponse::Complete),
        (K::LogicalUnitReset, 2, Some(other), FunctionResponse::Complete, FunctionResponse::Complete),
        (K::NexusReset, 1, Some(own), FunctionResponse::Complete, FunctionResponse::Complete),
        (K::NexusReset, 2, None, FunctionResponse::Complete, FunctionResponse::Complete),
        (K::ClearAca, 1, None, FunctionResponse::Complete, FunctionResponse::Complete),
        (K::QueryTask(TaskTag(5)), 1, None, FunctionResponse::Succeeded, FunctionResponse::Complete),
        (K::QueryTask(TaskTag(5)), 2, None, FunctionResponse::Complete, FunctionResponse::Complete),
        (K::QueryTaskSet, 1, None, FunctionResponse::Succeeded, FunctionResponse::Complete),
        (K::QueryAsynchronousEvent, 1, None, FunctionResponse::Complete, FunctionResponse::Complete),
    ];
    for (stage, prepare) in stages {
        for (kind, by, ends, alive, gone) in functions {
            let mut bench = Bench::new(3);
            prepare(&mut bench);
            let lives = ended(&bench, 5).is_none();
            assert_eq!(lives, stage != "answered");
            let others_storing = bench.stores.iter().filter(|(task, _)| task.tag.0 != 5).count();
            bench.function(by, 77, kind);
            let what = std::format!("{stage}, {kind:?} by {by}");
            let storing = lives && ends.is_some() && stage == "in store";
            if storing {
                assert!(aborted(&bench, 5).is_none() && !bench.events.contains(&Event::Function(by, 77, alive)), "{what}: the store works for it");
            }
            let whole_unit = matches!(kind, K::ClearTaskSet | K::LogicalUnitReset);
            if storing || whole_unit && others_storing > 0 {
                bench.store(0);
            }
            let answer = bench.events.iter().position(|event| *event == Event::Function(by, 77, if lives { alive } else { gone }));
            assert!(answer.is_some(), "{what}: {:?}", bench.events);
            let end = bench.events.iter().position(|event| matches!(event, Event::Aborted(1, 5, why) if Some(*why) == ends));
            assert_eq!(end.is_some(), lives && ends.is_some(), "{what}: {:?}", bench.events);
            assert!(end.is_none() || end < answer, "{what}: the answer comes last");
            // What lives on comes to its end.
            bench.unit.faults_mut().clear();
            bench.unit.release_hung(None, bench.now);
            bench.function(3, 78, K::ClearAca);
            bench.advance(10_000_000_000);
            bench.run();
            assert_eq!(bench.unit.active_tasks(), 0, "{what}");
            assert_eq!(ended(&bench, 5).is_some(), !lives || ends.is_none(), "{what}");
        }
    }
}
