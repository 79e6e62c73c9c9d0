//! Our own protocol on the control socket: one line of JSON asks, one line of JSON answers.
//!
//! `{"request":"fault_show"}` is answered by `{"ok":{"rules":[…]}}` or `{"error":{"code":"no_target","number":4,"text":"can't find the target"}}`.

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::reply::{Answer, Failure, Reply};
use crate::request::Envelope;

/// Reads the line of a request.
///
/// # Errors
/// [`Code::InvalidRequest`] with the place and the reason.
pub fn read_request(line: &[u8]) -> Result<Envelope, Failure> {
    serde_json::from_slice(line).map_err(|error| Code::InvalidRequest.because(error.to_string()))
}

/// Writes the line of a request, newline included.
pub fn write_request(envelope: &Envelope) -> Vec<u8> {
    line(envelope)
}

/// Reads the line of an answer.
///
/// # Errors
/// What is wrong with it: the peer is not such a daemon.
pub fn read_reply(line: &[u8]) -> Result<Reply, String> {
    match serde_json::from_slice(line).map_err(|error| error.to_string())? {
        Line::Ok(answer) => Ok(Ok(answer)),
        Line::Error(refusal) => Ok(Err(Failure { code: refusal.code, detail: refusal.detail })),
    }
}

/// Writes the line of an answer, newline included.
pub fn write_reply(reply: &Reply) -> Vec<u8> {
    match reply {
        Ok(answer) => line(&Line::Ok(answer.clone())),
        Err(failure) => {
            let (number, text) = (failure.code.number(), failure.code.text().to_owned());
            line(&Line::Error(Refusal { code: failure.code, number, text, detail: failure.detail.clone() }))
        }
    }
}

/// The answer's line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Ok(Answer),
    Error(Refusal),
}

/// A failure with number and text spelled out, for readers that have no table of them.
#[derive(Serialize, Deserialize)]
struct Refusal {
    code: Code,
    number: u32,
    text: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    detail: String,
}

fn line<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain structures with text keys: serialization into memory has no way to fail. Should one be added, the peer sees it as an error of ours.
    let mut bytes =
        serde_json::to_vec(value).unwrap_or_else(|_| b"{\"error\":{\"code\":\"unknown\",\"number\":1,\"text\":\"unknown error\"}}".to_vec());
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{FaultSelection, Request};

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap_or_default()
    }

    #[test]
    fn requests_read_well_and_come_back() {
        let cases = [
            (Request::FaultShow, r#"{"request":"fault_show"}"#),
            (Request::FaultNew { tid: 1, lun: 3, rule: "op=WRITE10".into() }, r#"{"request":{"fault_new":{"tid":1,"lun":3,"rule":"op=WRITE10"}}}"#),
            (Request::FaultDelete(FaultSelection::Rule(2)), r#"{"request":{"fault_delete":{"rule":2}}}"#),
            (Request::TargetShow { tid: None }, r#"{"request":{"target_show":{"tid":null}}}"#),
        ];
        for (request, expected) in cases {
            let envelope = Envelope { driver: None, request };
            let line = text(write_request(&envelope));
            assert_eq!(line, format!("{expected}\n"));
            assert_eq!(read_request(line.as_bytes()), Ok(envelope));
        }
    }

    #[test]
    fn failures_carry_number_and_words() {
        let reply = Err(Code::NoTarget.because("no target 9"));
        let line = text(write_reply(&reply));
        assert_eq!(line, "{\"error\":{\"code\":\"no_target\",\"number\":4,\"text\":\"can't find the target\",\"detail\":\"no target 9\"}}\n");
        assert_eq!(read_reply(line.as_bytes()), Ok(reply));
        assert_eq!(text(write_reply(&Ok(Answer::Done))), "{\"ok\":\"done\"}\n");
    }

    #[test]
    fn junk_is_an_invalid_request_with_a_reason() {
        let failure = read_request(b"{\"request\":\"nosuch\"}").map_err(|failure| (failure.code, failure.detail.contains("nosuch")));
        assert_eq!(failure, Err((Code::InvalidRequest, true)));
        assert!(read_request(&[0x7b, 0xff, 0xfe]).is_err());
    }
}
