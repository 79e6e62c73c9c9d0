//! Random histories of PERSISTENT RESERVE OUT from six I_T nexuses, against a second implementation that is written as the standard tells it: the same
//! answers, unit attentions, keys, holders and generation, and after each history every command of every nexus meets the reservation as the table says.

use super::change::{Action, Changes, Order, Refusal, World};
use super::*;
use alloc::format;
use device::PortIdentity;
use proptest::prelude::*;
use scsi::command::{Operation, ROWS, ReservationClass};
use scsi::parameter_list::{PersistentReserveOut, RegisterAndMove};
use scsi::{RelativePort, TransportId};
use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec;

/// Initiator and target port.
type Who = (u8, u8);

const INITIATORS: u8 = 3;
const PORTS: [u8; 2] = [1, 2];

#[derive(Clone, Copy, Debug)]
struct Step {
    who: Who,
    action: Action,
    kind: u8,
    key: u64,
    new: u64,
    all_ports: bool,
    /// SPEC_I_PT names this initiator; REGISTER AND MOVE goes to it.
    other: u8,
    named: bool,
    /// REGISTER AND MOVE: UNREG, and the port of the destination.
    unregister: bool,
    port: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Good,
    Conflict,
    Check,
}

/// Unit attentions.
type Heard = BTreeSet<(Who, u16)>;

#[derive(Clone, Debug, Default)]
struct Model {
    keys: BTreeMap<Who, u64>,
    /// Type, and the holder of the types that one nexus holds.
    reservation: Option<(u8, Option<Who>)>,
    generation: u32,
}

impl Model {
    fn step(&mut self, step: &Step) -> (Answer, Heard) {
        match step.action {
            Action::Register | Action::RegisterAndIgnore => self.register(step),
            Action::RegisterAndMove => (self.register_and_move(step), Heard::new()),
            // Nothing is ever lost here.
            Action::ReplaceLost => (Answer::Check, Heard::new()),
            _ if step.named => (Answer::Check, Heard::new()),
            _ if self.keys.get(&step.who) != Some(&step.key) => (Answer::Conflict, Heard::new()),
            Action::Reserve => (self.reserve(step), Heard::new()),
            Action::Release => self.release(step),
            Action::Clear => {
                let heard = self.others(step.who, 0x2a03);
                *self = Model { generation: self.generation + 1, ..Model::default() };
                (Answer::Good, heard)
            }
            Action::Preempt | Action::PreemptAndAbort => self.preempt(step),
        }
    }

    fn register(&mut self, step: &Step) -> (Answer, Heard) {
        let ignores = step.action == Action::RegisterAndIgnore;
        let known = self.keys.contains_key(&step.who);
        let current = self.keys.get(&step.who).copied().unwrap_or(0);
        if ignores && step.named {
            return (Answer::Check, Heard::new());
        }
        if !ignores && step.key != current {
            return (Answer::Conflict, Heard::new());
        }
        if !known && step.new == 0 {
            return (Answer::Good, Heard::new());
        }
        if known && step.named {
            return (Answer::Check, Heard::new());
        }
        let ports: Vec<u8> = if step.all_ports { PORTS.to_vec() } else { vec![step.who.1] };
        let mut heard = Heard::new();
        // The nexus itself first: its port decides the order in which reservations end.
        let mut mine: Vec<Who> = vec![step.who];
        mine.extend(ports.iter().map(|&port| (step.who.0, port)).filter(|who| *who != step.who));
        for who in mine {
            let its = self.keys.get(&who).copied().unwrap_or(0);
            if who != step.who && !ignores && its != step.key {
                continue;
            }
            if step.new == 0 {
                self.unregister(who, &mut heard);
            } else {
                self.keys.insert(who, step.new);
            }
        }
        if step.named {
            for port in ports {
                self.keys.entry((step.other, port)).or_insert(step.new);
            }
        }
        self.generation += 1;
        (Answer::Good, heard)
    }

    fn unregister(&mut self, who: Who, heard: &mut Heard) {
        if self.keys.remove(&who).is_none() {
            return;
        }
        let ends = match self.reservation {
            Some((_, Some(holder))) => holder == who,
            Some((_, None)) => self.keys.is_empty(),
            None => false,
        };
        if ends {
            let (kind, _) = self.reservation.take().unwrap();
            if kind >= 5 {
                heard.extend(self.others(who, 0x2a04));
            }
        }
    }

