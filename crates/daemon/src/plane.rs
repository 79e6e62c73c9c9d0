//! What the control plane asks of the data plane.
//!
//! The reactors' hub implements it; tests of the control plane use a stub.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::view::ConnectionStatRow;
use reactor::passed::{Passed, Place};
use target::NexusId;
use transport::hub::Hub;
use transport::model::{Model, Portal, UnitCell};
use transport::session::{ConnectionView, SessionView};

/// The data plane as the control plane sees it. Every call returns soon; none waits for an initiator.
pub trait Plane: Send + Sync {
    /// Reactors see this model from their next turn on.
    fn publish(&self, model: Model);
    /// Listens; gives the address with the port that was chosen.
    fn open_portal(&self, portal: Portal) -> io::Result<SocketAddr>;
    /// Stops listening. Sessions stay.
    fn close_portal(&self, address: SocketAddr);
    /// Normal sessions in full feature phase, oldest first.
    fn sessions(&self) -> Vec<Session>;
    /// Has a connection of a session closed, and with the last one the session; false when there is none.
    fn close_connection(&self, tid: i32, sid: u64, cid: u32) -> bool;
    /// Has all sessions of a target closed.
    fn close_target(&self, tid: i32);
    /// A published unit is new: the sessions of its target hear of it.
    fn unit_added(&self, unit: &Arc<UnitCell>);
    /// A unit is no longer published: the sessions of its target let go of it.
    fn unit_removed(&self, unit: &Arc<UnitCell>);
    /// The unit may have effects that no reactor asked for: have them carried out.
    fn attend(&self, unit: &Arc<UnitCell>);
    /// Nanoseconds of the reactors' clock.
    fn now(&self) -> u64;
    /// Number of the last change of model or sessions.
    fn edition(&self) -> u64;
    /// Something else has changed that those who watch may want to see.
    fn note_change(&self);
    /// Driver and number of reactors.
    fn driver(&self) -> (String, u32);
    /// Every reactor still turns. Waits a bounded time for one that does not.
    fn turns(&self) -> bool;
}

/// A live session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// TSIH.
    pub sid: u64,
    /// The units' name for it.
    pub nexus: NexusId,
    /// Target.
    pub tid: i32,
    /// iSCSI name of the initiator.
    pub initiator: String,
    /// Its alias.
    pub alias: Option<String>,
    /// Its connections: the address of the other end, and the counters. At least one.
    pub connections: Vec<(SocketAddr, ConnectionStatRow)>,
}

/// The data plane of reactors.
pub struct Reactors {
    /// What they share with us.
    pub hub: Arc<Hub>,
    /// Name of the driver they run on.
    pub driver: &'static str,
    /// Sockets that were passed to this process: their addresses are not bound again.
    pub passed: Vec<Arc<Passed>>,
}

/// A reactor that has not turned for so long hangs: its longest work is the parsing and copying of one turn, a matter of milliseconds.
const TURN_LIMIT: Duration = Duration::from_secs(5);

impl Reactors {
    fn passed_at(&self, address: SocketAddr) -> Option<&Arc<Passed>> {
        self.passed.iter().find(|passed| passed.place == Place::Portal(address))
    }
}

impl Plane for Reactors {
    fn publish(&self, model: Model) {
        self.hub.publish(model);
    }

    fn open_portal(&self, portal: Portal) -> io::Result<SocketAddr> {
        let Some(passed) = self.passed_at(portal.address) else { return self.hub.add_portal(portal) };
        self.hub.take_portal(passed.listener()?, portal);
        Ok(portal.address)
    }

    fn close_portal(&self, address: SocketAddr) {
        if !self.hub.remove_portal(address) {
            tracing::warn!(%address, "the portal was closed already");
        }
        // Whoever passed the socket holds it, too: closing ours alone would leave initiators waiting.
        if let Some(passed) = self.passed_at(address) {
            passed.refuse();
        }
    }

    fn sessions(&self) -> Vec<Session> {
        let mut sessions: Vec<Session> = self.hub.sessions().into_iter().filter_map(session).collect();
        sessions.sort_by_key(|session| session.nexus);
        sessions
    }

    fn close_connection(&self, tid: i32, sid: u64, cid: u32) -> bool {
        match (u16::try_from(sid), u16::try_from(cid)) {
            (Ok(sid), Ok(cid)) => self.hub.close_connection(tid, sid, cid),
            _ => false,
        }
    }

    fn close_target(&self, tid: i32) {
        self.hub.close_target_sessions(tid);
    }

    fn unit_added(&self, unit: &Arc<UnitCell>) {
        self.hub.unit_added(unit.tid, unit);
    }

    fn unit_removed(&self, unit: &Arc<UnitCell>) {
        self.hub.unit_removed(unit.tid, unit);
    }

    fn attend(&self, unit: &Arc<UnitCell>) {
        self.hub.attend(unit);
    }

    fn now(&self) -> u64 {
        now()
    }

    fn edition(&self) -> u64 {
        self.hub.changes()
    }

    fn note_change(&self) {
        self.hub.note_change();
    }

    fn driver(&self) -> (String, u32) {
        (self.driver.into(), u32::try_from(self.hub.reactors()).unwrap_or(u32::MAX))
    }

    fn turns(&self) -> bool {
        self.hub.turns(TURN_LIMIT)
    }
}

/// Monotonic nanoseconds, the clock of the drivers.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// A normal session; discovery sessions have no target and are not shown, as in tgt.
fn session(view: SessionView) -> Option<Session> {
    let sid = u64::from(view.sid);
    Some(Session {
        sid,
        nexus: view.nexus,
        tid: view.tid?,
        initiator: view.initiator_name,
        alias: view.initiator_alias,
        connections: view.connections.iter().map(|connection| (connection.peer, counted(sid, connection))).collect(),
    })
}

fn counted(sid: u64, connection: &ConnectionView) -> ConnectionStatRow {
    let traffic = connection.traffic;
    ConnectionStatRow {
        sid,
        cid: u32::from(connection.cid),
        received_octets: traffic.received_bytes,
        sent_octets: traffic.sent_bytes,
        data_out_pdus: traffic.data_out_pdus,
        data_in_pdus: traffic.data_in_pdus,
        command_pdus: traffic.command_pdus,
        response_pdus: traffic.response_pdus,
    }
}
