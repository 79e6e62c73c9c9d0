//! The machine under test: reactors over one hub, one target with a controller and a disk.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use device::{Device, Medium, UnitSettings};
use iscsi::TargetParameters;
use reactor::{Driver, Waker};
use scsi::BlockSize;
use store::Store;
use target::Unit;
use target::access::AccessList;
use transport::hub::Hub;
use transport::iscsi_tcp::Server;
use transport::limits::Limits;
use transport::model::{Model, TargetEntry, UnitCell, default_parameters};

use crate::driver::{SharedWorld, SimDriver};
use crate::random::Random;

/// Name of the simulated target.
pub const TARGET: &str = "iqn.2026-11.sim:target";

/// Reactors and what they share.
pub struct Machine {
    /// The disk.
    pub cell: Arc<UnitCell>,
    /// The reactors.
    pub servers: Vec<Server<SimDriver>>,
    deadlines: Vec<Rc<RefCell<Option<u64>>>>,
    wakers: Vec<Waker>,
    idle: Vec<bool>,
}

/// Where it listens.
pub fn portal() -> SocketAddr {
    SocketAddr::new([10, 0, 0, 100].into(), 3260)
}

fn settings(lun: u64) -> UnitSettings {
    UnitSettings {
        tid: 1,
        lun,
        block_size: BlockSize::B512,
        vendor: "SCUZZY".into(),
        product: "SIMULATED".into(),
        revision: "0001".into(),
        scsi_id: format!("SIM     {lun:08}"),
        scsi_sn: format!("sim{lun}"),
        unique: [0x60; 16],
        removable: false,
        read_only: false,
        thin: true,
    }
}

/// What the simulated target offers: everything that an initiator may choose from.
pub fn parameters() -> TargetParameters {
    TargetParameters {
        header_digest: true,
        data_digest: true,
        initial_r2t: false,
        max_outstanding_r2t: 8,
        max_queue_cmd: 64,
        error_recovery_level: 1,
        ..default_parameters()
    }
}

/// A hub with one target: a controller at LUN 0 and a disk on `store` at LUN 1. Faults draw from `seed`.
pub fn hub(seed: u64, reactors: usize, store: Arc<dyn Store>, parameters: TargetParameters) -> (Arc<Hub>, Arc<UnitCell>) {
    let geometry = store.geometry();
    let medium = Medium {
        bytes: geometry.bytes,
        read_only: false,
        can_discard: geometry.can_discard,
        preferred: geometry.preferred,
        durable: geometry.durable,
    };
    let disk = Unit::new(Device::disk(settings(1), Some(medium)), seed);
    let cell = Arc::new(UnitCell::new(1, 1, disk, Some(store)));
    let controller = Unit::new(Device::controller(settings(0)), seed);
    let mut entry = TargetEntry::new(1, TARGET);
    entry.access = AccessList { addresses: vec!["ALL".into()], names: Vec::new() };
    entry.parameters = parameters;
    entry.units.insert(0, Arc::new(UnitCell::new(1, 0, controller, None)));
    entry.units.insert(1, Arc::clone(&cell));
    let mut model = Model::new();
    model.portals = vec![portal().into()];
    model.targets.insert(1, Arc::new(entry));
    (Hub::new(model, reactors, Limits::default()), cell)
}

impl Machine {
    /// Boot number `boot` of a machine with `reactors` reactors.
    pub fn new(seed: u64, reactors: usize, world: &SharedWorld, store: Arc<dyn Store>, boot: u64) -> Machine {
        let (hub, cell) = hub(seed, reactors, store, parameters());
        let mut machine = Machine { cell, servers: Vec::new(), deadlines: Vec::new(), wakers: Vec::new(), idle: vec![false; reactors] };
        for index in 0..reactors {
            let (driver, deadline) = SimDriver::new(Rc::clone(world), index);
            machine.wakers.push(driver.waker());
            let mut random = Random::new(seed, 1000 + boot * 16 + index as u64);
            let entropy = Box::new(move || {
                let mut bytes = [0; 32];
                random.fill(&mut bytes);
                bytes
            });
            machine.servers.push(Server::new(Arc::clone(&hub), index, driver, entropy));
            machine.deadlines.push(deadline);
        }
        // The portal's reactor is asked directly: there is no other thread that could wait for a mailbox. A simulated listener cannot fail.
        machine.servers[0].listen(portal()).ok();
        machine
    }

    /// Lets every reactor with something to do take a turn, beginning with one drawn by `random`. False: all are idle.
    pub fn turn(&mut self, world: &SharedWorld, random: &mut Random) -> bool {
        let now = world.borrow().now();
        let count = self.servers.len();
        let first = random.below(count as u64) as usize;
        let mut any = false;
        for index in (0..count).map(|step| (first + step) % count) {
            let due = self.deadlines[index].borrow().is_some_and(|deadline| deadline <= now);
            let busy = self.wakers[index].take() || due || world.borrow().has_done(index);
            if self.idle[index] && !busy {
                continue;
            }
            self.servers[index].turn(None);
            // A turn that had nothing to do has told its deadline; one that had may have more.
            self.idle[index] = !busy;
            any = true;
        }
        any
    }

    /// When the next timer of a reactor fires.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.iter().filter_map(|deadline| *deadline.borrow()).min()
    }
}
