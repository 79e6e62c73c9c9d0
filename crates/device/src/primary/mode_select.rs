//! MODE SELECT(6) and (10) (SPC-6 6.9, 6.10). Nothing is changed unless the whole list is right.

use alloc::vec::Vec;

use scsi::planted::{Bug, is_planted};
use scsi::{Asc, Outcome, Sense};

use super::mode_pages::{ModePage, ModePages};
use super::mode_sense::block_descriptor;
use super::{control, duration, exceptions, is_six};
use crate::cdb::{bad_field, be16, be32, be64, bit, byte, fail};
use crate::device::{Device, MODE_PARAMETERS_CHANGED};
use crate::disk::fault::flush_fault;
use crate::operation::{Request, Step, StoreOp, StoreResult};

/// A running MODE SELECT.
#[derive(Debug)]
pub(crate) struct ModeSelect {
    six: bool,
    len: u32,
    nexus: u64,
    /// The list, while the cache is written out: it is read again then, since another MODE SELECT may have ended meanwhile.
    waiting: Vec<u8>,
}

/// PF must be one, SP and RTD zero: nothing can be saved.
pub(super) fn check(request: &Request<'_>) -> Result<(), Outcome> {
    let flags = byte(request.cdb, 1);
    if flags & 0x10 == 0 {
        return Err(bad_field(1, Some(4)));
    }
    if flags & 0x01 != 0 {
        return Err(bad_field(1, Some(0)));
    }
    if flags & 0x02 != 0 {
        return Err(bad_field(1, Some(1)));
    }
    if parameter_list_length(request.cdb) > request.data_out {
        return Err(Outcome::check(length_error()));
    }
    Ok(())
}

/// First step; an empty list is no error.
pub(super) fn begin(request: &Request<'_>) -> Result<(ModeSelect, Step), Outcome> {
    let len = parameter_list_length(request.cdb);
    if len == 0 {
        return Err(Outcome::good(0));
    }
    if len > request.data_out {
        return Err(Outcome::check(length_error()));
    }
    let command = ModeSelect { six: is_six(request.cdb), len, nexus: request.nexus, waiting: Vec::new() };
    Ok((command, Step::Fetch { len, inline: true }))
}

fn parameter_list_length(cdb: &[u8]) -> u32 {
    if is_six(cdb) { u32::from(byte(cdb, 4)) } else { u32::from(be16(cdb, 7)) }
}

fn length_error() -> Sense {
    Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)
}

/// INVALID FIELD IN PARAMETER LIST at byte `at`.
fn bad_parameter(at: usize, leftmost: Option<u8>) -> Sense {
    Sense::invalid_parameter_field(u16::try_from(at).unwrap_or(u16::MAX), leftmost)
}

impl ModeSelect {
    /// The list is here: check all of it, then apply all of it.
    pub(crate) fn fetched(&mut self, device: &mut Device, data: &[u8]) -> Step {
        let data = &data[..data.len().min(usize::try_from(self.len).unwrap_or(usize::MAX))];
        let pages = match parse(device, self.six, data) {
            Ok(pages) => pages,
            Err(sense) => return fail(sense, self.len),
        };
        // Switching the cache off promises that what it held is durable.
        if device.modes.write_cache_enabled() && !pages.write_cache_enabled() && device.is_ready() && !device.read_only() {
            self.waiting = Vec::from(data);
            return Step::Store(StoreOp::Flush { offset: 0, len: 0 });
        }
        self.apply(device, pages)
    }

    /// The cache is written out, or could not be: then it stays on.
    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        if let Err(fault) = result {
            return fail(flush_fault(device, 0, fault), self.len);
        }
        match parse(device, self.six, &self.waiting) {
            Ok(pages) => self.apply(device, pages),
            Err(sense) => fail(sense, self.len),
        }
    }

    fn apply(&self, device: &mut Device, pages: ModePages) -> Step {
        if device.modes != pages {
            device.modes = pages;
            device.modes_changed();
            if !is_planted(Bug::AttentionDropped) {
                device.notify(MODE_PARAMETERS_CHANGED, Some(self.nexus));
            }
        }
        Step::Finish(Outcome::good(self.len))
    }
}

/// The pages as the list wants them.
fn parse(device: &Device, six: bool, data: &[u8]) -> Result<ModePages, Sense> {
    let mut at = check_header(device, six, data)?;
    let mut pages = device.modes.clone();
    while at < data.len() {
        at = parse_page(&mut pages, data, at)?;
    }
    Ok(pages)
}

