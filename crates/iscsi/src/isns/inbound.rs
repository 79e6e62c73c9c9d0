//! A connection that somebody opened to our notification port: State Change Notifications and Entity Status Inquiries come in, answers go out
//! (RFC 4171, 5.6.5.8 and 5.6.5.13).
//!
//! Anybody can connect there, so little is believed: a notification only makes us ask the server again, an inquiry gets its own words back.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use super::framing::{Assembler, Fault};
use super::message::{Attribute, Message};
use super::{Function, Status, Tag};

/// Most payload of a message: notifications and inquiries are short.
pub const MESSAGE_LIMIT: usize = 16 << 10;
/// Most bytes of one connection; a server that keeps it open for inquiries reaches this after weeks, and opens another.
pub const CONNECTION_LIMIT: usize = 16 << 20;
/// Most bytes that wait to be sent to a peer that does not read.
pub const OUTPUT_LIMIT: usize = 256 << 10;
/// A message must be complete so many nanoseconds after its first byte.
pub const MESSAGE_PATIENCE: u64 = 5_000_000_000;
/// A connection on which nothing was completed for so long ends.
pub const IDLE_PATIENCE: u64 = 120_000_000_000;

/// What a message means for the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Something changed for this node of ours; empty when the notification names none.
    Changed(String),
    /// The server asked whether we live.
    Inquiry,
}

/// Why such a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Bytes that are no message.
    Fault(Fault),
    /// A response to something we never asked on this connection.
    Response(Function),
    /// Too many bytes in, or too many out that nobody reads.
    Volume,
    /// Silence, or a message that does not end.
    Timeout,
}

impl core::fmt::Display for Ending {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Ending::Fault(fault) => write!(f, "{fault}"),
            Ending::Response(function) => write!(f, "{function}, to no question of ours"),
            Ending::Volume => f.write_str("too many bytes"),
            Ending::Timeout => f.write_str("silence"),
        }
    }
}

/// The connection.
#[derive(Debug)]
pub struct Inbound {
    assembler: Assembler,
    received: usize,
    waiting: usize,
    output: VecDeque<Vec<u8>>,
    notices: VecDeque<Notice>,
    deadline: u64,
}

impl Inbound {
    /// Accepted at `now`.
    pub fn new(now: u64) -> Inbound {
        Inbound {
            assembler: Assembler::new(MESSAGE_LIMIT),
            received: 0,
            waiting: 0,
            output: VecDeque::new(),
            notices: VecDeque::new(),
            deadline: now.saturating_add(MESSAGE_PATIENCE),
        }
    }

    /// Bytes from the peer.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: u64) -> Result<(), Ending> {
        self.received = self.received.saturating_add(bytes.len());
        if self.received > CONNECTION_LIMIT {
            return Err(Ending::Volume);
        }
        let inside = self.assembler.is_inside();
        self.assembler.push(bytes);
        let mut complete = false;
        while let Some(message) = self.assembler.next_message().map_err(Ending::Fault)? {
            complete = true;
            let (answer, notice) = answer(&message).ok_or(Ending::Response(message.function))?;
            let answer = answer.encode();
            self.waiting += answer.len();
            if self.waiting > OUTPUT_LIMIT {
                return Err(Ending::Volume);
            }
            self.output.push_back(answer);
            self.notices.extend(notice);
        }
        if self.assembler.is_inside() && (complete || !inside) {
            self.deadline = now.saturating_add(MESSAGE_PATIENCE);
        } else if complete {
            self.deadline = now.saturating_add(IDLE_PATIENCE);
        }
        Ok(())
    }

    /// Bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let bytes = self.output.pop_front()?;
        self.waiting -= bytes.len();
        Some(bytes)
    }

    /// What the client should know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When [`Inbound::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> u64 {
        self.deadline
    }

    /// Time passes.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn handle_timeout(&mut self, now: u64) -> Result<(), Ending> {
        if now >= self.deadline { Err(Ending::Timeout) } else { Ok(()) }
    }
}

/// The answer to a message of a server, and what it means; `None` for a response.
pub(super) fn answer(message: &Message) -> Option<(Message, Option<Notice>)> {
    if message.function.is_response() {
        return None;
    }
    Some(match message.function {
        Function::STATE_CHANGE_NOTIFICATION => {
            // The destination is the first name; what follows is about others.
            let destination = message.attributes.iter().find(|attribute| attribute.tag == Tag::ISCSI_NAME).cloned();
            let name = destination.as_ref().and_then(Attribute::as_text).unwrap_or_default().into();
            (message.answer(Status::SUCCESS, destination.into_iter().collect()), Some(Notice::Changed(name)))
        }
        Function::ENTITY_STATUS_INQUIRY => (message.answer(Status::SUCCESS, message.attributes.clone()), Some(Notice::Inquiry)),
        _ => (message.answer(Status::MESSAGE_NOT_SUPPORTED, Vec::new()), None),
    })
}
