//! A store whose every operation is one of the simulated disk.

use std::os::fd::RawFd;

use store::{Error, Extent, Geometry, Io, Plan, Store};

/// A file of the simulated world.
pub struct SimStore {
    file: RawFd,
    bytes: u64,
}

impl SimStore {
    /// The disk with handle `file`.
    pub fn new(file: RawFd, bytes: u64) -> SimStore {
        SimStore { file, bytes }
    }
}

impl Store for SimStore {
    fn geometry(&self) -> Geometry {
        Geometry { bytes: self.bytes, read_only: false, can_discard: true, preferred: 512, durable: true, alignment: 1 }
    }

    fn read(&self, offset: u64, _: &mut [u8]) -> Plan {
        Plan::Io(Io::Read { file: self.file, offset })
    }

    fn write(&self, offset: u64, _: &[u8], stable: bool) -> Plan {
        Plan::Io(Io::Write { file: self.file, offset, sync: stable })
    }

    fn flush(&self, _: u64, _: u64) -> Plan {
        Plan::Io(Io::Sync { file: self.file })
    }

    fn zero(&self, offset: u64, len: u64, stable: bool) -> Plan {
        Plan::Io(Io::Zero { file: self.file, offset, len, block_device: false, sync: stable })
    }

    fn discard(&self, offset: u64, len: u64) -> Plan {
        Plan::Io(Io::Discard { file: self.file, offset, len, block_device: false })
    }

    fn extents(&self, offset: u64, len: u64, _: usize) -> Result<Vec<Extent>, Error> {
        Ok(vec![Extent { offset, len, mapped: true }])
    }

    fn prefetch(&self, _: u64, _: u64) {}

    fn kind(&self) -> &'static str {
        "sim"
    }
}
