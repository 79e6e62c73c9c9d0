//! `scuzzy explain`: bytes in words.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::arguments::Explain;

/// Runs the command.
pub fn run(options: &Explain) -> Result<ExitCode> {
    let bytes = hex(&options.hex)?;
    let text = match options.kind.as_str() {
        "cdb" => scsi::explain::cdb(&bytes, scsi::DeviceType(options.device_type)),
        "sense" => scsi::explain::sense(&bytes),
        "asc" => asc(&bytes)?,
        _ => iscsi::pdu::describe(&bytes),
    };
    println!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// `0c02`, or `0c` alone for qualifier 0.
fn asc(bytes: &[u8]) -> Result<String> {
    let number = match bytes {
        [code] => u16::from(*code) << 8,
        [code, qualifier] => u16::from_be_bytes([*code, *qualifier]),
        _ => bail!("an additional sense code has two bytes, for example 0c02"),
    };
    Ok(format!("{number:04x}: {}", scsi::explain::asc(number)))
}

/// Hex digits with blanks, colons, commas, dashes and `0x` in between.
fn hex(words: &[String]) -> Result<Vec<u8>> {
    let mut digits = String::new();
    for word in words.iter().flat_map(|word| word.split([' ', ':', ',', '-', '\t', '\n'])) {
        let word = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        // A single digit between separators is a byte of its own.
        if word.len() % 2 == 1 && words.len() + digits.len() > 1 {
            digits.push('0');
        }
        digits.push_str(word);
    }
    if let Some(bad) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        bail!("`{bad}` is no hex digit");
    }
    if digits.is_empty() || digits.len() % 2 == 1 {
        bail!("{} hex digit(s) make no whole bytes", digits.len());
    }
    let byte = |pair: &[u8]| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).unwrap_or(0);
    Ok(digits.as_bytes().chunks(2).map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[&str]) -> Option<Vec<u8>> {
        hex(&text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).ok()
    }

    #[test]
    fn hex_in_all_spellings() {
        assert_eq!(read(&["2a00"]), Some(vec![0x2a, 0]));
        assert_eq!(read(&["2a", "00", "f"]), Some(vec![0x2a, 0, 0x0f]));
        assert_eq!(read(&["0x2a,0x00"]), Some(vec![0x2a, 0]));
        assert_eq!(read(&["2a:00"]), Some(vec![0x2a, 0]));
        assert_eq!(read(&["2g"]), None);
        assert_eq!(read(&["2a0"]), None);
        assert_eq!(read(&[""]), None);
    }
}
