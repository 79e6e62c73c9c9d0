//! What the daemon answers.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::view::{
    ConnectionStatRow, CounterRow, DriverView, RuleLine, SessionStatView, SessionView, StatRow, StatusView, SystemView, TargetParametersView,
    TargetView, TraceRow,
};

/// The answer, or why there is none.
pub type Reply = Result<Answer, Failure>;

/// A refused request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The number.
    pub code: Code,
    /// What was wrong and with what, in words; may be empty. Not carried by tgtadm's wire.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl From<Code> for Failure {
    fn from(code: Code) -> Failure {
        Failure { code, detail: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => write!(f, "{}", self.code),
            detail => write!(f, "{}: {detail}", self.code),
        }
    }
}

impl std::error::Error for Failure {}

/// What a successful request brings. [`crate::show::text`] makes tgt's text of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// Ready-made text.
    Text(String),
    /// `system show`.
    System(SystemView),
    /// `target show`, ascending by number.
    Targets(Vec<TargetView>),
    /// `target show` of one target.
    TargetParameters(TargetParametersView),
    /// `stat` of the system, of a target, of a unit.
    Stat(Vec<StatRow>),
    /// `session stat`.
    SessionStat(SessionStatView),
    /// `connection stat`.
    ConnectionStat(Vec<ConnectionStatRow>),
    /// `connection show`, `session show`: sessions of a target or of all, newest first.
    Sessions(Vec<SessionView>),
    /// `portal show`, newest first.
    Portals(Vec<crate::view::PortalView>),
    /// `lld show`.
    Drivers(Vec<DriverView>),
    /// `account show`, newest first.
    Accounts(Vec<crate::view::AccountView>),
    /// A fault rule was made: this one. tgtadm prints nothing.
    Rule(RuleLine),
    /// All fault rules, in creation order.
    Rules(Vec<RuleLine>),
    /// So many fault rules were discarded. tgtadm prints nothing.
    Removed(u64),
    /// The last commands, oldest first.
    Trace(Vec<TraceRow>),
    /// Counters per unit, session, operation and status.
    Counters(Vec<CounterRow>),
    /// The daemon itself.
    Status(StatusView),
    /// Number of the last change of model or sessions. It only grows while the daemon runs.
    Edition(u64),
    /// The running configuration.
    Document(Box<crate::document::Document>),
    /// What [`crate::request::Request::Apply`] did, or would do.
    Plan(crate::document::plan::PlanView),
}
