//! Every task management function against every stage of a command's life, and what has to come of it (SAM-5 7, RFC 7143 11.5, RFC 7144).
//!
//! One initiator, the owner, has a command at the stage in question, the victim; the other has one that waits for data, the bystander. One of the two sends the
//! function. The judgement is made of a table of its own: who ends, who hears of it and how, that the answer comes in time though the store does not, and that
//! nothing of what ended can still reach the medium.

mod case;

use scsi::TaskAttribute;

use crate::scene::{QUICK, SECOND, Scene, write_cdb};
use crate::shared::BLOCK;

pub use case::{CASES, Case, Function, PAIRS, Stage};
use case::{COMPLETE, DOES_NOT_EXIST, OTHER, OWNER, REJECTED};

/// A function is answered within this time, whatever the store does: the limit of five seconds, and the way there and back.
const ANSWERED_WITHIN: u64 = 5 * SECOND + SECOND / 4;
/// Disk operations of a store that is slow, and of one that hangs.
const SLOW: u64 = 2 * SECOND;
const HANGS: u64 = 12 * SECOND;
/// A command ends within this time when nothing but a hanging store is in its way. The whole scene stays below the minute after which a connection falls that
/// owes data.
const AT_LAST: u64 = 14 * SECOND;
/// The victim's block, the bystander's, and the one of the command behind which the victim waits.
const VICTIM: u8 = 8;
const BYSTANDER: u8 = 40;
const BLOCKER: u8 = 60;
/// What the victim, the bystander, the blocker, the rival write, and who comes after them.
const BY_VICTIM: u8 = 0x11;
const BY_BYSTANDER: u8 = 0x33;
const BY_BLOCKER: u8 = 0x44;
const BY_RIVAL: u8 = 0x55;
const AFTERWARDS: u8 = 0x77;
/// Blocks that the victim reads when its answer is looked at.
const READS: u8 = 64;
/// A tag that no command has.
const NOBODY: u32 = 0x7777;
const GOOD: u8 = 0x00;
const TASK_ABORTED: u8 = 0x40;
/// The bit TAS of the control mode page.
const TAS: u8 = 0x40;

/// A command of the scene.
#[derive(Clone, Copy, Debug)]
struct Asked {
    who: usize,
    tag: u32,
    value: u8,
}

struct Play {
    case: Case,
    scene: Scene,
    victim: Asked,
    /// Its CmdSN.
    number: u32,
    bystander: Asked,
    /// ORDERED, before the victim.
    blocker: Option<Asked>,
    /// COMPARE AND WRITE of the other.
    rival: Option<Asked>,
    function: u32,
    asked_at: u64,
    /// The victim's block was written right after the function.
    written: bool,
}

/// Plays the case of `seed`.
///
/// # Errors
/// What went otherwise than it has to.
pub fn play(seed: u64, trace: bool) -> Result<(), String> {
    let case = Case::of(seed);
    if trace {
        println!("{case:?}");
    }
    perform(case, seed, trace).map_err(|what| format!("{case:?}: {what}"))
}

fn perform(case: Case, seed: u64, trace: bool) -> Result<(), String> {
    let scene = Scene::new(seed, trace)?;
    let nobody = Asked { who: OWNER, tag: NOBODY, value: BY_VICTIM };
    let bystander = Asked { who: OTHER, tag: NOBODY, value: BY_BYSTANDER };
    let mut play = Play { case, scene, victim: nobody, number: 0, bystander, blocker: None, rival: None, function: 0, asked_at: 0, written: false };
    play.prepare()?;
    play.set_the_stage()?;
    play.ask();
    let response = play.judge_answer()?;
    if case.function == Function::ColdReset {
        play.come_back()?;
    } else {
        play.clear_the_way()?;
        play.judge_attentions()?;
    }
    play.write_at_once(response)?;
    play.judge_victim(response)?;
    play.judge_others()?;
    play.judge_block()?;
    play.scene.left_over()
}

impl Play {
    /// TAS as the case says; the bystander waits for its data.
    fn prepare(&mut self) -> Result<(), String> {
        if self.case.tas {
            let list = [0, 0, 0, 0, 0x0a, 0x0a, 2, 0x10, 0, TAS, 0, 0, 0, 0, 2, 0];
            let tag = self.scene.callers[OWNER].command(&[0x15, 0x10, 0, 0, 16, 0], 16, 0, TaskAttribute::Simple);
            self.scene.until(SECOND, |scene| scene.callers[OWNER].has_r2t(tag));
            self.scene.callers[OWNER].give_data(tag, &list);
            let (status, sense) = self.scene.ending(OWNER, tag, SECOND)?;
            if status != GOOD {
                return Err(format!("MODE SELECT of TAS ends with {status:#04x} {sense:x?}"));
            }
            self.scene.attentions(OTHER)?;
        }
        self.bystander.tag = self.scene.callers[OTHER].command(&write_cdb(BYSTANDER), BLOCK as u32, 0, TaskAttribute::Simple);
        self.await_r2t(self.bystander)
    }

