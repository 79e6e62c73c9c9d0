//! How much of everything there may be at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use admin::framing::LINE_MAX;

/// Connections served at once; more wait in the listen queue. Twice what may idle and watch, so that those two cannot fill the house.
pub const CONNECTION_LIMIT: usize = 128;
/// Connections that stay open between two requests. One more is closed after its answer, as all were when a connection carried one request.
pub const IDLE_LIMIT: usize = 32;
/// Watches: a person at each of some screens, and some programs.
pub const WATCH_LIMIT: usize = 32;
/// Requests of all connections that are carried out beside the thread of their connection. When there are more, that thread does one itself, and reads no
/// further meanwhile.
pub const ASIDE_LIMIT: usize = 64;
/// The same of one connection.
pub const ASIDE_PER_CONNECTION: usize = 16;
/// Bytes of unfinished requests of all connections beyond [`FREE_BYTES`] each: four documents of the greatest length.
pub const BYTES_LIMIT: usize = 4 * LINE_MAX;
/// Bytes of a request that every connection may bring without being counted.
pub const FREE_BYTES: usize = 64 << 10;

/// The counts.
#[derive(Default)]
pub struct Places {
    connections: Arc<AtomicUsize>,
    idle: Arc<AtomicUsize>,
    watches: Arc<AtomicUsize>,
    aside: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Places {
    /// A place for a connection.
    pub fn connection(&self) -> Option<Place> {
        take(&self.connections, 1, CONNECTION_LIMIT)
    }

    /// A place to wait for the next request.
    pub fn idle(&self) -> Option<Place> {
        take(&self.idle, 1, IDLE_LIMIT)
    }

    /// A place for a watch.
    pub fn watch(&self) -> Option<Place> {
        take(&self.watches, 1, WATCH_LIMIT)
    }

    /// A place for a request beside its connection, of which `own` are taken by that connection.
    pub fn aside(&self, own: &Arc<AtomicUsize>) -> Option<(Place, Place)> {
        Some((take(own, 1, ASIDE_PER_CONNECTION)?, take(&self.aside, 1, ASIDE_LIMIT)?))
    }

    /// Room for so many bytes of a long request.
    pub fn bytes(&self, count: usize) -> Option<Place> {
        take(&self.bytes, count, BYTES_LIMIT)
    }
}

/// Something taken; given back when dropped.
pub struct Place {
    count: Arc<AtomicUsize>,
    taken: usize,
}

fn take(count: &Arc<AtomicUsize>, wanted: usize, limit: usize) -> Option<Place> {
    let fits = |taken: usize| taken.checked_add(wanted).filter(|&sum| sum <= limit);
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
    Some(Place { count: count.clone(), taken: wanted })
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(self.taken, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let places = Places::default();
        let own = Arc::default();
        let taken: Vec<_> = std::iter::from_fn(|| places.aside(&own)).collect();
        assert_eq!(taken.len(), ASIDE_PER_CONNECTION);
        let more: Vec<_> = std::iter::from_fn(|| places.aside(&Arc::default())).collect();
        assert_eq!(more.len(), ASIDE_LIMIT - ASIDE_PER_CONNECTION);
        drop(taken);
        assert!(places.aside(&own).is_some());
        let half = places.bytes(BYTES_LIMIT / 2 + 1);
        assert!(half.is_some() && places.bytes(BYTES_LIMIT / 2).is_none());
        drop(half);
        assert!(places.bytes(BYTES_LIMIT).is_some() && places.bytes(usize::MAX).is_none());
    }
}
