//! Sense data (SPC-6 4.4): a value, encoded in fixed or descriptor format.

use alloc::vec::Vec;

use crate::response::{be16, be32, be64};

/// Sense key (SPC-6 4.4.8), 0 to 15.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SenseKey(pub u8);

impl SenseKey {
    /// Nothing to report.
    pub const NO_SENSE: SenseKey = SenseKey(0x0);
    /// Done, with recovery.
    pub const RECOVERED_ERROR: SenseKey = SenseKey(0x1);
    /// The unit cannot be accessed.
    pub const NOT_READY: SenseKey = SenseKey(0x2);
    /// The medium failed.
    pub const MEDIUM_ERROR: SenseKey = SenseKey(0x3);
    /// The hardware failed.
    pub const HARDWARE_ERROR: SenseKey = SenseKey(0x4);
    /// The request is wrong.
    pub const ILLEGAL_REQUEST: SenseKey = SenseKey(0x5);
    /// Something happened that the initiator must know.
    pub const UNIT_ATTENTION: SenseKey = SenseKey(0x6);
    /// Protected against the access.
    pub const DATA_PROTECT: SenseKey = SenseKey(0x7);
    /// Blank or non-blank medium where the other was expected.
    pub const BLANK_CHECK: SenseKey = SenseKey(0x8);
    /// Third-party copy failed.
    pub const COPY_ABORTED: SenseKey = SenseKey(0xa);
    /// The device server aborted the command.
    pub const ABORTED_COMMAND: SenseKey = SenseKey(0xb);
    /// End of partition with data in the buffer.
    pub const VOLUME_OVERFLOW: SenseKey = SenseKey(0xd);
    /// Source and medium differ.
    pub const MISCOMPARE: SenseKey = SenseKey(0xe);
    /// COMPLETED: the sense data tell of a command that ended well.
    pub const COMPLETED: SenseKey = SenseKey(0xf);

    /// Name as in SPC, `None` for values above 15.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0 => "NO SENSE",
            0x1 => "RECOVERED ERROR",
            0x2 => "NOT READY",
            0x3 => "MEDIUM ERROR",
            0x4 => "HARDWARE ERROR",
            0x5 => "ILLEGAL REQUEST",
            0x6 => "UNIT ATTENTION",
            0x7 => "DATA PROTECT",
            0x8 => "BLANK CHECK",
            0x9 => "VENDOR SPECIFIC",
            0xa => "COPY ABORTED",
            0xb => "ABORTED COMMAND",
            0xc => "RESERVED (Ch)",
            0xd => "VOLUME OVERFLOW",
            0xe => "MISCOMPARE",
            0xf => "COMPLETED",
            _ => return None,
        })
    }
}

/// Additional sense code (high byte) and qualifier (low byte) as one number: `0x0c02`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Asc(pub u16);