    fn await_r2t(&mut self, asked: Asked) -> Result<(), String> {
        let there = self.scene.until(SECOND, |scene| scene.callers[asked.who].has_r2t(asked.tag));
        if there { Ok(()) } else { Err(format!("no R2T for {asked:x?}")) }
    }

    fn victim_writes(&mut self) {
        self.number = self.scene.callers[OWNER].cmd_sn;
        self.victim.tag = self.scene.callers[OWNER].command(&write_cdb(VICTIM), BLOCK as u32, 0, TaskAttribute::Simple);
    }

    fn victim_is_sent_data(&mut self) -> Result<(), String> {
        self.victim_writes();
        self.await_r2t(self.victim)?;
        self.scene.callers[OWNER].give_data(self.victim.tag, &[BY_VICTIM; BLOCK]);
        self.scene.rest(SECOND / 10);
        Ok(())
    }

    fn rule(&mut self, text: &str) -> Result<(), String> {
        let spec = fault::grammar::parse(text).map_err(|error| format!("{text}: {error}"))?;
        self.scene.machine.cell.lock().faults_mut().insert(fault::RuleId(0), spec);
        Ok(())
    }

    /// Brings the victim to its stage.
    fn set_the_stage(&mut self) -> Result<(), String> {
        match self.case.stage {
            Stage::Never => self.number = self.scene.callers[OWNER].cmd_sn.wrapping_sub(1),
            Stage::Missing => {
                self.number = self.scene.callers[OWNER].cmd_sn;
                self.skip_number();
            }
            Stage::Held => {
                self.skip_number();
                self.victim_writes();
                self.scene.rest(SECOND / 10);
            }
            Stage::Arriving => {
                self.victim_writes();
                self.victim_is_there();
            }
            Stage::AwaitingData => {
                self.victim_writes();
                self.await_r2t(self.victim)?;
            }
            Stage::Ordered => {
                let tag = self.scene.callers[OWNER].command(&write_cdb(BLOCKER), BLOCK as u32, 0, TaskAttribute::Ordered);
                self.blocker = Some(Asked { who: OWNER, tag, value: BY_BLOCKER });
                self.victim_writes();
                self.scene.rest(SECOND / 10);
            }
            Stage::Contended => self.let_a_rival_in()?,
            Stage::Storing | Stage::Stuck => {
                self.scene.disk_takes(if self.case.stage == Stage::Stuck { HANGS } else { SLOW });
                self.victim_is_sent_data()?;
                self.scene.disk_takes(QUICK);
            }
            Stage::Paused => {
                self.rule(&format!("op=WRITE10,lba={VICTIM},len=1,pause=3,key=3,asc=0x0c02"))?;
                self.victim_writes();
                self.scene.rest(SECOND / 10);
            }
            Stage::Hung => {
                self.rule(&format!("op=WRITE10,lba={VICTIM},len=1,action=HANG"))?;
                self.victim_writes();
                self.scene.rest(SECOND / 10);
            }
            Stage::Contingent => self.begin_allegiance()?,
            Stage::Sending => self.victim_reads(),
            Stage::Answered => {
                self.victim_is_sent_data()?;
                self.scene.ending(OWNER, self.victim.tag, SECOND)?;
            }
        }
        Ok(())
    }

    /// What comes over the other link comes after the victim.
    fn victim_is_there(&mut self) {
        if self.case.issuer == OTHER {
            self.scene.until(SECOND, |scene| scene.machine.cell.lock().active_tasks() > 1);
        }
    }

    /// The next CmdSN is not used for now.
    fn skip_number(&mut self) {
        let caller = &mut self.scene.callers[OWNER];
        caller.cmd_sn = caller.cmd_sn.wrapping_add(1);
    }

