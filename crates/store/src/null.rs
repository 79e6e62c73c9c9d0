//! Nothing: reads are zeros, writes are forgotten. For measuring everything else.

use std::sync::Arc;

use crate::{BLOCK, Error, Extent, Geometry, Plan, ResizeError, Store, range};

/// A disk that keeps nothing.
pub struct Null {
    bytes: u64,
}

impl Null {
    /// Size of a null store when nobody says: 1 TiB.
    pub const DEFAULT_BYTES: u64 = 1 << 40;

    /// Of this size in bytes.
    pub fn new(bytes: u64) -> Null {
        Null { bytes }
    }
}

impl Store for Null {
    fn geometry(&self) -> Geometry {
        Geometry { bytes: self.bytes, read_only: false, can_discard: false, preferred: 0, durable: false, alignment: 1 }
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Plan {
        into.fill(0);
        Plan::Done(range(self.bytes, offset, into.len() as u64))
    }

    fn write(&self, offset: u64, from: &[u8], _stable: bool) -> Plan {
        Plan::Done(range(self.bytes, offset, from.len() as u64))
    }

    fn flush(&self, offset: u64, len: u64) -> Plan {
        Plan::Done(range(self.bytes, offset, len))
    }

    fn zero(&self, offset: u64, len: u64, _stable: bool) -> Plan {
        Plan::Done(range(self.bytes, offset, len))
    }

    fn discard(&self, _offset: u64, _len: u64) -> Plan {
        Plan::Done(Err(Error::Unsupported))
    }

    fn extents(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, Error> {
        range(self.bytes, offset, len)?;
        Ok(if len == 0 || max == 0 { Vec::new() } else { vec![Extent { offset, len, mapped: true }] })
    }

    fn prefetch(&self, _offset: u64, _len: u64) {}

    fn kind(&self) -> &'static str {
        "null"
    }

    fn resized(&self, bytes: Option<u64>) -> Result<Arc<dyn Store>, ResizeError> {
        match bytes {
            Some(bytes) if bytes < BLOCK => Err(ResizeError::TooSmall(bytes)),
            bytes => Ok(Arc::new(Null::new(bytes.unwrap_or(self.bytes)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_everything() {
        let null = Null::new(Null::DEFAULT_BYTES);
        assert_eq!(null.write(0, &[1; 512], true), Plan::Done(Ok(())));
        let mut bytes = [9u8; 512];
        assert_eq!(null.read(0, &mut bytes), Plan::Done(Ok(())));
        assert_eq!(bytes, [0; 512]);
        assert_eq!(null.read(Null::DEFAULT_BYTES - 511, &mut bytes), Plan::Done(Err(Error::OutOfRange)));
        assert_eq!(null.discard(0, 512), Plan::Done(Err(Error::Unsupported)));
    }
}
