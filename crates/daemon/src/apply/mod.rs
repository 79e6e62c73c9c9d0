//! Carries out requests: one typed request in, one typed reply out, whatever front door it came through.
//!
//! The checks come in tgt's order, because scripts tell its error numbers apart. Every change of the model is published as one new snapshot.

mod account;
mod document;
mod driver;
mod error;
mod live;
mod parameter;
mod port_groups;
mod portal;
mod reason;
mod session;
mod system;
mod target;
mod unit;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use admin::code::Code;
use admin::document::Document;
use admin::reply::{Answer, Failure, Reply};
use admin::request::{Envelope, Request};
use admin::view::DriverState;
use fault::journal::Entry;
use parking_lot::{Mutex, MutexGuard};
use store::Store;
use transport::model::{Portal, UnitCell};

use crate::diary::Seen;
use crate::isns::{Admitted, Inputs, Waker};
use crate::keeper::Keeper;
use crate::log::LogControl;
use crate::plane::Plane;
use crate::state::State;

pub use target::create as create_target;
pub use unit::{NewUnit, create as create_unit};

/// Name of the only driver.
pub const DRIVER: &str = "iscsi";

/// The control plane: its state, and the data plane below.
pub struct Control {
    state: Mutex<State>,
    plane: Arc<dyn Plane>,
    log: LogControl,
    /// A request has asked for the end.
    ending: AtomicBool,
    diary: OnceLock<Thread>,
    /// Who keeps the iSNS server informed.
    isns: OnceLock<Waker>,
    /// Who keeps the configuration.
    keeper: OnceLock<Keeper>,
    /// Changes of a configuration that succeed before one fails: for tests.
    #[cfg(test)]
    budget: std::sync::atomic::AtomicUsize,
    /// Ends the daemon.
    end: Box<dyn Fn() + Send + Sync>,
}

/// What a request may touch while it is carried out.
pub(crate) struct Context<'a> {
    pub state: MutexGuard<'a, State>,
    pub plane: &'a dyn Plane,
    pub log: &'a LogControl,
    /// What the data plane must hear after the next publication.
    pub news: Vec<News>,
    /// Set when the daemon must end after the answer.
    pub end: bool,
    /// A whole configuration is applied: what is in use goes, too.
    pub forced: bool,
    /// Media that were opened before anything was changed, by target and unit number.
    pub opened: OpenMedia,
    /// Nothing was changed: there is nothing to publish.
    pub unchanged: bool,
    /// Changes of a configuration that succeed before one fails.
    #[cfg(test)]
    pub budget: usize,
}

/// Media by target and unit number.
pub(crate) type OpenMedia = BTreeMap<(i32, u64), Arc<dyn Store>>;

/// What the data plane must hear once a model is published.
pub(crate) enum News {
    /// A unit is new.
    Added(Arc<UnitCell>),
    /// A unit is gone.
    Removed(Arc<UnitCell>),
}

impl Context<'_> {
    /// Does something that may take long, such as opening a file or waiting for a reactor, while other requests go on. Whatever was looked up in the state
    /// before has to be looked up again. A whole configuration lets nobody in between: it is applied at once.
    pub fn unlocked<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if self.forced { work() } else { MutexGuard::unlocked(&mut self.state, work) }
    }

    /// Publishes the state as it is now, and tells the news.
    pub fn publish(&mut self) {
        let model = crate::publish::model(&mut self.state);
        self.plane.publish(model);
        for news in self.news.drain(..) {
            match news {
                News::Added(unit) => self.plane.unit_added(&unit),
                News::Removed(unit) => self.plane.unit_removed(&unit),
            }
        }
    }
}

/// Success with nothing to tell.
pub(crate) const DONE: Reply = Ok(Answer::Done);

