//! A server on the real epoll driver, and our own initiator over loopback, which judges every PDU.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use common::{House, INITIATOR, TARGET, cdb16, disk, entry, lun, pattern, read, write};
use iscsi::initiator::{Command, Completion, Connection, Event, Settings};
use scsi::{AccessState, Lun};
use store::Memory;
use transport::hub::Hub;
use transport::limits::Limits;
use transport::model::{Model, Portal, TargetEntry, UnitCell};

#[path = "loopback/attacks.rs"]
mod attacks;

impl House {
    fn host(&self) -> Host {
        Host::new(self.portal, Settings::new(INITIATOR, Some(TARGET)))
    }
}

/// An initiator on a blocking socket.
struct Host {
    stream: TcpStream,
    core: Connection,
    events: Vec<Event>,
}

impl Host {
    fn connect(portal: SocketAddr, settings: Settings) -> Host {
        let stream = TcpStream::connect(portal).expect("connects");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        Host { stream, core: Connection::new(settings), events: Vec::new() }
    }

    fn new(portal: SocketAddr, settings: Settings) -> Host {
        let mut host = Host::connect(portal, settings);
        host.wait(|event| matches!(event, Event::LoggedIn { .. }).then_some(()));
        host
    }

    /// One exchange; false when the target has closed.
    fn turn(&mut self) -> bool {
        while let Some(bytes) = self.core.poll_output() {
            if self.stream.write_all(&bytes).is_err() {
                return false;
            }
        }
        let mut bytes = vec![0; 1 << 20];
        let open = match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.core.handle_bytes(&bytes[..count]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        while let Some(event) = self.core.poll_event() {
            assert!(!matches!(event, Event::Violation(_)), "{event:?}");
            self.events.push(event);
        }
        open
    }

    fn wait<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(index) = self.events.iter().position(|event| wanted(event).is_some()) {
                let event = self.events.remove(index);
                return wanted(&event).expect("as before");
            }
            let open = self.turn();
            assert!(open || !self.events.is_empty(), "the target closed the connection");
            assert!(Instant::now() < deadline, "no such event; there are {}", self.events.len());
        }
    }

    fn until_closed(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.turn() {
            assert!(Instant::now() < deadline, "still open");
        }
    }

    fn done(&mut self, tag: u32) -> Completion {
        self.wait(|event| match event {
            Event::Done(completion) if completion.tag == tag => Some(completion.clone()),
            _ => None,
        })
    }

    fn command(&mut self, command: Command) -> Completion {
        let tag = self.core.submit(command);
        self.done(tag)
    }

    /// A command on the disk, past its unit attention.
    fn run(&mut self, command: Command) -> Completion {
        loop {
            let completion = self.command(command.clone());
            if completion.sense.get(2).is_none_or(|key| key & 15 != 6) {
                return completion;
            }
        }
    }

    fn function(&mut self, function: u8, lun: Lun, referenced: u32) -> u8 {
        let tag = self.core.task_management(function, lun, referenced);
        self.wait(|event| match event {
            Event::FunctionDone { tag: done, response } if *done == tag => Some(*response),
            _ => None,
        })
    }
}

#[path = "loopback/copies.rs"]
mod copies;
#[path = "loopback/well_known.rs"]
mod well_known;

#[test]
fn a_disk_is_found_written_and_read() {
    let house = House::plain();
    let mut host = house.host();
    let inquiry = host.command(Command::new(1, &[0x12, 0, 0, 0, 96, 0]).reading(96));
    assert_eq!((inquiry.status, inquiry.data_in[0], &inquiry.data_in[8..14]), (0, 0, &b"SCUZZY"[..]));
    let first = host.command(Command::new(1, &[0; 6]));
    assert_eq!((first.status, first.sense[2] & 15, &first.sense[12..14]), (2, 6, &[0x29, 0][..]), "{:?}", first.sense);
    for (round, len) in [512, 4096, 8192, 65536, 66048, 262_144, 1 << 20, (4 << 20) + 512].into_iter().enumerate() {
        let data = pattern(len, round as u32);
        let lba = 1000 * round as u64 + 7;
        assert_eq!(host.run(write(lba, data.clone())).status, 0, "write of {len} bytes");
        let answer = host.run(read(lba, len as u32));
        assert_eq!((answer.status, answer.residual), (0, 0), "read of {len} bytes");
        assert!(answer.data_in == data, "{len} bytes come back");
    }
    let counters = house.end();
    assert_eq!(counters.logins, 1);
    assert_eq!(counters.commands, counters.responses);
}

