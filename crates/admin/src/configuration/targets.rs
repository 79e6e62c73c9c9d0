//! What the sections of `targets.conf` mean: targets, units and accounts, and the order in which they are made.

mod unit;

use std::collections::{BTreeMap, BTreeSet};

use super::line::words;
use super::{Error, SENSELESS, Section, Setting};
use crate::portal::Portal;
#[cfg(test)]
pub(super) use unit::SHARED;
pub use unit::{Unit, UnitStep};

/// Keys of a target that are sent as they are, first value only.
pub(super) const SETTINGS: &[&str] = &[
    "DataDigest",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "DefaultTime2Retain",
    "DefaultTime2Wait",
    "ErrorRecoveryLevel",
    "FirstBurstLength",
    "HeaderDigest",
    "IFMarkInt",
    "IFMarker",
    "ImmediateData",
    "InitialR2T",
    "MaxBurstLength",
    "MaxConnections",
    "MaxOutstandingR2T",
    "MaxQueueCmd",
    "MaxRecvDataSegmentLength",
    "MaxXmitDataSegmentLength",
    "OFMarkInt",
    "OFMarker",
    "RedirectAddress",
    "RedirectCallback",
    "RedirectPort",
    "RedirectReason",
    "nop_count",
    "nop_interval",
];

/// Settings of the iSNS client, in the order in which they are sent.
pub(super) const ISNS: &[&str] = &["iSNSAccessControl", "iSNSServerIP", "iSNSServerPort", "iSNS"];

/// A user and a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Name.
    pub user: String,
    /// Secret.
    pub password: String,
}

/// A whole configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Configuration {
    /// Driver of the targets that name none.
    pub default_driver: Option<String>,
    /// Go on after a failing call.
    pub ignore_errors: bool,
    /// Number of the control socket.
    pub control_port: Option<String>,
    /// Addresses to listen on, beside those that the daemon was started with.
    pub portals: Vec<String>,
    /// Settings of the iSNS client, in the order in which they are sent.
    pub isns: Vec<(&'static str, String)>,
    /// Accounts of initiators for discovery.
    pub incoming_discovery: Vec<Account>,
    /// Account with which discovery proves itself.
    pub outgoing_discovery: Vec<Account>,
    /// By name.
    pub targets: BTreeMap<String, Target>,
}

/// One target.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// Instead of the default driver.
    pub driver: Option<String>,
    /// A fixed number.
    pub tid: Option<String>,
    /// What is done once it exists, in order.
    pub steps: Vec<Step>,
}

/// One step on the way to a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something to tell whoever watches.
    Comment(String),
    /// A setting of the target.
    Setting(String, String),
    /// A unit.
    Unit(Unit),
    /// An account of initiators.
    Incoming(Account),
    /// The account with which the target proves itself.
    Outgoing(Account),
    /// A rule that lets addresses in.
    Address(String),
    /// A rule that lets an initiator in.
    Name(String),
}

impl Configuration {
    /// Makes sense of a file.
    ///
    /// # Errors
    /// Something is missing, or stands twice where one is the limit.
    pub fn new(section: &Section) -> Result<Configuration, Error> {
        let mut configuration = Configuration {
            default_driver: only(section, "default-driver")?,
            ignore_errors: only(section, "ignore-errors")?.is_some_and(|value| value == "yes"),
            control_port: only(section, "control-port")?,
            incoming_discovery: accounts(section, "incomingdiscoveryuser")?,
            outgoing_discovery: accounts(section, "outgoingdiscoveryuser")?,
            portals: portals(section)?,
            ..Configuration::default()
        };
        for name in ISNS {
            configuration.isns.extend(only(section, name)?.map(|value| (*name, value)));
        }
        for (name, block) in section.blocks_of("target") {
            let target = target(name, block)?;
            configuration.targets.insert(name.clone(), target);
        }
        match section.values("target") {
            [] => Ok(configuration),
            [first, ..] => Err(Error::at(&first.place, SENSELESS, "a target is a block: <target NAME>")),
        }
    }

    /// Numbers that some target asks for.
    pub fn fixed_tids(&self) -> BTreeSet<u64> {
        self.targets.values().filter_map(|target| target.tid.as_ref()?.parse().ok()).collect()
    }
}

