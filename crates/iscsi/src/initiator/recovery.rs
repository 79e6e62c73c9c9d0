//! ErrorRecoveryLevel 1 at the initiator (RFC 7143 7): what was damaged or lost is asked for with SNACK, commands that did not arrive are tried again.
//!
//! PDUs that use up a StatSN are taken in its order: one that comes early waits for those before it, a SCSI Response also for the data-in it counts. So ExpStatSN
//! never acknowledges what may still be asked for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Losses;
use super::connection::{Connection, at_or_after};
use super::header::{self, Header};
use super::transfer::Burst;

const DATA_OR_R2T: u8 = 0;
const STATUS: u8 = 1;
const DATA_ACK: u8 = 2;
/// Most PDUs that can be missing in a row: more is no loss, but a number that is wrong.
pub(super) const MOST_MISSING: u32 = 1 << 16;
/// Reject reason: data digest error.
const DATA_DIGEST_ERROR: u8 = 2;

/// What waits for something that was lost.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Numbered PDUs before which others are missing.
    held: BTreeMap<u32, (Header, Vec<u8>)>,
    /// StatSN up to which missing PDUs were asked for.
    asked: Option<u32>,
    /// ExpCmdSN as the target said last.
    target_expects: u32,
    /// Tag and CmdSN of the ping that shows which commands arrived.
    probe: Option<(u32, u32)>,
    random: u64,
}

/// True for PDUs that use up a StatSN.
fn is_numbered(head: Header) -> bool {
    match head.opcode() {
        header::DATA_IN => head.byte(1) & 1 != 0,
        header::NOP_IN => head.tag() != header::NO_TAG,
        header::R2T => false,
        _ => true,
    }
}

impl Recovery {
    /// True in so many of a thousand cases.
    fn chance(&mut self, losses: Losses, per_mille: u32) -> bool {
        if per_mille == 0 {
            return false;
        }
        if self.random == 0 {
            self.random = losses.seed | 1;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) % 1000 < u64::from(per_mille)
    }
}

impl Connection {
    /// Recovery within the connection was negotiated.
    pub(super) fn recovers(&self) -> bool {
        self.negotiated.error_recovery_level > 0 && self.is_logged_in()
    }

    /// A PDU that arrived is lost by the run's choice, as if its digest had been wrong.
    pub(super) fn loses_received(&mut self, head: Header) -> bool {
        let Some(losses) = self.settings.losses.filter(|_| self.recovers() && head.opcode() != header::LOGOUT_RESPONSE) else { return false };
        self.recovery.chance(losses, losses.received)
    }

    /// A PDU that is to be sent is lost by the run's choice: true; or one bit of its data is wrong.
    pub(super) fn loses_sent(&mut self, head: Header, bytes: &mut [u8], has_data: bool) -> bool {
        let Some(losses) = self.settings.losses.filter(|_| self.recovers()) else { return false };
        let may = match head.opcode() {
            header::SCSI_COMMAND => head.byte(0) & header::IMMEDIATE == 0,
            header::DATA_OUT | header::SNACK | header::NOP_OUT => true,
            _ => false,
        };
        if !may || !self.recovery.chance(losses, losses.sent) {
            return false;
        }
        let damage = has_data && self.negotiated.data_digest && self.recovery.chance(losses, 500);
        if damage && let Some(last) = bytes.last_mut() {
            // The digest itself: whatever is wrong, the sum is.
            *last ^= 0x10;
        }
        !damage
    }

    /// A PDU of full feature phase: now, or when its turn has come.
    pub(super) fn receive(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        self.window(head)?;
        self.recovery.target_expects = head.get32(28);
        let (number, expected) = (head.get32(24), self.expected());
        if is_numbered(head) && at_or_after(number, expected) && number.wrapping_sub(expected) > MOST_MISSING {
            return Err(format!("StatSN {number} where {expected} was due"));
        }
        if !is_numbered(head) {
            if head.opcode() != header::DATA_IN {
                self.ask_for_status(number);
            }
            self.dispatch(head, data)?;
        } else if at_or_after(number, expected) {
            self.ask_for_status(number);
            self.recovery.held.entry(number).or_insert_with(|| (head, data.to_vec()));
        }
        self.take_held()
    }

    /// Numbered PDUs whose turn has come.
    fn take_held(&mut self) -> Result<(), String> {
        while let Some((head, data)) = self.recovery.held.remove(&self.expected()) {
            if head.opcode() == header::SCSI_RESPONSE && self.lacks_data(head) {
                self.recovery.held.insert(self.expected(), (head, data));
                break;
            }
            self.dispatch(head, &data)?;
        }
        Ok(())
    }

    /// A response counts data-in that did not come: they are asked for, once.
    fn lacks_data(&mut self, head: Header) -> bool {
        let (tag, end) = (head.tag(), head.get32(36));
        let Some(task) = self.tasks.get_mut(&tag) else { return false };
        let missing = task.missing_data(end, true);
        let lacks = task.lacks_data(end);
        self.ask_for_data(tag, &missing);
        lacks
    }

