//! `scuzzy acl`.

use clap::{Args, Subcommand};

use super::Connect;
use super::naming::Watch;

/// `scuzzy acl`.
#[derive(Args, Debug)]
pub struct Acl {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,

    /// What to do.
    #[command(subcommand)]
    pub action: AclAction,
}

/// Who may log in to which target. A login passes when any rule matches; a target without rules lets nobody in.
#[derive(Debug, Subcommand)]
pub enum AclAction {
    /// List the rules of all targets, or of one
    #[command(visible_alias = "ls")]
    List {
        /// Only of this target
        target: Option<String>,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Let initiators log in
    Add(AclRules),
    /// Take rules away; sessions that are there stay
    #[command(visible_alias = "remove", visible_alias = "delete")]
    Rm(AclRules),
}

/// A target and rules.
#[derive(Args, Debug)]
pub struct AclRules {
    /// Number, name, or unique end of the name
    pub target: String,
    /// ALL, an address, ADDRESS/BITS, or an initiator name with or without * and ?
    #[arg(required = true, value_name = "ADDRESS|NAME")]
    pub rules: Vec<String>,
    /// They are addresses, whatever they look like
    #[arg(long, conflicts_with = "name")]
    pub address: bool,
    /// They are names, whatever they look like
    #[arg(long)]
    pub name: bool,
}
