//! CHAP (RFC 1994, RFC 7143 9.2.1 and 12.1.3) with MD5, SHA1, SHA-256 and SHA3-256, both directions.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sha3::Sha3_256;
use subtle::ConstantTimeEq;

use crate::interface::{Account, Authentication};

/// Longest challenge taken from the other side, in bytes (RFC 7143 12.1.3).
const MAX_CHALLENGE_LEN: usize = 1024;
/// Length of our challenges, in bytes: the output of SHA-256, no shorter than any response.
const CHALLENGE_LEN: usize = 32;

/// Base64 as RFC 4648 has it; padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// A digest for CHAP; the numbers are those of the PPP authentication algorithms registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha3_256,
}

impl Algorithm {
    /// Every algorithm, the strongest first.
    pub const ALL: [Algorithm; 4] = [Algorithm::Sha3_256, Algorithm::Sha256, Algorithm::Sha1, Algorithm::Md5];

    /// Registered number.
    pub fn number(self) -> &'static str {
        match self {
            Algorithm::Md5 => "5",
            Algorithm::Sha1 => "6",
            Algorithm::Sha256 => "7",
            Algorithm::Sha3_256 => "8",
        }
    }

    /// The first of a CHAP_A list that is supported.
    pub fn choose(list: &str) -> Option<Algorithm> {
        list.split(',').find_map(|number| Algorithm::ALL.into_iter().find(|algorithm| algorithm.number() == number))
    }

    /// The CHAP response: digest of identifier, secret and challenge.
    pub fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        fn digest<D: Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
            let digest = D::new().chain_update([identifier]).chain_update(secret).chain_update(challenge);
            digest.finalize().as_slice().to_vec()
        }
        match self {
            Algorithm::Md5 => digest::<Md5>(identifier, secret, challenge),
            Algorithm::Sha1 => digest::<Sha1>(identifier, secret, challenge),
            Algorithm::Sha256 => digest::<Sha256>(identifier, secret, challenge),
            Algorithm::Sha3_256 => digest::<Sha3_256>(identifier, secret, challenge),
        }
    }
}

/// Makes challenges and identifiers from 32 random bytes: SHA-256 of the bytes and a counter, so that none comes twice.
#[derive(Clone, Debug)]
pub struct Challenges {
    entropy: [u8; 32],
    counter: u64,
}

impl Challenges {
    /// From the bytes the shell drew for this connection.
    pub fn new(entropy: [u8; 32]) -> Challenges {
        Challenges { entropy, counter: 0 }
    }

    /// A challenge and its identifier.
    pub fn next_challenge(&mut self) -> (u8, Vec<u8>) {
        let identifier = self.expand(b"identifier").first().copied().unwrap_or(0);
        (identifier, self.expand(b"challenge"))
    }

    fn expand(&mut self, purpose: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let digest = Sha256::new().chain_update(self.entropy).chain_update(purpose).chain_update(self.counter.to_be_bytes());
        let mut bytes = digest.finalize().as_slice().to_vec();
        bytes.truncate(CHALLENGE_LEN);
        bytes
    }
}

/// Why an authentication did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChapError {
    /// A key of this step is missing.
    Missing,
    /// Wrong name, response, algorithm, reflected challenge ...: told apart in nothing.
    Failed,
}

/// How far a login's CHAP is, on the side that asks first (the target).
#[derive(Clone, Debug)]
pub struct Authenticator {
    challenges: Challenges,
    state: State,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// CHAP was not chosen.
    Idle,
    /// CHAP_A is awaited.
    Algorithm,
    /// CHAP_N and CHAP_R are awaited.
    Response { algorithm: Algorithm, identifier: u8, challenge: Vec<u8> },
    /// Proved.
    Done,
}

/// CHAP keys of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChapKeys<'a> {
    /// CHAP_A.
    pub algorithms: Option<&'a str>,
    /// CHAP_N.
    pub name: Option<&'a str>,
    /// CHAP_R.
    pub response: Option<&'a str>,
    /// CHAP_I.
    pub identifier: Option<&'a str>,
    /// CHAP_C.
    pub challenge: Option<&'a str>,
}

