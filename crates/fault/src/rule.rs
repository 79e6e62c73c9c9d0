//! Rules, and what they decide.

use alloc::string::String;

use scsi::planted::{Bug, is_planted};
use scsi::{BlockRange, CommandRow, Sense, Status};

use crate::draw;

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

impl Stage {
    /// All stages, in the order in which a command passes them.
    pub const ALL: [Stage; 6] = [Stage::LinkIn, Stage::Arrival, Stage::Transfer, Stage::Store, Stage::Reply, Stage::LinkOut];

    /// Word of the journal: `arrival`.
    pub const fn word(self) -> &'static str {
        match self {
            Stage::LinkIn => "link-in",
            Stage::Arrival => "arrival",
            Stage::Transfer => "transfer",
            Stage::Store => "store",
            Stage::Reply => "reply",
            Stage::LinkOut => "link-out",
        }
    }
}

/// A probability in millionths of a per cent: exact for decimals down to 0.000001.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Percent(pub u32);

impl Percent {
    /// Never.
    pub const NEVER: Percent = Percent(0);
    /// Always.
    pub const ALWAYS: Percent = Percent(100_000_000);

    /// True for exactly this share of all draws: the draw is scaled to `0 .. 100_000_000` and must be below the number of millionths. So 0 is never
    /// hit and 100 per cent always.
    pub fn hits(self, draw: u64) -> bool {
        let scaled = (u128::from(draw) * u128::from(Percent::ALWAYS.0)) >> 64;
        scaled < u128::from(self.0)
    }
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

impl ActionKind {
    /// All actions, in the order in which help lists them.
    pub const ALL: [ActionKind; 7] = [
        ActionKind::CheckCondition,
        ActionKind::Busy,
        ActionKind::TaskSetFull,
        ActionKind::ReservationConflict,
        ActionKind::TaskAborted,
        ActionKind::Hang,
        ActionKind::DropConnection,
    ];

    /// Word of the grammar: `CHECK_CONDITION`.
    pub const fn word(self) -> &'static str {
        match self {
            ActionKind::CheckCondition => "CHECK_CONDITION",
            ActionKind::Busy => "BUSY",
            ActionKind::TaskSetFull => "TASK_SET_FULL",
            ActionKind::ReservationConflict => "RESERVATION_CONFLICT",
            ActionKind::TaskAborted => "TASK_ABORTED",
            ActionKind::Hang => "HANG",
            ActionKind::DropConnection => "DROP_CONNECTION",
        }
    }

    /// The action with this word, in any case.
    pub fn by_word(word: &str) -> Option<ActionKind> {
        ActionKind::ALL.into_iter().find(|action| action.word().eq_ignore_ascii_case(word))
    }
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

impl Action {
    /// Which action of the grammar this is. A status that no action of the grammar gives counts as `BUSY`'s kind: another try may do better.
    pub fn kind(&self) -> ActionKind {
        match *self {
            Action::CheckCondition(_) => ActionKind::CheckCondition,
            Action::Status(Status::TASK_SET_FULL) => ActionKind::TaskSetFull,
            Action::Status(Status::RESERVATION_CONFLICT) => ActionKind::ReservationConflict,
            Action::Status(Status::TASK_ABORTED) => ActionKind::TaskAborted,
            Action::Status(_) => ActionKind::Busy,
            Action::Hang => ActionKind::Hang,
            Action::DropConnection => ActionKind::DropConnection,
        }
    }
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

impl RuleSpec {
    /// Where the rule acts on this command: on arrival, as every rule of the original's grammar does. A command that goes over the whole medium names no block;
    /// a rule that names some meets its work there (the grammar lets it only fail).
    pub fn acts_at(&self, stage: Stage, subject: &Subject<'_>) -> bool {
        let works = self.range.is_some() && goes_over_medium(subject.row.operation);
        match stage {
            Stage::Arrival => !works,
            Stage::Store => works,
            _ => false,
        }
    }

    /// True when the rule looks at this command: operation and blocks fit. Chance and counts are the engine's.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let operation = match self.operation {
            OperationPattern::Row(operation) => subject.row.operation == operation,
            OperationPattern::Family(family) => subject.row.family == family,
            OperationPattern::Opcode(opcode) => subject.row.opcode == opcode,
        };
        let blocks = match (self.range, subject.range) {
            (None, _) => true,
            (Some(range), Some(addressed)) if is_planted(Bug::FaultOffByOne) => {
                BlockRange { start: scsi::Lba(range.start.0.saturating_sub(1)), count: scsi::BlockCount(range.count.0 + 1) }.overlaps(addressed)
            }
            (Some(range), Some(addressed)) => range.overlaps(addressed),
            (Some(_), None) => false,
        };
        operation && blocks
    }

    /// What happens when the rule fires. A `CHECK_CONDITION` without a sense, which the grammar does not let pass, is HARDWARE ERROR, INTERNAL TARGET
    /// FAILURE.
    pub fn deed(&self) -> Action {
        match self.action {
            ActionKind::CheckCondition => {
                let (key, asc) = self.sense.unwrap_or((scsi::SenseKey::HARDWARE_ERROR, scsi::Asc::INTERNAL_TARGET_FAILURE));
                Action::CheckCondition(Sense::new(key, asc))
            }
            ActionKind::Busy => Action::Status(Status::BUSY),
            ActionKind::TaskSetFull => Action::Status(Status::TASK_SET_FULL),
            ActionKind::ReservationConflict => Action::Status(Status::RESERVATION_CONFLICT),
            ActionKind::TaskAborted => Action::Status(Status::TASK_ABORTED),
            ActionKind::Hang => Action::Hang,
            ActionKind::DropConnection => Action::DropConnection,
        }
    }
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

/// Does the command go over the whole medium, piece by piece, with or without somebody who waits for it? FORMAT UNIT, SANITIZE, and SEND DIAGNOSTIC with a
/// self-test.
pub const fn goes_over_medium(operation: scsi::Operation) -> bool {
    use scsi::Operation::{FormatUnit, SanitizeBlockErase, SanitizeCryptographicErase, SanitizeOverwrite, SendDiagnostic};
    matches!(operation, FormatUnit | SanitizeBlockErase | SanitizeCryptographicErase | SanitizeOverwrite | SendDiagnostic)
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

impl Subject<'_> {
    /// The key of the draws on this command: a hash of the nexus key and the ordinal.
    pub fn key(&self) -> u64 {
        draw::command_key(self.nexus, self.ordinal)
    }
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
