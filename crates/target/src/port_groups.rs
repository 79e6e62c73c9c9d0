//! Asymmetric logical unit access (SPC-6 5.18): target port groups, their states, and what each lets through.
//!
//! A target port of iSCSI is a portal group, and each is a target port group of its own: the group's number is the portal group tag. States change by the
//! administrator (implicit) and by SET TARGET PORT GROUPS (explicit); [`TargetPortGroupSupport`] says which of them initiators are told of.

use alloc::vec::Vec;

use device::{PortIdentity, Step, TargetPortGroupSupport};
use scsi::command::Operation;
use scsi::response::{Response, be16, be32};
use scsi::{AccessState, Asc, DataIn, Outcome, Sense, SenseKey, Status};

use crate::attention::{ACCESS_STATE_CHANGE_FAILED, ACCESS_STATE_CHANGED};
use crate::effect::NexusId;
use crate::task::Task;
use crate::unit::Unit;

/// Longest parameter list of SET TARGET PORT GROUPS: every group there can be would not fit, and nobody has that many.
const LIST_LIMIT: u32 = 4096;
/// T_SUP, O_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP: every state but LBA dependent.
const SUPPORTED_STATES: u8 = 0x80 | 0x40 | 0x08 | 0x04 | 0x02 | 0x01;
/// IMPLICIT TRANSITION TIME in seconds: how long an initiator should wait for a transition to end.
const TRANSITION_SECONDS: u8 = 60;

/// The state that SET TARGET PORT GROUPS may ask for by this number: one that the medium can be in, and stay in.
fn settable(number: u8) -> Option<AccessState> {
    AccessState::ALL[..4].iter().copied().find(|state| state.number() == number)
}

/// Why a command that the state does not let through is refused; `None`: the state lets everything through.
fn refusal(state: AccessState) -> Option<Asc> {
    match state {
        AccessState::Optimized | AccessState::NonOptimized => None,
        AccessState::Standby => Some(Asc(0x040b)),
        AccessState::Unavailable => Some(Asc(0x040c)),
        AccessState::Offline => Some(Asc(0x0412)),
        AccessState::Transitioning => Some(Asc(0x040a)),
    }
}

/// Does the state let this operation through?
fn admits(state: AccessState, operation: Operation) -> bool {
    use Operation as Op;
    let serves_standby = refusal(state).is_none() || state == AccessState::Standby;
    match operation {
        Op::Inquiry | Op::ReportLuns | Op::RequestSense | Op::ReportTargetPortGroups => true,
        Op::SetTargetPortGroups | Op::LogSense | Op::ModeSense6 | Op::ModeSense10 => state != AccessState::Transitioning,
        Op::ModeSelect6 | Op::ModeSelect10 | Op::LogSelect | Op::SendDiagnostic | Op::ReceiveDiagnosticResults => serves_standby,
        operation if crate::reservation::persistent(operation) => serves_standby,
        _ => refusal(state).is_none(),
    }
}

/// STATUS CODE of REPORT TARGET PORT GROUPS: what changed the state last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ChangedBy {
    Nothing = 0,
    SetTargetPortGroups = 1,
    Implicit = 2,
}

impl ChangedBy {
    /// Its number on the wire.
    const fn number(self) -> u8 {
        self as u8
    }
}

/// A target port, and the group that it is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct PortGroup {
    port: PortIdentity,
    state: AccessState,
    /// While `state` is transitioning: the one before.
    before: AccessState,
    preferred: bool,
    changed_by: ChangedBy,
}

/// The target ports of a unit, ascending by portal group tag.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PortGroups {
    groups: Vec<PortGroup>,
    /// Some group is not active: only then commands are looked at.
    limited: bool,
}

/// A target port through which a unit can be reached, and how it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// The port.
    pub identity: PortIdentity,
    /// State of its group, as long as nothing has changed it.
    pub state: AccessState,
    /// Its group is preferred.
    pub preferred: bool,
}

/// Why a state cannot be changed; nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessError {
    /// There is no target port group with this portal group tag.
    UnknownGroup,
    /// An initiator has forbidden implicit changes (IALUAE = 0 in the control extension mode page).
    Forbidden,
}

impl PortGroups {
    /// A port that is not known is there from now on. True when it was not.
    fn insert(&mut self, port: &Port) -> bool {
        let Err(at) = self.groups.binary_search_by_key(&port.identity.group_tag, |group| group.port.group_tag) else { return false };
        let Port { identity, state, preferred } = port.clone();
        self.groups.insert(at, PortGroup { port: identity, state, before: state, preferred, changed_by: ChangedBy::Nothing });
        self.look_at_states();
        true
    }

    fn look_at_states(&mut self) {
        self.limited = self.groups.iter().any(|group| refusal(group.state).is_some());
    }

