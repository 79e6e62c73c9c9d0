//! tgt-admin's command line.

use super::getopt::{Flag, Parser, ValueRule, Values};
use super::tgtadm::REFUSED;
use super::{Parsed, Usage, flag_lines};

/// Where the configuration is when nothing else is said.
pub const FILE: &str = "/etc/tgt/targets.conf";

/// What to do and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    /// The configuration.
    pub file: String,
    /// Passed to every call.
    pub control_port: Option<String>,
    /// Go on after a failing call.
    pub ignore_errors: bool,
    /// Also targets and stores that are in use.
    pub force: bool,
    /// Print the calls instead of making them.
    pub pretend: bool,
    /// Print each call, then make it.
    pub verbose: bool,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Print the daemon's list of targets.
    Show,
    /// Make what the configuration says.
    Execute,
    /// Remove targets.
    Delete(Selector),
    /// Make targets again as the configuration says.
    Update(Selector),
    /// Print the running state as a configuration.
    Dump,
    /// Refuse logins to targets.
    Offline(Selector),
    /// Take logins to targets.
    Ready(Selector),
}

/// Which targets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector {
    /// All there are.
    All,
    /// The one with this number.
    Tid(String),
    /// The one with this name.
    Name(String),
}

const fn flag(long: &'static str, short: Option<char>, metavariable: &'static str, help: &'static str) -> Flag {
    let value = if metavariable.is_empty() { ValueRule::None } else { ValueRule::Required };
    Flag { long, short, value, metavariable, help, whole_only: false, values: Values::Any }
}

/// tgt-admin's options.
pub const FLAGS: &[Flag] = &[
    flag("execute", Some('e'), "", "make the targets of the configuration, remove those that are not in it"),
    flag("delete", None, "TARGETS", "remove targets: ALL, tid=N, a name, or help").taking(Values::TargetsOr(&["ALL", "help"])),
    flag("update", None, "TARGETS", "make targets again as the configuration says").taking(Values::TargetsOr(&["ALL", "help"])),
    flag("offline", None, "TARGETS", "refuse logins to targets").taking(Values::TargetsOr(&["ALL", "help"])),
    flag("ready", None, "TARGETS", "take logins to targets again").taking(Values::TargetsOr(&["ALL", "help"])),
    flag("show", Some('s'), "", "show all targets"),
    flag("dump", None, "", "print the running state as a configuration"),
    flag("conf", Some('c'), "FILE", "configuration (/etc/tgt/targets.conf)").taking(Values::File),
    flag("control-port", Some('C'), "N", "which daemon"),
    flag("ignore-errors", None, "", "go on after a failing call"),
    flag("force", Some('f'), "", "also targets and stores that are in use"),
    flag("pretend", Some('p'), "", "print the calls of tgtadm instead of making them"),
    flag("verbose", Some('v'), "", "print each call, then make it"),
    flag("help", Some('h'), "", "print this text"),
];

