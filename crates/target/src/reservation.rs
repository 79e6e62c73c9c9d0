//! Reservations of one logical unit: persistent (SPC-6 5.14) and by RESERVE(6) (SPC-2).
//!
//! A registrant is an I_T nexus by name: initiator port (name and ISID) and target port. It outlives its sessions; power loss ends everything
//! (PTPL_C = 0). The two kinds of reservation exclude each other (CRH = 0): with a key registered RESERVE(6) and RELEASE(6) conflict for
//! everybody, and while RESERVE(6) holds the unit PERSISTENT RESERVE IN and OUT conflict for everybody.

use alloc::vec::Vec;

use scsi::command::{Operation, ReservationClass};
use scsi::parameter_list::PersistentReserveOut;
use scsi::response::Response;
use scsi::{Asc, CommandRow, Sense};

use crate::attention::{REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED};
use crate::effect::{NexusId, NexusIdentity};

/// Registrations one unit keeps. Clusters have tens of nodes with a few paths each; a list of this length still fits one PERSISTENT RESERVE IN answer.
pub const REGISTRATION_LIMIT: usize = 1024;

/// INSUFFICIENT REGISTRATION RESOURCES.
const INSUFFICIENT_REGISTRATION_RESOURCES: Asc = Asc(0x5504);

/// Type of a persistent reservation, with its number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ReservationType {
    WriteExclusive = 1,
    ExclusiveAccess = 3,
    WriteExclusiveRegistrantsOnly = 5,
    ExclusiveAccessRegistrantsOnly = 6,
    WriteExclusiveAllRegistrants = 7,
    ExclusiveAccessAllRegistrants = 8,
}

impl ReservationType {
    /// All six, ascending.
    pub const ALL: [ReservationType; 6] = [
        ReservationType::WriteExclusive,
        ReservationType::ExclusiveAccess,
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::ExclusiveAccessRegistrantsOnly,
        ReservationType::WriteExclusiveAllRegistrants,
        ReservationType::ExclusiveAccessAllRegistrants,
    ];

    /// The type with this number.
    pub fn from_number(number: u8) -> Option<ReservationType> {
        ReservationType::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Every registrant holds it.
    pub fn all_registrants(self) -> bool {
        matches!(self, ReservationType::WriteExclusiveAllRegistrants | ReservationType::ExclusiveAccessAllRegistrants)
    }

    /// Registrants may do what the holder may.
    pub fn shared(self) -> bool {
        !matches!(self, ReservationType::WriteExclusive | ReservationType::ExclusiveAccess)
    }

    /// Others may not even read.
    pub fn excludes_reads(self) -> bool {
        matches!(
            self,
            ReservationType::ExclusiveAccess | ReservationType::ExclusiveAccessRegistrantsOnly | ReservationType::ExclusiveAccessAllRegistrants
        )
    }
}

/// What a nexus is to a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// Holds it (for the all-registrants types: every registrant).
    Holder,
    /// Has a key, but does not hold it.
    Registrant,
    /// Has no key.
    Stranger,
}

/// What a command does to the medium, as a reservation sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Never conflicts with a persistent reservation.
    Free,
    /// Reads.
    Read,
    /// Writes, or changes the unit.
    Write,
}

/// The conflict table of persistent reservations: does a command with this access conflict?
pub fn conflicts(kind: ReservationType, access: Access, relation: Relation) -> bool {
    let privileged = match relation {
        Relation::Holder => true,
        Relation::Registrant => kind.shared(),
        Relation::Stranger => false,
    };
    match access {
        Access::Free => false,
        Access::Read => kind.excludes_reads() && !privileged,
        Access::Write => !privileged,
    }
}

/// Service actions of PERSISTENT RESERVE OUT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Action {
    Register,
    RegisterAndIgnore,
    Reserve,
    Release,
    Clear,
    Preempt,
}

impl Action {
    /// The action of a row, `None` for other commands.
    pub fn of(operation: Operation) -> Option<Action> {
        Some(match operation {
            Operation::PersistentReserveOutRegister => Action::Register,
            Operation::PersistentReserveOutRegisterAndIgnore => Action::RegisterAndIgnore,
            Operation::PersistentReserveOutReserve => Action::Reserve,
            Operation::PersistentReserveOutRelease => Action::Release,
            Operation::PersistentReserveOutClear => Action::Clear,
            Operation::PersistentReserveOutPreempt => Action::Preempt,
            _ => return None,
        })
    }
}

