//! VERIFY (SBC-4 5.35 to 5.38).

use scsi::Outcome;
use scsi::command::Operation;

use super::fault::{Access, miscompare, store_fault, unexpected};
use super::{Span, data_mismatch, transfer_len};
use crate::cdb::fail;
use crate::cdb::{bad_field, byte};
use crate::device::Device;
use crate::operation::{Request, Step, StoreAnswer, StoreOp, StoreResult};

/// A running VERIFY.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verify {
    offset: u64,
    len: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// BYTCHK 00b: every block can be read.
    Check,
    /// BYTCHK 01b: every block is what was sent.
    Compare,
    /// BYTCHK 11b: every block is the one block that was sent.
    CompareSame { block: u32 },
}

impl Kind {
    fn data_len(self, len: u32) -> u32 {
        match self {
            Kind::Check => 0,
            Kind::Compare => len,
            Kind::CompareSame { block } => block,
        }
    }
}

/// The BYTCHK field.
pub(super) fn byte_check(cdb: &[u8]) -> u8 {
    byte(cdb, 1) >> 1 & 0x03
}

/// BYTCHK 10b is reserved; in WRITE AND VERIFY 11b is, too: the blocks written are the blocks sent.
pub(super) fn check(request: &Request<'_>) -> Result<(), Outcome> {
    let is_verify = matches!(request.row.operation, Operation::Verify10 | Operation::Verify12 | Operation::Verify16);
    match byte_check(request.cdb) {
        0 | 1 => Ok(()),
        3 if is_verify => Ok(()),
        _ => Err(bad_field(1, Some(2))),
    }
}

/// First step. `Err`: it ends at once.
pub(super) fn begin(device: &Device, request: &Request<'_>, span: Span) -> Result<(Verify, Step), Outcome> {
    let len = transfer_len(span.len)?;
    if len == 0 {
        return Err(Outcome::good(0));
    }
    let kind = match byte_check(request.cdb) {
        0 => Kind::Check,
        1 => Kind::Compare,
        _ => Kind::CompareSame { block: device.block_size().bytes() },
    };
    let wanted = kind.data_len(len);
    if request.data_out < wanted {
        return Err(data_mismatch(wanted));
    }
    let mut command = Verify { offset: span.offset, len, kind };
    let step = if wanted == 0 { command.fetched() } else { Step::Fetch { len: wanted, inline: false } };
    Ok((command, step))
}

impl Verify {
    pub(crate) fn fetched(&mut self) -> Step {
        let (offset, len) = (self.offset, u64::from(self.len));
        Step::Store(match self.kind {
            Kind::Check => StoreOp::Check { offset, len },
            Kind::Compare => StoreOp::Compare { offset, len: self.len, payload: 0 },
            Kind::CompareSame { block } => StoreOp::CompareSame { offset, len, block },
        })
    }

    pub(crate) fn stored(&mut self, device: &Device, result: StoreResult) -> Step {
        let taken = self.kind.data_len(self.len);
        match result {
            Ok(StoreAnswer::Differs { .. }) => fail(miscompare(), taken),
            Ok(StoreAnswer::Equal) => Step::Finish(Outcome::good(taken)),
            Ok(_) if self.kind == Kind::Check => Step::Finish(Outcome::good(taken)),
            Ok(_) => fail(unexpected(), taken),
            Err(fault) => fail(store_fault(device, Access::Read, self.offset, fault), taken),
        }
    }
}
