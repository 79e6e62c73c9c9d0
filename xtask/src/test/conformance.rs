//! libiscsi's own test suite against our disks, with what is expected of each test written down.

use anyhow::{Result, bail};

use crate::conformance::{Outcomes, matrix, suite};
use crate::process::Scratch;
use crate::report::Report;

/// On few disks that pair every property with every other.
pub fn run(report: &mut Report) {
    let mut all = Vec::new();
    report.check("libiscsi test suite runs", || {
        let folder = Scratch::new("conformance-results")?;
        all = suite::on(&matrix::pairwise(), folder.path())?;
        Ok(())
    });
    for (disk, result) in all {
        report.check(&format!("libiscsi test suite: {}", disk.title()), || told(&result?));
    }
}

/// One line of what happened, or what should not have.
fn told(outcomes: &Outcomes) -> Result<()> {
    let count = |what: &str| outcomes.values().filter(|outcome| outcome.what == what).count();
    println!("     | {} passed, {} skipped, {} failed", count("pass"), count("skip"), outcomes.values().filter(|outcome| outcome.failed()).count());
    let wrong: Vec<String> = outcomes
        .iter()
        .filter(|(_, outcome)| !outcome.expected)
        .map(|(name, outcome)| format!("{name}: {} is not what tests/conformance/expect.txt says: {}", outcome.what, outcome.why))
        .collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}
