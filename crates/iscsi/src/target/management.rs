//! Task management, NOP and asynchronous messages (RFC 7143 11.5, 11.6, 11.9, 11.18, 11.19; RFC 7144).

use alloc::vec::Vec;

use scsi::Lun;
use scsi::planted::{Bug, is_planted};

use super::connection::{Connection, SECOND, StatSn};
use super::session::{Order, Seat, Waiting};
use super::window::{Held, Position, distance};
use crate::interface::{Event, FunctionCode, FunctionEvent};
use crate::pdu::{AsyncMessage, Header, NO_TAG, NopIn, NopOut, RejectReason, TaskManagementRequest, TaskManagementResponse};

/// Most task management functions without response: each is a word and an event; real initiators have one at a time.
const MAX_FUNCTIONS: usize = 64;

pub(super) const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const CLEAR_TASK_SET: u8 = 4;
const LOGICAL_UNIT_RESET: u8 = 5;
const TARGET_WARM_RESET: u8 = 6;
const TARGET_COLD_RESET: u8 = 7;
const TASK_REASSIGN: u8 = 8;
const QUERY_TASK: u8 = 9;
pub(super) const NEXUS_RESET: u8 = 11;
const QUERY_ASYNCHRONOUS_EVENT: u8 = 12;

/// 5 s for another connection to confirm what it was sent, as long as a function itself may take.
const FENCE_TIMEOUT: u64 = 5 * SECOND;
/// A deadline that is counted from the next look at the clock on.
const UNSET: u64 = 0;

/// iSCSIProtocolLevel of RFC 7144.
const RFC_7144: u32 = 2;

/// A task management request without response.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) request: TaskManagementRequest,
    /// The connection it came on, which its response takes, too.
    pub(super) seat: Seat,
    /// It counts against the window.
    pub(super) counted: bool,
    /// It ends the tasks of a set.
    pub(super) is_of_set: bool,
    /// Requests with a lower CmdSN have not come yet.
    pub(super) waits: bool,
    /// What is answered when the answers before it have arrived on the other connections.
    pub(super) code: Option<FunctionCode>,
}

impl Function {
    fn new(request: &TaskManagementRequest, seat: Seat) -> Function {
        let (one_unit, all_units) = scope(request.function);
        Function { request: *request, seat, counted: false, is_of_set: one_unit || all_units, waits: false, code: None }
    }
}

/// What another connection has to confirm before a function is answered (RFC 7143 4.2.3.2 d): a ping that it answers has taken everything before along.
#[derive(Debug)]
pub(super) struct Fence {
    pub(super) seat: Seat,
    pub(super) transfer_tag: u32,
    /// Tag of the function.
    pub(super) function: u32,
}

impl FunctionCode {
    /// Function complete (RFC 7143 11.6.1).
    pub const COMPLETE: FunctionCode = FunctionCode { response: 0, additional: 0 };
    /// Task does not exist.
    pub const TASK_DOES_NOT_EXIST: FunctionCode = FunctionCode { response: 1, additional: 0 };
    /// LUN does not exist.
    pub const LUN_DOES_NOT_EXIST: FunctionCode = FunctionCode { response: 2, additional: 0 };
    /// Task allegiance reassignment not supported.
    pub const REASSIGNMENT_NOT_SUPPORTED: FunctionCode = FunctionCode { response: 4, additional: 0 };
    /// Task management function not supported.
    pub const NOT_SUPPORTED: FunctionCode = FunctionCode { response: 5, additional: 0 };
    /// Function authorization failed.
    pub const AUTHORIZATION_FAILED: FunctionCode = FunctionCode { response: 6, additional: 0 };
    /// Function succeeded (RFC 7144 4.3).
    pub const SUCCEEDED: FunctionCode = FunctionCode { response: 7, additional: 0 };
    /// Function rejected.
    pub const REJECTED: FunctionCode = FunctionCode { response: 255, additional: 0 };
}

impl Connection {
    pub(super) fn task_management(&mut self, request: &TaskManagementRequest, header: &Header) {
        if self.is_tag_in_use(request.tag) {
            self.reject(header, RejectReason::TASK_IN_PROGRESS);
            return;
        }
        if self.shared.functions.len() >= MAX_FUNCTIONS {
            self.reject(header, RejectReason::IMMEDIATE_COMMAND_REJECT);
            return;
        }
        let mut function = Function::new(request, self.seat);
        function.waits = self.shared.companions > 0 && function.is_of_set && self.shared.lacks_before(request);
        match request.function {
            // The functions of RFC 7144 are there for whom negotiated them.
            QUERY_TASK..=QUERY_ASYNCHRONOUS_EVENT if self.negotiated.protocol_level < RFC_7144 => {
                self.push_function_response(request.tag, FunctionCode::NOT_SUPPORTED);
            }
            TASK_REASSIGN => self.push_function_response(request.tag, FunctionCode::REASSIGNMENT_NOT_SUPPORTED),
            // On its way on another connection may be what the function is to end (RFC 7143 4.2.3.2 b).
            ABORT_TASK..=QUERY_ASYNCHRONOUS_EVENT if function.waits => self.shared.functions.push(function),
            ABORT_TASK..=QUERY_ASYNCHRONOUS_EVENT => self.deliver_function(function),
            _ => self.push_function_response(request.tag, FunctionCode::NOT_SUPPORTED),
        }
    }

