//! A simulated disk file: what was written is volatile until a sync that began after the write ended.

use std::collections::BTreeMap;

use crate::random::Random;

/// Sectors are the unit that never tears.
pub const SECTOR: usize = 512;

/// A write that ended and is not durable yet.
#[derive(Clone, Debug)]
struct Pending {
    number: u64,
    offset: u64,
    bytes: Vec<u8>,
}

/// A disk with a volatile cache.
#[derive(Clone, Debug)]
pub struct Disk {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Pending>,
    next: u64,
    /// Syncs under way: the number of the first write that each does not cover.
    syncs: BTreeMap<u64, u64>,
}

impl Disk {
    /// A disk of zeros.
    pub fn new(bytes: usize) -> Disk {
        Disk { durable: vec![0; bytes], current: vec![0; bytes], pending: Vec::new(), next: 0, syncs: BTreeMap::new() }
    }

    /// Bytes at `offset`, zeros past the end.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.current.len());
        let len = into.len().min(self.current.len() - start);
        into[..len].copy_from_slice(&self.current[start..start + len]);
    }

    /// A write ends; `stable`: it is durable.
    pub fn write(&mut self, offset: u64, bytes: &[u8], stable: bool) {
        let Some(start) = usize::try_from(offset).ok().filter(|start| start + bytes.len() <= self.current.len()) else { return };
        self.current[start..start + bytes.len()].copy_from_slice(bytes);
        if stable {
            self.pending.retain(|pending| !(pending.offset >= offset && pending.offset + pending.bytes.len() as u64 <= offset + bytes.len() as u64));
            self.durable[start..start + bytes.len()].copy_from_slice(bytes);
        }
        // A stable write stays in the list too when an older volatile one overlaps it, so that a power cut cannot bring the old bytes back.
        let overlaps =
            self.pending.iter().any(|pending| pending.offset < offset + bytes.len() as u64 && offset < pending.offset + pending.bytes.len() as u64);
        if !stable || overlaps {
            self.pending.push(Pending { number: if stable { u64::MAX } else { self.next }, offset, bytes: bytes.to_vec() });
        }
        self.next += 1;
    }

    /// A sync begins; give its key to [`Disk::sync_end`].
    pub fn sync_begin(&mut self, key: u64) {
        self.syncs.insert(key, self.next);
    }

    /// A sync ends: the writes that had ended when it began are durable.
    pub fn sync_end(&mut self, key: u64) {
        let Some(until) = self.syncs.remove(&key) else { return };
        for pending in &self.pending {
            if pending.number < until || pending.number == u64::MAX {
                let start = pending.offset as usize;
                self.durable[start..start + pending.bytes.len()].copy_from_slice(&pending.bytes);
            }
        }
        // What is younger than the sync stays; a stable write stays only while something older does, above which it must end up.
        let mut older = false;
        self.pending.retain(|pending| {
            older = if pending.number == u64::MAX { older } else { older || pending.number >= until };
            if pending.number == u64::MAX { older } else { pending.number >= until }
        });
    }

    /// The power goes: of what was not durable any subset of sectors survives, in order.
    pub fn power_cut(&mut self, random: &mut Random) {
        self.syncs.clear();
        for pending in std::mem::take(&mut self.pending) {
            let must = pending.number == u64::MAX;
            for (index, sector) in pending.bytes.chunks(SECTOR).enumerate() {
                if must || random.chance(50) {
                    let start = pending.offset as usize + index * SECTOR;
                    self.durable[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        self.current.clone_from(&self.durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(disk: &Disk, number: u64) -> u8 {
        let mut bytes = [0; SECTOR];
        disk.read(number * SECTOR as u64, &mut bytes);
        assert!(bytes.iter().all(|&byte| byte == bytes[0]), "torn sector");
        bytes[0]
    }

    #[test]
    fn stable_writes_survive_and_are_not_undone_by_older_ones() {
        for seed in 0..50 {
            let mut disk = Disk::new(8 * SECTOR);
            disk.write(0, &[1; 2 * SECTOR], false);
            disk.write(0, &[2; SECTOR], true);
            disk.power_cut(&mut Random::new(seed, 0));
            assert_eq!(sector(&disk, 0), 2);
            assert!([0, 1].contains(&sector(&disk, 1)));
        }
    }

    #[test]
    fn a_sync_covers_what_had_ended_when_it_began() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut disk = Disk::new(8 * SECTOR);
            disk.write(0, &[1; SECTOR], false);
            disk.sync_begin(9);
            disk.write(SECTOR as u64, &[2; SECTOR], false);
            disk.sync_end(9);
            disk.power_cut(&mut Random::new(seed, 0));
            assert_eq!(sector(&disk, 0), 1);
            lost += u32::from(sector(&disk, 1) == 0);
        }
        assert!(lost > 5, "the younger write is never lost");
    }
}
