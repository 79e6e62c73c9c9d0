//! The text of a rule: `op=WRITE10,lba=0,len=100,pct=50,pause=2,repeat=3,action=CHECK_CONDITION,key=3,asc=0x0c02`.
//!
//! | word | meaning | when left out |
//! |---|---|---|
//! | `op` | a command (`WRITE10`), a family (`WRITE`), or an operation code (`0x2a`) | it must be there |
//! | `lba` `len` | first block, number of blocks | 0, to the end |
//! | `pct` | per cent of the commands, decimals down to 0.000001 | 100 |
//! | `pause` | seconds before the action, decimals down to 0.001 | 0 |
//! | `repeat` | fires so many times, then heals; 0: for ever | 0 |
//! | `action` | what happens | `CHECK_CONDITION` |
//! | `key` `asc` | sense key; additional sense code and qualifier as one number | they must be there for `CHECK_CONDITION` |
//! | `seed` | seed of the rule's own | the daemon's |
//! | `name` | a name for people | none |
//!
//! Whole numbers are written as in C: `10`, `0xa`, `012`. Words that are not in the table are refused, and so is a word that is there twice.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use scsi::command::{self, Family};
use scsi::{Asc, BlockCount, BlockRange, Lba, SenseKey};

use crate::rule::{self, ActionKind, OperationPattern, Percent, RuleSpec, RuleView};

/// Longest name of a rule, in bytes: it is printed in tables.
pub const NAME_LENGTH: usize = 64;

const KEYS: [&str; 11] = ["op", "lba", "len", "pct", "pause", "repeat", "action", "key", "asc", "seed", "name"];

/// Why a text is no rule: the word at fault, and what is allowed in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The word of the text that is wrong (cut to 64 characters), or the key that is missing.
    pub word: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// What is allowed.
    pub allowed: String,
}

impl Error {
    fn new(word: &str, reason: &'static str, allowed: impl Into<String>) -> Error {
        Error { word: word.chars().take(64).collect(), reason, allowed: allowed.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\": {}; {}", self.word.escape_debug(), self.reason, self.allowed)
    }
}

impl core::error::Error for Error {}

/// The rule that `text` describes.
///
/// # Errors
/// The first word that is wrong, or the key that is missing.
pub fn parse(text: &str) -> Result<RuleSpec, Error> {
    let words = Words::split(text)?;
    let operation = operation(words.get("op").ok_or_else(|| missing("op", operations()))?)?;
    let range = range(&words, operation)?;
    let action = words.get("action").map_or(Ok(ActionKind::CheckCondition), action)?;
    if range.is_some() && goes_over_medium(operation) {
        check_work(&words, action)?;
    }
    Ok(RuleSpec {
        operation,
        range,
        percent: words.get("pct").map_or(Ok(Percent::ALWAYS), percent)?,
        pause_ms: words.get("pause").map_or(Ok(0), pause)?,
        repeat: words.number("repeat", u64::MAX)?.unwrap_or(0),
        action,
        sense: sense(&words, action)?,
        seed: words.number("seed", u64::MAX)?,
        name: words.get("name").map(name).transpose()?,
    })
}

/// The words of a text by key; each remembers how it was written.
struct Words<'a>(BTreeMap<&'static str, Word<'a>>);

#[derive(Clone, Copy)]
struct Word<'a> {
    /// `key=value`, as written.
    text: &'a str,
    value: &'a str,
}

impl<'a> Words<'a> {
    fn split(text: &'a str) -> Result<Words<'a>, Error> {
        let mut words = BTreeMap::new();
        for text in text.split(',').map(str::trim) {
            let (key, value) = text.split_once('=').ok_or_else(|| Error::new(text, "is not of the form key=value", keys()))?;
            let known = KEYS.into_iter().find(|known| *known == key.trim_end());
            let key = known.ok_or_else(|| Error::new(text, "has an unknown key", keys()))?;
            if words.insert(key, Word { text, value: value.trim_start() }).is_some() {
                return Err(Error::new(text, "is there twice", "each key may be given once"));
            }
        }
        Ok(Words(words))
    }

    fn get(&self, key: &str) -> Option<Word<'a>> {
        self.0.get(key).copied()
    }

