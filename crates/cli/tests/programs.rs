//! The programs as a person or a script runs them.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

const SCUZZY: &str = env!("CARGO_BIN_EXE_scuzzy");
const TGTD: &str = env!("CARGO_BIN_EXE_tgtd");
const TGTADM: &str = env!("CARGO_BIN_EXE_tgtadm");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("scuzzy-programs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("folder");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0).env("TGT_IPC_SOCKET", self.path("ipc")).env("XDG_RUNTIME_DIR", &self.0).stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        self.command(program).args(words).output().expect("runs")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn terminate(child: &mut Child) -> ExitStatus {
    let signalled = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().expect("kill");
    assert!(signalled.success());
    child.wait().expect("ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one line that a refused start prints.
fn complaint(output: &Output) -> String {
    let line = text(&output.stderr);
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    assert_eq!(output.status.code(), Some(1));
    line
}

#[test]
fn serve_tells_where_it_is_and_ends_on_sigterm() {
    let folder = Folder::new("serve");
    let ready = folder.path("ready.json");
    let mut child = folder
        .command(SCUZZY)
        .args(["serve", "--memory", "16M", "--portal", "127.0.0.1:0", "--portal", "[::1]:0", "--ready-file"])
        .arg(&ready)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_for("the ready file", || ready.exists());
    let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(&ready).expect("reads")).expect("JSON");
    let portal = facts["portal"].as_str().expect("portal").to_owned();
    assert_eq!(facts["url"], format!("iscsi://{portal}/iqn.2026-11.io.scuzzy:disk/1"));
    assert_eq!(facts["pid"], child.id());
    assert!(TcpStream::connect(&portal).is_ok());
    let control = facts["control"].as_str().expect("control").to_owned();
    assert_eq!(Path::new(&control), folder.path("scuzzy/control.0"));

    let added = folder.run(SCUZZY, &["fault", "add", "1", "op=WRITE10,lba=0,len=8,key=3,asc=0x0c02", "--control", &control]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let listed = folder.run(SCUZZY, &["fault", "list", "--json"]);
    let rules: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!((&rules[0]["tid"], &rules[0]["lun"], &rules[0]["fired"]), (&1.into(), &1.into(), &0.into()));
    assert!(folder.run(SCUZZY, &["fault", "rm", "all"]).status.success());

    assert!(terminate(&mut child).success());
    let mut printed = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut printed).expect("reads");
    for part in ["iscsiadm -m discovery", "iscsi-inq iscsi://", "qemu-img info iscsi://", "fault add op=WRITE10"] {
        assert!(printed.contains(part), "{part} is missing in {printed}");
    }
    assert!(TcpStream::connect(&portal).is_err());
}

/// A crash of any thread leaves a trace: none of them keeps the signals of a fault back, as the C tgtd's threads do.
#[test]
fn no_thread_keeps_the_signals_of_a_fault_back() {
    let folder = Folder::new("signals");
    let ready = folder.path("ready.json");
    let image = folder.path("disk.img");
    std::fs::write(&image, vec![0; 1 << 20]).expect("image");
    let mut child = folder.command(SCUZZY).args(["serve", "--portal", "127.0.0.1:0", "--ready-file"]).args([&ready, &image]).spawn().expect("starts");
    wait_for("the ready file", || ready.exists());
    // SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
    let faults: u64 = [4, 6, 7, 8, 11].into_iter().map(|signal| 1 << (signal - 1)).sum();
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("threads") {
        let status = std::fs::read_to_string(thread.expect("a thread").path().join("status")).expect("its status");
        for name in ["SigBlk:", "SigIgn:"] {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a mask");
            let mask = u64::from_str_radix(line.trim(), 16).expect("hexadecimal");
            assert_eq!(mask & faults, 0, "{name} {line} in\n{status}");
        }
        threads += 1;
    }
    assert!(threads > 1, "a reactor and the control thread at least");
    assert!(terminate(&mut child).success());
}

#[test]
fn run_serves_while_the_command_runs_and_gives_its_status() {
    let folder = Folder::new("run");
    let command = format!("echo {{url}} && {SCUZZY} status --control {{control}} && test -n \"$SCUZZY_TARGET\" && exit 7");
    let output = folder.run(SCUZZY, &["serve", "--memory", "1M", "--portal", "127.0.0.1:0", "--seed", "0x2a", "--run", &command]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.starts_with("iscsi://127.0.0.1:"), "{printed}");
    assert!(printed.contains("seed 42"), "{printed}");
}

#[test]
fn a_bad_start_gives_one_line_with_the_cure() {
    let folder = Folder::new("bad");
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let busy = taken.local_addr().expect("address").to_string();
    let line = complaint(&folder.run(SCUZZY, &["serve", "--memory", "1M", "--portal", &busy]));
    assert!(line.contains("in use") && line.contains("--portal"), "{line}");
    let line = complaint(&folder.run(SCUZZY, &["serve", "missing.img", "--portal", "127.0.0.1:0"]));
    assert!(line.contains("missing.img") && line.contains("truncate"), "{line}");
    let line = complaint(&folder.run(SCUZZY, &["serve", "--chap", "user", "--portal", "127.0.0.1:0"]));
    assert!(line.contains("SCUZZY_CHAP_SECRET"), "{line}");
    let line = complaint(&folder.run(TGTD, &["-f", "--iscsi", &format!("portal={busy}")]));
    assert!(line.contains(&busy), "{line}");
    let size = folder.run(SCUZZY, &["serve", "--memory", "banana"]);
    assert_eq!(size.status.code(), Some(2));
    assert!(text(&size.stderr).contains("512M"));
}

#[test]
fn an_image_is_served_by_one_daemon_only() {
    let folder = Folder::new("lock");
    std::fs::File::create(folder.path("d.img")).and_then(|file| file.set_len(1 << 20)).expect("image");
    let second = format!("{SCUZZY} serve d.img --portal 127.0.0.1:0 --control second");
    let output = folder.run(SCUZZY, &["serve", "d.img", "--portal", "127.0.0.1:0", "--run", &second]);
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stderr);
    assert!(line.contains("pid"), "{line}");
}

