//! `scuzzy.toml`: everything that can be configured, as one value.
//!
//! A [`Document`] is written by people (TOML, [`read`]), by the daemon (its running state) and by programs (JSON); the three are the same struct.
//! [`check`] says what makes no sense in it, [`settle`] gives it the form in which two documents can be compared, and [`plan`] tells which requests
//! make one out of the other.

mod access;
pub mod check;
pub mod import;
pub mod plan;
pub mod read;
pub mod schema;
pub mod settle;
mod unit;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::RunState;
use crate::setting::{Key, RedirectReason};
pub use access::{Access, Alua};
pub use unit::{Unit, UnitType};
pub use value::{KeyValue, ModePage, Secret, Size, StoreFlag};

/// A whole configuration.
///
/// What is not in it does not exist afterwards, with three exceptions: without `portals`, `system` or `isns`, these stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "scuzzy.toml")]
pub struct Document {
    /// Where the daemon listens: `ADDRESS[:PORT]`, numeric, IPv6 in brackets, port 3260 when left out. Absent: as it is. Empty: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portals: Option<Vec<String>>,
    /// The daemon as a whole. Absent: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// The iSNS client. Absent: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isns: Option<Isns>,
    /// CHAP accounts that targets and discovery refer to.
    #[serde(rename = "account", skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Account>,
    /// Accounts of discovery sessions.
    #[serde(skip_serializing_if = "Discovery::is_empty")]
    pub discovery: Discovery,
    /// Targets. One that is not here is removed.
    #[serde(rename = "target", skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Fault rules for units that do not exist yet; those of a unit stand in the unit.
    #[serde(rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// The daemon as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct System {
    /// `ready`, or `offline`: no logins at all.
    pub state: RunState,
    /// Debug messages in the log.
    pub debug: bool,
    /// Seconds between pings of targets that say nothing else; 0: none.
    pub nop_interval: u32,
    /// Unanswered pings before a connection is closed, of targets that say nothing else.
    pub nop_count: u32,
}

impl Default for System {
    fn default() -> System {
        System { state: RunState::Ready, debug: false, nop_interval: 0, nop_count: 0 }
    }
}

/// The iSNS client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Isns {
    /// Targets are registered.
    pub enabled: bool,
    /// Address of the server.
    pub server: String,
    /// TCP port of the server.
    pub port: u16,
    /// Only initiators that the server knows may log in.
    pub access_control: bool,
}

impl Default for Isns {
    fn default() -> Isns {
        let view = crate::view::IsnsView::default();
        Isns { enabled: view.enabled, server: view.server, port: view.port, access_control: view.access_control }
    }
}

/// A CHAP account.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Name.
    pub user: String,
    /// Secret. With neither this nor `password_file` an account that exists keeps the one it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// File whose first line is the secret, in the folder of the configuration unless absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
}

/// Accounts of discovery sessions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// Users of which initiators must prove one. None: anybody may discover.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incoming: Vec<String>,
    /// User that the daemon proves to initiators that ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<String>,
}

impl Discovery {
    fn is_empty(&self) -> bool {
        *self == Discovery::default()
    }
}

/// One target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// iSCSI name: letters, digits, `:`, `.` and `-`. It tells which running target is meant.
    pub name: String,
    /// Number. Absent: the one it has, or the lowest free one. A running target with another number is made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<i32>,
    /// `ready`, or `offline`: no logins.
    #[serde(default = "ready", skip_serializing_if = "is_ready")]
    pub state: RunState,
    /// Who may log in by address: `ALL`, an address, or `ADDRESS/BITS`. With no rule here and none in `initiators`, nobody may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Who may log in by iSCSI name; `*` and `?` stand for any text and any letter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initiators: Vec<String>,
    /// SCSI host numbers bound to the target; kept for programs written for tgt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<u32>,
    /// Users of which initiators must prove one. None: no CHAP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incoming: Vec<String>,
    /// User that the target proves to initiators that ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<String>,
    /// Seconds between pings; 0: none. Absent: as `system` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nop_interval: Option<u32>,
    /// Unanswered pings before a connection is closed. Absent: as `system` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nop_count: Option<u32>,
    /// Where logins are sent instead.
    #[serde(default, skip_serializing_if = "Redirect::is_empty")]
    pub redirect: Redirect,
    /// Negotiation keys that differ from their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::keys")]
    pub keys: BTreeMap<Key, KeyValue>,
    /// Units. One that is not here is removed.
    #[serde(rename = "unit", default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<Unit>,
}

