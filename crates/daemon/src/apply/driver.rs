//! Mode lld: the one driver, iscsi.

use admin::code::Code;
use admin::reply::{Answer, Reply};
use admin::view::{DriverState, DriverView};

use super::{Context, DONE, DRIVER, portal};

pub fn show(context: &Context<'_>) -> Answer {
    Answer::Drivers(views(context))
}

pub fn views(context: &Context<'_>) -> Vec<DriverView> {
    vec![DriverView { name: DRIVER.into(), state: context.state.driver, targets: context.state.targets_by_creation() }]
}

pub fn start(context: &mut Context<'_>) -> Reply {
    if context.state.driver == DriverState::Ready {
        return DONE;
    }
    for wanted in std::mem::take(&mut context.state.stopped_portals) {
        match portal::open(context, wanted) {
            Ok(_) => {}
            Err(failure) => {
                context.state.stopped_portals.push(wanted);
                return Err(Code::Unknown.because(failure.detail));
            }
        }
    }
    context.state.driver = DriverState::Ready;
    DONE
}

pub fn stop(context: &mut Context<'_>) -> Reply {
    if !context.state.targets.is_empty() {
        return Err(Code::DriverActive.because("the driver has targets"));
    }
    for portal in std::mem::take(&mut context.state.portals) {
        context.plane.close_portal(portal.address);
        context.state.stopped_portals.push(portal);
    }
    context.state.driver = DriverState::Stopped;
    DONE
}
