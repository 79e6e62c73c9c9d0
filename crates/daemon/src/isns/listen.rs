//! Where the server's notifications and inquiries arrive: at most one listener of each address family, at an address of a portal, and a few connections.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use iscsi::isns::{Inbound, Notice};
use rustix::event::PollFlags;

use super::journal::Journal;
use super::link::send;

/// Most connections; when all are taken, the oldest of somebody else makes room for one of the server.
pub const PEER_LIMIT: usize = 8;
/// Connections accepted before others have their turn.
const ACCEPTS: usize = 16;
/// Bytes taken at a time.
const CHUNK: usize = 4096;
/// Nanoseconds for which nobody is accepted after a failure (no file descriptors left), so that the thread does not spin.
const ACCEPT_PAUSE: u64 = 1_000_000_000;

/// Listeners and what they accepted.
#[derive(Default)]
pub struct Listeners {
    open: Vec<(SocketAddr, TcpListener)>,
    peers: Vec<Peer>,
    /// Nobody is accepted before.
    paused: Option<u64>,
}

struct Peer {
    stream: TcpStream,
    address: SocketAddr,
    core: Inbound,
    unsent: Vec<u8>,
}

impl Listeners {
    /// Listens at exactly these addresses, of which there is at most one of each family; those that can be opened, with their ports.
    pub fn follow(&mut self, wanted: &[IpAddr]) -> Vec<SocketAddr> {
        self.open.retain(|(address, _)| wanted.contains(&address.ip()));
        for &ip in wanted {
            if self.open.iter().any(|(address, _)| address.ip() == ip) {
                continue;
            }
            let opened = TcpListener::bind((ip, 0)).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok((listener.local_addr()?, listener))
            });
            match opened {
                Ok(listener) => self.open.push(listener),
                Err(error) => tracing::debug!(%ip, %error, "iSNS: cannot listen for notifications"),
            }
        }
        self.open.iter().map(|(address, _)| *address).collect()
    }

    /// Closes everything.
    pub fn close(&mut self) {
        *self = Listeners::default();
    }

    /// What the thread waits for.
    pub fn watch<'a>(&'a self, watched: &mut Vec<(BorrowedFd<'a>, PollFlags)>, now: u64) {
        if self.paused.is_none_or(|until| now >= until) {
            watched.extend(self.open.iter().map(|(_, listener)| (listener.as_fd(), PollFlags::IN)));
        }
        for peer in &self.peers {
            // One that does not read is not read from.
            watched.push((peer.stream.as_fd(), if peer.unsent.is_empty() { PollFlags::IN } else { PollFlags::OUT }));
        }
    }

    /// When the thread must look here.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.peers.iter().map(|peer| peer.core.poll_timeout()).chain(self.paused).min()
    }

    /// Accepts, receives, answers, and throws out; what was notified. `server`: the address that has precedence.
    pub fn serve(&mut self, server: Option<IpAddr>, journal: &mut Journal, now: u64) -> Vec<Notice> {
        if self.paused.is_none_or(|until| now >= until) {
            self.paused = None;
            self.accept(server, journal, now);
        }
        let mut notices = Vec::new();
        self.peers.retain_mut(|peer| match peer.serve(now, &mut notices) {
            Ok(()) => true,
            Err(why) => {
                if !why.is_empty() && journal.admits(now) {
                    tracing::info!(peer = %peer.address, "iSNS: connection closed: {why}");
                }
                false
            }
        });
        notices
    }

    fn accept(&mut self, server: Option<IpAddr>, journal: &mut Journal, now: u64) {
        for (_, listener) in &self.open {
            for _ in 0..ACCEPTS {
                match listener.accept() {
                    Ok((stream, address)) => {
                        if stream.set_nonblocking(true).is_ok() && make_room(&mut self.peers, address.ip(), server) {
                            // Answers are short; without it they are only slower.
                            let _ = stream.set_nodelay(true);
                            self.peers.push(Peer { stream, address, core: Inbound::new(now), unsent: Vec::new() });
                        } else if journal.admits(now) {
                            tracing::info!(peer = %address, "iSNS: connection refused: {PEER_LIMIT} are open");
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => {
                        if journal.admits(now) {
                            tracing::warn!(%error, "iSNS: connection not accepted");
                        }
                        self.paused = Some(now + ACCEPT_PAUSE);
                        return;
                    }
                }
            }
        }
    }
}

/// A place for a connection from `ip`.
fn make_room(peers: &mut Vec<Peer>, ip: IpAddr, server: Option<IpAddr>) -> bool {
    if peers.len() < PEER_LIMIT {
        return true;
    }
    let stranger = peers.iter().position(|peer| Some(peer.address.ip()) != server);
    match stranger {
        Some(oldest) if Some(ip) == server => {
            peers.remove(oldest);
            true
        }
        _ => false,
    }
}

impl Peer {
    /// One turn.
    ///
    /// # Errors
    /// Why the connection ends; empty when the peer closed it.
    fn serve(&mut self, now: u64, notices: &mut Vec<Notice>) -> Result<(), String> {
        self.send()?;
        if self.unsent.is_empty() {
            let mut chunk = [0; CHUNK];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(String::new()),
                Ok(count) => self.core.handle_bytes(&chunk[..count], now).map_err(|ending| ending.to_string())?,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.to_string()),
            }
            self.send()?;
        }
        while let Some(notice) = self.core.poll_notice() {
            notices.push(notice);
        }
        self.core.handle_timeout(now).map_err(|ending| ending.to_string())
    }

    fn send(&mut self) -> Result<(), String> {
        send(&mut self.stream, &mut self.unsent, || self.core.poll_transmit()).map_err(|error| error.to_string())
    }
}
