//! The A/B benchmark against the C tgtd: CPU per I/O, IOPS, latency, interleaved in one run.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{packages, root};

/// Builds the release daemon and hands `words` to bench/compare.py; nothing given: the quick suite, C tgtd against ours.
pub fn run(words: &[String]) -> Result<bool> {
    packages::install(packages::ALL)?;
    let root = root();
    let built =
        Command::new("cargo").args(["build", "--release", "--package", "cli", "--bins"]).current_dir(&root).status().context("cargo build")?;
    if !built.success() {
        return Ok(false);
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
