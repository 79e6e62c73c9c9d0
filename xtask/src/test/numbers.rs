//! Promised numbers that are exact counts or generous bounds: SPECIFICATION.md names the command of each.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::server::{Server, binary};
use crate::process;
use crate::report::Report;

/// Resident memory of an idle daemon with one memory disk.
const IDLE_KIB: u64 = 16 * 1024;

/// From the start of the process to the ready file, median: a daemon that builds tables at start, or waits for something, takes longer on any machine.
const START: Duration = Duration::from_secs(2);
/// Starts of which the median is taken.
const STARTS: usize = 10;

/// Counts of the simulator, memory and start of an idle daemon.
pub fn run(report: &mut Report) {
    report.check("sendmsg calls per reply, allocations and copies per command", counts);
    report.check("idle memory", idle_memory);
    report.check("time from start to the ready file", start_time);
}

fn counts() -> Result<()> {
    let output = process::run(Command::new(binary("scuzzy-counts")).arg("--json"), Duration::from_secs(120))?;
    let counts: Value = serde_json::from_str(output.trim()).context("counts are no JSON")?;
    println!("     | {counts}");
    let number = |name: &str| counts[name].as_f64().with_context(|| format!("no '{name}'"));
    let bounds = [
        // Copies are counted when they are made, commands when they end: those under way at the two moments are the second decimal.
        ("sendmsg_per_reply_at_depth_32", 0.2),
        ("recv_per_command_at_depth_32", 0.2),
        ("allocations_per_read", 0.0),
        ("allocations_per_write", 0.0),
        ("copies_per_read", 1.01),
        ("copies_per_small_write", 2.01),
        ("copies_per_large_write", 1.05),
    ];
    for (name, bound) in bounds {
        let value = number(name)?;
        if value > bound {
            bail!("{name} is {value}, promised: at most {bound}");
        }
    }
    Ok(())
}

fn idle_memory() -> Result<()> {
    let server = Server::start(&[])?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    println!("     | {kib} KiB resident");
    if kib > IDLE_KIB {
        bail!("{kib} KiB resident, promised: at most {IDLE_KIB}");
    }
    Ok(())
}

fn start_time() -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(Server::start(&[])?.started_in);
    }
    times.sort();
    let (median, longest) = (times[STARTS / 2], times[STARTS - 1]);
    println!("     | {median:?} median of {STARTS}, {longest:?} longest");
    if median > START {
        bail!("{median:?} from start to the ready file, promised: at most {START:?}");
    }
    Ok(())
}
