//! One row per command. Dispatch, REPORT SUPPORTED OPERATION CODES, reservation classes, fault matching, statistics and the docs all read it.
//!
//! A bit of a row's usage mask that is 0 is a bit the device server does not look at; what it does look at, and refuse when it is not
//! supported, is 1. The CONTROL byte is 0 in every row: NACA means the same in all of them, and is added where masks are reported.

use crate::rows;
use crate::types::{BlockCount, BlockRange, DeviceType, Lba};

/// Service action field of CDB byte 1.
const SERVICE_ACTION: u8 = 0x1f;
/// Operation code of the CDBs that tell their length: the service action has 16 bits there, and the CONTROL byte is the second.
pub const VARIABLE_LENGTH: u8 = 0x7f;
/// ADDITIONAL CDB LENGTH of a variable length CDB counts the bytes behind this many.
const VARIABLE_HEAD: usize = 8;

/// Which way data travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// No data.
    None,
    /// To the initiator.
    In,
    /// From the initiator.
    Out,
}

/// One variant per row: what dispatch matches on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum Operation {
    TestUnitReady,
    FormatUnit,
    RequestSense,
    Read6,
    Write6,
    Inquiry,
    ModeSelect6,
    Reserve6,
    Release6,
    ModeSense6,
    StartStopUnit,
    PreventAllowMediumRemoval,
    ReadCapacity10,
    Read10,
    Write10,
    WriteAndVerify10,
    Verify10,
    PreFetch10,
    SynchronizeCache10,
    ReceiveDiagnosticResults,
    SendDiagnostic,
    ReassignBlocks,
    ReadDefectData10,
    WriteLong10,
    SanitizeOverwrite,
    SanitizeBlockErase,
    SanitizeCryptographicErase,
    SanitizeExitFailureMode,
    OrWrite16,
    WriteStream16,
    WriteAtomic16,
    StreamControl,
    BackgroundControl,
    GetStreamStatus,
    WriteLong16,
    WriteBuffer,
    ReadBuffer,
    LogSelect,
    LogSense,
    WriteSame10,
    Unmap,
    ModeSelect10,
    Reserve10,
    Release10,
    ModeSense10,
    PersistentReserveInReadKeys,
    PersistentReserveInReadReservation,
    PersistentReserveInReportCapabilities,
    PersistentReserveInReadFullStatus,
    PersistentReserveOutRegister,
    PersistentReserveOutReserve,
    PersistentReserveOutRelease,
    PersistentReserveOutClear,
    PersistentReserveOutPreempt,
    PersistentReserveOutPreemptAndAbort,
    PersistentReserveOutRegisterAndIgnore,
    PersistentReserveOutRegisterAndMove,
    PersistentReserveOutReplaceLostReservation,
    ExtendedCopyLid1,
    ExtendedCopy,
    PopulateToken,
    WriteUsingToken,
    CopyOperationAbort,
    ReceiveCopyStatusLid1,
    ReceiveCopyDataLid1,
    ReceiveCopyOperatingParameters,
    ReceiveCopyFailureDetailsLid1,
    ReceiveCopyStatus,
    ReceiveCopyData,
    ReceiveRodTokenInformation,
    ReportAllRodTokens,
    Read16,
    CompareAndWrite,
    Write16,
    WriteAndVerify16,
    Verify16,
    PreFetch16,
    SynchronizeCache16,
    WriteSame16,
    ReadCapacity16,
    GetLbaStatus16,
    ReportLuns,
    SecurityProtocolIn,
    ReportIdentifyingInformation,
    ReportTimestamp,
    SetIdentifyingInformation,
    SetTimestamp,
    SecurityProtocolOut,
    ReadDefectData12,
    ReportTargetPortGroups,
    SetTargetPortGroups,
    ReportSupportedOperationCodes,
    ReportSupportedTaskManagementFunctions,
    Read12,
    Write12,
    WriteAndVerify12,
    Verify12,
    Read32,
    Verify32,
    Write32,
    WriteAndVerify32,
    WriteSame32,
    OrWrite32,
    WriteAtomic32,
    WriteStream32,
    GetLbaStatus32,
}

