//! The keys of RFC 7143 13, RFC 7144 and RFC 7145: one row each, and the negotiation that reads the rows.
//!
//! A key is *declared* (never answered) or *negotiated* (the responder answers with the result). Numbers, booleans and lists all become `u32` values:
//! a boolean is 0 or 1, a list the index of the chosen word.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::interface::TargetParameters;

/// Names the keys that have a value in a [`Negotiation`]: the index of their row in [`KEYS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(u8);

#[allow(missing_docs)]
impl Key {
    pub const HEADER_DIGEST: Key = Key(0);
    pub const DATA_DIGEST: Key = Key(1);
    pub const MAX_CONNECTIONS: Key = Key(2);
    pub const INITIAL_R2T: Key = Key(3);
    pub const IMMEDIATE_DATA: Key = Key(4);
    pub const MAX_RECV_DATA_SEGMENT_LENGTH: Key = Key(5);
    pub const MAX_BURST_LENGTH: Key = Key(6);
    pub const FIRST_BURST_LENGTH: Key = Key(7);
    pub const DEFAULT_TIME2_WAIT: Key = Key(8);
    pub const DEFAULT_TIME2_RETAIN: Key = Key(9);
    pub const MAX_OUTSTANDING_R2T: Key = Key(10);
    pub const DATA_PDU_IN_ORDER: Key = Key(11);
    pub const DATA_SEQUENCE_IN_ORDER: Key = Key(12);
    pub const ERROR_RECOVERY_LEVEL: Key = Key(13);
    pub const TASK_REPORTING: Key = Key(14);
    pub const PROTOCOL_LEVEL: Key = Key(15);

    /// Only the first login of a session may bring it up.
    fn leads(self) -> bool {
        !matches!(self, Key::HEADER_DIGEST | Key::DATA_DIGEST | Key::MAX_RECV_DATA_SEGMENT_LENGTH)
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its bit in a set of keys.
    fn bit(self) -> u64 {
        1 << self.0
    }
}

/// Number of [`Key`]s.
const VALUES: usize = 16;

/// What a key's value is, and how the result is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Words for people or names: declared.
    Declared,
    /// A number each side declares for itself: least, most.
    DeclaredNumber(u32, u32),
    /// The smaller of both: least, most.
    Minimum(u32, u32),
    /// The larger of both: least, most.
    Maximum(u32, u32),
    /// Yes when both say Yes.
    And,
    /// Yes when one says Yes.
    Or,
    /// The first word of the offer that the responder supports.
    List(&'static [&'static str]),
    /// Always this answer.
    Fixed(&'static str),
    /// Has a meaning only in one stage or exchange, whose code handles it.
    Special,
}

/// Where a key may be sent: a set of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(u8);

#[allow(missing_docs)]
impl Place {
    pub const SECURITY: Place = Place(1);
    pub const OPERATIONAL: Place = Place(2);
    pub const LOGIN: Place = Place(3);
    pub const FULL_FEATURE: Place = Place(4);
    pub const ANY: Place = Place(7);

    /// True when all of `other` is in this set.
    pub const fn has(self, other: Place) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Who may send a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Sender {
    Initiator,
    Target,
    Both,
}

/// One key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRow {
    /// Its index in the values, for keys that have one.
    pub key: Option<Key>,
    /// Name.
    pub name: &'static str,
    /// Kind of value, range, result function.
    pub kind: Kind,
    /// Value before negotiation.
    pub default: u32,
    /// Where it may be sent. Operational keys are also taken in the security stage: initiators that say everything in one request get what they asked for.
    pub place: Place,
    /// Who may send it.
    pub sender: Sender,
    /// False: a discovery session answers `Irrelevant`.
    pub in_discovery: bool,
}

const fn value(key: Key, name: &'static str, kind: Kind, default: u32, in_discovery: bool) -> KeyRow {
    KeyRow { key: Some(key), name, kind, default, place: Place::LOGIN, sender: Sender::Both, in_discovery }
}

const fn other(name: &'static str, kind: Kind, place: Place, sender: Sender) -> KeyRow {
    KeyRow { key: None, name, kind, default: 0, place, sender, in_discovery: true }
}

