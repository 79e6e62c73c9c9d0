//! The model as a login sees it: which targets exist, for whom, and where.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use iscsi::{Authentication, Directory, TargetLookup, TargetOffer, TargetParameters, TargetRecord};

use crate::model::{DEFAULT_GROUP, Model, Portal, TargetEntry};
use crate::redirect::{Place, Redirection};

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

    /// The same as `Directory::target` for a target whose place was asked for.
    pub fn target_at(&self, name: &str, initiator: &str, peer: IpAddr, local: SocketAddr, place: &Place) -> TargetLookup {
        self.admitted(name, initiator, peer).map_or_else(|lookup| lookup, |entry| moved(entry, place, peer, local))
    }

    /// The target, if this initiator may know of it.
    fn admitted(&self, name: &str, initiator: &str, peer: IpAddr) -> Result<&'a TargetEntry, TargetLookup> {
        let entry = self.model.targets.named(name).ok_or(TargetLookup::NotFound)?;
        if entry.admits(peer, initiator) { Ok(entry) } else { Err(TargetLookup::Refused) }
    }

    fn addresses(&self, entry: &TargetEntry, local: SocketAddr) -> Vec<String> {
        if let Some(Redirection::Place(place)) = &entry.redirect {
            // The groups of another daemon are not known here.
            return vec![format!("{},{DEFAULT_GROUP}", address_of(place))];
        }
        let mut addresses = Vec::new();
        for portal in self.reachable(local) {
            let text = format!("{},{}", portal.address, portal.group_tag);
            if !addresses.contains(&text) {
                addresses.push(text);
            }
        }
        addresses
    }

    /// Portals as the initiator on this connection can use them: a wildcard stands for the address it came to.
    fn reachable(&self, local: SocketAddr) -> impl Iterator<Item = Portal> + use<'a> {
        let local = plain(local);
        let portals: &'a [Portal] = &self.model.portals;
        portals.iter().filter_map(move |&portal| {
            let address = plain(portal.address);
            if !address.ip().is_unspecified() {
                return Some(Portal { address, ..portal });
            }
            let reaches = address.is_ipv4() == local.is_ipv4() || address.is_ipv6();
            reaches.then(|| Portal { address: SocketAddr::new(local.ip(), address.port()), ..portal })
        })
    }
}

impl Directory for DirectoryView<'_> {
    fn target(&self, name: &str, initiator: &str, peer: IpAddr, local: SocketAddr) -> TargetLookup {
        let entry = match self.admitted(name, initiator, peer) {
            Ok(entry) => entry,
            Err(lookup) => return lookup,
        };
        match &entry.redirect {
            None => offered(entry),
            Some(Redirection::Place(place)) => moved(entry, place, peer, local),
            Some(Redirection::Ask { .. }) => TargetLookup::Pending,
        }
    }

    fn discovery(&self) -> Authentication {
        self.model.discovery.clone()
    }

    fn discovery_parameters(&self) -> TargetParameters {
        crate::model::default_parameters()
    }

    fn send_targets(&self, name: Option<&str>, initiator: &str, peer: IpAddr, local: SocketAddr) -> Vec<TargetRecord> {
        let record = |entry: &TargetEntry| {
            let known = entry.admits(peer, initiator);
            known.then(|| TargetRecord { name: entry.name.clone(), addresses: self.addresses(entry, local) })
        };
        match name {
            Some(name) => self.model.targets.named(name).and_then(|entry| record(entry)).into_iter().collect(),
            None => self.model.targets.values().filter_map(|entry| record(entry)).collect(),
        }
    }
}

