//! Showing something once, or again whenever it changes.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
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

/// Prints a line for people.
pub fn say(line: &str) -> Result<ExitCode> {
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Prints what `look` sees; with `--watch` again whenever that is something else, until the reader or the daemon goes away.
pub fn run(connect: &Connect, watch: Watch, mut look: impl FnMut(&Daemon) -> Result<Shown>) -> Result<ExitCode> {
    let daemon = Daemon::find(connect)?;
    let Some(interval) = watch.watch else { return print(connect, &look(&daemon)?) };
    let mut news = News::subscribe(&daemon);
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
        if news.wait(interval) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The daemon's word that something has changed. Counters change without one: they are looked at in intervals.
struct News {
    subscription: Option<UnixStream>,
}

impl News {
    fn subscribe(daemon: &Daemon) -> News {
        // A daemon that has no such word, or no place left, is asked in intervals only.
        News { subscription: daemon.subscribe().ok() }
    }

    /// Waits for a change, or so long. True when whoever read our output is gone: without a change we would never write, and never find out.
    fn wait(&mut self, interval: Duration) -> bool {
        let out = std::io::stdout();
        let mut watched = vec![PollFd::new(&out, PollFlags::empty())];
        watched.extend(self.subscription.as_ref().map(|stream| PollFd::new(stream, PollFlags::IN)));
        let timeout = Timespec { tv_sec: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(interval.subsec_nanos()) };
        // Interrupted by a signal: one look too early.
        let woken = poll(&mut watched, Some(&timeout)).unwrap_or(0);
        let gone = woken > 0 && watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        let told = watched.get(1).is_some_and(|stream| !stream.revents().is_empty());
        if told && !self.take() {
            self.subscription = None;
        }
        gone
    }

    /// Takes what was said: that there is something is all that counts. False at its end.
    fn take(&mut self) -> bool {
        let mut bytes = [0; 4096];
        self.subscription.as_mut().is_some_and(|stream| stream.read(&mut bytes).is_ok_and(|count| count > 0))
    }
}
