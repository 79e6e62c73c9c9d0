//! Commands with their parameter data, task management, resets, fault rules and a store that may fail or be late, against one unit.
//!
//! The first byte chooses the unit, then come steps (see [`Shell::step`]). A vector of bytes is the medium; with a unit of three terabytes there is none, and only the
//! limits are looked at. Every command ends once, no operation leaves the medium, nothing is sent that was not asked for, and in the end no task is left.

use std::collections::BTreeMap;

use device::{Device, Errand, Extent, Medium, Parameter, PortIdentity, StoreAnswer, StoreFault, StoreOp, StoreResult, UnitSettings};
use scsi::{Asc, BlockSize, DataIn, Lun, Outcome, RelativePort, Sense, SenseFormat, SenseKey, Status, TaskAttribute};
use target::reservation::Reservations;
use target::{Command, Effect, Function, FunctionKind, NexusId, NexusIdentity, PartEnd, TaskRef, TaskTag, Unit};

#[path = "cdb_copies.rs"]
mod copies;

const SMALL: u64 = 128 << 10;
const HUGE: u64 = 3 << 40;
/// Most bytes of data-out or data-in that an initiator of this harness speaks of.
const MAX_DATA: u32 = 512 << 10;
/// Most bytes that one command moves.
const MAX_TRANSFER: u32 = 32 << 20;
/// Most parameter bytes that a unit looks at.
const MAX_INLINE: u32 = 64 << 10;
/// Steps that are looked at: a few times the queue of any test below.
const MAX_STEPS: usize = 256;
/// Nexuses that are there at a time.
const NEXUSES: u64 = 3;

/// Fault rules that a step can add.
const RULES: [&str; 12] = [
    "op=WRITE,action=BUSY",
    "op=READ,lba=8,len=8,key=3,asc=0x1100",
    "op=WRITE10,action=HANG",
    "op=READ,pause=1,action=CHECK_CONDITION,key=4,asc=0x4400,repeat=2",
    "op=SYNC,key=3,asc=0x0c00",
    "op=UNMAP,action=TASK_SET_FULL",
    "op=WRITE_SAME,action=RESERVATION_CONFLICT,pct=50",
    "op=VERIFY,action=TASK_ABORTED",
    "op=READ10,action=DROP_CONNECTION",
    "op=INQUIRY,action=HANG",
    "op=0x89,pause=0.5,action=BUSY",
    "op=0x5f,action=HANG,repeat=1",
];

/// Carries the steps out.
pub fn run(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let mut shell = Shell::new(choice);
    let mut input = Input(rest);
    for _ in 0..MAX_STEPS {
        if input.0.is_empty() {
            break;
        }
        shell.step(&mut input);
        shell.carry_out();
    }
    shell.end();
}

/// Bytes that run out: then zeros come.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Something that the unit waits for.
enum Owed {
    Fetch { inline: bool, len: u32 },
    Store(StoreOp),
}

/// A command that has not ended.
struct Running {
    cdb: Vec<u8>,
    data_out: u32,
    payload: Vec<u8>,
    /// Bytes of data-out that were fetched.
    fetched: u32,
    /// Bytes of the payload that the store filled.
    filled: u32,
    owed: bool,
    attribute: TaskAttribute,
    /// The task set, when each nexus has its own.
    lane: Option<NexusId>,
    started: bool,
}

struct Shell {
    unit: Unit,
    medium: Vec<u8>,
    size: u64,
    writable: bool,
    late: bool,
    /// Nexus by place; a lost one gets a successor.
    nexuses: Vec<NexusId>,
    next_nexus: u64,
    running: BTreeMap<(NexusId, TaskTag), Running>,
    functions: Vec<(NexusId, TaskTag)>,
    owed: Vec<(TaskRef, Owed)>,
    /// Third-party copies under way, of the unit to itself, and whether a part of theirs is. Places are not used again.
    copies: Vec<Option<(TaskRef, bool)>>,
    /// What the unit asked for itself: one at a time.
    errand: Option<Errand>,
    next_tag: u32,
    next_rule: u64,
    now: u64,
}

fn medium(size: u64, choice: u8) -> Medium {
    Medium { bytes: size, read_only: choice & 8 != 0, can_discard: choice & 4 != 0, preferred: 4096, durable: choice & 2 != 0 }
}

