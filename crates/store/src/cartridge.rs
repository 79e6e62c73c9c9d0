//! Tape cartridges in a file: tgt's image format, read and written.
//!
//! An image is a doubly linked list of blocks, each a header and its data. The first block is the beginning of the tape; its data are the medium auxiliary
//! memory. The last one is the end of data. What follows it in the file does not count.
//!
//! | file offset | what |
//! |---|---|
//! | 0 | header of the beginning of the tape |
//! | 48 | [`MediumMemory`] |
//! | 1152 | header of the first block, or of the end of data |
//!
//! Encoding and decoding know no files. [`Blocks`] walks over an image that may be damaged or hostile: it reads only where it was told to, and ends, because
//! every link must lead forward. It is for one thread that may block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crc_fast::{CrcAlgorithm, checksum};

pub use medium_memory::{Field, MediumMemory, field};

mod medium_memory;

/// Bytes of a block's header.
pub const HEADER: usize = 48;
/// Bytes of the medium auxiliary memory.
pub const MEDIUM_MEMORY: usize = 1104;
/// Where the first header after the beginning of the tape stands.
pub const FIRST: u64 = (HEADER + MEDIUM_MEMORY) as u64;
/// Bytes of an image without data.
pub const BLANK: usize = HEADER + MEDIUM_MEMORY + HEADER;
/// The one version of the format.
pub const VERSION: u32 = 2;
/// Most bytes of a barcode: with `_` and ten digits of time it must leave room for a NUL in the 32 bytes of the serial number.
pub const BARCODE_MAX: usize = 20;
/// Capacity of a cartridge that is made without one, in MiB.
pub const DEFAULT_MIB: u32 = 8000;
/// Highest capacity in MiB: programs that read the format take it as a signed number.
pub const MIB_MAX: u32 = i32::MAX as u32;

/// What a block is. Numbers without a meaning are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockType(pub u32);

impl BlockType {
    /// Nothing.
    pub const NO_OPERATION: BlockType = BlockType(0);
    /// Data, compressed. Nobody writes such blocks.
    pub const COMPRESSED: BlockType = BlockType(1);
    /// Data.
    pub const DATA: BlockType = BlockType(2);
    /// Data, encrypted. Nobody writes such blocks.
    pub const ENCRYPTED: BlockType = BlockType(4);
    /// Beginning of the tape.
    pub const BEGINNING: BlockType = BlockType(0x10);
    /// End of data.
    pub const END: BlockType = BlockType(0x20);
    /// Filemark.
    pub const FILEMARK: BlockType = BlockType(0x40);
    /// Setmark. Nobody writes such blocks.
    pub const SETMARK: BlockType = BlockType(0x80);
}

/// A block's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// Bytes of data that follow in the file.
    pub stored: u32,
    /// Bytes of data for the initiator; of the beginning of the tape: its capacity in MiB.
    pub size: u32,
    /// What it is.
    pub kind: BlockType,
    /// Number: 0 for the beginning of the tape, then one by one, filemarks and the end of data included.
    pub number: u64,
    /// File offset of the header before.
    pub previous: u64,
    /// File offset of this header.
    pub current: u64,
    /// File offset of the next header; of the end of data: its own.
    pub next: u64,
}

impl BlockHeader {
    /// The end of data at `current`.
    pub fn end_of_data(number: u64, previous: u64, current: u64) -> BlockHeader {
        BlockHeader { stored: 0, size: 0, kind: BlockType::END, number, previous, current, next: current }
    }

    /// The header at the tape's position becomes a block of `kind` with `size` bytes of data: that header, and the end of data to be written behind the data.
    /// `None`: the image would grow beyond all numbers.
    pub fn replaced_by(&self, kind: BlockType, size: u32) -> Option<(BlockHeader, BlockHeader)> {
        let next = self.data_offset()?.checked_add(u64::from(size))?;
        let written = BlockHeader { stored: size, size, kind, next, ..*self };
        Some((written, BlockHeader::end_of_data(self.number.checked_add(1)?, self.current, next)))
    }

