//! Clocks. That of leases is never set, and goes on while the machine sleeps: the standard
//! library's stands still then, and a leader that wakes up would believe in a lease long over.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boot_time::Instant;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since some moment early in this process.
pub fn now() -> Duration {
    let begin = *BEGIN;
    begin.elapsed()
}

/// Unix time in milliseconds, as the machine has it.
pub fn unix_ms() -> u64 {
    // A clock before 1970 is as good as none; time in the log never falls anyway.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
