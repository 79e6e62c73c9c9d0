//! Our own protocol on the control socket: one line of JSON asks, one line of JSON answers.
//!
//! A connection carries any number of requests. One with an `id` is answered with the same `id`, perhaps after later ones.
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

/// What tells the answers of one connection apart: chosen by whoever asks, given back as it came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number from 0.
    Number(u64),
    /// Up to [`ID_MAX`] bytes.
    Text(String),
}

/// Longest text of an [`Id`], in bytes: room for a UUID with a word before it.
pub const ID_MAX: usize = 64;

/// Reads the line of a request that may have an `id`; the `id` also when the rest makes no sense.
pub fn read_numbered(line: &[u8]) -> (Option<Id>, Result<Envelope, Failure>) {
    #[derive(Deserialize)]
    struct Numbered {
        #[serde(default)]
        id: Option<Id>,
    }
    let request = read_request(line);
    // A second look only at lines that may have one: most of a long document need not be read twice.
    let marked = line.windows(4).any(|bytes| bytes == b"\"id\"");
    match if marked { serde_json::from_slice::<Numbered>(line) } else { Ok(Numbered { id: None }) } {
        Ok(Numbered { id: Some(Id::Text(text)) }) if text.len() > ID_MAX => {
            (None, Err(Code::InvalidRequest.because(format!("an id has at most {ID_MAX} bytes"))))
        }
        Ok(Numbered { id }) => (id, request),
        Err(_) if request.is_ok() => (None, Err(Code::InvalidRequest.because("an id is a number from 0 or a text"))),
        Err(_) => (None, request),
    }
}

/// Writes the line of a request with an `id`, newline included.
pub fn write_numbered(id: &Id, envelope: &Envelope) -> Vec<u8> {
    marked(id, write_request(envelope))
}

/// Writes the line of an answer with the `id` of its request, newline included.
pub fn write_numbered_reply(id: Option<&Id>, reply: &Reply) -> Vec<u8> {
    match id {
        Some(id) => marked(id, write_reply(reply)),
        None => write_reply(reply),
    }
}

/// The `id` of an answer's line, if it has one.
pub fn id_of(line: &[u8]) -> Option<Id> {
    read_numbered(line).0
}

/// An object with an `id` put in front of its other members.
fn marked(id: &Id, object: Vec<u8>) -> Vec<u8> {
    let mut bytes = b"{\"id\":".to_vec();
    bytes.extend(line(id).strip_suffix(b"\n").unwrap_or_default());
    bytes.push(b',');
    bytes.extend(object.strip_prefix(b"{").unwrap_or_default());
    bytes
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
    /// Either member, and perhaps an `id`.
    #[derive(Deserialize)]
    struct Either {
        ok: Option<Answer>,
        error: Option<Refusal>,
    }
    match serde_json::from_slice(line).map_err(|error| error.to_string())? {
        Either { ok: Some(answer), error: None } => Ok(Ok(answer)),
        Either { ok: None, error: Some(refusal) } => Ok(Err(Failure { code: refusal.code, detail: refusal.detail })),
        Either { .. } => Err("neither `ok` nor `error`".into()),
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
#[derive(Serialize)]
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
    fn ids_come_back_as_they_came() {
        let envelope = Envelope { driver: None, request: Request::FaultShow };
        for (id, text) in [(Id::Number(7), "7"), (Id::Text("a \"b\"".into()), "\"a \\\"b\\\"\"")] {
            let line = text_of(&write_numbered(&id, &envelope));
            assert_eq!(line, format!("{{\"id\":{text},\"request\":\"fault_show\"}}\n"));
            assert_eq!(read_numbered(line.as_bytes()), (Some(id.clone()), Ok(envelope.clone())));
            let reply = Ok(Answer::Removed(3));
            let line = write_numbered_reply(Some(&id), &reply);
            assert_eq!(text_of(&line), format!("{{\"id\":{text},\"ok\":{{\"removed\":3}}}}\n"));
            assert_eq!((id_of(&line), read_reply(&line)), (Some(id), Ok(reply)));
        }
        assert_eq!(read_numbered(b"{\"request\":\"fault_show\"}"), (None, Ok(envelope)));
        let (id, request) = read_numbered(b"{\"request\":\"nosuch\",\"id\":4}");
        assert_eq!((id, request.is_err()), (Some(Id::Number(4)), true), "a refusal finds its request, too");
        for bad in ["-1", "1.5", "[]", "true"] {
            let (id, request) = read_numbered(format!("{{\"id\":{bad},\"request\":\"fault_show\"}}").as_bytes());
            assert!(id.is_none() && request.is_err_and(|failure| failure.detail.contains("id")), "{bad}");
        }
        let long = format!("{{\"id\":\"{}\",\"request\":\"fault_show\"}}", "x".repeat(65));
        assert!(read_numbered(long.as_bytes()).1.is_err());
    }

    fn text_of(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn junk_is_an_invalid_request_with_a_reason() {
        let failure = read_request(b"{\"request\":\"nosuch\"}").map_err(|failure| (failure.code, failure.detail.contains("nosuch")));
        assert_eq!(failure, Err((Code::InvalidRequest, true)));
        assert!(read_request(&[0x7b, 0xff, 0xfe]).is_err());
    }
}
