//! ROD tokens in a room of two units.

use super::*;
use crate::copy::testing::{Room, out, populate, receive, write_using};
use crate::testing::{BLOCK, Event, reserve_out, write};
use device::StoreFault;
use scsi::response::{be16, be32, be64};
use scsi::third_party_copy::TOKEN_BYTES;

const POPULATE: u8 = 0x10;
const WRITE_USING: u8 = 0x11;
const SECOND: u64 = 1_000_000_000;

/// A token of unit 0 for these blocks.
fn token(room: &mut Room, of: &[(u64, u32)]) -> [u8; TOKEN_BYTES] {
    let list = populate(of);
    assert_eq!(room.sense(0, 1, &out(POPULATE, 3, &list), &list), (0, 0));
    let information = room.good(0, 1, &receive(7, 3), &[]);
    let blocks: u64 = of.iter().map(|(_, blocks)| u64::from(*blocks)).sum();
    assert_eq!((information[4], information[5], information[15], be64(&information, 16)), (0x10, 1, 0xf1, Some(blocks)));
    assert_eq!((be32(&information, 0), be32(&information, 32), be16(&information, 36)), (Some(546), Some(514), Some(0)));
    information[38..].try_into().unwrap()
}

fn use_token(room: &mut Room, unit: usize, flags: u8, offset: u64, token: &[u8; TOKEN_BYTES], to: &[(u64, u32)]) -> (u8, u16) {
    let list = write_using(flags, offset, token, to);
    room.sense(unit, 2, &out(WRITE_USING, 4, &list), &list)
}

#[test]
fn a_token_carries_blocks_to_another_unit() {
    let mut room = Room::pair();
    let token = token(&mut room, &[(3, 4), (20, 2)]);
    assert_eq!((be32(&token, 0), be16(&token, 6), be64(&token, 56)), (Some(0x0080_0001), Some(0x01f8), Some(6 * 512)));
    assert_eq!(use_token(&mut room, 1, 0, 1, &token, &[(40, 2), (50, 3)]), (0, 0));
    let blocks = |unit: usize, lbas: &[usize]| lbas.iter().map(|lba| room.block(unit, *lba)[0]).collect::<Vec<_>>();
    assert_eq!(blocks(1, &[40, 41, 50, 51, 52]), blocks(0, &[4, 5, 6, 20, 21]));
    assert_eq!(blocks(1, &[39, 42, 49, 53]), [39 ^ 0x80, 42 ^ 0x80, 49 ^ 0x80, 53 ^ 0x80]);
    let information = room.good(1, 2, &receive(7, 4), &[]);
    assert_eq!((information[4], information[5], be64(&information, 16), be32(&information, 32)), (0x11, 1, Some(5), Some(0)));
}

#[test]
fn a_short_rod_leaves_the_rest() {
    let mut room = Room::pair();
    let token = token(&mut room, &[(3, 4)]);
    assert_eq!(use_token(&mut room, 1, 0, 2, &token, &[(40, 8)]), (0, 0));
    assert_eq!((room.block(1, 41)[0], room.block(1, 42)[0]), (room.block(0, 6)[0], 42 ^ 0x80));
    let information = room.good(1, 2, &receive(7, 4), &[]);
    assert_eq!((information[5], be64(&information, 16)), (3, Some(2)));
    assert_eq!(use_token(&mut room, 1, 0, 4, &token, &[(40, 8)]), (5, 0x2600), "nothing is there");
    assert_eq!(use_token(&mut room, 1, 0, u64::MAX, &token, &[(40, 8)]), (5, 0x2600));
    assert_eq!(use_token(&mut room, 1, 0, 0, &token, &[(60, 5)]), (5, 0x2100));
}

