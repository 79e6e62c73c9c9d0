//! What a daemon is told when it starts, and why a start can fail.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use admin::document::Document;
use admin::portal::DEFAULT_GROUP;
use reactor::IoChoice;
use reactor::passed::{Passed, Place};

/// The well-known port of iSCSI (RFC 7143 4.1).
pub const DEFAULT_PORT: u16 = 3260;

/// Everything a daemon needs to know before it opens anything.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Listen here. Port 0: the system chooses one.
    pub portals: Vec<Portal>,
    /// Listen here when neither `portals` nor the configuration says where.
    pub default_portals: Vec<Portal>,
    /// Where changes are kept. None: they end with the daemon.
    pub state: Option<StateSettings>,
    /// What the daemon is to be; it comes after what was kept.
    pub document: Option<Box<Document>>,
    /// Where the control socket is bound; its lock is beside it as `PATH.lock`. None: no control socket.
    pub control: Option<PathBuf>,
    /// Who may use it.
    pub access: crate::lock::Access,
    /// I/O driver of the reactors.
    pub io: IoChoice,
    /// Reactor threads, 1 or more. None: one per core.
    pub reactors: Option<usize>,
    /// Seed of every fault decision. None: a random one, printed in the log.
    pub seed: Option<u64>,
    /// Refuse every fault rule.
    pub no_faults: bool,
    /// Default seconds between NOP-In pings of targets made later; 0: none.
    pub nop_interval: u32,
    /// Default number of unanswered pings before a connection is closed.
    pub nop_count: u32,
    /// Sockets that were passed to this process. Those on TCP are portals, in front of the others; a Unix socket is the control socket instead of `control`.
    pub passed: Vec<Arc<Passed>>,
    /// Targets that exist when the first connection is accepted.
    pub targets: Vec<TargetSettings>,
    /// Patience of the iSNS client.
    pub isns: iscsi::isns::Timing,
}

impl Settings {
    /// The portals to open: those that were passed, then the others.
    pub fn all_portals(&self) -> Vec<Portal> {
        let passed = self.passed.iter().filter_map(|passed| match passed.place {
            Place::Portal(address) => Some(Portal::required(address)),
            Place::Control(_) => None,
        });
        let mut portals: Vec<Portal> = passed.collect();
        for portal in &self.portals {
            if portals.iter().all(|known| known.address != portal.address) || portal.address.port() == 0 {
                portals.push(*portal);
            }
        }
        portals
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            portals: Vec::new(),
            default_portals: Vec::new(),
            state: None,
            document: None,
            control: None,
            access: crate::lock::Access::default(),
            io: IoChoice::Auto,
            reactors: None,
            seed: None,
            no_faults: false,
            nop_interval: 0,
            nop_count: 0,
            passed: Vec::new(),
            targets: Vec::new(),
            isns: iscsi::isns::Timing::default(),
        }
    }
}

/// Where changes are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateSettings {
    /// The folder; it is made when it is missing.
    pub folder: PathBuf,
    /// Start with nothing, and set aside what is kept there.
    pub fresh: bool,
}

/// A listening address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portal {
    /// Address and port.
    pub address: SocketAddr,
    /// Target portal group tag.
    pub group_tag: u16,
    /// A failure to open it is not fatal: one of the two wildcard portals of tgt's default (a host without IPv6).
    pub optional: bool,
}

impl Portal {
    /// A portal that must open.
    pub fn required(address: SocketAddr) -> Portal {
        Portal { address, group_tag: DEFAULT_GROUP, optional: false }
    }

    /// The same in another target portal group.
    pub fn in_group(self, group_tag: u16) -> Portal {
        Portal { group_tag, ..self }
    }

    /// tgt's default: all addresses of both families at port 3260, of which one may be missing.
    pub fn everywhere() -> Vec<Portal> {
        let ipv4 = SocketAddr::from(([0; 4], DEFAULT_PORT));
        let ipv6 = SocketAddr::from(([0u16; 8], DEFAULT_PORT));
        vec![Portal::required(ipv4), Portal { optional: true, ..Portal::required(ipv6) }]
    }
}

/// A target made at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetSettings {
    /// iSCSI name.
    pub name: String,
    /// Address rules; `ALL` lets everyone in.
    pub allow: Vec<String>,
    /// CHAP account that initiators must prove.
    pub account: Option<iscsi::Account>,
    /// Units in order, from LUN 1.
    pub disks: Vec<DiskSettings>,
}

/// A disk made at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskSettings {
    /// Where its bytes live.
    pub medium: MediumSettings,
    /// Logical block length in bytes.
    pub block_size: scsi::BlockSize,
    /// Initiators cannot write.
    pub read_only: bool,
    /// Protection information is kept; a new medium is formatted with this type, 0 for none.
    pub protection: Option<u8>,
}

/// Where the bytes of a disk live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MediumSettings {
    /// Sparse memory of this many bytes; lost at the end.
    Memory(u64),
    /// A file or block device.
    File {
        /// Where.
        path: PathBuf,
        /// Bypass the page cache.
        direct: bool,
        /// Every write is durable when it is answered.
        sync: bool,
        /// Changes stay in memory and are thrown away at the end.
        ephemeral: bool,
    },
}

/// Why a daemon did not start: one line for people, with the cure where there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartError {
    /// A portal could not be opened.
    Portal {
        /// Which.
        address: SocketAddr,
        /// The system's words.
        cause: String,
        /// Somebody else listens there.
        busy: bool,
    },
    /// The control socket could not be opened.
    Control {
        /// Where.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// Another daemon holds the lock of the control socket.
    ControlBusy {
        /// Where.
        path: PathBuf,
    },
    /// A target or a disk could not be made.
    Model(String),
    /// The I/O driver or a thread could not be started.
    Reactor(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Portal { address, busy: true, .. } => {
                write!(f, "{address} is in use by another program: stop it, or choose another portal (port 0 takes any free one)")
            }
            StartError::Portal { address, cause, .. } => write!(f, "cannot listen on {address}: {cause}"),
            StartError::Control { path, cause } => write!(f, "cannot open the control socket {}: {cause}", path.display()),
            StartError::ControlBusy { path } => write!(f, "another tgtd is using {}", path.display()),
            StartError::Model(text) | StartError::Reactor(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}
