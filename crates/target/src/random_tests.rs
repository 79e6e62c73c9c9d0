//! Random commands, functions, resets, logins, failures and faults against one unit; what must hold, holds after every step.

use super::*;
use crate::effect::{FunctionKind, TaskTag};
use crate::management::FUNCTION_LIMIT;
use crate::task::span;
use crate::testing::{Bench, Event, blocks, compare_and_write, disk, identity, read, reserve_out, write};
use device::{StoreFault, StoreOp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;

#[derive(Clone, Copy, Debug)]
enum What {
    Read,
    Write,
    CompareAndWrite,
    WriteAndVerify,
    Unmap,
    TestUnitReady,
    Synchronize,
    ReportLuns,
    ReserveOut(u8, u8),
    /// Control mode page: bytes 2 to 5.
    Control([u8; 4]),
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Send { who: usize, what: What, attribute: TaskAttribute, lba: u8, blocks: u8, naca: bool },
    Fetch(usize),
    Store(usize),
    StoreFails(usize),
    Function { who: usize, kind: u8, victim: usize },
    Login(usize),
    Logout(usize),
    Reset,
    Rule(u8),
    Heal,
    Wait(u64),
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => Just(What::Read),
        4 => Just(What::Write),
        4 => Just(What::CompareAndWrite),
        1 => Just(What::WriteAndVerify),
        1 => Just(What::Unmap),
        2 => Just(What::TestUnitReady),
        1 => Just(What::Synchronize),
        1 => Just(What::ReportLuns),
        2 => (0u8..9, 1u8..9).prop_map(|(action, kind)| What::ReserveOut(action, kind)),
        1 => (any::<bool>(), prop::sample::select(vec![0u8, 2, 6]), prop::sample::select(vec![0u8, 0x20, 0x30]), any::<bool>())
            .prop_map(|(separate, errors, interlock, tas)| {
                What::Control([0x02 | u8::from(separate) << 5, 0x10 | errors, interlock, u8::from(tas) << 6])
            }),
    ]
}