#[test]
fn tgtd_goes_to_the_background_only_when_everything_is_open() {
    let folder = Folder::new("background");
    let started = folder.run(TGTD, &["-C", "5", "-p", "tgtd.pid", "--iscsi", "portal=127.0.0.1:0"]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let shown = folder.run(TGTADM, &["-C", "5", "--mode", "lld", "--op", "show"]);
    assert_eq!(text(&shown.stdout), "LLDs:\n    iscsi: ready\n");
    let pid = std::fs::read_to_string(folder.path("tgtd.pid")).expect("pid file");
    assert!(!pid.ends_with('\n'));

    let second = folder.run(TGTD, &["-C", "5", "--iscsi", "portal=127.0.0.1:0"]);
    assert!(complaint(&second).contains("another tgtd is using"));

    let ended = folder.run(TGTADM, &["-C", "5", "--mode", "system", "--op", "delete"]);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    wait_for("the end", || !folder.path("tgtd.pid").exists());
    assert!(folder.path("ipc.5").exists() && folder.path("ipc.5.lock").exists());
}

#[test]
fn the_demonstration_shows_a_failure_and_its_cure() {
    let folder = Folder::new("demo");
    let begun = Instant::now();
    let output = folder.run(SCUZZY, &["demo"]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    assert!(begun.elapsed() < Duration::from_secs(10));
    for part in ["3/0c02", "auto reallocation failed", "Count:3/0", "Healed", "Now try"] {
        assert!(printed.to_lowercase().contains(&part.to_lowercase()), "{part} is missing in {printed}");
    }
}

#[test]
fn bytes_are_explained() {
    let folder = Folder::new("explain");
    let explain = |words: &[&str]| text(&folder.run(SCUZZY, &[&["explain"], words].concat()).stdout);
    assert!(explain(&["asc", "0c02"]).to_lowercase().contains("auto reallocation failed"));
    assert!(explain(&["cdb", "2a", "00", "00", "00", "08", "00", "00", "00", "08", "00"]).starts_with("WRITE(10)"));
    assert!(explain(&["sense", "70000300000000000a000000000c0200000000"]).starts_with("MEDIUM ERROR"));
}

#[test]
fn manual_pages_and_completions_come_from_the_same_definition() {
    let folder = Folder::new("manual");
    assert!(folder.run(SCUZZY, &["man", "pages"]).status.success());
    let page = std::fs::read_to_string(folder.path("pages/scuzzy-serve.1")).expect("page");
    assert!(page.contains("ephemeral"));
    let script = text(&folder.run(SCUZZY, &["completions", "bash"]).stdout);
    assert!(script.contains("--ready\\-file") || script.contains("--ready-file"));
}
