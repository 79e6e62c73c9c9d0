//! What the control mode page (SPC-6 7.5.8) says to the task set: TST, QERR, UA_INTLCK. The unit's task manager carries it out.

use crate::cdb::byte;
use crate::primary::mode_pages::ModePages;

/// Page code of the control mode page.
pub(crate) const PAGE: u8 = 0x0a;
/// Subpage code of the control extension mode page.
const EXTENSION: u8 = 0x01;

/// QERR: whose commands end when one ends with CHECK CONDITION.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueErrors {
    /// 00b: nobody's; they go on, or wait for the end of an auto contingent allegiance.
    Continue,
    /// 01b: all of the task set.
    AbortAll,
    /// 11b: those of the nexus whose command it was.
    AbortOwn,
}

/// UA_INTLCK: what becomes of a unit attention that CHECK CONDITION has told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interlock {
    /// 00b: it is cleared.
    Clear,
    /// 10b: it stays until REQUEST SENSE tells it.
    Keep,
    /// 11b: so it does, and BUSY, TASK SET FULL and RESERVATION CONFLICT establish one.
    KeepAndEstablish,
}

/// May MODE SELECT set these values (from byte 2 of the page on)? `Err`: offset and leftmost bit of the field that may not be.
pub(super) fn acceptable(values: &[u8]) -> Result<(), (usize, u8)> {
    const RESERVED_QERR: u8 = 2;
    const RESERVED_INTERLOCK: u8 = 1;
    if queue_errors_field(values) == RESERVED_QERR {
        return Err((1, 2));
    }
    if interlock_field(values) == RESERVED_INTERLOCK {
        return Err((2, 5));
    }
    Ok(())
}

fn queue_errors_field(values: &[u8]) -> u8 {
    byte(values, 1) >> 1 & 3
}

fn interlock_field(values: &[u8]) -> u8 {
    byte(values, 2) >> 4 & 3
}

/// TST = 001b: each nexus has a task set of its own.
pub(crate) fn separate_task_sets(modes: &ModePages) -> bool {
    modes.values(PAGE, 0).is_some_and(|values| byte(values, 0) >> 5 == 1)
}

/// IALUAE of the control extension page: false when an initiator has cleared it. A page of the administrator's own forbids him nothing.
pub(crate) fn implicit_access_enabled(modes: &ModePages) -> bool {
    let enabled = |values: &[u8]| byte(values, 0) & 0x01 != 0;
    let cleared = modes.select(PAGE, EXTENSION).any(|page| enabled(page.default()) && !enabled(&page.current));
    !cleared
}

/// QERR; the reserved value counts as 00b.
pub(crate) fn queue_errors(modes: &ModePages) -> QueueErrors {
    match modes.values(PAGE, 0).map_or(0, queue_errors_field) {
        1 => QueueErrors::AbortAll,
        3 => QueueErrors::AbortOwn,
        _ => QueueErrors::Continue,
    }
}

/// UA_INTLCK; the reserved value counts as 00b.
pub(crate) fn interlock(modes: &ModePages) -> Interlock {
    match modes.values(PAGE, 0).map_or(0, interlock_field) {
        2 => Interlock::Keep,
        3 => Interlock::KeepAndEstablish,
        _ => Interlock::Clear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::Bench;
    use scsi::{Sense, Status};

    /// MODE SELECT(6) of a control page with these bytes 2 to 4.
    fn select(bench: &mut Bench, bytes: [u8; 3]) -> Option<Sense> {
        let list = [0, 0, 0, 0, 0x0a, 0x0a, bytes[0], bytes[1], bytes[2], 0, 0, 0, 0, 0, 0x02, 0x00];
        let (outcome, _) = bench.run(&[0x15, 0x10, 0, 0, 16, 0], &list);
        assert_eq!(outcome.status == Status::GOOD, outcome.sense.is_none());
        outcome.sense
    }

    #[test]
    fn the_fields_take_effect() {
        let mut bench = Bench::disk(8);
        let rules = |bench: &Bench| {
            let device = &bench.device;
            (device.separate_task_sets(), device.queue_errors(), device.attention_interlock())
        };
        assert_eq!(rules(&bench), (false, QueueErrors::Continue, Interlock::Clear));
        assert_eq!(select(&mut bench, [0x22, 0x12, 0x20]), None);
        assert_eq!(rules(&bench), (true, QueueErrors::AbortAll, Interlock::Keep));
        assert_eq!(select(&mut bench, [0x02, 0x16, 0x30]), None);
        assert_eq!(rules(&bench), (false, QueueErrors::AbortOwn, Interlock::KeepAndEstablish));
        bench.device.reset();
        assert_eq!(rules(&bench), (false, QueueErrors::Continue, Interlock::Clear));
    }

    #[test]
    fn reserved_values_are_refused() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, [0x02, 0x14, 0x00]), Some(Sense::invalid_parameter_field(7, Some(2))), "QERR");
        assert_eq!(select(&mut bench, [0x02, 0x10, 0x10]), Some(Sense::invalid_parameter_field(8, Some(5))), "UA_INTLCK");
        assert_eq!(select(&mut bench, [0x42, 0x10, 0x00]), Some(Sense::invalid_parameter_field(6, Some(6))), "TST");
    }
}
