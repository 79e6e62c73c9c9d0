//! Mode target.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use admin::code::Code;
use admin::reply::{Answer, Failure, Reply};
use admin::request::{Binding, RunState};
use admin::setting::{self, Key, Parameters, Redirect, TargetSetting};
use admin::view::{ConnectionView, SessionView, TargetParametersView, TargetView};
use target::access::AccessList;

use super::{Context, DONE, DRIVER, reason, unit};
use crate::plane::Session;
use crate::state::{ACCOUNT_LIMIT, State, TARGET_LIMIT, TargetState};
use crate::tracked::Units;

/// Longest name of a target in bytes (RFC 7143 4.2.7.1).
const NAME_MAX: usize = 223;
/// How long a forced delete waits for the sessions it closed.
const CLOSE_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 3000 });
/// How often a waiting request looks.
const WAIT_STEP: Duration = Duration::from_millis(2);

pub fn new(context: &mut Context<'_>, tid: i32, name: &str) -> Reply {
    if tid < 1 {
        return Err(Code::InvalidRequest.because(format!("a target's number is 1 or more, not {tid}")));
    }
    create(&mut context.state, tid, name)?;
    DONE
}

/// Makes a target with its controller at LUN 0.
///
/// # Errors
/// In tgt's order: characters of the name (17), number taken, name taken (9).
pub fn create(state: &mut State, tid: i32, name: &str) -> Result<(), Failure> {
    if name.len() > NAME_MAX {
        return Err(Code::InvalidRequest.because(format!("a target's name has at most {NAME_MAX} bytes, not {}", name.len())));
    }
    if !setting::is_target_name(name) {
        return Err(Code::InvalidRequest.because(format!("a target's name has letters, digits, `:`, `.` and `-` only, not `{name}`")));
    }
    if let Some(taken) = state.targets.get(&tid) {
        return Err(Code::TargetExists.because(format!("number {tid} is taken by target `{}`", taken.name)));
    }
    if let Some(taken) = state.targets.named(name) {
        return Err(Code::TargetExists.because(format!("target {} is called `{name}` already", taken.tid)));
    }
    if state.targets.len() >= TARGET_LIMIT {
        return Err(Code::NoMemory.because(format!("there are {TARGET_LIMIT} targets already")));
    }
    let created = state.next_created();
    let target = TargetState {
        tid,
        name: name.into(),
        created,
        online: true,
        parameters: Parameters::default(),
        nop_interval: state.nop_interval,
        nop_count: state.nop_count,
        redirect: Redirect::default(),
        access: AccessList::default(),
        hosts: Vec::new(),
        incoming: Vec::new(),
        outgoing: None,
        units: Units::new(unit::well_known(state, tid, name)),
    };
    state.targets.insert(tid, target);
    unit::controller(state, tid)
}

pub fn delete(context: &mut Context<'_>, tid: i32, force: bool) -> Reply {
    let created = context.state.targets.get(&tid).ok_or(Code::NoTarget)?.created;
    let sessions = sessions_of(context, tid);
    if !sessions.is_empty() {
        if !force {
            return Err(Code::TargetActive.because(format!("target {tid} has {} session(s): close them first, or use --force", sessions.len())));
        }
        close(context, tid);
        if context.state.targets.get(&tid).is_none_or(|target| target.created != created) {
            return Err(Code::NoTarget.because("somebody else deleted it meanwhile"));
        }
    }
    let luns: Vec<u64> = context.state.targets.get(&tid).map(|target| target.units.keys().rev().copied().collect()).unwrap_or_default();
    for lun in luns {
        unit::remove(context, tid, lun);
    }
    context.state.targets.remove(&tid);
    DONE
}

/// Closes the sessions of a target and waits until the reactors have let go of them. The target takes no login meanwhile: it is offline until it is gone.
fn close(context: &mut Context<'_>, tid: i32) {
    if let Some(target) = context.state.targets.get_mut(&tid) {
        target.online = false;
    }
    context.publish();
    context.plane.close_target(tid);
    let plane = context.plane;
    context.unlocked(|| wait(CLOSE_PATIENCE, || plane.sessions().iter().all(|session| session.tid != tid)));
}

/// Looks again and again until `done`, or until patience has ended: true when it is done.
pub fn wait(patience: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        match done() {
            true => return true,
            false if Instant::now() > deadline => return false,
            false => std::thread::park_timeout(WAIT_STEP),
        }
    }
}

pub fn update(context: &mut Context<'_>, tid: i32, name: &str, value: &str) -> Reply {
    let target = context.state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
    match TargetSetting::parse(name, value)? {
        TargetSetting::State(state) => target.online = state == RunState::Ready,
        TargetSetting::NopInterval(seconds) => target.nop_interval = seconds,
        TargetSetting::NopCount(count) => target.nop_count = count,
        TargetSetting::RedirectAddress(address) => target.redirect.address = Some(address).filter(|text| !text.is_empty()),
        TargetSetting::RedirectPort(port) => target.redirect.port = port,
        TargetSetting::RedirectReason(reason) => target.redirect.reason = Some(reason),
        TargetSetting::RedirectCallback(program) => target.redirect.callback = Some(program).filter(|text| !text.is_empty()),
        TargetSetting::Key(key, value) => target.parameters.set(key, value),
    }
    DONE
}

