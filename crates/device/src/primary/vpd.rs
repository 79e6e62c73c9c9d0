//! Vital product data (SPC-6 7.7, SBC-4 6.6).

use alloc::vec::Vec;

use scsi::DeviceType;
use scsi::third_party_copy::Designator;

use super::inquiry::printable;
use crate::device::Device;
use crate::disk::limits;
use crate::disk::streams::MAX_STREAMS;
use crate::operation::PortIdentity;

/// Pages of every unit, ascending.
const COMMON: &[u8] = &[0x00, 0x80, 0x83, 0x86, 0x87, 0x88];
/// Pages of a well known logical unit: it has no serial number and no mode pages.
const WELL_KNOWN: &[u8] = &[0x00, 0x83, 0x86, 0x88];
/// More pages of a block device, ascending.
const BLOCK: &[u8] = &[0x8a, 0x8f, 0xb0, 0xb1, 0xb2, 0xb4, 0xb7];

/// Width of the unit serial number and of the T10 designator: what the original has, so that names made from them stay.
const ID_WIDTH: usize = 36;

/// Association with the target port, PIV set: byte 1 of a designation descriptor, less the type.
const PORT: u8 = 0x90;
/// Association with the target device, PIV set.
const TARGET: u8 = 0xa0;
/// Protocol identifier of iSCSI, in the upper half of byte 0.
const ISCSI: u8 = 0x50;

const BINARY: u8 = 1;
const ASCII: u8 = 2;
const UTF8: u8 = 3;

impl Device {
    /// The target ports of the unit: VPD page 88h lists them, beside the one that a command came through.
    pub fn set_ports(&mut self, mut ports: Vec<PortIdentity>) {
        ports.sort_by_key(|port| port.relative_port.0);
        self.ports = ports;
    }
}

/// The page with its four-byte header, `None` when the unit has no such page.
pub(super) fn page(device: &Device, code: u8, port: &PortIdentity) -> Option<Vec<u8>> {
    if !supported(device).any(|it| it == code) {
        return None;
    }
    let body = match code {
        0x00 => supported(device).collect::<Vec<u8>>(),
        0x80 => serial_number(device),
        0x83 => identification(device, port),
        0x86 => extended_inquiry(device),
        0x87 => mode_page_policy(device),
        0x88 => ports(&device.ports, port),
        0xb0 => block_limits(device),
        0xb1 => block_characteristics(device),
        0xb2 => provisioning(device),
        0x8a => power_condition(),
        0x8f => super::third_party::page(device),
        0xb4 => block_lengths(device),
        0xb7 => limits_extension(),
        _ => return None,
    };
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut page = Vec::from([device.device_type().0, code, length[0], length[1]]);
    page.extend(body);
    Some(page)
}

/// The pages of the unit, ascending.
fn supported(device: &Device) -> impl Iterator<Item = u8> + '_ {
    let (first, more) = match device.device_type() {
        DeviceType::DISK => (COMMON, BLOCK),
        DeviceType::WELL_KNOWN => (WELL_KNOWN, [].as_slice()),
        _ => (COMMON, [].as_slice()),
    };
    first.iter().chain(more).copied()
}

/// Page 80h: the serial number, right aligned.
fn serial_number(device: &Device) -> Vec<u8> {
    let text: Vec<u8> = printable(&device.settings.scsi_sn).take(ID_WIDTH).collect();
    let mut body = Vec::from([b' '; ID_WIDTH]);
    body[ID_WIDTH - text.len()..].copy_from_slice(&text);
    body
}

/// Page 83h. The first three designators are the original's, in its order: names under /dev/disk/by-id come from them. The fourth is unique where
/// those are not (they repeat on every host). The rest names the port the command came through. A well known logical unit has that rest alone.
fn identification(device: &Device, port: &PortIdentity) -> Vec<u8> {
    let mut body = Vec::new();
    if device.device_type() != DeviceType::WELL_KNOWN {
        for (code_set, kind, value) in unit_names(device) {
            designator(&mut body, code_set, kind, &value);
        }
    }
    designator(&mut body, ISCSI | BINARY, PORT | 0x04, &u32::from(port.relative_port.0).to_be_bytes());
    designator(&mut body, ISCSI | BINARY, PORT | 0x05, &u32::from(port.group_tag).to_be_bytes());
    designator(&mut body, ISCSI | UTF8, PORT | 0x08, &port_name(port));
    designator(&mut body, ISCSI | UTF8, TARGET | 0x08, &name_string(port.target_name.as_bytes()));
    body
}

