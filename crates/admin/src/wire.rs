//! tgtadm's binary protocol: a header of 120 bytes, then a text; the answer has a header of 8 bytes, then a text.
//!
//! Integers are in the machine's order, as tgtadm and tgtd share a machine; little-endian is assumed here because that is what every client sends on the
//! machines this daemon supports. One request a connection. Texts end with a NUL that counts in the length; a missing one is not held against the sender.

use crate::code::Code;
use crate::reply::{Failure, Reply};

/// Bytes of a request's header.
pub const HEADER: usize = 120;
/// Most bytes of text after it, the NUL included: tgt's own limit.
pub const TEXT_MAX: usize = 8192;
/// Bytes of an answer's header.
pub const ANSWER_HEADER: usize = 8;
/// `lun` when none was given.
pub const NO_LUN: u64 = u64::MAX;
/// `tid` when none was given.
pub const NO_TID: i32 = -1;

/// Words for the mode numbers, with tgtadm's aliases.
pub const MODES: &[(u32, &str, &str)] = &[
    (0, "system", "sys"),
    (1, "target", "tgt"),
    (2, "logicalunit", "lu"),
    (3, "portal", "pt"),
    (4, "lld", "lld"),
    (5, "session", "sess"),
    (6, "connection", "conn"),
    (7, "account", "account"),
    (8, "error", "error"),
];

/// Words for the operation numbers.
pub const OPERATIONS: &[(u32, &str)] =
    &[(0, "new"), (1, "delete"), (2, "show"), (3, "bind"), (4, "unbind"), (5, "update"), (6, "stat"), (7, "start"), (8, "stop")];

/// A request as it travels, not yet understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Number of the mode, see [`MODES`].
    pub mode: u32,
    /// Number of the operation, see [`OPERATIONS`].
    pub op: u32,
    /// Driver name up to the first NUL, 63 bytes at most; empty: the first driver.
    pub driver: Vec<u8>,
    /// Target, [`NO_TID`] when not given.
    pub tid: i32,
    /// Session, 0 when not given.
    pub sid: u64,
    /// Unit, [`NO_LUN`] when not given.
    pub lun: u64,
    /// Connection.
    pub cid: u32,
    /// SCSI host, 0 when not given.
    pub host: u32,
    /// SCSI peripheral device type; 0xff: passthrough.
    pub device_type: u32,
    /// An outgoing account is meant.
    pub outgoing: bool,
    /// The sender takes the reason of a refusal as text. The word is 0 in every request of tgt's own tool, and tgt's daemon does not look at it.
    pub detail: bool,
    /// Close sessions first.
    pub force: bool,
    /// Parameter text without its NUL; `None` when the request has none.
    pub text: Option<Vec<u8>>,
}

impl Default for Frame {
    fn default() -> Frame {
        Frame {
            mode: 0,
            op: 0,
            driver: Vec::new(),
            tid: NO_TID,
            sid: 0,
            lun: NO_LUN,
            cid: 0,
            host: 0,
            device_type: 0,
            outgoing: false,
            detail: false,
            force: false,
            text: None,
        }
    }
}

/// The connection is to be closed without an answer: the length in the header is impossible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// Bytes of text that follow this header.
///
/// # Errors
/// The length is below that of the header or beyond the limit.
pub fn text_length(header: &[u8; HEADER]) -> Result<usize, Refused> {
    let total = usize::try_from(u32_at(header, 72)).map_err(|_| Refused)?;
    total.checked_sub(HEADER).filter(|text| *text <= TEXT_MAX).ok_or(Refused)
}

impl Frame {
    /// Takes a whole request apart. `bytes` may be longer or shorter than the header says: what is there counts.
    ///
    /// # Errors
    /// Shorter than a header, or [`text_length`]'s.
    pub fn decode(bytes: &[u8]) -> Result<Frame, Refused> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Refused)?;
        let length = text_length(header)?;
        let text = &rest[..length.min(rest.len())];
        Ok(Frame {
            mode: u32_at(header, 0),
            op: u32_at(header, 4),
            driver: until_nul(&header[8..71]).to_vec(),
            tid: i32::from_le_bytes(four(header, 76)),
            sid: u64_at(header, 80),
            lun: u64_at(header, 88),
            cid: u32_at(header, 96),
            host: u32_at(header, 100),
            device_type: u32_at(header, 104),
            outgoing: u32_at(header, 108) == 1,
            detail: u32_at(header, 112) == 1,
            force: u32_at(header, 116) != 0,
            text: (length > 0).then(|| until_nul(text).to_vec()),
        })
    }

    /// Header and text apart: tgtadm writes them apart. The text is cut where the daemon would refuse it; see [`Frame::fits`].
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let mut text = Vec::new();
        if let Some(given) = &self.text {
            text.extend_from_slice(given);
            text.push(0);
        }
        let length = u32::try_from(HEADER + text.len()).unwrap_or(u32::MAX);
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&self.mode.to_le_bytes());
        header.extend_from_slice(&self.op.to_le_bytes());
        let driver = &self.driver[..self.driver.len().min(63)];
        header.extend_from_slice(driver);
        header.resize(72, 0);
        header.extend_from_slice(&length.to_le_bytes());
        header.extend_from_slice(&self.tid.to_le_bytes());
        header.extend_from_slice(&self.sid.to_le_bytes());
        header.extend_from_slice(&self.lun.to_le_bytes());
        for field in [self.cid, self.host, self.device_type, u32::from(self.outgoing), u32::from(self.detail), u32::from(self.force)] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        (header, text)
    }

    /// Does the daemon take a text this long?
    pub fn fits(&self) -> bool {
        self.text.as_ref().is_none_or(|text| text.len() < TEXT_MAX)
    }
}

