//! What tgtadm checks before it sends anything: which options each mode and operation knows, and which it needs. Texts are tgtadm's.

use super::Usage;
use super::tgtadm::{Options, REFUSED};
use crate::code::Code;
use crate::reading::rule_number;
use crate::wire::{MODES, OPERATIONS};

/// Number of the portal mode.
pub(super) const PORTAL: u32 = 3;
/// Number of the error mode.
pub(super) const ERROR: u32 = 8;

/// Letters that no check looks at: debug, driver, operation, mode, control port.
const ALWAYS: &str = "dLomC";

/// Refuses what tgtadm refuses. Modes session and connection check nothing: the daemon does.
pub(super) fn check(options: &Options, mode: u32, op: u32) -> Result<(), Usage> {
    match mode {
        0 => system(options, op),
        1 => target(options, op),
        2 => unit(options, op),
        PORTAL => portal(options, op),
        4 => driver(options, op),
        7 => account(options, op),
        ERROR => error(options, op),
        _ => Ok(()),
    }
}

fn system(options: &Options, op: u32) -> Result<(), Usage> {
    match op {
        1 | 2 | 6 => Ok(()),
        5 => {
            allowed(options, "system", "nv")?;
            name_and_value(options)
        }
        op => unsupported("system", op),
    }
}

fn target(options: &Options, op: u32) -> Result<(), Usage> {
    if op != 2 {
        match options.tid {
            None => return refuse("'tid' option is necessary"),
            Some(0) => return refuse("'tid' cannot be 0"),
            Some(_) => {}
        }
    }
    match op {
        0 => {
            allowed(options, "target", "tT")?;
            needs(options.targetname.is_some(), "creating new target requires a name, use --targetname")
        }
        1 => allowed(options, "target", "tF"),
        2 | 6 => allowed(options, "target", "t"),
        3 | 4 => {
            allowed(options, "target", "tIQHB")?;
            let bound = options.address.is_some() || options.initiator.is_some() || options.host != 0;
            needs(bound, &format!("{} operation requires initiator-address, initiator-nameor bus", operation(op)))
        }
        5 => {
            allowed(options, "target", "tnv")?;
            name_and_value(options)
        }
        op => unsupported("target", op),
    }
}

fn unit(options: &Options, op: u32) -> Result<(), Usage> {
    match (options.tid, options.lun) {
        (None, _) => return refuse("'tid' option is necessary"),
        (Some(0), _) => return refuse("'tid' must not be 0"),
        (_, None) => return refuse("'lun' option is necessary"),
        _ => {}
    }
    match op {
        0 => {
            allowed(options, "logicalunit", "tlbESfyY")?;
            // A disk, tape or cd without store is a drive without medium.
            let stands_alone = matches!(options.device_type, 0 | 1 | 5);
            needs(stands_alone || options.path.is_some(), "'backing-store' option is necessary")
        }
        1 => allowed(options, "logicalunit", "tlF"),
        6 => allowed(options, "logicalunit", "tl"),
        5 => match stranger(options, "tlPfy") {
            Some(letter) => refuse(&format!("option '-{letter}' not supported in logicalunit mode")),
            None => Ok(()),
        },
        op => unsupported("logicalunit", op),
    }
}

fn portal(options: &Options, op: u32) -> Result<(), Usage> {
    match op {
        0 | 1 => {
            allowed(options, "portal", "P")?;
            needs(options.params.is_some(), "you must specify --param portal=<portal>")
        }
        2 => match stranger(options, "") {
            Some(letter) => refuse(&format!("option '-{letter}' not supported in portal mode")),
            None => Ok(()),
        },
        op => unsupported("portal", op),
    }
}

fn driver(options: &Options, op: u32) -> Result<(), Usage> {
    match op {
        2 | 7 | 8 => allowed(options, "lld", ""),
        op => refuse(&format!("option {op} not supported in lld mode")),
    }
}

fn account(options: &Options, op: u32) -> Result<(), Usage> {
    match op {
        0 => {
            allowed(options, "account", "upf")?;
            needs(options.user.is_some() && options.password.is_some(), "'user' and 'password' options are required")
        }
        1 => {
            allowed(options, "account", "u")?;
            // tgtadm sends it without, which ends the C daemon.
            needs(options.user.is_some(), "'user' option is necessary")
        }
        2 => allowed(options, "account", ""),
        3 | 4 => {
            allowed(options, "account", "utO")?;
            needs(options.user.is_some(), "'user' option is necessary")
        }
        op => unsupported("account", op),
    }
}

