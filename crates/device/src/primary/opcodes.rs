//! REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS (SPC-6 6.34, 6.35), from the command table.

use alloc::vec::Vec;

use scsi::Outcome;
use scsi::command::{CommandRow, Operation, rows_for};

use crate::cdb::{bad_field, be16, be32, bit, byte, reply};
use crate::device::Device;
use crate::disk;

/// ABORT TASK, ABORT TASK SET, CLEAR ACA, CLEAR TASK SET, LOGICAL UNIT RESET, QUERY TASK.
const FUNCTIONS: u8 = 0x80 | 0x40 | 0x20 | 0x10 | 0x08 | 0x04;
/// QUERY ASYNCHRONOUS EVENT, QUERY TASK SET, I_T NEXUS RESET.
const MORE_FUNCTIONS: u8 = 0x04 | 0x02 | 0x01;

/// Answers REPORT SUPPORTED OPERATION CODES.
pub(super) fn supported_operation_codes(device: &Device, cdb: &[u8]) -> Outcome {
    let timeouts = bit(cdb, 2, 0x80);
    let (opcode, action) = (byte(cdb, 3), be16(cdb, 4));
    let allocation = be32(cdb, 6);
    let rows = || rows_for(device.device_type()).filter(|row| device.offers(row));
    let exact = |row: &&'static CommandRow| row.opcode == opcode && row.service_action.unwrap_or(0) == action;
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
        let limits = limits_page(row);
        // RWCDLP, CDLP, CTDP, SERVACTV.
        let flags = u8::from(limits != 0) << 6 | limits << 2 | u8::from(timeouts) << 1 | u8::from(row.service_action.is_some());
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
    let limits = limits_page(row);
    // RWCDLP; CTDP, CDLP and SUPPORT.
    let mut data = Vec::from([u8::from(limits != 0), u8::from(timeouts) << 7 | limits << 3 | 0x03, length[0], length[1]]);
    data.extend(usage(device, row));
    if timeouts {
        data.extend(timeout_descriptor(row));
    }
    data
}

/// CDB usage data of this very unit: bits that it would refuse are zero.
fn usage(device: &Device, row: &CommandRow) -> Vec<u8> {
    use Operation as Op;
    let (at, refused) = match row.operation {
        // ANCHOR; UNMAP without thin provisioning.
        Op::WriteSame10 | Op::WriteSame16 | Op::WriteSame32 => (row.flags_at(), if device.thin() { 0x10 } else { 0x18 }),
        Op::Unmap => (1, 0x01),
        // SP.
        Op::ModeSelect6 | Op::ModeSelect10 => (1, 0x01),
        Op::StartStopUnit if !device.settings.removable => (4, 0x02),
        Op::PreventAllowMediumRemoval => (4, 0x02),
        _ => (0, 0x00),
    };
    let mut usage = Vec::from(row.usage);
    if let Some(byte) = usage.get_mut(row.flags_at()) {
        *byte |= disk::protection::usage(device, row);
    }
    if let Some(byte) = usage.get_mut(at) {
        *byte &= !refused;
    }
    // NACA of the CONTROL byte.
    if let Some(byte) = usage.get_mut(row.control_at()) {
        *byte |= 0x04;
    }
    usage
}

/// CDLP with RWCDLP = 1: which mode page has the duration limits of the command.
fn limits_page(row: &CommandRow) -> u8 {
    super::duration::page_of(row)
}

fn cdb_length(row: &CommandRow) -> [u8; 2] {
    u16::try_from(row.usage.len()).unwrap_or(0).to_be_bytes()
}

