//! Clients of all kinds, over a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use admin::json::Id;
use admin::reply::{Answer, Reply};
use admin::request::Request;
use admin::{framing, json, wire};

use super::*;
use crate::lock::{self, Access};
use crate::stub;
use crate::stub::house::{House, until};

/// A control socket in a folder of its own.
struct Office {
    server: ControlServer,
    folder: PathBuf,
    path: PathBuf,
}

impl Office {
    fn open(name: &str, access: &Access, control: Arc<Control>, bell: Arc<Bell>) -> Office {
        let folder = std::env::temp_dir().join(format!("scuzzy-control-{name}-{}", std::process::id()));
        let path = folder.join("control.0");
        let server = ControlServer::start(lock::open(&path, access).expect("opens"), control, bell).expect("starts");
        Office { server, folder, path }
    }

    fn plain(name: &str) -> Office {
        Office::open(name, &Access::default(), stub::control(false).0, Arc::default())
    }

    fn caller(&self) -> Caller {
        Caller::new(&self.path)
    }

    fn close(mut self) {
        self.server.stop();
        std::fs::remove_dir_all(&self.folder).expect("clean");
    }
}

/// A program that sends lines.
struct Caller {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Caller {
    fn new(path: &Path) -> Caller {
        let stream = UnixStream::connect(path).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let lines = BufReader::new(stream.try_clone().expect("another descriptor"));
        Caller { stream, lines }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sends");
    }

    /// The next line; empty at the end.
    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.lines.read_until(b'\n', &mut line).expect("reads");
        line
    }

    fn reply(&mut self) -> (Option<Id>, Reply) {
        let line = self.line();
        (json::id_of(&line), json::read_reply(&line).expect("an answer"))
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.send(&json::write_request(&Envelope { driver: None, request }));
        let (id, reply) = self.reply();
        assert_eq!(id, None);
        reply
    }

    fn edition(&mut self) -> u64 {
        match self.reply() {
            (_, Ok(Answer::Edition(number))) => number,
            other => panic!("{other:?}"),
        }
    }
}

fn numbered(id: u64, request: Request) -> Vec<u8> {
    json::write_numbered(&Id::Number(id), &Envelope { driver: None, request })
}

fn target(tid: i32) -> Request {
    Request::TargetNew { tid, name: format!("iqn.x:{tid}") }
}

#[test]
fn both_protocols_are_served_while_others_are_slow() {
    let mut office = Office::plain("both");
    let silent: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(&office.path).expect("connects")).collect();
    assert_eq!(office.caller().ask(target(1)), Ok(Answer::Done));

    let (mut bytes, text) = wire::Frame { mode: 1, op: 2, ..wire::Frame::default() }.encode();
    bytes.extend_from_slice(&text);
    let mut tgtadm = UnixStream::connect(&office.path).expect("connects");
    tgtadm.write_all(&bytes).expect("sends");
    let mut answer = Vec::new();
    tgtadm.read_to_end(&mut answer).expect("one request, one answer, the end");
    assert_eq!(answer[..4], [0; 4]);
    assert!(String::from_utf8_lossy(&answer[8..]).starts_with("Target 1: iqn.x:1\n"));

    drop(silent);
    office.server.stop();
    assert!(office.path.exists());
    assert!(UnixStream::connect(&office.path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused));
    office.close();
}

