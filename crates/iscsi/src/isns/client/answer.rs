//! What the server answers, and what follows from it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;

use super::{Client, ENTITY_LIMIT, Errand, Event, Flight, Phase, Reason, SECOND};
use crate::isns::known::{self, Known, Node};
use crate::isns::message::{Attribute, Message};
use crate::isns::{Function, Status, Tag, framing, inbound};

impl Client {
    /// A whole message from the server.
    pub(super) fn take(&mut self, message: &Message, now: u64) {
        if let Some((answer, notice)) = inbound::answer(message) {
            self.send(&answer, now);
            return notice.iter().for_each(|notice| self.handle_notice(notice, now));
        }
        let expected = |flight: &mut Flight| flight.function.response() == message.function && flight.transaction == message.transaction;
        let Some(flight) = self.flight.take_if(expected) else {
            return self.lose(Reason::Unexpected(message.function), now);
        };
        let status = message.status.unwrap_or(Status::SUCCESS);
        let forgotten = match flight.errand {
            Errand::Register { first: Some(_), .. } | Errand::RemoveEntity => false,
            Errand::Refresh => matches!(status, Status::SOURCE_UNKNOWN | Status::NO_SUCH_ENTRY),
            _ => status == Status::SOURCE_UNKNOWN,
        };
        if forgotten && matches!(self.phase, Phase::Up) {
            return self.lose(Reason::Forgotten(status), now);
        }
        if framing::is_success(message) {
            self.accepted(flight, message, now);
        } else {
            self.refused(flight, message, now);
        }
        self.advance(now);
    }

    fn accepted(&mut self, flight: Flight, message: &Message, now: u64) {
        match flight.errand {
            Errand::Register { first, targets } => self.registered(first, targets, message, now),
            Errand::RemoveEntity => {
                self.known = None;
                self.events.push_back(Event::Deregistered);
            }
            Errand::Subscribe(name) => self.node(&name, |node| node.subscribed = true),
            Errand::Query(name) => self.answered(&name, message, now),
            Errand::Refresh => self.take_period(message, now),
            Errand::AddPortals(_) | Errand::RemovePortals(_) | Errand::RemoveTargets(_) | Errand::Unsubscribe(_) => self.settle(flight.errand),
        }
    }

    /// What is so from now on, whatever the server said: asking again would bring the same answer.
    fn settle(&mut self, errand: Errand) {
        let Some(known) = &mut self.known else { return };
        match errand {
            Errand::AddPortals(portals) => known.portals.extend(portals),
            Errand::RemovePortals(portals) => known.portals.retain(|key, _| !portals.contains(key)),
            Errand::RemoveTargets(names) => known.targets.retain(|name, _| !names.contains(name)),
            Errand::Unsubscribe(name) => self.node(&name, |node| node.subscribed = false),
            _ => {}
        }
        if self.known.as_ref().is_some_and(|known| known.targets.is_empty()) {
            self.known = None;
        }
    }

    fn registered(&mut self, first: Option<Known>, targets: BTreeMap<String, Option<String>>, message: &Message, now: u64) {
        if let Some(first) = first {
            let given = message.text(Tag::ENTITY_IDENTIFIER).filter(|text| (1..=ENTITY_LIMIT).contains(&text.len()));
            let entity = given.unwrap_or_else(|| first.entity.clone());
            self.known = Some(Known { entity, ..first });
            self.delay = self.timing.first_delay;
        }
        let Some(known) = &mut self.known else { return };
        for (name, alias) in targets {
            let node = known.targets.entry(name).or_insert_with(|| Node::new(None));
            node.alias = alias;
        }
        let complete = self.wanted.targets.keys().all(|name| known.targets.contains_key(name) || self.refused.contains_key(name));
        if complete {
            self.events.push_back(Event::Registered { entity: known.entity.clone(), targets: known.targets.len() });
        }
        self.take_period(message, now);
    }

    /// A server that names a period hears from us three times in it.
    fn take_period(&mut self, message: &Message, now: u64) {
        if let Some(seconds) = message.find(Tag::REGISTRATION_PERIOD).and_then(Attribute::as_number).filter(|&seconds| seconds > 0) {
            self.period = (u64::from(seconds) * SECOND / 3).clamp(self.timing.refresh.min(SECOND), self.timing.refresh);
        }
        self.refresh_at = now.saturating_add(self.period);
    }

    fn answered(&mut self, name: &str, message: &Message, now: u64) {
        let limit = known::INITIATORS.saturating_sub(self.known.as_ref().map_or(0, |known| known.kept(name))).min(known::INITIATORS_PER_TARGET);
        match known::initiators(message, limit) {
            Some(initiators) => self.admit(name, initiators, now),
            // An answer in no known form says nothing about initiators.
            None => self.node(name, |node| (node.due, node.asked) = (false, Some(now))),
        }
    }

    fn admit(&mut self, name: &str, initiators: BTreeSet<String>, now: u64) {
        let Some(node) = self.known.as_mut().and_then(|known| known.targets.get_mut(name)) else { return };
        node.due = false;
        node.asked = Some(now);
        if node.initiators.as_deref() == Some(&initiators) {
            return;
        }
        let initiators = Arc::new(initiators);
        node.initiators = Some(initiators.clone());
        self.events.push_back(Event::Admitted { target: name.into(), initiators });
    }

    fn refused(&mut self, flight: Flight, message: &Message, now: u64) {
        let status = message.status.unwrap_or(Status::SUCCESS);
        let about = match flight.errand {
            Errand::Register { first, targets } => return self.registration_refused(first.is_some(), &targets, status, now),
            // The server knows the target, and nobody who may see it.
            Errand::Query(name) if status == Status::NO_SUCH_ENTRY => return self.admit(&name, BTreeSet::new(), now),
            Errand::Query(name) => {
                self.node(&name, |node| (node.due, node.asked) = (false, Some(now)));
                name
            }
            Errand::Subscribe(name) => {
                self.node(&name, |node| node.unsubscribable = true);
                name
            }
            Errand::RemoveEntity => {
                self.known = None;
                String::new()
            }
            Errand::Unsubscribe(ref name) => {
                let name = name.clone();
                self.settle(flight.errand);
                name
            }
            Errand::AddPortals(_) | Errand::RemovePortals(_) | Errand::RemoveTargets(_) | Errand::Refresh => {
                self.settle(flight.errand);
                String::new()
            }
        };
        self.events.push_back(Event::Refused { function: flight.function, status, about });
    }

    fn registration_refused(&mut self, first: bool, targets: &BTreeMap<String, Option<String>>, status: Status, now: u64) {
        if first && status == Status::ESI_NOT_AVAILABLE && self.inquiries {
            self.inquiries = false;
            return;
        }
        if targets.len() > 1 {
            self.single = true;
            return;
        }
        for name in targets.keys() {
            self.refused.insert(name.clone(), now.saturating_add(self.timing.longest_delay));
            let (function, about) = (Function::DEVICE_ATTRIBUTE_REGISTRATION, name.clone());
            self.events.push_back(Event::Refused { function, status, about });
        }
    }

    fn node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.known.as_mut().and_then(|known| known.targets.get_mut(name)) {
            change(node);
        }
    }
}
