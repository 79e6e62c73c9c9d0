//! `scuzzy explain` and `demo`.

use clap::Args;

use super::parse_seed;

/// `scuzzy explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// What the bytes are
    #[arg(value_parser = ["cdb", "sense", "asc", "pdu"])]
    pub kind: String,
    /// Hex digits; blanks, colons, commas and 0x are ignored
    #[arg(required = true)]
    pub hex: Vec<String>,
    /// Decode the CDB as this peripheral device type
    #[arg(long, value_name = "TYPE", default_value_t = 0)]
    pub device_type: u8,
}

/// `scuzzy demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// Seed of the fault decisions
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,
}
