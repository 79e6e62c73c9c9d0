//! Keeps the running configuration in the state folder: changes survive a restart.
//!
//! The file is a `scuzzy.toml` with one line before it: format, sequence number and a checksum of the rest. A request that changes something is answered
//! when a file that has the change is durable; changes that wait for a write at the same time share the next one.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use admin::document::{Document, read};
use sha2::{Digest, Sha256};

use crate::state_folder::StateFolder;

/// The running configuration.
pub const CURRENT: &str = "configuration.toml";
/// The one before.
pub const PREVIOUS: &str = "configuration.previous.toml";
/// What a fresh start found.
const ASIDE: &str = "configuration.set-aside.toml";
/// Version of the form of the file.
const FORMAT: u64 = 1;
/// The first line: this, the format, `sequence N`, `sha256 HEX`.
const TITLE: &str = "# The running configuration, kept by the daemon.";

/// Writes configurations.
pub struct Keeper {
    folder: Arc<StateFolder>,
    progress: Mutex<Progress>,
    written: Condvar,
}

struct Progress {
    /// Revision of the state that is durable.
    revision: u64,
    /// Somebody writes.
    busy: bool,
    /// Number of the last file.
    sequence: u64,
    /// Its text, without the first line: what is the same is not written again.
    body: String,
}

impl Keeper {
    /// What the folder holds; `None`: nothing yet.
    ///
    /// # Errors
    /// One line that names the last good copy.
    pub fn open(folder: Arc<StateFolder>, fresh: bool) -> Result<(Keeper, Option<Document>), String> {
        if fresh {
            let moved = folder.set_aside(CURRENT, ASIDE);
            moved.map_err(|error| format!("cannot set {} aside: {error}", folder.path(CURRENT).display()))?;
        }
        let kept = load(&folder, CURRENT).map_err(|why| cure(&folder, &why))?;
        if kept.is_none() && !fresh && folder.path(PREVIOUS).exists() {
            return Err(cure(&folder, "is missing"));
        }
        let (sequence, body, document) = kept.map_or((0, String::new(), None), |kept| (kept.sequence, kept.body, Some(kept.document)));
        let progress = Mutex::new(Progress { revision: 0, busy: false, sequence, body });
        Ok((Keeper { folder, progress, written: Condvar::new() }, document))
    }

