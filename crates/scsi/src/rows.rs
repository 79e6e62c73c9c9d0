//! The rows of the command table, a file for each family of device types, joined and sorted while compiling.

mod block;
mod copy;
mod medium;
mod monitor;
mod port_group;
mod primary;
mod reservation;
mod variable;

use crate::command::CommandRow;
use crate::types::DeviceType;

/// Device types that this crate has rows for.
const ALL: &[DeviceType] = &[DeviceType::DISK, DeviceType::CONTROLLER, DeviceType::WELL_KNOWN];
const DISK: &[DeviceType] = &[DeviceType::DISK];
const CONTROLLER: &[DeviceType] = &[DeviceType::CONTROLLER];

/// The files, in order.
const FILES: [&[CommandRow]; 8] =
    [primary::ROWS, reservation::ROWS, port_group::ROWS, monitor::ROWS, block::ROWS, medium::ROWS, copy::ROWS, variable::ROWS];

const COUNT: usize = count();

/// All rows, in order of operation code and service action; rows that differ in device types only keep the order of their file.
pub(crate) static TABLE: [CommandRow; COUNT] = table();

/// For each operation code, the index of its first row in [`TABLE`] and the number of rows.
pub(crate) static BY_OPCODE: [(u8, u8); 256] = by_opcode();

const fn count() -> usize {
    let (mut count, mut file) = (0, 0);
    while file < FILES.len() {
        count += FILES[file].len();
        file += 1;
    }
    count
}

const fn table() -> [CommandRow; COUNT] {
    let mut rows = [FILES[0][0]; COUNT];
    let (mut file, mut place, mut filled) = (0, 0, 0);
    while filled < COUNT {
        while place == FILES[file].len() {
            (file, place) = (file + 1, 0);
        }
        let row = FILES[file][place];
        place += 1;
        let mut at = filled;
        while at > 0 && order(&rows[at - 1]) > order(&row) {
            rows[at] = rows[at - 1];
            at -= 1;
        }
        rows[at] = row;
        filled += 1;
    }
    rows
}

const fn order(row: &CommandRow) -> u64 {
    let action = match row.service_action {
        Some(action) => action as u64,
        None => 0,
    };
    (row.opcode as u64) << 16 | action
}

const fn by_opcode() -> [(u8, u8); 256] {
    let table = table();
    let mut index = [(0, 0); 256];
    let (mut at, mut opcode) = (0, 0);
    while opcode < index.len() {
        let first = at;
        while at < table.len() && table[at].opcode as u64 == opcode as u64 {
            at += 1;
        }
        index[opcode] = ((first & 0xff) as u8, ((at - first) & 0xff) as u8);
        opcode += 1;
    }
    index
}

const _: () = assert!(COUNT <= u8::MAX as usize, "an index of BY_OPCODE is one byte");
