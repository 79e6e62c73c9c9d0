//! `scuzzy account`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::Connect;
use super::naming::Watch;

/// `scuzzy account`.
#[derive(Args, Debug)]
pub struct Account {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,

    /// What to do.
    #[command(subcommand)]
    pub action: AccountAction,
}

/// CHAP accounts, and where they are asked for.
#[derive(Debug, Subcommand)]
pub enum AccountAction {
    /// List the accounts and what they are bound to
    #[command(visible_alias = "ls")]
    List {
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one account; its secret is never shown
    Show {
        /// Name of the account
        user: String,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Make an account; it counts once it is bound
    Add {
        /// Name of the account
        user: String,
        /// Where its secret comes from.
        #[command(flatten)]
        secret: Secret,
    },
    /// Give an account a new secret; what it is bound to stays, sessions stay
    Set {
        /// Name of the account
        user: String,
        /// Where its secret comes from.
        #[command(flatten)]
        secret: Secret,
    },
    /// Remove accounts and their bindings
    #[command(visible_alias = "remove", visible_alias = "delete")]
    Rm {
        /// Names of the accounts
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
    },
    /// Ask for an account at the login to a target, or at discovery
    Bind(AccountPlace),
    /// Ask for it no more
    Unbind(AccountPlace),
}

/// Where a secret comes from. It never stands on the command line, which everyone on the host can read.
#[derive(Args, Debug)]
pub struct Secret {
    /// File whose first line is the secret [default: SCUZZY_CHAP_SECRET; without it, it is asked for, or read from standard input]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secret_file: Option<PathBuf>,
}

/// An account and what it is bound to.
#[derive(Args, Debug)]
pub struct AccountPlace {
    /// Name of the account
    pub user: String,
    /// Number, name, or unique end of the name of a target
    #[arg(required_unless_present = "discovery", conflicts_with = "discovery")]
    pub target: Option<String>,
    /// Discovery instead of a target
    #[arg(long)]
    pub discovery: bool,
    /// The account that we prove to initiators, instead of one that they prove to us
    #[arg(long)]
    pub outgoing: bool,
}
