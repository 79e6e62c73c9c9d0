//! What a command does to the unit, as reservations see it.

use scsi::CommandRow;
use scsi::command::{Operation, ReservationClass};

use super::{Access, Action};

/// What a command does to the medium. Some commands say it in their CDB.
pub fn access(row: &CommandRow, cdb: &[u8]) -> Access {
    let byte4 = cdb.get(4).copied().unwrap_or(0);
    match (row.reservation, row.operation) {
        (ReservationClass::Allowed, _) => Access::Free,
        (ReservationClass::Read, _) => Access::Read,
        (ReservationClass::Write, _) => Access::Write,
        // Allowing removal takes nothing from anybody.
        (_, Operation::PreventAllowMediumRemoval) if byte4 & 0x03 == 0 => Access::Free,
        // START = 1 without a power condition, and without loading.
        (_, Operation::StartStopUnit) if byte4 & 0xf3 == 0x01 => Access::Free,
        (_, Operation::PreventAllowMediumRemoval | Operation::StartStopUnit) => Access::Write,
        (ReservationClass::Special, _) => Access::Free,
    }
}

/// RESERVE(6) or RESERVE(10).
pub(super) fn reserves(operation: Operation) -> bool {
    matches!(operation, Operation::Reserve6 | Operation::Reserve10)
}

/// RELEASE(6) or RELEASE(10).
pub(super) fn releases(operation: Operation) -> bool {
    matches!(operation, Operation::Release6 | Operation::Release10)
}

/// PERSISTENT RESERVE IN or OUT.
pub(crate) fn persistent(operation: Operation) -> bool {
    Action::of(operation).is_some()
        || matches!(
            operation,
            Operation::PersistentReserveInReadKeys
                | Operation::PersistentReserveInReadReservation
                | Operation::PersistentReserveInReportCapabilities
                | Operation::PersistentReserveInReadFullStatus
        )
}

/// Commands that know nothing of a lost reservation, or mend it.
pub(super) fn passes_loss(operation: Operation) -> bool {
    matches!(operation, Operation::PersistentReserveInReportCapabilities | Operation::PersistentReserveOutReplaceLostReservation)
}

/// Commands of other nexuses that RESERVE(6) lets pass (SPC-2, SBC-2 tables).
pub(super) fn passes_reserve(operation: Operation, cdb: &[u8]) -> bool {
    match operation {
        Operation::Inquiry | Operation::ReportLuns | Operation::RequestSense | Operation::ReadCapacity10 | Operation::ReadCapacity16 => true,
        Operation::ReportSupportedOperationCodes | Operation::ReportSupportedTaskManagementFunctions => true,
        Operation::PreventAllowMediumRemoval => cdb.get(4).is_some_and(|byte| byte & 0x03 == 0),
        operation => releases(operation),
    }
}
