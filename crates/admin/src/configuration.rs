//! `targets.conf`: lines of `key value`, in nested `<blocks>`, over as many files as `include` names.
//!
//! [`read`] gives the blocks and settings as written, [`targets::Configuration`] what they mean for tgt's daemon.

pub mod include;
pub mod keys;
pub mod line;
pub mod targets;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use include::Files;
use line::{Line, Lines};

/// Blocks within blocks: more than anything means, less than what a stack holds.
const DEPTH: usize = 32;
/// Files within files. One that includes itself by ever new names ends here.
const INCLUDES: usize = 16;
/// Files in all: a few that include each other by patterns could be read for years.
const FILES: usize = 65_536;

/// Where a setting stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// As it was named.
    pub file: Rc<Path>,
    /// From 1.
    pub line: usize,
}

/// One `key value`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Empty when the key stands alone.
    pub value: String,
    /// For messages.
    pub place: Place,
}

/// What stands between `<kind name>` and its end; the whole file is one, too.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    /// Values of each key, in order of appearance.
    pub settings: BTreeMap<String, Vec<Setting>>,
    /// Blocks by kind and name; blocks of one kind and name are one.
    pub blocks: BTreeMap<String, BTreeMap<String, Section>>,
    /// Where it begins first; `None` for a whole file.
    pub place: Option<Place>,
}

/// A configuration that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// Where.
    pub place: Option<Place>,
    /// Why.
    pub message: String,
    /// Exit status of a tool that stops here.
    pub status: u8,
}

/// Exit status when a file is missing (ENOENT).
pub const MISSING: u8 = 2;
/// Exit status when a file cannot be made out.
pub const UNREADABLE: u8 = 255;
/// Exit status when what it says makes no sense.
pub const SENSELESS: u8 = 1;

impl Error {
    pub(crate) fn at(place: &Place, status: u8, message: impl Into<String>) -> Error {
        Error { place: Some(place.clone()), message: message.into(), status }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}: ", place.file.display(), place.line)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Section {
    fn merge(&mut self, other: Section) {
        for (key, mut values) in other.settings {
            self.settings.entry(key).or_default().append(&mut values);
        }
        for (kind, blocks) in other.blocks {
            for (name, block) in blocks {
                self.add(&kind, name, block);
            }
        }
    }

    fn add(&mut self, kind: &str, name: String, block: Section) {
        let same = self.blocks.entry(kind.to_owned()).or_default().entry(name).or_default();
        if same.place.is_none() {
            same.place.clone_from(&block.place);
        }
        same.merge(block);
    }

    /// The values of a key, none when it is not there.
    pub fn values(&self, key: &str) -> &[Setting] {
        self.settings.get(key).map_or(&[], Vec::as_slice)
    }

    /// The blocks of a kind by name.
    pub fn blocks_of(&self, kind: &str) -> impl Iterator<Item = (&String, &Section)> {
        self.blocks.get(kind).into_iter().flatten()
    }
}

/// Reads a file and all that it includes.
///
/// # Errors
/// A file cannot be read, or a line makes no sense.
pub fn read(path: &Path, files: &dyn Files) -> Result<Section, Error> {
    let text = files.read(path).map_err(|error| {
        let status = if error.kind() == std::io::ErrorKind::NotFound { MISSING } else { UNREADABLE };
        Error { place: None, message: format!("{}: {error}", path.display()), status }
    })?;
    let mut section = Section::default();
    Reader { files, open: vec![path.to_path_buf()], count: 0 }.file(path, &text, &mut section)?;
    Ok(section)
}

/// A block that has not ended yet.
struct Open {
    kind: String,
    name: String,
    section: Section,
    place: Place,
}

struct Reader<'a> {
    files: &'a dyn Files,
    /// The file that is being read, and those that include it.
    open: Vec<PathBuf>,
    /// Files included so far.
    count: usize,
}

impl Reader<'_> {
    /// Adds what a file says to `outer`. Blocks end in the file they begin in.
    fn file(&mut self, path: &Path, text: &[u8], outer: &mut Section) -> Result<(), Error> {
        let file: Rc<Path> = path.into();
        let mut open: Vec<Open> = Vec::new();
        let mut lines = Lines::new(text);
        while let Some((number, line)) = lines.step() {
            let place = Place { file: file.clone(), line: number };
            let line = line.map_err(|why| Error::at(&place, UNREADABLE, why))?;
            let current = open.last_mut().map_or(&mut *outer, |block| &mut block.section);
            match line {
                Line::Setting { key, value } => current.settings.entry(key).or_default().push(Setting { value, place }),
                Line::Include(pattern) => self.include(&pattern, &place, current)?,
                Line::Empty { kind, name } => current.add(&kind, name, Section { place: Some(place), ..Section::default() }),
                Line::Begin { kind, name } if open.len() < DEPTH => open.push(Open { kind, name, section: Section::default(), place }),
                Line::Begin { .. } => return Err(Error::at(&place, UNREADABLE, "too many blocks in blocks")),
                Line::End { kind } => end(&kind, &place, &mut open, outer)?,
            }
        }
        match open.pop() {
            None => Ok(()),
            Some(block) => Err(Error::at(&block.place, UNREADABLE, format!("the block <{}> has no end: </{}> is missing", block.kind, block.kind))),
        }
    }

    fn include(&mut self, pattern: &str, place: &Place, section: &mut Section) -> Result<(), Error> {
        if self.open.len() > INCLUDES {
            return Err(Error::at(place, UNREADABLE, "too many files in files"));
        }
        let failed = |path: &Path, error: std::io::Error| {
            let status = if error.kind() == std::io::ErrorKind::NotFound { MISSING } else { UNREADABLE };
            Error::at(place, status, format!("include {}: {error}", path.display()))
        };
        let paths: Vec<PathBuf> = include::expand(pattern, &place.file, self.files).map_err(|error| failed(Path::new(pattern), error))?;
        for path in paths {
            self.count += 1;
            if self.count > FILES {
                return Err(Error::at(place, UNREADABLE, "too many files"));
            }
            if self.open.contains(&path) {
                return Err(Error::at(place, UNREADABLE, format!("{} includes itself", path.display())));
            }
            let text = self.files.read(&path).map_err(|error| failed(&path, error))?;
            self.open.push(path.clone());
            self.file(&path, &text, section)?;
            self.open.pop();
        }
        Ok(())
    }
}

fn end(kind: &str, place: &Place, open: &mut Vec<Open>, outer: &mut Section) -> Result<(), Error> {
    let Some(block) = open.pop() else {
        return Err(Error::at(place, UNREADABLE, format!("</{kind}> ends a block that has not begun")));
    };
    if !block.kind.eq_ignore_ascii_case(kind) {
        let message = format!("</{kind}> ends <{}> of line {}: </{}> is meant?", block.kind, block.place.line, block.kind);
        return Err(Error::at(place, UNREADABLE, message));
    }
    let parent = open.last_mut().map_or(outer, |block| &mut block.section);
    let section = Section { place: Some(block.place), ..block.section };
    parent.add(&block.kind, block.name, section);
    Ok(())
}

#[cfg(test)]
mod tests;
