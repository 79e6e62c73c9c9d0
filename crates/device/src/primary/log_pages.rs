//! Log pages (SPC-6 7.3, SBC-4 6.4): what was counted, as parameters.

use alloc::vec;
use alloc::vec::Vec;

use super::duration;
use crate::device::Device;
use crate::disk::{scan, thresholds};
use crate::statistics::{Errors, Performance};

/// Which values LOG SENSE asks for (PC field). Thresholds that nobody set are all ones; lists look the same whatever is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Values {
    Threshold,
    Cumulative,
    DefaultThreshold,
    DefaultCumulative,
}

/// One log parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Parameter {
    pub(crate) code: u16,
    /// DU, TSD, ETC, TMC and format.
    pub(crate) control: u8,
    pub(crate) value: Vec<u8>,
}

/// Write, read and verify error counters.
pub(crate) const WRITE_ERRORS: u8 = 0x02;
/// See [`WRITE_ERRORS`].
pub(crate) const READ_ERRORS: u8 = 0x03;
/// See [`WRITE_ERRORS`].
pub(crate) const VERIFY_ERRORS: u8 = 0x05;
/// Non-medium errors.
pub(crate) const NON_MEDIUM: u8 = 0x06;
/// Logical block provisioning: thin disks only.
pub(crate) const PROVISIONING: u8 = 0x0c;
/// Start-stop cycles.
pub(crate) const START_STOP: u8 = 0x0e;
/// What applications keep here.
pub(crate) const APPLICATION_CLIENT: u8 = 0x0f;
/// Background scan, pending defects, background operation.
pub(crate) const BACKGROUND_SCAN: u8 = 0x15;
/// Statistics and performance, groups, cache memory.
pub(crate) const PERFORMANCE: u8 = 0x19;

/// TSD: the device server keeps the value over no power loss; format 11b, a list in binary.
const LIST: u8 = 0x23;
/// The same in ASCII.
const TEXT: u8 = 0x21;
/// TSD; a counter that stops at its maximum.
const COUNTER: u8 = 0x20;
/// Temperature in one byte: not known.
const UNKNOWN_TEMPERATURE: u8 = 0xff;
/// The same in a signed byte.
const UNKNOWN_SIGNED: u8 = 0x80;

/// All pages of a disk as page and subpage, ascending.
const PAGES: &[(u8, u8)] = &[
    (0x00, 0x00),
    (0x00, 0xff),
    (WRITE_ERRORS, 0x00),
    (READ_ERRORS, 0x00),
    (VERIFY_ERRORS, 0x00),
    (NON_MEDIUM, 0x00),
    (PROVISIONING, 0x00),
    (0x0d, 0x00),
    (0x0d, 0x01),
    (0x0d, 0x02),
    (START_STOP, 0x00),
    (START_STOP, 0x01),
    (APPLICATION_CLIENT, 0x00),
    (0x10, 0x00),
    (0x11, 0x00),
    (BACKGROUND_SCAN, 0x00),
    (BACKGROUND_SCAN, 0x01),
    (BACKGROUND_SCAN, 0x02),
    (0x18, 0x00),
    (PERFORMANCE, 0x00),
    (PERFORMANCE, 0x20),
    (PERFORMANCE, 0x21),
    (0x1a, 0x00),
    (0x2f, 0x00),
];

/// Page and subpage of everything there is, ascending. The 31 group pages stand between 19h/00h and 19h/20h.
pub(crate) fn supported(device: &Device) -> impl Iterator<Item = (u8, u8)> {
    let thin = device.thin();
    let groups = (0x01..=0x1f).map(|group| (PERFORMANCE, group));
    let cut = PAGES.partition_point(|&page| page <= (PERFORMANCE, 0x00));
    PAGES[..cut].iter().copied().chain(groups).chain(PAGES[cut..].iter().copied()).filter(move |it| thin || it.0 != PROVISIONING)
}