impl Asc {
    /// NO ADDITIONAL SENSE INFORMATION.
    pub const NONE: Asc = Asc(0x0000);
    /// LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE.
    pub const NOT_READY: Asc = Asc(0x0400);
    /// LOGICAL UNIT IS IN PROCESS OF BECOMING READY.
    pub const BECOMING_READY: Asc = Asc(0x0401);
    /// LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED.
    pub const INITIALIZING_COMMAND_REQUIRED: Asc = Asc(0x0402);
    /// LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED.
    pub const MANUAL_INTERVENTION_REQUIRED: Asc = Asc(0x0403);
    /// WRITE ERROR.
    pub const WRITE_ERROR: Asc = Asc(0x0c00);
    /// WRITE ERROR - AUTO REALLOCATION FAILED.
    pub const WRITE_ERROR_AUTO_REALLOCATION_FAILED: Asc = Asc(0x0c02);
    /// UNRECOVERED READ ERROR.
    pub const UNRECOVERED_READ_ERROR: Asc = Asc(0x1100);
    /// PARAMETER LIST LENGTH ERROR.
    pub const PARAMETER_LIST_LENGTH_ERROR: Asc = Asc(0x1a00);
    /// MISCOMPARE DURING VERIFY OPERATION.
    pub const MISCOMPARE_DURING_VERIFY: Asc = Asc(0x1d00);
    /// INVALID COMMAND OPERATION CODE.
    pub const INVALID_OPERATION_CODE: Asc = Asc(0x2000);
    /// LOGICAL BLOCK ADDRESS OUT OF RANGE.
    pub const LBA_OUT_OF_RANGE: Asc = Asc(0x2100);
    /// INVALID FIELD IN CDB.
    pub const INVALID_FIELD_IN_CDB: Asc = Asc(0x2400);
    /// LOGICAL UNIT NOT SUPPORTED.
    pub const LOGICAL_UNIT_NOT_SUPPORTED: Asc = Asc(0x2500);
    /// INVALID FIELD IN PARAMETER LIST.
    pub const INVALID_FIELD_IN_PARAMETER_LIST: Asc = Asc(0x2600);
    /// INVALID RELEASE OF PERSISTENT RESERVATION.
    pub const INVALID_RELEASE: Asc = Asc(0x2604);
    /// WRITE PROTECTED.
    pub const WRITE_PROTECTED: Asc = Asc(0x2700);
    /// SPACE ALLOCATION FAILED WRITE PROTECT.
    pub const SPACE_ALLOCATION_FAILED: Asc = Asc(0x2707);
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.
    pub const POWER_ON_OR_RESET: Asc = Asc(0x2900);
    /// SAVING PARAMETERS NOT SUPPORTED.
    pub const SAVING_PARAMETERS_NOT_SUPPORTED: Asc = Asc(0x3900);
    /// MEDIUM NOT PRESENT.
    pub const MEDIUM_NOT_PRESENT: Asc = Asc(0x3a00);
    /// MEDIUM REMOVAL PREVENTED.
    pub const MEDIUM_REMOVAL_PREVENTED: Asc = Asc(0x5302);
    /// INTERNAL TARGET FAILURE.
    pub const INTERNAL_TARGET_FAILURE: Asc = Asc(0x4400);
    /// INSUFFICIENT RESOURCES.
    pub const INSUFFICIENT_RESOURCES: Asc = Asc(0x5503);

    /// Additional sense code.
    pub const fn code(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Additional sense code qualifier.
    pub const fn qualifier(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    /// Name as assigned by T10, `None` when not assigned.
    pub fn name(self) -> Option<&'static str> {
        crate::asc::name(self.code(), self.qualifier())
    }
}

/// Points at the wrong field (SPC-6 4.4.2.4.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FieldPointer {
    /// True: the field is in the CDB; false: in the parameter list.
    pub in_cdb: bool,
    /// Byte offset of the field.
    pub byte: u16,
    /// Leftmost bit of the field, 0 to 7, when known.
    pub bit: Option<u8>,
}

/// Sense key specific information.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeySpecific {
    /// ILLEGAL REQUEST: which field.
    Field(FieldPointer),
    /// NOT READY or NO SENSE: progress in 65536ths.
    Progress(u16),
    /// MEDIUM ERROR, HARDWARE ERROR, RECOVERED ERROR: actual retry count.
    Retries(u16),
}

/// Which unit of a third-party copy something came from (SPC-6 4.4.2.8, SENSE DATA SOURCE).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CopyEnd {
    /// The copy source.
    Source,
    /// The copy destination.
    Destination,
}

impl CopyEnd {
    const fn number(self) -> u8 {
        match self {
            CopyEnd::Source => 1,
            CopyEnd::Destination => 2,
        }
    }
}

/// What another unit said when a third-party copy failed there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Forwarded {
    /// Which.
    pub from: CopyEnd,
    /// The status of its command.
    pub status: u8,
    /// Key and code of its sense data, when it had any.
    pub sense: Option<(SenseKey, Asc)>,
    /// INFORMATION of its sense data: the failing LBA.
    pub information: Option<u32>,
}

impl Forwarded {
    /// The other unit's sense data, in the fixed format.
    fn sense_data(&self) -> Option<[u8; 18]> {
        let (key, asc) = self.sense?;
        let mut sense = Sense::new(key, asc);
        sense.information = self.information.map(u64::from);
        Some(sense.encode_fixed())
    }

