//! What is on a tape: for people in tgt's text, for programs in JSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use store::cartridge::{Block, BlockHeader, BlockType, Blocks, Image, ImageError, MediumMemory, MediumType, Reason, field, open};

use crate::{Failure, reason, written};

/// Exit status when there is no such image, or it makes no sense.
const NO_IMAGE: u8 = 1;

/// Lists the image.
pub fn show(path: &Path, json: bool) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| Failure::new(NO_IMAGE, format!("tgtimg: can't open {}, {}", path.display(), reason(&error))))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = list(&file, json, &mut out);
    let flushed = out.flush();
    match outcome {
        Err(End::Failed(failure)) => Err(failure),
        Err(End::Output(error)) => written(Err(error)),
        Ok(()) => written(flushed),
    }
}

/// Why a list ended early.
enum End {
    Failed(Failure),
    Output(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Output(error)
    }
}

fn list<I: Image + ?Sized>(image: &I, json: bool, out: &mut impl Write) -> Result<(), End> {
    let (beginning, sound, memory) = open(image).map_err(|error| End::Failed(no_image(&error)))?;
    if json { programs(image, &beginning, sound, &memory, out) } else { people(image, &beginning, sound, &memory, out) }
}

fn no_image(error: &ImageError) -> Failure {
    match error {
        ImageError::Version(_) => Failure::told(NO_IMAGE, error.to_string()),
        _ => Failure::new(NO_IMAGE, error.to_string()),
    }
}

fn people<I: Image + ?Sized>(image: &I, first: &BlockHeader, sound: bool, memory: &MediumMemory, out: &mut impl Write) -> Result<(), End> {
    writeln!(out, "Media     : {}", printable(memory.barcode()))?;
    writeln!(out, " type     : {}", medium_name(memory.medium_type()))?;
    write!(out, "Media serial number : {}, ", printable(memory.serial()))?;
    match memory.created() {
        Some(seconds) => writeln!(out, "created {}\n", local_time(seconds))?,
        None => writeln!(out)?,
    }
    tell_checksum(sound, out)?;
    writeln!(out, "{}", block_line(first))?;
    for block in Blocks::new(image) {
        match block {
            Ok(block) => {
                tell_checksum(block.checksum, out)?;
                writeln!(out, "{}", block_line(&block.header))?;
            }
            Err(ImageError::Header { reason: Reason::Short, .. }) => writeln!(out, "Could not read complete blk header - short read!!")?,
            Err(error) => return Err(End::Failed(Failure::new(NO_IMAGE, format!("tgtimg: {error}")))),
        }
    }
    Ok(())
}

fn block_line(header: &BlockHeader) -> String {
    let BlockHeader { stored, size, kind, number, previous, current, next } = header;
    let name = format!("{}({})", block_name(*kind), kind.0);
    if *kind == BlockType::BEGINNING {
        format!("{name}: Capacity {size} MB, Blk No.: {number}, prev {previous}, curr {current}, next {next}")
    } else {
        format!("{name}: Blk No. {number}, prev {previous}, curr {current},  next {next}, sz {stored}")
    }
}

/// Between the lines it belongs to, even when both go to one place.
fn tell_checksum(sound: bool, out: &mut impl Write) -> io::Result<()> {
    if !sound {
        out.flush()?;
        eprintln!("crc error");
    }
    Ok(())
}

/// One object, written block by block: a tape may have millions.
fn programs<I: Image + ?Sized>(image: &I, first: &BlockHeader, sound: bool, memory: &MediumMemory, out: &mut impl Write) -> Result<(), End> {
    let facts = [
        ("barcode", json!(printable(memory.barcode()).trim_end())),
        ("serial", json!(printable(memory.serial()))),
        ("created", json!(memory.created())),
        ("type", json!(medium_name(memory.medium_type()))),
        ("capacity_mib", json!(first.size)),
        ("maximum_bytes", json!(memory.number(field::MAXIMUM_CAPACITY))),
        ("remaining_bytes", json!(memory.number(field::REMAINING_CAPACITY))),
        ("load_count", json!(memory.number(field::LOAD_COUNT))),
        ("checksum_ok", json!(sound)),
    ];
    write!(out, "{{")?;
    for (key, value) in facts {
        write!(out, "\"{key}\":{value},")?;
    }
    write!(out, "\"blocks\":[")?;
    let mut damage = None;
    for (index, block) in Blocks::new(image).enumerate() {
        match block {
            Ok(block) => write!(out, "{}{}", if index == 0 { "" } else { "," }, block_object(&block))?,
            Err(error) => damage = Some(error.to_string()),
        }
    }
    writeln!(out, "],\"damage\":{}}}", json!(damage))?;
    match damage {
        Some(damage) => Err(End::Failed(Failure::new(NO_IMAGE, format!("tgtimg: {damage}")))),
        None => Ok(()),
    }
}

