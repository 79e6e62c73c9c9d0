//! The control socket's place in the file system: its lock, its folder, a stale socket.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::settings::StartError;

/// Prefix of the control socket when the environment names none.
pub const DEFAULT_PREFIX: &str = "/var/run/tgtd/socket";

/// Where the daemon of control port `number` listens: `TGT_IPC_SOCKET` or tgt's default, with the number behind a dot.
pub fn control_path(number: u16) -> PathBuf {
    let prefix = std::env::var_os("TGT_IPC_SOCKET").unwrap_or_else(|| DEFAULT_PREFIX.into());
    let mut path = prefix;
    path.push(format!(".{number}"));
    path.into()
}

/// A bound control socket. The lock lasts as long as this value; both files stay when it goes: a client that waits for the daemon's end takes
/// a refused connection as the sign of it, and a missing file as none.
pub struct ControlSocket {
    /// The listener.
    pub listener: UnixListener,
    /// Where.
    pub path: PathBuf,
    _lock: File,
}

/// Takes the lock, replaces a stale socket, and listens.
///
/// # Errors
/// [`StartError::ControlBusy`] when another daemon holds the lock, [`StartError::Control`] for everything else.
pub fn open(path: &Path) -> Result<ControlSocket, StartError> {
    let fail = |error: io::Error| StartError::Control { path: path.into(), cause: error.to_string() };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        let mode = if path.starts_with("/var/run") || path.starts_with("/run/tgtd") { 0o755 } else { 0o700 };
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(fail)?;
    }
    let lock = take_lock(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    Ok(ControlSocket { listener, path: path.into(), _lock: lock })
}

/// Two locks on one file: a record lock, which other implementations of tgtd look at, and a whole-file lock, which also tells two daemons of
/// one process apart.
fn take_lock(path: &Path) -> Result<File, StartError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let fail = |error: io::Error| StartError::Control { path: path.into(), cause: format!("lock file: {error}") };
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(&name).map_err(fail)?;
    let busy = |_| StartError::ControlBusy { path: path.into() };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(busy)?;
    rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(busy)?;
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fail)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_a_stale_socket_replaced() {
        let folder = std::env::temp_dir().join(format!("scuzzy-lock-{}", std::process::id()));
        let path = folder.join("control.0");
        let first = open(&path).expect("first opens");
        let second = open(&path).map(|_| ());
        assert_eq!(second, Err(StartError::ControlBusy { path: path.clone() }));
        drop(first);
        assert!(path.exists(), "the socket file stays");
        assert!(open(&path).is_ok());
        std::fs::remove_dir_all(&folder).expect("clean");
    }
}
