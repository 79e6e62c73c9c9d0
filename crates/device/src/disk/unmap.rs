//! UNMAP (SBC-4 5.34). All descriptors are checked before the first is carried out. Unmapped blocks read as zeros (LBPRZ = 1).

use alloc::vec::Vec;

use scsi::{Asc, Outcome, Sense, parameter_list};

use super::fault::{Access, flush_fault, store_fault, write_error};
use super::limits::{MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS, ZERO_PIECE};
use super::{Span, byte_span, exact};
use crate::cdb::{bad_field, be16, bit, fail};
use crate::device::Device;
use crate::operation::{Request, Step, StoreFault, StoreOp, StoreResult};

/// A running UNMAP.
#[derive(Debug)]
pub(crate) struct Unmap {
    len: u32,
    /// What is left, the next piece last.
    spans: Vec<Span>,
    /// The store cannot deallocate: zeros are written.
    zero: bool,
    stable: bool,
    flushing: bool,
}

/// ANCHOR is not supported, and all of the list must be offered.
pub(super) fn check(request: &Request<'_>) -> Result<(), Outcome> {
    if bit(request.cdb, 1, 0x01) {
        return Err(bad_field(1, Some(0)));
    }
    let len = u32::from(be16(request.cdb, 7));
    if len > request.data_out || (1..8).contains(&len) {
        return Err(Outcome::check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
    }
    Ok(())
}

/// First step. `Err`: it ends at once.
pub(super) fn begin(device: &Device, request: &Request<'_>) -> Result<(Unmap, Step), Outcome> {
    check(request)?;
    let len = u32::from(be16(request.cdb, 7));
    if len == 0 {
        return Err(Outcome::good(0));
    }
    let stable = device.stable(false);
    if stable && device.flush_failed() {
        return Err(Outcome::check(write_error()));
    }
    let command = Unmap { len, spans: Vec::new(), zero: false, stable, flushing: false };
    Ok((command, Step::Fetch { len, inline: true }))
}

impl Unmap {
    pub(crate) fn fetched(&mut self, device: &Device, data: &[u8]) -> Step {
        let data = &data[..data.len().min(usize::try_from(self.len).unwrap_or(usize::MAX))];
        match parse(device, data) {
            Ok(spans) => {
                self.spans = spans;
                self.next()
            }
            Err(sense) => fail(sense, self.len),
        }
    }

    fn next(&mut self) -> Step {
        match self.spans.last() {
            Some(&Span { offset, len }) if self.zero => Step::Store(StoreOp::Zero { offset, len, stable: self.stable }),
            Some(&Span { offset, len }) => Step::Store(StoreOp::Discard { offset, len }),
            None if self.stable && !self.zero && !self.flushing => {
                self.flushing = true;
                Step::Store(StoreOp::Flush { offset: 0, len: 0 })
            }
            None => Step::Finish(Outcome::good(self.len)),
        }
    }

    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        match result {
            Ok(_) => {
                self.spans.pop();
                self.next()
            }
            Err(fault) if self.flushing => fail(flush_fault(device, 0, fault), self.len),
            Err(StoreFault::Unsupported) if !self.zero => {
                self.zero = true;
                self.next()
            }
            Err(fault) => {
                let offset = self.spans.last().map_or(0, |span| span.offset);
                fail(store_fault(device, Access::Write, offset, fault), self.len)
            }
        }
    }
}

/// The descriptors as pieces of the medium, the first one last. The first that is out of range refuses all.
fn parse(device: &Device, list: &[u8]) -> Result<Vec<Span>, Sense> {
    let mut spans = Vec::new();
    for range in parameter_list::unmap(list, MAX_UNMAP_DESCRIPTORS, u64::from(MAX_UNMAP_BLOCKS))? {
        add_pieces(&mut spans, exact(device, byte_span(device, range)?));
    }
    spans.reverse();
    Ok(spans)
}

