//! SEND DIAGNOSTIC and RECEIVE DIAGNOSTIC RESULTS (SPC-6 6.42, 6.31): self-tests, the list of diagnostic pages, translation of addresses.
//!
//! A self-test reads the medium: its beginning and its end when short, all of it when extended. It fails at the first block that the store cannot read, or that
//! is known to be bad. One in the background is answered at once and goes on as an errand of the unit, between other commands.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use scsi::sense::KeySpecific;
use scsi::{Asc, BlockCount, BlockRange, Lba, Outcome, Sense, SenseKey};

use crate::cdb::{bad_field, be16, be32, be64, bit, byte, fail, reply, saturate};
use crate::device::Device;
use crate::operation::{Request, Step, StoreFault, StoreOp, StoreResult};

/// LOGICAL UNIT NOT READY, SELF-TEST IN PROGRESS.
const IN_PROGRESS: Asc = Asc(0x0409);
/// LOGICAL UNIT FAILED SELF-TEST.
const FAILED: Asc = Asc(0x3e03);

/// SELF-TEST CODE.
const DEFAULT: u8 = 0;
const BACKGROUND_SHORT: u8 = 1;
const BACKGROUND_EXTENDED: u8 = 2;
const ABORT: u8 = 4;
const FOREGROUND_SHORT: u8 = 5;
const FOREGROUND_EXTENDED: u8 = 6;

/// SELF-TEST RESULTS.
const PASSED: u8 = 0x0;
const ABORTED_BY_COMMAND: u8 = 0x1;
const ABORTED_OTHERWISE: u8 = 0x2;
const FAILED_SEGMENT: u8 = 0x7;
const RUNNING: u8 = 0xf;
/// The segment that reads the medium.
const MEDIUM_SEGMENT: u8 = 1;

/// Results that the self-test results log page has room for.
const MAX_RESULTS: usize = 20;
/// Nanoseconds between two pieces of a background self-test while there are commands.
const PAUSE: u64 = 5_000_000;
/// Bytes of one store operation of an extended self-test in the background: commands wait behind it at most.
const BACKGROUND_PIECE: u64 = 4 << 20;
/// Bytes of one store operation of a self-test: what an abort may have to wait for.
const PIECE: u64 = 64 << 20;
/// A short self-test reads this much at each end of the medium.
const SHORT_PIECE: u64 = 1 << 20;

/// The list of diagnostic pages.
const SUPPORTED: u8 = 0x00;
/// Translate address.
const TRANSLATE: u8 = 0x40;
/// Bytes of a translate address page that is sent.
const TRANSLATE_LEN: usize = 14;

/// One entry of the self-test results log page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    code: u8,
    result: u8,
    /// Power on hours at its end.
    hours: u16,
    failed_at: Option<u64>,
}

/// A self-test in the background.
#[derive(Debug)]
struct Running {
    test: SelfTest,
    /// Not before this time: commands have the store.
    pause: Option<u64>,
}

/// Self-tests that ended, the newest first, and the one in the background; what the last SEND DIAGNOSTIC asked about.
#[derive(Default, Debug)]
pub(crate) struct Diagnostics {
    results: VecDeque<Entry>,
    running: Option<Running>,
    answer: Option<Vec<u8>>,
}

impl Diagnostics {
    /// A self-test is in the background.
    pub(crate) fn is_testing(&self) -> bool {
        self.running.is_some()
    }

    /// When the self-test goes on.
    pub(crate) fn due(&self) -> Option<u64> {
        self.running.as_ref().and_then(|running| running.pause)
    }

    /// Progress of the background self-test in 65536ths.
    fn progress(&self) -> Option<u16> {
        self.running.as_ref().map(|running| running.test.progress())
    }

    /// What REQUEST SENSE tells while a background self-test runs.
    pub(crate) fn sense_on_request(&self) -> Option<Sense> {
        self.progress().map(in_progress)
    }

    fn end(&mut self, code: u8, result: u8, hours: u16, failed_at: Option<u64>) {
        self.results.push_front(Entry { code, result, hours, failed_at });
        self.results.truncate(MAX_RESULTS);
    }

