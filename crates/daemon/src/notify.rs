//! Telling systemd that the daemon is ready (sd_notify).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
