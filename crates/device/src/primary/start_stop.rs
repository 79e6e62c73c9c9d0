//! START STOP UNIT (SBC-4 5.31) and PREVENT ALLOW MEDIUM REMOVAL (SPC-6 6.14).
//!
//! Power conditions are in `power.rs`. Stopping, and going to standby, writes the cache out (unless NO_FLUSH) and leaves the unit ready, as the original
//! does. LOEJ ejects and loads on removable units only.

use scsi::{Asc, Outcome, Sense};

use super::power::{self, Condition, Wanted};
use crate::cdb::{bad_field, bit, byte, fail};
use crate::device::Device;
use crate::disk::fault::flush_fault;
use crate::operation::{Request, Step, StoreOp, StoreResult};

/// A START STOP UNIT that flushes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartStop {
    eject: bool,
    nexus: u64,
    power: Option<Wanted>,
}

/// LOEJ is for removable media.
pub(super) fn check(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    let power_condition = byte(request.cdb, 4) >> 4;
    if power_condition != 0 {
        return power::wanted(power_condition, byte(request.cdb, 3) & 0x0f).map(|_| ()).map_err(|(at, leftmost)| bad_field(at, Some(leftmost)));
    }
    if bit(request.cdb, 4, 0x02) && !device.settings.removable {
        return Err(bad_field(4, Some(1)));
    }
    Ok(())
}

/// First step; `Err` is an outcome that needs no step.
pub(super) fn begin(device: &mut Device, request: &Request<'_>) -> Result<(StartStop, Step), Outcome> {
    let action = byte(request.cdb, 4);
    if action >> 4 != 0 {
        return begin_power(device, request);
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
    let command = StartStop { eject: load_eject, nexus: request.nexus, power: None };
    if no_flush || !device.is_ready() || device.read_only() {
        return Err(command.end(device));
    }
    Ok((command, Step::Store(StoreOp::Flush { offset: 0, len: 0 })))
}

/// A power condition: standby comes after the cache is written out.
fn begin_power(device: &mut Device, request: &Request<'_>) -> Result<(StartStop, Step), Outcome> {
    let action = byte(request.cdb, 4);
    let wanted = power::wanted(action >> 4, byte(request.cdb, 3) & 0x0f).map_err(|(at, leftmost)| bad_field(at, Some(leftmost)))?;
    let standby = matches!(wanted, Wanted::Enter(Condition::StandbyY | Condition::StandbyZ));
    let command = StartStop { eject: false, nexus: request.nexus, power: Some(wanted) };
    if !standby || action & 0x04 != 0 || !device.is_ready() || device.read_only() {
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
        if let Some(wanted) = self.power {
            power::change(device, wanted);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::Bench;
    use crate::{Notice, Parameter, ParameterError, StoreFault};

    const READY: [u8; 6] = [0; 6];
    const EJECT: [u8; 6] = [0x1b, 0, 0, 0, 0x02, 0];
    const LOAD: [u8; 6] = [0x1b, 0, 0, 0, 0x03, 0];
    const PREVENT: [u8; 6] = [0x1e, 0, 0, 0, 1, 0];
    const ALLOW: [u8; 6] = [0x1e, 0, 0, 0, 0, 0];

    #[test]
    fn eject_and_load() {
        let mut bench = Bench::removable(8);
        bench.good(&READY);
        bench.good(&EJECT);
        assert_eq!(bench.ops, [StoreOp::Flush { offset: 0, len: 0 }]);
        assert_eq!(bench.refused(&READY, &[]), 0x0002_3a00);
        assert_eq!(bench.refused(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[]), 0x0002_3a00);
        assert!(!bench.device.view().online);
        bench.good(&EJECT);
        bench.good(&LOAD);
        bench.good(&READY);
        assert_eq!(bench.device.poll_notice(), Some(Notice { asc: Asc(0x2800), except: Some(1) }));
        assert_eq!(bench.device.poll_notice(), None);
    }

    #[test]
    fn stopping_flushes_and_stays_ready() {
        let mut bench = Bench::disk(8);
        bench.good(&[0x1b, 0, 0, 0, 0x00, 0]);
        assert_eq!(bench.ops.len(), 1);
        bench.good(&[0x1b, 0, 0, 0, 0x04, 0]);
        bench.good(&[0x1b, 0, 0, 0, 0x01, 0]);
        bench.good(&[0x1b, 1, 0, 0, 0x34, 0]);
        assert_eq!(bench.ops.len(), 1, "NO_FLUSH, START and power conditions do not flush");
        bench.good(&READY);
    }

    #[test]
    fn a_fixed_unit_does_not_eject() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.sense(&EJECT, &[]), Sense::invalid_cdb_field(4, Some(1)));
    }

    #[test]
    fn what_cannot_be_written_is_not_ejected() {
        let mut bench = Bench::removable(8);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        assert_eq!(bench.refused(&EJECT, &[]), 0x0003_0c00);
        bench.good(&READY);
    }

    #[test]
    fn removal_is_prevented_by_any_nexus() {
        let mut bench = Bench::removable(8);
        bench.good(&PREVENT);
        bench.good(&PREVENT);
        bench.nexus = 2;
        bench.good(&PREVENT);
        assert_eq!(bench.refused(&EJECT, &[]), 0x0005_5302);
        assert!(bench.device.view().prevent_removal);
        assert_eq!(bench.device.set(Parameter::Online(false)), Err(ParameterError::RemovalPrevented));
        bench.good(&ALLOW);
        assert_eq!(bench.refused(&LOAD, &[]), 0x0005_5302);
        bench.device.nexus_lost(1);
        bench.good(&EJECT);
        bench.good(&PREVENT);
        assert_eq!(bench.refused(&LOAD, &[]), 0x0005_5302);
        bench.device.reset();
        bench.good(&LOAD);
    }

    #[test]
    fn obsolete_prevent_values() {
        let mut bench = Bench::removable(8);
        assert_eq!(bench.refused(&[0x1e, 0, 0, 0, 2, 0], &[]), 0x0005_2400);
        assert_eq!(bench.refused(&[0x1e, 0, 0, 0, 3, 0], &[]), 0x0005_2400);
    }

    #[test]
    fn loading_without_a_medium() {
        let mut bench = Bench::removable(8);
        bench.device.set_medium(None);
        assert_eq!(bench.refused(&LOAD, &[]), 0x0002_3a00);
        assert_eq!(bench.device.set(Parameter::Online(true)), Err(ParameterError::Invalid));
    }
}
