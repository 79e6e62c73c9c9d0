//! Informational exceptions (SPC-6 7.5, informational exceptions control mode page): a failure that is only predicted.
//!
//! Nothing here wears out, so the only exception is the one that the TEST bit asks for: 5D/FF, FAILURE PREDICTION THRESHOLD EXCEEDED (FALSE). How it is
//! reported is MRIE's choice. Nobody is woken for it: what is due by the interval timer is reported with the next command.

use scsi::{Asc, DataIn, Outcome, Sense, SenseKey, Status};

use super::mode_pages::ModePages;
use crate::cdb::{be32, bit, byte};

/// FAILURE PREDICTION THRESHOLD EXCEEDED (FALSE).
const PREDICTED_FALSELY: Asc = Asc(0x5dff);
/// Nanoseconds of one unit of INTERVAL TIMER.
const INTERVAL: u64 = 100_000_000;

/// Page code of the informational exceptions control mode page.
pub(crate) const PAGE: u8 = 0x1c;

/// The method of reporting that MRIE names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    UnitAttention,
    /// The command ends with RECOVERED ERROR although it succeeded.
    Recovered,
    /// The command ends with NO SENSE although it succeeded.
    NoSense,
}

/// What was reported so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Exceptions {
    /// The page as it was when the counting began.
    condition: bool,
    reports: u32,
    next: u64,
}

/// May MODE SELECT set these values (from byte 2 of the page on)? `Err`: offset of the field that may not be.
pub(super) fn acceptable(values: &[u8]) -> Result<(), usize> {
    if matches!(byte(values, 1) & 0x0f, 0 | 2..=6) { Ok(()) } else { Err(1) }
}

impl Exceptions {
    /// The page was changed: a new condition is reported from the beginning.
    pub(crate) fn restart(&mut self, modes: &ModePages) {
        *self = Exceptions {
            condition: modes.values(PAGE, 0).is_some_and(|page| page.first().is_some_and(|flags| flags & 0x0c == 0x04)),
            reports: 0,
            next: 0,
        };
    }

    /// The additional sense code that the informational exceptions log page and REQUEST SENSE (MRIE 6) tell.
    pub(crate) fn reported(&self) -> Asc {
        if self.condition { PREDICTED_FALSELY } else { Asc::NONE }
    }

    /// MRIE 6: told to whom asks with REQUEST SENSE.
    pub(crate) fn on_request(&self, modes: &ModePages) -> Option<Sense> {
        let page = modes.values(PAGE, 0)?;
        (self.condition && byte(page, 1) & 0x0f == 6).then(|| Sense::new(SenseKey::NO_SENSE, PREDICTED_FALSELY))
    }

    /// A report that is due now, counted as made.
    pub(crate) fn due(&mut self, modes: &ModePages, now: u64) -> Option<Method> {
        if !self.condition {
            return None;
        }
        let page = modes.values(PAGE, 0)?;
        let method = match byte(page, 1) & 0x0f {
            2 => Method::UnitAttention,
            // Conditional on PER of the error recovery page, which is the same as without a condition when it is 1.
            3 if modes.values(0x01, 0).is_some_and(|page| bit(page, 0, 0x04)) => Method::Recovered,
            4 => Method::Recovered,
            5 => Method::NoSense,
            _ => return None,
        };
        let (interval, limit) = (be32(page, 2), be32(page, 6));
        let once = matches!(interval, 0 | u32::MAX);
        if self.reports > 0 && (once || now < self.next) || limit != 0 && self.reports >= limit {
            return None;
        }
        self.reports = self.reports.saturating_add(1);
        self.next = now.saturating_add(u64::from(interval).saturating_mul(INTERVAL));
        Some(method)
    }
}

/// Makes a success tell the exception: the data stay, the status does not.
pub(crate) fn tell(method: Method, outcome: &mut Outcome) {
    let key = if method == Method::Recovered { SenseKey::RECOVERED_ERROR } else { SenseKey::NO_SENSE };
    outcome.status = Status::CHECK_CONDITION;
    outcome.sense = Some(Sense::new(key, PREDICTED_FALSELY));
}