#[test]
fn digests_and_small_segments_and_r2t_only() {
    for (initial_r2t, immediate_data) in [(true, false), (true, true), (false, false), (false, true)] {
        let house = House::plain();
        let mut offers = Settings::new(INITIATOR, Some(TARGET));
        (offers.header_digest, offers.data_digest, offers.initial_r2t, offers.immediate_data) = (true, true, initial_r2t, immediate_data);
        (offers.max_recv_data_segment_length, offers.max_burst_length, offers.first_burst_length) = (4096, 32768, 16384);
        let mut host = Host::new(house.portal, offers);
        let tags: Vec<u32> = (0..32).map(|index| host.core.submit(write(index * 200, pattern(100_352, index as u32)))).collect();
        let good = tags.into_iter().filter(|&tag| host.done(tag).status == 0).count();
        assert!(good >= 31, "all but the one that hears of the unit attention");
        assert_eq!(host.run(write(0, pattern(100_352, 0))).status, 0);
        for index in 0..32 {
            assert!(host.run(read(index * 200, 100_352)).data_in == pattern(100_352, index as u32), "write {index}");
        }
        drop(host);
        house.end();
    }
}

#[test]
fn unsolicited_data_go_straight_into_place() {
    for immediate_data in [false, true] {
        let house = House::plain();
        let mut offers = Settings::new(INITIATOR, Some(TARGET));
        (offers.initial_r2t, offers.immediate_data) = (false, immediate_data);
        let mut host = Host::new(house.portal, offers);
        host.run(Command::new(1, &[0; 6]));
        for round in 0..50 {
            for len in [16_384, 65_536, 131_072, 1 << 20] {
                let data = pattern(len, round);
                assert_eq!(host.run(write(u64::from(round), data.clone())).status, 0, "round {round}, {len} bytes");
                assert!(host.run(read(u64::from(round), len as u32)).data_in == data, "round {round}, {len} bytes");
            }
        }
        drop(host);
        let counters = house.end();
        assert!(counters.staged_bytes < 50 * (1 << 20), "most were received in place, only {} bytes staged", counters.staged_bytes);
    }
}

#[test]
fn a_fetch_waits_for_a_payload_that_is_being_received() {
    let house = House::plain();
    let mut offers = Settings::new(INITIATOR, Some(TARGET));
    (offers.initial_r2t, offers.immediate_data) = (false, false);
    let mut host = Host::new(house.portal, offers);
    host.run(Command::new(1, &[0; 6]));
    // Unsolicited data alone, and with an R2T for the rest; they pause in the middle of the data segment.
    for len in [65_536, 524_288] {
        let data = pattern(len, 3);
        let tag = host.core.submit(write(0, data.clone()));
        let mut bytes = Vec::new();
        while let Some(output) = host.core.poll_output() {
            bytes.extend(output);
        }
        host.stream.write_all(&bytes[..20_000]).expect("the target reads");
        std::thread::sleep(Duration::from_millis(50));
        host.stream.write_all(&bytes[20_000..]).expect("the target reads");
        assert_eq!(host.done(tag).status, 0);
        assert!(host.run(read(0, len as u32)).data_in == data);
    }
    house.end();
}

#[test]
fn a_lie_about_the_length_costs_nothing() {
    let house = House::plain();
    let mut host = house.host();
    host.run(Command::new(1, &[0; 6]));
    // WRITE(16) of one block that announces 64 MiB: the residual says what was not used.
    let tag = host.core.submit(Command::new(1, &cdb16(0x8a, 0, 1)).writing(vec![5; 1 << 20]));
    let answer = host.done(tag);
    assert_eq!((answer.status, answer.residual), (0, (1 << 20) - 512));
    assert!(host.run(read(0, 512)).data_in == vec![5; 512]);
    drop(host);
    house.end();
}