/// Command timeouts descriptor (SPC-6 6.34.4).
fn timeout_descriptor(row: &CommandRow) -> Vec<u8> {
    let mut descriptor = Vec::from([0x00, 0x0a, 0x00, 0x00]);
    descriptor.extend(row.nominal_seconds.to_be_bytes());
    descriptor.extend(row.recommended_seconds.to_be_bytes());
    descriptor
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, settings};
    use scsi::command::VARIABLE_LENGTH;

    fn query(option: u8, opcode: u8, action: u16) -> [u8; 12] {
        let [high, low] = action.to_be_bytes();
        [0xa3, 0x0c, option, opcode, high, low, 0, 0, 0xff, 0xff, 0, 0]
    }

    /// Operation code, service action and flags of each command in the list.
    fn listed(data: &[u8], len: usize) -> Vec<(u8, u16, u8)> {
        assert_eq!(be32(data, 0), u32::try_from(data.len() - 4).unwrap());
        assert_eq!((data.len() - 4) % len, 0);
        data[4..].chunks(len).map(|it| (it[0], be16(it, 2), it[5])).collect()
    }

    #[test]
    fn the_list_is_what_lookup_finds() {
        for mut bench in [Bench::disk(8), Bench::thin(8), Bench::around(Device::controller(settings()), 0)] {
            let list = listed(&bench.good(&query(0, 0, 0)), 8);
            assert!(list.is_sorted());
            for opcode in 0..=255 {
                for action in 0..32 {
                    let mut cdb = [0; 32];
                    (cdb[0], cdb[1]) = (opcode, action);
                    if opcode == VARIABLE_LENGTH {
                        (cdb[1], cdb[7], cdb[9]) = (0, 24, action);
                    }
                    let found = list.iter().any(|&(it, its, flags)| it == opcode && (flags & 1 == 0 || its == u16::from(action)));
                    assert_eq!(bench.device.lookup(&cdb).is_ok(), found, "{opcode:02x}/{action:02x}");
                }
            }
        }
    }

    #[test]
    fn unmap_is_for_thin_disks() {
        assert!(!listed(&Bench::disk(8).good(&query(0, 0, 0)), 8).iter().any(|it| it.0 == 0x42));
        assert!(listed(&Bench::thin(8).good(&query(0, 0, 0)), 8).iter().any(|it| it.0 == 0x42));
        assert_eq!(Bench::disk(8).good(&query(1, 0x42, 0)), [0, 1, 0, 0]);
        assert_eq!(Bench::disk(8).refused(&[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]), 0x0005_2000);
    }

    #[test]
    fn one_command() {
        let mut bench = Bench::thin(8);
        assert_eq!(bench.good(&query(1, 0x28, 0)), [0, 3, 0, 10, 0x28, 0x18, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 4]);
        assert_eq!(bench.good(&query(2, 0xa3, 0x0d)), [0, 3, 0, 12, 0xa3, 0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4]);
        assert_eq!(bench.good(&query(3, 0x28, 0))[1], 3);
        assert_eq!(bench.good(&query(3, 0x28, 1)), [0, 1, 0, 0]);
        assert_eq!(bench.good(&query(3, 0x9e, 0x12))[1], 3);
        assert_eq!(bench.good(&query(2, 0x9e, 0x1f)), [0, 1, 0, 0]);
        assert_eq!(bench.good(&query(1, 0xff, 0)), [0, 1, 0, 0]);
        assert_eq!(bench.good(&query(2, 0xff, 9)), [0, 1, 0, 0]);
    }

    #[test]
    fn options_that_do_not_fit_the_command() {
        let mut bench = Bench::disk(8);
        for (option, opcode) in [(1, 0x9e), (2, 0x28), (4, 0), (7, 0)] {
            let sense = bench.sense(&query(option, opcode, 0), &[]);
            assert_eq!(sense, scsi::Sense::invalid_cdb_field(2, Some(2)));
        }
    }

    #[test]
    fn timeouts() {
        let mut bench = Bench::disk(8);
        let list = bench.good(&query(0x80, 0, 0));
        assert!(listed(&list, 20).iter().all(|it| it.2 & 2 != 0));
        assert_eq!(list[12..24], [0, 0x0a, 0, 0, 0, 0, 0, 1, 0, 0, 0, 30]);
        let one = bench.good(&query(0x81, 0x35, 0));
        assert_eq!(one[..4], [0, 0x83, 0, 10]);
        assert_eq!(one[14..], [0, 0x0a, 0, 0, 0, 0, 0, 5, 0, 0, 0, 120]);
        assert_eq!(bench.good(&query(0x81, 0x42, 0)), [0, 1, 0, 0]);
    }

    #[test]
    fn usage_hides_what_this_unit_refuses() {
        let byte_1 = |mut bench: Bench, opcode| bench.good(&query(1, opcode, 0))[5];
        assert_eq!(byte_1(Bench::disk(8), 0x93), 0x01);
        assert_eq!(byte_1(Bench::thin(8), 0x93), 0x09);
        assert_eq!(byte_1(Bench::thin(8), 0x42), 0x00);
        assert_eq!(byte_1(Bench::disk(8), 0x55), 0x10);
        assert_eq!(Bench::disk(8).good(&query(1, 0x1b, 0))[8], 0xf5);
        assert_eq!(Bench::removable(8).good(&query(1, 0x1b, 0))[8], 0xf7);
        assert_eq!(Bench::disk(8).good(&query(1, 0x1e, 0))[8], 0x01);
    }

    #[test]
    fn task_management_functions() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.good(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0]), [0xfc, 0x07, 0, 0]);
        let mut extended = [0; 16];
        (extended[0], extended[1], extended[3]) = (0xfc, 0x07, 0x0c);
        assert_eq!(bench.good(&[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 0xff, 0, 0]), extended);
        assert_eq!(bench.refused(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0], &[]), 0x0005_2400);
        assert_eq!(bench.refused(&[0xa3, 0x1f, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0], &[]), 0x0005_2400);
    }
}
