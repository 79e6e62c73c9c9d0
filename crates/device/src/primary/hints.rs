//! The IO advice hints grouping mode page (0A/05, SBC-4 6.5): what an initiator says about the blocks of each group number.
//!
//! Advice is kept and changes nothing. IC_ENABLE has an effect: only groups that have it are counted in the group statistics log pages.

use super::mode_pages::ModePages;
use crate::cdb::{bit, byte};

/// Subpage code.
pub(crate) const SUBPAGE: u8 = 0x05;
/// Groups that have a log page.
const COUNTED: core::ops::RangeInclusive<usize> = 1..=31;
/// Groups in the page.
const GROUPS: usize = 64;
/// Bytes in front of the first descriptor, behind the header of the page.
const HEAD: usize = 12;
const DESCRIPTOR_LEN: usize = 16;

/// At first all groups are counted, and nothing is advised.
pub(crate) const DEFAULT: [u8; HEAD + GROUPS * DESCRIPTOR_LEN] = {
    let mut page = [0; HEAD + GROUPS * DESCRIPTOR_LEN];
    let mut group = *COUNTED.start();
    while group <= *COUNTED.end() {
        page[HEAD + group * DESCRIPTOR_LEN] = 0x01;
        group += 1;
    }
    page
};

/// The advice of all groups, and IC_ENABLE of those that have a log page.
pub(crate) const CHANGEABLE: [(usize, u8); GROUPS * 3 + 31] = {
    let mut bits = [(0, 0); GROUPS * 3 + 31];
    let masks = [0xbf, 0xff, 0xff];
    let mut at = 0;
    while at < GROUPS * 3 {
        bits[at] = (HEAD + at / 3 * DESCRIPTOR_LEN + 4 + at % 3, masks[at % 3]);
        at += 1;
    }
    while at < bits.len() {
        bits[at] = (HEAD + (at - GROUPS * 3 + *COUNTED.start()) * DESCRIPTOR_LEN, 0x01);
        at += 1;
    }
    bits
};

/// IC_ENABLE: is this group counted?
pub(crate) fn counts(modes: &ModePages, group: u8) -> bool {
    let at = HEAD + usize::from(group) * DESCRIPTOR_LEN;
    modes.values(0x0a, SUBPAGE).is_some_and(|page| bit(page, at, 0x01) && byte(page, at) & 0xc0 == 0)
}

#[cfg(test)]
mod tests {
    use crate::tests::bench::Bench;
    use std::vec::Vec;

    fn reads_of(bench: &mut Bench, group: u8) -> u8 {
        bench.good(&[0x4d, 0, 0x59, group, 0, 0, 0, 0, 99, 0])[15]
    }

    #[test]
    fn groups_are_counted_when_they_are_enabled() {
        let mut bench = Bench::disk(8);
        let page = bench.good(&[0x5a, 0x08, 0x0a, 0x05, 0, 0, 0, 0x10, 0, 0]).split_off(8);
        assert_eq!((&page[..4], page.len()), (&[0x4a, 0x05, 0x04, 0x0c][..], 1040));
        let mask = bench.good(&[0x5a, 0x08, 0x4a, 0x05, 0, 0, 0, 0x10, 0, 0]).split_off(8);
        assert_eq!([16, 32, 16 + 31 * 16, 16 + 32 * 16].map(|at: usize| mask[at]), [0, 1, 1, 0]);
        assert_eq!(mask[32..48], [1, 0, 0, 0, 0xbf, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let read = |bench: &mut Bench, group: u8| bench.good(&[0x28, 0, 0, 0, 0, 0, group, 0, 1, 0]);
        read(&mut bench, 1);
        let mut list = Vec::from([0; 8]);
        list.extend(&page);
        (list[8 + 32], list[8 + 37]) = (0, 0x55);
        assert_eq!(bench.run(&[0x55, 0x10, 0, 0, 0, 0, 0, 0x04, 0x18, 0], &list).0.sense, None);
        read(&mut bench, 1);
        read(&mut bench, 2);
        assert_eq!((reads_of(&mut bench, 1), reads_of(&mut bench, 2)), (1, 1));
        assert_eq!(bench.good(&[0x5a, 0x08, 0x0a, 0x05, 0, 0, 0, 0, 60, 0])[8 + 37], 0x55);
    }
}
