//! Settings that are changed by name: `--mode target --op update --name N --value V`.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::number;
use crate::reply::Failure;
use crate::request::RunState;

/// One changed setting of a target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum TargetSetting {
    State(RunState),
    NopInterval(u32),
    NopCount(u32),
    RedirectAddress(String),
    RedirectPort(String),
    RedirectReason(RedirectReason),
    RedirectCallback(String),
    /// A negotiation key: hand it to [`Parameters::set`].
    Key(Key, Value),
}

/// Where logins to a target are sent, as the administrator set it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Redirect {
    /// Program that decides; wins over the address.
    pub callback: Option<String>,
    /// Address; empty or absent: logins stay here.
    pub address: Option<String>,
    /// Port, as given.
    pub port: String,
    /// Whether the initiator may forget the old address.
    pub reason: Option<RedirectReason>,
}

/// RFC 7143 11.13.5: 0101h or 0102h.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum RedirectReason {
    Temporary,
    Permanent,
}

impl TargetSetting {
    /// Reads name and value. `state` is exact; nop and redirect names are known by their beginning, as in tgt; keys are case-insensitive.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] with the reason.
    pub fn parse(name: &str, value: &str) -> Result<TargetSetting, Failure> {
        let bad = || Code::InvalidRequest.because(format!("'{value}' is no value for {name}{}", allowed(name)));
        if name == "state" {
            return RunState::from_word(value).map(TargetSetting::State).ok_or_else(bad);
        }
        let begins = |word: &str| name.starts_with(word);
        // Seconds and counts: tgt takes any text and makes 0 of junk, which turns pings off unasked. A number is asked for here.
        let count = || number::in_range(value, 0, u64::from(u32::MAX)).and_then(|count| u32::try_from(count).ok()).ok_or_else(bad);
        if begins("nop_interval") {
            return count().map(TargetSetting::NopInterval);
        }
        if begins("nop_count") {
            return count().map(TargetSetting::NopCount);
        }
        if ["Address", "Port", "Reason", "Callback"].iter().any(|part| begins(&format!("Redirect{part}"))) {
            return redirect(name, value).ok_or_else(bad);
        }
        let key = Key::ALL.iter().copied().find(|key| key.name().eq_ignore_ascii_case(name));
        let key = key.ok_or_else(|| Code::InvalidRequest.because(format!("a target has no setting '{name}': {}", names().join(", "))))?;
        Ok(TargetSetting::Key(key, key.read(value).ok_or_else(bad)?))
    }
}

/// Settings that are no negotiation keys, and what they take.
const OWN: &[(&str, &str)] = &[
    ("state", "ready or offline"),
    ("nop_interval", "seconds between pings, 0: none"),
    ("nop_count", "unanswered pings before the connection is closed"),
    ("RedirectAddress", "address or host name where logins are sent; nothing: they stay here"),
    ("RedirectPort", "port where logins are sent, 1 to 65535; nothing: 3260"),
    ("RedirectReason", "Temporary or Permanent"),
    ("RedirectCallback", "whole path of a program that says where a login is sent; nothing: none"),
];

/// Every setting of a target and what may be set, in words: for help texts and refusals.
pub fn rows() -> Vec<(&'static str, String)> {
    let own = OWN.iter().map(|(name, allowed)| (*name, (*allowed).to_owned()));
    own.chain(Key::ALL.iter().map(|key| (key.name(), key.allowed()))).collect()
}

