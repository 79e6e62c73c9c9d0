//! A few threads for file operations that block.
//!
//! Jobs carry raw pointers: the driver keeps the buffer in its table until the job's end has come back, and ends the threads before it drops the table.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use store::blocking;

use crate::mailbox::Waker;

/// Threads of one driver: O_DIRECT at depth wants many (4 measured far worse than 16), page-cache hits few; eight per reactor is the compromise.
const THREADS: usize = 8;

/// What to do. Pointers are to buffers that the driver holds until the job has ended.
pub enum Job {
    Read { file: RawFd, offset: u64, data: *mut u8, len: usize },
    Write { file: RawFd, offset: u64, data: *const u8, len: usize, sync: bool },
    Sync { file: RawFd },
    Discard { file: RawFd, offset: u64, len: u64, block_device: bool },
    Zero { file: RawFd, offset: u64, len: u64, block_device: bool, sync: bool },
}

// SAFETY: the pointers are used by one thread at a time: the driver touches the buffer only before `push` and after the job's end came back through a mutex.
unsafe impl Send for Job {}

/// A job's end.
pub struct Finished {
    pub id: u64,
    pub result: Result<usize, i32>,
}

/// The threads and their queues. Threads start when there is more work than idle threads.
pub struct Workers {
    common: Arc<Common>,
    threads: Vec<JoinHandle<()>>,
}

struct Common {
    queue: Mutex<Queue>,
    /// Threads with a job: raised under the queue's lock, lowered before the job's end can be seen, so that its thread counts as free by then.
    running: AtomicUsize,
    available: Condvar,
    finished: Mutex<Vec<Finished>>,
    waker: Waker,
}

struct Queue {
    jobs: VecDeque<(u64, Job)>,
    stop: bool,
}

impl Workers {
    /// `waker` is used when the first of some jobs ends.
    pub fn new(waker: Waker) -> Workers {
        let queue = Queue { jobs: VecDeque::new(), stop: false };
        let common =
            Common { queue: Mutex::new(queue), running: AtomicUsize::new(0), available: Condvar::new(), finished: Mutex::new(Vec::new()), waker };
        Workers { common: Arc::new(common), threads: Vec::new() }
    }

    /// Queues a job. Its end comes out of [`Workers::finished`] under `id`.
    pub fn push(&mut self, id: u64, job: Job) {
        let more = {
            let mut queue = lock(&self.common.queue);
            queue.jobs.push_back((id, job));
            queue.jobs.len() + self.common.running.load(Ordering::Acquire) > self.threads.len()
        };
        if more && self.threads.len() < THREADS {
            let common = self.common.clone();
            let name = format!("file-{}", self.threads.len());
            match std::thread::Builder::new().name(name).spawn(move || work(&common)) {
                Ok(thread) => self.threads.push(thread),
                // Without any thread the work is done here: slow, but it ends.
                Err(_) if self.threads.is_empty() => drain_here(&self.common),
                Err(_) => {}
            }
        }
        self.common.available.notify_one();
    }

    /// Moves what ended to `into`.
    pub fn finished(&self, into: &mut Vec<Finished>) {
        into.append(&mut lock(&self.common.finished));
    }

    /// Takes a job back that has not begun.
    pub fn revoke(&self, id: u64) -> bool {
        let mut queue = lock(&self.common.queue);
        let before = queue.jobs.len();
        queue.jobs.retain(|(other, _)| *other != id);
        queue.jobs.len() != before
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        {
            let mut queue = lock(&self.common.queue);
            queue.stop = true;
            queue.jobs.clear();
        }
        self.common.available.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(common: &Common) {
    loop {
        let (id, job) = {
            let mut queue = lock(&common.queue);
            loop {
                if queue.stop {
                    return;
                }
                if let Some(job) = queue.jobs.pop_front() {
                    common.running.fetch_add(1, Ordering::AcqRel);
                    break job;
                }
                queue = common.available.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        };
        let result = run(job);
        common.running.fetch_sub(1, Ordering::AcqRel);
        finish(common, id, result);
    }
}

fn drain_here(common: &Common) {
    loop {
        let Some((id, job)) = lock(&common.queue).jobs.pop_front() else { return };
        finish(common, id, run(job));
    }
}

fn finish(common: &Common, id: u64, result: Result<usize, i32>) {
    let first = {
        let mut finished = lock(&common.finished);
        finished.push(Finished { id, result });
        finished.len() == 1
    };
    if first {
        common.waker.wake();
    }
}

fn run(job: Job) -> Result<usize, i32> {
    match job {
        Job::Read { file, offset, data, len } => {
            // SAFETY: `data` points to `len` initialised bytes of a buffer that the driver holds, untouched, until this job's end has come back.
            let into = unsafe { std::slice::from_raw_parts_mut(data, len) };
            blocking::read(borrow(file), offset, into).map(|()| len)
        }
        Job::Write { file, offset, data, len, sync } => {
            // SAFETY: as above; the bytes are shared for reading only.
            let from = unsafe { std::slice::from_raw_parts(data, len) };
            blocking::write(borrow(file), offset, from, sync).map(|()| len)
        }
        Job::Sync { file } => blocking::sync(borrow(file)).map(|()| 0),
        Job::Discard { file, offset, len, block_device } => blocking::discard(borrow(file), offset, len, block_device).map(|()| 0),
        Job::Zero { file, offset, len, block_device, sync } => blocking::zero(borrow(file), offset, len, block_device, sync).map(|()| 0),
    }
}

fn borrow<'a>(file: RawFd) -> BorrowedFd<'a> {
    // SAFETY: an operation's descriptor stays open until its Done (the owner's promise to `Driver::submit`); -1 never gets here, `submit` refuses it.
    unsafe { BorrowedFd::borrow_raw(file) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
