//! The io_uring driver.
use crate::driver::{Counters, Done, Driver, Handle, Op, Token};
use crate::mailbox::Waker;
use std::io;
use std::net::SocketAddr;
/// io_uring.
#[derive(Debug)]
pub struct Uring(crate::epoll::Epoll);
impl Uring {
    /// Not there yet.
    pub fn new() -> io::Result<Uring> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }
    /// Name.
    pub fn name(&self) -> &'static str {
        "uring"
    }
}
impl Driver for Uring {
    fn submit(&mut self, token: Token, op: Op) {
        self.0.submit(token, op)
    }
    fn wait(&mut self, done: &mut Vec<Done>, until: Option<u64>) {
        self.0.wait(done, until)
    }
    fn now(&self) -> u64 {
        self.0.now()
    }
    fn waker(&self) -> Waker {
        self.0.waker()
    }
    fn listen(&mut self, address: SocketAddr) -> io::Result<(Handle, SocketAddr)> {
        self.0.listen(address)
    }
    fn peer(&self, socket: Handle) -> io::Result<(SocketAddr, SocketAddr)> {
        self.0.peer(socket)
    }
    fn counters(&self) -> Counters {
        self.0.counters()
    }
}
