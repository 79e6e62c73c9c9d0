//! Counts checks and prints one line for each.

use std::time::Instant;

use anyhow::Result;

/// What happened so far.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    /// Runs one check and prints its line with the seconds it took.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> bool {
        let started = Instant::now();
        let result = check();
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {name} ({seconds:.1} s)");
                true
            }
            Err(error) => {
                println!("FAIL {name} ({seconds:.1} s)");
                for line in format!("{error:#}").lines() {
                    println!("     | {line}");
                }
                self.failed.push(name.to_owned());
                false
            }
        }
    }

    /// Prints the closing line; true when nothing failed and something passed.
    pub fn close(&self) -> bool {
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        self.failed.is_empty() && self.passed > 0
    }
}

/// One check alone.
pub fn single(name: &str, check: impl FnOnce() -> Result<()>) -> Result<bool> {
    let mut report = Report::default();
    report.check(name, check);
    Ok(report.close())
}
