//! PDUs a target sends.

use scsi::Lun;

use super::Opcode;
use super::field::{Bits, Bytes, Flag, LunAt, U8, U16, U24, U32, pdu};

/// Offset of StatSN in every PDU a target sends.
pub const STAT_SN_AT: usize = 24;
/// Offset of ExpCmdSN in every PDU a target sends.
pub const EXP_CMD_SN_AT: usize = 28;
/// Offset of MaxCmdSN in every PDU a target sends.
pub const MAX_CMD_SN_AT: usize = 32;

pdu! {
    /// NOP-In (RFC 7143 11.19): a ping, or the answer to one.
    NopIn = Opcode::NOP_IN, byte1 0x80 {
        /// LUN.
        lun: Lun = LunAt(8),
        /// Tag of the NOP-Out it answers; all ones: it answers none.
        tag: u32 = U32(16),
        /// All ones: no answer is wanted.
        transfer_tag: u32 = U32(20),
        /// StatSN.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
    }
}

pdu! {
    /// SCSI Response (RFC 7143 11.4).
    ScsiResponse = Opcode::SCSI_RESPONSE, byte1 0x80 {
        /// o: more data-in than expected, of a bidirectional command.
        read_overflow: bool = Flag(1, 0x10),
        /// u: less data-in than expected, of a bidirectional command.
        read_underflow: bool = Flag(1, 0x08),
        /// O: more data than expected.
        overflow: bool = Flag(1, 0x04),
        /// U: less data than expected.
        underflow: bool = Flag(1, 0x02),
        /// 0 completed at the target, 1 target failure.
        response: u8 = U8(2),
        /// SCSI status.
        status: u8 = U8(3),
        /// Status qualifier (RFC 7144 4.4).
        status_qualifier: u16 = U16(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// SNACK tag.
        snack_tag: u32 = U32(20),
        /// StatSN.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
        /// Number of Data-In PDUs sent.
        exp_data_sn: u32 = U32(36),
        /// Residual of data-in of a bidirectional command, in bytes.
        read_residual: u32 = U32(40),
        /// Residual, in bytes.
        residual: u32 = U32(44),
    }
}

pdu! {
    /// Task Management Function Response (RFC 7143 11.6, RFC 7144 4.3).
    TaskManagementResponse = Opcode::TASK_MANAGEMENT_RESPONSE, byte1 0x80 {
        /// Response code.
        response: u8 = U8(2),
        /// Additional response information.
        additional: u32 = U24(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// StatSN.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
    }
}

pdu! {
    /// Login Response (RFC 7143 11.13).
    LoginResponse = Opcode::LOGIN_RESPONSE, byte1 0 {
        /// T: on to the next stage.
        transit: bool = Flag(1, 0x80),
        /// C: the text goes on in the next response.
        continues: bool = Flag(1, 0x40),
        /// CSG.
        current_stage: u8 = Bits(1, 0x0c, 2),
        /// NSG.
        next_stage: u8 = Bits(1, 0x03, 0),
        /// Highest version.
        version_max: u8 = U8(2),
        /// Version in use.
        version_active: u8 = U8(3),
        /// ISID.
        isid: [u8; 6] = Bytes::<6>(8),
        /// TSIH.
        tsih: u16 = U16(14),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// StatSN.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
        /// Status class and detail.
        status: u16 = U16(36),
    }
}

pdu! {
    /// Text Response (RFC 7143 11.11).
    TextResponse = Opcode::TEXT_RESPONSE, byte1 0 {
        /// F: the exchange is over.
        is_final: bool = Flag(1, 0x80),
        /// C: the text goes on in the next response.
        continues: bool = Flag(1, 0x40),
        /// LUN.
        lun: Lun = LunAt(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Target transfer tag; all ones when final.
        transfer_tag: u32 = U32(20),
        /// StatSN.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
    }
}

pdu! {
    /// SCSI Data-In (RFC 7143 11.7).
    DataIn = Opcode::DATA_IN, byte1 0 {
        /// F: last of its sequence.
        is_final: bool = Flag(1, 0x80),
        /// A: the target wants a DataACK.
        acknowledge: bool = Flag(1, 0x40),
        /// O: more data than expected.
        overflow: bool = Flag(1, 0x04),
        /// U: less data than expected.
        underflow: bool = Flag(1, 0x02),
        /// S: status, StatSN and residual are valid; the command is over.
        has_status: bool = Flag(1, 0x01),
        /// SCSI status.
        status: u8 = U8(3),
        /// LUN, with `acknowledge`.
        lun: Lun = LunAt(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Target transfer tag, with `acknowledge`; else all ones.
        transfer_tag: u32 = U32(20),
        /// StatSN, with `has_status`.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
        /// Number in the command.
        data_sn: u32 = U32(36),
        /// Where in the task's data-in it belongs, in bytes.
        buffer_offset: u32 = U32(40),
        /// Residual, in bytes, with `has_status`.
        residual: u32 = U32(44),
    }
}

pdu! {
    /// Logout Response (RFC 7143 11.15).
    LogoutResponse = Opcode::LOGOUT_RESPONSE, byte1 0x80 {
        /// 0 done, 1 no such connection, 2 recovery not supported, 3 clean-up failed.
        response: u8 = U8(2),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// StatSN.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
        /// Seconds to wait before a new login.
        time_2_wait: u16 = U16(40),
        /// Seconds the state is kept.
        time_2_retain: u16 = U16(42),
    }
}

pdu! {
    /// Ready To Transfer (RFC 7143 11.8).
    ReadyToTransfer = Opcode::READY_TO_TRANSFER, byte1 0x80 {
        /// LUN.
        lun: Lun = LunAt(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Target transfer tag.
        transfer_tag: u32 = U32(20),
        /// Next StatSN of the connection; not used up.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
        /// Number in the command.
        r2t_sn: u32 = U32(36),
        /// Where in the task's data-out the data begin, in bytes.
        buffer_offset: u32 = U32(40),
        /// How many bytes.
        desired_length: u32 = U32(44),
    }
}

pdu! {
    /// Asynchronous Message (RFC 7143 11.9).
    AsyncMessage = Opcode::ASYNC_MESSAGE, byte1 0x80 {
        /// LUN of a SCSI event.
        lun: Lun = LunAt(8),
        /// Reserved tag: all ones.
        tag: u32 = U32(16),
        /// StatSN.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
        /// 0 SCSI event, 1 log out please, 2 connection will be dropped, 3 all connections will be dropped, 4 negotiate please, 5 tasks ended, 255 vendor.
        event: u8 = U8(36),
        /// Vendor's code.
        vendor_code: u8 = U8(37),
        /// Parameter 1.
        parameter_1: u16 = U16(38),
        /// Parameter 2.
        parameter_2: u16 = U16(40),
        /// Parameter 3.
        parameter_3: u16 = U16(42),
    }
}

pdu! {
    /// Reject (RFC 7143 11.17); the data segment is the header of what was rejected.
    Reject = Opcode::REJECT, byte1 0x80 {
        /// Reason.
        reason: u8 = U8(2),
        /// Reserved tag: all ones.
        tag: u32 = U32(16),
        /// StatSN.
        stat_sn: u32 = U32(24),
        /// Next CmdSN the target expects.
        exp_cmd_sn: u32 = U32(28),
        /// Highest CmdSN the target takes.
        max_cmd_sn: u32 = U32(32),
        /// Next DataSN or R2TSN of the task, for a Data/R2T SNACK that breaks the protocol.
        data_sn: u32 = U32(36),
    }
}

/// Reasons of a [`Reject`] (RFC 7143 11.17.1). Unknown values are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RejectReason(pub u8);

#[allow(missing_docs)]
impl RejectReason {
    pub const DATA_DIGEST_ERROR: RejectReason = RejectReason(0x02);
    pub const SNACK_REJECT: RejectReason = RejectReason(0x03);
    pub const PROTOCOL_ERROR: RejectReason = RejectReason(0x04);
    pub const COMMAND_NOT_SUPPORTED: RejectReason = RejectReason(0x05);
    pub const IMMEDIATE_COMMAND_REJECT: RejectReason = RejectReason(0x06);
    pub const TASK_IN_PROGRESS: RejectReason = RejectReason(0x07);
    pub const INVALID_DATA_ACK: RejectReason = RejectReason(0x08);
    pub const INVALID_PDU_FIELD: RejectReason = RejectReason(0x09);
    pub const LONG_OPERATION: RejectReason = RejectReason(0x0a);
    pub const WAITING_FOR_LOGOUT: RejectReason = RejectReason(0x0c);

    /// Words, `None` for reasons the RFC does not define.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            RejectReason::DATA_DIGEST_ERROR => "data digest error",
            RejectReason::SNACK_REJECT => "SNACK reject",
            RejectReason::PROTOCOL_ERROR => "protocol error",
            RejectReason::COMMAND_NOT_SUPPORTED => "command not supported",
            RejectReason::IMMEDIATE_COMMAND_REJECT => "too many immediate commands",
            RejectReason::TASK_IN_PROGRESS => "task in progress",
            RejectReason::INVALID_DATA_ACK => "invalid data acknowledgement",
            RejectReason::INVALID_PDU_FIELD => "invalid PDU field",
            RejectReason::LONG_OPERATION => "long operation: out of resources",
            RejectReason::WAITING_FOR_LOGOUT => "waiting for logout",
            _ => return None,
        })
    }
}
