//! `scuzzy trace`, `stat`, `status` and `reset`.

use clap::Args;

use super::Connect;

/// `scuzzy trace`.
#[derive(Args, Debug)]
pub struct Trace {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,
    /// Go on showing commands as they end
    #[arg(long, short)]
    pub follow: bool,
    /// Show the last N commands first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub lines: u64,
    /// Only this target
    #[arg(long, short)]
    pub tid: Option<i32>,
    /// Only this unit number
    #[arg(long, short)]
    pub lun: Option<u64>,
}

/// `scuzzy stat` and `scuzzy status`.
#[derive(Args, Debug)]
pub struct Stat {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,
}

/// `scuzzy reset`.
#[derive(Args, Debug)]
pub struct Reset {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,
    /// Target number
    #[arg(long, short, default_value_t = 1)]
    pub tid: i32,
    /// Unit number
    #[arg(default_value_t = 1)]
    pub lun: u64,
}
