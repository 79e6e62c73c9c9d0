//! Reading, checking and describing documents.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The example of the book.
const EXAMPLE: &str = include_str!("../../../../docs/scuzzy.toml");
/// The schema that is published with it.
const SCHEMA: &str = include_str!("../../../../docs/scuzzy.schema.json");

fn problems(text: &str) -> Vec<String> {
    let problems = read::read("f", text).expect_err("refused");
    problems.to_string().lines().map(ToOwned::to_owned).collect()
}

/// Fields of a schema that a value does not have, in any of its lists' elements.
fn missing(schema: &Value, values: &[&toml::Value], path: &str, found: &mut Vec<String>) {
    if let Some(fields) = schema::fields(schema) {
        for (name, schema) in fields {
            let inner: Vec<&toml::Value> = values.iter().filter_map(|value| value.get(name)).collect();
            let path = format!("{path}.{name}");
            if inner.is_empty() {
                found.push(path);
            } else {
                missing(schema, &inner, &path, found);
            }
        }
    } else if let Some(schema) = schema::elements(schema) {
        let inner: Vec<&toml::Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        missing(schema, &inner, path, found);
    }
}

#[test]
fn the_example_has_every_field_and_makes_sense() {
    let document = read::read("docs/scuzzy.toml", EXAMPLE).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(document.targets[0].units.len(), 2);
    let value: toml::Value = toml::from_str(EXAMPLE).expect("TOML");
    let mut found = Vec::new();
    missing(&schema::inlined(), &[&value], "", &mut found);
    assert_eq!(found, Vec::<String>::new(), "fields that docs/scuzzy.toml lacks");
}

#[test]
fn the_values_of_keys_in_the_example_are_the_defaults() {
    let document = read::read("docs/scuzzy.toml", EXAMPLE).expect("reads");
    assert_eq!(document.targets[0].keys.len(), Key::ALL.len());
    assert!(document.settled(&Document::default()).targets[0].keys.is_empty());
}

#[test]
fn the_published_schema_is_that_of_the_reader() {
    assert_eq!(schema::text(), SCHEMA, "write docs/scuzzy.schema.json anew: scuzzy schema > docs/scuzzy.schema.json");
}

#[test]
fn a_misspelt_field_is_told_with_what_is_meant() {
    let text = "portal = []\n[[target]]\nname = \"a\"\n[[target.unit]]\nlun = 1\nblocksize = 512\n  Read-Only = true\nzzzzzz = 1\n";
    let told = problems(text);
    assert_eq!(told[0], "f:1:1: portal: there is no such field; is `portals` meant?");
    assert_eq!(told[1], "f:7:3: target[0].unit[0].Read-Only: there is no such field; is `readonly` meant?");
    assert_eq!(told[2], "f:6:1: target[0].unit[0].blocksize: there is no such field; is `block_size` meant?");
    assert!(
        told[3].starts_with("f:8:1: target[0].unit[0].zzzzzz: there is no such field; the fields are access_states, alua, block_size, bsopts, "),
        "{}",
        told[3]
    );
    let key = problems("[[target]]\nname = \"a\"\n[target.keys]\nMaxBurstLenght = 512\n");
    assert_eq!(key, ["f:4:1: target[0].keys.MaxBurstLenght: there is no such field; is `MaxBurstLength` meant?"]);
}

#[test]
fn types_and_syntax_are_told_with_their_place() {
    assert_eq!(problems("portals = 3\n"), ["f:1:11: portals: invalid type: integer `3`, expected a sequence"]);
    let unit = |line: &str| problems(&format!("[[target]]\nname = \"a\"\n[[target.unit]]\nlun = 1\n{line}\n")).join("\n");
    assert_eq!(unit("size = \"big\"").split(": ").nth(1), Some("target[0].unit[0].size"));
    assert!(unit("size = true").contains("f:5:8: target[0].unit[0].size: a size is bytes or a number with K, M, G, T"), "{}", unit("size = true"));
    let page = unit("mode_pages = [\"8:0\"]");
    assert!(page.contains("f:5:14: target[0].unit[0].mode_pages: `8:0` is no mode page"), "{page}");
    assert!(unit("flags = [\"sink\"]").contains("f:5:10: target[0].unit[0].flags[0]: unknown variant `sink`, expected one of `sync`, `direct`"));
    assert!(problems("[[target]]\ntid = 1\n")[0].contains("target[0]: missing field `name`"), "{:?}", problems("[[target]]\ntid = 1\n"));
    assert!(problems("é = = 1")[0].starts_with("f:1:"));
    assert!(problems("a = 1\na = 2")[0].starts_with("f:2:1: "), "{:?}", problems("a = 1\na = 2"));
}

