//! tgtadm's command line: from words to a request on the wire.

use super::check;
use super::getopt::{Flag, Parser, ValueRule, Values};
use super::{BadNumber, Parsed, Usage, flag_lines, number_within};
use crate::wire::{Frame, MODES, NO_LUN, NO_TID, OPERATIONS};

/// A request to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// The request.
    pub frame: Frame,
    /// Suffix of the control socket.
    pub control_port: u16,
    /// Tell on standard error what happens.
    pub debug: bool,
}

impl Invocation {
    /// The daemon ends after it has answered; the caller waits for that.
    pub fn ends_daemon(&self) -> bool {
        (self.frame.mode, self.frame.op) == (0, 1)
    }
}

/// Exit status of usage errors and of every refusal by the daemon (EINVAL).
pub const REFUSED: u8 = 22;
/// Exit status when there is no daemon to talk to (ENOTCONN): init scripts read it as "not running".
pub const NO_DAEMON: u8 = 107;

const fn flag(long: &'static str, short: char, value: ValueRule, metavariable: &'static str, help: &'static str) -> Flag {
    Flag { long, short: Some(short), value, metavariable, help, whole_only: false, values: Values::Any }
}

use ValueRule::{None as Bare, Required, ShortSwallows};

/// Words of the modes, without their aliases.
pub(super) const MODE_WORDS: &[&str] = &["system", "target", "logicalunit", "portal", "session", "connection", "account", "lld", "error"];

/// Stores of the daemon.
pub(super) const STORE_WORDS: &[&str] = &["rdwr", "aio", "null", "memory"];

/// Operations that each mode knows. Modes session and connection check nothing before the daemon does.
pub const MODE_OPERATIONS: &[(&str, &[&str])] = &[
    ("system", &["delete", "show", "update", "stat"]),
    ("target", &["new", "delete", "show", "bind", "unbind", "update", "stat"]),
    ("logicalunit", &["new", "delete", "update", "stat"]),
    ("portal", &["new", "delete", "show"]),
    ("session", &["show", "delete", "stat"]),
    ("connection", &["delete", "show", "stat"]),
    ("account", &["new", "delete", "show", "bind", "unbind"]),
    ("lld", &["show", "start", "stop"]),
    ("error", &["new", "delete", "show"]),
];

/// tgtadm's options. The order matters: ambiguous beginnings are listed in it.
pub const FLAGS: &[Flag] = &[
    flag("debug", 'd', Bare, "", "tell on standard error what happens"),
    flag("help", 'h', Bare, "", "print this text"),
    flag("version", 'V', Bare, "", "print the version"),
    flag("lld", 'L', Required, "DRIVER", "driver: iscsi").taking(Values::Words(&["iscsi"])),
    flag("op", 'o', Required, "OPERATION", "new delete bind unbind show update stat start stop").taking(Values::Operations),
    flag("mode", 'm', Required, "MODE", "system target logicalunit portal session connection account lld error").taking(Values::Words(MODE_WORDS)),
    flag("tid", 't', Required, "N", "target number, from 1").taking(Values::TargetNumber),
    flag("sid", 's', Required, "N", "session number"),
    flag("cid", 'c', Required, "N", "connection number"),
    flag("lun", 'l', Required, "N", "unit number").taking(Values::UnitNumber),
    flag("name", 'n', Required, "NAME", "setting to change"),
    flag("value", 'v', Required, "VALUE", "its new value"),
    flag("backing-store", 'b', Required, "PATH", "file or device of a unit").taking(Values::File),
    flag("bstype", 'E', Required, "STORE", "kind of store").taking(Values::Words(STORE_WORDS)),
    flag("bsopts", 'S', Required, "TEXT", "options for the store"),
    flag("bsoflags", 'f', Required, "FLAGS", "sync, direct or sync:direct").taking(Values::Words(&["sync", "direct", "sync:direct"])),
    flag("blocksize", 'y', Required, "BYTES", "block size of a unit, a power of two").taking(Values::Words(&["512", "1024", "2048", "4096"])),
    flag("targetname", 'T', Required, "NAME", "name of a new target").taking(Values::TargetName),
    flag("initiator-address", 'I', Required, "ADDRESS", "ALL, an address or ADDRESS/BITS").taking(Values::Words(&["ALL"])),
    flag("initiator-name", 'Q', Required, "NAME", "name of an initiator"),
    flag("user", 'u', Required, "NAME", "account"),
    flag("password", 'p', Required, "TEXT", "its secret"),
    flag("host", 'H', Required, "N", "SCSI host number"),
    flag("force", 'F', ShortSwallows, "", "close sessions first"),
    flag("params", 'P', Required, "LIST", "KEY=VALUE,..., of a unit or of portals"),
    flag("bus", 'B', Required, "BUS,ID", "SCSI host of a device on a bus"),
    flag("device-type", 'Y', Required, "TYPE", "disk tape cd changer osd ssc pt")
        .taking(Values::Words(&["disk", "tape", "cd", "changer", "osd", "ssc", "pt"])),
    flag("outgoing", 'O', ShortSwallows, "", "the account that the target proves"),
    flag("control-port", 'C', Required, "N", "which daemon, 0 to 32767"),
    flag("error", 'e', Required, "RULE", "fault rule: op=WRITE10,lba=0,...; rule=N to delete one"),
];

