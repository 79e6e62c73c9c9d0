//! The operations of a reactor, and who carries them out.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use crate::buffer::{Buffer, Shared};
use crate::mailbox::Waker;

/// A socket, listener or file of the driver.
pub type Handle = RawFd;

/// Chosen by the caller, comes back with [`Done`]. One token may carry several operations over time.
pub type Token = u64;

/// Something to do.
#[derive(Debug)]
pub enum Op {
    /// One [`Done`] with [`Back::Accepted`] per connection; stays armed until its listener is closed. When the system lacks descriptors or memory, one
    /// `Done` with the error says so and the driver tries again by itself a little later.
    Accept {
        /// From [`Driver::listen`] or [`crate::net::listen`].
        listener: Handle,
    },
    /// Receives what is there into `buffer[from..]`, at least one byte; the result is the number of bytes, 0 at the end of the stream. One at a time per
    /// socket: a second one is answered EBUSY.
    Recv {
        /// Socket.
        socket: Handle,
        /// Where to.
        buffer: Buffer,
        /// First byte to fill; must be inside the buffer.
        from: usize,
    },
    /// Sends all of it, then the result is the number of bytes; or an error, when an unknown part has gone. One at a time per socket: a second one is
    /// answered EBUSY.
    Send {
        /// Socket.
        socket: Handle,
        /// What.
        batch: Batch,
    },
    /// Reads `len` bytes into `buffer[at..]`, zero-filled past the end of the file. The result is `len`.
    Read {
        /// File.
        file: Handle,
        /// Position in the file.
        offset: u64,
        /// Where to.
        buffer: Buffer,
        /// First byte of the buffer.
        at: usize,
        /// Bytes.
        len: usize,
    },
    /// Writes `source[at..at + len]`. The result is `len`.
    Write {
        /// File.
        file: Handle,
        /// Position in the file.
        offset: u64,
        /// From where.
        source: Shared,
        /// First byte of the source.
        at: usize,
        /// Bytes.
        len: usize,
        /// Durable before it is done.
        sync: bool,
    },
    /// fdatasync.
    Sync {
        /// File.
        file: Handle,
    },
    /// Deallocates a range.
    Discard {
        /// File.
        file: Handle,
        /// Position.
        offset: u64,
        /// Bytes.
        len: u64,
        /// A block device.
        block_device: bool,
    },
    /// Makes a range read as zeros.
    Zero {
        /// File.
        file: Handle,
        /// Position.
        offset: u64,
        /// Bytes.
        len: u64,
        /// A block device.
        block_device: bool,
        /// Durable before it is done.
        sync: bool,
    },
    /// Done when the descriptor is readable, once. The descriptor stays the caller's: end the wait with [`Op::Close`] only if it may be closed too.
    Poll {
        /// What to watch.
        fd: Handle,
    },
    /// Ends every operation of the handle with ECANCELED first, then closes it, then is done with result 0.
    Close {
        /// What.
        handle: Handle,
        /// The peer gets RST at once and loses what was not yet received (SO_LINGER 0); otherwise FIN after what was sent.
        reset: bool,
    },
}

/// What an operation owned, given back.
#[derive(Debug)]
pub enum Back {
    /// Nothing.
    None,
    /// Of a receive or read.
    Buffer(Buffer),
    /// Of a write.
    Shared(Shared),
    /// Of a send: reuse it after [`Batch::clear`].
    Batch(Batch),
    /// A new connection, with TCP_NODELAY and keep-alive set.
    Accepted {
        /// Its socket.
        socket: Handle,
        /// Who called.
        peer: SocketAddr,
    },
}

/// The end of an operation (each accepted connection is one).
#[derive(Debug)]
pub struct Done {
    /// Of the operation.
    pub token: Token,
    /// What the operation says, or the system's error number.
    pub result: Result<usize, i32>,
    /// What it owned.
    pub back: Back,
}

/// Exact counts since the driver started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// `sendmsg` calls, or requests of the ring that are one.
    pub sends: u64,
    /// `recv` calls, or requests of the ring that are one.
    pub recvs: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Pieces of batches handed to [`Op::Send`], whole batches only.
    pub pieces: u64,
    /// Batches handed to [`Op::Send`].
    pub batches: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Read, write, sync, discard, zero operations handed over.
    pub file_ops: u64,
    /// Calls of [`Driver::wait`].
    pub waits: u64,
}

