//! The background medium scan (SBC-4 4.25, background control mode page 1C/01, background scan log page 15h): reads the medium while nobody uses it.
//!
//! It begins when EN_BMS is set and the interval since the last one is over, goes on while the unit has been idle for the minimum idle time, and tells the
//! blocks that it could not read. Nothing is repaired: a block is readable again when it was written.

use alloc::vec::Vec;

use scsi::{Asc, BlockCount, BlockRange, Lba, SenseKey};

use crate::cdb::{be16, bit};
use crate::device::Device;
use crate::operation::{StoreFault, StoreOp, StoreResult};

/// Background control mode page.
pub(crate) const PAGE: (u8, u8) = (0x1c, 0x01);
/// Bytes of one store operation: what a command that comes may have to wait for.
const PIECE: u64 = 1 << 20;
/// Nanoseconds from one piece to the next, so that a scan reads at most 100 MiB a second.
const PACE: u64 = 10_000_000;
/// Results that the log has parameter codes for.
const MAX_RESULTS: usize = 0x800;
const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000_000_000;

/// STATUS of the log page.
const NO_SCAN: u8 = 0;
const ACTIVE: u8 = 1;
const FAILED: u8 = 3;
const LOG_IS_FULL: u8 = 6;
const WAITING: u8 = 8;

/// REASSIGN STATUS: WRITE or REASSIGN BLOCKS is needed; it was reassigned without its data; it was written again.
const PENDING: u8 = 1;
const REASSIGNED: u8 = 7;
const REWRITTEN: u8 = 5;

/// A block that a scan could not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) lba: u64,
    /// Power on time when it was found, in nanoseconds.
    pub(crate) at: u64,
    pub(crate) reassign: u8,
}

/// The scan of the medium.
#[derive(Clone, Default, Debug)]
pub(crate) struct Scan {
    enabled: bool,
    stop_when_full: bool,
    interval: u64,
    min_idle: u64,
    /// The next byte, while a scan is under way.
    position: Option<u64>,
    /// Start of the last scan.
    started: Option<u64>,
    /// Last time a command was seen.
    disturbed: u64,
    /// The next piece not before this.
    next: u64,
    halted: Option<u8>,
    scans: u16,
    found: Vec<Found>,
}

impl Scan {
    /// EN_BMS is set.
    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// There are commands.
    pub(crate) fn disturbed(&mut self, now: u64) {
        self.disturbed = now;
    }

    /// Blocks that scans found, oldest first.
    pub(crate) fn found(&self) -> &[Found] {
        &self.found
    }

    /// Scans begun, modulo 65536.
    pub(crate) fn count(&self) -> u16 {
        self.scans
    }

    /// STATUS of the log page.
    pub(crate) fn status(&self) -> u8 {
        match (self.halted, self.position) {
            (Some(reason), _) => reason,
            _ if !self.enabled => NO_SCAN,
            (None, Some(_)) => ACTIVE,
            (None, None) if self.started.is_some() => WAITING,
            (None, None) => NO_SCAN,
        }
    }

    /// The blocks were written, or (`reassigned`) given another place.
    pub(crate) fn settled(&mut self, range: BlockRange, reassigned: bool) {
        let status = if reassigned { REASSIGNED } else { REWRITTEN };
        let inside = |found: &&mut Found| found.reassign == PENDING && found.lba >= range.start.0 && found.lba < range.end();
        self.found.iter_mut().filter(inside).for_each(|found| found.reassign = status);
    }

    /// Parameters of the log page that LOG SELECT resets.
    pub(crate) fn clear_log(&mut self) {
        self.found.clear();
        if self.halted == Some(LOG_IS_FULL) {
            self.halted = None;
        }
    }

    fn add(&mut self, lba: u64, at: u64) {
        if self.found.iter().any(|found| found.lba == lba && found.reassign == PENDING) {
            return;
        }
        if self.found.len() >= MAX_RESULTS {
            self.found.remove(0);
        }
        self.found.push(Found { lba, at, reassign: PENDING });
    }

    fn is_full(&self) -> bool {
        self.stop_when_full && self.found.len() >= MAX_RESULTS
    }
}

/// How far the scan is, in 65536ths.
pub(crate) fn progress(device: &Device) -> u16 {
    let bytes = u128::from(device.blocks() << device.block_size().shift()).max(1);
    device.scan.position.map_or(0, |position| u16::try_from(u128::from(position) * 65536 / bytes).unwrap_or(u16::MAX))
}

