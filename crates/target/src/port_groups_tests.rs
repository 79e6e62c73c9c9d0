//! Target port groups: their bytes, their states, and who hears of changes.

use super::*;
use crate::testing::{Bench, blocks, identity, read, write};
use scsi::RelativePort;
use std::string::String;
use std::vec;

const REPORT: [u8; 12] = [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

fn port(number: u16) -> PortIdentity {
    PortIdentity { target_name: String::from("iqn.2026-01.example:target"), group_tag: number, relative_port: RelativePort(number) }
}

/// Nexuses 1 and 2 through port 1, nexus 3 through port 2.
fn bench() -> Bench {
    let mut bench = Bench::new(2);
    bench.unit.attach(NexusId(3), crate::effect::NexusIdentity { port: port(2), ..identity(3) });
    assert_eq!(bench.attention(3), Some(0x2900));
    bench
}

/// SET TARGET PORT GROUPS by a nexus.
fn set(bench: &mut Bench, nexus: u64, groups: &[(u8, u16)]) -> Option<Sense> {
    let mut list = vec![0; 4];
    for (state, tag) in groups {
        list.extend([*state, 0]);
        list.extend(tag.to_be_bytes());
    }
    bench.outcome(nexus, &[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0, 0], &list).sense
}

fn heard(bench: &mut Bench) -> [Option<u16>; 3] {
    [1, 2, 3].map(|nexus| {
        let data = bench.data(nexus, &[0x03, 0, 0, 0, 18, 0]);
        (data[2] == 6).then(|| u16::from_be_bytes([data[12], data[13]]))
    })
}

#[test]
fn bytes_of_the_report() {
    let mut bench = bench();
    let groups = [[0x00, 0xcf, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], [0x00, 0xcf, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]].concat();
    assert_eq!(bench.data(1, &REPORT), [&[0, 0, 0, 24][..], &groups].concat());
    let mut extended = REPORT;
    extended[1] = 0x2a;
    assert_eq!(bench.data(1, &extended), [&[0, 0, 0, 28, 0x10, 60, 0, 0][..], &groups].concat());
    let mut short = REPORT;
    (short[8], short[9]) = (0, 4);
    assert_eq!(bench.data(1, &short), [0, 0, 0, 24], "the length is true");
    extended[1] = 0x4a;
    assert_eq!(bench.outcome(1, &extended, &[]).sense, Some(Sense::invalid_cdb_field(1, Some(7))));
    bench.unit.set_access_state(2, AccessState::Standby).unwrap();
    bench.unit.set_preferred(1, true).unwrap();
    assert_eq!(heard(&mut bench), [Some(0x2a06); 3]);
    assert_eq!(set(&mut bench, 1, &[(1, 1)]), None);
    let report = bench.data(1, &REPORT);
    assert_eq!((report[4], report[9], report[16], report[21]), (0x81, 1, 0x02, 2));
}

#[test]
fn inquiry_tells_what_there_is() {
    let mut bench = bench();
    for (support, bits, reports, sets) in [
        (TargetPortGroupSupport::Both, 0x30, true, true),
        (TargetPortGroupSupport::Explicit, 0x20, true, true),
        (TargetPortGroupSupport::Implicit, 0x10, true, false),
        (TargetPortGroupSupport::None, 0x00, false, false),
    ] {
        bench.unit.set_target_port_group_support(support);
        let changed = (support != TargetPortGroupSupport::Both).then_some(0x3f03);
        assert_eq!(heard(&mut bench), [changed; 3]);
        assert_eq!(bench.data(1, &[0x12, 0, 0, 0, 96, 0])[5] & 0x30, bits);
        assert_eq!(bench.outcome(1, &REPORT, &[]).sense, (!reports).then_some(Sense::invalid_cdb_field(1, Some(4))), "{support:?}");
        assert_eq!(set(&mut bench, 1, &[(0, 1)]), (!sets).then_some(Sense::invalid_cdb_field(1, Some(4))), "{support:?}");
        let supported = bench.data(1, &[0xa3, 0x0c, 3, 0xa4, 0, 0x0a, 0, 0, 0, 64, 0, 0])[1];
        assert_eq!(supported, if sets { 3 } else { 1 });
    }
    let page = bench.data(3, &[0x12, 1, 0x83, 1, 0, 0]);
    let designator = |kind: u8| page.windows(8).find(|at| at[1] == kind && at[3] == 4).map(|at| at[4..8].to_vec());
    assert_eq!((designator(0x94), designator(0x95)), (Some(vec![0, 0, 0, 2]), Some(vec![0, 0, 0, 2])), "relative port and group of this port");
}

/// What each state lets through: TEST UNIT READY, READ, WRITE, INQUIRY, MODE SENSE, MODE SELECT, PERSISTENT RESERVE IN, REPORT TARGET PORT GROUPS, SET
/// TARGET PORT GROUPS.
#[test]
fn states_and_what_they_let_through() {
    let table = [
        (AccessState::Optimized, None, [true; 9]),
        (AccessState::NonOptimized, None, [true; 9]),
        (AccessState::Standby, Some(0x040b), [false, false, false, true, true, true, true, true, true]),
        (AccessState::Unavailable, Some(0x040c), [false, false, false, true, true, false, false, true, true]),
        (AccessState::Offline, Some(0x0412), [false, false, false, true, true, false, false, true, true]),
        (AccessState::Transitioning, Some(0x040a), [false, false, false, true, false, false, false, true, false]),
    ];
    for (state, asc, expected) in table {
        let mut bench = bench();
        bench.unit.set_access_state(2, state).unwrap();
        heard(&mut bench);
        let data = blocks(1, 1);
        let control = [0, 0, 0, 0, 0x0a, 0x0a, 2, 0x10, 0, 0, 0, 0, 0, 0, 2, 0];
        let commands: [(&[u8], &[u8]); 9] = [
            (&[0; 6], &[]),
            (&read(0, 1), &[]),
            (&write(0, 1), &data),
            (&[0x12, 0, 0, 0, 96, 0], &[]),
            (&[0x1a, 0, 0x0a, 0, 32, 0], &[]),
            (&[0x15, 0x10, 0, 0, 16, 0], &control),
            (&[0x5e, 0, 0, 0, 0, 0, 0, 0, 32, 0], &[]),
            (&REPORT, &[]),
            (&[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
        ];
        for ((cdb, data), passes) in commands.into_iter().zip(expected) {
            let sense = bench.outcome(3, cdb, data).sense.map(|sense| (sense.key.0, sense.asc.0));
            assert_eq!(sense, if passes { None } else { asc.map(|asc| (2, asc)) }, "{state:?} {cdb:02x?}");
            assert_eq!(bench.outcome(1, cdb, data).sense, None, "the other port: {state:?} {cdb:02x?}");
        }
        let sense = bench.data(3, &[0x03, 0, 0, 0, 18, 0]);
        assert_eq!(u16::from_be_bytes([sense[12], sense[13]]), asc.unwrap_or(0), "REQUEST SENSE tells it");
        let qualifier = bench.data(3, &[0x12, 0, 0, 0, 96, 0])[0];
        assert_eq!(qualifier, if matches!(state, AccessState::Unavailable | AccessState::Offline) { 0x20 } else { 0 });
    }
}

#[test]
fn explicit_changes() {
    let mut bench = bench();
    assert_eq!(set(&mut bench, 1, &[(2, 1), (0, 2)]), None);
    assert_eq!(heard(&mut bench), [None, Some(0x2a06), Some(0x2a06)], "the others hear of it");
    assert_eq!(
        (bench.unit.access_state(1), bench.unit.access_state(2)),
        (Some((AccessState::Standby, false)), Some((AccessState::Optimized, false)))
    );
    assert_eq!(bench.sense(1, &read(0, 1)), (2, 0x040b));
    assert_eq!(set(&mut bench, 1, &[(2, 1)]), None);
    assert_eq!(heard(&mut bench), [None; 3], "nothing changed");
    let before = bench.unit.ports.clone();
    let bad = |at, bit| Some(Sense::invalid_parameter_field(at, Some(bit)));
    for (state, sense) in [(4, bad(8, 3)), (0xe, bad(8, 3)), (0xf, bad(8, 3))] {
        assert_eq!(set(&mut bench, 1, &[(0, 1), (state, 2)]), sense);
    }
    assert_eq!(set(&mut bench, 1, &[(0, 1), (0, 9)]), bad(10, 7), "no such group");
    assert_eq!(bench.unit.ports, before, "and nothing changed");
    let mut length =
        |length: u8, data: &[u8]| bench.outcome(1, &[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0], data).sense.map(|sense| sense.asc.0);
    assert_eq!([length(3, &[0; 8]), length(7, &[0; 8]), length(8, &[0; 4])], [Some(0x1a00); 3]);
    assert_eq!([length(0, &[0; 8]), length(4, &[0; 8])], [None; 2], "nothing to do");
}

#[test]
fn transitions() {
    let mut bench = bench();
    assert_eq!(bench.unit.set_access_state(9, AccessState::Standby), Err(AccessError::UnknownGroup));
    assert_eq!(bench.unit.set_preferred(9, true), Err(AccessError::UnknownGroup));
    assert_eq!(bench.unit.fail_access_transition(9), Err(AccessError::UnknownGroup));
    bench.unit.set_access_state(2, AccessState::Transitioning).unwrap();
    assert_eq!(heard(&mut bench)[..2], [None, None], "nobody hears of its beginning");
    assert_eq!(bench.sense(3, &[0; 6]), (2, 0x040a));
    assert_eq!(set(&mut bench, 1, &[(0, 2)]).map(|sense| sense.asc.0), Some(0x040a), "it cannot be set now");
    bench.unit.set_access_state(2, AccessState::NonOptimized).unwrap();
    assert_eq!(heard(&mut bench), [Some(0x2a06); 3]);
    bench.unit.set_access_state(2, AccessState::NonOptimized).unwrap();
    assert_eq!(heard(&mut bench), [None; 3], "no change");
    bench.unit.set_access_state(2, AccessState::Transitioning).unwrap();
    bench.unit.fail_access_transition(2).unwrap();
    assert_eq!(heard(&mut bench), [Some(0x2a07); 3]);
    assert_eq!(bench.unit.access_state(2), Some((AccessState::NonOptimized, false)), "what it was");
    bench.unit.fail_access_transition(2).unwrap();
    assert_eq!(heard(&mut bench), [None; 3]);
}

#[test]
fn a_command_that_runs_ends_well_whatever_becomes_of_its_port() {
    let mut bench = bench();
    bench.simple(3, 1, &read(0, 1), &[]);
    bench.simple(3, 2, &write(0, 1), &blocks(1, 1));
    bench.unit.set_access_state(2, AccessState::Unavailable).unwrap();
    bench.run();
    assert_eq!(bench.medium[0], 0, "the data of a write that did not begin stay out");
    assert_eq!(bench.done(), [2, 1]);
}

#[test]
fn ports_that_nobody_used_are_there_too() {
    let mut bench = bench();
    bench.unit.set_ports(&[begins(7, AccessState::Standby), begins(1, AccessState::Offline)]);
    assert_eq!(bench.data(1, &REPORT)[..4], [0, 0, 0, 36]);
    let (cdb, mut list) = crate::testing::reserve_out(0, 0, 0, 5);
    list[20] = 0x04;
    assert_eq!(bench.status(1, &cdb, &list), Status::GOOD);
    assert_eq!(bench.unit.reservations().registered(), 3, "ALL_TG_PT means all of them");
    let page = bench.data(1, &[0x12, 1, 0x88, 1, 0, 0]);
    assert_eq!(page.windows(9).filter(|text| text.starts_with(b",t,0x000")).map(|text| text[8]).collect::<Vec<_>>(), *b"127");
    let states = |bench: &Bench| bench.unit.access_states().map(|(tag, state, _)| (tag, state)).collect::<Vec<_>>();
    use AccessState as State;
    assert_eq!(states(&bench), [(1, State::Optimized), (2, State::Optimized), (7, State::Standby)], "a state is where a port begins");
    bench.unit.set_ports(&[begins(1, State::Optimized)]);
    assert_eq!(states(&bench), [(1, State::Optimized), (2, State::Optimized)], "there still is a session of the second");
    bench.unit.detach(NexusId(3));
    bench.unit.set_ports(&[begins(1, State::Optimized)]);
    assert_eq!(states(&bench), [(1, State::Optimized)]);
}

fn begins(number: u16, state: AccessState) -> Port {
    Port { identity: port(number), state, preferred: false }
}

#[test]
fn initiators_may_forbid_implicit_changes() {
    let mut bench = bench();
    let page = |enabled: u8| {
        let mut list = vec![0, 0, 0, 0, 0x4a, 1, 0, 28, 4 | enabled];
        list.resize(36, 0);
        list
    };
    let select = [0x15, 0x10, 0, 0, 36, 0];
    assert_eq!(bench.data(1, &[0x1a, 8, 0x0a, 1, 36, 0])[8], 5, "allowed at first");
    assert_eq!(bench.status(1, &select, &page(0)), Status::GOOD);
    assert_eq!(bench.unit.set_access_state(2, AccessState::Standby), Err(AccessError::Forbidden));
    assert_eq!(bench.unit.set_access_state(2, AccessState::Optimized), Ok(()), "that is no change");
    assert_eq!(bench.unit.access_state(2), Some((AccessState::Optimized, false)));
    bench.unit.set_target_port_group_support(TargetPortGroupSupport::Explicit);
    assert_eq!(bench.unit.set_access_state(2, AccessState::Standby), Ok(()), "the bit means nothing without implicit support");
    bench.unit.set_target_port_group_support(TargetPortGroupSupport::Both);
    while heard(&mut bench)[0].is_some() {}
    assert_eq!(bench.status(1, &select, &page(1)), Status::GOOD);
    assert_eq!(bench.unit.set_access_state(2, AccessState::NonOptimized), Ok(()));
}
