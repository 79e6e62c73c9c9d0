//! `scuzzy apply`, `dump`, `import`, `schema`: the configuration as a file.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Connect;

/// `scuzzy apply`.
///
/// Prints what changes, a line each: `+` comes, `~` changes, `-` goes. What is the same is not touched, and its sessions stay up. Either everything
/// is done or nothing.
#[derive(Args, Debug)]
pub struct Apply {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,
    /// The configuration (scuzzy.toml), or - for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Only tell what would be done; the exit status is 2 when that is something, and 0 when it is nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

/// `scuzzy dump`.
#[derive(Args, Debug)]
pub struct Dump {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,
    /// With the passwords of accounts
    #[arg(long)]
    pub secrets: bool,
}

/// `scuzzy import`.
#[derive(Args, Debug)]
pub struct Import {
    /// The configuration of tgt-admin
    #[arg(value_name = "TARGETS.CONF", default_value = "/etc/tgt/targets.conf", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Write here instead of to standard output; the file must not exist yet
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
