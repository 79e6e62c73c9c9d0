//! Text exchanges of full feature phase (RFC 7143 11.10, 11.11, appendix C): SendTargets and the few keys that may change.

use alloc::vec::Vec;

use super::connection::{Connection, StatSn};
use crate::interface::{Directory, TargetRecord};
use crate::key::{self, Kind, Place, Sender};
use crate::pdu::{Header, NO_TAG, RejectReason, TextRequest, TextResponse};
use crate::text::{self, Collector};

/// One exchange: one at a time per connection.
#[derive(Debug)]
pub struct TextExchange {
    transfer_tag: u32,
    collector: Collector,
    answer: Vec<u8>,
    answered: usize,
    /// The whole question is there.
    complete: bool,
}

impl Connection {
    pub(super) fn text_request(&mut self, request: &TextRequest, header: &Header, data: &[u8], directory: &dyn Directory) {
        if request.transfer_tag == NO_TAG {
            // A new exchange ends an unfinished one (RFC 7143 11.10.4).
            self.text = None;
        }
        let mut exchange = match self.text.take() {
            // Initiators are known to count their task tags on within an exchange: our own tag alone tells which one it is.
            Some(exchange) if exchange.transfer_tag == request.transfer_tag => exchange,
            None if request.transfer_tag == NO_TAG => self.new_exchange(),
            other => {
                self.text = other;
                self.reject(header, RejectReason::PROTOCOL_ERROR);
                return;
            }
        };
        // While the answer is on its way the initiator asks for the rest with empty requests, and nothing else.
        let interrupts = exchange.complete && (request.continues || !data.is_empty());
        if (request.continues && request.is_final) || interrupts || exchange.collector.add(data).is_err() {
            self.reject(header, RejectReason::PROTOCOL_ERROR);
            return;
        }
        if request.continues {
            let pdu = self.text_response(&exchange, request, false);
            self.push(pdu.encode(), Vec::new(), StatSn::Take);
            self.text = Some(exchange);
            return;
        }
        if !exchange.complete {
            let question = exchange.collector.take();
            let Some(answer) = self.answer_text(&question, directory) else {
                self.reject(header, RejectReason::PROTOCOL_ERROR);
                return;
            };
            exchange.answer = answer;
            exchange.answered = 0;
            exchange.complete = true;
        }
        self.continue_answer(request, exchange);
    }

    fn new_exchange(&mut self) -> TextExchange {
        let transfer_tag = self.new_transfer_tag();
        TextExchange { transfer_tag, collector: Collector::default(), answer: Vec::new(), answered: 0, complete: false }
    }

    /// The next part of the answer: C while it is not complete, F when it is and the initiator is done too.
    fn continue_answer(&mut self, request: &TextRequest, mut exchange: TextExchange) {
        let rest = exchange.answer.len() - exchange.answered;
        let count = rest.min(usize::try_from(self.negotiated.max_xmit_data_segment_length).unwrap_or(usize::MAX));
        let data = exchange.answer[exchange.answered..exchange.answered + count].to_vec();
        exchange.answered += count;
        let all = count == rest;
        let is_final = all && request.is_final;
        let mut pdu = self.text_response(&exchange, request, is_final);
        pdu.continues = !all;
        self.push(pdu.encode(), data, StatSn::Take);
        if !is_final {
            // Only the last word is missing: a further question may come in the same exchange.
            exchange.complete = !all;
            self.text = Some(exchange);
        }
    }

    fn text_response(&self, exchange: &TextExchange, request: &TextRequest, is_final: bool) -> TextResponse {
        let transfer_tag = if is_final { NO_TAG } else { exchange.transfer_tag };
        TextResponse { is_final, lun: request.lun, tag: request.tag, transfer_tag, ..TextResponse::default() }
    }

    /// The answer to a whole text; `None`: it is malformed or says a key twice.
    fn answer_text(&mut self, question: &[u8], directory: &dyn Directory) -> Option<Vec<u8>> {
        let pairs = text::pairs(question).ok()?;
        let mut answer = Vec::new();
        for (index, (name, value)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(other, _)| other == name) {
                return None;
            }
            self.answer_pair(name, value, directory, &mut answer);
        }
        Some(answer)
    }

    fn answer_pair(&mut self, name: &str, value: &str, directory: &dyn Directory, answer: &mut Vec<u8>) {
        let Some(row) = key::row(name) else {
            if value != "NotUnderstood" {
                text::push(answer, name, "NotUnderstood");
            }
            return;
        };
        if !row.place.has(Place::FULL_FEATURE) || row.sender == Sender::Target {
            text::push(answer, name, "Reject");
        } else if name == "SendTargets" {
            self.send_targets(value, directory, answer);
        } else if let Kind::Fixed(reply) = row.kind {
            text::push(answer, name, reply);
        } else if let Kind::DeclaredNumber(least, most) = row.kind {
            match key::number(value, least, most) {
                Some(bytes) => self.negotiated.max_xmit_data_segment_length = bytes,
                None => text::push(answer, name, "Reject"),
            }
        }
    }

    /// `All` belongs to discovery sessions, the empty value to normal ones (RFC 7143 appendix C).
    fn send_targets(&mut self, value: &str, directory: &dyn Directory, answer: &mut Vec<u8>) {
        let Some(summary) = &self.summary else { return };
        let own = summary.target.as_ref().map(|(_, name)| name.as_str());
        let name = match (value, own) {
            ("All", None) => None,
            ("", Some(own)) => Some(own),
            ("All", Some(_)) | ("", None) => {
                text::push(answer, "SendTargets", "Reject");
                return;
            }
            (name, _) => Some(name),
        };
        let (peer, local) = (self.settings.peer.ip(), self.settings.local);
        for TargetRecord { name, addresses } in directory.send_targets(name, &summary.initiator_name, peer, local) {
            text::push(answer, "TargetName", &name);
            for address in addresses {
                text::push(answer, "TargetAddress", &address);
            }
        }
    }
}
