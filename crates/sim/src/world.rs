//! The simulated machine room: one clock, one event heap, links between initiators and reactors, disks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;

use reactor::{Back, Done, Handle, Op, Token};

use crate::disk::Disk;
use crate::random::Random;

/// Errors as the kernel numbers them.
const ECONNRESET: i32 = 104;
const ECANCELED: i32 = 125;
const EPIPE: i32 = 32;
const EIO: i32 = 5;
const EBADF: i32 = 9;

/// An initiator of the run.
pub type ClientId = usize;

/// What reaches an initiator.
#[derive(Debug)]
pub enum ToClient {
    /// The connection stands.
    Connected,
    /// Bytes.
    Bytes(Vec<u8>),
    /// The connection is gone.
    Closed,
    /// A timer of the initiator's own.
    Wake,
}

/// How the network of a run behaves.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Shortest and longest latency of a segment, in nanoseconds.
    pub latency: (u64, u64),
    /// Largest segment; smaller ones happen.
    pub segment: u64,
    /// Shortest and longest time of a disk operation, in nanoseconds.
    pub disk: (u64, u64),
    /// Percent of disk writes and syncs that fail with EIO.
    pub disk_errors: u64,
}

#[derive(Debug)]
enum Event {
    Connect { listener: SocketAddr, client: ClientId, link: u64 },
    ToServer { socket: Handle, bytes: Vec<u8> },
    EndToServer { socket: Handle },
    ToClient { client: ClientId, link: u64, what: ToClient },
    Finish { reactor: usize, operation: u64 },
}

struct Scheduled {
    time: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.time, self.order) == (other.time, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.time, self.order).cmp(&(other.time, other.order))
    }
}

struct Socket {
    reactor: usize,
    client: ClientId,
    link: u64,
    inbox: VecDeque<u8>,
    ended: bool,
    broken: bool,
    receiving: Option<(Token, Op)>,
    /// When the last segment to the client arrives: later ones are not faster.
    to_client: u64,
    local: SocketAddr,
    peer: SocketAddr,
}

struct Listener {
    reactor: usize,
    address: SocketAddr,
    armed: Option<Token>,
}

/// Everything that is simulated, seen by all drivers of a run.
pub struct World {
    now: u64,
    order: u64,
    next_handle: Handle,
    next_operation: u64,
    next_link: u64,
    random: Random,
    /// How it behaves.
    pub weather: Weather,
    events: BinaryHeap<Reverse<Scheduled>>,
    sockets: BTreeMap<Handle, Socket>,
    listeners: BTreeMap<Handle, Listener>,
    disks: BTreeMap<Handle, Disk>,
    operations: BTreeMap<u64, (Token, Op)>,
    done: Vec<Vec<Done>>,
    links: BTreeMap<u64, Handle>,
    to_server: BTreeMap<u64, u64>,
    clients: VecDeque<(ClientId, ToClient)>,
    current_link: BTreeMap<ClientId, u64>,
    digest: u64,
    /// Prints every event.
    pub trace: bool,
}

impl World {
    /// An empty room with `reactors` reactors.
    pub fn new(seed: u64, reactors: usize, weather: Weather) -> World {
        World {
            now: 1_000_000_000,
            order: 0,
            next_handle: 100,
            next_operation: 0,
            next_link: 1,
            random: Random::new(seed, 1),
            weather,
            events: BinaryHeap::new(),
            sockets: BTreeMap::new(),
            listeners: BTreeMap::new(),
            disks: BTreeMap::new(),
            operations: BTreeMap::new(),
            done: (0..reactors).map(|_| Vec::new()).collect(),
            links: BTreeMap::new(),
            to_server: BTreeMap::new(),
            clients: VecDeque::new(),
            current_link: BTreeMap::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            trace: false,
        }
    }

    /// The clock, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// A number that two runs share exactly when the same bytes travelled at the same times.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// A disk of zeros.
    pub fn add_disk(&mut self, bytes: usize) -> Handle {
        let handle = self.handle();
        self.disks.insert(handle, Disk::new(bytes));
        handle
    }

    /// What the disk holds.
    pub fn disk_content(&self, disk: Handle, into: &mut [u8]) {
        if let Some(disk) = self.disks.get(&disk) {
            disk.read(0, into);
        }
    }

    /// Next thing that reaches an initiator.
    pub fn poll_client(&mut self) -> Option<(ClientId, ToClient)> {
        self.clients.pop_front()
    }

    /// Dones waiting for a reactor.
    pub fn has_done(&self, reactor: usize) -> bool {
        !self.done[reactor].is_empty()
    }

    /// Takes them.
    pub fn take_done(&mut self, reactor: usize, into: &mut Vec<Done>) {
        into.append(&mut self.done[reactor]);
    }

