//! Store operations on a medium with protection information: the data and what is kept beside them, in steps that a crash may come between.
//!
//! A write first puts the new information of its blocks beside the old one (*marked*), then the data, then drops the old one (*settled*). A block whose two
//! copies differ was being written when something stopped the write; which copy belongs to it is told by the guard, for each is that of other data.
//! The unit keeps everybody else off the blocks while an operation runs, so nobody sees a step of it.

use std::mem::take;
use std::sync::Arc;

use device::{Guard, StoreAnswer, StoreFault, StoreOp, StoreResult};
use reactor::{Buffer, Pool};
use scsi::protection::{self, Information, LENGTH};
use store::Store;
use store::protected::{ENTRIES, ENTRY, HEADER, header};

use crate::limits::CHUNK;
use crate::medium::Job;
use crate::payload::Payload;

/// Bytes of an entry, as an index.
const ENTRY_LEN: usize = ENTRY as usize;

/// Where an operation stands: what has just ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Start,
    /// The data of a window are here.
    Data,
    /// And what is beside them.
    Entries,
    /// What was beside the blocks to be written.
    Old,
    /// The data of those blocks, since one was left marked.
    OldData,
    Marked,
    Written,
    Settled,
    /// Nothing is beside the blocks any more.
    Cleared,
    /// Nothing is beside any block.
    Formatted,
    Headed,
    SideFlushed,
    /// The operation itself: nothing more to do.
    Last,
}

/// Whose bytes the job works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Task,
    Entries,
    Work,
}

/// What comes next.
pub(crate) enum Turn {
    /// The end.
    Done(StoreResult),
    /// The job has another piece of work.
    Again,
    /// There is no buffer now.
    Starved,
}

/// One operation, with what belongs to it.
pub(crate) struct Guarded {
    guard: Guard,
    op: StoreOp,
    home: Arc<dyn Store>,
    side: Arc<dyn Store>,
    stage: Stage,
    held: Held,
    task: Payload,
    entries: Payload,
    work: Payload,
    /// New information of the blocks that are written.
    fresh: Vec<[u8; LENGTH]>,
    /// Bytes of the operation that were looked at.
    at: u64,
    /// How the last piece of work ended.
    pub(crate) ended: Option<StoreResult>,
}

impl Guarded {
    /// For `op` on a store with a side; `None` for any other store.
    pub fn new(guard: Guard, op: StoreOp, home: &Arc<dyn Store>) -> Option<Guarded> {
        let side = home.protected()?.side().clone();
        Some(Guarded {
            guard,
            op,
            home: home.clone(),
            side,
            stage: Stage::Start,
            held: Held::Task,
            task: Payload::None,
            entries: Payload::None,
            work: Payload::None,
            fresh: Vec::new(),
            at: 0,
            ended: Some(Ok(StoreAnswer::Done)),
        })
    }

    /// The store of the unit.
    pub fn home(&self) -> &Arc<dyn Store> {
        &self.home
    }

    /// Goes on after a piece of work has ended.
    pub fn turn(&mut self, job: &mut Job, pool: &Pool) -> Turn {
        let Some(ended) = self.ended.clone() else { return Turn::Again };
        let result = match ended {
            Err(fault) => Err(self.placed(fault)),
            Ok(answer) => self.after(job, pool, answer),
        };
        match result {
            Ok(Turn::Starved) => Turn::Starved,
            Ok(Turn::Again) => {
                self.ended = None;
                Turn::Again
            }
            Ok(done) => {
                self.hold(job, Held::Task);
                done
            }
            Err(fault) => {
                self.hold(job, Held::Task);
                Turn::Done(Err(fault))
            }
        }
    }

    /// A fault of a piece of work, as one of the operation.
    fn placed(&self, fault: StoreFault) -> StoreFault {
        let on_side =
            matches!(self.stage, Stage::Entries | Stage::Old | Stage::Marked | Stage::Settled | Stage::Cleared | Stage::Formatted | Stage::Headed);
        match fault {
            StoreFault::Io { .. } if on_side || self.stage == Stage::SideFlushed => StoreFault::Io { at: None },
            StoreFault::Io { at } => StoreFault::Io { at: at.map(|at| at + self.at) },
            other => other,
        }
    }

