//! Login of the initiator: a security stage when there is an account, then the operational stage, then full feature phase.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::chap;
use super::{Chap, Settings};
use crate::key::Negotiated;

/// Stage numbers on the wire.
pub(super) const SECURITY: u8 = 0;
pub(super) const OPERATIONAL: u8 = 1;
pub(super) const FULL_FEATURE: u8 = 3;

/// Where a login stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Names and AuthMethod were sent.
    Method,
    /// CHAP_A was sent.
    Algorithm,
    /// CHAP_N and CHAP_R were sent.
    Proof,
    /// The operational keys were sent.
    Keys,
}

/// What to send next.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) stage: u8,
    /// Transit to this stage.
    pub(super) next: Option<u8>,
    pub(super) text: Vec<u8>,
}

/// Login as a state machine over text.
#[derive(Debug)]
pub(super) struct Login {
    settings: Settings,
    step: Step,
    collected: Vec<u8>,
    negotiated: Negotiated,
}

fn text_of(pairs: &[(&str, String)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in pairs {
        text.extend_from_slice(key.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    text
}

/// Key and value of each item.
pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    let items = text.split(|&byte| byte == 0).filter(|item| !item.is_empty());
    let items = items.map(|item| String::from_utf8_lossy(item).into_owned());
    items.map(|item| item.split_once('=').map_or_else(|| (item.clone(), String::new()), |(key, value)| (key.into(), value.into()))).collect()
}

fn find<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn yes(value: bool) -> String {
    if value { "Yes" } else { "No" }.to_string()
}

impl Login {
    pub(super) fn new(settings: Settings) -> (Login, Request) {
        let mut names = alloc::vec![("InitiatorName", settings.initiator_name.clone())];
        match &settings.target_name {
            Some(name) => {
                names.push(("SessionType", "Normal".into()));
                names.push(("TargetName", name.clone()));
            }
            None => names.push(("SessionType", "Discovery".into())),
        }
        let with_chap = settings.chap.is_some();
        names.push(("AuthMethod", if with_chap { "CHAP" } else { "None" }.into()));
        let mut login = Login { settings, step: Step::Method, collected: Vec::new(), negotiated: Negotiated::default() };
        login.negotiated = Negotiated { header_digest: false, data_digest: false, ..login.settings.leading.unwrap_or_default() };
        let mut text = text_of(&names);
        if with_chap {
            return (login, Request { stage: SECURITY, next: None, text });
        }
        login.step = Step::Keys;
        names.retain(|(key, _)| *key != "AuthMethod");
        text = text_of(&names);
        text.extend_from_slice(&login.operational_keys());
        (login, Request { stage: OPERATIONAL, next: Some(FULL_FEATURE), text })
    }

    pub(super) fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    fn operational_keys(&self) -> Vec<u8> {
        let settings = &self.settings;
        let digest = |on: bool| if on { "CRC32C,None" } else { "None" }.to_string();
        let mut keys = alloc::vec![
            ("HeaderDigest", digest(settings.header_digest)),
            ("DataDigest", digest(settings.data_digest)),
            ("MaxRecvDataSegmentLength", settings.max_recv_data_segment_length.to_string()),
        ];
        // What belongs to the session is agreed once.
        if settings.leading.is_none() {
            keys.extend([
                ("DefaultTime2Wait", "2".into()),
                ("DefaultTime2Retain", "20".into()),
                ("ErrorRecoveryLevel", settings.error_recovery_level.to_string()),
            ]);
        }
        if settings.target_name.is_some() && settings.leading.is_none() {
            keys.extend([
                ("InitialR2T", yes(settings.initial_r2t)),
                ("ImmediateData", yes(settings.immediate_data)),
                ("MaxBurstLength", settings.max_burst_length.to_string()),
                ("FirstBurstLength", settings.first_burst_length.to_string()),
                ("MaxOutstandingR2T", settings.max_outstanding_r2t.to_string()),
                ("MaxConnections", settings.max_connections.to_string()),
                ("DataPDUInOrder", "Yes".into()),
                ("DataSequenceInOrder", "Yes".into()),
            ]);
        }
        let mut text = text_of(&keys);
        for (key, value) in &settings.more_keys {
            text.extend_from_slice(&text_of(&[(key, value.clone())]));
        }
        text
    }

    /// An answer of the target. `transit`: its T bit and next stage. The next request, `Ok(None)` when full feature phase begins, or the rule it broke.
    pub(super) fn answer(&mut self, text: &[u8], more: bool, transit: Option<u8>) -> Result<Option<Request>, String> {
        self.collected.extend_from_slice(text);
        let stage = if self.step == Step::Keys { OPERATIONAL } else { SECURITY };
        if more {
            return Ok(Some(Request { stage, next: None, text: Vec::new() }));
        }
        let text = core::mem::take(&mut self.collected);
        let pairs = pairs(&text);
        match self.step {
            Step::Method => self.after_method(&pairs),
            Step::Algorithm => self.after_algorithm(&pairs),
            Step::Proof => self.after_proof(&pairs, transit),
            Step::Keys => {
                self.take_keys(&pairs)?;
                if transit == Some(FULL_FEATURE) {
                    return Ok(None);
                }
                Ok(Some(Request { stage: OPERATIONAL, next: Some(FULL_FEATURE), text: Vec::new() }))
            }
        }
    }

    fn chap(&self) -> Result<&Chap, String> {
        self.settings.chap.as_ref().ok_or_else(|| "the target wants CHAP and we have no account".into())
    }

    fn after_method(&mut self, pairs: &[(String, String)]) -> Result<Option<Request>, String> {
        match find(pairs, "AuthMethod") {
            Some("CHAP") => {}
            other => return Err(format!("AuthMethod={other:?} in answer to CHAP")),
        }
        let algorithms: Vec<String> = self.chap()?.algorithms.iter().map(ToString::to_string).collect();
        self.step = Step::Algorithm;
        Ok(Some(Request { stage: SECURITY, next: None, text: text_of(&[("CHAP_A", algorithms.join(","))]) }))
    }

    fn after_algorithm(&mut self, pairs: &[(String, String)]) -> Result<Option<Request>, String> {
        let algorithm = find(pairs, "CHAP_A").and_then(|value| value.parse().ok()).ok_or("no CHAP_A")?;
        let identifier = find(pairs, "CHAP_I").and_then(|value| value.parse().ok()).ok_or("no CHAP_I")?;
        let challenge = find(pairs, "CHAP_C").and_then(chap::binary).ok_or("no CHAP_C")?;
        let chap = self.chap()?;
        if !chap.algorithms.contains(&algorithm) {
            return Err(format!("CHAP_A={algorithm} was not offered"));
        }
        let response = chap::response(algorithm, identifier, &chap.secret, &challenge).ok_or("unknown CHAP_A")?;
        let mut answer = alloc::vec![("CHAP_N", chap.user.clone()), ("CHAP_R", chap::hex(&response))];
        if let Some(mutual) = &chap.mutual {
            answer.push(("CHAP_I", mutual.identifier.to_string()));
            answer.push(("CHAP_C", chap::hex(&mutual.challenge)));
        }
        let text = text_of(&answer);
        if let Some(chap) = &mut self.settings.chap {
            chap.algorithms = alloc::vec![algorithm];
        }
        self.step = Step::Proof;
        Ok(Some(Request { stage: SECURITY, next: Some(OPERATIONAL), text }))
    }

    fn after_proof(&mut self, pairs: &[(String, String)], transit: Option<u8>) -> Result<Option<Request>, String> {
        let chap = self.chap()?;
        if let Some(mutual) = &chap.mutual {
            let algorithm = chap.algorithms.first().copied().unwrap_or_default();
            let expected = chap::response(algorithm, mutual.identifier, &mutual.secret, &mutual.challenge);
            if find(pairs, "CHAP_N") != Some(&mutual.user) || find(pairs, "CHAP_R").and_then(chap::binary) != expected {
                return Err("the target did not prove itself".into());
            }
        }
        if transit != Some(OPERATIONAL) {
            return Err(format!("after a good CHAP_R the target goes to stage {transit:?}"));
        }
        self.step = Step::Keys;
        Ok(Some(Request { stage: OPERATIONAL, next: Some(FULL_FEATURE), text: self.operational_keys() }))
    }

    fn take_keys(&mut self, pairs: &[(String, String)]) -> Result<(), String> {
        let offered = self.settings.clone();
        for (key, value) in pairs {
            let number = || value.parse::<u32>().map_err(|_| format!("{key}={value} is no number"));
            if value == "Irrelevant" && offered.tsih != 0 {
                continue;
            }
            let result = &mut self.negotiated;
            match key.as_str() {
                "HeaderDigest" => result.header_digest = value == "CRC32C" && offered.header_digest,
                "DataDigest" => result.data_digest = value == "CRC32C" && offered.data_digest,
                "MaxRecvDataSegmentLength" => result.max_xmit_data_segment_length = number()?,
                "InitialR2T" => result.initial_r2t = value == "Yes",
                "ImmediateData" => result.immediate_data = value == "Yes",
                "MaxBurstLength" => result.max_burst_length = below(key, number()?, offered.max_burst_length)?,
                "FirstBurstLength" => result.first_burst_length = below(key, number()?, offered.first_burst_length)?,
                "MaxOutstandingR2T" => result.max_outstanding_r2t = below(key, number()?, offered.max_outstanding_r2t)?,
                "ErrorRecoveryLevel" => result.error_recovery_level = below(key, number()?, offered.error_recovery_level)?,
                "MaxConnections" => result.max_connections = below(key, number()?, offered.max_connections)?,
                _ => {}
            }
        }
        self.negotiated.max_recv_data_segment_length = offered.max_recv_data_segment_length;
        Ok(())
    }
}

/// Results of a minimum function are never above the offer.
fn below(key: &str, value: u32, offer: u32) -> Result<u32, String> {
    if value > offer { Err(format!("{key}={value} is above our offer {offer}")) } else { Ok(value) }
}