impl Shell {
    fn new(choice: u8) -> Shell {
        let bit = |at: u8| choice & (1 << at) != 0;
        let size = if bit(1) { HUGE } else { SMALL };
        let settings = UnitSettings {
            tid: 1,
            lun: 1,
            block_size: if bit(0) { BlockSize::B4096 } else { BlockSize::B512 },
            vendor: "SCUZZY".into(),
            product: "VIRTUAL-DISK".into(),
            revision: "0001".into(),
            scsi_id: "IET     00010001".into(),
            scsi_sn: "beaf11".into(),
            unique: [0x60; 16],
            removable: bit(4),
            read_only: false,
            thin: bit(2),
        };
        let device = if bit(5) { Device::controller(settings) } else { Device::disk(settings, Some(medium(size, choice))) };
        let mut shell = Shell {
            unit: Unit::new(device, 7),
            medium: if bit(1) { Vec::new() } else { vec![0; size as usize] },
            size,
            writable: !bit(3),
            late: bit(6),
            nexuses: Vec::new(),
            next_nexus: 0,
            running: BTreeMap::new(),
            functions: Vec::new(),
            owed: Vec::new(),
            copies: Vec::new(),
            errand: None,
            next_tag: 0,
            next_rule: 0,
            now: 0,
        };
        shell.unit.set_keeping(bit(6));
        for place in 0..NEXUSES {
            let nexus = shell.attach(place);
            shell.nexuses.push(nexus);
        }
        shell
    }

    fn attach(&mut self, place: u64) -> NexusId {
        let nexus = NexusId(self.next_nexus);
        self.next_nexus += 1;
        let port = PortIdentity { target_name: "iqn.2026-01.test:disk".into(), group_tag: 1, relative_port: RelativePort(1) };
        self.unit.attach(nexus, NexusIdentity { initiator_name: format!("iqn.initiator{place}"), isid: [0; 6], port });
        nexus
    }

    fn nexus(&self, choice: u8) -> NexusId {
        self.nexuses[usize::from(choice) % self.nexuses.len()]
    }

    /// One step: kind in the low four bits, nexus in the next two, attribute in the highest two.
    fn step(&mut self, input: &mut Input<'_>) {
        let head = input.byte();
        let nexus = self.nexus(head >> 4 & 3);
        self.now += 1_000_000;
        self.end_errand(head);
        match head & 15 {
            0..=7 => self.command(nexus, head, input),
            8 => self.function(nexus, input),
            9 | 10 => self.let_store(input),
            11 => self.pass_time(u64::from(input.byte()) * 100_000_000),
            12 => self.rule(input),
            13 => self.lose(usize::from(head >> 4 & 3) % self.nexuses.len()),
            14 => self.administer(input),
            _ => {
                let unit = &mut self.unit;
                unit.reset(self.now);
            }
        }
    }

    fn command(&mut self, nexus: NexusId, head: u8, input: &mut Input<'_>) {
        let flags = input.byte();
        let (data_out, data_in) = (u32::from(input.short()) << (flags & 3), u32::from(input.short()) << (flags >> 2 & 3));
        let parameters = input.byte();
        let operation = input.byte();
        let len = match operation {
            0x7f => 32,
            0x00..=0x1f => 6,
            0x20..=0x5f => 10,
            0xa0..=0xbf => 12,
            _ => 16,
        };
        let mut cdb = vec![operation];
        cdb.extend_from_slice(input.take(len - 1));
        cdb.resize(16.max(len), 0);
        let mut payload = input.take(usize::from(parameters)).to_vec();
        payload.resize(data_out.min(MAX_DATA) as usize, 0x5a);
        let attribute = [TaskAttribute::Simple, TaskAttribute::Ordered, TaskAttribute::HeadOfQueue, TaskAttribute::Aca][usize::from(head >> 6)];
        let tag = TaskTag(self.next_tag);
        self.next_tag += 1;
        let (data_out, data_in) = (data_out.min(MAX_DATA), data_in.min(MAX_DATA));
        let lane = self.unit.device().separate_task_sets().then_some(nexus);
        let running = Running { cdb: cdb.clone(), data_out, payload, fetched: 0, filled: 0, owed: false, attribute, lane, started: false };
        self.running.insert((nexus, tag), running);
        let command = Command {
            nexus,
            tag,
            lun: Lun::default(),
            cdb: &cdb,
            attribute,
            data_out,
            data_in,
            luns: &[0, 1, 300],
            unit_exists: flags & 0xf0 != 0xf0,
        };
        self.unit.handle_command(command, self.now);
    }

