//! The machine that keeps a server's picture of us true.
//!
//! It compares what is wanted with what the server has acknowledged, and asks for one thing at a time. Whatever goes wrong on a connection (silence, nonsense, an
//! answer to no question, a server that has forgotten us) ends it; after a delay that grows the machine begins anew with a registration that replaces the old one.

mod answer;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::framing::{self, Assembler, Fault};
use super::inbound::Notice;
use super::known::Known;
use super::message::{Attribute, Message};
use super::request::{self, PortalKey, Registration};
use super::{Function, Status, Tag};

const SECOND: u64 = 1_000_000_000;
/// Most bytes that wait for a server that does not read: our requests come one at a time, so these would be answers to a flood of inquiries.
const OUTPUT_LIMIT: usize = 1 << 20;
/// Longest Entity Identifier (RFC 4171, 6.2.1).
const ENTITY_LIMIT: usize = 255;

/// Spans of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// A connection must be there.
    pub connect: u64,
    /// A request must be answered.
    pub answer: u64,
    /// The farewell must be over.
    pub leave: u64,
    /// Delay before the second attempt to connect; it doubles...
    pub first_delay: u64,
    /// ... up to this. A target that a server refused is offered again after so long, too.
    pub longest_delay: u64,
    /// A sign of life, when the server names no shorter period.
    pub refresh: u64,
    /// Least time between two questions for the initiators of a target: what a flood of notifications can cause.
    pub query_gap: u64,
    /// They are asked for again after so long without a notification.
    pub query_age: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            connect: 10 * SECOND,
            answer: 10 * SECOND,
            leave: 2 * SECOND,
            first_delay: SECOND,
            longest_delay: 60 * SECOND,
            refresh: 30 * SECOND,
            query_gap: SECOND,
            query_age: 300 * SECOND,
        }
    }
}

/// What the shell is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Connect to the server; the outcome is told with [`Client::handle_connected`] or [`Client::handle_closed`].
    Connect,
    /// Close the connection, or give the attempt up.
    Close,
    /// The client is at rest.
    Ended,
}

/// What people may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The server knows everything.
    Registered {
        /// Entity Identifier.
        entity: String,
        /// How many targets.
        targets: usize,
    },
    /// The server has forgotten everything, as it was told.
    Deregistered,
    /// The server refused a request.
    Refused {
        /// Which.
        function: Function,
        /// Why.
        status: Status,
        /// The target or portal it was about.
        about: String,
    },
    /// The connection is lost.
    Lost {
        /// Why.
        reason: Reason,
        /// Nanoseconds until the next attempt.
        delay: u64,
    },
    /// The initiators that share a discovery domain with a target; told when they change.
    Admitted {
        /// Name of the target.
        target: String,
        /// Their names.
        initiators: Arc<BTreeSet<String>>,
    },
}

