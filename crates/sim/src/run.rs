//! One run: everything follows from its seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use store::Store;

use crate::client::{Client, MODE_CHANGED, RESET, Wishes};
use crate::driver::SharedWorld;
use crate::machine::{Machine, TARGET, portal};
use crate::medium::SimStore;
use crate::random::Random;
use crate::shared::{BLOCK, CAW_BLOCKS, Hazards, REGULAR_BLOCKS, Rule, Shared};
use crate::world::{ToClient, Weather, World};

/// Longest run, in virtual nanoseconds: far beyond any sum of latencies and pauses.
const LONGEST: u64 = 900_000_000_000;
/// Events of one run; a run that needs more goes round in circles.
const MOST_TURNS: u64 = 3_000_000;
/// How often idle initiators look around, in nanoseconds.
const HEARTBEAT: u64 = 500_000_000;

/// What a run may contain, drawn from the seed.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u64,
    reactors: usize,
    clients: usize,
    commands: u64,
    weather: Weather,
    hazards: Hazards,
    on_disk: bool,
    power_cut: Option<u64>,
    rule: Option<Rule>,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The first broken rule.
    pub violation: Option<String>,
    /// Equal for two runs exactly when the same bytes travelled at the same times.
    pub digest: u64,
    /// Virtual nanoseconds.
    pub duration: u64,
}

impl Plan {
    /// The plan of `seed`.
    pub fn of(seed: u64) -> Plan {
        let mut random = Random::new(seed, 2);
        let slow = random.chance(10);
        let on_disk = random.chance(75);
        let weather = Weather {
            latency: if slow { (1_000_000, 200_000_000) } else { (5_000, random.between(20_000, 2_000_000)) },
            segment: *random.pick(&[48, 100, 536, 1460, 16384, 65536]),
            disk: (1_000, *random.pick(&[20_000, 500_000, 30_000_000])),
            disk_errors: if on_disk && random.chance(10) { 2 } else { 0 },
        };
        let power_cut = (on_disk && weather.disk_errors == 0 && random.chance(40)).then(|| random.between(5_000_000, 300_000_000));
        let rule = random.chance(40).then(|| {
            let start = random.below(REGULAR_BLOCKS);
            Rule { range: start..(start + random.between(1, 12)).min(REGULAR_BLOCKS), from: 1_000_000_000 + random.below(50_000_000), until: None }
        });
        let hazards = Hazards { resets: random.chance(30), functions: random.chance(40), modes: random.chance(50) };
        Plan {
            seed,
            reactors: random.between(1, 3) as usize,
            clients: random.between(1, 4) as usize,
            commands: random.between(20, 150),
            weather,
            hazards,
            on_disk,
            power_cut,
            rule,
        }
    }
}

/// A run in progress.
struct Room {
    plan: Plan,
    world: SharedWorld,
    machine: Option<Machine>,
    disk: Option<i32>,
    clients: Vec<Client>,
    shared: Shared,
    random: Random,
    boots: u64,
    heartbeats: Vec<u64>,
}

/// Runs `seed`.
pub fn run(seed: u64, trace: bool) -> Report {
    let plan = Plan::of(seed);
    if trace {
        println!("{plan:#?}");
    }
    let world: SharedWorld = Rc::new(RefCell::new(World::new(seed, plan.reactors, plan.weather.clone())));
    world.borrow_mut().trace = trace;
    let mut room = Room::new(plan, world);
    room.go();
    let duration = room.world.borrow().now() - 1_000_000_000;
    let digest = room.world.borrow().digest();
    Report { violation: room.shared.first_violation().cloned(), digest, duration }
}

