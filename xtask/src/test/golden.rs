//! Transcripts of the C tools: our tools must give the same answers, alone and in both mixed pairings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::Scratch;
use crate::report::Report;
use crate::{process, root};

/// Cases that cannot pass with our daemon yet, and why: a case that is not named here is run, and one that passes all the same must leave the list.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("05-system-state", "no tapes, changers and discs yet: the list of device types lacks them"),
    ("15-lu-types", "no tapes, changers and discs yet"),
    ("21-changer", "no changers yet"),
    ("40-client-tgt-core-test", "no tapes, changers and discs yet"),
];
/// The Perl script that ours takes the place of.
const SCRIPT: &str = "/usr/sbin/tgt-admin";

/// Each case in each pairing.
pub fn run(report: &mut Report) {
    let installed = |name: &str| PathBuf::from("/usr/sbin").join(name);
    let pairings = [
        ("our tgt-admin, tgtadm, tgtd", ours("tgtadm"), ours("tgtd"), ours("tgt-admin"), EXCEPTIONS),
        ("C tgtadm, our tgt-admin, tgtd", installed("tgtadm"), ours("tgtd"), ours("tgt-admin"), EXCEPTIONS),
        ("our tgt-admin, tgtadm, C tgtd", ours("tgtadm"), installed("tgtd"), ours("tgt-admin"), &[]),
        ("our tgt-admin, C tgtadm, C tgtd", installed("tgtadm"), installed("tgtd"), ours("tgt-admin"), &[]),
        ("Perl tgt-admin, our tgtadm, tgtd", ours("tgtadm"), ours("tgtd"), PathBuf::from(SCRIPT), EXCEPTIONS),
        ("Perl tgt-admin, C tgtadm, our tgtd", installed("tgtadm"), ours("tgtd"), PathBuf::from(SCRIPT), EXCEPTIONS),
    ];
    for (name, tgtadm, tgtd, tgt_admin, exceptions) in pairings {
        let tools = [("TGTADM", &tgtadm), ("TGTD", &tgtd), ("TGT_ADMIN", &tgt_admin)];
        report.check(&format!("golden, {name}"), || run_cases(&tools, exceptions));
    }
    report.check("tape images of both tgtimg are the same bytes, and each shows the other's", compare_images);
}

