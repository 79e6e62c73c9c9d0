//! What a running command remembers between two steps.

use alloc::boxed::Box;

use crate::disk::compare_and_write::CompareAndWrite;
use crate::disk::erase::Erase;
use crate::disk::lba_status::LbaStatus;
use crate::disk::or_write::OrWrite;
use crate::disk::read_write::{Read, Write};
use crate::disk::thresholds::Measurement;
use crate::disk::unmap::Unmap;
use crate::disk::verify::Verify;
use crate::disk::write_same::WriteSame;
use crate::guard::Guard;
use crate::primary::diagnostics::SelfTest;
use crate::primary::mode_select::ModeSelect;
use crate::primary::parameters::ParameterList;
use crate::primary::start_stop::StartStop;

/// A running command. READ and WRITE keep nothing on the heap.
#[derive(Debug)]
pub struct Progress {
    pub(crate) state: State,
    /// Medium the command began with: when it has been exchanged since, no further step touches the new one.
    pub(crate) epoch: u32,
    /// What its store operations do with protection information.
    pub(crate) guard: Option<Box<Guard>>,
}

/// Per command family: where it stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Nothing is left to do.
    Ended,
    Read(Read),
    Write(Write),
    Verify(Verify),
    CompareAndWrite(CompareAndWrite),
    WriteSame(WriteSame),
    Unmap(Box<Unmap>),
    Synchronize {
        offset: u64,
    },
    Prefetch,
    LbaStatus(LbaStatus),
    ModeSelect(Box<ModeSelect>),
    StartStop(StartStop),
    Parameters(Box<ParameterList>),
    SelfTest(Box<SelfTest>),
    OrWrite(OrWrite),
    Erase(Box<Erase>),
    Measurement(Box<Measurement>),
}
