//! Thresholds of the error counters (SPC-6 7.3): values that initiators set with LOG SELECT, what is compared, and when everybody hears that one is met.
//!
//! The counters of pages 02h, 03h, 05h and 06h have thresholds. With ETC every update of the counter is compared as TMC says; with RLEC of the control mode page a
//! condition that is met is told as a unit attention. DU keeps a counter as it is.

use alloc::collections::BTreeMap;

use scsi::Asc;

use super::log_pages::{NON_MEDIUM, Parameter, READ_ERRORS, VERIFY_ERRORS, Values, WRITE_ERRORS};
use super::{control, mode_pages::ModePages};
use crate::cdb::bit;
use crate::statistics::Statistics;

/// THRESHOLD CONDITION MET.
pub(crate) const CONDITION_MET: Asc = Asc(0x5b01);
/// DU, ETC and TMC of a parameter control byte.
const CONTROL: u8 = 0x9c;

/// What is set for one counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Setting {
    threshold: u64,
    /// DU, ETC and TMC in their places.
    control: u8,
}

/// Settings that differ from the default, by page and parameter code.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct LogThresholds(BTreeMap<(u8, u16), Setting>);

impl LogThresholds {
    /// The control byte that came with a parameter.
    pub(crate) fn set_control(&mut self, page: u8, code: u16, control: u8) {
        self.change(page, code, |setting| setting.control = control & CONTROL);
    }

    /// A threshold.
    pub(crate) fn set_threshold(&mut self, page: u8, code: u16, threshold: u64) {
        self.change(page, code, |setting| setting.threshold = threshold);
    }

    fn change(&mut self, page: u8, code: u16, change: impl FnOnce(&mut Setting)) {
        let default = Setting { threshold: u64::MAX, control: 0 };
        let mut setting = self.0.get(&(page, code)).copied().unwrap_or(default);
        change(&mut setting);
        if setting == default {
            self.0.remove(&(page, code));
        } else {
            self.0.insert((page, code), setting);
        }
    }

    /// A page, or all (0), is again as it was at power on.
    pub(crate) fn reset(&mut self, page: u8) {
        self.0.retain(|&(it, _), _| page != 0 && it != page);
    }

    /// Thresholds of a page, or of all (0), are again the default ones.
    pub(crate) fn default_thresholds(&mut self, page: u8) {
        let chosen: alloc::vec::Vec<(u8, u16)> = self.0.keys().copied().filter(|key| page == 0 || key.0 == page).collect();
        for (page, code) in chosen {
            self.set_threshold(page, code, u64::MAX);
        }
    }

    /// Puts the settings into what LOG SENSE tells.
    pub(crate) fn tell(&self, page: u8, values: Values, parameters: &mut [Parameter]) {
        for parameter in parameters {
            let Some(setting) = self.0.get(&(page, parameter.code)) else { continue };
            parameter.control |= setting.control;
            if values == Values::Threshold {
                let width = parameter.value.len();
                let most = if width < 8 { u64::from(u32::MAX) } else { u64::MAX };
                let bytes = setting.threshold.min(most).to_be_bytes();
                parameter.value.clear();
                parameter.value.extend(&bytes[8 - width.min(8)..]);
            }
        }
    }

    /// Something was counted: puts back what must not be updated. True: a condition is met that initiators are to hear of.
    pub(crate) fn compare(&self, before: &Counters, now: &mut Statistics, modes: &ModePages) -> bool {
        let reported = modes.values(control::PAGE, 0).is_some_and(|page| bit(page, 0, 0x01));
        let mut met = false;
        for (&(page, code), setting) in &self.0 {
            let (Some(old), Some(new)) = (before.get(page, code), counter(now, page, code)) else { continue };
            if setting.control & 0x80 != 0 {
                *new = old;
            }
            if setting.control & 0x10 != 0 && *new != old {
                met |= match setting.control >> 2 & 3 {
                    0 => true,
                    1 => *new == setting.threshold,
                    2 => *new != setting.threshold,
                    _ => *new > setting.threshold,
                };
            }
        }
        met && reported
    }

    /// The counters as they are before something is counted; `None`: nothing is set.
    pub(crate) fn before(&self, statistics: &Statistics) -> Option<Counters> {
        if self.0.is_empty() {
            return None;
        }
        let values = self.0.keys().filter_map(|&(page, code)| Some(((page, code), value(statistics, page, code)?)));
        Some(Counters(values.collect()))
    }
}

/// Values of counters.
pub(crate) struct Counters(BTreeMap<(u8, u16), u64>);

impl Counters {
    fn get(&self, page: u8, code: u16) -> Option<u64> {
        self.0.get(&(page, code)).copied()
    }
}

fn value(statistics: &Statistics, page: u8, code: u16) -> Option<u64> {
    let errors = match page {
        WRITE_ERRORS => &statistics.write,
        READ_ERRORS => &statistics.read,
        VERIFY_ERRORS => &statistics.verify,
        NON_MEDIUM if code == 0 => return Some(statistics.non_medium),
        _ => return None,
    };
    errors.0.get(usize::from(code)).copied()
}