    fn decode(from: u8, status: u8, bytes: &[u8]) -> Option<Forwarded> {
        let from = [CopyEnd::Source, CopyEnd::Destination].into_iter().find(|end| end.number() == from)?;
        let sense = Sense::decode(bytes);
        let information = sense.and_then(|sense| sense.information).and_then(|number| u32::try_from(number).ok());
        Some(Forwarded { from, status, sense: sense.map(|sense| (sense.key, sense.asc)), information })
    }
}

/// Encoding of sense data (control mode page, D_SENSE).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SenseFormat {
    /// Response codes 70h and 71h.
    #[default]
    Fixed,
    /// Response codes 72h and 73h.
    Descriptor,
}

/// Sense data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code and qualifier.
    pub asc: Asc,
    /// INFORMATION: a failing LBA, a byte offset, a residual. In fixed format dropped (VALID = 0) when above 32 bits.
    pub information: Option<u64>,
    /// COMMAND-SPECIFIC INFORMATION.
    pub command_specific: Option<u64>,
    /// Sense key specific information.
    pub specific: Option<KeySpecific>,
    /// Deferred error: belongs to an earlier command.
    pub deferred: bool,
    /// FILEMARK bit.
    pub filemark: bool,
    /// EOM bit.
    pub end_of_medium: bool,
    /// ILI bit.
    pub incorrect_length: bool,
    /// What another unit said, for COPY ABORTED. COMMAND-SPECIFIC INFORMATION is the number of the segment then, of 16 bits.
    pub forwarded: Option<Forwarded>,
}

impl Sense {
    /// Sense with a key and a code and nothing else.
    pub const fn new(key: SenseKey, asc: Asc) -> Sense {
        Sense {
            key,
            asc,
            information: None,
            command_specific: None,
            specific: None,
            deferred: false,
            filemark: false,
            end_of_medium: false,
            incorrect_length: false,
            forwarded: None,
        }
    }

    /// ILLEGAL REQUEST.
    pub const fn illegal(asc: Asc) -> Sense {
        Sense::new(SenseKey::ILLEGAL_REQUEST, asc)
    }

    /// ILLEGAL REQUEST, INVALID FIELD IN CDB, with a pointer at `byte` (and `bit`).
    pub const fn invalid_cdb_field(byte: u16, bit: Option<u8>) -> Sense {
        let mut sense = Sense::illegal(Asc::INVALID_FIELD_IN_CDB);
        sense.specific = Some(KeySpecific::Field(FieldPointer { in_cdb: true, byte, bit }));
        sense
    }

