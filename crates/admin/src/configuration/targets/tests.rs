//! What sections mean, from text to steps.

use super::super::include::Files;
use super::super::read;
use super::*;
use std::io;
use std::path::Path;

struct Only<'a>(&'a str);

impl Files for Only<'_> {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn names(&self, _: &Path) -> Option<Vec<String>> {
        None
    }

    fn exists(&self, _: &Path) -> bool {
        true
    }
}

fn configuration(text: &str) -> Result<Configuration, Error> {
    Configuration::new(&read(Path::new("f"), &Only(text))?)
}

/// The steps of the target `t`, in short.
fn steps(inside: &str) -> Vec<String> {
    let text = format!("<target t>\n{inside}\n</target>");
    let mut configuration = configuration(&text).unwrap_or_else(|error| panic!("{inside}: {error}"));
    let target = configuration.targets.remove("t").expect("a target");
    target.steps.iter().map(short).collect()
}

fn short(step: &Step) -> String {
    match step {
        Step::Comment(text) => format!("# {text}"),
        Step::Setting(name, value) => format!("{name}={value}"),
        Step::Unit(unit) => {
            let steps: Vec<String> = unit
                .steps
                .iter()
                .map(|step| match step {
                    UnitStep::Comment(_) => "#".into(),
                    UnitStep::Update(key, value) => format!("{key}={value}"),
                    UnitStep::Text(text) => text.clone(),
                })
                .collect();
            format!("{} {} {}", unit.lun, unit.path.as_deref().unwrap_or("-"), steps.join(" "))
        }
        Step::Incoming(account) => format!("in {} {}", account.user, account.password),
        Step::Outgoing(account) => format!("out {} {}", account.user, account.password),
        Step::Address(address) => format!("-I {address}"),
        Step::Name(name) => format!("-Q {name}"),
    }
}

#[test]
fn the_steps_of_a_target_have_their_order() {
    let inside = "state ready\nstatefoo b\ninitiator-name n\noutgoinguser o p\noutgoinguser q r\ninitiator-address 10.0.0.1\nincominguser u \"p w\"\n\
                  backing-store /b\nMaxConnections 4\nMaxConnections 5\nHeaderDigest None\nnop_interval 5\nUnknown 1\nunknown 2";
    let expected = [
        "HeaderDigest=None",
        "# Warning: only one MaxConnections is allowed. Will only use the first one.",
        "MaxConnections=4",
        "1 /b #",
        "in u p w",
        "-I 10.0.0.1",
        "-Q n",
        "nop_interval=5",
        "# Warning: only one outgoinguser is allowed. Will only use the first one.",
        "out o p",
        "state=ready",
        "statefoo=b",
    ];
    assert_eq!(steps(inside), expected);
}

#[test]
fn all_may_come_in_only_when_nothing_else_is_said() {
    assert_eq!(steps(""), ["-I ALL"]);
    assert_eq!(steps("initiator-name iqn.a"), ["-Q iqn.a"]);
    assert_eq!(steps("initiator-address 10.0.0.1"), ["-I 10.0.0.1"]);
}

#[test]
fn units_are_numbered_by_path() {
    assert_eq!(steps("direct-store /a\nbacking-store /c\nbacking-store /b"), ["1 /b #", "2 /c #", "3 /a #", "-I ALL"]);
    assert_eq!(steps("backing-store /a\nlun 5"), ["5 /a #", "-I ALL"]);
    let blocks = "<backing-store /b>\n</backing-store>\n<backing-store /c/>\n<backing-store /a>\nlun 1\n</backing-store>";
    assert_eq!(steps(blocks), ["1 /a #", "2 /b #", "3 /c #", "-I ALL"]);
    assert_eq!(steps("backing-store NONE:cd\ndevice-type cd"), ["1 - #", "-I ALL"]);
}

#[test]
fn settings_of_a_block_win_over_those_of_the_target() {
    let inside = "<backing-store /a>\nvendor_id OWN\nmode_page 1:2\nwrite-cache off\nparams x=1\nonline 1\n</backing-store>\n\
                  vendor_id ALL\nproduct_id P\nmode_page 3:4\nwrite-cache on\nparams y=${lun}";
    let cache = "mode_page=8:0:18:0x10:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0";
    assert_eq!(steps(inside)[0], format!("1 /a mode_page=1:2 {cache} mode_page=3:4 online=1 vendor_id=OWN product_id=P x=1 y=${{lun}}"));
}

#[test]
fn options_of_a_new_unit() {
    let text = "<target t>\n<backing-store /a>\nblock-size 4096\nbs-type rdwr\n</backing-store>\nblock-size 512\nbs-type aio\nbsoflags direct\ndevice-type disk\nallow-in-use yes\n</target>";
    let configuration = configuration(text).expect("makes sense");
    let Step::Unit(unit) = &configuration.targets["t"].steps[0] else { panic!("{configuration:?}") };
    assert_eq!(unit.block_size.as_deref(), Some("4096"));
    assert_eq!(unit.bstype.as_deref(), Some("rdwr"));
    assert_eq!(unit.bsoflags.as_deref(), Some("direct"));
    assert_eq!(unit.device_type.as_deref(), Some("disk"));
    assert!(unit.allow_in_use && !unit.direct);
}

#[test]
fn what_stands_outside_of_targets() {
    let text = "default-driver iscsi\nignore-errors yes\ncontrol-port 3\niSNS On\niSNSServerIP 10.0.0.1\nincomingdiscoveryuser a b\noutgoingdiscoveryuser c d\n<target t>\ncontroller_tid 9\n</target>";
    let configuration = configuration(text).expect("makes sense");
    assert_eq!(configuration.default_driver.as_deref(), Some("iscsi"));
    assert!(configuration.ignore_errors);
    assert_eq!(configuration.control_port.as_deref(), Some("3"));
    assert_eq!(configuration.isns, [("iSNSServerIP", "10.0.0.1".to_owned()), ("iSNS", "On".to_owned())]);
    assert_eq!(configuration.incoming_discovery, [Account { user: "a".into(), password: "b".into() }]);
    assert_eq!(configuration.outgoing_discovery, [Account { user: "c".into(), password: "d".into() }]);
    assert_eq!(configuration.fixed_tids(), BTreeSet::from([9]));
}

#[test]
fn nonsense_is_refused_with_its_line() {
    for (text, message) in [
        ("default-driver a\ndefault-driver b", "f:2: Multiple default-driver definitions are not allowed!"),
        ("control-port 1\ncontrol-port 1", "f:2: Multiple control-port definitions are not allowed!"),
        ("target t", "f:1: a target is a block: <target NAME>"),
        ("<target>\n</target>", "f:1: a target needs a name: <target NAME>"),
        ("<target t>\nbacking-store\n</target>", "f:2: Option backing-store has a missing value!"),
        ("<target t>\nincominguser only\n</target>", "f:2: incominguser takes a user and a password; one with blanks stands in quotes"),
        ("<target t>\n<backing-store>\n</backing-store>\n</target>", "f:2: a store needs a path: <backing-store PATH>"),
        (
            "<target t>\nbacking-store /a\n<backing-store /b>\n</backing-store>\n</target>",
            "f:2: Your config file is not supported: backing-store stands here as a line, elsewhere in the target as a block",
        ),
        ("<target t>\n<backing-store /b>\nlun 1\nlun 2\n</backing-store>\n</target>", "f:4: Multiple lun definitions are not allowed!"),
    ] {
        let error = configuration(text).expect_err(text);
        assert_eq!((error.to_string().as_str(), error.status), (message, SENSELESS), "{text}");
    }
}
