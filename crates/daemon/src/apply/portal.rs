//! Mode portal.

use std::net::{SocketAddr, ToSocketAddrs};

use admin::code::Code;
use admin::portal::Portal;
use admin::reply::{Answer, Failure, Reply};
use admin::request::PortalRequest;

use super::{Context, DONE, system};
use crate::state::PORTAL_LIMIT;

pub fn show(context: &Context<'_>) -> Answer {
    Answer::Portals(system::portals(context))
}

/// Opens the portals in order; those before a failing one stay open.
pub fn new(context: &mut Context<'_>, request: &PortalRequest) -> Reply {
    defaults(context, request);
    for text in &request.portals {
        let address = context.unlocked(|| parse(text))?;
        open(context, address)?;
    }
    DONE
}

pub fn delete(context: &mut Context<'_>, request: &PortalRequest) -> Reply {
    defaults(context, request);
    for text in &request.portals {
        let address = context.unlocked(|| parse(text))?;
        let Some(place) = context.state.portals.iter().position(|&open| open == address) else {
            return Err(Code::InvalidRequest.because(format!("no portal {address} is open")));
        };
        context.state.portals.remove(place);
        context.state.fixed_portals.retain(|fixed| *fixed != address);
        let plane = context.plane;
        context.unlocked(|| plane.close_portal(address));
    }
    DONE
}

/// Opens one portal.
pub fn open(context: &mut Context<'_>, address: SocketAddr) -> Result<SocketAddr, Failure> {
    if context.state.portals.len() >= PORTAL_LIMIT {
        return Err(Code::InvalidRequest.because(format!("{PORTAL_LIMIT} portals are open already")));
    }
    if address.port() != 0 && context.state.portals.contains(&address) {
        return Err(Code::InvalidRequest.because(format!("portal {address} is open already")));
    }
    let plane = context.plane;
    let opened = context
        .unlocked(|| plane.open_portal(address))
        .map_err(|error| Code::InvalidRequest.because(format!("cannot listen on {address}: {error}")))?;
    context.state.portals.push(opened);
    Ok(opened)
}

/// The address that a portal's text means; names are looked up.
fn parse(text: &str) -> Result<SocketAddr, Failure> {
    let portal = Portal::parse(text).map_err(|error| Code::InvalidRequest.because(error))?;
    let found =
        (portal.host.as_str(), portal.port).to_socket_addrs().map_err(|error| Code::InvalidRequest.because(format!("portal '{text}': {error}")))?;
    found.into_iter().next().ok_or_else(|| Code::InvalidRequest.because(format!("portal '{text}' has no address")))
}

fn defaults(context: &mut Context<'_>, request: &PortalRequest) {
    if let Some(interval) = request.nop_interval {
        context.state.nop_interval = interval;
    }
    if let Some(count) = request.nop_count {
        context.state.nop_count = count;
    }
}
