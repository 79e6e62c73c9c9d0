//! Every type against every access and relation, and every service action against every state it can meet.

use super::change::INSUFFICIENT_REGISTRATION_RESOURCES;
use super::*;
use alloc::format;
use alloc::string::ToString;
use device::PortIdentity;
use scsi::command::{Operation, ROWS, ReservationClass, by_operation};
use scsi::parameter_list::{PersistentReserveOut, RegisterAndMove};
use scsi::{Asc, RelativePort, Sense, TransportId};
use std::vec;

fn who(name: &str) -> NexusIdentity {
    NexusIdentity { initiator_name: format!("iqn.2026-01.example:{name}"), isid: [0x80, 0, 0, 0, 0, 1], port: port(1) }
}

fn port(number: u16) -> PortIdentity {
    PortIdentity { target_name: "iqn.2026-01.example:target".to_string(), group_tag: number, relative_port: RelativePort(number) }
}

/// The same initiator port through another target port.
fn through(name: &str, number: u16) -> NexusIdentity {
    NexusIdentity { port: port(number), ..who(name) }
}

fn list(key: u64, service_action_key: u64) -> PersistentReserveOut {
    PersistentReserveOut { key, service_action_key, spec_i_pt: false, all_tg_pt: false, aptpl: false }
}

fn order(action: Action, kind: u8, list: PersistentReserveOut) -> Order<'static> {
    Order { action, scope_and_type: kind, keeps: false, list, initiators: &[] }
}

/// Carries an order out in a world of two ports and the nexuses `nexuses`.
fn obey(state: &mut Reservations, who: &NexusIdentity, order: &Order<'_>, nexuses: &[NexusIdentity]) -> Result<Changes, Refusal> {
    let before = state.clone();
    let mut changes = Changes::default();
    match state.out(who, order, World { ports: &[port(1), port(2)], nexuses }, &mut changes) {
        Ok(()) => Ok(changes),
        Err(refusal) => {
            assert_eq!(*state, before, "a refusal changes nothing");
            assert_eq!(changes, Changes::default());
            Err(refusal)
        }
    }
}

/// Runs an action; the unit attentions as (last letter of the name, asc).
fn out(state: &mut Reservations, name: &str, action: Action, kind: u8, keys: (u64, u64)) -> Result<Vec<(char, u16)>, Refusal> {
    let changes = obey(state, &who(name), &order(action, kind, list(keys.0, keys.1)), &[])?;
    Ok(changes.announcements.iter().map(|a| (letter(&a.identity), a.asc.0)).collect())
}

fn letter(identity: &NexusIdentity) -> char {
    identity.initiator_name.chars().last().unwrap()
}

/// a holds `kind` with key 1; b (2) and c (3) are registered.
fn reserved(kind: ReservationType) -> Reservations {
    let mut state = Reservations::new();
    for (name, key) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(out(&mut state, name, Action::Register, 0, (0, key)), Ok(vec![]));
    }
    assert_eq!(out(&mut state, "a", Action::Reserve, kind as u8, (1, 0)), Ok(vec![]));
    state
}

fn check(sense: Sense) -> Result<Vec<(char, u16)>, Refusal> {
    Err(Refusal::Check(sense))
}

#[test]
fn the_conflict_table() {
    use ReservationType as T;
    // (type, access, holder, registrant, stranger): true is a conflict.
    let table = [
        (T::WriteExclusive, Access::Read, [false, false, false]),
        (T::WriteExclusive, Access::Write, [false, true, true]),
        (T::ExclusiveAccess, Access::Read, [false, true, true]),
        (T::ExclusiveAccess, Access::Write, [false, true, true]),
        (T::WriteExclusiveRegistrantsOnly, Access::Read, [false, false, false]),
        (T::WriteExclusiveRegistrantsOnly, Access::Write, [false, false, true]),
        (T::ExclusiveAccessRegistrantsOnly, Access::Read, [false, false, true]),
        (T::ExclusiveAccessRegistrantsOnly, Access::Write, [false, false, true]),
        (T::WriteExclusiveAllRegistrants, Access::Read, [false, false, false]),
        (T::WriteExclusiveAllRegistrants, Access::Write, [false, false, true]),
        (T::ExclusiveAccessAllRegistrants, Access::Read, [false, false, true]),
        (T::ExclusiveAccessAllRegistrants, Access::Write, [false, false, true]),
    ];
    let relations = [Relation::Holder, Relation::Registrant, Relation::Stranger];
    for (kind, access, expected) in table {
        assert_eq!(relations.map(|relation| conflicts(kind, access, relation)), expected, "{kind:?} {access:?}");
        assert_eq!(relations.map(|relation| conflicts(kind, Access::Free, relation)), [false; 3]);
    }
}