/// Families that fault rules and statistics can name: `READ` is every READ(n).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum Family {
    Read,
    Write,
    Verify,
    WriteAndVerify,
    Synchronize,
    Unmap,
    WriteSame,
    CompareAndWrite,
    PreFetch,
    /// What begins a third-party copy.
    Copy,
    Other,
}

/// How a persistent reservation of another nexus treats the command (SPC-6 table of 5.14, SBC-4 table of 4.17).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReservationClass {
    /// Never conflicts.
    Allowed,
    /// Conflicts with exclusive access types only: reads the medium.
    Read,
    /// Conflicts with write exclusive and exclusive access types.
    Write,
    /// Decided by the command's own rules: PERSISTENT RESERVE OUT, RESERVE and RELEASE; START STOP UNIT (START = 1 with POWER CONDITION = 0 is
    /// allowed, anything else is class `Write`); PREVENT ALLOW MEDIUM REMOVAL (PREVENT = 0 is allowed, anything else is class `Write`).
    Special,
}

/// What a pending unit attention does to the command (SPC-6 5.x, SAM-5 5.14).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnitAttentionClass {
    /// CHECK CONDITION with the unit attention.
    Report,
    /// Runs, and leaves the unit attention pending (INQUIRY).
    Bypass,
    /// Runs, and clears REPORTED LUNS DATA HAS CHANGED (REPORT LUNS).
    ReportLuns,
    /// Returns the unit attention as parameter data (REQUEST SENSE).
    RequestSense,
}

/// Where LBA and length stand in the CDB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LbaField {
    /// Byte of the LBA.
    pub lba: u8,
    /// Bytes of the LBA (3 means 21 bits, READ(6)).
    pub lba_len: u8,
    /// Byte of the number of blocks.
    pub count: u8,
    /// Bytes of the number of blocks.
    pub count_len: u8,
    /// Blocks meant by a zero count: 256 for the six-byte CDBs, otherwise 0.
    pub zero_means: u32,
}

/// One command of one or more device types.
#[derive(Clone, Copy, Debug)]
pub struct CommandRow {
    /// Dispatch key.
    pub operation: Operation,
    /// Name as in the standard: `READ(10)`.
    pub name: &'static str,
    /// Word of the fault grammar: `READ10`.
    pub word: &'static str,
    /// Family of the fault grammar and of statistics.
    pub family: Family,
    /// Operation code, CDB byte 0.
    pub opcode: u8,
    /// Service action, where the opcode has them.
    pub service_action: Option<u16>,
    /// Device types that have the command.
    pub device_types: &'static [DeviceType],
    /// CDB USAGE DATA of REPORT SUPPORTED OPERATION CODES; its length is the CDB length.
    pub usage: &'static [u8],
    /// Data direction. VERIFY and WRITE SAME are `Out` although a CDB of theirs may move no data (BYTCHK = 0, NDOB = 1).
    pub direction: Direction,
    /// Reservation class.
    pub reservation: ReservationClass,
    /// Unit attention class.
    pub unit_attention: UnitAttentionClass,
    /// LBA and length fields, for commands that address the medium.
    pub lba: Option<LbaField>,
    /// Refused with NOT READY when the unit is offline or has no medium.
    pub needs_medium: bool,
    /// Refused with WRITE PROTECTED on a protected unit.
    pub writes: bool,
    /// Nominal command processing time in seconds (timeouts descriptor of REPORT SUPPORTED OPERATION CODES).
    pub nominal_seconds: u32,
    /// Recommended command timeout in seconds (same descriptor).
    pub recommended_seconds: u32,
    /// Clause, for the docs.
    pub clause: &'static str,
}

