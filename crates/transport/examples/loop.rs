//! A memory disk on a free port, for trying the transport alone: `loop [--uring] [--reactors N] [--mib N] [--file PATH] [PORT]`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use device::{Device, Medium, UnitSettings};
use reactor::IoChoice;
use store::Store;
use target::Unit;
use target::access::AccessList;
use transport::hub::Hub;
use transport::iscsi_tcp::Server;
use transport::limits::Limits;
use transport::model::{Model, TargetEntry, UnitCell};

const NAME: &str = "iqn.2026-01.example:loop";

struct Options {
    io: IoChoice,
    reactors: usize,
    bytes: u64,
    file: Option<String>,
    port: u16,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options { io: IoChoice::Epoll, reactors: 1, bytes: 1 << 30, file: None, port: 0 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--uring" => options.io = IoChoice::Uring,
            "--reactors" => options.reactors = words.next().ok_or("a number is missing")?.parse()?,
            "--mib" => options.bytes = words.next().ok_or("a number is missing")?.parse::<u64>()? << 20,
            "--file" => options.file = words.next(),
            port => options.port = port.parse()?,
        }
    }
    Ok(options)
}

fn settings(lun: u64) -> UnitSettings {
    let mut unique = [0; 16];
    unique[0] = 0x60;
    unique[15] = u8::try_from(lun).unwrap_or(0);
    UnitSettings {
        tid: 1,
        lun,
        block_size: scsi::BlockSize::B512,
        vendor: "SCUZZY".into(),
        product: "LOOP".into(),
        revision: "0001".into(),
        scsi_id: format!("IET     0001{lun:04}"),
        scsi_sn: format!("beaf1{lun}"),
        unique,
        removable: false,
        read_only: false,
        thin: true,
    }
}

fn model(store: Arc<dyn Store>) -> Model {
    let geometry = store.geometry();
    let medium = Medium {
        bytes: geometry.bytes,
        read_only: geometry.read_only,
        can_discard: geometry.can_discard,
        preferred: geometry.preferred,
        durable: geometry.durable,
    };
    let controller = Unit::new(Device::controller(settings(0)), 1);
    let disk = Unit::new(Device::disk(settings(1), Some(medium)), 1);
    let mut entry = TargetEntry::new(1, NAME);
    entry.access = AccessList { addresses: vec!["ALL".into()], names: Vec::new() };
    entry.parameters.header_digest = true;
    entry.parameters.data_digest = true;
    entry.units.insert(0, Arc::new(UnitCell::new(1, 0, controller, None)));
    entry.units.insert(1, Arc::new(UnitCell::new(1, 1, disk, Some(store))));
    let mut model = Model::new();
    model.targets.insert(1, Arc::new(entry));
    model
}

fn start(hub: &Arc<Hub>, index: usize, io: IoChoice) -> Result<Server<reactor::AnyDriver>, Box<dyn Error>> {
    // Not random: the example authenticates nobody.
    Ok(Server::new(hub.clone(), index, reactor::start(io)?.driver, Box::new(|| [7; 32])))
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let store: Arc<dyn Store> = match &options.file {
        Some(path) => Arc::new(store::File::open(path.as_ref(), store::OpenOptions::default())?),
        None => Arc::new(store::Memory::new(options.bytes)),
    };
    let hub = Hub::new(model(store), options.reactors, Limits::default());
    for index in 1..options.reactors {
        let (hub, io) = (hub.clone(), options.io);
        std::thread::spawn(move || match start(&hub, index, io) {
            Ok(mut server) => server.run(&AtomicBool::new(false)),
            Err(error) => eprintln!("reactor {index}: {error}"),
        });
    }
    let mut server = start(&hub, 0, options.io)?;
    let portal = server.listen(SocketAddr::from(([127, 0, 0, 1], options.port)))?;
    let mut model = Model::clone(&hub.model());
    model.portals = vec![portal.into()];
    hub.publish(model);
    println!("iscsi://{portal}/{NAME}/1");
    server.run(&AtomicBool::new(false));
    Ok(())
}
