//! A shell for tests: it carries out effects on a small medium, when the test says so.

use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use device::{Device, Errand, Medium, PortIdentity, StoreAnswer, StoreOp, StoreResult, UnitSettings};
use fault::RuleId;
use scsi::{BlockSize, DataIn, Lun, Outcome, RelativePort, Status, TaskAttribute};

use crate::effect::{Abort, Command, Effect, Function, FunctionKind, FunctionResponse, NexusId, NexusIdentity, TaskRef, TaskTag};
use crate::unit::Unit;

pub const BLOCK: usize = 512;
pub const BLOCKS: usize = 64;

/// What came out of the unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nexus, tag, outcome.
    Done(u64, u32, Outcome),
    Aborted(u64, u32, Abort),
    Function(u64, u32, FunctionResponse),
    Dropped(u64),
}

pub struct Bench {
    pub unit: Unit,
    pub now: u64,
    pub medium: Vec<u8>,
    /// Data-out of the commands, by nexus and tag.
    pub payload: BTreeMap<(u64, u32), Vec<u8>>,
    pub fetches: Vec<(TaskRef, u32, bool)>,
    pub stores: Vec<(TaskRef, StoreOp)>,
    /// What the unit itself asks of the store.
    pub errands: Vec<Errand>,
    /// What is to be made durable.
    pub persists: Vec<(TaskRef, Vec<u8>)>,
    pub events: Vec<Event>,
    next_tag: u32,
}

pub fn identity(nexus: u64) -> NexusIdentity {
    let port = PortIdentity { target_name: String::from("iqn.2026-01.example:target"), group_tag: 1, relative_port: RelativePort(1) };
    NexusIdentity { initiator_name: format!("iqn.2026-01.example:{nexus}"), isid: [0x80, 0, 0, 0, 0, 0], port }
}

pub fn disk() -> Device {
    disk_of(1, BlockSize::B512)
}

/// The disk at this unit number, of [`BLOCKS`] times [`BLOCK`] bytes.
pub fn disk_of(lun: u64, block_size: BlockSize) -> Device {
    let settings = UnitSettings {
        tid: 1,
        lun,
        block_size,
        vendor: String::from("SCUZZY"),
        product: String::from("DISK"),
        revision: String::from("1"),
        scsi_id: format!("id{lun:04}"),
        scsi_sn: String::from("sn"),
        unique: [u8::try_from(lun).unwrap_or(7); 16],
        removable: false,
        read_only: false,
        thin: true,
    };
    let medium = Medium { bytes: (BLOCK * BLOCKS) as u64, read_only: false, can_discard: true, preferred: 0, durable: false };
    Device::disk(settings, Some(medium))
}

impl Bench {
    /// A disk with `nexuses` attached (1 ..), each of which has heard its power on.
    pub fn new(nexuses: u64) -> Bench {
        let mut bench = Bench::fresh(nexuses);
        for nexus in 1..=nexuses {
            assert_eq!(bench.sense(nexus, &[0; 6]), (6, 0x2900));
        }
        bench.events.clear();
        bench
    }

    /// The same, with the unit attentions pending.
    pub fn fresh(nexuses: u64) -> Bench {
        let mut unit = Unit::new(disk(), 1);
        for nexus in 1..=nexuses {
            unit.attach(NexusId(nexus), identity(nexus));
        }
        Bench {
            unit,
            now: 0,
            medium: vec![0; BLOCK * BLOCKS],
            payload: BTreeMap::new(),
            fetches: Vec::new(),
            stores: Vec::new(),
            errands: Vec::new(),
            persists: Vec::new(),
            events: Vec::new(),
            next_tag: 1000,
        }
    }

    /// Sends a command; what it wants is collected.
    pub fn send(&mut self, nexus: u64, tag: u32, attribute: TaskAttribute, cdb: &[u8], data: &[u8]) {
        self.send_to(nexus, tag, attribute, cdb, data, true);
    }

