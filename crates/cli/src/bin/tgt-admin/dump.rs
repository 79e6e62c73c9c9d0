//! The running state as a configuration that makes it again, as far as the daemon's list tells.

use std::collections::BTreeMap;

use admin::listing::{Target, Unit, is_address};

/// Secrets are not in the daemon's list. Scripts look for this word.
const PASSWORD: &str = "PLEASE_CORRECT_THE_PASSWORD";

/// The configuration, targets by name.
pub fn text(targets: &[Target]) -> String {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for target in targets {
        *count.entry(target.driver.as_str()).or_default() += 1;
    }
    let default = count.iter().max_by_key(|(_, count)| **count).map_or("iscsi", |(driver, _)| driver);
    let mut out = format!("default-driver {default}\n\n");
    let mut sorted: Vec<&Target> = targets.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    for target in sorted {
        add(&mut out, target, default);
    }
    out
}

fn add(out: &mut String, target: &Target, default: &str) {
    out.push_str(&format!("<target {}>\n", target.name));
    if target.driver != default {
        out.push_str(&format!("\tdriver {}\n", target.driver));
    }
    let units: Vec<(&Unit, &str)> = target.units.iter().filter_map(|unit| Some((unit, unit.path.as_deref()?))).collect();
    let lines = plain(&units);
    for (unit, path) in units {
        match lines {
            true => out.push_str(&format!("\tbacking-store {}\n", quoted(path))),
            false => out.push_str(&block(unit, path)),
        }
    }
    for (user, outgoing) in &target.accounts {
        let key = if *outgoing { "outgoinguser" } else { "incominguser" };
        out.push_str(&format!("\t{key} {} {PASSWORD}\n", quoted(user)));
    }
    if target.rules != ["ALL"] {
        for rule in &target.rules {
            let key = if is_address(rule) { "initiator-address" } else { "initiator-name" };
            out.push_str(&format!("\t{key} {}\n", quoted(rule)));
        }
    }
    out.push_str("</target>\n\n");
}

/// Do lines without a block make the same units? They are counted from 1, by path.
fn plain(units: &[(&Unit, &str)]) -> bool {
    let mut paths: Vec<&str> = units.iter().map(|(_, path)| *path).collect();
    paths.sort_unstable();
    // The same path twice cannot be said in blocks.
    let repeated = paths.windows(2).any(|pair| pair[0] == pair[1]);
    let usual = |unit: &Unit| unit.kind == "disk" && unit.store == "rdwr" && !unit.readonly;
    repeated || units.iter().zip(1..).zip(paths).all(|(((unit, path), lun), sorted)| usual(unit) && unit.lun == lun && *path == sorted)
}

fn block(unit: &Unit, path: &str) -> String {
    let mut out = format!("\t<backing-store {path}>\n\t\tlun {}\n", unit.lun);
    let device = match unit.kind.as_str() {
        "tape" | "changer" => Some(unit.kind.as_str()),
        "cd/dvd" => Some("cd"),
        "osd" => Some("osd"),
        "passthrough" => Some("pt"),
        _ => None,
    };
    if let Some(device) = device {
        out.push_str(&format!("\t\tdevice-type {device}\n"));
    }
    // The other types have one kind of store each, which is not said.
    if unit.kind == "disk" && unit.store != "rdwr" {
        out.push_str(&format!("\t\tbs-type {}\n", unit.store));
    }
    if unit.readonly && unit.kind == "disk" {
        out.push_str("\t\treadonly 1\n");
    }
    out.push_str("\t</backing-store>\n");
    out
}

/// As a configuration spells a value.
fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && !value.contains(['#', '"']) && !value.contains(char::is_whitespace) && !value.ends_with('\\');
    if plain { value.to_owned() } else { format!("\"{value}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::configuration::include::Files;
    use admin::configuration::targets::{Configuration, Step};
    use std::io;
    use std::path::Path;

    /// One file that is everywhere.
    struct Only(String);

    impl Files for Only {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(self.0.clone().into_bytes())
        }

        fn names(&self, _: &Path) -> Option<Vec<String>> {
            None
        }

        fn exists(&self, _: &Path) -> bool {
            true
        }
    }

    fn disk(lun: u64, path: &str) -> Unit {
        Unit { lun, kind: "disk".into(), store: "rdwr".into(), path: Some(path.into()), ..Unit::default() }
    }

    fn target(name: &str, units: Vec<Unit>) -> Target {
        Target { tid: 1, name: name.into(), driver: "iscsi".into(), units, rules: vec!["ALL".into()], ..Target::default() }
    }

    #[test]
    fn targets_by_name_with_rules_and_accounts() {
        let mut first = target("iqn.x:b", vec![disk(1, "/b.img")]);
        first.rules = ["10.0.0.0/8", "::1", "ALL", "iqn.foo"].map(str::to_owned).to_vec();
        first.accounts = vec![("u1".into(), false), ("o1".into(), true)];
        let second = target("iqn.x:a", vec![disk(1, "/a.img"), disk(2, "/c d.img")]);
        let expected = "default-driver iscsi\n\n\
            <target iqn.x:a>\n\tbacking-store /a.img\n\tbacking-store \"/c d.img\"\n</target>\n\n\
            <target iqn.x:b>\n\tbacking-store /b.img\n\tincominguser u1 PLEASE_CORRECT_THE_PASSWORD\n\toutgoinguser o1 PLEASE_CORRECT_THE_PASSWORD\n\
            \tinitiator-address 10.0.0.0/8\n\tinitiator-address ::1\n\tinitiator-address ALL\n\tinitiator-name iqn.foo\n</target>\n\n";
        assert_eq!(text(&[first, second]), expected);
        assert_eq!(text(&[]), "default-driver iscsi\n\n");
    }

    #[test]
    fn unit_numbers_and_types_come_back() {
        let mut cd = disk(3, "/z.iso");
        cd.kind = "cd/dvd".into();
        let mut aio = disk(7, "/a.img");
        (aio.store, aio.readonly) = ("aio".into(), true);
        let dump = text(&[target("iqn.x:a", vec![cd, aio])]);
        let section = admin::configuration::read(Path::new("x"), &Only(dump)).expect("parses");
        let configuration = Configuration::new(&section).expect("makes sense");
        let units: Vec<String> = configuration.targets["iqn.x:a"]
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Unit(unit) => Some(format!("{} {:?} {:?} {:?}", unit.lun, unit.path, unit.device_type, unit.bstype)),
                _ => None,
            })
            .collect();
        assert_eq!(units, ["7 Some(\"/a.img\") None Some(\"aio\")", "3 Some(\"/z.iso\") Some(\"cd\") None"]);
    }
}
