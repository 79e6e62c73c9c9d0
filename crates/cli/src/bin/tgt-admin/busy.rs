//! Who else uses a store: two users of one file destroy each other's data.

use std::collections::BTreeSet;
use std::fs::{self, Metadata, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often a store that has just been given up is looked at again.
const LOOKS: u32 = 20;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A file or device, whatever path leads to it.
type Identity = (bool, u64, u64);

/// The files and devices that processes hold open.
#[derive(Default)]
pub struct Users {
    /// Looked up once, as it takes a while.
    open: Option<BTreeSet<Identity>>,
    /// A daemon has been told to close something: it may take a moment.
    closing: bool,
    /// Would be closed by now, were it not that we only pretend.
    freed: BTreeSet<PathBuf>,
}

impl Users {
    /// Whether somebody uses it.
    pub fn in_use(&mut self, path: &Path) -> bool {
        if self.freed.contains(path) {
            return false;
        }
        for _ in 0..LOOKS {
            if !self.held(path) {
                return false;
            }
            if !self.closing {
                return true;
            }
            thread::sleep(PAUSE);
            self.open = None;
        }
        self.closing = false;
        true
    }

    /// A unit is made on it.
    pub fn add(&mut self, path: &Path) {
        if let (Some(open), Ok(metadata)) = (&mut self.open, fs::metadata(path)) {
            open.insert(identity(&metadata));
        }
        self.freed.remove(path);
    }

    /// The units on these are gone.
    pub fn remove<'a>(&mut self, paths: impl Iterator<Item = &'a Path>, pretend: bool) {
        if pretend {
            self.freed.extend(paths.map(Path::to_path_buf));
        } else {
            self.open = None;
            self.closing = true;
        }
    }

    fn held(&mut self, path: &Path) -> bool {
        let Ok(metadata) = fs::metadata(path) else { return false };
        if metadata.file_type().is_block_device() {
            // A mounted or otherwise claimed device cannot be had for oneself.
            let tried = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(path);
            if tried.is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
                return true;
            }
        }
        self.open.get_or_insert_with(open_files).contains(&identity(&metadata))
    }
}

/// Devices by their number: there may be several nodes for one.
fn identity(metadata: &Metadata) -> Identity {
    if metadata.file_type().is_block_device() { (true, metadata.rdev(), 0) } else { (false, metadata.dev(), metadata.ino()) }
}

/// What all other processes hold open, as far as we may know.
fn open_files() -> BTreeSet<Identity> {
    let own = std::process::id().to_string();
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let is_process = name.to_string_lossy().bytes().all(|letter| letter.is_ascii_digit());
        if !is_process || name.to_string_lossy() == own {
            continue;
        }
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            // Sockets, pipes and the like have no path: there is no need to look at them.
            let is_file = fs::read_link(descriptor.path()).is_ok_and(|target| target.is_absolute());
            if let (true, Ok(metadata)) = (is_file, fs::metadata(descriptor.path())) {
                found.insert(identity(&metadata));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_another_process_holds_is_in_use() {
        let path = std::env::temp_dir().join(format!("tgt-admin-busy-{}", std::process::id()));
        fs::write(&path, b"x").expect("a file");
        assert!(!Users::default().in_use(&path));
        let held = fs::File::open(&path).expect("opens");
        let mut child = std::process::Command::new("sleep").arg("60").stdin(held).spawn().expect("sleep");
        let mut users = Users::default();
        assert!(users.in_use(&path));
        users.remove([path.as_path()].into_iter(), true);
        assert!(!users.in_use(&path), "pretended to be given up");
        child.kill().and_then(|()| child.wait()).expect("ends");
        let mut users = Users::default();
        assert!(!users.in_use(&path));
        users.add(&path);
        assert!(users.in_use(&path), "we have just given it to a daemon");
        let _ = fs::remove_file(&path);
    }
}
