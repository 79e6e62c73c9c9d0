//! `cargo xtask test`: everything that must hold before a change lands.

mod clients;
mod conformance;
mod documents;
mod golden;
mod isns;
mod kill;
mod live;
mod numbers;
mod package;
pub mod server;
mod simulator;
mod workspace;

use anyhow::{Result, bail};

pub use kill::kills;
pub use workspace::{build_release, build_simulator};

use crate::report::Report;
use crate::{commands, lab, layers, ledger, long, packages, process, tidy};

/// One step.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Report),
}

const STEPS: &[Step] = &[
    Step { name: "packages", about: "Debian packages are there", run: check_packages },
    Step { name: "layers", about: "crate edges", run: check_layers },
    Step { name: "tidy", about: "house rules", run: check_tidy },
    Step { name: "workspace", about: "format, lints, unit and property tests, fuzz corpora", run: workspace::run },
    Step { name: "simulator", about: "seeds of the simulator, planted bugs", run: simulator::run },
    Step { name: "numbers", about: "promised numbers that are exact counts", run: numbers::run },
    Step { name: "golden", about: "transcripts of the C tools against ours, in both mixed pairings too", run: golden::run },
    Step { name: "clients", about: "libiscsi's tools, qemu-img, qemu-io, the load generator", run: clients::run },
    Step { name: "isns", about: "Open-iSNS as the name server", run: isns::run },
    Step { name: "conformance", about: "libiscsi's test suite", run: conformance::run },
    Step { name: "kill", about: "kill -9 amid FUA and SYNCHRONIZE CACHE", run: kill::run },
    Step { name: "package", about: "manual pages, completions, systemd units, the Debian package", run: package::run },
    Step { name: "documents", about: "every command line of the documents", run: documents::run },
    Step { name: "lab", about: "a real Linux kernel as the initiator", run: run_lab },
];

/// `test [--long] [--list] [STEP...]`.
pub fn run(words: &[String]) -> Result<bool> {
    if words.iter().any(|word| word == "--list") {
        for step in STEPS {
            println!("{:12} {}", step.name, step.about);
        }
        return Ok(true);
    }
    let long = words.iter().any(|word| word == "--long");
    let chosen: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = chosen.iter().find(|word| STEPS.iter().all(|step| step.name != word.as_str())) {
        bail!("no step '{unknown}'; `cargo xtask test --list` lists them");
    }
    let mut report = Report::default();
    for step in STEPS.iter().filter(|step| chosen.is_empty() || chosen.iter().any(|word| word.as_str() == step.name)) {
        println!("== {}: {}", step.name, step.about);
        (step.run)(&mut report);
    }
    if long {
        println!("== long");
        run_cases(&mut report, lab::LONG_CASES);
        long::all(&mut report);
    }
    Ok(report.close())
}

fn check_packages(report: &mut Report) {
    report.check("packages", || packages::install(packages::ALL));
}

fn check_layers(report: &mut Report) {
    report.check("layers", layers::check);
}

fn check_tidy(report: &mut Report) {
    report.check("tidy", tidy::check);
    report.check("list of commands", commands::check);
    report.check("ledger of clauses", ledger::check);
}

fn run_lab(report: &mut Report) {
    if !report.check("lab: the release binaries build", workspace::build_release) {
        return;
    }
    run_cases(report, lab::DISK_CASES);
}

fn run_cases(report: &mut Report, cases: &[&str]) {
    for case in cases {
        report.check(&format!("lab {case}"), || {
            let output = process::run(&mut lab::command(&[case]), std::time::Duration::from_secs(420))?;
            for line in output.lines().filter(|line| line.starts_with("skip")) {
                println!("     | {line}");
            }
            Ok(())
        });
    }
}
