//! `scuzzy fault`: rules that make a disk fail.

use std::process::ExitCode;

use admin::reply::Answer;
use admin::request::{FaultSelection, Request};
use admin::view::RuleLine;
use anyhow::{Result, anyhow, bail};

use crate::arguments::{Connect, Fault, FaultAction};
use crate::client;
use crate::table::Table;

/// Runs the command.
pub fn run(options: Fault) -> Result<ExitCode> {
    let Fault { connect, action } = options;
    match action {
        FaultAction::Add { tid, lun, rule } => {
            let (place, rule) = place(&rule);
            let (first_tid, first_lun) = place.unwrap_or((None, 1));
            add(&connect, tid.or(first_tid).unwrap_or(1), lun.unwrap_or(first_lun), rule)
        }
        FaultAction::List => list(&connect),
        FaultAction::Journal { tid, lun } => journal(&connect, tid, lun),
        FaultAction::Rm { rule, all, tid, lun } => remove(&connect, &selections(&rule, all, tid, lun)?),
    }
}

fn add(connect: &Connect, tid: i32, lun: u64, words: &[String]) -> Result<ExitCode> {
    let text = join(words);
    // The same parser as the daemon's: a mistake is explained even when no daemon runs.
    if let Err(error) = fault::grammar::parse(&text) {
        bail!("{error}");
    }
    match client::request(connect, Request::FaultNew { tid, lun, rule: text })? {
        Answer::Rule(line) if connect.json => println!("{}", serde_json::to_string(&line)?),
        Answer::Rule(line) => println!("rule {}: target {} unit {}: {}", line.index, line.tid, line.lun, line.rule),
        other => bail!("the daemon answered something else: {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(connect: &Connect) -> Result<ExitCode> {
    let Answer::Rules(lines) = client::request(connect, Request::FaultShow)? else { bail!("the daemon answered something else") };
    if connect.json {
        println!("{}", serde_json::to_string(&lines)?);
    } else if lines.is_empty() {
        println!("no rules: everything works");
    } else {
        print!("{}", table(&lines));
    }
    Ok(ExitCode::SUCCESS)
}

fn journal(connect: &Connect, tid: i32, lun: u64) -> Result<ExitCode> {
    let Answer::Text(text) = client::request(connect, Request::FaultJournal { tid, lun })? else { bail!("the daemon answered something else") };
    print!("{text}");
    Ok(ExitCode::SUCCESS)
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
            other => bail!("the daemon answered something else: {other:?}"),
        }
    }
    match (connect.json, removed) {
        (true, _) => println!("{{\"removed\":{removed}}}"),
        (false, 0) => println!("there was no such rule"),
        (false, 1) => println!("1 rule removed"),
        (false, _) => println!("{removed} rules removed"),
    }
    Ok(ExitCode::SUCCESS)
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

/// Target and unit at the front of the words (`3` or `1/3`), and the words of the rule.
fn place(words: &[String]) -> (Option<(Option<i32>, u64)>, &[String]) {
    let Some((first, rest)) = words.split_first() else { return (None, words) };
    let read = match first.split_once('/') {
        Some((tid, lun)) => tid.parse().ok().zip(lun.parse().ok()).map(|(tid, lun)| (Some(tid), lun)),
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
        assert_eq!(place(&words("2/3 op=READ")), (Some((Some(2), 3)), &words("op=READ")[..]));
    }
}