    /// File offset of the data. `None`: beyond all numbers.
    pub fn data_offset(&self) -> Option<u64> {
        self.current.checked_add(HEADER as u64)
    }

    /// The bytes in the file, checksum included.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[4..8].copy_from_slice(&self.stored.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.kind.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.previous.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.current.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.next.to_be_bytes());
        let sum = sum(&bytes);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Any 48 bytes are a header; the second value tells whether its checksum is right.
    pub fn decode(bytes: &[u8; HEADER]) -> (BlockHeader, bool) {
        let header = BlockHeader {
            stored: narrow(bytes, 4),
            size: narrow(bytes, 8),
            kind: BlockType(narrow(bytes, 12)),
            number: wide(bytes, 16),
            previous: wide(bytes, 24),
            current: wide(bytes, 32),
            next: wide(bytes, 40),
        };
        (header, bytes[..4] == sum(bytes).to_le_bytes())
    }
}

/// Kind of medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediumType(pub u8);

impl MediumType {
    /// Not said.
    pub const UNSPECIFIED: MediumType = MediumType(0);
    /// For data.
    pub const DATA: MediumType = MediumType(1);
    /// Cleans the drive.
    pub const CLEANING: MediumType = MediumType(2);
    /// For diagnostics.
    pub const DIAGNOSTICS: MediumType = MediumType(3);
    /// Write once.
    pub const WORM: MediumType = MediumType(4);
    /// Holds microcode.
    pub const MICROCODE: MediumType = MediumType(5);
}

/// A cartridge to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blank {
    /// Capacity in MiB, 1 to [`MIB_MAX`].
    pub mib: u32,
    /// Kind.
    pub kind: MediumType,
    /// At most [`BARCODE_MAX`] bytes, no NUL.
    pub barcode: Vec<u8>,
    /// When it is made, in seconds since 1970: part of its serial number.
    pub created: u32,
}

/// Why a cartridge cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlankError {
    /// The barcode is too long.
    #[error("the barcode has more than {BARCODE_MAX} bytes")]
    BarcodeTooLong,
    /// The barcode has a NUL.
    #[error("the barcode has a NUL byte")]
    BarcodeHasNul,
    /// The capacity is 0 or too high.
    #[error("the capacity must be between 1 and {MIB_MAX} MiB")]
    Capacity,
}

impl Blank {
    /// The image.
    ///
    /// # Errors
    /// When the format has no room for what is asked.
    pub fn image(&self) -> Result<Vec<u8>, BlankError> {
        if self.barcode.len() > BARCODE_MAX {
            return Err(BlankError::BarcodeTooLong);
        }
        if self.barcode.contains(&0) {
            return Err(BlankError::BarcodeHasNul);
        }
        if !(1..=MIB_MAX).contains(&self.mib) {
            return Err(BlankError::Capacity);
        }
        let beginning = BlockHeader { stored: 0, size: self.mib, kind: BlockType::BEGINNING, number: 0, previous: 0, current: 0, next: FIRST };
        let mut image = Vec::with_capacity(BLANK);
        image.extend_from_slice(&beginning.encode());
        image.extend_from_slice(MediumMemory::blank(self).bytes());
        image.extend_from_slice(&BlockHeader::end_of_data(1, 0, FIRST).encode());
        Ok(image)
    }
}

