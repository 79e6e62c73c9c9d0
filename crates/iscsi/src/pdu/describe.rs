//! A PDU in words.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use super::field::Show;
use super::*;

/// Explains a PDU: its name, its lengths, every field, text keys, the rejected header. Unknown opcodes and codes are shown as they are. One field per line.
pub fn describe(bytes: &[u8]) -> String {
    let Some(frame) = HeaderFrame::new(bytes) else {
        return format!("not a PDU: {} bytes, a header has {BHS_LEN}\n", bytes.len());
    };
    let mut out = String::new();
    let opcode = frame.opcode();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{} (opcode 0x{:02x})", opcode.name().unwrap_or("unknown opcode"), opcode.0);
    let basic = frame.basic();
    if opcode.name().is_none() {
        show_unknown(&mut out, basic);
    } else {
        show_fields(&mut out, opcode, basic);
    }
    show_additional(&mut out, frame);
    show_data(&mut out, opcode, frame, bytes);
    out
}

fn show_unknown(out: &mut String, basic: &Header) {
    for row in basic.chunks(16) {
        out.push(' ');
        for byte in row {
            let _ = write!(out, " {byte:02x}");
        }
        out.push('\n');
    }
}

fn show_fields(out: &mut String, opcode: Opcode, basic: &Header) {
    let mut each = |name: &'static str, value: &dyn Show| {
        let _ = write!(out, "  {}: ", name.replace('_', " "));
        value.show(out);
        if let Some(words) = meaning(opcode, name, basic) {
            let _ = write!(out, " = {words}");
        }
        out.push('\n');
    };
    match opcode {
        Opcode::NOP_OUT => NopOut::decode(basic).fields(&mut each),
        Opcode::SCSI_COMMAND => ScsiCommand::decode(basic).fields(&mut each),
        Opcode::TASK_MANAGEMENT_REQUEST => TaskManagementRequest::decode(basic).fields(&mut each),
        Opcode::LOGIN_REQUEST => LoginRequest::decode(basic).fields(&mut each),
        Opcode::TEXT_REQUEST => TextRequest::decode(basic).fields(&mut each),
        Opcode::DATA_OUT => DataOut::decode(basic).fields(&mut each),
        Opcode::LOGOUT_REQUEST => LogoutRequest::decode(basic).fields(&mut each),
        Opcode::SNACK_REQUEST => SnackRequest::decode(basic).fields(&mut each),
        Opcode::NOP_IN => NopIn::decode(basic).fields(&mut each),
        Opcode::SCSI_RESPONSE => ScsiResponse::decode(basic).fields(&mut each),
        Opcode::TASK_MANAGEMENT_RESPONSE => TaskManagementResponse::decode(basic).fields(&mut each),
        Opcode::LOGIN_RESPONSE => LoginResponse::decode(basic).fields(&mut each),
        Opcode::TEXT_RESPONSE => TextResponse::decode(basic).fields(&mut each),
        Opcode::DATA_IN => DataIn::decode(basic).fields(&mut each),
        Opcode::LOGOUT_RESPONSE => LogoutResponse::decode(basic).fields(&mut each),
        Opcode::READY_TO_TRANSFER => ReadyToTransfer::decode(basic).fields(&mut each),
        Opcode::ASYNC_MESSAGE => AsyncMessage::decode(basic).fields(&mut each),
        _ => Reject::decode(basic).fields(&mut each),
    }
}

/// What a code means, where the RFC has words for it.
fn meaning(opcode: Opcode, field: &str, basic: &Header) -> Option<&'static str> {
    match (opcode, field) {
        (Opcode::REJECT, "reason") => RejectReason(basic[2]).name(),
        (Opcode::LOGIN_RESPONSE, "status") => crate::login::status_name(u16::from_be_bytes([basic[36], basic[37]])),
        (Opcode::LOGIN_REQUEST | Opcode::LOGIN_RESPONSE, "current_stage") => stage_name(basic[1] >> 2 & 3),
        (Opcode::LOGIN_REQUEST | Opcode::LOGIN_RESPONSE, "next_stage") if basic[1] & 0x80 != 0 => stage_name(basic[1] & 3),
        (Opcode::TASK_MANAGEMENT_REQUEST, "function") => function_name(basic[1] & 0x7f),
        (Opcode::TASK_MANAGEMENT_RESPONSE, "response") => function_response_name(basic[2]),
        (Opcode::SCSI_RESPONSE | Opcode::DATA_IN, "status") => scsi::Status(basic[3]).name(),
        (Opcode::SCSI_COMMAND, "attribute") => ["untagged", "simple", "ordered", "head of queue", "ACA"].get(usize::from(basic[1] & 7)).copied(),
        (Opcode::LOGOUT_REQUEST, "reason") => {
            ["close the session", "close the connection", "remove the connection for recovery"].get(usize::from(basic[1] & 0x7f)).copied()
        }
        (Opcode::LOGOUT_RESPONSE, "response") => {
            ["done", "no such connection", "recovery is not supported", "clean-up failed"].get(usize::from(basic[2])).copied()
        }
        (Opcode::ASYNC_MESSAGE, "event") => {
            ["SCSI event", "asks for logout", "drops the connection", "drops all connections", "asks for negotiation", "ended tasks"]
                .get(usize::from(basic[36]))
                .copied()
        }
        (Opcode::SNACK_REQUEST, "kind") => ["Data/R2T", "Status", "DataACK", "R-Data"].get(usize::from(basic[1] & 0x0f)).copied(),
        (_, "tag") if u32_at(basic, 16) == NO_TAG => Some("none"),
        (_, "transfer_tag") if u32_at(basic, 20) == NO_TAG => Some("none"),
        _ => None,
    }
}

