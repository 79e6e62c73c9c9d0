//! One command at the initiator: what was sent, what came back, and whether it was right.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::header::Header;
use super::recovery::MOST_MISSING;
use super::{Command, Completion};
use crate::key::Negotiated;

/// A: the target wants a DataACK.
const ACKNOWLEDGE: u8 = 0x40;

/// A run of data-out that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Burst {
    pub(super) target_tag: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// A command that has not ended.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) command: Command,
    /// Its number; `None` for an immediate command.
    pub(super) cmd_sn: Option<u32>,
    /// Bytes of data-out that went with the command.
    pub(super) immediate: u32,
    /// Bytes that followed without being asked for.
    pub(super) unsolicited: u32,
    data_in: Vec<u8>,
    data_sn: u32,
    r2t_sn: u32,
    /// Bytes of data-out that were sent or asked for, from the start.
    asked: u32,
    sequence: u32,
    early: Early,
}

/// What came before something that was lost.
#[derive(Debug, Default)]
struct Early {
    /// DataSNs or R2TSNs beyond the next one.
    numbers: BTreeSet<u32>,
    /// Number up to which missing ones were asked for.
    asked: u32,
    /// An acknowledgement the target wants: its tag, the LUN, the DataSN it counts to.
    acknowledge: Option<(u32, [u8; 8], u32)>,
}

