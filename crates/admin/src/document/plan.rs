//! Which requests make one configuration out of another, and a line for people for each change.

mod rules;
mod target;
mod unit;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Discovery, Document, Isns, System, one_line};
use crate::request::{PortalRequest, Request, SystemSetting};

/// What runs.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// The configuration, as dumped with secrets.
    pub document: Document,
    /// Numbers of the fault rules by target and unit number, in the order in which the document has them.
    pub rules: BTreeMap<(i32, u64), Vec<u64>>,
}

/// What happens to a thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    Added,
    Changed,
    Removed,
}

impl Kind {
    fn sign(self) -> char {
        match self {
            Kind::Added => '+',
            Kind::Changed => '~',
            Kind::Removed => '-',
        }
    }
}

/// One change, and the requests that make it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What people are told.
    pub view: ChangeView,
    /// What the daemon carries out, in order.
    pub requests: Vec<Request>,
}

/// One change, for people and programs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangeView {
    /// What happens.
    pub kind: Kind,
    /// To what, and how.
    pub text: String,
}

impl fmt::Display for ChangeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.sign(), self.text)
    }
}

/// What an application of a document did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanView {
    /// In order.
    pub changes: Vec<ChangeView>,
    /// They were carried out; false for a dry run.
    pub applied: bool,
}

/// The changes that make `wanted` out of what runs, in the order in which they are carried out. Nothing that is the same is touched.
///
/// Things go before things come, so that numbers and places are free; portals close first and open last. Accounts come before their bindings and
/// go after them.
pub fn plan(running: &Running, wanted: &Document) -> Vec<Change> {
    let mut old = running.document.settled(&Document::default());
    let mut new = wanted.settled(&old);
    // A target that says nothing has the pings of its own system section, which may change.
    resolve_pings(&mut old);
    resolve_pings(&mut new);
    let mut plan = Plan::default();
    let (opened, closed) = portals(&old, &new);
    plan.0.extend(closed);
    plan.system(&old, &new);
    plan.accounts_new(&old, &new);
    plan.discovery(&old.discovery, &new.discovery);
    rules::removed(&mut plan, running, &old, &new);
    target::removed(&mut plan, &old, &new);
    target::changed_and_new(&mut plan, &old, &new);
    rules::added(&mut plan, &old, &new);
    plan.accounts_gone(&old, &new);
    plan.0.extend(opened);
    plan.0
}

fn resolve_pings(document: &mut Document) {
    let system = document.system.clone().unwrap_or_default();
    for target in &mut document.targets {
        target.nop_interval.get_or_insert(system.nop_interval);
        target.nop_count.get_or_insert(system.nop_count);
    }
}

/// Changes so far.
#[derive(Default)]
struct Plan(Vec<Change>);

impl Plan {
    fn add(&mut self, kind: Kind, text: impl Into<String>, requests: Vec<Request>) {
        self.0.push(Change { view: ChangeView { kind, text: one_line(text.into()) }, requests });
    }

    fn system(&mut self, old: &Document, new: &Document) {
        let (was, is) = (old.system.clone().unwrap_or_default(), new.system.clone().unwrap_or_default());
        let update = |setting| vec![Request::SystemUpdate { settings: vec![setting] }];
        if was.state != is.state {
            let text = format!("system: state {} -> {}", was.state.word(), is.state.word());
            self.add(Kind::Changed, text, update(SystemSetting::State(is.state)));
        }
        if was.debug != is.debug {
            self.add(Kind::Changed, format!("system: debug {} -> {}", yes(was.debug), yes(is.debug)), update(SystemSetting::Debug(is.debug)));
        }
        self.pings(&was, &is);
        self.isns(&old.isns.clone().unwrap_or_default(), &new.isns.clone().unwrap_or_default());
    }

    fn pings(&mut self, was: &System, is: &System) {
        let request = |nop_interval, nop_count| vec![Request::PortalNew(PortalRequest { portals: Vec::new(), nop_interval, nop_count })];
        if was.nop_interval != is.nop_interval {
            let text = format!("system: nop_interval {} -> {}", was.nop_interval, is.nop_interval);
            self.add(Kind::Changed, text, request(Some(is.nop_interval), None));
        }
        if was.nop_count != is.nop_count {
            let text = format!("system: nop_count {} -> {}", was.nop_count, is.nop_count);
            self.add(Kind::Changed, text, request(None, Some(is.nop_count)));
        }
    }

