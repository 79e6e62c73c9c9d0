//! What a copy has to do: parameter lists become jobs, one for each segment or piece of a range.

use alloc::boxed::Box;
use alloc::vec::Vec;

use scsi::third_party_copy::{BlockCopy, ByteCopy, CopyList, Cscd, End, PopulateToken, Segment, WriteUsingToken};
use scsi::{Asc, BlockRange, BlockSize, CopyEnd, DeviceType, Forwarded, Sense, SenseKey, Status};

use super::{Answer, PartUnit, Question, TokenFacts, UnitFacts, aborted};

/// COPY TARGET DEVICE NOT REACHABLE.
pub(crate) const NOT_REACHABLE: Asc = Asc(0x0d02);
/// INCORRECT COPY TARGET DEVICE TYPE.
const INCORRECT_TYPE: Asc = Asc(0x0d03);
/// UNEXPECTED INEXACT SEGMENT.
const INEXACT_SEGMENT: Asc = Asc(0x260a);
/// COPY SEGMENT GRANULARITY VIOLATION.
const GRANULARITY_VIOLATION: Asc = Asc(0x260d);

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Plan {
    Extended(CopyList),
    Populate(PopulateToken),
    Write(Box<WriteUsingToken>),
}

impl Plan {
    pub fn questions(&self) -> Vec<Question> {
        match self {
            Plan::Extended(list) => list.cscds.iter().map(|cscd| Question::Unit(cscd.designator)).collect(),
            Plan::Populate(_) => Vec::new(),
            Plan::Write(list) => Vec::from([Question::Token(Box::new(list.token))]),
        }
    }

    /// IMMED.
    pub fn is_immediate(&self) -> bool {
        match self {
            Plan::Extended(list) => list.immediate,
            Plan::Populate(list) => list.immediate,
            Plan::Write(list) => list.immediate,
        }
    }
}

/// Blocks of one unit to another, or to itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Blocks {
    pub source: PartUnit,
    /// In bytes from the beginning of the medium.
    pub source_start: u64,
    pub source_size: BlockSize,
    pub destination: PartUnit,
    pub destination_start: u64,
    pub destination_size: BlockSize,
    pub bytes: u64,
    /// From the end to the beginning: the destination lies in the source, a little further on.
    pub backward: bool,
    pub token: Option<u64>,
}

/// One segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Job {
    Nothing,
    Blocks(Blocks),
    /// Blocks of this unit become zeros.
    Zero(BlockRange),
    /// TEST UNIT READY.
    Ready(PartUnit),
    /// It cannot be done.
    Fails(Sense),
}

/// Which part is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doing {
    Nothing,
    Reading { len: u32 },
    Writing { len: u32 },
    Zeroing { blocks: u32 },
    Testing,
}

/// A copy under way.
#[derive(Debug)]
pub(crate) struct Copy {
    /// Number of its record.
    pub record: u64,
    pub plan: Plan,
    pub jobs: Vec<Job>,
    /// The job that is being done.
    pub at: usize,
    /// Bytes of it that are done; blocks when they are zeroed.
    pub done: u64,
    pub doing: Doing,
    /// COPY OPERATION ABORT asked for its end.
    pub cancelled: bool,
}

impl Copy {
    pub fn new(record: u64, plan: Plan) -> Copy {
        Copy { record, plan, jobs: Vec::new(), at: 0, done: 0, doing: Doing::Nothing, cancelled: false }
    }

    /// Is it one of EXTENDED COPY? Its failures name the segment.
    pub fn is_extended(&self) -> bool {
        matches!(self.plan, Plan::Extended(_))
    }
}

/// The jobs of EXTENDED COPY. What a segment cannot do is known when its turn comes: those before it are done.
pub(crate) fn extended(list: &CopyList, answers: &[Answer], this: UnitFacts) -> Vec<Job> {
    let world = World { list, answers, this };
    let job = |segment: &Segment| match segment {
        Segment::Verify { unit, ready } => world.verify(*unit, *ready),
        Segment::Copy(copy) => world.copy(copy),
        Segment::CopyBytes(copy) => world.copy_bytes(copy),
    };
    list.segments.iter().map(|segment| job(segment).unwrap_or_else(Job::Fails)).collect()
}

