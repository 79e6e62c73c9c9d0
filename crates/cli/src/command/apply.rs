//! `scuzzy apply`: the running configuration becomes that of a file.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use admin::document::plan::PlanView;
use admin::document::{Document, read};
use admin::reply::Answer;
use admin::request::Request;
use anyhow::{Context, Result, anyhow, bail};

use crate::arguments::Apply;
use crate::client;

/// Exit status of a dry run that found something to do.
const SOMETHING: u8 = 2;

/// Runs the command.
pub fn run(options: &Apply) -> Result<ExitCode> {
    let document = load(&options.file)?;
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

/// Reads and checks a file. Paths in it are meant from its folder on, and so are the files of secrets, which are read here: the daemon may run as
/// somebody who cannot.
pub fn load(path: &Path) -> Result<Document> {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let mut document = read::read(&name, &contents(path, &name)?).map_err(|problems| anyhow!("{problems}"))?;
    let whole = std::path::absolute(path)?;
    let folder = if path == Path::new("-") { std::env::current_dir()? } else { whole.parent().unwrap_or(Path::new("/")).to_path_buf() };
    document.resolve(&folder);
    document.resolve_secrets(|file| first_line(&folder.join(file))).map_err(|problem| anyhow!("{name}: {problem}"))?;
    Ok(document)
}

fn contents(path: &Path, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there are more.
    let limit = read::FILE_MAX + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
        file.take(limit).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    }
    if bytes.len() as u64 > read::FILE_MAX {
        bail!("{name} is larger than {} MiB: that is no configuration", read::FILE_MAX >> 20);
    }
    String::from_utf8(bytes).map_err(|error| anyhow!("{name}: not UTF-8 after {} bytes", error.utf8_error().valid_up_to()))
}

fn first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
