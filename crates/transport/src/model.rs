//! The published model: immutable snapshots, swapped atomically by the control thread, read by reactors without a lock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, RwLock};

use arc_swap::ArcSwap;
use iscsi::{Account, Authentication, TargetParameters};
use store::Store;

/// Everything a reactor needs to know.
#[derive(Clone)]
pub struct Model {
    /// False: connections are accepted and closed at once (`State offline`).
    pub online: bool,
    /// Targets by tid.
    pub targets: BTreeMap<i32, Arc<TargetEntry>>,
    /// Portals that listen now; SendTargets lists them all.
    pub portals: Vec<SocketAddr>,
    /// Discovery accounts.
    pub discovery: Authentication,
}

/// One target.
#[derive(Clone)]
pub struct TargetEntry {
    /// Target identifier.
    pub tid: i32,
    /// iSCSI name.
    pub name: String,
    /// TargetAlias.
    pub alias: Option<String>,
    /// Logins go on.
    pub online: bool,
    /// Negotiation.
    pub parameters: TargetParameters,
    /// Who may log in.
    pub access: target::access::AccessList,
    /// Accounts.
    pub authentication: Authentication,
    /// Redirection: address, port, permanent.
    pub redirect: Option<(String, u16, bool)>,
    /// Units by number; LUN 0 is the controller.
    pub units: BTreeMap<u64, Arc<UnitCell>>,
}

/// One logical unit: pure state behind its one short lock, and its store.
pub struct UnitCell {
    /// Of the target that made it.
    pub tid: i32,
    /// Number.
    pub lun: u64,
    /// The core. Held for one `handle_*` call and the collection of its effects, never across I/O, and never two units' at once.
    pub state: Mutex<target::Unit>,
    /// Where its bytes live; none without medium. Swapped by the control thread.
    pub store: RwLock<Option<Arc<dyn Store>>>,
}

/// The snapshot and its one writer.
pub type SharedModel = ArcSwap<Model>;

/// A CHAP account by name, as the control thread keeps them.
pub type Accounts = BTreeMap<String, Account>;
