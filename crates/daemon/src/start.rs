//! Starting and ending a daemon.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use admin::document::Document;
use admin::reply::{Answer, Failure, Reply};
use admin::request::{Envelope, Request};
use admin::setting::{Key, Value};
use reactor::passed::Place;
use transport::hub::Hub;
use transport::limits::Limits;
use transport::model::{Model, wide_parameters};

use crate::apply::{self, Control};
use crate::configuration_file;
use crate::control::{Bell, ControlServer};
use crate::diary::Diary;
use crate::faults::FaultBook;
use crate::isns::Isns;
use crate::keeper::{self, Keeper};
use crate::lock;
use crate::log::LogControl;
use crate::plane::Reactors;
use crate::reactors::ReactorThreads;
use crate::redirect::Programs;
use crate::reservation_keeper::ReservationKeeper;
use crate::settings::{MediumSettings, Portal, Settings, StartError, TargetSettings};
use crate::state::{State, StoreFlags};
use crate::state_folder::StateFolder;
use crate::watchdog::Watchdog;

/// Makes running daemons.
pub struct Daemon;

/// A running daemon. Dropping it ends it.
pub struct Running {
    control: Arc<Control>,
    server: Option<ControlServer>,
    diary: Diary,
    isns: Isns,
    watchdog: Option<Watchdog>,
    reactors: ReactorThreads,
    programs: Arc<Programs>,
    control_path: Option<PathBuf>,
    seed: u64,
    end: Mutex<Receiver<()>>,
    stopper: Stopper,
}

/// Asks a daemon to end, from any thread.
#[derive(Clone)]
pub struct Stopper(Sender<()>);

impl Stopper {
    /// [`Running::wait`] returns.
    pub fn request(&self) {
        // Nobody waits any more: the daemon has ended.
        let _ = self.0.send(());
    }
}

/// Gives a daemon another configuration, from any thread.
#[derive(Clone)]
pub struct Reloader(Arc<Control>);

impl Reloader {
    /// Makes the running configuration this one, wholly or not at all.
    pub fn apply(&self, document: Document) -> Reply {
        self.0.apply(&Envelope { driver: None, request: Request::Apply { document: Box::new(document), dry_run: false } })
    }

    /// Reads a file again and makes it the running configuration. What is wrong with it goes to the log, and everything stays as it is.
    pub fn reload(&self, path: &Path) {
        let outcome = configuration_file::load(path).and_then(|document| self.apply(document).map_err(|failure| failure.to_string()));
        match outcome {
            Ok(Answer::Plan(plan)) => tracing::info!(changes = plan.changes.len(), "read {} again", path.display()),
            Ok(_) => {}
            Err(error) => error.lines().for_each(|line| tracing::error!("the configuration stays as it is: {line}")),
        }
    }
}

impl Daemon {
    /// Opens everything and serves. When this returns, initiators can log in and requests are answered.
    ///
    /// # Errors
    /// Whatever could not be opened, as one line; nothing is left open.
    pub fn start(settings: Settings) -> Result<Running, StartError> {
        Daemon::start_with_log(settings, LogControl::default())
    }

