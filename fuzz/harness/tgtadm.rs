//! What comes to the control socket and to the command lines: tgtadm's frames, lines of JSON, option lists, fault rules.
//!
//! The same bytes are read in all four ways. What is understood must survive being written and read again, and what is written must say its own length right.

use admin::framing::{Step, examine};
use admin::options::{Parsed, Usage, tgtadm, tgtd};
use admin::portal::Portal;
use admin::request::{Envelope, PortalRequest, Request};
use admin::setting::TargetSetting;
use admin::wire::{ANSWER_HEADER, AnswerHeader, Frame, TEXT_MAX, answer};
use admin::{json, reading};
use fault::rule::{RuleId, RuleView};

/// Reads `bytes` in every way.
pub fn run(bytes: &[u8]) {
    stream(bytes);
    frame(bytes);
    request_line(bytes);
    reply_line(bytes);
    answer_header(bytes);
    command_lines(bytes);
    if let Ok(text) = core::str::from_utf8(bytes) {
        rule(text);
        portal(text);
        if let Some((name, value)) = text.split_once('=') {
            let _ = TargetSetting::parse(name, value);
        }
    }
}

/// The end of a request does not depend on how many bytes of it have arrived.
fn stream(bytes: &[u8]) {
    let whole = match examine(bytes, false) {
        Step::Binary(len) | Step::Json(len) => {
            assert!(len > 0 && len <= bytes.len(), "a whole request of {len} bytes in {}", bytes.len());
            Some(len)
        }
        Step::More(missing) => {
            assert!(missing > 0, "nothing is missing, yet more is wanted");
            None
        }
        Step::Refused => return,
    };
    for cut in [0, 1, 71, 76, 119, 120, 121, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let Some(part) = bytes.get(..cut) else { continue };
        match (examine(part, false), whole) {
            (Step::More(_), None) => {}
            (Step::More(missing), Some(len)) => assert!(cut < len && cut + missing <= len, "{missing} more after {cut} of {len} bytes"),
            (Step::Binary(found) | Step::Json(found), Some(len)) => assert_eq!(found, len, "after {cut} bytes"),
            (step, whole) => panic!("{step:?} after {cut} bytes, {whole:?} in the end"),
        }
        assert!(!matches!(examine(part, true), Step::More(_)), "more is wanted from a peer that ended");
    }
}

fn frame(bytes: &[u8]) {
    let Ok(frame) = Frame::decode(bytes) else { return };
    assert!(frame.driver.len() <= 63 && !frame.driver.contains(&0));
    assert!(frame.text.as_ref().is_none_or(|text| text.len() <= TEXT_MAX && !text.contains(&0)));
    frame_again(&frame);
    if let Ok(envelope) = reading::request(&frame) {
        understood(&envelope);
    }
}

/// What fits is read back as it was.
fn frame_again(frame: &Frame) {
    let (mut bytes, text) = frame.encode();
    bytes.extend_from_slice(&text);
    match Frame::decode(&bytes) {
        Ok(again) => assert_eq!(&again, frame),
        Err(_) => assert!(!frame.fits(), "refused though it fits"),
    }
    // A mode number that looks like the beginning of JSON is no mode.
    if frame.fits() && bytes[0] != b'{' {
        assert_eq!(examine(&bytes, false), Step::Binary(bytes.len()));
    }
}

fn understood(envelope: &Envelope) {
    let line = json::write_request(envelope);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "a request is one line");
    assert_eq!(json::read_request(&line).as_ref(), Ok(envelope));
    match &envelope.request {
        Request::FaultNew { rule: text, .. } => rule(text),
        Request::TargetUpdate { name, value, .. } => drop(TargetSetting::parse(name, value)),
        Request::PortalNew(PortalRequest { portals, .. }) | Request::PortalDelete(PortalRequest { portals, .. }) => {
            portals.iter().for_each(|text| portal(text));
        }
        _ => {}
    }
}

fn request_line(bytes: &[u8]) {
    if let Ok(envelope) = json::read_request(bytes) {
        understood(&envelope);
    }
}

fn reply_line(bytes: &[u8]) {
    let Ok(reply) = json::read_reply(bytes) else { return };
    let line = json::write_reply(&reply);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "an answer is one line");
    assert_eq!(json::read_reply(&line), Ok(reply.clone()));
    let wire = answer(&reply);
    let header = wire.first_chunk::<ANSWER_HEADER>().expect("an answer has a header");
    let header = AnswerHeader::decode(header).expect("our own header is right");
    assert_eq!(header.text, wire.len() - ANSWER_HEADER);
    assert_eq!(header.error != 0, reply.is_err());
}

fn answer_header(bytes: &[u8]) {
    let Some(Ok(header)) = bytes.first_chunk::<ANSWER_HEADER>().map(AnswerHeader::decode) else { return };
    assert!(!header.message().is_empty());
}

/// NULs part the words, as they do in /proc/PID/cmdline.
fn command_lines(bytes: &[u8]) {
    let words: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    match tgtadm::parse(&words, "1") {
        Ok(Parsed::Run(invocation)) => {
            assert!(invocation.frame.fits());
            // Longer driver names are cut on the wire.
            if invocation.frame.driver.len() <= 63 {
                frame_again(&invocation.frame);
            }
            if let Ok(envelope) = reading::request(&invocation.frame) {
                understood(&envelope);
            }
        }
        Ok(Parsed::Print(text)) => assert!(text.ends_with('\n')),
        Err(usage) => refused(&usage),
    }
    match tgtd::parse(&words, "1") {
        Ok(Parsed::Run(daemon)) => assert!(daemon.reactors != Some(0)),
        Ok(Parsed::Print(text)) => assert!(text.ends_with('\n')),
        Err(usage) => refused(&usage),
    }
}

fn refused(usage: &Usage) {
    assert!(usage.status != 0 && usage.message.ends_with('\n'), "{usage:?}");
}

fn rule(text: &str) {
    let spec = match fault::grammar::parse(text) {
        Ok(spec) => spec,
        Err(error) => {
            assert!(!error.reason.is_empty() && !error.allowed.is_empty());
            return;
        }
    };
    let rendered = fault::grammar::render(&spec);
    assert_eq!(fault::grammar::parse(&rendered).as_ref(), Ok(&spec), "{rendered}");
    let view = RuleView { id: RuleId(0), spec, fired: 0 };
    let line = fault::grammar::show_line(0, 1, 1, &view);
    assert!(line.starts_with("0: TID:1 LUN:1 ") && !line.contains('\n'), "{line:?}");
}

fn portal(text: &str) {
    let Ok(portal) = Portal::parse(text) else { return };
    assert!(!portal.host.is_empty());
    assert_eq!(Portal::parse(&portal.to_string()), Ok(portal));
}
