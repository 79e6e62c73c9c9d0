//! A room of several units of one target, and a shell that carries out their effects: copies among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec;
use std::vec::Vec;

use device::{StoreFault, StoreOp, StoreResult};
use scsi::third_party_copy::TOKEN_BYTES;
use scsi::{BlockSize, DataIn, Lun, Outcome, Status, TaskAttribute};

use crate::effect::{Answer, Command, Effect, Function, FunctionKind, NexusId, PartEnd, PartUnit, Question, TaskRef, TaskTag};
use crate::testing::{BLOCK, BLOCKS, Event, carry_out, disk_of, identity};
use crate::unit::Unit;

struct Saga {
    home: usize,
    task: TaskRef,
    units: Vec<Option<usize>>,
    part: Option<usize>,
    payload: Vec<u8>,
}

/// Units 0, 1, ...; unit n has the designator NAA `[n + 1; 16]`.
pub struct Room {
    pub units: Vec<Unit>,
    pub media: Vec<Vec<u8>>,
    pub now: u64,
    pub events: Vec<(usize, Event)>,
    /// Units whose store operations wait in `held`.
    pub hold: BTreeSet<usize>,
    pub held: Vec<(usize, TaskRef, StoreOp)>,
    /// The next store operations of a unit fail so.
    pub failures: BTreeMap<usize, StoreFault>,
    /// Every store operation, in order.
    pub operations: Vec<(usize, StoreOp)>,
    payload: BTreeMap<(usize, u64, u32), Vec<u8>>,
    sagas: Vec<Option<Saga>>,
    queue: VecDeque<(usize, Effect)>,
    entropy: u64,
    next_tag: u32,
}

