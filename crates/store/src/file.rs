//! Files and block devices.
//!
//! Who answers what, as measured: on tmpfs everything is done inline, since the ring would hand it to a thread. Through the page cache, reads are tried
//! inline without waiting and go to the reactor when the page is not there; writes up to 256 KiB are copied inline, durable ones go to the reactor. With direct
//! I/O everything goes to the reactor; what is not aligned for it takes a second, cached descriptor, and is made durable at once, so that
//! a plain and a direct write promise the same.

use std::fs::File as SystemFile;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, SeekFrom, StatxFlags};
use rustix::io::ReadWriteFlags;

use crate::lock::{self, Lock, LockError};
use crate::overlay::{Overlay, Source};
use crate::{BLOCK, Error, Extent, Geometry, Io, Plan, ResizeError, Store, blocking, error_of, range};

/// Cached transfers up to this many bytes are done inline: a copy of this size takes some tens of microseconds, what a wake-up of a worker costs.
const INLINE: usize = 256 << 10;
/// A read-ahead hint covers at most this many bytes: the call itself starts I/O and must not take long.
const PREFETCH: u64 = 4 << 20;
/// How to open an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenOptions {
    /// Past the page cache (O_DIRECT).
    pub direct: bool,
    /// Every write is durable when it ends (O_SYNC).
    pub sync: bool,
    /// Refuse writes.
    pub read_only: bool,
    /// Never write to the image: changes live in memory and end with the store.
    pub ephemeral: bool,
}

/// A file or block device.
pub struct File {
    /// With overlay and lock, shared with the same image in other sizes.
    access: Arc<Access>,
    handle: RawFd,
    geometry: Geometry,
    policy: Policy,
    block_device: bool,
    sync: bool,
    fell_back: bool,
    overlay: Option<Arc<Overlay>>,
    lock: Option<Arc<Lock>>,
}

/// Why an image cannot be opened: its text is one line that names the cure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct OpenError {
    /// What kind of reason.
    pub kind: OpenErrorKind,
    message: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenErrorKind {
    /// No such file.
    NotFound,
    /// A directory, pipe, socket or character device.
    NotAnImage,
    /// Not even reading is allowed.
    Permission,
    /// Smaller than one block.
    TooSmall,
    /// Another process has it.
    Busy,
    /// The file system has no direct I/O.
    NoDirect,
    /// Anything else; the system's error number.
    System(i32),
}

/// Descriptors.
enum Access {
    /// Ours.
    Open {
        file: SystemFile,
        /// With direct I/O: the same file through the page cache, for what is not aligned.
        cached: Option<SystemFile>,
    },
    /// The simulator's number: no system call is made with it.
    Foreign,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// tmpfs.
    Inline,
    /// Through the page cache.
    Cached,
    /// Past it: memory addresses must be multiples of `memory`, offsets and lengths of `offset`.
    Direct { memory: usize, offset: u64 },
    /// Everything goes to the reactor.
    Planned,
}

