//! SCSI in words: CDBs, sense data and additional sense codes for people. What is not known is shown in hex, never hidden.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::command::{self, CommandRow, Family, Operation, Refusal};
use crate::response::{be16, be24, be32};
use crate::sense::{Asc, CopyEnd, KeySpecific, Sense, SenseKey};
use crate::types::DeviceType;

/// A CDB in lines of `field: value`, the command's name first. Bits that the command table does not know are shown.
pub fn cdb(cdb: &[u8], device_type: DeviceType) -> String {
    let row = match command::lookup(device_type, cdb) {
        Ok(row) => row,
        Err(refusal) => return unknown(cdb, refusal),
    };
    let mut lines = Lines::new();
    lines.text(row.name);
    lines.field(
        "operation code",
        match row.service_action {
            Some(action) => format!("{:02x}h, service action {}", row.opcode, service_action(row.opcode, action)),
            None => format!("{:02x}h", row.opcode),
        },
    );
    medium_fields(&mut lines, row, cdb);
    flags(&mut lines, row, cdb);
    parameters(&mut lines, row, cdb);
    control(&mut lines, row, cdb);
    lines.finish()
}

/// Sense data in lines of `field: value`; bytes that are no sense data are shown in hex.
pub fn sense(bytes: &[u8]) -> String {
    let mut lines = Lines::new();
    let Some(sense) = Sense::decode(bytes) else {
        lines.text("no sense data");
        lines.field("bytes", hex(bytes));
        return lines.finish();
    };
    let format = if bytes.first().is_some_and(|code| code & 0x7f < 0x72) { "fixed" } else { "descriptor" };
    lines.text(&format!("{}: {}", key(sense.key), asc(sense.asc.0)));
    lines.field("format", format!("{format}, {} error", if sense.deferred { "deferred" } else { "current" }));
    lines.field("sense key", format!("{:x}h, {}", sense.key.0, key(sense.key)));
    lines.field("additional sense code", format!("{:04x}h, {}", sense.asc.0, asc(sense.asc.0)));
    if let Some(forwarded) = sense.forwarded {
        let from = if forwarded.from == CopyEnd::Source { "copy source" } else { "copy destination" };
        let said = forwarded.sense.map_or(String::new(), |(key, code)| format!(", {}: {}", self::key(key), asc(code.0)));
        lines.field(from, format!("status {:02x}h{said}", forwarded.status));
    }
    if let Some(information) = sense.information {
        lines.field("information", format!("{information} ({information:#x})"));
    }
    if let Some(specific) = sense.command_specific {
        lines.field("command specific", format!("{specific} ({specific:#x})"));
    }
    if let Some(specific) = sense.specific {
        lines.field("sense key specific", key_specific(specific));
    }
    let set = [(sense.filemark, "FILEMARK"), (sense.end_of_medium, "EOM"), (sense.incorrect_length, "ILI")];
    lines.list("flags", set.iter().filter(|(set, _)| *set).map(|(_, name)| *name));
    lines.finish()
}

/// Name of an additional sense code and qualifier, written as one number (`0x0c02`).
pub fn asc(number: u16) -> String {
    let asc = Asc(number);
    match asc.name() {
        Some(name) => match name.strip_suffix("NN") {
            Some(start) => format!("{start}{:02x}h", asc.qualifier()),
            None => name.to_string(),
        },
        None if asc.code() >= 0x80 || asc.qualifier() >= 0x80 => format!("vendor specific {:02x}h/{:02x}h", asc.code(), asc.qualifier()),
        None => format!("unassigned {:02x}h/{:02x}h", asc.code(), asc.qualifier()),
    }
}

/// Name of a sense key; a number that is no sense key in hex.
pub fn key(key: SenseKey) -> String {
    key.name().map_or_else(|| format!("sense key {:02x}h", key.0), ToString::to_string)
}

