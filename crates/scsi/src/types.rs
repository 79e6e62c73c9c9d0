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
    /// 65536 bytes, the longest.
    pub const MAX: BlockSize = BlockSize(65536);

    /// `None` unless `bytes` is a power of two from 512 to 65536.
    pub const fn new(bytes: u32) -> Option<BlockSize> {
        if bytes.is_power_of_two() && bytes >= 512 && bytes <= BlockSize::MAX.0 { Some(BlockSize(bytes)) } else { None }
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
    /// The well known logical unit REPORT LUNS: extended addressing, well known logical unit method, 01h (SAM-5 4.7.7.5.3).
    pub const REPORT_LUNS: Lun = Lun([0xc1, 0x01, 0, 0, 0, 0, 0, 0]);
    /// [`number`](Lun::number) of [`REPORT_LUNS`](Lun::REPORT_LUNS).
    pub const REPORT_LUNS_NUMBER: u64 = 0xc101;

    /// Single-level LUN: peripheral addressing below 256, flat space addressing up to 16383 (SAM-5 4.7). `None` above.
    pub fn from_number(number: u64) -> Option<Lun> {
        let [.., high, low] = number.to_be_bytes();
        match number {
            0..=0xff => Some(Lun([0, low, 0, 0, 0, 0, 0, 0])),
            0x100..=0x3fff => Some(Lun([0x40 | high, low, 0, 0, 0, 0, 0, 0])),
            _ => None,
        }
    }

    /// The number of a single-level LUN with peripheral (00b, bus 0) or flat (01b) addressing; of a well known one C100h and its number; `None` for every
    /// other form.
    pub fn number(self) -> Option<u64> {
        if self.0[2..].iter().any(|&byte| byte != 0) {
            return None;
        }
        match self.0[0] >> 6 {
            0 if self.0[0] == 0 => Some(u64::from(self.0[1])),
            1 => Some(u64::from(self.0[0] & 0x3f) << 8 | u64::from(self.0[1])),
            3 if self.0[0] == 0xc1 => Some(0xc100 | u64::from(self.0[1])),
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
    /// Well known logical unit (SPC).
    pub const WELL_KNOWN: DeviceType = DeviceType(0x1e);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u64, count: u64) -> BlockRange {
        BlockRange { start: Lba(start), count: BlockCount(count) }
    }

    #[test]
    fn block_sizes() {
        for bytes in [0, 1, 256, 511, 520, 1000, 131_072] {
            assert_eq!(BlockSize::new(bytes), None, "{bytes}");
        }
        assert_eq!(BlockSize::new(512), Some(BlockSize::B512));
        assert_eq!(BlockSize::new(65536).map(BlockSize::shift), Some(16));
        assert_eq!(BlockSize::B4096.offset_of(Lba(3)), Some(ByteOffset(12288)));
        assert_eq!(BlockSize::B4096.offset_of(Lba(1 << 52)), None);
        assert_eq!(BlockSize::B512.length_of(BlockCount(1 << 54)), Some(1 << 63));
        assert_eq!(BlockSize::B512.length_of(BlockCount(1 << 55)), None);
    }

    #[test]
    fn ranges_are_half_open() {
        assert!(range(0, 8).overlaps(range(7, 1)) && !range(0, 8).overlaps(range(8, 1)));
        assert!(!range(4, 0).overlaps(range(0, 8)) && !range(0, 8).overlaps(range(4, 0)));
        assert!(range(0, 8).within(8) && !range(1, 8).within(8) && range(8, 0).within(8) && !range(9, 0).within(8));
        assert!(!range(u64::MAX, 2).within(u64::MAX));
        assert_eq!(range(u64::MAX, 2).end(), u64::MAX);
    }

    #[test]
    fn unit_numbers() {
        assert_eq!(Lun::from_number(5), Some(Lun([0, 5, 0, 0, 0, 0, 0, 0])));
        assert_eq!(Lun::from_number(0x1234), Some(Lun([0x52, 0x34, 0, 0, 0, 0, 0, 0])));
        assert_eq!(Lun::from_number(0x4000), None);
        assert_eq!(Lun([0x40, 5, 0, 0, 0, 0, 0, 0]).number(), Some(5), "flat addressing of a low number");
        for odd in [
            [0, 5, 0, 1, 0, 0, 0, 0],
            [0, 5, 0, 0, 0, 0, 0, 1],
            [1, 5, 0, 0, 0, 0, 0, 0],
            [0x80, 5, 0, 0, 0, 0, 0, 0],
            [0xc2, 1, 0, 0, 0, 0, 0, 0],
            [0xc1, 1, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(Lun(odd).number(), None, "{odd:?}");
        }
        assert_eq!(Lun::REPORT_LUNS.number(), Some(Lun::REPORT_LUNS_NUMBER));
        assert_eq!(Lun::from_number(Lun::REPORT_LUNS_NUMBER), None, "no unit of ours can be made there");
    }

    proptest! {
        #[test]
        fn unit_numbers_come_back(number in 0u64..0x4000) {
            prop_assert_eq!(Lun::from_number(number).and_then(Lun::number), Some(number));
        }

        #[test]
        fn any_lun_is_answered(bytes: [u8; 8]) {
            if let Some(number) = Lun(bytes).number() {
                prop_assert!(number < 0x4000 || number >> 8 == 0xc1);
            }
        }

        #[test]
        fn overlap_is_a_shared_block(one in (0u64..40, 0u64..10), two in (0u64..40, 0u64..10)) {
            let shared = (0..60).any(|block| block >= one.0 && block < one.0 + one.1 && block >= two.0 && block < two.0 + two.1);
            prop_assert_eq!(range(one.0, one.1).overlaps(range(two.0, two.1)), shared);
        }
    }
}
