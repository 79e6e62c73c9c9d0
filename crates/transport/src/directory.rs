//! The model as a login sees it: which targets exist, for whom, and where.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use iscsi::{Authentication, Directory, TargetLookup, TargetOffer, TargetParameters, TargetRecord};

use crate::model::{Model, TargetEntry};

/// The one target portal group: every portal leads to every unit.
pub const GROUP_TAG: u16 = 1;

/// A [`Directory`] over one snapshot.
#[derive(Clone, Copy)]
pub struct DirectoryView<'a> {
    model: &'a Model,
}

impl<'a> DirectoryView<'a> {
    /// A view of `model`.
    pub fn new(model: &'a Model) -> DirectoryView<'a> {
        DirectoryView { model }
    }

    fn addresses(&self, entry: &TargetEntry, local: SocketAddr) -> Vec<String> {
        if let Some((host, port, _)) = &entry.redirect {
            return vec![format!("{}:{port},{GROUP_TAG}", bracketed(host))];
        }
        let mut addresses = Vec::new();
        for portal in self.reachable(local) {
            let text = format!("{portal},{GROUP_TAG}");
            if !addresses.contains(&text) {
                addresses.push(text);
            }
        }
        addresses
    }

    /// Portals as the initiator on this connection can use them: a wildcard stands for the address it came to.
    fn reachable(&self, local: SocketAddr) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let local = plain(local);
        let portals: &'a [SocketAddr] = &self.model.portals;
        portals.iter().filter_map(move |&portal| {
            let portal = plain(portal);
            if !portal.ip().is_unspecified() {
                return Some(portal);
            }
            let reaches = portal.is_ipv4() == local.is_ipv4() || portal.is_ipv6();
            reaches.then(|| SocketAddr::new(local.ip(), portal.port()))
        })
    }
}

impl Directory for DirectoryView<'_> {
    fn target(&self, name: &str, initiator: &str, peer: IpAddr, _local: SocketAddr) -> TargetLookup {
        let Some(entry) = self.model.targets.values().find(|entry| entry.name == name) else {
            return TargetLookup::NotFound;
        };
        if !entry.admits(peer, initiator) {
            return TargetLookup::Refused;
        }
        if let Some((host, port, permanent)) = &entry.redirect {
            return TargetLookup::Moved { address: format!("{}:{port}", bracketed(host)), permanent: *permanent };
        }
        if !entry.online {
            return TargetLookup::Unavailable;
        }
        TargetLookup::Found(Box::new(TargetOffer {
            tid: entry.tid,
            name: entry.name.clone(),
            alias: entry.alias.clone(),
            parameters: entry.parameters.clone(),
            authentication: entry.authentication.clone(),
        }))
    }

    fn discovery(&self) -> Authentication {
        self.model.discovery.clone()
    }

    fn discovery_parameters(&self) -> TargetParameters {
        crate::model::default_parameters()
    }

    fn send_targets(&self, name: Option<&str>, initiator: &str, peer: IpAddr, local: SocketAddr) -> Vec<TargetRecord> {
        let wanted = |entry: &&std::sync::Arc<TargetEntry>| name.is_none_or(|name| entry.name == name) && entry.admits(peer, initiator);
        let entries = self.model.targets.values().filter(wanted);
        entries.map(|entry| TargetRecord { name: entry.name.clone(), addresses: self.addresses(entry, local) }).collect()
    }
}

/// Without zone identifier (it means something to this host only), flow label, or IPv4-mapped form.
fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
        IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, address.port(), 0, 0)),
    }
}

/// A host for a TargetAddress: IPv6 addresses stand in brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    fn model(portals: &[&str]) -> Model {
        let mut model = Model::new();
        model.portals = portals.iter().map(|text| text.parse().expect("an address")).collect();
        let access = target::access::AccessList { addresses: vec!["ALL".into()], names: Vec::new() };
        let entry = TargetEntry { access, units: BTreeMap::new(), ..TargetEntry::new(1, "iqn.2026-01.test:one") };
        model.targets.insert(1, Arc::new(entry));
        model
    }

    fn addresses(portals: &[&str], local: &str) -> Vec<String> {
        let model = model(portals);
        let local: SocketAddr = local.parse().expect("an address");
        DirectoryView::new(&model).addresses(&model.targets[&1], local)
    }

    #[test]
    fn wildcards_become_the_address_of_the_connection() {
        assert_eq!(addresses(&["0.0.0.0:3260", "10.0.0.1:3261"], "10.0.0.9:3260"), ["10.0.0.9:3260,1", "10.0.0.1:3261,1"]);
        assert_eq!(addresses(&["[::]:3260", "0.0.0.0:3260"], "[::ffff:10.0.0.9]:3260"), ["10.0.0.9:3260,1"]);
        assert_eq!(addresses(&["0.0.0.0:3260", "[::]:3260"], "[fe80::1%3]:3260"), ["[fe80::1]:3260,1"]);
    }

    #[test]
    fn a_list_of_the_admitted_counts_beside_the_rules() {
        let mut model = model(&["127.0.0.1:3260"]);
        let local = "127.0.0.1:3260".parse().expect("an address");
        let mut set = |access: &str, admitted: &[&str]| {
            let mut entry = TargetEntry::clone(&model.targets[&1]);
            entry.access.addresses = vec![access.into()];
            entry.admitted = Some(Arc::new(admitted.iter().map(ToString::to_string).collect()));
            let name = entry.name.clone();
            model.targets.insert(1, Arc::new(entry));
            let view = DirectoryView::new(&model);
            let peer = "127.0.0.1".parse().expect("ip");
            let found = matches!(view.target(&name, "iqn.x:y", peer, local), TargetLookup::Found(_));
            assert_eq!(!view.send_targets(None, "iqn.x:y", peer, local).is_empty(), found);
            found
        };
        assert!(set("ALL", &["iqn.x:y", "iqn.x:z"]));
        assert!(!set("ALL", &["iqn.x:z"]));
        assert!(!set("ALL", &[]));
        assert!(!set("10.0.0.0/8", &["iqn.x:y"]));
    }

    #[test]
    fn redirection_is_told_as_it_stands() {
        let mut model = model(&["127.0.0.1:3260"]);
        let mut entry = TargetEntry::clone(&model.targets[&1]);
        entry.redirect = Some(("2001:db8::5".into(), 3261, true));
        model.targets.insert(1, Arc::new(entry));
        let local = "127.0.0.1:3260".parse().expect("an address");
        assert_eq!(DirectoryView::new(&model).addresses(&model.targets[&1], local), ["[2001:db8::5]:3261,1"]);
        let looked = DirectoryView::new(&model).target("iqn.2026-01.test:two", "iqn.x:y", "127.0.0.1".parse().expect("ip"), local);
        assert_eq!(looked, TargetLookup::NotFound);
    }
}