    /// The ports.
    pub fn identities(&self) -> Vec<PortIdentity> {
        self.groups.iter().map(|group| group.port.clone()).collect()
    }

    fn get_mut(&mut self, tag: u16) -> Option<&mut PortGroup> {
        self.groups.iter_mut().find(|group| group.port.group_tag == tag)
    }

    /// The state of a port; one that is not known is active.
    #[inline]
    fn state(&self, port: &PortIdentity) -> AccessState {
        if !self.limited {
            return AccessState::Optimized;
        }
        self.groups.iter().find(|group| group.port.group_tag == port.group_tag).map_or(AccessState::Optimized, |group| group.state)
    }

    fn change(&mut self, tag: u16, state: AccessState, changed_by: ChangedBy) -> Result<(), AccessError> {
        let group = self.get_mut(tag).ok_or(AccessError::UnknownGroup)?;
        if group.state != AccessState::Transitioning {
            group.before = group.state;
        }
        (group.state, group.changed_by) = (state, changed_by);
        self.look_at_states();
        Ok(())
    }
}

impl Unit {
    /// The target ports through which the unit can be reached: ALL_TG_PT registrations, REPORT TARGET PORT GROUPS and VPD page 88h are about all of them.
    /// New ones begin as it is said here, known ones stay as they are, and others go unless a nexus came through them.
    pub fn set_ports(&mut self, ports: &[Port]) {
        let Unit { ports: groups, nexuses, .. } = self;
        groups.groups.retain(|group| {
            let same = |port: &PortIdentity| *port == group.port;
            ports.iter().any(|port| same(&port.identity)) || nexuses.iter().any(|nexus| same(&nexus.identity.port))
        });
        for port in ports {
            groups.insert(port);
        }
        groups.look_at_states();
        self.device.set_ports(self.ports.identities());
    }

    /// A nexus came through this port.
    pub(crate) fn meet_port(&mut self, identity: &PortIdentity) {
        if self.ports.groups.iter().any(|group| group.port == *identity) {
            return;
        }
        if self.ports.insert(&Port { identity: identity.clone(), state: AccessState::Optimized, preferred: false }) {
            self.device.set_ports(self.ports.identities());
        }
    }

    /// Portal group tag, state and preference of every target port group, ascending.
    pub fn access_states(&self) -> impl Iterator<Item = (u16, AccessState, bool)> {
        self.ports.groups.iter().map(|group| (group.port.group_tag, group.state, group.preferred))
    }

    /// State and preference of the target port group with this portal group tag.
    pub fn access_state(&self, group_tag: u16) -> Option<(AccessState, bool)> {
        self.ports.groups.iter().find(|group| group.port.group_tag == group_tag).map(|group| (group.state, group.preferred))
    }

    /// Changes the state of a target port group, implicitly. All nexuses hear of it (6/2A06), unless the group only begins its transition.
    ///
    /// # Errors
    /// No such group, or an initiator has forbidden it.
    pub fn set_access_state(&mut self, group_tag: u16, state: AccessState) -> Result<(), AccessError> {
        let before = self.access_state(group_tag);
        if before.is_some_and(|(before, _)| before != state) && !self.device.implicit_access_enabled() {
            return Err(AccessError::Forbidden);
        }
        self.ports.change(group_tag, state, ChangedBy::Implicit)?;
        if state != AccessState::Transitioning && before.is_none_or(|(before, _)| before != state) {
            self.attention_all(ACCESS_STATE_CHANGED, None);
        }
        Ok(())
    }

    /// A transition failed: the group is again what it was, and all nexuses hear of the failure (6/2A07). Nothing happens when it is not transitioning.
    ///
    /// # Errors
    /// No such group.
    pub fn fail_access_transition(&mut self, group_tag: u16) -> Result<(), AccessError> {
        let group = self.ports.get_mut(group_tag).ok_or(AccessError::UnknownGroup)?;
        let (state, before) = (group.state, group.before);
        if state == AccessState::Transitioning {
            self.ports.change(group_tag, before, ChangedBy::Implicit)?;
            self.attention_all(ACCESS_STATE_CHANGE_FAILED, None);
        }
        Ok(())
    }

    /// Makes a target port group the preferred one (PREF), or not. All nexuses hear of a change (6/2A06).
    ///
    /// # Errors
    /// No such group.
    pub fn set_preferred(&mut self, group_tag: u16, preferred: bool) -> Result<(), AccessError> {
        let group = self.ports.get_mut(group_tag).ok_or(AccessError::UnknownGroup)?;
        if core::mem::replace(&mut group.preferred, preferred) != preferred {
            self.attention_all(ACCESS_STATE_CHANGED, None);
        }
        Ok(())
    }