#[test]
fn every_row_is_judged_under_every_type() {
    for kind in ReservationType::ALL {
        let state = reserved(kind);
        for row in ROWS {
            let mut cdb = vec![0u8; row.usage.len()];
            cdb[0] = row.opcode;
            for (name, relation) in [("a", Relation::Holder), ("b", state.relation(&who("b"))), ("z", Relation::Stranger)] {
                assert_eq!(state.relation(&who(name)), relation);
                let conflict = state.conflict(row, &cdb, NexusId(1), &who(name));
                let expected = match row.reservation {
                    ReservationClass::Allowed => false,
                    ReservationClass::Read => conflicts(kind, Access::Read, relation),
                    ReservationClass::Write => conflicts(kind, Access::Write, relation),
                    ReservationClass::Special => match row.operation {
                        Operation::Reserve6 | Operation::Release6 | Operation::Reserve10 | Operation::Release10 => true,
                        Operation::StartStopUnit => conflicts(kind, Access::Write, relation),
                        _ => false,
                    },
                };
                assert_eq!(conflict, expected, "{kind:?} {} {name}", row.name);
            }
        }
    }
}

#[test]
fn the_cdb_decides_for_two_commands() {
    let state = reserved(ReservationType::ExclusiveAccess);
    let stranger = |operation, byte4| state.conflict(by_operation(operation).unwrap(), &[0, 0, 0, 0, byte4, 0], NexusId(9), &who("z"));
    assert!(!stranger(Operation::PreventAllowMediumRemoval, 0));
    assert!(stranger(Operation::PreventAllowMediumRemoval, 1));
    assert!(!stranger(Operation::StartStopUnit, 0x01));
    assert!(stranger(Operation::StartStopUnit, 0x00));
    assert!(stranger(Operation::StartStopUnit, 0x02));
    assert!(stranger(Operation::StartStopUnit, 0x21));
}

#[test]
fn registering() {
    let mut state = Reservations::new();
    assert_eq!(out(&mut state, "a", Action::Register, 0, (5, 1)), Err(Refusal::Conflict), "not registered: the key must be 0");
    assert_eq!(out(&mut state, "a", Action::Register, 0, (0, 0)), Ok(vec![]));
    assert_eq!((state.generation(), state.registered()), (0, 0));
    assert_eq!(out(&mut state, "a", Action::Register, 0, (0, 1)), Ok(vec![]));
    assert_eq!(out(&mut state, "a", Action::Register, 0, (0, 9)), Err(Refusal::Conflict), "registered: the key must be its own");
    assert_eq!(out(&mut state, "a", Action::Register, 0, (1, 9)), Ok(vec![]));
    assert_eq!(out(&mut state, "a", Action::RegisterAndIgnore, 0, (77, 10)), Ok(vec![]));
    assert_eq!(out(&mut state, "b", Action::RegisterAndIgnore, 0, (77, 0)), Ok(vec![]));
    assert_eq!(out(&mut state, "b", Action::RegisterAndIgnore, 0, (77, 10)), Ok(vec![]), "keys need not differ");
    assert_eq!(state.generation(), 4);
    assert_eq!(state.read_keys(255), [0, 0, 0, 4, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 10]);
    assert_eq!(state.read_keys(6), [0, 0, 0, 4, 0, 0]);
    assert_eq!(out(&mut state, "a", Action::Register, 0, (10, 0)), Ok(vec![]));
    assert_eq!((state.generation(), state.registered()), (5, 1));
}

