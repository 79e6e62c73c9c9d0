//! Debian packages that the tests need. What is there is left alone.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;

/// Everything `cargo xtask test` uses.
pub const ALL: &[&str] = &[
    "gcc",
    "libc6-dev",
    "libiscsi-bin",
    "libiscsi-dev",
    "open-isns-server",
    "open-isns-utils",
    "tgt",
    "lsof",
    "sg3-utils",
    "python3",
    "procps",
    "groff-base",
    "zsh",
    "fish",
    "systemd",
    "binutils",
    "debootstrap",
    "xz-utils",
    "qemu-utils",
    "qemu-block-extra",
];

/// Installation may have to wait for another package manager.
const LIMIT: Duration = Duration::from_secs(600);

/// Installs those of `packages` that are missing.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    apt(&["update"])?;
    let plain: Vec<&str> = missing.iter().copied().filter(|package| !package.starts_with("qemu-")).collect();
    if !plain.is_empty() {
        apt(&[&["install", "--no-install-recommends"], plain.as_slice()].concat())?;
    }
    if missing.iter().any(|package| package.starts_with("qemu-")) {
        install_qemu()?;
    }
    // These packages start daemons; port 3260 belongs to the tests.
    if missing.contains(&"tgt") {
        process::finish(Command::new("sh").args(["-c", "systemctl disable --now tgt; service tgt stop; pkill -x tgtd"]), LIMIT).ok();
    }
    if missing.contains(&"open-isns-server") {
        process::finish(Command::new("sh").args(["-c", "systemctl disable --now isnsd; service isnsd stop"]), LIMIT).ok();
    }
    Ok(())
}

/// QEMU's iSCSI driver must have the very version of its tools; where the installed tools are of another archive, they follow.
fn install_qemu() -> Result<()> {
    if apt(&["install", "--no-install-recommends", "qemu-utils", "qemu-block-extra"]).is_ok() {
        return Ok(());
    }
    let version = candidate("qemu-block-extra").context("no version of qemu-block-extra in the archive")?;
    let tools = format!("qemu-utils={}", candidate("qemu-utils").unwrap_or_else(|| version.clone()));
    for tools in [format!("qemu-utils={version}"), tools] {
        if apt(&["install", "--no-install-recommends", "--allow-downgrades", &format!("qemu-block-extra={version}"), &tools]).is_ok() {
            return Ok(());
        }
    }
    bail!("qemu-utils and qemu-block-extra of one version cannot be installed together")
}

/// The newest version the archive offers.
fn candidate(package: &str) -> Option<String> {
    let text = process::run(Command::new("apt-cache").args(["madison", package]), LIMIT).ok()?;
    text.lines().find_map(|line| line.split('|').nth(1).map(|version| version.trim().to_owned()))
}

fn installed(package: &str) -> bool {
    let mut command = Command::new("dpkg-query");
    command.args(["-W", "-f", "${Status}", package]);
    matches!(process::finish(&mut command, LIMIT), Ok((Some(0), text)) if text.starts_with("install ok"))
}

fn apt(words: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-y", "-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"]).args(words).env("DEBIAN_FRONTEND", "noninteractive");
    process::run(&mut command, LIMIT).map(|_| ()).context("apt-get (run as root, or install the packages by hand)")
}
