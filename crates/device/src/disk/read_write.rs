//! READ, WRITE and WRITE AND VERIFY (SBC-4 5.15 to 5.18, 5.40 to 5.47).
//!
//! READ with FUA needs nothing of its own: a store never answers with older data than it holds. WRITE with FUA, or without a write cache, is
//! durable before GOOD. An initiator that offers less data than the CDB asks for has the whole blocks written that it sends, and is told of the rest as a
//! residual overflow, as other targets do; when the data end inside a block, nothing is written and the command is refused.

use scsi::command::Operation;
use scsi::{DataIn, Outcome, Status};

use super::fault::{Access, miscompare, store_fault, unexpected, write_error};
use super::protection::wire;
use super::{Span, data_mismatch, transfer_len};
use crate::cdb::fail;
use crate::device::Device;
use crate::operation::{Request, Step, StoreAnswer, StoreFault, StoreOp, StoreResult};
use crate::primary::force_unit_access;

/// A running READ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    offset: u64,
    /// Bytes that the initiator gets.
    sent: u32,
}

/// A running WRITE or WRITE AND VERIFY.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    offset: u64,
    /// Bytes written: whole blocks.
    len: u32,
    /// Bytes that the CDB asks for, for the residual.
    asked: u32,
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
pub(super) fn read(device: &Device, request: &Request<'_>, span: Span) -> Result<(Read, Step), Outcome> {
    let len = transfer_len(span.len)?;
    if len == 0 {
        return Err(Outcome::good(0));
    }
    let sent = wire(device, request, len);
    Ok((Read { offset: span.offset, sent }, Step::Store(StoreOp::Read { offset: span.offset, len })))
}

impl Read {
    pub(crate) fn stored(&mut self, device: &Device, result: StoreResult) -> Step {
        match result {
            Ok(_) => Step::Finish(Outcome { status: Status::GOOD, sense: None, data_in: DataIn::Payload { len: self.sent }, data_out: 0 }),
            Err(fault) => fail(store_fault(device, Access::Read, self.offset, fault), 0),
        }
    }
}

/// First step of WRITE and WRITE AND VERIFY. `Err`: it ends at once.
pub(super) fn write(device: &Device, request: &Request<'_>, span: Span) -> Result<(Write, Step), Outcome> {
    let whole = transfer_len(span.len)?;
    let asked = wire(device, request, whole);
    let len = asked.min(request.data_out);
    let atomic = matches!(request.row.operation, Operation::WriteAtomic16 | Operation::WriteAtomic32);
    let short_of_atomic = atomic && len < asked;
    let (block, unit) = (device.block_size().bytes(), wire(device, request, device.block_size().bytes()));
    if short_of_atomic || !len.is_multiple_of(unit) {
        return Err(data_mismatch(asked));
    }
    if len == 0 {
        return Err(Outcome::good(asked));
    }
    let then = match request.row.operation {
        Operation::WriteAndVerify10 | Operation::WriteAndVerify12 | Operation::WriteAndVerify16 | Operation::WriteAndVerify32 => {
            if super::verify::byte_check(request.cdb) == 0 {
                Then::Check
            } else {
                Then::Compare
            }
        }
        _ => Then::Nothing,
    };
    // In WRITE AND VERIFY the bit of FUA is reserved; what is verified must be on the medium.
    let stable = then != Then::Nothing || device.stable(force_unit_access(request.cdb));
    if stable && device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    let command = Write { offset: span.offset, len: len / unit * block, asked, stable, then, written: false };
    Ok((command, Step::Fetch { len, inline: false }))
}

impl Write {
    /// Its blocks are on the medium: what comes now looks at them.
    pub(crate) fn was_written(&self) -> bool {
        self.written
    }