#[test]
fn few_buffers_serve_many_commands() {
    let limits = Limits { pool_bytes: 1 << 20, ..Limits::default() };
    let mut entry = entry();
    entry.parameters.max_queue_cmd = 128;
    let house = House::new(vec![entry], 1, limits);
    let mut host = house.host();
    host.run(Command::new(1, &[0; 6]));
    let writes: Vec<u32> = (0..40).map(|index| host.core.submit(write(index * 1024, pattern(524_288, index as u32)))).collect();
    let reads: Vec<u32> = (0..40).map(|index| host.core.submit(read(index * 1024, 524_288))).collect();
    for tag in writes.into_iter().chain(reads) {
        assert_eq!(host.done(tag).status, 0);
    }
    for index in 0..40 {
        assert!(host.run(read(index * 1024, 524_288)).data_in == pattern(524_288, index as u32), "write {index}");
    }
    drop(host);
    assert!(house.end().parked > 0, "buffers were short");
}

#[test]
fn a_second_login_of_one_port_ends_the_first() {
    for reactors in [1, 3] {
        let house = House::new(vec![entry()], reactors, Limits::default());
        let mut first = house.host();
        let mut second = house.host();
        first.until_closed();
        assert_eq!(second.run(Command::new(1, &[0; 6])).status, 0);
        let sessions = house.hub.sessions();
        assert_eq!(sessions.len(), 1);
        assert_eq!((sessions[0].sid, sessions[0].initiator_name.as_str(), sessions[0].tid), (2, INITIATOR, Some(1)));
        let mut offers = Settings::new(INITIATOR, Some(TARGET));
        offers.isid[5] = 9;
        let mut third = Host::new(house.portal, offers);
        assert_eq!(third.run(Command::new(1, &[0; 6])).status, 0);
        assert_eq!(second.run(Command::new(1, &[0; 6])).status, 0);
        assert_eq!(house.hub.sessions().len(), 2);
        house.end();
    }
}

