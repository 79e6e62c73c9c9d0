//! A small iSNS server that keeps what it is told, names initiators as a test says, and lies when a test wants it to.
//!
//! It reads and writes the wire itself and shares no codec with the client, so that a mistake in one does not hide in the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// A message as numbers and bytes.
#[derive(Clone, Debug, Default)]
pub struct Pdu {
    pub function: u16,
    pub flags: u16,
    pub transaction: u16,
    pub status: Option<u32>,
    pub attributes: Vec<(u32, Vec<u8>)>,
}

impl Pdu {
    fn payload(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.status.map(u32::to_be_bytes).into_iter().flatten().collect();
        for (tag, value) in &self.attributes {
            bytes.extend_from_slice(&tag.to_be_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    pub fn bytes(&self) -> Vec<u8> {
        let payload = self.payload();
        let mut bytes = Vec::new();
        for field in [1, self.function, payload.len() as u16, self.flags, self.transaction, 0] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// Reads one from a stream; `None` at its end.
    pub fn read(stream: &mut impl Read) -> Option<Pdu> {
        let mut header = [0; 12];
        stream.read_exact(&mut header).ok()?;
        let field = |place: usize| u16::from_be_bytes([header[place], header[place + 1]]);
        assert_eq!((field(0), field(10)), (1, 0), "version and sequence");
        let mut payload = vec![0; usize::from(field(4))];
        stream.read_exact(&mut payload).ok()?;
        let mut pdu = Pdu { function: field(2), flags: field(6), transaction: field(8), ..Pdu::default() };
        let mut rest = &payload[..];
        if pdu.function & 0x8000 != 0 {
            pdu.status = Some(word(&rest[..4]));
            rest = &rest[4..];
        }
        while !rest.is_empty() {
            let len = word(&rest[4..8]) as usize;
            assert_eq!(len % 4, 0, "values are padded");
            pdu.attributes.push((word(&rest[..4]), rest[8..8 + len].to_vec()));
            rest = &rest[8 + len..];
        }
        Some(pdu)
    }

    pub fn text(&self, tag: u32) -> String {
        text(&self.attributes.iter().find(|(found, _)| *found == tag).expect("the attribute is there").1)
    }

    /// Attributes behind the delimiter.
    fn operating(&self) -> &[(u32, Vec<u8>)] {
        let place = self.attributes.iter().position(|(tag, _)| *tag == 0).expect("a delimiter");
        &self.attributes[place + 1..]
    }
}

pub fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

pub fn text(value: &[u8]) -> String {
    assert_eq!(value.last(), Some(&0), "texts end with NUL");
    String::from_utf8(value.iter().copied().take_while(|&byte| byte != 0).collect()).expect("UTF-8")
}

pub fn padded(text: &str) -> Vec<u8> {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    value.resize(value.len().next_multiple_of(4), 0);
    value
}

/// Makes the bytes of an answer out of an honest one; `None`: says nothing.
pub type Lie = fn(&Pdu) -> Option<Vec<u8>>;

/// A registered portal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Portal {
    pub inquiry_port: Option<u16>,
    pub notification_port: Option<u16>,
}

/// What the server knows, and how it behaves.
#[derive(Default)]
pub struct Registry {
    pub entity: Option<String>,
    pub portals: BTreeMap<(IpAddr, u16), Portal>,
    pub targets: BTreeSet<String>,
    /// Portals of a target's group.
    pub groups: BTreeSet<(String, IpAddr, u16, u32)>,
    pub subscribed: BTreeSet<String>,
    /// Initiators that a target sees.
    pub domains: BTreeMap<String, Vec<String>>,
    pub connections: usize,
    pub queries: usize,
    /// In place of honest answers.
    pub lie: Option<Lie>,
    /// Answers come byte by byte.
    pub slow: bool,
}

impl Registry {
    fn answer(&mut self, request: &Pdu) -> Pdu {
        assert_eq!(request.flags & 0xec00, 0x8c00, "a client's whole message, unauthenticated");
        let (tag, source) = &request.attributes[0];
        assert_eq!(*tag, 32, "the source is a name");
        let source = text(source);
        let mut answer =
            Pdu { function: request.function | 0x8000, flags: 0x4c00, transaction: request.transaction, status: Some(0), ..Pdu::default() };
        match request.function {
            1 => self.register(request),
            4 => self.deregister(request),
            5 => {
                assert_eq!(request.operating(), [(35, 0x9cu32.to_be_bytes().to_vec())]);
                self.subscribed.insert(source);
            }
            6 => drop(self.subscribed.remove(&source)),
            2 if !self.targets.contains(&source) => answer.status = Some(6),
            2 => {
                self.queries += 1;
                answer.attributes = vec![request.attributes[1].clone(), (0, vec![])];
                if request.attributes[1] == (33, 2u32.to_be_bytes().to_vec()) {
                    for name in self.domains.get(&source).into_iter().flatten() {
                        answer.attributes.push((32, padded(name)));
                        answer.attributes.push((33, 2u32.to_be_bytes().to_vec()));
                    }
                }
            }
            other => panic!("function {other}"),
        }
        answer
    }

    fn register(&mut self, request: &Pdu) {
        let entity = request.text(1);
        if request.flags & 0x1000 != 0 || self.entity.as_ref() != Some(&entity) {
            self.clear();
        }
        assert_eq!(request.operating()[0], (1, padded(&entity)), "the key is repeated");
        self.entity = Some(entity);
        let (mut portal, mut name, mut group, mut member) = (None, String::new(), 0, None);
        for (tag, value) in &request.operating()[1..] {
            match tag {
                2 => assert_eq!(word(value), 2, "protocol iSCSI"),
                16 => portal = Some((address(value), 0)),
                17 => {
                    let key = portal.as_mut().expect("an address before its port");
                    key.1 = word(value) as u16;
                    self.portals.insert(*key, Portal::default());
                }
                19 => assert!(word(value) > 0),
                20 => self.portal(portal).inquiry_port = Some(word(value) as u16),
                23 => self.portal(portal).notification_port = Some(word(value) as u16),
                32 => {
                    name = text(value);
                    self.targets.insert(name.clone());
                }
                33 => assert_eq!(word(value), 1, "a target"),
                51 => group = word(value),
                49 => member = Some(address(value)),
                50 => drop(self.groups.insert((name.clone(), member.expect("an address"), word(value) as u16, group))),
                other => panic!("attribute {other}"),
            }
        }
    }

    fn portal(&mut self, key: Option<(IpAddr, u16)>) -> &mut Portal {
        self.portals.get_mut(&key.expect("a portal before its ports")).expect("registered")
    }

    fn deregister(&mut self, request: &Pdu) {
        let mut portal = None;
        for (tag, value) in request.operating() {
            match tag {
                1 => {
                    assert_eq!(Some(text(value)), self.entity);
                    self.clear();
                }
                16 => portal = Some(address(value)),
                17 => drop(self.portals.remove(&(portal.expect("an address"), word(value) as u16))),
                32 => drop(self.targets.remove(&text(value))),
                other => panic!("attribute {other}"),
            }
        }
    }

    fn clear(&mut self) {
        self.entity = None;
        self.portals.clear();
        self.targets.clear();
        self.groups.clear();
        self.subscribed.clear();
    }
}

fn address(value: &[u8]) -> IpAddr {
    let octets: [u8; 16] = value.try_into().expect("16 bytes");
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

/// The running server. It ends when dropped, with all its connections.
pub struct Server {
    pub address: SocketAddr,
    registry: Arc<Mutex<Registry>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(address: SocketAddr) -> Server {
        Server::with(address, Registry::default())
    }

    pub fn with(address: SocketAddr, registry: Registry) -> Server {
        let listener = super::until("the server can listen", || TcpListener::bind(address).ok());
        let address = listener.local_addr().expect("address");
        listener.set_nonblocking(true).expect("nonblocking");
        let registry = Arc::new(Mutex::new(registry));
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = {
            let (registry, stopping) = (registry.clone(), stopping.clone());
            std::thread::spawn(move || accept(&listener, &registry, &stopping))
        };
        Server { address, registry, stopping, thread: Some(thread) }
    }

    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("the server has not panicked")
    }

    /// Sends a request to the port where the daemon takes notifications, and gives the answer.
    pub fn tell(&self, port: impl Fn(&Portal) -> Option<u16>, request: &Pdu) -> Pdu {
        let (ip, port) = self.registry().portals.iter().find_map(|((ip, _), portal)| Some((*ip, port(portal)?))).expect("a port");
        let mut stream = TcpStream::connect((ip, port)).expect("the daemon listens");
        stream.set_read_timeout(Some(super::PATIENCE)).expect("timeout");
        stream.write_all(&request.bytes()).expect("the daemon takes it");
        Pdu::read(&mut stream).expect("the daemon answers")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let ended = self.thread.take().expect("a thread").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

fn accept(listener: &TcpListener, registry: &Arc<Mutex<Registry>>, stopping: &Arc<AtomicBool>) {
    let mut threads = Vec::new();
    while !stopping.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                registry.lock().expect("no panic").connections += 1;
                let (registry, stopping) = (registry.clone(), stopping.clone());
                threads.push(std::thread::spawn(move || serve(stream, &registry, &stopping)));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::park_timeout(Duration::from_millis(2)),
            Err(error) => panic!("{error}"),
        }
    }
    for thread in threads {
        thread.join().expect("a connection ended well");
    }
}

/// Waits for bytes until there are some; ends when the server does.
struct Patient<'a>(&'a TcpStream, &'a AtomicBool);

impl Read for Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.1.load(Ordering::SeqCst) {
                        return Ok(0);
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

fn serve(mut stream: TcpStream, registry: &Mutex<Registry>, stopping: &AtomicBool) {
    stream.set_read_timeout(Some(Duration::from_millis(10))).expect("timeout");
    stream.set_nodelay(true).expect("nodelay");
    while let Some(request) = Pdu::read(&mut Patient(&stream, stopping)) {
        let (answer, slow) = {
            let mut registry = registry.lock().expect("no panic");
            match registry.lie {
                Some(lie) => {
                    let honest = Pdu { function: request.function | 0x8000, flags: 0x4c00, status: Some(0), ..request.clone() };
                    (lie(&honest), false)
                }
                None => (Some(registry.answer(&request).bytes()), registry.slow),
            }
        };
        let pieces = if slow { 1 } else { usize::MAX };
        for piece in answer.unwrap_or_default().chunks(pieces) {
            // A client that has seen enough has closed.
            if stream.write_all(piece).is_err() {
                return;
            }
        }
    }
}
