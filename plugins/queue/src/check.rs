//! What is wrong with a request whatever the state.

use std::fmt::Display;
use std::ops::RangeInclusive;

use quorate_sdk::Status;

const QUEUE_BYTES_MAX: usize = 100;
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
const DELAY_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
const LEASE_MS_MAX: u64 = 12 * 60 * 60 * 1000;
const ATTEMPTS_MAX: u32 = 100;
const ATTEMPTS_DEFAULT: u32 = 5;
const PAGE_JOBS_MAX: u32 = 1_000;
const PAGE_JOBS_DEFAULT: u32 = 100;

pub(crate) fn queue(name: &str) -> Result<(), Status> {
    within("bytes in a queue's name", name.len(), 1..=QUEUE_BYTES_MAX)
}

pub(crate) fn payload(payload: &[u8]) -> Result<(), Status> {
    within("bytes in a payload", payload.len(), 0..=PAYLOAD_BYTES_MAX)
}

pub(crate) fn delay_ms(delay_ms: u64) -> Result<(), Status> {
    within("delay_ms", delay_ms, 0..=DELAY_MS_MAX)
}

/// A lease ends, however generous: a worker that is gone must not keep its job for ever.
pub(crate) fn lease_ms(lease_ms: u64) -> Result<(), Status> {
    within("lease_ms", lease_ms, 1..=LEASE_MS_MAX)
}

/// How many attempts are meant. A job that fails for ever would only keep workers busy.
pub(crate) fn attempts(asked: u32) -> Result<u32, Status> {
    within("attempts", asked, 0..=ATTEMPTS_MAX)?;
    Ok(if asked == 0 { ATTEMPTS_DEFAULT } else { asked })
}

/// How many jobs a page has.
pub(crate) fn page(asked: u32) -> Result<u32, Status> {
    within("limit", asked, 0..=PAGE_JOBS_MAX)?;
    Ok(if asked == 0 { PAGE_JOBS_DEFAULT } else { asked })
}

fn within<T: PartialOrd + Display + Copy>(
    what: &str,
    is: T,
    range: RangeInclusive<T>,
) -> Result<(), Status> {
    if range.contains(&is) {
        return Ok(());
    }
    let (min, max) = range.into_inner();
    Err(Status::invalid_argument(format!("{what}: from {min} to {max}, not {is}")))
}
