//! `scuzzy store`.

use clap::{Args, Subcommand};

use super::Connect;
use super::naming::Watch;

/// `scuzzy store`.
#[derive(Args, Debug)]
pub struct Store {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,

    /// What to do.
    #[command(subcommand)]
    pub action: StoreAction,
}

/// The kinds of medium that units can have.
#[derive(Debug, Subcommand)]
pub enum StoreAction {
    /// List the stores and how many units use them
    #[command(visible_alias = "ls")]
    List {
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Show the media of one store: size, room taken, room left
    Show {
        /// Name, as `list` shows it
        store: String,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
}