    fn function(&mut self, nexus: NexusId, input: &mut Input<'_>) {
        let (kind, back) = (input.byte(), input.byte());
        let referenced = TaskTag(self.next_tag.wrapping_sub(u32::from(back)));
        let kind = match kind % 9 {
            0 => FunctionKind::AbortTask(referenced),
            1 => FunctionKind::AbortTaskSet,
            2 => FunctionKind::ClearAca,
            3 => FunctionKind::ClearTaskSet,
            4 => FunctionKind::LogicalUnitReset,
            5 => FunctionKind::QueryTask(referenced),
            6 => FunctionKind::QueryTaskSet,
            7 => FunctionKind::QueryAsynchronousEvent,
            _ => FunctionKind::NexusReset,
        };
        let tag = TaskTag(self.next_tag);
        self.next_tag += 1;
        self.functions.push((nexus, tag));
        self.unit.handle_function(Function { nexus, tag, kind }, self.now);
    }

    /// One of the things that the unit waits for happens.
    fn let_store(&mut self, input: &mut Input<'_>) {
        let (which, how) = (input.byte(), input.byte());
        if !self.owed.is_empty() {
            let (task, owed) = self.owed.remove(usize::from(which) % self.owed.len());
            self.settle(task, owed, how);
        }
    }

    fn pass_time(&mut self, by: u64) {
        self.now += by;
        if self.unit.poll_timeout().is_some_and(|at| at <= self.now) {
            self.unit.handle_timeout(self.now);
            assert!(self.unit.poll_timeout().is_none_or(|at| at > self.now), "a timeout that stays due");
        }
    }

    fn rule(&mut self, input: &mut Input<'_>) {
        let which = input.byte();
        if let Some(text) = RULES.get(usize::from(which)) {
            let spec = fault::grammar::parse(text).expect("the rules are right");
            self.unit.faults_mut().insert(fault::RuleId(self.next_rule), spec);
            self.next_rule += 1;
        } else if which & 1 != 0 {
            let id = fault::RuleId(u64::from(which >> 1) % self.next_rule.max(1));
            self.unit.faults_mut().remove(id);
            self.unit.release_hung(Some(id), self.now);
        } else {
            self.unit.faults_mut().clear();
            self.unit.release_hung(None, self.now);
        }
    }

    /// The nexus is lost, and its initiator logs in again.
    fn lose(&mut self, place: usize) {
        let old = self.nexuses[place];
        self.unit.detach(old);
        self.functions.retain(|(nexus, _)| *nexus != old);
        self.nexuses[place] = self.attach(place as u64);
    }

