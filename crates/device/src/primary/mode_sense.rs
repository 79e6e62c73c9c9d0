//! MODE SENSE(6) and (10) (SPC-6 6.11, 6.12).

use alloc::vec::Vec;

use scsi::{Asc, Outcome, Sense};

use super::is_six;
use super::mode_pages::Values;
use crate::cdb::{bad_field, be16, bit, byte, reply, saturate};
use crate::device::Device;

/// Answers both forms.
pub(super) fn mode_sense(device: &Device, cdb: &[u8]) -> Outcome {
    let (page, subpage) = (byte(cdb, 2) & 0x3f, byte(cdb, 3));
    let values = match byte(cdb, 2) >> 6 {
        0 => Values::Current,
        1 => Values::Changeable,
        2 => Values::Default,
        _ => return Outcome::check(Sense::illegal(Asc::SAVING_PARAMETERS_NOT_SUPPORTED)),
    };
    if page == 0x3f && subpage != 0 && subpage != 0xff {
        return bad_field(3, Some(7));
    }
    let mut pages = Vec::new();
    for found in device.modes.select(page, subpage) {
        found.write(values, &mut pages);
    }
    if pages.is_empty() && page != 0x3f {
        return bad_field(2, Some(5));
    }
    let six = is_six(cdb);
    let long = !six && bit(cdb, 1, 0x10);
    let descriptor = if bit(cdb, 1, 0x08) { Vec::new() } else { block_descriptor(device, long) };
    let Some(mut data) = header(device, six, long, descriptor.len(), pages.len()) else {
        // More than the length byte of the six-byte form can say: the ten-byte form can.
        return bad_field(2, Some(5));
    };
    data.extend(descriptor);
    data.extend(pages);
    let allocation = if six { u32::from(byte(cdb, 4)) } else { u32::from(be16(cdb, 7)) };
    reply(data, allocation)
}

/// Mode parameter header; `None` when its length field cannot hold the length.
fn header(device: &Device, six: bool, long: bool, descriptor: usize, pages: usize) -> Option<Vec<u8>> {
    // DPO and FUA are accepted; WP.
    let specific = 0x10 | if device.write_protected() { 0x80 } else { 0x00 };
    let descriptor_len = u8::try_from(descriptor).ok()?;
    if six {
        let length = u8::try_from(3 + descriptor + pages).ok()?;
        return Some(Vec::from([length, 0x00, specific, descriptor_len]));
    }
    let length = u16::try_from(6 + descriptor + pages).ok()?.to_be_bytes();
    Some(Vec::from([length[0], length[1], 0x00, specific, u8::from(long), 0x00, 0x00, descriptor_len]))
}

/// Short (8 bytes) or long (16 bytes) block descriptor with the true capacity (SBC-4 6.5.2).
pub(super) fn block_descriptor(device: &Device, long: bool) -> Vec<u8> {
    let block = device.block_size().bytes().to_be_bytes();
    let mut descriptor = Vec::new();
    if long {
        descriptor.extend(device.blocks().to_be_bytes());
        descriptor.extend([0; 4]);
    } else {
        // A block length has at most 17 bits, so that the byte before it is free as the layout asks.
        descriptor.extend(saturate(device.blocks()).to_be_bytes());
    }
    descriptor.extend(block);
    descriptor
}