/// The parameters of a page, ascending by code; `None`: there is no such page, or it is a list of pages.
pub(crate) fn parameters(device: &Device, page: u8, subpage: u8, values: Values) -> Option<Vec<Parameter>> {
    let statistics = &device.statistics;
    Some(match (page, subpage) {
        (WRITE_ERRORS, 0) => errors(&statistics.write, values),
        (READ_ERRORS, 0) => errors(&statistics.read, values),
        (VERIFY_ERRORS, 0) => errors(&statistics.verify, values),
        (NON_MEDIUM, 0) => vec![counter(0, statistics.non_medium, 4, values)],
        (PROVISIONING, 0) if device.thin() => {
            let [used, available] = thresholds::resources(device).map(u32::to_be_bytes);
            let resource = |code, count: [u8; 4]| list(code, &[count[0], count[1], count[2], count[3], 0x01, 0, 0, 0]);
            vec![resource(1, available), resource(2, used)]
        }
        (0x0d, 0) => vec![list(0, &[0, UNKNOWN_TEMPERATURE]), list(1, &[0, UNKNOWN_TEMPERATURE])],
        (0x0d, 1) => vec![list(0, &[0, UNKNOWN_SIGNED, UNKNOWN_SIGNED, UNKNOWN_SIGNED, UNKNOWN_SIGNED, UNKNOWN_SIGNED, 0, 0])],
        (0x0d, 2) => vec![list(0, &[UNKNOWN_SIGNED; 8])],
        (START_STOP, 0) => start_stop(device, values),
        // Nothing wears out here: no workload was specified that could be used up.
        (START_STOP, 1) => vec![list(0, &[0, 0])],
        (APPLICATION_CLIENT, 0) => application_client(device),
        (0x10, 0) => (1..).zip(device.diagnostics.log()).map(|(code, entry)| list(code, &entry)).collect(),
        (0x11, 0) => vec![list(1, &[0, 0, 0, 0])],
        (BACKGROUND_SCAN, 0) => background_scan(device),
        (BACKGROUND_SCAN, 1) => pending_defects(device),
        (BACKGROUND_SCAN, 2) => vec![list(0, &[device.background_operation_status(), 0, 0, 0])],
        (0x18, 0) => protocol_specific(),
        (PERFORMANCE, 0) => performance(device),
        (PERFORMANCE, group @ 0x01..=0x1f) => {
            let counted = statistics.groups.get(&group).copied().unwrap_or_default();
            vec![list(1, &group_performance(&counted))]
        }
        (PERFORMANCE, 0x20) => cache_memory(device),
        (PERFORMANCE, 0x21) => duration::statistics(&statistics.durations).map(|(code, value)| list(code, &value)).collect(),
        (0x1a, 0) => {
            [1, 2, 3, 4, 8, 9].map(|code: u16| counter(code, u64::from(statistics.transitions.get(&code).copied().unwrap_or(0)), 4, values)).to_vec()
        }
        (0x2f, 0) => {
            let asc = device.exceptions.reported();
            vec![list(0, &[asc.code(), asc.qualifier(), UNKNOWN_TEMPERATURE, 0])]
        }
        _ => return None,
    })
}

fn list(code: u16, value: &[u8]) -> Parameter {
    Parameter { code, control: LIST, value: Vec::from(value) }
}

/// A counter of four or eight bytes.
fn counter(code: u16, count: u64, width: usize, values: Values) -> Parameter {
    let number = match values {
        Values::Cumulative => count,
        Values::DefaultCumulative => 0,
        Values::Threshold | Values::DefaultThreshold => u64::MAX,
    };
    let most = if width < 8 { u64::from(u32::MAX) } else { u64::MAX };
    let bytes = number.min(most).to_be_bytes();
    Parameter { code, control: COUNTER, value: Vec::from(&bytes[8 - width.min(8)..]) }
}

fn errors(errors: &Errors, values: Values) -> Vec<Parameter> {
    let width = |code: usize| if code == Errors::BYTES { 8 } else { 4 };
    (0_u16..).zip(errors.0).map(|(code, count)| counter(code, count, width(usize::from(code)), values)).collect()
}

/// Dates are unknown unless an initiator told the accounting date; nothing was specified about how often a unit may be started.
fn start_stop(device: &Device, values: Values) -> Vec<Parameter> {
    let date = |code, value: &[u8]| Parameter { code, control: TEXT, value: Vec::from(value) };
    vec![
        date(1, &[b' '; 6]),
        date(2, &device.accounting_date),
        list(3, &[0xff; 4]),
        counter(4, u64::from(device.statistics.starts_and_stops), 4, values),
        list(5, &[0xff; 4]),
        counter(6, u64::from(device.statistics.loads_and_unloads), 4, values),
    ]
}

