//! EXTENDED COPY in a room of two units.

use super::*;
use crate::copy::testing::{Room, byte_segment, cscd, list, out, receive, segment};
use crate::effect::{FunctionKind, FunctionResponse};
use crate::testing::{BLOCK, Event, reserve_out, write};
use device::{Parameter, StoreFault};
use fault::RuleId;
use scsi::response::{be16, be32, be64};
use scsi::sense::KeySpecific;
use scsi::{CopyEnd, Forwarded, TaskAttribute};
use std::vec;

const LID1: u8 = 0;
const LID4: u8 = 1;

/// EXTENDED COPY(LID1) of blocks 3 to 6 of unit 1 to 40 of unit 2, sent to unit 1.
fn one_segment() -> Vec<u8> {
    list(false, 5, &[cscd(0), cscd(1)], &[segment(0, 1, 3, 40, 4)])
}

fn copy(room: &mut Room, list: &[u8]) -> (u8, u16) {
    room.sense(0, 1, &out(LID1, 0, list), list)
}

#[test]
fn blocks_go_from_one_unit_to_another() {
    let mut room = Room::pair();
    assert_eq!(copy(&mut room, &one_segment()), (0, 0));
    assert_eq!(room.media[1][40 * BLOCK..44 * BLOCK], room.media[0][3 * BLOCK..7 * BLOCK]);
    assert_eq!((room.block(1, 39)[0], room.block(1, 44)[0]), (39 ^ 0x80, 44 ^ 0x80), "and no others");
    assert_eq!((room.copies(), room.units[0].active_tasks(), room.units[1].active_tasks()), (0, 0, 0));
    let status = room.good(0, 1, &receive(0, 5), &[]);
    assert_eq!(status, [0, 0, 0, 8, 1, 0, 1, 0, 0, 0, 8, 0]);
    assert_eq!(room.sense(0, 2, &receive(0, 5), &[]), (5, 0x2400), "a list identifier is its nexus's");
    assert_eq!(room.sense(0, 1, &receive(0, 6), &[]), (5, 0x2400));
    assert_eq!(room.good(0, 1, &receive(1, 5), &[]), [0; 4], "nothing is held");
    assert_eq!(room.good(0, 1, &receive(4, 5), &[]), [0; 4], "nothing failed");
    assert_eq!(room.good(0, 1, &out(LID1, 0, &[]), &[]), [], "an empty list asks for nothing");
}

#[test]
fn every_direction_and_the_unit_itself() {
    for (source, destination, home) in [(0, 1, 0), (0, 1, 1), (1, 0, 0), (0, 0, 0), (1, 1, 0)] {
        let mut room = Room::pair();
        let list = list(true, 1, &[cscd(source), cscd(destination)], &[segment(0, 1, 3, 40, 4), segment(0, 1, 0, 50, 1)]);
        assert_eq!(room.sense(home, 1, &out(LID4, 0, &list), &list), (0, 0));
        let (from, to) = (usize::from(source), usize::from(destination));
        assert_eq!((room.block(to, 40)[0], room.block(to, 43)[0]), (room.block(from, 3)[0], room.block(from, 6)[0]));
        assert_eq!(room.block(to, 50), room.block(from, 0));
        let status = room.good(home, 1, &receive(5, 1), &[]);
        assert_eq!(
            (be32(&status, 0), status[4], status[5], status[15], be64(&status, 16), be16(&status, 24)),
            (Some(28), 1, 1, 0, Some(2560), Some(2))
        );
    }
    let mut room = Room::pair();
    let list = list(false, 1, &[], &[segment(0xffff, 0xffff, 3, 40, 4)]);
    assert_eq!(copy(&mut room, &list), (0, 0));
    assert_eq!(room.block(0, 40)[0], room.block(0, 3)[0]);
}

#[test]
fn overlapping_blocks_arrive_whole() {
    for (source, destination) in [(3, 5), (5, 3), (3, 3), (0, 20)] {
        let mut room = Room::pair();
        let expected = room.media[0][source * BLOCK..(source + 30) * BLOCK].to_vec();
        let list = list(false, 1, &[cscd(0)], &[segment(0, 0, source as u64, destination as u64, 30)]);
        assert_eq!(copy(&mut room, &list), (0, 0));
        assert_eq!(room.media[0][destination * BLOCK..(destination + 30) * BLOCK], expected);
    }
}

