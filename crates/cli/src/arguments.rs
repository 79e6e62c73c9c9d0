//! The command line: one definition, from which parser, help, manual pages and completions are made.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use daemon::size;

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
    },
    /// Write the manual pages
    Man {
        /// Folder for all pages; without one, the main page goes to standard output
        #[arg(value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
}

/// `scuzzy serve`.
///
/// Without anything else: a sparse memory disk of 1 GiB at LUN 1 on 127.0.0.1:3260. Disks get numbers in the order in which they are given, images first.
#[derive(Args, Debug)]
pub struct Serve {
    /// Disk images or block devices to serve
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub images: Vec<PathBuf>,

    /// A disk in sparse memory, for example 4G; may repeat
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub memory: Vec<u64>,

    /// Listen on ADDRESS[:PORT]; IPv6 in brackets; port 0 takes a free one; may repeat [default: 127.0.0.1:3260]
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = parse_portal)]
    pub portal: Vec<SocketAddr>,

    /// Name of the target
    #[arg(long, value_name = "IQN", default_value = "iqn.2026-11.io.scuzzy:disk", value_parser = parse_name)]
    pub name: String,

    /// Initiators can only read
    #[arg(long)]
    pub read_only: bool,

    /// Logical block length in bytes
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = parse_block_size)]
    pub block_size: scsi::BlockSize,

    /// Changes are kept in memory and thrown away at the end; the images stay as they are
    #[arg(long)]
    pub ephemeral: bool,

    /// Bypass the page cache
    #[arg(long, conflicts_with = "ephemeral")]
    pub direct: bool,

    /// Every write is durable when it is answered
    #[arg(long, conflicts_with = "ephemeral")]
    pub sync: bool,

    /// Initiators must log in as USER with CHAP; the secret comes from --chap-secret-file or SCUZZY_CHAP_SECRET
    #[arg(long, value_name = "USER")]
    pub chap: Option<String>,

    /// File whose first line is the CHAP secret
    #[arg(long, value_name = "FILE", requires = "chap", value_hint = ValueHint::FilePath)]
    pub chap_secret_file: Option<PathBuf>,

    /// Seed of every fault decision: the same seed and the same input fail the same way [default: random, printed]
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,

    /// Refuse every fault rule
    #[arg(long)]
    pub no_faults: bool,

    /// I/O driver
    #[arg(long, value_name = "DRIVER", default_value = "auto", value_parser = ["auto", "uring", "epoll"])]
    pub io: String,

    /// Threads that serve sessions [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub reactors: Option<u16>,

    /// Control socket [default: control.N in $XDG_RUNTIME_DIR/scuzzy or /tmp/scuzzy-UID, the first free N]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub control: Option<PathBuf>,

    /// When ready, write one line of JSON with URL, portal, target, control socket and pid to this open file descriptor
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(u32).range(1..))]
    pub ready_fd: Option<u32>,

    /// When ready, write the same JSON to this file, in one step
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ready_file: Option<PathBuf>,

    /// Serve while this shell command runs and exit with its status; {url} {portal} {target} {control} are filled in
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pub run: Option<String>,

    /// End when the process that started this one ends
    #[arg(long)]
    pub exit_with_parent: bool,

    /// Log format
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = ["auto", "text", "json", "journal"])]
    pub log: String,

    /// Log level: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,

    /// Print nothing on standard output
    #[arg(long, short)]
    pub quiet: bool,
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
    /// The first word may be a unit number (1), or target and unit (1/1); LUN 1 of target 1 is the default. Items are KEY=VALUE, separated by blanks or commas: op lba len pct pause repeat action key asc seed name.
    /// Actions: CHECK_CONDITION BUSY TASK_SET_FULL RESERVATION_CONFLICT TASK_ABORTED HANG DROP_CONNECTION.
    Add {
        /// Target number
        #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
        tid: Option<i32>,
        /// Unit number
        #[arg(long, short)]
        lun: Option<u64>,
        /// The unit, if it is not LUN 1, and the rule
        #[arg(required = true, value_name = "[LUN] KEY=VALUE")]
        rule: Vec<String>,
    },
    /// List the rules and how often they fired
    #[command(visible_alias = "ls", visible_alias = "show")]
    List,
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

/// `scuzzy explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// What the bytes are
    #[arg(value_parser = ["cdb", "sense", "asc", "pdu"])]
    pub kind: String,
    /// Hex digits; blanks, colons, commas and 0x are ignored
    #[arg(required = true)]
    pub hex: Vec<String>,
    /// Decode the CDB as this peripheral device type
    #[arg(long, value_name = "TYPE", default_value_t = 0)]
    pub device_type: u8,
}

/// `scuzzy demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// Seed of the fault decisions
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,
}

/// `ADDRESS[:PORT]`, an IPv6 address in brackets when a port follows. The port of iSCSI is the default.
fn parse_portal(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse() {
        return Ok(SocketAddr::new(address, daemon::DEFAULT_PORT));
    }
    let text = text.replacen("localhost", "127.0.0.1", 1);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    match text.parse() {
        Ok(address) => Ok(SocketAddr::new(address, daemon::DEFAULT_PORT)),
        Err(_) => Err("write 192.0.2.1, 192.0.2.1:3260, ::1 or [::1]:3260".into()),
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    let shaped = ["iqn.", "eui.", "naa."].iter().any(|prefix| text.starts_with(prefix));
    let clean = text.chars().all(|c| c.is_ascii_alphanumeric() || ":.-".contains(c));
    if shaped && clean && text.len() <= 223 {
        return Ok(text.to_ascii_lowercase());
    }
    Err("an iSCSI name starts with iqn., eui. or naa. and has letters, digits, `:`, `.` and `-`".into())
}

fn parse_block_size(text: &str) -> Result<scsi::BlockSize, String> {
    size::parse(text)
        .ok()
        .and_then(|bytes| u32::try_from(bytes).ok())
        .and_then(scsi::BlockSize::new)
        .ok_or_else(|| "a block has 512, 1024, 2048, 4096, … or 65536 bytes".into())
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
    fn portals_in_all_spellings() {
        for (text, want) in [
            ("127.0.0.1", "127.0.0.1:3260"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("::1", "[::1]:3260"),
            ("[::1]", "[::1]:3260"),
            ("[::1]:99", "[::1]:99"),
            ("localhost:5", "127.0.0.1:5"),
            ("localhost", "127.0.0.1:3260"),
        ] {
            assert_eq!(parse_portal(text).map(|a| a.to_string()).as_deref(), Ok(want), "{text}");
        }
        assert!(parse_portal("127.0.0.1:99999").is_err());
        assert!(parse_portal("").is_err());
    }

    #[test]
    fn names_and_seeds() {
        assert!(parse_name("disk").is_err());
        assert!(parse_name("iqn.2020-01.com.example:a_b").is_err());
        assert_eq!(parse_name("iqn.2020-01.com.Example:a").as_deref(), Ok("iqn.2020-01.com.example:a"));
        assert_eq!(parse_seed("0x10"), Ok(16));
        assert!(parse_seed("-1").is_err());
    }
}
