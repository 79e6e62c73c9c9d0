//! The driver for every Linux: epoll for sockets, a few threads for files.
//!
//! Sockets are registered once, edge-triggered in both directions, so a busy connection costs no `epoll_ctl`. What the edges said is remembered per socket
//! (`readable`, `writable`) and forgotten when a call comes back short. Calls carry MSG_DONTWAIT, so the sockets' own mode does not matter.

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::SocketFlags;
use rustix::time::Timespec;

use crate::buffer::Buffer;
use crate::driver::{Back, Batch, Counters, Done, Driver, Handle, Op, Token};
use crate::gather::Sending;
use crate::mailbox::Waker;
use crate::net;
use crate::spin::{NOBODY, Spin, monotonic};
use crate::worker::{Finished, Job, Workers};

/// Events of one `epoll_wait`: more than the connections that usually are busy at once; the rest comes with the next call.
const EVENTS: usize = 256;
/// Connections accepted per turn, so that a flood of them does not starve those who are in.
const ACCEPTS: usize = 64;
/// How long a listener rests when descriptors or memory are short, in nanoseconds.
const ACCEPT_PAUSE: u64 = 100_000_000;

/// epoll and a small thread pool.
pub struct Epoll {
    /// First field, so first dropped: threads use buffers of `jobs`.
    workers: Workers,
    jobs: Vec<Option<FileOp>>,
    free_jobs: Vec<usize>,
    epoll: OwnedFd,
    waker: Waker,
    entries: Vec<Option<Box<Entry>>>,
    /// Sockets that have something to try although no new edge will come.
    attempts: Vec<RawFd>,
    /// Listeners that rest, and until when.
    resting: Vec<(RawFd, u64)>,
    /// Handles to close when their file operations have ended.
    closing: Vec<Closing>,
    ready: Vec<Done>,
    #[allow(clippy::vec_box, reason = "the kernel has addresses inside the box")]
    spare: Vec<Box<Sending>>,
    events: Vec<epoll::Event>,
    finished: Vec<Finished>,
    counters: Counters,
    spin: Spin,
    /// Made and used on one thread, like the ring.
    not_send: PhantomData<*const ()>,
}

struct FileOp {
    token: Token,
    file: RawFd,
    back: Back,
}

struct Closing {
    token: Token,
    handle: RawFd,
    reset: bool,
}

#[derive(Default)]
struct Entry {
    registered: bool,
    readable: bool,
    writable: bool,
    /// The peer has ended its side or the connection failed: a short receive does not mean that nothing is left to learn.
    ended: bool,
    /// On `attempts`.
    queued: bool,
    /// Closed with the driver.
    owned: bool,
    recv: Option<(Token, Buffer, usize)>,
    send: Option<Box<Sending>>,
    accept: Option<Token>,
    poll: Option<Token>,
}

