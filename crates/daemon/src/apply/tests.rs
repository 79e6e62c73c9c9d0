//! The control plane over a stub of the data plane.

mod live;
mod protection;
mod publication;

use std::collections::BTreeSet;
use std::sync::Arc;

use admin::reply::Answer;
use admin::request::{Binding, Envelope, FaultSelection, PortalRequest, Request, SystemSetting, UnitNew};
use admin::view::{TargetView, UnitView};

use super::Control;
use crate::stub::{Stub, ask, control, number};

/// Number of the well known logical unit that each target has.
const WELL_KNOWN: u64 = scsi::Lun::REPORT_LUNS_NUMBER;

fn target(control: &Control, tid: i32, name: &str) -> u32 {
    number(&ask(control, Request::TargetNew { tid, name: name.into() }))
}

fn disk(tid: i32, lun: u64) -> UnitNew {
    UnitNew { tid, lun, path: Some("1M".into()), bstype: Some("memory".into()), ..UnitNew::default() }
}

fn unit(control: &Control, new: UnitNew) -> u32 {
    number(&ask(control, Request::UnitNew(new)))
}

fn shown(control: &Control) -> Vec<TargetView> {
    match ask(control, Request::TargetShow { tid: None }) {
        Ok(Answer::Targets(views)) => views,
        other => panic!("{other:?}"),
    }
}

fn shown_unit(control: &Control, tid: i32, lun: u64) -> UnitView {
    let targets = shown(control);
    let target = targets.iter().find(|target| target.tid == tid).expect("target");
    target.units.iter().find(|unit| unit.lun == lun).expect("unit").clone()
}

fn update(control: &Control, tid: i32, lun: u64, parameters: &[(&str, &str)]) -> u32 {
    let parameters = parameters.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    number(&ask(control, Request::UnitUpdate { tid, lun, parameters }))
}

fn published(stub: &Stub) -> Vec<(i32, Vec<u64>)> {
    let model = stub.model.lock().expect("no panic");
    let model = model.as_ref().expect("published");
    model.targets.values().map(|target| (target.tid, target.units.keys().copied().collect())).collect()
}

#[test]
fn targets_come_and_go_with_tgts_error_numbers() {
    let (control, stub) = control(false);
    assert_eq!(target(&control, 3, "iqn.2020-01.com.example:c"), 0);
    assert_eq!(target(&control, 1, "iqn.2020-01.com.example:a"), 0);
    assert_eq!(target(&control, 3, "iqn.2020-01.com.example:z"), 9);
    assert_eq!(target(&control, 4, "iqn.2020-01.com.example:a"), 9);
    assert_eq!(target(&control, 1, "bad_name"), 17);
    assert_eq!(target(&control, 0, "x"), 17);
    assert_eq!(target(&control, -5, "x"), 17);
    assert_eq!(published(&stub), [(1, vec![0, WELL_KNOWN]), (3, vec![0, WELL_KNOWN])]);
    assert_eq!(number(&ask(&control, Request::TargetDelete { tid: 9, force: false })), 4);
    stub.log_in(5, 3);
    assert_eq!(number(&ask(&control, Request::TargetDelete { tid: 3, force: false })), 19);
    assert_eq!(number(&ask(&control, Request::TargetDelete { tid: 3, force: true })), 0);
    assert_eq!(published(&stub), [(1, vec![0, WELL_KNOWN])]);
    assert_eq!(number(&ask(&control, Request::SystemDelete)), 17);
}

