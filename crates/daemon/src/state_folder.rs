//! The folder in which a daemon keeps what must survive it: `--state DIR`.
//!
//! ```text
//! DIR/lock                          held while a daemon uses the folder
//! DIR/configuration.toml            the running configuration
//! DIR/configuration.previous.toml   the one before it
//! DIR/unit-DESIGNATOR.reservations  persistent reservations of a unit that are to outlive a loss of power
//! ```
//!
//! Every file is replaced whole: whoever looks after a crash, at any moment, finds the old or the new one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Name of the lock.
const LOCK: &str = "lock";
/// What a file is called until it is whole.
const UNFINISHED: &str = ".new";

/// An open state folder, which no other daemon uses.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// For its fsync: names are in the folder.
    folder: File,
    _lock: File,
}

impl StateFolder {
    /// Opens the folder, which is made when it is missing, for this daemon alone.
    ///
    /// # Errors
    /// A line for people: another daemon uses it, or it cannot be opened.
    pub fn open(path: &Path) -> Result<StateFolder, String> {
        let fail = |error: io::Error| format!("cannot use the state folder {}: {error}", path.display());
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
        }
        let folder = File::open(path).map_err(fail)?;
        if !folder.metadata().map_err(fail)?.is_dir() {
            return Err(format!("{} is no folder: name one with --state DIR", path.display()));
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK)).map_err(fail)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("another daemon uses the state folder {}: stop it, or name another folder with --state DIR", path.display()))?;
        Ok(StateFolder { path: path.into(), folder, _lock: lock })
    }

    /// Where a file of the folder is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file, if it is there; at most `limit` bytes and one more, which tells that there are more.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match File::open(self.path(name)) {
            Ok(file) => file.take(limit + 1).read_to_end(&mut bytes).map(|_| Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file, durably: when this returns, a crash of the machine does not undo it. Until the new one is whole, the old one is there.
    ///
    /// # Errors
    /// The old file is there as before.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.path(&format!("{name}{UNFINISHED}"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, self.path(name))?;
        self.folder.sync_all()
    }

    /// Removes a file, durably. Nothing happens when there is none.
    ///
    /// # Errors
    /// It is there, or may come back after a crash of the machine.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.folder.sync_all(),
        }
    }

    /// Keeps what a file holds now under a second name, too, in place of what that named before. Nothing happens when there is no such file.
    ///
    /// # Errors
    /// The second name is as before.
    pub fn keep(&self, name: &str, as_name: &str) -> io::Result<()> {
        let unfinished = self.path(&format!("{as_name}{UNFINISHED}"));
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match std::fs::hard_link(self.path(name), &unfinished) {
            Ok(()) => std::fs::rename(&unfinished, self.path(as_name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves a file out of the way. Nothing happens when there is none.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn set_aside(&self, name: &str, as_name: &str) -> io::Result<()> {
        match std::fs::rename(self.path(name), self.path(as_name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.folder.sync_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_replaced_whole_and_for_the_owner_only() {
        let path = std::env::temp_dir().join(format!("scuzzy-folder-{}", std::process::id()));
        let folder = StateFolder::open(&path).expect("opens");
        assert_eq!(folder.read("a", 9).expect("reads"), None);
        folder.keep("a", "b").expect("nothing to keep");
        folder.write("a", b"one").expect("writes");
        folder.keep("a", "b").expect("keeps");
        folder.write("a", b"two").expect("writes");
        let read = |name| folder.read(name, 9).expect("reads").map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!((read("a").as_deref(), read("b").as_deref()), (Some("two"), Some("one")));
        assert_eq!(folder.read("a", 1).expect("reads").map(|bytes| bytes.len()), Some(2));
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder.path("a")), mode(&folder.path("b"))), (0o700, 0o600, 0o600));
        // What a crash left does not disturb.
        std::fs::write(folder.path("b.new"), "half").expect("writes");
        std::fs::write(folder.path("a.new"), "half").expect("writes");
        folder.keep("a", "b").expect("keeps");
        folder.write("a", b"three").expect("writes");
        assert_eq!((read("a").as_deref(), read("b").as_deref()), (Some("three"), Some("two")));
        assert!(StateFolder::open(&path).is_err_and(|error| error.contains("another daemon uses the state folder")));
        drop(folder);
        assert!(StateFolder::open(&path).is_ok());
        assert!(StateFolder::open(&path.join("a")).is_err_and(|error| error.contains("is no folder")));
        std::fs::remove_dir_all(&path).expect("clean");
    }
}
