//! libiscsi's own test suite against our disk, with what is expected of each test written down.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::server::Server;
use crate::report::Report;
use crate::{process, root};

/// One process per test of about 250 tests.
const LIMIT: Duration = Duration::from_secs(420);

/// A disk that the suite runs on.
struct Disk {
    name: &'static str,
    /// Words of `scuzzy serve`.
    serve: &'static [&'static str],
    /// Parameters that only tgtadm sets.
    parameters: &'static str,
    /// Options of the runner.
    runner: &'static [&'static str],
}

const DISKS: &[Disk] = &[
    Disk { name: "libiscsi test suite", serve: &[], parameters: "", runner: &[] },
    Disk {
        name: "libiscsi test suite, 4096-byte blocks",
        serve: &["--block-size", "4096"],
        parameters: "",
        // Six tests send blocks of 512 bytes whatever the disk says, one writes 65536 blocks whatever MAXIMUM TRANSFER LENGTH says.
        runner: &["--skip", "ProutReserve.Access*", "--skip", "WriteSame16.Unmap"],
    },
    Disk {
        name: "libiscsi test suite, removable",
        serve: &[],
        parameters: "removable=1",
        runner: &["--only", "PreventAllow", "--only", "StartStopUnit", "--only", "NoMedia", "--only", "Inquiry"],
    },
    Disk {
        name: "libiscsi test suite, eight blocks in a physical one",
        serve: &[],
        parameters: "lbppbe=3",
        runner: &[
            "--only",
            "CompareAndWrite",
            "--only",
            "GetLBAStatus",
            "--only",
            "Unmap",
            "--only",
            "WriteSame10",
            "--only",
            "WriteSame16",
            "--only",
            "ReadCapacity16",
        ],
    },
    Disk {
        name: "libiscsi test suite, read-only",
        serve: &["--read-only"],
        parameters: "",
        runner: &["--only", "ReadOnly", "--only", "Inquiry", "--only", "ModeSense6", "--only", "TestUnitReady"],
    },
];

/// Runs it on every disk.
pub fn run(report: &mut Report) {
    for disk in DISKS {
        report.check(disk.name, || check(disk));
    }
}

fn check(disk: &Disk) -> Result<()> {
    let words = [&["--memory", "1G"][..], disk.serve].concat();
    let server = Server::start(&words)?;
    if !disk.parameters.is_empty() {
        server.tgtadm(&["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "--params", disk.parameters])?;
    }
    let mut command = Command::new("python3");
    command.arg(root().join("tests/conformance/run.py")).arg(&server.url).args(["--second", &server.url]).args(disk.runner);
    command.arg("--expect").arg(root().join("tests/conformance/expect.txt"));
    let output = process::run(&mut command, LIMIT)?;
    for line in output.lines().rev().take(1) {
        println!("     | {line}");
    }
    Ok(())
}
