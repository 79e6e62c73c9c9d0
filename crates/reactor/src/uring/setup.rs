//! Making a ring: the best flags that this kernel has, and whether it can do what the driver needs.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// Requests per submission; more wait in a list of the driver.
const ENTRIES: u32 = 1024;
/// Answers the kernel can leave before it keeps them itself: one accept, receive and send of a thousand connections, and their file operations.
const ANSWERS: u32 = 8192;

/// Which flags the ring has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// SINGLE_ISSUER | DEFER_TASKRUN, Linux 6.1.
    Deferred,
    /// COOP_TASKRUN, Linux 5.19.
    Cooperative,
    Plain,
}

/// A ring and its flags. The error is the system's.
pub fn build() -> io::Result<(IoUring, Setup)> {
    let attempt = |setup| {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(ANSWERS).setup_clamp();
        match setup {
            Setup::Deferred => builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag(),
            Setup::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag(),
            Setup::Plain => &mut builder,
        };
        builder.build(ENTRIES).map(|ring| (ring, setup))
    };
    let mut result = attempt(Setup::Deferred);
    for setup in [Setup::Cooperative, Setup::Plain] {
        // Only EINVAL says that the flags are the trouble.
        match &result {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => result = attempt(setup),
            _ => break,
        }
    }
    result
}

/// Refuses a kernel that lacks what the driver needs.
pub fn probe(ring: &IoUring) -> io::Result<()> {
    let unsupported = || io::Error::from_raw_os_error(libc::EINVAL);
    if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() || !ring.params().is_feature_fast_poll() {
        return Err(unsupported());
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::Accept::CODE,
        opcode::Recv::CODE,
        opcode::SendMsg::CODE,
        opcode::Read::CODE,
        opcode::Write::CODE,
        opcode::Fsync::CODE,
        opcode::Fallocate::CODE,
        opcode::PollAdd::CODE,
        opcode::AsyncCancel::CODE,
    ];
    if needed.iter().all(|code| probe.is_supported(*code)) { Ok(()) } else { Err(unsupported()) }
}
