//! Data-out of one task: immediate data, the unsolicited sequence, and sequences asked for with R2T (RFC 7143 4.2.5, 11.7, 11.8).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use scsi::planted::{Bug, is_planted};

use super::window::distance;
use crate::key::Negotiated;
use crate::pdu::{DataOut, NO_TAG};

/// Most separate ranges of one sequence when PDUs may come in any order: beyond it the initiator plays games with one-byte PDUs.
const MAX_RANGES: usize = 1024;

/// How a Data-Out breaks the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataViolation {
    /// No sequence has this target transfer tag (or it is not its turn).
    UnknownSequence,
    /// DataSN is not the next one.
    DataSn,
    /// Offset or length lie outside of what was asked for or allowed, or out of order.
    Range,
    /// The sequence ends early, or goes on behind its end.
    Amount,
}

/// Where a Data-Out stands in its sequence, when what is missing can be asked for again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gap {
    /// It is the next one.
    None,
    /// It came before, or its sequence is over.
    Repeated,
    /// Others are missing before it.
    Missing,
}

/// One sequence of Data-Out PDUs.
#[derive(Clone, Debug)]
struct Sequence {
    transfer_tag: u32,
    start: u32,
    end: u32,
    received: u32,
    data_sn: u32,
    /// PDUs are missing: nothing is taken until its end.
    damaged: bool,
    /// Received ranges, merged and ascending. Only used when PDUs may come in any order.
    ranges: Vec<(u32, u32)>,
}

/// An R2T to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Target transfer tag.
    pub transfer_tag: u32,
    /// Offset in the task's data-out.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

/// What of a task's data-out has come and what is asked for.
#[derive(Clone, Debug, Default)]
pub struct Transfer {
    /// Expected data transfer length.
    expected: u32,
    /// Bytes from the start that are there, open sequences not counted.
    received: u32,
    /// End of what was asked for with R2Ts.
    requested: u32,
    /// What the device server wants, while it waits for it.
    wanted: Option<u32>,
    /// Unsolicited and solicited sequences that are not finished, in order.
    open: VecDeque<Sequence>,
}

impl Transfer {
    /// A new task (the value is reused to keep its memory). `immediate`: bytes that came with the command; `unsolicited`: more will follow without R2T.
    pub fn start(&mut self, expected: u32, immediate: u32, unsolicited: bool, first_burst: u32) {
        self.expected = expected;
        self.received = immediate;
        self.requested = immediate;
        self.wanted = None;
        self.open.clear();
        let end = first_burst.min(expected);
        if unsolicited && immediate < end {
            self.open_sequence(NO_TAG, immediate, end);
        }
    }

    /// Number of sequences the initiator still owes.
    pub fn open_sequences(&self) -> usize {
        self.open.len()
    }

    /// True when a sequence lacks at least `least` bytes.
    pub fn lacks(&self, least: u32) -> bool {
        self.open.iter().any(|sequence| sequence.end - sequence.start - sequence.received >= least)
    }

    /// The device server wants the first `len` bytes.
    pub fn want(&mut self, len: u32) {
        self.wanted = Some(len.min(self.expected));
    }

    /// True once, when everything wanted is there.
    pub fn take_ready(&mut self) -> bool {
        let ready = self.wanted.is_some_and(|wanted| self.received >= wanted);
        if ready {
            self.wanted = None;
        }
        ready
    }

    /// The next R2T that may be sent, with the tag that `new_tag` makes.
    pub fn next_request(&mut self, negotiated: &Negotiated, new_tag: impl FnOnce() -> u32) -> Option<Request> {
        let wanted = self.wanted?;
        if self.open.iter().any(|sequence| sequence.transfer_tag == NO_TAG) {
            return None;
        }
        let outstanding = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        if self.requested >= wanted || outstanding >= negotiated.max_outstanding_r2t {
            return None;
        }
        let length = (wanted - self.requested).min(negotiated.max_burst_length);
        let slip = u32::from(is_planted(Bug::R2tOverlaps) && self.requested > 0);
        let request = Request { transfer_tag: new_tag(), offset: self.requested - slip, length };
        self.open_sequence(request.transfer_tag, request.offset, request.offset + length);
        self.requested += length;
        Some(request)
    }

