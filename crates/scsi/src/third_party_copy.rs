//! Parameter lists of third-party copy (SPC-6, EXTENDED COPY; SBC-4, POPULATE TOKEN and WRITE USING TOKEN): bytes in, values or sense out.
//!
//! What a list says about its own lengths is never trusted beyond its end. The limits are those that RECEIVE COPY OPERATING PARAMETERS and
//! VPD page 8Fh tell.

use alloc::vec::Vec;

use crate::response::{be16, be24, be32, be64};
use crate::sense::{Asc, Sense};
use crate::types::{BlockCount, BlockRange, DeviceType, Lba};

/// CSCD descriptors in one list.
pub const MAX_CSCDS: u16 = 64;
/// Segment descriptors in one list.
pub const MAX_SEGMENTS: u16 = 256;
/// Bytes of all descriptors of one list: as many of the longest as there may be.
pub const MAX_DESCRIPTOR_BYTES: u32 = MAX_CSCDS as u32 * 32 + MAX_SEGMENTS as u32 * 32;
/// Most bytes one segment can move: all that its fields can say.
pub const MAX_SEGMENT_BYTES: u32 = u32::MAX;
/// Type codes of the descriptors that are understood, ascending: block to block, verify device, block to block with offset, identification.
pub const DESCRIPTOR_TYPES: [u8; 4] = [BLOCK_TO_BLOCK, VERIFY, BYTES_TO_BYTES, IDENTIFICATION];
/// Ranges of one POPULATE TOKEN or WRITE USING TOKEN.
pub const MAX_RANGES: u16 = 64;
/// Bytes of a ROD token.
pub const TOKEN_BYTES: usize = 512;
/// Longest parameter list that can make sense: WRITE USING TOKEN with all its ranges, or a list with all its descriptors.
pub const MAX_LIST_BYTES: u32 = 16 << 10;

/// Index of the unit that got the command, instead of a descriptor.
const THIS_UNIT: u16 = 0xffff;

const BLOCK_TO_BLOCK: u8 = 0x02;
const VERIFY: u8 = 0x07;
const BYTES_TO_BYTES: u8 = 0x0a;
const IDENTIFICATION: u8 = 0xe4;

const TOO_MANY_CSCDS: Asc = Asc(0x2606);
const UNSUPPORTED_CSCD: Asc = Asc(0x2607);
const TOO_MANY_SEGMENTS: Asc = Asc(0x2608);
const UNSUPPORTED_SEGMENT: Asc = Asc(0x2609);
const INLINE_DATA_EXCEEDED: Asc = Asc(0x260b);

/// How a unit is named in an identification descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Designator {
    /// Code set: binary, ASCII, UTF-8.
    pub code_set: u8,
    /// Association: 0 is the logical unit.
    pub association: u8,
    /// Designator type, as in VPD page 83h.
    pub kind: u8,
    length: u8,
    value: [u8; 20],
}

impl Designator {
    /// The bytes of the designator.
    pub fn value(&self) -> &[u8] {
        &self.value[..usize::from(self.length)]
    }
}

/// A CSCD descriptor: a copy source or destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cscd {
    /// NUL: no unit; segments must not use it.
    pub null: bool,
    /// Peripheral device type that the unit must have.
    pub device_type: DeviceType,
    /// Its name.
    pub designator: Designator,
    /// Block length that it must have; 0 says nothing.
    pub block_length: u32,
    /// PAD: what does not fill a block is filled up, or thrown away.
    pub pads: bool,
}

/// Which unit a segment speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The one that got the command.
    ThisUnit,
    /// That of the descriptor with this index, which the list may not have.
    Descriptor(u16),
}

impl End {
    fn of(index: u16) -> End {
        if index == THIS_UNIT { End::ThisUnit } else { End::Descriptor(index) }
    }
}

/// Block to block (type 02h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockCopy {
    /// From where.
    pub source: End,
    /// To where.
    pub destination: End,
    /// DC: the number of blocks counts those of the destination.
    pub counts_destination: bool,
    /// CAT: what does not fill a block is kept for the next segment.
    pub concatenates: bool,
    /// Number of blocks.
    pub blocks: u16,
    /// First block there.
    pub source_lba: u64,
    /// First block here.
    pub destination_lba: u64,
    /// Where the descriptor stands in the list.
    pub place: u16,
}

