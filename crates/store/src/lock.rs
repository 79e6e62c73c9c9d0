//! One image, one daemon: an advisory lock on the whole image, and who holds it.
//!
//! The lock belongs to the open file description (F_OFD_SETLK), so it ends with the last descriptor, also when the process is killed. Writers hold it
//! alone, readers share it. Nothing is written to the image. QEMU's image locks are seen too.
//!
//! Several units of one process may have the same image, as the original allows: the second takes a share of the first one's lock. That needs a table
//! per process, because the system's lock does not know that both are ours.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A lock, or a share of it. Ends when it is dropped.
#[derive(Debug)]
pub struct Lock {
    _held: Arc<Held>,
    /// This process had the image open already.
    pub shared: bool,
}

/// Why there is no lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LockError {
    /// Someone else has it.
    Held(Holder),
    /// The system's error number.
    System(i32),
}

/// Who has an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Holder {
    /// Process id, where /proc shows it.
    pub pid: Option<u32>,
    /// Command line, without the program's folder, shortened.
    pub command: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "pid {pid} ({command})"),
            (Some(pid), None) => write!(f, "pid {pid}"),
            _ => f.write_str("another process (not visible to this user)"),
        }
    }
}

#[derive(Debug)]
struct Held {
    /// A duplicate: keeps the lock while any share lives.
    _file: OwnedFd,
    exclusive: bool,
}

/// Device and inode.
type Identity = (u64, u64);

static HELD: Mutex<BTreeMap<Identity, Weak<Held>>> = Mutex::new(BTreeMap::new());

/// Command lines are cut here, in characters: one line of an error.
const COMMAND: usize = 80;

/// How long a holder without a process is waited for, in such steps.
const GONE_LIMIT: Duration = Duration::from_secs(1);
const GONE_STEP: Duration = Duration::from_millis(5);

/// Takes the lock of an open image: alone when `exclusive` (the file must be open for writing), else shared with other readers.
pub fn take(file: &File, exclusive: bool) -> Result<Lock, LockError> {
    let identity = identity_of(file).map_err(LockError::System)?;
    let mut table = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    table.retain(|_, held| held.strong_count() > 0);
    let ours = table.get(&identity).and_then(Weak::upgrade);
    if let Some(held) = &ours
        && (held.exclusive || !exclusive)
    {
        return Ok(Lock { _held: held.clone(), shared: true });
    }
    // A reader of ours and now a writer: the writer takes what other processes' readers leave it.
    let exclusive = exclusive && ours.is_none();
    set_patiently(file, exclusive, identity)?;
    let duplicate = file.try_clone().map_err(|error| LockError::System(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let held = Arc::new(Held { _file: duplicate.into(), exclusive });
    table.insert(identity, Arc::downgrade(&held));
    Ok(Lock { _held: held, shared: ours.is_some() })
}

fn identity_of(file: &File) -> Result<Identity, i32> {
    let metadata = file.metadata().map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A lock over the whole file, whatever its size becomes.
fn whole(kind: libc::c_int) -> libc::flock {
    // SAFETY: flock is plain integers; all zeros is valid (start 0, length 0: to the end, pid 0 as OFD locks demand).
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or(0);
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or(0);
    lock
}

fn set(file: &File, exclusive: bool) -> Result<(), i32> {
    let lock = whole(if exclusive { libc::F_WRLCK } else { libc::F_RDLCK });
    // SAFETY: the descriptor is open for the call; F_OFD_SETLK reads one flock from the pointer, which is valid.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
}

/// As [`set`]; waits a little for a holder that cannot be seen: I/O of a killed process is finished by the kernel, and keeps the image that long.
fn set_patiently(file: &File, exclusive: bool, identity: Identity) -> Result<(), LockError> {
    let start = Instant::now();
    loop {
        match set(file, exclusive) {
            Ok(()) => return Ok(()),
            Err(libc::EAGAIN | libc::EACCES) => {
                let holder = holder_of(file, identity);
                if holder.pid.is_some() || start.elapsed() > GONE_LIMIT {
                    return Err(LockError::Held(holder));
                }
                std::thread::sleep(GONE_STEP);
            }
            Err(error) => return Err(LockError::System(error)),
        }
    }
}

/// Who holds a lock on it. The lock itself names a process only when it is of the classic kind; for ours, /proc/PID/fdinfo tells.
fn holder_of(file: &File, identity: Identity) -> Holder {
    let mut lock = whole(libc::F_WRLCK);
    // SAFETY: the descriptor is open for the call; F_OFD_GETLK reads and writes one flock at the pointer, which is valid.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    let classic = (asked == 0).then(|| u32::try_from(lock.l_pid).ok().filter(|pid| *pid > 0)).flatten();
    let pid = classic.or_else(|| search(identity));
    Holder { pid, command: pid.and_then(command_of) }
}

fn search(identity: Identity) -> Option<u32> {
    let marks = lock_marks(identity);
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fdinfo")) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(text) = std::fs::read_to_string(descriptor.path()) else { continue };
            if text.lines().any(|line| line.starts_with("lock:") && line.contains(&marks)) {
                return Some(pid);
            }
        }
    }
    None
}

/// How a lock's file looks in /proc: `major:minor:inode`, the numbers of the device in hexadecimal.
fn lock_marks((device, inode): Identity) -> String {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    format!(" {major:02x}:{minor:02x}:{inode} ")
}

fn command_of(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words: Vec<_> = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
    if let Some(program) = words.first_mut()
        && let Some((_, name)) = program.rsplit_once('/')
    {
        *program = name.to_owned().into();
    }
    // Control characters of a hostile command line do not reach the terminal.
    let line: String = words.join(" ").chars().map(|c| if c.is_control() { '?' } else { c }).take(COMMAND).collect();
    (!line.is_empty()).then_some(line)
}
