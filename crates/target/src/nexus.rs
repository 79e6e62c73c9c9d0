//! The I_T nexuses that a unit knows.

use alloc::vec::Vec;

use crate::attention::Attentions;
use crate::effect::{NexusId, NexusIdentity};
use crate::task::Task;

/// Identities whose command count is remembered after they left. Beyond that the one that left first starts again at 0.
pub const ORDINAL_LIMIT: usize = 1024;

/// One attached nexus.
#[derive(Debug)]
pub(crate) struct Nexus {
    pub id: NexusId,
    pub identity: NexusIdentity,
    pub stable_key: u64,
    pub attentions: Attentions,
    /// Its tasks at this unit.
    pub tasks: usize,
    ordinal: usize,
    /// Parts of its copies so far.
    parts: u64,
}

/// What a new task must know of its nexus.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    pub stable_key: u64,
    pub ordinal: u64,
    /// Where the nexus stands now: [`Nexuses::of`] looks there first.
    pub hint: usize,
    /// It has other tasks.
    pub busy: bool,
}

/// The command count of one identity.
#[derive(Debug)]
struct Ordinal {
    stable_key: u64,
    next: u64,
    attached: usize,
    left: u64,
}

/// The attached nexuses, and the command counts of those that were.
#[derive(Debug, Default)]
pub(crate) struct Nexuses {
    attached: Vec<Nexus>,
    ordinals: Vec<Ordinal>,
    departures: u64,
}

impl Nexuses {
    /// True when it is new.
    pub fn attach(&mut self, id: NexusId, identity: NexusIdentity) -> bool {
        let Err(at) = self.place(id) else { return false };
        let stable_key = identity.stable_key();
        let ordinal = self.take_ordinal(stable_key);
        self.attached.insert(at, Nexus { id, identity, stable_key, attentions: Attentions::new(), tasks: 0, ordinal, parts: 0 });
        true
    }

    /// True when it was there.
    pub fn detach(&mut self, id: NexusId) -> bool {
        let Ok(at) = self.place(id) else { return false };
        let nexus = self.attached.remove(at);
        self.departures += 1;
        if let Some(ordinal) = self.ordinals.get_mut(nexus.ordinal) {
            ordinal.attached -= 1;
            ordinal.left = self.departures;
        }
        true
    }

    pub fn get(&self, id: NexusId) -> Option<&Nexus> {
        self.place(id).ok().map(|at| &self.attached[at])
    }

    pub fn get_mut(&mut self, id: NexusId) -> Option<&mut Nexus> {
        self.place(id).ok().map(|at| &mut self.attached[at])
    }