pub(super) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl Task {
    pub(super) fn new(command: Command) -> Task {
        Task {
            command,
            cmd_sn: None,
            immediate: 0,
            unsolicited: 0,
            data_in: Vec::new(),
            data_sn: 0,
            r2t_sn: 0,
            asked: 0,
            sequence: 0,
            early: Early::default(),
        }
    }

    /// Bytes that go with the command itself, and bytes that follow unsolicited.
    pub(super) fn plan_unsolicited(&mut self, negotiated: &Negotiated) -> (u32, u32) {
        let total = length(&self.command.data_out);
        let first = total.min(negotiated.first_burst_length);
        let immediate = if negotiated.immediate_data { first.min(negotiated.max_xmit_data_segment_length) } else { 0 };
        let more = if negotiated.initial_r2t { 0 } else { first - immediate };
        self.asked = immediate + more;
        (self.immediate, self.unsolicited) = (immediate, more);
        (immediate, more)
    }

    /// An R2T: the burst it asks for, or the rule it breaks.
    pub(super) fn ready_to_transfer(&mut self, header: Header, negotiated: &Negotiated) -> Result<Burst, String> {
        let (offset, len) = (header.get32(40), header.get32(44));
        let total = length(&self.command.data_out);
        if header.get32(36) != self.r2t_sn {
            return Err(format!("R2TSN {} where {} was due", header.get32(36), self.r2t_sn));
        }
        if len == 0 || len > negotiated.max_burst_length {
            return Err(format!("R2T for {len} bytes, MaxBurstLength is {}", negotiated.max_burst_length));
        }
        if offset != self.asked {
            return Err(format!("R2T at {offset} where {} was due", self.asked));
        }
        if offset.checked_add(len).is_none_or(|end| end > total) {
            return Err(format!("R2T for {offset}+{len} of {total} bytes"));
        }
        self.r2t_sn += 1;
        self.asked += len;
        Ok(Burst { target_tag: header.get32(20), offset, len })
    }

    /// A Data-In: takes its bytes, or tells the rule it breaks.
    pub(super) fn take_data(&mut self, header: Header, data: &[u8], negotiated: &Negotiated) -> Result<(), String> {
        if header.get32(36) != self.data_sn {
            return Err(format!("DataSN {} where {} was due", header.get32(36), self.data_sn));
        }
        self.data_sn += 1;
        let offset = header.get32(40);
        if offset != length(&self.data_in) {
            return Err(format!("Data-In at {offset} where {} was due", self.data_in.len()));
        }
        self.data_in.extend_from_slice(data);
        if length(&self.data_in) > self.command.data_in {
            return Err(format!("{} bytes of data-in where {} were expected", self.data_in.len(), self.command.data_in));
        }
        self.sequence += length(data);
        if self.sequence > negotiated.max_burst_length {
            return Err(format!("a Data-In sequence of {} bytes, MaxBurstLength is {}", self.sequence, negotiated.max_burst_length));
        }
        if header.byte(1) & super::header::FINAL != 0 {
            self.sequence = 0;
        }
        Ok(())
    }

    /// A Data-In that may come early or again: takes its bytes to their place, or tells the rule it breaks.
    pub(super) fn place_data(&mut self, header: Header, data: &[u8], negotiated: &Negotiated) -> Result<(), String> {
        let (number, offset) = (header.get32(36), header.get32(40));
        let end = offset.checked_add(length(data)).filter(|&end| end <= self.command.data_in);
        if number > self.data_sn.saturating_add(MOST_MISSING) {
            return Err(format!("DataSN {number} where {} was due", self.data_sn));
        }
        let Some(end) = end else { return Err(format!("Data-In for {offset}+{} of {} bytes", data.len(), self.command.data_in)) };
        if length(data) > negotiated.max_burst_length {
            return Err(format!("Data-In of {} bytes, MaxBurstLength is {}", data.len(), negotiated.max_burst_length));
        }
        let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        let (start, end) = (index(offset), index(end));
        if self.data_in.len() < end {
            self.data_in.resize(end, 0);
        }
        let place = &mut self.data_in[start..end];
        let known = number < self.data_sn || self.early.numbers.contains(&number);
        if known && *place != *data {
            return Err(format!("DataSN {number} was sent again with other bytes"));
        }
        place.copy_from_slice(data);
        if header.byte(1) & ACKNOWLEDGE != 0 {
            self.early.acknowledge = Some((header.get32(20), header.0[8..16].try_into().unwrap_or_default(), number.wrapping_add(1)));
        }
        if !known {
            self.early.numbers.insert(number);
        }
        while self.early.numbers.remove(&self.data_sn) {
            self.data_sn += 1;
        }
        Ok(())
    }

    /// Numbers before `end` that did not come and were not asked for; `again`: or were. As runs of first number and count.
    fn runs(&mut self, next: u32, end: u32) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for number in next.max(self.early.asked)..end.min(next.saturating_add(MOST_MISSING)) {
            match runs.last_mut() {
                _ if self.early.numbers.contains(&number) => {}
                Some((begin, count)) if *begin + *count == number => *count += 1,
                _ => runs.push((number, 1)),
            }
        }
        self.early.asked = self.early.asked.max(end);
        runs
    }

    /// Data-In before `end` that did not come and were not asked for. A response counts them all: then what follows the last that came is missing too.
    pub(super) fn missing_data(&mut self, end: u32, counted: bool) -> Vec<(u32, u32)> {
        let end = if counted { end } else { end.min(self.early.numbers.last().copied().unwrap_or(0)) };
        self.runs(self.data_sn, end)
    }

    /// Not all Data-In before `end` came.
    pub(super) fn lacks_data(&self, end: u32) -> bool {
        self.data_sn < end
    }

    /// Everything that is known to be missing, whether it was asked for or not.
    pub(super) fn missing_again(&mut self) -> Vec<(u32, u32)> {
        let end = core::mem::take(&mut self.early.asked);
        let next = self.data_sn.max(self.r2t_sn);
        self.runs(next, end.max(self.early.numbers.last().copied().unwrap_or(0)))
    }

    /// The acknowledgement that the target wants, once nothing before it is missing.
    pub(super) fn data_to_acknowledge(&mut self) -> Option<(u32, [u8; 8], u32)> {
        let data_sn = self.data_sn;
        self.early.acknowledge.take_if(|(_, _, next)| *next <= data_sn)
    }

    /// An R2T that may come early or again: its burst and the runs of R2TSN missing before it, or the rule it breaks.
    pub(super) fn ready_again(&mut self, header: Header, negotiated: &Negotiated) -> Result<(Burst, Vec<(u32, u32)>), String> {
        let (number, offset, len) = (header.get32(36), header.get32(40), header.get32(44));
        let total = length(&self.command.data_out);
        if number > self.r2t_sn.saturating_add(MOST_MISSING) {
            return Err(format!("R2TSN {number} where {} was due", self.r2t_sn));
        }
        if len == 0 || len > negotiated.max_burst_length || offset.checked_add(len).is_none_or(|end| end > total) {
            return Err(format!("R2T for {offset}+{len} of {total} bytes, MaxBurstLength is {}", negotiated.max_burst_length));
        }
        if number >= self.r2t_sn {
            self.early.numbers.insert(number);
        }
        while self.early.numbers.remove(&self.r2t_sn) {
            self.r2t_sn += 1;
        }
        let missing = self.runs(self.r2t_sn, number);
        Ok((Burst { target_tag: header.get32(20), offset, len }, missing))
    }

    /// The end: status in a SCSI Response (with sense) or in the last Data-In.
    pub(super) fn end(self, header: Header, in_data: bool, sense: &[u8]) -> Result<Completion, String> {
        let flags = header.byte(1);
        let residual = i64::from(header.get32(44));
        let residual = match flags & 0x06 {
            0x02 => residual,
            0x04 => -residual,
            0x06 => return Err("overflow and underflow at once".into()),
            _ => 0,
        };
        if !in_data && header.get32(36) != self.data_sn && header.byte(2) == 0 && header.byte(3) == 0 {
            return Err(format!("ExpDataSN {} after {} Data-In PDUs", header.get32(36), self.data_sn));
        }
        let status = header.byte(3);
        let expected = i64::from(self.command.data_in);
        let arrived = self.data_in.len() as i64;
        if status == 0 && expected > 0 && arrived + residual.max(0) != expected {
            return Err(format!("{arrived} bytes of data-in and a residual of {residual}, expected {expected}"));
        }
        Ok(Completion {
            tag: header.tag(),
            response: if in_data { 0 } else { header.byte(2) },
            status,
            sense: sense.to_vec(),
            data_in: self.data_in,
            residual,
        })
    }
}
