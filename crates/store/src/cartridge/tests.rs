//! Bytes of images that are known, and images that lie.

use proptest::prelude::*;

use super::*;

fn blank() -> Blank {
    Blank { mib: 16, kind: MediumType::DATA, barcode: b"A00001L1".to_vec(), created: 1_795_441_302 }
}

fn walk(image: &[u8]) -> Vec<(u32, u64, u64, u64, u64, u32)> {
    let blocks = Blocks::new(image).map(|block| block.expect("a block"));
    blocks.map(|block| block.header).map(|h| (h.kind.0, h.number, h.previous, h.current, h.next, h.stored)).collect()
}

/// Writes as a drive does: at the end of data.
fn write(image: &mut Vec<u8>, kind: BlockType, data: &[u8]) {
    let end = Blocks::new(image.as_slice()).last().expect("an end").expect("sound").header;
    let (written, end) = end.replaced_by(kind, u32::try_from(data.len()).expect("small")).expect("fits");
    image.truncate(usize::try_from(written.current).expect("small"));
    image.extend_from_slice(&written.encode());
    image.extend_from_slice(data);
    image.extend_from_slice(&end.encode());
}

#[test]
fn a_new_cartridge_has_these_bytes() {
    let image = blank().image().expect("made");
    assert_eq!(image.len(), 1200);
    let beginning = [
        0x42, 0x95, 0x29, 0xd5, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 4, 0x80,
    ];
    assert_eq!(image[..48], beginning);
    let end = [
        0x72, 0x95, 0x14, 0x69, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0x80, 0,
        0, 0, 0, 0, 0, 4, 0x80,
    ];
    assert_eq!(image[1152..], end);
    let memory = &image[48..1152];
    assert_eq!(memory[..24], [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(memory[40..48], [0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(&memory[256..296], b"Foo     A00001L1_1795441302\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(memory[296..304], [0, 0, 1, 0x80, 0, 0, 0, 0x7f]);
    assert_eq!(memory[336..340], [1, 0, 0, 0]);
    assert_eq!(&memory[344..352], b"Bar     ");
    assert_eq!(&memory[568..600], b"A00001L1                       \0");
    // Nothing else is set.
    let set = [0..24, 40..48, 256..304, 336..340, 344..352, 568..600];
    assert!(memory.iter().enumerate().all(|(at, byte)| *byte == 0 || set.iter().any(|range| range.contains(&at))));
}

#[test]
fn kinds_differ_in_their_type_only() {
    let bytes = |kind| Blank { kind, ..blank() }.image().expect("made")[384..388].to_vec();
    assert_eq!(bytes(MediumType::CLEANING), [2, 0, 0, 20]);
    assert_eq!(bytes(MediumType::WORM), [4, 0, 0, 0]);
}

#[test]
fn what_the_format_has_no_room_for_is_refused() {
    let long = Blank { barcode: b"123456789012345678901".to_vec(), ..blank() };
    assert_eq!(long.image(), Err(BlankError::BarcodeTooLong));
    assert_eq!(Blank { barcode: b"a\0b".to_vec(), ..blank() }.image(), Err(BlankError::BarcodeHasNul));
    assert_eq!(Blank { mib: 0, ..blank() }.image(), Err(BlankError::Capacity));
    assert_eq!(Blank { mib: MIB_MAX + 1, ..blank() }.image(), Err(BlankError::Capacity));
    let longest = Blank { barcode: vec![b'9'; BARCODE_MAX], created: u32::MAX, mib: MIB_MAX, ..blank() }.image().expect("made");
    let (_, _, memory) = open(longest.as_slice()).expect("opens");
    assert_eq!(memory.serial(), b"99999999999999999999_4294967295");
    assert_eq!(memory.created(), Some(4_294_967_295));
}

#[test]
fn blocks_follow_each_other_as_a_drive_writes_them() {
    let mut image = blank().image().expect("made");
    write(&mut image, BlockType::DATA, &[7; 512]);
    write(&mut image, BlockType::FILEMARK, &[]);
    write(&mut image, BlockType::DATA, &[8; 100]);
    assert_eq!(image.len(), 1956);
    let expected = [(2, 1, 0, 1152, 1712, 512), (0x40, 2, 1152, 1712, 1760, 0), (2, 3, 1712, 1760, 1908, 100), (0x20, 4, 1760, 1908, 1908, 0)];
    assert_eq!(walk(&image), expected);
    assert_eq!(image[1200..1712], [7; 512]);
}

#[test]
fn a_header_that_was_written_over_ends_the_tape_behind_it() {
    let mut image = blank().image().expect("made");
    write(&mut image, BlockType::DATA, &[7; 512]);
    let first = Blocks::new(image.as_slice()).next().expect("one").expect("sound").header;
    let (written, end) = first.replaced_by(BlockType::FILEMARK, 0).expect("fits");
    image[1152..1200].copy_from_slice(&written.encode());
    image[1200..1248].copy_from_slice(&end.encode());
    assert_eq!(walk(&image), [(0x40, 1, 0, 1152, 1200, 0), (0x20, 2, 1152, 1200, 1200, 0)]);
}

#[test]
fn images_that_lie_are_caught() {
    let image = blank().image().expect("made");
    let message = |image: &[u8]| open(image).map(|_| ()).expect_err("refused").to_string();
    assert_eq!(message(&image[..47]), "Could not read blk header: the file ends there");
    assert_eq!(message(&image[..1151]), "Could not read MAM: the file ends there");
    let mut other = image.clone();
    other[48..52].fill(0xff);
    assert_eq!(message(&other), "Unknown media format version ffffffff");

    let short = Blocks::new(&image[..1199]).next().expect("an error").expect_err("short");
    assert!(matches!(short, ImageError::Header { offset: 1152, reason: Reason::Short }));
    // A link to itself, and one into its own data.
    let (mut data, _) = BlockHeader::end_of_data(1, 0, FIRST).replaced_by(BlockType::DATA, 512).expect("fits");
    for next in [0, 1152, 1200, 1711] {
        data.next = next;
        let mut looped = image.clone();
        looped[1152..].copy_from_slice(&data.encode());
        let mut blocks = Blocks::new(looped.as_slice());
        assert!(matches!(blocks.next(), Some(Err(ImageError::Link { offset: 1152, .. }))), "{next}");
        assert!(blocks.next().is_none());
    }
    // A link to nowhere.
    data.next = u64::MAX;
    let mut lost = image.clone();
    lost[1152..].copy_from_slice(&data.encode());
    let found: Vec<bool> = Blocks::new(lost.as_slice()).map(|block| block.is_ok()).collect();
    assert_eq!(found, [true, false]);
    assert_eq!(BlockHeader { current: u64::MAX, ..data }.replaced_by(BlockType::DATA, 1), None);
}

#[test]
fn a_wrong_checksum_is_told_and_the_header_used() {
    let mut image = blank().image().expect("made");
    image[0] ^= 1;
    image[1152] ^= 1;
    let (beginning, sound, _) = open(image.as_slice()).expect("opens");
    assert_eq!((beginning.size, sound), (16, false));
    let block = Blocks::new(image.as_slice()).next().expect("one").expect("read");
    assert_eq!((block.header.kind, block.offset, block.checksum), (BlockType::END, 1152, false));
}

#[test]
fn times_are_read_from_serial_numbers_of_all_sorts() {
    let created = |serial: &[u8]| {
        let mut memory = MediumMemory::from_bytes(Box::new([0; MEDIUM_MEMORY]));
        memory.set_text(field::SERIAL, serial, 0);
        memory.created()
    };
    assert_eq!(created(b"A_B_17"), Some(17));
    assert_eq!(created(b"_17x"), Some(17));
    assert_eq!(created(b"HE_xx"), Some(0));
    assert_eq!(created(b"HELLO"), None);
    assert_eq!(created(b"_9999999999999999999999999999999"), Some(i64::MAX));
}

#[test]
fn a_file_is_an_image_too() {
    let path = std::env::temp_dir().join(format!("scuzzy-cartridge-{}", std::process::id()));
    std::fs::write(&path, blank().image().expect("made")).expect("written");
    let file = File::open(&path).expect("opens");
    assert_eq!(open(&file).expect("opens").0.size, 16);
    assert_eq!(Blocks::new(&file).count(), 1);
    let mut bytes = [0; 4];
    assert_eq!(Image::read_at(&file, u64::MAX - 1, &mut bytes).expect("nothing there"), 0);
    std::fs::remove_file(&path).expect("removed");
}

proptest! {
    #[test]
    fn any_bytes_are_a_header_and_come_back(bytes in prop::array::uniform32(any::<u8>()), rest in prop::array::uniform16(any::<u8>())) {
        let mut all = [0; HEADER];
        all[..32].copy_from_slice(&bytes);
        all[32..].copy_from_slice(&rest);
        let (header, _) = BlockHeader::decode(&all);
        let again = header.encode();
        prop_assert_eq!(&again[4..], &all[4..]);
        prop_assert_eq!(BlockHeader::decode(&again), (header, true));
    }

    #[test]
    fn what_was_written_is_found(sizes in prop::collection::vec(0usize..300, 0..20)) {
        let mut image = blank().image().expect("made");
        for size in &sizes {
            let kind = if *size == 0 { BlockType::FILEMARK } else { BlockType::DATA };
            write(&mut image, kind, &vec![0xa5; *size]);
        }
        let found: Vec<Block> = Blocks::new(image.as_slice()).map(|block| block.expect("sound")).collect();
        prop_assert!(found.iter().all(|block| block.checksum && block.header.current == block.offset));
        let stored: Vec<usize> = found.iter().map(|block| block.header.stored as usize).collect();
        prop_assert_eq!(&stored[..sizes.len()], &sizes[..]);
        prop_assert_eq!(stored.len(), sizes.len() + 1);
    }

    #[test]
    fn no_image_reads_for_ever_or_outside(mut image in prop::collection::vec(any::<u8>(), 0..4000), version in any::<bool>(), next in 0u64..4000) {
        if version && image.len() >= 1200 {
            image[48..52].copy_from_slice(&VERSION.to_be_bytes());
            image[1192..1200].copy_from_slice(&next.to_be_bytes());
        }
        let _ = open(image.as_slice()).map(|(_, _, memory)| (memory.created(), memory.barcode().len(), memory.number(field::LAST_DRIVES)));
        prop_assert!(Blocks::new(image.as_slice()).count() <= image.len() / HEADER + 1);
    }
}