impl File {
    /// Opens an image and takes its lock. When writing is not permitted (file mode, read-only mount) it is opened for reading, as the original does.
    pub fn open(path: &Path, options: OpenOptions) -> Result<File, OpenError> {
        let metadata = std::fs::metadata(path).map_err(|error| explain(path, &error))?;
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            return Err(not_an_image(path, &metadata));
        }
        let (file, writable) = open_descriptor(path, options)?;
        let read_only = options.read_only || (!writable && !options.ephemeral);
        let fell_back = read_only && !options.read_only;
        let block_device = file.metadata().map_err(|error| explain(path, &error))?.file_type().is_block_device();
        let lock = lock::take(&file, writable).map_err(|error| locked(path, error))?;
        let cached = if options.direct { Some(open_cached(path, writable).map_err(|error| explain(path, &error))?) } else { None };
        let policy = policy_of(&file, options, block_device);
        let geometry = geometry_of(path, &file, policy, read_only)?;
        let handle = file.as_raw_fd();
        let overlay = options.ephemeral.then(|| Arc::new(Overlay::new()));
        let access = Arc::new(Access::Open { file, cached });
        let mut this = File { access, handle, geometry, policy, block_device, sync: options.sync, fell_back, overlay, lock: Some(Arc::new(lock)) };
        this.geometry.can_discard = !read_only && (options.ephemeral || this.probe_discard());
        this.geometry.durable = !options.ephemeral && policy != Policy::Inline;
        Ok(this)
    }

    /// A file of `bytes` that a simulated driver knows as `file`: every operation becomes a plan.
    pub fn from_handle(file: RawFd, bytes: u64) -> File {
        let geometry = Geometry { bytes, read_only: false, can_discard: true, preferred: 4096, durable: true, alignment: 1 };
        File {
            access: Arc::new(Access::Foreign),
            handle: file,
            geometry,
            policy: Policy::Planned,
            block_device: false,
            sync: false,
            fell_back: false,
            overlay: None,
            lock: None,
        }
    }

    /// Writing was wanted but not permitted.
    pub fn fell_back_to_read_only(&self) -> bool {
        self.fell_back
    }

    /// This process had the image open already: two units write to the same bytes.
    pub fn shared_in_process(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.shared)
    }

    /// Makes a regular file so long, or looks how long the medium is now.
    fn set_size(&self, bytes: Option<u64>) -> Result<u64, ResizeError> {
        let system = |error: io::Error| ResizeError::System(error.raw_os_error().unwrap_or(libc::EIO));
        let Access::Open { file, .. } = &*self.access else { return Err(ResizeError::Unsupported) };
        let size = if self.block_device {
            blocking::block_device_size(file.as_fd()).map_err(ResizeError::System)?
        } else {
            file.metadata().map_err(system)?.len()
        };
        let wanted = bytes.unwrap_or(size);
        if wanted < BLOCK {
            return Err(ResizeError::TooSmall(wanted));
        }
        // What was added outside and is not served is nobody's to cut off.
        if (self.geometry.bytes..=size).contains(&wanted) || wanted == size {
            return Ok(wanted);
        }
        if self.block_device {
            return Err(ResizeError::BlockDevice);
        }
        if self.geometry.read_only || self.overlay.is_some() {
            return Err(ResizeError::ReadOnly);
        }
        file.set_len(wanted).map_err(system)?;
        Ok(wanted)
    }

    /// A block device.
    pub fn is_block_device(&self) -> bool {
        self.block_device
    }

    /// The descriptor for calls that are not aligned for direct I/O.
    fn cached(&self) -> Option<BorrowedFd<'_>> {
        match &*self.access {
            Access::Open { file, cached } => Some(cached.as_ref().unwrap_or(file).as_fd()),
            Access::Foreign => None,
        }
    }

    fn cached_handle(&self) -> RawFd {
        self.cached().map_or(self.handle, |file| file.as_raw_fd())
    }

    /// Whether a hole can be made; asked past the end of the file, where it changes nothing.
    fn probe_discard(&self) -> bool {
        let Some(file) = self.cached() else { return true };
        if self.block_device {
            return queue_value(file, "discard_max_bytes").is_some_and(|bytes| bytes > 0);
        }
        let beyond = self.geometry.bytes.next_multiple_of(1 << 20);
        rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, beyond, 4096).is_ok()
    }

    /// Which descriptor serves a transfer, and whether it is the cached one beside a direct one.
    fn route(&self, offset: u64, address: usize, len: usize) -> (RawFd, bool) {
        match self.policy {
            Policy::Direct { memory, offset: unit } => {
                let aligned = address.is_multiple_of(memory) && offset.is_multiple_of(unit) && (len as u64).is_multiple_of(unit);
                if aligned { (self.handle, false) } else { (self.cached_handle(), true) }
            }
            _ => (self.handle, false),
        }
    }

    fn read_base(&self, offset: u64, into: &mut [u8]) -> Plan {
        let Some(file) = self.cached() else { return Plan::Io(Io::Read { file: self.handle, offset }) };
        match self.policy {
            Policy::Inline => Plan::Done(blocking::read(file, offset, into).map_err(error_of)),
            Policy::Cached if into.len() <= INLINE => {
                let wanted = into.len();
                match rustix::io::preadv2(file, &mut [io::IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT) {
                    Ok(read) if read == wanted => Plan::Done(Ok(())),
                    // Not in the cache, in part, or the end of the file: the reactor may wait and knows what to do.
                    _ => Plan::Io(Io::Read { file: self.handle, offset }),
                }
            }
            _ => Plan::Io(Io::Read { file: self.route(offset, into.as_ptr() as usize, into.len()).0, offset }),
        }
    }

    /// Reads the base here and now, for the parts of a mixed range.
    fn read_base_now(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        match self.cached() {
            Some(file) => blocking::read(file, offset, into).map_err(error_of),
            None => Err(Error::Unsupported),
        }
    }

    fn base_extents(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, Error> {
        let whole = vec![Extent { offset, len, mapped: true }];
        let Some(file) = self.cached().filter(|_| !self.block_device) else { return Ok(whole) };
        let end = offset + len;
        let mut extents = Vec::new();
        let (mut position, mut mapped) = (offset, true);
        while position < end && extents.len() < max {
            let next = if mapped { SeekFrom::Hole(position) } else { SeekFrom::Data(position) };
            let next = match rustix::fs::seek(file, next) {
                Ok(next) => next.min(end),
                // Past the end of the data there is only a hole.
                Err(rustix::io::Errno::NXIO) => {
                    if mapped {
                        mapped = false;
                        continue;
                    }
                    end
                }
                Err(rustix::io::Errno::INVAL) => return Ok(whole),
                Err(error) => return Err(error_of(error.raw_os_error())),
            };
            if next > position {
                extents.push(Extent { offset: position, len: next - position, mapped });
            }
            position = next;
            mapped = !mapped;
        }
        Ok(extents)
    }

    fn check_write(&self, offset: u64, len: u64) -> Result<(), Error> {
        range(self.geometry.bytes, offset, len)?;
        if self.geometry.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }
}

impl Store for File {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Plan {
        let len = into.len() as u64;
        if let Err(error) = range(self.geometry.bytes, offset, len) {
            return Plan::Done(Err(error));
        }
        if into.is_empty() {
            return Plan::Done(Ok(()));
        }
        let Some(overlay) = &self.overlay else { return self.read_base(offset, into) };
        match overlay.source(offset, len) {
            Source::Base => return self.read_base(offset, into),
            Source::Overlay => {}
            Source::Mixed => {
                if let Err(error) = self.read_base_now(offset, into) {
                    return Plan::Done(Err(error));
                }
            }
        }
        overlay.patch(offset, into);
        Plan::Done(Ok(()))
    }

    fn write(&self, offset: u64, from: &[u8], stable: bool) -> Plan {
        if let Err(error) = self.check_write(offset, from.len() as u64) {
            return Plan::Done(Err(error));
        }
        if from.is_empty() {
            return Plan::Done(Ok(()));
        }
        if let Some(overlay) = &self.overlay {
            return Plan::Done(overlay.write(offset, from, |offset, into| self.read_base_now(offset, into)));
        }
        let sync = stable || self.sync;
        let inline = match self.policy {
            Policy::Inline => true,
            Policy::Cached => !sync && from.len() <= INLINE,
            Policy::Direct { .. } | Policy::Planned => false,
        };
        match self.cached() {
            Some(file) if inline => Plan::Done(blocking::write(file, offset, from, false).map_err(error_of)),
            _ => {
                let (file, beside) = self.route(offset, from.as_ptr() as usize, from.len());
                Plan::Io(Io::Write { file, offset, sync: sync || beside })
            }
        }
    }

    fn flush(&self, offset: u64, len: u64) -> Plan {
        if let Err(error) = range(self.geometry.bytes, offset, len) {
            return Plan::Done(Err(error));
        }
        // Memory has nothing to make durable, and what is only read is as durable as it was.
        if self.overlay.is_some() || self.policy == Policy::Inline || self.geometry.read_only {
            return Plan::Done(Ok(()));
        }
        Plan::Io(Io::Sync { file: self.handle })
    }

    fn zero(&self, offset: u64, len: u64, stable: bool) -> Plan {
        if let Err(error) = self.check_write(offset, len) {
            return Plan::Done(Err(error));
        }
        if let Some(overlay) = &self.overlay {
            return Plan::Done(overlay.zero(offset, len, |offset, into| self.read_base_now(offset, into)));
        }
        if len == 0 {
            return Plan::Done(Ok(()));
        }
        let sync = (stable || self.sync) && self.policy != Policy::Inline;
        Plan::Io(Io::Zero { file: self.cached_handle(), offset, len, block_device: self.block_device, sync })
    }

    fn discard(&self, offset: u64, len: u64) -> Plan {
        if let Err(error) = self.check_write(offset, len) {
            return Plan::Done(Err(error));
        }
        if self.overlay.is_some() {
            return self.zero(offset, len, false);
        }
        if !self.geometry.can_discard {
            return Plan::Done(Err(Error::Unsupported));
        }
        if len == 0 {
            return Plan::Done(Ok(()));
        }
        let file = self.cached_handle();
        // After BLKDISCARD a device may read as anything; we promise zeros.
        Plan::Io(if self.block_device {
            Io::Zero { file, offset, len, block_device: true, sync: false }
        } else {
            Io::Discard { file, offset, len, block_device: false }
        })
    }

    fn extents(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, Error> {
        range(self.geometry.bytes, offset, len)?;
        if len == 0 || max == 0 {
            return Ok(Vec::new());
        }
        match &self.overlay {
            Some(overlay) => overlay.extents(offset, len, max, |offset, len| self.base_extents(offset, len, usize::MAX)),
            None => self.base_extents(offset, len, max),
        }
    }

    fn prefetch(&self, offset: u64, len: u64) {
        if let Some(file) = self.cached().filter(|_| self.policy == Policy::Cached)
            && let Some(len) = std::num::NonZeroU64::new(len.min(PREFETCH))
        {
            let _ = rustix::fs::fadvise(file, offset, Some(len), Advice::WillNeed);
        }
    }

    fn kind(&self) -> &'static str {
        "rdwr"
    }

    fn resized(&self, bytes: Option<u64>) -> Result<Arc<dyn Store>, ResizeError> {
        let bytes = self.set_size(bytes)?;
        let geometry = Geometry { bytes, ..self.geometry };
        let (access, overlay, lock) = (self.access.clone(), self.overlay.clone(), self.lock.clone());
        let File { handle, policy, block_device, sync, fell_back, .. } = *self;
        Ok(Arc::new(File { access, handle, geometry, policy, block_device, sync, fell_back, overlay, lock }))
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({}, {:?})", self.handle, self.geometry)
    }
}

fn open_cached(path: &Path, writable: bool) -> io::Result<SystemFile> {
    SystemFile::options().read(true).write(writable).custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK).open(path)
}