/// Block to block with offset (type 0Ah): bytes, from a place within a block to a place within a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteCopy {
    /// From where.
    pub source: End,
    /// To where.
    pub destination: End,
    /// Number of bytes.
    pub bytes: u32,
    /// First block there.
    pub source_lba: u64,
    /// Bytes from the beginning of that block.
    pub source_offset: u16,
    /// First block here.
    pub destination_lba: u64,
    /// Bytes from the beginning of that block.
    pub destination_offset: u16,
}

/// A segment descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// Copies blocks.
    Copy(BlockCopy),
    /// Copies bytes.
    CopyBytes(ByteCopy),
    /// Verify device (type 07h): the unit is there, and ready if asked for.
    Verify {
        /// Which unit.
        unit: End,
        /// TUR: with TEST UNIT READY.
        ready: bool,
    },
}

/// A parameter list of EXTENDED COPY.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyList {
    /// LIST IDENTIFIER; `None`: nobody will ask about this copy.
    pub identifier: Option<u32>,
    /// IMMED: answered before the copy has ended.
    pub immediate: bool,
    /// G_SENSE: GOOD brings sense data, which tell how many segments were done.
    pub good_sense: bool,
    /// Copy sources and destinations.
    pub cscds: Vec<Cscd>,
    /// What is to be done.
    pub segments: Vec<Segment>,
}

/// A parameter list of POPULATE TOKEN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PopulateToken {
    /// IMMED.
    pub immediate: bool,
    /// INACTIVITY TIMEOUT in seconds; 0: the default.
    pub inactivity_seconds: u32,
    /// ROD TYPE, when it is valid (RTV).
    pub rod_type: Option<u32>,
    /// Blocks, at least one, in the list's order, each block once.
    pub ranges: Vec<BlockRange>,
}

/// A parameter list of WRITE USING TOKEN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteUsingToken {
    /// IMMED.
    pub immediate: bool,
    /// DEL_TKN: the token is not needed any more.
    pub deletes_token: bool,
    /// Where to begin in the ROD, in blocks of the destination.
    pub offset: u64,
    /// The token.
    pub token: [u8; TOKEN_BYTES],
    /// Blocks to write, in the list's order, each block once.
    pub ranges: Vec<BlockRange>,
}