    /// Parameters of the self-test results log page: twenty, the newest first; unused ones are zeros.
    pub(crate) fn log(&self) -> Vec<[u8; 16]> {
        let running = self.running.as_ref().map(|running| Entry { code: running.test.code, result: RUNNING, hours: 0, failed_at: None });
        let mut entries: Vec<[u8; 16]> = running.iter().chain(&self.results).take(MAX_RESULTS).map(Entry::bytes).collect();
        entries.resize(MAX_RESULTS, [0; 16]);
        entries
    }
}

impl Entry {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = self.code << 5 | self.result;
        bytes[2..4].copy_from_slice(&self.hours.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.failed_at.unwrap_or(u64::MAX).to_be_bytes());
        if self.result == FAILED_SEGMENT {
            bytes[1] = MEDIUM_SEGMENT;
            bytes[12..15].copy_from_slice(&[SenseKey::MEDIUM_ERROR.0, Asc::UNRECOVERED_READ_ERROR.code(), Asc::UNRECOVERED_READ_ERROR.qualifier()]);
        }
        bytes
    }
}

fn in_progress(progress: u16) -> Sense {
    let mut sense = Sense::new(SenseKey::NOT_READY, IN_PROGRESS);
    sense.specific = Some(KeySpecific::Progress(progress));
    sense
}

/// What the background self-test wants to read next. While there are commands, it pauses between two pieces.
pub(crate) fn next_operation(device: &mut Device, commands: bool) -> Option<StoreOp> {
    let now = device.now();
    let running = device.diagnostics.running.as_mut()?;
    match running.pause {
        None if commands && running.test.done > 0 => {
            running.pause = Some(now.saturating_add(PAUSE));
            return None;
        }
        Some(until) if now < until => return None,
        _ => running.pause = None,
    }
    let (offset, len) = running.test.piece()?;
    let op = StoreOp::Check { offset, len };
    // The medium was made smaller: what is gone is not tested.
    if device.holds(&op) { Some(op) } else { Some(StoreOp::Check { offset: 0, len: 0 }) }
}

/// A piece was read, or could not be.
pub(crate) fn operation_ended(device: &mut Device, result: &StoreResult) {
    let Some(mut running) = device.diagnostics.running.take() else { return };
    let (offset, len) = running.test.piece().unwrap_or((0, 0));
    match verdict(device, offset, len, result) {
        Ok(()) => {
            running.test.done += 1;
            if running.test.piece().is_some() {
                device.diagnostics.running = Some(running);
            } else {
                running.test.record(device, PASSED, None);
            }
        }
        Err(failed_at) => running.test.record(device, FAILED_SEGMENT, failed_at),
    }
}

/// Did a piece pass? `Err`: the block that did not, when it is known.
fn verdict(device: &mut Device, offset: u64, len: u64, result: &StoreResult) -> Result<(), Option<u64>> {
    let shift = device.block_size().shift();
    match result {
        Ok(_) | Err(StoreFault::Unsupported) => {
            let range = BlockRange { start: Lba(offset >> shift), count: BlockCount(len >> shift) };
            device.known_bad(range).map_or(Ok(()), |lba| Err(Some(lba)))
        }
        Err(StoreFault::Io { at: Some(at) }) => {
            let lba = (offset + (*at).min(len.saturating_sub(1))) >> shift;
            let found = device.power_on();
            device.statistics.add_pending(lba, found);
            Err(Some(lba))
        }
        Err(_) => Err(None),
    }
}

/// A reset ends the background self-test.
pub(crate) fn reset(device: &mut Device) {
    disturb(device);
    device.diagnostics.answer = None;
}

/// The background self-test cannot go on.
pub(crate) fn disturb(device: &mut Device) {
    abort(device, ABORTED_OTHERWISE);
}

fn abort(device: &mut Device, result: u8) {
    if let Some(running) = device.diagnostics.running.take() {
        device.errands.disown_self_test();
        running.test.record(device, result, None);
    }
}

fn hours(device: &Device) -> u16 {
    u16::try_from(device.power_on() / 3_600_000_000_000).unwrap_or(u16::MAX)
}

