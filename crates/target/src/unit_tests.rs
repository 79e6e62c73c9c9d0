//! One unit, step by step.

use super::*;
use crate::effect::{FunctionKind, FunctionResponse, TaskTag};
use crate::flight::Ending;
use crate::management::FUNCTION_LIMIT;
use crate::testing::{Bench, Event, blocks, compare_and_write, identity, read, reserve_out, write};
use device::{Parameter, StoreAnswer, StoreFault};
use fault::RuleId;
use scsi::{DataIn, SenseFormat};
use std::vec;

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 96, 0];
const SECOND: u64 = 1_000_000_000;

fn request_sense(bench: &mut Bench, nexus: u64) -> (u8, u16) {
    let data = bench.data(nexus, &[0x03, 0, 0, 0, 252, 0]);
    assert_eq!((data.len(), data[0] & 0x7f), (18, 0x70));
    (data[2] & 0x0f, u16::from_be_bytes([data[12], data[13]]))
}

fn function(bench: &mut Bench, nexus: u64, kind: FunctionKind) -> Option<FunctionResponse> {
    bench.events.clear();
    bench.function(nexus, 77, kind);
    let done: Vec<_> =
        bench.events.iter().filter_map(|event| if let Event::Function(_, 77, response) = event { Some(*response) } else { None }).collect();
    assert!(done.len() <= 1);
    done.first().copied()
}

/// MODE SELECT(6) parameter list: the control page with D_SENSE = 1.
fn descriptor_sense(bench: &mut Bench) -> Vec<u8> {
    let mut list = bench.data(1, &[0x1a, 0x08, 0x0a, 0, 16, 0]);
    list[..4].fill(0);
    list[6] |= 0x04;
    list
}

#[test]
fn data_travel_between_initiator_and_medium() {
    let mut bench = Bench::new(1);
    let outcome = bench.outcome(1, &write(3, 2), &blocks(0xaa, 2));
    assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 1024));
    let outcome = bench.outcome(1, &read(2, 3), &[]);
    assert_eq!((outcome.status, outcome.data_in), (Status::GOOD, DataIn::Payload { len: 1536 }));
    let payload = bench.payload.values().last().unwrap();
    assert_eq!(payload[..512], blocks(0, 1));
    assert_eq!(payload[512..], blocks(0xaa, 2));
    assert_eq!(bench.unit.active_tasks(), 0);
    let traffic = bench.unit.counters().nexus(NexusId(1)).unwrap();
    assert_eq!((traffic.write.done_bytes, traffic.write.done_commands), (1024, 1));
    assert_eq!(traffic.errors, 1, "the power on counts");
    let last = *bench.unit.recent().last().unwrap();
    assert_eq!((last.name, last.lba, last.blocks, last.ending), (Some("READ(10)"), Some(2), 3, Ending::Status(Status::GOOD)));
}

#[test]
fn refusals_of_unknown_commands() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.sense(1, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), (5, 0x2000));
    assert_eq!(bench.sense(1, &[0x5e, 0x1f, 0, 0, 0, 0, 0, 0, 8, 0]), (5, 0x2400));
    assert_eq!(bench.sense(1, &[0x28, 0, 0, 0, 0, 0]), (5, 0x2400));
    assert_eq!(bench.sense(1, &read(63, 2)), (5, 0x2100));
    bench.send(1, 5, TaskAttribute::Aca, &TEST_UNIT_READY, &[]);
    assert_eq!(bench.events, [Event::Done(1, 5, Outcome::check(Sense::illegal(Asc(0x4900))))]);
}

#[test]
fn power_on_is_told_once_and_inquiry_passes_it() {
    let mut bench = Bench::fresh(2);
    assert_eq!(bench.data(1, &INQUIRY)[0], 0);
    assert_eq!(bench.data(1, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).len(), 8 + 3 * 8);
    assert_eq!(bench.attention(1), Some(0x2900));
    assert_eq!(bench.attention(1), None);
    assert_eq!(request_sense(&mut bench, 2), (6, 0x2900));
    assert_eq!(request_sense(&mut bench, 2), (0, 0));
    assert_eq!(bench.attention(2), None);
}

#[test]
fn a_unit_attention_keeps_the_command_from_doing_anything() {
    let mut bench = Bench::fresh(1);
    assert_eq!(bench.outcome(1, &write(0, 1), &blocks(1, 1)).sense.unwrap().asc.0, 0x2900);
    assert!(bench.medium.iter().all(|&byte| byte == 0));
    assert_eq!(bench.status(1, &write(0, 1), &blocks(1, 1)), Status::GOOD);
}

