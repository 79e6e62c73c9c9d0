//! A send under way: which pieces are still to go, as an I/O vector that stays where it is.

use std::os::fd::RawFd;

use crate::driver::{Batch, Token};

/// Vectors of one `sendmsg`: enough for 128 replies of header and data, a quarter of the kernel's limit (UIO_MAXIOV).
pub const VECTORS: usize = 256;

/// The state of one send. Boxed and reused, so that the addresses of `message` and `vectors` hold while the kernel has them.
pub struct Sending {
    pub token: Token,
    pub socket: RawFd,
    pub batch: Batch,
    /// Bytes gone.
    pub sent: usize,
    /// First piece that has not gone wholly, and how much of it has.
    piece: usize,
    offset: usize,
    vectors: Vec<libc::iovec>,
    message: libc::msghdr,
}

impl Sending {
    pub fn new() -> Box<Sending> {
        // SAFETY: msghdr is plain integers and pointers; all zeros is its empty value.
        let message = unsafe { std::mem::zeroed() };
        let vectors = Vec::with_capacity(VECTORS);
        Box::new(Sending { token: 0, socket: -1, batch: Batch::new(), sent: 0, piece: 0, offset: 0, vectors, message })
    }

    pub fn start(&mut self, token: Token, socket: RawFd, batch: Batch) {
        self.token = token;
        self.socket = socket;
        self.batch = batch;
        self.sent = 0;
        self.piece = 0;
        self.offset = 0;
    }

    pub fn finished(&self) -> bool {
        self.sent >= self.batch.len()
    }

    /// The message for what is left, at most [`VECTORS`] pieces. Valid until the next call of a method of this value.
    pub fn message(&mut self) -> *const libc::msghdr {
        self.vectors.clear();
        let mut skip = self.offset;
        for index in self.piece..self.batch.pieces().min(self.piece + VECTORS) {
            if let Some(bytes) = self.batch.piece(index) {
                let rest = &bytes[skip..];
                self.vectors.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
            }
            skip = 0;
        }
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = self.vectors.len();
        &raw const self.message
    }

    /// `bytes` more have gone.
    pub fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        self.offset += bytes;
        while let Some(piece) = self.batch.piece(self.piece) {
            if self.offset < piece.len() {
                break;
            }
            self.offset -= piece.len();
            self.piece += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;

    fn bytes_of(sending: &mut Sending) -> (usize, Vec<u8>) {
        let message = sending.message();
        // SAFETY: `message` points into `sending`, which lives and is not touched here; each vector covers a piece of its batch.
        unsafe {
            let vectors = std::slice::from_raw_parts((*message).msg_iov, (*message).msg_iovlen);
            let bytes = vectors.iter().flat_map(|v| std::slice::from_raw_parts(v.iov_base.cast::<u8>(), v.iov_len).to_vec()).collect();
            (vectors.len(), bytes)
        }
    }

    #[test]
    fn goes_on_at_any_byte() {
        let pool = Pool::new(4 << 20);
        let mut all = Vec::new();
        let mut batch = Batch::new();
        for index in 0..300u32 {
            let mut buffer = pool.take(3).unwrap();
            buffer.fill(u8::try_from(index % 251).unwrap());
            all.extend_from_slice(&buffer);
            batch.push_shared(buffer.freeze(), 0, 3);
            batch.push_bytes(&index.to_be_bytes());
            all.extend_from_slice(&index.to_be_bytes());
        }
        let mut sending = Sending::new();
        sending.start(1, -1, batch);
        let mut step = 1;
        while !sending.finished() {
            let (count, bytes) = bytes_of(&mut sending);
            assert!(count <= VECTORS);
            assert_eq!(bytes, all[sending.sent..sending.sent + bytes.len()]);
            sending.advance(step.min(bytes.len()));
            step = step * 3 % 101 + 1;
        }
        assert_eq!(sending.sent, all.len());
    }
}
