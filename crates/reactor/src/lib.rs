//! One loop per core: sockets, rings, timers, buffers, mailboxes.
//!
//! The completion model is the common denominator of io_uring, epoll and the simulator: whatever is handed to [`Driver::submit`] is owned by the driver
//! until its [`Done`] comes back, so cancelling is always safe.
//!
//! * [`Pool`], [`Buffer`], [`Shared`]: page-aligned payload memory of one reactor, bounded by a credit.
//! * [`Driver`], [`Op`], [`Done`]: the operations, carried out by [`Uring`], by [`Epoll`], or by the simulator.
//! * [`start`]: chooses a driver as `--io auto|uring|epoll` says.
//! * [`mailbox`], [`Waker`]: bounded queues between reactors.
//! * [`net`]: listening sockets, and errors that name the cure.
//! * [`passed`]: listening sockets that somebody else has opened for this process.

mod buffer;
mod choose;
mod driver;
mod epoll;
mod gather;
mod mailbox;
pub mod net;
pub mod passed;
mod spin;
mod uring;
mod worker;

pub use buffer::{Buffer, LARGEST_BUFFER, Pool, SMALLEST_BUFFER, Shared};
pub use choose::{AnyDriver, IoChoice, Started, start};
pub use driver::{Back, Batch, Counters, Done, Driver, Handle, Op, Token};
pub use epoll::Epoll;
pub use mailbox::{Receiver, Sender, Waker, mailbox};
pub use uring::Uring;
