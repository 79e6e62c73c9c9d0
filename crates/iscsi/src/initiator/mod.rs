//! The initiator role: load of the simulator, client of the demo, and the judge of everything a target sends.
//!
//! It writes and reads its headers itself and shares no codec with the target role, so that a mistake in one does not hide in the other. Whatever the target does
//! against RFC 7143 comes out as [`Event::Violation`] with the rule that was broken.

mod chap;
mod connection;
mod header;
mod login;
mod recovery;
mod session;
mod transfer;

use alloc::string::String;
use alloc::vec::Vec;

use scsi::{Lun, TaskAttribute};

use crate::interface::Crc32c;
use crate::key::Negotiated;

pub use connection::Connection;
pub use session::Session;

/// What an initiator offers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// InitiatorName.
    pub initiator_name: String,
    /// TargetName; `None`: a discovery session.
    pub target_name: Option<String>,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH: 0 for a new session.
    pub tsih: u16,
    /// CID.
    pub cid: u16,
    /// First CmdSN.
    pub cmd_sn: u32,
    /// Digest function.
    pub crc32c: Crc32c,
    /// CHAP account and, for mutual authentication, the target's.
    pub chap: Option<Chap>,
    /// Offer CRC32C for headers.
    pub header_digest: bool,
    /// Offer CRC32C for data.
    pub data_digest: bool,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// Longest data segment we take.
    pub max_recv_data_segment_length: u32,
    /// FirstBurstLength.
    pub first_burst_length: u32,
    /// MaxBurstLength.
    pub max_burst_length: u32,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u32,
    /// MaxConnections.
    pub max_connections: u32,
    /// What the first connection of the session has agreed on: this is a further one.
    pub leading: Option<Negotiated>,
    /// ErrorRecoveryLevel: 0, or 1.
    pub error_recovery_level: u32,
    /// From level 1 on, PDUs that are lost or damaged on purpose.
    pub losses: Option<Losses>,
    /// Keys sent beside the usual ones, as they are.
    pub more_keys: Vec<(String, String)>,
}

impl Settings {
    /// Usual offers of an initiator called `initiator_name` for a target, or for discovery.
    pub fn new(initiator_name: &str, target_name: Option<&str>) -> Settings {
        Settings {
            initiator_name: initiator_name.into(),
            target_name: target_name.map(Into::into),
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            cid: 0,
            cmd_sn: 1,
            crc32c: crate::digest::crc32c,
            chap: None,
            header_digest: false,
            data_digest: false,
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment_length: 65536,
            first_burst_length: 65536,
            max_burst_length: 262_144,
            max_outstanding_r2t: 4,
            max_connections: 1,
            leading: None,
            error_recovery_level: 0,
            losses: None,
            more_keys: Vec::new(),
        }
    }
}

/// How many PDUs of full feature phase are lost, in the order in which they come: the same seed loses the same ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Losses {
    /// Seed of the choices.
    pub seed: u64,
    /// Of a thousand PDUs that arrive, so many are thrown away as if their digest were wrong.
    pub received: u32,
    /// Of a thousand commands, Data-Out, SNACK and NOP-Out PDUs so many are not sent, or with a wrong data digest.
    pub sent: u32,
}

/// CHAP credentials.
#[derive(Clone, Debug)]
pub struct Chap {
    /// Our name.
    pub user: String,
    /// Our secret.
    pub secret: Vec<u8>,
    /// Algorithms we offer, in order of preference: 5 MD5, 6 SHA1, 7 SHA-256, 8 SHA3-256.
    pub algorithms: Vec<u8>,
    /// The target's name and secret, when it must prove itself, and our challenge to it.
    pub mutual: Option<Mutual>,
}

/// What the target must prove.
#[derive(Clone, Debug)]
pub struct Mutual {
    /// Its name.
    pub user: String,
    /// Its secret.
    pub secret: Vec<u8>,
    /// CHAP_I that we send.
    pub identifier: u8,
    /// CHAP_C that we send.
    pub challenge: Vec<u8>,
}

/// A SCSI command to send.
#[derive(Clone, Debug)]
pub struct Command {
    /// LUN.
    pub lun: Lun,
    /// CDB, at most 16 bytes.
    pub cdb: Vec<u8>,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Data for the target; its length is the expected data transfer length.
    pub data_out: Vec<u8>,
    /// Expected data-in length.
    pub data_in: u32,
    /// Immediate delivery.
    pub immediate: bool,
}

impl Command {
    /// A simple command without data.
    pub fn new(lun: u64, cdb: &[u8]) -> Command {
        Command {
            lun: Lun::from_number(lun).unwrap_or_default(),
            cdb: cdb.to_vec(),
            attribute: TaskAttribute::Simple,
            data_out: Vec::new(),
            data_in: 0,
            immediate: false,
        }
    }

    /// The same, reading `len` bytes.
    pub fn reading(mut self, len: u32) -> Command {
        self.data_in = len;
        self
    }

    /// The same, writing `data`.
    pub fn writing(mut self, data: Vec<u8>) -> Command {
        self.data_out = data;
        self
    }
}

/// A command that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Its initiator task tag.
    pub tag: u32,
    /// iSCSI response: 0 completed at target, 1 target failure.
    pub response: u8,
    /// SCSI status.
    pub status: u8,
    /// Sense data.
    pub sense: Vec<u8>,
    /// Data-in that arrived.
    pub data_in: Vec<u8>,
    /// Residual: positive underflow, negative overflow.
    pub residual: i64,
}

/// What an initiator connection tells its shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Full feature phase.
    LoggedIn {
        /// TSIH that the target gave.
        tsih: u16,
    },
    /// Login status class and detail, as `0x0203`.
    LoginFailed {
        /// Status.
        status: u16,
        /// TargetAddress of a redirection.
        moved_to: Option<String>,
    },
    /// A command ended.
    Done(Completion),
    /// A task management function ended.
    FunctionDone {
        /// Tag of the request.
        tag: u32,
        /// Response code.
        response: u8,
    },
    /// A text exchange ended: pairs as they came.
    Text {
        /// Tag of the request.
        tag: u32,
        /// Key and value.
        pairs: Vec<(String, String)>,
    },
    /// The echo of a NOP-Out.
    Pong {
        /// Tag.
        tag: u32,
        /// Ping data.
        data: Vec<u8>,
    },
    /// Asynchronous message.
    Async {
        /// AsyncEvent.
        event: u8,
    },
    /// A Reject.
    Reject {
        /// Reason code.
        reason: u8,
        /// Header of the rejected PDU.
        header: Vec<u8>,
    },
    /// Logout response.
    LoggedOut {
        /// Response code.
        response: u8,
    },
    /// The target broke a rule of RFC 7143.
    Violation(String),
}