/// Longest data segment or burst that a key can name.
const MAX_LENGTH: u32 = crate::framing::MAX_DATA_SEGMENT;
const DIGESTS: Kind = Kind::List(&["None", "CRC32C"]);
const LENGTH: Kind = Kind::Minimum(512, MAX_LENGTH);

/// Every key. The rows with a value come first, in the order of [`Key`].
pub static KEYS: &[KeyRow] = &[
    value(Key::HEADER_DIGEST, "HeaderDigest", DIGESTS, 0, true),
    value(Key::DATA_DIGEST, "DataDigest", DIGESTS, 0, true),
    value(Key::MAX_CONNECTIONS, "MaxConnections", Kind::Minimum(1, 65_535), 1, false),
    value(Key::INITIAL_R2T, "InitialR2T", Kind::Or, 1, false),
    value(Key::IMMEDIATE_DATA, "ImmediateData", Kind::And, 1, false),
    KeyRow {
        place: Place::ANY,
        ..value(Key::MAX_RECV_DATA_SEGMENT_LENGTH, "MaxRecvDataSegmentLength", Kind::DeclaredNumber(512, MAX_LENGTH), 8192, true)
    },
    value(Key::MAX_BURST_LENGTH, "MaxBurstLength", LENGTH, 262_144, false),
    value(Key::FIRST_BURST_LENGTH, "FirstBurstLength", LENGTH, 65_536, false),
    value(Key::DEFAULT_TIME2_WAIT, "DefaultTime2Wait", Kind::Maximum(0, 3600), 2, true),
    value(Key::DEFAULT_TIME2_RETAIN, "DefaultTime2Retain", Kind::Minimum(0, 3600), 20, true),
    value(Key::MAX_OUTSTANDING_R2T, "MaxOutstandingR2T", Kind::Minimum(1, 65_535), 1, false),
    value(Key::DATA_PDU_IN_ORDER, "DataPDUInOrder", Kind::Or, 1, false),
    value(Key::DATA_SEQUENCE_IN_ORDER, "DataSequenceInOrder", Kind::Or, 1, false),
    value(Key::ERROR_RECOVERY_LEVEL, "ErrorRecoveryLevel", Kind::Minimum(0, 2), 0, true),
    value(Key::TASK_REPORTING, "TaskReporting", Kind::List(&["RFC3720", "ResponseFence"]), 0, false),
    value(Key::PROTOCOL_LEVEL, "iSCSIProtocolLevel", Kind::Minimum(0, 31), 1, false),
    other("InitiatorName", Kind::Declared, Place::LOGIN, Sender::Initiator),
    other("InitiatorAlias", Kind::Declared, Place::ANY, Sender::Initiator),
    other("TargetName", Kind::Declared, Place::LOGIN, Sender::Both),
    other("TargetAlias", Kind::Declared, Place::ANY, Sender::Target),
    other("TargetAddress", Kind::Declared, Place::ANY, Sender::Target),
    other("TargetPortalGroupTag", Kind::Declared, Place::LOGIN, Sender::Target),
    other("SessionType", Kind::Declared, Place::LOGIN, Sender::Initiator),
    other("X#NodeArchitecture", Kind::Declared, Place::ANY, Sender::Both),
    other("SendTargets", Kind::Special, Place::FULL_FEATURE, Sender::Initiator),
    other("AuthMethod", Kind::Special, Place::SECURITY, Sender::Both),
    other("CHAP_A", Kind::Special, Place::SECURITY, Sender::Both),
    other("CHAP_I", Kind::Special, Place::SECURITY, Sender::Both),
    other("CHAP_C", Kind::Special, Place::SECURITY, Sender::Both),
    other("CHAP_N", Kind::Special, Place::SECURITY, Sender::Both),
    other("CHAP_R", Kind::Special, Place::SECURITY, Sender::Both),
    // Obsolete markers (RFC 7143 13.25): never NotUnderstood.
    other("IFMarker", Kind::Fixed("No"), Place::LOGIN, Sender::Both),
    other("OFMarker", Kind::Fixed("No"), Place::LOGIN, Sender::Both),
    other("IFMarkInt", Kind::Fixed("Reject"), Place::LOGIN, Sender::Both),
    other("OFMarkInt", Kind::Fixed("Reject"), Place::LOGIN, Sender::Both),
    // iSER (RFC 7145 6): over TCP the extensions are off, and what depends on them has no meaning.
    other("RDMAExtensions", Kind::Fixed("No"), Place::LOGIN, Sender::Both),
    other("TargetRecvDataSegmentLength", Kind::Fixed("Irrelevant"), Place::ANY, Sender::Both),
    other("InitiatorRecvDataSegmentLength", Kind::Fixed("Irrelevant"), Place::ANY, Sender::Both),
    other("MaxOutstandingUnexpectedPDUs", Kind::Fixed("Irrelevant"), Place::LOGIN, Sender::Both),
    other("MaxAHSLength", Kind::Fixed("Irrelevant"), Place::LOGIN, Sender::Both),
    other("TaggedBufferForSolicitedDataOnly", Kind::Fixed("Irrelevant"), Place::LOGIN, Sender::Both),
    other("iSERHelloRequired", Kind::Fixed("Irrelevant"), Place::LOGIN, Sender::Both),
];

