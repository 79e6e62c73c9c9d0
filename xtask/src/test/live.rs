//! Units that change while the load generator uses them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::server::Server;
use crate::process::{self, Background, Scratch};
use crate::root;

/// Longest a step may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Sessions of the load.
const SESSIONS: u64 = 4;
/// Removing what is in use ends within this time.
const REMOVAL: Duration = Duration::from_secs(5);

/// Builds the load generator in `folder`.
pub fn load_generator(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("iload");
    process::run(Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(root().join("bench/iload.c")).arg("-liscsi"), LIMIT)?;
    Ok(program)
}

/// A load that runs beside the test.
struct Load {
    process: Background,
    log: PathBuf,
}

impl Load {
    fn start(program: &Path, folder: &Path, server: &Server, seconds: u64) -> Result<Load> {
        let log = folder.join("load.json");
        let mut command = Command::new(program);
        command
            .args([&server.url, "rw=randrw", "bs=4096", "qd=32", "range=33554432"])
            .args([format!("sessions={SESSIONS}"), format!("secs={seconds}")]);
        let load = Load { process: Background::start(&mut command, &log)?, log };
        process::wait_for("the sessions of the load", LIMIT, || (sessions(server).ok()? == SESSIONS).then_some(()))?;
        Ok(load)
    }

    /// Waits for its end; what it said.
    fn finish(mut self) -> Result<String> {
        process::wait_for("the end of the load", LIMIT, || (!self.process.alive()).then_some(()))?;
        Ok(process::read(&self.log))
    }
}

fn sessions(server: &Server) -> Result<u64> {
    let status: Value = serde_json::from_str(&server.scuzzy(&["status", "--json"])?)?;
    status["sessions"].as_u64().with_context(|| format!("no sessions in {status}"))
}

/// Resized and swapped under four sessions: nothing but the unit attentions that tell of it.
pub fn changes() -> Result<()> {
    let folder = Scratch::new("live")?;
    let program = load_generator(folder.path())?;
    for driver in ["uring", "epoll"] {
        let server = Server::start(&["--memory", "64M", "--io", driver])?;
        let image = folder.path().join(driver);
        std::fs::File::create(&image)?.set_len(256 << 20)?;
        let load = Load::start(&program, folder.path(), &server, 4)?;
        server.scuzzy(&["unit", "resize", "1/1", "128M"])?;
        server.scuzzy(&["unit", "swap", "1/1", &image.to_string_lossy(), "--store", "rdwr"])?;
        server.scuzzy(&["unit", "swap", "1/1", "--memory", "256M"])?;
        ensure!(sessions(&server)? == SESSIONS, "{driver}: a session did not outlive the changes");
        let output = load.finish()?;
        let said: Value = serde_json::from_str(output.lines().last().unwrap_or_default()).with_context(|| output.clone())?;
        // Each session hears of each of the three changes at most once.
        let errors = said["errors"].as_f64().with_context(|| output.clone())?;
        ensure!((1.0..=3.0 * SESSIONS as f64).contains(&errors), "{driver}: {errors} commands failed\n{output}");
        ensure!(said["iops"].as_f64().is_some_and(|iops| iops > 0.0), "{driver}: {output}");
        let capacity = process::run(Command::new("iscsi-readcapacity16").arg(&server.url), LIMIT)?;
        ensure!(capacity.contains(&(256u64 << 20).to_string()), "{driver}: not 256 MiB:\n{capacity}");
    }
    Ok(())
}

/// A unit, and a target, that four sessions are using: gone within five seconds.
pub fn removals() -> Result<()> {
    let folder = Scratch::new("removal")?;
    let program = load_generator(folder.path())?;
    for words in [&["unit", "rm", "1/1", "--force"][..], &["target", "rm", "1", "--force"]] {
        let server = Server::start(&["--memory", "64M"])?;
        let load = Load::start(&program, folder.path(), &server, 2)?;
        let begun = Instant::now();
        server.scuzzy(words)?;
        ensure!(begun.elapsed() < REMOVAL, "{words:?} took {:?}", begun.elapsed());
        let targets = server.scuzzy(&["target", "list", "--json"])?;
        ensure!(targets.contains(&server.target) == (words[0] == "unit"), "{words:?} left\n{targets}");
        let (status, output) = process::finish(Command::new("iscsi-inq").arg(&server.url), LIMIT)?;
        ensure!(!output.contains("VIRTUAL-DISK"), "{words:?}: {status:?}, the disk still answers\n{output}");
        drop(load);
    }
    Ok(())
}
