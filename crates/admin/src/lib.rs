//! One typed request and reply for every front door: tgtadm's wire, JSON, command lines.
//!
//! A request comes in as bytes ([`framing`]), either in tgtadm's binary form ([`wire`], read into a typed request by [`reading`]) or as one line of
//! JSON ([`json`]). The daemon carries out the [`request::Request`] and answers with a [`reply::Reply`]; [`show`] turns an answer into tgt's text.
//! [`options`] holds the option tables and the parser of the command lines that make such requests; [`manual`] and [`completion`] make the manual pages and
//! the shells' completions of the same tables.
#![forbid(unsafe_code)]

pub mod binding;
pub mod client;
pub mod code;
pub mod completion;
pub mod configuration;
pub mod document;
pub mod framing;
pub mod json;
pub mod listing;
pub mod manual;
pub mod number;
pub mod options;
pub mod portal;
pub mod reading;
pub mod reply;
pub mod request;
pub mod setting;
pub mod show;
pub mod size;
pub mod unit_setting;
pub mod view;
pub mod wire;