    fn let_a_rival_in(&mut self) -> Result<(), String> {
        let mut cdb = [0; 16];
        (cdb[0], cdb[9], cdb[13]) = (0x89, VICTIM, 1);
        let tag = self.scene.callers[OTHER].command(&cdb, 2 * BLOCK as u32, 0, TaskAttribute::Simple);
        let rival = Asked { who: OTHER, tag, value: BY_RIVAL };
        self.rival = Some(rival);
        self.await_r2t(rival)?;
        self.scene.disk_takes(HANGS);
        self.scene.callers[OTHER].give_data(tag, &[[0; BLOCK], [BY_RIVAL; BLOCK]].concat());
        self.scene.rest(SECOND / 10);
        self.scene.disk_takes(QUICK);
        self.victim_is_sent_data()
    }

    /// The victim waits for data when another command of its initiator fails with NACA; then its data come.
    fn begin_allegiance(&mut self) -> Result<(), String> {
        self.victim_writes();
        self.await_r2t(self.victim)?;
        let beyond = [0x28, 0, 0x7f, 0, 0, 0, 0, 0, 1, 0x04];
        let tag = self.scene.callers[OWNER].command(&beyond, 0, BLOCK as u32, TaskAttribute::Simple);
        let (status, sense) = self.scene.ending(OWNER, tag, SECOND)?;
        if (status, sense) != (2, Some((5, 0x2100))) {
            return Err(format!("a READ beyond the end ends with {status:#04x} {sense:x?}"));
        }
        self.scene.callers[OWNER].give_data(self.victim.tag, &[BY_VICTIM; BLOCK]);
        self.scene.rest(SECOND / 10);
        match self.scene.end(OWNER, self.victim.tag) {
            None => Ok(()),
            Some(_) => Err("an auto contingent allegiance does not block".into()),
        }
    }

    /// The victim is a READ, and the function is sent at some moment of its short life.
    fn victim_reads(&mut self) {
        self.number = self.scene.callers[OWNER].cmd_sn;
        let cdb = [0x28, 0, 0, 0, 0, VICTIM, 0, 0, READS, 0];
        self.victim.tag = self.scene.callers[OWNER].command(&cdb, 0, u32::from(READS) * BLOCK as u32, TaskAttribute::Simple);
        self.victim_is_there();
        let moment = self.scene.random.below(8_000_000);
        self.scene.rest(moment);
    }

    fn ask(&mut self) {
        let case = self.case;
        let named = matches!(case.function, Function::AbortTask | Function::QueryTask);
        // In the session of the other this number was used long ago.
        let number = if case.issuer == OWNER { self.number } else { self.scene.callers[OTHER].cmd_sn.wrapping_sub(1) };
        let referenced = named.then_some((self.victim.tag, number));
        self.asked_at = self.scene.now();
        self.function = self.scene.callers[case.issuer].function(case.function as u8, referenced, case.immediate);
    }

    /// It is there in time, and says what is right.
    fn judge_answer(&mut self) -> Result<u8, String> {
        let (issuer, tag) = (self.case.issuer, self.function);
        self.scene.until(ANSWERED_WITHIN, |scene| scene.callers[issuer].function_answer(tag).is_some());
        let Some((_, answer)) = self.scene.callers[issuer].function_answer(tag) else {
            return Err(format!("the function has no answer after {} ms", ANSWERED_WITHIN / 1_000_000));
        };
        let (response, took) = (answer.header[2], answer.at - self.asked_at);
        if !self.case.answers().contains(&response) {
            return Err(format!("the function is answered with {response}, not with {:?}, after {} ms", self.case.answers(), took / 1_000_000));
        }
        Ok(response)
    }

    /// TARGET COLD RESET takes all sessions down; the initiators come again.
    fn come_back(&mut self) -> Result<(), String> {
        if !self.scene.until(10 * SECOND, |scene| scene.callers.iter().all(|caller| caller.closed.is_some())) {
            return Err("a session outlives TARGET COLD RESET".into());
        }
        for who in [OWNER, OTHER] {
            self.scene.login(who)?;
        }
        Ok(())
    }