    /// `self.stage` is what the work that ended was for.
    fn after(&mut self, job: &mut Job, pool: &Pool, answer: StoreAnswer) -> Result<Turn, StoreFault> {
        match self.stage {
            Stage::Start => self.start(job, pool),
            Stage::Data => self.read_entries(job, pool, Stage::Entries),
            Stage::Entries => self.judge(job, pool),
            Stage::Old if self.left_marked(job) => self.read_old_data(job, pool),
            Stage::Old => Ok(self.mark(job)),
            Stage::OldData => {
                self.hold(job, Held::Task);
                self.settle_old()?;
                self.hold(job, Held::Entries);
                Ok(self.mark(job))
            }
            // Their information was taken out of the payload.
            Stage::Marked => Ok(self.work_on(job, Stage::Written, Held::Task, self.home.clone(), self.op)),
            Stage::Written => Ok(self.settle(job)),
            Stage::Cleared => Ok(self.work_on(job, Stage::Last, Held::Task, self.home.clone(), self.op)),
            Stage::Formatted => self.write_header(job, pool),
            Stage::Headed => {
                if let Some(protected) = self.home.protected() {
                    protected.formatted(self.guard.protection.number());
                }
                Ok(self.flush_side(job))
            }
            Stage::SideFlushed => Ok(self.work_on(job, Stage::Last, Held::Task, self.home.clone(), self.op)),
            Stage::Settled => Ok(Turn::Done(Ok(StoreAnswer::Done))),
            Stage::Last => Ok(Turn::Done(Ok(answer))),
        }
    }

    fn start(&mut self, job: &mut Job, pool: &Pool) -> Result<Turn, StoreFault> {
        match self.op {
            StoreOp::Read { .. } => Ok(self.work_on(job, Stage::Data, Held::Task, self.home.clone(), self.op)),
            StoreOp::Write { payload, len, .. } => {
                self.take_in(job, index(payload.into()), len.into())?;
                self.read_entries(job, pool, Stage::Old)
            }
            StoreOp::WriteSame { .. } => {
                self.take_one(job)?;
                self.read_entries(job, pool, Stage::Old)
            }
            StoreOp::Compare { payload, len, .. } => {
                self.check_payload(job.payload.bytes(), index(payload.into()), len.into())?;
                self.read_window(job, pool)
            }
            StoreOp::Or { len, .. } => {
                self.check_payload(job.payload.bytes(), 0, len.into())?;
                self.read_window(job, pool)
            }
            StoreOp::Check { .. } | StoreOp::CompareSame { .. } => self.read_window(job, pool),
            StoreOp::Zero { offset, len, .. } | StoreOp::Discard { offset, len } | StoreOp::Fill { offset, len, .. } => {
                let stable = matches!(self.op, StoreOp::Zero { stable: true, .. });
                let op = StoreOp::Zero { offset: self.entry(offset), len: self.entries_of(len), stable };
                Ok(self.work_on(job, Stage::Cleared, Held::Task, self.side.clone(), op))
            }
            StoreOp::Flush { .. } if self.guard.format => {
                let len = self.side.geometry().bytes.saturating_sub(ENTRIES);
                let op = StoreOp::Zero { offset: ENTRIES, len, stable: true };
                Ok(self.work_on(job, Stage::Formatted, Held::Task, self.side.clone(), op))
            }
            StoreOp::Flush { .. } => Ok(self.flush_side(job)),
            StoreOp::Prefetch { .. } | StoreOp::Extents { .. } => Ok(self.work_on(job, Stage::Last, Held::Task, self.home.clone(), self.op)),
        }
    }

    // --- reading ---

