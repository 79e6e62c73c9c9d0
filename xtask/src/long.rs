//! What takes hours: seeds of the simulator, kills, the suite on every kind of disk, fuzzing. In pieces, so that it can be stopped and goes on, and
//! with a dated result of what was really done.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::conformance::results::{self, commit, today};
use crate::report::Report;
use crate::test::server::binary;
use crate::test::{build_release, build_simulator, kills};
use crate::{fuzz, process, root};

/// Where the results are kept, and the page that lists them.
const FOLDER: &str = "docs/results";
const PAGE: &str = "docs/results/README.md";

/// Something that is done again and again, a piece at a time.
struct Part {
    name: &'static str,
    /// What is counted.
    unit: &'static str,
    /// How many a long run does.
    goal: u64,
    /// How many at a time.
    piece: u64,
    /// Does `count` of them from `first` on.
    run: fn(first: u64, count: u64) -> Result<()>,
}

const PARTS: &[Part] = &[
    Part { name: "simulator", unit: "seeds", goal: 200_000, piece: 2000, run: seeds },
    Part { name: "kill", unit: "kills", goal: 5000, piece: 100, run: kill },
    Part { name: "fuzz", unit: "minutes of each target", goal: 60, piece: 1, run: minutes },
];

/// `long [PART...] [--minutes N]`: all parts, until each has reached its goal or the time is over.
///
/// # Errors
/// An unknown part, or a number that is none.
pub fn run(words: &[String]) -> Result<bool> {
    let mut minutes = None;
    let mut chosen = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--minutes" => minutes = Some(words.next().context("--minutes needs a number")?.parse::<u64>().context("--minutes")?),
            name if PARTS.iter().any(|part| part.name == name) || name == "conformance" => chosen.push(name),
            other => bail!("long: no part '{other}'; there are simulator, kill, fuzz, conformance"),
        }
    }
    let mut report = Report::default();
    parts(&mut report, &chosen, minutes.map(|minutes| Duration::from_secs(minutes * 60)));
    Ok(report.close())
}

/// Every part, to its goal.
pub fn all(report: &mut Report) {
    parts(report, &[], None);
}

fn parts(report: &mut Report, chosen: &[&str], limit: Option<Duration>) {
    let wanted = |name: &str| chosen.is_empty() || chosen.contains(&name);
    report.check("release binaries build", build_release);
    report.check("the simulator builds", build_simulator);
    for part in PARTS.iter().filter(|part| wanted(part.name)) {
        if part.name == "fuzz" && !fuzz::is_there() {
            println!("skip fuzz: there is no cargo-fuzz");
            continue;
        }
        report.check(&format!("long: {} {}", part.goal, part.unit), || go_on(part, limit));
    }
    if wanted("conformance") {
        report.check("long: libiscsi test suite on every kind of disk", results::product);
    }
}

fn seeds(first: u64, count: u64) -> Result<()> {
    let mut command = Command::new(binary("scuzzy-sim"));
    command.args(["run", "--first", &first.to_string(), "--seeds", &count.to_string()]);
    process::run(&mut command, Duration::from_secs(3600)).map(drop)
}

fn kill(first: u64, count: u64) -> Result<()> {
    kills(u32::try_from(first)?, u32::try_from(count)?)
}

fn minutes(_: u64, count: u64) -> Result<()> {
    fuzz::run(&["--seconds".to_owned(), (count * 60).to_string()]).map(drop)
}

/// Pieces from where the last run of this commit was stopped. Each is written down when it is done; a failure, too.
fn go_on(part: &Part, limit: Option<Duration>) -> Result<()> {
    let started = Instant::now();
    let mut record = Record::find(part)?;
    while record.to < part.goal && limit.is_none_or(|limit| started.elapsed() < limit) {
        let (begun, count) = (Instant::now(), part.piece.min(part.goal - record.to));
        let result = (part.run)(record.to, count);
        record.seconds += begun.elapsed().as_secs();
        match result {
            Ok(()) => record.to += count,
            Err(error) => {
                record.found.push(format!("from {} on: {error:#}", record.to));
                record.write()?;
                write_page()?;
                return Err(error);
            }
        }
        record.write()?;
    }
    write_page()?;
    println!("     | {} of {} {}, {} s", record.to, part.goal, part.unit, record.seconds);
    Ok(())
}