#[test]
fn request_sense_honours_desc_and_allocation_length() {
    let mut bench = Bench::fresh(1);
    assert_eq!(bench.data(1, &[0x03, 1, 0, 0, 252, 0]), [0x72, 6, 0x29, 0, 0, 0, 0, 0]);
    assert_eq!(bench.data(1, &[0x03, 0, 0, 0, 4, 0]), [0x70, 0, 0, 0]);
    assert_eq!(bench.data(1, &[0x03, 1, 0, 0, 0, 0]), []);
    bench.unit.device_mut().set(Parameter::Online(false)).unwrap();
    assert_eq!(request_sense(&mut bench, 1), (2, 0x0401));
}

#[test]
fn reported_luns() {
    let mut bench = Bench::new(1);
    let report = |select, allocation| [0xa0, 0, select, 0, 0, 0, 0, 0, 0, allocation, 0, 0];
    let mut all = vec![0, 0, 0, 24, 0, 0, 0, 0];
    all.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x41, 0x2c, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bench.data(1, &report(0, 255)), all);
    assert_eq!(bench.data(1, &report(0x11, 255)), all, "no unit is part of a conglomerate");
    assert_eq!(bench.data(1, &report(0, 16)), all[..16]);
    let well_known = [0xc1, 0x01, 0, 0, 0, 0, 0, 0];
    assert_eq!(bench.data(1, &report(1, 255)), [[0, 0, 0, 8, 0, 0, 0, 0], well_known].concat());
    all.extend(well_known);
    all[3] = 32;
    assert_eq!(bench.data(1, &report(2, 255)), all);
    assert_eq!(bench.data(1, &report(0x10, 255)), [0; 8], "no unit is administrative");
    assert_eq!(bench.sense(1, &report(0, 15)), (5, 0x2400));
    for select in [3, 0x12, 0xff] {
        assert_eq!(bench.sense(1, &report(select, 255)), (5, 0x2400), "{select}");
    }
}

#[test]
fn report_luns_clears_its_own_attention_only() {
    let mut bench = Bench::new(2);
    bench.unit.attention_all(Asc(0x3f0e), Some(NexusId(2)));
    bench.unit.attention_all(Asc(0x2a01), None);
    bench.data(1, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!([bench.attention(1), bench.attention(1)], [Some(0x2a01), None]);
    assert_eq!([bench.attention(2), bench.attention(2)], [Some(0x2a01), None]);
}

#[test]
fn no_unit_answers_by_lun_zero() {
    let mut bench = Bench::fresh(1);
    bench.send(1, 1, TaskAttribute::Ordered, &read(0, 1), &[]);
    bench.events.clear();
    bench.send_to(1, 2, TaskAttribute::Ordered, &INQUIRY, &[], false);
    bench.send_to(1, 3, TaskAttribute::HeadOfQueue, &[0x03, 0, 0, 0, 18, 0], &[], false);
    bench.send_to(1, 4, TaskAttribute::Simple, &TEST_UNIT_READY, &[], false);
    let Event::Done(1, 2, Outcome { status: Status::GOOD, data_in: DataIn::Inline(data), .. }) = &bench.events[0] else { panic!() };
    assert_eq!(data[0], 0x7f);
    let Event::Done(1, 3, Outcome { status: Status::GOOD, data_in: DataIn::Inline(data), .. }) = &bench.events[1] else { panic!() };
    assert_eq!((data[2], data[12], data[13]), (5, 0x25, 0));
    assert_eq!(bench.events[2], Event::Done(1, 4, Outcome::check(Sense::illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED))));
}

#[test]
fn notices_of_the_device_reach_the_others() {
    let mut bench = Bench::new(3);
    let list = descriptor_sense(&mut bench);
    assert_eq!(bench.status(1, &[0x15, 0x10, 0, 0, 16, 0], &list), Status::GOOD);
    assert_eq!(bench.unit.device().sense_format(), SenseFormat::Descriptor);
    assert_eq!([bench.attention(1), bench.attention(2), bench.attention(3)], [None, Some(0x2a01), Some(0x2a01)]);
}

#[test]
fn order_of_tasks() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &read(0, 1), &[]);
    bench.simple(2, 2, &read(0, 1), &[]);
    bench.send(1, 3, TaskAttribute::Ordered, &write(0, 1), &blocks(3, 1));
    bench.simple(2, 4, &read(0, 1), &[]);
    bench.send(2, 5, TaskAttribute::HeadOfQueue, &read(0, 1), &[]);
    let running = |bench: &Bench| bench.stores.iter().map(|(task, _)| task.tag.0).collect::<Vec<_>>();
    assert_eq!((running(&bench), bench.fetches.len()), (vec![1, 2, 5], 0));
    bench.store(0);
    bench.store(0);
    assert_eq!((running(&bench), bench.fetches.len()), (vec![5], 0));
    bench.store(0);
    assert_eq!((running(&bench), bench.fetches.len()), (vec![], 1));
    bench.fetch(0);
    assert_eq!(running(&bench), [3]);
    bench.store(0);
    assert_eq!(running(&bench), [4]);
    bench.run();
    assert_eq!(bench.done(), [1, 2, 5, 3, 4]);
}

