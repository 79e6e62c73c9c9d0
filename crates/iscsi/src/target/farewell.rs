//! Asynchronous messages of the target's own accord (RFC 7143 11.9): events of units, and the word before an end.

use alloc::vec::Vec;

use scsi::Lun;

use super::connection::{Connection, SECOND};

/// AsyncEvent: SCSI event with sense data.
const SCSI_EVENT: u8 = 0;
/// AsyncEvent: log out, please.
const LOGOUT_REQUESTED: u8 = 1;
/// AsyncEvent: the connection will be dropped.
const CONNECTION_DROPPED: u8 = 2;
/// AsyncEvent: all connections of the session will be dropped.
const SESSION_DROPPED: u8 = 3;

/// How much of a session the target drops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// This connection.
    Connection,
    /// All connections.
    Session,
}

impl Connection {
    /// Asks the initiator to log out within `seconds`; one that does not is told that it is dropped, and the connection closes.
    pub fn request_logout(&mut self, seconds: u16, now: u64) {
        if self.is_full_feature() {
            self.push_async(Lun::default(), LOGOUT_REQUESTED, [0, 0, seconds], Vec::new());
            self.deadline = Some(now.saturating_add(u64::from(seconds) * SECOND));
        }
    }

    /// SCSI asynchronous event with sense data, without their length field.
    pub fn async_event(&mut self, lun: Lun, sense: &[u8]) {
        if self.is_full_feature() {
            self.push_async(lun, SCSI_EVENT, [0; 3], super::reply::sense_segment(sense));
        }
    }

    /// Tells that the target drops this connection or the session, then closes the connection. Both times in seconds: the initiator should wait before it
    /// comes back, and has so long to take up its tasks elsewhere.
    pub fn announce_drop(&mut self, dropped: Dropped, time_to_wait: u16, time_to_retain: u16, reason: &str) {
        if self.is_full_feature() {
            let (event, parameter_1) = match dropped {
                Dropped::Connection => (CONNECTION_DROPPED, self.summary.as_ref().map_or(0, |summary| summary.cid)),
                Dropped::Session => (SESSION_DROPPED, 0),
            };
            self.push_async(Lun::default(), event, [parameter_1, time_to_wait, time_to_retain], Vec::new());
        }
        self.close(reason);
    }

    /// The time for a logout or a login is over.
    pub(super) fn end_overdue(&mut self) {
        if self.is_full_feature() {
            self.announce_drop(Dropped::Session, self.time_to_wait(), 0, "the initiator does not log out");
        } else {
            self.close("the login takes too long");
        }
    }

    /// DefaultTime2Wait, in seconds.
    pub fn time_to_wait(&self) -> u16 {
        u16::try_from(self.negotiated.default_time_2_wait).unwrap_or(u16::MAX)
    }
}
