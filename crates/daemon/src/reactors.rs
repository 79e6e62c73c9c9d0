//! The reactor threads: one loop each, with a driver and a server of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use reactor::{AnyDriver, IoChoice};
use transport::hub::Hub;
use transport::iscsi_tcp::Server;

use crate::settings::StartError;

/// Running reactors. Stopped when dropped.
pub struct ReactorThreads {
    hub: Arc<Hub>,
    stop: Arc<AtomicBool>,
    driver: &'static str,
    threads: Vec<JoinHandle<()>>,
}

/// What a reactor tells when its driver has started, or why it has not.
type Started = Result<&'static str, String>;

impl ReactorThreads {
    /// Starts one thread for each reactor of the hub, and waits until all of them turn.
    ///
    /// # Errors
    /// When a thread or its driver cannot be started; those that run are stopped.
    pub fn start(hub: &Arc<Hub>, io: IoChoice) -> Result<ReactorThreads, StartError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut reactors = ReactorThreads { hub: hub.clone(), stop, driver: "none", threads: Vec::new() };
        for index in 0..hub.reactors() {
            let (tell, told) = sync_channel::<Started>(1);
            let (hub, stop) = (hub.clone(), reactors.stop.clone());
            let thread = std::thread::Builder::new().name(format!("reactor-{index}")).spawn(move || serve(&hub, index, io, &stop, &tell));
            reactors.threads.push(thread.map_err(|error| StartError::Reactor(format!("cannot start reactor {index}: {error}")))?);
            let started = told.recv().unwrap_or_else(|_| Err("its thread died".into()));
            reactors.driver = started.map_err(|error| StartError::Reactor(format!("cannot start reactor {index}: {error}")))?;
        }
        Ok(reactors)
    }

    /// Name of the driver they run on.
    pub fn driver(&self) -> &'static str {
        self.driver
    }

    /// Closes all sessions and joins the threads.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.hub.wake_all();
        for thread in self.threads.drain(..) {
            // Its only panic would be one of ours, already printed by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for ReactorThreads {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A reactor's life.
fn serve(hub: &Arc<Hub>, index: usize, io: IoChoice, stop: &AtomicBool, tell: &SyncSender<Started>) {
    let driver = match start_driver(io) {
        Ok(driver) => driver,
        Err(error) => {
            // The starter waits for this word; if it is gone, nobody wants to know.
            let _ = tell.send(Err(error));
            return;
        }
    };
    let name = driver.name();
    let mut server = Server::new(hub.clone(), index, driver, Box::new(entropy));
    if tell.send(Ok(name)).is_ok() {
        server.run(stop);
    }
}

fn start_driver(io: IoChoice) -> Result<AnyDriver, String> {
    let started = reactor::start(io).map_err(|error| error.to_string())?;
    if let Some(why) = started.fallback {
        tracing::info!("{why}");
    }
    Ok(started.driver)
}

/// Random bytes for CHAP challenges. The system's generator does not fail once it has worked, and it has worked for the seed; should it fail all the same, the
/// login that asked is better refused than guessable, so the thread does not go on.
fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "no random bytes: giving up");
        std::process::abort();
    }
    bytes
}
