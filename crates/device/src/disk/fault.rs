//! What a store says, in sense data.

use scsi::{Asc, Sense, SenseKey};

use crate::device::{Device, internal_failure};
use crate::guard::Violation;
use crate::operation::StoreFault;

/// LOGICAL BLOCK GUARD CHECK FAILED.
const GUARD_CHECK_FAILED: Asc = Asc(0x1001);
/// LOGICAL BLOCK APPLICATION TAG CHECK FAILED.
const APPLICATION_TAG_CHECK_FAILED: Asc = Asc(0x1002);
/// LOGICAL BLOCK REFERENCE TAG CHECK FAILED.
const REFERENCE_TAG_CHECK_FAILED: Asc = Asc(0x1003);

/// What the command was doing when the store failed: decides the additional sense code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Sense for a failed operation that began at byte `offset` of the medium. INFORMATION is the failing block, when it is known.
pub(crate) fn store_fault(device: &Device, access: Access, offset: u64, fault: StoreFault) -> Sense {
    let block = |at: u64| offset.saturating_add(at) >> device.block_size().shift();
    match fault {
        StoreFault::NoSpace => Sense::new(SenseKey::DATA_PROTECT, Asc::SPACE_ALLOCATION_FAILED),
        StoreFault::ReadOnly => Sense::new(SenseKey::DATA_PROTECT, Asc::WRITE_PROTECTED),
        StoreFault::Io { at } => {
            let asc = if access == Access::Read { Asc::UNRECOVERED_READ_ERROR } else { Asc::WRITE_ERROR };
            let sense = Sense::new(SenseKey::MEDIUM_ERROR, asc);
            at.map_or(sense, |at| sense.with_information(block(at)))
        }
        StoreFault::Unsupported => Sense::illegal(Asc::INVALID_OPERATION_CODE),
        StoreFault::OutOfRange => Sense::illegal(Asc::LBA_OUT_OF_RANGE),
        StoreFault::Protection { at, what } => {
            let asc = match what {
                Violation::Guard => GUARD_CHECK_FAILED,
                Violation::Application => APPLICATION_TAG_CHECK_FAILED,
                Violation::Reference => REFERENCE_TAG_CHECK_FAILED,
            };
            Sense::new(SenseKey::ABORTED_COMMAND, asc).with_information(block(at))
        }
        StoreFault::Gone => Sense::new(SenseKey::NOT_READY, Asc::NOT_READY),
        StoreFault::Injected { key, asc } if key == SenseKey::MEDIUM_ERROR => Sense::new(key, asc).with_information(block(0)),
        StoreFault::Injected { key, asc } => Sense::new(key, asc),
    }
}

/// Sense for a failed flush. The failure is remembered: the store may have dropped what it could not write, and may not say so again.
pub(crate) fn flush_fault(device: &mut Device, offset: u64, fault: StoreFault) -> Sense {
    device.remember_flush_failure(fault);
    match fault {
        StoreFault::Io { at: None } | StoreFault::Unsupported => write_error(),
        other => store_fault(device, Access::Write, offset, other),
    }
}

/// WRITE ERROR without a block: also the answer while a failed flush is remembered.
pub(crate) fn write_error() -> Sense {
    Sense::new(SenseKey::MEDIUM_ERROR, Asc::WRITE_ERROR)
}

/// MISCOMPARE DURING VERIFY OPERATION.
pub(crate) fn miscompare() -> Sense {
    Sense::new(SenseKey::MISCOMPARE, Asc::MISCOMPARE_DURING_VERIFY)
}

/// A store answered something else than it was asked.
pub(crate) fn unexpected() -> Sense {
    internal_failure()
}
