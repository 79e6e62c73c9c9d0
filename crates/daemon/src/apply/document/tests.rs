//! Documents over a stub of the data plane.

use std::collections::BTreeMap;
use std::sync::Arc;

use admin::document::plan::PlanView;
use admin::document::{
    Access, Account, Alua, Discovery, Document, Fault, Isns, KeyValue, ModePage, Redirect, Secret, Size, StoreFlag, System, Target, Unit,
};
use admin::reply::Answer;
use admin::request::{Request, RunState};
use admin::setting::{Key, RedirectReason};
use admin::view::TargetView;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use scsi::AccessState;

use crate::apply::Control;
use crate::stub::{Stub, ask, control};

fn dumped(control: &Control) -> Document {
    match ask(control, Request::Dump { secrets: true }) {
        Ok(Answer::Document(document)) => *document,
        other => panic!("{other:?}"),
    }
}

fn apply(control: &Control, document: &Document) -> PlanView {
    match ask(control, Request::Apply { document: Box::new(document.clone()), dry_run: false }) {
        Ok(Answer::Plan(plan)) => plan,
        other => panic!("{other:?}\n{}", document.to_toml().unwrap_or_default()),
    }
}

fn refused(control: &Control, document: &Document) -> String {
    let reply = ask(control, Request::Apply { document: Box::new(document.clone()), dry_run: false });
    reply.expect_err("refused").detail
}

/// Targets as `target show` tells them, with their lists in one order.
fn shown(control: &Control) -> Vec<TargetView> {
    let Ok(Answer::Targets(mut views)) = ask(control, Request::TargetShow { tid: None }) else { panic!("no targets") };
    for view in &mut views {
        view.incoming.sort();
        view.addresses.sort();
        view.names.sort();
    }
    views
}

const USERS: [&str; 3] = ["ann", "bob", "eve"];
const RULES: [&str; 4] = [
    "op=WRITE10,lba=0,len=8,action=CHECK_CONDITION,key=3,asc=0x0c02",
    "op=READ,action=BUSY",
    "op=0x2a,pct=50,action=HANG,name=half",
    "op=READ10,repeat=3,action=TASK_SET_FULL",
];

fn flag() -> impl Strategy<Value = Option<bool>> {
    option::weighted(0.2, any::<bool>())
}

fn text(most: usize) -> impl Strategy<Value = Option<String>> {
    option::weighted(0.2, vec(select(vec!['A', 'b', '7', '-', ' ', 'é', '"']), 1..=most).prop_map(|letters| letters.into_iter().collect()))
}

prop_compose! {
    fn identity_and_texts()(
        identity in option::weighted(0.3, select(vec!["one".to_owned(), "two".into()])),
        scsi_id in text(36), scsi_sn in text(36), vendor_id in text(8), product_id in text(16), product_rev in text(4),
        bsopts in option::weighted(0.1, Just("any".to_owned())),
    ) -> Unit {
        Unit { identity, scsi_id, scsi_sn, vendor_id, product_id, product_rev, bsopts, ..Unit::default() }
    }
}

prop_compose! {
    fn parameters()(
        texts in identity_and_texts(),
        sense_format in flag(), removable in flag(), readonly in flag(), thin_provisioning in flag(), online in flag(),
        lbppbe in option::weighted(0.2, 0u8..=15),
        la_lba in option::weighted(0.2, 0u16..16_384),
        optimal_xfer_gran in option::weighted(0.2, any::<u16>()),
        optimal_xfer_len in option::weighted(0.2, any::<u32>()),
        rotation_rate in option::weighted(0.2, any::<u16>()),
        pages in btree_map(select(vec![(0x08u8, 0u8), (0x0a, 0), (0x0a, 1), (0x1c, 0), (0x20, 0)]), vec(any::<u8>(), 0..10), 0..3),
        alua in option::weighted(0.2, select(Alua::ALL.to_vec())),
        access in btree_map(1u16..4, (select(AccessState::ALL.to_vec()), any::<bool>()), 0..3),
    ) -> Unit {
        let access_states = access.into_iter().map(|(group, (state, preferred))| Access { group, state, preferred }).collect();
        let mode_pages = pages.into_iter().map(|((page, subpage), data)| ModePage::new(page, subpage, 10, data)).collect();
        Unit {
            sense_format, removable, readonly, thin_provisioning, online, lbppbe, la_lba, optimal_xfer_gran, optimal_xfer_len, rotation_rate, mode_pages,
            alua, access_states,
            ..texts
        }
    }
}

