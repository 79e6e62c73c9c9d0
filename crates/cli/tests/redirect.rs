//! Logins that are sent elsewhere: by an address, and by a program that is quick, slow, broken, or never ends.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use iscsi::initiator::{Connection, Event, Settings};

const TGTD: &str = env!("CARGO_BIN_EXE_tgtd");
const TGTADM: &str = env!("CARGO_BIN_EXE_tgtadm");
const TARGET: &str = "iqn.2026-01.test:moved";
const OTHER: &str = "iqn.2026-01.test:here";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon with two targets, in a folder of its own.
struct House {
    folder: PathBuf,
    daemon: Child,
    portals: Vec<SocketAddr>,
}

impl House {
    fn new(name: &str) -> House {
        let folder = std::env::temp_dir().join(format!("scuzzy-moved-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let daemon = Command::new(TGTD)
            .args(["-f", "-C", "1", "--iscsi", "portal=127.0.0.1:0,portal=[::1]:0"])
            .current_dir(&folder)
            .env("TGT_IPC_SOCKET", folder.join("ipc"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).expect("a log"))
            .spawn()
            .expect("tgtd starts");
        let mut house = House { folder, daemon, portals: Vec::new() };
        let begun = Instant::now();
        while house.portals.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "tgtd does not answer: {}", house.log());
            let shown = house.ask("--mode portal --op show");
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            let address = |line: &str| line.strip_prefix("Portal: ")?.split(',').next()?.parse().ok();
            house.portals = shown.lines().filter_map(address).collect();
            std::thread::sleep(Duration::from_millis(10));
        }
        for (tid, target) in [(1, TARGET), (2, OTHER)] {
            house.tgtadm(&format!("--mode target --op new --tid {tid} -T {target}"));
            house.tgtadm(&format!("--mode target --op bind --tid {tid} -I ALL"));
        }
        house
    }

    fn ask(&self, line: &str) -> Output {
        Command::new(TGTADM).args(["-C", "1"]).args(line.split(' ')).env("TGT_IPC_SOCKET", self.folder.join("ipc")).output().expect("tgtadm runs")
    }

