//! One line of `targets.conf` after the other: comments gone, continued lines joined, quotes removed.

/// A line that says something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// `key value`, `key = value` or `key`.
    Setting {
        /// As written.
        key: String,
        /// Without quotes around it.
        value: String,
    },
    /// `include PATTERN`.
    Include(String),
    /// `<kind name>`.
    Begin {
        /// First word.
        kind: String,
        /// The rest, may be empty.
        name: String,
    },
    /// `<kind name/>`: a block that ends where it begins.
    Empty {
        /// First word.
        kind: String,
        /// The rest, may be empty.
        name: String,
    },
    /// `</kind>`.
    End {
        /// What stands there.
        kind: String,
    },
}

/// Walks over the lines of a file.
pub struct Lines<'a> {
    rest: core::iter::Enumerate<std::vec::IntoIter<&'a [u8]>>,
    in_comment: bool,
}

impl<'a> Lines<'a> {
    /// At the first line.
    pub fn new(text: &'a [u8]) -> Lines<'a> {
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        Lines { rest: lines.into_iter().enumerate(), in_comment: false }
    }

    /// The next line that says something, with its number (the first has number 1; of joined lines, the first).
    pub fn step(&mut self) -> Option<(usize, Result<Line, &'static str>)> {
        loop {
            let (number, text) = self.joined()?;
            match text.map(|text| meaning(&text)) {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(line))) => return Some((number, Ok(line))),
                Ok(Err(why)) | Err(why) => return Some((number, Err(why))),
            }
        }
    }

    /// A line and those that a backslash at its end joins to it.
    fn joined(&mut self) -> Option<(usize, Result<String, &'static str>)> {
        let (number, mut text) = self.stripped()?;
        while let Ok(line) = &mut text
            && line.ends_with('\\')
        {
            line.pop();
            match self.stripped() {
                Some((_, Ok(next))) => line.push_str(next.trim_start()),
                Some((_, Err(why))) => text = Err(why),
                None => break,
            }
        }
        Some((number, text))
    }

    /// A line without its comment and without blanks at its ends.
    fn stripped(&mut self) -> Option<(usize, Result<String, &'static str>)> {
        let (index, mut bytes) = self.rest.next()?;
        loop {
            bytes = bytes.trim_ascii();
            if !self.in_comment {
                // Only here does such a comment begin: "/*" is part of many a pattern.
                let Some(after) = bytes.strip_prefix(b"/*") else { break };
                self.in_comment = true;
                bytes = after;
            }
            let Some(at) = bytes.windows(2).position(|pair| pair == b"*/") else {
                bytes = b"";
                break;
            };
            self.in_comment = false;
            bytes = &bytes[at + 2..];
        }
        let text = without_comment(bytes);
        Some((index + 1, String::from_utf8(text).map_err(|_| "not UTF-8")))
    }
}

/// Without what follows a `#`, unless the `#` is within quotes or behind a backslash, which is removed.
fn without_comment(bytes: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut quoted = false;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' if quoted || bytes[index + 1..].contains(&b'"') => quoted = !quoted,
            b'#' if quoted => {}
            b'#' if out.last() == Some(&b'\\') => {
                out.pop();
            }
            b'#' => break,
            _ => {}
        }
        out.push(*byte);
    }
    out.truncate(out.trim_ascii_end().len());
    out
}

fn meaning(text: &str) -> Result<Option<Line>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(inner) = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        return block(inner.trim()).map(Some);
    }
    if text.starts_with('<') {
        return Err("a block's line ends with '>'");
    }
    let (key, value) = match text.find(|letter: char| letter.is_ascii_whitespace() || letter == '=') {
        Some(at) => (&text[..at], text[at..].trim_ascii_start()),
        None => (text, ""),
    };
    let value = value.strip_prefix('=').unwrap_or(value).trim_ascii_start();
    if key.is_empty() {
        return Err("a key is missing in front of '='");
    }
    if key.eq_ignore_ascii_case("include") && !value.is_empty() {
        return Ok(Some(Line::Include(unquoted(value).to_owned())));
    }
    if value.starts_with("<<") {
        return Err("values over several lines are joined with a backslash; << is not known here");
    }
    Ok(Some(Line::Setting { key: key.to_owned(), value: unquoted(value).to_owned() }))
}

fn block(inner: &str) -> Result<Line, &'static str> {
    if let Some(kind) = inner.strip_prefix('/') {
        return Ok(Line::End { kind: kind.trim().to_owned() });
    }
    let (inner, empty) = match inner.strip_suffix('/') {
        Some(inner) => (inner.trim_end(), true),
        None => (inner, false),
    };
    let (kind, name) = inner.split_once(|letter: char| letter.is_ascii_whitespace()).unwrap_or((inner, ""));
    if kind.is_empty() || kind.starts_with('<') {
        return Err("a block needs a kind: <target NAME>");
    }
    let (kind, name) = (kind.to_owned(), unquoted(name.trim()).to_owned());
    Ok(if empty { Line::Empty { kind, name } } else { Line::Begin { kind, name } })
}

