//! The login phase of the target role (RFC 7143 6.3, 11.12, 11.13): one value that takes Login Requests and says what to answer.
//!
//! Every legal order of stages is taken: security then operational, operational first when no account asks for a proof, and either straight to full
//! feature phase. Text is gathered over requests with C = 1 and cut over responses in the same way.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::auth::{Authenticator, ChapError, ChapKeys};
use crate::interface::{Authentication, Directory, LoginStatus, LoginSummary, Settings, TargetLookup, TargetOffer, TargetParameters};
use crate::key::{self, Kind, Negotiated, Negotiation, Place, Sender};
use crate::pdu::{LoginRequest, LoginResponse};
use crate::text::{self, Collector};

/// Security negotiation (CSG, NSG).
pub const SECURITY_STAGE: u8 = 0;
/// Operational negotiation.
pub const OPERATIONAL_STAGE: u8 = 1;
/// Full feature phase.
pub const FULL_FEATURE_STAGE: u8 = 3;

/// Longest data segment of a login PDU in either direction: MaxRecvDataSegmentLength before it is declared (RFC 7143 13.12).
pub const LOGIN_SEGMENT_LEN: u32 = 8192;
/// Most Login Requests of one login: real ones need at most five, a full text of [`text::MAX_TEXT_LEN`] eight more.
const MAX_LOGIN_PDUS: u32 = 32;
/// Longest iSCSI name, in bytes (RFC 7143 4.2.7.1).
const MAX_NAME_LEN: usize = 223;

#[allow(missing_docs)]
impl LoginStatus {
    pub const SUCCESS: LoginStatus = LoginStatus(0x0000);
    pub const MOVED_TEMPORARILY: LoginStatus = LoginStatus(0x0101);
    pub const MOVED_PERMANENTLY: LoginStatus = LoginStatus(0x0102);
    pub const INITIATOR_ERROR: LoginStatus = LoginStatus(0x0200);
    pub const AUTHENTICATION_FAILURE: LoginStatus = LoginStatus(0x0201);
    pub const AUTHORIZATION_FAILURE: LoginStatus = LoginStatus(0x0202);
    pub const NOT_FOUND: LoginStatus = LoginStatus(0x0203);
    pub const TARGET_REMOVED: LoginStatus = LoginStatus(0x0204);
    pub const UNSUPPORTED_VERSION: LoginStatus = LoginStatus(0x0205);
    pub const TOO_MANY_CONNECTIONS: LoginStatus = LoginStatus(0x0206);
    pub const MISSING_PARAMETER: LoginStatus = LoginStatus(0x0207);
    pub const CANNOT_INCLUDE_IN_SESSION: LoginStatus = LoginStatus(0x0208);
    pub const SESSION_TYPE_NOT_SUPPORTED: LoginStatus = LoginStatus(0x0209);
    pub const SESSION_DOES_NOT_EXIST: LoginStatus = LoginStatus(0x020a);
    pub const INVALID_DURING_LOGIN: LoginStatus = LoginStatus(0x020b);
    pub const TARGET_ERROR: LoginStatus = LoginStatus(0x0300);
    pub const SERVICE_UNAVAILABLE: LoginStatus = LoginStatus(0x0301);
    pub const OUT_OF_RESOURCES: LoginStatus = LoginStatus(0x0302);
}

/// Words for a login status, `None` for codes the RFC does not define.
pub fn status_name(status: u16) -> Option<&'static str> {
    Some(match status {
        0x0000 => "success",
        0x0101 => "target moved temporarily",
        0x0102 => "target moved permanently",
        0x0200 => "initiator error",
        0x0201 => "authentication failure",
        0x0202 => "authorization failure",
        0x0203 => "target not found",
        0x0204 => "target removed",
        0x0205 => "unsupported version",
        0x0206 => "too many connections",
        0x0207 => "missing parameter",
        0x0208 => "cannot include in session",
        0x0209 => "session type not supported",
        0x020a => "session does not exist",
        0x020b => "invalid request during login",
        0x0300 => "target error",
        0x0301 => "service unavailable",
        0x0302 => "out of resources",
        _ => return None,
    })
}