#[test]
fn changed_blocks_void_the_token() {
    let mut room = Room::pair();
    let made = token(&mut room, &[(3, 4)]);
    for lba in [2, 7] {
        assert_eq!(room.sense(0, 2, &write(lba, 1), &[0; BLOCK]), (0, 0));
    }
    assert_eq!(use_token(&mut room, 1, 0, 0, &made, &[(40, 4)]), (0, 0));
    assert_eq!(room.sense(0, 2, &write(6, 1), &[0; BLOCK]), (0, 0));
    assert_eq!(use_token(&mut room, 1, 0, 0, &made, &[(40, 4)]), (5, 0x2306));
    let made = token(&mut room, &[(3, 4)]);
    let unmap = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(room.sense(0, 2, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &unmap), (0, 0));
    assert_eq!(use_token(&mut room, 1, 0, 0, &made, &[(40, 4)]), (5, 0x2306));
    let made = token(&mut room, &[(3, 4)]);
    room.units[0].device_mut().set_medium(None);
    assert_eq!(use_token(&mut room, 1, 0, 0, &made, &[(40, 4)]), (5, 0x2306));
}

#[test]
fn a_write_during_the_copy_ends_it() {
    for at_start in [true, false] {
        let mut room = Room::pair();
        let made = token(&mut room, &[(3, 4)]);
        room.hold.insert(if at_start { 0 } else { 1 });
        let list = write_using(0, 0, &made, &[(40, 2), (50, 2)]);
        room.send(1, 2, 1, &out(WRITE_USING, 4, &list), &list);
        room.send(0, 2, 2, &write(5, 1), &[0; BLOCK]);
        room.hold.clear();
        room.release(0);
        let done = room.events.iter().find_map(|(unit, event)| match event {
            Event::Done(2, 1, outcome) if *unit == 1 => outcome.sense,
            _ => None,
        });
        assert_eq!(done.map(|sense| (sense.key.0, sense.asc.0)), Some((5, 0x2306)));
        assert_eq!(room.block(1, 50)[0], 50 ^ 0x80);
    }
}

#[test]
fn no_token_is_made_of_blocks_that_are_being_written() {
    let mut room = Room::pair();
    room.hold.insert(0);
    room.send(0, 2, 1, &write(6, 1), &[0; BLOCK]);
    let list = populate(&[(3, 4)]);
    assert_eq!(room.outcome(0, 1, &out(POPULATE, 3, &list), &list).status, Status::BUSY);
    let list = populate(&[(7, 4)]);
    assert_eq!(room.outcome(0, 1, &out(POPULATE, 3, &list), &list).status, Status::GOOD);
}

#[test]
fn tokens_that_were_never_made() {
    let mut room = Room::pair();
    let made = token(&mut room, &[(3, 4)]);
    for (at, wanted) in [(0, 0x2301), (7, 0x230a), (16, 0x2305), (8, 0x2304), (128, 0x2304), (151, 0x2304), (511, 0x2304)] {
        let mut forged = made;
        forged[at] ^= 1;
        assert_eq!(use_token(&mut room, 1, 0, 0, &forged, &[(40, 4)]), (5, wanted), "{at}");
    }
    assert_eq!(use_token(&mut room, 1, 0, 0, &made, &[(40, 4)]), (0, 0));
    room.units[0].detach(NexusId(2));
    assert_eq!(use_token(&mut room, 1, 0, 0, &made, &[(40, 4)]), (0xa, 0x0d02), "the nexus has lost the unit");
}

