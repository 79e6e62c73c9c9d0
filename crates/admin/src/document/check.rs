//! What makes no sense in a document, beyond its types. Everything is told at once, each with the field and with what is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use scsi::BlockSize;

use super::{Document, FieldPath, Problem, Redirect, StoreFlag, Target, Unit, one_line};
use crate::portal::Portal;
use crate::setting::is_target_name;

/// Highest unit number: what flat space addressing can name.
const LUN_MAX: u64 = 16_383;
/// Longest iSCSI name in bytes (RFC 7143 4.2.7.1).
const NAME_MAX: usize = 223;

/// Collects problems under one path.
struct Finder<'a> {
    path: FieldPath,
    found: &'a mut Vec<Problem>,
}

impl Finder<'_> {
    fn tell(&mut self, field: &str, message: impl Into<String>) {
        let path = if field.is_empty() { self.path.clone() } else { self.path.key(field) };
        self.found.push(Problem { path, message: one_line(message.into()) });
    }

    fn tell_at(&mut self, field: &str, index: usize, message: impl Into<String>) {
        self.found.push(Problem { path: self.path.key(field).index(index), message: one_line(message.into()) });
    }

    fn inside(&mut self, field: &str, index: usize) -> Finder<'_> {
        Finder { path: self.path.key(field).index(index), found: self.found }
    }

    /// No value twice.
    fn unique<T: Ord>(&mut self, field: &str, list: &[T], shown: impl Fn(&T) -> String) {
        let mut seen = BTreeMap::new();
        for (at, value) in list.iter().enumerate() {
            if let Some(first) = seen.insert(value, at) {
                self.tell_at(field, at, format!("{} is there already, at {field}[{first}]", shown(value)));
            }
        }
    }

    /// Every user has an account.
    fn accounts(&mut self, users: &BTreeSet<&str>, incoming: &[String], outgoing: Option<&str>) {
        for (at, user) in incoming.iter().enumerate().filter(|(_, user)| !users.contains(user.as_str())) {
            self.tell_at("incoming", at, no_account(user, users));
        }
        if let Some(user) = outgoing.filter(|user| !users.contains(user)) {
            self.tell("outgoing", no_account(user, users));
        }
        self.unique("incoming", incoming, |user| format!("`{user}`"));
    }
}

fn no_account(user: &str, users: &BTreeSet<&str>) -> String {
    let known: Vec<&str> = users.iter().copied().take(10).collect();
    match known.as_slice() {
        [] => format!("no account `{user}`: add [[account]] with that user"),
        known => format!("no account `{user}`: the accounts are {}", known.join(", ")),
    }
}

