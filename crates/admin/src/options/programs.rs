//! What each program says of itself beside its options: manual pages and completions are made of it.

use super::getopt::{Flag, Values};
use super::{setup_lun, tgt_admin, tgtadm, tgtd, tgtimg};

/// A program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Command lines that show its shape, without its name.
    pub synopsis: &'static [&'static str],
    /// Paragraphs.
    pub description: &'static [&'static str],
    /// Its option table, the one that its parser reads.
    pub flags: &'static [Flag],
    /// Command lines without the program's name, and what they do.
    pub commands: &'static [(&'static str, &'static str)],
    /// What its words can be that are no options.
    pub words: Values,
    /// Variables of the environment that it reads.
    pub environment: &'static [(&'static str, &'static str)],
    /// Files.
    pub files: &'static [(&'static str, &'static str)],
    /// Exit statuses.
    pub statuses: &'static [(&'static str, &'static str)],
    /// Pages that go on from here.
    pub see_also: &'static [(&'static str, u8)],
}

/// The variable that every program of the pair reads.
const IPC_SOCKET: (&str, &str) = (
    "TGT_IPC_SOCKET",
    "Path of the control socket without its number, instead of /var/run/tgtd/socket; a dot and the number of --control-port follow.",
);
const CONTROL_SOCKET: (&str, &str) = ("/var/run/tgtd/socket.N", "Control socket of the daemon with control port N.");
const TARGETS_CONF: (&str, &str) = ("/etc/tgt/targets.conf", "Targets that tgt-admin makes; see targets.conf(5).");
const GOOD: (&str, &str) = ("0", "It is done.");
const USAGE_ERROR: (&str, &str) = ("22", "The command line is wrong, or the daemon refused the request; one line on standard error says why.");
const NO_DAEMON: (&str, &str) = ("107", "No daemon answers: init scripts read it as \"not running\".");

/// All programs but `scuzzy`, whose command line describes itself.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "tgtd",
        summary: "SCSI target daemon",
        synopsis: &["[OPTION]..."],
        description: &[
            "tgtd offers disks to initiators over iSCSI. It starts without any target; tgtadm(8), tgt-admin(8), tgt-setup-lun(8) and scuzzy(1) make them over its control socket.",
            "Without --foreground or --nodaemonize it goes to the background and returns when it serves: portals are open, and the control socket answers. Whatever cannot be opened is one line on standard error and exit status 1.",
            "SIGTERM and SIGINT end it in order: no more logins, sessions closed, stores flushed as they were asked to be. SIGHUP does so, too, unless --config names a file: it is read again.",
            "Under a service manager it tells when it serves (READY=1) and that it is ending (STOPPING=1). When the manager watches it (WatchdogSec=), it sends WATCHDOG=1 only after the control plane and every reactor have answered: a part that hangs lets the watchdog expire. Listening sockets that the manager passes (LISTEN_FDS) are taken over: TCP sockets become portals instead of the default ones, a Unix socket becomes the control socket.",
        ],
        flags: tgtd::FLAGS,
        commands: &[],
        words: Values::Any,
        environment: &[
            IPC_SOCKET,
            ("NOTIFY_SOCKET", "Where the service manager wants to be told."),
            ("WATCHDOG_USEC, WATCHDOG_PID", "How often it wants to hear, in microseconds, and from whom."),
            ("LISTEN_FDS, LISTEN_PID", "How many sockets it passes, from descriptor 3 on, and to whom."),
        ],
        files: &[CONTROL_SOCKET, ("/var/run/tgtd/socket.N.lock", "Lock that a second daemon with the same control port meets."), TARGETS_CONF],
        statuses: &[
            ("0", "It ended as it was told, or it serves in the background."),
            ("1", "It could not start, or an option is unknown."),
            ("22, 34", "A value on the command line is invalid, or out of range."),
        ],
        see_also: &[("tgtadm", 8), ("tgt-admin", 8), ("tgt-setup-lun", 8), ("targets.conf", 5), ("scuzzy", 1)],
    },
    Program {
        name: "tgtadm",
        summary: "make, change and show the targets of a running tgtd",
        synopsis: &["--mode MODE --op OPERATION [OPTION]..."],
        description: &[
            "tgtadm sends one request to tgtd(8) over its control socket and prints the answer. A change that succeeds prints nothing.",
            "Long options can be cut to any beginning that is unique. The driver (--lld) may be left out.",
            "What it makes lasts until the daemon ends; tgt-admin(8) makes targets from a file at each start.",
        ],
        flags: tgtadm::FLAGS,
        commands: tgtadm::USAGE,
        words: Values::Any,
        environment: &[IPC_SOCKET],
        files: &[CONTROL_SOCKET],
        statuses: &[GOOD, ("1", "The mode or the operation is unknown."), USAGE_ERROR, NO_DAEMON],
        see_also: &[("tgtd", 8), ("tgt-admin", 8), ("tgt-setup-lun", 8), ("scuzzy", 1)],
    },
    Program {
        name: "tgt-admin",
        summary: "make the targets of a configuration file",
        synopsis: &["--execute [OPTION]...", "--update|--delete|--offline|--ready TARGETS [OPTION]...", "--show|--dump [OPTION]..."],
        description: &[
            "tgt-admin reads targets.conf(5) and has tgtd(8) make the targets that stand there, change them, remove them, or writes the running ones as such a file.",
            "TARGETS is ALL, tid=N, or the name of a target; help explains it. Of several actions on one command line the first of --show, --execute, --delete, --update, --dump, --offline, --ready counts.",
            "Targets that initiators are logged in to and stores that are in use are left alone unless --force is given.",
        ],
        flags: tgt_admin::FLAGS,
        commands: &[
            ("--execute", "make what the file says, remove what it does not say"),
            ("--update ALL", "make every target again as the file says now"),
            ("--delete tid=4", "remove the target with number 4"),
            ("--offline ALL", "refuse logins to every target"),
            ("--dump", "print the running state as a configuration"),
            ("--pretend --execute", "print the calls of tgtadm instead of making them"),
        ],
        words: Values::Any,
        environment: &[IPC_SOCKET],
        files: &[TARGETS_CONF, ("/etc/tgt/conf.d", "Folder for more files, which the packaged targets.conf includes."), CONTROL_SOCKET],
        statuses: &[
            GOOD,
            ("1", "The configuration makes no sense; one line says where."),
            ("2", "The configuration file is not there."),
            USAGE_ERROR,
            NO_DAEMON,
            ("255", "A file cannot be read or understood."),
        ],
        see_also: &[("targets.conf", 5), ("tgtd", 8), ("tgtadm", 8)],
    },
    Program {
        name: "tgtimg",
        summary: "make and show images of tapes, discs and disks",
        synopsis: &["--op new --device-type TYPE --type MEDIUM [--barcode TEXT] [--size MIB] --file PATH", "--op show [--json] --file PATH"],
        description: &["tgtimg makes blank images for tgtd(8) and lists what is on a tape. A file that is there already is overwritten."],
        flags: tgtimg::FLAGS,
        commands: tgtimg::USAGE,
        words: Values::Any,
        environment: &[],
        files: &[],
        statuses: &[
            GOOD,
            ("1", "The operation is unknown, or an image to show cannot be opened or understood."),
            ("2", "The file cannot be made."),
            ("3", "There is no room, or the size is 0."),
            ("5, 6", "The file cannot be thin, or its size cannot be set."),
            ("22", "The command line is wrong; one line on standard error says why."),
        ],
        see_also: &[("tgtd", 8), ("tgtadm", 8)],
    },
    Program {
        name: "tgt-setup-lun",
        summary: "make a target with one unit, with one command",
        synopsis: &["-n NAME -d PATH [OPTION]... [ADDRESS]..."],
        description: &[
            "tgt-setup-lun makes a target with one unit in a running tgtd(8) and lets initiators of these addresses in, or all. Whatever fails is undone: nothing half-made is left behind.",
            "A target that is there already gets one more unit, after asking on the terminal.",
            "An address may also be the name of an initiator.",
        ],
        flags: setup_lun::FLAGS,
        commands: &[("-n disk1 -d /srv/disk1.img 192.0.2.1 192.0.2.2", "offer an image to two initiators")],
        words: Values::Words(&["ALL"]),
        environment: &[IPC_SOCKET],
        files: &[CONTROL_SOCKET],
        statuses: &[GOOD, ("1", "It did not work; a line says why.")],
        see_also: &[("tgtd", 8), ("tgtadm", 8), ("tgt-admin", 8)],
    },
];

