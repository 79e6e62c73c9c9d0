//! CHAP as the initiator sees it (RFC 7143 12.1.3).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sha2::Digest;

/// Response to a challenge: digest of identifier, secret and challenge. `None` for an algorithm we do not know.
pub(super) fn response(algorithm: u8, identifier: u8, secret: &[u8], challenge: &[u8]) -> Option<Vec<u8>> {
    fn digest<D: Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        let mut digest = D::new();
        digest.update([identifier]);
        digest.update(secret);
        digest.update(challenge);
        digest.finalize().to_vec()
    }
    Some(match algorithm {
        5 => digest::<md5::Md5>(identifier, secret, challenge),
        6 => digest::<sha1::Sha1>(identifier, secret, challenge),
        7 => digest::<sha2::Sha256>(identifier, secret, challenge),
        8 => digest::<sha3::Sha3_256>(identifier, secret, challenge),
        _ => return None,
    })
}

/// `0x` and two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("0x");
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A binary value in hex or base64. `None` when it is neither.
pub(super) fn binary(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    if let Some(text) = text.strip_prefix("0b").or_else(|| text.strip_prefix("0B")) {
        return base64::engine::general_purpose::STANDARD.decode(text).ok();
    }
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?.as_bytes();
    if digits.len() % 2 != 0 {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            u8::try_from(high << 4 | low).ok()
        })
        .collect()
}
