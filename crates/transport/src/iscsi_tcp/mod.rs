//! iSCSI over TCP on one reactor.
//!
//! A [`Server`] owns the connections of one reactor. Each turn it takes what the driver has finished and what other reactors sent, feeds the cores, carries
//! out their effects, and sends what became ready with one gathered send per connection.
//!
//! Ownership: a buffer is with a task, with a job (a store operation under way), or with the driver; never with two. A connection's slot is reused only
//! when everything it lent out has come back.

mod bundle;
mod copies;
mod effects;
mod functions;
mod link;
mod login;
mod receive;
mod send;
mod throttle;
mod work;

use scsi::planted::{Bug, is_planted};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use iscsi::Settings;
use iscsi::target::Session;
use reactor::{Back, Buffer, Done, Driver, Handle, Op, Token};
use slab::Slab;

use crate::digest::crc32c;
use crate::directory::DirectoryView;
use crate::hub::{Hub, LinkKey, Message};
use crate::limits::STAGING;
use crate::medium::Job;
use crate::model::{DEFAULT_GROUP, Model, Portal};
use crate::payload::Pools;
pub(crate) use login::Guest;

use bundle::{Bundle, pair};
use copies::Copy;
use effects::Parked;
use link::{Arrival, Fixed, Link, State};
use throttle::Throttle;
use work::Work;

/// 32 random bytes for each new connection: CHAP challenges are made from them. The simulator gives bytes of its seed.
pub type Entropy = Box<dyn FnMut() -> [u8; 32]>;

/// What a server has counted since it started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ServerCounters {
    /// Connections taken over.
    pub connections: u64,
    /// Logins accepted.
    pub logins: u64,
    /// SCSI commands handed to units.
    pub commands: u64,
    /// SCSI commands answered.
    pub responses: u64,
    /// Store operations begun.
    pub store_operations: u64,
    /// Bytes copied from a staging buffer into a task's buffer (data below 16 KiB, or that came with other PDUs).
    pub staged_bytes: u64,
    /// Bytes copied because a task's buffer had to grow.
    pub moved_bytes: u64,
    /// Tasks that had to wait for a buffer.
    pub parked: u64,
}

struct Listener {
    handle: Handle,
    portal: Portal,
    open: bool,
}

/// One reactor's share of the iSCSI target.
pub struct Server<D: Driver> {
    driver: D,
    hub: Arc<Hub>,
    index: usize,
    entropy: Entropy,
    model: Arc<Model>,
    edition: u64,
    listeners: Vec<Listener>,
    links: Slab<Link>,
    bundles: Slab<Bundle>,
    /// Sessions that have not ended, in `bundles`.
    nexuses: HashMap<u64, usize, Fixed>,
    next_serial: u32,
    pools: Pools,
    jobs: Slab<Option<Job>>,
    work: Work,
    /// Third-party copies of this reactor's nexuses.
    copies: Slab<Copy>,
    /// Copies whose next part begins in this turn.
    parts: VecDeque<usize>,
    /// Tasks that wait for a buffer, oldest first.
    parked: VecDeque<Parked>,
    /// Jobs that go on without the driver.
    runnable: VecDeque<usize>,
    /// Jobs that found no buffer: tried again when something has happened.
    starved: VecDeque<usize>,
    /// Connections whose core has something to say.
    stirred: VecDeque<usize>,
    /// Connections that may have something to send.
    touched: Vec<usize>,
    timers: BinaryHeap<Reverse<(u64, u32, u32)>>,
    mail: VecDeque<Message>,
    /// For other reactors.
    outbox: VecDeque<(usize, Message)>,
    done: Vec<Done>,
    counters: ServerCounters,
    throttle: Throttle,
    stopping: bool,
    /// Some connection keeps payloads that may be asked for again.
    keeps: bool,
}

/// Which operation a token belongs to; the slot is in the lower half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Accept = 1,
    Receive,
    Send,
    Close,
    Job,
    /// Nobody waits for it.
    Stray,
}

fn token(kind: Kind, slot: usize) -> Token {
    (kind as u64) << 32 | slot as u64 & 0xffff_ffff
}

