//! What was sent and may have to be sent again (RFC 7143 4.2.2.2, 4.2.2.3): from ErrorRecoveryLevel 1 on every PDU that used up a StatSN is kept until
//! ExpStatSN has passed it, and with the answer of a task its data-in.
//!
//! The payload itself stays with the shell, under the StatSN of the answer. At ErrorRecoveryLevel 0 nothing is kept.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::window::distance;
use crate::pdu::{DataIn, Header, NO_TAG};

/// Unacknowledged PDUs beyond two windows of commands: functions, pings and texts. Who acknowledges nothing is cut.
const KEPT_BEYOND_WINDOW: usize = 128;
/// Most bytes of text, sense and ping data that wait for their acknowledgement: sixty echoes of the longest ping.
const KEPT_BYTES: usize = 4 << 20;

/// How the data-in of a task is cut into PDUs: each number always names the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataPlan {
    /// DataSN of the first piece.
    pub first: u32,
    /// Where it begins, in bytes.
    pub start: u32,
    /// Longest data segment.
    pub segment: u32,
    /// MaxBurstLength.
    pub burst: u32,
    /// End of the data, in bytes.
    pub total: u32,
    /// Target transfer tag under which the initiator acknowledges data.
    pub transfer_tag: u32,
}

/// One Data-In PDU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Bytes before it.
    pub offset: u32,
    /// Its bytes.
    pub len: u32,
    /// Last of its sequence.
    pub is_final: bool,
    /// Last of all.
    pub is_last: bool,
}

impl DataPlan {
    /// The PDU numbered `data_sn`; `None`: there is none.
    pub fn piece(&self, data_sn: u32) -> Option<Piece> {
        let index = data_sn.wrapping_sub(self.first);
        let per_burst = self.burst.div_ceil(self.segment.max(1)).max(1);
        let within = (index % per_burst).checked_mul(self.segment)?;
        let burst = (index / per_burst).checked_mul(self.burst)?;
        let offset = self.start.checked_add(burst)?.checked_add(within)?;
        let rest = self.total.checked_sub(offset).filter(|&rest| rest > 0)?;
        let len = rest.min(self.segment).min(self.burst - within);
        let is_last = len == rest;
        Some(Piece { offset, len, is_final: is_last || within + len == self.burst, is_last })
    }

    /// The DataSN after the last.
    pub fn end(&self) -> u32 {
        let bytes = self.total.saturating_sub(self.start);
        let per_burst = self.burst.div_ceil(self.segment.max(1)).max(1);
        let bursts = bytes / self.burst.max(1);
        let rest = (bytes % self.burst.max(1)).div_ceil(self.segment.max(1));
        self.first.wrapping_add(bursts.wrapping_mul(per_burst)).wrapping_add(rest)
    }

    /// The same data from `data_sn` on, cut for another longest segment (RFC 7143 11.16.3).
    pub fn resegmented(&self, data_sn: u32, segment: u32) -> DataPlan {
        let start = self.piece(data_sn).map_or(self.total, |piece| piece.offset);
        DataPlan { first: data_sn, start, segment, ..*self }
    }

    /// The Data-In PDU of a piece. At the end of each full burst an acknowledgement is asked for (RFC 7143 11.7.2); status never comes with the data.
    pub fn pdu(&self, tag: u32, lun: scsi::Lun, data_sn: u32, piece: Piece) -> DataIn {
        let acknowledge = piece.is_final && !piece.is_last;
        DataIn {
            is_final: piece.is_final,
            acknowledge,
            lun: if acknowledge { lun } else { scsi::Lun::default() },
            tag,
            transfer_tag: if acknowledge { self.transfer_tag } else { NO_TAG },
            data_sn,
            buffer_offset: piece.offset,
            ..DataIn::default()
        }
    }
}

/// Where the bytes of an answer are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeptData {
    /// Here.
    Inline(Vec<u8>),
    /// The shell has them.
    Payload,
    /// Let go: they cannot be sent again.
    Gone,
}

/// The data-in of a task that was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Initiator task tag.
    pub tag: u32,
    /// LUN, for Data-In that asks for an acknowledgement.
    pub lun: scsi::Lun,
    /// The bytes.
    pub data: KeptData,
    /// How they are cut.
    pub plan: DataPlan,
    /// DataSN up to which the initiator has acknowledged them.
    pub acknowledged: u32,
    /// DataSNs that are to be sent again: from, to.
    pub again: Option<(u32, u32)>,
    /// After them, the response is sent again with its new SNACK tag.
    pub respond: bool,
}

/// A PDU whose StatSN was not acknowledged.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number.
    pub stat_sn: u32,
    /// Its header; ExpCmdSN and MaxCmdSN are written when it leaves.
    pub header: Header,
    /// Its data segment.
    pub data: Vec<u8>,
    /// The data-in before it, when it is the answer of a task that had some.
    pub answer: Option<Answer>,
    /// It is in the queue to be sent again.
    pub queued: bool,
}

