//! LOG SELECT (SPC-6 6.7): sets counters and their thresholds, resets them (PCR), and keeps what applications want kept. Nothing is changed unless the whole
//! list is right.

use alloc::vec::Vec;

use scsi::{Asc, Sense};

use super::duration::AllMisses;
use super::log_pages::{
    APPLICATION_CLIENT, BACKGROUND_SCAN, NON_MEDIUM, PERFORMANCE, READ_ERRORS, START_STOP, VERIFY_ERRORS, WRITE_ERRORS, supported,
};
use super::log_thresholds::{LogThresholds, counter};
use crate::cdb::{be16, bit, byte};
use crate::device::Device;
use crate::statistics::{Errors, Performance, Statistics};

/// LOG PARAMETERS CHANGED.
const LOG_PARAMETERS_CHANGED: Asc = Asc(0x2a02);
/// Parameter codes of the application client page: general usage.
const APPLICATION_CODES: u16 = 0x40;
/// Longest value of one of them.
const APPLICATION_BYTES: usize = 0xfc;
/// Threshold values and cumulative values (PC field).
const THRESHOLD: u8 = 0;
const CUMULATIVE: u8 = 1;
const DEFAULT_THRESHOLD: u8 = 2;
const DEFAULT_CUMULATIVE: u8 = 3;

/// A list may come only without PCR and without a page in the CDB, with thresholds or cumulative values; nothing can be saved.
pub(super) fn check(device: &Device, cdb: &[u8]) -> Result<(), Sense> {
    let length = be16(cdb, 7);
    let bad = Sense::invalid_cdb_field;
    let (page, subpage, control) = (byte(cdb, 2) & 0x3f, byte(cdb, 3), byte(cdb, 2) >> 6);
    if bit(cdb, 1, 0x01) {
        return Err(bad(1, Some(0)));
    }
    if bit(cdb, 1, 0x02) && length != 0 {
        return Err(bad(1, Some(1)));
    }
    if length != 0 && page != 0 {
        return Err(bad(2, Some(5)));
    }
    if length != 0 && subpage != 0 {
        return Err(bad(3, Some(7)));
    }
    if length != 0 && !matches!(control, THRESHOLD | CUMULATIVE) {
        return Err(bad(2, Some(7)));
    }
    let all = page == 0 && matches!(subpage, 0 | 0xff);
    if !all && !supported(device).any(|it| it == (page, subpage) || subpage == 0xff && it.0 == page) {
        return Err(bad(2, Some(5)));
    }
    Ok(())
}

/// The list is here, or empty.
pub(super) fn select(device: &mut Device, cdb: &[u8], list: &[u8], nexus: u64) -> Result<(), Sense> {
    let control = byte(cdb, 2) >> 6;
    let mut draft = Draft {
        statistics: device.statistics.clone(),
        date: device.accounting_date,
        application: device.application_log.clone(),
        thresholds: device.log_thresholds.clone(),
        sets_thresholds: control == THRESHOLD,
    };
    let (page, subpage) = (byte(cdb, 2) & 0x3f, byte(cdb, 3));
    if list.is_empty() && control == DEFAULT_THRESHOLD {
        draft.thresholds.default_thresholds(page);
    }
    if list.is_empty() && bit(cdb, 1, 0x02) {
        draft.thresholds.reset(page);
    }
    if list.is_empty() && (bit(cdb, 1, 0x02) || control == DEFAULT_CUMULATIVE) {
        draft.reset(page, subpage);
        if matches!((page, subpage), (0, _) | (BACKGROUND_SCAN, 0 | 0xff)) {
            device.scan.clear_log();
        }
    }
    let mut at = 0;
    while at < list.len() {
        at = draft.page(list, at)?;
    }
    let kept = draft.statistics == device.statistics && draft.thresholds == device.log_thresholds;
    let changed = !kept || draft.date != device.accounting_date || draft.application != device.application_log;
    if changed {
        device.statistics = draft.statistics;
        device.accounting_date = draft.date;
        device.application_log = draft.application;
        device.log_thresholds = draft.thresholds;
        device.notify(LOG_PARAMETERS_CHANGED, Some(nexus));
    }
    Ok(())
}

struct Draft {
    statistics: Statistics,
    date: [u8; 6],
    application: alloc::collections::BTreeMap<u16, Vec<u8>>,
    thresholds: LogThresholds,
    /// The list has thresholds instead of cumulative values.
    sets_thresholds: bool,
}

impl Draft {
    /// Counters of one page, or of all, to zero. Lists that describe the unit stay.
    fn reset(&mut self, page: u8, subpage: u8) {
        let statistics = &mut self.statistics;
        let wanted = |it: u8| page == 0 || page == it;
        if wanted(WRITE_ERRORS) {
            statistics.write = Errors::default();
        }
        if wanted(READ_ERRORS) {
            statistics.read = Errors::default();
        }
        if wanted(VERIFY_ERRORS) {
            statistics.verify = Errors::default();
        }
        if wanted(NON_MEDIUM) {
            statistics.non_medium = 0;
        }
        if wanted(APPLICATION_CLIENT) {
            self.application.clear();
        }
        if wanted(PERFORMANCE) {
            self.reset_performance(if page == 0 { 0xff } else { subpage });
        }
        if wanted(0x1a) {
            self.statistics.transitions.clear();
        }
    }