/// Everything that a check finds, one after the other: text of the file, and the one problem.
#[test]
fn what_makes_no_sense_is_told_with_field_and_allowed_values() {
    let unit = |lines: &str| format!("[[target]]\nname = \"a\"\n[[target.unit]]\nlun = 1\n{lines}");
    let target = |lines: &str| format!("[[account]]\nuser = \"ann\"\n[[target]]\nname = \"a\"\n{lines}");
    let cases = [
        ("portals = [\"localhost\"]".into(), "portals[0]: `localhost` is not numeric"),
        ("portals = [\"::1\", \"[::1]:3260\"]".into(), "portals[1]: [::1]:3260 is there already, at portals[0]"),
        ("portals = [\"127.0.0.1:99999\"]".into(), "portals[0]: portal '127.0.0.1:99999': port '99999' is not within"),
        ("[isns]\nenabled = true".into(), "isns.server: iSNS is enabled, but no server is named"),
        ("[[account]]\nuser = \"\"".into(), "account[0].user: the name is empty"),
        ("[[account]]\nuser = \"a\"\npassword = \"\"".into(), "account[0].password: the password is empty"),
        ("[[account]]\nuser = \"a\"\npassword = \"p\"\npassword_file = \"f\"".into(), "account[0].password_file: there is a password, too"),
        ("[[account]]\nuser = \"a\"\n[[account]]\nuser = \"a\"".into(), "account[1].user: `a` is there already, at account[0]"),
        ("[discovery]\nincoming = [\"bob\"]".into(), "discovery.incoming[0]: no account `bob`: add [[account]]"),
        (target("outgoing = \"bob\""), "target[0].outgoing: no account `bob`: the accounts are ann"),
        (target("incoming = [\"ann\", \"ann\"]"), "target[0].incoming[1]: `ann` is there already"),
        (target("[[target]]\nname = \"a\""), "target[1].name: `a` is there already, at target[0]"),
        ("[[target]]\nname = \"a_b\"".into(), "target[0].name: `a_b` is not allowed: letters, digits"),
        (target("tid = 0"), "target[0].tid: 0 is not allowed: 1 or more"),
        (target("tid = 1\n[[target]]\nname = \"b\"\ntid = 1"), "target[1].tid: 1 is that of target[0], too"),
        (target("hosts = [1]\n[[target]]\nname = \"b\"\nhosts = [1]"), "target[1].hosts[0]: host 1 is bound already, to target[0]"),
        (target("allow = [\"192.0.2.0/33\"]"), "target[0].allow[0]: `192.0.2.0/33` is no address rule: ALL, 192.0.2.1"),
        (target("initiators = [\"\"]"), "target[0].initiators[0]: an empty name matches nobody"),
        (target("[target.redirect]\naddress = \"\""), "target[0].redirect.address: the text is empty"),
        (target("[target.keys]\nMaxQueueCmd = 513"), "target[0].keys.MaxQueueCmd: 513 is not allowed: 1 to 512"),
        (target("[target.keys]\nInitialR2T = 1"), "target[0].keys.InitialR2T: 1 is not allowed: true or false"),
        (unit("[[target.unit]]\nlun = 1"), "target[0].unit[1].lun: 1 is that of unit[0], too"),
        (unit("[[target.unit]]\nlun = 16384"), "target[0].unit[1].lun: 16384 is not allowed: 1 to 16383"),
        (unit("block_size = 1000"), "target[0].unit[0].block_size: 1000 is not allowed: 512, 1024"),
        (unit("vendor_id = \"ACMEACMEX\""), "target[0].unit[0].vendor_id: 9 characters are not allowed: 1 to 8"),
        (unit("scsi_sn = \"\""), "target[0].unit[0].scsi_sn: 0 characters are not allowed: 1 to 36"),
        (unit("lbppbe = 16"), "target[0].unit[0].lbppbe: 16 is not allowed: 0 to 15"),
        (unit("la_lba = 16384"), "target[0].unit[0].la_lba: 16384 is not allowed"),
        (unit("online = true"), "target[0].unit[0].online: a unit without medium cannot be online"),
        (unit("mode_pages = [\"8:0:1\", \"0x8:0:2\"]"), "target[0].unit[0].mode_pages[1]: page 0x08, subpage 0x00 is there already"),
        (unit("faults = [\"op=NOSUCH\"]"), "target[0].unit[0].faults[0]: \"op=NOSUCH\": names no operation"),
        (unit("store = \"tape\""), "target[0].unit[0].store: `tape` is not allowed: rdwr, aio, memory, null"),
        (unit("store = \"memory\"\npath = \"x\""), "target[0].unit[0].path: a memory store has a size and no path"),
        (unit("size = \"1M\""), "target[0].unit[0].size: only a memory store has a size"),
        (unit("store = \"memory\"\nsize = 100"), "target[0].unit[0].size: 100 bytes are less than one block"),
        (unit("store = \"memory\"\nflags = [\"direct\"]"), "target[0].unit[0].flags[0]: a memory store has no flag `direct`"),
        ("[[fault]]\ntid = 0\nlun = 1\nrule = \"op=READ,action=BUSY\"".into(), "fault[0].tid: 0 is not allowed"),
        ("[[fault]]\ntid = 1\nlun = 1\nrule = \"x\"".into(), "fault[0].rule: \"x\": is not of the form key=value"),
    ];
    for (text, expected) in cases {
        let told = problems(&text);
        let (_, after) = told[0].split_once(": ").expect("place");
        assert!(told.len() == 1 && after.starts_with(expected), "{text}\n{told:?}");
        assert!(told[0].strip_prefix("f:").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())), "no place: {told:?}");
    }
}

