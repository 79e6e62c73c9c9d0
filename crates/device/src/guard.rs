//! What a store operation does beside its data on a unit with protection information (SBC-4 4.21).
//!
//! The device says what is carried and what is checked; whoever has the bytes makes the checks, with the functions here.

use scsi::protection::{self, Information, Protection};

/// What of the protection information is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fields {
    /// The guard against the block's bytes.
    pub guard: bool,
    /// The application tag, where the initiator's is known.
    pub application: bool,
    /// The reference tag, where the right one is known.
    pub reference: bool,
}

impl Fields {
    /// Everything.
    pub const ALL: Fields = Fields { guard: true, application: true, reference: true };
    /// Nothing.
    pub const NONE: Fields = Fields { guard: false, application: false, reference: false };
}

/// The field that is not what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// LOGICAL BLOCK GUARD CHECK FAILED.
    Guard,
    /// LOGICAL BLOCK APPLICATION TAG CHECK FAILED.
    Application,
    /// LOGICAL BLOCK REFERENCE TAG CHECK FAILED.
    Reference,
}

/// What a command of type 2 expects: the reference tag of its first block, and the application tag under a mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tags {
    /// Reference tag of the first block; that of the next block is one more.
    pub reference: u32,
    /// Application tag.
    pub application: u16,
    /// Bits of it that count.
    pub mask: u16,
}

/// What belongs to one store operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// How the medium is formatted.
    pub protection: Protection,
    /// Bytes of a block.
    pub block: u32,
    /// First block of the command.
    pub first: u64,
    /// The payload has the protection information of every block behind it.
    pub carried: bool,
    /// What is checked.
    pub checks: Fields,
    /// What a comparison compares beside the data, where they are carried.
    pub compares: Fields,
    /// What the command expects; `None`: it does not say.
    pub tags: Option<Tags>,
    /// FORMAT UNIT is at its end: all protection information is forgotten, and the medium has `protection` from then on.
    pub format: bool,
}

impl Guard {
    /// Bytes of a payload that has `len` bytes of blocks.
    pub fn wire(&self, len: u64) -> u64 {
        let blocks = len / u64::from(self.block.max(1));
        if self.carried { len.saturating_add(blocks.saturating_mul(protection::LENGTH as u64)) } else { len }
    }

    /// The reference tag of a block, where it is known.
    fn reference(&self, lba: u64) -> Option<u32> {
        match (self.protection, self.tags) {
            (Protection::Type1, _) => Some(low(lba)),
            (Protection::Type2, Some(tags)) => Some(tags.reference.wrapping_add(low(lba.wrapping_sub(self.first)))),
            _ => None,
        }
    }

    /// Looks at a block and its protection information.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self, lba: u64, block: &[u8], information: Information) -> Result<(), Violation> {
        if information.is_escape(self.protection) {
            return Ok(());
        }
        if self.checks.guard && information.guard != protection::guard(block) {
            return Err(Violation::Guard);
        }
        let other = |tags: Tags| (information.application ^ tags.application) & tags.mask != 0;
        if self.checks.application && self.tags.is_some_and(other) {
            return Err(Violation::Application);
        }
        if self.checks.reference && self.reference(lba).is_some_and(|reference| reference != information.reference) {
            return Err(Violation::Reference);
        }
        Ok(())
    }

    /// Protection information for a block that came without: the guard, the application tag 0, the reference tag of the type. For type 2 without
    /// a tag from the command that is the one of type 1; for type 3 all ones.
    pub fn generate(&self, lba: u64, block: &[u8]) -> Information {
        self.numbered(lba, Information { guard: protection::guard(block), application: 0, reference: 0 })
    }

    /// What was generated for a block with the same bytes, for this one.
    pub fn numbered(&self, lba: u64, made: Information) -> Information {
        let reference = if self.protection == Protection::Type3 { u32::MAX } else { self.reference(lba).unwrap_or(low(lba)) };
        Information { reference, ..made }
    }

    /// The protection information of the `nth` block that WRITE SAME makes of one: reference tags count on, but for type 3.
    pub fn repeated(&self, first: Information, nth: u64) -> Information {
        let step = if self.protection == Protection::Type3 || first.is_escape(self.protection) { 0 } else { low(nth) };
        Information { reference: first.reference.wrapping_add(step), ..first }
    }

    /// Do the compared fields of the two agree?
    pub fn same(&self, left: Information, right: Information) -> bool {
        (!self.compares.guard || left.guard == right.guard)
            && (!self.compares.application || left.application == right.application)
            && (!self.compares.reference || left.reference == right.reference)
    }
}

fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(protection: Protection, first: u64, tags: Option<Tags>) -> Guard {
        Guard { protection, block: 512, first, carried: true, checks: Fields::ALL, compares: Fields::ALL, tags, format: false }
    }

    #[test]
    fn what_is_generated_passes() {
        let block = [7; 512];
        let lba = 0x1_0000_0005;
        let tags = Tags { reference: 0xffff_ffff, application: 0x1200, mask: 0xff00 };
        for (protection, tags, reference) in
            [(Protection::Type1, None, 5), (Protection::Type2, None, 5), (Protection::Type2, Some(tags), 1), (Protection::Type3, None, u32::MAX)]
        {
            let guard = guard(protection, lba - 2, tags);
            let mut information = guard.generate(lba, &block);
            assert_eq!((information.reference, information.guard), (reference, protection::guard(&block)));
            information.application = 0x1234;
            assert_eq!(guard.check(lba, &block, information), Ok(()));
            assert_eq!(guard.check(lba, &[8; 512], information), Err(Violation::Guard));
            information.application = 0xffff;
            let escaped = guard.check(lba, &[8; 512], information);
            assert_eq!(escaped, Ok(()), "type {}", protection.number());
        }
    }

    #[test]
    fn tags_are_checked_where_they_are_known() {
        let block = [7; 512];
        let tags = Tags { reference: 100, application: 0x1200, mask: 0xff00 };
        let right = Information { guard: protection::guard(&block), application: 0x1256, reference: 101 };
        let two = guard(Protection::Type2, 10, Some(tags));
        assert_eq!(two.check(11, &block, right), Ok(()));
        assert_eq!(two.check(12, &block, right), Err(Violation::Reference));
        assert_eq!(two.check(11, &block, Information { application: 0x1356, ..right }), Err(Violation::Application));
        assert_eq!(guard(Protection::Type2, 10, None).check(12, &block, right), Ok(()), "nobody knows better");
        assert_eq!(guard(Protection::Type1, 10, None).check(12, &block, right), Err(Violation::Reference));
        assert_eq!(guard(Protection::Type3, 10, None).check(12, &block, right), Ok(()));
        let mut blind = two;
        blind.checks = Fields::NONE;
        assert_eq!(blind.check(99, &[0; 512], right), Ok(()));
        assert!(!two.same(right, Information { reference: 5, ..right }) && two.same(right, right));
        assert_eq!((two.repeated(right, 3).reference, guard(Protection::Type3, 10, None).repeated(right, 3).reference), (104, 101));
        assert_eq!(two.repeated(Information::NONE, 3), Information::NONE);
        assert_eq!((two.wire(1024), Guard { carried: false, ..two }.wire(1024)), (1040, 1024));
    }
}
