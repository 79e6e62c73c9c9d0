//! The connections of one session: all on one reactor, with one protocol core.

use std::sync::Arc;

use iscsi::target::{Seat, Session};
use reactor::Driver;
use slab::Slab;
use target::{Function, FunctionKind, NexusId, TaskTag};

use super::Server;
use super::link::{Link, PendingFunction, State};
use crate::directory::DirectoryView;
use crate::hub::{LinkKey, Message};
use crate::model::{TargetEntry, UnitCell};

/// A session with its connections. One that has not logged in yet is alone.
pub(super) struct Bundle {
    pub core: Session,
    /// Seats and slots of its connections, those that are closing among them.
    pub members: Vec<(Seat, usize)>,
    pub nexus: Option<NexusId>,
    pub tid: Option<i32>,
    pub target: Option<Arc<TargetEntry>>,
    pub functions: Vec<PendingFunction>,
    /// Logins that wait for this session to end.
    pub waiters: Vec<(usize, LinkKey)>,
}

impl Bundle {
    /// Of one connection.
    pub fn new(core: Session, slot: usize) -> Bundle {
        Bundle { core, members: vec![(Seat::default(), slot)], nexus: None, tid: None, target: None, functions: Vec::new(), waiters: Vec::new() }
    }

    /// Slot of the connection at a seat.
    pub fn slot_at(&self, seat: Seat) -> Option<usize> {
        self.members.iter().find(|(other, _)| *other == seat).map(|(_, slot)| *slot)
    }

    /// Slot of the connection that has a task.
    pub fn holder(&self, links: &Slab<Link>, tag: u32) -> Option<usize> {
        self.members.iter().map(|(_, slot)| *slot).find(|slot| links.get(*slot).is_some_and(|link| link.slot_of(tag).is_some()))
    }
}

/// A connection and its session.
pub(super) fn pair<'a>(links: &'a mut Slab<Link>, bundles: &'a mut Slab<Bundle>, slot: usize) -> Option<(&'a mut Link, &'a mut Bundle)> {
    let link = links.get_mut(slot)?;
    let bundle = bundles.get_mut(link.bundle?)?;
    Some((link, bundle))
}

impl<D: Driver> Server<D> {
    /// Slots of a session's connections.
    pub(super) fn members(&self, index: usize) -> Vec<usize> {
        self.bundles.get(index).map(|bundle| bundle.members.iter().map(|(_, slot)| *slot).collect()).unwrap_or_default()
    }

    /// A connection of a session that lives.
    pub(super) fn any_member(&self, index: usize) -> Option<usize> {
        let lives = |slot: &usize| self.links.get(*slot).is_some_and(|link| link.state != State::Closing);
        self.bundles.get(index)?.members.iter().map(|(_, slot)| *slot).find(lives)
    }

    /// A connection is closing. Its session lives on with others, or ends with it.
    pub(super) fn part(&mut self, slot: usize) {
        let Some(index) = self.links.get(slot).and_then(|link| link.bundle) else { return };
        let lives = |slot: &usize| self.links.get(*slot).is_some_and(|link| link.state != State::Closing);
        if self.members(index).iter().any(lives) {
            self.leave(index, slot);
        } else {
            self.end_bundle(index);
        }
    }

