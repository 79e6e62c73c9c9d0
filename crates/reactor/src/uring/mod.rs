//! The io_uring driver: sockets and files in one ring, submitted with the wait.
//!
//! Every operation lives in a slot until the kernel has answered; the slot owns its buffers, so whatever the caller does, the kernel never writes to
//! memory that someone else has. A slot's number and generation are the request's user data; an answer for an old generation is ignored.

mod setup;
mod slots;

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::buffer::Buffer;
use crate::driver::{Back, Batch, Counters, Done, Driver, Handle, Op, Token};
use crate::gather::Sending;
use crate::mailbox::Waker;
use crate::net;
use crate::spin::{Spin, monotonic};
use crate::worker::{Finished, Job, Workers};

use self::setup::Setup;
use self::slots::{Slots, Socket, Transfer, Work};

/// User data of requests whose answer nobody waits for.
const IGNORED: u64 = u64::MAX;
/// How long a listener rests when descriptors or memory are short, in nanoseconds.
const ACCEPT_PAUSE: u64 = 100_000_000;
/// How long the end of the driver waits for the kernel to let go of buffers, in nanoseconds.
const END_LIMIT: u64 = 5_000_000_000;
/// IORING_RECVSEND_POLL_FIRST: do not try, wait.
const POLL_FIRST: u16 = 1;

/// A ring and its slots.
pub struct Uring {
    ring: IoUring,
    slots: Slots,
    /// Requests that found the ring full.
    backlog: VecDeque<squeue::Entry>,
    /// Handles to close when their operations have ended.
    closing: Vec<Closing>,
    /// Slots of listeners that rest, and until when.
    resting: Vec<(u32, u64)>,
    workers: Workers,
    waker: Waker,
    ready: Vec<Done>,
    #[allow(clippy::vec_box, reason = "the kernel has addresses inside the box")]
    spare: Vec<Box<Sending>>,
    finished: Vec<Finished>,
    answers: Vec<cqueue::Entry>,
    counters: Counters,
    spin: Spin,
    setup: Setup,
    multishot_accept: bool,
    /// The ring takes requests from the thread that made it only.
    not_send: PhantomData<*const ()>,
}

struct Closing {
    token: Token,
    handle: RawFd,
    reset: bool,
}

impl Uring {
    /// A ring, with the best set-up this kernel has. The error is the system's: EPERM where it is forbidden, ENOSYS where it is missing.
    pub fn new() -> io::Result<Uring> {
        let (ring, setup) = setup::build()?;
        setup::probe(&ring)?;
        let waker = Waker::new()?;
        let mut this = Uring {
            ring,
            slots: Slots::default(),
            backlog: VecDeque::new(),
            closing: Vec::new(),
            resting: Vec::new(),
            workers: Workers::new(waker.clone()),
            waker,
            ready: Vec::new(),
            spare: Vec::new(),
            finished: Vec::new(),
            answers: Vec::new(),
            counters: Counters::default(),
            spin: Spin::new(),
            setup,
            multishot_accept: setup != Setup::Plain,
            not_send: PhantomData,
        };
        let bell = this.slots.insert(Work::Bell);
        this.arm(bell);
        Ok(this)
    }