    /// Returns when a file is durable that has everything up to `revision`. `snapshot` gives the configuration and its revision.
    ///
    /// # Errors
    /// It cannot be written; the file before is there.
    pub fn keep(&self, revision: u64, snapshot: impl FnOnce() -> (u64, Document)) -> Result<(), String> {
        let mut progress = self.lock();
        loop {
            if progress.revision >= revision {
                return Ok(());
            }
            if !progress.busy {
                break;
            }
            progress = self.written.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        progress.busy = true;
        let sequence = progress.sequence + 1;
        let before = std::mem::take(&mut progress.body);
        drop(progress);
        let (at, document) = snapshot();
        let result = document.to_toml().and_then(|body| self.write(sequence, &before, body));
        let mut progress = self.lock();
        progress.busy = false;
        let outcome = match result {
            Ok(body) => {
                if body != before {
                    progress.sequence = sequence;
                }
                (progress.revision, progress.body) = (at, body);
                Ok(())
            }
            Err(error) => {
                progress.body = before;
                Err(error)
            }
        };
        drop(progress);
        self.written.notify_all();
        outcome
    }

    fn write(&self, sequence: u64, before: &str, body: String) -> Result<String, String> {
        if body != before {
            let text = format!("{}\n{body}", header(sequence, &body));
            let written = self.folder.keep(CURRENT, PREVIOUS).and_then(|()| self.folder.write(CURRENT, text.as_bytes()));
            written.map_err(|error| format!("cannot write {}: {error}", self.folder.path(CURRENT).display()))?;
        }
        Ok(body)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header(sequence: u64, body: &str) -> String {
    format!("{TITLE} format {FORMAT} sequence {sequence} sha256 {}", checksum(body))
}

fn checksum(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file that holds what it should.
struct Kept {
    sequence: u64,
    body: String,
    document: Document,
}

/// Reads a file of the folder. An error says what is wrong with it, after its name.
fn load(folder: &StateFolder, name: &str) -> Result<Option<Kept>, String> {
    let Some(bytes) = folder.read(name, read::FILE_MAX * 2).map_err(|error| format!("cannot be read: {error}"))? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| "is damaged: it is not UTF-8".to_owned())?;
    let (first, body) = text.split_once('\n').ok_or("is damaged: it ends early")?;
    let words: Vec<&str> = first.strip_prefix(TITLE).ok_or("is damaged: its first line is not that of a kept configuration")?.split(' ').collect();
    let ["", "format", format, "sequence", sequence, "sha256", sum] = words.as_slice() else {
        return Err("is damaged: its first line is cut".into());
    };
    match format.parse() {
        Ok(FORMAT) => {}
        Ok(newer) if newer > FORMAT => return Err(format!("was written by a newer version (format {newer}, this one knows {FORMAT})")),
        _ => return Err(format!("is damaged: there is no format `{format}`")),
    }
    let sequence = sequence.parse().map_err(|_| "is damaged: its sequence number is none".to_owned())?;
    if checksum(body) != *sum {
        return Err("is damaged, or was changed by hand: its checksum does not fit".into());
    }
    let document = read::read_unchecked(name, body).map_err(|problems| format!("makes no sense: {problems}"))?;
    Ok(Some(Kept { sequence, body: body.to_owned(), document }))
}

/// What is wrong with the current file, and what can be done.
fn cure(folder: &StateFolder, why: &str) -> String {
    let (current, previous) = (folder.path(CURRENT), folder.path(PREVIOUS));
    let way = match load(folder, PREVIOUS) {
        Ok(Some(kept)) => format!(
            "the last good copy is {} (sequence {}): go back to it with `mv {0} {}`, or start with nothing with --state-fresh",
            previous.display(),
            kept.sequence,
            current.display()
        ),
        _ => "there is no good copy before it: start with nothing with --state-fresh".into(),
    };
    format!("{} {why}; {way}", current.display())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            Place(std::env::temp_dir().join(format!("scuzzy-keeper-{name}-{}", std::process::id())))
        }

        fn open(&self, fresh: bool) -> Result<(Keeper, Option<Document>), String> {
            Keeper::open(Arc::new(StateFolder::open(&self.0).expect("opens")), fresh)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn with_portal(number: u64) -> Document {
        Document { portals: Some(vec![format!("127.0.0.1:{number}")]), ..Document::default() }
    }

    #[test]
    fn what_is_kept_comes_back_and_damage_is_told_with_the_last_good_copy() {
        let place = Place::new("damage");
        let (keeper, found) = place.open(false).expect("opens");
        assert_eq!(found, None);
        keeper.keep(1, || (1, with_portal(1))).expect("keeps");
        keeper.keep(2, || (2, with_portal(2))).expect("keeps");
        keeper.keep(2, || panic!("that is kept already")).expect("keeps");
        drop(keeper);
        assert_eq!(place.open(false).expect("opens").1, Some(with_portal(2)));
        let current = place.0.join(CURRENT);
        let good = std::fs::read_to_string(&current).expect("reads");
        let refused = |text: &str| {
            std::fs::write(&current, text).expect("writes");
            let told = place.open(false).map(|_| ()).expect_err("refused");
            assert_eq!(told.lines().count(), 1, "{told}");
            assert!(told.contains("configuration.previous.toml (sequence 1): go back to it with `mv ") && told.contains("--state-fresh"), "{told}");
            told
        };
        assert!(refused(&good.replace(":2\"", ":3\"")).contains("changed by hand: its checksum does not fit"));
        assert!(refused(&good[..good.len() - 3]).contains("is damaged"));
        assert!(refused("").contains("is damaged: it ends early"));
        assert!(refused(&good.replace("format 1", "format 2")).contains("was written by a newer version (format 2, this one knows 1)"));
        std::fs::remove_file(&current).expect("removes");
        assert!(place.open(false).is_err_and(|told| told.contains("is missing; the last good copy is")));
        std::fs::copy(place.0.join(PREVIOUS), &current).expect("copies");
        assert_eq!(place.open(false).expect("opens").1, Some(with_portal(1)));
        assert_eq!(place.open(true).expect("opens").1, None);
        assert!(place.0.join(ASIDE).exists());
    }

    #[test]
    fn changes_that_wait_share_a_write_and_none_is_answered_before_it_is_kept() {
        let place = Place::new("share");
        let (keeper, _) = place.open(false).expect("opens");
        let (keeper, state, snapshots) = (Arc::new(keeper), Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (keeper, state, snapshots) = (keeper.clone(), state.clone(), snapshots.clone());
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        let revision = state.fetch_add(1, Ordering::SeqCst) + 1;
                        let snapshot = || {
                            snapshots.fetch_add(1, Ordering::SeqCst);
                            let now = state.load(Ordering::SeqCst);
                            (now, with_portal(now))
                        };
                        keeper.keep(revision, snapshot).expect("keeps");
                        assert!(keeper.lock().revision >= revision);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let (sequence, snapshots) = (keeper.lock().sequence, snapshots.load(Ordering::SeqCst));
        assert!(sequence <= 160 && snapshots <= 160, "{sequence} writes, {snapshots} snapshots");
        drop(keeper);
        assert_eq!(place.open(false).expect("opens").1, Some(with_portal(160)));
    }
}
