//! One connection: its socket, its protocol core, the PDU that is arriving, and the payload of its tasks.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use iscsi::framing::MAX_DATA_SEGMENT;
use iscsi::target::{Connection, Seat};
use iscsi::{Crc32c, FunctionCode, Landing, LoginSummary, Receiver};
use reactor::{Batch, Buffer, Handle};
use slab::Slab;
use store::Store;
use target::{NexusId, TaskRef};

use crate::hub::LinkKey;
use crate::limits::KEPT_BYTES;
use crate::model::UnitCell;
use crate::payload::Payload;
use crate::session::SessionCounters;

/// How far the end of a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Alive.
    Open,
    /// What is queued is still sent, then it closes.
    Draining,
    /// The driver closes the socket; operations on it and on stores come back.
    Closing,
}

/// A task of the connection, from its first byte to the last byte of its answer.
#[derive(Default)]
pub(crate) struct Task {
    /// The unit, once the command was delivered.
    pub cell: Option<Arc<UnitCell>>,
    /// The unit's name for it, once the unit asked something.
    pub reference: Option<TaskRef>,
    pub payload: Payload,
    /// The store of its first operation: a command ends where it began, whatever store the unit has by then.
    pub store: Option<Arc<dyn Store>>,
    /// The driver is receiving into the payload.
    pub away: bool,
    /// A fetch that waits for the payload to come back.
    pub wanted: Option<u32>,
    /// Length of the fetch, when the unit wants to see the bytes.
    pub inline: Option<u32>,
}

/// A task management function that several units work on.
pub(crate) struct PendingFunction {
    pub tag: u32,
    /// Its connection.
    pub link: LinkKey,
    pub remaining: usize,
    pub code: FunctionCode,
    /// TARGET COLD RESET: the sessions of the target end after the answer.
    pub cold: bool,
}

/// A connection on its way to a reactor.
pub(crate) struct Arrival {
    pub socket: Handle,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub group_tag: u16,
    pub counters: Arc<SessionCounters>,
}

pub(crate) struct Link {
    pub key: LinkKey,
    pub socket: Handle,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Portal group of the portal it came to.
    pub group_tag: u16,
    pub state: State,
    /// Its session in the server's `bundles`; `None`: it belongs to none any more.
    pub bundle: Option<usize>,
    /// Its place in that session.
    pub seat: Seat,
    /// Its CID, once it belongs to a session.
    pub cid: Option<u16>,
    /// The session of another reactor that it goes to, as soon as the driver has nothing of it.
    pub moving: Option<NexusId>,
    /// It is a connection of this session (TSIH) once the one with its CID has ended.
    pub joining: Option<u16>,
    /// It left a session that lives on, which must end its tasks.
    pub left: bool,
    pub receiver: Receiver,
    /// Where the segment of the PDU that is arriving goes.
    pub landing: Landing,
    /// The segment so far, when the core reads it.
    pub inline: Vec<u8>,
    /// None while the driver has it.
    pub staging: Option<Buffer>,
    pub receiving: bool,
    /// The receive under way fills a task's payload; its length when it was lent.
    pub direct: Option<usize>,
    /// The last data segment was one to receive in its place: so may be the next.
    pub large: bool,
    /// Headers received alone since the last one that brought a large data segment, or since the last receive of whatever was there.
    pub lone_headers: u32,
    /// None while the driver has it.
    pub batch: Option<Batch>,
    pub closed: bool,
    pub tasks: Slab<Task>,
    pub by_tag: HashMap<u32, usize, Fixed>,
    /// Payloads of answers that the initiator has not acknowledged, by StatSN: it may ask for them again. Empty at ErrorRecoveryLevel 0.
    pub kept: VecDeque<(u32, Payload)>,
    /// Bytes of them.
    pub kept_bytes: usize,
    /// A login that waits for an older session to end.
    pub login: Option<LoginSummary>,
    /// Names of target and initiator of a login that waits to hear where the target is.
    pub asked: Option<(String, String)>,
    /// Logins that wait for this connection to end.
    pub waiters: Vec<(usize, LinkKey)>,
    /// Store operations of its tasks that still run.
    pub jobs: usize,
    /// The session and those who wait were told that the connection is over.
    pub told: bool,
    /// Requests answered since the peer last took something.
    pub unread: u32,
    /// Events or PDUs may wait in the core.
    pub stirred: bool,
    pub touched: bool,
    /// When the end must have come.
    pub deadline: Option<u64>,
    /// Earliest timer that is set.
    pub armed: u64,
    pub counters: Arc<SessionCounters>,
}

