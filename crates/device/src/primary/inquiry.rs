//! INQUIRY (SPC-6 6.7): standard data; the vital product data pages are in [`super::vpd`].

use alloc::vec;
use alloc::vec::Vec;

use scsi::{DeviceType, Outcome};

use super::vpd;
use crate::cdb::{bad_field, be16, bit, byte, reply};
use crate::device::Device;
use crate::operation::PortIdentity;

/// Bytes of our standard INQUIRY data: up to the end of the version descriptors' reserved area.
const STANDARD_LEN: u8 = 96;
/// Peripheral qualifier 011b and device type 1Fh: there can be no unit here.
const ABSENT: u8 = 0x7f;

/// Version descriptors: SAM-5, iSCSI, SPC-4, then the command set.
const VERSIONS: [u16; 3] = [0x00a0, 0x0960, 0x0460];
const VERSION_SBC_3: u16 = 0x04c0;
const VERSION_SCC_2: u16 = 0x01fb;

/// Answers INQUIRY for `device` through `port`.
pub(crate) fn inquiry(device: &Device, cdb: &[u8], port: &PortIdentity) -> Outcome {
    let (page, allocation) = (byte(cdb, 2), be16(cdb, 3));
    if bit(cdb, 1, 0x02) {
        // CMDDT of SCSI-2 and SPC-2: obsolete, and not answered with something else.
        return bad_field(1, Some(1));
    }
    if bit(cdb, 1, 0x01) {
        return match vpd::page(device, page, port) {
            Some(data) => reply(data, u32::from(allocation)),
            None => bad_field(2, Some(7)),
        };
    }
    if page != 0 {
        return bad_field(2, Some(7));
    }
    reply(standard(device), u32::from(allocation))
}

/// Answers INQUIRY for a logical unit number without a unit: GOOD with peripheral qualifier 011b.
pub fn absent(cdb: &[u8]) -> Outcome {
    let allocation = u32::from(be16(cdb, 3));
    match (byte(cdb, 1) & 0x03, byte(cdb, 2)) {
        (0, 0) => {
            let mut data = vec![0; usize::from(STANDARD_LEN)];
            data[0] = ABSENT;
            data[2] = 0x06;
            data[3] = 0x12;
            data[4] = STANDARD_LEN - 5;
            data[8..36].fill(b' ');
            reply(data, allocation)
        }
        (1, 0) => reply(vec![ABSENT, 0x00, 0x00, 0x01, 0x00], allocation),
        (0 | 1, _) => bad_field(2, Some(7)),
        _ => bad_field(1, Some(1)),
    }
}

fn standard(device: &Device) -> Vec<u8> {
    let mut data = Vec::with_capacity(usize::from(STANDARD_LEN));
    let removable = if device.settings.removable { 0x80 } else { 0x00 };
    let port_groups = device.target_port_group_support().field() << 4;
    let third_party_copy = if device.device_type() == DeviceType::DISK { 0x08 } else { 0x00 };
    let capabilities = port_groups | third_party_copy | u8::from(device.keeps_protection());
    // Version SPC-4; NORMACA, HISUP and response format 2; TPGS, 3PC and PROTECT; CMDQUE.
    data.extend([device.device_type().0, removable, 0x06, 0x32, STANDARD_LEN - 5, capabilities, 0x00, 0x02]);
    padded(&mut data, &device.settings.vendor, 8);
    padded(&mut data, &device.settings.product, 16);
    padded(&mut data, &device.settings.revision, 4);
    data.resize(58, 0);
    for version in VERSIONS {
        data.extend(version.to_be_bytes());
    }
    let command_set = match device.device_type() {
        DeviceType::DISK => Some(VERSION_SBC_3),
        DeviceType::CONTROLLER => Some(VERSION_SCC_2),
        _ => None,
    };
    data.extend(command_set.into_iter().flat_map(u16::to_be_bytes));
    data.resize(usize::from(STANDARD_LEN), 0);
    data
}

/// Appends `text` in `width` bytes of printable ASCII, filled with blanks.
pub(super) fn padded(data: &mut Vec<u8>, text: &str, width: usize) {
    let end = data.len() + width;
    data.extend(printable(text).take(width));
    data.resize(end, b' ');
}

