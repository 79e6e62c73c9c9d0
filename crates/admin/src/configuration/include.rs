//! Which files an `include` means: one file, all files of a folder, or all that a pattern matches.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The file system as a configuration sees it.
pub trait Files {
    /// Content of a file.
    ///
    /// # Errors
    /// As the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Names in a folder; `None` when it is no folder.
    fn names(&self, path: &Path) -> Option<Vec<String>>;

    /// Whether there is something of that name.
    fn exists(&self, path: &Path) -> bool;
}

/// The file system of the machine.
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn names(&self, path: &Path) -> Option<Vec<String>> {
        let entries = std::fs::read_dir(path).ok()?;
        Some(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// The files that `pattern` means, sorted. A relative one counts from the folder of the file that includes, or else from the current folder.
///
/// # Errors
/// A single file that does not exist. A pattern that matches nothing is no error.
pub fn expand(pattern: &str, from: &Path, files: &dyn Files) -> io::Result<Vec<PathBuf>> {
    let beside = from.parent().unwrap_or(Path::new("")).join(pattern);
    if pattern.contains(['*', '?', '[']) {
        let mut found = matching(&beside, files);
        if found.is_empty() {
            found = matching(Path::new(pattern), files);
        }
        return Ok(found.into_iter().filter(|path| files.names(path).is_none()).collect());
    }
    let path = if files.exists(&beside) { beside } else { PathBuf::from(pattern) };
    if let Some(mut names) = files.names(&path) {
        names.sort();
        let paths = names.into_iter().filter(|name| !name.starts_with('.')).map(|name| path.join(name));
        return Ok(paths.filter(|path| files.names(path).is_none()).collect());
    }
    if files.exists(&path) { Ok(vec![path]) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// All paths that match, sorted.
fn matching(pattern: &Path, files: &dyn Files) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        match component {
            Component::Normal(name) => found = step(&found, &name.to_string_lossy(), files),
            other => found.iter_mut().for_each(|path| path.push(other)),
        }
    }
    found
}

fn step(folders: &[PathBuf], pattern: &str, files: &dyn Files) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for folder in folders {
        if !pattern.contains(['*', '?', '[']) {
            out.extend(Some(folder.join(pattern)).filter(|path| files.exists(path)));
            continue;
        }
        let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let mut names = files.names(listed).unwrap_or_default();
        names.sort();
        let hidden = |name: &str| name.starts_with('.') && !pattern.starts_with('.');
        out.extend(names.iter().filter(|name| !hidden(name) && fits(pattern, name)).map(|name| folder.join(name)));
    }
    out
}

/// Does a name match a pattern of `*`, `?` and `[a-z]`?
pub fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where the last star stands, and up to where it has eaten.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(length) = letter_fits(&pattern[p.min(pattern.len())..], name[n]) {
            p += length;
            n += 1;
        } else if let Some((at, eaten)) = star {
            star = Some((at, eaten + 1));
            p = at + 1;
            n = eaten + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

/// Letters of the pattern that stand for this letter.
fn letter_fits(pattern: &[char], letter: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match pattern.iter().skip(2).position(|end| *end == ']') {
            Some(end) => set_fits(&pattern[1..end + 2], letter).then_some(end + 3),
            None => (letter == '[').then_some(1),
        },
        same => (*same == letter).then_some(1),
    }
}

fn set_fits(set: &[char], letter: char) -> bool {
    let (set, negated) = match set {
        ['!' | '^', rest @ ..] if !rest.is_empty() => (rest, true),
        _ => (set, false),
    };
    let mut found = false;
    let mut rest = set;
    while let [first, after @ ..] = rest {
        rest = match after {
            ['-', last, others @ ..] => {
                found |= (*first..=*last).contains(&letter);
                others
            }
            _ => {
                found |= *first == letter;
                after
            }
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("?.c", "x.c", true),
            ("?.c", ".c", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("ab", "abc", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn fits_never_panics(pattern in "[a-c*?\\[\\]!^-]{0,12}", name in "[a-c\\[\\]-]{0,8}") {
            fits(&pattern, &name);
        }
    }
}
