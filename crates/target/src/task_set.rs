//! The tasks of one unit: which may start (SAM-5 8.6 to 8.9), and who uses which bytes of the medium.
//!
//! SAM's task set is a *lane* here: all nexuses share one, or each has its own (TST of the control mode page). A task stays in the lane that it came into.
//!
//! Invariants that make both questions cheap:
//! - Tasks of a lane start in order of arrival, except HEAD OF QUEUE, which starts at once. So the oldest dormant task is the only one that could start next:
//!   what stops it stops all behind it.
//! - A claim on bytes is taken for one store operation; only COMPARE AND WRITE keeps its claim from its first operation to its end. While no such
//!   command exists, claims are written down and never compared.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use scsi::TaskAttribute;
use scsi::planted::{Bug, is_planted};
use slab::Slab;

use crate::effect::{NexusId, TaskRef};
use crate::task::{Claim, State, Task};

/// Tasks a unit holds; the next one gets TASK SET FULL (or BUSY, when its nexus has none). 32 sessions with a window of 128 fill it; 1.5 MiB then.
pub const TASK_LIMIT: usize = 4096;

/// Names a task set of SAM: that of one nexus, or the one that nexuses share (`None`).
pub(crate) type LaneId = Option<NexusId>;

/// A task set as SAM has it.
#[derive(Debug, Default)]
struct Lane {
    /// Tasks in it.
    members: usize,
    /// Tasks that did not start, oldest first.
    dormant: VecDeque<usize>,
    /// Sequence numbers of the ORDERED tasks, oldest first.
    ordered: VecDeque<u64>,
    /// HEAD OF QUEUE tasks.
    head_of_queue: usize,
    /// ACA tasks.
    contingent: usize,
    /// Auto contingent allegiance: the faulted nexus.
    faulted: Option<NexusId>,
}

/// All tasks of a unit.
#[derive(Debug, Default)]
pub(crate) struct TaskSet {
    tasks: Slab<Task>,
    generation: u32,
    sequence: u64,
    ticket: u64,
    /// The lane that nexuses share.
    shared: Lane,
    /// Lanes of one nexus each, while there is something in them.
    own: BTreeMap<NexusId, Lane>,
    /// Lanes with an auto contingent allegiance.
    faults: usize,
    /// Tasks that wait for bytes, in order of their tickets.
    waiting: VecDeque<usize>,
    /// Exclusive claims, held or waiting.
    exclusive: usize,
}

impl TaskSet {
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Adds a task in state `Running`.
    pub fn insert(&mut self, mut task: Task) -> usize {
        self.generation = self.generation.wrapping_add(1);
        self.sequence += 1;
        (task.generation, task.sequence) = (self.generation, self.sequence);
        if is_planted(Bug::OrderIgnored) && task.attribute == TaskAttribute::Ordered {
            task.attribute = TaskAttribute::Simple;
        }
        if !task.is_command() {
            // Parts of copies, and copies that were answered, wait for no order and hold nobody back: who waits for a copy must not make it wait.
            return self.tasks.insert(task);
        }
        let lane = self.lane_mut(task.lane);
        lane.members += 1;
        match task.attribute {
            TaskAttribute::Ordered => lane.ordered.push_back(task.sequence),
            TaskAttribute::HeadOfQueue => lane.head_of_queue += 1,
            TaskAttribute::Aca => lane.contingent += 1,
            TaskAttribute::Simple => {}
        }
        self.tasks.insert(task)
    }

    /// The slot of a living task.
    pub fn slot_of(&self, task: TaskRef) -> Option<usize> {
        let slot = usize::try_from(task.slot).ok()?;
        self.tasks.get(slot).filter(|held| held.generation == task.generation).map(|_| slot)
    }

    /// Is this very task still there?
    pub fn contains(&self, slot: usize, generation: u32) -> bool {
        self.tasks.get(slot).is_some_and(|task| task.generation == generation)
    }

    pub fn get(&self, slot: usize) -> &Task {
        &self.tasks[slot]
    }

    pub fn get_mut(&mut self, slot: usize) -> &mut Task {
        &mut self.tasks[slot]
    }