    /// May this PDU with `len` bytes come now? Changes nothing.
    pub fn check(&self, pdu: &DataOut, len: u32, negotiated: &Negotiated) -> Result<(), DataViolation> {
        let index = self.position(pdu.transfer_tag).ok_or(DataViolation::UnknownSequence)?;
        if index > 0 && negotiated.data_sequence_in_order {
            return Err(DataViolation::UnknownSequence);
        }
        let sequence = &self.open[index];
        if pdu.data_sn != sequence.data_sn {
            return Err(DataViolation::DataSn);
        }
        let end = pdu.buffer_offset.checked_add(len).ok_or(DataViolation::Range)?;
        if pdu.buffer_offset < sequence.start || end > sequence.end {
            return Err(DataViolation::Range);
        }
        if negotiated.data_pdu_in_order {
            if pdu.buffer_offset != sequence.start + sequence.received {
                return Err(DataViolation::Range);
            }
        } else if sequence.overlaps(pdu.buffer_offset, end) || sequence.ranges.len() >= MAX_RANGES {
            return Err(DataViolation::Range);
        }
        sequence.check_end(pdu, len)
    }

    /// The PDU that [`Transfer::check`] let in is complete. True when its sequence ended with it.
    pub fn commit(&mut self, pdu: &DataOut, len: u32) -> bool {
        let Some(index) = self.position(pdu.transfer_tag) else { return false };
        let sequence = &mut self.open[index];
        sequence.data_sn = sequence.data_sn.wrapping_add(1);
        sequence.damaged = false;
        sequence.add(pdu.buffer_offset, len);
        if !pdu.is_final {
            return false;
        }
        if sequence.transfer_tag == NO_TAG {
            // What comes after unsolicited data is asked for from where they ended.
            self.requested = sequence.start + sequence.received;
        }
        self.open.remove(index);
        self.received = self.open.front().map_or(self.requested, |sequence| sequence.start);
        true
    }

    /// Where this PDU stands among those of its sequence.
    pub fn gap(&self, pdu: &DataOut) -> Gap {
        let Some(sequence) = self.position(pdu.transfer_tag).map(|index| &self.open[index]) else { return Gap::Repeated };
        match distance(sequence.data_sn, pdu.data_sn) {
            0 => Gap::None,
            ..0 => Gap::Repeated,
            1.. => Gap::Missing,
        }
    }

    /// A PDU of this sequence is missing.
    pub fn damage(&mut self, transfer_tag: u32) {
        if let Some(index) = self.position(transfer_tag) {
            self.open[index].damaged = true;
        }
    }

    /// The sequence has come to its end, or will not: what it lacks is asked for under `new_tag`. `None`: nothing is, or it was unsolicited and the ordinary
    /// requests go on from where it was whole.
    pub fn recover(&mut self, transfer_tag: u32, new_tag: u32) -> Option<Request> {
        let index = self.position(transfer_tag)?;
        let (whole, end) = (self.open[index].whole(), self.open[index].end);
        if transfer_tag == NO_TAG {
            self.requested = whole;
        }
        if transfer_tag == NO_TAG || whole == end {
            self.open.remove(index);
            self.received = self.open.front().map_or(self.requested, |sequence| sequence.start);
            return None;
        }
        self.open[index] = Sequence { transfer_tag: new_tag, start: whole, end, received: 0, data_sn: 0, damaged: false, ranges: Vec::new() };
        self.received = self.open.front().map_or(self.requested, |sequence| sequence.start);
        Some(Request { transfer_tag: new_tag, offset: whole, length: end - whole })
    }

    /// What the initiator still owes will not come, or counts for nothing.
    pub fn abandon(&mut self) {
        self.open.clear();
    }

    /// The sequence whose turn it is; true: it is unsolicited, or some of its data have come.
    pub fn first_open(&self) -> Option<(u32, bool)> {
        self.open.front().map(|first| (first.transfer_tag, first.transfer_tag == NO_TAG || first.has_begun()))
    }

    /// True when nothing of this sequence has come.
    pub fn is_untouched(&self, transfer_tag: u32) -> bool {
        self.position(transfer_tag).is_some_and(|index| !self.open[index].has_begun())
    }

    /// True when a sequence with this tag is open.
    pub fn has_sequence(&self, transfer_tag: u32) -> bool {
        self.position(transfer_tag).is_some()
    }