/// Opens as wanted, for reading if writing is not permitted. Returns whether it can be written.
fn open_descriptor(path: &Path, options: OpenOptions) -> Result<(SystemFile, bool), OpenError> {
    let mut flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    if options.direct {
        flags |= libc::O_DIRECT;
    }
    if options.sync {
        flags |= libc::O_SYNC;
    }
    let attempt = |writable| SystemFile::options().read(true).write(writable).custom_flags(flags).open(path);
    let write_wanted = !options.read_only && !options.ephemeral;
    let result = match attempt(write_wanted) {
        Err(error) if write_wanted && matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS)) => {
            attempt(false).map(|file| (file, false))
        }
        result => result.map(|file| (file, write_wanted)),
    };
    result.map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) if options.direct => {
            let message = format!("{}: its file system has no direct I/O: leave out `direct`", path.display());
            OpenError { kind: OpenErrorKind::NoDirect, message }
        }
        _ => explain(path, &error),
    })
}

fn policy_of(file: &SystemFile, options: OpenOptions, block_device: bool) -> Policy {
    /// TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h.
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    if options.direct {
        let (memory, offset) = direct_alignment(file, block_device);
        return Policy::Direct { memory, offset };
    }
    let kind = rustix::fs::fstatfs(file).map_or(0, |stat| u64::try_from(stat.f_type).unwrap_or(0));
    if !block_device && IN_MEMORY.contains(&kind) { Policy::Inline } else { Policy::Cached }
}

