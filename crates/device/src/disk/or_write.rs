//! ORWRITE(16) and (32) (SBC-4 5.7, 5.8): what is on the medium or in the data is on the medium afterwards. Other commands see all of it or nothing.
//!
//! ORWRITE(32) has generations, which its change operation (BMOP 001b) moves on. That operation is not there, so the generation stays the first one, 0.

use scsi::{Asc, Outcome, Sense};

use super::fault::{Access, store_fault, unexpected, write_error};
use super::protection::wire;
use super::read_write::remember_cached_loss;
use super::{Span, data_mismatch, transfer_len};
use crate::cdb::{bad_field, be32, byte, fail};
use crate::device::Device;
use crate::operation::{Request, Step, StoreAnswer, StoreOp, StoreResult};
use crate::primary::force_unit_access;

/// Current ORWGENERATION.
const GENERATION: u32 = 0;
/// ORWRITE GENERATION DOES NOT MATCH.
const OTHER_GENERATION: Asc = Asc(0x2c0c);

/// A running ORWRITE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrWrite {
    offset: u64,
    len: u32,
    /// Data-out taken.
    taken: u32,
    stable: bool,
    joined: bool,
}

/// The fields of ORWRITE(32): only the set operation, on the generation there is.
pub(super) fn check(cdb: &[u8]) -> Result<(), Outcome> {
    if byte(cdb, 2) & 0x07 != 0 {
        return Err(bad_field(2, Some(2)));
    }
    if be32(cdb, 20) != GENERATION {
        return Err(Outcome::check(Sense::illegal(OTHER_GENERATION)));
    }
    Ok(())
}

/// First step. `Err`: it ends at once.
pub(super) fn begin(device: &Device, request: &Request<'_>, span: Span) -> Result<(OrWrite, Step), Outcome> {
    let len = transfer_len(span.len)?;
    if len == 0 {
        return Err(Outcome::good(0));
    }
    let taken = wire(device, request, len);
    if request.data_out < taken {
        return Err(data_mismatch(taken));
    }
    let stable = device.stable(force_unit_access(request.cdb));
    if stable && device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    Ok((OrWrite { offset: span.offset, len, taken, stable, joined: false }, Step::Fetch { len: taken, inline: false }))
}

impl OrWrite {
    pub(crate) fn fetched(&mut self) -> Step {
        Step::Store(StoreOp::Or { offset: self.offset, len: self.len })
    }

    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        let access = if self.joined { Access::Write } else { Access::Read };
        match result {
            Err(fault) => {
                remember_cached_loss(device, self.joined && self.stable, fault);
                fail(store_fault(device, access, self.offset, fault), self.taken)
            }
            Ok(_) if self.joined => Step::Finish(Outcome::good(self.taken)),
            Ok(StoreAnswer::Done) => {
                self.joined = true;
                Step::Store(StoreOp::Write { offset: self.offset, len: self.len, payload: 0, stable: self.stable })
            }
            Ok(_) => fail(unexpected(), self.taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreFault;
    use crate::tests::bench::Bench;
    use scsi::Status;

    fn cdb(flags: u8, lba: u8, count: u8) -> [u8; 16] {
        [0x8b, flags, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, count, 0, 0]
    }

    #[test]
    fn bits_are_joined() {
        let mut bench = Bench::disk(8);
        bench.bytes.fill(0x0f);
        let (outcome, _) = bench.run(&cdb(0x08, 2, 1), &[0x31; 512]);
        assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 512));
        assert_eq!((bench.bytes[1023], bench.bytes[1024], bench.bytes[1536]), (0x0f, 0x3f, 0x0f));
        assert_eq!(bench.ops[1], StoreOp::Write { offset: 1024, len: 512, payload: 0, stable: true });
        bench.good(&cdb(0, 8, 0));
    }

    #[test]
    fn the_long_form_asks_for_the_generation_there_is() {
        let mut bench = Bench::disk(8);
        bench.bytes.fill(0x0f);
        let mut long = [0; 32];
        (long[0], long[7], long[9], long[10], long[19], long[31]) = (0x7f, 0x18, 0x0e, 0x08, 2, 1);
        let (outcome, _) = bench.run(&long, &[0x31; 512]);
        assert_eq!((outcome.status, bench.bytes[1024], bench.bytes[1536]), (Status::GOOD, 0x3f, 0x0f));
        assert_eq!(bench.ops[1], StoreOp::Write { offset: 1024, len: 512, payload: 0, stable: true });
        long[23] = 1;
        assert_eq!(bench.refused(&long, &[0; 512]), 0x0005_2c0c);
        (long[23], long[2]) = (0, 1);
        assert_eq!(bench.sense(&long, &[0; 512]), Sense::invalid_cdb_field(2, Some(2)));
        (long[2], long[10]) = (0, 0x20);
        assert_eq!(bench.sense(&long, &[0; 512]), Sense::invalid_cdb_field(10, Some(7)));
        (long[10], long[1]) = (0, 1);
        assert_eq!(bench.sense(&long, &[0; 512]), Sense::invalid_cdb_field(1, Some(0)), "LINK");
    }

    #[test]
    fn refusals() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.refused(&cdb(0, 8, 1), &[0; 512]), 0x0005_2100);
        assert_eq!(bench.refused(&cdb(0x20, 0, 1), &[0; 512]), 0x0005_2400);
        assert_eq!(bench.refused(&cdb(0, 0, 2), &[0; 512]), 0x0005_0e03);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        assert_eq!(bench.refused(&cdb(0, 0, 1), &[0; 512]), 0x0003_1100);
        bench.faults.extend([None, Some(StoreFault::Io { at: None })]);
        assert_eq!(bench.refused(&cdb(0, 0, 1), &[0; 512]), 0x0003_0c00);
    }
}
