//! WRITE SAME(10) and (16) (SBC-4 5.52, 5.53).
//!
//! UNMAP = 1 deallocates only when the block sent is all zeros, since deallocated blocks read as zeros; any other block is written, so that what was
//! asked for is what is read. The work is cut into pieces: lengths are 64 bits wide and nothing is truncated.

use scsi::Outcome;
use scsi::command::Operation;
use scsi::protection::{LENGTH, Protection};

use super::fault::{Access, flush_fault, store_fault, write_error};
use super::limits::{MAX_WRITE_SAME_BLOCKS, PATTERN_PIECE, ZERO_PIECE};
use super::protection::wire;
use super::read_write::remember_cached_loss;
use super::{Span, data_mismatch, exact};
use crate::cdb::{bad_field, bad_flag, fail, flags};
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
    let flags = flags(cdb);
    if flags & 0x10 != 0 {
        return Err(bad_flag(cdb, 4));
    }
    if flags & 0x08 != 0 && !device.thin() {
        return Err(bad_flag(cdb, 3));
    }
    if flags & 0x04 != 0 {
        return Err(bad_flag(cdb, 2));
    }
    if flags & 0x02 != 0 {
        return Err(bad_flag(cdb, 1));
    }
    if flags & 0x01 != 0 && request.row.operation == Operation::WriteSame10 {
        return Err(bad_flag(cdb, 0));
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
    let no_data = flags(request.cdb) & 0x01 != 0;
    let sent = wire(device, request, block);
    if !no_data && request.data_out != sent {
        return Err(data_mismatch(sent));
    }
    if span.len == 0 {
        return Err(Outcome::good(0));
    }
    let stable = device.stable(false);
    if stable && device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    let taken = if no_data { 0 } else { sent };
    let unmap = flags(request.cdb) & 0x08 != 0;
    let span = exact(device, span);
    let mut command = WriteSame { span, done: 0, block, taken, unmap, stable, how: How::Pattern };
    let step = if no_data {
        command.how = command.zeros();
        command.next()
    } else {
        Step::Fetch { len: sent, inline: true }
    };
    Ok((command, step))
}

impl WriteSame {
    fn zeros(&self) -> How {
        if self.unmap { How::Discard } else { How::Zero }
    }

