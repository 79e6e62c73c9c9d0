//! `scuzzy serve` in the background, for tests with real clients.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{Background, Scratch, wait_for};
use crate::root;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A running `scuzzy serve` and what it said of itself.
pub struct Server {
    process: Background,
    _folder: Scratch,
    /// `iscsi://ADDRESS:PORT/NAME/LUN` of the first disk.
    pub url: String,
    /// `ADDRESS:PORT`.
    pub portal: String,
    /// Target name.
    pub target: String,
    /// Control socket.
    pub control: String,
    /// From the start of the process to the ready file.
    pub started_in: Duration,
}

impl Server {
    /// Starts it on a free port with more `words`.
    pub fn start(words: &[&str]) -> Result<Server> {
        Server::start_with(words, &[])
    }

    /// The same with environment variables.
    pub fn start_with(words: &[&str], environment: &[(&str, &str)]) -> Result<Server> {
        let folder = Scratch::new("serve")?;
        let ready = folder.path().join("ready.json");
        let mut command = Command::new(binary("scuzzy"));
        command.args(["serve", "--portal", "127.0.0.1:0", "--ready-file"]).arg(&ready);
        command.arg("--control").arg(folder.path().join("control.0")).args(words).envs(environment.iter().copied());
        let log = folder.path().join("log");
        let begun = SystemTime::now();
        let mut process = Background::start(&mut command, &log)?;
        let text = wait_for("the ready file", START, || std::fs::read_to_string(&ready).ok().filter(|text| text.ends_with('\n') || !process.alive()));
        let text = text.with_context(|| crate::process::read(&log))?;
        // The file's own time: the wait looks only now and then. Its clock is coarser and may be a little behind.
        let started_in = std::fs::metadata(&ready)?.modified()?.duration_since(begun).unwrap_or_default();
        let said: Value = serde_json::from_str(&text).context("the ready file is no JSON")?;
        let word = |name: &str| -> Result<String> { Ok(said[name].as_str().with_context(|| format!("no '{name}' in {said}"))?.to_owned()) };
        Ok(Server {
            url: word("url")?,
            portal: word("portal")?,
            target: word("target")?,
            control: word("control")?,
            started_in,
            process,
            _folder: folder,
        })
    }

    /// `scuzzy WORDS --control SOCKET`.
    pub fn scuzzy(&self, words: &[&str]) -> Result<String> {
        crate::process::run(Command::new(binary("scuzzy")).args(words).args(["--control", &self.control]), Duration::from_secs(20))
    }

    /// `tgtadm --lld iscsi WORDS` on the same control socket.
    pub fn tgtadm(&self, words: &[&str]) -> Result<String> {
        let socket = self.control.strip_suffix(".0").context("tgtadm adds the number of the control port")?;
        let mut command = Command::new(binary("tgtadm"));
        crate::process::run(command.args(["--lld", "iscsi"]).args(words).env("TGT_IPC_SOCKET", socket), Duration::from_secs(20))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; the exit status.
    pub fn terminate(&mut self) -> Result<Option<i32>> {
        self.process.terminate(Duration::from_secs(10))
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

/// A release binary.
pub fn binary(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}
