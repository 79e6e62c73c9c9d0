//! A control plane over real reactors, and an initiator, for tests: a driver of theirs may hold what a store asked for, as a disk that hangs does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use admin::reply::Reply;
use admin::request::{Binding, Envelope, Request, UnitNew};
use iscsi::initiator::{Command, Completion, Connection, Event, Settings};
use reactor::{Counters, Done, Driver, Epoll, Handle, Op, Token, Waker};
use store::{Error, Extent, Geometry, Io, Plan, ResizeError, Store};
use transport::hub::Hub;
use transport::iscsi_tcp::Server;
use transport::limits::Limits;
use transport::model::{Model, UnitCell};

use crate::apply::Control;
use crate::faults::FaultBook;
use crate::log::LogControl;
use crate::plane::Reactors;
use crate::state::State;

pub const TARGET: &str = "iqn.2026-01.test:disk";
/// Size of the disk at LUN 1.
pub const BYTES: u64 = 1 << 20;

/// Whether the store hangs, and how many of its operations do.
#[derive(Default)]
pub struct Gate {
    closed: AtomicBool,
    held: AtomicUsize,
}

/// The real driver behind the gate.
struct Gated {
    driver: Epoll,
    gate: Arc<Gate>,
    waiting: Vec<(Token, Op)>,
}

impl Driver for Gated {
    fn submit(&mut self, token: Token, op: Op) {
        let stores = matches!(op, Op::Read { .. } | Op::Write { .. } | Op::Sync { .. });
        if stores && self.gate.closed.load(Ordering::Acquire) {
            self.waiting.push((token, op));
            self.gate.held.fetch_add(1, Ordering::Release);
        } else {
            self.driver.submit(token, op);
        }
    }
    fn wait(&mut self, done: &mut Vec<Done>, until: Option<u64>) {
        if !self.gate.closed.load(Ordering::Acquire) {
            for (token, op) in self.waiting.drain(..) {
                self.gate.held.fetch_sub(1, Ordering::Release);
                self.driver.submit(token, op);
            }
        }
        self.driver.wait(done, until);
    }
    fn now(&self) -> u64 {
        self.driver.now()
    }
    fn waker(&self) -> Waker {
        self.driver.waker()
    }
    fn listen(&mut self, address: SocketAddr) -> std::io::Result<(Handle, SocketAddr)> {
        self.driver.listen(address)
    }
    fn peer(&self, socket: Handle) -> std::io::Result<(SocketAddr, SocketAddr)> {
        self.driver.peer(socket)
    }
    fn counters(&self) -> Counters {
        self.driver.counters()
    }
    fn adopt(&mut self, socket: OwnedFd) -> Handle {
        self.driver.adopt(socket)
    }
    fn detach(&mut self, socket: Handle) -> Option<OwnedFd> {
        self.driver.detach(socket)
    }
}

/// A file of which everything is a plan, so that the driver sees it.
pub struct Planned {
    file: Arc<std::fs::File>,
    bytes: u64,
}

impl Planned {
    /// An unnamed file of so many zeros.
    pub fn new(bytes: u64) -> Arc<Planned> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("scuzzy-house-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
        std::fs::remove_file(&path).expect("its name goes");
        file.set_len(bytes).expect("a size");
        Arc::new(Planned { file: Arc::new(file), bytes })
    }

    /// The byte at `offset`.
    pub fn byte(&self, offset: u64) -> u8 {
        let mut byte = [0];
        std::os::unix::fs::FileExt::read_exact_at(&*self.file, &mut byte, offset).expect("reads");
        byte[0]
    }

    pub fn len(&self) -> u64 {
        self.file.metadata().expect("facts").len()
    }
}