    /// Living tasks, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Task)> {
        self.tasks.iter()
    }

    /// Puts a state in place and takes the old one out.
    pub fn set_state(&mut self, slot: usize, state: State) -> State {
        core::mem::replace(&mut self.tasks[slot].state, state)
    }

    /// The task leaves.
    pub fn remove(&mut self, slot: usize) -> Task {
        self.release(slot);
        let task = self.tasks.remove(slot);
        if let State::Waiting { .. } = task.state {
            self.waiting.retain(|&other| other != slot);
        }
        if !task.is_command() {
            return task;
        }
        let lane = match task.lane {
            None => &mut self.shared,
            Some(nexus) => self.own.entry(nexus).or_default(),
        };
        lane.members -= 1;
        if let State::Dormant = task.state {
            lane.dormant.retain(|&other| other != slot);
        }
        match task.attribute {
            TaskAttribute::Ordered => lane.ordered.retain(|&other| other != task.sequence),
            TaskAttribute::HeadOfQueue => lane.head_of_queue -= 1,
            TaskAttribute::Aca => lane.contingent -= 1,
            TaskAttribute::Simple => {}
        }
        if task.lane.is_some() {
            self.own.retain(|_, lane| lane.members > 0 || lane.faulted.is_some());
        }
        task
    }

    #[inline]
    fn lane(&self, id: LaneId) -> Option<&Lane> {
        match id {
            None => Some(&self.shared),
            Some(nexus) => self.own.get(&nexus),
        }
    }

    #[inline]
    fn lane_mut(&mut self, id: LaneId) -> &mut Lane {
        match id {
            None => &mut self.shared,
            Some(nexus) => self.own.entry(nexus).or_default(),
        }
    }

    /// The nexus for which the lane has an auto contingent allegiance.
    #[inline]
    pub fn faulted(&self, lane: LaneId) -> Option<NexusId> {
        if self.faults == 0 { None } else { self.lane(lane).and_then(|lane| lane.faulted) }
    }

    /// Is there an ACA task in the lane? There is one at a time.
    pub fn has_contingent(&self, lane: LaneId) -> bool {
        self.lane(lane).is_some_and(|lane| lane.contingent > 0)
    }

    /// An auto contingent allegiance of `nexus` begins in the lane.
    pub fn fault(&mut self, lane: LaneId, nexus: NexusId) {
        let before = self.lane_mut(lane).faulted.replace(nexus);
        self.faults += usize::from(before.is_none());
    }

    /// Ends the auto contingent allegiances of `nexus` (`None`: all). The lanes where there was one.
    pub fn clear_faults(&mut self, nexus: Option<NexusId>) -> Vec<LaneId> {
        if self.faults == 0 {
            return Vec::new();
        }
        let mut cleared = Vec::new();
        let lanes = core::iter::once((None, &mut self.shared)).chain(self.own.iter_mut().map(|(owner, lane)| (Some(*owner), lane)));
        for (id, lane) in lanes {
            if lane.faulted.is_some_and(|faulted| nexus.is_none_or(|nexus| nexus == faulted)) {
                lane.faulted = None;
                cleared.push(id);
            }
        }
        self.faults -= cleared.len();
        self.own.retain(|_, lane| lane.members > 0 || lane.faulted.is_some());
        cleared
    }

    /// May the task that was just inserted start? If not, it becomes dormant.
    #[inline]
    pub fn admit(&mut self, slot: usize) -> bool {
        let task = &self.tasks[slot];
        let (id, attribute) = (task.lane, task.attribute);
        let Some(lane) = self.lane(id) else { return true };
        if lane.ordered.is_empty() && lane.head_of_queue == 0 {
            return true;
        }
        if attribute == TaskAttribute::HeadOfQueue || (lane.dormant.is_empty() && self.may_start(lane, slot, 1)) {
            return true;
        }
        self.tasks[slot].state = State::Dormant;
        self.lane_mut(id).dormant.push_back(slot);
        false
    }

    /// The next dormant task that may start now; it is not dormant any more.
    pub fn next_startable(&mut self) -> Option<usize> {
        let startable = |lane: &Lane| {
            let &slot = lane.dormant.front()?;
            (lane.faulted.is_none() && self.may_start(lane, slot, lane.dormant.len())).then_some(slot)
        };
        let slot = startable(&self.shared).or_else(|| self.own.values().find_map(startable))?;
        let lane = self.tasks[slot].lane;
        self.lane_mut(lane).dormant.pop_front();
        self.tasks[slot].state = State::Running;
        Some(slot)
    }

    /// May the oldest of `behind` tasks of the lane that did not start (itself one of them) start?
    fn may_start(&self, lane: &Lane, slot: usize, behind: usize) -> bool {
        let task = &self.tasks[slot];
        if lane.head_of_queue > 0 {
            return false;
        }
        match task.attribute {
            TaskAttribute::Ordered => lane.members == behind,
            _ => lane.ordered.front().is_none_or(|&oldest| oldest > task.sequence),
        }
    }

    /// Claims `start .. end` for the task's next store operation. False: it has to wait, and is in the queue for it.
    #[inline]
    pub fn claim(&mut self, slot: usize, (start, end): (u64, u64), exclusive: bool) -> bool {
        if self.tasks[slot].claim.is_some() {
            return true;
        }
        self.ticket += 1;
        let claim = Claim { start, end, exclusive, held: true, ticket: self.ticket };
        self.exclusive += usize::from(exclusive);
        let held = self.exclusive == 0 || !self.opposed(slot, &claim);
        self.tasks[slot].claim = Some(Claim { held, ..claim });
        if !held {
            self.waiting.push_back(slot);
        }
        held
    }

    /// The store operation ended: a plain claim ends, an exclusive one stays until the command ends.
    pub fn operation_ended(&mut self, slot: usize) {
        if self.tasks[slot].claim.is_some_and(|claim| !claim.exclusive) {
            self.tasks[slot].claim = None;
        }
    }

    /// The task needs no bytes of the medium any more.
    pub fn release(&mut self, slot: usize) {
        if let Some(claim) = self.tasks[slot].claim.take() {
            self.exclusive -= usize::from(claim.exclusive);
        }
    }

    /// The next waiting task that gets its bytes now; its claim is held.
    pub fn next_claimed(&mut self) -> Option<usize> {
        let at = self.waiting.iter().position(|&slot| self.tasks[slot].claim.is_none_or(|claim| !self.opposed(slot, &claim)))?;
        let slot = self.waiting.remove(at)?;
        if let Some(claim) = &mut self.tasks[slot].claim {
            claim.held = true;
        }
        Some(slot)
    }

    fn opposed(&self, slot: usize, claim: &Claim) -> bool {
        self.tasks.iter().any(|(other, task)| {
            other != slot && task.claim.is_some_and(|theirs| (theirs.held || theirs.ticket < claim.ticket) && theirs.opposes(claim))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{Command, NexusId, TaskTag};
    use scsi::Lun;
    use std::vec;
    use std::vec::Vec;

    fn add(set: &mut TaskSet, attribute: TaskAttribute) -> (usize, bool) {
        let command = Command {
            nexus: NexusId(1),
            tag: TaskTag(1),
            lun: Lun::default(),
            cdb: &[0; 6],
            attribute,
            data_out: 0,
            data_in: 0,
            luns: &[],
            unit_exists: true,
        };
        let slot = set.insert(Task::new(&command, None, &crate::nexus::Entry::default(), 0));
        (slot, set.admit(slot))
    }

    fn started(set: &mut TaskSet) -> Vec<usize> {
        core::iter::from_fn(|| set.next_startable()).collect()
    }

    #[test]
    fn simple_tasks_start_at_once() {
        let mut set = TaskSet::default();
        for _ in 0..10 {
            assert!(add(&mut set, TaskAttribute::Simple).1);
        }
    }

    #[test]
    fn an_ordered_task_waits_for_the_older_and_stops_the_younger() {
        let mut set = TaskSet::default();
        let (first, _) = add(&mut set, TaskAttribute::Simple);
        let (second, _) = add(&mut set, TaskAttribute::Simple);
        let (ordered, starts) = add(&mut set, TaskAttribute::Ordered);
        assert!(!starts);
        let (third, starts) = add(&mut set, TaskAttribute::Simple);
        assert!(!starts);
        let (fourth, _) = add(&mut set, TaskAttribute::Simple);
        let (last, _) = add(&mut set, TaskAttribute::Ordered);
        set.remove(second);
        assert_eq!(started(&mut set), vec![]);
        set.remove(first);
        assert_eq!(started(&mut set), [ordered]);
        set.remove(ordered);
        assert_eq!(started(&mut set), [third, fourth]);
        set.remove(fourth);
        assert_eq!(started(&mut set), vec![]);
        set.remove(third);
        assert_eq!(started(&mut set), [last]);
    }

    #[test]
    fn head_of_queue_starts_at_once_and_holds_back_the_rest() {
        let mut set = TaskSet::default();
        let (running, _) = add(&mut set, TaskAttribute::Simple);
        let (ordered, _) = add(&mut set, TaskAttribute::Ordered);
        let (head, starts) = add(&mut set, TaskAttribute::HeadOfQueue);
        assert!(starts);
        set.remove(running);
        assert_eq!(started(&mut set), vec![], "the ordered one waits for the head of queue");
        let (simple, starts) = add(&mut set, TaskAttribute::Simple);
        assert!(!starts);
        set.remove(head);
        assert_eq!(started(&mut set), [ordered]);
        set.remove(ordered);
        assert_eq!(started(&mut set), [simple]);
    }

    #[test]
    fn lanes_know_nothing_of_each_other() {
        let mut set = TaskSet::default();
        let add_to = |set: &mut TaskSet, nexus: u64, attribute| {
            let (slot, _) = add(set, TaskAttribute::Simple);
            let mut task = set.remove(slot);
            (task.lane, task.attribute) = (Some(NexusId(nexus)), attribute);
            let slot = set.insert(task);
            (slot, set.admit(slot))
        };
        let (first, _) = add_to(&mut set, 1, TaskAttribute::Simple);
        let (ordered, starts) = add_to(&mut set, 1, TaskAttribute::Ordered);
        assert!(!starts);
        assert!(add_to(&mut set, 2, TaskAttribute::Simple).1);
        assert!(add(&mut set, TaskAttribute::Ordered).1, "the shared lane is another one");
        set.fault(Some(NexusId(1)), NexusId(1));
        set.remove(first);
        assert_eq!(started(&mut set), vec![], "nothing starts in a faulted lane");
        assert_eq!((set.faulted(Some(NexusId(1))), set.faulted(Some(NexusId(2))), set.faulted(None)), (Some(NexusId(1)), None, None));
        assert_eq!(set.clear_faults(Some(NexusId(2))), vec![]);
        assert_eq!(set.clear_faults(Some(NexusId(1))), [Some(NexusId(1))]);
        assert_eq!(started(&mut set), [ordered]);
        set.remove(ordered);
        assert_eq!(set.own.len(), 1, "what is empty is not kept");
        set.fault(Some(NexusId(5)), NexusId(5));
        assert_eq!((set.clear_faults(None).len(), set.own.len(), set.faults), (1, 1, 0));
    }

    #[test]
    fn an_aborted_ordered_task_lets_the_younger_go() {
        let mut set = TaskSet::default();
        add(&mut set, TaskAttribute::Simple);
        let (ordered, _) = add(&mut set, TaskAttribute::Ordered);
        let (simple, _) = add(&mut set, TaskAttribute::Simple);
        set.remove(ordered);
        assert_eq!(started(&mut set), [simple]);
    }

    #[test]
    fn a_late_reference_finds_nothing() {
        let mut set = TaskSet::default();
        let (slot, _) = add(&mut set, TaskAttribute::Simple);
        let reference = set.get(slot).reference(slot);
        assert_eq!(set.slot_of(reference), Some(slot));
        set.remove(slot);
        assert_eq!(set.slot_of(reference), None);
        let (again, _) = add(&mut set, TaskAttribute::Simple);
        assert_eq!((again, set.slot_of(reference)), (slot, None));
    }

    fn wait(set: &mut TaskSet, slot: usize, span: (u64, u64), exclusive: bool) -> bool {
        let held = set.claim(slot, span, exclusive);
        if !held {
            set.get_mut(slot).state = State::Waiting { op: device::StoreOp::Flush { offset: 0, len: 0 } };
        }
        held
    }

    #[test]
    fn exclusive_claims_oppose_everything_on_their_bytes() {
        let mut set = TaskSet::default();
        let slots: Vec<usize> = (0..6).map(|_| add(&mut set, TaskAttribute::Simple).0).collect();
        assert!(wait(&mut set, slots[0], (0, 100), false));
        assert!(wait(&mut set, slots[1], (50, 150), false), "plain claims share");
        assert!(!wait(&mut set, slots[2], (90, 95), true));
        assert!(wait(&mut set, slots[3], (200, 300), true));
        assert!(!wait(&mut set, slots[4], (94, 99), false), "an older waiting claim is not overtaken");
        assert!(wait(&mut set, slots[5], (95, 96), false));
        set.operation_ended(slots[0]);
        assert_eq!(set.next_claimed(), None);
        set.operation_ended(slots[1]);
        assert_eq!(set.next_claimed(), Some(slots[2]));
        set.operation_ended(slots[2]);
        assert_eq!(set.next_claimed(), None, "it lasts to the end of the command");
        set.release(slots[2]);
        assert_eq!(set.next_claimed(), Some(slots[4]));
        for slot in slots {
            set.remove(slot);
        }
        assert_eq!((set.exclusive, set.waiting.len(), set.len()), (0, 0, 0));
    }

    #[test]
    fn a_waiting_task_that_leaves_opposes_nobody() {
        let mut set = TaskSet::default();
        let slots: Vec<usize> = (0..3).map(|_| add(&mut set, TaskAttribute::Simple).0).collect();
        assert!(wait(&mut set, slots[0], (0, 10), false));
        assert!(!wait(&mut set, slots[1], (0, 10), true));
        assert!(!wait(&mut set, slots[2], (0, 10), false));
        set.remove(slots[1]);
        assert_eq!(set.next_claimed(), Some(slots[2]));
        assert_eq!(set.exclusive, 0);
    }
}