    /// The same; `log` lets requests turn debug messages on and off.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with_log(settings: Settings, log: LogControl) -> Result<Running, StartError> {
        let folder = settings.state.as_ref().map(|state| StateFolder::open(&state.folder).map(Arc::new)).transpose().map_err(StartError::Model)?;
        let fresh = settings.state.as_ref().is_some_and(|state| state.fresh);
        let kept = folder.clone().map(|folder| Keeper::open(folder, fresh)).transpose().map_err(StartError::Model)?;
        let (keeper, kept) = kept.map_or((None, None), |(keeper, kept)| (Some(keeper), kept));
        let reservations = folder.map(ReservationKeeper::start).transpose();
        let reservations = reservations.map_err(|error| StartError::Reactor(format!("cannot start the keeper of reservations: {error}")))?;
        if let (Some(_), Some(state), false) = (&kept, &settings.state, settings.targets.is_empty()) {
            let folder = state.folder.display();
            return Err(StartError::Model(format!("{folder} holds a configuration already: start without disks of your own, or with --state-fresh")));
        }
        let socket = control_socket(&settings)?;
        let seed = settings.seed.map_or_else(random_seed, Ok)?;
        let count = settings.reactors.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into)).clamp(1, 256);
        let state = first_state(&settings, seed, reservations.clone())?;
        let hub = Hub::new(Model::new(), count, Limits::default());
        let programs = Arc::new(Programs::new());
        hub.set_redirector(programs.clone());
        if let Some(keeper) = reservations {
            hub.set_persister(keeper);
        }
        let reactors = ReactorThreads::start(&hub, settings.io)?;
        let (sender, receiver) = channel();
        let stopper = Stopper(sender);
        let ended = {
            let stopper = stopper.clone();
            Box::new(move || stopper.request())
        };
        let bell = Arc::new(Bell::default());
        let ring = bell.clone();
        hub.observe(Box::new(move || ring.ring()));
        let plane = Arc::new(Reactors { hub, driver: reactors.driver(), passed: settings.passed.clone() });
        let control = Arc::new(Control::new(state, plane, log, ended));
        configure(&control, &settings, kept.as_ref())?;
        keeper.map_or(Ok(()), |keeper| control.set_keeper(keeper)).map_err(StartError::Model)?;
        let control_path = socket.as_ref().map(|socket| socket.path.clone());
        let server = socket.map(|socket| ControlServer::start(socket, control.clone(), bell)).transpose();
        let server = server.map_err(|error| StartError::Reactor(format!("cannot start the control thread: {error}")))?;
        let diary = Diary::start(&control).map_err(|error| StartError::Reactor(format!("cannot start the diary: {error}")))?;
        let isns = Isns::start(&control, settings.isns).map_err(|error| StartError::Reactor(format!("cannot start the iSNS client: {error}")))?;
        tracing::info!(seed, reactors = count, driver = reactors.driver(), portals = ?control.portals(), "serving");
        let end = Mutex::new(receiver);
        Ok(Running { control, server, diary, isns, watchdog: None, reactors, programs, control_path, seed, end, stopper })
    }
}

impl Running {
    /// Portals that are open now, in order of opening, with the ports that were chosen.
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.control.portals()
    }

    /// The control socket.
    pub fn control_path(&self) -> Option<&Path> {
        self.control_path.as_deref()
    }

    /// Seed of the fault decisions.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// For signal handlers and other threads.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Calls `alive` once in `every`, as long as the control plane and all reactors answer.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn watch(&mut self, every: Duration, alive: impl Fn() + Send + 'static) -> io::Result<()> {
        self.watchdog = Some(Watchdog::start(&self.control, every, alive)?);
        Ok(())
    }

    /// For signal handlers and other threads.
    pub fn reloader(&self) -> Reloader {
        Reloader(self.control.clone())
    }

    /// Waits until someone asks for the end: a [`Stopper`], or a request on the control socket.
    pub fn wait(&self) {
        // An error would mean that no stopper is left, but this value holds one.
        let _ = self.end.lock().unwrap_or_else(PoisonError::into_inner).recv();
    }

    /// Ends: no more requests, no more logins, sessions closed, threads joined.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watchdog = None;
        if let Some(mut server) = self.server.take() {
            server.stop();
        }
        // Nobody is sent here any more before nobody is let in any more.
        self.isns.stop();
        self.programs.stop();
        self.reactors.stop();
        self.diary.stop();
        tracing::info!("ended");
    }
}

/// The passed one, or the one to bind.
fn control_socket(settings: &Settings) -> Result<Option<lock::ControlSocket>, StartError> {
    let mut passed = settings.passed.iter().filter_map(|passed| match &passed.place {
        Place::Control(path) => Some((passed, path)),
        Place::Portal(_) => None,
    });
    match (passed.next(), passed.next()) {
        (None, _) => settings.control.as_deref().map(|path| lock::open(path, &settings.access)).transpose(),
        (Some((socket, path)), None) => lock::take(socket, path, &settings.access).map(Some),
        (Some(_), Some((_, second))) => {
            Err(StartError::Control { path: second.clone(), cause: "two Unix sockets were passed, one is the limit".into() })
        }
    }
}

/// The control plane's state before anybody asks for anything.
fn first_state(settings: &Settings, seed: u64, reservations: Option<Arc<ReservationKeeper>>) -> Result<State, StartError> {
    let faults = FaultBook::new(seed, settings.no_faults);
    let mut state = State::new(seed, faults, settings.nop_interval, settings.nop_count);
    state.reservations = reservations;
    for (tid, target) in (1..).zip(&settings.targets) {
        make_target(&mut state, tid, target, &settings.portals)
            .map_err(|failure| StartError::Model(if failure.detail.is_empty() { failure.to_string() } else { failure.detail }))?;
    }
    Ok(state)
}

