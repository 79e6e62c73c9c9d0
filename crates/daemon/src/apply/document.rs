//! The running configuration as a document, and a document as the running configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use admin::code::Code;
use admin::document::plan::{Change, PlanView, Running, plan};
use admin::document::{Account, Discovery, Document, Fault, Isns, KeyValue, Redirect, Secret, Size, System, Target, Unit, UnitType};
use admin::portal::Portal;
use admin::reply::{Answer, Failure, Reply};
use admin::request::{Request, RunState, UnitNew, UnitSwap};
use store::Store;

use super::{Context, OpenMedia, dispatch, error, reason, unit};
use crate::state::{State, StoreFlags, TargetState, UnitState};

/// Most problems of a document that a refusal tells.
const TOLD: usize = 10;

pub fn show(context: &Context<'_>, secrets: bool) -> Answer {
    let mut document = dump(&context.state).document;
    if !secrets {
        document.forget_secrets();
    }
    Answer::Document(Box::new(document))
}

/// Everything that is configured.
pub fn dump(state: &State) -> Running {
    let password = |account: &iscsi::Account| Secret(String::from_utf8_lossy(&account.password).into_owned());
    let account = |account: &iscsi::Account| Account { user: account.user.clone(), password: Some(password(account)), password_file: None };
    let mut document = Document {
        portals: Some(state.portals.iter().chain(&state.stopped_portals).map(ToString::to_string).collect()),
        system: Some(System { state: run_state(state.online), debug: state.debug, nop_interval: state.nop_interval, nop_count: state.nop_count }),
        isns: Some(Isns {
            enabled: state.isns.enabled,
            server: state.isns.server.clone(),
            port: state.isns.port,
            access_control: state.isns.access_control,
        }),
        accounts: state.accounts.iter().map(account).collect(),
        discovery: Discovery { incoming: state.discovery_incoming.clone(), outgoing: state.discovery_outgoing.clone() },
        targets: state.targets.values().map(|one| target(state, one)).collect(),
        faults: Vec::new(),
    };
    let mut rules: BTreeMap<(i32, u64), Vec<u64>> = BTreeMap::new();
    // TOML has no larger numbers, and no unit has one.
    for line in error::lines(state).into_iter().filter(|line| i64::try_from(line.lun).is_ok()) {
        rules.entry((line.tid, line.lun)).or_default().push(line.index);
        document.faults.push(Fault { tid: line.tid, lun: line.lun, rule: line.rule });
    }
    // Rules find their units, and what a new unit has anyway goes.
    Running { document: document.settled(&Document::default()), rules }
}

/// What has to be kept for the next start: everything but the portals that the command line opens anyway.
pub fn to_keep(state: &State) -> Document {
    let mut document = dump(state).document;
    let fixed =
        |text: &String| Portal::parse(text).ok().and_then(|portal| portal.numeric()).is_some_and(|address| state.fixed_portals.contains(&address));
    document.portals.iter_mut().for_each(|portals| portals.retain(|portal| !fixed(portal)));
    document
}

fn run_state(online: bool) -> RunState {
    if online { RunState::Ready } else { RunState::Offline }
}

fn target(state: &State, target: &TargetState) -> Target {
    Target {
        name: target.name.clone(),
        tid: Some(target.tid),
        state: run_state(target.online),
        allow: target.access.addresses.clone(),
        initiators: target.access.names.clone(),
        hosts: target.hosts.clone(),
        incoming: target.incoming.clone(),
        outgoing: target.outgoing.clone(),
        nop_interval: Some(target.nop_interval).filter(|seconds| *seconds != state.nop_interval),
        nop_count: Some(target.nop_count).filter(|count| *count != state.nop_count),
        redirect: Redirect {
            address: target.redirect.address.clone(),
            // What is no port means the default, as it does without.
            port: target.redirect.port.parse().ok(),
            reason: target.redirect.reason,
            callback: target.redirect.callback.clone(),
        },
        keys: target.parameters.changed().map(|(key, value)| (key, KeyValue::from_value(key, value))).collect(),
        // The controller at LUN 0 comes with its target.
        units: target.units.iter().filter(|(lun, _)| **lun != 0).map(|(&lun, unit)| described(lun, unit)).collect(),
    }
}

