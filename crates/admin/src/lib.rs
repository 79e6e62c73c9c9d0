//! One typed request and reply for every front door: tgtadm's wire, JSON, command lines.
#![forbid(unsafe_code)]