/// Is this an end that may carry the report? One without data of its own, so that no initiator throws away what was read.
pub(crate) fn may_tell(outcome: &Outcome) -> bool {
    outcome.status == Status::GOOD && outcome.data_in == DataIn::None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Notice;
    use crate::tests::bench::{Bench, code};

    /// Sets the page: flags, MRIE, interval in 100 ms, count.
    fn set(bench: &mut Bench, flags: u8, method: u8, interval: u8, count: u8) -> u32 {
        let page = [0, 0, 0, 0, 0x1c, 0x0a, flags, method, 0, 0, 0, interval, 0, 0, 0, count];
        let (outcome, _) = bench.run(&[0x15, 0x10, 0, 0, 16, 0], &page);
        while bench.device.poll_notice().is_some_and(|notice| notice.asc == Asc(0x2a01)) {}
        outcome.sense.map_or(0, |sense| code(&sense))
    }

    const READY: [u8; 6] = [0; 6];

    fn log(bench: &mut Bench) -> Vec<u8> {
        bench.good(&[0x4d, 0, 0x6f, 0, 0, 0, 0, 0, 99, 0])[8..10].to_vec()
    }

    use std::vec::Vec;

    #[test]
    fn a_unit_attention_once() {
        let mut bench = Bench::disk(8);
        assert_eq!(set(&mut bench, 0x04, 2, 0, 0), 0);
        bench.good(&READY);
        assert_eq!(bench.device.poll_notice(), Some(Notice { asc: Asc(0x5dff), except: None }));
        bench.good(&READY);
        assert_eq!(bench.device.poll_notice(), None);
        assert_eq!(log(&mut bench), [0x5d, 0xff]);
        assert_eq!(set(&mut bench, 0x08, 2, 0, 0), 0);
        assert_eq!(log(&mut bench), [0, 0]);
    }

    #[test]
    fn recovered_error_and_no_sense() {
        let mut bench = Bench::disk(8);
        set(&mut bench, 0x04, 4, 0, 0);
        assert_eq!(bench.refused(&READY, &[]), 0x0001_5dff);
        bench.good(&READY);
        set(&mut bench, 0x0c, 4, 0, 0);
        set(&mut bench, 0x04, 5, 0, 0);
        bench.good(&[0x12, 0, 0, 0, 36, 0]);
        assert_eq!(bench.good(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]).len(), 512, "data are not spoilt");
        let (outcome, _) = bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[1; 512]);
        assert_eq!((outcome.sense.map(|sense| code(&sense)), outcome.data_out), (Some(0x0000_5dff), 512));
        assert_eq!(bench.bytes[..512], [1; 512]);
    }

    #[test]
    fn interval_and_count() {
        let mut bench = Bench::disk(8);
        set(&mut bench, 0x04, 4, 10, 2);
        let mut at = |seconds: u64| {
            bench.device.tick(seconds * 1_000_000_000, true);
            bench.run(&READY, &[]).0.status == Status::CHECK_CONDITION
        };
        assert_eq!([0, 0, 1, 1, 2, 9].map(&mut at), [true, false, true, false, false, false]);
    }

    #[test]
    fn on_request_only() {
        let mut bench = Bench::disk(8);
        set(&mut bench, 0x04, 6, 0, 0);
        bench.good(&READY);
        assert_eq!(bench.device.poll_notice(), None);
        assert_eq!(bench.device.sense_on_request().map(|sense| code(&sense)), Some(0x0000_5dff));
    }

    #[test]
    fn methods_that_are_not_there() {
        let mut bench = Bench::disk(8);
        for method in [1, 7, 15] {
            assert_eq!(set(&mut bench, 0x04, method, 0, 0), 0x0005_2600);
        }
    }
}
