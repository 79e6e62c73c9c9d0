//! Parameter data: made once, cut once, and read with bounds.
//!
//! Every command that answers with parameter data builds the whole answer, with length fields that tell the whole length, and lets
//! [`Response::finish`] cut it to the ALLOCATION LENGTH: a short allocation length never changes a length field (SPC-6, allocation length).

use alloc::vec::Vec;

/// Parameter data on their way to the initiator. Numbers are big-endian.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Response {
    bytes: Vec<u8>,
    allocation: u32,
}

impl Response {
    /// An empty answer that will be cut to `allocation` bytes.
    pub const fn new(allocation: u32) -> Response {
        Response { bytes: Vec::new(), allocation }
    }

    /// Length so far, in bytes, before the cut.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True when nothing was put yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Everything so far, before the cut.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends one byte.
    pub fn u8(&mut self, byte: u8) -> &mut Response {
        self.bytes.push(byte);
        self
    }

    /// Appends two bytes.
    pub fn be16(&mut self, number: u16) -> &mut Response {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends the low three bytes of `number`; a number of more is 2^24 - 1.
    pub fn be24(&mut self, number: u32) -> &mut Response {
        let [_, high, middle, low] = number.min(0xff_ffff).to_be_bytes();
        self.bytes(&[high, middle, low])
    }

    /// Appends four bytes.
    pub fn be32(&mut self, number: u32) -> &mut Response {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn be64(&mut self, number: u64) -> &mut Response {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends `bytes` as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Response {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends `count` zeros.
    pub fn zeros(&mut self, count: usize) -> &mut Response {
        self.bytes.resize(self.bytes.len() + count, 0);
        self
    }

    /// Appends `text` as a field of `width` bytes: cut when longer, filled with spaces at the right when shorter.
    pub fn text(&mut self, text: &str, width: usize) -> &mut Response {
        let taken = &text.as_bytes()[..text.len().min(width)];
        self.bytes(taken);
        self.bytes.resize(self.bytes.len() + (width - taken.len()), b' ');
        self
    }

    /// Replaces what stands at `at`; bytes beyond the end so far are dropped.
    pub fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Response {
        for (place, &byte) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
        self
    }

    /// Writes the number of bytes after the one-byte field at `at` into it (2^8 - 1 when it does not fit).
    pub fn length8(&mut self, at: usize) -> &mut Response {
        let length = u8::try_from(self.after(at, 1)).unwrap_or(u8::MAX);
        self.put(at, &[length])
    }

    /// Writes the number of bytes after the two-byte field at `at` into it (2^16 - 1 when it does not fit).
    pub fn length16(&mut self, at: usize) -> &mut Response {
        let length = u16::try_from(self.after(at, 2)).unwrap_or(u16::MAX);
        self.put(at, &length.to_be_bytes())
    }

    /// Writes the number of bytes after the four-byte field at `at` into it (2^32 - 1 when it does not fit).
    pub fn length32(&mut self, at: usize) -> &mut Response {
        let length = u32::try_from(self.after(at, 4)).unwrap_or(u32::MAX);
        self.put(at, &length.to_be_bytes())
    }

    /// The answer, cut to the allocation length.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(usize::try_from(self.allocation).unwrap_or(usize::MAX));
        self.bytes
    }

    fn after(&self, at: usize, width: usize) -> usize {
        self.bytes.len().saturating_sub(at.saturating_add(width))
    }
}

/// Big-endian 16-bit number at byte `at`, `None` when it is not all there.
#[inline]
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// Big-endian 24-bit number at byte `at`, `None` when it is not all there.
#[inline]
pub fn be24(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|[high, middle, low]: [u8; 3]| u32::from_be_bytes([0, high, middle, low]))
}

/// Big-endian 32-bit number at byte `at`, `None` when it is not all there.
#[inline]
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// Big-endian 64-bit number at byte `at`, `None` when it is not all there.
#[inline]
pub fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_be_bytes)
}

#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cut_leaves_length_fields_alone() {
        let build = |allocation| {
            let mut response = Response::new(allocation);
            response.be32(0).zeros(4).be64(7).be64(8).length32(0);
            response.finish()
        };
        assert_eq!(build(100), [0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8]);
        assert_eq!(build(5), [0, 0, 0, 20, 0]);
        assert!(build(0).is_empty());
    }

    #[test]
    fn fields() {
        let mut response = Response::new(u32::MAX);
        response.u8(1).be16(0x0203).be24(0xff00_0001).text("abcdef", 4).text("xy", 4).put(0, &[9]).put(100, &[1]).length8(1).length16(2);
        assert_eq!(response.len(), 14);
        assert_eq!(response.as_slice(), [9, 12, 0, 10, 0xff, 0xff, b'a', b'b', b'c', b'd', b'x', b'y', b' ', b' ']);
        assert!(!response.is_empty());
    }

    #[test]
    fn text_may_be_cut_inside_a_character() {
        let mut response = Response::new(8);
        response.text("\u{e9}\u{e9}", 3);
        assert_eq!(response.finish(), [0xc3, 0xa9, 0xc3]);
    }

    #[test]
    fn readers_stop_at_the_end() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(be16(&bytes, 7), Some(0x0809));
        assert_eq!(be16(&bytes, 8), None);
        assert_eq!(be24(&bytes, 0), Some(0x01_0203));
        assert_eq!(be32(&bytes, 5), Some(0x0607_0809));
        assert_eq!(be64(&bytes, 1), Some(0x0203_0405_0607_0809));
        assert_eq!(be64(&bytes, 2), None);
        assert_eq!(be32(&bytes, usize::MAX), None);
    }

    proptest! {
        #[test]
        fn readers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20), at: usize) {
            for at in [at, at % 24] {
                prop_assert_eq!(be16(&bytes, at).is_some(), at.checked_add(2).is_some_and(|end| end <= bytes.len()));
                prop_assert_eq!(be24(&bytes, at).is_some(), at.checked_add(3).is_some_and(|end| end <= bytes.len()));
                prop_assert_eq!(be32(&bytes, at).is_some(), at.checked_add(4).is_some_and(|end| end <= bytes.len()));
                prop_assert_eq!(be64(&bytes, at).is_some(), at.checked_add(8).is_some_and(|end| end <= bytes.len()));
            }
        }
    }
}