fn make_target(state: &mut State, tid: i32, settings: &TargetSettings, portals: &[Portal]) -> Result<(), admin::reply::Failure> {
    apply::create_target(state, tid, &settings.name)?;
    for (lun, disk) in (1..).zip(&settings.disks) {
        let (read_only, protection) = (disk.read_only, disk.protection);
        let (store, path, flags) = match &disk.medium {
            MediumSettings::Memory(bytes) => ("memory", bytes.to_string(), StoreFlags { read_only, protection, ..StoreFlags::default() }),
            MediumSettings::File { path, direct, sync, ephemeral } => {
                let flags = StoreFlags { direct: *direct, sync: *sync, read_only, ephemeral: *ephemeral, protection };
                ("rdwr", path.to_string_lossy().into_owned(), flags)
            }
        };
        // An image is the same disk wherever it is served; a memory disk is one with its portal.
        let identity = match (&disk.medium, portals.first()) {
            (MediumSettings::Memory(_), Some(portal)) => format!("memory at {}", portal.address),
            _ => path.clone(),
        };
        let new = apply::NewUnit { lun, store, path: Some(path), flags, block_size: disk.block_size, identity: Some(identity), opened: None };
        apply::create_unit(state, tid, new)?;
    }
    if let Some(account) = &settings.account {
        state.accounts.push(account.clone());
    }
    if let Some(target) = state.targets.get_mut(&tid) {
        let wide = wide_parameters();
        target.parameters.set(Key::MaxRecvDataSegmentLength, Value::Number(wide.max_recv_data_segment_length));
        target.parameters.set(Key::FirstBurstLength, Value::Number(wide.first_burst_length));
        target.parameters.set(Key::MaxBurstLength, Value::Number(wide.max_burst_length));
        target.access.addresses.clone_from(&settings.allow);
        target.incoming.extend(settings.account.iter().map(|account| account.user.clone()));
    }
    Ok(())
}

/// What was kept, then what the configuration says, then the portals of the command line.
fn configure(control: &Arc<Control>, settings: &Settings, kept: Option<&Document>) -> Result<(), StartError> {
    let told = |failure: Failure| if failure.detail.is_empty() { failure.to_string() } else { failure.detail };
    if let (Some(document), Some(state)) = (kept, &settings.state) {
        let place = state.folder.join(keeper::CURRENT);
        control.restore(document).map_err(|failure| StartError::Model(format!("{}: {}", place.display(), told(failure))))?;
    }
    if let Some(document) = settings.document.as_deref() {
        Reloader(control.clone()).apply(document.clone()).map_err(|failure| StartError::Model(told(failure)))?;
    }
    let open = control.portals();
    let asked = settings.all_portals();
    for portal in asked.iter().filter(|portal| portal.address.port() == 0 || !open.contains(&portal.address)) {
        open_portals(control, &[*portal])?.into_iter().for_each(|address| control.fix_portal(address));
    }
    let told = kept.is_some() || settings.document.as_ref().is_some_and(|document| document.portals.is_some());
    if asked.is_empty() && !told {
        open_portals(control, &settings.default_portals)?;
    }
    Ok(())
}

/// Every portal must open, but for the optional ones, of which at least one must.
fn open_portals(control: &Control, portals: &[Portal]) -> Result<Vec<SocketAddr>, StartError> {
    let mut opened = Vec::new();
    for portal in portals {
        match control.open_portal(transport::model::Portal { address: portal.address, group_tag: portal.group_tag }) {
            Ok(address) => opened.push(address),
            Err(error) if portal.optional => tracing::info!(address = %portal.address, %error, "not listening there"),
            Err(error) => {
                let busy = error.kind() == io::ErrorKind::AddrInUse;
                return Err(StartError::Portal { address: portal.address, cause: error.to_string(), busy });
            }
        }
    }
    Ok(opened)
}

fn random_seed() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| StartError::Reactor(format!("no random seed: {error}; give one with --seed")))?;
    Ok(u64::from_le_bytes(bytes))
}
