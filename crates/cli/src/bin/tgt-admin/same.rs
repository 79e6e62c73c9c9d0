//! Is a running target what the configuration says? Then an update leaves it alone, and those who are logged in stay.
//!
//! Only what the daemon shows can be compared. A configuration that says more (a vendor, a mode page, a redirection) counts as changed.

use std::collections::BTreeMap;
use std::path::Path;

use admin::configuration::targets::{Step, Target as Wanted, Unit, UnitStep};
use admin::listing::{Target, Unit as Live};
use admin::request::RunState;
use admin::setting::{Parameters, TargetSetting};
use admin::show::megabytes;

/// Longest identifier and serial number that a unit keeps.
const IDENTIFIER: usize = 36;

/// True when all that `wanted` says is so, nothing else is set, and nothing is left that cannot be seen. `shown`: the target's own settings, as the daemon
/// prints them; `driver`: the one it shall have.
pub fn unchanged(wanted: &Wanted, driver: &str, live: &Target, shown: &str) -> bool {
    let tid = live.tid.to_string();
    wanted.tid.as_ref().is_none_or(|fixed| *fixed == tid)
        && live.driver == driver
        && settings(wanted).is_some_and(|(state, lines)| live.state == state && shown.lines().eq(lines.iter().map(String::as_str)))
        && access(wanted) == (sorted(&live.accounts), live.rules.clone())
        && units(wanted, live)
}

/// State and lines of settings that the configuration makes of a new target; `None`: some cannot be seen.
fn settings(wanted: &Wanted) -> Option<(&'static str, Vec<String>)> {
    let (mut state, mut interval, mut count, mut parameters) = (RunState::Ready, 0, 0, Parameters::default());
    for step in &wanted.steps {
        let Step::Setting(name, value) = step else { continue };
        match TargetSetting::parse(name, value).ok()? {
            TargetSetting::State(new) => state = new,
            TargetSetting::NopInterval(seconds) => interval = seconds,
            TargetSetting::NopCount(new) => count = new,
            TargetSetting::Key(key, value) => parameters.set(key, value),
            _ => return None,
        }
    }
    let pings = [format!("nop_interval={interval}"), format!("nop_count={count}")];
    let keys = parameters.lines().into_iter().map(|(key, value)| format!("{key}={value}"));
    Some((state.word(), pings.into_iter().chain(keys).collect()))
}

/// Accounts in a fixed order, and rules in the order in which they are shown: those by address first.
fn access(wanted: &Wanted) -> (Vec<(String, bool)>, Vec<String>) {
    let accounts: Vec<(String, bool)> = wanted
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Incoming(account) => Some((account.user.clone(), false)),
            Step::Outgoing(account) => Some((account.user.clone(), true)),
            _ => None,
        })
        .collect();
    let addresses = wanted.steps.iter().filter_map(|step| if let Step::Address(rule) = step { Some(rule.clone()) } else { None });
    let names = wanted.steps.iter().filter_map(|step| if let Step::Name(rule) = step { Some(rule.clone()) } else { None });
    (sorted(&accounts), addresses.chain(names).collect())
}

fn sorted(accounts: &[(String, bool)]) -> Vec<(String, bool)> {
    let mut accounts = accounts.to_vec();
    accounts.sort();
    accounts
}

fn units(wanted: &Wanted, live: &Target) -> bool {
    let live_units: Vec<&Live> = live.units.iter().filter(|unit| unit.lun != 0).collect();
    let wanted: Vec<&Unit> = wanted.steps.iter().filter_map(|step| if let Step::Unit(unit) = step { Some(unit) } else { None }).collect();
    let same = |unit: &Unit| live_units.iter().any(|live_unit| unit.lun.parse() == Ok(live_unit.lun) && same_unit(unit, live.tid, live_unit));
    live_units.len() == wanted.len() && wanted.into_iter().all(same)
}

