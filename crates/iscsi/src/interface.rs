//! What a target-role connection and its shell say to each other.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use scsi::{Lun, TaskAttribute};

/// CRC32C (Castagnoli) continued: `crc32c(0, bytes)` is the digest of `bytes`, `crc32c(crc32c(0, a), b)` that of `a` followed by `b`.
pub type Crc32c = fn(u32, &[u8]) -> u32;

/// Who owns the bytes of a data segment that is about to arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Landing {
    /// No data segment.
    None,
    /// Text, login, NOP or other small data: at most `Settings::inline_limit`; collected by the shell and given to `handle_data`.
    Inline {
        /// Bytes.
        len: u32,
    },
    /// Payload of a task.
    Task {
        /// Initiator task tag.
        tag: u32,
        /// Offset in the task's data-out.
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// Nobody's: thrown away (the PDU is answered with Reject, or the connection closes).
    Discard {
        /// Bytes.
        len: u32,
    },
}

/// Settings of a new target-role connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Digest function of the shell.
    pub crc32c: Crc32c,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// Target portal group tag.
    pub group_tag: u16,
    /// 32 random bytes: CHAP challenges and identifiers are made from them.
    pub entropy: [u8; 32],
    /// Nanoseconds a login may take; then the connection closes.
    pub login_timeout: u64,
    /// Nanoseconds that a login waits for an answer of [`TargetLookup::Pending`]; then it is refused with 0301.
    pub lookup_timeout: u64,
    /// Nanoseconds that the initiator may owe data that it announced or was asked for without sending any; then the connection closes.
    pub data_timeout: u64,
    /// Most bytes of an inline data segment in full feature phase.
    pub inline_limit: u32,
}

/// Parameters a target offers (RFC 7143 13, with tgt's names and defaults).
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct TargetParameters {
    pub max_recv_data_segment_length: u32,
    /// CRC32C is offered beside None.
    pub header_digest: bool,
    /// CRC32C is offered beside None.
    pub data_digest: bool,
    pub initial_r2t: bool,
    pub max_outstanding_r2t: u32,
    pub immediate_data: bool,
    pub first_burst_length: u32,
    pub max_burst_length: u32,
    pub data_pdu_in_order: bool,
    pub data_sequence_in_order: bool,
    pub error_recovery_level: u32,
    pub default_time_2_wait: u32,
    pub default_time_2_retain: u32,
    pub max_connections: u32,
    /// Commands the window holds.
    pub max_queue_cmd: u32,
    /// Seconds between NOP-In pings, 0: none.
    pub nop_interval: u32,
    /// Unanswered pings before the connection is closed.
    pub nop_count: u32,
}

/// A CHAP account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Name.
    pub user: String,
    /// Secret.
    pub password: Vec<u8>,
}

/// What authentication a session needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Authentication {
    /// Any of these must be proved; empty: none is asked for.
    pub incoming: Vec<Account>,
    /// How the target proves itself when asked.
    pub outgoing: Option<Account>,
}

/// Answer to a target name at login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetLookup {
    /// 0203.
    NotFound,
    /// Not for this initiator: answered as not found, so that names do not leak.
    Refused,
    /// 0301, or tgt's 0300 for a target set offline.
    Unavailable,
    /// 0300: who was to say where the target is did not say it.
    Failed,
    /// Not known yet: [`Event::TargetAwaited`] follows, and the shell brings the answer with `answer_lookup`. The login waits, nothing else does.
    Pending,
    /// 0101 or 0102 with TargetAddress.
    Moved {
        /// `host:port`, with an optional `,tag`.
        address: String,
        /// 0102 instead of 0101.
        permanent: bool,
    },
    /// Go on.
    Found(alloc::boxed::Box<TargetOffer>),
}

/// A target that a login may go on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetOffer {
    /// Target identifier of the management plane.
    pub tid: i32,
    /// Name in its normal form.
    pub name: String,
    /// TargetAlias, when there is one.
    pub alias: Option<String>,
    /// Parameters.
    pub parameters: TargetParameters,
    /// Accounts.
    pub authentication: Authentication,
}

/// One record of SendTargets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetRecord {
    /// TargetName.
    pub name: String,
    /// TargetAddress values: `addr:port,tag`, in the order they are sent.
    pub addresses: Vec<String>,
}

/// What a connection asks of the model. Implemented by the shell over an immutable snapshot.
pub trait Directory {
    /// May this initiator use that target, and how?
    fn target(&self, name: &str, initiator: &str, peer: IpAddr, local: SocketAddr) -> TargetLookup;
    /// Authentication of discovery sessions.
    fn discovery(&self) -> Authentication;
    /// Parameters of discovery sessions.
    fn discovery_parameters(&self) -> TargetParameters;
    /// Targets the initiator may see; `name`: only this one.
    fn send_targets(&self, name: Option<&str>, initiator: &str, peer: IpAddr, local: SocketAddr) -> Vec<TargetRecord>;
}

