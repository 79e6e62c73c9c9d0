//! Who may log in to a target.
//!
//! Two lists: addresses and initiator names. A login passes when an entry of either list matches; a target with two empty lists refuses everyone.
//! Entries are kept as the administrator wrote them. An entry that cannot be understood matches nobody.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Address and name rules of a target, in order of arrival, as written. A login passes when any rule matches; a target without rules refuses everyone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessList {
    /// `ALL`, an address, or `ADDRESS/BITS`. IPv6 may stand in brackets.
    pub addresses: Vec<String>,
    /// iSCSI names, `*` and `?` allowed.
    pub names: Vec<String>,
}

impl AccessList {
    /// May this initiator at this address log in?
    pub fn admits(&self, peer: IpAddr, initiator: &str) -> bool {
        self.addresses.iter().any(|rule| address_matches(rule, peer)) || self.names.iter().any(|rule| name_matches(rule, initiator))
    }
}

/// True when `rule` (`ALL`, `ADDRESS`, `[ADDRESS]`, each with an optional `/BITS`) covers `peer`. Host bits of the rule do not matter: both sides are masked.
/// An IPv4 peer that arrived over an IPv6 socket (`::ffff:a.b.c.d`) is treated as the IPv4 address it is.
pub fn address_matches(rule: &str, peer: IpAddr) -> bool {
    let rule = rule.trim();
    if rule == "ALL" {
        return true;
    }
    match (parse_network(rule), peer.to_canonical()) {
        (Some((IpAddr::V4(network), bits)), IpAddr::V4(peer)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == peer.to_bits() & mask
        }
        (Some((IpAddr::V6(network), bits)), IpAddr::V6(peer)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == peer.to_bits() & mask
        }
        _ => false,
    }
}

