//! How a target comes and goes.

use std::path::Path;

use admin::configuration::targets::{Account, Step, Target as Wanted, Unit, UnitStep};
use admin::listing::{Target, is_address};

use crate::call::Call;
use crate::direct;
use crate::session::{Session, Stop};

/// Driver of targets that name none, when the configuration names none.
const DRIVER: &str = "iscsi";
/// The highest number a target can have.
const LAST: u64 = 0x7fff_ffff;
/// Stores whose names are no paths of files.
const NO_FILES: &[&str] = &["glfs", "rbd", "sheepdog"];

/// The target that is being made.
struct Making {
    driver: String,
    tid: String,
}

impl Session {
    /// Makes a target of the configuration, with its former number if it had one.
    pub(crate) fn add(&mut self, name: &str, former: Option<u64>) -> Result<(), Stop> {
        let Some(wanted) = self.configuration.targets.get(name).cloned() else { return Ok(()) };
        let making = Making { driver: self.driver_of(&wanted).to_owned(), tid: self.number(&wanted, former) };
        self.comment(&format!("Adding target: {name}"));
        let call = self.call(Some(&making.driver)).plain("--op new --mode target --tid").value(&making.tid);
        // Its number may be somebody else's: what is meant for this target must not go there.
        if !self.succeeds(&call.plain("-T").value(name))? {
            return Ok(());
        }
        self.targets.push(Target { tid: making.tid.parse().unwrap_or_default(), name: name.to_owned(), ..Target::default() });
        wanted.steps.iter().try_for_each(|step| self.step(&making, step))
    }

    pub(crate) fn driver_of<'a>(&'a self, wanted: &'a Wanted) -> &'a str {
        wanted.driver.as_deref().or(self.configuration.default_driver.as_deref()).unwrap_or(DRIVER)
    }

    /// The number it asks for, or had, or else the one above the highest; nobody gets one that another target asks for.
    fn number(&self, wanted: &Wanted, former: Option<u64>) -> String {
        if let Some(tid) = &wanted.tid {
            return tid.clone();
        }
        let fixed = self.configuration.fixed_tids();
        let free = |tid: &u64| !fixed.contains(tid) && self.targets.iter().all(|target| target.tid != *tid);
        let above = self.targets.iter().map(|target| target.tid).max().unwrap_or(0) + 1;
        let next = (above..=LAST).find(free).or_else(|| (1..=LAST).find(free)).unwrap_or(above);
        former.unwrap_or(next).to_string()
    }

    fn step(&mut self, making: &Making, step: &Step) -> Result<(), Stop> {
        let rule = |option: &str, value: &str| {
            let call = self.call(Some(&making.driver)).plain("--op bind --mode target --tid").value(&making.tid);
            self.make(&call.plain(option).value(value))
        };
        match step {
            Step::Comment(text) => {
                self.comment(text);
                Ok(())
            }
            Step::Setting(name, value) => {
                let call = self.call(Some(&making.driver)).plain("--mode target --op update --tid").value(&making.tid);
                self.make(&call.plain("--name").value(name).plain("--value").value(value))
            }
            Step::Unit(unit) => self.unit(making, unit),
            Step::Incoming(account) => self.bind(making, account, ""),
            Step::Outgoing(account) => self.bind(making, account, "--outgoing"),
            Step::Address(address) => rule("-I", address),
            Step::Name(name) => rule("-Q", name),
        }
    }

    fn bind(&mut self, making: &Making, account: &Account, direction: &str) -> Result<(), Stop> {
        self.know(account, Some(&making.driver))?;
        let call = self.call(Some(&making.driver)).plain("--mode account --op bind").pair("--tid", &making.tid).pair("--user", &account.user);
        self.make(&if direction.is_empty() { call } else { call.plain(direction) })
    }