/// What was done of a part at one commit.
struct Record {
    path: PathBuf,
    name: String,
    unit: String,
    date: String,
    commit: String,
    goal: u64,
    /// The first that was not done.
    to: u64,
    seconds: u64,
    found: Vec<String>,
}

impl Record {
    /// The record of this commit, or a new one of today.
    fn find(part: &Part) -> Result<Record> {
        let (date, commit) = (today()?, commit()?);
        let folder = root().join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{date}-{}-{}.json", part.name, commit.get(..12).unwrap_or(&commit)));
        let old = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok()).unwrap_or_default();
        let number = |name: &str| old[name].as_u64().unwrap_or_default();
        Ok(Record {
            path,
            name: part.name.to_owned(),
            unit: part.unit.to_owned(),
            date,
            commit,
            goal: part.goal,
            to: number("to"),
            seconds: number("seconds"),
            found: Vec::new(),
        })
    }

    fn write(&self) -> Result<()> {
        let said = json!({
            "name": self.name, "unit": self.unit, "date": self.date, "commit": self.commit, "goal": self.goal,
            "from": 0, "to": self.to, "seconds": self.seconds, "found": self.found,
        });
        std::fs::write(&self.path, serde_json::to_string_pretty(&said)? + "\n").context(self.path.display().to_string())
    }
}

/// The page that lists all records.
fn write_page() -> Result<()> {
    let mut rows = BTreeMap::new();
    for entry in std::fs::read_dir(root().join(FOLDER))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let said: Value = serde_json::from_str(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
            rows.insert(path, row(&said));
        }
    }
    let mut page = "# Long runs\n\nMade by `cargo xtask long`, which `cargo xtask test --long` is a part of: what was done, and what it found. A run that was stopped did less than its\n\
        goal. The suite on every kind of disk is in `tests/conformance/results`.\n\n\
        | date | commit | what | done | of | seconds | found |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows.values() {
        let _ = writeln!(page, "{row}");
    }
    std::fs::write(root().join(PAGE), page).context(PAGE)
}

fn row(said: &Value) -> String {
    let word = |name: &str| said[name].as_str().unwrap_or_default();
    let number = |name: &str| said[name].as_u64().unwrap_or_default();
    let first_lines = said["found"].as_array().into_iter().flatten().filter_map(Value::as_str).filter_map(|found| found.lines().next());
    let found = first_lines.collect::<Vec<_>>().join("; ").replace('|', "/");
    let found = if found.is_empty() { "nothing" } else { &found };
    let (what, unit) = (word("name"), word("unit"));
    let done = if number("to") == 0 { "none".to_owned() } else { format!("{} to {}", number("from"), number("to") - 1) };
    format!("| {} | {} | {what}: {unit} | {done} | {} | {} | {found} |", word("date"), word("commit"), number("goal"), number("seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_row() {
        let mut said = json!({
            "date": "2026-01-02", "commit": "abc", "name": "simulator", "unit": "seeds", "goal": 200, "from": 0, "to": 20, "seconds": 3, "found": [],
        });
        assert_eq!(row(&said), "| 2026-01-02 | abc | simulator: seeds | 0 to 19 | 200 | 3 | nothing |");
        said["found"] = json!(["from 20 on: seed 21: a | b\nmore"]);
        said["to"] = json!(0);
        assert_eq!(row(&said), "| 2026-01-02 | abc | simulator: seeds | none | 200 | 3 | from 20 on: seed 21: a / b |");
    }
}
