//! Exact counts of the data path: system calls, heap allocations and payload copies per command, in a simulated machine with one busy initiator.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iscsi::initiator::{Command, Connection, Event, Settings};
use reactor::Driver;
use store::{Error, Extent, Geometry, Memory, Plan, Store};

use crate::driver::{SharedWorld, SimDriver};
use crate::machine::{self, TARGET, portal};
use crate::world::{ToClient, Weather, World};

/// Commands under way at once.
const DEPTH: usize = 32;
/// Commands before counting begins: pools, tables and vectors reach their size.
const WARM_UP: u64 = 2_000;
/// Commands that are counted.
const COMMANDS: u64 = 4_000;
/// Size of the disk in bytes.
const BYTES: u64 = 16 << 20;

/// What one kind of command costs.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// `sendmsg` calls per reply.
    pub sends: f64,
    /// Heap allocations of the target per command.
    pub allocations: f64,
    /// How often each payload byte is copied in user space, the copy into or out of the medium included.
    pub copies: f64,
}

/// A memory store that counts the bytes that pass.
struct Counted {
    memory: Memory,
    bytes: AtomicU64,
}

impl Store for Counted {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Plan {
        self.bytes.fetch_add(into.len() as u64, Ordering::Relaxed);
        self.memory.read(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8], stable: bool) -> Plan {
        self.bytes.fetch_add(from.len() as u64, Ordering::Relaxed);
        self.memory.write(offset, from, stable)
    }
    fn flush(&self, offset: u64, len: u64) -> Plan {
        self.memory.flush(offset, len)
    }
    fn zero(&self, offset: u64, len: u64, stable: bool) -> Plan {
        self.memory.zero(offset, len, stable)
    }
    fn discard(&self, offset: u64, len: u64) -> Plan {
        self.memory.discard(offset, len)
    }
    fn extents(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, Error> {
        self.memory.extents(offset, len, max)
    }
    fn prefetch(&self, offset: u64, len: u64) {
        self.memory.prefetch(offset, len);
    }
    fn kind(&self) -> &'static str {
        "counted"
    }
}

/// Counts commands of `len` bytes, reads or writes. `allocations` tells how many heap allocations the process has made.
pub fn count(write: bool, len: u32, allocations: fn() -> u64) -> Result<Counts, String> {
    let weather = Weather { latency: (1_000, 1_000), segment: 1 << 20, disk: (1_000, 1_000), disk_errors: 0 };
    let world: SharedWorld = Rc::new(RefCell::new(World::new(1, 1, weather)));
    let store = Arc::new(Counted { memory: Memory::new(BYTES), bytes: AtomicU64::new(0) });
    let outside = Rc::new(Cell::new(0));
    let (driver, _) = SimDriver::with_probe(Rc::clone(&world), 0, allocations, Rc::clone(&outside));
    let hub = machine::hub(1, 1, Arc::clone(&store) as Arc<dyn Store>).0;
    let mut server = transport::iscsi_tcp::Server::new(hub, 0, driver, Box::new(|| [7; 32]));
    server.listen(portal()).map_err(|error| error.to_string())?;
    world.borrow_mut().connect(0, portal());
    let mut load = Load { connection: None, write, len, next: 0, done: 0, failed: None };
    let mut start = None;
    let mut inside = 0;
    while load.done < WARM_UP + COMMANDS {
        let (before, excluded) = (allocations(), outside.get());
        server.turn(Some(0));
        inside += (allocations() - before) - (outside.get() - excluded);
        load.serve(&world);
        if let Some(what) = load.failed {
            return Err(what);
        }
        if start.is_none() && load.done >= WARM_UP {
            start = Some((load.done, server.driver().counters().sends, inside, store.bytes.load(Ordering::Relaxed), server.counters()));
        }
        let next = world.borrow().next_event();
        if let Some(next) = next {
            world.borrow_mut().advance(next);
        }
    }
    let (done, sends, allocated, bytes, counters) = start.ok_or("nothing was counted")?;
    let commands = (load.done - done) as f64;
    let now = server.counters();
    let copied = (now.staged_bytes - counters.staged_bytes) + (now.moved_bytes - counters.moved_bytes);
    let copied = copied + (store.bytes.load(Ordering::Relaxed) - bytes);
    Ok(Counts {
        sends: (server.driver().counters().sends - sends) as f64 / commands,
        allocations: (inside - allocated) as f64 / commands,
        copies: copied as f64 / (commands * f64::from(len)),
    })
}

struct Load {
    connection: Option<Connection>,
    write: bool,
    len: u32,
    next: u64,
    done: u64,
    failed: Option<String>,
}

impl Load {
    fn serve(&mut self, world: &SharedWorld) {
        loop {
            let next = world.borrow_mut().poll_client();
            let Some((_, what)) = next else { break };
            match what {
                ToClient::Connected => {
                    let mut settings = Settings::new("iqn.2026-11.sim:counter", Some(TARGET));
                    settings.first_burst_length = 262_144;
                    settings.max_recv_data_segment_length = 262_144;
                    self.connection = Some(Connection::new(settings));
                }
                ToClient::Bytes(bytes) => {
                    if let Some(connection) = &mut self.connection {
                        connection.handle_bytes(&bytes);
                    }
                }
                ToClient::Closed => self.failed = Some("the connection was closed".into()),
                ToClient::Wake => {}
            }
            self.events();
        }
        let Some(connection) = &mut self.connection else { return };
        while connection.is_logged_in() && connection.outstanding() < DEPTH {
            let block = (self.next * u64::from(self.len / 512) % (BYTES / 512 - 1024)) as u32;
            self.next += 1;
            let [a, b, c, d] = block.to_be_bytes();
            let [high, low] = ((self.len / 512) as u16).to_be_bytes();
            let cdb = [if self.write { 0x2a } else { 0x28 }, 0, a, b, c, d, 0, high, low, 0];
            let command = Command::new(1, &cdb);
            connection.submit(if self.write { command.writing(vec![1; self.len as usize]) } else { command.reading(self.len) });
        }
        // One burst on the wire for all of them, as a real initiator at depth sends.
        let mut burst = Vec::new();
        while let Some(bytes) = connection.poll_output() {
            burst.extend(bytes);
        }
        world.borrow_mut().client_send(0, &burst);
    }

    fn events(&mut self) {
        while let Some(event) = self.connection.as_mut().and_then(Connection::poll_event) {
            match event {
                Event::Done(completion) => {
                    // The first command meets the unit attention of the login.
                    if completion.status != 0 && self.done > 0 {
                        self.failed = Some(format!("status {:#x}, sense {:02x?}", completion.status, completion.sense));
                    }
                    self.done += 1;
                }
                Event::LoggedIn { .. } => {}
                other => self.failed = Some(format!("{other:?}")),
            }
        }
    }
}
