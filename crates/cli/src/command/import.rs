//! `scuzzy import`: tgt's targets.conf as a scuzzy.toml.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use admin::configuration;
use admin::configuration::include::Disk;
use admin::configuration::targets::Configuration;
use admin::document::import;
use anyhow::{Context, Result, anyhow};

use crate::arguments::Import;

/// Runs the command.
pub fn run(options: &Import) -> Result<ExitCode> {
    let section = configuration::read(&options.file, &Disk).map_err(|error| anyhow!("{error}"))?;
    let configuration = Configuration::new(&section).map_err(|error| anyhow!("{error}"))?;
    let (document, notes) = import::import(&configuration);
    for note in &notes {
        eprintln!("scuzzy: {note}");
    }
    let text = if options.json { serde_json::to_string(&document)? + "\n" } else { document.to_toml().map_err(|error| anyhow!(error))? };
    match &options.output {
        None => std::io::stdout().write_all(text.as_bytes())?,
        Some(path) => {
            // There are passwords in it.
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