fn untoken(token: Token) -> (Option<Kind>, usize) {
    let kinds = [Kind::Accept, Kind::Receive, Kind::Send, Kind::Close, Kind::Job, Kind::Stray];
    let kind = kinds.into_iter().find(|&kind| kind as u64 == token >> 32);
    (kind, usize::try_from(token & 0xffff_ffff).unwrap_or(usize::MAX))
}

impl<D: Driver> Server<D> {
    /// Reactor `index` of `hub`, on this thread.
    pub fn new(hub: Arc<Hub>, index: usize, driver: D, entropy: Entropy) -> Server<D> {
        let waker = driver.waker();
        hub.join(index, Box::new(move || waker.wake()));
        Server {
            driver,
            index,
            entropy,
            edition: hub.edition(),
            model: hub.model(),
            listeners: Vec::new(),
            links: Slab::new(),
            bundles: Slab::new(),
            nexuses: HashMap::default(),
            next_serial: 1,
            pools: Pools::new(hub.limits()),
            jobs: Slab::new(),
            work: Work::default(),
            copies: Slab::new(),
            parts: VecDeque::new(),
            parked: VecDeque::new(),
            runnable: VecDeque::new(),
            starved: VecDeque::new(),
            stirred: VecDeque::new(),
            touched: Vec::new(),
            timers: BinaryHeap::new(),
            mail: VecDeque::new(),
            outbox: VecDeque::new(),
            done: Vec::new(),
            counters: ServerCounters::default(),
            throttle: Throttle::default(),
            stopping: false,
            keeps: false,
            hub,
        }
    }

    /// Opens a portal before or between turns; port 0 chooses one. The caller puts the address into the model.
    pub fn listen(&mut self, portal: impl Into<Portal>) -> io::Result<SocketAddr> {
        let portal = portal.into();
        let (handle, address) = self.driver.listen(portal.address)?;
        self.accept_on(handle, Portal { address, ..portal });
        Ok(address)
    }

    fn accept_on(&mut self, handle: Handle, portal: Portal) {
        let listener = self.listeners.len();
        self.listeners.push(Listener { handle, portal, open: true });
        self.driver.submit(token(Kind::Accept, listener), Op::Accept { listener: handle });
    }

