//! Parameter lists that initiators send: bytes in, values or sense out. Lengths inside a list are never trusted beyond its end.

use alloc::vec::Vec;

use crate::response::{be16, be32, be64};
use crate::sense::{Asc, Sense};
use crate::transport_id::TransportId;
use crate::types::{BlockCount, BlockRange, Lba};

/// Bytes of the UNMAP parameter list header.
const UNMAP_HEADER: usize = 8;
/// Bytes of one UNMAP block descriptor.
const UNMAP_DESCRIPTOR: usize = 16;
/// Bytes of the PERSISTENT RESERVE OUT parameter list without a TransportID list.
const RESERVE_OUT: usize = 24;

/// Block ranges of an UNMAP parameter list (SBC-4, UNMAP), in the list's order, empty ones among them.
///
/// An empty list asks for nothing and is no error; 1 to 7 bytes are 5/1A00. A descriptor that is cut off, by the list's end or by the length in the
/// header, is ignored. More than `max_descriptors` descriptors, or more than `max_blocks` blocks in all, are 5/2600. Nothing is said about
/// the capacity: that check is the device's.
pub fn unmap(list: &[u8], max_descriptors: u32, max_blocks: u64) -> Result<Vec<BlockRange>, Sense> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let (Some(declared), Some(descriptors)) = (be16(list, 2), list.get(UNMAP_HEADER..)) else {
        return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    };
    let count = usize::from(declared).min(descriptors.len()) / UNMAP_DESCRIPTOR;
    if u32::try_from(count).map_or(true, |count| count > max_descriptors) {
        return Err(Sense::invalid_parameter_field(2, None));
    }
    let mut ranges = Vec::with_capacity(count);
    let mut total = 0u64;
    for (index, descriptor) in descriptors.chunks_exact(UNMAP_DESCRIPTOR).take(count).enumerate() {
        let (Some(lba), Some(blocks)) = (be64(descriptor, 0), be32(descriptor, 8)) else { break };
        total = total.saturating_add(u64::from(blocks));
        if total > max_blocks {
            let at = UNMAP_HEADER + index * UNMAP_DESCRIPTOR + 8;
            return Err(Sense::invalid_parameter_field(u16::try_from(at).unwrap_or(u16::MAX), None));
        }
        ranges.push(BlockRange { start: Lba(lba), count: BlockCount(u64::from(blocks)) });
    }
    Ok(ranges)
}

/// The PERSISTENT RESERVE OUT parameter list (SPC-6, basic parameter list), as sent. The TransportIDs behind it are [`transport_ids`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PersistentReserveOut {
    /// RESERVATION KEY: the key the nexus says it has registered.
    pub key: u64,
    /// SERVICE ACTION RESERVATION KEY: the new key, or the key to preempt.
    pub service_action_key: u64,
    /// SPEC_I_PT: a TransportID list follows.
    pub spec_i_pt: bool,
    /// ALL_TG_PT: registration through every target port.
    pub all_tg_pt: bool,
    /// APTPL: registrations outlive a power loss.
    pub aptpl: bool,
}

