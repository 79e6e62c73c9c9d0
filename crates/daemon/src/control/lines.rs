//! The bytes of one connection, cut into requests.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use admin::framing::{self, LINE_MAX, Step};

use super::PATIENCE;
use super::places::{FREE_BYTES, Place, Places};

/// How long a connection may stay open between two requests.
pub const IDLE_PATIENCE: Duration = Duration::from_secs(60);
/// One receive takes so much at most.
const CHUNK: usize = 64 << 10;
/// How often a connection that waits looks whether it still may.
const LOOK: Duration = Duration::from_secs(1);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A request of tgtadm's.
    Binary(Vec<u8>),
    /// A line of JSON.
    Line(Vec<u8>),
    /// No more: the peer has finished, or it speaks neither protocol.
    End,
    /// A line beyond the limit of one, or of all together.
    TooLong,
}

/// The receiving side of a connection.
pub struct Lines<'a> {
    stream: &'a UnixStream,
    places: &'a Places,
    bytes: Vec<u8>,
    /// Bytes that are known to have no newline.
    scanned: usize,
    /// The connection speaks lines.
    json: bool,
    /// Room for a long line.
    room: Vec<Place>,
    reserved: usize,
    ended: bool,
    /// When what is awaited must have come.
    deadline: Instant,
}

impl<'a> Lines<'a> {
    pub fn new(stream: &'a UnixStream, places: &'a Places) -> Lines<'a> {
        let deadline = Instant::now() + PATIENCE;
        Lines { stream, places, bytes: Vec::new(), scanned: 0, json: false, room: Vec::new(), reserved: FREE_BYTES, ended: false, deadline }
    }

    /// Nothing has come behind the last request.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// From now on this long for the next request to begin.
    pub fn wait_for_next(&mut self) {
        let patience = if self.bytes.is_empty() { IDLE_PATIENCE } else { PATIENCE };
        self.deadline = Instant::now() + patience;
    }

    /// The next request. `busy`: requests of this connection are carried out, or it watches, so it need not send anything for now.
    ///
    /// # Errors
    /// The connection broke, or patience ended.
    pub fn next(&mut self, busy: impl Fn() -> bool) -> io::Result<Next> {
        loop {
            if let Some(next) = self.cut() {
                return Ok(next);
            }
            let begun = !self.bytes.is_empty();
            match self.receive()? {
                Some(0) => self.ended = true,
                Some(_) if !begun => self.deadline = Instant::now() + PATIENCE,
                Some(_) => {}
                None if begun || !busy() => {
                    if Instant::now() >= self.deadline {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                None => self.deadline = Instant::now() + IDLE_PATIENCE,
            }
        }
    }

    fn cut(&mut self) -> Option<Next> {
        if self.json {
            // Newlines between lines mean nothing.
            let blank = self.bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if blank > 0 {
                self.bytes.drain(..blank);
                self.scanned = 0;
            }
        } else {
            match framing::examine(&self.bytes[..self.bytes.len().min(FREE_BYTES)], self.ended) {
                _ if self.bytes.first() == Some(&b'{') => self.json = true,
                Step::More(_) => return None,
                Step::Binary(len) => return Some(Next::Binary(self.bytes[..len].to_vec())),
                Step::Json(_) | Step::Refused => return Some(Next::End),
            }
        }
        if self.bytes.is_empty() {
            return self.ended.then_some(Next::End);
        }
        let end = self.bytes[self.scanned..].iter().position(|&byte| byte == b'\n').map(|at| self.scanned + at + 1);
        self.scanned = self.bytes.len();
        match end.or_else(|| self.ended.then_some(self.bytes.len())) {
            Some(end) if end <= LINE_MAX => {
                let rest = self.bytes.split_off(end);
                let line = std::mem::replace(&mut self.bytes, rest);
                self.scanned = 0;
                Some(Next::Line(line))
            }
            Some(_) => Some(Next::TooLong),
            None => (self.bytes.len() >= LINE_MAX || !self.reserve()).then_some(Next::TooLong),
        }
    }

    /// Room for what one receive may bring. False: all connections together bring too much.
    fn reserve(&mut self) -> bool {
        if self.bytes.len() < self.reserved {
            return true;
        }
        // Doubled each time, so that a long line takes a few places.
        let wanted = self.reserved;
        match self.places.bytes(wanted) {
            Some(place) => {
                self.room.push(place);
                self.reserved += wanted;
                true
            }
            None => false,
        }
    }

    /// The long line is done with.
    pub fn release(&mut self) {
        if self.bytes.len() <= FREE_BYTES {
            self.room.clear();
            self.reserved = FREE_BYTES;
        }
    }

    /// Receives what is there. `None`: nothing came for a while.
    fn receive(&mut self) -> io::Result<Option<usize>> {
        if self.ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.stream.set_read_timeout(Some(LOOK))?;
        let start = self.bytes.len();
        self.bytes.resize(start + CHUNK, 0);
        let mut stream = self.stream;
        let result = stream.read(&mut self.bytes[start..]);
        self.bytes.truncate(start + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(count) => Ok(Some(count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