/// Code set, type and value of the designators of the unit itself.
fn unit_names(device: &Device) -> [(u8, u8, Vec<u8>); 4] {
    let settings = &device.settings;
    let mut t10: Vec<u8> = printable(&settings.scsi_id).take(ID_WIDTH).collect();
    t10.resize(ID_WIDTH, 0);
    let tid = u64::from(settings.tid.cast_unsigned());
    let local = 0x3 << 60 | (tid << 32 | settings.lun) & (u64::MAX >> 4);
    let extended = registered_extended(&settings.scsi_id);
    [
        (ASCII, 0x01, t10),
        (BINARY, 0x03, Vec::from(local.to_be_bytes())),
        (BINARY, 0x03, Vec::from(extended)),
        (BINARY, 0x03, Vec::from(settings.unique)),
    ]
}

impl Device {
    /// Is this one of the unit's own designators of VPD page 83h? Those of ports and of the target name no unit.
    pub fn is_named(&self, name: &Designator) -> bool {
        name.association == 0
            && self.device_type() != DeviceType::WELL_KNOWN
            && unit_names(self).iter().any(|(code_set, kind, value)| (name.code_set, name.kind, name.value()) == (*code_set, *kind, value))
    }

    /// The unit's unique designator, NAA 6.
    pub fn unique_name(&self) -> [u8; 16] {
        self.settings.unique
    }
}

/// One designation descriptor: protocol and code set, PIV with association and type, length, value.
fn designator(body: &mut Vec<u8>, code_set: u8, kind: u8, value: &[u8]) {
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    body.extend([code_set, kind, 0x00, length]);
    body.extend(&value[..usize::from(length)]);
}

/// The original's NAA 6 designator: the identification text read as hexadecimal digits, right aligned; other characters are zeros.
fn registered_extended(text: &str) -> [u8; 16] {
    let mut value = [0; 16];
    for (place, letter) in text.chars().rev().take(31).enumerate() {
        let digit = letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
        value[15 - place / 2] |= if place % 2 == 0 { digit } else { digit << 4 };
    }
    value[0] |= 0x60;
    value
}

/// iSCSI name of the port: target name, `,t,0x` and the portal group tag in four digits (RFC 7143 4.2.7.3).
fn port_name(port: &PortIdentity) -> Vec<u8> {
    name_string(alloc::format!("{},t,0x{:04x}", port.target_name, port.group_tag).as_bytes())
}

/// A SCSI name string ends with a NUL and fills a multiple of four bytes.
fn name_string(name: &[u8]) -> Vec<u8> {
    let mut value = Vec::from(&name[..name.len().min(251)]);
    value.push(0);
    value.resize(value.len().next_multiple_of(4), 0);
    value
}

/// Page 86h: head of queue, ordered and simple tasks; a disk has a volatile cache, counts by group number, and needs some minutes for an extended self-test.
fn extended_inquiry(device: &Device) -> Vec<u8> {
    let is_disk = device.device_type() == DeviceType::DISK;
    let mut body = Vec::from([0; 0x3c]);
    body[1] = 0x07;
    body[2] = 0x01;
    if device.keeps_protection() {
        // SPT: every type; GRD_CHK, APP_CHK, REF_CHK; NO_PI_CHK: 011b and 101b are among the protection fields.
        body[0] = 0x3f;
        body[3] = 0x20;
    }
    if is_disk {
        body[1] |= 0x10;
        // WU_SUP: WRITE LONG marks blocks.
        body[2] |= 0x08;
        body[6..8].copy_from_slice(&EXTENDED_SELF_TEST_MINUTES.to_be_bytes());
    }
    body
}

/// Page 87h: each page and subpage has one set of values for everybody. A unit without pages says the same of all.
fn mode_page_policy(device: &Device) -> Vec<u8> {
    let shared = |page: u8, subpage: u8| [page, subpage, 0x00, 0x00];
    let mut body: Vec<u8> = device.modes.select(0x3f, 0xff).flat_map(|it| shared(it.page, it.subpage)).collect();
    if body.is_empty() {
        body.extend(shared(0x3f, 0xff));
    }
    body
}

/// Page 88h: the ports of the unit, the one of this command among them, as many as fit the page.
fn ports(known: &[PortIdentity], through: &PortIdentity) -> Vec<u8> {
    let mut body = Vec::new();
    let unknown = (!known.iter().any(|port| port.relative_port == through.relative_port)).then_some(through);
    for port in known.iter().chain(unknown).take(MAX_PORTS) {
        let mut names = Vec::new();
        designator(&mut names, ISCSI | UTF8, PORT | 0x08, &port_name(port));
        let number = port.relative_port.0.to_be_bytes();
        let length = u16::try_from(names.len()).unwrap_or(u16::MAX).to_be_bytes();
        body.extend([0, 0, number[0], number[1], 0, 0, 0, 0, 0, 0, length[0], length[1]]);
        body.extend(names);
    }
    body
}

