//! The Debian package in a Debian tree of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, Scratch};
use crate::{deb, root};

/// Making the tree: downloads of some 60 MB.
const BASE_LIMIT: Duration = Duration::from_secs(600);
/// What happens in the tree.
const LIMIT: Duration = Duration::from_secs(300);
/// The commands that run in it.
const SCRIPT: &str = include_str!("tree.sh");

/// Two builds give the same package, which is the one that [`install`] takes.
pub fn build() -> Result<()> {
    let again = Scratch::new("deb")?;
    let (first, second) = (deb::build(&deb::folder())?, deb::build(again.path())?);
    ensure!(std::fs::read(first)? == std::fs::read(second)?, "two builds of the package differ");
    Ok(())
}

/// Installed over Debian's tgt, used, removed, purged.
pub fn install() -> Result<()> {
    let base = base()?;
    let folder = Scratch::new("tree")?;
    let tree = folder.path().join("tree");
    process::run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&base).arg(&tree), LIMIT)?;
    let inside = tree.join("package");
    std::fs::create_dir(&inside)?;
    std::fs::copy(deb::package()?, inside.join("ours.deb")).context("no package")?;
    std::fs::rename(dependent(folder.path())?, inside.join("needs-tgt.deb"))?;
    std::fs::write(inside.join("tree.sh"), SCRIPT)?;
    let output = process::run(&mut enter(&tree, "exec chroot \"$1\" sh /package/tree.sh"), LIMIT)?;
    ensure!(output.trim_end().ends_with("-- all is well"), "the script ended early\n{}", process::tail(&output));
    Ok(())
}

/// A shell that sees the tree with what a system has, in its own mounts and processes; all of it ends with the command. `$1` is the tree.
fn enter(tree: &Path, command: &str) -> Command {
    let mounts = "mount -t proc proc \"$1/proc\"; mount --rbind /dev \"$1/dev\"; mount -t tmpfs tmpfs \"$1/run\"";
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-e", "-c", &format!("{mounts}; {command}"), "sh"]).arg(tree);
    shell
}

/// A minimal Debian of this machine's release, with Debian's tgt downloaded; made once.
fn base() -> Result<PathBuf> {
    let release = std::fs::read_to_string("/etc/os-release")?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).context("no VERSION_CODENAME in /etc/os-release")?;
    let folder = root().join("target/package");
    let base = folder.join(suite);
    if base.exists() {
        return Ok(base);
    }
    std::fs::create_dir_all(&folder)?;
    let unfinished = Scratch::new("debootstrap")?;
    let tree = folder.join(format!("{suite}.unfinished"));
    if tree.exists() {
        std::fs::remove_dir_all(&tree)?;
    }
    let mut command = Command::new("debootstrap");
    process::run(command.args(["--variant=minbase", suite]).arg(&tree).current_dir(unfinished.path()), BASE_LIMIT)?;
    // No program of a package starts a daemon while it is installed.
    let policy = tree.join("usr/sbin/policy-rc.d");
    std::fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
    std::fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let download = "chroot \"$1\" apt-get -q -y --no-install-recommends --download-only install tgt";
    process::run(&mut enter(&tree, download), BASE_LIMIT)?;
    std::fs::rename(&tree, &base)?;
    Ok(base)
}

/// A package without files that depends on tgt.
fn dependent(folder: &Path) -> Result<PathBuf> {
    let stage = folder.join("needs-tgt");
    std::fs::create_dir_all(stage.join("DEBIAN"))?;
    let control = "Package: needs-tgt\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@scuzzy.invalid>\nDepends: tgt (>= 1:1.0.85)\nDescription: needs tgt\n";
    std::fs::write(stage.join("DEBIAN/control"), control)?;
    let package = folder.join("needs-tgt.deb");
    process::run(Command::new("dpkg-deb").arg("--build").arg(&stage).arg(&package), LIMIT)?;
    Ok(package)
}
