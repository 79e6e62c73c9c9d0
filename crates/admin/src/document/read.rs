//! Reads a document from TOML, and tells what is wrong with it by line and column.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Document, FieldPath, Problem, Step, one_line, schema};

/// Largest file: more than a configuration of everything a daemon can have, less than what fills memory.
pub const FILE_MAX: u64 = 16 << 20;
/// Problems told at once.
const TOLD: usize = 20;

/// What is wrong with a file, a line each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileProblems {
    /// Name of the file.
    pub file: String,
    /// Line and column from 1, where they are known, and what is wrong there.
    pub list: Vec<(Option<(usize, usize)>, Problem)>,
}

impl fmt::Display for FileProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (place, problem)) in self.list.iter().take(TOLD).enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            match place {
                Some((line, column)) => write!(f, "{}:{line}:{column}: {problem}", self.file)?,
                None => write!(f, "{}: {problem}", self.file)?,
            }
        }
        match self.list.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more", self.file),
        }
    }
}

impl std::error::Error for FileProblems {}

/// Reads and checks. `file` is for messages.
///
/// # Errors
/// Everything that is wrong, or the first thing that stops reading.
pub fn read(file: &str, text: &str) -> Result<Document, FileProblems> {
    let fail = |list| FileProblems { file: file.into(), list };
    let (document, tree) = parse(text).map_err(fail)?;
    let problems = document.check();
    if problems.is_empty() {
        return Ok(document);
    }
    let placed = |problem: Problem| (locate(&tree, &problem.path).map(|at| line_column(text, at)), problem);
    Err(fail(problems.into_iter().map(placed).collect()))
}

/// Reads without the [check](Document::check): what the daemon itself has written.
///
/// # Errors
/// The first thing that stops reading.
pub fn read_unchecked(file: &str, text: &str) -> Result<Document, FileProblems> {
    parse(text).map(|(document, _)| document).map_err(|list| FileProblems { file: file.into(), list })
}

type Placed = (Option<(usize, usize)>, Problem);

fn parse(text: &str) -> Result<(Document, Spanned<DeTable<'_>>), Vec<Placed>> {
    let one = |error: toml::de::Error, path: FieldPath| {
        let place = error.span().map(|span| line_column(text, span.start));
        vec![(place, Problem { path, message: one_line(error.message().trim().replace('\n', ": ")) })]
    };
    let tree = DeTable::parse(text).map_err(|error| one(error, FieldPath::default()))?;
    let mut unknown = Vec::new();
    table(&schema::inlined(), tree.get_ref(), &FieldPath::default(), &mut unknown);
    if !unknown.is_empty() {
        return Err(unknown.into_iter().map(|(at, problem)| (Some(line_column(text, at)), problem)).collect());
    }
    let document = Document::deserialize(toml::de::Deserializer::from(tree.clone())).map_err(|error| {
        let path = error.span().map(|span| path_of(tree.get_ref(), &span)).unwrap_or_default();
        one(error, path)
    })?;
    Ok((document, tree))
}

/// Keys that the schema does not have, with what may have been meant.
fn table(schema: &Value, table_: &DeTable<'_>, path: &FieldPath, found: &mut Vec<(usize, Problem)>) {
    let Some(fields) = schema::fields(schema) else { return };
    for (key, value) in table_ {
        let name: &str = key.get_ref();
        match fields.get(name) {
            Some(schema) => inside(schema, value, &path.key(name), found),
            None => {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                let message = match nearest(name, &names) {
                    Some(meant) => format!("there is no such field; is `{meant}` meant?"),
                    None => format!("there is no such field; the fields are {}", names.join(", ")),
                };
                found.push((key.span().start, Problem { path: path.key(name), message }));
            }
        }
    }
}

fn inside(schema: &Value, value: &Spanned<DeValue<'_>>, path: &FieldPath, found: &mut Vec<(usize, Problem)>) {
    match (value.get_ref(), schema::elements(schema)) {
        (DeValue::Table(inner), _) => table(schema, inner, path, found),
        (DeValue::Array(list), Some(elements)) => {
            list.iter().enumerate().for_each(|(at, value)| inside(elements, value, &path.index(at), found));
        }
        _ => {}
    }
}

/// The known word that takes the fewest changes, if these are few for its length.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // A word from a hostile file may be long; one much longer than any field is near to none.
    let candidates = known.iter().filter(|name| name.len().abs_diff(word.len()) <= 3);
    let (distance, name) = candidates.map(|name| (changes(word, name), *name)).min()?;
    (distance <= 1 + name.len() / 4).then_some(name)
}

/// Insertions, deletions and replacements between two words.
fn changes(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().replace('-', "_").chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.to_lowercase().replace('-', "_").chars().enumerate() {
        let mut corner = row[0];
        row[0] = at + 1;
        for (to, known) in other.iter().enumerate() {
            let here = (corner + usize::from(letter != *known)).min(row[to] + 1).min(row[to + 1] + 1);
            corner = std::mem::replace(&mut row[to + 1], here);
        }
    }
    row[other.len()]
}

/// The deepest field whose value is at `span`.
fn path_of(root: &DeTable<'_>, span: &Range<usize>) -> FieldPath {
    let mut path = FieldPath::default();
    let mut next: Option<(Step, &DeValue<'_>)> = in_table(root, span);
    while let Some((step, value)) = next {
        path.0.push(step);
        next = match value {
            DeValue::Table(table) => in_table(table, span),
            DeValue::Array(list) => {
                list.iter().enumerate().find(|(_, value)| covers(value, span)).map(|(at, value)| (Step::Index(at), value.get_ref()))
            }
            _ => None,
        };
    }
    path
}

fn in_table<'a>(table: &'a DeTable<'_>, span: &Range<usize>) -> Option<(Step, &'a DeValue<'a>)> {
    let found = table.iter().find(|(key, value)| key.span() == *span || covers(value, span));
    found.map(|(key, value)| (Step::Key(key.get_ref().to_string()), value.get_ref()))
}

/// A table's span may be that of its header only, so its contents are asked, too.
fn covers(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let own = value.span();
    own.start <= span.start && span.end <= own.end
        || match value.get_ref() {
            DeValue::Table(table) => table.iter().any(|(key, value)| key.span() == *span || covers(value, span)),
            DeValue::Array(list) => list.iter().any(|value| covers(value, span)),
            _ => false,
        }
}

/// Where a field stands; of one that is not there, the nearest thing around it that is.
fn locate(root: &Spanned<DeTable<'_>>, path: &FieldPath) -> Option<usize> {
    let mut place = None;
    let mut here: Option<&DeValue<'_>> = None;
    for step in &path.0 {
        let table = match (here, step) {
            (None, Step::Key(_)) => Some(root.get_ref()),
            (Some(DeValue::Table(table)), Step::Key(_)) => Some(table),
            _ => None,
        };
        let found = match (step, table, here) {
            (Step::Key(key), Some(table), _) => table.get(key.as_str()),
            (Step::Index(index), _, Some(DeValue::Array(list))) => list.get(*index),
            _ => None,
        };
        let Some(value) = found else { break };
        place = Some(value.span().start);
        here = Some(value.get_ref());
    }
    place
}

/// Line and column of a byte, both from 1; columns count characters.
fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}