    fn administer(&mut self, input: &mut Input<'_>) {
        let (which, value) = (input.byte(), input.byte());
        let device = self.unit.device_mut();
        let is_disk = device.device_type() == scsi::DeviceType::DISK;
        let on = value & 1 != 0;
        let _ = match which % 12 {
            0 => device.set(Parameter::Online(on)),
            1 => device.set(Parameter::ReadOnly(on)),
            2 => device.set(Parameter::Removable(on)),
            3 => device.set(Parameter::ThinProvisioning(on)),
            4 => device.set(Parameter::SenseFormat(if on { SenseFormat::Descriptor } else { SenseFormat::Fixed })),
            5 => device.set(Parameter::Lbppbe(value)),
            6 => device.set(Parameter::LowestAlignedLba(u16::from(value) << 8)),
            7 => device.set(Parameter::ModePage {
                page: value,
                subpage: 0,
                size: u16::from(value),
                data: input.take(usize::from(value & 31)).to_vec(),
            }),
            8 => device.set(Parameter::ProductId("é".repeat(usize::from(value)))),
            9 => device.set(Parameter::OptimalTransferLength(u32::from(value) << 24)),
            10 if is_disk && self.size != HUGE => {
                // The store of another medium: the old one is let go first, as the daemon does.
                self.size = SMALL >> (value & 3);
                device.set_medium((value & 0x80 == 0).then(|| medium(self.size, if self.writable { value & 6 } else { 8 })));
                Ok(())
            }
            _ => device.set(Parameter::ScsiSn(String::from_utf8_lossy(input.take(usize::from(value))).into_owned())),
        };
        self.unit.publish_notices();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.unit.poll_effect() {
            match effect {
                Effect::Fetch { task, len, inline } => {
                    let running = self.begin(task);
                    assert!(len <= running.data_out, "{len} of {} bytes", running.data_out);
                    assert!(!inline || len <= MAX_INLINE, "{len} bytes of parameters");
                    self.owe(task, Owed::Fetch { inline, len });
                }
                Effect::Store { task, op, .. } => {
                    self.check_operation(task, &op);
                    self.check_alone(task, &op);
                    self.owe(task, Owed::Store(op));
                }
                Effect::Errand(errand) => self.begin_errand(errand),
                Effect::Persist { task, bytes } => {
                    let sound = bytes.is_empty() || Reservations::restored(&bytes).is_some_and(|found| found.kept() == bytes);
                    assert!(sound, "what is kept cannot be read: {bytes:?}");
                    // Every seventh or so fails.
                    self.unit.handle_persisted(task, bytes.len() % 7 != 6, self.now);
                }
                Effect::Respond { task, outcome } => {
                    self.respond(task, &outcome);
                    self.part_ended(task, PartEnd::Outcome(outcome));
                }
                Effect::Aborted { task, why } if task.part && task.slot == u32::MAX => self.part_ended(task, PartEnd::Aborted(why)),
                Effect::Aborted { task, why } => {
                    let running = self.running.remove(&key(task)).expect("abort of a task that is not there");
                    assert!(!running.owed || !self.stores_for(task), "aborted while the store works for it");
                    self.owed.retain(|(owed, _)| *owed != task);
                    self.part_ended(task, PartEnd::Aborted(why));
                }
                Effect::FunctionDone { nexus, tag, .. } => {
                    let at = self.functions.iter().position(|function| *function == (nexus, tag)).expect("an answer to no function");
                    self.functions.remove(at);
                }
                Effect::Drop { nexus } => {
                    if let Some(place) = self.nexuses.iter().position(|known| *known == nexus) {
                        self.lose(place);
                    }
                }
                copies => self.copy(copies),
            }
        }
    }