    fn reserve(&mut self, step: &Step) -> Answer {
        if ![1, 3, 5, 6, 7, 8].contains(&step.kind) {
            return Answer::Check;
        }
        let wanted = (step.kind, (step.kind < 7).then_some(step.who));
        match self.reservation {
            Some(held) if held != wanted => return Answer::Conflict,
            _ => self.reservation = Some(wanted),
        }
        Answer::Good
    }

    fn release(&mut self, step: &Step) -> (Answer, Heard) {
        match self.reservation {
            Some((kind, holder)) if holder.is_none_or(|holder| holder == step.who) => {
                if kind != step.kind {
                    return (Answer::Check, Heard::new());
                }
                self.reservation = None;
                (Answer::Good, if kind >= 5 { self.others(step.who, 0x2a04) } else { Heard::new() })
            }
            _ => (Answer::Good, Heard::new()),
        }
    }

    fn preempt(&mut self, step: &Step) -> (Answer, Heard) {
        let all_hold = matches!(self.reservation, Some((_, None)));
        if step.new == 0 && !all_hold {
            return (Answer::Check, Heard::new());
        }
        let takes_over = match self.reservation {
            Some((_, None)) => step.new == 0,
            Some((_, Some(holder))) => self.keys.get(&holder) == Some(&step.new),
            None => false,
        };
        let mut heard = Heard::new();
        if takes_over {
            if ![1, 3, 5, 6, 7, 8].contains(&step.kind) {
                return (Answer::Check, heard);
            }
            let victims: Vec<Who> =
                self.keys.iter().filter(|(who, key)| **who != step.who && (step.new == 0 || **key == step.new)).map(|(who, _)| *who).collect();
            for victim in victims {
                self.keys.remove(&victim);
                heard.insert((victim, 0x2a05));
            }
            let before = self.reservation.replace((step.kind, (step.kind < 7).then_some(step.who)));
            if before.map(|(kind, _)| kind) != Some(step.kind) {
                heard.extend(self.others(step.who, 0x2a04));
            }
        } else {
            let victims: Vec<Who> = self.keys.iter().filter(|(_, key)| **key == step.new).map(|(who, _)| *who).collect();
            if victims.is_empty() {
                return (Answer::Conflict, heard);
            }
            for victim in victims {
                self.keys.remove(&victim);
                if victim != step.who {
                    heard.insert((victim, 0x2a05));
                }
            }
            if self.keys.is_empty() {
                self.reservation = None;
            }
        }
        self.generation += 1;
        (Answer::Good, heard)
    }

    fn register_and_move(&mut self, step: &Step) -> Answer {
        if self.keys.get(&step.who) != Some(&step.key) {
            return Answer::Conflict;
        }
        let Some((kind, holder)) = self.reservation else { return Answer::Check };
        if holder != Some(step.who) {
            return Answer::Conflict;
        }
        let destination = (step.other, step.port);
        if step.new == 0 || !PORTS.contains(&step.port) || destination == step.who {
            return Answer::Check;
        }
        self.keys.insert(destination, step.new);
        self.reservation = Some((kind, Some(destination)));
        if step.unregister {
            self.keys.remove(&step.who);
        }
        self.generation += 1;
        Answer::Good
    }

    fn others(&self, who: Who, asc: u16) -> Heard {
        self.keys.keys().filter(|other| **other != who).map(|other| (*other, asc)).collect()
    }

    /// SPC-6 table of 5.14: does a command of this class from this nexus conflict?
    fn conflicts(&self, who: Who, reads: bool) -> bool {
        let Some((kind, holder)) = self.reservation else { return false };
        let registered = self.keys.contains_key(&who);
        let exclusive_access = matches!(kind, 3 | 6 | 8);
        let allowed = if kind >= 5 { registered } else { holder == Some(who) };
        !allowed && (exclusive_access || !reads)
    }
}

fn port(number: u8) -> PortIdentity {
    PortIdentity { target_name: String::from("iqn.t"), group_tag: u16::from(number), relative_port: RelativePort(u16::from(number)) }
}

