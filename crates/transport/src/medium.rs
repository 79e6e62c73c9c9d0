//! Carries out a device's operations on a store.
//!
//! A [`Job`] is one [`StoreOp`] under way. A store answers each piece at once, or with a plan that the reactor's driver executes; the job goes on where it
//! stands until the whole operation has ended. Reads that fail are repeated in halves, so that the sense data can name the block.

use std::sync::Arc;

use device::{Guard, StoreAnswer, StoreFault, StoreOp, StoreResult};
use reactor::{Back, Buffer, Driver, Op, Pool, Token};
use store::{Error, Io, Plan, Store};
use target::TaskRef;

use crate::guarded::{Guarded, Turn};
use crate::hub::LinkKey;
use crate::limits::CHUNK;
use crate::model::UnitCell;
use crate::payload::Payload;

/// Smallest piece in which a failing block is looked for: the smallest block.
const SMALLEST_BLOCK: u64 = 512;

/// How far a job came.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It ended.
    Done(StoreResult),
    /// The driver has a piece of it; [`Job::complete`] comes next.
    Submitted,
    /// There is no buffer for its comparison or pattern now: try again when some came back.
    Starved,
    /// Its share of this turn is used up.
    Paused,
}

/// Who asked for an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A command, which came through this connection.
    Task { task: TaskRef, link: LinkKey },
    /// The unit itself.
    Unit { number: u64 },
}

/// One operation on a store.
pub(crate) struct Job {
    pub owner: Owner,
    pub cell: Arc<UnitCell>,
    /// The task's payload, as long as the job runs.
    pub payload: Payload,
    store: Arc<dyn Store>,
    op: StoreOp,
    scratch: Payload,
    /// Bytes done.
    position: u64,
    /// Longest next piece.
    span: u64,
    alignment: u64,
    failed: Option<StoreFault>,
    /// On a medium with protection information: what the operation is made of.
    guarded: Option<Box<Guarded>>,
}

/// What a piece of a job does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    ReadPayload,
    WritePayload {
        at: u32,
        stable: bool,
    },
    ReadScratch,
    WriteScratch {
        stable: bool,
    },
    /// No bytes of ours.
    Range,
}

impl Job {
    /// A job for `op`, with the payload it reads or fills.
    pub fn new(owner: Owner, cell: Arc<UnitCell>, store: Arc<dyn Store>, (op, guard): (StoreOp, Option<Box<Guard>>), payload: Payload) -> Job {
        let guarded = guard.and_then(|guard| Guarded::new(*guard, op, &store)).map(Box::new);
        let mut job =
            Job { owner, cell, payload, store, op, scratch: Payload::None, position: 0, span: u64::MAX, alignment: 1, failed: None, guarded };
        if job.guarded.is_none() {
            job.prepare_op();
        }
        job
    }

    /// Another operation, on whatever payload is there.
    pub(crate) fn restart(&mut self, store: Arc<dyn Store>, op: StoreOp) {
        (self.store, self.op, self.scratch, self.position, self.span) = (store, op, Payload::None, 0, u64::MAX);
        self.prepare_op();
    }

    fn prepare_op(&mut self) {
        self.alignment = u64::from(self.store.geometry().alignment.max(1));
        self.span = match self.access() {
            Access::ReadScratch | Access::WriteScratch { .. } => CHUNK as u64,
            _ => u64::MAX,
        };
        self.failed = self.impossible();
    }

