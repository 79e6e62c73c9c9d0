//! The reactor's driver over the simulated world.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use reactor::{Counters, Done, Driver, Handle, Op, Token, Waker};

use crate::world::World;

/// The world, shared by the drivers of a run. One thread.
pub type SharedWorld = Rc<RefCell<World>>;

/// Counts something of the process, and where to add what it counts while the driver works.
type Probe = (fn() -> u64, Rc<Cell<u64>>);

/// A driver that never waits: the run's loop decides when time passes.
pub struct SimDriver {
    world: SharedWorld,
    reactor: usize,
    waker: Waker,
    counters: Counters,
    probe: Option<Probe>,
    deadline: Rc<RefCell<Option<u64>>>,
}

impl SimDriver {
    /// The driver of reactor `reactor`; the second value tells until when its last wait wanted to wait.
    pub fn new(world: SharedWorld, reactor: usize) -> (SimDriver, Rc<RefCell<Option<u64>>>) {
        let deadline = Rc::new(RefCell::new(None));
        (SimDriver { world, reactor, waker: Waker::flag(), counters: Counters::default(), probe: None, deadline: Rc::clone(&deadline) }, deadline)
    }

    /// The same; what `probe` counts while the driver works is added to `outside`.
    pub fn with_probe(world: SharedWorld, reactor: usize, probe: fn() -> u64, outside: Rc<Cell<u64>>) -> (SimDriver, Rc<RefCell<Option<u64>>>) {
        let (mut driver, deadline) = SimDriver::new(world, reactor);
        driver.probe = Some((probe, outside));
        (driver, deadline)
    }

    fn outside<T>(&mut self, work: impl FnOnce(&mut SimDriver) -> T) -> T {
        let before = self.probe.as_ref().map(|(probe, _)| probe());
        let result = work(self);
        if let (Some(before), Some((probe, outside))) = (before, &self.probe) {
            outside.set(outside.get() + probe() - before);
        }
        result
    }
}

impl Driver for SimDriver {
    fn submit(&mut self, token: Token, op: Op) {
        match &op {
            Op::Send { batch, .. } => {
                self.counters.sends += 1;
                self.counters.batches += 1;
                self.counters.pieces += batch.pieces() as u64;
                self.counters.bytes_out += batch.len() as u64;
            }
            Op::Recv { .. } => self.counters.recvs += 1,
            Op::Read { .. } | Op::Write { .. } | Op::Sync { .. } | Op::Discard { .. } | Op::Zero { .. } => self.counters.file_ops += 1,
            _ => {}
        }
        self.outside(|driver| driver.world.borrow_mut().submit(driver.reactor, token, op));
    }

    fn wait(&mut self, done: &mut Vec<Done>, until: Option<u64>) {
        self.counters.waits += 1;
        self.waker.take();
        *self.deadline.borrow_mut() = until;
        self.outside(|driver| driver.world.borrow_mut().take_done(driver.reactor, done));
    }

    fn now(&self) -> u64 {
        self.world.borrow().now()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<(Handle, SocketAddr)> {
        Ok((self.world.borrow_mut().listen(self.reactor, address), address))
    }

    fn peer(&self, socket: Handle) -> io::Result<(SocketAddr, SocketAddr)> {
        self.world.borrow().peer(socket).ok_or_else(|| io::Error::from_raw_os_error(9))
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
