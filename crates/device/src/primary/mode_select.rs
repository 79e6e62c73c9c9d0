//! MODE SELECT(6) and (10) (SPC-6 6.9, 6.10). Nothing is changed unless the whole list is right.

use alloc::vec::Vec;

use scsi::{Asc, Outcome, Sense};

use super::is_six;
use super::mode_pages::{ModePage, ModePages};
use super::mode_sense::block_descriptor;
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
    /// The new pages, while the cache is written out.
    waiting: Option<ModePages>,
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
    let command = ModeSelect { six: is_six(request.cdb), len, nexus: request.nexus, waiting: None };
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
            self.waiting = Some(pages);
            return Step::Store(StoreOp::Flush { offset: 0, len: 0 });
        }
        self.apply(device, pages)
    }

    /// The cache is written out, or could not be: then it stays on.
    pub(crate) fn stored(&mut self, device: &mut Device, result: StoreResult) -> Step {
        match (result, self.waiting.take()) {
            (Ok(_), Some(pages)) => self.apply(device, pages),
            (Ok(_), None) => fail(crate::device::internal_failure(), self.len),
            (Err(fault), _) => fail(flush_fault(device, 0, fault), self.len),
        }
    }

    fn apply(&self, device: &mut Device, pages: ModePages) -> Step {
        if device.modes != pages {
            device.modes = pages;
            device.notify(MODE_PARAMETERS_CHANGED, Some(self.nexus));
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
    page.current = Vec::from(values);
    Ok(())
}