/// Portals, each in the form in which the daemon shows it.
fn portals(section: &Section) -> Result<Vec<String>, Error> {
    let portal = |setting: &Setting| match Portal::parse(&setting.value) {
        Ok(portal) => Ok(portal.to_string()),
        Err(problem) => Err(Error::at(&setting.place, SENSELESS, problem)),
    };
    section.values("portal").iter().map(portal).collect()
}

/// The value of a key that may stand once.
fn only(section: &Section, key: &str) -> Result<Option<String>, Error> {
    match section.values(key) {
        [] => Ok(None),
        [one] => value(key, one).map(Some),
        [_, second, ..] => Err(Error::at(&second.place, SENSELESS, format!("Multiple {key} definitions are not allowed!"))),
    }
}

fn value(key: &str, setting: &Setting) -> Result<String, Error> {
    if setting.value.is_empty() {
        return Err(Error::at(&setting.place, SENSELESS, format!("Option {key} has a missing value!")));
    }
    Ok(setting.value.clone())
}

fn values(section: &Section, key: &str) -> Result<Vec<String>, Error> {
    section.values(key).iter().map(|setting| value(key, setting)).collect()
}

fn accounts(section: &Section, key: &str) -> Result<Vec<Account>, Error> {
    let account = |setting: &Setting| match <[String; 2]>::try_from(words(&setting.value)) {
        Ok([user, password]) => Ok(Account { user, password }),
        Err(_) => Err(Error::at(&setting.place, SENSELESS, format!("{key} takes a user and a password; one with blanks stands in quotes"))),
    };
    section.values(key).iter().map(account).collect()
}

fn target(name: &str, block: &Section) -> Result<Target, Error> {
    if let (true, Some(place)) = (name.is_empty(), &block.place) {
        return Err(Error::at(place, SENSELESS, "a target needs a name: <target NAME>"));
    }
    let mut target = Target { driver: only(block, "driver")?, tid: only(block, "controller_tid")?, steps: Vec::new() };
    let (capitals, small): (Vec<&String>, Vec<&String>) = block.settings.keys().partition(|key| key.as_str() < "a");
    for key in capitals {
        target.setting(block, key)?;
    }
    let stores = unit::stores(block)?;
    target.steps.extend(unit::units(block, stores)?.into_iter().map(Step::Unit));
    for key in small {
        match key.as_str() {
            "incominguser" => target.steps.extend(accounts(block, key)?.into_iter().map(Step::Incoming)),
            "initiator-address" => target.steps.extend(values(block, key)?.into_iter().map(Step::Address)),
            "initiator-name" => target.steps.extend(values(block, key)?.into_iter().map(Step::Name)),
            "outgoinguser" => target.outgoing(block, key)?,
            key => target.setting(block, key)?,
        }
    }
    // A target without any rule serves everybody. One that names initiators serves these: an address rule for all would let everybody else in, too.
    if !target.steps.iter().any(|step| matches!(step, Step::Address(_) | Step::Name(_))) {
        target.steps.push(Step::Address("ALL".into()));
    }
    Ok(target)
}

impl Target {
    fn setting(&mut self, block: &Section, key: &str) -> Result<(), Error> {
        if !SETTINGS.contains(&key) && !key.starts_with("state") {
            return Ok(());
        }
        let mut values = values(block, key)?;
        self.first_counts(key, values.len());
        if !values.is_empty() {
            self.steps.push(Step::Setting(key.to_owned(), values.swap_remove(0)));
        }
        Ok(())
    }

    fn outgoing(&mut self, block: &Section, key: &str) -> Result<(), Error> {
        let accounts = accounts(block, key)?;
        self.first_counts(key, accounts.len());
        self.steps.extend(accounts.into_iter().next().map(Step::Outgoing));
        Ok(())
    }

    fn first_counts(&mut self, key: &str, given: usize) {
        if given > 1 {
            self.steps.push(Step::Comment(format!("Warning: only one {key} is allowed. Will only use the first one.")));
        }
    }
}

#[cfg(test)]
mod tests;
