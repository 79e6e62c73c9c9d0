//! `scuzzy serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use daemon::{Portal, size};

use super::parse_seed;

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

    /// Start with this configuration (scuzzy.toml) instead of a disk of its own; SIGHUP reads it again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["images", "memory", "chap"], value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Keep configuration changes in this folder over restarts
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,

    /// Start with nothing, and set aside what the state folder holds
    #[arg(long, requires = "state")]
    pub state_fresh: bool,

    /// Listen on ADDRESS[:PORT]; IPv6 in brackets; port 0 takes a free one; may repeat [default: 127.0.0.1:3260]
    #[arg(long, value_name = "ADDRESS[:PORT][,GROUP]", value_parser = parse_portal)]
    pub portal: Vec<Portal>,

    /// Name of the target
    #[arg(long, value_name = "IQN", default_value = "iqn.2026-11.io.scuzzy:disk", value_parser = parse_name)]
    pub name: String,

    /// Initiators can only read
    #[arg(long)]
    pub read_only: bool,

    /// Logical block length in bytes
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = parse_block_size)]
    pub block_size: scsi::BlockSize,

    /// Keep protection information beside the data, in IMAGE.pi: a new medium is formatted with this type, 0 for none yet
    #[arg(long, value_name = "TYPE", value_parser = clap::value_parser!(u8).range(0..=3))]
    pub protection: Option<u8>,

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

    /// Members of GROUP may use the control socket, too (mode 0660); name or number
    #[arg(long, value_name = "GROUP")]
    pub control_group: Option<String>,

    /// Members of GROUP, or `all`, may look at everything and change nothing, on a second socket at PATH.ro
    #[arg(long, value_name = "GROUP")]
    pub control_readers: Option<String>,

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

/// `ADDRESS[:PORT][,GROUP]`, an IPv6 address in brackets when a port follows. The port of iSCSI is the default, and group 1.
fn parse_portal(text: &str) -> Result<Portal, String> {
    let Some((place, group)) = text.split_once(',') else { return parse_address(text).map(Portal::required) };
    let group = group.parse().ok().filter(|group| *group != 0).ok_or("a portal group has a number from 1 to 65535")?;
    parse_address(place).map(|address| Portal::required(address).in_group(group))
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
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

/// An iSCSI name, in lower case.
pub fn parse_name(text: &str) -> Result<String, String> {
    let shaped = ["iqn.", "eui.", "naa."].iter().any(|prefix| text.starts_with(prefix));
    let clean = text.chars().all(|c| c.is_ascii_alphanumeric() || ":.-".contains(c));
    if shaped && clean && text.len() <= 223 {
        return Ok(text.to_ascii_lowercase());
    }
    Err("an iSCSI name starts with iqn., eui. or naa. and has letters, digits, `:`, `.` and `-`".into())
}

/// A block length.
pub fn parse_block_size(text: &str) -> Result<scsi::BlockSize, String> {
    size::parse(text)
        .ok()
        .and_then(|bytes| u32::try_from(bytes).ok())
        .and_then(scsi::BlockSize::new)
        .ok_or_else(|| "a block has 512, 1024, 2048, 4096, … or 65536 bytes".into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(parse_portal(text).map(|portal| portal.address.to_string()).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(parse_portal("[::1]:99,2"), Ok(Portal::required(([0u16, 0, 0, 0, 0, 0, 0, 1], 99).into()).in_group(2)));
        assert!(["127.0.0.1,0", "127.0.0.1,", ",2"].iter().all(|text| parse_portal(text).is_err()));
        assert!(parse_portal("127.0.0.1:99999").is_err());
        assert!(parse_portal("").is_err());
    }

    #[test]
    fn names_of_targets() {
        assert!(parse_name("disk").is_err());
        assert!(parse_name("iqn.2020-01.com.example:a_b").is_err());
        assert_eq!(parse_name("iqn.2020-01.com.Example:a").as_deref(), Ok("iqn.2020-01.com.example:a"));
    }
}
