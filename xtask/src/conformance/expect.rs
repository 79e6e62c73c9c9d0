//! `tests/conformance/expect.txt`: what each test is expected to do, on which disks, and why.

use anyhow::{Context, Result, bail};

use crate::root;

/// The file.
const FILE: &str = "tests/conformance/expect.txt";

/// One line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rule {
    /// Place in the file.
    line: usize,
    /// Shell pattern of `Suite.Test`.
    pattern: String,
    /// Its conditions, `PROPERTY=VALUE`; none: every disk.
    pub conditions: Vec<String>,
    /// Why.
    pub reason: String,
}

/// All lines in their order.
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Those of this tree.
    ///
    /// # Errors
    /// The file cannot be read, or a line has no reason.
    pub fn load() -> Result<Rules> {
        Rules::parse(&std::fs::read_to_string(root().join(FILE)).context(FILE)?)
    }

    fn parse(text: &str) -> Result<Rules> {
        let mut rules = Vec::new();
        for (line, text) in text.lines().enumerate() {
            let (words, reason) = text.split_once('#').unwrap_or((text, ""));
            let mut words = words.split_whitespace();
            let Some(pattern) = words.next() else { continue };
            let conditions = words.nth(1).map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
            let reason = reason.trim().to_owned();
            if reason.is_empty() {
                bail!("{FILE}:{}: no reason", line + 1);
            }
            rules.push(Rule { line, pattern: pattern.to_owned(), conditions, reason });
        }
        Ok(Rules(rules))
    }

    /// The line that counts for `test` on the disk of this name: the last of those that fit, as `run.py` has it.
    pub fn find(&self, test: &str, disk: &str) -> Option<&Rule> {
        let has = |condition: &String| disk.split(',').any(|value| value == condition);
        self.0.iter().rev().find(|rule| fits(rule.pattern.as_bytes(), test.as_bytes()) && rule.conditions.iter().all(has))
    }
}

/// A shell pattern of `*` and `?`.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => fits(rest, text) || text.split_first().is_some_and(|(_, shorter)| fits(pattern, shorter)),
        (Some((b'?', rest)), Some((_, shorter))) => fits(rest, shorter),
        (Some((letter, rest)), Some((same, shorter))) if letter == same => fits(rest, shorter),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_fits_counts() {
        let rules = Rules::parse("# text\nA.*  skip  # all of A\nA.B? fail block=4096,thin=no  # small\n").expect("parses");
        let reason = |test: &str, disk: &str| rules.find(test, disk).map(|rule| rule.reason.as_str());
        assert_eq!(reason("A.Bx", "block=4096,thin=no"), Some("small"));
        assert_eq!(reason("A.Bx", "block=4096,thin=yes"), Some("all of A"));
        assert_eq!(reason("A.B", "block=4096,thin=no"), Some("all of A"));
        assert_eq!(reason("B.A.B", "block=512"), None);
    }

    #[test]
    fn every_line_has_a_reason() {
        assert!(Rules::parse("A.B skip\n").is_err());
        Rules::load().expect("those of this tree");
    }
}
