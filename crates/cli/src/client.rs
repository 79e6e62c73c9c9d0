//! Talking to a running daemon over its control socket.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use admin::code::Code;
use admin::json;
use admin::reply::{Answer, Failure, Reply};
use admin::request::{Envelope, Request};
use admin::view::TargetView;
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

/// The control socket that the options mean: the given one, or that of the only running `scuzzy serve` of this user, or that of `tgtd`.
pub fn find(connect: &Connect) -> Result<PathBuf> {
    if let Some(path) = &connect.control {
        return Ok(path.clone());
    }
    check_folder()?;
    let running: Vec<PathBuf> = instance_paths().filter(|path| UnixStream::connect(path).is_ok()).collect();
    match running.as_slice() {
        [one] => Ok(one.clone()),
        [] => tgtd_socket()
            .ok_or_else(|| anyhow!("no `scuzzy serve` or `tgtd` of yours is running: start one, or name its control socket with --control PATH")),
        many => {
            let names: Vec<String> = many.iter().map(|path| format!("--control {}", path.display())).collect();
            Err(anyhow!("several daemons are running, choose one: {}", names.join(", ")))
        }
    }
}

/// The socket of `tgtd`, or the one for those who may only look.
fn tgtd_socket() -> Option<PathBuf> {
    let socket = admin::client::default_socket();
    let mut readers = socket.clone().into_os_string();
    readers.push(daemon::lock::READERS_SUFFIX);
    [socket, readers.into()].into_iter().find(|path| UnixStream::connect(path).is_ok())
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

/// A refusal: what it says to people, and its number for those who can do something about it.
#[derive(Debug)]
pub struct Refusal {
    /// Number.
    pub code: Code,
    text: String,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        let text = if failure.detail.is_empty() { failure.code.text().to_owned() } else { failure.detail };
        Refusal { code: failure.code, text }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

/// Was this refused with that number?
pub fn is_refused(error: &anyhow::Error, code: Code) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.code == code)
}

/// A daemon that was found: for commands that ask more than one thing.
pub struct Daemon {
    path: PathBuf,
}

impl Daemon {
    /// The one that the options mean, as [`find`].
    pub fn find(connect: &Connect) -> Result<Daemon> {
        Ok(Daemon { path: find(connect)? })
    }

    /// Sends one request; a refusal becomes an error: a [`Refusal`].
    pub fn ask(&self, request: Request) -> Result<Answer> {
        ask(&self.path, request)?.map_err(|failure| Refusal::from(failure).into())
    }

    /// A connection on which a line comes whenever something has changed.
    ///
    /// # Errors
    /// There is no daemon.
    pub fn subscribe(&self) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.write_all(&json::write_request(&Envelope { driver: None, request: Request::Watch }))?;
        Ok(stream)
    }

    /// All targets with units and sessions, ascending by number.
    pub fn targets(&self) -> Result<Vec<TargetView>> {
        match self.ask(Request::TargetShow { tid: None })? {
            Answer::Targets(targets) => Ok(targets),
            other => Err(unexpected(&other)),
        }
    }
}

/// The daemon answered another question: it is not of our version.
pub fn unexpected(answer: &Answer) -> anyhow::Error {
    anyhow!("the daemon answered something else: {answer:?}")
}

/// Sends one request to the daemon that the options mean.
pub fn request(connect: &Connect, request: Request) -> Result<Answer> {
    Daemon::find(connect)?.ask(request)
}
