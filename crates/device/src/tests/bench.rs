//! A small store and a loop that runs commands against it, for tests.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use scsi::{BlockSize, DataIn, Outcome, RelativePort, Sense, Status};

use crate::{Device, Errand, Extent, Medium, PortIdentity, Request, Step, StoreAnswer, StoreFault, StoreOp, Traffic, UnitSettings};

/// Bytes that become mapped together.
const CHUNK: u64 = 4096;
/// More steps than any command may take here.
const MAX_STEPS: usize = 100_000;

pub(crate) fn settings() -> UnitSettings {
    UnitSettings {
        tid: 1,
        lun: 2,
        block_size: BlockSize::B512,
        vendor: String::from("IET"),
        product: String::from("VIRTUAL-DISK"),
        revision: String::from("0001"),
        scsi_id: String::from("IET     00010002"),
        scsi_sn: String::from("beaf12"),
        unique: [0x6f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        removable: false,
        read_only: false,
        thin: false,
    }
}

pub(crate) fn medium(bytes: u64) -> Medium {
    Medium { bytes, read_only: false, can_discard: true, preferred: 4096, durable: true }
}

pub(crate) fn port() -> PortIdentity {
    PortIdentity { target_name: String::from("iqn.2020-01.com.example:disk"), group_tag: 1, relative_port: RelativePort(3) }
}

/// A device on a store of bytes.
pub(crate) struct Bench {
    pub(crate) device: Device,
    pub(crate) bytes: Vec<u8>,
    mapped: Vec<bool>,
    /// Every store operation that was asked for.
    pub(crate) ops: Vec<StoreOp>,
    /// Answers for the next operations, instead of doing them; `None` does it.
    pub(crate) faults: VecDeque<Option<StoreFault>>,
    pub(crate) nexus: u64,
}

impl Bench {
    /// A disk of `blocks` blocks of 512 bytes.
    pub(crate) fn disk(blocks: usize) -> Bench {
        Bench::with(settings(), blocks)
    }

    /// A thin disk.
    pub(crate) fn thin(blocks: usize) -> Bench {
        Bench::with(UnitSettings { thin: true, ..settings() }, blocks)
    }

    /// A removable disk.
    pub(crate) fn removable(blocks: usize) -> Bench {
        Bench::with(UnitSettings { removable: true, ..settings() }, blocks)
    }

    pub(crate) fn with(settings: UnitSettings, blocks: usize) -> Bench {
        let len = blocks * usize::try_from(settings.block_size.bytes()).unwrap();
        Bench::around(Device::disk(settings, Some(medium(u64::try_from(len).unwrap()))), len)
    }

    /// Any device; `len` bytes of store.
    pub(crate) fn around(device: Device, len: usize) -> Bench {
        let chunks = len.div_ceil(usize::try_from(CHUNK).unwrap());
        Bench { device, bytes: vec![0; len], mapped: vec![false; chunks], ops: Vec::new(), faults: VecDeque::new(), nexus: 1 }
    }

    /// Runs a command to its end, and has it counted. Returns the outcome and the data the initiator gets, its own limit not applied.
    pub(crate) fn run(&mut self, cdb: &[u8], data_out: &[u8]) -> (Outcome, Vec<u8>) {
        let (outcome, data) = self.steps(cdb, data_out);
        self.ended(cdb, &outcome, u32::try_from(data.len()).unwrap());
        (outcome, data)
    }

    /// Has the end of a command counted.
    pub(crate) fn ended(&mut self, cdb: &[u8], outcome: &Outcome, data_in: u32) {
        let row = self.device.lookup(cdb).ok();
        self.device.ended(&crate::Ended { row, cdb, outcome, data_in, data_out: outcome.data_out, nanoseconds: 1_000_000 });
    }

    fn steps(&mut self, cdb: &[u8], data_out: &[u8]) -> (Outcome, Vec<u8>) {
        let row = match self.device.lookup(cdb) {
            Ok(row) => row,
            Err(outcome) => return (outcome, Vec::new()),
        };
        let port = port();
        let offered = u32::try_from(data_out.len()).unwrap();
        let request = Request { row, cdb, data_out: offered, data_in: 65536, nexus: self.nexus, port: &port };
        if let Err(outcome) = self.device.check(&request) {
            return (outcome, Vec::new());
        }
        let (mut progress, mut step) = self.device.begin(&request);
        let mut payload = Vec::new();
        for _ in 0..MAX_STEPS {
            step = match step {
                Step::Finish(outcome) => return finish(outcome, &payload),
                Step::Fetch { len, inline } => {
                    assert!(len <= offered, "fetches more than was offered");
                    assert!(!inline || len <= 65536, "parameters of more than 64 KiB");
                    payload = data_out[..usize::try_from(len).unwrap()].to_vec();
                    self.device.fetched(&mut progress, if inline { &payload } else { &[] })
                }
                Step::Store(op) => {
                    self.ops.push(op);
                    let result = match self.faults.pop_front().flatten() {
                        Some(fault) => Err(fault),
                        None => Ok(self.execute(op, &mut payload)),
                    };
                    self.device.stored(&mut progress, result)
                }
            };
        }
        panic!("the command does not end");
    }

    /// What the unit wants on its own; `commands`: some are there.
    pub(crate) fn poll(&mut self, commands: bool) -> Option<Errand> {
        self.device.poll_errand(Traffic { commands, at_store: false })
    }

    /// Carries out one operation that the unit asks for on its own. False: it wants none.
    pub(crate) fn errand(&mut self, commands: bool) -> bool {
        let Some(Errand { number, op, payload, .. }) = self.poll(commands) else { return false };
        self.ops.push(op);
        let result = match self.faults.pop_front().flatten() {
            Some(fault) => Err(fault),
            None => Ok(self.execute(op, &mut payload.to_vec())),
        };
        self.device.errand_ended(number, result);
        true
    }

    /// Carries out all of it.
    pub(crate) fn work(&mut self) {
        for _ in 0..MAX_STEPS {
            if !self.errand(false) {
                return;
            }
        }
        panic!("the unit never rests");
    }

    /// Runs a command without data-out that must be GOOD; the data-in.
    pub(crate) fn good(&mut self, cdb: &[u8]) -> Vec<u8> {
        let (outcome, data) = self.run(cdb, &[]);
        assert_eq!(outcome.status, Status::GOOD, "{:?}", outcome.sense);
        data
    }

    /// Runs a command that must end with CHECK CONDITION; the sense, as key << 16 | ASC and ASCQ.
    pub(crate) fn refused(&mut self, cdb: &[u8], data_out: &[u8]) -> u32 {
        code(&self.sense(cdb, data_out))
    }

    /// The sense of a command that must end with CHECK CONDITION.
    pub(crate) fn sense(&mut self, cdb: &[u8], data_out: &[u8]) -> Sense {
        let (outcome, data) = self.run(cdb, data_out);
        assert_eq!(outcome.status, Status::CHECK_CONDITION);
        assert!(data.is_empty());
        outcome.sense.unwrap()
    }

    fn execute(&mut self, op: StoreOp, payload: &mut Vec<u8>) -> StoreAnswer {
        match op {
            StoreOp::Read { offset, len } => *payload = self.bytes[range(offset, len.into())].to_vec(),
            StoreOp::Write { offset, len, payload: at, .. } => {
                self.map(offset, len.into(), true);
                self.bytes[range(offset, len.into())].copy_from_slice(&payload[range(at.into(), len.into())]);
            }
            StoreOp::Compare { offset, len, payload: at } => {
                return compare(&self.bytes[range(offset, len.into())], payload[range(at.into(), len.into())].iter());
            }
            StoreOp::CompareSame { offset, len, block } => {
                return compare(&self.bytes[range(offset, len)], payload[range(0, block.into())].iter().cycle());
            }
            StoreOp::WriteSame { offset, len, block, .. } => {
                self.map(offset, len, true);
                let pattern = payload[range(0, block.into())].iter().cycle();
                self.bytes[range(offset, len)].iter_mut().zip(pattern).for_each(|(to, &from)| *to = from);
            }
            StoreOp::Fill { offset, len, block, payload: at, pattern, invert } => {
                self.map(offset, len, true);
                let turn = if invert { 0xff } else { 0x00 };
                for to in self.bytes[range(offset, len)].chunks_mut(usize::try_from(block).unwrap()) {
                    let pattern = payload[range(at.into(), pattern.into())].iter().cycle();
                    to.iter_mut().zip(pattern).for_each(|(to, &from)| *to = from ^ turn);
                }
            }
            StoreOp::Or { offset, len } => {
                let medium = &self.bytes[range(offset, len.into())];
                payload.iter_mut().zip(medium).for_each(|(to, &from)| *to |= from);
            }
            StoreOp::Zero { offset, len, .. } => self.bytes[range(offset, len)].fill(0),
            StoreOp::Discard { offset, len } => {
                self.map(offset, len, false);
                self.bytes[range(offset, len)].fill(0);
            }
            StoreOp::Flush { offset, len } | StoreOp::Check { offset, len } | StoreOp::Prefetch { offset, len } => {
                let _inside = &self.bytes[range(offset, len)];
            }
            StoreOp::Extents { offset, len, max } => return StoreAnswer::Extents(self.extents(offset, len, max)),
        }
        StoreAnswer::Done
    }

    fn map(&mut self, offset: u64, len: u64, mapped: bool) {
        // Deallocation only frees whole chunks.
        let (first, end) = if mapped { (offset / CHUNK, (offset + len).div_ceil(CHUNK)) } else { (offset.div_ceil(CHUNK), (offset + len) / CHUNK) };
        for chunk in first..end {
            self.mapped[usize::try_from(chunk).unwrap()] = mapped;
        }
    }

    fn extents(&self, offset: u64, len: u64, max: u32) -> Vec<Extent> {
        let mut extents = Vec::new();
        let mut at = offset;
        while at < offset + len && extents.len() < usize::try_from(max).unwrap() {
            let mapped = self.mapped[usize::try_from(at / CHUNK).unwrap()];
            let end = ((at / CHUNK + 1) * CHUNK).min(offset + len);
            extents.push(Extent { offset: at, len: end - at, mapped });
            at = end;
        }
        extents
    }
}

fn finish(outcome: Outcome, payload: &[u8]) -> (Outcome, Vec<u8>) {
    let data = match &outcome.data_in {
        DataIn::None => Vec::new(),
        DataIn::Inline(data) => data.clone(),
        DataIn::Payload { len } => payload[..usize::try_from(*len).unwrap()].to_vec(),
    };
    assert_eq!(outcome.sense.is_some(), outcome.status == Status::CHECK_CONDITION);
    (outcome, data)
}

fn range(offset: u64, len: u64) -> core::ops::Range<usize> {
    let start = usize::try_from(offset).unwrap();
    start..start + usize::try_from(len).unwrap()
}

fn compare<'a>(medium: &[u8], data: impl Iterator<Item = &'a u8>) -> StoreAnswer {
    match medium.iter().zip(data).position(|(a, b)| a != b) {
        Some(at) => StoreAnswer::Differs { at: u64::try_from(at).unwrap() },
        None => StoreAnswer::Equal,
    }
}

/// Sense as one number.
pub(crate) fn code(sense: &Sense) -> u32 {
    u32::from(sense.key.0) << 16 | u32::from(sense.asc.0)
}
