//! The operations of [`crate::Io`] as plain system calls, for a thread that may block.
//!
//! Errors are the system's numbers; [`crate::error_of`] translates them.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

/// BLKDISCARD of linux/fs.h: `_IO(0x12, 119)`.
const BLOCK_DISCARD: libc::Ioctl = 0x1277;
/// BLKZEROOUT: `_IO(0x12, 127)`.
const BLOCK_ZERO_OUT: libc::Ioctl = 0x127f;
/// Zeros are written in pieces of this size where nothing better works.
const ZERO_PIECE: usize = 1 << 20;

/// Fills `into` from `offset`; with zeros past the end of the file.
pub fn read(file: BorrowedFd<'_>, offset: u64, into: &mut [u8]) -> Result<(), i32> {
    let mut done = 0;
    while done < into.len() {
        match rustix::io::pread(file, &mut into[done..], offset + done as u64) {
            Ok(0) => {
                into[done..].fill(0);
                break;
            }
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.raw_os_error()),
        }
    }
    Ok(())
}

/// Writes all of `from`; with `sync` it is durable afterwards.
pub fn write(file: BorrowedFd<'_>, offset: u64, from: &[u8], sync: bool) -> Result<(), i32> {
    let flags = if sync { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
    let mut done = 0;
    while done < from.len() {
        let position = offset + done as u64;
        let written = if sync {
            rustix::io::pwritev2(file, &[std::io::IoSlice::new(&from[done..])], position, flags)
        } else {
            rustix::io::pwrite(file, &from[done..], position)
        };
        match written {
            // A device that takes nothing and gives no reason is full or gone.
            Ok(0) => return Err(libc::EIO),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP) if sync => {
                write(file, position, &from[done..], false)?;
                return self::sync(file);
            }
            Err(error) => return Err(error.raw_os_error()),
        }
    }
    Ok(())
}

/// fdatasync.
pub fn sync(file: BorrowedFd<'_>) -> Result<(), i32> {
    loop {
        match rustix::fs::fdatasync(file) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.raw_os_error()),
        }
    }
}

/// Deallocates. On a file the range reads as zeros afterwards; on a block device that is the device's affair (use [`zero`] where it matters).
pub fn discard(file: BorrowedFd<'_>, offset: u64, len: u64, block_device: bool) -> Result<(), i32> {
    if len == 0 {
        return Ok(());
    }
    if block_device { block_range(file, BLOCK_DISCARD, offset, len) } else { allocate(file, FallocateFlags::PUNCH_HOLE, offset, len) }
}

/// Makes the range read as zeros, the cheapest way that works; with `sync` durable afterwards.
pub fn zero(file: BorrowedFd<'_>, offset: u64, len: u64, block_device: bool, sync: bool) -> Result<(), i32> {
    if len == 0 {
        return Ok(());
    }
    let direct = if block_device {
        block_range(file, BLOCK_ZERO_OUT, offset, len)
    } else {
        allocate(file, FallocateFlags::ZERO_RANGE, offset, len).or_else(|error| match error {
            // tmpfs knows holes only.
            libc::EOPNOTSUPP => allocate(file, FallocateFlags::PUNCH_HOLE, offset, len),
            error => Err(error),
        })
    };
    match direct {
        Ok(()) => {}
        // EINVAL: a block device takes whole sectors only.
        Err(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL) => write_zeros(file, offset, len)?,
        Err(error) => return Err(error),
    }
    if sync { self::sync(file) } else { Ok(()) }
}

/// Size of a block device in bytes.
pub fn block_device_size(file: BorrowedFd<'_>) -> Result<u64, i32> {
    /// BLKGETSIZE64: `_IOR(0x12, 114, size_t)`.
    const BLOCK_GET_SIZE: libc::Ioctl = 0x8008_1272;
    let mut bytes = 0u64;
    // SAFETY: the descriptor is borrowed for the call; BLKGETSIZE64 writes one u64 to the pointer, which is valid.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), BLOCK_GET_SIZE, &raw mut bytes) };
    if result == 0 { Ok(bytes) } else { Err(last_error()) }
}

fn allocate(file: BorrowedFd<'_>, how: FallocateFlags, offset: u64, len: u64) -> Result<(), i32> {
    loop {
        match rustix::fs::fallocate(file, how | FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.raw_os_error()),
        }
    }
}

fn block_range(file: BorrowedFd<'_>, request: libc::Ioctl, offset: u64, len: u64) -> Result<(), i32> {
    let range = [offset, len];
    // SAFETY: the descriptor is borrowed for the call; both requests read two u64 from the pointer, which is valid.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, range.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

fn write_zeros(file: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), i32> {
    // Aligned, for a descriptor with direct I/O.
    #[repr(align(4096))]
    struct Zeros([u8; ZERO_PIECE]);
    static ZEROS: Zeros = Zeros([0; ZERO_PIECE]);
    let mut done = 0;
    while done < len {
        let piece = usize::try_from(len - done).unwrap_or(ZERO_PIECE).min(ZERO_PIECE);
        write(file, offset + done, &ZEROS.0[..piece], false)?;
        done += piece as u64;
    }
    Ok(())
}

fn last_error() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn scratch() -> std::fs::File {
        let path = std::env::temp_dir().join(format!("store-blocking-{}-{:?}", std::process::id(), std::thread::current().id()));
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn what_is_past_the_end_reads_as_zeros() {
        let file = scratch();
        write(file.as_fd(), 0, b"abc", true).unwrap();
        let mut bytes = [0xffu8; 6];
        read(file.as_fd(), 1, &mut bytes).unwrap();
        assert_eq!(&bytes, b"bc\0\0\0\0");
    }

    #[test]
    fn zero_and_discard_leave_the_neighbours() {
        let file = scratch();
        write(file.as_fd(), 0, &[7u8; 20_000], false).unwrap();
        zero(file.as_fd(), 100, 5000, false, true).unwrap();
        discard(file.as_fd(), 8192, 8192, false).unwrap();
        let mut bytes = vec![0u8; 20_000];
        read(file.as_fd(), 0, &mut bytes).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            let cleared = (100..5100).contains(&at) || (8192..16384).contains(&at);
            assert_eq!(*byte, if cleared { 0 } else { 7 }, "at {at}");
        }
        assert_eq!(file.metadata().unwrap().len(), 20_000);
    }

    #[test]
    fn zeros_can_be_written() {
        let file = scratch();
        write(file.as_fd(), 0, &[7u8; 10], false).unwrap();
        write_zeros(file.as_fd(), 2, 5).unwrap();
        let mut bytes = [0u8; 10];
        read(file.as_fd(), 0, &mut bytes).unwrap();
        assert_eq!(bytes, [7, 7, 0, 0, 0, 0, 0, 7, 7, 7]);
    }

    #[test]
    fn errors_are_numbers() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(read(reader.as_fd(), 0, &mut [0u8; 4]), Err(libc::ESPIPE));
        assert_eq!(block_device_size(scratch().as_fd()), Err(libc::ENOTTY));
    }
}
