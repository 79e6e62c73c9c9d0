//! The medium auxiliary memory: a chip in the cartridge that drives read and write.

use super::{Blank, MEDIUM_MEMORY, MediumType, VERSION, narrow, wide};

/// A place in the medium auxiliary memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
}

const fn place(offset: usize, len: usize) -> Field {
    Field { offset, len }
}

/// The fields. Numbers are big-endian; texts are padded with blanks or NULs.
pub mod field {
    use super::{Field, place};

    /// Version of the format.
    pub const VERSION: Field = place(0, 4);
    /// Bytes left on the medium.
    pub const REMAINING_CAPACITY: Field = place(8, 8);
    /// Bytes of the medium.
    pub const MAXIMUM_CAPACITY: Field = place(16, 8);
    /// TapeAlert flags.
    pub const TAPE_ALERT: Field = place(24, 8);
    /// How often it was loaded.
    pub const LOAD_COUNT: Field = place(32, 8);
    /// Bytes left for attributes.
    pub const SPACE_REMAINING: Field = place(40, 8);
    /// Organization that assigned the format.
    pub const ASSIGNING_ORGANIZATION_1: Field = place(48, 8);
    /// Density of what is on it.
    pub const FORMATTED_DENSITY: Field = place(56, 1);
    /// How often it was initialized.
    pub const INITIALIZATION_COUNT: Field = place(62, 2);
    /// Vendor and serial number of the last four drives, 40 bytes each.
    pub const LAST_DRIVES: Field = place(64, 160);
    /// MiB written in its life.
    pub const WRITTEN_IN_LIFE: Field = place(224, 8);
    /// MiB read in its life.
    pub const READ_IN_LIFE: Field = place(232, 8);
    /// MiB written since it was loaded.
    pub const WRITTEN_IN_LOAD: Field = place(240, 8);
    /// MiB read since it was loaded.
    pub const READ_IN_LOAD: Field = place(248, 8);
    /// Manufacturer.
    pub const MANUFACTURER: Field = place(256, 8);
    /// Serial number: barcode, `_`, seconds since 1970.
    pub const SERIAL: Field = place(264, 32);
    /// Length in metres.
    pub const LENGTH: Field = place(296, 4);
    /// Width in tenths of a millimetre.
    pub const WIDTH: Field = place(300, 4);
    /// Organization that assigned the medium.
    pub const ASSIGNING_ORGANIZATION_2: Field = place(304, 8);
    /// Density of the medium.
    pub const DENSITY: Field = place(312, 1);
    /// Date of manufacture.
    pub const MANUFACTURE_DATE: Field = place(320, 8);
    /// Bytes for attributes.
    pub const CAPACITY: Field = place(328, 8);
    /// Kind of medium.
    pub const MEDIUM_TYPE: Field = place(336, 1);
    /// More about the kind: cleaning cycles of a cleaning cartridge.
    pub const MEDIUM_TYPE_INFORMATION: Field = place(338, 2);
    /// Vendor of the application that owns it.
    pub const APPLICATION_VENDOR: Field = place(344, 8);
    /// The application.
    pub const APPLICATION_NAME: Field = place(352, 32);
    /// Its version.
    pub const APPLICATION_VERSION: Field = place(384, 8);
    /// The user's label.
    pub const TEXT_LABEL: Field = place(392, 160);
    /// When it was last written.
    pub const LAST_WRITTEN: Field = place(552, 12);
    /// Character set of the texts.
    pub const LOCALIZATION: Field = place(567, 1);
    /// Barcode, padded with blanks, and a NUL.
    pub const BARCODE: Field = place(568, 32);
    /// Host that owns it.
    pub const OWNING_HOST: Field = place(600, 80);
    /// Pool that it belongs to.
    pub const MEDIA_POOL: Field = place(680, 160);
    /// Whatever the vendor wants.
    pub const VENDOR: Field = place(840, 256);
    /// The memory was changed and not yet kept.
    pub const DIRTY: Field = place(1096, 1);
}

