//! Load for the benchmarks: one thread, a poll over the sessions, a number of commands always under way in each.
//!
//! It exists beside `bench/iload.c` because the distribution's libiscsi has no data digests. Both take the same words and print the same JSON.

#![forbid(unsafe_code)]

mod plan;
mod report;
mod session;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use plan::{Direction, Plan};
pub use report::Report;
use session::Session;

/// How long commands may take to end once no more are sent.
const GRACE: Duration = Duration::from_secs(10);
/// Failed commands after which no more are sent.
const MANY_ERRORS: u64 = 1000;

/// Runs `plan` to its end.
///
/// # Errors
/// When a portal, login or the first commands fail, when the target breaks a rule of RFC 7143, or when commands do not end within ten seconds.
pub fn run(plan: &Plan) -> Result<Report> {
    let begin = Instant::now();
    let mut sessions = (0..plan.sessions).map(|number| Session::open(plan, number)).collect::<Result<Vec<_>>>()?;
    let login = begin.elapsed();
    let mut report = Report::new(login)?;
    let begin = Instant::now();
    let count_from = begin + plan.ramp;
    let end = count_from + plan.duration;
    for session in &mut sessions {
        session.fill(Instant::now())?;
    }
    loop {
        let now = Instant::now();
        if sessions.iter().all(Session::is_idle) {
            break;
        }
        if now > end + GRACE {
            bail!("commands did not end within {} s", GRACE.as_secs());
        }
        wait(&mut sessions)?;
        for session in &mut sessions {
            session.serve(|ended| report.take(ended, count_from, end))?;
            if Instant::now() < end && report.errors < MANY_ERRORS {
                session.fill(Instant::now())?;
            }
        }
    }
    Ok(report)
}

/// Waits at most a second for something to read, or room to write.
fn wait(sessions: &mut [Session]) -> Result<()> {
    let mut wanted: Vec<PollFd<'_>> = sessions.iter().map(|session| PollFd::new(session.stream(), session.interest())).collect();
    match poll(&mut wanted, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready: Vec<bool> = wanted.iter().map(|entry| entry.revents() != PollFlags::empty()).collect();
    for (session, ready) in sessions.iter_mut().zip(ready) {
        session.set_ready(ready);
    }
    Ok(())
}
