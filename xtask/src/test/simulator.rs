//! The simulator: many seeds, and planted bugs that it must find.

use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::report::Report;

use super::server::binary;
use super::workspace;

/// Seeds of one test run, and the time they may take.
const SEEDS: &str = "2000";
const LIMIT: Duration = Duration::from_secs(120);
/// Seeds of task management: every case five times.
const SEEDS_OF_FUNCTIONS: &str = "6160";
/// Seeds within which every planted bug must be found.
const SEEDS_PER_BUG: &str = "500";

/// Seeds without a bug, then each planted bug.
pub fn run(report: &mut Report) {
    if !report.check("the simulator builds", workspace::build_simulator) {
        return;
    }
    report.check(&format!("simulator, {SEEDS} seeds"), || {
        process::run(Command::new(binary("scuzzy-sim")).args(["run", "--seeds", SEEDS]), LIMIT).map(drop)
    });
    report.check(&format!("task management at every stage of a command's life, {SEEDS_OF_FUNCTIONS} seeds"), || {
        process::run(Command::new(binary("scuzzy-sim")).args(["functions", "--seeds", SEEDS_OF_FUNCTIONS]), LIMIT).map(drop)
    });
    report.check(&format!("each planted bug is found within {SEEDS_PER_BUG} seeds"), || {
        let output = process::run(Command::new(binary("scuzzy-sim")).args(["planted", "--seeds", SEEDS_PER_BUG]), 2 * LIMIT)?;
        for line in output.lines() {
            println!("     | {line}");
        }
        Ok(())
    });
}
