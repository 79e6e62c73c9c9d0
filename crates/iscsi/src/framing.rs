//! Cuts a byte stream into PDUs and checks their digests (RFC 7143 11.1, 11.2).
//!
//! A PDU on the wire is: basic header segment (48 bytes), additional header segments, header digest when on, data segment, padding to four bytes,
//! data digest when on. The receiver keeps the headers (at most 48 + 1020 bytes) and nothing of the payload: payload is handed through as it came,
//! or received by the shell straight into its place.

use crate::interface::Crc32c;

/// Basic header segment, in bytes.
pub const BHS_LEN: usize = 48;
/// Most bytes of additional header segments: TotalAHSLength counts words in one byte.
pub const MAX_AHS_LEN: usize = 255 * 4;
/// Longest data segment the format can say.
pub const MAX_DATA_SEGMENT: u32 = 0x00ff_ffff;

/// What was found in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// Basic and additional header segments; the header digest, if on, was right.
    Header(&'a [u8]),
    /// Part of the data segment.
    Data {
        /// Offset in the data segment.
        offset: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The PDU is complete: padding and data digest have passed. Also comes after a header without data.
    End {
        /// False: the data digest is wrong.
        digest_ok: bool,
    },
    /// The header digest is wrong: nothing in this stream can be trusted any more, the connection must close.
    HeaderDigestError,
    /// The data segment is longer than the receiver was told to take: the connection must close.
    TooLong,
}

/// Where in a PDU the stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Collecting headers and their digest.
    Header,
    /// In the data segment.
    Data,
    /// In padding and data digest.
    Trailer,
    /// Everything is there, `End` has not been told.
    End,
    /// Broken for good.
    Failed,
}

/// Cuts a byte stream into PDUs.
#[derive(Clone, Debug)]
pub struct Receiver {
    crc32c: Crc32c,
    limit: u32,
    header_digest: bool,
    data_digest: bool,
    state: State,
    header: [u8; BHS_LEN + MAX_AHS_LEN + 4],
    filled: usize,
    offset: u32,
    length: u32,
    digest: u32,
    trailer: [u8; 8],
    trailer_filled: usize,
}

impl Receiver {
    /// A receiver at the start of a stream, digests off. `limit`: longest data segment it takes, in bytes.
    pub fn new(crc32c: Crc32c, limit: u32) -> Receiver {
        Receiver {
            crc32c,
            limit: limit.min(MAX_DATA_SEGMENT),
            header_digest: false,
            data_digest: false,
            state: State::Header,
            header: [0; BHS_LEN + MAX_AHS_LEN + 4],
            filled: 0,
            offset: 0,
            length: 0,
            digest: 0,
            trailer: [0; 8],
            trailer_filled: 0,
        }
    }

