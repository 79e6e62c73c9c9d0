//! Threads that wait for the next piece of work instead of ending: a new thread has to queue for a processor behind whoever is busy, one that wakes does not.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread without work stays.
const REST: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// Threads for work that may wait. How much work there is at once is the caller's to bound.
#[derive(Default)]
pub struct Crew {
    desk: Mutex<Queue>,
    call: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    resting: usize,
}

impl Crew {
    /// Has the work done, by a thread that rests or by a new one.
    ///
    /// # Errors
    /// When no thread can be made; the work is dropped.
    pub fn run(self: &Arc<Crew>, work: Work) -> io::Result<()> {
        let mut queue = self.queue();
        if queue.resting > queue.waiting.len() {
            queue.waiting.push_back(work);
            drop(queue);
            self.call.notify_one();
            return Ok(());
        }
        drop(queue);
        let crew = self.clone();
        std::thread::Builder::new().name("control-client".into()).spawn(move || {
            work();
            while let Some(work) = crew.next() {
                work();
            }
        })?;
        Ok(())
    }

    /// The next piece of work; `None` when none came for a while.
    fn next(&self) -> Option<Work> {
        let mut queue = self.queue();
        queue.resting += 1;
        let (mut queue, _) = self.call.wait_timeout_while(queue, REST, |queue| queue.waiting.is_empty()).unwrap_or_else(PoisonError::into_inner);
        queue.resting -= 1;
        queue.waiting.pop_front()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No work is done while it is held.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::ThreadId;

    use super::*;

    #[test]
    fn a_thread_that_rests_does_the_next_piece() {
        let crew = Arc::new(Crew::default());
        let (tell, told) = channel::<ThreadId>();
        let work = || {
            let tell = tell.clone();
            Box::new(move || tell.send(std::thread::current().id()).expect("the test waits"))
        };
        let rested = || crew.queue().resting;
        crew.run(work()).expect("a thread");
        let first = told.recv().expect("told");
        crate::stub::house::until(|| rested() == 1);
        crew.run(work()).expect("a thread");
        assert_eq!(told.recv(), Ok(first));
        crate::stub::house::until(|| rested() == 1);
        let (hold, held) = channel::<()>();
        crew.run(Box::new(move || assert!(held.recv().is_err()))).expect("a thread");
        crew.run(work()).expect("a thread");
        assert_ne!(told.recv(), Ok(first), "while it is busy, another is made");
        drop(hold);
    }
}