struct World<'a> {
    list: &'a CopyList,
    answers: &'a [Answer],
    this: UnitFacts,
}

impl World<'_> {
    /// The unit of a segment's index.
    fn unit(&self, end: End) -> Result<(PartUnit, UnitFacts, Option<&Cscd>), Sense> {
        let End::Descriptor(index) = end else { return Ok((PartUnit::This, self.this, None)) };
        let index = usize::from(index);
        let (Some(cscd), Some(Answer::Unit(facts))) = (self.list.cscds.get(index).filter(|cscd| !cscd.null), self.answers.get(index)) else {
            return Err(aborted(NOT_REACHABLE));
        };
        if cscd.device_type != facts.device_type || facts.device_type != DeviceType::DISK {
            return Err(aborted(INCORRECT_TYPE));
        }
        Ok((PartUnit::Surveyed(index), *facts, Some(cscd)))
    }

    /// The same, for blocks: the descriptor's block length is the unit's.
    fn blocks(&self, end: End) -> Result<(PartUnit, UnitFacts, bool), Sense> {
        let (unit, facts, cscd) = self.unit(end)?;
        let declared = cscd.map_or(0, |cscd| cscd.block_length);
        if declared != 0 && declared != facts.block_size.bytes() {
            return Err(aborted(INCORRECT_TYPE));
        }
        Ok((unit, facts, cscd.is_some_and(|cscd| cscd.pads)))
    }

    fn verify(&self, end: End, ready: bool) -> Result<Job, Sense> {
        let (unit, ..) = self.unit(end)?;
        Ok(if ready { Job::Ready(unit) } else { Job::Nothing })
    }

    fn copy(&self, copy: &BlockCopy) -> Result<Job, Sense> {
        let (source, source_facts, source_pads) = self.blocks(copy.source)?;
        let (destination, destination_facts, destination_pads) = self.blocks(copy.destination)?;
        let (source_size, destination_size) = (source_facts.block_size, destination_facts.block_size);
        let (counted, other) = if copy.counts_destination { (destination_size, source_size) } else { (source_size, destination_size) };
        let bytes = u64::from(copy.blocks) << counted.shift();
        if bytes == 0 {
            return Ok(Job::Nothing);
        }
        if !bytes.is_multiple_of(u64::from(other.bytes())) {
            return Err(match copy.concatenates || source_pads || destination_pads {
                // Nothing is kept for the next segment, and nothing is filled up.
                true => Sense::invalid_parameter_field(copy.place.saturating_add(1), Some(0)),
                false => aborted(INEXACT_SEGMENT),
            });
        }
        blocks((source, source_facts, copy.source_lba), (destination, destination_facts, copy.destination_lba), bytes)
    }

    /// Bytes are moved as blocks: DATA SEGMENT GRANULARITY says so, and what is not whole blocks violates it.
    fn copy_bytes(&self, copy: &ByteCopy) -> Result<Job, Sense> {
        let (source, source_facts, _) = self.blocks(copy.source)?;
        let (destination, destination_facts, _) = self.blocks(copy.destination)?;
        let bytes = u64::from(copy.bytes);
        if bytes == 0 {
            return Ok(Job::Nothing);
        }
        let first = |lba: u64, offset: u16, facts: UnitFacts| {
            let block = u64::from(facts.block_size.bytes());
            let whole = u64::from(offset).is_multiple_of(block) && bytes.is_multiple_of(block);
            // What lies behind the last possible number is behind the end as well.
            if whole { Ok(lba.saturating_add(u64::from(offset) / block)) } else { Err(aborted(GRANULARITY_VIOLATION)) }
        };
        let source_lba = first(copy.source_lba, copy.source_offset, source_facts)?;
        let destination_lba = first(copy.destination_lba, copy.destination_offset, destination_facts)?;
        blocks((source, source_facts, source_lba), (destination, destination_facts, destination_lba), bytes)
    }
}