fn attribute() -> impl Strategy<Value = TaskAttribute> {
    prop_oneof![
        6 => Just(TaskAttribute::Simple),
        2 => Just(TaskAttribute::Ordered),
        1 => Just(TaskAttribute::HeadOfQueue),
        1 => Just(TaskAttribute::Aca),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        12 => (0usize..3, what(), attribute(), 0u8..8, 1u8..4, prop::bool::weighted(0.2))
            .prop_map(|(who, what, attribute, lba, blocks, naca)| Input::Send { who, what, attribute, lba, blocks, naca }),
        8 => any::<usize>().prop_map(Input::Fetch),
        10 => any::<usize>().prop_map(Input::Store),
        1 => any::<usize>().prop_map(Input::StoreFails),
        2 => (0usize..3, 0u8..10, any::<usize>()).prop_map(|(who, kind, victim)| Input::Function { who, kind, victim }),
        1 => (0usize..3).prop_map(Input::Login),
        1 => (0usize..3).prop_map(Input::Logout),
        1 => Just(Input::Reset),
        1 => (0..2 * FUNCTION_LIMIT).prop_map(Input::Wait),
        2 => (0u8..6).prop_map(Input::Rule),
        1 => Just(Input::Heal),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Living {
    sequence: u64,
    attribute: TaskAttribute,
    started: bool,
}

/// The bench, and what must be true of it.
struct Model {
    bench: Bench,
    /// Living session of each initiator.
    sessions: [Option<u64>; 3],
    next_session: u64,
    next_tag: u32,
    sequence: u64,
    living: BTreeMap<(u64, u32), Living>,
    functions: BTreeSet<(u64, u32)>,
    /// Sessions with a power on or reset to hear of.
    power_on: BTreeSet<u64>,
    /// Look at the order of starts: not when faults delay them.
    strict: bool,
    /// A control mode page with UA_INTLCK was sent.
    interlocked: bool,
    rules: u64,
}

impl Model {
    fn new(strict: bool) -> Model {
        let mut bench = Bench::fresh(0);
        bench.unit = Unit::new(disk(), 7);
        let mut model = Model {
            bench,
            sessions: [None; 3],
            next_session: 1,
            next_tag: 0,
            sequence: 0,
            living: BTreeMap::new(),
            functions: BTreeSet::new(),
            power_on: BTreeSet::new(),
            strict,
            interlocked: false,
            rules: 0,
        };
        for who in 0..3 {
            model.login(who);
        }
        model
    }

    fn login(&mut self, who: usize) {
        if self.sessions[who].is_none() {
            let session = self.next_session;
            self.next_session += 1;
            self.bench.unit.attach(NexusId(session), identity(who as u64));
            self.power_on.insert(session);
            self.sessions[who] = Some(session);
        }
    }

    fn logout(&mut self, who: usize) {
        if let Some(session) = self.sessions[who].take() {
            self.functions.retain(|(nexus, _)| *nexus != session);
            self.power_on.remove(&session);
            self.bench.detach(session);
        }
    }

    fn tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag
    }

    fn send(&mut self, who: usize, what: What, attribute: TaskAttribute, lba: u8, count: u8) {
        self.send_with(who, what, attribute, lba, count, false);
    }

    fn send_with(&mut self, who: usize, what: What, attribute: TaskAttribute, lba: u8, count: u8, naca: bool) {
        let Some(session) = self.sessions[who] else { return };
        let tag = self.tag();
        self.interlocked |= matches!(what, What::Control([_, _, interlock, _]) if interlock != 0);
        let (mut cdb, data) = command(what, lba, count, who as u64 + 1);
        if naca && let Some(control) = cdb.last_mut() {
            *control = 0x04;
        }
        self.sequence += 1;
        self.living.insert((session, tag), Living { sequence: self.sequence, attribute, started: false });
        self.bench.send(session, tag, attribute, &cdb, &data);
    }

    fn function(&mut self, who: usize, kind: u8, victim: usize) {
        let Some(session) = self.sessions[who] else { return };
        let mine: Vec<u32> = self.living.keys().filter(|(nexus, _)| *nexus == session).map(|(_, tag)| *tag).collect();
        let victim = TaskTag(if mine.is_empty() { 0 } else { mine[victim % mine.len()] });
        let kind = match kind {
            0 | 8 => FunctionKind::AbortTask(victim),
            1 => FunctionKind::AbortTaskSet,
            2 => FunctionKind::ClearTaskSet,
            3 => FunctionKind::LogicalUnitReset,
            4 => FunctionKind::QueryTask(victim),
            5 => FunctionKind::QueryTaskSet,
            6 => FunctionKind::QueryAsynchronousEvent,
            9 => FunctionKind::ClearAca,
            _ => FunctionKind::NexusReset,
        };
        if kind == FunctionKind::LogicalUnitReset {
            self.power_on.extend(self.sessions.iter().flatten());
        }
        let tag = self.tag();
        self.functions.insert((session, tag));
        self.bench.function(session, tag, kind);
    }

    fn rule(&mut self, number: u8) {
        let text = [
            "op=WRITE,action=HANG,repeat=1",
            "op=READ,pause=1,action=BUSY,repeat=2",
            "op=COMPARE_AND_WRITE,key=3,asc=0x1100,repeat=1,pct=50",
            "op=READ,action=DROP_CONNECTION,repeat=1",
            "op=WRITE,pause=3,action=HANG,repeat=1",
            "op=0x00,action=TASK_SET_FULL,pct=30",
        ][usize::from(number)];
        self.bench.rule(self.rules, text);
        self.rules += 1;
    }

    fn step(&mut self, input: Input) {
        match input {
            // Neither the attribute nor the page has a place in the plain order of starts.
            Input::Send { attribute: TaskAttribute::Aca, .. } | Input::Send { what: What::Control(_), .. } if self.strict => {}
            Input::Send { who, what, attribute, lba, blocks, naca } => {
                self.send_with(who, what, attribute, lba, blocks, naca && !self.strict);
            }
            Input::Fetch(at) if !self.bench.fetches.is_empty() => self.bench.fetch(at % self.bench.fetches.len()),
            Input::Store(at) if !self.bench.stores.is_empty() => self.bench.store(at % self.bench.stores.len()),
            Input::StoreFails(at) if !self.bench.stores.is_empty() => {
                self.bench.store_with(at % self.bench.stores.len(), Err(StoreFault::NoSpace));
            }
            Input::Fetch(_) | Input::Store(_) | Input::StoreFails(_) => {}
            Input::Function { who, kind, victim } => self.function(who, kind, victim),
            Input::Login(who) => self.login(who),
            Input::Logout(who) => self.logout(who),
            Input::Reset => {
                self.power_on.extend(self.sessions.iter().flatten());
                self.bench.unit.reset(self.bench.now);
                self.bench.collect();
            }
            Input::Rule(_) if self.strict => {}
            Input::Rule(number) => self.rule(number),
            Input::Heal => {
                self.bench.unit.faults_mut().clear();
                self.bench.unit.release_hung(None, self.bench.now);
                self.bench.collect();
            }
            Input::Wait(time) => self.bench.advance(time),
        }
        self.check();
    }

    fn check(&mut self) {
        for event in core::mem::take(&mut self.bench.events) {
            match event {
                Event::Done(nexus, tag, outcome) => {
                    self.started(nexus, tag);
                    assert!(self.living.remove(&(nexus, tag)).is_some(), "two ends of {nexus}/{tag}");
                    if outcome.sense.is_some_and(|sense| sense.asc == Asc::POWER_ON_OR_RESET) {
                        // Interlocked, it is told until REQUEST SENSE clears it, which nobody sends here.
                        let again = !self.power_on.contains(&nexus) && self.interlocked;
                        assert!(again || self.power_on.remove(&nexus), "told twice: {nexus}/{tag}");
                    }
                }
                Event::Aborted(nexus, tag, why) => {
                    assert!(self.living.remove(&(nexus, tag)).is_some(), "two ends of {nexus}/{tag}");
                    let alive = self.sessions.contains(&Some(nexus));
                    assert_eq!(why == Abort::NexusLost, !alive, "{nexus}/{tag}");
                }
                Event::Function(nexus, tag, _) => assert!(self.functions.remove(&(nexus, tag)), "two ends of function {nexus}/{tag}"),
                Event::Dropped(nexus) => assert!(self.sessions.contains(&Some(nexus))),
            }
        }
        let begun: Vec<_> = self.bench.fetches.iter().map(|(task, ..)| *task).chain(self.bench.stores.iter().map(|(task, _)| *task)).collect();
        for task in begun {
            self.started(task.nexus.0, task.tag.0);
        }
        assert_eq!(self.living.len(), self.bench.unit.active_tasks());
        self.check_exclusion();
    }

    /// First sign of a start: nothing that comes before it may live.
    fn started(&mut self, nexus: u64, tag: u32) {
        let Some(&task) = self.living.get(&(nexus, tag)) else { panic!("{nexus}/{tag} does not live") };
        if task.started || !self.strict {
            return;
        }
        for other in self.living.values().filter(|other| other.sequence < task.sequence) {
            match task.attribute {
                TaskAttribute::Ordered => panic!("{nexus}/{tag} overtakes"),
                TaskAttribute::Simple => assert_eq!(other.attribute, TaskAttribute::Simple, "{nexus}/{tag} overtakes"),
                _ => {}
            }
        }
        self.living.insert((nexus, tag), Living { started: true, ..task });
    }

    fn check_exclusion(&self) {
        let stores = &self.bench.stores;
        for (at, (task, op)) in stores.iter().enumerate() {
            let exclusive = |task: &TaskRef| {
                self.bench
                    .unit
                    .tasks
                    .slot_of(*task)
                    .is_some_and(|slot| self.bench.unit.tasks.get(slot).row.is_some_and(|row| row.operation == Operation::CompareAndWrite))
            };
            for (other, other_op) in &stores[..at] {
                let (Some(left), Some(right)) = (span(op), span(other_op)) else { continue };
                if exclusive(task) || exclusive(other) {
                    assert!(left.0 >= right.1 || right.0 >= left.1, "{task:?} {op:?} beside {other:?} {other_op:?}");
                }
            }
        }
    }

    /// Lets everything end, and looks for what is left over.
    fn finish(mut self) {
        self.step(Input::Heal);
        loop {
            if !self.bench.stores.is_empty() {
                self.step(Input::Store(0));
            } else if !self.bench.fetches.is_empty() {
                self.step(Input::Fetch(0));
            } else if let Some(due) = self.bench.unit.poll_timeout() {
                let wait = due.saturating_sub(self.bench.now);
                self.step(Input::Wait(wait));
                self.step(Input::Heal);
            } else if !self.bench.unit.blocked.is_empty() {
                for who in 0..3 {
                    self.step(Input::Function { who, kind: 9, victim: 0 });
                }
            } else {
                break;
            }
        }
        // What a fault rule cut off ends with its session.
        let dropped: BTreeSet<u64> = self.living.keys().map(|(nexus, _)| *nexus).collect();
        for who in 0..3 {
            if self.sessions[who].is_some_and(|session| dropped.contains(&session)) {
                self.logout(who);
                self.check();
            }
        }
        while !self.bench.stores.is_empty() || !self.bench.fetches.is_empty() {
            self.step(if self.bench.stores.is_empty() { Input::Fetch(0) } else { Input::Store(0) });
        }
        assert!(self.living.is_empty(), "{:?}", self.living);
        assert!(self.functions.is_empty(), "{:?}", self.functions);
        let unit = &self.bench.unit;
        assert_eq!((unit.active_tasks(), unit.overdue, unit.pending.len()), (0, 0, 0));
        for who in 0..3 {
            self.function(who, 9, 0);
        }
        self.check();
        self.bench.unit.device_mut().reset();
        let unit = &self.bench.unit;
        assert!(unit.blocked.is_empty() && unit.queue_errors.is_empty() && unit.preemptions.is_empty());
        for session in self.sessions.into_iter().flatten() {
            assert_eq!(self.bench.unit.nexuses.get(NexusId(session)).unwrap().tasks, 0);
            let mut heard = Vec::new();
            while let Some(asc) = self.bench.attention(session) {
                heard.push(asc);
            }
            // What is interlocked was told, and still waits.
            let told = heard.contains(&0x2900) == self.power_on.contains(&session);
            assert!(told || self.interlocked, "{session}: {heard:?}");
            heard.dedup();
            assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), heard.len());
        }
    }
}

