//! Bounded queues between reactors, and the wake-up that goes with them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes a reactor from any thread. Waking twice before it looks costs one system call.
#[derive(Clone)]
pub struct Waker {
    inner: Arc<Bell>,
}

struct Bell {
    /// Set: rung and not yet heard.
    rung: AtomicBool,
    /// None: nobody sleeps on it (the simulator looks at the flag).
    event: Option<OwnedFd>,
}

impl Waker {
    /// With an eventfd behind it.
    pub fn new() -> io::Result<Waker> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Waker { inner: Arc::new(Bell { rung: AtomicBool::new(false), event: Some(event) }) })
    }

    /// Only a flag: for a driver that does not sleep.
    pub fn flag() -> Waker {
        Waker { inner: Arc::new(Bell { rung: AtomicBool::new(false), event: None }) }
    }

    /// Wakes.
    pub fn wake(&self) {
        if self.inner.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(event) = &self.inner.event {
            // EAGAIN means that the counter is full, and then it is readable anyway.
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }

    /// Whether it was rung since the last call; the driver's side. Look for mail after this call, never before it.
    pub fn take(&self) -> bool {
        // Always drained: a ringer may have set the flag, been heard, and only then have written.
        if let Some(event) = &self.inner.event {
            let mut counter = [0u8; 8];
            let _ = rustix::io::read(event, &mut counter);
        }
        // Cleared after the read: whoever rings in between finds the flag set and does not write, but its mail is seen by the look that follows.
        self.inner.rung.swap(false, Ordering::AcqRel)
    }

    /// The eventfd, to sleep on.
    pub fn event(&self) -> Option<BorrowedFd<'_>> {
        self.inner.event.as_ref().map(std::os::fd::AsFd::as_fd)
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waker({:?})", self.inner.event.as_ref().map(AsRawFd::as_raw_fd))
    }
}

/// Where letters go in. Clone it for each sender.
pub struct Sender<T> {
    queue: Arc<Queue<T>>,
}

/// Where letters come out.
pub struct Receiver<T> {
    queue: Arc<Queue<T>>,
}

struct Queue<T> {
    letters: Mutex<VecDeque<T>>,
    capacity: usize,
    waker: Waker,
}

/// A queue of at most `capacity` letters; each first letter wakes `waker`.
pub fn mailbox<T>(capacity: usize, waker: Waker) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue { letters: Mutex::new(VecDeque::with_capacity(capacity.min(1024))), capacity, waker });
    (Sender { queue: queue.clone() }, Receiver { queue })
}

impl<T> Sender<T> {
    /// Puts a letter in; a full queue gives it back.
    pub fn send(&self, letter: T) -> Result<(), T> {
        let first = {
            let mut letters = self.queue.letters.lock().unwrap_or_else(PoisonError::into_inner);
            if letters.len() >= self.queue.capacity {
                return Err(letter);
            }
            letters.push_back(letter);
            letters.len() == 1
        };
        if first {
            self.queue.waker.wake();
        }
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { queue: self.queue.clone() }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({:?})", self.queue.waker)
    }
}

impl<T> Receiver<T> {
    /// Moves all letters to the end of `into`, oldest first. Call it after each [`crate::Driver::wait`].
    pub fn take_all(&self, into: &mut Vec<T>) {
        into.extend(self.queue.letters.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
    }

    /// The oldest letter. When the queue is not emptied, nobody wakes for the rest: go on until `None`.
    pub fn try_recv(&self) -> Option<T> {
        self.queue.letters.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({:?})", self.queue.waker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_gives_the_letter_back() {
        let (sender, receiver) = mailbox(2, Waker::flag());
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Ok(()));
        assert_eq!(sender.send(3), Err(3));
        let mut letters = Vec::new();
        receiver.take_all(&mut letters);
        assert_eq!(letters, [1, 2]);
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    fn the_first_letter_rings_once() {
        let waker = Waker::new().unwrap();
        let (sender, receiver) = mailbox(8, waker.clone());
        assert!(!waker.take());
        sender.send('a').unwrap();
        sender.send('b').unwrap();
        assert!(waker.take());
        assert!(!waker.take());
        assert_eq!(receiver.try_recv(), Some('a'));
        assert_eq!(receiver.try_recv(), Some('b'));
        sender.send('c').unwrap();
        assert!(waker.take());
    }
}
