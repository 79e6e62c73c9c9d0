//! What every device type answers (SPC): identity, mode parameters, supported commands, readiness.

pub(crate) mod buffers;
pub(crate) mod control;
pub(crate) mod diagnostics;
pub mod duration;
pub(crate) mod exceptions;
pub(crate) mod hints;
pub(crate) mod identity;
pub mod inquiry;
mod log_pages;
mod log_select;
pub(crate) mod log_sense;
pub(crate) mod log_thresholds;
pub mod mode_pages;
pub mod mode_select;
pub mod mode_sense;
pub mod opcodes;
pub(crate) mod parameters;
pub(crate) mod power;
pub mod start_stop;
pub mod third_party;
pub mod vpd;

use alloc::boxed::Box;

use scsi::Outcome;
use scsi::command::Operation;

use crate::cdb::{byte, flags};
use crate::device::Device;
use crate::disk::thresholds::Measurement;
use crate::operation::{Request, Step};
use crate::progress::State;

/// Fields of the CDB that do not depend on the device type.
pub(crate) fn check(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    match request.row.operation {
        Operation::ModeSelect6 | Operation::ModeSelect10 => mode_select::check(request),
        Operation::StartStopUnit => start_stop::check(device, request),
        operation if parameters::takes(operation) => parameters::check(device, request),
        Operation::PreventAllowMediumRemoval => start_stop::check_prevent(request),
        _ => Ok(()),
    }
}

/// The first step of a command that this module answers; `None`: it is somebody else's.
pub(crate) fn begin(device: &mut Device, request: &Request<'_>) -> Option<(State, Step)> {
    let cdb = request.cdb;
    let outcome = match request.row.operation {
        Operation::TestUnitReady => test_unit_ready(device),
        Operation::Inquiry => inquiry::inquiry(device, cdb, request.port),
        Operation::ModeSense6 | Operation::ModeSense10 => mode_sense::mode_sense(device, cdb),
        Operation::ReportSupportedOperationCodes => opcodes::supported_operation_codes(device, cdb),
        Operation::ReportSupportedTaskManagementFunctions => opcodes::supported_task_management_functions(cdb),
        Operation::PreventAllowMediumRemoval => start_stop::prevent_allow(device, request),
        Operation::LogSense if device.thin() && byte(cdb, 2) & 0x3f == log_pages::PROVISIONING => {
            let (command, step) = Measurement::for_log(device, cdb);
            return Some((State::Measurement(Box::new(command)), step));
        }
        Operation::LogSense => log_sense::log_sense(device, cdb),
        Operation::ReadBuffer => buffers::read(device, cdb, request.nexus),
        Operation::ReceiveDiagnosticResults => diagnostics::receive(device, cdb),
        Operation::ReportIdentifyingInformation => identity::report_information(device, cdb),
        Operation::ReportTimestamp => identity::report_timestamp(device, cdb),
        Operation::SecurityProtocolIn => identity::security_in(cdb),
        Operation::ModeSelect6 | Operation::ModeSelect10 => {
            return Some(match mode_select::begin(request) {
                Ok((command, step)) => (State::ModeSelect(Box::new(command)), step),
                Err(outcome) => (State::Ended, Step::Finish(outcome)),
            });
        }
        Operation::StartStopUnit => {
            return Some(match start_stop::begin(device, request) {
                Ok((command, step)) => (State::StartStop(command), step),
                Err(outcome) => (State::Ended, Step::Finish(outcome)),
            });
        }
        operation if parameters::takes(operation) => {
            if operation == Operation::SendDiagnostic
                && let Some(begun) = diagnostics::begin(device, request)
            {
                return Some(match begun {
                    Ok((command, step)) => (State::SelfTest(Box::new(command)), step),
                    Err(outcome) => (State::Ended, Step::Finish(outcome)),
                });
            }
            return Some(match parameters::begin(device, request) {
                Ok((command, step)) => (State::Parameters(Box::new(command)), step),
                Err(outcome) => (State::Ended, Step::Finish(outcome)),
            });
        }
        _ => return None,
    };
    Some((State::Ended, Step::Finish(outcome)))
}

/// TEST UNIT READY (SPC-6 6.51).
pub(crate) fn test_unit_ready(device: &Device) -> Outcome {
    if device.is_ready() { Outcome::good(0) } else { Outcome::check(device.not_ready()) }
}

/// True when the CDB is the six-byte form.
pub(crate) fn is_six(cdb: &[u8]) -> bool {
    byte(cdb, 0) < 0x20
}

/// DPO and FUA are among the flags of READ and WRITE of ten bytes and more.
pub(crate) fn force_unit_access(cdb: &[u8]) -> bool {
    !is_six(cdb) && flags(cdb) & 0x08 != 0
}
