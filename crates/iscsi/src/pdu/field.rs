//! Places of fields in a basic header segment, and the macro that makes a PDU type of a table of them.

use alloc::string::String;
use core::fmt::{Debug, Write};

use scsi::Lun;

use super::Header;

/// A place in a header that holds a value.
pub trait Place {
    /// What it holds.
    type Value: Copy + Debug + PartialEq + Default;
    /// Reads it.
    fn get(&self, header: &Header) -> Self::Value;
    /// Writes it; bits beyond the field's width are dropped.
    fn put(&self, header: &mut Header, value: Self::Value);
}

/// One bit: byte, mask.
pub struct Flag(pub usize, pub u8);
/// Some low-aligned bits of a byte: byte, mask, shift.
pub struct Bits(pub usize, pub u8, pub u8);
/// A byte.
pub struct U8(pub usize);
/// Big-endian two bytes.
pub struct U16(pub usize);
/// Big-endian three bytes.
pub struct U24(pub usize);
/// Big-endian four bytes.
pub struct U32(pub usize);
/// Eight bytes of LUN.
pub struct LunAt(pub usize);
/// Some bytes.
pub struct Bytes<const N: usize>(pub usize);

impl Place for Flag {
    type Value = bool;
    fn get(&self, header: &Header) -> bool {
        header[self.0] & self.1 != 0
    }
    fn put(&self, header: &mut Header, value: bool) {
        if value {
            header[self.0] |= self.1;
        }
    }
}

impl Place for Bits {
    type Value = u8;
    fn get(&self, header: &Header) -> u8 {
        (header[self.0] & self.1) >> self.2
    }
    fn put(&self, header: &mut Header, value: u8) {
        header[self.0] |= (value << self.2) & self.1;
    }
}

impl Place for U8 {
    type Value = u8;
    fn get(&self, header: &Header) -> u8 {
        header[self.0]
    }
    fn put(&self, header: &mut Header, value: u8) {
        header[self.0] = value;
    }
}

impl Place for U16 {
    type Value = u16;
    fn get(&self, header: &Header) -> u16 {
        u16::from_be_bytes([header[self.0], header[self.0 + 1]])
    }
    fn put(&self, header: &mut Header, value: u16) {
        header[self.0..self.0 + 2].copy_from_slice(&value.to_be_bytes());
    }
}

impl Place for U24 {
    type Value = u32;
    fn get(&self, header: &Header) -> u32 {
        u32::from_be_bytes([0, header[self.0], header[self.0 + 1], header[self.0 + 2]])
    }
    fn put(&self, header: &mut Header, value: u32) {
        header[self.0..self.0 + 3].copy_from_slice(&value.to_be_bytes()[1..]);
    }
}

impl Place for U32 {
    type Value = u32;
    fn get(&self, header: &Header) -> u32 {
        super::u32_at(header, self.0)
    }
    fn put(&self, header: &mut Header, value: u32) {
        super::put_u32(header, self.0, value);
    }
}

impl Place for LunAt {
    type Value = Lun;
    fn get(&self, header: &Header) -> Lun {
        Lun(Bytes::<8>(self.0).get(header))
    }
    fn put(&self, header: &mut Header, value: Lun) {
        Bytes::<8>(self.0).put(header, value.0);
    }
}

impl<const N: usize> Place for Bytes<N>
where
    [u8; N]: Default,
{
    type Value = [u8; N];
    fn get(&self, header: &Header) -> [u8; N] {
        header[self.0..].first_chunk().copied().unwrap_or_default()
    }
    fn put(&self, header: &mut Header, value: [u8; N]) {
        header[self.0..self.0 + N].copy_from_slice(&value);
    }
}

/// How a field's value is shown to people.
pub trait Show {
    /// Appends the value.
    fn show(&self, out: &mut String);
}

impl Show for bool {
    fn show(&self, out: &mut String) {
        out.push_str(if *self { "1" } else { "0" });
    }
}

macro_rules! show_number {
    ($($type:ty),*) => {$(
        impl Show for $type {
            fn show(&self, out: &mut String) {
                // Writing to a String cannot fail.
                let _ = if *self < 10 { write!(out, "{self}") } else { write!(out, "{self} (0x{self:x})") };
            }
        }
    )*};
}
show_number!(u8, u16, u32);

impl<const N: usize> Show for [u8; N] {
    fn show(&self, out: &mut String) {
        for byte in self {
            let _ = write!(out, "{byte:02x}");
        }
    }
}

impl Show for Lun {
    fn show(&self, out: &mut String) {
        let _ = match self.number() {
            Some(number) => write!(out, "{number}"),
            None => write!(out, "{:02x?}", self.0),
        };
    }
}

/// Makes a PDU type: a value struct with `encode`, `decode` and `fields`.
macro_rules! pdu {
    ($(#[$doc:meta])* $name:ident = $opcode:expr, byte1 $byte1:literal { $($(#[$field_doc:meta])* $field:ident : $type:ty = $place:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// Operation code.
            pub const OPCODE: $crate::pdu::Opcode = $opcode;

            /// The fields of a header. Every header decodes; the opcode is not looked at.
            pub fn decode(header: &$crate::pdu::Header) -> $name {
                $name { $($field: $crate::pdu::field::Place::get(&$place, header),)* }
            }

            /// The header, with zero lengths of additional headers and data.
            pub fn encode(&self) -> $crate::pdu::Header {
                let mut header = [0; $crate::framing::BHS_LEN];
                header[0] = Self::OPCODE.0;
                header[1] = $byte1;
                $($crate::pdu::field::Place::put(&$place, &mut header, self.$field);)*
                header
            }

            /// Calls `each` with name and value of every field, in the order of the type.
            pub fn fields(&self, each: &mut dyn FnMut(&'static str, &dyn $crate::pdu::field::Show)) {
                $(each(stringify!($field), &self.$field);)*
            }
        }
    };
}
pub(super) use pdu;