/// What a Login Request leads to. Numbers of the response (StatSN, CmdSN window) are the connection's.
#[derive(Debug)]
pub enum LoginStep {
    /// Send this and wait for the next request.
    Respond(LoginResponse, Vec<u8>),
    /// Everything is agreed; this response (TSIH missing) waits for the shell's yes.
    Ready(LoginResponse, Vec<u8>),
    /// Send this and close.
    Refuse(LoginResponse, Vec<u8>),
    /// The directory does not know yet: [`Login::answer_lookup`] goes on.
    Await {
        /// TargetName.
        name: String,
        /// InitiatorName.
        initiator: String,
    },
}

/// The world a login sees.
pub struct LoginContext<'a> {
    /// Settings of the connection.
    pub settings: &'a Settings,
    /// The model.
    pub directory: &'a dyn Directory,
}

/// A login in progress.
#[derive(Debug)]
pub struct Login {
    /// The first request; its ISID, TSIH, CID and CmdSN hold for all.
    first: Option<LoginRequest>,
    stage: u8,
    requests: u32,
    collector: Collector,
    identity: Option<Identity>,
    /// First text of a login whose target the directory is still looking for.
    awaited: Option<Vec<u8>>,
    authenticator: Authenticator,
    negotiation: Negotiation,
    parameters: Option<TargetParameters>,
    declared: bool,
    method_seen: bool,
    /// Text still to be sent, and the stage that follows it.
    answer: Vec<u8>,
    answered: usize,
    transit: Option<u8>,
    answering: bool,
}

/// What the first text said.
#[derive(Debug)]
struct Identity {
    initiator_name: String,
    initiator_alias: Option<String>,
    offer: Option<Box<TargetOffer>>,
    authentication: Authentication,
}

type Verdict<T> = Result<T, Halt>;

/// Why a request does not lead to the next answer.
enum Halt {
    /// A status, and the text that goes with it (TargetAddress).
    Refuse(LoginStatus, Vec<u8>),
    /// The directory does not know the target's place yet: names of target and initiator.
    Await(String, String),
}

impl From<LoginStatus> for Halt {
    fn from(status: LoginStatus) -> Halt {
        Halt::Refuse(status, Vec::new())
    }
}

impl Login {
    /// Before the first request.
    pub fn new(entropy: [u8; 32]) -> Login {
        Login {
            first: None,
            stage: SECURITY_STAGE,
            requests: 0,
            collector: Collector::default(),
            identity: None,
            awaited: None,
            authenticator: Authenticator::new(entropy),
            negotiation: Negotiation::initiator(false),
            parameters: None,
            declared: false,
            method_seen: false,
            answer: Vec::new(),
            answered: 0,
            transit: None,
            answering: false,
        }
    }

    /// The first request, once there was one.
    pub fn first(&self) -> Option<&LoginRequest> {
        self.first.as_ref()
    }

    /// Parameters of the target or of discovery, once they are known.
    pub fn parameters(&self) -> Option<&TargetParameters> {
        self.parameters.as_ref()
    }

    /// What is agreed by now.
    pub fn negotiated(&self) -> Negotiated {
        self.negotiation.result()
    }

    /// Who logs in; `None` before names are known.
    pub fn summary(&self) -> Option<LoginSummary> {
        let (first, identity) = (self.first.as_ref()?, self.identity.as_ref()?);
        Some(LoginSummary {
            initiator_name: identity.initiator_name.clone(),
            initiator_alias: identity.initiator_alias.clone(),
            isid: first.isid,
            tsih: first.tsih,
            cid: first.cid,
            max_connections: self.negotiation.result().max_connections,
            target: identity.offer.as_ref().map(|offer| (offer.tid, offer.name.clone())),
        })
    }

    /// A Login Request with its data segment.
    pub fn handle(&mut self, request: &LoginRequest, data: &[u8], context: &LoginContext<'_>) -> LoginStep {
        let verdict = self.take(request, data, context);
        self.step(request, verdict)
    }

    /// What the directory has found out after [`LoginStep::Await`], for the same request. It is not asked again: a second "not yet" is a failure.
    pub fn answer_lookup(&mut self, request: &LoginRequest, lookup: TargetLookup, context: &LoginContext<'_>) -> LoginStep {
        let lookup = if lookup == TargetLookup::Pending { TargetLookup::Failed } else { lookup };
        let text = self.awaited.take().unwrap_or_default();
        let verdict = self.read(request, text, Some(lookup), context);
        self.step(request, verdict)
    }