    fn tgtadm(&self, line: &str) {
        let output = self.ask(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn set(&self, name: &str, value: &str) {
        let output = Command::new(TGTADM)
            .args(["-C", "1", "--mode", "target", "--op", "update", "--tid", "1", "--name", name, "--value", value])
            .env("TGT_IPC_SOCKET", self.folder.join("ipc"))
            .output()
            .expect("tgtadm runs");
        assert!(output.status.success(), "{name}={value}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The program that decides from now on.
    fn script(&self, body: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.join("where");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        self.set("RedirectCallback", &path.to_string_lossy());
    }

    fn portal(&self, ipv6: bool) -> SocketAddr {
        *self.portals.iter().find(|portal| portal.is_ipv6() == ipv6).expect("a portal")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// How a login ended: its status, and where it was sent.
#[derive(PartialEq, Eq, Debug)]
struct Ended(u16, Option<String>);

fn sent(status: u16, address: &str) -> Ended {
    Ended(status, Some(address.into()))
}

/// A login that has sent its request.
struct Login {
    stream: TcpStream,
    connection: Connection,
}

impl Login {
    fn begin(portal: SocketAddr, target: &str) -> Login {
        let stream = TcpStream::connect(portal).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut login = Login { stream, connection: Connection::new(Settings::new("iqn.2026-01.test:host", Some(target))) };
        login.send();
        login
    }

    fn send(&mut self) {
        while let Some(bytes) = self.connection.poll_output() {
            self.stream.write_all(&bytes).expect("sends");
        }
    }

    fn end(mut self) -> Ended {
        let mut bytes = vec![0; 65536];
        loop {
            self.send();
            match self.connection.poll_event() {
                Some(Event::LoggedIn { .. }) => return Ended(0, None),
                Some(Event::LoginFailed { status, moved_to }) => return Ended(status, moved_to),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            let count = self.stream.read(&mut bytes).expect("an answer");
            assert!(count > 0, "the connection was closed without an answer");
            self.connection.handle_bytes(&bytes[..count]);
        }
    }
}

fn login(portal: SocketAddr, target: &str) -> Ended {
    Login::begin(portal, target).end()
}

#[test]
fn an_address_sends_logins_away_for_a_while_or_for_ever() {
    let house = House::new("address");
    let portal = house.portal(false);
    house.set("RedirectAddress", "192.0.2.7");
    house.set("RedirectPort", "3299");
    assert_eq!(login(portal, TARGET), Ended(0, None), "without a reason nobody is sent away");
    house.set("RedirectReason", "Temporary");
    assert_eq!(login(portal, TARGET), sent(0x0101, "192.0.2.7:3299"));
    house.set("RedirectReason", "Permanent");
    assert_eq!(login(portal, TARGET), sent(0x0102, "192.0.2.7:3299"));
    house.set("RedirectAddress", "[2001:db8::7]");
    assert_eq!(login(portal, TARGET), sent(0x0102, "[2001:db8::7]:3299"));
    house.set("RedirectAddress", "2001:db8::7");
    assert_eq!(login(house.portal(true), TARGET), sent(0x0102, "[2001:db8::7]:3299"));
    house.set("RedirectPort", "");
    assert_eq!(login(portal, TARGET), sent(0x0102, "[2001:db8::7]:3260"));
    assert_eq!(login(portal, OTHER), Ended(0, None), "other targets stay");
    // The initiator is there itself.
    house.set("RedirectAddress", "127.0.0.1");
    assert_eq!(login(portal, TARGET), Ended(0, None));
    house.set("RedirectAddress", "");
    assert_eq!(login(portal, TARGET), Ended(0, None));
}

#[test]
fn a_program_sends_logins_away_or_keeps_them() {
    let house = House::new("program");
    let portal = house.portal(false);
    house.script(&format!("ls -l /proc/$$/fd > {}; test \"$1\" = {TARGET} && echo 192.0.2.8:3298:Temporary", house.folder.join("open").display()));
    assert_eq!(login(portal, TARGET), sent(0x0101, "192.0.2.8:3298"));
    let open = std::fs::read_to_string(house.folder.join("open")).expect("what it had open");
    let own = Command::new("ls").args(["-l", "/proc/self/fd"]).output().expect("ls runs");
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    let sockets = |text: &str| text.split_whitespace().filter(|word| word.starts_with("socket:")).map(str::to_owned).collect::<Vec<_>>();
    assert!(sockets(&open).iter().all(|socket| sockets(&own).contains(socket)), "sockets of the daemon: {open}");
    house.script("test \"$2\" = ::1 && echo \"[2001:db8::8]:3298:Permanent\"");
    assert_eq!(login(house.portal(true), TARGET), sent(0x0102, "[2001:db8::8]:3298"));
    // The very portal that it came to: it stays.
    house.script("echo \"$PORTAL:Temporary\"");
    assert_eq!(login(portal, TARGET), Ended(0, None));
    assert_eq!(login(house.portal(true), TARGET), Ended(0, None));
    house.set("RedirectCallback", "");
    assert_eq!(login(portal, TARGET), Ended(0, None), "an empty path is none");
}

#[test]
fn a_broken_program_is_a_target_error_and_tells_the_log() {
    let house = House::new("broken");
    let portal = house.portal(false);
    for (body, reason) in [
        ("exit 1", "exit status: 1"),
        ("kill -SEGV $$", "signal"),
        ("echo nowhere", "ADDRESS:PORT:Temporary"),
        ("head -c 100000 /dev/zero", "more than 300 bytes"),
    ] {
        house.script(body);
        assert_eq!(login(portal, TARGET), Ended(0x0300, None), "{body}");
        assert!(house.log().contains(reason), "{body}: {}", house.log());
    }
    house.set("RedirectCallback", "/nonexistent/where");
    assert_eq!(login(portal, TARGET), Ended(0x0300, None));
    assert_eq!(login(portal, OTHER), Ended(0, None));
}

#[test]
fn nobody_waits_for_a_slow_program_but_its_own_login() {
    let house = House::new("slow");
    let portal = house.portal(false);
    let gate = house.folder.join("gate");
    house.script(&format!("while [ ! -e {} ]; do sleep 0.05; done; echo 192.0.2.9:3297:Permanent", gate.display()));
    let slow: Vec<Login> = (0..3).map(|_| Login::begin(portal, TARGET)).collect();
    for _ in 0..20 {
        assert_eq!(login(portal, OTHER), Ended(0, None));
    }
    house.tgtadm("--mode target --op show");
    std::fs::write(&gate, "").expect("the gate opens");
    for login in slow {
        assert_eq!(login.end(), sent(0x0102, "192.0.2.9:3297"));
    }
}

#[test]
fn a_program_that_never_ends_and_a_flood_of_logins_are_service_unavailable() {
    let house = House::new("hang");
    let portal = house.portal(false);
    house.script(&format!("echo $$ >> {}; exec sleep 1000", house.folder.join("pids").display()));
    let flood: Vec<Login> = (0..120).map(|_| Login::begin(portal, TARGET)).collect();
    // Those who find no place in the queue are told at once, those who wait are told in the end; everyone else is served meanwhile.
    for _ in 0..20 {
        assert_eq!(login(portal, OTHER), Ended(0, None));
    }
    for login in flood {
        assert_eq!(login.end(), Ended(0x0301, None));
    }
    let pids = std::fs::read_to_string(house.folder.join("pids")).expect("they ran");
    // Four at once and 64 that wait is what one address may have; those whose turn came before their time was over have run.
    assert!((1..=68).contains(&pids.lines().count()), "{pids}");
    let begun = Instant::now();
    while pids.lines().any(|pid| std::path::Path::new("/proc").join(pid).exists()) {
        assert!(begun.elapsed() < PATIENCE, "a program was not killed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn strangers_start_no_program() {
    let house = House::new("stranger");
    let mark = house.folder.join("ran");
    house.script(&format!("touch {}; echo 192.0.2.9:3297:Permanent", mark.display()));
    house.tgtadm("--mode target --op unbind --tid 1 -I ALL");
    house.tgtadm("--mode target --op bind --tid 1 -I 192.0.2.0/24");
    assert_eq!(login(house.portal(false), TARGET), Ended(0x0203, None));
    assert!(!mark.exists());
    let peer: IpAddr = house.portal(false).ip();
    house.tgtadm(&format!("--mode target --op bind --tid 1 -I {peer}"));
    assert_eq!(login(house.portal(false), TARGET), sent(0x0102, "192.0.2.9:3297"));
    assert!(mark.exists());
}
