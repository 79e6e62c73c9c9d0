//! The controller at LUN 0 (SCC): the unit that is always there, so that an initiator finds something to ask. It has no medium; the original answers
//! VERIFY on it like TEST UNIT READY, and so does the command table.

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
    (State::Ended, Step::Finish(Outcome::check(Sense::illegal(Asc::INVALID_OPERATION_CODE))))
}