    /// ILLEGAL REQUEST, INVALID FIELD IN PARAMETER LIST, with a pointer at `byte` (and `bit`).
    pub const fn invalid_parameter_field(byte: u16, bit: Option<u8>) -> Sense {
        let mut sense = Sense::illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST);
        sense.specific = Some(KeySpecific::Field(FieldPointer { in_cdb: false, byte, bit }));
        sense
    }

    /// The same sense with INFORMATION set.
    pub const fn with_information(mut self, information: u64) -> Sense {
        self.information = Some(information);
        self
    }

    /// Bytes of the sense data in `format`: 18 bytes when fixed (and what is forwarded), 8 and descriptors otherwise.
    pub fn encode(&self, format: SenseFormat) -> Vec<u8> {
        match format {
            SenseFormat::Fixed => {
                let mut bytes = self.encode_fixed().to_vec();
                self.forward_fixed(&mut bytes);
                bytes
            }
            SenseFormat::Descriptor => self.encode_descriptor(),
        }
    }

    /// The sense in `bytes`, in either format; `None` when the response code is no sense data or the key and the code are not there.
    /// Keys and codes that nobody assigned are kept. What follows the additional length is ignored, and so is a descriptor that is cut off.
    pub fn decode(bytes: &[u8]) -> Option<Sense> {
        let code = bytes.first()? & 0x7f;
        let declared = bytes.get(7).map_or(usize::MAX, |&length| usize::from(length) + 8);
        let bytes = bytes.get(..declared.min(bytes.len()))?;
        match code {
            FIXED | FIXED_DEFERRED => decode_fixed(bytes),
            DESCRIPTOR | DESCRIPTOR_DEFERRED => decode_descriptor(bytes),
            _ => None,
        }
    }

    fn encode_fixed(&self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[0] = if self.deferred { FIXED_DEFERRED } else { FIXED };
        bytes[2] = self.key.0 & 0x0f | flag(self.filemark, 0x80) | flag(self.end_of_medium, 0x40) | flag(self.incorrect_length, 0x20);
        if let Some(information) = self.information.and_then(|number| u32::try_from(number).ok()) {
            bytes[0] |= VALID;
            bytes[3..7].copy_from_slice(&information.to_be_bytes());
        }
        bytes[7] = 10;
        if let Some(specific) = self.command_specific.and_then(|number| u32::try_from(number).ok()) {
            bytes[8..12].copy_from_slice(&specific.to_be_bytes());
        }
        bytes[12] = self.asc.code();
        bytes[13] = self.asc.qualifier();
        if let Some(specific) = self.specific {
            bytes[15..18].copy_from_slice(&specific.encode());
        }
        bytes
    }

    /// Status and sense data of the other unit stand behind the fixed part; COMMAND-SPECIFIC INFORMATION says where (SPC-6, errors while segments are
    /// processed): its first byte for the source, its second for the destination, then the number of the segment.
    fn forward_fixed(&self, bytes: &mut Vec<u8>) {
        let Some(forwarded) = self.forwarded else { return };
        let place = u8::try_from(bytes.len()).unwrap_or(0);
        bytes[if forwarded.from == CopyEnd::Source { 8 } else { 9 }] = place;
        bytes.push(forwarded.status);
        bytes.extend(forwarded.sense_data().into_iter().flatten());
        bytes[7] = u8::try_from(bytes.len() - 8).unwrap_or(u8::MAX);
    }

    fn encode_descriptor(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        let code = if self.deferred { DESCRIPTOR_DEFERRED } else { DESCRIPTOR };
        bytes.extend_from_slice(&[code, self.key.0 & 0x0f, self.asc.code(), self.asc.qualifier(), 0, 0, 0, 0]);
        if let Some(information) = self.information {
            bytes.extend_from_slice(&[TYPE_INFORMATION, 10, VALID, 0]);
            bytes.extend_from_slice(&information.to_be_bytes());
        }
        if let Some(specific) = self.command_specific {
            bytes.extend_from_slice(&[TYPE_COMMAND_SPECIFIC, 10, 0, 0]);
            bytes.extend_from_slice(&specific.to_be_bytes());
        }
        if let Some(specific) = self.specific {
            let [first, second, third] = specific.encode();
            bytes.extend_from_slice(&[TYPE_KEY_SPECIFIC, 6, 0, 0, first, second, third, 0]);
        }
        if self.filemark || self.end_of_medium {
            let flags = flag(self.filemark, 0x80) | flag(self.end_of_medium, 0x40) | flag(self.incorrect_length, 0x20);
            bytes.extend_from_slice(&[TYPE_STREAM, 2, 0, flags]);
        } else if self.incorrect_length {
            bytes.extend_from_slice(&[TYPE_BLOCK, 2, 0, 0x20]);
        }
        if let Some(forwarded) = self.forwarded {
            let sense = forwarded.sense_data();
            // 20 bytes: the descriptor is a multiple of four long.
            let length = if sense.is_some() { 22 } else { 2 };
            bytes.extend_from_slice(&[TYPE_FORWARDED, length, forwarded.from.number(), forwarded.status]);
            bytes.extend(sense.into_iter().flat_map(|sense| sense.into_iter().chain([0, 0])));
        }
        bytes[7] = u8::try_from(bytes.len() - 8).unwrap_or(u8::MAX);
        bytes
    }
}

impl KeySpecific {
    /// The three bytes of sense key specific information, SKSV set.
    fn encode(self) -> [u8; 3] {
        let (first, number) = match self {
            KeySpecific::Field(field) => {
                let bit = field.bit.map_or(0, |bit| 0x08 | bit & 0x07);
                (flag(field.in_cdb, 0x40) | bit, field.byte)
            }
            KeySpecific::Progress(number) | KeySpecific::Retries(number) => (0, number),
        };
        let [high, low] = number.to_be_bytes();
        [0x80 | first, high, low]
    }

