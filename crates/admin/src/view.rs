//! What the daemon tells, before it becomes text: plain facts, filled by the daemon, printed by [`crate::show`] or sent as JSON.

use serde::{Deserialize, Serialize};

use crate::request::RunState;

/// `system show`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SystemView {
    /// Whether logins are taken.
    pub state: RunState,
    /// Debug messages are on.
    pub debug: bool,
    /// Drivers (targets are not printed here).
    pub drivers: Vec<DriverView>,
    /// Backing stores.
    pub stores: Vec<StoreView>,
    /// SCSI peripheral device types that units can have; 0xff: passthrough.
    pub device_types: Vec<u8>,
    /// Discovery accounts that initiators prove.
    pub incoming: Vec<String>,
    /// Discovery account that we prove.
    pub outgoing: Option<String>,
    /// iSNS settings.
    pub isns: IsnsView,
}

/// A low level driver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriverView {
    /// Name.
    pub name: String,
    /// State.
    pub state: DriverState,
    /// Its targets in order of creation.
    pub targets: Vec<TargetName>,
}

/// State of a driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum DriverState {
    Uninitialized,
    Ready,
    Error,
    Stopped,
}

/// A target's number and name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TargetName {
    pub tid: i32,
    pub name: String,
}

/// A kind of backing store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoreView {
    /// Name as `--bstype` takes it.
    pub name: String,
    /// Takes `--bsoflags`.
    pub flags: bool,
}

/// iSNS settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct IsnsView {
    pub enabled: bool,
    pub server: String,
    pub port: u16,
    pub access_control: bool,
}

impl Default for IsnsView {
    fn default() -> IsnsView {
        IsnsView { enabled: false, server: String::new(), port: 3205, access_control: false }
    }
}

/// One target of `target show`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TargetView {
    /// Number.
    pub tid: i32,
    /// Name.
    pub name: String,
    /// Driver name.
    pub driver: String,
    /// Whether logins are taken.
    pub state: RunState,
    /// Seconds between pings; 0: none, not printed.
    pub nop_interval: u32,
    /// Unanswered pings before the connection is closed; not printed without interval.
    pub nop_count: u32,
    /// Sessions, newest first.
    pub sessions: Vec<SessionView>,
    /// Units, ascending.
    pub units: Vec<UnitView>,
    /// Accounts that initiators prove, in order of binding.
    pub incoming: Vec<String>,
    /// Account that we prove.
    pub outgoing: Option<String>,
    /// Address rules in order of arrival.
    pub addresses: Vec<String>,
    /// Name rules in order of arrival.
    pub names: Vec<String>,
}

/// One I_T nexus.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionView {
    /// The TSIH.
    pub sid: u64,
    /// iSCSI name of the initiator.
    pub initiator: String,
    /// Its alias.
    pub alias: Option<String>,
    /// Connections.
    pub connections: Vec<ConnectionView>,
}

/// One connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionView {
    /// Connection identifier.
    pub cid: u32,
    /// Numeric address of the peer, without port.
    pub address: String,
}

/// One unit of `target show`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct UnitView {
    pub lun: u64,
    /// SCSI peripheral device type; 0xff: passthrough.
    pub device_type: u8,
    pub scsi_id: String,
    pub scsi_sn: String,
    /// Size of the medium in bytes.
    pub bytes: u64,
    /// Block length in bytes; 1: none set.
    pub block_size: u32,
    pub online: bool,
    pub removable: bool,
    pub prevent_removal: bool,
    pub read_only: bool,
    /// Software write protect.
    pub swp: bool,
    pub thin: bool,
    /// Store name.
    pub store: String,
    pub path: Option<String>,
    pub sync: bool,
    pub direct: bool,
    /// Type of protection that the medium is formatted with, 0 to 3; none: it has no room for protection information. Not printed by tgtadm.
    #[serde(default)]
    pub protection: Option<u8>,
    /// Its target port groups, ascending; not printed by tgtadm.
    #[serde(default)]
    pub port_groups: Vec<PortGroupView>,
}

