//! A blocking initiator over TCP, for the demonstration: the iSCSI crate's initiator role with a socket.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use iscsi::initiator::{Command, Completion, Connection, Event, Settings};

/// How long the target may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Unit attentions that a fresh session may have to hear before commands run: power on, changed parameters, changed units, and room to spare.
const ATTENTIONS: usize = 8;
/// Sense key of a unit attention (SPC).
const UNIT_ATTENTION: u8 = 6;

/// A session with one unit.
pub struct Session {
    stream: TcpStream,
    connection: Connection,
    events: VecDeque<Event>,
    lun: u64,
}

/// How a command ended.
pub struct Ended {
    /// SCSI status.
    pub status: u8,
    /// Sense, when there is some.
    pub sense: Option<scsi::Sense>,
    /// Data-in.
    pub data: Vec<u8>,
}

impl Session {
    /// Logs in and makes the unit ready.
    pub fn open(portal: SocketAddr, initiator: &str, target: &str, lun: u64) -> Result<Session> {
        let stream = TcpStream::connect(portal).with_context(|| format!("cannot connect to {portal}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let connection = Connection::new(Settings::new(initiator, Some(target)));
        let mut session = Session { stream, connection, events: VecDeque::new(), lun };
        match session.next_event()? {
            Event::LoggedIn { .. } => {}
            Event::LoginFailed { status, .. } => bail!("the login was refused with status {status:04x}"),
            other => bail!("unexpected during login: {other:?}"),
        }
        session.make_ready()?;
        Ok(session)
    }

    /// Writes blocks with WRITE(10).
    pub fn write(&mut self, lba: u32, data: &[u8], block: usize) -> Result<Ended> {
        let cdb = ten(0x2a, lba, data.len() / block)?;
        self.run(Command::new(self.lun, &cdb).writing(data.to_vec()))
    }

    /// Reads blocks with READ(10).
    pub fn read(&mut self, lba: u32, bytes: usize, block: usize) -> Result<Ended> {
        let cdb = ten(0x28, lba, bytes / block)?;
        self.run(Command::new(self.lun, &cdb).reading(u32::try_from(bytes)?))
    }

    /// Standard INQUIRY data.
    pub fn inquiry(&mut self) -> Result<Ended> {
        self.run(Command::new(self.lun, &[0x12, 0, 0, 0, 96, 0]).reading(96))
    }

    /// Logs out.
    pub fn close(mut self) -> Result<()> {
        self.connection.logout();
        self.send()
    }

    fn make_ready(&mut self) -> Result<()> {
        for _ in 0..ATTENTIONS {
            let ended = self.run(Command::new(self.lun, &[0; 6]))?;
            match ended.sense {
                _ if ended.status == 0 => return Ok(()),
                Some(sense) if sense.key.0 == UNIT_ATTENTION => {}
                sense => bail!("the unit is not ready: status {:#04x}, {sense:?}", ended.status),
            }
        }
        bail!("the unit does not stop giving unit attentions")
    }

    /// One command, to its end.
    pub fn run(&mut self, command: Command) -> Result<Ended> {
        let tag = self.connection.submit(command);
        loop {
            match self.next_event()? {
                Event::Done(done) if done.tag == tag => return Ok(ended(done)),
                Event::Done(_) | Event::Async { .. } | Event::Pong { .. } => {}
                other => bail!("unexpected: {other:?}"),
            }
        }
    }

    fn next_event(&mut self) -> Result<Event> {
        let mut bytes = vec![0; 65536];
        loop {
            self.send()?;
            while let Some(event) = self.connection.poll_event() {
                self.events.push_back(event);
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            match self.stream.read(&mut bytes).context("the target is silent")? {
                0 => return Err(anyhow!("the target closed the connection")),
                count => self.connection.handle_bytes(&bytes[..count]),
            }
        }
    }

    fn send(&mut self) -> Result<()> {
        while let Some(bytes) = self.connection.poll_output() {
            self.stream.write_all(&bytes)?;
        }
        Ok(())
    }
}

fn ended(done: Completion) -> Ended {
    Ended { status: done.status, sense: scsi::Sense::decode(&done.sense), data: done.data_in }
}

/// A ten-byte READ or WRITE.
fn ten(opcode: u8, lba: u32, blocks: usize) -> Result<[u8; 10]> {
    let [l0, l1, l2, l3] = lba.to_be_bytes();
    let [c0, c1] = u16::try_from(blocks)?.to_be_bytes();
    Ok([opcode, 0, l0, l1, l2, l3, 0, c0, c1, 0])
}