    fn unit(&mut self, making: &Making, unit: &Unit) -> Result<(), Stop> {
        if unit.path.as_deref().is_some_and(|path| !self.usable(unit, path)) {
            return Ok(());
        }
        let mut unit = unit.clone();
        if let (true, Some(path)) = (unit.direct, &unit.path) {
            let facts = direct::facts(Path::new(path));
            facts.complete(&mut unit);
        }
        if !self.new_unit(making, &unit)? {
            return Ok(());
        }
        for step in &unit.steps {
            let call = self.call(Some(&making.driver)).plain("--op update --mode logicalunit --tid").value(&making.tid).pair("--lun", &unit.lun);
            match step {
                UnitStep::Comment(text) => self.comment(text),
                UnitStep::Update(key, value) => self.make(&call.update(key, value))?,
                UnitStep::Text(text) => {
                    let text = text.replace("${tid}", &making.tid).replace("${lun}", &unit.lun);
                    self.make(&call.option("--params", &text))?;
                }
            }
        }
        Ok(())
    }

    fn new_unit(&mut self, making: &Making, unit: &Unit) -> Result<bool, Stop> {
        let mut call = self.call(Some(&making.driver)).plain("--op new --mode logicalunit --tid").value(&making.tid).plain("--lun").value(&unit.lun);
        if let Some(path) = &unit.path {
            call = call.option("-b", path);
            if !self.options.pretend {
                self.users.add(Path::new(path));
            }
        }
        let options = [
            ("--device-type", &unit.device_type),
            ("--bstype", &unit.bstype),
            ("--bsopts", &unit.bsopts),
            ("--bsoflags", &unit.bsoflags),
            ("--blocksize", &unit.block_size),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                call = call.plain(option).value(value);
            }
        }
        self.succeeds(&call)
    }

    /// Tells why not.
    fn usable(&mut self, unit: &Unit, path: &str) -> bool {
        if unit.bstype.as_ref().is_some_and(|bstype| NO_FILES.iter().any(|store| bstype.contains(store))) {
            return true;
        }
        if !Path::new(path).exists() {
            self.comment(&format!("Skipping device: {path}"));
            self.comment(&format!("{path} does not exist - please check the configuration file"));
            return false;
        }
        if self.options.force || unit.allow_in_use || !self.users.in_use(Path::new(path)) {
            return true;
        }
        self.comment(&format!("Device {path} is used (already tgtd target?)."));
        self.comment(&format!("Run 'lsof {path}' to see the details."));
        self.comment(&format!("Skipping device {path} - it is in use."));
        self.comment("You can override it with --force or 'allow-in-use yes' config option.");
        self.comment("Note - do so only if you know what you're doing, you may damage your data.");
        false
    }

    /// Removes a target; whether it went. One that is in use stays, unless that is forced.
    pub(crate) fn remove(&mut self, target: &Target, what: &str) -> Result<bool, Stop> {
        if target.in_use() && !self.options.force {
            self.comment(&format!("Target with tid {} ({}) is in use, it won't be {what}.", target.tid, target.name));
            return Ok(false);
        }
        self.comment(&format!("Removing target: {}", target.name));
        let tid = target.tid.to_string();
        let mut delete = self.call(None).plain("--mode target --op delete").pair("--tid", &tid);
        if target.in_use() {
            self.clear(target);
            delete = delete.plain("--force");
        }
        self.make(&delete)?;
        self.tell("");
        self.targets.retain(|live| live.tid != target.tid);
        let paths = target.units.iter().filter_map(|unit| unit.path.as_deref());
        self.users.remove(paths.map(Path::new), self.options.pretend);
        Ok(true)
    }

    /// Nobody comes in any more, whoever is in goes. What has gone meanwhile is no failure.
    fn clear(&self, target: &Target) {
        let tid = target.tid.to_string();
        for rule in &target.rules {
            let option = if is_address(rule) { "-I" } else { "-Q" };
            self.try_to(&self.call(None).plain("--op unbind --mode target --tid").value(&tid).plain(option).value(rule));
        }
        for (sid, connections) in &target.sessions {
            for cid in connections {
                let call: Call = self.call(None).plain("--op delete --mode conn --tid").value(&tid);
                self.try_to(&call.plain("--sid").value(&sid.to_string()).plain("--cid").value(&cid.to_string()));
            }
        }
    }
}
