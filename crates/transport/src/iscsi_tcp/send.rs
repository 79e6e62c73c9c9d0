//! Bytes out: PDUs of the core and payload of tasks, gathered into one send per connection.

use iscsi::framing::padding_of;
use iscsi::target::{Connection, ConnectionCounters};
use iscsi::{Transmit, TransmitData};
use reactor::{Back, Batch, Driver, Op, Shared};

use super::bundle::pair;
use super::link::{Link, State};
use super::{Kind, Server, token};
use crate::digest::crc32c;
use crate::limits::{SEND_BYTES, SEND_PIECES};
use crate::payload::Payload;

impl<D: Driver> Server<D> {
    pub(super) fn flush_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for slot in touched.drain(..) {
            if let Some(link) = self.links.get_mut(slot) {
                link.touched = false;
            }
            self.flush(slot);
            self.arm_timer(slot);
        }
        // Whatever flushing touched again waits for the next turn.
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    /// Sends what is ready, unless a send is under way: then its end does.
    fn flush(&mut self, slot: usize) {
        let pair = pair(&mut self.links, &mut self.bundles, slot).filter(|(link, _)| link.state != State::Closing);
        let Some((link, bundle)) = pair else { return };
        let Some(core) = bundle.core.at(link.seat) else { return };
        let Some(mut batch) = link.batch.take() else { return };
        while batch.len() < SEND_BYTES && batch.pieces() < SEND_PIECES {
            let Some(transmit) = core.poll_transmit() else { break };
            link.encode(&mut batch, &transmit, core);
        }
        if batch.is_empty() {
            link.batch = Some(batch);
            if link.state == State::Draining {
                self.close(slot, false, "ended in order");
            }
            return;
        }
        link.publish_counters(core.counters());
        let socket = link.socket;
        self.driver.submit(token(Kind::Send, slot), Op::Send { socket, batch });
    }

    pub(super) fn sent(&mut self, slot: usize, result: Result<usize, i32>, back: Back) {
        let Some(link) = self.links.get_mut(slot) else { return };
        let mut batch = match back {
            Back::Batch(batch) => batch,
            _ => Batch::new(),
        };
        batch.clear();
        link.batch = Some(batch);
        link.unread = 0;
        if link.state == State::Closing {
            return self.try_forget(slot);
        }
        if result.is_err() {
            return self.close(slot, true, "connection lost while sending");
        }
        self.touch(slot);
        self.arm_receive(slot);
    }
}

impl Link {
    /// Appends a PDU: header, header digest, data, padding, data digest.
    fn encode(&mut self, batch: &mut Batch, transmit: &Transmit, core: &mut Connection) {
        batch.push_bytes(&transmit.header);
        if transmit.header_digest {
            batch.push_bytes(&crc32c(0, &transmit.header).to_le_bytes());
        }
        let (length, digest) = match &transmit.data {
            TransmitData::None => (0, 0),
            TransmitData::Inline(bytes) => {
                batch.push_bytes(bytes);
                (bytes.len(), if transmit.data_digest { crc32c(0, bytes) } else { 0 })
            }
            TransmitData::Task { tag, offset, len } => {
                let shared = self.task(*tag).and_then(|task| task.payload.share());
                encode_payload(batch, shared, *offset as usize, *len as usize, transmit.data_digest)
            }
            TransmitData::Kept { stat_sn, offset, len } => {
                let shared = self.kept_payload(*stat_sn).and_then(Payload::share);
                encode_payload(batch, shared, *offset as usize, *len as usize, transmit.data_digest)
            }
        };
        let padding = &[0u8; 3][..padding_of(u32::try_from(length % 4).unwrap_or(0))];
        batch.push_bytes(padding);
        if transmit.data_digest && length > 0 {
            batch.push_bytes(&crc32c(digest, padding).to_le_bytes());
        }
        if let Some(task) = transmit.last_of.and_then(|tag| self.remove_task(tag))
            && let Some(stat_sn) = transmit.keep_as
        {
            self.keep(stat_sn, task.payload, core);
        }
    }

    fn publish_counters(&self, counters: ConnectionCounters) {
        use std::sync::atomic::Ordering::Relaxed;
        self.counters.received_bytes.store(counters.receive_bytes, Relaxed);
        self.counters.sent_bytes.store(counters.transmit_bytes, Relaxed);
        self.counters.data_out_pdus.store(counters.data_out_pdus, Relaxed);
        self.counters.data_in_pdus.store(counters.data_in_pdus, Relaxed);
        self.counters.command_pdus.store(counters.command_pdus, Relaxed);
        self.counters.response_pdus.store(counters.response_pdus, Relaxed);
    }
}

/// Appends a range of a payload without copying it. What the payload does not have (a bug above) goes out as zeros: the stream stays whole, and nothing
/// leaves that was not meant to.
fn encode_payload(batch: &mut Batch, shared: Option<Shared>, offset: usize, len: usize, digest: bool) -> (usize, u32) {
    match shared.filter(|shared| offset.checked_add(len).is_some_and(|end| end <= shared.len())) {
        Some(shared) => {
            let digest = if digest { crc32c(0, &shared[offset..offset + len]) } else { 0 };
            batch.push_shared(shared, offset, len);
            (len, digest)
        }
        None => {
            tracing::error!(offset, len, "payload of a task is missing");
            let zeros = vec![0; len];
            batch.push_bytes(&zeros);
            (len, crc32c(0, &zeros))
        }
    }
}

/// The payload of a task that ended without data for the initiator is of no more use.
pub(super) fn release(payload: &mut Payload) {
    *payload = Payload::None;
}
