//! Operations with protection information on real stores, and what a crash between two steps leaves.

use device::guard::{Fields, Violation};
use device::{Device, UnitSettings};
use scsi::BlockSize;
use scsi::protection::Protection;
use store::{File, Memory, OpenOptions, Plan, Protected};
use target::{NexusId, TaskRef, TaskTag, Unit};

use super::*;
use crate::hub::LinkKey;
use crate::medium::Progress;
use crate::model::UnitCell;

const BLOCK: usize = 512;
const UNIT: usize = BLOCK + LENGTH;

fn guard(carried: bool) -> Guard {
    let protection = Protection::Type1;
    Guard { protection, block: 512, first: 0, carried, checks: Fields::ALL, compares: Fields::ALL, tags: None, format: false }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(Protected::in_memory(Arc::new(Memory::new(8 << 20)), 1))
}

fn image() -> Arc<dyn Store> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let path = std::env::temp_dir().join(format!("guarded-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    std::fs::File::create(&path).and_then(|file| file.set_len(8 << 20)).expect("an image");
    let data = Arc::new(File::open(&path, OpenOptions::default()).expect("the image opens"));
    Arc::new(Protected::beside(data, &path, OpenOptions::default(), 1).expect("a side"))
}

fn run(store: &Arc<dyn Store>, op: StoreOp, guard: Guard, bytes: &[u8]) -> (StoreResult, Vec<u8>) {
    let settings = UnitSettings {
        tid: 1,
        lun: 0,
        block_size: BlockSize::B512,
        vendor: String::new(),
        product: String::new(),
        revision: String::new(),
        scsi_id: String::new(),
        scsi_sn: String::new(),
        unique: [0; 16],
        removable: false,
        read_only: false,
        thin: false,
    };
    let cell = Arc::new(UnitCell::new(1, 0, Unit::new(Device::controller(settings), 1), None));
    let task = TaskRef { slot: 0, generation: 0, nexus: NexusId(1), tag: TaskTag(1), part: false };
    let mut driver = reactor::Epoll::new().expect("epoll");
    let pool = Pool::new(64 << 20);
    let payload = if bytes.is_empty() {
        Payload::None
    } else {
        let mut buffer = pool.take(bytes.len()).expect("credit");
        buffer.copy_from_slice(bytes);
        Payload::Own(buffer)
    };
    let mut job = Job::new(
        crate::medium::Owner::Task { task, link: LinkKey { slot: 0, serial: 1 } },
        cell,
        store.clone(),
        (op, Some(Box::new(guard))),
        payload,
    );
    let (mut done, mut budget) = (Vec::new(), u64::MAX);
    loop {
        match job.run(&mut driver, 1, &pool, &mut budget) {
            Progress::Done(result) => return (result, job.payload.bytes().to_vec()),
            Progress::Submitted => {}
            Progress::Starved | Progress::Paused => panic!("nothing to wait for"),
        }
        while done.is_empty() {
            reactor::Driver::wait(&mut driver, &mut done, None);
        }
        let ended = done.remove(0);
        assert_eq!(job.complete(ended.result, ended.back), None, "guarded work goes on in run");
    }
}

fn write(store: &Arc<dyn Store>, lba: u64, guard: Guard, bytes: &[u8]) -> StoreResult {
    let unit = if guard.carried { UNIT } else { BLOCK };
    let len = u32::try_from(bytes.len() / unit * BLOCK).expect("small");
    run(store, StoreOp::Write { offset: lba * 512, len, payload: 0, stable: false }, Guard { first: lba, ..guard }, bytes).0
}

fn read(store: &Arc<dyn Store>, lba: u64, blocks: usize, guard: Guard) -> (StoreResult, Vec<u8>) {
    let len = u32::try_from(blocks * BLOCK).expect("small");
    run(store, StoreOp::Read { offset: lba * 512, len }, Guard { first: lba, ..guard }, &vec![0; blocks * UNIT])
}

/// Blocks with their information.
fn sent(lba: u32, fills: &[u8]) -> Vec<u8> {
    let block = |(nth, &fill): (u32, &u8)| {
        let data = [fill; BLOCK];
        let information = Information { guard: protection::guard(&data), application: 0x1234, reference: lba + nth };
        [&data[..], &information.encode()].concat()
    };
    (0..).zip(fills).flat_map(block).collect()
}

fn refused(at: u64, what: Violation) -> StoreResult {
    Err(StoreFault::Protection { at, what })
}

fn both() -> [Arc<dyn Store>; 2] {
    [memory(), image()]
}

#[test]
fn what_was_sent_comes_back() {
    for store in both() {
        let bytes = sent(5, &[1, 2, 3]);
        assert_eq!(write(&store, 5, guard(true), &bytes), Ok(StoreAnswer::Done));
        assert_eq!(read(&store, 5, 3, guard(true)), (Ok(StoreAnswer::Done), bytes));
        let (result, plain) = read(&store, 5, 3, guard(false));
        assert_eq!((result, &plain[..512], &plain[1024..1536]), (Ok(StoreAnswer::Done), &[1; 512][..], &[3; 512][..]));
        let (_, none) = read(&store, 100, 1, guard(true));
        assert_eq!((&none[..512], &none[512..]), (&[0; 512][..], &[0xff; 8][..]), "never written");
        assert_eq!(write(&store, 9, guard(false), &[7; 1024]), Ok(StoreAnswer::Done));
        let (_, made) = read(&store, 10, 1, guard(true));
        let information = Information { guard: protection::guard(&[7; 512]), application: 0, reference: 10 };
        assert_eq!(made[512..], information.encode());
    }
}

#[test]
fn what_is_wrong_is_told_with_its_block() {
    for store in both() {
        let good = sent(5, &[1, 2, 3]);
        let mut bad = good.clone();
        bad[UNIT * 2 + BLOCK] ^= 1;
        assert_eq!(write(&store, 5, guard(true), &bad), refused(1024, Violation::Guard));
        assert_eq!(write(&store, 6, guard(true), &good), refused(0, Violation::Reference));
        assert_eq!(read(&store, 5, 1, guard(true)).1[512..520], [0xff; 8], "nothing was written");
        let blind = Guard { checks: Fields::NONE, ..guard(true) };
        assert_eq!(write(&store, 5, blind, &bad), Ok(StoreAnswer::Done));
        assert_eq!(read(&store, 5, 3, guard(false)).0, refused(1024, Violation::Guard));
        assert_eq!(read(&store, 5, 3, blind), (Ok(StoreAnswer::Done), bad));
        let check = StoreOp::Check { offset: 5 * 512, len: 1536 };
        assert_eq!(run(&store, check, guard(false), &[]).0, refused(1024, Violation::Guard));
        let zero = StoreOp::Zero { offset: 5 * 512, len: 1536, stable: true };
        assert_eq!(run(&store, zero, guard(false), &[]).0, Ok(StoreAnswer::Done));
        assert_eq!(read(&store, 7, 1, guard(true)).1[512..520], [0xff; 8]);
        // A flipped bit of the data, behind the back of the information.
        assert_eq!(write(&store, 5, guard(true), &good), Ok(StoreAnswer::Done));
        assert!(matches!(store.write(6 * 512, &[9; 512], false), Plan::Done(Ok(()))));
        assert_eq!(read(&store, 5, 3, guard(false)).0, refused(512, Violation::Guard));
    }
}

#[test]
fn comparisons_and_joined_bits() {
    for store in both() {
        let bytes = sent(5, &[1, 2]);
        write(&store, 5, guard(true), &bytes).expect("written");
        let compare = |bytes: &[u8], guard: Guard| run(&store, StoreOp::Compare { offset: 2560, len: 1024, payload: 0 }, guard, bytes).0;
        assert_eq!(compare(&bytes, guard(true)), Ok(StoreAnswer::Equal));
        assert_eq!(compare(&[[1; 512], [2; 512]].concat(), guard(false)), Ok(StoreAnswer::Equal));
        let mut tagged = bytes.clone();
        tagged[UNIT + BLOCK + 3] ^= 1;
        assert_eq!(compare(&tagged, guard(true)), Ok(StoreAnswer::Differs { at: (UNIT + BLOCK) as u64 }));
        assert_eq!(compare(&sent(5, &[1, 3]), guard(true)), Ok(StoreAnswer::Differs { at: UNIT as u64 }));
        let or = StoreOp::Or { offset: 2560, len: 1024 };
        let (result, joined) = run(&store, or, guard(true), &sent(5, &[4, 4]));
        assert_eq!((result, joined), (Ok(StoreAnswer::Done), sent(5, &[5, 6])));
    }
}

#[test]
fn one_block_for_many() {
    for store in both() {
        let op = StoreOp::WriteSame { offset: 4096, len: 4096, block: 512, stable: true };
        let (result, _) = run(&store, op, Guard { first: 8, ..guard(true) }, &sent(8, &[3]));
        assert_eq!(result, Ok(StoreAnswer::Done));
        assert_eq!(read(&store, 8, 8, guard(true)).1, sent(8, &[3; 8]));
        let (result, _) = run(&store, op, Guard { first: 8, ..guard(false) }, &[4; 512]);
        assert_eq!((result, read(&store, 15, 1, guard(true)).1[516..520].to_vec()), (Ok(StoreAnswer::Done), vec![0, 0, 0, 15]));
        // The second piece of a longer one.
        let (result, _) = run(&store, op, Guard { first: 4, ..guard(true) }, &sent(4, &[3]));
        assert_eq!((result, read(&store, 8, 8, guard(true)).1), (Ok(StoreAnswer::Done), sent(8, &[3; 8])));
    }
}

/// What the side holds of a block.
fn entry(store: &Arc<dyn Store>, lba: u64) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    let side = store.protected().expect("a side").side();
    assert!(matches!(side.read(ENTRIES + lba * ENTRY, &mut entry), Plan::Done(Ok(()))));
    entry
}

