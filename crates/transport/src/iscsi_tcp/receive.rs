//! Bytes in: from the socket through the receiver to the core and to the payload of tasks.

use iscsi::target::Session;
use iscsi::{Event, Landing, Piece};
use reactor::{Back, Buffer, Driver, Op};

use super::bundle::pair;
use super::link::{Link, State};
use super::{Kind, Server, token};
use crate::directory::DirectoryView;
use crate::limits::{DIRECT_RECEIVE, EAGER_BUFFER, LONE_HEADERS, STAGING, UNREAD_REPLIES};
use crate::payload::{Payload, Pools};

/// Operation code of SCSI Command in byte 0 of a header.
const SCSI_COMMAND: u8 = 0x01;
/// Operation code of SCSI Data-Out.
const DATA_OUT: u8 = 0x05;
/// [`DIRECT_RECEIVE`] as a length on the wire.
const LARGE_SEGMENT: u32 = DIRECT_RECEIVE as u32;
/// Tasks a connection can have bytes for: the largest command window and what lies in wait of it, with room.
const TASKS: usize = 4096;

impl<D: Driver> Server<D> {
    /// Starts a receive when none is under way and the connection may be read.
    pub(super) fn arm_receive(&mut self, slot: usize) {
        let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) else { return };
        if link.receiving || link.state != State::Open || (link.sending() && link.unread >= UNREAD_REPLIES) {
            return;
        }
        if link.moving.is_some() {
            return self.send_guest(slot);
        }
        let socket = link.socket;
        let (buffer, from) = match link.lend_payload() {
            Some(lent) => lent,
            None => match link.staging.take() {
                Some(mut staging) => {
                    staging.set_len(link.receive_length(&mut bundle.core));
                    (staging, 0)
                }
                None => return,
            },
        };
        link.receiving = true;
        self.driver.submit(token(Kind::Receive, slot), Op::Recv { socket, buffer, from });
    }

    pub(super) fn received(&mut self, slot: usize, result: Result<usize, i32>, back: Back) {
        let Some(link) = self.links.get_mut(slot) else { return };
        link.receiving = false;
        let Back::Buffer(buffer) = back else { return };
        let count = result.unwrap_or(0);
        if link.state == State::Closing {
            link.staging = None;
            return self.try_forget(slot);
        }
        match link.direct.take() {
            Some(len) => {
                link.take_payload_back(buffer, len, count);
                self.resume_fetch(slot);
                // A segment without padding and digest ends the PDU without a further byte.
                if !self.consume(slot, &[]) {
                    return;
                }
            }
            None => {
                let consumed = if count > 0 { self.consume(slot, &buffer[..count]) } else { true };
                if let Some(link) = self.links.get_mut(slot) {
                    let lone = buffer.len() < STAGING && link.receiver.data_remaining() < DIRECT_RECEIVE;
                    link.lone_headers = if lone { link.lone_headers + 1 } else { 0 };
                    link.staging = Some(buffer);
                }
                if !consumed {
                    return;
                }
            }
        }
        if count == 0 {
            let reason = if result.is_ok() { "closed by the peer" } else { "connection lost" };
            return self.close(slot, false, reason);
        }
        self.touch(slot);
        self.arm_timer(slot);
        self.arm_receive(slot);
    }

    /// A payload that came back from the driver may be one that a fetch waits for.
    fn resume_fetch(&mut self, slot: usize) {
        let Some(link) = self.links.get_mut(slot) else { return };
        let Landing::Task { tag, .. } = link.landing else { return };
        let Some(task) = link.task(tag) else { return };
        if task.away {
            return;
        }
        if let (Some(len), Some(reference), Some(cell)) = (task.wanted.take(), task.reference, task.cell.clone()) {
            let inline = task.inline.is_some();
            self.fetch(&cell, reference, len, inline);
        }
    }

    /// Feeds bytes to the receiver until they are used up or the connection ends. False: it ended.
    fn consume(&mut self, slot: usize, mut bytes: &[u8]) -> bool {
        loop {
            let pair = pair(&mut self.links, &mut self.bundles, slot).filter(|(link, _)| link.state == State::Open);
            let Some((link, bundle)) = pair else { return false };
            let directory = DirectoryView::new(&self.model);
            let (consumed, piece) = link.receiver.advance(bytes);
            match piece {
                None => {
                    if consumed >= bytes.len() {
                        return true;
                    }
                }
                Some(Piece::Header(header)) => {
                    let Some(core) = bundle.core.at(link.seat) else { return false };
                    link.landing = core.handle_header(header, &directory, self.work.now);
                    link.inline.clear();
                    let opcode = header[0] & 0x3f;
                    let segment = u32::from_be_bytes([0, header[5], header[6], header[7]]);
                    if segment > 0 {
                        link.large = segment >= LARGE_SEGMENT;
                    }
                    if link.batch.is_none() && opcode != DATA_OUT {
                        link.unread = link.unread.saturating_add(1);
                    }
                    let expected = if opcode == SCSI_COMMAND { u32::from_be_bytes([header[20], header[21], header[22], header[23]]) } else { 0 };
                    if let Landing::Task { tag, offset, len } = link.landing
                        && !link.make_room(&self.pools, tag, offset.saturating_add(len), expected, &mut self.counters.moved_bytes)
                    {
                        self.close(slot, true, "no buffer for data that came unasked");
                        return false;
                    }
                }
                Some(Piece::Data { offset, bytes }) => {
                    self.counters.staged_bytes += land(&mut link.landing, &mut link.inline, &mut link.tasks, &link.by_tag, offset, bytes)
                }
                Some(Piece::End { digest_ok }) => {
                    let inline = std::mem::take(&mut link.inline);
                    bundle.core.handle_data(link.seat, &inline, digest_ok, &directory, self.work.now);
                    link.inline = inline;
                    self.end_of_pdu(slot, digest_ok);
                }
                Some(Piece::HeaderDigestError) => self.broken(slot, "header digest error"),
                Some(Piece::TooLong) => self.broken(slot, "data segment too long"),
            }
            bytes = &bytes[consumed..];
        }
    }

    fn end_of_pdu(&mut self, slot: usize, digest_ok: bool) {
        self.pump(slot);
        let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot) else { return };
        if let (Landing::Task { tag, .. }, false) = (link.landing, digest_ok)
            && link.task(tag).is_some_and(|task| task.cell.is_none())
            && bundle.core.at(link.seat).is_none_or(|core| !core.wants_data(tag))
        {
            // Its command will never be delivered.
            link.remove_task(tag);
        }
        link.landing = Landing::None;
        if let Some(core) = bundle.core.at(link.seat) {
            if !link.kept.is_empty() {
                link.release_acknowledged(core.acknowledged());
            }
            let (header, data) = core.digests();
            link.receiver.set_digests(header, data);
        }
    }

    fn broken(&mut self, slot: usize, reason: &str) {
        if let Some((link, bundle)) = pair(&mut self.links, &mut self.bundles, slot)
            && let Some(core) = bundle.core.at(link.seat)
        {
            core.handle_broken_stream(reason);
        }
        self.pump(slot);
        self.drain(slot, reason);
    }

    /// Takes the events of the connection's session.
    pub(super) fn pump(&mut self, slot: usize) {
        let Some(link) = self.links.get_mut(slot) else { return };
        link.stirred = false;
        let Some(index) = link.bundle else { return };
        while let Some(bundle) = self.bundles.get_mut(index) {
            let Some((seat, event)) = bundle.core.poll_event() else { break };
            let lives = |slot: &usize| self.links.get(*slot).is_some_and(|link| link.state != State::Closing);
            let Some(slot) = bundle.slot_at(seat).filter(lives) else { continue };
            match event {
                Event::TargetAwaited { name, initiator } => self.ask_for_target(slot, name, initiator),
                Event::LoginReady(summary) => self.login(slot, summary),
                Event::Command(command) => self.command(slot, &command),
                Event::DataReady { tag } => self.data_ready(slot, tag),
                Event::Function(function) => self.function(slot, function),
                Event::Logout => self.drain(slot, "logout"),
                Event::Close { reason } => {
                    if self.throttle.admits(self.work.now) {
                        let peer = self.links.get(slot).map(|link| link.peer);
                        tracing::info!(?peer, %reason, "connection ends");
                    }
                    self.drain(slot, &reason);
                }
            }
        }
        self.touch(slot);
        self.touch_others(index);
    }

    /// What came on one connection may have brought an answer on another one.
    fn touch_others(&mut self, index: usize) {
        if self.bundles.get(index).is_some_and(|bundle| bundle.members.len() > 1) {
            for slot in self.members(index) {
                self.touch(slot);
            }
        }
    }
}

