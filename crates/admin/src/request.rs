//! What the daemon is asked for.
//!
//! Numbers of targets are signed as on the wire: no target has a number below 1, so that a look-up fails by itself.

use serde::{Deserialize, Serialize};

pub use crate::code::Code;
use crate::document::Document;

/// A request and the driver it is meant for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// `--lld`. `None`: the first driver, iscsi, whatever its state. A name that is unknown, or (but in the `Driver…` requests) not in state ready:
    /// [`Code::NoDriver`], before anything else is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The request.
    pub request: Request,
}

/// Everything that can be asked for, tgtadm's modes and operations and our own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Request {
    SystemShow,
    SystemStat,
    /// End the daemon; [`Code::InvalidRequest`] while a target exists.
    SystemDelete,
    /// Settings, applied in order.
    SystemUpdate {
        settings: Vec<SystemSetting>,
    },
    TargetNew {
        /// Above 0.
        tid: i32,
        /// As given; its characters are the daemon's to check ([`crate::setting::is_target_name`]).
        name: String,
    },
    TargetDelete {
        tid: i32,
        /// Close its sessions first.
        force: bool,
    },
    /// `None`: all targets, as [`crate::view::TargetView`]; `Some`: the parameters of one.
    TargetShow {
        tid: Option<i32>,
    },
    TargetStat {
        tid: i32,
    },
    /// At least one rule.
    TargetBind {
        tid: i32,
        rules: Vec<Binding>,
    },
    /// At least one rule.
    TargetUnbind {
        tid: i32,
        rules: Vec<Binding>,
    },
    /// Raw: the target is looked up before the value is judged. [`crate::setting::TargetSetting::parse`] reads it.
    TargetUpdate {
        tid: i32,
        name: String,
        value: String,
    },
    UnitNew(UnitNew),
    /// Settings of a target back to those of a new one: names of negotiation keys, `RedirectAddress`, `RedirectPort`, `RedirectReason`,
    /// `RedirectCallback`, `nop_interval`, `nop_count`, `state`.
    TargetDefault {
        tid: i32,
        names: Vec<String>,
    },
    /// Refused with [`Code::UnitActive`] while somebody waits for one of its commands, unless `force`: then they end aborted.
    UnitDelete {
        tid: i32,
        lun: u64,
        #[serde(default, skip_serializing_if = "is_false")]
        force: bool,
    },
    /// Another size of a unit's store, with sessions up and I/O running.
    UnitResize {
        tid: i32,
        lun: u64,
        /// `None`: look again at a file or block device that was changed from outside. `Some`: make a memory disk or a regular file so long.
        #[serde(default)]
        bytes: Option<u64>,
        /// Shrink: what lies behind the new end is lost. Without it only growing is done.
        #[serde(default, skip_serializing_if = "is_false")]
        force: bool,
    },
    /// Another store under a living unit. Commands that run finish on the old one.
    UnitSwap(UnitSwap),
    /// `--params`, in order; a key without value has an empty one. Section 4 of tgt's grammar: the daemon hands each to the device.
    UnitUpdate {
        tid: i32,
        lun: u64,
        parameters: Vec<(String, String)>,
    },
    /// Parameters of a unit back to those of a new one: keys of `--params`, and `mode_page:PAGE:SUBPAGE`.
    UnitDefault {
        tid: i32,
        lun: u64,
        names: Vec<String>,
    },
    UnitStat {
        tid: i32,
        lun: u64,
    },
    /// The administrator's reset: commands end aborted, sessions hear of it, a remembered flush failure is forgotten.
    UnitReset {
        tid: i32,
        lun: u64,
    },
    /// The transition of a target port group fails: the group is again what it was, and sessions hear of the failure. Refused while it is in no transition.
    UnitFailTransition {
        tid: i32,
        lun: u64,
        /// Portal group tag.
        group: u16,
    },
    PortalNew(PortalRequest),
    PortalDelete(PortalRequest),
    PortalShow,
    DriverStart,
    DriverStop,
    DriverShow,
    SessionStat {
        sid: u64,
    },
    /// Sessions of a target, or of all targets, newest first: [`crate::reply::Answer::Sessions`].
    SessionShow {
        #[serde(default)]
        tid: Option<i32>,
    },
    /// Close all connections of a session.
    SessionDelete {
        sid: u64,
    },
    ConnectionShow {
        tid: i32,
    },
    ConnectionStat {
        sid: u64,
        cid: u32,
    },
    ConnectionDelete {
        tid: i32,
        sid: u64,
        cid: u32,
    },
    AccountNew {
        user: String,
        password: String,
    },
    /// A new password; what the account is bound to stays. Sessions stay, later logins prove the new one.
    AccountUpdate {
        user: String,
        password: String,
    },
    AccountDelete {
        user: String,
    },
    AccountShow,
    /// `tid: None`: for discovery.
    AccountBind {
        tid: Option<i32>,
        user: String,
        outgoing: bool,
    },
    /// `tid: None`: from discovery.
    AccountUnbind {
        tid: Option<i32>,
        user: String,
        outgoing: bool,
    },
    /// A new fault rule in the rule language (`op=WRITE10,lba=0,…`). Target and unit need not exist yet.
    FaultNew {
        tid: i32,
        lun: u64,
        rule: String,
    },
    /// The rules as tgtadm shows them and as JSON does: [`crate::reply::Answer::Rules`].
    FaultShow,
    /// Discard rules.
    FaultDelete(FaultSelection),
    /// The decisions that the rules of a unit have made, as the fault journal's text.
    FaultJournal {
        tid: i32,
        lun: u64,
    },
    /// Flight recorder.
    Trace {
        /// Only this target.
        #[serde(default)]
        tid: Option<i32>,
        /// Only this unit number.
        #[serde(default)]
        lun: Option<u64>,
        /// At most so many commands, the newest.
        limit: u64,
    },
    Counters,
    Status,
    /// The number of the last change of model or sessions: [`crate::reply::Answer::Edition`]. On a JSON connection it goes on: one more such line, with the
    /// newest number, whenever something has changed since the last line was sent, until the connection ends.
    Watch,
    /// The running configuration: [`crate::reply::Answer::Document`].
    Dump {
        /// With passwords.
        #[serde(default)]
        secrets: bool,
    },
    /// Make the running configuration this one: [`crate::reply::Answer::Plan`].
    Apply {
        /// The wanted configuration.
        document: Box<Document>,
        /// Only tell what would be done.
        #[serde(default)]
        dry_run: bool,
    },
}

