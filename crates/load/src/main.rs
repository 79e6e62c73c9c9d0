//! `scuzzy-load iscsi://HOST:PORT/TARGET/LUN [WORD=VALUE...]`: see `bench/compare.py`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = load::Plan::parse(&words).and_then(|plan| load::run(&plan).map(|report| (plan, report)));
    match result {
        Ok((plan, report)) => {
            println!("{}", report.to_json(&plan));
            if report.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("scuzzy-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
