//! `tgtimg`: makes images of tapes, discs and disks, and lists what is on a tape.
#![forbid(unsafe_code)]

mod create;
mod show;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use admin::options::Parsed;
use admin::options::tgtimg::{Job, parse};

/// Whatever goes wrong: a text for standard output, a line for standard error, the exit status.
struct Failure {
    output: String,
    error: String,
    status: u8,
}

impl Failure {
    /// Told on standard error.
    fn new(status: u8, error: impl Into<String>) -> Failure {
        Failure { output: String::new(), error: error.into(), status }
    }

    /// Told on standard output, as the original does here and there.
    fn told(status: u8, output: impl Into<String>) -> Failure {
        Failure { output: output.into(), error: String::new(), status }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match parse(&arguments, env!("CARGO_PKG_VERSION")) {
        Ok(Parsed::Print(text)) => print(&text),
        Ok(Parsed::Run(job)) => match run(job) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if !failure.output.is_empty() {
                    print(&format!("{}\n", failure.output));
                }
                if !failure.error.is_empty() {
                    eprintln!("{}", failure.error);
                }
                ExitCode::from(failure.status)
            }
        },
        Err(usage) => {
            eprint!("{}", usage.message);
            ExitCode::from(usage.status)
        }
    }
}

fn run(job: Job) -> Result<(), Failure> {
    let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
    match job {
        Job::Tape { path: file, barcode, mib, media } => create::tape(&path(file), barcode, mib, media),
        Job::Disc { path: file } => create::disc(&path(file)),
        Job::Disk { path: file, mib, thin } => create::disk(&path(file), mib, thin),
        Job::Show { path: file, json } => show::show(&path(file), json),
    }
}

/// A reader that has gone (`tgtimg … | head`) is no failure.
fn print(text: &str) -> ExitCode {
    match written(io::stdout().lock().write_all(text.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.error);
            ExitCode::from(failure.status)
        }
    }
}

/// What came of writing to standard output.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(1, format!("tgtimg: standard output: {}", reason(&error)))),
        _ => Ok(()),
    }
}

/// The system's words without Rust's `(os error N)`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