impl Control {
    /// Over this state; publishes it at once.
    pub fn new(mut state: State, plane: Arc<dyn Plane>, log: LogControl, end: Box<dyn Fn() + Send + Sync>) -> Control {
        plane.publish(crate::publish::model(&mut state));
        Control {
            state: Mutex::new(state),
            plane,
            log,
            ending: AtomicBool::new(false),
            diary: OnceLock::new(),
            isns: OnceLock::new(),
            keeper: OnceLock::new(),
            #[cfg(test)]
            budget: std::sync::atomic::AtomicUsize::new(usize::MAX),
            end,
        }
    }

    /// Carries out a request.
    pub fn apply(&self, envelope: &Envelope) -> Reply {
        let mut context = self.context();
        let isns = context.state.isns.enabled;
        let reply = gate(&context, envelope).and_then(|()| dispatch(&mut context, &envelope.request));
        let reply = reply.map_err(|failure| reason::explain(&context, &envelope.request, failure));
        let changed = changes(&envelope.request) && !context.unchanged;
        if changed {
            context.publish();
        } else if !envelope.request.is_read_only() {
            self.plane.note_change();
        }
        if context.end {
            self.ending.store(true, Ordering::Release);
        }
        let revision = configures(&envelope.request).then(|| {
            context.state.revision += 1;
            context.state.revision
        });
        let isns = changed && (isns || context.state.isns.enabled);
        drop(context);
        if let Some(waker) = self.isns.get().filter(|_| isns) {
            waker.wake();
        }
        record(&envelope.request, &reply);
        if let (Request::FaultNew { .. } | Request::Apply { .. }, Some(diary)) = (&envelope.request, self.diary.get()) {
            diary.unpark();
        }
        self.keep(revision, reply)
    }

    /// Has the configuration kept before the answer goes out.
    fn keep(&self, revision: Option<u64>, reply: Reply) -> Reply {
        let (Some(revision), Some(keeper)) = (revision, self.keeper.get()) else { return reply };
        let kept = keeper.keep(revision, || {
            let state = self.lock();
            (state.revision, document::to_keep(&state))
        });
        match kept {
            Ok(()) => reply,
            Err(error) => {
                tracing::error!("the configuration is not kept: {error}");
                reply.and(Err(Code::Unknown.because(format!("it is done, but a restart will not know of it: {error}"))))
            }
        }
    }