/// The bytes of an answer: number of the error and nothing, or 0 and the text with its NUL, if there is any.
pub fn answer(reply: &Reply) -> Vec<u8> {
    match reply {
        Ok(answer) => packed(0, crate::show::text(answer)),
        Err(failure) => packed(failure.code.number(), String::new()),
    }
}

/// [`answer`] to a sender who may have asked for the reason of a refusal.
pub fn answer_to(frame: &Frame, reply: &Reply) -> Vec<u8> {
    match reply {
        Err(Failure { code, detail }) if frame.detail => packed(code.number(), detail.replace('\0', " ")),
        reply => answer(reply),
    }
}

fn packed(error: u32, text: String) -> Vec<u8> {
    let mut text = text.into_bytes();
    if !text.is_empty() {
        text.push(0);
    }
    let length = u32::try_from(ANSWER_HEADER + text.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(ANSWER_HEADER + text.len());
    bytes.extend_from_slice(&error.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.append(&mut text);
    bytes
}

/// Header of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnswerHeader {
    /// 0, or the number of a [`Code`].
    pub error: u32,
    /// Bytes of text that follow.
    pub text: usize,
}

impl AnswerHeader {
    /// Takes it apart.
    ///
    /// # Errors
    /// A length below that of the header itself.
    pub fn decode(bytes: &[u8; ANSWER_HEADER]) -> Result<AnswerHeader, Refused> {
        let total = usize::try_from(u32_at(bytes, 4)).map_err(|_| Refused)?;
        let text = total.checked_sub(ANSWER_HEADER).ok_or(Refused)?;
        Ok(AnswerHeader { error: u32_at(bytes, 0), text })
    }

    /// What tgtadm prints for the error.
    pub fn message(&self) -> &'static str {
        match self.error {
            0 => "success",
            number => Code::from_number(number).map_or("(unknown tgtadm_errno)", Code::text),
        }
    }
}

/// Bytes up to the first NUL, or all.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