#[test]
fn tokens_do_not_live_for_ever() {
    let mut room = Room::pair();
    let made = token(&mut room, &[(3, 4)]);
    for _ in 0..3 {
        room.now += 299 * SECOND;
        assert_eq!(use_token(&mut room, 1, 0, 0, &made, &[(40, 4)]), (0, 0), "use keeps it");
    }
    room.now += 301 * SECOND;
    assert_eq!(use_token(&mut room, 1, 0, 0, &made, &[(40, 4)]), (5, 0x2307));
    let mut list = populate(&[(3, 4)]);
    list[4..8].copy_from_slice(&3601_u32.to_be_bytes());
    assert_eq!(room.sense(0, 1, &out(POPULATE, 3, &list), &list), (5, 0x2600));
    list[4..8].copy_from_slice(&3600_u32.to_be_bytes());
    assert_eq!(room.sense(0, 1, &out(POPULATE, 3, &list), &list), (0, 0));
    let long: [u8; TOKEN_BYTES] = room.good(0, 1, &receive(7, 3), &[])[38..].try_into().unwrap();
    for _ in 0..24 {
        assert_eq!(use_token(&mut room, 1, 0, 0, &long, &[(40, 4)]), (0, 0));
        room.now += 3600 * SECOND;
    }
    room.now += 1;
    assert_eq!(use_token(&mut room, 1, 0, 0, &long, &[(40, 4)]), (5, 0x2307), "a day at most");
}

#[test]
fn a_token_is_deleted_after_its_use() {
    let mut room = Room::pair();
    let made = token(&mut room, &[(3, 4)]);
    assert_eq!(be32(&room.good(0, 1, &receive(8, 0), &[]), 0), Some(4 + 96));
    assert_eq!(room.good(0, 1, &receive(8, 0), &[])[8..104], made[..96]);
    room.failures.insert(1, StoreFault::NoSpace);
    assert_eq!(use_token(&mut room, 1, 2, 0, &made, &[(40, 4)]), (7, 0x2707), "what this unit says is told as it is");
    assert_eq!(use_token(&mut room, 1, 2, 0, &made, &[(40, 4)]), (0, 0));
    assert_eq!(use_token(&mut room, 1, 2, 0, &made, &[(40, 4)]), (5, 0x2309));
    assert_eq!(be32(&room.good(0, 1, &receive(8, 0), &[]), 0), Some(4));
}

#[test]
fn what_the_source_says_is_forwarded() {
    let mut room = Room::pair();
    let made = token(&mut room, &[(3, 4)]);
    room.failures.insert(0, StoreFault::Io { at: Some(0) });
    let list = write_using(0, 0, &made, &[(40, 4)]);
    let sense = room.outcome(1, 2, &out(WRITE_USING, 4, &list), &list).sense.unwrap();
    assert_eq!((sense.key.0, sense.asc.0, sense.command_specific), (0xa, 0x0d01, None));
    assert_eq!(sense.forwarded.unwrap().sense, Some((SenseKey::MEDIUM_ERROR, Asc(0x1100))));
}

#[test]
fn the_token_of_zeros() {
    let mut room = Room::pair();
    let mut zeros = [0; TOKEN_BYTES];
    zeros[..8].copy_from_slice(&[0xff, 0xff, 0, 1, 0, 0, 0x01, 0xf8]);
    assert_eq!(use_token(&mut room, 1, 0, 0, &zeros, &[(40, 2), (50, 1)]), (0, 0));
    assert_eq!((room.block(1, 40), room.block(1, 41), room.block(1, 50)), (&[0; BLOCK][..], &[0; BLOCK][..], &[0; BLOCK][..]));
    assert_eq!((room.block(1, 42)[0], room.block(1, 51)[0]), (42 ^ 0x80, 51 ^ 0x80));
    assert_eq!(be64(&room.good(1, 2, &receive(5, 4), &[]), 16), Some(3));
}