/// Name and value as [`TargetSetting::parse`] takes them, for commands that are ours alone: the name is whole, in any case; a number has no junk behind it; `yes` is `Yes`.
///
/// # Errors
/// [`Code::InvalidRequest`] with the reason and what is allowed.
pub fn check(name: &str, value: &str) -> Result<(&'static str, String), Failure> {
    let unknown = || Code::InvalidRequest.because(format!("a target has no setting '{name}': {}", names().join(", ")));
    let name = names().into_iter().find(|known| known.eq_ignore_ascii_case(name)).ok_or_else(unknown)?;
    let bad = || Code::InvalidRequest.because(format!("'{value}' is no value for {name}{}", allowed(name)));
    let words = ["Yes", "No", "ready", "offline", "Temporary", "Permanent", "None", "CRC32C"];
    let spelled = words.iter().find(|word| word.eq_ignore_ascii_case(value)).map_or_else(|| value.to_owned(), |word| (*word).to_owned());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match TargetSetting::parse(name, &spelled)? {
        TargetSetting::NopInterval(_) | TargetSetting::NopCount(_) | TargetSetting::Key(_, Value::Number(_)) => digits(value),
        TargetSetting::RedirectPort(port) => port.is_empty() || (digits(&port) && port.parse::<u16>().is_ok_and(|port| port != 0)),
        TargetSetting::RedirectReason(_) => words.contains(&spelled.as_str()),
        _ => true,
    };
    if whole { Ok((name, spelled)) } else { Err(bad()) }
}

/// Names of all settings.
fn names() -> Vec<&'static str> {
    rows().iter().map(|row| row.0).collect()
}

/// `: ` and what the setting takes, or nothing for a name that is none.
fn allowed(name: &str) -> String {
    rows().iter().find(|row| row.0.eq_ignore_ascii_case(name)).map(|row| format!(": {}", row.1)).unwrap_or_default()
}

/// The settings of redirection. Empty ones are none: no redirection, the usual port, no program. `None`: not such a value.
fn redirect(name: &str, value: &str) -> Option<TargetSetting> {
    let text = |good: bool, setting: fn(String) -> TargetSetting| (good || value.is_empty()).then(|| setting(value.to_owned()));
    match name {
        name if name.starts_with("RedirectAddress") => text(is_host(value), TargetSetting::RedirectAddress),
        name if name.starts_with("RedirectPort") => {
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            text(digits && value.parse().is_ok_and(|port: u16| port > 0), TargetSetting::RedirectPort)
        }
        name if name.starts_with("RedirectReason") => {
            let reasons = [("Temporary", RedirectReason::Temporary), ("Permanent", RedirectReason::Permanent)];
            reasons.iter().find(|(word, _)| value.starts_with(word)).map(|(_, reason)| TargetSetting::RedirectReason(*reason))
        }
        name if name.starts_with("RedirectCallback") => text(value.starts_with('/'), TargetSetting::RedirectCallback),
        _ => None,
    }
}

/// An IPv4 address, an IPv6 address with or without brackets, or a host name (RFC 1123 2.1): what may stand before the port of a TargetAddress.
pub fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !(label.starts_with('-') || label.ends_with('-'))
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// May a target be called so? Letters, digits, `:`, `.` and `-`, as in tgt.
pub fn is_target_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'-'))
}

/// What values a key has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// `Yes` or `No`.
    Boolean,
    /// From, to.
    Number(u32, u32),
    /// 0, or from 2 up: what RFC 5046 says of MaxOutstandingUnexpectedPDUs.
    ZeroOrFromTwo,
    /// A list of `None` and `CRC32C`.
    Digest,
    /// Taken and forgotten; always `Reject`.
    Reject,
}

/// Value of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// `Yes` or `No`; of a digest: CRC32C is offered.
    Flag(bool),
    /// A number.
    Number(u32),
    /// `Reject`.
    Reject,
}

macro_rules! keys {
    ($($name:ident: $kind:expr, $default:expr;)*) => {
        /// Negotiation keys, in the order in which they are shown.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum Key { $($name,)* }

        /// Key, kind, default: one row each.
        const TABLE: &[(Key, &str, Kind, Value)] = &[$((Key::$name, stringify!($name), $kind, $default),)*];

        impl Key {
            /// All of them.
            pub const ALL: &'static [Key] = &[$(Key::$name,)*];
        }
    };
}

