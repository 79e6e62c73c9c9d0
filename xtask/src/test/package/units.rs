//! The systemd units, with systemd's own tools.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::pages::binary;
use crate::process::{self, Background, Scratch};
use crate::root;

/// One run of a tool.
const LIMIT: Duration = Duration::from_secs(30);
/// Where the units are.
pub const FOLDER: &str = "packaging/systemd";
/// Highest exposure, in tenths, that `systemd-analyze security` may find. What is left is what a daemon needs that opens any image and any device as root.
const EXPOSURE: u32 = 40;

/// systemd understands every line, and finds the service confined.
pub fn verify() -> Result<()> {
    for unit in ["tgt.service", "tgt.socket"] {
        let complaints = process::run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(root().join(FOLDER).join(unit)), LIMIT)?;
        ensure!(complaints.is_empty(), "{complaints}");
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE}")]).arg(root().join(FOLDER).join("tgt.service"));
    let found = process::run(&mut command, LIMIT)?;
    let overall = found.lines().find(|line| line.contains("Overall exposure level")).context("no overall exposure level")?;
    println!("     | {}", overall.trim_start_matches(|letter: char| !letter.is_ascii()).trim());
    Ok(())
}

/// The daemon starts when somebody connects, with the sockets that systemd's tool passes.
pub fn activate() -> Result<()> {
    let folder = Scratch::new("activate")?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let control = folder.path().join("ipc.0");
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen={address}")).arg("--listen").arg(&control).args(["--fdname=iscsi:control", "--setenv=PATH"]);
    command.arg(binary("tgtd")).args(["-f", "--reactors", "1"]);
    let log = folder.path().join("log");
    let mut manager = Background::start(&mut command, &log)?;
    process::wait_for("a listening socket", LIMIT, || TcpStream::connect(address).ok())?;
    let mut ask = Command::new(binary("tgtadm"));
    ask.args(["--mode", "portal", "--op", "show"]).env("TGT_IPC_SOCKET", folder.path().join("ipc"));
    let portals = process::run(&mut ask, LIMIT).with_context(|| process::read(&log))?;
    ensure!(portals == format!("Portal: {address},1\n"), "{portals}");
    let status = manager.terminate(LIMIT)?;
    ensure!(status == Some(0), "the daemon ended with {status:?}\n{}", process::read(&log));
    Ok(())
}