#[test]
fn types_lengths_and_ranges() {
    let mut room = Room::pair();
    let mut list = populate(&[(3, 4)]);
    list[2] = 2;
    assert_eq!(room.sense(0, 1, &out(POPULATE, 3, &list), &list), (5, 0x2301), "type zero was asked for");
    list[8..12].copy_from_slice(&0x0080_0001_u32.to_be_bytes());
    assert_eq!(room.sense(0, 1, &out(POPULATE, 3, &list), &list), (0, 0));
    for (wrong, asc) in [(&[(60, 5)][..], 0x2100), (&[(u64::MAX, 1)], 0x2100), (&[(0, 0)], 0x2600), (&[(0, 2), (1, 2)], 0x2600)] {
        let list = populate(wrong);
        assert_eq!(room.sense(0, 1, &out(POPULATE, 3, &list), &list), (5, asc));
    }
    assert_eq!(room.good(0, 1, &out(POPULATE, 3, &[]), &[]), []);
    let cut = populate(&[(3, 4)]);
    for len in 1..cut.len() {
        assert_eq!(room.sense(0, 1, &out(POPULATE, 3, &cut[..len]), &cut[..len]), (5, 0x1a00));
    }
}

#[test]
fn there_is_room_for_so_many() {
    let mut room = Room::pair();
    let first = token(&mut room, &[(3, 4)]);
    for _ in 1..tokens::TOKEN_LIMIT {
        token(&mut room, &[(3, 4)]);
    }
    let list = populate(&[(3, 4)]);
    assert_eq!(room.sense(0, 1, &out(POPULATE, 3, &list), &list), (5, 0x550d));
    room.now += 301 * SECOND;
    token(&mut room, &[(3, 4)]);
    assert_eq!(use_token(&mut room, 1, 0, 0, &first, &[(40, 4)]), (5, 0x2304), "a void one made room");
}

#[test]
fn the_secret_is_told_to_those_who_made_it() {
    let mut room = Room::pair();
    let made = token(&mut room, &[(3, 4)]);
    assert!(made[128..152].iter().any(|byte| *byte != 0));
    assert_eq!(room.sense(0, 2, &receive(7, 3), &[]), (5, 0x2400), "not to another nexus");
}

#[test]
fn a_token_serves_its_own_unit_twice() {
    let mut room = Room::pair();
    let made = token(&mut room, &[(0, 4)]);
    for flags in [0, 0, 2] {
        assert_eq!(use_token(&mut room, 0, flags, 0, &made, &[(40, 4)]), (0, 0));
        assert_eq!(room.block(0, 43), room.block(0, 3));
    }
    assert_eq!(use_token(&mut room, 0, 0, 0, &made, &[(40, 4)]), (5, 0x2309));
    let made = token(&mut room, &[(0, 4)]);
    assert_eq!(use_token(&mut room, 0, 0, 0, &made, &[(3, 4)]), (0, 0), "one piece, which was read before the write voids it");
    assert_eq!(use_token(&mut room, 0, 0, 0, &made, &[(40, 4)]), (5, 0x2306));
}

/// Disjoint ranges in the order in which they were drawn; some are empty.
fn draw_ranges(random: &mut super::random_tests::Random, blocks: u64) -> Vec<(u64, u32)> {
    let mut ranges: Vec<(u64, u32)> = Vec::new();
    for _ in 0..1 + random.below(4) {
        let start = random.below(blocks);
        let count = random.below(5).min(blocks - start);
        let apart = |other: &(u64, u32)| start + count <= other.0 || other.0 + u64::from(other.1) <= start;
        if ranges.iter().all(apart) {
            ranges.push((start, count as u32));
        }
    }
    ranges
}

