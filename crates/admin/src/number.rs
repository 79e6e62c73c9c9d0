//! Numbers as C programs read them: this is the syntax of tgt's command lines and parameter texts.

/// What was read from the front of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read<T> {
    /// The value.
    pub value: T,
    /// The value did not fit; `value` is the nearest end of the range.
    pub overflow: bool,
}

/// `strtoull(text, .., 0)`: leading white space, an optional sign, then hexadecimal after `0x`, octal after `0`, decimal otherwise; what follows the digits is
/// ignored. A minus sign negates in 64-bit arithmetic. `None`: no digits.
pub fn unsigned(text: &[u8]) -> Option<Read<u64>> {
    let parts = parts(text, 0)?;
    if parts.overflow {
        return Some(Read { value: u64::MAX, overflow: true });
    }
    let value = if parts.negative { parts.magnitude.wrapping_neg() } else { parts.magnitude };
    Some(Read { value, overflow: false })
}

/// `strtoull(text, .., 10)` cut to what fits, and 0 for junk, as `atoi` does for texts in range.
pub fn decimal(text: &str) -> i64 {
    let Some(parts) = parts(text.as_bytes(), 10) else { return 0 };
    let magnitude = i64::try_from(parts.magnitude).unwrap_or(i64::MAX);
    if parts.negative { -magnitude } else { magnitude }
}

/// A number of C syntax within `low..=high`; trailing junk is ignored, negative and overflowing numbers are outside of every range.
pub fn in_range(text: &str, low: u64, high: u64) -> Option<u64> {
    let parts = parts(text.as_bytes(), 0)?;
    let outside = parts.overflow || (parts.negative && parts.magnitude != 0);
    (!outside && (low..=high).contains(&parts.magnitude)).then_some(parts.magnitude)
}

/// Sign and digits of a number.
struct Parts {
    negative: bool,
    magnitude: u64,
    overflow: bool,
}

/// Splits the number at the front of `text`. `base` 0: by prefix. `None`: no digits.
fn parts(text: &[u8], base: u32) -> Option<Parts> {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    let (negative, digits) = match text[start..].split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, &text[start..]),
    };
    let (base, digits) = match (base, digits) {
        (0, [b'0', b'x' | b'X', rest @ ..]) if rest.first().is_some_and(u8::is_ascii_hexdigit) => (16, rest),
        (0, [b'0', ..]) => (8, digits),
        (0, _) => (10, digits),
        (fixed, _) => (fixed, digits),
    };
    let mut magnitude = Some(0u64);
    let mut count = 0usize;
    for digit in digits.iter().map_while(|byte| char::from(*byte).to_digit(base)) {
        count += 1;
        magnitude = magnitude.and_then(|value| value.checked_mul(u64::from(base))?.checked_add(u64::from(digit)));
    }
    let overflow = magnitude.is_none();
    (count > 0).then_some(Parts { negative, magnitude: magnitude.unwrap_or(u64::MAX), overflow })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<u64> {
        unsigned(text.as_bytes()).map(|read| read.value)
    }

    #[test]
    fn reads_as_strtoull_does() {
        let cases = [
            ("5", Some(5)),
            ("5:", Some(5)),
            (" \t+12abc", Some(12)),
            ("0x10", Some(16)),
            ("0X1g", Some(1)),
            ("0x", Some(0)),
            ("010", Some(8)),
            ("08", Some(0)),
            ("-1", Some(u64::MAX)),
            ("-5", Some(u64::MAX - 4)),
            ("-0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("", None),
            ("x", None),
            ("- 5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), expected, "{text:?}");
        }
        assert_eq!(unsigned(b"18446744073709551616"), Some(Read { value: u64::MAX, overflow: true }));
    }

    #[test]
    fn ranges_refuse_what_is_outside() {
        assert_eq!(in_range("0x2000", 512, 16_777_215), Some(8192));
        assert_eq!(in_range("8192x", 512, 16_777_215), Some(8192));
        assert_eq!(in_range("-5", 0, u64::MAX), None);
        assert_eq!(in_range("4294967297", 0, 16_777_215), None);
        assert_eq!(in_range("", 0, 9), None);
        assert_eq!((decimal("7x"), decimal("x"), decimal("-3"), decimal("010")), (7, 0, -3, 10));
    }
}