    /// The unit's own operations stay on the medium, change nothing that is protected, and come one by one.
    fn begin_errand(&mut self, errand: Errand) {
        assert!(self.errand.is_none(), "{errand:?} beside {:?}", self.errand);
        let (offset, len) = place(&errand.op);
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.size), "{errand:?} on {} bytes", self.size);
        let reads = matches!(errand.op, StoreOp::Check { .. } | StoreOp::Flush { .. });
        assert!(self.writable || reads, "{errand:?} on a read-only medium");
        if let StoreOp::Fill { payload, pattern, .. } = errand.op {
            assert!(u64::from(payload) + u64::from(pattern) <= errand.payload.len() as u64, "{errand:?}");
        }
        self.errand = Some(errand);
    }

    fn end_errand(&mut self, how: u8) {
        if let Some(errand) = self.errand.take() {
            let (offset, len) = place(&errand.op);
            let bytes = usize::try_from(offset).ok().zip(usize::try_from(offset + len).ok()).and_then(|(start, end)| self.medium.get_mut(start..end));
            if let (StoreOp::Zero { .. } | StoreOp::Discard { .. }, Some(bytes)) = (errand.op, bytes) {
                bytes.fill(0);
            }
            let fault = if how & 15 == 9 { failure(0xf0 | how >> 4) } else { None };
            let result = fault.map_or(Ok(StoreAnswer::Done), Err);
            self.unit.handle_errand(errand.number, result, self.now);
        }
    }

    fn stores_for(&self, task: TaskRef) -> bool {
        self.owed.iter().any(|(owed, what)| *owed == task && matches!(what, Owed::Store(_)))
    }

    fn begin(&mut self, task: TaskRef) -> &mut Running {
        self.check_order(task);
        let running = self.running.get_mut(&key(task)).expect("work for a task that is not there");
        assert!(!running.owed, "two things at once for one task");
        running.owed = true;
        running
    }

    /// An ORDERED task starts when all older ones have ended, a SIMPLE one when the older ORDERED ones have; tags tell the age.
    fn check_order(&mut self, task: TaskRef) {
        let key = key(task);
        let Some(running) = self.running.get_mut(&key).filter(|running| !running.started) else { return };
        running.started = true;
        let (attribute, lane) = (running.attribute, running.lane);
        // PREEMPT AND ABORT may come while an auto contingent allegiance stops everything else.
        let preempts = running.cdb[0] == 0x5f && running.cdb[1] & 0x1f == 0x05;
        let mut older = self.running.iter().filter(|((_, tag), other)| *tag < task.tag && other.lane == lane);
        let blocked = match attribute {
            _ if preempts => false,
            TaskAttribute::Ordered => older.next().is_some(),
            TaskAttribute::HeadOfQueue | TaskAttribute::Aca => false,
            _ => older.any(|(_, other)| other.attribute == TaskAttribute::Ordered),
        };
        assert!(!blocked, "{attribute:?} task {task:?} overtakes");
    }

    /// Nothing else happens to the blocks of a COMPARE AND WRITE at the same time.
    fn check_alone(&self, task: TaskRef, op: &StoreOp) {
        let is_atomic = |task: &TaskRef| self.running.get(&key(*task)).is_some_and(|running| running.cdb[0] == 0x89);
        let touches = |op: &StoreOp| !matches!(op, StoreOp::Flush { .. } | StoreOp::Prefetch { .. } | StoreOp::Extents { .. });
        let (start, len) = place(op);
        for (other, owed) in &self.owed {
            if let Owed::Store(theirs) = owed
                && touches(op)
                && touches(theirs)
                && (is_atomic(&task) || is_atomic(other))
            {
                let (their_start, their_len) = place(theirs);
                assert!(start + len <= their_start || their_start + their_len <= start, "{op:?} beside {theirs:?}");
            }
        }
    }

    fn owe(&mut self, task: TaskRef, owed: Owed) {
        if self.late { self.owed.push((task, owed)) } else { self.settle(task, owed, 0) }
    }

    fn check_operation(&mut self, task: TaskRef, op: &StoreOp) {
        let (size, writable) = (self.size, self.writable);
        let block = u64::from(self.unit.device().block_size().bytes());
        let running = self.begin(task);
        let writes =
            matches!(op, StoreOp::Write { .. } | StoreOp::WriteSame { .. } | StoreOp::Fill { .. } | StoreOp::Zero { .. } | StoreOp::Discard { .. });
        assert!(writable || !writes, "{op:?} on a read-only medium");
        let (offset, len) = place(op);
        assert!(offset.checked_add(len).is_some_and(|end| end <= size), "{op:?} on {size} bytes");
        assert!(offset % block == 0 && len % block == 0, "{op:?} with blocks of {block}");
        let needed = match *op {
            StoreOp::Write { len, payload, .. } | StoreOp::Compare { len, payload, .. } => u64::from(payload) + u64::from(len),
            StoreOp::CompareSame { block, .. } | StoreOp::WriteSame { block, .. } => block.into(),
            StoreOp::Fill { payload, pattern, .. } => u64::from(payload) + u64::from(pattern),
            StoreOp::Or { len, .. } => len.into(),
            _ => 0,
        };
        assert!(needed <= running.fetched.into(), "{op:?} with {} bytes of data-out", running.fetched);
        if let StoreOp::Read { len, .. } = op {
            assert!(*len <= MAX_TRANSFER, "{op:?} for {:02x?}", running.cdb);
        }
    }

    fn settle(&mut self, task: TaskRef, owed: Owed, how: u8) {
        match owed {
            Owed::Fetch { inline, len } => {
                let Some(running) = self.running.get_mut(&key(task)) else { return };
                running.owed = false;
                running.fetched = running.fetched.max(len);
                let data = if inline { running.payload[..len as usize].to_vec() } else { Vec::new() };
                self.unit.handle_fetched(task, &data, self.now);
            }
            Owed::Store(op) => {
                let result = failure(how).map_or_else(|| self.operate(task, op), Err);
                if let Some(running) = self.running.get_mut(&key(task)) {
                    running.owed = false;
                }
                self.unit.handle_stored(task, result, self.now);
            }
        }
    }

    /// The store, on the model of the medium.
    fn operate(&mut self, task: TaskRef, op: StoreOp) -> StoreResult {
        let (offset, len) = place(&op);
        let Some(running) = self.running.get_mut(&key(task)) else { return Err(StoreFault::Gone) };
        if let StoreOp::Read { len, .. } = op {
            running.filled = running.filled.max(len);
        }
        let Some(bytes) =
            usize::try_from(offset).ok().zip(usize::try_from(offset + len).ok()).and_then(|(start, end)| self.medium.get_mut(start..end))
        else {
            // Three terabytes of nothing: what is compared agrees, what is asked for is not allocated.
            return Ok(match op {
                StoreOp::Compare { .. } | StoreOp::CompareSame { .. } => StoreAnswer::Equal,
                StoreOp::Extents { .. } => StoreAnswer::Extents(vec![Extent { offset, len, mapped: false }]),
                _ => StoreAnswer::Done,
            });
        };
        match op {
            StoreOp::Write { payload, .. } => bytes.copy_from_slice(&running.payload[payload as usize..][..bytes.len()]),
            StoreOp::Compare { payload, .. } => return Ok(compared(bytes.iter().zip(&running.payload[payload as usize..]))),
            StoreOp::CompareSame { block, .. } => return Ok(compared(bytes.iter().zip(running.payload[..block as usize].iter().cycle()))),
            StoreOp::WriteSame { block, .. } => {
                bytes.chunks_exact_mut(block as usize).for_each(|part| part.copy_from_slice(&running.payload[..block as usize]))
            }
            StoreOp::Fill { block, payload, pattern, invert, .. } => {
                let turn = if invert { 0xff } else { 0x00 };
                for part in bytes.chunks_mut(block as usize) {
                    let pattern = running.payload[payload as usize..][..pattern as usize].iter().cycle();
                    part.iter_mut().zip(pattern).for_each(|(to, from)| *to = from ^ turn);
                }
            }
            StoreOp::Or { .. } => running.payload.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to |= from),
            StoreOp::Zero { .. } | StoreOp::Discard { .. } => bytes.fill(0),
            StoreOp::Extents { max, .. } => return Ok(StoreAnswer::Extents(extents(bytes, offset, max))),
            _ => {}
        }
        Ok(StoreAnswer::Done)
    }

    fn respond(&mut self, task: TaskRef, outcome: &Outcome) {
        let running = self.running.remove(&key(task)).expect("an answer to no command, or a second one");
        assert!(!running.owed || !self.stores_for(task), "answered while the store works for it");
        self.owed.retain(|(owed, _)| *owed != task);
        assert!(outcome.status.name().is_some(), "{outcome:?}");
        let told = outcome.sense.is_some_and(|sense| sense.key != SenseKey::COMPLETED);
        assert_eq!(told, outcome.status == Status::CHECK_CONDITION, "{outcome:?}");
        if let Some(sense) = &outcome.sense {
            check_sense(sense);
        }
        let well = matches!(outcome.status, Status::GOOD | Status::CONDITION_MET);
        match &outcome.data_in {
            DataIn::None => {}
            DataIn::Inline(bytes) => {
                let allocation = allocation(&running.cdb);
                assert!(well && allocation.is_none_or(|limit| bytes.len() as u64 <= limit), "{} bytes to {:02x?}", bytes.len(), running.cdb);
            }
            DataIn::Payload { len } => assert!(well && *len <= running.filled, "{len} bytes where the store filled {}", running.filled),
        }
    }

    /// Auto contingent allegiances end when their initiators say so.
    fn clear_contingent(&mut self) {
        for place in 0..self.nexuses.len() {
            let (nexus, tag) = (self.nexuses[place], TaskTag(self.next_tag));
            self.next_tag += 1;
            self.functions.push((nexus, tag));
            self.unit.handle_function(Function { nexus, tag, kind: FunctionKind::ClearAca }, self.now);
        }
    }

    /// Everything is brought to an end.
    fn end(&mut self) {
        self.unit.faults_mut().clear();
        self.unit.release_hung(None, self.now);
        // A scan would go on for ever; commands never wait for what the unit does on its own.
        self.unit.retire();
        for turn in 0..10_000 {
            self.carry_out();
            // Several commands that write all of three terabytes may be under way; a reset ends them after their next operation.
            if turn == 5_000 {
                self.unit.reset(self.now);
            }
            if let Some((task, owed)) = self.owed.pop() {
                self.settle(task, owed, 0);
            } else if let Some(at) = self.unit.poll_timeout() {
                self.now = self.now.max(at);
                self.pass_time(0);
            } else if !self.running.is_empty() && turn < 9_000 {
                self.clear_contingent();
            } else {
                break;
            }
        }
        assert!(self.running.is_empty(), "never ended: {:?}", self.running.keys());
        assert!(self.functions.is_empty(), "never answered: {:?}", self.functions);
        assert_eq!(self.unit.active_tasks(), 0);
        assert!(self.copies.iter().all(Option::is_none), "copies are left over");
        for place in 0..self.nexuses.len() {
            self.unit.detach(self.nexuses[place]);
        }
        self.carry_out();
        assert!(self.unit.poll_timeout().is_none(), "a unit without nexuses waits for something");
    }
}

