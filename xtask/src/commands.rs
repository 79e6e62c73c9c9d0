//! The page of the book that lists every command, made from the command table.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use scsi::DeviceType;
use scsi::command::{CommandRow, Operation, ROWS, VARIABLE_LENGTH};

use crate::ledger::{self, Sources};
use crate::root;

const PAGE: &str = "docs/src/commands.md";

const HEAD: &str = "\
# Commands

Made from the command table by `cargo xtask commands --write`. *Word* is what `op=` of a fault rule calls the command; *code* is the operation code, and the
service action where there is one. *Code* is the file below `crates` that carries the command out, *test* the first function that sends it, in that file or
else nearby; *suite* is the one of libiscsi's conformance tests that is about it. [Clauses, code, tests](ledger.md) tells more.

| code | command | word | units | clause | code | test | suite |
|---|---|---|---|---|---|---|---|
";

/// Where a command is carried out, by operation code, and by service action where one code has several. Their tests stand in the same file, or beside it.
const FILES: &[(&str, &[&str])] = &[
    ("device/src/primary/mod.rs", &["00"]),
    ("device/src/disk/capacity.rs", &["25", "9e/10"]),
    ("device/src/disk/compare_and_write.rs", &["89"]),
    ("device/src/disk/lba_status.rs", &["9e/12", "7f/0012"]),
    (
        "device/src/disk/read_write.rs",
        &["08", "0a", "28", "2a", "2e", "88", "8a", "8e", "9c", "a8", "aa", "ae", "7f/0009", "7f/000b", "7f/000c", "7f/000f"],
    ),
    ("device/src/disk/synchronize.rs", &["34", "35", "90", "91"]),
    ("device/src/disk/unmap.rs", &["42"]),
    ("device/src/disk/verify.rs", &["2f", "8f", "af", "7f/000a"]),
    ("device/src/disk/write_same.rs", &["41", "93", "7f/000d"]),
    ("device/src/primary/inquiry.rs", &["12"]),
    ("device/src/disk/erase.rs", &["04", "48/01", "48/02", "48/03", "48/1f"]),
    ("device/src/disk/marked.rs", &["3f", "9f/11"]),
    ("device/src/disk/or_write.rs", &["8b", "7f/000e"]),
    ("device/src/disk/streams.rs", &["9a", "9e/14", "9e/15", "9e/16", "7f/0010"]),
    ("device/src/disk/defects.rs", &["07", "37", "b7"]),
    ("device/src/primary/buffers.rs", &["3b", "3c"]),
    ("device/src/primary/diagnostics.rs", &["1c", "1d"]),
    ("device/src/primary/identity.rs", &["a2", "a3/05", "a3/0f", "a4/06", "a4/0f", "b5"]),
    ("device/src/primary/log_select.rs", &["4c"]),
    ("device/src/primary/log_sense.rs", &["4d"]),
    ("device/src/primary/mode_select.rs", &["15", "55"]),
    ("device/src/primary/mode_sense.rs", &["1a", "5a"]),
    ("device/src/primary/opcodes.rs", &["a3/0c", "a3/0d"]),
    ("device/src/primary/start_stop.rs", &["1b", "1e"]),
    ("target/src/copy/mod.rs", &["83/00", "83/01", "83/11", "83/1c"]),
    ("target/src/copy/work.rs", &["83/10"]),
    ("target/src/copy/report.rs", &["84/00", "84/01", "84/04", "84/05", "84/06", "84/07", "84/08"]),
    ("device/src/primary/third_party.rs", &["84/03"]),
    ("target/src/port_groups.rs", &["a3/0a", "a4/0a"]),
    ("target/src/primary.rs", &["03", "16", "17", "56", "57", "a0"]),
    ("target/src/reservation/report.rs", &["5e/00", "5e/01", "5e/02", "5e/03"]),
    ("target/src/reservation/change.rs", &["5f/00", "5f/01", "5f/02", "5f/03", "5f/04", "5f/06", "5f/07", "5f/08"]),
    ("target/src/reserve_out.rs", &["5f/05"]),
];

