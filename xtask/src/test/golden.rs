//! Transcripts of the C tools: our tools must give the same answers, alone and in both mixed pairings.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::Scratch;
use crate::report::Report;
use crate::{process, root};

/// Cases whose modes and devices exist here.
const CASES: &[&str] = &["01", "02", "03", "04", "06", "07", "08", "11", "17", "18", "19", "20", "23", "26", "27", "28", "32", "33"];
/// Of these, what a pairing of ours with a C tool can show.
const MIXED: &[&str] = &["06", "07", "08", "11", "17", "18", "19", "20", "23", "26", "32", "33"];

/// What other programs that drive tgt with tgtadm send and read.
const CLIENTS: &[&str] = &[
    "40-client-avocado-export",
    "40-client-eucalyptus-volume",
    "40-client-grep-listers",
    "40-client-kubevirt-demo",
    "40-client-libiscsi-suite",
    "40-client-longhorn-attach",
    "40-client-longhorn-detach",
    "40-client-pacemaker-lun",
    "40-client-pacemaker-target",
    "40-client-xcat-node",
    "40-client-zfs-libshare",
];
/// What is done with tgt-admin, by people and by the programs that drive it; only root may.
const ADMIN: &[&str] = &[
    "29",
    "30",
    "31",
    "40-client-cinder-create",
    "40-client-cinder-in-use",
    "40-client-cinder-remove",
    "40-client-init-scripts",
    "40-client-maas-images",
    "40-client-opennebula-lun",
    "40-client-storlever-tree",
];
/// The Perl script that ours takes the place of.
const SCRIPT: &str = "/usr/sbin/tgt-admin";

/// Each case in each pairing.
pub fn run(report: &mut Report) {
    let installed = |name: &str| PathBuf::from("/usr/sbin").join(name);
    let pairings = [
        ("our tgtadm, our tgtd", ours("tgtadm"), ours("tgtd"), ours("tgt-admin"), CASES),
        ("C tgtadm, our tgtd", installed("tgtadm"), ours("tgtd"), ours("tgt-admin"), MIXED),
        ("our tgtadm, C tgtd", ours("tgtadm"), installed("tgtd"), ours("tgt-admin"), MIXED),
        ("clients, our tgtadm, our tgtd", ours("tgtadm"), ours("tgtd"), ours("tgt-admin"), CLIENTS),
        ("clients, C tgtadm, our tgtd", installed("tgtadm"), ours("tgtd"), ours("tgt-admin"), CLIENTS),
        ("clients, our tgtadm, C tgtd", ours("tgtadm"), installed("tgtd"), ours("tgt-admin"), CLIENTS),
        ("our tgt-admin, tgtadm, tgtd", ours("tgtadm"), ours("tgtd"), ours("tgt-admin"), ADMIN),
        ("our tgt-admin, C tgtadm, C tgtd", installed("tgtadm"), installed("tgtd"), ours("tgt-admin"), ADMIN),
        ("Perl tgt-admin, our tgtadm, our tgtd", ours("tgtadm"), ours("tgtd"), PathBuf::from(SCRIPT), ADMIN),
    ];
    for (name, tgtadm, tgtd, tgt_admin, cases) in pairings {
        let tools = [("TGTADM", &tgtadm), ("TGTD", &tgtd), ("TGT_ADMIN", &tgt_admin)];
        report.check(&format!("golden, {name}, {} cases", cases.len()), || run_cases(&tools, cases));
    }
    report.check("tape images of both tgtimg are the same bytes, and each shows the other's", compare_images);
}

fn ours(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

fn run_cases(tools: &[(&str, &PathBuf)], cases: &[&str]) -> Result<()> {
    let folder = root().join("tests/golden");
    let mut files = Vec::new();
    for case in cases {
        let found = std::fs::read_dir(&folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).find(|path| {
            path.extension().is_some_and(|extension| extension == "case")
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(case))
        });
        files.push(found.with_context(|| format!("no golden case {case}"))?);
    }
    let mut command = Command::new("python3");
    command
        .arg(folder.join("run.py"))
        .args(&files)
        .envs(tools.iter().copied())
        .env("TGTIMG", ours("tgtimg"))
        .env("TGT_SETUP_LUN", ours("tgt-setup-lun"))
        .current_dir(&folder);
    let output = process::run(&mut command, Duration::from_secs(300))?;
    let expected = format!("{} passed, 0 failed", cases.len());
    if output.lines().last() != Some(expected.as_str()) {
        bail!("expected '{expected}'\n{}", process::tail(&output));
    }
    Ok(())
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