impl Document {
    /// Everything that makes no sense in it; empty: all is well.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut finder = Finder { path: FieldPath::default(), found: &mut found };
        self.check_portals(&mut finder);
        if let Some(isns) = self.isns.as_ref() {
            let mut finder = Finder { path: finder.path.key("isns"), found: finder.found };
            if isns.enabled && isns.server.is_empty() {
                finder.tell("server", "iSNS is enabled, but no server is named");
            }
            if isns.port == 0 {
                finder.tell("port", "0 is not allowed: 1 to 65535");
            }
        }
        self.check_accounts(&mut finder);
        let users: BTreeSet<&str> = self.accounts.iter().map(|account| account.user.as_str()).collect();
        let mut discovery = Finder { path: finder.path.key("discovery"), found: finder.found };
        discovery.accounts(&users, &self.discovery.incoming, self.discovery.outgoing.as_deref());
        self.check_targets(&mut finder, &users);
        for (at, fault) in self.faults.iter().enumerate() {
            let mut finder = finder.inside("fault", at);
            if fault.tid < 1 {
                finder.tell("tid", format!("{} is not allowed: 1 or more", fault.tid));
            }
            if let Err(error) = fault::grammar::parse(&fault.rule) {
                finder.tell("rule", error.to_string());
            }
        }
        found
    }

    fn check_portals(&self, finder: &mut Finder<'_>) {
        let portals = self.portals.as_deref().unwrap_or_default();
        let mut seen = BTreeMap::new();
        for (at, text) in portals.iter().enumerate() {
            let portal = match Portal::parse(text) {
                Ok(portal) => portal.numeric(),
                Err(error) => {
                    finder.tell_at("portals", at, error);
                    continue;
                }
            };
            match portal {
                None => finder.tell_at("portals", at, format!("`{text}` is not numeric: write 192.0.2.1, 192.0.2.1:3260 or [2001:db8::1]:3260")),
                Some(address) if address.port() == 0 => {}
                Some(address) => {
                    if let Some(first) = seen.insert(address, at) {
                        finder.tell_at("portals", at, format!("{address} is there already, at portals[{first}]"));
                    }
                }
            }
        }
    }

    fn check_accounts(&self, finder: &mut Finder<'_>) {
        let mut seen = BTreeMap::new();
        for (at, account) in self.accounts.iter().enumerate() {
            let mut finder = finder.inside("account", at);
            if account.user.is_empty() {
                finder.tell("user", "the name is empty");
            }
            if let Some(first) = seen.insert(account.user.as_str(), at) {
                finder.tell("user", format!("`{}` is there already, at account[{first}]", account.user));
            }
            if account.password.is_some() && account.password_file.is_some() {
                finder.tell("password_file", "there is a password, too: one of the two");
            }
            if account.password.as_ref().is_some_and(|password| password.0.is_empty()) {
                finder.tell("password", "the password is empty");
            }
        }
    }

    fn check_targets(&self, finder: &mut Finder<'_>, users: &BTreeSet<&str>) {
        let (mut names, mut tids, mut hosts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (at, target) in self.targets.iter().enumerate() {
            let mut finder = finder.inside("target", at);
            if let Some(first) = names.insert(target.name.as_str(), at) {
                finder.tell("name", format!("`{}` is there already, at target[{first}]", target.name));
            }
            if let Some(tid) = target.tid {
                if tid < 1 {
                    finder.tell("tid", format!("{tid} is not allowed: 1 or more"));
                }
                if let Some(first) = tids.insert(tid, at) {
                    finder.tell("tid", format!("{tid} is that of target[{first}], too"));
                }
            }
            for (number, host) in target.hosts.iter().enumerate() {
                if let Some(first) = hosts.insert(*host, at) {
                    finder.tell_at("hosts", number, format!("host {host} is bound already, to target[{first}]"));
                }
            }
            check_target(&mut finder, target, users);
        }
    }
}

fn check_target(finder: &mut Finder<'_>, target: &Target, users: &BTreeSet<&str>) {
    if target.name.is_empty() || !is_target_name(&target.name) {
        finder.tell("name", format!("`{}` is not allowed: letters, digits, `:`, `.` and `-`", target.name.escape_debug()));
    }
    if target.name.len() > NAME_MAX {
        finder.tell("name", format!("{} bytes are not allowed: at most {NAME_MAX}", target.name.len()));
    }
    for (at, rule) in target.allow.iter().enumerate().filter(|(_, rule)| !is_address_rule(rule)) {
        finder.tell_at("allow", at, format!("`{}` is no address rule: ALL, 192.0.2.1, 192.0.2.0/24, 2001:db8::/32", rule.escape_debug()));
    }
    for (at, _) in target.initiators.iter().enumerate().filter(|(_, rule)| rule.is_empty()) {
        finder.tell_at("initiators", at, "an empty name matches nobody: write an iSCSI name, `*` and `?` allowed");
    }
    finder.unique("allow", &target.allow, |rule| format!("`{rule}`"));
    finder.unique("initiators", &target.initiators, |rule| format!("`{rule}`"));
    finder.accounts(users, &target.incoming, target.outgoing.as_deref());
    check_redirect(&mut Finder { path: finder.path.key("redirect"), found: finder.found }, &target.redirect);
    for (key, value) in &target.keys {
        if key.read(&value.text()).is_none() {
            let mut finder = Finder { path: finder.path.key("keys"), found: finder.found };
            let allowed = if key.is_flag() { "true or false".into() } else { key.allowed() };
            finder.tell(key.name(), format!("{} is not allowed: {allowed}", value.text().escape_debug()));
        }
    }
    let mut luns = BTreeMap::new();
    for (at, unit) in target.units.iter().enumerate() {
        let mut finder = finder.inside("unit", at);
        if let Some(first) = luns.insert(unit.lun, at) {
            finder.tell("lun", format!("{} is that of unit[{first}], too", unit.lun));
        }
        check_unit(&mut finder, unit);
    }
}

/// `ALL`, `ADDRESS` or `[ADDRESS]`, the latter two with an optional `/BITS`.
fn is_address_rule(rule: &str) -> bool {
    let (address, bits) = rule.split_once('/').map_or((rule, None), |(address, bits)| (address, Some(bits)));
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let most = match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return rule == "ALL",
    };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

