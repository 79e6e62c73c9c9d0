//! ROD tokens of a unit: point in time copies that are void as soon as one of their blocks changes (type 00800001h, change vulnerable).
//!
//! Nothing is copied when a token is made. The unit looks at every store operation while it has tokens, and at the number of the medium when one is used.

use alloc::boxed::Box;
use alloc::vec::Vec;

use device::{StoreOp, third_party};
use scsi::third_party_copy::TOKEN_BYTES;
use scsi::{Asc, BlockRange, BlockSize, DeviceType};

/// Tokens of a unit, good and void ones: 64 KiB of them. Void ones tell why until their place is needed.
pub(crate) const TOKEN_LIMIT: usize = 128;

/// INVALID TOKEN OPERATION, UNSUPPORTED TOKEN TYPE.
pub(crate) const UNSUPPORTED_TYPE: Asc = Asc(0x2301);
/// INVALID TOKEN OPERATION, TOKEN UNKNOWN.
pub(crate) const UNKNOWN: Asc = Asc(0x2304);
/// INVALID TOKEN OPERATION, TOKEN CORRUPT.
pub(crate) const CORRUPT: Asc = Asc(0x2305);
/// INVALID TOKEN OPERATION, TOKEN REVOKED: the data changed.
pub(crate) const REVOKED: Asc = Asc(0x2306);
/// INVALID TOKEN OPERATION, TOKEN EXPIRED.
const EXPIRED: Asc = Asc(0x2307);
/// INVALID TOKEN OPERATION, TOKEN DELETED.
const DELETED: Asc = Asc(0x2309);
/// INVALID TOKEN OPERATION, INVALID TOKEN LENGTH.
pub(crate) const INVALID_LENGTH: Asc = Asc(0x230a);

/// ROD TOKEN LENGTH: the bytes behind the field.
const LENGTH: u16 = 0x01f8;
const SECOND: u64 = 1_000_000_000;

/// A token that is to be made.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub ranges: &'a [BlockRange],
    pub block_size: BlockSize,
    /// The unit's unique designator.
    pub creator: [u8; 16],
    pub edition: u32,
    pub inactivity_seconds: u32,
    /// Nobody can guess it.
    pub entropy: &'a [u8; 32],
}

#[derive(Debug)]
struct Token {
    number: u64,
    bytes: Box<[u8; TOKEN_BYTES]>,
    ranges: Vec<BlockRange>,
    shift: u32,
    edition: u32,
    made: u64,
    used: u64,
    inactivity: u64,
    void: Option<Asc>,
}

impl Token {
    /// Why it cannot be used; `None`: it can.
    fn fault(&self, edition: u32, now: u64) -> Option<Asc> {
        let late = now.saturating_sub(self.used) > self.inactivity || now.saturating_sub(self.made) > u64::from(third_party::MAX_LIFETIME) * SECOND;
        self.void.or((self.edition != edition).then_some(REVOKED)).or(late.then_some(EXPIRED))
    }
}

/// All tokens of a unit, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    list: Vec<Token>,
    number: u64,
    /// Those that are not void yet: while there are none, store operations are not looked at.
    good: usize,
}

impl Tokens {
    /// Makes a token; `None`: there is no room.
    pub fn make(&mut self, wish: &Wish<'_>, now: u64) -> Option<Box<[u8; TOKEN_BYTES]>> {
        for token in &mut self.list {
            token.void = token.fault(wish.edition, now);
        }
        if self.list.len() >= TOKEN_LIMIT {
            let void = self.list.iter().position(|token| token.void.is_some())?;
            self.list.remove(void);
        }
        self.number += 1;
        let bytes = Box::new(token_bytes(wish));
        self.list.push(Token {
            number: self.number,
            bytes: bytes.clone(),
            ranges: wish.ranges.to_vec(),
            shift: wish.block_size.shift(),
            edition: wish.edition,
            made: now,
            used: now,
            inactivity: u64::from(wish.inactivity_seconds) * SECOND,
            void: None,
        });
        self.count();
        Some(bytes)
    }

    /// Number and blocks of the token, or why it cannot be used; `None`: it is none of this unit's.
    pub fn redeem(&mut self, bytes: &[u8; TOKEN_BYTES], edition: u32, now: u64) -> Option<Result<(u64, Vec<BlockRange>), Asc>> {
        // All bytes are compared, so that the time tells nothing.
        let same = |token: &Token| token.bytes.iter().zip(bytes).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0;
        let token = self.list.iter_mut().find(|token| same(token))?;
        if let Some(asc) = token.fault(edition, now) {
            return Some(Err(asc));
        }
        token.used = now;
        Some(Ok((token.number, token.ranges.clone())))
    }

