//! READ BUFFER(10) and WRITE BUFFER (SPC-6 6.20, 6.58).
//!
//! There is one data buffer for all, and an echo buffer for each I_T nexus. There is no microcode that could be replaced: the modes for it are refused.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use scsi::{Asc, Outcome, Sense};

use crate::cdb::{bad_field, byte, reply};
use crate::device::Device;

/// Bytes of the data buffer: what one parameter list may hold.
const DATA_CAPACITY: usize = 64 << 10;
/// Bytes of an echo buffer.
const ECHO_CAPACITY: usize = 2048;
/// Nexuses that keep an echo buffer; another one takes the place of the oldest, which then has to write it again.
const MAX_ECHO_BUFFERS: usize = 64;
/// COMMAND SEQUENCE ERROR.
const SEQUENCE_ERROR: Asc = Asc(0x2c00);
/// ECHO BUFFER OVERWRITTEN.
const ECHO_OVERWRITTEN: Asc = Asc(0x3f0f);

const COMBINED: u8 = 0x00;
const DATA: u8 = 0x02;
const DESCRIPTOR: u8 = 0x03;
const ECHO: u8 = 0x0a;
const ECHO_DESCRIPTOR: u8 = 0x0b;
const ERROR_HISTORY: u8 = 0x1c;

/// What the buffers hold.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Empty until the first write: zeros.
    data: Vec<u8>,
    echo: BTreeMap<u64, Vec<u8>>,
}

impl Buffers {
    /// An I_T nexus is gone.
    pub(crate) fn nexus_lost(&mut self, nexus: u64) {
        self.echo.remove(&nexus);
    }
}