#[test]
fn a_connection_carries_many_requests() {
    let office = Office::plain("many");
    let mut caller = office.caller();
    assert_eq!(caller.ask(target(1)), Ok(Answer::Done));
    assert!(caller.ask(target(1)).is_err());
    let batch: Vec<u8> = (2..40).flat_map(|tid| numbered(tid as u64, target(tid))).chain(*b"\r\n\n").collect();
    caller.send(&batch);
    let mut ids: Vec<u64> = (2..40)
        .map(|_| match caller.reply() {
            (Some(Id::Number(id)), Ok(Answer::Done)) => id,
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (2..40).collect::<Vec<u64>>());
    caller.send(b"{\"id\":\"x\",\"request\":\"nosuch\"}\nrubbish\n");
    let (id, reply) = caller.reply();
    assert!(id == Some(Id::Text("x".into())) && reply.is_err());
    assert!(caller.reply().1.is_err());
    caller.stream.shutdown(std::net::Shutdown::Write).expect("half closes");
    assert_eq!(caller.line(), b"", "that was all");
    let mut last = office.caller();
    last.send(b"{\"request\":\"status\"}");
    last.stream.shutdown(std::net::Shutdown::Write).expect("half closes");
    assert!(last.reply().1.is_ok(), "the last line may lack its newline");
    office.close();
}

#[test]
fn a_slow_request_holds_up_no_other() {
    let (control, stub) = stub::control(false);
    let office = Office::open("slow", &Access::default(), control, Arc::default());
    let mut caller = office.caller();
    for tid in [1, 2] {
        assert_eq!(caller.ask(target(tid)), Ok(Answer::Done));
    }
    stub.log_in(5, 1);
    stub.stay.store(true, Ordering::Relaxed);
    caller.send(&numbered(1, Request::TargetDelete { tid: 1, force: true }));
    until(|| stub.model.lock().expect("no panic").as_ref().is_some_and(|model| !model.targets[&1].online));
    caller.send(&numbered(2, Request::TargetStat { tid: 2 }));
    assert_eq!(caller.reply().0, Some(Id::Number(2)));
    assert_eq!(caller.ask(Request::TargetStat { tid: 9 }).map_err(|failure| failure.code), Err(Code::NoTarget));
    assert_eq!(caller.reply(), (Some(Id::Number(1)), Ok(Answer::Done)));
    office.close();
}

#[test]
fn readers_look_and_change_nothing() {
    let readers = Access { group: None, readers: Some(lock::EVERYBODY.into()) };
    let office = Office::open("readers", &readers, stub::control(false).0, Arc::default());
    let mut administrator = office.caller();
    assert_eq!(administrator.ask(target(1)), Ok(Answer::Done));
    assert_eq!(administrator.ask(Request::AccountNew { user: "alice".into(), password: "sesame".into() }), Ok(Answer::Done));
    let path = office.folder.join("control.0.ro");
    let mut reader = Caller::new(&path);
    for request in [
        Request::TargetDelete { tid: 1, force: true },
        Request::UnitReset { tid: 1, lun: 0 },
        Request::FaultNew { tid: 1, lun: 1, rule: "op=READ10,action=BUSY".into() },
        Request::SystemDelete,
    ] {
        let refused = reader.ask(request).expect_err("refused");
        assert!(refused.code == Code::InvalidRequest && refused.detail.contains("readers"), "{refused:?}");
    }
    reader.send(&json::write_request(&Envelope { driver: None, request: Request::AccountShow }));
    let accounts = reader.line();
    assert!(String::from_utf8_lossy(&accounts).contains("alice") && !String::from_utf8_lossy(&accounts).contains("sesame"));
    assert!(matches!(reader.ask(Request::TargetShow { tid: None }), Ok(Answer::Targets(targets)) if targets.len() == 1));
    let (mut delete, text) = wire::Frame { mode: 1, op: 1, tid: 1, ..wire::Frame::default() }.encode();
    delete.extend_from_slice(&text);
    let mut tgtadm = UnixStream::connect(&path).expect("connects");
    tgtadm.write_all(&delete).expect("sends");
    let mut answer = Vec::new();
    tgtadm.read_to_end(&mut answer).expect("answers");
    assert_eq!(answer[..4], 17u32.to_ne_bytes());
    office.close();
}

#[test]
fn a_watch_tells_the_newest_change_and_keeps_nothing() {
    let house = House::new();
    let bell = Arc::new(Bell::default());
    let ring = bell.clone();
    house.hub.observe(Box::new(move || ring.ring()));
    let office = Office::open("watch", &Access::default(), house.control.clone(), bell);
    let (mut watcher, mut sleeper) = (office.caller(), office.caller());
    watcher.send(&numbered(9, Request::Watch));
    sleeper.send(b"{\"request\":\"watch\"}\n");
    let first = watcher.edition();
    assert_eq!(first, house.control.edition());
    house.done(target(2));
    assert!(watcher.edition() > first, "a change of the model");
    let before = house.control.edition();
    let host = house.host();
    assert!(watcher.edition() > before, "a session");
    watcher.send(b"{\"request\":\"watch\"}\n{\"id\":1,\"request\":\"status\"}\n");
    let answers = [watcher.line(), watcher.line()];
    assert!(answers.iter().any(|line| line.starts_with(b"{\"error\"")), "one watch is enough");
    assert!(answers.iter().any(|line| line.starts_with(b"{\"id\":1,")), "other requests go on");
    for tid in 10..1010 {
        house.done(target(tid));
    }
    let last = house.control.edition();
    let mut told = 0;
    while watcher.edition() != last {
        told += 1;
    }
    assert!(told <= 1000);
    house.done(Request::FaultNew { tid: 1, lun: 1, rule: "op=READ10,action=BUSY".into() });
    assert!(watcher.edition() > last, "a rule");
    drop(host);
    drop((watcher, sleeper));
    office.close();
    house.end();
}

#[test]
fn long_lines_are_bounded_each_and_together() {
    let office = Office::plain("long");
    let mut caller = office.caller();
    let name = "x".repeat(5 << 20);
    let refused = caller.ask(Request::TargetNew { tid: 1, name }).expect_err("no such long name");
    assert_eq!(refused.code, Code::InvalidRequest);
    assert_eq!(caller.ask(target(1)), Ok(Answer::Done), "and it goes on");
    caller.send(b"{");
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..framing::LINE_MAX >> 20 {
        if caller.stream.write_all(&blanks).is_err() {
            break;
        }
    }
    let (_, reply) = caller.reply();
    assert!(reply.is_err_and(|failure| failure.detail.contains("too long")));
    office.close();
}

#[test]
fn what_idles_is_bounded() {
    let office = Office::plain("idle");
    let mut callers: Vec<Caller> = (0..places::IDLE_LIMIT + 1).map(|_| office.caller()).collect();
    for caller in &mut callers {
        assert!(caller.ask(Request::Status).is_ok());
    }
    let last = callers.last_mut().expect("some");
    assert_eq!(last.line(), b"", "one too many is closed after its answer");
    assert!(callers[0].ask(Request::Status).is_ok());
    office.close();
}