#[test]
fn compare_and_write_is_alone_on_its_blocks() {
    let mut bench = Bench::new(3);
    bench.simple(1, 1, &write(0, 8), &blocks(1, 8));
    bench.fetch(0);
    bench.simple(2, 2, &compare_and_write(4, 1), &[blocks(1, 1), blocks(2, 1)].concat());
    bench.fetch(0);
    assert_eq!(bench.stores.len(), 1, "waits for the write");
    bench.simple(3, 3, &read(4, 1), &[]);
    bench.simple(3, 4, &read(40, 1), &[]);
    assert_eq!(bench.stores.len(), 2, "an overlapping read waits behind it, another does not");
    bench.store(1);
    bench.store(0);
    assert!(matches!(bench.stores[..], [(TaskRef { tag: TaskTag(2), .. }, StoreOp::Compare { .. })]));
    bench.store(0);
    assert!(matches!(bench.stores[..], [(TaskRef { tag: TaskTag(2), .. }, StoreOp::Write { .. })]), "still alone between its two operations");
    bench.store(0);
    assert!(matches!(bench.stores[..], [(TaskRef { tag: TaskTag(3), .. }, StoreOp::Read { .. })]));
    bench.run();
    assert_eq!(bench.done(), [4, 1, 2, 3]);
    assert_eq!(bench.payload[&(3, 3)], blocks(2, 1));
}

#[test]
fn what_waited_for_blocks_leaves_an_exchanged_medium_alone() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &compare_and_write(4, 1), &[blocks(0, 1), blocks(2, 1)].concat());
    bench.fetch(0);
    bench.simple(2, 2, &write(0, 8), &blocks(1, 8));
    bench.fetch(0);
    let smaller = device::Medium { bytes: 1024, read_only: false, can_discard: true, preferred: 0, durable: false };
    bench.unit.device_mut().set_medium(Some(smaller));
    bench.unit.publish_notices();
    bench.store(0);
    assert!(bench.stores.is_empty(), "{:?}", bench.stores);
    let sense: Vec<_> = bench
        .events
        .iter()
        .map(|event| if let Event::Done(_, tag, outcome) = event { (*tag, outcome.sense.map(|sense| sense.key.0)) } else { (0, None) })
        .collect();
    assert_eq!(sense, [(1, Some(2)), (2, Some(2))]);
}

#[test]
fn a_withheld_data_out_stops_nobody() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &write(4, 1), &blocks(1, 1));
    assert_eq!(bench.fetches.len(), 1);
    bench.simple(2, 2, &compare_and_write(4, 1), &[blocks(0, 1), blocks(2, 1)].concat());
    bench.fetch(1);
    bench.store(0);
    bench.store(0);
    assert_eq!(bench.done(), [2]);
}

#[test]
fn a_full_task_set_says_so() {
    let mut bench = Bench::new(2);
    for tag in 0..TASK_LIMIT {
        bench.simple(1, tag as u32, &read(0, 1), &[]);
    }
    bench.simple(1, 90_000, &read(0, 1), &[]);
    bench.simple(2, 90_001, &TEST_UNIT_READY, &[]);
    assert_eq!(
        bench.events,
        [Event::Done(1, 90_000, Outcome::status(Status::TASK_SET_FULL)), Event::Done(2, 90_001, Outcome::status(Status::BUSY)),]
    );
    bench.store(0);
    bench.simple(2, 90_002, &TEST_UNIT_READY, &[]);
    assert_eq!(bench.events.last(), Some(&Event::Done(2, 90_002, Outcome::good(0))));
    bench.function(1, 1, FunctionKind::AbortTaskSet);
    bench.run();
    assert_eq!(bench.unit.active_tasks(), 0);
}

