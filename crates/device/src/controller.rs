//! The controller at LUN 0 (SCC): the unit that is always there, so that an initiator finds something to ask. It has no medium; the original answers
//! VERIFY on it like TEST UNIT READY, and so do we.

use scsi::command::Operation;
use scsi::{Asc, Outcome, Sense};

use crate::device::Device;
use crate::operation::{Request, Step};
use crate::primary;
use crate::progress::State;

/// First and last step of a command on the controller.
pub(crate) fn begin(device: &mut Device, request: &Request<'_>) -> (State, Step) {
    if let Some(first) = primary::begin(device, request) {
        return first;
    }
    let outcome = match request.row.operation {
        Operation::Verify10 | Operation::Verify12 | Operation::Verify16 => primary::test_unit_ready(device),
        _ => Outcome::check(Sense::illegal(Asc::INVALID_OPERATION_CODE)),
    };
    (State::Ended, Step::Finish(outcome))
}