/// The row of a key, `None` for names nobody defined (`X-` and `X#` names among them). Names are case sensitive.
pub fn row(name: &str) -> Option<&'static KeyRow> {
    KEYS.iter().find(|row| row.name == name)
}

/// The other side broke a rule that ends the negotiation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The key was already negotiated or declared.
    Repeated,
    /// The answer to our offer is none that the result function allows.
    BadAnswer,
}

/// Our wishes, what was agreed, and what is still open.
#[derive(Clone, Debug)]
pub struct Negotiation {
    wish: [u32; VALUES],
    value: [u32; VALUES],
    /// What the other side declared for itself.
    peer_receives: u32,
    settled: u64,
    offered: u64,
    discovery: bool,
    /// A further connection: what belongs to the session is agreed already.
    follows: bool,
}

/// Recovery within a connection (RFC 7143 7.1.4); nothing is kept beyond its end.
pub const MAX_ERROR_RECOVERY_LEVEL: u32 = 1;
/// Most connections of a session, whatever is configured: more only cost whoever looks through them.
pub const MAX_CONNECTIONS: u32 = 16;

/// Most R2Ts of one task at a time, whatever is configured: more only costs memory per task.
pub const MAX_OUTSTANDING_R2T: u32 = 64;

impl Negotiation {
    /// The target role with its configured parameters. ErrorRecoveryLevel is at most [`MAX_ERROR_RECOVERY_LEVEL`], MaxConnections [`MAX_CONNECTIONS`].
    pub fn target(parameters: &TargetParameters, discovery: bool) -> Negotiation {
        let mut negotiation = Negotiation::initiator(discovery);
        let length = |bytes: u32| bytes.clamp(512, MAX_LENGTH);
        for (key, wish) in [
            (Key::HEADER_DIGEST, u32::from(parameters.header_digest)),
            (Key::DATA_DIGEST, u32::from(parameters.data_digest)),
            (Key::MAX_CONNECTIONS, parameters.max_connections.clamp(1, MAX_CONNECTIONS)),
            // Later answers do not wait on other connections for that of a function: the fence of RFC 7143 4.2.2.3.3 is there for one connection only.
            (Key::TASK_REPORTING, u32::from(parameters.max_connections <= 1)),
            (Key::INITIAL_R2T, u32::from(parameters.initial_r2t)),
            (Key::IMMEDIATE_DATA, u32::from(parameters.immediate_data)),
            (Key::MAX_RECV_DATA_SEGMENT_LENGTH, length(parameters.max_recv_data_segment_length)),
            (Key::MAX_BURST_LENGTH, length(parameters.max_burst_length)),
            (Key::FIRST_BURST_LENGTH, length(parameters.first_burst_length.min(parameters.max_burst_length))),
            (Key::DEFAULT_TIME2_WAIT, parameters.default_time_2_wait.min(3600)),
            // With the last connection goes the session, and with each its tasks (RFC 7143 13.16: 0 says so).
            (Key::DEFAULT_TIME2_RETAIN, 0),
            (Key::MAX_OUTSTANDING_R2T, parameters.max_outstanding_r2t.clamp(1, MAX_OUTSTANDING_R2T)),
            (Key::DATA_PDU_IN_ORDER, u32::from(parameters.data_pdu_in_order)),
            (Key::DATA_SEQUENCE_IN_ORDER, u32::from(parameters.data_sequence_in_order)),
        ] {
            negotiation.set_wish(key, wish);
        }
        if !discovery {
            negotiation.set_wish(Key::ERROR_RECOVERY_LEVEL, parameters.error_recovery_level.min(MAX_ERROR_RECOVERY_LEVEL));
        }
        negotiation
    }