/// Why no row fits a CDB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// 5/2000.
    InvalidOperationCode,
    /// 5/2400 at the service action field.
    InvalidServiceAction,
    /// ADDITIONAL CDB LENGTH is not the one of the service action: 5/2400 at that byte.
    InvalidLength,
    /// The CDB is shorter than its operation code demands: 5/2400.
    TooShort,
}

impl CommandRow {
    /// Place of the byte that has the protection field, DPO, FUA, BYTCHK, ANCHOR and UNMAP in the block commands.
    pub const fn flags_at(&self) -> usize {
        if self.opcode == VARIABLE_LENGTH { 10 } else { 1 }
    }

    /// Place of the CONTROL byte.
    pub const fn control_at(&self) -> usize {
        if self.opcode == VARIABLE_LENGTH { 1 } else { self.usage.len().saturating_sub(1) }
    }

    /// The block range the CDB names, when the row has one. `cdb` must be at least as long as the row says; `None` otherwise.
    pub fn range(&self, cdb: &[u8]) -> Option<BlockRange> {
        let field = self.lba?;
        let number = |at: u8, len: u8| -> Option<u64> {
            let at = usize::from(at);
            let bytes = cdb.get(at..at + usize::from(len))?;
            Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
        };
        let mut start = number(field.lba, field.lba_len)?;
        if field.lba_len == 3 {
            start &= 0x1f_ffff;
        }
        let mut count = number(field.count, field.count_len)?;
        if count == 0 {
            count = u64::from(field.zero_means);
        }
        Some(BlockRange { start: Lba(start), count: BlockCount(count) })
    }
}

/// All rows, in order of opcode and service action.
pub static ROWS: &[CommandRow] = &rows::TABLE;

/// The row for `cdb` on a device of `device_type`.
#[inline]
pub fn lookup(device_type: DeviceType, cdb: &[u8]) -> Result<&'static CommandRow, Refusal> {
    let &opcode = cdb.first().ok_or(Refusal::TooShort)?;
    let mut refusal = Refusal::InvalidOperationCode;
    for row in by_opcode(opcode) {
        if !row.device_types.contains(&device_type) {
            continue;
        }
        if let Some(action) = row.service_action
            && service_action(cdb).ok_or(Refusal::TooShort)? != action
        {
            refusal = Refusal::InvalidServiceAction;
            continue;
        }
        let told = cdb.get(VARIABLE_HEAD - 1).copied().filter(|_| opcode == VARIABLE_LENGTH);
        if told.is_some_and(|told| usize::from(told) + VARIABLE_HEAD != row.usage.len()) {
            return Err(Refusal::InvalidLength);
        }
        return if cdb.len() < row.usage.len() { Err(Refusal::TooShort) } else { Ok(row) };
    }
    Err(refusal)
}

/// What the CDB says where a service action would stand: five bits of byte 1, or bytes 8 and 9 of a variable length CDB. `None`: it ends before.
#[inline]
pub fn service_action(cdb: &[u8]) -> Option<u16> {
    match cdb {
        [VARIABLE_LENGTH, ..] => Some(u16::from_be_bytes([*cdb.get(8)?, *cdb.get(9)?])),
        _ => cdb.get(1).map(|field| u16::from(field & SERVICE_ACTION)),
    }
}

/// Writes the operation code of a row, its service action and, in a variable length CDB, the length: what a CDB needs to be found.
pub fn head(row: &CommandRow, cdb: &mut [u8]) {
    let mut put = |at: usize, keep: u8, value: u8| {
        if let Some(byte) = cdb.get_mut(at) {
            *byte = *byte & keep | value;
        }
    };
    put(0, 0, row.opcode);
    let [high, low] = row.service_action.unwrap_or(0).to_be_bytes();
    if row.opcode == VARIABLE_LENGTH {
        put(VARIABLE_HEAD - 1, 0, u8::try_from(row.usage.len() - VARIABLE_HEAD).unwrap_or(u8::MAX));
        put(8, 0, high);
        put(9, 0, low);
    } else if row.service_action.is_some() {
        put(1, !SERVICE_ACTION, low);
    }
}