#[test]
fn a_new_unit_is_checked_in_order() {
    let (control, stub) = control(false);
    assert_eq!(unit(&control, disk(1, 1)), 4);
    target(&control, 1, "iqn.2020-01.com.example:a");
    assert_eq!(unit(&control, UnitNew { bstype: Some("nosuch".into()), ..disk(1, 0) }), 10);
    assert_eq!(unit(&control, UnitNew { bstype: Some("nosuch".into()), ..disk(1, 1) }), 17);
    assert_eq!(unit(&control, UnitNew { bsoflags: Some("sync".into()), ..disk(1, 1) }), 17);
    assert_eq!(unit(&control, UnitNew { device_type: 1, ..disk(1, 1) }), 17);
    assert_eq!(unit(&control, UnitNew { path: Some("nonsense".into()), ..disk(1, 1) }), 17);
    assert_eq!(unit(&control, UnitNew { bstype: None, path: Some("/nonexistent/x".into()), ..disk(1, 1) }), 17);
    assert_eq!(unit(&control, UnitNew { lun: 1 << 40, ..disk(1, 1) }), 17);
    assert_eq!(unit(&control, disk(1, 1)), 0);
    assert_eq!(unit(&control, disk(1, 1)), 10);
    let view = shown_unit(&control, 1, 1);
    assert_eq!((view.scsi_id.as_str(), view.scsi_sn.as_str()), ("IET     00010001", "beaf11"));
    assert_eq!((view.bytes, view.block_size, view.online, view.removable), (1 << 20, 512, true, false));
    assert!(stub.told.lock().expect("no panic").contains(&"added 1/1".to_owned()));
    assert_eq!(number(&ask(&control, Request::UnitDelete { tid: 1, lun: 0, force: false })), 17);
    assert_eq!(number(&ask(&control, Request::UnitDelete { tid: 9, lun: 1, force: false })), 5);
    assert_eq!(number(&ask(&control, Request::UnitDelete { tid: 1, lun: 1, force: false })), 0);
    assert_eq!(number(&ask(&control, Request::UnitDelete { tid: 1, lun: 1, force: false })), 5);
}

#[test]
fn a_unit_without_path_is_an_empty_drive() {
    let (control, _) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    assert_eq!(unit(&control, UnitNew { path: None, ..disk(1, 6) }), 0);
    let view = shown_unit(&control, 1, 6);
    assert_eq!((view.bytes, view.block_size, view.online, view.removable, view.path), (0, 512, false, true, None));
}

#[test]
fn the_result_of_an_update_is_the_last_error_unless_replaced() {
    let (control, _) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    unit(&control, disk(1, 1));
    assert_eq!(update(&control, 9, 1, &[("removable", "1")]), 4);
    assert_eq!(update(&control, 1, 9, &[("removable", "1")]), 5);
    assert_eq!(update(&control, 1, 1, &[("nosuch", "1"), ("removable", "1")]), 17);
    assert!(shown_unit(&control, 1, 1).removable, "a bad key does not stop later ones");
    assert_eq!(update(&control, 1, 1, &[("nosuch", "1"), ("online", "1")]), 0);
    assert_eq!(update(&control, 1, 1, &[("removable", "")]), 17);
    assert_eq!(update(&control, 1, 1, &[("mode_page", "3:0:2:1:2:3")]), 17);
    assert_eq!(update(&control, 1, 1, &[("mode_page", "0x1c:0:10:8:0")]), 0);
    assert_eq!(update(&control, 1, 1, &[("vendor_id", "TOO LONG A NAME"), ("scsi_sn", "SN1")]), 0);
    assert_eq!(shown_unit(&control, 1, 1).scsi_sn, "SN1");
}

#[test]
fn a_medium_is_changed_only_while_the_unit_is_offline() {
    let (control, _) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    unit(&control, disk(1, 1));
    assert_eq!(update(&control, 1, 1, &[("path", "2M")]), 17);
    assert_eq!(update(&control, 1, 1, &[("online", "0")]), 0);
    let view = shown_unit(&control, 1, 1);
    assert_eq!((view.online, view.bytes), (false, 1 << 20));
    assert_eq!(update(&control, 1, 1, &[("path", "2M")]), 0);
    let view = shown_unit(&control, 1, 1);
    assert_eq!((view.online, view.bytes, view.path.as_deref()), (true, 2 << 20, Some("2M")));
    assert_eq!(update(&control, 1, 1, &[("online", "0"), ("path", "nonsense")]), 17);
    let view = shown_unit(&control, 1, 1);
    assert_eq!((view.online, view.bytes, view.path), (false, 0, None));
}

