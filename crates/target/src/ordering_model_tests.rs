//! Which command starts when, and which is turned away: random commands of two nexuses in one task set, against a second implementation that is written as
//! SAM-5 8.6 to 8.9 and 5.9 tell it. After every step the same commands have started and the same have been answered, no earlier and no later.

use super::*;
use crate::effect::{FunctionKind, TaskTag};
use crate::testing::{Bench, Event, blocks, write};
use proptest::prelude::*;
use std::collections::BTreeSet;

const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const BUSY: u8 = 0x08;
const ACA_ACTIVE: u8 = 0x30;

#[derive(Clone, Copy, Debug)]
enum Input {
    /// A WRITE; `bad`: beyond the end of the medium.
    Arrive {
        nexus: u64,
        attribute: TaskAttribute,
        naca: bool,
        bad: bool,
    },
    /// The data of a started command arrive, and the store takes them.
    Data(usize),
    Abort(usize),
    ClearAca(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Dormant,
    /// Started; its data are awaited.
    Enabled,
    /// Its data are there, but an auto contingent allegiance blocks it before the store, or behind it.
    BlockedBefore,
    Storing,
    BlockedBehind,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    tag: u32,
    nexus: u64,
    attribute: TaskAttribute,
    naca: bool,
    bad: bool,
    phase: Phase,
}

#[derive(Default, Debug)]
struct Model {
    /// In order of arrival.
    tasks: Vec<Task>,
    /// In the order in which they were blocked.
    blocked: Vec<u32>,
    faulted: Option<u64>,
    answers: BTreeSet<(u32, u8)>,
}

impl Model {
    fn arrive(&mut self, task: Task) {
        let has_aca_task = self.tasks.iter().any(|other| other.attribute == TaskAttribute::Aca);
        let aca = task.attribute == TaskAttribute::Aca;
        let refusal = match self.faulted {
            None if aca => Some(CHECK_CONDITION),
            None => None,
            Some(faulted) if faulted == task.nexus => (!aca || has_aca_task).then_some(ACA_ACTIVE),
            Some(_) if task.naca || aca => Some(ACA_ACTIVE),
            Some(_) => Some(BUSY),
        };
        match refusal {
            Some(status) => {
                self.answers.insert((task.tag, status));
                // The refusal of an ACA command without an allegiance is a CHECK CONDITION like any other.
                if status == CHECK_CONDITION && task.naca {
                    self.faulted = Some(task.nexus);
                }
            }
            None => self.tasks.push(task),
        }
        self.settle();
    }

    fn may_start(&self, at: usize) -> bool {
        let attribute = self.tasks[at].attribute;
        let head_of_queue = self.tasks.iter().any(|task| task.attribute == TaskAttribute::HeadOfQueue);
        let older = &self.tasks[..at];
        match attribute {
            TaskAttribute::Aca => true,
            _ if self.faulted.is_some() => false,
            TaskAttribute::HeadOfQueue => true,
            _ if head_of_queue => false,
            TaskAttribute::Ordered => older.is_empty(),
            TaskAttribute::Simple => older.iter().all(|task| task.attribute != TaskAttribute::Ordered),
        }
    }

    fn held_back(&self, at: usize) -> bool {
        self.faulted.is_some() && self.tasks[at].attribute != TaskAttribute::Aca
    }

    fn settle(&mut self) {
        loop {
            if self.faulted.is_none() && !self.blocked.is_empty() {
                let tag = self.blocked.remove(0);
                let Some(at) = self.find(tag) else { continue };
                match self.tasks[at].phase {
                    Phase::BlockedBefore => self.tasks[at].phase = Phase::Storing,
                    _ => self.end(at, GOOD),
                }
                continue;
            }
            let next = (0..self.tasks.len()).find(|&at| self.tasks[at].phase == Phase::Dormant && self.may_start(at));
            let Some(at) = next else { return };
            if self.tasks[at].bad {
                self.end(at, CHECK_CONDITION);
            } else {
                self.tasks[at].phase = Phase::Enabled;
            }
        }
    }

    fn end(&mut self, at: usize, status: u8) {
        let task = self.tasks.remove(at);
        self.answers.insert((task.tag, status));
        if status == CHECK_CONDITION && task.naca {
            self.faulted = Some(task.nexus);
        } else if status == CHECK_CONDITION && task.attribute == TaskAttribute::Aca {
            self.faulted = None;
        }
    }

    fn find(&self, tag: u32) -> Option<usize> {
        self.tasks.iter().position(|task| task.tag == tag)
    }