    /// Which changes of state initiators are told of, and may ask for.
    pub fn set_target_port_group_support(&mut self, support: TargetPortGroupSupport) {
        self.device.set_target_port_group_support(support);
        self.publish_notices();
    }

    /// The gate of the port through which the command came.
    #[inline]
    pub(crate) fn check_access(&self, operation: Operation, port: &PortIdentity) -> Result<(), Sense> {
        if !self.ports.limited {
            return Ok(());
        }
        let state = self.ports.state(port);
        match refusal(state) {
            Some(asc) if !admits(state, operation) => Err(Sense::new(SenseKey::NOT_READY, asc)),
            _ => Ok(()),
        }
    }

    /// INQUIRY through a port that gives no access says so with peripheral qualifier 001b.
    pub(crate) fn qualify_inquiry(&self, slot: usize, step: &mut Step) {
        let task = self.tasks.get(slot);
        let concerned = self.ports.limited && task.row.is_some_and(|row| row.operation == Operation::Inquiry);
        let Some(nexus) = self.nexuses.of(task).filter(|_| concerned) else { return };
        if let (AccessState::Unavailable | AccessState::Offline, Step::Finish(Outcome { data_in: DataIn::Inline(bytes), .. })) =
            (self.ports.state(&nexus.identity.port), step)
            && let Some(first) = bytes.first_mut()
        {
            *first |= 0x20;
        }
    }

    /// REPORT TARGET PORT GROUPS.
    pub(crate) fn report_target_port_groups(&self, slot: usize) -> Outcome {
        let cdb = self.tasks.get(slot).cdb();
        let mut response = Response::new(be32(cdb, 6).unwrap_or(0));
        response.zeros(4);
        match cdb.get(1).map_or(0, |byte| byte >> 5) {
            0 => {}
            1 => {
                response.u8(0x10).u8(TRANSITION_SECONDS).zeros(2);
            }
            _ => return Outcome::check(Sense::invalid_cdb_field(1, Some(7))),
        }
        for group in &self.ports.groups {
            response.u8(u8::from(group.preferred) << 7 | group.state.number()).u8(SUPPORTED_STATES).be16(group.port.group_tag);
            response.u8(0).u8(group.changed_by.number()).u8(0).u8(1);
            response.be16(0).be16(group.port.relative_port.0);
        }
        response.length32(0);
        Outcome::inline(response.finish())
    }

    /// The parameter list of SET TARGET PORT GROUPS is there: all of it is right and carried out, or nothing is. The other nexuses hear of changes (6/2A06).
    pub(crate) fn set_target_port_groups(&mut self, slot: usize, data: &[u8]) -> Step {
        let nexus = self.tasks.get(slot).nexus;
        let mut outcome = match self.change_port_groups(nexus, data) {
            Ok(()) => Outcome::good(0),
            Err(sense) => Outcome::check(sense),
        };
        outcome.data_out = self.tasks.get(slot).fetched;
        Step::Finish(outcome)
    }

    fn change_port_groups(&mut self, nexus: NexusId, data: &[u8]) -> Result<(), Sense> {
        let mut ports = self.ports.clone();
        for (index, entry) in data.get(4..).unwrap_or_default().chunks_exact(4).enumerate() {
            let at = u16::try_from(4 + index * 4).unwrap_or(u16::MAX);
            let state = settable(entry[0] & 0x0f).ok_or(Sense::invalid_parameter_field(at, Some(3)))?;
            let unknown = Sense::invalid_parameter_field(at.saturating_add(2), Some(7));
            let tag = be16(entry, 2).ok_or(unknown)?;
            if self.access_state(tag).is_some_and(|(state, _)| state == AccessState::Transitioning) {
                return Err(Sense::new(SenseKey::NOT_READY, Asc(0x040a)));
            }
            ports.change(tag, state, ChangedBy::SetTargetPortGroups).map_err(|_| unknown)?;
        }
        let states = |ports: &PortGroups| ports.groups.iter().map(|group| group.state).collect::<Vec<_>>();
        let changed = states(&ports) != states(&self.ports);
        self.ports = ports;
        if changed {
            self.attention_all(ACCESS_STATE_CHANGED, Some(nexus));
        }
        Ok(())
    }
}

/// First step of SET TARGET PORT GROUPS; an empty list is no error.
pub(crate) fn begin(task: &Task) -> Step {
    let len = be32(task.cdb(), 6).unwrap_or(0);
    if len == 0 {
        return Step::Finish(Outcome::status(Status::GOOD));
    }
    if len < 4 || !len.is_multiple_of(4) || len > LIST_LIMIT || task.data_out < len {
        return Step::Finish(Outcome::check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
    }
    Step::Fetch { len, inline: true }
}

#[cfg(test)]
#[path = "port_groups_tests.rs"]
mod tests;
