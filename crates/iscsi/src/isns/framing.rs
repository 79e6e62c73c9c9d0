//! PDUs: headers of twelve bytes, and the fragments of a message behind each other (RFC 4171, 5.1).

use alloc::vec::Vec;
use core::fmt;

use super::message::Message;
use super::{Function, Status};

/// Length of a header.
pub const HEADER_LEN: usize = 12;
/// Most payload of one PDU that we send: what the length field can say, in whole words.
pub const PDU_LIMIT: usize = 65532;
/// Most payload of one message from a server we asked: the names of some thousand initiators.
pub const MESSAGE_LIMIT: usize = 1 << 20;
/// Most PDUs of one message: enough for [`MESSAGE_LIMIT`] from a server that sends small ones; empty ones cannot go on for ever.
pub const FRAGMENT_LIMIT: u32 = 1024;
/// The only version there is.
const VERSION: u16 = 1;

const FROM_CLIENT: u16 = 0x8000;
const FROM_SERVER: u16 = 0x4000;
const AUTHENTICATION: u16 = 0x2000;
const REPLACE: u16 = 0x1000;
const LAST: u16 = 0x0800;
const FIRST: u16 = 0x0400;

/// Why bytes are no message. The connection they came on is of no use any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Another version.
    Version(u16),
    /// A length that is no multiple of four.
    Length(u16),
    /// An authentication block, which has no place in a unicast message.
    Authentication,
    /// A fragment without a first one, or a second first one.
    First,
    /// A fragment of another message, or out of order.
    Sequence,
    /// More bytes than a message may have.
    TooLong,
    /// More PDUs than a message may have.
    TooMany,
    /// A response without room for its status.
    NoStatus,
    /// An attribute that goes beyond its message, or whose length is no multiple of four.
    Attribute,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Version(version) => write!(f, "version {version} instead of 1"),
            Fault::Length(len) => write!(f, "length {len} is no multiple of 4"),
            Fault::Authentication => f.write_str("an authentication block"),
            Fault::First => f.write_str("a fragment without its first, or two first ones"),
            Fault::Sequence => f.write_str("a fragment of another message or out of order"),
            Fault::TooLong => f.write_str("a message that is too long"),
            Fault::TooMany => f.write_str("a message of too many fragments"),
            Fault::NoStatus => f.write_str("a response without status"),
            Fault::Attribute => f.write_str("an attribute that does not fit into its message"),
        }
    }
}

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Header {
    version: u16,
    function: Function,
    len: u16,
    flags: u16,
    transaction: u16,
    sequence: u16,
}

impl Header {
    fn decode(bytes: &[u8; HEADER_LEN]) -> Header {
        let [v0, v1, f0, f1, l0, l1, g0, g1, t0, t1, s0, s1] = *bytes;
        Header {
            version: u16::from_be_bytes([v0, v1]),
            function: Function(u16::from_be_bytes([f0, f1])),
            len: u16::from_be_bytes([l0, l1]),
            flags: u16::from_be_bytes([g0, g1]),
            transaction: u16::from_be_bytes([t0, t1]),
            sequence: u16::from_be_bytes([s0, s1]),
        }
    }

