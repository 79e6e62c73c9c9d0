//! Chance without state: SipHash-2-4 of what a decision is about.
//!
//! The same seed, rule and key give the same number on every machine, in every run, and in any order of the calls. The functions and the test
//! vectors below are a promise: they never change. SipHash is Aumasson's and Bernstein's published function; it is used for its even bits here, not
//! for secrecy.

use crate::rule::RuleId;

/// The draw of `rule` for the command with `key`: 64 even bits.
pub fn draw(seed: u64, rule: RuleId, key: u64) -> u64 {
    siphash(seed, rule.0, &key.to_le_bytes())
}

/// The key of a command: the `ordinal`th (from 0, in CmdSN order) of the I_T nexus with the stable key `nexus` at its unit.
pub fn command_key(nexus: u64, ordinal: u64) -> u64 {
    siphash(nexus, COMMAND, &ordinal.to_le_bytes())
}

/// A stable key of any name: for the parts of an I_T nexus, joined. Equal bytes give equal keys.
pub fn name_key(name: &[u8]) -> u64 {
    siphash(NAME, 0, name)
}

/// Second half of the key of [`command_key`]: "command " in ASCII, so that no draw of a rule is a command's key.
const COMMAND: u64 = u64::from_le_bytes(*b"command ");
/// First half of the key of [`name_key`].
const NAME: u64 = u64::from_le_bytes(*b"name key");