#[test]
fn block_lengths_may_differ() {
    let mut room = Room::new(&[BlockSize::B512, BlockSize::new(4096).unwrap()]);
    let large = |mut descriptor: [u8; 32]| {
        descriptor[29..32].copy_from_slice(&[0, 0x10, 0]);
        descriptor
    };
    let mut to = segment(0, 1, 8, 2, 16);
    assert_eq!(copy(&mut room, &list(false, 1, &[cscd(0), large(cscd(1))], &[to.clone()])), (0, 0));
    assert_eq!(room.media[1][2 * 4096..4 * 4096], room.media[0][8 * 512..24 * 512]);
    to[1] = 2;
    to[11] = 1;
    to[19] = 1;
    assert_eq!(copy(&mut room, &list(false, 1, &[cscd(0), cscd(1)], &[to.clone()])), (0, 0), "DC: one block of the destination");
    assert_eq!(room.media[1][2 * 4096..3 * 4096], room.media[0][512..9 * 512]);
    to[1] = 0;
    assert_eq!(copy(&mut room, &list(false, 1, &[cscd(0), cscd(1)], &[to.clone()])), (0xa, 0x260a));
    to[1] = 1;
    let list = list(false, 1, &[cscd(0), cscd(1)], &[to]);
    let sense = room.outcome(0, 1, &out(LID1, 0, &list), &list).sense.unwrap();
    assert!(matches!(sense.specific, Some(KeySpecific::Field(field)) if field.byte == 16 + 64 + 1 && !field.in_cdb));
    assert_eq!(copy(&mut room, &crate::copy::testing::list(false, 1, &[large(cscd(0)), cscd(1)], &[segment(0, 1, 0, 0, 8)])), (0xa, 0x0d03));
}

#[test]
fn bytes_go_in_whole_blocks() {
    let mut room = Room::new(&[BlockSize::B512, BlockSize::new(4096).unwrap()]);
    let try_it = |room: &mut Room, segment: Vec<u8>| copy(room, &list(false, 1, &[cscd(0), cscd(1)], &[segment]));
    assert_eq!(try_it(&mut room, byte_segment(0, 1, (6, 1024), (1, 4096), 8192)), (0, 0));
    assert_eq!(room.media[1][2 * 4096..4 * 4096], room.media[0][8 * 512..24 * 512]);
    let status = room.good(0, 1, &receive(0, 1), &[]);
    assert_eq!((be16(&status, 5), be32(&status, 8)), (Some(1), Some(8192)));
    let before = room.media.clone();
    for (source, destination, bytes) in [(1, 0, 4096), (0, 1, 4096), (0, 512, 4096), (0, 0, 4095), (0, 0, 512)] {
        assert_eq!(try_it(&mut room, byte_segment(0, 1, (0, source), (0, destination), bytes)), (0xa, 0x260d), "{source} {destination} {bytes}");
    }
    for (source, destination, bytes) in [(u64::MAX, 0, 4096), (57, 0, 4096), (0, 8, 4096), (0, 0, u32::MAX - 4095)] {
        assert_eq!(try_it(&mut room, byte_segment(0, 1, (source, 0), (destination, 0), bytes)), (0xa, 0x0000), "{source} {destination} {bytes}");
    }
    assert_eq!(try_it(&mut room, byte_segment(0, 1, (u64::MAX, 512), (0, 0), 4096)), (0xa, 0x0000), "no number goes round");
    assert_eq!(try_it(&mut room, byte_segment(0, 1, (0, 0), (0, 0), 0)), (0, 0), "nothing is nothing");
    assert_eq!(try_it(&mut room, byte_segment(0, 2, (0, 0), (0, 0), 512)), (0xa, 0x0d02));
    assert!(room.media == before);
}

#[test]
fn bytes_that_overlap_arrive_whole() {
    let mut room = Room::pair();
    let expected = room.media[0][..30 * BLOCK].to_vec();
    assert_eq!(copy(&mut room, &list(false, 1, &[cscd(0)], &[byte_segment(0, 0, (0, 0), (1, 512), 30 * 512)])), (0, 0));
    assert_eq!(room.media[0][2 * BLOCK..32 * BLOCK], expected);
}