#[test]
fn the_same_name_with_another_port_is_somebody_else() {
    let mut state = reserved(ReservationType::WriteExclusive);
    let mut other_isid = who("a");
    other_isid.isid[5] = 2;
    let mut other_port = who("a");
    other_port.port.group_tag = 2;
    assert_eq!(state.relation(&who("a")), Relation::Holder);
    assert_eq!(state.relation(&other_isid), Relation::Stranger);
    assert_eq!(state.relation(&other_port), Relation::Stranger);
    state.reset();
    assert_eq!(state.relation(&who("a")), Relation::Holder, "a reset does not end it");
}

#[test]
fn options_are_refused_where_they_mean_something() {
    let mut state = reserved(ReservationType::WriteExclusive);
    let with = |spec_i_pt, all_tg_pt, aptpl| PersistentReserveOut { spec_i_pt, all_tg_pt, aptpl, ..list(1, 1) };
    let mut refused = |action, options| obey(&mut state, &who("a"), &order(action, 1, options), &[]).err();
    let at = |bit| Some(Refusal::Check(Sense::invalid_parameter_field(20, Some(bit))));
    for action in [Action::Register, Action::RegisterAndIgnore] {
        assert_eq!(refused(action, with(false, false, true)), at(0), "APTPL without a place to keep anything");
    }
    assert_eq!(refused(Action::RegisterAndIgnore, with(true, false, false)), at(3));
    assert_eq!(refused(Action::Reserve, with(true, false, false)), at(3));
    assert_eq!(refused(Action::Reserve, with(false, true, true)), None, "not looked at");
    assert_eq!(refused(Action::Register, with(true, false, false)), at(3), "the nexus is registered already");
}

#[test]
fn strangers_and_wrong_keys_conflict() {
    for action in [Action::Reserve, Action::Release, Action::Clear, Action::Preempt, Action::PreemptAndAbort] {
        let mut state = reserved(ReservationType::WriteExclusive);
        assert_eq!(out(&mut state, "z", action, 1, (0, 2)), Err(Refusal::Conflict), "{action:?}");
        assert_eq!(out(&mut state, "a", action, 1, (4, 2)), Err(Refusal::Conflict), "{action:?}");
    }
}

#[test]
fn reserving() {
    for kind in ReservationType::ALL {
        let mut state = reserved(kind);
        let generation = state.generation();
        assert_eq!(state.held(), Some(kind));
        assert_eq!(out(&mut state, "a", Action::Reserve, kind as u8, (1, 0)), Ok(vec![]), "again, the same");
        let again = out(&mut state, "b", Action::Reserve, kind as u8, (2, 0));
        assert_eq!(again, if kind.all_registrants() { Ok(vec![]) } else { Err(Refusal::Conflict) });
        let other = if kind == ReservationType::WriteExclusive { 3 } else { 1 };
        assert_eq!(out(&mut state, "a", Action::Reserve, other, (1, 0)), Err(Refusal::Conflict));
        assert_eq!(state.generation(), generation);
        let key = if kind.all_registrants() { 0 } else { 1 };
        let mut expected = vec![0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, key, 0, 0, 0, 0, 0, kind as u8, 0, 0];
        assert_eq!(state.read_reservation(255), expected);
        expected.truncate(12);
        assert_eq!(state.read_reservation(12), expected);
    }
    let mut state = Reservations::new();
    assert_eq!(state.read_reservation(255), [0; 8]);
    out(&mut state, "a", Action::Register, 0, (0, 1)).unwrap();
    for number in [0, 2, 4, 9, 15] {
        assert_eq!(out(&mut state, "a", Action::Reserve, number, (1, 0)), check(Sense::invalid_cdb_field(2, Some(3))));
    }
    assert_eq!(out(&mut state, "a", Action::Reserve, 0x11, (1, 0)), check(Sense::invalid_cdb_field(2, Some(7))));
}

