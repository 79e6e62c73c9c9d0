//! Format, lints, builds, and the tests inside the crates.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::report::Report;
use crate::{process, root};

/// A cold build of everything on two cores stays well below this.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs them all.
pub fn run(report: &mut Report) {
    report.check("format", || cargo(&["fmt", "--all", "--check"]));
    report.check("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]));
    report.check("release binaries build", build_release);
    report.check("unit, property and corpus tests", || cargo(&["test", "--workspace", "--quiet"]));
    report.check("documentation builds", || {
        let mut command = Command::new("cargo");
        command.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings").current_dir(root());
        process::run(&mut command, LIMIT).map(drop)
    });
}

/// `cargo build --release` of every shipped binary and of the load.
pub fn build_release() -> Result<()> {
    cargo(&["build", "--release", "--package", "cli", "--package", "load", "--bins", "--quiet"])
}

/// The simulator, apart from the shipped binaries: it builds the cores with the feature that can plant bugs.
pub fn build_simulator() -> Result<()> {
    cargo(&["build", "--release", "--package", "sim", "--bins", "--quiet"])
}

fn cargo(words: &[&str]) -> Result<()> {
    process::run(Command::new("cargo").args(words).current_dir(root()), LIMIT).map(drop)
}
