//! Settings of a unit: the keys of `--params`, and what each takes.
//!
//! tgtadm's texts are read as tgt reads them (junk is 0, texts are cut); the commands that are ours alone ask [`check`] first, which takes nothing that would be
//! understood as something else.

use crate::code::Code;
use crate::document::Access;
use crate::reply::Failure;

/// What a setting takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// So many characters at most.
    Text(usize),
    /// On or off.
    Switch,
    /// From 0 to this.
    Number(u64),
    /// A path, or a size for the store memory.
    Path,
    /// `page:subpage:size:byte:…`.
    Page,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `group:state` or `group:state:preferred`.
    Access,
}

/// Name, kind and meaning of each setting of a disk.
const ROWS: &[(&str, Kind, &str)] = &[
    ("scsi_id", Kind::Text(36), "SCSI ID: the designators of VPD page 83h"),
    ("scsi_sn", Kind::Text(36), "serial number: VPD page 80h"),
    ("vendor_id", Kind::Text(8), "vendor of INQUIRY"),
    ("product_id", Kind::Text(16), "product of INQUIRY"),
    ("product_rev", Kind::Text(4), "revision of INQUIRY"),
    ("readonly", Kind::Switch, "writes are refused with WRITE PROTECTED"),
    ("online", Kind::Switch, "the medium can be used"),
    ("removable", Kind::Switch, "the medium can be taken out"),
    ("thin_provisioning", Kind::Switch, "UNMAP and its VPD pages"),
    ("path", Kind::Path, "another medium; set online=0 first"),
    ("sense_format", Kind::Number(1), "sense data: 0 fixed, 1 with descriptors"),
    ("lbppbe", Kind::Number(15), "logical blocks per physical block, as a power of two"),
    ("la_lba", Kind::Number(16_383), "lowest aligned logical block"),
    ("optimal_xfer_gran", Kind::Number(65_535), "optimal transfer granularity in blocks"),
    ("optimal_xfer_len", Kind::Number(u32::MAX as u64), "optimal transfer length in blocks"),
    ("rotation_rate", Kind::Number(65_535), "0 not told, 1 no rotation, or revolutions per minute"),
    ("mode_page", Kind::Page, "a mode page to replace or to add"),
    ("alua", Kind::Word(&["none", "implicit", "explicit", "both"]), "which changes of access states initiators hear of"),
    ("access_state", Kind::Access, "state of a target port group"),
];

/// Every setting of a disk and what may be set, in words: for help texts and refusals.
pub fn rows() -> Vec<(&'static str, String)> {
    ROWS.iter().map(|(name, kind, meaning)| (*name, format!("{meaning}: {}", allowed(*kind)))).collect()
}

/// Names of all settings.
pub fn names() -> Vec<&'static str> {
    ROWS.iter().map(|row| row.0).collect()
}

/// Is this a setting of every disk?
pub fn is_known(name: &str) -> bool {
    ROWS.iter().any(|row| row.0 == name)
}

fn allowed(kind: Kind) -> String {
    match kind {
        Kind::Text(most) => format!("1 to {most} characters"),
        Kind::Switch => "on or off (1 or 0)".into(),
        Kind::Number(most) => format!("0 to {most}"),
        Kind::Path => "a file, or a size where the store is memory".into(),
        Kind::Page => "page:subpage:size:byte:byte:...".into(),
        Kind::Word(words) => words.join(", "),
        Kind::Access => format!("group:state or group:state:preferred; states: {}", scsi::AccessState::ALL.map(scsi::AccessState::word).join(", ")),
    }
}

/// The value as the daemon takes it: `on` becomes `1`.
///
/// # Errors
/// [`Code::InvalidRequest`]: the name is unknown, or the value is not what it takes; the detail tells what is.
pub fn check(name: &str, value: &str) -> Result<String, Failure> {
    let Some((_, kind, _)) = ROWS.iter().find(|row| row.0 == name) else {
        return Err(Code::InvalidRequest.because(format!("a disk has no setting '{name}': {}", names().join(", "))));
    };
    let good = match kind {
        Kind::Text(most) => (1..=*most).contains(&value.chars().count()).then(|| value.to_owned()),
        Kind::Switch => switch(value).map(str::to_owned),
        Kind::Number(most) => number(value).filter(|number| number <= most).map(|number| number.to_string()),
        Kind::Word(words) => words.contains(&value).then(|| value.to_owned()),
        Kind::Access => Access::parse(value).ok().map(|access| access.to_string()),
        Kind::Path | Kind::Page => (!value.is_empty()).then(|| value.to_owned()),
    };
    good.ok_or_else(|| Code::InvalidRequest.because(format!("'{value}' is no value for {name}: {}", allowed(*kind))))
}

fn switch(value: &str) -> Option<&'static str> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some("1"),
        "0" | "off" | "no" | "false" => Some("0"),
        _ => None,
    }
}

/// Decimal, or hexadecimal after `0x`.
fn number(value: &str) -> Option<u64> {
    let (digits, radix) = value.strip_prefix("0x").map_or((value, 10), |digits| (digits, 16));
    (!digits.starts_with('+')).then(|| u64::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_the_daemon_reads() {
        for (name, value, want) in [
            ("readonly", "yes", "1"),
            ("readonly", "Off", "0"),
            ("lbppbe", "0x3", "3"),
            ("vendor_id", "ACME", "ACME"),
            ("mode_page", "8:0:18:0x10", "8:0:18:0x10"),
            ("alua", "implicit", "implicit"),
            ("access_state", "2:standby:preferred", "2:standby:preferred"),
            ("path", "/srv/a,b.img", "/srv/a,b.img"),
        ] {
            assert_eq!(check(name, value).as_deref(), Ok(want), "{name}={value}");
        }
    }

    #[test]
    fn what_would_be_understood_otherwise_is_refused() {
        for (name, value, allowed) in [
            ("readonly", "maybe", "on or off"),
            ("readonly", "", "on or off"),
            ("lbppbe", "16", "0 to 15"),
            ("lbppbe", "12x", "0 to 15"),
            ("lbppbe", "-1", "0 to 15"),
            ("lbppbe", "+1", "0 to 15"),
            ("vendor_id", "ACMEACMEX", "1 to 8 characters"),
            ("path", "", "a file"),
            ("alua", "yes", "none, implicit, explicit, both"),
            ("access_state", "2:active", "non-optimized"),
            ("colour", "red", "scsi_id, scsi_sn, vendor_id"),
        ] {
            let detail = check(name, value).map_err(|failure| failure.detail).unwrap_err();
            assert!(detail.contains(name) && detail.contains(allowed), "{detail}");
        }
    }
}