    fn step(&mut self, request: &LoginRequest, verdict: Verdict<()>) -> LoginStep {
        match verdict {
            Ok(()) => self.next_response(request),
            Err(Halt::Refuse(status, text)) => LoginStep::Refuse(self.refusal(request, status), text),
            Err(Halt::Await(name, initiator)) => LoginStep::Await { name, initiator },
        }
    }

    /// The response that refuses `request`.
    pub fn refusal(&self, request: &LoginRequest, status: LoginStatus) -> LoginResponse {
        LoginResponse { status: status.0, ..self.response(request) }
    }

    fn response(&self, request: &LoginRequest) -> LoginResponse {
        LoginResponse { current_stage: request.current_stage, isid: request.isid, tsih: request.tsih, tag: request.tag, ..LoginResponse::default() }
    }

    /// Cuts what is to be answered into one data segment; the last one carries the transition.
    fn next_response(&mut self, request: &LoginRequest) -> LoginStep {
        let mut response = self.response(request);
        if !self.answering {
            return LoginStep::Respond(response, Vec::new());
        }
        let rest = self.answer.len() - self.answered;
        let count = rest.min(usize::try_from(LOGIN_SEGMENT_LEN).unwrap_or(usize::MAX));
        let chunk = self.answer[self.answered..self.answered + count].to_vec();
        self.answered += count;
        if count < rest {
            response.continues = true;
            return LoginStep::Respond(response, chunk);
        }
        self.answering = false;
        self.answer.clear();
        self.answered = 0;
        let Some(stage) = self.transit.take() else { return LoginStep::Respond(response, chunk) };
        response.transit = true;
        response.next_stage = stage;
        self.stage = stage;
        if stage == FULL_FEATURE_STAGE { LoginStep::Ready(response, chunk) } else { LoginStep::Respond(response, chunk) }
    }

    fn take(&mut self, request: &LoginRequest, data: &[u8], context: &LoginContext<'_>) -> Verdict<()> {
        self.check_header(request)?;
        if self.answering {
            // The rest of a long answer is fetched with empty requests.
            return if data.is_empty() { Ok(()) } else { Err(LoginStatus::INITIATOR_ERROR.into()) };
        }
        self.collector.add(data).map_err(|_| LoginStatus::INITIATOR_ERROR)?;
        if request.continues {
            return if request.transit { Err(LoginStatus::INITIATOR_ERROR.into()) } else { Ok(()) };
        }
        let text = self.collector.take();
        self.read(request, text, None, context)
    }

    /// A complete text. `lookup`: what was found out meanwhile about the target that it names.
    fn read(&mut self, request: &LoginRequest, text: Vec<u8>, lookup: Option<TargetLookup>, context: &LoginContext<'_>) -> Verdict<()> {
        let pairs = text::pairs(&text).map_err(|_| LoginStatus::INITIATOR_ERROR)?;
        let mut answer = Vec::new();
        if self.identity.is_none()
            && let Err(halt) = self.identify(&pairs, lookup, context, &mut answer)
        {
            self.awaited = matches!(halt, Halt::Await(..)).then_some(text);
            return Err(halt);
        }
        let chap_before = self.authenticator.is_running();
        let chap = self.take_keys(&pairs, &mut answer)?;
        self.step_chap(&chap, chap_before, &mut answer)?;
        self.transit = self.decide_transit(request, &mut answer)?;
        self.answer = answer;
        self.answering = true;
        Ok(())
    }

    fn check_header(&mut self, request: &LoginRequest) -> Verdict<()> {
        self.requests += 1;
        if request.version_min > 0 {
            return Err(LoginStatus::UNSUPPORTED_VERSION.into());
        }
        let first = *self.first.get_or_insert(*request);
        if self.requests == 1 {
            self.stage = request.current_stage;
        }
        let same = (first.isid, first.tsih, first.cid) == (request.isid, request.tsih, request.cid);
        let stage_ok = request.current_stage == self.stage && matches!(self.stage, SECURITY_STAGE | OPERATIONAL_STAGE);
        let next_ok =
            !request.transit || (request.next_stage > request.current_stage && matches!(request.next_stage, OPERATIONAL_STAGE | FULL_FEATURE_STAGE));
        if same && stage_ok && next_ok && request.immediate && self.requests <= MAX_LOGIN_PDUS {
            Ok(())
        } else {
            Err(LoginStatus::INITIATOR_ERROR.into())
        }
    }

