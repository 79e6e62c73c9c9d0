//! An initiator of the simulator: it asks, remembers what it asked, and judges what it gets.

use std::collections::{BTreeMap, BTreeSet};

use iscsi::initiator::{Command, Completion, Connection, Event, Losses, Settings};
use scsi::{Lun, TaskAttribute};

use crate::history::ZERO;
use crate::random::Random;
use crate::shared::{BLOCK, CAW_BLOCKS, Hazards, REGULAR_BLOCKS, Shared};

/// The unit that is driven.
const LUN: u64 = 1;
/// Commands of one client under way at once.
const DEPTH: u64 = 12;
/// After so long a command that another initiator's reset may have ended counts as ended, in nanoseconds.
const FORGIVEN_AFTER: u64 = 60_000_000_000;
/// After so long without an answer a client that recovers asks for what may be lost, in nanoseconds.
const NUDGE_AFTER: u64 = 2_000_000_000;
/// ABORT TASK, LOGICAL UNIT RESET (RFC 7143 11.5.1).
const ABORT_TASK: u8 = 1;
const LOGICAL_UNIT_RESET: u8 = 5;
/// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.
pub const RESET: u16 = 0x2900;
/// MODE PARAMETERS CHANGED.
pub const MODE_CHANGED: u16 = 0x2a01;

/// What a command was for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Intent {
    Read {
        start: u64,
        count: u64,
    },
    /// `plain`: a WRITE(n), which the run's fault rule names; not UNMAP, WRITE SAME or WRITE AND VERIFY.
    Write {
        start: u64,
        count: u64,
        number: u64,
        stable: bool,
        plain: bool,
    },
    Verify,
    Synchronize,
    CompareAndWrite {
        block: u64,
        old: u64,
        value: u64,
    },
    ModeSelect {
        value: u8,
        number: usize,
    },
    Bypass,
    Other,
}

#[derive(Clone, Debug)]
struct Asked {
    intent: Intent,
    at: u64,
}

/// What is known of one unit attention.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    /// Deliveries that have a reason.
    allowed: u32,
    /// From when a command that is sent must meet it.
    due: Option<u64>,
    /// When it was delivered last.
    delivered: Option<u64>,
}

/// What the client wants of the room after it was called.
#[derive(Default, Debug)]
pub struct Wishes {
    /// Bytes to send.
    pub output: Vec<Vec<u8>>,
    /// Call again (connect) after this many nanoseconds.
    pub reconnect: Option<u64>,
    /// Break the connection now.
    pub reset: bool,
}

/// One initiator.
pub struct Client {
    /// Number.
    pub id: usize,
    settings: Settings,
    connection: Option<Connection>,
    random: Random,
    budget: u64,
    asked: BTreeMap<u32, Asked>,
    functions: BTreeMap<u32, (u8, u32, BTreeSet<u32>, u64)>,
    expected: BTreeMap<u16, Expected>,
    hazards: Hazards,
    failed_login: u32,
    called_at: u64,
    logged_in_at: u64,
    /// When an answer came last, or it was asked what may be lost.
    heard_at: u64,
    finished: bool,
    call_again: Option<u64>,
}

fn key_of(sense: &[u8]) -> (u8, u16) {
    match sense.first().map(|code| code & 0x7f) {
        Some(0x70 | 0x71) if sense.len() >= 14 => (sense[2] & 0xf, u16::from_be_bytes([sense[12], sense[13]])),
        Some(0x72 | 0x73) if sense.len() >= 4 => (sense[1] & 0xf, u16::from_be_bytes([sense[2], sense[3]])),
        _ => (0, 0),
    }
}

fn block_of(value: u64) -> Vec<u8> {
    value.to_be_bytes().repeat(BLOCK / 8)
}

