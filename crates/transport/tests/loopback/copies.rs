//! Third-party copies between the disks of a target.

use super::*;

/// Blocks of one segment: more than one piece.
const BLOCKS: u16 = 5000;
const BYTES: usize = BLOCKS as usize * 512;

/// A target with disks 1 and 2, whose designators differ.
fn two_disks() -> TargetEntry {
    let mut entry = entry();
    entry.units.insert(2, disk(2, Arc::new(Memory::new(64 << 20))));
    entry
}

/// The NAA designator that a disk has by its number.
fn descriptor(lun: u8) -> Vec<u8> {
    let mut bytes = vec![0xe4, 0, 0, 0, 0x01, 0x03, 0, 8, 0x30, 0, 0, 1, 0, 0, 0, lun];
    bytes.resize(32, 0);
    bytes
}

fn segment(from: u16, to: u16, source: u64, destination: u64) -> Vec<u8> {
    [&[2, 0, 0, 0x18][..], &from.to_be_bytes(), &to.to_be_bytes(), &[0, 0], &BLOCKS.to_be_bytes(), &source.to_be_bytes(), &destination.to_be_bytes()]
        .concat()
}

/// EXTENDED COPY(LID1) at disk `home`.
fn copy(home: u64, from: u8, to: u8, segments: &[(u64, u64)]) -> Command {
    let segments: Vec<u8> = segments.iter().flat_map(|(source, destination)| segment(0, 1, *source, *destination)).collect();
    let mut list = vec![1, 0, 0, 64, 0, 0, 0, 0];
    list.extend((segments.len() as u32).to_be_bytes());
    list.extend([0; 4]);
    list.extend([descriptor(from), descriptor(to), segments].concat());
    let mut cdb = vec![0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb.extend((list.len() as u32).to_be_bytes());
    cdb.extend([0, 0]);
    Command::new(home, &cdb).writing(list)
}

/// What a command ended with: sense key and code, from sense data behind their length.
fn code(completion: &Completion) -> (u8, u8, u8) {
    let sense = &completion.sense;
    if completion.status == 0 { (0, 0, 0) } else { (sense[2] & 15, sense[12], sense[13]) }
}

fn on(number: u64, mut command: Command) -> Command {
    command.lun = lun(number);
    command
}

fn ready(host: &mut Host) {
    for number in 1..=2 {
        host.run(Command::new(number, &[0; 6]));
    }
}

#[test]
fn blocks_go_to_another_disk_and_back() {
    let house = House::new(vec![two_disks()], 1, Limits::default());
    let mut host = house.host();
    ready(&mut host);
    let data = pattern(BYTES, 1);
    assert_eq!(host.run(write(7, data.clone())).status, 0);
    let there = host.command(copy(1, 1, 2, &[(7, 100)]));
    assert_eq!(code(&there), (0, 0, 0), "{:02x?}", there.sense);
    assert!(host.run(on(2, read(100, BYTES as u32))).data_in == data);
    assert_eq!(code(&host.command(copy(2, 2, 1, &[(100, 50_000)]))), (0, 0, 0));
    assert!(host.run(read(50_000, BYTES as u32)).data_in == data);
    let status = host.command(Command::new(2, &[0x84, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]).reading(12)).data_in;
    assert_eq!(status, [&[0, 0, 0, 8, 1, 0, 1, 0][..], &(BYTES as u32).to_be_bytes()].concat());
    assert_eq!(code(&host.command(copy(1, 1, 3, &[(7, 100)]))), (0xa, 0x0d, 0x02), "there is no disk 3");
    drop(host);
    house.end();
}

#[test]
fn opposite_copies_of_several_sessions_end() {
    let house = House::new(vec![two_disks()], 3, Limits::default());
    let mut hosts: Vec<Host> = (0..4)
        .map(|index| {
            let mut settings = Settings::new(&format!("{INITIATOR}{index}"), Some(TARGET));
            settings.isid = [0, 0, 0, 0, 0, index];
            Host::new(house.portal, settings)
        })
        .collect();
    let data = [pattern(BYTES, 1), pattern(BYTES, 2)];
    ready(&mut hosts[0]);
    for (number, data) in (1..).zip(&data) {
        assert_eq!(hosts[0].run(on(number, write(0, data.clone()))).status, 0);
    }
    let mut tags = Vec::new();
    for (index, host) in hosts.iter_mut().enumerate() {
        ready(host);
        let (from, to, at) = if index % 2 == 0 { (1, 2, 10_000) } else { (2, 1, 20_000) };
        let place = at + 30_000 * (index as u64 / 2);
        tags.push(host.core.submit(copy(u64::from(to), from, to, &[(0, place), (0, place + 6000)])));
        host.turn();
    }
    for (host, tag) in hosts.iter_mut().zip(tags) {
        let done = host.done(tag);
        assert_eq!(code(&done), (0, 0, 0), "{:02x?}", done.sense);
    }
    for (number, other, at) in [(1, 1, 20_000), (2, 0, 10_000)] {
        for place in [at, at + 6000, at + 30_000, at + 36_000] {
            assert!(hosts[3].run(on(number, read(place, BYTES as u32))).data_in == data[other], "disk {number}, block {place}");
        }
    }
    drop(hosts);
    house.end();
}

#[test]
fn a_copy_ends_with_the_disk_that_is_taken_away() {
    let house = House::new(vec![two_disks()], 2, Limits::default());
    let mut host = house.host();
    ready(&mut host);
    let cell = house.hub.model().targets[&1].units[&2].clone();
    cell.lock().faults_mut().insert(fault::RuleId(1), fault::grammar::parse("op=WRITE16,action=HANG").expect("a rule"));
    let tag = host.core.submit(copy(1, 1, 2, &[(0, 0)]));
    host.turn();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(host.run(read(0, 512)).status, 0, "the first disk serves on");
    let mut model = Model::clone(&house.hub.model());
    let mut entry = TargetEntry::clone(&model.targets[&1]);
    entry.units.remove(&2);
    model.targets.insert(1, Arc::new(entry));
    house.hub.publish(model);
    house.hub.unit_removed(1, &cell);
    assert_eq!(code(&host.done(tag)), (0xa, 0x0d, 0x02));
    drop(host);
    house.end();
}

#[test]
fn an_abort_and_a_lost_session_end_copies() {
    let house = House::new(vec![two_disks()], 2, Limits::default());
    let cell = house.hub.model().targets[&1].units[&2].clone();
    cell.lock().faults_mut().insert(fault::RuleId(1), fault::grammar::parse("op=WRITE16,action=HANG").expect("a rule"));
    let mut host = house.host();
    ready(&mut host);
    let tag = host.core.submit(copy(1, 1, 2, &[(0, 0)]));
    host.turn();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(host.function(1, lun(1), tag), 0, "ABORT TASK");
    host.core.submit(copy(1, 1, 2, &[(0, 0)]));
    host.turn();
    std::thread::sleep(Duration::from_millis(50));
    drop(host);
    let deadline = Instant::now() + Duration::from_secs(5);
    let home = house.hub.model().targets[&1].units[&1].clone();
    while home.lock().active_tasks() + cell.lock().active_tasks() > 0 {
        assert!(Instant::now() < deadline, "a copy that nobody waits for is left over");
        std::thread::sleep(Duration::from_millis(5));
    }
    house.end();
}
