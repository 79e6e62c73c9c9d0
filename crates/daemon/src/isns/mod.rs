//! Keeps an iSNS server informed about targets and portals, and lets in only those initiators that it names when access control is on.
//!
//! One thread has all sockets: the connection to the server, a listener of each address family for the server's notifications and inquiries, and what is
//! accepted there. The protocol is [`iscsi::isns`]; this is its shell. Nothing here is waited for by a request or a reactor: the thread looks at the control
//! plane when it is woken, and tells it what it learned. A host name is looked up by a thread of its own, because that may take its time.

mod journal;
mod link;
mod listen;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use admin::view::IsnsView;
use iscsi::isns::{Action, Client, Event, Timing};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use transport::model::Portal;

use crate::apply::Control;
use crate::plane::now;
use journal::Journal;
use link::{Link, Step};
use listen::Listeners;

/// Answers about initiators that come one after the other are published together, but no later than after so many nanoseconds.
const FLUSH_DELAY: u64 = 100_000_000;

/// Initiators that may log in, by target name.
pub type Admitted = BTreeMap<String, Arc<BTreeSet<String>>>;

/// What the control plane says about iSNS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inputs {
    /// What the administrator set; `enabled` is his wish.
    pub settings: IsnsView,
    /// Names of the targets.
    pub targets: BTreeSet<String>,
    /// Open portals in order of opening.
    pub portals: Vec<Portal>,
}