/// Whole blocks of both ends: each is a unit, what is known of it, and the first block.
fn blocks(source: (PartUnit, UnitFacts, u64), destination: (PartUnit, UnitFacts, u64), bytes: u64) -> Result<Job, Sense> {
    let source_start = start(source.2, bytes, source.1, CopyEnd::Source)?;
    let destination_start = start(destination.2, bytes, destination.1, CopyEnd::Destination)?;
    let overlaps = destination_start > source_start && destination_start - source_start < bytes;
    // Descriptors may differ and name the same unit, so two of one block length count as one: order is free otherwise.
    let may_be_one = source.1.block_size == destination.1.block_size;
    Ok(Job::Blocks(Blocks {
        source: source.0,
        source_start,
        source_size: source.1.block_size,
        destination: destination.0,
        destination_start,
        destination_size: destination.1.block_size,
        bytes,
        backward: may_be_one && overlaps,
        token: None,
    }))
}

/// First byte of the blocks. What lies behind the end is known without asking the unit, which would say the same. A unit without a medium has no end: it says so itself.
fn start(lba: u64, bytes: u64, facts: UnitFacts, from: CopyEnd) -> Result<u64, Sense> {
    let inside = lba.checked_add(bytes >> facts.block_size.shift()).is_some_and(|end| end <= facts.blocks || facts.blocks == 0);
    let first = lba.checked_mul(u64::from(facts.block_size.bytes())).filter(|_| inside);
    let mut beyond = aborted(Asc::NONE);
    let sense = Some((SenseKey::ILLEGAL_REQUEST, Asc::LBA_OUT_OF_RANGE));
    beyond.forwarded = Some(Forwarded { from, status: Status::CHECK_CONDITION.0, sense, information: None });
    first.and_then(|first| first.checked_add(bytes).map(|_| first)).ok_or(beyond)
}

/// The jobs of WRITE USING TOKEN: the ranges of the destination, each filled from where the ROD has come to. A ROD that is too short leaves the rest.
///
/// # Errors
/// The offset lies behind the end of the ROD, or blocks of one side begin within blocks of the other.
pub(crate) fn from_token(list: &WriteUsingToken, token: &TokenFacts, this: BlockSize) -> Result<Vec<Job>, Sense> {
    let bytes = |range: &BlockRange, size: BlockSize| range.count.0 << size.shift();
    let total: u64 = token.ranges.iter().map(|range| bytes(range, token.block_size)).sum();
    let beyond = Sense::invalid_parameter_field(8, Some(7));
    let mut skip = list.offset.checked_mul(u64::from(this.bytes())).filter(|&offset| offset < total).ok_or(beyond)?;
    let mut sources = token.ranges.iter();
    let (mut source_start, mut source_left) = (0, 0);
    let mut jobs = Vec::new();
    for range in &list.ranges {
        let mut destination_start = range.start.0 << this.shift();
        let mut left = bytes(range, this);
        while left > 0 {
            while source_left == 0 {
                let Some(source) = sources.next() else { return Ok(jobs) };
                let len = bytes(source, token.block_size);
                let skipped = skip.min(len);
                skip -= skipped;
                source_start = (source.start.0 << token.block_size.shift()) + skipped;
                source_left = len - skipped;
            }
            let bytes = left.min(source_left);
            let blocks = Blocks {
                source: PartUnit::Surveyed(0),
                source_start,
                source_size: token.block_size,
                destination: PartUnit::This,
                destination_start,
                destination_size: this,
                bytes,
                backward: false,
                token: Some(token.number),
            };
            let numbers = [source_start, destination_start, bytes];
            let larger = u64::from(token.block_size.bytes().max(this.bytes()));
            let whole = source_start.is_multiple_of(u64::from(token.block_size.bytes())) && bytes.is_multiple_of(larger);
            if !whole || numbers.iter().any(|number| !number.is_multiple_of(512)) {
                return Err(Sense::illegal(GRANULARITY_VIOLATION));
            }
            jobs.push(Job::Blocks(blocks));
            (left, source_left) = (left - bytes, source_left - bytes);
            (source_start, destination_start) = (source_start + bytes, destination_start + bytes);
        }
    }
    Ok(jobs)
}
