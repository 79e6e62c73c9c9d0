//! The rules of one unit, and the decision.

use alloc::vec::Vec;

use crate::draw;
use crate::journal::{Entry, Journal};
use crate::rule::{Percent, RuleId, RuleSpec, RuleView, Stage, Subject, Verdict};

/// A rule with its count: what outlives the unit it was for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRule {
    /// Number.
    pub id: RuleId,
    /// As written.
    pub spec: RuleSpec,
    /// Times it fired.
    pub fired: u64,
}

/// The rules of one unit, in order of creation, and the journal of what they decided. Lives in the unit's lock; without rules it costs one branch.
#[derive(Clone, Debug)]
pub struct Rules {
    seed: u64,
    rules: Vec<StoredRule>,
    journal: Journal,
}

impl Rules {
    /// No rules. `seed` is for the rules that bring none of their own.
    pub const fn new(seed: u64) -> Rules {
        Rules { seed, rules: Vec::new(), journal: Journal::new() }
    }

    /// The seed of rules without one of their own.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// True without rules.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Adds a rule that never fired. A rule with the same number is replaced.
    pub fn insert(&mut self, id: RuleId, spec: RuleSpec) {
        self.restore(StoredRule { id, spec, fired: 0 });
    }

    /// Adds a rule with its count, in its place among the others. A rule with the same number is replaced.
    pub fn restore(&mut self, rule: StoredRule) {
        match self.rules.binary_search_by_key(&rule.id, |rule| rule.id) {
            Ok(at) => self.rules[at] = rule,
            Err(at) => self.rules.insert(at, rule),
        }
    }

    /// Takes all rules out, with their counts: the unit goes, they stay. The journal is not touched.
    pub fn drain(&mut self) -> Vec<StoredRule> {
        core::mem::take(&mut self.rules)
    }

    /// Removes a rule; false when there is none with this number.
    pub fn remove(&mut self, id: RuleId) -> bool {
        let found = self.rules.binary_search_by_key(&id, |rule| rule.id);
        found.map(|at| self.rules.remove(at)).is_ok()
    }

    /// Removes all rules and tells how many there were.
    pub fn clear(&mut self) -> usize {
        self.drain().len()
    }

    /// The rules with their counts, in order of creation. A healed rule is among them.
    pub fn views(&self) -> Vec<RuleView> {
        self.rules.iter().map(|rule| RuleView { id: rule.id, spec: rule.spec.clone(), fired: rule.fired }).collect()
    }

    /// The first rule, in order of creation, that fires for `subject` at `stage`. It is counted, and written down with `now_ns`, which decides nothing.
    #[inline]
    pub fn decide(&mut self, stage: Stage, subject: &Subject<'_>, now_ns: u64) -> Option<Verdict> {
        if self.rules.is_empty() { None } else { self.try_rules(stage, subject, now_ns) }
    }

    #[cold]
    fn try_rules(&mut self, stage: Stage, subject: &Subject<'_>, now_ns: u64) -> Option<Verdict> {
        let seed = self.seed;
        let rule = self.rules.iter_mut().find(|rule| rule.fires(stage, subject, seed))?;
        rule.fired = rule.fired.saturating_add(1);
        let (id, pause_ms, action) = (rule.id, rule.spec.pause_ms, rule.spec.deed());
        let event = self.journal.record(|event| Entry {
            event,
            rule: id,
            nexus: subject.nexus,
            ordinal: subject.ordinal,
            at_ns: now_ns,
            operation: subject.row.word,
            range: subject.range,
            stage,
            pause_ms,
            outcome: action,
        });
        Some(Verdict { rule: id, event, pause_ms, action })
    }

    /// A rule as written.
    pub fn spec(&self, id: RuleId) -> Option<&RuleSpec> {
        self.rules.iter().find(|rule| rule.id == id).map(|rule| &rule.spec)
    }

