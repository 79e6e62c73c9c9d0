//! What a copy manager remembers of copies, for those who ask by list identifier.

use alloc::boxed::Box;
use alloc::vec::Vec;

use scsi::third_party_copy::TOKEN_BYTES;
use scsi::{Sense, Status};

use crate::effect::NexusId;

/// Copies that ended and that somebody may still ask about, per unit; then the oldest is forgotten. Initiators ask at once or never.
pub(crate) const RECORD_LIMIT: usize = 128;

/// The two spaces of list identifiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lid {
    /// LID1: one byte.
    Short,
    /// LID4: four bytes.
    Long,
}

/// A list identifier: it means something to its nexus only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub nexus: NexusId,
    pub lid: Lid,
    pub identifier: u32,
}

/// COPY OPERATION STATUS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Foreground,
    Background,
    Done,
    Failed,
    /// Not all of the ROD was used: there was more than the ranges hold, or it was too short for them.
    Partial,
    Terminated,
}

impl Stage {
    pub const fn number(self) -> u8 {
        match self {
            Stage::Done => 0x01,
            Stage::Failed => 0x02,
            Stage::Partial => 0x03,
            Stage::Foreground => 0x11,
            Stage::Background => 0x12,
            Stage::Terminated => 0x60,
        }
    }
}

/// One copy.
#[derive(Debug)]
pub(crate) struct Record {
    number: u64,
    key: Option<Key>,
    task: (usize, u32),
    /// Service action of the command that began it.
    pub action: u8,
    pub stage: Stage,
    /// Bytes, or blocks of this unit (`in_blocks`: token copies).
    pub transferred: u64,
    pub in_blocks: bool,
    pub segments: u16,
    /// Parts that ended, modulo 65536.
    pub counter: u16,
    pub status: Status,
    pub sense: Option<Sense>,
    pub token: Option<Box<[u8; TOKEN_BYTES]>>,
}

impl Record {
    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Foreground | Stage::Background)
    }

    /// The task that works on it: slot and generation.
    pub fn task(&self) -> Option<(usize, u32)> {
        self.is_running().then_some(self.task)
    }
}

/// The copies of a unit, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Records {
    list: Vec<Record>,
    number: u64,
}

impl Records {
    /// A copy begins: its number. What was known of an older one with the same identifier is forgotten.
    pub fn begin(&mut self, key: Option<Key>, task: (usize, u32), action: u8, in_blocks: bool) -> u64 {
        self.list.retain(|record| record.is_running() || (record.key.is_some() && record.key != key));
        let ended = self.list.iter().filter(|record| !record.is_running()).count();
        if ended >= RECORD_LIMIT
            && let Some(oldest) = self.list.iter().position(|record| !record.is_running())
        {
            self.list.remove(oldest);
        }
        self.number += 1;
        self.list.push(Record {
            number: self.number,
            key,
            task,
            action,
            stage: Stage::Foreground,
            transferred: 0,
            in_blocks,
            segments: 0,
            counter: 0,
            status: Status::GOOD,
            sense: None,
            token: None,
        });
        self.number
    }

    /// The last copy with this identifier.
    pub fn find(&self, key: Key) -> Option<&Record> {
        self.list.iter().rev().find(|record| record.key == Some(key))
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Record> {
        self.list.iter_mut().find(|record| record.number == number)
    }

    /// Another task goes on with it.
    pub fn moved(&mut self, number: u64, task: (usize, u32)) {
        if let Some(record) = self.get_mut(number) {
            (record.task, record.stage) = (task, Stage::Background);
        }
    }

    /// The copy went away before it had ended.
    pub fn terminate(&mut self, number: u64) {
        if let Some(record) = self.get_mut(number).filter(|record| record.is_running()) {
            record.stage = Stage::Terminated;
        }
    }

    pub fn running(&self) -> usize {
        self.list.iter().filter(|record| record.is_running()).count()
    }

    /// Nobody can ask for this nexus any more.
    pub fn nexus_lost(&mut self, nexus: NexusId) {
        self.list.retain(|record| record.is_running() || record.key.is_some_and(|key| key.nexus != nexus));
    }

    /// LOGICAL UNIT RESET: how copies ended is forgotten.
    pub fn reset(&mut self) {
        self.list.retain(Record::is_running);
    }
}