/// What was found on the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) mode: Option<u32>,
    pub(super) op: Option<u32>,
    pub(super) driver: Vec<u8>,
    pub(super) tid: Option<i32>,
    pub(super) sid: u64,
    pub(super) cid: u32,
    pub(super) lun: Option<u64>,
    pub(super) host: u32,
    pub(super) device_type: u8,
    pub(super) force: bool,
    pub(super) outgoing: bool,
    pub(super) control_port: u16,
    pub(super) debug: bool,
    pub(super) name: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) bstype: Option<Vec<u8>>,
    pub(super) bsopts: Option<Vec<u8>>,
    pub(super) bsoflags: Option<Vec<u8>>,
    pub(super) blocksize: Option<Vec<u8>>,
    pub(super) targetname: Option<Vec<u8>>,
    pub(super) address: Option<Vec<u8>>,
    pub(super) initiator: Option<Vec<u8>>,
    pub(super) user: Option<Vec<u8>>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) params: Option<Vec<u8>>,
    pub(super) error: Option<Vec<u8>>,
    /// Letters in order of appearance.
    pub(super) seen: Vec<char>,
}

/// Reads a command line, the program's name left out.
///
/// # Errors
/// What is wrong with it, in tgtadm's words, with its exit status.
pub fn parse(arguments: &[Vec<u8>], version: &str) -> Result<Parsed<Invocation>, Usage> {
    let mut options = Options::default();
    let mut parser = Parser::new(FLAGS, arguments);
    while let Some(step) = parser.step() {
        let given = step.map_err(|problem| hinted(format!("tgtadm: {problem}")))?;
        let letter = given.flag.short.unwrap_or_default();
        match letter {
            'h' => return Ok(Parsed::Print(help(version))),
            'V' => return Ok(Parsed::Print(format!("{version}\n"))),
            _ => options.take(letter, given.value.unwrap_or_default())?,
        }
    }
    if let Some(word) = parser.words().first() {
        return Err(hinted(format!("tgtadm: unrecognized option '{}'", String::from_utf8_lossy(word))));
    }
    let op = options.op.ok_or_else(|| Usage::new(REFUSED, "tgtadm: specify the operation type"))?;
    let mode = options.mode.ok_or_else(|| Usage::new(REFUSED, "tgtadm: specify the mode"))?;
    check::check(&options, mode, op)?;
    let invocation = Invocation { frame: options.frame(mode, op), control_port: options.control_port, debug: options.debug };
    if !invocation.frame.fits() {
        return Err(Usage::new(REFUSED, "tgtadm: the parameters are too long: tgtd takes 8191 bytes"));
    }
    Ok(Parsed::Run(invocation))
}

fn hinted(message: String) -> Usage {
    Usage::with_hint(REFUSED, message, "tgtadm")
}

