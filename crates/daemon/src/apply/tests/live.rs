//! Changes of units with a session up and commands under way, over real reactors and sockets.

use std::sync::Arc;

use admin::reply::{Answer, Reply};
use admin::request::{Request, RunState, UnitSwap};

use crate::stub::house::{BYTES, House, Planned, disk, outcome, read, until, write};
use crate::stub::{ask, control, number};

const GOOD: (u8, u8, u16) = (0, 0, 0);
const OUT_OF_RANGE: (u8, u8, u16) = (2, 5, 0x2100);
const CAPACITY_CHANGED: u16 = 0x2a09;

fn resize(house: &House, bytes: Option<u64>, force: bool) -> Reply {
    house.ask(Request::UnitResize { tid: 1, lun: 1, bytes, force })
}

fn swap_to(path: &str) -> UnitSwap {
    UnitSwap { tid: 1, lun: 1, path: path.into(), bstype: None, bsoflags: None, force: false }
}

fn delete(house: &House, force: bool) -> u32 {
    number(&house.ask(Request::UnitDelete { tid: 1, lun: 1, force }))
}

fn update(house: &House, key: &str, value: &str) -> u32 {
    let parameters = vec![(key.to_owned(), value.to_owned())];
    number(&house.ask(Request::UnitUpdate { tid: 1, lun: 1, parameters }))
}

#[test]
fn a_disk_grows_under_its_session() {
    let house = House::new();
    let mut host = house.host();
    let end = (BYTES / 512) as u32;
    assert_eq!((host.run(write(end - 1, 7)), host.run(write(end, 7))), (GOOD, OUT_OF_RANGE));
    assert_eq!(number(&resize(&house, Some(2 * BYTES), false)), 0);
    assert_eq!(host.ready(), [CAPACITY_CHANGED]);
    assert_eq!(host.blocks(), 2 * BYTES / 512);
    assert_eq!((host.run(write(2 * end - 1, 9)), host.run(write(2 * end, 9))), (GOOD, OUT_OF_RANGE));
    let tag = host.submit(read(end - 1));
    assert_eq!(host.done(tag).data_in, [7; 512], "what was there is there");
    assert_eq!(number(&resize(&house, Some(2 * BYTES), false)), 0);
    assert_eq!(host.ready(), [0; 0], "the same size is no change");
    assert_eq!(update(&house, "bsopts", "size=4M"), 0);
    assert_eq!((host.ready(), host.blocks()), (vec![CAPACITY_CHANGED], 8192));
    assert_eq!((update(&house, "bsopts", "size=1M"), update(&house, "bsopts", "size=x"), update(&house, "bsopts", "size")), (17, 17, 17));
    let Ok(Answer::Targets(targets)) = house.ask(Request::TargetShow { tid: None }) else { panic!("no targets") };
    assert_eq!(targets[0].units[1].path.as_deref(), Some("4M"));
    assert!(resize(&house, None, false).is_err_and(|failure| failure.detail.contains("say how many bytes")));
    assert_eq!(number(&house.ask(Request::UnitResize { tid: 1, lun: 0, bytes: Some(BYTES), force: false })), 17);
    assert_eq!(number(&house.ask(Request::UnitResize { tid: 1, lun: 9, bytes: Some(BYTES), force: false })), 5);
    house.end();
}

#[test]
fn a_disk_shrinks_by_force_and_forgets_what_lay_behind() {
    let house = House::new();
    let mut host = house.host();
    assert_eq!(host.run(write(2047, 5)), GOOD);
    assert!(resize(&house, Some(BYTES / 2), false).is_err_and(|failure| failure.detail.contains("force")));
    assert_eq!(host.ready(), [0; 0]);
    assert_eq!(number(&resize(&house, Some(BYTES / 2), true)), 0);
    assert_eq!((host.ready(), host.blocks()), (vec![CAPACITY_CHANGED], 1024));
    assert_eq!((host.run(read(2047)), host.run(read(1023))), (OUT_OF_RANGE, GOOD));
    assert_eq!(number(&resize(&house, Some(BYTES), false)), 0);
    host.ready();
    let tag = host.submit(read(2047));
    assert_eq!(host.done(tag).data_in, [0; 512]);
    house.end();
}

#[test]
fn shrinking_waits_for_what_runs_behind_the_new_end() {
    let house = House::new();
    let mut host = house.host();
    let store = house.behind_gate();
    house.close_gate();
    let (behind, before) = (host.submit(write(2047, 5)), host.submit(write(3, 6)));
    house.until_held(2);
    assert_eq!(number(&resize(&house, Some(BYTES / 2), true)), 20, "a store that hangs keeps its size");
    assert_eq!(store.len(), BYTES);
    let shrunk = std::thread::scope(|scope| {
        let shrinking = scope.spawn(|| resize(&house, Some(BYTES / 2), true));
        until(|| house.cell(1).lock().device().blocks() == 1024);
        assert_eq!(store.len(), BYTES, "not before the write has ended");
        assert_eq!(number(&resize(&house, Some(BYTES), false)), 20, "one change at a time");
        house.open_gate();
        shrinking.join().expect("no panic")
    });
    assert_eq!((number(&shrunk), store.len()), (0, BYTES / 2));
    assert_eq!((outcome(&host.done(behind)), outcome(&host.done(before))), (GOOD, GOOD));
    assert_eq!((host.ready(), store.byte(3 * 512)), (vec![CAPACITY_CHANGED], 6));
    house.end();
}

