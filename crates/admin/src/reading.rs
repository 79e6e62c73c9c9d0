//! From tgtadm's binary request to a typed one: how tgtd reads the parameter text of each mode and operation.
//!
//! Values are not escaped on the wire, so each request has its own idea of where a value ends. A request that lacks what it needs is refused with
//! [`Code::InvalidRequest`].

use crate::code::Code;
use crate::number;
use crate::reply::Failure;
use crate::request::{Binding, Envelope, FaultSelection, PortalRequest, Request, RunState, SystemSetting, UnitNew};
use crate::wire::{Frame, NO_LUN, NO_TID};

/// Understands a request.
///
/// # Errors
/// An unknown mode or operation is [`Code::InvalidRequest`], an operation that the modes device and account lack [`Code::Unsupported`]; everything wrong with
/// the text is [`Code::InvalidRequest`], with the reason.
pub fn request(frame: &Frame) -> Result<Envelope, Failure> {
    let driver = match frame.driver.as_slice() {
        [] => None,
        name => Some(utf8(name)?.to_owned()),
    };
    let text = frame.text.as_deref().map(utf8).transpose()?;
    let request = match frame.mode {
        0 => system(frame, text),
        1 => target(frame, text),
        2 => unit(frame, text),
        3 => portal(frame, text),
        4 => driver_request(frame),
        5 => session(frame),
        6 => connection(frame),
        7 => account(frame, text),
        8 => fault(frame, text),
        mode => Err(Code::InvalidRequest.because(format!("there is no mode {mode}"))),
    }?;
    Ok(Envelope { driver, request })
}

fn system(frame: &Frame, text: Option<&str>) -> Result<Request, Failure> {
    match frame.op {
        1 => Ok(Request::SystemDelete),
        2 => Ok(Request::SystemShow),
        5 => Ok(Request::SystemUpdate { settings: system_settings(needed(text)?)? }),
        6 => Ok(Request::SystemStat),
        op => Err(unknown_operation(Code::InvalidRequest, op)),
    }
}

fn system_settings(text: &str) -> Result<Vec<SystemSetting>, Failure> {
    // By prefix, as tgtd does it: `debug=on` and whatever follows.
    if text.starts_with("debug=on") {
        return Ok(vec![SystemSetting::Debug(true)]);
    }
    if text.starts_with("debug=off") {
        return Ok(vec![SystemSetting::Debug(false)]);
    }
    let settings: Vec<SystemSetting> = items(text).map(system_setting).collect::<Result<_, _>>()?;
    if settings.is_empty() {
        return Err(Code::InvalidRequest.because("nothing to update"));
    }
    Ok(settings)
}

fn system_setting(item: &str) -> Result<SystemSetting, Failure> {
    let (name, value) = item.split_once('=').unwrap_or((item, ""));
    let bad = || Code::InvalidRequest.because(format!("'{value}' is no value for {name}"));
    let switch = || match value {
        "On" => Ok(true),
        "Off" => Ok(false),
        _ => Err(bad()),
    };
    match name {
        "State" => RunState::from_word(value).map(SystemSetting::State).ok_or_else(bad),
        "iSNS" => switch().map(SystemSetting::Isns),
        "iSNSServerIP" => Ok(SystemSetting::IsnsServerIp(value.into())),
        "iSNSServerPort" => value.parse().map(SystemSetting::IsnsServerPort).map_err(|_| bad()),
        // Off is what every other word means to tgt.
        "iSNSAccessControl" => Ok(SystemSetting::IsnsAccessControl(value == "On")),
        _ => Err(Code::InvalidRequest.because(format!("the system has no setting '{name}'"))),
    }
}