    /// What was decided so far.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Takes what was decided since the last call; the numbering goes on.
    pub fn take_journal(&mut self) -> Vec<Entry> {
        self.journal.take()
    }
}

impl StoredRule {
    /// True when the rule fired as often as it may.
    pub const fn is_healed(&self) -> bool {
        self.spec.repeat != 0 && self.fired >= self.spec.repeat
    }

    fn fires(&self, stage: Stage, subject: &Subject<'_>, seed: u64) -> bool {
        self.spec.acts_at(stage, subject) && !self.is_healed() && self.spec.matches(subject) && self.hits(subject, seed)
    }

    fn hits(&self, subject: &Subject<'_>, seed: u64) -> bool {
        match self.spec.percent {
            Percent::ALWAYS => true,
            percent => percent.hits(draw::draw(self.spec.seed.unwrap_or(seed), self.id, subject.key())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::parse;
    use crate::journal::{self, Replay};
    use crate::rule::{Action, EventId};
    use proptest::prelude::*;
    use scsi::command::by_word;
    use scsi::{Asc, BlockCount, BlockRange, Lba, Sense, SenseKey, Status};
    use std::vec;

    fn subject(word: &str, range: Option<(u64, u64)>, nexus: u64, ordinal: u64) -> Subject<'static> {
        let row = by_word(word).unwrap();
        let range = range.map(|(start, count)| BlockRange { start: Lba(start), count: BlockCount(count) });
        Subject { nexus, ordinal, row, cdb: &[], range }
    }

    fn rules(texts: &[&str]) -> Rules {
        let mut rules = Rules::new(7);
        for (id, text) in (0..).zip(texts) {
            rules.insert(RuleId(id), parse(text).unwrap());
        }
        rules
    }

    fn fires(rules: &mut Rules, word: &str, range: Option<(u64, u64)>) -> Option<u64> {
        rules.decide(Stage::Arrival, &subject(word, range, 1, 0), 0).map(|verdict| verdict.rule.0)
    }

    #[test]
    fn ends_of_the_range_are_exact() {
        let mut rules = rules(&["op=WRITE10,lba=8,len=8,key=3,asc=0x0c02"]);
        for (start, count, hit) in [
            (7, 1, false),
            (0, 8, false),
            (7, 2, true),
            (8, 1, true),
            (15, 1, true),
            (15, 100, true),
            (16, 1, false),
            (0, 100, true),
            (10, 0, false),
            (u64::MAX, 1, false),
        ] {
            assert_eq!(fires(&mut rules, "WRITE10", Some((start, count))).is_some(), hit, "{start}+{count}");
        }
        assert_eq!(fires(&mut rules, "WRITE10", None), None, "no range, no match");
        assert_eq!(fires(&mut rules, "WRITE16", Some((8, 1))), None, "the word names one CDB");
    }

    #[test]
    fn a_rule_to_the_end_covers_the_end() {
        let mut rules = rules(&["op=READ,lba=1000,action=BUSY"]);
        assert_eq!(fires(&mut rules, "READ16", Some((999, 1))), None);
        assert_eq!(fires(&mut rules, "READ16", Some((999, 2))), Some(0));
        assert_eq!(fires(&mut rules, "READ6", Some((u64::MAX - 1, 1))), Some(0));
    }

    #[test]
    fn the_verdict_says_what_the_rule_says() {
        let mut rules = rules(&["op=WRITE,pause=2,key=3,asc=0x0c02", "op=READ,action=HANG"]);
        let verdict = rules.decide(Stage::Arrival, &subject("WRITE6", Some((0, 1)), 1, 0), 5).unwrap();
        let sense = Sense::new(SenseKey(3), Asc(0x0c02));
        assert_eq!(verdict, Verdict { rule: RuleId(0), event: EventId(0), pause_ms: 2000, action: Action::CheckCondition(sense) });
        let verdict = rules.decide(Stage::Arrival, &subject("READ6", Some((0, 1)), 1, 1), 6).unwrap();
        assert_eq!((verdict.event, verdict.action), (EventId(1), Action::Hang));
        let entries = rules.take_journal();
        assert_eq!(entries.iter().map(|entry| (entry.operation, entry.at_ns)).collect::<Vec<_>>(), [("WRITE6", 5), ("READ6", 6)]);
        assert!(rules.journal().is_empty());
        for (action, status) in [
            ("BUSY", Status::BUSY),
            ("TASK_SET_FULL", Status::TASK_SET_FULL),
            ("RESERVATION_CONFLICT", Status::RESERVATION_CONFLICT),
            ("TASK_ABORTED", Status::TASK_ABORTED),
        ] {
            let text = std::format!("op=READ,action={action}");
            assert_eq!(parse(&text).unwrap().deed(), Action::Status(status));
        }
    }

    #[test]
    fn rules_are_tried_in_order_of_creation() {
        let mut both = rules(&["op=WRITE10,repeat=1,action=BUSY", "op=WRITE,action=HANG"]);
        assert_eq!(fires(&mut both, "WRITE10", Some((0, 1))), Some(0));
        assert_eq!(fires(&mut both, "WRITE10", Some((0, 1))), Some(1), "the first is healed");
        let mut late = Rules::new(7);
        for id in [5, 2, 9] {
            late.insert(RuleId(id), parse("op=WRITE,action=BUSY").unwrap());
        }
        assert_eq!(late.views().iter().map(|view| view.id.0).collect::<Vec<_>>(), [2, 5, 9]);
        assert_eq!(fires(&mut late, "WRITE10", Some((0, 1))), Some(2));
    }

    #[test]
    fn a_rule_heals_and_is_still_shown() {
        let mut rules = rules(&["op=WRITE10,repeat=3,action=BUSY"]);
        let hits = (0..10).filter(|_| fires(&mut rules, "WRITE10", Some((0, 1))).is_some()).count();
        assert_eq!((hits, rules.views()[0].fired, rules.is_empty()), (3, 3, false));
        assert_eq!(rules.journal().len(), 3);
        let mut moved = Rules::new(7);
        for rule in rules.drain() {
            moved.restore(rule);
        }
        assert!(rules.is_empty());
        assert_eq!(fires(&mut moved, "WRITE10", Some((0, 1))), None, "the count moves with the rule");
    }

    #[test]
    fn only_its_own_stage_fires() {
        let mut rules = rules(&["op=WRITE10,action=BUSY"]);
        for stage in Stage::ALL {
            let fired = rules.decide(stage, &subject("WRITE10", Some((0, 1)), 1, 0), 0).is_some();
            assert_eq!(fired, stage == Stage::Arrival, "{stage:?}");
        }
    }

    #[test]
    fn blocks_of_commands_that_have_none_are_those_of_their_work() {
        let works = Some((100, 50));
        for (text, stage) in [
            ("op=SANITIZE_BLOCK_ERASE,lba=149,len=1,key=3,asc=0x0c02", Some(Stage::Store)),
            ("op=SANITIZE_BLOCK_ERASE,lba=150,len=1,key=3,asc=0x0c02", None),
            ("op=0x48,lba=0,len=101,key=3,asc=0x0c02", Some(Stage::Store)),
            ("op=SANITIZE_BLOCK_ERASE,key=3,asc=0x0c02", Some(Stage::Arrival)),
            ("op=SANITIZE_OVERWRITE,lba=149,len=1,key=3,asc=0x0c02", None),
        ] {
            let mut rules = rules(&[text]);
            let fires = |stage: &Stage| rules.decide(*stage, &subject("SANITIZE_BLOCK_ERASE", works, 1, 0), 0).is_some();
            assert_eq!(Stage::ALL.into_iter().find(fires), stage, "{text}");
        }
    }

    #[test]
    fn never_and_always() {
        let mut rules = rules(&["op=WRITE10,pct=0,action=BUSY", "op=READ10,pct=100,action=BUSY"]);
        for ordinal in 0..2000 {
            assert_eq!(rules.decide(Stage::Arrival, &subject("WRITE10", Some((0, 1)), 1, ordinal), 0), None);
            assert!(rules.decide(Stage::Arrival, &subject("READ10", Some((0, 1)), 1, ordinal), 0).is_some());
        }
    }

    #[test]
    fn removing() {
        let mut rules = rules(&["op=WRITE10,action=BUSY", "op=READ10,action=BUSY", "op=0x2a,action=HANG"]);
        assert!(rules.remove(RuleId(0)) && !rules.remove(RuleId(0)) && !rules.remove(RuleId(9)));
        assert_eq!(fires(&mut rules, "WRITE10", Some((0, 1))), Some(2), "an operation code is a pattern too");
        assert_eq!(rules.clear(), 2);
        assert_eq!(fires(&mut rules, "WRITE10", Some((0, 1))), None);
    }

    #[test]
    fn seeds_make_the_difference() {
        let pattern = |seed: u64, text: &str| -> Vec<bool> {
            let mut rules = Rules::new(seed);
            rules.insert(RuleId(0), parse(text).unwrap());
            (0..64).map(|ordinal| rules.decide(Stage::Arrival, &subject("WRITE10", Some((0, 1)), 1, ordinal), 0).is_some()).collect()
        };
        assert_eq!(pattern(1, "op=WRITE,pct=50,action=BUSY"), pattern(1, "op=WRITE,pct=50,action=BUSY"));
        assert_ne!(pattern(1, "op=WRITE,pct=50,action=BUSY"), pattern(2, "op=WRITE,pct=50,action=BUSY"));
        assert_eq!(pattern(1, "op=WRITE,pct=50,seed=9,action=BUSY"), pattern(2, "op=WRITE,pct=50,seed=9,action=BUSY"));
    }

    #[test]
    fn a_journal_replays() {
        let mut first = rules(&["op=WRITE,pct=30,repeat=5,key=3,asc=0x0c02", "op=WRITE,pct=20,pause=0.5,action=BUSY"]);
        let commands: Vec<_> = (0..100).map(|number| subject("WRITE10", Some((number, 1)), number % 3, number / 3)).collect();
        let decided: Vec<_> = commands.iter().map(|command| first.decide(Stage::Arrival, command, 0)).collect();
        let text = journal::write(first.journal().entries());
        let replay = Replay::new(&journal::read(&text).unwrap());
        // Backwards: the counts, which follow arrival order, must not matter any more.
        let replayed: Vec<_> = commands.iter().rev().map(|command| replay.decide(Stage::Arrival, command)).collect();
        assert_eq!(replayed.into_iter().rev().collect::<Vec<_>>(), decided);
        assert_eq!(replay.decide(Stage::Reply, &commands[0]), None);
    }

    proptest! {
        /// Commands of several nexuses, interleaved in any order: each is decided the same.
        #[test]
        fn order_across_nexuses_does_not_matter(seed: u64, order in Just((0u64..60).collect::<Vec<_>>()).prop_shuffle()) {
            let decide = |order: &[u64]| {
                let mut rules = Rules::new(seed);
                rules.insert(RuleId(4), parse("op=WRITE,pct=37.5,action=BUSY").unwrap());
                rules.insert(RuleId(6), parse("op=WRITE,pct=50,action=HANG").unwrap());
                let mut decided = vec![None; 60];
                for &number in order {
                    let verdict = rules.decide(Stage::Arrival, &subject("WRITE10", Some((number, 8)), number % 4, number / 4), number);
                    decided[number as usize] = verdict.map(|verdict| (verdict.rule, verdict.action));
                }
                decided
            };
            let straight: Vec<u64> = (0..60).collect();
            prop_assert_eq!(decide(&order), decide(&straight));
        }
    }
}
