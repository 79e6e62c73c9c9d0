//! The target ports of units: each portal group is one, of every target.

use std::collections::BTreeSet;

use admin::code::Code;
use admin::document::{Access, Alua};
use admin::reply::{Failure, Reply};
use admin::view::PortGroupView;
use device::TargetPortGroupSupport;
use scsi::AccessState;
use target::port_groups::{AccessError, Port};
use transport::model::{UnitCell, port};

use super::{Context, DONE};
use crate::state::{State, UnitState};

/// Tells units which portal groups there are, if that has changed; `coming`: one that is there before its first portal is open. Those of portals that the
/// stopped driver will open again stay.
pub fn follow(state: &mut State, coming: Option<u16>) {
    let portals = state.portals.iter().chain(&state.stopped_portals);
    let groups: BTreeSet<u16> = portals.map(|portal| portal.group_tag).chain(coming).collect();
    if groups == state.groups {
        return;
    }
    state.groups = groups;
    for target in state.targets.values() {
        for unit in target.units.values() {
            tell(&state.groups, &target.name, unit);
        }
        tell_well_known(&state.groups, &target.name, target.units.well_known());
    }
}

/// Tells a unit which portal groups there are. New ones begin as the unit is configured.
pub fn tell(groups: &BTreeSet<u16>, target: &str, unit: &UnitState) {
    let ports: Vec<Port> = groups.iter().map(|&tag| begins(target, unit, tag)).collect();
    unit.cell.lock().set_ports(&ports);
}

/// Tells a well known logical unit which portal groups there are: it is active through all of them.
pub fn tell_well_known(groups: &BTreeSet<u16>, target: &str, cell: &UnitCell) {
    let begins = |&tag| Port { identity: port(target, tag), state: AccessState::Optimized, preferred: false };
    let ports: Vec<Port> = groups.iter().map(begins).collect();
    cell.lock().set_ports(&ports);
}

fn begins(target: &str, unit: &UnitState, tag: u16) -> Port {
    let configured = unit.configured.access_states.iter().find(|access| access.group == tag);
    Port {
        identity: port(target, tag),
        state: configured.map_or(AccessState::Optimized, |access| access.state),
        preferred: configured.is_some_and(|access| access.preferred),
    }
}

/// Which changes initiators are told of, and may ask for.
pub fn support(unit: &mut UnitState, alua: Alua) {
    let support = match alua {
        Alua::None => TargetPortGroupSupport::None,
        Alua::Implicit => TargetPortGroupSupport::Implicit,
        Alua::Explicit => TargetPortGroupSupport::Explicit,
        Alua::Both => TargetPortGroupSupport::Both,
    };
    unit.cell.lock().set_target_port_group_support(support);
    unit.configured.alua = Some(alua);
}

/// State and preference of a target port group, now or as soon as there is such a group.
///
/// # Errors
/// An initiator has forbidden implicit changes.
pub fn set(unit: &mut UnitState, access: Access) -> Result<(), Failure> {
    let mut core = unit.cell.lock();
    match core.set_access_state(access.group, access.state).and_then(|()| core.set_preferred(access.group, access.preferred)) {
        Ok(()) | Err(AccessError::UnknownGroup) => {}
        Err(AccessError::Forbidden) => {
            let why = "an initiator has forbidden implicit changes of access states (IALUAE = 0 in the control extension mode page)";
            return Err(Code::InvalidRequest.because(why));
        }
    }
    drop(core);
    unit.configured.record_access(access);
    Ok(())
}

/// A transition fails: the group is again what it was before it, and so is what is kept of it.
///
/// # Errors
/// No such unit or group, or the group is in no transition.
pub fn fail(context: &mut Context<'_>, tid: i32, lun: u64, group: u16) -> Reply {
    let target = context.state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
    let unit = target.units.get_mut(&lun).ok_or(Code::NoUnit)?;
    let mut core = unit.cell.lock();
    match core.access_state(group) {
        None => return Err(Code::InvalidRequest.because(format!("there is no target port group {group}"))),
        Some((AccessState::Transitioning, _)) => {}
        Some((state, _)) => {
            let why = format!(
                "group {group} is {}: only a transition can fail; begin one with `unit access-state ... {group} transitioning`",
                state.word()
            );
            return Err(Code::InvalidRequest.because(why));
        }
    }
    let failed = core.fail_access_transition(group).ok().and_then(|()| core.access_state(group));
    drop(core);
    if let Some((state, preferred)) = failed {
        unit.configured.record_access(Access { group, state, preferred });
    }
    context.plane.attend(&unit.cell);
    DONE
}

/// The target port groups of a unit as they are now.
pub fn view(unit: &UnitState) -> Vec<PortGroupView> {
    let core = unit.cell.lock();
    let row = |(tag, state, preferred): (u16, AccessState, bool)| PortGroupView { tag, state: state.word().into(), preferred };
    core.access_states().map(row).collect()
}
