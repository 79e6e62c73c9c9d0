//! The bytes of one task: nothing, a buffer being filled, or a filled one that others read too.

use std::sync::Arc;

use reactor::{Buffer, LARGEST_BUFFER, Pool, Shared};

use crate::limits::Limits;

/// Payload of a task. One contiguous buffer; it leaves while a driver has it.
#[derive(Default, Debug)]
pub(crate) enum Payload {
    /// No buffer.
    #[default]
    None,
    /// Ours alone.
    Own(Buffer),
    /// Perhaps read by a driver.
    Shared(Shared),
    /// Parameters that a unit kept; only read.
    Kept(Arc<[u8]>),
}

impl Payload {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::None => &[],
            Payload::Own(buffer) => buffer,
            Payload::Shared(shared) => shared,
            Payload::Kept(bytes) => bytes,
        }
    }

    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// For writing; `None` when there is no buffer or somebody still reads it.
    pub fn own(&mut self) -> Option<&mut Buffer> {
        if let Payload::Shared(_) = self {
            *self = match std::mem::take(self) {
                Payload::Shared(shared) => shared.thaw().map_or_else(Payload::Shared, Payload::Own),
                other => other,
            };
        }
        match self {
            Payload::Own(buffer) => Some(buffer),
            _ => None,
        }
    }

    /// Takes the buffer out for a driver to fill; `None` as in [`Payload::own`].
    pub fn take_own(&mut self) -> Option<Buffer> {
        self.own()?;
        match std::mem::take(self) {
            Payload::Own(buffer) => Some(buffer),
            other => {
                *self = other;
                None
            }
        }
    }

    /// One more reader; from now on nobody writes.
    pub fn share(&mut self) -> Option<Shared> {
        if let Payload::Own(_) = self {
            *self = match std::mem::take(self) {
                Payload::Own(buffer) => Payload::Shared(buffer.freeze()),
                other => other,
            };
        }
        match self {
            Payload::Shared(shared) => Some(shared.clone()),
            _ => None,
        }
    }
}

/// Where the buffers of one reactor come from.
pub(crate) struct Pools {
    /// Data of tasks, on credit: who gets none waits in line.
    pub payload: Pool,
    /// What cannot wait, and is bounded otherwise: staging buffers by the connections, unsolicited data by the command windows, scratch by the jobs.
    pub landing: Pool,
    /// One largest buffer for the task that waits longest: it can always go on, so what waits for it can too.
    pub reserve: Pool,
}

impl Pools {
    pub fn new(limits: &Limits) -> Pools {
        Pools { payload: Pool::new(limits.pool_bytes), landing: Pool::new(limits.landing_bytes), reserve: Pool::new(LARGEST_BUFFER) }
    }
}