/// Ports of page 88h: with the longest names they still fit its 16-bit length.
const MAX_PORTS: usize = 240;

/// The control mode page says the same in seconds: 512.
const EXTENDED_SELF_TEST_MINUTES: u16 = 9;

/// Page 8Ah: every power condition there is, left at once.
fn power_condition() -> Vec<u8> {
    let mut body = Vec::from([0; 14]);
    (body[0], body[1]) = (0x03, 0x07);
    body
}

/// Page B4h: the one block length, with the protection there may be.
fn block_lengths(device: &Device) -> Vec<u8> {
    let length = device.block_size().bytes().to_be_bytes();
    // NO_PI_CHK and the checks; the types 3 to 0.
    let [checks, types] = if device.keeps_protection() { [0x0f, 0x0f] } else { [0x00, 0x01] };
    Vec::from([length[0], length[1], length[2], length[3], checks, types, 0x00, 0x00])
}

/// Page B7h: how many streams may be open; no size is better than another.
fn limits_extension() -> Vec<u8> {
    let mut body = Vec::from([0; 0x3c]);
    body[2..4].copy_from_slice(&MAX_STREAMS.to_be_bytes());
    body
}

/// Page B0h. Every limit told here is enforced, and none is told that does not hold.
fn block_limits(device: &Device) -> Vec<u8> {
    let mut body = Vec::from([0; 0x3c]);
    let max_transfer = device.max_transfer_blocks();
    body[1] = limits::MAX_COMPARE_AND_WRITE_BLOCKS;
    body[2..4].copy_from_slice(&device.geometry.optimal_granularity.to_be_bytes());
    body[4..8].copy_from_slice(&max_transfer.to_be_bytes());
    body[8..12].copy_from_slice(&device.geometry.optimal_length.min(max_transfer).to_be_bytes());
    if device.thin() {
        body[16..20].copy_from_slice(&limits::MAX_UNMAP_BLOCKS.to_be_bytes());
        body[20..24].copy_from_slice(&limits::MAX_UNMAP_DESCRIPTORS.to_be_bytes());
        body[24..28].copy_from_slice(&(1_u32 << device.physical_exponent()).to_be_bytes());
        // UGAVALID, and the alignment that goes with READ CAPACITY(16).
        body[28..32].copy_from_slice(&(1 << 31 | u32::from(device.geometry.lowest_aligned)).to_be_bytes());
    }
    body[32..40].copy_from_slice(&limits::MAX_WRITE_SAME_BLOCKS.to_be_bytes());
    body[40..44].copy_from_slice(&limits::max_atomic_blocks(device.block_size()).to_be_bytes());
    body
}

/// Page B1h. WABEREQ and WACEREQ: what was erased can be read without having been written. BOCS: BACKGROUND CONTROL is there.
fn block_characteristics(device: &Device) -> Vec<u8> {
    let mut body = Vec::from([0; 0x3c]);
    body[0..2].copy_from_slice(&device.geometry.rotation_rate.to_be_bytes());
    body[3] = 0x50;
    body[4] = 0x04;
    body
}

