//! Sparse memory: a disk that costs what was written to it.
//!
//! Chunks of 64 KiB, each behind its own lock, in leaves that appear when first written. A read or write is atomic per chunk, so no block is ever torn.
//! Reads of what was never written are zeros and allocate nothing.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{BLOCK, Error, Extent, Geometry, Plan, ResizeError, Store, append, range};

/// Bytes of a chunk: a multiple of every block size, small enough that sparse writes stay sparse, large enough that the table is a thousandth of the data.
const CHUNK: usize = 64 << 10;
/// Chunks of a leaf: 64 MiB of disk each, so a terabyte needs a table of 16384 entries.
const LEAF: usize = 1024;

/// A disk in memory.
pub struct Memory {
    bytes: u64,
    /// Each shared with the same disk in other sizes.
    leaves: Box<[Arc<OnceLock<Leaf>>]>,
}

type Chunk = RwLock<Option<Box<[u8]>>>;
type Leaf = Box<[Chunk]>;

impl Memory {
    /// `bytes` of zeros.
    pub fn new(bytes: u64) -> Memory {
        Memory { bytes, leaves: (0..leaves_of(bytes)).map(|_| Arc::default()).collect() }
    }

    /// Bytes of chunks that exist.
    pub fn allocated(&self) -> u64 {
        let chunks = self.leaves.iter().filter_map(|leaf| leaf.get()).flat_map(|leaf| leaf.iter());
        chunks.filter(|chunk| read(chunk).is_some()).count() as u64 * CHUNK as u64
    }

    /// The chunk, if its leaf exists.
    fn chunk(&self, index: u64) -> Option<&Chunk> {
        let index = usize::try_from(index).ok()?;
        self.leaves.get(index / LEAF)?.get()?.get(index % LEAF)
    }

    fn make_chunk(&self, index: u64) -> Option<&Chunk> {
        let index = usize::try_from(index).ok()?;
        let leaf = self.leaves.get(index / LEAF)?.get_or_init(|| (0..LEAF).map(|_| RwLock::new(None)).collect());
        leaf.get(index % LEAF)
    }

    fn clear(&self, offset: u64, len: u64) -> Plan {
        if let Err(error) = range(self.bytes, offset, len) {
            return Plan::Done(Err(error));
        }
        let (mut position, end) = (offset, offset + len);
        while position < end {
            let (index, at, len) = piece(position, end);
            match self.chunk(index) {
                Some(chunk) => clear_chunk(chunk, at, len),
                // A leaf that is not there is skipped whole.
                None => {
                    let leaf = (CHUNK * LEAF) as u64;
                    position = (position / leaf + 1) * leaf;
                    continue;
                }
            }
            position += len as u64;
        }
        Plan::Done(Ok(()))
    }
}

