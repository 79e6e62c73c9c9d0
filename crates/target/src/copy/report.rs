//! Parameter data of THIRD-PARTY COPY IN.

use alloc::vec::Vec;

use scsi::response::Response;
use scsi::third_party_copy::TOKEN_BYTES;
use scsi::{Outcome, SenseFormat};

use super::records::{Record, Stage};

/// TRANSFER COUNT UNITS: bytes, KiB, and blocks.
const IN_BYTES: u8 = 0x00;
const IN_KIBIBYTES: u8 = 0x01;
const IN_BLOCKS: u8 = 0xf1;

/// ESTIMATED STATUS UPDATE DELAY in milliseconds of a copy that runs, and of one that does not.
const RUNNING_DELAY: u32 = 100;
const ENDED_DELAY: u32 = 0xffff_fffe;

/// Bytes of a ROD management token, as REPORT ALL ROD TOKENS tells it: type, identifier, creator and number of bytes. FreeBSD's target has them as long. Without
/// the rest of the token nobody can use it.
const MANAGEMENT_TOKEN: usize = 96;

/// What follows the status and the sense data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tail {
    /// RECEIVE COPY STATUS.
    None,
    /// RECEIVE COPY DATA: nothing is held.
    NoData,
    /// RECEIVE ROD TOKEN INFORMATION.
    Tokens,
}

/// GOOD with the data, cut to the allocation length.
pub(crate) fn cut(mut data: Vec<u8>, allocation: u32) -> Outcome {
    data.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
    Outcome::inline(data)
}

/// RECEIVE COPY STATUS(LID1).
pub(crate) fn status_lid1(record: &Record, allocation: u32) -> Outcome {
    let mut data = Response::new(allocation);
    let status = match record.stage {
        Stage::Foreground | Stage::Background => 0,
        Stage::Done | Stage::Partial => 1,
        Stage::Failed | Stage::Terminated => 2,
    };
    let (unit, count) = match u32::try_from(record.transferred) {
        Ok(bytes) => (IN_BYTES, bytes),
        Err(_) => (IN_KIBIBYTES, u32::try_from(record.transferred >> 10).unwrap_or(u32::MAX)),
    };
    data.be32(0).u8(status).be16(record.segments).u8(unit).be32(count).length32(0);
    Outcome::inline(data.finish())
}

/// RECEIVE COPY FAILURE DETAILS(LID1): nothing when the copy did not fail.
pub(crate) fn failure_details(record: &Record, format: SenseFormat, allocation: u32) -> Outcome {
    let mut data = Response::new(allocation);
    data.be32(0);
    if let (Stage::Failed, Some(sense)) = (record.stage, record.sense) {
        let sense = sense.encode(format);
        data.zeros(52).u8(record.status.0).u8(0).be16(u16::try_from(sense.len()).unwrap_or(u16::MAX)).bytes(&sense);
        data.length32(0);
    }
    Outcome::inline(data.finish())
}

/// RECEIVE COPY STATUS and its kin.
pub(crate) fn status(record: &Record, format: SenseFormat, tail: Tail, allocation: u32) -> Outcome {
    let mut data = Response::new(allocation);
    let sense = record.sense.map(|sense| sense.encode(format)).unwrap_or_default();
    let length = u8::try_from(sense.len()).unwrap_or(u8::MAX);
    let (unit, delay) = (if record.in_blocks { IN_BLOCKS } else { IN_BYTES }, if record.is_running() { RUNNING_DELAY } else { ENDED_DELAY });
    data.be32(0).u8(record.action).u8(record.stage.number()).be16(record.counter).be32(delay);
    data.u8(record.status.0).u8(length).u8(length).u8(unit).be64(record.transferred).be16(record.segments).zeros(6);
    data.bytes(&sense);
    match tail {
        Tail::None => {}
        Tail::NoData => drop(data.be32(0)),
        Tail::Tokens => {
            let at = data.len();
            data.be32(0);
            if let Some(token) = &record.token {
                data.be16(0).bytes(&token[..]);
            }
            data.length32(at);
        }
    }
    data.length32(0);
    Outcome::inline(data.finish())
}

/// REPORT ALL ROD TOKENS.
pub(crate) fn all_tokens<'a>(tokens: impl Iterator<Item = &'a [u8; TOKEN_BYTES]>, allocation: u32) -> Outcome {
    let mut data = Response::new(allocation);
    data.be32(0).zeros(4);
    for token in tokens {
        data.bytes(&token[..MANAGEMENT_TOKEN]);
    }
    data.length32(0);
    Outcome::inline(data.finish())
}