/// Set in the tags of parts of copies, to tell them from those of commands.
const PART: u32 = 1 << 31;

/// How a task is called in the list of those that run.
fn key(task: TaskRef) -> (NexusId, TaskTag) {
    (task.nexus, TaskTag(if task.part { task.tag.0 | PART } else { task.tag.0 }))
}

/// How a late store fails, if it does.
fn failure(how: u8) -> Option<StoreFault> {
    Some(match how {
        0xf0 => StoreFault::NoSpace,
        0xf1 => StoreFault::ReadOnly,
        0xf2 => StoreFault::Io { at: None },
        0xf3 => StoreFault::Io { at: Some(512) },
        0xf4 => StoreFault::Io { at: Some(u64::MAX) },
        0xf5 => StoreFault::Unsupported,
        0xf6 => StoreFault::Gone,
        0xf7 => StoreFault::Injected { key: SenseKey::MEDIUM_ERROR, asc: Asc::WRITE_ERROR },
        _ => return None,
    })
}

/// First byte and number of bytes of an operation.
fn place(op: &StoreOp) -> (u64, u64) {
    match *op {
        StoreOp::Read { offset, len } | StoreOp::Write { offset, len, .. } | StoreOp::Compare { offset, len, .. } => (offset, len.into()),
        StoreOp::Or { offset, len } => (offset, len.into()),
        StoreOp::CompareSame { offset, len, .. }
        | StoreOp::Fill { offset, len, .. }
        | StoreOp::Check { offset, len }
        | StoreOp::WriteSame { offset, len, .. }
        | StoreOp::Zero { offset, len, .. }
        | StoreOp::Discard { offset, len }
        | StoreOp::Flush { offset, len }
        | StoreOp::Prefetch { offset, len }
        | StoreOp::Extents { offset, len, .. } => (offset, len),
    }
}

