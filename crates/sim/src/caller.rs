//! An initiator that does as it is told, PDU by PDU: it leaves holes in its command window, keeps data back, and remembers all it got.
//!
//! It writes and reads its headers itself, as the initiator of the crate `iscsi` does, and has no rules of its own.

use std::collections::BTreeSet;

use scsi::TaskAttribute;

/// Length of a basic header segment.
const HEADER: usize = 48;
/// The tag that names no task.
const NO_TAG: u32 = 0xffff_ffff;
const FINAL: u8 = 0x80;
const IMMEDIATE: u8 = 0x40;

/// A PDU from the target.
#[derive(Clone, Debug)]
pub struct Pdu {
    /// When its last byte came, in nanoseconds.
    pub at: u64,
    /// Basic header segment.
    pub header: [u8; HEADER],
    /// Data segment without padding.
    pub data: Vec<u8>,
}

impl Pdu {
    /// Operation code.
    pub fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// Initiator task tag.
    pub fn tag(&self) -> u32 {
        self.word(16)
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(std::array::from_fn(|index| self.header[at + index]))
    }

    /// It ends a command: a SCSI Response, or Data-In with status. The status.
    pub fn status(&self) -> Option<u8> {
        match self.opcode() {
            0x21 => Some(self.header[3]),
            0x25 if self.header[1] & 1 != 0 => Some(self.header[3]),
            _ => None,
        }
    }

    /// Sense key and additional sense code of a SCSI Response in fixed format.
    pub fn sense(&self) -> Option<(u8, u16)> {
        let sense = self.data.get(2..)?;
        Some((sense.get(2)? & 0xf, u16::from_be_bytes([*sense.get(12)?, *sense.get(13)?])))
    }
}

/// The initiator.
#[derive(Debug)]
pub struct Caller {
    /// Its number in the world.
    pub id: usize,
    /// What it got, in order.
    pub received: Vec<Pdu>,
    /// When its connection went, if it did.
    pub closed: Option<u64>,
    /// What is to be sent.
    pub output: Vec<u8>,
    /// The next CmdSN.
    pub cmd_sn: u32,
    inbox: Vec<u8>,
    next_tag: u32,
    exp_stat_sn: u32,
    /// Commands whose data were sent.
    given: BTreeSet<u32>,
}

impl Caller {
    /// An initiator without connection, whose first CmdSN is `cmd_sn`.
    pub fn new(id: usize, cmd_sn: u32) -> Caller {
        Caller {
            id,
            received: Vec::new(),
            closed: None,
            output: Vec::new(),
            cmd_sn,
            inbox: Vec::new(),
            next_tag: (id as u32) << 16,
            exp_stat_sn: 0,
            given: BTreeSet::new(),
        }
    }

    /// A new connection: the Login Request for all that this module needs, with `segment` as MaxRecvDataSegmentLength.
    pub fn login(&mut self, target: &str, segment: u32) {
        (self.closed, self.exp_stat_sn) = (None, 0);
        self.inbox.clear();
        let name = format!("iqn.2026-11.sim:caller{}", self.id);
        let segment = segment.to_string();
        let keys = [
            ("InitiatorName", name.as_str()),
            ("TargetName", target),
            ("SessionType", "Normal"),
            ("InitialR2T", "Yes"),
            ("ImmediateData", "No"),
            ("MaxRecvDataSegmentLength", &segment),
            ("iSCSIProtocolLevel", "2"),
            // What the target would else ask for, in one more round.
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("MaxOutstandingR2T", "1"),
        ];
        let text: Vec<u8> = keys.iter().flat_map(|(key, value)| format!("{key}={value}\0").into_bytes()).collect();
        let mut header = [0; HEADER];
        (header[0], header[1]) = (0x03 | IMMEDIATE, FINAL | 1 << 2 | 3);
        header[8..14].copy_from_slice(&[0x80, 0, 0, 0, 0, self.id as u8]);
        self.send(header, &text);
    }

    /// A command in order; `attribute` and `naca` as they say. Its tag.
    pub fn command(&mut self, cdb: &[u8], data_out: u32, data_in: u32, attribute: TaskAttribute) -> u32 {
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.command_at(self.cmd_sn.wrapping_sub(1), cdb, data_out, data_in, attribute)
    }

