//! Sockets: listening, options, addresses, and errors that name the cure.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that wait to be accepted: the kernel cuts it to net.core.somaxconn; a boot storm of initiators fits.
pub(crate) const BACKLOG: i32 = 1024;
/// A silent peer is asked after this time, then each [`KEEPALIVE_INTERVAL`], and given up after [`KEEPALIVE_RETRIES`]: a dead initiator is noticed within two minutes.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;

/// The kernel takes the ring of an ended process apart in the background, and its listeners live that long. A restart waits for it in such steps...
const GONE_STEP: Duration = Duration::from_millis(5);
/// ... and no longer than this.
const GONE_LIMIT: Duration = Duration::from_secs(1);

/// A listening socket and its address, with the port that the system chose for 0. IPv6 sockets take IPv6 only, so that both wildcards can be had. The
/// error is one line with the cure. Right after the end of another process with that port it may take some milliseconds.
pub fn listen(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let attempt = || -> io::Result<(OwnedFd, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // After a restart the port is usable although old connections are in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let local = local_address(&socket)?;
        Ok((socket.into(), local))
    };
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => match holder_of(address) {
                // Measured: 6 to 11 ms after the end of a process the port of its ring is free.
                Holder::Gone if start.elapsed() < GONE_LIMIT => std::thread::sleep(GONE_STEP),
                holder => return Err(in_use(address, &holder)),
            },
            result => return result.map_err(|error| explain(address, &error)),
        }
    }
}

/// What every iSCSI connection wants: no Nagle (replies are gathered already), and keep-alive.
pub fn prepare(socket: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    socket.set_tcp_nodelay(true)?;
    let alive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&alive)?;
    Ok(rustix::net::sockopt::set_tcp_keepcnt(&*socket, KEEPALIVE_RETRIES)?)
}

/// Local and remote address.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<(SocketAddr, SocketAddr)> {
    let socket = SockRef::from(&socket);
    let local = local_address(&socket)?;
    let remote = socket.peer_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    Ok((local, remote))
}

/// Borrows a handle for the length of a call.
pub(crate) fn borrow<'a>(handle: RawFd) -> BorrowedFd<'a> {
    // SAFETY: callers pass handles of open sockets, which are closed only by `Op::Close`, that is by the same thread and not during this call.
    // Minus one is the one value that must not be borrowed; it is replaced by a number that no process has.
    unsafe { BorrowedFd::borrow_raw(if handle < 0 { RawFd::MAX } else { handle }) }
}

/// Sets or clears O_NONBLOCK.
pub(crate) fn set_nonblocking(handle: RawFd, on: bool) {
    // A failure shows in the operation that follows.
    let _ = SockRef::from(&borrow(handle)).set_nonblocking(on);
}

/// Closes a socket that no operation uses any more. `reset`: with RST. Otherwise what the peer sent and nobody read is thrown away first, because the
/// kernel answers unread bytes with RST, and that can destroy the last reply on its way.
pub(crate) fn close(handle: RawFd, reset: bool) {
    let socket = borrow(handle);
    if reset {
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    } else {
        let _ = SockRef::from(&socket).shutdown(std::net::Shutdown::Write);
        drain(handle);
    }
    // SAFETY: the handle is open, and by submitting `Op::Close` its owner gave it up; no operation of it is left.
    unsafe { rustix::io::close(handle) };
}

/// Whether an accept error concerns one connection only, so that the next attempt may succeed at once.
pub(crate) fn concerns_one_connection(error: i32) -> bool {
    matches!(
        error,
        libc::ECONNABORTED
            | libc::EINTR
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENONET
    )
}

fn drain(handle: RawFd) {
    /// More than a peer's window of unread bytes is not worth the time.
    const LIMIT: usize = 4 << 20;
    let mut scratch = [0u8; 16 << 10];
    let mut drained = 0;
    while drained < LIMIT {
        // SAFETY: the pointer and length are those of `scratch`.
        let count = unsafe { libc::recv(handle, scratch.as_mut_ptr().cast(), scratch.len(), libc::MSG_DONTWAIT) };
        match usize::try_from(count) {
            Ok(count) if count > 0 => drained += count,
            _ => return,
        }
    }
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => format!("{address} is not an address of this host: see `ip addr`, or listen on 0.0.0.0 or [::]"),
        Some(libc::EACCES) => {
            format!("no permission to listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port such as 3260")
        }
        Some(libc::EAFNOSUPPORT) => format!("this host has no support for the address family of {address}"),
        _ => format!("cannot listen on {address}: {error}"),
    };
    io::Error::new(error.kind(), text)
}