#[test]
fn good_with_sense_data() {
    let mut room = Room::pair();
    let mut list = list(true, 1, &[cscd(0), cscd(1)], &[segment(0, 1, 0, 0, 1), segment(0, 1, 1, 1, 1)]);
    list[15] = 2;
    let outcome = room.outcome(0, 1, &out(LID4, 0, &list), &list);
    let sense = outcome.sense.unwrap();
    assert_eq!((outcome.status, sense.key, sense.asc, sense.command_specific), (Status::GOOD, SenseKey::COMPLETED, Asc(0x0020), Some(2)));
    assert_eq!(room.good(0, 1, &receive(5, 1), &[])[13..15], [0, 0], "the status has none: nothing is wrong");
    list[15] = 3;
    assert_eq!(room.outcome(0, 1, &out(LID4, 0, &list), &list).sense, None, "IMMED: nothing is done yet");
}

/// As many descriptors as RECEIVE COPY OPERATING PARAMETERS lets, all of them used.
#[test]
fn the_largest_list() {
    let mut room = Room::pair();
    let parameters = room.good(0, 1, &receive(3, 0), &[]);
    let (cscds, segments) = (be16(&parameters, 8).unwrap(), be16(&parameters, 10).unwrap());
    let descriptors: Vec<[u8; 32]> = (0..cscds).map(|index| cscd((index % 2) as u8)).collect();
    let work: Vec<Vec<u8>> = (0..segments)
        .map(|index| byte_segment((index % cscds) & !1, (index % cscds) | 1, (u64::from(index % 64), 0), (u64::from(63 - index % 64), 0), 512))
        .collect();
    let list = list(false, 1, &descriptors, &work);
    assert_eq!(list.len() - 16, be32(&parameters, 12).unwrap() as usize);
    assert_eq!(copy(&mut room, &list), (0, 0));
    for lba in 0..64 {
        assert_eq!(room.block(1, lba), room.block(0, 63 - lba), "{lba}");
    }
    let status = room.good(0, 1, &receive(0, 1), &[]);
    assert_eq!((status[4], be16(&status, 5), be32(&status, 8)), (1, Some(segments), Some(u32::from(segments) * 512)));
}

#[test]
fn units_are_sought_among_those_the_nexus_has() {
    let mut room = Room::pair();
    let null = |mut descriptor: [u8; 32]| {
        descriptor[1] |= 0x20;
        descriptor
    };
    let tape = |mut descriptor: [u8; 32]| {
        descriptor[1] |= 1;
        descriptor
    };
    let of_port = |mut descriptor: [u8; 32]| {
        descriptor[5] |= 0x10;
        descriptor
    };
    for (descriptor, wanted) in [(cscd(8), 0x0d02), (null(cscd(1)), 0x0d02), (tape(cscd(1)), 0x0d03), (of_port(cscd(1)), 0x0d02)] {
        let list = list(false, 1, &[cscd(0), descriptor], &[segment(0, 0, 0, 9, 1), segment(0, 1, 0, 10, 1)]);
        let outcome = room.outcome(0, 1, &out(LID1, 0, &list), &list);
        let sense = outcome.sense.unwrap();
        assert_eq!((sense.key.0, sense.asc.0, sense.command_specific), (0xa, wanted, Some(1)), "the second segment");
        assert_eq!(outcome.data_out as usize, list.len());
        assert_eq!(room.block(0, 9), room.block(0, 0), "the first was done");
    }
    assert_eq!(copy(&mut room, &list(false, 1, &[cscd(0)], &[segment(0, 1, 0, 9, 1)])), (0xa, 0x0d02), "no such descriptor");
    room.units[1].detach(NexusId(1));
    assert_eq!(copy(&mut room, &one_segment()), (0xa, 0x0d02), "it was taken away");
}

#[test]
fn the_same_name_twice_is_no_name() {
    let mut room = Room::pair();
    for unit in 0..2 {
        room.units[unit].device_mut().set(Parameter::ScsiId("abc".into())).unwrap();
    }
    let mut descriptor = cscd(1);
    descriptor[8..24].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0xbc]);
    assert_eq!(copy(&mut room, &list(false, 1, &[cscd(0), descriptor], &[segment(0, 1, 0, 0, 1)])), (0xa, 0x0d02));
}

