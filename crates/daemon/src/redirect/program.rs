//! One run of a redirection program: started without a shell, watched, killed in time, and its answer read strictly.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use admin::setting::is_host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use transport::redirect::{Place, Question, Verdict};

/// Longest answer, in bytes: a host name of 253, a port, a reason, and a line end.
const ANSWER: usize = 300;
/// How often a program that has printed nothing yet is looked at.
const STEP: Duration = Duration::from_millis(20);
/// The same for one that has closed its output and should end now.
const END_STEP: Duration = Duration::from_millis(1);
/// Where it finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a run gave no answer.
enum Failure {
    /// Try again.
    Later(String),
    /// It is broken.
    Broken(String),
}

/// Asks the program where the login goes.
///
/// Its arguments are the target's name and the initiator's address; its environment holds `PATH`, `INITIATOR_NAME` and `PORTAL`, the address that the login
/// came to, and nothing else. It runs in a process group of its own, in `/`, without input, and is killed with all its children at `deadline` or when the
/// daemon ends. It prints `ADDRESS:PORT:Temporary` or `ADDRESS:PORT:Permanent` and ends with 0.
pub fn run(question: &Question, deadline: Instant, stopping: &AtomicBool) -> Verdict {
    let name = &question.program;
    match output(question, deadline, stopping).and_then(|text| parse(&text).map_err(Failure::Broken)) {
        Ok(place) => Verdict::Place(place),
        Err(Failure::Later(reason)) => Verdict::Later(format!("{name} {reason}")),
        Err(Failure::Broken(reason)) => Verdict::Failed(format!("{name} {reason}")),
    }
}

fn output(question: &Question, deadline: Instant, stopping: &AtomicBool) -> Result<Vec<u8>, Failure> {
    if Instant::now() >= deadline {
        return Err(Failure::Later("had no turn in time: others of its kind were slow".into()));
    }
    let mut child = Command::new(&question.program)
        .args([&question.target, &question.peer.ip().to_canonical().to_string()])
        .env_clear()
        .env("PATH", PATH)
        .env("INITIATOR_NAME", &question.initiator)
        .env("PORTAL", question.local.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::Broken(format!("cannot be started: {error}")))?;
    let mut text = Vec::new();
    let watched = watch(&mut child, &mut text, deadline, stopping);
    // What it left behind goes, too. It has not been waited for yet, so that the number of its group is still its own.
    kill_group(&child);
    let status = child.wait().map_err(|error| Failure::Broken(format!("cannot be watched: {error}")));
    watched?;
    match status? {
        status if status.success() => Ok(text),
        status => Err(Failure::Broken(format!("ended with {status}"))),
    }
}

/// Reads what it prints until it has ended, and leaves it to be waited for.
fn watch(child: &mut Child, text: &mut Vec<u8>, deadline: Instant, stopping: &AtomicBool) -> Result<(), Failure> {
    let mut stdout = child.stdout.take();
    loop {
        if stopping.load(Ordering::Acquire) {
            return Err(Failure::Later("was killed: the daemon ends".into()));
        }
        let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
            return Err(Failure::Later("was killed: it gave no answer in time".into()));
        };
        // Before the look at its output: what it printed before its end is there then.
        let ended = has_ended(child)?;
        let patience = if ended { Duration::ZERO } else { left.min(STEP) };
        let more = match &mut stdout {
            Some(pipe) => !readable(pipe, patience) || read(pipe, text)?,
            None => {
                std::thread::park_timeout(patience.min(END_STEP));
                false
            }
        };
        stdout = stdout.filter(|_| more);
        if ended && !stdout.as_ref().is_some_and(|pipe| readable(pipe, Duration::ZERO)) {
            return Ok(());
        }
    }
}