fn key_specific(specific: KeySpecific) -> String {
    match specific {
        KeySpecific::Field(field) => {
            let place = if field.in_cdb { "CDB" } else { "parameter list" };
            let bit = field.bit.map_or_else(String::new, |bit| format!(", bit {bit}"));
            format!("wrong field in the {place}: byte {}{bit}", field.byte)
        }
        KeySpecific::Progress(progress) => format!("progress {progress} of 65536 ({} %)", u32::from(progress) * 100 / 65536),
        KeySpecific::Retries(retries) => format!("{retries} retries"),
    }
}

fn unknown(cdb: &[u8], refusal: Refusal) -> String {
    let mut lines = Lines::new();
    let name = cdb.first().map_or("", |&opcode| command::by_opcode(opcode).first().map_or("", |row| row.name));
    match (refusal, cdb.first()) {
        (_, None) => lines.text("an empty CDB"),
        (Refusal::InvalidOperationCode, Some(opcode)) => lines.text(&format!("unknown operation code {opcode:02x}h")),
        (Refusal::InvalidServiceAction, Some(opcode)) => {
            let action = service_action(*opcode, command::service_action(cdb).unwrap_or(0));
            lines.text(&format!("unknown service action {action} of operation code {opcode:02x}h"));
        }
        (Refusal::InvalidLength, Some(opcode)) => {
            lines.text(&format!("operation code {opcode:02x}h, another additional length than its service action has"))
        }
        (Refusal::TooShort, Some(opcode)) => lines.text(&format!("{name}: operation code {opcode:02x}h, the CDB is too short")),
    }
    lines.field("bytes", hex(cdb));
    lines.finish()
}

/// A service action with the digits its field has.
fn service_action(opcode: u8, action: u16) -> String {
    if opcode == command::VARIABLE_LENGTH { format!("{action:04x}h") } else { format!("{action:02x}h") }
}

fn medium_fields(lines: &mut Lines, row: &CommandRow, cdb: &[u8]) {
    let Some(range) = row.range(cdb) else { return };
    lines.field("logical block address", format!("{} ({:#x})", range.start.0, range.start.0));
    let to_the_end = matches!(row.family, Family::Synchronize | Family::WriteSame | Family::PreFetch) && range.count.0 == 0;
    lines.field("blocks", if to_the_end { "0 (to the end of the medium)".to_string() } else { format!("{}", range.count.0) });
}

/// Names of single bits, by the rows that have them: byte, mask, name.
fn flag_names(row: &CommandRow) -> &'static [(usize, u8, &'static str)] {
    match (row.operation, row.family) {
        (Operation::Read6 | Operation::Write6, _) => &[],
        (_, Family::Read | Family::Write | Family::CompareAndWrite) => &[(1, 0x10, "DPO"), (1, 0x08, "FUA")],
        (_, Family::Verify | Family::WriteAndVerify) => &[(1, 0x10, "DPO")],
        (_, Family::Synchronize | Family::PreFetch) => &[(1, 0x02, "IMMED")],
        (_, Family::Unmap) => &[(1, 0x01, "ANCHOR")],
        (Operation::WriteSame16 | Operation::WriteSame32, _) => &[(1, 0x10, "ANCHOR"), (1, 0x08, "UNMAP"), (1, 0x01, "NDOB")],
        (_, Family::WriteSame) => &[(1, 0x10, "ANCHOR"), (1, 0x08, "UNMAP")],
        (Operation::Inquiry, _) => &[(1, 0x01, "EVPD")],
        (Operation::RequestSense, _) => &[(1, 0x01, "DESC")],
        (Operation::ModeSelect6 | Operation::ModeSelect10, _) => &[(1, 0x10, "PF"), (1, 0x01, "SP")],
        (Operation::ModeSense6, _) => &[(1, 0x08, "DBD")],
        (Operation::ModeSense10, _) => &[(1, 0x10, "LLBAA"), (1, 0x08, "DBD")],
        (Operation::StartStopUnit, _) => &[(1, 0x01, "IMMED"), (4, 0x04, "NO_FLUSH"), (4, 0x02, "LOEJ"), (4, 0x01, "START")],
        (Operation::ReportSupportedOperationCodes, _) => &[(2, 0x80, "RCTD")],
        (Operation::ReportSupportedTaskManagementFunctions, _) => &[(2, 0x80, "REPD")],
        _ => &[],
    }
}

