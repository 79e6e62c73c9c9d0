//! What a device asks of the world, and what the world answers.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use scsi::command::Operation;
use scsi::{Asc, CommandRow, Outcome, RelativePort};

use crate::guard::Guard;

use crate::guard::Violation;

/// The target port through which a command came: INQUIRY VPD page 83h names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortIdentity {
    /// iSCSI name of the target.
    pub target_name: String,
    /// Target portal group tag.
    pub group_tag: u16,
    /// Relative target port identifier.
    pub relative_port: RelativePort,
}

/// A command as the device sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The row that [`lookup`](scsi::command::lookup) found.
    pub row: &'static CommandRow,
    /// The CDB, at least as long as the row's.
    pub cdb: &'a [u8],
    /// Bytes the initiator offers to send.
    pub data_out: u32,
    /// Bytes the initiator is ready to take.
    pub data_in: u32,
    /// Number of the I_T nexus, unique over the life of the process.
    pub nexus: u64,
    /// The port it came through.
    pub port: &'a PortIdentity,
}

/// An operation on the medium. Offsets and lengths are in bytes. `payload` fields are offsets into the task's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreOp {
    /// Medium to payload, the payload's first `len` bytes.
    Read {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u32,
    },
    /// Payload to medium.
    Write {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u32,
        /// Where the data start in the payload.
        payload: u32,
        /// Durable before it ends (FUA, or no write cache).
        stable: bool,
    },
    /// Compare medium and payload: `Equal` or `Differs`.
    Compare {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u32,
        /// Where the data start in the payload.
        payload: u32,
    },
    /// Compare every `block` bytes of the medium with the payload's first `block` bytes.
    CompareSame {
        /// First byte on the medium.
        offset: u64,
        /// Bytes on the medium, a multiple of `block`.
        len: u64,
        /// Bytes of the pattern.
        block: u32,
    },
    /// Read and throw away: VERIFY without data must find unreadable blocks.
    Check {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Repeat the payload's first `block` bytes over the range.
    WriteSame {
        /// First byte on the medium.
        offset: u64,
        /// Bytes, a multiple of `block`.
        len: u64,
        /// Bytes of the pattern.
        block: u32,
        /// Durable before it ends.
        stable: bool,
    },
    /// Repeat a pattern over the range, from the beginning of every block anew.
    Fill {
        /// First byte on the medium.
        offset: u64,
        /// Bytes, a multiple of `block`.
        len: u64,
        /// Bytes of a block.
        block: u32,
        /// Where the pattern starts in the payload.
        payload: u32,
        /// Bytes of the pattern, at least one.
        pattern: u32,
        /// Every bit turned over.
        invert: bool,
    },
    /// The payload's first `len` bytes become what is in them or on the medium, bit by bit. The medium stays.
    Or {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u32,
    },
    /// Zeros over the range; blocks stay allocated or not as the store likes.
    Zero {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Durable before it ends.
        stable: bool,
    },
    /// Deallocate; the range reads as zeros afterwards.
    Discard {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Everything written to the range is durable when it ends. `len` 0: to the end.
    Flush {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// A hint that the range will be read.
    Prefetch {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Which parts of the range are allocated, at most `max` extents.
    Extents {
        /// First byte on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Upper bound of the answer.
        max: u32,
    },
}

impl StoreOp {
    /// First byte of the operation's range.
    pub fn start(&self) -> u64 {
        self.range().0
    }

    /// First byte behind the operation's range.
    pub fn end(&self) -> u64 {
        let (offset, len) = self.range();
        offset.saturating_add(len)
    }

    fn range(&self) -> (u64, u64) {
        match *self {
            StoreOp::Read { offset, len } | StoreOp::Write { offset, len, .. } | StoreOp::Compare { offset, len, .. } => (offset, u64::from(len)),
            StoreOp::Or { offset, len } => (offset, u64::from(len)),
            StoreOp::Fill { offset, len, .. }
            | StoreOp::CompareSame { offset, len, .. }
            | StoreOp::Check { offset, len }
            | StoreOp::WriteSame { offset, len, .. }
            | StoreOp::Zero { offset, len, .. }
            | StoreOp::Discard { offset, len }
            | StoreOp::Flush { offset, len }
            | StoreOp::Prefetch { offset, len }
            | StoreOp::Extents { offset, len, .. } => (offset, len),
        }
    }
}

/// A piece of the medium with one provisioning state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// True when the store holds blocks for it.
    pub mapped: bool,
}

/// A store operation that ended well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreAnswer {
    /// Done.
    Done,
    /// The compared bytes agree.
    Equal,
    /// They do not; `at` is the offset of the first difference from the start of the comparison, in bytes.
    Differs {
        /// Bytes from the start of the comparison.
        at: u64,
    },
    /// Answer to [`StoreOp::Extents`].
    Extents(Vec<Extent>),
}

/// Why a store operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreFault {
    /// No space left: 7/2707.
    NoSpace,
    /// Read-only store: 7/2700.
    ReadOnly,
    /// The medium failed at `at` (byte offset from the start of the operation, when known): MEDIUM ERROR with the ASC of the direction.
    Io {
        /// Bytes from the start of the operation.
        at: Option<u64>,
    },
    /// The store cannot do this: 5/2000 or a fallback.
    Unsupported,
    /// The store ends before the operation does, because it was made smaller: 5/2100.
    OutOfRange,
    /// The protection information of the block at `at` is wrong: B/1001, 1002 or 1003.
    Protection {
        /// Bytes from the start of the operation.
        at: u64,
        /// The field that is wrong.
        what: Violation,
    },
    /// The store is gone: NOT READY.
    Gone,
    /// A fault rule says so: this sense key and code.
    Injected {
        /// Sense key.
        key: scsi::SenseKey,
        /// Additional sense code.
        asc: Asc,
    },
}

/// How a store operation ended.
pub type StoreResult = Result<StoreAnswer, StoreFault>;

/// What a command needs next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The first `len` bytes of data-out. With `inline` they are parameters: at most 64 KiB, handed to `fetched`.
    Fetch {
        /// Bytes wanted, not more than the initiator offered.
        len: u32,
        /// The device reads them itself.
        inline: bool,
    },
    /// One operation on the medium.
    Store(StoreOp),
    /// The end.
    Finish(Outcome),
}

/// An operation that the unit asks for without a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Errand {
    /// Comes back with the result; grows by one from errand to errand.
    pub number: u64,
    /// What.
    pub op: StoreOp,
    /// The command that began the work, as fault rules know it.
    pub operation: Option<Operation>,
    /// What it does with protection information, on a unit that has it.
    pub guard: Option<Box<Guard>>,
    /// The bytes that `op` means by its payload, at most 64 KiB. No errand reads into it.
    pub payload: Arc<[u8]>,
}

/// A change that other nexuses hear of as a unit attention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The code of the unit attention.
    pub asc: Asc,
    /// The nexus that caused it and does not hear of it; `None`: everybody does.
    pub except: Option<u64>,
}
