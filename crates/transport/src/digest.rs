//! CRC32C for iSCSI digests, with whatever instructions the processor has.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC32C continued, as [`iscsi::Crc32c`] wants it: `crc32c(0, bytes)` is the digest of `bytes`, `crc32c(crc32c(0, a), b)` that of `a` followed by `b`.
pub fn crc32c(previous: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!previous));
    digest.update(bytes);
    u32::try_from(digest.finalize()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn vectors_of_the_standard() {
        assert_eq!(crc32c(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(0, &[0xff; 32]), 0x62a8_ab43);
        let up: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(0, &up), 0x46dd_794e);
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn continues() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for cut in [0, 1, 15, 16, 17, 255, 256, 4096, 5000] {
            assert_eq!(crc32c(crc32c(0, &bytes[..cut]), &bytes[cut..]), crc32c(0, &bytes), "cut at {cut}");
        }
    }
}