    fn number(&self, key: &str, max: u64) -> Result<Option<u64>, Error> {
        self.get(key).map(|word| word.number(max)).transpose()
    }
}

impl Word<'_> {
    fn error(&self, reason: &'static str, allowed: impl Into<String>) -> Error {
        Error::new(self.text, reason, allowed)
    }

    fn number(&self, max: u64) -> Result<u64, Error> {
        let allowed = || format!("allowed is a whole number from 0 to {max}, decimal, 0x hex or 0 octal");
        match integer(self.value) {
            Some(number) if number <= max => Ok(number),
            Some(_) => Err(self.error("is too large", allowed())),
            None => Err(self.error("is not a number", allowed())),
        }
    }
}

fn missing(key: &'static str, allowed: impl Into<String>) -> Error {
    Error::new(key, "is missing", allowed)
}

fn keys() -> String {
    format!("the keys are {}", KEYS.join(", "))
}

fn operations() -> String {
    let families: Vec<&str> = Family::NAMED.into_iter().map(Family::word).collect();
    let rows: Vec<&str> = command::rows_for(scsi::DeviceType::DISK).filter(|row| row.family != Family::Other).map(|row| row.word).collect();
    format!(
        "op is a command ({}), any other command of the disk such as INQUIRY, a family ({}), or an operation code such as 0x2a",
        rows.join(" "),
        families.join(" ")
    )
}

fn operation(word: Word<'_>) -> Result<OperationPattern, Error> {
    if let Some(row) = command::by_word(word.value) {
        return Ok(OperationPattern::Row(row.operation));
    }
    if let Some(family) = Family::by_word(word.value) {
        return Ok(OperationPattern::Family(family));
    }
    let digits = word.value.strip_prefix("0x").or_else(|| word.value.strip_prefix("0X"));
    let code = digits.and_then(|digits| digits_of(digits, 16)).and_then(|code| u8::try_from(code).ok());
    code.map(OperationPattern::Opcode).ok_or_else(|| word.error("names no operation", operations()))
}

/// True when commands of the pattern say in the CDB which blocks they are about, as far as this crate knows them.
fn has_blocks(operation: OperationPattern) -> bool {
    match operation {
        OperationPattern::Row(operation) => command::by_operation(operation).is_none_or(|row| row.lba.is_some()),
        OperationPattern::Family(family) => command::ROWS.iter().any(|row| row.family == family && row.lba.is_some()),
        OperationPattern::Opcode(opcode) => {
            let rows = command::by_opcode(opcode);
            rows.is_empty() || rows.iter().any(|row| row.lba.is_some())
        }
    }
}

/// True when commands of the pattern go over the whole medium: a rule with blocks meets their work.
fn goes_over_medium(operation: OperationPattern) -> bool {
    match operation {
        OperationPattern::Row(operation) => rule::goes_over_medium(operation),
        OperationPattern::Family(_) => false,
        OperationPattern::Opcode(opcode) => command::by_opcode(opcode).iter().any(|row| rule::goes_over_medium(row.operation)),
    }
}

/// Work on a block can only fail.
fn check_work(words: &Words<'_>, action: ActionKind) -> Result<(), Error> {
    let allowed = "leave lba and len out, or let the work fail there with key and asc";
    match (words.get("action"), words.get("pause")) {
        (Some(word), _) if action != ActionKind::CheckCondition => Err(word.error("is not for the work of a command at a block", allowed)),
        (_, Some(word)) if pause(word)? != 0 => Err(word.error("is not for the work of a command at a block", allowed)),
        _ => Ok(()),
    }
}

fn range(words: &Words<'_>, operation: OperationPattern) -> Result<Option<BlockRange>, Error> {
    let (Some(word), first) = (words.get("lba").or(words.get("len")), words.number("lba", u64::MAX)?) else { return Ok(None) };
    if !has_blocks(operation) && !goes_over_medium(operation) {
        return Err(word.error("can never match: this operation has no blocks in its CDB", "leave lba and len out"));
    }
    let start = first.unwrap_or(0);
    let to_the_end = u64::MAX - start;
    let count = match words.number("len", u64::MAX)? {
        Some(0) => return Err(words.get("len").unwrap_or(word).error("is no block at all", "len is at least 1; leave it out for \"to the end\"")),
        Some(count) => count.min(to_the_end),
        None => to_the_end,
    };
    Ok(Some(BlockRange { start: Lba(start), count: BlockCount(count) }))
}

