//! Keeps peers from filling the log.

use crate::limits::LOG_LINES;

/// Lets so many lines through per second, and tells how many it held back.
#[derive(Default)]
pub(super) struct Throttle {
    second: u64,
    lines: u32,
    held: u64,
}

impl Throttle {
    /// May this line of level INFO be logged? `now` in nanoseconds. Lines that nobody would see use up nothing.
    pub fn admits(&mut self, now: u64) -> bool {
        tracing::enabled!(tracing::Level::INFO) && self.counts(now)
    }

    /// May this warning be logged?
    pub fn admits_warning(&mut self, now: u64) -> bool {
        tracing::enabled!(tracing::Level::WARN) && self.counts(now)
    }

    fn counts(&mut self, now: u64) -> bool {
        let second = now / 1_000_000_000;
        if second != self.second {
            if self.held > 0 {
                tracing::warn!(lines = self.held, "log lines about peers were held back");
            }
            *self = Throttle { second, lines: 0, held: 0 };
        }
        let admitted = self.lines < LOG_LINES;
        if admitted {
            self.lines += 1;
        } else {
            self.held += 1;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines() {
        let mut throttle = Throttle::default();
        let admitted = (0..1000).filter(|_| throttle.counts(5_000_000_001)).count();
        assert_eq!(admitted, LOG_LINES as usize);
        assert!(throttle.counts(6_000_000_000));
    }
}