fn block_object(block: &Block) -> Value {
    let header = &block.header;
    json!({
        "type": header.kind.0,
        "name": block_name(header.kind).trim_start(),
        "number": header.number,
        "previous": header.previous,
        "offset": block.offset,
        "next": header.next,
        "stored_bytes": header.stored,
        "bytes": header.size,
        "checksum_ok": block.checksum,
    })
}

/// As tgt aligns them.
fn block_name(kind: BlockType) -> &'static str {
    match kind {
        BlockType::NO_OPERATION => "      No Operation",
        BlockType::DATA => " Uncompressed data",
        BlockType::FILEMARK => "         Filemark",
        BlockType::BEGINNING => "Beginning of Tape",
        BlockType::END => "      End of Data",
        _ => "      Unknown type",
    }
}

fn medium_name(kind: MediumType) -> &'static str {
    match kind {
        MediumType::UNSPECIFIED => "Unspecified",
        MediumType::DATA => "Data",
        MediumType::CLEANING => "Cleaning",
        MediumType::DIAGNOSTICS => "Diagnostics",
        MediumType::WORM => "WORM",
        MediumType::MICROCODE => "Microcode",
        _ => "Unknown",
    }
}

/// As `ctime` prints it: the local time zone, the day in two columns.
fn local_time(seconds: i64) -> String {
    let Ok(time) = Timestamp::from_second(seconds) else { return format!("{seconds} seconds after 1970") };
    time.to_zoned_datetime(TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// An image may come from anywhere, and this goes to a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use store::cartridge::{Blank, HEADER};

    use super::*;

    fn image() -> Vec<u8> {
        let mut image = Blank { mib: 16, kind: MediumType::DATA, barcode: b"A00001L1".to_vec(), created: 1_795_441_302 }.image().expect("made");
        let mut at = BlockHeader::end_of_data(1, 0, 1152);
        image.truncate(1152);
        for (kind, size) in [(BlockType::DATA, 512), (BlockType::FILEMARK, 0), (BlockType::DATA, 100)] {
            let (written, end) = at.replaced_by(kind, size).expect("fits");
            image.extend_from_slice(&written.encode());
            image.resize(image.len() + size as usize, 7);
            at = end;
        }
        image.extend_from_slice(&at.encode());
        image
    }

    fn listed(image: &[u8], json: bool) -> (String, Option<u8>) {
        let mut out = Vec::new();
        let status = match list(image, json, &mut out) {
            Ok(()) => None,
            Err(End::Failed(failure)) => Some(failure.status),
            Err(End::Output(error)) => panic!("{error}"),
        };
        (String::from_utf8(out).expect("text"), status)
    }

    #[test]
    fn a_written_tape_in_tgts_text() {
        let (text, status) = listed(&image(), false);
        assert_eq!(status, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["Media     : A00001L1                       ", " type     : Data"]);
        assert!(lines[2].starts_with("Media serial number : A00001L1_1795441302, created "), "{}", lines[2]);
        let expected = [
            "",
            "Beginning of Tape(16): Capacity 16 MB, Blk No.: 0, prev 0, curr 0, next 1152",
            " Uncompressed data(2): Blk No. 1, prev 0, curr 1152,  next 1712, sz 512",
            "         Filemark(64): Blk No. 2, prev 1152, curr 1712,  next 1760, sz 0",
            " Uncompressed data(2): Blk No. 3, prev 1712, curr 1760,  next 1908, sz 100",
            "      End of Data(32): Blk No. 4, prev 1760, curr 1908,  next 1908, sz 0",
        ];
        assert_eq!(lines[3..], expected);
    }

    #[test]
    fn a_written_tape_for_programs() {
        let (text, status) = listed(&image(), true);
        assert_eq!(status, None);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["barcode"], &value["created"], &value["type"]), (&json!("A00001L1"), &json!(1_795_441_302), &json!("Data")));
        assert_eq!(value["blocks"][1]["name"], json!("Filemark"));
        assert_eq!((&value["blocks"][3]["offset"], &value["damage"]), (&json!(1908), &Value::Null));
        assert_eq!(value["blocks"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn damage_ends_the_list() {
        let image = image();
        let (text, status) = listed(&image[..1720], false);
        assert_eq!((text.lines().last(), status), (Some("Could not read complete blk header - short read!!"), None));
        let (text, status) = listed(&image[..1720], true);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["damage"], status), (&json!("header at offset 1712: the file ends there"), Some(1)));

        let mut looped = image.clone();
        let (mut header, _) = BlockHeader::decode(image[1152..1152 + HEADER].try_into().expect("48 bytes"));
        header.next = 1152;
        looped[1152..1152 + HEADER].copy_from_slice(&header.encode());
        assert_eq!(listed(&looped, false).1, Some(1));
        assert_eq!(listed(&image[..40], false), (String::new(), Some(1)));
    }

    #[test]
    fn terminals_are_not_driven_by_images() {
        assert_eq!(printable(b"A\x1b[2J\n"), "A?[2J?");
        assert_eq!(local_time(i64::MAX), "9223372036854775807 seconds after 1970");
    }
}
