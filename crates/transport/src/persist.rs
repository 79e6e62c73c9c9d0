//! Who makes durable what units keep over a loss of power: asked by a reactor, answered from another thread, never waited for.

use std::sync::Arc;

use target::TaskRef;

use crate::hub::{Hub, Message};
use crate::model::UnitCell;

/// Keeps what units ask to be kept.
pub trait Persister: Send + Sync {
    /// Begins to make `bytes` durable in place of what the unit kept before; none: that is forgotten. Called on a reactor, so it must return at once.
    fn persist(&self, unit: Arc<UnitCell>, bytes: Vec<u8>, receipt: Receipt);
}

/// The way back to the command that waits. One that is dropped says that nothing was written.
pub struct Receipt {
    to: Option<Box<dyn FnOnce(bool) + Send>>,
}

impl Receipt {
    /// Hands the result to `to`.
    pub fn to_closure(to: impl FnOnce(bool) + Send + 'static) -> Receipt {
        Receipt { to: Some(Box::new(to)) }
    }

    pub(crate) fn to_task(hub: Arc<Hub>, reactor: usize, cell: Arc<UnitCell>, task: TaskRef) -> Receipt {
        // At most one message for each unit: it waits for the answer before it asks again.
        Receipt::to_closure(move |durable| hub.force(reactor, Message::Persisted { cell, task, durable }))
    }

    /// Tells the unit, from any thread: it is durable, or it could not be written and what was kept before is as it was.
    pub fn answer(mut self, durable: bool) {
        self.send(durable);
    }

    fn send(&mut self, durable: bool) {
        if let Some(to) = self.to.take() {
            to(durable);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.send(false);
    }
}
