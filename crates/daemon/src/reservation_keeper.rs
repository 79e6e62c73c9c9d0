//! Keeps persistent reservations in the state folder: one file for each unit that an initiator asked to keep them (APTPL).
//!
//! A file has one line for people and for its checksum, and then the bytes of the unit. Its name is the unit's designator, which is made of target name, unit number and
//! identity: whoever makes that unit again, by whatever way, finds its reservations, and nobody else does. A file goes when an initiator registers with APTPL = 0,
//! not when its unit is removed: `tgt-admin` removes and makes units on many occasions, and none of them may let a fenced node in.
//!
//! A file that cannot be read is no reason to forget what it forbids: the unit says that its reservations are lost (4/4401) until an initiator replaces them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use sha2::{Digest, Sha256};
use target::Unit;
use transport::model::UnitCell;
use transport::persist::{Persister, Receipt};

use crate::state_folder::StateFolder;

/// Version of the form of a file.
const FORMAT: &str = "1";
/// The first line: this, the unit, `format N`, `sha256 HEX` of the rest.
const TITLE: &str = "# Persistent reservations, kept by the daemon: ";
/// Longest file that is read: the most registrations there can be, with the longest names, and room to spare.
const FILE_MAX: u64 = 4 << 20;

/// Writes the files, on a thread of its own.
pub struct ReservationKeeper {
    folder: Arc<StateFolder>,
    jobs: Sender<Job>,
}

struct Job {
    unit: Arc<UnitCell>,
    bytes: Vec<u8>,
    receipt: Receipt,
}

impl ReservationKeeper {
    /// Starts the thread; it ends with the last reference.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(folder: Arc<StateFolder>) -> io::Result<Arc<ReservationKeeper>> {
        // Bounded by the units: each asks for one write at a time.
        let (jobs, queue) = channel::<Job>();
        let writer = folder.clone();
        std::thread::Builder::new().name("reservations".into()).spawn(move || {
            for Job { unit, bytes, receipt } in queue {
                let result = write(&writer, unit.lock().device().unique_name(), (unit.tid, unit.lun), &bytes);
                if let Err(error) = &result {
                    tracing::error!(tid = unit.tid, lun = unit.lun, %error, "reservations cannot be kept: the command is refused, nothing has changed");
                }
                receipt.answer(result.is_ok());
            }
        })?;
        Ok(Arc::new(ReservationKeeper { folder, jobs }))
    }

    /// A new unit gets back what was kept of it. What cannot be read is lost, and forbids everything.
    pub fn restore(&self, unit: &mut Unit, target: &str, lun: u64) {
        unit.set_keeping(true);
        let name = name(unit.device().unique_name());
        match self.read(&name) {
            Ok(None) => {}
            Ok(Some(bytes)) if unit.restore_reservations(&bytes) => {
                tracing::info!(target, lun, registrations = unit.reservations().registered(), "persistent reservations are there again");
            }
            broken => {
                unit.lose_reservations();
                let why = broken.err().unwrap_or_else(|| "it makes no sense".into());
                let file = self.folder.path(&name);
                tracing::error!(
                    target,
                    lun,
                    "persistent reservations are lost: {}: {why}; the unit lets nobody in until an initiator says REPLACE LOST RESERVATION, or the file is removed \
                     and the unit made again",
                    file.display()
                );
            }
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(bytes) = self.folder.read(name, FILE_MAX).map_err(|error| error.to_string())? else { return Ok(None) };
        let end = bytes.iter().position(|&byte| byte == b'\n').ok_or("it ends early")?;
        let (first, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 1..]);
        let words: Vec<&str> = first.strip_prefix(TITLE).ok_or("its first line is another one")?.rsplit(' ').collect();
        match words.as_slice() {
            [sum, "sha256", FORMAT, "format", ..] if *sum == checksum(body) => Ok(Some(body.to_vec())),
            [_, "sha256", FORMAT, "format", ..] => Err("its checksum does not fit".into()),
            [_, "sha256", format, "format", ..] => Err(format!("it has format {format}, this version knows {FORMAT}")),
            _ => Err("its first line is cut".into()),
        }
    }
}

impl Persister for ReservationKeeper {
    fn persist(&self, unit: Arc<UnitCell>, bytes: Vec<u8>, receipt: Receipt) {
        // A thread that is gone drops the receipt, which says no.
        let _ = self.jobs.send(Job { unit, bytes, receipt });
    }
}

fn write(folder: &StateFolder, unique: [u8; 16], (tid, lun): (i32, u64), bytes: &[u8]) -> io::Result<()> {
    let name = name(unique);
    if bytes.is_empty() {
        return folder.remove(&name);
    }
    let mut text = format!("{TITLE}unit {tid}/{lun} format {FORMAT} sha256 {}\n", checksum(bytes)).into_bytes();
    text.extend(bytes);
    folder.write(&name, &text)
}

fn name(unique: [u8; 16]) -> String {
    format!("unit-{}.reservations", hexadecimal(&unique))
}

fn checksum(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
