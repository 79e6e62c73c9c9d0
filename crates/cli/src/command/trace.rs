//! `scuzzy trace`: the flight recorder.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use admin::reply::Answer;
use admin::request::Request;
use admin::view::TraceRow;
use anyhow::{Result, bail};

use crate::arguments::Trace;
use crate::client;

/// How often `--follow` asks: short enough to look live, long enough to cost nothing.
const STEP: Duration = Duration::from_millis(200);
/// How many commands `--follow` asks for at once; what a recorder has lost meanwhile is lost.
const BATCH: u64 = 4096;

/// Runs the command.
pub fn run(options: &Trace) -> Result<ExitCode> {
    let mut rows = recorded(options, options.lines)?;
    let mut last = None;
    loop {
        let mut out = std::io::stdout().lock();
        for row in rows.iter().filter(|row| last.is_none_or(|seen| place(row) > seen)) {
            let line = if options.connect.json { serde_json::to_string(row)? } else { line(row) };
            if writeln!(out, "{line}").is_err() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        out.flush()?;
        drop(out);
        if !options.follow {
            return Ok(ExitCode::SUCCESS);
        }
        last = rows.iter().map(place).max().or(last);
        std::thread::park_timeout(STEP);
        rows = recorded(options, BATCH)?;
    }
}

/// Order of the commands: when they ended, and which of the same moment.
fn place(row: &TraceRow) -> (u64, u32, u32) {
    (row.time_ns + row.duration_ns.unwrap_or(0), row.reactor, row.tag)
}

fn recorded(options: &Trace, limit: u64) -> Result<Vec<TraceRow>> {
    match client::request(&options.connect, Request::Trace { tid: options.tid, lun: options.lun, limit })? {
        Answer::Trace(rows) => Ok(rows),
        other => bail!("the daemon answered something else: {other:?}"),
    }
}

/// Seconds, target/unit, session, command, first block and blocks, time taken, outcome.
fn line(row: &TraceRow) -> String {
    let seconds = row.time_ns / 1_000_000_000;
    let micros = row.time_ns % 1_000_000_000 / 1000;
    let taken = row.duration_ns.map_or_else(|| "-".into(), |ns| format!("{}.{} us", ns / 1000, ns % 1000 / 100));
    let range = row.lba.map_or_else(String::new, |lba| format!("{lba}+{}", row.blocks));
    let note = if row.note.is_empty() { String::new() } else { format!("  {}", row.note) };
    format!("{seconds:>6}.{micros:06}  {}/{} #{}  {:<18} {range:<22} {taken:>12}  {}{note}", row.tid, row.lun, row.sid, row.command, row.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_when_who_what_and_how() {
        let row = TraceRow {
            time_ns: 1_500_000_000,
            duration_ns: Some(12_345),
            reactor: 0,
            tid: 1,
            lun: 2,
            sid: 3,
            tag: 4,
            command: "WRITE(10)".into(),
            opcode: 0x2a,
            lba: Some(8),
            blocks: 2,
            outcome: "CHECK CONDITION".into(),
            note: "3/0c02".into(),
        };
        let text = line(&row);
        assert!(text.starts_with("     1.500000  1/2 #3  WRITE(10)"), "{text}");
        assert!(text.ends_with("12.3 us  CHECK CONDITION  3/0c02"), "{text}");
    }
}
