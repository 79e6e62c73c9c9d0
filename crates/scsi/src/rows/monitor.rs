//! Rows of the commands that watch and describe a unit: log parameters, diagnostics, buffers, identity, time.

use crate::command::{CommandRow, Direction, Family, Operation, ReservationClass, UnitAttentionClass};

use super::DISK;

#[rustfmt::skip]
pub(super) const ROWS: &[CommandRow] = &[
    CommandRow {
        operation: Operation::LogSelect,
        name: "LOG SELECT",
        word: "LOG_SELECT",
        family: Family::Other,
        opcode: 0x4c,
        service_action: None,
        device_types: DISK,
        usage: &[0x4c, 0x03, 0xff, 0xff, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
        direction: Direction::Out,
        reservation: ReservationClass::Write,
        unit_attention: UnitAttentionClass::Report,
        lba: None,
        needs_medium: false,
        writes: false,
        nominal_seconds: 1,
        recommended_seconds: 30,
        clause: "SPC-6, LOG SELECT command",
    },
    CommandRow {
        operation: Operation::LogSense,
        name: "LOG SENSE",
        word: "LOG_SENSE",
        family: Family::Other,
        opcode: 0x4d,
        service_action: None,
        device_types: DISK,
        usage: &[0x4d, 0x03, 0xff, 0xff, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00],
        direction: Direction::In,
        reservation: ReservationClass::Allowed,
        unit_attention: UnitAttentionClass::Report,
        lba: None,
        needs_medium: false,
        writes: false,
        nominal_seconds: 1,
        recommended_seconds: 30,
        clause: "SPC-6, LOG SENSE command",
    },
];
