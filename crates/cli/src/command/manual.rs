//! Manual pages and completions, from the definition of the command line.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::arguments::Arguments;

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> Result<ExitCode> {
    clap_complete::generate(shell, &mut Arguments::command(), "scuzzy", &mut io::stdout());
    Ok(ExitCode::SUCCESS)
}

/// Writes all manual pages into a folder, or the main one to standard output.
pub fn pages(folder: Option<&Path>) -> Result<ExitCode> {
    match folder {
        None => clap_mangen::Man::new(Arguments::command()).render(&mut io::stdout())?,
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(Arguments::command(), folder).with_context(|| format!("cannot write to {}", folder.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_commands() {
        let mut page = Vec::new();
        assert!(clap_mangen::Man::new(Arguments::command()).render(&mut page).is_ok());
        let page = String::from_utf8_lossy(&page);
        assert!(page.contains("scuzzy") && page.contains("serve"));
    }
}
