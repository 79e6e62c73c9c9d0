//! One run of the tool: what the daemon serves, what the configuration says, and the calls in between.

use std::collections::BTreeSet;
use std::path::Path;

use admin::client::Failure;
use admin::code::Code;
use admin::configuration::include::Disk;
use admin::configuration::targets::{Account, Configuration};
use admin::configuration::{self, Error, MISSING};
use admin::listing::{self, Target};
use admin::options::tgt_admin::{Invocation, Selector};
use admin::options::tgtadm::NO_DAEMON;
use admin::portal::Portal;

use crate::busy::Users;
use crate::call::{Call, print};
use crate::same;

/// Exit status of what cannot be done.
const IMPOSSIBLE: u8 = 1;

/// The run ends here, with this exit status. Everything has been told.
#[derive(Debug)]
pub struct Stop(pub u8);

/// One run of the tool.
pub struct Session {
    pub(crate) options: Invocation,
    pub(crate) configuration: Configuration,
    /// Accounts that the daemon knows.
    pub(crate) accounts: BTreeSet<String>,
    /// Targets that the daemon serves, by number.
    pub(crate) targets: Vec<Target>,
    pub(crate) users: Users,
}

impl Session {
    /// Nothing is read or asked yet.
    pub fn new(options: Invocation) -> Session {
        Session { options, configuration: Configuration::default(), accounts: BTreeSet::new(), targets: Vec::new(), users: Users::default() }
    }

    /// `--show`.
    pub fn show(&self) -> Result<(), Stop> {
        let call = self.call(None).plain("--op show --mode target");
        let text = call.make().or_else(|failure| self.failed(&call, &failure).map(|()| Vec::new()))?;
        print(&String::from_utf8_lossy(&text));
        Ok(())
    }

