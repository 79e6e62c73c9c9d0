//! tgtimg's command line: from words to an image to make or to show.

use super::getopt::{Flag, Parser, ValueRule, Values};
use super::{BadNumber, Parsed, Usage, flag_lines};

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Job {
    /// Make a tape image.
    Tape {
        /// File.
        path: Vec<u8>,
        /// Barcode.
        barcode: Vec<u8>,
        /// Capacity in MiB; 0: the usual one.
        mib: u32,
        /// Kind of cartridge.
        media: Media,
    },
    /// Make a blank disc image.
    Disc {
        /// File.
        path: Vec<u8>,
    },
    /// Make a disk image.
    Disk {
        /// File.
        path: Vec<u8>,
        /// Size in MiB.
        mib: u32,
        /// Allocate nothing.
        thin: bool,
    },
    /// List what is in a tape image.
    Show {
        /// File.
        path: Vec<u8>,
        /// For programs.
        json: bool,
    },
}

/// Kind of cartridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Media {
    /// For data.
    Data,
    /// Cleans the drive.
    Clean,
    /// Write once.
    Worm,
}

/// Exit status of usage errors (EINVAL).
const REFUSED: u8 = 22;
/// Exit status of an unknown operation.
const UNKNOWN_OPERATION: u8 = 1;
/// Highest size: programs that read tape images take the capacity as a signed number.
const MIB_MAX: u64 = i32::MAX as u64;

const fn flag(long: &'static str, short: char, value: ValueRule, metavariable: &'static str, help: &'static str) -> Flag {
    Flag { long, short: Some(short), value, metavariable, help, whole_only: false, values: Values::Any }
}

use ValueRule::{None as Bare, Required};

/// tgtimg's options.
pub const FLAGS: &[Flag] = &[
    flag("help", 'h', Bare, "", "print this text"),
    flag("op", 'o', Required, "OPERATION", "new show").taking(Values::Words(&["new", "show"])),
    flag("device-type", 'Y', Required, "TYPE", "tape cd disk; tape unless given").taking(Values::Words(&["tape", "cd", "disk"])),
    flag("barcode", 'b', Required, "TEXT", "barcode of a cartridge, up to 20 bytes"),
    flag("size", 's', Required, "MIB", "size in MiB; 0 makes a cartridge of 8000"),
    flag("type", 't', Required, "MEDIUM", "data clean worm for tape, dvd+r for cd, disk for disk")
        .taking(Values::Words(&["data", "clean", "worm", "dvd+r", "disk"])),
    flag("file", 'f', Required, "PATH", "the image").taking(Values::File),
    flag("thin-provisioning", 'T', Bare, "", "allocate nothing for a disk image"),
    Flag { long: "json", short: None, value: Bare, metavariable: "", help: "show for programs", whole_only: true, values: Values::Any },
];

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Device {
    #[default]
    Tape,
    Disc,
    Disk,
}

#[derive(Default)]
struct Options {
    /// `Some(true)`: new; `Some(false)`: show.
    new: Option<bool>,
    device: Device,
    barcode: Option<Vec<u8>>,
    mib: Option<u32>,
    medium: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    thin: bool,
    json: bool,
}

/// Reads a command line, the program's name left out.
///
/// # Errors
/// What is wrong with it, in tgtimg's words, with its exit status.
pub fn parse(arguments: &[Vec<u8>], version: &str) -> Result<Parsed<Job>, Usage> {
    let mut options = Options::default();
    let mut parser = Parser::new(FLAGS, arguments);
    while let Some(step) = parser.step() {
        let given = step.map_err(|problem| hinted(&problem.to_string()))?;
        if given.flag.long == "help" {
            return Ok(Parsed::Print(help(version)));
        }
        options.take(given.flag.long, given.value.unwrap_or_default())?;
    }
    if let Some(word) = parser.words().first() {
        return Err(hinted(&format!("unrecognized option '{}'", String::from_utf8_lossy(word))));
    }
    options.job().map(Parsed::Run)
}

fn hinted(message: &str) -> Usage {
    Usage::with_hint(REFUSED, format_args!("tgtimg: {message}"), "tgtimg")
}

