//! COMPARE AND WRITE (SBC-4 5.3): atomic because the target keeps every other command off the range while it runs.

use scsi::Outcome;

use super::fault::{Access, miscompare, store_fault, unexpected, write_error};
use super::limits::max_compare_and_write;
use super::read_write::remember_cached_loss;
use super::{Span, data_mismatch, transfer_len};
use crate::cdb::{bad_field, byte, fail};
use crate::device::Device;
use crate::operation::{Request, Step, StoreAnswer, StoreOp, StoreResult};
use crate::primary::force_unit_access;

/// A running COMPARE AND WRITE. The payload is the compare half, then the write half, `len` bytes each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompareAndWrite {
    offset: u64,
    len: u32,
    stable: bool,
    compared: bool,
}

/// MAXIMUM COMPARE AND WRITE LENGTH.
pub(super) fn check(device: &Device, cdb: &[u8]) -> Result<(), Outcome> {
    if byte(cdb, 13) > max_compare_and_write(device) { Err(bad_field(13, Some(7))) } else { Ok(()) }
}

/// First step. `Err`: it ends at once.
pub(super) fn begin(device: &Device, request: &Request<'_>, span: Span) -> Result<(CompareAndWrite, Step), Outcome> {
    let len = transfer_len(span.len)?;
    if len == 0 {
        return Err(Outcome::good(0));
    }
    let wanted = len.saturating_mul(2);
    if request.data_out != wanted {
        return Err(data_mismatch(wanted));
    }
    let stable = device.stable(force_unit_access(request.cdb));
    if stable && device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    let command = CompareAndWrite { offset: span.offset, len, stable, compared: false };
    Ok((command, Step::Fetch { len: wanted, inline: false }))
}

impl CompareAndWrite {
    pub(crate) fn fetched(&mut self) -> Step {
        Step::Store(StoreOp::Compare { offset: self.offset, len: self.len, payload: 0 })
    }

    /// INFORMATION of a miscompare is the offset in bytes of the first difference.
    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        let taken = self.len.saturating_mul(2);
        let access = if self.compared { Access::Write } else { Access::Read };
        match result {
            Err(fault) => {
                remember_cached_loss(device, self.compared && self.stable, fault);
                fail(store_fault(device, access, self.offset, fault), taken)
            }
            Ok(_) if self.compared => Step::Finish(Outcome::good(taken)),
            Ok(StoreAnswer::Equal) => {
                self.compared = true;
                Step::Store(StoreOp::Write { offset: self.offset, len: self.len, payload: self.len, stable: self.stable })
            }
            Ok(StoreAnswer::Differs { at }) => fail(miscompare().with_information(at), taken),
            Ok(_) => fail(unexpected(), taken),
        }
    }
}