/// Range of the length keys (RFC 7143 13.12 to 13.14).
const LENGTH: Kind = Kind::Number(512, 16_777_215);

keys! {
    MaxRecvDataSegmentLength: LENGTH, Value::Number(8192);
    HeaderDigest: Kind::Digest, Value::Flag(false);
    DataDigest: Kind::Digest, Value::Flag(false);
    InitialR2T: Kind::Boolean, Value::Flag(true);
    MaxOutstandingR2T: Kind::Number(1, 65_535), Value::Number(1);
    ImmediateData: Kind::Boolean, Value::Flag(true);
    FirstBurstLength: LENGTH, Value::Number(65_536);
    MaxBurstLength: LENGTH, Value::Number(262_144);
    DataPDUInOrder: Kind::Boolean, Value::Flag(true);
    DataSequenceInOrder: Kind::Boolean, Value::Flag(true);
    ErrorRecoveryLevel: Kind::Number(0, 2), Value::Number(0);
    IFMarker: Kind::Boolean, Value::Flag(false);
    OFMarker: Kind::Boolean, Value::Flag(false);
    DefaultTime2Wait: Kind::Number(0, 3600), Value::Number(2);
    DefaultTime2Retain: Kind::Number(0, 3600), Value::Number(20);
    OFMarkInt: Kind::Reject, Value::Reject;
    IFMarkInt: Kind::Reject, Value::Reject;
    MaxConnections: Kind::Number(1, 65_535), Value::Number(1);
    RDMAExtensions: Kind::Boolean, Value::Flag(true);
    TargetRecvDataSegmentLength: LENGTH, Value::Number(262_144);
    InitiatorRecvDataSegmentLength: LENGTH, Value::Number(262_144);
    MaxOutstandingUnexpectedPDUs: Kind::ZeroOrFromTwo, Value::Number(0);
    MaxXmitDataSegmentLength: LENGTH, Value::Number(8192);
    MaxQueueCmd: Kind::Number(1, 512), Value::Number(128);
}

impl Key {
    fn row(self) -> &'static (Key, &'static str, Kind, Value) {
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }

    /// As negotiation spells it.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What it takes, in words.
    pub fn allowed(self) -> String {
        match self.row().2 {
            Kind::Boolean => "Yes or No".into(),
            Kind::Number(low, high) => format!("{low} to {high}"),
            Kind::ZeroOrFromTwo => format!("0, or 2 to {}", u32::MAX),
            Kind::Digest => "None, CRC32C, or both with a comma between".into(),
            Kind::Reject => "anything; always answered Reject".into(),
        }
    }

    /// Value of a new target.
    pub fn default_value(self) -> Value {
        self.row().3
    }

    /// Whether it is `Yes` or `No`.
    pub fn is_flag(self) -> bool {
        self.row().2 == Kind::Boolean
    }

    /// Its lowest and highest number. `None`: it is no number.
    pub fn range(self) -> Option<(u32, u32)> {
        match self.row().2 {
            Kind::Number(low, high) => Some((low, high)),
            Kind::ZeroOrFromTwo => Some((0, u32::MAX)),
            _ => None,
        }
    }

    /// The value of this text; `None`: outside of the key's range.
    pub fn read(self, text: &str) -> Option<Value> {
        let number =
            |low: u32, high: u32| number::in_range(text, low.into(), high.into()).and_then(|value| u32::try_from(value).ok()).map(Value::Number);
        match self.row().2 {
            Kind::Boolean => [("Yes", true), ("No", false)].iter().find(|(word, _)| *word == text).map(|(_, flag)| Value::Flag(*flag)),
            Kind::Number(low, high) => number(low, high),
            Kind::ZeroOrFromTwo => number(0, u32::MAX).filter(|value| *value != Value::Number(1)),
            Kind::Digest => {
                let known = text.split(',').all(|word| matches!(word, "None" | "CRC32C"));
                known.then(|| Value::Flag(text.split(',').any(|word| word == "CRC32C")))
            }
            Kind::Reject => Some(Value::Reject),
        }
    }

    /// A value as text that [`Key::read`] reads.
    pub fn show(self, value: Value) -> String {
        match (self.row().2, value) {
            (Kind::Digest, Value::Flag(true)) => "CRC32C".into(),
            (Kind::Digest, _) => "None".into(),
            (_, Value::Flag(true)) => "Yes".into(),
            (_, Value::Flag(false)) => "No".into(),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Reject) => "Reject".into(),
        }
    }
}