impl Options {
    fn take(&mut self, letter: char, value: &[u8]) -> Result<(), Usage> {
        self.seen.push(letter);
        let text = || Some(value.to_vec());
        match letter {
            'd' => self.debug = true,
            'L' => self.driver = value.to_vec(),
            'o' => self.op = Some(word(value, "operation", OPERATIONS.iter().map(|row| (row.0, row.1)))?),
            'm' => self.mode = Some(word(value, "mode", MODES.iter().flat_map(|row| [(row.0, row.1), (row.0, row.2)]))?),
            't' => self.tid = i32::try_from(number(letter, value, 0, i32::MAX as u64)?).ok(),
            's' => self.sid = number(letter, value, 0, u64::MAX)?,
            'c' => self.cid = narrow(letter, value)?,
            'l' => self.lun = Some(number(letter, value, 0, u64::MAX)?),
            'H' => self.host = narrow(letter, value)?,
            'C' => self.control_port = u16::try_from(number(letter, value, 0, 32_767)?).unwrap_or_default(),
            'Y' => self.device_type = device_type(value)?,
            'B' => self.host = check::bus_host(value)?,
            'F' => self.force = true,
            'O' => self.outgoing = true,
            'n' => self.name = text(),
            'v' => self.value = text(),
            'b' => self.path = text(),
            'E' => self.bstype = text(),
            'S' => self.bsopts = text(),
            'f' => self.bsoflags = text(),
            'y' => self.blocksize = text(),
            'T' => self.targetname = text(),
            'I' => self.address = text(),
            'Q' => self.initiator = text(),
            'u' => self.user = text(),
            'p' => self.password = text(),
            'P' => self.params = text(),
            _ => self.error = text(),
        }
        Ok(())
    }

    fn frame(&self, mode: u32, op: u32) -> Frame {
        Frame {
            mode,
            op,
            driver: self.driver.clone(),
            tid: self.tid.unwrap_or(NO_TID),
            sid: self.sid,
            lun: self.lun.unwrap_or(NO_LUN),
            cid: self.cid,
            host: self.host,
            device_type: self.device_type.into(),
            outgoing: self.outgoing,
            detail: self.debug || (mode == check::ERROR && op < 2),
            force: self.force,
            text: self.text(mode),
        }
    }

    /// The parameter text: each option that was given, in tgtadm's order. A fault rule travels alone and raw.
    fn text(&self, mode: u32) -> Option<Vec<u8>> {
        if mode == check::ERROR {
            return self.error.clone();
        }
        let mut items: Vec<Vec<u8>> = Vec::new();
        if let Some(name) = &self.name {
            items.push([name.as_slice(), b"=", self.value.as_deref().unwrap_or_default()].concat());
        }
        let tape = (self.device_type == 1).then(|| b"ssc".to_vec());
        let keyed = [
            ("path=", &self.path),
            ("bstype=", if tape.is_some() { &tape } else { &self.bstype }),
            ("bsopts=", &self.bsopts),
            ("bsoflags=", &self.bsoflags),
            ("blocksize=", &self.blocksize),
            ("targetname=", &self.targetname),
            ("initiator-address=", &self.address),
            ("initiator-name=", &self.initiator),
            ("user=", &self.user),
            ("password=", &self.password),
        ];
        items.extend(keyed.iter().filter_map(|(key, value)| Some([key.as_bytes(), value.as_deref()?].concat())));
        if let Some(params) = &self.params {
            let prefix: &[u8] = if mode == check::PORTAL { b"portalOps " } else { b"targetOps " };
            items.push([prefix, params, b","].concat());
        }
        (!items.is_empty()).then(|| items.join(&b','))
    }
}

fn number(letter: char, value: &[u8], low: u64, high: u64) -> Result<u64, Usage> {
    number_within(value, low, high).map_err(|why| bad_number(why, letter, value))
}

fn narrow(letter: char, value: &[u8]) -> Result<u32, Usage> {
    let wide = number(letter, value, 0, u32::MAX.into())?;
    u32::try_from(wide).map_err(|_| bad_number(BadNumber::OutOfRange, letter, value))
}

fn bad_number(why: BadNumber, letter: char, value: &[u8]) -> Usage {
    hinted(why.message(letter, value))
}