impl Client {
    /// Client `id` with `budget` commands.
    pub fn new(id: usize, seed: u64, target: &str, budget: u64, hazards: Hazards) -> Client {
        let mut random = Random::new(seed, 100 + id as u64);
        let mut settings = Settings::new(&format!("iqn.2026-11.sim:initiator{id}"), Some(target));
        settings.isid = [0x80, 0, 0, 0, 0, id as u8];
        settings.header_digest = random.chance(30);
        settings.data_digest = random.chance(30);
        settings.initial_r2t = random.chance(50);
        settings.immediate_data = random.chance(60);
        settings.max_recv_data_segment_length = *random.pick(&[512, 4096, 8192, 65536]);
        settings.first_burst_length = *random.pick(&[512, 1024, 4096, 65536]);
        settings.max_burst_length = settings.first_burst_length.max(*random.pick(&[1024, 8192, 65536]));
        settings.max_outstanding_r2t = *random.pick(&[1, 2, 8]);
        settings.cmd_sn = *random.pick(&[1, 0xffff_fff0, 0x7fff_fff8]);
        // A stream of its own: what else a run does stays what it was.
        let mut losses = Random::new(seed, 500 + id as u64);
        if losses.chance(25) {
            settings.error_recovery_level = 1;
            settings.data_digest |= losses.chance(50);
            let share = |random: &mut Random| *random.pick(&[0, 5, 20, 80]);
            settings.losses = Some(Losses { seed: losses.below(u64::MAX), received: share(&mut losses), sent: share(&mut losses) });
        }
        Client {
            id,
            settings,
            connection: None,
            random,
            budget,
            asked: BTreeMap::new(),
            functions: BTreeMap::new(),
            expected: BTreeMap::new(),
            hazards,
            failed_login: 0,
            called_at: 0,
            logged_in_at: 0,
            heard_at: 0,
            finished: false,
            call_again: None,
        }
    }

    /// Its connection stands.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// It is down and nobody has called yet.
    pub fn wants_connection(&self, now: u64) -> bool {
        !self.finished && self.connection.is_none() && self.call_again.is_some_and(|at| at <= now)
    }

    /// It is being connected.
    pub fn calling(&mut self) {
        self.call_again = None;
    }

    /// It has asked everything and got all answers.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The connection stands.
    pub fn connected(&mut self, now: u64, wishes: &mut Wishes) {
        self.called_at = now;
        self.connection = Some(Connection::new(self.settings.clone()));
        self.collect(wishes);
    }

    /// The connection is gone: what was under way may or may not have happened.
    pub fn closed(&mut self, now: u64, shared: &mut Shared, wishes: &mut Wishes) {
        let was_login = self.connection.as_ref().is_some_and(|connection| !connection.is_logged_in());
        shared.left(self.id, now);
        self.connection = None;
        self.asked.clear();
        self.functions.clear();
        self.expected.clear();
        self.failed_login = if was_login { self.failed_login + 1 } else { 0 };
        if self.failed_login > 50 {
            shared.violation(format!("client {}: 50 logins in a row failed", self.id));
        }
        if !self.finished {
            let after = self.random.between(1_000_000, 200_000_000);
            self.call_again = Some(now + after);
            wishes.reconnect = Some(after);
        }
    }

    /// Bytes arrived.
    pub fn bytes(&mut self, bytes: &[u8], now: u64, shared: &mut Shared, wishes: &mut Wishes) {
        if let Some(connection) = &mut self.connection {
            connection.handle_bytes(bytes);
        }
        while let Some(event) = self.connection.as_mut().and_then(Connection::poll_event) {
            self.event(event, now, shared, wishes);
        }
        self.ask_more(now, shared, wishes);
        self.collect(wishes);
    }