/// SipHash-2-4 of `message` under the 128-bit key whose little-endian halves are `low` and `high`.
pub fn siphash(low: u64, high: u64, message: &[u8]) -> u64 {
    let mut state = [0x736f_6d65_7073_6575 ^ low, 0x646f_7261_6e64_6f6d ^ high, 0x6c79_6765_6e65_7261 ^ low, 0x7465_6462_7974_6573 ^ high];
    let (words, rest) = message.as_chunks::<8>();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    // The last word: what is left, zeros, and the length modulo 256 in the highest byte.
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = message.len().to_le_bytes()[0];
    absorb(&mut state, u64::from_le_bytes(last));
    state[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Percent;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Key bytes 00 to 0f, as in the designers' paper.
    const LOW: u64 = 0x0706_0504_0302_0100;
    const HIGH: u64 = 0x0f0e_0d0c_0b0a_0908;

    #[test]
    fn vectors_of_the_paper() {
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(LOW, HIGH, &message), 0xa129_ca61_49be_45e5);
        let starts: [[u8; 8]; 4] = [
            [0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72],
            [0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74],
            [0x5a, 0x4f, 0xa9, 0xd9, 0x09, 0x80, 0x6c, 0x0d],
            [0x2d, 0x7e, 0xfb, 0xd7, 0x96, 0x66, 0x67, 0x85],
        ];
        for (length, bytes) in starts.iter().enumerate() {
            assert_eq!(siphash(LOW, HIGH, &message[..length]), u64::from_le_bytes(*bytes), "{length} bytes");
        }
    }

    /// Seed, rule, nexus key, ordinal; key of the command; draw. The same table is in `docs/src/fault-draws.md`, made by another implementation.
    #[rustfmt::skip]
    const VECTORS: [(u64, u64, u64, u64, u64, u64); 7] = [
        (0x0, 0, 0x0, 0, 0x67e1_b71c_a738_6b41, 0xe278_f17e_1cfd_fcd1),
        (0x0, 0, 0x0, 1, 0xbc0e_f862_8a0c_6e53, 0xe349_15b6_256e_5ff7),
        (0x0, 1, 0x0, 0, 0x67e1_b71c_a738_6b41, 0x1dce_2fbe_980d_9346),
        (0x1, 0, 0x0, 0, 0x67e1_b71c_a738_6b41, 0x0dec_03a0_cce2_ed5f),
        (0x2a, 3, 0x1f, 17, 0x2a4d_687a_8fef_6d74, 0x07ae_fbf5_7e68_ec16),
        (0xdead_beef, 7, 0x1234_5678_9abc_def0, 1000000, 0x8caa_2fc5_5c96_3d53, 0xdad2_94c3_418f_171b),
        (0xffff_ffff_ffff_ffff, u64::MAX, 0xffff_ffff_ffff_ffff, u64::MAX, 0x6add_f34c_f515_71fc, 0xe235_ac0e_a280_a38f),
    ];

    #[test]
    fn published_vectors() {
        for (seed, rule, nexus, ordinal, key, number) in VECTORS {
            assert_eq!(command_key(nexus, ordinal), key, "command_key({nexus:#x}, {ordinal})");
            assert_eq!(draw(seed, RuleId(rule), key), number, "draw({seed:#x}, {rule}, {key:#018x})");
        }
        let text = include_str!("../../../docs/src/fault-draws.md");
        for (seed, rule, nexus, ordinal, key, number) in VECTORS {
            let line = std::format!("| {seed:#x} | {rule} | {nexus:#x} | {ordinal} | {key:#018x} | {number:#018x} |");
            assert!(text.contains(&line), "docs/src/fault-draws.md lacks {line}");
        }
    }

    /// Pearson's statistic of two classes.
    fn chi_squared(hits: f64, draws: f64, share: f64) -> f64 {
        let (expected, missed) = (draws * share, draws * (1.0 - share));
        (hits - expected).powi(2) / expected + (draws - hits - missed).powi(2) / missed
    }

    /// For each share a hundred samples of other seeds and rules; their statistics sum up to one of a hundred degrees of freedom, which is above 149.4,
    /// or below 61.9, once in a thousand fair tests each. The seeds are fixed, so the test is too.
    #[test]
    fn shares_are_exact() {
        let draws = 20_000u32;
        for percent in [100_000, 1_000_000, 12_500_000, 33_333_333, 50_000_000, 99_000_000] {
            let mut sum = 0.0;
            for sample in 0..100 {
                let (seed, rule) = (1000 + sample / 10, RuleId(sample % 10));
                let keys = (0..draws).map(|ordinal| command_key(0x1234_5678, u64::from(ordinal)));
                let hits = keys.filter(|&key| Percent(percent).hits(draw(seed, rule, key))).count();
                sum += chi_squared(hits as f64, f64::from(draws), f64::from(percent) / 1e8);
            }
            assert!((61.9..149.4).contains(&sum), "{percent} millionths: chi squared {sum} with 100 degrees of freedom");
        }
    }

    #[test]
    fn bytes_of_draws_are_even() {
        let mut counts = [[0u32; 256]; 8];
        for key in 0..65536 {
            for (count, byte) in counts.iter_mut().zip(draw(42, RuleId(3), key).to_le_bytes()) {
                count[usize::from(byte)] += 1;
            }
        }
        for count in counts {
            let statistic: f64 = count.iter().map(|&count| (f64::from(count) - 256.0).powi(2) / 256.0).sum();
            // 255 degrees of freedom: one in a thousand is above 330.5.
            assert!(statistic < 330.5, "chi squared {statistic}");
        }
    }

    #[test]
    fn never_and_always() {
        for number in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(!Percent::NEVER.hits(number));
            assert!(Percent::ALWAYS.hits(number));
        }
        assert!(Percent(1).hits(0));
        assert!(!Percent(99_999_999).hits(u64::MAX));
        assert!(Percent(50_000_000).hits((1 << 63) - 1));
        assert!(!Percent(50_000_000).hits(1 << 63));
    }

    proptest! {
        #[test]
        fn siphash_agrees_with_the_standard_library(low: u64, high: u64, message in proptest::collection::vec(any::<u8>(), 0..64)) {
            #[allow(deprecated)]
            let mut hasher = std::hash::SipHasher::new_with_keys(low, high);
            std::hash::Hasher::write(&mut hasher, &message);
            prop_assert_eq!(siphash(low, high, &message), std::hash::Hasher::finish(&hasher));
        }

        #[test]
        fn a_larger_share_hits_whatever_a_smaller_one_does(draw: u64, one in 0u32..=100_000_000, two in 0u32..=100_000_000) {
            let (small, large) = (one.min(two), one.max(two));
            prop_assert!(!Percent(small).hits(draw) || Percent(large).hits(draw));
        }
    }
}