/// The background control mode page may have been changed.
pub(crate) fn modes_changed(device: &mut Device) {
    let page = device.modes.values(PAGE.0, PAGE.1).unwrap_or(&[]);
    let enabled = bit(page, 0, 0x01);
    let (full, interval, idle) = (bit(page, 0, 0x04), u64::from(be16(page, 2)) * HOUR, u64::from(be16(page, 6)) * MILLISECOND);
    if !enabled || !device.scan.enabled {
        forget(device);
    }
    let scan = &mut device.scan;
    (scan.enabled, scan.stop_when_full, scan.interval, scan.min_idle) = (enabled, full, interval, idle);
}

/// The scan is over, wherever it was.
pub(crate) fn forget(device: &mut Device) {
    device.errands.disown_scan();
    (device.scan.position, device.scan.started, device.scan.halted) = (None, None, None);
}

/// When a scan begins or goes on.
pub(crate) fn due(device: &Device) -> Option<u64> {
    let scan = &device.scan;
    if !scan.enabled || scan.halted.is_some() || !device.is_ready() {
        return None;
    }
    let begins = match (scan.position, scan.started) {
        (None, Some(started)) => started.saturating_add(scan.interval),
        _ => 0,
    };
    Some(begins.max(scan.next).max(scan.disturbed.saturating_add(scan.min_idle)))
}

/// What the scan reads now.
pub(crate) fn next_operation(device: &mut Device) -> Option<StoreOp> {
    let now = device.now();
    if due(device)? > now {
        return None;
    }
    if device.scan.is_full() {
        device.scan.halted = Some(LOG_IS_FULL);
        return None;
    }
    let bytes = device.blocks() << device.block_size().shift();
    if device.scan.position.is_none() {
        device.scan.scans = device.scan.scans.wrapping_add(1);
        device.scan.started = Some(now);
    }
    let offset = device.scan.position.unwrap_or(0).min(bytes);
    device.scan.position = Some(offset);
    Some(StoreOp::Check { offset, len: (bytes - offset).min(PIECE) })
}

/// A piece was read, or could not be.
pub(crate) fn operation_ended(device: &mut Device, result: &StoreResult) {
    let Some(offset) = device.scan.position else { return };
    let (shift, now, power_on) = (device.block_size().shift(), device.now(), device.power_on());
    let bytes = device.blocks() << shift;
    let len = bytes.saturating_sub(offset).min(PIECE);
    let mut end = offset + len;
    let bad = match result {
        Ok(_) | Err(StoreFault::Unsupported) => device.known_bad(BlockRange { start: Lba(offset >> shift), count: BlockCount(len >> shift) }),
        Err(StoreFault::Io { at: Some(at) }) => Some((offset + (*at).min(len.saturating_sub(1))) >> shift),
        Err(StoreFault::Io { at: None }) => None,
        Err(_) => {
            device.scan.halted = Some(FAILED);
            None
        }
    };
    if let Some(lba) = bad {
        device.statistics.add_pending(lba, power_on);
        device.scan.add(lba, power_on);
        // It goes on behind the block.
        end = lba.saturating_add(1) << shift;
    }
    device.scan.next = now.saturating_add(PACE);
    device.scan.position = (end < bytes).then_some(end);
}

