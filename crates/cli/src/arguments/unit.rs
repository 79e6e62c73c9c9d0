//! `scuzzy unit`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueHint};
use daemon::size;

use super::naming::{self, Assignment, UnitPlace, Watch};
use super::{Connect, serve};

/// `scuzzy unit`.
#[derive(Args, Debug)]
pub struct Unit {
    /// Which daemon, and how to print.
    #[command(flatten)]
    pub connect: Connect,

    /// What to do.
    #[command(subcommand)]
    pub action: UnitAction,
}

/// What to do with logical units. A unit is named TARGET/LUN; the target by its number, its name, or an end of its name that no other target has.
#[derive(Debug, Subcommand)]
pub enum UnitAction {
    /// List the units of all targets, or of one
    #[command(visible_alias = "ls")]
    List {
        /// Only of this target
        target: Option<String>,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one unit: identity, medium, what its sessions did
    Show {
        /// The unit
        #[arg(value_name = "TARGET/LUN")]
        unit: UnitPlace,
        /// Go on showing.
        #[command(flatten)]
        watch: Watch,
    },
    /// Add a unit to a target; its sessions hear of it
    Add(Box<UnitAdd>),
    /// Change settings of a unit; its sessions hear of it
    ///
    /// They are changed from left to right.
    #[command(after_help = naming::lines("Settings:", &admin::unit_setting::rows()))]
    Set {
        /// The unit
        #[arg(value_name = "TARGET/LUN")]
        unit: UnitPlace,
        /// What to change
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<Assignment>,
    },
    /// Remove units; files stay as they are
    #[command(visible_alias = "remove", visible_alias = "delete")]
    Rm {
        /// The units
        #[arg(required = true, value_name = "TARGET/LUN")]
        units: Vec<UnitPlace>,
        /// Also while somebody waits for one of its commands: they end aborted
        #[arg(long, short)]
        force: bool,
    },
    /// Give a unit another size while it is used; its sessions hear of it
    Resize {
        /// The unit
        #[arg(value_name = "TARGET/LUN")]
        unit: UnitPlace,
        /// New size of a disk in memory or of a regular file [default: look again at a medium that was changed from outside]
        #[arg(value_parser = size::parse)]
        size: Option<u64>,
        /// Also smaller: what lies behind the new end is lost
        #[arg(long, short)]
        force: bool,
    },
    /// Put another medium under a unit while it is used; commands that run end on the old one
    Swap(UnitSwap),
    /// Show the target port groups of a unit, or change the access state of one; its sessions hear of it
    ///
    /// Each portal group is a target port group. The state is kept for the time when there is such a group, too.
    AccessState {
        /// The unit
        #[arg(value_name = "TARGET/LUN")]
        unit: UnitPlace,
        /// Portal group tag
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        group: Option<u16>,
        /// New state
        #[arg(value_parser = scsi::AccessState::ALL.map(scsi::AccessState::word))]
        state: Option<String>,
        /// The group is preferred; otherwise it is not
        #[arg(long, requires = "state")]
        preferred: bool,
        /// The transition of the group fails: it is again what it was
        #[arg(long, requires = "group", conflicts_with_all = ["state", "preferred"])]
        fail: bool,
    },
    /// Reset a unit: its commands end aborted, its sessions hear of it, a failed flush is forgotten
    Reset {
        /// The unit
        #[arg(value_name = "TARGET/LUN")]
        unit: UnitPlace,
    },
}

/// `scuzzy unit swap`.
#[derive(Args, Debug)]
pub struct UnitSwap {
    /// The unit
    #[arg(value_name = "TARGET/LUN")]
    pub unit: UnitPlace,

    /// Disk image or block device
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "memory", conflicts_with = "memory")]
    pub path: Option<PathBuf>,

    /// A disk in sparse memory, for example 4G
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "store")]
    pub memory: Option<u64>,

    /// How the medium is kept, as `scuzzy store list` names it [default: as the present one]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,

    /// Initiators can only read
    #[arg(long)]
    pub read_only: bool,

    /// Bypass the page cache
    #[arg(long, conflicts_with = "memory")]
    pub direct: bool,

    /// Every write is durable when it is answered
    #[arg(long, conflicts_with = "memory")]
    pub sync: bool,

    /// Without the flags of the present medium; those are kept when no flag is given
    #[arg(long, conflicts_with_all = ["read_only", "direct", "sync"])]
    pub no_flags: bool,

    /// Also a smaller medium, and also while an initiator prevents removal
    #[arg(long, short)]
    pub force: bool,
}

/// `scuzzy unit add`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("medium").args(["path", "memory", "null", "removable"]).required(true).multiple(true)))]
pub struct UnitAdd {
    /// Number, name, or unique end of the name of the target
    pub target: String,

    /// Disk image or block device
    #[arg(value_hint = ValueHint::FilePath, conflicts_with_all = ["memory", "null"])]
    pub path: Option<PathBuf>,

    /// A disk in sparse memory, for example 4G
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with_all = ["null", "store"])]
    pub memory: Option<u64>,

    /// A disk of 1 TiB that forgets what is written
    #[arg(long, conflicts_with = "store")]
    pub null: bool,

    /// Unit number [default: the lowest free one from 1]
    #[arg(long, value_name = "N")]
    pub lun: Option<u64>,

    /// What kind of unit
    #[arg(long = "type", value_name = "TYPE", default_value = "disk", value_parser = ["disk", "tape", "cd", "changer", "osd", "passthrough"])]
    pub device_type: String,

    /// How the medium is kept, as `scuzzy store list` names it [default: rdwr for a disk]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,

    /// Options for the store
    #[arg(long, value_name = "TEXT", requires = "store")]
    pub store_options: Option<String>,

    /// Logical block length in bytes [default: 512 for a disk]
    #[arg(long, value_name = "BYTES", value_parser = serve::parse_block_size)]
    pub block_size: Option<scsi::BlockSize>,

    /// Initiators can only read
    #[arg(long)]
    pub read_only: bool,

    /// Bypass the page cache
    #[arg(long, conflicts_with_all = ["memory", "null"])]
    pub direct: bool,

    /// Every write is durable when it is answered
    #[arg(long, conflicts_with_all = ["memory", "null"])]
    pub sync: bool,

    /// Keep protection information beside the data, in PATH.pi: a new medium is formatted with this type, 0 for none yet
    #[arg(long, value_name = "TYPE", value_parser = clap::value_parser!(u8).range(0..=3), conflicts_with = "null")]
    pub protection: Option<u8>,

    /// The medium can be taken out; without PATH there is none at first
    #[arg(long)]
    pub removable: bool,

    /// Thin provisioned: UNMAP frees room
    #[arg(long)]
    pub thin: bool,

    /// Any other setting, as `set` takes it; may repeat
    #[arg(long = "set", short = 's', value_name = "KEY=VALUE")]
    pub settings: Vec<Assignment>,
}
