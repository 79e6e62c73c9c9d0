//! `scuzzy dump` and `scuzzy schema`: the running configuration, and what configurations look like.

use std::io::Write;
use std::process::ExitCode;

use admin::document::{Document, schema};
use admin::reply::Answer;
use admin::request::Request;
use anyhow::{Result, anyhow, bail};

use crate::arguments::Dump;
use crate::client;

/// Runs `scuzzy dump`.
pub fn run(options: &Dump) -> Result<ExitCode> {
    let Answer::Document(document) = client::request(&options.connect, Request::Dump { secrets: options.secrets })? else {
        bail!("the daemon answered something else");
    };
    if options.connect.json {
        println!("{}", serde_json::to_string(&document)?);
    } else {
        std::io::stdout().write_all(text(&document)?.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The file, with a note about what is not in it.
fn text(document: &Document) -> Result<String> {
    let mut text = String::new();
    if document.accounts.iter().any(|account| account.password.is_none()) {
        text.push_str("# Accounts stand here without their passwords: a daemon that has them keeps them. For another one, add to each account\n");
        text.push_str("# password = \"...\" or password_file = \"FILE\", or dump with --secrets.\n\n");
    }
    text.push_str(&document.to_toml().map_err(|error| anyhow!(error))?);
    Ok(text)
}

/// Runs `scuzzy schema`.
pub fn schema() -> Result<ExitCode> {
    std::io::stdout().write_all(schema::text().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