#[test]
fn persistent_reservations_outlive_the_session() {
    let mut bench = Bench::new(2);
    let (cdb, list) = reserve_out(0, 0, 0, 0x1234);
    assert_eq!(bench.status(1, &cdb, &list), Status::GOOD);
    let (cdb, list) = reserve_out(1, 1, 0x1234, 0);
    assert_eq!(bench.status(1, &cdb, &list), Status::GOOD);
    assert_eq!(bench.status(2, &write(0, 1), &blocks(1, 1)), Status::RESERVATION_CONFLICT);
    assert_eq!(bench.status(2, &read(0, 1), &[]), Status::GOOD);
    bench.detach(1);
    assert_eq!(bench.status(2, &write(0, 1), &blocks(1, 1)), Status::RESERVATION_CONFLICT);
    bench.unit.attach(NexusId(9), identity(1));
    assert_eq!(bench.attention(9), Some(0x2900));
    assert_eq!(bench.status(9, &write(0, 1), &blocks(1, 1)), Status::GOOD);
    assert_eq!(bench.data(2, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 255, 0]), [0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x12, 0x34]);
    let (cdb, list) = reserve_out(3, 0, 0x1234, 0);
    assert_eq!(bench.status(2, &cdb, &list), Status::RESERVATION_CONFLICT);
    assert_eq!(bench.status(9, &cdb, &list), Status::GOOD);
    assert_eq!(bench.attention(9), None);
}