fn word(value: &[u8], what: &str, mut table: impl Iterator<Item = (u32, &'static str)>) -> Result<u32, Usage> {
    let found = table.find(|(_, name)| name.as_bytes() == value).map(|(number, _)| number);
    found.ok_or_else(|| Usage::new(1, format_args!("tgtadm: unknown {what}: {}", String::from_utf8_lossy(value))))
}

fn device_type(value: &[u8]) -> Result<u8, Usage> {
    let words: [(&[u8], u8); 7] = [(b"disk", 0), (b"tape", 1), (b"ssc", 1), (b"cd", 5), (b"changer", 8), (b"osd", 0x11), (b"pt", 0xff)];
    let found = words.iter().find(|(name, _)| *name == value).map(|(_, number)| *number);
    found.ok_or_else(|| Usage::new(REFUSED, format_args!("tgtadm: unknown target type: {}", String::from_utf8_lossy(value))))
}

/// Command lines of help: operation with its options, and what it does.
pub(super) const USAGE: &[(&str, &str)] = &[
    ("--mode target --op new --tid <id> --targetname <name>", "make a target; its number is 1 or higher"),
    ("--mode target --op delete [--force] --tid <id>", "remove a target; --force closes its sessions first"),
    ("--mode target --op show [--tid <id>]", "list all targets with their units, or the parameters of one"),
    ("--mode target --op update --tid <id> --name <name> --value <value>", "change a setting or a negotiation key of a target"),
    ("--mode target --op bind --tid <id> --initiator-address <address>", "let initiators of an address or network (or ALL) in"),
    ("--mode target --op unbind --tid <id> --initiator-address <address>", "take that back"),
    ("--mode target --op bind --tid <id> --initiator-name <name>", "let an initiator of that name in"),
    ("--mode target --op unbind --tid <id> --initiator-name <name>", "take that back"),
    ("--mode target --op stat --tid <id>", "counters of a target"),
    (
        "--mode logicalunit --op new --tid <id> --lun <lun> --backing-store <path> [--bstype <store>] [--bsopts <text>] [--bsoflags <flags>] [--blocksize <bytes>]",
        "add a unit to a target; stores are listed by --mode system --op show",
    ),
    ("--mode logicalunit --op update --tid <id> --lun <lun> --params <key>=<value>,...", "change settings of a unit"),
    ("--mode logicalunit --op stat --tid <id> --lun <lun>", "counters of a unit"),
    ("--mode logicalunit --op delete --tid <id> --lun <lun>", "remove a unit"),
    ("--mode account --op new --user <name> --password <text>", "make a CHAP account"),
    ("--mode account --op show", "list the accounts"),
    ("--mode account --op delete --user <name>", "remove an account"),
    (
        "--mode account --op bind [--tid <id>] --user <name> [--outgoing]",
        "use it for a target, or for discovery; --outgoing: the target proves itself with it",
    ),
    ("--mode account --op unbind [--tid <id>] --user <name> [--outgoing]", "take that back"),
    ("--mode portal --op new --params portal=<address>[:<port>][,<group>]", "listen there, too"),
    ("--mode portal --op delete --params portal=<address>:<port>", "stop listening there"),
    ("--mode portal --op show", "list where the daemon listens"),
    ("--mode lld --op start", "start a driver"),
    ("--mode lld --op stop", "stop a driver that has no targets"),
    ("--mode lld --op show", "list drivers and their targets"),
    ("--mode connection --op show --tid <id>", "list the connections of a target"),
    ("--mode connection --op delete --tid <id> --sid <sid> --cid <cid>", "close a connection"),
    ("--mode session --op stat --sid <sid>", "counters of a session"),
    ("--mode system --op show", "state, stores and device types of the daemon"),
    ("--mode system --op update --name <name> --value <value>", "change debug, State or an iSNS setting"),
    ("--mode system --op delete", "end the daemon, once no target is left"),
    (
        "--mode error --op new --tid <id> --lun <lun> --error op=<word>,lba=<n>,len=<n>,pct=<n>,pause=<s>,repeat=<n>,action=<word>,key=<k>,asc=<a>",
        "make a unit fail",
    ),
    ("--mode error --op show", "list the fault rules and how often each fired"),
    ("--mode error --op delete [--tid <id> [--lun <lun>] | --error rule=<n>]", "discard all rules, those of a target or unit, or one"),
];

/// `--help`.
pub fn help(version: &str) -> String {
    let mut out = format!("Linux SCSI Target administration utility, version {version} (Scuzzy)\n\nUsage: tgtadm [OPTION]...\n\n");
    for (line, what) in USAGE {
        out.push_str(&format!("--lld <driver> {line}\n\t{what}\n"));
    }
    out.push_str("\nOptions:\n");
    out.push_str(&flag_lines(FLAGS));
    out.push_str("\n--lld may be left out: the first driver is meant. TGT_IPC_SOCKET names the control socket without its number.\n");
    out
}

#[cfg(test)]
mod tests;