    /// Defaults everywhere: an initiator sets its wishes afterwards.
    pub fn initiator(discovery: bool) -> Negotiation {
        let mut value = [0; VALUES];
        for row in KEYS {
            if let Some(key) = row.key {
                value[key.index()] = row.default;
            }
        }
        let mut wish = value;
        // Both levels are understood; the wish is not offered by a target of its own accord.
        wish[Key::PROTOCOL_LEVEL.index()] = 2;
        wish[Key::TASK_REPORTING.index()] = 1;
        Negotiation { wish, value, peer_receives: 8192, settled: 0, offered: 0, discovery, follows: false }
    }

    /// The login is not the first one of its session: keys that only that one may bring up (RFC 7143 13, "leading only") have no meaning.
    pub fn follow(&mut self) {
        self.follows = true;
    }

    /// What this side wants.
    pub fn set_wish(&mut self, key: Key, wish: u32) {
        self.wish[key.index()] = wish;
    }

    /// The peer's key: what is to be answered, `None` for declarations and for answers to our offers.
    pub fn receive(&mut self, row: &KeyRow, text: &str) -> Result<Option<String>, Violation> {
        let Some(key) = row.key else {
            return Ok(match row.kind {
                Kind::Fixed(answer) => Some(answer.to_string()),
                _ => None,
            });
        };
        let bit = key.bit();
        if self.offered & bit != 0 {
            self.offered &= !bit;
            self.settled |= bit;
            return self.settle(key, row.kind, text).map(|()| None);
        }
        if self.settled & bit != 0 {
            return Err(Violation::Repeated);
        }
        self.settled |= bit;
        if (self.discovery && !row.in_discovery) || (self.follows && key.leads()) {
            return Ok(Some("Irrelevant".to_string()));
        }
        Ok(self.answer(key, row.kind, text))
    }

    /// MaxRecvDataSegmentLength in full feature phase may be declared again.
    pub fn redeclare(&mut self, text: &str) -> Option<String> {
        self.answer(Key::MAX_RECV_DATA_SEGMENT_LENGTH, Kind::DeclaredNumber(512, MAX_LENGTH), text)
    }

    /// Keys that the peer did not mention and whose default is not what this side wants. They count as offered.
    pub fn open_offers(&mut self) -> Vec<(&'static str, String)> {
        let mut offers = Vec::new();
        for row in KEYS {
            let Some(key) = row.key else { continue };
            let bit = key.bit();
            // Who does not speak of recovery or further connections does not want to be asked about them.
            let automatic = matches!(
                key,
                Key::PROTOCOL_LEVEL | Key::TASK_REPORTING | Key::ERROR_RECOVERY_LEVEL | Key::MAX_CONNECTIONS | Key::DEFAULT_TIME2_RETAIN
            ) || matches!(row.kind, Kind::DeclaredNumber(..));
            let relevant = (row.in_discovery || !self.discovery) && !(self.follows && key.leads());
            if !automatic && relevant && (self.settled | self.offered) & bit == 0 && self.wish[key.index()] != row.default {
                self.offered |= bit;
                offers.push((row.name, self.offer_text(key, row.kind)));
            }
        }
        offers
    }

    /// Offers of an initiator: every key, whatever it wants (`MaxRecvDataSegmentLength` is declared).
    pub fn all_offers(&mut self) -> Vec<(&'static str, String)> {
        let mut offers = Vec::new();
        for row in KEYS.iter().filter(|row| row.in_discovery || !self.discovery) {
            let Some(key) = row.key else { continue };
            if !matches!(row.kind, Kind::DeclaredNumber(..)) {
                self.offered |= key.bit();
            }
            offers.push((row.name, self.offer_text(key, row.kind)));
        }
        offers
    }