/// Without the quotes around it. With quotes inside as well, they are no quotes around it.
fn unquoted(text: &str) -> &str {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('"') => inner,
        _ => text,
    }
}

/// The words of a value; quotes keep blanks together.
pub fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = value.trim_ascii();
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (word, after) = quoted.or_else(|| rest.split_once(|letter: char| letter.is_ascii_whitespace())).unwrap_or((rest, ""));
        words.push(word.to_owned());
        rest = after.trim_ascii_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Vec<(usize, Result<Line, &'static str>)> {
        let mut lines = Lines::new(text.as_bytes());
        core::iter::from_fn(|| lines.step()).collect()
    }

    fn one(text: &str) -> Line {
        let mut lines = all(text);
        assert_eq!(lines.len(), 1, "{text}: {lines:?}");
        lines.remove(0).1.unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn setting(key: &str, value: &str) -> Line {
        Line::Setting { key: key.into(), value: value.into() }
    }

    #[test]
    fn keys_and_values() {
        for (text, value) in [
            ("k v", "v"),
            ("  k = v  ", "v"),
            ("k=v", "v"),
            ("k\t  v w ", "v w"),
            ("k a=b", "a=b"),
            ("k = a = b", "a = b"),
            ("k \"a b\"", "a b"),
            ("k = \" a \" # c", " a "),
            ("k \"a\" \"b\"", "\"a\" \"b\""),
            ("k v # comment", "v"),
            ("k a\\#b # comment", "a#b"),
            ("k \"a # b\"", "a # b"),
            ("k 5\" # disk", "5\""),
            ("k", ""),
            ("k =", ""),
        ] {
            assert_eq!(one(text), setting("k", value), "{text}");
        }
        assert_eq!(all("= v"), [(1, Err("a key is missing in front of '='"))]);
        assert!(matches!(all("k <<END").as_slice(), [(1, Err(_))]));
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        assert_eq!(all("\n# a\n   \n/* b\n k v\n c */\n/* d */\n"), []);
        assert_eq!(all("/* a\n b */ k v # c\n k2 v2"), [(2, Ok(setting("k", "v"))), (3, Ok(setting("k2", "v2")))]);
        assert_eq!(one("include /etc/tgt/*/*.conf"), Line::Include("/etc/tgt/*/*.conf".into()));
    }

    #[test]
    fn a_backslash_joins_lines() {
        assert_eq!(all("k a \\\n   b \\\n c\nl m"), [(1, Ok(setting("k", "a b c"))), (4, Ok(setting("l", "m")))]);
        assert_eq!(one("k a\\"), setting("k", "a"));
    }

    #[test]
    fn blocks() {
        assert_eq!(one("<target iqn.x:a>"), Line::Begin { kind: "target".into(), name: "iqn.x:a".into() });
        assert_eq!(one(" < target \"a b\" > # c"), Line::Begin { kind: "target".into(), name: "a b".into() });
        assert_eq!(one("<target a/>"), Line::Empty { kind: "target".into(), name: "a".into() });
        assert_eq!(one("</target>"), Line::End { kind: "target".into() });
        assert!(matches!(all("<>").as_slice(), [(1, Err(_))]));
        assert!(matches!(all("<target a").as_slice(), [(1, Err(_))]));
        assert!(matches!(all("<<include x>>").as_slice(), [(1, Err(_))]));
    }

    #[test]
    fn names_that_are_not_text_are_told() {
        let mut lines = Lines::new(b"a b\n# \xff\nk \xff\n");
        assert_eq!(lines.step(), Some((1, Ok(setting("a", "b")))));
        assert_eq!(lines.step(), Some((3, Err("not UTF-8"))));
        assert_eq!(lines.step(), None);
    }

    #[test]
    fn words_of_a_value() {
        assert_eq!(words("user pass"), ["user", "pass"]);
        assert_eq!(words("  \"my user\"   \"a b\"x "), ["my user", "a b", "x"]);
        assert_eq!(words("\"a"), ["\"a"]);
        assert_eq!(words(""), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn never_panics_and_always_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut lines = Lines::new(&bytes);
            let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
            let mut count = 0;
            while let Some((number, _)) = lines.step() {
                prop_assert!(number <= newlines + 1);
                count += 1;
            }
            prop_assert!(count <= newlines + 1);
        }

        #[test]
        fn never_panics_on_likely_text(text in "[<>/#*\\\\\"= \na-c]{0,80}") {
            let mut lines = Lines::new(text.as_bytes());
            while lines.step().is_some() {}
            words(&text);
        }
    }
}