    /// Names and session type: they are in the first text, or the login ends.
    fn identify(&mut self, pairs: &[(&str, &str)], lookup: Option<TargetLookup>, context: &LoginContext<'_>, answer: &mut Vec<u8>) -> Verdict<()> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let initiator_name = name_value(find("InitiatorName"))?;
        let discovery = match find("SessionType") {
            None | Some("Normal") => false,
            Some("Discovery") => true,
            Some(_) => return Err(LoginStatus::SESSION_TYPE_NOT_SUPPORTED.into()),
        };
        let (offer, authentication, parameters) = if discovery {
            (None, context.directory.discovery(), context.directory.discovery_parameters())
        } else {
            let offer = look_up(name_value(find("TargetName"))?, initiator_name, lookup, context)?;
            let (authentication, parameters) = (offer.authentication.clone(), offer.parameters.clone());
            (Some(offer), authentication, parameters)
        };
        if self.stage == OPERATIONAL_STAGE && !authentication.incoming.is_empty() {
            return Err(LoginStatus::AUTHENTICATION_FAILURE.into());
        }
        if let Some(offer) = &offer {
            if let Some(alias) = &offer.alias {
                text::push(answer, "TargetAlias", alias);
            }
            text::push(answer, "TargetPortalGroupTag", &context.settings.group_tag.to_string());
        }
        let leads = self.first.as_ref().is_none_or(|first| first.tsih == 0);
        self.negotiation = Negotiation::target(&parameters, discovery);
        if !leads {
            self.negotiation.follow();
        }
        self.parameters = Some(parameters);
        let initiator_alias = find("InitiatorAlias").map(ToString::to_string);
        self.identity = Some(Identity { initiator_name: initiator_name.to_string(), initiator_alias, offer, authentication });
        Ok(())
    }

