//! Completions for shells, made of the tables that parsers read.
//!
//! A script offers the options, the words that a value can have, files where one is meant, and what the running daemon has: names and numbers of targets,
//! numbers of units. It asks the daemon with tgtadm, at the control port that stands on the command line; without a daemon nothing is offered.

mod bash;
mod fish;
mod zsh;

use crate::options::getopt::{Flag, ValueRule, Values};
use crate::options::programs::Program;

/// A shell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The script for a program. Bash: to be read, or put into the folder of bash-completion under the program's name; zsh: `_NAME` in a folder of `fpath`;
/// fish: `NAME.fish` in a folder of completions.
pub fn script(program: &Program, shell: Shell) -> String {
    match shell {
        Shell::Bash => bash::script(program),
        Shell::Zsh => zsh::script(program),
        Shell::Fish => fish::script(program),
    }
}

/// Prefix of the names of a script's functions.
fn prefix(program: &Program) -> String {
    program.name.replace('-', "_")
}

/// `-t` and `--tid`.
fn spellings(flag: &Flag) -> Vec<String> {
    let letter = flag.short.map(|letter| format!("-{letter}"));
    letter.into_iter().chain([format!("--{}", flag.long)]).collect()
}

/// Another word belongs to it.
fn has_value(flag: &Flag) -> bool {
    flag.value == ValueRule::Required
}

/// Some value is something that only the running daemon knows, or depends on another option.
fn looks_around(program: &Program) -> bool {
    program.flags.iter().any(|flag| !matches!(flag.values, Values::Any | Values::Words(_) | Values::File))
}

/// Some value is an operation of a mode.
fn has_operations(program: &Program) -> bool {
    program.flags.iter().any(|flag| flag.values == Values::Operations)
}

/// sed: what `target show` prints to names of targets. Nothing else than letters of a name gets through: the words end in a shell.
const NAMES: &str = "s/^Target [0-9][0-9]*: \\([A-Za-z0-9:._-]*\\)$/\\1/p";
/// sed: what `target show` prints to numbers of targets.
const NUMBERS: &str = "s/^Target \\([0-9][0-9]*\\): .*/\\1/p";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::programs::PROGRAMS;

    #[test]
    fn every_option_and_word_is_in_every_script() {
        for program in PROGRAMS {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let script = script(program, shell);
                for flag in program.flags {
                    let place = format!("{} {shell:?} {}", program.name, flag.long);
                    let (long, letter) = match shell {
                        Shell::Fish => (format!(" -l {}", flag.long), flag.short.map(|letter| format!(" -s {letter} "))),
                        _ => (format!("--{}", flag.long), flag.short.map(|letter| format!("-{letter}"))),
                    };
                    assert!(script.contains(&long), "{place}");
                    assert!(letter.is_none_or(|letter| script.contains(&letter)), "{place}");
                    if let Values::Words(words) | Values::TargetsOr(words) = flag.values {
                        assert!(
                            words.iter().all(|word| script.contains(&word.replace(':', if shell == Shell::Zsh { "\\:" } else { ":" }))),
                            "{place}"
                        );
                    }
                }
            }
        }
    }
}
