//! The project's own commands: `cargo xtask test`, `layers`, `tidy`, `commands`, `fuzz`, `bench`, `lab`, `deb`.
#![forbid(unsafe_code)]

mod bench;
mod commands;
mod conformance;
mod deb;
mod defects;
mod fuzz;
mod lab;
mod layers;
mod ledger;
mod long;
mod packages;
mod process;
mod report;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  test [--long] [--list] [STEP...]   everything that must hold before a change lands; --long adds what takes hours
  layers                             crate edges against the table in ARCHITECTURE.md
  tidy                               house rules that a machine can check
  commands [--write]                 the page of the book that lists every command; --write puts it in its place
  long [PART...] [--minutes N]       what takes hours, in pieces, going on where it was stopped: simulator kill fuzz conformance
  ledger [--write]                   the page of the book from clause to code to test; --write puts it in its place
  conformance [--product|--triples|--compare|--write]
                                     pages of libiscsi's suite; the suite on every kind of disk, on a tenth of them, beside the C tgtd
  fuzz [TARGET] [--seconds N]        run the fuzz targets (needs cargo-fuzz); default all, 60 s each
  bench [ARGUMENTS...]               A/B against the C tgtd, interleaved (arguments go to bench/compare.py)
  bench --table [ARGUMENTS...]       the table of what the data path promises (arguments go to bench/table.py)
  lab [CASE...]                      cases of lab/ with a real Linux kernel as the initiator
  deb                                the Debian package, in target/debian, from the release binaries
  packages                           install the Debian packages that the tests need (root)
";

/// The checkout this program was built from.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("test") => test::run(rest),
        Some("layers") => report::single("layers", layers::check),
        Some("tidy") => report::single("tidy", tidy::check),
        Some("commands") => commands::run(rest),
        Some("long") => long::run(rest),
        Some("ledger") => ledger::run(rest),
        Some("conformance") => conformance::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("bench") => bench::run(rest),
        Some("lab") => lab::run(rest),
        Some("deb") => deb::run(),
        Some("packages") => packages::install(packages::ALL).map(|()| true),
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            Ok(true)
        }
        Some(other) => bail!("no command '{other}'; `cargo xtask help` lists them"),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