impl CopyList {
    /// The list of EXTENDED COPY(LID1): a header of 16 bytes, then CSCD descriptors, then segments.
    ///
    /// # Errors
    /// The sense that the standard has for it; nothing was begun.
    pub fn parse_lid1(list: &[u8]) -> Result<CopyList, Sense> {
        let (Some(&[id, flags]), Some(cscd_bytes), Some(segment_bytes), Some(inline)) = (list.get(..2), be16(list, 2), be32(list, 8), be32(list, 12))
        else {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        let identifier = identifier(u32::from(id), flags, 0)?;
        let lengths = Lengths { header: 16, cscds: cscd_bytes, segments: segment_bytes, inline, cscd_field: 2 };
        let (cscds, segments) = lengths.parse(list)?;
        Ok(CopyList { identifier, immediate: false, good_sense: false, cscds, segments })
    }

    /// The list of EXTENDED COPY: a header of 48 bytes, then CSCD descriptors, then segments.
    ///
    /// # Errors
    /// The sense that the standard has for it; nothing was begun.
    pub fn parse(list: &[u8]) -> Result<CopyList, Sense> {
        let (Some(header), Some(id)) = (list.get(..48), be32(list, 20)) else {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        let field = |at: usize| be16(header, at).unwrap_or(0);
        if header[0] != 0x01 {
            return Err(Sense::invalid_parameter_field(0, Some(7)));
        }
        if field(2) != 0x20 {
            return Err(Sense::invalid_parameter_field(2, Some(7)));
        }
        if header[16] != 0xff {
            return Err(Sense::invalid_parameter_field(16, Some(7)));
        }
        let immediate = header[15] & 0x01 != 0;
        let identifier = identifier(id, header[1], 20)?;
        if immediate && identifier.is_none() {
            return Err(Sense::invalid_parameter_field(15, Some(0)));
        }
        let lengths = Lengths { header: 48, cscds: field(42), segments: u32::from(field(44)), inline: u32::from(field(46)), cscd_field: 42 };
        let (cscds, segments) = lengths.parse(list)?;
        Ok(CopyList { identifier, immediate, good_sense: header[15] & 0x02 != 0, cscds, segments })
    }
}

/// LIST ID USAGE: 00b and 10b name a list, 11b does not, and then the identifier is zero.
fn identifier(id: u32, flags: u8, place: u16) -> Result<Option<u32>, Sense> {
    match flags >> 3 & 0x03 {
        0b00 | 0b10 => Ok(Some(id)),
        0b11 if id == 0 => Ok(None),
        0b11 => Err(Sense::invalid_parameter_field(place, Some(7))),
        _ => Err(Sense::invalid_parameter_field(1, Some(4))),
    }
}

/// The lengths in a header.
struct Lengths {
    header: u16,
    cscds: u16,
    segments: u32,
    inline: u32,
    cscd_field: u16,
}

impl Lengths {
    fn parse(&self, list: &[u8]) -> Result<(Vec<Cscd>, Vec<Segment>), Sense> {
        let length_error = Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
        if u32::from(self.cscds).saturating_add(self.segments) > MAX_DESCRIPTOR_BYTES {
            return Err(length_error);
        }
        if self.cscds / 32 > MAX_CSCDS {
            return Err(Sense::illegal(TOO_MANY_CSCDS));
        }
        if !self.cscds.is_multiple_of(32) {
            return Err(Sense::invalid_parameter_field(self.cscd_field, Some(7)));
        }
        if self.inline > 0 {
            return Err(Sense::illegal(INLINE_DATA_EXCEEDED));
        }
        let cscds_end = usize::from(self.header) + usize::from(self.cscds);
        let end = usize::try_from(self.segments).ok().and_then(|segments| cscds_end.checked_add(segments)).ok_or(length_error)?;
        let (Some(cscds), Some(segments)) = (list.get(usize::from(self.header)..cscds_end), list.get(cscds_end..end)) else {
            return Err(length_error);
        };
        let segments = segment_list(segments, cscds_end)?;
        let place = |index: usize| usize::from(self.header) + index * 32;
        let cscds = cscds.chunks_exact(32).enumerate().map(|(index, bytes)| cscd(bytes, place(index))).collect::<Result<_, _>>()?;
        Ok((cscds, segments))
    }
}

/// One CSCD descriptor of 32 bytes, which stands at `place`.
fn cscd(bytes: &[u8], place: usize) -> Result<Cscd, Sense> {
    let field = |at: usize| bytes.get(at).copied().unwrap_or(0);
    if field(0) != IDENTIFICATION {
        return Err(Sense::illegal(UNSUPPORTED_CSCD));
    }
    // LU ID TYPE says how to read a LU IDENTIFIER, which this type of descriptor has not.
    if field(7) > 20 {
        return Err(pointer(place + 7, 7));
    }
    let mut value = [0; 20];
    value.iter_mut().zip(bytes.iter().skip(8)).for_each(|(to, from)| *to = *from);
    let designator = Designator { code_set: field(4) & 0x0f, association: field(5) >> 4 & 0x03, kind: field(5) & 0x0f, length: field(7), value };
    Ok(Cscd {
        null: field(1) & 0x20 != 0,
        device_type: DeviceType(field(1) & 0x1f),
        designator,
        block_length: be24(bytes, 29).unwrap_or(0),
        pads: field(28) & 0x04 != 0,
    })
}

/// The segment descriptors, which begin at `place`.
fn segment_list(mut bytes: &[u8], mut place: usize) -> Result<Vec<Segment>, Sense> {
    let mut segments = Vec::new();
    while !bytes.is_empty() {
        if segments.len() >= usize::from(MAX_SEGMENTS) {
            return Err(Sense::illegal(TOO_MANY_SEGMENTS));
        }
        let (Some(&[kind, flags]), Some(length)) = (bytes.get(..2), be16(bytes, 2)) else {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        let wanted = match kind {
            BLOCK_TO_BLOCK => 0x18,
            VERIFY => 0x08,
            BYTES_TO_BYTES => 0x1c,
            _ => return Err(Sense::illegal(UNSUPPORTED_SEGMENT)),
        };
        if length != wanted {
            return Err(pointer(place + 2, 7));
        }
        let Some((descriptor, rest)) = bytes.split_at_checked(usize::from(length) + 4) else {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        segments.push(segment(kind, flags, descriptor, place));
        place += descriptor.len();
        bytes = rest;
    }
    Ok(segments)
}

fn segment(kind: u8, flags: u8, bytes: &[u8], place: usize) -> Segment {
    let end = |at: usize| End::of(be16(bytes, at).unwrap_or(0));
    if kind == VERIFY {
        return Segment::Verify { unit: end(4), ready: bytes.get(8).is_some_and(|byte| byte & 0x01 != 0) };
    }
    if kind == BYTES_TO_BYTES {
        return Segment::CopyBytes(ByteCopy {
            source: end(4),
            destination: end(6),
            bytes: be32(bytes, 8).unwrap_or(0),
            source_lba: be64(bytes, 12).unwrap_or(0),
            source_offset: be16(bytes, 28).unwrap_or(0),
            destination_lba: be64(bytes, 20).unwrap_or(0),
            destination_offset: be16(bytes, 30).unwrap_or(0),
        });
    }
    Segment::Copy(BlockCopy {
        source: end(4),
        destination: end(6),
        counts_destination: flags & 0x02 != 0,
        concatenates: flags & 0x01 != 0,
        blocks: be16(bytes, 10).unwrap_or(0),
        source_lba: be64(bytes, 12).unwrap_or(0),
        destination_lba: be64(bytes, 20).unwrap_or(0),
        place: saturate(place),
    })
}

impl PopulateToken {
    /// # Errors
    /// The sense that the standard has for it.
    pub fn parse(list: &[u8]) -> Result<PopulateToken, Sense> {
        let (Some(header), Some(inactivity_seconds), Some(rod_type)) = (list.get(..16), be32(list, 4), be32(list, 8)) else {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        let ranges = ranges(list, 14)?;
        Ok(PopulateToken { immediate: header[2] & 0x01 != 0, inactivity_seconds, rod_type: (header[2] & 0x02 != 0).then_some(rod_type), ranges })
    }
}

impl WriteUsingToken {
    /// # Errors
    /// The sense that the standard has for it.
    pub fn parse(list: &[u8]) -> Result<WriteUsingToken, Sense> {
        let (Some(&flags), Some(offset), Some(bytes)) = (list.get(2), be64(list, 8), list.get(16..16 + TOKEN_BYTES)) else {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        let mut token = [0; TOKEN_BYTES];
        token.copy_from_slice(bytes);
        let ranges = ranges(list, 534)?;
        Ok(WriteUsingToken { immediate: flags & 0x01 != 0, deletes_token: flags & 0x02 != 0, offset, token, ranges })
    }
}

/// The block device range descriptors behind their length, which stands at `place`. No block may be named twice.
fn ranges(list: &[u8], place: u16) -> Result<Vec<BlockRange>, Sense> {
    let length_error = Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
    let start = usize::from(place) + 2;
    let (Some(declared), Some(length), Some(rest)) = (be16(list, 0), be16(list, usize::from(place)), list.get(start..)) else {
        return Err(length_error);
    };
    // DATA LENGTH counts what follows it: at least one range must be in it.
    if usize::from(declared) + 2 < start + 16 {
        return Err(Sense::invalid_parameter_field(0, Some(7)));
    }
    if length < 16 || !length.is_multiple_of(16) {
        return Err(Sense::invalid_parameter_field(place, Some(7)));
    }
    let Some(descriptors) = rest.get(..usize::from(length)).filter(|_| usize::from(declared) + 2 >= start + usize::from(length)) else {
        return Err(length_error);
    };
    if length / 16 > MAX_RANGES {
        return Err(Sense::illegal(TOO_MANY_SEGMENTS));
    }
    let mut ranges: Vec<BlockRange> = Vec::with_capacity(descriptors.len() / 16);
    for (index, descriptor) in descriptors.chunks_exact(16).enumerate() {
        let (Some(lba), Some(blocks)) = (be64(descriptor, 0), be32(descriptor, 8)) else { break };
        let range = BlockRange { start: Lba(lba), count: BlockCount(u64::from(blocks)) };
        if ranges.iter().any(|other| overlap(other, &range)) {
            return Err(pointer(start + index * 16, 7));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn overlap(one: &BlockRange, other: &BlockRange) -> bool {
    let end = |range: &BlockRange| range.start.0.saturating_add(range.count.0);
    one.start.0.max(other.start.0) < end(one).min(end(other))
}

fn pointer(place: usize, bit: u8) -> Sense {
    Sense::invalid_parameter_field(saturate(place), Some(bit))
}

fn saturate(place: usize) -> u16 {
    u16::try_from(place).unwrap_or(u16::MAX)
}

#[cfg(test)]
#[path = "third_party_copy_tests.rs"]
mod tests;
