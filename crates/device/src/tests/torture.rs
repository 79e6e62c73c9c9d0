//! Any CDB, any length of data, any answer of a store: no panic, and the promises to the target and the store hold.

use alloc::vec::Vec;

use proptest::prelude::*;
use scsi::command::{self, CommandRow, rows_for};
use scsi::{Asc, BlockSize, DeviceType, Outcome, SenseKey, Status};

use crate::tests::bench::{medium, port, settings};
use crate::{Device, Extent, Medium, Parameter, Request, Step, StoreAnswer, StoreFault, StoreOp, StoreResult, UnitSettings};

/// Parameters are never longer.
const MAX_INLINE: u32 = 64 << 10;
/// No command of these small disks takes more steps.
const MAX_STEPS: usize = 2000;

/// A CDB with a known operation code and otherwise any bytes, small numbers preferred.
fn cdb() -> impl Strategy<Value = Vec<u8>> {
    let rows: Vec<&CommandRow> = [DeviceType::DISK, DeviceType::CONTROLLER].into_iter().flat_map(rows_for).collect();
    let byte = prop_oneof![5 => Just(0_u8), 2 => 0..20_u8, 2 => any::<u8>(), 1 => Just(0xff_u8)];
    let flags = prop_oneof![3 => Just(0_u8), 2 => any::<u8>(), 2 => Just(0x10_u8), 2 => Just(0x08_u8), 1 => Just(0x01_u8), 1 => Just(0x02_u8)];
    let known = (prop::sample::select(rows), prop::collection::vec(byte, 32), flags).prop_map(|(row, mut bytes, flags)| {
        bytes[row.flags_at()] = flags;
        bytes[row.control_at()] &= 0xf8;
        command::head(row, &mut bytes);
        bytes.truncate(row.usage.len());
        bytes
    });
    prop_oneof![9 => known, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

fn answer() -> impl Strategy<Value = StoreResult> {
    let extent =
        (0..300_000_u64, prop_oneof![0..9000_u64, any::<u64>()], any::<bool>()).prop_map(|(offset, len, mapped)| Extent { offset, len, mapped });
    prop_oneof![
        6 => Just(Ok(StoreAnswer::Done)),
        4 => Just(Ok(StoreAnswer::Equal)),
        1 => any::<u64>().prop_map(|at| Ok(StoreAnswer::Differs { at })),
        1 => prop::collection::vec(extent, 0..20).prop_map(|extents| Ok(StoreAnswer::Extents(extents))),
        1 => Just(Err(StoreFault::NoSpace)),
        1 => Just(Err(StoreFault::ReadOnly)),
        1 => any::<Option<u64>>().prop_map(|at| Err(StoreFault::Io { at })),
        1 => Just(Err(StoreFault::Unsupported)),
        1 => Just(Err(StoreFault::Gone)),
        1 => any::<(u8, u16)>().prop_map(|(key, asc)| Err(StoreFault::Injected { key: SenseKey(key & 15), asc: Asc(asc) })),
    ]
}

fn device() -> impl Strategy<Value = Device> {
    let bytes = prop_oneof![Just(0_u64), 1..100_000_u64, Just(262_144_u64), Just(u64::MAX), Just(1 << 41)];
    (any::<[bool; 6]>(), 9..17_u32, prop::option::of(bytes)).prop_map(|(flags, shift, bytes)| {
        let [controller, removable, read_only, thin, no_cache, rare] = flags;
        let block_size = BlockSize::new(1 << shift).unwrap();
        let settings = UnitSettings { removable, read_only: read_only && rare, thin, block_size, ..settings() };
        if controller && rare {
            return Device::controller(settings);
        }
        let mut device = Device::disk(settings, bytes.map(|bytes| Medium { can_discard: thin, ..medium(bytes) }));
        if no_cache {
            device.set(Parameter::ModePage { page: 8, subpage: 0, size: 18, data: Vec::new() }).unwrap();
        }
        device
    })
}

/// Every store operation lies inside the medium and its payload inside what was fetched.
fn inside(device: &Device, op: StoreOp, fetched: u32) {
    let bytes = device.blocks().checked_shl(device.block_size().shift()).unwrap();
    let (offset, len, payload) = match op {
        StoreOp::Read { offset, len } => (offset, len.into(), 0),
        StoreOp::Or { offset, len } => (offset, len.into(), u64::from(len)),
        StoreOp::Fill { offset, len, block, payload, pattern, .. } => {
            assert!(len % u64::from(block) == 0 && pattern > 0);
            (offset, len, u64::from(payload) + u64::from(pattern))
        }
        StoreOp::Write { offset, len, payload, .. } | StoreOp::Compare { offset, len, payload } => {
            (offset, len.into(), u64::from(payload) + u64::from(len))
        }
        StoreOp::CompareSame { offset, len, block } | StoreOp::WriteSame { offset, len, block, .. } => {
            assert_eq!(len % u64::from(block), 0);
            (offset, len, block.into())
        }
        StoreOp::Zero { offset, len, .. }
        | StoreOp::Check { offset, len }
        | StoreOp::Discard { offset, len }
        | StoreOp::Flush { offset, len }
        | StoreOp::Prefetch { offset, len }
        | StoreOp::Extents { offset, len, .. } => (offset, len, 0),
    };
    assert!(offset.checked_add(len).is_some_and(|end| end <= bytes), "{op:?} on {bytes}");
    assert!(payload <= u64::from(fetched), "{op:?} with {fetched} bytes of payload");
    assert!(len > 0 || matches!(op, StoreOp::Flush { .. }), "{op:?} does nothing");
}

fn run(device: &mut Device, cdb: &[u8], data: &[u8], answers: &[StoreResult]) -> Outcome {
    let row = match device.lookup(cdb) {
        Ok(row) => row,
        Err(outcome) => return outcome,
    };
    let port = port();
    let data_out = u32::try_from(data.len()).unwrap();
    let request = Request { row, cdb, data_out, data_in: 0, nexus: 1, port: &port };
    let _ = device.range(row, cdb);
    if let Err(outcome) = device.check(&request) {
        return outcome;
    }
    let (mut progress, mut step) = device.begin(&request);
    let mut fetched = 0;
    let mut answers = answers.iter().cycle();
    for _ in 0..MAX_STEPS {
        step = match step {
            Step::Finish(outcome) => return outcome,
            Step::Fetch { len, inline } => {
                assert!(len <= data_out && len > 0 && fetched == 0);
                assert!(!inline || len <= MAX_INLINE);
                fetched = len;
                let data = &data[..usize::try_from(len).unwrap()];
                device.fetched(&mut progress, if inline { data } else { &[] })
            }
            Step::Store(op) => {
                inside(device, op, fetched);
                device.stored(&mut progress, answers.next().cloned().unwrap_or(Ok(StoreAnswer::Done)))
            }
        };
    }
    // A long WRITE SAME, an erasure and an extended self-test go on piece by piece; that they end is tested where they are written.
    assert!(matches!(cdb[0], 0x04 | 0x1d | 0x41 | 0x48 | 0x93), "{cdb:02x?} does not end");
    Outcome::good(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_an_initiator_sends_or_a_store_answers_does_harm(
        mut device in device(),
        commands in prop::collection::vec((cdb(), prop_oneof![
            prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..80),
            (0..4_usize, any::<u8>()).prop_map(|(blocks, byte)| alloc::vec![byte & 1; blocks * 512]),
        ]), 1..6),
        answers in prop::collection::vec(answer(), 1..8),
    ) {
        for (cdb, data) in &commands {
            let outcome = run(&mut device, cdb, data, &answers);
            prop_assert_eq!(outcome.sense.is_some(), outcome.status == Status::CHECK_CONDITION);
            let succeeded = matches!(outcome.status, Status::GOOD | Status::CONDITION_MET)
                || outcome.sense.is_some_and(|sense| sense.key == SenseKey::RECOVERED_ERROR);
            prop_assert!(succeeded || outcome.data_in.is_empty());
            while device.poll_notice().is_some() {}
        }
    }

    #[test]
    fn any_mode_parameter_list(list in prop::collection::vec(prop_oneof![
        4 => Just(0_u8), 1 => Just(8), 1 => Just(0x0a), 1 => Just(0x12), 1 => any::<u8>(),
    ], 0..120), ten: bool) {
        let mut device = Device::disk(settings(), Some(medium(262_144)));
        let len = u8::try_from(list.len()).unwrap();
        let cdb = if ten { alloc::vec![0x55, 0x10, 0, 0, 0, 0, 0, 0, len, 0] } else { alloc::vec![0x15, 0x10, 0, 0, len, 0] };
        run(&mut device, &cdb, &list, &[Ok(StoreAnswer::Done)]);
    }
}