    /// Status SNACKs for the numbers before `until` that did not come and were not asked for.
    fn ask_for_status(&mut self, until: u32) {
        let mut from = self.expected();
        if let Some(asked) = self.recovery.asked
            && at_or_after(asked, from)
        {
            from = asked;
        }
        if !at_or_after(until, from) || until.wrapping_sub(from) > MOST_MISSING {
            return;
        }
        let mut run = None;
        while from != until {
            match (self.recovery.held.contains_key(&from), &mut run) {
                (false, None) => run = Some((from, 1)),
                (false, Some((_, count))) => *count += 1,
                (true, _) => {
                    if let Some((begin, count)) = run.take() {
                        self.send_snack(STATUS, header::NO_TAG, header::NO_TAG, begin, count);
                    }
                }
            }
            from = from.wrapping_add(1);
        }
        if let Some((begin, count)) = run {
            self.send_snack(STATUS, header::NO_TAG, header::NO_TAG, begin, count);
        }
        self.recovery.asked = Some(until);
    }

    fn ask_for_data(&mut self, tag: u32, missing: &[(u32, u32)]) {
        for &(begin, count) in missing {
            self.send_snack(DATA_OR_R2T, tag, header::NO_TAG, begin, count);
        }
    }

    fn send_snack(&mut self, kind: u8, tag: u32, target_tag: u32, begin: u32, count: u32) {
        let request = Header::new(header::SNACK).put(1, &[header::FINAL | kind]).put32(16, tag).put32(20, target_tag);
        let request = request.put32(28, self.expected()).put32(40, begin).put32(44, count);
        self.send(request, &[]);
    }

    /// Data-In in any order, some perhaps twice.
    pub(super) fn recovering_data_in(&mut self, head: Header, data: &[u8]) -> Result<(), String> {
        let (tag, negotiated) = (head.tag(), self.negotiated);
        // Of a command that ended or was given up: sent again for nothing.
        let Some(task) = self.tasks.get_mut(&tag) else { return Ok(()) };
        task.place_data(head, data, &negotiated)?;
        let missing = task.missing_data(head.get32(36), false);
        let acknowledge = task.data_to_acknowledge();
        self.ask_for_data(tag, &missing);
        if let Some((target_tag, lun, next)) = acknowledge {
            let request = Header::new(header::SNACK).put(1, &[header::FINAL | DATA_ACK]).put(8, &lun).put32(16, header::NO_TAG);
            let request = request.put32(20, target_tag).put32(28, self.expected()).put32(40, next);
            self.send(request, &[]);
        }
        Ok(())
    }

    /// R2Ts in any order; one that comes again is answered again.
    pub(super) fn recovering_r2t(&mut self, head: Header) -> Result<(), String> {
        let (tag, negotiated) = (head.tag(), self.negotiated);
        let Some(task) = self.tasks.get_mut(&tag) else { return Ok(()) };
        let (burst, missing): (Burst, Vec<(u32, u32)>) = task.ready_again(head, &negotiated)?;
        self.ask_for_data(tag, &missing);
        self.send_burst(tag, burst);
        Ok(())
    }

    /// A Reject. True: it told of damaged data, which are sent again.
    pub(super) fn rejected(&mut self, head: Header, data: &[u8]) -> bool {
        if !self.recovers() || head.byte(2) != DATA_DIGEST_ERROR {
            return false;
        }
        let damaged = Header::from(data);
        if damaged.opcode() == header::SCSI_COMMAND {
            self.try_again(damaged.tag());
        }
        true
    }

    /// Time passed without an answer: asks once more for everything that is missing, and with a ping which commands arrived.
    pub fn nudge(&mut self) {
        if !self.recovers() {
            return;
        }
        self.recovery.asked = None;
        let waiting: Vec<u32> = self.recovery.held.keys().copied().collect();
        if let Some(&last) = waiting.last() {
            self.ask_for_status(last);
        }
        let tags: Vec<u32> = self.tasks.keys().copied().collect();
        for tag in tags {
            if let Some(task) = self.tasks.get_mut(&tag) {
                let missing = task.missing_again();
                self.ask_for_data(tag, &missing);
            }
        }
        let tag = self.ping(b"");
        self.recovery.probe = Some((tag, self.cmd_sn));
    }

    /// The echo of a ping. True: it was ours. Commands sent before it that have not arrived are tried again; numbers of those that were given up go to pings.
    pub(super) fn probed(&mut self, tag: u32) -> bool {
        let Some((_, until)) = self.recovery.probe.take_if(|(probe, _)| *probe == tag) else { return self.recovery_pings.remove(&tag) };
        let mut number = self.recovery.target_expects;
        let by_number: BTreeMap<u32, u32> = self.tasks.iter().filter_map(|(&tag, task)| task.cmd_sn.map(|cmd_sn| (cmd_sn, tag))).collect();
        while at_or_after(until, number) && number != until {
            match by_number.get(&number) {
                Some(&tag) => self.try_again(tag),
                None => self.fill(number),
            }
            number = number.wrapping_add(1);
        }
        true
    }

    fn try_again(&mut self, tag: u32) {
        if let Some(task) = self.tasks.get(&tag)
            && let Some(cmd_sn) = task.cmd_sn
        {
            let (immediate, more) = (task.immediate, task.unsolicited);
            self.send_command_pdu(tag, cmd_sn, immediate, more);
        }
    }

    fn fill(&mut self, cmd_sn: u32) {
        let tag = self.tag();
        let request = Header::new(header::NOP_OUT).put(1, &[header::FINAL]).put32(16, tag).put32(20, header::NO_TAG);
        self.send(request.put32(24, cmd_sn).put32(28, self.expected()), &[]);
        self.recovery_pings.insert(tag);
    }
}

/// Tags of pings whose echo is nobody's concern.
pub(super) type Pings = BTreeSet<u32>;