/// Puts bytes of a data segment where they belong; how many were copied into a task's payload.
fn land(
    landing: &mut Landing,
    inline: &mut Vec<u8>,
    tasks: &mut slab::Slab<super::link::Task>,
    by_tag: &std::collections::HashMap<u32, usize, super::link::Fixed>,
    at: u32,
    bytes: &[u8],
) -> u64 {
    match *landing {
        Landing::Inline { len } => {
            if inline.len() + bytes.len() <= len as usize {
                inline.extend_from_slice(bytes);
            }
            0
        }
        Landing::Task { tag, offset, .. } => {
            // The task may have ended meanwhile: then nobody wants the bytes.
            let task = by_tag.get(&tag).and_then(|&slot| tasks.get_mut(slot));
            let Some(buffer) = task.and_then(|task| task.payload.own()) else { return 0 };
            let start = offset as usize + at as usize;
            let Some(place) = buffer.get_mut(start..start + bytes.len()) else { return 0 };
            place.copy_from_slice(bytes);
            bytes.len() as u64
        }
        Landing::None | Landing::Discard { .. } => 0,
    }
}

impl Link {
    /// How much to receive into the staging buffer: up to the next header when a large data segment may follow it, else what is there.
    fn receive_length(&mut self, core: &mut Session) -> usize {
        let mut awaits = || core.at(self.seat).is_some_and(|core| core.awaits_data(LARGE_SEGMENT));
        let large = self.lone_headers < LONE_HEADERS && (self.large || awaits());
        if large { self.receiver.until_next_header().clamp(1, STAGING) } else { STAGING }
    }

