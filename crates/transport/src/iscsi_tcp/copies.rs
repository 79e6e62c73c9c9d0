//! Third-party copies: brings their parts to other units, and the answers back.
//!
//! A copy lives on the reactor of its nexus, as all tasks of that do. Its payload is one buffer, which its parts fill and empty by turns. Parts begin once a turn, so
//! that a copy between stores that answer at once does not keep others waiting.

use std::sync::Arc;

use reactor::Driver;
use target::{Abort, Answer, Effect, NexusId, PartCommand, PartEnd, PartUnit, Question, TaskRef, TaskTag};

use super::Server;
use super::link::Task;
use crate::model::UnitCell;

/// A copy under way.
pub(super) struct Copy {
    /// The unit that has it, and its name there.
    cell: Arc<UnitCell>,
    task: TaskRef,
    /// The units that answered the survey, one for each question.
    units: Vec<Option<Arc<UnitCell>>>,
    /// The unit that has its part.
    part: Option<Arc<UnitCell>>,
    /// A part that has not begun.
    next: Option<(Arc<UnitCell>, Box<PartCommand>)>,
    /// The payload, and what a part's store operation needs to be found again.
    pub payload: Task,
}

impl Copy {
    fn nexus(&self) -> NexusId {
        self.task.nexus
    }
}

impl<D: Driver> Server<D> {
    /// Carries out what a copy wants. Nothing of it asks whether the connection still lives: copies end with their units' tasks.
    pub(super) fn copy_effect(&mut self, cell: &Arc<UnitCell>, effect: Effect) {
        match effect {
            Effect::Survey { task, questions } => self.survey(cell, task, &questions),
            Effect::Part { task, unit, command } => self.queue_part(cell, task, unit, command),
            Effect::CancelPart { task } => self.cancel_part(cell, task),
            Effect::CopyMoved { task, into } => {
                if let Some(copy) = self.copy_of(cell, task).and_then(|slot| self.copies.get_mut(slot)) {
                    copy.task = into;
                }
            }
            Effect::DeleteToken { task, token } => {
                let copy = self.copy_of(cell, task).and_then(|slot| self.copies.get(slot));
                if let Some(Some(maker)) = copy.and_then(|copy| copy.units.first()).cloned() {
                    self.work.visit(&maker, |unit, _| unit.delete_token(token));
                }
            }
            Effect::CopyEnded { task } => {
                if let Some(slot) = self.copy_of(cell, task) {
                    self.copies.remove(slot);
                }
            }
            Effect::Respond { task, outcome } => self.part_ended(task, PartEnd::Outcome(outcome)),
            Effect::Aborted { task, why } => self.part_ended(task, PartEnd::Aborted(why)),
            Effect::Fetch { task, len, inline } => self.part_fetches(cell, task, len, inline),
            Effect::Persist { .. } | Effect::Store { .. } | Effect::Errand(_) | Effect::FunctionDone { .. } | Effect::Drop { .. } => {}
        }
    }

    /// Parts that wait for this turn begin.
    pub(super) fn begin_parts(&mut self) {
        for _ in 0..self.parts.len() {
            let Some(slot) = self.parts.pop_front() else { return };
            let Some(copy) = self.copies.get_mut(slot) else { continue };
            let Some((unit, command)) = copy.next.take() else { continue };
            copy.part = Some(unit.clone());
            (copy.payload.store, copy.payload.reference) = (None, None);
            let (nexus, tag) = (copy.nexus(), tag(slot));
            self.work.visit(&unit, |unit, now| unit.handle_part(nexus, tag, &command, now));
        }
    }

    /// Looks at the units that the nexus can reach: those of its session's target. Each is held alone, one after the other.
    fn survey(&mut self, cell: &Arc<UnitCell>, task: TaskRef, questions: &[Question]) {
        let bundle = self.nexuses.get(&task.nexus.0).and_then(|index| self.bundles.get(*index));
        let target = bundle.and_then(|bundle| bundle.target.clone());
        let mut found: Vec<Vec<(Arc<UnitCell>, Answer)>> = questions.iter().map(|_| Vec::new()).collect();
        let asks = !questions.is_empty();
        for cell in target.iter().flat_map(|entry| entry.units.values()).filter(|_| asks) {
            let mut unit = cell.lock();
            for (question, found) in questions.iter().zip(&mut found) {
                let answer = match question {
                    Question::Unit(name) => unit.facts(name).map(Answer::Unit),
                    Question::Token(token) => unit.redeem(token, self.work.now),
                };
                found.extend(answer.map(|answer| (cell.clone(), answer)));
            }
        }
        let only = |mut found: Vec<(Arc<UnitCell>, Answer)>| if found.len() == 1 { found.pop() } else { None };
        let (units, answers) =
            found.into_iter().map(only).map(|found| found.map_or((None, Answer::Nobody), |(cell, answer)| (Some(cell), answer))).unzip();
        self.copies.insert(Copy { cell: cell.clone(), task, units, part: None, next: None, payload: Task::default() });
        let entropy = (self.entropy)();
        self.work.visit(cell, |unit, now| unit.handle_surveyed(task, answers, entropy, now));
    }

