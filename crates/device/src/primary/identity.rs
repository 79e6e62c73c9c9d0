//! What initiators write on a unit, and its clock: identifying information, timestamp, and the security protocols it has, which is none
//! (SPC-6 6.32, 6.36, 6.44, 6.45, 6.40, 6.41).

use alloc::vec;
use alloc::vec::Vec;

use scsi::{Asc, Outcome, Sense};

use crate::cdb::{bad_field, be16, be32, bit, byte, reply};
use crate::device::Device;

/// DEVICE IDENTIFIER CHANGED.
const IDENTIFIER_CHANGED: Asc = Asc(0x3f05);
/// TIMESTAMP CHANGED.
const TIMESTAMP_CHANGED: Asc = Asc(0x2a10);
/// Types of identifying information, and how long each may be.
const TYPES: [(u8, u16); 2] = [(0x00, 64), (0x02, 256)];
/// The list of supported types.
const LIST: u8 = 0x7f;
/// Parameter data of the timestamp commands.
const TIMESTAMP_LEN: u32 = 12;

/// Identifying information by place in [`TYPES`], kept as long as the unit lives.
pub(crate) type Information = [Vec<u8>; 2];

/// The clock of the unit.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Clock {
    /// Milliseconds told by SET TIMESTAMP, and the power on time when it came.
    set: Option<(u64, u64)>,
}

fn kind(cdb: &[u8]) -> u8 {
    byte(cdb, 10) >> 1
}

fn slot(kind: u8) -> Option<usize> {
    TYPES.iter().position(|it| it.0 == kind)
}

/// REPORT IDENTIFYING INFORMATION.
pub(super) fn report_information(device: &Device, cdb: &[u8]) -> Outcome {
    let body: Vec<u8> = match (kind(cdb), slot(kind(cdb))) {
        (_, Some(slot)) => device.information[slot].clone(),
        (LIST, _) => TYPES.iter().flat_map(|&(kind, most)| [kind << 1, 0, most.to_be_bytes()[0], most.to_be_bytes()[1]]).collect(),
        _ => return bad_field(10, Some(7)),
    };
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut data = vec![0, 0, length[0], length[1]];
    data.extend(body);
    reply(data, be32(cdb, 6))
}

/// Fields of SET IDENTIFYING INFORMATION.
pub(super) fn check_information(cdb: &[u8]) -> Result<(), Sense> {
    match TYPES.iter().find(|it| it.0 == kind(cdb)) {
        None => Err(Sense::invalid_cdb_field(10, Some(7))),
        Some(&(_, most)) if be32(cdb, 6) > u32::from(most) => Err(Sense::invalid_cdb_field(6, Some(7))),
        Some(_) => Ok(()),
    }
}

/// SET IDENTIFYING INFORMATION; an empty list removes it.
pub(super) fn set_information(device: &mut Device, cdb: &[u8], list: &[u8], nexus: u64) {
    if let Some(slot) = slot(kind(cdb))
        && device.information[slot] != list
    {
        device.information[slot] = Vec::from(list);
        device.notify(IDENTIFIER_CHANGED, Some(nexus));
    }
}

/// REPORT TIMESTAMP: milliseconds since power on, or since what SET TIMESTAMP said.
pub(super) fn report_timestamp(device: &Device, cdb: &[u8]) -> Outcome {
    let now = device.power_on() / 1_000_000;
    let (origin, time) = match device.clock.set {
        Some((told, at)) => (0x02, told.saturating_add(now.saturating_sub(at))),
        None => (0x00, now),
    };
    let mut data = vec![0x00, 0x0a, origin, 0x00];
    data.extend(&time.to_be_bytes()[2..]);
    data.extend([0, 0]);
    reply(data, be32(cdb, 6))
}

/// SET TIMESTAMP takes twelve bytes, or none and does nothing.
pub(super) fn check_timestamp(cdb: &[u8]) -> Result<(), Sense> {
    if matches!(be32(cdb, 6), 0 | TIMESTAMP_LEN) { Ok(()) } else { Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)) }
}

/// SET TIMESTAMP.
pub(super) fn set_timestamp(device: &mut Device, list: &[u8], nexus: u64) {
    let Some(sent) = list.get(4..10) else { return };
    let told = sent.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    device.clock.set = Some((told, device.power_on() / 1_000_000));
    device.notify(TIMESTAMP_CHANGED, Some(nexus));
}

