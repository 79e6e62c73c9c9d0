//! Carries out what units want: data, store operations, answers.

use std::sync::Arc;

use device::{Errand, Guard, StoreFault, StoreOp, StoreResult};
use iscsi::{CommandEvent, Reply, ReplyData};
use reactor::{Back, Buffer, Driver, Pool};
use scsi::planted::{Bug, is_planted};
use scsi::{Asc, DataIn, Outcome, Sense, Status};
use store::Store;
use target::{Abort, Command, Effect, NexusId, TaskRef, TaskTag};

use super::bundle::pair;
use super::copies::concerns_copy;
use super::receive::carry;
use super::send::release;
use super::{Kind, Server, token};
use crate::hub::{LinkKey, Message, REPORTED_LUNS_DATA_HAS_CHANGED, reactor_of};
use crate::limits::INLINE_BYTES;
use crate::medium::{Job, Owner, Progress};
use crate::model::UnitCell;
use crate::payload::Payload;

/// An operation, and what it does with protection information.
type Guarded = (StoreOp, Option<Box<Guard>>);

/// Operation code of REPORT LUNS.
const REPORT_LUNS: u8 = 0xa0;

/// A task that waits for a buffer.
pub(super) struct Parked {
    link: LinkKey,
    cell: Arc<UnitCell>,
    task: TaskRef,
    need: Need,
}

enum Need {
    Fetch { len: u32, inline: bool },
    Store { op: Guarded, len: usize },
}

impl Need {
    fn len(&self) -> usize {
        match self {
            Need::Fetch { len, .. } => usize::try_from(*len).unwrap_or(usize::MAX),
            Need::Store { len, .. } => *len,
        }
    }
}

impl<D: Driver> Server<D> {
    /// Carries out effects, serves those who wait, and hears the cores, until nothing is left that can go on now.
    pub(super) fn settle(&mut self) {
        self.resume_jobs();
        self.begin_parts();
        loop {
            if let Some((cell, effect)) = self.work.queue.pop_front() {
                self.execute(cell, effect);
            } else if let Some(slot) = self.stirred.pop_front() {
                self.pump(slot);
            } else if !self.unpark() {
                break;
            }
        }
    }