fn command(what: What, lba: u8, count: u8, key: u64) -> (Vec<u8>, Vec<u8>) {
    let size = usize::from(count);
    match what {
        What::Read => (read(lba, count).to_vec(), vec![]),
        What::Write => (write(lba, count).to_vec(), blocks(lba, size)),
        What::WriteAndVerify => ([0x2e, 0x02].iter().chain(&write(lba, count)[2..]).copied().collect(), blocks(lba, size)),
        What::CompareAndWrite => (compare_and_write(lba, 1).to_vec(), [blocks(0, 1), blocks(0, 1)].concat()),
        What::Unmap => {
            let mut list = vec![0; 24];
            list[1] = 22;
            list[3] = 16;
            list[15] = lba;
            list[19] = count;
            (vec![0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], list)
        }
        What::Control(bytes) => {
            let [first, second, third, fourth] = bytes;
            let list = vec![0, 0, 0, 0, 0x0a, 0x0a, first, second, third, fourth, 0, 0, 0, 0, 2, 0];
            (vec![0x15, 0x10, 0, 0, 16, 0], list)
        }
        What::TestUnitReady => (vec![0; 6], vec![]),
        What::Synchronize => (vec![0x35, 0, 0, 0, 0, lba, 0, 0, count, 0], vec![]),
        What::ReportLuns => (vec![0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], vec![]),
        What::ReserveOut(action, kind) => {
            let (cdb, list) = reserve_out(action, kind, if action == 0 { 0 } else { key }, key);
            (cdb.to_vec(), list)
        }
    }
}

fn play(strict: bool, inputs: &[Input]) {
    let mut model = Model::new(strict);
    for &input in inputs {
        model.step(input);
    }
    model.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_command_ends_once_and_in_order(inputs in proptest::collection::vec(input(), 0..200)) {
        play(true, &inputs);
    }

    #[test]
    fn every_command_ends_once_whatever_fails(inputs in proptest::collection::vec(input(), 0..200)) {
        play(false, &inputs);
    }
}

#[test]
fn unmap_is_kept_apart_from_compare_and_write() {
    let mut model = Model::new(true);
    for who in 0..2 {
        model.send(who, What::TestUnitReady, TaskAttribute::Simple, 0, 1);
        model.check();
    }
    model.send(0, What::CompareAndWrite, TaskAttribute::Simple, 2, 1);
    model.step(Input::Fetch(0));
    model.send(1, What::Unmap, TaskAttribute::Simple, 1, 3);
    model.step(Input::Fetch(0));
    assert!(matches!(model.bench.stores[..], [(_, StoreOp::Compare { .. })]));
    model.step(Input::Store(0));
    model.step(Input::Store(0));
    assert!(matches!(model.bench.stores[..], [(_, StoreOp::Discard { .. })]));
    model.finish();
}