    /// A PDU whose data nobody wants: only the end of its sequence counts. True when it was that.
    pub fn skip(&mut self, pdu: &DataOut) -> bool {
        let index = self.position(pdu.transfer_tag).filter(|_| pdu.is_final);
        if let Some(index) = index {
            self.open.remove(index);
        }
        index.is_some()
    }

    fn open_sequence(&mut self, transfer_tag: u32, start: u32, end: u32) {
        self.open.push_back(Sequence { transfer_tag, start, end, received: 0, data_sn: 0, damaged: false, ranges: Vec::new() });
    }

    fn position(&self, transfer_tag: u32) -> Option<usize> {
        self.open.iter().position(|sequence| sequence.transfer_tag == transfer_tag)
    }
}

impl Sequence {
    fn has_begun(&self) -> bool {
        self.data_sn > 0 || self.damaged
    }

    /// End of the bytes that are there without a hole.
    fn whole(&self) -> u32 {
        match self.ranges.first() {
            None => self.start + self.received,
            Some(range) if range.0 == self.start => range.1,
            Some(_) => self.start,
        }
    }

    fn overlaps(&self, start: u32, end: u32) -> bool {
        self.ranges.iter().any(|&(other, other_end)| start < other_end && other < end)
    }

    /// The F bit belongs to the last byte asked for; unsolicited data may end anywhere, but without holes.
    fn check_end(&self, pdu: &DataOut, len: u32) -> Result<(), DataViolation> {
        let received = self.received + len;
        let full = received == self.end - self.start;
        let fits = if self.transfer_tag == NO_TAG { !full || pdu.is_final } else { full == pdu.is_final };
        let highest = self.ranges.last().map_or(self.start, |range| range.1).max(pdu.buffer_offset + len);
        let holes = pdu.is_final && highest - self.start > received;
        if fits && !holes { Ok(()) } else { Err(DataViolation::Amount) }
    }