impl Request {
    /// Asks only: changes nothing, and the answer holds no password. All that may be asked on the socket for readers.
    ///
    /// A new request has to be placed here by whoever adds it.
    pub fn is_read_only(&self) -> bool {
        use Request as R;
        match self {
            R::SystemShow
            | R::SystemStat
            | R::TargetShow { .. }
            | R::TargetStat { .. }
            | R::UnitStat { .. }
            | R::PortalShow
            | R::DriverShow
            | R::SessionStat { .. }
            | R::SessionShow { .. }
            | R::ConnectionShow { .. }
            | R::ConnectionStat { .. }
            | R::AccountShow
            | R::FaultShow
            | R::FaultJournal { .. }
            | R::Trace { .. }
            | R::Counters
            | R::Status
            | R::Watch
            | R::Dump { secrets: false } => true,
            R::SystemDelete
            | R::SystemUpdate { .. }
            | R::TargetNew { .. }
            | R::TargetDelete { .. }
            | R::TargetBind { .. }
            | R::TargetUnbind { .. }
            | R::TargetUpdate { .. }
            | R::UnitNew(_)
            | R::UnitDelete { .. }
            | R::UnitResize { .. }
            | R::UnitSwap(_)
            | R::UnitUpdate { .. }
            | R::UnitDefault { .. }
            | R::TargetDefault { .. }
            | R::UnitReset { .. }
            | R::UnitFailTransition { .. }
            | R::PortalNew(_)
            | R::PortalDelete(_)
            | R::DriverStart
            | R::DriverStop
            | R::ConnectionDelete { .. }
            | R::SessionDelete { .. }
            | R::AccountNew { .. }
            | R::AccountDelete { .. }
            | R::AccountUpdate { .. }
            | R::AccountBind { .. }
            | R::AccountUnbind { .. }
            | R::FaultNew { .. }
            | R::FaultDelete(_)
            | R::Dump { .. }
            // A dry run, too: it opens the files that it is told.
            | R::Apply { .. } => false,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// One setting of the whole daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum SystemSetting {
    Debug(bool),
    State(RunState),
    Isns(bool),
    IsnsServerIp(String),
    IsnsServerPort(u16),
    IsnsAccessControl(bool),
}

/// Whether logins are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// No new logins.
    Offline,
    /// In service.
    Ready,
}

impl RunState {
    /// `offline` or `ready`, the words of show and update.
    pub fn word(self) -> &'static str {
        match self {
            RunState::Offline => "offline",
            RunState::Ready => "ready",
        }
    }

