//! Changes kept in memory above a base that is never written: `--ephemeral`.
//!
//! Per chunk of 64 KiB a mask says which 512-byte blocks are ours. A write that does not cover whole blocks brings the rest of them from the base first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Error, Extent, append};

/// Bytes of a chunk: 128 blocks, the bits of the mask.
const CHUNK: u64 = 64 << 10;
/// The smallest block of any unit.
const BLOCK: u64 = 512;
/// Shards of the table, each with a lock: neighbours lie in different ones.
const SHARDS: usize = 64;
/// Allocation is reported for this many chunks at a time (1 GiB): bounded work under one call.
const EXTENT_CHUNKS: u64 = 16384;

/// What a range consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The base alone.
    Base,
    /// The overlay alone.
    Overlay,
    /// Both.
    Mixed,
}

/// The changes.
#[derive(Default)]
pub struct Overlay {
    shards: Box<[RwLock<BTreeMap<u64, Chunk>>]>,
}

enum Chunk {
    /// All zeros.
    Zero,
    /// Blocks whose bit is set are ours.
    Data { mask: u128, bytes: Box<[u8]> },
}

impl Overlay {
    /// No changes.
    pub fn new() -> Overlay {
        Overlay { shards: (0..SHARDS).map(|_| RwLock::new(BTreeMap::new())).collect() }
    }

    /// Where the bytes of a range are.
    pub fn source(&self, offset: u64, len: u64) -> Source {
        let (mut ours, mut base) = (false, false);
        for (index, at, len) in pieces(offset, len) {
            let wanted = mask_of(at, len);
            let mask = self.read_shard(index).get(&index).map_or(0, Chunk::mask);
            ours |= mask & wanted != 0;
            base |= mask & wanted != wanted;
        }
        match (ours, base) {
            (true, true) => Source::Mixed,
            (true, false) => Source::Overlay,
            _ => Source::Base,
        }
    }

    /// Replaces in `into` what is ours; the rest is as the caller read it from the base.
    pub fn patch(&self, offset: u64, into: &mut [u8]) {
        let mut rest = into;
        for (index, at, len) in pieces(offset, rest.len() as u64) {
            let (part, after) = rest.split_at_mut(len);
            match self.read_shard(index).get(&index) {
                None => {}
                Some(Chunk::Zero) => part.fill(0),
                Some(Chunk::Data { mask, bytes }) => copy_ours(*mask, bytes, at, part),
            }
            rest = after;
        }
    }