fn flags(lines: &mut Lines, row: &CommandRow, cdb: &[u8]) {
    let byte = |at: usize| cdb.get(at).copied().unwrap_or(0);
    // Byte 1 of the table is where the flags of the block commands stand.
    let place = |at: usize| if at == 1 { row.flags_at() } else { at };
    lines.list("flags", flag_names(row).iter().filter(|(at, mask, _)| byte(place(*at)) & mask != 0).map(|(_, _, name)| *name));
    if matches!(row.family, Family::Verify | Family::WriteAndVerify) {
        let bytchk = byte(row.flags_at()) >> 1 & 3;
        let meaning = ["no data compared", "compared block by block", "reserved", "one block compared with every block"];
        lines.field("BYTCHK", format!("{bytchk}, {}", meaning.get(usize::from(bytchk)).copied().unwrap_or("")));
    }
    let protect = byte(row.flags_at()) >> 5;
    let six = row.usage.len() == 6;
    if row.lba.is_some() && !six && protect != 0 && !matches!(row.family, Family::Synchronize | Family::PreFetch) {
        lines.field("protection field", format!("{protect}"));
    }
    let group = match row.usage.len() {
        10 => byte(6) & 0x1f,
        12 => byte(10) & 0x1f,
        16 => byte(14) & 0x3f,
        32 => byte(6) & 0x3f,
        _ => 0,
    };
    if row.lba.is_some() && group != 0 {
        lines.field("group number", format!("{group}"));
    }
}

fn parameters(lines: &mut Lines, row: &CommandRow, cdb: &[u8]) {
    let byte = |at: usize| cdb.get(at).copied().unwrap_or(0);
    match row.operation {
        Operation::Inquiry => lines.field("page code", format!("{:02x}h", byte(2))),
        Operation::ModeSense6 | Operation::ModeSense10 => {
            let control = ["current", "changeable", "default", "saved"];
            lines.field("page control", control.get(usize::from(byte(2) >> 6)).copied().unwrap_or(""));
            lines.field("page", format!("{:02x}h, subpage {:02x}h", byte(2) & 0x3f, byte(3)));
        }
        Operation::PreventAllowMediumRemoval => lines.field("prevent", format!("{}", byte(4) & 3)),
        Operation::StartStopUnit => lines.field("power condition", format!("{:x}h", byte(4) >> 4)),
        Operation::ReportLuns => lines.field("select report", format!("{:02x}h", byte(2))),
        Operation::ReportSupportedOperationCodes => {
            lines.field("reporting options", format!("{}", byte(2) & 7));
            lines.field("requested", format!("operation code {:02x}h, service action {:04x}h", byte(3), be16(cdb, 4).unwrap_or(0)));
        }
        Operation::PersistentReserveOutReserve
        | Operation::PersistentReserveOutRelease
        | Operation::PersistentReserveOutPreempt
        | Operation::PersistentReserveOutPreemptAndAbort
        | Operation::PersistentReserveOutReplaceLostReservation => {
            lines.field("scope", format!("{:x}h", byte(2) >> 4));
            lines.field("type", format!("{:x}h, {}", byte(2) & 0xf, reservation_type(byte(2) & 0xf)));
        }
        Operation::GetLbaStatus16 | Operation::GetLbaStatus32 => {
            let at = if row.operation == Operation::GetLbaStatus32 { 12 } else { 2 };
            let lba = crate::response::be64(cdb, at).unwrap_or(0);
            lines.field("logical block address", format!("{lba} ({lba:#x})"));
        }
        _ => {}
    }
    if let Some((name, length)) = list_length(row, cdb) {
        lines.field(name, format!("{length}"));
    }
}

fn reservation_type(number: u8) -> &'static str {
    match number {
        1 => "write exclusive",
        3 => "exclusive access",
        5 => "write exclusive, registrants only",
        6 => "exclusive access, registrants only",
        7 => "write exclusive, all registrants",
        8 => "exclusive access, all registrants",
        _ => "reserved",
    }
}