    /// Every pair gets its answer. FirstBurstLength comes last: it depends on MaxBurstLength.
    fn take_keys<'a>(&mut self, pairs: &[(&str, &'a str)], answer: &mut Vec<u8>) -> Verdict<ChapKeys<'a>> {
        let mut chap = ChapKeys::default();
        let late = |pair: &&(&str, &str)| pair.0 == "FirstBurstLength";
        for (index, (name, _)) in pairs.iter().enumerate() {
            if key::row(name).is_some_and(|row| row.kind == Kind::Declared) && pairs[..index].iter().any(|(other, _)| other == name) {
                return Err(LoginStatus::INITIATOR_ERROR.into());
            }
        }
        for (name, value) in pairs.iter().filter(|pair| !late(pair)).chain(pairs.iter().filter(late)) {
            match chap.take(name, value) {
                Some(true) if self.stage == SECURITY_STAGE => {}
                Some(_) => return Err(LoginStatus::INITIATOR_ERROR.into()),
                None => self.take_key(name, value, answer)?,
            }
        }
        Ok(chap)
    }

    fn take_key(&mut self, name: &str, value: &str, answer: &mut Vec<u8>) -> Verdict<()> {
        let Some(row) = key::row(name) else {
            if value != "NotUnderstood" {
                text::push(answer, name, "NotUnderstood");
            }
            return Ok(());
        };
        let here = if self.stage == SECURITY_STAGE { Place::SECURITY } else { Place::OPERATIONAL };
        if !row.place.has(here) || row.sender == Sender::Target {
            text::push(answer, name, "Reject");
            return Ok(());
        }
        if name == "AuthMethod" {
            return self.choose_method(value, answer);
        }
        if let Some(reply) = self.negotiation.receive(row, value).map_err(|_| LoginStatus::INITIATOR_ERROR)? {
            text::push(answer, name, &reply);
        }
        Ok(())
    }

    /// The first method of the initiator's list that fits: CHAP exactly when accounts ask for it.
    fn choose_method(&mut self, list: &str, answer: &mut Vec<u8>) -> Verdict<()> {
        if core::mem::replace(&mut self.method_seen, true) {
            return Err(LoginStatus::INITIATOR_ERROR.into());
        }
        let method = if self.must_authenticate() { "CHAP" } else { "None" };
        if !list.split(',').any(|offer| offer == method) {
            return Err(LoginStatus::AUTHENTICATION_FAILURE.into());
        }
        if method == "CHAP" {
            self.authenticator.start();
        }
        text::push(answer, "AuthMethod", method);
        Ok(())
    }

    fn must_authenticate(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| !identity.authentication.incoming.is_empty())
    }

    fn step_chap(&mut self, keys: &ChapKeys<'_>, running_before: bool, answer: &mut Vec<u8>) -> Verdict<()> {
        if !self.authenticator.is_running() {
            return if keys.any() { Err(LoginStatus::INITIATOR_ERROR.into()) } else { Ok(()) };
        }
        // CHAP_A may come with AuthMethod or in the next request.
        if !running_before && !keys.any() {
            return Ok(());
        }
        let Some(identity) = &self.identity else { return Err(LoginStatus::INITIATOR_ERROR.into()) };
        let pairs = self.authenticator.step(keys, &identity.authentication).map_err(|error| match error {
            ChapError::Missing => LoginStatus::MISSING_PARAMETER,
            ChapError::Failed => LoginStatus::AUTHENTICATION_FAILURE,
        })?;
        for (name, value) in pairs {
            text::push(answer, name, &value);
        }
        Ok(())
    }

    /// The next stage, if both sides are ready for it. Adds the target's own declarations and offers.
    fn decide_transit(&mut self, request: &LoginRequest, answer: &mut Vec<u8>) -> Verdict<Option<u8>> {
        if self.stage == OPERATIONAL_STAGE && !self.declared {
            self.declared = true;
            let (name, value) = self.negotiation.declaration();
            text::push(answer, name, &value);
        }
        if !request.transit || self.authenticator.is_running() {
            return Ok(None);
        }
        if self.stage == SECURITY_STAGE && self.must_authenticate() && !self.authenticator.is_done() {
            return Err(LoginStatus::AUTHENTICATION_FAILURE.into());
        }
        if self.stage == OPERATIONAL_STAGE {
            // Simple initiators do not answer what they did not bring up, and ask for the transition again and again. The defaults hold then.
            if self.negotiation.has_open_offers() {
                self.negotiation.withdraw_offers();
            }
            for (name, value) in self.negotiation.open_offers() {
                text::push(answer, name, &value);
            }
            if self.negotiation.has_open_offers() {
                return Ok(None);
            }
        }
        Ok(Some(request.next_stage))
    }
}

/// A name that is there and could be one.
fn name_value(value: Option<&str>) -> Verdict<&str> {
    let name = value.ok_or(LoginStatus::MISSING_PARAMETER)?;
    if name.is_empty() || name.len() > MAX_NAME_LEN || name.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err(LoginStatus::INITIATOR_ERROR.into());
    }
    Ok(name)
}

fn look_up(target: &str, initiator: &str, lookup: Option<TargetLookup>, context: &LoginContext<'_>) -> Verdict<Box<TargetOffer>> {
    let Settings { peer, local, .. } = context.settings;
    match lookup.unwrap_or_else(|| context.directory.target(target, initiator, peer.ip(), *local)) {
        TargetLookup::Found(offer) => Ok(offer),
        TargetLookup::NotFound | TargetLookup::Refused => Err(LoginStatus::NOT_FOUND.into()),
        TargetLookup::Unavailable => Err(LoginStatus::SERVICE_UNAVAILABLE.into()),
        TargetLookup::Failed => Err(LoginStatus::TARGET_ERROR.into()),
        TargetLookup::Pending => Err(Halt::Await(target.to_string(), initiator.to_string())),
        TargetLookup::Moved { address, permanent } => {
            let mut text = Vec::new();
            text::push(&mut text, "TargetAddress", &address);
            Err(Halt::Refuse(if permanent { LoginStatus::MOVED_PERMANENTLY } else { LoginStatus::MOVED_TEMPORARILY }, text))
        }
    }
}
