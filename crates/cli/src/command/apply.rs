//! `scuzzy apply`: the running configuration becomes that of a file.

use std::process::ExitCode;

use admin::document::plan::PlanView;
use admin::reply::Answer;
use admin::request::Request;
use anyhow::{Result, anyhow, bail};
use daemon::configuration_file;

use crate::arguments::Apply;
use crate::client;

/// Exit status of a dry run that found something to do.
const SOMETHING: u8 = 2;

/// Runs the command.
pub fn run(options: &Apply) -> Result<ExitCode> {
    let document = configuration_file::load(&options.file).map_err(|error| anyhow!(error))?;
    let request = Request::Apply { document: Box::new(document), dry_run: options.dry_run };
    let Answer::Plan(plan) = client::request(&options.connect, request)? else { bail!("the daemon answered something else") };
    if options.connect.json {
        println!("{}", serde_json::to_string(&plan)?);
    } else {
        print!("{}", text(&plan));
    }
    Ok(if options.dry_run && !plan.changes.is_empty() { ExitCode::from(SOMETHING) } else { ExitCode::SUCCESS })
}

/// A line for each change, and one that sums up.
fn text(plan: &PlanView) -> String {
    let mut text: String = plan.changes.iter().map(|change| format!("{change}\n")).collect();
    let changes = match plan.changes.len() {
        0 => "nothing to change: everything is as the file says".to_owned(),
        1 => format!("1 change {}", if plan.applied { "made" } else { "to make" }),
        count => format!("{count} changes {}", if plan.applied { "made" } else { "to make" }),
    };
    text.push_str(&changes);
    text.push('\n');
    text
}