/// Rows of one operation code, of every device type, in order of service action.
#[inline]
pub fn by_opcode(opcode: u8) -> &'static [CommandRow] {
    let (first, count) = rows::BY_OPCODE[usize::from(opcode)];
    let first = usize::from(first);
    ROWS.get(first..first + usize::from(count)).unwrap_or(&[])
}

/// Rows that a device of `device_type` has, in order of opcode and service action.
pub fn rows_for(device_type: DeviceType) -> impl Iterator<Item = &'static CommandRow> {
    ROWS.iter().filter(move |row| row.device_types.contains(&device_type))
}

/// First row of an operation.
pub fn by_operation(operation: Operation) -> Option<&'static CommandRow> {
    ROWS.iter().find(|row| row.operation == operation)
}

/// The row with this word, in any case; a word that a disk and a controller share names the disk's. `SYNC10` and `SYNC16` are short for
/// `SYNCHRONIZE_CACHE10` and `SYNCHRONIZE_CACHE16`.
pub fn by_word(word: &str) -> Option<&'static CommandRow> {
    let word = match word {
        short if short.eq_ignore_ascii_case("SYNC10") => "SYNCHRONIZE_CACHE10",
        short if short.eq_ignore_ascii_case("SYNC16") => "SYNCHRONIZE_CACHE16",
        word => word,
    };
    ROWS.iter().find(|row| row.word.eq_ignore_ascii_case(word))
}

impl Family {
    /// Families that have a word, in alphabetical order of the words.
    pub const NAMED: [Family; 10] = [
        Family::CompareAndWrite,
        Family::Copy,
        Family::PreFetch,
        Family::Read,
        Family::Synchronize,
        Family::Unmap,
        Family::Verify,
        Family::Write,
        Family::WriteAndVerify,
        Family::WriteSame,
    ];