impl Store for Planned {
    fn geometry(&self) -> Geometry {
        Geometry { bytes: self.bytes, read_only: false, can_discard: false, preferred: 4096, durable: true, alignment: 1 }
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Plan {
        if offset + into.len() as u64 > self.bytes {
            return Plan::Done(Err(Error::OutOfRange));
        }
        Plan::Io(Io::Read { file: self.file.as_raw_fd(), offset })
    }
    fn write(&self, offset: u64, from: &[u8], sync: bool) -> Plan {
        if offset + from.len() as u64 > self.bytes {
            return Plan::Done(Err(Error::OutOfRange));
        }
        Plan::Io(Io::Write { file: self.file.as_raw_fd(), offset, sync })
    }
    fn flush(&self, _: u64, _: u64) -> Plan {
        Plan::Io(Io::Sync { file: self.file.as_raw_fd() })
    }
    fn zero(&self, _: u64, _: u64, _: bool) -> Plan {
        Plan::Done(Err(Error::Unsupported))
    }
    fn discard(&self, _: u64, _: u64) -> Plan {
        Plan::Done(Err(Error::Unsupported))
    }
    fn extents(&self, _: u64, _: u64, _: usize) -> Result<Vec<Extent>, Error> {
        Err(Error::Unsupported)
    }
    fn prefetch(&self, _: u64, _: u64) {}
    fn kind(&self) -> &'static str {
        "rdwr"
    }
    fn resized(&self, bytes: Option<u64>) -> Result<Arc<dyn Store>, ResizeError> {
        if let Some(bytes) = bytes {
            self.file.set_len(bytes).expect("a size");
        }
        Ok(Arc::new(Planned { file: self.file.clone(), bytes: self.len() }))
    }
}

/// A daemon's insides: target 1 with a memory disk at LUN 1 that everybody may use.
pub struct House {
    pub control: Arc<Control>,
    pub gate: Arc<Gate>,
    pub hub: Arc<Hub>,
    portal: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl House {
    pub fn new() -> House {
        let hub = Hub::new(Model::new(), 1, Limits::default());
        let (gate, stop) = (Arc::new(Gate::default()), Arc::new(AtomicBool::new(false)));
        let (tell, told) = channel();
        let thread = {
            let (hub, gate, stop) = (hub.clone(), gate.clone(), stop.clone());
            std::thread::spawn(move || {
                let driver = Gated { driver: Epoll::new().expect("epoll"), gate, waiting: Vec::new() };
                let mut server = Server::new(hub, 0, driver, Box::new(|| [7; 32]));
                tell.send(server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port")).expect("the test waits");
                server.run(&stop);
                assert_eq!(server.usage(), (0, 0, 0), "connections, jobs, bytes of buffers left over");
            })
        };
        let portal = told.recv().expect("a portal");
        let plane = Arc::new(Reactors { hub: hub.clone(), driver: "epoll", passed: Vec::new() });
        let state = State::new(7, FaultBook::new(7, false), 0, 0);
        let control = Arc::new(Control::new(state, plane, LogControl::default(), Box::new(|| {})));
        let house = House { control, gate, hub, portal, stop, thread: Some(thread) };
        house.done(Request::TargetNew { tid: 1, name: TARGET.into() });
        house.done(Request::TargetBind { tid: 1, rules: vec![Binding::Address("ALL".into())] });
        house.done(disk(1, 1));
        house
    }

    pub fn ask(&self, request: Request) -> Reply {
        self.control.apply(&Envelope { driver: None, request })
    }

    pub fn done(&self, request: Request) {
        let reply = self.ask(request.clone());
        assert!(reply.is_ok(), "{request:?}: {reply:?}");
    }

    pub fn cell(&self, lun: u64) -> Arc<UnitCell> {
        self.hub.model().targets[&1].units[&lun].clone()
    }

    /// Puts a file behind the gate in the place of LUN 1's store.
    pub fn behind_gate(&self) -> Arc<Planned> {
        let store = Planned::new(BYTES);
        self.cell(1).set_store(Some(store.clone()));
        store
    }

    /// From here on the store hangs.
    pub fn close_gate(&self) {
        self.gate.closed.store(true, Ordering::Release);
    }

    /// Waits until so many of its operations hang.
    pub fn until_held(&self, count: usize) {
        until(|| self.gate.held.load(Ordering::Acquire) == count);
    }

    pub fn open_gate(&self) {
        self.gate.closed.store(false, Ordering::Release);
        self.hub.wake_all();
    }

    pub fn host(&self) -> Host {
        Host::new(self.portal)
    }

    pub fn end(mut self) {
        self.stop.store(true, Ordering::Release);
        self.hub.wake_all();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the reactor ends without panic");
        }
    }
}

/// Looks until it is so; a test that waits 20 s for it has failed.
pub fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it never became so");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A memory disk.
pub fn disk(tid: i32, lun: u64) -> Request {
    Request::UnitNew(UnitNew { tid, lun, path: Some(BYTES.to_string()), bstype: Some("memory".into()), ..UnitNew::default() })
}

/// An initiator on a blocking socket.
pub struct Host {
    stream: TcpStream,
    core: Connection,
    events: Vec<Event>,
}

impl Host {
    fn new(portal: SocketAddr) -> Host {
        let stream = TcpStream::connect(portal).expect("connects");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        let mut host = Host { stream, core: Connection::new(Settings::new("iqn.2026-01.test:host", Some(TARGET))), events: Vec::new() };
        host.wait(|event| matches!(event, Event::LoggedIn { .. }).then_some(()));
        host.ready();
        host
    }

