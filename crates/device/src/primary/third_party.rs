//! What a unit tells of its copy manager (SPC-6): VPD page 8Fh and RECEIVE COPY OPERATING PARAMETERS. The copies themselves are the target's.
//!
//! Every limit told here is enforced, by [`scsi::third_party_copy`] for parameter lists and by the target for copies and tokens.

use alloc::vec::Vec;

use scsi::command::{self, Direction, Family, Operation};
use scsi::response::Response;
use scsi::third_party_copy as lists;
use scsi::{BlockSize, DeviceType};

use crate::device::Device;

/// Copies of one unit at a time: each holds a buffer of one piece.
pub const MAX_COPIES: u8 = 16;
/// Point in time copy, change vulnerable: the one ROD type of tokens that are made here. Such a token is void as soon as one of its blocks is written.
pub const ROD_TYPE: u32 = 0x0080_0001;
/// Block device zero: a token that everybody knows.
pub const ZERO_ROD_TYPE: u32 = 0xffff_0001;
/// Bytes of one token, and of one WRITE USING TOKEN: some seconds of a disk's time.
pub const MAX_TOKEN_BYTES: u64 = 1 << 30;
/// Seconds that a token lives at most.
pub const MAX_LIFETIME: u32 = 24 * 60 * 60;
/// Longest INACTIVITY TIMEOUT in seconds.
pub const MAX_INACTIVITY: u32 = 60 * 60;
/// INACTIVITY TIMEOUT in seconds of those who ask for none.
pub const DEFAULT_INACTIVITY: u32 = 5 * 60;
/// Bytes that one token copy had best move.
const OPTIMAL_TOKEN_BYTES: u64 = 64 << 20;

/// Blocks of one token, and of one WRITE USING TOKEN.
pub fn max_token_blocks(block_size: BlockSize) -> u64 {
    MAX_TOKEN_BYTES >> block_size.shift()
}

/// Page 8Fh, without its header.
pub(super) fn page(device: &Device) -> Vec<u8> {
    let mut page = Response::new(u32::MAX);
    descriptor(&mut page, 0x0000, &rod_limits(device));
    descriptor(&mut page, 0x0001, &supported_commands());
    descriptor(&mut page, 0x0004, &parameter_data());
    descriptor(&mut page, 0x0008, &supported_descriptors());
    // The one identifier that stands for no descriptor: FFFFh, this unit.
    descriptor(&mut page, 0x000c, &[0x00, 0x02, 0xff, 0xff]);
    descriptor(&mut page, 0x0106, &token_features());
    descriptor(&mut page, 0x0108, &rod_types());
    descriptor(&mut page, 0x8001, &general_operations(device));
    page.finish()
}

/// Type and length, then the body, filled up to a multiple of four.
fn descriptor(page: &mut Response, kind: u16, body: &[u8]) {
    let length = body.len().next_multiple_of(4);
    page.be16(kind).be16(u16::try_from(length).unwrap_or(u16::MAX)).bytes(body).zeros(length - body.len());
}

fn rod_limits(device: &Device) -> Vec<u8> {
    let shift = device.block_size().shift();
    let mut body = Response::new(u32::MAX);
    body.zeros(6).be16(lists::MAX_RANGES).be32(MAX_INACTIVITY).be32(DEFAULT_INACTIVITY);
    body.be64(MAX_TOKEN_BYTES >> shift).be64(OPTIMAL_TOKEN_BYTES >> shift);
    body.finish()
}

/// The service actions of THIRD-PARTY COPY OUT and IN, as the command table has them.
fn supported_commands() -> Vec<u8> {
    let mut body = Response::new(u32::MAX);
    body.u8(0);
    for opcode in [0x83, 0x84] {
        let actions: Vec<u8> = command::rows_for(DeviceType::DISK)
            .filter(|row| row.opcode == opcode)
            .filter_map(|row| row.service_action.and_then(|action| u8::try_from(action).ok()))
            .collect();
        body.u8(opcode).u8(u8::try_from(actions.len()).unwrap_or(u8::MAX)).bytes(&actions);
    }
    body.length8(0);
    body.finish()
}

fn parameter_data() -> Vec<u8> {
    let mut body = Response::new(u32::MAX);
    body.zeros(4).be16(lists::MAX_CSCDS).be16(lists::MAX_SEGMENTS).be32(lists::MAX_DESCRIPTOR_BYTES).be32(0).zeros(12);
    body.finish()
}

fn supported_descriptors() -> Vec<u8> {
    let mut body = Response::new(u32::MAX);
    body.u8(0).bytes(&lists::DESCRIPTOR_TYPES).length8(0);
    body.finish()
}

/// Tokens of other copy managers mean nothing here.
fn token_features() -> Vec<u8> {
    let mut body = Response::new(u32::MAX);
    body.zeros(12).be32(0).be32(MAX_LIFETIME).be32(MAX_INACTIVITY).zeros(18).be16(48);
    body.zeros(2).be16(0x2c).zeros(2).be16(0);
    body.be64(MAX_TOKEN_BYTES).be64(OPTIMAL_TOKEN_BYTES).be64(OPTIMAL_TOKEN_BYTES).be64(OPTIMAL_TOKEN_BYTES).zeros(8);
    body.finish()
}

