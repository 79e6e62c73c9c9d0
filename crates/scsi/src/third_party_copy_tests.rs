//! Lists that are right, lists that lie, and bytes of any kind.

use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

fn cscd_bytes(kind: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    (bytes[0], bytes[4], bytes[5], bytes[7]) = (kind, 1, 3, 16);
    bytes[8..24].fill(0x6a);
    bytes[30] = 2;
    bytes
}

fn segment_bytes(kind: u8) -> [u8; 28] {
    let mut bytes = [0; 28];
    (bytes[0], bytes[3], bytes[7], bytes[11], bytes[19], bytes[27]) = (kind, 0x18, 1, 8, 100, 200);
    bytes
}

/// Block to block with offset.
fn offset_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    (bytes[0], bytes[3], bytes[7], bytes[10], bytes[19], bytes[27], bytes[28], bytes[31]) = (0x0a, 0x1c, 1, 4, 100, 200, 2, 1);
    bytes
}

fn lid1(cscds: &[[u8; 32]], segments: &[[u8; 28]]) -> Vec<u8> {
    let mut list = vec![0; 16];
    list[0] = 9;
    list[2..4].copy_from_slice(&(cscds.len() as u16 * 32).to_be_bytes());
    list[8..12].copy_from_slice(&(segments.len() as u32 * 28).to_be_bytes());
    list.extend(cscds.concat());
    list.extend(segments.concat());
    list
}

fn asc(result: Result<CopyList, Sense>) -> u16 {
    result.map_or_else(|sense| sense.asc.0, |_| 0)
}

#[test]
fn a_list_with_one_segment() {
    let list = CopyList::parse_lid1(&lid1(&[cscd_bytes(0xe4); 2], &[segment_bytes(2)])).unwrap();
    assert_eq!((list.identifier, list.immediate, list.cscds.len()), (Some(9), false, 2));
    let cscd = list.cscds[0];
    assert_eq!((cscd.null, cscd.device_type, cscd.block_length, cscd.pads), (false, DeviceType::DISK, 512, false));
    assert_eq!((cscd.designator.kind, cscd.designator.association, cscd.designator.value()), (3, 0, &[0x6a; 16][..]));
    let Segment::Copy(copy) = list.segments[0] else { panic!() };
    assert_eq!((copy.source, copy.destination), (End::Descriptor(0), End::Descriptor(1)));
    assert_eq!((copy.blocks, copy.source_lba, copy.destination_lba, copy.place), (8, 100, 200, 80));
}

#[test]
fn a_segment_of_bytes() {
    let mut list = lid1(&[], &[]);
    list[11] = 32;
    list.extend(offset_bytes());
    let wanted = ByteCopy {
        source: End::Descriptor(0),
        destination: End::Descriptor(1),
        bytes: 1024,
        source_lba: 100,
        source_offset: 512,
        destination_lba: 200,
        destination_offset: 1,
    };
    assert_eq!(CopyList::parse_lid1(&list).unwrap().segments, [Segment::CopyBytes(wanted)]);
}

#[test]
fn the_long_header() {
    let mut list = vec![0; 48];
    (list[0], list[3], list[15], list[16], list[23], list[43], list[45]) = (1, 0x20, 1, 0xff, 7, 32, 12);
    list.extend(cscd_bytes(0xe4));
    list.extend([7, 0, 0, 8, 0xff, 0xff, 0, 0, 1, 0, 0, 0]);
    let parsed = CopyList::parse(&list).unwrap();
    assert_eq!((parsed.identifier, parsed.immediate), (Some(7), true));
    assert_eq!(parsed.segments, [Segment::Verify { unit: End::ThisUnit, ready: true }]);
    assert!(!parsed.good_sense);
    list[15] = 3;
    assert!(CopyList::parse(&list).unwrap().good_sense);
    list[15] = 1;
    for (at, value, field) in [(0, 0, 0), (3, 0x21, 2), (16, 0xe4, 16), (1, 0x08, 1), (1, 0x18, 20), (43, 33, 42)] {
        let mut wrong = list.clone();
        wrong[at] = value;
        let sense = CopyList::parse(&wrong).unwrap_err();
        assert_eq!((sense.asc, sense.specific), (Asc(0x2600), Sense::invalid_parameter_field(field, None).specific.map(|_| sense.specific.unwrap())));
    }
    (list[1], list[23]) = (0x18, 0);
    assert_eq!(CopyList::parse(&list).unwrap_err(), Sense::invalid_parameter_field(15, Some(0)), "nobody could ask how it ended");
    list[15] = 0;
    assert_eq!(CopyList::parse(&list).unwrap().identifier, None);
}