fn failure(room: &mut Room) -> Sense {
    let list = one_segment();
    let outcome = room.outcome(0, 1, &out(LID1, 0, &list), &list);
    let sense = outcome.sense.unwrap();
    assert_eq!((sense.key, sense.asc, sense.command_specific), (SenseKey::COPY_ABORTED, Asc(0x0d01), Some(0)));
    sense
}

#[test]
fn what_the_other_unit_says_is_forwarded() {
    let mut room = Room::pair();
    room.failures.insert(0, StoreFault::Io { at: Some(512) });
    let medium = Some((SenseKey::MEDIUM_ERROR, Asc(0x1100)));
    assert_eq!(failure(&mut room).forwarded, Some(Forwarded { from: CopyEnd::Source, status: 2, sense: medium, information: Some(4) }));
    room.failures.insert(1, StoreFault::NoSpace);
    let space = Some((SenseKey::DATA_PROTECT, Asc(0x2707)));
    assert_eq!(failure(&mut room).forwarded, Some(Forwarded { from: CopyEnd::Destination, status: 2, sense: space, information: None }));
    let details = room.good(0, 1, &receive(4, 5), &[]);
    assert_eq!((be32(&details, 0).unwrap() as usize + 4, details[56], be16(&details, 58)), (details.len(), 2, Some(37)));
    assert_eq!(Sense::decode(&details[60..]).unwrap().asc, Asc(0x0d01));
    let status = room.good(0, 1, &receive(0, 5), &[]);
    assert_eq!((status[4], be16(&status, 5), be32(&status, 8)), (2, Some(0), Some(0)));
    room.units[1].device_mut().set(Parameter::ReadOnly(true)).unwrap();
    assert_eq!(failure(&mut room).forwarded.unwrap().sense, Some((SenseKey::DATA_PROTECT, Asc(0x2700))));
    room.units[1].device_mut().set(Parameter::ReadOnly(false)).unwrap();
    room.units[0].device_mut().set(Parameter::Online(false)).unwrap();
    assert_eq!(failure(&mut room).forwarded.unwrap().sense.unwrap().0, SenseKey::NOT_READY);
    room.units[0].device_mut().set(Parameter::Online(true)).unwrap();
}

#[test]
fn blocks_beyond_the_end() {
    let mut room = Room::pair();
    for (source, destination, from) in
        [(61, 0, CopyEnd::Source), (u64::MAX, 0, CopyEnd::Source), (u64::MAX / 2, 0, CopyEnd::Source), (0, 61, CopyEnd::Destination)]
    {
        let list = list(false, 5, &[cscd(0), cscd(1)], &[segment(0, 1, source, destination, 4)]);
        let sense = room.outcome(0, 1, &out(LID1, 0, &list), &list).sense.unwrap();
        let beyond = Some((SenseKey::ILLEGAL_REQUEST, Asc::LBA_OUT_OF_RANGE));
        assert_eq!((sense.key, sense.asc, sense.command_specific), (SenseKey::COPY_ABORTED, Asc::NONE, Some(0)));
        assert_eq!(sense.forwarded, Some(Forwarded { from, status: 2, sense: beyond, information: None }));
    }
    assert_eq!(room.operations, [], "nothing was read");
}

#[test]
fn reservations_hold_for_copies() {
    let mut room = Room::pair();
    let (register, key) = reserve_out(0, 0, 0, 7);
    assert_eq!(room.sense(1, 2, &register, &key), (0, 0));
    let (reserve, key) = reserve_out(1, 1, 7, 0);
    assert_eq!(room.sense(1, 2, &reserve, &key), (0, 0));
    let conflict = failure(&mut room).forwarded.unwrap();
    assert_eq!((conflict.from, conflict.status, conflict.sense), (CopyEnd::Destination, 0x18, None));
    let list = list(false, 5, &[cscd(0), cscd(1)], &[segment(1, 0, 3, 40, 4)]);
    assert_eq!(copy(&mut room, &list), (0, 0), "a write exclusive reservation lets read");
    assert_eq!(room.outcome(1, 1, &out(LID1, 0, &list), &list).status, Status::RESERVATION_CONFLICT, "no copy manager for strangers");
}