    /// Keeps `from`. `base` reads what lies below.
    pub fn write(&self, offset: u64, from: &[u8], base: impl Fn(u64, &mut [u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut rest = from;
        for (index, at, len) in pieces(offset, from.len() as u64) {
            let (part, after) = rest.split_at(len);
            self.change(index, at, len, &base, |bytes| bytes.copy_from_slice(part))?;
            rest = after;
        }
        Ok(())
    }

    /// The range reads as zeros.
    pub fn zero(&self, offset: u64, len: u64, base: impl Fn(u64, &mut [u8]) -> Result<(), Error>) -> Result<(), Error> {
        for (index, at, len) in pieces(offset, len) {
            if len as u64 == CHUNK {
                self.write_shard(index).insert(index, Chunk::Zero);
            } else {
                self.change(index, at, len, &base, |bytes| bytes.fill(0))?;
            }
        }
        Ok(())
    }

    /// Allocation: what is ours tells for itself, `base` for the rest. Contiguous from `offset`, at most `max`, perhaps not the whole range.
    pub fn extents(&self, offset: u64, len: u64, max: usize, base: impl Fn(u64, u64) -> Result<Vec<Extent>, Error>) -> Result<Vec<Extent>, Error> {
        let mut extents: Vec<Extent> = Vec::new();
        let len = len.min(EXTENT_CHUNKS * CHUNK);
        for (index, at, len) in pieces(offset, len) {
            let start = index * CHUNK + at as u64;
            let found = match self.read_shard(index).get(&index) {
                Some(Chunk::Zero) => vec![Extent { offset: start, len: len as u64, mapped: false }],
                // Half of it may be the base's hole; saying "mapped" is always allowed.
                Some(Chunk::Data { .. }) => vec![Extent { offset: start, len: len as u64, mapped: true }],
                None => base(start, len as u64)?,
            };
            for extent in found {
                if !append(&mut extents, extent, max) {
                    return Ok(extents);
                }
            }
        }
        Ok(extents)
    }

    fn change(
        &self,
        index: u64,
        at: usize,
        len: usize,
        base: &impl Fn(u64, &mut [u8]) -> Result<(), Error>,
        apply: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        let mut shard = self.write_shard(index);
        let chunk = match shard.entry(index) {
            Entry::Vacant(vacant) => vacant.insert(Chunk::Data { mask: 0, bytes: zeroed_chunk()? }),
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        if let Chunk::Zero = chunk {
            *chunk = Chunk::Data { mask: u128::MAX, bytes: zeroed_chunk()? };
        }
        let Chunk::Data { mask, bytes } = chunk else { return Err(Error::Unsupported) };
        // Blocks that are covered in part and not ours yet: the first and the last at most.
        for place in [at, at + len] {
            let block = (place as u64 / BLOCK) * BLOCK;
            if !(place as u64).is_multiple_of(BLOCK) && *mask & mask_of(block as usize, 1) == 0 {
                let block = block as usize;
                base(index * CHUNK + block as u64, &mut bytes[block..block + BLOCK as usize])?;
            }
        }
        apply(&mut bytes[at..at + len]);
        *mask |= mask_of(at, len);
        Ok(())
    }

    fn read_shard(&self, index: u64) -> RwLockReadGuard<'_, BTreeMap<u64, Chunk>> {
        self.shards[(index % SHARDS as u64) as usize].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_shard(&self, index: u64) -> RwLockWriteGuard<'_, BTreeMap<u64, Chunk>> {
        self.shards[(index % SHARDS as u64) as usize].write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunk {
    fn mask(&self) -> u128 {
        match self {
            Chunk::Zero => u128::MAX,
            Chunk::Data { mask, .. } => *mask,
        }
    }
}

/// Chunk, place in it and bytes of it, for each piece of a range.
fn pieces(offset: u64, len: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len;
    let mut position = offset;
    std::iter::from_fn(move || {
        (position < end).then(|| {
            let at = position % CHUNK;
            let len = (CHUNK - at).min(end - position);
            let index = position / CHUNK;
            position += len;
            (index, at as usize, len as usize)
        })
    })
}

/// The blocks that a piece touches.
fn mask_of(at: usize, len: usize) -> u128 {
    let first = at / BLOCK as usize;
    let last = (at + len.max(1) - 1) / BLOCK as usize;
    (u128::MAX >> (127 - (last - first))) << first
}

fn copy_ours(mask: u128, bytes: &[u8], at: usize, into: &mut [u8]) {
    let mut done = 0;
    while done < into.len() {
        let place = at + done;
        let block = place / BLOCK as usize;
        let len = ((block + 1) * BLOCK as usize - place).min(into.len() - done);
        if mask & (1 << block) != 0 {
            into[done..done + len].copy_from_slice(&bytes[place..place + len]);
        }
        done += len;
    }
}

fn zeroed_chunk() -> Result<Box<[u8]>, Error> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(CHUNK as usize).map_err(|_| Error::NoSpace)?;
    bytes.resize(CHUNK as usize, 0);
    Ok(bytes.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cover_the_blocks_touched() {
        assert_eq!(mask_of(0, 512), 1);
        assert_eq!(mask_of(511, 2), 3);
        assert_eq!(mask_of(0, 65536), u128::MAX);
        assert_eq!(mask_of(65024, 512), 1 << 127);
        assert_eq!(mask_of(1024, 1024), 0b1100);
    }

    #[test]
    fn only_partly_covered_blocks_come_from_the_base() {
        let overlay = Overlay::new();
        let reads = std::cell::RefCell::new(Vec::new());
        let base = |offset: u64, into: &mut [u8]| {
            reads.borrow_mut().push((offset, into.len()));
            into.fill(0xbb);
            Ok(())
        };
        overlay.write(512, &[1; 512], base).unwrap();
        assert!(reads.borrow().is_empty());
        overlay.write(1500, &[2; 100], base).unwrap();
        assert_eq!(*reads.borrow(), [(1024, 512), (1536, 512)]);
        let mut bytes = [0u8; 2560];
        overlay.patch(0, &mut bytes);
        let mut wanted = [0u8; 2560];
        wanted[512..1024].fill(1);
        wanted[1024..2048].fill(0xbb);
        wanted[1500..1600].fill(2);
        assert_eq!(bytes, wanted);
        assert_eq!(overlay.source(0, 512), Source::Base);
        assert_eq!(overlay.source(512, 1536), Source::Overlay);
        assert_eq!(overlay.source(0, 1024), Source::Mixed);
    }

    #[test]
    fn a_write_inside_one_block_keeps_both_sides() {
        let overlay = Overlay::new();
        let base = |_: u64, into: &mut [u8]| {
            into.fill(5);
            Ok(())
        };
        overlay.write(10, &[1; 4], base).unwrap();
        let mut bytes = [0u8; 16];
        overlay.patch(0, &mut bytes);
        assert_eq!(bytes, [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 1, 1, 1, 1, 5, 5]);
    }
}
