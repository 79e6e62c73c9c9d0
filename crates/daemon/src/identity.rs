//! Designators that are the same over restarts.

/// Company identifier of our NAA designators: locally administered (the second lowest bit of the first byte is set), so that it
/// collides with no vendor's.
const COMPANY: [u8; 3] = [0x02, 0x5c, 0x5a];

/// The NAA 6 designator of a unit (SPC, NAA IEEE Registered Extended layout): a hash of the target's name, the unit number and whatever else tells it from
/// others. The same inputs give the same designator in every run.
pub fn designator(target: &str, lun: u64, medium: &str) -> [u8; 16] {
    let mut hash = fnv1a(FNV_BASIS, target.as_bytes());
    hash = fnv1a(hash, &[0]);
    hash = fnv1a(hash, &lun.to_be_bytes());
    hash = fnv1a(hash, medium.as_bytes());
    let mut bytes = hash.to_be_bytes();
    bytes[0] = 0x60 | COMPANY[0] >> 4;
    bytes[1] = COMPANY[0] << 4 | COMPANY[1] >> 4;
    bytes[2] = COMPANY[1] << 4 | COMPANY[2] >> 4;
    bytes[3] = COMPANY[2] << 4 | (bytes[3] & 0x0f);
    bytes
}

/// A serial number of 16 hexadecimal digits out of a designator.
pub fn serial(designator: &[u8; 16]) -> String {
    designator[8..].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// FNV-1a of 128 bits: offset basis and prime as published.
const FNV_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

fn fnv1a(mut hash: u128, bytes: &[u8]) -> u128 {
    for &byte in bytes {
        hash = (hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_designator_is_stable_and_tells_units_apart() {
        let one = designator("iqn.2020-01.com.example:a", 1, "");
        assert_eq!(one, designator("iqn.2020-01.com.example:a", 1, ""));
        assert_ne!(one, designator("iqn.2020-01.com.example:a", 2, ""));
        assert_ne!(one, designator("iqn.2020-01.com.example:b", 1, ""));
        assert_ne!(one, designator("iqn.2020-01.com.example:a", 1, "/d.img"));
        assert_eq!(one[..3], [0x60, 0x25, 0xc5]);
        assert_eq!(one[3] >> 4, 0xa);
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(FNV_BASIS, b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn a_serial_has_sixteen_digits() {
        assert_eq!(serial(&designator("t", 1, "")).len(), 16);
    }
}
