//! Manual pages and completions in the programs that read them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, Scratch};
use crate::root;

/// One run of groff or a shell.
const LIMIT: Duration = Duration::from_secs(30);
/// Every program that is installed.
pub const PROGRAMS: &[&str] = &["scuzzy", "tgtd", "tgtadm", "tgt-admin", "tgtimg", "tgt-setup-lun"];

/// A release binary.
pub fn binary(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

/// groff says nothing about any page.
pub fn render() -> Result<()> {
    let folder = Scratch::new("pages")?;
    process::run(Command::new(binary("scuzzy")).arg("man").arg(folder.path()), LIMIT)?;
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(folder.path())? {
        let path = entry?.path();
        let complaints = process::run(Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&path), LIMIT)?;
        ensure!(complaints.is_empty(), "{complaints}");
        pages.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    let missing = ["tgtd.8", "tgtadm.8", "tgt-admin.8", "tgtimg.8", "tgt-setup-lun.8", "targets.conf.5", "scuzzy.1", "scuzzy-serve.1"];
    let missing: Vec<&str> = missing.into_iter().filter(|name| !pages.iter().any(|page| page == name)).collect();
    ensure!(missing.is_empty(), "no page {}", missing.join(" "));
    Ok(())
}

/// Every script is understood by its shell; what bash offers is a test of the crate, what fish offers is asked here.
pub fn complete() -> Result<()> {
    let folder = Scratch::new("completions")?;
    for program in PROGRAMS {
        for shell in ["bash", "zsh", "fish"] {
            let script = process::run(Command::new(binary("scuzzy")).args(["completions", shell, program]), LIMIT)?;
            let path = folder.path().join(format!("{program}.{shell}"));
            std::fs::write(&path, script)?;
            let complaints = process::run(Command::new(shell).arg("-n").arg(&path), LIMIT).with_context(|| format!("{shell} {program}"))?;
            ensure!(complaints.is_empty(), "{shell}: {complaints}");
        }
    }
    for (line, wanted) in [
        ("tgtadm --mode target --op unb", "unbind"),
        ("tgtadm --bstype rd", "rdwr"),
        ("tgt-admin --update A", "ALL"),
        ("tgtimg --op sh", "show"),
        ("tgtd --fore", "--foreground"),
        ("scuzzy ser", "serve"),
    ] {
        let program = line.split(' ').next().unwrap_or_default();
        let ask = format!("source {}/{program}.fish; complete -C '{line}'", folder.path().display());
        let offered = process::run(Command::new("fish").args(["--no-config", "-c", &ask]).env("HOME", folder.path()), LIMIT)?;
        let first: Vec<&str> = offered.lines().filter_map(|line| line.split('\t').next()).collect();
        ensure!(first == [wanted], "fish offers {first:?} for '{line}'");
    }
    Ok(())
}
