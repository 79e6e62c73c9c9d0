//! Bash.

use core::fmt::Write;

use super::{NAMES, NUMBERS, has_value, looks_around, prefix, spellings};
use crate::options::getopt::{Flag, Values};
use crate::options::programs::Program;
use crate::options::tgtadm::MODE_OPERATIONS;

/// What the daemon and the other options say. `words` are the words in front of the cursor.
const LOOK_AROUND: &str = r#"
# Value of the last of these options on the command line.
_PREFIX_given() {
    local i option value=
    for ((i = 1; i < ${#words[@]}; i++)); do
        for option in "$@"; do
            case ${words[i]} in
                "$option") value=${words[i + 1]-} ;;
                "$option"=*) value=${words[i]#*=} ;;
            esac
        done
    done
    printf '%s\n' "$value"
}

# What the daemon has.
_PREFIX_daemon() {
    local port
    port=$(_PREFIX_given -C --control-port)
    tgtadm -C "${port:-0}" --mode target --op show 2>/dev/null
}

_PREFIX_names() {
    _PREFIX_daemon | sed -n 'NAMES'
}

_PREFIX_numbers() {
    _PREFIX_daemon | sed -n 'NUMBERS'
}

_PREFIX_units() {
    _PREFIX_daemon | awk -v tid="$(_PREFIX_given -t --tid):" '/^Target /{ on = $2 == tid } on && /^ *LUN: [0-9]+$/{ print $2 }'
}
"#;

/// The rest of the script's functions. `words` and `cur` are the caller's: the words in front of the cursor, and the one at it.
///
/// The words are cut here and not taken from COMP_WORDS: bash cuts these at colons, too, which names of targets are full of. What is put into COMPREPLY
/// therefore lacks what stands in front of the last place where bash cuts.
const FUNCTIONS: &str = r#"
# Takes lines of candidates for the word at the cursor.
_PREFIX_offer() {
    local raw=$attached$cur tail=$attached$cur candidate head
    [[ $COMP_WORDBREAKS == *=* ]] && tail=${tail##*=}
    [[ $COMP_WORDBREAKS == *:* ]] && tail=${tail##*:}
    head=${raw%"$tail"}
    while read -r candidate; do
        candidate=$attached$candidate
        [[ -n $candidate && $candidate != "$attached" && $candidate == "$raw"* ]] && COMPREPLY+=("${candidate#"$head"}")
    done
}

_PREFIX_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

_PREFIX() {
    local line=${COMP_LINE:0:COMP_POINT} words=() cur option attached=
    cur=${line##*[[:space:]]}
    read -ra words <<<"${line%"$cur"}"
    option=${words[${#words[@]} - 1]}
    if [[ $cur == --*=* ]]; then
        option=${cur%%=*}
        attached=$option=
        cur=${cur#*=}
    fi
    COMPREPLY=()
    case $option in
"#;

/// The script.
pub fn script(program: &Program) -> String {
    let prefix = format!("_scuzzy_{}", prefix(program));
    let mut out = format!("# Completion of {0} for bash, made by `scuzzy completions bash {0}`.\n", program.name);
    if looks_around(program) {
        out.push_str(&LOOK_AROUND.replace("_PREFIX", &prefix).replace("NAMES", NAMES).replace("NUMBERS", NUMBERS));
    }
    out.push_str(&FUNCTIONS.replace("_PREFIX", &prefix));
    for flag in program.flags.iter().filter(|flag| has_value(flag)) {
        let _ = writeln!(out, "        {}) {} ;;", spellings(flag).join(" | "), action(flag.values, &prefix));
    }
    let options: Vec<String> = program.flags.iter().flat_map(|flag: &Flag| spellings(flag)).collect();
    let _ = writeln!(out, "        *)\n            {}", lines(&options, &prefix));
    match program.words {
        Values::Any => {}
        values => {
            let _ = writeln!(out, "            {}", action(values, &prefix));
        }
    }
    let _ = write!(out, "            ;;\n    esac\n}}\n\ncomplete -F {prefix} {}\n", program.name);
    out
}

fn lines<Word: AsRef<str>>(words: &[Word], prefix: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    format!("{prefix}_offer < <(printf '%s\\n' {})", words.join(" "))
}

fn action(values: Values, prefix: &str) -> String {
    match values {
        Values::Any => ":".into(),
        Values::Words(words) => lines(words, prefix),
        Values::File => format!("{prefix}_files"),
        Values::TargetName => format!("{prefix}_offer < <({prefix}_names)"),
        Values::TargetNumber => format!("{prefix}_offer < <({prefix}_numbers)"),
        Values::UnitNumber => format!("{prefix}_offer < <({prefix}_units)"),
        Values::TargetsOr(words) => format!("{prefix}_offer < <(printf '%s\\n' {}; {prefix}_names)", words.join(" ")),
        Values::Operations => operations(prefix),
    }
}

/// The operations of the mode, or all that there are.
fn operations(prefix: &str) -> String {
    let mut out = format!("case $({prefix}_given -m --mode) in\n");
    for (mode, words) in MODE_OPERATIONS {
        let _ = writeln!(out, "                {}) {} ;;", aliases(mode), lines(words, prefix));
    }
    let all: Vec<&str> = crate::wire::OPERATIONS.iter().map(|row| row.1).collect();
    let _ = write!(out, "                *) {} ;;\n            esac", lines(&all, prefix));
    out
}

/// A mode in each of its spellings.
fn aliases(mode: &str) -> String {
    match crate::wire::MODES.iter().find(|row| row.1 == mode) {
        Some((_, name, alias)) if name != alias => format!("{name} | {alias}"),
        _ => mode.to_owned(),
    }
}
