//! The control socket: tgtadm's binary protocol and one line of JSON, on the same path.
//!
//! A connection carries one request and one answer, as tgt's does. Each is served by a thread of its own: their number, the time they may take and
//! the bytes they may bring are bounded, so that a client that is slow, silent or broken costs a place for a while and nothing else.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use admin::framing::{self, Step};
use admin::reply::Reply;
use admin::{json, reading, wire};

use crate::apply::Control;
use crate::lock::ControlSocket;

/// Most connections served at once; more wait in the listen queue. A person and a few scripts need no more.
pub const CONNECTION_LIMIT: usize = 32;
/// A client has this long to send its request, and again to take the answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes received at a time: a whole small request, and few steps for a large one.
const CHUNK: usize = 64 << 10;
/// Pause after a failed accept (no file descriptors left), so that the thread does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a full house waits before it looks for a free place again.
const PLACE_PAUSE: Duration = Duration::from_millis(10);

/// The running control thread.
pub struct ControlServer {
    socket: Arc<ControlSocket>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Serves the socket.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(socket: ControlSocket, control: Arc<Control>) -> io::Result<ControlServer> {
        let socket = Arc::new(socket);
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = {
            let (socket, stopping) = (socket.clone(), stopping.clone());
            std::thread::Builder::new().name("control".into()).spawn(move || accept(&socket, &control, &stopping))?
        };
        Ok(ControlServer { socket, stopping, thread: Some(thread) })
    }

    /// Stops accepting and closes the listener. Connections in progress end by themselves.
    pub fn stop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // `shutdown` on a listening Unix socket wakes `accept` and refuses new connections.
        let _ = rustix::net::shutdown(&self.socket.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // Its only panic would be one of ours, already printed by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(socket: &ControlSocket, control: &Arc<Control>, stopping: &AtomicBool) {
    let busy = Arc::new(AtomicUsize::new(0));
    while !stopping.load(Ordering::SeqCst) {
        if busy.load(Ordering::SeqCst) >= CONNECTION_LIMIT {
            std::thread::park_timeout(PLACE_PAUSE);
            continue;
        }
        let stream = match socket.listener.accept() {
            Ok((stream, _)) => stream,
            Err(_) if stopping.load(Ordering::SeqCst) => return,
            Err(error) => {
                tracing::warn!(%error, "control connection not accepted");
                std::thread::park_timeout(ACCEPT_PAUSE);
                continue;
            }
        };
        if let Err(refusal) = same_user(&stream) {
            tracing::warn!("control connection refused: {refusal}");
            continue;
        }
        busy.fetch_add(1, Ordering::SeqCst);
        let (control, place) = (control.clone(), Place(busy.clone()));
        let served = std::thread::Builder::new().name("control-client".into()).spawn(move || {
            let _place = place;
            if let Err(error) = serve(stream, &control) {
                tracing::debug!(%error, "control connection ended early");
            }
            control.end_if_asked();
        });
        if let Err(error) = served {
            tracing::warn!(%error, "no thread for a control connection");
        }
    }
}

/// A taken place among the connections; free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The peer must have our user and our group, as in tgt.
fn same_user(stream: &UnixStream) -> Result<(), String> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|error| error.to_string())?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if peer.uid == uid && peer.gid == gid {
        return Ok(());
    }
    Err(format!("peer is user {} group {}, not {} and {}", peer.uid.as_raw(), peer.gid.as_raw(), uid.as_raw(), gid.as_raw()))
}

/// One request, one answer.
fn serve(mut stream: UnixStream, control: &Control) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let mut ended = false;
    loop {
        match framing::examine(&bytes, ended) {
            Step::Refused => return Ok(()),
            Step::Binary(len) => {
                let reply = binary(&bytes[..len], control);
                if let Some(answer) = reply {
                    stream.write_all(&answer)?;
                }
                return finish(&stream);
            }
            Step::Json(len) => {
                let reply = json::read_request(&bytes[..len]).and_then(|envelope| control.apply(&envelope));
                stream.write_all(&json::write_reply(&reply))?;
                return finish(&stream);
            }
            Step::More(_) => ended = receive(&mut stream, &mut bytes, deadline)? == 0,
        }
    }
}

/// Reads what is there into `bytes`; gives the number of bytes, 0 at the end.
fn receive(stream: &mut UnixStream, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut chunk = vec![0; CHUNK];
    let count = stream.read(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// The answer to a binary request; `None`: close without one.
fn binary(bytes: &[u8], control: &Control) -> Option<Vec<u8>> {
    let frame = wire::Frame::decode(bytes).ok()?;
    let reply: Reply = reading::request(&frame).and_then(|envelope| control.apply(&envelope));
    Some(wire::answer_to(&frame, &reply))
}

fn finish(stream: &UnixStream) -> io::Result<()> {
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use admin::reply::Answer;
    use admin::request::{Envelope, Request};

    use super::*;
    use crate::{lock, stub};

    fn exchange(path: &std::path::Path, request: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(path).expect("connects");
        stream.write_all(request).expect("sends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("reads");
        answer
    }

    #[test]
    fn both_protocols_are_served_while_others_are_slow() {
        let folder = std::env::temp_dir().join(format!("scuzzy-control-{}", std::process::id()));
        let path = folder.join("control.0");
        let (control, _) = stub::control(false);
        let mut server = ControlServer::start(lock::open(&path).expect("opens"), control).expect("starts");
        let silent: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(&path).expect("connects")).collect();

        let request = Envelope { driver: None, request: Request::TargetNew { tid: 1, name: "iqn.x:1".into() } };
        let reply = json::read_reply(&exchange(&path, &json::write_request(&request)));
        assert_eq!(reply, Ok(Ok(Answer::Done)));

        let (mut bytes, text) = wire::Frame { mode: 1, op: 2, ..wire::Frame::default() }.encode();
        bytes.extend_from_slice(&text);
        let answer = exchange(&path, &bytes);
        assert_eq!(answer[..4], [0; 4]);
        assert!(String::from_utf8_lossy(&answer[8..]).starts_with("Target 1: iqn.x:1\n"));

        drop(silent);
        server.stop();
        assert!(path.exists());
        assert!(UnixStream::connect(&path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused));
        drop(server);
        std::fs::remove_dir_all(&folder).expect("clean");
    }
}
