//! New images.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use admin::options::tgtimg::Media;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;
use store::cartridge::{BLANK, Blank, DEFAULT_MIB, FIRST, HEADER, MEDIUM_MEMORY, MediumType};

use crate::{Failure, print, reason};

/// Who may read and write an image, before the umask.
const MODE: u32 = 0o660;
/// Exit status when the barcode has no room (EINVAL).
const REFUSED: u8 = 22;
/// Exit status when the file cannot be made.
const NO_FILE: u8 = 2;
/// Exit status when there is no room for a disk, or it has none.
const NO_SPACE: u8 = 3;
/// Exit status when what is there can have no holes.
const NO_THIN: u8 = 5;
/// Exit status when the file cannot be as long as asked.
const NO_SIZE: u8 = 6;
/// Allocated in one go: enough to be fast, little enough to tell how it goes.
const STEP: u64 = 256 << 20;
/// Written in one go where the file system cannot allocate.
const ZEROS: usize = 1 << 20;
/// Pause between two lines about progress.
const TOLD: Duration = Duration::from_millis(200);
/// The system's log.
const LOG: &str = "/dev/log";

/// A blank cartridge.
pub fn tape(path: &Path, barcode: Vec<u8>, mib: u32, media: Media) -> Result<(), Failure> {
    let mib = if mib == 0 { DEFAULT_MIB } else { mib };
    let kind = match media {
        Media::Data => MediumType::DATA,
        Media::Clean => MediumType::CLEANING,
        Media::Worm => MediumType::WORM,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let blank = Blank { mib, kind, barcode, created: u32::try_from(now).unwrap_or(u32::MAX) };
    let image = blank.image().map_err(|error| Failure::new(REFUSED, format!("tgtimg: {error}")))?;
    debug_assert_eq!(image.len(), BLANK);
    print(&format!("blk_sz: {mib}, next {FIRST}, {FIRST}\nSizeof(mam): {MEDIUM_MEMORY}, sizeof(h): {HEADER}\n"));
    let (file, new) = open(path)?;
    file.write_all_at(&image, 0).map_err(|error| {
        discard(path, new);
        Failure::new(NO_FILE, format!("Failed writing file: {}", reason(&error)))
    })?;
    log(&format!("made the cartridge {}", path.display()));
    Ok(())
}

/// A blank disc: an empty file.
pub fn disc(path: &Path) -> Result<(), Failure> {
    open(path)?;
    made("DVD+R", path);
    Ok(())
}

/// A disk full of zeros.
pub fn disk(path: &Path, mib: u32, thin: bool) -> Result<(), Failure> {
    if mib == 0 {
        return Err(Failure::told(NO_SPACE, "Capacity must be > 0"));
    }
    let bytes = u64::from(mib) << 20;
    let (file, new) = open(path)?;
    let result = if thin { stretch(&file, bytes) } else { allocate(&file, bytes) };
    // A file that is too short for what was asked would only mislead, and may fill the disk.
    result.inspect_err(|_| {
        let _ = file.set_len(0);
        discard(path, new);
    })?;
    made("DISK", path);
    Ok(())
}

/// The empty file; true: there was none before.
fn open(path: &Path) -> Result<(File, bool), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    let opened = match options.clone().create_new(true).open(path) {
        // Also through a link that leads to no file yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.create(true).truncate(true).open(path).map(|file| (file, false)),
        other => other.map(|file| (file, true)),
    };
    opened.map_err(|error| Failure::new(NO_FILE, format!("Failed creating file: {}", reason(&error))))
}

/// Removes what was begun; a file that was there before stays, though empty.
fn discard(path: &Path, new: bool) {
    if new {
        let _ = fs::remove_file(path);
    }
}

fn made(what: &str, path: &Path) {
    let line = format!("Created blank {what} image file : {}", path.display());
    print(&format!("{line}\n"));
    log(&line);
}

fn stretch(file: &File, bytes: u64) -> Result<(), Failure> {
    if !file.metadata().is_ok_and(|facts| facts.is_file()) {
        return Err(Failure::new(NO_THIN, "Thin provisioning not available on this file"));
    }
    file.set_len(bytes).map_err(|error| Failure::new(NO_SIZE, format!("Failed to set file size: {}", reason(&error))))
}

fn allocate(file: &File, bytes: u64) -> Result<(), Failure> {
    let failed = |error: Errno| Failure::new(NO_SPACE, format!("posix_fallocate failed: {}", reason(&error.into())));
    // Told before all of the disk is taken away from everybody else.
    if fstatvfs(file).is_ok_and(|space| space.f_bfree.saturating_mul(space.f_frsize) < bytes) {
        return Err(failed(Errno::NOSPC));
    }
    let mut progress = Progress::new(bytes);
    let mut offset = 0;
    while offset < bytes {
        let len = STEP.min(bytes - offset);
        match fallocate(file, FallocateFlags::empty(), offset, len) {
            Ok(()) => offset += len,
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let len = len.min(ZEROS as u64);
                file.write_all_at(&vec![0; ZEROS][..usize::try_from(len).unwrap_or(ZEROS)], offset)
                    .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
                offset += len;
            }
            Err(error) => return Err(failed(error)),
        }
        progress.tell(offset);
    }
    Ok(())
}

/// How far it is, for people: only on a terminal, and only when it takes a while.
struct Progress {
    bytes: u64,
    last: Instant,
    told: bool,
}

impl Progress {
    fn new(bytes: u64) -> Progress {
        Progress { bytes, last: Instant::now(), told: false }
    }

    fn tell(&mut self, done: u64) {
        if self.last.elapsed() >= TOLD && io::stderr().is_terminal() {
            self.last = Instant::now();
            self.told = true;
            eprint!("\rtgtimg: {} of {} MiB", done >> 20, self.bytes >> 20);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told {
            eprint!("\r\x1b[K");
        }
    }
}

/// One line for the system's log, if there is one that takes it at once.
fn log(line: &str) {
    const USER_INFO: u8 = 14;
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let line: String = line.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    let _ = socket.set_nonblocking(true);
    let _ = socket.send_to(format!("<{USER_INFO}>tgtimg[{}]: {line}", std::process::id()).as_bytes(), LOG);
    let _ = io::stdout().flush();
}
