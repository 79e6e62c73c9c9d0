//! A change costs what it changes, however much there is beside it.

use std::sync::Arc;

use admin::request::{Binding, Request, RunState, SystemSetting, UnitNew};
use transport::model::{Model, TargetEntry};

use crate::apply::Control;
use crate::publish;
use crate::stub::{Stub, ask, control, number};

const MANY: i32 = 200;

fn done(control: &Control, request: Request) {
    assert_eq!(number(&ask(control, request.clone())), 0, "{request:?}");
}

fn target(tid: i32) -> Request {
    Request::TargetNew { tid, name: format!("iqn.x:{tid}") }
}

fn disk(tid: i32, lun: u64) -> Request {
    Request::UnitNew(UnitNew { tid, lun, path: Some("1M".into()), bstype: Some("memory".into()), ..UnitNew::default() })
}

/// Entries that a request made anew.
fn made(control: &Control, request: Request) -> u64 {
    let before = control.lock().published.made;
    done(control, request);
    control.lock().published.made - before
}

fn model(stub: &Stub) -> Model {
    stub.model.lock().expect("no panic").clone().expect("published")
}

fn same(left: &TargetEntry, right: &TargetEntry) -> bool {
    let units = |entry: &TargetEntry| entry.units.iter().map(|(&lun, cell)| (lun, Arc::as_ptr(cell))).collect::<Vec<_>>();
    (left.tid, &left.name, left.online, &left.parameters, &left.access) == (right.tid, &right.name, right.online, &right.parameters, &right.access)
        && left.admitted == right.admitted
        && left.authentication == right.authentication
        && left.redirect == right.redirect
        && units(left) == units(right)
}

/// The published model is what making all of it anew would give.
fn check(control: &Control, stub: &Stub) {
    let state = control.lock();
    let model = model(stub);
    assert_eq!(model.targets.keys().collect::<Vec<_>>(), state.targets.keys().collect::<Vec<_>>());
    for target in state.targets.values() {
        assert!(same(&model.targets[&target.tid], &publish::entry(&state, target)), "target {}", target.tid);
        assert_eq!(model.targets.named(&target.name).map(|entry| entry.tid), Some(target.tid));
    }
}

#[test]
fn only_what_changed_is_made_anew() {
    let (control, stub) = control(false);
    for tid in 1..=MANY {
        assert_eq!(made(&control, target(tid)), 1, "target {tid}");
        assert_eq!(made(&control, disk(tid, 1)), 1);
    }
    for lun in 2..=MANY as u64 {
        assert_eq!(made(&control, disk(7, lun)), 1, "unit {lun}");
    }
    let before = model(&stub);
    let user = || "alice".to_owned();
    let account = Request::AccountNew { user: user(), password: "sesame".into() };
    let bind = |tid| Request::AccountBind { tid: Some(tid), user: user(), outgoing: false };
    for (request, count) in [
        (Request::TargetUpdate { tid: 7, name: "state".into(), value: RunState::Offline.word().into() }, 1),
        (Request::TargetBind { tid: 7, rules: vec![Binding::Address("ALL".into())] }, 1),
        (Request::UnitDelete { tid: 7, lun: 5, force: false }, 1),
        (Request::TargetShow { tid: None }, 0),
        (Request::SystemUpdate { settings: vec![SystemSetting::State(RunState::Offline)] }, 0),
        (account, 0),
        (bind(7), 1),
        (bind(8), 1),
        (Request::AccountUpdate { user: user(), password: "simsalabim".into() }, 2),
        (Request::TargetDelete { tid: 9, force: false }, 0),
    ] {
        assert_eq!(made(&control, request.clone()), count, "{request:?}");
        check(&control, &stub);
    }
    let after = model(&stub);
    let shared = before.targets.iter().filter(|(tid, entry)| after.targets.get(tid).is_some_and(|other| Arc::ptr_eq(entry, other))).count();
    assert_eq!(shared, MANY as usize - 3, "all but 7, 8 and 9 are the very same");
    assert!(before.targets[&7].units.get(&5).is_some() && after.targets[&7].units.get(&5).is_none());
    assert!(after.targets.named("iqn.x:9").is_none() && !after.online);
    assert_eq!(made(&control, Request::SystemUpdate { settings: vec![SystemSetting::IsnsAccessControl(true)] }), MANY as u64 - 1, "all may see it");
    done(&control, Request::AccountDelete { user: user() });
    check(&control, &stub);
    assert!(model(&stub).targets[&7].authentication.incoming.is_empty());
}
