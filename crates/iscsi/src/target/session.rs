//! The session: its connections, and what they share.
//!
//! Commands are counted, ordered and named for the whole session, whatever connection brings them; data and answers of a command stay on its connection. So
//! the command window, the tasks and the events are [`Shared`], everything else is a [`Connection`]'s own. `Shared` is passed on to the connection that is
//! spoken to: a connection that is alone keeps it, and pays nothing for those that it does not have.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::connection::Connection;
use super::task::{Owed, TaskTable};
use super::window::Window;
use crate::interface::{Directory, Event, Settings};
use crate::pdu::Header;

/// A connection within its session. Never given twice in the life of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seat(pub u32);

/// What waits in the command window.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The task with this tag.
    Command(u32),
    /// Another request: header and data.
    Request(Header, Vec<u8>),
}

/// What the connections of a session share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) window: Window<Waiting>,
    /// Commands and functions that count against the window.
    pub(super) active: u32,
    pub(super) tasks: TaskTable,
    pub(super) owed: Owed,
    /// Tags of task management requests without response; true: it counts against the window.
    pub(super) functions: Vec<(u32, bool)>,
    /// Bytes of requests held in the window.
    pub(super) held_bytes: usize,
    pub(super) transfer_tag: u32,
    /// In the order in which the shell has to hear them, each with its connection.
    pub(super) events: VecDeque<(Seat, Event)>,
}

/// A session of the target role.
#[derive(Debug)]
pub struct Session {
    /// The one at `holder` has what they share.
    connections: Vec<Connection>,
    holder: usize,
}

impl Session {
    /// A connection that waits for its first Login Request since `now` (nanoseconds of any clock), at seat 0.
    pub fn new(settings: Settings, now: u64) -> Session {
        Session { connections: alloc::vec![Connection::new(settings, now)], holder: 0 }
    }

    /// The connection at a seat, `None` when it is gone.
    pub fn at(&mut self, seat: Seat) -> Option<&mut Connection> {
        let index = self.connections.iter().position(|connection| connection.seat == seat)?;
        if index != self.holder {
            let shared = core::mem::take(&mut self.connections[self.holder].shared);
            self.connections[index].shared = shared;
            self.holder = index;
        }
        self.connections.get_mut(index)
    }

    /// When [`Connection::handle_timeout`] of a connection wants to be called.
    pub fn poll_timeout(&self, seat: Seat) -> Option<u64> {
        self.connections.iter().find(|connection| connection.seat == seat)?.poll_timeout()
    }

    /// The PDU of a connection is complete; see [`Connection::handle_data`].
    pub fn handle_data(&mut self, seat: Seat, inline: &[u8], digest_ok: bool, directory: &dyn Directory, now: u64) {
        if let Some(connection) = self.at(seat) {
            connection.handle_data(inline, digest_ok, directory, now);
        }
    }

    /// Next event, and the connection that it is about.
    pub fn poll_event(&mut self) -> Option<(Seat, Event)> {
        self.connections.get_mut(self.holder)?.shared.events.pop_front()
    }
}
