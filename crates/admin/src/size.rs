//! Sizes as people write them.

/// `1048576`, `1M`, `1MiB`, `4G`, `4g`, `1.5G`, `2T`: bytes, or powers of 1024.
///
/// # Errors
/// A line for people: not a number, an unknown unit, zero, or more than 8 EiB.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(format!("`{text}` is no size: write bytes or a number with K, M, G, T, for example 512M")),
    };
    let bytes = scaled(number, shift).ok_or_else(|| format!("`{text}` is no size: write for example 512M, 4G or 1.5T"))?;
    match bytes {
        0 => Err("a size of zero holds nothing".into()),
        bytes if bytes > 1 << 62 => Err(format!("`{text}` is more than 4 EiB")),
        bytes => Ok(bytes),
    }
}

/// `number << shift` with an optional decimal fraction, exact for the whole part. `None` when it is no number or does not fit.
fn scaled(number: &str, shift: u32) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let unit = 1u64 << shift;
    let mut bytes = whole.checked_mul(unit)?;
    let mut weight = 1u64;
    for digit in fraction.chars().take(6) {
        weight *= 10;
        bytes = bytes.checked_add(u64::from(digit.to_digit(10)?) * unit / weight)?;
    }
    Some(bytes)
}

/// Bytes in words, in powers of 1024: `1 GiB`, `1.5 MiB`, `700 B`.
pub fn words(bytes: u64) -> String {
    let mut shift = 0;
    let mut name = "B";
    for (step, unit) in [(10, "KiB"), (20, "MiB"), (30, "GiB"), (40, "TiB"), (50, "PiB")] {
        if bytes >= 1 << step {
            (shift, name) = (step, unit);
        }
    }
    let whole = bytes >> shift;
    let rest = bytes - (whole << shift);
    let tenths = (u128::from(rest) * 10) >> shift;
    if tenths == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_written() {
        for (text, want) in
            [("512", 512), ("1K", 1024), ("4G", 4 << 30), ("4gib", 4 << 30), ("1.5G", 3 << 29), ("2TB", 2 << 40), (" 7 M", 7 << 20), ("0.5K", 512)]
        {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        for text in ["", "G", "x", "-1", "0", "0G", "1X", "1.x", "99999999999G", "1..5G"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_are_short() {
        assert_eq!(words(1 << 30), "1 GiB");
        assert_eq!(words(3 << 29), "1.5 GiB");
        assert_eq!(words(700), "700 B");
    }
}
