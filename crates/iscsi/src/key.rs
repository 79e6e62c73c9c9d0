//! Keys.

/// Result of the negotiation of one connection (and, with one connection per session, of its session).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Header digest CRC32C.
    pub header_digest: bool,
    /// Data digest CRC32C.
    pub data_digest: bool,
    /// MaxConnections: always 1 here.
    pub max_connections: u32,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// Longest data segment this side takes, in bytes.
    pub max_recv_data_segment_length: u32,
    /// Longest data segment the other side takes, in bytes.
    pub max_xmit_data_segment_length: u32,
    /// MaxBurstLength, in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength, in bytes.
    pub first_burst_length: u32,
    /// DefaultTime2Wait, in seconds.
    pub default_time_2_wait: u32,
    /// DefaultTime2Retain, in seconds.
    pub default_time_2_retain: u32,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u32,
    /// DataPDUInOrder.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder.
    pub data_sequence_in_order: bool,
    /// ErrorRecoveryLevel: always 0 here.
    pub error_recovery_level: u32,
    /// iSCSIProtocolLevel (RFC 7144).
    pub protocol_level: u32,
}

impl Default for Negotiated {
    /// The values before any negotiation (RFC 7143 13).
    fn default() -> Negotiated {
        Negotiated {
            header_digest: false,
            data_digest: false,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_recv_data_segment_length: 8192,
            max_xmit_data_segment_length: 8192,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            default_time_2_wait: 2,
            default_time_2_retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            protocol_level: 1,
        }
    }
}
