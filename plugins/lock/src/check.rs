//! What is wrong with a request whatever the state.

use quorate_sdk::Status;

const NAME_BYTES_MAX: usize = 200;
const LEASE_MS_MAX: u64 = 60 * 60 * 1000;

/// The name of a lock, or of an owner.
pub(crate) fn name(name: &str) -> Result<(), Status> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("a name has 1 to {NAME_BYTES_MAX} bytes")))
}

pub(crate) fn lease_ms(lease_ms: u64) -> Result<(), Status> {
    if (1..=LEASE_MS_MAX).contains(&lease_ms) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("lease_ms is from 1 to {LEASE_MS_MAX}")))
}
