//! Protection information (SBC-4 4.21): eight bytes that belong to a block and travel with it.

/// Bytes of it.
pub const LENGTH: usize = 8;

/// How the medium is formatted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protection {
    /// Without protection information.
    #[default]
    None,
    /// The reference tag is the low half of the block's address.
    Type1,
    /// The reference tag starts at what the command says.
    Type2,
    /// The reference tag is the initiator's, like the application tag.
    Type3,
}

impl Protection {
    /// By its number, 0 to 3.
    pub const fn of(number: u8) -> Option<Protection> {
        match number {
            0 => Some(Protection::None),
            1 => Some(Protection::Type1),
            2 => Some(Protection::Type2),
            3 => Some(Protection::Type3),
            _ => None,
        }
    }

    /// Its number; 0 without.
    pub const fn number(self) -> u8 {
        match self {
            Protection::None => 0,
            Protection::Type1 => 1,
            Protection::Type2 => 2,
            Protection::Type3 => 3,
        }
    }
}

/// The protection information of one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Information {
    /// LOGICAL BLOCK GUARD: the CRC of the block.
    pub guard: u16,
    /// LOGICAL BLOCK APPLICATION TAG.
    pub application: u16,
    /// LOGICAL BLOCK REFERENCE TAG.
    pub reference: u32,
}

impl Information {
    /// Of a block that was never written: nothing of it is checked.
    pub const NONE: Information = Information { guard: 0xffff, application: 0xffff, reference: 0xffff_ffff };

    /// From its bytes.
    pub const fn decode(bytes: [u8; LENGTH]) -> Information {
        let [a, b, c, d, e, f, g, h] = bytes;
        Information { guard: u16::from_be_bytes([a, b]), application: u16::from_be_bytes([c, d]), reference: u32::from_be_bytes([e, f, g, h]) }
    }

    /// As bytes.
    pub const fn encode(self) -> [u8; LENGTH] {
        let ([a, b], [c, d], [e, f, g, h]) = (self.guard.to_be_bytes(), self.application.to_be_bytes(), self.reference.to_be_bytes());
        [a, b, c, d, e, f, g, h]
    }

    /// An application tag of all ones (with type 3 only beside such a reference tag) switches every check of its block off.
    pub fn is_escape(self, protection: Protection) -> bool {
        self.application == 0xffff && (protection != Protection::Type3 || self.reference == 0xffff_ffff)
    }
}

/// The polynomial of the guard: x^16 + x^15 + x^11 + x^9 + x^8 + x^7 + x^5 + x^4 + x^2 + x + 1.
const POLYNOMIAL: u16 = 0x8bb7;
/// Bytes taken in one step.
const STEP: usize = 8;
/// What a byte does to the CRC, with 0 to 7 bytes behind it.
static TABLES: [[u16; 256]; STEP] = tables();

const fn tables() -> [[u16; 256]; STEP] {
    let mut tables = [[0; 256]; STEP];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut behind = 1;
    while behind < STEP {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[behind - 1][byte];
            tables[behind][byte] = crc << 8 ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
}

/// The guard of a block: CRC-16 over its bytes, from zero, most significant bit first.
pub fn guard(block: &[u8]) -> u16 {
    let at = |table: usize, byte: u8| TABLES[table][usize::from(byte)];
    let mut steps = block.chunks_exact(STEP);
    let mut crc = 0_u16;
    for step in &mut steps {
        let &[a, b, c, d, e, f, g, h] = step else { continue };
        let [high, low] = crc.to_be_bytes();
        crc = at(7, a ^ high) ^ at(6, b ^ low) ^ at(5, c) ^ at(4, d) ^ at(3, e) ^ at(2, f) ^ at(1, g) ^ at(0, h);
    }
    steps.remainder().iter().fold(crc, |crc, &byte| crc << 8 ^ at(0, byte ^ crc.to_be_bytes()[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn guards_that_are_known() {
        assert_eq!(guard(b"123456789"), 0xd0db, "the check value of CRC-16/T10-DIF");
        assert_eq!(guard(&[0; 512]), 0);
        assert_eq!(guard(&[]), 0);
    }

    #[test]
    fn bytes_and_back() {
        let information = Information { guard: 0x0102, application: 0x0304, reference: 0x0506_0708 };
        assert_eq!(information.encode(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Information::decode(information.encode()), information);
        assert_eq!(Information::NONE.encode(), [0xff; 8]);
        let tagged = Information { reference: 5, ..Information::NONE };
        assert!(tagged.is_escape(Protection::Type1) && !tagged.is_escape(Protection::Type3) && Information::NONE.is_escape(Protection::Type3));
        assert!((0..4).all(|number| Protection::of(number).map(Protection::number) == Some(number)));
    }

    proptest! {
        #[test]
        fn eight_bytes_at_once_are_like_one_by_one(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let slow = bytes.iter().fold(0_u16, |crc, &byte| {
                (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ POLYNOMIAL } else { crc << 1 })
            });
            prop_assert_eq!(guard(&bytes), slow);
        }
    }
}