/// Which self-test SEND DIAGNOSTIC wants; `None`: it sends a page, or nothing.
fn wanted(cdb: &[u8]) -> Option<u8> {
    match byte(cdb, 1) >> 5 {
        DEFAULT if bit(cdb, 1, 0x04) => Some(DEFAULT),
        DEFAULT => None,
        code => Some(code),
    }
}

/// PARAMETER LIST LENGTH of SEND DIAGNOSTIC.
pub(super) fn list_length(cdb: &[u8]) -> u32 {
    u32::from(be16(cdb, 3))
}

/// Fields of SEND DIAGNOSTIC: a self-test comes without a list, and a list with PF.
pub(super) fn check(device: &Device, cdb: &[u8]) -> Result<(), Sense> {
    let bad = Sense::invalid_cdb_field;
    let (code, length) = (byte(cdb, 1) >> 5, list_length(cdb));
    match wanted(cdb) {
        _ if code != DEFAULT && bit(cdb, 1, 0x04) => Err(bad(1, Some(7))),
        Some(_) if length != 0 => Err(bad(3, Some(7))),
        Some(ABORT) if device.diagnostics.running.is_none() => Err(bad(1, Some(7))),
        Some(ABORT) => Ok(()),
        Some(DEFAULT | BACKGROUND_SHORT | BACKGROUND_EXTENDED | FOREGROUND_SHORT | FOREGROUND_EXTENDED) => {
            if !device.is_ready() {
                return Err(device.not_ready());
            }
            device.diagnostics.progress().map_or(Ok(()), |progress| Err(in_progress(progress)))
        }
        Some(_) => Err(bad(1, Some(7))),
        None if length != 0 && !bit(cdb, 1, 0x10) => Err(bad(1, Some(4))),
        None => Ok(()),
    }
}

/// A self-test.
#[derive(Debug)]
pub(crate) struct SelfTest {
    code: u8,
    /// Bytes of the medium.
    bytes: u64,
    /// Pieces that were read.
    done: u64,
}

/// First step of a self-test; `None`: SEND DIAGNOSTIC is about a page. `Err`: the end.
pub(super) fn begin(device: &mut Device, request: &Request<'_>) -> Option<Result<(SelfTest, Step), Outcome>> {
    let code = wanted(request.cdb)?;
    if code == ABORT {
        abort(device, ABORTED_BY_COMMAND);
        return Some(Err(Outcome::good(0)));
    }
    let mut test = SelfTest { code, bytes: device.blocks() << device.block_size().shift(), done: 0 };
    if matches!(code, BACKGROUND_SHORT | BACKGROUND_EXTENDED) {
        device.diagnostics.running = Some(Running { test, pause: None });
        return Some(Err(Outcome::good(0)));
    }
    let step = test.next(device);
    Some(Ok((test, step)))
}

impl SelfTest {
    /// Bytes of a piece of an extended self-test.
    fn piece_len(&self) -> u64 {
        if self.code == BACKGROUND_EXTENDED { BACKGROUND_PIECE } else { PIECE }
    }

    fn is_extended(&self) -> bool {
        matches!(self.code, FOREGROUND_EXTENDED | BACKGROUND_EXTENDED)
    }

    /// The piece that is read next, or being read: offset and length in bytes.
    fn piece(&self) -> Option<(u64, u64)> {
        if self.is_extended() {
            let offset = self.done.saturating_mul(self.piece_len());
            return (offset < self.bytes).then(|| (offset, (self.bytes - offset).min(self.piece_len())));
        }
        let len = self.bytes.min(SHORT_PIECE);
        match self.done {
            0 => Some((0, len)),
            1 => Some((self.bytes - len, len)),
            _ => None,
        }
    }

    /// In 65536ths.
    fn progress(&self) -> u16 {
        let pieces = if self.is_extended() { self.bytes.div_ceil(self.piece_len()).max(1) } else { 2 };
        u16::try_from(u128::from(self.done) * 65536 / u128::from(pieces)).unwrap_or(u16::MAX)
    }