fn target(frame: &Frame, text: Option<&str>) -> Result<Request, Failure> {
    let tid = frame.tid;
    match frame.op {
        0 => {
            let name = items(needed(text)?).filter_map(|item| item.strip_prefix("targetname=")).last();
            let name = name.ok_or_else(|| missing("targetname="))?.to_owned();
            if tid < 1 {
                return Err(Code::InvalidRequest.because(format!("{tid} is no number for a target")));
            }
            Ok(Request::TargetNew { tid, name })
        }
        1 => Ok(Request::TargetDelete { tid, force: frame.force }),
        2 => Ok(Request::TargetShow { tid: (tid >= 0).then_some(tid) }),
        3 => Ok(Request::TargetBind { tid, rules: bindings(frame, text)? }),
        4 => Ok(Request::TargetUnbind { tid, rules: bindings(frame, text)? }),
        5 => {
            let (name, value) = needed(text)?.split_once('=').ok_or_else(|| missing("NAME=VALUE"))?;
            Ok(Request::TargetUpdate { tid, name: name.into(), value: value.into() })
        }
        6 => Ok(Request::TargetStat { tid }),
        op => Err(unknown_operation(Code::InvalidRequest, op)),
    }
}

/// A request with address and name holds both rules; tgtd keeps the two as one address that nothing matches.
fn bindings(frame: &Frame, text: Option<&str>) -> Result<Vec<Binding>, Failure> {
    let Some(text) = text else {
        // 0 is "not given" on the wire.
        return match frame.host {
            0 => Err(missing("initiator-address=, initiator-name= or a host")),
            host => Ok(vec![Binding::Host(host)]),
        };
    };
    let mut rules = Vec::new();
    if let Some(address) = after(text, "initiator-address=") {
        let address = address.split_once(",initiator-name=").map_or(address, |(address, _)| address);
        rules.push(Binding::Address(address.into()));
    }
    if let Some(name) = after(text, "initiator-name=") {
        let name = name.split_once(",initiator-address=").map_or(name, |(name, _)| name);
        rules.push(Binding::Name(name.into()));
    }
    if rules.is_empty() {
        return Err(missing("initiator-address= or initiator-name="));
    }
    Ok(rules)
}

fn unit(frame: &Frame, text: Option<&str>) -> Result<Request, Failure> {
    let (tid, lun) = (frame.tid, frame.lun);
    match frame.op {
        0 => unit_new(frame, text.unwrap_or_default()).map(Request::UnitNew),
        1 => Ok(Request::UnitDelete { tid, lun, force: frame.force }),
        5 => {
            let text = text.unwrap_or_default();
            let parameters = items(text.strip_prefix("targetOps ").unwrap_or(text));
            let parameters = parameters.map(|item| item.split_once('=').unwrap_or((item, ""))).map(|(key, value)| (key.to_owned(), value.to_owned()));
            Ok(Request::UnitUpdate { tid, lun, parameters: parameters.collect() })
        }
        // With a session tgtd prints all of that session: the unit filters nothing.
        6 if frame.sid != 0 => Ok(Request::SessionStat { sid: frame.sid }),
        6 => Ok(Request::UnitStat { tid, lun }),
        op => Err(unknown_operation(Code::Unsupported, op)),
    }
}

fn unit_new(frame: &Frame, text: &str) -> Result<UnitNew, Failure> {
    if frame.lun == NO_LUN {
        return Err(Code::InvalidRequest.because("no number for the unit"));
    }
    let device_type =
        u8::try_from(frame.device_type).map_err(|_| Code::InvalidRequest.because(format!("there is no device type {}", frame.device_type)))?;
    let mut new = UnitNew { tid: frame.tid, lun: frame.lun, device_type, ..UnitNew::default() };
    for item in items(text) {
        let Some((key, value)) = item.split_once('=') else { continue };
        let value = value.to_owned();
        match key {
            "path" => new.path = Some(value),
            "bstype" => new.bstype = Some(value),
            "bsopts" => new.bsopts = Some(value),
            "bsoflags" => new.bsoflags = Some(value),
            "blocksize" => new.blocksize = block_size(&value),
            _ => {}
        }
    }
    Ok(new)
}

