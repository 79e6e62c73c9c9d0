//! Reservations of one logical unit: persistent (SPC-6 5.14) and by RESERVE (SPC-2).
//!
//! A registrant is an I_T nexus by name: initiator port (name and ISID) and target port. It outlives its sessions, and a loss of power when an initiator has
//! asked for that (APTPL) and the shell has somewhere to keep it. The two kinds of reservation exclude each other (CRH = 0): with a key registered RESERVE and RELEASE conflict for
//! everybody, and while RESERVE holds the unit PERSISTENT RESERVE IN and OUT conflict for everybody.

mod access;
mod change;
mod kept;
mod kinds;
mod report;

use alloc::vec::Vec;

use scsi::CommandRow;

pub use access::access;
pub(crate) use access::persistent;
pub use change::{Action, Announcement, Changes, Order, Refusal, World};
pub use kinds::{Access, Relation, ReservationType, conflicts};

use crate::effect::{NexusId, NexusIdentity};

/// Registrations one unit keeps. Clusters have tens of nodes with a few paths each; a list of this length still fits one PERSISTENT RESERVE IN answer.
pub const REGISTRATION_LIMIT: usize = 1024;

/// A registration.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Registrant {
    /// Names the registration for its life; never used twice.
    number: u64,
    /// Hash of the identity: most comparisons end here.
    stable_key: u64,
    identity: NexusIdentity,
    key: u64,
}

/// A persistent reservation. `holder` is a registration's number, `None` for the all-registrants types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    kind: ReservationType,
    holder: Option<u64>,
}

/// Reservations and registrations of one unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reservations {
    generation: u32,
    next_number: u64,
    registrants: Vec<Registrant>,
    held: Option<Held>,
    /// Holder by RESERVE: a session, not a name.
    reserved: Option<NexusId>,
    /// What was kept cannot be read any more.
    lost: bool,
    /// Registrations and reservation outlive a loss of power: the last APTPL bit that counted.
    aptpl: bool,
}

impl Reservations {
    /// Neither registrations nor reservations.
    pub const fn new() -> Reservations {
        Reservations { generation: 0, next_number: 0, registrants: Vec::new(), held: None, reserved: None, lost: false, aptpl: false }
    }

    /// True when no command can conflict.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.reserved.is_none() && self.registrants.is_empty() && !self.lost
    }

    /// Type of the persistent reservation, if any.
    pub fn held(&self) -> Option<ReservationType> {
        self.held.map(|held| held.kind)
    }

    /// Number of registrations.
    pub fn registered(&self) -> usize {
        self.registrants.len()
    }

    /// PRGENERATION.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The key of a nexus; 0: it is not registered.
    pub fn key(&self, who: &NexusIdentity) -> u64 {
        self.find(who).map_or(0, |at| self.registrants[at].key)
    }

    /// What this nexus is to the reservation; without a reservation nobody is a holder.
    pub fn relation(&self, who: &NexusIdentity) -> Relation {
        let Some(at) = self.find(who) else { return Relation::Stranger };
        match self.held {
            Some(Held { holder: None, .. }) => Relation::Holder,
            Some(Held { holder: Some(number), .. }) if number == self.registrants[at].number => Relation::Holder,
            _ => Relation::Registrant,
        }
    }

    /// Does the command conflict with a reservation? PERSISTENT RESERVE OUT has more rules of its own: [`out`](Self::out).
    pub fn conflict(&self, row: &CommandRow, cdb: &[u8], nexus: NexusId, who: &NexusIdentity) -> bool {
        if self.is_idle() {
            return false;
        }
        let operation = row.operation;
        let reserves = access::reserves(operation);
        if reserves || access::releases(operation) {
            let owned_by_other = self.reserved.is_some_and(|owner| owner != nexus);
            return !self.registrants.is_empty() || (reserves && owned_by_other);
        }
        if let Some(owner) = self.reserved {
            return access::persistent(operation) || (owner != nexus && !access::passes_reserve(operation, cdb));
        }
        let Some(held) = self.held else { return false };
        let access = access(row, cdb);
        access != Access::Free && conflicts(held.kind, access, self.relation(who))
    }

    /// PERSISTENT RESERVATION INFORMATION LOST ends this command: nobody knows whom it would conflict with. What touches nothing passes.
    pub fn is_lost_to(&self, row: &CommandRow, cdb: &[u8]) -> bool {
        let operation = row.operation;
        let concerned = access::persistent(operation) || access::reserves(operation) || access(row, cdb) != Access::Free;
        self.lost && concerned && !access::passes_loss(operation)
    }

    /// What was kept over a power loss cannot be read: everything that a reservation could forbid ends with PERSISTENT RESERVATION INFORMATION LOST, until an
    /// initiator says REPLACE LOST RESERVATION.
    pub fn lose(&mut self) {
        self.registrants.clear();
        self.held = None;
        self.lost = true;
    }

    /// See [`lose`](Self::lose).
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Registrations and reservation outlive a loss of power (PTPL_A).
    pub fn outlive_power(&self) -> bool {
        self.aptpl
    }

    /// Everything but a reservation by RESERVE becomes what it is in `next`.
    pub(crate) fn replace(&mut self, next: Reservations) {
        *self = Reservations { reserved: self.reserved, ..next };
    }

    /// RESERVE, after [`conflict`](Self::conflict) said no.
    pub fn reserve(&mut self, nexus: NexusId) {
        self.reserved = Some(nexus);
    }

    /// RELEASE, nexus loss: the reservation by RESERVE ends when `nexus` has it. Nothing happens otherwise.
    pub fn release(&mut self, nexus: NexusId) {
        if self.reserved == Some(nexus) {
            self.reserved = None;
        }
    }

    /// LOGICAL UNIT RESET ends a reservation by RESERVE; registrations and persistent reservations stay.
    pub fn reset(&mut self) {
        self.reserved = None;
    }

    fn find(&self, who: &NexusIdentity) -> Option<usize> {
        if self.registrants.is_empty() {
            return None;
        }
        let stable_key = who.stable_key();
        self.registrants.iter().position(|registrant| registrant.stable_key == stable_key && registrant.identity == *who)
    }
}

#[cfg(test)]
#[path = "reservation_model_tests.rs"]
mod model;
#[cfg(test)]
#[path = "reservation_tests.rs"]
mod tests;
