//! The command line: one definition, from which parser, help, manual pages and completions are made. One file per family of commands.

mod account;
mod acl;
mod declared;
mod explain;
mod fault;
mod naming;
mod observe;
mod portal;
mod serve;
mod session;
mod store;
mod target;
mod unit;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

pub use account::{Account, AccountAction, AccountPlace, Secret};
pub use acl::{Acl, AclAction, AclRules};
pub use declared::{Apply, Dump, Import};
pub use explain::{Demo, Explain};
pub use fault::{Fault, FaultAction};
pub use naming::{Assignment, UnitPlace, Watch};
pub use observe::{Reset, Stat, Trace};
pub use portal::{Portal, PortalAction};
pub use serve::Serve;
pub use session::{Session, SessionAction};
pub use store::{Store, StoreAction};
pub use target::{Target, TargetAction};
pub use unit::{Unit, UnitAction, UnitAdd, UnitSwap};

/// A SCSI target that fails on command.
///
/// `scuzzy serve` gives you an iSCSI disk; `scuzzy fault add` makes it fail; `scuzzy demo` shows both in a few seconds.
#[derive(Debug, Parser)]
#[command(name = "scuzzy", version, propagate_version = true, max_term_width = 120)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve disks over iSCSI until Ctrl-C
    Serve(Box<Serve>),
    /// Make a disk fail, see what fails, heal it
    Fault(Fault),
    /// List, show, add, change, remove targets
    Target(Target),
    /// List, show, add, change, remove logical units
    Unit(Unit),
    /// Say who may log in to a target
    Acl(Acl),
    /// Keep CHAP accounts and bind them to targets
    Account(Account),
    /// Listen on more addresses, or on fewer
    Portal(Portal),
    /// Show who is logged in, close sessions
    Session(Session),
    /// Show where media are kept, and how much room they take
    Store(Store),
    /// Make the running configuration that of a file
    Apply(Apply),
    /// Print the running configuration as a file that `apply` takes
    Dump(Dump),
    /// Write tgt's targets.conf as such a file
    Import(Import),
    /// Print the JSON Schema of that file
    Schema,
    /// Show the last commands of the flight recorder
    Trace(Trace),
    /// Show counters per disk, session, operation and status
    Stat(Stat),
    /// Show the daemon: portals, targets, sessions, seed
    Status(Stat),
    /// Reset a disk: its commands end aborted, its sessions hear of it, a failed flush is forgotten
    Reset(Reset),
    /// Decode a CDB, sense data, an additional sense code or an iSCSI PDU to words
    Explain(Explain),
    /// A disk, a fault and its cure, shown in a few seconds without any other software
    Demo(Demo),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
        /// The program
        #[arg(default_value = "scuzzy", value_parser = ["scuzzy", "tgtd", "tgtadm", "tgt-admin", "tgtimg", "tgt-setup-lun"])]
        program: String,
    },
    /// Write the manual pages of all programs and of targets.conf
    Man {
        /// Folder for all pages; without one, the page of scuzzy goes to standard output
        #[arg(value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
}

/// Which daemon to talk to.
#[derive(Args, Clone, Debug)]
pub struct Connect {
    /// Control socket [default: of the only running `scuzzy serve` of this user]
    #[arg(long, value_name = "PATH", env = "SCUZZY_CONTROL", global = true, value_hint = ValueHint::FilePath)]
    pub control: Option<PathBuf>,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a seed is a number from 0 to 18446744073709551615, or 0x and hex digits".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seeds() {
        assert_eq!(parse_seed("0x10"), Ok(16));
        assert!(parse_seed("-1").is_err());
    }
}
