//! Listening sockets that whoever started this process has opened for it: systemd's socket activation, `LISTEN_FDS` and `LISTEN_PID`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;
use socket2::{SockRef, Type};

use crate::net;

/// The first descriptor that is passed, after standard input, output and error.
const FIRST: RawFd = 3;
/// More than anybody has portals: a count beyond it is a mistake.
const MOST: RawFd = 1024;

/// A passed socket that listens.
#[derive(Debug)]
pub struct Passed {
    socket: OwnedFd,
    /// Where it listens.
    pub place: Place,
}

/// Where a socket listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// TCP: a portal.
    Portal(SocketAddr),
    /// A Unix socket with a path: the control socket.
    Control(PathBuf),
}

/// How many sockets the environment says are passed to this process; 0 when it says nothing, or speaks to another one.
///
/// # Errors
/// The variables make no sense.
pub fn count() -> io::Result<RawFd> {
    let (Ok(pid), Ok(count)) = (std::env::var("LISTEN_PID"), std::env::var("LISTEN_FDS")) else { return Ok(0) };
    if pid.parse() != Ok(std::process::id()) {
        return Ok(0);
    }
    let parsed = count.parse().ok().filter(|count| (0..=MOST).contains(count));
    parsed.ok_or_else(|| invalid(format!("LISTEN_FDS '{count}': expected a number from 0 to {MOST}")))
}

/// Takes the passed sockets over. They can be taken once: a second call gives none.
///
/// # Errors
/// One of them is no listening TCP or Unix socket.
pub fn take() -> io::Result<Vec<Passed>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let count = count()?;
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    (FIRST..FIRST + count)
        .map(|number| {
            // A number that is not open is an error here, before anything believes that it owns it.
            rustix::io::fcntl_getfd(net::borrow(number)).map_err(|_| invalid(format!("descriptor {number} is not open, but LISTEN_FDS says so")))?;
            // SAFETY: the descriptor is open, LISTEN_PID says that it was passed to this very process for it to keep, and `TAKEN` lets it be taken once only;
            // nothing else of this process knows the number.
            let socket = unsafe { OwnedFd::from_raw_fd(number) };
            Passed::new(socket).map_err(|error| io::Error::new(error.kind(), format!("descriptor {number}: {error}")))
        })
        .collect()
}

impl Passed {
    /// Takes a socket that listens already.
    ///
    /// # Errors
    /// It is no listening TCP or Unix socket.
    pub fn new(socket: OwnedFd) -> io::Result<Passed> {
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        let listens = rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false);
        let place = {
            let socket = SockRef::from(&socket);
            if !listens || socket.r#type()? != Type::STREAM {
                return Err(invalid("no socket that listens".into()));
            }
            // Drivers have their own way of waiting.
            socket.set_nonblocking(false)?;
            let address = socket.local_addr()?;
            match (address.as_socket(), address.as_unix()) {
                (Some(portal), _) => Place::Portal(portal),
                (None, Some(unix)) => Place::Control(path(&unix).ok_or_else(|| invalid("a Unix socket without a path".into()))?),
                (None, None) => return Err(invalid("neither a TCP nor a Unix socket".into())),
            }
        };
        Ok(Passed { socket, place })
    }

    /// One more handle of it, which listens, also after [`Passed::refuse`].
    ///
    /// # Errors
    /// No more descriptors; or the port was chosen by the system and is lost since [`Passed::refuse`].
    pub fn listener(&self) -> io::Result<OwnedFd> {
        if !rustix::net::sockopt::socket_acceptconn(&self.socket)? {
            // A handle that was closed after `refuse` has left its mark: connections would be born with one half shut.
            rustix::net::connect_unspec(&self.socket)?;
        }
        // Who listens last is who clients of a Unix socket see as their peer.
        rustix::net::listen(&self.socket, net::BACKLOG)?;
        match (SockRef::from(&self.socket).local_addr()?.as_socket(), &self.place) {
            (Some(now), Place::Portal(then)) if now != *then => {
                self.refuse();
                Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("the passed socket of {then} has lost its port")))
            }
            _ => self.socket.try_clone(),
        }
    }

    /// The same as a Unix socket.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn unix_listener(&self) -> io::Result<UnixListener> {
        Ok(self.listener()?.into())
    }

    /// Refuses new connections, although others hold this socket, too.
    pub fn refuse(&self) {
        // It fails only when nobody listens any more.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Read);
    }
}

impl AsFd for Passed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn path(address: &std::os::unix::net::SocketAddr) -> Option<PathBuf> {
    address.as_pathname().filter(|path| !path.as_os_str().as_bytes().is_empty()).map(PathBuf::from)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::IntoRawFd;

    #[test]
    fn sockets_tell_where_they_listen() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(Passed::new(tcp.into()).unwrap().place, Place::Portal(address));
        let path = std::env::temp_dir().join(format!("scuzzy-passed-{}", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        assert_eq!(Passed::new(unix.into()).unwrap().place, Place::Control(path.clone()));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Passed::new(datagrams.into()).unwrap_err().to_string().contains("no socket that listens"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(Passed::new(connected.into()).unwrap_err().to_string().contains("no socket that listens"));
        assert!(Passed::new(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }

    #[test]
    fn a_refusing_socket_listens_again() {
        // A port that was asked for: the kernel forgets those that it chose itself.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let passed = Passed::new(tcp.into()).unwrap();
        let first = passed.listener().unwrap();
        assert!(TcpStream::connect(address).is_ok());
        passed.refuse();
        assert!(TcpStream::connect(address).is_err());
        // As a driver does it, maybe late.
        net::close(first.into_raw_fd(), false);
        let again = TcpListener::from(passed.listener().unwrap());
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, _) = again.accept().unwrap();
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn a_lost_port_is_told() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let passed = Passed::new(tcp.into()).unwrap();
        passed.refuse();
        // The kernel may choose the same port again.
        if let Err(error) = passed.listener() {
            assert!(error.to_string().contains("has lost its port"), "{error}");
        }
    }

    #[test]
    fn without_variables_nothing_is_passed() {
        if std::env::var_os("LISTEN_FDS").is_none() {
            assert_eq!(take().unwrap().len(), 0);
        }
    }
}