    /// One exchange; false when the target has closed.
    fn turn(&mut self) -> bool {
        while let Some(bytes) = self.core.poll_output() {
            if self.stream.write_all(&bytes).is_err() {
                return false;
            }
        }
        let mut bytes = vec![0; 1 << 20];
        let open = match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.core.handle_bytes(&bytes[..count]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        while let Some(event) = self.core.poll_event() {
            assert!(!matches!(event, Event::Violation(_)), "{event:?}");
            self.events.push(event);
        }
        open
    }

    fn wait<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(index) = self.events.iter().position(|event| wanted(event).is_some()) {
                let event = self.events.remove(index);
                return wanted(&event).expect("as before");
            }
            let open = self.turn();
            assert!(open || !self.events.is_empty(), "the target closed the connection");
            assert!(Instant::now() < deadline, "no such event; there are {:?}", self.events);
        }
    }

    pub fn until_closed(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.turn() {
            assert!(Instant::now() < deadline, "still open");
        }
    }

    /// Sends a command and does not wait; its tag.
    pub fn submit(&mut self, command: Command) -> u32 {
        let tag = self.core.submit(command);
        self.turn();
        tag
    }

    pub fn done(&mut self, tag: u32) -> Completion {
        self.wait(|event| match event {
            Event::Done(completion) if completion.tag == tag => Some(completion.clone()),
            _ => None,
        })
    }

    /// Status, sense key and additional sense code of a command.
    pub fn run(&mut self, command: Command) -> (u8, u8, u16) {
        let tag = self.submit(command);
        outcome(&self.done(tag))
    }

    /// TEST UNIT READY until no unit attention is left; what they told.
    pub fn ready(&mut self) -> Vec<u16> {
        let mut told = Vec::new();
        loop {
            match self.run(Command::new(1, &[0; 6])) {
                (2, 6, asc) => told.push(asc),
                _ => return told,
            }
        }
    }

    /// Blocks of LUN 1, by READ CAPACITY(16).
    pub fn blocks(&mut self) -> u64 {
        let mut cdb = vec![0x9e, 0x10];
        cdb.resize(16, 0);
        cdb[13] = 32;
        let tag = self.submit(Command::new(1, &cdb).reading(32));
        let data = self.done(tag).data_in;
        u64::from_be_bytes(data[..8].try_into().expect("eight bytes")) + 1
    }

    pub fn abort(&mut self, referenced: u32) -> u32 {
        let tag = self.core.task_management(1, scsi::Lun::from_number(1).expect("small"), referenced);
        self.turn();
        tag
    }

    pub fn function_done(&mut self, tag: u32) -> u8 {
        self.wait(|event| match event {
            Event::FunctionDone { tag: done, response } if *done == tag => Some(*response),
            _ => None,
        })
    }
}

pub fn outcome(completion: &Completion) -> (u8, u8, u16) {
    let sense = &completion.sense;
    let key = sense.get(2).map_or(0, |byte| byte & 15);
    let asc = sense.get(12..14).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    (completion.status, key, asc)
}

fn cdb10(opcode: u8, lba: u32, blocks: u16) -> Vec<u8> {
    let mut cdb = vec![opcode, 0];
    cdb.extend(lba.to_be_bytes());
    cdb.push(0);
    cdb.extend(blocks.to_be_bytes());
    cdb.push(0);
    cdb
}

/// WRITE(10) of one block full of `byte`.
pub fn write(lba: u32, byte: u8) -> Command {
    Command::new(1, &cdb10(0x2a, lba, 1)).writing(vec![byte; 512])
}

/// READ(10) of one block.
pub fn read(lba: u32) -> Command {
    Command::new(1, &cdb10(0x28, lba, 1)).reading(512)
}
