//! The control socket: tgtadm's binary protocol and lines of JSON, on the same path; and beside it a socket for readers.
//!
//! Each connection is served by a thread of its own, requests with an `id` and watches by one each beside it. All of them are bounded, in number, in bytes and
//! in the time they may take, so that a client that is slow, silent or broken costs a place for a while and nothing else.

mod connection;
mod crew;
mod lines;
mod places;
mod watch;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use admin::code::Code;
use admin::reply::Reply;
use admin::request::Envelope;

use crate::apply::Control;
use crate::lock::ControlSocket;
use crew::Crew;
use places::Places;
pub use watch::Bell;

/// A client has this long to send its first request and the rest of any that it has begun, and to take each answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a failed accept (no file descriptors left), so that the thread does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a full house waits before it looks for a free place again.
const PLACE_PAUSE: Duration = Duration::from_millis(10);

/// What whoever connects here may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Everything. `any_user`: the socket's mode decides who may connect; otherwise only our own user and group.
    Administrator { any_user: bool },
    /// [`Request::is_read_only`](admin::request::Request::is_read_only).
    Reader,
}

/// What all connections share.
struct Desk {
    control: Arc<Control>,
    places: Places,
    crew: Arc<Crew>,
    bell: Arc<Bell>,
}

impl Desk {
    /// Carries out what the role allows.
    fn apply(&self, role: Role, envelope: &Envelope) -> Reply {
        if role == Role::Reader && !envelope.request.is_read_only() {
            return Err(Code::InvalidRequest.because("this socket is for readers: it shows everything and changes nothing"));
        }
        self.control.apply(envelope)
    }
}

/// The running control threads.
pub struct ControlServer {
    socket: Arc<ControlSocket>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl ControlServer {
    /// Serves the socket. `bell` rings when model or sessions have changed.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(socket: ControlSocket, control: Arc<Control>, bell: Arc<Bell>) -> io::Result<ControlServer> {
        let administrator = Role::Administrator { any_user: socket.any_user };
        let mut server = ControlServer { socket: Arc::new(socket), stopping: Arc::default(), threads: Vec::new() };
        let desk = Arc::new(Desk { control, places: Places::default(), crew: Arc::default(), bell });
        server.listen("control", administrator, &desk)?;
        if server.socket.readers.is_some() {
            server.listen("control-readers", Role::Reader, &desk)?;
        }
        Ok(server)
    }

    fn listen(&mut self, name: &str, role: Role, desk: &Arc<Desk>) -> io::Result<()> {
        let (socket, stopping, desk) = (self.socket.clone(), self.stopping.clone(), desk.clone());
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let listener = if role == Role::Reader { socket.readers.as_ref() } else { Some(&socket.listener) };
            if let Some(listener) = listener {
                accept(listener, role, &desk, &stopping);
            }
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Stops accepting and closes the listeners. Connections in progress end by themselves.
    pub fn stop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        for listener in std::iter::once(&self.socket.listener).chain(&self.socket.readers) {
            // `shutdown` on a listening Unix socket wakes `accept` and refuses new connections.
            if !self.socket.shared || !std::ptr::eq(listener, &self.socket.listener) {
                let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
            }
        }
        if self.socket.shared {
            // Who passed it goes on with it: it must keep listening. A connection of our own wakes `accept`; when its queue is full, others do.
            let _ = self.socket.listener.set_nonblocking(true);
            let _ = UnixStream::connect(&self.socket.path);
        }
        for thread in self.threads.drain(..) {
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

fn accept(listener: &UnixListener, role: Role, desk: &Arc<Desk>, stopping: &AtomicBool) {
    while !stopping.load(Ordering::SeqCst) {
        let Some(place) = desk.places.connection() else {
            std::thread::park_timeout(PLACE_PAUSE);
            continue;
        };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(_) if stopping.load(Ordering::SeqCst) => return,
            Err(error) => {
                tracing::warn!(%error, "control connection not accepted");
                std::thread::park_timeout(ACCEPT_PAUSE);
                continue;
            }
        };
        if role == (Role::Administrator { any_user: false })
            && let Err(refusal) = same_user(&stream)
        {
            tracing::warn!("control connection refused: {refusal}");
            continue;
        }
        let theirs = desk.clone();
        let served = desk.crew.run(Box::new(move || {
            let _place = place;
            if let Err(error) = connection::serve(stream, role, &theirs) {
                tracing::debug!(%error, "control connection ended early");
            }
            theirs.control.end_if_asked();
        }));
        if let Err(error) = served {
            tracing::warn!(%error, "no thread for a control connection");
        }
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

#[cfg(test)]
mod tests;