impl Link {
    /// A connection that waits for its first Login Request; `staging` is where its bytes arrive.
    pub fn new(key: LinkKey, arrival: &Arrival, bundle: usize, crc32c: Crc32c, staging: Buffer) -> Link {
        Link {
            key,
            socket: arrival.socket,
            peer: arrival.peer,
            local: arrival.local,
            group_tag: arrival.group_tag,
            state: State::Open,
            bundle: Some(bundle),
            seat: Seat::default(),
            cid: None,
            moving: None,
            joining: None,
            left: false,
            receiver: Receiver::new(crc32c, MAX_DATA_SEGMENT),
            landing: Landing::None,
            inline: Vec::new(),
            staging: Some(staging),
            receiving: false,
            direct: None,
            large: false,
            lone_headers: 0,
            batch: Some(Batch::new()),
            closed: false,
            tasks: Slab::new(),
            by_tag: HashMap::default(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            login: None,
            asked: None,
            waiters: Vec::new(),
            jobs: 0,
            told: false,
            unread: 0,
            stirred: false,
            touched: false,
            deadline: None,
            armed: u64::MAX,
            counters: arrival.counters.clone(),
        }
    }

    /// Slot of a task.
    pub fn slot_of(&self, tag: u32) -> Option<usize> {
        self.by_tag.get(&tag).copied()
    }

    pub fn task(&mut self, tag: u32) -> Option<&mut Task> {
        let slot = self.slot_of(tag)?;
        self.tasks.get_mut(slot)
    }

    /// The task with this tag, made when there is none.
    pub fn task_or_new(&mut self, tag: u32) -> &mut Task {
        let slot = match self.slot_of(tag) {
            Some(slot) => slot,
            None => {
                let slot = self.tasks.insert(Task::default());
                self.by_tag.insert(tag, slot);
                slot
            }
        };
        &mut self.tasks[slot]
    }

    pub fn remove_task(&mut self, tag: u32) -> Option<Task> {
        let slot = self.by_tag.remove(&tag)?;
        self.tasks.try_remove(slot)
    }

    /// The payload of a task whose answer leaves now may be asked for again. The oldest go when there are too many bytes.
    pub fn keep(&mut self, stat_sn: u32, payload: Payload, core: &mut Connection) {
        self.kept_bytes += payload.len();
        self.kept.push_back((stat_sn, payload));
        while self.kept_bytes > KEPT_BYTES && self.let_go(core) {}
    }

    /// Gives the oldest kept payload back. False: there is none.
    pub fn let_go(&mut self, core: &mut Connection) -> bool {
        let Some((stat_sn, payload)) = self.kept.pop_front() else { return false };
        self.kept_bytes -= payload.len();
        core.let_go(stat_sn);
        true
    }

    /// Payloads of what is acknowledged are of no more use.
    pub fn release_acknowledged(&mut self, acknowledged: u32) {
        while let Some((_, payload)) = self.kept.pop_front_if(|(stat_sn, _)| acknowledged.wrapping_sub(*stat_sn).cast_signed() > 0) {
            self.kept_bytes -= payload.len();
        }
    }

    /// A kept payload.
    pub fn kept_payload(&mut self, stat_sn: u32) -> Option<&mut Payload> {
        self.kept.iter_mut().find(|(kept, _)| *kept == stat_sn).map(|(_, payload)| payload)
    }

    /// The driver has the batch.
    pub fn sending(&self) -> bool {
        self.batch.is_none()
    }

    /// When its timer has to fire; `core`: when its session's.
    pub fn timeout(&self, core: Option<u64>) -> Option<u64> {
        let core = if self.state == State::Open { core } else { None };
        match (core, self.deadline) {
            (Some(core), Some(deadline)) => Some(core.min(deadline)),
            (core, deadline) => core.or(deadline),
        }
    }
}

/// Maps by task tag and nexus number: no secret, no randomness (runs must repeat). A peer that chooses colliding tags slows only itself, within its command window.
pub(crate) type Fixed = BuildHasherDefault<Mix>;

#[derive(Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio in 64 bits: neighbouring numbers land far apart.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