    /// For the log: the driver and how it was set up.
    pub fn name(&self) -> &'static str {
        match self.setup {
            Setup::Deferred => "io_uring (single issuer, deferred task work)",
            Setup::Cooperative => "io_uring (cooperative task work)",
            Setup::Plain => "io_uring",
        }
    }

    fn fail(&mut self, token: Token, error: i32, back: Back) {
        self.ready.push(Done { token, result: Err(error), back });
    }

    /// Puts the request of a slot into the ring.
    fn arm(&mut self, index: u32) {
        let key = self.slots.key(index);
        let entry = self.request(index).user_data(key);
        self.push(entry);
    }

    fn request(&mut self, index: u32) -> squeue::Entry {
        let poll_first = self.setup == Setup::Deferred && self.slots.known(self.slots.handle_of(index)).is_some_and(|socket| socket.empty);
        let waker = self.waker.event().map_or(-1, |event| event.as_raw_fd());
        match &mut self.slots[index].work {
            Work::Bell => opcode::PollAdd::new(Fd(waker), poll_in()).multi(true).build(),
            Work::Poll { fd, .. } => opcode::PollAdd::new(Fd(*fd), poll_in()).build(),
            Work::Accept { listener, .. } if self.multishot_accept => opcode::AcceptMulti::new(Fd(*listener)).flags(libc::SOCK_CLOEXEC).build(),
            Work::Accept { listener, .. } => {
                opcode::Accept::new(Fd(*listener), std::ptr::null_mut(), std::ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
            }
            Work::Recv { socket, buffer, from, .. } => {
                self.counters.recvs += 1;
                let place = &mut buffer[*from..];

                let ioprio = if poll_first { POLL_FIRST } else { 0 };
                opcode::Recv::new(Fd(*socket), place.as_mut_ptr(), length(place.len())).ioprio(ioprio).build()
            }
            Work::Send(sending) => {
                self.counters.sends += 1;
                let flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL).cast_unsigned();
                opcode::SendMsg::new(Fd(sending.socket), sending.message()).flags(flags).build()
            }
            Work::Read { transfer, buffer } => {
                let place = &mut buffer[transfer.at + transfer.done..transfer.at + transfer.len];
                let position = transfer.offset + transfer.done as u64;
                opcode::Read::new(Fd(transfer.file), place.as_mut_ptr(), length(place.len())).offset(position).build()
            }
            Work::Write { transfer, source, sync } => {
                let place = &source[transfer.at + transfer.done..transfer.at + transfer.len];
                let position = transfer.offset + transfer.done as u64;
                let flags = if *sync { libc::RWF_DSYNC } else { 0 };
                opcode::Write::new(Fd(transfer.file), place.as_ptr(), length(place.len())).offset(position).rw_flags(flags).build()
            }
            Work::Free | Work::Plain { .. } | Work::Job { .. } => opcode::Nop::new().build(),
        }
    }

    fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: what the request points to (buffer, message, vectors) is owned by its slot, at an address that does not move, until the kernel has
            // answered; slots are freed only then, and `drop` waits for all or leaks them.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // A failure leaves the ring full, and the request waits in the list.
            let _ = self.ring.submit();
        }
        self.backlog.push_back(entry);
        self.push_backlog();
    }

    fn push_backlog(&mut self) {
        let mut submission = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: as in `push`.
            if unsafe { submission.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn start_accept(&mut self, token: Token, listener: RawFd) {
        if listener < 0 {
            return self.fail(token, libc::EBADF, Back::None);
        }
        // The ring answers EAGAIN for a socket that must not block, instead of waiting.
        net::set_nonblocking(listener, false);
        let index = self.slots.insert(Work::Accept { token, listener });
        self.arm(index);
    }

    fn start_recv(&mut self, token: Token, handle: RawFd, buffer: Buffer, from: usize) {
        if from >= buffer.len() {
            return self.fail(token, libc::EINVAL, Back::Buffer(buffer));
        }
        match self.slots.socket(handle) {
            None => return self.fail(token, libc::EBADF, Back::Buffer(buffer)),
            Some(socket) if socket.recv.is_some() => return self.fail(token, libc::EBUSY, Back::Buffer(buffer)),
            Some(_) => {}
        }
        let index = self.slots.insert(Work::Recv { token, socket: handle, buffer, from });
        if let Some(socket) = self.slots.socket(handle) {
            socket.recv = Some(index);
        }
        self.arm(index);
    }

    fn start_send(&mut self, token: Token, handle: RawFd, batch: Batch) {
        self.counters.batches += 1;
        self.counters.pieces += batch.pieces() as u64;
        match self.slots.socket(handle) {
            None => return self.fail(token, libc::EBADF, Back::Batch(batch)),
            Some(socket) if socket.send.is_some() => return self.fail(token, libc::EBUSY, Back::Batch(batch)),
            Some(_) if batch.is_empty() => return self.ready.push(Done { token, result: Ok(0), back: Back::Batch(batch) }),
            Some(_) => {}
        }
        let mut sending = self.spare.pop().unwrap_or_else(Sending::new);
        sending.start(token, handle, batch);
        let index = self.slots.insert(Work::Send(sending));
        if let Some(socket) = self.slots.socket(handle) {
            socket.send = Some(index);
        }
        self.arm(index);
    }

    fn start_file(&mut self, work: Work) {
        self.counters.file_ops += 1;
        let index = self.slots.insert(work);
        if self.slots.handle_of(index) < 0 {
            return self.finish(index, Err(libc::EBADF));
        }
        self.arm(index);
    }

    /// Sync, and discard of a file.
    fn start_plain(&mut self, token: Token, file: RawFd, request: squeue::Entry) {
        self.counters.file_ops += 1;
        let index = self.slots.insert(Work::Plain { token, file });
        if file < 0 {
            return self.finish(index, Err(libc::EBADF));
        }
        let key = self.slots.key(index);
        self.push(request.user_data(key));
    }

    fn start_job(&mut self, token: Token, file: RawFd, job: Job) {
        self.counters.file_ops += 1;
        let index = self.slots.insert(Work::Job { token, file });
        if file < 0 {
            return self.finish(index, Err(libc::EBADF));
        }
        self.workers.push(self.slots.key(index), job);
    }

    /// An operation has ended: gives back what it owned, and closes its handle when that waited for it.
    fn finish(&mut self, index: u32, result: Result<usize, i32>) {
        let cancelled = self.slots[index].cancelled;
        let handle = self.slots.handle_of(index);
        let (token, back) = match self.slots.remove(index) {
            Work::Free | Work::Bell => return,
            Work::Accept { token, .. } | Work::Plain { token, .. } | Work::Job { token, .. } | Work::Poll { token, .. } => (token, Back::None),
            Work::Recv { token, socket, buffer, .. } => {
                if let Some(socket) = self.slots.socket(socket) {
                    socket.recv = None;
                }
                (token, Back::Buffer(buffer))
            }
            Work::Send(mut sending) => {
                if let Some(socket) = self.slots.socket(sending.socket) {
                    socket.send = None;
                }
                let (token, batch) = (sending.token, std::mem::take(&mut sending.batch));
                self.spare.push(sending);
                (token, Back::Batch(batch))
            }
            Work::Read { transfer, buffer } => (transfer.token, Back::Buffer(buffer)),
            Work::Write { transfer, source, .. } => (transfer.token, Back::Shared(source)),
        };
        // What the closing of the handle cut short was cancelled, whatever the kernel calls it.
        let result = match result {
            Ok(0) | Err(_) if cancelled => Err(libc::ECANCELED),
            result => result,
        };
        self.ready.push(Done { token, result, back });
        if cancelled {
            self.close_if_idle(handle);
        }
    }

    fn answer(&mut self, entry: &cqueue::Entry) {
        let Some(index) = self.slots.slot_of(entry.user_data()) else { return };
        let result = usize::try_from(entry.result()).map_err(|_| -entry.result());
        let slot = &self.slots[index];
        // Interrupted or refused for want of patience: again, unless it is to end.
        if !slot.cancelled && matches!(result, Err(libc::EINTR | libc::EAGAIN)) && !matches!(slot.work, Work::Accept { .. } | Work::Bell) {
            if result == Err(libc::EAGAIN) {
                net::set_nonblocking(self.slots.handle_of(index), false);
            }
            return self.arm(index);
        }
        match &slot.work {
            Work::Bell => {
                self.waker.take();
                if !cqueue::more(entry.flags()) {
                    self.arm(index);
                }
            }
            Work::Accept { .. } => self.accepted(index, result, cqueue::more(entry.flags())),
            Work::Recv { .. } => self.received(index, result, cqueue::sock_nonempty(entry.flags())),
            Work::Send(_) => self.sent(index, result),
            Work::Read { .. } | Work::Write { .. } => self.transferred(index, result),
            Work::Poll { .. } | Work::Plain { .. } | Work::Job { .. } => self.finish(index, result.map(|_| 0)),
            Work::Free => {}
        }
    }

    fn accepted(&mut self, index: u32, result: Result<usize, i32>, more: bool) {
        let Work::Accept { token, .. } = self.slots[index].work else { return };
        match result {
            Ok(socket) => self.take_connection(token, socket),
            Err(libc::EINVAL) if self.multishot_accept && !self.slots[index].cancelled => self.multishot_accept = false,
            Err(error) if !net::concerns_one_connection(error) && error != libc::EAGAIN && !self.slots[index].cancelled => {
                self.fail(token, error, Back::None);
                if !more {
                    self.resting.push((index, self.now() + ACCEPT_PAUSE));
                    return;
                }
            }
            Err(_) => {}
        }
        match (more, self.slots[index].cancelled) {
            (true, _) => {}
            (false, true) => self.finish(index, Err(libc::ECANCELED)),
            (false, false) => self.arm(index),
        }
    }

    fn take_connection(&mut self, token: Token, socket: usize) {
        let Ok(handle) = RawFd::try_from(socket) else { return };
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(handle) };
        // A connection that is gone already has no peer, and is nobody's loss.
        let Ok((_, peer)) = net::prepare(socket.as_fd()).and_then(|()| net::peer(socket.as_fd())) else { return };
        self.counters.accepts += 1;
        let handle = self.adopt(socket);
        self.ready.push(Done { token, result: Ok(0), back: Back::Accepted { socket: handle, peer } });
    }

    fn received(&mut self, index: u32, result: Result<usize, i32>, more: bool) {
        let handle = self.slots.handle_of(index);
        if let Some(socket) = self.slots.socket(handle) {
            socket.empty = !more;
        }
        self.counters.bytes_in += result.unwrap_or(0) as u64;
        self.finish(index, result);
    }

    fn sent(&mut self, index: u32, result: Result<usize, i32>) {
        let slot = &mut self.slots[index];
        let Work::Send(sending) = &mut slot.work else { return };
        let result = match result {
            Ok(bytes) => {
                self.counters.bytes_out += bytes as u64;
                sending.advance(bytes);
                match (sending.finished(), slot.cancelled || bytes == 0) {
                    (true, _) => Ok(sending.sent),
                    (false, false) => return self.arm(index),
                    (false, true) => Err(libc::ECANCELED),
                }
            }
            Err(error) => Err(error),
        };
        self.finish(index, result);
    }

    fn transferred(&mut self, index: u32, result: Result<usize, i32>) {
        let slot = &mut self.slots[index];
        let (transfer, reading) = match &mut slot.work {
            Work::Read { transfer, .. } => (transfer, true),
            Work::Write { transfer, .. } => (transfer, false),
            _ => return,
        };
        let moved = match result {
            Ok(moved) => moved,
            Err(libc::EOPNOTSUPP) if !reading => return self.write_then_sync(index),
            Err(error) => return self.finish(index, Err(error)),
        };
        transfer.done += moved;
        let (start, end, len) = (transfer.at + transfer.done, transfer.at + transfer.len, transfer.len);
        let result = match (start >= end, moved) {
            (true, _) => Ok(len),
            (false, 0) => match &mut slot.work {
                Work::Read { buffer, .. } => {
                    buffer[start..end].fill(0);
                    Ok(len)
                }
                // A device that takes nothing and gives no reason is full or gone.
                _ => Err(libc::EIO),
            },
            (false, _) if slot.cancelled => Err(libc::ECANCELED),
            (false, _) => return self.arm(index),
        };
        self.finish(index, result);
    }

    /// A file system without RWF_DSYNC: the worker threads know the other way.
    fn write_then_sync(&mut self, index: u32) {
        let key = self.slots.key(index);
        let slot = &self.slots[index];
        match &slot.work {
            Work::Write { transfer, source, sync: true } if !slot.cancelled => {
                let data = source[transfer.at..].as_ptr();
                let job = Job::Write { file: transfer.file, offset: transfer.offset, data, len: transfer.len, sync: true };
                self.workers.push(key, job);
            }
            _ => self.finish(index, Err(libc::EOPNOTSUPP)),
        }
    }

    fn close(&mut self, token: Token, handle: RawFd, reset: bool) {
        if handle < 0 {
            return self.fail(token, libc::EBADF, Back::None);
        }
        self.closing.push(Closing { token, handle, reset });
        for index in self.slots.numbers() {
            if self.slots.handle_of(index) != handle || self.slots[index].cancelled {
                continue;
            }
            self.slots[index].cancelled = true;
            let key = self.slots.key(index);
            let rests = self.resting.iter().position(|(resting, _)| *resting == index);
            if let Some(rests) = rests {
                self.resting.swap_remove(rests);
                self.finish(index, Err(libc::ECANCELED));
            } else if self.workers.revoke(key) {
                self.finish(index, Err(libc::ECANCELED));
            } else {
                self.push(opcode::AsyncCancel::new(key).build().user_data(IGNORED));
            }
        }
        self.close_if_idle(handle);
    }

    fn close_if_idle(&mut self, handle: RawFd) {
        let Some(position) = self.closing.iter().position(|closing| closing.handle == handle) else { return };
        if self.slots.numbers().any(|index| self.slots.handle_of(index) == handle) {
            return;
        }
        let closing = self.closing.swap_remove(position);
        if let Some(socket) = self.slots.socket(handle) {
            *socket = Socket::default();
        }
        net::close(handle, closing.reset);
        self.ready.push(Done { token: closing.token, result: Ok(0), back: Back::None });
    }

    /// Takes the answers that are there.
    fn collect(&mut self) {
        let mut answers = std::mem::take(&mut self.answers);
        answers.extend(self.ring.completion());
        for entry in answers.drain(..) {
            self.answer(&entry);
        }
        self.answers = answers;
    }

    fn collect_jobs(&mut self) {
        let mut finished = std::mem::take(&mut self.finished);
        self.workers.finished(&mut finished);
        for Finished { id, result } in finished.drain(..) {
            if let Some(index) = self.slots.slot_of(id) {
                self.finish(index, result);
            }
        }
        self.finished = finished;
    }

    /// Submits, and runs what the kernel put off for this thread; no waiting.
    fn submit_now(&mut self) {
        self.push_backlog();
        let wanted = {
            let submission = self.ring.submission();
            !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
        };
        if wanted {
            // Errors are EINTR, EBUSY and EAGAIN: the requests stay in the ring for the next call.
            let _ = self.ring.submit();
        }
    }

    fn sleep(&mut self, until: Option<u64>) {
        let until = self.resting.iter().map(|(_, until)| *until).chain(until).min();
        let now = self.now();
        if let Some(spin_until) = self.spin.until(now, until) {
            while self.now() < spin_until {
                self.submit_now();
                if !self.ring.completion().is_empty() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        self.push_backlog();
        // Errors are ETIME, EINTR (the caller looks around), EBUSY (answers are to be taken first) and EAGAIN (short of memory: next time).
        let _ = match until {
            None => self.ring.submit_and_wait(1),
            Some(until) => {
                let left = until.saturating_sub(self.now());
                let nanoseconds = u32::try_from(left % 1_000_000_000).unwrap_or(0);
                let timespec = Timespec::new().sec(left / 1_000_000_000).nsec(nanoseconds);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        };
    }

    fn wake_resting(&mut self) {
        if self.resting.is_empty() {
            return;
        }
        let now = self.now();
        while let Some(position) = self.resting.iter().position(|(_, until)| *until <= now) {
            let (index, _) = self.resting.swap_remove(position);
            self.arm(index);
        }
    }
}

impl Driver for Uring {
    fn submit(&mut self, token: Token, op: Op) {
        match op {
            Op::Accept { listener } => self.start_accept(token, listener),
            Op::Recv { socket, buffer, from } => self.start_recv(token, socket, buffer, from),
            Op::Send { socket, batch } => self.start_send(token, socket, batch),
            Op::Read { file, offset, buffer, at, len } => {
                if at.checked_add(len).is_none_or(|end| end > buffer.len()) {
                    return self.fail(token, libc::EINVAL, Back::Buffer(buffer));
                }
                let transfer = Transfer { token, file, offset, at, len, done: 0 };
                self.start_file(Work::Read { transfer, buffer });
            }
            Op::Write { file, offset, source, at, len, sync } => {
                if at.checked_add(len).is_none_or(|end| end > source.len()) {
                    return self.fail(token, libc::EINVAL, Back::Shared(source));
                }
                let transfer = Transfer { token, file, offset, at, len, done: 0 };
                self.start_file(Work::Write { transfer, source, sync });
            }
            Op::Sync { file } => {
                let request = opcode::Fsync::new(Fd(file)).flags(FsyncFlags::DATASYNC).build();
                self.start_plain(token, file, request);
            }
            Op::Discard { file, offset, len, block_device: false } => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                self.start_plain(token, file, opcode::Fallocate::new(Fd(file), len).offset(offset).mode(mode).build());
            }
            Op::Discard { file, offset, len, block_device } => self.start_job(token, file, Job::Discard { file, offset, len, block_device }),
            // Several ways are tried, and a block device's is an ioctl: work for a thread.
            Op::Zero { file, offset, len, block_device, sync } => {
                self.start_job(token, file, Job::Zero { file, offset, len, block_device, sync });
            }
            Op::Poll { fd } => {
                let index = self.slots.insert(Work::Poll { token, fd });
                self.arm(index);
            }
            Op::Close { handle, reset } => self.close(token, handle, reset),
        }
    }

    fn wait(&mut self, done: &mut Vec<Done>, until: Option<u64>) {
        self.counters.waits += 1;
        self.wake_resting();
        if self.ready.is_empty() && self.ring.completion().is_empty() {
            self.sleep(until);
        } else {
            self.submit_now();
        }
        self.collect();
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
        if let Some(socket) = self.slots.socket(handle) {
            *socket = Socket { owned: true, ..Socket::default() };
        }
        handle
    }

    fn detach(&mut self, handle: Handle) -> Option<OwnedFd> {
        let socket = self.slots.socket(handle)?;
        let idle = socket.owned && socket.recv.is_none() && socket.send.is_none();
        idle.then(|| {
            *socket = Socket::default();
            // SAFETY: the driver owned this descriptor (`owned`) and no longer says so; no operation of it is under way.
            unsafe { OwnedFd::from_raw_fd(handle) }
        })
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // Threads first: they use buffers of slots.
        self.workers = Workers::new(self.waker.clone());
        let limit = self.now() + END_LIMIT;
        for (index, _) in std::mem::take(&mut self.resting) {
            self.slots.remove(index);
        }
        for index in self.slots.numbers() {
            let slot = &mut self.slots[index];
            if slot.is_live() {
                slot.cancelled = true;
                let key = self.slots.key(index);
                self.push(opcode::AsyncCancel::new(key).build().user_data(IGNORED));
            }
        }
        while self.slots.any_live() && self.now() < limit {
            self.end_turn();
        }
        if self.slots.any_live() {
            // The kernel still has buffers of these slots: better lost than reused under it.
            self.slots.leak();
        }
        for handle in self.slots.owned() {
            net::close(handle, false);
        }
    }
}

impl Uring {
    /// One turn of the end: every answer frees its slot, nothing is armed again.
    fn end_turn(&mut self) {
        /// Long enough not to burn the CPU, short against [`END_LIMIT`]: in nanoseconds.
        const TURN: u32 = 50_000_000;
        self.push_backlog();
        let timespec = Timespec::new().nsec(TURN);
        let _ = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec));
        let mut answers = std::mem::take(&mut self.answers);
        answers.extend(self.ring.completion());
        for entry in answers.drain(..) {
            if let Some(index) = self.slots.slot_of(entry.user_data())
                && !cqueue::more(entry.flags())
            {
                self.slots.remove(index);
            }
        }
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uring({}, {:?})", self.ring.as_raw_fd(), self.setup)
    }
}

fn poll_in() -> u32 {
    u32::from(libc::POLLIN.cast_unsigned())
}

/// A length for the kernel; what does not fit is done in parts, as any short transfer.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(1 << 30)
}