    /// Ends what would stop the commands with which the scene is looked at: holes of the window, allegiances.
    fn clear_the_way(&mut self) -> Result<(), String> {
        let plugged = self.case.function == Function::AbortTask && self.case.issuer == OWNER;
        match self.case.stage {
            Stage::Missing => {
                let tag = self.scene.callers[OWNER].command_at(self.number, &[0x12, 0, 0, 0, 36, 0], 0, 36, TaskAttribute::Simple);
                self.scene.rest(SECOND / 2);
                match self.scene.end(OWNER, tag) {
                    Some(_) if plugged => return Err("a command came to life whose CmdSN an ABORT TASK had taken out".into()),
                    None if !plugged => return Err("the missing command came and is not answered".into()),
                    _ => {}
                }
            }
            Stage::Held => {
                let hole = self.number.wrapping_sub(1);
                let tag = self.scene.callers[OWNER].command_at(hole, &[0x12, 0, 0, 0, 36, 0], 0, 36, TaskAttribute::Simple);
                self.scene.ending(OWNER, tag, SECOND)?;
                self.scene.rest(SECOND / 10);
            }
            Stage::Contingent => {
                let tag = self.scene.callers[OWNER].function(Function::ClearAca as u8, None, true);
                if !self.scene.until(SECOND, |scene| scene.callers[OWNER].function_answer(tag).is_some()) {
                    return Err("CLEAR ACA has no answer".into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn judge_attentions(&mut self) -> Result<(), String> {
        for who in [OWNER, OTHER] {
            // A command that waited in the window met the unit attention itself.
            let met = self.case.stage == Stage::Held && !self.case.ends_victim() && who == OWNER;
            let met = if met { self.scene.end(OWNER, self.victim.tag).and_then(|end| end.sense()) } else { None };
            let mut heard: Vec<u16> = met.iter().map(|(_, asc)| *asc).collect();
            heard.extend(self.scene.attentions(who)?);
            if !self.case.heard(who).contains(&heard.as_slice()) {
                return Err(format!("caller {who} hears {heard:04x?}, not {:04x?}", self.case.heard(who)));
            }
        }
        Ok(())
    }

    /// After the answer the block belongs to whom it pleases: a write right now is good and lasts. When the function gave up, the medium is NOT READY.
    fn write_at_once(&mut self, response: u8) -> Result<(), String> {
        if !self.case.ends_victim() || self.rival.is_some() {
            return Ok(());
        }
        self.scene.machine.cell.lock().faults_mut().remove(fault::RuleId(0));
        let written = self.scene.write(OTHER, VICTIM, AFTERWARDS)?;
        self.written = written == (GOOD, None);
        let not_ready = matches!(written, (2, Some((2, _))));
        match response {
            REJECTED if not_ready || self.case.function == Function::ColdReset => Ok(()),
            REJECTED => Err(format!("a write right after the function was rejected ends with {written:x?}")),
            _ if self.written => Ok(()),
            _ => Err(format!("a write right after the function ends with {written:x?}")),
        }
    }

    fn judge_victim(&mut self, response: u8) -> Result<(), String> {
        let case = self.case;
        if matches!(case.stage, Stage::Never | Stage::Missing) || case.function == Function::ColdReset {
            return Ok(());
        }
        if case.stage == Stage::Sending {
            return self.judge_reader(response);
        }
        if case.ends_victim() {
            self.judge_ended(self.victim)
        } else if case.stage == Stage::Hung {
            self.abort_hung()
        } else {
            let expected = match case.stage {
                Stage::Paused => (2, Some((3, 0x0c02))),
                // It met the unit attention of the reset that was done while it waited in the window.
                Stage::Held if case.resets() => (2, Some((6, 0x2900))),
                _ => (GOOD, None),
            };
            self.judge_survivor(self.victim, expected)
        }
    }

    /// Of its answer all is there, or what is there came before the answer of the function that ended it.
    fn judge_reader(&mut self, response: u8) -> Result<(), String> {
        let tag = self.victim.tag;
        let may_end = self.case.ends_victim() && response != DOES_NOT_EXIST;
        if !may_end {
            let (status, sense) = self.scene.ending(OWNER, tag, AT_LAST)?;
            if status != GOOD {
                return Err(format!("the victim ends with {status:#04x} {sense:x?}"));
            }
        }
        self.scene.rest(SECOND);
        let caller = &self.scene.callers[OWNER];
        let data: usize = caller.received.iter().filter(|pdu| pdu.opcode() == 0x25 && pdu.tag() == tag).map(|pdu| pdu.data.len()).sum();
        let ended = caller.end_of(tag);
        if ended.is_some_and(|(_, pdu)| pdu.status() == Some(GOOD)) && data != usize::from(READS) * BLOCK {
            return Err(format!("the victim is GOOD with {data} bytes"));
        }
        if may_end && self.case.issuer == OWNER {
            return self.judge_silence(self.victim);
        }
        Ok(())
    }

    /// No word of a command comes after the answer of the function that ended it.
    fn judge_silence(&self, asked: Asked) -> Result<(), String> {
        let caller = &self.scene.callers[asked.who];
        let fence = caller.function_answer(self.function).map_or(0, |(place, _)| place);
        match caller.received.iter().skip(fence).find(|pdu| pdu.tag() == asked.tag && matches!(pdu.opcode(), 0x21 | 0x25 | 0x31)) {
            Some(pdu) => Err(format!("a PDU {:#04x} of {asked:x?} comes after the answer of the function", pdu.opcode())),
            None => Ok(()),
        }
    }

    /// A command that the function ended: its initiator hears nothing of it, or TASK ABORTED where another one did it and TAS says so.
    fn judge_ended(&mut self, asked: Asked) -> Result<(), String> {
        let by_other = asked.who != self.case.issuer;
        if by_other && self.case.tas {
            // The initiator owes what an R2T asked for, and no status comes before that.
            self.scene.callers[asked.who].give_data(asked.tag, &[asked.value; BLOCK]);
            let (status, sense) = self.scene.ending(asked.who, asked.tag, AT_LAST)?;
            return if status == TASK_ABORTED {
                Ok(())
            } else {
                Err(format!("{asked:x?} ends with {status:#04x} {sense:x?}, not with TASK ABORTED"))
            };
        }
        self.scene.rest(AT_LAST);
        match self.scene.end(asked.who, asked.tag) {
            Some(end) => Err(format!("{asked:x?} was ended and is answered with {:x?}", end.status())),
            None if by_other => Ok(()),
            None => self.judge_silence(asked),
        }
    }

    /// A command that the function leaves alone goes its way, when those before it have.
    fn judge_survivor(&mut self, asked: Asked, expected: (u8, Option<(u8, u16)>)) -> Result<(), String> {
        let waits = |scene: &Scene| scene.end(asked.who, asked.tag).is_none() && scene.callers[asked.who].has_r2t(asked.tag);
        if self.scene.end(asked.who, asked.tag).is_none() {
            if self.blocker.is_some() && asked.tag != self.bystander.tag {
                self.finish_those_before()?;
            }
            self.scene.until(AT_LAST, |scene| waits(scene) || scene.end(asked.who, asked.tag).is_some());
            self.scene.callers[asked.who].give_data(asked.tag, &[asked.value; BLOCK]);
        }
        let ended = self.scene.ending(asked.who, asked.tag, AT_LAST)?;
        if ended == expected { Ok(()) } else { Err(format!("{asked:x?} survives and ends with {ended:x?}, not with {expected:x?}")) }
    }

    /// The bystander and the ORDERED command: the victim waits for both.
    fn finish_those_before(&mut self) -> Result<(), String> {
        for asked in [Some(self.bystander), self.blocker].into_iter().flatten() {
            if self.case.ends(asked.who, false) || self.scene.end(asked.who, asked.tag).is_some() {
                continue;
            }
            self.await_r2t(asked)?;
            self.scene.callers[asked.who].give_data(asked.tag, &[asked.value; BLOCK]);
            self.scene.ending(asked.who, asked.tag, SECOND)?;
        }
        Ok(())
    }

    /// What hangs by a rule goes by ABORT TASK.
    fn abort_hung(&mut self) -> Result<(), String> {
        let tag = self.scene.callers[OWNER].function(Function::AbortTask as u8, Some((self.victim.tag, self.number)), true);
        self.scene.until(SECOND, |scene| scene.callers[OWNER].function_answer(tag).is_some());
        let answer = self.scene.callers[OWNER].function_answer(tag).map(|(_, answer)| answer.header[2]);
        if answer == Some(COMPLETE) { Ok(()) } else { Err(format!("ABORT TASK of the command that hangs: {answer:?}")) }
    }

    /// Bystander, blocker and rival.
    fn judge_others(&mut self) -> Result<(), String> {
        if self.case.function == Function::ColdReset {
            return Ok(());
        }
        for asked in [Some(self.bystander), self.rival, self.blocker].into_iter().flatten() {
            if self.case.ends(asked.who, false) {
                self.judge_ended(asked)?;
            } else {
                self.judge_survivor(asked, (GOOD, None))?;
            }
        }
        Ok(())
    }

    /// Once the store has let go of everything the block takes a write, and keeps it.
    fn judge_block(&mut self) -> Result<(), String> {
        self.scene.rest(AT_LAST);
        self.scene.machine.cell.lock().faults_mut().remove(fault::RuleId(0));
        if !self.written {
            let written = self.scene.write(OTHER, VICTIM, AFTERWARDS)?;
            if written != (GOOD, None) {
                return Err(format!("a write afterwards ends with {written:x?}"));
            }
            self.scene.rest(AT_LAST);
        }
        match self.scene.content(VICTIM)? {
            AFTERWARDS => Ok(()),
            other => Err(format!("the block holds {other:#04x} long after it was written with {AFTERWARDS:#04x}")),
        }
    }
}