/// A power of two, or nothing: tgt falls back to the type's default without a word.
fn block_size(text: &str) -> Option<u32> {
    let value = number::unsigned(text.as_bytes())?.value;
    u32::try_from(value).ok().filter(|size| size.is_power_of_two())
}

fn portal(frame: &Frame, text: Option<&str>) -> Result<Request, Failure> {
    match frame.op {
        0 => portal_request(needed(text)?).map(Request::PortalNew),
        1 => portal_request(needed(text)?).map(Request::PortalDelete),
        2 => Ok(Request::PortalShow),
        op => Err(unknown_operation(Code::InvalidRequest, op)),
    }
}

fn portal_request(text: &str) -> Result<PortalRequest, Failure> {
    let start = text.find("portal=").ok_or_else(|| missing("portal="))?;
    let mut request = PortalRequest { portals: Vec::new(), nop_interval: None, nop_count: None };
    for item in items(&text[start..]) {
        match item.split_once('=') {
            Some(("portal", address)) => request.portals.push(address.into()),
            Some(("nop_interval", value)) => {
                request.nop_interval = number::in_range(value, 0, u32::MAX.into()).and_then(|value| u32::try_from(value).ok())
            }
            Some(("nop_count", value)) => request.nop_count = number::in_range(value, 0, u32::MAX.into()).and_then(|value| u32::try_from(value).ok()),
            // `portal=ADDRESS:PORT,GROUP`: the comma stands between items, too.
            None if item.bytes().all(|digit| digit.is_ascii_digit()) => {
                if let Some(portal) = request.portals.last_mut() {
                    *portal = format!("{portal},{item}");
                }
            }
            _ => {}
        }
    }
    Ok(request)
}

fn driver_request(frame: &Frame) -> Result<Request, Failure> {
    match frame.op {
        2 => Ok(Request::DriverShow),
        7 => Ok(Request::DriverStart),
        8 => Ok(Request::DriverStop),
        op => Err(unknown_operation(Code::InvalidRequest, op)),
    }
}

fn session(frame: &Frame) -> Result<Request, Failure> {
    match frame.op {
        // 0 is "not given" on the wire.
        1 if frame.sid == 0 => Err(missing("a session (--sid)")),
        1 => Ok(Request::SessionDelete { sid: frame.sid }),
        // tgtd refuses every `session show`, and a transcript pins that for one target; `connection show` is for that.
        2 if frame.tid == NO_TID => Ok(Request::SessionShow { tid: None }),
        6 => Ok(Request::SessionStat { sid: frame.sid }),
        op => Err(unknown_operation(Code::InvalidRequest, op)),
    }
}

fn connection(frame: &Frame) -> Result<Request, Failure> {
    let (tid, sid, cid) = (frame.tid, frame.sid, frame.cid);
    match frame.op {
        1 => Ok(Request::ConnectionDelete { tid, sid, cid }),
        2 => Ok(Request::ConnectionShow { tid }),
        6 => Ok(Request::ConnectionStat { sid, cid }),
        op => Err(unknown_operation(Code::InvalidRequest, op)),
    }
}

fn account(frame: &Frame, text: Option<&str>) -> Result<Request, Failure> {
    let tid = (frame.tid != NO_TID).then_some(frame.tid);
    let outgoing = frame.outgoing;
    let user = || after(needed(text)?, "user=").map(str::to_owned).ok_or_else(|| missing("user="));
    match frame.op {
        0 => {
            let user = user()?;
            let (user, rest) = user.split_once(',').ok_or_else(|| missing("password="))?;
            let password = rest.strip_prefix("password=").ok_or_else(|| missing("password="))?;
            Ok(Request::AccountNew { user: user.into(), password: password.into() })
        }
        1 => Ok(Request::AccountDelete { user: user()? }),
        2 => Ok(Request::AccountShow),
        3 => Ok(Request::AccountBind { tid, user: user()?, outgoing }),
        4 => Ok(Request::AccountUnbind { tid, user: user()?, outgoing }),
        op => Err(unknown_operation(Code::Unsupported, op)),
    }
}

