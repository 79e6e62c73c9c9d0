//! `scuzzy-sim`: runs seeds, finds planted bugs, counts.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use sim::{functions, run};

const HELP: &str = "\
scuzzy-sim run [--seeds N] [--first N] [--seed N] [--trace]   runs seeds; a failure prints the command that replays it
scuzzy-sim functions [--seeds N] [--first N] [--seed N] [--trace]
                                                              every task management function at every stage of a command's life
scuzzy-sim planted [--seeds N]                                each planted bug must be found within N seeds of one of the two
";

/// Failures that are shown.
const MOST_FAILURES: usize = 20;

/// The number after `name` on the command line.
fn number(words: &[String], name: &str) -> Option<u64> {
    let at = words.iter().position(|word| word == name)?;
    words.get(at + 1)?.parse().ok()
}

fn run_seeds(words: &[String]) -> bool {
    let trace = words.iter().any(|word| word == "--trace");
    let (first, count) = match number(words, "--seed") {
        Some(seed) => (seed, 1),
        None => (number(words, "--first").unwrap_or(0), number(words, "--seeds").unwrap_or(100)),
    };
    for seed in first..first + count {
        let report = run::run(seed, trace);
        if let Some(what) = &report.violation {
            println!("seed {seed}: {what}\nreplay: cargo run --release -p sim -- run --seed {seed} --trace");
            return false;
        }
        // Every tenth seed runs twice: the same seed must give the same bytes at the same times.
        if seed % 10 == 0 && run::run(seed, false) != report {
            println!("seed {seed}: two runs differ\nreplay: cargo run --release -p sim -- run --seed {seed} --trace");
            return false;
        }
    }
    println!("{count} seeds, nothing found");
    true
}

fn run_functions(words: &[String]) -> bool {
    let trace = words.iter().any(|word| word == "--trace");
    let (first, count) = match number(words, "--seed") {
        Some(seed) => (seed, 1),
        None => (number(words, "--first").unwrap_or(0), number(words, "--seeds").unwrap_or(functions::CASES)),
    };
    let mut failures = 0;
    for seed in first..first + count {
        if let Err(what) = functions::play(seed, trace) {
            println!("seed {seed}: {what}\nreplay: cargo run --release -p sim -- functions --seed {seed} --trace");
            failures += 1;
        }
        if failures == MOST_FAILURES {
            break;
        }
    }
    println!("{count} seeds of task management, {failures} failures");
    failures == 0
}

fn find_planted(words: &[String]) -> bool {
    let seeds = number(words, "--seeds").unwrap_or(500);
    let mut all = true;
    for bug in scsi::planted::Bug::ALL {
        scsi::planted::plant(Some(*bug));
        let found = (0..seeds).find_map(|seed| run::run(seed, false).violation.map(|what| ("run", seed, what)));
        let found = found.or_else(|| (0..seeds).find_map(|seed| functions::play(seed, false).err().map(|what| ("functions", seed, what))));
        scsi::planted::plant(None);
        match found {
            Some((which, seed, what)) => println!("{bug:?}: {which}, seed {seed}: {what}"),
            None => {
                println!("{bug:?}: not found within {seeds} seeds");
                all = false;
            }
        }
    }
    all
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let good = match words.first().map(String::as_str) {
        Some("run") => run_seeds(&words),
        Some("functions") => run_functions(&words),
        Some("planted") => find_planted(&words),
        _ => {
            print!("{HELP}");
            words.is_empty()
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