    pub fn send_to(&mut self, nexus: u64, tag: u32, attribute: TaskAttribute, cdb: &[u8], data: &[u8], unit_exists: bool) {
        self.payload.insert((nexus, tag), data.to_vec());
        let command = Command {
            nexus: NexusId(nexus),
            tag: TaskTag(tag),
            lun: Lun::default(),
            cdb,
            attribute,
            data_out: data.len() as u32,
            data_in: if data.is_empty() { 4096 } else { 0 },
            luns: &[0, 1, 300, 0xc101],
            unit_exists,
        };
        self.unit.handle_command(command, self.now);
        self.collect();
    }

    pub fn simple(&mut self, nexus: u64, tag: u32, cdb: &[u8], data: &[u8]) {
        self.send(nexus, tag, TaskAttribute::Simple, cdb, data);
    }

    pub fn function(&mut self, nexus: u64, tag: u32, kind: FunctionKind) {
        self.unit.handle_function(Function { nexus: NexusId(nexus), tag: TaskTag(tag), kind }, self.now);
        self.collect();
    }

    pub fn detach(&mut self, nexus: u64) {
        self.unit.detach(NexusId(nexus));
        self.collect();
    }

    pub fn advance(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
        self.unit.handle_timeout(self.now);
        self.collect();
    }

    pub fn rule(&mut self, id: u64, text: &str) {
        self.unit.faults_mut().insert(RuleId(id), fault::grammar::parse(text).unwrap());
    }

    pub fn collect(&mut self) {
        while let Some(effect) = self.unit.poll_effect() {
            match effect {
                Effect::Fetch { task, len, inline } => self.fetches.push((task, len, inline)),
                Effect::Store { task, op, .. } => self.stores.push((task, op)),
                Effect::Errand(errand) => {
                    self.errands.push(errand);
                    assert_eq!(self.errands.len(), 1, "one at a time");
                }
                Effect::Persist { task, bytes } => self.persists.push((task, bytes)),
                Effect::Respond { task, outcome } => self.end(task, Event::Done(task.nexus.0, task.tag.0, outcome)),
                Effect::Aborted { task, why } => self.end(task, Event::Aborted(task.nexus.0, task.tag.0, why)),
                Effect::FunctionDone { nexus, tag, response } => self.events.push(Event::Function(nexus.0, tag.0, response)),
                Effect::Drop { nexus } => self.events.push(Event::Dropped(nexus.0)),
                // Copies have a room of several units: `copy/testing.rs`.
                copies => panic!("{copies:?}"),
            }
        }
    }

    fn end(&mut self, task: TaskRef, event: Event) {
        assert!(!self.stores.iter().any(|(running, _)| *running == task), "ended while its store operation runs: {event:?}");
        self.fetches.retain(|(fetching, ..)| *fetching != task);
        self.events.push(event);
    }

    /// Brings the data of the `at`th fetch.
    pub fn fetch(&mut self, at: usize) {
        let (task, len, inline) = self.fetches.remove(at);
        let data = &self.payload[&(task.nexus.0, task.tag.0)];
        assert!(len as usize <= data.len());
        let data = data[..len as usize].to_vec();
        self.unit.handle_fetched(task, if inline { &data } else { &[] }, self.now);
        self.collect();
    }

    /// Carries out the `at`th store operation.
    pub fn store(&mut self, at: usize) {
        let (task, op) = self.stores.remove(at);
        let result = self.carry_out(task, op);
        self.unit.handle_stored(task, result, self.now);
        self.collect();
    }

    /// Carries out what the unit itself asked for, once.
    pub fn errand(&mut self) {
        let errand = self.errands.remove(0);
        if let StoreOp::Zero { offset, len, .. } | StoreOp::Discard { offset, len } = errand.op {
            self.medium[offset as usize..(offset + len) as usize].fill(0);
        }
        self.unit.handle_errand(errand.number, Ok(StoreAnswer::Done), self.now);
        self.collect();
    }

    pub fn store_with(&mut self, at: usize, result: StoreResult) {
        let (task, _) = self.stores.remove(at);
        self.unit.handle_stored(task, result, self.now);
        self.collect();
    }

    fn carry_out(&mut self, task: TaskRef, op: StoreOp) -> StoreResult {
        carry_out(self.payload.entry((task.nexus.0, task.tag.0)).or_default(), &mut self.medium, op)
    }