#[test]
fn many_sessions_on_several_reactors_share_a_disk() {
    let house = House::new(vec![entry()], 3, Limits::default());
    let portal = house.portal;
    let idle = Arc::new(Barrier::new(6));
    let threads: Vec<_> = (0..6u8)
        .map(|number| {
            let idle = idle.clone();
            std::thread::spawn(move || {
                let mut offers = Settings::new(INITIATOR, Some(TARGET));
                offers.isid[5] = number;
                let mut host = Host::new(portal, offers);
                for round in 0..20u64 {
                    let data = pattern(8192, u32::from(number) * 100 + round as u32);
                    let lba = u64::from(number) * 1000 + round * 16;
                    assert_eq!(host.run(write(lba, data.clone())).status, 0);
                    assert!(host.run(read(lba, 8192)).data_in == data);
                }
                // Everyone's tasks on the unit end without an answer (TAS = 0), wherever they run: so nobody has one now.
                idle.wait();
                assert_eq!(host.function(5, lun(1), u32::MAX), 0);
                idle.wait();
                assert_eq!(host.run(Command::new(1, &[0; 6])).status, 0);
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    house.end();
}

#[test]
fn the_administrator_sees_and_ends_sessions() {
    let house = House::plain();
    let mut host = house.host();
    host.run(write(0, vec![1; 4096]));
    let session = house.hub.sessions().remove(0);
    let connection = &session.connections[0];
    assert_eq!((session.sid, connection.cid, connection.local), (1, 0, house.portal));
    let traffic = connection.traffic;
    assert!(traffic.received_bytes > 4096 && traffic.command_pdus >= 1 && traffic.response_pdus >= 1, "{session:?}");
    assert!(!house.hub.close_connection(1, 2, 0));
    assert!(house.hub.close_connection(1, 1, 0));
    host.until_closed();
    let mut host = house.host();
    assert_eq!(house.hub.close_target_sessions(1), 1);
    host.until_closed();
    house.end();
}

#[test]
fn units_come_and_go_under_a_session() {
    let house = House::plain();
    let mut host = house.host();
    host.run(Command::new(1, &[0; 6]));
    let cell = disk(5, Arc::new(Memory::new(1 << 20)));
    let change = |edit: &dyn Fn(&mut TargetEntry)| {
        let mut model = Model::clone(&house.hub.model());
        let mut entry = TargetEntry::clone(&model.targets[&1]);
        edit(&mut entry);
        model.targets.insert(1, Arc::new(entry));
        house.hub.publish(model);
    };
    change(&|entry| drop(entry.units.insert(5, cell.clone())));
    house.hub.unit_added(1, &cell);
    let told = host.command(Command::new(1, &[0; 6]));
    assert_eq!((told.status, &told.sense[12..14]), (2, &[0x3f, 0x0e][..]));
    let luns = host.run(Command::new(1, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).reading(256));
    assert_eq!((luns.data_in.len(), luns.data_in[25]), (8 + 24, 5));
    assert_eq!(host.run(Command::new(5, &[0; 6])).status, 0);
    change(&|entry| drop(entry.units.remove(&5)));
    house.hub.unit_removed(1, &cell);
    let gone = host.run(Command::new(5, &[0; 6]));
    assert_eq!((gone.status, gone.sense[2] & 15, &gone.sense[12..14]), (2, 5, &[0x25, 0][..]));
    let mut model = Model::clone(&house.hub.model());
    model.targets.clear();
    house.hub.publish(model);
    host.until_closed();
    house.end();
}

#[test]
fn portals_open_and_close_live() {
    let house = House::plain();
    let portal = house.hub.add_portal(SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a second portal");
    let mut host = Host::new(portal, Settings::new(INITIATOR, Some(TARGET)));
    assert!(house.hub.add_portal(portal.into()).is_err(), "busy");
    assert!(house.hub.remove_portal(portal));
    assert!(!house.hub.remove_portal(portal));
    assert_eq!(host.run(Command::new(1, &[0; 6])).status, 0, "connections outlive their portal");
    std::thread::sleep(Duration::from_millis(50));
    assert!(TcpStream::connect(portal).is_err());
    house.end();
}

#[test]
fn a_portal_group_is_a_target_port() {
    let house = House::plain();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let portal = house.hub.add_portal(Portal { address: any, group_tag: 7 }).expect("a second portal");
    let mut model = Model::clone(&house.hub.model());
    model.portals.push(Portal { address: portal, group_tag: 7 });
    house.hub.publish(model);
    let settings = || Settings::new(INITIATOR, Some(TARGET));
    let mut first = Host::new(house.portal, settings());
    let mut second = Host::new(portal, settings());
    assert_eq!(house.hub.sessions().len(), 2, "one initiator port through two target ports");
    let inquiry = |host: &mut Host, page: u8| host.run(Command::new(1, &[0x12, 1, page, 2, 0, 0]).reading(512)).data_in;
    for (host, tag) in [(&mut first, 1), (&mut second, 7)] {
        let page = inquiry(host, 0x83);
        let designators = [0x51, 0x94, 0, 4, 0, 0, 0, tag, 0x51, 0x95, 0, 4, 0, 0, 0, tag];
        assert!(page.windows(16).any(|bytes| bytes == designators), "{page:?}");
        assert!(page.windows(9).any(|bytes| bytes == format!(",t,0x000{tag}").as_bytes()));
        let ports = inquiry(host, 0x88);
        assert_eq!(ports.windows(5).filter(|bytes| bytes == b",t,0x").count(), 2);
    }
    house.cell().lock().set_access_state(7, AccessState::Standby).expect("a group");
    assert_eq!(first.run(read(0, 512)).status, 0);
    assert_eq!(second.run(read(0, 512)).sense[12..14], [0x04, 0x0b]);
    let mut discovery = Host::new(portal, Settings::new(INITIATOR, None));
    let tag = discovery.core.text(b"SendTargets=All\0");
    let pairs = discovery.wait(|event| match event {
        Event::Text { tag: done, pairs } if *done == tag => Some(pairs.clone()),
        _ => None,
    });
    let addresses: Vec<&str> = pairs.iter().filter(|(key, _)| key == "TargetAddress").map(|(_, value)| value.as_str()).collect();
    assert_eq!(addresses, [format!("{},1", house.portal), format!("{portal},7")]);
    house.end();
}

#[test]
fn a_reactor_that_does_not_turn_is_noticed() {
    let house = House::plain();
    assert!(house.hub.turns(Duration::from_secs(20)));
    assert!(house.hub.turns(Duration::from_secs(20)), "idle reactors are woken");
    // A hub whose reactors nobody runs.
    let silent = Hub::new(Model::new(), 2, Limits::default());
    assert!(!silent.turns(Duration::from_millis(20)));
    house.end();
}

#[test]
fn without_a_target_connections_are_closed() {
    let house = House::new(Vec::new(), 1, Limits::default());
    let mut host = Host::connect(house.portal, Settings::new(INITIATOR, Some(TARGET)));
    host.until_closed();
    house.end();
}

#[test]
fn limits_refuse_with_a_reason() {
    let limits = Limits { sessions_per_target: 1, connections_per_peer: 2, ..Limits::default() };
    let house = House::new(vec![entry()], 1, limits);
    let _first = house.host();
    let mut offers = Settings::new(INITIATOR, Some(TARGET));
    offers.isid[5] = 2;
    let mut second = Host::connect(house.portal, offers.clone());
    let status = second.wait(|event| match event {
        Event::LoginFailed { status, .. } => Some(*status),
        _ => None,
    });
    assert_eq!(status, 0x0302);
    second.until_closed();
    let _silent = TcpStream::connect(house.portal).expect("connects");
    std::thread::sleep(Duration::from_millis(50));
    let mut fourth = Host::connect(house.portal, offers);
    fourth.until_closed();
    house.end();
}

#[test]
fn task_management_is_answered_with_its_codes() {
    let house = House::plain();
    let mut settings = Settings::new(INITIATOR, Some(TARGET));
    settings.more_keys = vec![("iSCSIProtocolLevel".into(), "2".into()), ("TaskReporting".into(), "ResponseFence".into())];
    let mut host = Host::new(house.portal, settings);
    host.run(Command::new(1, &[0; 6]));
    assert_eq!(host.function(1, lun(1), 0x1234), 1, "ABORT TASK of no task");
    assert_eq!(host.function(2, lun(1), u32::MAX), 0, "ABORT TASK SET");
    assert_eq!(host.function(4, lun(1), u32::MAX), 0, "CLEAR TASK SET");
    assert_eq!(host.function(5, lun(1), u32::MAX), 0, "LOGICAL UNIT RESET");
    assert_eq!(host.function(5, lun(9), u32::MAX), 2, "no such unit");
    assert_eq!(host.function(6, lun(0), u32::MAX), 0, "TARGET WARM RESET");
    assert_eq!(host.function(8, lun(1), 0x1234), 4, "TASK REASSIGN");
    assert_eq!(host.function(3, lun(1), u32::MAX), 0, "CLEAR ACA");
    assert_eq!(host.function(12, lun(1), u32::MAX), 7, "QUERY ASYNCHRONOUS EVENT: the reset is still to be told");
    host.run(Command::new(1, &[0; 6]));
    assert_eq!(host.function(12, lun(1), u32::MAX), 0, "and now it is told");
    assert_eq!(host.function(9, lun(1), 0x1234), 0, "QUERY TASK of no task");
    assert_eq!(host.function(10, lun(1), u32::MAX), 0, "QUERY TASK SET without tasks");
    assert_eq!(host.function(11, lun(0), u32::MAX), 0, "I_T NEXUS RESET");
    assert_eq!(host.function(7, lun(0), u32::MAX), 0, "TARGET COLD RESET");
    host.until_closed();
    house.end();
}

#[test]
fn discovery_lists_the_target_and_its_portal() {
    let house = House::plain();
    let mut host = Host::new(house.portal, Settings::new(INITIATOR, None));
    let tag = host.core.text(b"SendTargets=All\0");
    let pairs = host.wait(|event| match event {
        Event::Text { tag: done, pairs } if *done == tag => Some(pairs.clone()),
        _ => None,
    });
    assert_eq!(pairs, [("TargetName".to_owned(), TARGET.to_owned()), ("TargetAddress".to_owned(), format!("{},1", house.portal))]);
    host.core.logout();
    host.wait(|event| matches!(event, Event::LoggedOut { response: 0 }).then_some(()));
    host.until_closed();
    house.end();
}

impl House {
    fn cell(&self) -> Arc<UnitCell> {
        self.hub.model().targets[&1].units[&1].clone()
    }

    /// Adds a fault rule, as the control thread does.
    fn rule(&self, number: u64, text: &str) {
        let spec = fault::grammar::parse(text).expect("a rule");
        self.cell().lock().faults_mut().insert(fault::RuleId(number), spec);
    }

    fn delete_rule(&self, number: u64) {
        let cell = self.cell();
        let mut unit = cell.lock();
        assert!(unit.faults_mut().remove(fault::RuleId(number)));
        unit.release_hung(Some(fault::RuleId(number)), 0);
        drop(unit);
        self.hub.attend(&cell);
    }
}

#[test]
fn faults_fail_delay_hang_and_cut() {
    let house = House::plain();
    let mut host = house.host();
    host.run(write(0, vec![1; 512]));
    house.rule(0, "op=READ16,lba=0,len=8,action=CHECK_CONDITION,key=3,asc=0x1100");
    let failed = host.run(read(4, 512));
    assert_eq!((failed.status, failed.sense[2] & 15, &failed.sense[12..14]), (2, 3, &[0x11, 0][..]));
    assert_eq!(host.run(read(8, 512)).status, 0);
    house.delete_rule(0);
    assert_eq!(host.run(read(4, 512)).status, 0);
    house.rule(1, "op=WRITE16,pause=0.3,repeat=1,action=BUSY");
    let begun = Instant::now();
    assert_eq!(host.run(write(0, vec![2; 512])).status, 8);
    assert!(begun.elapsed() >= Duration::from_millis(300), "the pause");
    house.rule(2, "op=READ16,action=HANG");
    let tag = host.core.submit(read(0, 512));
    for _ in 0..10 {
        host.turn();
    }
    assert!(!host.events.iter().any(|event| matches!(event, Event::Done(_))), "hangs");
    house.delete_rule(2);
    assert_eq!(host.done(tag).status, 0, "goes on when the rule is gone");
    house.rule(3, "op=READ16,action=HANG");
    let tag = host.core.submit(read(0, 512));
    host.turn();
    assert_eq!(host.function(1, lun(1), tag), 0, "ABORT TASK ends a hang");
    house.delete_rule(3);
    house.rule(4, "op=READ16,action=DROP_CONNECTION");
    host.core.submit(read(0, 512));
    host.until_closed();
    house.end();
}

/// The answer of a logout is the last word: by then its commands have ended, at the unit too.
#[test]
fn a_logout_ends_what_runs_before_it_is_answered() {
    let house = House::plain();
    let mut host = house.host();
    host.run(write(0, vec![1; 512]));
    house.rule(1, "op=READ16,action=HANG");
    let tag = host.core.submit(read(0, 512));
    while house.cell().lock().active_tasks() == 0 {
        assert!(host.turn());
    }
    host.core.logout();
    host.wait(|event| matches!(event, Event::LoggedOut { response: 0 }).then_some(()));
    assert_eq!(house.cell().lock().active_tasks(), 0);
    host.until_closed();
    assert!(!host.events.iter().any(|event| matches!(event, Event::Done(completion) if completion.tag == tag)), "it ended without an answer");
    house.end();
}

#[test]
fn a_peer_that_does_not_answer_pings_is_cut() {
    let mut entry = entry();
    (entry.parameters.nop_interval, entry.parameters.nop_count) = (1, 1);
    let house = House::new(vec![entry], 1, Limits::default());
    let mut host = house.host();
    host.run(Command::new(1, &[0; 6]));
    let deadline = Instant::now() + Duration::from_secs(6);
    // It reads, but says nothing.
    let mut bytes = [0; 4096];
    loop {
        assert!(Instant::now() < deadline, "still open");
        match host.stream.read(&mut bytes) {
            Ok(0) => break,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            _ => {}
        }
    }
    assert!(house.hub.sessions().is_empty());
    house.end();
}

#[test]
fn a_login_that_never_comes_is_cut() {
    let house = House::new(vec![entry()], 1, Limits { login_timeout: 300_000_000, ..Limits::default() });
    let mut stream = TcpStream::connect(house.portal).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let begun = Instant::now();
    assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
    assert!(begun.elapsed() < Duration::from_secs(4));
    house.end();
}

#[test]
fn buffers_held_for_data_that_never_come_are_given_back() {
    let house = House::new(vec![entry()], 1, Limits { data_timeout: 300_000_000, pool_bytes: 1 << 20, ..Limits::default() });
    let mut other = house.host();
    other.run(Command::new(1, &[0; 6]));
    let mut offers = Settings::new(INITIATOR, Some(TARGET));
    (offers.isid[5], offers.immediate_data) = (9, false);
    let mut silent = Host::new(house.portal, offers);
    silent.run(Command::new(1, &[0; 6]));
    // The whole pool, asked for and never sent.
    silent.core.submit(write(0, pattern(1 << 20, 1)));
    while let Some(bytes) = silent.core.poll_output() {
        silent.stream.write_all(&bytes).expect("the target reads");
    }
    let begun = Instant::now();
    while silent
        .stream
        .read(&mut [0; 4096])
        .map_or_else(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), |count| count > 0)
    {
        assert!(begun.elapsed() < Duration::from_secs(10), "still open");
    }
    assert_eq!(other.run(write(0, pattern(1 << 20, 2))).status, 0, "others have the buffers");
    drop((silent, other));
    house.end();
}

#[test]
fn noise_is_answered_by_closing() {
    let house = House::plain();
    for seed in 0..20 {
        let mut stream = TcpStream::connect(house.portal).expect("connects");
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        // The peer may close before everything is written.
        let _ = stream.write_all(&pattern(70_000, seed));
        let _ = stream.read(&mut [0; 4096]);
    }
    let mut host = house.host();
    for seed in 100..120 {
        let mut noisy = Settings::new(INITIATOR, Some(TARGET));
        noisy.isid[5] = 77;
        let mut other = Host::new(house.portal, noisy);
        other.core.send_raw(pattern(5000, seed));
        while let Some(bytes) = other.core.poll_output() {
            let _ = other.stream.write_all(&bytes);
        }
        let _ = other.stream.read(&mut [0; 4096]);
    }
    assert_eq!(host.run(Command::new(1, &[0; 6])).status, 0, "others are not disturbed");
    drop(host);
    house.end();
}

#[test]
fn a_session_number_names_its_session() {
    let house = House::plain();
    let mut first = house.host();
    let refused = |tsih: u16, cid: u16| {
        let mut offers = Settings::new(INITIATOR, Some(TARGET));
        (offers.tsih, offers.cid) = (tsih, cid);
        let mut host = Host::connect(house.portal, offers);
        let status = host.wait(|event| match event {
            Event::LoginFailed { status, .. } => Some(*status),
            _ => None,
        });
        host.until_closed();
        status
    };
    assert_eq!(refused(77, 0), 0x020a, "no such session");
    assert_eq!(refused(1, 5), 0x0206, "a second connection");
    assert_eq!(first.run(Command::new(1, &[0; 6])).status, 0, "the session lives on");
    let mut offers = Settings::new(INITIATOR, Some(TARGET));
    // The session goes on: two commands of it have come.
    (offers.tsih, offers.cmd_sn) = (1, 3);
    let mut again = Host::connect(house.portal, offers);
    let tsih = again.wait(|event| match event {
        Event::LoggedIn { tsih } => Some(*tsih),
        _ => None,
    });
    assert_eq!(tsih, 1, "connection reinstatement keeps the number");
    first.until_closed();
    assert_eq!(again.run(Command::new(1, &[0; 6])).status, 0);
    house.end();
}
