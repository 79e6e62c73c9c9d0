//! Where bytes live.
//!
//! A store turns an operation into an I/O plan, or answers at once. It knows nothing of SCSI and nothing of rings. A new store is one file and one line,
//! and passes the contract test of this crate.
//!
//! * [`Memory`]: sparse memory. [`Null`]: nothing. [`File`]: a file or block device, cached or direct, perhaps with its changes in memory only.
//! * [`Protected`]: another store with something kept beside each block.
//! * [`blocking`]: the operations of [`Io`] for a thread that may block.
//! * [`cartridge`]: tape images.

pub mod blocking;
pub mod cartridge;
mod file;
pub mod lock;
mod memory;
mod null;
mod overlay;
pub mod protected;

pub use file::{File, OpenError, OpenErrorKind, OpenOptions};
pub use memory::Memory;
pub use null::Null;
pub use protected::Protected;

use std::os::fd::RawFd;
use std::sync::Arc;

/// What a store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Size in bytes.
    pub bytes: u64,
    /// It can only be read.
    pub read_only: bool,
    /// It can deallocate.
    pub can_discard: bool,
    /// Preferred I/O size in bytes, 0 when unknown.
    pub preferred: u32,
    /// What it keeps survives the process.
    pub durable: bool,
    /// Transfers whose memory, offset and length are multiples of this go straight to the medium (direct I/O); others are right too, but slower. 1
    /// where it makes no difference.
    pub alignment: u32,
}

/// Why an operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// ENOSPC, EDQUOT.
    NoSpace,
    /// EROFS, or a store opened read-only.
    ReadOnly,
    /// Any other failure of the medium; the system's error number.
    Io(i32),
    /// The store cannot do this.
    Unsupported,
    /// The range lies outside the store: a bug above.
    OutOfRange,
}

/// Why a store has no other size: one line that names the cure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResizeError {
    /// This kind has the size it has.
    #[error("a store of this kind keeps its size")]
    Unsupported,
    /// Nothing to look at again.
    #[error("a memory disk has no size of its own to look at: say how many bytes it is to have")]
    NothingToRead,
    /// Its size is not ours to set.
    #[error("a block device cannot be resized from here: resize it where it comes from, then ask without a size")]
    BlockDevice,
    /// Opened read-only, or with its changes in memory only.
    #[error("the image is never written to, so it keeps its size: open it for writing")]
    ReadOnly,
    /// Less than a block.
    #[error("{0} bytes are less than one block of {BLOCK}")]
    TooSmall(u64),
    /// The system's error number.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    System(i32),
}

/// The smallest logical block.
pub(crate) const BLOCK: u64 = 512;

/// An operation for a reactor to execute on a file descriptor. Reads and writes use the buffer that the caller passed to the store; a short read
/// past the end of the file is filled with zeros, a short write is continued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Io {
    /// Read into the caller's buffer.
    Read {
        /// File.
        file: RawFd,
        /// Position in the file.
        offset: u64,
    },
    /// Write the caller's bytes; `sync` makes them durable before it ends.
    Write {
        /// File.
        file: RawFd,
        /// Position in the file.
        offset: u64,
        /// RWF_DSYNC or a following fdatasync.
        sync: bool,
    },
    /// fdatasync.
    Sync {
        /// File.
        file: RawFd,
    },
    /// fallocate(PUNCH_HOLE | KEEP_SIZE), or BLKDISCARD.
    Discard {
        /// File.
        file: RawFd,
        /// Position.
        offset: u64,
        /// Bytes.
        len: u64,
        /// A block device.
        block_device: bool,
    },
    /// fallocate(ZERO_RANGE | KEEP_SIZE), or BLKZEROOUT; falls back to writing zeros. `sync` as above.
    Zero {
        /// File.
        file: RawFd,
        /// Position.
        offset: u64,
        /// Bytes.
        len: u64,
        /// A block device.
        block_device: bool,
        /// Durable before it ends.
        sync: bool,
    },
}

/// A store's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Finished now.
    Done(Result<(), Error>),
    /// The caller's reactor does this and translates the result with [`error_of`].
    Io(Io),
}

/// A piece of a store with one allocation state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Holds blocks.
    pub mapped: bool,
}

/// A place for bytes. Shared by all reactors; answers are immediate or plans, nothing blocks for long.
pub trait Store: Send + Sync {
    /// What it is.
    fn geometry(&self) -> Geometry;
    /// Fill `into` from `offset`.
    fn read(&self, offset: u64, into: &mut [u8]) -> Plan;
    /// Keep `from` at `offset`; `stable`: durable before it ends.
    fn write(&self, offset: u64, from: &[u8], stable: bool) -> Plan;
    /// Make durable what was written to the range (`len` 0: everything).
    fn flush(&self, offset: u64, len: u64) -> Plan;
    /// The range reads as zeros afterwards.
    fn zero(&self, offset: u64, len: u64, stable: bool) -> Plan;
    /// Deallocate; the range reads as zeros afterwards.
    fn discard(&self, offset: u64, len: u64) -> Plan;
    /// Allocation of the range, at most `max` extents, contiguous from `offset`.
    fn extents(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, Error>;
    /// A hint that the range will be read.
    fn prefetch(&self, offset: u64, len: u64);
    /// Kind, as `bstype` names it: `rdwr`, `memory`, `null`.
    fn kind(&self) -> &'static str;
    /// The side of a store that keeps something beside each block.
    fn protected(&self) -> Option<&Protected> {
        None
    }
    /// A store over the same bytes with another size: `bytes`, or (`None`) the size the medium has now. What is behind a smaller end is lost; what is
    /// new reads as zeros. This one goes on as it is: whoever shrinks sees to it that no operation behind the new end runs here any more.
    ///
    /// # Errors
    /// The reason; nothing has changed then.
    fn resized(&self, bytes: Option<u64>) -> Result<Arc<dyn Store>, ResizeError> {
        let _ = bytes;
        Err(ResizeError::Unsupported)
    }
}

/// Our error for a system error number.
pub fn error_of(errno: i32) -> Error {
    match errno {
        libc::ENOSPC | libc::EDQUOT => Error::NoSpace,
        libc::EROFS | libc::EBADF | libc::EPERM => Error::ReadOnly,
        libc::EOPNOTSUPP | libc::ENOSYS => Error::Unsupported,
        other => Error::Io(other),
    }
}

/// Checks that a range lies inside `bytes`.
pub(crate) fn range(bytes: u64, offset: u64, len: u64) -> Result<(), Error> {
    match offset.checked_add(len) {
        Some(end) if end <= bytes => Ok(()),
        _ => Err(Error::OutOfRange),
    }
}

/// Appends an extent that follows the last one, joined with it when both are alike. False: there are `max` already and this would be one more.
pub(crate) fn append(extents: &mut Vec<Extent>, extent: Extent, max: usize) -> bool {
    if let Some(last) = extents.last_mut()
        && last.mapped == extent.mapped
    {
        last.len += extent.len;
        return true;
    }
    let room = extents.len() < max;
    if room {
        extents.push(extent);
    }
    room
}