impl<'a> ChapKeys<'a> {
    /// Takes a pair if it is a CHAP key. `None`: it is none; `Some(false)`: it came twice.
    pub fn take(&mut self, key: &str, value: &'a str) -> Option<bool> {
        let place = match key {
            "CHAP_A" => &mut self.algorithms,
            "CHAP_N" => &mut self.name,
            "CHAP_R" => &mut self.response,
            "CHAP_I" => &mut self.identifier,
            "CHAP_C" => &mut self.challenge,
            _ => return None,
        };
        Some(place.replace(value).is_none())
    }

    /// True when the request carried a CHAP key.
    pub fn any(&self) -> bool {
        self.algorithms.or(self.name).or(self.response).or(self.identifier).or(self.challenge).is_some()
    }
}

impl Authenticator {
    /// Before AuthMethod.
    pub fn new(entropy: [u8; 32]) -> Authenticator {
        Authenticator { challenges: Challenges::new(entropy), state: State::Idle }
    }

    /// AuthMethod=CHAP was chosen.
    pub fn start(&mut self) {
        self.state = State::Algorithm;
    }

    /// CHAP was chosen and is not finished.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Algorithm | State::Response { .. })
    }

    /// The initiator has proved itself.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// One step: the keys of a request, the keys of the answer.
    pub fn step(&mut self, keys: &ChapKeys<'_>, accounts: &Authentication) -> Result<Vec<(&'static str, String)>, ChapError> {
        match self.state.clone() {
            State::Algorithm => {
                let algorithm = Algorithm::choose(keys.algorithms.ok_or(ChapError::Missing)?).ok_or(ChapError::Failed)?;
                let (identifier, challenge) = self.challenges.next_challenge();
                let answer = alloc::vec![
                    ("CHAP_A", String::from(algorithm.number())),
                    ("CHAP_I", alloc::format!("{identifier}")),
                    ("CHAP_C", encode_hex(&challenge)),
                ];
                self.state = State::Response { algorithm, identifier, challenge };
                Ok(answer)
            }
            State::Response { algorithm, identifier, challenge } => {
                self.state = State::Idle;
                let response = check_response(keys, accounts, algorithm, identifier, &challenge)?;
                let answer = match (keys.identifier, keys.challenge) {
                    (None, None) => Vec::new(),
                    (Some(their_identifier), Some(their_challenge)) => {
                        let account = accounts.outgoing.as_ref().ok_or(ChapError::Failed)?;
                        refuse_shared_secret(account, accounts)?;
                        prove(account, algorithm, their_identifier, their_challenge, &challenge, &response)?
                    }
                    _ => return Err(ChapError::Missing),
                };
                self.state = State::Done;
                Ok(answer)
            }
            State::Idle | State::Done => Err(ChapError::Failed),
        }
    }
}

/// Checks CHAP_N and CHAP_R; gives the response. An unknown name takes as long as a wrong secret.
fn check_response(
    keys: &ChapKeys<'_>,
    accounts: &Authentication,
    algorithm: Algorithm,
    identifier: u8,
    challenge: &[u8],
) -> Result<Vec<u8>, ChapError> {
    let name = keys.name.ok_or(ChapError::Missing)?;
    let response = decode_binary(keys.response.ok_or(ChapError::Missing)?).ok_or(ChapError::Failed)?;
    let account = accounts.incoming.iter().find(|account| account.user == name);
    let secret: &[u8] = account.map_or(&[], |account| &account.password);
    let expected = algorithm.response(identifier, secret, challenge);
    let equal: bool = expected.ct_eq(&response).into();
    if equal && account.is_some() { Ok(response) } else { Err(ChapError::Failed) }
}

