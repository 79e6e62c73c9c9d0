//! SANITIZE and FORMAT UNIT (SBC-4 5.30, 5.4): the whole medium, piece by piece.
//!
//! While the work is under way every other command that needs the medium is refused with the progress, and REQUEST SENSE tells it. With IMMED the command is
//! answered at once, and the work goes on as an errand of the unit; so does SANITIZE whose command was aborted, since nothing but the loss of the medium or a
//! failing store ends it. FORMAT UNIT ends with its command, and with a reset. When the work is cut short, the unit says so until it is done
//! again, or until SANITIZE with EXIT FAILURE MODE, where that was allowed.

use alloc::boxed::Box;
use alloc::sync::Arc;

use scsi::command::{Direction, Operation, ReservationClass};
use scsi::protection::Protection;
use scsi::sense::KeySpecific;
use scsi::{Asc, BlockCount, BlockRange, Lba, Outcome, Sense, SenseKey};

use super::fault::{Access, flush_fault, store_fault};
use super::protection::plain;
use crate::cdb::{bad_field, be16, be32, bit, byte, fail};
use crate::device::Device;
use crate::guard::Guard;
use crate::operation::{Request, Step, StoreFault, StoreOp, StoreResult};
use crate::primary::diagnostics;

/// LOGICAL UNIT NOT READY, FORMAT IN PROGRESS.
const FORMATTING: Asc = Asc(0x0404);
/// LOGICAL UNIT NOT READY, SANITIZE IN PROGRESS.
const SANITIZING: Asc = Asc(0x041b);
/// FORMAT COMMAND FAILED.
const FORMAT_FAILED: Asc = Asc(0x3101);
/// SANITIZE COMMAND FAILED.
const SANITIZE_FAILED: Asc = Asc(0x3103);
/// Bytes of one store operation: progress is told in such steps, and an abort waits for no more.
const PIECE: u64 = 64 << 20;
/// The same for an overwrite that no command waits for.
const LONE_PIECE: u64 = 16 << 20;
/// Nanoseconds from one such piece to the next: 160 MiB a second, so that others have the store, too. Nobody waits for it.
pub(crate) const PACE: u64 = 100_000_000;
/// Longest parameter list: a header, and a pattern of one block.
const MAX_LIST: u32 = 64 << 10;

/// What is being done, or was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Format,
    /// `unrestricted`: AUSE, a failure may be left without doing it again.
    Sanitize {
        unrestricted: bool,
    },
}

/// What that means for everybody else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Erasure {
    Running { kind: Kind, progress: u16 },
    Failed(Kind),
}

impl Erasure {
    /// Why the medium cannot be used; also what REQUEST SENSE tells.
    pub(crate) fn sense(self) -> Sense {
        match self {
            Erasure::Running { kind, progress } => {
                let mut sense = Sense::new(SenseKey::NOT_READY, if kind == Kind::Format { FORMATTING } else { SANITIZING });
                sense.specific = Some(KeySpecific::Progress(progress));
                sense
            }
            Erasure::Failed(Kind::Format) => Sense::new(SenseKey::MEDIUM_ERROR, FORMAT_FAILED),
            Erasure::Failed(Kind::Sanitize { .. }) => Sense::new(SenseKey::MEDIUM_ERROR, SANITIZE_FAILED),
        }
    }
}

/// True for the commands of this module that take the whole medium.
pub(crate) fn erases(operation: Operation) -> bool {
    matches!(operation, Operation::FormatUnit | Operation::SanitizeOverwrite | Operation::SanitizeBlockErase | Operation::SanitizeCryptographicErase)
}

/// May the command be carried out while the medium is being erased, or after that failed?
pub(crate) fn gate(erasure: Erasure, request: &Request<'_>) -> Result<(), Outcome> {
    let (row, operation) = (request.row, request.row.operation);
    let again = match erasure {
        Erasure::Running { .. } => false,
        Erasure::Failed(Kind::Format) => operation == Operation::FormatUnit,
        Erasure::Failed(Kind::Sanitize { .. }) => {
            operation == Operation::SanitizeExitFailureMode || operation != Operation::FormatUnit && erases(operation)
        }
    };
    let changes = row.direction != Direction::In && row.reservation == ReservationClass::Write || operation == Operation::StartStopUnit;
    if again || !row.needs_medium && !changes { Ok(()) } else { Err(Outcome::check(erasure.sense())) }
}