/// Carries out operations of one reactor. Made and used on one thread. Its end closes the sockets that it accepted, listens on, or adopted.
pub trait Driver {
    /// Hands over an operation; its [`Done`] comes from a later [`Driver::wait`], errors included.
    fn submit(&mut self, token: Token, op: Op);
    /// Appends to `done` what has ended. Waits until something has, a [`Waker`] is used, or `until` (nanoseconds of [`Driver::now`]) has come; `None`: no
    /// limit. May return early with nothing.
    fn wait(&mut self, done: &mut Vec<Done>, until: Option<u64>);
    /// Monotonic nanoseconds.
    fn now(&self) -> u64;
    /// Ends a [`Driver::wait`], the next one if none goes on; from any thread.
    fn waker(&self) -> Waker;
    /// A listening socket and its address, with the port that was chosen for 0. The error is one line with the cure.
    fn listen(&mut self, address: SocketAddr) -> io::Result<(Handle, SocketAddr)>;
    /// Local and remote address of a socket.
    fn peer(&self, socket: Handle) -> io::Result<(SocketAddr, SocketAddr)>;
    /// Counts.
    fn counters(&self) -> Counters;
    /// Takes over a connected or listening socket: from another reactor, or made elsewhere.
    fn adopt(&mut self, socket: OwnedFd) -> Handle {
        socket.into_raw_fd()
    }
    /// Gives up an idle socket without closing it, so that another reactor can [`Driver::adopt`] it. `None`: an operation of it is under way, or it is not
    /// this driver's.
    #[must_use = "dropping it closes the socket"]
    fn detach(&mut self, socket: Handle) -> Option<OwnedFd> {
        let _ = socket;
        None
    }
}

/// What one send sends: bytes of its own (headers, padding, digests) and ranges of shared buffers, in order. Reusing it costs no heap call.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    len: usize,
}

#[derive(Debug)]
enum Piece {
    /// A range of `Batch::bytes`.
    Own {
        at: usize,
        len: usize,
    },
    Shared {
        shared: Shared,
        at: usize,
        len: usize,
    },
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Appends a copy of `bytes`: for headers, padding, digests.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.len += bytes.len();
        match self.pieces.last_mut() {
            Some(Piece::Own { len, .. }) => *len += bytes.len(),
            _ => self.pieces.push(Piece::Own { at, len: bytes.len() }),
        }
    }

    /// Appends `shared[at..at + len]` without a copy. Panics when the range is not inside `shared`, which is a bug of the caller.
    pub fn push_shared(&mut self, shared: Shared, at: usize, len: usize) {
        assert!(at.checked_add(len).is_some_and(|end| end <= shared.len()), "a piece reaches beyond its buffer");
        if len > 0 {
            self.len += len;
            self.pieces.push(Piece::Shared { shared, at, len });
        }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pieces, adjacent own bytes being one.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Piece `index`.
    pub fn piece(&self, index: usize) -> Option<&[u8]> {
        Some(match self.pieces.get(index)? {
            Piece::Own { at, len } => &self.bytes[*at..*at + *len],
            Piece::Shared { shared, at, len } => &shared[*at..*at + *len],
        })
    }

    /// Empties it, keeping its memory and letting its shared buffers go.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;

    #[test]
    fn a_batch_keeps_order_and_joins_its_own_bytes() {
        let pool = Pool::new(1 << 20);
        let mut buffer = pool.take(8).unwrap();
        buffer.copy_from_slice(b"ABCDEFGH");
        let shared = buffer.freeze();
        let mut batch = Batch::new();
        batch.push_bytes(b"head");
        batch.push_bytes(b"er");
        batch.push_shared(shared.clone(), 2, 3);
        batch.push_shared(shared, 0, 0);
        batch.push_bytes(b"pad");
        assert_eq!((batch.len(), batch.pieces()), (12, 3));
        let all: Vec<u8> = (0..batch.pieces()).flat_map(|index| batch.piece(index).unwrap().to_vec()).collect();
        assert_eq!(all, b"headerCDEpad");
        assert!(batch.piece(3).is_none());
        batch.clear();
        assert!(batch.is_empty());
        assert_eq!(pool.used(), 0);
    }

    #[test]
    #[should_panic(expected = "beyond its buffer")]
    fn a_piece_must_lie_inside_its_buffer() {
        let pool = Pool::new(1 << 20);
        let shared = pool.take(8).unwrap().freeze();
        Batch::new().push_shared(shared, 4, usize::MAX);
    }
}
