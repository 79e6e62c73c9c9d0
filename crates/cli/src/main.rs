//! `scuzzy`: a SCSI target that fails on command.
#![forbid(unsafe_code)]
// The doc comments of arguments are help texts: their brackets are no links.
#![allow(rustdoc::broken_intra_doc_links)]

mod arguments;
mod banner;
mod client;
mod command;
mod initiator;
mod naming;
mod secret;
mod table;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Serve(options) => command::serve::run(options),
        Command::Fault(options) => command::fault::run(options),
        Command::Target(options) => command::target::run(options),
        Command::Unit(options) => command::unit::run(options),
        Command::Acl(options) => command::acl::run(options),
        Command::Account(options) => command::account::run(options),
        Command::Portal(options) => command::portal::run(options),
        Command::Session(options) => command::session::run(options),
        Command::Store(options) => command::store::run(options),
        Command::Apply(options) => command::apply::run(&options),
        Command::Dump(options) => command::dump::run(&options),
        Command::Import(options) => command::import::run(&options),
        Command::Schema => command::dump::schema(),
        Command::Trace(options) => command::trace::run(&options),
        Command::Stat(options) => command::stat::run(&options),
        Command::Status(options) => command::stat::status(&options),
        Command::Reset(options) => command::stat::reset(&options),
        Command::Explain(options) => command::explain::run(&options),
        Command::Demo(options) => command::demo::run(&options),
        Command::Completions { shell, program } => command::manual::completions(shell, &program),
        Command::Man { folder } => command::manual::pages(folder.as_deref()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scuzzy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