/// A login that wants its session. The shell ends an older session of the same initiator port first (reinstatement), then accepts or refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoginSummary {
    /// InitiatorName.
    pub initiator_name: String,
    /// InitiatorAlias.
    pub initiator_alias: Option<String>,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH the initiator sent: 0 for a new session.
    pub tsih: u16,
    /// CID.
    pub cid: u16,
    /// Connections that the session may have; agreed by its first login.
    pub max_connections: u32,
    /// `None`: a discovery session.
    pub target: Option<(i32, String)>,
}

/// Login status class and detail (RFC 7143 11.13.5), as `0x0203`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoginStatus(pub u16);

/// A SCSI Command PDU, delivered in CmdSN order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandEvent {
    /// Initiator task tag.
    pub tag: u32,
    /// LUN.
    pub lun: Lun,
    /// CDB with extension, 16 to 260 bytes.
    pub cdb: Cdb,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Bytes the initiator offers.
    pub data_out: u32,
    /// Bytes the initiator takes.
    pub data_in: u32,
}

/// CDB bytes without a heap allocation up to 32 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cdb {
    /// The CDB field, and a short extension.
    Short {
        /// Bytes, zero behind `len`.
        bytes: [u8; 32],
        /// Used bytes.
        len: u8,
    },
    /// With an extended CDB AHS.
    Long(Vec<u8>),
}

impl Cdb {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Cdb::Short { bytes, len } => &bytes[..usize::from(*len)],
            Cdb::Long(bytes) => bytes,
        }
    }
}

/// Task management request, in iSCSI's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionEvent {
    /// Initiator task tag of the request.
    pub tag: u32,
    /// Function code (RFC 7143 11.5.1, RFC 7144 4.2): 1 ABORT TASK ... 8 TASK REASSIGN, 9 QUERY TASK, 10 QUERY TASK SET, 11 I_T NEXUS RESET, 12 QUERY ASYNC EVENT.
    pub function: u8,
    /// LUN field.
    pub lun: Lun,
    /// Referenced task tag.
    pub referenced: u32,
    /// The referenced task: never received though its CmdSN is inside the window (RFC 7143 11.6.1: then the function completes).
    pub referenced_lost: bool,
}

/// Response codes of the Task Management Function Response PDU (RFC 7143 11.6.1, RFC 7144 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionCode {
    /// Response field.
    pub response: u8,
    /// Additional response information (RFC 7144): ASC, ASCQ and sense key of QUERY ASYNCHRONOUS EVENT; 0 otherwise.
    pub additional: u32,
}

/// What a connection tells its shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The directory could not say yet where this target is: the login waits for `answer_lookup`.
    TargetAwaited {
        /// TargetName.
        name: String,
        /// InitiatorName.
        initiator: String,
    },
    /// Everything is negotiated: accept or refuse.
    LoginReady(LoginSummary),
    /// A command, in order.
    Command(CommandEvent),
    /// The data that `fetch` asked for are complete.
    DataReady {
        /// Task.
        tag: u32,
    },
    /// Task management. Delivered after all commands before it. ABORT TASK with `tag` equal to `referenced` comes from the connection itself, when data of
    /// that task were damaged or broke the rules; it is carried out and answered like any other.
    Function(FunctionEvent),
    /// The initiator logs out; the answer is queued, then the connection closes, and with it the session. No [`Event::Close`] follows.
    Logout,
    /// The connection must close once what `poll_transmit` still gives is sent; a line for the log.
    Close {
        /// Why, for the log.
        reason: String,
    },
}

/// The end of a task, for `respond`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// SCSI status byte.
    pub status: u8,
    /// Sense data, without the length field.
    pub sense: Vec<u8>,
    /// Bytes the device server has for the initiator; cut to the expected length, the rest is the residual.
    pub data_in: ReplyData,
    /// Bytes of data-out it used.
    pub data_out: u32,
}

/// Data-in of a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplyData {
    /// None.
    None,
    /// These bytes.
    Inline(Vec<u8>),
    /// The first `len` bytes of the task's payload.
    Task {
        /// Bytes.
        len: u32,
    },
}

/// A PDU to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// BHS; the header digest, when on, is appended by the shell over these bytes.
    pub header: [u8; 48],
    /// Data segment; padding and data digest are added by the shell.
    pub data: TransmitData,
    /// The shell may let go of the payload of this task when the PDU is sent.
    pub last_of: Option<u32>,
    /// With `last_of`, from ErrorRecoveryLevel 1 on: the payload is kept under this number, for [`TransmitData::Kept`], until `acknowledged` has passed it.
    pub keep_as: Option<u32>,
    /// A header digest goes with it. (Login responses go without, whatever is negotiated.)
    pub header_digest: bool,
    /// A data digest goes with it.
    pub data_digest: bool,
}

/// Data segment of a PDU to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransmitData {
    /// None.
    None,
    /// These bytes.
    Inline(Vec<u8>),
    /// A range of a task's payload.
    Task {
        /// Initiator task tag.
        tag: u32,
        /// Offset.
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// A range of the payload of a task that was answered, sent again.
    Kept {
        /// What `keep_as` named.
        stat_sn: u32,
        /// Offset.
        offset: u32,
        /// Bytes.
        len: u32,
    },
}
