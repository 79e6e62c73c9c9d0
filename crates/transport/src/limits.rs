//! Bounds, each with its reason. Whatever a peer can make grow has one.

/// Bounds of one daemon; the constants below are the defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// TCP connections of all reactors together, logged in or not.
    pub connections: usize,
    /// TCP connections of one address.
    pub connections_per_peer: usize,
    /// Sessions of one target.
    pub sessions_per_target: usize,
    /// Nanoseconds from accept to full feature phase.
    pub login_timeout: u64,
    /// Nanoseconds that a login waits to hear where its target is.
    pub lookup_timeout: u64,
    /// Nanoseconds without any of the data that the initiator owes.
    pub data_timeout: u64,
    /// Bytes of payload buffers of one reactor.
    pub pool_bytes: usize,
    /// Bytes of the buffers for data that cannot be refused (staging, unsolicited data, comparisons) of one reactor.
    pub landing_bytes: usize,
    /// Nanoseconds that a new login of the same initiator port waits for what the old session still does to a store.
    pub reinstatement_timeout: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: CONNECTIONS,
            connections_per_peer: CONNECTIONS_PER_PEER,
            sessions_per_target: SESSIONS_PER_TARGET,
            login_timeout: LOGIN_TIMEOUT,
            lookup_timeout: LOOKUP_TIMEOUT,
            data_timeout: DATA_TIMEOUT,
            pool_bytes: POOL_BYTES,
            landing_bytes: LANDING_BYTES,
            reinstatement_timeout: REINSTATEMENT_TIMEOUT,
        }
    }
}

/// Below the usual limit of 1024 file descriptors plus what stores need once it is raised; a rack of hosts with several paths fits.
pub const CONNECTIONS: usize = 4096;

/// One host with many paths and a boot storm fits; one host cannot use up [`CONNECTIONS`].
pub const CONNECTIONS_PER_PEER: usize = 1024;

/// Each session costs every unit of the target some state (unit attentions, registrations).
pub const SESSIONS_PER_TARGET: usize = 1024;

/// As open-iscsi's own login timeout times two: 30 s.
pub const LOGIN_TIMEOUT: u64 = 30_000_000_000;

/// 5 s: a program that says where a target is has long done so, and an initiator that is told to try again still has most of its login timeout left.
pub const LOOKUP_TIMEOUT: u64 = 5_000_000_000;

/// 60 s: who owes data holds buffers that others wait for. Twice the time after which Linux gives a command up, so nobody who still wants its answer is cut.
pub const DATA_TIMEOUT: u64 = 60_000_000_000;

/// 256 MiB: 256 commands of 1 MiB in flight per reactor. Memory is touched only when used.
pub const POOL_BYTES: usize = 256 << 20;

/// 1 GiB: [`STAGING`] for each connection, and the first bursts that the command windows allow. Memory is touched only when used.
pub const LANDING_BYTES: usize = 1 << 30;

/// 10 s: longer than a slow disk's retries, shorter than an initiator's patience for a login.
pub const REINSTATEMENT_TIMEOUT: u64 = 10_000_000_000;

/// 8 MiB: data-in of a connection that its initiator may ask for again, from ErrorRecoveryLevel 1 on; a round trip at full speed fits. They are given back
/// sooner when commands wait for a buffer.
pub const KEPT_BYTES: usize = 8 << 20;

/// One `recv` of a busy connection brings several small commands, or a whole first burst.
pub const STAGING: usize = 64 << 10;

/// From this many missing bytes on, data are received straight into the task's buffer; below, one copy is cheaper than a further system call.
pub const DIRECT_RECEIVE: usize = 16 << 10;

/// After so many headers that were received alone and brought little, one receive takes whatever is there: small commands among large writes still arrive
/// in bunches.
pub const LONE_HEADERS: u32 = 4;

/// A command that brings data with it gets a buffer for all its data at once up to this length; beyond, for what came. A lie about the length costs no more.
pub const EAGER_BUFFER: u32 = 256 << 10;

/// One `sendmsg` carries about this much; the rest waits for the socket to take it.
pub const SEND_BYTES: usize = 1 << 20;

/// Pieces of one gathered send: half of the kernel's limit of 1024 per call would do; the driver splits.
pub const SEND_PIECES: usize = 768;

/// Requests that may be answered while a peer does not read what it was sent; then its connection is not read either.
pub const UNREAD_REPLIES: u32 = 4096;

/// Piece of a comparison, a check or a repeated pattern.
pub const CHUNK: usize = 1 << 20;

/// Work on a store that answers at once goes on for this many bytes, then other connections have their turn.
pub const INLINE_BYTES: u64 = 16 << 20;

/// Messages between reactors. A full mailbox makes the sender keep its messages and try again.
pub const MAILBOX: usize = 4096;

/// Lines about one reactor's peers that are logged in a second; the number of the others is told once.
pub const LOG_LINES: u32 = 50;
