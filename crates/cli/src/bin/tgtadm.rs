//! `tgtadm`: one request to the daemon over its control socket, in tgt's words and with tgt's exit statuses.

use std::env;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use admin::client;
use admin::options::Parsed;
use admin::options::tgtadm::parse;

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match parse(&arguments, env!("CARGO_PKG_VERSION")) {
        Ok(Parsed::Print(text)) => print(text.as_bytes()),
        Ok(Parsed::Run(invocation)) => match client::send(&invocation) {
            Ok(text) => print(&text),
            Err(failure) => {
                eprintln!("tgtadm: {}", failure.line);
                ExitCode::from(failure.status)
            }
        },
        Err(usage) => {
            eprint!("{}", usage.message);
            ExitCode::from(usage.status)
        }
    }
}

/// A reader that has gone (`tgtadm … | head`) is no failure of the request.
fn print(text: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("tgtadm: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
