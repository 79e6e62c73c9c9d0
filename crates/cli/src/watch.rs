//! Showing something once, or again whenever it changes.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::arguments::{Connect, Watch};
use crate::client::Daemon;

/// Clears a terminal and goes to its top left corner.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// What is shown: both forms of the same facts.
pub struct Shown {
    json: String,
    text: String,
}

impl Shown {
    /// From the facts, and what people see of them.
    pub fn new(facts: &impl Serialize, text: String) -> Result<Shown> {
        Ok(Shown { json: serde_json::to_string(facts)? + "\n", text })
    }
}

/// Prints facts in the form that is asked for.
pub fn print(connect: &Connect, shown: &Shown) -> Result<ExitCode> {
    // Nobody reads any more: that is no failure of ours.
    let _ = std::io::stdout().lock().write_all(if connect.json { &shown.json } else { &shown.text }.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Prints what `look` sees; with `--watch` again whenever that is something else, until the reader or the daemon goes away.
pub fn run(connect: &Connect, watch: Watch, mut look: impl FnMut(&Daemon) -> Result<Shown>) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let Some(interval) = watch.watch else { return print(connect, &look(&daemon)?) };
    let redraw = !connect.json && std::io::stdout().is_terminal();
    let mut last = String::new();
    loop {
        let shown = look(&daemon)?;
        let now = if connect.json { shown.json } else { shown.text };
        if now != last {
            let mut out = std::io::stdout().lock();
            let before = match (redraw, connect.json || last.is_empty()) {
                (true, _) => CLEAR,
                (false, true) => "",
                (false, false) => "\n",
            };
            if out.write_all(before.as_bytes()).and_then(|()| out.write_all(now.as_bytes())).and_then(|()| out.flush()).is_err() {
                return Ok(ExitCode::SUCCESS);
            }
            last = now;
        }
        if reader_left(interval) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Waits, or until whoever read our output is gone: without a change we would never write, and never find out.
fn reader_left(interval: Duration) -> bool {
    let out = std::io::stdout();
    let timeout = Timespec { tv_sec: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(interval.subsec_nanos()) };
    let mut watched = [PollFd::new(&out, PollFlags::empty())];
    // Interrupted by a signal: one look too early.
    let woken = poll(&mut watched, Some(&timeout)).unwrap_or(0);
    woken > 0 && watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}
