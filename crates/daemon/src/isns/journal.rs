//! What is written to the log, and how often: a server that comes and goes every second must not fill it.

use std::net::SocketAddr;

use iscsi::isns::{Event, Function, Status};

/// Lines within [`WINDOW`] nanoseconds.
const LINES: u32 = 20;
/// Ten seconds.
const WINDOW: u64 = 10_000_000_000;

/// Writes lines.
#[derive(Default)]
pub struct Journal {
    window: u64,
    lines: u32,
    held: u64,
    /// Why the connection was lost last; the same reason again is no news.
    lost: Option<String>,
    /// It was said that no server is set.
    no_server: bool,
}

impl Journal {
    /// May a line be written?
    pub fn admits(&mut self, now: u64) -> bool {
        let window = now / WINDOW;
        if window != self.window {
            if self.held > 0 {
                tracing::warn!(lines = self.held, "iSNS: log lines were held back");
            }
            (self.window, self.lines, self.held) = (window, 0, 0);
        }
        let admitted = self.lines < LINES;
        if admitted {
            self.lines += 1;
        } else {
            self.held += 1;
        }
        admitted
    }

    /// iSNS is on and no server is set.
    pub fn no_server(&mut self) {
        if !self.no_server {
            self.no_server = true;
            tracing::warn!("iSNS is on, but there is no server: set iSNSServerIP");
        }
    }

    /// The server is there.
    pub fn connected(&mut self, server: Option<&(String, u16)>, local: SocketAddr, now: u64) {
        if let Some((host, port)) = server
            && self.admits(now)
        {
            tracing::info!(server = %host, port, %local, "iSNS: connected");
        }
    }

    /// What the client reports; `cause`: the system's words about the connection.
    pub fn event(&mut self, event: &Event, server: Option<&(String, u16)>, cause: Option<String>, now: u64) {
        let (host, port) = server.map_or(("", 0), |(host, port)| (host.as_str(), *port));
        match event {
            Event::Lost { reason, delay } => {
                let reason = cause.unwrap_or_else(|| reason.to_string());
                let news = self.lost.as_ref() != Some(&reason);
                if news && self.admits(now) {
                    tracing::warn!(server = host, port, retry_s = delay / 1_000_000_000, "iSNS: no connection: {reason}");
                }
                self.lost = Some(reason);
            }
            Event::Registered { entity, targets } => {
                self.lost = None;
                self.no_server = false;
                if self.admits(now) {
                    tracing::info!(server = host, port, %entity, targets, "iSNS: registered");
                }
            }
            Event::Deregistered if self.admits(now) => tracing::info!(server = host, port, "iSNS: deregistered"),
            Event::Refused { function, status, about } => self.refused(*function, *status, about, now),
            Event::Admitted { target, initiators } if self.admits(now) => {
                tracing::info!(target_name = %target, initiators = initiators.len(), "iSNS: initiators that may log in");
            }
            Event::Deregistered | Event::Admitted { .. } => {}
        }
    }

    fn refused(&mut self, function: Function, status: Status, about: &str, now: u64) {
        if self.admits(now) {
            tracing::warn!(about, "iSNS: the server refuses {function}: {status}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_and_no_more() {
        let mut journal = Journal::default();
        assert_eq!((0..1000).filter(|_| journal.admits(5 * WINDOW)).count(), LINES as usize);
        assert_eq!(journal.held, 1000 - u64::from(LINES));
        assert!(journal.admits(6 * WINDOW));
        assert_eq!(journal.held, 0);
    }
}