#[test]
fn a_file_that_was_changed_outside_is_looked_at_again() {
    let house = House::new();
    let mut host = house.host();
    let store = house.behind_gate();
    assert!(store.len() == BYTES);
    store_len(&store, 3 * BYTES);
    assert_eq!(number(&resize(&house, None, false)), 0);
    assert_eq!((host.ready(), host.blocks()), (vec![CAPACITY_CHANGED], 3 * BYTES / 512));
    store_len(&store, BYTES / 4);
    assert_eq!(number(&resize(&house, None, false)), 0);
    assert_eq!((host.ready(), host.blocks()), (vec![CAPACITY_CHANGED], BYTES / 4 / 512));
    assert_eq!((host.run(write(511, 1)), host.run(write(512, 1))), (GOOD, OUT_OF_RANGE));
    assert_eq!(store.len(), BYTES / 4);
    house.end();
}

fn store_len(store: &Planned, bytes: u64) {
    use store::Store;
    store.resized(Some(bytes)).expect("resized");
}

#[test]
fn running_commands_end_on_the_old_store_and_later_ones_go_to_the_new() {
    let house = House::new();
    let mut host = house.host();
    let old = house.behind_gate();
    house.close_gate();
    // WRITE AND VERIFY has a second operation, a read: it has to go where the write went.
    let mut both = write(1, 5);
    both.cdb[0] = 0x2e;
    both.cdb[1] = 0x02;
    let first = host.submit(both);
    house.until_held(1);
    let held = Arc::downgrade(&house.cell(1).store().expect("a store"));
    house.done(Request::UnitSwap(UnitSwap { bstype: Some("memory".into()), ..swap_to("1M") }));
    assert_eq!(host.run(write(2, 6)), GOOD, "the new store does not hang");
    assert!(held.upgrade().is_some(), "an operation still has it");
    house.open_gate();
    assert_eq!(outcome(&host.done(first)), GOOD);
    assert_eq!((old.byte(512), old.byte(1024)), (5, 0));
    drop(old);
    until(|| held.upgrade().is_none());
    for (lba, byte) in [(1, 0), (2, 6)] {
        let tag = host.submit(read(lba));
        assert_eq!(host.done(tag).data_in, [byte; 512]);
    }
    assert_eq!(host.ready(), [0; 0], "a fixed disk of the same size tells nothing");
    house.end();
}

#[test]
fn a_swap_tells_capacity_and_medium_and_may_fail_without_harm() {
    let house = House::new();
    let mut host = house.host();
    assert_eq!(host.run(write(0, 5)), GOOD);
    for bad in [
        swap_to("nonsense"),
        swap_to("512K"),
        UnitSwap { bstype: Some("rdwr".into()), ..swap_to("/nonexistent/image") },
        UnitSwap { bstype: Some("nosuch".into()), ..swap_to("1M") },
        UnitSwap { bsoflags: Some("sync".into()), ..swap_to("1M") },
        UnitSwap { bstype: Some("rdwr".into()), bsoflags: Some("fast".into()), ..swap_to("1M") },
    ] {
        assert_eq!(number(&house.ask(Request::UnitSwap(bad.clone()))), 17, "{bad:?}");
    }
    let tag = host.submit(read(0));
    assert_eq!(host.done(tag).data_in, [5; 512], "the old one is still there");
    house.done(Request::UnitSwap(swap_to("2M")));
    assert_eq!((host.ready(), host.blocks()), (vec![CAPACITY_CHANGED], 4096));
    house.done(Request::UnitSwap(UnitSwap { force: true, ..swap_to("1M") }));
    assert_eq!((host.ready(), host.blocks()), (vec![CAPACITY_CHANGED], 2048));
    assert_eq!(update(&house, "removable", "1"), 0);
    assert_eq!(host.ready(), [0x3f03]);
    assert_eq!(host.run(iscsi::initiator::Command::new(1, &[0x1e, 0, 0, 0, 1, 0])), GOOD);
    assert_eq!(number(&house.ask(Request::UnitSwap(swap_to("1M")))), 24, "an initiator keeps the medium in");
    house.done(Request::UnitSwap(UnitSwap { force: true, ..swap_to("1M") }));
    assert_eq!(host.ready(), [0x2800]);
    house.end();
}