/// Settings back to those of a new target.
pub fn default(context: &mut Context<'_>, tid: i32, names: &[String]) -> Reply {
    let (nop_interval, nop_count) = (context.state.nop_interval, context.state.nop_count);
    let target = context.state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
    for name in names {
        match name.as_str() {
            "state" => target.online = true,
            "nop_interval" => target.nop_interval = nop_interval,
            "nop_count" => target.nop_count = nop_count,
            "RedirectAddress" => target.redirect.address = None,
            "RedirectPort" => target.redirect.port.clear(),
            "RedirectReason" => target.redirect.reason = None,
            "RedirectCallback" => target.redirect.callback = None,
            name => {
                let key = Key::ALL.iter().copied().find(|key| key.name().eq_ignore_ascii_case(name));
                let key = key.ok_or_else(|| Code::InvalidRequest.because(format!("a target has no setting '{name}'")))?;
                target.parameters.set(key, key.default_value());
            }
        }
    }
    DONE
}

pub fn bind(context: &mut Context<'_>, tid: i32, rules: &[Binding]) -> Reply {
    if !context.state.targets.contains_key(&tid) {
        return Err(Code::NoTarget.into());
    }
    let before = context.state.targets.get(&tid).map(|target| (target.access.clone(), target.hosts.clone()));
    for rule in rules {
        if let Err(failure) = bind_one(&mut context.state, tid, rule) {
            // All or none: who asks again must not be told that half of it exists already.
            if let (Some(target), Some((access, hosts))) = (context.state.targets.get_mut(&tid), before) {
                (target.access, target.hosts) = (access, hosts);
            }
            return Err(failure);
        }
    }
    DONE
}

fn bind_one(state: &mut State, tid: i32, rule: &Binding) -> Result<(), Failure> {
    if let Binding::Host(host) = rule
        && state.targets.values().any(|target| target.hosts.contains(host))
    {
        return Err(Code::BindingExists.because(format!("host {host} is bound already")));
    }
    let target = state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
    let (list, text) = match rule {
        Binding::Host(host) => {
            target.hosts.push(*host);
            return Ok(());
        }
        Binding::Address(text) => (&mut target.access.addresses, text),
        Binding::Name(text) => (&mut target.access.names, text),
    };
    if list.contains(text) {
        return Err(Code::RuleExists.because(format!("target {tid} lets `{text}` in already")));
    }
    if list.len() >= ACCOUNT_LIMIT {
        return Err(Code::NoMemory.because(format!("there are {ACCOUNT_LIMIT} rules already")));
    }
    list.push(text.clone());
    Ok(())
}

pub fn unbind(context: &mut Context<'_>, tid: i32, rules: &[Binding]) -> Reply {
    let active = !context.forced && !sessions_of(context, tid).is_empty();
    let target = context.state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
    for rule in rules {
        let (list, text) = match rule {
            Binding::Host(host) => {
                let place = target.hosts.iter().position(|bound| bound == host).ok_or(Code::NoBinding)?;
                if active {
                    return Err(Code::TargetActive.into());
                }
                target.hosts.remove(place);
                continue;
            }
            Binding::Address(text) => (&mut target.access.addresses, text),
            Binding::Name(text) => (&mut target.access.names, text),
        };
        let place = list.iter().position(|bound| bound == text).ok_or_else(|| no_rule(tid, text, list))?;
        list.remove(place);
    }
    DONE
}

fn no_rule(tid: i32, text: &str, list: &[String]) -> Failure {
    Code::NoRule.because(format!("target {tid} has no rule `{text}`: {}", reason::listed(list)))
}

pub fn show_all(context: &Context<'_>) -> Answer {
    let sessions = context.plane.sessions();
    Answer::Targets(context.state.targets.values().map(|target| view(target, &sessions)).collect())
}

pub fn show_one(context: &Context<'_>, tid: i32) -> Reply {
    let target = context.state.targets.get(&tid).ok_or(Code::NoTarget)?;
    Ok(Answer::TargetParameters(TargetParametersView {
        redirect: target.redirect.clone(),
        nop_interval: target.nop_interval,
        nop_count: target.nop_count,
        parameters: target.parameters.lines(),
    }))
}

fn view(target: &TargetState, sessions: &[Session]) -> TargetView {
    TargetView {
        tid: target.tid,
        name: target.name.clone(),
        driver: DRIVER.into(),
        state: if target.online { RunState::Ready } else { RunState::Offline },
        nop_interval: target.nop_interval,
        nop_count: target.nop_count,
        sessions: sessions.iter().rev().filter(|session| session.tid == target.tid).map(session_view).collect(),
        units: target.units.iter().map(|(&lun, state)| unit::view(lun, state)).collect(),
        incoming: target.incoming.clone(),
        outgoing: target.outgoing.clone(),
        addresses: target.access.addresses.clone(),
        names: target.access.names.clone(),
    }
}

/// A session as it is shown.
pub fn session_view(session: &Session) -> SessionView {
    SessionView {
        sid: session.sid,
        initiator: session.initiator.clone(),
        alias: session.alias.clone(),
        connections: session.connections.iter().map(|(peer, row)| connection_view(*peer, row.cid)).collect(),
    }
}

fn connection_view(peer: SocketAddr, cid: u32) -> ConnectionView {
    ConnectionView { cid, address: peer.ip().to_canonical().to_string() }
}

/// Sessions of a target, oldest first.
pub fn sessions_of(context: &Context<'_>, tid: i32) -> Vec<Session> {
    let mut sessions = context.plane.sessions();
    sessions.retain(|session| session.tid == tid);
    sessions
}
