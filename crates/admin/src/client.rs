//! The sending side of tgtadm's protocol: one request to a daemon over its control socket, with tgt's words and exit statuses when it fails.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::PidfdFlags;

use crate::code::Code;
use crate::options::tgtadm::{Invocation, NO_DAEMON, REFUSED};
use crate::wire::{ANSWER_HEADER, AnswerHeader, until_nul};

/// Prefix of the control socket unless `TGT_IPC_SOCKET` names another.
const SOCKET: &str = "/var/run/tgtd/socket";
/// Exit status when the daemon hangs up in mid-answer (ECONNRESET). tgt's tool says 0 there, as if all were well.
const HUNG_UP: u8 = 104;
/// Exit status when the daemon does not end in time after `system delete` (ETIMEDOUT).
const DOES_NOT_END: u8 = 110;
/// How long an ending daemon may take: it closes sessions and flushes stores.
const END_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks for an ending daemon.
const END_POLL: Duration = Duration::from_millis(100);

/// A request that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// A line for standard error, without `tgtadm: ` and newline.
    pub line: String,
    /// Exit status.
    pub status: u8,
    /// The daemon's reason, when it was the daemon that refused, for a reason known here.
    pub code: Option<Code>,
}

impl Failure {
    fn new(line: impl Into<String>, status: u8) -> Failure {
        Failure { line: line.into(), status, code: None }
    }
}

/// Sends the request; the text of the answer.
///
/// # Errors
/// There is no daemon, it refuses, or it misbehaves.
pub fn send(invocation: &Invocation) -> Result<Vec<u8>, Failure> {
    let path = socket_path(invocation.control_port);
    let path = Path::new(&path);
    let debug = |text: &str| {
        if invocation.debug {
            eprintln!("tgtadm: {text}");
        }
    };
    debug(&format!("mode {} op {} to {}", invocation.frame.mode, invocation.frame.op, path.display()));
    let mut stream = UnixStream::connect(path).map_err(|error| {
        debug(&format!("{}: {error}", path.display()));
        Failure::new("failed to send request hdr to tgt daemon, Transport endpoint is not connected", NO_DAEMON)
    })?;
    let (header, text) = invocation.frame.encode();
    let sent = stream.write_all(&header).and_then(|()| stream.write_all(&text));
    // A daemon that refuses its peer closes at once; the answer, if there is one, tells more than a failed write.
    if let Err(error) = sent {
        debug(&format!("writing: {error}"));
    }
    let daemon = if invocation.ends_daemon() { process_behind(&stream) } else { None };
    let text = answer(&mut stream)?;
    drop(stream);
    if invocation.ends_daemon() {
        wait_for_end(path, daemon.as_ref())?;
    }
    Ok(text)
}

/// Where `tgtadm` without `-C` finds its daemon.
pub fn default_socket() -> PathBuf {
    socket_path(0).into()
}

/// `PREFIX.N`.
fn socket_path(control_port: u16) -> OsString {
    let mut path = env::var_os("TGT_IPC_SOCKET").unwrap_or_else(|| SOCKET.into());
    path.push(format!(".{control_port}"));
    path
}

fn answer(stream: &mut UnixStream) -> Result<Vec<u8>, Failure> {
    let mut header = [0u8; ANSWER_HEADER];
    read_all(stream, &mut header)?;
    let Ok(header) = AnswerHeader::decode(&header) else {
        return Err(Failure::new("the answer makes no sense: is this a tgtd?", REFUSED));
    };
    // Grown as bytes arrive: the length is the peer's word.
    let mut text = Vec::new();
    let limit = u64::try_from(header.text).unwrap_or(u64::MAX);
    let read = stream.take(limit).read_to_end(&mut text);
    if header.error != 0 {
        return Err(Failure { line: refusal(header.message(), until_nul(&text)), status: REFUSED, code: Code::from_number(header.error) });
    }
    if read.is_err() || text.len() < header.text {
        return Err(Failure::new("a partial response: tgtd closed the socket", HUNG_UP));
    }
    Ok(until_nul(&text).to_vec())
}

/// tgt's words, and the reason if one was asked for and came: on one line, whatever names it quotes.
fn refusal(message: &str, reason: &[u8]) -> String {
    let reason: String = String::from_utf8_lossy(reason).chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if reason.is_empty() { message.to_owned() } else { format!("{message}: {reason}") }
}

fn read_all(stream: &mut UnixStream, bytes: &mut [u8]) -> Result<(), Failure> {
    stream.read_exact(bytes).map_err(|_| Failure::new("tgtd closed the socket", HUNG_UP))
}

/// The process that listens at the other end, where the kernel can name it.
fn process_behind(stream: &UnixStream) -> Option<OwnedFd> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    rustix::process::pidfd_open(peer.pid, PidfdFlags::empty()).ok()
}

/// Ended, whether or not somebody has taken note of it.
fn has_ended(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    rustix::event::poll(&mut ended, Some(&now)).is_ok_and(|count| count > 0)
}

/// Until nobody listens, or the process that did is gone: tgtd leaves its socket file behind, another daemon may remove it, and a service manager that
/// passed the socket goes on listening.
fn wait_for_end(path: &Path, daemon: Option<&OwnedFd>) -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < END_LIMIT {
        if daemon.is_some_and(has_ended) {
            return Ok(());
        }
        match UnixStream::connect(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => return Ok(()),
            _ => thread::sleep(END_POLL),
        }
    }
    let shown = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
    Err(Failure::new(format!("tgtd still listens on {shown} after {} seconds", END_LIMIT.as_secs()), DOES_NOT_END))
}