    /// Longest data segment, in bytes, from the next PDU on.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.min(MAX_DATA_SEGMENT);
    }

    /// Which digests the next PDU carries. Only between PDUs: at [`Piece::End`] or before the first byte.
    pub fn set_digests(&mut self, header: bool, data: bool) {
        self.header_digest = header;
        self.data_digest = data;
    }

    /// True between PDUs, where digests may change.
    pub fn is_between_pdus(&self) -> bool {
        self.state == State::Header && self.filled == 0
    }

    /// Takes bytes up to the next piece. Gives how many were consumed and what was found; `None`: all were consumed, more are needed. Call it again
    /// with the rest (even an empty rest) until it gives `None`.
    pub fn advance<'a>(&'a mut self, bytes: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        match self.state {
            State::Header => self.advance_header(bytes),
            State::Data => {
                let count = bytes.len().min(self.data_remaining());
                if count == 0 {
                    return (0, None);
                }
                let offset = self.offset;
                self.data_placed(&bytes[..count]);
                (count, Some(Piece::Data { offset, bytes: &bytes[..count] }))
            }
            State::Trailer => self.advance_trailer(bytes),
            State::End => (0, Some(self.finish())),
            State::Failed => (bytes.len(), None),
        }
    }

    /// Bytes of the current data segment still to come: the shell may receive them straight into their place.
    pub fn data_remaining(&self) -> usize {
        if self.state == State::Data { usize::try_from(self.length - self.offset).unwrap_or(usize::MAX) } else { 0 }
    }

    /// Bytes up to the end of the next header and its digest: what is left of this PDU and, between its end and the next data segment, nothing of the
    /// latter. Additional header segments come on top once they are announced.
    pub fn until_next_header(&self) -> usize {
        let digest = if self.header_digest { 4 } else { 0 };
        let data_digest = if self.data_digest { 4 } else { 0 };
        let next = BHS_LEN + digest;
        match self.state {
            State::Header if self.filled < BHS_LEN => next - self.filled,
            State::Header => (self.header_length() + digest).saturating_sub(self.filled),
            State::Data => self.data_remaining() + padding_of(self.length) + data_digest + next,
            State::Trailer => (padding_of(self.length) + data_digest).saturating_sub(self.trailer_filled) + next,
            State::End | State::Failed => next,
        }
    }

    /// The next bytes of the data segment, at most [`Receiver::data_remaining`], are in their place.
    pub fn data_placed(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.data_remaining());
        if self.data_digest {
            self.digest = (self.crc32c)(self.digest, &bytes[..count]);
        }
        self.offset += u32::try_from(count).unwrap_or(0);
        if self.state == State::Data && self.offset == self.length {
            self.state = State::Trailer;
        }
    }

    /// Length of headers without digest, once the first 48 bytes are there.
    fn header_length(&self) -> usize {
        BHS_LEN + usize::from(self.header[4]) * 4
    }

    fn advance_header<'a>(&'a mut self, bytes: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        let mut consumed = self.fill_header(bytes, BHS_LEN);
        if self.filled < BHS_LEN {
            return (consumed, None);
        }
        let length = self.header_length();
        let whole = length + if self.header_digest { 4 } else { 0 };
        consumed += self.fill_header(&bytes[consumed..], whole);
        if self.filled < whole {
            return (consumed, None);
        }
        if self.header_digest && (self.crc32c)(0, &self.header[..length]).to_le_bytes() != self.header[length..whole] {
            self.state = State::Failed;
            return (consumed, Some(Piece::HeaderDigestError));
        }
        self.length = u32::from_be_bytes([0, self.header[5], self.header[6], self.header[7]]);
        if self.length > self.limit {
            self.state = State::Failed;
            return (consumed, Some(Piece::TooLong));
        }
        self.filled = 0;
        self.offset = 0;
        self.digest = 0;
        self.trailer_filled = 0;
        self.state = if self.length == 0 { State::End } else { State::Data };
        (consumed, Some(Piece::Header(&self.header[..length])))
    }

    fn fill_header(&mut self, bytes: &[u8], until: usize) -> usize {
        let count = until.saturating_sub(self.filled).min(bytes.len());
        self.header[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        count
    }

    fn advance_trailer(&mut self, bytes: &[u8]) -> (usize, Option<Piece<'static>>) {
        let padding = padding_of(self.length);
        let whole = padding + if self.data_digest { 4 } else { 0 };
        let count = (whole - self.trailer_filled).min(bytes.len());
        self.trailer[self.trailer_filled..self.trailer_filled + count].copy_from_slice(&bytes[..count]);
        self.trailer_filled += count;
        if self.trailer_filled < whole {
            return (count, None);
        }
        (count, Some(self.finish()))
    }

    fn finish(&mut self) -> Piece<'static> {
        self.state = State::Header;
        let mut digest_ok = true;
        if self.data_digest && self.length > 0 {
            let padding = padding_of(self.length);
            let digest = (self.crc32c)(self.digest, &self.trailer[..padding]);
            digest_ok = digest.to_le_bytes() == self.trailer[padding..padding + 4];
        }
        self.length = 0;
        Piece::End { digest_ok }
    }
}

