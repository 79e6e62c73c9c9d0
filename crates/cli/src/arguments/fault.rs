//! `scuzzy fault`.

use clap::{Args, Subcommand};

use super::Connect;
use super::naming::Watch;

/// `scuzzy fault`.
#[derive(Args, Debug)]
pub struct Fault {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,

    /// What to do.
    #[command(subcommand)]
    pub action: FaultAction,
}

/// What to do with fault rules.
#[derive(Debug, Subcommand)]
pub enum FaultAction {
    /// Add a rule, for example: 1 op=WRITE10,lba=0,len=99999999,key=3,asc=0x0c02
    ///
    /// The first word may be a unit number (1), or target and unit (1/1, :disk/1); LUN 1 of target 1 is the default. Items are KEY=VALUE, separated by blanks or commas: op lba len pct pause repeat action key asc seed name.
    /// Actions: CHECK_CONDITION BUSY TASK_SET_FULL RESERVATION_CONFLICT TASK_ABORTED HANG DROP_CONNECTION.
    Add {
        /// Target number
        #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
        tid: Option<i32>,
        /// Unit number
        #[arg(long, short)]
        lun: Option<u64>,
        /// The unit, if it is not LUN 1, and the rule
        #[arg(required = true, value_name = "[[TARGET/]LUN] KEY=VALUE")]
        rule: Vec<String>,
    },
    /// List the rules and how often they fired
    #[command(visible_alias = "ls")]
    List {
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one rule, or all
    Show {
        /// Number of the rule, as `list` shows it
        rule: Option<u64>,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Print the decisions that the rules of a unit have made, as text that can be replayed
    Journal {
        /// Target number
        #[arg(long, short, default_value_t = 1)]
        tid: i32,
        /// Unit number
        #[arg(default_value_t = 1)]
        lun: u64,
    },
    /// Remove a rule by its number, those of a unit, or all
    #[command(visible_alias = "remove", visible_alias = "delete")]
    Rm {
        /// Numbers of rules, as `list` shows them, or `all`
        #[arg(required_unless_present_any = ["all", "tid"], conflicts_with_all = ["all", "tid", "lun"], value_name = "RULE|all")]
        rule: Vec<String>,
        /// Every rule
        #[arg(long, conflicts_with_all = ["tid", "lun"])]
        all: bool,
        /// Every rule of this target
        #[arg(long, short)]
        tid: Option<i32>,
        /// Only of this unit
        #[arg(long, short, requires = "tid")]
        lun: Option<u64>,
    },
}
