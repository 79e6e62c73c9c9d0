//! A session of the initiator role with several connections: commands are numbered for all of them together.

use alloc::vec::Vec;

use super::{Connection, Settings};

/// What the connections of a session count together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Numbers {
    /// Next CmdSN.
    pub(super) cmd_sn: u32,
    /// Highest CmdSN that may be sent.
    pub(super) max_cmd_sn: u32,
    /// Next task tag.
    pub(super) next_tag: u32,
}

/// Connections of one session, by the order in which they were made; places of lost ones stay empty.
#[derive(Debug)]
pub struct Session {
    connections: Vec<Option<Connection>>,
    settings: Settings,
    numbers: Numbers,
    /// The connection that has counted on since `numbers` were noted.
    current: usize,
}

impl Session {
    /// A session whose first connection logs in.
    pub fn new(settings: Settings) -> Session {
        let connection = Connection::new(settings.clone());
        let numbers = connection.numbers();
        Session { connections: alloc::vec![Some(connection)], settings, numbers, current: 0 }
    }

    /// A further connection logs in, or one in place of another when `cid` is that one's; its place. The first one must be in full feature phase, or have been.
    pub fn connect(&mut self, cid: u16) -> usize {
        self.note();
        if let Some(leading) = self.connections.iter().flatten().find(|connection| connection.is_logged_in()) {
            (self.settings.tsih, self.settings.leading) = (leading.tsih(), Some(*leading.negotiated()));
        }
        let settings = Settings { cid, cmd_sn: self.numbers.cmd_sn, ..self.settings.clone() };
        self.connections.push(Some(Connection::new(settings)));
        self.connections.len() - 1
    }

    /// A connection, to be spoken to; `None`: it is lost.
    pub fn at(&mut self, place: usize) -> Option<&mut Connection> {
        if place != self.current {
            self.note();
            self.current = place;
            if let Some(connection) = self.connections.get_mut(place)?.as_mut() {
                connection.count_on(self.numbers);
            }
        }
        self.connections.get_mut(place)?.as_mut()
    }

    /// The connection is lost, with whatever was on its way.
    pub fn lose(&mut self, place: usize) {
        self.note();
        if let Some(connection) = self.connections.get_mut(place) {
            *connection = None;
        }
    }

    /// Places, lost ones among them.
    pub fn places(&self) -> usize {
        self.connections.len()
    }

    fn note(&mut self) {
        if let Some(Some(connection)) = self.connections.get(self.current) {
            self.numbers = connection.numbers();
        }
    }
}