/// A target port group of a unit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortGroupView {
    /// Portal group tag: number of the group, and of the target port in it.
    pub tag: u16,
    /// `optimized`, `non-optimized`, `standby`, `unavailable`, `offline` or `transitioning`.
    pub state: String,
    /// Preferred.
    pub preferred: bool,
}

/// `target show --tid N`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TargetParametersView {
    /// Where logins are sent.
    pub redirect: crate::setting::Redirect,
    /// Seconds between pings, 0: none.
    pub nop_interval: u32,
    /// Unanswered pings before the connection is closed.
    pub nop_count: u32,
    /// Negotiation keys and values in order.
    pub parameters: Vec<(String, String)>,
}

/// A listening socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortalView {
    /// Numeric address and port.
    pub address: std::net::SocketAddr,
    /// Target portal group tag.
    pub group_tag: u16,
}

/// An account; its password is never shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountView {
    /// Name.
    pub user: String,
}

/// One line of a statistic: one unit and one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct StatRow {
    pub tid: i32,
    pub lun: u64,
    pub sid: u64,
    pub read_submitted_bytes: u64,
    pub read_submitted_commands: u64,
    pub read_done_bytes: u64,
    pub read_done_commands: u64,
    pub write_submitted_bytes: u64,
    pub write_submitted_commands: u64,
    pub write_done_bytes: u64,
    pub write_done_commands: u64,
    /// Commands that ended with another status than GOOD.
    pub errors: u64,
}

/// `session stat`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionStatView {
    /// Units by time of creation, newest first.
    pub units: Vec<StatRow>,
    /// Connections.
    pub connections: Vec<ConnectionStatRow>,
}

/// One line of a connection's statistic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ConnectionStatRow {
    pub sid: u64,
    pub cid: u32,
    pub received_octets: u64,
    pub sent_octets: u64,
    pub data_out_pdus: u64,
    pub data_in_pdus: u64,
    pub command_pdus: u64,
    pub response_pdus: u64,
}

/// A fault rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleLine {
    /// Number, as delete takes it.
    pub index: u64,
    /// Target.
    pub tid: i32,
    /// Unit.
    pub lun: u64,
    /// Times it fired.
    pub fired: u64,
    /// The rule in the rule language.
    pub rule: String,
    /// The line of show, without newline: the columns of the original.
    pub line: String,
}

/// One command of the flight recorder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceRow {
    /// Nanoseconds since the daemon started.
    pub time_ns: u64,
    /// Nanoseconds from arrival to the answer; `None`: no answer yet.
    pub duration_ns: Option<u64>,
    /// Reactor.
    pub reactor: u32,
    /// Target.
    pub tid: i32,
    /// Unit.
    pub lun: u64,
    /// Session.
    pub sid: u64,
    /// Initiator task tag.
    pub tag: u32,
    /// Name of the command.
    pub command: String,
    /// Operation code, CDB byte 0.
    pub opcode: u8,
    /// First block, for commands that address the medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lba: Option<u64>,
    /// Blocks.
    #[serde(default)]
    pub blocks: u64,
    /// How it ended, in words: status, or `hung`, `aborted`.
    pub outcome: String,
    /// Sense in words, or the fault event that did it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Commands that ended the same way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CounterRow {
    /// Target.
    pub tid: i32,
    /// Unit.
    pub lun: u64,
    /// Session.
    pub sid: u64,
    /// Name of the command.
    pub operation: String,
    /// Name of the status.
    pub status: String,
    /// Commands.
    pub count: u64,
    /// Bytes moved.
    pub bytes: u64,
}

/// The daemon itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// Version.
    pub version: String,
    /// Process identifier.
    pub pid: u32,
    /// Seed of fault decisions.
    pub seed: u64,
    /// False with `--no-faults`.
    pub faults: bool,
    /// I/O driver: `uring` or `epoll`.
    pub io: String,
    /// Reactor threads.
    pub reactors: u32,
    /// Portals, newest first.
    pub portals: Vec<PortalView>,
    /// Targets by number.
    pub targets: Vec<TargetName>,
    /// Live sessions.
    pub sessions: u64,
    /// Fault rules.
    pub rules: u64,
}