/// TOKEN_IN and TOKEN_OUT of the type that is made here, TOKEN_IN of zeros.
fn rod_types() -> Vec<u8> {
    let mut body = Response::new(u32::MAX);
    body.zeros(2).be16(0);
    body.be32(ROD_TYPE).u8(0x03).u8(0).be16(0x8000).zeros(56);
    body.be32(ZERO_ROD_TYPE).u8(0x02).u8(0).be16(0x8000).zeros(56);
    body.length16(2);
    body.finish()
}

fn general_operations(device: &Device) -> Vec<u8> {
    let mut body = Response::new(u32::MAX);
    body.be32(u32::from(MAX_COPIES)).be32(u32::from(MAX_COPIES)).be32(lists::MAX_SEGMENT_BYTES).u8(granularity(device)).zeros(19);
    body.finish()
}

/// DATA SEGMENT GRANULARITY: a block, as a power of two.
fn granularity(device: &Device) -> u8 {
    u8::try_from(device.block_size().shift()).unwrap_or(u8::MAX)
}

impl Device {
    /// RECEIVE COPY OPERATING PARAMETERS, before the cut to the allocation length. Nothing is held, nothing is streamed.
    pub fn copy_operating_parameters(&self) -> Vec<u8> {
        let mut data = Response::new(u32::MAX);
        // SNLID: lists may do without an identifier.
        data.be32(0).u8(0x01).zeros(3);
        data.be16(lists::MAX_CSCDS).be16(lists::MAX_SEGMENTS).be32(lists::MAX_DESCRIPTOR_BYTES).be32(lists::MAX_SEGMENT_BYTES);
        data.zeros(14).be16(u16::from(MAX_COPIES)).u8(MAX_COPIES).u8(granularity(self)).zeros(5);
        data.u8(u8::try_from(lists::DESCRIPTOR_TYPES.len()).unwrap_or(u8::MAX)).bytes(&lists::DESCRIPTOR_TYPES);
        data.length32(0);
        data.finish()
    }
}

/// Does the command belong to third-party copy?
pub fn is_copy(row: &command::CommandRow) -> bool {
    row.family == Family::Copy || row.operation == Operation::CopyOperationAbort || (row.opcode == 0x84 && row.direction == Direction::In)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::Bench;
    use scsi::response::{be16, be32, be64};
    use std::collections::BTreeMap;

    /// The descriptors of the page by type, each with its header.
    fn descriptors(page: &[u8]) -> BTreeMap<u16, Vec<u8>> {
        let mut rest = &page[4..];
        let mut found = BTreeMap::new();
        while let (Some(kind), Some(length)) = (be16(rest, 0), be16(rest, 2)) {
            assert_eq!(length % 4, 0);
            let (descriptor, after) = rest.split_at(usize::from(length) + 4);
            assert!(found.last_key_value().is_none_or(|(last, _)| *last < kind), "ascending");
            found.insert(kind, descriptor.to_vec());
            rest = after;
        }
        assert_eq!(rest, []);
        found
    }

    #[test]
    fn the_page_tells_what_is_there() {
        let page = Bench::disk(8).good(&[0x12, 1, 0x8f, 0x10, 0, 0]);
        let found = descriptors(&page);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 4, 8, 0x0c, 0x106, 0x108, 0x8001]);
        let limits = &found[&0];
        assert_eq!((limits.len(), be16(limits, 10), be32(limits, 12), be32(limits, 16)), (36, Some(64), Some(3600), Some(300)));
        assert_eq!((be64(limits, 20), be64(limits, 28)), (Some(1 << 21), Some(1 << 17)));
        assert_eq!(found[&1][4..22], [17, 0x83, 5, 0, 1, 0x10, 0x11, 0x1c, 0x84, 8, 0, 1, 3, 4, 5, 6, 7, 8]);
        assert_eq!((be16(&found[&4], 2), be16(&found[&4], 8), be16(&found[&4], 10)), (Some(0x1c), Some(64), Some(256)));
        assert_eq!(found[&8][4..], [4, 0x02, 0x07, 0x0a, 0xe4, 0, 0, 0]);
        assert_eq!((found[&0x106].len(), be16(&found[&0x106], 46), be16(&found[&0x106], 50)), (96, Some(48), Some(0x2c)));
        assert_eq!(
            (be32(&found[&0x108], 8), found[&0x108][12], be32(&found[&0x108], 72), found[&0x108][76]),
            (Some(ROD_TYPE), 3, Some(ZERO_ROD_TYPE), 2)
        );
        assert_eq!(be16(&found[&0x108], 6), Some(128));
        assert_eq!((be16(&found[&0x8001], 2), be32(&found[&0x8001], 4), found[&0x8001][16]), (Some(0x20), Some(16), 9));
    }

    #[test]
    fn operating_parameters_agree_with_it() {
        let data = Bench::disk(8).device.copy_operating_parameters();
        assert_eq!((be32(&data, 0), data.len(), data[4]), (Some(44), 48, 1));
        assert_eq!((be16(&data, 8), be16(&data, 10), be32(&data, 12)), (Some(64), Some(256), Some(10240)));
        assert_eq!((be16(&data, 34), data[36], data[37]), (Some(16), 16, 9));
        assert_eq!(data[43..], [4, 0x02, 0x07, 0x0a, 0xe4]);
    }
}