    /// Switched off first and on last: it never runs with half of its settings.
    fn isns(&mut self, was: &Isns, is: &Isns) {
        let update = |setting| vec![Request::SystemUpdate { settings: vec![setting] }];
        let switch = format!("isns: enabled {} -> {}", yes(was.enabled), yes(is.enabled));
        if was.enabled && !is.enabled {
            self.add(Kind::Changed, switch.clone(), update(SystemSetting::Isns(false)));
        }
        if was.server != is.server {
            let text = format!("isns: server \"{}\" -> \"{}\"", was.server.escape_debug(), is.server.escape_debug());
            self.add(Kind::Changed, text, update(SystemSetting::IsnsServerIp(is.server.clone())));
        }
        if was.port != is.port {
            self.add(Kind::Changed, format!("isns: port {} -> {}", was.port, is.port), update(SystemSetting::IsnsServerPort(is.port)));
        }
        if was.access_control != is.access_control {
            let text = format!("isns: access_control {} -> {}", yes(was.access_control), yes(is.access_control));
            self.add(Kind::Changed, text, update(SystemSetting::IsnsAccessControl(is.access_control)));
        }
        if !was.enabled && is.enabled {
            self.add(Kind::Changed, switch, update(SystemSetting::Isns(true)));
        }
    }

    fn accounts_new(&mut self, old: &Document, new: &Document) {
        let known: BTreeMap<&str, _> = old.accounts.iter().map(|account| (account.user.as_str(), &account.password)).collect();
        for account in &new.accounts {
            let user = account.user.clone();
            let password = account.password.as_ref().map(|password| password.0.clone()).unwrap_or_default();
            match known.get(user.as_str()) {
                None => self.add(Kind::Added, format!("account {user}"), vec![Request::AccountNew { user, password }]),
                Some(was) if **was != account.password => {
                    self.add(Kind::Changed, format!("account {user}: another password"), vec![Request::AccountUpdate { user, password }]);
                }
                Some(_) => {}
            }
        }
    }

    fn accounts_gone(&mut self, old: &Document, new: &Document) {
        for account in old.accounts.iter().filter(|account| !new.accounts.iter().any(|kept| kept.user == account.user)) {
            let user = account.user.clone();
            self.add(Kind::Removed, format!("account {user}"), vec![Request::AccountDelete { user }]);
        }
    }

    fn discovery(&mut self, old: &Discovery, new: &Discovery) {
        self.bindings(None, "discovery", (&old.incoming, old.outgoing.as_ref()), (&new.incoming, new.outgoing.as_ref()));
    }

    /// Accounts of a target, or of discovery.
    fn bindings(&mut self, tid: Option<i32>, place: &str, old: (&[String], Option<&String>), new: (&[String], Option<&String>)) {
        let unbind = |user: &String, outgoing| vec![Request::AccountUnbind { tid, user: user.clone(), outgoing }];
        let bind = |user: &String, outgoing| vec![Request::AccountBind { tid, user: user.clone(), outgoing }];
        for user in old.0.iter().filter(|user| !new.0.contains(user)) {
            self.add(Kind::Removed, format!("{place}: incoming account {user}"), unbind(user, false));
        }
        for user in new.0.iter().filter(|user| !old.0.contains(user)) {
            self.add(Kind::Added, format!("{place}: incoming account {user}"), bind(user, false));
        }
        if old.1 != new.1 {
            if let Some(user) = old.1 {
                self.add(Kind::Removed, format!("{place}: outgoing account {user}"), unbind(user, true));
            }
            if let Some(user) = new.1 {
                self.add(Kind::Added, format!("{place}: outgoing account {user}"), bind(user, true));
            }
        }
    }
}

/// Portals to open and to close.
fn portals(old: &Document, new: &Document) -> (Vec<Change>, Vec<Change>) {
    let (old, new) = (old.portals.as_deref().unwrap_or_default(), new.portals.as_deref().unwrap_or_default());
    let request = |portal: &String| PortalRequest { portals: vec![portal.clone()], nop_interval: None, nop_count: None };
    let change = |kind, portal: &String, request| Change { view: ChangeView { kind, text: format!("portal {portal}") }, requests: vec![request] };
    let opened = new.iter().filter(|portal| !old.contains(portal)).map(|portal| change(Kind::Added, portal, Request::PortalNew(request(portal))));
    let closed =
        old.iter().filter(|portal| !new.contains(portal)).map(|portal| change(Kind::Removed, portal, Request::PortalDelete(request(portal))));
    (opened.collect(), closed.collect())
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
