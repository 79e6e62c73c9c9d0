//! tgtd's command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::getopt::{Flag, Parser, Problem, ValueRule, Values};
use super::{BadNumber, Parsed, Usage, flag_lines, hint, number_within};
use crate::number;
use crate::portal::Portal;

/// How the daemon is to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Daemon {
    /// Stay in the foreground and log to standard error.
    pub foreground: bool,
    /// Stay in the foreground and log to the system's log.
    pub nodaemonize: bool,
    /// Suffix of the control socket and its lock.
    pub control_port: u16,
    /// tgt's threads per unit; taken for compatibility.
    pub io_threads: u32,
    /// Where to write the process number.
    pub pid_file: Option<OsString>,
    /// Debug messages.
    pub debug: bool,
    /// Portals, in the order given; none: all addresses at the default port.
    pub portals: Vec<Portal>,
    /// Seconds between pings for new targets, 0: none.
    pub nop_interval: u32,
    /// Unanswered pings before a connection is closed.
    pub nop_count: u32,
    /// False: every fault rule is refused.
    pub faults: bool,
    /// Seed of fault decisions; none: from the system.
    pub seed: Option<u64>,
    /// I/O driver.
    pub io: IoDriver,
    /// Reactor threads; none: one a core.
    pub reactors: Option<u32>,
    /// Group whose members may use the control socket.
    pub control_group: Option<String>,
    /// Group whose members may look, or `all`.
    pub control_readers: Option<String>,
    /// Configuration to start with.
    pub config: Option<OsString>,
    /// Folder in which changes are kept.
    pub state: Option<OsString>,
    /// Set aside what that folder holds.
    pub state_fresh: bool,
    /// Log format: `auto`, `text`, `json`, `journal`.
    pub log: String,
}

/// Which I/O driver the reactors use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub enum IoDriver {
    #[default]
    Auto,
    Uring,
    Epoll,
}

impl IoDriver {
    /// The driver of that name.
    pub fn from_word(word: &str) -> Option<IoDriver> {
        [("auto", IoDriver::Auto), ("uring", IoDriver::Uring), ("epoll", IoDriver::Epoll)].into_iter().find(|row| row.0 == word).map(|row| row.1)
    }
}

impl Default for Daemon {
    fn default() -> Daemon {
        Daemon {
            foreground: false,
            nodaemonize: false,
            control_port: 0,
            io_threads: 16,
            pid_file: None,
            debug: false,
            portals: Vec::new(),
            nop_interval: 0,
            nop_count: 0,
            faults: true,
            seed: None,
            io: IoDriver::Auto,
            reactors: None,
            control_group: None,
            control_readers: None,
            config: None,
            state: None,
            state_fresh: false,
            log: "auto".into(),
        }
    }
}

/// Highest number of reactor threads: more than the cores of the largest machines in sight, few enough to start.
pub const REACTORS_MAX: u32 = 1024;

const fn flag(long: &'static str, short: char, value: ValueRule, metavariable: &'static str, help: &'static str) -> Flag {
    Flag { long, short: Some(short), value, metavariable, help, whole_only: false, values: Values::Any }
}

const fn own(long: &'static str, value: ValueRule, metavariable: &'static str, help: &'static str) -> Flag {
    Flag { long, short: None, value, metavariable, help, whole_only: true, values: Values::Any }
}

use ValueRule::{None as Bare, Required};

/// tgtd's options. What came after tgt's has to be written in full, so that `--no` still means what it did.
pub const FLAGS: &[Flag] = &[
    flag("foreground", 'f', Bare, "", "make the program run in the foreground"),
    flag("nodaemonize", 'D', Bare, "", "make the program run in the foreground with logger"),
    flag("control-port", 'C', Required, "NNNN", "use port NNNN for the mgmt channel"),
    flag("nr_iothreads", 't', Required, "NNNN", "specify the number of I/O threads"),
    flag("pid-file", 'p', Required, "filename", "specify the pid file").taking(Values::File),
    flag("debug", 'd', Required, "debuglevel", "print debugging information").taking(Values::Words(&["0", "1"])),
    flag("version", 'V', Bare, "", "print version and exit"),
    flag("help", 'h', Bare, "", "display this help and exit"),
    own("iscsi", Required, "LIST", "portal=ADDR[:PORT][,GROUP], nop_interval=N, nop_count=N"),
    own("no-faults", Bare, "", "refuse every fault rule"),
    own("seed", Required, "N", "seed of fault decisions"),
    own("io", Required, "DRIVER", "auto, uring or epoll").taking(Values::Words(&["auto", "uring", "epoll"])),
    own("reactors", Required, "N", "reactor threads"),
    own("control-group", Required, "GROUP", "group whose members may use the mgmt channel"),
    own("control-readers", Required, "GROUP", "group, or all, who may look at PATH.ro"),
    own("log", Required, "FORMAT", "auto, text, json or journal").taking(Values::Words(&["auto", "text", "json", "journal"])),
    own("config", Required, "FILE", "start with this scuzzy.toml; SIGHUP reads it again").taking(Values::File),
    own("state", Required, "DIR", "keep configuration changes there over restarts").taking(Values::File),
    own("state-fresh", Bare, "", "set aside what the state folder holds"),
];