fn same_unit(wanted: &Unit, tid: u64, live: &Live) -> bool {
    let disk = wanted.device_type.as_deref().is_none_or(|kind| kind == "disk");
    if !disk || wanted.direct || wanted.bsopts.is_some() {
        return false;
    }
    let Some(mut expected) = expected(wanted, tid, live.lun) else { return false };
    expected.insert("Type", "disk".into());
    expected.insert("Backing store type", wanted.bstype.clone().unwrap_or_else(|| "rdwr".into()));
    expected.insert("Backing store path", wanted.path.clone().unwrap_or_else(|| "None".into()));
    let flags: Vec<&str> = ["sync", "direct"].into_iter().filter(|flag| words(wanted.bsoflags.as_deref()).contains(flag)).collect();
    expected.insert("Backing store flags", flags.join(":"));
    let shown: BTreeMap<&str, &str> = live.rows.iter().map(|(label, value)| (label.as_str(), value.trim_end())).collect();
    expected.iter().all(|(label, value)| shown.get(label).is_some_and(|shown| shown == value))
        && shown.get("Size").is_some_and(|size| same_size(wanted, size))
}

fn words(flags: Option<&str>) -> Vec<&str> {
    flags.unwrap_or_default().split(':').collect()
}

/// What the updates make of a new unit; `None`: some cannot be seen.
fn expected(wanted: &Unit, tid: u64, lun: u64) -> Option<BTreeMap<&'static str, String>> {
    let medium = wanted.path.is_some();
    let mut rows = BTreeMap::from([
        ("SCSI ID", format!("IET     {tid:04x}{lun:04x}")),
        ("SCSI SN", format!("beaf{tid}{lun}")),
        ("Online", yes(medium)),
        ("Removable media", yes(!medium)),
        ("Readonly", yes(false)),
        ("Thin-provisioning", yes(false)),
    ]);
    let text = |template: &str| template.replace("${tid}", &tid.to_string()).replace("${lun}", &wanted.lun);
    for step in &wanted.steps {
        let updates: Vec<(String, String)> = match step {
            UnitStep::Comment(_) => Vec::new(),
            UnitStep::Update(key, value) => vec![(key.clone(), value.clone())],
            UnitStep::Text(template) => {
                let split = |item: &str| item.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
                text(template).split(',').filter(|item| !item.is_empty()).map(split).collect::<Option<_>>()?
            }
        };
        for (key, value) in updates {
            let identifier = || value.chars().take(IDENTIFIER).collect::<String>().trim_end().to_owned();
            let flag = || value.parse().map(|number: u64| yes(number != 0));
            match key.as_str() {
                "scsi_id" => rows.insert("SCSI ID", identifier()),
                "scsi_sn" => rows.insert("SCSI SN", identifier()),
                "online" => rows.insert("Online", flag().ok()?),
                "removable" => rows.insert("Removable media", flag().ok()?),
                "readonly" => rows.insert("Readonly", flag().ok()?),
                "thin_provisioning" => rows.insert("Thin-provisioning", flag().ok()?),
                _ => return None,
            };
        }
    }
    Some(rows)
}

fn yes(flag: bool) -> String {
    if flag { "Yes".into() } else { "No".into() }
}

/// Block size, and how large the file is now: one that has grown wants to be opened again.
fn same_size(wanted: &Unit, shown: &str) -> bool {
    let Some((size, block)) = shown.split_once(" MB, Block size: ") else { return false };
    let blocks = wanted.block_size.as_deref().unwrap_or("512");
    let file = wanted.path.as_ref().and_then(|path| std::fs::metadata(Path::new(path)).ok()).filter(std::fs::Metadata::is_file);
    block == blocks && file.is_none_or(|file| size == megabytes(file.len()).to_string())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use admin::configuration::include::Files;
    use admin::configuration::read;
    use admin::configuration::targets::Configuration;
    use admin::listing::targets;

    use super::*;

    /// A configuration of one file.
    struct One<'a>(&'a str);

    impl Files for One<'_> {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(self.0.as_bytes().to_vec())
        }
        fn names(&self, _: &Path) -> Option<Vec<String>> {
            None
        }
        fn exists(&self, _: &Path) -> bool {
            true
        }
    }

    const LIST: &str = "\
Target 3: t
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 3
            Initiator: iqn.y:a alias: none
            Connection: 0
                IP Address: 127.0.0.1
    LUN information:
        LUN: 0
            Type: controller
        LUN: 7
            Type: disk
            SCSI ID: IET     00030007
            SCSI SN: beaf37
            Size: 67 MB, Block size: 512
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: Yes
            SWP: No
            Thin-provisioning: Yes
            Backing store type: rdwr
            Backing store path: /no/such/file
            Backing store flags: sync
    Account information:
        u
        o (outgoing)
    ACL information:
        10.0.0.0/8
        iqn.y:*
