//! What ends, misleads or hangs with the C tools, tried on ours as real programs. `docs/src/tgt-defects.md` names these tests.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use admin::wire::Frame;

const TGTD: &str = env!("CARGO_BIN_EXE_tgtd");
const TGTADM: &str = env!("CARGO_BIN_EXE_tgtadm");
const TGT_ADMIN: &str = env!("CARGO_BIN_EXE_tgt-admin");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own and a daemon.
struct House {
    folder: PathBuf,
    daemon: Child,
}

impl House {
    /// Waits until the daemon tells its service manager that it serves.
    fn new(name: &str) -> House {
        let folder = std::env::temp_dir().join(format!("scuzzy-defects-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("folder");
        let manager = UnixDatagram::bind(folder.join("manager")).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let daemon = Command::new(TGTD)
            .args(["-f", "-C", "1", "--iscsi", "portal=127.0.0.1:0"])
            .current_dir(&folder)
            .env("TGT_IPC_SOCKET", folder.join("ipc"))
            .env("NOTIFY_SOCKET", folder.join("manager"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).expect("a log"))
            .spawn()
            .expect("tgtd starts");
        let house = House { folder, daemon };
        let mut bytes = [0; 4096];
        let count = manager.recv(&mut bytes).expect("tgtd tells that it serves");
        assert!(bytes[..count].starts_with(b"READY=1"), "{}", bytes[..count].escape_ascii());
        house
    }

    fn run(&self, program: &str, line: &str) -> Output {
        let words = line.split_whitespace().map(|word| word.replace("DIR", &self.folder.to_string_lossy()));
        let mut command = Command::new(program);
        command.args(words).current_dir(&self.folder).env("TGT_IPC_SOCKET", self.folder.join("ipc")).stdin(Stdio::null());
        command.output().expect("runs")
    }

    /// Exit status, and what was told on standard error.
    fn tgtadm(&self, line: &str) -> (Option<i32>, String) {
        let output = self.run(TGTADM, &format!("-C 1 {line}"));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn works(&self, line: &str) -> String {
        let output = self.run(TGTADM, &format!("-C 1 {line}"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn refused(&self, line: &str) -> String {
        let (status, told) = self.tgtadm(line);
        assert_eq!((status, told.lines().count()), (Some(22), 1), "{line}: {told}");
        told
    }

    fn image(&self, name: &str, bytes: u64) {
        fs::File::create(self.folder.join(name)).and_then(|file| file.set_len(bytes)).expect("an image");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn requests_without_their_text_are_refused_and_the_daemon_lives_on() {
    let mut house = House::new("texts");
    house.works("--mode target --op new --tid 1 -T iqn.x:a");
    for (mode, op) in [(1, 0), (1, 3), (1, 4), (1, 5), (0, 5), (3, 0), (3, 1), (7, 0), (7, 1), (7, 3), (7, 4)] {
        let (header, _) = Frame { mode, op, tid: 1, ..Frame::default() }.encode();
        let mut stream = UnixStream::connect(house.folder.join("ipc.1")).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.write_all(&header).expect("sends");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, [17, 0, 0, 0, 8, 0, 0, 0], "mode {mode}, operation {op}");
    }
    assert_eq!(house.refused("--mode account --op delete"), "tgtadm: 'user' option is necessary\n");
    assert_eq!(house.refused("--mode target --op new --tid 0 -T iqn.x:b").lines().count(), 1);
    assert!(house.daemon.try_wait().expect("looks").is_none());
    assert!(house.works("--mode target --op show").starts_with("Target 1: iqn.x:a\n"));
}

#[test]
fn accounts_leave_no_holes() {
    let mut house = House::new("accounts");
    house.works("--mode target --op new --tid 1 -T iqn.x:a");
    for user in ["one", "two", "three"] {
        house.works(&format!("--mode account --op new --user {user} --password secret"));
        house.works(&format!("--mode account --op bind --tid 1 --user {user}"));
    }
    house.works("--mode account --op unbind --tid 1 --user one");
    let shown = house.works("--mode target --op show");
    assert!(shown.contains("Account information:\n        two\n        three\n    ACL"), "{shown}");
    assert!(house.daemon.try_wait().expect("looks").is_none());
}

#[test]
fn a_long_barcode_does_no_harm() {
    let mut house = House::new("barcode");
    house.image("changer", 1 << 20);
    house.works("--mode target --op new --tid 1 -T iqn.x:a");
    // Whether or not there are changers: the daemon answers, and lives on.
    house.tgtadm("--mode lu --op new --tid 1 --lun 1 -Y changer -b DIR/changer");
    house.refused("--mode lu --op update --tid 1 --lun 1 --params element_type=2,address=1,barcode=ABCDEFGHIJK");
    assert!(house.daemon.try_wait().expect("looks").is_none());
    house.works("--mode target --op show");
}

#[test]
fn signals_end_tgtd_in_order() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut house = House::new(&format!("signal{signal}"));
        house.works("--mode target --op new --tid 1 -T iqn.x:a");
        let sent = Command::new("kill").args([signal, &house.daemon.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = house.daemon.try_wait().expect("looks") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "{signal} does not end it");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn the_service_manager_hears_of_a_daemon_that_serves() {
    // `House::new` goes on with READY=1: from then on there is no race to lose.
    let house = House::new("ready");
    assert_eq!(house.works("--mode lld --op show"), "LLDs:\n    iscsi: ready\n");
    assert!(house.works("--mode portal --op show").starts_with("Portal: 127.0.0.1:"));
}

#[test]
fn the_cause_of_an_invalid_request_is_told_when_asked_for() {
    let house = House::new("cause");
    house.works("--mode target --op new --tid 1 -T iqn.x:a");
    let line = "--mode lu --op new --tid 1 --lun 1 -b /no/such/image";
    assert_eq!(house.refused(line), "tgtadm: invalid request\n", "the C tool's text, as a transcript has it");
    let (status, told) = house.tgtadm(&format!("-d {line}"));
    let last = told.lines().last().unwrap_or_default();
    assert!(status == Some(22) && last.starts_with("tgtadm: invalid request: ") && last.contains("/no/such/image"), "{told}");
    let log = fs::read_to_string(house.folder.join("log")).expect("the log");
    assert!(log.contains("/no/such/image"), "{log}");
}

#[test]
fn a_failed_connect_tells_its_cause_when_asked_for() {
    let house = House::new("connect");
    let common = "tgtadm: failed to send request hdr to tgt daemon, Transport endpoint is not connected\n";
    assert_eq!(house.tgtadm("-C 9 --mode target --op show"), (Some(107), common.into()), "the C tool's text and status, as a transcript has them");
    let (status, told) = house.tgtadm("-C 9 -d --mode target --op show");
    assert!(status == Some(107) && told.contains("ipc.9: No such file or directory"), "{told}");
}

#[test]
fn a_medium_that_could_not_be_opened_does_not_come_online() {
    let house = House::new("medium");
    house.image("a.img", 10 << 20);
    house.works("--mode target --op new --tid 1 -T iqn.x:a");
    house.works("--mode lu --op new --tid 1 --lun 1 -b DIR/a.img");
    house.refused("--mode lu --op update --tid 1 --lun 1 --params online=0,path=/no/such/image");
    house.refused("--mode lu --op update --tid 1 --lun 1 --params online=1");
    let shown = house.works("--mode target --op show");
    let unit = shown.split("LUN: 1\n").nth(1).expect("the unit");
    assert!(unit.contains("Online: No"), "{unit}");
    house.works("--mode lu --op update --tid 1 --lun 1 --params path=DIR/a.img");
    let shown = house.works("--mode target --op show");
    assert!(shown.split("LUN: 1\n").nth(1).is_some_and(|unit| unit.contains("Online: Yes") && unit.contains("Size: 10 MB")), "{shown}");
}

#[test]
fn tgt_admin_refuses_what_it_does_not_know() {
    let house = House::new("unknown");
    for line in ["--nosuch", "-e --nosuch", "-Z"] {
        let output = house.run(TGT_ADMIN, line);
        assert_eq!(output.status.code(), Some(22), "{line}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(!output.stderr.is_empty(), "{line}");
    }
}

#[test]
fn tgt_admin_fails_without_a_daemon() {
    if !is_root() {
        return;
    }
    let house = House::new("absent");
    fs::write(house.folder.join("t.conf"), "<target iqn.x:a>\n</target>\n").expect("written");
    for line in ["-s", "--dump", "--offline ALL", "--delete ALL", "-e -c t.conf", "--update ALL -c t.conf"] {
        let output = house.run(TGT_ADMIN, &format!("-C 9 {line}"));
        assert_eq!(output.status.code(), Some(107), "{line}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_sheepdog_volume_is_no_file_to_look_for() {
    if !is_root() {
        return;
    }
    let house = House::new("sheepdog");
    let text = "<target iqn.x:a>\n<backing-store unix:/run/sheep/sock:volume>\nbs-type sheepdog\n</backing-store>\n</target>\n";
    fs::write(house.folder.join("t.conf"), text).expect("written");
    let output = house.run(TGT_ADMIN, "-C 1 -p -e -c t.conf");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("-b 'unix:/run/sheep/sock:volume' --bstype sheepdog\n") && !told.contains("Skipping"), "{told}");
}

#[test]
fn a_configuration_opens_portals() {
    if !is_root() {
        return;
    }
    let house = House::new("portals");
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let (one, other) = (free(), free());
    let text = format!("portal {one}\nportal {other}\n<target iqn.x:a>\n</target>\n");
    fs::write(house.folder.join("t.conf"), text).expect("written");
    // Twice: what is open stays open and is no failure.
    for _ in 0..2 {
        let output = house.run(TGT_ADMIN, "-C 1 -e -c t.conf");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()), (Some(0), String::new()));
        let shown = house.works("--mode portal --op show");
        assert!(shown.contains(&format!("Portal: {one},1\n")) && shown.contains(&format!("Portal: {other},1\n")), "{shown}");
        assert_eq!(shown.lines().count(), 3);
    }
}

#[test]
fn tgtimg_takes_its_short_options() {
    let house = House::new("thin");
    let output = house.run(env!("CARGO_BIN_EXE_tgtimg"), "-o new -Y disk -t disk -s 16 -T -f DIR/thin.img");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(house.folder.join("thin.img")).expect("the image").len(), 16 << 20);
}