    /// What the three bytes mean under `key`; `None` when SKSV is clear or the key gives them no meaning.
    fn decode(key: SenseKey, bytes: [u8; 3]) -> Option<KeySpecific> {
        let [first, high, low] = bytes;
        let number = u16::from_be_bytes([high, low]);
        if first & 0x80 == 0 {
            return None;
        }
        match key {
            SenseKey::ILLEGAL_REQUEST => {
                let bit = (first & 0x08 != 0).then_some(first & 0x07);
                Some(KeySpecific::Field(FieldPointer { in_cdb: first & 0x40 != 0, byte: number, bit }))
            }
            SenseKey::NO_SENSE | SenseKey::NOT_READY => Some(KeySpecific::Progress(number)),
            SenseKey::RECOVERED_ERROR | SenseKey::MEDIUM_ERROR | SenseKey::HARDWARE_ERROR => Some(KeySpecific::Retries(number)),
            _ => None,
        }
    }
}

const FIXED: u8 = 0x70;
const FIXED_DEFERRED: u8 = 0x71;
const DESCRIPTOR: u8 = 0x72;
const DESCRIPTOR_DEFERRED: u8 = 0x73;
/// VALID, in byte 0 of the fixed format and byte 2 of the information descriptor.
const VALID: u8 = 0x80;
const TYPE_INFORMATION: u8 = 0x00;
const TYPE_COMMAND_SPECIFIC: u8 = 0x01;
const TYPE_KEY_SPECIFIC: u8 = 0x02;
const TYPE_STREAM: u8 = 0x04;
const TYPE_BLOCK: u8 = 0x05;
const TYPE_FORWARDED: u8 = 0x0c;

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn decode_fixed(bytes: &[u8]) -> Option<Sense> {
    let &[code, _, flags, ..] = bytes else { return None };
    let key = SenseKey(flags & 0x0f);
    let asc = be16(bytes, 12).map_or(Asc::NONE, Asc);
    let mut sense = Sense::new(key, asc);
    sense.deferred = code & 0x7f == FIXED_DEFERRED;
    sense.filemark = flags & 0x80 != 0;
    sense.end_of_medium = flags & 0x40 != 0;
    sense.incorrect_length = flags & 0x20 != 0;
    if code & VALID != 0 {
        sense.information = be32(bytes, 3).map(u64::from);
    }
    sense.command_specific = be32(bytes, 8).filter(|&number| number != 0).map(u64::from);
    if key == SenseKey::COPY_ABORTED
        && let Some(&[source, destination, high, low]) = bytes.get(8..12)
        && let (from, place) = if source > 0 { (1, source) } else { (2, destination) }
        && let Some((&status, rest)) = bytes.get(usize::from(place.max(18))..).and_then(<[u8]>::split_first)
    {
        sense.forwarded = Forwarded::decode(from, status, rest);
        sense.command_specific = Some(u64::from(u16::from_be_bytes([high, low])));
    }
    if let Some(&[first, second, third]) = bytes.get(15..18) {
        sense.specific = KeySpecific::decode(key, [first, second, third]);
    }
    Some(sense)
}

fn decode_descriptor(bytes: &[u8]) -> Option<Sense> {
    let &[response, key, code, qualifier, ..] = bytes else { return None };
    let mut sense = Sense::new(SenseKey(key & 0x0f), Asc(u16::from_be_bytes([code, qualifier])));
    sense.deferred = response & 0x7f == DESCRIPTOR_DEFERRED;
    let mut rest = bytes.get(8..).unwrap_or(&[]);
    while let &[kind, length, ..] = rest {
        let Some((descriptor, after)) = rest.split_at_checked(usize::from(length) + 2) else { break };
        sense.take_descriptor(kind, descriptor);
        rest = after;
    }
    Some(sense)
}

