//! Text of login and text PDUs (RFC 7143 6.1): `key=value` pairs, each ended by a NUL, gathered over PDUs whose C bit is one.

use alloc::vec::Vec;

/// Longest key name, in bytes (RFC 7143 6.1).
pub const MAX_KEY_LEN: usize = 63;
/// Longest value, in bytes. The RFC asks for 255 and lets binary values be longer: a CHAP challenge of 1024 bytes is 2050 in hexadecimal.
pub const MAX_VALUE_LEN: usize = 8192;
/// Most bytes of one text, over all its PDUs: eight full login PDUs. Real logins use less than one.
pub const MAX_TEXT_LEN: usize = 65_536;
/// Most pairs of one text: the RFCs define about 40 keys.
pub const MAX_PAIRS: usize = 256;

/// The text cannot be cut into pairs, or is beyond a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextError {
    /// Not `key=value`, not UTF-8, or an empty key.
    Malformed,
    /// A key or value is too long, or there are too many of them.
    TooLong,
}

/// Gathers the text of several PDUs.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    bytes: Vec<u8>,
}

impl Collector {
    /// Adds the data segment of a PDU.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), TextError> {
        if self.bytes.len() + bytes.len() > MAX_TEXT_LEN {
            return Err(TextError::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The whole text; the collector is empty again.
    pub fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.bytes)
    }
}

/// Cuts a text into its pairs, in order.
pub fn pairs(text: &[u8]) -> Result<Vec<(&str, &str)>, TextError> {
    let mut found = Vec::new();
    for pair in text.split(|&byte| byte == 0).filter(|pair| !pair.is_empty()) {
        let (key, value) = core::str::from_utf8(pair).ok().and_then(|pair| pair.split_once('=')).ok_or(TextError::Malformed)?;
        if key.is_empty() {
            return Err(TextError::Malformed);
        }
        if key.len() > MAX_KEY_LEN || value.len() > MAX_VALUE_LEN || found.len() == MAX_PAIRS {
            return Err(TextError::TooLong);
        }
        found.push((key, value));
    }
    Ok(found)
}

/// Appends a pair.
pub fn push(text: &mut Vec<u8>, key: &str, value: &str) {
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    text.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_may_be_cut_anywhere() {
        let mut collector = Collector::default();
        for byte in b"A=1\0B=\0\0C=x=y\0" {
            collector.add(&[*byte]).unwrap();
        }
        assert_eq!(pairs(&collector.take()).unwrap(), [("A", "1"), ("B", ""), ("C", "x=y")]);
        assert!(collector.take().is_empty());
    }

    #[test]
    fn what_is_not_a_pair_is_refused() {
        assert_eq!(pairs(b"novalue\0"), Err(TextError::Malformed));
        assert_eq!(pairs(b"=v\0"), Err(TextError::Malformed));
        assert_eq!(pairs(b"A=\xff\0"), Err(TextError::Malformed));
        assert_eq!(pairs(&[b'k'; 70]), Err(TextError::Malformed));
        let mut long = std::vec![b'k'; 64];
        long.extend_from_slice(b"=1\0");
        assert_eq!(pairs(&long), Err(TextError::TooLong));
        assert_eq!(pairs(&b"A=1\0".repeat(257)), Err(TextError::TooLong));
        assert_eq!(Collector::default().add(&[0; MAX_TEXT_LEN + 1]), Err(TextError::TooLong));
    }
}
