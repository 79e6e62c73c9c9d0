//! Settings of a unit: what `tgtadm --op update --mode logicalunit --params` changes and `show` prints.

use alloc::string::String;
use alloc::vec::Vec;

use scsi::{BlockSize, DeviceType, SenseFormat};

/// What a device needs to know of its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Medium {
    /// Size in bytes; what does not fill a block is not used.
    pub bytes: u64,
    /// The store can only be read.
    pub read_only: bool,
    /// The store can deallocate.
    pub can_discard: bool,
    /// Preferred I/O size of the store in bytes, a power of two (physical block exponent), 0 when unknown.
    pub preferred: u32,
    /// What it keeps survives the process: writes are volatile until flushed only if it does.
    pub durable: bool,
}

/// Identity and fixed settings of a new unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitSettings {
    /// Target identifier of the management plane (designators, default serial).
    pub tid: i32,
    /// Unit number.
    pub lun: u64,
    /// Logical block length.
    pub block_size: BlockSize,
    /// T10 vendor identification, up to 8 characters.
    pub vendor: String,
    /// Product identification, up to 16 characters.
    pub product: String,
    /// Product revision level, up to 4 characters.
    pub revision: String,
    /// Text of the SCSI ID line and of designators 1 and 3 (36 characters at most).
    pub scsi_id: String,
    /// Unit serial number (36 characters at most).
    pub scsi_sn: String,
    /// A unique 16-byte NAA 6 (locally derived) designator, the same over restarts.
    pub unique: [u8; 16],
    /// Removable medium.
    pub removable: bool,
    /// Read-only by configuration.
    pub read_only: bool,
    /// Thin provisioned: UNMAP and its pages.
    pub thin: bool,
}

/// One changed setting.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Parameter {
    ScsiId(String),
    ScsiSn(String),
    VendorId(String),
    ProductId(String),
    ProductRev(String),
    SenseFormat(SenseFormat),
    /// Logical blocks per physical block exponent; stops the automatic value.
    Lbppbe(u8),
    /// The automatic value again.
    AutomaticLbppbe,
    /// Lowest aligned LBA, 14 bits.
    LowestAlignedLba(u16),
    OptimalTransferGranularity(u16),
    OptimalTransferLength(u32),
    Removable(bool),
    ReadOnly(bool),
    Online(bool),
    /// A mode page is replaced or added; changeable mask all zero; fewer bytes are filled with zeros.
    ModePage {
        page: u8,
        subpage: u8,
        size: u16,
        data: Vec<u8>,
    },
    /// A mode page is the type's own again; one that the type does not have is gone.
    DefaultModePage {
        page: u8,
        subpage: u8,
    },
    ThinProvisioning(bool),
    RotationRate(u16),
}

/// Why a setting was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParameterError {
    /// tgtadm error 17.
    Invalid,
    /// tgtadm error 24: an initiator prevents removal.
    RemovalPrevented,
}

/// A unit as `show` prints it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct UnitView {
    pub device_type: DeviceType,
    pub scsi_id: String,
    pub scsi_sn: String,
    /// Size of the medium in bytes.
    pub bytes: u64,
    /// Block length shown: 1 for a controller (none set).
    pub block_size: u32,
    pub online: bool,
    pub removable: bool,
    pub prevent_removal: bool,
    pub read_only: bool,
    /// Software write protect of the control mode page.
    pub swp: bool,
    pub thin: bool,
    /// Type of protection, 0 to 3; `None`: the medium has no room for protection information.
    pub protection: Option<u8>,
}
