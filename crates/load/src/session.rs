//! A session that keeps its commands under way.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crc_fast::{CrcAlgorithm, Digest};
use iscsi::initiator::{Command, Completion, Connection, Event, Settings};
use rand_core::Rng;
use rand_pcg::Pcg64;
use rustix::event::PollFlags;

use crate::plan::{Direction, Plan};
use crate::report::Ended;

/// How long the target may be silent before the load begins.
const PATIENCE: Duration = Duration::from_secs(10);
/// Unit attentions that a fresh session may have to hear before commands run.
const ATTENTIONS: usize = 8;
/// Bytes of one receive.
const RECEIVE: usize = 1 << 20;
/// Status CHECK CONDITION.
const CHECK_CONDITION: u8 = 2;

pub(crate) struct Session {
    stream: TcpStream,
    connection: Connection,
    lun: u64,
    bytes: u32,
    depth: usize,
    direction: Direction,
    /// Blocks of a command.
    blocks: u32,
    random: Option<Pcg64>,
    choice: Pcg64,
    /// Commands' places in our part of the unit: the first, how many, and the next.
    first: u64,
    places: u64,
    next: u64,
    data: Vec<u8>,
    under_way: HashMap<u32, Instant>,
    output: Vec<u8>,
    sent: usize,
    buffer: Vec<u8>,
    ready: bool,
}

impl Session {
    /// Logs in, hears the unit attentions and asks for the capacity.
    pub fn open(plan: &Plan, number: usize) -> Result<Session> {
        let stream = TcpStream::connect(plan.portal).with_context(|| format!("cannot connect to {}", plan.portal))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let stream_number = u128::try_from(number)?;
        let mut data = vec![0; usize::try_from(plan.bytes)?];
        let mut choice = Pcg64::new(u128::from(plan.seed), 0x5ca1_ab1e + stream_number);
        choice.fill_bytes(&mut data);
        let mut session = Session {
            stream,
            connection: Connection::new(settings(plan, number)),
            lun: plan.lun,
            bytes: plan.bytes,
            depth: plan.depth,
            direction: plan.direction,
            blocks: 0,
            random: plan.random.then(|| Pcg64::new(u128::from(plan.seed), 0xfeed + stream_number)),
            choice,
            first: 0,
            places: 0,
            next: 0,
            data,
            under_way: HashMap::new(),
            output: Vec::new(),
            sent: 0,
            buffer: vec![0; RECEIVE],
            ready: false,
        };
        session.log_in()?;
        session.measure(plan, number)?;
        session.stream.set_nonblocking(true)?;
        Ok(session)
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn interest(&self) -> PollFlags {
        if self.sent < self.output.len() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    pub fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Brings as many commands under way as are wanted.
    pub fn fill(&mut self, now: Instant) -> Result<()> {
        while self.under_way.len() < self.depth {
            let tag = self.submit_next();
            self.under_way.insert(tag, now);
        }
        self.send()
    }

    /// Receives what is there, and tells of each command that ended.
    pub fn serve(&mut self, mut ended: impl FnMut(Ended)) -> Result<()> {
        if !core::mem::take(&mut self.ready) {
            return Ok(());
        }
        self.receive()?;
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Done(done) => {
                    let Some(begun) = self.under_way.remove(&done.tag) else { bail!("the answer to a command that was not sent: {:#x}", done.tag) };
                    ended(Ended { begun, good: self.is_good(&done) });
                }
                Event::Pong { .. } | Event::Async { .. } => {}
                other => bail!("the target: {other:?}"),
            }
        }
        self.send()
    }

    fn is_good(&self, done: &Completion) -> bool {
        done.response == 0 && done.status == 0 && done.residual == 0
    }

    fn log_in(&mut self) -> Result<()> {
        match self.next_event()? {
            Event::LoggedIn { .. } => {}
            Event::LoginFailed { status, .. } => bail!("the login was refused with status {status:04x}"),
            other => bail!("during login: {other:?}"),
        }
        for _ in 0..ATTENTIONS {
            let done = self.call(Command::new(self.lun, &[0; 6]))?;
            match done.status {
                0 => return Ok(()),
                CHECK_CONDITION => {}
                status => bail!("TEST UNIT READY: status {status:#04x}"),
            }
        }
        bail!("the unit is not ready")
    }