prop_compose! {
    fn unit()(
        lun in 1u64..6,
        parameters in parameters(),
        store in 0..4,
        read_only in any::<bool>(),
        block_size in option::of(select(vec![512u32, 1024, 4096])),
        faults in vec(select(RULES.map(str::to_owned).to_vec()), 0..3),
    ) -> Unit {
        let (store, path, size) = match store {
            0 => ("memory", None, Some(Size(1 << 20))),
            1 => ("memory", None, Some(Size(3 << 19))),
            2 => ("null", Some("any".into()), None),
            _ => ("rdwr", None, None),
        };
        let has_medium = path.is_some() || size.is_some();
        let online = parameters.online.filter(|online| has_medium || !*online);
        let flags = if read_only { vec![StoreFlag::ReadOnly] } else { Vec::new() };
        Unit { lun, store: Some(store.into()), path, size, flags, block_size, online, faults, ..parameters }
    }
}

fn key() -> impl Strategy<Value = (Key, KeyValue)> {
    prop_oneof![
        (1u64..=512).prop_map(|value| (Key::MaxQueueCmd, KeyValue::Number(value))),
        select(vec!["CRC32C", "None", "CRC32C,None"]).prop_map(|value| (Key::HeaderDigest, KeyValue::Text(value.into()))),
        any::<bool>().prop_map(|value| (Key::InitialR2T, KeyValue::Flag(value))),
        (512u64..=8192).prop_map(|value| (Key::MaxRecvDataSegmentLength, KeyValue::Number(value))),
    ]
}

fn users() -> impl Strategy<Value = Vec<String>> {
    btree_set(select(USERS.map(str::to_owned).to_vec()), 0..3).prop_map(|set| set.into_iter().rev().collect())
}

fn user() -> impl Strategy<Value = Option<String>> {
    option::weighted(0.3, select(USERS.map(str::to_owned).to_vec()))
}

prop_compose! {
    fn redirect()(
        address in option::of(select(vec!["192.0.2.1".to_owned(), "192.0.2.2".into()])),
        port in option::of(1u16..),
        reason in option::of(select(vec![RedirectReason::Temporary, RedirectReason::Permanent])),
        callback in option::weighted(0.2, Just("/bin/true".to_owned())),
    ) -> Redirect {
        Redirect { address, port, reason, callback }
    }
}

prop_compose! {
    fn target()(
        tid in option::of(1i32..6),
        offline in any::<bool>(),
        allow in btree_set(select(vec!["ALL".to_owned(), "192.0.2.1".into(), "192.0.2.0/24".into()]), 0..3),
        initiators in btree_set(select(vec!["iqn.*".to_owned(), "iqn.a:b".into()]), 0..3),
        incoming in users(), outgoing in user(),
        nop_interval in option::weighted(0.3, 0u32..4), nop_count in option::weighted(0.3, 0u32..4),
        redirect in option::weighted(0.2, redirect()),
        keys in vec(key(), 0..3),
        units in vec(unit(), 0..4),
    ) -> Target {
        let units: BTreeMap<u64, Unit> = units.into_iter().map(|unit| (unit.lun, unit)).collect();
        Target {
            name: String::new(), tid, state: if offline { RunState::Offline } else { RunState::Ready }, hosts: Vec::new(),
            allow: allow.into_iter().rev().collect(), initiators: initiators.into_iter().collect(), incoming, outgoing, nop_interval, nop_count,
            redirect: redirect.unwrap_or_default(), keys: keys.into_iter().collect(), units: units.into_values().rev().collect(),
        }
    }
}

fn system() -> impl Strategy<Value = System> {
    (any::<bool>(), any::<bool>(), 0u32..4, 0u32..4).prop_map(|(offline, debug, nop_interval, nop_count)| System {
        state: if offline { RunState::Offline } else { RunState::Ready },
        debug,
        nop_interval,
        nop_count,
    })
}

