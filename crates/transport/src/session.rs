//! The sessions of a daemon: their numbers, whose they are, and which units they are attached to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iscsi::{LoginStatus, LoginSummary};
use target::{NexusId, NexusIdentity};

use crate::limits::Limits;
use crate::model::{Model, UnitCell, port};

/// What `tgtadm` shows of a connection's traffic; written by its reactor, read by the control thread.
#[derive(Default, Debug)]
#[allow(missing_docs)]
pub struct SessionCounters {
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub data_out_pdus: AtomicU64,
    pub data_in_pdus: AtomicU64,
    pub command_pdus: AtomicU64,
    pub response_pdus: AtomicU64,
}

/// The numbers of [`SessionCounters`] at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs)]
pub struct Traffic {
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub data_out_pdus: u64,
    pub data_in_pdus: u64,
    pub command_pdus: u64,
    pub response_pdus: u64,
}

/// A session as `show` prints it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionView {
    /// Target; `None`: a discovery session.
    pub tid: Option<i32>,
    /// The TSIH.
    pub sid: u16,
    /// Its nexus on the units.
    pub nexus: NexusId,
    /// InitiatorName.
    pub initiator_name: String,
    /// InitiatorAlias.
    pub initiator_alias: Option<String>,
    /// ISID.
    pub isid: [u8; 6],
    /// Its connections, in the order of their logins: at least one.
    pub connections: Vec<ConnectionView>,
}

/// A connection of a session as `show` prints it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionView {
    /// CID.
    pub cid: u16,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The portal's.
    pub local: SocketAddr,
    /// Traffic since login began.
    pub traffic: Traffic,
}

/// Where a login comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub reactor: usize,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Portal group of the portal.
    pub group_tag: u16,
}

/// Answer to a login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// The session exists now, and is attached to all units.
    Accepted { tsih: u16, nexus: NexusId },
    /// It belongs to this session: its reactor asks [`Registry::join`].
    Joins(NexusId),
    /// This older session has to end first; then ask again.
    After(NexusId),
    /// No.
    Refused(LoginStatus, &'static str),
}

pub(crate) struct Session {
    pub sid: u16,
    pub nexus: NexusId,
    tid: Option<i32>,
    identity: NexusIdentity,
    initiator_alias: Option<String>,
    max_connections: usize,
    connections: Vec<Connection>,
    units: Vec<Arc<UnitCell>>,
    /// Its last connection is closing.
    ending: bool,
}

/// A connection of a session: what it counts is its name here.
struct Connection {
    cid: u16,
    peer: SocketAddr,
    local: SocketAddr,
    counters: Arc<SessionCounters>,
}

pub(crate) struct Registry {
    sessions: BTreeMap<u16, Session>,
    next_sid: u16,
    next_nexus: u64,
}

impl SessionCounters {
    /// The numbers now.
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            received_bytes: read(&self.received_bytes),
            sent_bytes: read(&self.sent_bytes),
            data_out_pdus: read(&self.data_out_pdus),
            data_in_pdus: read(&self.data_in_pdus),
            command_pdus: read(&self.command_pdus),
            response_pdus: read(&self.response_pdus),
        }
    }
}

impl Registry {
    pub fn new() -> Registry {
        Registry { sessions: BTreeMap::new(), next_sid: 1, next_nexus: 1 }
    }

    pub fn views(&self) -> Vec<SessionView> {
        self.sessions.values().filter(|session| !session.ending).map(Session::view).collect()
    }