fn described(lun: u64, unit: &UnitState) -> Unit {
    let kind = UnitType::from_number(unit.cell.lock().device().device_type().0).unwrap_or_default();
    // A disk in memory may have been resized since it got its path.
    let size = unit.cell.store().filter(|_| unit.store == "memory").map(|store| Size(store.geometry().bytes));
    Unit {
        lun,
        kind,
        store: Some(unit.store.into()),
        path: unit.path.clone().filter(|_| unit.store != "memory"),
        size,
        flags: unit.flags.list(),
        ..unit.configured.clone()
    }
}

/// Makes the running configuration the given one, wholly or not at all.
pub fn apply(context: &mut Context<'_>, wanted: &Document, dry_run: bool) -> Reply {
    let problems = wanted.check();
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(TOLD);
        let mut lines: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
        lines.extend((more > 0).then(|| format!("and {more} more")));
        return Err(Code::InvalidRequest.because(lines.join("\n")));
    }
    converge(context, wanted, dry_run)
}

/// The same for a document that needs no check, because the daemon has written it.
pub fn converge(context: &mut Context<'_>, wanted: &Document, dry_run: bool) -> Reply {
    let before = dump(&context.state);
    let changes = plan(&before, wanted);
    let result = check(context, wanted, &changes).and_then(|()| media(&context.state, &changes, &Kept::of(&context.state)));
    context.unchanged = changes.is_empty() || dry_run || result.is_err();
    let opened = result?;
    let view = |applied| Ok(Answer::Plan(PlanView { changes: changes.iter().map(|change| change.view.clone()).collect(), applied }));
    if context.unchanged {
        return view(!dry_run);
    }
    let kept = Kept::of(&context.state);
    context.forced = true;
    context.opened = opened;
    let outcome = carry_out(context, &changes).map_err(|(done, failure)| take_back(context, &before.document, &kept, &changes, done, &failure));
    context.forced = false;
    context.opened.clear();
    outcome.and_then(|()| view(true))
}

