//! `tgt-admin`: makes, changes and removes the targets of a configuration, with the calls that a person would make with `tgtadm`.
//!
//! It speaks to the daemon itself: no call goes through a shell. What it prints of its calls can be given to one.

mod busy;
mod call;
mod change;
mod direct;
mod dump;
mod same;
mod session;

use std::env;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use admin::options::Parsed;
use admin::options::tgt_admin::{Action, Invocation, parse};

use session::{Session, Stop};

/// Exit status of those who may not.
const NOT_ROOT: u8 = 255;

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match parse(&arguments) {
        Ok(Parsed::Print(text)) => {
            call::print(&text);
            ExitCode::SUCCESS
        }
        Ok(Parsed::Run(invocation)) => run(invocation),
        Err(usage) => {
            eprint!("{}", usage.message);
            ExitCode::from(usage.status)
        }
    }
}

fn run(invocation: Invocation) -> ExitCode {
    if invocation.action != Action::Show && !rustix::process::geteuid().is_root() {
        eprintln!("You must be root to run this program.");
        return ExitCode::from(NOT_ROOT);
    }
    match work(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop(status)) => ExitCode::from(status),
    }
}

fn work(invocation: Invocation) -> Result<(), Stop> {
    let action = invocation.action.clone();
    let mut session = Session::new(invocation);
    match action {
        Action::Show => session.show(),
        Action::Execute => session.execute(),
        Action::Delete(selector) => session.delete(&selector),
        Action::Update(selector) => session.update(&selector),
        Action::Dump => {
            call::print(&dump::text(&session.listed()?));
            Ok(())
        }
        Action::Offline(selector) => session.set_state(&selector, "offline"),
        Action::Ready(selector) => session.set_state(&selector, "ready"),
    }
}
