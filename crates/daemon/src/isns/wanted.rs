//! What is to be registered: targets as they are, portals as others can reach them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use iscsi::isns::Registration;
use transport::model::{DEFAULT_GROUP, Portal};

use super::Inputs;
use super::listen::Listeners;

/// What the server shall know when it is reached from `local`. Listeners are opened and closed as the portals demand.
pub fn registration(inputs: &Inputs, local: SocketAddr, listeners: &mut Listeners) -> Registration {
    let local = local.ip().to_canonical();
    let portals = reachable(&inputs.portals, local);
    let listening = listeners.follow(&notified(&portals, local));
    let tagged = portals.iter().filter(|portal| portal.group_tag != DEFAULT_GROUP);
    let groups = tagged.map(|portal| ((portal.address.ip(), portal.address.port()), portal.group_tag)).collect();
    let portals: Vec<SocketAddr> = portals.iter().map(|portal| portal.address).collect();
    let entity = portals.first().map_or_else(|| local.to_string(), ToString::to_string);
    let mut registered = BTreeMap::new();
    for portal in &portals {
        // Once for each address: the server would ask each of them whether the same daemon lives.
        let first = portals.iter().find(|other| other.ip() == portal.ip()) == Some(portal);
        let notify = listening.iter().find(|address| first && address.ip() == portal.ip()).map(SocketAddr::port);
        registered.insert((portal.ip(), portal.port()), notify);
    }
    Registration {
        entity,
        portals: registered,
        groups,
        targets: inputs.targets.iter().map(|name| (name.clone(), None)).collect(),
        access_control: inputs.settings.access_control,
    }
}

/// Portals with an address that means something to others. A wildcard stands for the address by which the server is reached; loopback is told to a server on
/// this host only; link-local addresses need a zone, which iSNS has no place for.
fn reachable(portals: &[Portal], local: IpAddr) -> Vec<Portal> {
    let mut found: Vec<Portal> = Vec::new();
    for portal in portals {
        let ip = match portal.address.ip().to_canonical() {
            ip if !ip.is_unspecified() => ip,
            ip if ip.is_ipv4() == local.is_ipv4() => local,
            _ => continue,
        };
        let link_local = matches!(ip, IpAddr::V6(six) if six.is_unicast_link_local());
        let told = Portal { address: SocketAddr::new(ip, portal.address.port()), ..*portal };
        if !link_local && (!ip.is_loopback() || local.is_loopback()) && found.iter().all(|other| other.address != told.address) {
            found.push(told);
        }
    }
    found
}

/// Addresses for notifications: one of each family, the one by which the server is reached before others.
fn notified(portals: &[Portal], local: IpAddr) -> Vec<IpAddr> {
    let of = |ipv4: bool| {
        let mut addresses = portals.iter().map(|portal| portal.address.ip()).filter(move |ip| ip.is_ipv4() == ipv4);
        let first = addresses.clone().next();
        addresses.find(|&ip| ip == local).or(first)
    };
    [of(local.is_ipv4()), of(!local.is_ipv4())].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use admin::view::IsnsView;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Portal> {
        texts.iter().map(|text| text.parse::<SocketAddr>().expect("an address").into()).collect()
    }

    fn told(portals: &[&str], local: &str) -> Vec<String> {
        reachable(&addresses(portals), local.parse().expect("an address")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn portals_are_told_as_others_reach_them() {
        assert_eq!(told(&["0.0.0.0:3260", "[::]:3260"], "10.0.0.9"), ["10.0.0.9:3260"]);
        assert_eq!(told(&["0.0.0.0:3260", "[::]:3260"], "2001:db8::9"), ["[2001:db8::9]:3260"]);
        assert_eq!(told(&["10.0.0.1:3260", "0.0.0.0:3260", "127.0.0.1:3261", "[2001:db8::1]:1"], "10.0.0.1"), ["10.0.0.1:3260", "[2001:db8::1]:1"]);
        assert_eq!(told(&["[::1]:3260", "127.0.0.1:3261", "[fe80::1%2]:3"], "127.0.0.1"), ["[::1]:3260", "127.0.0.1:3261"]);
        assert_eq!(told(&["[::ffff:10.0.0.1]:3260"], "10.0.0.2"), ["10.0.0.1:3260"]);
    }

    #[test]
    fn one_address_of_each_family_is_notified() {
        let portals = addresses(&["10.0.0.1:1", "10.0.0.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1"]);
        let of = |local: &str| notified(&portals, local.parse().expect("an address")).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("10.0.0.2"), ["10.0.0.2", "2001:db8::1"]);
        assert_eq!(of("2001:db8::2"), ["2001:db8::2", "10.0.0.1"]);
        assert_eq!(of("10.0.0.7"), ["10.0.0.1", "2001:db8::1"]);
        assert!(notified(&[], "10.0.0.1".parse().expect("an address")).is_empty());
    }

    #[test]
    fn a_listener_is_registered_once_and_stays() {
        let settings = IsnsView { access_control: true, ..IsnsView::default() };
        let portals = addresses(&["127.0.0.1:3260", "127.0.0.1:3261"]);
        let inputs = Inputs { settings, targets: ["iqn.a".into()].into(), portals };
        let mut listeners = Listeners::default();
        let local = "127.0.0.1:5".parse().expect("an address");
        let first = registration(&inputs, local, &mut listeners);
        assert_eq!(first.entity, "127.0.0.1:3260");
        let ports: Vec<bool> = first.portals.values().map(Option::is_some).collect();
        assert_eq!(ports, [true, false]);
        assert_eq!(registration(&inputs, local, &mut listeners), first);
        assert!(!first.targets.is_empty() && first.access_control);
    }
}
