//! READ, WRITE and WRITE AND VERIFY (SBC-4 5.15 to 5.18, 5.40 to 5.47).
//!
//! READ with FUA needs nothing of its own: a store never answers with older data than it holds. WRITE with FUA, or without a write cache, is
//! durable before GOOD. An initiator that offers less data than the CDB asks for is refused before anything is written: half a command is not done.

use scsi::command::Operation;
use scsi::{DataIn, Outcome, Status};

use super::fault::{Access, miscompare, store_fault, unexpected, write_error};
use super::{Span, data_mismatch, transfer_len};
use crate::cdb::fail;
use crate::device::Device;
use crate::operation::{Request, Step, StoreAnswer, StoreFault, StoreOp, StoreResult};
use crate::primary::force_unit_access;

/// A running READ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    offset: u64,
    len: u32,
}

/// A running WRITE or WRITE AND VERIFY.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    offset: u64,
    len: u32,
    stable: bool,
    then: Then,
    written: bool,
}

/// What follows the write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Nothing,
    /// WRITE AND VERIFY, BYTCHK 00b: the blocks can be read.
    Check,
    /// WRITE AND VERIFY, BYTCHK 01b: they are what was sent.
    Compare,
}

/// First step of READ. `Err`: it ends at once.
pub(super) fn read(span: Span) -> Result<(Read, Step), Outcome> {
    let len = transfer_len(span.len)?;
    if len == 0 {
        return Err(Outcome::good(0));
    }
    Ok((Read { offset: span.offset, len }, Step::Store(StoreOp::Read { offset: span.offset, len })))
}

impl Read {
    pub(crate) fn stored(&mut self, device: &Device, result: StoreResult) -> Step {
        match result {
            Ok(_) => Step::Finish(Outcome { status: Status::GOOD, sense: None, data_in: DataIn::Payload { len: self.len }, data_out: 0 }),
            Err(fault) => fail(store_fault(device, Access::Read, self.offset, fault), 0),
        }
    }
}

/// First step of WRITE and WRITE AND VERIFY. `Err`: it ends at once.
pub(super) fn write(device: &Device, request: &Request<'_>, span: Span) -> Result<(Write, Step), Outcome> {
    let len = transfer_len(span.len)?;
    if len == 0 {
        return Err(Outcome::good(0));
    }
    if request.data_out < len {
        return Err(data_mismatch(len));
    }
    let then =
        match request.row.operation {
            Operation::WriteAndVerify10 | Operation::WriteAndVerify12 | Operation::WriteAndVerify16 => {
                if super::verify::byte_check(request.cdb) == 0 { Then::Check } else { Then::Compare }
            }
            _ => Then::Nothing,
        };
    // In WRITE AND VERIFY the bit of FUA is reserved; what is verified must be on the medium.
    let stable = then != Then::Nothing || device.stable(force_unit_access(request.cdb));
    if stable && device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    let command = Write { offset: span.offset, len, stable, then, written: false };
    Ok((command, Step::Fetch { len, inline: false }))
}

impl Write {
    pub(crate) fn fetched(&mut self) -> Step {
        Step::Store(StoreOp::Write { offset: self.offset, len: self.len, payload: 0, stable: self.stable })
    }

    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        if self.written {
            return self.verified(device, result);
        }
        if let Err(fault) = result {
            remember_cached_loss(device, self.stable, fault);
            return fail(store_fault(device, Access::Write, self.offset, fault), self.len);
        }
        self.written = true;
        match self.then {
            Then::Nothing => Step::Finish(Outcome::good(self.len)),
            Then::Check => Step::Store(StoreOp::Check { offset: self.offset, len: u64::from(self.len) }),
            Then::Compare => Step::Store(StoreOp::Compare { offset: self.offset, len: self.len, payload: 0 }),
        }
    }

    fn verified(&self, device: &Device, result: StoreResult) -> Step {
        match (result, self.then) {
            (Ok(StoreAnswer::Differs { .. }), _) => fail(miscompare(), self.len),
            (Ok(StoreAnswer::Equal), _) | (Ok(_), Then::Check) => Step::Finish(Outcome::good(self.len)),
            (Ok(_), _) => fail(unexpected(), self.len),
            (Err(fault), _) => fail(store_fault(device, Access::Read, self.offset, fault), self.len),
        }
    }
}

/// A durable write that fails beside a write cache may have failed on data acknowledged earlier, and the store reports that only once.
/// Without a cache nothing was acknowledged that is not durable.
pub(super) fn remember_cached_loss(device: &mut Device, stable: bool, fault: StoreFault) {
    if stable && !device.stable(false) && matches!(fault, StoreFault::Io { .. }) {
        device.remember_flush_failure(fault);
    }
}
