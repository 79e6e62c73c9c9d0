//! Third-party copies of the unit to itself.

use scsi::TaskAttribute;
use target::{Answer, Effect, PartEnd, Question, TaskRef, TaskTag};

use super::{PART, Running, Shell};

impl Shell {
    /// What a copy wants. Every unit that it asks for is this one.
    pub(super) fn copy(&mut self, effect: Effect) {
        match effect {
            Effect::Survey { task, questions } => {
                self.copies.push(Some((task, false)));
                let answer = |question: &Question| match question {
                    Question::Unit(name) => self.unit.facts(name).map(Answer::Unit),
                    Question::Token(token) => self.unit.redeem(token, self.now),
                };
                let answers = questions.iter().map(answer).map(|answer| answer.unwrap_or(Answer::Nobody)).collect();
                // No secrets here: a copy of a token made by the first seeds is a good one.
                self.unit.handle_surveyed(task, answers, [7; 32], self.now);
            }
            Effect::Part { task, command, .. } => {
                let at = self.copy_of(task);
                assert_eq!(self.copies[at].replace((task, true)), Some((task, false)), "two parts at once");
                let tag = TaskTag(at as u32);
                let cdb = command.cdb.to_vec();
                let payload = vec![0; command.data_out.max(command.data_in) as usize];
                let (attribute, data_out) = (TaskAttribute::Simple, command.data_out);
                let running = Running { cdb, data_out, payload, fetched: 0, filled: 0, owed: false, attribute, lane: None, started: true };
                self.running.insert((task.nexus, TaskTag(tag.0 | PART)), running);
                self.unit.handle_part(task.nexus, tag, &command, self.now);
                if !self.nexuses.contains(&task.nexus) {
                    self.running.remove(&(task.nexus, TaskTag(tag.0 | PART)));
                }
            }
            Effect::CancelPart { task } => {
                if let Some(at) = self.copies.iter().position(|copy| copy.is_some_and(|(copy, part)| copy == task && part)) {
                    self.unit.cancel_part(task.nexus, TaskTag(at as u32), self.now);
                }
            }
            Effect::CopyMoved { task, into } => {
                let at = self.copy_of(task);
                self.copies[at] = Some((into, false));
            }
            Effect::DeleteToken { token, .. } => self.unit.delete_token(token),
            Effect::CopyEnded { task } => {
                let at = self.copy_of(task);
                assert_eq!(self.copies[at].take(), Some((task, false)), "a copy ended before its part");
            }
            other => panic!("{other:?}"),
        }
    }

    fn copy_of(&self, task: TaskRef) -> usize {
        self.copies.iter().position(|copy| copy.is_some_and(|(copy, _)| copy == task)).expect("a copy that was surveyed")
    }

    pub(super) fn part_ended(&mut self, part: TaskRef, end: PartEnd) {
        if part.part {
            let copy = self.copies[part.tag.0 as usize].as_mut().expect("a part of no copy");
            assert!(copy.1, "a second end of a part");
            copy.1 = false;
            let task = copy.0;
            self.unit.handle_part_ended(task, end, self.now);
        }
    }
}