#[test]
fn releasing() {
    for kind in ReservationType::ALL {
        let number = kind as u8;
        let mut state = reserved(kind);
        let wrong = if number == 1 { 3 } else { 1 };
        assert_eq!(out(&mut state, "a", Action::Release, wrong, (1, 0)), check(Sense::illegal(Asc::INVALID_RELEASE)));
        assert_eq!(out(&mut state, "a", Action::Release, number | 0x10, (1, 0)), check(Sense::illegal(Asc::INVALID_RELEASE)));
        if !kind.all_registrants() {
            assert_eq!(out(&mut state, "b", Action::Release, number, (2, 0)), Ok(vec![]));
            assert_eq!(state.held(), Some(kind), "a registrant that holds nothing releases nothing");
        }
        let heard = out(&mut state, "a", Action::Release, number, (1, 0)).unwrap();
        assert_eq!(heard, if kind.shared() { vec![('b', 0x2a04), ('c', 0x2a04)] } else { vec![] });
        assert_eq!((state.held(), state.generation(), state.registered()), (None, 3, 3));
        assert_eq!(out(&mut state, "a", Action::Release, number, (1, 0)), Ok(vec![]), "nothing to release");
    }
}

#[test]
fn unregistering_the_holder() {
    for kind in ReservationType::ALL {
        let mut state = reserved(kind);
        let heard = out(&mut state, "a", Action::Register, 0, (1, 0)).unwrap();
        if kind.all_registrants() {
            assert_eq!((heard, state.held()), (vec![], Some(kind)));
            out(&mut state, "b", Action::Register, 0, (2, 0)).unwrap();
            assert_eq!(state.relation(&who("c")), Relation::Holder);
            assert_eq!(out(&mut state, "c", Action::Register, 0, (3, 0)), Ok(vec![]));
            assert_eq!(state.held(), None, "the last registrant takes it along");
        } else {
            assert_eq!(state.held(), None);
            assert_eq!(heard, if kind.shared() { vec![('b', 0x2a04), ('c', 0x2a04)] } else { vec![] });
        }
    }
    let mut state = reserved(ReservationType::WriteExclusiveRegistrantsOnly);
    assert_eq!(out(&mut state, "b", Action::Register, 0, (2, 0)), Ok(vec![]));
    assert!(state.held().is_some(), "a registrant that holds nothing takes nothing along");
}

#[test]
fn clearing() {
    for kind in ReservationType::ALL {
        let mut state = reserved(kind);
        assert_eq!(out(&mut state, "b", Action::Clear, 0, (2, 0)), Ok(vec![('a', 0x2a03), ('c', 0x2a03)]));
        assert_eq!((state.held(), state.registered(), state.generation()), (None, 0, 4));
    }
}

#[test]
fn preempting_the_holder() {
    for kind in ReservationType::ALL.into_iter().filter(|kind| !kind.all_registrants()) {
        for new in ReservationType::ALL {
            let mut state = reserved(kind);
            let mut expected = vec![('a', 0x2a05)];
            if new != kind {
                expected.push(('c', 0x2a04));
            }
            assert_eq!(out(&mut state, "b", Action::Preempt, new as u8, (2, 1)), Ok(expected), "{kind:?} {new:?}");
            assert_eq!((state.held(), state.registered(), state.generation()), (Some(new), 2, 4));
            assert_eq!(state.relation(&who("b")), Relation::Holder);
            assert_eq!(state.relation(&who("a")), Relation::Stranger);
        }
        let mut state = reserved(kind);
        assert_eq!(out(&mut state, "b", Action::Preempt, 2, (2, 1)), check(Sense::invalid_cdb_field(2, Some(3))));
        assert_eq!(out(&mut state, "b", Action::Preempt, 1, (2, 0)), check(Sense::invalid_parameter_field(8, None)));
    }
}

#[test]
fn preempting_oneself_changes_the_type() {
    let mut state = reserved(ReservationType::WriteExclusive);
    assert_eq!(out(&mut state, "a", Action::Preempt, 3, (1, 1)), Ok(vec![('b', 0x2a04), ('c', 0x2a04)]));
    assert_eq!((state.held(), state.registered()), (Some(ReservationType::ExclusiveAccess), 3));
    assert_eq!(state.relation(&who("a")), Relation::Holder);
}

