//! The lab: a real Linux kernel as the initiator.

use std::process::Command;

use anyhow::{Context, Result};

use crate::root;

/// Cases of this project's disk, in the order they run.
pub const DISK_CASES: &[&str] = &["01", "02", "03", "06", "12", "13", "14"];

/// Cases for a long run: 07 waits for minutes until paths are given up and come back, 15 makes and checks three file systems.
pub const LONG_CASES: &[&str] = &["07", "15"];

/// `lab [CASE...]`: builds the release binaries and runs the cases against them.
pub fn run(words: &[String]) -> Result<bool> {
    let root = root();
    let built =
        Command::new("cargo").args(["build", "--release", "--package", "cli", "--bins"]).current_dir(&root).status().context("cargo build")?;
    if !built.success() {
        return Ok(false);
    }
    let cases: Vec<&str> = if words.is_empty() { DISK_CASES.to_vec() } else { words.iter().map(String::as_str).collect() };
    Ok(command(&cases).status().context("lab/run-cases")?.success())
}

/// The command that runs `cases` against target/release.
pub fn command(cases: &[&str]) -> Command {
    let root = root();
    let mut command = Command::new(root.join("lab/run-cases"));
    command.args(cases).env("LAB_BIN", root.join("target/release")).env("TGT_ONLY", "disk").current_dir(&root);
    command
}
