//! The command window (RFC 7143 4.2.2.1): which CmdSN is next, how far the initiator may go, and what waits for its turn.

use alloc::vec::Vec;
use scsi::planted::{Bug, is_planted};

/// Widest window: half of the number space would make before and after ambiguous.
const WIDEST: u32 = 1 << 16;

/// Where a CmdSN stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// The next one.
    Next,
    /// Inside the window, but others are missing before it.
    Ahead,
    /// Outside the window, or there already: ignored.
    Outside,
}

/// A command that came before its turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held<T> {
    /// Waits.
    Waiting(T),
    /// Aborted before it came or before its turn: its number counts as received.
    Lost,
}

/// Expected and highest CmdSN, and the commands that came early.
#[derive(Clone, Debug)]
pub struct Window<T> {
    expected: u32,
    maximum: u32,
    capacity: u32,
    /// In order of CmdSN; never more than the window is wide.
    held: Vec<(u32, Held<T>)>,
}

/// Distance from `base` to `number` in serial number arithmetic (RFC 1982): negative when it lies before.
pub fn distance(base: u32, number: u32) -> i32 {
    number.wrapping_sub(base).cast_signed()
}

impl<T> Default for Window<T> {
    /// One command, from CmdSN 0.
    fn default() -> Window<T> {
        Window::new(0, 1)
    }
}

impl<T> Window<T> {
    /// A window of `capacity` commands that begins at `first`.
    pub fn new(first: u32, capacity: u32) -> Window<T> {
        let capacity = capacity.clamp(1, WIDEST);
        Window { expected: first, maximum: first.wrapping_add(capacity - 1), capacity, held: Vec::new() }
    }

    /// A window before `first` that nothing fits into: says nothing about what a session has received, for a connection that does not belong to it yet.
    pub fn closed(first: u32) -> Window<T> {
        let expected = first.wrapping_sub(WIDEST);
        Window { expected, maximum: expected.wrapping_sub(1), capacity: 0, held: Vec::new() }
    }

    /// ExpCmdSN.
    pub fn expected(&self) -> u32 {
        self.expected
    }

    /// Commands it holds.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// MaxCmdSN with `active` commands accepted and not answered. It never moves back.
    pub fn open(&mut self, active: u32) -> u32 {
        let maximum = self.expected.wrapping_add(self.capacity.saturating_sub(active)).wrapping_sub(1);
        if distance(self.maximum, maximum) > 0 {
            self.maximum = maximum;
        }
        self.maximum
    }

    /// Where `number` stands.
    pub fn judge(&self, number: u32) -> Position {
        if is_planted(Bug::CmdSnUnchecked) && distance(self.expected, number) < 0 {
            return Position::Next;
        }
        if distance(self.expected, number) < 0 || distance(self.maximum, number) > 0 || self.find(number).is_ok() {
            return Position::Outside;
        }
        if number == self.expected { Position::Next } else { Position::Ahead }
    }

    /// The next number has come.
    pub fn advance(&mut self) {
        self.expected = self.expected.wrapping_add(1);
    }

    /// Keeps what came early at `number`.
    pub fn hold(&mut self, number: u32, item: Held<T>) {
        if self.judge(number) != Position::Outside
            && let Err(index) = self.find(number)
        {
            self.held.insert(index, (number, item));
        }
    }

    /// The held item whose turn it is.
    pub fn next(&self) -> Option<&Held<T>> {
        self.held.first().filter(|(number, _)| *number == self.expected).map(|(_, held)| held)
    }

    /// The highest number that may come.
    pub fn maximum(&self) -> u32 {
        self.maximum
    }

    /// The held item whose turn it is; its number counts as received.
    pub fn take_next(&mut self) -> Option<Held<T>> {
        if self.held.first()?.0 != self.expected {
            return None;
        }
        self.advance();
        Some(self.held.remove(0).1)
    }

    /// Makes the held items before `limit` (`None`: all) that `chosen` picks count as lost; gives them back.
    pub fn lose(&mut self, limit: Option<u32>, mut chosen: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut lost = Vec::new();
        for (number, item) in &mut self.held {
            let before = limit.is_none_or(|limit| distance(limit, *number) < 0);
            let pick = before && matches!(item, Held::Waiting(waiting) if chosen(waiting));
            if pick && let Held::Waiting(waiting) = core::mem::replace(item, Held::Lost) {
                lost.push(waiting);
            }
        }
        lost
    }

    fn find(&self, number: u32) -> Result<usize, usize> {
        self.held.binary_search_by_key(&distance(self.expected, number), |(held, _)| distance(self.expected, *held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_window_wraps_and_closes() {
        let mut window: Window<()> = Window::new(u32::MAX, 2);
        assert_eq!(window.open(0), 0);
        assert_eq!(window.judge(0), Position::Ahead);
        assert_eq!(window.judge(1), Position::Outside);
        window.advance();
        window.advance();
        assert_eq!((window.expected(), window.open(2)), (1, 0), "closed: MaxCmdSN = ExpCmdSN - 1");
        assert_eq!(window.judge(1), Position::Outside);
        assert_eq!(window.open(1), 1);
    }

    /// Against a model: a set of received numbers. Every number is delivered exactly once, in order, whatever the order of arrival.
    #[test]
    fn any_order_of_arrival_is_delivered_in_order() {
        for seed in 0..200u32 {
            let mut random = seed.wrapping_mul(2_654_435_761) | 1;
            let mut next = |bound: u32| {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                random % bound
            };
            let first = u32::MAX - 50;
            let mut window: Window<u32> = Window::new(first, 8);
            let mut delivered = std::vec::Vec::new();
            let mut seen = BTreeSet::new();
            let mut highest = window.open(0);
            for _ in 0..2000 {
                let number = window.expected().wrapping_add(next(14)).wrapping_sub(3);
                let inside = distance(window.expected(), number) >= 0 && distance(highest, number) <= 0 && !seen.contains(&number);
                match window.judge(number) {
                    Position::Outside => assert!(!inside),
                    Position::Next => {
                        assert!(inside);
                        seen.insert(number);
                        delivered.push(number);
                        window.advance();
                        while let Some(Held::Waiting(held)) = window.take_next() {
                            delivered.push(held);
                        }
                    }
                    Position::Ahead => {
                        assert!(inside);
                        seen.insert(number);
                        window.hold(number, Held::Waiting(number));
                        assert!(window.held.len() <= 7);
                    }
                }
                let opened = window.open(next(8));
                assert!(distance(highest, opened) >= 0, "MaxCmdSN moved back");
                highest = opened;
            }
            for (index, number) in (0u32..).zip(&delivered) {
                assert_eq!(*number, first.wrapping_add(index));
            }
        }
    }

    #[test]
    fn lost_numbers_count_as_received() {
        let mut window: Window<u8> = Window::new(10, 8);
        window.hold(11, Held::Waiting(1));
        window.hold(12, Held::Waiting(2));
        window.hold(13, Held::Waiting(3));
        assert_eq!(window.lose(Some(13), |&item| item != 1), [2]);
        window.hold(10, Held::Lost);
        assert_eq!(window.take_next(), Some(Held::Lost));
        assert_eq!(window.take_next(), Some(Held::Waiting(1)));
        assert_eq!(window.take_next(), Some(Held::Lost));
        assert_eq!(window.take_next(), Some(Held::Waiting(3)));
        assert_eq!(window.take_next(), None);
        assert_eq!(window.expected(), 14);
    }
}