    /// Time of the next event.
    pub fn next_event(&self) -> Option<u64> {
        self.events.peek().map(|Reverse(scheduled)| scheduled.time)
    }

    /// Moves the clock to `time` and lets what is due happen.
    pub fn advance(&mut self, time: u64) {
        self.now = self.now.max(time);
        while let Some(Reverse(scheduled)) = self.events.peek() {
            if scheduled.time > self.now {
                break;
            }
            if let Some(Reverse(scheduled)) = self.events.pop() {
                self.happen(scheduled.event);
            }
        }
    }

    /// An initiator calls.
    pub fn connect(&mut self, client: ClientId, listener: SocketAddr) {
        let link = self.next_link;
        self.next_link += 1;
        self.current_link.insert(client, link);
        let time = self.now + self.latency();
        self.schedule(time, Event::Connect { listener, client, link });
    }

    /// An initiator sends.
    pub fn client_send(&mut self, client: ClientId, bytes: &[u8]) {
        let Some(&link) = self.current_link.get(&client) else { return };
        let Some(&socket) = self.links.get(&link) else { return };
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = self.segment(rest.len());
            let time = (self.now + self.latency()).max(self.to_server.get(&link).copied().unwrap_or(0));
            self.to_server.insert(link, time);
            self.schedule(time, Event::ToServer { socket, bytes: rest[..len].to_vec() });
            rest = &rest[len..];
        }
    }

    /// An initiator's connection breaks: both ends see a reset.
    pub fn client_reset(&mut self, client: ClientId) {
        let Some(link) = self.current_link.remove(&client) else { return };
        if let Some(socket) = self.links.remove(&link) {
            self.break_socket(socket);
        }
    }

    /// An initiator closes its side after what it sent.
    pub fn client_close(&mut self, client: ClientId) {
        let Some(link) = self.current_link.remove(&client) else { return };
        if let Some(&socket) = self.links.get(&link) {
            let time = (self.now + self.latency()).max(self.to_server.get(&link).copied().unwrap_or(0));
            self.schedule(time, Event::EndToServer { socket });
        }
    }

    /// A timer of an initiator.
    pub fn client_wake(&mut self, client: ClientId, after: u64) {
        self.schedule(self.now + after, Event::ToClient { client, link: 0, what: ToClient::Wake });
    }

    /// The machine with the reactors dies: connections break, operations under way on disks may have happened or not, what was volatile survives in part.
    pub fn power_cut(&mut self) {
        let under_way: Vec<Op> = std::mem::take(&mut self.operations).into_values().map(|(_, op)| op).collect();
        for op in under_way {
            if let Op::Write { file, offset, source, at, len, .. } = op
                && self.random.chance(50)
                && let Some(disk) = self.disks.get_mut(&file)
            {
                disk.write(offset, &source[at..at + len], false);
            }
        }
        for disk in self.disks.values_mut() {
            disk.power_cut(&mut self.random);
        }
        let clients: Vec<ClientId> = self.current_link.keys().copied().collect();
        for client in clients {
            self.current_link.remove(&client);
            self.clients.push_back((client, ToClient::Closed));
        }
        self.events.retain(|Reverse(scheduled)| matches!(scheduled.event, Event::ToClient { what: ToClient::Wake, .. }));
        self.sockets.clear();
        self.listeners.clear();
        self.links.clear();
        self.done.iter_mut().for_each(Vec::clear);
    }

    /// An operation of a reactor.
    pub fn submit(&mut self, reactor: usize, token: Token, op: Op) {
        match op {
            Op::Accept { listener } => match self.listeners.get_mut(&listener) {
                Some(found) => found.armed = Some(token),
                None => self.finish(reactor, token, Err(EBADF), Back::None),
            },
            Op::Recv { socket, .. } => {
                match self.sockets.get_mut(&socket) {
                    Some(found) => {
                        // Whoever receives owns the socket from now on.
                        found.reactor = reactor;
                        found.receiving = Some((token, op));
                    }
                    None => return self.give_back(reactor, token, op, EBADF),
                }
                self.feed(socket);
            }
            Op::Send { socket, ref batch } => {
                if self.sockets.get(&socket).is_none_or(|socket| socket.broken) {
                    return self.give_back(reactor, token, op, EPIPE);
                }
                let bytes: Vec<u8> = (0..batch.pieces()).filter_map(|index| batch.piece(index)).flatten().copied().collect();
                self.server_sends(socket, &bytes);
                let delay = if self.random.chance(20) { self.latency() * 3 } else { 1000 };
                self.later(reactor, token, op, delay);
            }
            Op::Close { handle, reset } => self.close(reactor, token, handle, reset),
            Op::Poll { .. } => {}
            Op::Sync { file } => {
                let key = self.next_operation;
                if let Some(disk) = self.disks.get_mut(&file) {
                    disk.sync_begin(key);
                }
                let delay = self.disk_time() * 4;
                self.later(reactor, token, op, delay);
            }
            Op::Read { .. } | Op::Write { .. } | Op::Discard { .. } | Op::Zero { .. } => {
                let delay = self.disk_time();
                self.later(reactor, token, op, delay);
            }
        }
    }

    /// A listener of a reactor.
    pub fn listen(&mut self, reactor: usize, address: SocketAddr) -> Handle {
        let handle = self.handle();
        self.listeners.insert(handle, Listener { reactor, address, armed: None });
        handle
    }

    /// Addresses of a socket: local, remote.
    pub fn peer(&self, socket: Handle) -> Option<(SocketAddr, SocketAddr)> {
        self.sockets.get(&socket).map(|socket| (socket.local, socket.peer))
    }

    fn handle(&mut self) -> Handle {
        self.next_handle += 1;
        self.next_handle
    }

    fn latency(&mut self) -> u64 {
        let (low, high) = self.weather.latency;
        self.random.between(low, high)
    }

    fn disk_time(&mut self) -> u64 {
        let (low, high) = self.weather.disk;
        self.random.between(low, high)
    }

    fn segment(&mut self, available: usize) -> usize {
        let most = (available as u64).min(self.weather.segment);
        let len = if self.random.chance(30) { self.random.between(1, most) } else { most };
        len as usize
    }

    fn schedule(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse(Scheduled { time, order: self.order, event }));
    }

    fn later(&mut self, reactor: usize, token: Token, op: Op, delay: u64) {
        let operation = self.next_operation;
        self.next_operation += 1;
        self.operations.insert(operation, (token, op));
        self.schedule(self.now + delay, Event::Finish { reactor, operation });
    }

    fn finish(&mut self, reactor: usize, token: Token, result: Result<usize, i32>, back: Back) {
        self.done[reactor].push(Done { token, result, back });
    }

    fn give_back(&mut self, reactor: usize, token: Token, op: Op, error: i32) {
        let back = match op {
            Op::Recv { buffer, .. } | Op::Read { buffer, .. } => Back::Buffer(buffer),
            Op::Send { batch, .. } => Back::Batch(batch),
            Op::Write { source, .. } => Back::Shared(source),
            _ => Back::None,
        };
        self.finish(reactor, token, Err(error), back);
    }

    fn note(&mut self, bytes: &[u8]) {
        let mut digest = self.digest ^ self.now;
        for &byte in bytes {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.digest = digest;
    }

    fn server_sends(&mut self, handle: Handle, bytes: &[u8]) {
        self.note(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = self.segment(rest.len());
            let latency = self.latency();
            let Some(socket) = self.sockets.get_mut(&handle) else { return };
            socket.to_client = socket.to_client.max(self.now + latency);
            let (time, client, link) = (socket.to_client, socket.client, socket.link);
            self.schedule(time, Event::ToClient { client, link, what: ToClient::Bytes(rest[..len].to_vec()) });
            rest = &rest[len..];
        }
    }

    fn happen(&mut self, event: Event) {
        if self.trace {
            println!("{:>12} {}", self.now - 1_000_000_000, describe(&event));
        }
        match event {
            Event::Connect { listener, client, link } => self.connected(listener, client, link),
            Event::ToServer { socket, bytes } => {
                self.note(&bytes);
                if let Some(found) = self.sockets.get_mut(&socket) {
                    found.inbox.extend(bytes);
                }
                self.feed(socket);
            }
            Event::EndToServer { socket } => {
                if let Some(found) = self.sockets.get_mut(&socket) {
                    found.ended = true;
                }
                self.feed(socket);
            }
            Event::ToClient { client, link, what } => {
                if link == 0 || self.current_link.get(&client) == Some(&link) {
                    if matches!(what, ToClient::Closed) {
                        self.current_link.remove(&client);
                    }
                    self.clients.push_back((client, what));
                }
            }
            Event::Finish { reactor, operation } => self.finish_operation(reactor, operation),
        }
    }

    fn connected(&mut self, address: SocketAddr, client: ClientId, link: u64) {
        let found =
            self.listeners.values().find(|listener| listener.address == address).and_then(|listener| Some((listener.reactor, listener.armed?)));
        let Some((reactor, token)) = found else {
            let time = self.now + 1000;
            return self.schedule(time, Event::ToClient { client, link, what: ToClient::Closed });
        };
        let handle = self.handle();
        let peer = SocketAddr::new([10, 0, 0, 1 + client as u8].into(), 40_000 + (link % 20_000) as u16);
        let socket = Socket {
            reactor,
            client,
            link,
            inbox: VecDeque::new(),
            ended: false,
            broken: false,
            receiving: None,
            to_client: 0,
            local: address,
            peer,
        };
        self.sockets.insert(handle, socket);
        self.links.insert(link, handle);
        self.finish(reactor, token, Ok(0), Back::Accepted { socket: handle, peer });
        let time = self.now + self.latency();
        self.schedule(time, Event::ToClient { client, link, what: ToClient::Connected });
    }

    /// Gives a waiting receive what has arrived.
    fn feed(&mut self, handle: Handle) {
        let Some(socket) = self.sockets.get_mut(&handle) else { return };
        let ready = !socket.inbox.is_empty() || socket.ended || socket.broken;
        if !ready {
            return;
        }
        let Some((token, Op::Recv { mut buffer, from, .. })) = socket.receiving.take() else { return };
        let reactor = socket.reactor;
        if socket.broken {
            return self.finish(reactor, token, Err(ECONNRESET), Back::Buffer(buffer));
        }
        let count = socket.inbox.len().min(buffer.len() - from);
        for (place, byte) in buffer[from..].iter_mut().zip(socket.inbox.drain(..count)) {
            *place = byte;
        }
        self.finish(reactor, token, Ok(count), Back::Buffer(buffer));
    }

    fn break_socket(&mut self, handle: Handle) {
        if let Some(socket) = self.sockets.get_mut(&handle) {
            socket.broken = true;
            socket.inbox.clear();
        }
        self.feed(handle);
    }

    fn close(&mut self, reactor: usize, token: Token, handle: Handle, reset: bool) {
        self.listeners.remove(&handle);
        if let Some(socket) = self.sockets.remove(&handle) {
            if let Some((token, op)) = socket.receiving {
                self.give_back(reactor, token, op, ECANCELED);
            }
            let (client, link) = (socket.client, socket.link);
            self.links.remove(&link);
            if reset {
                self.events.retain(|Reverse(scheduled)| !matches!(&scheduled.event, Event::ToClient { link: found, .. } if *found == link));
            }
            let time = socket.to_client.max(self.now + self.latency());
            self.schedule(time, Event::ToClient { client, link, what: ToClient::Closed });
        }
        self.finish(reactor, token, Ok(0), Back::None);
    }

    fn finish_operation(&mut self, reactor: usize, operation: u64) {
        let Some((token, op)) = self.operations.remove(&operation) else { return };
        let fails = matches!(op, Op::Write { .. } | Op::Sync { .. }) && self.random.chance(self.weather.disk_errors);
        match op {
            Op::Send { socket, batch } => {
                let broken = self.sockets.get(&socket).is_none_or(|socket| socket.broken);
                let result = if broken { Err(EPIPE) } else { Ok(batch.len()) };
                self.finish(reactor, token, result, Back::Batch(batch));
            }
            _ if fails => self.give_back(reactor, token, op, EIO),
            Op::Read { file, offset, mut buffer, at, len } => {
                if let Some(disk) = self.disks.get(&file) {
                    disk.read(offset, &mut buffer[at..at + len]);
                }
                self.finish(reactor, token, Ok(len), Back::Buffer(buffer));
            }
            Op::Write { file, offset, source, at, len, sync } => {
                if let Some(disk) = self.disks.get_mut(&file) {
                    disk.write(offset, &source[at..at + len], sync);
                }
                self.finish(reactor, token, Ok(len), Back::Shared(source));
            }
            Op::Sync { file } => {
                if let Some(disk) = self.disks.get_mut(&file) {
                    disk.sync_end(operation);
                }
                self.finish(reactor, token, Ok(0), Back::None);
            }
            Op::Discard { file, offset, len, .. } => {
                if let Some(disk) = self.disks.get_mut(&file) {
                    disk.write(offset, &vec![0; len as usize], false);
                }
                self.finish(reactor, token, Ok(0), Back::None);
            }
            Op::Zero { file, offset, len, sync, .. } => {
                if let Some(disk) = self.disks.get_mut(&file) {
                    disk.write(offset, &vec![0; len as usize], sync);
                }
                self.finish(reactor, token, Ok(0), Back::None);
            }
            other => self.give_back(reactor, token, other, ECANCELED),
        }
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Connect { client, .. } => format!("client {client} connects"),
        Event::ToServer { socket, bytes } => format!("{} bytes arrive at socket {socket}", bytes.len()),
        Event::EndToServer { socket } => format!("end of stream at socket {socket}"),
        Event::ToClient { client, what: ToClient::Bytes(bytes), .. } => format!("{} bytes arrive at client {client}", bytes.len()),
        Event::ToClient { client, what, .. } => format!("client {client}: {what:?}"),
        Event::Finish { operation, .. } => format!("operation {operation} ends"),
    }
}