fn action(word: Word<'_>) -> Result<ActionKind, Error> {
    let allowed = || format!("the actions are {}", ActionKind::ALL.map(ActionKind::word).join(", "));
    ActionKind::by_word(word.value).ok_or_else(|| word.error("names no action", allowed()))
}

fn sense(words: &Words<'_>, action: ActionKind) -> Result<Option<(SenseKey, Asc)>, Error> {
    if action != ActionKind::CheckCondition {
        return match words.get("key").or(words.get("asc")) {
            Some(word) => Err(word.error("does not go with this action", "key and asc belong to action=CHECK_CONDITION")),
            None => Ok(None),
        };
    }
    let key = words.number("key", 15)?.ok_or_else(|| missing("key", "action=CHECK_CONDITION wants the sense key, 0 to 15, such as key=3"))?;
    let asc = words.number("asc", 0xffff)?;
    let asc = asc.ok_or_else(|| missing("asc", "action=CHECK_CONDITION wants the additional sense code and qualifier, such as asc=0x0c02"))?;
    // Both limits were just checked.
    Ok(Some((SenseKey(u8::try_from(key).unwrap_or(0)), Asc(u16::try_from(asc).unwrap_or(0)))))
}

fn percent(word: Word<'_>) -> Result<Percent, Error> {
    let allowed = "pct is 0 to 100, with at most six decimals";
    match scaled(word.value, 6) {
        Some(millionths) if millionths <= u64::from(Percent::ALWAYS.0) => Ok(Percent(u32::try_from(millionths).unwrap_or(0))),
        Some(_) => Err(word.error("is above 100", allowed)),
        None => Err(word.error("is not a percentage", allowed)),
    }
}

fn pause(word: Word<'_>) -> Result<u64, Error> {
    scaled(word.value, 3).ok_or_else(|| word.error("is not a time", "pause is in seconds, with at most three decimals"))
}

fn name(word: Word<'_>) -> Result<String, Error> {
    let fits = !word.value.is_empty() && word.value.len() <= NAME_LENGTH && !word.value.chars().any(char::is_control);
    if fits { Ok(word.value.to_string()) } else { Err(word.error("is no name", "a name is 1 to 64 bytes without commas and control characters")) }
}

/// A whole number in C's notation: `0x` hex, a leading `0` octal, otherwise decimal.
fn integer(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return digits_of(digits, 16);
    }
    match text.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => digits_of(digits, 8),
        _ => digits_of(text, 10),
    }
}

/// Digits without a sign, which the standard parser would let pass.
fn digits_of(text: &str, radix: u32) -> Option<u64> {
    let digits = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    if digits { u64::from_str_radix(text, radix).ok() } else { None }
}

/// A number with at most `decimals` decimals, in units of the last one. Without a point it is a whole number in C's notation.
fn scaled(text: &str, decimals: usize) -> Option<u64> {
    let unit = 10u64.checked_pow(u32::try_from(decimals).ok()?)?;
    let Some((whole, fraction)) = text.split_once('.') else { return integer(text)?.checked_mul(unit) };
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals || text == "." {
        return None;
    }
    let padded = format!("{fraction:0<decimals$}");
    let whole = if whole.is_empty() { 0 } else { digits_of(whole, 10)? };
    whole.checked_mul(unit)?.checked_add(digits_of(&padded, 10)?)
}

