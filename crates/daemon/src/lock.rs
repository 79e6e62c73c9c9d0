//! The control socket's place in the file system: its lock, its folder, a stale socket.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use reactor::passed::Passed;
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
    /// The one for those who may only look, at `PATH.ro`.
    pub readers: Option<UnixListener>,
    /// The socket's mode says who may connect; otherwise only processes of our own user and group are heard.
    pub any_user: bool,
    /// Where.
    pub path: PathBuf,
    /// Somebody else holds the listener, too, and goes on with it after us.
    pub shared: bool,
    _lock: File,
}

/// Who may connect beside our own user.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Access {
    /// Members of this group (name or number) may do everything.
    pub group: Option<String>,
    /// Members of this group, or [`EVERYBODY`], may look, on a socket of their own at `PATH.ro`.
    pub readers: Option<String>,
}

/// The word that stands for all users instead of a group.
pub const EVERYBODY: &str = "all";

/// Takes the lock, replaces a stale socket, and listens.
///
/// # Errors
/// [`StartError::ControlBusy`] when another daemon holds the lock, [`StartError::Control`] for everything else.
pub fn open(path: &Path, access: &Access) -> Result<ControlSocket, StartError> {
    let fail = |error: io::Error| StartError::Control { path: path.into(), cause: error.to_string() };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        let shared = path.starts_with("/var/run") || path.starts_with("/run/tgtd") || *access != Access::default();
        let mode = if shared { 0o755 } else { 0o700 };
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(fail)?;
    }
    let lock = take_lock(path)?;
    let listener = listen(path).map_err(fail)?;
    if let Some(group) = &access.group {
        admit(path, Some(group), 0o660).map_err(fail)?;
    }
    let readers = readers(path, access).map_err(fail)?;
    Ok(ControlSocket { listener, readers, any_user: access.group.is_some(), path: path.into(), shared: false, _lock: lock })
}

/// Takes the lock beside a socket that was passed, and the socket. Its owner and mode are those that it came with.
///
/// # Errors
/// As [`open`].
pub fn take(socket: &Passed, path: &Path, access: &Access) -> Result<ControlSocket, StartError> {
    let lock = take_lock(path)?;
    let fail = |error: io::Error| StartError::Control { path: path.into(), cause: error.to_string() };
    let listener = socket.unix_listener().map_err(fail)?;
    let readers = readers(path, access).map_err(fail)?;
    Ok(ControlSocket { listener, readers, any_user: access.group.is_some(), path: path.into(), shared: true, _lock: lock })
}

/// The socket for those who may only look, if there is to be one.
fn readers(path: &Path, access: &Access) -> io::Result<Option<UnixListener>> {
    let Some(group) = &access.readers else { return Ok(None) };
    let mut path = path.as_os_str().to_owned();
    path.push(READERS_SUFFIX);
    let path = Path::new(&path);
    let listener = listen(path)?;
    let (group, mode) = if group == EVERYBODY { (None, 0o666) } else { (Some(group), 0o660) };
    admit(path, group, mode)?;
    Ok(Some(listener))
}

/// What the path of the readers' socket ends in.
pub const READERS_SUFFIX: &str = ".ro";

/// In the place of a stale socket, which nobody but us may connect to yet.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(path),
    }
}

/// Gives the socket its group and its mode.
fn admit(path: &Path, group: Option<&String>, mode: u32) -> io::Result<()> {
    if let Some(name) = group {
        std::os::unix::fs::chown(path, None, Some(group_number(name)?))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn group_number(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = nix::unistd::Group::from_name(name)?;
    found.map(|group| group.gid.as_raw()).ok_or_else(|| io::Error::other(format!("there is no group `{name}`")))
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
        let first = open(&path, &Access::default()).expect("first opens");
        let second = open(&path, &Access::default()).map(|_| ());
        assert_eq!(second, Err(StartError::ControlBusy { path: path.clone() }));
        drop(first);
        assert!(path.exists(), "the socket file stays");
        let unknown = open(&path, &Access { group: Some("no such group".into()), readers: None }).map(|_| ());
        assert!(matches!(&unknown, Err(StartError::Control { cause, .. }) if cause.contains("no such group")), "{unknown:?}");
        let own = rustix::process::getegid().as_raw().to_string();
        let shared = open(&path, &Access { group: Some(own), readers: Some(EVERYBODY.into()) }).expect("opens");
        let mode = |path: &Path| std::fs::metadata(path).expect("facts").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder.join("control.0.ro")), shared.any_user), (0o660, 0o666, true));
        std::fs::remove_dir_all(&folder).expect("clean");
    }
}
