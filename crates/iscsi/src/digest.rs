//! CRC32C (Castagnoli), the digest of RFC 7143 13.1: polynomial 1EDC6F41h, reflected, all ones before and after.
//!
//! Slicing by eight: portable and fast enough for headers, tests and the simulator. A shell with a faster function passes its own.

/// Reflected polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[n][b]` is the state after byte `b` and `n` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

/// CRC32C continued: `crc32c(0, bytes)` is the digest of `bytes`, `crc32c(crc32c(0, a), b)` that of `a` followed by `b`.
///
/// On the wire the result goes least significant byte first, as every iSCSI digest.
pub fn crc32c(previous: u32, bytes: &[u8]) -> u32 {
    let mut state = !previous;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let low = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) ^ state;
        let [a, b, c, d] = low.to_le_bytes();
        state = TABLES[7][usize::from(a)]
            ^ TABLES[6][usize::from(b)]
            ^ TABLES[5][usize::from(c)]
            ^ TABLES[4][usize::from(d)]
            ^ TABLES[3][usize::from(chunk[4])]
            ^ TABLES[2][usize::from(chunk[5])]
            ^ TABLES[1][usize::from(chunk[6])]
            ^ TABLES[0][usize::from(chunk[7])];
    }
    for &byte in chunks.remainder() {
        let [low, ..] = state.to_le_bytes();
        state = (state >> 8) ^ TABLES[0][usize::from(low ^ byte)];
    }
    !state
}

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut state = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            state = if state & 1 == 1 { (state >> 1) ^ POLYNOMIAL } else { state >> 1 };
            bit += 1;
        }
        tables[0][byte] = state;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 7143 appendix A.4 and the usual check value.
    #[test]
    fn known_vectors() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, &[0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c(0, &[0xff; 32]).to_le_bytes(), [0x43, 0xab, 0xa8, 0x62]);
        let rising: std::vec::Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(0, &rising).to_le_bytes(), [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(crc32c(0, &[]), 0);
    }

    #[test]
    fn any_cut_gives_the_same_digest() {
        let bytes: std::vec::Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37)).collect();
        let whole = crc32c(0, &bytes);
        for cut in 0..bytes.len() {
            assert_eq!(crc32c(crc32c(0, &bytes[..cut]), &bytes[cut..]), whole);
        }
    }
}
