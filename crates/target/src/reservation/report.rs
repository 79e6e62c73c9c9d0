//! PERSISTENT RESERVE IN (SPC-6 6.16).

use alloc::vec::Vec;

use scsi::TransportId;
use scsi::response::Response;

use super::Reservations;

/// RLR_C (a lost reservation can be replaced), SIP_C (SPEC_I_PT), ATP_C (ALL_TG_PT). Not CRH.
const CAPABILITIES: u8 = 0x80 | 0x08 | 0x04;
/// PTPL_C in the same byte, PTPL_A in the next: what is registered can outlive, or outlives, a loss of power.
const OUTLIVES_POWER: u8 = 0x01;
/// TMV: the type mask is valid. ALLOW COMMANDS is 0: nothing is said about TEST UNIT READY and its like.
const TYPE_MASK_VALID: u8 = 0x80;
/// WEAR, EARO, WERO, EA and WE; EAAR.
const TYPES: u16 = 0xea01;

impl Reservations {
    /// PERSISTENT RESERVE IN READ KEYS, cut to `allocation` bytes.
    pub fn read_keys(&self, allocation: u16) -> Vec<u8> {
        let mut response = Response::new(u32::from(allocation));
        response.be32(self.generation).zeros(4);
        for registrant in &self.registrants {
            response.be64(registrant.key);
        }
        response.length32(4);
        response.finish()
    }

    /// PERSISTENT RESERVE IN READ RESERVATION, cut to `allocation` bytes. All-registrants reservations have no key.
    pub fn read_reservation(&self, allocation: u16) -> Vec<u8> {
        let mut response = Response::new(u32::from(allocation));
        response.be32(self.generation).zeros(4);
        if let Some(held) = self.held {
            let holder = self.registrants.iter().find(|registrant| Some(registrant.number) == held.holder);
            response.be64(holder.map_or(0, |registrant| registrant.key)).zeros(5).u8(held.kind.number()).zeros(2);
        }
        response.length32(4);
        response.finish()
    }

    /// PERSISTENT RESERVE IN REPORT CAPABILITIES, cut to `allocation` bytes: all six types, SPEC_I_PT and ALL_TG_PT; `keeps`: APTPL.
    pub fn report_capabilities(&self, allocation: u16, keeps: bool) -> Vec<u8> {
        let mut response = Response::new(u32::from(allocation));
        let flag = |set: bool| if set { OUTLIVES_POWER } else { 0 };
        response.be16(8).u8(CAPABILITIES | flag(keeps)).u8(TYPE_MASK_VALID | flag(self.aptpl)).be16(TYPES).zeros(2);
        response.finish()
    }

    /// PERSISTENT RESERVE IN READ FULL STATUS, cut to `allocation` bytes: one descriptor for each I_T nexus. A registration through all target ports is one
    /// for each of them, so ALL_TG_PT is never set here.
    pub fn read_full_status(&self, allocation: u16) -> Vec<u8> {
        let mut response = Response::new(u32::from(allocation));
        response.be32(self.generation).zeros(4);
        for registrant in &self.registrants {
            let held = self.held.filter(|held| held.holder.is_none_or(|holder| holder == registrant.number));
            let identity = &registrant.identity;
            let id = TransportId { name: identity.initiator_name.clone(), isid: Some(identity.isid) }.encode();
            response.be64(registrant.key).zeros(4);
            response.u8(u8::from(held.is_some())).u8(held.map_or(0, |held| held.kind.number())).zeros(4);
            response.be16(identity.port.relative_port.0).be32(u32::try_from(id.len()).unwrap_or(u32::MAX)).bytes(&id);
        }
        response.length32(4);
        response.finish()
    }
}