/// The negotiation keys of one target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parameters {
    /// In [`Key::ALL`]'s order.
    values: Vec<(Key, Value)>,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters { values: Key::ALL.iter().map(|key| (*key, key.default_value())).collect() }
    }
}

impl Parameters {
    /// Changes one; values come from [`TargetSetting::parse`], which has checked them.
    pub fn set(&mut self, key: Key, value: Value) {
        for entry in self.values.iter_mut().filter(|entry| entry.0 == key) {
            entry.1 = value;
        }
    }

    /// A number, 0 for a key that is none.
    pub fn number(&self, key: Key) -> u32 {
        match self.value(key) {
            Value::Number(number) => number,
            _ => 0,
        }
    }

    /// A flag or digest; false for a key that is a number.
    pub fn flag(&self, key: Key) -> bool {
        self.value(key) == Value::Flag(true)
    }

    /// Keys and values in order, for [`crate::view::TargetParametersView`].
    pub fn lines(&self) -> Vec<(String, String)> {
        self.values.iter().map(|(key, value)| (key.name().to_owned(), key.show(*value))).collect()
    }

    /// Keys whose values are not those of a new target.
    pub fn changed(&self) -> impl Iterator<Item = (Key, Value)> + '_ {
        self.values.iter().copied().filter(|(key, value)| *value != key.default_value())
    }

    fn value(&self, key: Key) -> Value {
        self.values.iter().find(|entry| entry.0 == key).map_or_else(|| key.default_value(), |entry| entry.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(name: &str, value: &str) -> bool {
        TargetSetting::parse(name, value).is_ok()
    }

    #[test]
    fn keys_keep_their_ranges() {
        assert!(accepted("MaxRecvDataSegmentLength", "262144"));
        assert!(!accepted("MaxRecvDataSegmentLength", "100"));
        assert!(accepted("maxrecvdatasegmentlength", "0x2000"));
        assert!(!accepted("MaxRecvDataSegmentLengthX", "8192"));
        assert!(!accepted("MaxBurstLength", "-5"));
        assert!(accepted("headerdigest", "CRC32C,None"));
        for bad in ["MD5", "", "none", "CRC32C,Bogus"] {
            assert!(!accepted("DataDigest", bad), "{bad}");
        }
        assert!(accepted("InitialR2T", "No") && !accepted("InitialR2T", "no") && !accepted("InitialR2T", ""));
        assert!(accepted("MaxQueueCmd", "512") && !accepted("MaxQueueCmd", "513"));
        assert!(!accepted("ErrorRecoveryLevel", "3"));
        assert!(accepted("MaxOutstandingUnexpectedPDUs", "0") && !accepted("MaxOutstandingUnexpectedPDUs", "1"));
        assert!(accepted("OFMarkInt", "5"));
        assert!(!accepted("NoSuchKey", "1"));
    }

    #[test]
    fn states_and_redirects_match_as_in_tgt() {
        assert_eq!(TargetSetting::parse("state", "offline"), Ok(TargetSetting::State(RunState::Offline)));
        assert!(!accepted("State", "ready") && !accepted("state", "readyfoo") && !accepted("state", "sideways"));
        assert_eq!(TargetSetting::parse("RedirectReasonX", "TemporaryX"), Ok(TargetSetting::RedirectReason(RedirectReason::Temporary)));
        assert!(!accepted("RedirectReason", "Temp") && !accepted("RedirectReason", "Sometimes"));
        for (name, good, bad) in [
            (
                "RedirectAddress",
                &["192.0.2.1", "[2001:db8::1]", "2001:db8::1", "storage-2.example.org", ""][..],
                &["a b", "[::1", "1:2", "-x", "a..b"][..],
            ),
            ("RedirectPort", &["3261", "65535", ""], &["0", "65536", "x", "+1", "3260 "]),
            ("RedirectCallback", &["/bin/true", ""], &["true", "./redirect"]),
        ] {
            assert!(good.iter().all(|value| accepted(name, value)), "{name}");
            assert!(bad.iter().all(|value| !accepted(name, value)), "{name}");
        }
        assert!(!accepted("RedirectNowhere", "x"));
        assert_eq!(TargetSetting::parse("nop_interval", "5"), Ok(TargetSetting::NopInterval(5)));
        assert!(!accepted("nop_count", "abc"));
    }

    #[test]
    fn parameters_remember_what_was_set() {
        let mut parameters = Parameters::default();
        assert_eq!(parameters.lines().len(), 24);
        let Ok(TargetSetting::Key(key, value)) = TargetSetting::parse("HeaderDigest", "CRC32C") else { panic!("refused") };
        parameters.set(key, value);
        assert!(parameters.flag(Key::HeaderDigest) && !parameters.flag(Key::DataDigest));
        assert_eq!(parameters.number(Key::MaxQueueCmd), 128);
        assert_eq!(parameters.lines()[1], ("HeaderDigest".into(), "CRC32C".into()));
    }

    #[test]
    fn refusals_tell_what_is_allowed() {
        let detail = |name, value| TargetSetting::parse(name, value).map_err(|failure| failure.detail);
        assert_eq!(detail("MaxBurstLength", "5"), Err("'5' is no value for MaxBurstLength: 512 to 16777215".into()));
        assert_eq!(detail("state", "up"), Err("'up' is no value for state: ready or offline".into()));
        let unknown = detail("colour", "red").unwrap_err();
        assert!(unknown.starts_with("a target has no setting 'colour': state, nop_interval,") && unknown.ends_with("MaxQueueCmd"), "{unknown}");
    }

    #[test]
    fn our_own_commands_take_whole_names_and_values_only() {
        for (name, value, want) in [
            ("State", "OFFLINE", ("state", "offline")),
            ("maxburstlength", "65536", ("MaxBurstLength", "65536")),
            ("InitialR2T", "no", ("InitialR2T", "No")),
            ("headerdigest", "CRC32C,None", ("HeaderDigest", "CRC32C,None")),
            ("redirectport", "", ("RedirectPort", "")),
            ("redirectcallback", "/bin/where", ("RedirectCallback", "/bin/where")),
        ] {
            assert_eq!(check(name, value), Ok((want.0, want.1.to_owned())), "{name}={value}");
        }
        for (name, value) in [
            ("nop_intervalX", "5"),
            ("nop_interval", "5x"),
            ("nop_interval", ""),
            ("MaxBurstLength", "0x2000"),
            ("MaxBurstLength", "5"),
            ("RedirectPort", "99999"),
            ("RedirectReason", "TemporaryX"),
            ("InitialR2T", "maybe"),
        ] {
            assert!(check(name, value).is_err_and(|failure| !failure.detail.is_empty()), "{name}={value}");
        }
    }

    #[test]
    fn every_row_is_a_setting() {
        for (name, allowed) in rows() {
            let known = !TargetSetting::parse(name, "\u{1}").is_err_and(|failure| failure.detail.contains("no setting"));
            assert!(known && !allowed.is_empty(), "{name}");
        }
    }

    #[test]
    fn target_names_have_tgts_alphabet() {
        assert!(is_target_name("iqn.2020-01.com.example:a"));
        assert!(!is_target_name("bad_name") && !is_target_name("bad name") && !is_target_name("a/b"));
    }
}