    fn reset_performance(&mut self, subpage: u8) {
        let statistics = &mut self.statistics;
        if matches!(subpage, 0 | 0xff) {
            statistics.total = Performance::default();
            statistics.forced_reads = crate::statistics::Forced::default();
            statistics.forced_writes = crate::statistics::Forced::default();
            statistics.idle = 0;
        }
        if matches!(subpage, 0x20 | 0xff) {
            statistics.cached_writes = 0;
        }
        if matches!(subpage, 0x21 | 0xff) {
            statistics.durations = AllMisses::default();
        }
        statistics.groups.retain(|&group, _| subpage != 0xff && group != subpage);
    }

    /// One page at `at`; the offset of the next.
    fn page(&mut self, list: &[u8], at: usize) -> Result<usize, Sense> {
        let Some(header) = list.get(at..at + 4) else { return Err(length_error()) };
        let page = header[0] & 0x3f;
        // SPF says whether the subpage code means anything; no page that can be set has one.
        if bit(header, 0, 0x40) || header[1] != 0 {
            return Err(bad_parameter(at + 1));
        }
        let end = at + 4 + usize::from(be16(header, 2));
        if end > list.len() {
            return Err(length_error());
        }
        let mut place = at + 4;
        while place < end {
            let Some(head) = list[..end].get(place..place + 4) else { return Err(bad_parameter(at + 2)) };
            let next = place + 4 + usize::from(head[3]);
            let Some(value) = list[..end].get(place + 4..next) else { return Err(bad_parameter(place + 3)) };
            self.parameter(page, head, value, (at, place))?;
            place = next;
        }
        if end == at + 4 && !matches!(page, WRITE_ERRORS | READ_ERRORS | VERIFY_ERRORS | NON_MEDIUM | START_STOP | APPLICATION_CLIENT) {
            return Err(bad_parameter(at));
        }
        Ok(end)
    }

    fn parameter(&mut self, page: u8, head: &[u8], value: &[u8], (page_at, at): (usize, usize)) -> Result<(), Sense> {
        let (code, control) = (be16(head, 0), byte(head, 2));
        match page {
            WRITE_ERRORS | READ_ERRORS | VERIFY_ERRORS | NON_MEDIUM => {
                let Some(counter) = counter(&mut self.statistics, page, code) else { return Err(bad_parameter(at)) };
                let number = number(value, if page != NON_MEDIUM && usize::from(code) == Errors::BYTES { 8 } else { 4 }, at)?;
                if self.sets_thresholds {
                    self.thresholds.set_threshold(page, code, number);
                } else {
                    *counter = number;
                }
                self.thresholds.set_control(page, code, control);
            }
            START_STOP | APPLICATION_CLIENT if self.sets_thresholds => return Err(bad_parameter(page_at)),
            START_STOP if code == 2 => self.date = value.try_into().map_err(|_| bad_parameter(at + 3))?,
            APPLICATION_CLIENT if code < APPLICATION_CODES => {
                if value.len() > APPLICATION_BYTES {
                    return Err(bad_parameter(at + 3));
                }
                self.application.insert(code, Vec::from(value));
            }
            START_STOP | APPLICATION_CLIENT => return Err(bad_parameter(at)),
            _ => return Err(bad_parameter(page_at)),
        }
        Ok(())
    }
}