#[test]
fn preempting_registrations() {
    for kind in ReservationType::ALL {
        let mut state = reserved(kind);
        // The type is not looked at.
        assert_eq!(out(&mut state, "b", Action::Preempt, 0, (2, 3)), Ok(vec![('c', 0x2a05)]), "{kind:?}");
        assert_eq!((state.held(), state.registered(), state.generation()), (Some(kind), 2, 4));
        assert_eq!(out(&mut state, "b", Action::Preempt, 0, (2, 3)), Err(Refusal::Conflict), "nobody has the key any more");
        assert_eq!(out(&mut state, "b", Action::Preempt, 0, (2, 2)), Ok(vec![]), "one's own");
        assert_eq!((state.held(), state.registered()), (Some(kind), 1));
    }
    let mut state = Reservations::new();
    for (name, key) in [("a", 1), ("b", 2), ("c", 2)] {
        out(&mut state, name, Action::Register, 0, (0, key)).unwrap();
    }
    assert_eq!(out(&mut state, "a", Action::Preempt, 1, (1, 0)), check(Sense::invalid_parameter_field(8, None)));
    assert_eq!(out(&mut state, "a", Action::Preempt, 1, (1, 2)), Ok(vec![('b', 0x2a05), ('c', 0x2a05)]));
    assert_eq!((state.held(), state.registered()), (None, 1), "there was no reservation to take over");
}

#[test]
fn preempting_all_registrants() {
    for kind in ReservationType::ALL.into_iter().filter(|kind| kind.all_registrants()) {
        for new in ReservationType::ALL {
            let mut state = reserved(kind);
            assert_eq!(out(&mut state, "b", Action::Preempt, new as u8, (2, 0)), Ok(vec![('a', 0x2a05), ('c', 0x2a05)]));
            assert_eq!((state.held(), state.registered()), (Some(new), 1));
            assert_eq!(state.relation(&who("b")), Relation::Holder);
        }
        let mut state = reserved(kind);
        for (name, keys) in [("a", (1, 2)), ("a", (1, 3)), ("a", (1, 1))] {
            out(&mut state, name, Action::Preempt, 0, keys).unwrap();
        }
        assert_eq!((state.held(), state.registered()), (None, 0), "nobody is left to hold it");
    }
}

#[test]
fn capabilities() {
    assert_eq!(Reservations::new().report_capabilities(8, false), [0, 8, 0x8c, 0x80, 0xea, 0x01, 0, 0]);
    assert_eq!(Reservations::new().report_capabilities(3, false), [0, 8, 0x8c]);
}

#[test]
fn registrations_are_bounded() {
    let mut state = Reservations::new();
    for number in 0..REGISTRATION_LIMIT {
        out(&mut state, &format!("{number}"), Action::Register, 0, (0, 1)).unwrap();
    }
    let full = Sense::illegal(INSUFFICIENT_REGISTRATION_RESOURCES);
    assert_eq!(out(&mut state, "x", Action::Register, 0, (0, 1)), check(full));
}

#[test]
fn reserve_six_and_persistent_reservations_exclude_each_other() {
    let row = |operation| by_operation(operation).unwrap();
    let mut state = Reservations::new();
    let cdb = [0u8; 16];
    let (owner, other) = (NexusId(1), NexusId(2));
    let conflict = |state: &Reservations, operation, nexus| state.conflict(row(operation), &cdb, nexus, &who("a"));
    assert!(!conflict(&state, Operation::Reserve6, owner));
    state.reserve(owner);
    for (operation, by_owner, by_other) in [
        (Operation::Reserve6, false, true),
        (Operation::Release6, false, false),
        (Operation::Reserve10, false, true),
        (Operation::Release10, false, false),
        (Operation::Read10, false, true),
        (Operation::Write10, false, true),
        (Operation::TestUnitReady, false, true),
        (Operation::ModeSense6, false, true),
        (Operation::Verify10, false, true),
        (Operation::Inquiry, false, false),
        (Operation::RequestSense, false, false),
        (Operation::ReportLuns, false, false),
        (Operation::ReadCapacity10, false, false),
        (Operation::PreventAllowMediumRemoval, false, false),
        (Operation::PersistentReserveInReadKeys, true, true),
        (Operation::PersistentReserveInReadFullStatus, true, true),
        (Operation::PersistentReserveOutRegisterAndMove, true, true),
        (Operation::PersistentReserveOutRegister, true, true),
        (Operation::PersistentReserveOutClear, true, true),
    ] {
        assert_eq!(conflict(&state, operation, owner), by_owner, "{operation:?}");
        assert_eq!(conflict(&state, operation, other), by_other, "{operation:?}");
    }
    state.release(other);
    assert!(conflict(&state, Operation::Read10, other), "only the owner releases");
    state.release(owner);
    assert!(!conflict(&state, Operation::Read10, other));
    state.reserve(owner);
    state.reset();
    assert!(state.is_idle());
    out(&mut state, "a", Action::Register, 0, (0, 1)).unwrap();
    assert!(conflict(&state, Operation::Reserve6, owner) && conflict(&state, Operation::Release6, other));
    assert!(!conflict(&state, Operation::Read10, other));
}