#[test]
fn a_reset_reaches_the_unit() {
    let (control, stub) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    unit(&control, disk(1, 1));
    let reset = |tid, lun| number(&ask(&control, Request::UnitReset { tid, lun }));
    assert_eq!((reset(9, 1), reset(1, 9), reset(1, 1)), (4, 5, 0));
    assert_eq!(stub.told.lock().expect("no panic").last().map(String::as_str), Some("attend 1/1"));
}

#[test]
fn fault_rules_wait_for_units_and_outlive_them() {
    let (control, _) = control(false);
    let rule = "op=WRITE10,lba=0,len=8,key=3,asc=0x0c02";
    let new = |tid, lun| number(&ask(&control, Request::FaultNew { tid, lun, rule: rule.into() }));
    let lines = || match ask(&control, Request::FaultShow) {
        Ok(Answer::Rules(lines)) => lines.iter().map(|line| (line.index, line.tid, line.lun)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(new(1, 1), 0);
    assert_eq!(new(2, 5), 0);
    target(&control, 1, "iqn.2020-01.com.example:a");
    unit(&control, disk(1, 1));
    assert_eq!(new(1, 1), 0);
    assert_eq!(lines(), [(0, 1, 1), (1, 2, 5), (2, 1, 1)]);
    assert_eq!(number(&ask(&control, Request::UnitDelete { tid: 1, lun: 1, force: false })), 0);
    assert_eq!(lines(), [(0, 1, 1), (1, 2, 5), (2, 1, 1)]);
    assert_eq!(ask(&control, Request::FaultDelete(FaultSelection::Rule(0))), Ok(Answer::Removed(1)));
    assert_eq!(number(&ask(&control, Request::FaultDelete(FaultSelection::Rule(0)))), 17);
    assert_eq!(ask(&control, Request::FaultDelete(FaultSelection::Unit { tid: 2, lun: None })), Ok(Answer::Removed(1)));
    assert_eq!(lines(), [(2, 1, 1)]);
    assert_eq!(ask(&control, Request::FaultDelete(FaultSelection::All)), Ok(Answer::Removed(1)));
    assert_eq!(new(1, 1), 0);
    assert_eq!(lines(), [(3, 1, 1)], "numbers are not used again");
    assert_eq!(number(&ask(&control, Request::FaultNew { tid: 1, lun: 1, rule: "op=NOSUCH".into() })), 17);
}

#[test]
fn a_daemon_without_faults_says_so() {
    let (control, _) = control(true);
    let reply = ask(&control, Request::FaultNew { tid: 1, lun: 1, rule: "op=WRITE10,key=3,asc=0x0c02".into() });
    assert!(reply.is_err_and(|failure| failure.code.number() == 17 && failure.detail.contains("--no-faults")));
}

#[test]
fn accounts_are_bound_and_forgotten() {
    let (control, stub) = control(false);
    let new = |user: &str| number(&ask(&control, Request::AccountNew { user: user.into(), password: "p".into() }));
    let bind = |tid, user: &str, outgoing| number(&ask(&control, Request::AccountBind { tid, user: user.into(), outgoing }));
    let unbind = |tid, user: &str, outgoing| number(&ask(&control, Request::AccountUnbind { tid, user: user.into(), outgoing }));
    target(&control, 1, "iqn.2020-01.com.example:a");
    assert_eq!((new("u1"), new("u2"), new("u1")), (0, 0, 14));
    assert_eq!((bind(Some(1), "u1", false), bind(Some(1), "u1", false), bind(Some(1), "nobody", false), bind(Some(9), "u1", false)), (0, 14, 15, 4));
    assert_eq!((bind(Some(1), "u2", true), bind(Some(1), "u1", true)), (0, 18));
    assert_eq!((unbind(Some(1), "u1", true), unbind(Some(1), "u2", false), unbind(Some(1), "u2", true)), (15, 15, 0));
    assert_eq!((bind(None, "u2", false), unbind(None, "u1", false)), (0, 15));
    assert_eq!(stub.model.lock().expect("no panic").as_ref().map(|model| model.discovery.incoming.len()), Some(1));
    assert_eq!(number(&ask(&control, Request::AccountDelete { user: "u2".into() })), 0);
    assert_eq!(stub.model.lock().expect("no panic").as_ref().map(|model| model.discovery.incoming.len()), Some(0));
    assert_eq!(number(&ask(&control, Request::AccountDelete { user: "u2".into() })), 15);
}

#[test]
fn rules_of_access_and_bindings() {
    let (control, _) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    let bind = |tid, rule: &Binding| number(&ask(&control, Request::TargetBind { tid, rules: vec![rule.clone()] }));
    let unbind = |tid, rule: &Binding| number(&ask(&control, Request::TargetUnbind { tid, rules: vec![rule.clone()] }));
    let all = Binding::Address("ALL".into());
    assert_eq!((bind(1, &all), bind(1, &all), bind(5, &all), unbind(1, &all), unbind(1, &all)), (0, 12, 4, 0, 13));
    let host = Binding::Host(3);
    assert_eq!((bind(1, &host), bind(1, &host), unbind(1, &Binding::Host(4)), unbind(1, &host), unbind(1, &host)), (0, 11, 8, 0, 8));
}

#[test]
fn a_stopped_driver_takes_no_requests_and_opens_its_portals_again() {
    let (control, stub) = control(false);
    let driver = |request| number(&control.apply(&Envelope { driver: Some("iscsi".into()), request }));
    let portal = |text: &str| PortalRequest { portals: vec![text.into()], nop_interval: None, nop_count: None };
    assert_eq!(driver(Request::PortalNew(portal("127.0.0.1:9"))), 0);
    assert_eq!(driver(Request::PortalNew(portal("127.0.0.1:9"))), 17);
    assert_eq!(driver(Request::PortalNew(portal("127.0.0.1:1"))), 17);
    assert_eq!(driver(Request::PortalNew(portal("127.0.0.1:99999"))), 17);
    assert_eq!(driver(Request::DriverStop), 0);
    assert_eq!(driver(Request::TargetNew { tid: 1, name: "a".into() }), 3);
    assert_eq!(driver(Request::DriverStart), 0);
    assert_eq!(driver(Request::TargetNew { tid: 1, name: "a".into() }), 0);
    assert_eq!(driver(Request::DriverStop), 21);
    assert_eq!(driver(Request::PortalDelete(portal("127.0.0.1:9"))), 0);
    assert_eq!(driver(Request::PortalDelete(portal("127.0.0.1:9"))), 17);
    let unknown = Envelope { driver: Some("nosuch".into()), request: Request::DriverStop };
    assert_eq!(number(&control.apply(&unknown)), 3);
    let told = stub.told.lock().expect("no panic").clone();
    assert_eq!(told, ["open 127.0.0.1:9", "open 127.0.0.1:1", "close 127.0.0.1:9", "open 127.0.0.1:9", "close 127.0.0.1:9"]);
}

#[test]
fn portal_groups_are_ports_of_every_unit_and_begin_as_they_are_configured() {
    let (control, _) = control(false);
    let portals = |text: &str| PortalRequest { portals: vec![text.into()], nop_interval: None, nop_count: None };
    let set = |value: &str| ask(&control, Request::UnitUpdate { tid: 1, lun: 1, parameters: vec![("access_state".into(), value.into())] });
    let groups = || match ask(&control, Request::TargetShow { tid: None }) {
        Ok(Answer::Targets(targets)) => {
            let unit = targets[0].units.iter().find(|unit| unit.lun == 1).expect("a unit");
            unit.port_groups.iter().map(|group| format!("{}:{}:{}", group.tag, group.state, group.preferred)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    target(&control, 1, "iqn.2020-01.com.example:a");
    assert_eq!(number(&ask(&control, Request::PortalNew(portals("127.0.0.1:9")))), 0);
    let new = UnitNew { tid: 1, lun: 1, path: Some("1M".into()), bstype: Some("memory".into()), ..UnitNew::default() };
    assert_eq!(number(&ask(&control, Request::UnitNew(new))), 0);
    assert_eq!(groups(), ["1:optimized:false"]);
    assert_eq!(number(&set("7:standby:preferred")), 0, "for a group that will come");
    assert_eq!(groups(), ["1:optimized:false"]);
    assert_eq!(number(&ask(&control, Request::PortalNew(portals("127.0.0.1:10,7")))), 0);
    assert_eq!(groups(), ["1:optimized:false", "7:standby:true"]);
    assert_eq!(number(&ask(&control, Request::PortalNew(portals("127.0.0.1:10,8")))), 17, "open already");
    assert_eq!(groups(), ["1:optimized:false", "7:standby:true"]);
    assert_eq!(number(&set("7:non-optimized")), 0);
    assert_eq!(groups(), ["1:optimized:false", "7:non-optimized:false"]);
    assert_eq!(number(&set("7:active")), 17);
    assert_eq!(number(&ask(&control, Request::PortalDelete(portals("127.0.0.1:9")))), 0);
    assert_eq!(groups(), ["7:non-optimized:false"]);
    let fail = |group| number(&ask(&control, Request::UnitFailTransition { tid: 1, lun: 1, group }));
    assert_eq!([fail(7), fail(1)], [17, 17], "one that is in no transition, and no such group");
    assert_eq!(number(&set("7:transitioning")), 0);
    assert_eq!((groups(), fail(7), groups()), (vec!["7:transitioning:false".into()], 0, vec!["7:non-optimized:false".to_owned()]));
    let kept = |state: &crate::state::State| state.targets[&1].units[&1].configured.access_states.clone();
    assert_eq!(
        kept(&control.lock()).iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["7:non-optimized"],
        "what is kept is no transition either"
    );
    let default = Request::UnitDefault { tid: 1, lun: 1, names: vec!["access_state:7".into()] };
    assert_eq!(number(&ask(&control, default)), 0);
    assert_eq!(groups(), ["7:optimized:false"]);
}

#[test]
fn connections_are_found_before_they_are_closed() {
    let (control, stub) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    stub.log_in(5, 1);
    let delete = |tid, sid, cid| number(&ask(&control, Request::ConnectionDelete { tid, sid, cid }));
    assert_eq!((delete(9, 5, 0), delete(1, 9, 0), delete(1, 5, 3), delete(1, 5, 0)), (4, 6, 7, 0));
    assert_eq!(number(&ask(&control, Request::SessionStat { sid: 99 })), 6);
}

#[test]
fn sessions_of_all_targets_are_shown_and_closed() {
    let (control, stub) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    target(&control, 2, "iqn.2020-01.com.example:b");
    for (sid, tid) in [(5, 1), (6, 2), (7, 1)] {
        stub.log_in(sid, tid);
    }
    let listed = |tid| match ask(&control, Request::SessionShow { tid }) {
        Ok(Answer::Sessions(views)) => views.iter().map(|view| view.sid).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!((listed(None), listed(Some(1))), (vec![7, 6, 5], vec![7, 5]));
    assert_eq!(number(&ask(&control, Request::SessionShow { tid: Some(9) })), 4);
    let delete = |sid| number(&ask(&control, Request::SessionDelete { sid }));
    assert_eq!((delete(9), delete(6), delete(6)), (6, 0, 6));
    assert_eq!(listed(None), [7, 5]);
    assert_eq!(stub.told.lock().expect("no panic").last().map(String::as_str), Some("close session 2 6 0"));
}

#[test]
fn a_unit_has_its_settings_from_the_first_moment_or_does_not_exist() {
    let (control, stub) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    let with = |parameters: &[(&str, &str)]| UnitNew {
        parameters: parameters.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ..disk(1, 1)
    };
    assert_eq!(unit(&control, with(&[("readonly", "1"), ("nosuch", "1")])), 17);
    assert_eq!(published(&stub), [(1, vec![0, WELL_KNOWN])]);
    assert!(stub.told.lock().expect("no panic").is_empty());
    assert_eq!(unit(&control, with(&[("readonly", "1"), ("vendor_id", "ACME")])), 0);
    assert!(shown_unit(&control, 1, 1).read_only);
}

#[test]
fn an_account_takes_a_new_password_and_stays_bound() {
    let (control, stub) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    let update = |password: &str| number(&ask(&control, Request::AccountUpdate { user: "alice".into(), password: password.into() }));
    assert_eq!(update("first"), 15);
    ask(&control, Request::AccountNew { user: "alice".into(), password: "first".into() }).expect("made");
    ask(&control, Request::AccountBind { tid: Some(1), user: "alice".into(), outgoing: false }).expect("bound");
    assert_eq!(update("second"), 0);
    assert_eq!(shown(&control)[0].incoming, ["alice"]);
    let model = stub.model.lock().expect("no panic");
    let target = &model.as_ref().expect("published").targets[&1];
    assert!(target.authentication.incoming.iter().any(|account| account.password[..] == *b"second"), "not published");
}

#[test]
fn isns_on_without_a_server_succeeds_shows_off_and_keeps_strangers_out() {
    let (control, stub) = control(false);
    assert_eq!(target(&control, 1, "iqn.x:1"), 0);
    let set = |settings| number(&ask(&control, Request::SystemUpdate { settings }));
    let shown = || match ask(&control, Request::SystemShow) {
        Ok(Answer::System(view)) => view.isns,
        other => panic!("{other:?}"),
    };
    let admitted = || stub.model.lock().expect("no panic").as_ref().expect("published").targets[&1].admitted.clone();
    assert_eq!(set(vec![SystemSetting::IsnsServerIp("192.0.2.1".into()), SystemSetting::IsnsAccessControl(true)]), 0);
    assert_eq!(admitted(), None, "iSNS is off");
    assert_eq!(set(vec![SystemSetting::Isns(true)]), 0);
    assert!(!shown().enabled && shown().access_control);
    assert_eq!(admitted().map(|names| names.len()), Some(0));
    assert!(control.isns_inputs().settings.enabled, "the client is to look for the server");
    control.set_isns_connected(true);
    assert!(shown().enabled);
    let names = Arc::new(BTreeSet::from(["iqn.i:1".to_owned()]));
    control.set_isns_admitted([("iqn.x:1".to_owned(), names.clone()), ("iqn.x:2".to_owned(), names.clone())].into());
    assert_eq!(admitted(), Some(names));
    assert_eq!(set(vec![SystemSetting::IsnsAccessControl(false)]), 0);
    assert_eq!(admitted(), None);
}

#[test]
fn a_rule_by_address_and_one_by_name_are_bound_together_or_not_at_all() {
    let (control, _) = control(false);
    target(&control, 1, "iqn.2020-01.com.example:a");
    let rules = |address: &str, name: &str| vec![Binding::Address(address.into()), Binding::Name(name.into())];
    let bind = |rules| number(&ask(&control, Request::TargetBind { tid: 1, rules }));
    let bound = || shown(&control).first().map(|target| (target.addresses.clone(), target.names.clone())).expect("target");
    assert_eq!(bind(rules("10.0.0.0/8", "iqn.x:*")), 0);
    assert_eq!(bound(), (vec!["10.0.0.0/8".into()], vec!["iqn.x:*".into()]));
    assert_eq!(bind(rules("192.0.2.1", "iqn.x:*")), 12);
    assert_eq!(bound(), (vec!["10.0.0.0/8".into()], vec!["iqn.x:*".into()]), "nothing is left of the refused request");
    let rules = rules("10.0.0.0/8", "iqn.x:*");
    assert_eq!(number(&ask(&control, Request::TargetUnbind { tid: 1, rules })), 0);
    assert_eq!(bound(), (Vec::new(), Vec::new()));
}