    /// All commands before the function have come.
    pub(super) fn deliver_function(&mut self, mut function: Function) {
        let request = function.request;
        let referenced_lost = request.function == ABORT_TASK && self.lose_referenced(&request);
        self.lose_set(&request);
        self.mark_ending(&request);
        function.counted = !request.immediate;
        function.waits = false;
        self.shared.active += u32::from(function.counted);
        self.shared.functions.push(function);
        self.tell(Event::Function(FunctionEvent {
            tag: request.tag,
            function: request.function,
            lun: request.lun,
            referenced: request.referenced_tag,
            referenced_lost,
        }));
    }

    /// ABORT TASK of a command that waits for its turn, or that never came though its CmdSN is in the window: its number counts as received from now
    /// on, and the function completes (RFC 7143 11.5.1).
    fn lose_referenced(&mut self, request: &TaskManagementRequest) -> bool {
        let tag = request.referenced_tag;
        match self.shared.tasks.get(tag) {
            Some(task) if task.command.is_some() => {
                // Wherever it waits: the task goes, and nothing may be left behind that names it. The CmdSN of an immediate request is only the initiator's word.
                self.shared.window.lose(None, |waiting| is_command(waiting, tag));
                self.drop_task(tag);
                true
            }
            // Answered, but the answer waits for data: nobody will miss it.
            Some(task) if task.waits_to_answer() => {
                self.drop_task(tag);
                true
            }
            Some(_) => false,
            None => {
                let number = request.ref_cmd_sn;
                let missing = self.shared.window.judge(number) != Position::Outside && distance(request.cmd_sn, number) < 0;
                if missing && !is_planted(Bug::HoleNotPlugged) {
                    self.shared.window.hold(number, Held::Lost);
                }
                missing
            }
        }
    }

    /// Functions on sets end the commands before them that wait for their turn, and those whose answer waits for data: no answer may come after that of the
    /// function (RFC 7143 4.2.2.3.3, response fence).
    fn lose_set(&mut self, request: &TaskManagementRequest) {
        let (one_unit, all_units) = scope(request.function);
        if !one_unit && !all_units {
            return;
        }
        for tag in self.shared.tasks.tags(|task| task.waits_to_answer() && (all_units || task.lun == request.lun)) {
            self.drop_task(tag);
        }
        let tasks = &self.shared.tasks;
        let chosen = |waiting: &Waiting| match waiting {
            Waiting::Command(tag) => all_units || tasks.get(*tag).is_some_and(|task| task.lun == request.lun),
            Waiting::Request(..) => false,
        };
        for waiting in self.shared.window.lose(Some(request.cmd_sn), chosen) {
            if let Waiting::Command(tag) = waiting {
                self.drop_task(tag);
            }
        }
    }

    /// The tasks that a function is about to end. Some have been told to the shell together with the function; the unit may still refuse one of them first.
    fn mark_ending(&mut self, request: &TaskManagementRequest) {
        let (one_unit, all_units) = scope(request.function);
        let of_set = |lun| all_units || one_unit && lun == request.lun;
        let ending = match request.function {
            ABORT_TASK => alloc::vec![request.referenced_tag],
            _ => self.shared.tasks.tags(|task| of_set(task.lun)),
        };
        for tag in ending {
            if let Some(task) = self.shared.tasks.get_mut(tag).filter(|task| task.runs()) {
                task.ended_by.get_or_insert(request.tag);
            }
        }
    }

    /// A function is done. A task that ended before it could, with an answer that waits for data, goes without one: it would come after that of the function.
    /// The answer of the function: a task that ABORT TASK names was still there for the initiator.
    fn drop_ended(&mut self, tag: u32, response: FunctionCode) -> FunctionCode {
        let Some(function) = self.shared.functions.iter().find(|function| function.request.tag == tag).map(|function| function.request.function)
        else {
            return response;
        };
        let of_one = function == ABORT_TASK;
        if response != FunctionCode::COMPLETE && !(of_one && response == FunctionCode::TASK_DOES_NOT_EXIST) {
            return response;
        }
        let waiting = self.shared.tasks.tags(|task| task.ended_by == Some(tag) && task.waits_to_answer());
        for tag in &waiting {
            self.drop_task(*tag);
        }
        if of_one && !waiting.is_empty() { FunctionCode::COMPLETE } else { response }
    }