impl Room {
    fn new(plan: Plan, world: SharedWorld) -> Room {
        let bytes = (REGULAR_BLOCKS + CAW_BLOCKS) as usize * BLOCK;
        let disk = plan.on_disk.then(|| world.borrow_mut().add_disk(bytes));
        let clients = (0..plan.clients).map(|id| Client::new(id, plan.seed, TARGET, plan.commands, plan.hazards)).collect();
        let shared = Shared::new(plan.weather.disk_errors > 0);
        let random = Random::new(plan.seed, 3);
        let heartbeats = vec![world.borrow().now(); plan.clients];
        let mut room = Room { plan, world, machine: None, disk, clients, shared, random, boots: 0, heartbeats };
        room.boot();
        room
    }

    fn boot(&mut self) {
        let bytes = (REGULAR_BLOCKS + CAW_BLOCKS) * BLOCK as u64;
        let store: Arc<dyn Store> = match self.disk {
            Some(disk) => Arc::new(SimStore::new(disk, bytes)),
            None => Arc::new(store::Memory::new(bytes)),
        };
        self.machine = Some(Machine::new(self.plan.seed, self.plan.reactors, &self.world, store, self.boots));
        self.boots += 1;
    }

    fn go(&mut self) {
        for client in 0..self.clients.len() {
            self.world.borrow_mut().connect(client, portal());
            self.world.borrow_mut().client_wake(client, HEARTBEAT);
        }
        let mut turns = 0;
        while self.shared.first_violation().is_none() && !self.clients.iter().all(Client::is_finished) {
            turns += 1;
            if turns > MOST_TURNS || self.world.borrow().now() > LONGEST {
                let stuck = self.clients.iter().find_map(Client::unanswered).unwrap_or_else(|| "the run does not end".into());
                return self.shared.violation(stuck);
            }
            self.step();
        }
        self.settle();
    }

    /// Reactors until they are idle, then the next event.
    fn step(&mut self) {
        let Room { machine, world, random, .. } = self;
        if let Some(machine) = machine {
            while machine.turn(world, random) {}
        }
        self.serve_clients();
        self.arm();
        let next_event = self.world.borrow().next_event();
        let deadline = self.machine.as_ref().and_then(Machine::next_deadline);
        let next = [next_event, deadline].into_iter().flatten().min();
        let Some(next) = next else {
            return self.shared.violation("nothing is going to happen any more".into());
        };
        if let Some(at) = self.plan.power_cut
            && next >= 1_000_000_000 + at
        {
            self.plan.power_cut = None;
            return self.power_cut();
        }
        self.world.borrow_mut().advance(next);
    }

    fn serve_clients(&mut self) {
        loop {
            let next = self.world.borrow_mut().poll_client();
            let Some((id, what)) = next else { return };
            let now = self.world.borrow().now();
            let mut wishes = Wishes::default();
            let client = &mut self.clients[id];
            match what {
                ToClient::Connected => client.connected(now, &mut wishes),
                ToClient::Bytes(bytes) => client.bytes(&bytes, now, &mut self.shared, &mut wishes),
                ToClient::Closed => client.closed(now, &mut self.shared, &mut wishes),
                ToClient::Wake => {
                    if client.is_connected() || client.is_finished() {
                        client.wake(now, &mut self.shared, &mut wishes);
                    } else if client.wants_connection(now) {
                        self.world.borrow_mut().connect(id, portal());
                        client.calling();
                    }
                    if now >= self.heartbeats[id] + HEARTBEAT {
                        self.heartbeats[id] = now;
                        self.world.borrow_mut().client_wake(id, HEARTBEAT);
                    }
                }
            }
            self.carry_out(id, wishes);
            self.spread_news();
        }
    }

    fn carry_out(&mut self, id: usize, wishes: Wishes) {
        let mut world = self.world.borrow_mut();
        for bytes in wishes.output {
            world.client_send(id, &bytes);
        }
        if wishes.reset {
            world.client_reset(id);
            drop(world);
            let mut after = Wishes::default();
            let now = self.world.borrow().now();
            self.clients[id].closed(now, &mut self.shared, &mut after);
            world = self.world.borrow_mut();
            if let Some(after) = after.reconnect {
                world.client_wake(id, after);
            }
        }
        if let Some(after) = wishes.reconnect {
            world.client_wake(id, after);
        }
    }

