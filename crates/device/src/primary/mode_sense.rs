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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, settings};
    use crate::{Parameter, UnitSettings};

    /// MODE SENSE(6) without block descriptors.
    fn page(bench: &mut Bench, control: u8, page: u8, subpage: u8) -> Vec<u8> {
        bench.good(&[0x1a, 0x08, control << 6 | page, subpage, 0xff, 0]).split_off(4)
    }

    const RECOVERY: [u8; 12] = [0x01, 0x0a, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const VERIFY_RECOVERY: [u8; 12] = [0x07, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const PROTOCOLS: [u8; 16] = [0x18, 6, 5, 0, 0, 0, 0, 0, 0x19, 6, 5, 0, 0, 0, 0, 0];
    const BACKGROUND: [u8; 16] = [0x5c, 0x01, 0, 0x0c, 0, 0, 0, 24, 0, 0, 0x01, 0xf4, 0, 0, 0, 0];
    const DISCONNECT: [u8; 16] = [0x02, 0x0e, 0x80, 0x80, 0x00, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const CACHING: [u8; 20] = [0x08, 0x12, 0x14, 0x00, 0xff, 0xff, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x80, 0x14, 0, 0, 0, 0, 0, 0];
    const CONTROL: [u8; 12] = [0x0a, 0x0a, 0x02, 0x10, 0, 0, 0, 0, 0, 0, 0x02, 0x00];
    const EXCEPTIONS: [u8; 12] = [0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn power() -> Vec<u8> {
        let mut page = Vec::from([0x1a, 0x26]);
        page.resize(40, 0);
        page
    }

    fn control_extension() -> Vec<u8> {
        let mut page = Vec::from([0x4a, 0x01, 0x00, 0x1c, 0x05]);
        page.resize(32, 0);
        page
    }

    #[test]
    fn every_page() {
        let mut bench = Bench::disk(8);
        for control in [0, 2] {
            assert_eq!(page(&mut bench, control, 0x02, 0), DISCONNECT);
            assert_eq!(page(&mut bench, control, 0x08, 0), CACHING);
            assert_eq!(page(&mut bench, control, 0x0a, 0), CONTROL);
            assert_eq!(page(&mut bench, control, 0x0a, 1), control_extension());
            assert_eq!(page(&mut bench, control, 0x1c, 0), EXCEPTIONS);
            assert_eq!(page(&mut bench, control, 0x1a, 0), power());
            assert_eq!(page(&mut bench, control, 0x1c, 1), BACKGROUND);
        }
    }

    #[test]
    fn changeable_bits() {
        let mut bench = Bench::disk(8);
        assert_eq!(page(&mut bench, 1, 0x08, 0)[..4], [0x08, 0x12, 0x04, 0]);
        assert_eq!(page(&mut bench, 1, 0x0a, 0), [0x0a, 0x0a, 0x25, 0x06, 0x38, 0x40, 0, 0, 0, 0, 0, 0]);
        assert_eq!(page(&mut bench, 1, 0x1c, 0)[2..], [0x9d, 0x0f, 255, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn all_pages_and_subpages() {
        let mut bench = Bench::disk(8);
        let first = [&RECOVERY[..], &DISCONNECT, &VERIFY_RECOVERY, &CACHING, &CONTROL].concat();
        let plain = [&first[..], &PROTOCOLS, &power(), &EXCEPTIONS].concat();
        assert_eq!(page(&mut bench, 0, 0x3f, 0), plain);
        let all = bench.good(&[0x5a, 0x08, 0x3f, 0xff, 0, 0, 0, 0x20, 0, 0]).split_off(8);
        let mut rest = &all[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let subpage = bit(rest, 0, 0x40);
            found.push((rest[0] & 0x3f, if subpage { rest[1] } else { 0 }));
            rest = &rest[if subpage { 4 + usize::from(be16(rest, 2)) } else { 2 + usize::from(rest[1]) }..];
        }
        let control = [0x00, 0x01, 0x05, 0x06, 0x07, 0x08].map(|subpage| (0x0a, subpage));
        let [first, last] = [[1, 2, 7, 8], [0x18, 0x19, 0x1a, 0x1c]].map(|pages| pages.map(|page| (page, 0)));
        assert_eq!(found, [&first[..], &control, &last, &[(0x1c, 0x01)]].concat());
        assert_eq!(bench.good(&[0x5a, 0x08, 0x1c, 0xff, 0, 0, 0, 0x20, 0, 0])[8..], [&EXCEPTIONS[..], &BACKGROUND].concat());
    }

    #[test]
    fn refusals() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.refused(&[0x1a, 0, 0xc8, 0, 0xff, 0], &[]), 0x0005_3900);
        assert_eq!(bench.sense(&[0x1a, 0, 0x03, 0, 0xff, 0], &[]), Sense::invalid_cdb_field(2, Some(5)));
        assert_eq!(bench.refused(&[0x1a, 0, 0x0a, 2, 0xff, 0], &[]), 0x0005_2400);
        assert_eq!(bench.sense(&[0x1a, 0, 0x3f, 1, 0xff, 0], &[]), Sense::invalid_cdb_field(3, Some(7)));
    }

    #[test]
    fn headers_and_block_descriptors() {
        let mut bench = Bench::disk(0x10203);
        assert_eq!(bench.good(&[0x1a, 0, 0x1c, 0, 12, 0]), [23, 0x00, 0x10, 8, 0x00, 0x01, 0x02, 0x03, 0x00, 0x00, 0x02, 0x00]);
        let ten = bench.good(&[0x5a, 0, 0x1c, 0, 0, 0, 0, 0, 0xff, 0]);
        assert_eq!(ten[..16], [0, 26, 0x00, 0x10, 0, 0, 0, 8, 0x00, 0x01, 0x02, 0x03, 0x00, 0x00, 0x02, 0x00]);
        let long = bench.good(&[0x5a, 0x10, 0x1c, 0, 0, 0, 0, 0, 0xff, 0]);
        assert_eq!(long[..8], [0, 34, 0x00, 0x10, 1, 0, 0, 16]);
        assert_eq!(long[8..24], [0, 0, 0, 0, 0x00, 0x01, 0x02, 0x03, 0, 0, 0, 0, 0x00, 0x00, 0x02, 0x00]);
        assert_eq!(bench.good(&[0x5a, 0x08, 0x1c, 0, 0, 0, 0, 0, 0xff, 0])[..8], [0, 18, 0x00, 0x10, 0, 0, 0, 0]);
    }

    #[test]
    fn a_large_disk_has_all_ones() {
        let medium = crate::tests::bench::medium(1 << 42);
        let mut bench = Bench::around(Device::disk(settings(), Some(medium)), 0);
        assert_eq!(bench.good(&[0x1a, 0, 0x1c, 0, 12, 0])[4..8], [0xff; 4]);
        assert_eq!(bench.good(&[0x5a, 0x10, 0x1c, 0, 0, 0, 0, 0, 16, 0])[8..], [0, 0, 0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn write_protection_shows() {
        let mut bench = Bench::with(UnitSettings { read_only: true, ..settings() }, 8);
        assert_eq!(bench.good(&[0x1a, 0, 0x3f, 0, 4, 0])[2], 0x90);
    }

    #[test]
    fn pages_of_the_administrator() {
        let mut bench = Bench::disk(8);
        let set =
            |bench: &mut Bench, page, subpage, size, data: &[u8]| bench.device.set(Parameter::ModePage { page, subpage, size, data: data.to_vec() });
        assert!(set(&mut bench, 3, 0, 2, &[1, 2, 3]).is_err());
        assert!(bench.device.modes.select(3, 0).next().is_none(), "an error changes nothing");
        assert_eq!(set(&mut bench, 3, 0, 4, &[1, 2]), Ok(()));
        assert_eq!(page(&mut bench, 2, 3, 0), [0x03, 4, 1, 2, 0, 0]);
        assert_eq!(page(&mut bench, 1, 3, 0), [0x03, 4, 0, 0, 0, 0]);
        assert!(page(&mut bench, 0, 0x3f, 0).starts_with(&[&RECOVERY[..], &DISCONNECT].concat()), "pages stay in order");
        assert!(set(&mut bench, 0x3f, 0, 4, &[]).is_err());
        assert!(set(&mut bench, 4, 0, 256, &[]).is_err());
        assert_eq!(set(&mut bench, 5, 0, 255, &[]), Ok(()));
        assert_eq!(bench.refused(&[0x1a, 0, 0x3f, 0, 0xff, 0], &[]), 0x0005_2400, "more than one length byte can tell");
        assert_eq!(bench.good(&[0x5a, 0, 0x3f, 0, 0, 0, 0, 2, 0, 0])[..2], [0x01, 0xa1]);
    }
}
