//! The suite on the C tgtd and on ours, both set up by the same `tgtadm` commands in the same run, and the page of the book that tells the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::results::{self, FOLDER};
use super::suite::{self, Outcome, Outcomes};
use crate::process::{self, Background, Scratch};
use crate::root;
use crate::test::build_release;
use crate::test::server::binary;

/// The page.
const PAGE: &str = "docs/src/conformance.md";
/// End of the name of the kept results.
const ENDING: &str = "-compare";
/// Size of the disk.
const SIZE: u64 = 1 << 30;
/// One call of tgtadm, and the start of a daemon.
const LIMIT: Duration = Duration::from_secs(20);
/// Characters of the suite's own words that are kept.
const WORDS: usize = 100;
/// The target.
const NAME: &str = "iqn.2026-11.io.scuzzy:compare";

/// A disk of the comparison.
struct Kind {
    /// What it is.
    title: &'static str,
    /// `tgtadm --params` of an update.
    parameters: &'static str,
    /// Words of `run.py`: what runs on it.
    runner: &'static [&'static str],
}

/// Each test runs on one of them: the plain disk, unless it wants another.
const KINDS: &[Kind] = &[
    Kind {
        title: "thin provisioned",
        parameters: "thin_provisioning=1",
        runner: &["--skip", "NoMedia", "--skip", "PreventAllow", "--skip", "StartStopUnit", "--skip", "ReadOnly"],
    },
    Kind {
        title: "removable",
        parameters: "thin_provisioning=1,removable=1",
        runner: &["--only", "NoMedia", "--only", "PreventAllow", "--only", "StartStopUnit"],
    },
    Kind { title: "write protected", parameters: "thin_provisioning=1,readonly=1", runner: &["--only", "ReadOnly"] },
];

/// A daemon, and how to talk to it.
struct Daemon {
    _process: Background,
    tgtadm: PathBuf,
    socket: PathBuf,
    url: String,
}

impl Daemon {
    /// Starts `tgtd` on a free port and gives it a disk.
    fn start(tgtd: &Path, tgtadm: &Path, folder: &Path, parameters: &str) -> Result<Daemon> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let socket = folder.join("socket");
        let image = folder.join("disk.img");
        std::fs::File::create(&image)?.set_len(SIZE)?;
        let mut command = Command::new(tgtd);
        command.args(["-f", "-C", "0", "--iscsi", &format!("portal=127.0.0.1:{port}")]).env("TGT_IPC_SOCKET", &socket);
        let process = Background::start(&mut command, &folder.join("log"))?;
        let url = format!("iscsi://127.0.0.1:{port}/{NAME}/1");
        let daemon = Daemon { _process: process, tgtadm: tgtadm.to_owned(), socket, url };
        process::wait_for("the daemon", LIMIT, || daemon.call(&["--mode", "target", "--op", "show"]).ok())?;
        daemon.call(&["--mode", "target", "--op", "new", "--tid", "1", "-T", NAME])?;
        let image = image.to_string_lossy();
        daemon.call(&["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", &image])?;
        daemon.call(&["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "--params", parameters])?;
        daemon.call(&["--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"])?;
        Ok(daemon)
    }

    fn call(&self, words: &[&str]) -> Result<String> {
        process::run(Command::new(&self.tgtadm).args(["-C", "0", "--lld", "iscsi"]).args(words).env("TGT_IPC_SOCKET", &self.socket), LIMIT)
    }
}

/// Every kind of disk of one daemon, all results in one.
fn suite_on(tgtd: &Path, tgtadm: &Path) -> Result<Outcomes> {
    let mut all = Outcomes::new();
    for kind in KINDS {
        let folder = Scratch::new("compare")?;
        let daemon = Daemon::start(tgtd, tgtadm, folder.path(), kind.parameters).with_context(|| kind.title)?;
        let json = folder.path().join("json");
        let words = [&[daemon.url.as_str(), "--second", &daemon.url, "-q"], kind.runner].concat();
        let (_, output) = suite::run_py(&words, &json)?;
        let outcomes = suite::read(&json)?;
        if output.contains("not run:") {
            bail!("{}: {}", tgtd.display(), process::tail(&output));
        }
        all.extend(outcomes);
    }
    Ok(all)
}

/// Runs the suite on both, at the same time, and writes the results and the page.
///
/// # Errors
/// A run could not be made.
pub fn run() -> Result<()> {
    build_release()?;
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| suite_on(Path::new("/usr/sbin/tgtd"), Path::new("/usr/sbin/tgtadm")));
        let ours = suite_on(&binary("tgtd"), &binary("tgtadm"));
        (theirs.join(), ours)
    });
    let theirs = theirs.map_err(|_| anyhow::anyhow!("the run on the C tgtd did not end"))??;
    let ours = ours?;
    let version = process::run(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "tgt"]), LIMIT)?;
    let told = |outcome: &Outcome| json!({ "outcome": outcome.what, "why": outcome.why.chars().take(WORDS).collect::<String>() });
    let tests: BTreeMap<&String, Value> =
        theirs.iter().filter_map(|(name, outcome)| Some((name, json!({ "c": told(outcome), "ours": told(ours.get(name)?) })))).collect();
    let said = json!({
        "date": results::today()?, "commit": results::commit()?, "suite": results::suite_version()?, "tgt": version.trim(), "tests": tests,
    });
    let path = root().join(FOLDER).join(format!("{}{ENDING}.json", results::today()?));
    std::fs::write(path, serde_json::to_string_pretty(&said)? + "\n")?;
    page(true)
}

