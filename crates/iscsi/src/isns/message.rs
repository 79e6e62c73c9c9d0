//! Messages: a function, a status in responses, and attributes as tag, length, value (RFC 4171, 5.2 to 5.5).

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use super::framing::{self, Fault};
use super::{Function, Status, Tag};

/// Length of a tag and a length.
const ATTRIBUTE_HEADER_LEN: usize = 8;

/// One attribute. Its value has a multiple of four bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// What it is.
    pub tag: Tag,
    value: Vec<u8>,
}

impl Attribute {
    /// Any value; padded with zeroes to a multiple of four bytes.
    pub fn new(tag: Tag, bytes: &[u8]) -> Attribute {
        let mut value = bytes.to_vec();
        value.resize(bytes.len().next_multiple_of(4), 0);
        Attribute { tag, value }
    }

    /// Without value: the delimiter, or the wish for an attribute in a query.
    pub fn empty(tag: Tag) -> Attribute {
        Attribute { tag, value: Vec::new() }
    }

    /// A number of four bytes.
    pub fn number(tag: Tag, number: u32) -> Attribute {
        Attribute { tag, value: number.to_be_bytes().to_vec() }
    }

    /// A text, ended by a NUL.
    pub fn text(tag: Tag, text: &str) -> Attribute {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        Attribute::new(tag, &bytes)
    }

    /// An address of 16 bytes; IPv4 in its IPv6-mapped form.
    pub fn address(tag: Tag, address: IpAddr) -> Attribute {
        let six = match address {
            IpAddr::V4(four) => four.to_ipv6_mapped(),
            IpAddr::V6(six) => six,
        };
        Attribute { tag, value: six.octets().to_vec() }
    }

    /// The value with its padding.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// As a number of four bytes.
    pub fn as_number(&self) -> Option<u32> {
        self.value.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    /// As a text: UTF-8 without control characters, followed by nothing but NULs.
    pub fn as_text(&self) -> Option<&str> {
        let end = self.value.iter().position(|&byte| byte == 0).unwrap_or(self.value.len());
        let (text, rest) = self.value.split_at(end);
        let text = core::str::from_utf8(text).ok()?;
        (rest.iter().all(|&byte| byte == 0) && !text.chars().any(char::is_control)).then_some(text)
    }

    /// As an address; a mapped one is given as the IPv4 address it is.
    pub fn as_address(&self) -> Option<IpAddr> {
        let octets: [u8; 16] = self.value.as_slice().try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
    }

    /// Bytes on the wire.
    pub fn wire_len(&self) -> usize {
        ATTRIBUTE_HEADER_LEN + self.value.len()
    }
}

/// A whole message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// What it asks or answers.
    pub function: Function,
    /// TRANSACTION ID: the same in request and response.
    pub transaction: u16,
    /// The registration replaces the one there is.
    pub replace: bool,
    /// It comes from a server, not from a client.
    pub from_server: bool,
    /// Status; in responses, and only there.
    pub status: Option<Status>,
    /// Attributes in order, the delimiter among them.
    pub attributes: Vec<Attribute>,
}

impl Message {
    /// A request of a client.
    pub fn request(function: Function, transaction: u16, attributes: Vec<Attribute>) -> Message {
        Message { function, transaction, replace: false, from_server: false, status: None, attributes }
    }

    /// The response of a client to this request.
    pub fn answer(&self, status: Status, attributes: Vec<Attribute>) -> Message {
        let (function, transaction) = (self.function.response(), self.transaction);
        Message { function, transaction, replace: false, from_server: false, status: Some(status), attributes }
    }

    /// The first attribute with this tag.
    pub fn find(&self, tag: Tag) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.tag == tag)
    }

    /// The first text with this tag.
    pub fn text(&self, tag: Tag) -> Option<String> {
        self.find(tag)?.as_text().map(Into::into)
    }

    /// Attributes behind the delimiter; `None` without one.
    pub fn operating(&self) -> Option<&[Attribute]> {
        let place = self.attributes.iter().position(|attribute| attribute.tag == Tag::DELIMITER)?;
        self.attributes.get(place + 1..)
    }

    /// As PDUs, one behind the other.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        if self.function.is_response() {
            payload.extend_from_slice(&self.status.unwrap_or(Status::SUCCESS).0.to_be_bytes());
        }
        for attribute in &self.attributes {
            payload.extend_from_slice(&attribute.tag.0.to_be_bytes());
            payload.extend_from_slice(&u32::try_from(attribute.value.len()).unwrap_or(u32::MAX).to_be_bytes());
            payload.extend_from_slice(&attribute.value);
        }
        framing::pdus(self, &payload)
    }

    /// Reads the payload of a message; `self` has what its headers say.
    ///
    /// # Errors
    /// No room for the status, or an attribute that does not fit.
    pub(super) fn read_payload(mut self, payload: &[u8]) -> Result<Message, Fault> {
        let mut rest = payload;
        if self.function.is_response() {
            let (status, after) = rest.split_first_chunk().ok_or(Fault::NoStatus)?;
            self.status = Some(Status(u32::from_be_bytes(*status)));
            rest = after;
        }
        while !rest.is_empty() {
            let (tag, after) = rest.split_first_chunk().ok_or(Fault::Attribute)?;
            let (len, after) = after.split_first_chunk().ok_or(Fault::Attribute)?;
            let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| Fault::Attribute)?;
            if !len.is_multiple_of(4) || len > after.len() {
                return Err(Fault::Attribute);
            }
            let (value, after) = after.split_at(len);
            self.attributes.push(Attribute { tag: Tag(u32::from_be_bytes(*tag)), value: value.to_vec() });
            rest = after;
        }
        Ok(self)
    }
}
