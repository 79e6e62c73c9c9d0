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

/// Commands of one operation that ended with one status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OperationCounters {
    /// Which; `None`: an operation code without a row.
    pub operation: Option<Operation>,
    /// With which status.
    pub status: Status,
    /// How many.
    pub ended: u64,
    /// Bytes moved, both directions.
    pub bytes: u64,
    /// Sum of the times from arrival to end, in nanoseconds.
    pub nanoseconds: u64,
}

/// One I_T nexus.
#[derive(Clone, PartialEq, Eq, Debug)]
struct NexusCounters {
    nexus: NexusId,
    traffic: Traffic,
    operations: Vec<OperationCounters>,
}

/// The counters of one unit. Bounded: for each attached nexus, and once for all that left, an entry per row of the command table and status.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    total: Traffic,
    nexuses: Vec<NexusCounters>,
    /// Of nexuses that left.
    gone: Vec<OperationCounters>,
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
    pub fn nexuses(&self) -> impl Iterator<Item = (NexusId, &Traffic)> {
        self.nexuses.iter().map(|counters| (counters.nexus, &counters.traffic))
    }

    /// Counters of one attached nexus.
    pub fn nexus(&self, nexus: NexusId) -> Option<&Traffic> {
        self.place(nexus).ok().map(|at| &self.nexuses[at].traffic)
    }

    /// Operations by nexus and status, in order of attachment and command table; `None`: the nexuses that left, together.
    pub fn operations(&self) -> impl Iterator<Item = (Option<NexusId>, &OperationCounters)> {
        let attached = self.nexuses.iter().flat_map(|counters| counters.operations.iter().map(|operation| (Some(counters.nexus), operation)));
        self.gone.iter().map(|operation| (None, operation)).chain(attached)
    }

    pub(crate) fn attach(&mut self, nexus: NexusId) {
        if let Err(at) = self.place(nexus) {
            self.nexuses.insert(at, NexusCounters { nexus, traffic: Traffic::default(), operations: Vec::new() });
        }
    }

    pub(crate) fn detach(&mut self, nexus: NexusId) {
        if let Ok(at) = self.place(nexus) {
            for operation in self.nexuses.remove(at).operations {
                add(&mut self.gone, operation);
            }
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
        let operations = match self.place(ended.nexus) {
            Ok(at) => &mut self.nexuses[at].operations,
            Err(_) => &mut self.gone,
        };
        let bytes = u64::from(ended.moved.0) + u64::from(ended.moved.1);
        let (operation, status, nanoseconds) = (ended.operation, ended.status, ended.nanoseconds);
        add(operations, OperationCounters { operation, status, ended: 1, bytes, nanoseconds });
    }

    pub(crate) fn aborted(&mut self, nexus: NexusId) {
        self.each(nexus, |traffic| traffic.aborted += 1);
    }

    fn each(&mut self, nexus: NexusId, mut count: impl FnMut(&mut Traffic)) {
        count(&mut self.total);
        if let Ok(at) = self.place(nexus) {
            count(&mut self.nexuses[at].traffic);
        }
    }

    fn place(&self, nexus: NexusId) -> Result<usize, usize> {
        self.nexuses.binary_search_by_key(&nexus, |counters| counters.nexus)
    }
}

/// Adds to the entry with the same operation and status, in order.
fn add(operations: &mut Vec<OperationCounters>, new: OperationCounters) {
    let key = |counters: &OperationCounters| (counters.operation, counters.status.0);
    match operations.binary_search_by_key(&key(&new), key) {
        Ok(at) => {
            let counters = &mut operations[at];
            counters.ended += new.ended;
            counters.bytes += new.bytes;
            counters.nanoseconds = counters.nanoseconds.saturating_add(new.nanoseconds);
        }
        Err(at) => operations.insert(at, new),
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
        let rows = |counters: &Counters| -> Vec<(Option<NexusId>, Status, u64, u64)> {
            counters.operations().map(|(nexus, row)| (nexus, row.status, row.ended, row.bytes)).collect()
        };
        let seven = Some(NexusId(7));
        assert_eq!(rows(&counters), [(seven, Status::GOOD, 1, 4096), (seven, Status::BUSY, 1, 0)]);
        assert_eq!(counters.nexuses().map(|(nexus, _)| nexus).collect::<Vec<_>>(), [NexusId(3), NexusId(7)]);
        counters.detach(NexusId(7));
        assert_eq!(counters.nexus(NexusId(7)), None);
        assert_eq!(rows(&counters), [(None, Status::GOOD, 1, 4096), (None, Status::BUSY, 1, 0)]);
        assert_eq!(counters.total().errors, 1);
    }
}
