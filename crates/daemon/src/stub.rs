//! A data plane without reactors, for tests of the control plane.

pub mod house;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use admin::reply::{Answer, Failure, Reply};
use admin::request::{Envelope, Request};
use admin::view::ConnectionStatRow;
use target::NexusId;
use transport::model::{Model, Portal, UnitCell};

use crate::apply::Control;
use crate::faults::FaultBook;
use crate::log::LogControl;
use crate::plane::{Plane, Session};
use crate::state::State;

/// Remembers what it was told.
#[derive(Default)]
pub struct Stub {
    pub model: Mutex<Option<Model>>,
    pub sessions: Mutex<Vec<Session>>,
    pub told: Mutex<Vec<String>>,
    /// Sessions do not go when they are told to.
    pub stay: AtomicBool,
    published: AtomicUsize,
    /// Its reactors hang.
    pub hangs: AtomicBool,
}

impl Stub {
    fn tell(&self, line: String) {
        self.told.lock().expect("no panic").push(line);
    }

    /// How often a model was published.
    pub fn publications(&self) -> usize {
        self.published.load(Ordering::SeqCst)
    }

    /// A session on a target.
    pub fn log_in(&self, sid: u64, tid: i32) {
        let connection = ConnectionStatRow { sid, ..ConnectionStatRow::default() };
        let session = Session {
            sid,
            nexus: NexusId(sid),
            tid,
            initiator: "iqn.2020-01.ini:one".into(),
            alias: None,
            connections: vec![(([127, 0, 0, 1], 40000).into(), connection)],
        };
        self.sessions.lock().expect("no panic").push(session);
    }
}

impl Plane for Stub {
    fn publish(&self, model: Model) {
        self.published.fetch_add(1, Ordering::SeqCst);
        *self.model.lock().expect("no panic") = Some(model);
    }
    fn open_portal(&self, portal: Portal) -> io::Result<SocketAddr> {
        self.tell(format!("open {portal}"));
        let address = portal.address;
        if address.port() == 1 { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(address) }
    }
    fn close_portal(&self, address: SocketAddr) {
        self.tell(format!("close {address}"));
    }
    fn sessions(&self) -> Vec<Session> {
        self.sessions.lock().expect("no panic").clone()
    }
    fn close_connection(&self, tid: i32, sid: u64, cid: u32) -> bool {
        self.tell(format!("close session {tid} {sid} {cid}"));
        self.sessions.lock().expect("no panic").retain(|session| session.sid != sid);
        true
    }
    fn close_target(&self, tid: i32) {
        if self.stay.load(Ordering::Relaxed) {
            return;
        }
        self.sessions.lock().expect("no panic").retain(|session| session.tid != tid);
    }
    fn unit_added(&self, unit: &Arc<UnitCell>) {
        self.tell(format!("added {}/{}", unit.tid, unit.lun));
    }
    fn unit_removed(&self, unit: &Arc<UnitCell>) {
        self.tell(format!("removed {}/{}", unit.tid, unit.lun));
    }
    fn attend(&self, unit: &Arc<UnitCell>) {
        self.tell(format!("attend {}/{}", unit.tid, unit.lun));
    }
    fn now(&self) -> u64 {
        1
    }
    fn edition(&self) -> u64 {
        1
    }
    fn note_change(&self) {}
    fn driver(&self) -> (String, u32) {
        ("stub".into(), 1)
    }
    fn turns(&self) -> bool {
        !self.hangs.load(Ordering::SeqCst)
    }
}

/// A control plane over a stub.
pub fn control(no_faults: bool) -> (Arc<Control>, Arc<Stub>) {
    let stub = Arc::new(Stub::default());
    let state = State::new(7, FaultBook::new(7, no_faults), 0, 0);
    let control = Control::new(state, stub.clone(), LogControl::default(), Box::new(|| {}));
    (Arc::new(control), stub)
}

/// Asks without naming a driver.
pub fn ask(control: &Control, request: Request) -> Reply {
    control.apply(&Envelope { driver: None, request })
}

/// Error number of a reply, 0 for success.
pub fn number(reply: &Reply) -> u32 {
    reply.as_ref().map_or_else(|failure: &Failure| failure.code.number(), |_: &Answer| 0)
}
