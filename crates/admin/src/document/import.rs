//! `targets.conf` as a document.
//!
//! What tgt-admin would do with the file is written down as what the daemon is then; what has no place in a document is told.

use std::collections::BTreeMap;

use super::{Access, Account, Alua, Document, Isns, KeyValue, ModePage, Secret, Size, StoreFlag, Target, Unit, UnitType};
use crate::configuration::targets::{self, Configuration, Step, UnitStep};
use crate::setting::{RedirectReason, TargetSetting};
use crate::{size, unit_setting};

/// The document, and a line for each thing that it does not have or that tgt-admin would do otherwise.
pub fn import(configuration: &Configuration) -> (Document, Vec<String>) {
    let mut import = Import::default();
    import.isns(&configuration.isns);
    if configuration.ignore_errors {
        import.note("ignore-errors", "a scuzzy.toml is applied wholly or not at all");
    }
    if configuration.control_port.is_some() {
        import.note("control-port", "name the daemon's control socket when you apply the file");
    }
    import.driver("default-driver", configuration.default_driver.as_deref());
    for account in &configuration.incoming_discovery {
        let user = import.account("discovery", account);
        import.document.discovery.incoming.push(user);
    }
    for account in &configuration.outgoing_discovery {
        let user = import.account("discovery", account);
        import.document.discovery.outgoing = Some(user);
    }
    for (name, target) in &configuration.targets {
        import.target(name, target);
    }
    import.document.accounts = std::mem::take(&mut import.accounts).into_values().collect();
    let problems: Vec<String> = import.document.check().iter().map(|problem| format!("to be put right by hand: {problem}")).collect();
    import.notes.extend(problems);
    (import.document, import.notes)
}

#[derive(Default)]
struct Import {
    document: Document,
    accounts: BTreeMap<String, Account>,
    notes: Vec<String>,
}

impl Import {
    fn note(&mut self, place: &str, text: &str) {
        self.notes.push(format!("{place}: {text}"));
    }

    fn driver(&mut self, place: &str, driver: Option<&str>) {
        if let Some(driver) = driver.filter(|driver| *driver != "iscsi") {
            self.note(place, &format!("driver {driver} is left out: iscsi is the only one"));
        }
    }

