//! `tgtadm`: one request to the daemon over its control socket, in tgt's words and with tgt's exit statuses.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use admin::options::Parsed;
use admin::options::tgtadm::{Invocation, NO_DAEMON, REFUSED, parse};
use admin::wire::{ANSWER_HEADER, AnswerHeader, until_nul};

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

/// A line for standard error, without `tgtadm: `, and the exit status.
struct Failure(String, u8);

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match parse(&arguments, env!("CARGO_PKG_VERSION")) {
        Ok(Parsed::Print(text)) => print(text.as_bytes()),
        Ok(Parsed::Run(invocation)) => match run(&invocation) {
            Ok(text) => print(&text),
            Err(Failure(line, status)) => {
                eprintln!("tgtadm: {line}");
                ExitCode::from(status)
            }
        },
        Err(usage) => {
            eprint!("{}", usage.message);
            ExitCode::from(usage.status)
        }
    }
}

/// A reader that has gone (`tgtadm … | head`) is no failure of the request.
fn print(text: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("tgtadm: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Sends the request; the text of the answer.
fn run(invocation: &Invocation) -> Result<Vec<u8>, Failure> {
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
        no_daemon()
    })?;
    let (header, text) = invocation.frame.encode();
    let sent = stream.write_all(&header).and_then(|()| stream.write_all(&text));
    // A daemon that refuses its peer closes at once; the answer, if there is one, tells more than a failed write.
    if let Err(error) = sent {
        debug(&format!("writing: {error}"));
    }
    let text = answer(&mut stream)?;
    drop(stream);
    if invocation.ends_daemon() {
        wait_for_end(path)?;
    }
    Ok(text)
}

/// `PREFIX.N`.
fn socket_path(control_port: u16) -> OsString {
    let mut path = env::var_os("TGT_IPC_SOCKET").unwrap_or_else(|| SOCKET.into());
    path.push(format!(".{control_port}"));
    path
}

fn no_daemon() -> Failure {
    Failure("failed to send request hdr to tgt daemon, Transport endpoint is not connected".into(), NO_DAEMON)
}

fn answer(stream: &mut UnixStream) -> Result<Vec<u8>, Failure> {
    let mut header = [0u8; ANSWER_HEADER];
    read_all(stream, &mut header)?;
    let Ok(header) = AnswerHeader::decode(&header) else {
        return Err(Failure("the answer makes no sense: is this a tgtd?".into(), REFUSED));
    };
    // Grown as bytes arrive: the length is the peer's word.
    let mut text = Vec::new();
    let limit = u64::try_from(header.text).unwrap_or(u64::MAX);
    let read = stream.take(limit).read_to_end(&mut text);
    if header.error != 0 {
        return Err(Failure(refusal(header.message(), until_nul(&text)), REFUSED));
    }
    if read.is_err() || text.len() < header.text {
        return Err(Failure("a partial response: tgtd closed the socket".into(), HUNG_UP));
    }
    Ok(until_nul(&text).to_vec())
}

/// tgt's words, and the reason if one was asked for and came: on one line, whatever names it quotes.
fn refusal(message: &str, reason: &[u8]) -> String {
    let reason: String = String::from_utf8_lossy(reason).chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if reason.is_empty() { message.to_owned() } else { format!("{message}: {reason}") }
}

fn read_all(stream: &mut UnixStream, bytes: &mut [u8]) -> Result<(), Failure> {
    stream.read_exact(bytes).map_err(|_| Failure("tgtd closed the socket".into(), HUNG_UP))
}

/// Until nobody listens: tgtd leaves its socket file behind, another daemon may remove it.
fn wait_for_end(path: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < END_LIMIT {
        match UnixStream::connect(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => return Ok(()),
            _ => thread::sleep(END_POLL),
        }
    }
    let shown = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
    Err(Failure(format!("tgtd still listens on {shown} after {} seconds", END_LIMIT.as_secs()), DOES_NOT_END))
}
