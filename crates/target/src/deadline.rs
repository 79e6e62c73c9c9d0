//! Command duration limits (SAM-6, SPC-6): a task that waits or works for longer than its CDB allows is counted, and ends as the policy says.
//!
//! Nobody is interrupted: while the store works for a task, or its data are on their way, it ends when that is over.

use alloc::boxed::Box;

use device::{DurationLimits, Limit, Policy, end_of};
use scsi::Outcome;

use crate::task::{State, Task};
use crate::unit::Unit;

/// The limits of a task.
#[derive(Debug)]
pub(crate) struct Deadline {
    limits: DurationLimits,
    /// When the limit of now is exceeded, and what happens then.
    due: Option<(u64, Policy)>,
    /// The task is begun: the second limit holds.
    begun: bool,
    /// A limit was exceeded while somebody worked for the task: it ends so.
    end: Option<Outcome>,
}

impl Task {
    /// When a duration limit of the task is exceeded.
    pub(crate) fn limit_due(&self) -> Option<u64> {
        self.deadline.as_ref().and_then(|deadline| deadline.due).map(|(at, _)| at)
    }
}

impl Unit {
    /// The limits that the CDB of a new task chooses.
    pub(crate) fn limit(&mut self, task: &mut Task) {
        let Some(limits) = task.row.and_then(|row| self.device.duration_limits(row, task.cdb())) else { return };
        let due = self.due(limits.inactive);
        task.deadline = Some(Box::new(Deadline { limits, due, begun: false, end: None }));
    }

    /// The task is begun: from now on its other limit holds.
    pub(crate) fn limit_begun(&mut self, slot: usize) {
        let Some(mut deadline) = self.tasks.get_mut(slot).deadline.take() else { return };
        deadline.begun = true;
        deadline.due = self.due(deadline.limits.active);
        self.tasks.get_mut(slot).deadline = Some(deadline);
    }

    fn due(&mut self, limit: Option<Limit>) -> Option<(u64, Policy)> {
        let limit = limit?;
        let at = self.clock.saturating_add(limit.time);
        self.wake_at(at);
        Some((at, limit.policy))
    }

    /// Time has come: tasks whose limit is exceeded are counted, and end.
    pub(crate) fn exceed_limits(&mut self, now: u64) {
        for slot in self.slots(|task| task.limit_due().is_some_and(|at| at <= now)) {
            let Some(deadline) = self.tasks.get_mut(slot).deadline.as_mut() else { continue };
            let Some((_, policy)) = deadline.due.take() else { continue };
            let (limits, begun) = (deadline.limits, deadline.begun);
            self.device.limit_exceeded(&limits, begun);
            let Some(outcome) = end_of(policy, begun) else { continue };
            match self.tasks.get(slot).state {
                State::Fetching { .. } | State::Storing => {
                    if let Some(deadline) = &mut self.tasks.get_mut(slot).deadline {
                        deadline.end = Some(outcome);
                    }
                }
                State::Dormant | State::Delayed { .. } | State::Hung { .. } | State::Waiting { .. } | State::Blocked { .. } => {
                    self.conclude(slot, outcome);
                }
                // Copies and reservations have no limits.
                State::Running | State::Dropped | State::Preempting | State::Copying | State::Persisting | State::Queued | State::Aborting { .. } => {
                }
            }
        }
    }

