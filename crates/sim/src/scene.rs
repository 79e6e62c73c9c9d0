//! A scene: one target, two [callers](Caller), and time that passes when it is told to.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use scsi::TaskAttribute;

use crate::caller::{Caller, Pdu};
use crate::driver::SharedWorld;
use crate::machine::{Machine, TARGET, portal};
use crate::medium::SimStore;
use crate::random::Random;
use crate::shared::BLOCK;
use crate::world::{ToClient, Weather, World};

/// Blocks of the disk.
pub const BLOCKS: u64 = 128;
/// One second of the virtual clock.
pub const SECOND: u64 = 1_000_000_000;
/// A disk operation that takes no time worth to speak of.
pub const QUICK: u64 = 50_000;
/// Until when an answer must be there that nothing keeps back.
const SOON: u64 = 2 * SECOND;

/// Two initiators and a target.
pub struct Scene {
    /// The room.
    pub world: SharedWorld,
    /// The target.
    pub machine: Machine,
    /// The initiators.
    pub callers: Vec<Caller>,
    /// Choices of the scene.
    pub random: Random,
    disk: i32,
}

impl Scene {
    /// Both callers have logged in and have heard their power on.
    ///
    /// # Errors
    /// One of them was not let in.
    pub fn new(seed: u64, trace: bool) -> Result<Scene, String> {
        let mut random = Random::new(seed, 7);
        let reactors = random.between(1, 2) as usize;
        let latency = (5_000, *random.pick(&[20_000, 200_000, 2_000_000]));
        let weather = Weather { latency, segment: *random.pick(&[100, 1460, 65536]), disk: (QUICK, QUICK), disk_errors: 0 };
        let world: SharedWorld = Rc::new(RefCell::new(World::new(seed, reactors, weather)));
        world.borrow_mut().trace = trace;
        let disk = world.borrow_mut().add_disk(BLOCKS as usize * BLOCK);
        let store = Arc::new(SimStore::new(disk, BLOCKS * BLOCK as u64));
        let machine = Machine::new(seed, reactors, &world, store, 0);
        let first = *random.pick(&[1, 0xffff_fffd, 0x7fff_fffe]);
        let callers = (0..2).map(|id| Caller::new(id, first)).collect();
        let mut scene = Scene { world, machine, callers, random, disk };
        for who in 0..2 {
            scene.login(who)?;
        }
        Ok(scene)
    }

    /// Now.
    pub fn now(&self) -> u64 {
        self.world.borrow().now()
    }

    /// Disk operations that begin from now on take this long.
    pub fn disk_takes(&self, nanoseconds: u64) {
        self.world.borrow_mut().weather.disk = (nanoseconds, nanoseconds);
    }

    /// Lets time pass.
    pub fn rest(&mut self, nanoseconds: u64) {
        self.until(nanoseconds, |_| false);
    }

    /// Lets time pass until `done`, for at most `nanoseconds`. True: it came to that.
    pub fn until(&mut self, nanoseconds: u64, done: impl Fn(&Scene) -> bool) -> bool {
        let limit = self.now() + nanoseconds;
        loop {
            self.turn();
            if done(self) {
                return true;
            }
            let next = [self.world.borrow().next_event(), self.machine.next_deadline()].into_iter().flatten().min();
            match next.filter(|&next| next <= limit) {
                Some(next) => self.world.borrow_mut().advance(next),
                None if self.now() >= limit => return false,
                None => self.world.borrow_mut().advance(limit),
            }
        }
    }

    /// Everybody does what there is to do now.
    fn turn(&mut self) {
        loop {
            for caller in &mut self.callers {
                let output = std::mem::take(&mut caller.output);
                if !output.is_empty() {
                    self.world.borrow_mut().client_send(caller.id, &output);
                }
            }
            while self.machine.turn(&self.world, &mut self.random) {}
            let Some((who, what)) = self.world.borrow_mut().poll_client() else { return };
            let now = self.now();
            match what {
                ToClient::Connected => self.callers[who].login(TARGET, 512),
                ToClient::Bytes(bytes) => {
                    let before = self.callers[who].received.len();
                    self.callers[who].bytes(&bytes, now);
                    if self.world.borrow().trace {
                        self.callers[who].received[before..].iter().for_each(|pdu| println!("{who} gets {:02x?} {:02x?}", pdu.header, pdu.data));
                    }
                }
                ToClient::Closed => self.callers[who].closed = Some(now),
                ToClient::Wake => {}
            }
        }
    }

