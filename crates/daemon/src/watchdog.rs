//! Tells whoever watches this process that it is alive, as long as its parts answer.
//!
//! A process that runs is no proof: a control plane stuck in a request, or a reactor stuck in a turn, answers nobody. Each step asks both first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::apply::Control;

/// The running thread. It is left alone when it is stuck with what it asks: a hanging part must not make the end hang, too.
pub struct Watchdog {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Asks once in `every`, and calls `alive` when all is well.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(control: &Arc<Control>, every: Duration, alive: impl Fn() + Send + 'static) -> io::Result<Watchdog> {
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = {
            let (control, stopping) = (control.clone(), stopping.clone());
            std::thread::Builder::new().name("watchdog".into()).spawn(move || watch(&control, every, &alive, &stopping))?
        };
        Ok(Watchdog { stopping, thread })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

fn watch(control: &Control, every: Duration, alive: &impl Fn(), stopping: &AtomicBool) {
    while !stopping.load(Ordering::Acquire) {
        if control.responds() {
            alive();
        } else {
            tracing::error!("a reactor does not turn: the watchdog is not told that all is well");
        }
        std::thread::park_timeout(every);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::stub;

    const STEP: Duration = Duration::from_millis(1);
    /// Longer than a busy machine needs for a step.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// Many steps: long enough to see that none brings a call.
    const SILENCE: Duration = Duration::from_millis(200);

    fn watched(control: &Arc<Control>) -> (Watchdog, Receiver<()>) {
        let (sender, receiver) = channel();
        let watchdog = Watchdog::start(control, STEP, move || sender.send(()).unwrap_or_default()).expect("starts");
        (watchdog, receiver)
    }

    #[test]
    fn a_hanging_reactor_keeps_it_silent() {
        let (control, stub) = stub::control(false);
        let (_watchdog, calls) = watched(&control);
        assert!(calls.recv_timeout(PATIENCE).is_ok() && calls.recv_timeout(PATIENCE).is_ok());
        stub.hangs.store(true, Ordering::SeqCst);
        // The step that was under way may still call.
        let _ = calls.recv_timeout(SILENCE);
        calls.try_iter().for_each(drop);
        assert!(calls.recv_timeout(SILENCE).is_err());
        stub.hangs.store(false, Ordering::SeqCst);
        assert!(calls.recv_timeout(PATIENCE).is_ok());
    }

    #[test]
    fn a_stuck_control_plane_keeps_it_silent() {
        let (control, _) = stub::control(false);
        control.while_stuck(|| {
            let (_watchdog, calls) = watched(&control);
            assert!(calls.recv_timeout(SILENCE).is_err());
        });
        let (_watchdog, calls) = watched(&control);
        assert!(calls.recv_timeout(PATIENCE).is_ok());
    }
}