#[test]
fn sizes_have_one_short_form() {
    for (text, want) in [("1G", "1G"), ("1024M", "1G"), ("1.5G", "1536M"), ("513", "513"), ("2TB", "2T")] {
        let size = crate::size::parse(text).map(Size).expect("size");
        assert_eq!(size.to_string(), want);
        assert_eq!(crate::size::parse(want), Ok(size.0));
    }
}

#[test]
fn pages_have_one_form() {
    let page = ModePage::parse("8:0:18:0x10:0:0").expect("page");
    assert_eq!(page.to_string(), "0x08:0x00:18:0x10");
    for bad in ["", "8", "8:0", "8:0:1:1:1", "0x3f:0:1", "8:0xff:1", "8:0:256", "8:0:18:256", "8:1:4097", "x:0:1"] {
        assert!(ModePage::parse(bad).is_err(), "{bad}");
    }
    assert!(ModePage::parse("8:1:4096").is_ok());
}

#[test]
fn secrets_are_never_printed_and_come_from_files() {
    let mut document =
        read::read("f", "[[account]]\nuser = \"a\"\npassword_file = \"s\"\n[[account]]\nuser = \"b\"\npassword = \"hunter2\"").expect("reads");
    assert!(!format!("{document:?}").contains("hunter2"));
    let told = document.clone().resolve_secrets(|_| Err("no such file".into())).expect_err("refused");
    assert_eq!(told.to_string(), "account[0].password_file: no such file");
    document.resolve_secrets(|file| Ok(format!("in {file}"))).expect("resolves");
    assert_eq!(document.accounts[0].password, Some(Secret("in s".into())));
    assert_eq!(document.accounts[0].password_file, None);
}

#[test]
fn paths_are_meant_from_the_folder_of_the_file() {
    let text = "[[target]]\nname = \"a\"\n[[target.unit]]\nlun = 1\npath = \"d/x.img\"\n[[target.unit]]\nlun = 2\npath = \"/y\"\n\
        [[target.unit]]\nlun = 3\nstore = \"null\"\npath = \"z\"\n";
    let mut document = read::read("f", text).expect("reads");
    document.resolve(Path::new("/srv"));
    let paths: Vec<_> = document.targets[0].units.iter().map(|unit| unit.path.clone().unwrap_or_default()).collect();
    assert_eq!(paths, ["/srv/d/x.img", "/y", "z"]);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_places_inside(text in "[\\[\\]a-z_=\"0-9.\\n éé-]{0,120}") {
        if let Err(problems) = read::read("f", &text) {
            let lines = text.lines().count().max(1) + 1;
            prop_assert!(!problems.list.is_empty());
            for (place, problem) in &problems.list {
                prop_assert!(!problem.message.is_empty());
                if let Some((line, column)) = place {
                    prop_assert!(*line >= 1 && *line <= lines && *column >= 1);
                }
            }
        }
    }
}