    /// The session lives on: the tasks of the connection end, and nothing else.
    fn leave(&mut self, index: usize, slot: usize) {
        let directory = DirectoryView::new(&self.model);
        let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) else { return };
        link.left = true;
        let running = bundle.core.end(link.seat, &directory, self.work.now);
        let nexus = bundle.nexus;
        let ending: Vec<(u32, Option<Arc<UnitCell>>)> =
            running.into_iter().map(|tag| (tag, link.task(tag).and_then(|task| task.cell.clone()))).collect();
        let counters = link.counters.clone();
        if let Some(nexus) = nexus {
            self.hub.leave(nexus, &counters);
        }
        for (tag, cell) in ending {
            match (cell, nexus) {
                (Some(cell), Some(nexus)) => {
                    let function = Function { nexus, tag: TaskTag(tag), kind: FunctionKind::AbortTask(TaskTag(tag)) };
                    self.work.visit(&cell, |unit, now| unit.handle_function(function, now));
                }
                _ => self.forget_lost(index, tag),
            }
        }
        // What waited behind a request of the lost connection goes on.
        for slot in self.members(index) {
            self.stir(slot);
        }
    }

    /// A task whose connection is gone has ended.
    pub(super) fn forget_lost(&mut self, index: usize, tag: u32) {
        let Some(bundle) = self.bundles.get_mut(index) else { return };
        bundle.core.forget_lost(tag);
        for slot in self.members(index) {
            self.touch(slot);
            self.try_forget(slot);
        }
    }

    /// The last connection is closing.
    fn end_bundle(&mut self, index: usize) {
        let Some(nexus) = self.bundles.get(index).and_then(|bundle| bundle.nexus) else { return };
        self.nexuses.remove(&nexus.0);
        for cell in self.hub.detach(nexus) {
            self.work.visit(&cell, |unit, _| unit.detach(nexus));
        }
        for slot in self.members(index) {
            if let Some(link) = self.links.get_mut(slot) {
                link.left = false;
            }
            self.try_forget(slot);
        }
    }

    /// The connection is over, and with the last one the session: numbers are free again, logins that waited go on.
    pub(super) fn tell_end(&mut self, slot: usize) {
        let Some(link) = self.links.get_mut(slot).filter(|link| !link.told) else { return };
        link.told = true;
        let (peer, mut waiters, index) = (link.peer, std::mem::take(&mut link.waiters), link.bundle.take());
        if let Some((index, bundle)) = index.and_then(|index| Some((index, self.bundles.get_mut(index)?))) {
            bundle.members.retain(|(_, member)| *member != slot);
            if bundle.members.is_empty() {
                let bundle = self.bundles.remove(index);
                waiters.extend(bundle.waiters);
                if let Some(nexus) = bundle.nexus {
                    self.hub.forget(nexus);
                }
            }
        }
        self.hub.displace(peer.ip(), self.index);
        for (reactor, key) in waiters {
            self.hub.force(reactor, Message::Ended { link: key });
        }
    }

    /// What the model says of the target of a session may have changed.
    pub(super) fn refresh_target(&mut self, index: usize) {
        let Some(bundle) = self.bundles.get_mut(index) else { return };
        let Some(tid) = bundle.tid else { return };
        let entry = self.model.targets.get(&tid);
        if let (Some(old), Some(new)) = (&bundle.target, entry)
            && Arc::ptr_eq(old, new)
        {
            return;
        }
        bundle.target = entry.cloned();
        if bundle.target.is_none() {
            for slot in self.members(index) {
                self.close(slot, false, "the target is gone");
            }
        }
    }

    /// Ends the session of a nexus; `waiter` hears when nothing of it can reach a store any more.
    pub(super) fn end_session(&mut self, nexus: NexusId, reason: &'static str, waiter: Option<(usize, LinkKey)>) {
        // One that is closing is no longer in `nexuses`, but still has its number until its jobs have ended.
        let ending = || self.bundles.iter().find(|(_, bundle)| bundle.nexus == Some(nexus)).map(|(index, _)| index);
        let index = self.nexuses.get(&nexus.0).copied().or_else(ending);
        let Some((index, bundle)) = index.and_then(|index| Some((index, self.bundles.get_mut(index)?))) else {
            if let Some((reactor, link)) = waiter {
                self.hub.force(reactor, Message::Ended { link });
            }
            return;
        };
        bundle.waiters.extend(waiter);
        for slot in self.members(index) {
            if self.links.get(slot).is_some_and(|link| link.state != State::Draining || waiter.is_some()) {
                self.close(slot, false, reason);
            }
        }
    }

    /// Ends one connection of a session.
    pub(super) fn end_connection(&mut self, nexus: NexusId, cid: u16, reason: &'static str) {
        let Some(index) = self.nexuses.get(&nexus.0).copied() else { return };
        let of_cid = |slot: &usize| self.links.get(*slot).is_some_and(|link| link.cid == Some(cid) && link.state != State::Closing);
        if let Some(slot) = self.members(index).into_iter().find(of_cid) {
            self.close(slot, false, reason);
        }
    }
}
