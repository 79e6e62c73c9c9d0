//! Every command line of the documents, run as written.
//!
//! A fenced block with the language `console` holds lines that start with `$ `: each is run by a shell in an empty folder, with the release binaries on
//! the PATH, and must succeed; `cargo` runs in the checkout. A line ending in ` &` starts something that is killed at the end of its document; the command
//! after it is repeated until it succeeds. Lines after a command are what it prints: each must occur in the output, `...` stands for anything. A block
//! with the language `sh` needs what the tests run elsewhere (a Linux kernel with an iSCSI initiator: the lab; the test command itself): here it must be
//! understood by the shell.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, Scratch};
use crate::report::Report;
use crate::root;

/// One command.
const LIMIT: Duration = Duration::from_secs(300);
/// How long what was started in the background may take until it serves.
const START: Duration = Duration::from_secs(30);

/// README and the chapters of the book.
pub fn run(report: &mut Report) {
    let documents = match documents() {
        Ok(documents) => documents,
        Err(error) => {
            report.check("documents", || Err(error));
            return;
        }
    };
    for document in documents {
        let name = document.strip_prefix(root()).unwrap_or(&document).display().to_string();
        let Ok(text) = std::fs::read_to_string(&document) else { continue };
        let blocks = blocks(&text);
        if !blocks.is_empty() {
            report.check(&format!("{name}, {} blocks", blocks.len()), || check(&blocks));
        }
    }
}

fn documents() -> Result<Vec<PathBuf>> {
    let mut found = vec![root().join("README.md"), root().join("CONTRIBUTING.md"), root().join("SPECIFICATION.md")];
    for entry in std::fs::read_dir(root().join("docs/src")).context("docs/src")? {
        found.push(entry?.path());
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.sort();
    Ok(found)
}

/// Language and text of the fenced blocks that are commands.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, body)), None) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    found.retain(|(language, _)| language == "console" || language == "sh");
    found
}

fn check(blocks: &[(String, String)]) -> Result<()> {
    let folder = Scratch::new("documents")?;
    let mut running = Vec::new();
    let result = blocks.iter().try_for_each(|(language, text)| match language.as_str() {
        "sh" => understood(text),
        _ => run_block(text, folder.path(), &mut running),
    });
    for mut child in running {
        // The whole group: what `cargo run` started is not what we started.
        process::run(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]), LIMIT).ok();
        child.wait().ok();
    }
    result
}

fn understood(text: &str) -> Result<()> {
    process::run(Command::new("bash").args(["-n", "-c", text]), LIMIT).map(drop)
}

fn shell(line: &str, folder: &Path) -> Command {
    let path = format!("{}:{}", root().join("target/release").display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    let folder_of = if line.trim_start_matches("exec ").starts_with("cargo ") { root() } else { folder.to_path_buf() };
    command.args(["-c", line]).current_dir(folder_of).env("PATH", path).env("XDG_RUNTIME_DIR", folder).env("SCUZZY_SOURCE", root());
    command
}

fn run_block(text: &str, folder: &Path, running: &mut Vec<std::process::Child>) -> Result<()> {
    let mut lines = text.lines().peekable();
    let mut started = false;
    while let Some(line) = lines.next() {
        let Some(line) = line.strip_prefix("$ ") else { continue };
        let mut expected = Vec::new();
        while let Some(next) = lines.next_if(|next| !next.starts_with("$ ")) {
            expected.push(next);
        }
        if let Some(background) = line.strip_suffix(" &") {
            let log = std::fs::File::create(folder.join(format!("log{}", running.len())))?;
            let mut command = shell(background, folder);
            running.push(command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
            started = true;
            continue;
        }
        let once = || run_line(line, &expected, folder);
        match once() {
            Err(_) if started => process::wait_for(line, START, || once().ok()).or_else(|_| once())?,
            result => result?,
        }
        started = false;
    }
    Ok(())
}

/// One command, and what it must print.
fn run_line(line: &str, expected: &[&str], folder: &Path) -> Result<()> {
    let output = process::run(&mut shell(line, folder), LIMIT).with_context(|| format!("$ {line}"))?;
    for wanted in expected.iter().flat_map(|line| line.split("...")).map(str::trim).filter(|wanted| !wanted.is_empty()) {
        if !output.contains(wanted) {
            bail!("$ {line}\nno '{wanted}' in\n{output}");
        }
    }
    Ok(())
}