/// The program with this name.
pub fn find(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Usage;
    use crate::wire::{MODES, OPERATIONS};

    #[test]
    fn words_are_those_that_the_parsers_take() {
        let table: Vec<&str> = tgtadm::MODE_OPERATIONS.iter().map(|row| row.0).collect();
        let words =
            PROGRAMS.iter().find(|program| program.name == "tgtadm").and_then(|program| program.flags.iter().find(|flag| flag.long == "mode"));
        assert_eq!(words.map(|flag| flag.values), Some(Values::Words(tgtadm::MODE_WORDS)));
        assert!(table.iter().all(|mode| tgtadm::MODE_WORDS.contains(mode)) && table.len() == MODES.len());
        for program in PROGRAMS {
            for flag in program.flags {
                let Values::Words(words) = flag.values else { continue };
                for word in words {
                    let arguments = [format!("--{}", flag.long).into_bytes(), word.as_bytes().to_vec()];
                    let refusal = match program.name {
                        "tgtd" => tgtd::parse(&arguments, "1").err(),
                        "tgtadm" => tgtadm::parse(&arguments, "1").err().filter(|usage| !usage.message.contains("specify the")),
                        "tgtimg" => tgtimg::parse(&arguments, "1").err().filter(|usage| !usage.message.contains("specify ")),
                        _ => None,
                    };
                    assert_eq!(refusal, None, "{} --{} {word}", program.name, flag.long);
                }
            }
        }
    }

    #[test]
    fn operations_are_those_of_the_mode() {
        for (mode, operations) in tgtadm::MODE_OPERATIONS.iter().filter(|row| !["session", "connection", "error"].contains(&row.0)) {
            for (_, operation) in OPERATIONS {
                let line = ["--mode", mode, "--op", operation, "--tid", "1", "--lun", "1"];
                let mut arguments: Vec<Vec<u8>> = line.iter().map(|word| word.as_bytes().to_vec()).collect();
                if !["target", "logicalunit"].contains(mode) {
                    arguments.truncate(4);
                }
                let unsupported = |usage: &Usage| usage.message.contains("not supported in");
                let known = !tgtadm::parse(&arguments, "1").err().as_ref().is_some_and(unsupported);
                assert_eq!(known, operations.contains(operation), "{mode} {operation}");
            }
        }
    }

    #[test]
    fn programs_point_at_pages_that_exist() {
        assert!(find("tgtd").is_some_and(|program| program.see_also.contains(&("targets.conf", 5))), "what tgtd serves is written there");
        for program in PROGRAMS {
            for (name, section) in program.see_also {
                assert!(find(name).is_some_and(|_| *section == 8) || [("targets.conf", 5), ("scuzzy", 1)].contains(&(name, *section)), "{name}");
            }
        }
    }
}
