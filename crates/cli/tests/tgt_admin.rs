//! tgt-admin against a daemon of ours: from a configuration to targets and back.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own and maybe a daemon, both gone at the end.
struct Place {
    folder: PathBuf,
    daemon: Option<Child>,
}

impl Place {
    fn new(name: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("tgt-admin-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Place { folder, daemon: None }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("TGT_IPC_SOCKET", self.folder.join("ipc")).stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        let mut command = self.command(env!("CARGO_BIN_EXE_tgtd"));
        command.args(["-f", "--iscsi", "portal=127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemon = Some(command.spawn().expect("tgtd starts"));
        let start = Instant::now();
        while !self.admin("-s").status.success() {
            assert!(start.elapsed() < PATIENCE, "tgtd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("written");
    }

    fn admin(&self, line: &str) -> Output {
        self.command(env!("CARGO_BIN_EXE_tgt-admin")).args(line.split_whitespace()).output().expect("tgt-admin runs")
    }

    /// Standard output of a run that ends well and without complaint.
    fn works(&self, line: &str) -> String {
        let output = self.admin(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{line}: {}", text(&output.stdout));
        text(&output.stdout)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_configuration_becomes_targets_and_is_dumped_again() {
    let mut place = Place::new("back");
    if !is_root() {
        let output = place.admin("-e");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(255), b"You must be root to run this program.\n".as_slice()));
        return;
    }
    for name in ["a b.img", "c.img"] {
        fs::File::create(place.folder.join(name)).and_then(|file| file.set_len(1 << 20)).expect("an image");
    }
    let folder = place.folder.display().to_string();
    let text = format!(
        "default-driver iscsi\n\n<target iqn.x:a>\n\t<backing-store {folder}/a b.img>\n\t\tlun 3\n\t</backing-store>\n\t\
         <backing-store {folder}/c.img>\n\t\tlun 7\n\t\treadonly 1\n\t</backing-store>\n\tincominguser u PLEASE_CORRECT_THE_PASSWORD\n\t\
         initiator-address 10.0.0.0/8\n\tinitiator-name iqn.y:b\n</target>\n\n<target iqn.x:b>\n</target>\n\n"
    );
    place.write("t.conf", &text);
    place.start();
    assert_eq!(place.works("-e -c t.conf"), "");
    assert_eq!(place.works("--dump"), text);
    assert_eq!(place.works("--update ALL -c t.conf"), "");
    assert_eq!(place.works("--dump"), text);
    place.write("one.conf", "<target iqn.x:b>\n</target>\n");
    assert_eq!(place.works("-e -c one.conf"), "");
    assert_eq!(place.works("--dump"), "default-driver iscsi\n\n<target iqn.x:b>\n</target>\n\n");
    assert_eq!(place.works("--delete ALL"), "");
    assert_eq!(place.works("-s"), "");
}

#[test]
fn a_mistake_is_found_before_anything_is_made() {
    if !is_root() {
        return;
    }
    let mut place = Place::new("mistake");
    place.write("t.conf", "<target iqn.x:a>\n</target>\n<target iqn.x:b>\n  incominguser only\n</target>\n");
    place.start();
    let output = place.admin("-e -c t.conf");
    assert_eq!(output.status.code(), Some(1));
    let complaint = "tgt-admin: t.conf:4: incominguser takes a user and a password; one with blanks stands in quotes\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), complaint);
    assert_eq!(place.works("-s"), "");
    place.write("open.conf", "<target iqn.x:a>\n");
    assert_eq!(place.admin("-e -c open.conf").status.code(), Some(255));
    let output = place.admin("-e -c none.conf");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "Config file none.conf not found. Exiting...\n");
}

#[test]
fn a_refusal_is_told_with_the_call_and_ends_the_run() {
    if !is_root() {
        return;
    }
    let mut place = Place::new("refusal");
    place.write("t.conf", "<target iqn.x:bad_name>\n</target>\n<target iqn.x:c>\n</target>\n");
    assert_eq!(place.admin("-e -c t.conf").status.code(), Some(107));
    assert_eq!(place.admin("--dump").status.code(), Some(107));
    assert_eq!(place.admin("--update ALL -c /dev/null").status.code(), Some(0));
    place.start();
    let output = place.admin("-e -c t.conf");
    assert_eq!(output.status.code(), Some(22));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "tgtadm: invalid request\n");
    let told = "Command:\n\ttgtadm --lld iscsi --op new --mode target --tid 1 -T iqn.x:bad_name\nexited with code: 22.\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), told);
    assert!(place.admin("-e -c t.conf --ignore-errors").status.success());
    assert!(place.works("-s").contains("iqn.x:c\n"));
}

/// A login that stays, until it is dropped or the daemon ends it.
fn log_in(place: &Place, target: &str) -> std::net::TcpStream {
    use iscsi::initiator::{Connection, Event, Settings};
    use std::io::{Read, Write};
    let shown = place.command(env!("CARGO_BIN_EXE_tgtadm")).args(["--mode", "portal", "--op", "show"]).output().expect("tgtadm runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let portal = shown.strip_prefix("Portal: ").and_then(|rest| rest.split(',').next()).expect("a portal").to_owned();
    let mut stream = std::net::TcpStream::connect(portal).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut connection = Connection::new(Settings::new("iqn.y:b", Some(target)));
    let mut bytes = vec![0; 65536];
    loop {
        while let Some(out) = connection.poll_output() {
            stream.write_all(&out).expect("sends");
        }
        match connection.poll_event() {
            Some(Event::LoggedIn { .. }) => return stream,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
        let count = stream.read(&mut bytes).expect("an answer");
        assert!(count > 0, "the daemon hung up");
        connection.handle_bytes(&bytes[..count]);
    }
}

#[test]
fn an_update_leaves_alone_what_did_not_change() {
    if !is_root() {
        return;
    }
    let mut place = Place::new("same");
    for name in ["a.img", "b.img"] {
        fs::File::create(place.folder.join(name)).and_then(|file| file.set_len(1 << 20)).expect("an image");
    }
    let folder = place.folder.display().to_string();
    let text = |block_a: &str| {
        format!(
            "<target iqn.x:a>\n<backing-store {folder}/a.img>\nallow-in-use yes\n{block_a}</backing-store>\nincominguser u secret\nMaxBurstLength 131072\n</target>\n\
             <target iqn.x:b>\nbacking-store {folder}/b.img\nallow-in-use yes\nwrite-cache on\nnop_interval 30\ninitiator-name iqn.y:*\n</target>\n"
        )
    };
    place.write("t.conf", &text(""));
    place.start();
    place.works("-e -c t.conf");
    let session = log_in(&place, "iqn.x:b");
    let told = place.works("-v -f --update ALL -c t.conf");
    assert!(!told.contains("--op delete") && !told.contains("--op new"), "{told}");
    assert!(told.contains("# Target iqn.x:a did not change\n") && told.contains("# Target iqn.x:b did not change\n"), "{told}");
    assert!(place.works("-s").contains("Initiator: iqn.y:b"), "the session is gone");

    // One changes: it is made again, the other keeps its session.
    place.write("t.conf", &text("readonly 1\n"));
    let told = place.works("-v -f --update ALL -c t.conf");
    assert!(told.contains("# Removing target: iqn.x:a\n") && told.contains("# Target iqn.x:b did not change\n"), "{told}");
    let shown = place.works("-s");
    assert!(shown.contains("Readonly: Yes") && shown.contains("Initiator: iqn.y:b"), "{shown}");

    // The file of the other has grown.
    fs::File::options().write(true).open(place.folder.join("b.img")).and_then(|file| file.set_len(64 << 20)).expect("it grows");
    let told = place.works("-v -f --update iqn.x:b -c t.conf");
    assert!(told.contains("# Removing target: iqn.x:b\n"), "{told}");
    let shown = place.works("-s");
    assert!(shown.contains("Size: 67 MB") && !shown.contains("Initiator: iqn.y:b"), "{shown}");
    drop(session);
}
