//! What `tgt-admin` reads: `targets.conf`, which may include itself, patterns, its command line, and a daemon's list of targets.

use std::io;
use std::path::Path;

use admin::configuration::include::{Files, fits};
use admin::configuration::targets::{Configuration, Step};
use admin::configuration::{self, line};
use admin::listing;
use admin::options::tgt_admin;

/// One file, which is everywhere a file is looked for.
struct Only<'a>(&'a [u8]);

impl Files for Only<'_> {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }

    fn names(&self, path: &Path) -> Option<Vec<String>> {
        // A folder that patterns look into; other paths are files.
        path.ends_with("folder").then(|| vec!["a.conf".into(), ".b".into(), "c".into()])
    }

    fn exists(&self, path: &Path) -> bool {
        !path.ends_with("none")
    }
}

/// Reads `bytes` in every way.
pub fn run(bytes: &[u8]) {
    file(bytes);
    let words: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    if let Err(usage) = tgt_admin::parse(&words) {
        assert!(usage.status != 0 && usage.message.ends_with('\n'), "{usage:?}");
    }
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    assert!(line::words(text).iter().all(|word| text.contains(word.as_str())));
    if let Some((pattern, name)) = text.split_once('\n') {
        fits(pattern, name);
    }
    let names = text.lines().filter(|line| line.starts_with("Target ")).count();
    assert!(listing::targets(text).len() <= names);
}

fn file(bytes: &[u8]) {
    let read = configuration::read(Path::new("folder/targets.conf"), &Only(bytes)).and_then(|section| Configuration::new(&section));
    let configuration = match read {
        Ok(configuration) => configuration,
        Err(error) => {
            assert!(error.status != 0 && !error.message.is_empty() && error.place.is_some(), "{error}");
            return;
        }
    };
    for (name, target) in &configuration.targets {
        assert!(!name.is_empty());
        let rules = target.steps.iter().filter(|step| matches!(step, Step::Address(_) | Step::Name(_)));
        assert!(rules.count() > 0, "nobody could log in to {name}");
        assert!(target.steps.iter().filter(|step| matches!(step, Step::Outgoing(_))).count() <= 1);
    }
}
