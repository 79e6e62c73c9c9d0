//! Replays what the fuzzer knows about commands and their parameter data.

#[path = "../../../fuzz/harness/cdb.rs"]
mod harness;

use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/cdb")
}

#[test]
fn corpus_holds() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).expect("the corpus is there") {
        let path = entry.expect("the corpus can be read").path();
        println!("{}", path.display());
        harness::run(&std::fs::read(&path).expect("a file of the corpus can be read"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

/// CDB in hexadecimal, bytes of data-out, bytes of data-in, parameter data in hexadecimal.
const COMMANDS: &[(&str, u16, u16, &str)] = &[
    ("000000000000", 0, 0, ""),
    ("030100ff0000", 0, 255, ""),
    ("120000006000", 0, 96, ""),
    ("120100006000", 0, 96, ""),
    ("12018300ff00", 0, 255, ""),
    ("1201b0004000", 0, 64, ""),
    ("1201b2004000", 0, 64, ""),
    ("1a003f00ff00", 0, 255, ""),
    ("5a083fff000000010000", 0, 256, ""),
    ("151000001800", 24, 0, "0000000008120400ffff0000ffffffff8014000000000000"),
    ("551000000000000014000000", 20, 0, "00000000000000000a0a020000000000000000000000"),
    ("25000000000000000000", 0, 8, ""),
    ("9e100000000000000000000000200000", 0, 32, ""),
    ("9e120000000000000000000000400000", 0, 64, ""),
    ("080000000100", 0, 512, ""),
    ("0a0000000100", 512, 0, "ff"),
    ("28000000000800000800", 0, 4096, ""),
    ("2a080000000800000800", 4096, 0, "0102030405"),
    ("a80000000010000000080000", 0, 4096, ""),
    ("aa0000000010000000080000", 4096, 0, ""),
    ("88000000000000000000000000080000", 0, 4096, ""),
    ("8a080000000000000000000000080000", 4096, 0, ""),
    ("2f000000000000000800", 0, 0, ""),
    ("2f020000000000000800", 4096, 0, ""),
    ("2f060000000000000800", 512, 0, ""),
    ("2e020000000000000800", 4096, 0, ""),
    ("8f000000000000000000000000080000", 0, 0, ""),
    ("35000000000000000000", 0, 0, ""),
    ("91020000000000000000000000100000", 0, 0, ""),
    ("34000000000000000800", 0, 0, ""),
    ("42000000000000001800", 24, 0, "00160010000000000000000000000008000000100000000000"),
    ("41000000000000000800", 512, 0, "aa"),
    ("41080000000000001000", 512, 0, ""),
    ("93010000000000000000000000200000", 0, 0, ""),
    ("89000000000000000000000000010000", 1024, 0, ""),
    ("1b0000000100", 0, 0, ""),
    ("1b0000000200", 0, 0, ""),
    ("1e0000000100", 0, 0, ""),
    ("160000000000", 0, 0, ""),
    ("170000000000", 0, 0, ""),
    ("5e000000000000020000", 0, 512, ""),
    ("5e010000000000020000", 0, 512, ""),
    ("5e020000000000020000", 0, 512, ""),
    ("5f000000000000001800", 24, 0, "00000000000000000000000000001234000000000000000000"),
    ("5f010300000000001800", 24, 0, "00000000000012340000000000000000000000000000000000"),
    ("5f020300000000001800", 24, 0, "00000000000012340000000000000000000000000000000000"),
    ("5f030000000000001800", 24, 0, "00000000000012340000000000000000000000000000000000"),
    ("5f040500000000001800", 24, 0, "00000000000012340000000000001234000000000000000000"),
    ("5f060000000000001800", 24, 0, "00000000000012340000000000004321000000000000000000"),
    ("a0000200000000000100000000", 0, 256, ""),
    ("a30c8000000000000400000000", 0, 1024, ""),
    ("a30c0112000000000040000000", 0, 64, ""),
    ("a30d8000000000000010000000", 0, 16, ""),
    ("ff0000000000", 0, 0, ""),
    ("5e030000000000040000", 0, 1024, ""),
    ("5f000000000000004000", 64, 0, SPEC_I_PT),
    ("5f050100000000001800", 24, 0, "00000000000056780000000000001234000000000000000000"),
    ("5f070000000000003c00", 60, 0, REGISTER_AND_MOVE),
    ("5f080100000000001800", 24, 0, "00000000000000000000000000001234000000000000000000"),
    ("56000000000000000000", 0, 0, ""),
    ("57000000000000000000", 0, 0, ""),
    ("a30a0000000000000400000000", 0, 1024, ""),
    ("a32a0000000000000400000000", 0, 1024, ""),
    ("a40a00000000000000080000", 8, 0, "0000000002000001"),
    ("151000001000", 16, 0, "000000000a0a22122040000000000200"),
    ("830000000000000000000000002c0000", 44, 0, EXTENDED_COPY_LID1),
    ("830100000000000000000000006c0000", 108, 0, EXTENDED_COPY),
    ("83100000000000000009000000200000", 32, 0, "001e000000000000000000000000001000000000000000040000000400000000"),
    ("84070000000900000000000004000000", 0, 1024, ""),
    ("84050000000300000000000004000000", 0, 1024, ""),
    ("84000500000000000000000004000000", 0, 1024, ""),
    ("84030000000000000000000004000000", 0, 1024, ""),
    ("84040500000000000000000004000000", 0, 1024, ""),
    ("84080000000000000000000004000000", 0, 1024, ""),
    ("831c0000000300000000000000000000", 0, 0, ""),
    ("12018f00ff00", 0, 255, ""),
];

/// Blocks 0 to 3 of the unit to 8 to 11, with list identifier 5.
const EXTENDED_COPY_LID1: &str = "05000000000000000000001c0000000002000018ffffffff0000000400000000000000000000000000000008";

/// The same with IMMED and list identifier 3, by a designator.
const EXTENDED_COPY: &str = "01000020000000000000000000000001ff000000000000030000000000000000000000000000000000000020001c0000e40000000103001060606060606060606060606060606060000000000000000002000018000000000000000400000000000000000000000000000008";

/// Place of READ FULL STATUS in the list; the rest of the reservations follow.
const READ_FULL_STATUS: usize = 54;

/// REGISTER of another initiator port with key 5678h.
const SPEC_I_PT: &str =
    "000000000000000000000000000056780000000008000000000000244500002069716e2e696e69746961746f72312c692c307830303030303030303030303000";

/// The holder (key 1234h) hands the reservation over, and leaves.
const REGISTER_AND_MOVE: &str =
    "0000000000001234000000000000567800020001000000244500002069716e2e696e69746961746f72312c692c307830303030303030303030303000";

/// `cargo test -p target --test corpus -- --ignored` writes the seeds anew.
#[test]
#[ignore = "changes files"]
fn write_seeds() {
    // Small blocks, large blocks, three terabytes, thin, read-only, removable, controller, late store.
    for choice in [0x00, 0x05, 0x16, 0x0c, 0x20, 0x44, 0x57] {
        let mut seed = vec![choice];
        // Three unit attentions first.
        for place in 0..3u8 {
            seed.extend_from_slice(&step(place << 4, &COMMANDS[0]));
        }
        for (at, command) in COMMANDS.iter().enumerate() {
            let attribute = if at % 5 == 0 { 0x40 } else { 0 };
            seed.extend_from_slice(&step(attribute | u8::try_from(at % 3).unwrap_or(0) << 4, command));
            if choice & 0x40 != 0 {
                seed.extend_from_slice(&[9, 0, 0, 9, 1, 0, 9, 0, 0]);
            }
        }
        write(&format!("all-{choice:02x}"), &seed);
    }
    let read = step(0, &COMMANDS[16]);
    let write_10 = step(0x10, &COMMANDS[17]);
    let compare = step(0x20, &COMMANDS[34]);
    let around =
        |steps: &[&[u8]]| [&[0x44][..], &step(0, &COMMANDS[0]), &step(0x10, &COMMANDS[0]), &step(0x20, &COMMANDS[0]), &steps.concat()].concat();
    write("abort", &around(&[&read, &write_10, &[8, 0, 2, 0x18, 1, 0, 8, 4, 0], &[9, 0, 0xf2]]));
    write("reset", &around(&[&read, &write_10, &compare, &[15, 9, 0, 0, 9, 0, 0]]));
    write("rules", &around(&[&[12, 2, 12, 1, 12, 3], &write_10, &read, &[11, 20, 12, 0xff, 12, 0xfe]]));
    write("drop", &around(&[&[12, 8], &read, &write_10, &[13]]));
    write("failures", &around(&[&write_10, &[9, 0, 0, 9, 0, 0xf0], &step(0, &COMMANDS[27]), &[9, 0, 0xf3], &step(0, &COMMANDS[27])]));
    write("atomic", &around(&[&compare, &write_10, &read, &compare, &[9, 0, 0, 9, 1, 0, 9, 0, 0, 9, 0, 0]]));
    let naca = |(cdb, out, into, data): &(&str, u16, u16, &str)| step(0, &(&format!("{}04", &cdb[..cdb.len() - 2]), *out, *into, data));
    let late_read = step(0x10, &COMMANDS[16]);
    let fails = naca(&("28000fffffff00000100", 0, 512, ""));
    let contingent = step(0xc0, &COMMANDS[0]);
    write("contingent", &around(&[&late_read, &fails, &contingent, &read, &step(0x10, &COMMANDS[0]), &[9, 0, 0, 8, 2, 0, 9, 0, 0, 9, 0, 0]]));
    let command = |head: u8, at: usize| step(head, &COMMANDS[READ_FULL_STATUS + at]);
    write("reservations", &around(&[&command(0, 1), &[9, 0, 0], &command(0, 0), &late_read, &command(0, 2), &[9, 1, 0, 9, 0, 0, 9, 0, 0]]));
    write("port-groups", &around(&[&command(0, 7), &command(0, 9), &[9, 0, 0], &read, &command(0x10, 8)]));
    write("settings", &around(&[&[14, 10, 1], &read, &[14, 10, 0x82], &read, &[14, 0, 0, 14, 1, 1, 14, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8], &write_10]));
}

/// A command as the harness reads it.
fn step(head: u8, (cdb, data_out, data_in, parameters): &(&str, u16, u16, &str)) -> Vec<u8> {
    let (cdb, parameters) = (bytes(cdb), bytes(parameters));
    let len = match cdb[0] {
        0x00..=0x1f => 6,
        0x20..=0x5f => 10,
        0xa0..=0xbf => 12,
        _ => 16,
    };
    let mut step = vec![head, 0];
    step.extend_from_slice(&data_out.to_be_bytes());
    step.extend_from_slice(&data_in.to_be_bytes());
    step.push(u8::try_from(parameters.len()).expect("parameters are short"));
    step.extend(cdb.into_iter().chain(std::iter::repeat(0)).take(len));
    step.extend_from_slice(&parameters);
    step
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).expect("hexadecimal digits"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits")).collect()
}

fn write(name: &str, seed: &[u8]) {
    println!("{name}");
    std::fs::write(folder().join(format!("seed-{name}")), seed).expect("a seed can be written");
    harness::run(seed);
}