#[test]
fn limits_are_kept_exactly() {
    let (cscds, segments) = (usize::from(MAX_CSCDS), usize::from(MAX_SEGMENTS));
    let longest = |cscds: usize, segments: usize| {
        let mut list = lid1(&vec![cscd_bytes(0xe4); cscds], &[]);
        list[8..12].copy_from_slice(&(segments as u32 * 32).to_be_bytes());
        list.extend(vec![offset_bytes(); segments].concat());
        list
    };
    let full = longest(cscds, segments);
    assert_eq!(full.len(), 16 + MAX_DESCRIPTOR_BYTES as usize);
    assert!(full.len() <= MAX_LIST_BYTES as usize);
    assert_eq!(asc(CopyList::parse_lid1(&full)), 0);
    assert_eq!(asc(CopyList::parse_lid1(&lid1(&vec![cscd_bytes(0xe4); cscds + 1], &[]))), 0x2606);
    assert_eq!(asc(CopyList::parse_lid1(&lid1(&[], &vec![segment_bytes(2); segments + 1]))), 0x2608);
    assert_eq!(asc(CopyList::parse_lid1(&longest(cscds + 1, segments))), 0x1a00);
    let mut inline = lid1(&[], &[]);
    inline[15] = 1;
    assert_eq!(asc(CopyList::parse_lid1(&inline)), 0x260b);
}

#[test]
fn types_lengths_and_identifiers() {
    assert!(DESCRIPTOR_TYPES.is_sorted());
    for kind in 0..=255u8 {
        let wanted = if kind == 0xe4 { 0 } else { 0x2607 };
        assert_eq!(asc(CopyList::parse_lid1(&lid1(&[cscd_bytes(kind)], &[]))), wanted);
        let wanted = match kind {
            2 => 0,
            7 | 0x0a => 0x2600,
            _ => 0x2609,
        };
        assert_eq!(asc(CopyList::parse_lid1(&lid1(&[], &[segment_bytes(kind)]))), wanted);
    }
    let mut list = lid1(&[cscd_bytes(0xe4)], &[segment_bytes(2)]);
    list[17] = 0x80;
    assert!(CopyList::parse_lid1(&list).is_ok(), "LU ID TYPE is of other descriptors");
    (list[17], list[23]) = (0x20, 21);
    assert_eq!(CopyList::parse_lid1(&list).unwrap_err(), Sense::invalid_parameter_field(23, Some(7)));
    (list[23], list[51]) = (16, 0x19);
    assert_eq!(CopyList::parse_lid1(&list).unwrap_err(), Sense::invalid_parameter_field(50, Some(7)));
    list[51] = 0x18;
    assert!(CopyList::parse_lid1(&list).unwrap().cscds[0].null);
    (list[1], list[0]) = (0x18, 1);
    assert_eq!(CopyList::parse_lid1(&list).unwrap_err(), Sense::invalid_parameter_field(0, Some(7)));
    list[0] = 0;
    assert_eq!(CopyList::parse_lid1(&list).unwrap().identifier, None);
}