prop_compose! {
    fn document()(
        portals in option::of(btree_set(select(vec!["127.0.0.1".to_owned(), "[::1]:3261".into(), "127.0.0.2:3262,2".into()]), 0..3)),
        system in option::of(system()),
        isns in option::of((1u16.., any::<bool>(), any::<bool>())),
        passwords in vec(select(vec!["secret-one", "secret-two"]), 3),
        discovery in (users(), user()),
        targets in btree_map(select(vec!["iqn.a:1", "iqn.a:2", "iqn.a:3", "iqn.a:4"]), target(), 0..4),
        hosts in vec(0usize..4, 0..4),
        faults in vec((1i32..9, 0u64..9, select(RULES.map(str::to_owned).to_vec())), 0..3),
    ) -> Document {
        let mut tids = Vec::new();
        let mut targets: Vec<Target> = targets.into_iter().map(|(name, target)| Target { name: name.into(), ..target }).collect();
        for target in &mut targets {
            target.tid = target.tid.filter(|tid| !tids.contains(tid));
            tids.extend(target.tid);
        }
        for (host, place) in (0u32..).zip(hosts) {
            if let Some(target) = targets.get_mut(place) {
                target.hosts.insert(0, host);
            }
        }
        Document {
            portals: portals.map(|set| set.into_iter().rev().collect()),
            system,
            isns: isns.map(|(port, access_control, enabled)| Isns { server: "192.0.2.9".into(), port, access_control, enabled }),
            accounts: USERS.iter().zip(passwords).map(|(user, password)| Account {
                user: (*user).into(), password: Some(Secret(password.into())), password_file: None,
            }).collect(),
            discovery: Discovery { incoming: discovery.0, outgoing: discovery.1 },
            targets,
            faults: faults.into_iter().map(|(tid, lun, rule)| Fault { tid, lun, rule }).collect(),
        }
    }
}

/// Publications while `work` runs.
fn published(stub: &Arc<Stub>, work: impl FnOnce()) -> usize {
    let before = stub.publications();
    work();
    stub.publications() - before
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_dumped_makes_the_same_on_a_fresh_daemon(wanted in document()) {
        prop_assert_eq!(wanted.check(), []);
        let (first, _) = control(false);
        apply(&first, &wanted);
        let dump = dumped(&first);
        prop_assert_eq!(dump.clone().sorted(), wanted.settled(&dumped(&control(false).0)).sorted());
        // Through the text, as people keep it.
        let text = dump.to_toml().expect("TOML");
        let read = admin::document::read::read("dump", &text).expect("reads what it wrote");
        let (second, _) = control(false);
        apply(&second, &read);
        prop_assert_eq!(dumped(&second), dump);
    }

    #[test]
    fn any_configuration_becomes_any_other(one in document(), other in document()) {
        let (control, stub) = control(false);
        apply(&control, &one);
        let wanted = other.settled(&dumped(&control));
        let plan = apply(&control, &other);
        prop_assert_eq!(dumped(&control).sorted(), wanted.clone().sorted(), "{:?}", plan);
        // Not only remembered, but so: the devices themselves tell the same as those of a daemon that never was otherwise.
        let (fresh, _) = crate::stub::control(false);
        apply(&fresh, &wanted);
        prop_assert_eq!(shown(&control), shown(&fresh));
        let publications = published(&stub, || {
            let again = apply(&control, &other);
            assert_eq!(again.changes, [], "a second time there is nothing to do");
        });
        prop_assert_eq!(publications, 0);
    }

    #[test]
    fn a_failure_on_the_way_leaves_everything_as_it_was(one in document(), other in document(), failing in 0usize..30) {
        let (control, _) = control(false);
        apply(&control, &one);
        let before = dumped(&control);
        control.fail_after(failing);
        let reply = ask(&control, Request::Apply { document: Box::new(other.clone()), dry_run: false });
        control.fail_after(usize::MAX);
        if let Err(failure) = reply {
            prop_assert!(failure.detail.contains("planted"), "{}", failure.detail);
            prop_assert_eq!(dumped(&control).sorted(), before.sorted(), "{}", failure.detail);
        } else {
            prop_assert_eq!(dumped(&control).sorted(), other.settled(&before).sorted());
        }
    }
}

