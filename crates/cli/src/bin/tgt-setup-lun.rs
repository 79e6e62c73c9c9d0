//! `tgt-setup-lun`: a target with one unit, open to some initiators or all, with one command.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, absolute};
use std::process::ExitCode;

use admin::client;
use admin::code::Code;
use admin::listing::{Target, is_address, targets};
use admin::options::setup_lun::{Refused, Setup, parse};
use admin::options::tgtadm::{self, NO_DAEMON};
use admin::options::{Parsed, Usage};

/// Numbers that are tried for a target or a unit while others take them at the same time.
const TRIES: usize = 16;
/// Driver unless another is named.
const DRIVER: &[u8] = b"iscsi";

/// It did not work, and that was told.
struct Told;

/// A request that failed.
enum Failure {
    Refused(client::Failure),
    Usage(Usage),
}

impl Failure {
    fn code(&self) -> Option<Code> {
        match self {
            Failure::Refused(failure) => failure.code,
            Failure::Usage(_) => None,
        }
    }

    /// In tgtadm's words.
    fn tell(&self) -> Told {
        match self {
            Failure::Refused(failure) => eprintln!("tgtadm: {}", failure.line),
            Failure::Usage(usage) => eprint!("{}", usage.message),
        }
        Told
    }
}

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match parse(&arguments) {
        Ok(Parsed::Print(text)) => {
            say(text.trim_end());
            ExitCode::SUCCESS
        }
        Ok(Parsed::Run(setup)) => match Work::new(&setup).run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(Told) => ExitCode::FAILURE,
        },
        Err(refused) => {
            match refused {
                Refused::Empty(text) => say(text.trim_end()),
                Refused::Missing(line) => say(line),
                Refused::Option(line) => eprintln!("{line}"),
            }
            ExitCode::FAILURE
        }
    }
}

/// One line on standard output; a reader that has gone must not stop the work half-way.
fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// A setup being carried out.
struct Work<'a> {
    setup: &'a Setup,
    name: Vec<u8>,
}

/// The target that gets the unit.
struct Place {
    tid: u64,
    /// Made just now: it goes again when the rest fails.
    new: bool,
    /// Numbers of its units.
    units: BTreeSet<u64>,
}

