//! How a command ended: what the initiator is told. Sense is data here, never a Rust error.

use alloc::vec::Vec;

use crate::sense::Sense;

/// SCSI status byte (SAM-5 5.3.1). Unknown values are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Status(pub u8);

impl Status {
    /// The command did what it promises.
    pub const GOOD: Status = Status(0x00);
    /// Sense data tell more.
    pub const CHECK_CONDITION: Status = Status(0x02);
    /// PRE-FETCH found room for everything.
    pub const CONDITION_MET: Status = Status(0x04);
    /// Temporarily unable to accept the command.
    pub const BUSY: Status = Status(0x08);
    /// A reservation of another I_T nexus forbids the command.
    pub const RESERVATION_CONFLICT: Status = Status(0x18);
    /// No room in the task set.
    pub const TASK_SET_FULL: Status = Status(0x28);
    /// An auto contingent allegiance blocks the command.
    pub const ACA_ACTIVE: Status = Status(0x30);
    /// Ended by another I_T nexus (control mode page, TAS = 1).
    pub const TASK_ABORTED: Status = Status(0x40);

    /// Name as in SAM, `None` for values SAM does not define.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Status::GOOD => "GOOD",
            Status::CHECK_CONDITION => "CHECK CONDITION",
            Status::CONDITION_MET => "CONDITION MET",
            Status::BUSY => "BUSY",
            Status::RESERVATION_CONFLICT => "RESERVATION CONFLICT",
            Status::TASK_SET_FULL => "TASK SET FULL",
            Status::ACA_ACTIVE => "ACA ACTIVE",
            Status::TASK_ABORTED => "TASK ABORTED",
            _ => return None,
        })
    }
}

/// Data that travels to the initiator with the outcome.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum DataIn {
    /// No data.
    #[default]
    None,
    /// Parameter data made by a core, already cut to the allocation length.
    Inline(Vec<u8>),
    /// The first `len` bytes of the task's payload, which the shell holds and a store has filled completely.
    Payload {
        /// Bytes to send.
        len: u32,
    },
}

impl DataIn {
    /// Number of bytes the device server has for the initiator (before the initiator's expected length cuts it).
    pub fn len(&self) -> u32 {
        match self {
            DataIn::None => 0,
            DataIn::Inline(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            DataIn::Payload { len } => *len,
        }
    }

    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The end of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// SCSI status.
    pub status: Status,
    /// Sense data; present with CHECK CONDITION only.
    pub sense: Option<Sense>,
    /// Data for the initiator. Always [`DataIn::None`] when the status is not GOOD or CONDITION MET, unless a command defines otherwise.
    pub data_in: DataIn,
    /// Bytes of data-out the command consumed (for the residual: an initiator that offered more sees an underflow).
    pub data_out: u32,
}

impl Outcome {
    /// GOOD without data-in; `data_out` bytes were consumed.
    pub const fn good(data_out: u32) -> Outcome {
        Outcome { status: Status::GOOD, sense: None, data_in: DataIn::None, data_out }
    }

    /// GOOD with parameter data that is already cut to the allocation length.
    pub const fn inline(bytes: Vec<u8>) -> Outcome {
        Outcome { status: Status::GOOD, sense: None, data_in: DataIn::Inline(bytes), data_out: 0 }
    }

    /// CHECK CONDITION with `sense`, no data moved.
    pub const fn check(sense: Sense) -> Outcome {
        Outcome { status: Status::CHECK_CONDITION, sense: Some(sense), data_in: DataIn::None, data_out: 0 }
    }

    /// A bare status without sense or data.
    pub const fn status(status: Status) -> Outcome {
        Outcome { status, sense: None, data_in: DataIn::None, data_out: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sense::Asc;
    use std::vec;

    #[test]
    fn names_of_status() {
        assert_eq!(Status::TASK_SET_FULL.name(), Some("TASK SET FULL"));
        assert_eq!(Status(0x22).name(), None);
        assert_eq!((0..=u8::MAX).filter(|&byte| Status(byte).name().is_some()).count(), 8);
    }

    #[test]
    fn only_what_was_asked_for_travels() {
        let check = Outcome::check(Sense::illegal(Asc::LBA_OUT_OF_RANGE));
        assert_eq!((check.status, check.data_in.len(), check.data_out), (Status::CHECK_CONDITION, 0, 0));
        assert!(Outcome::good(512).data_in.is_empty() && Outcome::good(512).sense.is_none());
        assert_eq!(Outcome::good(512).data_out, 512);
        assert_eq!(Outcome::inline(vec![1, 2, 3]).data_in.len(), 3);
        assert_eq!(DataIn::Payload { len: 4096 }.len(), 4096);
        assert_eq!(Outcome::status(Status::BUSY).sense, None);
    }
}
