//! The daemon and an iSNS server of ours, over real sockets.

#[path = "isns/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use admin::reply::{Answer, Reply};
use admin::request::{Envelope, PortalRequest, Request, SystemSetting};
use daemon::{Daemon, Portal, Running, Settings, TargetSettings};
use iscsi::initiator::{Connection, Event};
use iscsi::isns::Timing;
use server::{Lie, Pdu, Registry, Server, padded};

const PATIENCE: Duration = Duration::from_secs(20);
const A: &str = "iqn.2020-01.com.example:a";
const B: &str = "iqn.2020-01.com.example:b";
const C: &str = "iqn.2020-01.com.example:c";
const ONE: &str = "iqn.2020-01.ini:one";
const TWO: &str = "iqn.2020-01.ini:two";

/// Waits for something that must happen.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn wait(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(()));
}

/// A daemon with two targets that anybody may use, and its folder.
struct Host {
    running: Option<Running>,
    folder: PathBuf,
}

impl Host {
    fn start(name: &str, ip: &str) -> Host {
        let folder = std::env::temp_dir().join(format!("scuzzy-isns-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let target = |name: &str| TargetSettings { name: name.into(), allow: vec!["ALL".into()], account: None, disks: Vec::new() };
        let milliseconds = |count: u64| count * 1_000_000;
        let isns = Timing {
            answer: milliseconds(500),
            first_delay: milliseconds(10),
            longest_delay: milliseconds(200),
            query_gap: milliseconds(10),
            ..Timing::default()
        };
        let settings = Settings {
            portals: vec![Portal::required(SocketAddr::new(ip.parse().expect("ip"), 0))],
            control: Some(folder.join("control")),
            reactors: Some(1),
            seed: Some(1),
            targets: vec![target(A), target(B)],
            isns,
            ..Settings::default()
        };
        Host { running: Some(Daemon::start(settings).expect("starts")), folder }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("runs")
    }

    fn ask(&self, request: Request) -> Reply {
        let mut stream = UnixStream::connect(self.folder.join("control")).expect("connects");
        stream.write_all(&admin::json::write_request(&Envelope { driver: None, request })).expect("sends");
        // The daemon would wait for more requests.
        stream.shutdown(std::net::Shutdown::Write).expect("shuts down");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("reads");
        admin::json::read_reply(&answer).expect("a reply")
    }

    fn set(&self, settings: Vec<SystemSetting>) {
        assert_eq!(self.ask(Request::SystemUpdate { settings }), Ok(Answer::Done));
    }

    fn use_server(&self, host: &str, port: u16, access_control: bool) {
        let server = SystemSetting::IsnsServerIp(host.into());
        let access = SystemSetting::IsnsAccessControl(access_control);
        self.set(vec![server, SystemSetting::IsnsServerPort(port), access, SystemSetting::Isns(true)]);
    }

    fn shows_on(&self) -> bool {
        let Ok(Answer::System(view)) = self.ask(Request::SystemShow) else { panic!("no system") };
        view.isns.enabled
    }

    /// Status of a login, 0 for success.
    fn login(&self, initiator: &str, target: &str) -> u16 {
        let mut stream = TcpStream::connect(self.running().portals()[0]).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut connection = Connection::new(iscsi::initiator::Settings::new(initiator, Some(target)));
        let mut bytes = [0; 4096];
        loop {
            while let Some(bytes) = connection.poll_output() {
                stream.write_all(&bytes).expect("sends");
            }
            match connection.poll_event() {
                Some(Event::LoggedIn { .. }) => return 0,
                Some(Event::LoginFailed { status, .. }) => return status,
                Some(other) => panic!("{other:?}"),
                None => {
                    let count = stream.read(&mut bytes).expect("the target answers");
                    assert!(count > 0, "the target closed the connection");
                    connection.handle_bytes(&bytes[..count]);
                }
            }
        }
    }

    fn stop(mut self) {
        self.running.take().expect("runs").stop();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.running.take());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn loopback(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("ip"), 0)
}

fn portal_request(portal: &str) -> PortalRequest {
    PortalRequest { portals: vec![portal.into()], nop_interval: None, nop_count: None }
}

fn names(registry: &Registry) -> Vec<&str> {
    registry.targets.iter().map(String::as_str).collect()
}

fn registers_and_deregisters(name: &str, ip: &str) {
    let host = Host::start(name, ip);
    let server = Server::start(loopback(ip));
    assert!(!host.shows_on());
    host.use_server(ip, server.address.port(), false);
    wait("both targets are registered", || server.registry().targets.len() == 2);
    wait("show says On", || host.shows_on());
    let portal = host.running().portals()[0];
    let address: IpAddr = ip.parse().expect("ip");
    {
        let registry = server.registry();
        assert_eq!(names(&registry), [A, B]);
        assert_eq!(registry.entity, Some(portal.to_string()));
        assert_eq!(registry.portals.keys().copied().collect::<Vec<_>>(), [(address, portal.port())]);
        let ports = registry.portals[&(address, portal.port())];
        assert!(ports.inquiry_port.is_some() && ports.inquiry_port == ports.notification_port);
        let groups: Vec<_> = registry.groups.iter().cloned().collect();
        assert_eq!(groups, [A, B].map(|target| (target.to_owned(), address, portal.port(), 1)));
        assert!(registry.subscribed.is_empty(), "nobody asked for access control");
    }

    assert_eq!(host.ask(Request::TargetNew { tid: 3, name: C.into() }), Ok(Answer::Done));
    wait("the new target is registered", || names(&server.registry()) == [A, B, C]);
    assert_eq!(host.ask(Request::TargetDelete { tid: 1, force: false }), Ok(Answer::Done));
    wait("the deleted target is deregistered", || names(&server.registry()) == [B, C]);
    let text = SocketAddr::new(address, 0).to_string();
    let request = portal_request(&text);
    assert_eq!(host.ask(Request::PortalNew(request)), Ok(Answer::Done));
    wait("the new portal is registered", || server.registry().portals.len() == 2);
    let request = portal_request(&portal.to_string());
    assert_eq!(host.ask(Request::PortalDelete(request)), Ok(Answer::Done));
    let second = host.running().portals()[0];
    wait("the closed portal is deregistered", || {
        let registry = server.registry();
        registry.portals.len() == 1 && registry.portals.get(&(address, second.port())).is_some_and(|ports| ports.inquiry_port.is_some())
    });

    let attributes = vec![(4, vec![0, 0, 0, 0, 1, 2, 3, 4]), (1, padded("entity")), (17, vec![0, 0, 0x0c, 0xbc])];
    let inquiry = Pdu { function: 13, flags: 0x4c00, transaction: 99, status: None, attributes: attributes.clone() };
    let answer = server.tell(|ports| ports.inquiry_port, &inquiry);
    assert_eq!((answer.function, answer.transaction, answer.status, answer.attributes), (0x800d, 99, Some(0), attributes));

    host.stop();
    assert!(server.registry().entity.is_none(), "the end deregisters");
    assert_eq!(server.registry().connections, 1);
}

#[test]
fn targets_and_portals_are_registered_over_ipv4() {
    registers_and_deregisters("four", "127.0.0.1");
}

#[test]
fn targets_and_portals_are_registered_over_ipv6() {
    registers_and_deregisters("six", "::1");
}

#[test]
fn off_deregisters_and_another_server_is_told_anew() {
    let host = Host::start("off", "127.0.0.1");
    let (first, second) = (Server::start(loopback("127.0.0.1")), Server::start(loopback("127.0.0.1")));
    host.use_server("localhost", first.address.port(), false);
    wait("registered under a host name", || first.registry().targets.len() == 2);
    host.set(vec![SystemSetting::IsnsServerPort(second.address.port())]);
    wait("the other server is told", || second.registry().targets.len() == 2);
    assert!(first.registry().entity.is_none(), "the first one is told that we leave");
    host.set(vec![SystemSetting::Isns(false)]);
    wait("deregistered", || second.registry().entity.is_none());
    wait("show says Off", || !host.shows_on());
}

#[test]
fn only_initiators_of_the_domain_log_in() {
    let host = Host::start("domain", "127.0.0.1");
    let server = Server::start(loopback("127.0.0.1"));
    assert_eq!(host.login(ONE, A), 0);
    server.registry().domains.insert(A.into(), vec![ONE.into()]);
    host.use_server("127.0.0.1", server.address.port(), true);
    wait("the stranger is refused", || host.login(TWO, A) == 0x0203);
    wait("the initiator of the domain is let in", || host.login(ONE, A) == 0);
    assert_eq!(host.login(TWO, A), 0x0203);
    assert_eq!(host.login(ONE, B), 0x0203, "nobody shares a domain with the other target");
    wait("notifications are asked for", || server.registry().subscribed.len() == 2);

    // A change that the server tells.
    server.registry().domains = [(A.to_owned(), vec![TWO.to_owned()])].into();
    let attributes = vec![(32, padded(A)), (4, vec![0; 8]), (35, vec![0, 0, 0, 8]), (32, padded(TWO))];
    let notification = Pdu { function: 8, flags: 0x4c00, transaction: 5, status: None, attributes };
    let answer = server.tell(|ports| ports.notification_port, &notification);
    assert_eq!((answer.function, answer.status, answer.text(32)), (0x8008, Some(0), A.into()));
    wait("the other initiator is let in", || host.login(TWO, A) == 0);
    assert_eq!(host.login(ONE, A), 0x0203);

    // The target's own rules count as well.
    let rules = vec![admin::request::Binding::Address("ALL".into())];
    assert_eq!(host.ask(Request::TargetUnbind { tid: 1, rules: rules.clone() }), Ok(Answer::Done));
    assert_eq!(host.login(TWO, A), 0x0203);
    assert_eq!(host.ask(Request::TargetBind { tid: 1, rules }), Ok(Answer::Done));
    assert_eq!(host.login(TWO, A), 0);

    // A server that is away takes nothing back and opens nothing.
    let address = server.address;
    let registry = std::mem::take(&mut *server.registry());
    drop(server);
    wait("show says Off", || !host.shows_on());
    assert_eq!((host.login(TWO, A), host.login(ONE, A)), (0, 0x0203));
    let server = Server::with(address, Registry { domains: registry.domains, ..Registry::default() });
    wait("registered again", || server.registry().queries >= 2);
    assert_eq!((host.login(TWO, A), host.login(ONE, A)), (0, 0x0203));

    host.set(vec![SystemSetting::IsnsAccessControl(false)]);
    wait("everybody is let in", || host.login(ONE, A) == 0 && host.login(ONE, B) == 0);
    wait("notifications are no longer asked for", || server.registry().subscribed.is_empty());
}

#[test]
fn nobody_logs_in_before_the_server_has_spoken() {
    let host = Host::start("unheard", "127.0.0.1");
    let server = Server::start(loopback("127.0.0.1"));
    let port = server.address.port();
    drop(server);
    host.use_server("127.0.0.1", port, true);
    assert!(!host.shows_on());
    assert_eq!(host.login(ONE, A), 0x0203);
    host.set(vec![SystemSetting::Isns(false)]);
    assert_eq!(host.login(ONE, A), 0);
}

#[test]
fn a_server_that_dies_is_registered_with_again() {
    let host = Host::start("again", "127.0.0.1");
    let server = Server::start(loopback("127.0.0.1"));
    let address = server.address;
    host.use_server("127.0.0.1", address.port(), false);
    wait("registered", || server.registry().targets.len() == 2);
    drop(server);
    wait("show says Off", || !host.shows_on());
    assert_eq!(host.ask(Request::TargetNew { tid: 3, name: C.into() }), Ok(Answer::Done));
    let server = Server::start(address);
    wait("registered again, with what is new", || names(&server.registry()) == [A, B, C]);
    wait("show says On", || host.shows_on());
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    let host = Host::start("slow", "127.0.0.1");
    let server = Server::with(loopback("127.0.0.1"), Registry { slow: true, ..Registry::default() });
    server.registry().domains.insert(A.into(), (0..50).map(|number| format!("iqn.2020-01.ini:{number}")).collect());
    host.use_server("127.0.0.1", server.address.port(), true);
    wait("the last of them is let in", || host.login("iqn.2020-01.ini:49", A) == 0);
    assert_eq!(server.registry().connections, 1);
}

/// Changes bytes of an honest answer.
fn patched(honest: &Pdu, changes: &[(usize, u8)]) -> Option<Vec<u8>> {
    let mut bytes = honest.bytes();
    for (place, byte) in changes {
        bytes[*place] = *byte;
    }
    Some(bytes)
}

fn without_end(honest: &Pdu, len: u16, count: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for sequence in 0..count {
        let flags = if sequence == 0 { 0x4400 } else { 0x4000 };
        for field in [1, honest.function, len, flags, honest.transaction, sequence] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.resize(bytes.len() + usize::from(len), 0);
    }
    Some(bytes)
}

const LIES: &[(&str, Lie)] = &[
    ("silence", |_| None),
    ("noise", |_| Some(vec![0xa5; 100_000])),
    ("cut short", |honest| Some(honest.bytes()[..20].to_vec())),
    ("no status", |honest| Some([&honest.bytes()[..4], &[0, 0], &honest.bytes()[6..12]].concat())),
    ("another version", |honest| patched(honest, &[(1, 9)])),
    ("another transaction", |honest| patched(honest, &[(8, 0xee)])),
    ("another function", |honest| patched(honest, &[(3, 2 + 2 * u8::from(honest.function == 0x8002))])),
    ("an odd length", |honest| patched(honest, &[(5, 3)])),
    ("an absurd length of a value", |honest| patched(honest, &[(20, 0xff), (21, 0xff)])),
    ("an authentication block", |honest| patched(honest, &[(6, 0x6c)])),
    ("a fragment without its first", |honest| patched(honest, &[(6, 0x48)])),
    ("the answer twice", |honest| Some([honest.bytes(), honest.bytes()].concat())),
    ("fragments without end", |honest| without_end(honest, 0, 60_000)),
    ("long fragments without end", |honest| without_end(honest, 65_532, 100)),
    ("half a message for ever", |honest| Some(without_end(honest, 4, 1)?[..14].to_vec())),
];

#[test]
fn lies_cost_the_connection_and_nothing_else() {
    let host = Host::start("lies", "127.0.0.1");
    let server = Server::start(loopback("127.0.0.1"));
    server.registry().lie = Some(LIES[0].1);
    host.use_server("127.0.0.1", server.address.port(), false);
    for (name, lie) in LIES {
        let before = {
            let mut registry = server.registry();
            registry.lie = Some(*lie);
            registry.connections
        };
        // The one that was open when the lie changed, one that was lied to, and the next.
        wait(name, || server.registry().connections >= before + 3);
        assert_eq!(host.login(ONE, A), 0, "{name}");
        assert!(server.registry().targets.is_empty());
    }
    server.registry().lie = None;
    wait("registered after all", || server.registry().targets.len() == 2);
    host.stop();
    assert!(server.registry().entity.is_none());
}

#[test]
fn refusals_are_survived() {
    let host = Host::start("refusals", "127.0.0.1");
    let server = Server::start(loopback("127.0.0.1"));
    server.registry().lie = Some(|honest| Some(Pdu { status: Some(u32::from(honest.transaction % 24) + 1), ..honest.clone() }.bytes()));
    host.use_server("127.0.0.1", server.address.port(), true);
    wait("show says On", || host.shows_on());
    assert_eq!(host.login(ONE, A), 0x0203);
    server.registry().domains.insert(B.into(), vec![ONE.into()]);
    server.registry().lie = None;
    wait("offered again", || server.registry().targets.len() == 2);
    wait("and let in", || host.login(ONE, B) == 0);
}

#[test]
fn a_silent_server_does_not_hold_up_the_end() {
    let host = Host::start("end", "127.0.0.1");
    let server = Server::start(loopback("127.0.0.1"));
    host.use_server("127.0.0.1", server.address.port(), false);
    wait("registered", || server.registry().targets.len() == 2);
    server.registry().lie = Some(|_| None);
    let start = Instant::now();
    host.stop();
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn strangers_cannot_keep_the_server_out() {
    let host = Host::start("strangers", "127.0.0.1");
    let server = Server::start(loopback("127.0.0.1"));
    host.use_server("127.0.0.1", server.address.port(), true);
    wait("registered", || server.registry().queries >= 2);
    let port = server.registry().portals.values().find_map(|ports| ports.notification_port).expect("a port");
    // Everything of 127.0.0.0/8 is this host; the server is 127.0.0.1.
    let stranger = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("binds");
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("connects");
        TcpStream::from(socket)
    };
    let crowd: Vec<TcpStream> = (0..40).map(|_| stranger()).collect();
    let inquiry = Pdu { function: 13, flags: 0x4c00, transaction: 7, status: None, attributes: vec![(1, padded("entity"))] };
    for round in 0..5 {
        let answer = server.tell(|ports| ports.inquiry_port, &inquiry);
        assert_eq!((answer.function, answer.status), (0x800d, Some(0)), "round {round}");
    }
    drop(crowd);

    // Noise is thrown out at once; a flood of notifications is answered, and few questions follow.
    let mut noisy = stranger();
    noisy.set_read_timeout(Some(PATIENCE)).expect("timeout");
    noisy.write_all(&[0xff; 100]).expect("sends");
    assert!(matches!(noisy.read(&mut [0; 10]), Ok(0) | Err(_)));
    let before = server.registry().queries;
    let attributes = vec![(32, padded(A)), (4, vec![0; 8]), (35, vec![0, 0, 0, 8])];
    let notification = Pdu { function: 8, flags: 0x4c00, transaction: 5, status: None, attributes };
    let mut flood = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let start = Instant::now();
    for _ in 0..2000 {
        flood.write_all(&notification.bytes()).expect("sends");
        assert_eq!(Pdu::read(&mut flood).expect("an answer").status, Some(0));
    }
    let gaps = usize::try_from(start.elapsed().as_millis()).expect("not for ages") / 10;
    assert!(server.registry().queries - before <= gaps + 2, "one question in 10 ms");
    assert_eq!(host.ask(Request::SystemShow).map(|_| ()), Ok(()));
}
