//! What we want a server to know, and the requests that tell it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::message::Attribute;
use super::{GROUP_TAG, NODE_INITIATOR, NODE_TARGET, PROTOCOL_ISCSI, SCN_OF_A_TARGET, Tag};

/// With so much payload a request takes no further target; those that are left go into the next. Measured: Open-iSNS closes the connection for a request of 32 KiB; with
/// the last target in it, and as many portals as a daemon may have, ours stay below 8 KiB.
const REGISTRATION_LEN: usize = 4 << 10;
/// Seconds between Entity Status Inquiries that we ask for; the server may choose otherwise.
const ESI_INTERVAL: u32 = 30;

/// A portal: address and TCP port.
pub type PortalKey = (IpAddr, u16);

/// What a server shall know of us.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registration {
    /// Entity Identifier; a server may give another one.
    pub entity: String,
    /// Portals, with the TCP port where the same address takes notifications and inquiries.
    pub portals: BTreeMap<PortalKey, Option<u16>>,
    /// Tags of the portal groups of portals, where they are not 1.
    pub groups: BTreeMap<PortalKey, u16>,
    /// Targets by name, with their aliases.
    pub targets: BTreeMap<String, Option<String>>,
    /// Ask which initiators share a discovery domain with each target.
    pub access_control: bool,
}

impl Registration {
    /// There is something to register: a portal and a target.
    pub fn is_complete(&self) -> bool {
        !self.portals.is_empty() && !self.targets.is_empty()
    }
}

/// Start of a registration: source, key, delimiter, and the key again (RFC 4171, 5.6.5.1).
pub(super) fn registration(source: &str, entity: &str) -> Vec<Attribute> {
    let mut attributes = request(source);
    attributes.push(Attribute::text(Tag::ENTITY_IDENTIFIER, entity));
    attributes.push(Attribute::empty(Tag::DELIMITER));
    attributes.push(Attribute::text(Tag::ENTITY_IDENTIFIER, entity));
    attributes.push(Attribute::number(Tag::ENTITY_PROTOCOL, PROTOCOL_ISCSI));
    attributes
}

/// A portal in a registration. `inquiries`: the server is also to ask there whether we live.
pub(super) fn push_portal(attributes: &mut Vec<Attribute>, portal: PortalKey, notify: Option<u16>, inquiries: bool) {
    push_portal_key(attributes, portal);
    let Some(port) = notify.map(u32::from) else { return };
    if inquiries {
        attributes.push(Attribute::number(Tag::ESI_INTERVAL, ESI_INTERVAL));
        attributes.push(Attribute::number(Tag::ESI_PORT, port));
    }
    attributes.push(Attribute::number(Tag::SCN_PORT, port));
}

/// Address and port: the key of a portal.
pub(super) fn push_portal_key(attributes: &mut Vec<Attribute>, (address, port): PortalKey) {
    attributes.push(Attribute::address(Tag::PORTAL_ADDRESS, address));
    attributes.push(Attribute::number(Tag::PORTAL_PORT, port.into()));
}

/// The portals of each group, by tag.
pub(super) fn portal_groups<'a>(portals: impl Iterator<Item = &'a PortalKey>, groups: &BTreeMap<PortalKey, u16>) -> BTreeMap<u16, Vec<PortalKey>> {
    let mut found: BTreeMap<u16, Vec<PortalKey>> = BTreeMap::new();
    for key in portals {
        found.entry(groups.get(key).copied().unwrap_or(GROUP_TAG)).or_default().push(*key);
    }
    found
}

/// A target in a registration, with its portal groups.
pub(super) fn push_target(attributes: &mut Vec<Attribute>, name: &str, alias: Option<&str>, groups: &BTreeMap<u16, Vec<PortalKey>>) {
    attributes.push(Attribute::text(Tag::ISCSI_NAME, name));
    attributes.push(Attribute::number(Tag::ISCSI_NODE_TYPE, NODE_TARGET));
    if let Some(alias) = alias {
        attributes.push(Attribute::text(Tag::ISCSI_ALIAS, alias));
    }
    for (tag, portals) in groups {
        attributes.push(Attribute::number(Tag::PORTAL_GROUP_TAG, u32::from(*tag)));
        for &(address, port) in portals {
            attributes.push(Attribute::address(Tag::PORTAL_GROUP_ADDRESS, address));
            attributes.push(Attribute::number(Tag::PORTAL_GROUP_PORT, port.into()));
        }
    }
}

/// No room for another target in this request.
pub(super) fn is_full(attributes: &[Attribute]) -> bool {
    attributes.iter().map(Attribute::wire_len).sum::<usize>() >= REGISTRATION_LEN
}

/// Deregistration of the whole entity.
pub(super) fn without_entity(source: &str, entity: &str) -> Vec<Attribute> {
    let mut attributes = deregistration(source);
    attributes.push(Attribute::text(Tag::ENTITY_IDENTIFIER, entity));
    attributes
}

/// Start of a deregistration: it has no key (RFC 4171, 5.6.5.4).
pub(super) fn deregistration(source: &str) -> Vec<Attribute> {
    let mut attributes = request(source);
    attributes.push(Attribute::empty(Tag::DELIMITER));
    attributes
}

/// Registration for notifications about what a target can see.
pub(super) fn subscription(target: &str) -> Vec<Attribute> {
    let mut attributes = unsubscription(target);
    attributes.push(Attribute::empty(Tag::DELIMITER));
    attributes.push(Attribute::number(Tag::ISCSI_SCN_BITMAP, SCN_OF_A_TARGET));
    attributes
}

/// The end of it.
pub(super) fn unsubscription(target: &str) -> Vec<Attribute> {
    let mut attributes = request(target);
    attributes.push(Attribute::text(Tag::ISCSI_NAME, target));
    attributes
}

/// Which initiators does this target see? A server shows a node only what shares an enabled discovery domain with it.
pub(super) fn initiators_of(target: &str) -> Vec<Attribute> {
    let mut attributes = request(target);
    attributes.push(Attribute::number(Tag::ISCSI_NODE_TYPE, NODE_INITIATOR));
    attributes.push(Attribute::empty(Tag::DELIMITER));
    attributes.push(Attribute::empty(Tag::ISCSI_NAME));
    attributes.push(Attribute::empty(Tag::ISCSI_NODE_TYPE));
    attributes
}

/// Are we still registered, and for how long without a word from us?
pub(super) fn period_of(source: &str, entity: &str) -> Vec<Attribute> {
    let mut attributes = request(source);
    attributes.push(Attribute::text(Tag::ENTITY_IDENTIFIER, entity));
    attributes.push(Attribute::empty(Tag::DELIMITER));
    attributes.push(Attribute::empty(Tag::REGISTRATION_PERIOD));
    attributes
}

fn request(source: &str) -> Vec<Attribute> {
    alloc::vec![Attribute::text(Tag::ISCSI_NAME, source)]
}