/// Fields of the CDB.
pub(super) fn check(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    let (cdb, block) = (request.cdb, device.block_size().bytes());
    let length = u32::from(be16(cdb, 7));
    if request.row.operation != Operation::FormatUnit {
        // ZNR is for zoned devices; what lies between it and the length is reserved, and a command that wipes everything had better be meant.
        if bit(cdb, 1, 0x40) {
            return Err(bad_field(1, Some(6)));
        }
        if let Some(at) = (2..7).find(|&at| byte(cdb, usize::from(at)) != 0) {
            return Err(bad_field(at, Some(7)));
        }
    }
    match request.row.operation {
        Operation::SanitizeOverwrite if length < 5 || length > block + 4 => Err(bad_field(7, Some(7))),
        Operation::SanitizeOverwrite if length > request.data_out => Err(Outcome::check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR))),
        Operation::SanitizeOverwrite => Ok(()),
        Operation::FormatUnit => check_format(device, request),
        _ if length != 0 => Err(bad_field(7, Some(7))),
        _ => Ok(()),
    }
}

/// Protection information where the store keeps it, no defect list of another format; a list must be offered when the CDB says that one comes.
fn check_format(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    let cdb = request.cdb;
    let has_list = bit(cdb, 1, 0x10);
    let information = byte(cdb, 1) >> 6;
    if information == 1 || information != 0 && !device.keeps_protection() {
        return Err(bad_field(1, Some(7)));
    }
    if !has_list && byte(cdb, 1) & 0x2f != 0 {
        return Err(bad_field(1, Some(5)));
    }
    if byte(cdb, 4) & 0x03 == 3 {
        return Err(bad_field(4, Some(1)));
    }
    let header = if bit(cdb, 1, 0x20) { 8 } else { 4 };
    if has_list && request.data_out < header {
        return Err(Outcome::check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
    }
    Ok(())
}

/// What is put everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// Nothing: a fast format.
    Nothing,
    Discard,
    Zero,
    /// The pattern in the payload, `passes` times, turned over from one pass to the next when `invert`.
    Fill {
        at: u32,
        len: u32,
        passes: u8,
        invert: bool,
    },
}

/// A running SANITIZE or FORMAT UNIT.
#[derive(Clone, Debug)]
pub(crate) struct Erase {
    operation: Operation,
    kind: Kind,
    how: How,
    /// FMTPINFO, and what follows from it and from PROTECTION FIELD USAGE.
    information: u8,
    protection: Protection,
    nexus: u64,
    /// IMMED: the answer does not wait for the work.
    immediate: bool,
    /// There is no command (any more).
    alone: bool,
    /// The parameter list, where the pattern stands: the payload of the command may be gone before the work ends.
    list: Arc<[u8]>,
    /// Bytes of the parameter list.
    taken: u32,
    bytes: u64,
    done: u64,
    pass: u8,
    flushing: bool,
    /// LONGLIST: the header of the list has eight bytes.
    long: bool,
    /// The medium was touched: from then on a bad end is a failure.
    started: bool,
    ended: bool,
}

/// First step. `Err`: the end.
pub(super) fn begin(device: &mut Device, request: &Request<'_>) -> Result<(Erase, Step), Outcome> {
    let cdb = request.cdb;
    let bytes = device.blocks() << device.block_size().shift();
    let kind = match request.row.operation {
        Operation::FormatUnit => Kind::Format,
        _ => Kind::Sanitize { unrestricted: bit(cdb, 1, 0x20) },
    };
    let erase = if device.thin() { How::Discard } else { How::Zero };
    let information = if kind == Kind::Format { byte(cdb, 1) >> 6 } else { 0 };
    let protection = if kind == Kind::Format { protection_of(information, 0).unwrap_or_default() } else { device.protection() };
    let nexus = request.nexus;
    let mut command = Erase {
        operation: request.row.operation,
        kind,
        how: erase,
        information,
        protection,
        nexus,
        alone: false,
        immediate: kind != Kind::Format && bit(cdb, 1, 0x80),
        list: Arc::from([]),
        taken: 0,
        bytes,
        done: 0,
        pass: 0,
        flushing: false,
        long: bit(cdb, 1, 0x20),
        started: false,
        ended: false,
    };
    let list = match request.row.operation {
        Operation::SanitizeOverwrite => u32::from(be16(cdb, 7)),
        Operation::FormatUnit if bit(cdb, 1, 0x10) => request.data_out.min(MAX_LIST),
        _ => 0,
    };
    if request.row.operation == Operation::FormatUnit && byte(cdb, 4) & 0x03 != 0 {
        command.how = How::Nothing;
    }
    if list > 0 {
        command.taken = list;
        return Ok((command, Step::Fetch { len: list, inline: true }));
    }
    let step = command.start(device);
    Ok((command, step))
}