/// Exit status of a number that is none (EINVAL).
const INVALID: u8 = 22;
/// Exit status of a number out of range (ERANGE).
const OUT_OF_RANGE: u8 = 34;

/// Reads a command line, the program's name left out. Words that are no options are ignored, as tgtd does.
///
/// # Errors
/// What is wrong with it, in tgtd's words, with its exit status.
pub fn parse(arguments: &[Vec<u8>], version: &str) -> Result<Parsed<Daemon>, Usage> {
    let mut daemon = Daemon::default();
    let mut parser = Parser::new(FLAGS, arguments);
    while let Some(step) = parser.step() {
        let given = step.map_err(|problem| unknown(&problem))?;
        let value = given.value.unwrap_or_default();
        match given.flag.long {
            "help" => return Ok(Parsed::Print(help(version))),
            "version" => return Ok(Parsed::Print(format!("{version}\n"))),
            "foreground" => daemon.foreground = true,
            "nodaemonize" => daemon.nodaemonize = true,
            "control-port" => daemon.control_port = u16::try_from(number('C', value, 0, 32_767)?).unwrap_or_default(),
            "nr_iothreads" => daemon.io_threads = u32::try_from(number('t', value, 1, i32::MAX as u64)?).unwrap_or_default(),
            "pid-file" => daemon.pid_file = Some(OsString::from_vec(value.to_vec())),
            "debug" => daemon.debug = number('d', value, 0, 1)? == 1,
            "iscsi" => iscsi(&mut daemon, &text("iscsi", value)?)?,
            "no-faults" => daemon.faults = false,
            "config" => daemon.config = Some(OsString::from_vec(value.to_vec())),
            "state" => daemon.state = Some(OsString::from_vec(value.to_vec())),
            "state-fresh" => daemon.state_fresh = true,
            "seed" => daemon.seed = Some(whole_number("seed", value, u64::MAX)?),
            "io" => {
                let word = text("io", value)?;
                daemon.io = IoDriver::from_word(&word).ok_or_else(|| refuse(&format!("--io '{word}': expected auto, uring or epoll")))?;
            }
            "control-group" => daemon.control_group = Some(text("control-group", value)?),
            "control-readers" => daemon.control_readers = Some(text("control-readers", value)?),
            "log" => {
                let word = text("log", value)?;
                let known = ["auto", "text", "json", "journal"].contains(&word.as_str());
                daemon.log = if known { word } else { return Err(refuse(&format!("--log '{word}': expected auto, text, json or journal"))) };
            }
            _ => daemon.reactors = u32::try_from(whole_number("reactors", value, REACTORS_MAX.into())?).ok(),
        }
    }
    if daemon.reactors == Some(0) {
        return Err(refuse("--reactors '0': at least 1 is needed"));
    }
    if daemon.state_fresh && daemon.state.is_none() {
        return Err(refuse("--state-fresh needs --state DIR"));
    }
    Ok(Parsed::Run(daemon))
}

/// tgtd looks an unknown long option up as the name of a driver, value and all, and is silent about letters.
fn unknown(problem: &Problem) -> Usage {
    match problem.long() {
        Some(given) => Usage::with_hint(1, format_args!("'{given}' is an unknown option"), "tgtd"),
        None => Usage { message: hint("tgtd"), status: 1 },
    }
}

fn number(letter: char, value: &[u8], low: u64, high: u64) -> Result<u64, Usage> {
    number_within(value, low, high).map_err(|why| {
        let status = if why == BadNumber::Invalid { INVALID } else { OUT_OF_RANGE };
        Usage::with_hint(status, why.message(letter, value), "tgtd")
    })
}

/// A number of one of our own options: decimal or 0x, nothing else.
fn whole_number(option: &str, value: &[u8], high: u64) -> Result<u64, Usage> {
    let text = text(option, value)?;
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let number = parsed.ok().filter(|number| *number <= high);
    number.ok_or_else(|| refuse(&format!("--{option} '{text}': expected a number from 0 to {high}")))
}

fn text(option: &str, value: &[u8]) -> Result<String, Usage> {
    String::from_utf8(value.to_vec()).map_err(|_| refuse(&format!("--{option}: the value is not UTF-8")))
}

fn refuse(message: &str) -> Usage {
    Usage::new(INVALID, format_args!("tgtd: {message}"))
}