impl Epoll {
    /// A new epoll set. Threads start when they are needed.
    pub fn new() -> io::Result<Epoll> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let waker = Waker::new()?;
        if let Some(event) = waker.event() {
            epoll::add(&epoll, event, EventData::new_u64(NOBODY), EventFlags::IN)?;
        }
        Ok(Epoll {
            workers: Workers::new(waker.clone()),
            jobs: Vec::new(),
            free_jobs: Vec::new(),
            epoll,
            waker,
            entries: Vec::new(),
            attempts: Vec::new(),
            resting: Vec::new(),
            closing: Vec::new(),
            ready: Vec::new(),
            spare: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            finished: Vec::new(),
            counters: Counters::default(),
            spin: Spin::new(),
            not_send: PhantomData,
        })
    }

    fn fail(&mut self, token: Token, error: i32, back: Back) {
        self.ready.push(Done { token, result: Err(error), back });
    }

    /// The entry of a handle, made when there is none.
    fn entry(&mut self, handle: RawFd) -> Option<&mut Entry> {
        let index = usize::try_from(handle).ok()?;
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        Some(self.entries[index].get_or_insert_default())
    }

    fn known(&mut self, handle: RawFd) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(handle).ok()?)?.as_deref_mut()
    }

    fn forget(&mut self, handle: RawFd) -> Option<Box<Entry>> {
        let entry = self.entries.get_mut(usize::try_from(handle).ok()?)?.take()?;
        if entry.registered {
            let _ = epoll::delete(&self.epoll, net::borrow(handle));
        }
        self.attempts.retain(|other| *other != handle);
        self.resting.retain(|(other, _)| *other != handle);
        Some(entry)
    }

    fn register(&mut self, handle: RawFd, flags: EventFlags) -> Result<(), i32> {
        if self.entry(handle).ok_or(libc::EBADF)?.registered {
            return Ok(());
        }
        let data = EventData::new_u64(u64::try_from(handle).map_err(|_| libc::EBADF)?);
        epoll::add(&self.epoll, net::borrow(handle), data, flags).map_err(|error| error.raw_os_error())?;
        let entry = self.entry(handle).ok_or(libc::EBADF)?;
        entry.registered = true;
        entry.writable = true;
        Ok(())
    }

    fn attempt_later(&mut self, handle: RawFd) {
        if let Some(entry) = self.known(handle)
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.attempts.push(handle);
        }
    }

    fn start_accept(&mut self, token: Token, listener: RawFd) {
        net::set_nonblocking(listener, true);
        match self.register(listener, EventFlags::IN | EventFlags::ET) {
            Ok(()) => {
                if let Some(entry) = self.entry(listener) {
                    entry.accept = Some(token);
                }
                self.attempt_later(listener);
            }
            Err(error) => self.fail(token, error, Back::None),
        }
    }

    fn start_recv(&mut self, token: Token, socket: RawFd, buffer: Buffer, from: usize) {
        if from >= buffer.len() {
            return self.fail(token, libc::EINVAL, Back::Buffer(buffer));
        }
        if let Err(error) = self.register(socket, socket_flags()) {
            return self.fail(token, error, Back::Buffer(buffer));
        }
        match self.entry(socket) {
            Some(entry) if entry.recv.is_none() => {
                entry.recv = Some((token, buffer, from));
                if entry.readable {
                    self.attempt_later(socket);
                }
            }
            _ => self.fail(token, libc::EBUSY, Back::Buffer(buffer)),
        }
    }

    fn start_send(&mut self, token: Token, socket: RawFd, batch: Batch) {
        self.counters.batches += 1;
        self.counters.pieces += batch.pieces() as u64;
        if let Err(error) = self.register(socket, socket_flags()) {
            return self.fail(token, error, Back::Batch(batch));
        }
        if self.known(socket).is_none_or(|entry| entry.send.is_some()) {
            return self.fail(token, libc::EBUSY, Back::Batch(batch));
        }
        let mut sending = self.spare.pop().unwrap_or_else(Sending::new);
        sending.start(token, socket, batch);
        let writable = self.known(socket).is_some_and(|entry| entry.writable);
        if writable {
            self.send(sending);
        } else if let Some(entry) = self.known(socket) {
            entry.send = Some(sending);
        }
    }

    /// Sends until it is done, fails, or the socket is full; then it waits in the entry.
    fn send(&mut self, mut sending: Box<Sending>) {
        let socket = sending.socket;
        let mut result = Ok(());
        while !sending.finished() {
            self.counters.sends += 1;
            let message = sending.message();
            // SAFETY: `message` and all it points to live in `sending`, which is not touched during the call.
            let count = unsafe { libc::sendmsg(socket, message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
            match usize::try_from(count) {
                Ok(count) => {
                    self.counters.bytes_out += count as u64;
                    sending.advance(count);
                }
                Err(_) => match last_error() {
                    libc::EINTR => {}
                    libc::EAGAIN => {
                        if let Some(entry) = self.known(socket) {
                            entry.writable = false;
                            entry.send = Some(sending);
                        }
                        return;
                    }
                    error => {
                        result = Err(error);
                        break;
                    }
                },
            }
        }
        self.sent(sending, result);
    }

    fn sent(&mut self, mut sending: Box<Sending>, result: Result<(), i32>) {
        let batch = std::mem::take(&mut sending.batch);
        self.ready.push(Done { token: sending.token, result: result.map(|()| sending.sent), back: Back::Batch(batch) });
        self.spare.push(sending);
    }

    /// Tries what waits on a handle.
    fn attempt(&mut self, handle: RawFd) {
        let Some(entry) = self.known(handle) else { return };
        if let Some(token) = entry.accept {
            return self.accept(token, handle);
        }
        if entry.readable
            && let Some((token, buffer, from)) = entry.recv.take()
        {
            self.recv(token, handle, buffer, from);
        }
        if let Some(entry) = self.known(handle)
            && entry.writable
            && let Some(sending) = entry.send.take()
        {
            self.send(sending);
        }
    }

    fn recv(&mut self, token: Token, socket: RawFd, mut buffer: Buffer, from: usize) {
        let space = buffer.len() - from;
        let count = loop {
            self.counters.recvs += 1;
            // SAFETY: the pointer and length are those of `buffer[from..]`, whose only user is this function; `from` was checked at submit.
            let count = unsafe { libc::recv(socket, buffer[from..].as_mut_ptr().cast(), space, libc::MSG_DONTWAIT) };
            match usize::try_from(count) {
                Ok(count) => break Ok(count),
                Err(_) => match last_error() {
                    libc::EINTR => {}
                    error => break Err(error),
                },
            }
        };
        let Some(entry) = self.known(socket) else { return };
        match count {
            Err(libc::EAGAIN) => {
                entry.readable = false;
                entry.recv = Some((token, buffer, from));
                return;
            }
            // A short receive has emptied the socket: the next byte makes a new edge.
            Ok(count) if count > 0 && count < space && !entry.ended => entry.readable = false,
            _ => {}
        }
        self.counters.bytes_in += count.unwrap_or(0) as u64;
        self.ready.push(Done { token, result: count, back: Back::Buffer(buffer) });
    }

    fn accept(&mut self, token: Token, listener: RawFd) {
        if self.resting.iter().any(|(resting, _)| *resting == listener) {
            return;
        }
        for _ in 0..ACCEPTS {
            match rustix::net::accept_with(net::borrow(listener), SocketFlags::CLOEXEC) {
                Ok(socket) => self.accepted(token, socket),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(error) if net::concerns_one_connection(error.raw_os_error()) => {}
                Err(error) => {
                    self.fail(token, error.raw_os_error(), Back::None);
                    self.resting.push((listener, self.now() + ACCEPT_PAUSE));
                    return;
                }
            }
        }
        self.attempt_later(listener);
    }

    fn accepted(&mut self, token: Token, socket: OwnedFd) {
        // A connection that is gone already has no peer, and is nobody's loss.
        let Ok((_, peer)) = net::prepare(socket.as_fd()).and_then(|()| net::peer(socket.as_fd())) else { return };
        self.counters.accepts += 1;
        let socket = self.adopt(socket);
        self.ready.push(Done { token, result: Ok(0), back: Back::Accepted { socket, peer } });
    }

    fn start_poll(&mut self, token: Token, fd: RawFd) {
        if self.known(fd).is_some_and(|entry| entry.registered) {
            return self.fail(token, libc::EBUSY, Back::None);
        }
        match self.register(fd, EventFlags::IN | EventFlags::ONESHOT) {
            Ok(()) => {
                if let Some(entry) = self.known(fd) {
                    entry.poll = Some(token);
                }
            }
            // A regular file: always readable.
            Err(libc::EPERM) => {
                self.forget(fd);
                self.ready.push(Done { token, result: Ok(0), back: Back::None });
            }
            Err(error) => {
                self.forget(fd);
                self.fail(token, error, Back::None);
            }
        }
    }

    fn start_job(&mut self, token: Token, file: RawFd, back: Back, job: Job) {
        self.counters.file_ops += 1;
        if file < 0 {
            return self.fail(token, libc::EBADF, back);
        }
        let op = FileOp { token, file, back };
        let index = match self.free_jobs.pop() {
            Some(index) => {
                self.jobs[index] = Some(op);
                index
            }
            None => {
                self.jobs.push(Some(op));
                self.jobs.len() - 1
            }
        };
        self.workers.push(index as u64, job);
    }

    fn collect_jobs(&mut self) {
        let mut finished = std::mem::take(&mut self.finished);
        self.workers.finished(&mut finished);
        for Finished { id, result } in finished.drain(..) {
            let index = usize::try_from(id).unwrap_or(usize::MAX);
            if let Some(op) = self.jobs.get_mut(index).and_then(Option::take) {
                self.free_jobs.push(index);
                self.ready.push(Done { token: op.token, result, back: op.back });
                self.close_if_idle(op.file);
            }
        }
        self.finished = finished;
    }

    fn close(&mut self, token: Token, handle: RawFd, reset: bool) {
        if handle < 0 {
            return self.fail(token, libc::EBADF, Back::None);
        }
        if let Some(mut entry) = self.forget(handle) {
            if let Some((token, buffer, _)) = entry.recv.take() {
                self.fail(token, libc::ECANCELED, Back::Buffer(buffer));
            }
            if let Some(sending) = entry.send.take() {
                self.sent(sending, Err(libc::ECANCELED));
            }
            for token in entry.accept.take().into_iter().chain(entry.poll.take()) {
                self.fail(token, libc::ECANCELED, Back::None);
            }
        }
        for index in 0..self.jobs.len() {
            if self.jobs[index].as_ref().is_some_and(|op| op.file == handle)
                && self.workers.revoke(index as u64)
                && let Some(op) = self.jobs[index].take()
            {
                self.free_jobs.push(index);
                self.fail(op.token, libc::ECANCELED, op.back);
            }
        }
        self.closing.push(Closing { token, handle, reset });
        self.close_if_idle(handle);
    }

    fn close_if_idle(&mut self, handle: RawFd) {
        if self.closing.is_empty() || self.jobs.iter().flatten().any(|op| op.file == handle) {
            return;
        }
        if let Some(index) = self.closing.iter().position(|closing| closing.handle == handle) {
            let closing = self.closing.swap_remove(index);
            net::close(handle, closing.reset);
            self.ready.push(Done { token: closing.token, result: Ok(0), back: Back::None });
        }
    }

    /// One `epoll_wait` and what it says. Returns whether it said anything.
    fn poll_events(&mut self, timeout: Option<&Timespec>) -> bool {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        // Errors are EINTR (a signal: return to the caller, who looks around) and our own bugs.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout);
        for event in &events {
            self.event(event.data.u64(), event.flags);
        }
        let any = !events.is_empty();
        self.events = events;
        any
    }

    fn event(&mut self, data: u64, flags: EventFlags) {
        if data == NOBODY {
            self.waker.take();
            return;
        }
        let Ok(handle) = RawFd::try_from(data) else { return };
        let Some(entry) = self.known(handle) else { return };
        let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        entry.ended |= ended;
        entry.readable |= ended || flags.contains(EventFlags::IN);
        entry.writable |= ended || flags.contains(EventFlags::OUT);
        if let Some(token) = entry.poll.take() {
            self.forget(handle);
            self.ready.push(Done { token, result: Ok(0), back: Back::None });
            return;
        }
        self.attempt(handle);
    }

    fn run_attempts(&mut self) {
        if !self.resting.is_empty() {
            let now = self.now();
            while let Some(index) = self.resting.iter().position(|(_, until)| *until <= now) {
                let (listener, _) = self.resting.swap_remove(index);
                self.attempt_later(listener);
            }
        }
        // Those that are added meanwhile wait for the next turn.
        for _ in 0..self.attempts.len() {
            let Some(handle) = self.attempts.pop() else { break };
            if let Some(entry) = self.known(handle) {
                entry.queued = false;
            }
            self.attempt(handle);
        }
    }

    fn sleep(&mut self, until: Option<u64>) {
        let until = self.resting.iter().map(|(_, until)| *until).chain(until).min();
        let now = self.now();
        if let Some(spin_until) = self.spin.until(now, until) {
            while self.now() < spin_until {
                if self.poll_events(Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        let timeout = until.map(|until| timespec(until.saturating_sub(self.now())));
        self.poll_events(timeout.as_ref());
    }
}

impl Driver for Epoll {
    fn submit(&mut self, token: Token, op: Op) {
        match op {
            Op::Accept { listener } => self.start_accept(token, listener),
            Op::Recv { socket, buffer, from } => self.start_recv(token, socket, buffer, from),
            Op::Send { socket, batch } => self.start_send(token, socket, batch),
            Op::Read { file, offset, mut buffer, at, len } => match at.checked_add(len).and_then(|end| buffer.get_mut(at..end)) {
                Some(range) => {
                    let data = range.as_mut_ptr();
                    self.start_job(token, file, Back::Buffer(buffer), Job::Read { file, offset, data, len });
                }
                None => self.fail(token, libc::EINVAL, Back::Buffer(buffer)),
            },
            Op::Write { file, offset, source, at, len, sync } => match at.checked_add(len).and_then(|end| source.get(at..end)) {
                Some(range) => {
                    let data = range.as_ptr();
                    self.start_job(token, file, Back::Shared(source), Job::Write { file, offset, data, len, sync });
                }
                None => self.fail(token, libc::EINVAL, Back::Shared(source)),
            },
            Op::Sync { file } => self.start_job(token, file, Back::None, Job::Sync { file }),
            Op::Discard { file, offset, len, block_device } => {
                self.start_job(token, file, Back::None, Job::Discard { file, offset, len, block_device });
            }
            Op::Zero { file, offset, len, block_device, sync } => {
                self.start_job(token, file, Back::None, Job::Zero { file, offset, len, block_device, sync });
            }
            Op::Poll { fd } => self.start_poll(token, fd),
            Op::Close { handle, reset } => self.close(token, handle, reset),
        }
    }

    fn wait(&mut self, done: &mut Vec<Done>, until: Option<u64>) {
        self.counters.waits += 1;
        self.run_attempts();
        if self.ready.is_empty() {
            self.sleep(until);
        } else {
            self.poll_events(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        }
        self.collect_jobs();
        if !self.ready.is_empty() {
            self.spin.busy(self.now());
            done.append(&mut self.ready);
        }
    }

    fn now(&self) -> u64 {
        monotonic()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<(Handle, SocketAddr)> {
        let (socket, address) = net::listen(address)?;
        Ok((self.adopt(socket), address))
    }

    fn peer(&self, socket: Handle) -> io::Result<(SocketAddr, SocketAddr)> {
        net::peer(net::borrow(socket))
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn adopt(&mut self, socket: OwnedFd) -> Handle {
        let handle = socket.into_raw_fd();
        // What an earlier owner of this number left behind, if it closed it without telling.
        self.forget(handle);
        if let Some(entry) = self.entry(handle) {
            entry.owned = true;
        }
        handle
    }

    fn detach(&mut self, socket: Handle) -> Option<OwnedFd> {
        let entry = self.known(socket)?;
        if !entry.owned || entry.recv.is_some() || entry.send.is_some() || entry.accept.is_some() {
            return None;
        }
        self.forget(socket);
        // SAFETY: the driver owned this descriptor (`owned`) and has forgotten it; no operation of it is under way.
        Some(unsafe { OwnedFd::from_raw_fd(socket) })
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for handle in 0..self.entries.len() {
            if let Ok(handle) = RawFd::try_from(handle)
                && self.forget(handle).is_some_and(|entry| entry.owned)
            {
                net::close(handle, false);
            }
        }
    }
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Epoll({})", self.epoll.as_raw_fd())
    }
}

fn socket_flags() -> EventFlags {
    EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET
}

fn timespec(nanoseconds: u64) -> Timespec {
    let seconds = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds % 1_000_000_000).unwrap_or(0) }
}

fn last_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