#[test]
fn registering_others_with_spec_i_pt() {
    let id = |name: &str, isid| TransportId { name: who(name).initiator_name, isid };
    let isid = Some(who("b").isid);
    let options = PersistentReserveOut { spec_i_pt: true, ..list(0, 7) };
    let mut state = Reservations::new();
    out(&mut state, "c", Action::Register, 0, (0, 3)).unwrap();
    let ids = [id("b", isid), id("c", isid), id("b", isid)];
    let changes = obey(&mut state, &who("a"), &Order { initiators: &ids, ..order(Action::Register, 0, options) }, &[]);
    assert_eq!(changes, Ok(Changes::default()));
    assert_eq!(state.registered(), 3);
    assert_eq!([state.key(&who("a")), state.key(&who("b")), state.key(&who("c"))], [7, 7, 3], "a registration that is there stays");
    assert_eq!(state.generation(), 2);
    assert_eq!(out(&mut state, "b", Action::Reserve, 1, (7, 0)), Ok(vec![]));
    // By name alone: all its ports that are known, by their sessions or registrations.
    let mut other_isid = who("d");
    other_isid.isid[5] = 9;
    let known = [who("d"), other_isid.clone(), who("x")];
    let order_of = |ids: &'static [TransportId]| Order { initiators: ids, ..order(Action::Register, 0, options) };
    let ids: &'static [TransportId] = vec![id("d", None), id("c", None)].leak();
    assert!(obey(&mut state, &who("e"), &order_of(ids), &known).is_ok());
    assert_eq!(state.registered(), 6);
    assert_eq!(state.key(&other_isid), 7);
    let ids: &'static [TransportId] = vec![id("f", isid), id("nobody", None)].leak();
    let refused = obey(&mut state, &who("f"), &order_of(ids), &known);
    assert_eq!(refused, Err(Refusal::Check(Sense::invalid_parameter_field(28, None))));
    assert_eq!(
        obey(&mut state, &who("g"), &Order { list: PersistentReserveOut { spec_i_pt: true, ..list(0, 0) }, ..order_of(ids) }, &[]),
        Ok(Changes::default())
    );
    assert_eq!(state.registered(), 6, "key 0 of a stranger does nothing");
}

#[test]
fn registering_through_all_target_ports() {
    let mut state = Reservations::new();
    let options = |key, new| PersistentReserveOut { all_tg_pt: true, ..list(key, new) };
    let mut register = |action, options| obey(&mut state, &who("a"), &order(action, 0, options), &[]).map(|_| state.clone());
    let state = register(Action::Register, options(0, 7)).unwrap();
    assert_eq!((state.registered(), state.generation()), (2, 1));
    assert_eq!([state.key(&who("a")), state.key(&through("a", 2))], [7, 7]);
    let state = register(Action::Register, options(7, 8)).unwrap();
    assert_eq!([state.key(&who("a")), state.key(&through("a", 2))], [8, 8]);
    let state = register(Action::RegisterAndIgnore, options(0, 9)).unwrap();
    assert_eq!([state.key(&who("a")), state.key(&through("a", 2))], [9, 9]);
    let state = register(Action::Register, PersistentReserveOut { all_tg_pt: false, ..options(9, 10) }).unwrap();
    assert_eq!([state.key(&who("a")), state.key(&through("a", 2))], [10, 9]);
    let state = register(Action::Register, options(10, 0)).unwrap();
    assert_eq!([state.key(&who("a")), state.key(&through("a", 2))], [0, 9], "the other port has another key: there it would be a conflict");
}

