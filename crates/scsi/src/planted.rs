//! Bugs on purpose, for the simulator's checkers to find. Without the feature `planted` the question is a constant `false` and costs nothing.

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Bug {
    /// Commands are delivered in order of arrival, not of CmdSN, and duplicates twice.
    CmdSnUnchecked,
    /// The second R2T of a task starts one byte early.
    R2tOverlaps,
    /// A SCSI Response repeats the StatSN of the one before.
    StatSnRepeats,
    /// A residual is told where there is none.
    ResidualWrong,
    /// COMPARE AND WRITE does not exclude other commands on its blocks.
    CompareAndWriteTorn,
    /// A mode change is not told to the other nexuses.
    AttentionDropped,
    /// ORDERED tasks run as SIMPLE ones.
    OrderIgnored,
    /// A reset drops tasks whose store operation still runs.
    AbortLandsLate,
    /// FUA is not obeyed.
    FuaIgnored,
    /// SYNCHRONIZE CACHE answers without a flush.
    FlushIgnored,
    /// UNMAP and WRITE SAME reach one block too far.
    RangeTooLong,
    /// A fault rule covers the block before its range too.
    FaultOffByOne,
    /// A payload buffer is not given back when a connection breaks.
    BufferLeaks,
    /// A task management function waits for the store for ever.
    FunctionWaitsForever,
    /// ABORT TASK SET ends the commands of all initiators.
    AbortSetTooWide,
    /// ABORT TASK of a command that never came does not take its CmdSN.
    HoleNotPlugged,
    /// A command that a function of its own initiator ended is answered.
    AbortedIsAnswered,
}

impl Bug {
    #[cfg(feature = "planted")]
    const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// All of them.
    pub const ALL: &'static [Bug] = &[
        Bug::CmdSnUnchecked,
        Bug::R2tOverlaps,
        Bug::StatSnRepeats,
        Bug::ResidualWrong,
        Bug::CompareAndWriteTorn,
        Bug::AttentionDropped,
        Bug::OrderIgnored,
        Bug::AbortLandsLate,
        Bug::FuaIgnored,
        Bug::FlushIgnored,
        Bug::RangeTooLong,
        Bug::FaultOffByOne,
        Bug::BufferLeaks,
        Bug::FunctionWaitsForever,
        Bug::AbortSetTooWide,
        Bug::HoleNotPlugged,
        Bug::AbortedIsAnswered,
    ];
}

#[cfg(feature = "planted")]
mod switch {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    /// 0: none; otherwise one more than the bug's place in the list. The only global of the pure crates, and absent from every shipped binary.
    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants one bug, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, Bug::number), Ordering::Relaxed);
    }

    /// Is this bug planted?
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug.number()
    }
}

#[cfg(feature = "planted")]
pub use switch::{is_planted, plant};

/// Is this bug planted?
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}
