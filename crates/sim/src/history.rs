//! What every block may contain: the writes that were asked for, when they began and how they ended.

use std::collections::BTreeSet;

/// Value of a block that was never written, unmapped or zeroed.
pub const ZERO: u64 = 0;

/// One write of one block.
#[derive(Clone, Debug)]
struct Write {
    /// Tells this write from every other; the value of most writes is their number.
    number: u64,
    value: u64,
    start: u64,
    /// When it can no longer change the block. `None`: it is under way, or nobody knows.
    end: Option<u64>,
    /// Acknowledged with GOOD.
    good: bool,
    /// Since when a power cut cannot undo it.
    stable: Option<u64>,
    /// Numbers of the writes that were ordered before it.
    after: BTreeSet<u64>,
}

/// All blocks.
#[derive(Clone, Debug)]
pub struct History {
    blocks: Vec<Vec<Write>>,
}

impl History {
    /// `blocks` blocks of zeros.
    pub fn new(blocks: usize) -> History {
        History { blocks: (0..blocks).map(|_| vec![settled(ZERO)]).collect() }
    }

    /// Write `number` of `value` to `range` begins; everything in `after` was ordered before it.
    pub fn begin(&mut self, range: std::ops::Range<u64>, number: u64, value: u64, now: u64, after: &BTreeSet<u64>) {
        for block in range {
            self.blocks[block as usize].push(Write { number, value, start: now, end: None, good: false, stable: None, after: after.clone() });
        }
    }

    /// It ended with GOOD.
    pub fn done(&mut self, range: std::ops::Range<u64>, number: u64, now: u64, stable: bool) {
        for block in range {
            for write in self.blocks[block as usize].iter_mut().filter(|write| write.number == number) {
                write.end = Some(now);
                write.good = true;
                write.stable = stable.then_some(now);
            }
        }
    }

    /// It was refused: nothing was written.
    pub fn refused(&mut self, range: std::ops::Range<u64>, number: u64) {
        for block in range {
            self.blocks[block as usize].retain(|write| write.number != number);
        }
    }

    /// It was aborted, and the target has said so: it happened before now, or never.
    pub fn aborted(&mut self, range: std::ops::Range<u64>, number: u64, now: u64) {
        for block in range {
            for write in self.blocks[block as usize].iter_mut().filter(|write| write.number == number) {
                write.end = Some(now);
            }
        }
    }

    /// A flush that began at `start` ended with GOOD.
    pub fn flushed(&mut self, start: u64, now: u64) {
        for writes in &mut self.blocks {
            for write in writes.iter_mut().filter(|write| write.good && write.stable.is_none() && write.end.is_some_and(|end| end <= start)) {
                write.stable = Some(now);
            }
        }
    }

    /// A read between `start` and `end` found `value`: is that allowed?
    pub fn read(&self, block: u64, value: u64, start: u64, end: u64) -> Result<(), String> {
        let writes = &self.blocks[block as usize];
        let mut known = false;
        for write in writes.iter().filter(|write| write.value == value && write.start <= end) {
            known = true;
            if !writes.iter().any(|other| overwrites(other, write) && other.end.is_some_and(|done| done <= start)) {
                return Ok(());
            }
        }
        if known {
            Err(format!("block {block} reads as {value:#x}, which was overwritten before the read began"))
        } else {
            Err(format!("block {block} reads as {value:#x}, which nobody wrote there"))
        }
    }

    /// After a power cut the block holds `value`: is that allowed? From here on it is the only possible value.
    pub fn after_power_cut(&mut self, block: u64, value: u64) -> Result<(), String> {
        let writes = &mut self.blocks[block as usize];
        let allowed =
            writes.iter().any(|write| write.value == value && !writes.iter().any(|other| other.stable.is_some() && overwrites(other, write)));
        if !allowed {
            let stable: Vec<String> = writes.iter().filter(|write| write.stable.is_some()).map(|write| format!("{:#x}", write.value)).collect();
            return Err(format!("after the power cut block {block} holds {value:#x}; stable were {}", stable.join(" ")));
        }
        *writes = vec![settled(value)];
        Ok(())
    }
}

fn settled(value: u64) -> Write {
    Write { number: 0, value, start: 0, end: Some(0), good: true, stable: Some(0), after: BTreeSet::new() }
}

/// `new` certainly came after `old`.
fn overwrites(new: &Write, old: &Write) -> bool {
    new.good && (old.end.is_some_and(|end| end < new.start) || new.after.contains(&old.number)) && !std::ptr::eq(new, old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_sees_the_last_or_a_concurrent_write() {
        let mut history = History::new(1);
        let none = BTreeSet::new();
        history.begin(0..1, 1, 1, 10, &none);
        assert!(history.read(0, ZERO, 11, 12).is_ok() && history.read(0, 1, 11, 12).is_ok());
        history.done(0..1, 1, 20, false);
        assert!(history.read(0, ZERO, 15, 30).is_ok(), "the read began before the write ended");
        assert!(history.read(0, ZERO, 21, 30).is_err());
        assert!(history.read(0, 7, 21, 30).is_err());
    }

    #[test]
    fn ordered_writes_are_ordered_even_when_they_overlap() {
        let mut history = History::new(1);
        history.begin(0..1, 1, 1, 10, &BTreeSet::new());
        history.begin(0..1, 2, 2, 11, &BTreeSet::from([1]));
        history.done(0..1, 1, 20, false);
        history.done(0..1, 2, 21, false);
        assert!(history.read(0, 1, 22, 23).is_err() && history.read(0, 2, 22, 23).is_ok());
    }

    #[test]
    fn a_power_cut_keeps_what_was_stable() {
        let mut history = History::new(1);
        let none = BTreeSet::new();
        history.begin(0..1, 1, 1, 10, &none);
        history.done(0..1, 1, 20, false);
        history.begin(0..1, 2, 2, 30, &none);
        history.done(0..1, 2, 40, true);
        history.begin(0..1, 3, 3, 50, &none);
        assert!(history.clone().after_power_cut(0, 1).is_err());
        assert!(history.clone().after_power_cut(0, 2).is_ok() && history.clone().after_power_cut(0, 3).is_ok());
        history.flushed(45, 60);
        assert!(history.after_power_cut(0, ZERO).is_err());
    }
}