#[test]
fn full_status_names_everybody() {
    let mut state = Reservations::new();
    assert_eq!(state.read_full_status(255), [0; 8]);
    out(&mut state, "a", Action::Register, 0, (0, 0x11)).unwrap();
    obey(&mut state, &through("b", 2), &order(Action::Register, 0, list(0, 0x22)), &[]).unwrap();
    out(&mut state, "a", Action::Reserve, 5, (0x11, 0)).unwrap();
    let mut expected = vec![0, 0, 0, 2, 0, 0, 0, 136];
    for (name, key, holder, kind, port) in [("a", 0x11, 1, 5, 1), ("b", 0x22, 0, 0, 2)] {
        expected.extend([0, 0, 0, 0, 0, 0, 0, key, 0, 0, 0, 0, holder, kind, 0, 0, 0, 0, 0, port, 0, 0, 0, 44, 0x45, 0, 0, 40]);
        expected.extend(format!("iqn.2026-01.example:{name},i,0x800000000001\0\0").bytes());
    }
    assert_eq!(state.read_full_status(1000), expected);
    assert_eq!(state.read_full_status(8), expected[..8], "the length tells everything even when little is asked for");
    let state = reserved(ReservationType::WriteExclusiveAllRegistrants);
    let status = state.read_full_status(1000);
    for registration in status[8..].chunks(68) {
        assert_eq!(registration[12..14], [1, 7], "every registrant holds it");
    }
}

fn moving(key: u64, new: u64, name: &str, number: u16) -> RegisterAndMove {
    let destination = TransportId { name: who(name).initiator_name, isid: Some(who(name).isid) };
    RegisterAndMove { key, service_action_key: new, unregister: false, aptpl: false, relative_port: number, destination }
}

fn move_by(state: &mut Reservations, name: &str, list: &RegisterAndMove) -> Result<(), Refusal> {
    let before = state.clone();
    let result = state.register_and_move(&who(name), list, false, World { ports: &[port(1), port(2)], nexuses: &[] });
    assert!(result.is_ok() || *state == before, "a refusal changes nothing");
    result
}

#[test]
fn moving_a_reservation() {
    for kind in ReservationType::ALL {
        let mut state = reserved(kind);
        let generation = state.generation();
        let moved = move_by(&mut state, "a", &moving(1, 9, "b", 1));
        if kind.all_registrants() {
            assert_eq!(moved, Err(Refusal::Conflict), "{kind:?}");
            continue;
        }
        assert_eq!((moved, state.held(), state.registered(), state.generation()), (Ok(()), Some(kind), 3, generation + 1));
        assert_eq!((state.relation(&who("a")), state.relation(&who("b")), state.key(&who("b"))), (Relation::Registrant, Relation::Holder, 9));
        // To somebody who was not registered, through another port, and the former holder goes.
        let list = RegisterAndMove { unregister: true, ..moving(9, 4, "z", 2) };
        assert_eq!(move_by(&mut state, "b", &list), Ok(()));
        assert_eq!((state.relation(&who("b")), state.relation(&through("z", 2))), (Relation::Stranger, Relation::Holder));
        assert_eq!((state.relation(&who("z")), state.registered(), state.held()), (Relation::Stranger, 3, Some(kind)));
    }
}

