//! Who may log in, as people write it: an address or an initiator name, told apart by its shape.

use std::net::IpAddr;

use crate::request::Binding;

/// Reads `ALL`, `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`, `[2001:db8::1]`, or an iSCSI name with or without `*` and `?`.
///
/// tgtadm says which of the two it means, and the daemon keeps whatever it says; here a rule that could match nobody is a mistake.
///
/// # Errors
/// A line for people: what is wrong with it, and what may be written.
pub fn parse(text: &str) -> Result<Binding, String> {
    let name = ["iqn.", "eui.", "naa."].iter().any(|prefix| text.starts_with(prefix));
    if name || (text.contains(['*', '?']) && !text.contains('/')) {
        return self::name(text);
    }
    address(text)
}

/// Reads a rule that is said to be an address.
///
/// # Errors
/// As [`parse`].
pub fn address(text: &str) -> Result<Binding, String> {
    if text == "ALL" {
        return Ok(Binding::Address(text.into()));
    }
    let (host, bits) = text.split_once('/').map_or((text, None), |(host, bits)| (host, Some(bits)));
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let parsed: IpAddr = bare.parse().map_err(|_| {
        format!(
            "'{text}' is neither an address (192.0.2.7, 192.0.2.0/24, 2001:db8::/32, ALL) nor an initiator name (iqn., eui. or naa., * and ? allowed)"
        )
    })?;
    let width = if parsed.is_ipv4() { 32 } else { 128 };
    let fits = |bits: &str| !bits.starts_with('+') && bits.parse().is_ok_and(|bits: u32| bits <= width);
    match bits {
        Some(bits) if !fits(bits) => Err(format!("'{text}': the prefix length is 0 to {width}, not '{bits}'")),
        _ => Ok(Binding::Address(text.into())),
    }
}

/// Reads a rule that is said to be an initiator name.
///
/// # Errors
/// As [`parse`].
pub fn name(text: &str) -> Result<Binding, String> {
    if text.is_empty() || text.len() > 223 || text.chars().any(|letter| letter.is_whitespace() || letter.is_control() || letter == ',') {
        return Err(format!(
            "'{text}': an initiator name has 1 to 223 characters without blanks and commas; * and ? stand for any text and any character"
        ));
    }
    Ok(Binding::Name(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_told_apart() {
        for text in ["ALL", "192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "[::1]", "[2001:db8::]/64"] {
            assert_eq!(parse(text), Ok(Binding::Address(text.into())), "{text}");
        }
        for text in ["iqn.2026-11.org.example:host", "eui.0123456789abcdef", "naa.5", "*", "iqn.2026-11.*:h?"] {
            assert_eq!(parse(text), Ok(Binding::Name(text.into())), "{text}");
        }
    }

    #[test]
    fn what_could_match_nobody_is_refused() {
        for text in ["", "all", "host", "192.0.2", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "::1/129", "[::1", "iqn.a b", "iqn.a,b", "1.2.*.4/8"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("192.0.2.0/33").unwrap_err().contains("0 to 32"));
        assert_eq!(name("all"), Ok(Binding::Name("all".into())));
        assert!(address("iqn.a").is_err());
    }
}
