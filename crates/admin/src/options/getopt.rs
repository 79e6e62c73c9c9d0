//! getopt_long as the C library has it: options and words in any order, unique beginnings of long options, values in the next word or after `=`, and the
//! library's own messages.

/// One option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flag {
    /// Long name, without dashes.
    pub long: &'static str,
    /// Letter.
    pub short: Option<char>,
    /// Whether it has a value.
    pub value: ValueRule,
    /// Name of the value in help; empty without value.
    pub metavariable: &'static str,
    /// What it does, for help.
    pub help: &'static str,
    /// Only the whole long name is known: beginnings that meant another option before this one came still do.
    pub whole_only: bool,
    /// What its value can be, for completions and the manual page.
    pub values: Values,
}

impl Flag {
    /// The same, whose value is one of these.
    pub const fn taking(self, values: Values) -> Flag {
        Flag { values, ..self }
    }
}

/// What a value can be, as far as a shell can complete it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values {
    /// Nothing that could be listed.
    Any,
    /// One of these words.
    Words(&'static [&'static str]),
    /// The path of a file or device.
    File,
    /// One of tgtadm's operations: those of the mode that is given.
    Operations,
    /// Number of a target of the running daemon.
    TargetNumber,
    /// Name of a target of the running daemon.
    TargetName,
    /// Number of a unit of the target that is given.
    UnitNumber,
    /// Name of a target of the running daemon, or one of these words.
    TargetsOr(&'static [&'static str]),
}

/// Whether an option has a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueRule {
    /// Never.
    None,
    /// Always.
    Required,
    /// The long form never; the short form, by an old mistake of tgtadm, takes a following word that is no option, and forgets it.
    ShortSwallows,
}

/// An option found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given<'a> {
    /// Which.
    pub flag: &'static Flag,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// What is wrong with an option. `Display` has the C library's words, without the program's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// `--name[=value]` as given, which names nothing.
    UnknownLong(String),
    /// `--name[=value]` as given, and the options it may mean.
    Ambiguous(String, Vec<&'static str>),
    /// A long option without its value: its full name, and what was given.
    LongNeedsValue(&'static str, String),
    /// A long option with a value that it does not take: its full name, and what was given.
    LongHasNoValue(&'static str, String),
    /// A letter that means nothing.
    UnknownShort(char),
    /// A letter without its value.
    ShortNeedsValue(char),
}

impl Problem {
    /// The long option as given, without dashes; `None` for letters.
    pub fn long(&self) -> Option<&str> {
        match self {
            Problem::UnknownLong(given) | Problem::Ambiguous(given, _) | Problem::LongNeedsValue(_, given) | Problem::LongHasNoValue(_, given) => {
                Some(given)
            }
            Problem::UnknownShort(_) | Problem::ShortNeedsValue(_) => None,
        }
    }
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Problem::UnknownLong(given) => write!(f, "unrecognized option '--{given}'"),
            Problem::Ambiguous(given, names) => {
                write!(f, "option '--{given}' is ambiguous; possibilities:")?;
                names.iter().try_for_each(|name| write!(f, " '--{name}'"))
            }
            Problem::LongNeedsValue(name, _) => write!(f, "option '--{name}' requires an argument"),
            Problem::LongHasNoValue(name, _) => write!(f, "option '--{name}' doesn't allow an argument"),
            Problem::UnknownShort(letter) => write!(f, "invalid option -- '{letter}'"),
            Problem::ShortNeedsValue(letter) => write!(f, "option requires an argument -- '{letter}'"),
        }
    }
}

/// Walks over the words of a command line, the program's name left out.
pub struct Parser<'a> {
    flags: &'static [Flag],
    arguments: &'a [Vec<u8>],
    next: usize,
    /// Rest of a cluster of letters (`-fV`).
    cluster: &'a [u8],
    ended: bool,
    words: Vec<&'a [u8]>,
}

