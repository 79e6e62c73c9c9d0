//! `scuzzy target`.

use clap::{Args, Subcommand};

use super::naming::{self, Assignment, Watch};
use super::{Connect, serve};

/// `scuzzy target`.
#[derive(Args, Debug)]
pub struct Target {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,

    /// What to do.
    #[command(subcommand)]
    pub action: TargetAction,
}

/// What to do with targets. A target is named by its number, its name, or an end of its name that no other target has (`:disk`).
#[derive(Debug, Subcommand)]
pub enum TargetAction {
    /// List the targets: units, sessions, who may log in
    #[command(visible_alias = "ls")]
    List {
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one target: its units, sessions and settings
    Show {
        /// Number, name, or unique end of the name
        target: String,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Make a target
    ///
    /// Nobody may log in to a new target until --allow, --initiator or `scuzzy acl add` says who may.
    Add {
        /// iSCSI name: iqn., eui. or naa.
        #[arg(value_parser = serve::parse_name)]
        name: String,
        /// Number [default: the lowest free one]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        tid: Option<i32>,
        /// Initiators at this address may log in: ALL, 192.0.2.7, 192.0.2.0/24, 2001:db8::/32; may repeat
        #[arg(long, value_name = "ADDRESS", value_parser = admin::binding::address)]
        allow: Vec<admin::request::Binding>,
        /// Initiators of this name may log in, * and ? allowed; may repeat
        #[arg(long, value_name = "NAME", value_parser = admin::binding::name)]
        initiator: Vec<admin::request::Binding>,
        /// A setting, as `set` takes it; may repeat
        #[arg(long = "set", short = 's', value_name = "KEY=VALUE")]
        settings: Vec<Assignment>,
    },
    /// Change settings of a target; logins to come see them, sessions stay
    #[command(after_help = naming::lines("Settings:", &admin::setting::rows()))]
    Set {
        /// Number, name, or unique end of the name
        target: String,
        /// What to change
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<Assignment>,
    },
    /// Remove targets with their units
    #[command(visible_alias = "remove", visible_alias = "delete")]
    Rm {
        /// Numbers, names, or unique ends of names
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
        /// Close their sessions first
        #[arg(long, short)]
        force: bool,
    },
}
