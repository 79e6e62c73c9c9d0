//! Task management: iSCSI's functions become functions of one unit or of all units of the target.

use std::sync::Arc;

use iscsi::{FunctionCode, FunctionEvent};
use reactor::Driver;
use target::{Function, FunctionKind, FunctionResponse, NexusId, TaskTag};

use super::Server;
use super::link::PendingFunction;
use crate::model::UnitCell;

/// Response codes of RFC 7143 11.6.1 and RFC 7144 4.3.
const COMPLETE: u8 = 0;
const TASK_DOES_NOT_EXIST: u8 = 1;
const LUN_DOES_NOT_EXIST: u8 = 2;
const REASSIGNMENT_NOT_SUPPORTED: u8 = 4;
const NOT_SUPPORTED: u8 = 5;
const SUCCEEDED: u8 = 7;
const REJECTED: u8 = 255;

/// TASK REASSIGN.
const TASK_REASSIGN: u8 = 8;

/// What a function code asks for.
enum Scope {
    Unit(FunctionKind),
    Target { kind: FunctionKind, cold: bool },
    Answer(u8),
}

impl<D: Driver> Server<D> {
    pub(super) fn function(&mut self, slot: usize, event: FunctionEvent) {
        let Some((link, index)) = self.links.get(slot).and_then(|link| Some((link.key, link.bundle?))) else { return };
        let session = self.bundles.get(index).and_then(|bundle| Some((bundle.nexus?, bundle.target.clone()?)));
        let Some((nexus, entry)) = session else {
            return self.answer_function(index, event.tag, code(REJECTED));
        };
        let pending = |cold| PendingFunction { tag: event.tag, link, remaining: 0, code: code(COMPLETE), cold };
        match scope(&event) {
            Scope::Answer(response) => self.answer_function(index, event.tag, code(response)),
            Scope::Unit(kind) => match event.lun.number().and_then(|number| entry.units.get(&number)) {
                Some(cell) => self.begin_function(index, nexus, pending(false), kind, std::slice::from_ref(cell)),
                None => self.answer_function(index, event.tag, code(LUN_DOES_NOT_EXIST)),
            },
            Scope::Target { kind, cold } => {
                let cells: Vec<Arc<UnitCell>> = entry.units.values().cloned().collect();
                self.begin_function(index, nexus, pending(cold), kind, &cells);
            }
        }
    }

    fn begin_function(&mut self, index: usize, nexus: NexusId, mut pending: PendingFunction, kind: FunctionKind, cells: &[Arc<UnitCell>]) {
        let tag = pending.tag;
        if cells.is_empty() {
            return self.answer_function(index, tag, code(COMPLETE));
        }
        pending.remaining = cells.len();
        if let Some(bundle) = self.bundles.get_mut(index) {
            bundle.functions.push(pending);
        }
        for cell in cells {
            self.work.visit(cell, |unit, now| unit.handle_function(Function { nexus, tag: TaskTag(tag), kind }, now));
        }
    }

    /// A unit has finished its part of a function.
    pub(super) fn function_done(&mut self, index: usize, tag: u32, response: FunctionResponse) {
        let Some(bundle) = self.bundles.get_mut(index) else { return };
        // Nobody asked when a connection was lost and its tasks ended.
        let Some(at) = bundle.functions.iter().position(|function| function.tag == tag) else { return };
        let pending = &mut bundle.functions[at];
        let part = code_of(response);
        if pending.code.response == COMPLETE {
            pending.code = part;
        }
        pending.remaining -= 1;
        if pending.remaining > 0 {
            return;
        }
        let pending = bundle.functions.swap_remove(at);
        let tid = bundle.tid;
        self.answer_function(index, tag, pending.code);
        if pending.cold {
            let slot = pending.link.slot as usize;
            if self.links.get(slot).is_some_and(|link| link.key == pending.link) {
                self.drain(slot, "TARGET COLD RESET");
            }
            tid.map(|tid| self.hub.close_target_sessions(tid));
        }
    }

    fn answer_function(&mut self, index: usize, tag: u32, code: FunctionCode) {
        if let Some(bundle) = self.bundles.get_mut(index) {
            bundle.core.function_response(tag, code);
        }
        for slot in self.members(index) {
            self.stir(slot);
        }
    }
}

fn scope(event: &FunctionEvent) -> Scope {
    match event.function {
        1 if event.referenced_lost => Scope::Answer(COMPLETE),
        1 => Scope::Unit(FunctionKind::AbortTask(TaskTag(event.referenced))),
        2 => Scope::Unit(FunctionKind::AbortTaskSet),
        3 => Scope::Unit(FunctionKind::ClearAca),
        4 => Scope::Unit(FunctionKind::ClearTaskSet),
        5 => Scope::Unit(FunctionKind::LogicalUnitReset),
        6 => Scope::Target { kind: FunctionKind::LogicalUnitReset, cold: false },
        7 => Scope::Target { kind: FunctionKind::LogicalUnitReset, cold: true },
        TASK_REASSIGN => Scope::Answer(REASSIGNMENT_NOT_SUPPORTED),
        9 => Scope::Unit(FunctionKind::QueryTask(TaskTag(event.referenced))),
        10 => Scope::Unit(FunctionKind::QueryTaskSet),
        11 => Scope::Target { kind: FunctionKind::NexusReset, cold: false },
        12 => Scope::Unit(FunctionKind::QueryAsynchronousEvent),
        _ => Scope::Answer(NOT_SUPPORTED),
    }
}

fn code(response: u8) -> FunctionCode {
    FunctionCode { response, additional: 0 }
}

fn code_of(response: FunctionResponse) -> FunctionCode {
    match response {
        FunctionResponse::Complete => code(COMPLETE),
        FunctionResponse::Succeeded => code(SUCCEEDED),
        // Sense key UNIT ATTENTION, then ASC and ASCQ (RFC 7144 4.3.2, SAM-5 7.9).
        FunctionResponse::SucceededWith(asc) => FunctionCode { response: SUCCEEDED, additional: 0x06 << 16 | u32::from(asc.0) },
        FunctionResponse::TaskDoesNotExist => code(TASK_DOES_NOT_EXIST),
        FunctionResponse::LunDoesNotExist => code(LUN_DOES_NOT_EXIST),
        FunctionResponse::Rejected => code(REJECTED),
        FunctionResponse::NotSupported => code(NOT_SUPPORTED),
    }
}
