//! Protection information, from the word of a request to the wire and the side file.

use std::path::PathBuf;

use admin::request::{Request, UnitNew};
use iscsi::initiator::Command;

use crate::stub::house::{BYTES, Host, House, outcome};
use crate::stub::number;

const GOOD: (u8, u8, u16) = (0, 0, 0);
const GUARD_CHECK_FAILED: (u8, u8, u16) = (2, 0xb, 0x1001);
/// CRC of the T10 DIF polynomial over 512 bytes of zeros.
const GUARD_OF_ZEROS: u16 = 0;

/// An image and its side, gone at the end.
struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Image {
        let path = std::env::temp_dir().join(format!("scuzzy-{name}-{}.img", std::process::id()));
        std::fs::File::create(&path).and_then(|file| file.set_len(BYTES)).expect("an image");
        Image(path)
    }

    fn unit(&self, flags: Option<&str>) -> Request {
        let path = Some(self.0.to_string_lossy().into_owned());
        Request::UnitNew(UnitNew { tid: 1, lun: 2, path, bstype: Some("rdwr".into()), bsoflags: flags.map(Into::into), ..UnitNew::default() })
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Whether they are still there does not matter.
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(store::protected::side_path(&self.0));
    }
}

/// A READ(16) or WRITE(16) of one block of LUN 2, with RDPROTECT or WRPROTECT 001b when `protect`.
fn cdb(opcode: u8, lba: u8, protect: bool) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[9], cdb[13]) = (opcode, u8::from(protect) << 5, lba, 1);
    cdb
}

fn run(host: &mut Host, command: Command) -> ((u8, u8, u16), Vec<u8>) {
    loop {
        let tag = host.submit(command.clone());
        let done = host.done(tag);
        // Unit attentions of a fresh unit.
        if outcome(&done).1 != 6 {
            return (outcome(&done), done.data_in);
        }
    }
}

fn read(host: &mut Host, lba: u8) -> ((u8, u8, u16), Vec<u8>) {
    run(host, Command::new(2, &cdb(0x88, lba, true)).reading(520))
}

fn protected_block(byte: u8, guard: u16, reference: u32) -> Vec<u8> {
    let mut data = vec![byte; 512];
    data.extend(guard.to_be_bytes());
    data.extend([0, 0]);
    data.extend(reference.to_be_bytes());
    data
}

#[test]
fn commands_of_32_bytes_are_reported_with_their_whole_map() {
    let house = House::new();
    house.done(crate::stub::house::disk(1, 2));
    let mut host = house.host();
    // ORWRITE(32) by opcode and service action (REPORTING OPTIONS 010b).
    let cdb = [0xa3, 0x0c, 2, 0x7f, 0, 0x0e, 0, 0, 1, 0, 0, 0];
    let (status, data) = run(&mut host, Command::new(2, &cdb).reading(256));
    assert_eq!((status, &data[..5], data.len()), (GOOD, &[0, 3, 0, 32, 0x7f][..], 36));
    drop(host);
    house.end();
}

#[test]
fn a_unit_with_protection_carries_checks_and_keeps_it() {
    let image = Image::new("protection");
    let house = House::new();
    house.done(image.unit(Some("protection-1")));
    let mut host = house.host();
    let mut capacity = [0; 16];
    (capacity[0], capacity[1], capacity[13]) = (0x9e, 0x10, 32);
    let (status, data) = run(&mut host, Command::new(2, &capacity).reading(32));
    assert_eq!((status, data[12] & 0x0f), (GOOD, 1), "PROT_EN, P_TYPE of type 1");

    let (status, data) = read(&mut host, 3);
    assert_eq!((status, &data[512..]), (GOOD, &[0xff; 8][..]), "what was never written has none");
    assert_eq!(run(&mut host, Command::new(2, &cdb(0x8a, 3, false)).writing(vec![0; 512])).0, GOOD);
    assert_eq!(read(&mut host, 3), (GOOD, protected_block(0, GUARD_OF_ZEROS, 3)), "the device makes what was not sent");
    let wrong = Command::new(2, &cdb(0x8a, 3, true)).writing(protected_block(7, GUARD_OF_ZEROS, 3));
    assert_eq!(run(&mut host, wrong).0, GUARD_CHECK_FAILED);
    assert_eq!(read(&mut host, 3), (GOOD, protected_block(0, GUARD_OF_ZEROS, 3)), "and nothing was written");

    drop(host);
    house.done(Request::UnitDelete { tid: 1, lun: 2, force: true });
    let refused = house.ask(image.unit(None));
    assert!(refused.as_ref().is_err_and(|failure| failure.detail.contains("protection-1")), "{refused:?}");
    assert_eq!(number(&house.ask(image.unit(Some("protection-4")))), 17);
    house.done(image.unit(Some("protection-1")));
    let mut host = house.host();
    assert_eq!(read(&mut host, 3), (GOOD, protected_block(0, GUARD_OF_ZEROS, 3)), "it is there again");
    drop(host);
    house.end();
}

/// EXTENDED COPY of one block of LUN 2 to another.
fn copy(from: u8, to: u8) -> Command {
    let mut list = vec![0; 16 + 28];
    list[11] = 28;
    list[16..24].copy_from_slice(&[2, 0, 0, 0x18, 0xff, 0xff, 0xff, 0xff]);
    (list[27], list[35], list[43]) = (1, from, to);
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x83, 44);
    Command::new(2, &cdb).writing(list)
}

#[test]
fn a_copy_checks_protection_at_its_source_and_makes_it_anew() {
    let image = Image::new("protection-copy");
    let house = House::new();
    house.done(image.unit(Some("protection-1")));
    let mut host = house.host();
    assert_eq!(run(&mut host, Command::new(2, &cdb(0x8a, 3, true)).writing(protected_block(0, GUARD_OF_ZEROS, 3))).0, GOOD);
    assert_eq!(run(&mut host, copy(3, 40)).0, GOOD);
    assert_eq!(read(&mut host, 40), (GOOD, protected_block(0, GUARD_OF_ZEROS, 40)), "with the reference tag of its new place");
    // WRPROTECT 011b: whatever is sent is kept, unchecked.
    let mut unchecked = cdb(0x8a, 5, false);
    unchecked[1] = 3 << 5;
    assert_eq!(run(&mut host, Command::new(2, &unchecked).writing(protected_block(7, 0xbad0, 5))).0, GOOD);
    let tag = host.submit(copy(5, 41));
    let done = host.done(tag);
    assert_eq!(outcome(&done), (2, 0xa, 0x0d01));
    let forwarded = done.sense.get(19..).expect("the source's status and sense");
    assert_eq!((done.sense[18], forwarded[2] & 15, &forwarded[12..14]), (2, 0xb, &[0x10, 0x01][..]), "{:02x?}", done.sense);
    assert_eq!(read(&mut host, 41), (GOOD, [vec![0; 512], vec![0xff; 8]].concat()), "and nothing was written");
    drop(host);
    house.end();
}