/// True for a zombie, which it stays.
fn has_ended(child: &Child) -> Result<bool, Failure> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let found = pid(child).map_or(Ok(None), |pid| waitid(WaitId::Pid(pid), look));
    found.map(|status| status.is_some()).map_err(|error| Failure::Broken(format!("cannot be watched: {error}")))
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// False at the end of its output.
fn read(pipe: &mut ChildStdout, text: &mut Vec<u8>) -> Result<bool, Failure> {
    let mut bytes = [0; ANSWER];
    let count = pipe.read(&mut bytes).map_err(|error| Failure::Broken(format!("cannot be read: {error}")))?;
    text.extend_from_slice(&bytes[..count]);
    if text.len() > ANSWER {
        return Err(Failure::Broken(format!("prints more than {ANSWER} bytes")));
    }
    Ok(count > 0)
}

/// Something to read, or the end.
fn readable(pipe: &ChildStdout, patience: Duration) -> bool {
    let patience = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
    let mut polled = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
    poll(&mut polled, Some(&patience)).is_ok_and(|count| count > 0)
}

fn kill_group(child: &Child) {
    if let Some(group) = pid(child) {
        // Nobody is left in it: that is what was wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// One line `ADDRESS:PORT:Temporary|Permanent`, the line end optional; an IPv6 address may stand in brackets.
fn parse(text: &[u8]) -> Result<Place, String> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let shown = || line.escape_ascii().to_string();
    let wrong = |what: &str| format!("printed '{}': {what}; ADDRESS:PORT:Temporary or ADDRESS:PORT:Permanent is wanted", shown());
    let line = std::str::from_utf8(line).map_err(|_| wrong("no text"))?;
    let mut parts = line.rsplitn(3, ':');
    let (reason, port, host) = (parts.next(), parts.next(), parts.next());
    let (Some(reason), Some(port), Some(host)) = (reason, port, host) else { return Err(wrong("not three parts")) };
    let permanent = match reason {
        "Temporary" => false,
        "Permanent" => true,
        _ => return Err(wrong("the reason is unknown")),
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|&port: &u16| digits && port > 0).ok_or_else(|| wrong("the port is not 1 to 65535"))?;
    if !is_host(host) {
        return Err(wrong("the address is none"));
    }
    Ok(Place { host: host.into(), port, permanent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let place = |host: &str, port, permanent| Ok(Place { host: host.into(), port, permanent });
        assert_eq!(parse(b"10.0.0.5:3261:Temporary\n"), place("10.0.0.5", 3261, false));
        assert_eq!(parse(b"10.0.0.5:3261:Permanent"), place("10.0.0.5", 3261, true));
        assert_eq!(parse(b"[2001:db8::5]:3260:Permanent\n"), place("[2001:db8::5]", 3260, true));
        assert_eq!(parse(b"2001:db8::5:3260:Permanent\n"), place("2001:db8::5", 3260, true));
        assert_eq!(parse(b"storage-2.example.org:3260:Temporary\n"), place("storage-2.example.org", 3260, false));
        for bad in [
            &b""[..],
            b"\n",
            b"garbage\n",
            b"10.0.0.5:3261\n",
            b"10.0.0.5:3261:temporary\n",
            b"10.0.0.5:3261:Temporary\n\n",
            b"10.0.0.5:3261:Temporary\nmore\n",
            b" 10.0.0.5:3261:Temporary\n",
            b"10.0.0.5:0:Temporary\n",
            b"10.0.0.5:65536:Temporary\n",
            b"10.0.0.5:+1:Temporary\n",
            b"10.0.0.5::Temporary\n",
            b":3260:Temporary\n",
            b"[10.0.0.5]:3260:Temporary\n",
            b"[2001:db8::5:3260:Temporary\n",
            b"a,b:3260:Temporary\n",
            b"a\0b:3260:Temporary\n",
            b"\xff\xfe:3260:Temporary\n",
        ] {
            let told = parse(bad).expect_err("refused");
            assert!(told.contains("ADDRESS:PORT:Temporary") && told.lines().count() == 1, "{told}");
        }
    }
}
