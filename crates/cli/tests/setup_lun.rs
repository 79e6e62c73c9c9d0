//! tgt-setup-lun and tgtimg as a script runs them: what the transcripts of the C tools cannot show.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than the daemon takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("scuzzy-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn command(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0).env("TGT_IPC_SOCKET", self.0.join("ipc")).stdin(Stdio::null()).args(line.split_whitespace());
        command
    }

    fn setup(&self, line: &str) -> Output {
        self.command(env!("CARGO_BIN_EXE_tgt-setup-lun"), line).output().expect("runs")
    }

    fn tgtadm(&self, line: &str) -> Output {
        self.command(env!("CARGO_BIN_EXE_tgtadm"), line).output().expect("runs")
    }

    fn tgtimg(&self, line: &str) -> Output {
        self.command(env!("CARGO_BIN_EXE_tgtimg"), line).output().expect("runs")
    }

    fn shown(&self) -> String {
        out(&self.tgtadm("--mode target --op show"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Killed at the end.
struct Daemon(Child);

impl Daemon {
    fn start(folder: &Folder) -> Daemon {
        let line = "-f --iscsi portal=127.0.0.1:0 --reactors 1";
        let child = folder.command(env!("CARGO_BIN_EXE_tgtd"), line).stderr(Stdio::null()).spawn().expect("starts");
        let daemon = Daemon(child);
        let deadline = Instant::now() + PATIENCE;
        while !folder.tgtadm("--mode lld --op show").status.success() {
            assert!(Instant::now() < deadline, "tgtd does not serve");
            thread::sleep(Duration::from_millis(10));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_daemon_one_clear_answer() {
    let folder = Folder::new("setup-none");
    let output = folder.setup("-n a -d /dev/null");
    assert_eq!((out(&output).as_str(), output.status.code()), ("tgtd is not running\nExiting...\n", Some(1)));
    let output = folder.setup("");
    assert!(out(&output).starts_with("Usage: tgt-setup-lun") && output.status.code() == Some(1));
}

#[test]
fn the_target_after_many_and_the_file_of_the_callers_folder() {
    let folder = Folder::new("setup-many");
    let _daemon = Daemon::start(&folder);
    for tid in 1..=256 {
        let line = format!("--mode target --op new --tid {tid} --targetname iqn.2026-11.org.example:t{tid}");
        assert!(folder.tgtadm(&line).status.success());
    }
    fs::write(folder.0.join("disk.img"), [0; 65536]).expect("an image");
    let output = folder.setup("-n many -d disk.img 192.0.2.0/24 iqn.2026-11.org.example:host");
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).contains("-many, tid=257)"), "{}", out(&output));
    let shown = folder.shown();
    let last = shown.split("Target 257: iqn.2001-04.com.").nth(1).expect("the target");
    assert!(last.contains(&format!("Backing store path: {}", folder.0.join("disk.img").display())), "{last}");
    assert!(last.contains("        192.0.2.0/24\n") && last.contains("        iqn.2026-11.org.example:host\n"), "{last}");
}

#[test]
fn many_at_once_get_a_number_each() {
    let folder = Folder::new("setup-race");
    let _daemon = Daemon::start(&folder);
    fs::write(folder.0.join("disk.img"), [0; 65536]).expect("an image");
    thread::scope(|scope| {
        let folder = &folder;
        let running: Vec<_> =
            (0..8).map(|number| scope.spawn(move || folder.setup(&format!("-n iqn.2026-11.org.example:n{number} -d disk.img")))).collect();
        for one in running {
            let output = one.join().expect("ends");
            assert!(output.status.success(), "{}{}", out(&output), err(&output));
        }
    });
    let shown = folder.shown();
    assert!((1..=8).all(|tid| shown.contains(&format!("Target {tid}: "))), "{shown}");
    assert_eq!(shown.matches("LUN: 1\n").count(), 8);
}

#[test]
fn a_rule_that_is_refused_takes_the_new_target_with_it() {
    let folder = Folder::new("setup-rule");
    let _daemon = Daemon::start(&folder);
    fs::write(folder.0.join("disk.img"), [0; 65536]).expect("an image");
    // Longer than a request may be.
    let long = "a".repeat(9000);
    let output = folder.setup(&format!("-n iqn.2026-11.org.example:a -d disk.img 192.0.2.1 {long}"));
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).ends_with(&format!("Error: could not assign initiator {long} to the target\n")), "{}", err(&output));
    assert!(out(&output).ends_with("Deleting new target, tid=1\n"), "{}", out(&output));
    assert_eq!(folder.shown(), "");

    let output = folder.setup("-C 99999 -n a -d disk.img");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).starts_with("-C argument value '99999' out of range\n"), "{}", err(&output));
}

#[test]
fn a_disk_that_has_no_room_leaves_no_file() {
    let folder = Folder::new("images");
    let output = folder.tgtimg("-o new -Y disk -t disk -s 2147483647 -f huge.img");
    assert_eq!((err(&output).as_str(), output.status.code()), ("posix_fallocate failed: No space left on device\n", Some(3)));
    assert!(!folder.0.join("huge.img").exists());

    let output = folder.tgtimg("-o new -Y disk -t disk -s 3 -T -f thin.img");
    assert_eq!((out(&output).as_str(), output.status.code()), ("Created blank DISK image file : thin.img\n", Some(0)));
    let facts = fs::metadata(folder.0.join("thin.img")).expect("made");
    assert!((facts.len(), facts.mode() & 0o117) == (3 << 20, 0) && facts.blocks() < 64, "{facts:?}");

    let output = folder.tgtimg("-o new -Y disk -t disk -s 3 -f thin.img");
    assert!(output.status.success());
    assert!(fs::metadata(folder.0.join("thin.img")).expect("made again").blocks() >= (3 << 20) / 512);
}

#[test]
fn a_barcode_without_room_leaves_the_old_file_alone() {
    let folder = Folder::new("barcode");
    fs::write(folder.0.join("tape.img"), b"precious").expect("a file");
    let output = folder.tgtimg("-o new -t data -s 1 -b 123456789012345678901 -f tape.img");
    assert_eq!((err(&output).as_str(), output.status.code()), ("tgtimg: the barcode has more than 20 bytes\n", Some(22)));
    assert_eq!(fs::read(folder.0.join("tape.img")).expect("reads"), b"precious");

    assert!(folder.tgtimg("-o new -t worm -s 1 -b W00001 -f tape.img").status.success());
    let listed: serde_json::Value = serde_json::from_slice(&folder.tgtimg("-o show --json -f tape.img").stdout).expect("JSON");
    assert_eq!((&listed["barcode"], &listed["type"], &listed["maximum_bytes"]), (&"W00001".into(), &"WORM".into(), &(1u64 << 20).into()));
}