    /// The whole operation for what reads into the payload or writes; a piece of it for what only looks.
    fn window(&self) -> u64 {
        let rest = self.len().saturating_sub(self.at);
        match self.op {
            StoreOp::Read { .. } | StoreOp::Write { .. } | StoreOp::WriteSame { .. } => rest,
            _ => rest.min(CHUNK as u64),
        }
    }

    fn read_window(&mut self, job: &mut Job, pool: &Pool) -> Result<Turn, StoreFault> {
        let (offset, len) = (self.offset() + self.at, self.window());
        if len == 0 {
            return Ok(Turn::Done(Ok(self.answer())));
        }
        if !self.room(job, pool, Held::Work, len) {
            return Ok(Turn::Starved);
        }
        let op = StoreOp::Read { offset, len: u32::try_from(len).map_err(|_| StoreFault::Unsupported)? };
        Ok(self.work_on(job, Stage::Data, Held::Work, self.home.clone(), op))
    }

    fn read_entries(&mut self, job: &mut Job, pool: &Pool, then: Stage) -> Result<Turn, StoreFault> {
        let len = self.entries_of(self.window());
        if !self.room(job, pool, Held::Entries, len) {
            return Ok(Turn::Starved);
        }
        let op = StoreOp::Read { offset: self.entry(self.offset() + self.at), len: u32::try_from(len).map_err(|_| StoreFault::Unsupported)? };
        Ok(self.work_on(job, then, Held::Entries, self.side.clone(), op))
    }

    /// Data and entries of a window are here.
    fn judge(&mut self, job: &mut Job, pool: &Pool) -> Result<Turn, StoreFault> {
        self.hold(job, Held::Task);
        if let StoreOp::Read { .. } = self.op {
            let found = self.found(job.payload.bytes())?;
            self.weave(job, &found)?;
            return Ok(Turn::Done(Ok(StoreAnswer::Done)));
        }
        let found = self.found(self.work.bytes())?;
        if let Some(at) = self.difference(job.payload.bytes(), &found) {
            return Ok(Turn::Done(Ok(StoreAnswer::Differs { at })));
        }
        if matches!(self.op, StoreOp::Or { .. }) {
            self.join(job)?;
        }
        self.at += self.window();
        self.read_window(job, pool)
    }

    /// The information of each block of the window, checked.
    fn found(&self, data: &[u8]) -> Result<Vec<Information>, StoreFault> {
        let (block, first) = (index(self.block()), self.lba(self.offset() + self.at));
        let blocks = data.get(..index(self.window())).ok_or(StoreFault::Unsupported)?.chunks_exact(block);
        let entries = self.entries.bytes().chunks_exact(ENTRY_LEN);
        let mut found = Vec::with_capacity(blocks.len());
        for (nth, (block, entry)) in (0..).zip(blocks.zip(entries)) {
            let information = self.resolve(entry, block);
            let at = self.at + nth * self.block();
            self.guard.check(first + nth, block, information).map_err(|what| StoreFault::Protection { at, what })?;
            found.push(information);
        }
        Ok(found)
    }

    /// The copy of an entry that belongs to the block.
    fn resolve(&self, entry: &[u8], block: &[u8]) -> Information {
        let (now, before) = (decode(entry), decode(entry.get(LENGTH..).unwrap_or_default()));
        if now == before {
            return now;
        }
        let guard = protection::guard(block);
        let belongs = now.guard != guard && (before.guard == guard || before.is_escape(self.guard.protection));
        if belongs { before } else { now }
    }

    /// Puts the information behind each block of a payload that was read.
    fn weave(&self, job: &mut Job, found: &[Information]) -> Result<(), StoreFault> {
        if !self.guard.carried {
            return Ok(());
        }
        let (block, unit) = (index(self.block()), self.unit());
        let payload = job.payload.own().ok_or(StoreFault::Unsupported)?;
        if payload.len() < found.len() * unit {
            return Err(StoreFault::Unsupported);
        }
        for (nth, information) in found.iter().enumerate().rev() {
            payload.copy_within(nth * block..(nth + 1) * block, nth * unit);
            payload[nth * unit + block..(nth + 1) * unit].copy_from_slice(&information.encode());
        }
        Ok(())
    }

