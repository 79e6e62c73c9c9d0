//! tgt-setup-lun's command line: a target with one unit, in one go.

use super::getopt::{Flag, Parser, ValueRule, Values};
use super::tgtadm::STORE_WORDS;
use super::{Parsed, flag_lines};

/// What is to be set up. Nothing is checked that the daemon checks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Setup {
    /// Name of the target as given.
    pub name: Vec<u8>,
    /// File or device.
    pub device: Vec<u8>,
    /// Kind of store.
    pub bstype: Option<Vec<u8>>,
    /// Block size.
    pub blocksize: Option<Vec<u8>>,
    /// Driver.
    pub driver: Option<Vec<u8>>,
    /// Suffix of the control socket.
    pub control_port: Option<Vec<u8>>,
    /// Who may come in; empty: everybody.
    pub addresses: Vec<Vec<u8>>,
}

/// What is wrong with a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is none: the help text, for standard output.
    Empty(String),
    /// A line for standard error.
    Option(String),
    /// A line for standard output.
    Missing(&'static str),
}

const fn flag(long: &'static str, short: char, metavariable: &'static str, help: &'static str) -> Flag {
    Flag { long, short: Some(short), value: ValueRule::Required, metavariable, help, whole_only: false, values: Values::Any }
}

/// tgt-setup-lun's options; the original knows the letters only.
pub const FLAGS: &[Flag] = &[
    flag("name", 'n', "NAME", "name of the target; without iqn, eui or naa in front it is completed").taking(Values::TargetName),
    flag("device", 'd', "PATH", "file or device of the unit").taking(Values::File),
    flag("bstype", 'b', "STORE", "kind of store; rdwr unless given").taking(Values::Words(STORE_WORDS)),
    flag("blocksize", 'B', "BYTES", "block size of the unit, a power of two").taking(Values::Words(&["512", "1024", "2048", "4096"])),
    flag("lld", 't', "DRIVER", "driver; iscsi unless given").taking(Values::Words(&["iscsi"])),
    flag("control-port", 'C', "N", "which daemon, 0 to 32767"),
    Flag {
        long: "help",
        short: Some('h'),
        value: ValueRule::None,
        metavariable: "",
        help: "print this text",
        whole_only: false,
        values: Values::Any,
    },
];

/// Reads a command line, the program's name left out. The words are the initiators' addresses.
///
/// # Errors
/// An option is unknown or without value, device or name are missing, or there is nothing at all.
pub fn parse(arguments: &[Vec<u8>]) -> Result<Parsed<Setup>, Refused> {
    if arguments.is_empty() {
        return Err(Refused::Empty(help()));
    }
    let mut setup = Setup::default();
    let (mut name, mut device) = (None, None);
    let mut parser = Parser::new(FLAGS, arguments);
    while let Some(step) = parser.step() {
        let given = step.map_err(|problem| Refused::Option(format!("tgt-setup-lun: {problem}")))?;
        let value = given.value.map(<[u8]>::to_vec);
        match given.flag.long {
            "name" => name = value,
            "device" => device = value,
            "bstype" => setup.bstype = value,
            "blocksize" => setup.blocksize = value,
            "lld" => setup.driver = value,
            "control-port" => setup.control_port = value,
            _ => return Ok(Parsed::Print(help())),
        }
    }
    setup.addresses = parser.words().iter().map(|word| word.to_vec()).collect();
    setup.device = device.filter(|device| !device.is_empty()).ok_or(Refused::Missing("Error: a device is mandatory"))?;
    setup.name = name.filter(|name| !name.is_empty()).ok_or(Refused::Missing("Error: a target name is mandatory"))?;
    Ok(Parsed::Run(setup))
}

impl Setup {
    /// The whole name of the target: one that is none yet gets the host's name in front.
    pub fn target_name(&self, host: &[u8]) -> Vec<u8> {
        match self.name.get(..4) {
            Some(b"eui." | b"naa.") => self.name.clone(),
            _ if self.name.starts_with(b"iqn") => self.name.clone(),
            _ => [b"iqn.2001-04.com.".as_slice(), host, b"-", &self.name].concat(),
        }
    }
}

/// `--help`.
pub fn help() -> String {
    let mut out = "Usage: tgt-setup-lun -n NAME -d PATH [OPTION]... [ADDRESS]...\n\n".to_owned();
    out.push_str("Makes a target with one unit and lets initiators of these addresses in, or all.\n");
    out.push_str("A target that is there already gets one more unit, after asking.\n\nOptions:\n");
    out.push_str(&flag_lines(FLAGS));
    out.push_str("\ntgt-setup-lun -n disk1 -d /srv/disk1.img 192.0.2.1 192.0.2.2\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Parsed<Setup>, Refused> {
        let words: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        parse(&words)
    }

    #[test]
    fn options_and_addresses() {
        let expected = Setup {
            name: b"a".to_vec(),
            device: b"/d".to_vec(),
            bstype: Some(b"aio".to_vec()),
            blocksize: Some(b"4096".to_vec()),
            driver: Some(b"iscsi".to_vec()),
            control_port: Some(b"7".to_vec()),
            addresses: vec![b"192.0.2.1".to_vec(), b"ALL".to_vec()],
        };
        assert_eq!(read("-n a 192.0.2.1 -d/d -b aio -B 4096 -t iscsi -C 7 ALL"), Ok(Parsed::Run(expected)));
        assert!(matches!(read("--name a --help"), Ok(Parsed::Print(_))));
    }

    #[test]
    fn what_is_missing_is_told() {
        assert!(matches!(read(""), Err(Refused::Empty(_))));
        assert_eq!(read("-n a"), Err(Refused::Missing("Error: a device is mandatory")));
        assert_eq!(read("-d a"), Err(Refused::Missing("Error: a target name is mandatory")));
        assert_eq!(read("-n a -d"), Err(Refused::Option("tgt-setup-lun: option requires an argument -- 'd'".into())));
    }

    #[test]
    fn names_are_completed() {
        let name = |name: &str| Setup { name: name.into(), ..Setup::default() }.target_name(b"host");
        assert_eq!(name("t1"), b"iqn.2001-04.com.host-t1");
        assert_eq!(name("iqn.2020-01.com.example:t1"), b"iqn.2020-01.com.example:t1");
        assert_eq!(name("eui.02004567A425678D"), b"eui.02004567A425678D");
    }
}