impl PersistentReserveOut {
    /// Parses the list that the CDB's PARAMETER LIST LENGTH announced. Anything but 24 bytes is 5/1A00, except that a list with SPEC_I_PT may be
    /// longer.
    pub fn parse(list: &[u8]) -> Result<PersistentReserveOut, Sense> {
        let (Some(key), Some(service_action_key), Some(&flags)) = (be64(list, 0), be64(list, 8), list.get(20)) else {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        let spec_i_pt = flags & 0x08 != 0;
        if list.len() < RESERVE_OUT || (list.len() > RESERVE_OUT && !spec_i_pt) {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        Ok(PersistentReserveOut { key, service_action_key, spec_i_pt, all_tg_pt: flags & 0x04 != 0, aptpl: flags & 0x01 != 0 })
    }
}

/// The TransportIDs of a PERSISTENT RESERVE OUT parameter list with SPEC_I_PT, in order. A list that does not hold exactly what its TRANSPORTID PARAMETER
/// DATA LENGTH says is 5/1A00; a TransportID that cannot be understood is 5/2600 at its first byte.
pub fn transport_ids(list: &[u8]) -> Result<Vec<TransportId>, Sense> {
    let declared = be32(list, RESERVE_OUT).and_then(|declared| usize::try_from(declared).ok());
    let (Some(declared), Some(mut rest)) = (declared, list.get(RESERVE_OUT + 4..)) else {
        return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    };
    if declared != rest.len() {
        return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    let mut ids = Vec::new();
    while !rest.is_empty() {
        let at = list.len() - rest.len();
        let (id, length) = TransportId::parse(rest).ok_or(Sense::invalid_parameter_field(u16::try_from(at).unwrap_or(u16::MAX), None))?;
        ids.push(id);
        rest = &rest[length..];
    }
    Ok(ids)
}

/// The parameter list of PERSISTENT RESERVE OUT, REGISTER AND MOVE (SPC-6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterAndMove {
    /// RESERVATION KEY: the key the nexus says it has registered.
    pub key: u64,
    /// SERVICE ACTION RESERVATION KEY: the key of the destination.
    pub service_action_key: u64,
    /// UNREG: the nexus itself is unregistered.
    pub unregister: bool,
    /// APTPL.
    pub aptpl: bool,
    /// RELATIVE TARGET PORT IDENTIFIER of the destination.
    pub relative_port: u16,
    /// Initiator port of the destination.
    pub destination: TransportId,
}

impl RegisterAndMove {
    /// Parses the list. A length that does not fit its TRANSPORTID PARAMETER DATA LENGTH is 5/1A00; a TransportID that cannot be understood is 5/2600.
    pub fn parse(list: &[u8]) -> Result<RegisterAndMove, Sense> {
        let fields = (be64(list, 0), be64(list, 8), list.get(17), be16(list, 18), be32(list, 20), list.get(RESERVE_OUT..));
        let (Some(key), Some(service_action_key), Some(&flags), Some(relative_port), Some(declared), Some(id)) = fields else {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        if id.is_empty() || usize::try_from(declared) != Ok(id.len()) {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        let Some((destination, length)) = TransportId::parse(id) else { return Err(Sense::invalid_parameter_field(24, None)) };
        if length != id.len() {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        Ok(RegisterAndMove { key, service_action_key, unregister: flags & 0x02 != 0, aptpl: flags & 0x01 != 0, relative_port, destination })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    fn list(declared: u16, ranges: &[(u64, u32)]) -> Vec<u8> {
        let mut list = vec![0; 8];
        list[..2].copy_from_slice(&(declared + 6).to_be_bytes());
        list[2..4].copy_from_slice(&declared.to_be_bytes());
        for (lba, blocks) in ranges {
            list.extend_from_slice(&lba.to_be_bytes());
            list.extend_from_slice(&blocks.to_be_bytes());
            list.extend_from_slice(&[0; 4]);
        }
        list
    }

    fn range(start: u64, count: u64) -> BlockRange {
        BlockRange { start: Lba(start), count: BlockCount(count) }
    }

    #[test]
    fn unmap_ranges() {
        let two = [(1 << 40, 5), (7, 0)];
        assert_eq!(unmap(&list(32, &two), 8, u64::MAX), Ok(vec![range(1 << 40, 5), range(7, 0)]));
        assert_eq!(unmap(&list(16, &two), 8, u64::MAX), Ok(vec![range(1 << 40, 5)]), "the header's length counts");
        assert_eq!(unmap(&list(31, &two), 8, u64::MAX), Ok(vec![range(1 << 40, 5)]), "a part of a descriptor does not");
        assert_eq!(unmap(&list(48, &two), 8, u64::MAX).map(|ranges| ranges.len()), Ok(2), "nor what is not there");
        assert_eq!(unmap(&list(0, &two), 8, u64::MAX), Ok(vec![]));
    }

    #[test]
    fn unmap_lengths() {
        assert_eq!(unmap(&[], 8, 1), Ok(vec![]));
        for length in 1..8 {
            assert_eq!(unmap(&vec![0; length], 8, 1), Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)));
        }
        assert_eq!(unmap(&[0; 8], 8, 1), Ok(vec![]));
    }

    #[test]
    fn unmap_limits() {
        let two = [(0, 5), (7, 6)];
        assert_eq!(unmap(&list(32, &two), 1, 100), Err(Sense::invalid_parameter_field(2, None)));
        assert_eq!(unmap(&list(32, &two), 2, 11).map(|ranges| ranges.len()), Ok(2));
        assert_eq!(unmap(&list(32, &two), 2, 10), Err(Sense::invalid_parameter_field(32, None)));
    }

    #[test]
    fn reserve_out() {
        let mut list = vec![0; 24];
        list[7] = 1;
        list[15] = 2;
        let plain = PersistentReserveOut { key: 1, service_action_key: 2, spec_i_pt: false, all_tg_pt: false, aptpl: false };
        assert_eq!(PersistentReserveOut::parse(&list), Ok(plain));
        for (flags, expected) in [
            (0x08, PersistentReserveOut { spec_i_pt: true, ..plain }),
            (0x04, PersistentReserveOut { all_tg_pt: true, ..plain }),
            (0x01, PersistentReserveOut { aptpl: true, ..plain }),
        ] {
            list[20] = flags;
            assert_eq!(PersistentReserveOut::parse(&list), Ok(expected));
        }
    }

    fn id(name: &str) -> TransportId {
        TransportId { name: name.into(), isid: Some([0x80, 0, 0, 0, 0, 1]) }
    }

    fn with_ids(ids: &[TransportId]) -> Vec<u8> {
        let bytes: Vec<u8> = ids.iter().flat_map(TransportId::encode).collect();
        let mut list = vec![0; 24];
        list[20] = 0x08;
        list.extend((bytes.len() as u32).to_be_bytes());
        list.extend(bytes);
        list
    }

    #[test]
    fn lists_of_initiator_ports() {
        let length_error = Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        let two = [id("iqn.2026-01.example:a"), id("iqn.2026-01.example:longer-name")];
        assert_eq!(transport_ids(&with_ids(&two)), Ok(two.to_vec()));
        assert_eq!(transport_ids(&with_ids(&[])), Ok(vec![]));
        assert_eq!(transport_ids(&[0; 24]), length_error);
        let mut list = with_ids(&two);
        list[27] += 4;
        assert_eq!(transport_ids(&list), length_error, "longer than it is");
        list = with_ids(&two);
        list.extend([0; 4]);
        assert_eq!(transport_ids(&list), length_error, "bytes that nobody announced");
        list = with_ids(&two);
        list[28 + 44] = 0x06;
        assert_eq!(transport_ids(&list), Err(Sense::invalid_parameter_field(72, None)), "the second is of SAS");
    }

    #[test]
    fn register_and_move() {
        let length_error = Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        let bytes = id("iqn.2026-01.example:a").encode();
        let mut list = vec![0; 24];
        (list[7], list[15], list[17], list[19], list[23]) = (1, 2, 0x03, 7, bytes.len() as u8);
        list.extend(&bytes);
        let destination = id("iqn.2026-01.example:a");
        let parsed = RegisterAndMove { key: 1, service_action_key: 2, unregister: true, aptpl: true, relative_port: 7, destination };
        assert_eq!(RegisterAndMove::parse(&list), Ok(parsed));
        assert_eq!(RegisterAndMove::parse(&list[..24]), length_error);
        assert_eq!(RegisterAndMove::parse(&list[..64]), length_error);
        list[23] -= 4;
        assert_eq!(RegisterAndMove::parse(&list), length_error);
        list[23] += 4;
        list[24] = 0x06;
        assert_eq!(RegisterAndMove::parse(&list), Err(Sense::invalid_parameter_field(24, None)));
    }

    #[test]
    fn reserve_out_length() {
        let length_error = Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        for length in [0, 1, 20, 21, 23, 25, 28] {
            assert_eq!(PersistentReserveOut::parse(&vec![0; length]), length_error, "{length}");
        }
        let mut long = vec![0; 28];
        long[20] = 0x08;
        assert!(PersistentReserveOut::parse(&long).is_ok_and(|list| list.spec_i_pt));
    }

    proptest! {
        #[test]
        fn any_list_is_answered(list in proptest::collection::vec(any::<u8>(), 0..200), max in 0u32..10) {
            if let Ok(ranges) = unmap(&list, max, 1 << 20) {
                prop_assert!(ranges.len() <= max as usize);
                prop_assert!(ranges.len() * 16 + 8 <= list.len().max(8));
            }
            let _ = (PersistentReserveOut::parse(&list), transport_ids(&list), RegisterAndMove::parse(&list));
        }
    }
}
