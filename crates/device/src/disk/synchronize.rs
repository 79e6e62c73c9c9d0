//! SYNCHRONIZE CACHE and PRE-FETCH (SBC-4 5.32, 5.33, 5.12, 5.13).
//!
//! IMMED is accepted and answered after the flush: GOOD then promises more than it must, and no flush runs on behind the back of the task set, where
//! an error could reach nobody and a later write could overtake it.

use scsi::planted::{Bug, is_planted};
use scsi::{Outcome, Status};

use super::Span;
use super::fault::{flush_fault, write_error};
use crate::cdb::fail;
use crate::device::Device;
use crate::operation::{Step, StoreFault, StoreOp, StoreResult};
use crate::progress::State;

/// First step of SYNCHRONIZE CACHE. After a failed flush every further one fails, until the administrator has looked at the unit.
pub(super) fn begin(device: &Device, span: Span) -> Result<(State, Step), Outcome> {
    if device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    if span.len == 0 || is_planted(Bug::FlushIgnored) {
        return Err(Outcome::good(0));
    }
    Ok((State::Synchronize { offset: span.offset }, Step::Store(StoreOp::Flush { offset: span.offset, len: span.len })))
}

/// The flush ended.
pub(crate) fn stored(device: &mut Device, offset: u64, result: StoreResult) -> Step {
    match result {
        // Another flush may have failed while this one ran: whose data that lost is not known.
        Ok(_) if device.flush_failed() => fail(write_error(), 0),
        Ok(_) => Step::Finish(Outcome::good(0)),
        Err(fault) => fail(flush_fault(device, offset, fault), 0),
    }
}

/// First step of PRE-FETCH.
pub(super) fn prefetch(span: Span) -> Result<(State, Step), Outcome> {
    if span.len == 0 {
        return Err(Outcome::status(Status::CONDITION_MET));
    }
    Ok((State::Prefetch, Step::Store(StoreOp::Prefetch { offset: span.offset, len: span.len })))
}

/// CONDITION MET: the blocks fit the cache. GOOD: they did not, or the store has none.
pub(crate) fn prefetched(result: StoreResult) -> Step {
    match result {
        Ok(_) => Step::Finish(Outcome::status(Status::CONDITION_MET)),
        Err(StoreFault::Injected { key, asc }) => fail(scsi::Sense::new(key, asc), 0),
        Err(_) => Step::Finish(Outcome::good(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::Bench;
    use scsi::{Asc, SenseKey};

    fn cdb10(opcode: u8, flags: u8, lba: u8, count: u8) -> [u8; 10] {
        [opcode, flags, 0, 0, 0, lba, 0, 0, count, 0]
    }

    fn cdb16(opcode: u8, flags: u8, lba: u8, count: u8) -> [u8; 16] {
        [opcode, flags, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, count, 0, 0]
    }

    #[test]
    fn flushes_the_range_and_then_answers() {
        let mut bench = Bench::disk(8);
        bench.good(&cdb10(0x35, 0, 2, 3));
        bench.good(&cdb16(0x91, 0x02, 2, 3));
        assert_eq!(bench.ops, [StoreOp::Flush { offset: 1024, len: 1536 }; 2]);
        bench.ops.clear();
        bench.good(&cdb10(0x35, 0x02, 0, 0));
        bench.good(&cdb16(0x91, 0, 3, 0));
        assert_eq!(bench.ops, [StoreOp::Flush { offset: 0, len: 4096 }, StoreOp::Flush { offset: 1536, len: 2560 }]);
        assert_eq!(bench.refused(&cdb10(0x35, 0, 7, 2), &[]), 0x0005_2100);
        assert_eq!(bench.refused(&cdb16(0x91, 0, 9, 0), &[]), 0x0005_2100);
    }

    #[test]
    fn a_failed_flush_is_remembered() {
        let mut bench = Bench::disk(8);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        assert_eq!(bench.refused(&cdb10(0x35, 0, 0, 0), &[]), 0x0003_0c00);
        assert_eq!(bench.refused(&cdb16(0x91, 0, 0, 1), &[]), 0x0003_0c00);
        assert_eq!(bench.refused(&cdb10(0x2a, 0x08, 0, 1), &[0; 512]), 0x0003_0c00);
        bench.device.reset();
        assert_eq!(bench.refused(&cdb10(0x35, 0, 0, 0), &[]), 0x0003_0c00, "an initiator's reset does not forget");
        bench.device.forget_flush_failure();
        bench.good(&cdb10(0x35, 0, 0, 0));
    }

    #[test]
    fn an_injected_failure_is_not() {
        let mut bench = Bench::disk(8);
        let fault = StoreFault::Injected { key: SenseKey::HARDWARE_ERROR, asc: Asc(0x0c00) };
        bench.faults.push_back(Some(fault));
        assert_eq!(bench.refused(&cdb10(0x35, 0, 0, 0), &[]), 0x0004_0c00);
        bench.good(&cdb10(0x35, 0, 0, 0));
    }

    #[test]
    fn prefetch_says_condition_met() {
        let mut bench = Bench::disk(8);
        for cdb in [&cdb10(0x34, 0x02, 2, 0)[..], &cdb16(0x90, 0, 2, 6)] {
            assert_eq!(bench.run(cdb, &[]).0, Outcome::status(Status::CONDITION_MET));
        }
        assert_eq!(bench.ops, [StoreOp::Prefetch { offset: 1024, len: 3072 }; 2]);
        assert_eq!(bench.refused(&cdb10(0x34, 0, 8, 1), &[]), 0x0005_2100);
        bench.faults.push_back(Some(StoreFault::Unsupported));
        assert_eq!(bench.run(&cdb10(0x34, 0, 0, 1), &[]).0, Outcome::good(0));
    }
}
