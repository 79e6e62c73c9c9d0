//! Commands that the target answers itself, because they are about nexuses and logical unit numbers: REQUEST SENSE, REPORT LUNS, reservations.

use device::Step;
use device::primary::inquiry;
use scsi::command::Operation;
use scsi::response::{Response, be16, be32};
use scsi::{Asc, Lun, Outcome, Sense, SenseFormat, SenseKey, Status};

use crate::attention::{self, REPORTED_LUNS_CHANGED};
use crate::reservation::Action;
use crate::unit::Unit;
use crate::{port_groups, reserve_out};

/// Least ALLOCATION LENGTH of REPORT LUNS.
const REPORT_LUNS_LEAST: u32 = 16;

impl Unit {
    /// First step of a command that is not the device's; `None` for those that are. All gates are passed.
    pub(crate) fn primary_command(&mut self, slot: usize) -> Option<Step> {
        let task = self.tasks.get(slot);
        let operation = task.row?.operation;
        let allocation = be16(task.cdb(), 7).unwrap_or(0);
        let outcome = match operation {
            Operation::RequestSense => self.request_sense(slot),
            Operation::ReportLuns => self.report_luns(slot),
            // Perhaps a key is just being registered.
            Operation::Reserve6 | Operation::Reserve10 if self.keeping.is_busy() => Outcome::status(Status::RESERVATION_CONFLICT),
            Operation::Reserve6 | Operation::Reserve10 => reserve(task.cdb(), || self.reservations.reserve(task.nexus)),
            Operation::Release6 | Operation::Release10 => reserve(task.cdb(), || self.reservations.release(task.nexus)),
            Operation::PersistentReserveInReadKeys => Outcome::inline(self.reservations.read_keys(allocation)),
            Operation::PersistentReserveInReadReservation => Outcome::inline(self.reservations.read_reservation(allocation)),
            Operation::PersistentReserveInReportCapabilities => {
                Outcome::inline(self.reservations.report_capabilities(allocation, self.keeping.available))
            }
            Operation::PersistentReserveInReadFullStatus => Outcome::inline(self.reservations.read_full_status(allocation)),
            Operation::ReportTargetPortGroups => self.report_target_port_groups(slot),
            Operation::SetTargetPortGroups => return Some(port_groups::begin(task)),
            operation => return Some(reserve_out::begin(Action::of(operation)?, task)),
        };
        Some(Step::Finish(outcome))
    }

    /// The parameter list of such a command is there. `None`: it waits for something else now.
    pub(crate) fn primary_fetched(&mut self, slot: usize, data: &[u8]) -> Option<Step> {
        match self.tasks.get(slot).row.map(|row| row.operation) {
            Some(Operation::SetTargetPortGroups) => Some(self.set_target_port_groups(slot, data)),
            _ => self.persistent_reserve_out(slot, data),
        }
    }

    /// REQUEST SENSE (SPC-6 6.39): the pending unit attention, which is told by this; else why the unit is not ready; else nothing to report.
    fn request_sense(&mut self, slot: usize) -> Outcome {
        let nexus = self.tasks.get(slot).nexus;
        let pending = self.nexuses.get_mut(nexus).and_then(|nexus| nexus.attentions.take());
        let sense = match pending {
            Some(asc) => attention::sense(asc),
            None => {
                let ready = || self.device.sense_on_request().unwrap_or(Sense::new(SenseKey::NO_SENSE, Asc::NONE));
                self.readiness(slot).unwrap_or_else(ready)
            }
        };
        sense_data(sense, self.tasks.get(slot).cdb())
    }

    /// What TEST UNIT READY would say.
    fn readiness(&self, slot: usize) -> Option<Sense> {
        let port = &self.nexus_of(slot)?.identity.port;
        if let Err(sense) = self.check_access(Operation::TestUnitReady, port) {
            return Some(sense);
        }
        if self.overdue > 0 {
            return Some(Sense::new(SenseKey::NOT_READY, Asc::NOT_READY));
        }
        let test_unit_ready = [0; 6];
        let row = self.device.lookup(&test_unit_ready).ok()?;
        let request = device::Request { cdb: &test_unit_ready, ..self.tasks.get(slot).request(row, self.nexus_of(slot)?) };
        self.device.check(&request).err()?.sense
    }

    /// REPORT LUNS (SPC-6 6.33). The one well known unit is listed when they are asked for; there are no conglomerates, so no unit is administrative, and
    /// none has subsidiaries to ask for.
    fn report_luns(&mut self, slot: usize) -> Outcome {
        let task = self.tasks.get(slot);
        let cdb = task.cdb();
        let allocation = be32(cdb, 6).unwrap_or(0);
        let (units, well_known) = match cdb.get(2) {
            Some(0x00 | 0x11) => (true, false),
            Some(0x01) => (false, true),
            Some(0x02) => (true, true),
            Some(0x10) => (false, false),
            _ => return Outcome::check(Sense::invalid_cdb_field(2, Some(7))),
        };
        if allocation < REPORT_LUNS_LEAST {
            return Outcome::check(Sense::invalid_cdb_field(6, Some(7)));
        }
        let mut response = Response::new(allocation);
        response.zeros(8);
        if units {
            let others = task.luns.iter().copied().filter(|&number| number != 0);
            for lun in core::iter::once(0).chain(others).filter_map(Lun::from_number) {
                response.bytes(&lun.0);
            }
        }
        if well_known && task.luns.contains(&Lun::REPORT_LUNS_NUMBER) {
            response.bytes(&Lun::REPORT_LUNS.0);
        }
        // LUN LIST LENGTH counts the list alone, not the four reserved bytes before it.
        let list = u32::try_from(response.len() - 8).unwrap_or(u32::MAX);
        response.put(0, &list.to_be_bytes());
        let nexus = task.nexus;
        self.clear_attention(nexus, REPORTED_LUNS_CHANGED);
        Outcome::inline(response.finish())
    }
}

/// RESERVE and RELEASE, of the whole unit and for the nexus itself: third parties and extents are obsolete since SPC-2 (only the long forms have room for them).
fn reserve(cdb: &[u8], act: impl FnOnce()) -> Outcome {
    let long = cdb.len() >= 10;
    let flags = cdb.get(1).copied().unwrap_or(0);
    match flags {
        _ if long && flags & 0x10 != 0 => Outcome::check(Sense::invalid_cdb_field(1, Some(4))),
        _ if long && flags & 0x02 != 0 => Outcome::check(Sense::invalid_cdb_field(1, Some(1))),
        _ => {
            act();
            Outcome::good(0)
        }
    }
}

/// The answer for a logical unit number without a unit (SAM-5 4.7, incorrect logical unit numbers).
pub(crate) fn absent(cdb: &[u8]) -> Outcome {
    let sense = Sense::illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED);
    match cdb.first() {
        Some(0x12) => inquiry::absent(cdb),
        Some(0x03) => sense_data(sense, cdb),
        _ => Outcome::check(sense),
    }
}

/// Sense data as parameter data of REQUEST SENSE, in the format that its DESC bit asks for.
fn sense_data(sense: Sense, cdb: &[u8]) -> Outcome {
    let descriptor = cdb.get(1).is_some_and(|byte| byte & 0x01 != 0);
    let mut bytes = sense.encode(if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed });
    bytes.truncate(cdb.get(4).copied().map_or(0, usize::from));
    Outcome::inline(bytes)
}
