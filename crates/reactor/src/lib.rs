//! One loop per core: sockets, rings, timers, buffers, mailboxes.
//!
//! The completion model is the common denominator of io_uring, epoll and the simulator: whatever is handed to [`Driver::submit`] is owned by the driver
//! until its [`Done`] comes back, so cancelling is always safe.

// CONTRACT (implemented in `buffer.rs`, `driver.rs`, `uring.rs`, `epoll.rs`, `mailbox.rs`, `net.rs`):
//
// buffer.rs
//   pub struct Pool;      // of one reactor (!Send is fine): page-aligned, zeroed-at-first-use, size classes 4 KiB .. 32 MiB (powers of two), bounded credit
//   impl Pool { pub fn new(limit_bytes: usize) -> Pool; pub fn take(&self, len: usize) -> Option<Buffer>;  // None: no credit
//               pub fn used(&self) -> usize; pub fn limit(&self) -> usize; }
//   pub struct Buffer;    // unique owner; Deref<Target=[u8]> of exactly the asked length + DerefMut; drop gives it back without a heap call
//   impl Buffer { pub fn freeze(self) -> Shared; }      // no copy, no heap allocation
//   pub struct Shared;    // Clone (count in the buffer's header), Deref<[u8]>; impl Shared { pub fn thaw(self) -> Result<Buffer, Shared>; }
//
// driver.rs
//   pub type Handle = RawFd;        // a socket, listener or file of the driver
//   pub type Token = u64;           // chosen by the caller, comes back with Done; a token may carry several operations over time
//   pub enum Op {
//       Accept { listener: Handle },                                   // one Done per accepted connection; stays armed
//       Recv { socket: Handle, buffer: Buffer, from: usize },          // receives into buffer[from..]; one Done with the number of bytes (0: end)
//       Send { socket: Handle, batch: Batch },                         // all of it; Done when everything is sent or an error
//       Read { file: Handle, offset: u64, buffer: Buffer, at: usize, len: usize },     // buffer[at..at+len]; zero-filled past the end of the file
//       Write { file: Handle, offset: u64, source: Shared, at: usize, len: usize, sync: bool },
//       Sync { file: Handle },
//       Discard { file: Handle, offset: u64, len: u64, block_device: bool },
//       Zero { file: Handle, offset: u64, len: u64, block_device: bool, sync: bool },
//       Poll { fd: Handle },                                           // readable once (mailbox eventfd, control)
//       Close { handle: Handle, reset: bool },                         // reset: RST (SO_LINGER 0). Ends every operation of the handle with ECANCELED first
//   }
//   pub struct Batch { pieces: Vec<Piece> }                            // reused vector; pieces are inline bytes (headers, padding) or (Shared, range)
//   pub struct Done { pub token: Token, pub result: Result<usize, i32>, pub back: Back }   // back: what the operation owned (Buffer, Shared, Batch, or the accepted socket + peer address)
//   pub trait Driver {
//       fn submit(&mut self, token: Token, op: Op);
//       /// Waits until something is done or `until` (ns of this driver's clock) passes; None: no limit. Appends to `done`.
//       fn wait(&mut self, done: &mut Vec<Done>, until: Option<u64>);
//       fn now(&self) -> u64;                                          // monotonic nanoseconds
//       fn waker(&self) -> Waker;                                      // Clone + Send: wakes wait() from another thread
//       fn listen(&mut self, address: SocketAddr) -> io::Result<(Handle, SocketAddr)>;
//       fn peer(&self, socket: Handle) -> (local, remote) addresses
//       fn counters(&self) -> Counters;                                // sendmsg calls, recv calls, bytes, replies: exact counts for SPECIFICATION.md
//   }
// uring.rs : Uring::new() -> io::Result<Uring>    (SINGLE_ISSUER|DEFER_TASKRUN, then COOP_TASKRUN, then none; probes operations; ENOSYS/EPERM/.. are returned)
// epoll.rs : Epoll::new() -> io::Result<Epoll>    (epoll + a small thread pool for what blocks)
// choose.rs: pub enum IoChoice { Auto, Uring, Epoll }   (parse from "auto|uring|epoll"), pub enum AnyDriver or a generic start function
// mailbox.rs: bounded queue + Waker between reactors