#[test]
fn parameter_lists_of_reserve_out() {
    let mut bench = Bench::new(1);
    let (mut cdb, mut list) = reserve_out(0, 0, 0, 1);
    list[20] = 1;
    let outcome = bench.outcome(1, &cdb, &list);
    assert_eq!((outcome.sense, outcome.data_out), (Some(Sense::invalid_parameter_field(20, Some(0))), 24));
    list[20] = 0;
    assert_eq!(bench.outcome(1, &cdb, &list[..20]).sense, Some(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
    cdb[8] = 23;
    assert_eq!(bench.outcome(1, &cdb, &list).sense, Some(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
    cdb[7] = 1;
    cdb[8] = 24;
    assert_eq!(bench.outcome(1, &cdb, &list).sense, Some(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
    assert!(bench.unit.reservations().is_idle());
}

#[test]
fn reservations_are_looked_at_again_when_the_data_are_there() {
    let mut bench = Bench::new(2);
    bench.simple(2, 1, &write(0, 1), &blocks(1, 1));
    let (cdb, list) = reserve_out(0, 0, 0, 5);
    bench.simple(1, 2, &cdb, &list);
    bench.fetch(1);
    let (cdb, list) = reserve_out(1, 3, 5, 0);
    bench.simple(1, 3, &cdb, &list);
    bench.fetch(1);
    bench.fetch(0);
    let mut conflict = Outcome::status(Status::RESERVATION_CONFLICT);
    conflict.data_out = 512;
    assert_eq!(bench.events.last(), Some(&Event::Done(2, 1, conflict)));
}

#[test]
fn attentions_of_reservations_reach_the_right_nexuses() {
    let mut bench = Bench::new(3);
    for (nexus, key) in [(1, 1), (2, 2)] {
        let (cdb, list) = reserve_out(0, 0, 0, key);
        assert_eq!(bench.status(nexus, &cdb, &list), Status::GOOD);
    }
    let (cdb, list) = reserve_out(1, 5, 1, 0);
    bench.status(1, &cdb, &list);
    let (cdb, list) = reserve_out(2, 5, 1, 0);
    bench.status(1, &cdb, &list);
    assert_eq!([1, 2, 3].map(|nexus| bench.attention(nexus)), [None, Some(0x2a04), None]);
    bench.simple(1, 50, &read(0, 1), &[]);
    let (cdb, list) = reserve_out(4, 5, 2, 1);
    bench.simple(2, 51, &cdb, &list);
    bench.fetch(0);
    bench.run();
    assert_eq!(bench.done(), [51, 50], "PREEMPT ends no task");
    assert_eq!([1, 2, 3].map(|nexus| bench.attention(nexus)), [Some(0x2a05), None, None]);
}

#[test]
fn reserve_six_ends_with_its_session_and_with_a_reset() {
    let mut bench = Bench::new(2);
    let reserve = [0x16, 0, 0, 0, 0, 0];
    assert_eq!(bench.status(1, &reserve, &[]), Status::GOOD);
    assert_eq!(bench.status(2, &TEST_UNIT_READY, &[]), Status::RESERVATION_CONFLICT);
    assert_eq!(bench.status(2, &[0x17, 0, 0, 0, 0, 0], &[]), Status::GOOD);
    assert_eq!(bench.status(2, &reserve, &[]), Status::RESERVATION_CONFLICT);
    assert_eq!(bench.sense(2, &[0xff; 6]), (5, 0x2000), "before any reservation");
    bench.detach(1);
    assert_eq!(bench.status(2, &reserve, &[]), Status::GOOD);
    assert_eq!(function(&mut bench, 2, FunctionKind::LogicalUnitReset), Some(FunctionResponse::Complete));
    assert!(bench.unit.reservations().is_idle());
    assert_eq!(bench.attention(2), Some(0x2900));
}

#[test]
fn abort_task_waits_for_the_store() {
    let mut bench = Bench::new(1);
    bench.simple(1, 1, &write(0, 1), &blocks(1, 1));
    assert_eq!(function(&mut bench, 1, FunctionKind::QueryTask(TaskTag(1))), Some(FunctionResponse::Succeeded));
    assert_eq!(function(&mut bench, 1, FunctionKind::AbortTask(TaskTag(1))), Some(FunctionResponse::Complete));
    assert_eq!(bench.events[0], Event::Aborted(1, 1, Abort::ByOwnNexus));
    assert_eq!(bench.fetches.len(), 0);
    assert_eq!(function(&mut bench, 1, FunctionKind::AbortTask(TaskTag(1))), Some(FunctionResponse::TaskDoesNotExist));
    assert_eq!(function(&mut bench, 1, FunctionKind::QueryTask(TaskTag(1))), Some(FunctionResponse::Complete));
    bench.simple(1, 2, &read(0, 1), &[]);
    assert_eq!(function(&mut bench, 1, FunctionKind::AbortTask(TaskTag(2))), None);
    bench.store(0);
    assert_eq!(bench.events, [Event::Aborted(1, 2, Abort::ByOwnNexus), Event::Function(1, 77, FunctionResponse::Complete)]);
    assert_eq!(bench.unit.active_tasks(), 0);
}

/// tcmu-runner issue 315: COMPARE AND WRITE on a store that stalls, and its abort. Whatever the comparison says then, nothing is written.
#[test]
fn an_aborted_compare_and_write_writes_nothing() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &compare_and_write(4, 1), &[blocks(0, 1), blocks(2, 1)].concat());
    bench.fetch(0);
    assert!(matches!(bench.stores[..], [(_, StoreOp::Compare { .. })]), "stalls");
    assert_eq!(function(&mut bench, 1, FunctionKind::AbortTask(TaskTag(1))), None, "waits for the store");
    bench.simple(2, 2, &compare_and_write(4, 1), &[blocks(0, 1), blocks(3, 1)].concat());
    bench.fetch(0);
    bench.store(0);
    assert_eq!(bench.events, [Event::Aborted(1, 1, Abort::ByOwnNexus), Event::Function(1, 77, FunctionResponse::Complete)]);
    bench.run();
    assert_eq!(bench.done(), [2], "the other one goes on");
    assert_eq!(bench.medium[4 * 512..5 * 512], blocks(3, 1)[..], "and is the only one that wrote");
}

#[test]
fn abort_task_set_is_about_one_nexus() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &read(0, 1), &[]);
    bench.simple(2, 2, &read(0, 1), &[]);
    bench.send(1, 3, TaskAttribute::Ordered, &read(0, 1), &[]);
    bench.send(2, 4, TaskAttribute::Simple, &read(0, 1), &[]);
    assert_eq!(function(&mut bench, 1, FunctionKind::QueryTaskSet), Some(FunctionResponse::Succeeded));
    assert_eq!(function(&mut bench, 1, FunctionKind::AbortTaskSet), None);
    assert_eq!(bench.stores.len(), 3, "the ordered task no longer holds back the other nexus");
    bench.run();
    assert_eq!(bench.done(), [2, 4]);
    assert_eq!(function(&mut bench, 1, FunctionKind::QueryTaskSet), Some(FunctionResponse::Complete));
    assert_eq!([bench.attention(1), bench.attention(2)], [None, None]);
}

#[test]
fn clear_task_set_with_and_without_task_aborted_status() {
    for tas in [false, true] {
        let mut bench = Bench::new(3);
        if tas {
            bench.unit.device_mut().set(Parameter::ModePage { page: 0x0a, subpage: 0, size: 10, data: vec![0, 0, 0, 0x40] }).unwrap();
            bench.unit.publish_notices();
            assert_eq!([1, 2, 3].map(|nexus| bench.attention(nexus)), [Some(0x2a01); 3]);
            assert!(bench.unit.device().task_aborted_status());
        }
        bench.simple(2, 1, &write(0, 1), &blocks(1, 1));
        bench.simple(1, 2, &write(0, 1), &blocks(1, 1));
        assert_eq!(function(&mut bench, 1, FunctionKind::ClearTaskSet), Some(FunctionResponse::Complete));
        assert_eq!(bench.events[..2], [Event::Aborted(2, 1, Abort::ByOther { respond: tas }), Event::Aborted(1, 2, Abort::ByOwnNexus)]);
        let heard = if tas { None } else { Some(0x2f00) };
        assert_eq!([1, 2, 3].map(|nexus| bench.attention(nexus)), [None, heard, None]);
    }
}

#[test]
fn logical_unit_reset() {
    let mut bench = Bench::new(2);
    let list = descriptor_sense(&mut bench);
    bench.status(1, &[0x15, 0x10, 0, 0, 16, 0], &list);
    bench.simple(1, 1, &read(0, 1), &[]);
    bench.simple(2, 2, &write(0, 1), &blocks(1, 1));
    assert_eq!(function(&mut bench, 1, FunctionKind::LogicalUnitReset), None);
    bench.store(0);
    assert_eq!(bench.events.last(), Some(&Event::Function(1, 77, FunctionResponse::Complete)));
    assert_eq!(bench.unit.device().sense_format(), SenseFormat::Fixed);
    for nexus in [1, 2] {
        assert_eq!([bench.attention(nexus), bench.attention(nexus)], [Some(0x2900), None]);
    }
}

#[test]
fn a_stuck_store_costs_the_function_and_then_the_medium() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &write(0, 1), &blocks(1, 1));
    bench.fetch(0);
    assert_eq!(function(&mut bench, 1, FunctionKind::LogicalUnitReset), None);
    assert_eq!(bench.unit.poll_timeout(), Some(FUNCTION_LIMIT));
    bench.advance(FUNCTION_LIMIT - 1);
    assert_eq!(bench.events, []);
    bench.advance(1);
    assert_eq!(bench.events, [Event::Function(1, 77, FunctionResponse::Rejected)]);
    assert_eq!(bench.unit.poll_timeout(), None);
    let late = bench.stores.remove(0);
    assert_eq!(bench.attention(2), Some(0x2900));
    assert_eq!(bench.sense(2, &write(0, 1)), (2, 0x0400));
    assert_eq!(bench.sense(2, &TEST_UNIT_READY), (2, 0x0400));
    assert_eq!(request_sense(&mut bench, 2), (2, 0x0400));
    assert_eq!(bench.data(2, &INQUIRY)[0], 0);
    bench.stores.push(late);
    bench.events.clear();
    bench.store(0);
    assert_eq!(bench.events, [Event::Aborted(1, 1, Abort::ByOwnNexus)]);
    assert_eq!(bench.sense(2, &TEST_UNIT_READY), (0, 0));
}