    /// Mode changes and resets of one initiator are unit attentions of the others.
    fn spread_news(&mut self) {
        for (who, asc) in std::mem::take(&mut self.shared.announced) {
            self.clients.iter_mut().filter(|client| client.id != who).for_each(|client| client.announce(asc));
        }
        for (who, asked, answered) in std::mem::take(&mut self.shared.mode_changed) {
            self.clients.iter_mut().filter(|client| client.id != who).for_each(|client| client.confirm(MODE_CHANGED, asked, answered));
        }
        for (who, asked, answered) in std::mem::take(&mut self.shared.reset_done) {
            self.clients.iter_mut().filter(|client| client.id != who).for_each(|client| client.confirm(RESET, asked, answered));
        }
    }

    /// Arms the plan's rule when its time has come.
    fn arm(&mut self) {
        let now = self.world.borrow().now();
        if self.shared.rules.is_empty()
            && let Some(rule) = self.plan.rule.clone().filter(|rule| rule.from <= now)
            && let Some(machine) = &self.machine
        {
            let text = format!("op=WRITE,lba={},len={},key=3,asc=0x0c02", rule.range.start, rule.range.end - rule.range.start);
            match fault::grammar::parse(&text) {
                Ok(spec) => machine.cell.lock().faults_mut().insert(fault::RuleId(0), spec),
                Err(error) => self.shared.violation(format!("{text}: {error}")),
            }
            self.shared.rules.push(Rule { from: now, ..rule });
        }
    }

    fn power_cut(&mut self) {
        self.machine = None;
        self.shared.mode_value = None;
        self.world.borrow_mut().power_cut();
        if let Some(rule) = self.shared.rules.first_mut() {
            rule.until = Some(self.world.borrow().now());
            self.plan.rule = None;
        }
        if let Some(disk) = self.disk {
            let mut bytes = vec![0; (REGULAR_BLOCKS + CAW_BLOCKS) as usize * BLOCK];
            self.world.borrow().disk_content(disk, &mut bytes);
            for (number, block) in bytes.chunks_exact(BLOCK).enumerate() {
                let first: [u8; 8] = std::array::from_fn(|byte| block[byte]);
                if block.chunks_exact(8).any(|word| word != first) {
                    return self.shared.violation(format!("after the power cut block {number} is torn"));
                }
                let value = u64::from_be_bytes(first);
                if let Err(what) = self.shared.history.after_power_cut(number as u64, value) {
                    return self.shared.violation(what);
                }
            }
        }
        // An exchange that was not stable may be gone: its old value can be replaced once more.
        self.shared.exchanged.clear();
        self.shared.seen.clear();
        self.boot();
    }

    /// After the last answer nothing may be left over.
    fn settle(&mut self) {
        if self.shared.first_violation().is_some() {
            return;
        }
        let until = self.world.borrow().now() + 20_000_000_000;
        loop {
            let Room { machine, world, random, .. } = self;
            if let Some(machine) = machine {
                while machine.turn(world, random) {}
            }
            let next = self.world.borrow().next_event();
            match next {
                Some(next) if next <= until => self.world.borrow_mut().advance(next),
                _ => break,
            }
            while self.world.borrow_mut().poll_client().is_some() {}
        }
        let Some(machine) = &self.machine else { return };
        let tasks = machine.cell.lock().active_tasks();
        if tasks > 0 {
            self.shared.violation(format!("{tasks} tasks are left over"));
        }
        for (index, server) in machine.servers.iter().enumerate() {
            let used = server.payload_in_use();
            if used > 0 {
                self.shared.violation(format!("reactor {index}: {used} bytes of payload buffers are left over"));
            }
        }
    }
}
