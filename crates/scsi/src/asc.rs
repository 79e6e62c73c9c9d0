//! Additional sense codes (SPC-6, annex of ASC and ASCQ assignments): one table, looked up by number.
//!
//! Names are T10's words. Three codes carry a number in the qualifier; they are ranges here and their names say `NN` where the number belongs.

mod table;

use table::ASSIGNED;

/// A code whose qualifier is a number.
struct Range {
    code: u8,
    first: u8,
    name: &'static str,
}

static RANGES: [Range; 3] = [
    Range { code: 0x40, first: 0x80, name: "Diagnostic failure on component NN" },
    Range { code: 0x4d, first: 0x00, name: "Tagged overlapped commands, task tag NN" },
    Range { code: 0x70, first: 0x00, name: "Decompression exception short algorithm id of NN" },
];

/// Name of an additional sense code and qualifier, `None` when not assigned. `NN` in a name stands for the qualifier.
pub fn name(code: u8, qualifier: u8) -> Option<&'static str> {
    let number = u16::from_be_bytes([code, qualifier]);
    if let Ok(at) = ASSIGNED.binary_search_by_key(&number, |&(number, _)| number) {
        return ASSIGNED.get(at).map(|&(_, name)| name);
    }
    RANGES.iter().find(|range| range.code == code && qualifier >= range.first).map(|range| range.name)
}

/// All pairs with a name of their own, ascending; the ranges are not among them.
pub fn assigned() -> impl Iterator<Item = (u16, &'static str)> {
    ASSIGNED.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_has_every_code_once() {
        assert!(ASSIGNED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(ASSIGNED.len(), 764);
        assert!(ASSIGNED.iter().all(|(_, name)| !name.is_empty()));
    }

    #[test]
    fn every_assigned_code_is_found() {
        for (number, name) in assigned() {
            let [code, qualifier] = number.to_be_bytes();
            assert_eq!(super::name(code, qualifier), Some(name));
        }
    }

    #[test]
    fn well_known_codes() {
        assert_eq!(name(0x00, 0x00), Some("No additional sense information"));
        assert!(name(0x0c, 0x02).is_some_and(|name| name.to_ascii_lowercase().contains("auto reallocation failed")));
        assert!(name(0x20, 0x00).is_some_and(|name| name.to_ascii_lowercase().contains("operation code")));
        assert_eq!(name(0xff, 0xff), None);
    }

    #[test]
    fn ranges_start_where_they_should() {
        assert_eq!(name(0x40, 0x00), Some("RAM failure"));
        assert_eq!(name(0x40, 0x7f), None);
        assert_eq!(name(0x40, 0x80), Some("Diagnostic failure on component NN"));
        assert_eq!(name(0x40, 0xff), Some("Diagnostic failure on component NN"));
        assert_eq!(name(0x4d, 0x00), Some("Tagged overlapped commands, task tag NN"));
        assert_eq!(name(0x70, 0x12), Some("Decompression exception short algorithm id of NN"));
    }
}
