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