    /// From now on the configuration is kept, as it is now at first.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_keeper(&self, keeper: Keeper) -> Result<(), String> {
        let state = self.lock();
        let (revision, document) = (state.revision + 1, document::to_keep(&state));
        drop(state);
        keeper.keep(revision, || (0, document))?;
        // There is one for the life of the daemon.
        let _ = self.keeper.set(keeper);
        Ok(())
    }

    /// Makes the configuration that was kept.
    pub fn restore(&self, document: &Document) -> Reply {
        let mut context = self.context();
        let reply = document::converge(&mut context, document, false);
        context.publish();
        reply
    }

    /// The command line asked for this portal.
    pub fn fix_portal(&self, address: SocketAddr) {
        self.lock().fixed_portals.push(address);
    }

    fn context(&self) -> Context<'_> {
        Context {
            state: self.lock(),
            plane: &*self.plane,
            log: &self.log,
            news: Vec::new(),
            end: false,
            forced: false,
            opened: BTreeMap::new(),
            unchanged: false,
            #[cfg(test)]
            budget: self.budget.load(Ordering::SeqCst),
        }
    }

    /// The next configurations fail after so many changes.
    #[cfg(test)]
    pub fn fail_after(&self, changes: usize) {
        self.budget.store(changes, Ordering::SeqCst);
    }

    /// Who writes fault decisions to the log: woken when a rule is made.
    pub fn set_diary(&self, thread: Thread) {
        // There is one for the life of the daemon; a second would be told nothing.
        let _ = self.diary.set(thread);
    }

    /// Who keeps the iSNS server informed: woken when something has changed.
    pub fn set_isns_waker(&self, waker: Waker) {
        // There is one for the life of the daemon; a second would be told nothing.
        let _ = self.isns.set(waker);
    }

    /// What the iSNS client goes by.
    pub fn isns_inputs(&self) -> Inputs {
        self.lock().isns_inputs()
    }

    /// The iSNS server is connected, or is not.
    pub fn set_isns_connected(&self, connected: bool) {
        self.lock().isns_connected = connected;
    }

    /// What the iSNS server says about initiators; counts from the next login on.
    pub fn set_isns_admitted(&self, admitted: Admitted) {
        let mut state = self.lock();
        *state.isns_admitted = admitted;
        self.plane.publish(crate::publish::model(&mut state));
    }

    /// Fault decisions made since `seen`, which is brought up to date; and whether there are rules that can make more.
    pub fn decisions(&self, seen: &mut Seen) -> (Vec<(i32, u64, Entry)>, bool) {
        let state = self.lock();
        (error::decisions(&state, seen), state.faults.len() > 0)
    }

    /// Ends the daemon if a request has asked for it: called when its answer is on the way.
    pub fn end_if_asked(&self) {
        if self.ending.load(Ordering::Acquire) {
            (self.end)();
        }
    }

    /// Opens a portal: for what the daemon does itself at its start.
    pub fn open_portal(&self, portal: Portal) -> std::io::Result<SocketAddr> {
        let mut state = self.lock();
        port_groups::follow(&mut state, Some(portal.group_tag));
        let opened = self.plane.open_portal(portal)?;
        state.portals.push(Portal { address: opened, ..portal });
        self.plane.publish(crate::publish::model(&mut state));
        Ok(opened)
    }

    /// Number of the last change of model or sessions.
    pub fn edition(&self) -> u64 {
        self.plane.edition()
    }

    /// The control plane is not stuck, and neither is a reactor. Never returns while a request holds the control plane.
    pub fn responds(&self) -> bool {
        drop(self.lock());
        self.plane.turns()
    }

    /// Portals in order of opening.
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.lock().portals.iter().map(|portal| portal.address).collect()
    }

    /// What happens while a request holds the control plane.
    #[cfg(test)]
    pub fn while_stuck(&self, act: impl FnOnce()) {
        let _held = self.lock();
        act();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves a state that is still well-formed: every change is made in one assignment at its end.
        self.state.lock()
    }
}

/// The driver named by a request must exist and, but in driver requests, be ready.
fn gate(context: &Context<'_>, envelope: &Envelope) -> Result<(), Failure> {
    let driver_request = matches!(envelope.request, Request::DriverStart | Request::DriverStop | Request::DriverShow);
    match envelope.driver.as_deref() {
        None => Ok(()),
        Some(DRIVER) if driver_request || context.state.driver == DriverState::Ready => Ok(()),
        Some(name) => Err(Code::NoDriver.because(format!("driver `{name}` is not there or not ready: {DRIVER} is the only one"))),
    }
}