    /// The store of the unit.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.guarded.as_ref().map_or(&self.store, |guarded| guarded.home())
    }

    /// Goes on until the end, the driver, or the share of this turn (`budget` bytes) stops it. `scratch`: where buffers of its own come from.
    pub fn run<D: Driver>(&mut self, driver: &mut D, token: Token, scratch: &Pool, budget: &mut u64) -> Progress {
        if self.guarded.is_none() {
            return self.run_plain(driver, token, scratch, budget);
        }
        loop {
            let Some(mut guarded) = self.guarded.take() else { return Progress::Done(Err(StoreFault::Unsupported)) };
            let turn = guarded.turn(self, scratch);
            self.guarded = Some(guarded);
            match turn {
                Turn::Done(result) => return Progress::Done(result),
                Turn::Starved => return Progress::Starved,
                Turn::Again => {}
            }
            match self.run_plain(driver, token, scratch, budget) {
                Progress::Done(result) => self.note(result),
                other => return other,
            }
        }
    }

    /// The end of a piece of guarded work.
    fn note(&mut self, result: StoreResult) {
        if let Some(guarded) = &mut self.guarded {
            guarded.ended = Some(result);
        }
    }

    fn run_plain<D: Driver>(&mut self, driver: &mut D, token: Token, scratch: &Pool, budget: &mut u64) -> Progress {
        loop {
            if let Some(fault) = self.failed {
                return Progress::Done(Err(fault));
            }
            if self.position >= self.total() && (self.position > 0 || self.access() != Access::Range) {
                return Progress::Done(Ok(self.answer()));
            }
            if *budget == 0 {
                return Progress::Paused;
            }
            if !self.prepare(scratch) {
                return Progress::Starved;
            }
            if let StoreOp::Extents { offset, len, max } = self.op {
                return Progress::Done(self.extents(offset, len, max));
            }
            let piece = self.piece();
            match self.plan() {
                Plan::Done(result) => {
                    *budget = budget.saturating_sub(piece.max(1));
                    if let Some(result) = self.absorb(result) {
                        return Progress::Done(result);
                    }
                }
                Plan::Io(io) if self.submit(driver, token, io) => return Progress::Submitted,
                Plan::Io(_) => return Progress::Done(Err(StoreFault::Unsupported)),
            }
        }
    }

    /// What the driver had of the job is back. `Some`: the job has ended; otherwise [`Job::run`] goes on.
    pub fn complete(&mut self, result: Result<usize, i32>, back: Back) -> Option<StoreResult> {
        match (back, self.access()) {
            (Back::Buffer(buffer), Access::ReadPayload) => self.payload = Payload::Own(buffer),
            (Back::Buffer(buffer), _) => self.scratch = Payload::Own(buffer),
            _ => {}
        }
        let ended = self.absorb(result.map(|_| ()).map_err(store::error_of));
        if self.guarded.is_none() {
            return ended;
        }
        if let Some(result) = ended {
            self.note(result);
        }
        None
    }

    fn access(&self) -> Access {
        match self.op {
            StoreOp::Read { .. } => Access::ReadPayload,
            StoreOp::Write { payload, stable, .. } if self.needs_copy(payload) => Access::WriteScratch { stable },
            StoreOp::Write { payload, stable, .. } => Access::WritePayload { at: payload, stable },
            StoreOp::Compare { .. } | StoreOp::CompareSame { .. } | StoreOp::Check { .. } | StoreOp::Or { .. } => Access::ReadScratch,
            StoreOp::Fill { .. } => Access::WriteScratch { stable: false },
            StoreOp::WriteSame { stable, .. } => Access::WriteScratch { stable },
            _ => Access::Range,
        }
    }

    /// Direct I/O takes memory only at certain addresses; a payload that starts elsewhere in its buffer is copied.
    fn needs_copy(&self, payload: u32) -> bool {
        !u64::from(payload).is_multiple_of(self.alignment)
    }

    fn offset(&self) -> u64 {
        self.op.start()
    }

    fn total(&self) -> u64 {
        self.op.end().saturating_sub(self.op.start())
    }

    /// Bytes of the next piece.
    fn piece(&self) -> u64 {
        (self.total() - self.position.min(self.total())).min(self.span)
    }

    /// What cannot be done at all: a payload shorter than the operation says (a bug above), or blocks smaller than direct I/O takes.
    fn impossible(&self) -> Option<StoreFault> {
        let held = self.payload.len() as u64;
        let needed = match self.op {
            StoreOp::Read { len, .. } | StoreOp::Or { len, .. } => u64::from(len),
            StoreOp::Fill { block, len, payload, pattern, .. } => {
                let whole = pattern > 0 && block > 0 && len.is_multiple_of(u64::from(block)) && (CHUNK as u64).is_multiple_of(u64::from(block));
                if whole { u64::from(payload) + u64::from(pattern) } else { u64::MAX }
            }
            StoreOp::Write { payload, len, .. } | StoreOp::Compare { payload, len, .. } => u64::from(payload) + u64::from(len),
            StoreOp::CompareSame { block, len, .. } | StoreOp::WriteSame { block, len, .. } => {
                let whole = block > 0 && len.is_multiple_of(u64::from(block)) && (CHUNK as u64).is_multiple_of(u64::from(block));
                if whole { u64::from(block) } else { u64::MAX }
            }
            _ => 0,
        };
        let moves = self.access() != Access::Range;
        let aligned = self.offset().is_multiple_of(self.alignment) && self.total().is_multiple_of(self.alignment);
        (held < needed || (moves && !aligned)).then_some(StoreFault::Unsupported)
    }

    /// Makes the scratch buffer that the next piece needs. False: there is none now.
    fn prepare(&mut self, pool: &Pool) -> bool {
        let writes = match self.access() {
            Access::ReadScratch => false,
            Access::WriteScratch { .. } => true,
            _ => return true,
        };
        if self.scratch.len() == 0 {
            let len = usize::try_from(self.total().min(self.span)).unwrap_or(CHUNK);
            let Some(mut buffer) = pool.take(len) else { return false };
            if writes {
                self.fill_pattern(&mut buffer);
            }
            self.scratch = Payload::Own(buffer);
        }
        if let (StoreOp::Write { payload, .. }, Some(buffer)) = (self.op, self.scratch.own()) {
            let from = payload as usize + usize::try_from(self.position).unwrap_or(usize::MAX);
            let source = self.payload.bytes().get(from..).unwrap_or_default();
            let len = source.len().min(buffer.len());
            buffer[..len].copy_from_slice(&source[..len]);
        }
        true
    }

    fn fill_pattern(&self, buffer: &mut Buffer) {
        if let StoreOp::Fill { block, payload, pattern, invert, .. } = self.op {
            let turn = if invert { 0xff } else { 0x00 };
            let pattern = &self.payload.bytes()[payload as usize..][..pattern as usize];
            for block in buffer.chunks_mut(block as usize) {
                block.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, from)| *to = from ^ turn);
            }
        }
        if let StoreOp::WriteSame { block, .. } = self.op {
            let pattern = &self.payload.bytes()[..block as usize];
            if pattern.is_empty() {
                return buffer.fill(0);
            }
            for piece in buffer.chunks_mut(pattern.len()) {
                piece.copy_from_slice(&pattern[..piece.len()]);
            }
        }
    }

    /// Asks the store for the next piece.
    fn plan(&mut self) -> Plan {
        let len = usize::try_from(self.piece()).unwrap_or(usize::MAX);
        let at = usize::try_from(self.position).unwrap_or(usize::MAX);
        let offset = self.offset() + self.position;
        match (self.access(), self.op) {
            (Access::ReadPayload, _) => match self.payload.own() {
                Some(buffer) => self.store.read(offset, &mut buffer[at..at + len]),
                None => Plan::Done(Err(Error::Unsupported)),
            },
            (Access::ReadScratch, _) => match self.scratch.own() {
                Some(buffer) => self.store.read(offset, &mut buffer[..len]),
                None => Plan::Done(Err(Error::Unsupported)),
            },
            (Access::WritePayload { at: start, stable }, _) => {
                let start = start as usize + at;
                self.store.write(offset, &self.payload.bytes()[start..start + len], stable)
            }
            (Access::WriteScratch { stable }, _) => self.store.write(offset, &self.scratch.bytes()[..len], stable),
            (Access::Range, StoreOp::Zero { len, stable, .. }) => self.store.zero(offset, len, stable),
            (Access::Range, StoreOp::Discard { len, .. }) => self.store.discard(offset, len),
            (Access::Range, StoreOp::Flush { len, .. }) => self.store.flush(offset, len),
            (Access::Range, StoreOp::Prefetch { len, .. }) => {
                self.store.prefetch(offset, len);
                Plan::Done(Ok(()))
            }
            (Access::Range, _) => Plan::Done(Err(Error::Unsupported)),
        }
    }

    /// Hands a plan to the driver. False: it does not fit the operation, which is a bug of the store.
    fn submit<D: Driver>(&mut self, driver: &mut D, token: Token, io: Io) -> bool {
        let len = usize::try_from(self.piece()).unwrap_or(usize::MAX);
        let done = usize::try_from(self.position).unwrap_or(usize::MAX);
        let op = match (self.access(), io) {
            (Access::ReadPayload, Io::Read { file, offset }) => {
                self.payload.take_own().map(|buffer| Op::Read { file, offset, buffer, at: done, len })
            }
            (Access::ReadScratch, Io::Read { file, offset }) => self.scratch.take_own().map(|buffer| Op::Read { file, offset, buffer, at: 0, len }),
            (Access::WritePayload { at, .. }, Io::Write { file, offset, sync }) => {
                self.payload.share().map(|source| Op::Write { file, offset, source, at: at as usize + done, len, sync })
            }
            (Access::WriteScratch { .. }, Io::Write { file, offset, sync }) => {
                self.scratch.share().map(|source| Op::Write { file, offset, source, at: 0, len, sync })
            }
            (Access::Range, Io::Sync { file }) => Some(Op::Sync { file }),
            (Access::Range, Io::Discard { file, offset, len, block_device }) => Some(Op::Discard { file, offset, len, block_device }),
            (Access::Range, Io::Zero { file, offset, len, block_device, sync }) => Some(Op::Zero { file, offset, len, block_device, sync }),
            _ => None,
        };
        op.map(|op| driver.submit(token, op)).is_some()
    }

    /// A piece has ended.
    fn absorb(&mut self, result: Result<(), Error>) -> Option<StoreResult> {
        let piece = self.piece();
        if let Err(error) = result {
            return self.fail(error, piece);
        }
        if let Some(at) = self.difference() {
            return Some(Ok(StoreAnswer::Differs { at: self.position + at }));
        }
        if matches!(self.op, StoreOp::Or { .. }) && !self.join() {
            return Some(Err(StoreFault::Unsupported));
        }
        self.position += piece;
        (self.position >= self.total()).then(|| Ok(self.answer()))
    }

    fn fail(&mut self, error: Error, piece: u64) -> Option<StoreResult> {
        let reads = matches!(self.access(), Access::ReadPayload | Access::ReadScratch);
        let smallest = SMALLEST_BLOCK.max(self.alignment);
        match error {
            Error::Io(_) if reads && piece > smallest => {
                self.span = (piece / 2).next_multiple_of(smallest);
                return None;
            }
            Error::Unsupported => {
                if let StoreOp::Zero { offset, len, stable } = self.op {
                    return self.write_zeros(offset, len, stable);
                }
            }
            _ => {}
        }
        let at = (piece <= smallest && self.access() != Access::Range).then_some(self.position);
        Some(Err(match error {
            Error::NoSpace => StoreFault::NoSpace,
            Error::ReadOnly => StoreFault::ReadOnly,
            Error::Io(_) => StoreFault::Io { at },
            Error::OutOfRange => StoreFault::OutOfRange,
            Error::Unsupported => StoreFault::Unsupported,
        }))
    }

    /// A store that cannot zero a range gets zeros written: a pattern without bytes.
    fn write_zeros(&mut self, offset: u64, len: u64, stable: bool) -> Option<StoreResult> {
        self.op = StoreOp::WriteSame { offset, len, block: 0, stable };
        self.span = CHUNK as u64;
        None
    }

    /// First difference of a comparison in the piece that was just read.
    fn difference(&self) -> Option<u64> {
        let len = usize::try_from(self.piece()).unwrap_or(usize::MAX);
        let read = self.scratch.bytes().get(..len);
        match self.op {
            StoreOp::Compare { payload, .. } => {
                let start = payload as usize + usize::try_from(self.position).unwrap_or(usize::MAX);
                first_difference(read?, self.payload.bytes().get(start..start + len)?)
            }
            StoreOp::CompareSame { block, .. } => {
                let block = block as usize;
                let pattern = self.payload.bytes().get(..block)?;
                let pieces = read?.chunks(block).enumerate();
                pieces.filter_map(|(index, piece)| first_difference(piece, &pattern[..piece.len()]).map(|at| at + (index * block) as u64)).next()
            }
            _ => None,
        }
    }

    /// Puts the bits of the piece that was just read into the payload. False: the payload is not ours to change.
    fn join(&mut self) -> bool {
        let len = usize::try_from(self.piece()).unwrap_or(usize::MAX);
        let at = usize::try_from(self.position).unwrap_or(usize::MAX);
        let (Some(payload), Some(read)) = (self.payload.own(), self.scratch.bytes().get(..len)) else { return false };
        payload.iter_mut().skip(at).zip(read).for_each(|(to, from)| *to |= from);
        true
    }

    fn extents(&self, offset: u64, len: u64, max: u32) -> StoreResult {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let extents = self.store.extents(offset, len, max).map_err(|error| match error {
            Error::Io(_) => StoreFault::Io { at: None },
            Error::OutOfRange => StoreFault::OutOfRange,
            _ => StoreFault::Unsupported,
        })?;
        Ok(StoreAnswer::Extents(
            extents.into_iter().map(|extent| device::Extent { offset: extent.offset, len: extent.len, mapped: extent.mapped }).collect(),
        ))
    }

    fn answer(&self) -> StoreAnswer {
        match self.op {
            StoreOp::Compare { .. } | StoreOp::CompareSame { .. } => StoreAnswer::Equal,
            _ => StoreAnswer::Done,
        }
    }
}

