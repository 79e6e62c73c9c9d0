//! The operations of a ring that the kernel has not answered yet.

use std::ops::{Index, IndexMut};
use std::os::fd::RawFd;

use crate::buffer::{Buffer, Shared};
use crate::driver::Token;
use crate::gather::Sending;

/// All slots, and what is known of sockets by their number.
#[derive(Default)]
pub struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    sockets: Vec<Socket>,
}

#[derive(Clone, Copy, Default)]
pub struct Socket {
    pub recv: Option<u32>,
    pub send: Option<u32>,
    /// The last receive emptied it: waiting comes before trying.
    pub empty: bool,
    /// Closed with the driver.
    pub owned: bool,
}

pub struct Slot {
    pub generation: u32,
    /// Its handle is being closed.
    pub cancelled: bool,
    pub work: Work,
}

/// A file transfer under way; `done` counts what a short one has moved.
#[derive(Clone, Copy)]
pub struct Transfer {
    pub token: Token,
    pub file: RawFd,
    pub offset: u64,
    pub at: usize,
    pub len: usize,
    pub done: usize,
}

pub enum Work {
    Free,
    Bell,
    Accept {
        token: Token,
        listener: RawFd,
    },
    Recv {
        token: Token,
        socket: RawFd,
        buffer: Buffer,
        from: usize,
    },
    Send(Box<Sending>),
    Read {
        transfer: Transfer,
        buffer: Buffer,
    },
    Write {
        transfer: Transfer,
        source: Shared,
        sync: bool,
    },
    /// Sync and discard: nothing to give back, nothing to continue.
    Plain {
        token: Token,
        file: RawFd,
    },
    /// With the worker threads.
    Job {
        token: Token,
        file: RawFd,
    },
    Poll {
        token: Token,
        fd: RawFd,
    },
}

impl Slots {
    pub fn insert(&mut self, work: Work) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self[index].work = work;
                index
            }
            None => {
                self.slots.push(Slot { generation: 0, cancelled: false, work });
                u32::try_from(self.slots.len() - 1).unwrap_or_else(|_| std::process::abort())
            }
        }
    }

    /// Frees a slot and returns what it held.
    pub fn remove(&mut self, index: u32) -> Work {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.cancelled = false;
        self.free.push(index);
        std::mem::replace(&mut slot.work, Work::Free)
    }

    pub fn key(&self, index: u32) -> u64 {
        u64::from(self[index].generation) << 32 | u64::from(index)
    }

    /// The live slot of an answer.
    pub fn slot_of(&self, key: u64) -> Option<u32> {
        let index = u32::try_from(key & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get(index as usize)?;
        (u64::from(slot.generation) == key >> 32 && !matches!(slot.work, Work::Free)).then_some(index)
    }

    pub fn socket(&mut self, handle: RawFd) -> Option<&mut Socket> {
        let index = usize::try_from(handle).ok()?;
        if index >= self.sockets.len() {
            self.sockets.resize(index + 1, Socket::default());
        }
        self.sockets.get_mut(index)
    }

    pub fn handle_of(&self, index: u32) -> RawFd {
        match &self[index].work {
            Work::Free | Work::Bell => -1,
            Work::Accept { listener: handle, .. }
            | Work::Recv { socket: handle, .. }
            | Work::Plain { file: handle, .. }
            | Work::Job { file: handle, .. }
            | Work::Poll { fd: handle, .. } => *handle,
            Work::Send(sending) => sending.socket,
            Work::Read { transfer, .. } | Work::Write { transfer, .. } => transfer.file,
        }
    }

    /// Numbers of all slots, free ones too.
    pub fn numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Whether any slot has a request in the kernel.
    pub fn any_live(&self) -> bool {
        self.slots.iter().any(Slot::is_live)
    }

    /// What is known of a socket, if anything.
    pub fn known(&self, handle: RawFd) -> Option<&Socket> {
        self.sockets.get(usize::try_from(handle).ok()?)
    }

    /// Handles that are closed with the driver.
    pub fn owned(&self) -> impl Iterator<Item = RawFd> {
        self.sockets.iter().enumerate().filter(|(_, socket)| socket.owned).filter_map(|(handle, _)| RawFd::try_from(handle).ok())
    }

    /// Leaks every slot: the kernel still has their buffers.
    pub fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.slots));
    }
}

impl Slot {
    /// Has a request in the kernel.
    pub fn is_live(&self) -> bool {
        !matches!(self.work, Work::Free | Work::Job { .. })
    }
}

impl Index<u32> for Slots {
    type Output = Slot;
    fn index(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }
}

impl IndexMut<u32> for Slots {
    fn index_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_finds_no_slot() {
        let mut slots = Slots::default();
        let first = slots.insert(Work::Poll { token: 1, fd: 5 });
        let key = slots.key(first);
        assert_eq!(slots.slot_of(key), Some(first));
        assert_eq!(slots.handle_of(first), 5);
        slots.remove(first);
        assert_eq!(slots.slot_of(key), None);
        let second = slots.insert(Work::Bell);
        assert_eq!(second, first, "slots are reused");
        assert_eq!(slots.slot_of(key), None);
        assert!(slots.slot_of(slots.key(second)).is_some());
        assert_eq!(slots.slot_of(u64::MAX), None);
        assert!(slots.socket(-1).is_none());
    }
}