    /// The state of that name.
    pub fn from_word(word: &str) -> Option<RunState> {
        [RunState::Offline, RunState::Ready].into_iter().find(|state| state.word() == word)
    }
}

/// Something a target is bound to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// `ALL`, an address or `ADDRESS/BITS`, kept as written.
    Address(String),
    /// An initiator name.
    Name(String),
    /// A SCSI host number.
    Host(u32),
}

/// A new logical unit. Checks in order: target (4), number (10), store, flags, type and medium (17).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct UnitNew {
    pub tid: i32,
    pub lun: u64,
    /// SCSI peripheral device type; 0xff: passthrough.
    #[serde(default)]
    pub device_type: u8,
    /// Backing store; none for a removable unit without medium.
    #[serde(default)]
    pub path: Option<String>,
    /// Store name; the type's default otherwise.
    #[serde(default)]
    pub bstype: Option<String>,
    /// Options for the store, as given.
    #[serde(default)]
    pub bsopts: Option<String>,
    /// Flags as given: words `sync`, `direct`, `read-only` and `ephemeral` between colons.
    #[serde(default)]
    pub bsoflags: Option<String>,
    /// Bytes, a power of two: tgt ignores others, and so does the wire.
    #[serde(default)]
    pub blocksize: Option<u32>,
    /// Settings as in [`Request::UnitUpdate`], in force before anybody sees the unit; when one is refused, there is no unit. tgtadm's wire has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<(String, String)>,
    /// What tells the unit from others for ever, see [`crate::document::Unit::identity`]; not on tgtadm's wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// Another store for a unit. Refused with 17, and nothing changes, when it cannot be opened or is smaller than the old one and `force` is not set; with
/// [`Code::RemovalPrevented`] when the unit is removable, an initiator keeps the medium in, and `force` is not set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct UnitSwap {
    pub tid: i32,
    pub lun: u64,
    /// Backing store: a path, or a size for a memory disk.
    pub path: String,
    /// Store name; that of the present store otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bstype: Option<String>,
    /// Words `sync`, `direct`, `readonly` and `ephemeral` between colons; those of the present store otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bsoflags: Option<String>,
    /// Also a smaller store, and also while an initiator prevents removal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

/// Portals to open or to close.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortalRequest {
    /// `ADDRESS[:PORT][,GROUP]` each, at least one; [`crate::portal::Portal::parse`] reads it.
    pub portals: Vec<String>,
    /// New default of seconds between pings for later targets.
    #[serde(default)]
    pub nop_interval: Option<u32>,
    /// New default of unanswered pings for later targets.
    #[serde(default)]
    pub nop_count: Option<u32>,
}

/// Which fault rules to discard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultSelection {
    /// Every rule of the daemon.
    All,
    /// Those of a target or, with `lun`, of a unit.
    Unit {
        /// Target.
        tid: i32,
        /// Unit number.
        #[serde(default)]
        lun: Option<u64>,
    },
    /// The one with this number, as show prints it.
    Rule(u64),
}
