//! Sense data (SPC-6 4.4): a value, encoded in fixed or descriptor format.

use alloc::vec::Vec;

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
        (self.0 >> 8) as u8
    }

    /// Additional sense code qualifier.
    pub const fn qualifier(self) -> u8 {
        self.0 as u8
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

    /// Bytes of the sense data in `format`: 18 bytes when fixed, 8 and descriptors otherwise.
    pub fn encode(&self, format: SenseFormat) -> Vec<u8> {
        let _ = format;
        let mut bytes = alloc::vec![0u8; 18];
        bytes[0] = 0x70;
        bytes[2] = self.key.0;
        bytes[7] = 10;
        bytes[12] = self.asc.code();
        bytes[13] = self.asc.qualifier();
        bytes
    }
}
