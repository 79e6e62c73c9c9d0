//! TransportIDs of iSCSI initiator ports (SPC-6 7.6.4): how PERSISTENT RESERVE IN and OUT name an initiator.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Longest iSCSI name in bytes (RFC 7143 4.2.7.1).
pub const MAX_NAME: usize = 223;

/// PROTOCOL IDENTIFIER of iSCSI.
const ISCSI: u8 = 0x05;
/// TPID FORMAT 01b: a port, with its ISID.
const PORT_FORMAT: u8 = 0x40;
/// Bytes before the name.
const HEADER: usize = 4;
/// Least ADDITIONAL LENGTH.
const LEAST: usize = 20;
/// Between the name and the ISID of a port.
const SEPARATOR: &str = ",i,0x";

/// An iSCSI initiator device, or one of its ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportId {
    /// iSCSI name of the initiator.
    pub name: String,
    /// ISID of the port; `None`: the device with all its ports (TPID FORMAT 00b).
    pub isid: Option<[u8; 6]>,
}

impl TransportId {
    /// The TransportID at the start of `bytes`, and its length. `None`: of another protocol, malformed, or cut off.
    pub fn parse(bytes: &[u8]) -> Option<(TransportId, usize)> {
        let &[first, _, high, low, ref rest @ ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < LEAST || !length.is_multiple_of(4) {
            return None;
        }
        let field = rest.get(..length)?;
        let end = field.iter().position(|&byte| byte == 0)?;
        let text = core::str::from_utf8(field.get(..end)?).ok()?;
        let (name, isid) = match first {
            ISCSI => (text, None),
            first if first == ISCSI | PORT_FORMAT => {
                let (name, digits) = text.rsplit_once(SEPARATOR)?;
                (name, Some(parse_isid(digits)?))
            }
            _ => return None,
        };
        let valid = !name.is_empty() && name.len() <= MAX_NAME;
        valid.then(|| (TransportId { name: name.to_string(), isid }, HEADER + length))
    }

    /// The bytes: at least 24, a multiple of four, the text ended by NUL. A name longer than an iSCSI name can be is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut end = self.name.len().min(MAX_NAME);
        while !self.name.is_char_boundary(end) {
            end -= 1;
        }
        let mut text = self.name[..end].to_string();
        if let Some(isid) = self.isid {
            let digits = isid.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
            text.push_str(&format!("{SEPARATOR}{digits:012x}"));
        }
        let length = (text.len() + 1).next_multiple_of(4).max(LEAST);
        let format = if self.isid.is_some() { PORT_FORMAT } else { 0 };
        let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let mut bytes = Vec::from([ISCSI | format, 0, high, low]);
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(HEADER + length, 0);
        bytes
    }
}

/// Twelve hexadecimal digits.
fn parse_isid(digits: &str) -> Option<[u8; 6]> {
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(digits, 16).ok()?;
    let [_, _, isid @ ..] = number.to_be_bytes();
    Some(isid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    fn port(name: &str, isid: [u8; 6]) -> TransportId {
        TransportId { name: name.to_string(), isid: Some(isid) }
    }

    #[test]
    fn bytes_of_a_port() {
        let id = port("iqn.2026-01.example:a", [0x80, 0, 0, 0xab, 0, 1]);
        let bytes = id.encode();
        assert_eq!(bytes[..4], [0x45, 0, 0, 40]);
        assert_eq!(&bytes[4..], b"iqn.2026-01.example:a,i,0x800000ab0001\0\0");
        assert_eq!(TransportId::parse(&bytes), Some((id, 44)));
    }

    #[test]
    fn bytes_of_a_device() {
        let id = TransportId { name: "eui.1".to_string(), isid: None };
        let bytes = id.encode();
        assert_eq!(bytes, [&[0x05, 0, 0, 20][..], b"eui.1", &[0; 15]].concat());
        assert_eq!(TransportId::parse(&bytes), Some((id, 24)));
    }

    #[test]
    fn refused() {
        let good = port("iqn.2026-01.example:a", [0; 6]).encode();
        let change = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            TransportId::parse(&bytes)
        };
        assert_eq!(change(0, 0x46), None, "SAS");
        assert_eq!(change(0, 0x85), None, "a format that nobody defined");
        assert_eq!(change(3, 16), None, "too short");
        assert_eq!(change(3, 41), None, "no multiple of four");
        assert_eq!(change(3, 44), None, "beyond the end");
        assert_eq!(change(4, 0xff), None, "no UTF-8");
        assert_eq!(change(4, 0), None, "no name");
        assert_eq!(change(30, b'x'), None, "no hexadecimal digit");
        assert_eq!(TransportId::parse(&good[..good.len() - 1]), None);
        assert_eq!(TransportId::parse(&[0x45; 3]), None);
        assert_eq!(TransportId::parse(&[&[0x05, 0, 0, 20][..], &[b'x'; 20]].concat()), None, "no NUL at the end");
        let long = [&[0x05, 0, 0, 228][..], &[b'x'; 224], &[0; 4]].concat();
        assert_eq!(TransportId::parse(&long), None, "longer than a name can be");
        assert_eq!(TransportId { name: vec!["é"; 150].concat(), isid: None }.encode().len(), 4 + 224);
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(name in "[a-z.:-]{1,223}", isid in any::<Option<[u8; 6]>>()) {
            let id = TransportId { name, isid };
            let bytes = id.encode();
            prop_assert!(bytes.len() >= 24 && bytes.len().is_multiple_of(4));
            prop_assert_eq!(TransportId::parse(&bytes), Some((id, bytes.len())));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some((id, length)) = TransportId::parse(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert!(!id.name.is_empty());
            }
        }
    }
}
