//! Option tables and the parsers of command lines.
//!
//! One table a program: it drives the parser, the help text and whatever documents the options elsewhere.

pub mod check;
pub mod getopt;
pub mod programs;
pub mod setup_lun;
pub mod tgt_admin;
pub mod tgtadm;
pub mod tgtd;
pub mod tgtimg;

use crate::number;
use getopt::Flag;

/// What a command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parsed<T> {
    /// The program's work.
    Run(T),
    /// Print this on standard output and end well.
    Print(String),
}

/// A command line that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usage {
    /// For standard error: one or more lines, the last newline included.
    pub message: String,
    /// Exit status.
    pub status: u8,
}

impl Usage {
    fn new(status: u8, message: impl core::fmt::Display) -> Usage {
        Usage { message: format!("{message}\n"), status }
    }

    fn with_hint(status: u8, message: impl core::fmt::Display, program: &str) -> Usage {
        Usage { message: format!("{message}\n{}", hint(program)), status }
    }
}

/// The line that ends most usage errors.
fn hint(program: &str) -> String {
    format!("Try `{program} --help' for more information.\n")
}

/// Why a number was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BadNumber {
    Invalid,
    OutOfRange,
}

impl BadNumber {
    fn message(self, letter: char, text: &[u8]) -> String {
        let why = match self {
            BadNumber::Invalid => "invalid",
            BadNumber::OutOfRange => "out of range",
        };
        format!("-{letter} argument value '{}' {why}", String::from_utf8_lossy(text))
    }
}

/// tgt's reading of a number: no digits, or the highest 64-bit value, are invalid; a minus sign makes a number huge.
fn number_within(text: &[u8], low: u64, high: u64) -> Result<u64, BadNumber> {
    match number::unsigned(text).map(|read| read.value) {
        None | Some(u64::MAX) => Err(BadNumber::Invalid),
        Some(value) if (low..=high).contains(&value) => Ok(value),
        Some(_) => Err(BadNumber::OutOfRange),
    }
}

/// The table as help prints it: flags left, descriptions in column 26.
fn flag_lines(flags: &[Flag]) -> String {
    let mut out = String::new();
    for flag in flags {
        let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let long = match flag.metavariable {
            "" => format!("--{}", flag.long),
            value => format!("--{} {value}", flag.long),
        };
        let left = format!("{short}{long}");
        // A left side that fills its column still keeps one blank.
        out.push_str(&format!("{left:23} {}\n", flag.help));
    }
    out
}