#[test]
fn fault_rules_of_the_other_unit_hold() {
    let mut room = Room::pair();
    room.units[1].faults_mut().insert(RuleId(1), fault::grammar::parse("op=WRITE16,lba=41,len=1,key=3,asc=0x0c02").unwrap());
    let sense = failure(&mut room).forwarded.unwrap();
    assert_eq!((sense.from, sense.sense), (CopyEnd::Destination, Some((SenseKey::MEDIUM_ERROR, Asc(0x0c02)))));
    room.units[1].faults_mut().remove(RuleId(1));
    assert_eq!(copy(&mut room, &one_segment()), (0, 0));
}

#[test]
fn unit_attentions_are_left_for_the_initiator() {
    let mut room = Room::pair();
    room.units[1].attention_all(Asc(0x2a01), None);
    assert_eq!(copy(&mut room, &one_segment()), (0, 0));
    assert_eq!(room.sense(1, 1, &[0; 6], &[]), (6, 0x2a01));
}

#[test]
fn what_waits_for_a_copy_does_not_stop_it() {
    let mut room = Room::pair();
    room.hold.insert(1);
    let (there, back) = (one_segment(), list(false, 6, &[cscd(1), cscd(0)], &[segment(0, 1, 10, 20, 4)]));
    room.send_as(0, 1, 1, TaskAttribute::Ordered, &out(LID1, 0, &there), &there);
    room.send_as(1, 1, 2, TaskAttribute::Ordered, &out(LID1, 0, &back), &back);
    for unit in 0..2 {
        room.send_as(unit, 2, 3, TaskAttribute::Ordered, &write(0, 1), &[9; BLOCK]);
    }
    assert_eq!((room.events.len(), room.held.len()), (0, 2), "both copies are at unit 2");
    room.hold.clear();
    room.release(0);
    room.release(0);
    let ended: Vec<u32> = room.events.iter().filter_map(|(_, event)| if let Event::Done(_, tag, _) = event { Some(*tag) } else { None }).collect();
    assert_eq!(ended, [1, 3, 2, 3], "each ordered write after the copy that came before it");
}

#[test]
fn an_abort_waits_for_the_part_and_no_longer() {
    for kind in [FunctionKind::AbortTask(TaskTag(1)), FunctionKind::AbortTaskSet, FunctionKind::LogicalUnitReset] {
        let mut room = Room::pair();
        room.hold.insert(1);
        let list = list(false, 5, &[cscd(0), cscd(1)], &[segment(0, 1, 3, 40, 4), segment(0, 1, 3, 50, 4)]);
        room.send(0, 1, 1, &out(LID1, 0, &list), &list);
        room.function(0, 1, kind);
        assert_eq!(room.events, [], "the write may still land");
        room.hold.clear();
        room.release(0);
        assert_eq!(room.events[0], (0, Event::Aborted(1, 1, Abort::ByOwnNexus)));
        assert_eq!(room.events[1], (0, Event::Function(1, 77, FunctionResponse::Complete)));
        assert_eq!((room.copies(), room.block(1, 50)[0]), (0, 50 ^ 0x80), "nothing else was copied");
    }
    let mut room = Room::pair();
    room.hold.insert(1);
    let list = one_segment();
    room.send(0, 1, 1, &out(LID1, 0, &list), &list);
    room.function(0, 1, FunctionKind::AbortTask(TaskTag(1)));
    room.advance(5_000_000_000);
    assert_eq!(room.events, [(0, Event::Function(1, 77, FunctionResponse::Rejected))], "a store that hangs");
    room.release(0);
    assert_eq!(room.copies(), 0);
}

