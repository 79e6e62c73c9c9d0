//! Which driver: `--io auto|uring|epoll`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use crate::driver::{Counters, Done, Driver, Handle, Op, Token};
use crate::epoll::Epoll;
use crate::mailbox::Waker;
use crate::uring::Uring;

/// What the administrator wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoChoice {
    /// io_uring where the kernel lets us, otherwise epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// epoll and threads.
    Epoll,
}

impl FromStr for IoChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<IoChoice, String> {
        match text {
            "auto" => Ok(IoChoice::Auto),
            "uring" => Ok(IoChoice::Uring),
            "epoll" => Ok(IoChoice::Epoll),
            _ => Err(format!("`{text}` is no I/O driver: use auto, uring or epoll")),
        }
    }
}

impl std::fmt::Display for IoChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            IoChoice::Auto => "auto",
            IoChoice::Uring => "uring",
            IoChoice::Epoll => "epoll",
        })
    }
}

/// Either driver; one predictable branch per call.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one per thread, for the life of the thread")]
pub enum AnyDriver {
    /// io_uring.
    Uring(Uring),
    /// epoll.
    Epoll(Epoll),
}

/// A driver that started.
#[derive(Debug)]
pub struct Started {
    /// It.
    pub driver: AnyDriver,
    /// Why it is not io_uring although `auto` tried: one line for the log.
    pub fallback: Option<String>,
}

/// Starts a driver on the thread that will use it.
pub fn start(choice: IoChoice) -> io::Result<Started> {
    let uring = match choice {
        IoChoice::Epoll => None,
        IoChoice::Auto | IoChoice::Uring => Some(Uring::new()),
    };
    match (uring, choice) {
        (Some(Ok(uring)), _) => Ok(Started { driver: AnyDriver::Uring(uring), fallback: None }),
        (Some(Err(error)), IoChoice::Uring) => Err(io::Error::new(error.kind(), format!("{}; use --io epoll", explain(&error)))),
        (Some(Err(error)), _) => {
            let fallback = Some(format!("{}; using epoll and threads", explain(&error)));
            Ok(Started { driver: AnyDriver::Epoll(Epoll::new()?), fallback })
        }
        (None, _) => Ok(Started { driver: AnyDriver::Epoll(Epoll::new()?), fallback: None }),
    }
}

impl AnyDriver {
    /// For the log: the driver and how it was set up.
    pub fn name(&self) -> &'static str {
        match self {
            AnyDriver::Uring(uring) => uring.name(),
            AnyDriver::Epoll(_) => "epoll",
        }
    }
}

impl Driver for AnyDriver {
    fn submit(&mut self, token: Token, op: Op) {
        match self {
            AnyDriver::Uring(driver) => driver.submit(token, op),
            AnyDriver::Epoll(driver) => driver.submit(token, op),
        }
    }

    fn wait(&mut self, done: &mut Vec<Done>, until: Option<u64>) {
        match self {
            AnyDriver::Uring(driver) => driver.wait(done, until),
            AnyDriver::Epoll(driver) => driver.wait(done, until),
        }
    }

    fn now(&self) -> u64 {
        crate::spin::monotonic()
    }

    fn waker(&self) -> Waker {
        match self {
            AnyDriver::Uring(driver) => driver.waker(),
            AnyDriver::Epoll(driver) => driver.waker(),
        }
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<(Handle, SocketAddr)> {
        match self {
            AnyDriver::Uring(driver) => driver.listen(address),
            AnyDriver::Epoll(driver) => driver.listen(address),
        }
    }

    fn peer(&self, socket: Handle) -> io::Result<(SocketAddr, SocketAddr)> {
        crate::net::peer(crate::net::borrow(socket))
    }

    fn counters(&self) -> Counters {
        match self {
            AnyDriver::Uring(driver) => driver.counters(),
            AnyDriver::Epoll(driver) => driver.counters(),
        }
    }

    fn adopt(&mut self, socket: OwnedFd) -> Handle {
        match self {
            AnyDriver::Uring(driver) => driver.adopt(socket),
            AnyDriver::Epoll(driver) => driver.adopt(socket),
        }
    }

    fn detach(&mut self, socket: Handle) -> Option<OwnedFd> {
        match self {
            AnyDriver::Uring(driver) => driver.detach(socket),
            AnyDriver::Epoll(driver) => driver.detach(socket),
        }
    }
}

fn explain(error: &io::Error) -> String {
    let reason = match error.raw_os_error() {
        Some(libc::EPERM) => "a seccomp filter or kernel.io_uring_disabled forbids it",
        Some(libc::ENOSYS) => "the kernel, or a seccomp filter, does not have it",
        Some(libc::EINVAL) => "the kernel is too old for it",
        Some(libc::ENOMEM) => "the locked-memory limit is too low for it",
        _ => "it does not work here",
    };
    format!("no io_uring: {reason} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_parse_and_print() {
        for choice in [IoChoice::Auto, IoChoice::Uring, IoChoice::Epoll] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("iouring".parse::<IoChoice>().unwrap_err().contains("auto, uring or epoll"));
    }
}