fn first_difference(left: &[u8], right: &[u8]) -> Option<u64> {
    if left == right {
        return None;
    }
    left.iter().zip(right).position(|(left, right)| left != right).map(|at| at as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use device::{Device, UnitSettings};
    use scsi::BlockSize;
    use store::{Extent, File, Geometry, Memory};
    use target::{NexusId, TaskTag, Unit};

    use super::*;

    const LINK: LinkKey = LinkKey { slot: 0, serial: 1 };

    fn job(store: &Arc<dyn Store>, op: StoreOp, payload: Payload) -> Job {
        let settings = UnitSettings {
            tid: 1,
            lun: 0,
            block_size: BlockSize::B512,
            vendor: String::new(),
            product: String::new(),
            revision: String::new(),
            scsi_id: String::new(),
            scsi_sn: String::new(),
            unique: [0; 16],
            removable: false,
            read_only: false,
            thin: false,
        };
        let cell = Arc::new(UnitCell::new(1, 0, Unit::new(Device::controller(settings), 1), None));
        let task = TaskRef { slot: 0, generation: 0, nexus: NexusId(1), tag: TaskTag(1), part: false };
        Job::new(Owner::Task { task, link: LINK }, cell, store.clone(), (op, None), payload)
    }

    /// Runs a job to its end with a real driver; the result and the payload.
    fn run(store: &Arc<dyn Store>, op: StoreOp, payload: Payload) -> (StoreResult, Payload) {
        let mut driver = reactor::Epoll::new().expect("epoll");
        let pool = Pool::new(16 << 20);
        let mut job = job(store, op, payload);
        let (mut done, mut budget) = (Vec::new(), u64::MAX);
        loop {
            match job.run(&mut driver, 1, &pool, &mut budget) {
                Progress::Done(result) => return (result, std::mem::take(&mut job.payload)),
                Progress::Submitted => {}
                Progress::Starved | Progress::Paused => panic!("nothing to wait for"),
            }
            while done.is_empty() {
                driver.wait(&mut done, None);
            }
            let done = done.remove(0);
            if let Some(result) = job.complete(done.result, done.back) {
                return (result, std::mem::take(&mut job.payload));
            }
        }
    }

    fn payload(pool: &Pool, bytes: &[u8]) -> Payload {
        let mut buffer = pool.take(bytes.len()).expect("credit");
        buffer.copy_from_slice(bytes);
        Payload::Own(buffer)
    }

    fn image() -> (std::path::PathBuf, Arc<dyn Store>) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("medium-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        std::fs::File::create(&path).and_then(|file| file.set_len(8 << 20)).expect("an image");
        let store = File::open(&path, store::OpenOptions::default()).expect("the image opens");
        (path, Arc::new(store))
    }

    fn exercise(store: &Arc<dyn Store>) {
        let pool = Pool::new(16 << 20);
        let pattern: Vec<u8> = (0..=255).cycle().take(4096).collect();
        let write = StoreOp::Write { offset: 1024, len: 4096, payload: 0, stable: true };
        assert_eq!(run(store, write, payload(&pool, &pattern)).0, Ok(StoreAnswer::Done));
        let (result, read) = run(store, StoreOp::Read { offset: 512, len: 5120 }, payload(&pool, &[1; 8192]));
        assert_eq!(result, Ok(StoreAnswer::Done));
        assert_eq!((&read.bytes()[..512], &read.bytes()[512..4608], &read.bytes()[4608..5120]), (&[0; 512][..], &pattern[..], &[0; 512][..]));
        let compare = StoreOp::Compare { offset: 1024, len: 2048, payload: 512 };
        assert_eq!(run(store, compare, payload(&pool, &[&[9; 512], &pattern[..2048]].concat())).0, Ok(StoreAnswer::Equal));
        let mut other = pattern.clone();
        other[700] ^= 1;
        let compare = StoreOp::Compare { offset: 1024, len: 4096, payload: 0 };
        assert_eq!(run(store, compare, payload(&pool, &other)).0, Ok(StoreAnswer::Differs { at: 700 }));
        let fill = StoreOp::WriteSame { offset: 512, len: (3 << 20) + 512, block: 512, stable: false };
        assert_eq!(run(store, fill, payload(&pool, &pattern[1..513])).0, Ok(StoreAnswer::Done));
        let same = StoreOp::CompareSame { offset: 512, len: (3 << 20) + 512, block: 512 };
        assert_eq!(run(store, same, payload(&pool, &pattern[1..513])).0, Ok(StoreAnswer::Equal));
        let same = StoreOp::CompareSame { offset: 512, len: (3 << 20) + 1024, block: 512 };
        assert_eq!(run(store, same, payload(&pool, &pattern[1..513])).0, Ok(StoreAnswer::Differs { at: (3 << 20) + 512 }));
        assert_eq!(run(store, StoreOp::Zero { offset: 1024, len: 1 << 20, stable: true }, Payload::None).0, Ok(StoreAnswer::Done));
        let same = StoreOp::CompareSame { offset: 1024, len: 1 << 20, block: 512 };
        assert_eq!(run(store, same, payload(&pool, &[0; 512])).0, Ok(StoreAnswer::Equal));
        // Three bytes over and over, anew in every block, turned over; then the bits of the medium join those of a payload.
        let fill = StoreOp::Fill { offset: 512, len: (2 << 20) + 512, block: 512, payload: 4, pattern: 3, invert: true };
        assert_eq!(run(store, fill, payload(&pool, &[0, 0, 0, 0, 0xf0, 0xff, 0x3f])).0, Ok(StoreAnswer::Done));
        let expected: Vec<u8> = [0x0f, 0x00, 0xc0].into_iter().cycle().take(512).collect();
        let same = StoreOp::CompareSame { offset: 512, len: (2 << 20) + 512, block: 512 };
        assert_eq!(run(store, same, payload(&pool, &expected)).0, Ok(StoreAnswer::Equal));
        let len = (1 << 20) + 1024;
        let (result, joined) = run(store, StoreOp::Or { offset: 512, len }, payload(&pool, &vec![0x11; len as usize]));
        assert_eq!(result, Ok(StoreAnswer::Done));
        assert!(joined.bytes()[..len as usize].chunks(512).all(|part| part[..4] == [0x1f, 0x11, 0xd1, 0x1f]));
        drop(joined);
        for op in [StoreOp::Flush { offset: 0, len: 0 }, StoreOp::Check { offset: 0, len: 8 << 20 }, StoreOp::Prefetch { offset: 0, len: 512 }] {
            assert_eq!(run(store, op, Payload::None).0, Ok(StoreAnswer::Done), "{op:?}");
        }
        assert_eq!(pool.used(), 8192, "only the payload of the first read is still held");
        drop(read);
    }

    #[test]
    fn every_operation_on_memory() {
        let store: Arc<dyn Store> = Arc::new(Memory::new(8 << 20));
        exercise(&store);
    }

    #[test]
    fn every_operation_on_a_file() {
        let (path, store) = image();
        exercise(&store);
        std::fs::remove_file(path).expect("the image goes");
    }

    #[test]
    fn a_payload_that_is_too_short_is_refused() {
        let store: Arc<dyn Store> = Arc::new(Memory::new(1 << 20));
        let pool = Pool::new(1 << 20);
        let write = StoreOp::Write { offset: 0, len: 1024, payload: 512, stable: false };
        assert_eq!(run(&store, write, payload(&pool, &[0; 1024])).0, Err(StoreFault::Unsupported));
        assert_eq!(run(&store, StoreOp::Read { offset: 0, len: 512 }, Payload::None).0, Err(StoreFault::Unsupported));
    }

    /// A store with one unreadable block, that refuses to zero, and counts its reads.
    struct Broken {
        inner: Memory,
        bad: u64,
        reads: Mutex<u32>,
    }

    impl Store for Broken {
        fn geometry(&self) -> Geometry {
            self.inner.geometry()
        }
        fn read(&self, offset: u64, into: &mut [u8]) -> Plan {
            *self.reads.lock().expect("no panic") += 1;
            let hit = offset < self.bad + 512 && self.bad < offset + into.len() as u64;
            if hit { Plan::Done(Err(Error::Io(5))) } else { self.inner.read(offset, into) }
        }
        fn write(&self, offset: u64, from: &[u8], stable: bool) -> Plan {
            self.inner.write(offset, from, stable)
        }
        fn flush(&self, _: u64, _: u64) -> Plan {
            Plan::Done(Err(Error::NoSpace))
        }
        fn zero(&self, _: u64, _: u64, _: bool) -> Plan {
            Plan::Done(Err(Error::Unsupported))
        }
        fn discard(&self, _: u64, _: u64) -> Plan {
            Plan::Done(Err(Error::ReadOnly))
        }
        fn extents(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, Error> {
            self.inner.extents(offset, len, max)
        }
        fn prefetch(&self, _: u64, _: u64) {}
        fn kind(&self) -> &'static str {
            "broken"
        }
    }

    #[test]
    fn an_unreadable_block_is_found() {
        let pool = Pool::new(16 << 20);
        let broken = Arc::new(Broken { inner: Memory::new(8 << 20), bad: 777 * 512, reads: Mutex::new(0) });
        let store: Arc<dyn Store> = broken.clone();
        let read = StoreOp::Read { offset: 512, len: 1 << 20 };
        assert_eq!(run(&store, read, payload(&pool, &vec![0; 1 << 20])).0, Err(StoreFault::Io { at: Some(776 * 512) }));
        assert!(*broken.reads.lock().expect("no panic") < 40, "halving, not one block at a time");
        let check = StoreOp::Check { offset: 0, len: 8 << 20 };
        assert_eq!(run(&store, check, Payload::None).0, Err(StoreFault::Io { at: Some(777 * 512) }));
        assert_eq!(run(&store, StoreOp::Flush { offset: 0, len: 0 }, Payload::None).0, Err(StoreFault::NoSpace));
        assert_eq!(run(&store, StoreOp::Discard { offset: 0, len: 512 }, Payload::None).0, Err(StoreFault::ReadOnly));
    }

    #[test]
    fn a_store_that_cannot_zero_gets_zeros() {
        let pool = Pool::new(16 << 20);
        let store: Arc<dyn Store> = Arc::new(Broken { inner: Memory::new(8 << 20), bad: u64::MAX / 2, reads: Mutex::new(0) });
        let fill = StoreOp::WriteSame { offset: 0, len: 4 << 20, block: 512, stable: false };
        assert_eq!(run(&store, fill, payload(&pool, &[7; 512])).0, Ok(StoreAnswer::Done));
        assert_eq!(run(&store, StoreOp::Zero { offset: 512, len: 2 << 20, stable: false }, Payload::None).0, Ok(StoreAnswer::Done));
        let (_, read) = run(&store, StoreOp::Read { offset: 0, len: (2 << 20) + 1024 }, payload(&pool, &vec![1; (2 << 20) + 1024]));
        let bytes = read.bytes();
        assert!(bytes[..512].iter().all(|&byte| byte == 7) && bytes[512 + (2 << 20)..].iter().all(|&byte| byte == 7));
        assert!(bytes[512..512 + (2 << 20)].iter().all(|&byte| byte == 0));
    }
}