/// 24-bit field.
fn be24(cdb: &[u8], at: usize) -> u32 {
    scsi::response::be24(cdb, at).unwrap_or(0)
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// PARAMETER LIST LENGTH of WRITE BUFFER.
pub(super) fn list_length(cdb: &[u8]) -> u32 {
    be24(cdb, 6)
}

/// READ BUFFER.
pub(super) fn read(device: &Device, cdb: &[u8], nexus: u64) -> Outcome {
    let (mode, id, offset, allocation) = (byte(cdb, 1) & 0x1f, byte(cdb, 2), be24(cdb, 3), be24(cdb, 6));
    if byte(cdb, 1) & 0xe0 != 0 {
        return bad_field(1, Some(7));
    }
    let capacity = u32::try_from(DATA_CAPACITY).unwrap_or(u32::MAX).to_be_bytes();
    match mode {
        DESCRIPTOR if id == 0 => reply(vec![0, capacity[1], capacity[2], capacity[3]], allocation),
        DESCRIPTOR => reply(vec![0; 4], allocation),
        COMBINED | DATA if id != 0 => bad_field(2, Some(7)),
        COMBINED | DATA if place(offset) > DATA_CAPACITY || mode == COMBINED && offset != 0 => bad_field(3, Some(7)),
        COMBINED | DATA => {
            let mut data = if mode == COMBINED { vec![0, capacity[1], capacity[2], capacity[3]] } else { Vec::new() };
            let mut kept = device.buffers.data.clone();
            kept.resize(DATA_CAPACITY, 0);
            data.extend(&kept[place(offset)..]);
            reply(data, allocation)
        }
        ECHO => match device.buffers.echo.get(&nexus) {
            Some(echo) => reply(echo.clone(), allocation),
            None => Outcome::check(Sense::illegal(SEQUENCE_ERROR)),
        },
        ECHO_DESCRIPTOR => {
            let [high, low] = u16::try_from(ECHO_CAPACITY).unwrap_or(u16::MAX).to_be_bytes();
            // EBOS: who writes after a stranger is told.
            reply(vec![0x01, 0, high, low], allocation)
        }
        ERROR_HISTORY => error_history(device, id, offset, allocation),
        _ => bad_field(1, Some(4)),
    }
}

/// The directory of an error history without entries, and its release.
fn error_history(device: &Device, id: u8, offset: u32, allocation: u32) -> Outcome {
    match id {
        0x00..=0x03 if offset == 0 => {
            let mut data = Vec::new();
            super::inquiry::padded(&mut data, &device.settings.vendor, 8);
            data.resize(32, 0);
            reply(data, allocation)
        }
        0x00..=0x03 => bad_field(3, Some(7)),
        0xfe | 0xff => Outcome::good(0),
        _ => bad_field(2, Some(7)),
    }
}

/// Fields of WRITE BUFFER.
pub(super) fn check(cdb: &[u8]) -> Result<(), Sense> {
    let (mode, id, offset, length) = (byte(cdb, 1) & 0x1f, byte(cdb, 2), be24(cdb, 3), list_length(cdb));
    let bad = Sense::invalid_cdb_field;
    if byte(cdb, 1) & 0xe0 != 0 {
        return Err(bad(1, Some(7)));
    }
    match mode {
        DATA if id != 0 => Err(bad(2, Some(7))),
        DATA if place(offset) > DATA_CAPACITY => Err(bad(3, Some(7))),
        DATA if place(offset) + place(length) > DATA_CAPACITY => Err(bad(6, Some(7))),
        ECHO if place(length) > ECHO_CAPACITY => Err(bad(6, Some(7))),
        DATA | ECHO => Ok(()),
        _ => Err(bad(1, Some(4))),
    }
}

/// WRITE BUFFER with its data.
pub(super) fn write(device: &mut Device, cdb: &[u8], data: &[u8], nexus: u64) {
    let buffers = &mut device.buffers;
    if byte(cdb, 1) & 0x1f == ECHO {
        if buffers.echo.len() >= MAX_ECHO_BUFFERS && !buffers.echo.contains_key(&nexus) {
            buffers.echo.pop_first();
            device.notify(ECHO_OVERWRITTEN, Some(nexus));
        }
        device.buffers.echo.insert(nexus, Vec::from(data));
        return;
    }
    let offset = place(be24(cdb, 3));
    buffers.data.resize(DATA_CAPACITY, 0);
    for (to, &from) in buffers.data.iter_mut().skip(offset).zip(data) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::Bench;
    use scsi::Status;

    fn read_cdb(mode: u8, offset: u8, allocation: u16) -> [u8; 10] {
        let [high, low] = allocation.to_be_bytes();
        [0x3c, mode, 0, 0, 0, offset, 0, high, low, 0]
    }

    fn write_cdb(mode: u8, offset: u8, length: u16) -> [u8; 10] {
        let [high, low] = length.to_be_bytes();
        [0x3b, mode, 0, 0, 0, offset, 0, high, low, 0]
    }

    #[test]
    fn descriptors() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.good(&read_cdb(3, 0, 4)), [0, 1, 0, 0]);
        assert_eq!(bench.good(&[0x3c, 3, 7, 0, 0, 0, 0, 0, 4, 0]), [0; 4]);
        assert_eq!(bench.good(&read_cdb(0x0b, 0, 9)), [1, 0, 8, 0]);
        assert_eq!(bench.good(&read_cdb(3, 0, 2)), [0, 1]);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.good(&read_cdb(2, 0, 3)), [0; 3]);
        let (outcome, _) = bench.run(&write_cdb(2, 2, 3), &[7, 8, 9]);
        assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 3));
        assert_eq!(bench.good(&read_cdb(2, 1, 5)), [0, 7, 8, 9, 0]);
        assert_eq!(bench.good(&read_cdb(0, 0, 8)), [0, 1, 0, 0, 0, 0, 7, 8]);
        bench.nexus = 2;
        assert_eq!(bench.good(&read_cdb(2, 2, 1)), [7], "one for all");
        bench.good(&write_cdb(2, 0, 0));
    }

    #[test]
    fn echo_is_for_each_nexus() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.refused(&read_cdb(0x0a, 0, 4), &[]), 0x0005_2c00);
        bench.run(&write_cdb(0x0a, 0, 4), &[1, 2, 3, 4]);
        assert_eq!(bench.good(&read_cdb(0x0a, 0, 3)), [1, 2, 3]);
        bench.nexus = 2;
        assert_eq!(bench.refused(&read_cdb(0x0a, 0, 4), &[]), 0x0005_2c00);
        bench.device.nexus_lost(1);
        bench.nexus = 1;
        assert_eq!(bench.refused(&read_cdb(0x0a, 0, 4), &[]), 0x0005_2c00);
        for nexus in 0..100 {
            bench.nexus = nexus;
            bench.run(&write_cdb(0x0a, 0, 1), &[1]);
        }
        assert!(bench.device.buffers.echo.len() <= MAX_ECHO_BUFFERS);
        assert!(bench.device.poll_notice().is_some_and(|notice| notice.asc == ECHO_OVERWRITTEN));
    }

    #[test]
    fn error_history_is_empty() {
        let mut bench = Bench::disk(8);
        let directory = bench.good(&read_cdb(0x1c, 0, 99));
        assert_eq!((directory.len(), &directory[..8], &directory[30..]), (32, &b"IET     "[..], &[0, 0][..]));
        assert_eq!(bench.good(&[0x3c, 0x1c, 0xff, 0, 0, 0, 0, 0, 0, 0]), []);
        assert_eq!(bench.sense(&[0x3c, 0x1c, 0x10, 0, 0, 0, 0, 0, 9, 0], &[]), Sense::invalid_cdb_field(2, Some(7)));
    }

    #[test]
    fn refusals() {
        let mut bench = Bench::disk(8);
        let bad = Sense::invalid_cdb_field;
        for mode in [0x01, 0x04, 0x0f, 0x1f] {
            assert_eq!(bench.sense(&read_cdb(mode, 0, 4), &[]), bad(1, Some(4)), "{mode}");
        }
        for mode in [0x00, 0x04, 0x05, 0x06, 0x07, 0x0d, 0x0e, 0x0f] {
            assert_eq!(bench.sense(&write_cdb(mode, 0, 4), &[0; 4]), bad(1, Some(4)), "no microcode: {mode}");
        }
        assert_eq!(bench.sense(&read_cdb(0x22, 0, 4), &[]), bad(1, Some(7)));
        assert_eq!(bench.sense(&[0x3c, 2, 1, 0, 0, 0, 0, 0, 4, 0], &[]), bad(2, Some(7)));
        assert_eq!(bench.sense(&[0x3c, 2, 0, 1, 0, 1, 0, 0, 4, 0], &[]), bad(3, Some(7)));
        assert_eq!(bench.sense(&[0x3b, 2, 0, 0, 0, 1, 1, 0, 0, 0], &[0; 65536]), bad(6, Some(7)));
        assert_eq!(bench.sense(&write_cdb(0x0a, 0, 2049), &[0; 2049]), bad(6, Some(7)));
        assert_eq!(bench.refused(&write_cdb(2, 0, 4), &[0; 3]), 0x0005_1a00);
    }
}
