//! What the unit does without a command: an erasure that outlives its command, self-tests and scans in the background.
//!
//! One operation at a time is with the store. Erasing goes first and waits until no command is at the store any more; a self-test makes room for
//! commands; a scan waits until there is none.

use alloc::boxed::Box;
use alloc::sync::Arc;

use scsi::command::Operation;

use crate::device::Device;
use crate::disk::erase::{Erase, PACE};
use crate::disk::scan;
use crate::operation::{Errand, Step, StoreFault, StoreOp, StoreResult};
use crate::primary::diagnostics;

/// What the commands of the unit are doing while it looks for work of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// There are commands.
    pub commands: bool,
    /// One of them has the store read or change the medium.
    pub at_store: bool,
}

/// Whose operation is with the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// Of work that was ended meanwhile: its result means nothing.
    Nobody,
    Erase,
    SelfTest,
    Scan,
    Flush,
}

/// The unit's own work.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    number: u64,
    running: Option<Owner>,
    erase: Option<Box<Erase>>,
    /// The erasure does not go on before this time.
    pause: u64,
    /// BACKGROUND CONTROL: the cache is being written out, until this time at most.
    flush: Option<u64>,
    /// The unit was taken away: it begins nothing any more.
    retired: bool,
}

impl Errands {
    /// An erasure goes on without its command.
    pub(crate) fn erase(&mut self, erase: Box<Erase>) {
        self.pause = 0;
        self.erase = Some(erase);
    }

    /// An erasure is at work that no command waits for.
    pub(crate) fn is_erasing(&self) -> bool {
        self.erase.is_some()
    }

    /// Begins to write the cache out, until that time at most; `None`: ends it.
    pub(crate) fn set_flush(&mut self, until: Option<u64>) {
        self.flush = until;
        if until.is_none() {
            self.disown(Owner::Flush);
        }
    }

    /// The cache is being written out by BACKGROUND CONTROL.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flush.is_some()
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: u64) {
        if self.flush.is_some_and(|until| until <= now) {
            self.set_flush(None);
        }
    }

    /// The self-test ended before its operation did.
    pub(crate) fn disown_self_test(&mut self) {
        self.disown(Owner::SelfTest);
    }

    /// The scan ended before its operation did.
    pub(crate) fn disown_scan(&mut self) {
        self.disown(Owner::Scan);
    }

    /// The erasure is over, without an end of its own.
    pub(crate) fn drop_erase(&mut self) {
        self.erase = None;
        self.disown(Owner::Erase);
    }

    fn disown(&mut self, owner: Owner) {
        if self.running == Some(owner) {
            self.running = Some(Owner::Nobody);
        }
    }
}

impl Device {
    /// Is there, or may there be, something that the unit does on its own? One look before [`poll_errand`](Device::poll_errand).
    #[inline]
    pub fn has_errands(&self) -> bool {
        let errands = &self.errands;
        (errands.erase.is_some() || errands.flush.is_some() || self.diagnostics.is_testing() || self.scan.is_enabled()) && !errands.retired
    }

    /// The next operation that the unit asks for on its own; its end is told by [`errand_ended`](Device::errand_ended).
    pub fn poll_errand(&mut self, traffic: Traffic) -> Option<Errand> {
        if traffic.commands {
            self.scan.disturbed(self.now());
        }
        if self.errands.running.is_some() || self.errands.retired {
            return None;
        }
        let nothing: Arc<[u8]> = Arc::from([]);
        if self.errands.erase.is_some() {
            let waits = traffic.at_store || self.now() < self.errands.pause;
            return if waits { None } else { self.next_erasure() };
        }
        if let Some(op) = diagnostics::next_operation(self, traffic.commands) {
            return Some(Errand { operation: Some(Operation::SendDiagnostic), ..self.send(Owner::SelfTest, op, nothing) });
        }
        if self.errands.flush.is_some() {
            return Some(self.send(Owner::Flush, StoreOp::Flush { offset: 0, len: 0 }, nothing));
        }
        if traffic.commands {
            return None;
        }
        scan::next_operation(self).map(|op| self.send(Owner::Scan, op, nothing))
    }

    /// When to call [`poll_errand`](Device::poll_errand) again although nothing has happened; `None`: never.
    pub fn errand_due(&self, traffic: Traffic) -> Option<u64> {
        if self.errands.running.is_some() || self.errands.retired {
            return None;
        }
        if self.errands.erase.is_some() {
            return Some(self.errands.pause).filter(|&pause| pause > self.now());
        }
        self.diagnostics.due().or_else(|| scan::due(self).filter(|_| !traffic.commands))
    }

    /// The operation of an errand ended. One that is not expected is ignored.
    pub fn errand_ended(&mut self, number: u64, result: StoreResult) {
        if number != self.errands.number {
            return;
        }
        match self.errands.running.take() {
            Some(Owner::Erase) => self.erasure_ended(result),
            Some(Owner::SelfTest) => diagnostics::operation_ended(self, &result),
            Some(Owner::Scan) => scan::operation_ended(self, &result),
            Some(Owner::Flush) => {
                self.errands.flush = None;
                if let Err(fault) = result {
                    crate::disk::fault::flush_fault(self, 0, fault);
                }
            }
            Some(Owner::Nobody) | None => {}
        }
    }

    /// An erasure is at work that no command waits for: no command may use the medium, not even one that passed the gates before.
    #[inline]
    pub fn is_erasing_alone(&self) -> bool {
        self.errands.is_erasing()
    }

    /// Why [`is_erasing_alone`](Device::is_erasing_alone) keeps commands from the medium.
    pub fn erasing_sense(&self) -> Option<scsi::Sense> {
        self.erasure.map(crate::disk::erase::Erasure::sense)
    }

    /// The unit was taken away from its target: it begins nothing any more on its own.
    pub fn retire(&mut self) {
        self.errands.retired = true;
    }

    /// Status of the background operation log page (SBC-4): none is at work, or one that BACKGROUND CONTROL began.
    pub(crate) fn background_operation_status(&self) -> u8 {
        if self.errands.is_flushing() { 2 } else { 1 }
    }

    fn next_erasure(&mut self) -> Option<Errand> {
        let mut erase = self.errands.erase.take()?;
        let step = erase.next(self);
        let (list, guard, operation) = (erase.list(), erase.guard(self), Some(erase.operation()));
        let Step::Store(op) = step else { return None };
        self.errands.erase = Some(erase);
        if self.holds(&op) {
            return Some(Errand { guard, operation, ..self.send(Owner::Erase, op, list) });
        }
        self.erasure_ended(Err(StoreFault::OutOfRange));
        None
    }

    fn erasure_ended(&mut self, result: StoreResult) {
        let Some(mut erase) = self.errands.erase.take() else { return };
        self.errands.pause = if erase.is_paced() { self.now().saturating_add(PACE) } else { 0 };
        if let Step::Store(_) = erase.stored(self, result) {
            self.errands.erase = Some(erase);
        }
    }

    fn send(&mut self, owner: Owner, op: StoreOp, payload: Arc<[u8]>) -> Errand {
        self.errands.number += 1;
        self.errands.running = Some(owner);
        Errand { number: self.errands.number, op, operation: None, guard: None, payload }
    }
}