    /// The first difference of the window from the payload, counted in the payload.
    fn difference(&self, payload: &[u8], found: &[Information]) -> Option<u64> {
        let (start, same) = match self.op {
            StoreOp::Compare { payload, .. } => (index(payload.into()), false),
            StoreOp::CompareSame { .. } => (0, true),
            _ => return None,
        };
        let (block, unit) = (index(self.block()), self.unit());
        let before = index(self.at) / block;
        for (nth, (read, information)) in self.work.bytes().chunks_exact(block).zip(found).enumerate() {
            let at = if same { 0 } else { (before + nth) * unit };
            let sent = payload.get(start + at..start + at + unit)?;
            if let Some(differs) = read.iter().zip(sent).position(|(left, right)| left != right) {
                return Some((if same { (before + nth) * block } else { at } + differs) as u64);
            }
            let mut expected = decode_plain(sent.get(block..).unwrap_or_default());
            if same {
                expected = self.guard.repeated(expected, (before + nth) as u64);
            }
            if self.guard.carried && !self.guard.same(*information, expected) {
                return Some((at + block) as u64);
            }
        }
        None
    }

    /// Puts the bits of the window into the payload; the guards there are made anew.
    fn join(&mut self, job: &mut Job) -> Result<(), StoreFault> {
        let (block, unit) = (index(self.block()), self.unit());
        let start = index(self.at) / block * unit;
        let window = self.work.bytes().get(..index(self.window())).ok_or(StoreFault::Unsupported)?;
        let payload = job.payload.own().and_then(|payload| payload.get_mut(start..)).ok_or(StoreFault::Unsupported)?;
        for (read, to) in window.chunks_exact(block).zip(payload.chunks_mut(unit)) {
            let Some((data, information)) = to.split_at_mut_checked(block) else { return Err(StoreFault::Unsupported) };
            data.iter_mut().zip(read).for_each(|(to, from)| *to |= from);
            if let Some(guard) = information.get_mut(..2) {
                guard.copy_from_slice(&protection::guard(data).to_be_bytes());
            }
        }
        Ok(())
    }

    // --- writing ---

    /// Looks at what was sent.
    fn check_payload(&self, payload: &[u8], start: usize, len: u64) -> Result<(), StoreFault> {
        if !self.guard.carried {
            return Ok(());
        }
        let (block, unit) = (index(self.block()), self.unit());
        let sent = payload.get(start..start + index(len) / block * unit).ok_or(StoreFault::Unsupported)?;
        let first = self.lba(self.offset());
        for (nth, sent) in (0..).zip(sent.chunks_exact(unit)) {
            let (data, information) = sent.split_at(block);
            let at = nth * self.block();
            self.guard.check(first + nth, data, decode_plain(information)).map_err(|what| StoreFault::Protection { at, what })?;
        }
        Ok(())
    }

    /// Checks what is to be written, keeps its information, and leaves the data alone in the payload.
    fn take_in(&mut self, job: &mut Job, start: usize, len: u64) -> Result<(), StoreFault> {
        if !self.fresh.is_empty() {
            return Ok(());
        }
        self.check_payload(job.payload.bytes(), start, len)?;
        let (block, unit) = (index(self.block()), self.unit());
        let first = self.lba(self.offset());
        let sent = job.payload.bytes().get(start..start + index(len) / block * unit).ok_or(StoreFault::Unsupported)?;
        self.fresh = (0..)
            .zip(sent.chunks_exact(unit))
            .map(|(nth, sent)| {
                let (data, information) = sent.split_at(block);
                if self.guard.carried { decode_plain(information) } else { self.guard.generate(first + nth, data) }.encode()
            })
            .collect();
        if self.guard.carried {
            let payload = job.payload.own().ok_or(StoreFault::Unsupported)?;
            for nth in 1..self.fresh.len() {
                payload.copy_within(start + nth * unit..start + nth * unit + block, start + nth * block);
            }
        }
        Ok(())
    }

