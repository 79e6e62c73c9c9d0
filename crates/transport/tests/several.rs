//! Sessions with several connections, over loopback.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{House, INITIATOR, TARGET, entry, lun, pattern, read, write};
use iscsi::initiator::{Command, Completion, Event, Session, Settings};
use transport::limits::Limits;
use transport::model::TargetEntry;

/// The initiator's end of a session: sockets that do not block for long, and one count of commands.
struct Host {
    portal: SocketAddr,
    session: Session,
    streams: Vec<TcpStream>,
    events: Vec<(usize, Event)>,
}

fn connect(portal: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(portal).expect("connects");
    stream.set_read_timeout(Some(Duration::from_millis(2))).expect("timeout");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

fn settings(max_connections: u32) -> Settings {
    Settings { max_connections, header_digest: true, data_digest: true, ..Settings::new(INITIATOR, Some(TARGET)) }
}

impl Host {
    fn new(portal: SocketAddr, settings: Settings) -> Host {
        let mut host = Host { portal, session: Session::new(settings), streams: vec![connect(portal)], events: Vec::new() };
        host.logged_in(0);
        host
    }

    /// A further connection; its place.
    fn connect(&mut self, cid: u16) -> usize {
        let place = self.session.connect(cid);
        self.streams.push(connect(self.portal));
        place
    }

    fn logged_in(&mut self, place: usize) -> u16 {
        self.wait(|from, event| match event {
            Event::LoggedIn { tsih } if from == place => Some(*tsih),
            _ => None,
        })
    }

    fn refused(&mut self, place: usize) -> u16 {
        self.wait(|from, event| match event {
            Event::LoginFailed { status, .. } if from == place => Some(*status),
            _ => None,
        })
    }

    /// Sends what a connection has to send.
    fn flush(&mut self, place: usize) {
        let Some(connection) = self.session.at(place) else { return };
        while let Some(bytes) = connection.poll_output() {
            let _ = self.streams[place].write_all(&bytes);
        }
    }

    /// One exchange on a connection; false when the target has closed it.
    fn turn(&mut self, place: usize) -> bool {
        self.flush(place);
        let mut bytes = vec![0; 1 << 18];
        let result = self.streams[place].read(&mut bytes);
        let Some(connection) = self.session.at(place) else { return false };
        let open = match result {
            Ok(0) => false,
            Ok(count) => {
                connection.handle_bytes(&bytes[..count]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        while let Some(event) = connection.poll_event() {
            assert!(!matches!(event, Event::Violation(_)), "{event:?}");
            self.events.push((place, event));
        }
        open
    }

    fn wait<T>(&mut self, mut wanted: impl FnMut(usize, &Event) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.events.iter().enumerate().find_map(|(index, (place, event))| Some((index, wanted(*place, event)?)));
            if let Some((index, found)) = found {
                self.events.remove(index);
                return found;
            }
            assert!(Instant::now() < deadline, "no such event among {:?}", self.events);
            for place in 0..self.session.places() {
                self.turn(place);
            }
        }
    }

    fn until_closed(&mut self, place: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.turn(place) {
            assert!(Instant::now() < deadline, "still open");
        }
        self.session.lose(place);
    }

    fn submit(&mut self, place: usize, command: Command) -> u32 {
        self.session.at(place).expect("lives").submit(command)
    }

    /// The end of a command, and the connection it came on.
    fn done(&mut self, tag: u32) -> (usize, Completion) {
        self.wait(|place, event| match event {
            Event::Done(completion) if completion.tag == tag => Some((place, completion.clone())),
            _ => None,
        })
    }

    fn run(&mut self, place: usize, command: Command) -> Completion {
        loop {
            let tag = self.submit(place, command.clone());
            let (from, completion) = self.done(tag);
            assert_eq!(from, place, "an answer comes where its command went");
            if completion.sense.get(2).is_none_or(|key| key & 15 != 6) {
                return completion;
            }
        }
    }

    fn function_done(&mut self, tag: u32) -> (usize, u8) {
        self.wait(|place, event| match event {
            Event::FunctionDone { tag: done, response } if *done == tag => Some((place, *response)),
            _ => None,
        })
    }

    fn logged_out(&mut self) -> (usize, u8) {
        self.wait(|place, event| match event {
            Event::LoggedOut { response } => Some((place, *response)),
            _ => None,
        })
    }
}

fn target(max_connections: u32) -> TargetEntry {
    let mut entry = entry();
    entry.parameters.max_connections = max_connections;
    entry
}

fn house(max_connections: u32, reactors: usize) -> House {
    House::new(vec![target(max_connections)], reactors, Limits::default())
}

fn test_unit_ready() -> Command {
    Command::new(1, &[0; 6])
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn connections_share_one_session_wherever_they_arrive() {
    for reactors in [1, 3] {
        let house = house(4, reactors);
        let mut host = Host::new(house.portal, settings(4));
        for cid in 1..4 {
            let place = host.connect(cid);
            assert_eq!(host.logged_in(place), 1);
        }
        let sessions = house.hub.sessions();
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions[0].connections.iter().map(|connection| connection.cid).collect::<Vec<_>>(), [0, 1, 2, 3]);
        host.run(0, test_unit_ready());
        // What one connection writes, another reads: one nexus, one unit attention, one order of commands.
        let mut tags = Vec::new();
        for index in 0..40u32 {
            let place = index as usize % 4;
            let len = if index % 3 == 0 { 300_000 / 512 * 512 } else { 4096 };
            tags.push((place, host.submit(place, write(u64::from(index) * 1000, pattern(len, index)))));
            if index % 8 == 7 {
                for place in 0..4 {
                    host.flush(place);
                }
            }
        }
        for (place, tag) in tags {
            let (from, completion) = host.done(tag);
            assert_eq!((from, completion.status), (place, 0));
        }
        for index in 0..40u32 {
            let len = if index % 3 == 0 { 300_000 / 512 * 512 } else { 4096 };
            let answer = host.run((index as usize + 1) % 4, read(u64::from(index) * 1000, len as u32));
            assert!(answer.data_in == pattern(len, index), "write {index}");
        }
        drop(host);
        house.end();
    }
}

#[test]
fn a_session_has_no_more_connections_than_were_agreed() {
    for (offered, configured, agreed) in [(1, 4, 1), (3, 2, 2), (2, 8, 2), (100, 60_000, 16)] {
        let house = house(configured, 1);
        let mut host = Host::new(house.portal, settings(offered));
        assert_eq!(host.session.at(0).expect("lives").negotiated().max_connections, agreed);
        for cid in 1..agreed as u16 {
            let place = host.connect(cid);
            host.logged_in(place);
        }
        let place = host.connect(77);
        assert_eq!(host.refused(place), 0x0206);
        host.until_closed(place);
        assert_eq!(house.hub.sessions()[0].connections.len(), agreed as usize);
        assert_eq!(host.run(0, test_unit_ready()).status, 0, "the session lives on");
        house.end();
    }
}

#[test]
fn a_lost_connection_takes_only_its_tasks_along() {
    let house = house(2, 2);
    let mut offers = settings(2);
    (offers.initial_r2t, offers.immediate_data) = (true, false);
    let mut host = Host::new(house.portal, offers);
    let second = host.connect(1);
    host.logged_in(second);
    host.run(0, test_unit_ready());
    // Half of a write's data is sent on the connection that goes.
    let tag = host.submit(second, write(0, pattern(200_704, 1)));
    host.flush(second);
    let mut bytes = Vec::new();
    let mut answer = [0; 512];
    host.streams[second].set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let count = host.streams[second].read(&mut answer).expect("the target asks for data");
    host.session.at(second).expect("lives").handle_bytes(&answer[..count]);
    while let Some(output) = host.session.at(second).expect("lives").poll_output() {
        bytes.extend(output);
    }
    host.streams[second].write_all(&bytes[..30_000]).expect("the target reads");
    assert_eq!(host.run(0, write(5000, pattern(4096, 2))).status, 0, "the other connection goes on meanwhile");
    drop(std::mem::replace(&mut host.streams[second], connect(house.portal)));
    host.session.lose(second);
    wait_for(|| house.hub.sessions()[0].connections.len() == 1);
    assert_eq!(host.run(0, read(5000, 4096)).data_in, pattern(4096, 2));
    // The tag is free again, the number of the connection too.
    let third = host.connect(1);
    host.logged_in(third);
    assert_eq!(host.run(third, test_unit_ready()).status, 0);
    let tag_after = host.submit(third, test_unit_ready());
    assert!(tag_after > tag);
    assert_eq!(host.done(tag_after).1.status, 0);
    drop(host);
    house.end();
}

#[test]
fn a_connection_takes_the_place_of_that_with_its_number() {
    for reactors in [1, 2] {
        let house = house(2, reactors);
        let mut host = Host::new(house.portal, settings(2));
        let second = host.connect(1);
        host.logged_in(second);
        host.run(0, test_unit_ready());
        let third = host.connect(1);
        host.logged_in(third);
        host.until_closed(second);
        assert_eq!(host.run(third, test_unit_ready()).status, 0, "no unit attention: the nexus is the same");
        assert_eq!(host.run(0, test_unit_ready()).status, 0);
        // The last one, too: the session is continued, and knows its commands.
        let fourth = host.connect(0);
        host.logged_in(fourth);
        host.until_closed(0);
        assert_eq!(house.hub.sessions()[0].connections.len(), 2);
        assert_eq!(host.run(fourth, test_unit_ready()).status, 0);
        drop(host);
        house.end();
    }
}

#[test]
fn a_new_session_ends_all_connections_of_the_old_one() {
    for reactors in [1, 3] {
        let house = house(3, reactors);
        let mut host = Host::new(house.portal, settings(3));
        for cid in 1..3 {
            let place = host.connect(cid);
            host.logged_in(place);
        }
        let mut again = Host::new(house.portal, settings(3));
        for place in 0..3 {
            host.until_closed(place);
        }
        assert_eq!(again.run(0, test_unit_ready()).status, 0);
        assert_eq!(house.hub.sessions().len(), 1);
        assert_eq!(house.hub.sessions()[0].connections.len(), 1);
        house.end();
    }
}

#[test]
fn logouts_end_one_connection_or_all() {
    let house = house(4, 2);
    let mut host = Host::new(house.portal, settings(4));
    for cid in 1..4 {
        let place = host.connect(cid);
        host.logged_in(place);
    }
    host.run(0, test_unit_ready());
    host.session.at(1).expect("lives").logout_connection(1);
    assert_eq!(host.logged_out(), (1, 0));
    host.until_closed(1);
    host.session.at(0).expect("lives").logout_connection(2);
    host.flush(0);
    host.until_closed(2);
    assert_eq!(host.logged_out(), (0, 0));
    host.session.at(0).expect("lives").logout_connection(9);
    assert_eq!(host.logged_out(), (0, 1), "no such connection");
    assert_eq!(host.run(3, test_unit_ready()).status, 0);
    host.session.at(3).expect("lives").logout();
    assert_eq!(host.logged_out(), (3, 0));
    host.until_closed(0);
    host.until_closed(3);
    wait_for(|| house.hub.sessions().is_empty());
    house.end();
}

#[test]
fn a_function_on_one_connection_ends_tasks_of_all() {
    let house = house(2, 1);
    let mut offers = settings(2);
    (offers.initial_r2t, offers.immediate_data) = (true, false);
    let mut host = Host::new(house.portal, offers);
    let second = host.connect(1);
    host.logged_in(second);
    host.run(0, test_unit_ready());
    // A write that waits for its data on the second connection.
    let tag = host.submit(second, write(0, pattern(8192, 1)));
    host.flush(second);
    wait_for(|| house.hub.sessions()[0].connections[1].traffic.command_pdus == 1);
    let function = host.session.at(0).expect("lives").task_management(5, lun(1), u32::MAX);
    host.flush(0);
    // Its answer comes when the other connection has confirmed what it was sent before.
    assert_eq!(host.function_done(function), (0, 0));
    host.session.at(second).expect("lives").forget([tag]);
    for place in [0, second] {
        assert_eq!(host.run(place, test_unit_ready()).status, 0);
    }
    drop(host);
    house.end();
}

#[test]
fn the_administrator_ends_one_connection() {
    let house = house(2, 2);
    let mut host = Host::new(house.portal, settings(2));
    let second = host.connect(1);
    host.logged_in(second);
    assert!(!house.hub.close_connection(1, 1, 7));
    assert!(house.hub.close_connection(1, 1, 0));
    host.until_closed(0);
    assert_eq!(house.hub.sessions()[0].connections.iter().map(|connection| connection.cid).collect::<Vec<_>>(), [1]);
    assert_eq!(host.run(second, test_unit_ready()).status, 0);
    assert!(house.hub.close_connection(1, 1, 1));
    host.until_closed(second);
    assert!(house.hub.sessions().is_empty());
    house.end();
}
