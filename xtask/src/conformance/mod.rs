//! `cargo xtask conformance`: libiscsi's suite on every kind of disk, beside the C tgtd, and the pages that are made of the results.

mod compare;
mod expect;
pub mod matrix;
pub mod results;
pub mod suite;

use anyhow::{Result, bail};

pub use suite::Outcomes;

use crate::report;

/// `conformance [--product | --triples | --compare | --write | --check]`.
///
/// # Errors
/// An unknown option.
pub fn run(words: &[String]) -> Result<bool> {
    match words.first().map(String::as_str) {
        None | Some("--check") => report::single("pages of the suite's results", check),
        Some("--write") => report::single("pages of the suite's results", || specify(true)),
        Some("--product") => report::single("libiscsi test suite on every kind of disk", results::product),
        Some("--triples") => report::single("libiscsi test suite on disks with any three properties", results::triples),
        Some("--compare") => report::single("libiscsi test suite beside the C tgtd", compare::run),
        Some(other) => bail!("conformance: no option '{other}'"),
    }
}

/// Fails when a page is not what the newest results say.
///
/// # Errors
/// Tells which.
pub fn check() -> Result<()> {
    specify(false)
}

fn specify(write: bool) -> Result<()> {
    results::specify(write)?;
    compare::page(write)
}