";
    const WANTED: &str = "\
MaxBurstLength 131072
controller_tid 3
<backing-store /no/such/file>
lun 7
readonly 1
bsoflags sync
write-cache on
params thin_provisioning=1,
</backing-store>
incominguser u secret
outgoinguser o secret
initiator-name iqn.y:*
initiator-address 10.0.0.0/8
";

    fn same(wanted: &str, list: &str) -> bool {
        let path = PathBuf::from("f");
        let section = read(&path, &One(&format!("<target t>\n{wanted}</target>\n"))).expect("reads");
        let configuration = Configuration::new(&section).expect("makes sense");
        let mut parameters = Parameters::default();
        let Ok(TargetSetting::Key(key, value)) = TargetSetting::parse("MaxBurstLength", "131072") else { panic!("a key") };
        parameters.set(key, value);
        let lines: String = parameters.lines().iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        unchanged(&configuration.targets["t"], "iscsi", &targets(list)[0], &format!("nop_interval=0\nnop_count=0\n{lines}"))
    }

    #[test]
    fn a_target_that_is_as_it_shall_be_is_unchanged() {
        assert!(same(WANTED, LIST));
        assert!(same(&WANTED.replace("controller_tid 3\n", "state ready\nnop_interval 0\n"), LIST));
    }

    #[test]
    fn whatever_differs_is_seen() {
        for (from, to) in [
            ("ready", "offline"),
            ("Driver: iscsi", "Driver: iser"),
            ("Target 3", "Target 4"),
            ("LUN: 7", "LUN: 8"),
            ("/no/such/file", "/no/such/other"),
            ("Readonly: Yes", "Readonly: No"),
            ("Online: Yes", "Online: No"),
            ("Removable media: No", "Removable media: Yes"),
            ("Thin-provisioning: Yes", "Thin-provisioning: No"),
            ("Block size: 512", "Block size: 4096"),
            ("IET     00030007", "other"),
            ("beaf37", "other"),
            ("type: rdwr", "type: aio"),
            ("flags: sync", "flags: "),
            ("        u\n", ""),
            ("        u\n", "        u\n        v\n"),
            ("10.0.0.0/8", "10.0.0.0/9"),
            ("        iqn.y:*\n", ""),
            ("        LUN: 7", "        LUN: 6\n            Type: disk\n        LUN: 7"),
        ] {
            assert_ne!(LIST.replace(from, to), LIST, "{from}");
            assert!(!same(WANTED, &LIST.replace(from, to)), "{from} -> {to}");
        }
        for (from, to) in [
            ("131072", "65536"),
            ("MaxBurstLength 131072\n", ""),
            ("controller_tid 3", "controller_tid 5"),
            ("MaxBurst", "nop_interval 5\nMaxBurst"),
            ("MaxBurst", "RedirectAddress 192.0.2.1\nMaxBurst"),
            ("readonly 1", "vendor_id X"),
            ("write-cache on", "write-cache off"),
            ("incominguser u", "incominguser w"),
            ("iqn.y:*", "iqn.z:*"),
            ("bsoflags sync", "bsoflags direct"),
            ("bsoflags sync", "bsoflags sync\nbsopts x"),
        ] {
            assert_ne!(WANTED.replace(from, to), WANTED, "{from}");
            assert!(!same(&WANTED.replace(from, to), LIST), "{from} -> {to}");
        }
    }

    #[test]
    fn a_file_that_has_grown_is_seen() {
        let path = std::env::temp_dir().join(format!("tgt-admin-same-{}", std::process::id()));
        let text = path.display().to_string();
        let (wanted, list) = (WANTED.replace("/no/such/file", &text), LIST.replace("/no/such/file", &text));
        let file = std::fs::File::create(&path).expect("a file");
        file.set_len(64 << 20).expect("64 MiB");
        assert!(same(&wanted, &list));
        file.set_len(128 << 20).expect("128 MiB");
        assert!(!same(&wanted, &list));
        std::fs::remove_file(path).expect("removed");
    }
}