/// Page B2h: LBPU, LBPWS, LBPWS10, LBPRZ = 001b, type thin and the size of a threshold set, or nothing.
fn provisioning(device: &Device) -> Vec<u8> {
    let exponent = limits::threshold_exponent(device.block_size());
    if device.thin() { Vec::from([exponent, 0xe4, 0x02, 0x00]) } else { Vec::from([0; 4]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scsi::RelativePort;

    use crate::Parameter;
    use crate::tests::bench::{Bench, settings};

    fn vpd(bench: &mut Bench, code: u8) -> Vec<u8> {
        bench.good(&[0x12, 1, code, 0x10, 0, 0])
    }

    #[test]
    fn supported_pages() {
        assert_eq!(vpd(&mut Bench::disk(8), 0), [0, 0, 0, 13, 0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8a, 0x8f, 0xb0, 0xb1, 0xb2, 0xb4, 0xb7]);
        let mut controller = Bench::around(Device::controller(settings()), 0);
        assert_eq!(vpd(&mut controller, 0), [0x0c, 0, 0, 6, 0x00, 0x80, 0x83, 0x86, 0x87, 0x88]);
        assert_eq!(controller.refused(&[0x12, 1, 0xb0, 0, 0xff, 0], &[]), 0x0005_2400);
        assert_eq!(Bench::disk(8).refused(&[0x12, 1, 0xc0, 0, 0xff, 0], &[]), 0x0005_2400);
    }

    #[test]
    fn every_listed_page_is_there_and_names_itself() {
        let controller = Bench::around(Device::controller(settings()), 0);
        let well_known = Bench::around(Device::well_known(settings()), 0);
        for (mut bench, kind) in [(Bench::thin(8), 0x00), (controller, 0x0c), (well_known, 0x1e)] {
            let codes = vpd(&mut bench, 0).split_off(4);
            assert!(codes.is_sorted());
            for code in codes {
                let page = vpd(&mut bench, code);
                assert_eq!(page[..2], [kind, code]);
                assert_eq!(usize::from(u16::from_be_bytes([page[2], page[3]])), page.len() - 4);
            }
        }
    }

    #[test]
    fn a_well_known_unit_has_no_name_of_its_own() {
        let mut bench = Bench::around(Device::well_known(settings()), 0);
        assert_eq!(vpd(&mut bench, 0), [0x1e, 0, 0, 4, 0x00, 0x83, 0x86, 0x88]);
        assert_eq!(bench.refused(&[0x12, 1, 0x80, 0, 0xff, 0], &[]), 0x0005_2400);
        let page = vpd(&mut bench, 0x83);
        assert_eq!(page[4..12], [0x51, 0x94, 0, 4, 0, 0, 0, 3], "it begins with the port");
    }

    #[test]
    fn serial_number_is_right_aligned() {
        let page = vpd(&mut Bench::disk(8), 0x80);
        assert_eq!(page[..4], [0, 0x80, 0, 36]);
        assert_eq!(&page[4..], b"                              beaf12");
    }

    #[test]
    fn identification_begins_with_the_originals_designators() {
        let page = vpd(&mut Bench::disk(8), 0x83);
        let mut expected = Vec::from([0x02, 0x01, 0, 36]);
        expected.extend(b"IET     00010002");
        expected.extend([0; 20]);
        expected.extend([0x01, 0x03, 0, 8, 0x30, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02]);
        expected.extend([0x01, 0x03, 0, 16, 0x60, 0, 0, 0, 0, 0, 0, 0, 0x0e, 0, 0, 0, 0, 0x01, 0, 0x02]);
        expected.extend([0x01, 0x03, 0, 16, 0x6f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(page[4..4 + expected.len()], expected);
    }

    #[test]
    fn identification_ends_with_port_and_target() {
        let page = vpd(&mut Bench::disk(8), 0x83);
        let mut expected = Vec::from([0x51, 0x94, 0, 4, 0, 0, 0, 3, 0x51, 0x95, 0, 4, 0, 0, 0, 1]);
        expected.extend([0x53, 0x98, 0, 40]);
        expected.extend(b"iqn.2020-01.com.example:disk,t,0x0001\0\0\0");
        expected.extend([0x53, 0xa8, 0, 32]);
        expected.extend(b"iqn.2020-01.com.example:disk\0\0\0\0");
        assert!(page.ends_with(&expected));
    }

    #[test]
    fn hexadecimal_reading_of_the_id() {
        assert_eq!(registered_extended("IET     00010001")[8..], [0x0e, 0, 0, 0, 0, 0x01, 0, 0x01]);
        assert_eq!(registered_extended("")[..2], [0x60, 0]);
        assert_eq!(registered_extended("f")[15], 0x0f);
        assert_eq!(registered_extended(&"f".repeat(40)), [0x6f, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn long_names_stay_in_their_field() {
        let port = PortIdentity { target_name: "n".repeat(400), ..crate::tests::bench::port() };
        assert_eq!(port_name(&port).len(), 252);
        let body = identification(&Device::disk(settings(), None), &port);
        assert!(body.len() < 700);
    }

    #[test]
    fn extended_inquiry_tells_task_attributes() {
        let page = vpd(&mut Bench::disk(8), 0x86);
        assert_eq!(page[..12], [0, 0x86, 0, 0x3c, 0x00, 0x17, 0x09, 0x00, 0x00, 0x00, 0x00, 0x09]);
        assert_eq!(page[12..], [0; 52]);
        let control = Bench::disk(8).good(&[0x1a, 8, 0x0a, 0, 0xff, 0]);
        assert_eq!(u32::from(u16::from_be_bytes([control[14], control[15]])).div_ceil(60), 9, "the control mode page agrees");
    }

    #[test]
    fn power_conditions_and_block_lengths() {
        let mut bench = Bench::disk(8);
        assert_eq!(vpd(&mut bench, 0x8a), [0, 0x8a, 0, 14, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(vpd(&mut bench, 0xb7)[..8], [0, 0xb7, 0, 0x3c, 0, 0, 0, 32]);
        assert_eq!(vpd(&mut bench, 0xb4), [0, 0xb4, 0, 8, 0, 0, 2, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn policy_and_ports() {
        let policy = vpd(&mut Bench::thin(8), 0x87);
        let pages: Vec<(u8, u8)> = policy[4..].chunks(4).map(|it| (it[0], it[1])).collect();
        assert!(
            pages.is_sorted() && pages.starts_with(&[(1, 0), (2, 0), (7, 0), (8, 0), (0x0a, 0)]) && pages.ends_with(&[(0x1c, 0x01), (0x1c, 0x02)])
        );
        assert!(policy[4..].chunks(4).all(|it| it[2..] == [0, 0]));
        assert_eq!(vpd(&mut Bench::around(Device::controller(settings()), 0), 0x87), [0x0c, 0x87, 0, 4, 0x3f, 0xff, 0, 0]);
        let page = vpd(&mut Bench::disk(8), 0x88);
        assert_eq!(page[..16], [0, 0x88, 0, 56, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 44]);
        assert_eq!(page[16..20], [0x53, 0x98, 0, 40]);
    }

    #[test]
    fn all_ports_are_listed_once() {
        let port = |number: u16| PortIdentity { group_tag: number, relative_port: RelativePort(number), ..crate::tests::bench::port() };
        let numbers = |known: &[PortIdentity]| {
            let mut bench = Bench::disk(8);
            bench.device.set_ports(Vec::from(known));
            let page = vpd(&mut bench, 0x88);
            page[4..].chunks_exact(56).map(|entry| (entry[3], entry[52])).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&[]), [(3, b'1')], "the one of the command");
        assert_eq!(numbers(&[port(4), port(3), port(2)]), [(2, b'2'), (3, b'3'), (4, b'4')]);
        assert_eq!(numbers(&[port(5)]), [(5, b'5'), (3, b'1')]);
        let many: Vec<PortIdentity> = (1..=1000).map(port).collect();
        let long = PortIdentity { target_name: "n".repeat(300), ..port(1) };
        assert!(ports(&many, &port(1)).len() == MAX_PORTS * 56 && ports(&std::vec![long; 300], &port(1)).len() <= usize::from(u16::MAX));
    }

    #[test]
    fn block_limits_of_a_thick_disk() {
        let page = vpd(&mut Bench::disk(8), 0xb0);
        let mut expected = [0; 64];
        expected[..12].copy_from_slice(&[0, 0xb0, 0, 0x3c, 0x00, 255, 0, 0, 0x00, 0x01, 0x00, 0x00]);
        expected[40..44].copy_from_slice(&[0xff; 4]);
        expected[44..48].copy_from_slice(&[0, 0, 8, 0]);
        assert_eq!(page, expected);
    }

    #[test]
    fn block_limits_of_a_thin_disk() {
        let mut bench = Bench::thin(8);
        bench.device.set(Parameter::OptimalTransferGranularity(8)).unwrap();
        bench.device.set(Parameter::OptimalTransferLength(0x0100_0000)).unwrap();
        bench.device.set(Parameter::LowestAlignedLba(1)).unwrap();
        let page = vpd(&mut bench, 0xb0);
        assert_eq!(page[5..8], [255, 0, 8]);
        assert_eq!(page[12..16], [0x00, 0x01, 0x00, 0x00], "not above the maximum");
        assert_eq!(page[20..28], [0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00]);
        assert_eq!(page[28..36], [0, 0, 0, 8, 0x80, 0, 0, 1]);
    }

    #[test]
    fn characteristics_and_provisioning() {
        let mut bench = Bench::disk(8);
        bench.device.set(Parameter::RotationRate(7200)).unwrap();
        let page = vpd(&mut bench, 0xb1);
        assert_eq!(page[..9], [0, 0xb1, 0, 0x3c, 0x1c, 0x20, 0x00, 0x50, 0x04]);
        assert_eq!(page[9..], [0; 55]);
        assert_eq!(vpd(&mut bench, 0xb2), [0, 0xb2, 0, 4, 0, 0, 0, 0]);
        bench.device.set(Parameter::ThinProvisioning(true)).unwrap();
        assert_eq!(vpd(&mut bench, 0xb2), [0, 0xb2, 0, 4, 11, 0xe4, 0x02, 0x00]);
    }
}
