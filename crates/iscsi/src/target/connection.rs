//! The connection: what the shell calls.

use crate::interface::{Directory, Event, FunctionCode, Landing, LoginStatus, LoginSummary, Reply, Settings, Transmit};
use crate::key::Negotiated;
use scsi::Lun;

/// What `tgtadm --mode conn --op stat` shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionCounters {
    /// Bytes received: headers, data segments and padding, without digests.
    pub receive_bytes: u64,
    /// Bytes sent, counted the same way.
    pub transmit_bytes: u64,
    /// SCSI Data-Out PDUs received.
    pub data_out_pdus: u64,
    /// SCSI Data-In PDUs sent.
    pub data_in_pdus: u64,
    /// SCSI Command PDUs received.
    pub command_pdus: u64,
    /// SCSI Response PDUs sent (status carried by a Data-In counts too).
    pub response_pdus: u64,
}

/// A connection of the target role.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    counters: ConnectionCounters,
}

impl Connection {
    /// A connection that waits for its first Login Request since `now` (nanoseconds of any clock).
    pub fn new(settings: Settings, now: u64) -> Connection {
        let _ = now;
        Connection { settings, counters: ConnectionCounters::default() }
    }
    /// A header (BHS and AHS) arrived. Where does its data segment go?
    pub fn handle_header(&mut self, header: &[u8], directory: &dyn Directory, now: u64) -> Landing {
        let _ = (header, directory, now, &self.settings);
        Landing::None
    }
    /// The PDU is complete (once per PDU, at `Piece::End`). `inline` is empty unless the landing was [`Landing::Inline`].
    pub fn handle_data(&mut self, inline: &[u8], digest_ok: bool, directory: &dyn Directory, now: u64) {
        let _ = (inline, digest_ok, directory, now);
    }
    /// The stream is broken: header digest wrong, or a data segment beyond the format's limit.
    pub fn handle_broken_stream(&mut self, reason: &str) {
        let _ = reason;
    }
    /// Time passed: login limit, pings.
    pub fn handle_timeout(&mut self, directory: &dyn Directory, now: u64) {
        let _ = (directory, now);
    }
    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<u64> {
        None
    }
    /// Next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    /// Next PDU to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }
    /// The login that asked with [`Event::LoginReady`] has its session.
    pub fn accept_login(&mut self, tsih: u16, now: u64) {
        let _ = (tsih, now);
    }
    /// The login that asked with [`Event::LoginReady`] does not get a session; the connection closes.
    pub fn refuse_login(&mut self, status: LoginStatus, now: u64) {
        let _ = (status, now);
    }
    /// Bring the first `len` bytes of data-out; [`Event::DataReady`] when they are there.
    pub fn fetch(&mut self, tag: u32, len: u32) {
        let _ = (tag, len);
    }
    /// The task ended: Data-In and SCSI Response.
    pub fn respond(&mut self, tag: u32, reply: Reply) {
        let _ = (tag, reply);
    }
    /// The task was aborted: no response.
    pub fn forget(&mut self, tag: u32) {
        let _ = tag;
    }
    /// A task management function ended.
    pub fn function_response(&mut self, tag: u32, response: FunctionCode) {
        let _ = (tag, response);
    }
    /// Digests of the PDUs that arrive from now on: header, data. Give them to the `Receiver` at every `Piece::End`.
    pub fn digests(&self) -> (bool, bool) {
        (false, false)
    }
    /// Login is over.
    pub fn is_full_feature(&self) -> bool {
        false
    }
    /// Who logged in, once [`Event::LoginReady`] was given.
    pub fn summary(&self) -> Option<&LoginSummary> {
        None
    }
    /// The negotiated parameters.
    pub fn negotiated(&self) -> Negotiated {
        Negotiated::default()
    }
    /// Asks the initiator to log out within `seconds`; after that the connection closes.
    pub fn request_logout(&mut self, seconds: u16, now: u64) {
        let _ = (seconds, now);
    }
    /// SCSI asynchronous event with sense data (RFC 7143 11.9.1 event 0).
    pub fn async_event(&mut self, lun: Lun, sense: &[u8]) {
        let _ = (lun, sense);
    }
    /// Tells that the target is about to drop this connection (RFC 7143 11.9.1 event 2), then closes it.
    pub fn announce_drop(&mut self, time_to_wait: u16, time_to_retain: u16) {
        let _ = (time_to_wait, time_to_retain);
    }
    /// Counters.
    pub fn counters(&self) -> ConnectionCounters {
        self.counters
    }
}
