//! Fish.

use core::fmt::Write;

use super::{NAMES, NUMBERS, has_operations, has_value, looks_around, prefix};
use crate::options::getopt::{Flag, Values};
use crate::options::programs::Program;
use crate::options::tgtadm::MODE_OPERATIONS;

/// What the daemon and the other options say.
const LOOK_AROUND: &str = r#"
# Value of the last of these options on the command line.
function _PREFIX_given
    set -l value
    set -l words (commandline -opc)
    for i in (seq (count $words))
        for option in $argv
            if test "$words[$i]" = $option
                set value $words[(math $i + 1)]
            else if string match -q -- "$option=*" $words[$i]
                set value (string replace -r -- '^[^=]*=' '' $words[$i])
            end
        end
    end
    echo $value
end

# What the daemon has.
function _PREFIX_daemon
    set -l port (_PREFIX_given -C --control-port)
    test -n "$port"; or set port 0
    tgtadm -C $port --mode target --op show 2>/dev/null
end

function _PREFIX_names
    _PREFIX_daemon | sed -n 'NAMES'
end

function _PREFIX_numbers
    _PREFIX_daemon | sed -n 'NUMBERS'
end

function _PREFIX_units
    set -l tid (_PREFIX_given -t --tid)
    _PREFIX_daemon | awk -v tid="$tid:" '/^Target /{ on = $2 == tid } on && /^ *LUN: [0-9]+$/{ print $2 }'
end
"#;

/// The script.
pub fn script(program: &Program) -> String {
    let prefix = format!("__scuzzy_{}", prefix(program));
    let mut out = format!("# Completion of {0} for fish, made by `scuzzy completions fish {0}`.\n", program.name);
    if looks_around(program) {
        out.push_str(&LOOK_AROUND.replace("_PREFIX", &prefix).replace("NAMES", NAMES).replace("NUMBERS", NUMBERS));
    }
    if has_operations(program) {
        operations(&mut out, &prefix);
    }
    let _ = writeln!(out, "\ncomplete -c {} -f", program.name);
    for flag in program.flags {
        let _ = writeln!(out, "{}", line(program.name, flag, &prefix));
    }
    if let Some(words) = offered(program.words, &prefix) {
        let _ = writeln!(out, "complete -c {} -a {words}", program.name);
    }
    out
}

fn line(program: &str, flag: &Flag, prefix: &str) -> String {
    let mut out = format!("complete -c {program}");
    if let Some(letter) = flag.short {
        let _ = write!(out, " -s {letter}");
    }
    let _ = write!(out, " -l {}", flag.long);
    if has_value(flag) {
        out.push_str(if flag.values == Values::File { " -r -F" } else { " -x" });
        if let Some(words) = offered(flag.values, prefix) {
            let _ = write!(out, " -a {words}");
        }
    }
    let _ = write!(out, " -d {}", quote(flag.help));
    out
}

fn offered(values: Values, prefix: &str) -> Option<String> {
    match values {
        Values::Any | Values::File => None,
        Values::Words(words) => Some(quote(&words.join(" "))),
        Values::TargetName => Some(format!("'({prefix}_names)'")),
        Values::TargetNumber => Some(format!("'({prefix}_numbers)'")),
        Values::UnitNumber => Some(format!("'({prefix}_units)'")),
        Values::TargetsOr(words) => Some(format!("'{} ({prefix}_names)'", words.join(" "))),
        Values::Operations => Some(format!("'({prefix}_operations)'")),
    }
}

fn operations(out: &mut String, prefix: &str) {
    let _ = write!(out, "\nfunction {prefix}_operations\n    switch \"$({prefix}_given -m --mode)\"\n");
    for (mode, words) in MODE_OPERATIONS {
        let alias = crate::wire::MODES.iter().find(|row| row.1 == *mode).map_or(*mode, |row| row.2);
        let _ = writeln!(out, "        case {mode} {alias}\n            printf '%s\\n' {}", words.join(" "));
    }
    let all: Vec<&str> = crate::wire::OPERATIONS.iter().map(|row| row.1).collect();
    let _ = write!(out, "        case '*'\n            printf '%s\\n' {}\n    end\nend\n", all.join(" "));
}

/// In single quotes.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
