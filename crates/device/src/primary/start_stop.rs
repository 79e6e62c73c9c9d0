//! START STOP UNIT (SBC-4 5.31) and PREVENT ALLOW MEDIUM REMOVAL (SPC-6 6.14).
//!
//! There are no power conditions to enter: requests for one succeed and change nothing. Stopping writes the cache out (unless NO_FLUSH) and leaves
//! the unit ready, as the original does. LOEJ ejects and loads on removable units only.

use scsi::{Asc, Outcome, Sense};

use crate::cdb::{bad_field, bit, byte, fail};
use crate::device::Device;
use crate::disk::fault::flush_fault;
use crate::operation::{Request, Step, StoreOp, StoreResult};

/// A START STOP UNIT that flushes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartStop {
    eject: bool,
    nexus: u64,
}

/// LOEJ is for removable media.
pub(super) fn check(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    let power_condition = byte(request.cdb, 4) >> 4;
    if power_condition == 0 && bit(request.cdb, 4, 0x02) && !device.settings.removable {
        return Err(bad_field(4, Some(1)));
    }
    Ok(())
}

/// First step; `Err` is an outcome that needs no step.
pub(super) fn begin(device: &mut Device, request: &Request<'_>) -> Result<(StartStop, Step), Outcome> {
    let action = byte(request.cdb, 4);
    if action >> 4 != 0 {
        return Err(Outcome::good(0));
    }
    let (no_flush, load_eject, start) = (action & 0x04 != 0, action & 0x02 != 0, action & 0x01 != 0);
    if load_eject && device.removal_prevented() {
        return Err(Outcome::check(Sense::illegal(Asc::MEDIUM_REMOVAL_PREVENTED)));
    }
    if start {
        if load_eject && device.set_online(true, Some(request.nexus)).is_err() {
            return Err(Outcome::check(device.not_ready()));
        }
        return Err(super::test_unit_ready(device));
    }
    let command = StartStop { eject: load_eject, nexus: request.nexus };
    if no_flush || !device.is_ready() || device.read_only() {
        return Err(command.end(device));
    }
    Ok((command, Step::Store(StoreOp::Flush { offset: 0, len: 0 })))
}

impl StartStop {
    /// The cache is written out, or could not be: then the medium stays where it is.
    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        match result {
            Ok(_) => Step::Finish(self.end(device)),
            Err(fault) => fail(flush_fault(device, 0, fault), 0),
        }
    }

    fn end(self, device: &mut Device) -> Outcome {
        // An initiator may have forbidden it while the cache was written out.
        if self.eject && device.set_online(false, Some(self.nexus)).is_err() {
            return Outcome::check(Sense::illegal(Asc::MEDIUM_REMOVAL_PREVENTED));
        }
        Outcome::good(0)
    }
}

/// PREVENT 10b and 11b were for media changers and are obsolete.
pub(super) fn check_prevent(request: &Request<'_>) -> Result<(), Outcome> {
    if bit(request.cdb, 4, 0x02) { Err(bad_field(4, Some(1))) } else { Ok(()) }
}

/// Sets or clears the flag of this nexus.
pub(super) fn prevent_allow(device: &mut Device, request: &Request<'_>) -> Outcome {
    if bit(request.cdb, 4, 0x01) {
        device.prevent_removal(request.nexus);
    } else {
        device.allow_removal(request.nexus);
    }
    Outcome::good(0)
}
