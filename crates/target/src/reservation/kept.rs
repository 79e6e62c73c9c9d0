//! What outlives a loss of power: registrations and reservation as bytes, and back.
//!
//! Version, flags, type of the reservation (0: none), number of its holder's registration from 1 (0: all registrants, or none), number of registrations; then for
//! each: key, ISID, relative port, portal group tag, target name, initiator name, both with their length before them. Numbers in network order. PRGENERATION is not
//! kept (SPC-6 5.14.5.4).

use alloc::string::String;
use alloc::vec::Vec;

use device::PortIdentity;
use scsi::RelativePort;

use super::{Held, REGISTRATION_LIMIT, ReservationType, Reservations};
use crate::effect::NexusIdentity;

/// Version of the form.
const VERSION: u8 = 1;
/// Longest name that is read: iSCSI's are shorter.
const NAME_LIMIT: usize = 1024;

impl Reservations {
    /// What has to be kept; empty: nothing, because no initiator has asked for it (APTPL = 0).
    pub fn kept(&self) -> Vec<u8> {
        if !self.aptpl {
            return Vec::new();
        }
        let mut bytes = Vec::from([VERSION, 0, self.held.map_or(0, |held| held.kind.number())]);
        let holder = self.held.and_then(|held| self.registrants.iter().position(|registrant| Some(registrant.number) == held.holder));
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
        bytes.extend(number(holder.map_or(0, |at| at + 1)));
        bytes.extend(number(self.registrants.len()));
        for registrant in &self.registrants {
            let NexusIdentity { initiator_name, isid, port } = &registrant.identity;
            bytes.extend(registrant.key.to_be_bytes());
            bytes.extend(isid);
            bytes.extend(port.relative_port.0.to_be_bytes());
            bytes.extend(port.group_tag.to_be_bytes());
            for name in [&port.target_name, initiator_name] {
                bytes.extend(number(name.len()));
                bytes.extend(name.as_bytes());
            }
        }
        bytes
    }

    /// Registrations and reservation as [`kept`](Self::kept) wrote them. `None`: the bytes are not what it writes.
    pub fn restored(bytes: &[u8]) -> Option<Reservations> {
        let mut rest = bytes;
        let [version, flags, kind] = take::<3>(&mut rest)?;
        let holder = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?;
        let count = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?;
        if version != VERSION || flags != 0 || count > REGISTRATION_LIMIT || holder > count {
            return None;
        }
        let mut found = Reservations { aptpl: true, ..Reservations::new() };
        for _ in 0..count {
            let key = u64::from_be_bytes(take(&mut rest)?);
            let isid = take(&mut rest)?;
            let relative_port = RelativePort(u16::from_be_bytes(take(&mut rest)?));
            let group_tag = u16::from_be_bytes(take(&mut rest)?);
            let target_name = name(&mut rest)?;
            let identity = NexusIdentity { initiator_name: name(&mut rest)?, isid, port: PortIdentity { target_name, group_tag, relative_port } };
            if key == 0 || found.find(&identity).is_some() {
                return None;
            }
            found.add(&identity, key);
        }
        if kind != 0 {
            let kind = ReservationType::from_number(kind)?;
            let holder = holder.checked_sub(1).and_then(|at| found.registrants.get(at)).map(|registrant| registrant.number);
            if found.registrants.is_empty() || holder.is_none() != kind.all_registrants() {
                return None;
            }
            found.held = Some(Held { kind, holder });
        } else if holder != 0 {
            return None;
        }
        rest.is_empty().then_some(found)
    }
}

fn take<const LEN: usize>(rest: &mut &[u8]) -> Option<[u8; LEN]> {
    let (head, tail) = rest.split_first_chunk::<LEN>()?;
    *rest = tail;
    Some(*head)
}

fn name(rest: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(u32::from_be_bytes(take(rest)?)).ok().filter(|&len| len <= NAME_LIMIT && len <= rest.len())?;
    let (name, tail) = rest.split_at(len);
    *rest = tail;
    core::str::from_utf8(name).ok().map(String::from)
}