/// What is kept, in order of StatSN.
#[derive(Debug, Default)]
pub struct Retention {
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Retention {
    /// StatSN of the oldest.
    pub fn oldest(&self) -> Option<u32> {
        self.kept.front().map(|kept| kept.stat_sn)
    }

    /// A PDU with the next StatSN leaves.
    pub fn keep(&mut self, stat_sn: u32, header: Header, data: &[u8]) {
        self.bytes += data.len();
        self.kept.push_back(Kept { stat_sn, header, data: data.to_vec(), answer: None, queued: false });
    }

    /// The last PDU was the answer of a task with data-in.
    pub fn attach(&mut self, answer: Answer) {
        if let KeptData::Inline(bytes) = &answer.data {
            self.bytes += bytes.len();
        }
        if let Some(last) = self.kept.back_mut() {
            last.answer = Some(answer);
        }
    }

    /// Everything before `exp_stat_sn` has arrived; `next` is the StatSN to come: beyond it nobody can acknowledge. True when something was let go.
    pub fn acknowledge(&mut self, exp_stat_sn: u32, next: u32) -> bool {
        if distance(exp_stat_sn, next) < 0 {
            return false;
        }
        let before = self.kept.len();
        while let Some(kept) = self.kept.pop_front_if(|kept| distance(kept.stat_sn, exp_stat_sn) > 0) {
            self.bytes -= kept.data.len() + kept.answer.map_or(0, |answer| inline_len(&answer.data));
        }
        before != self.kept.len()
    }

    /// By how much the unacknowledged answers narrow a command window: one whole window of them is free, since whoever has as many commands under way
    /// acknowledges them with the next.
    pub fn pressure(&self, capacity: u32) -> u32 {
        u32::try_from(self.kept.len()).unwrap_or(u32::MAX).saturating_sub(capacity)
    }

    /// The initiator takes answers and acknowledges nothing.
    pub fn is_overdue(&self, capacity: u32) -> bool {
        let most = usize::try_from(capacity).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(KEPT_BEYOND_WINDOW);
        self.kept.len() > most || self.bytes > KEPT_BYTES
    }

    /// The PDU with this number.
    pub fn get_mut(&mut self, stat_sn: u32) -> Option<&mut Kept> {
        let index = usize::try_from(distance(self.oldest()?, stat_sn)).ok()?;
        // Numbers have no gaps; a planted defect may make some.
        match self.kept.get(index) {
            Some(kept) if kept.stat_sn == stat_sn => self.kept.get_mut(index),
            _ => self.kept.iter_mut().find(|kept| kept.stat_sn == stat_sn),
        }
    }

    /// The latest answer with data-in of the task with this tag.
    pub fn answer_of(&mut self, tag: u32) -> Option<&mut Kept> {
        self.kept.iter_mut().rev().find(|kept| kept.answer.as_ref().is_some_and(|answer| answer.tag == tag))
    }

    /// The latest answer whose data are acknowledged under this target transfer tag.
    pub fn answer_acknowledged_by(&mut self, transfer_tag: u32) -> Option<&mut Answer> {
        self.kept.iter_mut().rev().filter_map(|kept| kept.answer.as_mut()).find(|answer| answer.plan.transfer_tag == transfer_tag)
    }

    /// PDUs in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Kept> {
        self.kept.iter_mut()
    }
}

fn inline_len(data: &KeptData) -> usize {
    match data {
        KeptData::Inline(bytes) => bytes.len(),
        KeptData::Payload | KeptData::Gone => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every plan covers its bytes once, in order, within segments and bursts; numbers beyond it name nothing.
    #[test]
    fn plans_cut_every_byte_once() {
        for (total, segment, burst) in
            [(1, 512, 512), (4096, 512, 1000), (10_000, 512, 512), (70_000, 8192, 65_536), (65_536, 65_536, 512), (0, 512, 512)]
        {
            let plan = DataPlan { first: u32::MAX - 3, start: 0, segment, burst, total, transfer_tag: 1 };
            let (mut at, mut in_burst, mut data_sn) = (0, 0, plan.first);
            while let Some(piece) = plan.piece(data_sn) {
                assert_eq!(piece.offset, at);
                assert!(piece.len > 0 && piece.len <= segment);
                at += piece.len;
                in_burst += piece.len;
                assert!(in_burst <= burst);
                assert_eq!(piece.is_final, at == total || in_burst == burst);
                assert_eq!(piece.is_last, at == total);
                if piece.is_final {
                    in_burst = 0;
                }
                data_sn = data_sn.wrapping_add(1);
            }
            assert_eq!((at, data_sn), (total, plan.end()));
            let middle = plan.first.wrapping_add(data_sn.wrapping_sub(plan.first) / 2);
            let again = plan.resegmented(middle, 700);
            assert_eq!(again.first, middle);
            assert_eq!(again.piece(middle).map(|piece| piece.offset), plan.piece(middle).map(|piece| piece.offset));
        }
    }

    #[test]
    fn acknowledgements_go_as_far_as_was_sent() {
        let mut retention = Retention::default();
        for stat_sn in [u32::MAX - 1, u32::MAX, 0, 1] {
            retention.keep(stat_sn, [0; 48], b"abc");
        }
        assert!(!retention.acknowledge(3, 2), "beyond what was sent");
        assert!(!retention.acknowledge(u32::MAX - 1, 2));
        assert!(retention.acknowledge(0, 2));
        assert_eq!((retention.kept.len(), retention.oldest(), retention.bytes), (2, Some(0), 6));
        assert_eq!(retention.get_mut(1).unwrap().stat_sn, 1);
        assert!(retention.get_mut(2).is_none() && retention.get_mut(u32::MAX).is_none());
        assert_eq!((retention.pressure(1), retention.pressure(8)), (1, 0));
        assert!(retention.acknowledge(2, 2));
        assert_eq!((retention.kept.len(), retention.bytes), (0, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut retention = Retention::default();
        for stat_sn in 0..160 {
            retention.keep(stat_sn, [0; 48], &[]);
        }
        assert!(!retention.is_overdue(16));
        retention.keep(160, [0; 48], &[]);
        assert!(retention.is_overdue(16));
        let mut retention = Retention::default();
        retention.keep(0, [0; 48], &alloc::vec![0; KEPT_BYTES + 1]);
        assert!(retention.is_overdue(128));
    }
}
