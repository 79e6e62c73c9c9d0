//! A server on the real epoll driver, with one target and a disk in memory.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use device::{Device, Medium, UnitSettings};
use iscsi::initiator::Command;
use reactor::Epoll;
use scsi::{BlockSize, Lun};
use store::{Memory, Store};
use target::Unit;
use target::access::AccessList;
use transport::hub::Hub;
use transport::iscsi_tcp::{Server, ServerCounters};
use transport::limits::Limits;
use transport::model::{Model, TargetEntry, UnitCell};

pub const TARGET: &str = "iqn.2026-01.test:disk";
pub const INITIATOR: &str = "iqn.2026-01.test:host";

pub struct House {
    pub hub: Arc<Hub>,
    pub portal: SocketAddr,
    pub stop: Arc<AtomicBool>,
    pub threads: Vec<JoinHandle<()>>,
    pub counters: Arc<Mutex<ServerCounters>>,
}

pub fn settings(lun: u64) -> UnitSettings {
    UnitSettings {
        tid: 1,
        lun,
        block_size: BlockSize::B512,
        vendor: "SCUZZY".into(),
        product: "LOOPBACK".into(),
        revision: "0001".into(),
        scsi_id: format!("IET     0001{lun:04}"),
        scsi_sn: format!("beaf1{lun}"),
        unique: [0x60; 16],
        removable: false,
        read_only: false,
        thin: true,
    }
}

pub fn disk(lun: u64, store: Arc<dyn Store>) -> Arc<UnitCell> {
    let geometry = store.geometry();
    let medium = Medium {
        bytes: geometry.bytes,
        read_only: geometry.read_only,
        can_discard: geometry.can_discard,
        preferred: geometry.preferred,
        durable: geometry.durable,
    };
    Arc::new(UnitCell::new(1, lun, Unit::new(Device::disk(settings(lun), Some(medium)), 1), Some(store)))
}

pub fn entry() -> TargetEntry {
    let mut entry = TargetEntry::new(1, TARGET);
    entry.access = AccessList { addresses: vec!["ALL".into()], names: Vec::new() };
    entry.parameters.header_digest = true;
    entry.parameters.data_digest = true;
    entry.parameters.initial_r2t = false;
    entry.parameters.max_outstanding_r2t = 4;
    entry.parameters.max_recv_data_segment_length = 262_144;
    entry.units.insert(0, Arc::new(UnitCell::new(1, 0, Unit::new(Device::controller(settings(0)), 1), None)));
    let well_known = Unit::new(Device::well_known(settings(Lun::REPORT_LUNS_NUMBER)), 1);
    entry.units.insert(Lun::REPORT_LUNS_NUMBER, Arc::new(UnitCell::new(1, Lun::REPORT_LUNS_NUMBER, well_known, None)));
    entry.units.insert(1, disk(1, Arc::new(Memory::new(64 << 20))));
    entry
}

impl House {
    pub fn new(entries: Vec<TargetEntry>, reactors: usize, limits: Limits) -> House {
        let mut model = Model::new();
        for entry in entries {
            model.targets.insert(entry.tid, Arc::new(entry));
        }
        let hub = Hub::new(model, reactors, limits);
        let stop = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(Mutex::new(ServerCounters::default()));
        let (tell, told) = channel();
        let threads = (0..reactors)
            .map(|index| {
                let (hub, stop, tell, counters) = (hub.clone(), stop.clone(), tell.clone(), counters.clone());
                std::thread::spawn(move || {
                    let mut server = Server::new(hub, index, Epoll::new().expect("epoll"), Box::new(|| [7; 32]));
                    if index == 0 {
                        let portal = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
                        tell.send(portal).expect("the test waits");
                    }
                    server.run(&stop);
                    assert_eq!(server.usage(), (0, 0, 0), "connections, jobs, bytes of buffers left over");
                    *counters.lock().expect("no panic") = server.counters();
                })
            })
            .collect();
        let portal = told.recv().expect("a portal");
        let mut model = Model::clone(&hub.model());
        model.portals = vec![portal.into()];
        hub.publish(model);
        House { hub, portal, stop, threads, counters }
    }

    pub fn plain() -> House {
        House::new(vec![entry()], 1, Limits::default())
    }

    /// Stops; what reactor 0 (the last to write) has counted.
    pub fn end(mut self) -> ServerCounters {
        self.stop.store(true, Ordering::Release);
        self.hub.wake_all();
        for thread in self.threads.drain(..) {
            thread.join().expect("the reactor ends without panic");
        }
        *self.counters.lock().expect("no panic")
    }
}

pub fn lun(number: u64) -> Lun {
    Lun::from_number(number).expect("a small number")
}

pub fn cdb16(opcode: u8, lba: u64, blocks: u32) -> Vec<u8> {
    let mut cdb = vec![opcode, 0];
    cdb.extend(lba.to_be_bytes());
    cdb.extend(blocks.to_be_bytes());
    cdb.extend([0, 0]);
    cdb
}

pub fn write(lba: u64, data: Vec<u8>) -> Command {
    Command::new(1, &cdb16(0x8a, lba, u32::try_from(data.len() / 512).expect("fits"))).writing(data)
}

pub fn read(lba: u64, len: u32) -> Command {
    Command::new(1, &cdb16(0x88, lba, len / 512)).reading(len)
}

pub fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32).map(|index| (index.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13).to_le_bytes()[0]).collect()
}
