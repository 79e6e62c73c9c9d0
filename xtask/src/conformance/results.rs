//! The dated results of the suite on every kind of disk, and the part of the specification that is made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::expect::{Rule, Rules};
use super::matrix::{self, Disk, PROPERTIES};
use super::suite::{self, Outcomes};
use crate::{process, root};

/// Where results are kept.
pub const FOLDER: &str = "tests/conformance/results";
/// The page whose part is made from them.
const PAGE: &str = "SPECIFICATION.md";
/// Around that part.
const BEGIN: &str = "<!-- made by `cargo xtask conformance --write`: begin -->\n";
const END: &str = "<!-- made by `cargo xtask conformance --write`: end -->\n";
/// Characters of the suite's own words that are kept.
const WORDS: usize = 120;

/// Runs the suite on every kind of disk and writes the result. What an earlier, broken-off run of the same commit finished is not run again.
///
/// # Errors
/// A test that did what `tests/conformance/expect.txt` does not say.
pub fn product() -> Result<()> {
    run_on("all combinations", &matrix::product())
}

/// The same on the disks among which any three values are to be found: a tenth of the time.
///
/// # Errors
/// As [`product`].
pub fn triples() -> Result<()> {
    run_on("any three values", &matrix::triples())
}

fn run_on(choice: &str, disks: &[Disk]) -> Result<()> {
    let commit = commit()?;
    let done = suite::on(disks, &root().join("target/conformance").join(&commit))?;
    let mut runs = Vec::new();
    for (disk, outcomes) in done {
        runs.push((disk, outcomes.with_context(|| disk.name())?));
    }
    let date = today()?;
    let results = Results::new(&date, &commit, choice, &runs)?;
    let folder = root().join(FOLDER);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(format!("{date}.json")), results.json()?)?;
    std::fs::write(folder.join(format!("{date}.md")), results.page(&runs))?;
    println!("     | {}", results.summary());
    if !results.unexpected.is_empty() {
        bail!("{}", results.unexpected.join("\n"));
    }
    Ok(())
}

/// The commit that is checked out, with a mark when something was changed.
pub fn commit() -> Result<String> {
    let words = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    Ok(process::run(Command::new("git").args(words).current_dir(root()), Duration::from_secs(20))?.trim().to_owned())
}

/// `2026-11-25`, in UTC.
pub fn today() -> Result<String> {
    Ok(process::run(Command::new("date").args(["-u", "+%F"]), Duration::from_secs(20))?.trim().to_owned())
}

/// Version of the suite's package.
pub fn suite_version() -> Result<String> {
    let words = ["-W", "-f", "libiscsi-bin ${Version}", "libiscsi-bin"];
    Ok(process::run(Command::new("dpkg-query").args(words), Duration::from_secs(20))?.trim().to_owned())
}

/// Puts the part into its page, or fails when it is not what the newest results and the expectations say.
pub fn specify(write: bool) -> Result<()> {
    let path = root().join(PAGE);
    let text = std::fs::read_to_string(&path).context(PAGE)?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{PAGE} has no place for the results"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{PAGE} has no end of the results"))?;
    let made = format!("{before}{BEGIN}{}{END}{after}", Results::newest()?.part(&Rules::load()?));
    if write {
        std::fs::write(&path, made)?;
    } else if made != text {
        bail!("{PAGE} is not what the newest results and expect.txt say: cargo xtask conformance --write");
    }
    Ok(())
}

/// A test on all disks.
#[derive(Default)]
struct Test {
    /// A letter for each disk: p passed, s skipped, f failed, - not run.
    letters: String,
    /// What the suite said, by letter.
    words: BTreeMap<String, BTreeSet<String>>,
}

/// All of it.
struct Results {
    date: String,
    commit: String,
    suite: String,
    /// How the disks were chosen.
    choice: String,
    disks: Vec<String>,
    tests: BTreeMap<String, Test>,
    unexpected: Vec<String>,
}