/// A reset ends a FORMAT UNIT that nobody waits for; SANITIZE goes on.
pub(crate) fn reset(device: &mut Device) {
    if let Some(Erasure::Running { kind: Kind::Format, .. }) = device.erasure
        && device.errands.is_erasing()
    {
        device.errands.drop_erase();
        device.erasure = Some(Erasure::Failed(Kind::Format));
    }
}

/// EXIT FAILURE MODE.
pub(super) fn exit_failure_mode(device: &mut Device) -> Outcome {
    match device.erasure {
        Some(Erasure::Failed(Kind::Sanitize { unrestricted: false })) => return bad_field(1, Some(4)),
        Some(Erasure::Failed(Kind::Sanitize { .. })) => device.erasure = None,
        _ => {}
    }
    Outcome::good(0)
}

impl Erase {
    /// The parameter list is here.
    pub(crate) fn fetched(&mut self, device: &mut Device, data: &[u8]) -> Step {
        let data = &data[..data.len().min(usize::try_from(self.taken).unwrap_or(usize::MAX))];
        let read = if self.kind == Kind::Format { self.format_list(data) } else { overwrite_list(data, device.block_size().bytes()) };
        match read {
            Ok(how) => {
                self.how = how;
                // FORMAT UNIT has its IMMED bit in the list.
                self.immediate |= self.kind == Kind::Format && bit(data, 1, 0x02);
                self.list = Arc::from(data);
                self.start(device)
            }
            Err(sense) => fail(sense, self.taken),
        }
    }

    /// The first piece, or the answer to a command with IMMED.
    fn start(&mut self, device: &mut Device) -> Step {
        diagnostics::disturb(device);
        let step = self.next(device);
        if !self.immediate {
            return step;
        }
        self.hand_over(device);
        Step::Finish(Outcome::good(self.taken))
    }

    /// The work goes on without the command.
    fn hand_over(&mut self, device: &mut Device) {
        device.errands.erase(Box::new(Erase { alone: true, ..self.clone() }));
        self.ended = true;
    }

    /// Bytes of the next piece.
    fn piece(&self) -> u64 {
        (self.bytes - self.done).min(if self.is_paced() { LONE_PIECE } else { PIECE })
    }

    /// An overwrite that no command waits for leaves time to others.
    pub(crate) fn is_paced(&self) -> bool {
        self.alone && matches!(self.how, How::Fill { .. })
    }

    /// The command that began it.
    pub(crate) fn operation(&self) -> Operation {
        self.operation
    }

    /// The parameter list: its pattern is what [`StoreOp::Fill`] means.
    pub(crate) fn list(&self) -> Arc<[u8]> {
        self.list.clone()
    }

