//! Protection information in commands: what RDPROTECT, WRPROTECT, VRPROTECT and ORPROTECT ask for (SBC-4 4.21 and the tables of the commands).

use alloc::boxed::Box;

use scsi::command::{CommandRow, Family, VARIABLE_LENGTH};
use scsi::protection::{LENGTH, Protection};
use scsi::{Asc, Outcome, Sense};

use crate::cdb::{bad_flag, be16, be32, flags};
use crate::device::{CAPACITY_DATA_CHANGED, Device, INQUIRY_DATA_CHANGED};
use crate::disk::needs_tags;
use crate::guard::{Fields, Guard, Tags};
use crate::operation::Request;
use crate::progress::{Progress, State};

impl Device {
    /// The store keeps protection information beside the data, and this is how it is formatted now. `None`: it keeps none.
    pub fn set_protection(&mut self, protection: Option<Protection>) {
        if core::mem::replace(&mut self.protection, protection) != protection {
            self.modes.set_protection(protection.is_some());
            self.notify(INQUIRY_DATA_CHANGED, None);
        }
    }

    /// How the medium is formatted.
    pub fn protection(&self) -> Protection {
        self.protection.unwrap_or_default()
    }

    /// Can it be formatted with protection information?
    pub fn keeps_protection(&self) -> bool {
        self.protection.is_some()
    }

    /// FORMAT UNIT has ended.
    pub(crate) fn formatted(&mut self, protection: Protection, by: u64) {
        if self.protection.is_some() && self.protection.replace(protection) != Some(protection) {
            self.notify(CAPACITY_DATA_CHANGED, Some(by));
        }
    }

    /// What a store operation of this command has to do with protection information; `None`: there is none.
    #[inline]
    pub fn guard(&self, progress: &Progress) -> Option<Box<Guard>> {
        self.protection?;
        match &progress.state {
            State::Erase(command) => command.guard(self),
            State::Write(command) if command.was_written() => progress.guard.as_ref().map(|guard| Box::new(Guard { carried: false, ..**guard })),
            _ => progress.guard.clone(),
        }
    }

    /// Bytes that the command keeps others off while its store operations run: on a medium with protection information nobody may
    /// see a block with that of another. `None` on any other medium.
    pub fn kept(&self, row: &CommandRow, cdb: &[u8]) -> Option<(u64, u64)> {
        if self.protection() == Protection::None {
            return None;
        }
        let shift = self.block_size().shift();
        let range = self.range(row, cdb);
        Some(range.map_or((0, u64::MAX), |range| (range.start.0 << shift, range.end() << shift)))
    }
}

/// Has the command a protection field among its flags?
fn has_field(row: &CommandRow) -> bool {
    let family =
        matches!(row.family, Family::Read | Family::Write | Family::Verify | Family::WriteAndVerify | Family::WriteSame | Family::CompareAndWrite);
    family && row.usage.len() > 6
}

/// The protection field; zero for a command without.
fn field(row: &CommandRow, cdb: &[u8]) -> u8 {
    if has_field(row) { flags(cdb) >> 5 } else { 0 }
}

/// The protection field must be one that the format of the medium knows.
pub(super) fn check(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    let (cdb, protection) = (request.cdb, device.protection());
    match field(request.row, cdb) {
        0 if request.row.writes && protection != Protection::None && device.modes.rejects_unprotected() => Err(bad_flag(cdb, 7)),
        0 => Ok(()),
        1..=5 if protection == Protection::None => Err(bad_flag(cdb, 7)),
        // The tags that type 2 expects do not fit into the shorter CDBs.
        1..=5 if protection == Protection::Type2 && request.row.opcode != VARIABLE_LENGTH => {
            Err(Outcome::check(Sense::illegal(Asc::INVALID_OPERATION_CODE)))
        }
        1..=5 => Ok(()),
        _ => Err(bad_flag(cdb, 7)),
    }
}

/// Bits of the protection field that this medium does not refuse in that command.
pub(crate) fn usage(device: &Device, row: &CommandRow) -> u8 {
    let none = match device.protection() {
        Protection::None => true,
        Protection::Type2 => row.opcode != VARIABLE_LENGTH,
        Protection::Type1 | Protection::Type3 => false,
    };
    if none || !has_field(row) { 0x00 } else { 0xe0 }
}

/// Bytes on the wire for `len` bytes of blocks.
pub(super) fn wire(device: &Device, request: &Request<'_>, len: u32) -> u32 {
    let blocks = len >> device.block_size().shift();
    let carried = field(request.row, request.cdb) != 0 && device.protection() != Protection::None;
    if carried { len.saturating_add(blocks.saturating_mul(LENGTH as u32)) } else { len }
}

/// What the command's store operations have to do; `None` on a medium without protection information.
pub(crate) fn guard(device: &Device, request: &Request<'_>) -> Option<Guard> {
    let protection = device.protection();
    if protection == Protection::None {
        return None;
    }
    let (row, cdb) = (request.row, request.cdb);
    let field = field(row, cdb);
    let checks = match field {
        0 if device.modes.checks_only_what_is_carried() => Fields::NONE,
        2 => Fields { guard: false, ..Fields::ALL },
        3 => Fields::NONE,
        4 => Fields { guard: true, ..Fields::NONE },
        _ => Fields::ALL,
    };
    // The table of BYTCHK 01b: what is not checked because it is carried only is compared.
    let compares = if field == 3 { Fields::ALL } else { checks };
    let tags = needs_tags(row.operation).then(|| Tags { reference: be32(cdb, 20), application: be16(cdb, 24), mask: be16(cdb, 26) });
    let first = device.range(row, cdb).map_or(0, |range| range.start.0);
    Some(Guard { protection, block: device.block_size().bytes(), first, carried: field != 0, checks, compares, tags, format: false })
}

/// For what the device does on its own: nothing is carried, nothing checked.
pub(crate) fn plain(device: &Device, protection: Protection, format: bool) -> Guard {
    let block = device.block_size().bytes();
    Guard { protection, block, first: 0, carried: false, checks: Fields::NONE, compares: Fields::NONE, tags: None, format }
}
