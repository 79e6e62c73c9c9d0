//! The A/B benchmark against the C tgtd: CPU per I/O, IOPS, latency, interleaved in one run.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{packages, root};

/// What the plot of the table is drawn with.
const PLOT: &[&str] = &["python3-matplotlib"];

/// Builds the release binaries and hands `words` to bench/compare.py; nothing given: the quick suite, C tgtd against ours. With `--table` the table of
/// promises is measured instead: the words behind go to bench/table.py.
pub fn run(words: &[String]) -> Result<bool> {
    packages::install(packages::ALL)?;
    let root = root();
    let built = Command::new("cargo").args(["build", "--release", "--package", "cli", "--package", "load", "--bins"]).current_dir(&root).status();
    let built = built.context("cargo build")?;
    if !built.success() {
        return Ok(false);
    }
    if let [first, rest @ ..] = words
        && first == "--table"
    {
        if rest.iter().any(|word| word == "--write") {
            packages::install(PLOT)?;
        }
        let mut command = Command::new("python3");
        command.arg(root.join("bench/table.py")).args(rest).current_dir(&root);
        return Ok(command.status().context("python3 bench/table.py")?.success());
    }
    let mut command = Command::new("python3");
    command.arg(root.join("bench/compare.py")).current_dir(&root);
    if words.is_empty() {
        command.args(["--a", "ctgtd", "--b", "scuzzy", "--suite", "quick"]);
    } else {
        command.args(words);
    }
    Ok(command.status().context("python3 bench/compare.py")?.success())
}