fn fault(frame: &Frame, text: Option<&str>) -> Result<Request, Failure> {
    match frame.op {
        0 => {
            let rule = needed(text)?.to_owned();
            if frame.tid < 1 || frame.lun == NO_LUN {
                return Err(Code::InvalidRequest.because("a rule needs a target and a unit"));
            }
            Ok(Request::FaultNew { tid: frame.tid, lun: frame.lun, rule })
        }
        1 => fault_selection(frame, text).map(Request::FaultDelete),
        2 => Ok(Request::FaultShow),
        op => Err(unknown_operation(Code::InvalidRequest, op)),
    }
}

/// Nothing given: all, as in the original.
fn fault_selection(frame: &Frame, text: Option<&str>) -> Result<FaultSelection, Failure> {
    let lun = (frame.lun != NO_LUN).then_some(frame.lun);
    match (text.unwrap_or_default(), frame.tid, lun) {
        ("", NO_TID, None) => Ok(FaultSelection::All),
        ("", NO_TID, Some(_)) => Err(Code::InvalidRequest.because("a unit needs its target")),
        ("", tid, lun) => Ok(FaultSelection::Unit { tid, lun }),
        (text, ..) => rule_number(text).map(FaultSelection::Rule).ok_or_else(|| Code::InvalidRequest.because(format!("'{text}' is not rule=N"))),
    }
}

/// `rule=N`, decimal.
pub fn rule_number(text: &str) -> Option<u64> {
    text.strip_prefix("rule=")?.trim_end_matches(',').parse().ok()
}

fn utf8(bytes: &[u8]) -> Result<&str, Failure> {
    core::str::from_utf8(bytes).map_err(|_| Code::InvalidRequest.because("the text is not UTF-8"))
}

fn needed(text: Option<&str>) -> Result<&str, Failure> {
    text.ok_or_else(|| Code::InvalidRequest.because("the request has no parameters"))
}

fn missing(what: &str) -> Failure {
    Code::InvalidRequest.because(format!("{what} is missing"))
}

fn unknown_operation(code: Code, op: u32) -> Failure {
    code.because(format!("the mode has no operation {op}"))
}

/// Items between commas; empty ones are nothing.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|item| !item.is_empty())
}

