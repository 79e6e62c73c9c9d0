//! The connection to the server: look-up, connect, bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use iscsi::isns::Client;
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::Waker;
use crate::plane::now;

/// Bytes taken at a time.
const CHUNK: usize = 16 << 10;
/// Chunks taken before others have their turn.
const CHUNKS: usize = 16;

/// What became of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing.
    Quiet,
    /// It is there, with this local address.
    Connected(SocketAddr),
    /// It failed or was closed.
    Closed,
}

type Found = Result<Vec<SocketAddr>, String>;

/// A host name that is being looked up.
struct Lookup {
    server: (String, u16),
    answer: Receiver<Found>,
}

enum State {
    Closed,
    /// Waits for the look-up.
    Named,
    /// Failed before anything could be waited for.
    Failed,
    Connecting(Socket),
    Open {
        stream: TcpStream,
        local: SocketAddr,
        peer: SocketAddr,
        unsent: Vec<u8>,
    },
}

/// The connection.
pub struct Link {
    waker: Waker,
    state: State,
    lookup: Option<Lookup>,
    /// Counts attempts, so that each takes the next of the server's addresses.
    attempts: usize,
    error: Option<String>,
}

impl Link {
    pub fn new(waker: Waker) -> Link {
        Link { waker, state: State::Closed, lookup: None, attempts: 0, error: None }
    }

    /// Begins to connect.
    pub fn connect(&mut self, server: Option<&(String, u16)>) {
        let Some(server) = server else { return self.state = State::Failed };
        let (host, port) = server;
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            return self.open(SocketAddr::new(address, *port));
        }
        self.state = State::Named;
        if self.lookup.as_ref().is_none_or(|lookup| lookup.server != *server) {
            self.look_up(server);
        }
    }

    /// One thread for each name that is not found yet; it ends by itself, whoever waits for it.
    fn look_up(&mut self, server: &(String, u16)) {
        let (tell, answer) = channel();
        let (host, port) = server.clone();
        let waker = self.waker.clone();
        let started = std::thread::Builder::new().name("isns-name".into()).spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect).map_err(|error| error.to_string());
            // Nobody may be interested any more.
            let _ = tell.send(found);
            waker.wake();
        });
        match started {
            Ok(_) => self.lookup = Some(Lookup { server: server.clone(), answer }),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Takes the answer of a look-up.
    pub fn lookup_done(&mut self) {
        let found = match self.lookup.as_ref().map(|lookup| lookup.answer.try_recv()) {
            None | Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(found)) => found,
            Some(Err(TryRecvError::Disconnected)) => Err("its thread died".into()),
        };
        self.lookup = None;
        if !matches!(self.state, State::Named) {
            return;
        }
        match found {
            Ok(addresses) if !addresses.is_empty() => self.open(addresses[self.attempts % addresses.len()]),
            Ok(_) => self.fail("the server's name has no address"),
            Err(error) => self.fail(&format!("the server's name is not found: {error}")),
        }
    }

    fn open(&mut self, address: SocketAddr) {
        self.attempts = self.attempts.wrapping_add(1);
        let attempt = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            match socket.connect(&address.into()) {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
                _ => Ok(socket),
            }
        };
        match attempt() {
            Ok(socket) => self.state = State::Connecting(socket),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn fail(&mut self, error: &str) {
        self.error = Some(error.into());
        self.state = State::Failed;
    }

    /// Closes the connection, or gives the attempt up.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Has the attempt come to an end?
    pub fn advance(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting(socket) => match connected(socket) {
                Ok(Connected::Yet(socket)) => self.state = State::Connecting(socket),
                Ok(Connected::Now(stream, local, peer)) => {
                    self.error = None;
                    self.state = State::Open { stream, local, peer, unsent: Vec::new() };
                    return Step::Connected(local);
                }
                Err(error) => {
                    self.error = Some(error.to_string());
                    return Step::Closed;
                }
            },
            State::Failed => return Step::Closed,
            other => self.state = other,
        }
        Step::Quiet
    }

    /// Takes what the server sent.
    pub fn receive(&mut self, client: &mut Client) -> Step {
        let mut chunk = [0; CHUNK];
        for _ in 0..CHUNKS {
            let State::Open { stream, .. } = &mut self.state else { return Step::Quiet };
            match stream.read(&mut chunk) {
                Ok(0) => return Step::Closed,
                Ok(count) => client.handle_bytes(&chunk[..count], now()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Quiet,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.error = Some(error.to_string());
                    return Step::Closed;
                }
            }
            if !client.is_connected() {
                return Step::Quiet;
            }
        }
        Step::Quiet
    }

    /// Sends what the client has to say, as far as the server takes it.
    pub fn transmit(&mut self, client: &mut Client) -> Step {
        let State::Open { stream, unsent, .. } = &mut self.state else { return Step::Quiet };
        match send(stream, unsent, || client.poll_transmit()) {
            Ok(()) => Step::Quiet,
            Err(error) => {
                self.error = Some(error.to_string());
                Step::Closed
            }
        }
    }

    /// What the thread waits for.
    pub fn watch<'a>(&'a self, watched: &mut Vec<(BorrowedFd<'a>, PollFlags)>) {
        match &self.state {
            State::Connecting(socket) => watched.push((socket.as_fd(), PollFlags::OUT)),
            State::Open { stream, unsent, .. } => {
                let more = if unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                watched.push((stream.as_fd(), PollFlags::IN | more));
            }
            State::Closed | State::Named | State::Failed => {}
        }
    }

    /// Our address, while connected.
    pub fn local(&self) -> Option<SocketAddr> {
        if let State::Open { local, .. } = self.state { Some(local) } else { None }
    }

    /// The server's address, while connected.
    pub fn peer(&self) -> Option<SocketAddr> {
        if let State::Open { peer, .. } = self.state { Some(peer) } else { None }
    }

    /// The system's words about the last failure.
    pub fn take_error(&mut self) -> Option<String> {
        self.error.take()
    }
}

/// Sends what is left, then more, until the socket takes nothing.
pub(super) fn send(stream: &mut TcpStream, unsent: &mut Vec<u8>, mut more: impl FnMut() -> Option<Vec<u8>>) -> io::Result<()> {
    loop {
        if unsent.is_empty() {
            match more() {
                Some(bytes) => *unsent = bytes,
                None => return Ok(()),
            }
        }
        match stream.write(unsent) {
            Ok(count) => drop(unsent.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

enum Connected {
    Yet(Socket),
    Now(TcpStream, SocketAddr, SocketAddr),
}

fn connected(socket: Socket) -> io::Result<Connected> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let peer = match socket.peer_addr() {
        Ok(peer) => peer.as_socket().ok_or(ErrorKind::Unsupported)?,
        Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(Connected::Yet(socket)),
        Err(error) => return Err(error),
    };
    let stream = TcpStream::from(socket);
    let local = stream.local_addr()?;
    if local == peer {
        // On the same host the system may choose the server's own port for us, when no server has it.
        return Err(ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(Connected::Now(stream, local, peer))
}