    pub fn iter(&self) -> impl Iterator<Item = &Nexus> {
        self.attached.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Nexus> {
        self.attached.iter_mut()
    }

    /// The nexus of a task.
    #[inline]
    pub fn of(&self, task: &Task) -> Option<&Nexus> {
        match self.attached.get(task.nexus_hint) {
            Some(nexus) if nexus.id == task.nexus => Some(nexus),
            _ => self.get(task.nexus),
        }
    }

    /// The nexus of a task, to be changed.
    #[inline]
    pub fn of_mut(&mut self, task: &Task) -> Option<&mut Nexus> {
        match self.attached.get(task.nexus_hint) {
            Some(nexus) if nexus.id == task.nexus => self.attached.get_mut(task.nexus_hint),
            _ => self.get_mut(task.nexus),
        }
    }

    /// A command arrives for the unit (`counts`), or for a logical unit number without one. `None`: the nexus is not attached.
    pub fn enter(&mut self, id: NexusId, counts: bool) -> Option<Entry> {
        let hint = self.place(id).ok()?;
        let nexus = &mut self.attached[hint];
        let mut entry = Entry { stable_key: nexus.stable_key, ordinal: 0, hint, busy: nexus.tasks > 0 };
        nexus.tasks += 1;
        if counts && let Some(ordinal) = self.ordinals.get_mut(nexus.ordinal) {
            entry.ordinal = ordinal.next;
            ordinal.next += 1;
        }
        Some(entry)
    }

    /// A part of a copy arrives. It is counted apart, and drawn for apart: commands of the initiator itself meet the faults that they would meet without it.
    pub fn enter_part(&mut self, id: NexusId) -> Option<Entry> {
        let mut entry = self.enter(id, false)?;
        let nexus = self.attached.get_mut(entry.hint)?;
        (entry.stable_key, entry.ordinal) = (!entry.stable_key, nexus.parts);
        nexus.parts += 1;
        Some(entry)
    }

    fn place(&self, id: NexusId) -> Result<usize, usize> {
        self.attached.binary_search_by_key(&id, |nexus| nexus.id)
    }

    fn take_ordinal(&mut self, stable_key: u64) -> usize {
        let fresh = Ordinal { stable_key, next: 0, attached: 1, left: 0 };
        if let Some(at) = self.ordinals.iter().position(|ordinal| ordinal.stable_key == stable_key) {
            self.ordinals[at].attached += 1;
            return at;
        }
        let departed = self.ordinals.iter().enumerate().filter(|(_, ordinal)| ordinal.attached == 0);
        if self.ordinals.len() >= ORDINAL_LIMIT
            && let Some((at, _)) = departed.min_by_key(|(_, ordinal)| ordinal.left)
        {
            self.ordinals[at] = fresh;
            return at;
        }
        // Grows beyond the limit only by nexuses that are attached, which the shell bounds.
        self.ordinals.push(fresh);
        self.ordinals.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use device::PortIdentity;
    use scsi::RelativePort;

    fn who(name: &str) -> NexusIdentity {
        let port = PortIdentity { target_name: String::from("iqn.t"), group_tag: 1, relative_port: RelativePort(1) };
        NexusIdentity { initiator_name: String::from(name), isid: [0; 6], port }
    }

    fn ordinal(nexuses: &mut Nexuses, id: NexusId) -> u64 {
        nexuses.enter(id, true).unwrap().ordinal
    }

    #[test]
    fn commands_are_counted_over_logins() {
        let mut nexuses = Nexuses::default();
        assert!(nexuses.attach(NexusId(1), who("a")));
        assert!(!nexuses.attach(NexusId(1), who("a")));
        assert!(nexuses.attach(NexusId(2), who("b")));
        assert_eq!([1, 1, 2, 1].map(|id| ordinal(&mut nexuses, NexusId(id))), [0, 1, 0, 2]);
        assert!(nexuses.detach(NexusId(1)));
        assert!(!nexuses.detach(NexusId(1)));
        nexuses.attach(NexusId(3), who("a"));
        assert_eq!(ordinal(&mut nexuses, NexusId(3)), 3);
    }

    #[test]
    fn counts_are_bounded_and_the_oldest_goes_first() {
        let mut nexuses = Nexuses::default();
        nexuses.attach(NexusId(0), who("stays"));
        ordinal(&mut nexuses, NexusId(0));
        for id in 1..3000 {
            nexuses.attach(NexusId(id), who(&format!("{id}")));
            ordinal(&mut nexuses, NexusId(id));
            nexuses.detach(NexusId(id));
        }
        assert_eq!(nexuses.ordinals.len(), ORDINAL_LIMIT);
        assert_eq!(ordinal(&mut nexuses, NexusId(0)), 1);
        nexuses.attach(NexusId(5000), who("2999"));
        assert_eq!(ordinal(&mut nexuses, NexusId(5000)), 1);
        nexuses.attach(NexusId(5001), who("1"));
        assert_eq!(ordinal(&mut nexuses, NexusId(5001)), 0);
    }

    #[test]
    fn the_stable_key_never_changes() {
        assert_eq!(who("iqn.a").stable_key(), fnv(b"iqn.a\0\0\0\0\0\0\0iqn.t\0\0\x01"));
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c, "published FNV-1a vector");
    }

    fn fnv(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}
