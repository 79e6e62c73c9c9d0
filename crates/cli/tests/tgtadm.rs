//! The tool against a daemon that is played by a thread: what is sent, what is printed, and how it ends when the daemon misbehaves.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use admin::framing::{Step, examine};
use admin::wire::Frame;

/// A folder of its own for each test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tgtadm-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn prefix(&self) -> PathBuf {
        self.0.join("ctl")
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(self.0.join("ctl.0")).expect("a socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tgtadm(prefix: &Path, line: &str) -> Output {
    let words = line.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_tgtadm")).args(words).env("TGT_IPC_SOCKET", prefix).output().expect("tgtadm runs")
}

/// Takes one request, answers with these bytes, closes.
fn serve(listener: UnixListener, answer: Vec<u8>) -> JoinHandle<Frame> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut bytes = Vec::new();
        loop {
            match examine(&bytes, false) {
                Step::More(missing) => {
                    let at = bytes.len();
                    bytes.resize(at + missing, 0);
                    stream.read_exact(&mut bytes[at..]).expect("the rest of the request");
                }
                Step::Binary(length) => break assert_eq!(length, bytes.len()),
                other => panic!("{other:?}"),
            }
        }
        stream.write_all(&answer).expect("the answer goes out");
        Frame::decode(&bytes).expect("a request")
    })
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn success_is_silent_and_texts_end_at_the_nul() {
    let folder = Folder::new("success");
    let daemon = serve(folder.listen(), b"\0\0\0\0\x0d\0\0\0ok\n\0x".to_vec());
    let output = tgtadm(&folder.prefix(), "--lld iscsi --mode target --op new --tid 1 -T iqn.x:1");
    assert_eq!(told(&output), (Some(0), "ok\n".into(), String::new()));
    let frame = daemon.join().expect("the daemon");
    assert_eq!((frame.mode, frame.op, frame.tid, frame.text), (1, 0, 1, Some(b"targetname=iqn.x:1".to_vec())));
}

#[test]
fn a_refusal_is_one_line_and_22() {
    let folder = Folder::new("refusal");
    let daemon = serve(folder.listen(), b"\x04\0\0\0\x08\0\0\0".to_vec());
    let output = tgtadm(&folder.prefix(), "--mode target --op delete --tid 9");
    assert_eq!(told(&output), (Some(22), String::new(), "tgtadm: can't find the target\n".into()));
    assert_eq!(daemon.join().expect("the daemon").text, None);
}

#[test]
fn the_reason_of_a_refusal_is_told_on_one_line() {
    let folder = Folder::new("reason");
    let daemon = serve(folder.listen(), b"\x11\0\0\0\x12\0\0\0no\nsuch x\0".to_vec());
    let output = tgtadm(&folder.prefix(), "-d --mode error --op delete --error rule=7");
    let (status, printed, told) = told(&output);
    assert_eq!((status, printed.as_str(), told.lines().last()), (Some(22), "", Some("tgtadm: invalid request: no such x")));
    assert!(daemon.join().expect("the daemon").detail);
}

#[test]
fn no_daemon_is_107() {
    let folder = Folder::new("absent");
    let expected = (Some(107), String::new(), "tgtadm: failed to send request hdr to tgt daemon, Transport endpoint is not connected\n".into());
    assert_eq!(told(&tgtadm(&folder.prefix(), "--mode target --op show")), expected);
    drop(folder.listen());
    assert_eq!(told(&tgtadm(&folder.prefix(), "--mode target --op show")), expected, "a stale socket");
}

#[test]
fn a_daemon_that_hangs_up_is_a_failure() {
    let folder = Folder::new("hangup");
    for (answer, message) in [
        (&b""[..], "tgtadm: tgtd closed the socket\n"),
        (&b"\0\0\0\0"[..], "tgtadm: tgtd closed the socket\n"),
        (&b"\0\0\0\0\xff\0\0\0half"[..], "tgtadm: a partial response: tgtd closed the socket\n"),
    ] {
        let _ = fs::remove_file(folder.0.join("ctl.0"));
        let daemon = serve(folder.listen(), answer.to_vec());
        assert_eq!(told(&tgtadm(&folder.prefix(), "--mode system --op show")), (Some(104), String::new(), message.into()));
        daemon.join().expect("the daemon");
    }
}

#[test]
fn system_delete_waits_until_nobody_listens() {
    let folder = Folder::new("delete");
    let listener = folder.listen();
    let lingering = listener.try_clone().expect("a second handle");
    let daemon = serve(listener, b"\0\0\0\0\x08\0\0\0".to_vec());
    let (path, prefix) = (folder.0.join("ended"), folder.prefix());
    let ender = thread::spawn({
        let path = path.clone();
        move || {
            thread::sleep(Duration::from_millis(400));
            fs::write(path, b"").expect("a mark");
            drop(lingering);
        }
    });
    let output = tgtadm(&prefix, "--mode system --op delete");
    assert!(path.exists(), "it came back before the daemon had ended");
    assert_eq!(told(&output), (Some(0), String::new(), String::new()));
    daemon.join().expect("the daemon");
    ender.join().expect("the end");
}
