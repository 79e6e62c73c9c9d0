//! The session: its connections, and what they share.
//!
//! Commands are counted, ordered and named for the whole session, whatever connection brings them; data and answers of a command stay on its connection
//! (RFC 7143 4.2.2, 4.2.5). So the command window, the tasks and the events are `Shared`, everything else is a [`Connection`]'s own. `Shared` is passed on to
//! the connection that is spoken to: a connection that is alone keeps it, and pays nothing for those that it does not have.
//!
//! What one connection wants of the others it leaves as an `Order`; whoever fed a connection lets the session carry them out before the next input.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::connection::Connection;
use super::logout::{CLOSED, Dismissal, UNKNOWN_CID};
use super::management::{Fence, Function};
use super::task::{Owed, TaskTable};
use super::window::{Held, Window, distance};
use crate::interface::{Directory, Event, FunctionCode, Reply, Settings};
use crate::key::Negotiated;
use crate::pdu::{Header, TaskManagementRequest};

/// A connection within its session. Never given twice in the life of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seat(pub u32);

/// What waits in the command window.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The task with this tag.
    Command(u32),
    /// Another request, of this connection: header and data.
    Request(Seat, Header, Vec<u8>),
}

/// What a connection wants of the others of its session.
#[derive(Debug)]
pub(super) enum Order {
    /// The session is logged out.
    CloseOthers,
    /// The connection with this CID is logged out by the request with this tag.
    Dismiss { tag: u32, cid: u16 },
    /// What was sent must have arrived before the function with this tag is answered.
    Fence(u32),
}

/// What the connections of a session share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) window: Window<Waiting>,
    /// Commands and functions that count against the window.
    pub(super) active: u32,
    pub(super) tasks: TaskTable,
    pub(super) owed: Owed,
    /// Task management requests without response.
    pub(super) functions: Vec<Function>,
    pub(super) fences: Vec<Fence>,
    dismissals: Vec<Dismissal>,
    pub(super) orders: Vec<Order>,
    /// Bytes of requests held in the window.
    pub(super) held_bytes: usize,
    pub(super) transfer_tag: u32,
    /// In the order in which the shell has to hear them, each with its connection.
    pub(super) events: VecDeque<(Seat, Event)>,
    /// What the first login agreed on for the session.
    leading: Option<Negotiated>,
    /// Connections beside the one that is spoken to.
    pub(super) companions: usize,
}

impl Shared {
    /// What holds for a connection: its own digests and segment lengths, the rest as the first connection of the session agreed.
    pub(super) fn agree(&mut self, own: Negotiated) -> Negotiated {
        let leading = *self.leading.get_or_insert(own);
        Negotiated {
            header_digest: own.header_digest,
            data_digest: own.data_digest,
            max_recv_data_segment_length: own.max_recv_data_segment_length,
            max_xmit_data_segment_length: own.max_xmit_data_segment_length,
            ..leading
        }
    }

    /// Does a request other than a command have this tag?
    pub(super) fn owes_answer(&self, tag: u32) -> bool {
        self.functions.iter().any(|function| function.request.tag == tag) || self.dismissals.iter().any(|dismissal| dismissal.tag == tag)
    }

    /// Removes a task without answer; what the initiator still sends for it will be thrown away.
    pub(super) fn drop_task(&mut self, tag: u32) {
        let Some((counted, sequences)) = self.tasks.remove(tag, |task| (task.counted, task.transfer.open_sequences())) else { return };
        self.active -= u32::from(counted);
        self.owed.add(tag, sequences);
    }

    pub(super) fn remove_function(&mut self, tag: u32) {
        if let Some(index) = self.functions.iter().position(|function| function.request.tag == tag) {
            self.active -= u32::from(self.functions.remove(index).counted);
        }
    }

    /// Is a request missing that was numbered before this one? What cannot be sent yet is not missing.
    pub(super) fn lacks_before(&self, request: &TaskManagementRequest) -> bool {
        distance(self.window.expected(), request.cmd_sn) > 0 && distance(self.window.maximum(), request.cmd_sn) <= 1
    }