/// True when `name` is `rule`, letter by letter, where `*` in the rule stands for any text and `?` for any one character. Capital and small letters are the
/// same: iSCSI names are compared in their normal form, which has small ones (RFC 3722 3.3; of other alphabets than ASCII initiators must send it).
pub fn name_matches(rule: &str, name: &str) -> bool {
    let (rule, name) = (rule.as_bytes(), name.as_bytes());
    let (mut at, mut position) = (0, 0);
    // Where to go on when a guess about the last `*` turns out wrong: after the star, and the next position it could swallow.
    let mut retry: Option<(usize, usize)> = None;
    while position < name.len() {
        match rule.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, position));
                at += 1;
            }
            Some(b'?') => {
                // One character, not one byte: skip the continuation bytes of UTF-8.
                position += 1;
                while name.get(position).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    position += 1;
                }
                at += 1;
            }
            Some(&byte) if byte.eq_ignore_ascii_case(&name[position]) => {
                at += 1;
                position += 1;
            }
            _ => match retry {
                Some((after, swallowed)) => {
                    retry = Some((after, swallowed + 1));
                    at = after;
                    position = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    rule[at..].iter().all(|&byte| byte == b'*')
}

/// Network address and prefix length of an entry. An IPv4-mapped IPv6 network of 96 bits or more is given as the IPv4 network it means.
fn parse_network(rule: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match rule.split_once('/') {
        Some((address, bits)) => (address, Some(parse_bits(bits)?)),
        None => (rule, None),
    };
    let address = match address.strip_prefix('[') {
        Some(inner) => IpAddr::V6(inner.strip_suffix(']')?.parse().ok()?),
        None => address.parse().ok()?,
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(width);
    if bits > width {
        return None;
    }
    if let IpAddr::V6(six) = address
        && let Some(four) = six.to_ipv4_mapped()
        && bits >= 96
    {
        return Some((IpAddr::V4(four), bits - 96));
    }
    Some((address, bits))
}

fn parse_bits(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 3 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn list(addresses: &[&str], names: &[&str]) -> AccessList {
        AccessList { addresses: addresses.iter().map(ToString::to_string).collect(), names: names.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn nobody_passes_without_rules() {
        assert!(!list(&[], &[]).admits(address("127.0.0.1"), "iqn.a"));
    }

    #[test]
    fn either_list_suffices() {
        let access = list(&["10.0.0.1"], &["iqn.2026-01.example:a"]);
        assert!(access.admits(address("10.0.0.1"), "iqn.other"));
        assert!(access.admits(address("10.0.0.2"), "iqn.2026-01.example:a"));
        assert!(!access.admits(address("10.0.0.2"), "iqn.2026-01.example:b"));
        assert!(list(&["ALL"], &[]).admits(address("fe80::1"), "x"));
    }

    #[test]
    fn networks_match_whatever_their_host_bits() {
        for (rule, peer, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1/32", "127.0.0.1", true),
            ("127.0.0.1/32", "127.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.5/8", "127.255.0.1", true),
            ("127.0.0.5/8", "128.0.0.1", false),
            ("192.168.1.130/25", "192.168.1.200", true),
            ("192.168.1.130/25", "192.168.1.100", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/", "10.0.0.0", false),
            ("10.0.0.0/+8", "10.0.0.0", false),
            ("10.0.0.0/-1", "10.0.0.0", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("[2001:db8::1]", "2001:db8::1", true),
            ("[2001:db8::1]/128", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::2", false),
            ("2001:db8::ffff/32", "2001:db8:1234::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
            ("::/0", "10.0.0.1", false),
            ("[::1", "::1", false),
            ("[10.0.0.1]", "10.0.0.1", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::ffff:10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("localhost", "127.0.0.1", false),
            ("all", "127.0.0.1", false),
            ("", "127.0.0.1", false),
        ] {
            assert_eq!(address_matches(rule, address(peer)), expected, "{rule} {peer}");
        }
    }

    #[test]
    fn names_match_exactly_or_by_wildcard() {
        for (rule, name, expected) in [
            ("iqn.a", "iqn.a", true),
            ("iqn.a", "iqn.A", true),
            ("IQN.2026-01.*:Host?", "iqn.2026-01.x:hOST7", true),
            ("iqn.[ab]", "iqn.a", false),
            ("iqn.[ab]", "iqn.[ab]", true),
            ("iqn.\\*", "iqn.x", false),
            ("iqn.é", "iqn.É", false),
            ("iqn.a", "iqn.ab", false),
            ("iqn.*", "iqn.2026-01.x:disk", true),
            ("iqn.*", "eui.0123", false),
            ("*", "", true),
            ("*:host?", "iqn.x:host7", true),
            ("*:host?", "iqn.x:host", false),
            ("*:host?", "iqn.x:host77", false),
            ("*a*b*c", "xxaxxbxxbxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("iqn.?", "iqn.é", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(name_matches(rule, name), expected, "{rule} {name}");
        }
    }

    /// The wildcard rules as a definition that can be read at a glance.
    fn matches_by_definition(rule: &[char], name: &[char]) -> bool {
        match rule.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|from| matches_by_definition(rest, &name[from..])),
            Some(('?', rest)) => !name.is_empty() && matches_by_definition(rest, &name[1..]),
            Some((letter, rest)) => name.first().is_some_and(|first| first.eq_ignore_ascii_case(letter)) && matches_by_definition(rest, &name[1..]),
        }
    }

    /// First and last address of a network, by counting.
    fn range(address: IpAddr, bits: u32) -> (u128, u128) {
        let (value, width) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        // 2 to the power of what is left; for /0 of IPv6 everything there is.
        match 1u128.checked_shl(width - bits) {
            Some(size) => (value / size * size, value / size * size + (size - 1)),
            None => (0, u128::MAX),
        }
    }

    fn value(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    /// Two addresses of one family, the second often near the first, and a prefix length.
    fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr, u32)> {
        let four = (any::<u32>(), any::<u32>(), 0u32..=32, any::<bool>()).prop_map(|(one, other, bits, near)| {
            let other = if near { one ^ (other.checked_shr(bits).unwrap_or(0)) } else { other };
            (IpAddr::V4(one.into()), IpAddr::V4(other.into()), bits)
        });
        let six = (any::<u128>(), any::<u128>(), 0u32..=128, any::<bool>()).prop_map(|(one, other, bits, near)| {
            let other = if near { one ^ (other.checked_shr(bits).unwrap_or(0)) } else { other };
            (IpAddr::V6(one.into()), IpAddr::V6(other.into()), bits)
        });
        prop_oneof![four, six]
            .prop_filter("IPv4 in an IPv6 dress is IPv4", |(one, other, _)| one.to_canonical() == *one && other.to_canonical() == *other)
    }

    proptest! {
        #[test]
        fn a_network_covers_its_range_and_nothing_else((network, peer, bits) in addresses()) {
            let (first, last) = range(network, bits);
            let expected = (first..=last).contains(&value(peer));
            let bracketed = if network.is_ipv6() { alloc::format!("[{network}]/{bits}") } else { alloc::format!("{network}/{bits}") };
            prop_assert_eq!(address_matches(&alloc::format!("{network}/{bits}"), peer), expected);
            prop_assert_eq!(address_matches(&bracketed, peer), expected);
            prop_assert_eq!(address_matches(&network.to_string(), peer), network == peer);
            if let (IpAddr::V4(four), IpAddr::V4(from)) = (network, peer) {
                let mapped = IpAddr::V6(from.to_ipv6_mapped());
                prop_assert_eq!(address_matches(&alloc::format!("{network}/{bits}"), mapped), expected);
                prop_assert_eq!(address_matches(&alloc::format!("{}/{}", four.to_ipv6_mapped(), bits + 96), peer), expected);
            }
        }

        #[test]
        fn a_network_of_one_family_covers_nobody_of_the_other(four: u32, six: u128, bits in 0u32..=128) {
            let (four, six) = (IpAddr::V4(four.into()), IpAddr::V6(six.into()));
            prop_assume!(six.to_canonical() == six);
            let rules = [alloc::format!("{six}/{bits}"), alloc::format!("{four}/{}", bits.min(32))];
            prop_assert!(!address_matches(&rules[0], four));
            prop_assert!(!address_matches(&rules[1], six));
        }

        #[test]
        fn wildcards_match_as_defined(rule in "[abA*?é]{0,8}", name in "[abBé]{0,8}") {
            let (letters, text): (Vec<char>, Vec<char>) = (rule.chars().collect(), name.chars().collect());
            prop_assert_eq!(name_matches(&rule, &name), matches_by_definition(&letters, &text));
        }

        #[test]
        fn no_rule_makes_it_panic(rule in "\\PC{0,24}", name in "\\PC{0,24}", peer: u128) {
            address_matches(&rule, IpAddr::V6(peer.into()));
            name_matches(&rule, &name);
        }
    }
}
