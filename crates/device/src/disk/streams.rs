//! STREAM CONTROL, GET STREAM STATUS, WRITE STREAM(16), BACKGROUND CONTROL (SBC-4 5.32, 5.5, 5.53, 5.2).
//!
//! A stream is a hint which writes belong together; it changes nothing here but must be open to be named. The one advanced background operation is to write
//! the cache out.

use alloc::collections::BTreeSet;
use alloc::vec;

use scsi::command::VARIABLE_LENGTH;
use scsi::{Asc, Outcome, Sense};

use crate::cdb::{bad_field, be16, be32, byte, reply};
use crate::device::Device;

/// Nanoseconds of one unit of BO_TIME.
const TENTH: u64 = 100_000_000;
/// MAXIMUM NUMBER OF STREAMS of VPD page B7h.
pub(crate) const MAX_STREAMS: u16 = 32;

/// Stream identifiers that are open.
#[derive(Clone, Default, Debug)]
pub(crate) struct Streams(BTreeSet<u16>);

/// STREAM CONTROL: 01b opens, 10b closes.
pub(super) fn control(device: &mut Device, cdb: &[u8]) -> Outcome {
    let named = be16(cdb, 4);
    let streams = &mut device.streams.0;
    let assigned = match byte(cdb, 1) >> 5 & 0x03 {
        1 => match (1..=MAX_STREAMS).find(|id| !streams.contains(id)) {
            Some(id) => id,
            None => return Outcome::check(Sense::illegal(Asc::INSUFFICIENT_RESOURCES)),
        },
        2 if streams.remove(&named) => 0,
        2 => return bad_field(4, Some(7)),
        _ => return bad_field(1, Some(6)),
    };
    if assigned != 0 {
        streams.insert(assigned);
    }
    let [high, low] = assigned.to_be_bytes();
    reply(vec![7, 0, 0, 0, high, low, 0, 0], be32(cdb, 10))
}

/// GET STREAM STATUS: the open streams from the one named on.
pub(super) fn status(device: &Device, cdb: &[u8]) -> Outcome {
    let open = u16::try_from(device.streams.0.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut data = vec![0, 0, 0, 0, 0, 0, open[0], open[1]];
    for id in device.streams.0.range(be16(cdb, 4)..) {
        let [high, low] = id.to_be_bytes();
        data.extend([0, 0, high, low, 0, 0, 0, 0]);
    }
    let length = u32::try_from(data.len() - 8).unwrap_or(u32::MAX).to_be_bytes();
    data[..4].copy_from_slice(&length);
    reply(data, be32(cdb, 10))
}

/// WRITE STREAM names an open stream.
pub(super) fn check_write(device: &Device, cdb: &[u8]) -> Result<(), Outcome> {
    let at = if byte(cdb, 0) == VARIABLE_LENGTH { 4 } else { 10 };
    if device.streams.0.contains(&be16(cdb, usize::from(at))) { Ok(()) } else { Err(bad_field(at, Some(7))) }
}

/// BACKGROUND CONTROL: 01b begins to write the cache out, for BO_TIME tenths of a second at most; 10b ends that.
pub(super) fn background(device: &mut Device, cdb: &[u8]) -> Outcome {
    match byte(cdb, 2) >> 6 {
        0 => {}
        1 => {
            let limit = u64::from(byte(cdb, 3)) * TENTH;
            device.errands.set_flush(Some(if limit == 0 { u64::MAX } else { device.now().saturating_add(limit) }));
        }
        2 => device.errands.set_flush(None),
        _ => return bad_field(2, Some(7)),
    }
    Outcome::good(0)
}

impl Streams {
    /// A reset closes them.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, code};
    use scsi::Status;

    fn control(what: u8, id: u8, allocation: u8) -> [u8; 16] {
        [0x9e, what << 5 | 0x14, 0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, allocation, 0, 0]
    }

    const STATUS: [u8; 16] = [0x9e, 0x16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0];

    fn write(id: u8) -> [u8; 16] {
        [0x9a, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, id, 0, 1, 0, 0]
    }

    #[test]
    fn streams_are_opened_written_and_closed() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.good(&control(1, 0, 8)), [7, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(bench.good(&control(1, 0, 6)), [7, 0, 0, 0, 0, 2]);
        assert_eq!(bench.good(&STATUS), [0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(bench.run(&write(2), &[9; 512]).0.status, Status::GOOD);
        assert_eq!(bench.bytes[1536], 9);
        bench.good(&control(2, 2, 8));
        assert_eq!(bench.sense(&write(2), &[9; 512]), Sense::invalid_cdb_field(10, Some(7)));
        assert_eq!(bench.sense(&control(2, 2, 8), &[]), Sense::invalid_cdb_field(4, Some(7)));
        assert_eq!(bench.sense(&control(0, 2, 8), &[]), Sense::invalid_cdb_field(1, Some(6)));
        for _ in 0..31 {
            bench.good(&control(1, 0, 8));
        }
        assert_eq!(code(&bench.sense(&control(1, 0, 8), &[])), 0x0005_5503);
        bench.device.reset();
        assert_eq!(bench.good(&STATUS), [0; 8]);
    }

    #[test]
    fn background_operations() {
        let mut bench = Bench::disk(8);
        for what in 0..3 {
            bench.good(&[0x9e, 0x15, what << 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(bench.refused(&[0x9e, 0x15, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]), 0x0005_2400);
    }
}