fn number(value: &[u8], width: usize, at: usize) -> Result<u64, Sense> {
    if value.len() != width {
        return Err(bad_parameter(at + 3));
    }
    Ok(value.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn length_error() -> Sense {
    Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)
}

fn bad_parameter(at: usize) -> Sense {
    Sense::invalid_parameter_field(u16::try_from(at).unwrap_or(u16::MAX), Some(7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::Bench;
    use crate::{Notice, tests::bench::code};
    use scsi::Status;

    fn sense(bench: &mut Bench, page: u8) -> Vec<u8> {
        bench.good(&[0x4d, 0, 0x40 | page, 0, 0, 0, 0, 0x10, 0, 0]).split_off(4)
    }

    fn select(bench: &mut Bench, list: &[u8]) -> u32 {
        let cdb = [0x4c, 0, 0x40, 0, 0, 0, 0, 0, u8::try_from(list.len()).unwrap(), 0];
        let (outcome, _) = bench.run(&cdb, list);
        outcome.sense.map_or(0, |sense| code(&sense))
    }

    #[test]
    fn what_is_set_is_read() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, &[0x03, 0, 0, 8, 0, 6, 0, 4, 0, 0, 1, 2]), 0);
        assert_eq!(bench.device.poll_notice(), Some(Notice { asc: Asc(0x2a02), except: Some(1) }));
        assert_eq!(bench.good(&[0x4d, 0, 0x43, 0, 0, 0, 6, 0, 99, 0]), [0x83, 0, 0, 8, 0, 6, 0x20, 4, 0, 0, 1, 2]);
        assert_eq!(select(&mut bench, &[0x0f, 0, 0, 7, 0, 0x3f, 3, 3, b'a', b'b', b'c', 0x06, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 9]), 0);
        assert_eq!(sense(&mut bench, 0x0f), [0, 0x3f, 0x23, 3, b'a', b'b', b'c']);
        assert_eq!(sense(&mut bench, 0x06)[4..], [0, 0, 0, 9]);
        assert_eq!(select(&mut bench, &[0x0e, 0, 0, 10, 0, 2, 1, 6, b'2', b'0', b'2', b'6', b'4', b'7']), 0);
        assert_eq!(sense(&mut bench, 0x0e)[10..20], [0, 2, 0x21, 6, b'2', b'0', b'2', b'6', b'4', b'7']);
    }

    #[test]
    fn a_bad_list_changes_nothing() {
        let mut bench = Bench::disk(8);
        let good = [0x03, 0, 0, 8, 0, 6, 0, 4, 0, 0, 1, 2];
        let tails: [(&[u8], u32); 6] = [
            (&[0x03, 0, 0], 0x0005_1a00),
            (&[0x03, 0, 0, 9, 0, 6, 0, 4, 0, 0, 1, 2], 0x0005_1a00),
            (&[0x03, 0, 0, 8, 0, 6, 0, 5, 0, 0, 1, 2], 0x0005_2600),
            (&[0x03, 0, 0, 8, 0, 7, 0, 4, 0, 0, 1, 2], 0x0005_2600),
            (&[0x1a, 0, 0, 8, 0, 1, 0, 4, 0, 0, 1, 2], 0x0005_2600),
            (&[0x43, 1, 0, 8, 0, 6, 0, 4, 0, 0, 1, 2], 0x0005_2600),
        ];
        for (tail, expected) in tails {
            assert_eq!(select(&mut bench, &[&good, tail].concat()), expected, "{tail:02x?}");
        }
        assert_eq!(sense(&mut bench, 0x03)[..4], [0, 0, 0x20, 4]);
        assert!(sense(&mut bench, 0x03).ends_with(&[0, 0, 0, 0]));
        assert_eq!(bench.device.poll_notice(), None);
    }

    #[test]
    fn reset() {
        let mut bench = Bench::disk(8);
        let commands = |bench: &mut Bench| {
            bench.good(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512]);
        };
        commands(&mut bench);
        bench.good(&[0x4c, 2, 0x43, 0, 0, 0, 0, 0, 0, 0]);
        let bytes = |bench: &mut Bench, page: u8| bench.good(&[0x4d, 0, 0x40 | page, 0, 0, 0, 5, 0, 99, 0])[8..16].to_vec();
        assert_eq!((bytes(&mut bench, 3), bytes(&mut bench, 2)[6..].to_vec()), (Vec::from([0; 8]), Vec::from([2, 0])));
        assert_eq!(bench.device.poll_notice().map(|notice| notice.asc), Some(Asc(0x2a02)));
        bench.good(&[0x4c, 2, 0x40, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(&mut bench, 2), [0; 8]);
        assert_eq!(sense(&mut bench, 0x19)[4..68], [0; 64]);
    }

    #[test]
    fn fields_of_the_cdb() {
        let mut bench = Bench::disk(8);
        let mut refused = |cdb: [u8; 10], data: &[u8]| bench.sense(&cdb, data);
        let bad = Sense::invalid_cdb_field;
        assert_eq!(refused([0x4c, 1, 0x40, 0, 0, 0, 0, 0, 0, 0], &[]), bad(1, Some(0)));
        assert_eq!(refused([0x4c, 2, 0x40, 0, 0, 0, 0, 0, 12, 0], &[0; 12]), bad(1, Some(1)));
        assert_eq!(refused([0x4c, 0, 0x43, 0, 0, 0, 0, 0, 12, 0], &[0; 12]), bad(2, Some(5)));
        assert_eq!(refused([0x4c, 0, 0x40, 1, 0, 0, 0, 0, 12, 0], &[0; 12]), bad(3, Some(7)));
        assert_eq!(refused([0x4c, 0, 0x80, 0, 0, 0, 0, 0, 12, 0], &[0; 12]), bad(2, Some(7)));
        assert_eq!(refused([0x4c, 2, 0x41, 0, 0, 0, 0, 0, 0, 0], &[]), bad(2, Some(5)));
        assert_eq!(code(&refused([0x4c, 0, 0x40, 0, 0, 0, 0, 0, 12, 0], &[0; 4])), 0x0005_1a00);
        assert_eq!(bench.run(&[0x4c, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], &[]).0.status, Status::GOOD);
    }
}
