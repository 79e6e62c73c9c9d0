//! Sessions begin and end.

use std::os::fd::OwnedFd;

use iscsi::target::Session;
use iscsi::{LoginStatus, LoginSummary, TargetLookup};
use reactor::Driver;
use target::NexusId;

use super::Server;
use super::bundle::pair;
use super::link::{Arrival, State};
use crate::directory::DirectoryView;
use crate::hub::{LinkKey, Message, reactor_of};
use crate::limits::STAGING;
use crate::redirect::{Question, Redirection, Verdict};
use crate::session::{Admission, Visit};

/// A login on its way to the reactor of its session.
pub(crate) struct Guest {
    arrival: Arrival,
    /// Unless the driver's handles are good for all reactors.
    descriptor: Option<OwnedFd>,
    core: Session,
    nexus: NexusId,
    summary: LoginSummary,
}

impl<D: Driver> Server<D> {
    /// A login has negotiated everything.
    pub(super) fn login(&mut self, slot: usize, summary: LoginSummary) {
        let now = self.work.now;
        let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot).filter(|(link, _)| link.state == State::Open) else { return };
        let visit = Visit { reactor: self.index, peer: link.peer, local: link.local, group_tag: link.group_tag };
        match self.hub.admit(&summary, visit, &link.counters) {
            Admission::Accepted { tsih, nexus } => {
                bundle.nexus = Some(nexus);
                bundle.tid = summary.target.as_ref().map(|(tid, _)| *tid);
                if let Some(index) = link.bundle {
                    self.nexuses.insert(nexus.0, index);
                }
                self.begin_full_feature(slot, tsih);
            }
            Admission::Joins(nexus) if reactor_of(nexus) == self.index => self.join(slot, nexus, &summary),
            Admission::Joins(nexus) => {
                link.moving = Some(nexus);
                link.login = Some(summary);
            }
            Admission::After(older) => {
                let waiter = Some((self.index, link.key));
                link.login = Some(summary);
                let reason = "the initiator logged in again";
                if reactor_of(older) == self.index {
                    self.end_session(older, reason, waiter);
                } else {
                    self.hub.force(reactor_of(older), Message::End { nexus: older, reason, waiter });
                }
            }
            Admission::Refused(status, reason) => self.refuse_login(slot, status, reason, now),
        }
        self.stir(slot);
    }

    fn refuse_login(&mut self, slot: usize, status: LoginStatus, reason: &str, now: u64) {
        let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) else { return };
        let Some(core) = bundle.core.at(link.seat) else { return };
        if self.throttle.admits(now) {
            let initiator = core.summary().map(|summary| summary.initiator_name.as_str());
            tracing::info!(peer = %link.peer, initiator, status = status.0, reason, "login refused");
        }
        core.refuse_login(status, now);
    }

    /// The connection belongs to its session now.
    fn begin_full_feature(&mut self, slot: usize, tsih: u16) {
        let now = self.work.now;
        let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) else { return };
        let Some(core) = bundle.core.at(link.seat) else { return };
        core.accept_login(tsih, now);
        // The Login Request may have ended long ago, before an older session made room: nothing has come since, so the next byte begins a PDU.
        let (header, data) = core.digests();
        link.receiver.set_digests(header, data);
        self.keeps |= core.negotiated().error_recovery_level > 0;
        link.cid = core.summary().map(|summary| summary.cid);
        self.counters.logins += 1;
        if let Some(summary) = core.summary()
            && self.throttle.admits(now)
        {
            let target = summary.target.as_ref().map(|(_, name)| name.as_str());
            tracing::info!(peer = %link.peer, initiator = %summary.initiator_name, target, sid = tsih, cid = summary.cid, "logged in");
        }
        if let Some(index) = link.bundle {
            self.refresh_target(index);
        }
        self.stir(slot);
    }

    /// A login becomes a further connection of a session of this reactor. One with the same CID ends first (RFC 7143 6.3.4).
    fn join(&mut self, slot: usize, nexus: NexusId, summary: &LoginSummary) {
        let now = self.work.now;
        let Some(link) = self.links.get(slot) else { return };
        let visit = Visit { reactor: self.index, peer: link.peer, local: link.local, group_tag: link.group_tag };
        let tsih = match self.hub.join_session(nexus, summary, visit, &link.counters) {
            Ok(tsih) => tsih,
            Err((status, reason)) => return self.refuse_login(slot, status, reason, now),
        };
        let Some(index) = self.nexuses.get(&nexus.0).copied() else { return self.close(slot, true, "the session has just ended") };
        let Some(own) = self.links.get_mut(slot).and_then(|link| link.bundle.take()) else { return };
        let (key, core) = (self.links[slot].key, self.bundles.remove(own).core);
        let Some(seat) = self.bundles[index].core.join(core) else { return self.close(slot, true, "no connection to join with") };
        self.bundles[index].members.push((seat, slot));
        let link = &mut self.links[slot];
        (link.bundle, link.seat, link.joining) = (Some(index), seat, Some(tsih));
        let older = self.members(index).into_iter().find(|&member| self.links.get(member).is_some_and(|link| link.cid == Some(summary.cid)));
        self.links[slot].cid = Some(summary.cid);
        match older {
            Some(older) => {
                self.links[older].waiters.push((self.index, key));
                self.close(older, false, "the initiator logged in again");
            }
            None => self.go_on(key),
        }
    }

    /// A login that goes to the reactor of its session, when the driver has nothing of it any more.
    pub(super) fn send_guest(&mut self, slot: usize) {
        let Some(link) = self.links.get(slot) else { return };
        if link.receiving || link.sending() || link.state != State::Open {
            return;
        }
        if !link.receiver.is_between_pdus() {
            return self.close(slot, true, "bytes came while the login was being decided");
        }
        let link = self.links.remove(slot);
        let (Some(index), Some(nexus), Some(summary)) = (link.bundle, link.moving, link.login) else { return };
        let core = self.bundles.remove(index).core;
        let arrival = Arrival { socket: link.socket, peer: link.peer, local: link.local, group_tag: link.group_tag, counters: link.counters };
        let descriptor = self.driver.detach(link.socket);
        let reactor = reactor_of(nexus);
        self.hub.relocate(self.index, reactor);
        self.outbox.push_back((reactor, Message::Join(Box::new(Guest { arrival, descriptor, core, nexus, summary }))));
    }

    /// A login for a session of this reactor.
    pub(super) fn receive_guest(&mut self, guest: Guest) {
        let Guest { mut arrival, descriptor, core, nexus, summary } = guest;
        if let Some(descriptor) = descriptor {
            arrival.socket = self.driver.adopt(descriptor);
        }
        let Some(staging) = self.pools.landing.take(STAGING).filter(|_| !self.stopping) else { return self.turn_away(arrival.socket, arrival.peer) };
        let slot = self.settle_in(&arrival, core, staging);
        self.join(slot, nexus, &summary);
        self.stir(slot);
        self.arm_receive(slot);
    }

    /// A login whose target is where a program says: has it asked. Nothing waits but this login.
    pub(super) fn ask_for_target(&mut self, slot: usize, target: String, initiator: String) {
        let Some(link) = self.links.get_mut(slot) else { return };
        let entry = self.model.targets.named(&target);
        let Some(Redirection::Ask { program }) = entry.and_then(|entry| entry.redirect.clone()) else { return };
        let question = Question { program, target: target.clone(), initiator: initiator.clone(), peer: link.peer, local: link.local };
        link.asked = Some((target, initiator));
        self.hub.ask(question, self.index, link.key);
    }

    /// The answer. What the model says of the target may have changed meanwhile.
    pub(super) fn target_found(&mut self, key: LinkKey, verdict: Verdict) {
        let (slot, now) = (key.slot as usize, self.work.now);
        let pair = pair(&mut self.links, &mut self.bundles, slot).filter(|(link, _)| link.key == key && link.state == State::Open);
        let Some((link, bundle)) = pair else { return };
        let Some((target, initiator)) = link.asked.take() else { return };
        let directory = DirectoryView::new(&self.model);
        let (lookup, reason) = match verdict {
            Verdict::Place(place) => (directory.target_at(&target, &initiator, link.peer.ip(), link.local, &place), None),
            Verdict::Later(reason) => (TargetLookup::Unavailable, Some(reason)),
            Verdict::Failed(reason) => (TargetLookup::Failed, Some(reason)),
        };
        if let Some(reason) = reason
            && self.throttle.admits_warning(now)
        {
            tracing::warn!(peer = %link.peer, %initiator, %target, %reason, "where the login goes is not known");
        }
        if let Some(core) = bundle.core.at(link.seat) {
            core.answer_lookup(lookup, &directory, now);
        }
        self.stir(slot);
    }

    /// What a login waited for is gone: an older session, or the connection with its CID.
    pub(super) fn go_on(&mut self, key: LinkKey) {
        let slot = key.slot as usize;
        let Some(link) = self.links.get_mut(slot).filter(|link| link.key == key) else { return };
        if let Some(tsih) = link.joining.take() {
            self.begin_full_feature(slot, tsih);
        } else if let Some(summary) = link.login.take() {
            self.login(slot, summary);
        }
    }
}
