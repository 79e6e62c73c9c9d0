//! Rows of the commands of target port groups (SPC-6, asymmetric logical unit access).

use crate::command::{CommandRow, Direction, Family, Operation, ReservationClass, UnitAttentionClass};

use super::DISK;

#[rustfmt::skip]
pub(super) const ROWS: &[CommandRow] = &[
    CommandRow {
        operation: Operation::ReportTargetPortGroups,
        name: "REPORT TARGET PORT GROUPS",
        word: "REPORT_TARGET_PORT_GROUPS",
        family: Family::Other,
        opcode: 0xa3,
        service_action: Some(0x0a),
        device_types: DISK,
        usage: &[0xa3, 0xea, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
        direction: Direction::In,
        reservation: ReservationClass::Allowed,
        unit_attention: UnitAttentionClass::Report,
        lba: None,
        needs_medium: false,
        writes: false,
        nominal_seconds: 1,
        recommended_seconds: 30,
        clause: "SPC-6, REPORT TARGET PORT GROUPS command",
    },
    CommandRow {
        operation: Operation::SetTargetPortGroups,
        name: "SET TARGET PORT GROUPS",
        word: "SET_TARGET_PORT_GROUPS",
        family: Family::Other,
        opcode: 0xa4,
        service_action: Some(0x0a),
        device_types: DISK,
        usage: &[0xa4, 0x0a, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
        direction: Direction::Out,
        reservation: ReservationClass::Write,
        unit_attention: UnitAttentionClass::Report,
        lba: None,
        needs_medium: false,
        writes: false,
        nominal_seconds: 1,
        recommended_seconds: 30,
        clause: "SPC-6, SET TARGET PORT GROUPS command",
    },
];