/// Alignment of memory and of offsets for direct I/O: as the system says (STATX_DIOALIGN, Linux 6.1), otherwise a page, which suits all.
fn direct_alignment(file: &SystemFile, block_device: bool) -> (usize, u64) {
    let wanted = StatxFlags::from_bits_retain(0x2000);
    if let Ok(stat) = rustix::fs::statx(file, "", rustix::fs::AtFlags::EMPTY_PATH, wanted)
        && stat.stx_mask & wanted.bits() != 0
        && stat.stx_dio_offset_align > 0
    {
        let memory = usize::try_from(stat.stx_dio_mem_align).unwrap_or(4096);
        return (memory.max(1), u64::from(stat.stx_dio_offset_align));
    }
    let logical = block_device.then(|| queue_value(file.as_fd(), "logical_block_size")).flatten();
    (4096, logical.unwrap_or(4096).max(1))
}

fn geometry_of(path: &Path, file: &SystemFile, policy: Policy, read_only: bool) -> Result<Geometry, OpenError> {
    let metadata = file.metadata().map_err(|error| explain(path, &error))?;
    let bytes = if metadata.file_type().is_block_device() {
        blocking::block_device_size(file.as_fd()).map_err(|error| explain(path, &io::Error::from_raw_os_error(error)))?
    } else {
        metadata.len()
    };
    if bytes < BLOCK {
        let shown = path.display();
        let message = format!("{shown}: {bytes} bytes are less than one block: give it a size, such as `truncate -s 1G {shown}`");
        return Err(OpenError { kind: OpenErrorKind::TooSmall, message });
    }
    let alignment = match policy {
        Policy::Direct { offset, .. } => u32::try_from(offset).unwrap_or(4096),
        _ => 1,
    };
    let preferred = u32::try_from(metadata.blksize()).unwrap_or(0);
    Ok(Geometry { bytes, read_only, can_discard: false, preferred, durable: true, alignment })
}