    /// The connection whose request is next in the window; `None` as long as none is, or none that anybody waits for.
    fn next_owner(&self) -> Option<Seat> {
        match self.window.next()? {
            Held::Waiting(Waiting::Command(tag)) => self.tasks.get(*tag).map(|task| task.seat),
            Held::Waiting(Waiting::Request(seat, ..)) => Some(*seat),
            Held::Lost => None,
        }
    }

    /// May this connection take the next request out of the window?
    pub(super) fn next_is_of(&self, seat: Seat) -> bool {
        self.next_owner().is_none_or(|owner| owner == seat)
    }

    /// The next request is not carried out: its connection is closing.
    fn discard_next(&mut self) {
        match self.window.take_next() {
            Some(Held::Waiting(Waiting::Command(tag))) => self.drop_task(tag),
            Some(Held::Waiting(Waiting::Request(_, _, data))) => self.held_bytes -= data.len(),
            Some(Held::Lost) | None => {}
        }
    }

    /// A connection is gone. Tags of its tasks that the shell has to end.
    fn forsake(&mut self, seat: Seat) -> Vec<u32> {
        for (owner, event) in core::mem::take(&mut self.events) {
            match event {
                _ if owner != seat => self.events.push_back((owner, event)),
                Event::Command(command) => self.drop_task(command.tag),
                Event::Function(function) => self.remove_function(function.tag),
                _ => {}
            }
        }
        let tasks = &self.tasks;
        let lost = self.window.lose(None, |waiting| match waiting {
            Waiting::Command(tag) => tasks.get(*tag).is_none_or(|task| task.seat == seat),
            Waiting::Request(owner, ..) => *owner == seat,
        });
        for waiting in lost {
            if let Waiting::Request(_, _, data) = waiting {
                self.held_bytes -= data.len();
            }
        }
        for tag in self.tasks.tags(|task| task.seat == seat && !task.runs()) {
            self.drop_task(tag);
            self.owed.clear(tag);
        }
        self.functions.retain(|function| function.seat != seat || !function.waits);
        self.fences.retain(|fence| fence.seat != seat);
        self.dismissals.retain(|dismissal| dismissal.by != seat);
        let running = self.tasks.tags(|task| task.seat == seat);
        for tag in &running {
            if let Some(task) = self.tasks.get_mut(*tag) {
                task.lost = true;
            }
        }
        running
    }
}

/// A session of the target role. It has at least one connection.
#[derive(Debug)]
pub struct Session {
    /// The one at `holder` has what they share.
    connections: Vec<Connection>,
    holder: usize,
    next_seat: u32,
}