    pub(crate) fn fetched(&mut self, device: &Device, data: &[u8]) -> Step {
        let len = usize::try_from(self.block).unwrap_or(usize::MAX);
        // On a medium with protection information zeros have theirs, unless they are to be deallocated and come without, or with none.
        let kept = device.protection() != Protection::None && !self.unmap;
        let tagged = data.get(len..).is_some_and(|rest| rest.iter().take(LENGTH).any(|&byte| byte != 0xff));
        // Without the block itself nobody knows that it is zeros.
        if !kept && !tagged && data.len() >= len && data[..len].iter().all(|&byte| byte == 0) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parameter;
    use crate::tests::bench::{Bench, medium, settings};
    use crate::{StoreAnswer, UnitSettings};
    use scsi::{BlockSize, Sense, Status};
    use std::vec;

    fn cdb10(flags: u8, lba: u8, count: u8) -> [u8; 10] {
        [0x41, flags, 0, 0, 0, lba, 0, 0, count, 0]
    }

    fn cdb16(flags: u8, lba: u8, count: u32) -> [u8; 16] {
        let [a, b, c, d] = count.to_be_bytes();
        [0x93, flags, 0, 0, 0, 0, 0, 0, 0, lba, a, b, c, d, 0, 0]
    }

    fn good(bench: &mut Bench, cdb: &[u8], data: &[u8]) {
        let (outcome, _) = bench.run(cdb, data);
        assert_eq!((outcome.status, outcome.sense), (Status::GOOD, None));
        assert_eq!(outcome.data_out, u32::try_from(data.len()).unwrap());
    }

    #[test]
    fn repeats_the_block() {
        for cdb in [&cdb10(0, 2, 3)[..], &cdb16(0, 2, 3)] {
            let mut bench = Bench::disk(8);
            good(&mut bench, cdb, &[3; 512]);
            assert_eq!(bench.ops, [StoreOp::WriteSame { offset: 1024, len: 1536, block: 512, stable: false }]);
            assert_eq!(bench.bytes[1024..2560], [3; 1536]);
            assert_eq!(bench.bytes[2560..], [0; 1536]);
        }
    }

    #[test]
    fn zeros_are_zeroed() {
        let mut bench = Bench::disk(8);
        good(&mut bench, &cdb10(0, 2, 3), &[0; 512]);
        good(&mut bench, &cdb16(0x01, 2, 3), &[]);
        assert_eq!(bench.ops, [StoreOp::Zero { offset: 1024, len: 1536, stable: false }; 2]);
    }

    #[test]
    fn unmap_deallocates_zeros_and_writes_everything_else() {
        let mut bench = Bench::thin(8);
        good(&mut bench, &cdb10(0x08, 0, 8), &[0; 512]);
        good(&mut bench, &cdb16(0x09, 0, 8), &[]);
        let discard = StoreOp::Discard { offset: 0, len: 4096 };
        assert_eq!(bench.ops, [discard, discard]);
        good(&mut bench, &cdb16(0x08, 0, 8), &[1; 512]);
        assert_eq!(bench.bytes, vec![1; 4096], "a pattern is not lost");
    }

    #[test]
    fn no_count_means_to_the_end() {
        let mut bench = Bench::disk(8);
        good(&mut bench, &cdb16(0x01, 6, 0), &[]);
        good(&mut bench, &cdb10(0, 6, 0), &[4; 512]);
        assert_eq!(bench.ops[0], StoreOp::Zero { offset: 3072, len: 1024, stable: false });
        assert_eq!(bench.ops[1], StoreOp::WriteSame { offset: 3072, len: 1024, block: 512, stable: false });
        good(&mut bench, &cdb16(0x01, 8, 0), &[]);
        assert_eq!(bench.ops.len(), 2, "nothing lies behind the end");
        assert_eq!(bench.refused(&cdb16(0x01, 9, 0), &[]), 0x0005_2100);
        assert_eq!(bench.refused(&cdb16(0x01, 7, 2), &[]), 0x0005_2100);
    }

    /// Runs a command on a disk that is too large for memory; the store says yes to everything.
    fn large(cdb: &[u8], data: &[u8]) -> vec::Vec<StoreOp> {
        let settings = UnitSettings { block_size: BlockSize::B4096, thin: true, ..settings() };
        let mut device = Device::disk(settings, Some(medium(1 << 46)));
        let port = crate::tests::bench::port();
        let row = device.lookup(cdb).unwrap();
        let data_out = u32::try_from(data.len()).unwrap();
        let request = Request { row, cdb, data_out, data_in: 0, nexus: 1, port: &port };
        device.check(&request).unwrap();
        let (mut progress, mut step) = device.begin(&request);
        let mut ops = vec![];
        loop {
            step = match step {
                Step::Fetch { .. } => device.fetched(&mut progress, data),
                Step::Store(op) => {
                    ops.push(op);
                    device.stored(&mut progress, Ok(StoreAnswer::Done))
                }
                Step::Finish(outcome) => {
                    assert_eq!(outcome.status, Status::GOOD);
                    return ops;
                }
            };
        }
    }

    #[test]
    fn lengths_beyond_four_gibibytes_are_not_truncated() {
        let ops = large(&cdb16(0x09, 1, 0x0010_0001), &[]);
        let discard = |offset, len| StoreOp::Discard { offset, len };
        let gibibyte = 1 << 30;
        let expected = [0, 1, 2, 3].map(|piece| discard(4096 + piece * gibibyte, gibibyte));
        assert_eq!(ops[..4], expected);
        assert_eq!(ops[4..], [discard(4096 + 4 * gibibyte, 4096)]);
        let pattern = large(&cdb16(0, 0, 0x0020_0000), &[1; 4096]);
        assert_eq!(pattern.len(), 512);
        assert_eq!(pattern[511], StoreOp::WriteSame { offset: (8 << 30) - (16 << 20), len: 16 << 20, block: 4096, stable: false });
    }

    #[test]
    fn refused_fields() {
        let mut thick = Bench::disk(8);
        let mut thin = Bench::thin(8);
        let at = |bit| Sense::invalid_cdb_field(1, Some(bit));
        assert_eq!(thick.sense(&cdb16(0x08, 0, 1), &[0; 512]), at(3));
        assert_eq!(thin.sense(&cdb16(0x10, 0, 1), &[0; 512]), at(4));
        assert_eq!(thin.sense(&cdb16(0x18, 0, 1), &[0; 512]), at(4));
        assert_eq!(thin.sense(&cdb16(0x04, 0, 1), &[0; 512]), at(2));
        assert_eq!(thin.sense(&cdb10(0x02, 0, 1), &[0; 512]), at(1));
        assert_eq!(thin.sense(&cdb10(0x01, 0, 1), &[]), at(0));
        assert_eq!(thin.sense(&cdb10(0x40, 0, 1), &[0; 512]), at(7));
        for len in [0, 511, 1024] {
            assert_eq!(thin.refused(&cdb16(0x08, 0, 1), &vec![0; len]), 0x0005_0e03);
        }
        assert!(thin.ops.is_empty());
    }

    #[test]
    fn a_disk_too_long_for_one_command() {
        let mut bench = Bench::around(Device::disk(settings(), Some(medium(1 << 42))), 0);
        assert_eq!(bench.sense(&cdb16(0x01, 0, 0), &[]), Sense::invalid_cdb_field(10, Some(7)));
    }

    #[test]
    fn stores_that_cannot_deallocate_zero_instead() {
        let mut bench = Bench::thin(8);
        bench.faults.extend([Some(StoreFault::Unsupported), Some(StoreFault::Unsupported)]);
        good(&mut bench, &cdb10(0x08, 0, 8), &[0; 512]);
        assert_eq!(bench.ops[1], StoreOp::Zero { offset: 0, len: 4096, stable: false });
        assert_eq!(bench.ops[2], StoreOp::WriteSame { offset: 0, len: 4096, block: 512, stable: false });
    }

    #[test]
    fn durable_without_a_cache() {
        let mut bench = Bench::thin(8);
        bench.device.set(Parameter::ModePage { page: 8, subpage: 0, size: 18, data: vec![0x10] }).unwrap();
        good(&mut bench, &cdb16(0x09, 1, 2), &[]);
        assert_eq!(bench.ops, [StoreOp::Discard { offset: 512, len: 1024 }, StoreOp::Flush { offset: 512, len: 1024 }]);
        bench.faults.extend([None, Some(StoreFault::Io { at: None })]);
        assert_eq!(bench.refused(&cdb16(0x09, 1, 2), &[]), 0x0003_0c00);
        assert_eq!(bench.refused(&cdb16(0, 1, 2), &[1; 512]), 0x0003_0c00, "remembered");
    }

    #[test]
    fn the_failing_block() {
        let mut bench = Bench::disk(8);
        bench.faults.push_back(Some(StoreFault::Io { at: Some(513) }));
        assert_eq!(bench.sense(&cdb10(0, 2, 3), &[3; 512]).information, Some(3));
    }
}