fn offered(entry: &TargetEntry) -> TargetLookup {
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

/// A login stays where the initiator is itself (as in tgt), and when it came to the very portal that it would be sent to: else it would come again and again.
fn moved(entry: &TargetEntry, place: &Place, peer: IpAddr, local: SocketAddr) -> TargetLookup {
    let address = place.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let here = plain(local);
    if address.is_some_and(|address| address == peer.to_canonical() || (address, place.port) == (here.ip(), here.port())) {
        return offered(entry);
    }
    TargetLookup::Moved { address: address_of(place), permanent: place.permanent }
}

/// A place as a TargetAddress without its tag.
fn address_of(place: &Place) -> String {
    format!("{}:{}", bracketed(&place.host), place.port)
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
    use std::sync::Arc;

    use super::*;

    fn model(portals: &[&str]) -> Model {
        let mut model = Model::new();
        model.portals = portals.iter().map(|text| portal(text)).collect();
        let access = target::access::AccessList { addresses: vec!["ALL".into()], names: Vec::new() };
        let entry = TargetEntry { access, ..TargetEntry::new(1, "iqn.2026-01.test:one") };
        model.targets.insert(1, Arc::new(entry));
        model
    }

    /// `ADDRESS` or `ADDRESS,TAG`.
    fn portal(text: &str) -> Portal {
        let (address, tag) = text.split_once(',').unwrap_or((text, "1"));
        Portal { address: address.parse().expect("an address"), group_tag: tag.parse().expect("a tag") }
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
        assert_eq!(addresses(&["0.0.0.0:3260,7", "10.0.0.1:3261,300"], "10.0.0.9:3260"), ["10.0.0.9:3260,7", "10.0.0.1:3261,300"]);
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
        entry.redirect = Some(Redirection::Place(Place { host: "2001:db8::5".into(), port: 3261, permanent: true }));
        model.targets.insert(1, Arc::new(entry));
        let local = "127.0.0.1:3260".parse().expect("an address");
        assert_eq!(DirectoryView::new(&model).addresses(&model.targets[&1], local), ["[2001:db8::5]:3261,1"]);
        let looked = DirectoryView::new(&model).target("iqn.2026-01.test:two", "iqn.x:y", "127.0.0.1".parse().expect("ip"), local);
        assert_eq!(looked, TargetLookup::NotFound);
    }

    /// Where a login of `peer` at `local` goes when the target is at `host`, port 3261; `None`: it stays.
    fn sent_to(host: &str, peer: &str, local: &str) -> Option<String> {
        let model = model(&["127.0.0.1:3260"]);
        let place = Place { host: host.into(), port: 3261, permanent: false };
        let (peer, local) = (peer.parse().expect("ip"), local.parse().expect("an address"));
        match DirectoryView::new(&model).target_at("iqn.2026-01.test:one", "iqn.x:y", peer, local, &place) {
            TargetLookup::Moved { address, permanent: false } => Some(address),
            TargetLookup::Found(offer) if offer.tid == 1 => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn logins_are_sent_away_unless_they_are_there() {
        let home = "10.0.0.1:3260";
        assert_eq!(sent_to("10.0.0.2", "10.0.0.9", home).as_deref(), Some("10.0.0.2:3261"));
        assert_eq!(sent_to("[2001:db8::5]", "10.0.0.9", home).as_deref(), Some("[2001:db8::5]:3261"));
        assert_eq!(sent_to("2001:db8::5", "10.0.0.9", home).as_deref(), Some("[2001:db8::5]:3261"));
        assert_eq!(sent_to("storage-2.example.org", "10.0.0.9", home).as_deref(), Some("storage-2.example.org:3261"));
        assert_eq!(sent_to("10.0.0.1", "10.0.0.9", home).as_deref(), Some("10.0.0.1:3261"), "another port of this host");
        assert_eq!(sent_to("10.0.0.1", "10.0.0.9", "10.0.0.1:3261"), None, "it came there");
        assert_eq!(sent_to("10.0.0.1", "10.0.0.9", "[::ffff:10.0.0.1]:3261"), None, "it came there, through an IPv6 socket");
        assert_eq!(sent_to("10.0.0.9", "10.0.0.9", home), None, "the initiator is there");
        assert_eq!(sent_to("10.0.0.9", "::ffff:10.0.0.9", home), None);
        assert_eq!(sent_to("[2001:db8::5]", "2001:db8::5", "[2001:db8::1]:3260"), None);
    }

    #[test]
    fn strangers_start_no_program() {
        let mut model = model(&["127.0.0.1:3260"]);
        let mut entry = TargetEntry::clone(&model.targets[&1]);
        entry.redirect = Some(Redirection::Ask { program: "/bin/true".into() });
        entry.access.addresses = vec!["10.0.0.0/8".into()];
        model.targets.insert(1, Arc::new(entry));
        let local = "127.0.0.1:3260".parse().expect("an address");
        let look = |peer: &str| DirectoryView::new(&model).target("iqn.2026-01.test:one", "iqn.x:y", peer.parse().expect("ip"), local);
        assert_eq!((look("10.1.1.1"), look("192.0.2.1")), (TargetLookup::Pending, TargetLookup::Refused));
        assert_eq!(DirectoryView::new(&model).addresses(&model.targets[&1], local), ["127.0.0.1:3260,1"], "discovery asks nobody");
        let place = Place { host: "10.0.0.2".into(), port: 3260, permanent: false };
        let late = DirectoryView::new(&model).target_at("iqn.2026-01.test:one", "iqn.x:y", "192.0.2.1".parse().expect("ip"), local, &place);
        assert_eq!(late, TargetLookup::Refused, "the rules hold when the answer comes, too");
    }
}