/// Cleaning cycles of a new cleaning cartridge.
const CLEANING_CYCLES: u64 = 20;
/// Bytes for attributes in a new cartridge.
const SPACE: u64 = 256;
/// Length of a new cartridge, in metres.
const METRES: u64 = 384;
/// Width of a new cartridge, in tenths of a millimetre.
const WIDTH: u64 = 127;

/// The medium auxiliary memory. All bytes are kept, those without a meaning included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediumMemory(Box<[u8; MEDIUM_MEMORY]>);

impl MediumMemory {
    /// As a file has it.
    pub fn from_bytes(bytes: Box<[u8; MEDIUM_MEMORY]>) -> MediumMemory {
        MediumMemory(bytes)
    }

    /// That of a new cartridge.
    pub(super) fn blank(blank: &Blank) -> MediumMemory {
        let mut memory = MediumMemory(Box::new([0; MEDIUM_MEMORY]));
        let bytes = u64::from(blank.mib) << 20;
        let cleaning = if blank.kind == MediumType::CLEANING { CLEANING_CYCLES } else { 0 };
        let numbers = [
            (field::VERSION, u64::from(VERSION)),
            (field::REMAINING_CAPACITY, bytes),
            (field::MAXIMUM_CAPACITY, bytes),
            (field::SPACE_REMAINING, SPACE),
            (field::LENGTH, METRES),
            (field::WIDTH, WIDTH),
            (field::MEDIUM_TYPE, u64::from(blank.kind.0)),
            (field::MEDIUM_TYPE_INFORMATION, cleaning),
        ];
        for (field, value) in numbers {
            memory.set_number(field, value);
        }
        memory.set_text(field::MANUFACTURER, b"Foo     ", 0);
        memory.set_text(field::APPLICATION_VENDOR, b"Bar     ", 0);
        memory.set_text(field::SERIAL, &[blank.barcode.as_slice(), format!("_{}", blank.created).as_bytes()].concat(), 0);
        memory.set_text(field::BARCODE, &blank.barcode, b' ');
        // Readers take the barcode as a text that ends.
        memory.0[field::BARCODE.offset + field::BARCODE.len - 1] = 0;
        memory
    }

    /// As a file has it.
    pub fn bytes(&self) -> &[u8; MEDIUM_MEMORY] {
        &self.0
    }

    /// The bytes of a field.
    pub fn get(&self, field: Field) -> &[u8] {
        &self.0[field.offset..field.offset + field.len]
    }

    /// A field of up to eight bytes as a number; of longer fields the last eight bytes.
    pub fn number(&self, field: Field) -> u64 {
        match self.get(field) {
            bytes if bytes.len() == 8 => wide(bytes, 0),
            bytes if bytes.len() == 4 => u64::from(narrow(bytes, 0)),
            bytes => bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        }
    }

    /// Sets a number; digits that a short field has no room for are lost.
    pub fn set_number(&mut self, field: Field, value: u64) {
        let digits = value.to_be_bytes();
        let len = field.len.min(digits.len());
        let end = field.offset + field.len;
        self.0[end - len..end].copy_from_slice(&digits[digits.len() - len..]);
    }

    /// Sets a text, cut or padded to the field.
    pub fn set_text(&mut self, field: Field, text: &[u8], pad: u8) {
        let len = text.len().min(field.len);
        let room = &mut self.0[field.offset..field.offset + field.len];
        room[..len].copy_from_slice(&text[..len]);
        room[len..].fill(pad);
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        narrow(&self.0[..], field::VERSION.offset)
    }

    /// Kind of medium.
    pub fn medium_type(&self) -> MediumType {
        MediumType(self.get(field::MEDIUM_TYPE)[0])
    }

    /// Serial number up to its end.
    pub fn serial(&self) -> &[u8] {
        until_nul(self.get(field::SERIAL))
    }

    /// Barcode with its blanks, up to its end.
    pub fn barcode(&self) -> &[u8] {
        until_nul(self.get(field::BARCODE))
    }

    /// When it was made, in seconds since 1970: the digits behind the last `_` of the serial number, 0 when there are none. `None`: no `_`.
    pub fn created(&self) -> Option<i64> {
        let serial = self.serial();
        let at = serial.iter().rposition(|byte| *byte == b'_')?;
        let digits = serial[at + 1..].iter().take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))))
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
