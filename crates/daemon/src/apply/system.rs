//! Mode system, and the status of our own command.

use admin::code::Code;
use admin::reply::{Answer, Reply};
use admin::request::{RunState, SystemSetting};
use admin::view::{IsnsView, PortalView, StatusView, StoreView, SystemView};

use super::{Context, DONE, driver};

pub fn show(context: &Context<'_>) -> Reply {
    let state = &*context.state;
    let store = |name: &str, flags| StoreView { name: name.into(), flags };
    Ok(Answer::System(SystemView {
        state: if state.online { RunState::Ready } else { RunState::Offline },
        debug: state.debug,
        drivers: driver::views(context),
        stores: vec![store("memory", false), store("null", false), store("rdwr", true), store("aio", false)],
        device_types: vec![scsi::DeviceType::DISK.0, scsi::DeviceType::CONTROLLER.0],
        incoming: state.discovery_incoming.clone(),
        outgoing: state.discovery_outgoing.clone(),
        // As tgt: On means that there is a server. Without one the request succeeds, and show goes on saying Off.
        isns: IsnsView { enabled: state.isns.enabled && state.isns_connected, ..state.isns.clone() },
    }))
}

pub fn delete(context: &mut Context<'_>) -> Reply {
    if !context.state.targets.is_empty() {
        return Err(Code::InvalidRequest.because("a target exists: delete it first"));
    }
    context.end = true;
    DONE
}

pub fn update(context: &mut Context<'_>, settings: &[SystemSetting]) -> Reply {
    for setting in settings {
        let state = &mut *context.state;
        match setting {
            SystemSetting::Debug(on) => {
                state.debug = *on;
                context.log.set_debug(*on);
            }
            SystemSetting::State(run) => state.online = *run == RunState::Ready,
            SystemSetting::Isns(on) => state.isns.enabled = *on,
            SystemSetting::IsnsServerIp(text) => state.isns.server.clone_from(text),
            SystemSetting::IsnsServerPort(port) => state.isns.port = *port,
            SystemSetting::IsnsAccessControl(on) => state.isns.access_control = *on,
        }
    }
    DONE
}

pub fn status(context: &Context<'_>) -> Answer {
    let state = &*context.state;
    let (io, reactors) = context.plane.driver();
    Answer::Status(StatusView {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        seed: state.seed,
        faults: !state.faults.is_refused(),
        io,
        reactors,
        portals: portals(context),
        targets: state.targets_by_creation(),
        sessions: context.plane.sessions().len() as u64,
        rules: state.faults.len() as u64,
    })
}

/// Portals, newest first.
pub fn portals(context: &Context<'_>) -> Vec<PortalView> {
    context.state.portals.iter().rev().map(|portal| PortalView { address: portal.address, group_tag: portal.group_tag }).collect()
}