/// Why a connection was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Closed by the server, or never opened.
    Closed,
    /// Silence.
    Timeout,
    /// Bytes that are no message.
    Fault(Fault),
    /// An answer to no question, or to another one.
    Unexpected(Function),
    /// The server does not read.
    NotReading,
    /// The server does not know us any more.
    Forgotten(Status),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Closed => f.write_str("closed"),
            Reason::Timeout => f.write_str("no answer in time"),
            Reason::Fault(fault) => write!(f, "the server sent {fault}"),
            Reason::Unexpected(function) => write!(f, "the server sent {function}, which answers no question of ours"),
            Reason::NotReading => f.write_str("the server does not read our answers"),
            Reason::Forgotten(status) => write!(f, "the server does not know us any more: {status}"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Stopped,
    Waiting { until: u64 },
    Connecting { deadline: u64 },
    Up,
    Leaving { deadline: u64 },
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Flight {
    transaction: u16,
    function: Function,
    errand: Errand,
    deadline: u64,
}

/// What a request is for.
#[derive(Debug)]
enum Errand {
    /// `first`: the whole entity with its portals, in place of what there was.
    Register {
        first: Option<Known>,
        targets: BTreeMap<String, Option<String>>,
    },
    AddPortals(Vec<(PortalKey, Option<u16>)>),
    RemovePortals(Vec<PortalKey>),
    RemoveTargets(Vec<String>),
    RemoveEntity,
    Subscribe(String),
    Unsubscribe(String),
    Query(String),
    Refresh,
}

/// The client of one server.
#[derive(Debug)]
pub struct Client {
    timing: Timing,
    phase: Phase,
    wanted: Registration,
    known: Option<Known>,
    flight: Option<Flight>,
    transaction: u16,
    /// Delay of the next attempt.
    delay: u64,
    /// The server is to ask whether we live; false once it said that it cannot.
    inquiries: bool,
    /// Targets are registered one by one, to find the one that the server does not like.
    single: bool,
    /// Targets that the server refused, and when they are offered again.
    refused: BTreeMap<String, u64>,
    /// The server knows exactly the portals and targets that are wanted: they need not be compared again before something changes.
    settled: bool,
    refresh_at: u64,
    period: u64,
    assembler: Assembler,
    /// A message has begun and must be complete by then.
    incomplete: Option<u64>,
    output: VecDeque<Vec<u8>>,
    waiting: usize,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

// What the shell calls.
impl Client {
    /// At rest.
    pub fn new(timing: Timing) -> Client {
        Client {
            timing,
            phase: Phase::Stopped,
            wanted: Registration::default(),
            known: None,
            flight: None,
            transaction: 0,
            delay: timing.first_delay,
            inquiries: true,
            single: false,
            refused: BTreeMap::new(),
            settled: false,
            refresh_at: 0,
            period: timing.refresh,
            assembler: Assembler::new(framing::MESSAGE_LIMIT),
            incomplete: None,
            output: VecDeque::new(),
            waiting: 0,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Begins to look for the server.
    pub fn handle_start(&mut self, now: u64) {
        if self.phase == Phase::Stopped {
            self.delay = self.timing.first_delay;
            self.inquiries = true;
            self.connect(now);
        }
    }

    /// Says farewell; [`Action::Ended`] follows, at once or within [`Timing::leave`].
    pub fn handle_stop(&mut self, now: u64) {
        match self.phase {
            Phase::Leaving { .. } => {}
            Phase::Up => {
                self.phase = Phase::Leaving { deadline: now.saturating_add(self.timing.leave) };
                self.advance(now);
            }
            Phase::Stopped | Phase::Waiting { .. } | Phase::Connecting { .. } => self.end(),
        }
    }

    /// The connection is there. What is wanted depends on it: a wildcard portal stands for its local address.
    pub fn handle_connected(&mut self, wanted: Registration, now: u64) {
        if matches!(self.phase, Phase::Connecting { .. }) {
            self.phase = Phase::Up;
            self.wanted = wanted;
            self.advance(now);
        }
    }

    /// The connection, or the attempt, has failed or was closed by the server.
    pub fn handle_closed(&mut self, now: u64) {
        if !matches!(self.phase, Phase::Stopped | Phase::Waiting { .. }) {
            self.lose(Reason::Closed, now);
        }
    }

    /// Something else is wanted.
    pub fn handle_wanted(&mut self, wanted: Registration, now: u64) {
        if self.wanted != wanted {
            // What was answered before may be long out of date.
            if let Some(known) = self.known.as_mut().filter(|_| wanted.access_control && !self.wanted.access_control) {
                known.targets.values_mut().for_each(|node| node.due = true);
            }
            self.wanted = wanted;
            self.settled = false;
            self.advance(now);
        }
    }

    /// Bytes from the server.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: u64) {
        if !self.is_connected() {
            return;
        }
        self.assembler.push(bytes);
        while self.is_connected() {
            match self.assembler.next_message() {
                Ok(Some(message)) => {
                    self.incomplete = None;
                    self.take(&message, now);
                }
                Ok(None) => break,
                Err(fault) => return self.lose(Reason::Fault(fault), now),
            }
        }
        if self.is_connected() && self.assembler.is_inside() && self.incomplete.is_none() {
            self.incomplete = Some(now.saturating_add(self.timing.answer));
        }
        self.advance(now);
    }

    /// A notification came on another connection.
    pub fn handle_notice(&mut self, notice: &Notice, now: u64) {
        let Notice::Changed(name) = notice else { return };
        if let Some(node) = self.known.as_mut().and_then(|known| known.targets.get_mut(name)) {
            node.due = true;
            self.advance(now);
        }
    }

    /// Time passes.
    pub fn handle_timeout(&mut self, now: u64) {
        match self.phase {
            Phase::Waiting { until } if now >= until => self.connect(now),
            Phase::Connecting { deadline } if now >= deadline => self.lose(Reason::Timeout, now),
            Phase::Leaving { deadline } if now >= deadline => self.end(),
            _ => {}
        }
        let late = self.flight.as_ref().is_some_and(|flight| now >= flight.deadline) || self.incomplete.is_some_and(|deadline| now >= deadline);
        if self.is_connected() && late {
            self.lose(Reason::Timeout, now);
        }
        let refused = self.refused.len();
        self.refused.retain(|_, until| now < *until);
        self.settled &= self.refused.len() == refused;
        self.advance(now);
    }

    /// What the shell is to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Bytes to send to the server.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let bytes = self.output.pop_front()?;
        self.waiting -= bytes.len();
        Some(bytes)
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When `handle_timeout` wants to be called; `None`: never, unless something happens.
    pub fn poll_timeout(&self) -> Option<u64> {
        let phase = match self.phase {
            Phase::Stopped => return None,
            Phase::Waiting { until } => return Some(until),
            Phase::Connecting { deadline } | Phase::Leaving { deadline } => Some(deadline),
            Phase::Up => None,
        };
        let next = match (&self.flight, &self.known) {
            (Some(flight), _) => Some(flight.deadline),
            (None, Some(known)) => [Some(self.refresh_at), self.next_query(known).map(|(at, _)| at)].into_iter().flatten().min(),
            (None, None) => None,
        };
        let refused = self.refused.values().min().copied();
        [phase, next, refused, self.incomplete].into_iter().flatten().min()
    }

    /// The connection is there.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Leaving { .. })
    }

    /// At rest.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Answers about initiators are on their way: more of [`Event::Admitted`] may follow soon.
    pub fn is_querying(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| matches!(flight.errand, Errand::Query(_) | Errand::Subscribe(_)))
    }
}

// Connections come and go.
impl Client {
    fn connect(&mut self, now: u64) {
        self.phase = Phase::Connecting { deadline: now.saturating_add(self.timing.connect) };
        self.actions.push_back(Action::Connect);
    }

    fn lose(&mut self, reason: Reason, now: u64) {
        if matches!(self.phase, Phase::Leaving { .. }) {
            return self.end();
        }
        self.forget();
        self.actions.push_back(Action::Close);
        self.phase = Phase::Waiting { until: now.saturating_add(self.delay) };
        self.events.push_back(Event::Lost { reason, delay: self.delay });
        self.delay = self.delay.saturating_mul(2).min(self.timing.longest_delay);
    }

    fn end(&mut self) {
        if matches!(self.phase, Phase::Connecting { .. } | Phase::Up | Phase::Leaving { .. }) {
            self.actions.push_back(Action::Close);
        }
        self.forget();
        self.phase = Phase::Stopped;
        self.actions.push_back(Action::Ended);
    }

    /// Everything that belongs to a connection.
    fn forget(&mut self) {
        self.known = None;
        self.flight = None;
        self.single = false;
        self.refused.clear();
        self.settled = false;
        self.period = self.timing.refresh;
        self.assembler = Assembler::new(framing::MESSAGE_LIMIT);
        self.incomplete = None;
        self.output.clear();
        self.waiting = 0;
    }

    fn send(&mut self, message: &Message, now: u64) {
        let bytes = message.encode();
        self.waiting += bytes.len();
        self.output.push_back(bytes);
        if self.waiting > OUTPUT_LIMIT {
            self.lose(Reason::NotReading, now);
        }
    }
}

// What is asked next.
impl Client {
    /// Asks for the next thing, if there is one and nothing else is being asked.
    fn advance(&mut self, now: u64) {
        if !self.is_connected() || self.flight.is_some() {
            return;
        }
        if matches!(self.phase, Phase::Leaving { .. }) && self.known.is_none() {
            return self.end();
        }
        let Some((errand, attributes)) = self.next_errand(now) else { return };
        let function = match &errand {
            Errand::Register { .. } | Errand::AddPortals(_) => Function::DEVICE_ATTRIBUTE_REGISTRATION,
            Errand::RemovePortals(_) | Errand::RemoveTargets(_) | Errand::RemoveEntity => Function::DEVICE_DEREGISTRATION,
            Errand::Subscribe(_) => Function::SCN_REGISTRATION,
            Errand::Unsubscribe(_) => Function::SCN_DEREGISTRATION,
            Errand::Query(_) | Errand::Refresh => Function::DEVICE_ATTRIBUTE_QUERY,
        };
        self.transaction = self.transaction.wrapping_add(1);
        let replace = matches!(errand, Errand::Register { first: Some(_), .. });
        let message = Message { replace, ..Message::request(function, self.transaction, attributes) };
        self.flight = Some(Flight { transaction: self.transaction, function, errand, deadline: now.saturating_add(self.timing.answer) });
        self.refresh_at = now.saturating_add(self.period);
        self.send(&message, now);
    }

    fn next_errand(&mut self, now: u64) -> Option<(Errand, Vec<Attribute>)> {
        let leaving = matches!(self.phase, Phase::Leaving { .. }) || !self.wanted.is_complete();
        if !leaving && self.known.as_ref().is_some_and(|known| known.groups != self.wanted.groups) {
            // Every target has its portal groups: all is registered anew, in place of what there was.
            (self.known, self.settled) = (None, false);
        }
        match &self.known {
            Some(known) if leaving => {
                let source = known.source(&self.wanted)?;
                Some((Errand::RemoveEntity, request::without_entity(&source, &known.entity)))
            }
            None if leaving => None,
            None => self.register(),
            Some(_) => self.reconcile().or_else(|| self.query(now)).or_else(|| self.subscribe()).or_else(|| self.refresh(now)),
        }
    }

    /// What keeps the server's portals and targets from being those that are wanted.
    fn reconcile(&mut self) -> Option<(Errand, Vec<Attribute>)> {
        if self.settled {
            return None;
        }
        let errand = self.register().or_else(|| self.adjust());
        self.settled = errand.is_none();
        errand
    }

    /// Targets that the server does not know, as many as go into one request; with the portals when it knows nothing of us.
    fn register(&mut self) -> Option<(Errand, Vec<Attribute>)> {
        let missing = |(name, alias): &(&String, &Option<String>)| {
            let there = self.known.as_ref().and_then(|known| known.targets.get(*name)).is_some_and(|node| node.alias == **alias);
            !there && !self.refused.contains_key(*name)
        };
        let mut candidates = self.wanted.targets.iter().filter(missing).peekable();
        let Some((name, _)) = candidates.peek() else {
            self.single = false;
            return None;
        };
        let source = self.known.as_ref().and_then(|known| known.source(&self.wanted)).unwrap_or_else(|| (*name).clone());
        let entity = self.known.as_ref().map_or(&self.wanted.entity, |known| &known.entity);
        let mut attributes = request::registration(&source, entity);
        let portals = self.known.as_ref().map_or(&self.wanted.portals, |known| &known.portals);
        let groups = request::portal_groups(portals.keys(), self.known.as_ref().map_or(&self.wanted.groups, |known| &known.groups));
        let first = self.known.is_none().then(|| Known {
            entity: entity.clone(),
            portals: portals.clone(),
            groups: self.wanted.groups.clone(),
            targets: BTreeMap::new(),
        });
        if first.is_some() {
            portals.iter().for_each(|(&key, &notify)| request::push_portal(&mut attributes, key, notify, self.inquiries));
        }
        let mut targets = BTreeMap::new();
        for (name, alias) in candidates {
            request::push_target(&mut attributes, name, alias.as_deref(), &groups);
            targets.insert(name.clone(), alias.clone());
            if self.single || request::is_full(&attributes) {
                break;
            }
        }
        Some((Errand::Register { first, targets }, attributes))
    }

    /// Portals and targets that came or went.
    fn adjust(&self) -> Option<(Errand, Vec<Attribute>)> {
        let known = self.known.as_ref()?;
        let source = known.source(&self.wanted)?;
        let new = known.new_portals(&self.wanted);
        if !new.is_empty() {
            let mut attributes = request::registration(&source, &known.entity);
            new.iter().for_each(|&(key, notify)| request::push_portal(&mut attributes, key, notify, self.inquiries));
            return Some((Errand::AddPortals(new), attributes));
        }
        let old = known.old_portals(&self.wanted);
        if !old.is_empty() {
            let mut attributes = request::deregistration(&source);
            old.iter().for_each(|&key| request::push_portal_key(&mut attributes, key));
            return Some((Errand::RemovePortals(old), attributes));
        }
        let mut gone = Vec::new();
        let mut attributes = request::deregistration(&source);
        for name in known.targets.keys().filter(|name| !self.wanted.targets.contains_key(*name)) {
            if request::is_full(&attributes) {
                break;
            }
            attributes.push(Attribute::text(Tag::ISCSI_NAME, name));
            gone.push(name.clone());
        }
        (!gone.is_empty()).then_some((Errand::RemoveTargets(gone), attributes))
    }

    /// Notifications are wanted exactly with access control, and where somebody listens for them.
    fn subscribe(&self) -> Option<(Errand, Vec<Attribute>)> {
        let known = self.known.as_ref()?;
        let wanted = self.wanted.access_control && self.is_notified();
        let (name, _) = known.targets.iter().find(|(_, node)| node.subscribed != wanted && !(wanted && node.unsubscribable))?;
        Some(match wanted {
            true => (Errand::Subscribe(name.clone()), request::subscription(name)),
            false => (Errand::Unsubscribe(name.clone()), request::unsubscription(name)),
        })
    }

    /// Initiators of a target.
    fn query(&self, now: u64) -> Option<(Errand, Vec<Attribute>)> {
        let (_, name) = self.next_query(self.known.as_ref()?).filter(|&(at, _)| now >= at)?;
        Some((Errand::Query(name.clone()), request::initiators_of(name)))
    }

    /// A sign of life.
    fn refresh(&self, now: u64) -> Option<(Errand, Vec<Attribute>)> {
        let known = self.known.as_ref().filter(|_| now >= self.refresh_at)?;
        let source = known.source(&self.wanted)?;
        Some((Errand::Refresh, request::period_of(&source, &known.entity)))
    }

    /// The target whose initiators are to be asked for next, and when: one that would not miss a later change, so that its first initiator does not wait for
    /// all other targets.
    fn next_query<'a>(&self, known: &'a Known) -> Option<(u64, &'a String)> {
        if !self.wanted.access_control {
            return None;
        }
        let notified = self.is_notified();
        let age = if notified { self.timing.query_age } else { self.timing.refresh };
        let ready = known.targets.iter().filter(|(_, node)| !notified || node.subscribed || node.unsubscribable);
        ready.map(|(name, node)| (node.query_at(self.timing.query_gap, age), name)).min()
    }

    fn is_notified(&self) -> bool {
        self.wanted.portals.values().any(Option::is_some)
    }
}