    fn add(&mut self, offset: u32, len: u32) {
        let in_order = self.ranges.is_empty() && offset == self.start + self.received;
        self.received += len;
        if in_order || len == 0 {
            return;
        }
        if self.ranges.is_empty() && self.received > len {
            self.ranges.push((self.start, self.start + self.received - len));
        }
        let index = self.ranges.partition_point(|range| range.0 < offset);
        self.ranges.insert(index, (offset, offset + len));
        self.ranges.dedup_by(|later, earlier| {
            let touches = earlier.1 == later.0;
            if touches {
                earlier.1 = later.1;
            }
            touches
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu(transfer_tag: u32, data_sn: u32, buffer_offset: u32, is_final: bool) -> DataOut {
        DataOut { transfer_tag, data_sn, buffer_offset, is_final, ..DataOut::default() }
    }

    /// Random lengths and limits; an obedient initiator. Every byte is asked for or sent exactly once, in order.
    #[test]
    fn every_byte_comes_exactly_once() {
        let mut random = 88_172_645_463_325_252u64;
        let mut next = |bound: u32| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            u32::try_from(random % u64::from(bound)).unwrap()
        };
        for round in 0..3000 {
            let negotiated = Negotiated {
                max_outstanding_r2t: 1 + next(5),
                max_burst_length: 512 + next(3000),
                first_burst_length: 512 + next(3000),
                data_pdu_in_order: round % 3 != 0,
                ..Negotiated::default()
            };
            let expected = next(20_000);
            let immediate = next(negotiated.first_burst_length.min(expected) + 1);
            let mut transfer = Transfer::default();
            let mut bytes = std::vec![0u8; expected as usize];
            bytes[..immediate as usize].fill(1);
            transfer.start(expected, immediate, next(2) == 1, negotiated.first_burst_length);
            let mut queue = std::vec::Vec::new();
            if transfer.open_sequences() == 1 {
                let end = negotiated.first_burst_length.min(expected);
                queue.push((NO_TAG, immediate, immediate + 1 + next(end - immediate)));
            }
            let wanted = next(expected + 1);
            transfer.want(wanted);
            let mut tags = 0..;
            let mut ready = transfer.take_ready();
            let mut asked = 0;
            loop {
                while let Some(request) = transfer.next_request(&negotiated, || tags.next().unwrap()) {
                    assert!(request.length <= negotiated.max_burst_length);
                    asked += 1;
                    assert!(asked <= negotiated.max_outstanding_r2t);
                    queue.push((request.transfer_tag, request.offset, request.offset + request.length));
                }
                if queue.is_empty() {
                    break;
                }
                let (tag, start, end) = queue.remove(0);
                send(&mut transfer, &negotiated, tag, start, end, &mut next, &mut bytes);
                asked = asked.saturating_sub(u32::from(tag != NO_TAG));
                ready |= transfer.take_ready();
            }
            assert!(ready, "round {round}");
            assert!(bytes.iter().all(|&count| count <= 1), "round {round}: a byte came twice");
            assert!(bytes[..wanted as usize].iter().all(|&count| count == 1), "round {round}: a byte is missing");
        }
    }

    fn send(transfer: &mut Transfer, negotiated: &Negotiated, tag: u32, start: u32, end: u32, next: &mut impl FnMut(u32) -> u32, bytes: &mut [u8]) {
        let mut parts = std::vec::Vec::new();
        let mut at = start;
        while at < end {
            let len = (1 + next(900)).min(end - at);
            parts.push((at, len));
            at += len;
        }
        if !negotiated.data_pdu_in_order {
            parts.reverse();
        }
        let last = parts.len() - 1;
        for (index, (offset, len)) in parts.into_iter().enumerate() {
            let pdu = pdu(tag, u32::try_from(index).unwrap(), offset, index == last);
            assert_eq!(transfer.check(&pdu, len, negotiated), Ok(()));
            assert_eq!(transfer.commit(&pdu, len), index == last);
            bytes[offset as usize..(offset + len) as usize].iter_mut().for_each(|count| *count += 1);
        }
    }

    #[test]
    fn lies_about_ranges_are_seen() {
        let negotiated = Negotiated { max_outstanding_r2t: 2, max_burst_length: 1024, ..Negotiated::default() };
        let mut transfer = Transfer::default();
        transfer.start(4096, 0, false, 512);
        transfer.want(4096);
        let mut tags = 5..;
        while transfer.next_request(&negotiated, || tags.next().unwrap()).is_some() {}
        assert_eq!(transfer.open_sequences(), 2);
        for (pdu, len, violation) in [
            (pdu(NO_TAG, 0, 0, true), 512, DataViolation::UnknownSequence),
            (pdu(9, 0, 0, true), 512, DataViolation::UnknownSequence),
            (pdu(6, 0, 1024, true), 1024, DataViolation::UnknownSequence),
            (pdu(5, 1, 0, true), 1024, DataViolation::DataSn),
            (pdu(5, 0, 512, true), 512, DataViolation::Range),
            (pdu(5, 0, 0, true), 1025, DataViolation::Range),
            (pdu(5, 0, u32::MAX, true), 1024, DataViolation::Range),
            (pdu(5, 0, 0, true), 512, DataViolation::Amount),
            (pdu(5, 0, 0, false), 1024, DataViolation::Amount),
        ] {
            assert_eq!(transfer.check(&pdu, len, &negotiated), Err(violation), "{pdu:?} {len}");
        }
        assert_eq!(transfer.check(&pdu(5, 0, 0, true), 1024, &negotiated), Ok(()));
    }

    #[test]
    fn unsolicited_data_stay_within_the_first_burst() {
        let negotiated = Negotiated { first_burst_length: 1024, ..Negotiated::default() };
        let mut transfer = Transfer::default();
        transfer.start(4096, 512, true, 1024);
        assert_eq!(transfer.check(&pdu(NO_TAG, 0, 512, true), 513, &negotiated), Err(DataViolation::Range));
        assert_eq!(transfer.check(&pdu(NO_TAG, 0, 0, true), 512, &negotiated), Err(DataViolation::Range));
        assert_eq!(transfer.check(&pdu(NO_TAG, 0, 512, false), 512, &negotiated), Err(DataViolation::Amount));
        assert_eq!(transfer.check(&pdu(NO_TAG, 0, 512, true), 100, &negotiated), Ok(()));
        assert!(transfer.commit(&pdu(NO_TAG, 0, 512, true), 100));
        transfer.want(4096);
        assert_eq!(transfer.next_request(&negotiated, || 1), Some(Request { transfer_tag: 1, offset: 612, length: 3484 }));
    }
}
