//! What the reactors of one daemon and its control thread share: the model, the sessions, and a mailbox for each reactor.
//!
//! Lock order: the registry of sessions first, then one unit. A reactor never takes the registry while it holds a unit. Nothing here waits for I/O, except
//! the control thread's own calls about portals.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use iscsi::{LoginStatus, LoginSummary};
use scsi::Asc;
use target::{Effect, NexusId, TaskRef};

use crate::iscsi_tcp::Guest;
use crate::limits::{Limits, MAILBOX};
use crate::model::{Model, Portal, SharedModel, UnitCell};
use crate::persist::{Persister, Receipt};
use crate::redirect::{Question, Redirector, Ticket, Verdict};
use crate::session::{Admission, Registry, SessionCounters, SessionView, Visit};

/// A number of a reactor's connection that outlives the reuse of its slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkKey {
    /// Slot.
    pub slot: u32,
    /// Serial number of the connection in its reactor.
    pub serial: u32,
}

/// What reactors and the control thread tell a reactor.
pub(crate) enum Message {
    /// An accepted socket is yours. `descriptor`: unless the driver's handles are good for all reactors (the simulator's).
    Adopt { socket: reactor::Handle, descriptor: Option<OwnedFd>, local: SocketAddr, remote: SocketAddr, group_tag: u16 },
    /// Carry this out: it concerns a nexus of yours.
    Effect { cell: Arc<UnitCell>, effect: Box<Effect> },
    /// Look at this unit: someone else moved it.
    Attend { cell: Arc<UnitCell> },
    /// End a session; tell who waits for it.
    End { nexus: NexusId, reason: &'static str, waiter: Option<(usize, LinkKey)> },
    /// A login for a session of yours.
    Join(Box<Guest>),
    /// End one connection of a session.
    EndConnection { nexus: NexusId, cid: u16, reason: &'static str },
    /// The session, or the connection, that a login of yours waited for is gone.
    Ended { link: LinkKey },
    /// Where the target of a login of yours is.
    Found { link: LinkKey, verdict: Verdict },
    /// What this unit wanted to keep is durable, or could not be written.
    Persisted { cell: Arc<UnitCell>, task: TaskRef, durable: bool },
    /// Open a portal.
    Listen { portal: Portal, reply: SyncSender<io::Result<SocketAddr>> },
    /// A portal that is open already.
    Take { socket: OwnedFd, portal: Portal },
    /// Close a portal.
    Unlisten { address: SocketAddr, reply: SyncSender<bool> },
}

/// Wakes a reactor from another thread.
pub type Wake = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Mailbox {
    queue: Mutex<VecDeque<Message>>,
    filled: AtomicBool,
    /// Turns of its reactor.
    turns: AtomicU64,
    wake: OnceLock<Wake>,
}

/// Shared by all reactors and the control thread of one daemon.
pub struct Hub {
    model: SharedModel,
    limits: Limits,
    registry: Mutex<Registry>,
    mailboxes: Vec<Mailbox>,
    connections: Mutex<Connections>,
    redirector: OnceLock<Arc<dyn Redirector>>,
    persister: OnceLock<Arc<dyn Persister>>,
    /// Changes with every published model: one load tells a reactor that it need not look.
    edition: AtomicU64,
    /// Changes with every published model and every session that comes or goes.
    changes: AtomicU64,
    /// Called after every such change.
    observer: OnceLock<Wake>,
}

#[derive(Default)]
struct Connections {
    total: usize,
    by_peer: BTreeMap<IpAddr, usize>,
    by_reactor: Vec<usize>,
}

/// How long the control thread waits for a reactor's answer; a reactor turns in microseconds unless its thread has died.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks at a reactor that has not turned yet.
const TURN_STEP: Duration = Duration::from_millis(1);

// What the control thread does.
impl Hub {
    /// A hub for `reactors` reactors (1 to 256), numbered from 0. Reactor 0 owns the portals.
    pub fn new(model: Model, reactors: usize, limits: Limits) -> Arc<Hub> {
        let reactors = reactors.clamp(1, 256);
        Arc::new(Hub {
            model: ArcSwap::from_pointee(model),
            limits,
            registry: Mutex::new(Registry::new()),
            mailboxes: (0..reactors).map(|_| Mailbox::default()).collect(),
            connections: Mutex::new(Connections { by_reactor: vec![0; reactors], ..Connections::default() }),
            redirector: OnceLock::new(),
            persister: OnceLock::new(),
            edition: AtomicU64::new(1),
            changes: AtomicU64::new(1),
            observer: OnceLock::new(),
        })
    }

    /// The model of now.
    pub fn model(&self) -> Arc<Model> {
        self.model.load_full()
    }

    /// Replaces the model. There is one writer: the control thread. Reactors see it from their next turn on.
    pub fn publish(&self, model: Model) {
        self.model.store(Arc::new(model));
        self.edition.fetch_add(1, Ordering::Release);
        self.wake_all();
        self.note_change();
    }

    /// Number of the last change of model or sessions: it only grows.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Has `observer` called after every change that [`changes`](Hub::changes) counts, on the thread that made it, reactors among them: it must not wait.
    /// The first one stays.
    pub fn observe(&self, observer: Wake) {
        let _ = self.observer.set(observer);
    }

    /// Counts a change, and calls the observer.
    pub fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        if let Some(observer) = self.observer.get() {
            observer();
        }
    }

    /// Wakes all reactors, so that they see a stop flag.
    pub fn wake_all(&self) {
        for mailbox in &self.mailboxes {
            mailbox.wake();
        }
    }

    /// Who finds out where targets with a program are. Once, before the first login; without one these logins end with 0300.
    pub fn set_redirector(&self, redirector: Arc<dyn Redirector>) {
        // A second one is a programming error that tests show at once: the first stays.
        let _ = self.redirector.set(redirector);
    }

    /// Who keeps what units ask to be kept. Once, before the first login; without one nothing can be kept.
    pub fn set_persister(&self, persister: Arc<dyn Persister>) {
        // A second one is a programming error that tests show at once: the first stays.
        let _ = self.persister.set(persister);
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Number of reactors.
    pub fn reactors(&self) -> usize {
        self.mailboxes.len()
    }

    /// All sessions, discovery sessions too, in order of their SID.
    pub fn sessions(&self) -> Vec<SessionView> {
        self.registry().views()
    }

    /// True when a session of the target exists.
    pub fn has_sessions(&self, tid: i32) -> bool {
        self.registry().of_target(tid).next().is_some()
    }

    /// Ends the connection, and with the last one the session. False when there is none. The end itself comes with the reactor's next turn.
    pub fn close_connection(&self, tid: i32, sid: u16, cid: u16) -> bool {
        let nexus = self.registry().of_target(tid).find(|session| session.sid == sid && session.has(cid)).map(|session| session.nexus);
        if let Some(nexus) = nexus {
            self.force(reactor_of(nexus), Message::EndConnection { nexus, cid, reason: "closed by the administrator" });
        }
        nexus.is_some()
    }

    /// Ends all sessions of a target; their number.
    pub fn close_target_sessions(&self, tid: i32) -> usize {
        let nexuses: Vec<NexusId> = self.registry().of_target(tid).map(|session| session.nexus).collect();
        nexuses.into_iter().filter(|&nexus| self.end(nexus, "target closed by the administrator")).count()
    }

    /// Opens a portal; port 0 chooses one. The answer is the address that listens. Waits for reactor 0, which must run.
    pub fn add_portal(&self, portal: Portal) -> io::Result<SocketAddr> {
        let (reply, answer) = sync_channel(1);
        self.force(0, Message::Listen { portal, reply });
        answer.recv_timeout(ANSWER_TIMEOUT).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Takes a socket that listens on its address as a portal.
    pub fn take_portal(&self, socket: OwnedFd, portal: Portal) {
        self.force(0, Message::Take { socket, portal });
    }

    /// True when every reactor has turned within `patience` from now: what a watchdog wants to know.
    pub fn turns(&self, patience: Duration) -> bool {
        let before: Vec<u64> = self.mailboxes.iter().map(|mailbox| mailbox.turns.load(Ordering::Acquire)).collect();
        self.wake_all();
        let start = Instant::now();
        let mut waiting = self.mailboxes.iter().zip(before).peekable();
        while let Some((mailbox, before)) = waiting.peek() {
            if mailbox.turns.load(Ordering::Acquire) != *before {
                waiting.next();
            } else if start.elapsed() < patience {
                std::thread::park_timeout(TURN_STEP);
            } else {
                return false;
            }
        }
        true
    }

    /// Closes a portal; its connections stay. False when it does not listen. Waits for reactor 0, which must run.
    pub fn remove_portal(&self, address: SocketAddr) -> bool {
        let (reply, answer) = sync_channel(1);
        self.force(0, Message::Unlisten { address, reply });
        answer.recv_timeout(ANSWER_TIMEOUT).unwrap_or(false)
    }

    /// Tells a reactor to carry out what a change by the control thread queued in the unit, and to look at its timers.
    pub fn attend(&self, cell: &Arc<UnitCell>) {
        self.force(0, Message::Attend { cell: cell.clone() });
    }

    /// After a model with the new unit was published: attaches the sessions of the target, and tells them through the other units (3F0E).
    pub fn unit_added(&self, tid: i32, cell: &Arc<UnitCell>) {
        let mut registry = self.registry();
        registry.attach_unit(tid, cell);
        drop(registry);
        self.inventory_changed(tid, cell);
    }

    /// After a model without the unit was published: detaches the sessions (their tasks on it end), and tells them through the other units (3F0E).
    pub fn unit_removed(&self, tid: i32, cell: &Arc<UnitCell>) {
        let mut registry = self.registry();
        registry.detach_unit(tid, cell);
        cell.lock().retire();
        drop(registry);
        self.attend(cell);
        self.inventory_changed(tid, cell);
    }

    fn inventory_changed(&self, tid: i32, changed: &Arc<UnitCell>) {
        if !self.has_sessions(tid) {
            return;
        }
        let model = self.model();
        let Some(entry) = model.targets.get(&tid) else { return };
        for cell in entry.units.values().filter(|cell| !Arc::ptr_eq(cell, changed)) {
            cell.lock().attention_all(REPORTED_LUNS_DATA_HAS_CHANGED, None);
        }
    }

    fn end(&self, nexus: NexusId, reason: &'static str) -> bool {
        self.force(reactor_of(nexus), Message::End { nexus, reason, waiter: None });
        true
    }

    /// Like `send`, for the few messages of the control thread and of ended sessions: they may exceed the bound, since each is caused by a person or by
    /// the end of something bounded.
    pub(crate) fn force(&self, reactor: usize, message: Message) {
        if let Some(mailbox) = self.mailboxes.get(reactor) {
            mailbox.queue().push_back(message);
            mailbox.notify();
        }
    }
}

// What reactors do.
impl Hub {
    /// A reactor starts: this wakes it.
    pub(crate) fn join(&self, reactor: usize, wake: Wake) {
        if let Some(mailbox) = self.mailboxes.get(reactor) {
            // A reactor that is built twice keeps its first waker: the second is a programming error that tests show at once.
            let _ = mailbox.wake.set(wake);
        }
    }

    pub(crate) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// Puts a message into a reactor's mailbox, or gives it back when that is full.
    pub(crate) fn send(&self, reactor: usize, message: Message) -> Result<(), Message> {
        let Some(mailbox) = self.mailboxes.get(reactor) else { return Ok(()) };
        let mut queue = mailbox.queue();
        if queue.len() >= MAILBOX {
            return Err(message);
        }
        queue.push_back(message);
        drop(queue);
        mailbox.notify();
        Ok(())
    }

    /// Moves everything that waits for this reactor to `into`.
    pub(crate) fn collect(&self, reactor: usize, into: &mut VecDeque<Message>) {
        let Some(mailbox) = self.mailboxes.get(reactor) else { return };
        // One writer: no read-modify-write is needed.
        mailbox.turns.store(mailbox.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        if mailbox.filled.load(Ordering::Acquire) && mailbox.filled.swap(false, Ordering::AcqRel) {
            into.append(&mut mailbox.queue());
        }
    }

    /// Counts a new connection and chooses the reactor with the fewest; `None` when a limit forbids it, with the limit's name.
    pub(crate) fn place(&self, peer: IpAddr) -> Result<usize, &'static str> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.total >= self.limits.connections {
            return Err("limit of connections");
        }
        if connections.by_peer.get(&peer).is_some_and(|&count| count >= self.limits.connections_per_peer) {
            return Err("limit of connections of one address");
        }
        connections.total += 1;
        *connections.by_peer.entry(peer).or_default() += 1;
        let fewest = connections.by_reactor.iter().enumerate().min_by_key(|&(_, count)| count).map_or(0, |(index, _)| index);
        connections.by_reactor[fewest] += 1;
        Ok(fewest)
    }

    /// A placed connection is gone.
    pub(crate) fn displace(&self, peer: IpAddr, reactor: usize) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.total = connections.total.saturating_sub(1);
        if let Some(count) = connections.by_reactor.get_mut(reactor) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = connections.by_peer.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                connections.by_peer.remove(&peer);
            }
        }
    }

    /// A login of this connection wants to know where its target is.
    pub(crate) fn ask(self: &Arc<Hub>, question: Question, reactor: usize, link: LinkKey) {
        let ticket = Ticket::to_login(self.clone(), reactor, link);
        match self.redirector.get() {
            Some(redirector) => redirector.ask(question, ticket),
            None => ticket.answer(Verdict::Failed("nobody runs programs here".into())),
        }
    }

    /// A unit wants something kept.
    pub(crate) fn persist(self: &Arc<Hub>, cell: Arc<UnitCell>, task: TaskRef, bytes: Vec<u8>, reactor: usize) {
        let receipt = Receipt::to_task(self.clone(), reactor, cell.clone(), task);
        match self.persister.get() {
            Some(persister) => persister.persist(cell, bytes, receipt),
            None => receipt.answer(false),
        }
    }

    /// A placed connection goes from one reactor to another.
    pub(crate) fn relocate(&self, from: usize, to: usize) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.by_reactor.get_mut(from) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = connections.by_reactor.get_mut(to) {
            *count += 1;
        }
    }

    /// A login wants its session. `visit` tells where.
    pub(crate) fn admit(&self, summary: &LoginSummary, visit: Visit, counters: &Arc<SessionCounters>) -> Admission {
        let mut registry = self.registry();
        // Loaded under the lock: a unit that is published later finds this session in the registry.
        let model = self.model();
        let admission = registry.admit(summary, visit, counters, &model, &self.limits);
        drop(registry);
        if matches!(admission, Admission::Accepted { .. }) {
            self.note_change();
        }
        admission
    }

    /// A login that [`Admission::Joins`] sent to its session's reactor: its TSIH when the session still takes it. It replaces one with the same CID.
    pub(crate) fn join_session(
        &self,
        nexus: NexusId,
        summary: &LoginSummary,
        visit: Visit,
        counters: &Arc<SessionCounters>,
    ) -> Result<u16, (LoginStatus, &'static str)> {
        let tsih = self.registry().join(nexus, summary, visit, counters)?;
        self.note_change();
        Ok(tsih)
    }

    /// A connection of a session that lives on is gone.
    pub(crate) fn leave(&self, nexus: NexusId, counters: &Arc<SessionCounters>) {
        self.registry().leave(nexus, counters);
        self.note_change();
    }

    /// A session is ending: the units it was attached to; the reactor detaches it from them. It is no longer shown, but its initiator port cannot log in
    /// before [`Hub::forget`].
    pub(crate) fn detach(&self, nexus: NexusId) -> Vec<Arc<UnitCell>> {
        let units = self.registry().detach(nexus);
        self.note_change();
        units
    }

    /// Nothing of the session can reach a store any more.
    pub(crate) fn forget(&self, nexus: NexusId) {
        self.registry().remove(nexus);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the reactor once for any number of messages.
    fn notify(&self) {
        if !self.filled.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

/// The reactor that runs a nexus: the low byte of its number.
pub(crate) fn reactor_of(nexus: NexusId) -> usize {
    usize::from(nexus.0.to_le_bytes()[0])
}

/// The code of the unit attention: units of the target came or went.
pub(crate) const REPORTED_LUNS_DATA_HAS_CHANGED: Asc = Asc(0x3f0e);