/// WRITE USING TOKEN against a plain model: the bytes of the token one after the other, from the offset on, into the ranges one after the other.
#[test]
fn ranges_and_offsets_are_those_of_a_plain_model() {
    let large = BlockSize::new(4096).unwrap();
    let (mut good, mut short, mut refused) = (0, 0, 0);
    for seed in 0..2000 {
        let mut random = super::random_tests::Random(seed);
        let sizes = [[BlockSize::B512; 2], [BlockSize::B512, large], [large, BlockSize::B512]][random.below(3) as usize];
        let mut room = Room::new(&sizes);
        let bytes = sizes.map(|size| u64::from(size.bytes()));
        let blocks = bytes.map(|size| (BLOCK as u64 * 64) / size);
        let from = draw_ranges(&mut random, blocks[0]);
        if from.iter().all(|(_, count)| *count == 0) {
            continue;
        }
        let (to, offset) = (draw_ranges(&mut random, blocks[1]), random.below(4));
        let span = |(start, count): &(u64, u32), size: u64| (start * size) as usize..((start + u64::from(*count)) * size) as usize;
        let rod: Vec<u8> = from.iter().flat_map(|range| room.media[0][span(range, bytes[0])].to_vec()).collect();
        let mut expected = room.media.clone();
        let mut rest = rod.get((offset * bytes[1]) as usize..).unwrap_or(&[]);
        let beyond = rest.is_empty();
        for range in &to {
            let place = &mut expected[1][span(range, bytes[1])];
            let (now, later) = rest.split_at(rest.len().min(place.len()));
            place[..now.len()].copy_from_slice(now);
            rest = later;
        }
        let made = token(&mut room, &from);
        match use_token(&mut room, 1, 0, offset, &made, &to) {
            (0, 0) => {
                assert!(!beyond && room.media == expected, "seed {seed}");
                let status = room.good(1, 2, &receive(5, 4), &[]);
                let wanted: u64 = to.iter().map(|(_, count)| u64::from(*count)).sum();
                let left = (rod.len() as u64 / bytes[1]).saturating_sub(offset);
                assert_eq!(be64(&status, 16), Some(wanted.min(left)), "seed {seed}");
                assert_eq!(status[5], if wanted > left { 3 } else { 1 }, "seed {seed}");
                (good, short) = (good + 1, short + usize::from(wanted > left));
            }
            (5, 0x2600) => assert!(beyond, "seed {seed}"),
            (5, 0x260d) => {
                assert_ne!(bytes[0], bytes[1], "seed {seed}");
                assert_eq!(expected[0], room.media[0]);
                refused += 1;
            }
            other => panic!("seed {seed}: {other:x?}"),
        }
    }
    assert!(good > 500 && short > 50 && refused > 50, "{good} went well, {short} of them short, {refused} were refused");
}

#[test]
fn a_token_opens_no_reserved_unit() {
    let mut room = Room::pair();
    let made = token(&mut room, &[(3, 4)]);
    for unit in 0..2 {
        let (register, key) = reserve_out(0, 0, 0, 7);
        assert_eq!(room.sense(unit, 1, &register, &key), (0, 0));
        let (reserve, key) = reserve_out(1, 3, 7, 0);
        assert_eq!(room.sense(unit, 1, &reserve, &key), (0, 0));
        let list = write_using(0, 0, &made, &[(40, 4)]);
        let outcome = room.outcome(1, 2, &out(WRITE_USING, 4, &list), &list);
        if unit == 0 {
            let told = outcome.sense.unwrap();
            let forwarded = told.forwarded.unwrap();
            assert_eq!((told.key.0, told.asc.0), (0xa, 0x0d01));
            assert_eq!((forwarded.from, forwarded.status, forwarded.sense), (scsi::CopyEnd::Source, Status::RESERVATION_CONFLICT.0, None));
        } else {
            assert_eq!(outcome.status, Status::RESERVATION_CONFLICT, "the unit that would be written");
        }
        assert_eq!(room.block(1, 40)[0], 40 ^ 0x80, "nothing was copied");
        let (clear, key) = reserve_out(3, 0, 7, 0);
        assert_eq!(room.sense(unit, 1, &clear, &key), (0, 0));
    }
    let list = populate(&[(3, 4)]);
    let (register, key) = reserve_out(0, 0, 0, 7);
    assert_eq!(room.sense(0, 1, &register, &key), (0, 0));
    let (reserve, key) = reserve_out(1, 3, 7, 0);
    assert_eq!(room.sense(0, 1, &reserve, &key), (0, 0));
    assert_eq!(room.outcome(0, 2, &out(POPULATE, 3, &list), &list).status, Status::RESERVATION_CONFLICT, "and none is made there");
}