/// A number of units of the last of `decimals` decimals, without needless zeros.
fn unscaled(number: u64, decimals: usize) -> String {
    let unit = 10u64.saturating_pow(u32::try_from(decimals).unwrap_or(0));
    let (whole, fraction) = (number / unit, number % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0decimals$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

fn operation_text(operation: OperationPattern) -> String {
    match operation {
        OperationPattern::Row(operation) => command::by_operation(operation).map_or_else(String::new, |row| row.word.to_string()),
        OperationPattern::Family(family) => family.word().to_string(),
        OperationPattern::Opcode(opcode) => format!("{opcode:#04x}"),
    }
}

/// True when the range goes on to the last block there can be.
fn is_to_the_end(range: BlockRange) -> bool {
    range.end() == u64::MAX
}

/// The line of `show` for a rule: the original's columns, with the true action. The last block is inclusive, and `end` when there is none.
pub fn show_line(index: u64, tid: i32, lun: u64, view: &RuleView) -> String {
    let spec = &view.spec;
    let blocks = match spec.range {
        Some(range) if !is_to_the_end(range) => format!("{}-{}", range.start.0, range.end().saturating_sub(1)),
        Some(range) => format!("{}-end", range.start.0),
        None => "0-end".to_string(),
    };
    format!(
        "{index}: TID:{tid} LUN:{lun} {} {blocks} {}% pause:{} Count:{}/{} {}",
        operation_text(spec.operation),
        unscaled(u64::from(spec.percent.0), 6),
        unscaled(spec.pause_ms, 3),
        view.fired,
        spec.repeat,
        spec.action.word()
    )
}

/// The rule as text that [`parse`] reads; what has its default value is left out.
pub fn render(spec: &RuleSpec) -> String {
    let mut words = Vec::new();
    words.push(format!("op={}", operation_text(spec.operation)));
    if let Some(range) = spec.range {
        words.push(format!("lba={}", range.start.0));
        if !is_to_the_end(range) {
            words.push(format!("len={}", range.count.0));
        }
    }
    if spec.percent != Percent::ALWAYS {
        words.push(format!("pct={}", unscaled(u64::from(spec.percent.0), 6)));
    }
    if spec.pause_ms != 0 {
        words.push(format!("pause={}", unscaled(spec.pause_ms, 3)));
    }
    if spec.repeat != 0 {
        words.push(format!("repeat={}", spec.repeat));
    }
    words.push(format!("action={}", spec.action.word()));
    if let Some((key, asc)) = spec.sense {
        words.push(format!("key={}", key.0));
        words.push(format!("asc={:#06x}", asc.0));
    }
    if let Some(seed) = spec.seed {
        words.push(format!("seed={seed:#x}"));
    }
    if let Some(name) = &spec.name {
        words.push(format!("name={name}"));
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::RuleId;
    use proptest::prelude::*;
    use scsi::Operation;

    const WALK_THROUGH: &str = "op=WRITE10,lba=0,len=99999999,pct=100,pause=0,repeat=0,action=CHECK_CONDITION,key=3,asc=0x0c02";

    fn line(index: u64, tid: i32, lun: u64, text: &str, fired: u64) -> String {
        show_line(index, tid, lun, &RuleView { id: RuleId(index), spec: parse(text).unwrap(), fired })
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn walk_through_of_the_original() {
        let spec = parse(WALK_THROUGH).unwrap();
        assert_eq!(spec.operation, OperationPattern::Row(Operation::Write10));
        assert_eq!(spec.range, Some(BlockRange { start: Lba(0), count: BlockCount(99_999_999) }));
        assert_eq!((spec.percent, spec.pause_ms, spec.repeat), (Percent::ALWAYS, 0, 0));
        assert_eq!((spec.action, spec.sense), (ActionKind::CheckCondition, Some((SenseKey(3), Asc(0x0c02)))));
        assert_eq!(line(0, 1, 3, WALK_THROUGH, 0), "0: TID:1 LUN:3 WRITE10 0-99999998 100% pause:0 Count:0/0 CHECK_CONDITION");
        let second = "op=READ16,lba=2048,len=8,pct=50,pause=2,repeat=3,key=3,asc=0x1100";
        assert_eq!(line(1, 1, 3, second, 2), "1: TID:1 LUN:3 READ16 2048-2055 50% pause:2 Count:2/3 CHECK_CONDITION");
    }

    #[test]
    fn defaults() {
        let spec = parse("op=WRITE,key=4,asc=0x4400").unwrap();
        assert_eq!(spec.range, None);
        assert_eq!((spec.percent, spec.pause_ms, spec.repeat, spec.action), (Percent::ALWAYS, 0, 0, ActionKind::CheckCondition));
        assert_eq!((spec.seed, spec.name), (None, None));
        let end = |text: &str| parse(text).unwrap().range.map(|range| (range.start.0, range.end()));
        assert_eq!(end("op=WRITE,lba=5,action=BUSY"), Some((5, u64::MAX)));
        assert_eq!(end("op=WRITE,len=5,action=BUSY"), Some((0, 5)));
        assert_eq!(end("op=WRITE,lba=5,len=0xffffffffffffffff,action=BUSY"), Some((5, u64::MAX)));
        assert_eq!(line(7, -1, 0, "op=WRITE,lba=5,action=BUSY", 0), "7: TID:-1 LUN:0 WRITE 5-end 100% pause:0 Count:0/0 BUSY");
        assert_eq!(line(7, 1, 0, "op=0x2a,pct=0.5,pause=1.25,action=HANG", 0), "7: TID:1 LUN:0 0x2a 0-end 0.5% pause:1.25 Count:0/0 HANG");
    }

    #[test]
    fn operations_by_word_family_and_code() {
        let operation = |word: &str| parse(&format!("op={word},action=BUSY")).map(|spec| spec.operation);
        assert_eq!(operation("verify16"), Ok(OperationPattern::Row(Operation::Verify16)));
        assert_eq!(operation("UNMAP"), Ok(OperationPattern::Row(Operation::Unmap)));
        assert_eq!(operation("SYNC"), Ok(OperationPattern::Family(Family::Synchronize)));
        assert_eq!(operation("SYNC10"), Ok(OperationPattern::Row(Operation::SynchronizeCache10)));
        assert_eq!(operation("WRITE_SAME"), Ok(OperationPattern::Family(Family::WriteSame)));
        assert_eq!(operation("INQUIRY"), Ok(OperationPattern::Row(Operation::Inquiry)));
        assert_eq!(operation("0x2A"), Ok(OperationPattern::Opcode(0x2a)));
        for word in ["", "WRITE11", "OTHER", "0x100", "0x", "0x+a", "42"] {
            assert!(operation(word).is_err(), "{word}");
        }
    }

    #[test]
    fn numbers_as_in_c() {
        for (text, number) in [("0", 0), ("10", 10), ("0xA", 10), ("0X0a", 10), ("012", 10), ("0xffffffffffffffff", u64::MAX), ("00", 0)] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in ["", "-1", "+1", "08", "0x", "1 ", "1e3", "18446744073709551616", "0x1_0"] {
            assert_eq!(integer(text), None, "{text}");
        }
        for (text, number) in [("1", 1000), ("0.5", 500), (".5", 500), ("1.", 1000), ("0.001", 1), ("2.5000", 2500), ("0x10", 16000), ("08.5", 8500)]
        {
            assert_eq!(scaled(text, 3), Some(number), "{text}");
        }
        for text in [".", "0.0001", "1.2.3", "-0.5", "1.x", "0.-1", "99999999999999999999", "18446744073709552.0", "0x1.5"] {
            assert_eq!(scaled(text, 3), None, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            error("op=WRITE10,key=3"),
            "\"asc\": is missing; action=CHECK_CONDITION wants the additional sense code and qualifier, such as asc=0x0c02"
        );
        assert!(error("op=WRITE10,asc=0x0c02").starts_with("\"key\": is missing; "));
        assert!(error("lba=0,action=BUSY").starts_with("\"op\": is missing; op is a command (READ6 WRITE6 READ10 "));
        assert!(error("op=WROTE10").starts_with("\"op=WROTE10\": names no operation; "));
        assert_eq!(
            error("op=WRITE10,colour=red"),
            "\"colour=red\": has an unknown key; the keys are op, lba, len, pct, pause, repeat, action, key, asc, seed, name"
        );
        assert!(error("op=WRITE10,BUSY").starts_with("\"BUSY\": is not of the form key=value; "));
        assert!(error("").starts_with("\"\": is not of the form key=value; "));
        assert!(error("op=WRITE,op=READ").starts_with("\"op=READ\": is there twice; "));
        assert!(error("op=WRITE,action=EXPLODE").contains("the actions are CHECK_CONDITION, BUSY, TASK_SET_FULL, "));
        assert_eq!(error("op=WRITE,pct=101,action=BUSY"), "\"pct=101\": is above 100; pct is 0 to 100, with at most six decimals");
        assert!(error("op=WRITE,pct=0.0000001,action=BUSY").contains("is not a percentage"));
        assert!(error("op=WRITE,pause=-1,action=BUSY").contains("is not a time"));
        assert!(error("op=WRITE,key=16,asc=0").contains("\"key=16\": is too large; allowed is a whole number from 0 to 15"));
        assert!(error("op=WRITE,key=3,asc=0x10000").contains("\"asc=0x10000\": is too large"));
        assert!(error("op=WRITE,lba=-1,action=BUSY").contains("\"lba=-1\": is not a number"));
        assert!(error("op=WRITE,len=0,action=BUSY").contains("\"len=0\": is no block at all"));
        assert!(error("op=WRITE,key=3,action=BUSY").contains("key and asc belong to action=CHECK_CONDITION"));
        assert!(error("op=UNMAP,lba=0,action=BUSY").contains("leave lba and len out"));
        assert!(error("op=0x12,len=4,action=BUSY").contains("leave lba and len out"));
        assert!(error("op=0x48,len=4,action=BUSY").starts_with("\"action=BUSY\""));
        assert!(error("op=FORMAT_UNIT,lba=4,pause=1,key=3,asc=0x3101").starts_with("\"pause=1\""));
        assert!(parse("op=SEND_DIAGNOSTIC,lba=4,pause=0,key=3,asc=0x1100").is_ok());
        assert!(error("op=WRITE,name=,action=BUSY").contains("is no name"));
    }

    #[test]
    fn rendered_text() {
        assert_eq!(render(&parse(WALK_THROUGH).unwrap()), "op=WRITE10,lba=0,len=99999999,action=CHECK_CONDITION,key=3,asc=0x0c02");
        let text = "op=0x2a,lba=16,pct=0.25,pause=0.5,repeat=2,action=DROP_CONNECTION,seed=0x2a,name=cut the cable";
        assert_eq!(render(&parse(text).unwrap()), text);
        assert!(parse(" op = WRITE , action = BUSY ").is_ok());
    }

    fn any_operation() -> impl Strategy<Value = OperationPattern> {
        prop_oneof![
            (0..command::ROWS.len()).prop_map(|at| OperationPattern::Row(command::ROWS[at].operation)),
            (0..Family::NAMED.len()).prop_map(|at| OperationPattern::Family(Family::NAMED[at])),
            any::<u8>().prop_map(OperationPattern::Opcode),
        ]
    }

    prop_compose! {
        fn any_spec()(
            operation in any_operation(), range: Option<(u64, u64)>, percent in 0u32..=100_000_000, pause_ms: u64, repeat: u64,
            action in 0usize..7, key in 0u8..16, asc: u16, seed: Option<u64>, name in proptest::option::of("[a-z][a-z =0-9é]{0,20}[a-z]"),
        ) -> RuleSpec {
            let action = ActionKind::ALL[action];
            let range = range.filter(|_| has_blocks(operation)).map(|(start, count)| {
                let start = start.min(u64::MAX - 1);
                BlockRange { start: Lba(start), count: BlockCount(count.clamp(1, u64::MAX - start)) }
            });
            let sense = (action == ActionKind::CheckCondition).then_some((SenseKey(key), Asc(asc)));
            RuleSpec { operation, range, percent: Percent(percent), pause_ms, repeat, action, sense, seed, name }
        }
    }

    proptest! {
        #[test]
        fn rendered_rules_parse_again(spec in any_spec()) {
            let text = render(&spec);
            let mut spec = spec;
            // A family of one command has that command's word.
            if let OperationPattern::Family(family) = spec.operation
                && let Some(row) = command::by_word(family.word())
            {
                spec.operation = OperationPattern::Row(row.operation);
            }
            prop_assert_eq!(parse(&text), Ok(spec));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,80}", key in 0usize..11, value in "[0-9a-fx.A-Z_-]{0,24}") {
            let _ = parse(&text);
            let _ = parse(&format!("op=WRITE,{}={value},key=3,asc=1", KEYS[key]));
            let _ = parse(&format!("{}={value},op=READ,action=BUSY", KEYS[key]));
        }
    }
}
