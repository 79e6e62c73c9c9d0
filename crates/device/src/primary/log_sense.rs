//! LOG SENSE (SPC-6 6.8).

use alloc::vec::Vec;

use scsi::Outcome;

use super::log_pages::{self, Parameter, Values};
use crate::cdb::{bad_field, be16, bit, byte, reply};
use crate::device::Device;

/// DS: pages are not saved.
const NOT_SAVED: u8 = 0x80;
/// SPF: the header has a subpage code.
const HAS_SUBPAGE: u8 = 0x40;

/// Answers LOG SENSE. SP and the obsolete PPC are refused; a parameter pointer beyond the last parameter is, too.
pub(crate) fn log_sense(device: &Device, cdb: &[u8]) -> Outcome {
    if bit(cdb, 1, 0x01) {
        return bad_field(1, Some(0));
    }
    if bit(cdb, 1, 0x02) {
        return bad_field(1, Some(1));
    }
    let values = match byte(cdb, 2) >> 6 {
        0 => Values::Threshold,
        1 => Values::Cumulative,
        2 => Values::DefaultThreshold,
        _ => Values::DefaultCumulative,
    };
    let (page, subpage, pointer) = (byte(cdb, 2) & 0x3f, byte(cdb, 3), be16(cdb, 5));
    let body = match (list_of_pages(device, page, subpage), log_pages::parameters(device, page, subpage, values)) {
        (Some(_), _) if pointer != 0 => return bad_field(5, Some(7)),
        (Some(list), _) => list,
        (None, Some(mut parameters)) => {
            if subpage == 0 {
                device.log_thresholds.tell(page, values, &mut parameters);
            }
            match written(&parameters, pointer) {
                Some(body) => body,
                None => return bad_field(5, Some(7)),
            }
        }
        (None, None) => return if known(device, page) { bad_field(3, Some(7)) } else { bad_field(2, Some(5)) },
    };
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let subpages = if subpage == 0 { 0 } else { HAS_SUBPAGE };
    let mut data = Vec::from([NOT_SAVED | subpages | page, subpage, length[0], length[1]]);
    data.extend(body);
    reply(data, u32::from(be16(cdb, 7)))
}

fn known(device: &Device, page: u8) -> bool {
    log_pages::supported(device).any(|(it, _)| it == page)
}

/// Supported pages (00h and 3Fh), supported pages and subpages (the same with FFh), supported subpages of one page (FFh).
fn list_of_pages(device: &Device, page: u8, subpage: u8) -> Option<Vec<u8>> {
    match (page, subpage) {
        (0x00 | 0x3f, 0x00) => Some(log_pages::supported(device).filter(|it| it.1 == 0).map(|it| it.0).collect()),
        (0x00 | 0x3f, 0xff) => Some(log_pages::supported(device).flat_map(|(page, subpage)| [page, subpage]).collect()),
        (_, 0xff) if known(device, page) => {
            Some(log_pages::supported(device).filter(|it| it.0 == page).chain([(page, 0xff)]).flat_map(|(page, subpage)| [page, subpage]).collect())
        }
        _ => None,
    }
}

