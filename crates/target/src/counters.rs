//! What a unit counted: per I_T nexus, per operation, per status.

use alloc::vec::Vec;

use scsi::{Operation, Status};

use crate::effect::NexusId;

/// Bytes and commands in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    /// Bytes of the commands that arrived, as the initiator expected them.
    pub submitted_bytes: u64,
    /// Commands that arrived.
    pub submitted_commands: u64,
    /// Bytes that commands moved which ended with GOOD (or CONDITION MET).
    pub done_bytes: u64,
    /// Commands that ended with GOOD (or CONDITION MET).
    pub done_commands: u64,
}

/// Both directions, and errors. A command without data counts in neither direction, but in `errors`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// To the initiator.
    pub read: Flow,
    /// From the initiator.
    pub write: Flow,
    /// Commands that ended with another status than GOOD or CONDITION MET.
    pub errors: u64,
    /// Commands that ended without a status: aborted.
    pub aborted: u64,
}

/// Commands of one row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OperationCounters {
    /// Which row; `None` in a place that was never counted.
    pub operation: Option<Operation>,
    /// Ended with any status.
    pub ended: u64,
    /// Of these, with another status than GOOD or CONDITION MET.
    pub errors: u64,
    /// Bytes moved, both directions.
    pub bytes: u64,
    /// Sum of the times from arrival to end, in nanoseconds.
    pub nanoseconds: u64,
}

/// The counters of one unit. Bounded: one entry per attached nexus, one per row of the command table, one per status byte.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    total: Traffic,
    nexuses: Vec<(NexusId, Traffic)>,
    operations: Vec<OperationCounters>,
    statuses: Vec<(Status, u64)>,
}

/// The end of a command, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub nexus: NexusId,
    pub operation: Option<Operation>,
    pub status: Status,
    /// Bytes the initiator expected to get and to send: which directions count.
    pub expected: (u32, u32),
    /// Bytes moved to the initiator and from it.
    pub moved: (u32, u32),
    pub nanoseconds: u64,
}

impl Counters {
    /// Sum over all nexuses, those that left included.
    pub fn total(&self) -> &Traffic {
        &self.total
    }

    /// The attached nexuses in order of attachment.
    pub fn nexuses(&self) -> &[(NexusId, Traffic)] {
        &self.nexuses
    }

    /// Counters of one attached nexus.
    pub fn nexus(&self, nexus: NexusId) -> Option<&Traffic> {
        self.place(nexus).ok().map(|at| &self.nexuses[at].1)
    }

    /// Rows that were counted at least once, in order of the command table.
    pub fn operations(&self) -> impl Iterator<Item = &OperationCounters> {
        self.operations.iter().filter(|counters| counters.operation.is_some())
    }

    /// Status bytes with the number of commands that ended with them.
    pub fn statuses(&self) -> &[(Status, u64)] {
        &self.statuses
    }

    pub(crate) fn attach(&mut self, nexus: NexusId) {
        if let Err(at) = self.place(nexus) {
            self.nexuses.insert(at, (nexus, Traffic::default()));
        }
    }

    pub(crate) fn detach(&mut self, nexus: NexusId) {
        if let Ok(at) = self.place(nexus) {
            self.nexuses.remove(at);
        }
    }

    /// A command arrived that expects `data_in` and offers `data_out` bytes.
    pub(crate) fn submitted(&mut self, nexus: NexusId, data_in: u32, data_out: u32) {
        self.each(nexus, |traffic| {
            traffic.read.submit(data_in);
            traffic.write.submit(data_out);
        });
    }

    pub(crate) fn ended(&mut self, ended: Ended) {
        let good = ended.status == Status::GOOD || ended.status == Status::CONDITION_MET;
        self.each(ended.nexus, |traffic| {
            if good {
                traffic.read.done(ended.expected.0, ended.moved.0);
                traffic.write.done(ended.expected.1, ended.moved.1);
            } else {
                traffic.errors += 1;
            }
        });
        match self.statuses.iter_mut().find(|(status, _)| *status == ended.status) {
            Some((_, count)) => *count += 1,
            None => self.statuses.push((ended.status, 1)),
        }
        if let Some(operation) = ended.operation {
            self.count_operation(operation, good, &ended);
        }
    }

    pub(crate) fn aborted(&mut self, nexus: NexusId) {
        self.each(nexus, |traffic| traffic.aborted += 1);
    }

    fn count_operation(&mut self, operation: Operation, good: bool, ended: &Ended) {
        let at = operation as usize;
        if at >= self.operations.len() {
            self.operations.resize(at + 1, OperationCounters::default());
        }
        let counters = &mut self.operations[at];
        counters.operation = Some(operation);
        counters.ended += 1;
        counters.errors += u64::from(!good);
        counters.bytes += u64::from(ended.moved.0) + u64::from(ended.moved.1);
        counters.nanoseconds = counters.nanoseconds.saturating_add(ended.nanoseconds);
    }

    fn each(&mut self, nexus: NexusId, mut count: impl FnMut(&mut Traffic)) {
        count(&mut self.total);
        if let Ok(at) = self.place(nexus) {
            count(&mut self.nexuses[at].1);
        }
    }

    fn place(&self, nexus: NexusId) -> Result<usize, usize> {
        self.nexuses.binary_search_by_key(&nexus, |(nexus, _)| *nexus)
    }
}

impl Flow {
    fn submit(&mut self, bytes: u32) {
        if bytes > 0 {
            self.submitted_bytes += u64::from(bytes);
            self.submitted_commands += 1;
        }
    }

    fn done(&mut self, expected: u32, moved: u32) {
        if expected > 0 {
            self.done_bytes += u64::from(moved);
            self.done_commands += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(nexus: u64, status: Status, moved: (u32, u32)) -> Ended {
        Ended { nexus: NexusId(nexus), operation: Some(Operation::Write10), status, expected: (0, 4096), moved, nanoseconds: 10 }
    }

    #[test]
    fn counts_by_nexus_operation_and_status() {
        let mut counters = Counters::default();
        counters.attach(NexusId(7));
        counters.attach(NexusId(3));
        counters.submitted(NexusId(7), 0, 4096);
        counters.submitted(NexusId(7), 0, 4096);
        counters.ended(ended(7, Status::GOOD, (0, 4096)));
        counters.ended(ended(7, Status::BUSY, (0, 0)));
        let traffic = counters.nexus(NexusId(7)).unwrap();
        assert_eq!(traffic.write, Flow { submitted_bytes: 8192, submitted_commands: 2, done_bytes: 4096, done_commands: 1 });
        assert_eq!((traffic.read, traffic.errors), (Flow::default(), 1));
        assert_eq!(counters.statuses(), [(Status::GOOD, 1), (Status::BUSY, 1)]);
        let operation = counters.operations().next().unwrap();
        assert_eq!((operation.operation, operation.ended, operation.errors, operation.bytes), (Some(Operation::Write10), 2, 1, 4096));
        assert_eq!(counters.nexuses()[0].0, NexusId(3));
        counters.detach(NexusId(7));
        assert_eq!(counters.nexus(NexusId(7)), None);
        assert_eq!(counters.total().errors, 1);
    }
}
