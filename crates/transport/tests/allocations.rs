//! READ and WRITE cost no heap allocation, and no copy of the payload but one staging below 16 KiB.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use device::{Device, Medium, UnitSettings};
use iscsi::initiator::{Command, Connection, Event, Settings};
use reactor::{Driver, Epoll};
use store::{Memory, Store};
use target::Unit;
use target::access::AccessList;
use transport::hub::Hub;
use transport::iscsi_tcp::{Server, ServerCounters};
use transport::limits::Limits;
use transport::model::{Model, TargetEntry, UnitCell};

const TARGET: &str = "iqn.2026-01.test:disk";

/// Counts the allocations of threads that ask for it.
struct Counting;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static MEASURE: AtomicBool = AtomicBool::new(false);

// SAFETY: hands everything to the system's allocator; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() && MEASURE.load(Ordering::Relaxed) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
            // Whoever wants to know where: reporting allocates too.
            COUNTED.set(false);
            if std::env::var_os("SHOW_ALLOCATIONS").is_some() {
                eprintln!("{}", std::backtrace::Backtrace::force_capture());
            }
            COUNTED.set(true);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on; `alloc` took it from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn settings(lun: u64) -> UnitSettings {
    UnitSettings {
        tid: 1,
        lun,
        block_size: scsi::BlockSize::B512,
        vendor: "SCUZZY".into(),
        product: "COUNTED".into(),
        revision: "0001".into(),
        scsi_id: String::new(),
        scsi_sn: String::new(),
        unique: [0x60; 16],
        removable: false,
        read_only: false,
        thin: true,
    }
}

fn model(store: Arc<dyn Store>) -> Model {
    let bytes = store.geometry().bytes;
    let medium = Medium { bytes, read_only: false, can_discard: true, preferred: 0, durable: false };
    let mut entry = TargetEntry::new(1, TARGET);
    entry.access = AccessList { addresses: vec!["ALL".into()], names: Vec::new() };
    entry.parameters.max_recv_data_segment_length = 262_144;
    entry.units.insert(0, Arc::new(UnitCell::new(1, 0, Unit::new(Device::controller(settings(0)), 1), None)));
    entry.units.insert(1, Arc::new(UnitCell::new(1, 1, Unit::new(Device::disk(settings(1), Some(medium)), 1), Some(store))));
    let mut model = Model::new();
    model.targets.insert(1, Arc::new(entry));
    model
}

/// What the reactor counted at one moment.
#[derive(Clone, Copy, Default)]
struct Snapshot {
    server: ServerCounters,
    sends: u64,
}

struct Host {
    stream: TcpStream,
    core: Connection,
    done: usize,
    good: usize,
}

impl Host {
    fn turn(&mut self) {
        while let Some(bytes) = self.core.poll_output() {
            self.stream.write_all(&bytes).expect("the target reads");
        }
        let mut bytes = vec![0; 1 << 20];
        if let Ok(count) = self.stream.read(&mut bytes) {
            assert!(count > 0, "closed");
            self.core.handle_bytes(&bytes[..count]);
        }
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Done(completion) => {
                    self.done += 1;
                    self.good += usize::from(completion.status == 0);
                }
                Event::Violation(what) => panic!("{what}"),
                _ => {}
            }
        }
    }

    /// `count` rounds of `depth` commands at a time.
    fn load(&mut self, count: u64, depth: u64, len: usize) {
        let command = |index: u64| {
            let mut cdb = vec![if index.is_multiple_of(2) { 0x8a } else { 0x88 }, 0];
            cdb.extend((index % 64 * 128).to_be_bytes());
            cdb.extend(u32::try_from(len / 512).expect("fits").to_be_bytes());
            cdb.extend([0, 0]);
            let command = Command::new(1, &cdb);
            if index.is_multiple_of(2) { command.writing(vec![7; len]) } else { command.reading(u32::try_from(len).expect("fits")) }
        };
        for index in 0..count {
            for at in 0..depth {
                self.core.submit(command(index * depth + at));
            }
            let wanted = self.done + usize::try_from(depth).expect("fits");
            while self.done < wanted {
                self.turn();
            }
        }
    }
}

/// Runs a load of commands of `len` bytes; what the reactor counted meanwhile, and its allocations.
fn measure(len: usize, depth: u64) -> (Snapshot, Snapshot, u64) {
    let hub = Hub::new(model(Arc::new(Memory::new(64 << 20))), 1, Limits::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (tell, told) = channel();
    let (ask, asked) = channel::<()>();
    let reactor = {
        let (hub, stop) = (hub.clone(), stop.clone());
        std::thread::spawn(move || {
            COUNTED.set(true);
            let mut server = Server::new(hub, 0, Epoll::new().expect("epoll"), Box::new(|| [7; 32]));
            let portal = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
            tell.send((portal, Snapshot::default())).expect("the test waits");
            while !stop.load(Ordering::Acquire) {
                server.turn(None);
                if asked.try_recv().is_ok() {
                    MEASURE.store(false, Ordering::Relaxed);
                    tell.send((portal, Snapshot { server: server.counters(), sends: server.driver().counters().sends })).expect("the test waits");
                }
            }
            server.shut_down();
        })
    };
    let (portal, _) = told.recv().expect("a portal");
    let snapshot = || {
        ask.send(()).expect("the reactor runs");
        hub.wake_all();
        told.recv().expect("a snapshot").1
    };
    let stream = TcpStream::connect(portal).expect("connects");
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
    let mut host = Host { stream, core: Connection::new(Settings::new("iqn.2026-01.test:host", Some(TARGET))), done: 0, good: 0 };
    while !host.core.is_logged_in() {
        host.turn();
    }
    // Long enough that every piece of the sparse disk exists, and every queue has its length.
    host.load(256 / depth + 64, depth, len);
    let before = snapshot();
    ALLOCATIONS.store(0, Ordering::Relaxed);
    MEASURE.store(true, Ordering::Relaxed);
    host.load(32, depth, len);
    let after = snapshot();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(host.good >= host.done - 1, "all but the one that hears of the power on");
    stop.store(true, Ordering::Release);
    hub.wake_all();
    reactor.join().expect("no panic");
    (before, after, allocations)
}

#[test]
fn reads_and_writes_cost_no_allocation_and_few_sends() {
    for (len, depth) in [(4096, 1), (4096, 32), (65536, 8), (262_144, 4)] {
        let (before, after, allocations) = measure(len, depth);
        let commands = after.server.commands - before.server.commands;
        assert_eq!(commands, 32 * depth);
        eprintln!("{len} bytes, depth {depth}: {allocations} allocations, {} sends for {commands} commands", after.sends - before.sends);
        assert_eq!(allocations, 0, "heap allocations of {commands} commands of {len} bytes at depth {depth}");
        let staged = after.server.staged_bytes - before.server.staged_bytes;
        let written = commands / 2 * len as u64;
        assert!(staged <= written, "at most one staging of {staged} bytes for {written} written");
        assert_eq!(after.server.moved_bytes, before.server.moved_bytes, "no buffer had to grow");
    }
}
