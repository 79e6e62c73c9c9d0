//! Manual pages in roff's `man` macros, made of the tables that parsers read.

use core::fmt::Write;

use crate::configuration::keys::{KEYS, Place};
use crate::options::getopt::{Flag, ValueRule, Values};
use crate::options::programs::Program;
use crate::options::tgtadm::MODE_OPERATIONS;

/// Section of the pages of programs that administrators use.
pub const SECTION: u8 = 8;

/// A page being written.
struct Page(String);

impl Page {
    fn new(name: &str, section: u8, version: &str, summary: &str) -> Page {
        let mut page = Page(String::new());
        page.line(&format!(".TH \"{}\" \"{section}\" \"\" \"Scuzzy {}\" \"Scuzzy\"", escape(&name.to_uppercase()), escape(version)));
        // No hyphenation and no justification: names and words of a protocol stay whole.
        page.line(".nh\n.ad l");
        page.section("NAME");
        page.line(&format!("{} \\- {}", escape(name), escape(summary)));
        page
    }

    /// A line that may hold requests of roff.
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.line(&format!(".SH {}", if title.contains(' ') { format!("\"{title}\"") } else { title.to_owned() }));
    }

    fn paragraph(&mut self, text: &str) {
        self.line(".PP");
        self.line(&text_line(text));
    }

    /// A term, roff already, and what is said about it.
    fn item(&mut self, term: &str, text: &str) {
        self.line(".TP");
        self.line(term);
        self.line(&text_line(text));
    }

    fn items(&mut self, title: &str, rows: &[(&str, &str)]) {
        if rows.is_empty() {
            return;
        }
        self.section(title);
        for (term, text) in rows {
            self.item(&bold(term), text);
        }
    }

    fn see_also(&mut self, pages: &[(&str, u8)]) {
        self.section("SEE ALSO");
        for (place, (name, section)) in pages.iter().enumerate() {
            let comma = if place + 1 < pages.len() { " ," } else { "" };
            self.line(&format!(".BR {} ({section}){comma}", escape(name)));
        }
    }
}

/// The page of a program.
pub fn page(program: &Program, version: &str) -> String {
    let mut page = Page::new(program.name, SECTION, version, program.summary);
    page.section("SYNOPSIS");
    for (place, line) in program.synopsis.iter().enumerate() {
        if place > 0 {
            page.line(".br");
        }
        page.line(&format!("{} {}", bold(program.name), escape(line)));
    }
    page.section("DESCRIPTION");
    for (place, text) in program.description.iter().enumerate() {
        if place == 0 { page.line(&text_line(text)) } else { page.paragraph(text) }
    }
    page.section("OPTIONS");
    for flag in program.flags {
        page.item(&term(flag), &meaning(flag));
        values(&mut page, flag);
    }
    if !program.commands.is_empty() {
        page.section("COMMAND LINES");
        for (line, what) in program.commands {
            page.item(&format!("{} {}", bold(program.name), command_line(line)), &sentence(what));
        }
    }
    page.items("ENVIRONMENT", program.environment);
    page.items("FILES", program.files);
    page.items("EXIT STATUS", program.statuses);
    page.see_also(program.see_also);
    page.0
}

/// The page of `targets.conf`.
pub fn targets_conf(version: &str) -> String {
    let mut page = Page::new("targets.conf", 5, version, "targets that tgt-admin makes");
    page.section("DESCRIPTION");
    page.line(&text_line("tgt-admin(8) makes the targets of this file, at each start of the service and whenever it is called. Without --conf it is /etc/tgt/targets.conf."));
    for text in [
        "A line holds a key and its value, with blanks or = between them. # begins a comment, /* at the beginning of a line one that ends with */. A backslash at the end joins a line to the next. Quotes keep blanks and #. Keys are case-sensitive; unknown ones are ignored.",
        "A key given twice is a list. Blocks of one name are one block.",
        "include takes a file, a pattern or a folder; a relative one counts from the folder of the file it stands in, or else from the current one.",
    ] {
        page.paragraph(text);
    }
    for (title, place) in [("GLOBAL KEYS", Place::Global), ("KEYS OF A TARGET", Place::Target), ("KEYS OF A UNIT", Place::Unit)] {
        page.section(title);
        match place {
            Place::Global => {}
            Place::Target => page.line(&text_line("They stand between <target NAME> and </target>.")),
            Place::Unit => page.line(&text_line(
                "They stand between <backing-store PATH> and </backing-store>, or in the target, for all its units; the unit's own win.",
            )),
        }
        for row in KEYS.iter().filter(|row| row.place == place) {
            page.item(&format!("{} {}", bold(row.key), italic(row.value)), &sentence(row.help));
        }
    }
    page.section("EXAMPLE");
    page.line(".nf");
    for line in EXAMPLE.lines() {
        page.line(&text_line(line));
    }
    page.line(".fi");
    page.see_also(&[("tgt-admin", 8), ("tgtd", 8), ("tgtadm", 8)]);
    page.0
}

/// The example of the page, which a test reads as a configuration.
const EXAMPLE: &str = "\
include /etc/tgt/conf.d/*.conf