fn compared<'a>(mut pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> StoreAnswer {
    pairs.position(|(left, right)| left != right).map_or(StoreAnswer::Equal, |at| StoreAnswer::Differs { at: at as u64 })
}

/// Runs of 4096 bytes that are all zero are not allocated.
fn extents(bytes: &[u8], offset: u64, max: u32) -> Vec<Extent> {
    let mut found: Vec<Extent> = Vec::new();
    let mut at = offset;
    for part in bytes.chunks(4096) {
        let (len, mapped) = (part.len() as u64, part.iter().any(|byte| *byte != 0));
        let full = found.len() as u64 == u64::from(max);
        match found.last_mut() {
            Some(last) if last.mapped == mapped => last.len += len,
            _ if full => break,
            _ => found.push(Extent { offset: at, len, mapped }),
        }
        at += len;
    }
    found
}

/// Both formats say the same, as far as they can.
fn check_sense(sense: &Sense) {
    for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
        let bytes = sense.encode(format);
        assert!(bytes.len() >= 8 && bytes.len() <= 252);
        let again = Sense::decode(&bytes).expect("our own sense data are sense data");
        assert_eq!((again.key, again.asc), (sense.key, sense.asc), "{bytes:02x?}");
    }
    assert!(sense.key.name().is_some());
}

/// ALLOCATION LENGTH of the commands that have one.
fn allocation(cdb: &[u8]) -> Option<u64> {
    let number = |from: usize, to: usize| cdb[from..to].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    match (cdb[0], cdb[1] & 0x1f) {
        (0x03 | 0x1a, _) => Some(number(4, 5)),
        (0x12, _) => Some(number(3, 5)),
        (0x5a | 0x5e, _) => Some(number(7, 9)),
        (0x9e | 0x84, _) => Some(number(10, 14)),
        (0xa0 | 0xa3, _) => Some(number(6, 10)),
        (0x25, _) => Some(8),
        _ => None,
    }
}