/// Header and block descriptor. Returns the offset of the first page.
fn check_header(device: &Device, six: bool, data: &[u8]) -> Result<usize, Sense> {
    let (header, medium_type) = if six { (4, 1) } else { (8, 2) };
    if data.len() < header {
        return Err(length_error());
    }
    // MODE DATA LENGTH is reserved here; the device-specific byte is ignored.
    if let Some(at) = data[..=medium_type].iter().position(|&byte| byte != 0) {
        return Err(bad_parameter(at, Some(7)));
    }
    let long = !six && bit(data, 4, 0x01);
    let (length, at) = if six { (u16::from(data[3]), 3) } else { (be16(data, 6), 6) };
    if length != 0 && length != if long { 16 } else { 8 } {
        return Err(bad_parameter(at, Some(7)));
    }
    let end = header + usize::from(length);
    if data.len() < end {
        return Err(length_error());
    }
    check_block_descriptor(device, long, &data[header..end], header)?;
    Ok(end)
}

/// The medium cannot be reformatted: block length and number of blocks must be what they are. A zero or all-ones number means the same.
fn check_block_descriptor(device: &Device, long: bool, sent: &[u8], at: usize) -> Result<(), Sense> {
    if sent.is_empty() {
        return Ok(());
    }
    let current = block_descriptor(device, long);
    let number_len = if long { 8 } else { 4 };
    let unchanged = if long { matches!(be64(sent, 0), 0 | u64::MAX) } else { matches!(be32(sent, 0), 0 | u32::MAX) };
    if !unchanged && sent[..number_len] != current[..number_len] {
        return Err(bad_parameter(at, Some(7)));
    }
    // Byte 4 of the short form belongs to no field in use; the comparison covers it and the length.
    match (number_len..sent.len()).find(|&place| sent[place] != current[place]) {
        Some(place) => Err(bad_parameter(at + place, Some(7))),
        None => Ok(()),
    }
}

/// One page at `at`; returns the offset of the next.
fn parse_page(pages: &mut ModePages, data: &[u8], at: usize) -> Result<usize, Sense> {
    let first = byte(data, at);
    if first & 0x80 != 0 {
        return Err(bad_parameter(at, Some(7)));
    }
    let has_subpage = first & 0x40 != 0;
    let header = if has_subpage { 4 } else { 2 };
    if data.len() - at < header {
        return Err(length_error());
    }
    let (subpage, length) = if has_subpage { (data[at + 1], be16(data, at + 2)) } else { (0, u16::from(data[at + 1])) };
    if has_subpage && subpage == 0 {
        return Err(bad_parameter(at + 1, Some(7)));
    }
    let Some(page) = pages.find_mut(first & 0x3f, subpage) else {
        return Err(bad_parameter(at, Some(5)));
    };
    if usize::from(length) != page.current.len() {
        return Err(bad_parameter(at + header - if has_subpage { 2 } else { 1 }, Some(7)));
    }
    let start = at + header;
    let end = start + usize::from(length);
    let Some(values) = data.get(start..end) else {
        return Err(length_error());
    };
    change(page, values, start)?;
    Ok(end)
}