    /// Connects a caller, logs it in, and lets it hear that the unit was reset.
    ///
    /// # Errors
    /// It was not let in, or it heard something else.
    pub fn login(&mut self, who: usize) -> Result<(), String> {
        self.callers[who].received.clear();
        self.world.borrow_mut().connect(who, portal());
        let in_there = |scene: &Scene| scene.callers[who].received.iter().any(|pdu| pdu.opcode() == 0x23);
        if !self.until(60 * SECOND, in_there) {
            return Err(format!("caller {who} is not let in"));
        }
        let heard = self.attentions(who)?;
        if heard == [0x2900] { Ok(()) } else { Err(format!("caller {who} hears {heard:04x?} after its login")) }
    }

    /// What a command of caller `who` ended with, when it has.
    pub fn end(&self, who: usize, tag: u32) -> Option<&Pdu> {
        self.callers[who].end_of(tag).map(|(_, pdu)| pdu)
    }

    /// The status with which a command without data ends, soon.
    ///
    /// # Errors
    /// It has no answer.
    pub fn test_unit_ready(&mut self, who: usize) -> Result<(u8, Option<(u8, u16)>), String> {
        let tag = self.callers[who].command(&[0; 6], 0, 0, TaskAttribute::HeadOfQueue);
        self.ending(who, tag, SOON)
    }

    /// Waits for the end of a command: status, sense.
    ///
    /// # Errors
    /// It does not come within `nanoseconds`.
    pub fn ending(&mut self, who: usize, tag: u32, nanoseconds: u64) -> Result<(u8, Option<(u8, u16)>), String> {
        if !self.until(nanoseconds, |scene| scene.end(who, tag).is_some()) {
            return Err(format!("caller {who}: command {tag:#x} has no answer after {} ms", nanoseconds / 1_000_000));
        }
        let end = self.end(who, tag);
        Ok(end.map_or((0, None), |pdu| (pdu.status().unwrap_or(0), pdu.sense())))
    }

    /// The unit attentions that caller `who` has pending, in order.
    ///
    /// # Errors
    /// A command has no answer.
    pub fn attentions(&mut self, who: usize) -> Result<Vec<u16>, String> {
        let mut heard = Vec::new();
        for _ in 0..8 {
            match self.test_unit_ready(who)? {
                (2, Some((6, asc))) => heard.push(asc),
                _ => return Ok(heard),
            }
        }
        Err(format!("caller {who}: unit attentions without end: {heard:04x?}"))
    }

    /// Writes a block from beginning to end: status, sense.
    ///
    /// # Errors
    /// It does not end.
    pub fn write(&mut self, who: usize, block: u8, value: u8) -> Result<(u8, Option<(u8, u16)>), String> {
        let tag = self.callers[who].command(&write_cdb(block), BLOCK as u32, 0, TaskAttribute::HeadOfQueue);
        self.until(SOON, |scene| scene.callers[who].has_r2t(tag) || scene.end(who, tag).is_some());
        self.callers[who].give_data(tag, &[value; BLOCK]);
        self.ending(who, tag, SOON)
    }

    /// What the disk itself holds in a block: its one value.
    ///
    /// # Errors
    /// The block is torn.
    pub fn content(&self, block: u8) -> Result<u8, String> {
        let mut bytes = vec![0; BLOCKS as usize * BLOCK];
        self.world.borrow().disk_content(self.disk, &mut bytes);
        let bytes = &bytes[usize::from(block) * BLOCK..][..BLOCK];
        if bytes.iter().any(|byte| *byte != bytes[0]) { Err(format!("block {block} is torn")) } else { Ok(bytes[0]) }
    }

    /// Nothing may be left over.
    ///
    /// # Errors
    /// A task or a buffer is.
    pub fn left_over(&self) -> Result<(), String> {
        let tasks = self.machine.cell.lock().active_tasks();
        if tasks > 0 {
            return Err(format!("{tasks} tasks are left over"));
        }
        match self.machine.servers.iter().map(|server| server.payload_in_use()).sum::<usize>() {
            0 => Ok(()),
            used => Err(format!("{used} bytes of payload buffers are left over")),
        }
    }
}

/// WRITE(10) of one block.
pub fn write_cdb(block: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, block, 0, 0, 1, 0]
}