fn stage_name(stage: u8) -> Option<&'static str> {
    ["security negotiation", "operational negotiation", "reserved", "full feature phase"].get(usize::from(stage)).copied()
}

/// Name of a task management function code.
pub(crate) fn function_name(function: u8) -> Option<&'static str> {
    Some(match function {
        1 => "ABORT TASK",
        2 => "ABORT TASK SET",
        3 => "CLEAR ACA",
        4 => "CLEAR TASK SET",
        5 => "LOGICAL UNIT RESET",
        6 => "TARGET WARM RESET",
        7 => "TARGET COLD RESET",
        8 => "TASK REASSIGN",
        9 => "QUERY TASK",
        10 => "QUERY TASK SET",
        11 => "I_T NEXUS RESET",
        12 => "QUERY ASYNCHRONOUS EVENT",
        _ => return None,
    })
}

fn function_response_name(response: u8) -> Option<&'static str> {
    Some(match response {
        0 => "function complete",
        1 => "task does not exist",
        2 => "LUN does not exist",
        3 => "task still allegiant",
        4 => "task allegiance reassignment not supported",
        5 => "function not supported",
        6 => "function authorization failed",
        7 => "function succeeded",
        255 => "function rejected",
        _ => return None,
    })
}

fn show_additional(out: &mut String, frame: HeaderFrame<'_>) {
    let additional = frame.additional();
    if additional.is_empty() {
        return;
    }
    let _ = writeln!(out, "  additional headers: {} bytes", additional.len());
    match AdditionalHeaders::decode(additional) {
        Some(headers) => {
            if let Some(rest) = headers.extended_cdb {
                let _ = writeln!(out, "  extended cdb: {rest:02x?}");
            }
            if let Some(length) = headers.read_length {
                let _ = writeln!(out, "  expected data-in length: {length}");
            }
        }
        None => out.push_str("  additional headers are malformed\n"),
    }
}

fn show_data(out: &mut String, opcode: Opcode, frame: HeaderFrame<'_>, bytes: &[u8]) {
    let length = frame.data_segment_length();
    if length == 0 {
        return;
    }
    let start = BHS_LEN + usize::from(bytes[4]) * 4;
    let present = bytes.get(start..).unwrap_or_default();
    let data = &present[..present.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
    let _ = writeln!(out, "  data segment: {length} bytes{}", if data.is_empty() { " (not here)" } else { "" });
    match opcode {
        Opcode::LOGIN_REQUEST | Opcode::LOGIN_RESPONSE | Opcode::TEXT_REQUEST | Opcode::TEXT_RESPONSE => {
            for pair in data.split(|&byte| byte == 0).filter(|pair| !pair.is_empty()) {
                let _ = writeln!(out, "    {}", String::from_utf8_lossy(pair).escape_debug());
            }
        }
        Opcode::REJECT if data.len() >= BHS_LEN && Opcode::of(data) != Opcode::REJECT => {
            out.push_str("  rejected header:\n");
            // A header alone: its own data segment is not in a Reject.
            for line in describe(data).lines() {
                let _ = writeln!(out, "    {line}");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_told_with_its_keys() {
        let mut header = LoginRequest { immediate: true, transit: true, next_stage: 3, current_stage: 1, tag: 5, ..LoginRequest::default() }.encode();
        let text = b"InitiatorName=iqn.a\0SessionType=Discovery\0";
        put_data_segment_length(&mut header, 42);
        let words = describe(&[&header[..], text].concat());
        assert!(words.starts_with("Login Request (opcode 0x03)\n"), "{words}");
        assert!(words.contains("current stage: 1 = operational negotiation"), "{words}");
        assert!(words.contains("next stage: 3 = full feature phase"), "{words}");
        assert!(words.contains("    SessionType=Discovery\n"), "{words}");
    }

    #[test]
    fn unknown_opcodes_are_kept_and_shown() {
        let mut header = [0; 48];
        header[0] = 0x1d;
        header[47] = 0xab;
        let words = describe(&header);
        assert!(words.starts_with("unknown opcode (opcode 0x1d)"), "{words}");
        assert!(words.contains(" ab\n"), "{words}");
        assert!(describe(&[1, 2, 3]).starts_with("not a PDU"));
    }

    #[test]
    fn a_reject_shows_what_was_rejected() {
        let mut header = Reject { reason: 0x09, tag: NO_TAG, ..Reject::default() }.encode();
        put_data_segment_length(&mut header, 48);
        let words = describe(&[header, SnackRequest { kind: 1, ..SnackRequest::default() }.encode()].concat());
        assert!(words.contains("reason: 9 = invalid PDU field"), "{words}");
        assert!(words.contains("    SNACK Request (opcode 0x10)"), "{words}");
        assert!(words.contains("kind: 1 = Status"), "{words}");
    }

    /// Bytes an initiator or target makes up must not hurt whoever explains them.
    #[test]
    fn any_bytes_are_described() {
        for opcode in 0..=255u8 {
            for fill in [0x00, 0xff, 0x80, 0x41] {
                let mut bytes = std::vec![fill; 400];
                bytes[0] = opcode;
                assert!(!describe(&bytes).is_empty());
                assert!(!describe(&bytes[..48]).is_empty());
            }
        }
    }
}
