//! What goes into a unit and what comes out of it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use device::{Errand, Guard, PortIdentity, StoreOp};
use scsi::{Asc, Lun, Outcome, TaskAttribute};

pub use crate::copy::{Answer, PartCommand, PartEnd, PartUnit, Question, TokenFacts, UnitFacts};

/// An I_T nexus of this process: one iSCSI session. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NexusId(pub u64);

/// Who an I_T nexus is, over logins and restarts (SPC: initiator port and target port).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NexusIdentity {
    /// iSCSI name of the initiator.
    pub initiator_name: String,
    /// ISID, six bytes.
    pub isid: [u8; 6],
    /// The target port.
    pub port: PortIdentity,
}

impl NexusIdentity {
    /// A number for this identity that is the same in every run: FNV-1a with 64 bits over the initiator name, a NUL, the ISID, the target name,
    /// a NUL, and the target portal group tag in network order. Keys of fault decisions are made from it, so it never changes.
    ///
    /// An ISID of the random format (RFC 7143 11.12.5, T = 10b) counts as six zeros: libiscsi and QEMU draw a new one for each login, and the same program run
    /// twice must meet the same faults.
    pub fn stable_key(&self) -> u64 {
        let isid = if self.isid[0] >> 6 == 0b10 { [0; 6] } else { self.isid };
        let parts: [&[u8]; 6] =
            [self.initiator_name.as_bytes(), &[0], &isid, self.port.target_name.as_bytes(), &[0], &self.port.group_tag.to_be_bytes()];
        let bytes = parts.into_iter().flatten();
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

/// The initiator's name for a task: for iSCSI the initiator task tag. Unique per nexus while the task lives (the session guarantees it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskTag(pub u32);

/// A task of a unit. The slot is reused; the generation tells a late answer from a right one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TaskRef {
    /// Slab slot.
    pub slot: u32,
    /// Generation of the slot.
    pub generation: u32,
    /// Whose it is: the shell sends the effect to the reactor that runs this nexus.
    pub nexus: NexusId,
    /// Its tag.
    pub tag: TaskTag,
    /// It is a part of a copy: the tag is the shell's, not the initiator's.
    pub part: bool,
}

/// A SCSI command as a session delivers it, in CmdSN order.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Whose.
    pub nexus: NexusId,
    /// Tag.
    pub tag: TaskTag,
    /// LUN as it came.
    pub lun: Lun,
    /// CDB, 6 to 260 bytes.
    pub cdb: &'a [u8],
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Expected data-out length in bytes.
    pub data_out: u32,
    /// Expected data-in length in bytes.
    pub data_in: u32,
    /// Numbers of the units the initiator may see, ascending (REPORT LUNS).
    pub luns: &'a [u64],
    /// False: there is no unit at `lun`; the command was routed to LUN 0, which answers for it (INQUIRY 7Fh, 5/2500).
    pub unit_exists: bool,
}

/// A task management function on one unit (SAM-5 7). Target-wide functions are one call per unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    /// Who asks.
    pub nexus: NexusId,
    /// The initiator task tag of the request: comes back with the response.
    pub tag: TaskTag,
    /// What.
    pub kind: FunctionKind,
}

/// Task management functions (SAM-5 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum FunctionKind {
    AbortTask(TaskTag),
    AbortTaskSet,
    ClearAca,
    ClearTaskSet,
    LogicalUnitReset,
    QueryTask(TaskTag),
    QueryTaskSet,
    QueryAsynchronousEvent,
    /// I_T NEXUS RESET: this nexus loses its tasks and its reservation by RESERVE, and gets a unit attention.
    NexusReset,
}

/// Response to a task management function, in SAM's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum FunctionResponse {
    Complete,
    Succeeded,
    /// With the unit attention that QUERY ASYNCHRONOUS EVENT tells: sense key, ASC, ASCQ.
    SucceededWith(Asc),
    TaskDoesNotExist,
    LunDoesNotExist,
    Rejected,
    NotSupported,
}

/// Why a task vanished without an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abort {
    /// Its own nexus asked: no response is sent.
    ByOwnNexus,
    /// Another nexus asked: TASK ABORTED is sent when `respond` (TAS = 1), otherwise nothing.
    ByOther {
        /// TAS bit of the control mode page.
        respond: bool,
    },
    /// The nexus itself is gone.
    NexusLost,
}

/// What a unit wants done. Carried out by the shell, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Bring the first `len` bytes of data-out (what is there already counts), then call `handle_fetched`.
    Fetch {
        /// For this task.
        task: TaskRef,
        /// Bytes.
        len: u32,
        /// Hand the bytes to the unit (parameters, at most 64 KiB).
        inline: bool,
    },
    /// Do this to the store with the task's payload, then call `handle_stored`.
    Store {
        /// For this task.
        task: TaskRef,
        /// What.
        op: StoreOp,
        /// What it does with protection information, on a unit that has it.
        guard: Option<Box<Guard>>,
    },
    /// Do this to the store on behalf of the unit itself, then call `handle_errand`. One at a time.
    Errand(Errand),
    /// Make this durable in place of what the unit kept before (nothing: forget that), then call `handle_persisted`. One at a time.
    Persist {
        /// For this task.
        task: TaskRef,
        /// What outlives a loss of power.
        bytes: Vec<u8>,
    },
    /// The task ended. Its payload goes with the answer, then is free.
    Respond {
        /// Which.
        task: TaskRef,
        /// How.
        outcome: Outcome,
    },
    /// The task is gone without outcome. Never emitted while a store operation of the task runs: the unit waits for `handle_stored` first, so that
    /// what was reported finished cannot land afterwards.
    Aborted {
        /// Which.
        task: TaskRef,
        /// Why.
        why: Abort,
    },
    /// A task management function ended: all tasks it ended are reported before it.
    FunctionDone {
        /// Who asked.
        nexus: NexusId,
        /// With which tag.
        tag: TaskTag,
        /// The answer.
        response: FunctionResponse,
    },
    /// Cut the connection that carries this task's nexus, without a word.
    Drop {
        /// Whose.
        nexus: NexusId,
    },
    /// A copy begins. Ask the units that its nexus can reach, then call `handle_surveyed`; the units that answered are the copy's from now on.
    Survey {
        /// The task that copies. It never ends while the shell owes it an answer.
        task: TaskRef,
        /// What to ask them.
        questions: Vec<Question>,
    },
    /// Bring a command of the copy to a unit (`handle_part`), with the copy's payload, then call `handle_part_ended`. One at a time.
    Part {
        /// The task that copies.
        task: TaskRef,
        /// Where.
        unit: PartUnit,
        /// What.
        command: Box<PartCommand>,
    },
    /// The copy waits for its part only as long as the unit needs to let go of it: `cancel_part`.
    CancelPart {
        /// The task that copies.
        task: TaskRef,
    },
    /// The copy goes on as another task, which answers nobody.
    CopyMoved {
        /// As before.
        task: TaskRef,
        /// As from now on.
        into: TaskRef,
    },
    /// The token that the copy read from has served: `delete_token` at the unit that made it.
    DeleteToken {
        /// The task that copies.
        task: TaskRef,
        /// That unit's number for it.
        token: u64,
    },
    /// The copy is over, and its payload free.
    CopyEnded {
        /// The task that copied.
        task: TaskRef,
    },
}