fn four<const N: usize>(bytes: &[u8; N], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(four(bytes, at))
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Answer;
    use proptest::prelude::*;

    /// The header of a capture: offsets and bytes that are not zero.
    fn header(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0u8; HEADER];
        for (at, part) in parts {
            bytes[*at..*at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    fn check(frame: &Frame, expected_header: &[u8], expected_text: &[u8]) {
        let (header, text) = frame.encode();
        assert_eq!(header, expected_header);
        assert_eq!(text, expected_text);
        let mut whole = header;
        whole.extend_from_slice(&text);
        assert_eq!(Frame::decode(&whole).as_ref(), Ok(frame));
    }

    const NONE: [u8; 8] = [0xff; 8];

    #[test]
    fn capture_a_target_new() {
        let frame = Frame { mode: 1, op: 0, driver: b"iscsi".to_vec(), tid: 1, text: Some(b"targetname=iqn.x:1".to_vec()), ..Frame::default() };
        let bytes = header(&[(0, &[1]), (8, b"iscsi"), (72, &[0x8b]), (76, &[1]), (88, &NONE)]);
        check(&frame, &bytes, b"targetname=iqn.x:1\0");
    }

    #[test]
    fn capture_b_lld_show() {
        let frame = Frame { mode: 4, op: 2, ..Frame::default() };
        check(&frame, &header(&[(0, &[4]), (4, &[2]), (72, &[0x78]), (76, &[0xff; 4]), (88, &NONE)]), b"");
    }

    #[test]
    fn capture_c_unit_update() {
        let frame = Frame { mode: 2, op: 5, tid: 1, lun: 1, text: Some(b"targetOps readonly=1,".to_vec()), ..Frame::default() };
        check(&frame, &header(&[(0, &[2]), (4, &[5]), (72, &[0x8e]), (76, &[1]), (88, &[1])]), b"targetOps readonly=1,\0");
    }

    #[test]
    fn capture_d_discovery_account() {
        let frame = Frame { mode: 7, op: 3, outgoing: true, text: Some(b"user=u".to_vec()), ..Frame::default() };
        let bytes = header(&[(0, &[7]), (4, &[3]), (72, &[0x7f]), (76, &[0xff; 4]), (88, &NONE), (108, &[1])]);
        check(&frame, &bytes, b"user=u\0");
    }

    #[test]
    fn capture_e_target_delete_of_an_absent_one() {
        let frame = Frame { mode: 1, op: 1, tid: 9, ..Frame::default() };
        check(&frame, &header(&[(0, &[1]), (4, &[1]), (72, &[0x78]), (76, &[9]), (88, &NONE)]), b"");
        let bytes = answer(&Err(Code::NoTarget.into()));
        assert_eq!(bytes, [4, 0, 0, 0, 8, 0, 0, 0]);
        let decoded = AnswerHeader::decode(&[4, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(decoded, Ok(AnswerHeader { error: 4, text: 0 }));
        assert_eq!(decoded.map(|header| header.message()), Ok("can't find the target"));
    }

    #[test]
    fn capture_f_host_bind() {
        let frame = Frame { mode: 1, op: 3, tid: 1, host: 3, ..Frame::default() };
        check(&frame, &header(&[(0, &[1]), (4, &[3]), (72, &[0x78]), (76, &[1]), (88, &NONE), (100, &[3])]), b"");
    }

    #[test]
    fn answers_carry_a_text_only_when_there_is_one() {
        assert_eq!(answer(&Ok(Answer::Done)), [0, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(answer(&Ok(Answer::Targets(Vec::new()))), [0, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(answer(&Ok(Answer::Text("a\n".into()))), [0, 0, 0, 0, 11, 0, 0, 0, b'a', b'\n', 0]);
        let refused = Err(Code::InvalidRequest.because("no"));
        assert_eq!(answer(&refused), [17, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(answer_to(&Frame::default(), &refused), [17, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(answer_to(&Frame { detail: true, ..Frame::default() }, &refused), [17, 0, 0, 0, 11, 0, 0, 0, b'n', b'o', 0]);
        assert_eq!(AnswerHeader::decode(&[0, 0, 0, 0, 7, 0, 0, 0]), Err(Refused));
        assert_eq!(AnswerHeader { error: 99, text: 0 }.message(), "(unknown tgtadm_errno)");
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused() {
        let with_length = |length: u32| {
            let mut bytes = [0u8; HEADER];
            bytes[72..76].copy_from_slice(&length.to_le_bytes());
            text_length(&bytes)
        };
        assert_eq!(with_length(119), Err(Refused));
        assert_eq!(with_length(0), Err(Refused));
        assert_eq!(with_length(120), Ok(0));
        assert_eq!(with_length(120 + 8192), Ok(8192));
        assert_eq!(with_length(120 + 8193), Err(Refused));
        assert_eq!(with_length(u32::MAX), Err(Refused));
        assert_eq!(Frame::decode(&[0; 119]), Err(Refused));
    }

    #[test]
    fn a_missing_nul_ends_with_the_buffer() {
        let mut bytes = header(&[(72, &[0x7e])]);
        bytes.extend_from_slice(b"user=u");
        assert_eq!(Frame::decode(&bytes).map(|frame| frame.text), Ok(Some(b"user=u".to_vec())));
    }

    #[test]
    fn the_driver_name_ends_at_its_63rd_byte() {
        let bytes = header(&[(8, &[b'x'; 64]), (72, &[0x78])]);
        assert_eq!(Frame::decode(&bytes).map(|frame| frame.driver), Ok(vec![b'x'; 63]));
    }

    proptest! {
        #[test]
        fn decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Frame::decode(&bytes);
        }

        #[test]
        fn a_frame_comes_back(mode: u32, op: u32, tid: i32, sid: u64, lun: u64, cid: u32, host: u32, device_type: u32, outgoing: bool, detail: bool, force: bool,
                              driver in "[a-z]{0,63}", text in proptest::option::of("[ -~]{0,300}")) {
            let frame = Frame { mode, op, driver: driver.into_bytes(), tid, sid, lun, cid, host, device_type, outgoing, detail, force, text: text.map(String::into_bytes) };
            let (mut bytes, rest) = frame.encode();
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(Frame::decode(&bytes), Ok(frame));
        }
    }
}
