//! Makes the published model out of the control plane's state.

use std::sync::Arc;

use admin::setting::{Key, RedirectReason};
use admin::view::DriverState;
use iscsi::{Account, Authentication, TargetParameters};
use transport::model::{Model, TargetEntry};
use transport::redirect::{Place, Redirection};

use crate::state::{State, TargetState};

/// A snapshot of the state. Only the entries of targets that have changed since the last one are made; the model shares all others with it.
pub fn model(state: &mut State) -> Model {
    if state.accounts.take_changed() {
        state.targets.mark(|target| !target.incoming.is_empty() || target.outgoing.is_some());
    }
    // Both are asked, so that both forget.
    if state.isns.take_changed() | state.isns_admitted.take_changed() {
        state.targets.mark(|_| true);
    }
    for tid in state.targets.take_changed() {
        let made = state.targets.get(&tid).map(|target| Arc::new(entry(state, target)));
        match made {
            Some(entry) => {
                state.published.targets.insert(tid, entry);
                state.published.made += 1;
            }
            None => drop(state.published.targets.remove(tid)),
        }
    }
    Model {
        online: state.online && state.driver == DriverState::Ready,
        targets: state.published.targets.clone(),
        portals: state.portals.clone(),
        discovery: authentication(state, &state.discovery_incoming, state.discovery_outgoing.as_deref()),
    }
}

/// What reactors see of one target.
pub fn entry(state: &State, target: &TargetState) -> TargetEntry {
    TargetEntry {
        tid: target.tid,
        name: target.name.clone(),
        alias: None,
        online: target.online,
        parameters: parameters(target),
        access: target.access.clone(),
        admitted: state.admitted(&target.name),
        authentication: authentication(state, &target.incoming, target.outgoing.as_deref()),
        redirect: redirect(target),
        units: target.units.cells(),
    }
}

fn authentication(state: &State, incoming: &[String], outgoing: Option<&str>) -> Authentication {
    let account = |user: &str| -> Option<Account> { state.account(user).cloned() };
    Authentication { incoming: incoming.iter().filter_map(|user| account(user)).collect(), outgoing: outgoing.and_then(account) }
}

/// The program decides before the address; an address without a reason sends nobody anywhere, as in tgt.
fn redirect(target: &TargetState) -> Option<Redirection> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(program) = given(&target.redirect.callback) {
        return Some(Redirection::Ask { program });
    }
    let (host, reason) = (given(&target.redirect.address)?, target.redirect.reason?);
    let port = target.redirect.port.parse().unwrap_or(crate::settings::DEFAULT_PORT);
    Some(Redirection::Place(Place { host, port, permanent: reason == RedirectReason::Permanent }))
}

/// Of a target with tgt's names: what it takes in one segment is `MaxRecvDataSegmentLength`.
fn parameters(target: &TargetState) -> TargetParameters {
    let number = |key| target.parameters.number(key);
    let flag = |key| target.parameters.flag(key);
    TargetParameters {
        max_recv_data_segment_length: number(Key::MaxRecvDataSegmentLength),
        header_digest: flag(Key::HeaderDigest),
        data_digest: flag(Key::DataDigest),
        initial_r2t: flag(Key::InitialR2T),
        max_outstanding_r2t: number(Key::MaxOutstandingR2T),
        immediate_data: flag(Key::ImmediateData),
        first_burst_length: number(Key::FirstBurstLength),
        max_burst_length: number(Key::MaxBurstLength),
        data_pdu_in_order: flag(Key::DataPDUInOrder),
        data_sequence_in_order: flag(Key::DataSequenceInOrder),
        error_recovery_level: number(Key::ErrorRecoveryLevel),
        default_time_2_wait: number(Key::DefaultTime2Wait),
        default_time_2_retain: number(Key::DefaultTime2Retain),
        max_connections: number(Key::MaxConnections),
        max_queue_cmd: number(Key::MaxQueueCmd),
        nop_interval: target.nop_interval,
        nop_count: target.nop_count,
    }
}
