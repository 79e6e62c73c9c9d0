//! A generator of PDUs that mean something: a login that goes well, then one PDU for every eight bytes.

use iscsi::pdu::{
    AdditionalHeaders, DataOut, LoginRequest, LogoutRequest, NO_TAG, NopOut, ScsiCommand, SnackRequest, TaskManagementRequest, TextRequest,
};

use super::{Setup, TARGET};

/// Records that are looked at: enough for several windows.
const MAX_RECORDS: usize = 128;

/// PDUs from records of eight bytes: kind and flags, tag, distance from the next CmdSN, and five bytes for the rest.
pub fn stream(bytes: &[u8], setup: &Setup) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut cmd_sn = 100u32;
    let login = LoginRequest {
        immediate: true,
        transit: true,
        current_stage: 1,
        next_stage: 3,
        isid: [0x80, 0, 0, 0, 0, 1],
        tag: 0,
        cmd_sn,
        ..LoginRequest::default()
    };
    let digest = |on: bool| if on { "CRC32C" } else { "None" };
    let keys = format!(
        "InitiatorName=iqn.me\0TargetName={TARGET}\0HeaderDigest={}\0DataDigest={}\0MaxRecvDataSegmentLength=512\0InitialR2T=No\0ImmediateData=Yes\0\
         MaxBurstLength=65536\0FirstBurstLength=65536\0MaxOutstandingR2T=8\0DataPDUInOrder=No\0DataSequenceInOrder=No\0DefaultTime2Wait=2\0\
         DefaultTime2Retain=20\0ErrorRecoveryLevel=0\0MaxConnections=1\0",
        digest(setup.parameters.header_digest),
        digest(setup.parameters.data_digest)
    );
    push(&mut stream, &login.encode(), keys.as_bytes(), (false, false));
    let digests = (setup.parameters.header_digest, setup.parameters.data_digest);
    for record in bytes.chunks_exact(8).take(MAX_RECORDS) {
        let (header, data, counts) = pdu_of(record.first_chunk().unwrap_or(&[0; 8]), cmd_sn);
        cmd_sn = cmd_sn.wrapping_add(u32::from(counts));
        push(&mut stream, &header, &data, digests);
    }
    stream
}

/// A record taken apart.
struct Record {
    immediate: bool,
    is_final: bool,
    attribute: u8,
    tag: u32,
    transfer_tag: u32,
    cmd_sn: u32,
    /// Takes the next CmdSN.
    counts: bool,
    bytes: [u8; 5],
}

/// Header, data, and whether the next CmdSN is used up.
type Pdu = (Vec<u8>, Vec<u8>, bool);

impl Record {
    fn command(&self, operation: u8, read: bool, write: bool) -> Vec<u8> {
        let [a, b, c, d, e] = self.bytes;
        let command = ScsiCommand {
            immediate: self.immediate,
            is_final: self.is_final,
            read,
            write,
            attribute: self.attribute,
            tag: self.tag,
            expected_length: wide(c, d),
            cmd_sn: self.cmd_sn,
            cdb: [operation, e, 0, 0, 0, 0, 0, a, b, 0, 0, 0, 0, 0, 0, 0],
            ..ScsiCommand::default()
        };
        command.encode().to_vec()
    }

    fn request(&self, kind: u8, next: u32) -> Pdu {
        let Record { immediate, is_final, tag, transfer_tag, cmd_sn, .. } = *self;
        let [a, b, c, d, _] = self.bytes;
        match kind {
            5 => {
                let (tag, transfer_tag) = (if a & 1 != 0 { NO_TAG } else { tag }, if b == 0 { NO_TAG } else { u32::from(b) });
                let pdu = NopOut { immediate, tag, transfer_tag, cmd_sn, ..NopOut::default() };
                (pdu.encode().to_vec(), filler(wide(c, d) % 9000), self.counts)
            }
            6 => {
                let (function, referenced_tag, ref_cmd_sn) = (a & 0x7f, u32::from(b), next.wrapping_add_signed(i32::from(c.cast_signed())));
                let pdu = TaskManagementRequest { immediate, function, tag, referenced_tag, cmd_sn, ref_cmd_sn, ..TaskManagementRequest::default() };
                (pdu.encode().to_vec(), Vec::new(), self.counts)
            }
            7 => {
                let pdu = TextRequest { immediate, is_final, continues: b & 1 != 0, tag, transfer_tag, cmd_sn, ..TextRequest::default() };
                let text = TEXTS.get(usize::from(c)).copied().unwrap_or_default();
                (pdu.encode().to_vec(), text.as_bytes().to_vec(), self.counts)
            }
            _ => {
                let pdu = LogoutRequest { immediate, reason: a, tag, cid: u16::from(b), cmd_sn, ..LogoutRequest::default() };
                (pdu.encode().to_vec(), Vec::new(), self.counts)
            }
        }
    }
}

