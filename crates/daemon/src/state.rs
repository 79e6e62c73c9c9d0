//! The control plane's own copy of everything, from which the published model is made.
//!
//! One mutex around it, taken by control connections only: no reactor ever waits for it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use admin::document::StoreFlag;
use admin::setting::{Parameters, Redirect};
use admin::view::{DriverState, IsnsView, TargetName};
use target::access::AccessList;
use transport::model::{Portal, TargetMap, UnitCell};

use crate::faults::FaultBook;
use crate::isns::{Admitted, Inputs};
use crate::reservation_keeper::ReservationKeeper;
use crate::tracked::{Targets, Tracked, Units};

/// Most targets: bounds the model and its listing.
pub const TARGET_LIMIT: usize = 4096;
/// Most units of one target, LUN 0 among them: what flat space addressing can name.
pub const UNIT_LIMIT: usize = 16384;
/// Most accounts, and most rules of one access list.
pub const ACCOUNT_LIMIT: usize = 4096;
/// Most portals.
pub const PORTAL_LIMIT: usize = 64;

/// Everything the administrator can see and change.
pub struct State {
    /// Logins are taken.
    pub online: bool,
    /// Debug messages are on.
    pub debug: bool,
    /// iSNS as the administrator set it; `enabled` is the wish.
    pub isns: Tracked<IsnsView>,
    /// The iSNS server is connected.
    pub isns_connected: bool,
    /// Initiators that the iSNS server lets in, by target name.
    pub isns_admitted: Tracked<Admitted>,
    /// Driver iscsi.
    pub driver: DriverState,
    /// Targets by number.
    pub targets: Targets,
    /// Accounts in order of creation.
    pub accounts: Tracked<Vec<iscsi::Account>>,
    /// Names of the accounts that discovery asks for.
    pub discovery_incoming: Vec<String>,
    /// Name of the account that discovery proves.
    pub discovery_outgoing: Option<String>,
    /// Open portals in order of opening.
    pub portals: Vec<Portal>,
    /// Those among them that the command line asked for: every start opens them, so that they are not kept.
    pub fixed_portals: Vec<SocketAddr>,
    /// Counts requests that may have changed the configuration.
    pub revision: u64,
    /// Portals to open again when the stopped driver starts.
    pub stopped_portals: Vec<Portal>,
    /// The portal groups that units were told of.
    pub groups: BTreeSet<u16>,
    /// Default of targets made later.
    pub nop_interval: u32,
    /// Default of targets made later.
    pub nop_count: u32,
    /// Fault rules by (tid, lun); they outlive units.
    pub faults: FaultBook,
    /// Seed of fault decisions.
    pub seed: u64,
    /// When the daemon started, on the reactors' clock, in nanoseconds.
    pub started: u64,
    /// Counts creations of targets and units: the order in which some lists are printed.
    pub created: u64,
    /// Who keeps persistent reservations over a loss of power; none without a state folder.
    pub reservations: Option<Arc<ReservationKeeper>>,
    /// What was published last.
    pub published: Published,
}

/// The targets of the last publication.
#[derive(Default)]
pub struct Published {
    /// Shared with the model.
    pub targets: TargetMap,
    /// Entries that were made since the daemon started: tests count them.
    pub made: u64,
}

impl State {
    /// A daemon with nothing in it.
    pub fn new(seed: u64, faults: FaultBook, nop_interval: u32, nop_count: u32) -> State {
        State {
            online: true,
            debug: false,
            isns: Tracked::default(),
            isns_connected: false,
            isns_admitted: Tracked::default(),
            driver: DriverState::Ready,
            targets: Targets::default(),
            accounts: Tracked::default(),
            discovery_incoming: Vec::new(),
            discovery_outgoing: None,
            portals: Vec::new(),
            fixed_portals: Vec::new(),
            revision: 0,
            stopped_portals: Vec::new(),
            groups: BTreeSet::new(),
            nop_interval,
            nop_count,
            faults,
            seed,
            started: crate::plane::now(),
            created: 0,
            reservations: None,
            published: Published::default(),
        }
    }

    /// The next number of the creation order.
    pub fn next_created(&mut self) -> u64 {
        self.created += 1;
        self.created
    }

    /// The account of that name.
    pub fn account(&self, user: &str) -> Option<&iscsi::Account> {
        self.accounts.iter().find(|account| account.user == user)
    }

    /// Numbers and names of the targets in order of creation.
    pub fn targets_by_creation(&self) -> Vec<TargetName> {
        let mut order: Vec<&TargetState> = self.targets.values().collect();
        order.sort_by_key(|target| target.created);
        order.iter().map(|target| TargetName { tid: target.tid, name: target.name.clone() }).collect()
    }