    /// The same for the one block of WRITE SAME.
    fn take_one(&mut self, job: &Job) -> Result<(), StoreFault> {
        let payload = job.payload.bytes();
        let (data, information) = payload.split_at_checked(index(self.block())).ok_or(StoreFault::Unsupported)?;
        let (first, blocks) = (self.lba(self.offset()), self.len() / self.block());
        let sent = decode_plain(information.get(..LENGTH).unwrap_or_default());
        if self.guard.carried {
            let at = 0;
            self.guard.check(self.guard.first, data, sent).map_err(|what| StoreFault::Protection { at, what })?;
        }
        let made = (!self.guard.carried).then(|| self.guard.generate(first, data));
        self.fresh = (first..first + blocks)
            .map(|lba| match made {
                // The guard is the same for all.
                Some(made) => self.guard.numbered(lba, made),
                None => self.guard.repeated(sent, lba.wrapping_sub(self.guard.first)),
            })
            .map(Information::encode)
            .collect();
        Ok(())
    }

    /// Was a write of one of the blocks cut short?
    fn left_marked(&self, job: &Job) -> bool {
        job.payload.bytes().chunks_exact(ENTRY_LEN).take(self.fresh.len()).any(|entry| entry[..LENGTH] != entry[LENGTH..])
    }

    fn read_old_data(&mut self, job: &mut Job, pool: &Pool) -> Result<Turn, StoreFault> {
        let len = self.len();
        if !self.room(job, pool, Held::Work, len) {
            return Ok(Turn::Starved);
        }
        let op = StoreOp::Read { offset: self.offset(), len: u32::try_from(len).map_err(|_| StoreFault::Unsupported)? };
        Ok(self.work_on(job, Stage::OldData, Held::Work, self.home.clone(), op))
    }

    /// Decides for each block that was left marked.
    fn settle_old(&mut self) -> Result<(), StoreFault> {
        let mut entries = take(&mut self.entries);
        let block = index(self.block());
        for (entry, data) in entries.own().ok_or(StoreFault::Unsupported)?.chunks_exact_mut(ENTRY_LEN).zip(self.work.bytes().chunks_exact(block)) {
            let belongs = encode(self.resolve(entry, data).encode());
            entry[..LENGTH].copy_from_slice(&belongs);
        }
        (self.entries, self.work) = (entries, Payload::None);
        Ok(())
    }

    /// The new information beside the old one. The job holds the entries.
    fn mark(&mut self, job: &mut Job) -> Turn {
        let fresh = take(&mut self.fresh);
        if let Some(entries) = job.payload.own() {
            for (entry, fresh) in entries.chunks_exact_mut(ENTRY_LEN).zip(&fresh) {
                entry.copy_within(..LENGTH, LENGTH);
                entry[..LENGTH].copy_from_slice(&encode(*fresh));
            }
        }
        self.fresh = fresh;
        self.write_entries(job, Stage::Marked, self.stable())
    }

    /// The new information alone. Nothing is lost when this is.
    fn settle(&mut self, job: &mut Job) -> Turn {
        self.hold(job, Held::Entries);
        if let Some(entries) = job.payload.own() {
            entries.chunks_exact_mut(ENTRY_LEN).for_each(|entry| entry.copy_within(..LENGTH, LENGTH));
        }
        self.write_entries(job, Stage::Settled, false)
    }

    fn write_entries(&mut self, job: &mut Job, then: Stage, stable: bool) -> Turn {
        let len = u32::try_from(self.entries_of(self.len())).unwrap_or(u32::MAX);
        let op = StoreOp::Write { offset: self.entry(self.offset()), len, payload: 0, stable };
        self.work_on(job, then, Held::Entries, self.side.clone(), op)
    }

