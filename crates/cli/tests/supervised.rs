//! tgtd under a service manager: when it is ready, that it lives, and the sockets that are passed to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const TGTD: &str = env!("CARGO_BIN_EXE_tgtd");
const TGTADM: &str = env!("CARGO_BIN_EXE_tgtadm");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("scuzzy-supervised-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("folder");
        Folder(path)
    }

    fn tgtadm(&self, line: &str) -> Output {
        Command::new(TGTADM).args(line.split(' ')).env("TGT_IPC_SOCKET", self.0.join("ipc")).output().expect("runs")
    }

    fn manager(&self, name: &str) -> UnixDatagram {
        let socket = UnixDatagram::bind(self.0.join(name)).expect("binds");
        socket.set_read_timeout(Some(PATIENCE)).expect("sets");
        socket
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Killed when the value goes.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(name).arg(self.0.id().to_string()).status().expect("kill").success());
    }

    fn wait(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("waits") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn message(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let len = socket.recv(&mut bytes).expect("a message in time");
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// An iSCSI login for discovery; true when a login response comes.
fn answers(address: SocketAddr) -> bool {
    let text = b"InitiatorName=iqn.2026-11.org.example:test\0SessionType=Discovery\0";
    let mut request = vec![0; 48];
    // Immediate login request; transit from the operational stage to full feature phase.
    request[0] = 0x43;
    request[1] = 0x87;
    request[7] = u8::try_from(text.len()).expect("short");
    request[8] = 0x80;
    request.extend_from_slice(text);
    request.resize(request.len().next_multiple_of(4), 0);
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("sets");
    stream.write_all(&request).expect("sends");
    let mut header = [0; 48];
    stream.read_exact(&mut header).is_ok() && header[0] == 0x23
}

#[test]
fn the_manager_hears_when_it_serves_lives_and_ends() {
    let folder = Folder::new("notify");
    let manager = folder.manager("notify");
    let mut command = Command::new(TGTD);
    command.args(["-f", "--reactors", "2", "--iscsi", "portal=127.0.0.1:0"]).env("TGT_IPC_SOCKET", folder.0.join("ipc"));
    command.env("NOTIFY_SOCKET", folder.0.join("notify")).env("WATCHDOG_USEC", "40000").stderr(Stdio::null());
    let mut daemon = Daemon(command.spawn().expect("starts"));
    let mut heard = message(&manager);
    let mut alive = 0;
    // The watchdog may speak first: it is all well before anybody is told that it serves.
    while !heard.starts_with("READY=1") {
        assert_eq!(heard, "WATCHDOG=1");
        heard = message(&manager);
    }
    // No start race: who is told that it serves gets an answer at once.
    assert!(folder.tgtadm("--mode sys --op show").status.success());
    while alive < 3 {
        assert_eq!(message(&manager), "WATCHDOG=1");
        alive += 1;
    }
    daemon.signal("-STOP");
    manager.set_read_timeout(Some(Duration::from_millis(300))).expect("sets");
    let mut bytes = [0; 64];
    // What was on its way, then nothing.
    while manager.recv(&mut bytes).is_ok() {}
    daemon.signal("-CONT");
    manager.set_read_timeout(Some(PATIENCE)).expect("sets");
    assert_eq!(message(&manager), "WATCHDOG=1");
    daemon.signal("-TERM");
    while message(&manager) != "STOPPING=1" {}
    assert!(daemon.wait());
}

#[test]
fn a_watchdog_of_another_process_hears_nothing() {
    let folder = Folder::new("other");
    let manager = folder.manager("notify");
    let mut command = Command::new(TGTD);
    command.args(["-f", "--reactors", "1", "--iscsi", "portal=127.0.0.1:0"]).env("TGT_IPC_SOCKET", folder.0.join("ipc"));
    command.env("NOTIFY_SOCKET", folder.0.join("notify")).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1").stderr(Stdio::null());
    let daemon = Daemon(command.spawn().expect("starts"));
    assert!(message(&manager).starts_with("READY=1"));
    assert!(folder.tgtadm("--mode sys --op show").status.success());
    daemon.signal("-TERM");
    assert_eq!(message(&manager), "STOPPING=1");
}

/// What a service manager holds: two portals and the control socket.
struct Sockets {
    portals: [TcpListener; 2],
    control: UnixListener,
}

impl Sockets {
    fn new(folder: &Folder) -> Sockets {
        // Bound to a port that was asked for, as a service manager's are: the kernel forgets those that it chose itself. Somebody may be faster.
        let bind = |_| {
            let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            TcpListener::bind(free)
        };
        let portal = || (0..100).map(bind).find_map(Result::ok).expect("a free port");
        Sockets { portals: [portal(), portal()], control: UnixListener::bind(folder.0.join("ipc.0")).expect("binds") }
    }

    fn address(&self, index: usize) -> SocketAddr {
        self.portals[index].local_addr().expect("an address")
    }

    /// Starts tgtd with the sockets as descriptors 3 to 5, as a service manager does: the shell moves them there and becomes tgtd.
    fn start(&self, folder: &Folder, options: &str) -> Daemon {
        let script = format!(
            "exec 3<&0 4<&1 5<&2 0</dev/null 1>{0}/out 2>{0}/err; LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=iscsi:control:iscsi exec {TGTD} {options}",
            folder.0.display()
        );
        let handle = |socket: OwnedFd| Stdio::from(socket);
        let mut command = Command::new("bash");
        command.args(["-c", &script]).env("NOTIFY_SOCKET", folder.0.join("notify")).env("TGT_IPC_SOCKET", "/nowhere/ipc");
        command.stdin(handle(self.portals[0].try_clone().expect("clones").into()));
        command.stdout(handle(self.control.try_clone().expect("clones").into()));
        command.stderr(handle(self.portals[1].try_clone().expect("clones").into()));
        Daemon(command.spawn().expect("starts"))
    }
}

#[test]
fn passed_sockets_are_served_and_stay_with_who_passed_them() {
    let folder = Folder::new("passed");
    let manager = folder.manager("notify");
    let sockets = Sockets::new(&folder);
    let (first, second) = (sockets.address(0), sockets.address(1));
    let mut daemon = sockets.start(&folder, "-f --reactors 1");
    assert!(message(&manager).starts_with("READY=1"));
    let portals = |folder: &Folder| String::from_utf8_lossy(&folder.tgtadm("--mode portal --op show").stdout).into_owned();
    assert_eq!(portals(&folder), format!("Portal: {second},1\nPortal: {first},1\n"), "nothing but what was passed");
    // A daemon without targets turns initiators away.
    let target = "--mode target --op new --tid 1 --targetname iqn.2026-11.org.example:one";
    assert!(folder.tgtadm(target).status.success());
    assert!(answers(first) && answers(second));

    // A portal that is taken away refuses, although the socket is held elsewhere, too; it can come back.
    assert!(folder.tgtadm(&format!("--mode portal --op delete --params portal={first}")).status.success());
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(first).is_ok() {
        assert!(Instant::now() < deadline, "{first} still takes connections");
    }
    assert!(folder.tgtadm(&format!("--mode portal --op new --params portal={first}")).status.success());
    assert!(answers(first));

    // The end of the daemon is seen although the sockets still listen; the next one goes on with them.
    assert!(folder.tgtadm("--mode target --op delete --tid 1").status.success());
    assert!(folder.tgtadm("--mode system --op delete").status.success());
    assert_eq!(message(&manager), "STOPPING=1");
    assert!(daemon.wait());
    let waiting = TcpStream::connect(second).expect("still listens");
    let mut daemon = sockets.start(&folder, "-f --reactors 1 --iscsi portal=127.0.0.1:0");
    assert!(message(&manager).starts_with("READY=1"));
    assert_eq!(portals(&folder).lines().count(), 3, "portals of the command line come in addition");
    assert!(folder.tgtadm(target).status.success());
    assert!(answers(first) && answers(second));
    drop(waiting);
    daemon.signal("-TERM");
    assert!(daemon.wait());
}

#[test]
fn what_cannot_be_a_portal_is_refused_in_one_line() {
    let folder = Folder::new("refused");
    let script = format!("exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec {TGTD} -f");
    let run = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", script]).env("TGT_IPC_SOCKET", folder.0.join("ipc")).stdin(Stdio::null());
        let output = command.output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let told = |line: &str| (Some(1), format!("tgtd: {line}\n"));
    assert_eq!(run(&script), told("passed sockets: descriptor 3: no socket that listens"));
    assert_eq!(run(&script.replace("LISTEN_FDS=1", "LISTEN_FDS=x")), told("passed sockets: LISTEN_FDS 'x': expected a number from 0 to 1024"));
    let closed = script.replace("3<&0", "3<&-");
    assert_eq!(run(&closed), told("passed sockets: descriptor 3 is not open, but LISTEN_FDS says so"));
    let background = script.replace(" -f", "");
    assert_eq!(run(&background), told("sockets were passed (LISTEN_FDS), which only a daemon in the foreground takes: add --foreground"));
}