impl Store for Memory {
    fn geometry(&self) -> Geometry {
        Geometry { bytes: self.bytes, read_only: false, can_discard: true, preferred: 0, durable: false, alignment: 1 }
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Plan {
        if let Err(error) = range(self.bytes, offset, into.len() as u64) {
            return Plan::Done(Err(error));
        }
        let end = offset + into.len() as u64;
        let (mut position, mut rest) = (offset, into);
        while position < end {
            let (index, at, len) = piece(position, end);
            let (part, after) = rest.split_at_mut(len);
            match self.chunk(index).map(read).as_deref() {
                Some(Some(chunk)) => part.copy_from_slice(&chunk[at..at + len]),
                _ => part.fill(0),
            }
            rest = after;
            position += len as u64;
        }
        Plan::Done(Ok(()))
    }

    fn write(&self, offset: u64, from: &[u8], _stable: bool) -> Plan {
        if let Err(error) = range(self.bytes, offset, from.len() as u64) {
            return Plan::Done(Err(error));
        }
        let end = offset + from.len() as u64;
        let (mut position, mut rest) = (offset, from);
        while position < end {
            let (index, at, len) = piece(position, end);
            let (part, after) = rest.split_at(len);
            let Some(chunk) = self.make_chunk(index) else { return Plan::Done(Err(Error::OutOfRange)) };
            let mut guard = write(chunk);
            let Some(data) = allocated(&mut guard) else { return Plan::Done(Err(Error::NoSpace)) };
            data[at..at + len].copy_from_slice(part);
            rest = after;
            position += len as u64;
        }
        Plan::Done(Ok(()))
    }

    fn flush(&self, offset: u64, len: u64) -> Plan {
        Plan::Done(range(self.bytes, offset, len))
    }

    fn zero(&self, offset: u64, len: u64, _stable: bool) -> Plan {
        self.clear(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> Plan {
        self.clear(offset, len)
    }

    fn extents(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, Error> {
        range(self.bytes, offset, len)?;
        let mut extents: Vec<Extent> = Vec::new();
        let (mut position, end) = (offset, offset + len);
        while position < end {
            let index = position / CHUNK as u64;
            let chunk = self.chunk(index);
            let unit = if chunk.is_some() { CHUNK } else { CHUNK * LEAF } as u64;
            let next = ((position / unit + 1) * unit).min(end);
            let mapped = chunk.is_some_and(|chunk| read(chunk).is_some());
            if !append(&mut extents, Extent { offset: position, len: next - position, mapped }, max) {
                break;
            }
            position = next;
        }
        Ok(extents)
    }

    fn prefetch(&self, _offset: u64, _len: u64) {}

    fn kind(&self) -> &'static str {
        "memory"
    }

    fn resized(&self, bytes: Option<u64>) -> Result<Arc<dyn Store>, ResizeError> {
        let bytes = bytes.ok_or(ResizeError::NothingToRead)?;
        if bytes < BLOCK {
            return Err(ResizeError::TooSmall(bytes));
        }
        if bytes < self.bytes {
            // What lies behind the end in the last leaf must not come back when the disk grows again.
            let leaf_end = leaves_of(bytes) * LEAF_BYTES;
            self.clear(bytes, leaf_end.min(self.bytes) - bytes);
        }
        let kept = self.leaves.iter().cloned();
        let leaves = kept.chain(std::iter::repeat_with(Arc::default)).take(usize::try_from(leaves_of(bytes)).unwrap_or(usize::MAX)).collect();
        Ok(Arc::new(Memory { bytes, leaves }))
    }
}

/// Bytes of disk in one leaf.
const LEAF_BYTES: u64 = (CHUNK * LEAF) as u64;

/// Leaves of a disk of so many bytes.
fn leaves_of(bytes: u64) -> u64 {
    bytes.div_ceil(LEAF_BYTES)
}

/// Chunk, place in it, and bytes of it, of the next piece of `position..end`.
fn piece(position: u64, end: u64) -> (u64, usize, usize) {
    let at = (position % CHUNK as u64) as usize;
    let len = usize::try_from(end - position).unwrap_or(usize::MAX).min(CHUNK - at);
    (position / CHUNK as u64, at, len)
}

fn clear_chunk(chunk: &Chunk, at: usize, len: usize) {
    if len == CHUNK {
        // The memory is freed after the lock is.
        let _freed = write(chunk).take();
    } else if let Some(data) = write(chunk).as_deref_mut() {
        data[at..at + len].fill(0);
    }
}

/// The chunk's bytes, zeros when new. `None`: the system has no memory.
fn allocated(guard: &mut Option<Box<[u8]>>) -> Option<&mut [u8]> {
    if guard.is_none() {
        let mut data = Vec::new();
        data.try_reserve_exact(CHUNK).ok()?;
        data.resize(CHUNK, 0);
        *guard = Some(data.into_boxed_slice());
    }
    guard.as_deref_mut()
}

// A thread that panicked while it copied bytes left bytes: nothing worse than what a write may leave.
fn read(chunk: &Chunk) -> RwLockReadGuard<'_, Option<Box<[u8]>>> {
    chunk.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(chunk: &Chunk) -> RwLockWriteGuard<'_, Option<Box<[u8]>>> {
    chunk.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_what_was_written() {
        let memory = Memory::new(1 << 40);
        assert_eq!(memory.allocated(), 0);
        let mut bytes = [1u8; 100];
        assert_eq!(memory.read(1 << 39, &mut bytes), Plan::Done(Ok(())));
        assert_eq!(bytes, [0; 100]);
        assert_eq!(memory.allocated(), 0);
        memory.write((1 << 39) - 50, &[7; 100], false);
        assert_eq!(memory.allocated(), 2 * CHUNK as u64);
        memory.discard(0, 1 << 40);
        assert_eq!(memory.allocated(), 0);
    }

    #[test]
    fn extents_are_contiguous_and_limited() {
        let memory = Memory::new(1 << 30);
        let chunk = CHUNK as u64;
        memory.write(chunk * 3, &[1], false);
        memory.write(chunk * 5, &[1], false);
        let extents = memory.extents(512, 1 << 29, 8).unwrap();
        let plain: Vec<_> = extents.iter().map(|extent| (extent.offset, extent.len, extent.mapped)).collect();
        let end = 512 + (1 << 29);
        let wanted = vec![
            (512, chunk * 3 - 512, false),
            (chunk * 3, chunk, true),
            (chunk * 4, chunk, false),
            (chunk * 5, chunk, true),
            (chunk * 6, end - chunk * 6, false),
        ];
        assert_eq!(plain, wanted);
        assert_eq!(memory.extents(512, 1 << 29, 2).unwrap().len(), 2);
    }

    #[test]
    fn threads_see_whole_blocks() {
        let memory = Memory::new(1 << 20);
        std::thread::scope(|scope| {
            for value in 1..4u8 {
                let memory = &memory;
                scope.spawn(move || (0..500).for_each(|_| assert_eq!(memory.write(4096, &[value; 4096], false), Plan::Done(Ok(())))));
            }
            for _ in 0..500 {
                let mut bytes = [0u8; 4096];
                memory.read(4096, &mut bytes);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            }
        });
    }
}
