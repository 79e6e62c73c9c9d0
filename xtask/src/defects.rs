//! The tables of defects and of attacks name tests: each must exist, and no row may be missing.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::root;

/// Rows that a page must have: what stands before a number, and the first and the last number.
type Rows = &'static [(&'static str, u32, u32)];

/// The pages and their rows.
const PAGES: &[(&str, Rows)] = &[
    ("docs/src/tgt-defects.md", &[("", 1, 22)]),
    // B10 would be about iSER.
    ("docs/src/attacks.md", &[("A", 1, 20), ("B", 1, 9), ("B", 11, 14), ("C", 1, 4)]),
];
/// Lines between `#[test]` and its function: other attributes.
const ATTRIBUTES: usize = 4;

/// Names of tests: functions marked so, and transcripts.
pub struct Tests(BTreeSet<String>);

impl Tests {
    /// None yet.
    pub fn new() -> Tests {
        Tests(BTreeSet::new())
    }

    /// Takes those of a source file.
    pub fn add(&mut self, text: &str) {
        let mut left = 0;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") {
                left = ATTRIBUTES;
            } else if left > 0 {
                left -= 1;
                if let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
                    self.0.insert(name.to_owned());
                    left = 0;
                }
            }
        }
    }

    /// Takes the transcripts.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn add_transcripts(&mut self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "case") {
                self.0.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
            }
        }
        Ok(())
    }
}

/// Checks the pages of this tree.
///
/// # Errors
/// It cannot be read.
pub fn check(tests: &mut Tests, wrong: &mut Vec<String>) -> Result<()> {
    tests.add_transcripts(&root().join("tests/golden"))?;
    for (page, rows) in PAGES {
        let text = std::fs::read_to_string(root().join(page)).context(*page)?;
        let numbers = rows.iter().flat_map(|(letter, first, last)| (*first..=*last).map(move |number| format!("{letter}{number}")));
        wrong.extend(complaints(&text, tests, numbers).into_iter().map(|complaint| format!("{page}: {complaint}")));
    }
    Ok(())
}

/// Every row has tests that exist, every number a row.
fn complaints(text: &str, tests: &Tests, required: impl Iterator<Item = String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut numbers: BTreeSet<&str> = BTreeSet::new();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let (Some(first), Some(last)) = (cells.first(), cells.last()) else { continue };
        if *last == "tests" {
            continue;
        }
        numbers.insert(first);
        // What stands between backquotes.
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        if cells.len() != 4 || named.is_empty() {
            wrong.push(format!("'{first}' has {} cells and {} tests", cells.len(), named.len()));
        }
        wrong.extend(named.iter().filter(|name| !tests.0.contains(**name)).map(|name| format!("'{first}' names {name}, which is no test")));
    }
    wrong.extend(required.filter(|number| !numbers.contains(number.as_str())).map(|number| format!("{number} has no row")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &str) -> String {
        let others: String = (2..=22).map(|number| format!("| {number} | a | b | `there` |\n")).collect();
        format!("| no. | the C tools | here | tests |\n|---|---|---|---|\n{rows}{others}")
    }

    fn told(rows: &str) -> Vec<String> {
        let mut tests = Tests::new();
        tests.add("#[test]\nfn there() {}\n    #[test]\n    #[ignore = \"slow\"]\n    fn inside() {}\nfn helper() {}\n");
        complaints(&page(rows), &tests, (1..=22).map(|number: u32| number.to_string()))
    }

    #[test]
    fn rows_must_name_tests_that_exist() {
        assert_eq!(told("| 1 | `x` | b | `there` `inside` |\n"), Vec::<String>::new());
        assert_eq!(told("| 1 | a | b | `helper` |\n"), ["'1' names helper, which is no test"]);
        assert_eq!(told("| 1 | a | b | none |\n"), ["'1' has 4 cells and 0 tests"]);
        assert_eq!(told("| 1 | a | `there` |\n"), ["'1' has 3 cells and 1 tests"]);
        assert_eq!(told(""), ["1 has no row"]);
    }

    #[test]
    fn transcripts_are_tests() {
        let mut tests = Tests::new();
        tests.add_transcripts(&root().join("tests/golden")).expect("the folder");
        assert!(tests.0.contains("10-redirect"));
    }
}