<target iqn.2026-11.org.example:one>
    incominguser alice \"a long secret\"
    initiator-address 192.0.2.0/24
    <backing-store /srv/one.img>
        lun 1
        vendor_id EXAMPLE
        write-cache off
    </backing-store>
</target>
";

/// `-t, --tid N`.
fn term(flag: &Flag) -> String {
    let mut out = String::new();
    if let Some(letter) = flag.short {
        let _ = write!(out, "{}, ", bold(&format!("-{letter}")));
    }
    out.push_str(&bold(&format!("--{}", flag.long)));
    if !flag.metavariable.is_empty() {
        let _ = write!(out, " {}", italic(flag.metavariable));
    }
    out
}

/// What an option does; a help text that only lists words is told as such.
fn meaning(flag: &Flag) -> String {
    let first = flag.help.split([' ', ',']).next().unwrap_or_default();
    match flag.values {
        Values::Operations => "What to do. Each mode has its own:".into(),
        Values::Words(words) if words.contains(&first) => format!("One of: {}.", flag.help),
        _ => sentence(flag.help),
    }
}

/// What completions offer is told here, too, unless the help says it.
fn values(page: &mut Page, flag: &Flag) {
    if flag.value == ValueRule::ShortSwallows {
        page.line(".br");
        page.line("The letter swallows a word that follows it and is no option.");
    }
    match flag.values {
        Values::Words(words) if !words.iter().all(|word| flag.help.contains(word)) => {
            page.line(".br");
            page.line(&format!("For example: {}.", escape(&words.join(", "))));
        }
        Values::Operations => {
            for (mode, operations) in MODE_OPERATIONS {
                page.line(".br");
                page.line(&format!("{}: {}", escape(mode), escape(&operations.join(", "))));
            }
        }
        _ => {}
    }
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escape(text))
}

fn italic(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\\fI{}\\fR", escape(text)) }
}

/// A line of text: what would be a request at its beginning is none.
fn text_line(text: &str) -> String {
    let escaped = escape(text);
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

/// A command line: a long list may be broken after its commas.
fn command_line(line: &str) -> String {
    escape(line).replace(',', ",\\:")
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    // A word of the command line keeps its shape.
    let word = text.split([' ', ',', ':']).next().unwrap_or_default();
    let plain = word.bytes().all(|byte| byte.is_ascii_lowercase());
    let begin = if plain { first.to_uppercase().to_string() } else { first.to_string() };
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{begin}{}{end}", letters.as_str())
}

/// Letters that roff reads as something else.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '"' => out.push_str("\\(dq"),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{self, include::Files};
    use crate::options::programs::PROGRAMS;

    #[test]
    fn every_option_is_in_its_page() {
        for program in PROGRAMS {
            let page = page(program, "1.2.3");
            assert!(page.starts_with(&format!(".TH \"{}\" \"8\"", escape(&program.name.to_uppercase()))), "{page}");
            for flag in program.flags {
                let long = escape(&format!("--{}", flag.long));
                assert!(page.contains(&format!("\\fB{long}\\fR")), "{} {long}", program.name);
                assert!(flag.short.is_none_or(|letter| page.contains(&format!("\\fB\\-{letter}\\fR, \\fB{long}"))), "{} {long}", program.name);
            }
            for (line, _) in program.commands {
                assert!(page.contains(&command_line(line)), "{} {line}", program.name);
            }
        }
    }

    #[test]
    fn roff_sees_only_our_requests() {
        let known = [".TH", ".nh", ".ad", ".SH", ".PP", ".TP", ".br", ".BR", ".nf", ".fi"];
        for text in PROGRAMS.iter().map(|program| page(program, "1")).chain([targets_conf("1")]) {
            for line in text.lines().filter(|line| line.starts_with(['.', '\''])) {
                assert!(known.iter().any(|request| line == *request || line.starts_with(&format!("{request} "))), "{line}");
            }
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(text_line(".x -a 'b' \\"), "\\&.x \\-a \\(aqb\\(aq \\e");
        assert_eq!(sentence("print this text"), "Print this text.");
        assert_eq!(sentence("ALL, an address"), "ALL, an address.");
        assert_eq!(sentence("rdwr2 x."), "rdwr2 x.");
    }

    /// The file of the example.
    struct Example;

    impl Files for Example {
        fn read(&self, _: &std::path::Path) -> std::io::Result<Vec<u8>> {
            Ok(EXAMPLE.replace("include", "# include").into_bytes())
        }
        fn names(&self, _: &std::path::Path) -> Option<Vec<String>> {
            None
        }
        fn exists(&self, _: &std::path::Path) -> bool {
            true
        }
    }

    #[test]
    fn the_example_is_a_configuration() {
        let section = configuration::read(std::path::Path::new("f"), &Example).expect("parses");
        let read = configuration::targets::Configuration::new(&section).expect("makes sense");
        assert!(read.targets.contains_key("iqn.2026-11.org.example:one"));
        let page = targets_conf("1");
        assert!(KEYS.iter().all(|row| page.contains(&bold(row.key))));
    }
}
