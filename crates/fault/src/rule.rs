//! Rules, and what they decide.

use alloc::string::String;

use scsi::{BlockRange, CommandRow, Sense, Status};

/// Number of a rule, unique over the life of the daemon, in creation order from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(pub u64);

/// Number of a decision, unique over the life of a unit's journal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventId(pub u64);

/// The six places where something can go wrong, in the order in which a command passes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// Bytes arrive from the initiator.
    LinkIn,
    /// The unit's checks are done, the range check is not.
    Arrival,
    /// Data-out is asked for.
    Transfer,
    /// An operation on the medium.
    Store,
    /// Status and sense.
    Reply,
    /// PDUs leave.
    LinkOut,
}

/// A probability in millionths of a per cent: exact for decimals down to 0.000001.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Percent(pub u32);

impl Percent {
    /// Always.
    pub const ALWAYS: Percent = Percent(100_000_000);
}

/// What a rule does, by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ActionKind {
    /// `CHECK_CONDITION` with the rule's key and asc.
    CheckCondition,
    /// `BUSY`.
    Busy,
    /// `TASK_SET_FULL`.
    TaskSetFull,
    /// `RESERVATION_CONFLICT`.
    ReservationConflict,
    /// `TASK_ABORTED`.
    TaskAborted,
    /// `HANG`: no answer until a reset, an abort, or the rule's delete.
    Hang,
    /// `DROP_CONNECTION`: the connection that carries the command is cut.
    DropConnection,
}

/// A verdict's deed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// CHECK CONDITION with this sense.
    CheckCondition(Sense),
    /// A bare status.
    Status(Status),
    /// Never answer.
    Hang,
    /// Cut the connection.
    DropConnection,
}

/// A rule as written. Unknown operations do not exist here: the grammar refuses them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleSpec {
    /// Operations that match: rows by word (`WRITE10`), families (`WRITE`), or a hex opcode (`0x2a`).
    pub operation: OperationPattern,
    /// Blocks that match; a command with no range never matches a rule that names one.
    pub range: Option<BlockRange>,
    /// Probability.
    pub percent: Percent,
    /// Milliseconds the command waits before the action.
    pub pause_ms: u64,
    /// Fires this many times, then heals; 0: for ever.
    pub repeat: u64,
    /// The deed.
    pub action: ActionKind,
    /// Sense key and additional sense code of `CHECK_CONDITION`.
    pub sense: Option<(scsi::SenseKey, scsi::Asc)>,
    /// Own seed of the rule (`seed=`); otherwise the daemon's.
    pub seed: Option<u64>,
    /// Optional name.
    pub name: Option<String>,
}

/// Which commands a rule looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperationPattern {
    /// One row of the command table.
    Row(scsi::Operation),
    /// A family: every READ(n).
    Family(scsi::command::Family),
    /// An operation code, whatever the device type makes of it.
    Opcode(u8),
}

/// A command at a stage, as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Stable key of the I_T nexus: a hash of initiator name, ISID and target port, equal over logins and runs.
    pub nexus: u64,
    /// Ordinal of the command among those of this nexus at this unit, in CmdSN order, from 0.
    pub ordinal: u64,
    /// The command's row.
    pub row: &'static CommandRow,
    /// The CDB.
    pub cdb: &'a [u8],
    /// The blocks it addresses.
    pub range: Option<BlockRange>,
}

/// A rule fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Which.
    pub rule: RuleId,
    /// The decision's id, as in the journal and the log.
    pub event: EventId,
    /// Wait this long first, in milliseconds.
    pub pause_ms: u64,
    /// Then do this.
    pub action: Action,
}

/// A rule as `show` prints it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleView {
    /// Number.
    pub id: RuleId,
    /// As written.
    pub spec: RuleSpec,
    /// Times it fired.
    pub fired: u64,
}