    /// A timer: forgive what another initiator's reset ended, ask more.
    pub fn wake(&mut self, now: u64, shared: &mut Shared, wishes: &mut Wishes) {
        let ended = |asked: &Asked| now > asked.at + FORGIVEN_AFTER && shared.reset_since(asked.at, self.id);
        let forgiven: Vec<u32> = self.asked.iter().filter(|(_, asked)| ended(asked)).map(|(&tag, _)| tag).collect();
        for tag in forgiven {
            self.gone(tag, now, shared);
        }
        let waits = !self.asked.is_empty() || !self.functions.is_empty();
        if self.loses() && waits && now > self.heard_at + NUDGE_AFTER {
            self.heard_at = now;
            if let Some(connection) = &mut self.connection {
                connection.nudge();
            }
        }
        self.ask_more(now, shared, wishes);
        self.collect(wishes);
    }

    /// Another initiator asks for something of which this one will hear.
    pub fn announce(&mut self, asc: u16) {
        if self.is_logged_in() {
            self.expected.entry(asc).or_default().allowed += 1;
        }
    }

    /// It was done between `asked` and `answered`: unless this one has heard of it already, the next command must meet it.
    pub fn confirm(&mut self, asc: u16, asked: u64, answered: u64) {
        if !self.is_logged_in() || asked < self.logged_in_at {
            return;
        }
        if asc == RESET {
            // A reset takes the place of what was pending.
            self.expected.values_mut().for_each(|expected| expected.due = None);
        }
        let expected = self.expected.entry(asc).or_default();
        if expected.allowed > 0 && expected.delivered.is_none_or(|at| at < asked) {
            expected.due = expected.due.or(Some(answered));
        }
    }

    /// PDUs of this client are lost on purpose.
    fn loses(&self) -> bool {
        self.settings.losses.is_some()
    }

