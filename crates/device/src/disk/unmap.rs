//! UNMAP (SBC-4 5.34). All descriptors are checked before the first is carried out. Unmapped blocks read as zeros (LBPRZ = 1).

use alloc::vec::Vec;

use scsi::{Asc, BlockCount, BlockRange, Lba, Outcome, Sense};

use super::fault::{Access, flush_fault, store_fault, write_error};
use super::limits::{MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS, ZERO_PIECE};
use super::{Span, byte_span};
use crate::cdb::{bad_field, be16, be32, be64, bit, fail};
use crate::device::Device;
use crate::operation::{Request, Step, StoreFault, StoreOp, StoreResult};

/// Bytes before the first descriptor.
const HEADER: usize = 8;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;

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

/// The descriptors as pieces of the medium, the first one last. What follows the last whole descriptor is ignored.
fn parse(device: &Device, data: &[u8]) -> Result<Vec<Span>, Sense> {
    let listed = usize::from(be16(data, 2));
    let Some(list) = data.get(HEADER..).and_then(|rest| rest.get(..listed)) else {
        return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    };
    if u32::try_from(list.len() / DESCRIPTOR).unwrap_or(u32::MAX) > MAX_UNMAP_DESCRIPTORS {
        return Err(Sense::invalid_parameter_field(2, Some(7)));
    }
    let mut spans = Vec::new();
    let mut total = 0_u64;
    for (number, descriptor) in list.chunks_exact(DESCRIPTOR).enumerate() {
        let range = BlockRange { start: Lba(be64(descriptor, 0)), count: BlockCount(u64::from(be32(descriptor, 8))) };
        total += range.count.0;
        if total > u64::from(MAX_UNMAP_BLOCKS) {
            let at = HEADER + number * DESCRIPTOR + 8;
            return Err(Sense::invalid_parameter_field(u16::try_from(at).unwrap_or(u16::MAX), Some(7)));
        }
        add_pieces(&mut spans, byte_span(device, range)?);
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