impl Results {
    fn new(date: &str, commit: &str, choice: &str, runs: &[(Disk, Outcomes)]) -> Result<Results> {
        let names: BTreeSet<&String> = runs.iter().flat_map(|(_, outcomes)| outcomes.keys()).collect();
        let mut tests = BTreeMap::new();
        let mut unexpected = Vec::new();
        for name in names {
            let mut test = Test::default();
            for (disk, outcomes) in runs {
                let outcome = outcomes.get(name);
                let letter = outcome.map_or('-', |outcome| match outcome.what.as_str() {
                    "pass" => 'p',
                    "skip" => 's',
                    _ => 'f',
                });
                test.letters.push(letter);
                if let Some(outcome) = outcome.filter(|outcome| outcome.what != "pass") {
                    test.words.entry(letter.to_string()).or_default().insert(outcome.why.chars().take(WORDS).collect());
                }
                if let Some(outcome) = outcome.filter(|outcome| !outcome.expected) {
                    unexpected.push(format!("{name} on {}: {}, {}", disk.title(), outcome.what, outcome.why));
                }
            }
            tests.insert(name.clone(), test);
        }
        let disks = runs.iter().map(|(disk, _)| disk.name()).collect();
        Ok(Results { date: date.to_owned(), commit: commit.to_owned(), suite: suite_version()?, choice: choice.to_owned(), disks, tests, unexpected })
    }

    fn json(&self) -> Result<String> {
        let tests: BTreeMap<&String, Value> =
            self.tests.iter().map(|(name, test)| (name, json!({ "outcomes": test.letters, "words": test.words }))).collect();
        let said = json!({
            "date": self.date, "commit": self.commit, "suite": self.suite, "choice": self.choice, "disks": self.disks, "tests": tests, "unexpected": self.unexpected,
        });
        Ok(serde_json::to_string_pretty(&said)? + "\n")
    }

