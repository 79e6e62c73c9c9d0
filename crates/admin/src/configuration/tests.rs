//! Files, blocks and includes, from text to sections.

use super::targets::Configuration;
use super::*;
use proptest::prelude::*;
use std::io;

/// Files by path; folders follow from them.
struct Tree(BTreeMap<&'static str, Vec<u8>>);

impl Tree {
    fn of(files: &[(&'static str, &str)]) -> Tree {
        Tree(files.iter().map(|(path, text)| (*path, text.as_bytes().to_vec())).collect())
    }
}

impl Files for Tree {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = path.to_str().and_then(|path| self.0.get(path));
        found.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self, path: &Path) -> Option<Vec<String>> {
        let below = |file: &&str| Path::new(file).strip_prefix(path).ok()?.components().next()?.as_os_str().to_str().map(str::to_owned);
        let mut names: Vec<String> = self.0.keys().filter_map(below).collect();
        names.dedup();
        Some(names).filter(|names| !names.is_empty())
    }

    fn exists(&self, path: &Path) -> bool {
        path.to_str().is_some_and(|path| self.0.contains_key(path)) || self.names(path).is_some()
    }
}

fn parse(text: &str) -> Result<Section, Error> {
    read(Path::new("f"), &Tree::of(&[("f", text)]))
}

fn values(section: &Section, key: &str) -> Vec<String> {
    section.values(key).iter().map(|setting| setting.value.clone()).collect()
}

#[test]
fn blocks_of_one_name_are_one() {
    let text = "a 1\n<target x>\n k 1\n <store s>\n  l 1\n </store>\n</target>\n<target y/>\n<target x>\n k 2\n <store s>\n  l 2\n </store>\n</TARGET>\na 2\n";
    let section = parse(text).expect("parses");
    assert_eq!(values(&section, "a"), ["1", "2"]);
    let names: Vec<&String> = section.blocks_of("target").map(|(name, _)| name).collect();
    assert_eq!(names, ["x", "y"]);
    let target = &section.blocks["target"]["x"];
    assert_eq!(values(target, "k"), ["1", "2"]);
    assert_eq!(values(&target.blocks["store"]["s"], "l"), ["1", "2"]);
    assert_eq!(target.place.as_ref().map(|place| place.line), Some(2));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (text, message) in [
        ("\n<target x>\nk v\n", "f:2: the block <target> has no end: </target> is missing"),
        ("</target>", "f:1: </target> ends a block that has not begun"),
        ("<target x>\n</store>", "f:2: </store> ends <target> of line 1: </target> is meant?"),
        ("include none.conf", "f:1: include none.conf: entity not found"),
        ("include f", "f:1: f includes itself"),
        ("<a", "f:1: a block's line ends with '>'"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.status, if message.contains("not found") { MISSING } else { UNREADABLE }, "{text}");
    }
    let deep = "<a x>\n".repeat(DEPTH + 1);
    assert_eq!(parse(&deep).expect_err("deep").to_string(), "f:33: too many blocks in blocks");
    let missing = read(Path::new("g"), &Tree::of(&[])).expect_err("no file");
    assert_eq!(missing.status, MISSING);
}

#[test]
fn files_folders_and_patterns_are_included() {
    let tree = Tree::of(&[
        (
            "/etc/tgt/targets.conf",
            "include conf.d/*.conf\ninclude /srv/all\ninclude /srv/none/*.conf\n<target t>\ninclude \"/etc/tgt/one\"\n</target>",
        ),
        ("/etc/tgt/conf.d/b.conf", "k b"),
        ("/etc/tgt/conf.d/a.conf", "k a\ninclude deeper/x"),
        ("/etc/tgt/conf.d/deeper/x", "k x"),
        ("/etc/tgt/conf.d/.hidden.conf", "k hidden"),
        ("/etc/tgt/conf.d/c.conf~", "k old"),
        ("/etc/tgt/one", "state offline"),
        ("/srv/all/2", "k 2"),
        ("/srv/all/1", "k 1"),
        ("/srv/all/below/3", "k 3"),
    ]);
    let section = read(Path::new("/etc/tgt/targets.conf"), &tree).expect("parses");
    assert_eq!(values(&section, "k"), ["a", "x", "b", "1", "2"]);
    assert_eq!(values(&section.blocks["target"]["t"], "state"), ["offline"]);
    assert_eq!(section.values("k")[1].place.file.to_str(), Some("/etc/tgt/conf.d/deeper/x"));
}

#[test]
fn circles_end_soon() {
    // Each name leads to the same text: the folder grows with every inclusion.
    struct Forever;
    impl Files for Forever {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(b"include deeper/f\n".to_vec())
        }

        fn names(&self, _: &Path) -> Option<Vec<String>> {
            None
        }

        fn exists(&self, _: &Path) -> bool {
            true
        }
    }
    let error = read(Path::new("f"), &Forever).expect_err("forever");
    assert!(error.to_string().ends_with("f:1: too many files in files"), "{error}");
    let tree = Tree::of(&[("d/a", "include *"), ("d/b", "include *"), ("f", "include d/*")]);
    assert_eq!(read(Path::new("f"), &tree).expect_err("a circle").to_string(), "d/a:1: d/a includes itself");
}

#[test]
fn an_included_file_ends_its_own_blocks() {
    let tree = Tree::of(&[("f", "<target a>\ninclude g\n</target>"), ("g", "<store s>\n")]);
    assert_eq!(read(Path::new("f"), &tree).expect_err("open").to_string(), "g:1: the block <store> has no end: </store> is missing");
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let tree = Tree(BTreeMap::from([("f", bytes)]));
        let _ = read(Path::new("f"), &tree).and_then(|section| Configuration::new(&section));
    }

    #[test]
    fn never_panics_on_likely_text(words in proptest::collection::vec(
        prop_oneof![
            Just("<target a>"), Just("</target>"), Just("<backing-store b>"), Just("</backing-store>"), Just("<direct-store c/>"), Just("backing-store x"),
            Just("lun 1"), Just("lun 99999999999999999999"), Just("incominguser"), Just("incominguser u p"), Just("controller_tid 7"), Just("include f"),
            Just("write-cache off"), Just("mode_page 1\\"), Just("params x"), Just("state"), Just("default-driver"), Just("# c"), Just("/* c"), Just("c */"),
            Just("initiator-name \"a"), Just("iSNS On"), Just("<>"), Just("= x")
        ], 0..20)) {
        let text = words.join("\n");
        let _ = parse(&text).and_then(|section| Configuration::new(&section));
    }
}