    fn write_header(&mut self, job: &mut Job, pool: &Pool) -> Result<Turn, StoreFault> {
        if !self.room(job, pool, Held::Work, HEADER as u64) {
            return Ok(Turn::Starved);
        }
        let bytes = header(self.guard.protection.number(), self.guard.block);
        let work = if self.held == Held::Work { &mut job.payload } else { &mut self.work };
        work.own().and_then(|work| work.get_mut(..HEADER)).ok_or(StoreFault::Unsupported)?.copy_from_slice(&bytes);
        let op = StoreOp::Write { offset: 0, len: HEADER as u32, payload: 0, stable: true };
        Ok(self.work_on(job, Stage::Headed, Held::Work, self.side.clone(), op))
    }

    fn flush_side(&mut self, job: &mut Job) -> Turn {
        self.work_on(job, Stage::SideFlushed, Held::Task, self.side.clone(), StoreOp::Flush { offset: 0, len: 0 })
    }

    // --- what all of it needs ---

    /// Gives the job another piece of work.
    fn work_on(&mut self, job: &mut Job, stage: Stage, held: Held, store: Arc<dyn Store>, op: StoreOp) -> Turn {
        self.hold(job, held);
        self.stage = stage;
        job.restart(store, op);
        Turn::Again
    }

    /// Lends the job these bytes, and takes back what it had.
    fn hold(&mut self, job: &mut Job, held: Held) {
        let had = take(&mut job.payload);
        *self.place(self.held) = had;
        job.payload = take(self.place(held));
        self.held = held;
    }

    fn place(&mut self, held: Held) -> &mut Payload {
        match held {
            Held::Task => &mut self.task,
            Held::Entries => &mut self.entries,
            Held::Work => &mut self.work,
        }
    }

    /// Is there a buffer of that length, or can one be had?
    fn room(&mut self, job: &mut Job, pool: &Pool, held: Held, len: u64) -> bool {
        let has = if self.held == held { job.payload.len() } else { self.place(held).len() };
        if has >= index(len) {
            return true;
        }
        let Some(buffer): Option<Buffer> = pool.take(index(len)) else { return false };
        if self.held == held {
            job.payload = Payload::Own(buffer);
        } else {
            *self.place(held) = Payload::Own(buffer);
        }
        true
    }

    fn stable(&self) -> bool {
        matches!(self.op, StoreOp::Write { stable: true, .. } | StoreOp::WriteSame { stable: true, .. })
    }

    fn answer(&self) -> StoreAnswer {
        match self.op {
            StoreOp::Compare { .. } | StoreOp::CompareSame { .. } => StoreAnswer::Equal,
            _ => StoreAnswer::Done,
        }
    }

    fn offset(&self) -> u64 {
        self.op.start()
    }

    fn len(&self) -> u64 {
        self.op.end().saturating_sub(self.op.start())
    }

    fn block(&self) -> u64 {
        u64::from(self.guard.block.max(1))
    }

    /// Bytes of a block in the payload.
    fn unit(&self) -> usize {
        index(self.block()) + if self.guard.carried { LENGTH } else { 0 }
    }

    fn lba(&self, offset: u64) -> u64 {
        offset / self.block()
    }

    /// Where the entry of a block lies.
    fn entry(&self, offset: u64) -> u64 {
        ENTRIES + self.lba(offset) * ENTRY
    }

    fn entries_of(&self, len: u64) -> u64 {
        len / self.block() * ENTRY
    }
}

/// Lengths here are those of buffers.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// As it is kept, every bit turned over.
fn encode(bytes: [u8; LENGTH]) -> [u8; LENGTH] {
    bytes.map(|byte| !byte)
}

fn decode(kept: &[u8]) -> Information {
    Information::decode(encode(*kept.first_chunk().unwrap_or(&[0; LENGTH])))
}

/// As it was sent.
fn decode_plain(sent: &[u8]) -> Information {
    Information::decode(*sent.first_chunk().unwrap_or(&[0xff; LENGTH]))
}

#[cfg(test)]
#[path = "guarded_tests.rs"]
mod tests;
