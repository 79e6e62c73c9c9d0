//! One row per command. Dispatch, REPORT SUPPORTED OPERATION CODES, reservation classes, fault matching, statistics and the docs all read it.

use crate::types::{BlockCount, BlockRange, DeviceType, Lba};

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
    WriteSame10,
    Unmap,
    ModeSelect10,
    ModeSense10,
    PersistentReserveInReadKeys,
    PersistentReserveInReadReservation,
    PersistentReserveInReportCapabilities,
    PersistentReserveOutRegister,
    PersistentReserveOutReserve,
    PersistentReserveOutRelease,
    PersistentReserveOutClear,
    PersistentReserveOutPreempt,
    PersistentReserveOutRegisterAndIgnore,
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
    ReportSupportedOperationCodes,
    ReportSupportedTaskManagementFunctions,
    Read12,
    Write12,
    WriteAndVerify12,
    Verify12,
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
    /// PERSISTENT RESERVE OUT and RESERVE/RELEASE: decided by its own rules.
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
#[derive(Debug)]
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
    /// Data direction.
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
    /// The CDB is shorter than its operation code demands: 5/2400.
    TooShort,
}

impl CommandRow {
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
pub static ROWS: &[CommandRow] = &[];

/// The row for `cdb` on a device of `device_type`.
pub fn lookup(device_type: DeviceType, cdb: &[u8]) -> Result<&'static CommandRow, Refusal> {
    let _ = (device_type, cdb);
    Err(Refusal::InvalidOperationCode)
}