    /// Word of the fault grammar: `READ` is every READ(n). `OTHER` is no word of the grammar.
    pub const fn word(self) -> &'static str {
        match self {
            Family::Read => "READ",
            Family::Write => "WRITE",
            Family::Verify => "VERIFY",
            Family::WriteAndVerify => "WRITE_AND_VERIFY",
            Family::Synchronize => "SYNC",
            Family::Unmap => "UNMAP",
            Family::WriteSame => "WRITE_SAME",
            Family::CompareAndWrite => "COMPARE_AND_WRITE",
            Family::PreFetch => "PRE_FETCH",
            Family::Copy => "COPY",
            Family::Other => "OTHER",
        }
    }

    /// The family with this word, in any case; `SYNCHRONIZE_CACHE` is the long form of `SYNC`.
    pub fn by_word(word: &str) -> Option<Family> {
        if word.eq_ignore_ascii_case("SYNCHRONIZE_CACHE") {
            return Some(Family::Synchronize);
        }
        Family::NAMED.into_iter().find(|family| family.word().eq_ignore_ascii_case(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    /// Length of a CDB by the group in its operation code (SPC-6, fixed-length CDBs).
    fn group_length(opcode: u8) -> usize {
        match opcode >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            5 => 12,
            3 => 32,
            group => panic!("no fixed length in group {group}"),
        }
    }

    #[test]
    fn usage_masks_fit_their_rows() {
        for row in ROWS {
            assert_eq!(row.usage.len(), group_length(row.opcode), "{}", row.name);
            assert_eq!(row.usage[0], row.opcode, "{}", row.name);
            assert_eq!(row.usage[row.control_at()], 0, "{}: CONTROL", row.name);
            if let Some(action) = row.service_action {
                assert_eq!(service_action(row.usage), Some(action), "{}", row.name);
            }
            assert!(row.recommended_seconds >= row.nominal_seconds && row.nominal_seconds > 0, "{}", row.name);
            assert!(row.clause.starts_with('S'), "{}", row.name);
        }
    }

    #[test]
    fn every_row_is_found_by_its_own_cdb() {
        for row in ROWS {
            for &device_type in row.device_types {
                let mut cdb = vec![0; row.usage.len()];
                head(row, &mut cdb);
                assert!(core::ptr::eq(lookup(device_type, &cdb).unwrap(), row), "{}", row.name);
                cdb.pop();
                assert_eq!(lookup(device_type, &cdb).unwrap_err(), Refusal::TooShort);
            }
        }
    }

    #[test]
    fn order_words_and_operations() {
        assert!(ROWS.windows(2).all(|pair| (pair[0].opcode, pair[0].service_action) <= (pair[1].opcode, pair[1].service_action)));
        for device_type in [DeviceType::DISK, DeviceType::CONTROLLER, DeviceType::WELL_KNOWN] {
            let words: Vec<&str> = rows_for(device_type).map(|row| row.word).collect();
            assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
            let keys: BTreeSet<_> = rows_for(device_type).map(|row| (row.opcode, row.service_action)).collect();
            assert_eq!(keys.len(), words.len());
        }
        let disk: BTreeSet<Operation> = rows_for(DeviceType::DISK).map(|row| row.operation).collect();
        assert_eq!(disk.len(), rows_for(DeviceType::DISK).count());
        assert_eq!(disk.len(), 106, "one row for every operation");
        for &operation in &disk {
            assert_eq!(by_operation(operation).map(|row| row.operation), Some(operation));
        }
    }

    #[test]
    fn lba_fields_lie_inside_the_mask() {
        for row in ROWS {
            let Some(field) = row.lba else { continue };
            let lba = usize::from(field.lba)..usize::from(field.lba + field.lba_len);
            let count = usize::from(field.count)..usize::from(field.count + field.count_len);
            for (at, &mask) in row.usage.iter().enumerate() {
                if lba.contains(&at) || count.contains(&at) {
                    let wanted = if field.lba_len == 3 && at == 1 { 0x1f } else { 0xff };
                    assert_eq!(mask, wanted, "{} byte {at}", row.name);
                }
            }
            assert!(row.needs_medium, "{}", row.name);
        }
    }

    #[test]
    fn writers_conflict_as_writers() {
        for row in ROWS.iter().filter(|row| row.writes) {
            assert_eq!(row.reservation, ReservationClass::Write, "{}", row.name);
            assert!(row.needs_medium);
        }
        for operation in [Operation::Unmap, Operation::WriteSame16, Operation::WriteAndVerify10, Operation::CompareAndWrite] {
            assert!(by_operation(operation).is_some_and(|row| row.writes), "{operation:?}");
        }
        assert!(by_operation(Operation::SynchronizeCache10).is_some_and(|row| !row.writes));
    }

    #[test]
    fn ranges() {
        let range = |cdb: &[u8]| {
            let range = lookup(DeviceType::DISK, cdb).ok().and_then(|row| row.range(cdb));
            range.map(|range| (range.start.0, range.count.0))
        };
        assert_eq!(range(&[0x08, 0xff, 0xff, 0xff, 0, 0]), Some((0x1f_ffff, 256)));
        assert_eq!(range(&[0x0a, 0, 0, 5, 3, 0]), Some((5, 3)));
        assert_eq!(range(&[0x2a, 0, 1, 2, 3, 4, 0xff, 5, 6, 0]), Some((0x0102_0304, 0x0506)));
        assert_eq!(range(&[0xa8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]), Some((0x0102_0304, 0x0506_0708)));
        assert_eq!(range(&[0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0]), Some((0x0102_0304_0506_0708, 0x090a_0b0c)));
        assert_eq!(range(&[0x89, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0]), Some((0x0102_0304_0506_0708, 12)));
        assert_eq!(range(&[0x12, 0, 0, 0, 36, 0]), None);
        let mut long: Vec<u8> = (0..32).collect();
        (long[0], long[7], long[8], long[9]) = (0x7f, 0x18, 0, 9);
        assert_eq!(range(&long), Some((0x0c0d_0e0f_1011_1213, 0x1c1d_1e1f)));
    }

    #[test]
    fn refusals() {
        let disk = |cdb: &[u8]| lookup(DeviceType::DISK, cdb).map(|row| row.operation);
        assert_eq!(disk(&[]), Err(Refusal::TooShort));
        assert_eq!(disk(&[0xff; 16]), Err(Refusal::InvalidOperationCode));
        assert_eq!(disk(&[0x7f; 16]), Err(Refusal::InvalidServiceAction));
        assert_eq!(disk(&[0x7f; 9]), Err(Refusal::TooShort));
        let mut long = [0; 32];
        (long[0], long[7], long[9]) = (0x7f, 0x18, 0x12);
        assert_eq!(disk(&long), Ok(Operation::GetLbaStatus32));
        assert_eq!(disk(&long[..31]), Err(Refusal::TooShort));
        for length in [0, 0x17, 0x19, 0xff] {
            long[7] = length;
            assert_eq!(disk(&long), Err(Refusal::InvalidLength));
        }
        assert_eq!(disk(&[0x5e]), Err(Refusal::TooShort));
        assert_eq!(disk(&[0x5e, 0x04, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Refusal::InvalidServiceAction));
        assert_eq!(disk(&[0x9e, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Ok(Operation::ReadCapacity16));
        let mut read = [0; 16];
        read[0] = 0x28;
        assert_eq!(disk(&read), Ok(Operation::Read10), "bytes after the CDB do no harm");
        assert_eq!(lookup(DeviceType::CONTROLLER, &read).map(|row| row.operation), Err(Refusal::InvalidOperationCode));
        assert_eq!(lookup(DeviceType::TAPE, &[0; 6]).map(|row| row.operation), Err(Refusal::InvalidOperationCode));
    }

    #[test]
    fn controller_has_what_tgt_gives_it() {
        let rows: Vec<(u8, Option<u16>, Operation)> =
            rows_for(DeviceType::CONTROLLER).map(|row| (row.opcode, row.service_action, row.operation)).collect();
        assert_eq!(
            rows,
            [
                (0x00, None, Operation::TestUnitReady),
                (0x03, None, Operation::RequestSense),
                (0x12, None, Operation::Inquiry),
                (0x2f, None, Operation::TestUnitReady),
                (0x8f, None, Operation::TestUnitReady),
                (0xa0, None, Operation::ReportLuns),
                (0xa3, Some(0x0c), Operation::ReportSupportedOperationCodes),
                (0xa3, Some(0x0d), Operation::ReportSupportedTaskManagementFunctions),
                (0xaf, None, Operation::TestUnitReady),
            ]
        );
    }

    #[test]
    fn words() {
        assert_eq!(by_word("write10").map(|row| row.operation), Some(Operation::Write10));
        assert_eq!(by_word("SYNC10").map(|row| row.operation), Some(Operation::SynchronizeCache10));
        assert_eq!(by_word("VERIFY10").map(|row| row.operation), Some(Operation::Verify10));
        assert!(by_word("WRITE").is_none());
        assert_eq!(Family::by_word("Sync"), Some(Family::Synchronize));
        assert_eq!(Family::by_word("OTHER"), None);
        assert!(Family::NAMED.windows(2).all(|pair| pair[0].word() < pair[1].word()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(cdb in proptest::collection::vec(any::<u8>(), 0..40), device_type in 0u8..0x20) {
            for row in ROWS {
                let _ = row.range(&cdb);
            }
            if let Ok(row) = lookup(DeviceType(device_type), &cdb) {
                prop_assert!(cdb.len() >= row.usage.len());
                prop_assert_eq!(row.range(&cdb).is_some(), row.lba.is_some());
            }
        }
    }
}
