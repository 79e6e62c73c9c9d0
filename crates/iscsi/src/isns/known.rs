//! What a server knows of us by now, as far as its answers tell.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::message::Message;
use super::request::{PortalKey, Registration};
use super::{NAME_LIMIT, NODE_INITIATOR, Tag};

/// Most initiators of one target that are let in; a server that names more than a target could serve is not believed further.
pub const INITIATORS_PER_TARGET: usize = 4096;
/// Most initiators of all targets together: bounds what a server can make us keep.
pub const INITIATORS: usize = 1 << 18;

/// An entity that a server has registered.
#[derive(Debug)]
pub(super) struct Known {
    /// Its identifier, as the server gave it.
    pub entity: String,
    /// Portals.
    pub portals: BTreeMap<PortalKey, Option<u16>>,
    /// Tags of portal groups, where they are not 1.
    pub groups: BTreeMap<PortalKey, u16>,
    /// Targets by name.
    pub targets: BTreeMap<String, Node>,
}

/// A target that a server has registered.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Its alias.
    pub alias: Option<String>,
    /// Registered for notifications.
    pub subscribed: bool,
    /// The server would not take that registration; it is not asked again on this connection.
    pub unsubscribable: bool,
    /// A reason to ask for its initiators.
    pub due: bool,
    /// When they were asked for last.
    pub asked: Option<u64>,
    /// What was answered.
    pub initiators: Option<Arc<BTreeSet<String>>>,
}

impl Node {
    /// Registered just now.
    pub fn new(alias: Option<String>) -> Node {
        Node { alias, due: true, ..Node::default() }
    }

    /// When its initiators may or must be asked for. `gap`: not sooner after the last time; `age`: not later.
    pub fn query_at(&self, gap: u64, age: u64) -> u64 {
        self.asked.map_or(0, |asked| asked.saturating_add(if self.due { gap } else { age }))
    }
}

impl Known {
    /// A target that speaks for the entity: rather one that stays.
    pub fn source(&self, wanted: &Registration) -> Option<String> {
        let stays = self.targets.keys().find(|name| wanted.targets.contains_key(*name));
        stays.or_else(|| self.targets.keys().next()).cloned()
    }

    /// Portals that the server does not know, or not so.
    pub fn new_portals(&self, wanted: &Registration) -> Vec<(PortalKey, Option<u16>)> {
        wanted.portals.iter().filter(|(key, notify)| self.portals.get(key) != Some(notify)).map(|(key, notify)| (*key, *notify)).collect()
    }

    /// Portals that it should forget.
    pub fn old_portals(&self, wanted: &Registration) -> Vec<PortalKey> {
        self.portals.keys().filter(|key| !wanted.portals.contains_key(key)).copied().collect()
    }

    /// Initiators kept for all targets but this one.
    pub fn kept(&self, but: &str) -> usize {
        self.targets.iter().filter(|(name, _)| *name != but).filter_map(|(_, node)| node.initiators.as_ref()).map(|set| set.len()).sum()
    }
}

/// The initiators in the answer to a query, at most `limit`; `None` for an answer without a delimiter.
pub(super) fn initiators(message: &Message, limit: usize) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut name: Option<&str> = None;
    for attribute in message.operating()? {
        match attribute.tag {
            Tag::ISCSI_NAME => {
                found.extend(name.filter(|_| found.len() < limit).map(ToString::to_string));
                name = attribute.as_text().filter(|text| (1..=NAME_LIMIT).contains(&text.len()));
            }
            // A server that tells a type which is no initiator's answers more than was asked.
            Tag::ISCSI_NODE_TYPE if attribute.as_number().is_none_or(|number| number & NODE_INITIATOR == 0) => name = None,
            _ => {}
        }
    }
    found.extend(name.filter(|_| found.len() < limit).map(ToString::to_string));
    Some(found)
}