    fn next(&mut self, device: &mut Device) -> Step {
        match self.piece() {
            Some((offset, len)) => Step::Store(StoreOp::Check { offset, len }),
            None => self.end(device, PASSED, None),
        }
    }

    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        let (offset, len) = self.piece().unwrap_or((0, 0));
        match verdict(device, offset, len, &result) {
            Ok(()) => {
                self.done += 1;
                self.next(device)
            }
            Err(failed_at) => self.end(device, FAILED_SEGMENT, failed_at),
        }
    }

    fn end(&self, device: &mut Device, result: u8, failed_at: Option<u64>) -> Step {
        self.record(device, result, failed_at);
        if result == PASSED { Step::Finish(Outcome::good(0)) } else { fail(Sense::new(SenseKey::HARDWARE_ERROR, FAILED), 0) }
    }

    /// Leaves a result in the log; the default self-test does not.
    fn record(&self, device: &mut Device, result: u8, failed_at: Option<u64>) {
        let hours = hours(device);
        if self.code != DEFAULT {
            device.diagnostics.end(self.code, result, hours, failed_at);
        }
    }
}

/// The page of SEND DIAGNOSTIC is here: the answer waits for RECEIVE DIAGNOSTIC RESULTS.
pub(super) fn send(device: &mut Device, list: &[u8]) -> Result<(), Sense> {
    if list.is_empty() {
        return Ok(());
    }
    let length_error = Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
    if list.len() < 4 || list.len() < 4 + usize::from(be16(list, 2)) {
        return Err(length_error);
    }
    let answer = match list[0] {
        SUPPORTED => supported(),
        TRANSLATE if list.len() < TRANSLATE_LEN => return Err(length_error),
        TRANSLATE => translate(device, list)?,
        _ => return Err(Sense::invalid_parameter_field(0, Some(7))),
    };
    device.diagnostics.answer = Some(answer);
    Ok(())
}

fn supported() -> Vec<u8> {
    vec![SUPPORTED, 0, 0, 2, SUPPORTED, TRANSLATE]
}

/// Short (000b) and long (011b) block addresses; there is no geometry to translate to.
fn translate(device: &Device, list: &[u8]) -> Result<Vec<u8>, Sense> {
    let (supplied, wanted) = (byte(list, 4) & 0x07, byte(list, 5) & 0x07);
    let lba = match supplied {
        0 => u64::from(be32(list, 6)),
        3 => be64(list, 6),
        _ => return Err(Sense::invalid_parameter_field(4, Some(2))),
    };
    if !matches!(wanted, 0 | 3) || wanted == 0 && lba > u64::from(u32::MAX) {
        return Err(Sense::invalid_parameter_field(5, Some(2)));
    }
    if lba >= device.blocks() {
        return Err(Sense::illegal(Asc::LBA_OUT_OF_RANGE));
    }
    let mut answer = vec![TRANSLATE, 0, 0, 10, supplied, wanted];
    if wanted == 3 {
        answer.extend(lba.to_be_bytes());
    } else {
        answer.extend(saturate(lba).to_be_bytes());
        answer.extend([0; 4]);
    }
    Ok(answer)
}

