//! `scuzzy demo`: a disk, a fault and its cure, without any other software.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use admin::reply::Answer;
use admin::request::{FaultSelection, Request};
use admin::view::RuleLine;
use anyhow::{Result, anyhow, bail, ensure};
use daemon::{Daemon, DiskSettings, MediumSettings, Portal, Running, Settings, TargetSettings};

use crate::arguments::Demo;
use crate::banner;
use crate::client;
use crate::initiator::{Ended, Session};

const TARGET: &str = "iqn.2026-11.io.scuzzy:demo";
const INITIATOR: &str = "iqn.2026-11.io.scuzzy:demo-initiator";
/// Logical unit of the demonstration.
const LUN: u64 = 1;
/// Its block length in bytes.
const BLOCK: usize = 512;
/// Its size in bytes.
const SIZE: u64 = 64 << 20;
/// Where it is written, and how much.
const LBA: u32 = 2048;
const LENGTH: usize = 8 * BLOCK;
/// Writes that fail in the demonstration.
const TRIES: u64 = 3;
/// The rule of the README of 2014.
const RULE: &str = "op=WRITE10,lba=0,len=99999999,pct=100,pause=0,repeat=0,action=CHECK_CONDITION,key=3,asc=0x0c02";

/// Runs the command.
pub fn run(options: &Demo) -> Result<ExitCode> {
    let folder = std::env::temp_dir().join(format!("scuzzy-demo-{}", std::process::id()));
    let outcome = show(options, &folder);
    // A leftover in the temporary folder does not make the demonstration fail.
    let _ = std::fs::remove_dir_all(&folder);
    outcome.map(|()| ExitCode::SUCCESS)
}

fn show(options: &Demo, folder: &Path) -> Result<()> {
    let control = folder.join("control.0");
    let running = Daemon::start(settings(options, &control)).map_err(|error| anyhow!("{error}"))?;
    let outcome = walk(&running, &control);
    running.stop();
    outcome?;
    next_steps();
    Ok(())
}

fn settings(options: &Demo, control: &Path) -> Settings {
    let disk = DiskSettings { medium: MediumSettings::Memory(SIZE), block_size: scsi::BlockSize::B512, read_only: false, protection: None };
    Settings {
        portals: vec![Portal::required(([127, 0, 0, 1], 0).into())],
        control: Some(PathBuf::from(control)),
        seed: Some(options.seed.unwrap_or(1)),
        reactors: Some(1),
        targets: vec![TargetSettings { name: TARGET.into(), allow: vec!["ALL".into()], account: None, disks: vec![disk] }],
        ..Settings::default()
    }
}

fn walk(running: &Running, control: &Path) -> Result<()> {
    let portal = *running.portals().first().ok_or_else(|| anyhow!("no portal"))?;
    say("A disk", &format!("64 MiB of memory at iscsi://{portal}/{TARGET}/{LUN}"));
    let mut session = Session::open(portal, INITIATOR, TARGET, LUN)?;
    let inquiry = session.inquiry()?;
    say("Login", &format!("our own initiator sees `{}`", product(&inquiry.data)));

    let first = vec![0x5a; LENGTH];
    expect_good("WRITE(10)", &session.write(LBA, &first, BLOCK)?)?;
    expect_data(&mut session, &first)?;
    say("It works", &format!("WRITE(10) of {LENGTH} bytes at block {LBA}, READ(10) gives the same bytes back"));

    let rule = add_rule(control)?;
    say("A fault", &format!("rule {}: {}", rule.index, rule.rule));
    let second = vec![0xa5; LENGTH];
    for _ in 0..TRIES {
        let ended = session.write(LBA, &second, BLOCK)?;
        say("WRITE(10)", &failure(&ended)?);
    }
    expect_data(&mut session, &first)?;
    say("READ(10)", "still works, and the old bytes are untouched");

    let counted = rules(control)?.into_iter().next().ok_or_else(|| anyhow!("the rule is gone"))?;
    ensure!(counted.fired == TRIES, "the rule fired {} times, not {TRIES}", counted.fired);
    say("It counts", &counted.line);

    delete_rules(control)?;
    expect_good("WRITE(10)", &session.write(LBA, &second, BLOCK)?)?;
    expect_data(&mut session, &second)?;
    say("Healed", "the rule is deleted; WRITE(10) works again");
    session.close()
}

/// A line with a heading.
fn say(heading: &str, text: &str) {
    println!("{heading:>10}  {text}");
}

fn product(inquiry: &[u8]) -> String {
    let text = inquiry.get(8..36).map(String::from_utf8_lossy).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn expect_good(what: &str, ended: &Ended) -> Result<()> {
    ensure!(ended.status == 0, "{what} ended with status {:#04x} {:?}", ended.status, ended.sense);
    Ok(())
}

fn expect_data(session: &mut Session, want: &[u8]) -> Result<()> {
    let ended = session.read(LBA, want.len(), BLOCK)?;
    expect_good("READ(10)", &ended)?;
    ensure!(ended.data == want, "READ(10) gave other bytes back");
    Ok(())
}

/// The failure in words; anything but the rule's sense is an error of the demonstration.
fn failure(ended: &Ended) -> Result<String> {
    let Some(sense) = ended.sense.as_ref().filter(|_| ended.status == 2) else {
        bail!("WRITE(10) should fail, but ended with status {:#04x}", ended.status)
    };
    ensure!((sense.key.0, sense.asc.0) == (3, 0x0c02), "WRITE(10) failed with {:x}/{:04x}, not 3/0c02", sense.key.0, sense.asc.0);
    Ok(format!("fails with {:x}/{:04x}: {}, {}", sense.key.0, sense.asc.0, scsi::explain::key(sense.key), scsi::explain::asc(sense.asc.0)))
}

fn ask(control: &Path, request: Request) -> Result<Answer> {
    client::ask(control, request)?.map_err(|failure| anyhow!("{failure}"))
}

fn add_rule(control: &Path) -> Result<RuleLine> {
    match ask(control, Request::FaultNew { tid: 1, lun: LUN, rule: RULE.into() })? {
        Answer::Rule(line) => Ok(line),
        other => bail!("the daemon answered something else: {other:?}"),
    }
}

fn rules(control: &Path) -> Result<Vec<RuleLine>> {
    match ask(control, Request::FaultShow)? {
        Answer::Rules(lines) => Ok(lines),
        other => bail!("the daemon answered something else: {other:?}"),
    }
}

fn delete_rules(control: &Path) -> Result<()> {
    ask(control, Request::FaultDelete(FaultSelection::All)).map(|_| ())
}

fn next_steps() {
    let scuzzy = banner::program();
    println!("\nNow try:");
    println!("  {scuzzy} serve                                serve a disk to Linux, QEMU or libiscsi");
    println!("  {scuzzy} fault add op=READ pct=10 key=3 asc=0x1100   one READ in ten fails");
    println!("  {scuzzy} fault add op=WRITE pause=2 action=BUSY      writes answer BUSY after two seconds");
    println!("  {scuzzy} trace --follow                       watch the commands");
    println!("  {scuzzy} explain asc 0c02                     what a code means");
}