#[test]
fn a_file_may_be_swapped_for_itself_read_only() {
    let path = std::env::temp_dir().join(format!("scuzzy-swap-{}", std::process::id()));
    std::fs::File::create(&path).and_then(|file| file.set_len(BYTES)).expect("an image");
    let house = House::new();
    let mut host = house.host();
    let file =
        |flags: Option<&str>| UnitSwap { bstype: Some("rdwr".into()), bsoflags: flags.map(str::to_owned), ..swap_to(path.to_str().expect("plain")) };
    house.done(Request::UnitSwap(file(None)));
    assert_eq!(host.ready(), [CAPACITY_CHANGED], "physical blocks of the file system, told by READ CAPACITY(16)");
    assert_eq!(host.run(write(0, 8)), GOOD);
    house.done(Request::UnitSwap(file(Some("readonly"))));
    assert_eq!(host.ready(), [0x2a01]);
    assert_eq!(host.run(write(0, 9)), (2, 7, 0x2700));
    house.done(Request::UnitSwap(file(Some(""))));
    assert_eq!(host.ready(), [0x2a01]);
    assert_eq!(host.run(write(0, 9)), GOOD);
    house.end();
    std::fs::remove_file(&path).expect("the image goes");
}

#[test]
fn read_only_goes_on_and_off_under_a_session() {
    let house = House::new();
    let mut host = house.host();
    let protected = |host: &mut crate::stub::house::Host| {
        let tag = host.submit(iscsi::initiator::Command::new(1, &[0x1a, 8, 0x3f, 0, 255, 0]).reading(255));
        host.done(tag).data_in[2] & 0x80 != 0
    };
    assert!(!protected(&mut host));
    assert_eq!(update(&house, "readonly", "1"), 0);
    assert_eq!(host.ready(), [0x2a01]);
    assert_eq!((host.run(write(0, 1)), host.run(read(0)), protected(&mut host)), ((2, 7, 0x2700), GOOD, true));
    assert_eq!(update(&house, "readonly", "0"), 0);
    assert_eq!(host.ready(), [0x2a01]);
    assert_eq!((host.run(write(0, 1)), protected(&mut host)), (GOOD, false));
    house.end();
}

#[test]
fn a_unit_goes_although_its_store_hangs() {
    let house = House::new();
    let mut host = house.host();
    let store = house.behind_gate();
    house.close_gate();
    let hung = host.submit(write(0, 5));
    house.until_held(1);
    assert_eq!(delete(&house, false), 20);
    let abort = host.abort(hung);
    until(|| house.cell(1).lock().awaited_tasks() == 0);
    assert_eq!(delete(&house, false), 0, "nobody waits for an aborted command");
    assert_eq!(host.function_done(abort), 2, "the function is answered: there is no such unit");
    assert_eq!(host.run(read(0)), (2, 5, 0x2500));
    let again = host.abort(hung);
    assert_eq!(host.function_done(again), 2);
    house.done(disk(1, 1));
    assert_eq!(host.run(read(0)).0, 2, "power on");
    assert_eq!(host.run(write(0, 9)), GOOD, "a new unit has the number");
    assert!(Arc::strong_count(&store) > 1, "the operation keeps the old store");
    house.open_gate();
    until(|| Arc::strong_count(&store) == 1);
    assert_eq!(store.byte(0), 5);
    house.end();
}

#[test]
fn force_takes_a_unit_and_a_target_from_under_commands_that_hang() {
    let house = House::new();
    let mut host = house.host();
    let store = house.behind_gate();
    house.close_gate();
    let hung = host.submit(write(0, 5));
    house.until_held(1);
    assert_eq!(delete(&house, true), 0);
    house.done(disk(1, 2));
    assert_eq!(number(&house.ask(Request::TargetDelete { tid: 1, force: false })), 19);
    assert_eq!(number(&house.ask(Request::TargetDelete { tid: 1, force: true })), 0);
    host.until_closed();
    assert_eq!(number(&house.ask(Request::TargetStat { tid: 1 })), 4);
    assert!(Arc::strong_count(&store) > 1);
    house.open_gate();
    until(|| Arc::strong_count(&store) == 1);
    let _ = hung;
    house.end();
}

#[test]
fn commands_of_a_unit_that_went_by_force_are_answered_when_the_store_lets_go() {
    let house = House::new();
    let mut host = house.host();
    let _store = house.behind_gate();
    house.close_gate();
    let hung = host.submit(write(0, 5));
    house.until_held(1);
    assert_eq!(delete(&house, true), 0);
    house.open_gate();
    assert_eq!(outcome(&host.done(hung)), (2, 5, 0x2500));
    house.end();
}

#[test]
fn other_requests_go_on_while_a_target_closes() {
    let (control, stub) = control(false);
    for tid in [1, 2] {
        ask(&control, Request::TargetNew { tid, name: format!("iqn.x:{tid}") }).expect("made");
    }
    stub.log_in(5, 1);
    stub.stay.store(true, std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| ask(&control, Request::TargetDelete { tid: 1, force: true }));
        let offline = || matches!(&*stub.model.lock().expect("no panic"), Some(model) if !model.targets[&1].online);
        until(offline);
        let online = Request::TargetUpdate { tid: 2, name: "state".into(), value: RunState::Offline.word().into() };
        assert_eq!(number(&ask(&control, online)), 0);
        assert!(!deleting.is_finished(), "it was answered while the other waits");
        assert_eq!(number(&deleting.join().expect("no panic")), 0, "a session that stays does not keep the target");
    });
}
