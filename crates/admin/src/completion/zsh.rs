//! Zsh.

use core::fmt::Write;

use super::{NAMES, NUMBERS, has_operations, has_value, looks_around, prefix, spellings};
use crate::options::getopt::{Flag, Values};
use crate::options::programs::Program;
use crate::options::tgtadm::MODE_OPERATIONS;

/// What the daemon and the other options say.
const LOOK_AROUND: &str = r#"
# Value of the last of these options on the command line.
_PREFIX_given() {
    local i option value=
    for ((i = 2; i < CURRENT; i++)); do
        for option in "$@"; do
            case $words[i] in
                $option) value=$words[i+1] ;;
                $option=*) value=${words[i]#*=} ;;
            esac
        done
    done
    print -r -- "$value"
}

# What the daemon has.
_PREFIX_daemon() {
    local port=$(_PREFIX_given -C --control-port)
    tgtadm -C "${port:-0}" --mode target --op show 2>/dev/null
}

_PREFIX_names() {
    local -a found
    found=(${(f)"$(_PREFIX_daemon | sed -n 'NAMES')"} "$@")
    compadd -a found
}

_PREFIX_numbers() {
    local -a found
    found=(${(f)"$(_PREFIX_daemon | sed -n 'NUMBERS')"})
    compadd -a found
}

_PREFIX_units() {
    local -a found
    found=(${(f)"$(_PREFIX_daemon | awk -v tid="$(_PREFIX_given -t --tid):" '/^Target /{ on = $2 == tid } on && /^ *LUN: [0-9]+$/{ print $2 }')"})
    compadd -a found
}
"#;

/// The script.
pub fn script(program: &Program) -> String {
    let prefix = format!("_scuzzy_{}", prefix(program));
    let mut out = format!("#compdef {0}\n# Completion of {0} for zsh, made by `scuzzy completions zsh {0}`.\n", program.name);
    if looks_around(program) {
        out.push_str(&LOOK_AROUND.replace("_PREFIX", &prefix).replace("NAMES", NAMES).replace("NUMBERS", NUMBERS));
    }
    if has_operations(program) {
        operations(&mut out, &prefix);
    }
    let _ = write!(out, "\n{prefix}() {{\n    _arguments -s -S");
    for flag in program.flags {
        let _ = write!(out, " \\\n        {}", specification(flag, &prefix));
    }
    match program.words {
        Values::Any => {}
        values => {
            let _ = write!(out, " \\\n        '*:word:{}'", action(values, &prefix));
        }
    }
    let _ = write!(out, "\n}}\n\nif [[ $funcstack[1] == _{0} ]]; then\n    {prefix} \"$@\"\nelse\n    compdef {prefix} {0}\nfi\n", program.name);
    out
}

/// One line of `_arguments`.
fn specification(flag: &Flag, prefix: &str) -> String {
    let spellings = spellings(flag);
    let help = quote(flag.help);
    let value = if has_value(flag) { format!(":{}:{}", quote(flag.metavariable), action(flag.values, prefix)) } else { String::new() };
    match spellings.as_slice() {
        [letter, long] => {
            let (after_letter, after_long) = if has_value(flag) { ("+", "=") } else { ("", "") };
            format!("'({letter} {long})'{{{letter}{after_letter},{long}{after_long}}}'[{help}]{value}'")
        }
        _ => format!("'--{}{}[{help}]{value}'", flag.long, if has_value(flag) { "=" } else { "" }),
    }
}

fn action(values: Values, prefix: &str) -> String {
    match values {
        Values::Any => " ".into(),
        Values::Words(words) => format!("({})", words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")),
        Values::File => "_files".into(),
        Values::TargetName => format!("{prefix}_names"),
        Values::TargetNumber => format!("{prefix}_numbers"),
        Values::UnitNumber => format!("{prefix}_units"),
        Values::TargetsOr(words) => format!("{prefix}_names {}", words.join(" ")),
        Values::Operations => format!("{prefix}_operations"),
    }
}

fn operations(out: &mut String, prefix: &str) {
    let _ = write!(out, "\n{prefix}_operations() {{\n    case $({prefix}_given -m --mode) in\n");
    for (mode, words) in MODE_OPERATIONS {
        let alias = crate::wire::MODES.iter().find(|row| row.1 == *mode).map_or(*mode, |row| row.2);
        let _ = writeln!(out, "        {mode}|{alias}) compadd {} ;;", words.join(" "));
    }
    let all: Vec<&str> = crate::wire::OPERATIONS.iter().map(|row| row.1).collect();
    let _ = write!(out, "        *) compadd {} ;;\n    esac\n}}\n", all.join(" "));
}

/// Inside of a specification, in single quotes.
fn quote(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "'\\''").replace(':', "\\:").replace('[', "\\[").replace(']', "\\]")
}