/// Puts the page in its place, or fails when it is not what the newest results say.
///
/// # Errors
/// There are no results.
pub fn page(write: bool) -> Result<()> {
    let path = results::newest(ENDING)?;
    let said: Value = serde_json::from_str(&std::fs::read_to_string(&path)?).with_context(|| format!("{}", path.display()))?;
    let made = made(&said).with_context(|| format!("{}", path.display()))?;
    let page = root().join(PAGE);
    if write {
        std::fs::write(&page, made)?;
    } else if std::fs::read_to_string(&page).unwrap_or_default() != made {
        bail!("{PAGE} is not what the newest results say: cargo xtask conformance --write");
    }
    Ok(())
}

/// What a test did on one of the two.
struct Side<'a> {
    what: &'a str,
    why: &'a str,
}

impl<'a> Side<'a> {
    fn of(test: &'a Value, side: &str) -> Side<'a> {
        let word = |name: &str| test[side][name].as_str().unwrap_or_default();
        Side { what: word("outcome"), why: word("why") }
    }

    /// Place in the sums: passed, failed, skipped.
    fn place(&self) -> usize {
        match self.what {
            "pass" => 0,
            "skip" => 2,
            _ => 1,
        }
    }

    fn cell(&self) -> String {
        let word = ["passed", "failed", "skipped"][self.place()];
        let why = self.why.split(" | ").next().unwrap_or_default().replace('|', "/");
        if why.is_empty() { word.to_owned() } else { format!("{word}: {why}") }
    }
}

fn made(said: &Value) -> Result<String> {
    let word = |name: &str| said[name].as_str().with_context(|| format!("no {name}"));
    let tests = said["tests"].as_object().context("no tests")?;
    let mut page = format!(
        "# libiscsi's test suite beside the C tgtd\n\n\
        Made by `cargo xtask conformance --compare` on {}, commit {}: {} on the C tgtd {} and on our `tgtd`, in the same run.\n\
        Both got their disks by the same `tgtadm` commands: 1 GiB in a file, `rdwr`, 512-byte blocks. Tests that want a removable or a write-protected\n\
        disk ran on one, all others on a thin-provisioned disk.\n\n\
        | family | C passed | failed | skipped | ours passed | failed | skipped |\n|---|---|---|---|---|---|---|\n",
        word("date")?,
        word("commit")?,
        word("suite")?,
        word("tgt")?
    );
    let mut families: BTreeMap<&str, [[usize; 3]; 2]> = BTreeMap::new();
    for (name, test) in tests {
        let family = name.split('.').next().unwrap_or_default();
        for key in [family, "~"] {
            let sums = families.entry(key).or_default();
            for (sums, side) in sums.iter_mut().zip(["c", "ours"]) {
                sums[Side::of(test, side).place()] += 1;
            }
        }
    }
    for (family, [theirs, ours]) in families {
        let family = if family == "~" { "**all**" } else { family };
        let _ = writeln!(page, "| {family} | {} | {} | {} | {} | {} | {} |", theirs[0], theirs[1], theirs[2], ours[0], ours[1], ours[2]);
    }
    page.push_str("\n## Tests that differ\n\n| test | C tgtd | ours |\n|---|---|---|\n");
    let mut same = BTreeSet::new();
    for (name, test) in tests {
        let (theirs, ours) = (Side::of(test, "c"), Side::of(test, "ours"));
        if theirs.place() != ours.place() {
            let _ = writeln!(page, "| `{name}` | {} | {} |", theirs.cell(), ours.cell());
        } else if ours.place() != 0 {
            same.insert(format!("| `{name}` | {} | {} |\n", theirs.cell(), ours.cell()));
        }
    }
    page.push_str("\n## Tests that pass on neither\n\n| test | C tgtd | ours |\n|---|---|---|\n");
    page.extend(same);
    page.push_str("\nWhat our failures and skips are is told in `SPECIFICATION.md`, for every kind of disk.\n");
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences() {
        let test = |c: &str, ours: &str| json!({ "c": { "outcome": c, "why": "w | x" }, "ours": { "outcome": ours, "why": "" } });
        let said = json!({
            "date": "2026-01-02", "commit": "abc", "suite": "s 1", "tgt": "1.0",
            "tests": { "A.One": test("timeout", "pass"), "A.Two": test("pass", "pass"), "B.One": test("skip", "skip") },
        });
        let page = made(&said).expect("a page");
        for line in [
            "| A | 1 | 1 | 0 | 2 | 0 | 0 |",
            "| **all** | 1 | 1 | 1 | 2 | 0 | 1 |",
            "| `A.One` | failed: w | passed |",
            "| `B.One` | skipped: w | skipped |",
        ] {
            assert!(page.contains(line), "no {line} in\n{page}");
        }
        assert!(!page.contains("`A.Two`"));
    }
}
