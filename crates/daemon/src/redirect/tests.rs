//! Programs that are good, slow, broken, greedy or never end, and floods of questions.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use transport::redirect::Place;

use super::*;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A script of its own, removed at the end.
struct Script(PathBuf);

impl Script {
    fn new(name: &str, body: &str) -> Script {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("scuzzy-redirect-{}-{name}", std::process::id()));
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        Script(path)
    }

    fn question(&self, peer: &str) -> Question {
        Question {
            program: self.0.to_string_lossy().into_owned(),
            target: "iqn.2026-01.test:one".into(),
            initiator: "iqn.2026-01.test:host".into(),
            peer: format!("{peer}:40000").parse().expect("an address"),
            local: ([127, 0, 0, 1], 3260).into(),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn ask(programs: &Programs, question: Question) -> Receiver<Verdict> {
    let (sender, receiver) = channel();
    programs.ask(question, Ticket::to_closure(move |verdict| drop(sender.send(verdict))));
    receiver
}

fn answer(receiver: &Receiver<Verdict>) -> Verdict {
    receiver.recv_timeout(PATIENCE).expect("an answer")
}

/// The answer to one question, with this much time for the program.
fn verdict(name: &str, body: &str, limit: Duration) -> Verdict {
    let script = Script::new(name, body);
    answer(&ask(&Programs::with_limit(limit), script.question("192.0.2.9")))
}

fn gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_program_says_where_the_target_is() {
    let body = r#"test $# = 2 && test "$1" = iqn.2026-01.test:one && test "$2" = 192.0.2.9 && echo '[2001:db8::5]:3261:Permanent'"#;
    let place = Place { host: "[2001:db8::5]".into(), port: 3261, permanent: true };
    assert_eq!(verdict("good", body, PATIENCE), Verdict::Place(place));
}

#[test]
fn a_program_gets_nothing_of_the_daemon() {
    let folder = std::env::temp_dir().join(format!("scuzzy-redirect-{}-what", std::process::id()));
    let body =
        format!("{{ env | sort; pwd; cut -d' ' -f5 /proc/$$/stat | sed s/^$$\\$/leader/; cat; }} > {}; echo 10.0.0.1:1:Temporary", folder.display());
    assert!(matches!(verdict("seen", &body, PATIENCE), Verdict::Place(_)));
    let seen = std::fs::read_to_string(&folder).expect("what it saw");
    std::fs::remove_file(&folder).expect("removed");
    // PWD, SHLVL, OLDPWD and _ are the shell's own.
    let environment: Vec<&str> = seen
        .lines()
        .filter(|line| line.contains('=') && !["PWD", "OLDPWD", "SHLVL", "_"].contains(&line.split('=').next().unwrap_or_default()))
        .collect();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(environment, ["INITIATOR_NAME=iqn.2026-01.test:host", path, "PORTAL=127.0.0.1:3260"]);
    let rest: Vec<&str> = seen.lines().filter(|line| !line.contains('=')).collect();
    assert_eq!(rest, ["/", "leader"]);
}

#[test]
fn broken_programs_are_failures() {
    for (name, body, reason) in [
        ("status", "echo 10.0.0.1:1:Temporary; exit 3", "exit status: 3"),
        ("crash", "kill -SEGV $$", "signal: 11"),
        ("garbage", "echo garbage", "ADDRESS:PORT:Temporary"),
        ("nothing", "exit 0", "not three parts"),
        ("greedy", "while :; do echo 10.0.0.1:1:Temporary || exit; done", "more than 300 bytes"),
    ] {
        match verdict(name, body, PATIENCE) {
            Verdict::Failed(told) => assert!(told.contains(reason) && told.contains(name), "{told}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let missing = Script(PathBuf::from("/nonexistent/program"));
    let told = answer(&ask(&Programs::new(), missing.question("192.0.2.9")));
    assert!(matches!(&told, Verdict::Failed(reason) if reason.contains("cannot be started")), "{told:?}");
}

#[test]
fn a_program_that_never_ends_is_killed_with_its_children() {
    let pids = std::env::temp_dir().join(format!("scuzzy-redirect-{}-pids", std::process::id()));
    let body = format!("sleep 1000 & echo $! > {0}.child; echo $$ > {0}; exec 1>&-; wait", pids.display());
    let told = verdict("hang", &body, Duration::from_millis(1500));
    assert!(matches!(&told, Verdict::Later(reason) if reason.contains("no answer in time")), "{told:?}");
    for path in [pids.clone(), pids.with_file_name(format!("{}.child", pids.file_name().unwrap_or_default().to_string_lossy()))] {
        let pid = std::fs::read_to_string(&path).expect("it ran");
        wait_for("the end of all", || gone(&pid));
        std::fs::remove_file(path).expect("removed");
    }
}

#[test]
fn a_program_that_ends_leaves_nothing_running() {
    let pid = std::env::temp_dir().join(format!("scuzzy-redirect-{}-left", std::process::id()));
    let body = format!("sleep 1000 & echo $! > {}; echo 10.0.0.1:1:Temporary", pid.display());
    assert!(matches!(verdict("leaves", &body, PATIENCE), Verdict::Place(_)), "its child holds its output, and is not waited for");
    let child = std::fs::read_to_string(&pid).expect("it ran");
    wait_for("the end of the child", || gone(&child));
    std::fs::remove_file(pid).expect("removed");
}

#[test]
fn a_flood_of_one_address_leaves_room_for_others() {
    let programs = Programs::with_limit(PATIENCE);
    let gate = std::env::temp_dir().join(format!("scuzzy-redirect-{}-gate", std::process::id()));
    let slow = Script::new("slow", &format!("while [ ! -e {} ]; do sleep 0.05; done; echo 10.0.0.1:1:Temporary", gate.display()));
    let quick = Script::new("quick", "echo 10.0.0.2:1:Temporary");
    let flood: Vec<_> = (0..WAITING_PER_PEER + RUNNING_PER_PEER + 20).map(|_| ask(&programs, slow.question("192.0.2.9"))).collect();
    let refused = flood.iter().filter(|receiver| matches!(receiver.try_recv(), Ok(Verdict::Later(reason)) if reason.contains("too many"))).count();
    assert!((20..=20 + RUNNING_PER_PEER).contains(&refused), "{refused}");
    {
        let queue = programs.shared.lock();
        assert!(queue.threads <= RUNNING && queue.waiting.len() <= WAITING_PER_PEER);
    }
    let other = answer(&ask(&programs, quick.question("192.0.2.10")));
    assert!(matches!(other, Verdict::Place(place) if place.host == "10.0.0.2"), "an initiator elsewhere does not wait");
    std::fs::write(&gate, "").expect("the gate opens");
    let places = flood.iter().filter(|receiver| matches!(receiver.recv_timeout(PATIENCE), Ok(Verdict::Place(_)))).count();
    assert_eq!(places, flood.len() - refused, "everyone who was let in is answered");
    wait_for("the end of the threads", || programs.shared.lock().threads == 0);
    assert!(programs.shared.lock().running.is_empty());
    std::fs::remove_file(gate).expect("removed");
}

#[test]
fn all_addresses_together_are_bounded_too() {
    let programs = Programs::with_limit(PATIENCE);
    let slow = Script::new("many", "exec sleep 1000");
    let peers = (0..=255u8).flat_map(|host| [format!("192.0.2.{host}"), format!("198.51.100.{host}")]);
    let asked: Vec<_> = peers.map(|peer| ask(&programs, slow.question(&peer))).collect();
    let refused = asked.iter().filter(|receiver| matches!(receiver.try_recv(), Ok(Verdict::Later(_)))).count();
    assert!((asked.len() - WAITING - RUNNING..=asked.len() - WAITING).contains(&refused), "{refused}");
    assert!(programs.shared.lock().threads <= RUNNING);
    programs.stop();
    for receiver in &asked {
        if let Ok(verdict) = receiver.recv_timeout(PATIENCE) {
            assert!(matches!(verdict, Verdict::Later(_)), "{verdict:?}");
        }
    }
    wait_for("the end of the threads", || programs.shared.lock().threads == 0);
    let late = answer(&ask(&programs, slow.question("192.0.2.1")));
    assert!(matches!(late, Verdict::Later(reason) if reason.contains("ends")));
}

#[test]
fn who_has_no_turn_in_time_is_told_so() {
    let script = Script::new("turns", "echo 10.0.0.1:1:Temporary");
    let told = program::run(&script.question("192.0.2.9"), Instant::now(), &AtomicBool::new(false));
    assert!(matches!(&told, Verdict::Later(reason) if reason.contains("no turn in time")), "{told:?}");
}