    /// Turns until `stop` is set (and the hub's [`Hub::wake_all`] called), then closes everything in order.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.turn(None);
        }
        self.shut_down();
    }

    /// Works, waits until something has happened or `until` (nanoseconds of the driver's clock) has come, and works again.
    pub fn turn(&mut self, until: Option<u64>) {
        self.prepare();
        let mut until = earlier(until, self.poll_timeout());
        if self.has_work() {
            until = Some(self.driver.now());
        }
        let mut done = std::mem::take(&mut self.done);
        self.driver.wait(&mut done, until);
        self.work.now = self.driver.now();
        // Before what has happened: who connects because a target is there finds it.
        self.refresh_model();
        for done in done.drain(..) {
            self.finish(done);
        }
        self.done = done;
        self.prepare();
    }

    /// When the next timer fires.
    pub fn poll_timeout(&self) -> Option<u64> {
        let link = self.timers.peek().map(|Reverse((at, _, _))| *at);
        earlier(link, self.work.poll_timeout())
    }

    /// What it has counted.
    pub fn counters(&self) -> ServerCounters {
        self.counters
    }

    /// The driver, for its counters.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// The driver, for the simulator.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Connections that are not yet completely closed, store operations under way, bytes of buffers lent out: all zero when everyone has gone.
    pub fn usage(&self) -> (usize, usize, usize) {
        (self.links.len(), self.jobs.len(), self.pools.payload.used() + self.pools.landing.used() + self.pools.reserve.used())
    }

    /// Bytes of payload buffers lent to tasks, on credit: zero when no task is left.
    pub fn payload_in_use(&self) -> usize {
        self.pools.payload.used() + self.pools.reserve.used()
    }

    /// Closes portals and connections, and waits a bounded time for what still runs.
    pub fn shut_down(&mut self) {
        self.stopping = true;
        for listener in 0..self.listeners.len() {
            self.close_listener(listener);
        }
        let slots: Vec<usize> = self.links.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.close(slot, false, "the target stops");
        }
        let deadline = self.driver.now().saturating_add(SHUTDOWN_TIMEOUT);
        while (!self.links.is_empty() || !self.jobs.is_empty()) && self.driver.now() < deadline {
            self.turn(Some(deadline));
        }
    }

    /// Everything that needs no waiting.
    fn prepare(&mut self) {
        self.work.now = self.driver.now();
        self.refresh_model();
        self.read_mail();
        self.fire_timers();
        self.settle();
        self.flush_touched();
        self.post();
    }

    fn has_work(&self) -> bool {
        !self.runnable.is_empty() || !self.parts.is_empty() || !self.stirred.is_empty() || !self.work.is_empty() || !self.outbox.is_empty()
    }

    fn refresh_model(&mut self) {
        let edition = self.hub.edition();
        if edition == self.edition {
            return;
        }
        self.edition = edition;
        self.model = self.hub.model();
        let indices: Vec<usize> = self.bundles.iter().filter(|(_, bundle)| bundle.tid.is_some()).map(|(index, _)| index).collect();
        for index in indices {
            self.refresh_target(index);
        }
    }

    fn finish(&mut self, done: Done) {
        let (kind, slot) = untoken(done.token);
        match kind {
            Some(Kind::Accept) => self.accepted(slot, done.result, done.back),
            Some(Kind::Receive) => self.received(slot, done.result, done.back),
            Some(Kind::Send) => self.sent(slot, done.result, done.back),
            Some(Kind::Close) => self.closed(slot),
            Some(Kind::Job) => self.stored(slot, done.result, done.back),
            Some(Kind::Stray) | None => {}
        }
    }

    fn accepted(&mut self, listener: usize, result: Result<usize, i32>, back: Back) {
        let Back::Accepted { socket, peer } = back else {
            if let Err(error) = result
                && self.listeners.get(listener).is_some_and(|listener| listener.open)
                && self.throttle.admits_warning(self.work.now)
            {
                tracing::warn!(error = %io::Error::from_raw_os_error(error), "a connection could not be accepted");
            }
            return;
        };
        let turned_away = if self.stopping || !self.model.online || self.model.targets.is_empty() {
            Some("no target is online")
        } else {
            match self.hub.place(peer.ip()) {
                Ok(reactor) => return self.hand_over(reactor, listener, socket, peer),
                Err(reason) => Some(reason),
            }
        };
        if self.throttle.admits(self.work.now) {
            tracing::info!(%peer, reason = turned_away, "connection turned away");
        }
        self.driver.submit(token(Kind::Stray, 0), Op::Close { handle: socket, reset: false });
    }

    fn hand_over(&mut self, reactor: usize, listener: usize, socket: Handle, peer: SocketAddr) {
        let group_tag = self.listeners.get(listener).map_or(DEFAULT_GROUP, |listener| listener.portal.group_tag);
        let Ok((local, remote)) = self.driver.peer(socket) else {
            // Gone already.
            self.hub.displace(peer.ip(), reactor);
            self.driver.submit(token(Kind::Stray, 0), Op::Close { handle: socket, reset: true });
            return;
        };
        if reactor == self.index {
            return self.adopt(socket, local, remote, group_tag);
        }
        let descriptor = self.driver.detach(socket);
        self.outbox.push_back((reactor, Message::Adopt { socket, descriptor, local, remote, group_tag }));
    }

    /// A new connection of this reactor.
    fn adopt(&mut self, socket: Handle, local: SocketAddr, remote: SocketAddr, group_tag: u16) {
        let staging = self.pools.landing.take(STAGING);
        let Some(staging) = staging.filter(|_| !self.stopping) else { return self.turn_away(socket, remote) };
        self.counters.connections += 1;
        let arrival = Arrival { socket, peer: remote, local, group_tag, counters: Arc::default() };
        let settings = Settings {
            crc32c,
            peer: remote,
            local,
            group_tag,
            entropy: (self.entropy)(),
            login_timeout: self.hub.limits().login_timeout,
            lookup_timeout: self.hub.limits().lookup_timeout,
            data_timeout: self.hub.limits().data_timeout,
            inline_limit: INLINE_LIMIT,
        };
        let slot = self.settle_in(&arrival, Session::new(settings, self.work.now), staging);
        self.arm_receive(slot);
    }

    /// There is no room for a connection that was placed here.
    fn turn_away(&mut self, socket: Handle, peer: SocketAddr) {
        self.hub.displace(peer.ip(), self.index);
        self.driver.submit(token(Kind::Stray, 0), Op::Close { handle: socket, reset: false });
    }

    /// A connection with a session of its own gets a slot; `staging` is where its bytes arrive.
    fn settle_in(&mut self, arrival: &Arrival, core: Session, staging: Buffer) -> usize {
        let entry = self.links.vacant_entry();
        let slot = entry.key();
        let key = LinkKey { slot: u32::try_from(slot).unwrap_or(u32::MAX), serial: self.next_serial };
        self.next_serial = self.next_serial.wrapping_add(1);
        let bundle = self.bundles.insert(Bundle::new(core, slot));
        entry.insert(Link::new(key, arrival, bundle, crc32c, staging));
        self.touch(slot);
        slot
    }

    fn close_listener(&mut self, index: usize) {
        if let Some(listener) = self.listeners.get_mut(index)
            && std::mem::take(&mut listener.open)
        {
            self.driver.submit(token(Kind::Stray, 0), Op::Close { handle: listener.handle, reset: false });
        }
    }

    fn read_mail(&mut self) {
        let mut mail = std::mem::take(&mut self.mail);
        self.hub.collect(self.index, &mut mail);
        for message in mail.drain(..) {
            match message {
                Message::Adopt { socket, descriptor, local, remote, group_tag } => {
                    let socket = descriptor.map_or(socket, |descriptor| self.driver.adopt(descriptor));
                    self.adopt(socket, local, remote, group_tag);
                }
                Message::Effect { cell, effect } => self.work.queue.push_back((cell, *effect)),
                Message::Attend { cell } => self.work.visit(&cell, |_, _| {}),
                Message::Join(guest) => self.receive_guest(*guest),
                Message::Persisted { cell, task, durable } => self.work.visit(&cell, |unit, now| unit.handle_persisted(task, durable, now)),
                Message::End { nexus, reason, waiter } => self.end_session(nexus, reason, waiter),
                Message::EndConnection { nexus, cid, reason } => self.end_connection(nexus, cid, reason),
                Message::Ended { link } => self.go_on(link),
                Message::Found { link, verdict } => self.target_found(link, verdict),
                // Whoever asked may have given up waiting.
                Message::Listen { portal, reply } => drop(reply.send(self.listen(portal))),
                Message::Take { socket, portal } => {
                    let handle = self.driver.adopt(socket);
                    self.accept_on(handle, portal);
                }
                Message::Unlisten { address, reply } => drop(reply.send(self.unlisten(address))),
            }
        }
        self.mail = mail;
    }

    fn unlisten(&mut self, address: SocketAddr) -> bool {
        let found = self.listeners.iter().position(|listener| listener.open && listener.portal.address == address);
        found.map(|index| self.close_listener(index)).is_some()
    }

    /// Sends what is for other reactors; a full mailbox keeps the order.
    fn post(&mut self) {
        while let Some((reactor, message)) = self.outbox.pop_front() {
            if let Err(message) = self.hub.send(reactor, message) {
                self.outbox.push_front((reactor, message));
                return;
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = self.work.now;
        self.work.fire_timers();
        while let Some(&Reverse((at, slot, serial))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            let slot = slot as usize;
            let Some(link) = self.links.get_mut(slot).filter(|link| link.key.serial == serial) else { continue };
            if link.armed == at {
                link.armed = u64::MAX;
            }
            if self.timeout_of(slot).is_some_and(|due| due <= now) {
                self.link_timeout(slot);
            }
            self.arm_timer(slot);
        }
    }

    fn link_timeout(&mut self, slot: usize) {
        let now = self.work.now;
        let Some(link) = self.links.get_mut(slot) else { return };
        match link.state {
            State::Open => {
                if let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) {
                    bundle.core.handle_timeout(link.seat, &DirectoryView::new(&self.model), now);
                }
                self.stir(slot);
            }
            State::Draining => self.close(slot, true, "the peer does not take the last answer"),
            State::Closing => {
                link.deadline = None;
                self.tell_end(slot);
            }
        }
    }

    fn timeout_of(&self, slot: usize) -> Option<u64> {
        let link = self.links.get(slot)?;
        let bundle = link.bundle.and_then(|index| self.bundles.get(index));
        link.timeout(bundle.and_then(|bundle| bundle.core.poll_timeout(link.seat)))
    }

    /// Sets the connection's timer when it has become earlier. Later ones are looked at when they fire.
    fn arm_timer(&mut self, slot: usize) {
        let due = self.timeout_of(slot);
        let Some(link) = self.links.get_mut(slot) else { return };
        if let Some(at) = due
            && at < link.armed
        {
            link.armed = at;
            self.timers.push(Reverse((at, link.key.slot, link.key.serial)));
        }
    }

    /// The core may have events and PDUs.
    fn stir(&mut self, slot: usize) {
        if let Some(link) = self.links.get_mut(slot)
            && !link.stirred
        {
            link.stirred = true;
            self.stirred.push_back(slot);
        }
        self.touch(slot);
    }

    fn touch(&mut self, slot: usize) {
        if let Some(link) = self.links.get_mut(slot)
            && !link.touched
        {
            link.touched = true;
            self.touched.push(slot);
        }
    }

    /// Ends a connection now. `reset`: with RST.
    fn close(&mut self, slot: usize, reset: bool, reason: &str) {
        let Some(link) = self.links.get_mut(slot).filter(|link| link.state != State::Closing) else { return };
        link.state = State::Closing;
        link.deadline = Some(self.work.now.saturating_add(self.hub.limits().reinstatement_timeout));
        if is_planted(Bug::BufferLeaks) {
            std::mem::forget(std::mem::take(&mut link.tasks));
        }
        link.login = None;
        link.asked = None;
        let (socket, peer) = (link.socket, link.peer);
        if self.throttle.admits(self.work.now) {
            tracing::info!(%peer, reason, "connection closed");
        }
        self.part(slot);
        if let Some(link) = self.links.get_mut(slot) {
            link.tasks.clear();
            link.by_tag.clear();
            link.kept.clear();
            link.kept_bytes = 0;
        }
        // Last: a peer that sees the end is no longer listed.
        self.driver.submit(token(Kind::Close, slot), Op::Close { handle: socket, reset });
        self.arm_timer(slot);
        self.try_forget(slot);
    }

    /// Ends a connection when what is queued has been sent.
    fn drain(&mut self, slot: usize, reason: &str) {
        if let Some(link) = self.links.get_mut(slot)
            && link.state == State::Open
        {
            tracing::debug!(peer = %link.peer, reason, "connection ends");
            link.state = State::Draining;
            link.deadline = Some(self.work.now.saturating_add(DRAIN_TIMEOUT));
            self.arm_timer(slot);
            self.touch(slot);
        }
    }

    fn closed(&mut self, slot: usize) {
        if let Some(link) = self.links.get_mut(slot) {
            link.closed = true;
        }
        self.try_forget(slot);
    }

    /// Frees the slot when nothing of the connection is lent out any more.
    fn try_forget(&mut self, slot: usize) {
        let Some(link) = self.links.get_mut(slot).filter(|link| link.state == State::Closing) else { return };
        let bundle = link.bundle.and_then(|index| self.bundles.get_mut(index));
        let still_ends = link.left && bundle.is_some_and(|bundle| bundle.core.has_tasks(link.seat));
        if link.jobs == 0 && !still_ends {
            self.tell_end(slot);
        }
        let Some(link) = self.links.get(slot) else { return };
        if link.jobs == 0 && link.closed && !link.receiving && !link.sending() {
            self.links.remove(slot);
        }
    }
}

fn earlier(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}

/// Text, NOP-Out and other data the core reads: twice the usual MaxRecvDataSegmentLength.
const INLINE_LIMIT: u32 = 64 << 10;

/// 5 s for the peer to take a logout response or a login refusal.
const DRAIN_TIMEOUT: u64 = 5_000_000_000;

/// 5 s for store operations to end at the end of the daemon.
const SHUTDOWN_TIMEOUT: u64 = 5_000_000_000;