/// Cuts a span so that an abort can stop between two store operations. The total of the command bounds how many there are.
fn add_pieces(spans: &mut Vec<Span>, mut span: Span) {
    while span.len > 0 {
        let len = span.len.min(ZERO_PIECE);
        spans.push(Span { offset: span.offset, len });
        span = Span { offset: span.offset + len, len: span.len - len };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parameter;
    use crate::tests::bench::{Bench, medium};
    use scsi::Status;
    use std::vec;

    fn list(ranges: &[(u64, u32)]) -> Vec<u8> {
        let len = u16::try_from(ranges.len() * 16).unwrap();
        let mut list = Vec::from((len + 6).to_be_bytes());
        list.extend(len.to_be_bytes());
        list.extend([0; 4]);
        for (lba, blocks) in ranges {
            list.extend(lba.to_be_bytes());
            list.extend(blocks.to_be_bytes());
            list.extend([0; 4]);
        }
        list
    }

    fn cdb(len: usize) -> [u8; 10] {
        let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
        [0x42, 0, 0, 0, 0, 0, 0, high, low, 0]
    }

    #[test]
    fn deallocates_in_order() {
        let mut bench = Bench::thin(64);
        bench.bytes.fill(1);
        let list = list(&[(8, 8), (0, 0), (40, 24)]);
        let (outcome, _) = bench.run(&cdb(list.len()), &list);
        assert_eq!((outcome.status, outcome.sense, outcome.data_out), (Status::GOOD, None, 56));
        assert_eq!(bench.ops, [StoreOp::Discard { offset: 4096, len: 4096 }, StoreOp::Discard { offset: 20480, len: 12288 }]);
        assert_eq!(bench.bytes[4096..8192], [0; 4096]);
        assert_eq!(bench.bytes[8192..20480], [1; 12288]);
    }

    #[test]
    fn a_bad_descriptor_stops_all() {
        let mut bench = Bench::thin(64);
        for bad in [(64, 1), (u64::MAX, 1), (65, 0), (u64::MAX, 0x10_0000 - 1)] {
            let list = list(&[(0, 1), bad]);
            assert_eq!(bench.refused(&cdb(list.len()), &list), 0x0005_2100);
        }
        assert!(bench.ops.is_empty());
    }

    #[test]
    fn limits() {
        let mut bench = Bench::thin(64);
        let many = list(&vec![(0, 1); 257]);
        assert_eq!(bench.refused(&cdb(many.len()), &many), 0x0005_2600);
        let long = list(&[(0, 0x10_0001)]);
        assert_eq!(bench.refused(&cdb(long.len()), &long), 0x0005_2600);
        bench.device.set_medium(Some(medium(1 << 40)));
        let most = list(&vec![(0, 4096); 256]);
        assert_eq!(bench.device.blocks(), 1 << 31);
        assert!(parse(&bench.device, &most).is_ok_and(|spans| spans.len() == 256));
    }

    #[test]
    fn whole_gibibytes() {
        let device = Device::disk(
            crate::UnitSettings { block_size: scsi::BlockSize::B4096, thin: true, ..crate::tests::bench::settings() },
            Some(medium(1 << 40)),
        );
        let spans = parse(&device, &list(&[(1, 0x10_0000)])).unwrap();
        assert_eq!(spans.iter().map(|span| span.len).sum::<u64>(), 1 << 32);
        assert_eq!(spans.last(), Some(&Span { offset: 4096, len: 1 << 30 }));
    }

    #[test]
    fn parameter_list_lengths() {
        let mut bench = Bench::thin(64);
        assert_eq!(bench.good(&cdb(0)), []);
        assert_eq!(bench.refused(&cdb(7), &[0; 7]), 0x0005_1a00);
        assert_eq!(bench.refused(&cdb(24), &[0; 23]), 0x0005_1a00);
        let (outcome, _) = bench.run(&cdb(8), &[0; 8]);
        assert_eq!((outcome.status, outcome.data_out), (Status::GOOD, 8));
        let mut anchor = cdb(0);
        anchor[1] = 1;
        assert_eq!(bench.sense(&anchor, &[]), Sense::invalid_cdb_field(1, Some(0)));
    }

    #[test]
    fn other_stores() {
        let mut bench = Bench::thin(64);
        let list = list(&[(0, 8), (16, 8)]);
        bench.faults.push_back(Some(StoreFault::Unsupported));
        bench.run(&cdb(list.len()), &list);
        assert_eq!(bench.ops[1..], [0, 8192].map(|offset| StoreOp::Zero { offset, len: 4096, stable: false }));
        bench.faults.extend([None, Some(StoreFault::Io { at: None })]);
        assert_eq!(bench.refused(&cdb(list.len()), &list), 0x0003_0c00);
        bench.ops.clear();
        bench.device.set(Parameter::ModePage { page: 8, subpage: 0, size: 18, data: vec![0x10] }).unwrap();
        bench.run(&cdb(list.len()), &list);
        assert_eq!(bench.ops[2..], [StoreOp::Flush { offset: 0, len: 0 }]);
    }
}