/// What follows the first `word`.
fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.split_once(word).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(mode: u32, op: u32, text: &str) -> Result<Request, Code> {
        read_frame(&Frame { mode, op, tid: 1, lun: 2, text: (!text.is_empty()).then(|| text.as_bytes().to_vec()), ..Frame::default() })
    }

    fn read_frame(frame: &Frame) -> Result<Request, Code> {
        request(frame).map(|envelope| envelope.request).map_err(|failure| failure.code)
    }

    #[test]
    fn requests_without_text_are_refused_never_fatal() {
        for (mode, op) in [(1, 0), (1, 3), (1, 4), (1, 5), (0, 5), (3, 0), (3, 1), (7, 0), (7, 1), (7, 3), (7, 4), (8, 0)] {
            assert_eq!(read(mode, op, ""), Err(Code::InvalidRequest), "{mode}/{op}");
        }
        assert_eq!(read(1, 0, "foo=1"), Err(Code::InvalidRequest));
        assert_eq!(read(2, 5, ""), Ok(Request::UnitUpdate { tid: 1, lun: 2, parameters: Vec::new() }));
    }

    #[test]
    fn unknown_modes_and_operations_have_their_codes() {
        for mode in [0, 1, 3, 4, 5, 6, 8] {
            assert_eq!(read(mode, 9, "x"), Err(Code::InvalidRequest), "{mode}");
        }
        assert_eq!(read(2, 9, "x"), Err(Code::Unsupported));
        assert_eq!(read(7, 9, "x"), Err(Code::Unsupported));
        assert_eq!(read(9, 2, ""), Err(Code::InvalidRequest));
        assert_eq!(read(5, 2, ""), Err(Code::InvalidRequest));
    }

    #[test]
    fn sessions_are_shown_and_closed_without_a_target() {
        let session = |op, tid, sid| read_frame(&Frame { mode: 5, op, tid, sid, ..Frame::default() });
        assert_eq!(session(2, NO_TID, 0), Ok(Request::SessionShow { tid: None }));
        assert_eq!(session(2, 1, 0), Err(Code::InvalidRequest));
        assert_eq!(session(1, NO_TID, 7), Ok(Request::SessionDelete { sid: 7 }));
        assert_eq!(session(1, NO_TID, 0), Err(Code::InvalidRequest));
    }

    #[test]
    fn target_texts() {
        assert_eq!(read(1, 0, "junk,targetname=a,targetname=iqn.x:1"), Ok(Request::TargetNew { tid: 1, name: "iqn.x:1".into() }));
        let below_one = Frame { mode: 1, tid: 0, text: Some(b"targetname=a".to_vec()), ..Frame::default() };
        assert_eq!(read_frame(&below_one), Err(Code::InvalidRequest));
        assert_eq!(read(1, 5, "a=b=c,d"), Ok(Request::TargetUpdate { tid: 1, name: "a".into(), value: "b=c,d".into() }));
        let both = vec![Binding::Address("A".into()), Binding::Name("N".into())];
        assert_eq!(read(1, 3, "initiator-address=A,initiator-name=N"), Ok(Request::TargetBind { tid: 1, rules: both }));
        let host = Frame { mode: 1, op: 4, tid: 1, host: 3, ..Frame::default() };
        assert_eq!(read_frame(&host), Ok(Request::TargetUnbind { tid: 1, rules: vec![Binding::Host(3)] }));
        let show = |tid| read_frame(&Frame { mode: 1, op: 2, tid, ..Frame::default() });
        assert_eq!(
            [show(-1), show(-7), show(0)],
            [Ok(Request::TargetShow { tid: None }), Ok(Request::TargetShow { tid: None }), Ok(Request::TargetShow { tid: Some(0) })]
        );
    }

    #[test]
    fn unit_texts() {
        let Ok(Request::UnitNew(new)) = read(2, 0, "path=/d.img,bstype=rdwr,bsoflags=sync:direct,blocksize=4096,zz=1") else { panic!("refused") };
        assert_eq!(
            (new.path.as_deref(), new.bstype.as_deref(), new.bsoflags.as_deref(), new.blocksize),
            (Some("/d.img"), Some("rdwr"), Some("sync:direct"), Some(4096))
        );
        let Ok(Request::UnitNew(new)) = read(2, 0, "blocksize=1000") else { panic!("refused") };
        assert_eq!((new.path, new.blocksize), (None, None));
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
        let update = |text| match read(2, 5, text) {
            Ok(Request::UnitUpdate { parameters, .. }) => parameters,
            other => panic!("{other:?}"),
        };
        assert_eq!(update("targetOps readonly=1,"), pairs(&[("readonly", "1")]));
        assert_eq!(update("targetOps ,a=1,,b,mode_page=2:0,"), pairs(&[("a", "1"), ("b", ""), ("mode_page", "2:0")]));
        assert_eq!(update("bsoflags=sync,targetOps x=1,"), pairs(&[("bsoflags", "sync"), ("targetOps x", "1")]));
        let stat = Frame { mode: 2, op: 6, tid: 1, lun: 1, sid: 5, ..Frame::default() };
        assert_eq!(read_frame(&stat), Ok(Request::SessionStat { sid: 5 }));
    }

    #[test]
    fn account_texts() {
        assert_eq!(read(7, 0, "user=u,password=p,q"), Ok(Request::AccountNew { user: "u".into(), password: "p,q".into() }));
        assert_eq!(read(7, 0, "user=u"), Err(Code::InvalidRequest));
        assert_eq!(read(7, 1, "user=a,b"), Ok(Request::AccountDelete { user: "a,b".into() }));
        let discovery = Frame { mode: 7, op: 3, outgoing: true, text: Some(b"user=u".to_vec()), ..Frame::default() };
        assert_eq!(read_frame(&discovery), Ok(Request::AccountBind { tid: None, user: "u".into(), outgoing: true }));
    }

    #[test]
    fn portal_and_system_texts() {
        let portals = PortalRequest { portals: vec!["127.0.0.1:1".into(), "[::1]".into()], nop_interval: Some(5), nop_count: None };
        assert_eq!(read(3, 0, "portalOps portal=127.0.0.1:1,portal=[::1],nop_interval=5,"), Ok(Request::PortalNew(portals)));
        let grouped = PortalRequest { portals: vec!["127.0.0.1:1,2".into(), "[::1]".into()], nop_interval: None, nop_count: None };
        assert_eq!(read(3, 1, "portalOps portal=127.0.0.1:1,2,portal=[::1],"), Ok(Request::PortalDelete(grouped)));
        assert_eq!(read(3, 0, "portalOps nothing=1,"), Err(Code::InvalidRequest));
        let update = |text| match read(0, 5, text) {
            Ok(Request::SystemUpdate { settings }) => Ok(settings),
            Ok(other) => panic!("{other:?}"),
            Err(code) => Err(code),
        };
        assert_eq!(update("debug=on"), Ok(vec![SystemSetting::Debug(true)]));
        assert_eq!(update("State=offline"), Ok(vec![SystemSetting::State(RunState::Offline)]));
        assert_eq!(update("iSNSServerPort=3299"), Ok(vec![SystemSetting::IsnsServerPort(3299)]));
        for bad in ["debug=maybe", "State=bogus", "iSNSServerPort=abc", "iSNS=Maybe", "Foo=1", ","] {
            assert_eq!(update(bad), Err(Code::InvalidRequest), "{bad}");
        }
    }

    #[test]
    fn fault_texts() {
        assert_eq!(read(8, 0, "op=READ10,lba=0"), Ok(Request::FaultNew { tid: 1, lun: 2, rule: "op=READ10,lba=0".into() }));
        let delete = |tid, lun, text: &str| {
            read_frame(&Frame { mode: 8, op: 1, tid, lun, text: (!text.is_empty()).then(|| text.as_bytes().to_vec()), ..Frame::default() })
        };
        assert_eq!(delete(NO_TID, NO_LUN, ""), Ok(Request::FaultDelete(FaultSelection::All)));
        assert_eq!(delete(1, NO_LUN, ""), Ok(Request::FaultDelete(FaultSelection::Unit { tid: 1, lun: None })));
        assert_eq!(delete(1, 3, ""), Ok(Request::FaultDelete(FaultSelection::Unit { tid: 1, lun: Some(3) })));
        assert_eq!(delete(NO_TID, NO_LUN, "rule=2"), Ok(Request::FaultDelete(FaultSelection::Rule(2))));
        assert_eq!(delete(NO_TID, NO_LUN, "rule=x"), Err(Code::InvalidRequest));
        assert_eq!(delete(NO_TID, 3, ""), Err(Code::InvalidRequest));
        assert_eq!(read_frame(&Frame { mode: 8, op: 0, text: Some(b"op=READ10".to_vec()), ..Frame::default() }), Err(Code::InvalidRequest));
    }

    proptest! {
        #[test]
        fn reading_never_panics(mode in 0u32..10, op in 0u32..10, tid: i32, lun: u64, host: u32, device_type: u32,
                                text in proptest::option::of("(portal=|user=|targetname=|initiator-address=|,|=|[ -~é]){0,12}")) {
            let frame = Frame { mode, op, tid, lun, host, device_type, text: text.map(String::into_bytes), ..Frame::default() };
            let _ = request(&frame);
        }

        #[test]
        fn reading_any_bytes_never_panics(mode in 0u32..10, op in 0u32..10, text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = request(&Frame { mode, op, tid: 1, lun: 1, text: Some(text), ..Frame::default() });
        }
    }
}