    /// True while an offer of ours has no answer.
    pub fn has_open_offers(&self) -> bool {
        self.offered != 0
    }

    /// Offers of ours that have no answer are taken back: their keys keep their defaults, and a late answer counts as a repeated key.
    pub fn withdraw_offers(&mut self) {
        self.settled |= self.offered;
        self.offered = 0;
    }

    /// The declaration of what this side receives.
    pub fn declaration(&self) -> (&'static str, String) {
        ("MaxRecvDataSegmentLength", self.wish[Key::MAX_RECV_DATA_SEGMENT_LENGTH.index()].to_string())
    }

    /// What is agreed by now.
    pub fn result(&self) -> Negotiated {
        let number = |key: Key| self.value[key.index()];
        let flag = |key: Key| self.value[key.index()] != 0;
        Negotiated {
            header_digest: flag(Key::HEADER_DIGEST),
            data_digest: flag(Key::DATA_DIGEST),
            max_connections: number(Key::MAX_CONNECTIONS),
            initial_r2t: flag(Key::INITIAL_R2T),
            immediate_data: flag(Key::IMMEDIATE_DATA),
            max_recv_data_segment_length: self.wish[Key::MAX_RECV_DATA_SEGMENT_LENGTH.index()],
            max_xmit_data_segment_length: self.peer_receives,
            max_burst_length: number(Key::MAX_BURST_LENGTH),
            first_burst_length: number(Key::FIRST_BURST_LENGTH),
            default_time_2_wait: number(Key::DEFAULT_TIME2_WAIT),
            default_time_2_retain: number(Key::DEFAULT_TIME2_RETAIN),
            // Whatever was answered before the level was known.
            max_outstanding_r2t: number(Key::MAX_OUTSTANDING_R2T).min(if self.one_request_at_a_time() { 1 } else { u32::MAX }),
            data_pdu_in_order: flag(Key::DATA_PDU_IN_ORDER),
            data_sequence_in_order: flag(Key::DATA_SEQUENCE_IN_ORDER),
            error_recovery_level: number(Key::ERROR_RECOVERY_LEVEL),
            protocol_level: number(Key::PROTOCOL_LEVEL),
        }
    }

    fn offer_text(&self, key: Key, kind: Kind) -> String {
        let wish = self.wish[key.index()];
        match kind {
            Kind::And | Kind::Or => boolean_text(wish != 0).to_string(),
            Kind::List(words) => match key {
                Key::TASK_REPORTING => words[0].to_string(),
                _ if wish != 0 => format!("{},{}", words[1], words[0]),
                _ => words[0].to_string(),
            },
            _ => wish.to_string(),
        }
    }

    /// The result of a peer's offer: our answer; `Reject` leaves the default.
    fn answer(&mut self, key: Key, kind: Kind, text: &str) -> Option<String> {
        let wish = self.wish[key.index()];
        let result = match kind {
            Kind::DeclaredNumber(least, most) => match number(text, least, most) {
                Some(bytes) => {
                    self.peer_receives = bytes;
                    return None;
                }
                None => return Some("Reject".to_string()),
            },
            Kind::Minimum(least, most) => number(text, least, most).map(|theirs| theirs.min(wish).min(self.cap(key))),
            Kind::Maximum(least, most) => number(text, least, most).map(|theirs| theirs.max(wish)),
            Kind::And => boolean(text).map(|theirs| u32::from(theirs && wish != 0)),
            Kind::Or => boolean(text).map(|theirs| u32::from(theirs || wish != 0)),
            Kind::List(words) => first_common(text, words, wish),
            Kind::Declared | Kind::Fixed(_) | Kind::Special => None,
        };
        let Some(result) = result else { return Some("Reject".to_string()) };
        self.value[key.index()] = result;
        Some(match kind {
            Kind::And | Kind::Or => boolean_text(result != 0).to_string(),
            Kind::List(words) => words.get(usize::try_from(result).unwrap_or(0)).copied().unwrap_or("None").to_string(),
            _ => result.to_string(),
        })
    }