    /// A command with this CmdSN. Its tag.
    pub fn command_at(&mut self, cmd_sn: u32, cdb: &[u8], data_out: u32, data_in: u32, attribute: TaskAttribute) -> u32 {
        let tag = self.tag();
        let mut header = [0; HEADER];
        let attribute = match attribute {
            TaskAttribute::Simple => 1,
            TaskAttribute::Ordered => 2,
            TaskAttribute::HeadOfQueue => 3,
            TaskAttribute::Aca => 4,
        };
        let write = if data_out > 0 { 0x20 } else { 0 };
        let read = if data_in > 0 { 0x40 } else { 0 };
        (header[0], header[1]) = (0x01, FINAL | write | read | attribute);
        header[9] = 1;
        put(&mut header, 16, tag);
        put(&mut header, 20, data_out.max(data_in));
        put(&mut header, 24, cmd_sn);
        header[32..32 + cdb.len()].copy_from_slice(cdb);
        self.send(header, &[]);
        tag
    }

    /// A task management function. Its tag.
    pub fn function(&mut self, function: u8, referenced: Option<(u32, u32)>, immediate: bool) -> u32 {
        let tag = self.tag();
        let (referenced, number) = referenced.unwrap_or((NO_TAG, 0));
        let mut header = [0; HEADER];
        (header[0], header[1]) = (0x02 | if immediate { IMMEDIATE } else { 0 }, FINAL | function);
        header[9] = 1;
        put(&mut header, 16, tag);
        put(&mut header, 20, referenced);
        put(&mut header, 24, self.cmd_sn);
        put(&mut header, 32, number);
        if !immediate {
            self.cmd_sn = self.cmd_sn.wrapping_add(1);
        }
        self.send(header, &[]);
        tag
    }

    /// Sends what the R2T of `tag` wants of `bytes`. Nothing happens when there was none, or when it was sent before.
    pub fn give_data(&mut self, tag: u32, bytes: &[u8]) {
        let Some(found) = self.received.iter().rfind(|pdu| pdu.opcode() == 0x31 && pdu.tag() == tag) else { return };
        if !self.given.insert(tag) {
            return;
        }
        let (offset, len) = (found.word(40) as usize, found.word(44) as usize);
        let mut header = [0; HEADER];
        (header[0], header[1]) = (0x05, FINAL);
        header[8..16].copy_from_slice(&found.header[8..16]);
        let transfer = found.word(20);
        put(&mut header, 16, tag);
        put(&mut header, 20, transfer);
        put(&mut header, 40, offset as u32);
        self.send(header, &bytes[offset..offset + len]);
    }

    /// Bytes came.
    pub fn bytes(&mut self, bytes: &[u8], now: u64) {
        self.inbox.extend_from_slice(bytes);
        while let Some(pdu) = self.cut(now) {
            // All but R2T, Data-In without status and NOP-In that is no answer carry a StatSN of their own.
            let has_status = !matches!(pdu.opcode(), 0x25 | 0x31) || pdu.status().is_some();
            if has_status {
                self.exp_stat_sn = pdu.word(24).wrapping_add(1);
            }
            self.received.push(pdu);
        }
    }

    fn cut(&mut self, at: u64) -> Option<Pdu> {
        let header: [u8; HEADER] = self.inbox.get(..HEADER)?.try_into().ok()?;
        let ahs = usize::from(header[4]) * 4;
        let len = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        let end = HEADER + ahs + len.next_multiple_of(4);
        let data = self.inbox.get(..end)?[HEADER + ahs..HEADER + ahs + len].to_vec();
        self.inbox.drain(..end);
        Some(Pdu { at, header, data })
    }

    /// The PDU with which command `tag` ended, and its place.
    pub fn end_of(&self, tag: u32) -> Option<(usize, &Pdu)> {
        self.received.iter().enumerate().find(|(_, pdu)| pdu.tag() == tag && pdu.status().is_some())
    }

    /// The answer to function `tag`, and its place.
    pub fn function_answer(&self, tag: u32) -> Option<(usize, &Pdu)> {
        self.received.iter().enumerate().find(|(_, pdu)| pdu.tag() == tag && pdu.opcode() == 0x22)
    }

    /// An R2T for command `tag` came.
    pub fn has_r2t(&self, tag: u32) -> bool {
        self.received.iter().any(|pdu| pdu.opcode() == 0x31 && pdu.tag() == tag)
    }

    fn tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag
    }

    fn send(&mut self, mut header: [u8; HEADER], data: &[u8]) {
        put(&mut header, 28, self.exp_stat_sn);
        if header[0] & 0x3f == 0x03 {
            put(&mut header, 24, self.cmd_sn);
        }
        header[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        self.output.extend_from_slice(&header);
        self.output.extend_from_slice(data);
        self.output.resize(self.output.len().next_multiple_of(4), 0);
    }
}

fn put(header: &mut [u8; HEADER], at: usize, value: u32) {
    header[at..at + 4].copy_from_slice(&value.to_be_bytes());
}