fn ours(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

/// Runs every case there is; those of `exceptions` must fail, all others pass.
fn run_cases(tools: &[(&str, &PathBuf)], exceptions: &[(&str, &str)]) -> Result<()> {
    let folder = root().join("tests/golden");
    let names = case_names(&folder)?;
    let mut command = Command::new("python3");
    command
        .args([Path::new("run.py"), Path::new("-v")])
        .args(names.iter().map(|name| format!("{name}.case")))
        .envs(tools.iter().copied())
        .env("TGTIMG", ours("tgtimg"))
        .env("TGT_SETUP_LUN", ours("tgt-setup-lun"))
        .current_dir(&folder);
    // Its status tells of failures, of which some are foreseen.
    let (_, output) = process::finish(&mut command, Duration::from_secs(300))?;
    let wrong = judge(&names, exceptions, &output);
    if !wrong.is_empty() {
        bail!("{}\n{}", wrong.join("\n"), failures(&output, exceptions));
    }
    Ok(())
}

/// Names of all cases, in order.
fn case_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "case") {
            names.push(path.file_stem().context("a case without a name")?.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What the runner printed against what must come out; each complaint in one line.
fn judge(names: &[String], exceptions: &[(&str, &str)], output: &str) -> Vec<String> {
    let printed = |verdict: &str, name: &str| output.lines().any(|line| line.split_whitespace().eq([verdict, name]));
    let mut wrong: Vec<String> = exceptions
        .iter()
        .filter(|(name, _)| names.iter().all(|known| known != name))
        .map(|(name, _)| format!("{name} is an exception, but there is no such case"))
        .collect();
    for name in names {
        let reason = exceptions.iter().find(|(exception, _)| exception == name).map(|(_, reason)| reason);
        match (printed("ok", name), printed("FAIL", name), reason) {
            (true, false, None) | (false, true, Some(_)) => {}
            (true, false, Some(reason)) => wrong.push(format!("{name} passes: it must leave the list of exceptions ({reason})")),
            (false, true, None) => wrong.push(format!("{name} fails")),
            _ => wrong.push(format!("{name} was not run to its end")),
        }
    }
    wrong
}

/// The runner's account of the failures that nobody foresaw.
fn failures(output: &str, exceptions: &[(&str, &str)]) -> String {
    let mut shown = false;
    let lines = output.lines().filter(|line| {
        if let Some(name) = line.strip_prefix("FAIL ") {
            shown = exceptions.iter().all(|(exception, _)| *exception != name);
        } else if !line.starts_with("    ") {
            shown = !line.starts_with("ok ");
        }
        shown
    });
    process::tail(&lines.collect::<Vec<_>>().join("\n"))
}

/// Cartridges as the options describe them.
const CARTRIDGES: &[&[&str]] = &[
    &["-b", "A00001L1", "-s", "16", "-t", "data"],
    &["--barcode=CLN001", "--size=1", "--type=clean"],
    &["-b", "W_1", "-s", "0", "-t", "WORM"],
    &["-b", "Z", "-s", "2147483647", "-t", "Data"],
    &["-b", "12345678901234567890", "-s", "010", "-t", "cleaning"],
];
/// Where the serial number ends, of which the time is a part.
const SERIAL: std::ops::Range<usize> = 312..344;

fn compare_images() -> Result<()> {
    let folder = Scratch::new("images")?;
    let tools = [ours("tgtimg"), PathBuf::from("/usr/sbin/tgtimg")];
    for options in CARTRIDGES {
        let mut images = Vec::new();
        let mut shown = Vec::new();
        for (tool, name) in tools.iter().zip(["ours", "theirs"]) {
            let path = folder.path().join(name);
            process::run(Command::new(tool).args(["-o", "new", "-f"]).arg(&path).args(*options), Duration::from_secs(10))?;
            let mut image = std::fs::read(&path)?;
            let serial = image.get_mut(SERIAL).context("an image without a serial number")?;
            // The two may be made in different seconds: the digits of the time are set alike.
            serial.iter_mut().rev().skip_while(|byte| **byte == 0).take(10).for_each(|digit| *digit = b'0');
            images.push(image);
            for reader in &tools {
                shown.push(process::run(Command::new(reader).args(["-o", "show", "-f"]).arg(&path), Duration::from_secs(10))?);
            }
        }
        if images[0] != images[1] {
            bail!("{options:?}: the images differ");
        }
        if shown[0] != shown[1] || shown[2] != shown[3] {
            bail!("{options:?}: one image, two lists:\n{}\n{}\n{}\n{}", shown[0], shown[1], shown[2], shown[3]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_case_is_forgotten_and_no_exception_outlives_its_reason() {
        let names: Vec<String> = ["01-a", "02-b", "03-c"].map(Into::into).into();
        let exceptions: &[(&str, &str)] = &[("02-b", "no tapes")];
        assert_eq!(judge(&names, exceptions, "ok   01-a\nFAIL 02-b\n    why\nok   03-c\n2 passed, 1 failed\n"), Vec::<String>::new());
        assert_eq!(judge(&names, exceptions, "ok   01-a\nok   02-b\nok   03-c\n"), ["02-b passes: it must leave the list of exceptions (no tapes)"]);
        assert_eq!(judge(&names, exceptions, "FAIL 01-a\nFAIL 02-b\n"), ["01-a fails", "03-c was not run to its end"]);
        assert_eq!(judge(&names[..1], exceptions, "ok   01-a\n"), ["02-b is an exception, but there is no such case"]);
    }

    #[test]
    fn every_exception_is_a_case() {
        let names = case_names(&root().join("tests/golden")).expect("the folder");
        assert!(EXCEPTIONS.iter().all(|(name, reason)| names.iter().any(|known| known == name) && !reason.is_empty()));
        assert!(names.len() >= 50, "{}", names.len());
    }
}
