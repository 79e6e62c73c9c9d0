//! Newtypes of SAM and SBC. Arithmetic that mixes blocks and bytes does not type-check.

/// Logical block address (SBC), in blocks from the start of the unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lba(pub u64);

/// A number of logical blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BlockCount(pub u64);

/// A distance in bytes from the start of a medium.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ByteOffset(pub u64);

/// Logical block length: a power of two from 512 to 65536 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockSize(u32);

impl BlockSize {
    /// 512 bytes.
    pub const B512: BlockSize = BlockSize(512);
    /// 4096 bytes.
    pub const B4096: BlockSize = BlockSize(4096);

    /// `None` unless `bytes` is a power of two from 512 to 65536.
    pub const fn new(bytes: u32) -> Option<BlockSize> {
        if bytes.is_power_of_two() && bytes >= 512 && bytes <= 65536 { Some(BlockSize(bytes)) } else { None }
    }

    /// Length in bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Base-2 logarithm of the length.
    pub const fn shift(self) -> u32 {
        self.0.trailing_zeros()
    }

    /// Byte offset of a block, `None` when it does not fit 64 bits.
    pub fn offset_of(self, lba: Lba) -> Option<ByteOffset> {
        lba.0.checked_mul(u64::from(self.0)).map(ByteOffset)
    }

    /// Length in bytes of `count` blocks, `None` when it does not fit 64 bits.
    pub fn length_of(self, count: BlockCount) -> Option<u64> {
        count.0.checked_mul(u64::from(self.0))
    }
}

/// A half-open range of blocks: `start .. start + count`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockRange {
    /// First block.
    pub start: Lba,
    /// Number of blocks; zero is an empty range.
    pub count: BlockCount,
}

impl BlockRange {
    /// Block after the last one, saturating at 2^64 - 1.
    pub fn end(self) -> u64 {
        self.start.0.saturating_add(self.count.0)
    }

    /// True when both ranges share a block. An empty range shares none.
    pub fn overlaps(self, other: BlockRange) -> bool {
        self.count.0 > 0 && other.count.0 > 0 && self.start.0 < other.end() && other.start.0 < self.end()
    }

    /// True when the range ends at or before block `blocks`, without wrapping.
    pub fn within(self, blocks: u64) -> bool {
        self.start.0.checked_add(self.count.0).is_some_and(|end| end <= blocks)
    }
}

/// Logical unit number: the eight bytes of SAM, kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// Single-level LUN: peripheral addressing below 256, flat space addressing up to 16383 (SAM-5 4.7). `None` above.
    pub fn from_number(number: u64) -> Option<Lun> {
        let mut bytes = [0; 8];
        match number {
            0..=0xff => bytes[1] = number as u8,
            0x100..=0x3fff => {
                bytes[0] = 0x40 | (number >> 8) as u8;
                bytes[1] = number as u8;
            }
            _ => return None,
        }
        Some(Lun(bytes))
    }

    /// The number of a single-level LUN with peripheral (00b, bus 0) or flat (01b) addressing; `None` for every other form.
    pub fn number(self) -> Option<u64> {
        if self.0[2..].iter().any(|&byte| byte != 0) {
            return None;
        }
        match self.0[0] >> 6 {
            0 if self.0[0] == 0 => Some(u64::from(self.0[1])),
            1 => Some(u64::from(self.0[0] & 0x3f) << 8 | u64::from(self.0[1])),
            _ => None,
        }
    }
}

/// Peripheral device type (SPC, standard INQUIRY byte 0). Unknown values are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceType(pub u8);

impl DeviceType {
    /// Direct access block device (SBC).
    pub const DISK: DeviceType = DeviceType(0x00);
    /// Sequential access device (SSC).
    pub const TAPE: DeviceType = DeviceType(0x01);
    /// CD/DVD/BD device (MMC).
    pub const OPTICAL: DeviceType = DeviceType(0x05);
    /// Medium changer (SMC).
    pub const CHANGER: DeviceType = DeviceType(0x08);
    /// Storage array controller (SCC): the unit that tgt puts at LUN 0.
    pub const CONTROLLER: DeviceType = DeviceType(0x0c);
    /// Object-based storage device (OSD).
    pub const OSD: DeviceType = DeviceType(0x11);
}

/// Task attribute (SAM-5 8.9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TaskAttribute {
    /// May be reordered among other simple tasks.
    #[default]
    Simple,
    /// Runs after all older tasks and before all younger ones.
    Ordered,
    /// Runs before everything not yet started.
    HeadOfQueue,
    /// Only meaningful while an auto contingent allegiance exists.
    Aca,
}

/// Relative target port identifier (SPC), 1 to 65535.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelativePort(pub u16);
