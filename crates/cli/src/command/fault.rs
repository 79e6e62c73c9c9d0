//! `scuzzy fault`: rules that make a disk fail.

use std::process::ExitCode;

use admin::reply::Answer;
use admin::request::{FaultSelection, Request};
use admin::view::RuleLine;
use anyhow::{Result, anyhow, bail};
use serde_json::json;

use crate::arguments::{Connect, Fault, FaultAction};
use crate::client::{self, Daemon};
use crate::naming;
use crate::table::{Table, counted, facts};
use crate::watch::{self, Shown};

/// Runs the command.
pub fn run(options: Fault) -> Result<ExitCode> {
    let Fault { connect, action } = options;
    match action {
        FaultAction::Add { tid, lun, rule } => {
            let (place, rule) = place(&rule);
            let (target, first_lun) = place.unwrap_or((None, 1));
            add(&connect, tid, target, lun.unwrap_or(first_lun), rule)
        }
        FaultAction::List { watch } => watch::run(&connect, watch, |daemon| list(&rules(daemon)?)),
        FaultAction::Show { rule, watch } => watch::run(&connect, watch, |daemon| show(&rules(daemon)?, rule)),
        FaultAction::Journal { tid, lun } => journal(&connect, tid, lun),
        FaultAction::Rm { rule, all, tid, lun } => remove(&connect, &selections(&rule, all, tid, lun)?),
    }
}

fn add(connect: &Connect, tid: Option<i32>, target: Option<&str>, lun: u64, words: &[String]) -> Result<ExitCode> {
    let text = join(words);
    // The same parser as the daemon's: a mistake is explained even when no daemon runs.
    if let Err(error) = fault::grammar::parse(&text) {
        bail!("{error}");
    }
    let daemon = Daemon::find(connect)?;
    // A target that is given by its number need not exist yet: the rule waits for it.
    let tid = match (tid, target) {
        (Some(tid), _) => tid,
        (None, None) => 1,
        (None, Some(name)) => name.parse().or_else(|_| naming::target(&daemon.targets()?, name).map(|target| target.tid))?,
    };
    match daemon.ask(Request::FaultNew { tid, lun, rule: text })? {
        Answer::Rule(line) => {
            let text = format!("rule {}: target {} unit {}: {}\n", line.index, line.tid, line.lun, line.rule);
            watch::print(connect, &Shown::new(&line, text)?)
        }
        other => Err(client::unexpected(&other)),
    }
}

fn rules(daemon: &Daemon) -> Result<Vec<RuleLine>> {
    match daemon.ask(Request::FaultShow)? {
        Answer::Rules(lines) => Ok(lines),
        other => Err(client::unexpected(&other)),
    }
}

fn list(lines: &[RuleLine]) -> Result<Shown> {
    Shown::new(&lines, if lines.is_empty() { "no rules: everything works\n".into() } else { table(lines) })
}

fn show(lines: &[RuleLine], rule: Option<u64>) -> Result<Shown> {
    let Some(number) = rule else { return list(lines) };
    let line = lines.iter().find(|line| line.index == number).ok_or_else(|| anyhow!("there is no rule {number}: `scuzzy fault list` shows them"))?;
    let text = facts(&[
        ("rule", line.index.to_string()),
        ("unit", format!("{}/{}", line.tid, line.lun)),
        ("fired", counted(usize::try_from(line.fired).unwrap_or(usize::MAX), "time")),
        ("what", line.rule.clone()),
    ]);
    Shown::new(line, text)
}

fn journal(connect: &Connect, tid: i32, lun: u64) -> Result<ExitCode> {
    match client::request(connect, Request::FaultJournal { tid, lun })? {
        Answer::Text(text) => watch::print(connect, &Shown::new(&text.lines().collect::<Vec<_>>(), text.clone())?),
        other => Err(client::unexpected(&other)),
    }
}