impl Target {
    /// With nothing but a name: nobody may log in, and there is nothing to see.
    pub fn new(name: &str) -> Target {
        Target {
            name: name.into(),
            tid: None,
            state: RunState::Ready,
            allow: Vec::new(),
            initiators: Vec::new(),
            hosts: Vec::new(),
            incoming: Vec::new(),
            outgoing: None,
            nop_interval: None,
            nop_count: None,
            redirect: Redirect::default(),
            keys: BTreeMap::new(),
            units: Vec::new(),
        }
    }
}

fn ready() -> RunState {
    RunState::Ready
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The form that serde calls.
fn is_ready(state: &RunState) -> bool {
    *state == RunState::Ready
}

/// Where logins to a target are sent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// Address of the other portal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its TCP port; 3260 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether the initiator may forget the old address: `temporary` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<RedirectReason>,
    /// Program that decides for each login; wins over the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
}

impl Redirect {
    fn is_empty(&self) -> bool {
        *self == Redirect::default()
    }
}

/// A fault rule for a unit that does not exist yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Target number.
    pub tid: i32,
    /// Unit number.
    pub lun: u64,
    /// The rule: `op=WRITE10,lba=0,len=8,key=3,asc=0x0c02`.
    pub rule: String,
}

/// The way to a field: `target[2].unit[0].block_size`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FieldPath(Vec<Step>);

/// One step of the way.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl FieldPath {
    /// One step further, into a table.
    #[must_use]
    pub fn key(&self, key: &str) -> FieldPath {
        let mut path = self.clone();
        path.0.push(Step::Key(key.into()));
        path
    }

    /// One step further, into a list.
    #[must_use]
    pub fn index(&self, index: usize) -> FieldPath {
        let mut path = self.clone();
        path.0.push(Step::Index(index));
        path
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Something in a document that cannot be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which field.
    pub path: FieldPath,
    /// What is wrong with it, and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.0.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// A text on one line: names and paths may hold anything.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().map(|letter| if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() }).collect()
}

impl Document {
    /// The document as TOML.
    ///
    /// # Errors
    /// A number that TOML cannot hold (above 2^63).
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }

    /// Makes the paths of images and programs absolute: those that are not are meant from `folder` on.
    pub fn resolve(&mut self, folder: &Path) {
        let absolute = |text: &mut String| *text = folder.join(&text).to_string_lossy().into_owned();
        for target in &mut self.targets {
            target.redirect.callback.iter_mut().for_each(absolute);
            for unit in target.units.iter_mut().filter(|unit| unit.is_file()) {
                unit.path.iter_mut().for_each(absolute);
            }
        }
    }

    /// Puts the secrets of `password_file`s in their places; `read` gives the first line of a file.
    ///
    /// # Errors
    /// What `read` says, with the field.
    pub fn resolve_secrets(&mut self, read: impl Fn(&str) -> Result<String, String>) -> Result<(), Problem> {
        for (at, account) in self.accounts.iter_mut().enumerate() {
            let Some(file) = account.password_file.take() else { continue };
            let problem = |message| Problem { path: FieldPath::default().key("account").index(at).key("password_file"), message };
            let secret = read(&file).map_err(problem)?;
            if secret.is_empty() {
                return Err(problem(format!("the first line of {file} is empty")));
            }
            account.password = Some(Secret(secret));
        }
        Ok(())
    }

    /// Takes the secrets out.
    pub fn forget_secrets(&mut self) {
        self.accounts.iter_mut().for_each(|account| account.password = None);
    }
}

#[cfg(test)]
mod tests;