/// The parameters from `pointer` on, each with its header; `None` when none is left of those there are.
fn written(parameters: &[Parameter], pointer: u16) -> Option<Vec<u8>> {
    if pointer > parameters.last().map_or(0, |parameter| parameter.code) {
        return None;
    }
    let mut body = Vec::new();
    for parameter in parameters.iter().filter(|parameter| parameter.code >= pointer) {
        let code = parameter.code.to_be_bytes();
        let length = u8::try_from(parameter.value.len()).unwrap_or(u8::MAX);
        body.extend([code[0], code[1], parameter.control, length]);
        body.extend(parameter.value.iter().take(usize::from(length)));
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreFault;
    use crate::tests::bench::Bench;
    use scsi::{Asc, SenseKey};
    use std::vec;

    fn cdb(page: u8, subpage: u8, pointer: u8) -> [u8; 10] {
        [0x4d, 0, 0x40 | page, subpage, 0, 0, pointer, 0x40, 0, 0]
    }

    fn log(bench: &mut Bench, page: u8, subpage: u8) -> Vec<u8> {
        bench.good(&cdb(page, subpage, 0))
    }

    /// Code and value of the parameters of a page.
    fn parameters(bench: &mut Bench, page: u8, subpage: u8) -> Vec<(u16, Vec<u8>)> {
        let data = log(bench, page, subpage);
        assert_eq!(usize::from(be16(&data, 2)), data.len() - 4);
        let mut rest = &data[4..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let end = 4 + usize::from(rest[3]);
            found.push((be16(rest, 0), rest[4..end].to_vec()));
            rest = &rest[end..];
        }
        found
    }

    fn number(value: &[u8]) -> u64 {
        value.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    #[test]
    fn lists_of_pages() {
        let mut bench = Bench::disk(8);
        let pages = [0x00, 0x02, 0x03, 0x05, 0x06, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x15, 0x18, 0x19, 0x1a, 0x2f];
        assert_eq!(log(&mut bench, 0x00, 0x00)[4..], pages);
        assert_eq!(log(&mut bench, 0x3f, 0x00)[4..], pages);
        assert_eq!(log(&mut bench, 0x0d, 0xff), [0xcd, 0xff, 0, 8, 0x0d, 0x00, 0x0d, 0x01, 0x0d, 0x02, 0x0d, 0xff]);
        let all = log(&mut bench, 0x00, 0xff);
        assert_eq!(all[..8], [0xc0, 0xff, 0, u8::try_from(all.len() - 4).unwrap(), 0, 0, 0, 0xff]);
        assert!(all[4..].chunks(2).is_sorted());
    }

    #[test]
    fn every_listed_page_is_there_in_every_form() {
        let mut bench = Bench::disk(8);
        for pair in log(&mut bench, 0x00, 0xff)[4..].chunks(2) {
            for control in [0x00, 0x40, 0x80, 0xc0] {
                let data = bench.good(&[0x4d, 0, control | pair[0], pair[1], 0, 0, 0, 0x40, 0, 0]);
                assert_eq!((data[0] & 0x3f, data[1]), (pair[0], pair[1]));
                assert_eq!(usize::from(be16(&data, 2)), data.len() - 4, "{pair:02x?}");
            }
        }
    }

    #[test]
    fn fields_that_are_refused() {
        let mut bench = Bench::disk(8);
        let refused = |bench: &mut Bench, cdb: &[u8]| bench.sense(cdb, &[]);
        let bad = scsi::Sense::invalid_cdb_field;
        assert_eq!(refused(&mut bench, &[0x4d, 1, 0x42, 0, 0, 0, 0, 0, 99, 0]), bad(1, Some(0)));
        assert_eq!(refused(&mut bench, &[0x4d, 2, 0x42, 0, 0, 0, 0, 0, 99, 0]), bad(1, Some(1)));
        assert_eq!(refused(&mut bench, &cdb(0x01, 0, 0)), bad(2, Some(5)));
        assert_eq!(refused(&mut bench, &cdb(0x02, 1, 0)), bad(3, Some(7)));
        assert_eq!(refused(&mut bench, &cdb(0x02, 0, 7)), bad(5, Some(7)));
        assert_eq!(refused(&mut bench, &cdb(0x00, 0, 1)), bad(5, Some(7)));
        assert_eq!(bench.good(&cdb(0x02, 0, 6)), [0x82, 0, 0, 8, 0, 6, 0x20, 4, 0, 0, 0, 0]);
    }

    #[test]
    fn a_short_allocation_leaves_the_length() {
        let mut bench = Bench::disk(8);
        let whole = log(&mut bench, 0x03, 0);
        assert_eq!(bench.good(&[0x4d, 0, 0x43, 0, 0, 0, 0, 0, 6, 0]), whole[..6]);
        assert_eq!(bench.good(&[0x4d, 0, 0x43, 0, 0, 0, 0, 0, 0, 0]), []);
    }

    #[test]
    fn counters_follow_the_commands() {
        let mut bench = Bench::disk(64);
        bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 2, 0], &[1; 1024]);
        bench.run(&[0x2a, 8, 0, 0, 0, 0, 3, 0, 1, 0], &[1; 512]);
        bench.good(&[0x28, 0, 0, 0, 0, 0, 3, 0, 4, 0]);
        bench.faults.push_back(Some(StoreFault::Io { at: Some(512) }));
        assert_eq!(bench.refused(&[0x28, 0, 0, 0, 0, 8, 0, 0, 4, 0], &[]), 0x0003_1100);
        bench.good(&[0x2f, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
        assert_eq!(number(&parameters(&mut bench, 0x02, 0)[5].1), 1536);
        let reads = parameters(&mut bench, 0x03, 0);
        assert_eq!((number(&reads[5].1), number(&reads[6].1)), (2048, 1));
        assert_eq!(number(&parameters(&mut bench, 0x05, 0)[5].1), 2048);
        let general = &parameters(&mut bench, 0x19, 0)[0].1;
        let counts: Vec<u64> = general.chunks(8).take(4).map(number).collect();
        assert_eq!(counts, [1, 2, 3, 4]);
        let group = &parameters(&mut bench, 0x19, 3)[0].1;
        assert_eq!(group.chunks(8).take(4).map(number).collect::<Vec<_>>(), [1, 1, 1, 4]);
        assert_eq!(number(&parameters(&mut bench, 0x19, 0)[3].1[8..16]), 1, "a write with FUA");
        assert_eq!(number(&parameters(&mut bench, 0x19, 0x20)[2].1), 1, "and one without");
    }

    #[test]
    fn failed_blocks_are_pending_until_they_are_written() {
        let mut bench = Bench::disk(64);
        bench.faults.push_back(Some(StoreFault::Io { at: Some(512) }));
        bench.refused(&[0x28, 0, 0, 0, 0, 8, 0, 0, 4, 0], &[]);
        let pending = parameters(&mut bench, 0x15, 1);
        assert_eq!(pending, [(0, vec![0, 0, 0, 1]), (1, vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9])]);
        bench.run(&[0x2a, 0, 0, 0, 0, 9, 0, 0, 1, 0], &[1; 512]);
        assert_eq!(parameters(&mut bench, 0x15, 1), [(0, vec![0; 4])]);
    }

    #[test]
    fn faults_that_others_decided_count_too() {
        let mut bench = Bench::disk(64);
        let cdb = [0x2a, 0, 0, 0, 0, 5, 0, 0, 1, 0];
        let medium = scsi::Sense::new(SenseKey::MEDIUM_ERROR, Asc::WRITE_ERROR).with_information(5);
        for sense in [medium, scsi::Sense::new(SenseKey::HARDWARE_ERROR, Asc::INTERNAL_TARGET_FAILURE)] {
            bench.ended(&cdb, &Outcome::check(sense), 0);
        }
        assert_eq!(number(&parameters(&mut bench, 0x02, 0)[6].1), 1);
        assert_eq!(number(&parameters(&mut bench, 0x06, 0)[0].1), 1);
        assert_eq!(parameters(&mut bench, 0x15, 1).len(), 2);
    }

    #[test]
    fn starts_and_power_on_time() {
        let mut bench = Bench::removable(8);
        bench.good(&[0x1b, 0, 0, 0, 0, 0]);
        bench.good(&[0x1b, 0, 0, 0, 1, 0]);
        bench.good(&[0x1b, 0, 0, 0, 3, 0]);
        let cycles = parameters(&mut bench, 0x0e, 0);
        assert_eq!((number(&cycles[3].1), number(&cycles[5].1)), (2, 1));
        bench.device.tick(7_000_000_000, true);
        bench.device.tick(7_000_000_000 + 125 * 60_000_000_000, true);
        assert_eq!(parameters(&mut bench, 0x15, 0)[0].1[..4], [0, 0, 0, 125]);
        assert_eq!(number(&parameters(&mut bench, 0x19, 0)[1].1), 125 * 60_000, "idle all the time");
        bench.device.tick(7_000_000_000 + 126 * 60_000_000_000, false);
        assert_eq!(number(&parameters(&mut bench, 0x19, 0)[1].1), 125 * 60_000, "but not while a command runs");
    }

    #[test]
    fn thresholds_and_defaults() {
        let mut bench = Bench::disk(8);
        bench.good(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let read = |bench: &mut Bench, control: u8| bench.good(&[0x4d, 0, control << 6 | 3, 0, 0, 0, 5, 0, 99, 0])[8..16].to_vec();
        assert_eq!(number(&read(&mut bench, 1)), 512);
        assert_eq!(number(&read(&mut bench, 3)), 0);
        assert_eq!(number(&read(&mut bench, 0)), u64::MAX);
    }
}