    fn queue_part(&mut self, cell: &Arc<UnitCell>, task: TaskRef, unit: PartUnit, command: Box<PartCommand>) {
        let slot = self.copy_of(cell, task);
        if let Some((slot, copy)) = slot.and_then(|slot| Some((slot, self.copies.get_mut(slot)?))) {
            let unit = match unit {
                PartUnit::This => Some(cell.clone()),
                PartUnit::Surveyed(at) => copy.units.get(at).cloned().flatten(),
            };
            if let Some(unit) = unit {
                copy.next = Some((unit, command));
                return self.parts.push_back(slot);
            }
        }
        self.work.visit(cell, |unit, now| unit.handle_part_ended(task, PartEnd::Aborted(Abort::NexusLost), now));
    }

    fn cancel_part(&mut self, cell: &Arc<UnitCell>, task: TaskRef) {
        let Some(slot) = self.copy_of(cell, task) else { return };
        let Some(copy) = self.copies.get_mut(slot) else { return };
        if copy.next.take().is_some() {
            return self.work.visit(cell, |unit, now| unit.handle_part_ended(task, PartEnd::Aborted(Abort::ByOwnNexus), now));
        }
        if let Some(unit) = copy.part.clone() {
            self.work.visit(&unit, |unit, now| unit.cancel_part(task.nexus, tag(slot), now));
        }
    }

    fn part_ended(&mut self, part: TaskRef, end: PartEnd) {
        let Some(copy) = usize::try_from(part.tag.0).ok().and_then(|slot| self.copies.get_mut(slot)) else { return };
        copy.part = None;
        let (cell, task) = (copy.cell.clone(), copy.task);
        self.work.visit(&cell, |unit, now| unit.handle_part_ended(task, end, now));
    }

    /// What a part takes was put into the payload by the part before it.
    fn part_fetches(&mut self, cell: &Arc<UnitCell>, part: TaskRef, len: u32, inline: bool) {
        let slot = usize::try_from(part.tag.0).unwrap_or(usize::MAX);
        let Some(copy) = self.copies.get_mut(slot) else { return };
        let payload = std::mem::take(&mut copy.payload.payload);
        let data = payload.bytes().get(..len as usize).filter(|_| inline).unwrap_or_default();
        self.work.visit(cell, |unit, now| unit.handle_fetched(part, data, now));
        if let Some(copy) = self.copies.get_mut(slot) {
            copy.payload.payload = payload;
        }
    }

    fn copy_of(&self, cell: &Arc<UnitCell>, task: TaskRef) -> Option<usize> {
        self.copies.iter().find(|(_, copy)| copy.task == task && Arc::ptr_eq(&copy.cell, cell)).map(|(slot, _)| slot)
    }
}

/// The name of a copy for its parts.
fn tag(slot: usize) -> TaskTag {
    TaskTag(u32::try_from(slot).unwrap_or(u32::MAX))
}

/// Is it for [`Server::copy_effect`]? Store operations of parts go the way of all others.
pub(super) fn concerns_copy(effect: &Effect) -> bool {
    match effect {
        Effect::Survey { .. }
        | Effect::Part { .. }
        | Effect::CancelPart { .. }
        | Effect::CopyMoved { .. }
        | Effect::DeleteToken { .. }
        | Effect::CopyEnded { .. } => true,
        Effect::Respond { task, .. } | Effect::Aborted { task, .. } | Effect::Fetch { task, .. } => task.part,
        Effect::Persist { .. } | Effect::Store { .. } | Effect::Errand(_) | Effect::FunctionDone { .. } | Effect::Drop { .. } => false,
    }
}