fn identity((initiator, number): Who) -> NexusIdentity {
    NexusIdentity { initiator_name: format!("iqn.{initiator}"), isid: [0, 0, 0, 0, 0, initiator], port: port(number) }
}

fn everybody() -> impl Iterator<Item = Who> {
    (0..INITIATORS).flat_map(|initiator| PORTS.map(|port| (initiator, port)))
}

fn who_is(identity: &NexusIdentity) -> Who {
    everybody().find(|who| self::identity(*who) == *identity).expect("nobody else is registered")
}

fn carry_out(state: &mut Reservations, step: &Step) -> (Answer, Heard) {
    let ports = PORTS.map(port);
    let world = World { ports: &ports, nexuses: &[] };
    let other = TransportId { name: format!("iqn.{}", step.other), isid: Some([0, 0, 0, 0, 0, step.other]) };
    let mut changes = Changes::default();
    let before = state.clone();
    let result = if step.action == Action::RegisterAndMove {
        let list = RegisterAndMove {
            key: step.key,
            service_action_key: step.new,
            unregister: step.unregister,
            aptpl: false,
            relative_port: u16::from(step.port),
            destination: other,
        };
        state.register_and_move(&identity(step.who), &list, false, world)
    } else {
        let list =
            PersistentReserveOut { key: step.key, service_action_key: step.new, spec_i_pt: step.named, all_tg_pt: step.all_ports, aptpl: false };
        let order = Order { action: step.action, scope_and_type: step.kind, list, keeps: false, initiators: &[other] };
        state.out(&identity(step.who), &order, world, &mut changes)
    };
    let heard = changes.announcements.iter().map(|announcement| (who_is(&announcement.identity), announcement.asc.0)).collect();
    match result {
        Ok(()) => (Answer::Good, heard),
        Err(refusal) => {
            assert_eq!(*state, before, "a refusal changes nothing");
            (if matches!(refusal, Refusal::Conflict) { Answer::Conflict } else { Answer::Check }, heard)
        }
    }
}

fn compare(state: &Reservations, model: &Model) {
    assert_eq!((state.generation(), state.registered()), (model.generation, model.keys.len()));
    assert_eq!(state.held().map(|kind| kind as u8), model.reservation.map(|(kind, _)| kind));
    for who in everybody() {
        assert_eq!(state.key(&identity(who)), model.keys.get(&who).copied().unwrap_or(0), "{who:?}");
        let holds = match model.reservation {
            Some((_, Some(holder))) => holder == who,
            Some((_, None)) => model.keys.contains_key(&who),
            None => false,
        };
        assert_eq!(state.relation(&identity(who)) == Relation::Holder, holds, "{who:?}");
    }
}

/// What a command does to the medium as the tables of SPC-4 (5.13.1.8) and SBC-3 (4.17) have it, so far as they name it: not what our rows say.
fn access_by_the_standards(operation: Operation) -> Option<Access> {
    use Operation as Op;
    Some(match operation {
        Op::TestUnitReady | Op::Inquiry | Op::RequestSense | Op::ReportLuns | Op::LogSense => Access::Free,
        Op::ReadCapacity10 | Op::ReadCapacity16 => Access::Free,
        Op::ReportTargetPortGroups | Op::ReportIdentifyingInformation | Op::ReportTimestamp => Access::Free,
        Op::PersistentReserveInReadKeys | Op::PersistentReserveInReadReservation => Access::Free,
        Op::PersistentReserveInReportCapabilities | Op::PersistentReserveInReadFullStatus => Access::Free,
        Op::Read6 | Op::Read10 | Op::Read12 | Op::Read16 | Op::GetLbaStatus16 => Access::Read,
        Op::Verify10 | Op::Verify12 | Op::Verify16 | Op::PreFetch10 | Op::PreFetch16 => Access::Read,
        Op::Write6 | Op::Write10 | Op::Write12 | Op::Write16 | Op::WriteAtomic16 | Op::WriteStream16 => Access::Write,
        Op::WriteAndVerify10 | Op::WriteAndVerify12 | Op::WriteAndVerify16 | Op::OrWrite16 | Op::CompareAndWrite => Access::Write,
        Op::WriteSame10 | Op::WriteSame16 | Op::Unmap | Op::WriteLong10 | Op::WriteLong16 | Op::ReassignBlocks => Access::Write,
        Op::SynchronizeCache10 | Op::SynchronizeCache16 | Op::FormatUnit => Access::Write,
        Op::SanitizeOverwrite | Op::SanitizeBlockErase | Op::SanitizeCryptographicErase | Op::SanitizeExitFailureMode => Access::Write,
        // They take nothing from the medium and still conflict with every type.
        Op::ModeSelect6 | Op::ModeSelect10 | Op::ModeSense6 | Op::ModeSense10 | Op::LogSelect => Access::Write,
        Op::SendDiagnostic | Op::ReceiveDiagnosticResults | Op::ReadBuffer | Op::WriteBuffer => Access::Write,
        Op::SetTargetPortGroups | Op::SetIdentifyingInformation | Op::SetTimestamp | Op::SecurityProtocolOut => Access::Write,
        // START = 0.
        Op::StartStopUnit => Access::Write,
        // PREVENT = 0.
        Op::PreventAllowMediumRemoval => Access::Free,
        _ => return None,
    })
}

