//! libiscsi's own test suite against our disk, with what is expected of each test written down.

use std::process::Command;
use std::time::Duration;

use super::server::Server;
use crate::report::Report;
use crate::{process, root};

/// One process per test of about 250 tests.
const LIMIT: Duration = Duration::from_secs(420);

/// A thin, writable memory disk with 512-byte blocks.
pub fn run(report: &mut Report) {
    report.check("libiscsi test suite", || {
        let server = Server::start(&["--memory", "1G"])?;
        let mut command = Command::new("python3");
        command.arg(root().join("tests/conformance/run.py")).arg(&server.url).args(["--second", &server.url]);
        command.arg("--expect").arg(root().join("tests/conformance/expect.txt"));
        let output = process::run(&mut command, LIMIT)?;
        for line in output.lines().rev().take(1) {
            println!("     | {line}");
        }
        Ok(())
    });
}