fn small() -> Document {
    let unit = Unit { store: Some("memory".into()), size: Some(Size(1 << 20)), ..Unit::new(1) };
    let target = Target { allow: vec!["ALL".into()], units: vec![unit], ..Target::new("iqn.a:1") };
    Document { targets: vec![target], ..Document::default() }
}

fn texts(plan: &PlanView) -> Vec<String> {
    plan.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_changed_parameter_disturbs_nobody() {
    let (control, stub) = control(false);
    apply(&control, &small());
    stub.log_in(5, 1);
    let mut wanted = small();
    wanted.targets[0].units[0].readonly = Some(true);
    stub.told.lock().expect("no panic").clear();
    let publications = published(&stub, || assert_eq!(texts(&apply(&control, &wanted)), ["~ unit 1/1: readonly no -> yes"]));
    assert_eq!(publications, 1);
    assert_eq!(*stub.told.lock().expect("no panic"), ["attend 1/1"]);
    assert_eq!(stub.sessions.lock().expect("no panic").len(), 1);
}

#[test]
fn a_thousand_targets_are_published_once_and_not_again() {
    let (control, stub) = control(false);
    let one = small().targets.remove(0);
    let targets: Vec<Target> = (0..1000).map(|number| Target { name: format!("iqn.a:{number}"), ..one.clone() }).collect();
    let wanted = Document { targets, ..Document::default() };
    assert_eq!(published(&stub, || assert_eq!(apply(&control, &wanted).changes.len(), 3000)), 1);
    assert_eq!(published(&stub, || assert_eq!(apply(&control, &wanted).changes, [])), 0);
}

#[test]
fn another_block_size_makes_one_unit_anew_with_what_it_held() {
    let (control, stub) = control(false);
    let mut wanted = small();
    let second = Unit { lun: 2, ..wanted.targets[0].units[0].clone() };
    wanted.targets[0].units.push(second);
    apply(&control, &wanted);
    stub.log_in(5, 1);
    let store = |lun| {
        let model = stub.model.lock().expect("no panic");
        model.as_ref().expect("published").targets[&1].units[&lun].store().expect("a medium")
    };
    let (one, two) = (store(1), store(2));
    wanted.targets[0].units[0].block_size = Some(4096);
    let plan = texts(&apply(&control, &wanted));
    assert_eq!(plan, ["~ unit 1/1: block_size 512 -> 4096; it is made anew, its sessions notice"]);
    assert!(Arc::ptr_eq(&one, &store(1)) && Arc::ptr_eq(&two, &store(2)));
    assert!(stub.told.lock().expect("no panic").ends_with(&["removed 1/1".into(), "added 1/1".into()]));
    assert_eq!(stub.sessions.lock().expect("no panic").len(), 1);
}

#[test]
fn another_size_or_store_is_changed_under_its_sessions() {
    let (control, stub) = control(false);
    let mut wanted = small();
    apply(&control, &wanted);
    let cell = || stub.model.lock().expect("no panic").as_ref().expect("published").targets[&1].units[&1].clone();
    let first = cell();
    wanted.targets[0].units[0].size = Some(Size(2 << 20));
    assert_eq!(texts(&apply(&control, &wanted)), ["~ unit 1/1: size 1M -> 2M"]);
    wanted.targets[0].units[0] = Unit { store: Some("null".into()), path: Some("any".into()), flags: vec![StoreFlag::ReadOnly], ..Unit::new(1) };
    let plan = texts(&apply(&control, &wanted));
    assert_eq!(plan, ["~ unit 1/1: store memory -> null, path none -> any, size 2M -> none, flags none -> read-only"]);
    assert!(Arc::ptr_eq(&first, &cell()), "the same unit all the time");
    assert_eq!(first.store().map(|store| store.geometry().bytes), Some(1 << 40));
    assert!(first.lock().device().view().read_only);
    // What was set before gives way to the store, and what the file says comes after it.
    wanted.targets[0].units[0].readonly = Some(false);
    assert_eq!(texts(&apply(&control, &wanted)), ["~ unit 1/1: readonly yes -> no"]);
    wanted.targets[0].units[0].flags.clear();
    apply(&control, &wanted);
    assert_eq!(apply(&control, &wanted).changes, []);
    assert!(!first.lock().device().view().read_only);
}

#[test]
fn a_medium_that_cannot_be_opened_is_found_before_anything_is_changed() {
    let (control, stub) = control(false);
    apply(&control, &small());
    let before = dumped(&control);
    let mut wanted = small();
    wanted.targets[0].allow.clear();
    wanted.targets[0].units.push(Unit { path: Some("/nonexistent/x".into()), ..Unit::new(7) });
    wanted.portals = Some(vec!["127.0.0.1:9".into()]);
    let publications = published(&stub, || {
        let detail = refused(&control, &wanted);
        assert!(detail.contains("unit 1/7") && detail.contains("/nonexistent/x") && detail.ends_with("nothing was changed"), "{detail}");
    });
    assert_eq!((publications, dumped(&control)), (0, before));
    assert!(!stub.told.lock().expect("no panic").iter().any(|line| line.starts_with("open")));
}

#[test]
fn a_portal_that_cannot_be_opened_takes_everything_back() {
    let (control, _) = control(false);
    apply(&control, &small());
    let before = dumped(&control);
    // The stub refuses port 1.
    let wanted = Document { portals: Some(vec!["127.0.0.1:1".into()]), ..Document::default() };
    let detail = refused(&control, &wanted);
    assert!(detail.starts_with("+ portal 127.0.0.1:1: "), "{detail}");
    assert!(detail.ends_with("the 1 changes before it were taken back: everything is as it was"), "{detail}");
    assert_eq!(dumped(&control), before);
}

#[test]
fn secrets_are_told_when_asked_for_and_kept_when_not_given() {
    let (control, _) = control(false);
    let account = |password: Option<&str>| Account { user: "ann".into(), password: password.map(|text| Secret(text.into())), password_file: None };
    let with = |account| Document { accounts: vec![account], ..Document::default() };
    let detail = refused(&control, &with(account(None)));
    assert!(detail.contains("account ann is new and has neither password"), "{detail}");
    apply(&control, &with(account(Some("first"))));
    let Ok(Answer::Document(plain)) = ask(&control, Request::Dump { secrets: false }) else { panic!() };
    assert_eq!(plain.accounts, [account(None)]);
    assert_eq!(apply(&control, &plain).changes, []);
    assert_eq!(texts(&apply(&control, &with(account(Some("second"))))), ["~ account ann: another password"]);
    assert_eq!(dumped(&control).accounts, [account(Some("second"))]);
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let (control, stub) = control(false);
    let publications = published(&stub, || {
        let Ok(Answer::Plan(plan)) = ask(&control, Request::Apply { document: Box::new(small()), dry_run: true }) else { panic!() };
        assert!(!plan.applied);
        assert_eq!(texts(&plan), ["+ target iqn.a:1 (1)", "+ target iqn.a:1: allow ALL", "+ unit 1/1: disk memory 1M"]);
    });
    assert_eq!((publications, dumped(&control).targets.len()), (0, 0));
}

#[test]
fn targets_keep_their_numbers_and_new_ones_take_the_lowest_free() {
    let (control, _) = control(false);
    let named = |name: &str, tid| Target { tid, ..Target::new(name) };
    let tids = |targets: Vec<Target>| {
        apply(&control, &Document { targets, ..Document::default() });
        dumped(&control).targets.into_iter().map(|target| (target.tid.unwrap_or(0), target.name)).collect::<Vec<_>>()
    };
    let pairs = |list: &[(i32, &str)]| list.iter().map(|(tid, name)| (*tid, (*name).to_owned())).collect::<Vec<_>>();
    assert_eq!(tids(vec![named("a", None), named("b", None), named("c", Some(2))]), pairs(&[(1, "a"), (2, "c"), (3, "b")]));
    assert_eq!(tids(vec![named("d", None), named("b", None)]), pairs(&[(1, "d"), (3, "b")]));
    // One that another target asks for is given up.
    assert_eq!(tids(vec![named("b", None), named("e", Some(3))]), pairs(&[(1, "b"), (3, "e")]));
}