/// Reads a command line, the program's name left out.
///
/// # Errors
/// What is wrong with it, for standard error, and the exit status.
pub fn parse(arguments: &[Vec<u8>]) -> Result<Parsed<Invocation>, Usage> {
    if arguments.is_empty() {
        return Ok(Parsed::Print(help()));
    }
    let mut given: Vec<(&'static str, String)> = Vec::new();
    let mut parser = Parser::new(FLAGS, arguments);
    while let Some(step) = parser.step() {
        let found = step.map_err(|problem| Usage::with_hint(REFUSED, format_args!("tgt-admin: {problem}"), "tgt-admin"))?;
        let value = String::from_utf8(found.value.unwrap_or_default().to_vec());
        let value = value.map_err(|_| Usage::new(REFUSED, format_args!("tgt-admin: --{} is not UTF-8", found.flag.long)))?;
        given.push((found.flag.long, value));
    }
    if let Some(word) = parser.words().first() {
        let word = String::from_utf8_lossy(word);
        return Err(Usage::with_hint(REFUSED, format_args!("tgt-admin: unrecognized option '{word}'"), "tgt-admin"));
    }
    let value = |name: &str| given.iter().rev().find(|(long, _)| *long == name).map(|(_, value)| value.clone());
    let has = |name: &str| value(name).is_some();
    if has("help") {
        return Ok(Parsed::Print(help()));
    }
    for name in ["delete", "update", "offline", "ready"] {
        if value(name).as_deref() == Some("help") {
            return Ok(Parsed::Print(selector_help(name)));
        }
    }
    let Some(action) = action(&value) else {
        return Ok(Parsed::Print("No action specified.\n".into()));
    };
    Ok(Parsed::Run(Invocation {
        action,
        file: value("conf").unwrap_or_else(|| FILE.to_owned()),
        control_port: value("control-port"),
        ignore_errors: has("ignore-errors"),
        force: has("force"),
        pretend: has("pretend"),
        verbose: has("verbose"),
    }))
}

/// Several may be given: the first of these is meant.
fn action(value: &dyn Fn(&str) -> Option<String>) -> Option<Action> {
    let selected = |name: &str| value(name).map(selector);
    value("show")
        .map(|_| Action::Show)
        .or_else(|| value("execute").map(|_| Action::Execute))
        .or_else(|| selected("delete").map(Action::Delete))
        .or_else(|| selected("update").map(Action::Update))
        .or_else(|| value("dump").map(|_| Action::Dump))
        .or_else(|| selected("offline").map(Action::Offline))
        .or_else(|| selected("ready").map(Action::Ready))
}

fn selector(text: String) -> Selector {
    match text.strip_prefix("tid=") {
        Some(tid) => Selector::Tid(tid.to_owned()),
        None if text == "ALL" => Selector::All,
        None => Selector::Name(text),
    }
}

/// `--help`.
pub fn help() -> String {
    format!("Usage: tgt-admin [OPTION]...\n\nMakes the targets of a configuration.\n\n{}", flag_lines(FLAGS))
}

fn selector_help(name: &str) -> String {
    let what = FLAGS.iter().find(|flag| flag.long == name).map_or("", |flag| flag.help);
    let what = what.split(':').next().unwrap_or(what);
    let busy =
        if matches!(name, "delete" | "update") { "Targets that initiators are logged in to are left alone, unless --force is given.\n" } else { "" };
    let line = |example: &str, which: &str| format!("  --{name} {example:36} {which}\n");
    let examples = [
        line("ALL", "all targets"),
        line("tid=4", "the target with number 4"),
        line("iqn.2026-11.com.example:a", "the target with this name"),
        line("help", "this text"),
    ];
    format!("--{name}: {what}\n{busy}\n{}", examples.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(line: &str) -> Invocation {
        let arguments: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        match parse(&arguments) {
            Ok(Parsed::Run(invocation)) => invocation,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn printed(line: &str) -> String {
        let arguments: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        match parse(&arguments) {
            Ok(Parsed::Print(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn actions_and_selectors() {
        assert_eq!(run("-e").action, Action::Execute);
        assert_eq!(run("--dump --delete ALL -e -s").action, Action::Show);
        assert_eq!(run("--dump --delete ALL").action, Action::Delete(Selector::All));
        assert_eq!(run("--update tid=4").action, Action::Update(Selector::Tid("4".into())));
        assert_eq!(run("--offline=iqn.x:a").action, Action::Offline(Selector::Name("iqn.x:a".into())));
        assert_eq!(run("--ready all").action, Action::Ready(Selector::Name("all".into())));
    }

    #[test]
    fn switches() {
        let invocation = run("-C 5 -f -e --ignore-errors -c a.conf -p -v");
        assert_eq!(invocation.control_port.as_deref(), Some("5"));
        assert_eq!(invocation.file, "a.conf");
        assert!(invocation.force && invocation.ignore_errors && invocation.pretend && invocation.verbose);
        let invocation = run("--exec");
        assert_eq!((invocation.file.as_str(), invocation.control_port), (FILE, None));
        assert!(!invocation.force && !invocation.ignore_errors && !invocation.pretend && !invocation.verbose);
    }

    #[test]
    fn texts() {
        assert!(printed("").starts_with("Usage: tgt-admin"));
        assert!(printed("-e -h").starts_with("Usage: tgt-admin"));
        assert!(printed("--delete help").contains("--delete tid=4"));
        assert!(printed("--ready help").starts_with("--ready: take logins"));
        assert_eq!(printed("-v"), "No action specified.\n");
    }

    #[test]
    fn refusals() {
        for line in ["--bogus", "-e word", "--delete", "-x"] {
            let arguments: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
            assert!(matches!(parse(&arguments), Err(Usage { status: REFUSED, .. })), "{line}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..6)) {
            let _ = parse(&arguments);
        }
    }
}
