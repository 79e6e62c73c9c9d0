//! Who may log in to a target.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Address and name rules of a target, in order of arrival, as written. A login passes when any rule matches; a target without rules refuses everyone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessList {
    /// `ALL`, an address, or `ADDRESS/BITS`.
    pub addresses: Vec<String>,
    /// iSCSI names, `*` and `?` allowed.
    pub names: Vec<String>,
}

impl AccessList {
    /// May this initiator at this address log in?
    pub fn admits(&self, peer: IpAddr, initiator: &str) -> bool {
        let _ = (peer, initiator);
        false
    }
}
