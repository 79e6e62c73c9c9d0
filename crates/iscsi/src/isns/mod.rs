//! iSNS (RFC 4171) without I/O: how a target makes itself known to a name server, and hears from it who may see it.
//!
//! [`message`] and [`framing`] are the wire; [`client`] is the machine that keeps a server's picture of us true; [`inbound`] answers the connections that a
//! server opens to us, with State Change Notifications and Entity Status Inquiries. Only what an iSCSI target needs is here: no discovery domain
//! management, no Fibre Channel, no multicast heartbeat and no authentication block.
//!
//! How a shell drives a [`Client`]: it opens and closes the connection when [`Client::poll_action`] says so, hands received bytes and time in, sends what
//! [`Client::poll_transmit`] gives, and calls `handle_timeout` when [`Client::poll_timeout`] says so. All times are nanoseconds of one monotonic clock.

pub mod client;
pub mod framing;
pub mod inbound;
mod known;
pub mod message;
mod request;

use core::fmt;

pub use client::{Action, Client, Event, Timing};
pub use framing::{Assembler, Fault};
pub use inbound::{Inbound, Notice};
pub use message::{Attribute, Message};
pub use request::Registration;

/// TCP port of a server.
pub const PORT: u16 = 3205;

/// FUNCTION ID (RFC 4171, 4.1): a request, or with its highest bit a response.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Function(pub u16);

#[allow(missing_docs)]
impl Function {
    pub const DEVICE_ATTRIBUTE_REGISTRATION: Function = Function(0x0001);
    pub const DEVICE_ATTRIBUTE_QUERY: Function = Function(0x0002);
    pub const DEVICE_DEREGISTRATION: Function = Function(0x0004);
    pub const SCN_REGISTRATION: Function = Function(0x0005);
    pub const SCN_DEREGISTRATION: Function = Function(0x0006);
    pub const STATE_CHANGE_NOTIFICATION: Function = Function(0x0008);
    pub const ENTITY_STATUS_INQUIRY: Function = Function(0x000d);
}

impl Function {
    /// The function of its response.
    pub fn response(self) -> Function {
        Function(self.0 | 0x8000)
    }

    /// It is a response.
    pub fn is_response(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// The RFC's short name, or the number.
    fn word(self) -> Option<&'static str> {
        Some(match Function(self.0 & 0x7fff) {
            Function::DEVICE_ATTRIBUTE_REGISTRATION => "DevAttrReg",
            Function::DEVICE_ATTRIBUTE_QUERY => "DevAttrQry",
            Function::DEVICE_DEREGISTRATION => "DevDereg",
            Function::SCN_REGISTRATION => "SCNReg",
            Function::SCN_DEREGISTRATION => "SCNDereg",
            Function::STATE_CHANGE_NOTIFICATION => "SCN",
            Function::ENTITY_STATUS_INQUIRY => "ESI",
            _ => return None,
        })
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            Some(word) => write!(f, "{word}{}", if self.is_response() { "Rsp" } else { "" }),
            None => write!(f, "function {:04x}h", self.0),
        }
    }
}

/// Attribute tag (RFC 4171, 6.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Tag(pub u32);

#[allow(missing_docs)]
impl Tag {
    pub const DELIMITER: Tag = Tag(0);
    pub const ENTITY_IDENTIFIER: Tag = Tag(1);
    pub const ENTITY_PROTOCOL: Tag = Tag(2);
    pub const TIMESTAMP: Tag = Tag(4);
    pub const REGISTRATION_PERIOD: Tag = Tag(6);
    pub const PORTAL_ADDRESS: Tag = Tag(16);
    pub const PORTAL_PORT: Tag = Tag(17);
    pub const ESI_INTERVAL: Tag = Tag(19);
    pub const ESI_PORT: Tag = Tag(20);
    pub const SCN_PORT: Tag = Tag(23);
    pub const ISCSI_NAME: Tag = Tag(32);
    pub const ISCSI_NODE_TYPE: Tag = Tag(33);
    pub const ISCSI_ALIAS: Tag = Tag(34);
    pub const ISCSI_SCN_BITMAP: Tag = Tag(35);
    pub const PORTAL_GROUP_ADDRESS: Tag = Tag(49);
    pub const PORTAL_GROUP_PORT: Tag = Tag(50);
    pub const PORTAL_GROUP_TAG: Tag = Tag(51);
}

/// Status code of a response (RFC 4171, 5.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Status(pub u32);

#[allow(missing_docs)]
impl Status {
    pub const SUCCESS: Status = Status(0);
    pub const SOURCE_UNKNOWN: Status = Status(6);
    pub const NO_SUCH_ENTRY: Status = Status(9);
    pub const MESSAGE_NOT_SUPPORTED: Status = Status(15);
    pub const ESI_NOT_AVAILABLE: Status = Status(21);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.0 {
            0 => "success",
            1 => "unknown error",
            2 => "message format error",
            3 => "invalid registration",
            5 => "invalid query",
            6 => "source unknown",
            7 => "source absent",
            8 => "source unauthorized",
            9 => "no such entry",
            10 => "version not supported",
            11 => "internal error",
            12 => "busy",
            13 => "option not understood",
            14 => "invalid update",
            15 => "message not supported",
            16 => "SCN event rejected",
            17 => "SCN registration rejected",
            18 => "attribute not implemented",
            21 => "ESI not available",
            22 => "invalid deregistration",
            23 => "registration feature not supported",
            number => return write!(f, "status {number}"),
        };
        write!(f, "status {} ({word})", self.0)
    }
}

/// Entity Protocol: iSCSI.
pub const PROTOCOL_ISCSI: u32 = 2;
/// iSCSI Node Type: target.
pub const NODE_TARGET: u32 = 1;
/// iSCSI Node Type: initiator.
pub const NODE_INITIATOR: u32 = 2;
/// SCN bitmap of a target: initiators and itself only; removed, added, updated.
pub const SCN_OF_A_TARGET: u32 = 0x80 | 0x10 | 0x08 | 0x04;
/// Longest iSCSI name in bytes (RFC 7143, 4.2.7.1).
pub const NAME_LIMIT: usize = 223;
/// The portal group tag of a portal for which none is named.
pub const GROUP_TAG: u16 = 1;

#[cfg(test)]
mod tests;