    fn block(&mut self, at: usize, phase: Phase) {
        self.tasks[at].phase = phase;
        self.blocked.push(self.tasks[at].tag);
    }

    fn data(&mut self, tag: u32) {
        let at = self.find(tag).expect("it was started");
        if self.held_back(at) {
            self.block(at, Phase::BlockedBefore);
        } else {
            self.tasks[at].phase = Phase::Storing;
        }
        self.settle();
    }

    fn stored(&mut self, tag: u32) {
        let at = self.find(tag).expect("the store worked for it");
        if self.held_back(at) {
            self.block(at, Phase::BlockedBehind);
        } else {
            self.end(at, GOOD);
        }
        self.settle();
    }

    fn abort(&mut self, tag: u32) {
        self.tasks.retain(|task| task.tag != tag);
        self.settle();
    }

    fn clear_aca(&mut self, nexus: u64) {
        if self.faulted == Some(nexus) {
            self.faulted = None;
            self.tasks.retain(|task| task.attribute != TaskAttribute::Aca);
        }
        self.settle();
    }

    fn tags(&self, phase: Phase) -> BTreeSet<u32> {
        self.tasks.iter().filter(|task| task.phase == phase).map(|task| task.tag).collect()
    }
}

fn compare(bench: &mut Bench, model: &mut Model, after: &str) {
    let mut answers = BTreeSet::new();
    for event in core::mem::take(&mut bench.events) {
        if let Event::Done(_, tag, outcome) = event {
            assert!(answers.insert((tag, outcome.status.0)), "two answers to {tag}");
        }
    }
    assert_eq!(answers, core::mem::take(&mut model.answers), "answers after {after}: {model:?}");
    let started: BTreeSet<u32> = bench.fetches.iter().map(|(task, ..)| task.tag.0).collect();
    assert_eq!(started, model.tags(Phase::Enabled), "started after {after}: {model:?}");
    let storing: BTreeSet<u32> = bench.stores.iter().map(|(task, _)| task.tag.0).collect();
    assert_eq!(storing, model.tags(Phase::Storing), "at the store after {after}: {model:?}");
}

fn step(bench: &mut Bench, model: &mut Model, tag: u32, input: Input) {
    match input {
        Input::Arrive { nexus, attribute, naca, bad } => {
            let mut cdb = write(if bad { 200 } else { 1 }, 1);
            cdb[9] = u8::from(naca) << 2;
            bench.send(nexus, tag, attribute, &cdb, &blocks(1, 1));
            model.arrive(Task { tag, nexus, attribute, naca, bad, phase: Phase::Dormant });
        }
        Input::Data(at) if !bench.fetches.is_empty() => {
            let at = at % bench.fetches.len();
            let tag = bench.fetches[at].0.tag.0;
            bench.fetch(at);
            model.data(tag);
        }
        Input::Abort(at) if !model.tasks.is_empty() => {
            let task = model.tasks[at % model.tasks.len()];
            bench.function(task.nexus, 1_000_000 + tag, FunctionKind::AbortTask(TaskTag(task.tag)));
            model.abort(task.tag);
        }
        Input::Data(_) | Input::Abort(_) => {}
        Input::ClearAca(nexus) => {
            bench.function(nexus, 1_000_000 + tag, FunctionKind::ClearAca);
            model.clear_aca(nexus);
        }
    }
    compare(bench, model, &std::format!("{input:?}"));
    while let Some(tag) = bench.stores.first().map(|(task, _)| task.tag.0) {
        bench.store(0);
        model.stored(tag);
        compare(bench, model, "the store's answer");
    }
}

fn input() -> impl Strategy<Value = Input> {
    let attribute = prop_oneof![
        6 => Just(TaskAttribute::Simple),
        3 => Just(TaskAttribute::Ordered),
        2 => Just(TaskAttribute::HeadOfQueue),
        2 => Just(TaskAttribute::Aca),
    ];
    prop_oneof![
        10 => (1u64..3, attribute, prop::bool::weighted(0.3), prop::bool::weighted(0.2))
            .prop_map(|(nexus, attribute, naca, bad)| Input::Arrive { nexus, attribute, naca, bad }),
        8 => any::<usize>().prop_map(Input::Data),
        2 => any::<usize>().prop_map(Input::Abort),
        2 => (1u64..3).prop_map(Input::ClearAca),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn commands_start_when_sam_says(inputs in proptest::collection::vec(input(), 0..60)) {
        let (mut bench, mut model) = (Bench::new(2), Model::default());
        for (tag, &input) in (1u32..).zip(&inputs) {
            step(&mut bench, &mut model, tag, input);
        }
    }
}