impl Sense {
    /// One descriptor of the descriptor format; a kind that is not known, or too short, says nothing.
    fn take_descriptor(&mut self, kind: u8, descriptor: &[u8]) {
        let byte = |at: usize| descriptor.get(at).copied().unwrap_or(0);
        match kind {
            TYPE_INFORMATION if byte(2) & VALID != 0 => self.information = be64(descriptor, 4),
            TYPE_COMMAND_SPECIFIC => self.command_specific = be64(descriptor, 4),
            TYPE_KEY_SPECIFIC => self.specific = KeySpecific::decode(self.key, [byte(4), byte(5), byte(6)]),
            TYPE_STREAM => {
                self.filemark = byte(3) & 0x80 != 0;
                self.end_of_medium = byte(3) & 0x40 != 0;
                self.incorrect_length = byte(3) & 0x20 != 0;
            }
            TYPE_BLOCK => self.incorrect_length = byte(3) & 0x20 != 0,
            TYPE_FORWARDED => self.forwarded = Forwarded::decode(byte(2) & 0x0f, byte(3), descriptor.get(4..).unwrap_or_default()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEDIUM: Sense = Sense::new(SenseKey::MEDIUM_ERROR, Asc::WRITE_ERROR_AUTO_REALLOCATION_FAILED);

    #[test]
    fn fixed_bytes() {
        let bytes = MEDIUM.with_information(0x0102_0304).encode(SenseFormat::Fixed);
        assert_eq!(bytes, [0xf0, 0, 3, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x0c, 0x02, 0, 0, 0, 0]);
        let bytes = Sense::invalid_cdb_field(0x0102, Some(5)).encode(SenseFormat::Fixed);
        assert_eq!(bytes, [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcd, 1, 2]);
        let bytes = Sense::invalid_parameter_field(7, None).encode(SenseFormat::Fixed);
        assert_eq!(bytes, [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x26, 0, 0, 0x80, 0, 7]);
    }

    #[test]
    fn information_above_32_bits_is_not_valid_in_fixed_format() {
        let sense = MEDIUM.with_information(1 << 32);
        assert_eq!(sense.encode(SenseFormat::Fixed)[..7], [0x70, 0, 3, 0, 0, 0, 0]);
        let bytes = sense.encode(SenseFormat::Descriptor);
        assert_eq!(bytes, [0x72, 3, 0x0c, 2, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn descriptor_bytes() {
        assert_eq!(MEDIUM.encode(SenseFormat::Descriptor), [0x72, 3, 0x0c, 2, 0, 0, 0, 0]);
        let mut sense = Sense::invalid_cdb_field(1, Some(7));
        sense.deferred = true;
        sense.incorrect_length = true;
        let bytes = sense.encode(SenseFormat::Descriptor);
        assert_eq!(bytes, [0x73, 5, 0x24, 0, 0, 0, 0, 12, 2, 6, 0, 0, 0xcf, 0, 1, 0, 5, 2, 0, 0x20]);
        sense.end_of_medium = true;
        assert_eq!(sense.encode(SenseFormat::Descriptor)[16..], [4, 2, 0, 0x60]);
    }

    #[test]
    fn what_another_unit_said() {
        let mut sense = Sense::new(SenseKey::COPY_ABORTED, Asc(0x0d01));
        sense.command_specific = Some(3);
        for (from, place) in [(CopyEnd::Source, [18, 0, 0, 3]), (CopyEnd::Destination, [0, 18, 0, 3])] {
            let medium = Some((SenseKey::MEDIUM_ERROR, Asc(0x1100)));
            sense.forwarded = Some(Forwarded { from, status: 2, sense: medium, information: Some(77) });
            let fixed = sense.encode(SenseFormat::Fixed);
            assert_eq!((fixed.len(), fixed[7], fixed[18], fixed[19], fixed[21]), (37, 29, 2, 0xf0, 3));
            assert_eq!(fixed[8..12], place);
            let descriptor = sense.encode(SenseFormat::Descriptor);
            assert_eq!(descriptor[8..20], [1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
            assert_eq!(descriptor[20..25], [0x0c, 22, from.number(), 2, 0xf0]);
            assert_eq!((descriptor.len(), descriptor[7]), (44, 36));
            sense.forwarded = Some(Forwarded { from, status: 0x18, sense: None, information: None });
            let conflict = sense.encode(SenseFormat::Fixed);
            assert_eq!((conflict.len(), conflict[18]), (19, 0x18));
            for bytes in [conflict, sense.encode(SenseFormat::Descriptor)] {
                assert_eq!(Sense::decode(&bytes), Some(sense));
            }
            sense.forwarded = Some(Forwarded { from, status: 2, sense: medium, information: Some(77) });
            for bytes in [fixed, descriptor] {
                assert_eq!(Sense::decode(&bytes), Some(sense));
            }
        }
    }

    #[test]
    fn deferred_and_flags_in_fixed_format() {
        let mut sense = MEDIUM;
        sense.deferred = true;
        sense.filemark = true;
        sense.end_of_medium = true;
        sense.incorrect_length = true;
        let bytes = sense.encode(SenseFormat::Fixed);
        assert_eq!((bytes[0], bytes[2]), (0x71, 0xe3));
    }

    #[test]
    fn decode_refuses_what_is_no_sense() {
        assert_eq!(Sense::decode(&[]), None);
        assert_eq!(Sense::decode(&[0x70]), None);
        assert_eq!(Sense::decode(&[0x7f; 18]), None);
        assert_eq!(Sense::decode(&[0; 18]), None);
        assert_eq!(Sense::decode(&[0x72, 5, 0x24]), None);
    }

    #[test]
    fn decode_keeps_unknown_codes_and_survives_cut_descriptors() {
        let sense = Sense::decode(&[0x72, 0x0f, 0xee, 0xdd, 0, 0, 0, 200, 0x80, 2, 1, 2, 0, 10, 0x80]).unwrap();
        assert_eq!((sense.key, sense.asc, sense.information), (SenseKey(15), Asc(0xeedd), None));
        let mut fixed = MEDIUM.with_information(9).encode(SenseFormat::Fixed);
        fixed[7] = 4;
        assert_eq!(Sense::decode(&fixed).map(|sense| sense.asc), Some(Asc::NONE), "bytes behind the additional length do not count");
    }

    #[test]
    fn names() {
        assert_eq!(SenseKey::MEDIUM_ERROR.name(), Some("MEDIUM ERROR"));
        assert_eq!(SenseKey(0x10).name(), None);
        assert!(Asc(0x0c02).name().is_some());
        assert_eq!(Asc(0xeedd).name(), None);
    }

    prop_compose! {
        fn any_sense()(
            key in 0u8..16, asc: u16, information: Option<u64>, specific: Option<u64>, choice: Option<u16>, bit in proptest::option::of(0u8..8),
            in_cdb: bool, deferred: bool, filemark: bool, end_of_medium: bool, incorrect_length: bool,
        ) -> Sense {
            let specific_of_key = choice.and_then(|number| match key {
                5 => Some(KeySpecific::Field(FieldPointer { in_cdb, byte: number, bit })),
                0 | 2 => Some(KeySpecific::Progress(number)),
                1 | 3 | 4 => Some(KeySpecific::Retries(number)),
                _ => None,
            });
            Sense {
                key: SenseKey(key), asc: Asc(asc), information, command_specific: specific, specific: specific_of_key,
                deferred, filemark, end_of_medium, incorrect_length, forwarded: None,
            }
        }
    }

    proptest! {
        #[test]
        fn descriptor_format_keeps_everything(sense in any_sense()) {
            let bytes = sense.encode(SenseFormat::Descriptor);
            prop_assert_eq!(usize::from(bytes[7]) + 8, bytes.len());
            prop_assert_eq!(Sense::decode(&bytes), Some(sense));
        }

        #[test]
        fn fixed_format_keeps_what_fits(sense in any_sense(), narrow: bool) {
            let mut sense = sense;
            if narrow {
                sense.information = sense.information.map(|number| number >> 32);
                sense.command_specific = sense.command_specific.map(|number| number >> 32);
            }
            let bytes = sense.encode(SenseFormat::Fixed);
            prop_assert_eq!(bytes.len(), 18);
            sense.information = sense.information.filter(|&number| number <= u64::from(u32::MAX));
            sense.command_specific = sense.command_specific.filter(|&number| number != 0 && number <= u64::from(u32::MAX));
            prop_assert_eq!(Sense::decode(&bytes), Some(sense));
        }

        #[test]
        fn any_bytes_decode_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), code in 0x70u8..0x74) {
            let _ = Sense::decode(&bytes);
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = code;
            }
            if let Some(sense) = Sense::decode(&bytes) {
                let again = Sense::decode(&sense.encode(SenseFormat::Descriptor));
                prop_assert_eq!(again, Some(sense));
            }
        }
    }
}