    /// `--execute`.
    pub fn execute(&mut self) -> Result<(), Stop> {
        self.configure()?;
        self.learn()?;
        self.globals()?;
        let names: Vec<String> = self.configuration.targets.keys().cloned().collect();
        for name in &names {
            if self.live(name).is_some() {
                self.comment(&format!("Target {name} already exists!"));
            } else {
                self.add(name, None)?;
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        self.tell("");
        self.delete_unknown()
    }

    /// `--delete`.
    pub fn delete(&mut self, selector: &Selector) -> Result<(), Stop> {
        self.targets = self.listed()?;
        match selector {
            Selector::All => {
                for target in self.targets.clone() {
                    self.remove(&target, "deleted")?;
                }
                Ok(())
            }
            selector => match self.selected(selector) {
                Some(target) => self.remove(&target, "deleted").map(|_| ()),
                None => {
                    self.comment(&absent(selector));
                    Ok(())
                }
            },
        }
    }

    /// `--update`.
    pub fn update(&mut self, selector: &Selector) -> Result<(), Stop> {
        self.configure()?;
        if let (Selector::All, true) = (selector, self.configuration.targets.is_empty()) {
            return self.delete_everything();
        }
        self.learn()?;
        let names: Vec<String> = match selector {
            Selector::All => {
                self.delete_unknown()?;
                self.configuration.targets.keys().cloned().collect()
            }
            Selector::Name(name) => vec![name.clone()],
            Selector::Tid(tid) => match self.selected(selector) {
                Some(target) => vec![target.name],
                None => return Err(refused(&format!("There is no target with tid {tid}, can't continue!\n"))),
            },
        };
        if names.iter().any(|name| self.configuration.targets.contains_key(name)) {
            self.globals()?;
        }
        names.iter().try_for_each(|name| self.update_one(name))
    }

    /// `--update ALL` with a configuration without targets. Init scripts stop the service with it, and also want to when there is none.
    fn delete_everything(&mut self) -> Result<(), Stop> {
        match self.listed() {
            Ok(targets) => self.targets = targets,
            Err(Stop(NO_DAEMON)) => return Ok(()),
            Err(stop) => return Err(stop),
        }
        self.delete_unknown()
    }

    fn update_one(&mut self, name: &str) -> Result<(), Stop> {
        let known = self.configuration.targets.contains_key(name);
        let tid = match self.live(name).cloned() {
            Some(target) if self.is_unchanged(name, &target) => {
                self.comment(&format!("Target {name} did not change"));
                return Ok(());
            }
            Some(target) => {
                if !self.remove(&target, "updated")? {
                    return Ok(());
                }
                Some(target.tid)
            }
            None if known => {
                self.comment(&format!("Target with name {name} does not exist!"));
                None
            }
            None => {
                let text = format!("Target {name} is currently not configured\nand does not exist in the config file - can't continue!\n");
                return Err(refused(&text));
            }
        };
        if known {
            self.add(name, tid)?;
            self.tell("");
        }
        Ok(())
    }

    /// Whether the daemon serves the target as the configuration has it. Asked of the daemon when it comes to it; without an answer it counts as changed.
    fn is_unchanged(&self, name: &str, live: &Target) -> bool {
        let Some(wanted) = self.configuration.targets.get(name) else { return false };
        let shown = self.call(None).plain("--op show --mode target --tid").value(&live.tid.to_string()).make();
        shown.is_ok_and(|shown| same::unchanged(wanted, self.driver_of(wanted), live, &String::from_utf8_lossy(&shown)))
    }

    /// `--offline` and `--ready`.
    pub fn set_state(&mut self, selector: &Selector, state: &str) -> Result<(), Stop> {
        let tids: Vec<String> = match selector {
            Selector::Tid(tid) => vec![tid.clone()],
            Selector::All => self.listed()?.iter().map(|target| target.tid.to_string()).collect(),
            Selector::Name(name) => {
                self.targets = self.listed()?;
                let target = self.live(name).ok_or_else(|| refused(&format!("There is no target with name \"{name}\", can't {state} it!\n")))?;
                vec![target.tid.to_string()]
            }
        };
        for tid in tids {
            self.make(&self.call(None).plain("--op update --mode target").pair("--tid", &tid).plain("-n state -v").value(state))?;
        }
        Ok(())
    }

    /// Removes what the configuration does not know.
    fn delete_unknown(&mut self) -> Result<(), Stop> {
        let mut unknown: Vec<Target> = self.targets.iter().filter(|target| !self.configuration.targets.contains_key(&target.name)).cloned().collect();
        unknown.sort_by(|one, other| one.name.cmp(&other.name));
        unknown.iter().try_for_each(|target| self.remove(target, "deleted").map(|_| ()))
    }

    fn configure(&mut self) -> Result<(), Stop> {
        let file = Path::new(&self.options.file);
        if !file.exists() {
            eprintln!("Config file {} not found. Exiting...", self.options.file);
            return Err(Stop(MISSING));
        }
        self.comment(&format!("Using {} as configuration file\n", self.options.file));
        let read = configuration::read(file, &Disk).and_then(|section| Configuration::new(&section));
        self.configuration = read.map_err(|error: Error| {
            eprintln!("tgt-admin: {error}");
            Stop(error.status)
        })?;
        self.options.ignore_errors |= self.configuration.ignore_errors;
        if self.options.control_port.is_none() {
            self.options.control_port.clone_from(&self.configuration.control_port);
        }
        Ok(())
    }

    /// What the daemon serves and knows. Without a daemon there is still something to pretend.
    fn learn(&mut self) -> Result<(), Stop> {
        match self.listed() {
            Ok(targets) => self.targets = targets,
            Err(_) if self.options.pretend => return Ok(()),
            Err(stop) => return Err(stop),
        }
        let text = self.ask("--op show --mode account")?;
        self.accounts = text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect();
        Ok(())
    }

    /// The targets that the daemon serves, by number.
    pub fn listed(&self) -> Result<Vec<Target>, Stop> {
        self.ask("--op show --mode target").map(|text| listing::targets(&text))
    }

    /// A question, which is also asked when pretending.
    fn ask(&self, words: &str) -> Result<String, Stop> {
        let answer = self.call(None).plain(words).make().map_err(|failure| {
            eprintln!("tgtadm: {}", failure.line);
            Stop(failure.status)
        })?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// What the configuration says outside its targets.
    fn globals(&mut self) -> Result<(), Stop> {
        if self.configuration.default_driver.is_none() {
            self.comment("default-driver not defined, defaulting to iscsi.\n");
        }
        self.portals()?;
        self.isns()?;
        for (accounts, direction) in
            [(self.configuration.incoming_discovery.clone(), ""), (self.configuration.outgoing_discovery.clone(), "--outgoing")]
        {
            for account in accounts {
                self.know(&account, None)?;
                self.discover(&account.user, direction)?;
            }
        }
        Ok(())
    }

    /// Opens what is not open yet. Portals that the configuration does not know stay: the daemon was started with them, or a person opened them.
    fn portals(&self) -> Result<(), Stop> {
        if self.configuration.portals.is_empty() {
            return Ok(());
        }
        let shown = self.ask("--op show --mode portal").or_else(|stop| if self.options.pretend { Ok(String::new()) } else { Err(stop) })?;
        let read = |text: &str| Portal::parse(text).ok();
        let open: Vec<Portal> = shown.lines().filter_map(|line| read(line.strip_prefix("Portal: ")?)).collect();
        let closed = self.configuration.portals.iter().filter(|portal| read(portal).is_none_or(|portal| !open.contains(&portal)));
        closed
            .into_iter()
            .try_for_each(|portal| self.make(&self.call(None).plain("--op new --mode portal --param").value(&format!("portal={portal}"))))
    }

    fn isns(&self) -> Result<(), Stop> {
        if self.configuration.isns.is_empty() {
            return Ok(());
        }
        let running = self.ask("--op show --mode sys").unwrap_or_default().lines().any(|line| line.trim() == "iSNS=On");
        if running {
            return Ok(());
        }
        for (name, value) in &self.configuration.isns {
            self.make(&self.call(None).plain("--op update --mode sys --name").value(name).plain("-v").value(value))?;
        }
        Ok(())
    }

    /// An account for discovery. That it is one already is no failure; the daemon does not list them, so it is asked.
    fn discover(&self, user: &str, direction: &str) -> Result<(), Stop> {
        let direct = |call: Call| if direction.is_empty() { call } else { call.plain(direction) };
        let bind = direct(self.call(None).plain("--mode account --op bind").pair("--user", user));
        let unbind = direct(self.call(None).plain("--mode account --op unbind").pair("--user", user));
        self.show_call(&bind);
        if self.options.pretend {
            return Ok(());
        }
        match bind.make() {
            Ok(_) => Ok(()),
            Err(Failure { code: Some(Code::AccountExists), .. }) => Ok(()),
            // One is set. When it is this one, it can be taken away and set again.
            Err(failure) if failure.code == Some(Code::OutgoingAccountExists) => match unbind.make() {
                Ok(_) => bind.make().map(|_| ()).or_else(|failure| self.failed(&bind, &failure)),
                Err(_) => self.failed(&bind, &failure),
            },
            Err(failure) => self.failed(&bind, &failure),
        }
    }

    /// Makes an account that the daemon does not know.
    pub(crate) fn know(&mut self, account: &Account, driver: Option<&str>) -> Result<(), Stop> {
        if self.accounts.insert(account.user.clone()) {
            let call = self.call(driver).plain("--mode account --op new").pair("--user", &account.user);
            self.make(&call.pair("--password", &account.password))?;
        }
        Ok(())
    }

    fn selected(&self, selector: &Selector) -> Option<Target> {
        let matches = |target: &&Target| match selector {
            Selector::All => true,
            Selector::Tid(tid) => target.tid.to_string() == *tid,
            Selector::Name(name) => target.name == *name,
        };
        self.targets.iter().find(matches).cloned()
    }

    pub(crate) fn live(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The beginning of a call.
    pub(crate) fn call(&self, driver: Option<&str>) -> Call {
        Call::new(self.options.control_port.as_deref(), driver)
    }

    /// Makes a call, or shows it, or both.
    pub(crate) fn make(&self, call: &Call) -> Result<(), Stop> {
        self.succeeds(call).map(|_| ())
    }

    /// [`Session::make`]; false when it failed and failures are ignored.
    pub(crate) fn succeeds(&self, call: &Call) -> Result<bool, Stop> {
        self.show_call(call);
        if self.options.pretend {
            return Ok(true);
        }
        match call.make() {
            Ok(_) => Ok(true),
            Err(failure) => self.failed(call, &failure).map(|()| false),
        }
    }

    /// Makes a call of which it does not matter whether it succeeds.
    pub(crate) fn try_to(&self, call: &Call) {
        self.show_call(call);
        if !self.options.pretend {
            let _ = call.make();
        }
    }

    fn show_call(&self, call: &Call) {
        self.tell(call.shown());
    }

    /// Tells of a failing call; whether it ends the run.
    fn failed(&self, call: &Call, failure: &Failure) -> Result<(), Stop> {
        eprintln!("tgtadm: {}", failure.line);
        if self.options.ignore_errors {
            return Ok(());
        }
        print(&format!("Command:\n\t{}\nexited with code: {}.\n", call.shown(), failure.status));
        Err(Stop(failure.status))
    }

    pub(crate) fn comment(&self, text: &str) {
        self.tell(&format!("# {text}"));
    }

    /// A line for those who want to know.
    pub(crate) fn tell(&self, line: &str) {
        if self.options.pretend || self.options.verbose {
            print(&format!("{line}\n"));
        }
    }
}

fn refused(text: &str) -> Stop {
    print(text);
    Stop(IMPOSSIBLE)
}

fn absent(selector: &Selector) -> String {
    match selector {
        Selector::Tid(tid) => format!("Target with tid {tid} does not exist!"),
        Selector::Name(name) => format!("Target with name {name} does not exist!"),
        Selector::All => "There is no target!".into(),
    }
}