    /// The next piece; others hear how far the work is. Asked again before the piece ended, it is the same one.
    pub(crate) fn next(&mut self, device: &mut Device) -> Step {
        let passes = if let How::Fill { passes, .. } = self.how { passes.max(1) } else { 1 };
        if self.done >= self.bytes && self.how != How::Nothing {
            self.pass += 1;
            self.done = 0;
        }
        if self.pass >= passes || self.how == How::Nothing {
            self.flushing = true;
        }
        let all = u128::from(self.bytes.max(1)) * u128::from(passes);
        let reached = u128::from(self.bytes) * u128::from(self.pass) + u128::from(self.done);
        let progress = u16::try_from(reached * 65536 / all).unwrap_or(u16::MAX);
        device.erasure = Some(Erasure::Running { kind: self.kind, progress });
        self.started = true;
        let (offset, len) = (self.done, self.piece());
        Step::Store(match self.how {
            _ if self.flushing => StoreOp::Flush { offset: 0, len: 0 },
            How::Discard => StoreOp::Discard { offset, len },
            How::Fill { at, len: pattern, invert, .. } => {
                let block = device.block_size().bytes();
                StoreOp::Fill { offset, len, block, payload: at, pattern, invert: invert && self.pass % 2 == 1 }
            }
            How::Zero | How::Nothing => StoreOp::Zero { offset, len, stable: false },
        })
    }

    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        let offset = self.done;
        match result {
            Ok(_) if self.flushing => self.finish(device),
            Ok(_) => {
                self.done += self.piece();
                self.next(device)
            }
            Err(StoreFault::Unsupported) if self.how == How::Discard => {
                self.how = How::Zero;
                self.next(device)
            }
            Err(fault) => {
                self.ended = true;
                device.erasure = Some(Erasure::Failed(self.kind));
                let sense = if self.flushing { flush_fault(device, 0, fault) } else { store_fault(device, Access::Write, offset, fault) };
                fail(sense, self.taken)
            }
        }
    }

    /// FORMAT UNIT parameter list, and the protection that it asks for.
    fn format_list(&mut self, list: &[u8]) -> Result<How, Sense> {
        let usage = byte(list, 0) & 0x07;
        match protection_of(self.information, usage) {
            Some(protection) => self.protection = protection,
            None => return Err(Sense::invalid_parameter_field(0, Some(2))),
        }
        format_list(list, self.long, self.how)
    }

    /// What goes with its store operations: the last one of FORMAT UNIT forgets all protection information.
    pub(crate) fn guard(&self, device: &Device) -> Option<Box<Guard>> {
        Some(Box::new(plain(device, self.protection, self.kind == Kind::Format && self.flushing)))
    }

    fn finish(&mut self, device: &mut Device) -> Step {
        self.ended = true;
        device.erasure = None;
        if self.kind == Kind::Format {
            device.formatted(self.protection, self.nexus);
        }
        let all = BlockRange { start: Lba(0), count: BlockCount(u64::MAX) };
        if self.how != How::Nothing {
            device.statistics.forget_pending(all);
            device.marked.forget(all);
            device.scan.settled(all, false);
        }
        Step::Finish(Outcome::good(self.taken))
    }

    /// The command is over, one way or the other: a format that was not finished has failed, a sanitize goes on.
    pub(crate) fn left(&mut self, device: &mut Device) {
        if self.started && !self.ended && matches!(device.erasure, Some(Erasure::Running { .. })) {
            match self.kind {
                Kind::Format => device.erasure = Some(Erasure::Failed(self.kind)),
                Kind::Sanitize { .. } => self.hand_over(device),
            }
        }
        self.ended = true;
    }
}

/// SANITIZE overwrite parameter list: flags with the count, the length of the pattern, the pattern.
fn overwrite_list(list: &[u8], block: u32) -> Result<How, Sense> {
    let (passes, len) = (byte(list, 0) & 0x1f, u32::from(be16(list, 2)));
    if passes == 0 {
        return Err(Sense::invalid_parameter_field(0, Some(4)));
    }
    if len == 0 || len > block || usize::try_from(len).map_or(true, |len| list.len() < 4 + len) {
        return Err(Sense::invalid_parameter_field(2, Some(7)));
    }
    Ok(How::Fill { at: 4, len, passes, invert: bit(list, 0, 0x80) })
}

/// FMTPINFO and PROTECTION FIELD USAGE together (SBC-4, FORMAT UNIT command).
fn protection_of(information: u8, usage: u8) -> Option<Protection> {
    match (information, usage) {
        (0, 0) => Some(Protection::None),
        (2, 0) => Some(Protection::Type1),
        (3, 0) => Some(Protection::Type2),
        (3, 1) => Some(Protection::Type3),
        _ => None,
    }
}