fn compare_conflicts(state: &Reservations, model: &Model) {
    for row in ROWS {
        let mut cdb = vec![0u8; row.usage.len()];
        cdb[0] = row.opcode;
        let by_row = match row.reservation {
            ReservationClass::Read => Access::Read,
            ReservationClass::Write => Access::Write,
            ReservationClass::Allowed | ReservationClass::Special => Access::Free,
        };
        let access = access_by_the_standards(row.operation).unwrap_or(by_row);
        for who in everybody() {
            let expected = match row.operation {
                Operation::Reserve6 | Operation::Reserve10 | Operation::Release6 | Operation::Release10 => !model.keys.is_empty(),
                _ => access != Access::Free && model.conflicts(who, access == Access::Read),
            };
            assert_eq!(state.conflict(row, &cdb, NexusId(1), &identity(who)), expected, "{} of {who:?}: {model:?}", row.name);
        }
    }
}

/// What no table of ours names is judged by what its row says that it does: who writes conflicts as a write does.
#[test]
fn rows_that_write_conflict_as_writes() {
    for row in ROWS.iter().filter(|row| row.writes) {
        assert_eq!(row.reservation, ReservationClass::Write, "{}", row.name);
    }
}

fn step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![
        4 => Just(Action::Register),
        4 => Just(Action::RegisterAndIgnore),
        4 => Just(Action::Reserve),
        2 => Just(Action::Release),
        1 => Just(Action::Clear),
        3 => Just(Action::Preempt),
        2 => Just(Action::PreemptAndAbort),
        3 => Just(Action::RegisterAndMove),
        1 => Just(Action::ReplaceLost),
    ];
    let kind = prop_oneof![8 => prop::sample::select(vec![1u8, 3, 5, 6, 7, 8]), 1 => Just(2u8)];
    let who = (0..INITIATORS, prop::sample::select(PORTS.to_vec()));
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), any::<bool>());
    (who, action, kind, 0u64..4, 0u64..4, flags, 0..INITIATORS, prop::sample::select(vec![1u8, 2, 2, 1, 9])).prop_map(
        |(who, action, kind, key, new, (all_ports, named, unregister), other, port)| Step {
            who,
            action,
            kind,
            key,
            new,
            all_ports,
            other,
            named,
            unregister,
            port,
        },
    )
}

/// Most steps name the right key, so that histories get somewhere.
fn play(steps: &[(Step, bool)]) {
    let (mut state, mut model) = (Reservations::new(), Model::default());
    for (step, honest) in steps {
        let mut step = *step;
        if *honest {
            step.key = model.keys.get(&step.who).copied().unwrap_or(0);
        }
        assert_eq!(carry_out(&mut state, &step), model.step(&step), "{step:?}");
        compare(&state, &model);
    }
    compare_conflicts(&state, &model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_agree_with_the_standard(steps in proptest::collection::vec((step(), prop::bool::weighted(0.85)), 0..40)) {
        play(&steps);
    }
}