impl Options {
    fn take(&mut self, long: &str, value: &[u8]) -> Result<(), Usage> {
        match long {
            "op" => self.new = Some(operation(value)?),
            "device-type" => self.device = device(value)?,
            "barcode" => self.barcode = Some(value.to_vec()),
            "size" => self.mib = Some(size(value)?),
            "type" => self.medium = Some(value.to_vec()),
            "file" => self.path = Some(value.to_vec()),
            "thin-provisioning" => self.thin = true,
            _ => self.json = true,
        }
        Ok(())
    }

    /// The checks come in tgtimg's order.
    fn job(self) -> Result<Job, Usage> {
        let new = self.new.ok_or_else(|| hinted("specify the operation type"))?;
        let path = self.path.ok_or_else(|| hinted("specify a newly created file"))?;
        match (new, self.device) {
            (true, _) if self.json => Err(hinted("--json goes with --op show only")),
            (true, Device::Tape) => {
                let media = cartridge(&self.medium.ok_or_else(|| hinted("Missing media type: WORM, CLEAN or DATA"))?)?;
                let barcode = self.barcode.ok_or_else(|| hinted("Missing the barcode param"))?;
                let mib = self.mib.ok_or_else(|| hinted("Missing the capacity param"))?;
                Ok(Job::Tape { path, barcode, mib, media })
            }
            (true, Device::Disc) => {
                let medium = self.medium.ok_or_else(|| hinted("Missing media type: DVD+R"))?;
                begins(&medium, "dvd+r").then_some(Job::Disc { path }).ok_or_else(|| hinted("Media type must be DVD+R for cd devices"))
            }
            (true, Device::Disk) => {
                let medium = self.medium.ok_or_else(|| hinted("Missing media type: DISK"))?;
                if !begins(&medium, "disk") {
                    return Err(hinted("Media type must be DISK for disk devices"));
                }
                let mib = self.mib.ok_or_else(|| hinted("Missing the capacity param"))?;
                Ok(Job::Disk { path, mib, thin: self.thin })
            }
            (false, Device::Tape) => Ok(Job::Show { path, json: self.json }),
            (false, _) => Err(hinted("unknown the operation type")),
        }
    }
}

fn operation(value: &[u8]) -> Result<bool, Usage> {
    match value {
        b"new" => Ok(true),
        b"show" => Ok(false),
        other => Err(Usage::new(UNKNOWN_OPERATION, format_args!("tgtimg: unknown operation: {}", String::from_utf8_lossy(other)))),
    }
}

fn device(value: &[u8]) -> Result<Device, Usage> {
    match value {
        b"tape" => Ok(Device::Tape),
        b"cd" => Ok(Device::Disc),
        b"disk" => Ok(Device::Disk),
        other => Err(Usage::new(REFUSED, format_args!("tgtimg: unknown target type: {}", String::from_utf8_lossy(other)))),
    }
}

fn cartridge(medium: &[u8]) -> Result<Media, Usage> {
    let kinds = [("data", Media::Data), ("clean", Media::Clean), ("worm", Media::Worm)];
    let found = kinds.into_iter().find(|(word, _)| begins(medium, word)).map(|(_, media)| media);
    found.ok_or_else(|| hinted("Media type must be WORM, CLEAN or DATA for tape devices"))
}

/// Begins with `word`, in any case.
fn begins(text: &[u8], word: &str) -> bool {
    text.get(..word.len()).is_some_and(|front| front.eq_ignore_ascii_case(word.as_bytes()))
}

/// Decimal digits and nothing else: `10G` or `0x10` would not be what they look like.
fn size(value: &[u8]) -> Result<u32, Usage> {
    let bad = |why: BadNumber| Usage::with_hint(REFUSED, why.message('s', value), "tgtimg");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad(BadNumber::Invalid));
    }
    let number = value.iter().fold(0u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    u32::try_from(number).ok().filter(|_| number <= MIB_MAX).ok_or_else(|| bad(BadNumber::OutOfRange))
}

/// Command lines of help: what to write, and what it does.
pub(super) const USAGE: &[(&str, &str)] = &[
    ("--op new --device-type tape --barcode <text> --size <MiB> --type data|clean|worm --file <path>", "make a blank cartridge"),
    ("--op new --device-type cd --type dvd+r --file <path>", "make a blank disc"),
    ("--op new --device-type disk --type disk --size <MiB> --file <path> [--thin-provisioning]", "make a disk full of zeros"),
    ("--op show [--json] --file <path>", "list the blocks of a cartridge"),
];