/// SPC allows graphic ASCII and blanks in these fields; anything else becomes a blank.
pub(super) fn printable(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.chars().map(|letter| u8::try_from(letter).ok().filter(|byte| (0x20..0x7f).contains(byte)).unwrap_or(b' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, settings};
    use crate::{Parameter, UnitSettings};

    #[test]
    fn standard_data_of_a_disk() {
        let data = Bench::disk(8).good(&[0x12, 0, 0, 0, 0xff, 0]);
        assert_eq!(data.len(), 96);
        assert_eq!(data[..8], [0x00, 0x00, 0x06, 0x32, 91, 0x38, 0x00, 0x02]);
        assert_eq!(&data[8..36], b"IET     VIRTUAL-DISK    0001");
        assert_eq!(data[36..58], [0; 22]);
        assert_eq!(data[58..66], [0x00, 0xa0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xc0]);
        assert_eq!(data[66..], [0; 30]);
    }

    #[test]
    fn standard_data_of_a_controller() {
        let mut bench = Bench::around(Device::controller(UnitSettings { product: "Controller".into(), ..settings() }), 0);
        let data = bench.good(&[0x12, 0, 0, 0, 0xff, 0]);
        assert_eq!((data[0], data[5]), (0x0c, 0x00));
        assert_eq!(&data[16..32], b"Controller      ");
        assert_eq!(data[64..66], [0x01, 0xfb]);
    }

    #[test]
    fn standard_data_of_a_well_known_unit() {
        let mut bench = Bench::around(Device::well_known(settings()), 0);
        let data = bench.good(&[0x12, 0, 0, 0, 0xff, 0]);
        assert_eq!((data[..8].to_vec(), data.len()), (vec![0x1e, 0x00, 0x06, 0x32, 91, 0x00, 0x00, 0x02], 96));
        assert_eq!(data[58..66], [0x00, 0xa0, 0x09, 0x60, 0x04, 0x60, 0, 0], "no command set but SPC");
        bench.good(&[0; 6]);
        assert_eq!(bench.refused(&[0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]), 0x0005_2000);
        assert_eq!(bench.refused(&[0x1a, 0, 0x3f, 0, 0xff, 0], &[]), 0x0005_2000);
    }

    #[test]
    fn a_short_allocation_cuts_and_keeps_the_length() {
        let mut bench = Bench::removable(8);
        assert_eq!(bench.good(&[0x12, 0, 0, 0, 5, 0]), [0x00, 0x80, 0x06, 0x32, 91]);
        assert_eq!(bench.good(&[0x12, 0, 0, 0, 0, 0]), []);
        assert_eq!(bench.good(&[0x12, 0, 0, 1, 0, 0]).len(), 96, "the allocation length has 16 bits");
    }

    #[test]
    fn a_page_code_needs_evpd() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.refused(&[0x12, 0, 0x80, 0, 0xff, 0], &[]), 0x0005_2400);
        assert_eq!(bench.refused(&[0x12, 2, 0, 0, 0xff, 0], &[]), 0x0005_2400);
    }

    #[test]
    fn texts_are_cut_and_made_printable() {
        let mut bench = Bench::disk(8);
        bench.device.set(Parameter::VendorId("ACME-AND-MORE".into())).unwrap();
        bench.device.set(Parameter::ProductId("\u{e9}t\u{1}\u{2713}".into())).unwrap();
        bench.device.set(Parameter::ProductRev("9".into())).unwrap();
        let data = bench.good(&[0x12, 0, 0, 0, 0xff, 0]);
        assert_eq!(&data[8..36], b"ACME-AND t              9   ");
    }

    #[test]
    fn no_unit() {
        let outcome = absent(&[0x12, 0, 0, 0, 0xff, 0]);
        let scsi::DataIn::Inline(data) = outcome.data_in else { panic!() };
        assert_eq!(data.len(), 96);
        assert_eq!(data[..5], [0x7f, 0x00, 0x06, 0x12, 91]);
        let outcome = absent(&[0x12, 1, 0, 0, 0xff, 0]);
        assert_eq!(outcome.data_in, scsi::DataIn::Inline(vec![0x7f, 0, 0, 1, 0]));
        assert_eq!(absent(&[0x12, 1, 0x83, 0, 0xff, 0]), bad_field(2, Some(7)));
        assert_eq!(absent(&[]).data_in.len(), 0);
    }
}