    /// A task management function ended.
    pub fn function_response(&mut self, tag: u32, response: FunctionCode) {
        if self.logging_out.is_some_and(|logout| logout.tag == tag) {
            return self.finish_logout(response == FunctionCode::COMPLETE);
        }
        let response = self.drop_ended(tag, response);
        match self.shared.functions.iter_mut().find(|function| function.request.tag == tag) {
            // Our own request to end a task: its data were damaged, or its connection logs out.
            None => {
                self.answer_failed(tag);
                let ended = response == FunctionCode::COMPLETE || response == FunctionCode::TASK_DOES_NOT_EXIST;
                self.continue_logout(ended);
            }
            Some(function) if self.shared.companions > 0 && function.is_of_set => {
                function.code = Some(response);
                self.shared.orders.push(Order::Fence(tag));
            }
            Some(_) => self.end_function(tag, response),
        }
    }

    pub(super) fn end_function(&mut self, tag: u32, response: FunctionCode) {
        self.shared.remove_function(tag);
        self.push_function_response(tag, response);
    }

    /// Has the initiator confirm everything that was sent here until now.
    pub(super) fn ask_for_fence(&mut self, function: u32) {
        let transfer_tag = self.new_transfer_tag();
        self.shared.fences.push(Fence { seat: self.seat, transfer_tag, function });
        self.fence_deadline.get_or_insert(UNSET);
        let pdu = NopIn { tag: NO_TAG, transfer_tag, ..NopIn::default() };
        self.push(pdu.encode(), Vec::new(), StatSn::Show);
    }

    /// A fence that is not confirmed in time ends its connection. The time begins with the first call after it was asked for.
    pub(super) fn fence_timeout(&mut self, now: u64) {
        match self.fence_deadline {
            Some(UNSET) => self.fence_deadline = Some(now.saturating_add(FENCE_TIMEOUT)),
            Some(due) if now >= due => self.close("the initiator does not answer NOP-In"),
            _ => {}
        }
    }

    pub(super) fn push_function_response(&mut self, tag: u32, code: FunctionCode) {
        let pdu = TaskManagementResponse { tag, response: code.response, additional: code.additional, ..TaskManagementResponse::default() };
        self.push(pdu.encode(), Vec::new(), StatSn::Take);
    }

    /// A ping of the initiator is answered with its data, as much as it takes; the answer to a ping of ours shows that it lives.
    pub(super) fn nop_out(&mut self, request: &NopOut, data: &[u8], now: u64) {
        if request.tag == NO_TAG {
            self.unanswered_pings = 0;
            let seat = self.seat;
            self.shared.fences.retain(|fence| fence.seat != seat || fence.transfer_tag != request.transfer_tag);
            if !self.shared.fences.iter().any(|fence| fence.seat == seat) {
                self.fence_deadline = None;
            }
            let interval = self.ping_interval();
            self.next_ping = (interval > 0).then(|| now.saturating_add(interval));
            return;
        }
        let most = usize::try_from(self.negotiated.max_xmit_data_segment_length).unwrap_or(usize::MAX);
        let pdu = NopIn { lun: request.lun, tag: request.tag, transfer_tag: NO_TAG, ..NopIn::default() };
        self.push(pdu.encode(), data[..data.len().min(most)].to_vec(), StatSn::Take);
    }

    /// Nanoseconds between pings; 0: none. Discovery sessions are not pinged: they may not answer.
    pub(super) fn ping_interval(&self) -> u64 {
        if self.is_discovery() { 0 } else { self.parameters.as_ref().map_or(0, |parameters| u64::from(parameters.nop_interval) * SECOND) }
    }

    /// Time for a ping, or the end when too many had no answer.
    pub(super) fn ping(&mut self, now: u64) {
        let allowed = self.parameters.as_ref().map_or(0, |parameters| parameters.nop_count).max(1);
        if self.unanswered_pings >= allowed {
            self.close("the initiator does not answer NOP-In");
            return;
        }
        self.unanswered_pings += 1;
        let pdu = NopIn { tag: NO_TAG, transfer_tag: self.new_transfer_tag(), ..NopIn::default() };
        self.push(pdu.encode(), Vec::new(), StatSn::Show);
        self.next_ping = Some(now.saturating_add(self.ping_interval()));
    }

    pub(super) fn push_async(&mut self, lun: Lun, event: u8, parameters: [u16; 3], data: Vec<u8>) {
        let [parameter_1, parameter_2, parameter_3] = parameters;
        let pdu = AsyncMessage { lun, tag: NO_TAG, event, parameter_1, parameter_2, parameter_3, ..AsyncMessage::default() };
        self.push(pdu.encode(), data, StatSn::Take);
    }
}

/// Does a function end the tasks of one logical unit, or of all?
fn scope(function: u8) -> (bool, bool) {
    let one_unit = matches!(function, ABORT_TASK_SET | CLEAR_TASK_SET | LOGICAL_UNIT_RESET);
    (one_unit, matches!(function, TARGET_WARM_RESET | TARGET_COLD_RESET | NEXUS_RESET))
}

fn is_command(waiting: &Waiting, tag: u32) -> bool {
    matches!(waiting, Waiting::Command(command) if *command == tag)
}