    pub fn of_target(&self, tid: i32) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(move |session| session.tid == Some(tid) && !session.ending)
    }

    /// Decides on a login; see [`Admission`].
    pub fn admit(&mut self, summary: &LoginSummary, visit: Visit, counters: &Arc<SessionCounters>, model: &Model, limits: &Limits) -> Admission {
        let tid = summary.target.as_ref().map(|(tid, _)| *tid);
        let older = self.sessions.values().find(|session| session.is_of(summary, tid, visit.group_tag));
        if let Some(older) = older {
            return match summary.tsih {
                0 => Admission::After(older.nexus),
                tsih if tsih == older.sid && !older.ending => Admission::Joins(older.nexus),
                _ => Admission::Refused(SESSION_DOES_NOT_EXIST, "no such session"),
            };
        }
        if summary.tsih != 0 {
            return Admission::Refused(SESSION_DOES_NOT_EXIST, "no such session");
        }
        let units = match tid.map(|tid| model.targets.get(&tid)) {
            None => Vec::new(),
            Some(Some(entry)) => entry.units.values().cloned().collect(),
            Some(None) => return Admission::Refused(NOT_FOUND, "the target is gone"),
        };
        if tid.is_some_and(|tid| self.of_target(tid).count() >= limits.sessions_per_target) {
            return Admission::Refused(OUT_OF_RESOURCES, "limit of sessions of the target");
        }
        match self.free_sid() {
            Some(sid) => self.insert(sid, summary, visit, counters, units),
            None => Admission::Refused(OUT_OF_RESOURCES, "no session number left"),
        }
    }

    fn insert(&mut self, sid: u16, summary: &LoginSummary, visit: Visit, counters: &Arc<SessionCounters>, units: Vec<Arc<UnitCell>>) -> Admission {
        let nexus = NexusId(self.next_nexus << 8 | (visit.reactor as u64 & 0xff));
        self.next_nexus += 1;
        let (tid, target_name) = summary.target.clone().unzip();
        let port = port(&target_name.unwrap_or_default(), visit.group_tag);
        let identity = NexusIdentity { initiator_name: summary.initiator_name.clone(), isid: summary.isid, port };
        for cell in &units {
            cell.lock().attach(nexus, identity.clone());
        }
        let session = Session {
            sid,
            nexus,
            tid,
            identity,
            initiator_alias: summary.initiator_alias.clone(),
            max_connections: usize::try_from(summary.max_connections).unwrap_or(1).max(1),
            connections: vec![Connection::new(summary, visit, counters)],
            units,
            ending: false,
        };
        self.sessions.insert(sid, session);
        Admission::Accepted { tsih: sid, nexus }
    }

    /// A further connection of a session, or one in place of that with its CID.
    pub fn join(
        &mut self,
        nexus: NexusId,
        summary: &LoginSummary,
        visit: Visit,
        counters: &Arc<SessionCounters>,
    ) -> Result<u16, (LoginStatus, &'static str)> {
        let session = self.sessions.values_mut().find(|session| session.nexus == nexus && !session.ending);
        let session = session.ok_or((SESSION_DOES_NOT_EXIST, "the session has just ended"))?;
        let connection = Connection::new(summary, visit, counters);
        match session.connections.iter().position(|connection| connection.cid == summary.cid) {
            Some(older) => session.connections[older] = connection,
            None if session.connections.len() >= session.max_connections => return Err((TOO_MANY_CONNECTIONS, "MaxConnections")),
            None => session.connections.push(connection),
        }
        Ok(session.sid)
    }

    /// A connection is gone, unless another one is in its place already.
    pub fn leave(&mut self, nexus: NexusId, counters: &Arc<SessionCounters>) {
        if let Some(session) = self.sessions.values_mut().find(|session| session.nexus == nexus) {
            session.connections.retain(|connection| !Arc::ptr_eq(&connection.counters, counters));
        }
    }

    /// Numbers count up over the daemon's life, so that a late `tgtadm --sid` does not hit a stranger; 0 is not a TSIH.
    fn free_sid(&mut self) -> Option<u16> {
        for _ in 0..=u16::MAX {
            let sid = self.next_sid;
            self.next_sid = self.next_sid.checked_add(1).unwrap_or(1);
            if !self.sessions.contains_key(&sid) {
                return Some(sid);
            }
        }
        None
    }

    /// Marks a session as ending; the units it was attached to.
    pub fn detach(&mut self, nexus: NexusId) -> Vec<Arc<UnitCell>> {
        let session = self.sessions.values_mut().find(|session| session.nexus == nexus);
        session
            .map(|session| {
                session.ending = true;
                std::mem::take(&mut session.units)
            })
            .unwrap_or_default()
    }

    pub fn remove(&mut self, nexus: NexusId) {
        self.sessions.retain(|_, session| session.nexus != nexus);
    }

    pub fn attach_unit(&mut self, tid: i32, cell: &Arc<UnitCell>) {
        for session in self.sessions.values_mut().filter(|session| session.tid == Some(tid) && !session.ending) {
            if !session.units.iter().any(|unit| Arc::ptr_eq(unit, cell)) {
                cell.lock().attach(session.nexus, session.identity.clone());
                session.units.push(cell.clone());
            }
        }
    }

    pub fn detach_unit(&mut self, tid: i32, cell: &Arc<UnitCell>) {
        for session in self.sessions.values_mut().filter(|session| session.tid == Some(tid)) {
            let before = session.units.len();
            session.units.retain(|unit| !Arc::ptr_eq(unit, cell));
            if session.units.len() != before {
                cell.lock().withdraw(session.nexus);
            }
        }
    }
}

impl Session {
    fn is_of(&self, summary: &LoginSummary, tid: Option<i32>, group_tag: u16) -> bool {
        // Through another portal group it is another I_T nexus. Discovery sessions of one initiator port may overlap: nothing of theirs can clash, and some initiators use one ISID for all.
        self.tid == tid
            && tid.is_some()
            && self.identity.port.group_tag == group_tag
            && self.identity.isid == summary.isid
            && self.identity.initiator_name == summary.initiator_name
    }

    fn view(&self) -> SessionView {
        SessionView {
            tid: self.tid,
            sid: self.sid,
            nexus: self.nexus,
            initiator_name: self.identity.initiator_name.clone(),
            initiator_alias: self.initiator_alias.clone(),
            isid: self.identity.isid,
            connections: self.connections.iter().map(Connection::view).collect(),
        }
    }

    pub fn has(&self, cid: u16) -> bool {
        self.connections.iter().any(|connection| connection.cid == cid)
    }
}

impl Connection {
    fn new(summary: &LoginSummary, visit: Visit, counters: &Arc<SessionCounters>) -> Connection {
        Connection { cid: summary.cid, peer: visit.peer, local: visit.local, counters: counters.clone() }
    }

    fn view(&self) -> ConnectionView {
        ConnectionView { cid: self.cid, peer: self.peer, local: self.local, traffic: self.counters.traffic() }
    }
}

/// Target not found.
const NOT_FOUND: LoginStatus = LoginStatus(0x0203);
/// Too many connections.
const TOO_MANY_CONNECTIONS: LoginStatus = LoginStatus(0x0206);
/// Session does not exist.
const SESSION_DOES_NOT_EXIST: LoginStatus = LoginStatus(0x020a);
/// Out of resources.
const OUT_OF_RESOURCES: LoginStatus = LoginStatus(0x0302);
