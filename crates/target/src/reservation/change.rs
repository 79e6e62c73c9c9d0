//! PERSISTENT RESERVE OUT (SPC-6 5.14, 6.17): each service action changes all that it has to, or nothing.

use alloc::vec::Vec;

use device::PortIdentity;
use scsi::command::Operation;
use scsi::parameter_list::{PersistentReserveOut, RegisterAndMove};
use scsi::{Asc, Sense, TransportId};

use super::{Held, REGISTRATION_LIMIT, Registrant, ReservationType, Reservations};
use crate::attention::{REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED};
use crate::effect::NexusIdentity;

/// INSUFFICIENT REGISTRATION RESOURCES.
pub(super) const INSUFFICIENT_REGISTRATION_RESOURCES: Asc = Asc(0x5504);

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
    PreemptAndAbort,
    RegisterAndMove,
    ReplaceLost,
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
            Operation::PersistentReserveOutPreemptAndAbort => Action::PreemptAndAbort,
            Operation::PersistentReserveOutRegisterAndMove => Action::RegisterAndMove,
            Operation::PersistentReserveOutReplaceLostReservation => Action::ReplaceLost,
            _ => return None,
        })
    }
}

/// A PERSISTENT RESERVE OUT with the basic parameter list: every service action but REGISTER AND MOVE.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Service action.
    pub action: Action,
    /// Byte 2 of the CDB.
    pub scope_and_type: u8,
    /// The parameter list.
    pub list: PersistentReserveOut,
    /// APTPL can be honoured.
    pub keeps: bool,
    /// TransportIDs of a list with SPEC_I_PT.
    pub initiators: &'a [TransportId],
}

/// What the unit knows of its world.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Target ports through which the unit is reached.
    pub ports: &'a [PortIdentity],
    /// Attached nexuses.
    pub nexuses: &'a [NexusIdentity],
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

/// What PERSISTENT RESERVE OUT means for others.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// Unit attentions.
    pub announcements: Vec<Announcement>,
    /// Whose registrations a preemption took, the issuer's own among them: PREEMPT AND ABORT ends their commands.
    pub preempted: Vec<NexusIdentity>,
}

impl Reservations {
    /// PERSISTENT RESERVE OUT, but for REGISTER AND MOVE. On success `changes` has what it means for others.
    ///
    /// # Errors
    /// RESERVATION CONFLICT or CHECK CONDITION; the state is as before.
    pub fn out(&mut self, who: &NexusIdentity, order: &Order<'_>, world: World<'_>, changes: &mut Changes) -> Result<(), Refusal> {
        let (action, list) = (order.action, &order.list);
        refuse_options(action, list, order.keeps)?;
        let place = self.find(who);
        match action {
            Action::Register | Action::RegisterAndIgnore => return self.register(who, order, world, changes),
            Action::ReplaceLost => return self.replace_lost(who, order),
            _ => {}
        }
        let at = place.filter(|&at| self.registrants[at].key == list.key).ok_or(Refusal::Conflict)?;
        match action {
            Action::Reserve => self.reserve_persistently(at, decode_type(order.scope_and_type)?),
            Action::Release => self.release_persistently(at, order.scope_and_type, changes),
            Action::Clear => {
                self.clear(at, changes);
                Ok(())
            }
            _ => self.preempt(at, order.scope_and_type, list.service_action_key, changes),
        }
    }

