//! Sessions begin and end.

use iscsi::{LoginSummary, TargetLookup};
use reactor::Driver;
use target::NexusId;

use super::Server;
use super::link::State;
use crate::directory::DirectoryView;
use crate::hub::{LinkKey, Message, reactor_of};
use crate::redirect::{Question, Redirection, Verdict};
use crate::session::{Admission, Visit};

impl<D: Driver> Server<D> {
    /// A login has negotiated everything. `again`: the older session it waited for has ended.
    pub(super) fn login(&mut self, slot: usize, summary: LoginSummary, again: bool) {
        let now = self.work.now;
        let Some(link) = self.links.get_mut(slot).filter(|link| link.state == State::Open) else { return };
        let visit = Visit { reactor: self.index, peer: link.peer, local: link.local, group_tag: link.group_tag };
        match self.hub.admit(&summary, visit, &link.counters, again) {
            Admission::Accepted { tsih, nexus } => {
                link.nexus = Some(nexus);
                link.tid = summary.target.as_ref().map(|(tid, _)| *tid);
                link.core.accept_login(tsih, now);
                // The Login Request may have ended long ago, before an older session made room: nothing has come since, so the next byte begins a PDU.
                let (header, data) = link.core.digests();
                link.receiver.set_digests(header, data);
                self.keeps |= link.core.negotiated().error_recovery_level > 0;
                self.nexuses.insert(nexus.0, slot);
                self.counters.logins += 1;
                if self.throttle.admits(now) {
                    let target = summary.target.as_ref().map(|(_, name)| name.as_str());
                    tracing::info!(peer = %visit.peer, initiator = %summary.initiator_name, target, sid = tsih, "logged in");
                }
                self.refresh_target(slot);
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
            Admission::Refused(status, reason) => {
                if self.throttle.admits(now) {
                    tracing::info!(peer = %visit.peer, initiator = %summary.initiator_name, status = status.0, reason, "login refused");
                }
                link.core.refuse_login(status, now);
            }
        }
        self.stir(slot);
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
        let Some(link) = self.links.get_mut(slot).filter(|link| link.key == key && link.state == State::Open) else { return };
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
        link.core.answer_lookup(lookup, &directory, now);
        self.stir(slot);
    }

    /// The session that a login waited for is gone.
    pub(super) fn login_again(&mut self, key: LinkKey) {
        let slot = key.slot as usize;
        let waiting = self.links.get_mut(slot).filter(|link| link.key == key).and_then(|link| link.login.take());
        if let Some(summary) = waiting {
            self.login(slot, summary, true);
        }
    }

    /// Ends the session of a nexus; `waiter` hears when nothing of it can reach a store any more.
    pub(super) fn end_session(&mut self, nexus: NexusId, reason: &'static str, waiter: Option<(usize, LinkKey)>) {
        // A closing link is no longer in `nexuses`, but still has its number until its jobs have ended.
        let slot =
            self.nexuses.get(&nexus.0).copied().or_else(|| self.links.iter().find(|(_, link)| link.nexus == Some(nexus)).map(|(slot, _)| slot));
        let Some(slot) = slot else {
            if let Some((reactor, link)) = waiter {
                self.hub.force(reactor, Message::Ended { link });
            }
            return;
        };
        if let (Some(link), Some(waiter)) = (self.links.get_mut(slot), waiter) {
            link.waiters.push(waiter);
        }
        if self.links.get(slot).is_some_and(|link| link.state != State::Draining || waiter.is_some()) {
            self.close(slot, false, reason);
        }
    }
}
