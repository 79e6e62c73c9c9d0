//! COMPARE AND WRITE (SBC-4 5.3): atomic because the target keeps every other command off the range while it runs.

use scsi::Outcome;

use super::fault::{Access, miscompare, store_fault, unexpected, write_error};
use super::protection::wire;
use super::read_write::remember_cached_loss;
use super::{Span, data_mismatch, transfer_len};
use crate::cdb::{bad_field, fail};
use crate::device::Device;
use crate::operation::{Request, Step, StoreAnswer, StoreOp, StoreResult};
use crate::primary::force_unit_access;

/// A running COMPARE AND WRITE. The payload is the compare half, then the write half, `half` bytes each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompareAndWrite {
    offset: u64,
    len: u32,
    /// Bytes of a half.
    half: u32,
    stable: bool,
    compared: bool,
}

/// First step. `Err`: it ends at once.
pub(super) fn begin(device: &Device, request: &Request<'_>, span: Span) -> Result<(CompareAndWrite, Step), Outcome> {
    let len = transfer_len(span.len)?;
    // More blocks than the field can say look like none.
    if len == 0 && request.data_out > 0 {
        return Err(bad_field(13, Some(7)));
    }
    if len == 0 {
        return Err(Outcome::good(0));
    }
    let half = wire(device, request, len);
    let wanted = half.saturating_mul(2);
    if request.data_out != wanted {
        return Err(data_mismatch(wanted));
    }
    let stable = device.stable(force_unit_access(request.cdb));
    if stable && device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    let command = CompareAndWrite { offset: span.offset, len, half, stable, compared: false };
    Ok((command, Step::Fetch { len: wanted, inline: false }))
}

impl CompareAndWrite {
    pub(crate) fn fetched(&mut self) -> Step {
        Step::Store(StoreOp::Compare { offset: self.offset, len: self.len, payload: 0 })
    }

    /// INFORMATION of a miscompare is the offset in bytes of the first difference.
    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        let taken = self.half.saturating_mul(2);
        let access = if self.compared { Access::Write } else { Access::Read };
        match result {
            Err(fault) => {
                remember_cached_loss(device, self.compared && self.stable, fault);
                fail(store_fault(device, access, self.offset, fault), taken)
            }
            Ok(_) if self.compared => Step::Finish(Outcome::good(taken)),
            Ok(StoreAnswer::Equal) => {
                self.compared = true;
                Step::Store(StoreOp::Write { offset: self.offset, len: self.len, payload: self.half, stable: self.stable })
            }
            Ok(StoreAnswer::Differs { at }) => fail(miscompare().with_information(at), taken),
            Ok(_) => fail(unexpected(), taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreFault;
    use crate::tests::bench::{Bench, code, settings};
    use scsi::{BlockSize, Sense, Status};
    use std::vec;

    fn cdb(flags: u8, count: u8) -> [u8; 16] {
        [0x89, flags, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, count, 0, 0]
    }

    #[test]
    fn writes_what_compares_equal() {
        let mut bench = Bench::disk(8);
        let mut data = vec![0; 1024];
        data.extend([5; 1024]);
        let (outcome, _) = bench.run(&cdb(0x08, 2), &data);
        assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 2048));
        assert_eq!(bench.bytes[512..1536], [5; 1024]);
        let compare = StoreOp::Compare { offset: 512, len: 1024, payload: 0 };
        assert_eq!(bench.ops, [compare, StoreOp::Write { offset: 512, len: 1024, payload: 1024, stable: true }]);
    }

    #[test]
    fn a_miscompare_writes_nothing_and_tells_where() {
        let mut bench = Bench::disk(8);
        let mut data = vec![0; 2048];
        data[700] = 1;
        let (outcome, _) = bench.run(&cdb(0, 2), &data);
        let sense = outcome.sense.unwrap();
        assert_eq!((code(&sense), sense.information), (0x000e_1d00, Some(700)));
        assert_eq!(outcome.data_out, 2048);
        assert_eq!(bench.ops.len(), 1);
    }

    #[test]
    fn lengths() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.good(&cdb(0, 0)), []);
        let (outcome, _) = bench.run(&cdb(0, 0), &[0; 1024]);
        assert_eq!(outcome.sense, Some(Sense::invalid_cdb_field(13, Some(7))), "256 blocks are not none");
        assert_eq!(bench.refused(&cdb(0, 1), &[0; 2048]), 0x0005_0e03);
        assert_eq!(bench.refused(&cdb(0, 3), &[0; 2048]), 0x0005_0e03);
        assert_eq!(bench.refused(&cdb(0, 8), &[0; 8192]), 0x0005_2100);
        assert_eq!(bench.sense(&cdb(0x20, 1), &[0; 1024]), Sense::invalid_cdb_field(1, Some(7)));
        let settings = crate::UnitSettings { block_size: BlockSize::MAX, ..settings() };
        let mut bench = Bench::with(settings, 300);
        assert_eq!(bench.refused(&cdb(0, 255), &[]), 0x0005_0e03, "the field is the only limit");
        assert!(bench.ops.is_empty());
    }

    #[test]
    fn faults_of_either_half() {
        let mut bench = Bench::disk(8);
        bench.faults.push_back(Some(StoreFault::Io { at: Some(0) }));
        assert_eq!(bench.refused(&cdb(0, 1), &[0; 1024]), 0x0003_1100);
        bench.faults.extend([None, Some(StoreFault::NoSpace)]);
        assert_eq!(bench.refused(&cdb(0, 1), &[0; 1024]), 0x0007_2707);
    }
}