/// SECURITY PROTOCOL IN: protocol 00h tells that there is no other.
pub(super) fn security_in(cdb: &[u8]) -> Outcome {
    if byte(cdb, 1) != 0 {
        return bad_field(1, Some(7));
    }
    let mut data = match be16(cdb, 2) {
        0x0000 => vec![0, 0, 0, 0, 0, 0, 0, 1, 0x00],
        // An empty certificate, an empty compliance descriptor list.
        0x0001 | 0x0002 => vec![0, 0, 0, 0],
        _ => return bad_field(2, Some(7)),
    };
    let mut allocation = be32(cdb, 6);
    if bit(cdb, 4, 0x80) {
        data.resize(data.len().next_multiple_of(512), 0);
        allocation = allocation.saturating_mul(512);
    }
    reply(data, allocation)
}

/// SECURITY PROTOCOL OUT: there is no protocol that takes something.
pub(super) fn check_security_out() -> Result<(), Sense> {
    Err(Sense::invalid_cdb_field(1, Some(7)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Notice;
    use crate::tests::bench::Bench;

    fn report(bench: &mut Bench, kind: u8) -> Vec<u8> {
        bench.good(&[0xa3, 0x05, 0, 0, 0, 0, 0, 0, 1, 0x40, kind << 1, 0])
    }

    fn set(kind: u8, length: u16) -> [u8; 12] {
        let [high, low] = length.to_be_bytes();
        [0xa4, 0x06, 0, 0, 0, 0, 0, 0, high, low, kind << 1, 0]
    }

    #[test]
    fn identifying_information() {
        let mut bench = Bench::disk(8);
        assert_eq!(report(&mut bench, 0), [0; 4]);
        assert_eq!(report(&mut bench, 0x7f), [0, 0, 0, 8, 0, 0, 0, 64, 4, 0, 1, 0]);
        bench.run(&set(0, 3), b"abc");
        bench.run(&set(2, 2), b"x\0");
        assert_eq!(report(&mut bench, 0), *b"\0\0\0\x03abc");
        assert_eq!(report(&mut bench, 2), *b"\0\0\0\x02x\0");
        assert_eq!(bench.device.poll_notice(), Some(Notice { asc: Asc(0x3f05), except: Some(1) }));
        assert_eq!(bench.good(&[0xa3, 0x05, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0]), *b"\0\0\0\x03a");
        bench.device.reset();
        assert_eq!(report(&mut bench, 0).len(), 7, "a reset does not wipe it");
        bench.good(&set(0, 0));
        assert_eq!(report(&mut bench, 0), [0; 4]);
    }

    #[test]
    fn refused_information() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.sense(&set(1, 1), &[1]), Sense::invalid_cdb_field(10, Some(7)));
        assert_eq!(bench.sense(&set(0, 65), &[1; 65]), Sense::invalid_cdb_field(6, Some(7)));
        assert_eq!(bench.refused(&set(0, 4), &[1; 3]), 0x0005_1a00);
        assert_eq!(bench.sense(&[0xa3, 0x05, 0, 0, 0, 0, 0, 0, 0, 9, 2, 0], &[]), Sense::invalid_cdb_field(10, Some(7)));
    }

    const REPORT: [u8; 12] = [0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0];
    const SET: [u8; 12] = [0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0];

    #[test]
    fn timestamps() {
        let mut bench = Bench::disk(8);
        bench.device.tick(5_000_000_000, true);
        bench.device.tick(5_300_000_000, true);
        assert_eq!(bench.good(&REPORT), [0, 10, 0, 0, 0, 0, 0, 0, 1, 44, 0, 0]);
        bench.run(&SET, &[0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(bench.device.poll_notice(), Some(Notice { asc: Asc(0x2a10), except: Some(1) }));
        bench.device.tick(5_301_000_000, true);
        assert_eq!(bench.good(&REPORT), [0, 10, 2, 0, 1, 0, 0, 0, 0, 2, 0, 0]);
        assert_eq!(bench.good(&[0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]), [0, 10, 2]);
        let mut short = SET;
        short[9] = 11;
        assert_eq!(bench.refused(&short, &[0; 11]), 0x0005_1a00);
        short[9] = 0;
        bench.good(&short);
        assert_eq!(bench.device.poll_notice(), None);
    }

    #[test]
    fn security_protocols() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.good(&[0xa2, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0]), [0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(bench.good(&[0xa2, 0, 0, 1, 0, 0, 0, 0, 0, 99, 0, 0]), [0; 4]);
        let padded = bench.good(&[0xa2, 0, 0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!((padded.len(), padded[7]), (512, 1));
        assert_eq!(bench.sense(&[0xa2, 0, 0, 3, 0, 0, 0, 0, 0, 9, 0, 0], &[]), Sense::invalid_cdb_field(2, Some(7)));
        assert_eq!(bench.sense(&[0xa2, 0x20, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0], &[]), Sense::invalid_cdb_field(1, Some(7)));
        assert_eq!(bench.sense(&[0xb5, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0], &[0; 4]), Sense::invalid_cdb_field(1, Some(7)));
    }
}
