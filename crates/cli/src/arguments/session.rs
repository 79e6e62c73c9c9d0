//! `scuzzy session`.

use clap::{Args, Subcommand};

use super::Connect;
use super::naming::Watch;

/// `scuzzy session`.
#[derive(Args, Debug)]
pub struct Session {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,

    /// What to do.
    #[command(subcommand)]
    pub action: SessionAction,
}

/// Initiators that are logged in.
#[derive(Debug, Subcommand)]
pub enum SessionAction {
    /// List the sessions of all targets, or of one
    #[command(visible_alias = "ls")]
    List {
        /// Only of this target
        target: Option<String>,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one session: its connection, and what it did on each unit
    Show {
        /// Number, as `list` shows it
        #[arg(value_name = "SESSION")]
        sid: u64,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Close sessions; an initiator may log in again at once
    #[command(visible_alias = "remove", visible_alias = "delete")]
    Rm {
        /// Numbers, as `list` shows them
        #[arg(required = true, value_name = "SESSION")]
        sids: Vec<u64>,
        /// Close only this connection of the session
        #[arg(long, value_name = "CID")]
        connection: Option<u32>,
    },
}