/// The counter that a parameter of the error counter pages tells; `None`: there is no such one.
pub(crate) fn counter(statistics: &mut Statistics, page: u8, code: u16) -> Option<&mut u64> {
    let errors = match page {
        WRITE_ERRORS => &mut statistics.write,
        READ_ERRORS => &mut statistics.read,
        VERIFY_ERRORS => &mut statistics.verify,
        NON_MEDIUM if code == 0 => return Some(&mut statistics.non_medium),
        _ => return None,
    };
    errors.0.get_mut(usize::from(code))
}

#[cfg(test)]
mod tests {
    use scsi::Sense;
    use std::vec::Vec;

    use super::*;
    use crate::StoreFault;
    use crate::tests::bench::{Bench, code};

    /// LOG SELECT with one parameter: PC, page, code, control byte, value.
    fn select(bench: &mut Bench, pc: u8, page: u8, code_of: u8, control: u8, value: &[u8]) -> u32 {
        let list = [&[page, 0, 0, 4 + value.len() as u8, 0, code_of, control, value.len() as u8], value].concat();
        let (outcome, _) = bench.run(&[0x4c, 0, pc << 6, 0, 0, 0, 0, 0, list.len() as u8, 0], &list);
        outcome.sense.map_or(0, |sense| code(&sense))
    }

    fn told(bench: &mut Bench, pc: u8, page: u8, code_of: u8) -> Vec<u8> {
        bench.good(&[0x4d, 0, pc << 6 | page, 0, 0, 0, code_of, 0, 99, 0])[6..].to_vec()
    }

    fn report(bench: &mut Bench) {
        let page = [0, 0, 0, 0, 0x0a, 0x0a, 0x03, 0x10, 0, 0, 0, 0, 0, 0, 0x02, 0x00];
        assert_eq!(bench.run(&[0x15, 0x10, 0, 0, 16, 0], &page).0.sense, None);
    }

    fn fail(bench: &mut Bench) -> bool {
        while bench.device.poll_notice().is_some() {}
        bench.faults.push_back(Some(StoreFault::Io { at: Some(0) }));
        bench.refused(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[]);
        bench.device.poll_notice().is_some_and(|notice| notice.asc == CONDITION_MET && notice.except.is_none())
    }

    #[test]
    fn a_threshold_is_told_when_it_is_met() {
        for (criterion, expected) in [(0, [true, true, true]), (1, [false, true, false]), (2, [true, false, true]), (3, [false, false, true])] {
            let mut bench = Bench::disk(8);
            assert_eq!(select(&mut bench, 0, 0x03, 6, 0x10 | criterion << 2, &[0, 0, 0, 2]), 0);
            assert!(!fail(&mut bench), "RLEC is zero");
            report(&mut bench);
            bench.good(&[0x4c, 0, 0xc3, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!([0; 3].map(|_| fail(&mut bench)), expected, "TMC {criterion}");
            assert_eq!(told(&mut bench, 0, 0x03, 6), [0x30 | criterion << 2, 4, 0, 0, 0, 2]);
            assert_eq!(told(&mut bench, 1, 0x03, 6), [0x30 | criterion << 2, 4, 0, 0, 0, 3]);
            assert_eq!(told(&mut bench, 2, 0x03, 6)[2..], [255; 4]);
        }
    }

    #[test]
    fn a_counter_stands_still() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, 1, 0x03, 6, 0x80, &[0, 0, 0, 9]), 0);
        report(&mut bench);
        assert!(!fail(&mut bench));
        assert_eq!(told(&mut bench, 1, 0x03, 6), [0xa0, 4, 0, 0, 0, 9]);
        assert_eq!(select(&mut bench, 1, 0x03, 6, 0x00, &[0, 0, 0, 9]), 0);
        fail(&mut bench);
        assert_eq!(told(&mut bench, 1, 0x03, 6), [0x20, 4, 0, 0, 0, 10]);
    }

    #[test]
    fn defaults_come_back() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, 0, 0x06, 0, 0x10, &[0, 0, 0, 5]), 0);
        assert_eq!(select(&mut bench, 0, 0x02, 5, 0x1c, &[0, 0, 0, 0, 0, 0, 0, 7]), 0);
        bench.good(&[0x4c, 0, 0x86, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(told(&mut bench, 0, 0x06, 0), [0x30, 4, 255, 255, 255, 255], "the threshold, not what is done with it");
        assert_eq!(told(&mut bench, 0, 0x02, 5)[..10], [0x3c, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
        bench.good(&[0x4c, 2, 0xc0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((told(&mut bench, 0, 0x06, 0)[0], told(&mut bench, 0, 0x02, 5)[..2].to_vec()), (0x20, Vec::from([0x20, 8])));
    }

    #[test]
    fn what_has_no_threshold() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, 0, 0x0f, 0, 0, &[1]), 0x0005_2600);
        assert_eq!(select(&mut bench, 0, 0x0e, 2, 0, &[b' '; 6]), 0x0005_2600);
        assert_eq!(select(&mut bench, 0, 0x03, 7, 0, &[0; 4]), 0x0005_2600);
        for pc in [2, 3] {
            let list = [0x03, 0, 0, 8, 0, 6, 0, 4, 0, 0, 0, 0];
            assert_eq!(bench.sense(&[0x4c, 0, pc << 6, 0, 0, 0, 0, 0, 12, 0], &list), Sense::invalid_cdb_field(2, Some(7)));
        }
    }
}