fn application_client(device: &Device) -> Vec<Parameter> {
    let kept = |(&code, value): (&u16, &Vec<u8>)| Parameter { code, control: LIST, value: value.clone() };
    device.application_log.iter().map(kept).collect()
}

/// Power on minutes, status, scans and progress; then the blocks that scans found.
fn background_scan(device: &Device) -> Vec<Parameter> {
    let minutes = u32::try_from(device.power_on() / 60_000_000_000).unwrap_or(u32::MAX).to_be_bytes();
    let (scans, progress) = (device.scan.count().to_be_bytes(), scan::progress(device).to_be_bytes());
    let state = [0, device.scan.status(), scans[0], scans[1], progress[0], progress[1], scans[0], scans[1]];
    let mut parameters = vec![list(0, &[&minutes[..], &state].concat())];
    parameters.extend((1..).zip(device.scan.found()).map(|(code, found)| list(code, &scan::parameter(found))));
    parameters
}

/// Blocks that failed and were not written since.
fn pending_defects(device: &Device) -> Vec<Parameter> {
    let pending = &device.statistics.pending;
    let count = u32::try_from(pending.len()).unwrap_or(u32::MAX);
    let mut parameters = vec![list(0, &count.to_be_bytes())];
    for (code, defect) in (1..).zip(pending) {
        let hours = u32::try_from(defect.found / 3_600_000_000_000).unwrap_or(u32::MAX).to_be_bytes();
        parameters.push(list(code, &[&hours[..], &defect.lba.to_be_bytes()].concat()));
    }
    parameters
}

/// iSCSI defines nothing here: its protocol identifier for the port.
fn protocol_specific() -> Vec<Parameter> {
    vec![list(1, &[0x05, 0, 0, 0])]
}

fn milliseconds(nanoseconds: u64) -> [u8; 8] {
    (nanoseconds / 1_000_000).to_be_bytes()
}

/// Commands, blocks, and times in units of parameter 3: milliseconds.
fn group_performance(counted: &Performance) -> Vec<u8> {
    let counts = [counted.reads, counted.writes, counted.received, counted.transmitted];
    let mut value: Vec<u8> = counts.iter().flat_map(|count| count.to_be_bytes()).collect();
    value.extend(milliseconds(counted.read_nanoseconds));
    value.extend(milliseconds(counted.write_nanoseconds));
    value
}

fn performance(device: &Device) -> Vec<Parameter> {
    let statistics = &device.statistics;
    let mut general = group_performance(&statistics.total);
    // Weighted: each command counts for as long as it was there.
    let weighted = statistics.total.read_nanoseconds.saturating_add(statistics.total.write_nanoseconds);
    general.extend(milliseconds(weighted));
    general.extend(milliseconds(statistics.total.write_nanoseconds));
    let (reads, writes) = (&statistics.forced_reads, &statistics.forced_writes);
    let mut forced = Vec::new();
    for count in [reads.commands, writes.commands, 0, 0] {
        forced.extend(count.to_be_bytes());
    }
    for time in [reads.nanoseconds, writes.nanoseconds, 0, 0] {
        forced.extend(milliseconds(time));
    }
    vec![list(1, &general), list(2, &milliseconds(statistics.idle)), list(3, &MILLISECONDS), list(4, &forced)]
}

/// Time interval descriptor: exponent 3 and integer 1, thousandths of a second.
const MILLISECONDS: [u8; 8] = [0, 0, 0, 3, 0, 0, 0, 1];

/// Reads never come from a cache of ours; writes go to it when they need not be durable.
fn cache_memory(device: &Device) -> Vec<Parameter> {
    let statistics = &device.statistics;
    let number = |count: u64| count.to_be_bytes();
    vec![
        list(1, &number(0)),
        list(2, &number(statistics.total.reads)),
        list(3, &number(statistics.cached_writes)),
        list(4, &number(statistics.total.writes)),
        list(5, &milliseconds(device.power_on())),
        list(6, &MILLISECONDS),
    ]
}
