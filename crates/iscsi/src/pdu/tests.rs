//! Every PDU type as bytes, written by hand from the figures of RFC 7143 11.

use std::string::String;
use std::vec::Vec;

use scsi::Lun;

use super::*;

/// Bytes of lines of hexadecimal digits; blanks do not count.
fn bytes(text: &str) -> Header {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

const LUN: Lun = Lun([0x40, 1, 0, 0, 0, 0, 0, 0]);

macro_rules! check {
    ($value:expr, $type:ident, $text:expr) => {{
        let value: $type = $value;
        let header = bytes($text);
        assert_eq!(value.encode(), header, "{}", describe(&value.encode()));
        assert_eq!($type::decode(&header), value);
        assert_eq!(Opcode::of(&header), $type::OPCODE);
        let mut names: Vec<&str> = Vec::new();
        value.fields(&mut |name, shown| {
            let mut out = String::new();
            shown.show(&mut out);
            assert!(!out.is_empty());
            names.push(name);
        });
        assert!(!names.is_empty());
    }};
}

#[test]
fn requests() {
    check!(
        NopOut { immediate: true, lun: LUN, tag: 0x01020304, transfer_tag: 0x05060708, cmd_sn: 9, exp_stat_sn: 10 },
        NopOut,
        "40800000 00000000 4001000000000000 01020304 05060708 00000009 0000000a 00000000 00000000 00000000 00000000"
    );
    check!(
        ScsiCommand {
            immediate: false,
            is_final: true,
            read: true,
            write: true,
            attribute: 2,
            priority: 5,
            lun: LUN,
            tag: 1,
            expected_length: 0x1000,
            cmd_sn: 2,
            exp_stat_sn: 3,
            cdb: [0x28, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        },
        ScsiCommand,
        "01e25000 00000000 4001000000000000 00000001 00001000 00000002 00000003 28010203 04050607 08090a0b 0c0d0e0f"
    );
    check!(
        TaskManagementRequest {
            immediate: true,
            function: 1,
            lun: LUN,
            tag: 1,
            referenced_tag: 2,
            cmd_sn: 3,
            exp_stat_sn: 4,
            ref_cmd_sn: 5,
            exp_data_sn: 6,
        },
        TaskManagementRequest,
        "42810000 00000000 4001000000000000 00000001 00000002 00000003 00000004 00000005 00000006 00000000 00000000"
    );
    check!(
        LoginRequest {
            immediate: true,
            transit: true,
            continues: false,
            current_stage: 1,
            next_stage: 3,
            version_max: 0,
            version_min: 0,
            isid: [0x80, 1, 2, 3, 4, 5],
            tsih: 0x0607,
            tag: 8,
            cid: 9,
            cmd_sn: 10,
            exp_stat_sn: 11,
        },
        LoginRequest,
        "43870000 00000000 8001020304050607 00000008 00090000 0000000a 0000000b 00000000 00000000 00000000 00000000"
    );
    check!(
        TextRequest { immediate: true, is_final: false, continues: true, lun: LUN, tag: 1, transfer_tag: 2, cmd_sn: 3, exp_stat_sn: 4 },
        TextRequest,
        "44400000 00000000 4001000000000000 00000001 00000002 00000003 00000004 00000000 00000000 00000000 00000000"
    );
    check!(
        DataOut { is_final: true, lun: LUN, tag: 1, transfer_tag: 2, exp_stat_sn: 3, data_sn: 4, buffer_offset: 5 },
        DataOut,
        "05800000 00000000 4001000000000000 00000001 00000002 00000000 00000003 00000000 00000004 00000005 00000000"
    );
    check!(
        LogoutRequest { immediate: true, reason: 1, tag: 2, cid: 3, cmd_sn: 4, exp_stat_sn: 5 },
        LogoutRequest,
        "46810000 00000000 0000000000000000 00000002 00030000 00000004 00000005 00000000 00000000 00000000 00000000"
    );
    check!(
        SnackRequest { kind: 1, lun: LUN, tag: 1, transfer_tag: 2, exp_stat_sn: 3, begin_run: 4, run_length: 5 },
        SnackRequest,
        "10810000 00000000 4001000000000000 00000001 00000002 00000000 00000003 00000000 00000000 00000004 00000005"
    );
}

#[test]
fn responses_to_commands() {
    let (stat_sn, exp_cmd_sn, max_cmd_sn) = (0x11, 0x22, 0x33);
    check!(
        ScsiResponse {
            read_overflow: true,
            read_underflow: false,
            overflow: false,
            underflow: true,
            response: 0,
            status: 2,
            status_qualifier: 0x0708,
            tag: 1,
            snack_tag: 0,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            exp_data_sn: 2,
            read_residual: 3,
            residual: 4,
        },
        ScsiResponse,
        "21920002 00000000 0708000000000000 00000001 00000000 00000011 00000022 00000033 00000002 00000003 00000004"
    );
    check!(
        DataIn {
            is_final: true,
            acknowledge: false,
            overflow: true,
            underflow: false,
            has_status: true,
            status: 0,
            lun: Lun::default(),
            tag: 1,
            transfer_tag: NO_TAG,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            data_sn: 2,
            buffer_offset: 3,
            residual: 4,
        },
        DataIn,
        "25850000 00000000 0000000000000000 00000001 ffffffff 00000011 00000022 00000033 00000002 00000003 00000004"
    );
    check!(
        ReadyToTransfer { lun: LUN, tag: 1, transfer_tag: 2, stat_sn, exp_cmd_sn, max_cmd_sn, r2t_sn: 3, buffer_offset: 4, desired_length: 5 },
        ReadyToTransfer,
        "31800000 00000000 4001000000000000 00000001 00000002 00000011 00000022 00000033 00000003 00000004 00000005"
    );
    check!(
        TaskManagementResponse { response: 7, additional: 0x062900, tag: 1, stat_sn, exp_cmd_sn, max_cmd_sn },
        TaskManagementResponse,
        "22800700 00000000 0629000000000000 00000001 00000000 00000011 00000022 00000033 00000000 00000000 00000000"
    );
}

#[test]
fn responses_of_the_session() {
    let (stat_sn, exp_cmd_sn, max_cmd_sn) = (0x11, 0x22, 0x33);
    check!(
        NopIn { lun: LUN, tag: NO_TAG, transfer_tag: 2, stat_sn, exp_cmd_sn, max_cmd_sn },
        NopIn,
        "20800000 00000000 4001000000000000 ffffffff 00000002 00000011 00000022 00000033 00000000 00000000 00000000"
    );
    check!(
        LoginResponse {
            transit: true,
            continues: false,
            current_stage: 1,
            next_stage: 3,
            version_max: 0,
            version_active: 0,
            isid: [0x80, 1, 2, 3, 4, 5],
            tsih: 0x0607,
            tag: 8,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            status: 0x0203,
        },
        LoginResponse,
        "23870000 00000000 8001020304050607 00000008 00000000 00000011 00000022 00000033 02030000 00000000 00000000"
    );
    check!(
        TextResponse { is_final: true, continues: false, lun: LUN, tag: 1, transfer_tag: NO_TAG, stat_sn, exp_cmd_sn, max_cmd_sn },
        TextResponse,
        "24800000 00000000 4001000000000000 00000001 ffffffff 00000011 00000022 00000033 00000000 00000000 00000000"
    );
    check!(
        LogoutResponse { response: 1, tag: 1, stat_sn, exp_cmd_sn, max_cmd_sn, time_2_wait: 2, time_2_retain: 20 },
        LogoutResponse,
        "26800100 00000000 0000000000000000 00000001 00000000 00000011 00000022 00000033 00000000 00020014 00000000"
    );
    check!(
        AsyncMessage {
            lun: LUN,
            tag: NO_TAG,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            event: 1,
            vendor_code: 2,
            parameter_1: 3,
            parameter_2: 4,
            parameter_3: 5,
        },
        AsyncMessage,
        "32800000 00000000 4001000000000000 ffffffff 00000000 00000011 00000022 00000033 01020003 00040005 00000000"
    );
    check!(
        Reject { reason: 9, tag: NO_TAG, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn: 1 },
        Reject,
        "3f800900 00000000 0000000000000000 ffffffff 00000000 00000011 00000022 00000033 00000001 00000000 00000000"
    );
}

#[test]
fn frames_read_what_is_there() {
    assert!(HeaderFrame::new(&[0; 47]).is_none());
    let mut header = [0u8; 52];
    header[4] = 255;
    header[5..8].copy_from_slice(&[1, 2, 3]);
    let frame = HeaderFrame::new(&header).unwrap();
    assert_eq!((frame.data_segment_length(), frame.additional().len()), (0x0001_0203, 4));
    let mut header = [0u8; 48];
    put_data_segment_length(&mut header, u32::MAX);
    assert_eq!(header[4..8], [0, 255, 255, 255]);
}