    /// FirstBurstLength never exceeds MaxBurstLength (RFC 7143 13.14). With recovery, sequences in order come one at a time (13.19).
    fn cap(&self, key: Key) -> u32 {
        match key {
            Key::FIRST_BURST_LENGTH => self.value[Key::MAX_BURST_LENGTH.index()],
            Key::MAX_OUTSTANDING_R2T if self.one_request_at_a_time() => 1,
            _ => u32::MAX,
        }
    }

    fn one_request_at_a_time(&self) -> bool {
        self.value[Key::ERROR_RECOVERY_LEVEL.index()] > 0 && self.value[Key::DATA_SEQUENCE_IN_ORDER.index()] != 0
    }

    /// The answer to an offer of ours: checked, then it is the result.
    fn settle(&mut self, key: Key, kind: Kind, text: &str) -> Result<(), Violation> {
        if matches!(text, "Reject" | "Irrelevant" | "NotUnderstood") {
            return Ok(());
        }
        let wish = self.wish[key.index()];
        let result = match kind {
            Kind::Minimum(least, most) => number(text, least, most).filter(|&theirs| theirs <= wish),
            Kind::Maximum(least, most) => number(text, least, most).filter(|&theirs| theirs >= wish),
            Kind::And => boolean(text).filter(|&theirs| !theirs || wish != 0).map(u32::from),
            Kind::Or => boolean(text).filter(|&theirs| theirs || wish == 0).map(u32::from),
            Kind::List(words) => first_common(text, words, wish),
            _ => None,
        };
        self.value[key.index()] = result.ok_or(Violation::BadAnswer)?;
        Ok(())
    }
}

/// A number in decimal or hexadecimal within its range.
pub fn number(text: &str, least: u32, most: u32) -> Option<u32> {
    let value = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok()?,
        None if text.bytes().all(|digit| digit.is_ascii_digit()) => text.parse().ok()?,
        _ => return None,
    };
    (least..=most).contains(&value).then_some(value)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

fn boolean_text(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// Index of the first word of the offer that we support: up to `wish` (0: only the first of `words`).
fn first_common(text: &str, words: &[&str], wish: u32) -> Option<u32> {
    let supported = &words[..words.len().min(usize::try_from(wish).unwrap_or(0) + 1)];
    text.split(',').find_map(|offer| supported.iter().position(|word| *word == offer)).and_then(|index| u32::try_from(index).ok())
}

/// Result of the negotiation of one connection (and, with one connection per session, of its session).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Header digest CRC32C.
    pub header_digest: bool,
    /// Data digest CRC32C.
    pub data_digest: bool,
    /// MaxConnections.
    pub max_connections: u32,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// Longest data segment this side takes, in bytes.
    pub max_recv_data_segment_length: u32,
    /// Longest data segment the other side takes, in bytes.
    pub max_xmit_data_segment_length: u32,
    /// MaxBurstLength, in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength, in bytes.
    pub first_burst_length: u32,
    /// DefaultTime2Wait, in seconds.
    pub default_time_2_wait: u32,
    /// DefaultTime2Retain, in seconds.
    pub default_time_2_retain: u32,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u32,
    /// DataPDUInOrder.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder.
    pub data_sequence_in_order: bool,
    /// ErrorRecoveryLevel: 0, or 1 when both sides want recovery within the connection.
    pub error_recovery_level: u32,
    /// iSCSIProtocolLevel (RFC 7144).
    pub protocol_level: u32,
}

