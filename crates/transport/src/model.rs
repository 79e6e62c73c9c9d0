//! The published model: immutable snapshots, swapped atomically by the control thread, read by reactors without a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use device::PortIdentity;
use iscsi::{Account, Authentication, TargetParameters};
use scsi::RelativePort;
use store::Store;

use crate::redirect::Redirection;
use crate::shared_map::SharedMap;

/// Everything a reactor needs to know.
#[derive(Clone)]
pub struct Model {
    /// False: connections are accepted and closed at once (`State offline`).
    pub online: bool,
    /// Targets by tid.
    pub targets: TargetMap,
    /// Portals that listen now; SendTargets lists them all.
    pub portals: Vec<Portal>,
    /// Discovery accounts.
    pub discovery: Authentication,
}

impl Model {
    /// Online, without targets and portals.
    pub fn new() -> Model {
        Model { online: true, targets: TargetMap::default(), portals: Vec::new(), discovery: Authentication::default() }
    }
}

impl Default for Model {
    fn default() -> Model {
        Model::new()
    }
}

/// Tag of the portal group of a portal for which none was named.
pub const DEFAULT_GROUP: u16 = 1;

/// Where connections are accepted. Portals of one group are one target port of every target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portal {
    /// Address and TCP port.
    pub address: SocketAddr,
    /// Target portal group tag, and the relative number of the target port that the group is. Not 0: that is no relative port.
    pub group_tag: u16,
}

impl From<SocketAddr> for Portal {
    fn from(address: SocketAddr) -> Portal {
        Portal { address, group_tag: DEFAULT_GROUP }
    }
}

/// As in a TargetAddress; the group is left out when it is the first.
impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group_tag {
            DEFAULT_GROUP => self.address.fmt(f),
            tag => write!(f, "{},{tag}", self.address),
        }
    }
}

/// The target port that a portal group is.
pub fn port(target_name: &str, group_tag: u16) -> PortIdentity {
    PortIdentity { target_name: target_name.to_owned(), group_tag, relative_port: RelativePort(group_tag) }
}

/// The targets of a model, found by number and by name.
#[derive(Clone, Default)]
pub struct TargetMap {
    by_number: SharedMap<i32, Arc<TargetEntry>>,
    by_name: SharedMap<Arc<str>, i32>,
}

impl TargetMap {
    /// Puts a target in place of the one with its number, if there is one.
    pub fn insert(&mut self, tid: i32, entry: Arc<TargetEntry>) {
        let name = Arc::from(entry.name.as_str());
        if let Some(old) = self.by_number.insert(tid, entry)
            && *old.name != *name
        {
            self.by_name.remove(old.name.as_str());
        }
        if self.by_name.get(&name) != Some(&tid) {
            self.by_name.insert(name, tid);
        }
    }

    /// Takes a target out.
    pub fn remove(&mut self, tid: i32) -> Option<Arc<TargetEntry>> {
        let old = self.by_number.remove(&tid)?;
        self.by_name.remove(old.name.as_str());
        Some(old)
    }

    /// Takes all targets out.
    pub fn clear(&mut self) {
        *self = TargetMap::default();
    }

    /// The target of that iSCSI name.
    pub fn named(&self, name: &str) -> Option<&Arc<TargetEntry>> {
        self.by_number.get(self.by_name.get(name)?)
    }
}

impl Deref for TargetMap {
    type Target = SharedMap<i32, Arc<TargetEntry>>;

    fn deref(&self) -> &SharedMap<i32, Arc<TargetEntry>> {
        &self.by_number
    }
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
    /// The initiators of which one must be as well, by name; `None`: anyone.
    pub admitted: Option<Arc<BTreeSet<String>>>,
    /// Accounts.
    pub authentication: Authentication,
    /// Logins go elsewhere.
    pub redirect: Option<Redirection>,
    /// Units by number; LUN 0 is the controller.
    pub units: SharedMap<u64, Arc<UnitCell>>,
}

impl TargetEntry {
    /// A target that is online, has the default parameters, no unit, and refuses everyone until its access list says otherwise.
    pub fn new(tid: i32, name: &str) -> TargetEntry {
        TargetEntry {
            tid,
            name: name.to_owned(),
            alias: None,
            online: true,
            parameters: default_parameters(),
            access: target::access::AccessList::default(),
            admitted: None,
            authentication: Authentication::default(),
            redirect: None,
            units: SharedMap::default(),
        }
    }

    /// May this initiator at this address log in, and see the target in discovery?
    pub fn admits(&self, peer: IpAddr, initiator: &str) -> bool {
        self.access.admits(peer.to_canonical(), initiator) && self.admitted.as_ref().is_none_or(|names| names.contains(initiator))
    }
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

impl UnitCell {
    /// A unit and the place of its bytes.
    pub fn new(tid: i32, lun: u64, unit: target::Unit, store: Option<Arc<dyn Store>>) -> UnitCell {
        UnitCell { tid, lun, state: Mutex::new(unit), store: RwLock::new(store) }
    }

    /// The state, locked. A panic of another thread that held it does not spread: the state is plain data, and the daemon reports the panic itself.
    ///
    /// The control thread calls [`Hub::attend`](crate::hub::Hub::attend) after changes that may have queued effects (deleted HANG rules, detached nexuses).
    pub fn lock(&self) -> MutexGuard<'_, target::Unit> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store of now.
    pub fn store(&self) -> Option<Arc<dyn Store>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another store, or none. Operations that run finish on the old one.
    pub fn set_store(&self, store: Option<Arc<dyn Store>>) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
    }
}

/// The snapshot and its one writer.
pub type SharedModel = ArcSwap<Model>;

/// A CHAP account by name, as the control thread keeps them.
pub type Accounts = BTreeMap<String, Account>;

/// Parameters of a new target: the original's defaults, with room for a deeper queue.
pub fn default_parameters() -> TargetParameters {
    TargetParameters {
        max_recv_data_segment_length: 8192,
        header_digest: false,
        data_digest: false,
        initial_r2t: true,
        max_outstanding_r2t: 1,
        immediate_data: true,
        first_burst_length: 65536,
        max_burst_length: 262_144,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        error_recovery_level: 0,
        default_time_2_wait: 2,
        default_time_2_retain: 20,
        max_connections: 1,
        max_queue_cmd: 128,
        nop_interval: 0,
        nop_count: 0,
    }
}

/// Parameters of a target made at start: what today's initiators ask for by themselves (open-iscsi's defaults), so that a write of up to 256 KiB comes with
/// its command, and one segment is worth receiving in its place.
pub fn wide_parameters() -> TargetParameters {
    TargetParameters { max_recv_data_segment_length: 256 << 10, first_burst_length: 256 << 10, max_burst_length: 1 << 20, ..default_parameters() }
}