/// Suites of libiscsi and the commands they are about.
const SUITES: &[(&str, &[&str])] = &[
    ("CompareAndWrite", &["89"]),
    ("ExtendedCopy", &["83/00"]),
    ("GetLBAStatus", &["9e/12"]),
    ("Inquiry", &["12"]),
    ("ModeSense6", &["1a"]),
    ("OrWrite", &["8b"]),
    ("Prefetch10", &["34"]),
    ("Prefetch16", &["90"]),
    ("PreventAllow", &["1e"]),
    ("PrinReadKeys", &["5e/00"]),
    ("PrinReportCapabilities", &["5e/02"]),
    ("ProutClear", &["5f/03"]),
    ("ProutPreempt", &["5f/04"]),
    ("ProutRegister", &["5f/00", "5f/06"]),
    ("ProutReserve", &["5e/01", "5f/01", "5f/02"]),
    ("Read6", &["08"]),
    ("ReceiveCopyResults", &["84/00", "84/03"]),
    ("Read10", &["28"]),
    ("Read12", &["a8"]),
    ("Read16", &["88"]),
    ("ReadCapacity10", &["25"]),
    ("ReadCapacity16", &["9e/10"]),
    ("ReadDefectData10", &["37"]),
    ("ReadDefectData12", &["b7"]),
    ("ReportSupportedOpcodes", &["a3/0c"]),
    ("Reserve6", &["16", "17"]),
    ("Sanitize", &["48/01", "48/02", "48/03", "48/1f"]),
    ("StartStopUnit", &["1b"]),
    ("TestUnitReady", &["00"]),
    ("Unmap", &["42"]),
    ("Verify10", &["2f"]),
    ("Verify12", &["af"]),
    ("Verify16", &["8f"]),
    ("Write10", &["2a"]),
    ("Write12", &["aa"]),
    ("Write16", &["8a"]),
    ("WriteAtomic16", &["9c"]),
    ("WriteSame10", &["41"]),
    ("WriteSame16", &["93"]),
    ("WriteVerify10", &["2e"]),
    ("WriteVerify12", &["ae"]),
    ("WriteVerify16", &["8e"]),
];

/// `commands [--write]`: prints the page, or puts it in its place.
pub fn run(words: &[String]) -> Result<bool> {
    match words.first().map(String::as_str) {
        None => print!("{}", page()?),
        Some("--write") => std::fs::write(root().join(PAGE), page()?).context(PAGE)?,
        Some(other) => bail!("commands: no option '{other}'"),
    }
    Ok(true)
}

/// Fails when the committed page is not what the table says.
pub fn check() -> Result<()> {
    let committed = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    if committed != page()? {
        bail!("{PAGE} is not what the command table says: cargo xtask commands --write");
    }
    Ok(())
}

/// Operation code, and service action where there is one: `9e/12`.
pub fn code(row: &CommandRow) -> String {
    match row.service_action {
        None => format!("{:02x}", row.opcode),
        Some(action) if row.opcode == VARIABLE_LENGTH => format!("{:02x}/{action:04x}", row.opcode),
        Some(action) => format!("{:02x}/{action:02x}", row.opcode),
    }
}

/// The file below `crates` that carries a command out.
pub fn file_of(row: &CommandRow) -> Option<&'static str> {
    let code = code(row);
    // The controller at LUN 0 answers VERIFY as if it were TEST UNIT READY.
    let place = if row.operation == Operation::TestUnitReady { "00" } else { code.as_str() };
    FILES.iter().find(|(_, codes)| codes.contains(&place)).map(|(file, _)| *file)
}

/// The suite of libiscsi's that is about a command.
pub fn suite_of(row: &CommandRow) -> Option<&'static str> {
    let code = code(row);
    let suite = SUITES.iter().find(|(_, codes)| codes.contains(&code.as_str()) && row.device_types.contains(&DeviceType::DISK));
    suite.map(|(name, _)| *name)
}

fn page() -> Result<String> {
    let sources = Sources::of_tree()?;
    let mut page = HEAD.to_owned();
    for row in ROWS {
        let Some(file) = file_of(row) else {
            bail!("{}: xtask/src/commands.rs does not say where it is carried out", row.name);
        };
        if !root().join("crates").join(file).exists() {
            bail!("crates/{file} does not exist, but xtask/src/commands.rs names it");
        }
        let (code, word, units, clause) = (code(row), row.word, units(row), row.clause.trim_end_matches(" command"));
        let suite = suite_of(row).unwrap_or_default();
        let test = ledger::tests_of(row, sources).first().map_or_else(|| "**none**".to_owned(), |name| format!("`{name}`"));
        writeln!(page, "| {code} | {} | `{word}` | {units} | {clause} | `{file}` | {test} | {suite} |", row.name)?;
    }
    Ok(page)
}

fn units(row: &CommandRow) -> String {
    let name = |kind: &DeviceType| if *kind == DeviceType::DISK { "disk" } else { "LUN 0" };
    row.device_types.iter().map(name).collect::<Vec<_>>().join(", ")
}
