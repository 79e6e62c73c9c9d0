//! Several daemons in one process, each with its own portals, control socket and disks.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use daemon::{Daemon, DiskSettings, MediumSettings, Portal, Running, Settings, StartError, TargetSettings};

fn settings(control: &Path, medium: MediumSettings) -> Settings {
    let disk = DiskSettings { medium, block_size: scsi::BlockSize::B512, read_only: false, protection: None };
    Settings {
        portals: vec![Portal::required(([127, 0, 0, 1], 0).into())],
        control: Some(control.into()),
        reactors: Some(1),
        seed: Some(1),
        targets: vec![TargetSettings { name: "iqn.2020-01.com.example:a".into(), allow: vec!["ALL".into()], account: None, disks: vec![disk] }],
        ..Settings::default()
    }
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("scuzzy-two-daemons-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder");
    folder
}

fn reached(running: &Running) -> bool {
    running.portals().iter().all(|portal| TcpStream::connect(portal).is_ok())
        && running.control_path().is_some_and(|path| UnixStream::connect(path).is_ok())
}

#[test]
fn they_live_side_by_side_and_end_cleanly() {
    let folder = folder();
    let memory = || MediumSettings::Memory(1 << 20);
    let first = Daemon::start(settings(&folder.join("first"), memory())).expect("first starts");
    let second = Daemon::start(settings(&folder.join("second"), memory())).expect("second starts");
    assert!(reached(&first) && reached(&second));

    let third = Daemon::start(settings(&folder.join("first"), memory())).map(|_| ());
    assert_eq!(third, Err(StartError::ControlBusy { path: folder.join("first") }));
    let taken = Settings { portals: vec![Portal::required(first.portals()[0])], ..settings(&folder.join("third"), memory()) };
    let refused = Daemon::start(taken).map(|_| ());
    assert!(matches!(refused, Err(StartError::Portal { busy: true, .. })), "{refused:?}");

    let portal = first.portals()[0];
    first.stop();
    assert!(TcpStream::connect(portal).is_err());
    assert!(UnixStream::connect(folder.join("first")).is_err());
    assert!(folder.join("first").exists(), "the socket file stays");
    assert!(reached(&second));
    second.stopper().request();
    second.wait();
    second.stop();

    let missing = MediumSettings::File { path: folder.join("missing.img"), direct: false, sync: false, ephemeral: false };
    let refused = Daemon::start(settings(&folder.join("fourth"), missing)).map(|_| ());
    assert!(matches!(&refused, Err(StartError::Model(line)) if line.contains("missing.img")), "{refused:?}");
    std::fs::remove_dir_all(&folder).expect("clean");
}
