//! REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS (SPC-6 6.34, 6.35), from the command table.

use alloc::vec::Vec;

use scsi::Outcome;
use scsi::command::{CommandRow, Family, Operation, ROWS};

use crate::cdb::{bad_field, be16, be32, bit, byte, reply};
use crate::device::Device;

/// What is recommended before a command counts as lost, in seconds: the time a busy store may take for a transfer of the maximum length.
const RECOMMENDED_TIMEOUT: u32 = 30;
/// The same for commands that may touch the whole medium.
const RECOMMENDED_TIMEOUT_LONG: u32 = 300;

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, QUERY TASK.
const FUNCTIONS: u8 = 0x80 | 0x40 | 0x10 | 0x08 | 0x04;
/// QUERY ASYNCHRONOUS EVENT, QUERY TASK SET, I_T NEXUS RESET.
const MORE_FUNCTIONS: u8 = 0x04 | 0x02 | 0x01;

/// Answers REPORT SUPPORTED OPERATION CODES.
pub(super) fn supported_operation_codes(device: &Device, cdb: &[u8]) -> Outcome {
    let timeouts = bit(cdb, 2, 0x80);
    let (opcode, action) = (byte(cdb, 3), be16(cdb, 4));
    let allocation = be32(cdb, 6);
    let rows = || ROWS.iter().filter(|row| device.offers(row));
    let exact = |row: &&CommandRow| row.opcode == opcode && row.service_action.unwrap_or(0) == action;
    let has_actions = rows().any(|row| row.opcode == opcode && row.service_action.is_some());
    let known = rows().any(|row| row.opcode == opcode);
    let row = match byte(cdb, 2) & 0x07 {
        0 => return reply(all(rows(), timeouts), allocation),
        1 if has_actions => return bad_field(2, Some(2)),
        1 => rows().find(|row| row.opcode == opcode),
        2 if known && !has_actions => return bad_field(2, Some(2)),
        2 | 3 => rows().find(exact),
        _ => return bad_field(2, Some(2)),
    };
    reply(one(device, row, timeouts), allocation)
}

/// All commands: a length, then eight bytes a command and twelve more for its timeouts.
fn all<'a>(rows: impl Iterator<Item = &'a CommandRow>, timeouts: bool) -> Vec<u8> {
    let mut data = Vec::from([0; 4]);
    for row in rows {
        let action = row.service_action.unwrap_or(0).to_be_bytes();
        let length = cdb_length(row);
        let flags = u8::from(timeouts) << 1 | u8::from(row.service_action.is_some());
        data.extend([row.opcode, 0, action[0], action[1], 0, flags, length[0], length[1]]);
        if timeouts {
            data.extend(timeout_descriptor(row));
        }
    }
    let length = u32::try_from(data.len() - 4).unwrap_or(u32::MAX);
    data[..4].copy_from_slice(&length.to_be_bytes());
    data
}

/// One command: 001b when the unit does not have it, otherwise 011b with the bits of the CDB that it reads.
fn one(device: &Device, row: Option<&CommandRow>, timeouts: bool) -> Vec<u8> {
    let Some(row) = row else { return Vec::from([0x00, 0x01, 0x00, 0x00]) };
    let length = cdb_length(row);
    let mut data = Vec::from([0x00, u8::from(timeouts) << 7 | 0x03, length[0], length[1]]);
    data.extend(usage(device, row));
    if timeouts {
        data.extend(timeout_descriptor(row));
    }
    data
}

/// CDB usage data of this very unit: bits that it would refuse are zero.
fn usage(device: &Device, row: &CommandRow) -> Vec<u8> {
    let mut usage = Vec::from(row.usage);
    let (at, mask) = match row.operation {
        Operation::WriteSame10 | Operation::WriteSame16 if !device.thin() => (1, 0x08),
        Operation::StartStopUnit if !device.settings.removable => (4, 0x02),
        _ => return usage,
    };
    if let Some(byte) = usage.get_mut(at) {
        *byte &= !mask;
    }
    usage
}

fn cdb_length(row: &CommandRow) -> [u8; 2] {
    u16::try_from(row.usage.len()).unwrap_or(0).to_be_bytes()
}

/// Command timeouts descriptor (SPC-6 6.34.4). No nominal time is promised.
fn timeout_descriptor(row: &CommandRow) -> [u8; 12] {
    let long = matches!(row.family, Family::Synchronize | Family::Unmap | Family::WriteSame) || row.operation == Operation::StartStopUnit;
    let [a, b, c, d] = if long { RECOMMENDED_TIMEOUT_LONG } else { RECOMMENDED_TIMEOUT }.to_be_bytes();
    [0x00, 0x0a, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

/// Answers REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.
pub(super) fn supported_task_management_functions(cdb: &[u8]) -> Outcome {
    let allocation = be32(cdb, 6);
    if allocation < 4 {
        return bad_field(6, Some(7));
    }
    let mut data = Vec::from([FUNCTIONS, MORE_FUNCTIONS, 0, 0]);
    if bit(cdb, 2, 0x80) {
        // Extended data: no timeouts are promised (TMFTMOV = 0).
        data[3] = 0x0c;
        data.resize(16, 0);
    }
    reply(data, allocation)
}