impl<'a> Parser<'a> {
    /// At the first word.
    pub fn new(flags: &'static [Flag], arguments: &'a [Vec<u8>]) -> Parser<'a> {
        Parser { flags, arguments, next: 0, cluster: &[], ended: false, words: Vec::new() }
    }

    /// The next option, `None` after the last.
    pub fn step(&mut self) -> Option<Result<Given<'a>, Problem>> {
        loop {
            if let Some((letter, rest)) = self.cluster.split_first() {
                self.cluster = rest;
                return Some(self.short(*letter));
            }
            let word = self.take()?;
            match word {
                _ if self.ended => self.words.push(word),
                b"--" => self.ended = true,
                [b'-', b'-', long @ ..] => return Some(self.long(long)),
                [b'-', letters @ ..] if !letters.is_empty() => self.cluster = letters,
                _ => self.words.push(word),
            }
        }
    }

    /// Words that are no options, seen so far.
    pub fn words(&self) -> &[&'a [u8]] {
        &self.words
    }

    fn take(&mut self) -> Option<&'a [u8]> {
        let word = self.arguments.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn long(&mut self, text: &'a [u8]) -> Result<Given<'a>, Problem> {
        let (name, attached) = match text.iter().position(|byte| *byte == b'=') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let given = || String::from_utf8_lossy(text).into_owned();
        let flag = self.named(name, &given)?;
        let value = match (flag.value, attached) {
            (ValueRule::Required, Some(value)) => Some(value),
            (ValueRule::Required, None) => Some(self.take().ok_or_else(|| Problem::LongNeedsValue(flag.long, given()))?),
            (_, Some(_)) => return Err(Problem::LongHasNoValue(flag.long, given())),
            (_, None) => None,
        };
        Ok(Given { flag, value })
    }

    /// The option with this name, or the only one that begins so.
    fn named(&self, name: &[u8], given: &dyn Fn() -> String) -> Result<&'static Flag, Problem> {
        if let Some(flag) = self.flags.iter().find(|flag| flag.long.as_bytes() == name) {
            return Ok(flag);
        }
        let begins = |flag: &&'static Flag| !flag.whole_only && flag.long.as_bytes().starts_with(name);
        let candidates: Vec<&'static Flag> = self.flags.iter().filter(begins).collect();
        match candidates.as_slice() {
            [] => Err(Problem::UnknownLong(given())),
            [only] => Ok(*only),
            many => Err(Problem::Ambiguous(given(), many.iter().map(|flag| flag.long).collect())),
        }
    }

    fn short(&mut self, letter: u8) -> Result<Given<'a>, Problem> {
        let letter = char::from(letter);
        let flag = self.flags.iter().find(|flag| flag.short == Some(letter)).ok_or(Problem::UnknownShort(letter))?;
        let attached = match flag.value {
            ValueRule::None => None,
            _ => Some(core::mem::take(&mut self.cluster)).filter(|rest| !rest.is_empty()),
        };
        let value = match flag.value {
            ValueRule::None => None,
            ValueRule::Required => Some(attached.or_else(|| self.take()).ok_or(Problem::ShortNeedsValue(letter))?),
            ValueRule::ShortSwallows => {
                if attached.is_none() && self.arguments.get(self.next).is_some_and(|word| !word.starts_with(b"-")) {
                    self.take();
                }
                None
            }
        };
        Ok(Given { flag, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tgtadm::FLAGS;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    fn walk(line: &str) -> Result<(Vec<String>, Vec<String>), String> {
        let arguments = words(line);
        let mut parser = Parser::new(FLAGS, &arguments);
        let mut options = Vec::new();
        while let Some(step) = parser.step() {
            let given = step.map_err(|problem| problem.to_string())?;
            options.push(format!("{}={}", given.flag.long, String::from_utf8_lossy(given.value.unwrap_or(b"-"))));
        }
        let rest = parser.words().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        Ok((options, rest))
    }

    fn options(line: &str) -> Vec<String> {
        walk(line).unwrap_or_else(|error| panic!("{line}: {error}")).0
    }

    #[test]
    fn options_and_words_in_any_order() {
        assert_eq!(walk("a --op new b -t 1 - c"), Ok((vec!["op=new".into(), "tid=1".into()], vec!["a".into(), "b".into(), "-".into(), "c".into()])));
        assert_eq!(walk("--op new -- --tid 1"), Ok((vec!["op=new".into()], vec!["--tid".into(), "1".into()])));
    }

    #[test]
    fn values_attached_or_not() {
        assert_eq!(options("--op=new --tid=1 -t2 -l 3 --lun=4=5"), ["op=new", "tid=1", "tid=2", "lun=3", "lun=4=5"]);
        assert_eq!(options("-dt 5 --tid -1"), ["debug=-", "tid=5", "tid=-1"]);
    }

    #[test]
    fn unique_beginnings_are_enough() {
        assert_eq!(options("--param a=1 --pas x --tar n"), ["params=a=1", "password=x", "targetname=n"]);
        assert_eq!(walk("--o show"), Err("option '--o' is ambiguous; possibilities: '--op' '--outgoing'".into()));
        assert_eq!(walk("--bso=1"), Err("option '--bso=1' is ambiguous; possibilities: '--bsopts' '--bsoflags'".into()));
    }

    #[test]
    fn the_librarys_own_words() {
        for (line, message) in [
            ("--bogus", "unrecognized option '--bogus'"),
            ("--bogus=1", "unrecognized option '--bogus=1'"),
            ("--lun", "option '--lun' requires an argument"),
            ("--tar", "option '--targetname' requires an argument"),
            ("--force=1", "option '--force' doesn't allow an argument"),
            ("-x", "invalid option -- 'x'"),
            ("-dx", "invalid option -- 'x'"),
            ("-t", "option requires an argument -- 't'"),
        ] {
            assert_eq!(walk(line), Err(message.into()), "{line}");
        }
    }

    #[test]
    fn short_force_may_eat_a_word_but_never_an_option() {
        assert_eq!(walk("-F 1 -t 1"), Ok((vec!["force=-".into(), "tid=1".into()], Vec::new())));
        assert_eq!(options("-F --tid 1"), ["force=-", "tid=1"]);
        assert_eq!(options("-O"), ["outgoing=-"]);
        assert_eq!(options("-Fx"), ["force=-"]);
    }

    proptest! {
        #[test]
        fn never_panics(arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..6)) {
            let mut parser = Parser::new(FLAGS, &arguments);
            while let Some(Ok(_)) = parser.step() {}
            prop_assert!(parser.words().len() <= arguments.len());
        }
    }
}