    /// The initiators of which one must be, beside what the target's own rules say; `None`: anyone. While access control by iSNS is on, a target of which its server
    /// has said nothing has none.
    pub fn admitted(&self, name: &str) -> Option<Arc<BTreeSet<String>>> {
        let controlled = self.isns.enabled && self.isns.access_control;
        controlled.then(|| self.isns_admitted.get(name).cloned().unwrap_or_default())
    }

    /// What the iSNS client goes by.
    pub fn isns_inputs(&self) -> Inputs {
        let targets = self.targets.values().map(|target| target.name.clone()).collect();
        Inputs { settings: self.isns.clone(), targets, portals: self.portals.clone() }
    }

    /// The unit with these numbers.
    pub fn unit(&self, tid: i32, lun: u64) -> Option<&UnitState> {
        self.targets.get(&tid)?.units.get(&lun)
    }
}

/// One target.
pub struct TargetState {
    /// Number.
    pub tid: i32,
    /// iSCSI name as given.
    pub name: String,
    /// Place in the creation order.
    pub created: u64,
    /// Logins are taken.
    pub online: bool,
    /// Negotiation keys.
    pub parameters: Parameters,
    /// Seconds between pings, 0: none.
    pub nop_interval: u32,
    /// Unanswered pings before the connection is closed.
    pub nop_count: u32,
    /// Where logins are sent.
    pub redirect: Redirect,
    /// Address and name rules.
    pub access: AccessList,
    /// SCSI host numbers bound to it; kept and shown nowhere, as in tgt.
    pub hosts: Vec<u32>,
    /// Names of the accounts that initiators prove, in order of binding.
    pub incoming: Vec<String>,
    /// Name of the account that we prove.
    pub outgoing: Option<String>,
    /// Units by number; LUN 0 is the controller.
    pub units: Units,
}

/// One unit.
pub struct UnitState {
    /// Core and store, shared with the reactors.
    pub cell: Arc<UnitCell>,
    /// Store word as shown.
    pub store: &'static str,
    /// Path as given.
    pub path: Option<String>,
    /// Store flags.
    pub flags: StoreFlags,
    /// Place in the creation order.
    pub created: u64,
    /// A request is resizing or exchanging its store.
    pub changing: bool,
    /// What was asked for and set, as the configuration tells it; store, path and flags are those above.
    pub configured: admin::document::Unit,
}

/// How a store is opened: `bsoflags`, and what our own command adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreFlags {
    /// Every write is durable when it is answered.
    pub sync: bool,
    /// Bypass the page cache.
    pub direct: bool,
    /// Never write to it.
    pub read_only: bool,
    /// Changes stay in memory.
    pub ephemeral: bool,
    /// Protection information is kept beside the data; a medium that has none yet is formatted with this type, 0 for none.
    pub protection: Option<u8>,
}

/// The type that a flag of a store names: `protection-1`.
pub fn protection_of(word: &str) -> Option<u8> {
    StoreFlag::ALL.into_iter().find(|flag| flag.word() == word)?.protection()
}

impl StoreFlags {
    /// Words between colons, recognised by their beginning as tgt does (`sync`, `direct`), and our own in full. `None`: an unknown word.
    pub fn parse(text: &str) -> Option<StoreFlags> {
        let mut flags = StoreFlags::default();
        for word in text.split(':') {
            match word {
                "read-only" | "readonly" => flags.read_only = true,
                "ephemeral" => flags.ephemeral = true,
                word if word.starts_with("protection") => flags.protection = Some(protection_of(word)?),
                word if word.starts_with("sync") => flags.sync = true,
                word if word.starts_with("direct") => flags.direct = true,
                _ => return None,
            }
        }
        Some(flags)
    }

    /// As the configuration tells them.
    pub fn list(self) -> Vec<StoreFlag> {
        let set = |flag| match flag {
            StoreFlag::Sync => self.sync,
            StoreFlag::Direct => self.direct,
            StoreFlag::ReadOnly => self.read_only,
            StoreFlag::Ephemeral => self.ephemeral,
            other => other.protection() == self.protection,
        };
        StoreFlag::ALL.into_iter().filter(|flag| set(*flag)).collect()
    }

    /// The store of that name can be opened so. Every store can be read only; what is thrown away at the end is laid over a file; a store of nothing keeps no
    /// protection information either.
    pub fn fit(self, store: &str) -> bool {
        (!(self.sync || self.direct) || store == "rdwr")
            && (!self.ephemeral || matches!(store, "rdwr" | "aio"))
            && (self.protection.is_none() || store != "null")
    }
}
