//! WRITE SAME(10) and (16) (SBC-4 5.52, 5.53).
//!
//! UNMAP = 1 deallocates only when the block sent is all zeros, since deallocated blocks read as zeros; any other block is written, so that what was
//! asked for is what is read. The work is cut into pieces: lengths are 64 bits wide and nothing is truncated.

use scsi::Outcome;
use scsi::command::Operation;

use super::fault::{Access, flush_fault, store_fault, write_error};
use super::limits::{MAX_WRITE_SAME_BLOCKS, PATTERN_PIECE, ZERO_PIECE};
use super::read_write::remember_cached_loss;
use super::{Span, data_mismatch};
use crate::cdb::{bad_field, bit, fail};
use crate::device::Device;
use crate::operation::{Request, Step, StoreFault, StoreOp, StoreResult};

/// A running WRITE SAME.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteSame {
    span: Span,
    done: u64,
    block: u32,
    /// Data-out taken: one block, or none with NDOB.
    taken: u32,
    unmap: bool,
    stable: bool,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Pattern,
    Zero,
    Discard,
    Flush,
}

/// ANCHOR is not supported; UNMAP needs thin provisioning; PBDATA and LBDATA are obsolete; NDOB is only in the long form.
pub(super) fn check(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    let cdb = request.cdb;
    if bit(cdb, 1, 0x10) {
        return Err(bad_field(1, Some(4)));
    }
    if bit(cdb, 1, 0x08) && !device.thin() {
        return Err(bad_field(1, Some(3)));
    }
    if bit(cdb, 1, 0x04) {
        return Err(bad_field(1, Some(2)));
    }
    if bit(cdb, 1, 0x02) {
        return Err(bad_field(1, Some(1)));
    }
    if bit(cdb, 1, 0x01) && request.row.operation == Operation::WriteSame10 {
        return Err(bad_field(1, Some(0)));
    }
    let blocks = device.range(request.row, cdb).map_or(0, |range| range.count.0);
    if blocks > MAX_WRITE_SAME_BLOCKS {
        let at = request.row.lba.map_or(0, |field| field.count);
        return Err(bad_field(u16::from(at), Some(7)));
    }
    Ok(())
}

/// First step. `Err`: it ends at once.
pub(super) fn begin(device: &Device, request: &Request<'_>, span: Span) -> Result<(WriteSame, Step), Outcome> {
    let block = device.block_size().bytes();
    let no_data = bit(request.cdb, 1, 0x01);
    if !no_data && request.data_out != block {
        return Err(data_mismatch(block));
    }
    if span.len == 0 {
        return Err(Outcome::good(0));
    }
    let stable = device.stable(false);
    if stable && device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    let taken = if no_data { 0 } else { block };
    let unmap = bit(request.cdb, 1, 0x08);
    let mut command = WriteSame { span, done: 0, block, taken, unmap, stable, how: How::Pattern };
    let step = if no_data {
        command.how = command.zeros();
        command.next()
    } else {
        Step::Fetch { len: block, inline: true }
    };
    Ok((command, step))
}

impl WriteSame {
    fn zeros(&self) -> How {
        if self.unmap { How::Discard } else { How::Zero }
    }

    pub(crate) fn fetched(&mut self, data: &[u8]) -> Step {
        let len = usize::try_from(self.block).unwrap_or(usize::MAX);
        // Without the block itself nobody knows that it is zeros.
        if data.len() >= len && data[..len].iter().all(|&byte| byte == 0) {
            self.how = self.zeros();
        }
        self.next()
    }

    /// The next piece.
    fn next(&self) -> Step {
        let offset = self.span.offset + self.done;
        let len = self.piece();
        Step::Store(match self.how {
            How::Pattern => StoreOp::WriteSame { offset, len, block: self.block, stable: self.stable },
            How::Zero => StoreOp::Zero { offset, len, stable: self.stable },
            How::Discard => StoreOp::Discard { offset, len },
            How::Flush => StoreOp::Flush { offset: self.span.offset, len: self.span.len },
        })
    }

    fn piece(&self) -> u64 {
        let limit = if self.how == How::Pattern { PATTERN_PIECE } else { ZERO_PIECE };
        (self.span.len - self.done).min(limit)
    }

    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        match result {
            Ok(_) if self.how == How::Flush => Step::Finish(Outcome::good(self.taken)),
            Ok(_) => self.advance(),
            Err(fault) if self.how == How::Flush => fail(flush_fault(device, self.span.offset, fault), self.taken),
            // A store that cannot deallocate can still make the blocks read as zeros.
            Err(StoreFault::Unsupported) if self.how == How::Discard => self.retry(How::Zero),
            Err(StoreFault::Unsupported) if self.how == How::Zero && self.taken > 0 => self.retry(How::Pattern),
            Err(fault) => {
                remember_cached_loss(device, self.stable, fault);
                fail(store_fault(device, Access::Write, self.span.offset + self.done, fault), self.taken)
            }
        }
    }

    fn retry(&mut self, how: How) -> Step {
        self.how = how;
        self.next()
    }

    fn advance(&mut self) -> Step {
        self.done += self.piece();
        if self.done < self.span.len {
            return self.next();
        }
        // Deallocation has no durable form of its own.
        if self.how == How::Discard && self.stable {
            return self.retry(How::Flush);
        }
        Step::Finish(Outcome::good(self.taken))
    }
}