    /// May a copy that began with the token still read?
    pub fn check(&mut self, number: u64, edition: u32, now: u64) -> Result<(), Asc> {
        let token = self.list.iter_mut().find(|token| token.number == number).ok_or(UNKNOWN)?;
        if let Some(asc) = token.void.or((token.edition != edition).then_some(REVOKED)) {
            return Err(asc);
        }
        token.used = now;
        Ok(())
    }

    pub fn delete(&mut self, number: u64) {
        if let Some(token) = self.list.iter_mut().find(|token| token.number == number) {
            token.void.get_or_insert(DELETED);
        }
        self.count();
    }

    /// The store is going to do this: tokens of blocks that change are void.
    #[inline]
    pub fn changes(&mut self, op: &StoreOp) {
        if self.good > 0 {
            self.look_at(op);
        }
    }

    #[cold]
    fn look_at(&mut self, op: &StoreOp) {
        let Some(start) = changed_from(op) else { return };
        let end = op.end();
        for token in &mut self.list {
            let shift = token.shift;
            let hit = |range: &BlockRange| range.start.0 << shift < end && start < (range.start.0 + range.count.0) << shift;
            if token.void.is_none() && token.ranges.iter().any(hit) {
                token.void = Some(REVOKED);
            }
        }
        self.count();
    }

    /// The tokens that can be used.
    pub fn alive(&self, edition: u32, now: u64) -> impl Iterator<Item = &[u8; TOKEN_BYTES]> {
        self.list.iter().filter(move |token| token.fault(edition, now).is_none()).map(|token| &*token.bytes)
    }

    fn count(&mut self) {
        self.good = self.list.iter().filter(|token| token.void.is_none()).count();
    }
}

/// First byte that the operation changes.
fn changed_from(op: &StoreOp) -> Option<u64> {
    match *op {
        StoreOp::Write { offset, .. }
        | StoreOp::WriteSame { offset, .. }
        | StoreOp::Fill { offset, .. }
        | StoreOp::Zero { offset, .. }
        | StoreOp::Discard { offset, .. } => Some(offset),
        _ => None,
    }
}

/// The token as initiators see it (SPC-6, ROD token format): what it stands for, and 32 bytes that only those know who were given it.
fn token_bytes(wish: &Wish<'_>) -> [u8; TOKEN_BYTES] {
    let mut bytes = [0; TOKEN_BYTES];
    bytes[..4].copy_from_slice(&third_party::ROD_TYPE.to_be_bytes());
    bytes[6..8].copy_from_slice(&LENGTH.to_be_bytes());
    // An identifier that says nothing of the secret: both come from the entropy, each from its part.
    let (identifier, secret) = wish.entropy.split_at(8);
    bytes[8..16].copy_from_slice(identifier);
    bytes[16..20].copy_from_slice(&[0xe4, DeviceType::DISK.0, 0, 0]);
    bytes[20..24].copy_from_slice(&[0x01, 0x03, 0, 16]);
    bytes[24..40].copy_from_slice(&wish.creator);
    bytes[44..48].copy_from_slice(&wish.block_size.bytes().to_be_bytes());
    let blocks: u64 = wish.ranges.iter().map(|range| range.count.0).sum();
    bytes[56..64].copy_from_slice(&(blocks << wish.block_size.shift()).to_be_bytes());
    bytes[96..100].copy_from_slice(&wish.block_size.bytes().to_be_bytes());
    bytes[128..128 + secret.len()].copy_from_slice(secret);
    bytes
}

/// What can be seen of a token that nobody knows: its type is not for this, its length is wrong, or it is one that was never made here.
pub(crate) fn unknown(token: &[u8; TOKEN_BYTES]) -> Asc {
    let kind = u32::from_be_bytes([token[0], token[1], token[2], token[3]]);
    if kind != third_party::ROD_TYPE {
        UNSUPPORTED_TYPE
    } else if token[6..8] != LENGTH.to_be_bytes() {
        INVALID_LENGTH
    } else if token[16] != 0xe4 {
        CORRUPT
    } else {
        UNKNOWN
    }
}

/// The token that stands for zeros.
pub(crate) fn is_zero(token: &[u8; TOKEN_BYTES]) -> bool {
    token[..4] == third_party::ZERO_ROD_TYPE.to_be_bytes()
}
