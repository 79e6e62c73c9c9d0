//! The flight recorder: the last commands that ended at a unit.

use alloc::vec::Vec;

use fault::EventId;
use scsi::{Asc, SenseKey, Status};

use crate::effect::{NexusId, TaskTag};

/// Commands remembered per unit: enough to see what led to a failure at a queue depth of 128, and 40 KiB at most.
pub const FLIGHT_LIMIT: usize = 512;

/// How a recorded command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// With a status.
    Status(Status),
    /// Without one: aborted, or its nexus is gone.
    Aborted,
}

/// A command that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlightRecord {
    /// Running number of the end at this unit, from 0.
    pub number: u64,
    /// Whose.
    pub nexus: NexusId,
    /// Its tag.
    pub tag: TaskTag,
    /// Operation code, CDB byte 0.
    pub opcode: u8,
    /// Name of the command, when the unit knows it.
    pub name: Option<&'static str>,
    /// First block, for commands that address the medium.
    pub lba: Option<u64>,
    /// Blocks, as written in the CDB.
    pub blocks: u64,
    /// How it ended.
    pub ending: Ending,
    /// Sense key and additional sense code of a CHECK CONDITION.
    pub sense: Option<(SenseKey, Asc)>,
    /// Arrival, on the monotonic clock, in nanoseconds.
    pub arrived: u64,
    /// End, on the same clock.
    pub ended: u64,
    /// The last fault decision that touched it.
    pub event: Option<EventId>,
}

/// A ring of records; allocated once.
#[derive(Clone, Debug)]
pub struct FlightRecorder {
    records: Vec<FlightRecord>,
    next: usize,
    number: u64,
}

impl Default for FlightRecorder {
    fn default() -> FlightRecorder {
        FlightRecorder::new()
    }
}

impl FlightRecorder {
    /// An empty ring with its memory.
    pub fn new() -> FlightRecorder {
        FlightRecorder { records: Vec::with_capacity(FLIGHT_LIMIT), next: 0, number: 0 }
    }

    /// The records, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &FlightRecord> {
        let (newer, older) = self.records.split_at(self.next.min(self.records.len()));
        older.iter().chain(newer)
    }

    /// Adds a record; its number is set here.
    pub(crate) fn record(&mut self, mut record: FlightRecord) {
        record.number = self.number;
        self.number += 1;
        if self.records.len() < FLIGHT_LIMIT {
            self.records.push(record);
        } else {
            self.records[self.next] = record;
        }
        self.next = (self.next + 1) % FLIGHT_LIMIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_records_in_order() {
        let mut recorder = FlightRecorder::new();
        for tag in 0..1000 {
            recorder.record(FlightRecord {
                number: 0,
                nexus: NexusId(1),
                tag: TaskTag(tag),
                opcode: 0,
                name: None,
                lba: None,
                blocks: 0,
                ending: Ending::Aborted,
                sense: None,
                arrived: 0,
                ended: 0,
                event: None,
            });
            let numbers: Vec<u64> = recorder.recent().map(|record| record.number).collect();
            let first = u64::from(tag + 1).saturating_sub(FLIGHT_LIMIT as u64);
            assert_eq!(numbers, (first..=u64::from(tag)).collect::<Vec<_>>());
        }
        assert_eq!(recorder.records.capacity(), FLIGHT_LIMIT);
    }
}
