//! What the rules of a unit decided: a bounded ring, and its format as text.
//!
//! ```text
//! scuzzy-fault-journal 1
//! event=0 rule=3 nexus=0x1f ordinal=17 at=1200 op=WRITE10 lba=8 blocks=8 stage=arrival pause=0 action=CHECK_CONDITION key=3 asc=0x0c02
//! event=1 rule=4 nexus=0x1f ordinal=18 at=1300 op=TEST_UNIT_READY stage=arrival pause=250 action=HANG
//! ```
//!
//! The header names the version; a reader refuses a version it does not know, and a line it does not understand, with the line's number.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use scsi::command::by_word;
use scsi::{Asc, BlockCount, BlockRange, Lba, Sense, SenseKey, Status};

use crate::rule::{Action, ActionKind, EventId, RuleId, Stage, Subject, Verdict};

/// Version of the format that this crate writes, and the only one so far.
pub const VERSION: u32 = 1;

/// Entries that a journal keeps before it drops the oldest: at most 1 MiB a unit, hours of a rule that fires every second.
pub const CAPACITY: usize = 4096;

const HEADER: &str = "scuzzy-fault-journal";

/// One decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Number of the decision.
    pub event: EventId,
    /// The rule that fired.
    pub rule: RuleId,
    /// Stable key of the I_T nexus.
    pub nexus: u64,
    /// Ordinal of the command among those of the nexus at the unit.
    pub ordinal: u64,
    /// When, in nanoseconds of the shell's clock. For people: no decision depends on it.
    pub at_ns: u64,
    /// Word of the command's row.
    pub operation: &'static str,
    /// Blocks that the command addresses.
    pub range: Option<BlockRange>,
    /// Where it was decided.
    pub stage: Stage,
    /// Milliseconds before the action.
    pub pause_ms: u64,
    /// What was decided.
    pub outcome: Action,
}

/// The last decisions of a unit, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    next: u64,
    dropped: u64,
}

impl Journal {
    /// An empty journal. Takes no memory until something is decided.
    pub const fn new() -> Journal {
        Journal { entries: VecDeque::new(), next: 0, dropped: 0 }
    }

    /// Number of entries kept, at most [`CAPACITY`].
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries that were dropped because the ring was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Entries, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Takes all entries out; the numbering goes on.
    pub fn take(&mut self) -> Vec<Entry> {
        core::mem::take(&mut self.entries).into()
    }

    /// Writes a decision down and numbers it.
    pub(crate) fn record(&mut self, entry: impl FnOnce(EventId) -> Entry) -> EventId {
        let event = EventId(self.next);
        self.next += 1;
        if self.entries.len() >= CAPACITY {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(entry(event));
        event
    }
}

/// The entries as text of version [`VERSION`], header first.
pub fn write<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let mut text = format!("{HEADER} {VERSION}\n");
    for entry in entries {
        text.push_str(&entry.to_string());
        text.push('\n');
    }
    text
}

/// Reads what [`write`](fn@write) wrote.
///
/// # Errors
/// The number of the first line that is not understood, from 1, and why.
pub fn read(text: &str) -> Result<Vec<Entry>, Error> {
    let mut lines = text.lines();
    match lines.next().and_then(|line| line.split_once(' ')) {
        Some((HEADER, version)) if version == VERSION.to_string() => {}
        Some((HEADER, _)) => return Err(Error { line: 1, reason: "a version that this reader does not know" }),
        _ => return Err(Error { line: 1, reason: "not a fault journal" }),
    }
    let numbered = lines.enumerate().filter(|(_, line)| !line.is_empty());
    numbered.map(|(index, line)| read_entry(line).map_err(|reason| Error { line: index + 2, reason })).collect()
}

/// A line of a journal that is not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    /// Number of the line, from 1.
    pub line: usize,
    /// Why.
    pub reason: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.reason)
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { event, rule, nexus, ordinal, at_ns, operation, .. } = self;
        write!(formatter, "event={} rule={} nexus={nexus:#x} ordinal={ordinal} at={at_ns} op={operation}", event.0, rule.0)?;
        if let Some(range) = self.range {
            write!(formatter, " lba={} blocks={}", range.start.0, range.count.0)?;
        }
        write!(formatter, " stage={} pause={} action={}", self.stage.word(), self.pause_ms, self.outcome.kind().word())?;
        match self.outcome {
            Action::CheckCondition(sense) => write!(formatter, " key={} asc={:#06x}", sense.key.0, sense.asc.0),
            _ => Ok(()),
        }
    }
}

