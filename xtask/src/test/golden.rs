//! Transcripts of the C tools: our tools must give the same answers, alone and in both mixed pairings.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::report::Report;
use crate::{process, root};

/// Cases whose modes and devices exist here.
const CASES: &[&str] = &["01", "02", "03", "04", "06", "07", "08", "11", "17", "18", "19", "20", "23", "26", "32"];
/// Of these, what a pairing of ours with a C tool can show.
const MIXED: &[&str] = &["06", "07", "08", "11", "17", "18", "19", "20", "23", "26", "32"];

/// Each case in each pairing.
pub fn run(report: &mut Report) {
    let ours = |name: &str| root().join("target/release").join(name);
    let pairings = [
        ("our tgtadm, our tgtd", ours("tgtadm"), ours("tgtd"), CASES),
        ("C tgtadm, our tgtd", PathBuf::from("/usr/sbin/tgtadm"), ours("tgtd"), MIXED),
        ("our tgtadm, C tgtd", ours("tgtadm"), PathBuf::from("/usr/sbin/tgtd"), MIXED),
    ];
    for (name, tgtadm, tgtd, cases) in pairings {
        report.check(&format!("golden, {name}, {} cases", cases.len()), || run_cases(&tgtadm, &tgtd, cases));
    }
}

fn run_cases(tgtadm: &PathBuf, tgtd: &PathBuf, cases: &[&str]) -> Result<()> {
    let folder = root().join("tests/golden");
    let mut files = Vec::new();
    for case in cases {
        let found = std::fs::read_dir(&folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).find(|path| {
            path.extension().is_some_and(|extension| extension == "case")
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(case))
        });
        files.push(found.with_context(|| format!("no golden case {case}"))?);
    }
    let mut command = Command::new("python3");
    command.arg(folder.join("run.py")).args(&files).env("TGTADM", tgtadm).env("TGTD", tgtd).current_dir(&folder);
    let output = process::run(&mut command, Duration::from_secs(300))?;
    let expected = format!("{} passed, 0 failed", cases.len());
    if output.lines().last() != Some(expected.as_str()) {
        bail!("expected '{expected}'\n{}", process::tail(&output));
    }
    Ok(())
}
