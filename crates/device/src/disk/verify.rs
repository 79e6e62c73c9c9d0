//! VERIFY (SBC-4 5.35 to 5.38).

use scsi::Outcome;
use scsi::command::Operation;

use super::fault::{Access, miscompare, store_fault, unexpected};
use super::protection::wire;
use super::{Span, data_mismatch, transfer_len};
use crate::cdb::{bad_flag, fail, flags};
use crate::device::Device;
use crate::operation::{Request, Step, StoreAnswer, StoreOp, StoreResult};

/// A running VERIFY.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verify {
    offset: u64,
    len: u32,
    /// Data-out taken.
    taken: u32,
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
    flags(cdb) >> 1 & 0x03
}

/// BYTCHK 10b is reserved; in WRITE AND VERIFY 11b is, too: the blocks written are the blocks sent.
pub(super) fn check(request: &Request<'_>) -> Result<(), Outcome> {
    let is_verify = matches!(request.row.operation, Operation::Verify10 | Operation::Verify12 | Operation::Verify16 | Operation::Verify32);
    match byte_check(request.cdb) {
        0 | 1 => Ok(()),
        3 if is_verify => Ok(()),
        _ => Err(bad_flag(request.cdb, 2)),
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
    let wanted = wire(device, request, kind.data_len(len));
    if request.data_out < wanted {
        return Err(data_mismatch(wanted));
    }
    let mut command = Verify { offset: span.offset, len, taken: wanted, kind };
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
        let taken = self.taken;
        match result {
            Ok(StoreAnswer::Differs { .. }) => fail(miscompare(), taken),
            Ok(StoreAnswer::Equal) => Step::Finish(Outcome::good(taken)),
            Ok(_) if self.kind == Kind::Check => Step::Finish(Outcome::good(taken)),
            Ok(_) => fail(unexpected(), taken),
            Err(fault) => fail(store_fault(device, Access::Read, self.offset, fault), taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreFault;
    use crate::tests::bench::{Bench, code};
    use scsi::Status;

    fn verify(bytchk: u8, count: u8) -> [[u8; 16]; 3] {
        let mut cdbs = [[0; 16]; 3];
        (cdbs[0][0], cdbs[0][5], cdbs[0][8]) = (0x2f, 1, count);
        (cdbs[1][0], cdbs[1][5], cdbs[1][9]) = (0xaf, 1, count);
        (cdbs[2][0], cdbs[2][9], cdbs[2][13]) = (0x8f, 1, count);
        for cdb in &mut cdbs {
            cdb[1] = bytchk << 1 | 0x10;
        }
        cdbs
    }

    fn bench() -> Bench {
        let mut bench = Bench::disk(8);
        bench.bytes[512..1536].fill(7);
        bench
    }

    #[test]
    fn reads_every_block_without_data() {
        for cdb in verify(0, 2) {
            let mut bench = bench();
            let (outcome, _) = bench.run(&cdb, &[1; 100]);
            assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 0));
            assert_eq!(bench.ops, [StoreOp::Check { offset: 512, len: 1024 }]);
            bench.faults.push_back(Some(StoreFault::Io { at: Some(600) }));
            let sense = bench.sense(&cdb, &[]);
            assert_eq!((code(&sense), sense.information), (0x0003_1100, Some(2)));
        }
    }

    #[test]
    fn compares_every_block() {
        for cdb in verify(1, 2) {
            let mut bench = bench();
            let (outcome, _) = bench.run(&cdb, &[7; 1024]);
            assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 1024));
            assert_eq!(bench.ops, [StoreOp::Compare { offset: 512, len: 1024, payload: 0 }]);
            let mut other = [7; 1024];
            other[1023] = 8;
            let (outcome, _) = bench.run(&cdb, &other);
            assert_eq!((code(&outcome.sense.unwrap()), outcome.data_out), (0x000e_1d00, 1024));
            assert_eq!(bench.refused(&cdb, &[7; 512]), 0x0005_0e03);
        }
    }

    #[test]
    fn compares_every_block_with_one() {
        for cdb in verify(3, 2) {
            let mut bench = bench();
            let (outcome, _) = bench.run(&cdb, &[7; 512]);
            assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 512));
            assert_eq!(bench.ops, [StoreOp::CompareSame { offset: 512, len: 1024, block: 512 }]);
            assert_eq!(bench.refused(&cdb, &[8; 512]), 0x000e_1d00);
        }
    }

    #[test]
    fn ranges_and_reserved_values() {
        let mut bench = bench();
        for bytchk in [0, 1, 3] {
            for cdb in verify(bytchk, 8) {
                assert_eq!(bench.refused(&cdb, &[0; 4096]), 0x0005_2100);
            }
        }
        for mut cdb in verify(2, 1) {
            assert_eq!(bench.refused(&cdb, &[0; 512]), 0x0005_2400);
            cdb[1] = 0x20;
            assert_eq!(bench.refused(&cdb, &[0; 512]), 0x0005_2400);
        }
        for cdb in verify(1, 0) {
            assert_eq!(bench.good(&cdb), []);
        }
        assert!(bench.ops.is_empty());
    }
}