#[test]
fn every_cut_is_noticed() {
    let list = lid1(&[cscd_bytes(0xe4); 2], &[segment_bytes(2); 2]);
    for len in 0..list.len() {
        assert_eq!(asc(CopyList::parse_lid1(&list[..len])), 0x1a00, "{len}");
    }
    let mut short = list.clone();
    short[11] -= 1;
    assert_eq!(asc(CopyList::parse_lid1(&short)), 0x1a00, "a segment that its list cuts");
    short[8] = 0xff;
    assert_eq!(asc(CopyList::parse_lid1(&short)), 0x1a00);
}

fn with_ranges(place: usize, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut list = vec![0; place + 2];
    let end = (list.len() + ranges.len() * 16 - 2) as u16;
    list[..2].copy_from_slice(&end.to_be_bytes());
    list[place..].copy_from_slice(&(ranges.len() as u16 * 16).to_be_bytes());
    for (lba, blocks) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

#[test]
fn lists_of_token_copies() {
    let mut list = with_ranges(14, &[(8, 4), (100, 1)]);
    list[2] = 2;
    list[7] = 30;
    list[8..12].copy_from_slice(&0x0080_0001_u32.to_be_bytes());
    let parsed = PopulateToken::parse(&list).unwrap();
    assert_eq!((parsed.immediate, parsed.inactivity_seconds, parsed.rod_type, parsed.ranges.len()), (false, 30, Some(0x0080_0001), 2));
    for len in 0..list.len() {
        assert_eq!(PopulateToken::parse(&list[..len]).unwrap_err().asc, Asc(0x1a00), "{len}");
    }
    let mut list = with_ranges(534, &[(8, 4)]);
    (list[2], list[15], list[16]) = (3, 5, 0xab);
    let parsed = WriteUsingToken::parse(&list).unwrap();
    assert_eq!((parsed.immediate, parsed.deletes_token, parsed.offset, parsed.token[0]), (true, true, 5, 0xab));
    for len in 0..list.len() {
        assert_eq!(WriteUsingToken::parse(&list[..len]).unwrap_err().asc, Asc(0x1a00), "{len}");
    }
}

#[test]
fn ranges_that_are_wrong() {
    let sense = |list: &[u8]| PopulateToken::parse(list).unwrap_err();
    assert_eq!(sense(&with_ranges(14, &[(8, 4), (11, 1)])), Sense::invalid_parameter_field(32, Some(7)));
    assert_eq!(sense(&with_ranges(14, &[(8, 4), (0, 9)])), Sense::invalid_parameter_field(32, Some(7)));
    assert_eq!(sense(&with_ranges(14, &[])), Sense::invalid_parameter_field(0, Some(7)));
    assert_eq!(PopulateToken::parse(&with_ranges(14, &[(8, 4), (9, 0), (12, 4)])).unwrap().ranges.len(), 3);
    let many: Vec<(u64, u32)> = (0..65).map(|at| (at, 1)).collect();
    assert_eq!(sense(&with_ranges(14, &many)).asc, Asc(0x2608));
    assert!(PopulateToken::parse(&with_ranges(14, &many[1..])).is_ok());
    let mut list = with_ranges(14, &[(8, 4)]);
    list[15] = 15;
    assert_eq!(sense(&list), Sense::invalid_parameter_field(14, Some(7)));
    let mut list = with_ranges(14, &[(8, 4), (0, 1)]);
    list[1] = 30;
    assert_eq!(sense(&list).asc, Asc(0x1a00), "the data length leaves one range out");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind: bool) {
        let _ = (PopulateToken::parse(&bytes), WriteUsingToken::parse(&bytes), CopyList::parse(&bytes));
        if bytes.len() > 48 {
            (bytes[0], bytes[1], bytes[2], bytes[16], bytes[8], bytes[9], bytes[10]) = (1, 0, 0, if kind { 0xe4 } else { 0xff }, 0, 0, 0);
            bytes[12..16].fill(0);
            let _ = (CopyList::parse_lid1(&bytes), CopyList::parse(&bytes));
        }
    }
}
