//! Telling the service manager how the daemon is (sd_notify).
//!
//! A datagram of a few words. The crates for it do not know sockets with abstract names (`@...`), which containers use.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Sends `READY=1` and a status line to the socket that `NOTIFY_SOCKET` names; does nothing without one.
///
/// A failure is of no consequence to the daemon and is only logged.
pub fn ready(status: &str) {
    send(&format!("READY=1\nSTATUS={status}"));
}

/// Tells systemd that the daemon is ending.
pub fn stopping() {
    send("STOPPING=1");
}

/// Tells systemd that the daemon is alive.
pub fn alive() {
    send("WATCHDOG=1");
}

/// How soon after the last [`alive`] systemd takes this process for dead: `WATCHDOG_USEC`, unless `WATCHDOG_PID` names another process.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let limit = number("WATCHDOG_USEC").filter(|limit| *limit > 0)?;
    let ours = std::env::var_os("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
    ours.then(|| Duration::from_micros(limit))
}

fn send(text: &str) {
    let Some(target) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let outcome = UnixDatagram::unbound().and_then(|socket| {
        let bytes = target.as_encoded_bytes();
        let address = match bytes.split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&target)?,
        };
        socket.send_to_addr(text.as_bytes(), &address)
    });
    if let Err(error) = outcome {
        tracing::warn!(%error, "systemd could not be notified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_happens_without_a_socket() {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            ready("test");
        }
    }
}