/// The words of one line, each taken once.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn parse(line: &'a str) -> Result<Words<'a>, &'static str> {
        let mut words = BTreeMap::new();
        for word in line.split(' ') {
            let (key, value) = word.split_once('=').ok_or("a word without =")?;
            if words.insert(key, value).is_some() {
                return Err("a word twice");
            }
        }
        Ok(Words(words))
    }

    fn optional(&mut self, key: &str) -> Result<Option<u64>, &'static str> {
        let Some(value) = self.0.remove(key) else { return Ok(None) };
        let number = match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => value.parse(),
        };
        number.map(Some).map_err(|_| "a value that is no number")
    }

    fn number(&mut self, key: &str) -> Result<u64, &'static str> {
        self.optional(key)?.ok_or("a number is missing")
    }

    fn text(&mut self, key: &str) -> Result<&'a str, &'static str> {
        self.0.remove(key).ok_or("a word is missing")
    }
}

fn read_entry(line: &str) -> Result<Entry, &'static str> {
    let mut words = Words::parse(line)?;
    let operation = by_word(words.text("op")?).ok_or("an operation that this reader does not know")?.word;
    let stage = words.text("stage")?;
    let range = match (words.optional("lba")?, words.optional("blocks")?) {
        (Some(start), Some(count)) => Some(BlockRange { start: Lba(start), count: BlockCount(count) }),
        (None, None) => None,
        _ => return Err("lba and blocks belong together"),
    };
    let entry = Entry {
        event: EventId(words.number("event")?),
        rule: RuleId(words.number("rule")?),
        nexus: words.number("nexus")?,
        ordinal: words.number("ordinal")?,
        at_ns: words.number("at")?,
        operation,
        range,
        stage: Stage::ALL.into_iter().find(|known| known.word() == stage).ok_or("a stage that this reader does not know")?,
        pause_ms: words.number("pause")?,
        outcome: read_outcome(&mut words)?,
    };
    if words.0.is_empty() { Ok(entry) } else { Err("a word that this reader does not know") }
}

fn read_outcome(words: &mut Words<'_>) -> Result<Action, &'static str> {
    let kind = ActionKind::by_word(words.text("action")?).ok_or("an action that this reader does not know")?;
    Ok(match kind {
        ActionKind::CheckCondition => {
            let key = u8::try_from(words.number("key")?).map_err(|_| "a sense key above 15")?;
            let asc = u16::try_from(words.number("asc")?).map_err(|_| "an additional sense code above 0xffff")?;
            Action::CheckCondition(Sense::new(SenseKey(key), Asc(asc)))
        }
        ActionKind::Busy => Action::Status(Status::BUSY),
        ActionKind::TaskSetFull => Action::Status(Status::TASK_SET_FULL),
        ActionKind::ReservationConflict => Action::Status(Status::RESERVATION_CONFLICT),
        ActionKind::TaskAborted => Action::Status(Status::TASK_ABORTED),
        ActionKind::Hang => Action::Hang,
        ActionKind::DropConnection => Action::DropConnection,
    })
}

/// Decisions read from a journal, made again. The rules themselves are not needed: what fired for a command of a nexus fires for it once more, also
/// where counts over several nexuses made the difference in the first run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replay {
    decisions: BTreeMap<(u64, u64, Stage), Verdict>,
}

impl Replay {
    /// All decisions of `entries`.
    pub fn new(entries: &[Entry]) -> Replay {
        let verdict = |entry: &Entry| Verdict { rule: entry.rule, event: entry.event, pause_ms: entry.pause_ms, action: entry.outcome };
        Replay { decisions: entries.iter().map(|entry| ((entry.nexus, entry.ordinal, entry.stage), verdict(entry))).collect() }
    }