    fn is_logged_in(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_logged_in)
    }

    /// What is still unanswered, for a report.
    pub fn unanswered(&self) -> Option<String> {
        let (tag, asked) = self.asked.iter().next()?;
        Some(format!("client {}: command {tag:#x} ({:?}) of {} ns was never answered", self.id, asked.intent, asked.at))
    }

    fn collect(&mut self, wishes: &mut Wishes) {
        while let Some(bytes) = self.connection.as_mut().and_then(Connection::poll_output) {
            wishes.output.push(bytes);
        }
    }

    fn event(&mut self, event: Event, now: u64, shared: &mut Shared, wishes: &mut Wishes) {
        self.heard_at = now;
        match event {
            Event::LoggedIn { .. } => {
                self.failed_login = 0;
                self.logged_in_at = now;
                self.expected.clear();
                let (resets, modes) = shared.under_way(self.id, self.called_at);
                self.expected.insert(RESET, Expected { allowed: 1 + resets, due: Some(now), delivered: None });
                self.expected.insert(MODE_CHANGED, Expected { allowed: modes, due: None, delivered: None });
            }
            Event::LoginFailed { status, .. } => shared.violation(format!("client {}: login failed with {status:#06x}", self.id)),
            Event::Done(completion) => self.done(completion, now, shared),
            Event::FunctionDone { tag, response } => self.function_done(tag, response, now, shared),
            Event::LoggedOut { response } => {
                if response != 0 {
                    shared.violation(format!("client {}: logout response {response}", self.id));
                }
                self.finished = true;
            }
            Event::Violation(what) => shared.violation(format!("client {}: {what}", self.id)),
            Event::Reject { reason, header } => {
                shared.violation(format!("client {}: a PDU was rejected with reason {reason}: {:02x?}", self.id, &header[..header.len().min(48)]));
            }
            Event::Pong { .. } | Event::Text { .. } | Event::Async { .. } => {}
        }
        if self.finished {
            wishes.reconnect = None;
        }
    }

    /// A command ended without an answer for a stated reason.
    fn gone(&mut self, tag: u32, now: u64, shared: &mut Shared) {
        if let Some(connection) = &mut self.connection {
            connection.forget([tag]);
        }
        let Some(asked) = self.asked.remove(&tag) else { return };
        match asked.intent {
            Intent::Write { start, count, number, .. } => shared.history.aborted(start..start + count, number, now),
            Intent::CompareAndWrite { block, value, .. } => {
                shared.history.aborted(block..block + 1, value, now);
                shared.unsure.insert(block);
            }
            _ => {}
        }
    }

    fn function_done(&mut self, tag: u32, response: u8, now: u64, shared: &mut Shared) {
        let Some((function, referenced, before, asked_at)) = self.functions.remove(&tag) else {
            return shared.violation(format!("client {}: a task management response nobody asked for", self.id));
        };
        match (function, response) {
            (ABORT_TASK, 0) => self.gone(referenced, now, shared),
            (ABORT_TASK, 1)
                if before.contains(&referenced) && self.asked.get(&referenced).is_some_and(|asked| !shared.reset_since(asked.at, self.id)) =>
            {
                shared.violation(format!("client {}: ABORT TASK says that task {referenced:#x} does not exist, but it has not ended", self.id));
            }
            (ABORT_TASK, 1) => {}
            (LOGICAL_UNIT_RESET, 0) => {
                for tag in before {
                    self.gone(tag, now, shared);
                }
                shared.mode_value = None;
                shared.reset_answered(self.id, asked_at, now);
                self.confirm(RESET, asked_at, now);
            }
            (LOGICAL_UNIT_RESET, 255) => shared.reset_answered(self.id, asked_at, now),
            (_, 255) => {}
            _ => shared.violation(format!("client {}: function {function} answered with {response}", self.id)),
        }
    }

    fn done(&mut self, completion: Completion, now: u64, shared: &mut Shared) {
        let Some(asked) = self.asked.remove(&completion.tag) else {
            return shared.violation(format!("client {}: an answer to command {:#x}, which was not asked or has ended", self.id, completion.tag));
        };
        if completion.response != 0 {
            return shared.violation(format!("client {}: iSCSI response {:#x}", self.id, completion.response));
        }
        let sense = key_of(&completion.sense);
        if let Intent::ModeSelect { value, number } = asked.intent {
            let alone = shared.mode_answered(number, now);
            if completion.status == 0 {
                let before = shared.mode_value;
                shared.mode_value = alone.then_some(value);
                if alone && before.is_some_and(|before| before != value) {
                    shared.mode_changed.push((self.id, asked.at, now));
                }
            }
        }
        if completion.status == 2 && sense.0 == 6 {
            self.attention(sense.1, now, shared);
            return self.refused(&asked, shared);
        }
        // The answer that met it may wait for data that were lost, while commands behind it run.
        if asked.intent != Intent::Bypass && !self.loses() {
            self.missed_attention(&asked, now, shared);
        }
        match completion.status {
            0 | 4 => self.good(&asked, &completion, now, shared),
            2 => self.check(&asked, sense, now, shared),
            0x40 => {
                shared.history_aborted(&asked_range(&asked), now);
                if let Intent::CompareAndWrite { block, .. } = asked.intent {
                    shared.unsure.insert(block);
                }
            }
            0x28 | 0x08 => self.refused(&asked, shared),
            other => shared.violation(format!("client {}: status {other:#04x} to {:?}", self.id, asked.intent)),
        }
    }

    fn attention(&mut self, asc: u16, now: u64, shared: &mut Shared) {
        let expected = self.expected.entry(asc).or_default();
        if expected.allowed == 0 {
            return shared.violation(format!("client {}: unit attention {asc:04x} without a reason", self.id));
        }
        *expected = Expected { allowed: expected.allowed - 1, due: None, delivered: Some(now) };
        if asc == RESET {
            // A reset takes the place of what was pending.
            self.expected.values_mut().for_each(|expected| expected.due = None);
        }
    }

    fn missed_attention(&mut self, asked: &Asked, now: u64, shared: &mut Shared) {
        if let Some((asc, _)) = self.expected.iter().find(|(_, expected)| expected.due.is_some_and(|due| due < asked.at)) {
            shared.violation(format!("client {}: {:?} at {now} ran although unit attention {asc:04x} was pending", self.id, asked.intent));
        }
    }

    fn refused(&mut self, asked: &Asked, shared: &mut Shared) {
        if let Some((range, value)) = asked_range(asked).0 {
            shared.history.refused(range, value);
        }
    }

    fn good(&mut self, asked: &Asked, completion: &Completion, now: u64, shared: &mut Shared) {
        if let Some(range) = named_by_rule(asked)
            && shared.must_fail(&range, asked.at, now)
        {
            shared.violation(format!("client {}: {:?} was GOOD although a fault rule covers it", self.id, asked.intent));
        }
        match &asked.intent {
            Intent::Read { start, count } => self.check_read(*start, *count, &completion.data_in, asked.at, now, shared),
            Intent::Write { start, count, number, stable, .. } => shared.history.done(*start..start + count, *number, now, *stable),
            Intent::Synchronize => shared.history.flushed(asked.at, now),
            Intent::CompareAndWrite { block, old, value } => {
                shared.history.done(*block..block + 1, *value, now, false);
                if !shared.exchanged.insert((*block, *old)) {
                    shared.violation(format!("client {}: two COMPARE AND WRITE of block {block} both replaced {old:#x}", self.id));
                }
            }
            Intent::ModeSelect { .. } => {}
            Intent::Verify | Intent::Bypass | Intent::Other => {}
        }
    }

    fn check(&mut self, asked: &Asked, sense: (u8, u16), now: u64, shared: &mut Shared) {
        match sense {
            (0x3, 0x0c02) => {
                if !named_by_rule(asked).is_some_and(|range| shared.may_fail(&range, asked.at, now)) {
                    shared.violation(format!("client {}: {:?} failed with 3/0c02 although no fault rule covers it", self.id, asked.intent));
                }
                self.refused(asked, shared);
            }
            (0xe, 0x1d00) => match asked.intent {
                Intent::CompareAndWrite { .. } => self.refused(asked, shared),
                _ => shared.violation(format!("client {}: MISCOMPARE to {:?}", self.id, asked.intent)),
            },
            (0x3, _) if shared.disk_errors => {
                if let Intent::CompareAndWrite { block, .. } = asked.intent {
                    shared.unsure.insert(block);
                }
            }
            (0x2, 0x0400 | 0x0401) => self.refused(asked, shared),
            (key, asc) => shared.violation(format!("client {}: sense {key:x}/{asc:04x} to {:?}", self.id, asked.intent)),
        }
    }

    fn check_read(&mut self, start: u64, count: u64, data: &[u8], asked_at: u64, now: u64, shared: &mut Shared) {
        if data.len() != count as usize * BLOCK {
            return shared.violation(format!("client {}: {} bytes of {count} blocks", self.id, data.len()));
        }
        for (index, block) in data.chunks_exact(BLOCK).enumerate() {
            let number = start + index as u64;
            let first: [u8; 8] = std::array::from_fn(|byte| block[byte]);
            let value = u64::from_be_bytes(first);
            if block.chunks_exact(8).any(|word| word != first) {
                return shared.violation(format!("client {}: block {number} is torn", self.id));
            }
            if let Err(what) = shared.history.read(number, value, asked_at, now) {
                return shared.violation(format!("client {}: {what}", self.id));
            }
            if number >= REGULAR_BLOCKS {
                shared.seen.insert(number, value);
            }
        }
    }

    fn ask_more(&mut self, now: u64, shared: &mut Shared, wishes: &mut Wishes) {
        let Some(connection) = &self.connection else { return };
        if !connection.is_logged_in() || self.finished {
            return;
        }
        while self.budget > 0 && (self.asked.len() as u64) < DEPTH && self.functions.is_empty() {
            self.budget -= 1;
            if self.hazards.resets && self.random.chance(1) {
                wishes.reset = true;
                return;
            }
            self.ask(now, shared);
        }
        if self.budget == 0
            && self.asked.is_empty()
            && self.functions.is_empty()
            && let Some(connection) = &mut self.connection
        {
            self.budget = u64::MAX;
            self.finished = true;
            connection.logout();
        }
    }

    fn ask(&mut self, now: u64, shared: &mut Shared) {
        match self.random.below(100) {
            0..30 => self.ask_read(now),
            30..66 => self.ask_write(now, shared),
            66..74 => self.ask_compare_and_write(now, shared),
            74..80 => self.submit(Command::new(LUN, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Intent::Synchronize, now),
            80..84 => self.submit(Command::new(LUN, &[0x2f, 0, 0, 0, 0, 0, 0, 0, 8, 0]), Intent::Verify, now),
            84..88 => self.submit(Command::new(LUN, &[0; 6]), Intent::Other, now),
            88..92 => self.submit(Command::new(LUN, &[0x12, 0, 0, 0, 96, 0]).reading(96), Intent::Bypass, now),
            92..94 if self.hazards.modes => self.ask_mode_select(now, shared),
            94..97 if self.hazards.functions => self.ask_abort(),
            97 if self.hazards.functions => self.ask_reset(now, shared),
            // Among lost commands an old number may be one that is still missing.
            98 if !self.loses() => self.repeat_old(),
            _ => self.ask_read(now),
        }
    }

    fn submit(&mut self, mut command: Command, intent: Intent, now: u64) {
        if self.random.chance(8) {
            command.attribute = TaskAttribute::HeadOfQueue;
        }
        self.submit_as(command, intent, now);
    }

    fn submit_as(&mut self, command: Command, intent: Intent, now: u64) {
        if let Some(connection) = &mut self.connection {
            let tag = connection.submit(command);
            self.asked.insert(tag, Asked { intent, at: now });
        }
    }

    fn regular(&mut self) -> (u64, u64) {
        let start = self.random.below(REGULAR_BLOCKS);
        let most = (REGULAR_BLOCKS - start).min(*self.random.pick(&[1, 4, 16, 40]));
        (start, self.random.between(1, most))
    }

    fn ask_read(&mut self, now: u64) {
        let (start, count) = if self.random.chance(20) { (REGULAR_BLOCKS, CAW_BLOCKS) } else { self.regular() };
        let len = (count as usize * BLOCK) as u32;
        self.submit(Command::new(LUN, &cdb10(0x28, 0, start, count)).reading(len), Intent::Read { start, count }, now);
    }

    fn ask_write(&mut self, now: u64, shared: &mut Shared) {
        let (start, count) = self.regular();
        let kind = self.random.below(20);
        let number = shared.next_value();
        let value = if kind < 2 { ZERO } else { number };
        let fua = self.random.chance(30);
        let stable = fua && kind >= 4;
        let ordered = self.random.chance(20);
        let mut command = match kind {
            0 => unmap(start, count),
            1 => Command::new(LUN, &cdb16(0x93, 1, start, count)),
            2 | 3 => Command::new(LUN, &cdb10(0x41, 0, start, count)).writing(block_of(value)),
            4 => Command::new(LUN, &cdb10(0x2e, 0, start, count)).writing(block_of(value).repeat(count as usize)),
            5..8 => Command::new(LUN, &cdb16(0x8a, if fua { 8 } else { 0 }, start, count)).writing(block_of(value).repeat(count as usize)),
            _ => Command::new(LUN, &cdb10(0x2a, if fua { 8 } else { 0 }, start, count)).writing(block_of(value).repeat(count as usize)),
        };
        let mut after = BTreeSet::new();
        if ordered {
            command.attribute = TaskAttribute::Ordered;
            after.extend(self.asked.values().filter_map(|asked| asked_range(asked).0).map(|(_, number)| number));
        }
        let stable = stable && kind != 4;
        shared.history.begin(start..start + count, number, value, now, &after);
        self.submit_as(command, Intent::Write { start, count, number, stable, plain: kind > 4 }, now);
    }

    fn ask_compare_and_write(&mut self, now: u64, shared: &mut Shared) {
        let block = REGULAR_BLOCKS + self.random.below(CAW_BLOCKS);
        let old = shared.seen.get(&block).copied().unwrap_or(ZERO);
        let value = shared.next_value();
        let data = [block_of(old), block_of(value)].concat();
        shared.history.begin(block..block + 1, value, value, now, &BTreeSet::new());
        let mut cdb = cdb16(0x89, 0, block, 0);
        cdb[13] = 1;
        self.submit_as(Command::new(LUN, &cdb).writing(data), Intent::CompareAndWrite { block, old, value }, now);
    }

    /// Control mode page, D_SENSE: a change that other nexuses hear of.
    fn ask_mode_select(&mut self, now: u64, shared: &mut Shared) {
        let value = if shared.mode_value == Some(2) { 6 } else { 2 };
        let number = shared.mode_asked(self.id, now);
        let list = vec![0, 0, 0, 0, 0x0a, 0x0a, value, 0x10, 0, 0, 0, 0, 0, 0, 0x02, 0];
        let command = Command::new(LUN, &[0x15, 0x10, 0, 0, 16, 0]).writing(list);
        self.submit(command, Intent::ModeSelect { value, number }, now);
    }

    /// A command whose CmdSN was used before: the target must not even answer.
    fn repeat_old(&mut self) {
        let back = self.random.between(1, 5) as u32;
        if let Some(connection) = &mut self.connection {
            connection.stale_command(lun(), back);
        }
    }

    fn ask_abort(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let tags: Vec<u32> = connection.tags().filter(|tag| self.asked.contains_key(tag)).collect();
        if tags.is_empty() {
            return;
        }
        let referenced = *self.random.pick(&tags);
        let before = tags.into_iter().collect();
        let tag = connection.task_management(ABORT_TASK, lun(), referenced);
        self.functions.insert(tag, (ABORT_TASK, referenced, before, 0));
    }

    fn ask_reset(&mut self, now: u64, shared: &mut Shared) {
        let Some(connection) = &mut self.connection else { return };
        let before: BTreeSet<u32> = connection.tags().filter(|tag| self.asked.contains_key(tag)).collect();
        let tag = connection.task_management(LOGICAL_UNIT_RESET, lun(), 0xffff_ffff);
        self.functions.insert(tag, (LOGICAL_UNIT_RESET, 0, before, now));
        self.expected.entry(RESET).or_default().allowed += 1;
        shared.reset_asked(self.id, now);
    }
}