    /// Answers everything until nothing is left to do.
    pub fn run(&mut self) {
        while !self.fetches.is_empty() || !self.stores.is_empty() {
            if self.fetches.is_empty() { self.store(0) } else { self.fetch(0) }
        }
    }

    /// Runs one command to its end.
    pub fn outcome(&mut self, nexus: u64, cdb: &[u8], data: &[u8]) -> Outcome {
        self.next_tag += 1;
        let tag = self.next_tag;
        self.simple(nexus, tag, cdb, data);
        self.run();
        match self.events.pop() {
            Some(Event::Done(by, with, outcome)) if (by, with) == (nexus, tag) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub fn status(&mut self, nexus: u64, cdb: &[u8], data: &[u8]) -> Status {
        self.outcome(nexus, cdb, data).status
    }

    /// Sense key and code of a command without data.
    pub fn sense(&mut self, nexus: u64, cdb: &[u8]) -> (u8, u16) {
        self.outcome(nexus, cdb, &[]).sense.map_or((0, 0), |sense| (sense.key.0, sense.asc.0))
    }

    pub fn data(&mut self, nexus: u64, cdb: &[u8]) -> Vec<u8> {
        match self.outcome(nexus, cdb, &[]) {
            Outcome { status: Status::GOOD, data_in: DataIn::Inline(bytes), .. } => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub fn attention(&mut self, nexus: u64) -> Option<u16> {
        match self.sense(nexus, &[0; 6]) {
            (6, asc) => Some(asc),
            (0, 0) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Tags of commands that ended with an outcome since the last call, in order.
    pub fn done(&mut self) -> Vec<u32> {
        let events = core::mem::take(&mut self.events);
        events.iter().filter_map(|event| if let Event::Done(_, tag, _) = event { Some(*tag) } else { None }).collect()
    }
}

/// Does to a medium what a store would.
pub fn carry_out(payload: &mut Vec<u8>, medium: &mut [u8], op: StoreOp) -> StoreResult {
    let span = |offset: u64, len: u64| offset as usize..(offset + len) as usize;
    match op {
        StoreOp::Read { offset, len } => *payload = medium[span(offset, u64::from(len))].to_vec(),
        StoreOp::Write { offset, len, payload: at, .. } => {
            medium[span(offset, u64::from(len))].copy_from_slice(&payload[span(u64::from(at), u64::from(len))]);
        }
        StoreOp::Compare { offset, len, payload: at } => {
            let (left, right) = (&medium[span(offset, u64::from(len))], &payload[span(u64::from(at), u64::from(len))]);
            return Ok(match left.iter().zip(right).position(|(left, right)| left != right) {
                Some(at) => StoreAnswer::Differs { at: at as u64 },
                None => StoreAnswer::Equal,
            });
        }
        StoreOp::Or { offset, len } => {
            payload.iter_mut().zip(&medium[span(offset, u64::from(len))]).for_each(|(to, from)| *to |= from);
        }
        StoreOp::CompareSame { .. } => return Ok(StoreAnswer::Equal),
        StoreOp::Zero { offset, len, .. } | StoreOp::Discard { offset, len } => medium[span(offset, len)].fill(0),
        StoreOp::Extents { .. } => return Ok(StoreAnswer::Extents(Vec::new())),
        StoreOp::Check { .. } | StoreOp::Fill { .. } | StoreOp::WriteSame { .. } | StoreOp::Flush { .. } | StoreOp::Prefetch { .. } => {}
    }
    Ok(StoreAnswer::Done)
}

pub fn read(lba: u8, blocks: u8) -> [u8; 10] {
    [0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0]
}

pub fn write(lba: u8, blocks: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, lba, 0, 0, blocks, 0]
}

pub fn compare_and_write(lba: u8, blocks: u8) -> [u8; 16] {
    [0x89, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, blocks, 0, 0]
}

pub fn blocks(value: u8, count: usize) -> Vec<u8> {
    vec![value; BLOCK * count]
}

pub fn reserve_out(action: u8, kind: u8, key: u64, service_action_key: u64) -> ([u8; 10], Vec<u8>) {
    let mut list = vec![0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&service_action_key.to_be_bytes());
    ([0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], list)
}
