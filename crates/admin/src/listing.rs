//! Reads tgt's own list of targets back: what tells a tool that speaks tgt's protocol what a daemon serves, be it the C daemon or ours.

/// A target in the list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// Number.
    pub tid: u64,
    /// Name.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// `ready` or `offline`.
    pub state: String,
    /// Sessions and the connections of each.
    pub sessions: Vec<(u64, Vec<u64>)>,
    /// Units by number, the controller included.
    pub units: Vec<Unit>,
    /// Accounts; those that the target proves itself with are marked.
    pub accounts: Vec<(String, bool)>,
    /// Addresses, networks, `ALL` and names of initiators that may come in.
    pub rules: Vec<String>,
}

/// A unit in the list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unit {
    /// Number.
    pub lun: u64,
    /// `disk`, `controller`, …
    pub kind: String,
    /// Kind of store.
    pub store: String,
    /// `None` without medium.
    pub path: Option<String>,
    /// Writes are refused.
    pub readonly: bool,
    /// Everything that is shown of it, these facts too: label and value.
    pub rows: Vec<(String, String)>,
}

/// Sections of a target that list names, which may look like anything.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Facts,
    Accounts,
    Rules,
}

/// Takes the list apart. Lines that are not known are left out.
pub fn targets(text: &str) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    let mut part = Part::Facts;
    for line in text.lines() {
        if let Some((tid, name)) = line.strip_prefix("Target ").and_then(|rest| rest.split_once(": ")) {
            targets.push(Target { tid: tid.parse().unwrap_or_default(), name: name.to_owned(), ..Target::default() });
            part = Part::Facts;
            continue;
        }
        let Some(target) = targets.last_mut() else { continue };
        match line.strip_prefix("        ") {
            Some(name) if part == Part::Accounts => target.accounts.push(match name.strip_suffix(" (outgoing)") {
                Some(user) => (user.to_owned(), true),
                None => (name.to_owned(), false),
            }),
            Some(rule) if part == Part::Rules => target.rules.push(rule.to_owned()),
            Some(fact) => target.fact(fact),
            None => {
                part = match line {
                    "    Account information:" => Part::Accounts,
                    "    ACL information:" => Part::Rules,
                    _ => Part::Facts,
                }
            }
        }
    }
    targets
}

impl Target {
    /// A line without its first 8 blanks.
    fn fact(&mut self, line: &str) {
        let Some((key, value)) = line.split_once(": ") else { return };
        let number = value.parse().ok();
        match (key, number) {
            ("Driver", _) => self.driver = value.to_owned(),
            ("State", _) => self.state = value.to_owned(),
            ("I_T nexus", Some(sid)) => self.sessions.push((sid, Vec::new())),
            ("    Connection", Some(cid)) => self.sessions.last_mut().into_iter().for_each(|session| session.1.push(cid)),
            ("LUN", Some(lun)) => self.units.push(Unit { lun, ..Unit::default() }),
            _ => self.units.last_mut().into_iter().for_each(|unit| unit.fact(key, value)),
        }
    }

    /// Somebody is logged in.
    pub fn in_use(&self) -> bool {
        !self.sessions.is_empty()
    }
}

impl Unit {
    fn fact(&mut self, key: &str, value: &str) {
        self.rows.extend(key.strip_prefix("    ").map(|label| (label.to_owned(), value.to_owned())));
        match key {
            "    Type" => self.kind = value.to_owned(),
            "    Readonly" => self.readonly = value == "Yes",
            "    Backing store type" => self.store = value.to_owned(),
            "    Backing store path" => self.path = Some(value.to_owned()).filter(|path| path != "None"),
            _ => {}
        }
    }
}

/// Is this rule one for addresses? All others name initiators.
pub fn is_address(rule: &str) -> bool {
    let address = rule.split_once('/').map_or(rule, |(address, _)| address);
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    rule == "ALL" || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &str = "\
Target 1: iqn.x:a
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 3
            Initiator: LUN: 9 alias: none
            Connection: 0
                IP Address: 127.0.0.1
            Connection: 1
                IP Address: 127.0.0.1
    LUN information:
        LUN: 0
            Type: controller
            Readonly: No
            Backing store type: null
            Backing store path: None
        LUN: 2
            Type: disk
            Readonly: Yes
            Backing store type: rdwr
            Backing store path: /a: b
            Backing store flags: sync
    Account information:
        LUN: 7
        o (outgoing)
    ACL information:
        10.0.0.0/8
        ALL
Target 2147483647: iqn.x:b
    System information:
        Driver: iser
    LUN information:
";

    #[test]
    fn a_list_comes_apart() {
        let rows = |values: &[&str]| {
            let labels = ["Type", "Readonly", "Backing store type", "Backing store path", "Backing store flags"];
            labels.iter().zip(values).map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
        };
        let shown = rows(&["controller", "No", "null", "None"]);
        let controller = Unit { lun: 0, kind: "controller".into(), store: "null".into(), path: None, readonly: false, rows: shown };
        let shown = rows(&["disk", "Yes", "rdwr", "/a: b", "sync"]);
        let disk = Unit { lun: 2, kind: "disk".into(), store: "rdwr".into(), path: Some("/a: b".into()), readonly: true, rows: shown };
        let first = Target {
            tid: 1,
            name: "iqn.x:a".into(),
            driver: "iscsi".into(),
            state: "ready".into(),
            sessions: vec![(3, vec![0, 1])],
            units: vec![controller, disk],
            accounts: vec![("LUN: 7".into(), false), ("o".into(), true)],
            rules: vec!["10.0.0.0/8".into(), "ALL".into()],
        };
        let second = Target { tid: 2_147_483_647, name: "iqn.x:b".into(), driver: "iser".into(), ..Target::default() };
        assert_eq!(targets(LIST), [first, second]);
        assert_eq!(targets(""), []);
    }

    #[test]
    fn rules_by_address_and_by_name() {
        for (rule, expected) in [
            ("ALL", true),
            ("10.0.0.1", true),
            ("10.0.0.0/8", true),
            ("::1", true),
            ("[fe80::]/10", true),
            ("iqn.x:a", false),
            ("all", false),
            ("localhost", false),
            ("", false),
        ] {
            assert_eq!(is_address(rule), expected, "{rule}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(Target [0-9]{0,22}: |    |I_T nexus: |LUN: |Connection: |ACL information:|[a-z0-9]|\n){0,40}") {
            targets(&text);
        }
    }
}