impl Session {
    /// A connection that waits for its first Login Request since `now` (nanoseconds of any clock), at seat 0.
    pub fn new(settings: Settings, now: u64) -> Session {
        Session { connections: alloc::vec![Connection::new(settings, now)], holder: 0, next_seat: 1 }
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

    /// Takes over the connection of another session whose login [`Event::LoginReady`] told, and which has not been answered yet. `None`: `other` has not
    /// exactly one connection.
    pub fn join(&mut self, mut other: Session) -> Option<Seat> {
        let mut connection = other.connections.pop().filter(|_| other.connections.is_empty())?;
        let seat = Seat(self.next_seat);
        self.next_seat = self.next_seat.wrapping_add(1);
        connection.shared = Shared::default();
        connection.seat = seat;
        self.connections.push(connection);
        self.count();
        Some(seat)
    }

    /// A connection is gone. The tasks with the tags that come back run in units: the shell ends them, and calls [`Session::forget`] for each; until then
    /// their tags are in use. The last connection stays: with it goes the session.
    pub fn end(&mut self, seat: Seat, directory: &dyn Directory, now: u64) -> Vec<u32> {
        let Some(index) = self.connections.iter().position(|connection| connection.seat == seat) else { return Vec::new() };
        if self.connections.len() == 1 {
            return Vec::new();
        }
        let shared = core::mem::take(&mut self.connections[self.holder].shared);
        self.connections.remove(index);
        self.holder = 0;
        self.connections[0].shared = shared;
        self.count();
        let running = self.shared().forsake(seat);
        self.settle(directory, now);
        running
    }

    /// Have all tasks of a connection ended?
    pub fn has_tasks(&mut self, seat: Seat) -> bool {
        self.shared().tasks.any(|task| task.seat == seat)
    }

    /// When [`Connection::handle_timeout`] of a connection wants to be called.
    pub fn poll_timeout(&self, seat: Seat) -> Option<u64> {
        self.connections.iter().find(|connection| connection.seat == seat)?.poll_timeout()
    }

    /// The PDU of a connection is complete; see [`Connection::handle_data`].
    pub fn handle_data(&mut self, seat: Seat, inline: &[u8], digest_ok: bool, directory: &dyn Directory, now: u64) {
        if let Some(connection) = self.at(seat) {
            connection.handle_data(inline, digest_ok, directory, now);
            self.settle(directory, now);
        }
    }

    /// Time of a connection passed; see [`Connection::handle_timeout`].
    pub fn handle_timeout(&mut self, seat: Seat, directory: &dyn Directory, now: u64) {
        if let Some(connection) = self.at(seat) {
            connection.handle_timeout(directory, now);
            self.settle(directory, now);
        }
    }

    /// Next event, and the connection that it is about.
    pub fn poll_event(&mut self) -> Option<(Seat, Event)> {
        self.shared().events.pop_front()
    }

    /// See [`Connection::fetch`].
    pub fn fetch(&mut self, tag: u32, len: u32) {
        if let Some(connection) = self.with_task(tag) {
            connection.fetch(tag, len);
        }
    }

    /// See [`Connection::respond`]. The answer of a task whose connection is gone is for nobody.
    pub fn respond(&mut self, tag: u32, reply: Reply) {
        match self.with_task(tag) {
            Some(connection) => connection.respond(tag, reply),
            None => self.shared().drop_task(tag),
        }
        self.settle_answers();
    }

    /// See [`Connection::forget`].
    pub fn forget(&mut self, tag: u32) {
        match self.with_task(tag) {
            Some(connection) => connection.forget(tag),
            None => self.shared().drop_task(tag),
        }
        self.settle_answers();
    }

    /// A task whose connection is gone has ended, too. Other tasks stay.
    pub fn forget_lost(&mut self, tag: u32) {
        if self.shared().tasks.get(tag).is_some_and(|task| task.lost) {
            self.shared().drop_task(tag);
            self.settle_answers();
        }
    }

    /// See [`Connection::function_response`]. A function whose connection is gone is answered to nobody. With several connections the answer waits until all
    /// have confirmed what was sent before it (RFC 7143 4.2.3.2).
    pub fn function_response(&mut self, tag: u32, response: FunctionCode) {
        let function = self.shared().functions.iter().find(|function| function.request.tag == tag).map(|function| function.seat);
        let connection = match function {
            Some(seat) => self.at(seat),
            None => match self.connections.iter().find(|connection| connection.logging_out.is_some_and(|logout| logout.tag == tag)) {
                Some(leaving) => self.at(leaving.seat),
                None => self.with_task(tag),
            },
        };
        match connection {
            Some(connection) => connection.function_response(tag, response),
            None => self.shared().remove_function(tag),
        }
        self.settle_answers();
    }

    /// The connection of a task; `None`: there is no such task, or no such connection any more.
    fn with_task(&mut self, tag: u32) -> Option<&mut Connection> {
        if self.connections.len() == 1 {
            return self.connections.first_mut().filter(|connection| connection.shared.tasks.get(tag).is_none_or(|task| !task.lost));
        }
        let seat = self.shared().tasks.get(tag).map(|task| task.seat)?;
        self.at(seat)
    }

    fn shared(&mut self) -> &mut Shared {
        &mut self.connections[self.holder].shared
    }

    fn count(&mut self) {
        self.shared().companions = self.connections.len() - 1;
    }

    /// Carries out what an input to one connection means for the others.
    fn settle(&mut self, directory: &dyn Directory, now: u64) {
        self.settle_answers();
        if self.connections.len() == 1 && self.shared().window.next().is_none() && self.shared().functions.is_empty() {
            return;
        }
        loop {
            if !self.release(directory, now) && !self.deliver_function() {
                break;
            }
            self.settle_answers();
        }
    }

    /// The next request in the window goes to its connection. False: there is none that could.
    fn release(&mut self, directory: &dyn Directory, now: u64) -> bool {
        if self.shared().window.next().is_none() {
            return false;
        }
        let owner = self.shared().next_owner();
        let taker = match owner {
            Some(seat) => self.connections.iter().find(|connection| connection.seat == seat && connection.is_full_feature()),
            None => self.connections.iter().find(|connection| connection.is_full_feature()),
        };
        match taker.map(|connection| connection.seat) {
            Some(seat) => {
                if let Some(connection) = self.at(seat) {
                    connection.release_held(directory, now);
                }
                true
            }
            // Behind a logout nothing is carried out; as long as others live, their requests go on.
            None if self.connections.iter().any(Connection::is_full_feature) => {
                self.shared().discard_next();
                true
            }
            None => false,
        }
    }

    /// A function whose predecessors have all come begins. False: there is none.
    fn deliver_function(&mut self) -> bool {
        let shared = self.shared();
        let due = |function: &Function| function.waits && !shared.lacks_before(&function.request);
        let Some(index) = shared.functions.iter().position(due) else { return false };
        let function = self.shared().functions.remove(index);
        if let Some(connection) = self.at(function.seat) {
            connection.deliver_function(function);
        }
        true
    }

    /// Orders, and answers that waited for another connection.
    fn settle_answers(&mut self) {
        let own = self.connections[self.holder].seat;
        while let Some(order) = self.shared().orders.pop() {
            match order {
                Order::CloseOthers => self.each_other(own, |connection| connection.close("the session is logged out")),
                Order::Fence(function) => self.each_other(own, |connection| connection.ask_for_fence(function)),
                Order::Dismiss { tag, cid } => self.dismiss(own, tag, cid),
            }
        }
        if self.shared().functions.is_empty() && self.shared().dismissals.is_empty() {
            return;
        }
        while let Some((seat, tag, code)) = self.shared().unfenced() {
            match self.at(seat) {
                Some(connection) => connection.end_function(tag, code),
                None => self.shared().remove_function(tag),
            }
        }
        while let Some(index) = self.finished_dismissal() {
            let dismissal = self.shared().dismissals.remove(index);
            if let Some(connection) = self.at(dismissal.by) {
                connection.push_logout_response(dismissal.tag, CLOSED);
            }
        }
    }

    fn each_other(&mut self, own: Seat, mut call: impl FnMut(&mut Connection)) {
        let others = self.connections.iter().filter(|connection| connection.seat != own && connection.is_full_feature());
        for seat in others.map(|connection| connection.seat).collect::<Vec<_>>() {
            self.at(seat).map(&mut call);
        }
    }

    fn dismiss(&mut self, by: Seat, tag: u32, cid: u16) {
        let of_cid = |connection: &&Connection| connection.is_full_feature() && connection.summary().is_some_and(|summary| summary.cid == cid);
        match self.connections.iter().find(of_cid).map(|connection| connection.seat) {
            Some(seat) => {
                self.shared().dismissals.push(Dismissal { by, tag, seat });
                if let Some(connection) = self.at(seat) {
                    connection.close("logged out through another connection");
                }
            }
            None => {
                if let Some(connection) = self.at(by) {
                    connection.push_logout_response(tag, UNKNOWN_CID);
                }
            }
        }
    }

    fn finished_dismissal(&mut self) -> Option<usize> {
        let Session { connections, holder, .. } = self;
        let shared = &connections[*holder].shared;
        shared.dismissals.iter().position(|dismissal| {
            let lives = connections.iter().any(|connection| connection.seat == dismissal.seat);
            !lives && !shared.tasks.any(|task| task.seat == dismissal.seat)
        })
    }
}

impl Shared {
    /// A function that has ended, and whose answer nothing has to come before any more.
    fn unfenced(&self) -> Option<(Seat, u32, FunctionCode)> {
        let free = |function: &&Function| !self.fences.iter().any(|fence| fence.function == function.request.tag);
        let function = self.functions.iter().filter(|function| function.code.is_some()).find(free)?;
        Some((function.seat, function.request.tag, function.code?))
    }
}