    /// When much of a data segment is still to come: the payload it belongs to, cut so that the receive ends with the segment.
    fn lend_payload(&mut self) -> Option<(Buffer, usize)> {
        let remaining = self.receiver.data_remaining();
        let Landing::Task { tag, offset, len } = self.landing else { return None };
        if remaining < DIRECT_RECEIVE {
            return None;
        }
        let end = offset as usize + len as usize;
        let task = self.task(tag)?;
        let whole = task.payload.len();
        if whole < end {
            return None;
        }
        let mut buffer = task.payload.take_own()?;
        task.away = true;
        buffer.set_len(end);
        self.direct = Some(whole);
        Some((buffer, end - remaining))
    }

    fn take_payload_back(&mut self, mut buffer: Buffer, whole: usize, count: usize) {
        let remaining = self.receiver.data_remaining();
        let from = buffer.len().saturating_sub(remaining);
        self.receiver.data_placed(&buffer[from..from + count.min(remaining)]);
        buffer.set_len(whole);
        if let Landing::Task { tag, .. } = self.landing
            && let Some(task) = self.task(tag)
            && std::mem::take(&mut task.away)
        {
            task.payload = Payload::Own(buffer);
        }
    }

    /// A task's data are about to arrive: its payload must hold `end` bytes. `expected`: what the command announced, perhaps a lie. False: there is no memory.
    fn make_room(&mut self, pools: &Pools, tag: u32, end: u32, expected: u32, moved: &mut u64) -> bool {
        if self.slot_of(tag).is_none() && self.tasks.len() >= TASKS {
            return false;
        }
        let task = self.task_or_new(tag);
        if task.away || task.payload.len() >= end as usize {
            return true;
        }
        let wanted = if expected <= EAGER_BUFFER { expected.max(end) } else { end };
        let Some(mut buffer) = pools.payload.take(wanted as usize).or_else(|| pools.landing.take(end as usize)) else { return false };
        *moved += carry(task.payload.bytes(), &mut buffer);
        task.payload = Payload::Own(buffer);
        true
    }
}

/// Copies what a smaller buffer holds to the one that replaces it; how many bytes.
pub(super) fn carry(from: &[u8], to: &mut [u8]) -> u64 {
    let len = from.len().min(to.len());
    to[..len].copy_from_slice(&from[..len]);
    len as u64
}