    fn encode(&self, into: &mut Vec<u8>) {
        for field in [self.version, self.function.0, self.len, self.flags, self.transaction, self.sequence] {
            into.extend_from_slice(&field.to_be_bytes());
        }
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// A message of which only the headers are known.
    fn message(&self) -> Message {
        Message {
            function: self.function,
            transaction: self.transaction,
            replace: self.has(REPLACE),
            from_server: self.has(FROM_SERVER),
            status: None,
            attributes: Vec::new(),
        }
    }
}

/// Cuts a payload into PDUs.
pub(super) fn pdus(message: &Message, payload: &[u8]) -> Vec<u8> {
    let sender = if message.from_server { FROM_SERVER } else { FROM_CLIENT };
    let replace = if message.replace { REPLACE } else { 0 };
    let count = payload.len().div_ceil(PDU_LIMIT).max(1);
    let mut bytes = Vec::with_capacity(payload.len() + count * HEADER_LEN);
    for index in 0..count {
        let chunk = payload.get(index * PDU_LIMIT..payload.len().min((index + 1) * PDU_LIMIT)).unwrap_or_default();
        let first = if index == 0 { FIRST } else { 0 };
        let last = if index + 1 == count { LAST } else { 0 };
        let header = Header {
            version: VERSION,
            function: message.function,
            len: u16::try_from(chunk.len()).unwrap_or(u16::MAX),
            flags: sender | replace | first | last,
            transaction: message.transaction,
            sequence: u16::try_from(index).unwrap_or(u16::MAX),
        };
        header.encode(&mut bytes);
        bytes.extend_from_slice(chunk);
    }
    bytes
}

/// Makes messages of received bytes, however they are cut.
#[derive(Debug)]
pub struct Assembler {
    limit: usize,
    buffer: Vec<u8>,
    message: Option<Partial>,
}

/// The fragments so far.
#[derive(Debug)]
struct Partial {
    first: Header,
    sequence: u16,
    count: u32,
    payload: Vec<u8>,
}

impl Assembler {
    /// For messages whose payload has at most `limit` bytes.
    pub fn new(limit: usize) -> Assembler {
        Assembler { limit, buffer: Vec::new(), message: None }
    }

    /// Takes bytes. The caller then calls [`Assembler::next_message`] until it gives nothing, so that no more than one PDU and these bytes are held.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// A message has begun and is not complete.
    pub fn is_inside(&self) -> bool {
        !self.buffer.is_empty() || self.message.is_some()
    }

    /// The next message; `None`: more bytes are needed.
    ///
    /// # Errors
    /// What came is no message; nothing that follows can be trusted.
    pub fn next_message(&mut self) -> Result<Option<Message>, Fault> {
        let mut taken = 0;
        let outcome = loop {
            let rest = self.buffer.get(taken..).unwrap_or_default();
            let Some((header, body)) = rest.split_first_chunk::<HEADER_LEN>() else { break Ok(None) };
            let header = Header::decode(header);
            if let Err(fault) = self.check(&header) {
                break Err(fault);
            }
            let Some(payload) = body.get(..usize::from(header.len)) else { break Ok(None) };
            taken += HEADER_LEN + payload.len();
            let partial = self.message.get_or_insert(Partial { first: header, sequence: 0, count: 0, payload: Vec::new() });
            partial.sequence = header.sequence;
            partial.count += 1;
            partial.payload.extend_from_slice(payload);
            if header.has(LAST)
                && let Some(whole) = self.message.take()
            {
                break whole.first.message().read_payload(&whole.payload).map(Some);
            }
        };
        self.buffer.drain(..taken);
        outcome
    }

    /// Everything a header can get wrong, before its payload is waited for.
    fn check(&self, header: &Header) -> Result<(), Fault> {
        if header.version != VERSION {
            return Err(Fault::Version(header.version));
        }
        if !header.len.is_multiple_of(4) {
            return Err(Fault::Length(header.len));
        }
        if header.has(AUTHENTICATION) {
            return Err(Fault::Authentication);
        }
        if header.has(FIRST) != self.message.is_none() {
            return Err(Fault::First);
        }
        let (have, count) = self.message.as_ref().map_or((0, 0), |partial| (partial.payload.len(), partial.count));
        if have + usize::from(header.len) > self.limit {
            return Err(Fault::TooLong);
        }
        if count >= FRAGMENT_LIMIT {
            return Err(Fault::TooMany);
        }
        match &self.message {
            Some(partial) => {
                let same = partial.first.function == header.function && partial.first.transaction == header.transaction;
                let next = partial.sequence.checked_add(1) == Some(header.sequence);
                if same && next { Ok(()) } else { Err(Fault::Sequence) }
            }
            // Servers number a whole message as they like; the first of several is 0.
            None if header.sequence != 0 && !header.has(LAST) => Err(Fault::Sequence),
            None => Ok(()),
        }
    }
}

/// What tells a response of ours from a request, for tests and logs.
pub(super) fn is_success(message: &Message) -> bool {
    message.status == Some(Status::SUCCESS)
}
