//! The suite on one disk of ours, or on several at once.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::matrix::{Disk, USER};
use crate::process::{self, Scratch};
use crate::root;
use crate::test::server::Server;

/// One process per test of about 250 tests, on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);
/// Runs at the same time: most of a run is waiting.
pub const AT_ONCE: usize = 4;
/// Secret of the disks that want one.
const SECRET: &str = "a-secret-of-16-b";
/// Size of every disk.
const SIZE: u64 = 1 << 30;

/// What became of one test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `pass`, `skip`, `fail`, `timeout`, `crash` or `error`.
    pub what: String,
    /// What the suite says of it.
    pub why: String,
    /// As `tests/conformance/expect.txt` says.
    pub expected: bool,
}

impl Outcome {
    /// Neither passed nor skipped.
    pub fn failed(&self) -> bool {
        self.what != "pass" && self.what != "skip"
    }
}

/// Every test of a run by its name, `Suite.Test`.
pub type Outcomes = BTreeMap<String, Outcome>;

/// Reads what `run.py --json` wrote.
pub fn read(path: &Path) -> Result<Outcomes> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let said: Value = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
    let word = |test: &Value, name: &str| test[name].as_str().unwrap_or_default().to_owned();
    let outcome =
        |test: &Value| Outcome { what: word(test, "outcome"), why: word(test, "why"), expected: test["expected"].as_bool().unwrap_or_default() };
    let tests = said["tests"].as_object().context("no tests")?;
    Ok(tests.iter().map(|(name, test)| (name.clone(), outcome(test))).collect())
}

/// Runs `run.py` with these words, its JSON to `json`; whether all was as expected, and its output.
pub fn run_py(words: &[&str], json: &Path) -> Result<(bool, String)> {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/conformance/run.py")).args(words).arg("--json").arg(json);
    let (status, output) = process::finish(&mut command, LIMIT)?;
    match status {
        Some(0) => Ok((true, output)),
        Some(1) if json.exists() => Ok((false, output)),
        _ => bail!("{}", process::tail(&output)),
    }
}

/// Runs the suite on `disk`; its JSON stays in `json`.
fn one(disk: Disk, json: &Path) -> Result<Outcomes> {
    let folder = Scratch::new("conformance")?;
    let mut words: Vec<String> = disk.serve().into_iter().map(str::to_owned).collect();
    if disk.in_file() {
        let image = folder.path().join("disk.img");
        std::fs::File::create(&image)?.set_len(SIZE)?;
        words.push(image.to_string_lossy().into_owned());
    } else {
        words.extend(["--memory".to_owned(), SIZE.to_string()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let server = Server::start_with(&words, &[("SCUZZY_CHAP_SECRET", SECRET)])?;
    let parameters = disk.parameters();
    if !parameters.is_empty() {
        server.tgtadm(&["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "--params", &parameters])?;
    }
    let account = if disk.chap() { format!("iscsi://{USER}%{SECRET}@") } else { "iscsi://".to_owned() };
    let url = server.url.replace("iscsi://", &account);
    let expect = root().join("tests/conformance/expect.txt");
    let expect = expect.to_string_lossy();
    let (as_expected, output) = run_py(&[&url, "--second", &url, "--strict", "--told", "--disk", &disk.name(), "--expect", &expect, "-q"], json)?;
    let outcomes = read(json)?;
    if as_expected == outcomes.values().any(|outcome| !outcome.expected) {
        bail!("{}", process::tail(&output));
    }
    Ok(outcomes)
}

/// Runs the suite on `disks`, some at once, and keeps the results in `folder`: what is there is not run again. In the order of `disks`.
pub fn on(disks: &[Disk], folder: &Path) -> Result<Vec<(Disk, Result<Outcomes>)>> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let waiting: Mutex<VecDeque<(usize, Disk)>> = Mutex::new(disks.iter().copied().enumerate().collect());
    let done: Mutex<BTreeMap<usize, (Disk, Result<Outcomes>)>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((place, disk)) = take(&waiting) {
                    let result = kept(disk, folder);
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(place, (disk, result));
                }
            });
        }
    });
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect())
}

fn take(waiting: &Mutex<VecDeque<(usize, Disk)>>) -> Option<(usize, Disk)> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// What an earlier run left, or a new run.
fn kept(disk: Disk, folder: &Path) -> Result<Outcomes> {
    let path: PathBuf = folder.join(format!("{}.json", disk.name()));
    if path.exists() {
        return read(&path);
    }
    let unfinished = path.with_extension("part");
    let outcomes = one(disk, &unfinished)?;
    std::fs::rename(&unfinished, &path)?;
    Ok(outcomes)
}