fn check_redirect(finder: &mut Finder<'_>, redirect: &Redirect) {
    for (field, text) in [("address", &redirect.address), ("callback", &redirect.callback)] {
        if text.as_ref().is_some_and(String::is_empty) {
            finder.tell(field, "the text is empty: leave the field out");
        }
    }
    if redirect.port == Some(0) {
        finder.tell("port", "0 is not allowed: 1 to 65535");
    }
}

fn check_unit(finder: &mut Finder<'_>, unit: &Unit) {
    if unit.lun == 0 || unit.lun > LUN_MAX {
        finder.tell("lun", format!("{} is not allowed: 1 to {LUN_MAX}", unit.lun));
    }
    check_store(finder, unit);
    if let Some(bytes) = unit.block_size.filter(|bytes| BlockSize::new(*bytes).is_none()) {
        finder.tell("block_size", format!("{bytes} is not allowed: 512, 1024, 2048, 4096, 8192, 16384, 32768 or 65536"));
    }
    let texts =
        [("scsi_id", &unit.scsi_id, 36), ("scsi_sn", &unit.scsi_sn, 36), ("vendor_id", &unit.vendor_id, 8), ("product_id", &unit.product_id, 16)];
    for (field, text, most) in texts.into_iter().chain([("product_rev", &unit.product_rev, 4)]) {
        let count = text.as_ref().map_or(1, |text| text.chars().count());
        if count == 0 || count > most {
            finder.tell(field, format!("{count} characters are not allowed: 1 to {most}"));
        }
    }
    if let Some(exponent) = unit.lbppbe.filter(|exponent| *exponent > 15) {
        finder.tell("lbppbe", format!("{exponent} is not allowed: 0 to 15"));
    }
    if let Some(block) = unit.la_lba.filter(|block| *block > 16_383) {
        finder.tell("la_lba", format!("{block} is not allowed: 0 to 16383"));
    }
    if unit.online == Some(true) && unit.medium().is_none() {
        finder.tell("online", "a unit without medium cannot be online: give it a path, or a size when its store is memory");
    }
    let codes: Vec<(u8, u8)> = unit.mode_pages.iter().map(|page| (page.page, page.subpage)).collect();
    finder.unique("mode_pages", &codes, |(page, subpage)| format!("page {page:#04x}, subpage {subpage:#04x}"));
    let groups: Vec<u16> = unit.access_states.iter().map(|access| access.group).collect();
    finder.unique("access_states", &groups, |group| format!("group {group}"));
    for (at, rule) in unit.faults.iter().enumerate() {
        if let Err(error) = fault::grammar::parse(rule) {
            finder.tell_at("faults", at, error.to_string());
        }
    }
}

fn check_store(finder: &mut Finder<'_>, unit: &Unit) {
    let memory = unit.store_word() == "memory";
    if memory && unit.path.is_some() {
        finder.tell("path", "a memory store has a size and no path");
    }
    if !memory && unit.size.is_some() {
        finder.tell("size", format!("only a memory store has a size; that of {} is that of its medium", unit.store_word()));
    }
    if unit.path.as_ref().is_some_and(String::is_empty) {
        finder.tell("path", "the path is empty: leave the field out for a drive without medium");
    }
    if let Some(bytes) = unit.size.filter(|size| size.0 < u64::from(unit.block_size.unwrap_or(512))) {
        finder.tell("size", format!("{bytes} bytes are less than one block"));
    }
    if unit.flags.iter().filter(|flag| flag.protection().is_some()).count() > 1 {
        finder.tell("flags", "a medium has one type of protection");
    }
    finder.unique("flags", &unit.flags, |flag| format!("`{}`", flag.word()));
    let known = ["rdwr", "aio", "memory", "null"];
    if !known.contains(&unit.store_word()) {
        finder.tell("store", format!("`{}` is not allowed: {}", unit.store_word().escape_debug(), known.join(", ")));
        return;
    }
    for (at, flag) in unit.flags.iter().enumerate() {
        let fits = match flag {
            StoreFlag::ReadOnly => true,
            StoreFlag::Ephemeral => unit.is_file(),
            StoreFlag::Sync | StoreFlag::Direct => unit.store_word() == "rdwr",
            _ => unit.store_word() != "null",
        };
        if !fits {
            finder.tell_at("flags", at, format!("a {} store has no flag `{}`", unit.store_word(), flag.word()));
        }
    }
}