impl Default for Negotiated {
    /// The values before any negotiation (RFC 7143 13).
    fn default() -> Negotiated {
        Negotiated {
            header_digest: false,
            data_digest: false,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_recv_data_segment_length: 8192,
            max_xmit_data_segment_length: 8192,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            default_time_2_wait: 2,
            default_time_2_retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            protocol_level: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tgt's defaults.
    pub fn parameters() -> TargetParameters {
        TargetParameters {
            max_recv_data_segment_length: 8192,
            header_digest: false,
            data_digest: false,
            initial_r2t: true,
            max_outstanding_r2t: 1,
            immediate_data: true,
            first_burst_length: 65_536,
            max_burst_length: 262_144,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            default_time_2_wait: 2,
            default_time_2_retain: 20,
            max_connections: 1,
            max_queue_cmd: 128,
            nop_interval: 0,
            nop_count: 0,
        }
    }

    fn answer(parameters: &TargetParameters, name: &str, value: &str) -> Option<String> {
        Negotiation::target(parameters, false).receive(row(name).unwrap(), value).unwrap()
    }

    #[test]
    fn rows_with_values_stand_in_the_order_of_their_keys() {
        for (index, row) in KEYS.iter().take(VALUES).enumerate() {
            assert_eq!(row.key.map(|key| key.index()), Some(index), "{}", row.name);
        }
        assert!(KEYS[VALUES..].iter().all(|row| row.key.is_none()));
        let mut names: Vec<_> = KEYS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
    }

    /// Key, offer, answer, with tgt's defaults on our side.
    #[test]
    fn every_key_has_its_result_function() {
        for (key, offer, expected) in [
            ("HeaderDigest", "CRC32C,None", "None"),
            ("HeaderDigest", "None", "None"),
            ("HeaderDigest", "CRC32C", "Reject"),
            ("DataDigest", "Foo,None", "None"),
            ("MaxConnections", "8", "1"),
            ("MaxConnections", "0", "Reject"),
            ("MaxConnections", "65536", "Reject"),
            ("InitialR2T", "No", "Yes"),
            ("InitialR2T", "Yes", "Yes"),
            ("InitialR2T", "yes", "Reject"),
            ("ImmediateData", "Yes", "Yes"),
            ("ImmediateData", "No", "No"),
            ("MaxBurstLength", "16776192", "262144"),
            ("MaxBurstLength", "0x1000", "4096"),
            ("MaxBurstLength", "511", "Reject"),
            ("MaxBurstLength", "16777216", "Reject"),
            ("FirstBurstLength", "512", "512"),
            ("FirstBurstLength", "262144", "65536"),
            ("DefaultTime2Wait", "0", "2"),
            ("DefaultTime2Wait", "3600", "3600"),
            ("DefaultTime2Wait", "3601", "Reject"),
            ("DefaultTime2Retain", "0", "0"),
            ("DefaultTime2Retain", "60", "0"),
            ("MaxOutstandingR2T", "16", "1"),
            ("DataPDUInOrder", "No", "Yes"),
            ("DataSequenceInOrder", "No", "Yes"),
            ("ErrorRecoveryLevel", "2", "0"),
            ("ErrorRecoveryLevel", "3", "Reject"),
            ("TaskReporting", "FastAbort,ResponseFence,RFC3720", "ResponseFence"),
            ("TaskReporting", "FastAbort", "Reject"),
            ("iSCSIProtocolLevel", "2", "2"),
            ("iSCSIProtocolLevel", "31", "2"),
            ("iSCSIProtocolLevel", "32", "Reject"),
            ("IFMarker", "No", "No"),
            ("OFMarker", "Yes", "No"),
            ("IFMarkInt", "2048~4096", "Reject"),
            ("OFMarkInt", "1", "Reject"),
            ("RDMAExtensions", "Yes", "No"),
            ("InitiatorRecvDataSegmentLength", "4096", "Irrelevant"),
            ("MaxOutstandingUnexpectedPDUs", "2", "Irrelevant"),
        ] {
            assert_eq!(answer(&parameters(), key, offer).as_deref(), Some(expected), "{key}={offer}");
        }
        assert_eq!(answer(&parameters(), "MaxRecvDataSegmentLength", "65536"), None, "declared, never answered");
        assert_eq!(answer(&parameters(), "MaxRecvDataSegmentLength", "100").as_deref(), Some("Reject"));
        assert_eq!(answer(&parameters(), "X#NodeArchitecture", "x86"), None);
        assert!(row("X-com.example.key").is_none() && row("headerdigest").is_none());
    }

    #[test]
    fn configured_wishes_change_results() {
        let wishes =
            TargetParameters { header_digest: true, initial_r2t: false, max_outstanding_r2t: 8, first_burst_length: 1 << 20, ..parameters() };
        assert_eq!(answer(&wishes, "HeaderDigest", "CRC32C,None").as_deref(), Some("CRC32C"));
        assert_eq!(answer(&wishes, "HeaderDigest", "None,CRC32C").as_deref(), Some("None"));
        assert_eq!(answer(&wishes, "InitialR2T", "No").as_deref(), Some("No"));
        assert_eq!(answer(&wishes, "MaxOutstandingR2T", "16").as_deref(), Some("8"));
        assert_eq!(answer(&wishes, "FirstBurstLength", "16776192").as_deref(), Some("262144"), "never above MaxBurstLength");
    }

    #[test]
    fn the_level_of_recovery_is_the_lower_one_and_keeps_sequences_single() {
        let wishes = TargetParameters { error_recovery_level: 2, max_outstanding_r2t: 8, ..parameters() };
        assert_eq!(answer(&wishes, "ErrorRecoveryLevel", "0").as_deref(), Some("0"));
        for (first, second) in [
            (("ErrorRecoveryLevel", "2", "1"), ("MaxOutstandingR2T", "16", "1")),
            (("MaxOutstandingR2T", "16", "8"), ("ErrorRecoveryLevel", "1", "1")),
        ] {
            let mut negotiation = Negotiation::target(&wishes, false);
            for (name, offer, expected) in [first, second] {
                assert_eq!(negotiation.receive(row(name).unwrap(), offer).unwrap().as_deref(), Some(expected));
            }
            assert_eq!((negotiation.result().error_recovery_level, negotiation.result().max_outstanding_r2t), (1, 1));
        }
        let mut unordered = Negotiation::target(&TargetParameters { data_sequence_in_order: false, ..wishes.clone() }, false);
        for (name, offer) in [("DataSequenceInOrder", "No"), ("ErrorRecoveryLevel", "1"), ("MaxOutstandingR2T", "4")] {
            unordered.receive(row(name).unwrap(), offer).unwrap();
        }
        assert_eq!(unordered.result().max_outstanding_r2t, 4);
        assert_eq!(Negotiation::target(&wishes, true).receive(row("ErrorRecoveryLevel").unwrap(), "2").unwrap().as_deref(), Some("0"), "discovery");
        assert!(Negotiation::target(&wishes, false).open_offers().iter().all(|(name, _)| *name != "ErrorRecoveryLevel"));
    }

    #[test]
    fn discovery_makes_session_keys_irrelevant() {
        let mut negotiation = Negotiation::target(&parameters(), true);
        assert_eq!(negotiation.receive(row("InitialR2T").unwrap(), "No").unwrap().as_deref(), Some("Irrelevant"));
        assert_eq!(negotiation.receive(row("DefaultTime2Wait").unwrap(), "0").unwrap().as_deref(), Some("2"));
    }

    #[test]
    fn a_key_is_negotiated_once() {
        let mut negotiation = Negotiation::target(&parameters(), false);
        negotiation.receive(row("InitialR2T").unwrap(), "No").unwrap();
        assert_eq!(negotiation.receive(row("InitialR2T").unwrap(), "No"), Err(Violation::Repeated));
    }

    #[test]
    fn offers_of_ours_are_answered_within_the_result_function() {
        let wishes = TargetParameters { immediate_data: false, max_burst_length: 65_536, ..parameters() };
        let mut negotiation = Negotiation::target(&wishes, false);
        let offers = negotiation.open_offers();
        assert_eq!(offers, [("ImmediateData", "No".to_string()), ("MaxBurstLength", "65536".to_string())]);
        assert_eq!(negotiation.receive(row("ImmediateData").unwrap(), "Yes"), Err(Violation::BadAnswer));
        assert_eq!(negotiation.receive(row("MaxBurstLength").unwrap(), "4096"), Ok(None));
        assert_eq!(negotiation.result().max_burst_length, 4096);
        assert!(!negotiation.has_open_offers());
        assert_eq!(negotiation.receive(row("MaxBurstLength").unwrap(), "4096"), Err(Violation::Repeated));
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("0x200", 512, 1024), Some(512));
        for text in ["", "0x", "+5", "-1", "5 ", "1e3", "99999999999", "None"] {
            assert_eq!(number(text, 0, u32::MAX), None, "{text:?}");
        }
    }
}