#[test]
fn whatever_takes_a_unit_away_ends_the_copy() {
    let start = |held: usize| {
        let mut room = Room::pair();
        room.hold.insert(held);
        let list = one_segment();
        room.send(0, 1, 1, &out(LID1, 0, &list), &list);
        room
    };
    for held in 0..2 {
        let mut room = start(held);
        room.visit(1 - held, |_| {});
        room.visit(held, |unit| unit.withdraw(NexusId(1)));
        room.settle();
        room.release(0);
        let ended = room.events.pop();
        match held {
            0 => assert_eq!(ended, Some((0, Event::Aborted(1, 1, Abort::NexusLost))), "the copy manager itself"),
            _ => assert!(matches!(ended, Some((0, Event::Done(1, 1, outcome))) if outcome.sense.unwrap().asc == Asc(0x0d02))),
        }
        assert_eq!(room.copies(), 0);
        let mut room = start(held);
        room.function(held, 2, FunctionKind::LogicalUnitReset);
        room.release(0);
        assert_eq!((room.copies(), room.units[0].active_tasks(), room.units[1].active_tasks()), (0, 0, 0));
        let mut room = start(held);
        for unit in 0..2 {
            room.visit(unit, |unit| unit.detach(NexusId(1)));
        }
        room.settle();
        room.release(0);
        assert_eq!((room.copies(), room.units[0].active_tasks(), room.units[1].active_tasks()), (0, 0, 0));
    }
}

#[test]
fn functions_of_initiators_do_not_see_parts() {
    let mut room = Room::pair();
    room.hold.insert(1);
    let list = one_segment();
    room.send(0, 1, 1, &out(LID1, 0, &list), &list);
    room.function(1, 1, FunctionKind::AbortTaskSet);
    room.function(1, 1, FunctionKind::QueryTaskSet);
    assert_eq!(room.events, [(1, Event::Function(1, 77, FunctionResponse::Complete)), (1, Event::Function(1, 77, FunctionResponse::Complete))]);
    room.events.clear();
    room.release(0);
    assert!(matches!(&room.events[..], [(0, Event::Done(1, 1, outcome))] if outcome.status == Status::GOOD));
}

#[test]
fn a_copy_in_the_background() {
    let mut room = Room::pair();
    room.hold.insert(1);
    let mut list = list(true, 9, &[cscd(0), cscd(1)], &[segment(0, 1, 3, 40, 4), segment(0, 1, 3, 50, 4)]);
    list[15] = 1;
    room.send(0, 1, 1, &out(LID4, 0, &list), &list);
    assert!(matches!(&room.events[..], [(0, Event::Done(1, 1, outcome))] if outcome.status == Status::GOOD));
    room.events.clear();
    let status = room.good(0, 1, &receive(5, 9), &[]);
    assert_eq!((status[5], be32(&status, 8), be64(&status, 16)), (0x12, Some(100), Some(0)));
    assert_eq!(room.sense(0, 1, &out(LID4, 0, &list), &list), (5, 0x0016), "the identifier is in use");
    room.function(0, 1, FunctionKind::AbortTaskSet);
    room.events.clear();
    room.release(0);
    let status = room.good(0, 1, &receive(5, 9), &[]);
    assert_eq!((status[5], be64(&status, 16), be16(&status, 24)), (0x12, Some(2048), Some(1)));
    room.hold.clear();
    room.release(0);
    let status = room.good(0, 1, &receive(5, 9), &[]);
    assert_eq!((status[5], be32(&status, 8), be64(&status, 16)), (0x01, Some(0xffff_fffe), Some(4096)));
    assert_eq!((room.copies(), room.units[0].active_tasks(), room.events.len()), (0, 0, 0));
    assert_eq!(be32(&room.good(0, 1, &receive(6, 9), &[]), 32), Some(0), "no held data");
}

#[test]
fn a_background_copy_that_fails_is_asked_about() {
    let mut room = Room::pair();
    let mut list = list(true, 9, &[cscd(0), cscd(1)], &[segment(0, 1, 3, 40, 4)]);
    list[15] = 1;
    room.failures.insert(1, StoreFault::NoSpace);
    assert_eq!(room.sense(0, 1, &out(LID4, 0, &list), &list), (0, 0));
    let status = room.good(0, 1, &receive(5, 9), &[]);
    assert_eq!((status[5], status[12], status[13], status[14]), (0x02, 2, 37, 37));
    assert_eq!(Sense::decode(&status[32..]).unwrap().forwarded.unwrap().sense, Some((SenseKey::DATA_PROTECT, Asc(0x2707))));
    room.function(0, 2, FunctionKind::LogicalUnitReset);
    assert_eq!(room.sense(0, 1, &receive(5, 9), &[]), (6, 0x2900));
    assert_eq!(room.sense(0, 1, &receive(5, 9), &[]), (5, 0x2400), "a reset forgets");
}