    /// What was decided on this command at this stage.
    pub fn decide(&self, stage: Stage, subject: &Subject<'_>) -> Option<Verdict> {
        self.decisions.get(&(subject.nexus, subject.ordinal, stage)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use scsi::command::ROWS;

    fn any_outcome() -> impl Strategy<Value = Action> {
        prop_oneof![
            (0u8..16, any::<u16>()).prop_map(|(key, asc)| Action::CheckCondition(Sense::new(SenseKey(key), Asc(asc)))),
            Just(Action::Status(Status::BUSY)),
            Just(Action::Status(Status::TASK_SET_FULL)),
            Just(Action::Status(Status::RESERVATION_CONFLICT)),
            Just(Action::Status(Status::TASK_ABORTED)),
            Just(Action::Hang),
            Just(Action::DropConnection),
        ]
    }

    prop_compose! {
        fn any_entry()(
            numbers: [u64; 6], range: Option<(u64, u64)>, stage in 0usize..6, row in 0..ROWS.len(), outcome in any_outcome(),
        ) -> Entry {
            let [event, rule, nexus, ordinal, at_ns, pause_ms] = numbers;
            Entry {
                event: EventId(event), rule: RuleId(rule), nexus, ordinal, at_ns, pause_ms, outcome,
                operation: ROWS[row].word, stage: Stage::ALL[stage],
                range: range.map(|(start, count)| BlockRange { start: Lba(start), count: BlockCount(count) }),
            }
        }
    }

    fn entry(event: u64) -> Entry {
        Entry {
            event: EventId(event),
            rule: RuleId(3),
            nexus: 0x1f,
            ordinal: 17,
            at_ns: 1200,
            operation: "WRITE10",
            range: Some(BlockRange { start: Lba(8), count: BlockCount(4) }),
            stage: Stage::Arrival,
            pause_ms: 0,
            outcome: Action::CheckCondition(Sense::new(SenseKey::MEDIUM_ERROR, Asc(0x0c02))),
        }
    }

    #[test]
    fn version_1_is_read_for_ever() {
        let hang = Entry { range: None, operation: "TEST_UNIT_READY", pause_ms: 250, outcome: Action::Hang, ..entry(1) };
        let text = "scuzzy-fault-journal 1\n\
            event=0 rule=3 nexus=0x1f ordinal=17 at=1200 op=WRITE10 lba=8 blocks=4 stage=arrival pause=0 action=CHECK_CONDITION key=3 asc=0x0c02\n\
            event=1 rule=3 nexus=0x1f ordinal=17 at=1200 op=TEST_UNIT_READY stage=arrival pause=250 action=HANG\n";
        assert_eq!(read(text), Ok(std::vec![entry(0), hang]));
        assert_eq!(write(&[entry(0), hang]), text);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let line = |text: &str| read(&format!("scuzzy-fault-journal 1\n\n{text}\n")).map_err(|error| (error.line, error.reason));
        assert_eq!(read("").map_err(|error| error.reason), Err("not a fault journal"));
        assert_eq!(
            read("scuzzy-fault-journal 2\n").map_err(|error| error.to_string()),
            Err("line 1: a version that this reader does not know".into())
        );
        assert_eq!(line("event"), Err((3, "a word without =")));
        assert_eq!(line("a=1 a=1"), Err((3, "a word twice")));
        let good = entry(0).to_string();
        assert_eq!(line(&good), Ok(std::vec![entry(0)]));
        assert_eq!(line(&format!("{good} more=1")), Err((3, "a word that this reader does not know")));
        assert_eq!(line(&good.replace(" blocks=4", "")), Err((3, "lba and blocks belong together")));
        assert_eq!(line(&good.replace("WRITE10", "WROTE10")), Err((3, "an operation that this reader does not know")));
        assert_eq!(line(&good.replace("arrival", "noon")), Err((3, "a stage that this reader does not know")));
        assert_eq!(line(&good.replace("key=3", "key=300")), Err((3, "a sense key above 15")));
    }

    #[test]
    fn a_full_ring_is_at_most_a_mebibyte() {
        assert!(size_of::<Entry>() * CAPACITY <= 1 << 20, "{} bytes an entry", size_of::<Entry>());
    }

    #[test]
    fn ring_drops_the_oldest() {
        let mut journal = Journal::new();
        let total = CAPACITY as u64 + 10;
        for number in 0..total {
            assert_eq!(journal.record(|event| Entry { event, ..entry(0) }), EventId(number));
        }
        assert_eq!((journal.len(), journal.dropped()), (CAPACITY, 10));
        assert_eq!(journal.entries().next().map(|entry| entry.event), Some(EventId(10)));
        assert_eq!(journal.take().len(), CAPACITY);
        assert!(journal.is_empty());
        assert_eq!(journal.record(|event| Entry { event, ..entry(0) }), EventId(total), "the numbering goes on");
    }

    proptest! {
        #[test]
        fn text_keeps_every_entry(entries in proptest::collection::vec(any_entry(), 0..8)) {
            prop_assert_eq!(read(&write(&entries)), Ok(entries));
        }

        #[test]
        fn any_text_is_answered(text in "[ -~\n]{0,200}") {
            let _ = read(&text);
            let _ = read(&format!("scuzzy-fault-journal 1\n{text}"));
        }
    }
}
