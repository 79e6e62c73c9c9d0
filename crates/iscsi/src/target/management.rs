//! Task management, NOP, logout and asynchronous messages (RFC 7143 11.5, 11.6, 11.9, 11.14, 11.15, 11.18, 11.19; RFC 7144).

use alloc::vec::Vec;

use scsi::Lun;
use scsi::planted::{Bug, is_planted};

use super::connection::{Connection, SECOND, StatSn};
use super::session::Waiting;
use super::window::{Held, Position, distance};
use crate::interface::{Event, FunctionCode, FunctionEvent};
use crate::pdu::{
    AsyncMessage, Header, LogoutRequest, LogoutResponse, NO_TAG, NopIn, NopOut, RejectReason, TaskManagementRequest, TaskManagementResponse,
};

/// Most task management functions without response: each is a word and an event; real initiators have one at a time.
const MAX_FUNCTIONS: usize = 64;

const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const CLEAR_TASK_SET: u8 = 4;
const LOGICAL_UNIT_RESET: u8 = 5;
const TARGET_WARM_RESET: u8 = 6;
const TARGET_COLD_RESET: u8 = 7;
const TASK_REASSIGN: u8 = 8;
const QUERY_TASK: u8 = 9;
const NEXUS_RESET: u8 = 11;
const QUERY_ASYNCHRONOUS_EVENT: u8 = 12;

/// iSCSIProtocolLevel of RFC 7144.
const RFC_7144: u32 = 2;

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
        match request.function {
            // The functions of RFC 7144 are there for whom negotiated them.
            QUERY_TASK..=QUERY_ASYNCHRONOUS_EVENT if self.negotiated.protocol_level < RFC_7144 => {
                self.push_function_response(request.tag, FunctionCode::NOT_SUPPORTED);
            }
            TASK_REASSIGN => self.push_function_response(request.tag, FunctionCode::REASSIGNMENT_NOT_SUPPORTED),
            ABORT_TASK..=QUERY_ASYNCHRONOUS_EVENT => self.deliver_function(request),
            _ => self.push_function_response(request.tag, FunctionCode::NOT_SUPPORTED),
        }
    }

    fn deliver_function(&mut self, request: &TaskManagementRequest) {
        let referenced_lost = request.function == ABORT_TASK && self.lose_referenced(request);
        self.lose_set(request);
        let counted = !request.immediate;
        self.shared.active += u32::from(counted);
        self.shared.functions.push((request.tag, counted));
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
        let one_unit = matches!(request.function, ABORT_TASK_SET | CLEAR_TASK_SET | LOGICAL_UNIT_RESET);
        let all_units = matches!(request.function, TARGET_WARM_RESET | TARGET_COLD_RESET | NEXUS_RESET);
        if !one_unit && !all_units {
            return;
        }
        for tag in self.shared.tasks.answers_that_wait((!all_units).then_some(request.lun)) {
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

    pub(super) fn push_function_response(&mut self, tag: u32, code: FunctionCode) {
        let pdu = TaskManagementResponse { tag, response: code.response, additional: code.additional, ..TaskManagementResponse::default() };
        self.push(pdu.encode(), Vec::new(), StatSn::Take);
    }

    /// A ping of the initiator is answered with its data, as much as it takes; the answer to a ping of ours shows that it lives.
    pub(super) fn nop_out(&mut self, request: &NopOut, data: &[u8], now: u64) {
        if request.tag == NO_TAG {
            self.unanswered_pings = 0;
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

    pub(super) fn logout(&mut self, request: &LogoutRequest, header: &Header) {
        const SESSION: u8 = 0;
        const CONNECTION: u8 = 1;
        const RECOVERY: u8 = 2;
        const UNKNOWN_CID: u8 = 1;
        const RECOVERY_NOT_SUPPORTED: u8 = 2;
        if self.is_tag_in_use(request.tag) {
            self.reject(header, RejectReason::TASK_IN_PROGRESS);
            return;
        }
        let own = self.summary.as_ref().is_some_and(|summary| summary.cid == request.cid);
        let response = match request.reason {
            SESSION => 0,
            CONNECTION if own => 0,
            CONNECTION => UNKNOWN_CID,
            RECOVERY => RECOVERY_NOT_SUPPORTED,
            _ => {
                self.reject(header, RejectReason::INVALID_PDU_FIELD);
                return;
            }
        };
        if response != 0 {
            return self.push_logout_response(request.tag, response);
        }
        if !self.end_tasks_before_logout(request.tag) {
            self.push_logout_response(request.tag, response);
            self.logged_out();
        }
    }

    /// Commands end with a logout, and nothing of them may land after its answer: what did not begin goes; for the rest the unit is asked for an I_T nexus
    /// reset in the name of the logout. False: there is nothing to wait for.
    fn end_tasks_before_logout(&mut self, tag: u32) -> bool {
        self.shared.window.lose(None, |waiting| matches!(waiting, Waiting::Command(_)));
        for unstarted in self.shared.tasks.unstarted() {
            self.drop_task(unstarted);
        }
        for unsaid in self.shared.tasks.answers_that_wait(None) {
            self.drop_task(unsaid);
        }
        if !self.shared.tasks.any_runs() {
            return false;
        }
        self.begin_logout(tag);
        self.tell(Event::Function(FunctionEvent { tag, function: NEXUS_RESET, lun: Lun::default(), referenced: NO_TAG, referenced_lost: false }));
        true
    }

    /// The commands have ended, or (`cleaned` false) cannot be ended.
    pub(super) fn finish_logout(&mut self, tag: u32, cleaned: bool) {
        const CLEANUP_FAILED: u8 = 3;
        self.push_logout_response(tag, if cleaned { 0 } else { CLEANUP_FAILED });
        self.logged_out();
    }

    fn push_logout_response(&mut self, tag: u32, response: u8) {
        let pdu = LogoutResponse {
            response,
            tag,
            time_2_wait: u16::try_from(self.negotiated.default_time_2_wait).unwrap_or(u16::MAX),
            // Nothing is kept: at ErrorRecoveryLevel 0 there is nothing to come back to.
            time_2_retain: 0,
            ..LogoutResponse::default()
        };
        self.push(pdu.encode(), Vec::new(), StatSn::Take);
    }

    pub(super) fn push_async(&mut self, lun: Lun, event: u8, parameters: [u16; 3], data: Vec<u8>) {
        let [parameter_1, parameter_2, parameter_3] = parameters;
        let pdu = AsyncMessage { lun, tag: NO_TAG, event, parameter_1, parameter_2, parameter_3, ..AsyncMessage::default() };
        self.push(pdu.encode(), data, StatSn::Take);
    }
}

fn is_command(waiting: &Waiting, tag: u32) -> bool {
    matches!(waiting, Waiting::Command(command) if *command == tag)
}