#[test]
fn queries_and_small_functions() {
    let mut bench = Bench::fresh(1);
    let query = FunctionKind::QueryAsynchronousEvent;
    assert_eq!(function(&mut bench, 1, query), Some(FunctionResponse::SucceededWith(Asc(0x2900))));
    assert_eq!(bench.attention(1), Some(0x2900), "a query tells, and takes nothing");
    assert_eq!(function(&mut bench, 1, query), Some(FunctionResponse::Complete));
    assert_eq!(function(&mut bench, 1, FunctionKind::ClearAca), Some(FunctionResponse::Complete));
    bench.simple(1, 1, &write(0, 1), &blocks(1, 1));
    assert_eq!(function(&mut bench, 1, FunctionKind::NexusReset), Some(FunctionResponse::Complete));
    assert_eq!(bench.events[0], Event::Aborted(1, 1, Abort::ByOwnNexus));
    assert_eq!(bench.attention(1), Some(0x2907));
    assert_eq!(function(&mut bench, 5, query), Some(FunctionResponse::Rejected), "a nexus that is not attached");
}

#[test]
fn a_flush_that_fails_after_its_abort_is_remembered() {
    let mut bench = Bench::new(1);
    let synchronize = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bench.simple(1, 1, &synchronize, &[]);
    bench.function(1, 77, FunctionKind::AbortTask(TaskTag(1)));
    bench.store_with(0, Err(StoreFault::Io { at: None }));
    bench.events.clear();
    assert_eq!(bench.sense(1, &synchronize).0, 3);
    bench.unit.reset(0);
    assert_eq!(bench.attention(1), Some(0x2900));
    assert_eq!(bench.sense(1, &synchronize), (0, 0));
}

#[test]
fn detaching_ends_the_tasks_quietly() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &write(0, 1), &blocks(1, 1));
    bench.simple(1, 2, &read(0, 1), &[]);
    bench.function(1, 3, FunctionKind::AbortTask(TaskTag(2)));
    bench.detach(1);
    assert_eq!(bench.events, [Event::Aborted(1, 1, Abort::NexusLost)]);
    assert_eq!(bench.unit.active_tasks(), 1);
    bench.store(0);
    assert_eq!(bench.events[1..], [Event::Aborted(1, 2, Abort::NexusLost)]);
    assert_eq!(bench.unit.counters().nexus(NexusId(1)), None);
    bench.events.clear();
    bench.simple(1, 4, &read(0, 1), &[]);
    assert_eq!(bench.events, [Event::Aborted(1, 4, Abort::NexusLost)]);
}