    /// REGISTER and REGISTER AND IGNORE EXISTING KEY: this nexus, with ALL_TG_PT its initiator port through every other target port as if the command had come
    /// there too, and with SPEC_I_PT the initiator ports of the list, as far as they are not registered.
    fn register(&mut self, who: &NexusIdentity, order: &Order<'_>, world: World<'_>, changes: &mut Changes) -> Result<(), Refusal> {
        let list = &order.list;
        let checked = order.action == Action::Register;
        let place = self.find(who);
        if checked && list.key != self.key(who) {
            return Err(Refusal::Conflict);
        }
        if place.is_none() && list.service_action_key == 0 {
            return Ok(());
        }
        if place.is_some() && list.spec_i_pt {
            return Err(Refusal::Check(Sense::invalid_parameter_field(20, Some(3))));
        }
        let mut chosen = Vec::from([who.clone()]);
        let through = |port: &PortIdentity| NexusIdentity { port: port.clone(), ..who.clone() };
        if list.all_tg_pt {
            let others = world.ports.iter().filter(|port| **port != who.port).map(through);
            chosen.extend(others.filter(|other| !checked || list.key == self.key(other)));
        }
        let own = chosen.len();
        for id in if list.spec_i_pt { order.initiators } else { &[] } {
            self.choose_initiator(id, who, list.all_tg_pt, world, &mut chosen)?;
        }
        let new = chosen.iter().filter(|identity| self.find(identity).is_none()).count();
        if list.service_action_key != 0 && self.registrants.len() + new > REGISTRATION_LIMIT {
            return Err(Refusal::Check(Sense::illegal(INSUFFICIENT_REGISTRATION_RESOURCES)));
        }
        for (index, identity) in chosen.iter().enumerate() {
            match (self.find(identity), list.service_action_key) {
                (None, 0) => {}
                (None, key) => self.add(identity, key),
                (Some(at), 0) => self.unregister(at, changes),
                (Some(at), key) if index < own => self.registrants[at].key = key,
                (Some(_), _) => {}
            }
        }
        self.aptpl = list.aptpl;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// The I_T nexuses that a TransportID of SPEC_I_PT means: through the port of the command, or through all. A name without ISID means all initiator ports of that
    /// name that are known here, and there must be one.
    fn choose_initiator(
        &self,
        id: &TransportId,
        who: &NexusIdentity,
        all_ports: bool,
        world: World<'_>,
        chosen: &mut Vec<NexusIdentity>,
    ) -> Result<(), Refusal> {
        let isids: Vec<[u8; 6]> = match id.isid {
            Some(isid) => Vec::from([isid]),
            None => {
                let registered = self.registrants.iter().map(|registrant| &registrant.identity);
                let known = world.nexuses.iter().chain(registered).filter(|identity| identity.initiator_name == id.name);
                known.map(|identity| identity.isid).collect()
            }
        };
        if isids.is_empty() {
            return Err(Refusal::Check(Sense::invalid_parameter_field(28, None)));
        }
        let others = world.ports.iter().filter(|port| all_ports && **port != who.port);
        for port in core::iter::once(&who.port).chain(others) {
            for &isid in &isids {
                let identity = NexusIdentity { initiator_name: id.name.clone(), isid, port: port.clone() };
                if !chosen.contains(&identity) {
                    chosen.push(identity);
                }
            }
        }
        Ok(())
    }

    /// REGISTER AND MOVE: the reservation goes to another I_T nexus, which is registered with it.
    ///
    /// # Errors
    /// RESERVATION CONFLICT for everybody but the holder, and for the types that all registrants hold; CHECK CONDITION when there is nothing to move, or the
    /// destination is no other nexus that this unit could meet. The state is as before.
    pub fn register_and_move(&mut self, who: &NexusIdentity, list: &RegisterAndMove, keeps: bool, world: World<'_>) -> Result<(), Refusal> {
        let bad = |at: u16, bit: Option<u8>| Refusal::Check(Sense::invalid_parameter_field(at, bit));
        if list.aptpl && !keeps {
            return Err(bad(17, Some(0)));
        }
        let at = self.find(who).filter(|&at| self.registrants[at].key == list.key).ok_or(Refusal::Conflict)?;
        let number = self.registrants[at].number;
        let Some(held) = self.held else { return Err(Refusal::Check(Sense::invalid_cdb_field(1, Some(4)))) };
        if held.holder != Some(number) {
            return Err(Refusal::Conflict);
        }
        if list.service_action_key == 0 {
            return Err(bad(8, None));
        }
        let isid = list.destination.isid.ok_or(bad(24, None))?;
        let port = world.ports.iter().find(|port| port.relative_port.0 == list.relative_port).ok_or(bad(18, None))?;
        let destination = NexusIdentity { initiator_name: list.destination.name.clone(), isid, port: port.clone() };
        if destination == *who {
            return Err(bad(24, None));
        }
        let place = match self.find(&destination) {
            Some(place) => place,
            None if self.registrants.len() >= REGISTRATION_LIMIT => {
                return Err(Refusal::Check(Sense::illegal(INSUFFICIENT_REGISTRATION_RESOURCES)));
            }
            None => {
                self.add(&destination, list.service_action_key);
                self.registrants.len() - 1
            }
        };
        self.registrants[place].key = list.service_action_key;
        self.held = Some(Held { kind: held.kind, holder: Some(self.registrants[place].number) });
        if list.unregister {
            self.registrants.remove(at);
        }
        self.aptpl = list.aptpl;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// REPLACE LOST RESERVATION: this nexus alone is registered, and holds the reservation that it names.
    fn replace_lost(&mut self, who: &NexusIdentity, order: &Order<'_>) -> Result<(), Refusal> {
        let list = &order.list;
        if !self.lost {
            return Err(Refusal::Check(Sense::invalid_cdb_field(1, Some(4))));
        }
        let kind = decode_type(order.scope_and_type)?;
        if list.key != 0 {
            return Err(Refusal::Check(Sense::invalid_parameter_field(0, None)));
        }
        if list.service_action_key == 0 {
            return Err(Refusal::Check(Sense::invalid_parameter_field(8, None)));
        }
        self.lost = false;
        // What was lost had been kept, and so is what comes in its place.
        self.aptpl = order.keeps;
        self.registrants.clear();
        self.add(who, list.service_action_key);
        let number = self.registrants[0].number;
        self.held = Some(Held { kind, holder: (!kind.all_registrants()).then_some(number) });
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    pub(super) fn add(&mut self, who: &NexusIdentity, key: u64) {
        self.registrants.push(Registrant { number: self.next_number, stable_key: who.stable_key(), identity: who.clone(), key });
        self.next_number += 1;
    }

    /// A registration goes. The reservation goes with its holder, and the last registrant of an all-registrants one.
    fn unregister(&mut self, at: usize, changes: &mut Changes) {
        let gone = self.registrants.remove(at);
        let Some(held) = self.held else { return };
        if held.holder.is_none() && !self.registrants.is_empty() || held.holder.is_some_and(|number| number != gone.number) {
            return;
        }
        self.held = None;
        if held.kind.shared() {
            self.announce(None, RESERVATIONS_RELEASED, changes);
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

    fn release_persistently(&mut self, at: usize, scope_and_type: u8, changes: &mut Changes) -> Result<(), Refusal> {
        let number = self.registrants[at].number;
        let Some(held) = self.held.filter(|held| held.holder.is_none_or(|holder| holder == number)) else {
            // No reservation, or not the holder: nothing to do.
            return Ok(());
        };
        if scope_and_type != held.kind.number() {
            return Err(Refusal::Check(Sense::illegal(Asc::INVALID_RELEASE)));
        }
        self.held = None;
        if held.kind.shared() {
            self.announce(Some(number), RESERVATIONS_RELEASED, changes);
        }
        Ok(())
    }

    fn clear(&mut self, at: usize, changes: &mut Changes) {
        let number = self.registrants[at].number;
        self.announce(Some(number), RESERVATIONS_PREEMPTED, changes);
        self.registrants.clear();
        self.held = None;
        self.generation = self.generation.wrapping_add(1);
    }

    fn preempt(&mut self, at: usize, scope_and_type: u8, victim: u64, changes: &mut Changes) -> Result<(), Refusal> {
        let number = self.registrants[at].number;
        let all_registrants = self.held.is_some_and(|held| held.holder.is_none());
        if victim == 0 && !all_registrants {
            return Err(Refusal::Check(Sense::invalid_parameter_field(8, None)));
        }
        let holder_key = self.held.and_then(|held| self.registrants.iter().find(|registrant| Some(registrant.number) == held.holder));
        let takes_over = if all_registrants { victim == 0 } else { holder_key.is_some_and(|holder| holder.key == victim) };
        if takes_over {
            let kind = decode_type(scope_and_type)?;
            self.remove(|registrant| registrant.number != number && (victim == 0 || registrant.key == victim), number, changes);
            let changed = self.held.is_some_and(|held| held.kind != kind);
            self.held = Some(Held { kind, holder: (!kind.all_registrants()).then_some(number) });
            if changed {
                self.announce(Some(number), RESERVATIONS_RELEASED, changes);
            }
        } else {
            if !self.registrants.iter().any(|registrant| registrant.key == victim) {
                return Err(Refusal::Conflict);
            }
            // The preempting nexus loses its own registration when its key is the one named.
            self.remove(|registrant| registrant.key == victim, number, changes);
            if self.registrants.is_empty() {
                self.held = None;
            }
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// Removes registrations; all but `issuer` hear of it.
    fn remove(&mut self, victim: impl Fn(&Registrant) -> bool, issuer: u64, changes: &mut Changes) {
        self.registrants.retain(|registrant| {
            let goes = victim(registrant);
            if goes {
                changes.preempted.push(registrant.identity.clone());
            }
            if goes && registrant.number != issuer {
                changes.announcements.push(Announcement { identity: registrant.identity.clone(), asc: REGISTRATIONS_PREEMPTED });
            }
            !goes
        });
    }

    /// A unit attention for every registrant but one.
    fn announce(&self, except: Option<u64>, asc: Asc, changes: &mut Changes) {
        let others = self.registrants.iter().filter(|registrant| Some(registrant.number) != except);
        changes.announcements.extend(others.map(|registrant| Announcement { identity: registrant.identity.clone(), asc }));
    }
}

/// Scope (bits 7 to 4: 0, the whole unit) and type.
fn decode_type(scope_and_type: u8) -> Result<ReservationType, Refusal> {
    if scope_and_type >> 4 != 0 {
        return Err(Refusal::Check(Sense::invalid_cdb_field(2, Some(7))));
    }
    ReservationType::from_number(scope_and_type).ok_or(Refusal::Check(Sense::invalid_cdb_field(2, Some(3))))
}

/// SPEC_I_PT belongs to REGISTER only; APTPL is looked at by the two registering actions, and refused where nothing can be kept over a power loss (PTPL_C = 0).
fn refuse_options(action: Action, list: &PersistentReserveOut, keeps: bool) -> Result<(), Refusal> {
    let registers = matches!(action, Action::Register | Action::RegisterAndIgnore);
    let refused = [(list.spec_i_pt && action != Action::Register, 3), (list.aptpl && registers && !keeps, 0)];
    match refused.iter().find(|(set, _)| *set) {
        Some(&(_, bit)) => Err(Refusal::Check(Sense::invalid_parameter_field(20, Some(bit)))),
        None => Ok(()),
    }
}