    /// The newest that is kept.
    fn newest() -> Result<Results> {
        let path = newest("")?;
        let said: Value = serde_json::from_str(&std::fs::read_to_string(&path)?).with_context(|| format!("{}", path.display()))?;
        let word = |name: &str| said[name].as_str().map(str::to_owned).with_context(|| format!("{}: no {name}", path.display()));
        let list = |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect() };
        let mut tests = BTreeMap::new();
        for (name, test) in said["tests"].as_object().context("no tests")? {
            let letters = test["outcomes"].as_str().context("no outcomes")?.to_owned();
            let words = test["words"].as_object().into_iter().flatten();
            tests.insert(
                name.clone(),
                Test { letters, words: words.map(|(letter, said)| (letter.clone(), list(said).into_iter().collect())).collect() },
            );
        }
        Ok(Results {
            date: word("date")?,
            commit: word("commit")?,
            suite: word("suite")?,
            choice: word("choice")?,
            disks: list(&said["disks"]),
            tests,
            unexpected: list(&said["unexpected"]),
        })
    }

    fn count(&self, letter: char) -> usize {
        self.tests.values().map(|test| test.letters.matches(letter).count()).sum()
    }

    fn summary(&self) -> String {
        let (passed, skipped, failed) = (self.count('p'), self.count('s'), self.count('f'));
        format!("{} tests on {} disks ({}): {passed} passed, {skipped} skipped, {failed} failed", self.tests.len(), self.disks.len(), self.choice)
    }

    /// The dated page: what each disk and each family did.
    fn page(&self, runs: &[(Disk, Outcomes)]) -> String {
        let mut page = format!("# libiscsi's suite on every kind of disk, {}\n\n", self.date);
        let unexpected = match self.unexpected.len() {
            0 => "Nothing".to_owned(),
            number => number.to_string(),
        };
        let _ = writeln!(page, "{}, commit {}. {}. {unexpected} but what `expect.txt` says.\n", self.suite, self.commit, self.summary());
        for line in &self.unexpected {
            let _ = writeln!(page, "- {line}");
        }
        page.push_str("\n| family | passed | skipped | failed |\n|---|---|---|---|\n");
        let mut families: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        for (name, test) in &self.tests {
            let sums = families.entry(name.split('.').next().unwrap_or_default()).or_default();
            for (sum, letter) in sums.iter_mut().zip(['p', 's', 'f']) {
                *sum += test.letters.matches(letter).count();
            }
        }
        for (family, [passed, skipped, failed]) in families {
            let _ = writeln!(page, "| {family} | {passed} | {skipped} | {failed} |");
        }
        page.push_str("\n| disk | passed | skipped | failed | not run |\n|---|---|---|---|---|\n");
        for (place, (disk, _)) in runs.iter().enumerate() {
            let of = |letter: u8| self.tests.values().filter(|test| test.letters.as_bytes().get(place) == Some(&letter)).count();
            let _ = writeln!(page, "| {} | {} | {} | {} | {} |", disk.title(), of(b'p'), of(b's'), of(b'f'), of(b'-'));
        }
        page
    }

    /// What skipped or failed, by the line of the expectations that says why.
    fn part(&self, rules: &Rules) -> String {
        let values = PROPERTIES.iter().map(|it| format!("{} {}", it.name, it.values.join(" or "))).collect::<Vec<_>>().join("; ");
        let mut part = format!(
            "\n{}, {} at commit {}. {}; {} of it unexpected.\nProperties of the disks: {values}.\n",
            self.suite,
            self.date,
            self.commit,
            self.summary(),
            self.unexpected.len()
        );
        for (letter, title, head) in [('s', "Skipped", "the suite says"), ('f', "Failed, each by the suite's own fault", "the suite says")] {
            let _ = write!(part, "\n{title}:\n\n| tests | on | disks | passes on | {head} | because it |\n|---|---|---|---|---|---|\n");
            for (rule, group) in self.groups(letter, rules) {
                let (on, reason) = match &rule {
                    Some(rule) if rule.conditions.is_empty() => ("every disk".to_owned(), rule.reason.clone()),
                    Some(rule) => (rule.conditions.join(", "), rule.reason.clone()),
                    None => (String::new(), "did so then; it must pass now".to_owned()),
                };
                let names = group.tests.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ");
                let words = group.words.iter().cloned().collect::<Vec<_>>().join("; ").replace('|', "/");
                let words = if letter == 'f' { String::new() } else { words };
                let _ = writeln!(part, "| {names} | {on} | {} | {} | {words} | {reason} |", group.disks.len(), group.passes);
            }
        }
        part.push('\n');
        part
    }

    fn groups(&self, letter: char, rules: &Rules) -> BTreeMap<Option<Rule>, Group> {
        let mut groups: BTreeMap<Option<Rule>, Group> = BTreeMap::new();
        for (name, test) in &self.tests {
            let passes = test.letters.matches('p').count();
            for (disk, _) in self.disks.iter().zip(test.letters.chars()).filter(|(_, found)| *found == letter) {
                let group = groups.entry(rules.find(name, disk).cloned()).or_insert_with(|| Group { passes, ..Group::default() });
                group.tests.insert(name.clone());
                group.disks.insert(disk.clone());
                group.passes = group.passes.min(passes);
                group.words.extend(test.words.get(&letter.to_string()).into_iter().flatten().cloned());
            }
        }
        groups
    }
}

/// Tests that one line of the expectations explains.
#[derive(Default)]
struct Group {
    tests: BTreeSet<String>,
    disks: BTreeSet<String>,
    /// Disks on which each of them passes.
    passes: usize,
    words: BTreeSet<String>,
}

/// The newest file of results whose name ends in `ending` and `.json`.
///
/// # Errors
/// There is none.
pub fn newest(ending: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(FOLDER)).context(FOLDER)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // `2026-11-25` before the ending.
        let date = name.strip_suffix(&format!("{ending}.json")).unwrap_or_default();
        if date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            found.push(path);
        }
    }
    found.into_iter().max().with_context(|| format!("{FOLDER} has no results"))
}