impl<'a> Work<'a> {
    fn new(setup: &'a Setup) -> Work<'a> {
        let host = rustix::system::uname();
        Work { setup, name: setup.target_name(host.nodename().to_bytes()) }
    }

    fn run(&self) -> Result<(), Told> {
        let listed = self.list();
        if let Err(Failure::Refused(client::Failure { status: NO_DAEMON, .. })) = &listed {
            say("tgtd is not running\nExiting...");
            return Err(Told);
        }
        if let Some(port) = &self.setup.control_port {
            say(&format!("Control port: {}", text(port)));
        }
        say(&format!("Using transport: {}", text(self.driver())));
        let listed = listed.map_err(|failure| failure.tell())?;
        let place = match listed.iter().find(|target| target.name.as_bytes() == self.name) {
            Some(target) => self.existing(target)?,
            None => self.create(listed)?,
        };
        self.fill(&place).inspect_err(|Told| {
            if place.new {
                say(&format!("Deleting new target, tid={}", place.tid));
                if let Err(failure) = self.send(&[b"--mode", b"target", b"--op", b"delete", b"--tid", &decimal(place.tid)]) {
                    failure.tell();
                }
            }
        })
    }

    /// Unit and initiators.
    fn fill(&self, place: &Place) -> Result<(), Told> {
        self.add_unit(place)?;
        let everybody = [b"ALL".to_vec()];
        let initiators = if self.setup.addresses.is_empty() { &everybody[..] } else { &self.setup.addresses[..] };
        match self.setup.addresses.as_slice() {
            [] => say("Accepting connections from all initiators"),
            some => say(&format!("Accepting connections from {}", some.iter().map(|one| text(one)).collect::<Vec<_>>().join(" "))),
        }
        initiators.iter().try_for_each(|initiator| self.bind(place.tid, initiator))
    }

    fn driver(&self) -> &[u8] {
        self.setup.driver.as_deref().unwrap_or(DRIVER)
    }

    /// Sends what tgtadm would send for these words.
    fn send(&self, words: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        let mut all = vec![b"--lld".to_vec(), self.driver().to_vec()];
        if let Some(port) = &self.setup.control_port {
            all.extend([b"--control-port".to_vec(), port.clone()]);
        }
        all.extend(words.iter().map(|word| word.to_vec()));
        match tgtadm::parse(&all, env!("CARGO_PKG_VERSION")) {
            Ok(Parsed::Run(invocation)) => client::send(&invocation).map_err(Failure::Refused),
            Ok(Parsed::Print(_)) => Ok(Vec::new()),
            Err(usage) => Err(Failure::Usage(usage)),
        }
    }

    fn list(&self) -> Result<Vec<Target>, Failure> {
        let answer = self.send(&[b"--mode", b"target", b"--op", b"show"])?;
        Ok(targets(&String::from_utf8_lossy(&answer)))
    }

    fn existing(&self, target: &Target) -> Result<Place, Told> {
        say(&format!("Error: target named {} already exists", text(&self.name)));
        if !confirmed() {
            return Err(Told);
        }
        Ok(Place { tid: target.tid, new: false, units: target.units.iter().map(|unit| unit.lun).collect() })
    }

    fn create(&self, listed: Vec<Target>) -> Result<Place, Told> {
        let mut taken: BTreeSet<u64> = listed.iter().map(|target| target.tid).collect();
        let mut tid = 0;
        for _ in 0..TRIES {
            tid = lowest_free(&taken);
            say(&format!("Creating new target (name={}, tid={tid})", text(&self.name)));
            let made = self.send(&[b"--mode", b"target", b"--op", b"new", b"--tid", &decimal(tid), b"--targetname", &self.name]);
            match made {
                Ok(_) => return Ok(Place { tid, new: true, units: BTreeSet::from([0]) }),
                // Somebody was faster: with the number, or with the name.
                Err(failure) if failure.code() == Some(Code::TargetExists) => {
                    let now = self.list().map_err(|failure| failure.tell())?;
                    if now.iter().any(|target| target.name.as_bytes() == self.name) {
                        failure.tell();
                        break;
                    }
                    taken.insert(tid);
                    taken.extend(now.iter().map(|target| target.tid));
                }
                Err(failure) => {
                    failure.tell();
                    break;
                }
            }
        }
        say(&format!("Error: failed to create target (name={}, tid={tid})", text(&self.name)));
        Err(Told)
    }

    fn add_unit(&self, place: &Place) -> Result<(), Told> {
        let about = format!("a logical unit ({}) to target, tid={}", text(&self.setup.device), place.tid);
        say(&format!("Adding {about}"));
        if let Some(bstype) = &self.setup.bstype {
            say(&format!("Setting backing store type: {}", text(bstype)));
        }
        let mut taken = place.units.clone();
        taken.insert(0);
        for _ in 0..TRIES {
            let lun = lowest_free(&taken);
            match self.new_unit(place.tid, lun) {
                Ok(_) => return Ok(()),
                Err(failure) if failure.code() == Some(Code::UnitExists) => drop(taken.insert(lun)),
                Err(failure) => {
                    failure.tell();
                    break;
                }
            }
        }
        say(&format!("Error: failed to add {about}"));
        Err(Told)
    }

    fn new_unit(&self, tid: u64, lun: u64) -> Result<Vec<u8>, Failure> {
        let (tid, lun, path) = (decimal(tid), decimal(lun), device_path(&self.setup.device));
        let mut words: Vec<&[u8]> = vec![b"--mode", b"logicalunit", b"--op", b"new", b"--tid", &tid, b"--lun", &lun, b"--backing-store", &path];
        if let Some(bstype) = &self.setup.bstype {
            words.extend([b"--bstype".as_slice(), bstype]);
        }
        if let Some(blocksize) = &self.setup.blocksize {
            words.extend([b"--blocksize".as_slice(), blocksize]);
        }
        self.send(&words)
    }

    /// A rule that is there already is what was asked for.
    fn bind(&self, tid: u64, initiator: &[u8]) -> Result<(), Told> {
        let named = is_name(initiator);
        let option: &[u8] = if named { b"--initiator-name" } else { b"--initiator-address" };
        match self.send(&[b"--mode", b"target", b"--op", b"bind", b"--tid", &decimal(tid), option, initiator]) {
            Err(failure) if failure.code() != Some(Code::RuleExists) => {
                failure.tell();
                eprintln!("Error: could not assign initiator {} to the target", text(initiator));
                Err(Told)
            }
            _ => Ok(()),
        }
    }
}

/// On a terminal it asks; only the whole word counts.
fn confirmed() -> bool {
    if io::stdin().is_terminal() {
        eprint!("Add a new lun to the existing target? (yes/NO) ");
    }
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && answer.trim_end_matches('\n') == "yes"
}

fn lowest_free(taken: &BTreeSet<u64>) -> u64 {
    (1..).find(|number| !taken.contains(number)).unwrap_or(1)
}

/// The daemon has another current folder.
fn device_path(device: &[u8]) -> Vec<u8> {
    let path = OsString::from_vec(device.to_vec());
    let here = Path::new(&path);
    match absolute(here) {
        // What is no file here may be a name that only the store understands.
        Ok(full) if here.exists() => full.as_os_str().as_bytes().to_vec(),
        _ => device.to_vec(),
    }
}

/// A name of an initiator, and no address.
fn is_name(initiator: &[u8]) -> bool {
    let begins = [b"iqn.".as_slice(), b"eui.", b"naa."].iter().any(|front| initiator.starts_with(front));
    begins && !is_address(&String::from_utf8_lossy(initiator))
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_a_shell_are_found() {
        assert_eq!(lowest_free(&BTreeSet::new()), 1);
        assert_eq!(lowest_free(&BTreeSet::from([1, 2, 4])), 3);
        assert_eq!(lowest_free(&(0..=300).collect()), 301);
    }

    #[test]
    fn files_are_named_in_full_and_other_names_left_alone() {
        let full = device_path(b"Cargo.toml");
        assert!(full.starts_with(b"/") && full.ends_with(b"/Cargo.toml"));
        assert_eq!(device_path(b"pool/image"), b"pool/image");
        assert_eq!(device_path(b"/no/such/file"), b"/no/such/file");
    }

    #[test]
    fn names_are_no_addresses() {
        assert!(is_name(b"iqn.2020-01.com.example:host"));
        assert!(!is_name(b"192.0.2.1") && !is_name(b"ALL") && !is_name(b"2001:db8::1"));
    }
}