/// RECEIVE DIAGNOSTIC RESULTS: a page by its code (PCV), or the answer to the last SEND DIAGNOSTIC.
pub(super) fn receive(device: &Device, cdb: &[u8]) -> Outcome {
    let page = match (bit(cdb, 1, 0x01), byte(cdb, 2), &device.diagnostics.answer) {
        (true, SUPPORTED, _) => supported(),
        (true, TRANSLATE, Some(answer)) if answer.first() == Some(&TRANSLATE) => answer.clone(),
        (true, ..) => return bad_field(2, Some(7)),
        (false, _, Some(answer)) => answer.clone(),
        (false, _, None) => supported(),
    };
    reply(page, u32::from(be16(cdb, 3)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, code};
    use scsi::Status;

    fn results(bench: &mut Bench) -> Vec<Vec<u8>> {
        let page = bench.good(&[0x4d, 0, 0x50, 0, 0, 0, 0, 0x10, 0, 0]);
        assert_eq!(page[..8], [0x90, 0, 1, 0x90, 0, 1, 0x23, 0x10]);
        page[4..].chunks(20).map(|entry| entry[4..].to_vec()).collect()
    }

    fn test(code: u8) -> [u8; 6] {
        [0x1d, code << 5, 0, 0, 0, 0]
    }

    #[test]
    fn the_default_self_test_reads_both_ends() {
        let mut bench = Bench::disk(8192);
        bench.good(&[0x1d, 0x04, 0, 0, 0, 0]);
        assert_eq!(bench.ops, [0, 3 << 20].map(|offset| StoreOp::Check { offset, len: 1 << 20 }));
        assert_eq!(results(&mut bench)[0], [0; 16]);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        assert_eq!(bench.refused(&[0x1d, 0x04, 0, 0, 0, 0], &[]), 0x0004_3e03);
    }

    #[test]
    fn foreground_self_tests_leave_results() {
        let mut bench = Bench::disk(200_000);
        bench.good(&test(6));
        assert_eq!(bench.ops.len(), 2);
        assert_eq!(bench.ops[1], StoreOp::Check { offset: 64 << 20, len: 102_400_000 - (64 << 20) });
        bench.faults.extend([None, Some(StoreFault::Io { at: Some(1024) })]);
        assert_eq!(bench.refused(&test(5), &[]), 0x0004_3e03);
        let found = results(&mut bench);
        assert_eq!(found[1][..4], [0xc0, 0, 0, 0]);
        let lba = (200_000 - 2048 + 2_u64).to_be_bytes();
        assert_eq!(found[0], [&[0xa7, 1, 0, 0][..], &lba, &[3, 0x11, 0, 0]].concat());
    }

    #[test]
    fn a_background_self_test_reads_between_commands() {
        let mut bench = Bench::disk(20_000);
        bench.device.tick(1_000_000_000, true);
        bench.good(&test(2));
        assert!(bench.ops.is_empty());
        assert_eq!(results(&mut bench)[0][0], 0x4f);
        assert!(bench.errand(true), "the first piece comes at once");
        assert_eq!(bench.ops, [StoreOp::Check { offset: 0, len: 4 << 20 }]);
        let mut third = Sense::new(SenseKey::NOT_READY, IN_PROGRESS);
        third.specific = Some(KeySpecific::Progress(0x5555));
        assert_eq!(bench.device.sense_on_request(), Some(third));
        assert_eq!(bench.sense(&test(5), &[]), third);
        bench.good(&[0; 6]);
        assert!(!bench.errand(true), "commands have the store");
        assert_eq!(bench.device.errand_due(crate::Traffic { commands: true, at_store: false }), Some(1_005_000_000));
        bench.device.tick(1_005_000_000, false);
        bench.work();
        assert_eq!(bench.ops.len(), 3);
        assert_eq!(bench.ops[2], StoreOp::Check { offset: 8 << 20, len: 20_000 * 512 - (8 << 20) });
        assert_eq!((results(&mut bench)[0][0], bench.device.sense_on_request()), (0x40, None));
        bench.good(&test(1));
        bench.work();
        assert_eq!((results(&mut bench)[0][0], bench.ops.len()), (0x20, 5));
        bench.good(&test(5));
    }

    #[test]
    fn a_background_self_test_finds_what_cannot_be_read() {
        let mut bench = Bench::disk(64);
        bench.good(&test(2));
        bench.faults.push_back(Some(StoreFault::Io { at: Some(9 * 512) }));
        bench.work();
        let failed = |code: u8, lba: u8| [code << 5 | 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, lba, 3, 0x11, 0, 0];
        assert_eq!(results(&mut bench)[0], failed(2, 9));
        assert_eq!(bench.good(&[0x4d, 0, 0x55, 1, 0, 0, 0, 0, 99, 0])[8..12], [0, 0, 0, 1], "it is a pending defect now");
        bench.good(&test(1));
        bench.work();
        assert_eq!(results(&mut bench)[0], failed(1, 9), "and stays bad until it is written");
        bench.run(&[0x2a, 0, 0, 0, 0, 9, 0, 0, 1, 0], &[0; 512]);
        bench.good(&[0x9f, 0x51, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0]);
        bench.good(&test(1));
        bench.work();
        assert_eq!(results(&mut bench)[0], failed(1, 7), "a block that WRITE LONG marked is bad");
    }

    #[test]
    fn background_self_tests_are_aborted() {
        let mut bench = Bench::disk(64);
        assert_eq!(bench.sense(&test(4), &[]), Sense::invalid_cdb_field(1, Some(7)));
        bench.good(&test(2));
        let late = bench.poll(false).unwrap();
        bench.good(&test(4));
        bench.device.errand_ended(late.number, Err(StoreFault::Gone));
        bench.good(&test(1));
        bench.device.reset();
        bench.good(&test(2));
        bench.good(&[0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]);
        bench.work();
        let found = results(&mut bench);
        assert_eq!((found[0][0], found[1][0], found[2][0]), (0x42, 0x22, 0x41));
        for _ in 0..30 {
            bench.good(&test(5));
        }
        assert_eq!(results(&mut bench).len(), 20);
    }

    #[test]
    fn refusals() {
        let mut bench = Bench::disk(64);
        let bad = Sense::invalid_cdb_field;
        for code in [3, 7] {
            assert_eq!(bench.sense(&test(code), &[]), bad(1, Some(7)));
        }
        assert_eq!(bench.sense(&[0x1d, 0x24, 0, 0, 0, 0], &[]), bad(1, Some(7)));
        assert_eq!(bench.sense(&[0x1d, 0x04, 0, 0, 4, 0], &[0; 4]), bad(3, Some(7)));
        assert_eq!(bench.sense(&[0x1d, 0x00, 0, 0, 4, 0], &[0; 4]), bad(1, Some(4)));
        assert_eq!(code(&bench.sense(&[0x1d, 0x10, 0, 0, 4, 0], &[0; 3])), 0x0005_1a00);
        bench.good(&[0x1d, 0x10, 0, 0, 0, 0]);
        let mut empty = Bench::around(crate::Device::disk(crate::tests::bench::settings(), None), 0);
        assert_eq!(empty.refused(&test(5), &[]), 0x0002_0401);
    }

    #[test]
    fn pages() {
        let mut bench = Bench::disk(64);
        assert_eq!(bench.good(&[0x1c, 1, 0, 0, 99, 0]), [0, 0, 0, 2, 0, 0x40]);
        assert_eq!(bench.good(&[0x1c, 0, 0, 0, 5, 0]), [0, 0, 0, 2, 0]);
        assert_eq!(bench.sense(&[0x1c, 1, 0x40, 0, 99, 0], &[]), Sense::invalid_cdb_field(2, Some(7)));
        let send = |bench: &mut Bench, list: &[u8]| {
            let (outcome, _) = bench.run(&[0x1d, 0x10, 0, 0, u8::try_from(list.len()).unwrap(), 0], list);
            outcome.sense.map_or(0, |sense| code(&sense))
        };
        let page = |supplied, wanted, lba: [u8; 8]| [&[0x40, 0, 0, 10, supplied, wanted][..], &lba].concat();
        assert_eq!(send(&mut bench, &page(0, 3, [0, 0, 0, 9, 0, 0, 0, 0])), 0);
        assert_eq!(bench.good(&[0x1c, 0, 0, 0, 99, 0]), page(0, 3, [0, 0, 0, 0, 0, 0, 0, 9]));
        assert_eq!(send(&mut bench, &page(3, 0, [0, 0, 0, 0, 0, 0, 0, 9])), 0);
        assert_eq!(bench.good(&[0x1c, 1, 0x40, 0, 99, 0]), page(3, 0, [0, 0, 0, 9, 0, 0, 0, 0]));
        assert_eq!(send(&mut bench, &page(3, 0, [0, 0, 0, 0, 0, 0, 0, 64])), 0x0005_2100);
        assert_eq!(send(&mut bench, &page(5, 0, [0; 8])), 0x0005_2600);
        assert_eq!(send(&mut bench, &page(3, 5, [0; 8])), 0x0005_2600);
        assert_eq!(send(&mut bench, &[0x41, 0, 0, 0]), 0x0005_2600);
        assert_eq!(send(&mut bench, &[0x40, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0x0005_1a00);
        assert_eq!(send(&mut bench, &[0x00, 0, 0, 0]), 0);
        assert_eq!(bench.run(&[0x1c, 0, 0, 0, 99, 0], &[]).0.status, Status::GOOD);
    }
}
