//! Mode portal.

use std::net::{SocketAddr, ToSocketAddrs};

use admin::code::Code;
use admin::portal;
use admin::reply::{Answer, Failure, Reply};
use admin::request::PortalRequest;
use transport::model::Portal;

use super::{Context, DONE, port_groups, system};
use crate::state::PORTAL_LIMIT;

pub fn show(context: &Context<'_>) -> Answer {
    Answer::Portals(system::portals(context))
}

/// Opens the portals in order; those before a failing one stay open.
pub fn new(context: &mut Context<'_>, request: &PortalRequest) -> Reply {
    defaults(context, request);
    for text in &request.portals {
        let portal = context.unlocked(|| parse(text))?;
        open(context, portal)?;
    }
    DONE
}

pub fn delete(context: &mut Context<'_>, request: &PortalRequest) -> Reply {
    defaults(context, request);
    for text in &request.portals {
        // Its group need not be named: two portals of one address cannot be.
        let address = context.unlocked(|| parse(text))?.address;
        let Some(place) = context.state.portals.iter().position(|open| open.address == address) else {
            return Err(Code::InvalidRequest.because(format!("no portal {address} is open")));
        };
        context.state.portals.remove(place);
        context.state.fixed_portals.retain(|fixed| *fixed != address);
        let plane = context.plane;
        context.unlocked(|| plane.close_portal(address));
        port_groups::follow(&mut context.state, None);
    }
    DONE
}

/// Opens one portal.
pub fn open(context: &mut Context<'_>, portal: Portal) -> Result<SocketAddr, Failure> {
    let address = portal.address;
    if context.state.portals.len() >= PORTAL_LIMIT {
        return Err(Code::InvalidRequest.because(format!("{PORTAL_LIMIT} portals are open already")));
    }
    if let Some(open) = context.state.portals.iter().find(|open| address.port() != 0 && open.address == address) {
        let group = if open.group_tag == portal.group_tag { String::new() } else { format!(", in group {}", open.group_tag) };
        return Err(Code::InvalidRequest.because(format!("portal {address} is open already{group}")));
    }
    let plane = context.plane;
    // Before anybody can come through it.
    port_groups::follow(&mut context.state, Some(portal.group_tag));
    let opened = context.unlocked(|| plane.open_portal(portal));
    if let Ok(address) = opened {
        context.state.portals.push(Portal { address, ..portal });
    }
    port_groups::follow(&mut context.state, None);
    opened.map_err(|error| Code::InvalidRequest.because(format!("cannot listen on {address}: {error}")))
}

/// The address that a portal's text means; names are looked up.
fn parse(text: &str) -> Result<Portal, Failure> {
    let portal = portal::Portal::parse(text).map_err(|error| Code::InvalidRequest.because(error))?;
    let found =
        (portal.host.as_str(), portal.port).to_socket_addrs().map_err(|error| Code::InvalidRequest.because(format!("portal '{text}': {error}")))?;
    let address = found.into_iter().next();
    address
        .map(|address| Portal { address, group_tag: portal.group })
        .ok_or_else(|| Code::InvalidRequest.because(format!("portal '{text}' has no address")))
}

fn defaults(context: &mut Context<'_>, request: &PortalRequest) {
    if let Some(interval) = request.nop_interval {
        context.state.nop_interval = interval;
    }
    if let Some(count) = request.nop_count {
        context.state.nop_count = count;
    }
}
