//! Writes every fault decision to the log, with its event id.
//!
//! The reactors only note decisions in the journals of the units; this thread reads them from there, so that a log that is slow to write slows no
//! command. Without rules it sleeps.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fault::Action;
use fault::journal::Entry;

use crate::apply::Control;

/// Next event of each unit: target, unit number, place in the order of creation.
pub type Seen = BTreeMap<(i32, u64, u64), u64>;

/// How often the journals are read while there are rules.
const STEP: Duration = Duration::from_millis(100);
/// Most lines of one step: a rule that hits every command of a busy disk must not fill the log. The journals keep what the log leaves out.
const LINES: usize = 50;

/// The running thread.
pub struct Diary {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Diary {
    /// Starts to write.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(control: &Arc<Control>) -> io::Result<Diary> {
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = {
            let (control, stopping) = (control.clone(), stopping.clone());
            std::thread::Builder::new().name("diary".into()).spawn(move || write(&control, &stopping))?
        };
        control.set_diary(thread.thread().clone());
        Ok(Diary { stopping, thread: Some(thread) })
    }

    /// Writes what is left and ends.
    pub fn stop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its only panic would be one of ours, already printed by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write(control: &Control, stopping: &AtomicBool) {
    let mut seen = Seen::new();
    loop {
        let last = stopping.load(Ordering::Acquire);
        let (decisions, more) = control.decisions(&mut seen);
        for (tid, lun, entry) in decisions.iter().take(LINES) {
            tell(*tid, *lun, entry);
        }
        if let Some(left) = decisions.len().checked_sub(LINES + 1) {
            tracing::info!("{} more fault decisions: see the journal", left + 1);
        }
        match (last, more) {
            (true, _) => return,
            (false, true) => std::thread::park_timeout(STEP),
            (false, false) => std::thread::park(),
        }
    }
}

fn tell(tid: i32, lun: u64, entry: &Entry) {
    tracing::info!(
        tid,
        lun,
        rule = entry.rule.0,
        event = entry.event.0,
        nexus = format_args!("{:#x}", entry.nexus),
        ordinal = entry.ordinal,
        operation = entry.operation,
        lba = entry.range.map(|range| range.start.0),
        blocks = entry.range.map(|range| range.count.0),
        pause_ms = entry.pause_ms,
        "fault: {}",
        deed(entry.outcome)
    );
}

/// What was done, in the words of the rule language.
fn deed(action: Action) -> String {
    match action {
        Action::CheckCondition(sense) => {
            format!("CHECK_CONDITION {:x}/{:04x} {}: {}", sense.key.0, sense.asc.0, scsi::explain::key(sense.key), scsi::explain::asc(sense.asc.0))
        }
        Action::Status(status) => status.name().map_or_else(|| format!("status {:02x}h", status.0), Into::into),
        Action::Hang => "HANG".into(),
        Action::DropConnection => "DROP_CONNECTION".into(),
    }
}
