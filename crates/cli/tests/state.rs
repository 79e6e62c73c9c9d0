//! What a daemon is after a restart: by its configuration file, and by its state folder.

// The initiator of the demonstration.
#[allow(dead_code)]
#[path = "../src/initiator.rs"]
mod initiator;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use admin::document::Document;
use admin::json;
use admin::reply::{Answer, Reply};
use admin::request::{Binding, Envelope, Request, UnitNew};
use initiator::{Ended, Session};
use iscsi::initiator::Command as Order;

const SCUZZY: &str = env!("CARGO_BIN_EXE_scuzzy");
const TGTD: &str = env!("CARGO_BIN_EXE_tgtd");
const TGTADM: &str = env!("CARGO_BIN_EXE_tgtadm");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Kills of the daemon: enough that some hit the middle of a write.
const KILLS: u64 = 30;

/// A running daemon; a failed test does not leave it behind.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("scuzzy-state-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("folder");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn command(&self, program: &str, words: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0).env("TGT_IPC_SOCKET", self.path("ipc")).env("XDG_RUNTIME_DIR", &self.0).stdin(Stdio::null());
        command.args(words.split_whitespace());
        command
    }

    fn run(&self, program: &str, words: &str) -> Output {
        self.command(program, words).output().expect("runs")
    }

    /// `scuzzy serve` with more options, once it is ready.
    fn serve(&self, words: &str) -> Daemon {
        let ready = self.path("ready");
        // None there is as good.
        let _ = std::fs::remove_file(&ready);
        let command = format!("serve --quiet --reactors 1 --control control --ready-file ready {words}");
        let mut daemon = Daemon(self.command(SCUZZY, &command).stdout(Stdio::null()).spawn().expect("starts"));
        wait_for("the start", || {
            assert!(daemon.0.try_wait().expect("asks").is_none(), "the daemon ended: serve {words}");
            ready.exists()
        });
        daemon
    }

    /// A start that is refused: its one line.
    fn refused(&self, words: &str) -> String {
        let output = self.run(SCUZZY, &format!("serve --quiet --control control {words}"));
        assert!(!output.status.success());
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        line
    }

    fn ask(&self, request: Request) -> Option<Reply> {
        ask(&self.path("control"), request)
    }

    fn dump(&self) -> Document {
        match self.ask(Request::Dump { secrets: true }) {
            Some(Ok(Answer::Document(document))) => *document,
            other => panic!("{other:?}"),
        }
    }

    fn done(&self, request: Request) {
        let reply = self.ask(request);
        assert!(matches!(reply, Some(Ok(_))), "{reply:?}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One request; `None`: the daemon is gone before it has answered.
fn ask(control: &Path, request: Request) -> Option<Reply> {
    let mut stream = UnixStream::connect(control).ok()?;
    stream.write_all(&json::write_request(&Envelope { driver: None, request })).ok()?;
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).ok()?;
    json::read_reply(&line).ok()
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn signal(daemon: &Daemon, name: &str) {
    let sent = Command::new("kill").args([name, &daemon.0.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

fn end(mut daemon: Daemon) {
    signal(&daemon, "-TERM");
    assert!(daemon.0.wait().expect("ends").success());
}

fn target(number: u64) -> Request {
    Request::TargetNew { tid: i32::try_from(number).expect("small"), name: format!("iqn.2026-11.com.example:{number}") }
}

fn unit(tid: i32) -> Request {
    let parameters = vec![("readonly".to_owned(), "1".to_owned())];
    Request::UnitNew(admin::request::UnitNew {
        tid,
        lun: 3,
        path: Some("1M".into()),
        bstype: Some("memory".into()),
        parameters,
        ..Default::default()
    })
}

#[test]
fn changes_made_live_survive_a_restart() {
    let folder = Folder::new("restart");
    let daemon = folder.serve("--state state --portal 127.0.0.1:0");
    folder.done(target(7));
    folder.done(unit(7));
    folder.done(Request::AccountNew { user: "ann".into(), password: "a long secret".into() });
    folder.done(Request::AccountBind { tid: Some(7), user: "ann".into(), outgoing: false });
    folder.done(Request::FaultNew { tid: 7, lun: 3, rule: "op=READ,action=BUSY".into() });
    let before = folder.dump();
    assert_eq!(before.targets[0].units[0].faults.len(), 1);
    end(daemon);
    let daemon = folder.serve("--state state --portal 127.0.0.1:0");
    let after = folder.dump();
    assert_eq!(after.portals.as_ref().map(Vec::len), Some(1), "a portal of the command line is not kept: another port is chosen");
    assert_eq!(Document { portals: None, ..after }, Document { portals: None, ..before });
    let facts = std::fs::metadata(folder.path("state/configuration.toml")).expect("there");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&facts.permissions()) & 0o777, 0o600);
    assert!(folder.refused("--state state --portal 127.0.0.1:0").contains("another daemon uses the state folder"));
    // What is asked only, and what changes nothing, writes nothing.
    let written = || std::fs::metadata(folder.path("state/configuration.toml")).and_then(|facts| facts.modified()).expect("there");
    let last = written();
    folder.done(Request::Status);
    assert!(matches!(folder.ask(target(7)), Some(Err(_))));
    assert_eq!(written(), last);
    end(daemon);
}

#[test]
fn a_damaged_configuration_is_refused_and_the_last_good_copy_works() {
    let folder = Folder::new("damage");
    let daemon = folder.serve("--state state --portal 127.0.0.1:0");
    folder.done(target(1));
    folder.done(target(2));
    end(daemon);
    let current = folder.path("state/configuration.toml");
    let text = std::fs::read_to_string(&current).expect("reads");
    std::fs::write(&current, text.replace("example:2", "example:3")).expect("writes");
    let line = folder.refused("--state state --portal 127.0.0.1:0");
    assert!(line.contains("checksum") && line.contains("configuration.previous.toml (sequence ") && line.contains("--state-fresh"), "{line}");
    // What the line says helps.
    std::fs::rename(folder.path("state/configuration.previous.toml"), &current).expect("moves");
    let daemon = folder.serve("--state state --portal 127.0.0.1:0");
    assert_eq!(folder.dump().targets.iter().map(|target| target.tid).collect::<Vec<_>>(), [Some(1)]);
    end(daemon);
    assert!(folder.refused("--state state --portal 127.0.0.1:0 --memory 1M").contains("holds a configuration already"));
    let daemon = folder.serve("--state state --state-fresh --portal 127.0.0.1:0 --memory 1M");
    assert_eq!(folder.dump().targets.len(), 1);
    assert!(folder.path("state/configuration.set-aside.toml").exists());
    end(daemon);
}

/// Kills that come while changes are made: afterwards the daemon has all that was answered, and of what was under way everything or nothing.
#[test]
fn a_kill_at_any_moment_leaves_the_old_or_the_new_state() {
    let folder = Folder::new("kill");
    let mut first = 1;
    for round in 0..KILLS {
        let mut daemon = folder.serve("--state state --portal 127.0.0.1:0");
        let names: Vec<i32> = folder.dump().targets.iter().filter_map(|target| target.tid).collect();
        let there = u64::try_from(names.len()).expect("few");
        assert!(names.iter().copied().eq(1..=i32::try_from(there).expect("few")), "a hole in {names:?}");
        assert!(there == first - 1 || there == first, "round {round}: {} targets were answered, there are {there}", first - 1);
        let acknowledged = Arc::new(AtomicU64::new(there));
        let client = {
            let (acknowledged, control) = (acknowledged.clone(), folder.path("control"));
            std::thread::spawn(move || {
                for number in there + 1.. {
                    match ask(&control, target(number)) {
                        Some(Ok(_)) => acknowledged.store(number, Ordering::SeqCst),
                        _ => return,
                    }
                }
            })
        };
        // After another number of answers each time, and so at another place in the work on the next one.
        wait_for("some changes", || acknowledged.load(Ordering::SeqCst) >= there + round % 5);
        daemon.0.kill().expect("kills");
        daemon.0.wait().expect("ends");
        client.join().expect("no panic");
        first = acknowledged.load(Ordering::SeqCst) + 1;
    }
    assert!(first > KILLS);
}

/// Kills amid registrations: enough that some hit the middle of a write.
const FENCES: u64 = 12;

/// Target 1 with a disk at LUN 3.
fn fenced_disk(folder: &Folder) {
    folder.done(target(1));
    folder.done(Request::TargetBind { tid: 1, rules: vec![Binding::Address("ALL".into())] });
    folder.done(Request::UnitNew(UnitNew { tid: 1, lun: 3, path: Some("1M".into()), bstype: Some("memory".into()), ..UnitNew::default() }));
}

fn log_in(folder: &Folder, host: &str) -> Session {
    let portal: SocketAddr = folder.dump().portals.expect("portals")[0].parse().expect("an address");
    Session::open(portal, &format!("iqn.2026-11.com.example:{host}"), "iqn.2026-11.com.example:1", 3).expect("logs in")
}

/// PERSISTENT RESERVE OUT with APTPL.
fn reserve_out(session: &mut Session, action: u8, kind: u8, key: u64, new_key: u64) -> Option<Ended> {
    let list = [&key.to_be_bytes()[..], &new_key.to_be_bytes(), &[0, 0, 0, 0, 1, 0, 0, 0]].concat();
    session.run(Order::new(3, &[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0]).writing(list)).ok()
}

fn registered(session: &mut Session) -> Vec<u64> {
    let keys = session.run(Order::new(3, &[0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0]).reading(256)).expect("keys").data;
    keys[8..].chunks_exact(8).map(|key| u64::from_be_bytes(key.try_into().expect("eight bytes"))).collect()
}

fn write_status(session: &mut Session) -> u8 {
    session.write(0, &[1; 512], 512).expect("an end").status
}

/// After a kill the key that was answered last is registered, or the one that was under way, and whoever was fenced off still is.
#[test]
fn a_kill_at_any_moment_keeps_every_reservation_that_was_answered() {
    let folder = Folder::new("fence");
    let acknowledged = Arc::new(AtomicU64::new(0));
    for round in 0..FENCES {
        let mut daemon = folder.serve("--state state --portal 127.0.0.1:0");
        if round == 0 {
            fenced_disk(&folder);
        }
        let mut host = log_in(&folder, "host");
        let before = acknowledged.load(Ordering::SeqCst);
        if before > 0 {
            let keys = registered(&mut host);
            assert!(keys == [before] || keys == [before + 1], "round {round}: {before} was answered, there are {keys:?}");
            assert_eq!(write_status(&mut log_in(&folder, "stranger")), 0x18, "round {round}");
            acknowledged.store(keys[0], Ordering::SeqCst);
        } else {
            assert_eq!(reserve_out(&mut host, 6, 0, 0, 1).expect("registers").status, 0);
            assert_eq!(reserve_out(&mut host, 1, 5, 1, 0).expect("reserves").status, 0);
            acknowledged.store(1, Ordering::SeqCst);
        }
        let first = acknowledged.load(Ordering::SeqCst);
        let client = {
            let acknowledged = acknowledged.clone();
            std::thread::spawn(move || {
                for key in first + 1.. {
                    match reserve_out(&mut host, 6, 0, 0, key) {
                        Some(ended) if ended.status == 0 => acknowledged.store(key, Ordering::SeqCst),
                        _ => return,
                    }
                }
            })
        };
        wait_for("some registrations", || acknowledged.load(Ordering::SeqCst) >= first + 1 + round % 5);
        daemon.0.kill().expect("kills");
        daemon.0.wait().expect("ends");
        client.join().expect("no panic");
    }
    assert!(acknowledged.load(Ordering::SeqCst) > FENCES);
}

#[test]
fn reservations_follow_their_unit_and_what_cannot_be_kept_or_read_is_told() {
    let folder = Folder::new("follow");
    let daemon = folder.serve("--state state --portal 127.0.0.1:0");
    fenced_disk(&folder);
    let mut host = log_in(&folder, "host");
    assert_eq!(host.run(Order::new(3, &[0x5e, 2, 0, 0, 0, 0, 0, 0, 8, 0]).reading(8)).expect("capabilities").data[2..4], [0x8d, 0x80]);
    assert_eq!(reserve_out(&mut host, 6, 0, 0, 0xa1).expect("registers").status, 0);
    assert_eq!(reserve_out(&mut host, 1, 3, 0xa1, 0).expect("reserves").status, 0);
    let file = || {
        let names = std::fs::read_dir(folder.path("state")).expect("folder").map(|entry| entry.expect("entry").path());
        names.filter(|path| path.to_string_lossy().ends_with(".reservations")).collect::<Vec<_>>()
    };
    let kept = file();
    assert_eq!(kept.len(), 1);

    // A folder in the place of the file to be: it cannot be written.
    let blocked = PathBuf::from(format!("{}.new", kept[0].display()));
    std::fs::create_dir(&blocked).expect("folder");
    let refused = reserve_out(&mut host, 6, 0, 0, 0xa2).expect("an end");
    assert_eq!(refused.sense.map(|sense| (sense.key.0, sense.asc.0)), Some((4, 0x4400)));
    assert_eq!(registered(&mut host), [0xa1]);
    std::fs::remove_dir(&blocked).expect("clean");

    // The unit is made again, by whatever way: it is the same unit.
    folder.done(Request::TargetDelete { tid: 1, force: true });
    fenced_disk(&folder);
    let mut host = log_in(&folder, "host");
    assert_eq!((registered(&mut host), write_status(&mut host)), (vec![0xa1], 0));
    assert_eq!(write_status(&mut log_in(&folder, "stranger")), 0x18);
    end(daemon);

    // A damaged file lets nobody in, whoever it was.
    let good = std::fs::read(&kept[0]).expect("reads");
    let mut damaged = good.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    std::fs::write(&kept[0], &damaged).expect("writes");
    let daemon = folder.serve("--state state --portal 127.0.0.1:0");
    for name in ["host", "stranger"] {
        let ended = log_in(&folder, name).read(0, 512, 512).expect("an end");
        assert_eq!(ended.sense.map(|sense| (sense.key.0, sense.asc.0)), Some((4, 0x4401)), "{name}");
    }
    end(daemon);
    assert_eq!(std::fs::read(&kept[0]).expect("reads"), damaged, "it is left for whoever looks into it");

    std::fs::write(&kept[0], &good).expect("writes");
    let daemon = folder.serve("--state state --portal 127.0.0.1:0");
    let mut host = log_in(&folder, "host");
    let list = [&0xa1_u64.to_be_bytes()[..], &0xa1_u64.to_be_bytes(), &[0; 8]].concat();
    let forget = host.run(Order::new(3, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0]).writing(list)).expect("an end");
    assert_eq!((forget.status, file().len()), (0, 0), "APTPL = 0 forgets it");
    end(daemon);
}

#[test]
fn without_a_state_folder_nothing_is_promised() {
    let folder = Folder::new("none");
    std::fs::write(folder.path("scuzzy.toml"), "portals = [\"127.0.0.1:0\"]\n").expect("writes");
    let daemon = folder.serve("--config scuzzy.toml");
    fenced_disk(&folder);
    let mut host = log_in(&folder, "host");
    assert_eq!(host.run(Order::new(3, &[0x5e, 2, 0, 0, 0, 0, 0, 0, 8, 0]).reading(8)).expect("capabilities").data[2..4], [0x8c, 0x80]);
    let refused = reserve_out(&mut host, 6, 0, 0, 0xa2).expect("an end");
    assert_eq!(refused.sense.map(|sense| (sense.key.0, sense.asc.0)), Some((5, 0x2600)));
    end(daemon);
}

#[test]
fn a_daemon_starts_with_a_file_and_reads_it_again_on_sighup() {
    let folder = Folder::new("config");
    std::fs::write(folder.path("secret"), "a long secret\n").expect("writes");
    std::fs::File::create(folder.path("one.img")).and_then(|file| file.set_len(1 << 20)).expect("image");
    let base = "portals = [\"127.0.0.1:0\"]\n[[account]]\nuser = \"ann\"\npassword_file = \"secret\"\n\
        [[target]]\nname = \"iqn.a:1\"\nincoming = [\"ann\"]\n[[target.unit]]\nlun = 1\npath = \"one.img\"\n";
    std::fs::write(folder.path("scuzzy.toml"), base).expect("writes");
    let daemon = folder.serve("--config scuzzy.toml");
    let dump = folder.dump();
    assert_eq!(dump.accounts[0].password.as_ref().map(|secret| secret.0.as_str()), Some("a long secret"));
    assert_eq!(dump.targets[0].units[0].path.as_deref(), folder.path("one.img").to_str());
    assert_eq!(dump.portals.as_ref().map(Vec::len), Some(1));

    std::fs::write(folder.path("scuzzy.toml"), format!("{base}readonly = true\n")).expect("writes");
    signal(&daemon, "-HUP");
    wait_for("the change", || folder.dump().targets[0].units[0].readonly == Some(true));
    assert_eq!(folder.dump().portals, dump.portals, "any port is still the same port");
    std::fs::write(folder.path("scuzzy.toml"), format!("{base}readonly = 3\n")).expect("writes");
    signal(&daemon, "-HUP");
    std::fs::write(folder.path("other.toml"), format!("{base}lbppbe = 3\n")).expect("writes");
    let apply = |words: &str| folder.run(SCUZZY, &format!("apply --control control {words}"));
    let dry = apply("other.toml --dry-run");
    assert_eq!(dry.status.code(), Some(2));
    let done = apply("other.toml");
    assert_eq!((done.status.code(), done.stdout.len() > 20), (Some(0), true));
    assert_eq!(apply("other.toml --dry-run").status.code(), Some(0));
    let unit = folder.dump().targets[0].units[0].clone();
    assert_eq!((unit.readonly, unit.lbppbe), (None, Some(3)));
    let wrong = apply("scuzzy.toml");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(1) && told.starts_with("scuzzy: scuzzy.toml:11:12: target[0].unit[0].readonly: "), "{told}");
    end(daemon);
    assert!(folder.refused("--config scuzzy.toml").contains("scuzzy.toml:11:12: target[0].unit[0].readonly: "));
    assert!(folder.refused("--config other.toml --portal 127.0.0.1:0").contains("the configuration says where to listen, and so does --portal"));
}

#[test]
fn tgtd_keeps_what_tgtadm_changes() {
    let folder = Folder::new("tgtd");
    let start = || {
        let command = "-f --iscsi portal=127.0.0.1:0 --reactors 1 --state state";
        let mut daemon = Daemon(folder.command(TGTD, command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"));
        wait_for("the start", || {
            assert!(daemon.0.try_wait().expect("asks").is_none(), "tgtd ended");
            folder.run(TGTADM, "--mode system --op show").status.success()
        });
        daemon
    };
    let daemon = start();
    for words in [
        "--lld iscsi --mode target --op new --tid 4 -T iqn.2026-11.com.example:kept",
        "--lld iscsi --mode logicalunit --op new --tid 4 --lun 1 --bstype memory -b 8M",
        "--lld iscsi --mode logicalunit --op update --tid 4 --lun 1 --params vendor_id=ACME,mode_page=8:0:18:0x10",
        "--lld iscsi --mode target --op bind --tid 4 -I ALL",
        "--lld iscsi --mode target --op update --tid 4 -n MaxQueueCmd -v 64",
    ] {
        let output = folder.run(TGTADM, words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let shown = || {
        let show = |words: &str| String::from_utf8_lossy(&folder.run(TGTADM, words).stdout).into_owned();
        show("--mode target --op show") + &show("--mode target --op show --tid 4")
    };
    let before = shown();
    assert!(before.contains("iqn.2026-11.com.example:kept") && before.contains("MaxQueueCmd=64"), "{before}");
    end(daemon);
    let daemon = start();
    assert_eq!(shown(), before);
    end(daemon);
}
