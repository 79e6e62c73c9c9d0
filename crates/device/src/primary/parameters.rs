//! Commands that take a parameter list and are done with it: LOG SELECT, WRITE BUFFER, SET TIMESTAMP and their like.

use scsi::command::Operation;
use scsi::{Asc, CommandRow, Outcome, Sense};

use super::{buffers, diagnostics, identity, log_select};
use crate::cdb::{be16, be32, fail};
use crate::device::Device;
use crate::disk::defects;
use crate::operation::{Request, Step};

/// Longest CDB of these commands.
const CDB_LEN: usize = 16;

/// A command whose list is on its way.
#[derive(Debug)]
pub(crate) struct ParameterList {
    row: &'static CommandRow,
    cdb: [u8; CDB_LEN],
    len: u32,
    nexus: u64,
}

/// True for the commands of this module.
pub(super) fn takes(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::LogSelect
            | Operation::ReassignBlocks
            | Operation::SecurityProtocolOut
            | Operation::SendDiagnostic
            | Operation::SetIdentifyingInformation
            | Operation::SetTimestamp
            | Operation::WriteBuffer
    )
}

/// PARAMETER LIST LENGTH of the CDB; where it has none, what is offered.
fn list_length(row: &CommandRow, cdb: &[u8], offered: u32) -> u32 {
    match row.operation {
        Operation::LogSelect => u32::from(be16(cdb, 7)),
        Operation::ReassignBlocks => offered.min(defects::MAX_LIST),
        Operation::SendDiagnostic => diagnostics::list_length(cdb),
        Operation::WriteBuffer => buffers::list_length(cdb),
        _ => be32(cdb, 6),
    }
}

/// Fields of the CDB; all of the list must be offered.
pub(super) fn check(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    let cdb = request.cdb;
    let checked = match request.row.operation {
        Operation::LogSelect => log_select::check(device, cdb),
        Operation::SecurityProtocolOut => identity::check_security_out(),
        Operation::SendDiagnostic => diagnostics::check(device, cdb),
        Operation::SetIdentifyingInformation => identity::check_information(cdb),
        Operation::SetTimestamp => identity::check_timestamp(cdb),
        Operation::WriteBuffer => buffers::check(cdb),
        _ => Ok(()),
    };
    checked.map_err(Outcome::check)?;
    if list_length(request.row, cdb, request.data_out) > request.data_out {
        return Err(Outcome::check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
    }
    Ok(())
}

/// First step; an empty list is carried out at once. `Err`: the end.
pub(super) fn begin(device: &mut Device, request: &Request<'_>) -> Result<(ParameterList, Step), Outcome> {
    let mut cdb = [0; CDB_LEN];
    for (place, &byte) in cdb.iter_mut().zip(request.cdb) {
        *place = byte;
    }
    let len = list_length(request.row, request.cdb, request.data_out).min(request.data_out);
    let command = ParameterList { row: request.row, cdb, len, nexus: request.nexus };
    if len == 0 {
        return Err(match command.carry_out(device, &[]) {
            Ok(()) => Outcome::good(0),
            Err(sense) => Outcome::check(sense),
        });
    }
    Ok((command, Step::Fetch { len, inline: true }))
}

impl ParameterList {
    pub(crate) fn fetched(&mut self, device: &mut Device, data: &[u8]) -> Step {
        let data = &data[..data.len().min(usize::try_from(self.len).unwrap_or(usize::MAX))];
        match self.carry_out(device, data) {
            Ok(()) => Step::Finish(Outcome::good(self.len)),
            Err(sense) => fail(sense, self.len),
        }
    }

    fn carry_out(&self, device: &mut Device, list: &[u8]) -> Result<(), Sense> {
        match self.row.operation {
            Operation::LogSelect => log_select::select(device, &self.cdb, list, self.nexus),
            Operation::ReassignBlocks => defects::reassign(device, &self.cdb, list),
            Operation::SendDiagnostic => diagnostics::send(device, list),
            Operation::SetIdentifyingInformation => {
                identity::set_information(device, &self.cdb, list, self.nexus);
                Ok(())
            }
            Operation::SetTimestamp => {
                identity::set_timestamp(device, list, self.nexus);
                Ok(())
            }
            Operation::WriteBuffer => {
                buffers::write(device, &self.cdb, list, self.nexus);
                Ok(())
            }
            _ => Err(Sense::illegal(Asc::INVALID_OPERATION_CODE)),
        }
    }
}