/// What can be known before anything is changed.
fn check(context: &Context<'_>, wanted: &Document, changes: &[Change]) -> Result<(), Failure> {
    if let Some(account) = wanted.accounts.iter().find(|account| account.password_file.is_some()) {
        let message = format!("account {}: the daemon reads no password_file; `scuzzy apply` does, and sends the password", account.user);
        return Err(Code::InvalidRequest.because(message));
    }
    let requests = || changes.iter().flat_map(|change| &change.requests);
    for request in requests() {
        match request {
            Request::AccountNew { user, password } if password.is_empty() => {
                return Err(Code::InvalidRequest.because(format!("account {user} is new and has neither password nor password_file")));
            }
            Request::FaultNew { tid, lun, .. } if context.state.faults.is_refused() => {
                let message = format!("unit {tid}/{lun} has fault rules, but this daemon was started with --no-faults and refuses every rule");
                return Err(Code::InvalidRequest.because(message));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The stores of running units, by target name and unit number. They outlive their units while a configuration is applied: a unit that is made anew
/// keeps what its medium holds, and so does one that comes back because something else failed.
struct Kept(BTreeMap<(String, u64), Medium>);

struct Medium {
    store: &'static str,
    path: Option<String>,
    flags: StoreFlags,
    open: Arc<dyn Store>,
}

impl Kept {
    fn of(state: &State) -> Kept {
        let units = state.targets.values().flat_map(|target| target.units.iter().map(|(&lun, unit)| (target.name.clone(), lun, unit)));
        let medium = |unit: &UnitState| {
            let open = unit.cell.store()?;
            // A disk in memory is told by its size, however that was written.
            let path = if unit.store == "memory" { Some(Size(open.geometry().bytes).to_string()) } else { unit.path.clone() };
            Some(Medium { store: unit.store, path, flags: unit.flags, open })
        };
        Kept(units.filter_map(|(name, lun, unit)| Some(((name, lun), medium(unit)?))).collect())
    }

    /// The medium of the running unit in this place, when it is the one that is asked for.
    fn find(&self, target: &str, lun: u64, (store, path, flags): (&str, &str, StoreFlags)) -> Option<Arc<dyn Store>> {
        let medium = self.0.get(&(target.to_owned(), lun))?;
        let same = medium.store == store && medium.path.as_deref() == Some(path) && medium.flags == flags;
        same.then(|| medium.open.clone())
    }
}

/// Opens the media of all new units: what cannot be opened is found before anything is changed.
fn media(state: &State, changes: &[Change], kept: &Kept) -> Result<OpenMedia, Failure> {
    let mut names: BTreeMap<i32, &str> = state.targets.values().map(|target| (target.tid, target.name.as_str())).collect();
    let mut opened = OpenMedia::new();
    for (change, request) in changes.iter().flat_map(|change| change.requests.iter().map(move |request| (change, request))) {
        match request {
            Request::TargetNew { tid, name } => {
                names.insert(*tid, name);
            }
            Request::UnitNew(UnitNew { path: None, .. }) => {
                store_of(request)?;
            }
            Request::UnitNew(UnitNew { tid, lun, path: Some(path), .. }) | Request::UnitSwap(UnitSwap { tid, lun, path, .. }) => {
                let failed = |failure: Failure| Failure { detail: format!("{}: {failure}; nothing was changed", change.view.text), ..failure };
                let (store, flags) = store_of(request).map_err(failed)?;
                let known = names.get(tid).and_then(|name| kept.find(name, *lun, (store, path, flags)));
                let medium = known.map_or_else(|| unit::open(store, path, flags), Ok).map_err(failed)?;
                opened.insert((*tid, *lun), medium);
            }
            _ => {}
        }
    }
    Ok(opened)
}

/// Store and flags of a request that opens a medium.
fn store_of(request: &Request) -> Result<(&'static str, StoreFlags), Failure> {
    match request {
        Request::UnitSwap(swap) => unit::store_of(&UnitNew { bstype: swap.bstype.clone(), bsoflags: swap.bsoflags.clone(), ..UnitNew::default() }),
        Request::UnitNew(new) => unit::store_of(new),
        _ => Err(Code::InvalidRequest.into()),
    }
}

/// Carries out changes in order. An error tells how many were done before it, and which request failed.
fn carry_out(context: &mut Context<'_>, changes: &[Change]) -> Result<(), (usize, Failure)> {
    for (done, change) in changes.iter().enumerate() {
        #[cfg(test)]
        if context.budget <= done {
            // Once: going back must not fail as well.
            context.budget = usize::MAX;
            return Err((done, Code::Unknown.because("planted failure")));
        }
        for request in &change.requests {
            if let Err(failure) = dispatch(context, request) {
                return Err((done, reason::explain(context, request, failure)));
            }
        }
    }
    Ok(())
}

/// Goes back to what was before, and tells how far that went.
fn take_back(context: &mut Context<'_>, before: &Document, kept: &Kept, changes: &[Change], done: usize, failure: &Failure) -> Failure {
    let failing = changes.get(done).map(|change| change.view.to_string()).unwrap_or_default();
    let steps = plan(&dump(&context.state), before);
    let result = media(&context.state, &steps, kept).and_then(|opened| {
        context.opened = opened;
        carry_out(context, &steps).map_err(|(at, failure)| {
            let step = steps.get(at).map(|step| step.view.to_string()).unwrap_or_default();
            Failure { detail: format!("{step}: {failure}"), ..failure }
        })
    });
    let what = match (done, result) {
        (0, Ok(())) => "nothing was changed".to_owned(),
        (count, Ok(())) => format!("the {count} changes before it were taken back: everything is as it was"),
        (count, Err(again)) => format!("of the {count} changes before it, not all could be taken back: {again}"),
    };
    Failure { detail: format!("{failing}: {failure}; {what}"), ..failure.clone() }
}

#[cfg(test)]
mod tests;
