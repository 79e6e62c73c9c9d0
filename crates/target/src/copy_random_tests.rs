//! Copies in every direction, and whatever may end them, at random: each command ends once, and nothing is left over.

use super::*;
use crate::copy::testing::{Room, cscd, list, out, populate, receive, segment, write_using};
use crate::effect::FunctionKind;
use crate::testing::{BLOCK, Event, write};
use fault::RuleId;
use scsi::TaskAttribute;
use scsi::third_party_copy::TOKEN_BYTES;
use std::collections::BTreeMap;

/// SplitMix64.
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

const UNITS: u64 = 3;

struct Play {
    room: Room,
    random: Random,
    tag: u32,
    /// Ends of commands, by unit, nexus and tag.
    sent: BTreeMap<(usize, u64, u32), u32>,
}

impl Play {
    fn unit(&mut self) -> usize {
        self.random.below(UNITS) as usize
    }

    fn send(&mut self, unit: usize, cdb: &[u8], data: &[u8]) {
        let nexus = 1 + self.random.below(2);
        let attribute = [TaskAttribute::Simple, TaskAttribute::Ordered, TaskAttribute::HeadOfQueue][self.random.below(3) as usize];
        self.tag += 1;
        self.sent.insert((unit, nexus, self.tag), 0);
        self.room.send_as(unit, nexus, self.tag, attribute, cdb, data);
    }

    fn extended(&mut self) {
        let (home, from, to) = (self.unit(), self.unit() as u8, self.unit() as u8);
        let segments: Vec<Vec<u8>> = (0..1 + self.random.below(3))
            .map(|_| segment(self.random.below(2) as u16, 1, self.random.below(66), self.random.below(66), self.random.below(9) as u16))
            .collect();
        let long = self.random.below(2) == 1;
        let mut list = list(long, self.random.below(4) as u8, &[cscd(from), cscd(to)], &segments);
        if long && self.random.below(2) == 1 {
            list[15] = 1;
        }
        self.send(home, &out(u8::from(long), 0, &list), &list);
    }

    fn tokens(&mut self) {
        let unit = self.unit();
        let identifier = self.random.below(4) as u32;
        if self.random.below(2) == 0 {
            let list = populate(&[(self.random.below(60), 4)]);
            return self.send(unit, &out(0x10, identifier, &list), &list);
        }
        let mut token = [0; TOKEN_BYTES];
        if self.random.below(4) == 0 {
            token[..4].copy_from_slice(&third_party::ZERO_ROD_TYPE.to_be_bytes());
        } else if let Some(made) = self.room.units[self.random.below(UNITS) as usize].tokens.alive(0, self.room.now).next() {
            token = *made;
        }
        let list = write_using(self.random.below(4) as u8, self.random.below(3), &token, &[(self.random.below(60), 3)]);
        self.send(unit, &out(0x11, identifier, &list), &list);
    }

    fn function(&mut self) {
        let (unit, tag) = (self.unit(), TaskTag(1 + self.random.below(u64::from(self.tag) + 1) as u32));
        let kind = match self.random.below(6) {
            0 => FunctionKind::AbortTask(tag),
            1 => FunctionKind::AbortTaskSet,
            2 => FunctionKind::ClearTaskSet,
            3 => FunctionKind::LogicalUnitReset,
            4 => FunctionKind::NexusReset,
            _ => FunctionKind::QueryTaskSet,
        };
        let nexus = 1 + self.random.below(2);
        self.room.function(unit, nexus, kind);
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..=2 => self.extended(),
            3 | 4 => self.tokens(),
            5 => {
                let (unit, lba) = (self.unit(), self.random.below(64) as u8);
                self.send(unit, &write(lba, 1), &[lba; BLOCK]);
            }
            6 | 7 if !self.room.held.is_empty() => {
                let at = self.random.below(self.room.held.len() as u64) as usize;
                self.room.release(at);
            }
            8 => self.function(),
            9 => {
                let unit = self.unit();
                if !self.room.hold.remove(&unit) {
                    self.room.hold.insert(unit);
                }
            }
            10 => {
                let unit = self.unit();
                let identifier = self.random.below(4) as u32;
                let cdb = if self.random.below(2) == 0 {
                    receive(5, identifier)
                } else {
                    [0x83, 0x1c, 0, 0, 0, identifier as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
                };
                self.send(unit, &cdb, &[]);
            }
            _ => self.disturb(),
        }
        self.room.advance(1_000_000);
        for (unit, event) in core::mem::take(&mut self.room.events) {
            if let Event::Done(nexus, tag, _) | Event::Aborted(nexus, tag, _) = event {
                *self.sent.get_mut(&(unit, nexus, tag)).expect("an end of a command that was sent") += 1;
            }
        }
    }

    /// A rule that lets parts hang or fail, the end of that, or a unit that a nexus loses.
    fn disturb(&mut self) {
        let (unit, now) = (self.unit(), self.room.now);
        match self.random.below(3) {
            0 => {
                let text = ["op=WRITE16,action=HANG", "op=READ16,key=3,asc=0x1100,repeat=1", "op=WRITE16,action=BUSY,repeat=1"][self.unit()];
                self.room.units[unit].faults_mut().insert(RuleId(1), fault::grammar::parse(text).unwrap());
            }
            1 => {
                self.room.units[unit].faults_mut().clear();
                self.room.visit(unit, |unit| unit.release_hung(None, now));
            }
            _ => self.room.visit(unit, |unit| unit.withdraw(NexusId(2))),
        }
        self.room.settle();
    }

    fn end(&mut self) {
        self.room.hold.clear();
        for unit in 0..UNITS as usize {
            self.room.units[unit].faults_mut().clear();
            let now = self.room.now;
            self.room.visit(unit, |unit| unit.release_hung(None, now));
        }
        self.room.settle();
        while !self.room.held.is_empty() {
            self.room.release(0);
        }
        self.room.advance(10_000_000_000);
        self.step();
        while !self.room.held.is_empty() {
            self.room.release(0);
        }
    }
}

#[test]
fn nothing_is_left_over() {
    let (mut copies, mut good) = (0, 0);
    for seed in 0..60 {
        let mut play = Play { room: Room::new(&[scsi::BlockSize::B512; UNITS as usize]), random: Random(seed), tag: 0, sent: BTreeMap::new() };
        for _ in 0..60 {
            play.step();
            copies += usize::from(play.room.copies() > 1);
        }
        play.end();
        play.room.hold.clear();
        play.end();
        assert_eq!(play.room.copies(), 0, "seed {seed}");
        for (index, unit) in play.room.units.iter().enumerate() {
            assert_eq!(unit.active_tasks(), 0, "seed {seed}, unit {index}");
        }
        let odd = play.sent.iter().find(|(_, ends)| **ends != 1);
        assert_eq!(odd, None, "seed {seed}");
        good += play.sent.len();
    }
    assert!(copies > 200 && good > 1000, "{copies} steps with several copies, {good} commands");
}
