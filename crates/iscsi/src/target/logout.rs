//! Logout: of the session, of the connection that asks, or of another one (RFC 7143 11.14, 11.15).

use alloc::vec::Vec;

use scsi::Lun;

use super::connection::{Connection, StatSn};
use super::management::{ABORT_TASK, NEXUS_RESET};
use super::session::{Order, Seat, Waiting};
use super::task::Task;
use crate::interface::{Event, FunctionEvent};
use crate::pdu::{Header, LogoutRequest, LogoutResponse, NO_TAG, RejectReason};

/// The connection or session is closed.
pub(super) const CLOSED: u8 = 0;
/// CID not found.
pub(super) const UNKNOWN_CID: u8 = 1;
/// Connection recovery is not supported.
const RECOVERY_NOT_SUPPORTED: u8 = 2;
/// Cleanup failed.
const CLEANUP_FAILED: u8 = 3;

/// A logout that waits for the end of commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Logout {
    /// Task tag of the request.
    pub(super) tag: u32,
    /// Only the commands of this connection end; else those of the session, with an I_T nexus reset in the name of the logout.
    alone: bool,
}

/// A connection that another one has logged out: answered when nothing of it is left.
#[derive(Debug)]
pub(super) struct Dismissal {
    /// Who asked.
    pub(super) by: Seat,
    /// Task tag of the request.
    pub(super) tag: u32,
    /// Who goes.
    pub(super) seat: Seat,
}

impl Connection {
    pub(super) fn logout(&mut self, request: &LogoutRequest, header: &Header) {
        const SESSION: u8 = 0;
        const CONNECTION: u8 = 1;
        const RECOVERY: u8 = 2;
        if self.is_tag_in_use(request.tag) {
            self.reject(header, RejectReason::TASK_IN_PROGRESS);
            return;
        }
        let own = self.summary.as_ref().is_some_and(|summary| summary.cid == request.cid);
        match request.reason {
            SESSION => {
                self.shared.orders.push(Order::CloseOthers);
                self.log_out(request.tag, false);
            }
            CONNECTION if own => self.log_out(request.tag, self.shared.companions > 0),
            CONNECTION if self.shared.companions == 0 => self.push_logout_response(request.tag, UNKNOWN_CID),
            CONNECTION => self.shared.orders.push(Order::Dismiss { tag: request.tag, cid: request.cid }),
            RECOVERY => self.push_logout_response(request.tag, RECOVERY_NOT_SUPPORTED),
            _ => self.reject(header, RejectReason::INVALID_PDU_FIELD),
        }
    }

    fn log_out(&mut self, tag: u32, alone: bool) {
        if !self.end_tasks_before_logout(tag, alone) {
            self.push_logout_response(tag, CLOSED);
            self.logged_out();
        }
    }

    /// Commands end with a logout, and nothing of them may land after its answer: what did not begin goes; for the rest the unit is asked for their end.
    /// False: there is nothing to wait for.
    fn end_tasks_before_logout(&mut self, tag: u32, alone: bool) -> bool {
        let seat = self.seat;
        let ends = |task: &Task| !alone || task.seat == seat;
        let tasks = &self.shared.tasks;
        self.shared.window.lose(None, |waiting| matches!(waiting, Waiting::Command(tag) if tasks.get(*tag).is_none_or(ends)));
        for idle in self.shared.tasks.tags(|task| ends(task) && (task.command.is_some() || task.waits_to_answer())) {
            self.drop_task(idle);
        }
        let running = self.shared.tasks.tags(|task| ends(task) && task.runs());
        if running.is_empty() {
            return false;
        }
        self.begin_logout(Logout { tag, alone });
        if alone {
            for tag in running {
                let lun = self.shared.tasks.get(tag).map_or(Lun::default(), |task| task.lun);
                self.tell(Event::Function(FunctionEvent { tag, function: ABORT_TASK, lun, referenced: tag, referenced_lost: false }));
            }
        } else {
            let function = FunctionEvent { tag, function: NEXUS_RESET, lun: Lun::default(), referenced: NO_TAG, referenced_lost: false };
            self.tell(Event::Function(function));
        }
        true
    }

    /// A command of this connection has ended, or (`ended` false) cannot be ended: perhaps that was the last thing a logout waited for.
    pub(super) fn continue_logout(&mut self, ended: bool) {
        let seat = self.seat;
        if self.logging_out.is_some_and(|logout| logout.alone) && (!ended || !self.shared.tasks.any(|task| task.seat == seat && task.runs())) {
            self.finish_logout(ended);
        }
    }

    /// The commands have ended, or (`cleaned` false) cannot be ended.
    pub(super) fn finish_logout(&mut self, cleaned: bool) {
        if let Some(logout) = self.logging_out.take() {
            self.push_logout_response(logout.tag, if cleaned { CLOSED } else { CLEANUP_FAILED });
            self.logged_out();
        }
    }

    pub(super) fn push_logout_response(&mut self, tag: u32, response: u8) {
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
}
