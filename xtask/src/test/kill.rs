//! `kill -9` of the daemon amid FUA and SYNCHRONIZE CACHE traffic: what was acknowledged as stable is in the image.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::server::Server;
use crate::process::{self, Scratch};
use crate::report::Report;
use crate::root;

/// Kills of one test run.
const KILLS: u32 = 100;
/// Blocks of the image, 4096 bytes each.
const BLOCKS: usize = 256;
const BLOCK: usize = 4096;

/// The test run's kills.
pub fn run(report: &mut Report) {
    report.check(&format!("{KILLS} kills lose nothing acknowledged"), || kills(0, KILLS));
}

/// `count` kills on one image, at the moments of the numbers from `first` on.
///
/// # Errors
/// Something acknowledged was lost.
pub fn kills(first: u32, count: u32) -> Result<()> {
    let folder = Scratch::new("kill")?;
    let writer = folder.path().join("durable");
    let source = root().join("tests/clients/durable.c");
    process::run(Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&writer).arg(source).arg("-liscsi"), Duration::from_secs(60))?;
    let image = folder.path().join("disk.img");
    std::fs::File::create(&image)?.set_len((BLOCKS * BLOCK) as u64)?;
    let mut acknowledged = vec![0u64; BLOCKS];
    let mut total = 0;
    for round in first..first.saturating_add(count) {
        total += one(&writer, &image, round, &mut acknowledged).with_context(|| format!("kill {round}"))?;
    }
    println!("     | {total} acknowledged writes over {count} kills");
    ensure!(total > u64::from(count), "hardly anything was acknowledged before the kills: the test shows nothing");
    Ok(())
}

/// One daemon, one writer, one kill; then the image is compared with what the writer was told.
fn one(writer: &Path, image: &Path, round: u32, acknowledged: &mut [u64]) -> Result<u64> {
    let mut server = Server::start(&[&image.to_string_lossy(), "--block-size", "4096"])?;
    let first = u64::from(round) << 32 | 1;
    let child = Command::new(writer).args([&server.url, &BLOCKS.to_string(), &first.to_string()]).stdout(Stdio::piped()).spawn()?;
    // The moment differs from round to round; between 5 and 104 ms of traffic.
    std::thread::sleep(Duration::from_millis(5 + u64::from(round * 37 % 100)));
    server.kill();
    let output = child.wait_with_output()?;
    let mut count = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split(' ').map(str::parse::<u64>);
        let (Some(Ok(block)), Some(Ok(sequence))) = (words.next(), words.next()) else { continue };
        acknowledged[usize::try_from(block)?] = sequence;
        count += 1;
    }
    let bytes = std::fs::read(image)?;
    for (block, &sequence) in acknowledged.iter().enumerate() {
        let content = &bytes[block * BLOCK..][..BLOCK];
        let found: Vec<u64> = content.chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_le_bytes)).collect();
        let lowest = found.iter().copied().min().unwrap_or_default();
        ensure!(lowest >= sequence, "block {block}: {sequence:#x} was acknowledged as stable, the image has {lowest:#x}");
    }
    Ok(count)
}
