//! Runs the programs of `RedirectCallback`, so that no reactor ever waits for one.
//!
//! Reactors put questions into a bounded queue; a bounded number of threads, which live only while there are questions, take them out. No initiator can use
//! up either: both have a share for each address. A question that is not answered in time is answered with "later", and its program is killed.

mod program;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use transport::redirect::{Question, Redirector, Ticket, Verdict};

/// Programs that run at once: they are waited for, not computed with.
const RUNNING: usize = 8;
/// Of these, for initiators at one address: the others stay for everyone else.
const RUNNING_PER_PEER: usize = 4;
/// Logins that wait for a program to start: a rack of hosts that boot together.
const WAITING: usize = 256;
/// Of these, from one address.
const WAITING_PER_PEER: usize = 64;
/// From the question to its answer; no longer than [`transport::limits::LOOKUP_TIMEOUT`], after which nobody hears it.
const LIMIT: Duration = Duration::from_secs(5);
/// How long the end of the daemon waits for programs that are being killed.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Answers questions by running programs.
pub struct Programs {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// A thread has ended.
    ended: Condvar,
    stopping: AtomicBool,
    limit: Duration,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Programs that run, by the address of the initiator.
    running: BTreeMap<IpAddr, usize>,
    threads: usize,
}

struct Job {
    question: Question,
    ticket: Ticket,
    deadline: Instant,
}

impl Job {
    fn peer(&self) -> IpAddr {
        self.question.peer.ip().to_canonical()
    }
}

impl Programs {
    /// None runs yet.
    pub fn new() -> Programs {
        Programs::with_limit(LIMIT)
    }

    fn with_limit(limit: Duration) -> Programs {
        Programs { shared: Arc::new(Shared { queue: Mutex::default(), ended: Condvar::new(), stopping: AtomicBool::new(false), limit }) }
    }

    /// Kills what runs, answers what waits, takes no more.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        for job in waiting {
            job.ticket.answer(Verdict::Later("the daemon ends".into()));
        }
        let deadline = Instant::now() + END_LIMIT;
        let mut queue = self.shared.lock();
        while queue.threads > 0
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            queue = self.shared.ended.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Redirector for Programs {
    fn ask(&self, question: Question, ticket: Ticket) {
        let peer = question.peer.ip().to_canonical();
        let job = Job { question, ticket, deadline: Instant::now() + self.shared.limit };
        if !self.shared.enqueue(job) {
            return;
        }
        let shared = self.shared.clone();
        let mut queue = self.shared.lock();
        let share = queue.running.get(&peer).copied().unwrap_or_default();
        if queue.threads >= RUNNING || share >= RUNNING_PER_PEER {
            // One of those that run takes it next.
            return;
        }
        queue.threads += 1;
        drop(queue);
        if std::thread::Builder::new().name("redirect".into()).spawn(move || shared.work()).is_err() {
            self.shared.without_thread();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change is made in one step: a panic leaves nothing half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a question into the queue. False: there is no place, and it was told so.
    fn enqueue(&self, job: Job) -> bool {
        let mut queue = self.lock();
        let reason = if self.stopping.load(Ordering::Acquire) {
            "the daemon ends"
        } else if queue.waiting.len() >= WAITING {
            "too many logins wait for a redirection program"
        } else if queue.waiting.iter().filter(|waiting| waiting.peer() == job.peer()).count() >= WAITING_PER_PEER {
            "too many logins of this address wait for a redirection program"
        } else {
            queue.waiting.push_back(job);
            return true;
        };
        drop(queue);
        job.ticket.answer(Verdict::Later(reason.into()));
        false
    }

    /// A thread's work: one question after the other, as long as there is one whose address has its share left. Others are taken by the threads that run
    /// the programs of that address.
    fn work(&self) {
        while let Some(job) = self.next() {
            let peer = job.peer();
            let verdict = program::run(&job.question, job.deadline, &self.stopping);
            job.ticket.answer(verdict);
            let mut queue = self.lock();
            if let Some(running) = queue.running.get_mut(&peer) {
                *running -= 1;
                if *running == 0 {
                    queue.running.remove(&peer);
                }
            }
        }
    }

    /// The next question; `None`: the thread has left the count and must end.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        let free = |queue: &Queue, job: &Job| queue.running.get(&job.peer()).is_none_or(|running| *running < RUNNING_PER_PEER);
        let place = queue.waiting.iter().position(|job| free(&queue, job));
        let Some(job) = place.and_then(|place| queue.waiting.remove(place)) else {
            queue.threads -= 1;
            self.ended.notify_all();
            return None;
        };
        *queue.running.entry(job.peer()).or_default() += 1;
        Some(job)
    }

    /// No thread could be made: what waits is for those there are; without any, nobody would come.
    fn without_thread(&self) {
        let mut queue = self.lock();
        queue.threads -= 1;
        if queue.threads > 0 {
            return;
        }
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        for job in waiting {
            job.ticket.answer(Verdict::Later("no thread for a redirection program".into()));
        }
    }
}

#[cfg(test)]
mod tests;