#[test]
fn prevention_of_removal_goes_with_its_nexus() {
    let mut bench = Bench::new(1);
    bench.unit.device_mut().set(Parameter::Removable(true)).unwrap();
    bench.status(1, &[0x1e, 0, 0, 0, 1, 0], &[]);
    assert!(bench.unit.device().view().prevent_removal);
    bench.detach(1);
    assert!(!bench.unit.device().view().prevent_removal);
}

#[test]
fn late_answers_are_ignored() {
    let mut bench = Bench::new(1);
    bench.simple(1, 1, &write(0, 1), &blocks(1, 1));
    let (fetched, ..) = bench.fetches[0];
    bench.function(1, 2, FunctionKind::AbortTask(TaskTag(1)));
    bench.simple(1, 3, &write(0, 1), &blocks(1, 1));
    bench.events.clear();
    bench.unit.handle_fetched(fetched, &[], 0);
    bench.unit.handle_stored(fetched, Ok(StoreAnswer::Done), 0);
    let (fetching, ..) = bench.fetches[0];
    bench.unit.handle_stored(fetching, Ok(StoreAnswer::Done), 0);
    bench.collect();
    assert_eq!((bench.events.len(), bench.stores.len(), bench.fetches.len()), (0, 0, 1));
    bench.run();
    assert_eq!(bench.done(), [3]);
}

#[test]
fn faults_answer_instead_of_the_device() {
    let mut bench = Bench::new(1);
    bench.rule(0, "op=WRITE10,lba=8,len=8,key=3,asc=0x0c02");
    bench.rule(1, "op=READ10,action=BUSY,repeat=1");
    let outcome = bench.outcome(1, &write(8, 1), &blocks(1, 1));
    assert_eq!((outcome.sense.map(|sense| (sense.key.0, sense.asc.0)), outcome.data_out), (Some((3, 0x0c02)), 0));
    assert_eq!(bench.status(1, &write(7, 1), &blocks(1, 1)), Status::GOOD);
    assert_eq!(bench.status(1, &read(0, 1), &[]), Status::BUSY);
    assert_eq!(bench.status(1, &read(0, 1), &[]), Status::GOOD, "healed");
    assert_eq!(bench.outcome(1, &write(63, 4), &blocks(1, 4)).sense.unwrap().asc.0, 0x2100);
    assert_eq!(bench.sense(1, &write(15, 100)).1, 0x0c02, "before the range check");
    assert_eq!(bench.unit.faults().journal().len(), 3);
    let events: Vec<_> = bench.unit.recent().filter_map(|record| record.event).map(|event| event.0).collect();
    assert_eq!(events, [0, 1, 2]);
}

#[test]
fn a_pause_delays_one_command_only() {
    let mut bench = Bench::new(1);
    bench.rule(0, "op=WRITE,lba=8,len=8,pause=2,key=3,asc=0x0c02");
    bench.simple(1, 1, &write(8, 1), &blocks(1, 1));
    assert_eq!(bench.status(1, &write(0, 1), &blocks(1, 1)), Status::GOOD);
    assert_eq!(bench.unit.poll_timeout(), Some(2 * SECOND));
    bench.advance(2 * SECOND - 1);
    assert_eq!(bench.events, []);
    bench.advance(1);
    assert_eq!(bench.done(), [1]);
    bench.simple(1, 2, &write(8, 1), &blocks(1, 1));
    bench.function(1, 3, FunctionKind::AbortTask(TaskTag(2)));
    assert_eq!(bench.events, [Event::Aborted(1, 2, Abort::ByOwnNexus), Event::Function(1, 3, FunctionResponse::Complete)]);
    bench.advance(10 * SECOND);
    assert_eq!((bench.unit.active_tasks(), bench.unit.poll_timeout()), (0, None));
}

#[test]
fn hung_tasks_go_on_when_the_rule_goes() {
    let mut bench = Bench::new(2);
    bench.rule(0, "op=WRITE,action=HANG");
    bench.rule(1, "op=READ,action=HANG");
    bench.simple(1, 1, &write(0, 1), &blocks(9, 1));
    bench.simple(2, 2, &read(0, 1), &[]);
    bench.simple(2, 3, &read(0, 1), &[]);
    bench.function(2, 77, FunctionKind::AbortTask(TaskTag(3)));
    assert_eq!(bench.events, [Event::Aborted(2, 3, Abort::ByOwnNexus), Event::Function(2, 77, FunctionResponse::Complete)]);
    bench.events.clear();
    bench.unit.faults_mut().remove(RuleId(0));
    bench.unit.release_hung(Some(RuleId(0)), 0);
    bench.collect();
    bench.run();
    assert_eq!((bench.done(), bench.medium[0]), (vec![1], 9));
    bench.unit.faults_mut().clear();
    bench.unit.release_hung(None, 0);
    bench.collect();
    bench.run();
    assert_eq!(bench.done(), [2]);
    assert_eq!(bench.payload[&(2, 2)], blocks(9, 1));
}