#[test]
fn copy_operation_abort() {
    for immediate in [0, 1] {
        let mut room = Room::pair();
        room.hold.insert(1);
        let mut list = list(true, 9, &[cscd(0), cscd(1)], &[segment(0, 1, 3, 40, 4), segment(0, 1, 3, 50, 4)]);
        list[15] = immediate;
        room.send(0, 1, 1, &out(LID4, 0, &list), &list);
        room.events.clear();
        let abort = |identifier: u8| [0x83, 0x1c, 0, 0, 0, identifier, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(room.sense(0, 1, &abort(8), &[]), (5, 0x2400));
        assert_eq!(room.sense(0, 2, &abort(9), &[]), (5, 0x2400));
        room.send(0, 1, 2, &abort(9), &[]);
        assert_eq!(room.events, [], "it waits for the part");
        room.hold.clear();
        room.release(0);
        let done = |event: &(usize, Event)| match event {
            (0, Event::Done(1, tag, outcome)) => (*tag, outcome.sense.map(|sense| sense.key.0)),
            other => panic!("{other:?}"),
        };
        let ended: Vec<_> = room.events.iter().map(done).collect();
        if immediate == 0 {
            assert_eq!(ended, [(1, Some(0xa)), (2, None)]);
        } else {
            assert_eq!(ended, [(2, None)]);
        }
        assert_eq!(room.good(0, 1, &receive(5, 9), &[])[5], 0x60);
        assert_eq!((room.copies(), room.block(1, 50)[0]), (0, 50 ^ 0x80));
    }
}

#[test]
fn copies_are_bounded() {
    let mut room = Room::pair();
    room.hold.insert(1);
    for number in 0..third_party::MAX_COPIES {
        let mut list = list(true, number, &[cscd(0), cscd(1)], &[segment(0, 1, 3, 40, 1)]);
        list[15] = number & 1;
        room.send(0, 1, u32::from(number), &out(LID4, 0, &list), &list);
    }
    assert_eq!(room.copies(), 16);
    room.events.clear();
    let list = one_segment();
    assert_eq!(room.outcome(0, 1, &out(LID1, 0, &list), &list).status, Status::BUSY);
    room.hold.clear();
    while !room.held.is_empty() {
        room.release(0);
    }
    assert_eq!(room.copies(), 0);
    for number in 0..=255 {
        let list = crate::copy::testing::list(true, number, &[cscd(0)], &[]);
        assert_eq!(room.sense(0, 1, &out(LID4, 0, &list), &list), (0, 0));
    }
    assert_eq!(room.sense(0, 1, &receive(5, 0), &[]), (5, 0x2400), "the oldest are forgotten");
    assert_eq!(room.good(0, 1, &receive(5, 255), &[])[5], 1);
}

#[test]
fn verify_device() {
    let mut room = Room::pair();
    let verify = |ready: u8| vec![7, 0, 0, 8, 0, 0, 0, 0, ready, 0, 0, 0];
    let lists = [0, 1].map(|ready| list(false, 1, &[cscd(1)], &[verify(ready)]));
    for list in &lists {
        assert_eq!(copy(&mut room, list), (0, 0));
    }
    room.units[1].device_mut().set(Parameter::Online(false)).unwrap();
    assert_eq!(copy(&mut room, &lists[0]), (0, 0));
    assert_eq!(copy(&mut room, &lists[1]), (0xa, 0x0d01));
}

#[test]
fn a_contingent_allegiance_holds_parts_back() {
    let mut room = Room::pair();
    room.hold.insert(0);
    let list = one_segment();
    room.send(0, 1, 1, &out(LID1, 0, &list), &list);
    room.sense(1, 1, &[0x28, 0, 0xff, 0, 0, 0, 0, 0, 1, 4], &[]);
    room.hold.clear();
    room.release(0);
    assert_eq!(room.events, [], "unit 2 has an allegiance");
    room.function(1, 1, FunctionKind::ClearAca);
    assert!(matches!(&room.events[..], [(1, Event::Function(..)), (0, Event::Done(1, 1, outcome))] if outcome.status == Status::GOOD));
}
