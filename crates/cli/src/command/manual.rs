//! Manual pages and completions, from the definitions of the command lines: clap's for `scuzzy`, the option tables for the others.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use admin::completion::{self, Shell};
use admin::manual;
use admin::options::programs::{self, PROGRAMS};
use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::arguments::Arguments;

/// Prints a program's completion script.
pub fn completions(shell: clap_complete::Shell, program: &str) -> Result<ExitCode> {
    let Some(program) = programs::find(program) else {
        clap_complete::generate(shell, &mut Arguments::command(), "scuzzy", &mut io::stdout());
        return Ok(ExitCode::SUCCESS);
    };
    let shell = match shell {
        clap_complete::Shell::Bash => Shell::Bash,
        clap_complete::Shell::Zsh => Shell::Zsh,
        clap_complete::Shell::Fish => Shell::Fish,
        other => bail!("{} has no completions for {other}: bash, zsh and fish have", program.name),
    };
    io::stdout().write_all(completion::script(program, shell).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes all manual pages into a folder, or that of `scuzzy` to standard output.
pub fn pages(folder: Option<&Path>) -> Result<ExitCode> {
    match folder {
        None => clap_mangen::Man::new(Arguments::command()).render(&mut io::stdout())?,
        Some(folder) => write_pages(folder).with_context(|| format!("cannot write to {}", folder.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write_pages(folder: &Path) -> io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)?;
    for program in PROGRAMS {
        std::fs::write(folder.join(format!("{}.{}", program.name, manual::SECTION)), manual::page(program, version))?;
    }
    std::fs::write(folder.join("targets.conf.5"), manual::targets_conf(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_page_and_the_commands_have_theirs() {
        let folder = std::env::temp_dir().join(format!("scuzzy-manual-{}", std::process::id()));
        write_pages(&folder).expect("writes");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
        for program in PROGRAMS {
            assert!(read(&format!("{}.8", program.name)).contains(program.summary));
        }
        assert!(read("targets.conf.5").contains("initiator\\-address"));
        let main = read("scuzzy.1");
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(main.contains(&command.get_name().replace('-', "\\-")), "{}", command.get_name());
            assert!(folder.join(format!("scuzzy-{}.1", command.get_name())).exists(), "{}", command.get_name());
        }
        std::fs::remove_dir_all(&folder).expect("clean");
    }

    #[test]
    fn the_argument_takes_every_program() {
        let command = Arguments::command();
        let completions = command.find_subcommand("completions").expect("is there");
        let program = completions.get_arguments().find(|argument| argument.get_id() == "program").expect("is there");
        let names: Vec<String> = program.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        assert!(PROGRAMS.iter().all(|program| names.iter().any(|name| name == program.name)) && names.len() == PROGRAMS.len() + 1);
    }
}