/// ALLOCATION LENGTH or PARAMETER LIST LENGTH, for the commands that have one.
fn list_length(row: &CommandRow, cdb: &[u8]) -> Option<(&'static str, u32)> {
    let allocation = |length| Some(("allocation length", length));
    let list = |length| Some(("parameter list length", length));
    match row.operation {
        Operation::RequestSense | Operation::ModeSense6 => allocation(u32::from(*cdb.get(4)?)),
        Operation::Inquiry => allocation(u32::from(be16(cdb, 3)?)),
        Operation::ModeSelect6 => list(u32::from(*cdb.get(4)?)),
        Operation::ModeSense10 => allocation(u32::from(be16(cdb, 7)?)),
        Operation::ModeSelect10 | Operation::Unmap => list(u32::from(be16(cdb, 7)?)),
        Operation::ReadCapacity16 | Operation::GetLbaStatus16 => allocation(be32(cdb, 10)?),
        Operation::GetLbaStatus32 => allocation(be32(cdb, 28)?),
        Operation::ReportLuns | Operation::ReportSupportedOperationCodes | Operation::ReportSupportedTaskManagementFunctions => {
            allocation(be32(cdb, 6)?)
        }
        Operation::CopyOperationAbort => None,
        _ if row.opcode == 0x83 => list(be32(cdb, 10)?),
        _ if row.opcode == 0x84 => allocation(be32(cdb, 10)?),
        _ if row.opcode == 0x5e => allocation(u32::from(be16(cdb, 7)?)),
        _ if row.opcode == 0x5f => list(be24(cdb, 5)? << 8 | u32::from(*cdb.get(8)?)),
        _ => None,
    }
}

fn control(lines: &mut Lines, row: &CommandRow, cdb: &[u8]) {
    let last = row.control_at();
    let control = cdb.get(last).copied().unwrap_or(0);
    let naca = if control & 0x04 != 0 { " (NACA)" } else { "" };
    lines.field("control", format!("{control:02x}h{naca}"));
    let outside: Vec<u8> = cdb.iter().zip(row.usage).map(|(byte, mask)| byte & !mask).collect();
    for (at, &bits) in outside.iter().enumerate().skip(1).filter(|&(at, bits)| *bits != 0 && at != last) {
        lines.field("not evaluated", format!("byte {at}, bits {bits:02x}h"));
    }
    if let Some(rest) = cdb.get(row.usage.len()..).filter(|rest| rest.iter().any(|&byte| byte != 0)) {
        lines.field("after the CDB", hex(rest));
    }
}

fn hex(bytes: &[u8]) -> String {
    let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    words.join(" ")
}

/// Lines of text: a headline, then indented fields.
struct Lines(String);

impl Lines {
    fn new() -> Lines {
        Lines(String::new())
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn field(&mut self, name: &str, value: impl AsRef<str>) {
        self.text(&format!("  {name}: {}", value.as_ref()));
    }

    fn list<'a>(&mut self, name: &str, words: impl Iterator<Item = &'a str>) {
        let words: Vec<&str> = words.collect();
        if !words.is_empty() {
            self.field(name, words.join(" "));
        }
    }

    fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sense::SenseFormat;
    use proptest::prelude::*;

    #[test]
    fn read_in_words() {
        let text = cdb(&[0x28, 0x18, 0, 0, 0x10, 0, 0, 0, 8, 0], DeviceType::DISK);
        assert_eq!(text, "READ(10)\n  operation code: 28h\n  logical block address: 4096 (0x1000)\n  blocks: 8\n  flags: DPO FUA\n  control: 00h\n");
    }

    #[test]
    fn bits_that_nobody_looks_at_are_shown() {
        let text = cdb(&[0x2a, 0x62, 0, 0, 0, 0, 0xe5, 0, 1, 4, 9], DeviceType::DISK);
        for wanted in ["protection field: 3", "group number: 5", "control: 04h (NACA)", "byte 1, bits 62h", "byte 6, bits e0h", "after the CDB: 09"] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }

