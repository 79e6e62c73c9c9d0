//! Exact counts of the data path: system calls, heap allocations and payload copies per command, in a simulated machine with one busy initiator.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iscsi::TargetParameters;
use iscsi::initiator::{Command, Connection, Event, Settings};
use reactor::Driver;
use store::{Error, Extent, Geometry, Memory, Plan, Store};
use transport::model::wide_parameters;

use crate::driver::{SharedWorld, SimDriver};
use crate::machine::{self, TARGET, portal};
use crate::world::{ToClient, Weather, World};

/// Commands under way at once.
const DEPTH: usize = 32;
/// Most commands that are counted.
const COMMANDS: u64 = 4_000;
/// Fewer large ones: about this many bytes.
const COUNTED_BYTES: u64 = 32 << 20;
/// Size of the disk in bytes.
const BYTES: u64 = 16 << 20;

/// Filling of the disk.
const CHUNK: [u8; 4096] = [0x5a; 4096];

/// What one kind of command costs.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// `sendmsg` calls per reply.
    pub sends: f64,
    /// `recv` calls per command.
    pub receives: f64,
    /// Heap allocations of the target per command.
    pub allocations: f64,
    /// How often each payload byte is copied in user space, the copy into or out of the medium included.
    pub copies: f64,
}

/// What the initiator does.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// WRITE(10), otherwise READ(10).
    pub write: bool,
    /// Bytes of a command.
    pub len: u32,
    /// Data may come with the command; otherwise all of it is asked for with R2Ts.
    pub immediate: bool,
    /// Header and data digests.
    pub digests: bool,
}

impl Kind {
    /// Reads of `len` bytes, without digests.
    pub fn read(len: u32) -> Kind {
        Kind { write: false, len, immediate: true, digests: false }
    }

    /// Writes of `len` bytes, without digests, data with the command as far as they may.
    pub fn write(len: u32) -> Kind {
        Kind { write: true, ..Kind::read(len) }
    }
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

/// Counts commands of one kind. `allocations` tells how many heap allocations the process has made.
pub fn count(kind: Kind, allocations: fn() -> u64) -> Result<Counts, String> {
    let weather = Weather { latency: (1_000, 1_000), segment: 1 << 20, disk: (1_000, 1_000), disk_errors: 0 };
    let world: SharedWorld = Rc::new(RefCell::new(World::new(1, 1, weather)));
    let store = Arc::new(Counted { memory: Memory::new(BYTES), bytes: AtomicU64::new(0) });
    // The memory of a sparse disk is no cost of a command.
    for offset in (0..BYTES).step_by(CHUNK.len()) {
        store.memory.write(offset, &CHUNK, false);
    }
    let outside = Rc::new(Cell::new(0));
    let (driver, _) = SimDriver::with_probe(Rc::clone(&world), 0, allocations, Rc::clone(&outside));
    let hub =
        machine::hub(1, 1, Arc::clone(&store) as Arc<dyn Store>, TargetParameters { header_digest: true, data_digest: true, ..wide_parameters() }).0;
    let mut server = transport::iscsi_tcp::Server::new(hub, 0, driver, Box::new(|| [7; 32]));
    server.listen(portal()).map_err(|error| error.to_string())?;
    world.borrow_mut().connect(0, portal());
    let mut load = Load { connection: None, kind, next: 0, done: 0, failed: None };
    let mut start = None;
    let mut inside = 0;
    let commands = (COUNTED_BYTES / u64::from(kind.len)).min(COMMANDS);
    // Before counting begins, pools, tables and vectors reach their size.
    let warm_up = commands / 2;
    while load.done < warm_up + commands {
        // What lies between two turns is the initiator's.
        let (before, excluded) = (allocations(), outside.get());
        server.turn(Some(0));
        inside += (allocations() - before) - (outside.get() - excluded);
        load.serve(&world);
        if let Some(what) = load.failed {
            return Err(what);
        }
        if start.is_none() && load.done >= warm_up {
            start = Some((load.done, server.driver().counters(), inside, store.bytes.load(Ordering::Relaxed), server.counters()));
        }
        let next = world.borrow().next_event();
        if let Some(next) = next {
            world.borrow_mut().advance(next);
        }
    }
    let (done, driver, allocated, bytes, counters) = start.ok_or("nothing was counted")?;
    let commands = (load.done - done) as f64;
    let (now, calls) = (server.counters(), server.driver().counters());
    let copied = (now.staged_bytes - counters.staged_bytes) + (now.moved_bytes - counters.moved_bytes);
    let copied = copied + (store.bytes.load(Ordering::Relaxed) - bytes);
    Ok(Counts {
        sends: (calls.sends - driver.sends) as f64 / commands,
        receives: (calls.recvs - driver.recvs) as f64 / commands,
        allocations: (inside - allocated) as f64 / commands,
        copies: copied as f64 / (commands * f64::from(kind.len)),
    })
}

struct Load {
    connection: Option<Connection>,
    kind: Kind,
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
                    settings.immediate_data = self.kind.immediate;
                    (settings.header_digest, settings.data_digest) = (self.kind.digests, self.kind.digests);
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
        let Kind { write, len, .. } = self.kind;
        while connection.is_logged_in() && connection.outstanding() < DEPTH {
            let block = (self.next * u64::from(len / 512) % (BYTES / 512 - 1024)) as u32;
            self.next += 1;
            let [a, b, c, d] = block.to_be_bytes();
            let [high, low] = ((len / 512) as u16).to_be_bytes();
            let cdb = [if write { 0x2a } else { 0x28 }, 0, a, b, c, d, 0, high, low, 0];
            let command = Command::new(1, &cdb);
            connection.submit(if write { command.writing(vec![1; len as usize]) } else { command.reading(len) });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(kind: Kind) -> Counts {
        count(kind, || 0).expect("counts")
    }

    #[test]
    fn large_writes_are_received_in_their_place() {
        for (len, digests) in [(16_384, true), (65_536, false), (65_536, true), (262_144, false)] {
            for immediate in [true, false] {
                let kind = Kind { immediate, digests, ..Kind::write(len) };
                let counts = counted(kind);
                assert!(counts.copies <= if immediate { 1.01 } else { 1.07 }, "{kind:?}: {counts:?}");
                assert!(counts.receives <= 3.1, "{kind:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn small_commands_come_in_bunches() {
        for kind in [Kind::read(4096), Kind::write(4096), Kind { digests: true, ..Kind::write(4096) }] {
            let counts = counted(kind);
            assert!(counts.receives < 0.2 && counts.sends < 0.2 && counts.copies <= 2.01, "{kind:?}: {counts:?}");
        }
        let asked = Kind { immediate: false, ..Kind::write(4096) };
        let counts = counted(asked);
        assert!(counts.receives < 0.4, "{counts:?}");
    }
}