impl Room {
    /// Units with these block lengths, and nexuses 1 and 2, which have heard their power on.
    pub fn new(sizes: &[BlockSize]) -> Room {
        let mut units = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let mut unit = Unit::new(disk_of(index as u64 + 1, *size), 1);
            for nexus in 1..=2 {
                unit.attach(NexusId(nexus), identity(nexus));
                unit.clear_attention(NexusId(nexus), scsi::Asc::POWER_ON_OR_RESET);
            }
            units.push(unit);
        }
        let media = (0..units.len()).map(|unit| (0..BLOCK * BLOCKS).map(|at| (at / BLOCK) as u8 ^ (unit as u8 + 1) << 6).collect()).collect();
        Room {
            units,
            media,
            now: 1,
            events: Vec::new(),
            hold: BTreeSet::new(),
            held: Vec::new(),
            failures: BTreeMap::new(),
            operations: Vec::new(),
            payload: BTreeMap::new(),
            sagas: Vec::new(),
            queue: VecDeque::new(),
            entropy: 0,
            next_tag: 1000,
        }
    }

    pub fn pair() -> Room {
        Room::new(&[BlockSize::B512; 2])
    }

    pub fn send(&mut self, unit: usize, nexus: u64, tag: u32, cdb: &[u8], data: &[u8]) {
        self.send_as(unit, nexus, tag, TaskAttribute::Simple, cdb, data);
    }

    pub fn send_as(&mut self, unit: usize, nexus: u64, tag: u32, attribute: TaskAttribute, cdb: &[u8], data: &[u8]) {
        self.payload.insert((unit, nexus, tag), data.to_vec());
        let command = Command {
            nexus: NexusId(nexus),
            tag: TaskTag(tag),
            lun: Lun::default(),
            cdb,
            attribute,
            data_out: data.len() as u32,
            data_in: if data.is_empty() { 1 << 20 } else { 0 },
            luns: &[],
            unit_exists: true,
        };
        let now = self.now;
        self.visit(unit, |unit| unit.handle_command(command, now));
        self.settle();
    }

    pub fn function(&mut self, unit: usize, nexus: u64, kind: FunctionKind) {
        let now = self.now;
        self.visit(unit, |unit| unit.handle_function(Function { nexus: NexusId(nexus), tag: TaskTag(77), kind }, now));
        self.settle();
    }

    pub fn visit(&mut self, index: usize, call: impl FnOnce(&mut Unit)) {
        call(&mut self.units[index]);
        while let Some(effect) = self.units[index].poll_effect() {
            self.queue.push_back((index, effect));
        }
    }

    pub fn advance(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
        let now = self.now;
        for unit in 0..self.units.len() {
            self.visit(unit, |unit| unit.handle_timeout(now));
        }
        self.settle();
    }

    /// Lets go of the `at`th store operation that is held.
    pub fn release(&mut self, at: usize) {
        let (unit, task, op) = self.held.remove(at);
        self.store(unit, task, op);
        self.settle();
    }

    pub fn settle(&mut self) {
        while let Some((unit, effect)) = self.queue.pop_front() {
            self.execute(unit, effect);
        }
    }

    fn execute(&mut self, unit: usize, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Fetch { task, len, inline } => {
                let data = self.payload_of(unit, task)[..len as usize].to_vec();
                self.visit(unit, |unit| unit.handle_fetched(task, if inline { &data } else { &[] }, now));
            }
            Effect::Persist { task, .. } => self.visit(unit, |unit| unit.handle_persisted(task, true, now)),
            Effect::Store { task, op, .. } if self.hold.contains(&unit) => self.held.push((unit, task, op)),
            Effect::Store { task, op, .. } => self.store(unit, task, op),
            Effect::Respond { task, outcome } if task.part => self.part_ended(task, PartEnd::Outcome(outcome)),
            Effect::Aborted { task, why } if task.part => self.part_ended(task, PartEnd::Aborted(why)),
            Effect::Respond { task, outcome } => self.events.push((unit, Event::Done(task.nexus.0, task.tag.0, outcome))),
            Effect::Aborted { task, why } => self.events.push((unit, Event::Aborted(task.nexus.0, task.tag.0, why))),
            Effect::FunctionDone { nexus, tag, response } => self.events.push((unit, Event::Function(nexus.0, tag.0, response))),
            Effect::Drop { nexus } => self.events.push((unit, Event::Dropped(nexus.0))),
            Effect::Errand(errand) => panic!("no copy asks for {errand:?}"),
            Effect::Survey { task, questions } => self.survey(unit, task, &questions),
            Effect::Part { task, unit: to, command } => {
                let index = self.saga(unit, task).expect("it was surveyed");
                let saga = self.sagas[index].as_mut().unwrap();
                assert_eq!(saga.part, None, "one part at a time");
                let to = match to {
                    PartUnit::This => unit,
                    PartUnit::Surveyed(at) => saga.units[at].expect("it was found"),
                };
                saga.part = Some(to);
                self.visit(to, |unit| unit.handle_part(task.nexus, TaskTag(index as u32), &command, now));
            }
            Effect::CancelPart { task } => {
                if let Some(index) = self.saga(unit, task)
                    && let Some(to) = self.sagas[index].as_ref().unwrap().part
                {
                    self.visit(to, |unit| unit.cancel_part(task.nexus, TaskTag(index as u32), now));
                }
            }
            Effect::CopyMoved { task, into } => {
                let index = self.saga(unit, task).expect("it was surveyed");
                self.sagas[index].as_mut().unwrap().task = into;
            }
            Effect::DeleteToken { task, token } => {
                let index = self.saga(unit, task).expect("it was surveyed");
                let maker = self.sagas[index].as_ref().unwrap().units[0].unwrap();
                self.visit(maker, |unit| unit.delete_token(token));
            }
            Effect::CopyEnded { task } => {
                let index = self.saga(unit, task).expect("it was surveyed");
                let saga = self.sagas[index].take().unwrap();
                assert_eq!(saga.part, None, "a copy ended before its part");
            }
        }
    }

    fn saga(&self, home: usize, task: TaskRef) -> Option<usize> {
        self.sagas.iter().position(|saga| saga.as_ref().is_some_and(|saga| (saga.home, saga.task) == (home, task)))
    }

    fn survey(&mut self, home: usize, task: TaskRef, questions: &[Question]) {
        let (mut units, mut answers) = (Vec::new(), Vec::new());
        for question in questions {
            let mut found = Vec::new();
            for (index, unit) in self.units.iter_mut().enumerate() {
                let answer = match question {
                    Question::Unit(name) => unit.facts(name).map(Answer::Unit),
                    Question::Token(token) => unit.redeem(token, self.now),
                };
                found.extend(answer.map(|answer| (index, answer)));
            }
            let only = if found.len() == 1 { found.pop() } else { None };
            units.push(only.as_ref().map(|(index, _)| *index));
            answers.push(only.map_or(Answer::Nobody, |(_, answer)| answer));
        }
        self.sagas.push(Some(Saga { home, task, units, part: None, payload: Vec::new() }));
        self.entropy += 1;
        let bytes = self.entropy.to_be_bytes();
        let (entropy, now) = (core::array::from_fn(|at| bytes[at % 8]), self.now);
        self.visit(home, |unit| unit.handle_surveyed(task, answers, entropy, now));
    }

    fn part_ended(&mut self, task: TaskRef, end: PartEnd) {
        let saga = self.sagas[task.tag.0 as usize].as_mut().expect("the copy waits for its part");
        saga.part = None;
        let (home, owner, now) = (saga.home, saga.task, self.now);
        self.visit(home, |unit| unit.handle_part_ended(owner, end, now));
    }

    fn payload_of(&mut self, unit: usize, task: TaskRef) -> &mut Vec<u8> {
        if task.part {
            return &mut self.sagas[task.tag.0 as usize].as_mut().expect("the copy has its payload").payload;
        }
        self.payload.entry((unit, task.nexus.0, task.tag.0)).or_default()
    }

    fn store(&mut self, unit: usize, task: TaskRef, op: StoreOp) {
        self.operations.push((unit, op));
        let result: StoreResult = match self.failures.remove(&unit) {
            Some(fault) => Err(fault),
            None => {
                let mut payload = core::mem::take(self.payload_of(unit, task));
                let result = carry_out(&mut payload, &mut self.media[unit], op);
                *self.payload_of(unit, task) = payload;
                result
            }
        };
        let now = self.now;
        self.visit(unit, |unit| unit.handle_stored(task, result, now));
    }

    /// Copies that are under way.
    pub fn copies(&self) -> usize {
        self.sagas.iter().flatten().count()
    }

    /// Runs one command to its end.
    pub fn outcome(&mut self, unit: usize, nexus: u64, cdb: &[u8], data: &[u8]) -> Outcome {
        self.next_tag += 1;
        let tag = self.next_tag;
        self.send(unit, nexus, tag, cdb, data);
        match self.events.pop() {
            Some((at, Event::Done(by, with, outcome))) if (at, by, with) == (unit, nexus, tag) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub fn good(&mut self, unit: usize, nexus: u64, cdb: &[u8], data: &[u8]) -> Vec<u8> {
        match self.outcome(unit, nexus, cdb, data) {
            Outcome { status: Status::GOOD, data_in: DataIn::Inline(bytes), .. } => bytes,
            Outcome { status: Status::GOOD, data_in: DataIn::None, .. } => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    /// Sense key and code, (0, 0) when it went well.
    pub fn sense(&mut self, unit: usize, nexus: u64, cdb: &[u8], data: &[u8]) -> (u8, u16) {
        let outcome = self.outcome(unit, nexus, cdb, data);
        assert!(outcome.sense.is_some() || outcome.status == Status::GOOD, "{outcome:?}");
        outcome.sense.map_or((0, 0), |sense| (sense.key.0, sense.asc.0))
    }

    pub fn block(&self, unit: usize, lba: usize) -> &[u8] {
        &self.media[unit][lba * BLOCK..][..BLOCK]
    }
}

/// CDB of THIRD-PARTY COPY OUT for a list.
pub fn out(action: u8, identifier: u32, list: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (0x83, action);
    if action >= 0x10 {
        cdb[6..10].copy_from_slice(&identifier.to_be_bytes());
    }
    cdb[10..14].copy_from_slice(&(list.len() as u32).to_be_bytes());
    cdb
}

/// CDB of THIRD-PARTY COPY IN.
pub fn receive(action: u8, identifier: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (0x84, action);
    let identifier = identifier.to_be_bytes();
    if action < 5 {
        cdb[2] = identifier[3]
    } else {
        cdb[2..6].copy_from_slice(&identifier)
    }
    cdb[12] = 0xff;
    cdb
}

/// Identification descriptor of unit n.
pub fn cscd(unit: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    (bytes[0], bytes[4], bytes[5], bytes[7]) = (0xe4, 1, 3, 16);
    bytes[8..24].fill(unit + 1);
    bytes
}

/// Block to block.
pub fn segment(from: u16, to: u16, source: u64, destination: u64, blocks: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0x18];
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(blocks.to_be_bytes());
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes
}

/// Block to block with offset: LBA and bytes from there.
pub fn byte_segment(from: u16, to: u16, source: (u64, u16), destination: (u64, u16), bytes: u32) -> Vec<u8> {
    let mut segment = vec![0x0a, 0, 0, 0x1c];
    segment.extend(from.to_be_bytes());
    segment.extend(to.to_be_bytes());
    segment.extend(bytes.to_be_bytes());
    segment.extend(source.0.to_be_bytes());
    segment.extend(destination.0.to_be_bytes());
    segment.extend(source.1.to_be_bytes());
    segment.extend(destination.1.to_be_bytes());
    segment
}

/// List of EXTENDED COPY(LID1), or of EXTENDED COPY when `long`.
pub fn list(long: bool, identifier: u8, cscds: &[[u8; 32]], segments: &[Vec<u8>]) -> Vec<u8> {
    let segments = segments.concat();
    let mut list;
    if long {
        list = vec![0; 48];
        (list[0], list[3], list[16], list[23]) = (1, 0x20, 0xff, identifier);
        list[42..44].copy_from_slice(&(cscds.len() as u16 * 32).to_be_bytes());
        list[44..46].copy_from_slice(&(segments.len() as u16).to_be_bytes());
    } else {
        list = vec![0; 16];
        list[0] = identifier;
        list[2..4].copy_from_slice(&(cscds.len() as u16 * 32).to_be_bytes());
        list[8..12].copy_from_slice(&(segments.len() as u32).to_be_bytes());
    }
    list.extend(cscds.concat());
    list.extend(segments);
    list
}

/// Range descriptors behind `place` bytes, which end with their length.
fn ranges(mut list: Vec<u8>, ranges: &[(u64, u32)]) -> Vec<u8> {
    list.extend((ranges.len() as u16 * 16).to_be_bytes());
    for (lba, blocks) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    let length = list.len() as u16 - 2;
    list[..2].copy_from_slice(&length.to_be_bytes());
    list
}

pub fn populate(of: &[(u64, u32)]) -> Vec<u8> {
    ranges(vec![0; 14], of)
}

pub fn write_using(flags: u8, offset: u64, token: &[u8; TOKEN_BYTES], to: &[(u64, u32)]) -> Vec<u8> {
    let mut list = vec![0; 16];
    list[2] = flags;
    list[8..16].copy_from_slice(&offset.to_be_bytes());
    list.extend(token);
    list.extend([0; 6]);
    ranges(list, to)
}