/// A number from the request queue's directory in /sys; a partition has its disk's.
fn queue_value(file: BorrowedFd<'_>, name: &str) -> Option<u64> {
    let device = rustix::fs::fstat(file).ok()?.st_rdev;
    let base = format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let text = std::fs::read_to_string(format!("{base}/queue/{name}")).or_else(|_| std::fs::read_to_string(format!("{base}/../queue/{name}")));
    text.ok()?.trim().parse().ok()
}

fn not_an_image(path: &Path, metadata: &std::fs::Metadata) -> OpenError {
    let what = if metadata.is_dir() { "a directory" } else { "neither a regular file nor a block device" };
    let message = format!("{}: is {what}: name a file or a block device", path.display());
    OpenError { kind: OpenErrorKind::NotAnImage, message }
}

fn locked(path: &Path, error: LockError) -> OpenError {
    match error {
        LockError::Held(holder) => {
            let message = format!("{}: in use by {holder}: end that program, or serve a copy", path.display());
            OpenError { kind: OpenErrorKind::Busy, message }
        }
        LockError::System(error) => {
            let error_text = io::Error::from_raw_os_error(error);
            let message = format!("{}: cannot be locked ({error_text}): its file system must support locks", path.display());
            OpenError { kind: OpenErrorKind::System(error), message }
        }
    }
}

fn explain(path: &Path, error: &io::Error) -> OpenError {
    let shown = path.display();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let (kind, message) = match error.raw_os_error() {
        Some(libc::ENOENT) => match parent.filter(|parent| !parent.exists()) {
            Some(parent) => (OpenErrorKind::NotFound, format!("{shown}: there is no directory {}: make it first", parent.display())),
            None => (OpenErrorKind::NotFound, format!("{shown}: no such file: make one with `truncate -s 1G {shown}`")),
        },
        Some(libc::EACCES | libc::EPERM) => {
            (OpenErrorKind::Permission, format!("{shown}: not permitted: let this user read and write it (chmod, chown, group)"))
        }
        Some(number) => (OpenErrorKind::System(number), format!("{shown}: cannot be opened: {error}")),
        None => (OpenErrorKind::NotFound, format!("{shown}: is no valid path: {error}")),
    };
    OpenError { kind, message }
}