    /// A command of a connection goes to its unit; one for no unit goes to LUN 0, which answers for it.
    pub(super) fn command(&mut self, slot: usize, event: &CommandEvent) {
        let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) else { return };
        self.counters.commands += 1;
        let units = bundle.target.as_ref().map(|entry| &entry.units);
        let unit = units.and_then(|units| units.get(&event.lun.number()?));
        let unit_exists = unit.is_some();
        let cell = unit.or_else(|| units.and_then(|units| units.get(&0))).cloned();
        let reports_luns = event.cdb.as_bytes().first() == Some(&REPORT_LUNS);
        let numbers = units.filter(|_| reports_luns).map(|units| units.keys().copied().collect::<Vec<u64>>()).unwrap_or_default();
        link.task_or_new(event.tag);
        let (Some(cell), Some(nexus)) = (cell, bundle.nexus) else {
            return self.answer(slot, event.tag, Outcome::check(Sense::illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED)), None);
        };
        let Some(task) = link.task(event.tag) else { return };
        task.cell = Some(cell.clone());
        let command = Command {
            nexus,
            tag: TaskTag(event.tag),
            lun: event.lun,
            cdb: event.cdb.as_bytes(),
            attribute: event.attribute,
            data_out: event.data_out,
            data_in: event.data_in,
            luns: &numbers,
            unit_exists,
        };
        self.work.visit(&cell, |unit, now| unit.handle_command(command, now));
        if reports_luns {
            self.inventory_told(slot, nexus, &cell);
        }
    }

    /// REPORT LUNS through one unit tells what REPORTED LUNS DATA HAS CHANGED announces on the others (SPC-4 6.33).
    fn inventory_told(&mut self, slot: usize, nexus: NexusId, asked: &Arc<UnitCell>) {
        let index = self.links.get(slot).and_then(|link| link.bundle);
        let Some(entry) = index.and_then(|index| self.bundles.get(index)?.target.clone()) else { return };
        for cell in entry.units.values().filter(|cell| !Arc::ptr_eq(cell, asked)) {
            cell.lock().clear_attention(nexus, REPORTED_LUNS_DATA_HAS_CHANGED);
        }
    }

    /// The data of a fetch are there.
    pub(super) fn data_ready(&mut self, slot: usize, tag: u32) {
        let Some(task) = self.links.get_mut(slot).and_then(|link| link.task(tag)) else { return };
        let (Some(cell), Some(reference)) = (task.cell.clone(), task.reference) else { return };
        let len = task.inline.take().unwrap_or(0) as usize;
        let payload = std::mem::take(&mut task.payload);
        let data = payload.bytes();
        self.work.visit(&cell, |unit, now| unit.handle_fetched(reference, &data[..len.min(data.len())], now));
        if let Some(task) = self.links.get_mut(slot).and_then(|link| link.task(tag)) {
            task.payload = payload;
        }
    }

    fn execute(&mut self, cell: Arc<UnitCell>, effect: Effect) {
        let Some(nexus) = nexus_of(&effect) else {
            // An errand is carried out where it was found.
            if let Effect::Errand(errand) = effect {
                self.begin_errand(cell, errand);
            }
            return;
        };
        if reactor_of(nexus) != self.index {
            return self.outbox.push_back((reactor_of(nexus), Message::Effect { cell, effect: Box::new(effect) }));
        }
        if concerns_copy(&effect) {
            return self.copy_effect(&cell, effect);
        }
        let index = self.nexuses.get(&nexus.0).copied();
        match (effect, index) {
            (Effect::Fetch { task, len, inline }, Some(_)) => self.fetch(&cell, task, len, inline),
            (Effect::Store { task, op, guard }, Some(_)) => self.store(cell, task, (op, guard)),
            // The nexus is gone, but the unit waits for the end of every operation it asked for.
            (Effect::Store { task, .. }, None) => self.work.visit(&cell, |unit, now| unit.handle_stored(task, Err(StoreFault::Gone), now)),
            // Also for a nexus that is gone: the unit waits for the end.
            (Effect::Persist { task, bytes }, _) => self.hub.persist(cell, task, bytes, self.index),
            (Effect::Respond { task, outcome }, Some(index)) => match self.holder(index, task.tag.0) {
                Some(slot) => self.answer(slot, task.tag.0, outcome, Some(&cell)),
                None => self.forget_lost(index, task.tag.0),
            },
            (Effect::Aborted { task, why }, Some(index)) => match self.holder(index, task.tag.0) {
                Some(slot) => self.aborted(slot, task.tag.0, why, &cell),
                None => self.forget_lost(index, task.tag.0),
            },
            (Effect::FunctionDone { tag, response, .. }, Some(index)) => self.function_done(index, tag.0, response),
            (Effect::Drop { .. }, Some(index)) => {
                for slot in self.members(index) {
                    self.close(slot, true, "cut by a fault rule");
                }
            }
            (_, _) => {}
        }
    }

    /// Begins what a unit does on its own; at the end of the daemon, nothing.
    fn begin_errand(&mut self, cell: Arc<UnitCell>, errand: Errand) {
        if self.stopping {
            return;
        }
        self.counters.store_operations += 1;
        let number = errand.number;
        let Some(store) = cell.store() else {
            return self.work.visit(&cell, |unit, now| unit.handle_errand(number, Err(StoreFault::Gone), now));
        };
        let job = Job::new(Owner::Unit { number }, cell, store, (errand.op, errand.guard), Payload::Kept(errand.payload));
        let slot = self.jobs.insert(Some(job));
        // Not at once: a unit with much to do on its own shares the reactor with everybody's commands.
        self.runnable.push_back(slot);
    }

    /// The connection of a session that has a task.
    fn holder(&self, index: usize, tag: u32) -> Option<usize> {
        self.bundles.get(index)?.holder(&self.links, tag)
    }

    /// Brings the first `len` bytes of a task's data-out.
    pub(super) fn fetch(&mut self, cell: &Arc<UnitCell>, reference: TaskRef, len: u32, inline: bool) {
        let Some((slot, key, task)) = self.find(reference) else { return };
        task.reference = Some(reference);
        task.inline = inline.then_some(len);
        if task.away {
            task.wanted = Some(len);
            return;
        }
        if task.payload.len() < len as usize {
            let need = Need::Fetch { len, inline };
            return self.acquire(Parked { link: key, cell: cell.clone(), task: reference, need });
        }
        self.fetch_into_place(slot, reference.tag.0, len);
    }

    fn fetch_into_place(&mut self, slot: usize, tag: u32, len: u32) {
        if let Some((_, bundle)) = pair(&mut self.links, &mut self.bundles, slot) {
            bundle.core.fetch(tag, len);
        }
        self.stir(slot);
    }

    /// Begins a store operation.
    fn store(&mut self, cell: Arc<UnitCell>, reference: TaskRef, op: Guarded) {
        let Some((slot, key, task)) = self.find(reference) else {
            return self.work.visit(&cell, |unit, now| unit.handle_stored(reference, Err(StoreFault::Gone), now));
        };
        task.reference = Some(reference);
        if let StoreOp::Read { len, .. } = op.0 {
            let wire = op.1.as_ref().map_or(u64::from(len), |guard| guard.wire(len.into()));
            let len = usize::try_from(wire).unwrap_or(usize::MAX);
            if task.payload.own().is_none_or(|buffer| buffer.len() < len) {
                release(&mut task.payload);
                return self.acquire(Parked { link: key, cell, task: reference, need: Need::Store { op, len } });
            }
        }
        let payload = std::mem::take(&mut task.payload);
        self.begin_job(slot, cell, reference, op, payload);
    }

    fn begin_job(&mut self, slot: usize, cell: Arc<UnitCell>, reference: TaskRef, op: Guarded, payload: Payload) {
        self.counters.store_operations += 1;
        let kept = self.find(reference).and_then(|(_, _, task)| task.store.take());
        let (Some(store), Some(link)) = (kept.or_else(|| cell.store()), self.links.get_mut(slot)) else {
            self.give_back(reference, payload, None);
            return self.work.visit(&cell, |unit, now| unit.handle_stored(reference, Err(StoreFault::Gone), now));
        };
        let owner = Owner::Task { task: reference, link: link.key };
        let job = Job::new(owner, cell, store, op, payload);
        link.jobs += 1;
        let slot = self.jobs.insert(Some(job));
        self.run_job(slot);
    }

    fn run_job(&mut self, slot: usize) {
        let Some(mut job) = self.jobs.get_mut(slot).and_then(Option::take) else { return };
        let mut budget = INLINE_BYTES;
        match job.run(&mut self.driver, token(Kind::Job, slot), &self.pools.landing, &mut budget) {
            Progress::Done(result) => {
                self.jobs.remove(slot);
                return self.end_job(job, result);
            }
            Progress::Submitted => {}
            Progress::Paused => self.runnable.push_back(slot),
            Progress::Starved => self.starved.push_back(slot),
        }
        self.jobs[slot] = Some(job);
    }

    /// Jobs that paused, or had no buffer, go on.
    fn resume_jobs(&mut self) {
        self.runnable.append(&mut self.starved);
        for _ in 0..self.runnable.len() {
            let Some(slot) = self.runnable.pop_front() else { return };
            self.run_job(slot);
        }
    }

    /// The driver has executed a piece of a job.
    pub(super) fn stored(&mut self, slot: usize, result: Result<usize, i32>, back: Back) {
        let Some(job) = self.jobs.get_mut(slot).and_then(Option::as_mut) else { return };
        match job.complete(result, back) {
            None => self.run_job(slot),
            Some(result) => {
                if let Some(job) = self.jobs.remove(slot) {
                    self.end_job(job, result);
                }
            }
        }
    }

    fn end_job(&mut self, mut job: Job, result: StoreResult) {
        let payload = std::mem::take(&mut job.payload);
        let (task, key) = match job.owner {
            Owner::Task { task, link } => (task, link),
            Owner::Unit { number } => return self.work.visit(&job.cell, |unit, now| unit.handle_errand(number, result, now)),
        };
        self.give_back(task, payload, Some(job.store().clone()));
        self.work.visit(&job.cell, |unit, now| unit.handle_stored(task, result, now));
        let slot = key.slot as usize;
        if let Some(link) = self.links.get_mut(slot).filter(|link| link.key == key) {
            link.jobs -= 1;
        }
        drop(job);
        self.try_forget(slot);
    }

    /// A payload returns to its task, if that still lives, and the store with it.
    fn give_back(&mut self, reference: TaskRef, payload: Payload, store: Option<Arc<dyn Store>>) {
        if let Some((_, _, task)) = self.find(reference) {
            task.payload = payload;
            task.store = store;
        }
    }

    /// The task a unit speaks of, and its connection. Two tasks of a session never have one tag at a time.
    fn find(&mut self, reference: TaskRef) -> Option<(usize, LinkKey, &mut super::link::Task)> {
        let index = *self.nexuses.get(&reference.nexus.0)?;
        let slot = if reference.part { self.any_member(index)? } else { self.holder(index, reference.tag.0)? };
        let link = self.links.get_mut(slot)?;
        let key = link.key;
        let task = match reference.part {
            true => &mut self.copies.get_mut(usize::try_from(reference.tag.0).ok()?)?.payload,
            false => link.task(reference.tag.0)?,
        };
        Some((slot, key, task))
    }

    /// Gets a buffer for what waits, or puts it in line.
    fn acquire(&mut self, parked: Parked) {
        let len = parked.need.len();
        if Pool::cost(len).is_none() {
            return self.refuse(parked);
        }
        let buffer = if self.parked.is_empty() { self.pools.payload.take(len) } else { None };
        match buffer {
            Some(buffer) => self.proceed(parked, buffer),
            None => {
                self.counters.parked += 1;
                self.parked.push_back(parked);
            }
        }
    }

    /// Serves the one that waits longest: from the pool, or else from the reserve. True: something went on.
    fn unpark(&mut self) -> bool {
        let Some(first) = self.parked.front() else { return false };
        let (key, reference, len) = (first.link, first.task, first.need.len());
        let alive = self.find(reference).is_some_and(|(_, link, task)| link == key && task.reference == Some(reference));
        let mut buffer = if alive { self.pools.payload.take(len) } else { None };
        if alive && buffer.is_none() {
            self.give_kept_back();
            buffer = self.pools.payload.take(len).or_else(|| self.pools.reserve.take(len));
        }
        if alive && buffer.is_none() {
            return false;
        }
        match (self.parked.pop_front(), buffer) {
            (Some(parked), Some(buffer)) => self.proceed(parked, buffer),
            (Some(parked), None) => self.refuse(parked),
            (None, _) => {}
        }
        true
    }

    /// Commands that wait for a buffer come before data that an initiator might ask for again.
    fn give_kept_back(&mut self) {
        if self.keeps {
            for (_, link) in &mut self.links {
                let bundle = link.bundle.and_then(|index| self.bundles.get_mut(index));
                if let Some(core) = bundle.and_then(|bundle| bundle.core.at(link.seat)) {
                    while link.let_go(core) {}
                }
            }
        }
    }

    /// There never will be a buffer.
    fn refuse(&mut self, parked: Parked) {
        match parked.need {
            Need::Store { .. } => self.work.visit(&parked.cell, |unit, now| unit.handle_stored(parked.task, Err(StoreFault::Gone), now)),
            Need::Fetch { .. } => {
                let slot = self.find(parked.task).map(|(slot, _, _)| slot);
                if let Some(slot) = slot {
                    self.close(slot, true, "a command wants more data than any buffer holds");
                }
            }
        }
    }

    fn proceed(&mut self, parked: Parked, mut buffer: Buffer) {
        let Some((slot, _, task)) = self.find(parked.task) else { return self.refuse(parked) };
        match parked.need {
            Need::Store { op, .. } => self.begin_job(slot, parked.cell, parked.task, op, Payload::Own(buffer)),
            Need::Fetch { len, inline } => {
                if task.away {
                    // Its first bytes are just being received into the old buffer: asked again when that is back.
                    task.wanted = Some(len);
                    task.inline = inline.then_some(len);
                    return;
                }
                let moved = carry(task.payload.bytes(), &mut buffer);
                task.payload = Payload::Own(buffer);
                self.counters.moved_bytes += moved;
                self.fetch_into_place(slot, parked.task.tag.0, len);
            }
        }
    }

    fn aborted(&mut self, slot: usize, tag: u32, why: Abort, cell: &Arc<UnitCell>) {
        match why {
            Abort::ByOwnNexus if is_planted(Bug::AbortedIsAnswered) => self.answer(slot, tag, Outcome::status(Status::TASK_ABORTED), Some(cell)),
            Abort::ByOther { respond: true } => self.answer(slot, tag, Outcome::status(Status::TASK_ABORTED), Some(cell)),
            // The connection lives, so it is the unit that went.
            Abort::NexusLost => self.answer(slot, tag, Outcome::check(Sense::illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED)), Some(cell)),
            Abort::ByOwnNexus | Abort::ByOther { respond: false } => {
                if let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) {
                    link.remove_task(tag);
                    bundle.core.forget(tag);
                }
                self.stir(slot);
            }
        }
    }

    /// Ends a task with an answer.
    fn answer(&mut self, slot: usize, tag: u32, outcome: Outcome, cell: Option<&Arc<UnitCell>>) {
        let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) else { return };
        let Some(task) = link.task(tag) else { return };
        self.counters.responses += 1;
        let sense = match &outcome.sense {
            Some(sense) => sense.encode(cell.map_or(scsi::SenseFormat::Fixed, |cell| cell.lock().device().sense_format())),
            None => Vec::new(),
        };
        let data_in = match outcome.data_in {
            DataIn::None => ReplyData::None,
            DataIn::Inline(bytes) => ReplyData::Inline(bytes),
            DataIn::Payload { len: 0 } => ReplyData::None,
            DataIn::Payload { len } => ReplyData::Task { len },
        };
        if matches!(data_in, ReplyData::Task { .. }) {
            task.payload.share();
        } else {
            link.remove_task(tag);
        }
        bundle.core.respond(tag, Reply { status: outcome.status.0, sense, data_in, data_out: outcome.data_out });
        self.stir(slot);
    }
}

/// Whose reactor carries it out; `None`: any.
fn nexus_of(effect: &Effect) -> Option<NexusId> {
    Some(match effect {
        Effect::Fetch { task, .. } | Effect::Store { task, .. } | Effect::Respond { task, .. } | Effect::Aborted { task, .. } => task.nexus,
        Effect::Persist { task, .. } | Effect::Survey { task, .. } | Effect::Part { task, .. } | Effect::CancelPart { task } => task.nexus,
        Effect::CopyMoved { task, .. } | Effect::DeleteToken { task, .. } | Effect::CopyEnded { task } => task.nexus,
        Effect::FunctionDone { nexus, .. } | Effect::Drop { nexus } => *nexus,
        Effect::Errand(_) => return None,
    })
}
