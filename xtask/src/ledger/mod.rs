//! `cargo xtask ledger`: clause, code, test, with the holes shown.

mod clauses;
mod sources;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use scsi::command::{CommandRow, ROWS};

pub use sources::Sources;

use crate::{commands, root};
use clauses::Clause;

/// The page.
const PAGE: &str = "docs/src/ledger.md";
/// Tests of a command that the page names.
const TESTS: usize = 4;
/// What a hole looks like.
const HOLE: &str = "**none**";

const HEAD: &str = "\
# Clauses, code, tests

Made by `cargo xtask ledger --write`: each clause that matters to an initiator, where it is carried out, and what shows it. Files are below `crates`. A test of
a command is a function that sends its CDB or names it, up to four of them, those of the same file first; the suite is libiscsi's, the lab a real Linux kernel.
";

/// Tests that stand first for a command, most of them because a helper of theirs builds the CDB from parts that the sources do not show.
const FIRST: &[(&str, &[&str])] = &[
    ("written_blocks_are_read", &["08", "0a", "28", "2a", "a8", "aa", "88", "8a"]),
    ("write_and_verify", &["2e", "ae", "8e"]),
    ("everything_is_gone", &["48/02", "48/03"]),
    ("overwriting", &["48/01"]),
    ("failures_stay_until_it_is_done_again", &["48/1f"]),
    ("prefetch_says_condition_met", &["34", "90"]),
    ("flushes_the_range_and_then_answers", &["35", "91"]),
];

/// Programs of the lab and the commands they send, by operation code and service action.
const TOOLS: &[(&str, &[&str])] = &[
    ("fio", &["28", "2a", "35"]),
    ("blkdiscard", &["42"]),
    ("fstrim", &["42"]),
    ("sg_inq", &["12"]),
    ("sg_vpd", &["12"]),
    ("sg_luns", &["a0"]),
    ("sg_turs", &["00"]),
    ("sg_requests", &["03"]),
    ("sg_modes", &["5a"]),
    ("sginfo", &["1a", "5a"]),
    ("sdparm", &["5a", "55"]),
    ("sg_logs", &["4d"]),
    ("sg_readcap", &["25", "9e/10"]),
    ("sg_opcodes", &["a3/0c", "a3/0d"]),
    ("sg_persist", &["5e/00", "5e/01", "5e/02", "5e/03", "5f/00", "5f/01", "5f/02", "5f/03"]),
    ("sg_get_lba_status", &["9e/12"]),
    ("sg_unmap", &["42"]),
    ("sg_write_same", &["41", "93"]),
    ("sg_verify", &["2f"]),
    ("sg_sync", &["35"]),
    ("sg_start", &["1b"]),
    ("sg_format", &["04"]),
    ("sg_sanitize", &["48/01"]),
    ("sg_compare_and_write", &["89"]),
    ("sg_rtpg", &["a3/0a"]),
    ("sg_stpg", &["a4/0a"]),
    ("sg_senddiag", &["1d"]),
    ("sg_reassign", &["07"]),
    ("sg_read_buffer", &["3c"]),
    ("sg_write_buffer", &["3b"]),
    ("sg_timestamp", &["a3/0f", "a4/0f"]),
    ("sg_ident", &["a3/05", "a4/06"]),
    ("sg_xcopy", &["83/00", "83/01", "84/03"]),
    ("sg_write_x", &["7f/0b", "9c"]),
    ("sg_stream_ctl", &["9a", "9e/14", "9e/16"]),
];

/// `ledger [--write]`: prints the page, or puts it in its place.
///
/// # Errors
/// A row names what does not exist.
pub fn run(words: &[String]) -> Result<bool> {
    match words.first().map(String::as_str) {
        None => print!("{}", page()?),
        Some("--write") => std::fs::write(root().join(PAGE), page()?).context(PAGE)?,
        Some(other) => bail!("ledger: no option '{other}'"),
    }
    Ok(true)
}

/// Fails when the committed page is not what the tree says, or a row names what does not exist.
///
/// # Errors
/// Tells which.
pub fn check() -> Result<()> {
    if std::fs::read_to_string(root().join(PAGE)).unwrap_or_default() != page()? {
        bail!("{PAGE} is not what the tree says: cargo xtask ledger --write");
    }
    Ok(())
}