/// Puts `values` in place when only changeable bits differ; otherwise points at the leftmost bit that may not.
fn change(page: &mut ModePage, values: &[u8], start: usize) -> Result<(), Sense> {
    for (place, ((&new, &old), &changeable)) in values.iter().zip(&page.current).zip(&page.changeable).enumerate() {
        let wrong = (new ^ old) & !changeable;
        if wrong != 0 {
            let leftmost = u8::try_from(7 - wrong.leading_zeros()).ok();
            return Err(bad_parameter(start + place, leftmost));
        }
    }
    let refused = match (page.page, page.subpage) {
        (exceptions::PAGE, 0) => exceptions::acceptable(values).err().map(|place| (place, 7)),
        (control::PAGE, 0) => control::acceptable(values).err(),
        (duration::PAGE, subpage @ (duration::T2A | duration::T2B)) => duration::acceptable(subpage, values).err(),
        _ => None,
    };
    if let Some((place, bit)) = refused {
        return Err(bad_parameter(start + place, Some(bit)));
    }
    page.current = Vec::from(values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::Bench;
    use crate::{Notice, Parameter, StoreFault};
    use scsi::{SenseFormat, Status};
    use std::vec;

    const CACHE_OFF: [u8; 20] = [0x08, 0x12, 0x10, 0x00, 0xff, 0xff, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x80, 0x14, 0, 0, 0, 0, 0, 0];

    fn control(first: u8, protect: u8, abort: u8) -> [u8; 12] {
        [0x0a, 0x0a, first, 0x10, protect, abort, 0, 0, 0, 0, 0x02, 0x00]
    }

    /// MODE SELECT(6) with an empty header and these pages.
    fn select(bench: &mut Bench, pages: &[u8]) -> Result<(), Sense> {
        let list = [&[0, 0, 0, 0], pages].concat();
        let (outcome, _) = bench.run(&[0x15, 0x10, 0, 0, u8::try_from(list.len()).unwrap(), 0], &list);
        if outcome.status == Status::GOOD {
            assert_eq!(outcome.data_out, u32::try_from(list.len()).unwrap());
        }
        outcome.sense.map_or(Ok(()), Err)
    }

    fn bad(at: u16, bit: u8) -> Result<(), Sense> {
        Err(Sense::invalid_parameter_field(at, Some(bit)))
    }

    #[test]
    fn the_cache_is_written_out_before_it_is_off() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, &CACHE_OFF), Ok(()));
        assert_eq!(bench.ops, [StoreOp::Flush { offset: 0, len: 0 }]);
        assert!(!bench.device.modes.write_cache_enabled());
        assert_eq!(bench.device.poll_notice(), Some(Notice { asc: Asc(0x2a01), except: Some(1) }));
        bench.device.reset();
        assert!(bench.device.modes.write_cache_enabled());
    }

    #[test]
    fn a_cache_that_cannot_be_written_out_stays_on() {
        let mut bench = Bench::disk(8);
        bench.faults.push_back(Some(StoreFault::Io { at: None }));
        assert_eq!(select(&mut bench, &CACHE_OFF).map_err(|sense| sense.asc), Err(Asc::WRITE_ERROR));
        assert!(bench.device.modes.write_cache_enabled());
        assert_eq!(bench.device.poll_notice(), None);
    }

    #[test]
    fn control_bits_take_effect() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, &control(0x06, 0x08, 0x40)), Ok(()));
        assert_eq!(bench.device.sense_format(), SenseFormat::Descriptor);
        assert!(bench.device.task_aborted_status());
        assert!(bench.device.view().swp);
        assert_eq!(bench.refused(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512]), 0x0007_2700);
        assert_eq!(select(&mut bench, &control(0x02, 0, 0)), Ok(()));
        bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512]);
        assert_eq!(bench.device.sense_format(), SenseFormat::Fixed);
    }

    #[test]
    fn the_administrators_sense_format_outlives_a_reset() {
        let mut bench = Bench::disk(8);
        bench.device.set(Parameter::SenseFormat(SenseFormat::Descriptor)).unwrap();
        bench.device.reset();
        assert_eq!(bench.device.sense_format(), SenseFormat::Descriptor);
    }

    #[test]
    fn nothing_changed_tells_nobody() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, &control(0x02, 0, 0)), Ok(()));
        assert_eq!(bench.device.poll_notice(), None);
    }

    #[test]
    fn an_error_anywhere_changes_nothing() {
        let mut bench = Bench::disk(8);
        let pages = [&CACHE_OFF[..], &control(0x02, 0, 0x01)].concat();
        assert_eq!(select(&mut bench, &pages), bad(4 + 20 + 5, 0));
        assert!(bench.device.modes.write_cache_enabled());
        assert!(bench.ops.is_empty());
    }

    #[test]
    fn pointers_at_wrong_fields() {
        let mut bench = Bench::disk(8);
        assert_eq!(select(&mut bench, &[0x8a, 0x0a]), bad(4, 7), "PS");
        assert_eq!(select(&mut bench, &[0x03, 0x0a]), bad(4, 5), "no such page");
        assert_eq!(select(&mut bench, &[0x4a, 0x02, 0, 0]), bad(4, 5), "no such subpage");
        assert_eq!(select(&mut bench, &[0x4a, 0x00, 0, 0]), bad(5, 7), "subpage 0 has no SPF");
        assert_eq!(select(&mut bench, &[0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]), bad(5, 7), "page length");
        assert_eq!(select(&mut bench, &[0x4a, 0x01, 0x00, 0x02, 0, 0]), bad(6, 7), "subpage length");
        assert_eq!(select(&mut bench, &control(0x82, 0, 0)), bad(6, 7), "TST");
    }

    #[test]
    fn headers() {
        let mut bench = Bench::disk(8);
        let six = |bench: &mut Bench, list: &[u8]| bench.sense(&[0x15, 0x10, 0, 0, u8::try_from(list.len()).unwrap(), 0], list);
        assert_eq!(six(&mut bench, &[1, 0, 0, 0]), Sense::invalid_parameter_field(0, Some(7)));
        assert_eq!(six(&mut bench, &[0, 1, 0, 0]), Sense::invalid_parameter_field(1, Some(7)));
        assert_eq!(six(&mut bench, &[0, 0, 0, 7]), Sense::invalid_parameter_field(3, Some(7)));
        assert_eq!(six(&mut bench, &[0, 0, 0, 8]), length_error(), "a descriptor that is not there");
        assert_eq!(six(&mut bench, &[0, 0, 0]), length_error());
        assert_eq!(six(&mut bench, &[0, 0, 0, 0, 0x0a]), length_error());
        assert_eq!(six(&mut bench, &[0, 0, 0, 0, 0x0a, 0x0a, 0]), length_error());
        let (outcome, _) = bench.run(&[0x15, 0x10, 0, 0, 4, 0], &[0, 0, 0x90, 0]);
        assert_eq!(outcome.status, Status::GOOD, "WP and DPOFUA are ignored");
        assert_eq!(bench.good(&[0x15, 0x10, 0, 0, 0, 0]), [], "no list");
    }

    #[test]
    fn cdb_fields() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.sense(&[0x15, 0x00, 0, 0, 0, 0], &[]), Sense::invalid_cdb_field(1, Some(4)));
        assert_eq!(bench.sense(&[0x15, 0x11, 0, 0, 0, 0], &[]), Sense::invalid_cdb_field(1, Some(0)));
        assert_eq!(bench.sense(&[0x55, 0x12, 0, 0, 0, 0, 0, 0, 0, 0], &[]), Sense::invalid_cdb_field(1, Some(1)));
        assert_eq!(bench.sense(&[0x55, 0x10, 0, 0, 0, 0, 0, 1, 0, 0], &[0; 255]), length_error());
    }

    #[test]
    fn block_descriptors_must_be_what_is() {
        let mut bench = Bench::disk(0x1234);
        let ten = |bench: &mut Bench, long: bool, descriptor: &[u8]| {
            let mut list = vec![0, 0, 0, 0, u8::from(long), 0, 0, u8::try_from(descriptor.len()).unwrap()];
            list.extend(descriptor);
            bench.run(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, u8::try_from(list.len()).unwrap(), 0], &list).0.sense
        };
        assert_eq!(ten(&mut bench, false, &[0, 0, 0x12, 0x34, 0, 0, 2, 0]), None);
        assert_eq!(ten(&mut bench, false, &[0, 0, 0, 0, 0, 0, 2, 0]), None);
        assert_eq!(ten(&mut bench, false, &[0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]), None);
        assert_eq!(ten(&mut bench, false, &[0, 0, 0x12, 0x35, 0, 0, 2, 0]), Some(Sense::invalid_parameter_field(8, Some(7))));
        assert_eq!(ten(&mut bench, false, &[0, 0, 0x12, 0x34, 0, 0, 4, 0]), Some(Sense::invalid_parameter_field(14, Some(7))));
        assert_eq!(ten(&mut bench, true, &[0, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 2, 0]), None);
        assert_eq!(ten(&mut bench, true, &[0, 0, 0, 0, 0, 0, 2, 0]), Some(Sense::invalid_parameter_field(6, Some(7))));
    }

    #[test]
    fn pages_of_the_administrator_are_not_changeable() {
        let mut bench = Bench::disk(8);
        bench.device.set(Parameter::ModePage { page: 8, subpage: 0, size: 18, data: vec![0x10] }).unwrap();
        assert!(!bench.device.modes.write_cache_enabled());
        let mut page = vec![0x08, 0x12, 0x14];
        page.resize(20, 0);
        assert_eq!(select(&mut bench, &page), bad(6, 2));
        bench.device.reset();
        assert!(!bench.device.modes.write_cache_enabled(), "and it outlives a reset");
    }
}