/// Items are known by their beginning, others are ignored, as in tgt; but an address that cannot be meant is refused instead of listening everywhere.
fn iscsi(daemon: &mut Daemon, list: &str) -> Result<(), Usage> {
    let count = |text: &str| number::in_range(text, 0, u32::MAX.into()).and_then(|value| u32::try_from(value).ok()).unwrap_or_default();
    for item in with_groups(list) {
        if let Some(address) = item.strip_prefix("portal=") {
            daemon.portals.push(Portal::parse(address).map_err(|why| refuse(&why))?);
        } else if let Some(value) = item.strip_prefix("nop_interval=") {
            daemon.nop_interval = count(value);
        } else if let Some(value) = item.strip_prefix("nop_count=") {
            daemon.nop_count = count(value);
        }
    }
    Ok(())
}

/// The items of a list. A number alone is the group of the portal before it.
fn with_groups(list: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for item in list.split(',') {
        match items.last_mut().filter(|last| last.starts_with("portal=")) {
            Some(portal) if !item.is_empty() && item.bytes().all(|digit| digit.is_ascii_digit()) => *portal = format!("{portal},{item}"),
            _ => items.push(item.to_owned()),
        }
    }
    items
}

/// `--help`.
pub fn help(version: &str) -> String {
    let mut out = format!("Linux SCSI Target framework daemon, version {version} (Scuzzy)\n\nUsage: tgtd [OPTION]\n");
    out.push_str(&flag_lines(FLAGS));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Parsed<Daemon>, (String, u8)> {
        let words: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        parse(&words, "1.2.3").map_err(|usage| (usage.message, usage.status))
    }

    fn daemon(line: &str) -> Daemon {
        match run(line) {
            Ok(Parsed::Run(daemon)) => daemon,
            other => panic!("{line}: {other:?}"),
        }
    }

    const HINT: &str = "Try `tgtd --help' for more information.\n";

    #[test]
    fn options_of_tgt() {
        let given = daemon("-f -C 0x10 -t 4 --pid-file=/run/x -d 1 junk --iscsi portal=127.0.0.1:13300,2,nop_interval=5,nop_count=6,foo");
        assert_eq!((given.foreground, given.nodaemonize, given.control_port, given.io_threads, given.debug), (true, false, 16, 4, true));
        assert_eq!(given.pid_file, Some("/run/x".into()));
        assert_eq!(given.portals, [Portal { host: "127.0.0.1".into(), port: 13300, group: 2 }]);
        assert_eq!((given.nop_interval, given.nop_count), (5, 6));
        assert_eq!(daemon(""), Daemon::default());
        assert!(daemon("--no").nodaemonize, "--no-faults came later");
    }

    #[test]
    fn our_own_options() {
        let given = daemon("--no-faults --seed 0xff --io epoll --reactors 2");
        assert_eq!((given.faults, given.seed, given.io, given.reactors), (false, Some(255), IoDriver::Epoll, Some(2)));
        for line in ["--seed x", "--io kqueue", "--reactors 0", "--reactors 1025", "--iscsi portal=:3260", "--iscsi portal=1.2.3.4:x"] {
            let refused = run(line);
            assert!(
                matches!(&refused, Err((message, 22)) if message.starts_with("tgtd: ") && message.matches('\n').count() == 1),
                "{line}: {refused:?}"
            );
        }
    }

    #[test]
    fn errors_in_tgts_words() {
        let cases = [
            ("-C x", format!("-C argument value 'x' invalid\n{HINT}"), 22),
            ("-C 99999", format!("-C argument value '99999' out of range\n{HINT}"), 34),
            ("-t 0", format!("-t argument value '0' out of range\n{HINT}"), 34),
            ("-d 2", format!("-d argument value '2' out of range\n{HINT}"), 34),
            ("--nosuch 1", format!("'nosuch' is an unknown option\n{HINT}"), 1),
            ("--foreground=1", format!("'foreground=1' is an unknown option\n{HINT}"), 1),
            ("--n 1", format!("'n' is an unknown option\n{HINT}"), 1),
            ("--control-port", format!("'control-port' is an unknown option\n{HINT}"), 1),
            ("-x", HINT.to_owned(), 1),
            ("-C", HINT.to_owned(), 1),
        ];
        for (line, message, status) in cases {
            assert_eq!(run(line), Err((message, status)), "{line}");
        }
    }

    #[test]
    fn help_and_version() {
        assert_eq!(run("-V"), Ok(Parsed::Print("1.2.3\n".into())));
        let Ok(Parsed::Print(help)) = run("--help") else { panic!("no help") };
        for line in [
            "-f, --foreground        make the program run in the foreground\n",
            "-C, --control-port NNNN use port NNNN for the mgmt channel\n",
            "-t, --nr_iothreads NNNN specify the number of I/O threads\n",
            "-d, --debug debuglevel  print debugging information\n",
        ] {
            assert!(help.contains(line), "{help}");
        }
    }
}
