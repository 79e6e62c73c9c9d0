//! `scuzzy portal`.

use clap::{Args, Subcommand};

use super::Connect;
use super::naming::Watch;

/// `scuzzy portal`.
#[derive(Args, Debug)]
pub struct Portal {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,

    /// What to do.
    #[command(subcommand)]
    pub action: PortalAction,
}

/// Addresses that initiators connect to.
#[derive(Debug, Subcommand)]
pub enum PortalAction {
    /// List the portals
    #[command(visible_alias = "ls")]
    List {
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Listen on more addresses
    Add {
        /// ADDRESS[:PORT][,GROUP]; IPv6 in brackets; port 0 takes a free one; each GROUP is a target port of its own [default: 1]
        #[arg(required = true, value_name = "ADDRESS[:PORT][,GROUP]", value_parser = serve_address)]
        portals: Vec<String>,
    },
    /// Stop listening; sessions stay
    #[command(visible_alias = "remove", visible_alias = "delete")]
    Rm {
        /// As `list` shows them
        #[arg(required = true, value_name = "ADDRESS[:PORT]", value_parser = serve_address)]
        portals: Vec<String>,
    },
}

/// The same reader as the daemon's: a mistake is explained even when no daemon runs.
fn serve_address(text: &str) -> Result<String, String> {
    admin::portal::Portal::parse(text).map(|_| text.to_owned())
}