#[test]
fn moving_is_refused() {
    let bad = |at, bit| Err(Refusal::Check(Sense::invalid_parameter_field(at, bit)));
    let mut state = reserved(ReservationType::ExclusiveAccess);
    assert_eq!(move_by(&mut state, "z", &moving(0, 9, "b", 1)), Err(Refusal::Conflict), "a stranger");
    assert_eq!(move_by(&mut state, "a", &moving(2, 9, "b", 1)), Err(Refusal::Conflict), "the wrong key");
    assert_eq!(move_by(&mut state, "b", &moving(2, 9, "a", 1)), Err(Refusal::Conflict), "not the holder");
    assert_eq!(move_by(&mut state, "a", &moving(1, 0, "b", 1)), bad(8, None));
    assert_eq!(move_by(&mut state, "a", &moving(1, 9, "b", 3)), bad(18, None), "no such port");
    assert_eq!(move_by(&mut state, "a", &moving(1, 9, "a", 1)), bad(24, None), "to itself");
    let mut nameless = moving(1, 9, "b", 1);
    nameless.destination.isid = None;
    assert_eq!(move_by(&mut state, "a", &nameless), bad(24, None), "a device is no port");
    assert_eq!(move_by(&mut state, "a", &RegisterAndMove { aptpl: true, ..moving(1, 9, "b", 1) }), bad(17, Some(0)));
    out(&mut state, "a", Action::Release, 3, (1, 0)).unwrap();
    assert_eq!(move_by(&mut state, "a", &moving(1, 9, "b", 1)), Err(Refusal::Check(Sense::invalid_cdb_field(1, Some(4)))), "nothing to move");
}

#[test]
fn a_lost_reservation_is_replaced() {
    let mut state = reserved(ReservationType::WriteExclusive);
    let nothing_lost = check(Sense::invalid_cdb_field(1, Some(4)));
    assert_eq!(out(&mut state, "a", Action::ReplaceLost, 1, (0, 5)), nothing_lost);
    state.lose();
    let lost_to = |state: &Reservations, operation| state.is_lost_to(by_operation(operation).unwrap(), &[0; 16]);
    for (operation, expected) in [
        (Operation::Read10, true),
        (Operation::Write16, true),
        (Operation::ModeSelect6, true),
        (Operation::Reserve6, true),
        (Operation::PersistentReserveInReadKeys, true),
        (Operation::PersistentReserveOutRegister, true),
        (Operation::PersistentReserveInReportCapabilities, false),
        (Operation::PersistentReserveOutReplaceLostReservation, false),
        (Operation::Inquiry, false),
        (Operation::TestUnitReady, false),
    ] {
        assert_eq!(lost_to(&state, operation), expected, "{operation:?}");
    }
    assert!(!state.is_idle());
    assert_eq!(out(&mut state, "b", Action::ReplaceLost, 2, (0, 5)), check(Sense::invalid_cdb_field(2, Some(3))));
    assert_eq!(out(&mut state, "b", Action::ReplaceLost, 3, (1, 5)), check(Sense::invalid_parameter_field(0, None)));
    assert_eq!(out(&mut state, "b", Action::ReplaceLost, 3, (0, 0)), check(Sense::invalid_parameter_field(8, None)));
    assert_eq!(out(&mut state, "b", Action::ReplaceLost, 3, (0, 5)), Ok(vec![]));
    assert_eq!((state.registered(), state.held(), state.key(&who("b"))), (1, Some(ReservationType::ExclusiveAccess), 5));
    assert_eq!(state.relation(&who("b")), Relation::Holder);
    assert!(!lost_to(&state, Operation::Read10));
}

#[test]
fn preempting_says_who_was_preempted() {
    for action in [Action::Preempt, Action::PreemptAndAbort] {
        let preempted = |kind, keys| {
            let mut state = reserved(kind);
            let changes = obey(&mut state, &who("b"), &order(action, kind as u8, list(2, keys)), &[]).unwrap();
            changes.preempted.iter().map(letter).collect::<Vec<char>>()
        };
        assert_eq!(preempted(ReservationType::WriteExclusive, 1), ['a']);
        assert_eq!(preempted(ReservationType::WriteExclusive, 3), ['c']);
        assert_eq!(preempted(ReservationType::WriteExclusive, 2), ['b'], "itself");
        assert_eq!(preempted(ReservationType::WriteExclusiveAllRegistrants, 0), ['a', 'c']);
        assert_eq!(preempted(ReservationType::WriteExclusiveAllRegistrants, 1), ['a']);
    }
}
