//! PDUs an initiator sends.

use scsi::Lun;

use super::Opcode;
use super::field::{Bits, Bytes, Flag, LunAt, U8, U16, U32, pdu};

pdu! {
    /// NOP-Out (RFC 7143 11.18): a ping, or the answer to one.
    NopOut = Opcode::NOP_OUT, byte1 0x80 {
        /// Out of CmdSN order.
        immediate: bool = Flag(0, 0x40),
        /// The LUN of the NOP-In it answers.
        lun: Lun = LunAt(8),
        /// Initiator task tag; all ones: no answer is wanted.
        tag: u32 = U32(16),
        /// Target transfer tag of the NOP-In it answers; all ones: it answers none.
        transfer_tag: u32 = U32(20),
        /// CmdSN.
        cmd_sn: u32 = U32(24),
        /// Next StatSN the initiator expects.
        exp_stat_sn: u32 = U32(28),
    }
}

pdu! {
    /// SCSI Command (RFC 7143 11.3).
    ScsiCommand = Opcode::SCSI_COMMAND, byte1 0 {
        /// Out of CmdSN order.
        immediate: bool = Flag(0, 0x40),
        /// No unsolicited Data-Out follows.
        is_final: bool = Flag(1, 0x80),
        /// Data-in is expected.
        read: bool = Flag(1, 0x40),
        /// Data-out is expected.
        write: bool = Flag(1, 0x20),
        /// Task attribute: 0 untagged, 1 simple, 2 ordered, 3 head of queue, 4 ACA.
        attribute: u8 = Bits(1, 0x07, 0),
        /// Command priority (RFC 7144 4.1).
        priority: u8 = Bits(2, 0xf0, 4),
        /// LUN.
        lun: Lun = LunAt(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Expected data transfer length in bytes; of data-out when both directions are on.
        expected_length: u32 = U32(20),
        /// CmdSN.
        cmd_sn: u32 = U32(24),
        /// Next StatSN the initiator expects.
        exp_stat_sn: u32 = U32(28),
        /// First 16 bytes of the CDB.
        cdb: [u8; 16] = Bytes::<16>(32),
    }
}

pdu! {
    /// Task Management Function Request (RFC 7143 11.5, RFC 7144 4.2).
    TaskManagementRequest = Opcode::TASK_MANAGEMENT_REQUEST, byte1 0x80 {
        /// Out of CmdSN order.
        immediate: bool = Flag(0, 0x40),
        /// Function code.
        function: u8 = Bits(1, 0x7f, 0),
        /// LUN.
        lun: Lun = LunAt(8),
        /// Initiator task tag of this request.
        tag: u32 = U32(16),
        /// Tag of the task it is about; all ones for functions on sets.
        referenced_tag: u32 = U32(20),
        /// CmdSN.
        cmd_sn: u32 = U32(24),
        /// Next StatSN the initiator expects.
        exp_stat_sn: u32 = U32(28),
        /// CmdSN of the task it is about.
        ref_cmd_sn: u32 = U32(32),
        /// Next DataSN the initiator expects (TASK REASSIGN).
        exp_data_sn: u32 = U32(36),
    }
}

pdu! {
    /// Login Request (RFC 7143 11.12). Always immediate.
    LoginRequest = Opcode::LOGIN_REQUEST, byte1 0 {
        /// Immediate bit: always one on the wire.
        immediate: bool = Flag(0, 0x40),
        /// T: ready for the next stage.
        transit: bool = Flag(1, 0x80),
        /// C: the text goes on in the next request.
        continues: bool = Flag(1, 0x40),
        /// CSG: 0 security, 1 operational, 3 full feature.
        current_stage: u8 = Bits(1, 0x0c, 2),
        /// NSG, valid when `transit`.
        next_stage: u8 = Bits(1, 0x03, 0),
        /// Highest version.
        version_max: u8 = U8(2),
        /// Lowest version.
        version_min: u8 = U8(3),
        /// Initiator part of the session identifier.
        isid: [u8; 6] = Bytes::<6>(8),
        /// Target part; 0: a new session.
        tsih: u16 = U16(14),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Connection identifier.
        cid: u16 = U16(20),
        /// CmdSN: the first of the session.
        cmd_sn: u32 = U32(24),
        /// Next StatSN the initiator expects.
        exp_stat_sn: u32 = U32(28),
    }
}

pdu! {
    /// Text Request (RFC 7143 11.10).
    TextRequest = Opcode::TEXT_REQUEST, byte1 0 {
        /// Out of CmdSN order.
        immediate: bool = Flag(0, 0x40),
        /// F: the initiator has nothing more to say.
        is_final: bool = Flag(1, 0x80),
        /// C: the text goes on in the next request.
        continues: bool = Flag(1, 0x40),
        /// LUN of the Text Response it continues.
        lun: Lun = LunAt(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Target transfer tag of the exchange; all ones: a new one.
        transfer_tag: u32 = U32(20),
        /// CmdSN.
        cmd_sn: u32 = U32(24),
        /// Next StatSN the initiator expects.
        exp_stat_sn: u32 = U32(28),
    }
}

pdu! {
    /// SCSI Data-Out (RFC 7143 11.7).
    DataOut = Opcode::DATA_OUT, byte1 0 {
        /// F: last of its sequence.
        is_final: bool = Flag(1, 0x80),
        /// LUN of the R2T it answers.
        lun: Lun = LunAt(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Target transfer tag of the R2T it answers; all ones: unsolicited.
        transfer_tag: u32 = U32(20),
        /// Next StatSN the initiator expects.
        exp_stat_sn: u32 = U32(28),
        /// Number in its sequence.
        data_sn: u32 = U32(36),
        /// Where in the task's data-out it belongs, in bytes.
        buffer_offset: u32 = U32(40),
    }
}

pdu! {
    /// Logout Request (RFC 7143 11.14).
    LogoutRequest = Opcode::LOGOUT_REQUEST, byte1 0x80 {
        /// Out of CmdSN order.
        immediate: bool = Flag(0, 0x40),
        /// 0 close the session, 1 close the connection, 2 remove the connection for recovery.
        reason: u8 = Bits(1, 0x7f, 0),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Connection it is about.
        cid: u16 = U16(20),
        /// CmdSN.
        cmd_sn: u32 = U32(24),
        /// Next StatSN the initiator expects.
        exp_stat_sn: u32 = U32(28),
    }
}

pdu! {
    /// SNACK Request (RFC 7143 11.16).
    SnackRequest = Opcode::SNACK_REQUEST, byte1 0x80 {
        /// 0 Data/R2T, 1 Status, 2 DataACK, 3 R-Data.
        kind: u8 = Bits(1, 0x0f, 0),
        /// LUN.
        lun: Lun = LunAt(8),
        /// Initiator task tag.
        tag: u32 = U32(16),
        /// Target transfer tag or SNACK tag.
        transfer_tag: u32 = U32(20),
        /// Next StatSN the initiator expects.
        exp_stat_sn: u32 = U32(28),
        /// First number asked for.
        begin_run: u32 = U32(40),
        /// How many; 0: all.
        run_length: u32 = U32(44),
    }
}