/// `--help`.
pub fn help(version: &str) -> String {
    let mut out = format!("Linux SCSI Target image utility, version {version} (Scuzzy)\n\nUsage: tgtimg [OPTION]...\n\n");
    for (line, what) in USAGE {
        out.push_str(&format!("{line}\n\t{what}\n"));
    }
    out.push_str("\nOptions:\n");
    out.push_str(&flag_lines(FLAGS));
    out.push_str("\nA file that is there already is overwritten.\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    fn job(line: &str) -> Job {
        match parse(&words(line), "1").expect("accepted") {
            Parsed::Run(job) => job,
            Parsed::Print(text) => panic!("{text}"),
        }
    }

    fn refusal(line: &str) -> (String, u8) {
        let usage = parse(&words(line), "1").expect_err("refused");
        (usage.message.lines().next().unwrap_or_default().to_owned(), usage.status)
    }

    #[test]
    fn jobs() {
        let tape = Job::Tape { path: b"f".to_vec(), barcode: b"A".to_vec(), mib: 10, media: Media::Worm };
        assert_eq!(job("-o new -Y tape --barcode=A -s 010 -t WORMy -f f"), tape);
        assert_eq!(job("--op new -Y cd -t DVD+RW -f f"), Job::Disc { path: b"f".to_vec() });
        assert_eq!(job("--op new -Y disk -t disk -s 2 -f f -T"), Job::Disk { path: b"f".to_vec(), mib: 2, thin: true });
        assert_eq!(job("--op show --thin --json -f f"), Job::Show { path: b"f".to_vec(), json: true });
    }

    #[test]
    fn refusals_come_in_order() {
        let cases = [
            ("", "tgtimg: specify the operation type", 22),
            ("-o new", "tgtimg: specify a newly created file", 22),
            ("-o show -Y cd", "tgtimg: specify a newly created file", 22),
            ("-o show -Y cd -f x", "tgtimg: unknown the operation type", 22),
            ("-o delete -f x", "tgtimg: unknown operation: delete", 1),
            ("-Y bd -o new", "tgtimg: unknown target type: bd", 22),
            ("-o new -f x", "tgtimg: Missing media type: WORM, CLEAN or DATA", 22),
            ("-o new -t dat -f x", "tgtimg: Media type must be WORM, CLEAN or DATA for tape devices", 22),
            ("-o new -t data -f x", "tgtimg: Missing the barcode param", 22),
            ("-o new -t data -b x -f x", "tgtimg: Missing the capacity param", 22),
            ("-o new -Y disk -t foo -f x", "tgtimg: Media type must be DISK for disk devices", 22),
            ("-o new -Y cd -t cd -f x", "tgtimg: Media type must be DVD+R for cd devices", 22),
            ("extra", "tgtimg: unrecognized option 'extra'", 22),
            ("-Z", "tgtimg: invalid option -- 'Z'", 22),
            ("-f", "tgtimg: option requires an argument -- 'f'", 22),
            ("-o new --json -f x", "tgtimg: --json goes with --op show only", 22),
        ];
        for (line, message, status) in cases {
            assert_eq!(refusal(line), (message.to_owned(), status), "{line}");
        }
    }

    #[test]
    fn sizes_are_digits() {
        assert_eq!(size(b"2147483647").expect("the highest"), 2_147_483_647);
        for (text, why) in [("10G", "invalid"), ("0x10", "invalid"), ("-1", "invalid"), ("1.5", "invalid"), ("2147483648", "out of range")] {
            let usage = size(text.as_bytes()).expect_err("refused");
            assert_eq!(usage.message, format!("-s argument value '{text}' {why}\nTry `tgtimg --help' for more information.\n"));
            assert_eq!(usage.status, 22);
        }
        assert!(size(b"").is_err() && size(b"99999999999999999999999999").is_err());
    }

    #[test]
    fn help_names_every_option() {
        let text = help("1");
        assert!(FLAGS.iter().all(|flag| text.contains(&format!("--{}", flag.long))));
    }
}
