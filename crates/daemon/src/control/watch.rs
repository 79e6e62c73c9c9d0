//! Watching: a line whenever something has changed since the last line.
//!
//! A watcher has no queue. It knows the number of the last change that it told; when the bell rings it tells the newest one. However slow its reader is,
//! nothing gathers, and nobody who changes something waits for it.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;

use admin::json::{self, Id};
use admin::reply::Answer;

/// Wakes the threads that watch. Whoever rings never waits: reactors do.
#[derive(Default)]
pub struct Bell {
    watchers: Mutex<Vec<Thread>>,
}

impl Bell {
    /// Something has changed.
    pub fn ring(&self) {
        self.watchers().iter().for_each(Thread::unpark);
    }

    fn watchers(&self) -> std::sync::MutexGuard<'_, Vec<Thread>> {
        // Threads are added and removed whole.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches on this thread until `closed` is set (and the bell rung). `told`: the number that was told already.
///
/// # Errors
/// When the reader is gone.
pub fn run(
    bell: &Bell,
    stream: &Mutex<UnixStream>,
    id: Option<&Id>,
    mut told: u64,
    edition: impl Fn() -> u64,
    closed: &AtomicBool,
) -> io::Result<()> {
    let me = std::thread::current();
    bell.watchers().push(me.clone());
    let mut result = Ok(());
    while !closed.load(Ordering::Acquire) {
        let newest = edition();
        if newest == told {
            std::thread::park();
            continue;
        }
        let line = json::write_numbered_reply(id, &Ok(Answer::Edition(newest)));
        match write_whole(&mut stream.lock().unwrap_or_else(PoisonError::into_inner), &line) {
            Ok(true) => told = newest,
            // The reader has not taken what it was sent: by the time it does, there may be a newer number.
            Ok(false) => {}
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    bell.watchers().retain(|watcher| watcher.id() != me.id());
    result
}

/// Writes a short line, or nothing of it (false) when the reader is slow.
fn write_whole(stream: &mut UnixStream, line: &[u8]) -> io::Result<bool> {
    match stream.write(line) {
        Ok(count) if count == line.len() => Ok(true),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => Ok(false),
        Err(error) => Err(error),
    }
}
