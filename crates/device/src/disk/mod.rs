//! Block commands (SBC).
//!
//! Every command has one file with its state machine: what it fetches, what it does to the store, how it ends. This file has what they share:
//! the check of the CDB fields, the range check, the dispatch.

pub mod capacity;
pub mod compare_and_write;
pub(crate) mod defects;
pub(crate) mod erase;
pub mod fault;
pub mod lba_status;
pub mod limits;
pub(crate) mod marked;
pub(crate) mod or_write;
pub(crate) mod protection;
pub mod read_write;
pub(crate) mod scan;
pub(crate) mod streams;
pub mod synchronize;
pub(crate) mod thresholds;
pub mod unmap;
pub mod verify;
pub mod write_same;

use alloc::boxed::Box;

use scsi::command::{Family, Operation};
use scsi::planted::{Bug, is_planted};
use scsi::{Asc, BlockRange, Outcome, Sense};

use crate::cdb::{bad_field, be16};
use crate::device::Device;
use crate::operation::{Request, Step};
use crate::primary;
use crate::progress::State;

/// INVALID FIELD IN COMMAND INFORMATION UNIT: the initiator offers another amount of data than the CDB asks for.
const INVALID_FIELD_IN_INFORMATION_UNIT: Asc = Asc(0x0e03);

/// A piece of the medium, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Fields of block commands: protection information where the medium has it, lengths have limits.
pub(crate) fn check(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    use Operation as Op;
    let cdb = request.cdb;
    match request.row.operation {
        Op::Read6 | Op::Write6 => {
            protection::check(device, request)?;
            check_length(device, request)
        }
        Op::Read10 | Op::Read12 | Op::Read16 | Op::Read32 | Op::Write10 | Op::Write12 | Op::Write16 | Op::Write32 | Op::OrWrite16 => {
            protection::check(device, request)?;
            check_length(device, request)
        }
        Op::OrWrite32 => {
            protection::check(device, request)?;
            or_write::check(cdb)?;
            check_length(device, request)
        }
        Op::Verify10
        | Op::Verify12
        | Op::Verify16
        | Op::Verify32
        | Op::WriteAndVerify10
        | Op::WriteAndVerify12
        | Op::WriteAndVerify16
        | Op::WriteAndVerify32 => {
            protection::check(device, request)?;
            verify::check(request)?;
            check_length(device, request)
        }
        Op::CompareAndWrite => protection::check(device, request),
        Op::WriteAtomic16 | Op::WriteAtomic32 => {
            protection::check(device, request)?;
            check_atomic(device, request)
        }
        Op::WriteStream16 | Op::WriteStream32 => {
            protection::check(device, request)?;
            streams::check_write(device, cdb)?;
            check_length(device, request)
        }
        operation if erase::erases(operation) => erase::check(device, request),
        Op::SanitizeExitFailureMode => erase::check(device, request),
        Op::WriteSame10 | Op::WriteSame16 | Op::WriteSame32 => {
            protection::check(device, request)?;
            write_same::check(device, request)
        }
        Op::Unmap => unmap::check(request),
        Op::ReadCapacity10 => capacity::check(cdb),
        _ => Ok(()),
    }
}

/// Commands that carry the tags of type 2 protection and are there with that type only (SBC-4, READ(32) command and its kin).
pub(crate) fn needs_tags(operation: Operation) -> bool {
    use Operation as Op;
    matches!(operation, Op::Read32 | Op::Verify32 | Op::Write32 | Op::WriteAndVerify32 | Op::WriteSame32 | Op::WriteAtomic32 | Op::WriteStream32)
}

/// MAXIMUM TRANSFER LENGTH of VPD page B0h.
fn check_length(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    let count = device.range(request.row, request.cdb).map_or(0, |range| range.count.0);
    if count > u64::from(device.max_transfer_blocks()) {
        let at = request.row.lba.map_or(0, |field| field.count);
        return Err(bad_field(u16::from(at), Some(7)));
    }
    Ok(())
}

/// MAXIMUM ATOMIC TRANSFER LENGTH of VPD page B0h; there is no boundary to write up to.
fn check_atomic(device: &Device, request: &Request<'_>) -> Result<(), Outcome> {
    // Beyond the end is told before too much.
    span(device, request)?;
    let boundary = if request.row.operation == Operation::WriteAtomic32 { 4 } else { 10 };
    if be16(request.cdb, usize::from(boundary)) != 0 {
        return Err(bad_field(boundary, Some(7)));
    }
    let count = device.range(request.row, request.cdb).map_or(0, |range| range.count.0);
    if count > u64::from(limits::max_atomic_blocks(device.block_size())) {
        let at = request.row.lba.map_or(0, |field| field.count);
        return Err(bad_field(u16::from(at), Some(7)));
    }
    Ok(())
}

/// First step of a command on a disk.
pub(crate) fn begin(device: &mut Device, request: &Request<'_>) -> (State, Step) {
    match first(device, request) {
        Ok(started) => started,
        Err(outcome) => (State::Ended, Step::Finish(outcome)),
    }
}