fn page() -> Result<String> {
    let sources = Sources::of_tree()?;
    let lab = lab_cases()?;
    let mut holes = Vec::new();
    let mut commands =
        "\n## Commands\n\n| code | command | clause | carried out by | tests | suite | lab |\n|---|---|---|---|---|---|---|\n".to_owned();
    for row in ROWS {
        let code = commands::code(row);
        let tests = tests_of(row, sources);
        if tests.is_empty() {
            holes.push(format!("{code} {}", row.name));
        }
        let called: Vec<String> = sources.called_for(row).map(|name| format!("`{name}`")).collect();
        let place = format!("`{}` {}", commands::file_of(row).unwrap_or(HOLE), called.join(" "));
        let suite = commands::suite_of(row).unwrap_or_default();
        let lab: Vec<&str> = lab.iter().filter(|(_, text)| sends(text, &code)).map(|(name, _)| name.as_str()).collect();
        let clause = row.clause.trim_end_matches(" command");
        let _ = writeln!(commands, "| {code} | {} | {clause} | {} | {} | {suite} | {} |", row.name, place.trim(), names(&tests), lab.join(" "));
    }
    let unknown = FIRST.iter().filter(|(name, _)| !sources.has_test(name));
    let mut wrong: Vec<String> = unknown.map(|(name, _)| format!("{name} does not exist")).collect();
    let tables = [
        ("iSCSI: RFC 7143", clauses::ISCSI),
        ("Tasks and their management: SAM-5", clauses::ARCHITECTURE),
        ("What later versions of libiscsi's suite ask", clauses::LATER_SUITE),
    ];
    let mut rest = String::new();
    for (title, rows) in tables {
        let _ = write!(rest, "\n## {title}\n\n| clause | what | carried out by | tests | suite |\n|---|---|---|---|---|\n");
        for clause in rows {
            wrong.extend(missing(clause, sources));
            if clause.tests.is_empty() {
                holes.push(format!("{} {}", clause.number, clause.what));
            }
            let code: Vec<String> = clause.code.iter().map(|place| format!("`{}`", place.replace(':', " "))).collect();
            let code = if code.is_empty() { HOLE.to_owned() } else { code.join("<br>") };
            let _ = writeln!(rest, "| {} | {} | {code} | {} | {} |", clause.number, clause.what, names(clause.tests), clause.suite.join(" "));
        }
    }
    if !wrong.is_empty() {
        bail!("xtask/src/ledger: {}", wrong.join("\n"));
    }
    let mut page = HEAD.to_owned();
    page.push_str("\n## Holes\n\nWithout a test, or without code:\n\n");
    for hole in holes {
        let _ = writeln!(page, "- {hole}");
    }
    Ok(page + &commands + &rest)
}

/// What a row of clauses names and the tree does not have.
fn missing(clause: &Clause, sources: &Sources) -> Vec<String> {
    let no_code = clause.code.iter().filter(|place| !place.split_once(':').is_some_and(|(file, symbol)| sources.has(file, symbol)));
    let no_test = clause.tests.iter().filter(|name| !sources.has_test(name));
    no_code.chain(no_test).map(|name| format!("{} names {name}, which does not exist", clause.number)).collect()
}

fn names<T: std::fmt::Display>(tests: &[T]) -> String {
    if tests.is_empty() {
        return HOLE.to_owned();
    }
    tests.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

/// A few tests that send the command: those of the file that carries it out, those of the crate, others.
pub fn tests_of(row: &CommandRow, sources: &Sources) -> Vec<String> {
    let file = commands::file_of(row).unwrap_or_default();
    let crate_name = file.split('/').next().unwrap_or_default();
    let about: Vec<_> = sources.tests.iter().filter(|test| test.is_about(row)).collect();
    let code = commands::code(row);
    let first = FIRST.iter().filter(|(name, codes)| codes.contains(&code.as_str()) && sources.has_test(name));
    let mut found: Vec<String> = first.map(|(name, _)| (*name).to_owned()).collect();
    let mut seen: BTreeSet<String> = found.iter().cloned().collect();
    for near in [2, 1, 0] {
        let distance = |path: &str| if path == file { 2 } else { usize::from(path.split('/').next() == Some(crate_name)) };
        for test in about.iter().filter(|test| distance(&test.file) == near) {
            if seen.insert(test.name.clone()) && found.len() < TESTS {
                found.push(test.name.clone());
            }
        }
    }
    found
}

/// Cases of the lab: their number and text.
fn lab_cases() -> Result<Vec<(String, String)>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(root().join("lab/cases")).context("lab/cases")? {
        let path = entry?.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        cases.push((name.split('-').next().unwrap_or_default().to_owned(), std::fs::read_to_string(&path)?));
    }
    cases.sort();
    Ok(cases)
}

/// A case calls a program that sends the command.
fn sends(text: &str, code: &str) -> bool {
    let calls = |tool: &str| text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == tool);
    TOOLS.iter().any(|(tool, codes)| codes.contains(&code) && calls(tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Sources {
        Sources::of(
            "device/src/disk/lba_status.rs",
            "fn ask() {} #[test] fn asks() { send(&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); }",
        )
    }

    #[test]
    fn what_does_not_exist_is_told() {
        let there = Clause { number: "1", what: "", code: &["device/src/disk/lba_status.rs:ask"], tests: &["asks"], suite: &[] };
        assert_eq!(missing(&there, &tree()), Vec::<String>::new());
        let absent = Clause { code: &["device/src/disk/lba_status.rs:nowhere", "device/src/disk/lba_status.rs"], tests: &["ask"], ..there };
        assert_eq!(missing(&absent, &tree()).len(), 3, "a function alone is no test");
    }

    #[test]
    fn commands_with_tests_have_no_hole() {
        let row = |word: &str| ROWS.iter().find(|row| row.word == word).expect("a row");
        assert_eq!(tests_of(row("GET_LBA_STATUS16"), &tree()), ["asks"]);
        assert!(tests_of(row("UNMAP"), &tree()).is_empty());
        assert!(sends("run sg_unmap -n 1", "42") && !sends("sg_unmapped", "42"));
    }
}