fn dispatch(context: &mut Context<'_>, request: &Request) -> Reply {
    match request {
        Request::SystemShow => system::show(context),
        Request::SystemStat => session::system_stat(context),
        Request::SystemDelete => system::delete(context),
        Request::SystemUpdate { settings } => system::update(context, settings),
        Request::TargetNew { tid, name } => target::new(context, *tid, name),
        Request::TargetDelete { tid, force } => target::delete(context, *tid, *force),
        Request::TargetShow { tid: None } => Ok(target::show_all(context)),
        Request::TargetShow { tid: Some(tid) } => target::show_one(context, *tid),
        Request::TargetStat { tid } => session::target_stat(context, *tid),
        Request::TargetBind { tid, rules } => target::bind(context, *tid, rules),
        Request::TargetUnbind { tid, rules } => target::unbind(context, *tid, rules),
        Request::TargetUpdate { tid, name, value } => target::update(context, *tid, name, value),
        Request::TargetDefault { tid, names } => target::default(context, *tid, names),
        Request::UnitNew(new) => unit::new(context, new),
        Request::UnitDelete { tid, lun, force } => unit::delete(context, *tid, *lun, *force),
        Request::UnitResize { tid, lun, bytes, force } => live::resize(context, *tid, *lun, *bytes, *force),
        Request::UnitSwap(swap) => live::swap(context, swap),
        Request::UnitUpdate { tid, lun, parameters } => parameter::update(context, *tid, *lun, parameters),
        Request::UnitDefault { tid, lun, names } => parameter::default(context, *tid, *lun, names),
        Request::UnitStat { tid, lun } => session::unit_stat(context, *tid, *lun),
        Request::UnitReset { tid, lun } => unit::reset(context, *tid, *lun),
        Request::UnitFailTransition { tid, lun, group } => port_groups::fail(context, *tid, *lun, *group),
        Request::PortalNew(request) => portal::new(context, request),
        Request::PortalDelete(request) => portal::delete(context, request),
        Request::PortalShow => Ok(portal::show(context)),
        Request::DriverStart => driver::start(context),
        Request::DriverStop => driver::stop(context),
        Request::DriverShow => Ok(driver::show(context)),
        Request::SessionStat { sid } => session::stat(context, *sid),
        Request::SessionShow { tid } => session::show_sessions(context, *tid),
        Request::SessionDelete { sid } => session::delete_session(context, *sid),
        Request::ConnectionShow { tid } => session::show(context, *tid),
        Request::ConnectionStat { sid, cid } => session::connection_stat(context, *sid, *cid),
        Request::ConnectionDelete { tid, sid, cid } => session::delete(context, *tid, *sid, *cid),
        Request::AccountNew { user, password } => account::new(context, user, password),
        Request::AccountUpdate { user, password } => account::update(context, user, password),
        Request::AccountDelete { user } => account::delete(context, user),
        Request::AccountShow => Ok(account::show(context)),
        Request::AccountBind { tid, user, outgoing } => account::bind(context, *tid, user, *outgoing),
        Request::AccountUnbind { tid, user, outgoing } => account::unbind(context, *tid, user, *outgoing),
        Request::FaultNew { tid, lun, rule } => error::new(context, *tid, *lun, rule),
        Request::FaultShow => Ok(error::show(context)),
        Request::FaultDelete(selection) => error::delete(context, *selection),
        Request::FaultJournal { tid, lun } => error::journal(context, *tid, *lun),
        Request::Trace { tid, lun, limit } => Ok(session::trace(context, *tid, *lun, *limit)),
        Request::Counters => Ok(session::counters(context)),
        Request::Status => Ok(system::status(context)),
        Request::Watch => Ok(Answer::Edition(context.plane.edition())),
        Request::Dump { secrets } => Ok(document::show(context, *secrets)),
        Request::Apply { document, dry_run } => document::apply(context, document, *dry_run),
    }
}

/// Requests that can change the configuration.
fn configures(request: &Request) -> bool {
    use Request as R;
    let passing = matches!(
        request,
        R::SystemDelete
            | R::UnitReset { .. }
            | R::DriverStart
            | R::DriverStop
            | R::ConnectionDelete { .. }
            | R::SessionDelete { .. }
            | R::Dump { .. }
    );
    !request.is_read_only() && !passing
}

/// Requests that can change what reactors see.
fn changes(request: &Request) -> bool {
    !request.is_read_only() && !matches!(request, Request::FaultNew { .. } | Request::FaultDelete(_) | Request::Dump { .. })
}

/// One log line for each change and each refusal: the audit point of all front doors.
fn record(request: &Request, reply: &Reply) {
    let shown = match request {
        Request::AccountNew { user, .. } => format!("AccountNew {{ user: {user:?} }}"),
        Request::Apply { dry_run, .. } => format!("Apply {{ dry_run: {dry_run} }}"),
        Request::AccountUpdate { user, .. } => format!("AccountUpdate {{ user: {user:?} }}"),
        other => format!("{other:?}"),
    };
    match reply {
        Err(failure) => tracing::info!(request = %shown, code = failure.code.number(), "refused: {failure}"),
        Ok(_) if !request.is_read_only() => tracing::info!(request = %shown, "done"),
        Ok(_) => tracing::debug!(request = %shown, "answered"),
    }
}

#[cfg(test)]
mod doors;
#[cfg(test)]
mod tests;