    fn isns(&mut self, settings: &[(&'static str, String)]) {
        let on = |value: &str| value == "On";
        for (name, value) in settings {
            let isns = self.document.isns.get_or_insert_with(Isns::default);
            match *name {
                "iSNS" => isns.enabled = on(value),
                "iSNSServerIP" => isns.server.clone_from(value),
                "iSNSAccessControl" => isns.access_control = on(value),
                _ => match value.parse() {
                    Ok(port) => isns.port = port,
                    Err(_) => self.note(name, &format!("`{value}` is no port")),
                },
            }
        }
    }

    /// Remembers an account, and gives its name. Accounts are the daemon's: a second one of the same name is the first.
    fn account(&mut self, place: &str, account: &targets::Account) -> String {
        let password = Some(Secret(account.password.clone()));
        let known = self.accounts.entry(account.user.clone());
        let first = known.or_insert_with(|| Account { user: account.user.clone(), password: password.clone(), password_file: None });
        if first.password != password {
            self.note(place, &format!("account {} has another password elsewhere in the file; the first one counts", account.user));
        }
        account.user.clone()
    }

    fn target(&mut self, name: &str, from: &targets::Target) {
        self.driver(name, from.driver.as_deref());
        let mut target = Target::new(name);
        if let Some(text) = &from.tid {
            target.tid = text.parse().ok();
            if target.tid.is_none() {
                self.note(name, &format!("controller_tid `{text}` is no number"));
            }
        }
        for step in &from.steps {
            match step {
                Step::Comment(_) => {}
                Step::Setting(key, value) => self.setting(&mut target, key, value),
                Step::Unit(unit) => {
                    let unit = self.unit(name, unit);
                    target.units.push(unit);
                }
                Step::Incoming(account) => target.incoming.push(self.account(name, account)),
                Step::Outgoing(account) => target.outgoing = Some(self.account(name, account)),
                Step::Address(rule) => target.allow.push(rule.clone()),
                Step::Name(rule) => target.initiators.push(rule.clone()),
            }
        }
        self.document.targets.push(target);
    }

    fn setting(&mut self, target: &mut Target, name: &str, value: &str) {
        match TargetSetting::parse(name, value) {
            Ok(TargetSetting::State(state)) => target.state = state,
            Ok(TargetSetting::NopInterval(seconds)) => target.nop_interval = Some(seconds),
            Ok(TargetSetting::NopCount(count)) => target.nop_count = Some(count),
            Ok(TargetSetting::RedirectAddress(address)) => target.redirect.address = Some(address),
            Ok(TargetSetting::RedirectPort(port)) => target.redirect.port = port.parse().ok(),
            Ok(TargetSetting::RedirectReason(RedirectReason::Temporary)) => target.redirect.reason = None,
            Ok(TargetSetting::RedirectReason(reason)) => target.redirect.reason = Some(reason),
            Ok(TargetSetting::RedirectCallback(program)) => target.redirect.callback = Some(program),
            Ok(TargetSetting::Key(key, value)) => {
                target.keys.insert(key, KeyValue::from_value(key, value));
            }
            Err(failure) => self.note(&target.name, &failure.detail),
        }
    }

    fn unit(&mut self, target: &str, from: &targets::Unit) -> Unit {
        let place = format!("{target}, unit {}", from.lun);
        let mut unit = Unit::new(from.lun.parse().unwrap_or_default());
        if let Some(word) = &from.device_type {
            match kind(word) {
                Some(kind) => unit.kind = kind,
                None => self.note(&place, &format!("device-type `{word}` is left out: it is not known")),
            }
        }
        unit.store = from.bstype.clone().filter(|word| word != super::unit::DEFAULT_STORE);
        match (&from.path, unit.store_word()) {
            (Some(text), "memory") => unit.size = size::parse(text).ok().map(Size),
            (path, _) => unit.path.clone_from(path),
        }
        unit.bsopts.clone_from(&from.bsopts);
        for word in from.bsoflags.iter().flat_map(|text| text.split(':')) {
            match StoreFlag::ALL.into_iter().find(|flag| word.starts_with(flag.word())) {
                Some(flag) => unit.flags.push(flag),
                None => self.note(&place, &format!("bsoflags `{word}` is left out: it is not known")),
            }
        }
        unit.block_size = from.block_size.as_ref().and_then(|text| text.parse().ok()).filter(|bytes| *bytes != 512);
        if from.direct {
            self.note(&place, "a direct-store shows what the device below says of itself: write vendor_id, product_id, scsi_sn and so on by hand");
        }
        for step in &from.steps {
            match step {
                UnitStep::Comment(_) => {}
                UnitStep::Update(name, value) => self.parameter(&place, &mut unit, name, value),
                UnitStep::Text(text) => {
                    for item in text.split(',').filter(|item| !item.is_empty()) {
                        let (name, value) = item.split_once('=').unwrap_or((item, ""));
                        self.parameter(&place, &mut unit, name, value);
                    }
                }
            }
        }
        unit
    }

    fn parameter(&mut self, place: &str, unit: &mut Unit, name: &str, value: &str) {
        let outcome = unit_setting::check(name, value).map_err(|failure| failure.detail).and_then(|value| set(unit, name, &value));
        if let Err(why) = outcome {
            self.note(place, &format!("{name} is left out: {why}"));
        }
    }
}

/// The words of `device-type`.
fn kind(word: &str) -> Option<UnitType> {
    Some(match word {
        "disk" => UnitType::Disk,
        "tape" | "ssc" => UnitType::Tape,
        "cd" | "dvd" | "cd/dvd" => UnitType::Cd,
        "changer" => UnitType::Changer,
        "osd" => UnitType::Osd,
        "pt" | "passthrough" => UnitType::Passthrough,
        _ => return None,
    })
}

/// Puts a checked value in its field.
fn set(unit: &mut Unit, name: &str, value: &str) -> Result<(), String> {
    let text = || Some(value.to_owned());
    let flag = || Some(value == "1");
    fn number<T: std::str::FromStr>(value: &str) -> Result<Option<T>, String> {
        value.parse().map(Some).map_err(|_| format!("`{value}` is no number that fits"))
    }
    match name {
        "scsi_id" => unit.scsi_id = text(),
        "scsi_sn" => unit.scsi_sn = text(),
        "vendor_id" => unit.vendor_id = text(),
        "product_id" => unit.product_id = text(),
        "product_rev" => unit.product_rev = text(),
        "sense_format" => unit.sense_format = flag(),
        "removable" => unit.removable = flag(),
        "readonly" => unit.readonly = flag(),
        "online" => unit.online = flag(),
        "thin_provisioning" => unit.thin_provisioning = flag(),
        "lbppbe" => unit.lbppbe = number(value)?,
        "la_lba" => unit.la_lba = number(value)?,
        "optimal_xfer_gran" => unit.optimal_xfer_gran = number(value)?,
        "optimal_xfer_len" => unit.optimal_xfer_len = number(value)?,
        "rotation_rate" => unit.rotation_rate = number(value)?,
        "path" => unit.path = text(),
        "mode_page" => unit.record_page(ModePage::parse(value)?),
        "alua" => unit.alua = Some(Alua::from_word(value).ok_or("the words are none, implicit, explicit and both")?),
        "access_state" => unit.record_access(Access::parse(value)?),
        _ => return Err("it has no place in a scuzzy.toml".into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::configuration::{self, include::Files};

    struct Only(&'static str);

    impl Files for Only {
        fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
            Ok(self.0.into())
        }
        fn names(&self, _: &Path) -> Option<Vec<String>> {
            None
        }
        fn exists(&self, _: &Path) -> bool {
            true
        }
    }

    fn imported(text: &'static str) -> (Document, Vec<String>) {
        let section = configuration::read(Path::new("targets.conf"), &Only(text)).expect("reads");
        import(&Configuration::new(&section).expect("makes sense"))
    }

    #[test]
    fn everything_that_has_a_place_is_carried_over() {
        let (document, notes) = imported(
            "iSNSServerIP 192.0.2.9\niSNS On\nincomingdiscoveryuser ann one-secret\n\
            <target iqn.a:1>\n controller_tid 7\n MaxQueueCmd 64\n nop_interval 5\n RedirectReason Permanent\n\
            <backing-store /srv/a.img>\n lun 3\n write-cache off\n scsi_sn abc\n bsoflags sync:direct\n block-size 4096\n params readonly=1,lbppbe=3\n </backing-store>\n\
            incominguser bob two-secret\n outgoinguser ann one-secret\n initiator-address 192.0.2.0/24\n initiator-name iqn.b:*\n</target>\n",
        );
        assert_eq!(notes, Vec::<String>::new());
        let text = document.to_toml().expect("TOML");
        let read = super::super::read::read("imported", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(read, document);
        let target = &document.targets[0];
        assert_eq!((target.tid, target.nop_interval, target.redirect.reason), (Some(7), Some(5), Some(RedirectReason::Permanent)));
        assert_eq!((target.allow.len(), target.initiators.len(), target.incoming.len()), (1, 1, 1));
        assert_eq!(target.outgoing.as_deref(), Some("ann"));
        let unit = &target.units[0];
        assert_eq!(
            (unit.lun, unit.path.as_deref(), unit.block_size, unit.readonly, unit.lbppbe),
            (3, Some("/srv/a.img"), Some(4096), Some(true), Some(3))
        );
        assert_eq!(unit.flags, [StoreFlag::Sync, StoreFlag::Direct]);
        assert_eq!((unit.scsi_sn.as_deref(), unit.mode_pages.len()), (Some("abc"), 1));
        assert!(document.isns.is_some_and(|isns| isns.enabled && isns.server == "192.0.2.9"));
        assert_eq!(document.accounts.len(), 2);
    }

    #[test]
    fn what_has_no_place_is_told() {
        let (document, notes) = imported(
            "default-driver iser\nignore-errors yes\n<target iqn.a:1>\n direct-store /dev/sdx\n device-type floppy\n params colour=red\n incominguser ann one\n</target>\n\
            <target iqn.a:2>\n MaxQueueCmd 9999\n incominguser ann two\n</target>\n",
        );
        let told = |part: &str| assert!(notes.iter().any(|note| note.contains(part)), "no {part} in {notes:#?}");
        told("default-driver: driver iser is left out");
        told("ignore-errors: ");
        told("iqn.a:1, unit 1: device-type `floppy` is left out");
        told("iqn.a:1, unit 1: colour is left out");
        told("iqn.a:1, unit 1: a direct-store shows what the device below says");
        told("iqn.a:2: account ann has another password");
        told("iqn.a:2: '9999' is no value for MaxQueueCmd");
        assert_eq!(document.targets.len(), 2);
        assert_eq!(document.targets[1].allow, ["ALL"]);
    }
}
