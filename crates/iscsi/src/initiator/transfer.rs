//! One command at the initiator: what was sent, what came back, and whether it was right.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::header::Header;
use super::{Command, Completion};
use crate::key::Negotiated;

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
    data_in: Vec<u8>,
    data_sn: u32,
    r2t_sn: u32,
    /// Bytes of data-out that were sent or asked for, from the start.
    asked: u32,
    sequence: u32,
}

pub(super) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl Task {
    pub(super) fn new(command: Command) -> Task {
        Task { command, data_in: Vec::new(), data_sn: 0, r2t_sn: 0, asked: 0, sequence: 0 }
    }

    /// Bytes that go with the command itself, and bytes that follow unsolicited.
    pub(super) fn unsolicited(&mut self, negotiated: &Negotiated) -> (u32, u32) {
        let total = length(&self.command.data_out);
        let first = total.min(negotiated.first_burst_length);
        let immediate = if negotiated.immediate_data { first.min(negotiated.max_xmit_data_segment_length) } else { 0 };
        let more = if negotiated.initial_r2t { 0 } else { first - immediate };
        self.asked = immediate + more;
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