/// Who has a port.
enum Holder {
    Process {
        pid: String,
        command: String,
    },
    /// A socket of this user that no process has: the kernel is still taking the ring of an ended process apart.
    Gone,
    /// Somebody whom this user may not see.
    Hidden,
}

fn in_use(address: SocketAddr, holder: &Holder) -> io::Error {
    let by = match holder {
        Holder::Process { pid, command } => format!(" by pid {pid} ({command})"),
        Holder::Gone | Holder::Hidden => String::new(),
    };
    let text = format!("{address} is already in use{by}: end that program, or choose another port (port 0 takes a free one)");
    io::Error::new(io::ErrorKind::AddrInUse, text)
}

/// Who listens there, as far as /proc shows it.
fn holder_of(address: SocketAddr) -> Holder {
    let path = if address.is_ipv6() { "/proc/net/tcp6" } else { "/proc/net/tcp" };
    let table = std::fs::read_to_string(path).unwrap_or_default();
    // The same port of another address is no obstacle, except where one of both is the wildcard; the exact one comes first.
    let listeners = || table.lines().skip(1).filter_map(|line| listener(line, address.port()));
    let own = hexadecimal(address.ip());
    let wild = |local: &str| address.ip().is_unspecified() || local.bytes().all(|digit| digit == b'0');
    let found = listeners().find(|line| line.address == own).or_else(|| listeners().find(|line| wild(line.address)));
    let Some(found) = found else { return Holder::Gone };
    let wanted = format!("socket:[{}]", found.inode);
    match process_with(&wanted) {
        Some((pid, command)) => Holder::Process { pid, command },
        None if found.user == rustix::process::geteuid().as_raw().to_string() => Holder::Gone,
        None => Holder::Hidden,
    }
}

/// The process with a descriptor of this name, and its command.
fn process_with(wanted: &str) -> Option<(String, String)> {
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        if files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted)) {
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid.to_owned(), command.trim().to_owned()));
        }
    }
    None
}

/// A line of /proc/net/tcp.
#[derive(PartialEq, Eq, Debug)]
struct Listener<'a> {
    address: &'a str,
    user: &'a str,
    inode: &'a str,
}

/// What a line says when it is a listener on `port`.
fn listener(line: &str, port: u16) -> Option<Listener<'_>> {
    /// TCP_LISTEN.
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (address, local_port) = fields.next()?.rsplit_once(':')?;
    if fields.nth(1)? != LISTEN || u16::from_str_radix(local_port, 16) != Ok(port) {
        return None;
    }
    let user = fields.nth(3)?;
    let inode = fields.nth(1)?;
    Some(Listener { address, user, inode })
}

/// An address as /proc/net/tcp writes it: words of four bytes in this machine's order.
fn hexadecimal(address: IpAddr) -> String {
    let words = |bytes: &[u8]| bytes.chunks(4).map(|word| format!("{:08X}", u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))).collect();
    match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_becomes_a_port() {
        let (_, address) = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(address.port(), 0);
        assert_eq!(address.ip(), "127.0.0.1".parse::<std::net::IpAddr>().unwrap());
    }

    #[test]
    fn a_busy_port_names_its_holder_and_the_cure() {
        let (_socket, address) = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(&format!("in use by pid {}", std::process::id())), "{text}");
        assert!(text.contains("another port"), "{text}");
        assert!(!text.contains('\n'));
    }

    #[test]
    fn a_foreign_address_is_explained() {
        let error = listen("192.0.2.1:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("not an address of this host"), "{error}");
    }

    #[test]
    fn both_wildcards_can_be_had() {
        // A host without IPv6 is no failure of ours.
        let Ok((_six, address)) = listen("[::]:0".parse().unwrap()) else { return };
        listen(format!("0.0.0.0:{}", address.port()).parse().unwrap()).unwrap();
    }

    #[test]
    fn lines_of_the_table_are_read() {
        let line = "   0: 0100007F:0CBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 424242 1 0000000000000000 100";
        assert_eq!(listener(line, 3260), Some(Listener { address: &hexadecimal("127.0.0.1".parse().unwrap()), user: "1000", inode: "424242" }));
        assert_eq!(listener(line, 3261), None);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), 3260), None);
        assert_eq!(listener("", 3260), None);
    }
}