#[test]
fn a_hung_task_meets_the_gates_again() {
    let mut bench = Bench::new(2);
    bench.rule(0, "op=WRITE,action=HANG");
    bench.simple(2, 1, &write(0, 1), &blocks(9, 1));
    for (cdb, list) in [reserve_out(0, 0, 0, 5), reserve_out(1, 1, 5, 0)] {
        assert_eq!(bench.status(1, &cdb, &list), Status::GOOD);
    }
    bench.unit.release_hung(None, 0);
    bench.collect();
    assert_eq!(bench.events, [Event::Done(2, 1, Outcome::status(Status::RESERVATION_CONFLICT))]);
}

#[test]
fn a_dropped_connection_takes_its_task_along() {
    let mut bench = Bench::new(1);
    bench.rule(0, "op=WRITE,action=DROP_CONNECTION");
    bench.simple(1, 1, &write(0, 1), &blocks(9, 1));
    assert_eq!(bench.events, [Event::Dropped(1)]);
    bench.unit.release_hung(None, 0);
    bench.collect();
    assert_eq!(bench.events.len(), 1);
    bench.detach(1);
    assert_eq!(bench.events[1..], [Event::Aborted(1, 1, Abort::NexusLost)]);
}

#[test]
fn ordinals_go_on_over_logins() {
    let mut bench = Bench::new(1);
    bench.rule(0, "op=0x00,action=BUSY");
    bench.status(1, &TEST_UNIT_READY, &[]);
    bench.detach(1);
    bench.unit.attach(NexusId(4), identity(1));
    bench.attention(4);
    bench.status(4, &TEST_UNIT_READY, &[]);
    let ordinals: Vec<_> = bench.unit.faults().journal().entries().map(|entry| (entry.nexus, entry.ordinal)).collect();
    let key = identity(1).stable_key();
    assert_eq!(ordinals, [(key, 1), (key, 3)]);
}

#[test]
fn what_waited_finds_the_end_of_the_medium_nearer() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &write(60, 4), &blocks(1, 4));
    bench.simple(1, 2, &write(4, 4), &blocks(2, 4));
    bench.simple(2, 3, &read(56, 8), &[]);
    bench.unit.device_mut().resize(32 * 512);
    bench.unit.publish_notices();
    assert!(bench.unit.works_behind(32 * 512) && bench.unit.works_behind(63 * 512) && !bench.unit.works_behind(64 * 512));
    bench.fetch(0);
    bench.fetch(0);
    bench.run();
    let ends: Vec<_> = bench
        .events
        .iter()
        .map(|event| if let Event::Done(_, tag, outcome) = event { (*tag, outcome.sense.map(|sense| sense.asc.0)) } else { (0, None) })
        .collect();
    assert_eq!(ends, [(1, Some(0x2100)), (3, None), (2, None)], "what the store had ends well, the rest by its range");
    assert!(!bench.unit.works_behind(32 * 512));
    assert_eq!((bench.attention(1), bench.attention(2)), (Some(0x2a09), Some(0x2a09)));
}

#[test]
fn a_unit_that_is_taken_away_answers_its_functions() {
    let mut bench = Bench::new(2);
    bench.simple(1, 1, &read(0, 1), &[]);
    bench.simple(2, 2, &read(0, 1), &[]);
    bench.function(1, 3, FunctionKind::AbortTask(TaskTag(1)));
    assert_eq!((bench.unit.active_tasks(), bench.unit.awaited_tasks()), (2, 1));
    bench.unit.withdraw(NexusId(1));
    bench.collect();
    assert_eq!(bench.events, [Event::Function(1, 3, FunctionResponse::LunDoesNotExist)]);
    bench.function(1, 4, FunctionKind::LogicalUnitReset);
    assert_eq!(bench.events.pop(), Some(Event::Function(1, 4, FunctionResponse::Rejected)));
    bench.store(0);
    assert_eq!(bench.events.last(), Some(&Event::Aborted(1, 1, Abort::NexusLost)), "its command ends when the store lets go");
    bench.run();
    assert_eq!(bench.done(), [2]);
}