#[test]
fn a_crash_between_two_steps_leaves_the_old_block_or_the_new_one() {
    for store in both() {
        let side = store.protected().expect("a side").side().clone();
        let (old, new, newer) = (sent(5, &[1]), sent(5, &[2]), sent(5, &[3]));
        write(&store, 5, guard(true), &old).expect("written");
        let settled = entry(&store, 5);
        assert_eq!(settled[..8], settled[8..]);
        let marked = |bytes: &[u8], before: &[u8]| [&encode(*bytes[BLOCK..].first_chunk().expect("eight")), before].concat();
        // Killed before the data were written, twice.
        side.write(ENTRIES + 5 * ENTRY, &marked(&new, &settled[..8]), false);
        assert_eq!(read(&store, 5, 1, guard(true)), (Ok(StoreAnswer::Done), old.clone()));
        // A write that follows knows which of the two counts.
        write(&store, 5, guard(true), &newer).expect("written");
        assert_eq!(read(&store, 5, 1, guard(true)), (Ok(StoreAnswer::Done), newer.clone()));
        let settled = entry(&store, 5);
        assert_eq!(settled[..8], settled[8..]);
        // Killed after the data were written.
        side.write(ENTRIES + 5 * ENTRY, &marked(&new, &settled[..8]), false);
        store.write(5 * 512, &new[..512], false);
        assert_eq!(read(&store, 5, 1, guard(true)), (Ok(StoreAnswer::Done), new.clone()));
        // The first write of a block, killed before its data.
        side.write(ENTRIES + 9 * ENTRY, &marked(&sent(9, &[7]), &[0; 8]), false);
        assert_eq!(read(&store, 9, 1, guard(true)).1[512..520], [0xff; 8]);
        // A block that is neither is not made up.
        side.write(ENTRIES + 5 * ENTRY, &marked(&old, &settled[..8]), false);
        assert_eq!(read(&store, 5, 1, guard(true)).0, refused(0, Violation::Guard));
    }
}

#[test]
fn a_format_forgets_everything_and_is_remembered() {
    for store in both() {
        write(&store, 5, guard(true), &sent(5, &[1])).expect("written");
        let format = Guard { protection: Protection::Type3, format: true, ..guard(false) };
        assert_eq!(run(&store, StoreOp::Flush { offset: 0, len: 0 }, format, &[]).0, Ok(StoreAnswer::Done));
        assert_eq!(store.protected().map(|store| store.format()), Some(3));
        assert_eq!(entry(&store, 5), [0; 16]);
        let mut start = [0; HEADER];
        store.protected().expect("a side").side().read(0, &mut start);
        assert_eq!(start, header(3, 512));
        assert_eq!(run(&store, StoreOp::Flush { offset: 0, len: 0 }, guard(false), &[]).0, Ok(StoreAnswer::Done));
    }
}