/// Value of the parameter that tells a block.
pub(crate) fn parameter(found: &Found) -> [u8; 20] {
    let mut value = [0; 20];
    let minutes = u32::try_from(found.at / 60_000_000_000).unwrap_or(u32::MAX);
    value[..4].copy_from_slice(&minutes.to_be_bytes());
    value[4] = found.reassign << 4 | SenseKey::MEDIUM_ERROR.0;
    (value[5], value[6]) = (Asc::UNRECOVERED_READ_ERROR.code(), Asc::UNRECOVERED_READ_ERROR.qualifier());
    value[12..].copy_from_slice(&found.lba.to_be_bytes());
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::Bench;
    use std::vec;

    /// Sets the page: flags, hours between scans, milliseconds of rest.
    fn set(bench: &mut Bench, flags: u8, hours: u8, idle: u16) {
        let [high, low] = idle.to_be_bytes();
        let page = [0, 0, 0, 0, 0x5c, 0x01, 0, 0x0c, flags, 0, 0, hours, 0, 0, high, low, 0, 0, 0, 0];
        assert_eq!(bench.run(&[0x15, 0x10, 0, 0, 20, 0], &page).0.sense, None);
    }

    /// Status, scans, progress.
    fn log(bench: &mut Bench) -> (u8, u16, u16) {
        let page = bench.good(&[0x4d, 0, 0x55, 0, 0, 0, 0, 0x10, 0, 0]);
        (page[13], be16(&page, 14), be16(&page, 16))
    }

    fn found(bench: &mut Bench) -> Vec<(u64, u8)> {
        let page = bench.good(&[0x4d, 0, 0x55, 0, 0, 0, 0, 0x10, 0, 0]);
        page[20..].chunks(24).map(|it| (crate::cdb::be64(it, 16), it[8] >> 4)).collect()
    }

    #[test]
    fn off_until_it_is_switched_on() {
        let mut bench = Bench::disk(64);
        assert!(!bench.device.has_errands());
        assert_eq!((bench.poll(false), log(&mut bench)), (None, (0, 0, 0)));
    }

    #[test]
    fn pieces_in_their_time() {
        let mut bench = Bench::disk(4096);
        bench.device.tick(HOUR, true);
        set(&mut bench, 0x01, 1, 100);
        assert_eq!((bench.poll(true), bench.poll(false)), (None, None), "not idle for long enough");
        bench.device.tick(HOUR + 100 * MILLISECOND, true);
        assert!(bench.errand(false));
        assert_eq!((log(&mut bench), bench.poll(false)), ((1, 1, 0x8000), None));
        bench.device.tick(HOUR + 110 * MILLISECOND, true);
        bench.work();
        assert_eq!(log(&mut bench), (8, 1, 0));
        assert_eq!(bench.ops, [0, 1 << 20].map(|offset| StoreOp::Check { offset, len: 1 << 20 }));
        bench.device.tick(2 * HOUR + 100 * MILLISECOND, true);
        assert!(bench.errand(false));
        assert_eq!(log(&mut bench), (1, 2, 0x8000));
        let late = {
            bench.device.tick(3 * HOUR, true);
            bench.poll(false).unwrap()
        };
        set(&mut bench, 0x00, 1, 100);
        bench.device.errand_ended(late.number, Err(StoreFault::Gone));
        assert_eq!((log(&mut bench), bench.device.has_errands()), ((0, 2, 0), false));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let mut bench = Bench::disk(64);
        bench.good(&[0x9f, 0x51, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0]);
        set(&mut bench, 0x01, 1, 0);
        bench.device.tick(1, true);
        bench.faults.push_back(Some(StoreFault::Io { at: Some(3 * 512) }));
        for milliseconds in [1, 20, 40, 60] {
            bench.device.tick(milliseconds * MILLISECOND, true);
            bench.work();
        }
        assert_eq!(bench.ops.len(), 3);
        assert_eq!((found(&mut bench), log(&mut bench).0), (vec![(3, PENDING), (7, PENDING)], WAITING));
        assert_eq!(bench.good(&[0x4d, 0, 0x55, 1, 0, 0, 0, 0, 99, 0])[8..12], [0, 0, 0, 2]);
        bench.run(&[0x2a, 0, 0, 0, 0, 3, 0, 0, 1, 0], &[0; 512]);
        bench.run(&[0x07, 0, 0, 0, 0, 0], &[0, 0, 0, 4, 0, 0, 0, 7]);
        assert_eq!(found(&mut bench), [(3, REWRITTEN), (7, REASSIGNED)]);
        bench.good(&[0x4c, 0x02, 0xd5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(found(&mut bench), []);
    }

    #[test]
    fn a_store_that_is_gone_ends_it() {
        let mut bench = Bench::disk(64);
        set(&mut bench, 0x01, 1, 0);
        bench.faults.push_back(Some(StoreFault::Gone));
        bench.device.tick(1, true);
        bench.work();
        assert_eq!((log(&mut bench).0, bench.poll(false)), (FAILED, None));
    }

    #[test]
    fn a_full_log_stops_it_when_that_is_asked() {
        let mut scan = Scan::default();
        (0..3000).for_each(|lba| scan.add(lba, 0));
        assert_eq!((scan.found.len(), scan.found[0].lba, scan.is_full()), (MAX_RESULTS, 952, false));
        scan.stop_when_full = true;
        assert!(scan.is_full());
    }
}
