//! Where one request ends in what a connection has brought so far, and which of the two protocols it speaks.
//!
//! The daemon reads until [`examine`] says a request is whole. A first byte `{` means one line of JSON; anything else is tgtadm's header, whose first byte is
//! a small mode number.

use crate::wire::{HEADER, text_length};

/// Most bytes of a line of JSON: a whole configuration with some ten thousand targets fits. The daemon bounds what all connections bring together.
pub const LINE_MAX: usize = 16 << 20;

/// State of the bytes so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// At least this many bytes more.
    More(usize),
    /// A whole binary request of this many bytes: [`crate::wire::Frame::decode`], then [`crate::reading::request`].
    Binary(usize),
    /// A whole line of JSON of this many bytes, the newline included: [`crate::json::read_request`].
    Json(usize),
    /// Close without an answer.
    Refused,
}

/// Looks at the bytes so far. `ended`: the peer sends no more (a line of JSON may then lack its newline).
pub fn examine(bytes: &[u8], ended: bool) -> Step {
    match bytes.first() {
        None if ended => Step::Refused,
        None => Step::More(1),
        Some(b'{') => line(bytes, ended),
        Some(_) => binary(bytes, ended),
    }
}

fn line(bytes: &[u8], ended: bool) -> Step {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) if at < LINE_MAX => Step::Json(at + 1),
        None if bytes.len() < LINE_MAX => {
            if ended {
                Step::Json(bytes.len())
            } else {
                Step::More(1)
            }
        }
        _ => Step::Refused,
    }
}

fn binary(bytes: &[u8], ended: bool) -> Step {
    let wanted = match bytes.first_chunk::<HEADER>() {
        None => HEADER,
        Some(header) => match text_length(header) {
            Ok(text) => HEADER + text,
            Err(_) => return Step::Refused,
        },
    };
    match wanted.checked_sub(bytes.len()) {
        None | Some(0) => Step::Binary(wanted),
        Some(_) if ended => Step::Refused,
        Some(missing) => Step::More(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;
    use proptest::prelude::*;

    #[test]
    fn any_split_of_a_binary_request_is_one_request() {
        let (mut bytes, text) = Frame { mode: 1, text: Some(b"targetname=iqn.x:1".to_vec()), ..Frame::default() }.encode();
        bytes.extend_from_slice(&text);
        for cut in 0..bytes.len() {
            let Step::More(missing) = examine(&bytes[..cut], false) else { panic!("{cut}") };
            assert!(missing >= 1 && cut + missing <= bytes.len());
            assert_eq!(examine(&bytes[..cut], true), Step::Refused);
        }
        assert_eq!(examine(&bytes, false), Step::Binary(bytes.len()));
        bytes.push(0);
        assert_eq!(examine(&bytes, false), Step::Binary(bytes.len() - 1), "a second request is not read");
    }

    #[test]
    fn impossible_lengths_close() {
        let mut bytes = vec![0u8; HEADER];
        assert_eq!(examine(&bytes, false), Step::Refused);
        bytes[73] = 0xff;
        assert_eq!(examine(&bytes, false), Step::Refused);
    }

    #[test]
    fn a_brace_starts_a_line_of_json() {
        assert_eq!(examine(b"{\"request\":", false), Step::More(1));
        assert_eq!(examine(b"{}\nrest", false), Step::Json(3));
        assert_eq!(examine(b"{}", true), Step::Json(2));
        assert_eq!(examine(&vec![b'{'; LINE_MAX], false), Step::Refused);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), ended: bool) {
            let _ = examine(&bytes, ended);
        }
    }
}