/// Something that holds an image.
pub trait Image {
    /// Reads at `offset`; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl Image for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            // Past the highest offset of the system there is nothing to read.
            let at = offset.checked_add(done as u64).filter(|at| i64::try_from(*at).is_ok());
            match at.map_or(Ok(0), |at| FileExt::read_at(self, &mut into[done..], at)) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl Image for [u8] {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// Why an image is none, or where it is damaged.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The header at the beginning cannot be read.
    #[error("Could not read blk header: {0}")]
    Beginning(Reason),
    /// The medium auxiliary memory cannot be read.
    #[error("Could not read MAM: {0}")]
    MediumMemory(Reason),
    /// Not the version that is known.
    #[error("Unknown media format version {0:x}")]
    Version(u32),
    /// The file ends where a header should be, or cannot be read there.
    #[error("header at offset {offset}: {reason}")]
    Header {
        /// File offset.
        offset: u64,
        /// Why.
        reason: Reason,
    },
    /// A link that does not lead behind its block: following it might never end.
    #[error("the block at offset {offset} links back to offset {next}")]
    Link {
        /// File offset of the block.
        offset: u64,
        /// Where its link leads.
        next: u64,
    },
}

/// Why bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The file is too short.
    #[error("the file ends there")]
    Short,
    /// The system says so.
    #[error("{}", plain(.0))]
    System(io::Error),
}

/// The beginning of an image: its header, whether the header's checksum is right, and the medium auxiliary memory.
///
/// # Errors
/// When the file is too short, cannot be read, or is of another version.
pub fn open<I: Image + ?Sized>(image: &I) -> Result<(BlockHeader, bool, MediumMemory), ImageError> {
    let mut header = [0; HEADER];
    fill(image, 0, &mut header).map_err(ImageError::Beginning)?;
    let mut memory = Box::new([0; MEDIUM_MEMORY]);
    fill(image, HEADER as u64, &mut memory[..]).map_err(ImageError::MediumMemory)?;
    let memory = MediumMemory::from_bytes(memory);
    if memory.version() != VERSION {
        return Err(ImageError::Version(memory.version()));
    }
    let (header, sound) = BlockHeader::decode(&header);
    Ok((header, sound, memory))
}

/// A block that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Its header.
    pub header: BlockHeader,
    /// File offset at which it was found; a sound header says the same.
    pub offset: u64,
    /// The checksum is right.
    pub checksum: bool,
}

/// The blocks of an image from the first after the beginning up to the end of data, each with its header only. Ends after the first error.
#[derive(Debug)]
pub struct Blocks<'a, I: Image + ?Sized> {
    image: &'a I,
    /// File offset of the next header; `None` at the end.
    next: Option<u64>,
}

impl<'a, I: Image + ?Sized> Blocks<'a, I> {
    /// From the first block.
    pub fn new(image: &'a I) -> Blocks<'a, I> {
        Blocks { image, next: Some(FIRST) }
    }
}

impl<I: Image + ?Sized> Iterator for Blocks<'_, I> {
    type Item = Result<Block, ImageError>;

    fn next(&mut self) -> Option<Result<Block, ImageError>> {
        let offset = self.next.take()?;
        let mut bytes = [0; HEADER];
        if let Err(reason) = fill(self.image, offset, &mut bytes) {
            return Some(Err(ImageError::Header { offset, reason }));
        }
        let (header, checksum) = BlockHeader::decode(&bytes);
        // The end of data may link to itself; whatever else does would be found for ever.
        if header.kind != BlockType::END {
            let behind = offset.checked_add(HEADER as u64 + u64::from(header.stored));
            if behind.is_none_or(|behind| header.next < behind) {
                return Some(Err(ImageError::Link { offset, next: header.next }));
            }
            self.next = Some(header.next);
        }
        Some(Ok(Block { header, offset, checksum }))
    }
}

fn fill<I: Image + ?Sized>(image: &I, offset: u64, into: &mut [u8]) -> Result<(), Reason> {
    match image.read_at(offset, into) {
        Ok(read) if read == into.len() => Ok(()),
        Ok(_) => Err(Reason::Short),
        Err(error) => Err(Reason::System(error)),
    }
}

/// The system's words without Rust's `(os error N)`.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Checksum of a header: it covers all but its own field.
fn sum(header: &[u8; HEADER]) -> u32 {
    // A checksum of 32 bits in a wider type.
    checksum(CrcAlgorithm::Crc32Iscsi, &header[4..]) as u32
}

fn narrow(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn wide(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