    /// What worked for the task is done: does the task end because that took too long?
    pub(crate) fn take_exceeded(&mut self, slot: usize) -> Option<Outcome> {
        self.tasks.get_mut(slot).deadline.as_mut()?.end.take()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use scsi::{DataIn, Status, TaskAttribute};

    use crate::testing::{Bench, Event, blocks};

    /// Sets the first descriptor of a page: units of 10 ms, times, policies.
    fn set(bench: &mut Bench, subpage: u8, inactive: u8, active: u8, policies: u8) -> (u8, u16) {
        let mut list = Vec::from([0, 0, 0, 0, 0, 0, 0, 0, 0x4a, subpage, 0, 0xe4]);
        list.resize(12 + 228, 0);
        list[16..23].copy_from_slice(&[0x0a, 0, 0, inactive, 0, active, policies]);
        bench.outcome(1, &[0x55, 0x10, 0, 0, 0, 0, 0, 0, 240, 0], &list).sense.map_or((0, 0), |sense| (sense.key.0, sense.asc.0))
    }

    fn read() -> [u8; 16] {
        [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0x40, 0]
    }

    fn write() -> [u8; 16] {
        [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0x40, 0]
    }

    /// Inactive and active misses of the first descriptor for reads, and for writes.
    fn misses(bench: &mut Bench) -> [u8; 4] {
        let page = bench.data(1, &[0x4d, 0, 0x59, 0x21, 0, 0, 0, 0x10, 0, 0]);
        assert_eq!((page.len(), &page[..2], page[5], page[4 + 7 * 36 + 1]), (4 + 14 * 36, &[0xd9, 0x21][..], 0x11, 0x21));
        let at = |place: usize| page[place + 3];
        [at(8), at(12), at(8 + 7 * 36), at(12 + 7 * 36)]
    }

    fn ended(bench: &Bench, tag: u32) -> Option<(Status, Option<(u8, u16)>)> {
        bench.events.iter().find_map(|event| match event {
            Event::Done(_, with, outcome) if *with == tag => {
                assert!(outcome.sense.is_none() || outcome.data_in == DataIn::None);
                Some((outcome.status, outcome.sense.map(|sense| (sense.key.0, sense.asc.0))))
            }
            _ => None,
        })
    }

    const ABORTED: Option<(Status, Option<(u8, u16)>)> = Some((Status::CHECK_CONDITION, Some((0xb, 0x2e01))));
    const ABORTED_BEGUN: Option<(Status, Option<(u8, u16)>)> = Some((Status::CHECK_CONDITION, Some((0xb, 0x2e02))));
    const UNAVAILABLE: Option<(Status, Option<(u8, u16)>)> = Some((Status::GOOD, Some((0xf, 0x550a))));

    #[test]
    fn a_command_that_waits_too_long() {
        for (policies, end) in [(0xf0, ABORTED), (0xd0, UNAVAILABLE), (0x00, None)] {
            let mut bench = Bench::new(1);
            assert_eq!(set(&mut bench, 7, 5, 0, policies), (0, 0));
            bench.simple(1, 1, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[]);
            bench.send(1, 2, TaskAttribute::Ordered, &read(), &[]);
            bench.advance(49_000_000);
            assert_eq!(ended(&bench, 2), None);
            bench.advance(1_000_000);
            assert_eq!(ended(&bench, 2), end, "{policies:02x}");
            bench.run();
            assert!(ended(&bench, 1).is_some_and(|end| end.0 == Status::GOOD) && ended(&bench, 2).is_some());
            assert_eq!(misses(&mut bench), [1, 0, 0, 0]);
            assert_eq!((bench.unit.active_tasks(), bench.unit.poll_timeout()), (0, None));
        }
    }

    #[test]
    fn a_command_that_works_too_long() {
        for (policies, end) in [(0x0f, ABORTED_BEGUN), (0x0e, ABORTED_BEGUN), (0x0d, UNAVAILABLE), (0x00, Some((Status::GOOD, None)))] {
            let mut bench = Bench::new(1);
            assert_eq!(set(&mut bench, 7, 1, 2, policies), (0, 0));
            bench.simple(1, 1, &read(), &[]);
            bench.advance(20_000_000);
            assert_eq!(ended(&bench, 1), None, "the store is not interrupted");
            bench.run();
            assert_eq!(ended(&bench, 1), end, "{policies:02x}");
            assert_eq!(misses(&mut bench), [0, 1, 0, 0]);
        }
    }

    #[test]
    fn writes_have_a_page_of_their_own() {
        let mut bench = Bench::new(1);
        assert_eq!(set(&mut bench, 8, 0, 2, 0x0d), (5, 0x2600), "a write is never said to have ended well without writing");
        assert_eq!(set(&mut bench, 8, 0, 2, 0x0f), (0, 0));
        bench.simple(1, 1, &write(), &blocks(7, 1));
        bench.advance(20_000_000);
        bench.fetch(0);
        assert_eq!((ended(&bench, 1), bench.medium[4 * 512]), (ABORTED_BEGUN, 0), "too late, and not written");
        assert_eq!(bench.status(1, &write(), &blocks(7, 1)), Status::GOOD);
        assert_eq!(bench.status(1, &read(), &[]), Status::GOOD);
        assert_eq!(misses(&mut bench), [0, 0, 0, 1]);
        assert_eq!(bench.status(1, &[0x4c, 0x02, 0xd9, 0x21, 0, 0, 0, 0, 0, 0], &[]), Status::GOOD);
        assert_eq!(misses(&mut bench), [0; 4]);
    }

    #[test]
    fn a_hanging_command_ends_in_its_time() {
        let mut bench = Bench::new(1);
        assert_eq!(set(&mut bench, 7, 3, 0, 0xf0), (0, 0));
        bench.rule(1, "op=0x88,action=HANG");
        bench.simple(1, 1, &read(), &[]);
        // The limits of a command are those of its arrival.
        assert_eq!(set(&mut bench, 7, 100, 0, 0x00), (0, 0));
        bench.advance(30_000_000);
        assert_eq!(ended(&bench, 1), ABORTED);
    }

    #[test]
    fn values_that_mean_nothing() {
        let mut bench = Bench::new(1);
        for policies in [0x10, 0x01, 0xe0, 0x0c] {
            assert_eq!(set(&mut bench, 7, 1, 1, policies), (5, 0x2600), "{policies:02x}");
        }
    }
}
