//! Tests of the crate as a whole, and what the tests beside the code share.

pub(crate) mod bench;
mod torture;