/// Why PERSISTENT RESERVE OUT was refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION.
    Check(Sense),
}

/// A unit attention for a registrant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announcement {
    /// For whom.
    pub identity: NexusIdentity,
    /// What.
    pub asc: Asc,
}

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
    /// Holder by RESERVE(6): a session, not a name.
    reserved: Option<NexusId>,
}

impl Reservations {
    /// Neither registrations nor reservations.
    pub const fn new() -> Reservations {
        Reservations { generation: 0, next_number: 0, registrants: Vec::new(), held: None, reserved: None }
    }

    /// True when no command can conflict.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.reserved.is_none() && self.registrants.is_empty()
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
        if matches!(operation, Operation::Reserve6 | Operation::Release6) {
            let owned_by_other = self.reserved.is_some_and(|owner| owner != nexus);
            return !self.registrants.is_empty() || (operation == Operation::Reserve6 && owned_by_other);
        }
        if let Some(owner) = self.reserved {
            return persistent(operation) || (owner != nexus && !passes_reserve(operation, cdb));
        }
        let Some(held) = self.held else { return false };
        let access = access(row, cdb);
        access != Access::Free && conflicts(held.kind, access, self.relation(who))
    }

    /// RESERVE(6), after [`conflict`](Self::conflict) said no.
    pub fn reserve(&mut self, nexus: NexusId) {
        self.reserved = Some(nexus);
    }

    /// RELEASE(6), nexus loss: the reservation by RESERVE(6) ends when `nexus` has it. Nothing happens otherwise.
    pub fn release(&mut self, nexus: NexusId) {
        if self.reserved == Some(nexus) {
            self.reserved = None;
        }
    }

    /// LOGICAL UNIT RESET ends a reservation by RESERVE(6); registrations and persistent reservations stay.
    pub fn reset(&mut self) {
        self.reserved = None;
    }

    /// PERSISTENT RESERVE IN READ KEYS, cut to `allocation` bytes.
    pub fn read_keys(&self, allocation: u16) -> Vec<u8> {
        let mut response = Response::new(u32::from(allocation));
        response.be32(self.generation).zeros(4);
        for registrant in &self.registrants {
            response.be64(registrant.key);
        }
        response.length32(4);
        response.finish()
    }

    /// PERSISTENT RESERVE IN READ RESERVATION, cut to `allocation` bytes. All-registrants reservations have no key.
    pub fn read_reservation(&self, allocation: u16) -> Vec<u8> {
        let mut response = Response::new(u32::from(allocation));
        response.be32(self.generation).zeros(4);
        if let Some(held) = self.held {
            let holder = self.registrants.iter().find(|registrant| Some(registrant.number) == held.holder);
            response.be64(holder.map_or(0, |registrant| registrant.key)).zeros(5).u8(held.kind as u8).zeros(2);
        }
        response.length32(4);
        response.finish()
    }

    /// PERSISTENT RESERVE IN REPORT CAPABILITIES, cut to `allocation` bytes: all six types, nothing optional.
    pub fn report_capabilities(allocation: u16) -> Vec<u8> {
        let mut response = Response::new(u32::from(allocation));
        // TMV: the type mask is valid.
        response.be16(8).u8(0).u8(0x80).be16(0xea01).zeros(2);
        response.finish()
    }

    /// PERSISTENT RESERVE OUT. `scope_and_type` is byte 2 of the CDB. On success `announcements` get the unit attentions it causes.
    ///
    /// # Errors
    /// RESERVATION CONFLICT or CHECK CONDITION; the state is as before.
    pub fn out(
        &mut self,
        who: &NexusIdentity,
        action: Action,
        scope_and_type: u8,
        list: &PersistentReserveOut,
        announcements: &mut Vec<Announcement>,
    ) -> Result<(), Refusal> {
        refuse_options(action, list)?;
        let place = self.find(who);
        if matches!(action, Action::Register | Action::RegisterAndIgnore) {
            return self.register(who, place, action == Action::Register, list, announcements);
        }
        let at = place.filter(|&at| self.registrants[at].key == list.key).ok_or(Refusal::Conflict)?;
        if action == Action::Clear {
            self.clear(at, announcements);
            return Ok(());
        }
        match action {
            Action::Reserve => self.reserve_persistently(at, decode_type(scope_and_type)?),
            Action::Release => self.release_persistently(at, scope_and_type, announcements),
            _ => self.preempt(at, scope_and_type, list.service_action_key, announcements),
        }
    }

    fn find(&self, who: &NexusIdentity) -> Option<usize> {
        if self.registrants.is_empty() {
            return None;
        }
        let stable_key = who.stable_key();
        self.registrants.iter().position(|registrant| registrant.stable_key == stable_key && registrant.identity == *who)
    }

    fn register(
        &mut self,
        who: &NexusIdentity,
        place: Option<usize>,
        checked: bool,
        list: &PersistentReserveOut,
        announcements: &mut Vec<Announcement>,
    ) -> Result<(), Refusal> {
        let current = place.map_or(0, |at| self.registrants[at].key);
        if checked && list.key != current {
            return Err(Refusal::Conflict);
        }
        match (place, list.service_action_key) {
            (None, 0) => return Ok(()),
            (None, key) => self.add(who, key)?,
            (Some(at), 0) => self.unregister(at, announcements),
            (Some(at), key) => self.registrants[at].key = key,
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    fn add(&mut self, who: &NexusIdentity, key: u64) -> Result<(), Refusal> {
        if self.registrants.len() >= REGISTRATION_LIMIT {
            return Err(Refusal::Check(Sense::illegal(INSUFFICIENT_REGISTRATION_RESOURCES)));
        }
        self.registrants.push(Registrant { number: self.next_number, stable_key: who.stable_key(), identity: who.clone(), key });
        self.next_number += 1;
        Ok(())
    }

    /// A registration goes. The reservation goes with its holder, and the last registrant of an all-registrants one.
    fn unregister(&mut self, at: usize, announcements: &mut Vec<Announcement>) {
        let gone = self.registrants.remove(at);
        let Some(held) = self.held else { return };
        if held.holder.is_none() && !self.registrants.is_empty() || held.holder.is_some_and(|number| number != gone.number) {
            return;
        }
        self.held = None;
        if held.kind.shared() {
            self.announce(None, RESERVATIONS_RELEASED, announcements);
        }
    }

    fn reserve_persistently(&mut self, at: usize, kind: ReservationType) -> Result<(), Refusal> {
        let number = self.registrants[at].number;
        match self.held {
            None => {
                self.held = Some(Held { kind, holder: (!kind.all_registrants()).then_some(number) });
                Ok(())
            }
            Some(held) if held.kind == kind && held.holder.is_none_or(|holder| holder == number) => Ok(()),
            Some(_) => Err(Refusal::Conflict),
        }
    }

    fn release_persistently(&mut self, at: usize, scope_and_type: u8, announcements: &mut Vec<Announcement>) -> Result<(), Refusal> {
        let number = self.registrants[at].number;
        let Some(held) = self.held.filter(|held| held.holder.is_none_or(|holder| holder == number)) else {
            // No reservation, or not the holder: nothing to do.
            return Ok(());
        };
        if scope_and_type != held.kind as u8 {
            return Err(Refusal::Check(Sense::illegal(Asc::INVALID_RELEASE)));
        }
        self.held = None;
        if held.kind.shared() {
            self.announce(Some(number), RESERVATIONS_RELEASED, announcements);
        }
        Ok(())
    }

    fn clear(&mut self, at: usize, announcements: &mut Vec<Announcement>) {
        let number = self.registrants[at].number;
        self.announce(Some(number), RESERVATIONS_PREEMPTED, announcements);
        self.registrants.clear();
        self.held = None;
        self.generation = self.generation.wrapping_add(1);
    }

    fn preempt(&mut self, at: usize, scope_and_type: u8, victim: u64, announcements: &mut Vec<Announcement>) -> Result<(), Refusal> {
        let number = self.registrants[at].number;
        let all_registrants = self.held.is_some_and(|held| held.holder.is_none());
        if victim == 0 && !all_registrants {
            return Err(Refusal::Check(Sense::invalid_parameter_field(8, None)));
        }
        let holder_key = self.held.and_then(|held| self.registrants.iter().find(|registrant| Some(registrant.number) == held.holder));
        let takes_over = if all_registrants { victim == 0 } else { holder_key.is_some_and(|holder| holder.key == victim) };
        if takes_over {
            let kind = decode_type(scope_and_type)?;
            self.remove(|registrant| registrant.number != number && (victim == 0 || registrant.key == victim), number, announcements);
            let changed = self.held.is_some_and(|held| held.kind != kind);
            self.held = Some(Held { kind, holder: (!kind.all_registrants()).then_some(number) });
            if changed {
                self.announce(Some(number), RESERVATIONS_RELEASED, announcements);
            }
        } else {
            if !self.registrants.iter().any(|registrant| registrant.key == victim) {
                return Err(Refusal::Conflict);
            }
            // The preempting nexus loses its own registration when its key is the one named.
            self.remove(|registrant| registrant.key == victim, number, announcements);
            if self.registrants.is_empty() {
                self.held = None;
            }
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// Removes registrations; all but `issuer` hear of it.
    fn remove(&mut self, victim: impl Fn(&Registrant) -> bool, issuer: u64, announcements: &mut Vec<Announcement>) {
        self.registrants.retain(|registrant| {
            let goes = victim(registrant);
            if goes && registrant.number != issuer {
                announcements.push(Announcement { identity: registrant.identity.clone(), asc: REGISTRATIONS_PREEMPTED });
            }
            !goes
        });
    }

    /// A unit attention for every registrant but one.
    fn announce(&self, except: Option<u64>, asc: Asc, announcements: &mut Vec<Announcement>) {
        let others = self.registrants.iter().filter(|registrant| Some(registrant.number) != except);
        announcements.extend(others.map(|registrant| Announcement { identity: registrant.identity.clone(), asc }));
    }
}

/// What a command does to the medium. Some commands say it in their CDB.
pub fn access(row: &CommandRow, cdb: &[u8]) -> Access {
    let byte4 = cdb.get(4).copied().unwrap_or(0);
    match (row.reservation, row.operation) {
        (ReservationClass::Allowed, _) => Access::Free,
        (ReservationClass::Read, _) => Access::Read,
        (ReservationClass::Write, _) => Access::Write,
        // Allowing removal takes nothing from anybody.
        (_, Operation::PreventAllowMediumRemoval) if byte4 & 0x03 == 0 => Access::Free,
        // START = 1 without a power condition, and without loading.
        (_, Operation::StartStopUnit) if byte4 & 0xf3 == 0x01 => Access::Free,
        (_, Operation::PreventAllowMediumRemoval | Operation::StartStopUnit) => Access::Write,
        (ReservationClass::Special, _) => Access::Free,
    }
}

fn persistent(operation: Operation) -> bool {
    Action::of(operation).is_some()
        || matches!(
            operation,
            Operation::PersistentReserveInReadKeys | Operation::PersistentReserveInReadReservation | Operation::PersistentReserveInReportCapabilities
        )
}

/// Commands of other nexuses that RESERVE(6) lets pass (SPC-2, SBC-2 tables).
fn passes_reserve(operation: Operation, cdb: &[u8]) -> bool {
    match operation {
        Operation::Inquiry | Operation::ReportLuns | Operation::RequestSense | Operation::ReadCapacity10 | Operation::ReadCapacity16 => true,
        Operation::ReportSupportedOperationCodes | Operation::ReportSupportedTaskManagementFunctions => true,
        Operation::PreventAllowMediumRemoval => cdb.get(4).is_some_and(|byte| byte & 0x03 == 0),
        _ => false,
    }
}

/// Scope (bits 7 to 4: 0, the whole unit) and type.
fn decode_type(scope_and_type: u8) -> Result<ReservationType, Refusal> {
    if scope_and_type >> 4 != 0 {
        return Err(Refusal::Check(Sense::invalid_cdb_field(2, Some(7))));
    }
    ReservationType::from_number(scope_and_type).ok_or(Refusal::Check(Sense::invalid_cdb_field(2, Some(3))))
}

/// SPEC_I_PT belongs to REGISTER only and is not offered there; ALL_TG_PT and APTPL are looked at by the two registering actions only.
fn refuse_options(action: Action, list: &PersistentReserveOut) -> Result<(), Refusal> {
    let registers = matches!(action, Action::Register | Action::RegisterAndIgnore);
    let looked_at = PersistentReserveOut { all_tg_pt: list.all_tg_pt && registers, aptpl: list.aptpl && registers, ..*list };
    looked_at.plain().map(|_| ()).map_err(Refusal::Check)
}

#[cfg(test)]
#[path = "reservation_tests.rs"]
mod tests;