const TEXTS: [&str; 6] =
    ["SendTargets=All\0", "SendTargets=\0", "SendTargets=iqn.2026-01.test:disk\0", "MaxRecvDataSegmentLength=1024\0", "X-a=b\0Send", "Targets=\0"];

fn wide(high: u8, low: u8) -> u32 {
    u32::from(u16::from_be_bytes([high, low]))
}

fn filler(count: u32) -> Vec<u8> {
    vec![0xa5; count as usize]
}

fn pdu_of(&[kind, tag, shift, a, b, c, d, e]: &[u8; 8], next: u32) -> Pdu {
    let record = Record {
        immediate: kind & 0x40 != 0,
        is_final: kind & 0x80 == 0,
        attribute: kind >> 4 & 3,
        tag: u32::from(tag),
        transfer_tag: if a == 0xff { NO_TAG } else { u32::from(a) },
        cmd_sn: next.wrapping_add_signed(i32::from(shift.cast_signed())),
        counts: kind & 0x40 == 0 && shift == 0,
        bytes: [a, b, c, d, e],
    };
    let Record { is_final, tag, transfer_tag, counts, .. } = record;
    match kind & 15 {
        0 => (record.command(0x28, true, false), Vec::new(), counts),
        1 | 2 => (record.command(0x2a, false, true), filler(u32::from(e) * 16), counts),
        3 | 4 => {
            let pdu = DataOut { is_final, tag, transfer_tag, data_sn: u32::from(shift), buffer_offset: u32::from(b) * 256, ..DataOut::default() };
            (pdu.encode().to_vec(), filler(wide(c, d) % 9000), false)
        }
        kind @ 5..=8 => record.request(kind, next),
        9 => (SnackRequest { kind: a, tag, transfer_tag, ..SnackRequest::default() }.encode().to_vec(), Vec::new(), false),
        10 => {
            let headers = AdditionalHeaders { read_length: Some(wide(a, b)), ..AdditionalHeaders::default() };
            (([record.command(0x28, true, true), headers.encode()]).concat(), Vec::new(), counts)
        }
        11 => (record.command(0x12, true, false), Vec::new(), counts),
        12 => (record.command(0x35, false, false), Vec::new(), counts),
        13 => (record.command(a, b & 1 != 0, b & 2 != 0), Vec::new(), counts),
        _ => {
            // Any header at all.
            let mut header = [0; 48];
            header[..8].copy_from_slice(&[kind, a, b, c, 0, 0, 0, 0]);
            header[19] = d;
            header[24..28].copy_from_slice(&record.cmd_sn.to_be_bytes());
            (header.to_vec(), filler(u32::from(e)), false)
        }
    }
}

/// A PDU on the wire, with digests that are zero.
fn push(stream: &mut Vec<u8>, header: &[u8], data: &[u8], (header_digest, data_digest): (bool, bool)) {
    let start = stream.len();
    stream.extend_from_slice(header);
    stream[start + 4] = u8::try_from((header.len() - 48) / 4).unwrap_or(0);
    stream[start + 5..start + 8].copy_from_slice(&u32::try_from(data.len()).unwrap_or(0).to_be_bytes()[1..]);
    if header_digest {
        stream.extend_from_slice(&[0; 4]);
    }
    stream.extend_from_slice(data);
    stream.resize(stream.len() + data.len().next_multiple_of(4) - data.len(), 0);
    if data_digest && !data.is_empty() {
        stream.extend_from_slice(&[0; 4]);
    }
}