/// Fault rules. An operation that the mode lacks is the daemon's to refuse, in the words of the original.
fn error(options: &Options, op: u32) -> Result<(), Usage> {
    match op {
        0 => {
            match (options.tid, options.lun) {
                (None, _) => return refuse("'tid' option is necessary"),
                (Some(0), _) => return refuse("'tid' cannot be 0"),
                (_, None) => return refuse("'lun' option is necessary"),
                _ => {}
            }
            allowed(options, "error", "tle")?;
            let Some(text) = &options.error else {
                return refuse("'error' option is necessary, as --error op=WRITE10,lba=0,len=1,key=3,asc=0x0c02");
            };
            rule(text)
        }
        1 => {
            allowed(options, "error", "tle")?;
            needs(options.lun.is_none() || options.tid.is_some(), "'tid' option is necessary")?;
            let Some(text) = &options.error else { return Ok(()) };
            let number = core::str::from_utf8(text).ok().and_then(rule_number);
            needs(number.is_some(), &format!("--error '{}': to delete one rule, give its number as rule=N", String::from_utf8_lossy(text)))
        }
        2 => allowed(options, "error", ""),
        _ => Ok(()),
    }
}

/// Reads a fault rule before the daemon does: its answer carries a number only, and could not name the word that is wrong. An operation or action that
/// does not exist is refused in the words of the original, which scripts know.
fn rule(text: &[u8]) -> Result<(), Usage> {
    let Ok(text) = core::str::from_utf8(text) else { return refuse(Code::InvalidRequest.text()) };
    match fault::grammar::parse(text) {
        Ok(_) => Ok(()),
        Err(error) if error.word.starts_with("op=") || error.word.starts_with("action=") => refuse(Code::InvalidRequest.text()),
        Err(error) => refuse(&error.to_string()),
    }
}

/// Number of the SCSI host of a device: the one `hostN` in `/sys/bus/BUS/devices/ID`.
pub(super) fn bus_host(value: &[u8]) -> Result<u32, Usage> {
    let value = String::from_utf8_lossy(value);
    let fail = |what: String| Usage::new(REFUSED, format_args!("tgtadm: {what}"));
    let (bus, device) = value.split_once(',').ok_or_else(|| fail(format!("--bus '{value}': expected BUS,ID")))?;
    let devices = std::path::Path::new("/sys/bus").join(bus).join("devices");
    if bus.contains('/') || !devices.is_dir() {
        return Err(fail(format!("can't find bus: {bus}")));
    }
    let entries = std::fs::read_dir(devices.join(device)).map_err(|_| fail(format!("can't find bus: {bus}, device: {device}")))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let host = names.filter_map(|name| name.strip_prefix("host")?.parse().ok()).next();
    host.ok_or_else(|| fail(format!("device {device} on bus {bus} has no SCSI host")))
}

fn name_and_value(options: &Options) -> Result<(), Usage> {
    needs(options.name.is_some() && options.value.is_some(), "update operation requires 'name' and 'value' options")
}

/// The first option that is not in `letters`.
fn stranger(options: &Options, letters: &str) -> Option<char> {
    options.seen.iter().copied().find(|letter| !letters.contains(*letter) && !ALWAYS.contains(*letter))
}

fn allowed(options: &Options, mode: &str, letters: &str) -> Result<(), Usage> {
    match stranger(options, letters) {
        Some(letter) => refuse(&format!("{mode} mode: option '-{letter}' is not allowed/supported")),
        None => Ok(()),
    }
}

fn needs(condition: bool, message: &str) -> Result<(), Usage> {
    if condition { Ok(()) } else { refuse(message) }
}

fn refuse(message: &str) -> Result<(), Usage> {
    Err(Usage::new(REFUSED, format_args!("tgtadm: {message}")))
}

fn unsupported(mode: &str, op: u32) -> Result<(), Usage> {
    debug_assert!(MODES.iter().any(|row| row.1 == mode));
    refuse(&format!("operation {} not supported in {mode} mode", operation(op)))
}

fn operation(op: u32) -> &'static str {
    OPERATIONS.iter().find(|row| row.0 == op).map_or("?", |row| row.1)
}
