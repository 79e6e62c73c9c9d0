//! SYNCHRONIZE CACHE and PRE-FETCH (SBC-4 5.32, 5.33, 5.12, 5.13).
//!
//! IMMED is accepted and answered after the flush: GOOD then promises more than it must, and no flush runs on behind the back of the task set, where
//! an error could reach nobody and a later write could overtake it.

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
    if span.len == 0 {
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