fn first(device: &mut Device, request: &Request<'_>) -> Result<(State, Step), Outcome> {
    use Operation as Op;
    let operation = request.row.operation;
    let looks =
        matches!(request.row.family, Family::Read | Family::Verify | Family::CompareAndWrite) || matches!(operation, Op::OrWrite16 | Op::OrWrite32);
    if looks && let Some(range) = device.range(request.row, request.cdb) {
        marked::check(device, range)?;
    }
    if erase::erases(operation) {
        let (command, step) = erase::begin(device, request)?;
        return Ok((State::Erase(Box::new(command)), step));
    }
    Ok(match operation {
        Op::Read6 | Op::Read10 | Op::Read12 | Op::Read16 | Op::Read32 => {
            let (command, step) = read_write::read(device, request, span(device, request)?)?;
            (State::Read(command), step)
        }
        Op::OrWrite16 | Op::OrWrite32 => {
            let (command, step) = or_write::begin(device, request, span(device, request)?)?;
            (State::OrWrite(command), step)
        }
        Op::Write6
        | Op::Write10
        | Op::Write12
        | Op::Write16
        | Op::Write32
        | Op::WriteAtomic16
        | Op::WriteAtomic32
        | Op::WriteStream16
        | Op::WriteStream32
        | Op::WriteAndVerify10
        | Op::WriteAndVerify12
        | Op::WriteAndVerify16
        | Op::WriteAndVerify32 => {
            let (command, step) = read_write::write(device, request, span(device, request)?)?;
            (State::Write(command), step)
        }
        Op::Verify10 | Op::Verify12 | Op::Verify16 | Op::Verify32 => {
            let (command, step) = verify::begin(device, request, span(device, request)?)?;
            (State::Verify(command), step)
        }
        Op::CompareAndWrite => {
            let (command, step) = compare_and_write::begin(device, request, span(device, request)?)?;
            (State::CompareAndWrite(command), step)
        }
        Op::WriteSame10 | Op::WriteSame16 | Op::WriteSame32 => {
            let (command, step) = write_same::begin(device, request, span(device, request)?)?;
            (State::WriteSame(command), step)
        }
        Op::Unmap => {
            let (command, step) = unmap::begin(device, request)?;
            (State::Unmap(Box::new(command)), step)
        }
        _ => return without_blocks(device, request),
    })
}

/// The commands that move no blocks.
fn without_blocks(device: &mut Device, request: &Request<'_>) -> Result<(State, Step), Outcome> {
    use Operation as Op;
    Ok(match request.row.operation {
        Op::SynchronizeCache10 | Op::SynchronizeCache16 => synchronize::begin(device, span(device, request)?)?,
        Op::PreFetch10 | Op::PreFetch16 => synchronize::prefetch(span(device, request)?)?,
        Op::GetLbaStatus16 | Op::GetLbaStatus32 => {
            let (command, step) = lba_status::begin(device, request.cdb)?;
            (State::LbaStatus(command), step)
        }
        Op::ReadDefectData10 | Op::ReadDefectData12 => ended(defects::read(device, request.cdb)),
        Op::WriteLong10 | Op::WriteLong16 => ended(marked::write_long(device, request.cdb)),
        Op::StreamControl => ended(streams::control(device, request.cdb)),
        Op::GetStreamStatus => ended(streams::status(device, request.cdb)),
        Op::BackgroundControl => ended(streams::background(device, request.cdb)),
        Op::SanitizeExitFailureMode => ended(erase::exit_failure_mode(device)),
        Op::ReadCapacity10 => ended(capacity::read_capacity_10(device)),
        Op::ReadCapacity16 => ended(capacity::read_capacity_16(device, request.cdb)),
        _ => match primary::begin(device, request) {
            Some(started) => started,
            None => return Err(Outcome::check(Sense::illegal(Asc::INVALID_OPERATION_CODE))),
        },
    })
}

fn ended(outcome: Outcome) -> (State, Step) {
    (State::Ended, Step::Finish(outcome))
}

/// The range check: bytes of the medium that the CDB names, or LOGICAL BLOCK ADDRESS OUT OF RANGE. No blocks at the very end are in range.
fn span(device: &Device, request: &Request<'_>) -> Result<Span, Outcome> {
    match device.range(request.row, request.cdb) {
        Some(range) => byte_span(device, range).map_err(Outcome::check),
        None => Err(Outcome::check(Sense::illegal(Asc::INVALID_FIELD_IN_CDB))),
    }
}

/// Bytes of a range of blocks.
fn byte_span(device: &Device, range: BlockRange) -> Result<Span, Sense> {
    let out_of_range = Sense::illegal(Asc::LBA_OUT_OF_RANGE);
    if !range.within(device.blocks()) {
        return Err(out_of_range);
    }
    let block = device.block_size();
    match (block.offset_of(range.start), block.length_of(range.count)) {
        (Some(offset), Some(len)) => Ok(Span { offset: offset.0, len }),
        _ => Err(out_of_range),
    }
}

/// The span of a command that deallocates or repeats, as it is; one block longer with the planted bug, where the medium has one.
fn exact(device: &Device, span: Span) -> Span {
    let longer = span.len + u64::from(device.block_size().bytes());
    let end = device.blocks() << device.block_size().shift();
    if is_planted(Bug::RangeTooLong) && span.len > 0 && span.offset + longer <= end { Span { len: longer, ..span } } else { span }
}

/// Refuses a command whose data-out is not what the CDB asks for. The outcome tells what would have been taken, so that the residual is right.
fn data_mismatch(wanted: u32) -> Outcome {
    let mut outcome = Outcome::check(Sense::illegal(INVALID_FIELD_IN_INFORMATION_UNIT));
    outcome.data_out = wanted;
    outcome
}

/// A length that the checks have bounded, as the steps carry it. `Err`: it was not bounded.
fn transfer_len(len: u64) -> Result<u32, Outcome> {
    u32::try_from(len).map_err(|_| Outcome::check(Sense::illegal(Asc::INVALID_FIELD_IN_CDB)))
}