/// One secret for both directions would let anyone reflect a challenge over a second connection: RFC 7143 9.2.1 forbids it.
fn refuse_shared_secret(outgoing: &Account, accounts: &Authentication) -> Result<(), ChapError> {
    let shared = accounts.incoming.iter().any(|incoming| incoming.password.ct_eq(&outgoing.password).into());
    if shared { Err(ChapError::Failed) } else { Ok(()) }
}

/// The target's own proof. A challenge or response that came from us is refused (reflection).
fn prove(
    account: &Account,
    algorithm: Algorithm,
    identifier: &str,
    challenge: &str,
    our_challenge: &[u8],
    their_response: &[u8],
) -> Result<Vec<(&'static str, String)>, ChapError> {
    let identifier = crate::key::number(identifier, 0, 255).and_then(|number| u8::try_from(number).ok()).ok_or(ChapError::Failed)?;
    let challenge = decode_binary(challenge).filter(|bytes| !bytes.is_empty() && bytes.len() <= MAX_CHALLENGE_LEN).ok_or(ChapError::Failed)?;
    if challenge == our_challenge {
        return Err(ChapError::Failed);
    }
    let response = algorithm.response(identifier, &account.password, &challenge);
    if response == their_response {
        return Err(ChapError::Failed);
    }
    Ok(alloc::vec![("CHAP_N", account.user.clone()), ("CHAP_R", encode_hex(&response))])
}

/// Bytes of a value in hexadecimal (`0x`) or base64 (`0b`); an odd number of digits gets a zero in front. `None`: it is neither.
pub fn decode_binary(text: &str) -> Option<Vec<u8>> {
    let (prefix, digits) = text.split_at_checked(2)?;
    match prefix {
        "0x" | "0X" => decode_hex(digits.as_bytes()),
        "0b" | "0B" => BASE64.decode(digits).ok(),
        _ => None,
    }
}

fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    let (first, rest) = digits.split_at(digits.len() % 2);
    if let [digit] = first {
        bytes.push(nibble(*digit)?);
    }
    for pair in rest.chunks_exact(2) {
        bytes.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `0x` and two digits per byte.
pub fn encode_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("0x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// `0b` and base64.
pub fn encode_base64(bytes: &[u8]) -> String {
    alloc::format!("0b{}", BASE64.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn accounts() -> Authentication {
        Authentication {
            incoming: std::vec![Account { user: "user1".into(), password: b"password1234".to_vec() }],
            outgoing: Some(Account { user: "user2".into(), password: b"password5678".to_vec() }),
        }
    }

    fn value<'a>(keys: &'a [(&'static str, String)], name: &str) -> &'a str {
        &keys.iter().find(|(key, _)| *key == name).unwrap().1
    }

    #[test]
    fn every_algorithm_proves_both_sides_in_both_encodings() {
        for algorithm in Algorithm::ALL {
            for encode in [encode_hex, encode_base64] {
                let mut authenticator = Authenticator::new([7; 32]);
                authenticator.start();
                let asked = authenticator.step(&ChapKeys { algorithms: Some(algorithm.number()), ..ChapKeys::default() }, &accounts()).unwrap();
                assert_eq!(value(&asked, "CHAP_A"), algorithm.number());
                let identifier: u8 = value(&asked, "CHAP_I").parse().unwrap();
                let challenge = decode_binary(value(&asked, "CHAP_C")).unwrap();
                let response = encode(&algorithm.response(identifier, b"password1234", &challenge));
                let mine = encode(&[1, 2, 3]);
                let keys =
                    ChapKeys { name: Some("user1"), response: Some(&response), identifier: Some("9"), challenge: Some(&mine), ..ChapKeys::default() };
                let proof = authenticator.step(&keys, &accounts()).unwrap();
                assert!(authenticator.is_done());
                assert_eq!(value(&proof, "CHAP_N"), "user2");
                assert_eq!(decode_binary(value(&proof, "CHAP_R")).unwrap(), algorithm.response(9, b"password5678", &[1, 2, 3]));
            }
        }
    }

    /// RFC 1994 has no vectors; these are plain digests of the same bytes.
    #[test]
    fn responses_are_the_digests_of_the_registry() {
        assert_eq!(Algorithm::Md5.response(b'a', b"b", b"c"), decode_binary("0x900150983cd24fb0d6963f7d28e17f72").unwrap());
        assert_eq!(Algorithm::Sha1.response(b'a', b"b", b"c"), decode_binary("0xa9993e364706816aba3e25717850c26c9cd0d89d").unwrap());
        assert_eq!(
            Algorithm::Sha256.response(b'a', b"b", b"c"),
            decode_binary("0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap()
        );
        assert_eq!(
            Algorithm::Sha3_256.response(b'a', b"b", b"c"),
            decode_binary("0x3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532").unwrap()
        );
        assert_eq!(Algorithm::choose("9,7,5"), Some(Algorithm::Sha256));
        assert_eq!(Algorithm::choose("1,2"), None);
    }

    fn asked() -> (Authenticator, u8, Vec<u8>) {
        let mut authenticator = Authenticator::new([7; 32]);
        authenticator.start();
        let asked = authenticator.step(&ChapKeys { algorithms: Some("7"), ..ChapKeys::default() }, &accounts()).unwrap();
        let identifier = value(&asked, "CHAP_I").parse().unwrap();
        (authenticator, identifier, decode_binary(value(&asked, "CHAP_C")).unwrap())
    }

    #[test]
    fn wrong_names_secrets_and_lengths_fail_alike() {
        let (authenticator, identifier, challenge) = asked();
        let right = Algorithm::Sha256.response(identifier, b"password1234", &challenge);
        let wrong = Algorithm::Sha256.response(identifier, b"password1235", &challenge);
        let empty = Algorithm::Sha256.response(identifier, b"", &challenge);
        for (name, response) in [
            ("user1", encode_hex(&wrong)),
            ("nobody", encode_hex(&right)),
            ("nobody", encode_hex(&empty)),
            ("user1", encode_hex(&right[..31])),
            ("user1", "0x".to_string()),
            ("user1", "0b".to_string()),
            ("user1", "junk".to_string()),
            ("user1", "0xzz".to_string()),
            ("user1", String::new()),
        ] {
            let keys = ChapKeys { name: Some(name), response: Some(&response), ..ChapKeys::default() };
            assert_eq!(authenticator.clone().step(&keys, &accounts()), Err(ChapError::Failed), "{name} {response}");
        }
    }

    #[test]
    fn a_reflected_challenge_is_refused() {
        let (mut authenticator, identifier, challenge) = asked();
        let response = encode_hex(&Algorithm::Sha256.response(identifier, b"password1234", &challenge));
        let reflected = encode_hex(&challenge);
        let keys =
            ChapKeys { name: Some("user1"), response: Some(&response), identifier: Some("1"), challenge: Some(&reflected), ..ChapKeys::default() };
        assert_eq!(authenticator.step(&keys, &accounts()), Err(ChapError::Failed));
        assert!(!authenticator.is_done());
    }

    #[test]
    fn challenges_never_repeat() {
        let mut challenges = Challenges::new([1; 32]);
        let mut seen: Vec<_> = (0..100).map(|_| challenges.next_challenge().1).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 100);
        assert_ne!(Challenges::new([2; 32]).next_challenge(), Challenges::new([1; 32]).next_challenge());
    }

    #[test]
    fn odd_hexadecimal_gets_a_zero_in_front() {
        assert_eq!(decode_binary("0xabc"), Some(std::vec![0x0a, 0xbc]));
        assert_eq!(decode_binary("0xF"), Some(std::vec![0x0f]));
        assert_eq!(decode_binary("0bAQI="), Some(std::vec![1, 2]));
        assert_eq!(decode_binary("0bAQI"), Some(std::vec![1, 2]));
        assert_eq!(decode_binary("0bA"), None);
        assert_eq!(decode_binary("é"), None);
        assert_eq!(decode_binary("x"), None);
    }
}