    /// READ CAPACITY(16): which part of the unit is ours.
    fn measure(&mut self, plan: &Plan, number: usize) -> Result<()> {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        let done = self.call(Command::new(self.lun, &cdb).reading(32))?;
        let &[a, b, c, d, e, f, g, h, i, j, k, l, ..] = done.data_in.as_slice() else { bail!("READ CAPACITY(16): status {:#04x}", done.status) };
        let capacity = u64::from_be_bytes([a, b, c, d, e, f, g, h]).saturating_add(1);
        let block = u32::from_be_bytes([i, j, k, l]);
        if block == 0 || !plan.bytes.is_multiple_of(block) {
            bail!("bs={} is no multiple of the unit's {block} bytes", plan.bytes);
        }
        self.blocks = plan.bytes / block;
        let bytes = capacity.saturating_mul(u64::from(block));
        let bytes = if plan.range == 0 { bytes } else { bytes.min(plan.range) };
        let places = bytes / u64::from(plan.bytes);
        // Sessions that read one after the other each have a part of their own.
        self.places = if plan.random { places } else { places / u64::try_from(plan.sessions)? };
        self.first = if plan.random { 0 } else { self.places * u64::try_from(number)? };
        if self.places == 0 {
            bail!("the unit is too small for bs={}", plan.bytes);
        }
        Ok(())
    }

    fn submit_next(&mut self) -> u32 {
        let place = match &mut self.random {
            Some(random) => random.next_u64() % self.places,
            None => self.next % self.places,
        };
        self.next = self.next.wrapping_add(1);
        let write = match self.direction {
            Direction::Read => false,
            Direction::Write => true,
            Direction::Both => self.choice.next_u64().is_multiple_of(2),
        };
        let address = (self.first + place) * u64::from(self.blocks);
        let mut cdb = [0; 16];
        cdb[0] = if write { 0x8a } else { 0x88 };
        cdb[2..10].copy_from_slice(&address.to_be_bytes());
        cdb[10..14].copy_from_slice(&self.blocks.to_be_bytes());
        let command = Command::new(self.lun, &cdb);
        self.connection.submit(if write { command.writing(self.data.clone()) } else { command.reading(self.bytes) })
    }

    /// One command, waited for.
    fn call(&mut self, command: Command) -> Result<Completion> {
        let tag = self.connection.submit(command);
        loop {
            match self.next_event()? {
                Event::Done(done) if done.tag == tag => return Ok(done),
                Event::Pong { .. } | Event::Async { .. } => {}
                other => bail!("the target: {other:?}"),
            }
        }
    }

    fn next_event(&mut self) -> Result<Event> {
        loop {
            self.send()?;
            if let Some(event) = self.connection.poll_event() {
                return Ok(event);
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> Result<()> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => bail!("the target closed the connection"),
            Ok(count) => self.connection.handle_bytes(&self.buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) && !self.under_way.is_empty() => {}
            Err(error) => return Err(error).context("the target is silent"),
        }
        Ok(())
    }

    /// Everything that is to be sent, in as few system calls as the socket allows.
    fn send(&mut self) -> Result<()> {
        while let Some(bytes) = self.connection.poll_output() {
            self.output.extend_from_slice(&bytes);
        }
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the target closed the connection"),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }
}

fn settings(plan: &Plan, number: usize) -> Settings {
    let mut settings = Settings::new(&format!("iqn.2026-11.bench:load{number}"), Some(&plan.target));
    settings.crc32c = crc32c;
    settings.header_digest = plan.header_digest;
    settings.data_digest = plan.data_digest;
    settings.max_recv_data_segment_length = plan.segment;
    settings
}

/// CRC32C continued, with the processor's instructions.
fn crc32c(previous: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!previous));
    digest.update(bytes);
    u32::try_from(digest.finalize()).unwrap_or_default()
}