/// FORMAT UNIT parameter list: one protection interval to a block, no defect list; an initialization pattern may follow the header.
fn format_list(list: &[u8], long: bool, otherwise: How) -> Result<How, Sense> {
    let header = if long { 8 } else { 4 };
    if list.len() < header {
        return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    let bad = |at: usize, bit| Err(Sense::invalid_parameter_field(u16::try_from(at).unwrap_or(u16::MAX), Some(bit)));
    // Without FOV the options that it makes valid are zero.
    if list[1] & 0x80 == 0 && list[1] & 0x78 != 0 {
        return bad(1, 7);
    }
    if long && list[3] != 0 {
        return bad(3, 7);
    }
    let defects = if long { be32(list, 4) } else { u32::from(be16(list, 2)) };
    if defects != 0 {
        return bad(if long { 4 } else { 2 }, 7);
    }
    if list[1] & 0x08 == 0 {
        return Ok(otherwise);
    }
    let Some(descriptor) = list.get(header..header + 4) else { return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)) };
    let len = be16(descriptor, 2);
    match (descriptor[1], len) {
        (0, _) => Ok(How::Zero),
        (1, 1..) if list.len() >= header + 4 + usize::from(len) => {
            let at = u32::try_from(header + 4).unwrap_or(u32::MAX);
            Ok(How::Fill { at, len: u32::from(len), passes: 1, invert: false })
        }
        (1, _) => bad(header + 2, 7),
        _ => bad(header + 1, 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, code, port};
    use scsi::Status;

    const READY: [u8; 6] = [0; 6];
    const FORMAT: [u8; 6] = [0x04, 0, 0, 0, 0, 0];

    fn sanitize(action: u8, length: u8) -> [u8; 10] {
        [0x48, action, 0, 0, 0, 0, 0, 0, length, 0]
    }

    fn overwrite(bench: &mut Bench, list: &[u8]) -> u32 {
        let (outcome, _) = bench.run(&sanitize(0x01, u8::try_from(list.len()).unwrap()), list);
        outcome.sense.map_or(0, |sense| code(&sense))
    }

    #[test]
    fn everything_is_gone() {
        for action in [0x02, 0x03] {
            let mut thick = Bench::disk(64);
            thick.bytes.fill(7);
            thick.good(&sanitize(action, 0));
            assert!(thick.bytes.iter().all(|&byte| byte == 0));
            assert_eq!(thick.ops, [StoreOp::Zero { offset: 0, len: 32768, stable: false }, StoreOp::Flush { offset: 0, len: 0 }]);
            let mut thin = Bench::thin(64);
            thin.good(&sanitize(action, 0));
            assert_eq!(thin.ops[0], StoreOp::Discard { offset: 0, len: 32768 });
            thin.good(&READY);
        }
        let mut bench = Bench::disk(64);
        bench.bytes.fill(7);
        bench.good(&FORMAT);
        assert!(bench.bytes.iter().all(|&byte| byte == 0));
        bench.bytes.fill(7);
        bench.good(&[0x04, 0, 0, 0, 1, 0]);
        assert_eq!(bench.bytes[0], 7, "a fast format writes nothing");
    }

    #[test]
    fn overwriting() {
        let mut bench = Bench::disk(3);
        assert_eq!(overwrite(&mut bench, &[0x01, 0, 0, 3, 1, 2, 3]), 0);
        assert_eq!(bench.bytes[..4], [1, 2, 3, 1]);
        assert_eq!(bench.bytes[510..514], [1, 2, 1, 2], "the pattern begins anew in every block");
        bench.ops.clear();
        assert_eq!(overwrite(&mut bench, &[0x82, 0, 0, 1, 0x0f]), 0);
        assert_eq!((bench.bytes[0], bench.ops.len()), (0xf0, 3));
        for bad in [&[0x00, 0, 0, 1, 0][..], &[0x01, 0, 0, 0, 0], &[0x01, 0, 0, 2, 0], &[0x01, 0, 0xff, 0xff, 0]] {
            assert_eq!(overwrite(&mut bench, bad), 0x0005_2600, "{bad:02x?}");
        }
        bench.good(&READY);
    }

    #[test]
    fn formatting_with_a_list() {
        let mut bench = Bench::disk(8);
        let mut format = |flags: u8, list: &[u8]| {
            let (outcome, _) = bench.run(&[0x04, flags, 0, 0, 0, 0], list);
            (outcome.sense.map_or(0, |sense| code(&sense)), bench.bytes[0])
        };
        assert_eq!(format(0x10, &[0, 0x88, 0, 0, 0, 1, 0, 2, 0xaa, 0xbb]), (0, 0xaa));
        assert_eq!(format(0x30, &[0, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x55]), (0, 0x55));
        assert_eq!(format(0x10, &[0, 0, 0, 0]), (0, 0));
        for bad in [&[1, 0, 0, 0][..], &[0, 8, 0, 0], &[0, 0, 0, 4], &[0, 0x88, 0, 0, 0, 2, 0, 1, 0], &[0, 0x88, 0, 0, 0, 1, 0, 9, 0]] {
            assert_eq!(format(0x10, bad).0, 0x0005_2600, "{bad:02x?}");
        }
        assert_eq!(format(0x10, &[0, 0, 0]).0, 0x0005_1a00);
        assert_eq!(format(0x10, &[0, 0x88, 0, 0, 0]).0, 0x0005_1a00);
        assert_eq!(format(0x80, &[]).0, 0x0005_2400);
        assert_eq!(format(0x08, &[]).0, 0x0005_2400);
    }

    #[test]
    fn others_hear_of_the_progress() {
        let mut bench = Bench::around(Device::disk(crate::tests::bench::settings(), Some(crate::tests::bench::medium(256 << 20))), 0);
        let port = port();
        let cdb = sanitize(0x02, 0);
        let row = bench.device.lookup(&cdb).unwrap();
        let request = Request { row, cdb: &cdb, data_out: 0, data_in: 0, nexus: 1, port: &port };
        let (mut progress, _) = bench.device.begin(&request);
        assert_eq!(bench.device.sense_on_request().map(|sense| sense.specific), Some(Some(KeySpecific::Progress(0))));
        bench.device.stored(&mut progress, Ok(crate::StoreAnswer::Done));
        let mut expected = Sense::new(SenseKey::NOT_READY, SANITIZING);
        expected.specific = Some(KeySpecific::Progress(0x4000));
        assert_eq!(bench.sense(&READY, &[]), expected);
        assert_eq!(bench.sense(&cdb, &[]), expected);
        assert_eq!(bench.device.sense_on_request(), Some(expected));
        bench.good(&[0x12, 0, 0, 0, 36, 0]);
        bench.device.left(&mut progress);
        assert_eq!(bench.sense(&READY, &[]), expected, "it goes on without its command");
        bench.device.reset();
        for quarter in 1..4 {
            let errand = bench.poll(false).unwrap();
            assert_eq!(errand.op, StoreOp::Zero { offset: quarter << 26, len: 1 << 26, stable: false });
            bench.device.errand_ended(errand.number, Ok(crate::StoreAnswer::Done));
        }
        let flush = bench.poll(false).unwrap();
        assert_eq!(flush.op, StoreOp::Flush { offset: 0, len: 0 });
        bench.device.errand_ended(flush.number, Ok(crate::StoreAnswer::Done));
        assert_eq!(bench.poll(false), None);
        bench.good(&READY);
    }

    #[test]
    fn immediate_answers_come_before_the_work() {
        let mut bench = Bench::disk(64);
        bench.bytes.fill(7);
        bench.good(&sanitize(0x82, 0));
        assert_eq!((bench.bytes[0], bench.refused(&READY, &[])), (7, 0x0002_041b));
        assert!(bench.device.is_erasing_alone() && bench.device.has_errands());
        assert_eq!(bench.device.poll_errand(crate::Traffic { commands: true, at_store: true }), None, "somebody is at the store");
        bench.work();
        assert!(bench.bytes.iter().all(|&byte| byte == 0));
        assert!(!bench.device.has_errands());
        let (outcome, _) = bench.run(&sanitize(0x81, 6), &[0x02, 0, 0, 2, 0xaa, 0x0f]);
        assert_eq!((outcome.status, outcome.data_out, bench.bytes[0]), (Status::GOOD, 6, 0));
        bench.work();
        assert_eq!((bench.bytes[0], bench.poll(false)), (0xaa, None), "the first of two passes, and then a pause");
        assert_eq!(bench.device.errand_due(crate::Traffic { commands: true, at_store: false }), Some(PACE));
        for turn in 1..3 {
            bench.device.tick(turn * PACE, true);
            bench.work();
        }
        assert_eq!(bench.bytes[..3], [0xaa, 0x0f, 0xaa]);
        let (outcome, _) = bench.run(&[0x04, 0x10, 0, 0, 0, 0], &[0, 0x8a, 0, 0, 0, 1, 0, 1, 0x55]);
        assert_eq!((outcome.status, bench.refused(&READY, &[])), (Status::GOOD, 0x0002_0404));
        bench.work();
        bench.device.tick(4 * PACE, true);
        bench.work();
        assert_eq!(bench.bytes[0], 0x55);
        bench.good(&READY);
    }

    #[test]
    fn work_without_a_command_may_fail() {
        let mut bench = Bench::disk(64);
        bench.good(&sanitize(0xa2, 0));
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        bench.work();
        assert_eq!(bench.refused(&READY, &[]), 0x0003_3103);
        bench.good(&sanitize(0x1f, 0));
        bench.good(&READY);
        bench.run(&[0x04, 0x10, 0, 0, 0, 0], &[0, 0x02, 0, 0]);
        bench.device.reset();
        assert_eq!((bench.refused(&READY, &[]), bench.poll(false)), (0x0003_3101, None), "a reset ends a format");
        bench.good(&FORMAT);
    }

    #[test]
    fn nothing_begins_when_the_unit_is_taken_away() {
        let mut bench = Bench::disk(64);
        bench.good(&sanitize(0x82, 0));
        let errand = bench.poll(false).unwrap();
        bench.device.retire();
        bench.device.errand_ended(errand.number, Ok(crate::StoreAnswer::Done));
        assert_eq!((bench.poll(false), bench.device.has_errands()), (None, false));
    }

    #[test]
    fn another_medium_is_as_it_is() {
        let mut bench = Bench::disk(64);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        bench.refused(&sanitize(0x02, 0), &[]);
        bench.good(&[0x12, 0, 0, 0, 36, 0]);
        bench.device.set_medium(None);
        bench.device.set_medium(Some(crate::tests::bench::medium(32768)));
        bench.good(&READY);
        let (cdb, port) = (sanitize(0x02, 0), port());
        let row = bench.device.lookup(&cdb).unwrap();
        let (mut progress, _) = bench.device.begin(&Request { row, cdb: &cdb, data_out: 0, data_in: 0, nexus: 1, port: &port });
        bench.device.set_medium(Some(crate::tests::bench::medium(16384)));
        assert!(matches!(bench.device.stored(&mut progress, Ok(crate::StoreAnswer::Done)), Step::Finish(_)));
        bench.device.left(&mut progress);
        bench.good(&READY);
    }

    #[test]
    fn failures_stay_until_it_is_done_again() {
        let mut bench = Bench::disk(64);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        assert_eq!(bench.refused(&sanitize(0x02, 0), &[]), 0x0003_0c00);
        assert_eq!(bench.refused(&READY, &[]), 0x0003_3103);
        assert_eq!(bench.refused(&FORMAT, &[]), 0x0003_3103);
        assert_eq!(bench.sense(&sanitize(0x1f, 0), &[]), Sense::invalid_cdb_field(1, Some(4)), "AUSE was not set");
        bench.good(&sanitize(0x02, 0));
        bench.good(&READY);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        bench.refused(&sanitize(0x22, 0), &[]);
        bench.good(&sanitize(0x1f, 0));
        bench.good(&READY);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        bench.refused(&FORMAT, &[]);
        assert_eq!(bench.refused(&READY, &[]), 0x0003_3101);
        bench.good(&FORMAT);
        bench.good(&READY);
    }

    #[test]
    fn fields_of_sanitize() {
        let mut bench = Bench::disk(8);
        let bad = Sense::invalid_cdb_field;
        assert_eq!(bench.sense(&sanitize(0x02, 4), &[0; 4]), bad(7, Some(7)));
        assert_eq!(bench.sense(&sanitize(0x01, 4), &[0; 4]), bad(7, Some(7)));
        assert_eq!(bench.sense(&[0x48, 1, 0, 0, 0, 0, 0, 2, 5, 0], &[0; 517]), bad(7, Some(7)));
        assert_eq!(code(&bench.sense(&sanitize(0x01, 9), &[0; 8])), 0x0005_1a00);
        assert_eq!(bench.sense(&sanitize(0x04, 0), &[]), bad(1, Some(4)));
        assert_eq!(bench.run(&sanitize(0x1f, 0), &[]).0.status, Status::GOOD);
        assert_eq!(bench.sense(&sanitize(0x42, 0), &[]), bad(1, Some(6)));
        assert_eq!(bench.sense(&[0x48, 2, 0, 0, 0, 1, 0, 0, 0, 0], &[]), bad(5, Some(7)));
        assert_eq!(bench.sense(&sanitize(0x1f, 1), &[]), bad(7, Some(7)));
        let protected = crate::UnitSettings { read_only: true, ..crate::tests::bench::settings() };
        assert_eq!(Bench::with(protected, 8).refused(&sanitize(0x02, 0), &[]), 0x0007_2700);
    }
}