    pub(crate) fn fetched(&mut self) -> Step {
        Step::Store(StoreOp::Write { offset: self.offset, len: self.len, payload: 0, stable: self.stable })
    }

    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        if self.written {
            return self.verified(device, result);
        }
        if let Err(fault) = result {
            remember_cached_loss(device, self.stable, fault);
            return fail(store_fault(device, Access::Write, self.offset, fault), self.asked);
        }
        self.written = true;
        match self.then {
            Then::Nothing => Step::Finish(Outcome::good(self.asked)),
            Then::Check => Step::Store(StoreOp::Check { offset: self.offset, len: u64::from(self.len) }),
            Then::Compare => Step::Store(StoreOp::Compare { offset: self.offset, len: self.len, payload: 0 }),
        }
    }

    fn verified(&self, device: &Device, result: StoreResult) -> Step {
        match (result, self.then) {
            (Ok(StoreAnswer::Differs { .. }), _) => fail(miscompare(), self.asked),
            (Ok(StoreAnswer::Equal), _) | (Ok(_), Then::Check) => Step::Finish(Outcome::good(self.asked)),
            (Ok(_), _) => fail(unexpected(), self.asked),
            (Err(fault), _) => fail(store_fault(device, Access::Read, self.offset, fault), self.asked),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, code, settings};
    use crate::{Parameter, UnitSettings};
    use scsi::{BlockSize, Sense};
    use std::vec;
    use std::vec::Vec;

    /// READ, WRITE or WRITE AND VERIFY in each length of CDB.
    fn cdb(opcode: u8, flags: u8, lba: u64, count: u32) -> Vec<u8> {
        let lba = lba.to_be_bytes();
        let count = count.to_be_bytes();
        match opcode >> 5 {
            0 => vec![opcode, lba[5], lba[6], lba[7], count[3], 0],
            1 => [&[opcode, flags], &lba[4..], &[0], &count[2..], &[0]].concat(),
            5 => [&[opcode, flags], &lba[4..], &count, &[0, 0]].concat(),
            _ => [&[opcode, flags], &lba[..], &count, &[0, 0]].concat(),
        }
    }

    #[test]
    fn written_blocks_are_read() {
        let mut bench = Bench::disk(1024);
        for (number, (write, read)) in [(0x0a, 0x08), (0x2a, 0x28), (0xaa, 0xa8), (0x8a, 0x88)].into_iter().enumerate() {
            let data = vec![u8::try_from(number).unwrap() + 1; 1024];
            let (outcome, _) = bench.run(&cdb(write, 0, 9, 2), &data);
            assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 1024));
            assert_eq!(bench.good(&cdb(read, 0, 9, 2)), data);
            assert_eq!(bench.good(&cdb(read, 0, 10, 2))[512..], [0; 512]);
        }
    }

    #[test]
    fn atomic_writes_are_bounded_and_whole() {
        let mut bench = Bench::disk(4096);
        let mut cdb = cdb(0x9c, 0x08, 9, 2);
        assert_eq!(bench.run(&cdb, &[5; 1024]).0.status, Status::GOOD);
        assert_eq!(bench.ops, [StoreOp::Write { offset: 9 * 512, len: 1024, payload: 0, stable: true }]);
        assert_eq!(bench.refused(&cdb, &[5; 512]), 0x0005_0e03, "all or nothing");
        cdb[11] = 1;
        assert_eq!(bench.sense(&cdb, &[5; 1024]), Sense::invalid_cdb_field(10, Some(7)));
        (cdb[11], cdb[12], cdb[13]) = (0, 0x08, 0x01);
        assert_eq!(bench.sense(&cdb, &vec![5; 2049 * 512]), Sense::invalid_cdb_field(12, Some(7)));
        let limits = bench.good(&[0x12, 1, 0xb0, 0, 0xff, 0]);
        assert_eq!(limits[44..64], [0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        (cdb[12], cdb[13], cdb[8], cdb[9]) = (0, 1, 0x10, 0);
        assert_eq!(bench.refused(&cdb, &[5; 512]), 0x0005_2100);
    }

    #[test]
    fn the_steps_of_a_write() {
        let mut bench = Bench::disk(1024);
        bench.run(&cdb(0x2a, 0, 3, 2), &[7; 1024]);
        bench.run(&cdb(0x2a, 0x18, 3, 2), &[7; 1024]);
        let write = |stable| StoreOp::Write { offset: 1536, len: 1024, payload: 0, stable };
        assert_eq!(bench.ops, [write(false), write(true)]);
    }

    #[test]
    fn without_a_cache_every_write_is_durable() {
        let mut bench = Bench::disk(8);
        bench.device.set(Parameter::ModePage { page: 8, subpage: 0, size: 18, data: vec![0x10] }).unwrap();
        bench.run(&cdb(0x0a, 0, 0, 1), &[7; 512]);
        assert_eq!(bench.ops, [StoreOp::Write { offset: 0, len: 512, payload: 0, stable: true }]);
    }

    #[test]
    fn zero_means_256_in_six_bytes_only() {
        let mut bench = Bench::disk(1024);
        assert_eq!(bench.good(&cdb(0x08, 0, 0, 0)).len(), 256 * 512);
        assert_eq!(bench.good(&cdb(0x28, 0, 0, 0)).len(), 0);
        assert_eq!(bench.good(&cdb(0x2a, 0, 1024, 0)).len(), 0, "no blocks right at the end");
        assert_eq!(bench.refused(&cdb(0x28, 0, 1025, 0), &[]), 0x0005_2100);
        assert_eq!(bench.ops.len(), 1);
    }

    #[test]
    fn the_end_of_the_medium() {
        let mut bench = Bench::disk(1024);
        bench.good(&cdb(0x28, 0, 1023, 1));
        assert_eq!(bench.refused(&cdb(0x28, 0, 1023, 2), &[]), 0x0005_2100);
        assert_eq!(bench.refused(&cdb(0x88, 0, u64::MAX, 1), &[]), 0x0005_2100);
        assert_eq!(bench.refused(&cdb(0x88, 0, u64::MAX, 0), &[]), 0x0005_2100);
        assert_eq!(bench.refused(&cdb(0x2a, 0, 1024, 1), &[0; 512]), 0x0005_2100);
    }

    #[test]
    fn protection_information_is_refused() {
        let mut bench = Bench::disk(8);
        for opcode in [0x28, 0xa8, 0x88, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e] {
            let sense = bench.sense(&cdb(opcode, 0x20, 0, 1), &[0; 512]);
            assert_eq!(sense, Sense::invalid_cdb_field(1, Some(7)));
        }
    }

    #[test]
    fn the_maximum_transfer_length() {
        let settings = UnitSettings { block_size: BlockSize::new(65536).unwrap(), ..settings() };
        let mut bench = Bench::with(settings, 600);
        assert_eq!(bench.good(&cdb(0x28, 0, 0, 512)).len(), 32 << 20);
        assert_eq!(bench.sense(&cdb(0x28, 0, 0, 513), &[]), Sense::invalid_cdb_field(7, Some(7)));
        assert_eq!(bench.sense(&cdb(0xaa, 0, 0, u32::MAX), &[]), Sense::invalid_cdb_field(6, Some(7)));
        assert_eq!(bench.sense(&cdb(0x8f, 0, 0, 513), &[]), Sense::invalid_cdb_field(10, Some(7)));
    }

    #[test]
    fn less_data_than_blocks() {
        let mut bench = Bench::disk(8);
        for offered in [200, 511, 1023] {
            let (outcome, _) = bench.run(&cdb(0x2a, 0, 0, 2), &vec![1; offered]);
            assert_eq!(code(&outcome.sense.unwrap()), 0x0005_0e03);
            assert_eq!(outcome.data_out, 1024, "for the residual");
        }
        let (outcome, _) = bench.run(&cdb(0x2a, 0, 0, 2), &[]);
        assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 1024));
        assert!(bench.ops.is_empty());
        for opcode in [0x2a, 0x2e] {
            let (outcome, _) = bench.run(&cdb(opcode, 0, 1, 2), &[7; 512]);
            assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 1024), "the overflow is told");
            assert_eq!((&bench.bytes[512..1024], &bench.bytes[1024..1536]), (&[7; 512][..], &[0; 512][..]));
        }
        let (outcome, _) = bench.run(&cdb(0x2a, 0, 0, 1), &[1; 1000]);
        assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 512));
    }

    #[test]
    fn write_and_verify() {
        let mut bench = Bench::disk(8);
        for (opcode, flags) in [(0x2e, 0), (0xae, 0x02), (0x8e, 0x10)] {
            bench.ops.clear();
            let (outcome, _) = bench.run(&cdb(opcode, flags, 1, 1), &[9; 512]);
            assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 512));
            let check = match flags & 0x06 {
                0 => StoreOp::Check { offset: 512, len: 512 },
                _ => StoreOp::Compare { offset: 512, len: 512, payload: 0 },
            };
            assert_eq!(bench.ops, [StoreOp::Write { offset: 512, len: 512, payload: 0, stable: true }, check]);
        }
        assert_eq!(bench.refused(&cdb(0x2e, 0x04, 1, 1), &[9; 512]), 0x0005_2400);
        assert_eq!(bench.refused(&cdb(0x2e, 0x06, 1, 1), &[9; 512]), 0x0005_2400);
    }

    #[test]
    fn what_cannot_be_read_back_is_told() {
        let mut bench = Bench::disk(8);
        bench.faults.extend([None, Some(StoreFault::Io { at: Some(0) })]);
        let sense = bench.sense(&cdb(0x2e, 0, 1, 1), &[9; 512]);
        assert_eq!((code(&sense), sense.information), (0x0003_1100, Some(1)));
    }

    #[test]
    fn what_the_store_says() {
        let mut bench = Bench::disk(64);
        let key = scsi::SenseKey::MEDIUM_ERROR;
        let asc = scsi::Asc::WRITE_ERROR_AUTO_REALLOCATION_FAILED;
        for (fault, write, read, block) in [
            (StoreFault::NoSpace, 0x0007_2707, 0x0007_2707, None),
            (StoreFault::ReadOnly, 0x0007_2700, 0x0007_2700, None),
            (StoreFault::Io { at: Some(1025) }, 0x0003_0c00, 0x0003_1100, Some(12)),
            (StoreFault::Io { at: None }, 0x0003_0c00, 0x0003_1100, None),
            (StoreFault::Unsupported, 0x0005_2000, 0x0005_2000, None),
            (StoreFault::Gone, 0x0002_0400, 0x0002_0400, None),
            (StoreFault::Injected { key, asc }, 0x0003_0c02, 0x0003_0c02, Some(10)),
        ] {
            bench.faults.push_back(Some(fault));
            let sense = bench.sense(&cdb(0x2a, 0, 10, 4), &[0; 2048]);
            assert_eq!((code(&sense), sense.information), (write, block));
            bench.faults.push_back(Some(fault));
            let sense = bench.sense(&cdb(0x28, 0, 10, 4), &[]);
            assert_eq!((code(&sense), sense.information), (read, block));
        }
    }

    #[test]
    fn a_durable_write_that_fails_puts_the_cache_in_doubt() {
        let mut bench = Bench::disk(8);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        assert_eq!(bench.refused(&cdb(0x2a, 0x08, 0, 1), &[0; 512]), 0x0003_0c00);
        assert_eq!(bench.refused(&cdb(0x2a, 0x08, 0, 1), &[0; 512]), 0x0003_0c00);
        bench.run(&cdb(0x2a, 0, 0, 1), &[0; 512]);
        bench.device.forget_flush_failure();
        let (outcome, _) = bench.run(&cdb(0x2a, 0x08, 0, 1), &[0; 512]);
        assert_eq!(outcome.status, Status::GOOD);
    }

    #[test]
    fn a_running_command_is_small() {
        assert!(size_of::<crate::Progress>() <= 80);
    }
}