fn lun() -> Lun {
    Lun::from_number(LUN).unwrap_or_default()
}

/// Blocks that a command writes and the number of the write, and when it was asked.
fn asked_range(asked: &Asked) -> (Option<(std::ops::Range<u64>, u64)>, u64) {
    let range = match asked.intent {
        Intent::Write { start, count, number, .. } => Some((start..start + count, number)),
        Intent::CompareAndWrite { block, value, .. } => Some((block..block + 1, value)),
        _ => None,
    };
    (range, asked.at)
}

/// Blocks of a command that the run's fault rule can name.
fn named_by_rule(asked: &Asked) -> Option<std::ops::Range<u64>> {
    match asked.intent {
        Intent::Write { start, count, plain: true, .. } => Some(start..start + count),
        _ => None,
    }
}

fn cdb10(opcode: u8, flags: u8, start: u64, count: u64) -> [u8; 10] {
    let (start, count) = ((start as u32).to_be_bytes(), (count as u16).to_be_bytes());
    [opcode, flags, start[0], start[1], start[2], start[3], 0, count[0], count[1], 0]
}

fn cdb16(opcode: u8, flags: u8, start: u64, count: u64) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&start.to_be_bytes());
    cdb[10..14].copy_from_slice(&(count as u32).to_be_bytes());
    cdb
}

fn unmap(start: u64, count: u64) -> Command {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(start.to_be_bytes());
    list.extend((count as u32).to_be_bytes());
    list.extend([0; 4]);
    Command::new(LUN, &[0x42, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0]).writing(list)
}