/// Bytes from `length` to the next multiple of four.
pub fn padding_of(length: u32) -> usize {
    match length % 4 {
        0 => 0,
        1 => 3,
        2 => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::crc32c;
    use std::vec::Vec;

    /// A NOP-Out with `data` and correct digests.
    fn wire(data: &[u8], header_digest: bool, data_digest: bool) -> Vec<u8> {
        let mut bytes = std::vec![0u8; 48];
        bytes[7] = u8::try_from(data.len()).unwrap();
        if header_digest {
            bytes.extend(crc32c(0, &bytes).to_le_bytes());
        }
        let mut data = data.to_vec();
        data.resize(data.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&data);
        if data_digest && !data.is_empty() {
            bytes.extend(crc32c(0, &data).to_le_bytes());
        }
        bytes
    }

    /// What the receiver finds, data joined.
    fn pieces(receiver: &mut Receiver, mut bytes: &[u8], step: usize) -> Vec<std::string::String> {
        let mut found: Vec<std::string::String> = Vec::new();
        let mut data = Vec::new();
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(step.min(bytes.len()));
            bytes = rest;
            let mut at = 0;
            loop {
                let (count, piece) = receiver.advance(&part[at..]);
                at += count;
                match piece {
                    None => break,
                    Some(Piece::Data { offset, bytes }) => {
                        assert_eq!(usize::try_from(offset).unwrap(), data.len());
                        data.extend_from_slice(bytes);
                    }
                    Some(Piece::Header(header)) => found.push(std::format!("header {}", header.len())),
                    Some(Piece::End { digest_ok }) => {
                        found.push(std::format!("data {:?} {digest_ok}", core::str::from_utf8(&data).unwrap()));
                        data.clear();
                    }
                    Some(other) => found.push(std::format!("{other:?}")),
                }
            }
            assert_eq!(at, part.len());
        }
        found
    }

    #[test]
    fn pdus_come_out_whole_whatever_the_cut() {
        for (header, data) in [(false, false), (true, false), (false, true), (true, true)] {
            let stream = [wire(b"hello", header, data), wire(b"", header, data), wire(b"abcd", header, data)].concat();
            for step in [1, 3, 50, 1000] {
                let mut receiver = Receiver::new(crc32c, 8192);
                receiver.set_digests(header, data);
                let expected = ["header 48", "data \"hello\" true", "header 48", "data \"\" true", "header 48", "data \"abcd\" true"];
                assert_eq!(pieces(&mut receiver, &stream, step), expected);
                assert!(receiver.is_between_pdus());
            }
        }
    }

    #[test]
    fn wrong_digests_and_lengths_are_told() {
        let mut receiver = Receiver::new(crc32c, 8192);
        receiver.set_digests(true, true);
        for at in [52, 57, 61] {
            // A byte of the data, of the padding, of the digest.
            let mut bytes = wire(b"hello", true, true);
            bytes[at] ^= 1;
            assert!(pieces(&mut receiver, &bytes, 7)[1].ends_with("false"));
        }
        let mut bytes = wire(b"hello", true, true);
        bytes[20] ^= 1;
        assert_eq!(pieces(&mut receiver, &bytes, 7), ["HeaderDigestError"]);
        assert_eq!(pieces(&mut Receiver::new(crc32c, 4), &wire(b"hello", false, false), 7), ["TooLong"]);
    }

    #[test]
    fn data_may_be_received_into_their_place() {
        let mut receiver = Receiver::new(crc32c, 8192);
        receiver.set_digests(false, true);
        let bytes = wire(b"hello", false, true);
        let (count, piece) = receiver.advance(&bytes);
        assert_eq!((count, piece), (48, Some(Piece::Header(&bytes[..48]))));
        assert_eq!(receiver.data_remaining(), 5);
        receiver.data_placed(b"hel");
        receiver.data_placed(b"lo");
        assert_eq!(receiver.data_remaining(), 0);
        assert_eq!(receiver.advance(&bytes[53..]), (7, Some(Piece::End { digest_ok: true })));
    }

    /// Receiving exactly what is asked for finds every header alone: no byte of a data segment comes with it.
    #[test]
    fn the_next_header_can_be_received_alone() {
        for (header_digest, data_digest) in [(false, false), (true, false), (false, true), (true, true)] {
            for len in [0, 1, 4, 7, 100] {
                let mut receiver = Receiver::new(crc32c, 8192);
                receiver.set_digests(header_digest, data_digest);
                let mut stream = Vec::new();
                for _ in 0..3 {
                    stream.extend(wire(&std::vec![7; len], header_digest, data_digest));
                }
                let mut rest = &stream[..];
                let mut headers = 0;
                while !rest.is_empty() {
                    let wanted = receiver.until_next_header();
                    assert!(wanted > 0);
                    let (mut part, later) = rest.split_at(wanted.min(rest.len()));
                    rest = later;
                    let mut found = 0;
                    loop {
                        let (count, piece) = receiver.advance(part);
                        let piece = piece.map(|piece| (matches!(piece, Piece::Header(_)), matches!(piece, Piece::Data { .. })));
                        part = &part[count..];
                        match piece {
                            None => break,
                            Some((is_header, is_data)) => {
                                assert!(!(is_data && found > 0), "data behind the header");
                                found += usize::from(is_header);
                            }
                        }
                    }
                    headers += found;
                    assert!(found <= 1);
                }
                assert_eq!(headers, 3);
            }
        }
    }
}