fn table(lines: &[RuleLine]) -> String {
    let mut table = Table::new(&[">RULE", ">TARGET", ">UNIT", ">FIRED", "WHAT"]);
    for line in lines {
        table.row(vec![line.index.to_string(), line.tid.to_string(), line.lun.to_string(), line.fired.to_string(), line.rule.clone()]);
    }
    table.text()
}

fn remove(connect: &Connect, selections: &[FaultSelection]) -> Result<ExitCode> {
    let mut removed = 0;
    for &selection in selections {
        match client::request(connect, Request::FaultDelete(selection))? {
            Answer::Removed(count) => removed += count,
            other => return Err(client::unexpected(&other)),
        }
    }
    let text = match removed {
        0 => "there was no such rule\n".into(),
        count => format!("{} removed\n", counted(usize::try_from(count).unwrap_or(usize::MAX), "rule")),
    };
    watch::print(connect, &Shown::new(&json!({ "removed": removed }), text)?)
}

fn selections(rules: &[String], all: bool, tid: Option<i32>, lun: Option<u64>) -> Result<Vec<FaultSelection>> {
    if all || rules == ["all"] {
        return Ok(vec![FaultSelection::All]);
    }
    if let Some(tid) = tid {
        return Ok(vec![FaultSelection::Unit { tid, lun }]);
    }
    let number = |word: &String| {
        word.parse().map(FaultSelection::Rule).map_err(|_| anyhow!("`{word}` is no rule: give its number, as `fault list` shows it, or all"))
    };
    rules.iter().map(number).collect()
}

/// Target and unit at the front of the words (`3`, `1/3` or `:disk/3`), and the words of the rule.
fn place(words: &[String]) -> (Option<(Option<&str>, u64)>, &[String]) {
    let Some((first, rest)) = words.split_first() else { return (None, words) };
    let read = match first.rsplit_once('/') {
        Some((target, lun)) => lun.parse().ok().filter(|_| !first.contains('=')).map(|lun| (Some(target), lun)),
        None => first.parse().ok().map(|lun| (None, lun)),
    };
    (read, if read.is_some() { rest } else { words })
}

/// The words of the command line as one rule.
fn join(words: &[String]) -> String {
    let items: Vec<&str> = words.iter().flat_map(|word| word.split([',', ' '])).filter(|item| !item.is_empty()).collect();
    items.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_may_be_written_with_blanks_or_commas() {
        let words = ["op=WRITE10".to_owned(), "lba=0,len=8".to_owned(), "key=3 asc=0x0c02".to_owned()];
        assert_eq!(join(&words), "op=WRITE10,lba=0,len=8,key=3,asc=0x0c02");
    }

    #[test]
    fn selections_follow_the_options() {
        let read = |rules: &[&str], all, tid, lun| {
            let rules: Vec<String> = rules.iter().map(|&rule| rule.to_owned()).collect();
            selections(&rules, all, tid, lun).ok()
        };
        assert_eq!(read(&[], true, None, None), Some(vec![FaultSelection::All]));
        assert_eq!(read(&["all"], false, None, None), Some(vec![FaultSelection::All]));
        assert_eq!(read(&[], false, Some(1), Some(2)), Some(vec![FaultSelection::Unit { tid: 1, lun: Some(2) }]));
        assert_eq!(read(&["0", "4"], false, None, None), Some(vec![FaultSelection::Rule(0), FaultSelection::Rule(4)]));
        assert_eq!(read(&["x"], false, None, None), None);
    }

    #[test]
    fn a_unit_may_stand_before_the_rule() {
        let words = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<String>>();
        assert_eq!(place(&words("op=READ")).0, None);
        assert_eq!(place(&words("3 op=READ")), (Some((None, 3)), &words("op=READ")[..]));
        assert_eq!(place(&words("2/3 op=READ")), (Some((Some("2"), 3)), &words("op=READ")[..]));
        assert_eq!(place(&words(":disk/3 op=READ")).0, Some((Some(":disk"), 3)));
        assert_eq!(place(&words("name=a/3 op=READ")).0, None);
    }
}