/// Wakes the thread.
#[derive(Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    fn new() -> io::Result<Waker> {
        Ok(Waker(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// The thread looks around soon.
    pub fn wake(&self) {
        // It fails only when the counter is full: then the thread is as good as awake.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes all wakings so far; true when there were some.
    fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

/// The running thread.
pub struct Isns {
    stopping: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Isns {
    /// Starts to follow the control plane's wishes.
    ///
    /// # Errors
    /// When no thread or no event descriptor can be made.
    pub fn start(control: &Arc<Control>, timing: Timing) -> io::Result<Isns> {
        let stopping = Arc::new(AtomicBool::new(false));
        let waker = Waker::new()?;
        // First of all, so that no change is missed after the worker has looked.
        control.set_isns_waker(waker.clone());
        let worker = Worker::new(control.clone(), waker.clone(), stopping.clone(), timing);
        let thread = std::thread::Builder::new().name("isns".into()).spawn(move || worker.run())?;
        Ok(Isns { stopping, waker, thread: Some(thread) })
    }

    /// Takes the registration back, which takes [`Timing::leave`] at most, and ends.
    pub fn stop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // Its only panic would be one of ours, already printed by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Isns {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Worker {
    control: Arc<Control>,
    waker: Waker,
    stopping: Arc<AtomicBool>,
    inputs: Inputs,
    /// The inputs were read since the client heard of them.
    fresh: bool,
    client: Client,
    /// Text and port of the server that the client works for; `None` at rest.
    server: Option<(String, u16)>,
    link: Link,
    listeners: Listeners,
    journal: Journal,
    /// The control plane knows that the server is connected.
    told: bool,
    admitted: Admitted,
    /// `admitted` is to be published then.
    flush_at: Option<u64>,
}

impl Worker {
    fn new(control: Arc<Control>, waker: Waker, stopping: Arc<AtomicBool>, timing: Timing) -> Worker {
        let inputs = control.isns_inputs();
        Worker {
            control,
            link: Link::new(waker.clone()),
            waker,
            stopping,
            inputs,
            fresh: true,
            client: Client::new(timing),
            server: None,
            listeners: Listeners::default(),
            journal: Journal::default(),
            told: false,
            admitted: Admitted::new(),
            flush_at: None,
        }
    }

    fn run(mut self) {
        loop {
            let stopping = self.stopping.load(Ordering::Acquire);
            self.follow(stopping);
            self.pump();
            if self.client.is_stopped() && self.wish(stopping).is_some() {
                // The farewell to one server is over, another one is waiting.
                continue;
            }
            self.tell();
            if stopping && self.client.is_stopped() {
                return;
            }
            self.wait();
            if self.waker.take() {
                self.inputs = self.control.isns_inputs();
                self.fresh = true;
            }
            self.link.lookup_done();
            self.serve();
            self.client.handle_timeout(now());
        }
    }

    /// The server that the administrator wishes for.
    fn wish(&self, stopping: bool) -> Option<(String, u16)> {
        let settings = &self.inputs.settings;
        let wish = settings.enabled && !stopping && !settings.server.is_empty();
        wish.then(|| (settings.server.clone(), settings.port))
    }

    /// Starts, stops and informs the client as the administrator wishes.
    fn follow(&mut self, stopping: bool) {
        let wish = self.wish(stopping);
        if self.inputs.settings.enabled && self.inputs.settings.server.is_empty() {
            self.journal.no_server();
        }
        if self.client.is_stopped() {
            if wish.is_some() {
                self.server = wish;
                self.client.handle_start(now());
            }
        } else if wish != self.server {
            self.client.handle_stop(now());
        } else if let Some(local) = self.link.local().filter(|_| std::mem::take(&mut self.fresh)) {
            let before = self.admitted.len();
            self.admitted.retain(|name, _| self.inputs.targets.contains(name));
            if self.admitted.len() != before {
                self.flush_at = Some(now());
            }
            let wanted = wanted::registration(&self.inputs, local, &mut self.listeners);
            self.client.handle_wanted(wanted, now());
        }
    }

    /// Carries out what the client asks for, until it asks for nothing more.
    fn pump(&mut self) {
        loop {
            let action = self.client.poll_action();
            let step = match action {
                Some(Action::Connect) => {
                    self.link.connect(self.server.as_ref());
                    self.link.advance()
                }
                Some(Action::Close) => {
                    self.link.close();
                    Step::Quiet
                }
                Some(Action::Ended) => {
                    self.end();
                    Step::Quiet
                }
                None => self.link.transmit(&mut self.client),
            };
            self.step(step);
            while let Some(event) = self.client.poll_event() {
                self.event(event);
            }
            if action.is_none() && step == Step::Quiet {
                return;
            }
        }
    }

    /// The client is at rest: nothing of it stays.
    fn end(&mut self) {
        self.server = None;
        self.listeners.close();
        if !self.admitted.is_empty() {
            self.admitted.clear();
            self.flush_at = Some(now());
        }
    }

    /// What became of the connection.
    fn step(&mut self, step: Step) {
        match step {
            Step::Quiet => {}
            Step::Connected(local) => {
                self.journal.connected(self.server.as_ref(), local, now());
                let wanted = wanted::registration(&self.inputs, local, &mut self.listeners);
                self.client.handle_connected(wanted, now());
            }
            Step::Closed => self.client.handle_closed(now()),
        }
    }

    fn event(&mut self, event: Event) {
        let cause = matches!(event, Event::Lost { .. }).then(|| self.link.take_error()).flatten();
        self.journal.event(&event, self.server.as_ref(), cause, now());
        if let Event::Admitted { target, initiators } = event {
            self.admitted.insert(target, initiators);
            self.flush_at.get_or_insert(now() + FLUSH_DELAY);
        }
    }

    /// Tells the control plane what is new.
    fn tell(&mut self) {
        let connected = self.client.is_connected();
        if connected != self.told {
            self.told = connected;
            self.control.set_isns_connected(connected);
        }
        if self.flush_at.is_some_and(|at| now() >= at || !self.client.is_querying()) {
            self.flush_at = None;
            self.control.set_isns_admitted(self.admitted.clone());
        }
    }

    /// Sleeps until a socket is ready, somebody wakes us, or time has passed.
    fn wait(&self) {
        let mut watched: Vec<(BorrowedFd<'_>, PollFlags)> = vec![(self.waker.0.as_fd(), PollFlags::IN)];
        self.link.watch(&mut watched);
        self.listeners.watch(&mut watched, now());
        let mut polled: Vec<PollFd<'_>> = watched.iter().map(|(fd, flags)| PollFd::new(fd, *flags)).collect();
        let deadline = [self.client.poll_timeout(), self.listeners.poll_timeout(), self.flush_at].into_iter().flatten().min();
        let timeout = deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now())));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // An interrupted wait is a short one. Which socket is ready is found out by trying: they are few, and none blocks.
        let _ = poll(&mut polled, timeout.as_ref());
    }

    /// Receives and sends whatever can be received and sent.
    fn serve(&mut self) {
        let step = self.link.advance();
        self.step(step);
        let step = self.link.receive(&mut self.client);
        self.step(step);
        let server = self.link.peer().map(|peer| peer.ip());
        for notice in self.listeners.serve(server, &mut self.journal, now()) {
            self.client.handle_notice(&notice, now());
        }
    }
}
