//! Talking to a running daemon over its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use admin::json;
use admin::reply::{Answer, Reply};
use admin::request::{Envelope, Request};
use anyhow::{Context, Result, anyhow, bail};

use crate::arguments::Connect;

/// Longer than the daemon takes for anything.
const PATIENCE: Duration = Duration::from_secs(15);
/// Control sockets of one user: `control.0`, `control.1`, …
const INSTANCES: u16 = 64;

/// Folder of the control sockets of `scuzzy serve`.
pub fn runtime_folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| Path::new(folder).is_dir()) {
        Some(folder) => PathBuf::from(folder).join("scuzzy"),
        None => std::env::temp_dir().join(format!("scuzzy-{}", rustix::process::getuid().as_raw())),
    }
}

/// The folder must be ours: in a temporary folder that all users share, somebody else could have put one there to lead us astray.
///
/// # Errors
/// When it is somebody else's or no folder.
pub fn check_folder() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let folder = runtime_folder();
    match std::fs::symlink_metadata(&folder) {
        Ok(facts) if !facts.is_dir() || facts.uid() != rustix::process::geteuid().as_raw() => {
            bail!("{} is not a folder of yours: remove it, or name a control socket with --control PATH", folder.display())
        }
        _ => Ok(()),
    }
}

/// Control socket of the `number`th daemon of this user.
pub fn instance_path(number: u16) -> PathBuf {
    runtime_folder().join(format!("control.{number}"))
}

/// Paths to try for a new daemon, in order.
pub fn instance_paths() -> impl Iterator<Item = PathBuf> {
    (0..INSTANCES).map(instance_path)
}

/// The control socket that the options mean: the given one, or that of the only running daemon of this user.
pub fn find(connect: &Connect) -> Result<PathBuf> {
    if let Some(path) = &connect.control {
        return Ok(path.clone());
    }
    check_folder()?;
    let running: Vec<PathBuf> = instance_paths().filter(|path| UnixStream::connect(path).is_ok()).collect();
    match running.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(anyhow!("no `scuzzy serve` of yours is running: start one, or name its control socket with --control PATH")),
        many => {
            let names: Vec<String> = many.iter().map(|path| format!("--control {}", path.display())).collect();
            Err(anyhow!("several daemons are running, choose one: {}", names.join(", ")))
        }
    }
}

/// The control socket that [`find`] takes when none is named and exactly one daemon runs.
pub fn find_default() -> Option<PathBuf> {
    find(&Connect { control: None, json: false }).ok()
}

/// Sends one request and waits for its answer.
pub fn ask(path: &Path, request: Request) -> Result<Reply> {
    let connected = UnixStream::connect(path);
    let mut stream = connected.with_context(|| format!("no daemon answers at {} (is `scuzzy serve` running?)", path.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&json::write_request(&Envelope { driver: None, request }))?;
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).context("the daemon did not answer")?;
    if line.is_empty() {
        bail!("the daemon at {} refused to talk: it runs as another user", path.display());
    }
    json::read_reply(&line).map_err(|error| anyhow!("the answer makes no sense: {error}"))
}

/// Sends one request; a refusal becomes an error with the reason.
pub fn request(connect: &Connect, request: Request) -> Result<Answer> {
    let path = find(connect)?;
    ask(&path, request)?.map_err(|failure| match failure.detail.as_str() {
        "" => anyhow!("{}", failure.code),
        detail => anyhow!("{detail}"),
    })
}