    #[test]
    fn parameters_in_words() {
        let text = cdb(&[0x5f, 0x04, 0x05, 0, 0, 0, 0, 1, 0x18, 0], DeviceType::DISK);
        assert!(text.starts_with("PERSISTENT RESERVE OUT, PREEMPT\n  operation code: 5fh, service action 04h\n"));
        assert!(text.contains("type: 5h, write exclusive, registrants only"));
        assert!(text.contains("parameter list length: 280"));
        let text = cdb(&[0x84, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], DeviceType::DISK);
        assert!(text.starts_with("RECEIVE COPY STATUS(LID1)\n") && text.contains("allocation length: 256"), "{text}");
        let text = cdb(&[0x12, 1, 0x83, 1, 0, 0], DeviceType::CONTROLLER);
        assert!(text.contains("flags: EVPD") && text.contains("page code: 83h") && text.contains("allocation length: 256"));
    }

    #[test]
    fn unknown_cdbs_are_shown_in_hex() {
        assert_eq!(cdb(&[0xc1, 2, 3], DeviceType::DISK), "unknown operation code c1h\n  bytes: c1 02 03\n");
        assert_eq!(cdb(&[0x9e, 0x1f], DeviceType::DISK), "unknown service action 1fh of operation code 9eh\n  bytes: 9e 1f\n");
        assert_eq!(cdb(&[0x28, 0], DeviceType::DISK), "READ(10): operation code 28h, the CDB is too short\n  bytes: 28 00\n");
        assert_eq!(cdb(&[], DeviceType::DISK), "an empty CDB\n  bytes: \n");
    }

    #[test]
    fn sense_in_words() {
        let bytes = Sense::new(SenseKey::MEDIUM_ERROR, Asc(0x0c02)).with_information(77).encode(SenseFormat::Fixed);
        let text = sense(&bytes);
        assert!(text.starts_with("MEDIUM ERROR: Write error - auto reallocation failed\n  format: fixed, current error\n"), "{text}");
        assert!(text.contains("information: 77 (0x4d)"));
        let mut failed = Sense::new(SenseKey::COPY_ABORTED, Asc(0x0d01));
        failed.forwarded =
            Some(crate::Forwarded { from: CopyEnd::Source, status: 2, sense: Some((SenseKey::MEDIUM_ERROR, Asc(0x1100))), information: None });
        let text = sense(&failed.encode(SenseFormat::Fixed));
        assert!(text.contains("copy source: status 02h, MEDIUM ERROR: Unrecovered read error"), "{text}");
        let text = sense(&Sense::invalid_cdb_field(2, Some(7)).encode(SenseFormat::Descriptor));
        assert!(text.contains("format: descriptor") && text.contains("wrong field in the CDB: byte 2, bit 7"));
        assert_eq!(sense(&[1, 2]), "no sense data\n  bytes: 01 02\n");
    }

    #[test]
    fn codes_in_words() {
        assert_eq!(asc(0x40_85), "Diagnostic failure on component 85h");
        assert_eq!(asc(0x70_0a), "Decompression exception short algorithm id of 0ah");
        assert_eq!(asc(0x7f_7f), "unassigned 7fh/7fh");
        assert_eq!(asc(0x81_00), "vendor specific 81h/00h");
        assert_eq!(key(SenseKey(0x11)), "sense key 11h");
    }

    proptest! {
        #[test]
        fn anything_can_be_explained(bytes in proptest::collection::vec(any::<u8>(), 0..64), device_type in 0u8..32, number: u16) {
            prop_assert!(!cdb(&bytes, DeviceType(device_type)).is_empty());
            prop_assert!(!sense(&bytes).is_empty());
            prop_assert!(!asc(number).is_empty());
        }

        #[test]
        fn every_row_can_be_explained(index in 0usize..command::ROWS.len(), bytes in proptest::collection::vec(any::<u8>(), 36)) {
            let row = &command::ROWS[index];
            let mut bytes = bytes;
            command::head(row, &mut bytes);
            prop_assert!(cdb(&bytes, row.device_types[0]).starts_with(row.name));
        }
    }
}
